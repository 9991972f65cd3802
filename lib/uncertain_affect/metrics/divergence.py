"""Jensen-Shannon divergence and its square root, the distance, of each pair of distributions."""

import numpy as np
import torch

from uncertain_affect.metrics.inputs import Values, as_float64, check_probabilities, restore_dtype
from uncertain_affect.metrics.uncertainty import _entropy


def jensen_shannon_divergence(p: Values, q: Values) -> np.ndarray | torch.Tensor:
    """Jensen-Shannon divergence in nats of each pair of distributions (UncNet, section 4.4, as written).

    The epistemic part that :func:`~uncertain_affect.metrics.entropy_decomposition` finds in the two samples
    p, q.

    Args:
        p, q: (..., C) probabilities of the same shape and kind.

    Returns:
        (...) divergences, from 0 (equal) to log 2 (disjoint), in the kind and floating dtype of ``p``.

    Raises:
        ValueError: for shapes or kinds that differ, or numbers that are not probabilities.
    """
    return restore_dtype(_divergence(p, q), p)


def jensen_shannon_distance(p: Values, q: Values) -> np.ndarray | torch.Tensor:
    """Jensen-Shannon distance of each pair: the square root of the divergence in nats, a metric.

    The numbers UncNet prints as "JSD" (section 4.4) are this distance, though the text's formula has no root.

    Args:
        p, q: (..., C) probabilities of the same shape and kind.

    Returns:
        (...) distances, from 0 (equal) to sqrt(log 2) = .833 (disjoint), in the kind and floating dtype of
        ``p``.

    Raises:
        ValueError: for shapes or kinds that differ, or numbers that are not probabilities.
    """
    return restore_dtype(_divergence(p, q) ** 0.5, p)


def _divergence(p: Values, q: Values) -> np.ndarray | torch.Tensor:
    if isinstance(p, torch.Tensor) != isinstance(q, torch.Tensor):
        raise ValueError("p and q must both be arrays or both be tensors")
    p, q = as_float64(p), as_float64(q)
    if p.shape != q.shape:
        raise ValueError(f"p has shape {tuple(p.shape)} and q {tuple(q.shape)}: expected the same")
    check_probabilities(p, "p")
    check_probabilities(q, "q")
    # JSD = (KL(p || m) + KL(q || m)) / 2 = H(m) - (H(p) + H(q)) / 2,  m = (p + q) / 2
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    # Never negative: what falls below zero between nearly equal distributions is rounding.
    return divergence.clip(min=0)
