"""Inception-ResNet-v1, ResNet-18 and -50: public names, shapes and counts, functional oracles, weight files."""

import hashlib
import re
import warnings
from collections import Counter
from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from uncertain_affect.models.backbones import (
    PUBLISHED_RESNETS,
    PUBLISHED_WEIGHTS,
    TAPS,
    InceptionResnetV1,
    ResNet,
    load_inception_resnet_v1,
    load_resnet,
    prepare_faces,
)
from uncertain_affect.training.features import find_weights


def conv_shapes() -> dict[str, tuple[int, ...]]:
    """Weight shapes of every convolution with batch normalisation, written out from the architecture."""
    shapes = {
        "conv2d_1a": (32, 3, 3, 3),
        "conv2d_2a": (32, 32, 3, 3),
        "conv2d_2b": (64, 32, 3, 3),
        "conv2d_3b": (80, 64, 1, 1),
        "conv2d_4a": (192, 80, 3, 3),
        "conv2d_4b": (256, 192, 3, 3),
        "mixed_6a.branch0": (384, 256, 3, 3),
        "mixed_6a.branch1.0": (192, 256, 1, 1),
        "mixed_6a.branch1.1": (192, 192, 3, 3),
        "mixed_6a.branch1.2": (256, 192, 3, 3),
        "mixed_7a.branch0.0": (256, 896, 1, 1),
        "mixed_7a.branch0.1": (384, 256, 3, 3),
        "mixed_7a.branch1.0": (256, 896, 1, 1),
        "mixed_7a.branch1.1": (256, 256, 3, 3),
        "mixed_7a.branch2.0": (256, 896, 1, 1),
        "mixed_7a.branch2.1": (256, 256, 3, 3),
        "mixed_7a.branch2.2": (256, 256, 3, 3),
    }
    for i in range(5):
        for branch in ("branch0", "branch1.0", "branch2.0"):
            shapes[f"repeat_1.{i}.{branch}"] = (32, 256, 1, 1)
        for branch in ("branch1.1", "branch2.1", "branch2.2"):
            shapes[f"repeat_1.{i}.{branch}"] = (32, 32, 3, 3)
    for block, inside, width, k in (
        *((f"repeat_2.{i}", 896, 128, 7) for i in range(10)),
        *((f"repeat_3.{i}", 1792, 192, 3) for i in range(5)),
        ("block8", 1792, 192, 3),
    ):
        shapes[f"{block}.branch0"] = shapes[f"{block}.branch1.0"] = (width, inside, 1, 1)
        shapes[f"{block}.branch1.1"] = (width, width, 1, k)
        shapes[f"{block}.branch1.2"] = (width, width, k, 1)
    return shapes


def expected_shapes(num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name, shape in conv_shapes().items():
        shapes[f"{name}.conv.weight"] = shape
        shapes |= {f"{name}.bn.{key}": shape[:1] for key in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{name}.bn.num_batches_tracked"] = ()
    for block, mixed, channels in (
        *((f"repeat_1.{i}", 96, 256) for i in range(5)),
        *((f"repeat_2.{i}", 256, 896) for i in range(10)),
        *((f"repeat_3.{i}", 384, 1792) for i in range(5)),
        ("block8", 384, 1792),
    ):
        shapes |= {f"{block}.conv2d.weight": (channels, mixed, 1, 1), f"{block}.conv2d.bias": (channels,)}
    shapes["last_linear.weight"] = (512, 1792)
    shapes |= {f"last_bn.{key}": (512,) for key in ("weight", "bias", "running_mean", "running_var")}
    shapes["last_bn.num_batches_tracked"] = ()
    if num_classes:
        shapes |= {"logits.weight": (num_classes, 512), "logits.bias": (num_classes,)}
    return shapes


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random weights at which no normalisation is trivial, and activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in expected_shapes().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif key.endswith(("running_var", "bn.weight")):
            state[key] = torch.rand(shape, generator=generator) + 0.5
        else:
            fan_in = prod(shape[1:]) if len(shape) > 1 else 25
            state[key] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    return state


@pytest.fixture(scope="module")
def weight_file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "faces.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def network(weight_file) -> InceptionResnetV1:
    return load_inception_resnet_v1(weight_file)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def small_state(num_classes: int | None = None) -> dict[str, torch.Tensor]:
    """Zeros of the right shapes that take a few bytes on disk: every tensor is one number, expanded."""
    return {key: torch.zeros(()).expand(shape) for key, shape in expected_shapes(num_classes).items()}


class TestArchitecture:
    @pytest.mark.parametrize("num_classes", [None, 8631, 10575])
    def test_names_and_shapes_are_the_public_ones(self, num_classes):
        with torch.device("meta"):
            model = InceptionResnetV1(num_classes)
        assert {key: tuple(t.shape) for key, t in model.state_dict().items()} == expected_shapes(num_classes)

    def test_parameter_counts(self):
        # A convolution with batch normalisation has k * in * out weights, out scales and out shifts.
        counts = Counter()
        for name, shape in conv_shapes().items():
            counts[name.split(".")[0]] += prod(shape) + 2 * shape[0]
        counts["repeat_1"] += 5 * (96 * 256 + 256)
        counts["repeat_2"] += 10 * (256 * 896 + 896)
        counts["repeat_3"] += 5 * (384 * 1792 + 1792)
        counts["block8"] += 384 * 1792 + 1792
        counts["last_linear"], counts["last_bn"] = 1792 * 512, 2 * 512

        with torch.device("meta"):
            model = InceptionResnetV1()
        measured = {
            name: sum(p.numel() for p in child.parameters())
            for name, child in model.named_children()
            if name != "maxpool_3a"
        }
        assert measured == counts
        assert sum(counts.values()) == 23_482_624

    def test_normalisation_constants_are_the_public_ones(self):
        with torch.device("meta"):
            norms = [m for m in InceptionResnetV1().modules() if "BatchNorm" in type(m).__name__]
        assert len(norms) == len(conv_shapes()) + 1
        assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.1)}

    def test_is_frozen(self, network):
        assert not any(p.requires_grad for p in network.parameters())
        assert not any(module.training for module in network.modules())


class TestForward:
    def test_agrees_with_functional_oracle(self, network, state):
        """Every tap and the embedding, on a grid that is not square, so that 1x7 and 7x1 differ."""

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

        x = x.mean((2, 3)) @ state["last_linear.weight"].T
        x = (x - state["last_bn.running_mean"]) / (state["last_bn.running_var"] + 1e-3) ** 0.5
        x = x * state["last_bn.weight"] + state["last_bn.bias"]
        torch.testing.assert_close(network(batch), x / x.norm(dim=1, keepdim=True), rtol=1e-3, atol=1e-4)

    def test_tap_shapes_of_a_face(self, network, faces):
        maps = network.tap_maps(prepare_faces(faces[:1]), TAPS)
        assert {tap: tuple(x.shape[1:]) for tap, x in maps.items()} == {
            "mixed_5a": (256, 17, 17),
            "mixed_6a": (896, 8, 8),
            "mixed_6b": (896, 8, 8),
            "mixed_7a": (1792, 3, 3),
            "mixed_8a": (1792, 3, 3),
            "mixed_8b": (1792, 3, 3),
        }
        for tap, features in network.tapped_features(faces[:1]).items():
            assert features.shape == (1, TAPS[tap][1])
            torch.testing.assert_close(features, maps[tap].mean((2, 3)))

    def test_nothing_is_computed_beyond_the_tap(self, network, faces):
        called = []
        hooks = [
            module.register_forward_hook(lambda *_, name=name: called.append(name))
            for name, module in network.named_children()
        ]
        network.features(faces[:1], tap="mixed_6a")
        for hook in hooks:
            hook.remove()
        assert called[-2:] == ["repeat_1", "mixed_6a"]

    def test_features_do_not_depend_on_the_batch(self, network, faces):
        together = network.features(faces)
        one_by_one = torch.cat([network.features(face[None]) for face in faces])
        torch.testing.assert_close(one_by_one, together, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(together[0], together[1], rtol=1e-2)

    def test_unknown_tap(self, network, faces):
        with pytest.raises(ValueError, match=r"unknown tap 'mixed_6c': choose among mixed_5a, .*mixed_8b"):
            network.features(faces, tap="mixed_6c")


class TestPrepareFaces:
    @pytest.mark.parametrize(
        ("resize", "filter", "tolerance"),
        [
            ("nearest", Image.Resampling.NEAREST, 0),
            ("bilinear", Image.Resampling.BILINEAR, 1),  # rounded after each axis, or once
            ("bicubic", Image.Resampling.BICUBIC, 2),
        ],
    )
    def test_resizes_as_pillow_does(self, faces, resize, filter, tolerance):
        ours = prepare_faces(faces, resize=resize).numpy()
        pillow = [np.asarray(Image.fromarray(face).resize((160, 160), filter)) for face in faces.numpy()]
        assert ours.shape == (3, 3, 160, 160) and ours.dtype == np.float32
        for channel in range(3):
            assert np.abs(ours[:, channel] - np.stack(pillow)).max() <= tolerance

    def test_scaling(self, network, faces):
        raw, fixed = (prepare_faces(faces, scaling=scaling) for scaling in ("raw", "fixed"))
        assert raw.min() < 5 and raw.max() > 250
        torch.testing.assert_close(fixed, (raw - 127.5) / 128)
        by_default, standardised = network.features(faces), network.features(faces, scaling="fixed")
        assert torch.equal(by_default, network.features(faces, scaling="raw"))
        assert not torch.allclose(by_default, standardised, rtol=0.1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"scaling": "whitened"}, "unknown scaling 'whitened': choose 'raw' or 'fixed'"),
            ({"resize": "area"}, "unknown resize 'area': choose among nearest, bilinear, bicubic"),
        ],
    )
    def test_unknown_options(self, faces, options, message):
        with pytest.raises(ValueError, match=message):
            prepare_faces(faces, **options)

    def test_other_images(self):
        for images in (torch.zeros(2, 3, 48, 48, dtype=torch.uint8), torch.zeros(2, 48, 48)):
            with pytest.raises(ValueError, match=r"grey images are uint8 \(N, H, W\)"):
                prepare_faces(images)


class TestWeightFiles:
    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
    def test_saved_then_loaded_is_equal(self, state, tmp_path, zipped):
        """Also in the format torch wrote until 1.6, in which the published files may be."""
        torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
        loaded = load_inception_resnet_v1(tmp_path / "w.pt").state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[key], state[key]) for key in state)

    @pytest.mark.parametrize(("file", "num_classes"), PUBLISHED_WEIGHTS.values())
    def test_files_with_the_published_classifiers(self, tmp_path, file, num_classes):
        torch.save(small_state(num_classes), tmp_path / file)
        for given in (num_classes, None):
            model = load_inception_resnet_v1(tmp_path / file, given)
            assert model.logits.weight.shape == (num_classes, 512)

    def test_batch_counters_may_be_absent(self, state, weight_file, network, faces, tmp_path):
        torch.save({k: t for k, t in state.items() if "num_batches" not in k}, tmp_path / "w.pt")
        assert torch.equal(load_inception_resnet_v1(tmp_path / "w.pt").features(faces), network.features(faces))

    def test_half_precision_is_widened(self, state, tmp_path):
        torch.save({key: t.half() for key, t in state.items()}, tmp_path / "w.pt")
        model = load_inception_resnet_v1(tmp_path / "w.pt")
        assert {p.dtype for p in model.parameters()} == {torch.float32}

    def test_draws_nothing_at_random(self, weight_file):
        before = torch.get_rng_state()
        load_inception_resnet_v1(weight_file)
        assert torch.equal(torch.get_rng_state(), before)

    def rejected(self, path, problem, num_classes=None):
        """The error names the file, what is wrong with it, and the files to use."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about the file
            with pytest.raises(ValueError, match=problem) as error:
                load_inception_resnet_v1(path, num_classes)
        assert str(error.value).startswith(f"{path}: ")
        for file, _ in PUBLISHED_WEIGHTS.values():
            assert file in str(error.value)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda s: s.pop("repeat_2.3.conv2d.weight"), "key 'repeat_2.3.conv2d.weight' is missing"),
            (lambda s: s.update(fc=torch.zeros(1)), "key 'fc' is unexpected"),
            (
                lambda s: s.update({"block8.conv2d.bias": torch.zeros(896)}),
                r"key 'block8.conv2d.bias' has shape \(896,\) where \(1792,\) is expected",
            ),
            (lambda s: s.update({"last_bn.bias": [0.0]}), "key 'last_bn.bias' holds a list, not a tensor"),
        ],
        ids=["missing", "unexpected", "shape", "type"],
    )
    def test_one_wrong_key(self, tmp_path, change, problem):
        state = small_state()
        change(state)
        torch.save(state, tmp_path / "w.pt")
        self.rejected(tmp_path / "w.pt", problem)

    def test_other_networks(self, tmp_path):
        torch.save(torch.nn.Linear(1792, 128).state_dict(), tmp_path / "mlp.pt")
        self.rejected(tmp_path / "mlp.pt", "key 'conv2d_1a.conv.weight' is missing")
        torch.save({"state_dict": small_state(), "epoch": 3}, tmp_path / "checkpoint.pt")
        self.rejected(tmp_path / "checkpoint.pt", "key 'conv2d_1a.conv.weight' is missing")
        torch.save([torch.zeros(3)], tmp_path / "list.pt")
        self.rejected(tmp_path / "list.pt", "it holds a list, not a state dict")

    def test_the_other_published_file(self, tmp_path):
        torch.save(small_state(8631), tmp_path / "w.pt")
        self.rejected(tmp_path / "w.pt", r"'logits.weight' has shape \(8631, 512\)", num_classes=10575)
        torch.save(small_state(), tmp_path / "w.pt")
        self.rejected(tmp_path / "w.pt", "key 'logits.weight' is missing", num_classes=10575)

    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
    @pytest.mark.parametrize("kept", [0, 0.02, 0.2, 0.5, 0.8, 0.999])
    def test_truncated(self, tmp_path, zipped, kept):
        torch.save(small_state(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
        whole = (tmp_path / "w.pt").read_bytes()
        (tmp_path / "w.pt").write_bytes(whole[: int(kept * len(whole))])
        self.rejected(tmp_path / "w.pt", "damaged")

    def test_whole_modules_and_web_pages(self, tmp_path):
        torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
        self.rejected(tmp_path / "module.pt", r"a whole pickled module \(refused: unpickling runs code\)")
        (tmp_path / "page.pt").write_text("<html>Not Found</html>")
        self.rejected(tmp_path / "page.pt", "not a plain file of tensors")

    def test_absent(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none.pt"))):
            load_inception_resnet_v1(tmp_path / "none.pt")

    @pytest.mark.data
    @pytest.mark.parametrize("kind", PUBLISHED_WEIGHTS)
    def test_the_published_files(self, data_root, faces, kind):
        if kind not in find_weights(data_root):
            pytest.skip(f"no {PUBLISHED_WEIGHTS[kind][0]} in {data_root / 'weights'}")
        model = load_inception_resnet_v1(find_weights(data_root)[kind], PUBLISHED_WEIGHTS[kind][1])
        features = model.features(faces)
        assert features.shape == (3, 1792) and features.isfinite().all()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_images(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))


def resnet_shapes(
    depth: int, width: int = 64, in_channels: int = 3, num_classes: int | None = None
) -> dict[str, tuple[int, ...]]:
    """The public names and shapes, from Table 1 of He et al. (2016)."""
    n_blocks, expansion = {18: ((2, 2, 2, 2), 1), 50: ((3, 4, 6, 3), 4)}[depth]
    shapes = {}

    def convolution(conv: str, bn: str, *shape: int) -> None:
        shapes[f"{conv}.weight"] = shape
        shapes.update({f"{bn}.{key}": shape[:1] for key in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{bn}.num_batches_tracked"] = ()

    convolution("conv1", "bn1", width, in_channels, 7, 7)
    before = width
    for stage in (1, 2, 3, 4):
        inside = width * 2 ** (stage - 1)
        after = inside * expansion
        for i in range(n_blocks[stage - 1]):
            block = f"layer{stage}.{i}"
            if depth == 18:
                kernels = [(inside, before, 3, 3), (after, inside, 3, 3)]
            else:
                kernels = [(inside, before, 1, 1), (inside, inside, 3, 3), (after, inside, 1, 1)]
            for j, kernel in enumerate(kernels, start=1):
                convolution(f"{block}.conv{j}", f"{block}.bn{j}", *kernel)
            # At depth 50 the channels change in the first stage, too.
            if i == 0 and (stage > 1 or depth == 50):
                convolution(f"{block}.downsample.0", f"{block}.downsample.1", after, before, 1, 1)
            before = after
    if num_classes:
        shapes |= {"fc.weight": (num_classes, before), "fc.bias": (num_classes,)}
    return shapes


def small_resnet_state(depth: int, **options) -> dict[str, torch.Tensor]:
    """Zeros of the right shapes that take a few bytes on disk."""
    return {key: torch.zeros(()).expand(shape) for key, shape in resnet_shapes(depth, **options).items()}


def untrivial(network: ResNet, seed: int = 2) -> ResNet:
    """Scales, shifts and running moments at random, so that no normalisation is trivial."""
    generator = seeded(seed)
    for name, tensor in network.state_dict().items():
        if re.search(r"(bn\d|downsample\.1)\.(weight|running_var)", name):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif re.search(r"(bn\d|downsample\.1)\.(bias|running_mean)", name):
            tensor.normal_(std=0.3, generator=generator)
    return network


class TestResNetArchitecture:
    @pytest.mark.parametrize("options", [{}, {"num_classes": 1000}, {"width": 8, "in_channels": 1, "num_classes": 12}])
    @pytest.mark.parametrize("depth", [18, 50])
    def test_names_and_shapes_are_the_public_ones(self, depth, options):
        network = ResNet(depth, seeded(), **options)
        assert {key: tuple(t.shape) for key, t in network.state_dict().items()} == resnet_shapes(depth, **options)

    @pytest.mark.parametrize(("depth", "expected"), [(18, 11_689_512), (50, 25_557_032)])
    def test_parameter_counts_are_the_published_ones(self, depth, expected):
        network = ResNet(depth, seeded(), num_classes=1000)
        assert sum(p.numel() for p in network.parameters()) == expected

    def test_initial_weights(self):
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

    def test_the_generator_alone_decides_the_weights(self):
        before = torch.get_rng_state()
        first, again, other = (ResNet(50, seeded(seed), width=4, num_classes=3).state_dict() for seed in (0, 0, 1))
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(first[key], again[key]) for key in first)
        drawn = [key for key in first if first[key].ndim == 4 or key.startswith("fc")]
        assert not any(torch.equal(first[key], other[key]) for key in drawn)

    @pytest.mark.parametrize(
        ("depth", "options", "message"),
        [
            (34, {}, "no ResNet of depth 34: choose among 18, 50"),
            (18, {"in_channels": 2}, "in_channels is 2: choose 3, or 1 for grey images only"),
        ],
    )
    def test_unknown_options(self, depth, options, message):
        with pytest.raises(ValueError, match=message):
            ResNet(depth, seeded(), **options)


class TestResNetForward:
    def test_by_hand(self):
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
    def test_agrees_with_functional_oracle(self, depth, in_channels, training):
        """Logits and gradients, in double precision, on a grid that is neither square nor even."""
        # In single precision, gradients through ReLU at depth 50 agree to 2% only.
        network = untrivial(ResNet(depth, seeded(), width=8, in_channels=in_channels, num_classes=5)).double()
        network.train(training)
        state = {key: t.clone().requires_grad_(key == "conv1.weight") for key, t in network.state_dict().items()}
        images = drawn_images(3, 75, 54) if in_channels == 1 else drawn_images(3, 3, 75, 54)

        def conv(x, weight, bn, stride=1, padding=0):
            x = F.conv2d(x, state[f"{weight}.weight"], None, stride, padding)
            mean, var = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
            if training:
                mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            mean, var, scale, shift = (
                t[:, None, None] for t in (mean, var, state[f"{bn}.weight"], state[f"{bn}.bias"])
            )
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

        logits = network(images)
        torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)
        logits.square().sum().backward()
        expected.square().sum().backward()
        ours, theirs = network.conv1.weight.grad, state["conv1.weight"].grad
        torch.testing.assert_close(ours.contiguous(), theirs, rtol=1e-5, atol=1e-6 * theirs.abs().max().item())

    @pytest.mark.parametrize(("depth", "n_features"), [(18, 64), (50, 256)])
    @pytest.mark.parametrize("size", [(1, 1), (31, 7), (48, 48), (57, 112)])
    def test_any_size(self, depth, n_features, size):
        network = ResNet(depth, seeded(), width=8).eval()
        features = network.features(drawn_images(2, *size))
        assert features.shape == (2, network.n_features) == (2, n_features)
        assert features.isfinite().all() and not torch.allclose(features[0], features[1])

    def test_grey_is_rgb_of_equal_channels(self):
        network = untrivial(ResNet(18, seeded(), width=8)).eval()
        grey = drawn_images(3, 40, 50)
        torch.testing.assert_close(network.features(grey), network.features(grey[:, None].expand(-1, 3, -1, -1)))
        rgb = drawn_images(3, 3, 40, 50)
        assert not torch.allclose(network.features(rgb), network.features(rgb.flip(1)), rtol=1e-2)

    def test_prepared_pixels(self):
        black_and_white = torch.tensor([[[0, 255]]], dtype=torch.uint8)
        grey = ResNet(18, seeded(), width=1, in_channels=1).prepare(black_and_white)
        torch.testing.assert_close(grey, torch.tensor([[[[-127.5 / 128, 127.5 / 128]]]]))
        rgb = ResNet(18, seeded(), width=1).prepare(black_and_white)
        expected = [[-0.485 / 0.229, 0.515 / 0.229], [-0.456 / 0.224, 0.544 / 0.224], [-0.406 / 0.225, 0.594 / 0.225]]
        torch.testing.assert_close(rgb, torch.tensor(expected)[None, :, None])

    def test_features_do_not_depend_on_the_batch_in_evaluation(self):
        network, images = untrivial(ResNet(18, seeded(), width=8, in_channels=1)), drawn_images(3, 48, 48)
        network.eval()
        one_by_one = torch.cat([network.features(image[None]) for image in images])
        torch.testing.assert_close(one_by_one, network.features(images))
        network.train()
        assert not torch.allclose(network.features(images)[:2], network.features(images[:2]), rtol=1e-2)

    @pytest.mark.parametrize(
        ("in_channels", "images", "takes"),
        [
            (3, torch.zeros(2, 3, 48, 48), r"3 input channels .* grey, uint8 \(N, H, W\) or RGB, uint8 \(N, 3, H, W\)"),
            (3, torch.zeros(2, 4, 48, 48, dtype=torch.uint8), "or RGB"),
            (3, torch.zeros(48, 48, dtype=torch.uint8), "or RGB"),
            (1, torch.zeros(2, 3, 48, 48, dtype=torch.uint8), r"1 input channel takes .* uint8 \(N, H, W\)$"),
            (1, torch.zeros(2, 1, 48, 48, dtype=torch.uint8), r"shape \(2, 1, 48, 48\)"),
        ],
    )
    def test_other_images(self, in_channels, images, takes):
        with pytest.raises(ValueError, match=takes):
            ResNet(18, seeded(), width=1, in_channels=in_channels).features(images)


@pytest.fixture(scope="module")
def trained() -> ResNet:
    return untrivial(ResNet(18, seeded(3), num_classes=10)).eval()


@pytest.fixture(scope="module")
def trained_file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(trained.state_dict(), path)
    return path


class TestResNetWeightFiles:
    def test_saved_then_loaded_is_equal_without_the_classifier(self, trained, trained_file):
        images, before = drawn_images(2, 3, 40, 40), torch.get_rng_state()
        loaded = load_resnet(trained_file, 18)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(loaded.features(images), trained.features(images))
        expected = trained.state_dict()
        assert expected.keys() - loaded.state_dict().keys() == {"fc.weight", "fc.bias"}
        assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.state_dict().items())

    def test_is_in_evaluation_mode_and_can_be_trained_on(self, trained_file):
        network = load_resnet(trained_file, 18)
        assert not any(module.training for module in network.modules())
        assert all(p.requires_grad for p in network.parameters())

    def test_counters_may_be_absent_and_half_precision_is_widened(self, trained, tmp_path):
        state = {k: t.half() for k, t in trained.state_dict().items() if "num_batches" not in k and "fc" not in k}
        torch.save(state, tmp_path / "w.pth")
        loaded = load_resnet(tmp_path / "w.pth", 18).state_dict()
        assert all(torch.equal(loaded[key], tensor.float()) for key, tensor in state.items())
        assert loaded["bn1.num_batches_tracked"] == 0

    @pytest.mark.parametrize("depth", [18, 50])
    def test_file_with_the_published_classifier(self, tmp_path, depth):
        torch.save(small_resnet_state(depth, num_classes=1000), tmp_path / "w.pth")
        network = load_resnet(tmp_path / "w.pth", depth)
        assert not hasattr(network, "fc") and (network.conv1.weight == 0).all()

    def rejected(self, path, problem, depth=18):
        """The error names the file, what is wrong with it, and the file to use."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about the file
            with pytest.raises(ValueError, match=problem) as error:
                load_resnet(path, depth)
        assert str(error.value).startswith(f"{path}: ")
        assert f"use https://download.pytorch.org/models/{PUBLISHED_RESNETS[depth]}" in str(error.value)

    def test_checksum_of_a_published_name(self, tmp_path, monkeypatch):
        torch.save(small_resnet_state(18), tmp_path / "w.pth")
        checksum = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
        path = (tmp_path / "w.pth").rename(tmp_path / "resnet18-f37072fd.pth")
        self.rejected(path, f"its SHA-256 begins with {checksum[:8]}, that of the published file with f37072fd")
        self.rejected(path, "that of the published file with f37072fd", depth=50)
        # The same file under a name that announces its own checksum.
        monkeypatch.setitem(PUBLISHED_RESNETS, 18, f"resnet18-{checksum[:8]}.pth")
        assert load_resnet(path.rename(tmp_path / PUBLISHED_RESNETS[18]), 18).n_features == 512

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda s: s.pop("layer3.0.downsample.0.weight"), "key 'layer3.0.downsample.0.weight' is missing"),
            (
                lambda s: s.update({"layer1.2.conv1.weight": torch.zeros(1)}),
                "key 'layer1.2.conv1.weight' is unexpected",
            ),
            (
                lambda s: s.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}),
                r"key 'conv1.weight' has shape \(64, 1, 7, 7\) where \(64, 3, 7, 7\) is expected",
            ),
            (lambda s: s.update({"bn1.bias": [0.0]}), "key 'bn1.bias' holds a list, not a tensor"),
        ],
        ids=["missing", "unexpected", "shape", "type"],
    )
    def test_one_wrong_key(self, tmp_path, change, problem):
        state = small_resnet_state(18, num_classes=1000)
        change(state)
        torch.save(state, tmp_path / "w.pth")
        self.rejected(tmp_path / "w.pth", f"not the expected ResNet-18 weights: {problem}")

    def test_other_networks(self, tmp_path):
        torch.save(small_resnet_state(50), tmp_path / "w.pth")
        self.rejected(tmp_path / "w.pth", r"ResNet-18 weights: key 'layer1.0.conv1.weight' has shape \(64, 64, 1, 1\)")
        torch.save(small_resnet_state(18), tmp_path / "w.pth")
        self.rejected(tmp_path / "w.pth", r"ResNet-50 weights: key 'layer1.0.conv1.weight' has shape", depth=50)
        torch.save({"state_dict": small_resnet_state(18)}, tmp_path / "w.pth")
        self.rejected(tmp_path / "w.pth", "key 'conv1.weight' is missing")
        torch.save([torch.zeros(3)], tmp_path / "w.pth")
        self.rejected(tmp_path / "w.pth", "it holds a list, not a state dict")

    @pytest.mark.parametrize("kept", [0, 0.5, 0.999])
    def test_truncated(self, tmp_path, kept):
        torch.save(small_resnet_state(18), tmp_path / "w.pth")
        whole = (tmp_path / "w.pth").read_bytes()
        (tmp_path / "w.pth").write_bytes(whole[: int(kept * len(whole))])
        self.rejected(tmp_path / "w.pth", "truncated or damaged")

    def test_whole_modules_and_absent_files(self, tmp_path):
        torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
        self.rejected(tmp_path / "module.pth", r"a whole pickled module \(refused: unpickling runs code\)")
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none.pth"))):
            load_resnet(tmp_path / "none.pth", 18)

    @pytest.mark.data
    @pytest.mark.parametrize("depth", PUBLISHED_RESNETS)
    def test_the_published_files(self, data_root, faces, depth):
        path = data_root / "weights" / PUBLISHED_RESNETS[depth]
        if not path.is_file():
            pytest.skip(f"no {path.name} in {path.parent}")
        features = load_resnet(path, depth).features(faces)
        assert features.isfinite().all() and (features >= 0).all() and features.std() > 0
