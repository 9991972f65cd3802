"""Inception-ResNet-v1, ResNet-18 and -50: public names, shapes and counts, functional oracles, weight files."""

import hashlib
import re
import warnings
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from uncertain_affect.models.backbones import (
    PUBLISHED_RESNETS,
    PUBLISHED_WEIGHTS,
    READINGS,
    TAPS,
    InceptionResnetV1,
    ResNet,
    SmallResNet,
    load_inception_resnet_v1,
    load_resnet,
    prepare_faces,
)
from uncertain_affect.training.features import find_weights


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_images(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))


# --- Inception-ResNet-v1 --------------------------------------------------------------------------------------


class Used(dict):
    """Tensors by name that remembers which were looked at: the public names are those that the oracles use."""

    def __init__(self, tensors):
        super().__init__(tensors)
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)

    def unused(self) -> set[str]:
        return {name for name in self if name not in self.names and not name.endswith("num_batches_tracked")}


def untrivial(network: torch.nn.Module, seed: int = 2) -> torch.nn.Module:
    """Scales, shifts and running moments at random, so that no normalisation is trivial."""
    generator = seeded(seed)
    for name, tensor in network.state_dict().items():
        if re.search(r"(bn\d?|downsample\.1)\.(weight|running_var)", name):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif re.search(r"(bn\d?|downsample\.1)\.(bias|running_mean)", name):
            tensor.normal_(std=0.3, generator=generator)
    return network


@pytest.fixture(scope="module")
def network() -> InceptionResnetV1:
    """Random weights at which activations neither vanish nor explode."""
    network, generator = untrivial(InceptionResnetV1()), seeded()
    for tensor in network.state_dict().values():
        if tensor.ndim > 1:
            tensor.normal_(std=(2 / prod(tensor.shape[1:])) ** 0.5, generator=generator)
    return network


FACES = drawn_images(3, 48, 48)


@pytest.mark.parametrize("num_classes", [1, 8631, 10575])
def test_inception_has_the_public_constants_and_size_and_is_frozen(num_classes):
    with torch.device("meta"):
        model = InceptionResnetV1(num_classes)
    assert sum(p.numel() for p in model.parameters()) == 23_482_624 + 513 * num_classes
    norms = [m for m in model.modules() if "BatchNorm" in type(m).__name__]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.1)}
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())


def test_every_tap_agrees_with_a_functional_oracle(network):
    """On a grid that is not square, so that 1x7 and 7x1 differ."""
    state = Used(network.state_dict())

    def conv(x, name, stride=1, padding=0):
        x = F.conv2d(x, state[f"{name}.conv.weight"], None, stride, padding)
        mean, var, scale, shift = (
            state[f"{name}.bn.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (var + 1e-3) ** 0.5 * scale + shift).relu()

    def up(x, name):
        return F.conv2d(x, state[f"{name}.conv2d.weight"], state[f"{name}.conv2d.bias"])

    def block35(x, name):
        b0 = conv(x, f"{name}.branch0")
        b1 = conv(conv(x, f"{name}.branch1.0"), f"{name}.branch1.1", 1, 1)
        b2 = conv(x, f"{name}.branch2.0")
        b2 = conv(conv(b2, f"{name}.branch2.1", 1, 1), f"{name}.branch2.2", 1, 1)
        return (x + 0.17 * up(torch.cat([b0, b1, b2], 1), name)).relu()

    def two_branches(x, name, half):
        b1 = conv(conv(x, f"{name}.branch1.0"), f"{name}.branch1.1", 1, (0, half))
        b1 = conv(b1, f"{name}.branch1.2", 1, (half, 0))
        return up(torch.cat([conv(x, f"{name}.branch0"), b1], 1), name)

    batch = torch.randn((2, 3, 96, 120), generator=torch.Generator().manual_seed(2))
    expected = {}
    x = conv(conv(batch, "conv2d_1a", 2), "conv2d_2a")
    x = F.max_pool2d(conv(x, "conv2d_2b", 1, 1), 3, 2)
    x = conv(conv(conv(x, "conv2d_3b"), "conv2d_4a"), "conv2d_4b", 2)
    for i in range(5):
        x = block35(x, f"repeat_1.{i}")
    expected["mixed_5a"] = x
    b1 = conv(conv(x, "mixed_6a.branch1.0"), "mixed_6a.branch1.1", 1, 1)
    b1 = conv(b1, "mixed_6a.branch1.2", 2)
    x = torch.cat([conv(x, "mixed_6a.branch0", 2), b1, F.max_pool2d(x, 3, 2)], 1)
    expected["mixed_6a"] = x
    for i in range(10):
        x = (x + 0.1 * two_branches(x, f"repeat_2.{i}", 3)).relu()
    expected["mixed_6b"] = x
    b0 = conv(conv(x, "mixed_7a.branch0.0"), "mixed_7a.branch0.1", 2)
    b1 = conv(conv(x, "mixed_7a.branch1.0"), "mixed_7a.branch1.1", 2)
    b2 = conv(conv(x, "mixed_7a.branch2.0"), "mixed_7a.branch2.1", 1, 1)
    b2 = conv(b2, "mixed_7a.branch2.2", 2)
    x = torch.cat([b0, b1, b2, F.max_pool2d(x, 3, 2)], 1)
    expected["mixed_7a"] = x
    for i in range(5):
        x = (x + 0.2 * two_branches(x, f"repeat_3.{i}", 1)).relu()
    expected["mixed_8a"] = x
    x = x + two_branches(x, "block8", 1)
    expected["mixed_8b"] = x
    assert (x < 0).any()  # the last block has no ReLU

    maps = network.tap_maps(batch, TAPS)
    assert list(maps) == list(expected)
    for tap in TAPS:
        torch.testing.assert_close(maps[tap].contiguous(), expected[tap], rtol=1e-3, atol=1e-3)
    # no feature passes through the embedding and the classifier
    shapes = {name: tuple(state[name].shape) for name in state.unused()}
    embedding = {f"last_bn.{key}": (512,) for key in ("weight", "bias", "running_mean", "running_var")}
    assert shapes == embedding | {"last_linear.weight": (512, 1792), "logits.weight": (1, 512), "logits.bias": (1,)}


def test_taps_of_a_face_and_what_they_cost(network):
    maps = network.tap_maps(prepare_faces(FACES[:1]), TAPS)
    sides = {"mixed_5a": 17, "mixed_6a": 8, "mixed_6b": 8, "mixed_7a": 3, "mixed_8a": 3, "mixed_8b": 3}
    assert {tap: tuple(x.shape[1:]) for tap, x in maps.items()} == {
        tap: (TAPS[tap][1], side, side) for tap, side in sides.items()
    }
    for tap, features in network.tapped_features(FACES[:1]).items():
        torch.testing.assert_close(features, maps[tap].mean((2, 3)))
    called, hooks = [], []
    for name, module in network.named_children():
        hooks.append(module.register_forward_hook(lambda *_, name=name: called.append(name)))
    network.tapped_features(FACES[:1], ["mixed_6a"])
    for hook in hooks:
        hook.remove()
    assert called[-2:] == ["repeat_1", "mixed_6a"], "nothing is computed beyond the tap"
    with pytest.raises(ValueError, match=r"unknown tap 'mixed_6c': choose among mixed_5a, .*mixed_8b"):
        network.tapped_features(FACES, ["mixed_6c"])


def test_faces_are_resized_as_pillow_does():
    ours = prepare_faces(FACES).numpy()
    pillow = [np.asarray(Image.fromarray(face).resize((160, 160), Image.Resampling.NEAREST)) for face in FACES.numpy()]
    assert ours.shape == (3, 3, 160, 160) and ours.dtype == np.float32
    for channel in range(3):
        np.testing.assert_array_equal(ours[:, channel], np.stack(pillow))
    for images in (torch.zeros(2, 3, 48, 48, dtype=torch.uint8), torch.zeros(2, 48, 48)):
        with pytest.raises(ValueError, match=r"grey images are uint8 \(N, H, W\)"):
            prepare_faces(images)


@pytest.mark.parametrize("reading", READINGS)
def test_each_reading_is_resized_as_pillow_does_and_standardised_on_request(reading):
    resizing, pixels = reading.split(", ")
    how = Image.Resampling[resizing.upper()]
    pillow = np.stack([np.asarray(Image.fromarray(face).resize((160, 160), how)) for face in FACES.numpy()])
    expected = pillow if pixels == "raw" else (pillow - 127.5) / 128
    ours = prepare_faces(FACES, reading).numpy()
    np.testing.assert_allclose(ours[:, 1], expected, atol=1 if pixels == "raw" else 1 / 128)
    assert np.mean(ours[:, 1] == expected.astype(np.float32)) > 0.99
    with pytest.raises(ValueError, match="unknown reading 'bilinear': choose among nearest, raw; bicubic, raw"):
        prepare_faces(FACES, "bilinear")


def test_the_small_network_takes_pictures_of_its_size_alone():
    SmallResNet.check(torch.zeros(2, 48, 48, dtype=torch.uint8), ["stage3"])
    for shape in ((2, 48, 47), (2, 20, 48), (2, 49, 48), (48, 48), (2, 1, 48, 48)):
        with pytest.raises(ValueError, match="grey images of 48x48 pixels"):
            SmallResNet.check(torch.zeros(shape, dtype=torch.uint8), ["stage3"])


# --- ResNet ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "n_parameters"), [(18, 11_689_512), (50, 25_557_032)])
def test_resnets_have_the_published_size(depth, n_parameters):
    network = ResNet(depth, seeded(), num_classes=1000)
    assert sum(p.numel() for p in network.parameters()) == n_parameters


def test_initial_weights():
    """Kaiming normal by fan-out, in which kernels count with their outputs; every residual starts switched on."""
    network = ResNet(18, seeded(), num_classes=100)
    for name, weight in network.named_parameters():
        if weight.ndim == 4:
            fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
            assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name
            assert weight.mean().abs().item() < 5 * (2 / fan_out / weight.numel()) ** 0.5, name
        elif weight.ndim == 1 and name != "fc.bias":
            assert (weight == (1 if name.endswith("weight") else 0)).all(), name
    bound = 512**-0.5
    for tensor in (network.fc.weight, network.fc.bias):
        assert 0.9 * bound < tensor.abs().max() <= bound and tensor.mean().abs() < bound / 4
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        assert (norm.eps, norm.momentum) == (1e-5, 0.1)
        assert (norm.running_mean == 0).all() and (norm.running_var == 1).all()
    # the generator alone decides
    before = torch.get_rng_state()
    first, again, other = (ResNet(50, seeded(seed), width=4, num_classes=3).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [key for key in first if first[key].ndim == 4 or key.startswith("fc")]
    assert not any(torch.equal(first[key], other[key]) for key in drawn)


def test_a_resnet_worked_by_hand():
    """Channels 1, 2, 4, 8; of all residuals only the last is switched on, and it adds half of its input."""
    network = ResNet(18, seeded(), width=1, in_channels=1).eval()
    state = network.state_dict()
    for key in state:
        if state[key].ndim == 4:
            state[key].zero_()
        elif key.endswith("running_var"):
            state[key].fill_(1 - 1e-5)  # with epsilon, one
    state["conv1.weight"][0, 0, 3, 3] = 1
    state["layer2.0.downsample.0.weight"][:, :, 0, 0] = torch.tensor([[1.0], [2]])
    state["layer3.0.downsample.0.weight"][:, :, 0, 0] = torch.tensor([[1.0, 0], [0, 1], [1, 1], [1, -1]])
    state["layer4.0.downsample.0.weight"][:, :, 0, 0] = torch.cat([torch.eye(4), torch.ones(4, 4)])
    state["layer4.1.conv1.weight"][:, :, 1, 1] = torch.eye(8)
    state["layer4.1.conv2.weight"][:, :, 1, 1] = torch.eye(8) / 2

    # Of 4x4 pixels the first convolution sees those in even rows and columns, and max-pooling keeps the largest.
    images = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    images[:, ::2, ::2] = torch.tensor([[[0, 10], [20, 191]], [[127, 100], [0, 7]]], dtype=torch.uint8)
    x = (191 - 127.5) / 128
    # Second image: 127 is below the middle of the scale, and ReLU makes it 0.
    expected = torch.tensor([[1.5 * x * k for k in (1, 2, 3, 0, 6, 6, 6, 6)], [0.0] * 8])
    torch.testing.assert_close(network.features(images), expected)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("depth", "in_channels"), [(18, 1), (18, 3), (50, 3)])
def test_resnets_agree_with_a_functional_oracle(depth, in_channels, training):
    """Logits in double precision, on a grid that is neither square nor even."""
    network = untrivial(ResNet(depth, seeded(), width=8, in_channels=in_channels, num_classes=5)).double()
    network.train(training)
    state = Used({key: tensor.clone() for key, tensor in network.state_dict().items()})
    images = drawn_images(3, 75, 54) if in_channels == 1 else drawn_images(3, 3, 75, 54)

    def conv(x, weight, bn, stride=1, padding=0):
        x = F.conv2d(x, state[f"{weight}.weight"], None, stride, padding)
        mean, var = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        mean, var, scale, shift = (t[:, None, None] for t in (mean, var, state[f"{bn}.weight"], state[f"{bn}.bias"]))
        return (x - mean) / (var + 1e-5) ** 0.5 * scale + shift

    def block(x, name, stride):
        conv1, conv2, conv3 = ((f"{name}.conv{j}", f"{name}.bn{j}") for j in (1, 2, 3))
        if depth == 18:
            y = conv(conv(x, *conv1, stride, 1).relu(), *conv2, 1, 1)
        else:
            y = conv(conv(conv(x, *conv1).relu(), *conv2, stride, 1).relu(), *conv3)
        if f"{name}.downsample.0.weight" in state:
            x = conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        return (x + y).relu()

    if in_channels == 1:
        x = (images[:, None].double() - 127.5) / 128
    else:
        mean, sd = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.double)[..., None, None]
        x = (images.double() / 255 - mean) / sd
    x = F.max_pool2d(conv(x, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for stage, n in enumerate((2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3), start=1):
        for i in range(n):
            x = block(x, f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1)
    expected = x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]

    torch.testing.assert_close(network(images), expected, rtol=1e-6, atol=1e-6)
    assert not state.unused()


@pytest.mark.parametrize(("depth", "n_features"), [(18, 64), (50, 256)])
@pytest.mark.parametrize("size", [(1, 1), (31, 7), (48, 48), (57, 112)])
def test_resnets_take_any_size(depth, n_features, size):
    network = ResNet(depth, seeded(), width=8).eval()
    features = network.features(drawn_images(2, *size))
    assert features.shape == (2, network.n_features) == (2, n_features)
    assert features.isfinite().all() and not torch.allclose(features[0], features[1])


def test_grey_is_rgb_of_equal_channels():
    network = untrivial(ResNet(18, seeded(), width=8)).eval()
    grey = drawn_images(3, 40, 50)
    torch.testing.assert_close(network.features(grey), network.features(grey[:, None].expand(-1, 3, -1, -1)))
    rgb = drawn_images(3, 3, 40, 50)
    assert not torch.allclose(network.features(rgb), network.features(rgb.flip(1)), rtol=1e-2)


@pytest.mark.parametrize(
    ("depth", "in_channels", "images", "message"),
    [
        (34, 3, drawn_images(2, 48, 48), "no ResNet of depth 34: choose among 18, 50"),
        (18, 2, drawn_images(2, 48, 48), "in_channels is 2: choose 3, or 1 for grey images only"),
        (18, 3, torch.zeros(2, 3, 48, 48), r"3 input channels .* grey, uint8 \(N, H, W\) or RGB, uint8 \(N, 3, H, W\)"),
        (18, 3, drawn_images(2, 4, 48, 48), "or RGB"),
        (18, 3, drawn_images(48, 48), "or RGB"),
        (18, 1, drawn_images(2, 3, 48, 48), r"1 input channel takes .* uint8 \(N, H, W\)$"),
        (18, 1, drawn_images(2, 1, 48, 48), r"shape \(2, 1, 48, 48\)"),
    ],
)
def test_other_options_and_images_are_refused(depth, in_channels, images, message):
    with pytest.raises(ValueError, match=message):
        ResNet(depth, seeded(), width=1, in_channels=in_channels).features(images)


# --- weight files ---------------------------------------------------------------------------------------------


class Kind:
    """A network that is loaded from a file: how, with which tensors, and what errors recommend."""

    def __init__(self, load: Callable[[Path], torch.nn.Module], network: torch.nn.Module, cure: str):
        self.load, self.cure = load, cure
        self.shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        self.first = next(iter(self.shapes))

    def state(self, **changes) -> dict[str, torch.Tensor]:
        """Zeros of the right shapes that take a few bytes on disk: every tensor is one number, expanded."""
        return {key: torch.zeros(()).expand(shape) for key, shape in self.shapes.items()} | changes

    def rejects(self, path: Path, problem: str) -> None:
        """The error names the file, what is wrong with it, and the files to use."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about the file
            with pytest.raises(ValueError, match=problem) as error:
                self.load(path)
        assert str(error.value).startswith(f"{path}: ") and self.cure in str(error.value)


FILES = " or ".join(file for file, _ in PUBLISHED_WEIGHTS.values())
KINDS = {
    "inception": Kind(
        lambda path: load_inception_resnet_v1(path, 8631),
        InceptionResnetV1(8631),
        f"use {FILES} from https://github.com/timesler",
    ),
    "resnet": Kind(
        lambda path: load_resnet(path, 18),
        ResNet(18, seeded(), num_classes=1000),
        f"use https://download.pytorch.org/models/{PUBLISHED_RESNETS[18]}",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request) -> Kind:
    return KINDS[request.param]


@pytest.mark.parametrize("change", ["none", "legacy format", "half precision", "no batch counters"])
def test_what_was_saved_is_loaded(kind, tmp_path, change):
    """Also in the format torch wrote until 1.6, in which the published files may be."""
    state = {key: torch.rand(shape, generator=seeded(3)) for key, shape in kind.shapes.items()}
    if change == "half precision":
        state = {key: tensor.half() for key, tensor in state.items()}
    if change == "no batch counters":
        state = {key: tensor for key, tensor in state.items() if "num_batches" not in key}
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=change != "legacy format")
    before = torch.get_rng_state()
    network = kind.load(tmp_path / "w.pt")
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn at random"
    assert not any(module.training for module in network.modules())
    assert {p.requires_grad for p in network.parameters()} == {isinstance(network, ResNet)}
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    loaded = network.state_dict()
    assert set(kind.shapes) - set(loaded) <= {"fc.weight", "fc.bias"} and not set(loaded) - set(kind.shapes)
    assert all(torch.equal(loaded[key].float(), state[key].float()) for key in set(loaded) & set(state))


def test_a_loaded_resnet_has_the_features_of_the_one_saved_and_no_classifier(tmp_path):
    trained = untrivial(ResNet(18, seeded(3), num_classes=10)).eval()
    torch.save(trained.state_dict(), tmp_path / "resnet.pth")
    loaded, images = load_resnet(tmp_path / "resnet.pth", 18), drawn_images(2, 3, 40, 40)
    assert torch.equal(loaded.features(images), trained.features(images)) and not hasattr(loaded, "fc")


def test_one_wrong_key_is_named(kind, tmp_path):
    path, whole, key = tmp_path / "w.pt", kind.state(), kind.first
    shape = re.escape(str(list(kind.shapes[key])))
    for state, problem in (
        ({name: tensor for name, tensor in whole.items() if name != key}, f'Missing key.*"{key}"'),
        (kind.state(extra=torch.zeros(1)), 'Unexpected key.*"extra"'),
        (kind.state(**{key: torch.zeros(64, 1, 7, 7)}), f"size mismatch for {key}: .*{shape}"),
        (kind.state(**{key: [0.0]}), f'parameter named "{key}", expected torch.Tensor.* received .*list'),
        (torch.nn.Linear(1792, 128).state_dict(), f'Missing key.*"{key}"'),
        ({"state_dict": whole, "epoch": 3}, f'Missing key.*"{key}"'),
        ([torch.zeros(3)], "to be dict-like, got <class 'list'>"),
    ):
        torch.save(state, path)
        kind.rejects(path, f"not the expected .* weights: .*{problem}")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kept", [0, 0.02, 0.2, 0.5, 0.8, 0.999])
def test_truncated_files_are_refused(kind, tmp_path, zipped, kept):
    path = tmp_path / "w.pt"
    torch.save(kind.state(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    kind.rejects(path, "damaged")


def test_whole_modules_web_pages_and_absent_files_are_refused(kind, tmp_path):
    path = tmp_path / "w.pt"
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        kind.load(path)
    torch.save(torch.nn.Linear(2, 2), path)
    kind.rejects(path, r"a whole pickled module \(refused: unpickling runs code\)")
    path.write_text("<html>Not Found</html>")
    kind.rejects(path, "not a plain file of tensors")


def test_the_published_files_are_told_apart(tmp_path, monkeypatch):
    torch.save(KINDS["inception"].state(), tmp_path / "w.pt")
    for file, num_classes in PUBLISHED_WEIGHTS.values():
        if num_classes != 8631:
            with pytest.raises(ValueError, match=r"size mismatch for logits.weight: .*\[8631, 512\].*" + file):
                load_inception_resnet_v1(tmp_path / "w.pt", num_classes)
    resnet = KINDS["resnet"]
    torch.save(resnet.state(), tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"ResNet-50 weights: .*Missing key"):
        load_resnet(tmp_path / "resnet.pth", 50)
    # a published name announces the file's own checksum
    checksum = hashlib.sha256((tmp_path / "resnet.pth").read_bytes()).hexdigest()
    path = (tmp_path / "resnet.pth").rename(tmp_path / PUBLISHED_RESNETS[18])
    resnet.rejects(path, f"its SHA-256 begins with {checksum[:8]}, that of the published file with f37072fd")
    monkeypatch.setitem(PUBLISHED_RESNETS, 18, f"resnet18-{checksum[:8]}.pth")
    assert load_resnet(path.rename(tmp_path / PUBLISHED_RESNETS[18]), 18).n_features == 512


@pytest.mark.data
@pytest.mark.parametrize("name", [*PUBLISHED_WEIGHTS, *PUBLISHED_RESNETS])
def test_the_published_files_load(data_root, name):
    file = PUBLISHED_RESNETS.get(name) or PUBLISHED_WEIGHTS[name][0]
    path = data_root / "weights" / file
    if not path.is_file():
        pytest.skip(f"no {file} in {path.parent}")
    if name in PUBLISHED_RESNETS:
        features = load_resnet(path, name).features(FACES)
        assert (features >= 0).all()
    else:
        assert find_weights(data_root)[name] == path
        features = load_inception_resnet_v1(path, PUBLISHED_WEIGHTS[name][1]).tapped_features(FACES)["mixed_7a"]
        assert features.shape == (3, 1792)
    assert features.isfinite().all() and features.std() > 0
