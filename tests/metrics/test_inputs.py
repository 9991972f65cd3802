import numpy as np
import pytest
import torch

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
        (changed(PROBS, 2, np.nan), LABELS, r"probs: row 2 holds nan"),
        (changed(PROBS, 0, [np.inf, 0, 0]), LABELS, r"probs: row 0 sums to inf"),
        (changed(PROBS, 2, [0.3, 0.3, 0.3]), LABELS, r"probs: row 2 sums to 0\.9"),
        (100 * PROBS, LABELS, r"probs: row 0 sums to 100"),
        (PROBS[0], LABELS, r"probs has shape \(3,\)"),
        (PROBS[None], LABELS, r"average the samples"),
        (PROBS[:0], LABELS[:0], r"expected a non-empty"),
        (PROBS, LABELS[:2], r"2 labels for 3 rows"),
        (PROBS, changed(LABELS, 1, 3), r"labels: row 1 holds 3: expected integers from 0 to 2"),
        (PROBS, changed(LABELS, 2, -1), r"labels: row 2 holds -1"),
        (PROBS, LABELS.astype(float), r"labels are float64: expected integers"),
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


@pytest.mark.parametrize("metric", SET_METRICS)
def test_one_vote_each_equals_labels(metric):
    assert metric(PROBS, np.eye(3)[LABELS]) == metric(PROBS, LABELS)


def test_float32_rounding_of_a_softmax_passes_and_half_precision_does_not():
    logits = torch.randn(1000, 9, generator=torch.Generator().manual_seed(0)) * 5
    labels = torch.zeros(1000, dtype=torch.long)
    metrics.expected_calibration_error(logits.softmax(1), labels)
    with pytest.raises(ValueError, match="sums to"):
        metrics.expected_calibration_error(logits.softmax(1).bfloat16(), labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_of_half_precision_are_refused_whatever_their_sum_is_rounded_to(dtype):
    probs = torch.tensor([0.7002, 0.2001, 0.1002], dtype=dtype).expand(1, 1, 3)  # in half precision, 1.0
    with pytest.raises(ValueError, match="which half precision is too coarse for"):
        metrics.entropy_decomposition(probs)
    with pytest.raises(ValueError, match="which half precision is too coarse for"):
        metrics.entropy(probs)
    exact = torch.tensor([0.5, 0.25, 0.25], dtype=dtype)
    assert metrics.entropy(exact).item() == pytest.approx(1.5 * np.log(2), rel=1e-2)
