"""Identity corpora: who is in them, the small network against a functional oracle, and pre-training on a tiny one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.corpora.simulated import identity
from uncertain_affect.corpora.simulated.identity import (
    CORPORA,
    Settings,
    people,
    pictures,
    pretrain,
    skin_tones,
    tapped_features,
    train,
)
from uncertain_affect.models.backbones import SMALL_TAPS, SmallResNet
from uncertain_affect.training.fit import History

TINY = Settings(n_people=10, n_pictures=24, epochs=10, batch_size=32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    losses = []

    def recorded(*args):
        network, measured = train(*args)
        losses.extend(loss for (loss,) in measured.train)
        return network, measured

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "train", recorded)
        return pretrain("balanced"), losses


@pytest.fixture
def trainings(monkeypatch) -> list[int]:
    """The seeds of the trainings that ran, replaced by one that takes no time."""
    seeds = []

    def recorded(images, person, settings, seed, device):
        seeds.append(seed)
        return SmallResNet(settings.n_people, seeded(seed)), History()

    monkeypatch.setattr(identity, "train", recorded)
    return seeds


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))


class TestPeople:
    def test_skewed_is_nine_in_ten_light(self):
        assert (skin_tones("skewed", 150, seeded()) < 1 / 3).sum() == 135

    @given(n=st.integers(1, 300), seed=st.integers(0, 9))
    def test_balanced_has_one_in_each_part(self, n, seed):
        tones = skin_tones("balanced", n, seeded(seed))
        below = torch.arange(n) / n
        assert (tones >= below - 1e-6).all() and (tones <= below + 1 / n + 1e-6).all()

    @given(n=st.integers(1, 300), seed=st.integers(0, 9))
    def test_skewed_is_even_on_either_side(self, n, seed):
        # Shares 0, .45, .9, .95 and 1 of the people lie below tones 0, 1/6, 1/3, 2/3 and 1.
        share = skin_tones("balanced", n, seeded(seed)).numpy()
        expected = np.interp(share, [0, 0.45, 0.9, 0.95, 1], [0, 1 / 6, 1 / 3, 2 / 3, 1])
        np.testing.assert_allclose(skin_tones("skewed", n, seeded(seed)), expected, atol=1e-5)

    def test_corpora_differ_in_skin_tone_only(self):
        skewed, balanced = (people(corpus, seed=3) for corpus in CORPORA)
        differ = {
            name for name, a in vars(skewed.identity).items() if not torch.equal(a, vars(balanced.identity)[name])
        }
        assert differ == {"skin_tone", "hair_shade", "iris_shade"}  # hair and eyes darken with the skin
        for name in ("expressiveness", "resting", "mood", "mapping", "voice"):
            assert torch.equal(getattr(skewed, name), getattr(balanced, name))

    def test_a_seed_redraws_them(self):
        assert not torch.equal(people("skewed", seed=0).identity.jaw, people("skewed", seed=1).identity.jaw)


class TestPictures:
    def test_shape_order_and_variety(self):
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
        network.eval()
        state = network.state_dict()

        def conv(x, conv, bn, stride=1, padding=1):
            x = F.conv2d(x, state[f"{conv}.weight"], None, stride, padding)
            mean, var, scale, shift = (
                state[f"{bn}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
            )
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
        for stage, measured in maps.items():
            torch.testing.assert_close(measured.contiguous(), expected[stage], rtol=1e-3, atol=1e-4)
        by_hand = x.mean((2, 3)) @ state["logits.weight"].T + state["logits.bias"]
        torch.testing.assert_close(logits, by_hand, rtol=1e-3, atol=1e-4)

    def test_tap_shapes(self, images):
        maps = SmallResNet(7, seeded()).eval().tap_maps(images, SMALL_TAPS)
        assert {tap: tuple(x.shape) for tap, x in maps.items()} == {
            "stage1": (5, 32, 12, 12),
            "stage2": (5, 48, 12, 12),
            "stage3": (5, 64, 6, 6),
            "stage4": (5, 96, 6, 6),
            "stage5": (5, 128, 3, 3),
            "stage6": (5, 256, 3, 3),
        }

    def test_weights_come_from_the_generator_alone(self):
        before = torch.get_rng_state()
        states = [SmallResNet(7, seeded(seed)).state_dict() for seed in (0, 0, 1)]
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert not torch.equal(states[0]["stage4.conv1.weight"], states[2]["stage4.conv1.weight"])
        # He et al. (2015): variance 2 / fan-in
        assert states[0]["stage6.conv2.weight"].std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)

    def test_nothing_is_computed_beyond_the_tap(self, images):
        network, called = SmallResNet(7, seeded()).eval(), []
        for stage in SMALL_TAPS:
            network.get_submodule(stage).register_forward_hook(lambda *_, stage=stage: called.append(stage))
        assert list(network.tapped_features(images, ["stage3", "stage1"])) == ["stage1", "stage3"]
        assert called == ["stage1", "stage2", "stage3"]


class TestTraining:
    def test_loss_falls_from_chance(self, pretrained):
        _, losses = pretrained
        assert len(losses) == TINY.epochs
        assert losses[0] == pytest.approx(np.log(TINY.n_people), rel=0.2)
        assert losses[-1] < losses[0] / 2

    def test_same_seed_same_bits(self):
        once = Settings(n_people=4, n_pictures=16, epochs=2, batch_size=24)
        known = pictures(people("balanced")[:4], 16, seeded())
        before = torch.get_rng_state()
        (first, losses), (second, again), (other, _) = (train(*known, once, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(torch.get_rng_state(), before)
        assert losses == again
        for name, values in first.state_dict().items():
            assert torch.equal(values, second.state_dict()[name]), name
        assert not torch.equal(first.logits.weight, other.logits.weight)


@pytest.mark.usefixtures("tiny")
class TestPretrain:
    def test_it_is_frozen(self, pretrained):
        network, _ = pretrained
        assert not any(p.requires_grad for p in network.parameters())
        assert not any(module.training for module in network.modules())

    def test_identifies_its_people_in_new_pictures(self, pretrained):
        images, person = pictures(people("balanced"), 8, seeded(1))
        assert (pretrained[0](images).argmax(1) == person).double().mean() > 3 / TINY.n_people

    @pytest.mark.usefixtures("empty_cache")
    def test_is_trained_once(self, trainings, monkeypatch):
        first, second = pretrain("skewed"), pretrain("skewed")
        assert trainings == [0]
        for name, values in first.state_dict().items():
            assert torch.equal(values, second.state_dict()[name]), name
        pretrain("balanced")
        pretrain("skewed", seed=4)
        monkeypatch.setitem(identity.SIZES, "quick", Settings(n_people=10, n_pictures=24, epochs=11))
        pretrain("skewed")
        assert trainings == [0, 0, 4, 0]

    @pytest.mark.usefixtures("empty_cache")
    def test_another_renderer_is_noticed(self, trainings, monkeypatch):
        pretrain("skewed")
        render = identity.render
        monkeypatch.setattr(identity, "render", lambda *args, **options: render(*args, **options) ^ 1)
        pretrain("skewed")
        assert trainings == [0, 0]

    @pytest.mark.parametrize(
        ("corpus", "size", "message"),
        [
            ("casia", "quick", "unknown identity corpus 'casia': choose among skewed, balanced"),
            ("skewed", "huge", "unknown size 'huge': choose among quick, full"),
        ],
    )
    def test_bad_options(self, corpus, size, message):
        for function in (pretrain, people):
            with pytest.raises(ValueError, match=message):
                function(corpus, size)


@pytest.mark.usefixtures("tiny", "empty_cache")
class TestTappedFeatures:
    @pytest.mark.usefixtures("trainings")
    def test_are_those_of_the_network_whatever_the_batches(self, images):
        expected = pretrain("skewed").tapped_features(images)
        measured = tapped_features(images.numpy(), "skewed", batch_size=2)
        assert list(measured) == list(SMALL_TAPS)
        for tap, (channels, _) in SMALL_TAPS.items():
            assert measured[tap].shape == (5, channels) and measured[tap].dtype == np.float32
            np.testing.assert_allclose(measured[tap], expected[tap], rtol=1e-4, atol=1e-5)

    def test_are_computed_once_for_the_same_images_and_network(self, images, trainings, monkeypatch):
        computed = []
        compute = SmallResNet.tapped_features

        def recorded(network, batch, taps):
            computed.append(len(batch))
            return compute(network, batch, taps)

        monkeypatch.setattr(SmallResNet, "tapped_features", recorded)
        first = tapped_features(images, "skewed", ["stage4"])
        np.testing.assert_array_equal(
            tapped_features(images, "skewed", ["stage4"], batch_size=2)["stage4"], first["stage4"]
        )
        assert computed == [5]
        other = tapped_features(images, "skewed", ["stage4"], seed=1)
        assert computed == [5, 5] and trainings == [0, 1]
        assert not np.allclose(other["stage4"], first["stage4"])
        tapped_features(255 - images, "skewed", ["stage4"])
        assert computed == [5] * 3

    def test_bad_input_is_told_before_training(self, images, trainings):
        with pytest.raises(ValueError, match="unknown tap 'mixed_7a': choose among stage1, stage2"):
            tapped_features(images, "skewed", ["mixed_7a"])
        with pytest.raises(ValueError, match=r"torch.uint8 of shape \(5, 47, 48\): the small network .* 48x48 pixels"):
            tapped_features(images[:, 1:], "skewed")
        with pytest.raises(ValueError, match=r"images are torch\.float32"):
            tapped_features(images.float(), "skewed")
        assert not trainings
