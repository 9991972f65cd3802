from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from uncertain_affect.metrics import accuracy_rejection_curve, area_under_risk_coverage, auroc

ROWS = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=15)


def columns(rows):
    return (np.array(column) for column in zip(*rows, strict=True))


def test_risk_coverage_by_hand():
    # kept 1, 2, 3, 4 of which 0, 1, 1, 2 are wrong
    area = area_under_risk_coverage([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    # a tie of a right and a wrong one: half an error after one, one after two
    assert area_under_risk_coverage([0.1, 0.1], [0, 1]) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert area_under_risk_coverage([5.0, 5.0, 5.0], [1, 0, 0]) == pytest.approx(1 / 3), "says nothing: the mean loss"


def test_auroc_by_hand():
    # pairs (.4, .1), (.4, .3), (.2, .1), (.2, .3): three of four won
    assert auroc([0.1, 0.2, 0.3, 0.4], [False, True, False, True]) == 0.75
    assert auroc([1.0, 1.0, 1.0], [True, False, False]) == 0.5
    assert np.isnan(auroc([1.0, 2.0], [True, True]))


@given(ROWS)
def test_the_area_is_the_mean_of_the_rejection_curve_where_nothing_is_tied(rows):
    _, wrong, _ = columns(rows)
    uncertainty = np.random.default_rng(len(rows)).permutation(len(rows)).astype(float)
    curve = accuracy_rejection_curve(np.tile([0.7, 0.3], (len(rows), 1)), wrong.astype(int), uncertainty)
    assert area_under_risk_coverage(uncertainty, wrong) == pytest.approx((1 - curve["accuracy"]).mean())


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5))
def test_ties_are_the_mean_over_their_orders(rows):
    uncertainty, wrong = columns(rows)
    orders = permutations(np.linspace(0, 0.5, len(rows)))
    areas = [area_under_risk_coverage(uncertainty + order, wrong) for order in orders]
    assert area_under_risk_coverage(uncertainty, wrong) == pytest.approx(np.mean(areas))


@given(ROWS)
def test_auroc_is_that_of_scikit_learn(rows):
    uncertainty, positive, weights = columns(rows)
    if len({*positive[weights > 0]}) == 2:
        expected = roc_auc_score(positive, uncertainty, sample_weight=weights)
        assert auroc(uncertainty, positive, weights) == pytest.approx(expected)


@given(ROWS)
def test_an_example_of_weight_0_is_not_there(rows):
    uncertainty, flag, weights = columns(rows)
    left = weights > 0
    if left.any():
        for measure in (area_under_risk_coverage, auroc):
            one = measure(uncertainty, flag, left)
            assert one == pytest.approx(measure(uncertainty[left], flag[left]), nan_ok=True)
            many = measure(uncertainty, flag, np.stack([left, np.ones(len(left))]))
            assert many == pytest.approx(np.array([one, measure(uncertainty, flag)]), nan_ok=True)


@pytest.mark.parametrize("measure", [area_under_risk_coverage, auroc])
def test_uncertainties_of_no_example_or_of_several_axes_are_refused(measure):
    for shape in ((0,), (), (2, 3)):
        with pytest.raises(ValueError, match=r"uncertainty has shape .*: expected a non-empty \(N,\)"):
            measure(np.zeros(shape), np.zeros(shape))
