"""Auxiliary targets from the outputs of preprocessing: percentile ranks, and labels of turns before and after.

Source: HAN-ROCK ("Reusing Preprocessing Data as Auxiliary Supervision in Conversational Analysis"), section 4.3 and
appendix A.2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def percentile_ranks(values: ArrayLike, training: ArrayLike) -> Floats:
    """Percentile ranks (N,) in [0, 1] of values (N,) among those of the training set (M,).

    The rank of a value is the share of training values below it plus half the share of those equal to it, so that ties
    get the middle of their ranks. Values outside the training range get 0 or 1, and missing ones (NaN) stay missing.
    Missing training values do not count; at least one must be known.

    >>> percentile_ranks([1, 2, 9], [1, 2, 2, 3]).tolist()
    [0.125, 0.5, 1.0]
    """
    values, training = np.asarray(values, np.float64), np.asarray(training, np.float64)
    known = np.sort(training[~np.isnan(training)])
    # (number below + number at or below) / 2 n
    below = np.searchsorted(known, values, side="left") + np.searchsorted(known, values, side="right")
    return np.where(np.isnan(values), np.nan, below / (2 * len(known)))


def neighbouring_labels(
    labels: ArrayLike, dialogue: Sequence | np.ndarray, reach: int = 4, *, leak: bool = True
) -> tuple[Floats, Floats]:
    """Labels of 1 to `reach` turns ago, and of 1 to `reach` turns later, (N, reach) each.

    If the wanted turn has no label, or lies beyond the end of the dialogue, the label of the nearest labelled turn on
    that side is taken; of two equally near ones, that nearer to the present. If no turn on that side has a label, it is
    the label of the present turn, as the paper's "next nearest non-missing label" has it at the first and last turn.
    That puts the primary target among the auxiliary ones: harmless at test, but it counts twice in training.

    >>> past, future = neighbouring_labels([1, 2, 3], ["a", "a", "a"], reach=2)
    >>> past.tolist(), future.tolist()
    ([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]], [[2.0, 3.0], [3.0, 3.0], [3.0, 3.0]])

    Args:
        labels: (N,), NaN where missing.
        dialogue: (N,), the dialogue of each turn; the turns of a dialogue are contiguous and in order of time.
        leak: take the label of the present turn where a side has none; else NaN.
    """
    labels, dialogue = np.asarray(labels, np.float64), np.asarray(dialogue)
    past = _nearest_before(labels, dialogue, reach)
    future = _nearest_before(labels[::-1], dialogue[::-1], reach)[::-1]
    if leak:
        past, future = (np.where(np.isnan(side), labels[:, None], side) for side in (past, future))
    return past, future


def _nearest_before(labels: Floats, dialogue: np.ndarray, reach: int) -> Floats:
    """Labels (N, reach) of 1 to `reach` turns ago, or of the nearest turn before the present one; NaN without any."""
    found = np.full((len(labels), reach), np.nan)
    for rows in np.split(np.arange(len(labels)), np.flatnonzero(dialogue[1:] != dialogue[:-1]) + 1):
        labelled = rows[~np.isnan(labels[rows])][::-1]  # of two equally near ones the later comes first
        for row in rows:
            if len(earlier := labelled[labelled < row]):
                wanted = np.maximum(row - np.arange(1, reach + 1), rows[0])
                found[row] = labels[earlier[np.abs(earlier - wanted[:, None]).argmin(1)]]
    return found
