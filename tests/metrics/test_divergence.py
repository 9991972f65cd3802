import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from metric_strategies import distributions
from scipy.spatial import distance

from uncertain_affect.metrics import entropy_decomposition, jensen_shannon_distance, jensen_shannon_divergence


@st.composite
def pairs(draw, n_distributions=2):
    n, n_classes = draw(st.tuples(st.integers(1, 5), st.integers(2, 5)))
    return draw(distributions((n_distributions, n, n_classes)))


def test_hand_worked_pairs():
    p = np.array([[1, 0], [1, 0], [0.25, 0.75]])
    q = np.array([[0, 1], [0.5, 0.5], [0.25, 0.75]])
    # Second pair: m = (3/4, 1/4), H(m) = 2 log 2 - 3/4 log 3, less half of H(q) = log 2.
    expected = np.array([math.log(2), 1.5 * math.log(2) - 0.75 * math.log(3), 0])
    np.testing.assert_allclose(jensen_shannon_divergence(p, q), expected, atol=1e-15)
    np.testing.assert_allclose(jensen_shannon_distance(p, q), np.sqrt(expected), atol=1e-15)


@given(pairs())
def test_agrees_with_scipy(pair):
    p, q = pair
    theirs = distance.jensenshannon(p, q, axis=1)
    np.testing.assert_allclose(jensen_shannon_distance(p, q), theirs, atol=1e-7)
    np.testing.assert_allclose(jensen_shannon_divergence(p, q), theirs**2, atol=1e-14)


@given(pairs(3))
def test_the_distance_is_a_metric(three):
    p, q, r = three
    pq, qr, pr = (jensen_shannon_distance(a, b) for a, b in ((p, q), (q, r), (p, r)))
    np.testing.assert_array_equal(pq, jensen_shannon_distance(q, p))
    assert (jensen_shannon_distance(p, p) == 0).all()
    assert (pq <= math.sqrt(math.log(2)) + 1e-15).all()
    assert (pr <= pq + qr + 1e-7).all()


@given(pairs())
def test_the_divergence_is_the_epistemic_part_of_two_samples(pair):
    np.testing.assert_allclose(
        jensen_shannon_divergence(*pair), entropy_decomposition(pair).epistemic, rtol=0, atol=1e-15
    )


def test_nearly_equal_distributions_give_no_nan():
    p = np.random.default_rng(0).dirichlet(np.ones(9), 1000).astype(np.float32)
    q = np.nextafter(p, np.float32(1))
    assert (jensen_shannon_distance(p, q) >= 0).all()
    assert jensen_shannon_distance(p, q).max() < 1e-6
