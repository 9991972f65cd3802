"""Hypothesis strategies for the metric tests: small, with many ties, zeros and exact fractions."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@st.composite
def votes(draw):
    """Counts (N, C), from 0 to 10 each, at least one vote in a row."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(2, 5)))
    counts = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 10)))
    counts[counts.sum(1) == 0, 0] = 1
    return counts


@st.composite
def distributions(draw, shape):
    """Probabilities of the given shape (..., C): proportions of small counts, with many zeros and ties."""
    counts = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 20)))
    counts[counts.sum(-1) == 0, 0] = 1
    return counts / counts.sum(-1, keepdims=True)


@st.composite
def predictions(draw):
    """Probabilities (N, C) and votes (N, C)."""
    counts = draw(votes())
    return draw(distributions(counts.shape)), counts
