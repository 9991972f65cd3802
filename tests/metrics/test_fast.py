"""The fast ways give to the last bit what NumPy gives."""

import numpy as np
import pytest

from uncertain_affect.metrics import _fast


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_columns", [1, 4, _fast.FEW, _fast.FEW + 1, _fast.FEW + 2])
def test_bins_and_classes_are_those_of_a_search_and_of_argmax(monkeypatch, dtype, n_columns):
    monkeypatch.setattr(_fast, "BLOCK", 100)  # several blocks with a rest
    # ties, and values on the edges
    probs = (np.random.default_rng(0).multinomial(20, np.full(n_columns, 1 / n_columns), size=1003) / 20).astype(dtype)
    predicted, confidence = _fast.top_label(probs)
    np.testing.assert_array_equal(predicted, probs.argmax(1))
    np.testing.assert_array_equal(confidence, probs.max(1))
    for n_bins in (1, 10, _fast.FEW + 1, 20):
        edges = (np.arange(1, n_bins) / n_bins).astype(dtype)
        np.testing.assert_array_equal(_fast.edges_passed(edges, probs), np.searchsorted(edges, probs, side="right"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boundaries_are_those_of_a_sort(dtype):
    rng = np.random.default_rng(2)
    ties, near_zero = rng.integers(21, size=1000) / 20, rng.uniform(size=1000) ** 9
    for probs in (ties, near_zero, rng.uniform(size=1000), np.zeros(1000), np.array([1.0, 1.0001, 0.0, 0.5] * 250)):
        probs = probs.astype(dtype)
        places = np.array([0, 1, 1, 250, 500, 998, 999])
        np.testing.assert_array_equal(_fast.order_statistics(probs, places), np.sort(probs)[places])
