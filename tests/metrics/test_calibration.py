from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from metric_strategies import predictions
from scipy.stats import binned_statistic
from torchmetrics.classification import MulticlassCalibrationError

from uncertain_affect import metrics

ece, mce, sce = (
    metrics.expected_calibration_error,
    metrics.maximum_calibration_error,
    metrics.static_calibration_error,
)
ace, tace = metrics.adaptive_calibration_error, metrics.thresholded_adaptive_calibration_error
METRICS = (ece, mce, sce, ace, tace)


def entries(probs, target):
    """Pairs as (probabilities of the image, indicator of the annotated class), all of equal weight."""
    target = np.asarray(target)
    n_classes = probs.shape[1]
    result = []
    for i, row in enumerate(probs):
        p = [Fraction(float(value)) for value in row]
        if target.ndim == 1:
            result.append((p, [Fraction(int(c == target[i])) for c in range(n_classes)]))
        elif np.issubdtype(target.dtype, np.integer):
            for k, count in enumerate(target[i]):
                result += [(p, [Fraction(int(c == k)) for c in range(n_classes)])] * int(count)
        else:  # proportions: one entry that is right in part
            v = [Fraction(float(value)) for value in target[i]]
            result.append((p, [value / sum(v) for value in v]))
    return result


def gaps(starts, scored):
    """Number, mean confidence and |acc - conf| of (confidence, correct) entries, by how many starts they reach."""
    cells = [[] for _ in range(len(starts) + 1)]
    for p, y in scored:
        cells[sum(start <= p for start in starts)].append((p, y))
    for cell in filter(None, cells):
        confidence, accuracy = (sum(values) / len(cell) for values in zip(*cell, strict=True))
        yield len(cell), confidence, abs(accuracy - confidence)


def mean_gap(found):
    found = list(found)
    return sum(n * gap for n, _, gap in found) / sum(n for n, *_ in found) if found else 0


def equal_counts(scored, n):
    values = sorted(p for p, _ in scored)
    return list(gaps([values[r * len(values) // n] for r in range(1, n)], scored)) if scored else []


def exact_errors(probs, target, n, threshold):
    """ECE, MCE; the means over classes of SCE, ACE by count and as printed, TACE of samples and of ranges."""
    dtype, pairs = probs.dtype.type, entries(probs, target)
    edges, epsilon = [Fraction(float(dtype(k / n))) for k in range(1, n)], Fraction(float(dtype(threshold)))
    top = list(gaps(edges, [(max(p), y[p.index(max(p))]) for p, y in pairs]))
    classes = []
    for c in range(probs.shape[1]):
        scored = [(p[c], y[c]) for p, y in pairs]
        ranges, above = equal_counts(scored, n), equal_counts([(p, y) for p, y in scored if p > epsilon], n)
        classes.append(
            [
                mean_gap(gaps(edges, scored)),
                mean_gap(ranges),
                sum(gap for *_, gap in ranges) / n,
                mean_gap(above),
                sum(gap for _, confidence, gap in ranges if confidence > epsilon) / n,
            ]
        )
    means = (sum(errors) / len(errors) for errors in zip(*classes, strict=True))
    return [mean_gap(top), max(gap for *_, gap in top), *means]


def hand_made_cases():
    on_edges = np.array([[k / 10, 1 - k / 10] for k in range(11)])
    binary_edges = np.array([[0.1 * k, 1 - 0.1 * k] for k in range(11)])  # 0.1 * 3 is not 3 / 10
    alternating = np.arange(11) % 2
    cases = {
        "one example, certain and right": ([[0, 1.0, 0]], [1]),
        "one example, certain and wrong": ([[0, 1.0, 0]], [2]),
        "one class": ([[1.0], [1.0]], [0, 0]),
        "all classes tie": (np.full((7, 4), 0.25), [0, 1, 2, 3, 0, 0, 1]),
        "two classes tie on an edge": (np.full((9, 2), 0.5), [0, 1, 1, 1, 0, 0, 1, 1, 1]),
        "a third each": (np.full((5, 3), 1 / 3), [0, 1, 2, 2, 2]),
        "k / 10": (on_edges, alternating),
        "0.1 * k": (binary_edges, alternating),
        "next to the edges": (
            np.concatenate([np.nextafter(on_edges, 0), np.nextafter(on_edges, 1)]).clip(0),
            np.tile(alternating, 2),
        ),
        "above one by rounding": ([[1.00001, 0], [0.99999, 0], [1.0, 0]], [0, 1, 0]),
        "fewer examples than bins": ([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], [0, 0, 1]),
        "a class without probability": ([[0.6, 0.4, 0], [0.3, 0.7, 0], [0.5, 0.5, 0]], [2, 1, 2]),
        "a class never annotated": ([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], [[3, 7, 0], [10, 0, 0]]),
        "every probability at the threshold": (np.tile([0.01, 0.99], (10, 1)), [0] * 3 + [1] * 7),
        "a class at the threshold but once": ([[0.01, 0.99]] * 9 + [[0.02, 0.98]], [0] * 3 + [1] * 7),
        "a tie across every boundary": ([[0.2, 0.8]] * 18 + [[0.1, 0.9], [0.3, 0.7]], [0, 1] * 10),
        "one image has nearly all the votes": ([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [[1, 0], [90, 9], [0, 1]]),
        "votes by the hundred": ([[0.9, 0.1], [0.2, 0.8]], [[100, 17], [31, 69]]),
        "proportions": ([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [[0.8, 0.2], [1 / 3, 2 / 3], [0.1, 0.9]]),
    }
    for name, (probs, target) in cases.items():
        yield pytest.param(np.array(probs, dtype=float), np.array(target), id=name)
    for name in ("k / 10", "0.1 * k", "next to the edges", "every probability at the threshold"):
        probs, target = cases[name]
        yield pytest.param(np.array(probs, dtype=np.float32), np.array(target), id=f"{name}, float32")


def drawn_cases(n_cases=48):
    """Coarse fractions, so that edges, ties, zeros and ones are the rule."""
    for seed in range(n_cases):
        generator = np.random.default_rng(seed)
        n, n_classes = generator.integers(1, 30), generator.integers(2, 7)
        denominator = generator.choice([1, 2, 4, 5, 10, 20, 100])
        counts = generator.multinomial(denominator, generator.dirichlet(np.ones(n_classes)), n)
        probs = (counts / denominator).astype([np.float64, np.float32][seed % 2])
        votes = generator.multinomial(10, generator.dirichlet(np.ones(n_classes)), n)
        if seed % 3 == 1:  # unequal numbers of votes, at least one each
            votes = generator.binomial(votes, 0.6) + (np.arange(n_classes) == 0)
        target = [generator.integers(0, n_classes, n), votes, votes / votes.sum(1, keepdims=True)][seed % 3]
        yield pytest.param(probs, target, id=f"seed {seed}")


CASES = [*hand_made_cases(), *drawn_cases()]


@pytest.mark.parametrize(("probs", "target"), CASES)
def test_errors_agree_with_exact_arithmetic(probs, target):
    for n, threshold in product((1, 3, 10, 15), (0.01, 0.2)):
        errors = [
            *(metric(probs, target, n) for metric in (ece, mce, sce)),
            *(ace(probs, target, n, weighting) for weighting in ("count", "printed")),
            *(tace(probs, target, n, threshold, reading) for reading in ("samples", "ranges")),
        ]
        exact = [float(error) for error in exact_errors(probs, target, n, threshold)]
        assert errors == pytest.approx(exact, rel=0, abs=1e-9)


def test_hand_worked_top_label_errors():
    probs = np.array([[0.75, 0.25], [0.75, 0.25], [0.05, 0.95], [0.95, 0.05]])
    labels = np.array([0, 1, 1, 0])
    # Bin .7: accuracy 1/2, confidence .75; bin .9: accuracy 1, confidence .95.
    assert ece(probs, labels) == pytest.approx((0.25 + 0.05) / 2)
    assert mce(probs, labels) == pytest.approx(0.25)
    curve = metrics.reliability_curve(probs, labels)
    assert len(curve) == 10 and curve["weight"].sum() == 4
    expected = [[0.7, 0.8, 0.75, 0.5, 2], [0.9, 1, 0.95, 1, 2]]
    np.testing.assert_allclose(curve[["lower", "upper", "confidence", "accuracy", "weight"]].dropna(), expected)


def test_hand_worked_adaptive_errors():
    first = np.array([0.0, 0.25, 0.5, 0.75])
    probs, labels = np.stack([first, 1 - first], 1), np.array([1, 0, 0, 0])
    # Two ranges of the first class: (0, 1/4) holds 1 of 2, confidence 1/8; (1/2, 3/4) holds 2 of 2, 5/8. The
    # second class mirrors them.
    assert ace(probs, labels, 2) == (3 / 8 + 3 / 8) / 2
    # First class above .3: two ranges of one, gaps 1/2 and 1/4. Second class above .3 (1/2, 3/4, 1): pair
    # floor(3/2) starts the upper range, so 1/2 alone, gap 1/2, and (3/4, 1) with 1 of 2, gap 3/8.
    of_samples = ((1 / 2 + 1 / 4) / 2 + (1 / 2 + 2 * 3 / 8) / 3) / 2
    assert tace(probs, labels, 2, threshold=0.3) == pytest.approx(of_samples)
    # Mean confidence above .3: the upper range of the first class (5/8), both of the second (3/8, 7/8).
    of_ranges = (3 / 8 + 3 / 8 + 3 / 8) / 2 / 2
    assert tace(probs, labels, 2, threshold=0.3, reading="ranges") == pytest.approx(of_ranges)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_edge_belongs_to_the_bin_above_it_and_one_to_the_last(dtype):
    for confidence, its_bin in ((0.7, 7), (1.0, 9)):
        curve = metrics.reliability_curve(np.array([[confidence, 1 - confidence]], dtype=dtype), [0])
        assert curve["weight"].to_numpy().nonzero()[0] == [its_bin]


@pytest.mark.parametrize(("norm", "ours"), [("l1", ece), ("max", mce)])
@pytest.mark.parametrize("n_bins", [10, 15])
def test_agrees_with_torchmetrics_below_confidence_one(norm, ours, n_bins):
    generator = torch.Generator().manual_seed(0)
    probs = (2 * torch.randn(2000, 5, generator=generator)).softmax(1)
    labels = torch.randint(5, (2000,), generator=generator)
    assert probs.max() < 1
    theirs = MulticlassCalibrationError(num_classes=5, n_bins=n_bins, norm=norm)(probs, labels)
    assert ours(probs, labels, n_bins) == pytest.approx(float(theirs), abs=1e-5)


def test_reliability_curve_agrees_with_scipy():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.full(4, 0.2), 1000)
    labels = generator.integers(0, 4, 1000)
    confidence, correct = probs.max(1), probs.argmax(1) == labels
    bins = np.arange(11) / 10
    curve = metrics.reliability_curve(probs, labels)
    for column, values in (("confidence", confidence), ("accuracy", correct)):
        theirs = binned_statistic(confidence, values.astype(float), "mean", bins).statistic
        np.testing.assert_allclose(curve[column], theirs, atol=1e-12)
    theirs = binned_statistic(confidence, None, "count", bins).statistic
    np.testing.assert_array_equal(curve["weight"], theirs)


@given(predictions())
def test_errors_are_shares_and_the_largest_gap_bounds_the_mean(case):
    values = [metric(*case) for metric in METRICS]
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    assert values[0] <= values[1] + 1e-12


@given(predictions())
def test_sums_yield_the_errors_of_any_sample(case):
    probs, votes = case
    sums = metrics.calibration_sums(probs, votes)
    assert sums.shape == (len(probs), 30)
    # Resampling as a matrix product: how often each example is drawn, by the sums.
    drawn = np.stack([np.ones(len(probs), dtype=int), np.arange(len(probs)) % 3 + 1])
    resampled = drawn @ sums
    for row, counts in enumerate(drawn):
        again = np.repeat(probs, counts, axis=0), np.repeat(votes, counts, axis=0)
        assert metrics.ece_from_sums(resampled)[row] == pytest.approx(ece(*again), abs=1e-12)
        assert metrics.mce_from_sums(resampled)[row] == pytest.approx(mce(*again), abs=1e-12)


def test_tace_without_a_threshold_is_ace():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 100)
    labels = probs.argmax(1)
    assert tace(probs, labels, threshold=0) == ace(probs, labels)
    assert tace(probs, labels, threshold=0, reading="ranges") == ace(probs, labels, weighting="printed")


@pytest.mark.parametrize("number", [0, -1, 2.5])
def test_a_bad_number_of_bins_is_refused(number):
    for metric in METRICS:
        with pytest.raises(ValueError, match=f"is {number}: expected a whole number"):
            metric(np.array([[0.5, 0.5]]), [0], number)


def test_sums_of_no_pair_have_no_error():
    none = np.zeros((2, 9))
    none[1] = [1, 0, 0, 0.75, 0, 0, 1, 0, 0]
    for error in (metrics.ece_from_sums, metrics.mce_from_sums):
        np.testing.assert_allclose(error(none), [np.nan, 0.25])
        assert np.isnan(error(none[0]))


def test_there_are_ten_bins_and_ten_ranges_unless_others_are_asked_for():
    rng = np.random.default_rng(3)
    probs, labels = rng.dirichlet(np.ones(3), 200), rng.integers(3, size=200)
    for error in (*METRICS, metrics.reliability_curve, metrics.calibration_sums):
        ten, eleven, default = (np.asarray(error(probs, labels, *n), float) for n in ((10,), (11,), ()))
        np.testing.assert_array_equal(default, ten)
        assert default.shape != eleven.shape or (default != eleven).any()


# --- what a calibrated predictor would score ------------------------------------------------------------------

reference = metrics.calibrated_reference


def calibrated(n, n_votes, rho, rng, n_classes=5):
    """Probabilities (n, 5), and votes of pictures whose own shares vary around them; labels where there is one vote."""
    probs = rng.dirichlet(np.ones(n_classes), n)
    shares = rng.gamma(np.maximum(probs * (1 - rho) / rho, 1e-9)) if rho else probs
    votes = rng.multinomial(n_votes, shares / shares.sum(1, keepdims=True))
    return probs, votes.argmax(1) if n_votes == 1 else votes


def test_the_reference_by_hand():
    """One example of confidence .8: its redrawn label is right in four of five cases."""
    probs, rng = np.array([[0.8, 0.2]]), np.random.default_rng(0)
    expected = 0.8 * 0.2 + 0.2 * 0.8
    for error in (ece, mce, sce):
        found = reference(probs, [0], rng, error, n_redrawn=4000)
        assert found.mean == pytest.approx(expected, abs=0.02)
        assert found.high == pytest.approx(0.8)
    # two of them in a bin: a gap of .2, .3 or .8
    found = reference(np.repeat(probs, 2, 0), [0, 0], rng, n_redrawn=4000)
    assert found.mean == pytest.approx(0.64 * 0.2 + 0.32 * 0.3 + 0.04 * 0.8, abs=0.02)
    # nothing is left to chance where all is certain
    assert reference(np.array([[1.0, 0], [0, 1]]), [0, 0], rng) == (0, 0)


@pytest.mark.parametrize(("n_votes", "rho"), [(1, 0), (10, 0), (10, 1 / 3), (10, 0.8)])
def test_errors_of_calibrated_predictors_are_those_of_their_references(n_votes, rho):
    rng, rows = np.random.default_rng(1), []
    for _ in range(150):
        case = calibrated(400, n_votes, rho, rng)
        rows.append((ece(*case), *reference(*case, rng, n_redrawn=150)))
    error, mean, high = np.transpose(rows)
    assert error.mean() == pytest.approx(mean.mean(), abs=3 * error.std() / np.sqrt(len(rows)))
    assert 0 <= (error > high).mean() <= 0.07


def test_votes_are_redrawn_with_the_variance_between_pictures_that_they_have():
    """As single labels of each vote they would vary too little, as one label a picture too much."""
    rng = np.random.default_rng(2)
    probs, votes = calibrated(2000, 10, 1 / 3, rng)
    top, rows = probs.argmax(1), np.arange(2000)
    residual = votes[rows, top] / 10 - probs.max(1)
    found = reference(probs, votes, rng).mean
    every_vote = reference(np.repeat(probs, 10, 0), np.repeat(top, 10), rng).mean
    one_a_picture = reference(probs, top, rng).mean
    assert found / one_a_picture == pytest.approx((1 / 3 + 2 / 3 / 10) ** 0.5, rel=0.06)
    assert every_vote / one_a_picture == pytest.approx(0.1**0.5, rel=0.06)
    redrawn = []
    reference(probs, votes, rng, lambda _, drawn, __: redrawn.append(drawn) or 0.0, n_redrawn=20)
    again = np.array([drawn[rows, top] / 10 - probs.max(1) for drawn in redrawn])
    assert again.var() == pytest.approx(residual.var(), rel=0.05)
    assert again.mean() == pytest.approx(0, abs=0.01)
    assert all((drawn.sum(1) == 10).all() for drawn in redrawn)
    shares = reference(probs, votes / 10, rng)
    assert shares == pytest.approx(reference(probs, votes, rng), rel=0.1)


def test_an_over_confident_predictor_lies_far_above_and_its_votes_are_no_more_alike_for_it():
    rng = np.random.default_rng(3)
    probs, votes = calibrated(400, 10, 0, rng)
    sharp = probs**3 / (probs**3).sum(1, keepdims=True)
    for target, low in ((votes, 10), (calibrated(400, 1, 0, np.random.default_rng(3))[1], 3)):
        found = reference(sharp, target, rng)
        assert ece(sharp, target) > low * found.high
        assert found.mean < reference(probs, target, rng).mean * 1.1


@given(predictions())
def test_a_reference_is_a_share_and_the_fast_way_agrees_with_the_plain_one(case):
    rng = np.random.default_rng(0)
    for error in (ece, mce):
        fast, plain = reference(*case, rng, error, 400), reference(*case, rng, lambda *a, e=error: e(*a), 400)
        assert all(-1e-12 <= value <= 1 + 1e-12 for value in (*fast, *plain))
        assert fast.mean == pytest.approx(plain.mean, abs=0.12)
    for error in (sce, ace, tace):
        assert 0 <= reference(*case, rng, error, 5).mean <= 1 + 1e-12


def test_what_a_reference_needs_of_its_target_is_how_many_votes_and_how_alike():
    probs, labels = calibrated(50, 1, 0, np.random.default_rng(0))
    one, other = (reference(probs, target, np.random.default_rng(5)) for target in (labels, labels * 0))
    assert one == other == reference(torch.tensor(probs), torch.tensor(labels), np.random.default_rng(5))
    assert one == reference(probs, np.eye(5)[labels], np.random.default_rng(5))
    assert one != reference(probs, labels, np.random.default_rng(6))
    for n in (0, -1, 1.5):
        with pytest.raises(ValueError, match="n_redrawn is"):
            reference(probs, labels, np.random.default_rng(0), n_redrawn=n)
    with pytest.raises(ValueError, match="labels: row 0 holds 7"):
        reference(probs, labels * 0 + 7, np.random.default_rng(0))


def test_seeds_on_one_target_share_its_chance_and_on_their_own_average_it_out():
    rng = np.random.default_rng(4)
    probs, labels = calibrated(300, 1, 0, rng)
    alone, twice = reference(probs, labels, rng), np.stack([probs] * 8)
    for same in (labels, np.stack([labels] * 8)):
        assert reference(twice, same, rng) == pytest.approx(alone, rel=0.1)
    own = np.stack([rng.permutation(labels) for _ in range(8)])
    apart = reference(twice, own, rng)
    assert apart.mean == pytest.approx(alone.mean, rel=0.05)
    assert apart.high - apart.mean == pytest.approx((alone.high - alone.mean) / 8**0.5, rel=0.25)
