import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from uncertain_affect.evidence import resampling as rs
from uncertain_affect.metrics import sums as metric_sums


def test_by_hand():
    sums = np.array([[3.0, 4.0, 1.0, 4.0], [1.0, 2.0, 2.0, 2.0]])
    assert rs.difference(metric_sums.ratio)(sums).tolist() == [0.5, -0.5]
    values = np.array([[[1, 10], [2, 20], [3, 30], [4, 40]], [[5, 0], [6, 0], [7, 0], [8, 1]]])
    sums = rs.cluster_sums(values, ["b", "a", "b", "c"])
    assert sums.tolist() == [[[2, 20], [4, 40], [4, 40]], [[6, 0], [12, 0], [8, 1]]]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_cluster_sums_equal_a_loop_and_keep_the_total(seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(2, 40, 3))
    groups = generator.integers(-5, 5, size=40)
    sums = rs.cluster_sums(values, groups)
    loop = np.stack([values[:, groups == g].sum(axis=1) for g in np.unique(groups)], axis=1)
    np.testing.assert_allclose(sums, loop, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sums.sum(axis=1), values.sum(axis=1), rtol=0, atol=1e-12)


def test_cluster_sums_refuses_bad_input():
    with pytest.raises(ValueError, match=r"\(seeds, examples, sums\).*\(4, 2\)"):
        rs.cluster_sums(np.ones((4, 2)), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="label the 4 examples"):
        rs.cluster_sums(np.ones((1, 4, 2)), [0, 0, 1])
    values = np.where(np.arange(16).reshape(2, 4, 2) == 12, np.nan, 1)
    with pytest.raises(ValueError, match=r"values\[1, 2, 0\] is not finite"):
        rs.cluster_sums(values, [0, 0, 1, 1])


def test_statistics_agree_with_independent_libraries():
    generator = np.random.default_rng(1)
    x = generator.normal(size=200)
    y = 0.6 * x + 0.3 + 0.5 * generator.normal(size=200)
    sums = metric_sums.moment_sums(x, y).sum(axis=0)
    assert metric_sums.pearson_from_sums(sums) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-13)
    # Lin (1989) through Pearson's r and the bias correction factor
    scale, shift = x.std() / y.std(), (x.mean() - y.mean()) / np.sqrt(x.std() * y.std())
    lin = stats.pearsonr(x, y).statistic * 2 / (scale + 1 / scale + shift**2)
    assert metric_sums.ccc_from_sums(sums) == pytest.approx(lin, abs=1e-13)
    labels, predictions = x > 0.5, y > 0.4
    f1 = metric_sums.f1_from_sums(metric_sums.f1_sums(labels, predictions).sum(axis=0))
    assert f1 == pytest.approx(f1_score(labels, predictions), abs=1e-15)
    weights = generator.integers(1, 10, size=200)
    mean = metric_sums.ratio(metric_sums.ratio_sums(x, weights).sum(axis=0))
    assert mean == pytest.approx(np.average(x, weights=weights), abs=1e-15)
    constant = metric_sums.moment_sums([1, 1], [1, 1]).sum(axis=0)
    assert np.isnan(metric_sums.pearson_from_sums(constant))
    assert np.isnan(metric_sums.f1_from_sums(np.zeros(3)))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_pseudo_values_average_to_the_statistic(seed):
    sums = np.random.default_rng(seed).random((2, 7, 3)) + 0.1
    y = rs.pseudo_values(sums, metric_sums.f1_from_sums)
    np.testing.assert_allclose(y.mean(axis=-1), metric_sums.f1_from_sums(sums.sum(axis=1)), atol=1e-12)


def test_pseudo_values_of_a_mean_are_the_cluster_means():
    means = np.random.default_rng(8).normal(size=(2, 5))
    sums = np.stack([6 * means, np.full((2, 5), 6.0)], axis=-1)
    np.testing.assert_allclose(rs.pseudo_values(sums, metric_sums.ratio), means, atol=1e-12)
    assert rs.pseudo_values(sums[:, :1], metric_sums.ratio) == pytest.approx(means[:, :1])


@pytest.mark.parametrize("f", [metric_sums.pearson_from_sums, metric_sums.ccc_from_sums])
def test_jackknife_and_bootstrap_agree_on_the_standard_error(f):
    generator = np.random.default_rng(9)
    groups = np.repeat(np.arange(200), 10)
    shared = generator.normal(size=200)[groups]
    x, y = shared + generator.normal(size=2000), shared + generator.normal(size=2000)
    sums = rs.cluster_sums(metric_sums.moment_sums(x, y)[None], groups)
    jackknife = rs.pseudo_values(sums, f)[0].std(ddof=1) / np.sqrt(200)
    bootstrap = f(generator.multinomial(200, np.full(200, 1 / 200), 20_000) @ sums[0]).std()
    assert bootstrap == pytest.approx(jackknife, rel=0.05)
    # Taking examples for the unit would claim far more precision.
    examples = rs.cluster_sums(metric_sums.moment_sums(x, y)[None], np.arange(2000))
    assert rs.pseudo_values(examples, f)[0].std(ddof=1) / np.sqrt(2000) < 0.75 * jackknife


def test_leaving_out_by_weights_is_leaving_out_by_sums(monkeypatch):
    rng = np.random.default_rng(3)
    values, groups = rng.random(60), rng.integers(0, 7, 60)
    sums = rs.cluster_sums(metric_sums.ratio_sums(values)[None], groups)
    expected = rs.pseudo_values(sums, metric_sums.ratio)[0]
    monkeypatch.setattr(rs, "BLOCK_WEIGHTS", 130)  # two sets of 60 a block
    found = rs.leave_one_out(lambda weights: (weights * values).sum(-1) / weights.sum(-1), groups)
    assert found == pytest.approx(expected)
    assert rs.leave_one_out(lambda weights: weights @ values, np.zeros(60)) == pytest.approx([values.sum()])


def test_of_many_clusters_several_are_left_out_at_once(monkeypatch):
    values = np.sort(np.random.default_rng(4).normal(size=3000))  # neighbours are alike

    def left_out():
        return rs.leave_one_out(lambda weights: (weights * values).sum(-1) / weights.sum(-1), np.arange(3000))

    one_by_one = left_out()
    monkeypatch.setattr(rs, "LEFT_OUT_WEIGHTS", 10)
    together = left_out()
    assert (len(one_by_one), len(together)) == (3000, 1000)
    assert together.mean() == pytest.approx(one_by_one.mean()) == pytest.approx(values.mean())
    # the error of a standard error from 1,000 groups is 2.2%
    spread = [of.std(ddof=1) / len(of) ** 0.5 for of in (one_by_one, together)]
    assert spread[1] == pytest.approx(spread[0], rel=0.09)
    assert np.array_equal(together, left_out()), "always the same groups"
