"""Identity corpora: who is in them, the small network against a functional oracle, and pre-training on a tiny one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawing import seeded
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.corpora.simulated import identity
from uncertain_affect.corpora.simulated.identity import PretrainingSettings, people, pictures, pretrain, skin_tones
from uncertain_affect.models.backbones import SMALL_TAPS, SmallResNet
from uncertain_affect.training.fit import History

TINY = PretrainingSettings(n_people=10, n_pictures=24, epochs=10, batch_size=32)


def tapped_features(images, corpus="skewed", taps=tuple(SMALL_TAPS), seed=0, batch_size=256):
    options = {"size": "quick", "seed": seed, "device": "cpu", "batch_size": batch_size}
    return identity.tapped_features(images, corpus, list(taps), **options)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (5, 48, 48), dtype=torch.uint8, generator=seeded(1))


@pytest.fixture(scope="module")
def tiny():
    """The quick size made tiny."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(identity.SIZES, "quick", TINY)
        yield


@pytest.fixture(scope="module")
def pretrained(tiny) -> tuple[SmallResNet, list[float]]:
    """The network of the tiny balanced corpus, as it comes out of the cache, and the losses of its training."""
    histories, train = [], identity.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "train", lambda *args: histories.append(train(*args)) or histories[-1])
        return pretrain("balanced"), [loss for (loss,) in histories[0].train]


@pytest.fixture
def trainings(monkeypatch, tmp_path) -> list[int]:
    """An empty cache, and the seeds of the trainings that ran, which take no time."""
    seeds = []
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    monkeypatch.setattr(identity, "train", lambda network, *args: seeds.append(args[-1]) or History())
    return seeds


class TestPeople:
    @given(n=st.integers(1, 300), seed=st.integers(0, 9))
    def test_tones_are_even_on_either_side(self, n, seed):
        balanced, below = skin_tones("balanced", n, seeded(seed)), torch.arange(n) / n
        assert (balanced >= below - 1e-6).all() and (balanced <= below + 1 / n + 1e-6).all()
        # Shares 0, .45, .9, .95 and 1 of the people lie below tones 0, 1/6, 1/3, 2/3 and 1.
        expected = np.interp(balanced.numpy(), [0, 0.45, 0.9, 0.95, 1], [0, 1 / 6, 1 / 3, 2 / 3, 1])
        np.testing.assert_allclose(skin_tones("skewed", n, seeded(seed)), expected, atol=1e-5)

    def test_corpora_differ_in_skin_tone_only_and_a_seed_redraws_them(self):
        skewed, balanced, other = people("skewed", seed=3), people("balanced", seed=3), people("skewed", seed=4)
        pairs = [(vars(skewed.identity), vars(balanced.identity)), (vars(skewed), vars(balanced))]
        differ = {k for a, b in pairs for k in a if k != "identity" and not torch.equal(a[k], b[k])}
        assert differ == {"skin_tone", "hair_shade", "iris_shade"}  # hair and eyes darken with the skin
        assert not torch.equal(skewed.identity.jaw, other.identity.jaw)

    def test_unknown_corpus(self):
        for function in (pretrain, people):
            with pytest.raises(ValueError, match="unknown identity corpus 'casia': choose among skewed, balanced"):
                function("casia")


def test_pictures_have_shape_order_and_variety():
    known = people("balanced")[:3]
    images, person = pictures(known, 4, seeded())
    assert images.shape == (12, 48, 48) and images.dtype == torch.uint8
    assert person.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len({image.numpy().tobytes() for image in images}) == 12
    assert torch.equal(pictures(known, 4, seeded())[0], images)
    assert not torch.equal(pictures(known, 4, seeded(1))[0], images)


class TestSmallResNet:
    def test_agrees_with_functional_oracle(self, images):
        network = SmallResNet(7, seeded())
        for _ in range(3):
            network(images)  # move the running statistics away from 0 and 1
        state = network.eval().state_dict()

        def conv(x, conv, bn, stride=1, padding=1):
            x = F.conv2d(x, state[f"{conv}.weight"], None, stride, padding)
            of = ("running_mean", "running_var", "weight", "bias")
            mean, var, scale, shift = (state[f"{bn}.{key}"][:, None, None] for key in of)
            return (x - mean) / (var + 1e-5) ** 0.5 * scale + shift

        x = conv((images[:, None] - 127.5) / 128, "conv", "bn", 2, 2).relu()
        expected = {}
        for stage, stride in zip(SMALL_TAPS, (2, 1, 2, 1, 2, 1), strict=True):
            inside = conv(x, f"{stage}.conv1", f"{stage}.bn1", stride).relu()
            short = conv(x, f"{stage}.downsample.0", f"{stage}.downsample.1", stride, 0)
            x = (conv(inside, f"{stage}.conv2", f"{stage}.bn2") + short).relu()
            expected[stage] = x
        with torch.inference_mode():
            maps = network.tap_maps(images, SMALL_TAPS)
            logits = network(images)
        assert list(maps) == list(expected)
        shapes = [(32, 12), (48, 12), (64, 6), (96, 6), (128, 3), (256, 3)]
        assert [tuple(x.shape) for x in maps.values()] == [(5, channels, side, side) for channels, side in shapes]
        for stage, measured in maps.items():
            torch.testing.assert_close(measured.contiguous(), expected[stage], rtol=1e-3, atol=1e-4)
        by_hand = x.mean((2, 3)) @ state["logits.weight"].T + state["logits.bias"]
        torch.testing.assert_close(logits, by_hand, rtol=1e-3, atol=1e-4)

    def test_weights_come_from_the_generator_alone(self):
        before = torch.get_rng_state()
        first, again, other = (SmallResNet(7, seeded(seed)).state_dict() for seed in (0, 0, 1))
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["stage4.conv1.weight"], other["stage4.conv1.weight"])
        # He et al. (2015): variance 2 / fan-in
        assert first["stage6.conv2.weight"].std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)

    def test_nothing_is_computed_beyond_the_tap(self, images):
        network, called = SmallResNet(7, seeded()).eval(), []
        for stage in SMALL_TAPS:
            network.get_submodule(stage).register_forward_hook(lambda *_, stage=stage: called.append(stage))
        assert list(network.tapped_features(images, ["stage3", "stage1"])) == ["stage1", "stage3"]
        assert called == ["stage1", "stage2", "stage3"]


@pytest.mark.usefixtures("tiny")
class TestPretraining:
    def test_loss_falls_from_chance_and_the_network_is_frozen(self, pretrained):
        network, losses = pretrained
        assert len(losses) == TINY.epochs and losses[-1] < losses[0] / 2
        assert losses[0] == pytest.approx(np.log(TINY.n_people), rel=0.2)
        assert not any(p.requires_grad for p in network.parameters())
        assert not any(module.training for module in network.modules())

    def test_same_seed_same_bits(self):
        settings = PretrainingSettings(n_people=4, n_pictures=16, epochs=2, batch_size=24)
        known, before, found = pictures(people("balanced")[:4], 16, seeded()), torch.get_rng_state(), []
        for seed in (0, 0, 1):
            network = SmallResNet(4, seeded())
            history = identity.train(network, *known, settings, seed)
            found.append((history.train, [p.tolist() for p in network.parameters()]))
        assert torch.equal(torch.get_rng_state(), before)
        assert found[0] == found[1] != found[2]

    def test_identifies_its_people_in_new_pictures(self, pretrained):
        images, person = pictures(people("balanced"), 8, seeded(1))
        assert (pretrained[0](images).argmax(1) == person).double().mean() > 3 / TINY.n_people

    def test_is_trained_once_and_anew_where_something_changes(self, trainings, monkeypatch):
        first, second = pretrain("skewed").state_dict(), pretrain("skewed").state_dict()
        assert trainings == [0] and all(torch.equal(first[name], second[name]) for name in first)
        pretrain("balanced")
        pretrain("skewed", seed=4)
        render = identity.render
        with monkeypatch.context() as patch:
            patch.setattr(identity, "render", lambda *args, **options: render(*args, **options) ^ 1)
            pretrain("skewed")
        monkeypatch.setitem(identity.SIZES, "quick", PretrainingSettings(n_people=10, n_pictures=24, epochs=11))
        pretrain("skewed")
        assert trainings == [0, 0, 4, 0, 0]


@pytest.mark.usefixtures("tiny")
class TestTappedFeatures:
    def test_are_those_of_the_network_whatever_the_batches(self, images, trainings):
        expected = pretrain("skewed").tapped_features(images)
        measured = tapped_features(images.numpy(), batch_size=2)
        assert list(measured) == list(SMALL_TAPS)
        for tap, (channels, _) in SMALL_TAPS.items():
            assert measured[tap].shape == (5, channels) and measured[tap].dtype == np.float32
            np.testing.assert_allclose(measured[tap], expected[tap], rtol=1e-4, atol=1e-5)

    def test_are_computed_once_for_the_same_images_and_network(self, images, trainings, monkeypatch):
        computed, compute = [], SmallResNet.tapped_features
        monkeypatch.setattr(SmallResNet, "tapped_features", lambda *args: computed.append(1) or compute(*args))
        options = ({}, {"batch_size": 2}, {"seed": 1})
        first, again, other = (tapped_features(images, taps=["stage4"], **x)["stage4"] for x in options)
        np.testing.assert_array_equal(again, first)
        assert not np.allclose(other, first)
        assert len(computed) == 2 and trainings == [0, 1]
        tapped_features(255 - images, taps=["stage4"])
        assert len(computed) == 3

    def test_bad_input_is_told_before_training(self, images, trainings):
        with pytest.raises(ValueError, match="unknown tap 'mixed_7a': choose among stage1, stage2"):
            tapped_features(images, taps=["mixed_7a"])
        with pytest.raises(ValueError, match=r"torch.uint8 of shape \(5, 47, 48\): the small network .* 48x48 pixels"):
            tapped_features(images[:, 1:])
        with pytest.raises(ValueError, match=r"images are torch\.float32"):
            tapped_features(images.float())
        assert not trainings
