from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metric_strategies import distributions
from metric_strategies import votes as vote_counts
from scipy.stats import binned_statistic
from torchmetrics.classification import MulticlassCalibrationError

from uncertain_affect.metrics import (
    adaptive_calibration_error,
    calibration,
    calibration_sums,
    ece_from_sums,
    expected_calibration_error,
    maximum_calibration_error,
    mce_from_sums,
    reliability_curve,
    static_calibration_error,
    thresholded_adaptive_calibration_error,
)

METRICS = [
    expected_calibration_error,
    maximum_calibration_error,
    static_calibration_error,
    adaptive_calibration_error,
    thresholded_adaptive_calibration_error,
]


# --- The oracle: one entry per <annotation, image> pair, plain loops, exact fractions ---


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


def exact_gaps(cells):
    """Per non-empty cell of (confidence, correct) entries: their number, mean confidence, |acc - conf|."""
    for cell in cells:
        if cell:
            n = len(cell)
            confidence, accuracy = sum(p for p, _ in cell) / n, sum(y for _, y in cell) / n
            yield n, confidence, abs(accuracy - confidence)


def even_cells(scored, n_bins, edges, dtype):
    bounds = [Fraction(float(dtype(k / n_bins))) for k in range(n_bins + 1)]
    cells = [[] for _ in range(n_bins)]
    for p, y in scored:
        for b in range(n_bins):
            first, last = b == 0, b == n_bins - 1
            if edges == "left":
                inside = (first or bounds[b] <= p) and (last or p < bounds[b + 1])
            else:
                inside = (first or bounds[b] < p) and (last or p <= bounds[b + 1])
            if inside:
                cells[b].append((p, y))
    assert sum(map(len, cells)) == len(scored)
    return cells


def equal_count_cells(scored, n_ranges):
    values = sorted(p for p, _ in scored)
    starts = [values[r * len(values) // n_ranges] for r in range(1, n_ranges)]
    cells = [[] for _ in range(n_ranges)]
    for p, y in scored:
        cells[sum(start <= p for start in starts)].append((p, y))
    return cells


def top_label(pairs):
    result = []
    for p, y in pairs:
        predicted = p.index(max(p))
        result.append((p[predicted], y[predicted]))
    return result


def one_class(pairs, c):
    return [(p[c], y[c]) for p, y in pairs]


def exact_ece(pairs, n_bins, edges, dtype):
    return sum(n * gap for n, _, gap in exact_gaps(even_cells(top_label(pairs), n_bins, edges, dtype))) / len(pairs)


def exact_mce(pairs, n_bins, edges, dtype):
    return max(gap for _, _, gap in exact_gaps(even_cells(top_label(pairs), n_bins, edges, dtype)))


def exact_sce(pairs, n_bins, edges, dtype):
    n_classes = len(pairs[0][0])
    total = Fraction(0)
    for c in range(n_classes):
        cells = even_cells(one_class(pairs, c), n_bins, edges, dtype)
        total += sum(n * gap for n, _, gap in exact_gaps(cells)) / len(pairs)
    return total / n_classes


def exact_ace(pairs, n_ranges, weighting):
    n_classes = len(pairs[0][0])
    total = Fraction(0)
    for c in range(n_classes):
        gaps = list(exact_gaps(equal_count_cells(one_class(pairs, c), n_ranges)))
        if weighting == "count":
            total += sum(n * gap for n, _, gap in gaps) / len(pairs)
        else:
            total += sum(gap for _, _, gap in gaps) / n_ranges
    return total / n_classes


def exact_tace(pairs, n_ranges, threshold, reading, dtype):
    threshold = Fraction(float(dtype(threshold)))
    n_classes = len(pairs[0][0])
    total = Fraction(0)
    for c in range(n_classes):
        scored = one_class(pairs, c)
        if reading == "samples":
            scored = [(p, y) for p, y in scored if p > threshold]
            if scored:
                gaps = exact_gaps(equal_count_cells(scored, n_ranges))
                total += sum(n * gap for n, _, gap in gaps) / len(scored)
        else:
            gaps = exact_gaps(equal_count_cells(scored, n_ranges))
            total += sum(gap for _, confidence, gap in gaps if confidence > threshold) / n_ranges
    return total / n_classes


# --- The cases ---


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
        "one image has nearly all the votes": (
            [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]],
            [[1, 0], [90, 9], [0, 1]],
        ),
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
N_BINS = [1, 3, 10, 15]


def approx(value):
    return pytest.approx(float(value), rel=0, abs=1e-9)


def test_there_are_fifty_cases():
    assert len(CASES) >= 50


@pytest.mark.parametrize(("probs", "target"), CASES)
def test_ece_mce_and_sce_agree_with_exact_arithmetic(probs, target):
    pairs = entries(probs, target)
    for n_bins, edges in product(N_BINS, ("left", "right")):
        exact = n_bins, edges, probs.dtype.type
        assert expected_calibration_error(probs, target, n_bins, edges) == approx(exact_ece(pairs, *exact))
        assert maximum_calibration_error(probs, target, n_bins, edges) == approx(exact_mce(pairs, *exact))
        assert static_calibration_error(probs, target, n_bins, edges) == approx(exact_sce(pairs, *exact))


@pytest.mark.parametrize(("probs", "target"), CASES)
def test_ace_and_tace_agree_with_exact_arithmetic(probs, target):
    pairs = entries(probs, target)
    for n_ranges in N_BINS:
        for weighting in ("count", "printed"):
            exact = exact_ace(pairs, n_ranges, weighting)
            assert adaptive_calibration_error(probs, target, n_ranges, weighting) == approx(exact)
        for threshold, reading in product((0.01, 0.2), ("samples", "ranges")):
            exact = exact_tace(pairs, n_ranges, threshold, reading, probs.dtype.type)
            value = thresholded_adaptive_calibration_error(probs, target, n_ranges, threshold, reading)
            assert value == approx(exact)


# --- Cases worked by hand ---


def test_hand_worked_top_label_errors():
    probs = np.array([[0.75, 0.25], [0.75, 0.25], [0.05, 0.95], [0.95, 0.05]])
    labels = np.array([0, 1, 1, 0])
    # Bin .7: accuracy 1/2, confidence .75; bin .9: accuracy 1, confidence .95.
    assert expected_calibration_error(probs, labels) == pytest.approx((0.25 + 0.05) / 2)
    assert maximum_calibration_error(probs, labels) == pytest.approx(0.25)
    curve = reliability_curve(probs, labels)
    assert len(curve) == 10
    filled = curve.dropna()
    assert filled[["lower", "upper", "weight"]].to_numpy().tolist() == [[0.7, 0.8, 2], [0.9, 1, 2]]
    np.testing.assert_allclose(filled[["confidence", "accuracy"]], [[0.75, 0.5], [0.95, 1]])
    assert (curve.loc[curve["weight"] == 0, ["confidence", "accuracy"]].isna()).all(axis=None)


def test_hand_worked_adaptive_errors():
    first = np.array([0.0, 0.25, 0.5, 0.75])
    probs, labels = np.stack([first, 1 - first], 1), np.array([1, 0, 0, 0])
    # Two ranges of the first class: (0, 1/4) holds 1 of 2, confidence 1/8; (1/2, 3/4) holds 2 of 2, 5/8. The
    # second class mirrors them.
    assert adaptive_calibration_error(probs, labels, 2) == (3 / 8 + 3 / 8) / 2
    # First class above .3: two ranges of one, gaps 1/2 and 1/4. Second class above .3 (1/2, 3/4, 1): pair
    # floor(3/2) starts the upper range, so 1/2 alone, gap 1/2, and (3/4, 1) with 1 of 2, gap 3/8.
    tace = thresholded_adaptive_calibration_error(probs, labels, 2, threshold=0.3)
    assert tace == pytest.approx(((1 / 2 + 1 / 4) / 2 + (1 / 2 + 2 * 3 / 8) / 3) / 2)
    # Mean confidence above .3: the upper range of the first class (5/8), both of the second (3/8, 7/8).
    tace = thresholded_adaptive_calibration_error(probs, labels, 2, threshold=0.3, reading="ranges")
    assert tace == pytest.approx((3 / 8 + 3 / 8 + 3 / 8) / 2 / 2)


def test_an_edge_belongs_to_the_bin_that_was_asked_for():
    probs = np.array([[0.7, 0.3]])
    for dtype in (np.float32, np.float64):
        assert reliability_curve(probs.astype(dtype), [0])["weight"].to_numpy().nonzero()[0] == [7]
        right = reliability_curve(probs.astype(dtype), [0], edges="right")
        assert right["weight"].to_numpy().nonzero()[0] == [6]
    certain = reliability_curve(np.array([[1.0, 0.0]]), [0])
    assert certain["weight"].to_numpy().nonzero()[0] == [9]


def test_perfect_calibration_is_zero():
    # Proportions predicted exactly: every class is right as often as its probability says.
    votes = np.random.default_rng(0).multinomial(10, np.ones(5) / 5, 50)
    for metric in METRICS:
        assert metric(votes / 10, votes) == pytest.approx(0, abs=1e-15)


# --- Independent libraries ---


@pytest.mark.parametrize(("norm", "ours"), [("l1", expected_calibration_error), ("max", maximum_calibration_error)])
@pytest.mark.parametrize("n_bins", [10, 15])
def test_agrees_with_torchmetrics_below_confidence_one(norm, ours, n_bins):
    generator = torch.Generator().manual_seed(0)
    probs = (2 * torch.randn(2000, 5, generator=generator)).softmax(1)
    labels = torch.randint(5, (2000,), generator=generator)
    assert probs.max() < 1
    theirs = MulticlassCalibrationError(num_classes=5, n_bins=n_bins, norm=norm)(probs, labels)
    assert ours(probs, labels, n_bins) == pytest.approx(float(theirs), abs=1e-5)


def test_torchmetrics_puts_confidence_one_in_a_bin_of_its_own():
    probs, labels = torch.tensor([[1.0, 0.0], [0.9, 0.1]]), torch.tensor([1, 0])
    # Together in [.9, 1]: accuracy 1/2, confidence .95. Apart: gaps 1 and .1.
    assert expected_calibration_error(probs, labels) == pytest.approx(0.45)
    theirs = MulticlassCalibrationError(num_classes=2, n_bins=10)(probs, labels)
    assert float(theirs) == pytest.approx((1 + 0.1) / 2)


def test_reliability_curve_agrees_with_scipy():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.full(4, 0.2), 1000)
    labels = generator.integers(0, 4, 1000)
    confidence, correct = probs.max(1), probs.argmax(1) == labels
    bins = np.arange(11) / 10
    curve = reliability_curve(probs, labels)
    for column, values in (("confidence", confidence), ("accuracy", correct)):
        theirs = binned_statistic(confidence, values.astype(float), "mean", bins).statistic
        np.testing.assert_allclose(curve[column], theirs, atol=1e-12)
    theirs = binned_statistic(confidence, None, "count", bins).statistic
    np.testing.assert_array_equal(curve["weight"], theirs)


def test_ace_agrees_with_array_split_where_ranges_come_out_even():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(3), 200)
    labels = generator.integers(0, 3, 200)
    gaps = []
    for c in range(3):
        for part in np.array_split(np.argsort(probs[:, c]), 10):
            gaps.append(abs((labels[part] == c).mean() - probs[part, c].mean()))
    for weighting in ("count", "printed"):
        assert adaptive_calibration_error(probs, labels, 10, weighting) == pytest.approx(np.mean(gaps))


# --- Properties ---


@st.composite
def predictions(draw):
    """Probabilities (N, C) and votes (N, C)."""
    votes = draw(vote_counts())
    return draw(distributions(votes.shape)), votes


def all_values(probs, target):
    return [
        *(metric(probs, target) for metric in METRICS),
        adaptive_calibration_error(probs, target, weighting="printed"),
        thresholded_adaptive_calibration_error(probs, target, reading="ranges"),
    ]


@given(predictions())
def test_votes_equal_one_row_per_annotation(case):
    probs, votes = case
    rows, labels = (np.repeat(index.ravel(), votes.ravel()) for index in np.indices(votes.shape))
    assert all_values(probs, votes) == pytest.approx(all_values(probs[rows], labels), abs=1e-12)


@given(predictions(), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(case, random):
    probs, votes = case
    order = random.sample(range(len(probs)), len(probs))
    for target in (votes, votes / votes.sum(1, keepdims=True), votes.argmax(1)):
        assert all_values(probs[order], target[order]) == pytest.approx(all_values(probs, target), abs=1e-12)


@given(predictions())
def test_errors_are_shares_and_the_largest_gap_bounds_the_mean(case):
    values = all_values(*case)
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    assert values[0] <= values[1] + 1e-12


@given(predictions())
def test_sums_yield_the_errors_of_any_sample(case):
    probs, votes = case
    sums = calibration_sums(probs, votes)
    assert sums.shape == (len(probs), 30)
    # Resampling as a matrix product: how often each example is drawn, by the sums.
    drawn = np.stack([np.ones(len(probs), dtype=int), np.arange(len(probs)) % 3 + 1])
    resampled = drawn @ sums
    for row, counts in enumerate(drawn):
        again = np.repeat(probs, counts, axis=0), np.repeat(votes, counts, axis=0)
        assert ece_from_sums(resampled)[row] == pytest.approx(expected_calibration_error(*again), abs=1e-12)
        assert mce_from_sums(resampled)[row] == pytest.approx(maximum_calibration_error(*again), abs=1e-12)


# --- TACE is not ACE ---


def test_tace_differs_from_ace_in_both_readings():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.full(9, 0.1), 500)
    votes = generator.multinomial(10, probs)
    ace = adaptive_calibration_error(probs, votes)
    samples = thresholded_adaptive_calibration_error(probs, votes)
    ranges = thresholded_adaptive_calibration_error(probs, votes, reading="ranges")
    # Leaving out what is close to zero, and so nearly right, raises the mean over what remains.
    assert samples > 1.2 * ace
    assert ranges < adaptive_calibration_error(probs, votes, weighting="printed")


def test_tace_without_a_threshold_is_ace():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 100)
    labels = probs.argmax(1)
    ace, printed = (adaptive_calibration_error(probs, labels, weighting=w) for w in ("count", "printed"))
    assert thresholded_adaptive_calibration_error(probs, labels, threshold=0) == ace
    assert thresholded_adaptive_calibration_error(probs, labels, threshold=0, reading="ranges") == printed


def test_tace_of_nothing_above_the_threshold_is_zero():
    assert thresholded_adaptive_calibration_error(np.full((3, 4), 0.25), [0, 1, 2], threshold=0.3) == 0


# --- Bad choices ---


@pytest.mark.parametrize("number", [0, -1, 2.5])
def test_a_bad_number_of_bins_is_refused(number):
    for metric in METRICS:
        with pytest.raises(ValueError, match=f"is {number}: expected a whole number"):
            metric(np.array([[0.5, 0.5]]), [0], number)


def test_unknown_options_are_refused():
    probs, labels = np.array([[0.5, 0.5]]), [0]
    with pytest.raises(ValueError, match="edges is 'both'"):
        expected_calibration_error(probs, labels, edges="both")
    with pytest.raises(ValueError, match="weighting is 'mass'"):
        adaptive_calibration_error(probs, labels, weighting="mass")
    with pytest.raises(ValueError, match="reading is 'code'"):
        thresholded_adaptive_calibration_error(probs, labels, reading="code")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("votes", [False, True])
def test_how_bins_and_classes_are_found_changes_no_bit(monkeypatch, dtype, votes):
    # ties, values on the edges, and several blocks with a rest
    rng = np.random.default_rng(0)
    counts = rng.multinomial(20, [0.3, 0.3, 0.2, 0.2], size=1003)
    probs = (counts / 20).astype(dtype)
    target = rng.integers(1, 4, size=probs.shape) if votes else rng.integers(4, size=len(probs))

    def errors():
        return [
            *calibration_sums(probs, target).sum(0),
            *(expected_calibration_error(probs, target, edges=edges) for edges in ("left", "right")),
            static_calibration_error(probs, target),
            adaptive_calibration_error(probs, target),
            thresholded_adaptive_calibration_error(probs, target, threshold=0.05),
        ]

    monkeypatch.setattr(calibration, "BLOCK", 100)
    in_blocks = errors()
    monkeypatch.setattr(calibration, "FEW", 0)
    assert in_blocks == errors()


def test_labels_split_into_the_ranges_of_one_vote_each():
    # labels take the boundaries of a partition, votes those of cumulated weights: two of each leave them in place
    rng = np.random.default_rng(1)
    probs = rng.multinomial(30, [0.2, 0.3, 0.5], size=397) / 30
    labels = rng.integers(3, size=397)
    for n_ranges in (1, 7, 10, 500):
        twice = adaptive_calibration_error(probs, 2 * np.eye(3)[labels], n_ranges)
        assert adaptive_calibration_error(probs, labels, n_ranges) == pytest.approx(twice, abs=1e-15)


def test_sums_of_no_pair_have_no_error():
    none = np.zeros((2, 9))
    none[1] = [1, 0, 0, 0.75, 0, 0, 1, 0, 0]
    for error in (ece_from_sums, mce_from_sums):
        np.testing.assert_allclose(error(none), [np.nan, 0.25])
        assert np.isnan(error(none[0]))


def test_there_are_ten_bins_and_ten_ranges_unless_others_are_asked_for():
    rng = np.random.default_rng(3)
    probs, labels = rng.dirichlet(np.ones(3), 200), rng.integers(3, size=200)
    for error in (*METRICS, reliability_curve, calibration_sums):
        ten, eleven, said = (np.asarray(error(probs, labels, *n), float) for n in ((10,), (11,), ()))
        np.testing.assert_array_equal(said, ten)
        assert said.shape != eleven.shape or (said != eleven).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boundaries_are_those_of_a_sort(dtype):
    rng = np.random.default_rng(2)
    ties, near_zero = rng.integers(21, size=1000) / 20, rng.uniform(size=1000) ** 9
    for probs in (ties, near_zero, rng.uniform(size=1000), np.zeros(1000), np.array([1.0, 1.0001, 0.0, 0.5] * 250)):
        probs = probs.astype(dtype)
        places = np.array([0, 1, 1, 250, 500, 998, 999])
        np.testing.assert_array_equal(calibration._in_order(probs, places), np.sort(probs)[places])
