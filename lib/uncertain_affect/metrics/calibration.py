"""Calibration errors over <annotation, image> pairs: ECE, MCE, SCE, ACE, TACE (UncNet, appendix A.3).

All of them compare confidence with accuracy in groups of pairs and return a share of one (the paper prints
per cent). An example weighs as much as it has votes, which is the same as repeating it once per annotation;
given as proportions, every example weighs one. The conventions that the formulas leave open:

- Even bins are [lo, hi), the last one closed, so that confidence 1 falls into it; ``edges="right"`` gives
  (lo, hi] as in Guo et al. (2017), the first one closed. Edges are k / n_bins rounded to the dtype of
  ``probs``: a proportion of 3/10 lies on the edge .3 in float32 as in float64.
- The predicted class is the first of the most probable ones.
- Equal-count ranges split the sorted pairs of one class: range r starts at the value of pair floor(r M / R)
  of M, counted from 0. Tied values always share a range (a tie across a boundary belongs to the upper range,
  and the lower one may be left empty), so no result depends on the order of the examples.
- Empty bins and ranges contribute nothing.
"""

from typing import Literal

import numpy as np
import pandas as pd

from uncertain_affect.metrics.inputs import Values, as_numpy, set_probabilities, set_target, set_votes

Edges = Literal["left", "right"]

MEAN_ROUNDING = 1e-12  # bounds by how much the mean of values that equal a threshold may exceed it

# Up to here a few passes over the data, which vectorise, are faster than a search or a loop of each value.
FEW = 16
BLOCK = 2**16  # numbers that stay in the processor's cache meanwhile
PARTS = 2**12  # of [0, 1], a power of two so that no probability is rounded into another part


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(map(repr, choices))}")


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value}: expected a whole number of at least 1")


def _even_bins(values: np.ndarray, n_bins: int, edges: Edges) -> np.ndarray:
    """Index, 0 to n_bins - 1, of the even bin of [0, 1] that holds each value."""
    _check_positive("n_bins", n_bins)
    _check_choice("edges", edges, ("left", "right"))
    inner = (np.arange(1, n_bins) / n_bins).astype(values.dtype)
    # The inner edges alone leave both outer bins open-ended, so 0, 1 and 1 + rounding find their place.
    return _edges_passed(inner, values, "right" if edges == "left" else "left")


def _edges_passed(edges: np.ndarray, values: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
    """``np.searchsorted(edges, values, side)`` for edges in order: how many are below, or equal for "right"."""
    if len(edges) > FEW:
        return np.searchsorted(edges, values, side)
    passed = np.zeros(values.size, np.uint8)
    flat = values.ravel()
    for start in range(0, len(flat), BLOCK):
        block = slice(start, start + BLOCK)
        for edge in edges:
            passed[block] += flat[block] >= edge if side == "right" else flat[block] > edge
    return passed.reshape(values.shape)


def _top_label(probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First of the most probable classes (N,) of each example, and its probability (N,)."""
    n, n_classes = probs.shape
    if n_classes > FEW:
        predicted = probs.argmax(1)
        return predicted, probs[np.arange(n), predicted]
    predicted, confidence = np.zeros(n, np.uint8), np.empty(n, probs.dtype)
    n_rows = BLOCK // n_classes
    for start in range(0, n, n_rows):
        rows = slice(start, start + n_rows)
        classes = np.ascontiguousarray(probs[rows].T)
        largest = classes.max(0, out=confidence[rows])
        # the number of the class is how many come before the first that reaches the largest probability
        before = np.ones(len(largest), bool)
        for one in classes[:-1]:
            before &= one != largest
            predicted[rows] += before
    return predicted, confidence


def _top_label_terms(
    probs: Values, target: Values, n_bins: int, edges: Edges
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Bin of each example's confidence, and what it adds there: weight, confidence, correct pairs."""
    probs = set_probabilities(probs)
    target, weight = set_target(target, probs.shape)
    predicted, confidence = _top_label(probs)
    correct = predicted == target if target.ndim == 1 else target[np.arange(len(target)), predicted]
    return _even_bins(confidence, n_bins, edges), (weight, weight * confidence, correct)


def _bin_totals(bins: np.ndarray, terms: tuple[np.ndarray, ...], n_bins: int) -> np.ndarray:
    """Sums (len(terms), n_bins) of each term in each bin."""
    bins = bins.astype(np.intp, copy=False)
    return np.stack([np.bincount(bins, weights=term, minlength=n_bins) for term in terms])


def _mean_or_zero(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.divide(total, weight, out=np.zeros(total.shape), where=weight > 0)


def calibration_sums(probs: Values, target: Values, n_bins: int = 10, edges: Edges = "left") -> np.ndarray:
    """What each example adds to the bins of ECE and MCE, for resampling by sums.

    Sums of these rows over any (re)sample of examples or clusters, given to :func:`ece_from_sums` or
    :func:`mce_from_sums`, yield the error of that sample.

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins of the largest probability.
        edges: ``"left"`` for [lo, hi), ``"right"`` for (lo, hi].

    Returns:
        (N, 3 * n_bins) float64: pairs in each bin, then their confidences, then how many of them are correct.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    bins, terms = _top_label_terms(probs, target, n_bins, edges)
    sums = np.zeros((len(bins), 3, n_bins))
    sums[np.arange(len(bins)), :, bins] = np.stack(terms, axis=1)
    return sums.reshape(len(bins), -1)


def _split_sums(sums: Values) -> tuple[np.ndarray, np.ndarray]:
    """Pairs and |correct - confidence| (..., n_bins) of summed calibration sums (..., 3 * n_bins)."""
    sums = as_numpy(sums)
    weight, confidence, correct = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    return weight, abs(correct - confidence)


def ece_from_sums(sums: Values) -> np.ndarray:
    """Expected calibration error (...) of summed :func:`calibration_sums` (..., 3 * n_bins); NaN without a pair."""
    weight, gap = _split_sums(sums)
    # n_b |acc(b) - conf(b)| = |correct_b - confidence_b|, so empty bins drop out by themselves
    with np.errstate(invalid="ignore"):
        return gap.sum(-1) / weight.sum(-1)


def mce_from_sums(sums: Values) -> np.ndarray:
    """Maximum calibration error (...) of summed :func:`calibration_sums` (..., 3 * n_bins); NaN without a pair."""
    weight, gap = _split_sums(sums)
    return np.where(weight.sum(-1) > 0, _mean_or_zero(gap, weight).max(-1), np.nan)


def expected_calibration_error(probs: Values, target: Values, n_bins: int = 10, edges: Edges = "left") -> float:
    """Mean gap between accuracy and confidence over bins of the largest probability (Guo et al. 2017, eq. 3).

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins; the paper's B is 10.
        edges: ``"left"`` for [lo, hi), ``"right"`` for (lo, hi].

    Returns:
        ECE from 0 to 1, lower is better.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    # ECE = sum_b n_b / N |acc(b) - conf(b)|
    return float(ece_from_sums(_bin_totals(*_top_label_terms(probs, target, n_bins, edges), n_bins).ravel()))


def maximum_calibration_error(probs: Values, target: Values, n_bins: int = 10, edges: Edges = "left") -> float:
    """Largest gap between accuracy and confidence over non-empty bins (Guo et al. 2017, eq. 5).

    One nearly empty bin can decide it: read it beside :func:`reliability_curve`.

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins; the paper's B is 10.
        edges: ``"left"`` for [lo, hi), ``"right"`` for (lo, hi].

    Returns:
        MCE from 0 to 1, lower is better.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    # MCE = max_b |acc(b) - conf(b)|
    return float(mce_from_sums(_bin_totals(*_top_label_terms(probs, target, n_bins, edges), n_bins).ravel()))


def reliability_curve(probs: Values, target: Values, n_bins: int = 10, edges: Edges = "left") -> pd.DataFrame:
    """Accuracy against confidence in bins of the largest probability (UncNet, Figure 2 left).

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins.
        edges: ``"left"`` for [lo, hi), ``"right"`` for (lo, hi].

    Returns:
        A row per bin: ``lower`` and ``upper`` edge, mean ``confidence`` and ``accuracy`` (NaN in an empty
        bin) and ``weight``, the number of pairs.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    weight, confidence, correct = _bin_totals(*_top_label_terms(probs, target, n_bins, edges), n_bins)
    filled = np.where(weight > 0, weight, np.nan)
    return pd.DataFrame(
        {
            "lower": np.arange(n_bins) / n_bins,
            "upper": np.arange(1, n_bins + 1) / n_bins,
            "confidence": confidence / filled,
            "accuracy": correct / filled,
            "weight": weight,
        }
    )


def static_calibration_error(probs: Values, target: Values, n_bins: int = 10, edges: Edges = "left") -> float:
    """ECE of each class's own probability, averaged over classes (Nixon et al. 2019).

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins; the paper's B is 10.
        edges: ``"left"`` for [lo, hi), ``"right"`` for (lo, hi].

    Returns:
        SCE from 0 to 1, lower is better; the many classes with little probability keep it small.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    probs = set_probabilities(probs)
    votes, weight = set_votes(target, probs.shape)
    n_classes = probs.shape[1]
    bins = _even_bins(probs, n_bins, edges) + n_bins * np.arange(n_classes)
    # SCE = 1/C sum_c sum_b n_bc / N |acc(b,c) - conf(b,c)|
    gap = np.bincount(bins.ravel(), weights=(votes - weight[:, None] * probs).ravel())
    return float(abs(gap).sum() / (n_classes * weight.sum()))


def _one_class(c: int, probs: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N,) of a class, and the votes (N,) for it among labels (N,) or votes (N, C)."""
    return np.ascontiguousarray(probs[:, c]), target == c if target.ndim == 1 else target[:, c]


def _in_order(probs: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``np.sort(probs)[places]`` of probabilities (N,), sorting only in those parts of [0, 1] where they are found."""
    part = (probs * PARTS).astype(np.uint16)
    before = np.concatenate([[0], np.cumsum(np.bincount(part))])
    wanted = np.searchsorted(before, places, side="right") - 1
    found = np.empty(len(places), probs.dtype)
    for one in np.unique(wanted):
        here = wanted == one
        place = places[here] - before[one]
        found[here] = np.partition(probs[part == one], place)[place]
    return found


def _equal_count_ranges(
    values: np.ndarray, votes: np.ndarray, weight: np.ndarray | None, n_ranges: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of pairs, mean confidence and |acc - conf| (n_ranges,) of each range of one class; 0 if empty.

    A weight of None is one for every example.
    """
    if weight is None:  # then the order of what lies between the boundaries is not needed
        start = np.arange(1, n_ranges) * len(values) // n_ranges
        edges = _in_order(values, start)
        terms = (values, votes)
    else:
        order = np.argsort(values)
        pairs = np.cumsum(weight[order])
        # Range r starts at the first value with more than r M / R pairs up to it. Multiplied out, labels and
        # counts stay whole numbers, so that no boundary moves by rounding.
        start = np.searchsorted(pairs * n_ranges, np.arange(1, n_ranges) * pairs[-1], side="right")
        edges = values[order[start]]
        terms = (weight * values, votes)
    ranges = _edges_passed(edges, values, "right").astype(np.intp, copy=False)
    total = np.bincount(ranges, weights=weight, minlength=n_ranges)
    confidence, correct = _bin_totals(ranges, terms, n_ranges)
    share = total / total.sum()
    return share, _mean_or_zero(confidence, total), _mean_or_zero(abs(correct - confidence), total)


def adaptive_calibration_error(
    probs: Values, target: Values, n_ranges: int = 10, weighting: Literal["count", "printed"] = "count"
) -> float:
    """Gap between accuracy and confidence over equal-count ranges of each class (Nixon et al. 2019).

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_ranges: equal-count ranges per class; the paper's R is 10.
        weighting: ``"count"`` weighs each range by its share of the pairs, as the published code does;
            ``"printed"`` by 1/R, as the formula has it. They are equal unless ties or a number of pairs that
            R does not divide make the ranges unequal.

    Returns:
        ACE from 0 to 1, lower is better.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    _check_choice("weighting", weighting, ("count", "printed"))
    _check_positive("n_ranges", n_ranges)
    probs = set_probabilities(probs)
    target, weight = set_target(target, probs.shape)
    weight = None if (weight == 1).all() else weight
    errors = []
    for c in range(probs.shape[1]):
        share, _, gap = _equal_count_ranges(*_one_class(c, probs, target), weight, n_ranges)
        # sum_r n_rc / N |acc(r,c) - conf(r,c)|  or  1/R sum_r |acc(r,c) - conf(r,c)|
        errors.append(share @ gap if weighting == "count" else gap.sum() / n_ranges)
    # 1/C sum_c
    return float(np.mean(errors))


def thresholded_adaptive_calibration_error(
    probs: Values,
    target: Values,
    n_ranges: int = 10,
    threshold: float = 0.01,
    reading: Literal["samples", "ranges"] = "samples",
) -> float:
    """ACE without the many probabilities close to zero (Nixon et al. 2019), in two readings.

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_ranges: equal-count ranges per class; the paper's R is 10.
        threshold: the paper's epsilon; strictly larger probabilities are kept.
        reading: ``"samples"``, the published code: leave out the examples whose probability of the class is
            at most ``threshold``, form the ranges of what remains and weigh them by their share of it; a
            class with nothing left counts as zero. ``"ranges"``, the printed formula: form the ranges of all
            examples, keep those whose mean confidence exceeds ``threshold``, and divide by all R.

    Returns:
        TACE from 0 to 1, lower is better.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    _check_choice("reading", reading, ("samples", "ranges"))
    _check_positive("n_ranges", n_ranges)
    probs = set_probabilities(probs)
    target, weight = set_target(target, probs.shape)
    weight = None if (weight == 1).all() else weight
    threshold = float(probs.dtype.type(threshold))  # so that .01 is not above .01 in float32 either
    errors = []
    for c in range(probs.shape[1]):
        values, votes = _one_class(c, probs, target)
        if reading == "samples":
            keep = values > threshold
            if keep.any():
                kept = None if weight is None else weight[keep]
                share, _, gap = _equal_count_ranges(values[keep], votes[keep], kept, n_ranges)
                # sum_r n_rc / N_c |acc(r,c) - conf(r,c)|, N_c the pairs above the threshold
                errors.append(share @ gap)
            else:
                errors.append(0.0)
        else:
            _, confidence, gap = _equal_count_ranges(values, votes, weight, n_ranges)
            # 1/R sum_{r: conf(r,c) > eps} |acc(r,c) - conf(r,c)|
            errors.append(gap[confidence > threshold + MEAN_ROUNDING].sum() / n_ranges)
    # 1/C sum_c
    return float(np.mean(errors))
