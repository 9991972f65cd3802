"""Predictive entropy and its split into aleatoric and epistemic uncertainty."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from uncertain_affect.metrics.inputs import Values, as_float64, check_probabilities, restore_dtype


class EntropyDecomposition(NamedTuple):
    """Total, aleatoric and epistemic uncertainty of each example, total = aleatoric + epistemic."""

    total: np.ndarray | torch.Tensor
    aleatoric: np.ndarray | torch.Tensor
    epistemic: np.ndarray | torch.Tensor


def entropy(probs: Values, normalise: bool = False) -> np.ndarray | torch.Tensor:
    """Shannon entropy in nats of each distribution (UncNet, section 3.2).

    >>> entropy([[1.0, 0.0], [0.5, 0.5]]).round(3).tolist()
    [0.0, 0.693]

    Args:
        probs: (..., C) probabilities; for a binary or multi-label output give a last axis of 2.
        normalise: divide by log C, so that the uniform distribution has entropy 1.

    Returns:
        (...) entropies, between 0 and log C, in the kind and floating dtype of ``probs``.

    Raises:
        ValueError: for numbers that are not probabilities, naming the first bad row.
    """
    values = as_float64(probs)
    check_probabilities(values)
    return restore_dtype(_entropy(values) / _nats_per_unit(normalise, values.shape[-1]), probs)


def entropy_decomposition(probs_TNC: Values, normalise: bool = False) -> EntropyDecomposition:
    """Split the entropy of the mean prediction into aleatoric and epistemic parts (UncNet, section 3.2).

    total U_t = H(mean_t p_t), aleatoric U_a = mean_t H(p_t), epistemic U_e = U_t - U_a: the mutual
    information of label and weights. Works in float64 one sample at a time, so memory beyond the input is
    that of one (N, C) prediction.

    Args:
        probs_TNC: (T, ..., C) probabilities of T sampled networks; multi-label outputs have a last axis of 2.
        normalise: divide all three by log C.

    Returns:
        Three (...) arrays in the kind and floating dtype of ``probs_TNC``, none below 0.

    Raises:
        ValueError: for numbers that are not probabilities, naming the first bad row (sample, example), or a
            missing sample axis.
    """
    probs = probs_TNC if isinstance(probs_TNC, torch.Tensor) else np.asarray(probs_TNC)
    if probs.ndim < 2:
        raise ValueError(f"probs_TNC has shape {tuple(probs.shape)}: expected (T, ..., C), samples first")
    check_probabilities(probs, "probs_TNC")
    return _decompose(probs, _entropy, _nats_per_unit(normalise, probs.shape[-1]))


def bernoulli_entropy_decomposition(probs_T: Values, normalise: bool = False) -> EntropyDecomposition:
    """Split the entropy of each of many yes-or-no predictions into aleatoric and epistemic parts (UGN, Eq. 10).

    What :func:`entropy_decomposition` gives for the two classes p and 1 - p, from p alone: each label of a
    multi-label output is a prediction of its own.

    Args:
        probs_T: (T, ...) probabilities of T sampled networks.
        normalise: divide all three by log 2.

    Returns:
        Three (...) arrays in the kind and floating dtype of ``probs_T``, none below 0 nor above log 2.

    Raises:
        ValueError: for numbers outside [0, 1] or NaN, or for no sample.
    """
    probs = probs_T if isinstance(probs_T, torch.Tensor) else np.asarray(probs_T)
    if probs.ndim == 0 or 0 in probs.shape:
        raise ValueError(f"probs_T has shape {tuple(probs.shape)}: expected a non-empty (T, ...), samples first")
    if not bool((probs.min() >= 0) & (probs.max() <= 1)):  # NaN fails every comparison
        raise ValueError("probs_T: probabilities lie between 0 and 1 (were logits passed? scipy.special.expit(x))")
    # H(p) = -(p log p + (1 - p) log(1 - p))
    return _decompose(probs, lambda p: _entr(p) + _entr(1 - p), _nats_per_unit(normalise, 2))


def _decompose(probs: np.ndarray | torch.Tensor, entropy_of: Callable, unit: float) -> EntropyDecomposition:
    """Split the entropy of samples along the first axis, one sample at a time and in float64."""
    mean, aleatoric = 0.0, 0.0
    for sample in probs:
        sample = as_float64(sample)
        mean = mean + sample
        aleatoric = aleatoric + entropy_of(sample)
    # U_t = H(1/T sum_t p_t),  U_a = 1/T sum_t H(p_t),  U_e = U_t - U_a
    total = entropy_of(mean / len(probs))
    aleatoric = aleatoric / len(probs)
    # Entropy is concave, so for the numbers let through above only rounding can fall below zero.
    epistemic = (total - aleatoric).clip(min=0)
    return EntropyDecomposition(*(restore_dtype(part / unit, probs) for part in (total, aleatoric, epistemic)))


def _entropy(probs: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """Entropy in nats over the last axis of float64 probabilities, unchecked."""
    # H(p) = -sum_c p_c log p_c, with 0 log 0 = 0
    return _entr(probs).sum(-1)


def _entr(p: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """-p log p of each number."""
    if isinstance(p, torch.Tensor):
        return torch.special.entr(p)
    from scipy.special import entr

    return entr(p)


def _nats_per_unit(normalise: bool, n_classes: int) -> float:
    if normalise and n_classes < 2:
        raise ValueError("normalise divides by log C, which is zero for a single class")
    return math.log(n_classes) if normalise else 1.0
