"""Brier score over <annotation, image> pairs, and the part of it that annotator disagreement sets."""

from typing import NamedTuple

import numpy as np
import torch

from uncertain_affect.metrics.inputs import Values, restore_dtype, set_probabilities, set_votes


class BrierDecomposition(NamedTuple):
    """Brier score of each example and its two terms, score = disagreement + distance."""

    score: np.ndarray | torch.Tensor
    disagreement: np.ndarray | torch.Tensor
    distance: np.ndarray | torch.Tensor


def brier_score(probs: Values, target: Values) -> float:
    """Mean over pairs of the squared distance of one-hot annotation and prediction (UncNet, section 4.3).

    >>> brier_score([[0.5, 0.5], [1.0, 0.0]], [0, 0])
    0.25

    The sum form, printed as "BCE" in Table 2: from 0 to 2, lower is better, not a percentage. Every
    <annotation, image> pair counts once, so an example weighs as much as it has votes.

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes, counts or proportions (then every example weighs the
            same).

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    # BCE = 1/sum_i n_i sum_i n_i sum_k v_ik ||e_k - p_i||^2, the inner sum being d_i + ||v_i - p_i||^2
    disagreement, distance, weight = _terms(probs, target)
    return float(np.average(disagreement + distance, weights=weight))


def brier_decomposition(probs: Values, target: Values) -> BrierDecomposition:
    """Split each example's Brier score into annotator disagreement and distance to the votes.

    The mean over an example's pairs of ||onehot - p||^2 is exactly d_i + ||v_i - p_i||^2: a floor that no
    model can lower, and the part it answers for. A correlation of uncertainty with the score partly restates
    the one with d_i, so report both terms.

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes, counts or proportions.

    Returns:
        Three (N,) arrays in the kind and floating dtype of ``probs``.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    disagreement, distance, _ = _terms(probs, target)
    parts = (disagreement + distance, disagreement, distance)
    return BrierDecomposition(*(restore_dtype(part, probs) for part in parts))


def _terms(probs: Values, target: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Disagreement (N,), squared distance (N,) and weight (N,) of each example."""
    probs = set_probabilities(probs)
    votes, weight = set_votes(target, probs.shape)
    proportions = votes / weight[:, None]
    # d_i = 1 - sum_c v_ic^2,  ||v_i - p_i||^2
    return 1 - (proportions**2).sum(1), ((proportions - probs) ** 2).sum(1), weight
