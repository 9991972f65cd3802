"""Metrics that are functions of sums over examples, and the sums: add them over any group, then take the metric.

NaN goes through all of them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ratio_sums(values: ArrayLike, weights: ArrayLike = 1.0) -> Floats:
    """Sums for a weighted mean (accuracy, Brier score, log loss): (..., N) to (..., N, 2); NaN of NaN.

    The two are weight × value and weight; ``weights`` broadcast against ``values`` (votes per image, for example).
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.broadcast_to(np.asarray(weights, dtype=np.float64), values.shape)
    return np.stack([weights * values, weights], axis=-1)


@np.errstate(invalid="ignore", divide="ignore")
def ratio(sums: Floats) -> Floats:
    """Mean from the sums of :func:`ratio_sums`, (..., 2) to (...): first over second; NaN without weight.

    >>> float(ratio(ratio_sums([1.0, 0.0], weights=[3, 1]).sum(0)))
    0.75
    """
    return sums[..., 0] / sums[..., 1]


def moment_sums(x: ArrayLike, y: ArrayLike) -> Floats:
    """Sums for correlation, concordance and error: (..., N) each to (..., N, 6) of 1, x, y, x², y², xy; NaN of NaN.

    Variables whose mean is large beside their spread should be centred first (any constant will do for r):
    moments about zero lose digits as (mean / sd)².
    """
    x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)


@np.errstate(invalid="ignore", divide="ignore")
def pearson_from_sums(sums: Floats) -> Floats:
    """Pearson's r from :func:`moment_sums`, (..., 6) to (...); NaN where a variable is constant."""
    _, _, var_x, var_y, cov = _population_moments(sums)
    return cov / np.sqrt(var_x * var_y)


@np.errstate(invalid="ignore", divide="ignore")
def ccc_from_sums(sums: Floats) -> Floats:
    """Lin's (1989) concordance correlation (population moments) from :func:`moment_sums`; NaN for two constants."""
    mean_x, mean_y, var_x, var_y, cov = _population_moments(sums)
    # CCC = 2 s_xy / (s_x² + s_y² + (x̄ − ȳ)²)
    return 2 * cov / (var_x + var_y + (mean_x - mean_y) ** 2)


@np.errstate(invalid="ignore", divide="ignore")
def rmse_from_sums(sums: Floats) -> Floats:
    """Root mean squared error from :func:`moment_sums`, (..., 6) to (...); NaN without a pair, or of NaN."""
    n, _, _, xx, yy, xy = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    # sum (x - y)² = sum x² + sum y² - 2 sum xy, at 0 up to rounding of either sign
    return np.sqrt(np.maximum(xx + yy - 2 * xy, 0) / n)


def _population_moments(sums: Floats) -> tuple[Floats, ...]:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    return x / n, y / n, xx / n - (x / n) ** 2, yy / n - (y / n) ** 2, xy / n - x * y / n**2


def f1_sums(labels: ArrayLike, predictions: ArrayLike) -> Floats:
    """Sums for binary F1: labels and predictions (..., N) to (..., N, 3) of true, false and missed positives.

    Whatever is not 0 counts as positive, NaN too.
    """
    labels, predictions = np.broadcast_arrays(np.asarray(labels, dtype=bool), np.asarray(predictions, dtype=bool))
    return np.stack([labels & predictions, ~labels & predictions, labels & ~predictions], axis=-1).astype(float)


def f1_from_sums(sums: Floats) -> Floats:
    """F1 from :func:`f1_sums`, (..., 3) to (...); NaN where nothing is positive nor predicted so."""
    return f1_from_counts(*np.moveaxis(sums, -1, 0))


@np.errstate(invalid="ignore", divide="ignore")
def f1_from_counts(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Floats:
    """F1 = 2 tp / (2 tp + fp + fn) of true, false and missed positives; NaN where there is nothing to count.

    >>> float(f1_from_counts(tp=2, fp=1, fn=1))
    0.6666666666666666
    """
    tp, fp, fn = (np.asarray(count, dtype=np.float64) for count in (tp, fp, fn))
    return 2 * tp / (2 * tp + fp + fn)
