"""Frozen features: HOG by hand and against scikit-image, face features, and when they are computed anew."""

import re

import numpy as np
import pytest
import torch
from skimage.feature import hog

from uncertain_affect.compute import cache
from uncertain_affect.corpora.simulated import identity
from uncertain_affect.models import backbones
from uncertain_affect.models.backbones import PUBLISHED_WEIGHTS, SMALL_TAPS, TAPS, InceptionResnetV1, SmallResNet
from uncertain_affect.training import features
from uncertain_affect.training.features import find_weights, frozen_features, hog_features, tapped_features, taps_of

FILE, NUM_CLASSES = PUBLISHED_WEIGHTS["casia-webface"]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The names of the slow functions that ran."""
    calls = []
    for module, name in ((features, "hog_features"), (backbones, "load_inception_resnet_v1")):
        function = getattr(module, name)

        def recorded(*args, name=name, function=function):
            calls.append(name)
            return function(*args)

        monkeypatch.setattr(module, name, recorded)
    return calls


@pytest.fixture(scope="module")
def network() -> InceptionResnetV1:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InceptionResnetV1(NUM_CLASSES)


@pytest.fixture
def root(network, tmp_path):
    (tmp_path / "weights").mkdir()
    torch.save(network.state_dict(), tmp_path / "weights" / FILE)
    return tmp_path


@pytest.mark.parametrize(("axis", "bin"), [(1, 0), (0, 4)], ids=["horizontal", "vertical"])
def test_hog_of_a_ramp_by_hand(axis, bin):
    # All gradients of a ramp point one way: along columns at 0 degrees, the first of nine bins of 20
    # degrees; along rows at 90, the fifth. A cell's histogram is then one number h, and the four cells of
    # a block give h / 2h = .5 each, which L2-Hys clips to .2 and normalises back to .5.
    ramp = np.broadcast_to(3 * np.arange(48, dtype=np.uint8), (48, 48))
    expected = np.zeros((5 * 5, 2 * 2, 9))
    expected[:, :, bin] = 0.5
    measured = hog_features((ramp if axis == 1 else ramp.T)[None])
    assert measured.shape == (1, 900) and measured.dtype == np.float32
    np.testing.assert_allclose(measured[0], expected.ravel(), atol=1e-6)
    assert not hog_features(np.full((1, 48, 48), 200, dtype=np.uint8)).any(), "a flat image has no gradient"


def test_hog_agrees_with_scikit_image_and_is_quiet(images, capfd):
    # 9 orientations, 8x8 cells and L2-Hys are scikit-image's own defaults.
    direct = [hog(image, cells_per_block=(2, 2)) for image in images]
    for given in (images, torch.tensor(images)):
        np.testing.assert_array_equal(hog_features(given), np.float32(direct))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [np.zeros((2, 48, 48)), np.zeros((48, 48), np.uint8), np.zeros((0, 48, 48), np.uint8)])
def test_other_images_are_refused(bad):
    for function in (hog_features, frozen_features):
        with pytest.raises(ValueError, match=r"features take at least one grey image, uint8 \(N, H, W\)"):
            function(bad)


def test_features_are_computed_once_for_the_same_pixels_tap_and_weights(images, root, network, calls):
    first, second = frozen_features(images), frozen_features(torch.tensor(images))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, hog_features(images))
    assert calls == ["hog_features"]
    faces = [frozen_features(images, "casia-webface", "mixed_5a", root) for _ in range(2)]
    np.testing.assert_array_equal(*faces)
    assert calls == ["hog_features", "load_inception_resnet_v1"]
    # other taps are there already; other weights and pixels are noticed
    assert frozen_features(images, "casia-webface", "mixed_6a", root).shape == (3, 896) and len(calls) == 2
    torch.save(network.state_dict() | {"conv2d_1a.bn.bias": torch.ones(32)}, root / "weights" / FILE)
    assert not np.array_equal(faces[0], frozen_features(images, "casia-webface", "mixed_5a", root))
    images[1, 20, 20] ^= 128
    changed = frozen_features(images)
    assert calls[2:] == ["load_inception_resnet_v1", "hog_features"]
    np.testing.assert_array_equal((first != changed).any(axis=1), [False, True, False])


def test_face_features_are_those_of_the_network_whatever_the_batches(images, root, network, calls, monkeypatch):
    monkeypatch.setattr(features, "BATCH_SIZE", 2)
    tapped, expected = (
        tapped_features(images, "casia-webface", root=root),
        network.tapped_features(torch.tensor(images)),
    )
    assert calls == ["load_inception_resnet_v1"] and list(tapped) == list(TAPS)
    for tap in TAPS:
        assert tapped[tap].shape == (3, TAPS[tap][1]) and tapped[tap].dtype == np.float32
        np.testing.assert_allclose(tapped[tap], expected[tap], rtol=1e-4, atol=1e-4)
    alone = frozen_features(images, "casia-webface", root=root)
    np.testing.assert_allclose(alone, tapped["mixed_7a"], rtol=1e-5, atol=1e-6)


def test_an_extraction_that_was_cut_off_goes_on_and_says_how_far_it_is(images, root, network, monkeypatch, capfd):
    monkeypatch.setattr(features, "BATCH_SIZE", 1)
    monkeypatch.setattr(cache, "BLOCK_BYTES", 4 * sum(width for _, width in TAPS.values()))  # an image a block
    seen, tapped = [], InceptionResnetV1.tapped_features

    def cut(self, batch, *how):
        if len(seen) == 2:
            seen.append("cut")
            raise KeyboardInterrupt
        seen.append(batch)
        return tapped(self, batch, *how)

    monkeypatch.setattr(InceptionResnetV1, "tapped_features", cut)
    with pytest.raises(KeyboardInterrupt):
        tapped_features(images, "casia-webface", root=root)
    assert re.fullmatch(
        r"casia-webface features \(nearest, raw\): 1 of 3 images, [\d.]+ a second, \d+ min left\n"
        r"casia-webface features \(nearest, raw\): 2 of 3 images, .*\n", capfd.readouterr().err
    )  # fmt: skip
    whole = tapped_features(images, "casia-webface", root=root)
    assert len(seen) == 4 and capfd.readouterr().err.startswith("casia-webface features (nearest, raw): 3 of 3")
    expected = tapped(network, torch.tensor(images))
    for tap in TAPS:
        np.testing.assert_allclose(whole[tap], expected[tap], rtol=1e-4, atol=1e-4)


def test_weights_are_found_and_missing_ones_named(images, root, tmp_path):
    assert find_weights(root) == {"casia-webface": root / "weights" / FILE} and find_weights(root / "none") == {}
    file = PUBLISHED_WEIGHTS["vggface2"][0]
    with pytest.raises(FileNotFoundError) as error:
        frozen_features(images, "vggface2", root=root)
    address = f"Download {file} from https://github.com/timesler/facenet-pytorch"
    for part in (str(root / "weights" / file), address, "kind='hog'"):
        assert part in str(error.value)
    # the weights of one corpus under the name of the other
    (root / "weights" / FILE).rename(root / "weights" / file)
    with pytest.raises(ValueError, match=r"size mismatch for logits.weight: .*\[10575, 512\]"):
        frozen_features(images, "vggface2", root=root)
    assert not list((tmp_path / "cache").rglob("*.sha256")), "nothing counts as made"


def test_unknown_kinds_and_taps_are_named(images, root):
    for kind in ("lbp", "hog"):
        with pytest.raises(ValueError, match=f"no network gives '{kind}' features: choose among simulated-skewed, "):
            tapped_features(images, kind)
    with pytest.raises(ValueError, match=r"no network gives 'lbp' features: .*; hog needs none"):
        frozen_features(images, "lbp")
    with pytest.raises(ValueError, match="unknown tap 'mixed_9a'"):
        frozen_features(images, "casia-webface", "mixed_9a", root)


def test_simulated_features_are_those_of_the_network_of_their_corpus(images, monkeypatch):
    """The networks are untrained, in place of the pre-trained ones."""
    calls = {
        (corpus, "quick", 0, "cpu"): SmallResNet(2, torch.Generator().manual_seed(seed)).eval().requires_grad_(False)
        for seed, corpus in enumerate(identity.CORPORA)
    }
    monkeypatch.setattr(identity, "pretrain", lambda *call: calls[call])
    for (corpus, *_), network in calls.items():
        expected = network.tapped_features(torch.tensor(images))
        tapped = tapped_features(images, f"simulated-{corpus}")
        assert list(tapped) == list(SMALL_TAPS)
        for tap in SMALL_TAPS:
            np.testing.assert_allclose(tapped[tap], expected[tap], rtol=1e-4, atol=1e-5)
    assert taps_of("casia-webface")[3] == "mixed_7a" and taps_of("simulated-skewed")[3] == "stage4"
    by_default = frozen_features(images, "simulated-balanced")
    np.testing.assert_allclose(by_default, tapped["stage4"], rtol=1e-4, atol=1e-5)
