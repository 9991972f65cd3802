"""What is kept of searches and compared, against scikit-learn, cases by hand and a plain loop."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics

from uncertain_affect.evidence import store
from uncertain_affect.models.rock import HanRock, seventeen_tasks
from uncertain_affect.papers import rock
from uncertain_affect.papers.rock import evidence, search

from .conftest import NONE, ROCK

CELLS = {"None": NONE, "aphf": ROCK}


def stub(problem, cell, seed, predictions, dev, epochs=None):
    """A search whose trials have these test predictions (K, n[, C]) and development scores (K,)."""
    table = {"dev": dev, "test": [rock.score(problem, p, "test") for p in predictions]}
    table |= {"epoch": epochs or [1] * len(dev), "epochs": 2}
    trials = [search.Trial(0.01, 32, 0.0, 2, 0.1, 0.1, "random", (1.0,)) for _ in dev]
    curves = [np.arange(2.0) for _ in dev]
    return search.Search(cell, seed, pd.DataFrame(table).rename_axis("trial"), trials, curves, np.array(predictions))


def kept(problem, of_cell, seeds=(0, 1), max_epochs=2):
    """A task from predictions (n[, C]) by cell and seed, as reading gives it back."""
    found = {}
    for name, of_seed in of_cell.items():
        for seed, predictions in of_seed.items():
            found[problem.name, CELLS[name], seed] = stub(problem, CELLS[name], seed, [predictions], [0.5])
    return store.rounded(evidence.task(problem, CELLS, found, seeds, max_epochs))


def test_accuracy_and_f1_agree_with_scikit_learn(emotion):
    rng = np.random.default_rng(0)
    arms = [dict(enumerate(rng.dirichlet(np.ones(4), size=(2, len(emotion.rows["test"]))))) for _ in range(2)]
    truth, t = emotion.truth("test"), kept(emotion, dict(zip(CELLS, arms, strict=True)))
    baseline, challenger = t["cells"].values()
    labels = [[of_seed.argmax(-1) for of_seed in arm.values()] for arm in arms]
    accuracy = [np.mean([metrics.accuracy_score(truth, p) for p in arm]) for arm in labels]
    assert [evidence.metric(t, c) for c in (baseline, challenger)] == pytest.approx(accuracy)
    gain = evidence.gain(t, challenger, baseline, skill=False)
    assert gain.estimate == pytest.approx(accuracy[1] - accuracy[0])
    assert gain.n_clusters == len(np.unique(emotion.dialogue[emotion.rows["test"]]))
    constant = 1 - evidence.metric(t, t["plain"][evidence.CONSTANT])
    assert evidence.gain(t, challenger, baseline).estimate == pytest.approx((accuracy[1] - accuracy[0]) / constant)
    f1 = [np.mean([metrics.f1_score(truth, p, average=None) for p in arm], 0) for arm in labels]
    assert list(evidence.class_f1(t, challenger).values()) == pytest.approx(f1[1])
    gains = evidence.class_gains(t, challenger, baseline)
    assert [e.estimate for e in gains.values()] == pytest.approx(f1[1] - f1[0])
    assert list(gains) == ["angry", "happy", "neutral", "sad"]
    angry, happy, neutral, sad = f1[1] - f1[0]
    contrast = evidence.low_resource_gain(t, challenger, baseline)
    assert contrast.estimate == pytest.approx((sad + angry) / 2 - (happy + neutral) / 2)
    n = np.bincount(emotion.truth("train").astype(int))
    assert evidence.class_ratio(t) == min(n[1], n[2]) / max(n[0], n[3])


def test_an_improvement_is_positive_where_the_challenger_is_better(valence):
    y = valence.truth("test")
    t = kept(valence, {"aphf": {0: y + 0.1, 1: y - 0.1}, "None": {0: y + 0.3, 1: y + 0.5}})
    effect = evidence.gain(t, t["cells"]["aphf"], t["cells"]["None"], skill=False)
    assert effect.estimate == pytest.approx(0.3)
    error = np.abs(y - np.median(valence.truth("train"))).mean()
    assert evidence.gain(t, t["cells"]["aphf"], t["cells"]["None"]).estimate == pytest.approx(0.3 / error, rel=1e-6)
    mean = evidence.mean_of(*t["cells"].values())
    assert evidence.metric(t, mean) == pytest.approx(0.25)


def test_choosing_is_on_development_data_and_seeds_are_shared(valence):
    y = valence.truth("test")
    found = {
        (valence.name, NONE, 0): stub(valence, NONE, 0, [y, y + 1, y + 2], [0.3, 0.5, 0.5]),
        (valence.name, ROCK, 0): stub(valence, ROCK, 0, [y + 3, y + 4], [0.6, 0.1]),
        (valence.name, ROCK, 1): stub(valence, ROCK, 1, [y + 5], [0.2], epochs=[2]),
    }
    t = evidence.task(valence, CELLS, found, (0, 1), 2)
    t = store.rounded(t)
    none, every = t["cells"].values()
    assert none["errors"].sum(1) / len(y) == pytest.approx([1, np.nan], nan_ok=True)  # of equal ones the first
    assert evidence.reached(every).tolist() == [True, True] and evidence.reached(none, every).tolist() == [True, False]
    assert evidence.gain(t, every, none) is None  # one seed
    better = evidence.better_of(none, every)
    assert better["chosen"][0] == 1 and better["errors"].sum(1)[0] / len(y) == pytest.approx(3)
    assert evidence.reached(better).tolist() == [True, False]
    assert every["last"].tolist() == [False, True]
    assert list(t["trials"]["cell"]) == ["None"] * 3 + ["aphf"] * 3
    assert t["curves"].shape == (6, 2) and t["weights"].shape == (6, 1)


def test_what_an_arm_has_learnt_is_that_of_its_worst_task(emotion, valence):
    truth, y = np.eye(4)[emotion.truth("test").astype(int)], valence.truth("test")
    same = np.tile([0.7, 0.1, 0.1, 0.1], (len(truth), 1))
    rng = np.random.default_rng(0)
    near = 0.9 * truth + 0.1 * rng.dirichlet(np.ones(4), len(truth))
    a = kept(emotion, {"None": {0: near, 1: near}, "aphf": {0: same, 1: near}})
    b = kept(valence, {"None": {0: y, 1: y}, "aphf": {0: y, 1: 0 * y + 0.2}})

    def learnt(name):
        return evidence.learnt([("emotion", a, a["cells"][name]), ("valence", b, b["cells"][name])])

    assert learnt("None").problem() == ""
    assert a["cells"]["aphf"]["dead"].tolist() == b["cells"]["aphf"]["dead"][::-1].tolist() == [True, False]
    assert a["cells"]["aphf"]["learnt"][0] == 0.5 and b["cells"]["aphf"]["learnt"].tolist() == pytest.approx([1, 0])
    arm = learnt("aphf")
    assert (arm.dead, arm.last_epoch) == (0.5, 0) and arm.metric in ("AUROC of emotion", "CCC of valence")
    assert arm.problem()


def test_plain_baselines_know_the_training_set_alone(emotion, valence):
    for problem in (emotion, valence):
        found = evidence.plain_predictions(problem)
        assert list(found) == [evidence.CONSTANT, evidence.PLAIN, evidence.WORDS]
        train, test = problem.truth("train"), problem.rows["test"]
        if problem.classes:
            rates = np.bincount(train.astype(int), minlength=4) / len(train)
            assert (found[evidence.CONSTANT] == rates).all()
            assert all(p.sum(-1) == pytest.approx(1) for p in found.values())
        else:
            assert (found[evidence.CONSTANT] == np.median(train)).all()
        # a talkturn without words has the mean of no vector
        tokens = problem.tokens.clone()
        tokens[test[0]] = 0
        empty = evidence.plain_predictions(type(problem)(**vars(problem) | {"tokens": tokens}))
        assert np.isfinite(empty[evidence.PLAIN]).all() and np.isfinite(empty[evidence.WORDS]).all()
        np.testing.assert_allclose(empty[evidence.PLAIN][1:], found[evidence.PLAIN][1:])


def test_the_papers_bootstrap_by_hand_and_as_a_plain_loop():
    rng = np.random.default_rng(0)
    assert set(evidence.tuning_bootstrap([0.5], [0.2], 10, rng)) == {0.2}
    # of two trials the better is among two draws in three of four cases
    drawn = evidence.tuning_bootstrap([0.1, 0.9], [7.0, 3.0], 40_000, rng)
    assert set(drawn) == {3.0, 7.0}
    assert (drawn == 3.0).mean() == pytest.approx(0.75, abs=0.01)
    dev, test = np.array([0.2, 0.7, 0.7, 0.1, 0.5]), np.arange(5.0)
    fast = evidence.tuning_bootstrap(dev, test, 300, np.random.default_rng(3))
    draws = np.random.default_rng(3).integers(5, size=(300, 5))
    slow = [test[min(row, key=lambda i: (-dev[i], i))] for row in draws]
    assert fast.tolist() == slow


def test_a_list_of_trials_against_itself_is_not_significant():
    rng = np.random.default_rng(0)
    trials = pd.DataFrame({"seed": 3, "dev": rng.normal(size=30), "test": rng.normal(size=30)})
    other = pd.concat([trials, trials.assign(seed=4)])  # a seed that one lacks does not count
    found = evidence.tuning_intervals(trials, other, rng)
    assert list(found.index) == [3]
    assert found.at[3, "low"] < 0 < found.at[3, "high"] and abs(found.at[3, "mean"]) < 0.1
    assert evidence.tuning_intervals(trials.assign(test=trials["test"] + 100), trials, rng).at[3, "low"] > 50


def test_a_step_is_timed_at_any_size_and_parameters_are_counted():
    tasks, g = seventeen_tasks("emotion", 4), torch.Generator().manual_seed(0)
    words = torch.randn(10, 6, generator=g)
    sizes = {"small": (2, 1), "large": (2, 3)}
    nets = {name: HanRock(tasks, words, *size, g, word_gru=3, attention=4) for name, size in sizes.items()}
    assert evidence.n_parameters(nets["small"]) < evidence.n_parameters(nets["large"])
    assert evidence.n_parameters(nets["small"]) == sum(p.numel() for p in nets["small"].parameters()) - words.numel()
    before = [p.clone() for p in nets["small"].parameters()]
    seconds = evidence.step_seconds(nets, batch_size=4, content_size=3, repeats=2)
    assert all(of.values.shape == (2,) and (of.values > 0).all() and of.unit == "s" for of in seconds.values())
    assert any((a != b).any() for a, b in zip(before, nets["small"].parameters(), strict=True))


def test_a_cell_that_no_seed_has_reached_is_empty_and_has_learnt_nothing(emotion):
    probabilities = np.full((len(emotion.rows["test"]), 4), 0.25)
    t = kept(emotion, {"None": {0: probabilities, 1: probabilities}})
    cells = t["cells"]
    assert evidence.reached(cells["aphf"]).tolist() == [False, False]
    assert np.isnan(evidence.metric(t, cells["aphf"])) and evidence.gain(t, cells["aphf"], cells["None"]) is None
    assert evidence.low_resource_gain(t, cells["aphf"], cells["None"]) is None
    assert "is not above" in evidence.learnt([("emotion", t, cells["aphf"])]).problem()
