import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metric_strategies import predictions

from uncertain_affect import metrics

PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
LABELS = np.array([0, 1, 2])
VOTES = np.array([[8, 1, 1], [0, 10, 0], [3, 3, 4]])

SET_METRICS = [
    metrics.brier_score,
    metrics.expected_calibration_error,
    metrics.maximum_calibration_error,
    metrics.static_calibration_error,
    metrics.adaptive_calibration_error,
    metrics.thresholded_adaptive_calibration_error,
]
TAKING_TARGETS = [
    *SET_METRICS,
    metrics.brier_decomposition,
    metrics.calibration_sums,
    metrics.reliability_curve,
    lambda probs, target: metrics.accuracy_rejection_curve(probs, target, np.zeros(len(PROBS))),
]


def changed(array, row, values):
    array = np.array(array)
    array[row] = values
    return array


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("metric", TAKING_TARGETS)
@pytest.mark.parametrize(
    ("probs", "target", "message"),
    [
        (changed(PROBS, 1, [1.2, -0.1, -0.1]), LABELS, r"probs: row 1 holds -0\.1"),
        (changed(PROBS, 2, [0.3, 0.3, 0.3]), LABELS, r"probs: row 2 sums to 0\.9"),
        (100 * PROBS, LABELS, r"probs: row 0 sums to 100"),
        (PROBS[0], LABELS, r"probs has shape \(3,\)"),
        (PROBS[None], LABELS, r"average the samples"),
        (PROBS, LABELS[:2], r"2 labels for 3 rows"),
        (PROBS, changed(LABELS, 1, 3), r"labels: row 1 holds 3: expected integers from 0 to 2"),
        (PROBS, changed(LABELS, 2, -1), r"labels: row 2 holds -1"),
        (PROBS, VOTES[:, :2], r"target has shape \(3, 2\)"),
        (PROBS, changed(VOTES, 1, 0), r"votes: row 1 has no votes"),
        (PROBS, changed(VOTES, 1, [-1, 2, 0]), r"votes: row 1 holds -1"),
        (PROBS, changed(VOTES.astype(float), 2, [np.nan, 1, 1]), r"votes: row 2 holds nan"),
        (PROBS, changed(VOTES.astype(float), 2, [np.inf, 1, 1]), r"votes: row 2 is not finite"),
    ],
)
def test_bad_input_is_refused_with_its_row(metric, kind, probs, target, message):
    with pytest.raises(ValueError, match=message):
        metric(kind(probs), kind(target))


@pytest.mark.parametrize("metric", SET_METRICS)
@pytest.mark.parametrize("target", [LABELS, VOTES, VOTES / VOTES.sum(1, keepdims=True)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_set_metrics_return_the_same_float_for_arrays_tensors_and_lists(metric, target, dtype):
    probs = PROBS.astype(dtype)
    value = metric(probs, target)
    assert type(value) is float
    assert metric(torch.from_numpy(probs), torch.as_tensor(target)) == value
    assert metric(torch.from_numpy(probs).requires_grad_(), target) == value
    if dtype == "float64":
        assert metric(PROBS.tolist(), target.tolist()) == value


def set_values(probs, target):
    return [
        *(metric(probs, target) for metric in SET_METRICS),
        metrics.adaptive_calibration_error(probs, target, weighting="printed"),
        metrics.thresholded_adaptive_calibration_error(probs, target, reading="ranges"),
    ]


@given(predictions())
def test_votes_equal_one_row_per_annotation(case):
    probs, votes = case
    rows, labels = (np.repeat(index.ravel(), votes.ravel()) for index in np.indices(votes.shape))
    assert set_values(probs, votes) == pytest.approx(set_values(probs[rows], labels), abs=1e-12)


@given(predictions(), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(case, random):
    probs, votes = case
    order = random.sample(range(len(probs)), len(probs))
    for target in (votes, votes / votes.sum(1, keepdims=True), votes.argmax(1)):
        assert set_values(probs[order], target[order]) == pytest.approx(set_values(probs, target), abs=1e-12)


PER_EXAMPLE = {
    "brier": lambda probs: metrics.brier_decomposition(probs[0], np.arange(11) % 5),
    "disagreement": lambda probs: metrics.annotator_disagreement(probs[0]),
    "entropy": metrics.entropy,
    "decomposition": metrics.entropy_decomposition,
    "bernoulli": metrics.bernoulli_entropy_decomposition,
    "divergence": lambda probs: metrics.jensen_shannon_divergence(probs[0], probs[1]),
    "distance": lambda probs: metrics.jensen_shannon_distance(probs[0], probs[1]),
}


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_metrics_of_each_example_keep_kind_dtype_and_device(name, dtype, device):
    probs = np.random.default_rng(0).dirichlet(np.full(5, 0.2), (7, 11)).astype(dtype)
    tensor = torch.from_numpy(probs).to(device)
    arrays, tensors = (PER_EXAMPLE[name](values) for values in (probs, tensor))
    if not isinstance(arrays, tuple):
        arrays, tensors = (arrays,), (tensors,)
    for array, result in zip(arrays, tensors, strict=True):
        assert isinstance(result, torch.Tensor) and isinstance(array, np.ndarray)
        assert (result.dtype, result.device, array.dtype) == (tensor.dtype, tensor.device, probs.dtype)
        np.testing.assert_allclose(result.cpu().numpy(), array, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_of_half_precision_are_refused_whatever_their_sum_is_rounded_to(dtype):
    logits = torch.randn(1000, 9, generator=torch.Generator().manual_seed(0)) * 5
    metrics.entropy(logits.softmax(1))  # rounding in single precision passes
    probs = torch.tensor([0.7002, 0.2001, 0.1002], dtype=dtype).expand(1, 1, 3)  # in half precision, 1.0
    for metric in (metrics.entropy_decomposition, metrics.entropy):
        with pytest.raises(ValueError, match="half precision is too coarse"):
            metric(probs)
    exact = torch.tensor([0.5, 0.25, 0.25], dtype=dtype)
    assert metrics.entropy(exact).item() == pytest.approx(1.5 * np.log(2), rel=1e-2)


@pytest.mark.parametrize(
    ("made", "seems"),
    [
        (lambda z, p: z, "seem to be logits: scipy.special.softmax"),
        (lambda z, p: z + 9, "seem to be logits or counts"),
        (lambda z, p: np.log(p), "seem to be logarithms of probabilities: np.exp"),
        (lambda z, p: 100 * p, "seem to be percentages: x / 100"),
        (lambda z, p: 1 / (1 + np.exp(-z)), "seem to be sigmoids"),
        (lambda z, p: p.T, r"Axis 0 sums to one: np.moveaxis\(x, 0, -1\)"),
        (lambda z, p: np.stack([p, p]).swapaxes(1, 2), r"Axis 1 sums to one: np.moveaxis\(x, 1, -1\)"),
        (lambda z, p: np.round(p, 2), r"take x / x.sum\(-1, keepdims=True\)$"),
        (lambda z, p: p.astype(np.float16), "half precision is too coarse"),
        (lambda z, p: np.where(np.arange(4) == 2, np.inf, p), "Leave out what is not finite"),
    ],
)
def test_what_is_no_distribution_is_called_what_it_seems_to_be(made, seems):
    z = np.random.default_rng(3).normal(0, 1.5, (50, 4))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    with pytest.raises(ValueError, match=seems):
        metrics.entropy(made(z, p))


WITH_NEGATIVE = np.full((3, 4, 2), 0.5)
WITH_NEGATIVE[1, 2] = [1.5, -0.5]
HALF = np.array([[0.5, 0.5], [0.5, 0.5]])
RANKED = (metrics.area_under_risk_coverage, metrics.auroc)
REFUSED = [
    (metrics.adaptive_calibration_error, (HALF, [0, 1], 10, "mass"), "weighting is 'mass': expected one of"),
    (metrics.thresholded_adaptive_calibration_error, (HALF, [0, 1], 10, 0.01, "code"), "reading is 'code'"),
    (metrics.entropy, ([0.5, 0.4],), r"probs sums to 0\.9"),
    (metrics.entropy, ([[1.0]], True), "single class"),
    (metrics.entropy_decomposition, (WITH_NEGATIVE,), r"probs_TNC: row 1, 2 holds -0\.5"),
    (metrics.entropy_decomposition, ([0.5, 0.5],), "samples first"),
    *((metrics.bernoulli_entropy_decomposition, ([[0.5], [bad]],), "between 0 and 1") for bad in (1.2, -0.1, np.nan)),
    *(
        (metrics.bernoulli_entropy_decomposition, (none,), r"expected a non-empty \(T, ...\), samples first")
        for none in (np.empty((0, 3)), 0.5, torch.tensor(0.5))
    ),
    (metrics.jensen_shannon_distance, (HALF, [[0.5, 0.5], [0.6, 0.6]]), r"q: row 1 sums to 1\.2"),
    (metrics.jensen_shannon_distance, (HALF, HALF[0]), "expected the same"),
    (metrics.jensen_shannon_divergence, (HALF, torch.from_numpy(HALF)), "both"),
    (metrics.annotator_disagreement, ([[1, 0], [0, 0]],), "row 1 has no votes"),
    (metrics.annotator_disagreement, ([1, 0],), r"shape \(2,\)"),
    (metrics.annotator_disagreement, ([[1, 1], [0, 1]], True), "row 1 has fewer than 2 votes"),
    (metrics.annotator_disagreement, ([[0.5, 0.5], [0, 1]], True), "row 0 holds fractions"),
    (metrics.split_half_reliability, ([[1, 1], [0, 1]], np.random.default_rng(0)), "row 1 has fewer than 2 votes"),
    (metrics.split_half_reliability, ([[10, 0], [0, 10]], np.random.default_rng(0)), "nothing to correlate"),
    *((metrics.accuracy_at_coverage, (HALF, [0, 1], [1, 2], c), "coverage is") for c in (0, -0.5, 1.01, np.nan)),
    (metrics.accuracy_rejection_curve, (HALF, [0, 1], [1, 2, 3]), "3 uncertainties for 2 rows"),
    (metrics.rejection_order, ([[0.1], [0.2]],), r"shape \(2, 1\)"),
    (metrics.rejection_order, (0.1,), r"shape \(\)"),
    *((metric, ([0.1, 0.2], [1]), r"has shape \(1,\): expected \(2,\), as uncertainty has") for metric in RANKED),
    *((metric, ([0.1, 0.2], [0, 1], [1]), r"weights have shape \(1,\): expected \(..., 2\)") for metric in RANKED),
    *((metric, ([0.1, 0.2], [0, 1], [1, -1]), "none below 0") for metric in RANKED),
    *((metric, ([0.1, 0.2], [0, 1], [[1, 1], [0, 0]]), "not all 0") for metric in RANKED),
    (metrics.auroc, ([0.1, 0.2], [1, 2]), "positive: row 1 is 2, neither True nor False"),
    *((metric, ([0, 1], [0, 1, 2]), r"\(2,\) and labels \(3,\) must have") for metric in (metrics.ccc, metrics.rmse)),
]


@pytest.mark.parametrize(("metric", "arguments", "message"), REFUSED)
def test_other_bad_input_is_named(metric, arguments, message):
    with pytest.raises(ValueError, match=message):
        metric(*arguments)
