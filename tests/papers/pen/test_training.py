import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from uncertain_affect.models.pen import PersonalizedExpertNetwork, SharedNetwork
from uncertain_affect.papers import pen
from uncertain_affect.papers.pen import training
from uncertain_affect.training.fit import generators

from .conftest import SMALL


def assert_same(a: torch.nn.Module, b: torch.nn.Module, copies=slice(None), others=slice(None), atol=0.0):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p[copies], q[others], rtol=0, atol=atol)


def experts(model):
    """Weights (C, D, n_s, K) of the three experts."""
    return model.expert_weight.detach().unflatten(-1, (3, 2))


def errors(network, data, splits):
    """Squared error of each copy on its own validation frames."""
    predictions = [pen.predict_rows(network, data, split.val)[copy] for copy, split in enumerate(splits)]
    return [(p - data.labels[s.val]).square().sum(1).mean().item() for p, s in zip(predictions, splits, strict=True)]


def test_training_is_torch_adadelta_on_the_seeds_own_minibatches(data, drawn, empty_cache):
    split, order = drawn[0][1], generators([1], 1)[0]
    trained = pen.train_source(data, [split], replace(SMALL, seeds=(1,), sn_epochs=2))
    reference, losses = SharedNetwork(6, generators([1], 0)), []
    optimiser = torch.optim.Adadelta(reference.parameters(), lr=1.0, rho=0.95, eps=1e-7)
    for _ in range(2):
        shuffled = split.train[torch.randperm(len(split.train), generator=order).numpy()]
        for rows in torch.from_numpy(shuffled).split(8):
            optimiser.zero_grad()
            (reference(data.features[rows])[0] - data.labels[rows]).square().sum(1).mean().backward()
            optimiser.step()
        losses.append(errors(reference, data, [split]))
    assert_same(trained.sn, reference, atol=1e-6)
    torch.testing.assert_close(trained.histories["sn"].val, losses, rtol=1e-4, atol=0)
    assert losses[1] < losses[0]


def test_the_gate_is_trained_before_the_experts_part_and_a_strong_penalty_flattens_it(data, drawn, empty_cache):
    gate_only, pairs = replace(SMALL, joint_epochs=0, gate_epochs=60), [(1e-3, 0.0), (1e-3, 100.0)]
    trained = pen.train_source(data, drawn[0], gate_only, pairs)
    shared = trained.sn.weight.repeat(2, 1, 1).unsqueeze(2)
    torch.testing.assert_close(experts(trained.pen), shared.expand(-1, -1, 3, -1))
    start = PersonalizedExpertNetwork(6, 3, generators([0, 1], 2))
    assert not torch.isclose(trained.pen.gate_weight[:2], start.gate_weight).any()
    with torch.no_grad():
        gates = trained.pen(data.features).gate
    of_people = torch.stack([gates[:, data.person == i].mean(1) for i in range(3)])
    free, flat = (of_people - 1 / 3).abs().amax((0, 2)).split(2)
    assert flat.max() < 0.05 < free.max()
    # joint training then moves each expert its own way
    joint = experts(pen.train_source(data, drawn[0], replace(gate_only, joint_epochs=2)).pen)
    assert (joint[:, :, 0] - joint[:, :, 1]).abs().min() > 0


def test_early_stopping_leaves_copies_at_their_best_validation_epoch_else_at_their_last(data, drawn, empty_cache):
    rough = replace(SMALL, lr=30.0, sn_epochs=12, joint_epochs=6)
    best, last = (pen.train_source(data, drawn[0], rough, early_stop=stop) for stop in (True, False))
    history = best.histories["sn"]
    assert np.argmin(history.val, 0).tolist() == [e - 1 for e in history.best_epoch] != [11, 11]
    assert errors(best.sn, data, drawn[0]) == pytest.approx(np.min(history.val, 0), rel=1e-4)
    assert best.histories["pen"].val == last.histories["pen"].val
    assert last.histories["pen"].best_epoch == [6, 6] != best.histories["pen"].best_epoch
    assert errors(last.pen, data, drawn[0]) == pytest.approx(last.histories["pen"].val[-1], rel=1e-4)


def test_seeds_do_not_depend_on_which_others_run(data, drawn, source, adapted):
    alone = replace(SMALL, seeds=(1,))
    own = pen.train_source(data, drawn[0][1:], alone)
    assert_same(source.sn, own.sn, [1], atol=1e-5)
    assert_same(source.pen, own.pen, [1], atol=1e-5)
    after = pen.adapt(data, own, {"blocked": drawn[1]["blocked"][1:]}, alone)
    for start, share in itertools.product("st", (10, 50)):
        here, there = adapted.copies(start, "blocked", share)[1], after.copies(start, "blocked", share)[0]
        assert_same(adapted.sn, after.sn, here, there, atol=1e-5)
        assert_same(adapted.pen, after.pen, here, there, atol=1e-5)


def test_the_grid_trains_side_by_side_and_is_judged_by_validation(data, drawn):
    grid = (1e-3, 10.0)
    chosen, losses = pen.choose_lambdas(data, drawn[0], replace(SMALL, grid=grid))
    several = pen.train_source(data, drawn[0], SMALL, list(itertools.product(grid, grid)))
    assert losses.index.tolist() == losses.columns.tolist() == list(grid)
    assert losses.loc[chosen.lambda_0, chosen.lambda_1] == losses.to_numpy().min()
    for place, (lambda_0, lambda_1) in enumerate(several.lambdas):
        alone = pen.train_source(data, drawn[0], replace(SMALL, lambda_0=lambda_0, lambda_1=lambda_1))
        assert losses.loc[lambda_0, lambda_1] == pytest.approx(np.mean(alone.histories["pen"].best_val), abs=1e-5)
        assert_same(several.pen, alone.pen, [2 * place, 2 * place + 1], atol=1e-5)
    same, losses = pen.choose_lambdas(data, drawn[0], SMALL)
    assert same == SMALL and losses.shape == (1, 1)
    with pytest.raises(ValueError, match="choose one of the 4 pairs"):
        pen.adapt(data, several, drawn[1], SMALL)


def test_individual_tuning_fits_each_expert_to_its_person_alone(data, drawn, empty_cache):
    # the frames of one person are all that their expert sees
    labels = data.labels.clone()
    labels[data.person == 1] *= -1
    ours, theirs = (
        pen.train_source(d, drawn[0], replace(SMALL, sn_epochs=0), tuning="individual").pen
        for d in (data, replace(data, labels=labels))
    )
    moved = (experts(ours) - experts(theirs)).abs().amax((0, 1, 3))
    assert moved[0] == moved[2] == 0 < moved[1]
    assert torch.equal(ours.gate_weight, theirs.gate_weight)
    tuned, joint = (pen.train_source(data, drawn[0], SMALL, tuning=t).pen for t in ("individual", "joint"))
    assert not torch.equal(tuned.expert_weight, joint.expert_weight)


def test_adaptation_moves_the_source_networks_and_random_ones(data, drawn, source, adapted):
    still = pen.adapt(data, source, drawn[1], replace(SMALL, lr=0.0))
    random = SharedNetwork(6, generators([0, 1], 20)), PersonalizedExpertNetwork(6, 3, generators([0, 1], 21))
    order = list(itertools.product("st", ("random", "blocked"), (10, 50)))
    for place in order:
        sn, mixture = (source.sn, source.pen) if place[0] == "s" else random
        assert_same(still.sn, sn, still.copies(*place))
        assert_same(still.pen, mixture, still.copies(*place))
    for p, q in zip(adapted.pen.parameters(), source.pen.parameters(), strict=True):  # every expert and the gate
        assert (p[adapted.copies("s", "random", 50)] != q).all()
    # start, kind, seed, share, the last fastest
    numbers = [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9, 11], [12, 14], [13, 15]]
    assert [adapted.copies(*place) for place in order] == numbers


def test_small_sets_adapt_for_as_many_passes_or_the_least_number_of_steps(data, drawn, source, adapted):
    # an epoch is 40 frames (50% of 80): four passes over 8 frames are 32 of them, over 40 four epochs; the blocked
    # 50% are 36 frames
    epochs = adapted.histories["sn"].best_epoch
    assert [epochs[c] for c in adapted.copies("s", "random", 10)] == [1, 1]
    assert [epochs[c] for c in adapted.copies("t", "random", 50)] == [4, 4]
    more = pen.adapt(data, source, drawn[1], replace(SMALL, min_steps=25))  # of 8 frames: 200
    assert set(more.histories["pen"].best_epoch) == {5}
    # a copy that stops early is where it would be had all stopped then
    short = pen.adapt(data, source, drawn[1], replace(SMALL, adapt_epochs=1))
    for start, (share, same) in itertools.product("st", ((10, True), (50, False))):
        at = adapted.copies(start, "random", share)
        assert torch.equal(adapted.pen.expert_weight[at], short.pen.expert_weight[at]) is same


def test_test_frames_and_identities_do_not_matter_to_adaptation(data, drawn, source, adapted):
    used = torch.from_numpy(np.concatenate([s.adapt[-1] for splits in drawn[1].values() for s in splits])).unique()
    labels = torch.full_like(data.labels, 9.0)
    labels[used] = data.labels[used]
    person = data.person.copy()
    person[data.target_rows] = 3 + np.random.default_rng(0).integers(2, size=len(data.target_rows))
    blind = pen.adapt(replace(data, labels=labels, person=person), source, drawn[1], SMALL)
    assert_same(adapted.sn, blind.sn)
    assert_same(adapted.pen, blind.pen)


def test_predictions_are_those_of_each_network(data, source, adapted, predictions):
    x = data.features[data.target_rows]
    with torch.no_grad():
        before, after, shared = source.pen(x).mean, adapted.pen(x).mean, adapted.sn(x)
    for kind in ("random", "blocked"):
        assert tuple(predictions[kind]) == pen.MODELS
        torch.testing.assert_close(predictions[kind]["s-PEN"][:, 0], before)
        assert predictions[kind]["t-SN"][:, 0].isnan().all() and predictions[kind]["t-PEN"][:, 0].isnan().all()
        for start, (place, share) in itertools.product("st", enumerate((10, 50), start=1)):
            at = adapted.copies(start, kind, share)
            torch.testing.assert_close(predictions[kind][f"{start}-PEN"][:, place], after[at])
            torch.testing.assert_close(predictions[kind][f"{start}-SN"][:, place], shared[at])


def test_stages_are_trained_once_and_know_what_they_depend_on(data, drawn, empty_cache, monkeypatch):
    trained = []

    def counted(*args, fit=training.fit, **options):
        trained.append(options["label"])
        return fit(*args, **options)

    monkeypatch.setattr(training, "fit", counted)
    every, again = ["SN", "gate", "PEN", "SN, adaptation", "PEN, adaptation"], []
    for change, tuning, stages in (
        ({}, "joint", every),
        ({}, "joint", []),
        ({"adapt_epochs": 5}, "joint", ["SN, adaptation", "PEN, adaptation"]),
        ({"lambda_0": 0.1}, "joint", ["PEN", "PEN, adaptation"]),
        ({"lambda_1": 0.1}, "joint", ["gate", "PEN", "PEN, adaptation"]),
        ({"batch_size": 4}, "joint", every),
        ({}, "individual", ["PEN", "PEN, adaptation"]),
    ):
        trained.clear()
        source = pen.train_source(data, drawn[0], replace(SMALL, **change), tuning=tuning)
        again.append((source, pen.adapt(data, source, drawn[1], replace(SMALL, **change))))
        assert trained == stages
    (first, adapted), (second, adapted_again) = again[:2]
    assert first.histories["gate"] == second.histories["gate"]
    assert_same(first.pen, second.pen)
    assert_same(adapted.pen, adapted_again.pen)


def test_an_interrupted_stage_goes_on_where_it_stopped(data, drawn, source, empty_cache, monkeypatch):
    monkeypatch.setattr("uncertain_affect.training.fit.SECONDS_BETWEEN_CHECKPOINTS", -1)
    real, calls = training.affect_squared_error, iter(range(19))  # twelve batches an epoch, and one of validation
    with monkeypatch.context() as patch:
        patch.setattr(training, "affect_squared_error", lambda *args: (next(calls), real(*args))[1])
        with pytest.raises(StopIteration):  # in the second epoch
            pen.train_source(data, drawn[0], SMALL)
    assert len(list(empty_cache.rglob("*.checkpoint"))) == 1
    resumed = pen.train_source(data, drawn[0], SMALL)
    assert_same(resumed.sn, source.sn)
    assert_same(resumed.pen, source.pen)
    assert resumed.histories["sn"].val == source.histories["sn"].val
    assert not list(empty_cache.rglob("*.checkpoint"))
