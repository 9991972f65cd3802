import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.regression as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uncertain_affect import metrics
from uncertain_affect.metrics import ccc, rmse

VALUES = st.integers(-20, 20).map(lambda i: i / 8)


@st.composite
def pairs(draw):
    """Predictions and labels (N,) that both vary, by at least 1/8."""
    n = draw(st.integers(2, 30))
    x, y = (draw(hnp.arrays(np.float64, n, elements=VALUES)) for _ in range(2))
    x[0], y[-1] = x[-1] + 1, y[0] - 1
    return x, y


def test_worked_by_hand():
    # x = 0, 1, 2 and y = 1, 2, 6: variances 2/3 and 14/3, covariance 5/3, means 1 and 3
    assert ccc([0, 1, 2], [1, 2, 6]) == pytest.approx((10 / 3) / (2 / 3 + 14 / 3 + 4))
    assert rmse([0, 1, 2], [1, 2, 6]) == pytest.approx(math.sqrt(18 / 3))
    assert isinstance(ccc([0, 1], [1, 2]), float) and isinstance(rmse([0, 1], [1, 2]), float)
    # constant labels have none
    assert math.isnan(ccc([0, 1], [3, 3])) and math.isnan(ccc([3, 3], [3, 3]))
    assert ccc([3, 3], [0, 1]) == 0
    assert rmse([0, 1], [3, 3]) == pytest.approx(math.sqrt(13 / 2))


def test_offset_and_scale_cost_what_correlation_forgives():
    y = np.array([-1.0, 0.0, 1.0])
    assert ccc(y, y) == 1
    assert ccc(-y, y) == -1
    # a shift by d costs d^2 beside twice the variance 2/3
    assert ccc(y + 1, y) == pytest.approx((4 / 3) / (4 / 3 + 1))
    assert ccc(3 * y, y) == pytest.approx(6 / 10)


@given(pairs())
def test_agrees_with_numpy_and_torchmetrics(pair):
    x, y = pair
    distance = (x.mean() - y.mean()) ** 2
    assert ccc(x, y) == pytest.approx(2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + distance), abs=1e-12)
    # torchmetrics divides variances and covariance by n - 1, which weighs the distance of the means (n - 1) / n
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    n = len(x)
    unbiased = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + distance * (n - 1) / n)
    assert reference.concordance_corrcoef(*tensors).item() == pytest.approx(unbiased, abs=1e-6)
    assert rmse(x, y) == pytest.approx(reference.mean_squared_error(*tensors, squared=False).item(), abs=1e-12)


@given(pairs())
def test_sums_give_the_same(pair):
    x, y = pair
    sums = metrics.moment_sums(x, y).sum(0)
    assert metrics.ccc_from_sums(sums) == pytest.approx(ccc(x, y), abs=1e-12)
    assert metrics.rmse_from_sums(sums) == pytest.approx(rmse(x, y), abs=1e-7)


@given(pairs(), st.sampled_from([-100, -1, 3, 1000]))
def test_both_may_be_shifted_and_swapped(pair, by):
    x, y = pair
    assert ccc(x + by, y + by) == pytest.approx(ccc(x, y), abs=1e-12)
    assert ccc(y, x) == pytest.approx(ccc(x, y), abs=1e-12)


def test_rounding_costs_no_digits():
    x, y = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 6.0])
    assert ccc(x + 2.0**40, y + 2.0**40) == ccc(x, y)
    x = np.full(7, 0.1) * np.arange(7)
    assert metrics.rmse_from_sums(metrics.moment_sums(x, x).sum(0)) == pytest.approx(0, abs=1e-7)


def test_leading_axes_and_tensors():
    g = np.random.default_rng(0)
    x, y = g.normal(size=(2, 3, 2, 40)).astype(np.float32)
    for f in (ccc, rmse):
        values = f(torch.from_numpy(x), torch.from_numpy(y))
        assert values.shape == (3, 2)
        assert values[2, 1] == pytest.approx(f(x[2, 1], y[2, 1]))


def test_f1_of_counts_by_hand():
    f1 = metrics.f1_from_counts(tp=[2, 0, 0, 3], fp=[1, 4, 0, 0], fn=[1, 0, 0, 0])
    np.testing.assert_allclose(f1, [2 / 3, 0, np.nan, 1], rtol=1e-15)
    sums = metrics.f1_sums([1, 1, 0, 1, 0], [1, 1, 1, 0, 0]).sum(0)
    assert sums.tolist() == [2, 1, 1] and metrics.f1_from_sums(sums) == f1[0]
    # nothing to count has no ratio
    np.testing.assert_array_equal(metrics.ratio(np.array([[0.0, 0.0], [1.0, 2.0]])), [np.nan, 0.5])
