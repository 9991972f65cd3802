"""Calibration errors over <annotation, image> pairs: ECE, MCE, SCE, ACE, TACE (UncNet, appendix A.3).

All of them compare confidence with accuracy in groups of pairs and return a share of one (the paper prints
per cent). An example weighs as much as it has votes, which is the same as repeating it once per annotation;
given as proportions, every example weighs one. The conventions that the formulas leave open:

- Even bins are [lo, hi), the last one closed, so that confidence 1 falls into it. Edges are k / n_bins rounded
  to the dtype of ``probs``: a proportion of 3/10 lies on the edge .3 in float32 as in float64.
- The predicted class is the first of the most probable ones.
- Equal-count ranges split the sorted pairs of one class: range r starts at the value of pair floor(r M / R)
  of M, counted from 0. Tied values always share a range (a tie across a boundary belongs to the upper range,
  and the lower one may be left empty), so no result depends on the order of the examples.
- Empty bins and ranges contribute nothing.

All are biased upwards: chance alone keeps accuracy away from confidence. :func:`calibrated_reference` says how far.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from uncertain_affect.metrics._fast import edges_passed, order_statistics, top_label
from uncertain_affect.metrics.inputs import Values, as_numpy, set_probabilities, set_target, set_votes

if TYPE_CHECKING:
    import pandas as pd

BLOCK_REDRAWN = 2_000_000  # numbers redrawn at once (16 MB), so that memory does not grow with the redraws
MEAN_ROUNDING = 1e-12  # bounds by how much the mean of values that equal a threshold may exceed it


# --- even bins ------------------------------------------------------------------------------------------------


def expected_calibration_error(probs: Values, target: Values, n_bins: int = 10) -> float:
    """Mean gap between accuracy and confidence over bins of the largest probability (Guo et al. 2017, eq. 3).

    >>> round(expected_calibration_error([[0.7, 0.3], [0.8, 0.2], [0.1, 0.9]], [0, 1, 1]), 3)
    0.4

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins; the paper's B is 10.

    Returns:
        ECE from 0 to 1, lower is better.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    # ECE = sum_b n_b / N |acc(b) - conf(b)|
    return float(ece_from_sums(_bin_totals(*_top_label_terms(probs, target, n_bins), n_bins).ravel()))


def maximum_calibration_error(probs: Values, target: Values, n_bins: int = 10) -> float:
    """Largest gap between accuracy and confidence over non-empty bins (Guo et al. 2017, eq. 5).

    One nearly empty bin can decide it: read it beside :func:`reliability_curve`.

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins; the paper's B is 10.

    Returns:
        MCE from 0 to 1, lower is better.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    # MCE = max_b |acc(b) - conf(b)|
    return float(mce_from_sums(_bin_totals(*_top_label_terms(probs, target, n_bins), n_bins).ravel()))


def reliability_curve(probs: Values, target: Values, n_bins: int = 10) -> "pd.DataFrame":
    """Accuracy against confidence in bins of the largest probability (UncNet, Figure 2 left).

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins.

    Returns:
        A row per bin: ``lower`` and ``upper`` edge, mean ``confidence`` and ``accuracy`` (NaN in an empty
        bin) and ``weight``, the number of pairs.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    import pandas as pd

    weight, confidence, correct = _bin_totals(*_top_label_terms(probs, target, n_bins), n_bins)
    edges, filled = np.arange(n_bins + 1) / n_bins, np.where(weight > 0, weight, np.nan)
    columns = {"lower": edges[:-1], "upper": edges[1:], "confidence": confidence / filled, "accuracy": correct / filled}
    return pd.DataFrame(columns | {"weight": weight})


def static_calibration_error(probs: Values, target: Values, n_bins: int = 10) -> float:
    """ECE of each class's own probability, averaged over classes (Nixon et al. 2019).

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins; the paper's B is 10.

    Returns:
        SCE from 0 to 1, lower is better; the many classes with little probability keep it small.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    probs = set_probabilities(probs)
    votes, weight = set_votes(target, probs.shape)
    n_classes = probs.shape[1]
    bins = _even_bins(probs, n_bins) + n_bins * np.arange(n_classes)
    # SCE = 1/C sum_c sum_b n_bc / N |acc(b,c) - conf(b,c)|
    gap = np.bincount(bins.ravel(), weights=(votes - weight[:, None] * probs).ravel())
    return float(abs(gap).sum() / (n_classes * weight.sum()))


def _even_bins(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Index, 0 to n_bins - 1, of the even bin of [0, 1] that holds each value."""
    _check_positive("n_bins", n_bins)
    # The inner edges alone leave both outer bins open-ended, so 0, 1 and 1 + rounding find their place.
    return edges_passed((np.arange(1, n_bins) / n_bins).astype(values.dtype), values)


def _top_label_terms(probs: Values, target: Values, n_bins: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Bin of each example's confidence, and what it adds there: weight, confidence, correct pairs."""
    probs = set_probabilities(probs)
    target, weight = set_target(target, probs.shape)
    predicted, confidence = top_label(probs)
    correct = predicted == target if target.ndim == 1 else target[np.arange(len(target)), predicted]
    return _even_bins(confidence, n_bins), (weight, weight * confidence, correct)


def _bin_totals(bins: np.ndarray, terms: tuple[np.ndarray, ...], n_bins: int) -> np.ndarray:
    """Sums (len(terms), n_bins) of each term in each bin."""
    bins = bins.astype(np.intp, copy=False)
    return np.stack([np.bincount(bins, weights=term, minlength=n_bins) for term in terms])


# --- the same errors from sums over examples --------------------------------------------------------------------


def calibration_sums(probs: Values, target: Values, n_bins: int = 10) -> np.ndarray:
    """What each example adds to the bins of ECE and MCE, for resampling by sums.

    Sums of these rows over any (re)sample of examples or clusters, given to :func:`ece_from_sums` or
    :func:`mce_from_sums`, yield the error of that sample.

    Args:
        probs: (N, C) predicted probabilities.
        target: (N,) integer labels or (N, C) votes.
        n_bins: even bins of the largest probability.

    Returns:
        (N, 3 * n_bins) float64: pairs in each bin, then their confidences, then how many of them are correct.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    bins, terms = _top_label_terms(probs, target, n_bins)
    sums = np.zeros((len(bins), 3, n_bins))
    sums[np.arange(len(bins)), :, bins] = np.stack(terms, axis=1)
    return sums.reshape(len(bins), -1)


def ece_from_sums(sums: Values) -> np.ndarray:
    """Expected calibration error (...) of summed :func:`calibration_sums` (..., 3 * n_bins); NaN without a pair."""
    weight, gap = _weights_and_gaps(sums)
    # n_b |acc(b) - conf(b)| = |correct_b - confidence_b|, so empty bins drop out by themselves
    with np.errstate(invalid="ignore"):
        return gap.sum(-1) / weight.sum(-1)


def mce_from_sums(sums: Values) -> np.ndarray:
    """Maximum calibration error (...) of summed :func:`calibration_sums` (..., 3 * n_bins); NaN without a pair."""
    weight, gap = _weights_and_gaps(sums)
    return np.where(weight.sum(-1) > 0, _mean_or_zero(gap, weight).max(-1), np.nan)


def _weights_and_gaps(sums: Values) -> tuple[np.ndarray, np.ndarray]:
    """Pairs and |correct - confidence| (..., n_bins) of summed calibration sums (..., 3 * n_bins)."""
    sums = as_numpy(sums)
    weight, confidence, correct = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    return weight, abs(correct - confidence)


def _mean_or_zero(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.divide(total, weight, out=np.zeros(total.shape), where=weight > 0)


# --- ranges of equal count --------------------------------------------------------------------------------------


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
    # sum_r n_rc / N |acc(r,c) - conf(r,c)|  or  1/R sum_r |acc(r,c) - conf(r,c)|
    errors = [
        share @ gap if weighting == "count" else gap.sum() / n_ranges
        for share, _, gap in _ranges_of_classes(set_probabilities(probs), target, n_ranges)
    ]
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
    probs = set_probabilities(probs)
    threshold = float(probs.dtype.type(threshold))  # so that .01 is not above .01 in float32 either
    if reading == "samples":
        # sum_r n_rc / N_c |acc(r,c) - conf(r,c)|, N_c the pairs above the threshold
        errors = [share @ gap for share, _, gap in _ranges_of_classes(probs, target, n_ranges, threshold)]
    else:
        # 1/R sum_{r: conf(r,c) > eps} |acc(r,c) - conf(r,c)|
        errors = [
            gap[confidence > threshold + MEAN_ROUNDING].sum() / n_ranges
            for _, confidence, gap in _ranges_of_classes(probs, target, n_ranges)
        ]
    # 1/C sum_c
    return float(np.mean(errors))


def _ranges_of_classes(
    probs: np.ndarray, target: Values, n_ranges: int, above: float | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each class, its ranges' share of the pairs, mean confidence and |acc - conf| (n_ranges,); 0 if empty.

    Args:
        above: leave out the examples whose probability of the class is at most that.
    """
    _check_positive("n_ranges", n_ranges)
    target, weight = set_target(target, probs.shape)
    weight = None if (weight == 1).all() else weight
    for c in range(probs.shape[1]):
        values = np.ascontiguousarray(probs[:, c])
        votes = target == c if target.ndim == 1 else target[:, c]
        kept = slice(None) if above is None else values > above
        values, votes = values[kept], votes[kept]
        if len(values):
            yield _equal_count_ranges(values, votes, weight if weight is None else weight[kept], n_ranges)
        else:
            yield (np.zeros(n_ranges),) * 3


def _equal_count_ranges(
    values: np.ndarray, votes: np.ndarray, weight: np.ndarray | None, n_ranges: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of pairs, mean confidence and |acc - conf| (n_ranges,) of each range of one class; 0 if empty.

    A weight of None is one for every example.
    """
    if weight is None:  # then the order of what lies between the boundaries is not needed
        start = np.arange(1, n_ranges) * len(values) // n_ranges
        edges = order_statistics(values, start)
        terms = (values, votes)
    else:
        order = np.argsort(values)
        pairs = np.cumsum(weight[order])
        # Range r starts at the first value with more than r M / R pairs up to it. Multiplied out, labels and
        # counts stay whole numbers, so that no boundary moves by rounding.
        start = np.searchsorted(pairs * n_ranges, np.arange(1, n_ranges) * pairs[-1], side="right")
        edges = values[order[start]]
        terms = (weight * values, votes)
    ranges = edges_passed(edges, values).astype(np.intp, copy=False)
    total = np.bincount(ranges, weights=weight, minlength=n_ranges)
    confidence, correct = _bin_totals(ranges, terms, n_ranges)
    return total / total.sum(), _mean_or_zero(confidence, total), _mean_or_zero(abs(correct - confidence), total)


# --- what a calibrated predictor would score --------------------------------------------------------------------


class Reference(NamedTuple):
    """Calibration error of a calibrated predictor with the same confidences: its mean and 97.5th percentile."""

    mean: float
    high: float


def calibrated_reference(
    probs: Values,
    target: Values,
    generator: np.random.Generator,
    error: Callable[[Values, Values, int], float] = expected_calibration_error,
    n_redrawn: int = 1000,
    n_bins: int = 10,
) -> Reference:
    """What a predictor would score that gives these probabilities and is calibrated: targets redrawn from them.

    Consistency resampling (Bröcker & Smith 2007; Vaicenavicius et al. 2019): each redraw takes a label for each
    example from its own probabilities and scores it by the same error. An error below ``high`` is no sign of
    miscalibration; of calibrated predictors one in forty lies above.

    Where an example has K votes, as many are redrawn. Votes on one picture are alike, since pictures differ: their
    share of a class varies around its probability p by

        Var = p (1 - p) (rho + (1 - rho) / K),

    more than by the p (1 - p) / K of K single labels. rho, the correlation of two votes on one picture, is that of
    the target (analysis of variance of the votes for the predicted class within bins of confidence), so that redrawn
    votes vary between pictures as the real ones do. A vote repeats one label common to its picture with probability
    sqrt(rho), and is drawn from the probabilities otherwise (Lunn & Davies 1998). Proportions, whose K is not known,
    are redrawn as shares with the same variance. Examples are redrawn independently of each other.

    Of predictors calibrated by construction, on 60, 400 and 3,000 examples with one and ten votes (rho = 1/3), the mean
    ECE was within 5% of ``mean``, and 0.7 to 4% of their ECEs lay above ``high``.

    >>> labels = np.arange(200) % 10 == 0  # one in ten is wrong, as predicted
    >>> reference = calibrated_reference(np.full((200, 2), (0.9, 0.1)), labels.astype(int), np.random.default_rng(0))
    >>> round(reference.mean, 3), round(reference.high, 3)
    (0.017, 0.05)

    Args:
        probs: (N, C) predicted probabilities, or (S, N, C) of S seeds, whose errors are averaged.
        target: (N,) integer labels or (N, C) votes; of seeds that have their own, (S, N) or (S, N, C). Seeds with
            the same target share what chance does to it: their percentiles are averaged, as if all erred together.
        generator: draws the targets.
        error: any function of this module of probabilities, target and a number of bins; ECE and MCE are fast.
        n_redrawn: how many targets are redrawn.
        n_bins: bins of the error, and of the analysis of variance.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row.
    """
    _check_positive("n_redrawn", n_redrawn)
    probs, target = as_numpy(probs), as_numpy(target)
    if probs.ndim != 3:
        return _reference(_redrawn_errors(probs, target, generator, error, n_redrawn, n_bins))
    own = target.shape[:2] == probs.shape[:2]
    targets = target if own else [target] * len(probs)
    errors = [
        _redrawn_errors(p, of_seed, generator, error, n_redrawn, n_bins)
        for p, of_seed in zip(probs, targets, strict=True)
    ]
    if own and not all((of_seed == targets[0]).all() for of_seed in targets):
        return _reference(np.mean(errors, 0))
    return Reference(*(float(of_seeds) for of_seeds in np.mean([_reference(e) for e in errors], 0)))


def _reference(errors: np.ndarray) -> Reference:
    return Reference(float(errors.mean()), float(np.quantile(errors, 0.975)))


def _redrawn_errors(
    probs: np.ndarray, target: np.ndarray, generator: np.random.Generator, error: Callable, n_redrawn: int, n_bins: int
) -> np.ndarray:
    """The error (n_redrawn,) of targets redrawn from probabilities (N, C)."""
    probs = set_probabilities(probs)
    target, weight = set_target(target, probs.shape)
    bins, (_, expected, correct) = _top_label_terms(probs, target, n_bins)
    # votes that are not whole numbers are shares of an unknown number
    counted = target.ndim == 1 or bool((target % 1 == 0).all())
    n_votes = weight.astype(np.int64) if counted else None
    copied = _vote_correlation(bins, correct / weight, expected / weight, n_votes) ** 0.5
    if error in ERRORS_FROM_SUMS:
        return _redrawn_from_sums(bins, (weight, expected), n_votes, copied, generator, error, n_redrawn, n_bins)
    p = probs / probs.sum(1, keepdims=True, dtype=np.float64)
    # a draw on the edge of a class without probability does not fall into it
    edges, last = p.cumsum(1), p.shape[1] - 1 - (p[:, ::-1] > 0).argmax(1)
    rows, errors = np.arange(len(p)), np.empty(n_redrawn)
    for i in range(n_redrawn):
        label = np.minimum((generator.random((len(p), 1)) >= edges).sum(1), last)
        share = (1 - copied) * p
        share[rows, label] += copied
        votes = weight[:, None] * share if n_votes is None else generator.multinomial(n_votes, share)
        errors[i] = error(probs, votes, n_bins)
    return errors


ERRORS_FROM_SUMS = {expected_calibration_error: ece_from_sums, maximum_calibration_error: mce_from_sums}


def _redrawn_from_sums(
    bins: np.ndarray,
    terms: tuple[np.ndarray, np.ndarray],
    n_votes: np.ndarray | None,
    copied: float,
    generator: np.random.Generator,
    error: Callable,
    n_redrawn: int,
    n_bins: int,
) -> np.ndarray:
    """The same of ECE or MCE, for which the votes for the predicted class are enough."""
    weight, expected = terms
    confidence, n = np.minimum(expected / weight, 1), len(bins)
    sums = np.empty((n_redrawn, 3, n_bins))
    sums[:, :2] = _bin_totals(bins, terms, n_bins)
    n_rows = max(1, BLOCK_REDRAWN // n)
    for start in range(0, n_redrawn, n_rows):
        rows = np.arange(min(n_rows, n_redrawn - start))
        share = copied * (generator.random((len(rows), n)) < confidence) + (1 - copied) * confidence
        correct = weight * share if n_votes is None else generator.binomial(n_votes, share)
        places = rows[:, None] * n_bins + bins
        totals = np.bincount(places.ravel(), weights=correct.ravel(), minlength=len(rows) * n_bins)
        sums[start + rows, 2] = totals.reshape(len(rows), n_bins)
    return ERRORS_FROM_SUMS[error](sums.reshape(n_redrawn, -1))


def _vote_correlation(bins: np.ndarray, share: np.ndarray, confidence: np.ndarray, n_votes: np.ndarray | None) -> float:
    """Correlation of two votes on one picture, beyond its confidence: of votes for the predicted class, within bins.

    Args:
        share: (N,) of each picture's votes that the predicted class has.
        n_votes: (N,), None for shares of an unknown number, of which all variance between pictures is theirs.
    """
    bins, alone = bins.astype(np.intp, copy=False), 0.0 if n_votes is None else float((1 / n_votes).mean())
    if alone == 1:
        return 0.0  # single labels show none and need none
    n, rest, correct = _bin_totals(bins, (np.ones(len(bins)), share - confidence, share), bins.max() + 1)
    (squares,) = _bin_totals(bins, ((share - confidence - _mean_or_zero(rest, n)[bins]) ** 2,), bins.max() + 1)
    n, correct, squares = (of_bins[n > 1] for of_bins in (n, correct, squares))
    # of a bin of n pictures with rate m and variance t m (1 - m), t = rho + (1 - rho) / K, the expectations are
    # (n - 1) t m (1 - m) of the squares and (n - t) m (1 - m) of n times rate by one minus rate
    between = (squares * n / (n - 1)).sum()
    largest = (correct * (1 - correct / n) + squares / (n - 1)).sum()
    ratio = between / largest if largest > 0 else 1.0
    return float(np.clip((ratio - alone) / (1 - alone), 0, 1))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(map(repr, choices))}")


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value}: expected a whole number of at least 1")
