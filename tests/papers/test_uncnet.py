import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uncertain_affect.metrics import entropy_decomposition
from uncertain_affect.models.uncnet import UncNet, mc_dropout
from uncertain_affect.papers import uncnet
from uncertain_affect.papers.predictions import Predictions
from uncertain_affect.papers.uncnet import ARMS, CONTROL, OFF, ONE_RATE, Faces, faces, predict, settings, train
from uncertain_affect.training.features import frozen_features
from uncertain_affect.training.fit import generators

SMALL = dataclasses.replace(
    settings("quick"), seeds=(0, 1, 2), lr_factor=100, max_epochs=4, patience=4, batch_size=20, n_samples=10
)


@pytest.fixture(scope="module")
def data() -> Faces:
    """Ninety made-up images whose votes follow their features."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(90, 5, generator=g)
    proportions = torch.softmax(2 * x @ torch.randn(5, 9, generator=g), -1)
    return faces(x.numpy(), proportions, np.repeat(["train", "val", "test"], [50, 20, 20]), standardise=False)


def all_networks(data, settings):
    rates = {"Baseline": None, "UncNet": None, ONE_RATE: 1e-2}
    return {name: train(data, settings, name, rate=rate) for name, rate in rates.items()}


@pytest.fixture(scope="module")
def networks(data):
    return all_networks(data, SMALL)


@pytest.fixture(scope="module")
def arms(data, networks):
    return predict(data, networks, SMALL)


def test_full_is_the_protocol_of_the_paper_and_quick_shrinks_its_work():
    full, quick = settings("full", seed=7), settings("quick", seed=7)
    assert full.seeds == tuple(range(7, 17)) and quick.seeds == full.seeds[:5]
    assert (full.lr_baseline * full.lr_factor, full.lr_uncnet * full.lr_factor) == (1e-4, 1e-5)
    assert (full.batch_size, full.max_epochs, full.clip_norm, full.dropout) == (90, 819, 5, 0.2)
    assert full.n_samples == 100
    shrunk = {"seeds": full.seeds, "lr_factor": 1, "patience": 10, "rates": full.rates}
    assert dataclasses.replace(quick, **shrunk) == full
    # with a published face network's features the epochs are the printed ones too
    own = settings("full", seed=7, features="casia-webface")
    assert own == dataclasses.replace(full, seeds=full.seeds[:5], as_printed=True)
    assert settings("quick", 7, "casia-webface") == dataclasses.replace(quick, lr_factor=1, max_epochs=60)
    # a simulated world is a replicate, of fewer faces, which are learnt at quick's rates
    worlds = settings("full", 7, "simulated-skewed", "simulated")
    assert worlds == dataclasses.replace(quick, seeds=tuple(range(7, 27)), patience=10)
    with pytest.raises(ValueError, match='PROFILE must be "quick" or "full", not \'fast\''):
        settings("fast")


def test_faces_are_split_and_standardised_by_the_training_images_alone():
    features = np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0], [100.0, 5.0], [8.0, 5.0]])
    split = np.array(["train", "train", "train", "val", "test"])
    proportions = torch.eye(5, 9, dtype=torch.float64)
    as_they_are = faces(features, proportions, split, standardise=False)
    assert as_they_are.features["train"].tolist() == features[:3].tolist()
    assert {name: len(x) for name, x in as_they_are.targets.items()} == {"train": 3, "val": 1, "test": 1}
    assert as_they_are.targets["test"].tolist() == [proportions[4].tolist()]
    # training mean 2 and (unbiased) standard deviation 2; a feature that never varies carries nothing
    scaled = faces(features, proportions, split, standardise=True)
    assert scaled.features["train"].tolist() == [[-1, 0], [0, 0], [1, 0]]
    assert (scaled.features["val"].tolist(), scaled.features["test"].tolist()) == ([[49, 0]], [[3, 0]])
    assert all(t.dtype == torch.float32 for t in (*scaled.features.values(), *scaled.targets.values()))
    with pytest.raises(ValueError, match="no image is in the split 'test'"):
        faces(np.zeros((3, 2)), torch.full((3, 9), 1 / 9), np.array(["train", "val", "val"]), standardise=False)


def test_a_network_is_trained_once_with_minibatches_of_its_own(data, networks, empty_cache, monkeypatch):
    calls, orders = [], {}

    def counted_fit(*args, fit=uncnet.fit_tensors, **kwargs):
        calls.append(kwargs["label"])
        orders[kwargs["label"]] = [g.get_state() for g in kwargs["order"]]
        return fit(*args, **kwargs)

    monkeypatch.setattr(uncnet, "fit_tensors", counted_fit)
    first, second = (train(data, SMALL, "UncNet") for _ in range(2))
    # the number of predictions drawn afterwards does not change it
    train(data, dataclasses.replace(SMALL, n_samples=1000), "UncNet")
    assert calls == ["UncNet"]
    for other in (second, networks["UncNet"]):  # from this cache, and trained elsewhere
        assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), other.model.parameters(), strict=True))
        assert first.history == other.history and not other.model.training
    train(data, SMALL, "Baseline")
    train(data, dataclasses.replace(SMALL, lr_factor=1), "UncNet")
    train(data._replace(features=data.features | {"val": data.features["val"] + 1}), SMALL, "UncNet")
    assert calls == ["UncNet", "Baseline", "UncNet", "UncNet"]
    for name, stream in (("Baseline", 1), ("UncNet", 11)):
        for state, g in zip(orders[name], generators([0, 1, 2], stream), strict=True):
            assert torch.equal(state, g.get_state())


def test_the_two_networks_have_their_own_draws_and_rates(data):
    still = dataclasses.replace(SMALL, lr_factor=0, max_epochs=1)
    first = {name: train(data, still, name).model.weights[0] for name in ("Baseline", "UncNet")}
    for name, stream in (("Baseline", 0), ("UncNet", 10)):
        assert torch.equal(first[name], UncNet(5, generators([0, 1, 2], stream)).weights[0])
    assert not torch.equal(first["Baseline"], first["UncNet"])
    # Adam's first step is the learning rate in size: one batch, one epoch
    one_step = dataclasses.replace(SMALL, lr_factor=1, max_epochs=1, batch_size=50)
    for name, lr in (("Baseline", 1e-4), ("UncNet", 1e-5)):
        moved = (train(data, one_step, name).model.weights[0] - first[name]).abs()
        assert moved.max().item() == pytest.approx(lr, rel=0.02)


def test_the_printed_epochs_are_trained_to_their_end_and_the_last_is_kept(data, monkeypatch):
    monkeypatch.setattr(uncnet, "PRINTED_EPOCHS", {"Baseline": 6, "UncNet": 9})
    printed = dataclasses.replace(SMALL, as_printed=True, patience=1, lr_factor=1e4)  # so high that it does not improve
    for name, epochs in uncnet.PRINTED_EPOCHS.items():
        trained = train(data, printed, name)
        assert (len(trained.history.train), trained.history.best_epoch) == (epochs, [epochs] * 3)
    free = train(data, printed, ONE_RATE, rate=1.0)
    assert len(free.history.train) < 6 and free.rate == 1.0


def test_a_rate_is_chosen_by_the_first_seeds_validation_loss_and_one_that_explodes_is_none(data, monkeypatch):
    several = dataclasses.replace(SMALL, rates=(1e-3, 1e-2, 1.0))
    found = uncnet.losses_by_rate(data, several)
    alone = dataclasses.replace(SMALL, seeds=(0,))
    assert found == {rate: train(data, alone, "x", rate=rate).history.best_val[0] for rate in several.rates}
    assert found[1e-2] < found[1e-3]  # in four epochs

    def explodes(*args, fit=uncnet.fit_tensors, **kwargs):
        if kwargs["lr"] == 1e-2:
            raise FloatingPointError
        return fit(*args, **kwargs)

    monkeypatch.setattr(uncnet, "fit_tensors", explodes)
    monkeypatch.setattr(uncnet, "RECIPE", "other code")
    assert uncnet.losses_by_rate(data, several) == found | {1e-2: float("inf")}


def test_seeds_do_not_depend_on_which_others_run(data, networks, arms):
    alone = dataclasses.replace(SMALL, seeds=(2,))
    own = all_networks(data, alone)
    for name, trained in networks.items():
        assert trained.history.best_epoch[2] == own[name].history.best_epoch[0]
        assert trained.history.best_val[2] == pytest.approx(own[name].history.best_val[0], abs=1e-5)
    for name, predictions in predict(data, own, alone).items():
        for ours, theirs in zip(dataclasses.astuple(arms[name]), dataclasses.astuple(predictions), strict=True):
            torch.testing.assert_close(ours[2], theirs[0], rtol=0, atol=1e-4)


def test_dropout_off_is_the_network_itself(data, networks, arms):
    assert set(arms) == set(ARMS)
    for arm, network in (("Baseline", "Baseline"), (CONTROL, "UncNet"), (OFF, ONE_RATE)):
        with torch.no_grad():
            expected = torch.softmax(networks[network].model(data.features["test"]).double(), -1)
        torch.testing.assert_close(arms[arm].probs, expected)
        assert (arms[arm].epistemic == 0).all() and torch.equal(arms[arm].total, arms[arm].aleatoric)
        torch.testing.assert_close(arms[arm].total, torch.special.entr(expected).sum(-1))


def test_dropout_on_is_mc_dropout_of_each_seed(data, networks, arms):
    for member, g in enumerate(generators([0, 1, 2], stream=20)):
        probs = mc_dropout(networks["UncNet"].model, data.features["test"], 10, g, member=member).double()
        ours, expected = arms["UncNet"][member], Predictions.from_samples(probs[:, None], entropy_decomposition)[0]
        torch.testing.assert_close(ours.probs, expected.probs, rtol=0, atol=1e-6)
        for name in ("total", "aleatoric", "epistemic"):
            torch.testing.assert_close(getattr(ours, name), getattr(expected, name), rtol=0, atol=3e-6)
    assert (arms["UncNet"].epistemic > 0).all()


def test_every_seed_has_a_simulated_world_of_its_own(monkeypatch):
    drawn = []
    monkeypatch.setattr(uncnet.corpora, "load", lambda *args, **options: drawn.append((args, options)) or len(drawn))
    settings = uncnet.settings("quick", seed=7)
    assert uncnet.load("simulated", settings, thin="skin_tone") == [6, 7, 8, 9, 10]
    assert [options["seed"] for _, options in drawn] == 2 * [7, 8, 9, 10, 11]  # drawn, then taken from the cache
    assert {options["thin"] for _, options in drawn} == {"skin_tone"}
    drawn.clear()
    assert uncnet.load("ferplus", settings, "root") == [1]
    assert drawn == [(("ferplus", "root"), {})]


def test_features_follow_their_world():
    images = [np.random.default_rng(i).integers(0, 256, (3, 48, 48), dtype=np.uint8) for i in range(2)]
    for features, own in zip(uncnet.features([SimpleNamespace(images=i) for i in images], "hog"), images, strict=True):
        assert np.array_equal(features, frozen_features(own))
