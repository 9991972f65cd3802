"""How much annotators disagree about an example, and how reliably a handful of votes tells."""

import math
from typing import NamedTuple

import numpy as np
import torch

from uncertain_affect.metrics.inputs import Values, as_float64, as_numpy, check_votes, restore_dtype


def annotator_disagreement(votes: Values, unbiased: bool = False) -> np.ndarray | torch.Tensor:
    """Probability that two draws from an example's votes disagree (UncNet, section 4).

    Args:
        votes: (N, C) counts or proportions.
        unbiased: draw without replacement, n / (n - 1) times the printed form for n votes: its expectation
            does not depend on n. Needs counts.

    Returns:
        (N,) d_i, from 0 (unanimous) to 1 - 1/C (1 when unbiased), in the kind and floating dtype of
        ``votes``.

    Raises:
        ValueError: for a negative or missing vote, a row without votes or, when unbiased, a row with fewer
            than two votes or fractions of votes.
    """
    values = as_float64(votes)
    check_votes(values)
    total = values.sum(-1)
    # d_i = 1 - sum_c p_ic^2
    disagreement = 1 - ((values / total[:, None]) ** 2).sum(-1)
    if unbiased:
        _check_counts(as_numpy(values), 2, "the unbiased form")
        # d_i n_i / (n_i - 1)
        disagreement = disagreement * total / (total - 1)
    return restore_dtype(disagreement, votes)


class SplitHalfReliability(NamedTuple):
    """Correlation of d_i between two halves of the votes, and what it implies for all of them."""

    half: float
    full: float

    @property
    def ceiling(self) -> float:
        """Correlation with d_i of a predictor that knows the true disagreement: sqrt(full)."""
        return max(self.full, 0.0) ** 0.5


def split_half_reliability(votes: Values, generator: np.random.Generator, splits: int = 20) -> SplitHalfReliability:
    """Split-half reliability of d_i and its Spearman-Brown value for all the votes.

    Each example's votes are split at random into two halves (of an odd number one vote is left out); ``half``
    is the correlation over examples of the two d_i, averaged over ``splits`` random splits. ``full`` is the
    reliability of d_i from all votes: the correlation to expect with d_i of as many new annotators. Being
    computed from pairs of votes, d_i gains more from doubling them than a mean would, so ``full`` errs low:
    by .03 to .07 in simulations of ten votes.

    Args:
        votes: (N, C) counts, at least two per example.
        generator: of the random splits.
        splits: how many to average over.

    Raises:
        ValueError: for votes that are not counts, fewer than two votes in a row, or no variance to correlate.
    """
    counts = as_numpy(votes)
    check_votes(counts)
    _check_counts(counts, 2, "a split into halves")
    counts = counts.astype(np.int64)
    size = counts.sum(1) // 2
    correlations = []
    for _ in range(splits):
        first = _draw(counts, size, generator)
        second = _draw(counts - first, size, generator)
        halves = annotator_disagreement(first), annotator_disagreement(second)
        if min(np.ptp(half) for half in halves) == 0:
            raise ValueError("votes: in a half, d_i is the same for every example: there is nothing to correlate")
        correlations.append(np.corrcoef(*halves)[0, 1])
    half = float(np.mean(correlations))
    # Spearman-Brown: r_2n = 2 r_n / (1 + r_n)
    full = 2 * half / (1 + half) if half > -1 else -math.inf
    return SplitHalfReliability(half, full)


def _check_counts(votes: np.ndarray, at_least: int, purpose: str) -> None:
    bad = (votes != np.floor(votes)).any(1)
    if bad.any():
        raise ValueError(f"votes: row {bad.argmax()} holds fractions: {purpose} needs counts")
    bad = votes.sum(1) < at_least
    if bad.any():
        raise ValueError(f"votes: row {bad.argmax()} has fewer than {at_least} votes: too few for {purpose}")


def _draw(counts: np.ndarray, size: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw ``size`` (N,) votes without replacement from each row of ``counts`` (N, C)."""
    # Class by class: given the classes before, the next count is hypergeometric.
    drawn = np.zeros_like(counts)
    rest = counts.sum(1)
    for c in range(counts.shape[1]):
        rest = rest - counts[:, c]
        drawn[:, c] = generator.hypergeometric(counts[:, c], rest, size)
        size = size - drawn[:, c]
    return drawn
