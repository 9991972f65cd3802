"""How well an uncertainty ranks examples: risk against coverage, and telling one kind of example from another.

Both take weights with any leading axes, `(..., N)`, so that all the sets that a jackknife leaves over are scored in
one call: see `resampling.leave_one_out`. Tied examples have no order among themselves: each result is what a random
order of them gives on average.
"""

import numpy as np

from uncertain_affect.metrics.inputs import Values, as_numpy, float_or_array


def area_under_risk_coverage(uncertainty: Values, loss: Values, weights: Values | None = None) -> float | np.ndarray:
    """Mean loss of the examples kept, averaged over how many are kept (AURC; Geifman et al. 2019).

    Args:
        uncertainty: (N,), higher is rejected sooner.
        loss: (N,) of each example, for example 1 where the prediction is wrong.
        weights: (..., N), not negative, with something above 0; default 1 each.

    Returns:
        (...) areas in the units of the loss, lower is better; a float without leading axes. An uncertainty that says
        nothing gives the mean loss.

    Raises:
        ValueError: shapes that do not match, or a value that is not finite.
    """
    uncertainty, loss, weights, order, ties = _sorted(uncertainty, loss, "loss", weights)
    weights = weights[..., order]
    weighted = weights * loss[order]
    if len(ties) < len(order):
        # within a tie each example brings, on average, the mean loss of the tie
        lengths = np.diff(np.append(ties, len(order)))
        tie_sums = np.add.reduceat(weighted, ties, -1), np.add.reduceat(weights, ties, -1)
        mean = np.divide(*tie_sums, out=np.zeros_like(tie_sums[0]), where=tie_sums[1] > 0)
        weighted = weights * np.repeat(mean, lengths, -1)
    kept = weights.cumsum(-1)
    # AURC = 1/W sum_k w_k risk(k),  risk(k) = sum_{j <= k} w_j loss_j / sum_{j <= k} w_j
    risk = np.divide(weighted.cumsum(-1), kept, out=np.zeros_like(kept), where=kept > 0)
    return float_or_array((weights * risk).sum(-1) / kept[..., -1])


def auroc(uncertainty: Values, positive: Values, weights: Values | None = None) -> float | np.ndarray:
    """Chance that a positive example is the more uncertain of a positive and a negative one, a tie counting half.

    Args:
        uncertainty: (N,).
        positive: (N,) bool.
        weights: (..., N), not negative; default 1 each.

    Returns:
        (...) values from 0 to 1, .5 where uncertainty says nothing; NaN where one kind is missing; a float without
        leading axes.

    Raises:
        ValueError: shapes that do not match, a value that is not finite, or a positive that is neither True nor False.
    """
    uncertainty, positive, weights, order, ties = _sorted(uncertainty, positive, "positive", weights)
    if not np.isin(positive, (0, 1)).all():
        row = np.isin(positive, (0, 1)).argmin()
        raise ValueError(f"positive: row {row} is {positive[row]:g}, neither True nor False")
    weights = weights[..., order]
    positives = np.add.reduceat(weights * positive[order], ties, -1)
    negatives = np.add.reduceat(weights * (1 - positive[order]), ties, -1)
    below = negatives.cumsum(-1) - negatives / 2
    pairs = positives.sum(-1) * negatives.sum(-1)
    # P(u+ > u-) + P(u+ = u-) / 2
    won = (positives * below).sum(-1)
    return float_or_array(np.divide(won, pairs, out=np.full(np.shape(won), np.nan), where=pairs > 0))


def _sorted(uncertainty: Values, values: Values, name: str, weights: Values | None):
    """The three as float64, the order of uncertainty, and where in it each run of equal values begins."""
    uncertainty, values = as_numpy(uncertainty).astype(np.float64), as_numpy(values).astype(np.float64)
    weights = np.ones(uncertainty.shape) if weights is None else as_numpy(weights).astype(np.float64)
    if uncertainty.ndim != 1 or len(uncertainty) == 0:
        raise ValueError(f"uncertainty has shape {uncertainty.shape}: expected a non-empty (N,)")
    if values.shape != uncertainty.shape:
        raise ValueError(f"{name} has shape {values.shape}: expected {uncertainty.shape}, as uncertainty has")
    if weights.shape[-1:] != uncertainty.shape:
        raise ValueError(f"weights have shape {weights.shape}: expected (..., {len(uncertainty)})")
    for what, column in (("uncertainty", uncertainty), (name, values)):
        if not np.isfinite(column).all():
            raise ValueError(f"{what}: row {np.isfinite(column).argmin()} is not finite")
    if not (weights >= 0).all() or not (weights.sum(-1) > 0).all():
        raise ValueError("weights are counts or shares of examples: none below 0, and not all 0")
    order = np.argsort(uncertainty, kind="stable")
    in_order = uncertainty[order]
    ties = np.flatnonzero(np.append(True, in_order[1:] != in_order[:-1]))
    return uncertainty, values, weights, order, ties
