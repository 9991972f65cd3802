"""Inception-ResNet-v1: public names, shapes and counts in closed form, a functional oracle, weight files."""

import re
import warnings
from collections import Counter
from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from uncertain_affect.features import find_weights
from uncertain_affect.models.backbones import (
    PUBLISHED_WEIGHTS,
    TAPS,
    InceptionResnetV1,
    load_inception_resnet_v1,
    prepare_faces,
)


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
