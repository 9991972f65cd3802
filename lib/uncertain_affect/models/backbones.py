"""Image networks: Inception-ResNet-v1, ResNet-18 and ResNet-50, and a small one for simulated faces.

Inception-ResNet-v1, whose frozen features UncNet classifies, is that of Szegedy et al. (2017), *Inception-v4,
Inception-ResNet and the Impact of Residual Connections on Learning*, in the variant that FaceNet's public
implementation trained (davidsandberg/facenet). Parameter names are those of its PyTorch port
(timesler/facenet-pytorch, release v2.2.9). ResNet-18 (UGN) and ResNet-50 (PEN) are those of He et al. (2016), *Deep
Residual Learning for Image Recognition*, under torchvision's parameter names. So the weight files published at
either place load as they are.
"""

import pickle
import textwrap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncertain_affect.compute.cache import content_key, file_checksum

Network = TypeVar("Network", bound=nn.Module)

# Identity corpus -> (published weight file, identities its classifier tells apart).
PUBLISHED_WEIGHTS = {
    "casia-webface": ("20180408-102900-casia-webface.pt", 10575),
    "vggface2": ("20180402-114759-vggface2.pt", 8631),
}
WEIGHTS_URL = "https://github.com/timesler/facenet-pytorch/releases/tag/v2.2.9"
# The modules that no feature passes through, which a file may lack.
HEAD = ("last_linear", "last_bn", "logits")
# Identities -> `content_key` of the first kernel in a file without head: CASIA-WebFace's as `corpora.facenet` makes it,
# with the batch normalisation folded in.
FIRST_KERNELS = {10575: "c40be6e0863b4c460850100b4c2157cf589a42cdc0b8ec70a19f5dbc27ca369f"}

# Tap point -> (module it is the output of, channels). The names are FaceNet's end points, and the columns of
# UncNet's Table 1.
TAPS = {
    "mixed_5a": ("repeat_1", 256),  # 5 x Block35
    "mixed_6a": ("mixed_6a", 896),  # Reduction-A: 384 + 256 + 256 pooled
    "mixed_6b": ("repeat_2", 896),  # 10 x Block17
    "mixed_7a": ("mixed_7a", 1792),  # Reduction-B: 384 + 256 + 256 + 896 pooled
    "mixed_8a": ("repeat_3", 1792),  # 5 x Block8
    "mixed_8b": ("block8", 1792),  # the last Block8, unscaled and without ReLU
}

# How a face is fed to a published network: resized, and its pixel values. UncNet's export had the first.
READINGS = ("nearest, raw", "bicubic, raw", "nearest, standardised", "bicubic, standardised")

# An inception module is a tuple of parallel branches; a branch is a tuple of convolutions, each
# (channels, kernel, stride). The empty branch is the 3x3 max-pooling of stride 2.
BLOCK35 = (((32, 1, 1),), ((32, 1, 1), (32, 3, 1)), ((32, 1, 1), (32, 3, 1), (32, 3, 1)))
BLOCK17 = (((128, 1, 1),), ((128, 1, 1), (128, (1, 7), 1), (128, (7, 1), 1)))
BLOCK8 = (((192, 1, 1),), ((192, 1, 1), (192, (1, 3), 1), (192, (3, 1), 1)))
REDUCTION_A = (((384, 3, 2),), ((192, 1, 1), (192, 3, 1), (256, 3, 2)), ())
REDUCTION_B = (
    ((256, 1, 1), (384, 3, 2)),
    ((256, 1, 1), (256, 3, 2)),
    ((256, 1, 1), (256, 3, 1), (256, 3, 2)),
    (),
)


class ConvBN(nn.Module):
    """Convolution without bias, batch normalisation (epsilon .001, as in TensorFlow), ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel, stride: int = 1, padding="valid"):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _branch(in_channels: int, convolutions) -> nn.Module:
    layers = []
    for channels, kernel, stride in convolutions:
        # Inside a module only the convolutions of stride 2 are unpadded.
        layers.append(ConvBN(in_channels, channels, kernel, stride, "same" if stride == 1 else "valid"))
        in_channels = channels
    if not layers:
        return nn.MaxPool2d(3, stride=2)
    # The public names index the convolutions of a branch only where there are several.
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


class Inception(nn.Module):
    """Parallel branches, concatenated over channels; `branches` is one of the tables above."""

    def __init__(self, in_channels: int, branches):
        super().__init__()
        for i, convolutions in enumerate(branches):
            self.add_module(f"branch{i}", _branch(in_channels, convolutions))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([m(x) for name, m in self.named_children() if name.startswith("branch")], dim=1)


class InceptionResidual(Inception):
    """Inception module on a shortcut: ReLU(x + scale * (W concat(branches(x)) + b))."""

    def __init__(self, in_channels: int, branches, scale: float = 1.0, relu: bool = True):
        super().__init__(in_channels, branches)
        self.conv2d = nn.Conv2d(sum(branch[-1][0] for branch in branches), in_channels, 1)
        self.scale, self.relu = scale, relu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale * self.conv2d(super().forward(x))
        return F.relu(x) if self.relu else x


class InceptionResnetV1(nn.Module):
    """FaceNet's Inception-ResNet-v1, frozen: evaluation mode, no gradients; see `load_inception_resnet_v1`.

    The children stand in the order in which they are applied. No feature passes through the last three (`HEAD`), the
    identity embedding and its classifier `logits` of `num_classes` people.
    """

    def __init__(self, num_classes: int = 1):
        super().__init__()
        self.conv2d_1a = ConvBN(3, 32, 3, stride=2)
        self.conv2d_2a = ConvBN(32, 32, 3)
        self.conv2d_2b = ConvBN(32, 64, 3, padding="same")
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = ConvBN(64, 80, 1)
        self.conv2d_4a = ConvBN(80, 192, 3)
        self.conv2d_4b = ConvBN(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(InceptionResidual(256, BLOCK35, scale=0.17) for _ in range(5)))
        self.mixed_6a = Inception(256, REDUCTION_A)
        self.repeat_2 = nn.Sequential(*(InceptionResidual(896, BLOCK17, scale=0.10) for _ in range(10)))
        self.mixed_7a = Inception(896, REDUCTION_B)
        self.repeat_3 = nn.Sequential(*(InceptionResidual(1792, BLOCK8, scale=0.20) for _ in range(5)))
        self.block8 = InceptionResidual(1792, BLOCK8, relu=False)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=1e-3)
        self.logits = nn.Linear(512, num_classes)
        self.eval().requires_grad_(False)

    def tap_maps(self, x: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Feature maps {tap: (N, channels, h, w)} of a prepared batch (N, 3, H, W), the shallowest first.

        Nothing is computed beyond the last tap. Raises ValueError for a tap that is not one of `TAPS`.
        """
        check_taps(taps := list(taps), TAPS)
        modules = {TAPS[tap][0]: tap for tap in taps}
        return {modules[name]: x for name, x in _outputs_of(self.named_children(), x, modules).items()}

    def tapped_features(
        self, images: Tensor, taps: Iterable[str] = tuple(TAPS), reading: str = READINGS[0]
    ) -> dict[str, Tensor]:
        """Globally average-pooled features {tap: (N, channels)} of grey images, uint8 (N, H, W), in one pass.

        UncNet's are those of "mixed_7a": 1,792 channels.
        """
        x = prepare_faces(images, reading).to(self.conv2d_1a.conv.weight.device)
        return {tap: x.mean((2, 3)) for tap, x in self.tap_maps(x, taps).items()}


def check_images(images: Tensor | np.ndarray, fit: bool, expected: str) -> None:
    """Raise ``ValueError`` with the type and shape of images that do not ``fit`` what is ``expected``."""
    if not fit:
        raise ValueError(f"images are {images.dtype} of shape {tuple(images.shape)}: {expected}")


def check_taps(taps: Iterable[str], known: Collection[str]) -> None:
    """Raise ``ValueError`` for a tap that is not ``known``."""
    if unknown := [tap for tap in taps if tap not in known]:
        raise ValueError(f"unknown tap {unknown[0]!r}: choose among {', '.join(known)}")


def _outputs_of(modules: Iterable[tuple[str, nn.Module]], x: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
    """Outputs by name of the wanted ones among modules that are applied in turn, of which no more run than it takes."""
    outputs = {}
    for name, module in modules:
        if len(outputs) == len(wanted):
            break
        x = module(x)
        if name in wanted:
            outputs[name] = x
    return outputs


def prepare_faces(images: Tensor, reading: str = READINGS[0]) -> Tensor:
    """Grey images, uint8 (N, H, W), as the float32 batch (N, 3, 160, 160) the network takes, on the CPU.

    By default as UncNet's export did: resized by Pillow's default filter of its time, nearest (until version 7, January
    2020), and fed as pixel values 0 to 255. The other of `READINGS` resize by Pillow's bicubic filter, or feed
    (x - 127.5) / 128, as the network was fed when it learnt to tell people apart.

    Raises ValueError for images of another type or shape, or another reading.
    """
    check_images(images, images.dtype == torch.uint8 and images.ndim == 3, "grey images are uint8 (N, H, W)")
    if reading not in READINGS:
        raise ValueError(f"unknown reading {reading!r}: choose among {'; '.join(READINGS)}")
    resizing, pixels = reading.split(", ")
    # Pillow's pixel centres, and its bicubic kernel, are torch's under these names
    how = {"mode": "nearest-exact"} if resizing == "nearest" else {"mode": "bicubic", "antialias": True}
    x = F.interpolate(images[:, None].cpu(), (160, 160), **how).float()
    return (x if pixels == "raw" else (x - 127.5) / 128).expand(-1, 3, -1, -1)


def load_inception_resnet_v1(path: str | Path, num_classes: int) -> InceptionResnetV1:
    """Inception-ResNet-v1 with the weights of `path`, a state dict under the public names, on the CPU.

    `num_classes` is the number of identities of the corpus that the network was trained on (`PUBLISHED_WEIGHTS`). It
    tells the two published files apart: by the classifier of identities in the file or, where no `HEAD` is, by
    `FIRST_KERNELS`. The network then has no `HEAD` either.

    Raises ValueError, naming the file, the first offending keys and the cure, for a truncated file, a pickled
    module (only tensors are read) and the weights of another network: either every weight is loaded or none.
    """
    path = Path(path)
    with torch.device("meta"):  # nothing is drawn at random, and no weight could stay at an initial value
        network = InceptionResnetV1(num_classes)
    files = " or ".join(name for name, _ in PUBLISHED_WEIGHTS.values())
    fetch = "let `uncertain-affect data get facenet-casia` fetch the former"
    cure = f"use {files} from {WEIGHTS_URL}, {fetch}, or use a state dict saved from InceptionResnetV1"
    state = _read(path, cure)
    headless = isinstance(state, Mapping) and not any(str(key).startswith(HEAD) for key in state)
    if headless:
        for name in HEAD:
            delattr(network, name)
    network = _load(network, state, path, "Inception-ResNet-v1", cure)
    if headless and content_key(network.conv2d_1a.conv.weight) != FIRST_KERNELS.get(num_classes):
        raise ValueError(
            f"{path}: no identity classifier, and its first kernel is not that of the network trained on"
            f" {num_classes:,} people; {cure}"
        )
    return network


def _read(path: Path, cure: str) -> object:
    """What a file of tensors holds."""
    with path.open("rb") as file:
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{path}: not a plain file of tensors, but a whole pickled module (refused: unpickling runs"
                f" code), something else, or damaged; {cure}"
            ) from error
        except Exception as error:  # a cut file fails in any way: EOFError, OSError, struct.error, ...
            raise ValueError(f"{path}: truncated or damaged; download it again: {cure}") from error


def _load(network: Network, state: object, path: Path, name: str, cure: str) -> Network:
    """The network in evaluation mode with all weights of a state dict that was read from a file."""
    try:
        # a plain dict carries no version, so batch counters, which evaluation never reads, may be absent
        network.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError) as error:
        problem = textwrap.shorten(str(error), 400)
        raise ValueError(f"{path}: not the expected {name} weights: {problem}; {cure}") from error
    return network.float().to(memory_format=torch.channels_last).eval()


# Depth -> (residual blocks in each of the four stages, convolutions of a block as (kernel, channels in units of the
# stage's width)): He et al. (2016), Table 1.
RESNETS = {
    18: ((2, 2, 2, 2), ((3, 1), (3, 1))),
    50: ((3, 4, 6, 3), ((1, 1), (3, 1), (1, 4))),
}


class ResidualBlock(nn.Module):
    """ReLU(shortcut(x) + residual(x)) under the public names: He et al. (2016), Fig. 5.

    Each convolution of the residual is followed by batch normalisation and, but for the last, ReLU. The shortcut is
    the identity where the shapes agree, else a strided 1x1 convolution with batch normalisation (their option B).

    Args:
        in_channels: channels of x.
        width: of the stage.
        convolutions: of the residual, as in `RESNETS`. The first of 3x3 has the stride, as in the networks published;
            in a bottleneck the paper has it one convolution earlier.
        stride: of the block.
    """

    def __init__(self, in_channels: int, width: int, convolutions: tuple[tuple[int, int], ...], stride: int):
        super().__init__()
        self.depth, channels, block_stride = len(convolutions), in_channels, stride
        for i, (kernel, multiple) in enumerate(convolutions, start=1):
            conv_stride, stride = (stride, 1) if kernel == 3 else (1, stride)
            conv = nn.Conv2d(channels, multiple * width, kernel, conv_stride, padding=kernel // 2, bias=False)
            channels = conv.out_channels
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(channels))
        self.downsample = None
        if block_stride != 1 or channels != in_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, block_stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        for i in range(1, self.depth + 1):
            residual = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(residual))
            if i < self.depth:
                residual = F.relu(residual, inplace=True)
        return F.relu(residual + (x if self.downsample is None else self.downsample(x)), inplace=True)


def _draw_weights(network: nn.Module, generator: torch.Generator, mode: str) -> None:
    """Weights of a network made on the meta device: convolutions Kaiming normal, normalisations at one and zero."""
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu", generator=generator)
    network.to(memory_format=torch.channels_last)  # faster on a CPU


# Tap point of the small network -> (channels, stride) of the stage it is the output of: six depths, as in `TAPS`.
SMALL_TAPS = {
    "stage1": (32, 2),
    "stage2": (48, 1),
    "stage3": (64, 2),
    "stage4": (96, 1),
    "stage5": (128, 2),
    "stage6": (256, 1),
}


class SmallResNet(nn.Module):
    """A residual network of 1.4 million weights for grey faces of 48x48 pixels, trainable in a minute on a CPU.

    A strided 5x5 convolution and one `ResidualBlock` per stage of `SMALL_TAPS`, with maps of 12x12 (stages 1 and 2),
    6x6 (3 and 4) and 3x3 (5 and 6); the classifier `logits` reads the average-pooled last stage. All methods take
    images as they are, uint8 (N, 48, 48), and feed (x - 127.5) / 128.

    Args:
        num_classes: identities that the classifier tells apart.
        generator: draws the initial weights.
    """

    SIZE = 48

    def __init__(self, num_classes: int, generator: torch.Generator):
        super().__init__()
        # On the meta device the layers draw nothing from the global generator.
        with torch.device("meta"):
            channels = 24
            self.conv = nn.Conv2d(1, channels, 5, stride=2, padding=2, bias=False)
            self.bn = nn.BatchNorm2d(channels)
            for stage, (width, stride) in SMALL_TAPS.items():
                self.add_module(stage, ResidualBlock(channels, width, RESNETS[18][1], stride))
                channels = width
            self.logits = nn.Linear(channels, num_classes)
        _draw_weights(self, generator, "fan_in")
        nn.init.normal_(self.logits.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.logits.bias)

    @classmethod
    def check(cls, images: Tensor, taps: Iterable[str]) -> None:
        """Raise ValueError for images of another type or size, and for a tap that is not one of `SMALL_TAPS`."""
        check_taps(taps, SMALL_TAPS)
        fit = images.dtype == torch.uint8 and images.shape[1:] == (cls.SIZE, cls.SIZE)
        expected = f"grey images of {cls.SIZE}x{cls.SIZE} pixels, uint8 (N, {cls.SIZE}, {cls.SIZE})"
        check_images(images, fit, f"the small network takes {expected}")

    def tap_maps(self, images: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Feature maps {tap: (N, channels, h, w)}; nothing is computed beyond the last tap.

        Raises ValueError as `check`.
        """
        wanted = set(taps)
        self.check(images, wanted)
        x = (images[:, None].to(self.logits.weight.device).float() - 127.5) / 128
        x = F.relu(self.bn(self.conv(x)))
        return _outputs_of(((stage, self.get_submodule(stage)) for stage in SMALL_TAPS), x, wanted)

    def tapped_features(self, images: Tensor, taps: Iterable[str] = tuple(SMALL_TAPS)) -> dict[str, Tensor]:
        """Globally average-pooled features {tap: (N, channels)}, in one pass."""
        return {tap: x.mean((2, 3)) for tap, x in self.tap_maps(images, taps).items()}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of the identities."""
        return self.logits(self.tapped_features(images, ["stage6"])["stage6"])


# Depth -> weight file of a network trained on ImageNet (torchvision's IMAGENET1K_V1). The eight hexadecimal digits in
# its name are the first of its SHA-256.
PUBLISHED_RESNETS = {18: "resnet18-f37072fd.pth", 50: "resnet50-0676ba61.pth"}
RESNETS_URL = "https://download.pytorch.org/models"

# Input channels -> mean and standard deviation of each, in 8-bit pixel values. Those of RGB are ImageNet's, which the
# published weights were trained with.
PIXEL_MOMENTS = {
    1: ([127.5], [128.0]),
    3: ([255 * mean for mean in (0.485, 0.456, 0.406)], [255 * sd for sd in (0.229, 0.224, 0.225)]),
}


class ResNet(nn.Module):
    """ResNet-18 or ResNet-50 for images of any size, to be trained here or loaded by `load_resnet`.

    All methods take images as they are: uint8, grey (N, H, W) or RGB (N, 3, H, W), cropped and mirrored or not
    (`augment`). A network of three input channels takes both, grey repeated, standardised by ImageNet's moments; one
    of a single channel takes grey, as (x - 127.5) / 128.

    Args:
        depth: 18 or 50.
        generator: draws the initial weights: convolutions Kaiming normal by fan-out, normalisations at one and zero,
            the classifier uniform within 1/sqrt(fan in), as the published networks began.
        width: channels of the first stage; each of the other three has twice its predecessor's.
        in_channels: 3, or 1 for grey images only.
        num_classes: outputs of the classifier `fc`; without it there is none, and no `forward`.

    Attributes:
        n_features: width of the pooled features: 8 * width, at depth 50 32 * width.

    Raises ValueError for an unknown depth or number of input channels.
    """

    def __init__(
        self,
        depth: int,
        generator: torch.Generator,
        width: int = 64,
        in_channels: int = 3,
        num_classes: int | None = None,
    ):
        super().__init__()
        if depth not in RESNETS:
            raise ValueError(f"no ResNet of depth {depth}: choose among {', '.join(map(str, RESNETS))}")
        if in_channels not in PIXEL_MOMENTS:
            raise ValueError(f"in_channels is {in_channels}: choose 3, or 1 for grey images only")
        self.in_channels = in_channels
        n_blocks, convolutions = RESNETS[depth]
        # On the meta device the layers draw nothing from the global generator.
        with torch.device("meta"):
            self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            channels = width
            for stage, n in enumerate(n_blocks):
                blocks = []
                for i in range(n):
                    stride = 2 if stage > 0 and i == 0 else 1
                    blocks.append(ResidualBlock(channels, 2**stage * width, convolutions, stride))
                    channels = 2**stage * width * convolutions[-1][1]
                self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            if num_classes is not None:
                self.fc = nn.Linear(channels, num_classes)
        self.n_features = channels
        _draw_weights(self, generator, "fan_out")
        if num_classes is not None:
            bound = channels**-0.5
            nn.init.uniform_(self.fc.weight, -bound, bound, generator=generator)
            nn.init.uniform_(self.fc.bias, -bound, bound, generator=generator)

    def prepare(self, images: Tensor) -> Tensor:
        """The batch (N, in_channels, H, W) of the first convolution, in the network's precision and on its device.

        Raises ValueError for images of another type or shape.
        """
        grey, rgb = images.ndim == 3, images.ndim == 4 and images.shape[1] == self.in_channels == 3
        takes = "1 input channel takes images that are grey, uint8 (N, H, W)"
        if self.in_channels == 3:
            takes = "3 input channels takes images that are grey, uint8 (N, H, W) or RGB, uint8 (N, 3, H, W)"
        check_images(images, images.dtype == torch.uint8 and (grey or rgb), f"a ResNet of {takes}")
        # To the device as bytes, a quarter of the traffic.
        x = images.to(self.conv1.weight.device)
        x = (x[:, None] if grey else x).to(self.conv1.weight.dtype, memory_format=torch.channels_last)
        mean, sd = (x.new_tensor(moment).view(-1, 1, 1) for moment in PIXEL_MOMENTS[self.in_channels])
        return (x - mean) / sd

    def features(self, images: Tensor) -> Tensor:
        """Globally average-pooled features (N, n_features) of the last stage."""
        x = F.relu(self.bn1(self.conv1(self.prepare(images))), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        return self.fc(self.features(images))


def load_resnet(path: str | Path, depth: int) -> ResNet:
    """ResNet of three input channels, width 64 and no classifier with the weights of `path`, on the CPU.

    `path` is a state dict under the public names, of which the classifier `fc` may be part and is left out. The
    network is in evaluation mode; its weights may be trained on.

    Raises ValueError, naming the file, the first offending keys and the cure, for a file under a published name
    (`PUBLISHED_RESNETS`) with another checksum, a truncated file, a pickled module (only tensors are read) and the
    weights of another network: either every weight is loaded or none.
    """
    path = Path(path)
    cure = f"use {RESNETS_URL}/{PUBLISHED_RESNETS[depth]}, or a state dict saved from ResNet({depth}, ...)"
    if path.name in PUBLISHED_RESNETS.values():
        published = path.stem.split("-")[1]
        checksum = file_checksum(path)
        if not checksum.startswith(published):
            raise ValueError(
                f"{path}: damaged, or another file under this name: its SHA-256 begins with {checksum[:8]}, that of the"
                f" published file with {published}; download it again: {cure}"
            )
    state = _read(path, cure)
    if isinstance(state, Mapping):
        state = {key: tensor for key, tensor in state.items() if not str(key).startswith("fc.")}
    return _load(ResNet(depth, torch.Generator()), state, path, f"ResNet-{depth}", cure)
