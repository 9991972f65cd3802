import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from uncertain_affect.evidence.claims import Arm, effect_interval
from uncertain_affect.evidence.resampling import difference
from uncertain_affect.papers import ugn, ugn_evidence
from uncertain_affect.papers.predictions import Predictions
from uncertain_affect.papers.ugn_evidence import CONSTANT, LINEAR, Experiment

from .test_ugn import SMALL, UNITS, by_sklearn, counts_of, made_up, made_up_tested


def of_probs(probs):
    return Predictions(probs, probs, probs, probs)


@pytest.fixture(scope="module")
def experiment():
    return Experiment({"bp4d": made_up()}, SMALL, {"start": None, "device": "cpu"})


@pytest.fixture(scope="module")
def tested(experiment):
    return ugn_evidence.with_baselines(experiment, "bp4d", ugn.test(experiment.data["bp4d"], SMALL))


# --- counts -----------------------------------------------------------------------------------------------------


def test_counts_give_the_sums_that_were_tested():
    tested = made_up_tested()
    counts = counts_of(tested)
    assert counts.n_folds == 3 and counts.fold.tolist() == [0, 1, 2] * 3
    f1, accuracy = by_sklearn(tested)
    table = counts.table(["UGN"])
    assert list(table.index) == [*"abcd", "Avg"] and list(table.columns) == ["UGN F1", "UGN accuracy"]
    np.testing.assert_allclose(table["UGN F1"], [*f1.mean(0), f1.mean()])
    np.testing.assert_allclose(table["UGN accuracy"], [*accuracy.mean(0), accuracy.mean()])
    score = counts.score("UGN", ugn.accuracy)
    assert score.estimate == pytest.approx(accuracy.mean()) and 0 < score.low < score.estimate < score.high < 100


def test_a_unit_that_never_occurs_has_no_f1_and_does_not_count():
    tested = made_up_tested()
    tested.labels[:, 3].clamp_(max=0)
    f1, table = by_sklearn(tested)[0], counts_of(tested).table(["UGN"])
    np.testing.assert_allclose(table["UGN F1"], [*f1[:, :3].mean(0), np.nan, f1[:, :3].mean()])


def test_effects_cross_seeds_with_subjects_or_against_another_network_with_folds():
    tested = made_up_tested()
    for i, method in enumerate(("GN-D", "ResNet18")):
        tested.predictions[method] = made_up_tested(seed=i + 1).predictions["UGN"]
    counts = counts_of(tested)
    both = np.concatenate([counts.sums(method) for method in ("UGN", "GN-D")], -1)
    for unit in (None, 2):
        effect = counts.effect("UGN", "GN-D", unit=unit)
        assert effect == effect_interval(both, difference(ugn.f1(tested, unit))) and effect.n_clusters == 9
    effect = counts.effect("UGN", "ResNet18")
    other = dataclasses.replace(tested, predictions={"UGN": tested.predictions["ResNet18"]})
    expected = []
    for k in range(3):
        rows = tested.fold.numpy() == k
        units = [by_sklearn(t, rows)[0].mean(1) for t in (tested, other)]
        expected.append(units[0] - units[1])
    np.testing.assert_allclose(effect.values, np.array(expected).T)
    assert (effect.n_seeds, effect.n_clusters) == (2, 3)
    alone = dataclasses.replace(tested, fold=torch.zeros_like(tested.fold))
    assert counts_of(alone).effect("UGN", "ResNet18") is None


# --- baselines and what was learnt ------------------------------------------------------------------------------


def test_baselines_are_base_rates_and_logistic_regression_on_the_same_features(experiment, tested):
    assert list(tested.predictions) == [*ugn.METHODS, CONSTANT, LINEAR]
    fold = experiment.frozen("bp4d", 1)
    train, test = fold.split.train, fold.split.test
    for unit in range(3):
        rows = train[fold.labels[train, unit] >= 0]
        labels = fold.labels[rows, unit].numpy()
        model = LogisticRegression(max_iter=1000).fit(fold.features[rows].double().numpy(), labels)
        expected = model.predict_proba(fold.features[test].double().numpy())[:, 1]
        of_fold = tested.predictions[LINEAR].probs[0, tested.fold == 1, unit]
        np.testing.assert_allclose(of_fold, expected, rtol=1e-9)
        assert (tested.predictions[CONSTANT].probs[0, tested.fold == 1, unit] == labels.mean()).all()


def test_a_unit_with_one_state_in_training_gets_its_rate(experiment):
    fold = experiment.frozen("bp4d", 0)
    labels = fold.labels.clone()
    labels[fold.split.train, 0] = 0
    found = ugn_evidence.baselines(fold._replace(labels=labels))
    assert (found[LINEAR][:, 0] == 0).all() and (found[CONSTANT][:, 0] == 0).all()
    assert found[LINEAR].shape == found[CONSTANT].shape == (32, 3)


def test_auroc_is_the_mean_over_seeds_folds_and_units_that_have_both_states():
    tested = made_up_tested(n_folds=2, n_au=2)
    tested.labels[tested.fold == 1, 1] = 0
    probs, expected = tested.predictions["UGN"].probs, []
    for k, unit in ((0, 0), (0, 1), (1, 0)):
        rows = (tested.fold == k) & (tested.labels[:, unit] >= 0)
        expected += [roc_auc_score(tested.labels[rows, unit], probs[s, rows, unit]) for s in (0, 1)]
    assert ugn_evidence.auroc(tested, "UGN") == pytest.approx(np.mean(expected))


def test_a_network_is_dead_that_answers_the_same_for_99_of_100_faces():
    n = 200
    p = torch.full((4, n, 2), 0.1, dtype=torch.float64)
    p[0] = torch.linspace(0, 1, n)[:, None]  # alive
    p[1, :3] = 0.9  # 1.5% of the faces otherwise: alive
    p[2, 0] = 0.9  # 0.5%: dead
    labels, names = torch.zeros(n, 2, dtype=torch.int64), np.array(["s"] * n)
    tested = ugn.Tested(torch.arange(n), labels, names, torch.zeros(n, dtype=torch.int64), {"UGN": of_probs(p)})
    assert ugn_evidence.dead(tested, "UGN") == 0.5  # the third, and the last, which is the same everywhere
    half = torch.full((2, n, 2), 0.5, dtype=torch.float64)
    half[0, :, 1] = torch.linspace(0, 1, n)
    tested.predictions["UGN"] = of_probs(half)
    assert ugn_evidence.dead(tested, "UGN") == 0.5


def test_what_was_learnt_is_said_of_every_method(experiment, tested):
    found = ugn_evidence.learnt(experiment, "bp4d", tested)
    assert pd.DataFrame(found).T.drop(columns="metric").astype(float).notna().all(axis=None)  # as the notebooks show it
    assert list(found) == list(ugn.METHODS)
    last = {method: [] for method in ugn.METHODS}
    for _, branches, graphs in experiment.networks("bp4d"):
        last["ResNet-BL"] += [epoch == 3 for epoch in branches.history.best_epoch]
        for i, method in enumerate(ugn.GRAPHS):
            last[method] += [epoch == 3 for epoch in graphs.history.best_epoch[2 * i : 2 * i + 2]]
    for method, of_method in found.items():
        arm = Arm(**of_method)
        assert (arm.metric, arm.constant) == ("AUROC", 0.5)
        assert arm.score == ugn_evidence.auroc(tested, method) and arm.baseline == ugn_evidence.auroc(tested, LINEAR)
        assert method == "ResNet18" or arm.last_epoch == np.mean(last[method])


def test_noise_of_masks_and_rates_of_units(experiment, tested):
    fold, branches, graphs = next(experiment.networks("bp4d"))
    x, copies = fold.features[fold.split.test], ugn_evidence.copies_of("UGN", SMALL)
    assert [graphs.arms[c] for c in copies] == ["UGN", "UGN"] and copies == [2, 3]
    noise = ugn_evidence.mask_noise(graphs, branches, x, copies)
    with torch.no_grad():
        graphs.layers[0].a_sigma.zero_()
        # softplus(0) = log 2 is the sd before the sigmoid, whose slope is at most 1/4
        still = ugn_evidence.mask_noise(graphs, branches, x, copies)
    assert still["σ"] == pytest.approx(np.log(2)) and 0 < still["sd of the mask"] < np.log(2) / 4
    checks = ugn_evidence.noise_checks(experiment, "bp4d", tested)
    assert 0 < checks["mask sd"] < 0.25 and noise["sd of the mask"] > 0
    nats = [float(tested.predictions[method].epistemic.mean()) for method in ("UGN", "UGN-B")]
    assert checks["mutual information"] == min(nats)
    units = ugn_evidence.unit_rates(experiment, "bp4d")
    assert tuple(units.index) == UNITS and (units > 0).all(axis=None) and (units < 100).all(axis=None)
    rates = []
    for split in ugn.splits(made_up()):
        labels = made_up().labels[split.train].numpy()
        rates.append([100 * (of_unit[of_unit >= 0]).mean() for of_unit in labels.T])
    np.testing.assert_allclose(units["occurs in training, %"], np.mean(rates, 0), rtol=1e-5)


def test_an_experiment_says_what_it_is(experiment):
    about = experiment.about()
    assert about["seeds"] == (0, 1) and about["corpus_checksum"] == made_up().checksum()[:16]
    assert about["settings"]["trunk"]["width"] == 4
