import math
import tracemalloc

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from metric_strategies import distributions

from uncertain_affect.metrics import bernoulli_entropy_decomposition, entropy, entropy_decomposition


@st.composite
def samples(draw):
    """Probabilities (T, N, C)."""
    return draw(distributions(draw(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(2, 5)))))


def test_entropy_of_hand_worked_distributions():
    probs = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_allclose(entropy(probs), [0, math.log(2), math.log(4)], rtol=1e-15)
    np.testing.assert_allclose(entropy(probs, normalise=True), [0, 0.5, 1], rtol=1e-15)
    assert entropy([0.5, 0.5], normalise=True) == 1


@given(samples())
def test_entropy_agrees_with_scipy(probs):
    np.testing.assert_allclose(entropy(probs), scipy.stats.entropy(probs, axis=-1), atol=1e-12)


def test_decomposition_of_hand_worked_samples():
    # Two certain networks that contradict each other: all epistemic. Two that agree on a coin: all aleatoric.
    probs = np.array([[[1, 0], [0.5, 0.5]], [[0, 1], [0.5, 0.5]]])
    total, aleatoric, epistemic = entropy_decomposition(probs, normalise=True)
    assert total.tolist() == [1, 1]
    assert aleatoric.tolist() == [0, 1]
    assert epistemic.tolist() == [1, 0]


@given(samples())
def test_decomposition_properties(probs):
    split = entropy_decomposition(probs)
    log_c = math.log(probs.shape[-1])
    assert (split.epistemic >= 0).all()
    assert (split.aleatoric >= 0).all()
    assert (split.total <= log_c + 1e-12).all()
    # What is clipped away is rounding: the parts still add up.
    np.testing.assert_allclose(split.aleatoric + split.epistemic, split.total, atol=1e-12)
    np.testing.assert_allclose(split.total, entropy(probs.mean(0)), atol=1e-12)
    np.testing.assert_allclose(split.aleatoric, entropy(probs).mean(0), atol=1e-12)
    for normalised, part in zip(entropy_decomposition(probs, normalise=True), split, strict=True):
        np.testing.assert_allclose(normalised * log_c, part, atol=1e-12)


def test_a_network_that_never_changes_has_no_epistemic_uncertainty():
    probs = np.broadcast_to(np.random.default_rng(0).dirichlet(np.ones(9), 20), (2000, 20, 9))
    split = entropy_decomposition(probs.astype(np.float32))
    np.testing.assert_allclose(split.epistemic, 0, atol=1e-12)


def test_bernoulli_decomposition_of_hand_worked_samples():
    # one label on which two certain networks contradict each other, one on which both toss a coin, one all agree on
    probs = np.array([[1, 0.5, 0], [0, 0.5, 0]])
    assert bernoulli_entropy_decomposition(probs).total == pytest.approx([math.log(2), math.log(2), 0])
    total, aleatoric, epistemic = bernoulli_entropy_decomposition(probs, normalise=True)
    assert total.tolist() == [1, 1, 0]
    assert aleatoric.tolist() == [0, 1, 0]
    assert epistemic.tolist() == [1, 0, 0]


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]), st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4)),
        elements=st.floats(0, 1, width=32),
    ),
    st.booleans(),
)  # fmt: skip
def test_a_bernoulli_is_a_distribution_over_two_classes(probs, normalise):
    wide = probs.astype(np.float64)
    reference = entropy_decomposition(np.stack([wide, 1 - wide], -1), normalise=normalise)
    split = bernoulli_entropy_decomposition(probs, normalise=normalise)
    for ours, expected in zip(split, reference, strict=True):
        assert ours.dtype == probs.dtype
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-12)
    limit = 1 if normalise else math.log(2)
    assert (split.epistemic >= 0).all() and (split.total <= limit + 1e-6).all()
    tensors = bernoulli_entropy_decomposition(torch.from_numpy(probs), normalise=normalise)
    for tensor, array in zip(tensors, split, strict=True):
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-6, atol=1e-12)


def test_decomposition_needs_no_copy_of_all_samples():
    probs = np.random.default_rng(0).dirichlet(np.ones(9), (200, 1000))
    tracemalloc.start()
    entropy_decomposition(probs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Checking the row sums takes a ninth of the input several times over; one full copy would take it all.
    assert peak < 0.6 * probs.nbytes
