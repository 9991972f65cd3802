"""Frozen face networks: Inception-ResNet-v1, whose features UncNet classifies, and a small one for simulated faces.

The architecture of the first is that of Szegedy et al. (2017), *Inception-v4, Inception-ResNet and the Impact of
Residual Connections on Learning*, in the variant that FaceNet's public implementation trained
(davidsandberg/facenet). Parameter names are those of its PyTorch port (timesler/facenet-pytorch, release v2.2.9),
so that the weight files published there load as they are.
"""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Identity corpus -> (published weight file, identities its classifier tells apart).
PUBLISHED_WEIGHTS = {
    "casia-webface": ("20180408-102900-casia-webface.pt", 10575),
    "vggface2": ("20180402-114759-vggface2.pt", 8631),
}
WEIGHTS_URL = "https://github.com/timesler/facenet-pytorch/releases/tag/v2.2.9"

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

    The children stand in the order in which they are applied. `num_classes` adds the identity classifier
    `logits` of the published files, which no feature passes through.
    """

    def __init__(self, num_classes: int | None = None):
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
        if num_classes is not None:
            self.logits = nn.Linear(512, num_classes)
        self.eval().requires_grad_(False)

    def tap_maps(self, x: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Feature maps {tap: (N, channels, h, w)} of a prepared batch (N, 3, H, W).

        Nothing is computed beyond the last tap. Raises ValueError for a tap that is not one of `TAPS`.
        """
        wanted = {}
        for tap in taps:
            if tap not in TAPS:
                raise ValueError(f"unknown tap {tap!r}: choose among {', '.join(TAPS)}")
            wanted[TAPS[tap][0]] = tap
        maps = {}
        for name, module in self.named_children():
            if len(maps) == len(wanted):
                break
            x = module(x)
            if name in wanted:
                maps[wanted[name]] = x
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm identity embedding (N, 512) of a prepared batch (N, 3, H, W)."""
        x = self.tap_maps(x, ["mixed_8b"])["mixed_8b"].mean((2, 3))
        return F.normalize(self.last_bn(self.last_linear(x)), dim=1)

    def features(self, images: Tensor, tap: str = "mixed_7a", scaling: str = "raw", resize: str = "nearest") -> Tensor:
        """Globally average-pooled features (N, channels) of grey images, uint8 (N, H, W), at one tap.

        UncNet's are `tap="mixed_7a"`: 1,792 channels. `scaling` and `resize` are those of `prepare_faces`.
        """
        return self.tapped_features(images, [tap], scaling, resize)[tap]

    def tapped_features(
        self,
        images: Tensor,
        taps: Iterable[str] = tuple(TAPS),
        scaling: str = "raw",
        resize: str = "nearest",
    ) -> dict[str, Tensor]:
        """`features` at several taps, in one pass."""
        x = prepare_faces(images, scaling=scaling, resize=resize).to(self.last_linear.weight.device)
        return {tap: x.mean((2, 3)) for tap, x in self.tap_maps(x, taps).items()}


def prepare_faces(images: Tensor, size: int = 160, scaling: str = "raw", resize: str = "nearest") -> Tensor:
    """Grey images, uint8 (N, H, W), as the float32 batch (N, 3, size, size) the network takes, on the CPU.

    `resize` is "nearest", "bilinear" or "bicubic", from 8-bit image to 8-bit image. UncNet's export called
    Pillow's `resize` with its default filter, which was nearest until version 7 (January 2020, after the
    paper) and has been bicubic since.

    `scaling="raw"` feeds pixel values 0 to 255, as UncNet's export did with the TensorFlow originals of these
    weights; `scaling="fixed"` feeds (x - 127.5) / 128, with which the published weights were trained.

    Raises ValueError for images of another type or shape, and for an unknown `scaling` or `resize`.
    """
    if images.dtype != torch.uint8 or images.ndim != 3:
        raise ValueError(f"images are {images.dtype} of shape {tuple(images.shape)}: grey images are uint8 (N, H, W)")
    # Pillow's pixel centres and cubic kernel (a = -0.5) are torch's under these names, on 8-bit images, which
    # torch resizes on the CPU only.
    modes = {
        "nearest": {"mode": "nearest-exact"},
        "bilinear": {"mode": "bilinear"},
        "bicubic": {"mode": "bicubic", "antialias": True},
    }
    if resize not in modes:
        raise ValueError(f"unknown resize {resize!r}: choose among {', '.join(modes)}")
    x = F.interpolate(images[:, None].cpu(), (size, size), **modes[resize]).float()
    match scaling:
        case "raw":
            pass
        case "fixed":
            x = (x - 127.5) / 128
        case _:
            raise ValueError(f"unknown scaling {scaling!r}: choose 'raw' or 'fixed'")
    return x.expand(-1, 3, -1, -1)


def load_inception_resnet_v1(path: str | Path, num_classes: int | None = None) -> InceptionResnetV1:
    """Inception-ResNet-v1 with the weights of `path`, a state dict under the public names, on the CPU.

    `num_classes` is the number of identities that the file's classifier must have (`PUBLISHED_WEIGHTS`),
    which tells the two published files apart; without it, any number or no classifier will do.

    Raises ValueError, naming the file, the first offending key and the cure, for a truncated file, a pickled
    module (only tensors are read) and the weights of another network: either every weight is loaded or none.
    """
    path = Path(path)
    cure = (
        f"use {' or '.join(name for name, _ in PUBLISHED_WEIGHTS.values())} from {WEIGHTS_URL},"
        " or a state dict saved from InceptionResnetV1"
    )
    with path.open("rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{path}: not a plain file of tensors, but a whole pickled module (refused: unpickling runs"
                f" code), something else, or damaged; {cure}"
            ) from error
        except Exception as error:  # a cut file fails in any way: EOFError, OSError, struct.error, ...
            raise ValueError(f"{path}: truncated or damaged; download it again: {cure}") from error

    # On the meta device nothing is drawn at random, and no weight could stay at an initial value.
    with torch.device("meta"):
        bias = state.get("logits.bias") if isinstance(state, Mapping) else None
        model = InceptionResnetV1(num_classes or (bias.numel() if isinstance(bias, Tensor) else None))
    problem = _mismatch(state, model.state_dict())
    if problem:
        raise ValueError(f"{path}: not the expected Inception-ResNet-v1 weights: {problem}; {cure}")
    # A plain dict carries no version, so batch counters, which evaluation never reads, may be absent.
    model.load_state_dict(dict(state), assign=True)
    # Channels last is 1.4 times faster on a CPU.
    return model.float().to(memory_format=torch.channels_last)


def _mismatch(state, expected: Mapping[str, Tensor]) -> str | None:
    """The first way in which `state` differs from the keys and shapes of `expected`, in words."""
    if not isinstance(state, Mapping):
        return f"it holds a {type(state).__name__}, not a state dict"
    for key, tensor in expected.items():
        if key not in state:
            if not key.endswith("num_batches_tracked"):
                return f"key {key!r} is missing"
        elif not isinstance(state[key], Tensor):
            return f"key {key!r} holds a {type(state[key]).__name__}, not a tensor"
        elif state[key].shape != tensor.shape:
            return f"key {key!r} has shape {tuple(state[key].shape)} where {tuple(tensor.shape)} is expected"
    extra = next((key for key in state if key not in expected), None)
    return None if extra is None else f"key {extra!r} is unexpected"


# Tap point of the small network -> (channels, stride) of the stage it is the output of: six depths, as in `TAPS`.
SMALL_TAPS = {
    "stage1": (32, 2),
    "stage2": (48, 1),
    "stage3": (64, 2),
    "stage4": (96, 1),
    "stage5": (128, 2),
    "stage6": (256, 1),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions on a shortcut: He et al. (2016), *Deep Residual Learning*, Fig. 5 left.

    The shortcut is a strided 1x1 convolution with batch normalisation, as channels change in every stage.
    """

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        self.bn_shortcut = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + self.bn_shortcut(self.shortcut(x)))


class SmallResNet(nn.Module):
    """A residual network of 1.4 million weights for grey faces of 48x48 pixels, trainable in a minute on a CPU.

    A strided 5x5 convolution and one `BasicBlock` per stage of `SMALL_TAPS`, with maps of 12x12 (stages 1 and 2),
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
                self.add_module(stage, BasicBlock(channels, width, stride))
                channels = width
            self.logits = nn.Linear(channels, num_classes)
        self.to_empty(device="cpu")
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()  # ones and zeros
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        nn.init.normal_(self.logits.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.logits.bias)
        # Channels last is faster on a CPU.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def check(cls, images: Tensor, taps: Iterable[str]) -> None:
        """Raise ValueError for images of another type or size, and for a tap that is not one of `SMALL_TAPS`."""
        for tap in taps:
            if tap not in SMALL_TAPS:
                raise ValueError(f"unknown tap {tap!r}: choose among {', '.join(SMALL_TAPS)}")
        if images.dtype != torch.uint8 or images.shape[1:] != (cls.SIZE, cls.SIZE):
            raise ValueError(
                f"images are {images.dtype} of shape {tuple(images.shape)}: the small network takes grey images of"
                f" {cls.SIZE}x{cls.SIZE} pixels, uint8 (N, {cls.SIZE}, {cls.SIZE})"
            )

    def tap_maps(self, images: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Feature maps {tap: (N, channels, h, w)}; nothing is computed beyond the last tap.

        Raises ValueError as `check`.
        """
        taps = list(taps)
        self.check(images, taps)
        x = (images[:, None].to(self.logits.weight.device).float() - 127.5) / 128
        x = F.relu(self.bn(self.conv(x)))
        maps = {}
        for stage in SMALL_TAPS:
            if len(maps) == len(set(taps)):
                break
            x = self.get_submodule(stage)(x)
            if stage in taps:
                maps[stage] = x
        return maps

    def tapped_features(self, images: Tensor, taps: Iterable[str] = tuple(SMALL_TAPS)) -> dict[str, Tensor]:
        """Globally average-pooled features {tap: (N, channels)}, in one pass."""
        return {tap: x.mean((2, 3)) for tap, x in self.tap_maps(images, taps).items()}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of the identities."""
        return self.logits(self.tapped_features(images, ["stage6"])["stage6"])
