"""Accuracy when the least certain predictions are rejected."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from uncertain_affect.metrics.inputs import Values, as_numpy, set_probabilities, set_target

if TYPE_CHECKING:
    import pandas as pd


def rejection_order(uncertainty: Values) -> np.ndarray | torch.Tensor:
    """Indices (N,) from the most certain example, kept longest, to the first rejected.

    Ties keep the order of the rows, so that the outcome is the same on every machine.

    Raises:
        ValueError: unless ``uncertainty`` is a non-empty (N,) without NaN.
    """
    values = as_numpy(uncertainty)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"uncertainty has shape {values.shape}: expected a non-empty (N,)")
    if np.isnan(values).any():
        raise ValueError(f"uncertainty: row {np.isnan(values).argmax()} is NaN")
    order = np.argsort(values, kind="stable")
    return torch.from_numpy(order).to(uncertainty.device) if isinstance(uncertainty, torch.Tensor) else order


def _correct_in_order(probs: Values, target: Values, uncertainty: Values) -> np.ndarray:
    """Whether each prediction is correct (N,), the most certain first."""
    probs = set_probabilities(probs)
    target, _ = set_target(target, probs.shape)
    order = as_numpy(rejection_order(uncertainty))
    if len(order) != len(probs):
        raise ValueError(f"there are {len(order)} uncertainties for {len(probs)} rows of probs")
    labels = target if target.ndim == 1 else target.argmax(1)
    return (probs.argmax(1) == labels)[order]


def accuracy_at_coverage(probs: Values, target: Values, uncertainty: Values, coverage: float) -> float:
    """Accuracy on the int(coverage * N) most certain examples (UncNet, Table 3: 75% of 3,579 are 2,684).

    Args:
        probs: (N, C) predicted probabilities; the prediction is the first of the most probable classes.
        target: (N,) integer labels or (N, C) votes, of which the first class with most votes is the label.
        uncertainty: (N,), higher is rejected sooner; ties keep the order of the rows.
        coverage: share of examples kept, above 0 and at most 1.

    Raises:
        ValueError: for malformed input, or a coverage outside (0, 1] or too small to keep an example.
    """
    correct = _correct_in_order(probs, target, uncertainty)
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage is {coverage}: expected a share above 0 and at most 1")
    kept = int(coverage * len(correct))
    if kept == 0:
        raise ValueError(f"coverage {coverage} keeps none of {len(correct)} examples")
    return float(correct[:kept].mean())


def accuracy_rejection_curve(probs: Values, target: Values, uncertainty: Values) -> "pd.DataFrame":
    """Accuracy of the k most certain examples for every k from N to 1.

    Args:
        probs: (N, C) predicted probabilities; the prediction is the first of the most probable classes.
        target: (N,) integer labels or (N, C) votes, of which the first class with most votes is the label.
        uncertainty: (N,), higher is rejected sooner; ties keep the order of the rows.

    Returns:
        N rows, the first with nothing rejected: ``kept`` (examples), ``coverage`` (kept / N), ``correct``,
        ``accuracy``.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, or shapes that do not match.
    """
    import pandas as pd

    correct = np.cumsum(_correct_in_order(probs, target, uncertainty))[::-1]
    kept = np.arange(len(correct), 0, -1)
    return pd.DataFrame({"kept": kept, "coverage": kept / len(correct), "correct": correct, "accuracy": correct / kept})
