"""Frozen features: HOG by hand and against scikit-image, face features, and when they are computed anew."""

import numpy as np
import pytest
import torch
from skimage.feature import hog

from uncertain_affect.corpora.simulated import identity
from uncertain_affect.models.backbones import PUBLISHED_WEIGHTS, SMALL_TAPS, TAPS, InceptionResnetV1, SmallResNet
from uncertain_affect.training import features
from uncertain_affect.training.features import (
    WeightsMissing,
    find_weights,
    frozen_features,
    hog_features,
    tapped_features,
    taps_of,
)

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
    for name in ("hog_features", "load_inception_resnet_v1"):
        function = getattr(features, name)

        def recorded(*args, name=name, function=function):
            calls.append(name)
            return function(*args)

        monkeypatch.setattr(features, name, recorded)
    return calls


@pytest.fixture(scope="module")
def network() -> InceptionResnetV1:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InceptionResnetV1(NUM_CLASSES)


@pytest.fixture(scope="module")
def root(network, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "weights").mkdir()
    torch.save(network.state_dict(), root / "weights" / FILE)
    return root


class TestHog:
    @pytest.mark.parametrize(("axis", "bin"), [(1, 0), (0, 4)], ids=["horizontal", "vertical"])
    def test_ramp_by_hand(self, axis, bin):
        # All gradients of a ramp point one way: along columns at 0 degrees, the first of nine bins of 20
        # degrees; along rows at 90, the fifth. A cell's histogram is then one number h, and the four cells of
        # a block give h / 2h = .5 each, which L2-Hys clips to .2 and normalises back to .5.
        ramp = np.broadcast_to(3 * np.arange(48, dtype=np.uint8), (48, 48))
        image = ramp if axis == 1 else ramp.T
        expected = np.zeros((5 * 5, 2 * 2, 9))
        expected[:, :, bin] = 0.5
        measured = hog_features(image[None])
        assert measured.shape == (1, 900) and measured.dtype == np.float32
        np.testing.assert_allclose(measured[0], expected.ravel(), atol=1e-6)

    def test_flat_image_has_no_gradient(self):
        assert not hog_features(np.full((1, 48, 48), 200, dtype=np.uint8)).any()

    def test_agrees_with_scikit_image(self, images):
        # 9 orientations, 8x8 cells and L2-Hys are scikit-image's own defaults.
        direct = [hog(image, cells_per_block=(2, 2)) for image in images]
        np.testing.assert_array_equal(hog_features(images), np.float32(direct))

    def test_takes_tensors(self, images):
        np.testing.assert_array_equal(hog_features(torch.tensor(images)), hog_features(images))

    def test_is_quiet(self, images, capfd):
        hog_features(images)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        "bad", [np.zeros((2, 48, 48)), np.zeros((48, 48), np.uint8), np.zeros((0, 48, 48), np.uint8)]
    )
    def test_other_images(self, bad):
        for function in (hog_features, frozen_features):
            with pytest.raises(ValueError, match=r"features take at least one grey image, uint8 \(N, H, W\)"):
                function(bad)


class TestCache:
    def test_hog_is_computed_once(self, images, calls):
        first, second = frozen_features(images), frozen_features(torch.tensor(images))
        assert calls == ["hog_features"]
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, hog_features(images))

    def test_a_changed_pixel_is_noticed(self, images, calls):
        first = frozen_features(images)
        images[1, 20, 20] ^= 128
        second = frozen_features(images)
        assert calls == ["hog_features"] * 2
        np.testing.assert_array_equal((first != second).any(axis=1), [False, True, False])

    def test_face_features_are_computed_once(self, images, root, calls):
        first = frozen_features(images, "casia-webface", "mixed_5a", root=root)
        second = frozen_features(images, "casia-webface", "mixed_5a", root=root, batch_size=2)
        assert calls == ["load_inception_resnet_v1"]
        np.testing.assert_array_equal(first, second)

    def test_arguments_and_weights_are_noticed(self, images, root, network, calls, tmp_path):
        def distinct(**options):
            return frozen_features(images[:1], "casia-webface", **{"tap": "mixed_5a", "root": root} | options)

        changed = network.state_dict() | {"conv2d_1a.bn.bias": torch.ones(32)}
        torch.save(changed, tmp_path / "changed.pt")
        arrays = [
            distinct(),
            distinct(scaling="fixed"),
            distinct(resize="bilinear"),
            distinct(weights=tmp_path / "changed.pt"),
        ]
        assert len(calls) == len(arrays)
        assert len({array.tobytes() for array in arrays}) == len(arrays)
        assert distinct(tap="mixed_6a").shape == (1, 896)


class TestFaceFeatures:
    def test_are_those_of_the_network_whatever_the_batches(self, images, root, network):
        expected = network.features(torch.tensor(images))
        measured = frozen_features(images, "casia-webface", root=root, batch_size=2)
        assert measured.shape == (3, 1792) and measured.dtype == np.float32
        np.testing.assert_allclose(measured, expected, rtol=1e-4, atol=1e-5)

    def test_all_taps_in_one_pass(self, images, root, calls):
        tapped = tapped_features(images[:2], "casia-webface", root=root)
        assert calls == ["load_inception_resnet_v1"]
        assert {tap: array.shape for tap, array in tapped.items()} == {tap: (2, TAPS[tap][1]) for tap in TAPS}
        alone = frozen_features(images[:2], "casia-webface", "mixed_6b", root=root)
        np.testing.assert_allclose(tapped["mixed_6b"], alone, rtol=1e-5)

    def test_find_weights(self, root, tmp_path):
        assert find_weights(root) == {"casia-webface": root / "weights" / FILE}
        assert find_weights(tmp_path) == {}

    def test_missing_weights_say_where_they_come_from(self, images, root):
        file = PUBLISHED_WEIGHTS["vggface2"][0]
        with pytest.raises(WeightsMissing) as error:
            frozen_features(images, "vggface2", root=root)
        for part in (
            str(root / "weights" / file),
            f"Download {file} from https://github.com/timesler/facenet-pytorch",
            "kind='hog'",
        ):
            assert part in str(error.value)

    def test_weights_under_the_name_of_the_other_corpus(self, images, root, tmp_path):
        with pytest.raises(ValueError, match=r"'logits.weight' has shape \(10575, 512\)"):
            frozen_features(images, "vggface2", weights=root / "weights" / FILE)
        assert not list((tmp_path / "cache").rglob("*.npy"))

    def test_unknown_kind_and_tap(self, images, root):
        with pytest.raises(ValueError, match="unknown kind of features 'lbp': choose among hog, simulated-skewed, "):
            frozen_features(images, "lbp")
        with pytest.raises(ValueError, match="no network gives 'hog' features: choose among simulated-skewed, "):
            tapped_features(images, "hog")
        with pytest.raises(ValueError, match="unknown tap 'mixed_9a'"):
            frozen_features(images, "casia-webface", "mixed_9a", root=root)


class TestSimulatedFeatures:
    @pytest.fixture(autouse=True)
    def networks(self, monkeypatch) -> dict[str, SmallResNet]:
        """The network of each corpus, untrained, in place of the pre-trained one."""
        networks = {
            corpus: SmallResNet(2, torch.Generator().manual_seed(seed)).eval().requires_grad_(False)
            for seed, corpus in enumerate(("skewed", "balanced"))
        }
        self.asked = []

        def pretrain(corpus, size, seed, device):
            self.asked.append((corpus, size, seed, device))
            return networks[corpus]

        monkeypatch.setattr(identity, "pretrain", pretrain)
        return networks

    @pytest.mark.parametrize("corpus", ["skewed", "balanced"])
    def test_are_those_of_the_network_of_the_corpus(self, images, networks, corpus):
        expected = networks[corpus].tapped_features(torch.tensor(images))
        tapped = tapped_features(images, f"simulated-{corpus}", size="full", seed=7)
        assert self.asked == [(corpus, "full", 7, "cpu")]
        assert list(tapped) == list(SMALL_TAPS)
        for tap in SMALL_TAPS:
            np.testing.assert_allclose(tapped[tap], expected[tap], rtol=1e-4, atol=1e-5)

    def test_default_tap_is_the_fourth(self, images, root):
        assert taps_of("casia-webface")[3] == "mixed_7a" and taps_of("simulated-skewed")[3] == "stage4"
        by_default = frozen_features(images, "simulated-skewed", root=root)
        assert by_default.shape == (3, 96)
        np.testing.assert_array_equal(by_default, frozen_features(images, "simulated-skewed", "stage4"))

    def test_unknown_tap_and_size_of_images(self, images):
        with pytest.raises(ValueError, match="unknown tap 'mixed_7a': choose among stage1"):
            frozen_features(images, "simulated-skewed", "mixed_7a")
        with pytest.raises(ValueError, match="48x48 pixels"):
            frozen_features(images[:, :40], "simulated-skewed")
        assert not self.asked
