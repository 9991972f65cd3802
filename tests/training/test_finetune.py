import dataclasses
import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from uncertain_affect import corpora
from uncertain_affect.compute.cache import cache_dir
from uncertain_affect.corpora.base import Expressions
from uncertain_affect.models.backbones import PUBLISHED_RESNETS, ResNet
from uncertain_affect.training import finetune as module
from uncertain_affect.training import fit
from uncertain_affect.training.finetune import FineTuningSettings, finetune, starting_network
from uncertain_affect.training.fit import generators

SMALL = FineTuningSettings(width=2, lr=1e-2, epochs=4, batch_size=10)
STILL = dataclasses.replace(SMALL, lr=0.0, epochs=1)


def made_up(n=30, side=16, seed=0):
    """Images (n, side, side), about half of them with a bright upper part, and whether they have it (n, 1)."""
    g = torch.Generator().manual_seed(seed)
    targets = torch.rand(n, 1, generator=g).round()
    images = torch.randint(0, 120, (n, side, side), generator=g, dtype=torch.uint8)
    images[:, : side // 2] += (100 * targets[..., None]).to(torch.uint8)
    return images, targets


IMAGES, TARGETS = made_up()
ROWS = torch.arange(20)
# one training image is another that has the same label
LIKE_FIRST = torch.cat([20 + (TARGETS[20:, 0] == TARGETS[0, 0]).nonzero()[0], ROWS[1:]])


class Loss:
    """Cross-entropy that counts its calls, and is interrupted in the one after `last`."""

    def __init__(self, last=None):
        self.calls, self.last = 0, last

    def __call__(self, logits, targets):
        if self.calls == self.last:
            raise KeyboardInterrupt
        self.calls += 1
        return F.binary_cross_entropy_with_logits(logits, targets)


def tuned(loss=None, images=IMAGES, targets=TARGETS, rows=ROWS, settings=SMALL, seed=0, loss_key="bce", **options):
    return finetune(images, targets, rows, loss or Loss(), 1, settings, seed, loss_key=loss_key, **options)


def losses(history):
    return [loss for (loss,) in history.train]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def watched(monkeypatch):
    """The tuned networks, in the order of their tuning."""
    networks = []

    def features(network, *args, features=module._features):
        networks.append(network)
        return features(network, *args)

    monkeypatch.setattr(module, "_features", features)
    return networks


def test_features_are_those_of_the_middle_of_all_images_in_evaluation_mode(watched):
    features, history = tuned()
    assert features.shape == (30, 16) and features.dtype == torch.float32
    assert len(history.train) == 4 and history.seconds > 0
    assert not watched[0].training
    with torch.no_grad():
        # 7/8 of 16 pixels: one is cut off on every side; an image's features do not depend on those beside it
        for rows in (slice(0, 7), slice(7, 30)):
            expected = watched[0].features(IMAGES[rows, 1:15, 1:15])
            torch.testing.assert_close(features[rows], expected, rtol=1e-4, atol=1e-5)


def test_tuning_learns_and_goes_through_the_training_images_alone():
    settings = dataclasses.replace(SMALL, width=4, epochs=12)
    features, history = tuned(settings=settings)
    assert losses(history)[-1] < 0.6 * losses(history)[0]
    elsewhere = TARGETS.clone()
    elsewhere[20:] = torch.nan
    loss = Loss()
    assert torch.equal(tuned(loss, targets=elsewhere, settings=settings).features, features)
    assert loss.calls == 0, "labels outside the training rows should not matter even to the cache"


@pytest.mark.parametrize(("min_steps", "epochs"), [(0, 4), (8, 4), (9, 5), (40, 20)])
def test_few_images_are_gone_through_more_often(min_steps, epochs, monkeypatch):
    monkeypatch.setattr(module, "_features", lambda network, images, settings: torch.zeros(1))
    # 20 images in batches of 10 are 2 steps an epoch
    loss = Loss()
    _, history = tuned(loss, settings=dataclasses.replace(SMALL, width=1, min_steps=min_steps))
    assert (len(history.train), loss.calls) == (epochs, 2 * epochs)


def test_colour_images_and_a_loss_over_several_outputs():
    images = torch.stack([IMAGES, IMAGES.flip(1), IMAGES], 1)
    features, _ = finetune(images, TARGETS.expand(-1, 3), ROWS, F.mse_loss, 3, STILL, 0, loss_key="mse")
    assert features.shape == (30, 16)


def test_the_seed_draws_the_weights_the_order_and_the_augmentation(watched, monkeypatch):
    crops, state = {}, torch.get_rng_state()

    def crop_and_remember(images, size, generator, crop=module.random_crop_flip):
        cropped = crop(images, size, generator)
        crops.setdefault(seed, []).append(cropped)
        return cropped

    monkeypatch.setattr(module, "random_crop_flip", crop_and_remember)
    features = []
    for seed in (0, 1):
        features.append(tuned(settings=STILL, seed=seed).features)
    assert not torch.allclose(*features)
    assert not any(torch.equal(a, b) for a, b in zip(crops[0], crops[1], strict=True))
    # at a rate of zero the weights stay as drawn
    for network, g in zip(watched, generators([0, 1]), strict=True):
        assert torch.equal(network.conv1.weight, ResNet(18, g, width=2, in_channels=1).conv1.weight)
    assert torch.equal(torch.get_rng_state(), state), "nothing should be drawn from the global generator"


@pytest.mark.parametrize(
    "other",
    [
        {"loss_key": ("bce", torch.ones(1))},
        {"rows": ROWS.flip(0)},
        {"rows": LIKE_FIRST},
        {"seed": 1},
        {"targets": 1 - TARGETS},
        {"images": IMAGES.flip(0)},
        {"settings": dataclasses.replace(STILL, batch_size=20)},
        {"start": ResNet(18, torch.Generator().manual_seed(7), width=2, in_channels=1)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_the_features_depend_on_has_its_own_entry(other):
    usual = {"settings": STILL}
    first = tuned(**usual)
    loss = Loss()
    tuned(loss, **usual | other)
    assert loss.calls > 0
    again = Loss()
    tuned(again, **usual | other)
    taken = tuned(again, **usual, label="PEN")  # what progress calls it does not matter
    assert again.calls == 0 and torch.equal(taken.features, first.features) and taken.history == first.history


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_resumed_tuning_is_bit_for_bit_the_uninterrupted_one(epochs, tmp_path, monkeypatch):
    whole = tuned()
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "another"))
    # two steps an epoch: it stops in the middle of one; within seconds it leaves nothing behind
    for seconds, kept in ((30, 0), (-1, epochs)):
        monkeypatch.setattr(fit, "SECONDS_BETWEEN_CHECKPOINTS", seconds)
        with pytest.raises(KeyboardInterrupt):
            tuned(Loss(last=2 * epochs + 1))
        assert len(list((cache_dir() / "backbones").glob("*.checkpoint"))) == (kept > 0)
    rest = Loss()
    resumed = tuned(rest)
    assert rest.calls == 2 * (4 - epochs)
    assert torch.equal(resumed.features, whole.features) and losses(resumed.history) == losses(whole.history)
    assert not list((cache_dir() / "backbones").glob("*.checkpoint"))


def another(seed=7, **options):
    return ResNet(18, torch.Generator().manual_seed(seed), **{"width": 2, "in_channels": 1} | options)


def weights(network):
    return torch.cat([p.detach().flatten() for name, p in network.named_parameters() if not name.startswith("fc.")])


def test_tuning_starts_from_the_given_network_without_its_head(watched):
    """At a rate of zero the weights stay what they were."""
    start = another()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    for network in (start, None, another(num_classes=3)):
        tuned(settings=STILL, start=network)
    headless, random, headed = watched
    assert torch.equal(weights(headless), weights(start)) and not torch.equal(weights(random), weights(start))
    assert torch.equal(weights(headed), weights(start)) and torch.equal(headed.fc.weight, headless.fc.weight)
    assert headed.fc.weight.shape == (1, 16)
    tuned(start=start)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items()), "it should be copied"
    # a network for colour images takes grey ones too
    assert tuned(settings=STILL, start=another(in_channels=3)).features.shape == (30, 16)


def test_no_training_image_and_a_network_of_other_settings_are_refused():
    with pytest.raises(ValueError, match="my stage: there is no training image"):
        tuned(rows=ROWS[:0], label="my stage")
    for depth, width in ((18, 3), (50, 2)):
        with pytest.raises(ValueError, match=f"the start is no ResNet of depth {depth} and width {width}"):
            tuned(settings=dataclasses.replace(STILL, depth=depth, width=width), start=another())


@pytest.fixture
def simulated(monkeypatch):
    """Stands in for the simulated world: faces whose votes follow their brightness; returns the calls."""
    calls = []

    def load(name, root=None, **options):
        calls.append((name, options))
        images, bright = made_up(40, seed=options["seed"])
        votes = torch.cat([9 * bright + 1, 10 - 9 * bright, 0 * bright], 1).int()
        text = np.array(["train"] * 40)
        return Expressions(images, votes, text, text, torch.arange(40), ("bright", "dark", "neither"))

    monkeypatch.setattr(corpora, "load", load)
    return calls


def test_without_published_weights_simulated_faces_start_from_others(simulated, tmp_path, monkeypatch):
    settings, histories = dataclasses.replace(SMALL, epochs=10, lr=3e-3), []

    def counted(*args, fit=module.fit, **options):
        histories.append(fit(*args, **options))
        return histories[-1]

    monkeypatch.setattr(module, "fit", counted)
    network, again = (starting_network(True, settings, "quick", tmp_path) for _ in range(2))
    assert simulated[0] == ("simulated", {"view": "ferplus", "size": "quick", "seed": module.PRETRAINING_SEED})
    (history,) = histories
    assert len(history.train) == 10 and losses(history)[-1] < 0.8 * losses(history)[0]
    assert not hasattr(network, "fc")
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    # the running means of the batch normalisation are part of what it has learnt
    assert network.bn1.running_mean.abs().max() > 0
    starting_network(True, dataclasses.replace(settings, epochs=2), "quick", tmp_path)
    assert len(histories) == 2
    assert tuned(settings=settings, start=network).features.shape == (30, 16)


@pytest.mark.parametrize("is_simulated", [True, False])
def test_published_weights_come_first_at_their_width(is_simulated, simulated, tmp_path, monkeypatch):
    network = another(width=64, in_channels=3)
    (tmp_path / "weights").mkdir()
    torch.save(network.state_dict(), tmp_path / "file")
    # the published names end in the first digits of the checksum
    checksum = hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(PUBLISHED_RESNETS, 18, f"resnet18-{checksum}.pth")
    assert starting_network(False, FineTuningSettings(), root=tmp_path) is None, "real faces start from random weights"
    (tmp_path / "file").rename(tmp_path / "weights" / PUBLISHED_RESNETS[18])
    start = starting_network(is_simulated, FineTuningSettings(), root=tmp_path)
    assert torch.equal(weights(start), weights(network)) and not simulated
    narrow = starting_network(is_simulated, STILL, root=tmp_path)
    assert narrow.n_features == 16 if is_simulated else narrow is None
