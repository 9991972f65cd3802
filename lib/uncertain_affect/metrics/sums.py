"""Metrics that are functions of sums over examples, and the sums: add them over any group, then take the metric."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ratio_sums(values: ArrayLike, weights: ArrayLike = 1.0) -> Floats:
    """Sums for a weighted mean (accuracy, Brier score, log loss): `(..., N)` to `(..., N, 2)`.

    The two are weight × value and weight; `weights` broadcast against `values` (votes per image, for
    example).
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.broadcast_to(np.asarray(weights, dtype=np.float64), values.shape)
    return np.stack([weights * values, weights], axis=-1)


def ratio(sums: Floats) -> Floats:
    """Mean of `ratio_sums`: first sum over second, `(..., 2) -> (...)`."""
    return sums[..., 0] / sums[..., 1]


def moment_sums(x: ArrayLike, y: ArrayLike) -> Floats:
    """Sums for correlation and concordance: `(..., N)` each to `(..., N, 6)` of 1, x, y, x², y², xy.

    Variables whose mean is large beside their spread should be centred first (any constant will do for r):
    moments about zero lose digits as (mean / sd)².
    """
    x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)


def _population_moments(sums: Floats) -> tuple[Floats, ...]:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    return x / n, y / n, xx / n - (x / n) ** 2, yy / n - (y / n) ** 2, xy / n - x * y / n**2


def pearson_from_sums(sums: Floats) -> Floats:
    """Pearson's r from `moment_sums`, `(..., 6) -> (...)`; NaN where a variable is constant."""
    _, _, var_x, var_y, cov = _population_moments(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        return cov / np.sqrt(var_x * var_y)


def ccc_from_sums(sums: Floats) -> Floats:
    """Lin's (1989) concordance correlation (population moments) from `moment_sums`; NaN for two constants."""
    mean_x, mean_y, var_x, var_y, cov = _population_moments(sums)
    # CCC = 2 s_xy / (s_x² + s_y² + (x̄ − ȳ)²)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * cov / (var_x + var_y + (mean_x - mean_y) ** 2)


def f1_sums(labels: ArrayLike, predictions: ArrayLike) -> Floats:
    """Sums for binary F1: 0/1 labels and predictions `(..., N)` to `(..., N, 3)` of tp, fp, fn."""
    labels, predictions = np.broadcast_arrays(np.asarray(labels, dtype=bool), np.asarray(predictions, dtype=bool))
    return np.stack([labels & predictions, ~labels & predictions, labels & ~predictions], axis=-1).astype(float)


def f1_from_sums(sums: Floats) -> Floats:
    """F1 = 2 tp / (2 tp + fp + fn) from `f1_sums`; NaN where nothing is positive nor predicted so."""
    return f1_from_counts(*np.moveaxis(sums, -1, 0))


def f1_from_counts(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Floats:
    """F1 = 2 tp / (2 tp + fp + fn) of true and false positives and false negatives; NaN where there are none."""
    tp, fp, fn = (np.asarray(count, dtype=np.float64) for count in (tp, fp, fn))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * tp / (2 * tp + fp + fn)


def rmse_from_sums(sums: np.ndarray) -> np.ndarray:
    """Root mean squared error from `moment_sums`, `(..., 6) -> (...)`; NaN without a pair, or of NaN."""
    n, _, _, xx, yy, xy = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    # sum (x - y)^2 = sum x^2 + sum y^2 - 2 sum x y, at 0 up to rounding of either sign
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(np.maximum(xx + yy - 2 * xy, 0) / n)
