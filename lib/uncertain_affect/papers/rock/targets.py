"""Auxiliary targets made of what preprocessing leaves: percentile ranks, and labels of turns before and after.

Source: HAN-ROCK ("Reusing Preprocessing Data as Auxiliary Supervision in Conversational Analysis"), section 4.3 and
appendix A.2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def percentile_ranks(values: ArrayLike, training: ArrayLike) -> Floats:
    """Percentile ranks (N,) in [0, 1] of values (N,) among those of the training set (M,).

    Of a value, the share of training values below it, and half of those equal to it, so that ties share the middle of
    their ranks. What lies outside the training range gets 0 or 1, and what is missing (NaN) stays so; missing training
    values do not count.

    Raises:
        ValueError: no training value, or an infinite one.
    """
    values, training = np.asarray(values, np.float64), np.asarray(training, np.float64)
    known = np.sort(training[~np.isnan(training)])
    if not len(known):
        raise ValueError("all training values are missing: leave this auxiliary target out")
    if np.isinf(known[[0, -1]]).any():
        raise ValueError("a training value is infinite; NaN marks what is unknown")
    # (number below + number at or below) / 2 n; looked for in order, which keeps to the same part of memory
    order = np.argsort(values)
    ordered, below = values[order], np.empty(len(values), np.int64)
    below[order] = np.searchsorted(known, ordered, side="left") + np.searchsorted(known, ordered, side="right")
    return np.where(np.isnan(values), np.nan, below / (2 * len(known)))


def neighbouring_labels(
    labels: ArrayLike, dialogue: Sequence | np.ndarray, reach: int = 4, *, leak: bool = True
) -> tuple[Floats, Floats]:
    """Labels of 1 to `reach` turns ago, and of 1 to `reach` turns later, (N, reach) each.

    Where the turn wanted has no label, or lies beyond the end of the dialogue, the label of the nearest turn on that
    side is taken, of two equally near ones that nearer to the present. Where no turn on that side has a label, it is
    the present one, as the paper's "next nearest non-missing label" has it at the first and last turn. That puts the
    primary target among the auxiliary ones: harmless at test, but it counts twice in training.

    Args:
        labels: (N,), NaN where missing.
        dialogue: (N,), any labels; the turns of a dialogue follow one another in time.
        leak: take the present label where a side has none; else NaN stays.

    Raises:
        ValueError: lengths differ, or a reach below 1.
    """
    labels, dialogue = np.asarray(labels, np.float64), np.asarray(dialogue)
    if dialogue.shape != labels.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and dialogue {dialogue.shape} must both be (N,)")
    if reach < 1:
        raise ValueError(f"reach counts turns and must be at least 1, not {reach}")
    past = _nearest_before(labels, dialogue, reach)
    future = _nearest_before(labels[::-1], dialogue[::-1], reach)[::-1]
    if leak:
        past, future = (np.where(np.isnan(side), labels[:, None], side) for side in (past, future))
    return past, future


def _nearest_before(labels: Floats, dialogue: np.ndarray, reach: int) -> Floats:
    n = len(labels)
    row = np.arange(n)
    known = np.flatnonzero(~np.isnan(labels))
    if not len(known):
        return np.full((n, reach), np.nan)
    is_first = np.ones(n, bool)
    is_first[1:] = dialogue[1:] != dialogue[:-1]
    first = np.maximum.accumulate(np.where(is_first, row, 0))[:, None]
    wanted = row[:, None] - np.arange(1, reach + 1)
    at = np.searchsorted(known, np.maximum(wanted, first))
    # candidates: the first labelled turn at or after the one wanted, and the last one before it
    later, earlier = known[np.minimum(at, len(known) - 1)], known[np.maximum(at - 1, 0)]
    later_fits = (at < len(known)) & (later < row[:, None]) & (later >= first)
    earlier_fits = (at > 0) & (earlier < row[:, None]) & (earlier >= first)
    take_later = later_fits & (~earlier_fits | (later - wanted <= wanted - earlier))
    chosen = np.where(take_later, later, earlier)
    return np.where(take_later | earlier_fits, labels[chosen], np.nan)
