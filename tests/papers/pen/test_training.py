import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from uncertain_affect.models.pen import PersonalizedExpertNetwork, SharedNetwork
from uncertain_affect.papers import pen
from uncertain_affect.papers.pen import training
from uncertain_affect.papers.pen.training import Variant
from uncertain_affect.training.fit import generators

from .conftest import SMALL, WAYS

ONE = {"s-PEN": Variant(1e-3, 1e-3)}


def assert_same(a: torch.nn.Module, b: torch.nn.Module, copies=slice(None), others=slice(None), atol=0.0):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p[copies], q[others], rtol=0, atol=atol)


def experts(model):
    """Weights (C, D, n_s, K) of the three experts."""
    return model.expert_weight.detach().unflatten(-1, (3, 2))


def errors(network, data, rows_of_copies):
    """Squared error of each copy on some frames of its own."""
    found = []
    for copy, rows in enumerate(rows_of_copies):
        predicted = pen.predict_rows(network, data, rows)[copy]
        found.append((predicted - data.labels[rows]).square().sum(1).mean().item())
    return found


@pytest.mark.parametrize("anneal", [1.0, 0.01])
def test_training_is_torch_adadelta_on_the_seeds_own_minibatches(data, drawn, anneal, empty_cache):
    one, order = drawn[1], generators([1], 1)[0]
    settings = replace(SMALL.as_printed(), seeds=(1,), epochs=2, joint_epochs=1, anneal=anneal)
    trained = pen.train_source([one], settings, ONE)
    reference, losses = SharedNetwork(6, generators([1], 0)), []
    optimiser = torch.optim.Adadelta(reference.parameters(), lr=1.0, rho=0.95, eps=1e-7)
    for epoch in range(2):
        shuffled = one.source.train[torch.randperm(len(one.source.train), generator=order).numpy()]
        for step, rows in enumerate(torch.from_numpy(shuffled).split(8)):
            # of 18 steps less than one warms up
            optimiser.param_groups[0]["lr"] = anneal ** ((9 * epoch + step) / 18)
            optimiser.zero_grad()
            (reference(data.features[rows])[0] - data.labels[rows]).square().sum(1).mean().backward()
            optimiser.step()
        losses.append(errors(reference, data, [one.source.val]))
    torch.testing.assert_close(trained.histories["SN"].val, losses, rtol=1e-4, atol=0)
    assert losses[1] < losses[0]
    assert_same(trained.sn, reference, atol=1e-6)
    at_the_end = trained.histories["SN"].traces["after"]
    assert at_the_end == pytest.approx(errors(reference, data, [one.source.train]), rel=1e-4)


def test_the_gate_is_trained_before_the_experts_part_and_a_strong_penalty_flattens_it(data, drawn, empty_cache):
    ways = {"free": Variant(1e-3, 0.0), "flat": Variant(1e-3, 100.0), "none": Variant(0.0, 0.0, "none")}
    still = {**SMALL.rate, "PEN": ("Adam", 1e-2)}
    trained = pen.train_source(drawn, replace(SMALL, epochs=60, joint_epochs=1, rate=still), ways)
    start = PersonalizedExpertNetwork(6, 3, generators([0, 1], 2))
    apart = experts(trained.network("none"))
    assert (apart[:, :, 0] - apart[:, :, 1]).abs().max() > 0  # a mixture parts too, by its random gate
    with torch.no_grad():
        gates = {name: trained.network(name)(data.features).gate for name in ways}
        untrained = start(data.features).gate
    of_people = {n: torch.stack([g[:, data.person == i].mean(1) for i in range(3)]) for n, g in gates.items()}
    free, flat = ((of_people[name] - 1 / 3).abs().amax((0, 2)) for name in ("free", "flat"))
    assert flat.max() < 0.05 < free.max()
    # told nobody's name, it moves by one epoch of joint training alone
    assert (gates["none"] - untrained).abs().max() < (gates["free"] - untrained).abs().max()


def test_shuffled_identities_are_the_same_people_in_other_frames(data):
    true, shuffled = training._people(data)
    rows = data.source_rows()
    assert torch.equal(true, torch.from_numpy(data.person)) and (true[rows] != shuffled[rows]).any()
    assert sorted(true[rows].tolist()) == sorted(shuffled[rows].tolist())
    assert torch.equal(true[data.target_rows], shuffled[data.target_rows])


def test_copies_are_left_at_their_best_validation_epoch_the_start_among_them_or_at_their_last(data, drawn, empty_cache):
    rough = replace(SMALL, rate={**SMALL.rate, "SN": ("Adam", 0.3), "PEN": ("Adam", 30.0)}, epochs=12, joint_epochs=6)
    best, last = (pen.train_source(drawn, rough, ONE, keep_best=keep) for keep in (True, False))
    val = [one.source.val for one in drawn]
    history = best.histories["SN"]
    assert np.argmin(history.val, 0).tolist() == [e - 1 for e in history.best_epoch]
    assert errors(best.sn, data, val) == pytest.approx(np.min(history.val, 0), rel=1e-4)
    # steps so long that none of them helps: PEN stays SN
    assert best.histories["PEN"].best_epoch == [0, 0]
    assert best.histories["PEN"].best_val == pytest.approx(history.best_val, rel=1e-4)
    assert errors(best.pen, data, val) == pytest.approx(history.best_val, rel=1e-4)
    assert last.histories["PEN"].best_epoch == [6, 6]
    assert errors(last.pen, data, val) == pytest.approx(last.histories["PEN"].val[-1], rel=1e-4)


def test_seeds_do_not_depend_on_which_others_run(drawn, source, adapted):
    own = pen.train_source(drawn[1:], SMALL, WAYS)
    assert_same(source.sn, own.sn, [1], atol=1e-5)
    for name in WAYS:
        assert_same(source.network(name, 1), own.network(name), atol=1e-5)
    after = pen.adapt(drawn[1:], own, SMALL)
    for model, kind in itertools.product(("s-SN", "t-PEN", pen.CONTROLS[0]), ("random", "blocked")):
        (group, here), (_, there) = adapted.copies(model, kind), after.copies(model, kind)
        assert_same(adapted.networks[group], after.networks[group], here[1], there[0], atol=1e-5)


def test_worlds_train_side_by_side_as_each_alone(data, drawn):
    other = replace(data, features=data.features + 1, labels=-data.labels)
    worlds = [drawn[0], drawn[1]._replace(frames=other)]
    together, alone = pen.train_source(worlds, SMALL, ONE), pen.train_source(worlds[1:], SMALL, ONE)
    assert_same(together.network("s-PEN", 1), alone.network("s-PEN"), atol=1e-5)
    after, own = (pen.adapt(of, source, SMALL) for of, source in ((worlds, together), (worlds[1:], alone)))
    for model in pen.MODELS:
        (group, here), (_, there) = after.copies(model, "random"), own.copies(model, "random")
        assert_same(after.networks[group], own.networks[group], here[1], there[0], atol=1e-5)


def test_individual_tuning_fits_each_expert_to_its_person_alone(data, drawn, empty_cache):
    # the frames of one person are all that their expert sees
    labels = data.labels.clone()
    labels[data.person == 1] *= -1
    still = replace(SMALL, rate={**SMALL.rate, "SN": ("Adam", 0.0)})
    ours, theirs = (
        pen.train_source([one._replace(frames=d) for one in drawn], still, ONE, tuning="individual", keep_best=False)
        for d in (data, replace(data, labels=labels))
    )
    moved = (experts(ours.pen) - experts(theirs.pen)).abs().amax((0, 1, 3))
    assert moved[0] == moved[2] == 0 < moved[1]


def test_adaptation_moves_the_source_networks_and_random_ones(data, drawn, source, adapted):
    still = pen.adapt(drawn, source, replace(SMALL, rate=dict.fromkeys(SMALL.rate, ("Adam", 0.0))))
    random = SharedNetwork(6, generators([0], 20)), PersonalizedExpertNetwork(6, 3, generators([0], 21))
    for kind, place in itertools.product(("random", "blocked"), (0, 1)):
        for model in ("s-SN", *WAYS):
            group, copies = still.copies(model, kind)
            assert_same(still.networks[group], source.network(model, 0), copies[0, place : place + 1])
        for model, start in zip(("t-SN", "t-PEN"), random, strict=True):
            group, copies = still.copies(model, kind)
            assert_same(still.networks[group], start, copies[0, place : place + 1])
    # model, kind, replicate, share, the last fastest
    assert adapted.copies("s-PEN", "random")[1].tolist() == [[0, 1], [2, 3]]
    assert adapted.copies("s-PEN", "blocked")[1].tolist() == [[4, 5], [6, 7]]
    assert adapted.copies(pen.CONTROLS[0], "random")[1].tolist() == [[8, 9], [10, 11]]
    assert adapted.copies("t-SN", "blocked")[0] == "t-SN"


def test_a_fifth_of_the_adapted_frames_chooses_the_epoch(data, drawn, adapted):
    for one, (place, share) in itertools.product(drawn, enumerate(SMALL.shares)):
        rows = one.target["random"].adapt[place]
        train, val = training._fifth(rows, one.seed, place)
        assert sorted([*train, *val]) == rows.tolist() and len(val) == round(0.2 * len(rows)) > 0, share
    copies = adapted.copies("s-SN", "random")[1]
    own = [training._fifth(one.target["random"].adapt[1], one.seed, 1)[1] for one in drawn]
    network = training.select_copies(adapted.networks["s-SN"], copies[:, 1])
    best = np.array(adapted.histories["s-SN"].best_val)[copies[:, 1]]
    assert errors(network, data, own) == pytest.approx(best, rel=1e-4)


def test_test_frames_and_identities_do_not_matter_to_adaptation(data, drawn, source, adapted):
    used = np.concatenate([split.adapt[-1] for one in drawn for split in one.target.values()])
    labels = torch.full_like(data.labels, 9.0)
    labels[np.unique(used)] = data.labels[np.unique(used)]
    person = data.person.copy()
    person[data.target_rows] = 3 + np.random.default_rng(0).integers(2, size=len(data.target_rows))
    blind = [one._replace(frames=replace(data, labels=labels, person=person)) for one in drawn]
    again = pen.adapt(blind, source, SMALL)
    for group, network in adapted.networks.items():
        assert_same(network, again.networks[group])


def test_predictions_are_those_of_each_network(data, source, adapted, predictions):
    x = data.features[data.target_rows]
    for kind, model in itertools.product(("random", "blocked"), ("s-SN", "s-PEN", "t-SN", "t-PEN", *pen.CONTROLS)):
        group, copies = adapted.copies(model, kind)
        with torch.no_grad():
            after = training._predictions(adapted.networks[group], x)
            before = None if model.startswith("t-") else training._predictions(source.network(model), x)
        for seed, of_seed in enumerate(predictions[kind][model]):
            torch.testing.assert_close(of_seed[1:], after[copies[seed]])
            first = torch.full_like(of_seed[0], math.nan) if before is None else before[seed]
            torch.testing.assert_close(of_seed[0], first, equal_nan=True)


def test_stages_are_trained_once_and_know_what_they_depend_on(drawn, empty_cache, monkeypatch):
    trained = []

    def counted(*args, fit=training.fit, **options):
        trained.append(options["label"].removesuffix(", adaptation"))
        return fit(*args, **options)

    monkeypatch.setattr(training, "fit", counted)
    every, slow = ["SN", "gate", "PEN", "s-SN", "s-PEN", "t-SN", "t-PEN"], {**SMALL.rate, "t-SN": ("Adam", 1e-3)}
    for change, way, stages in (
        ({}, {}, every),
        ({}, {}, []),
        ({"adapt_epochs": 5}, {}, every[3:]),
        ({"rate": slow}, {}, ["t-SN"]),
        ({}, {"lambda_0": 0.1}, ["PEN", "s-PEN"]),
        ({}, {"lambda_1": 0.1}, ["gate", "PEN", "s-PEN", "t-PEN"]),
        ({}, {"identities": "none"}, ["gate", "PEN", "s-PEN"]),
        ({"batch_size": 4}, {}, every),
    ):
        trained.clear()
        settings, ways = replace(SMALL, **change), {"s-PEN": ONE["s-PEN"]._replace(**way)}
        pen.adapt(drawn, pen.train_source(drawn, settings, ways), settings)
        assert trained == stages


def test_an_interrupted_stage_goes_on_where_it_stopped(drawn, source, empty_cache, monkeypatch):
    monkeypatch.setattr("uncertain_affect.training.fit.SECONDS_BETWEEN_CHECKPOINTS", -1)
    real, calls = training.affect_squared_error, iter(range(16))  # nine batches an epoch, and two to validate
    with monkeypatch.context() as patch:
        patch.setattr(training, "affect_squared_error", lambda *args: (next(calls), real(*args))[1])
        with pytest.raises(StopIteration):  # in the second epoch
            pen.train_source(drawn, SMALL, WAYS)
    assert len(list(empty_cache.rglob("*.checkpoint"))) == 1
    resumed = pen.train_source(drawn, SMALL, WAYS)
    assert_same(resumed.sn, source.sn)
    assert_same(resumed.pen, source.pen)
    assert resumed.histories["SN"].val == source.histories["SN"].val
    assert not list(empty_cache.rglob("*.checkpoint"))
