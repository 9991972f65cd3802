"""Entropy of float64 probabilities, arrays and tensors alike, unchecked."""

import numpy as np
import scipy.special
import torch


def entropy_nats(probs: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """Entropy in nats over the last axis."""
    # H(p) = -sum_c p_c log p_c, with 0 log 0 = 0
    return entr(probs).sum(-1)


def entr(p: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """-p log p of each number."""
    return torch.special.entr(p) if isinstance(p, torch.Tensor) else scipy.special.entr(p)
