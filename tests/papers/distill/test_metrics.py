import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss
from torchmetrics.functional import concordance_corrcoef

from uncertain_affect.evidence.claims import effect_interval
from uncertain_affect.evidence.resampling import difference
from uncertain_affect.metrics import rmse
from uncertain_affect.papers import distill
from uncertain_affect.papers.distill import evidence

from .small import TASKS


def test_metrics_agree_with_scikit_learn_and_torchmetrics(data, teachers):
    rows = data.rows("test")
    every, metrics = distill.predict(teachers, rows), distill.Metrics(data.outputs)
    sums = metrics.sums(every, data, "test").sum(2)  # (S, M, W)
    for s, m in itertools.product(range(2), range(2)):
        known = {task: data.test[task][rows] for task in TASKS}
        y = {task: data.labels[task][rows][known[task]].numpy() for task in TASKS}
        p = {task: every[task][s, m][known[task]].double().numpy() for task in TASKS}
        au = p["AU"] >= 0.5
        f1 = np.mean([f1_score(y["AU"][:, a], au[:, a], zero_division=0) for a in range(12)])
        assert metrics.au(sums)[s, m] == pytest.approx(0.5 * f1 + 0.5 * (au == y["AU"]).mean())
        p["EXPR"] = p["EXPR"] / p["EXPR"].sum(1, keepdims=True)
        top = p["EXPR"].argmax(1)
        expected = 0.67 * f1_score(y["EXPR"], top, average="macro") + 0.33 * accuracy_score(y["EXPR"], top)
        assert metrics.expr(sums)[s, m] == pytest.approx(expected)
        assert metrics.expr_nll(sums)[s, m] == pytest.approx(log_loss(y["EXPR"], p["EXPR"], labels=range(7)), rel=1e-5)
        nlls = [log_loss(y["AU"][:, a], p["AU"][:, a], labels=[0, 1]) for a in range(12)]
        assert metrics.au_nlls(sums)[s, m] == pytest.approx(nlls, rel=1e-5)
        assert metrics.au_nll(sums)[s, m] == pytest.approx(np.mean(nlls), rel=1e-5)
        means = p["VA"] @ np.linspace(-1, 1, 20)
        for d in range(2):
            theirs = concordance_corrcoef(torch.from_numpy(means[:, d]), torch.from_numpy(y["VA"][:, d]).double())
            assert metrics.ccc(sums, d)[s, m] == pytest.approx(theirs.item(), abs=0.02)  # theirs has n - 1
            assert metrics.rmse(sums, d)[s, m] == pytest.approx(rmse(means[:, d], y["VA"][:, d]), abs=1e-6)
        total = metrics.au(sums) + metrics.expr(sums) + metrics.ccc(sums, 0) + metrics.ccc(sums, 1)
        assert metrics.total(sums) == pytest.approx(total)


def test_sums_of_videos_and_means_over_single_models(data, teachers):
    p, metrics = distill.predict(teachers, data.rows("test")), distill.Metrics(data.outputs)
    of_videos, of_ensemble = evidence.clustered(p, data), evidence.clustered(distill.ensemble(p), data)
    n_videos, w = len(set(data.video[data.rows("test").numpy()])), 2 * metrics.width
    assert of_videos.shape == (2, n_videos, w)
    nll = evidence.over_members(metrics.expr_nll, metrics.width)
    whole = metrics.expr_nll(metrics.sums(p, data, "test").sum(2)).mean(1)
    assert nll(of_videos.sum(1)) == pytest.approx(whole)
    both = np.concatenate([of_videos, of_ensemble], -1)
    effect = effect_interval(both, lambda sums: nll(sums[..., :w]) - metrics.expr_nll(sums[..., w:]))
    assert effect.estimate == pytest.approx((whole - metrics.expr_nll(of_ensemble.sum(1))).mean(), abs=0.2)
    assert effect_interval(np.concatenate([of_videos, of_videos], -1), difference(nll)).estimate == 0
    assert effect.n_seeds == 2 and effect.n_clusters == n_videos


def test_effects_of_what_is_left_out_are_those_of_the_sums(data, teachers):
    p, metrics = distill.predict(teachers, data.rows("test")), distill.Metrics(data.outputs)
    of_videos, of_ensemble = evidence.clustered(p, data), evidence.clustered(distill.ensemble(p), data)
    columns = {name: evidence.over_members(f, metrics.width) for name, f in metrics.table5().items()}
    single, ensemble = (evidence.left_out(columns, sums) for sums in (of_videos, of_ensemble))
    assert single.shape == (2, 1 + of_videos.shape[1], 5)
    w = of_videos.shape[-1]
    for k, f in enumerate(columns.values()):
        assert single[:, 0, k] == pytest.approx(f(of_videos.sum(1)))
        both = np.concatenate([of_videos, of_ensemble], -1)
        expected = effect_interval(both, lambda sums, f=f: f(sums[..., :w]) - f(sums[..., w:]))
        found = evidence.effect(single[..., k] - ensemble[..., k])
        assert (found.estimate, found.low, found.high) == pytest.approx(
            (expected.estimate, expected.low, expected.high)
        )
    assert evidence.left_out(columns, of_videos[:, :1]).shape == (2, 1, 5)
    alone = evidence.effect(single[:, :1, 0])
    assert (alone.n_clusters, alone.estimate) == (1, pytest.approx(single[:, 0, 0].mean()))


def test_what_is_kept_is_exact_unless_clusters_are_nearly_examples():
    few, many = evidence.kept(np.zeros((2, 9, 1))), evidence.kept(np.zeros((2, 3000, 1)))
    assert (few.encoding, many.encoding, few.dims[0]) == ("exact", "scaled", "seed")


def test_columns_of_the_tables_are_those_of_the_tasks_there(data):
    metrics, expressions = distill.Metrics(data.outputs), distill.Metrics({"EXPR": 8})
    assert list(metrics.table5()) == ["AU", "EXPR", "Valence", "Arousal", "Total"]
    assert list(metrics.table7()) == ["EXPR NLL", "Valence RMSE", "Arousal RMSE"]
    assert (list(expressions.table5()), list(expressions.table7())) == (["EXPR"], ["EXPR NLL"])
    assert expressions.width == 25


def test_the_plurality_of_a_few_votes_by_hand():
    p = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(distill.plurality(p, 1), p)
    # two votes: a class wins with both, or with one where the other vote is for a later class
    expected = [0.04 + 2 * 0.2 * 0.3 + 2 * 0.2 * 0.5, 0.09 + 2 * 0.3 * 0.5, 0.25]
    assert distill.plurality(p, 2)[0].tolist() == pytest.approx(expected)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(2, 5))
def test_the_plurality_agrees_with_draws(seed, n_votes, n_classes):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n_classes))
    drawn = rng.multinomial(n_votes, p, size=20_000).argmax(1)
    ours = distill.plurality(torch.from_numpy(p)[None], n_votes)[0].numpy()
    assert ours.sum() == pytest.approx(1)
    assert np.abs(np.bincount(drawn, minlength=n_classes) / 20_000 - ours).max() < 0.02
