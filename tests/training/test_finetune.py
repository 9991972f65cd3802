import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from uncertain_affect.compute.cache import cache_dir
from uncertain_affect.corpora.base import Expressions
from uncertain_affect.models.backbones import PUBLISHED_RESNETS, ResNet
from uncertain_affect.training import finetune as finetuning
from uncertain_affect.training import fit as training
from uncertain_affect.training.finetune import Settings, finetune, starting_network
from uncertain_affect.training.fit import generators

SMALL = Settings(width=2, lr=1e-2, epochs=4, batch_size=10)
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


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def watched(monkeypatch):
    """The tuned networks, in the order of their tuning."""
    networks = []

    def features(network, *args, features=finetuning._features):
        networks.append(network)
        return features(network, *args)

    monkeypatch.setattr(finetuning, "_features", features)
    return networks


# --- what is tuned, and what comes out --------------------------------------------------------------------------


def test_features_are_those_of_the_middle_of_all_images_in_evaluation_mode(watched):
    result = tuned()
    assert result.features.shape == (30, 16) and result.features.dtype == torch.float32
    assert len(result.losses) == 4 and result.seconds > 0
    assert not watched[0].training
    with torch.no_grad():
        # 7/8 of 16 pixels: one is cut off on every side; an image's features do not depend on those beside it
        for rows in (slice(0, 7), slice(7, 30)):
            expected = watched[0].features(IMAGES[rows, 1:15, 1:15])
            torch.testing.assert_close(result.features[rows], expected, rtol=1e-4, atol=1e-5)


def test_tuning_learns_and_goes_through_the_training_images_alone():
    settings = dataclasses.replace(SMALL, width=4, epochs=12)
    result = tuned(settings=settings)
    assert result.losses[-1] < 0.6 * result.losses[0]
    elsewhere = TARGETS.clone()
    elsewhere[20:] = torch.nan
    loss = Loss()
    assert torch.equal(tuned(loss, targets=elsewhere, settings=settings).features, result.features)
    assert loss.calls == 0, "labels outside the training rows should not matter even to the cache"


def test_without_learning_the_loss_is_the_mean_over_images():
    """Batches of 10, 10 and 3: an image counts the same in each."""
    seen = []

    def loss(logits, targets):
        value = F.binary_cross_entropy_with_logits(logits, targets)
        seen.append((value.item(), len(targets)))
        return value

    result = tuned(loss, rows=torch.arange(23), settings=STILL)
    assert [n for _, n in seen] == [10, 10, 3]
    assert result.losses == [pytest.approx(sum(value * n for value, n in seen) / 23, rel=1e-5)]


def test_every_training_image_is_seen_once_an_epoch_in_another_order():
    """Targets are the images' numbers."""
    seen = []

    def loss(logits, targets):
        seen.extend(targets[:, 0].int().tolist())
        return F.mse_loss(logits, targets)

    rows = torch.arange(3, 21)
    tuned(loss, targets=torch.arange(30.0)[:, None], rows=rows)
    epochs = [seen[i : i + 18] for i in range(0, 72, 18)]
    assert len(seen) == 72 and all(sorted(epoch) == rows.tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


@pytest.mark.parametrize(("min_steps", "epochs"), [(0, 4), (8, 4), (9, 5), (40, 20)])
def test_few_images_are_gone_through_more_often(min_steps, epochs, monkeypatch):
    monkeypatch.setattr(finetuning, "_features", lambda network, images, settings: torch.zeros(1))
    # 20 images in batches of 10 are 2 steps an epoch
    loss = Loss()
    result = tuned(loss, settings=dataclasses.replace(SMALL, width=1, min_steps=min_steps))
    assert (len(result.losses), loss.calls) == (epochs, 2 * epochs)


def test_colour_images_and_a_loss_over_several_outputs():
    images = torch.stack([IMAGES, IMAGES.flip(1), IMAGES], 1)

    def loss(outputs, targets):
        assert outputs.shape == (10, 3) and targets.shape == (10, 3)
        return F.mse_loss(outputs, targets)

    result = finetune(images, TARGETS.expand(-1, 3), ROWS, loss, 3, STILL, 0, loss_key="mse")
    assert result.features.shape == (30, 16)


def test_the_seed_draws_the_weights_the_order_and_the_augmentation(watched, monkeypatch):
    crops = {}

    def crop_and_remember(images, size, generator, crop=finetuning.random_crop_flip):
        cropped = crop(images, size, generator)
        crops.setdefault(seed, []).append(cropped)
        return cropped

    monkeypatch.setattr(finetuning, "random_crop_flip", crop_and_remember)
    state = torch.get_rng_state()
    features = {}
    for seed in (0, 1):
        features[seed] = tuned(settings=STILL, seed=seed).features
    assert not torch.allclose(features[0], features[1])
    assert not any(torch.equal(a, b) for a, b in zip(crops[0], crops[1], strict=True))
    # at a rate of zero the weights stay as drawn
    for network, g in zip(watched, generators([0, 1]), strict=True):
        assert torch.equal(network.conv1.weight, ResNet(18, g, width=2, in_channels=1).conv1.weight)
    assert torch.equal(torch.get_rng_state(), state), "nothing should be drawn from the global generator"


# --- the cache --------------------------------------------------------------------------------------------------


def test_a_network_is_tuned_once():
    loss = Loss()
    first, second = tuned(loss), tuned(loss)
    assert loss.calls == 8
    assert torch.equal(first.features, second.features)
    assert (first.losses, first.seconds) == (second.losses, second.seconds)


def test_a_second_tuning_gives_the_same_bits(tmp_path, monkeypatch):
    first = tuned()
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "another"))
    loss = Loss()
    assert torch.equal(tuned(loss).features, first.features)
    assert loss.calls == 8


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
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_the_features_depend_on_has_its_own_entry(other):
    usual = {"settings": STILL}
    tuned(**usual)
    loss = Loss()
    tuned(loss, **usual | other)
    assert loss.calls > 0
    again = Loss()
    tuned(again, **usual | other)
    tuned(again, **usual)
    assert again.calls == 0


def test_what_the_progress_bar_says_does_not_matter():
    tuned(settings=STILL)
    loss = Loss()
    tuned(loss, settings=STILL, label="PEN")
    assert loss.calls == 0


# --- interruption -----------------------------------------------------------------------------------------------


def checkpoints() -> list[Path]:
    return sorted((cache_dir() / "backbones").glob("*.checkpoint"))


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_resumed_tuning_is_bit_for_bit_the_uninterrupted_one(epochs, tmp_path, monkeypatch):
    whole = tuned()
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    # two steps an epoch: it stops in the middle of one
    with pytest.raises(KeyboardInterrupt):
        tuned(Loss(last=2 * epochs + 1))
    assert len(checkpoints()) == 1
    rest = Loss()
    resumed = tuned(rest)
    assert rest.calls == 2 * (4 - epochs)
    assert torch.equal(resumed.features, whole.features)
    assert resumed.losses == whole.losses
    assert not checkpoints()


def test_seconds_add_up_over_an_interruption(monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    with pytest.raises(KeyboardInterrupt):
        tuned(Loss(last=5))
    state = torch.load(checkpoints()[0], weights_only=True)
    torch.save(state | {"history": state["history"] | {"seconds": 1000.0}}, checkpoints()[0])
    assert 1000 < tuned().seconds < 1060


def test_a_damaged_checkpoint_starts_the_tuning_anew(monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    with pytest.raises(KeyboardInterrupt):
        tuned(Loss(last=5))
    content = checkpoints()[0].read_bytes()
    checkpoints()[0].write_bytes(content[: len(content) // 2])
    loss = Loss()
    with pytest.warns(UserWarning, match="is damaged .*; training starts anew"):
        tuned(loss)
    assert loss.calls == 8


def test_an_interruption_within_seconds_leaves_nothing_behind():
    with pytest.raises(KeyboardInterrupt):
        tuned(Loss(last=5))
    assert not checkpoints()
    assert len(tuned().losses) == 4


# --- the network to start from ----------------------------------------------------------------------------------


def another(seed=7, **options):
    return ResNet(18, torch.Generator().manual_seed(seed), **{"width": 2, "in_channels": 1} | options)


def weights(network):
    return torch.cat([p.detach().flatten() for name, p in network.named_parameters() if not name.startswith("fc.")])


def test_tuning_starts_from_the_given_network(watched):
    """At a rate of zero the weights stay what they were."""
    start = another()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    tuned(settings=STILL, start=start)
    assert torch.equal(weights(watched[0]), weights(start))
    tuned(settings=STILL)
    assert not torch.equal(weights(watched[1]), weights(start))
    tuned(start=start)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items()), "it should be copied"


def test_a_head_of_the_network_to_start_from_is_thrown_away(watched):
    for classes in (None, 3):
        finetuning.finetune(
            IMAGES, TARGETS, ROWS, Loss(), 1, STILL, 0, loss_key=classes, start=another(num_classes=classes)
        )
    assert torch.equal(weights(watched[0]), weights(watched[1]))
    assert watched[1].fc.weight.shape == (1, 16) and torch.equal(watched[0].fc.weight, watched[1].fc.weight)


def test_another_network_to_start_from_has_its_own_entry():
    loss = Loss()
    for _ in range(2):
        tuned(loss, settings=STILL, start=another())
    assert loss.calls == 2
    tuned(loss, settings=STILL, start=another(8))
    assert loss.calls == 4


def test_grey_images_start_from_a_network_for_colour_images():
    result = tuned(settings=STILL, start=another(in_channels=3))
    assert result.features.shape == (30, 16)


@pytest.mark.parametrize("options", [{"width": 3}, {"depth": 50}])
def test_a_network_of_other_settings_is_refused(options):
    settings = dataclasses.replace(STILL, **options)
    message = f"the start is no ResNet of depth {settings.depth} and width {settings.width}"
    with pytest.raises(ValueError, match=message):
        tuned(settings=settings, start=another())


@pytest.fixture
def simulated(monkeypatch):
    """Stands in for the simulated world: faces whose votes follow their brightness; returns what was asked of it."""
    asked = []

    def load(name, root=None, **options):
        asked.append((name, options))
        images, bright = made_up(40, seed=options["seed"])
        votes = torch.cat([9 * bright + 1, 10 - 9 * bright, 0 * bright], 1).int()
        text = np.array(["train"] * 40)
        return Expressions(images, votes, text, text, torch.arange(40), ("bright", "dark", "neither"))

    monkeypatch.setattr(finetuning.corpora, "load", load)
    return asked


def test_without_published_weights_simulated_faces_start_from_others(simulated, tmp_path, monkeypatch):
    settings = dataclasses.replace(SMALL, epochs=10, lr=3e-3)
    losses = []

    def counted(*args, fit=finetuning.fit, **options):
        history = fit(*args, **options)
        losses.extend(loss for (loss,) in history.train)
        return history

    monkeypatch.setattr(finetuning, "fit", counted)
    network = starting_network(True, settings, "quick", tmp_path)
    assert simulated == [("simulated", {"view": "ferplus", "size": "quick", "seed": finetuning.PRETRAINING_SEED})]
    assert len(losses) == 10 and losses[-1] < 0.8 * losses[0]
    again = starting_network(True, settings, "quick", tmp_path)
    assert len(losses) == 10, "it should be trained once"
    assert not hasattr(network, "fc")
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    # the running means of the batch normalisation are part of what it has learnt
    assert network.bn1.running_mean.abs().max() > 0
    starting_network(True, dataclasses.replace(settings, epochs=2), "quick", tmp_path)
    assert len(losses) == 12
    assert tuned(settings=settings, start=network).features.shape == (30, 16)


def test_an_interrupted_pretraining_goes_on_where_it_stopped(simulated, tmp_path, monkeypatch):
    whole = starting_network(True, SMALL, "quick", tmp_path)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    crops = 0

    def interrupting(*args, crop=finetuning.random_crop_flip):
        nonlocal crops
        crops += 1
        if crops == 10:
            raise KeyboardInterrupt
        return crop(*args)

    monkeypatch.setattr(finetuning, "random_crop_flip", interrupting)
    with pytest.raises(KeyboardInterrupt):
        starting_network(True, SMALL, "quick", tmp_path)
    resumed = starting_network(True, SMALL, "quick", tmp_path)
    assert crops == 10 + 2 * 4, "of four epochs of four batches two were done"
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


@pytest.mark.parametrize("of_simulated", [True, False])
def test_published_weights_come_first_at_their_width(of_simulated, simulated, tmp_path, monkeypatch):
    network = another(width=64, in_channels=3)
    (tmp_path / "weights").mkdir()
    torch.save(network.state_dict(), tmp_path / "file")
    # the published names end in the first digits of the checksum
    checksum = hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(PUBLISHED_RESNETS, 18, f"resnet18-{checksum}.pth")
    assert starting_network(False, Settings(), root=tmp_path) is None
    (tmp_path / "file").rename(tmp_path / "weights" / PUBLISHED_RESNETS[18])
    start = starting_network(of_simulated, Settings(), root=tmp_path)
    assert torch.equal(weights(start), weights(network)) and not simulated
    narrow = starting_network(of_simulated, STILL, root=tmp_path)
    assert narrow.n_features == 16 if of_simulated else narrow is None


def test_real_faces_start_from_random_weights(simulated, tmp_path):
    assert starting_network(False, SMALL, root=tmp_path) is None and not simulated


def test_a_depth_that_was_not_published_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no ResNet of depth 34: choose among 18, 50"):
        starting_network(False, Settings(depth=34), root=tmp_path)


# --- bad input --------------------------------------------------------------------------------------------------


def test_no_training_image_is_refused():
    with pytest.raises(ValueError, match="my stage: there is no training image"):
        tuned(rows=ROWS[:0], label="my stage")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number_ends_tuning(value, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    calls = 0

    def loss(logits, targets):
        nonlocal calls
        calls += 1
        return F.binary_cross_entropy_with_logits(logits, targets) * (value if calls == 4 else 1)

    with pytest.raises(
        FloatingPointError,
        match=f"my stage: the training loss of copy 0 is {value} in epoch 2",
    ):
        tuned(loss, label="my stage")
    # the checkpoint is the last good one
    assert len(torch.load(checkpoints()[0], weights_only=True)["history"]["train"]) == 1


def test_images_that_are_no_bytes_are_refused():
    with pytest.raises(ValueError, match=r"images are torch\.float32 of shape \(10, 16, 16\)"):
        tuned(images=IMAGES.float())


@pytest.mark.parametrize("crop", [0.0, 1.5])
def test_crops_that_do_not_fit_are_refused(crop):
    with pytest.raises(ValueError, match=r"no crop of .* fits into images of 16x16"):
        tuned(settings=dataclasses.replace(SMALL, crop=crop))
