import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.metrics import accuracy_at_coverage, accuracy_rejection_curve, rejection_order

PROBS = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])  # the last is a tie: class 0
LABELS = np.array([0, 1, 1, 0])
UNCERTAINTY = np.array([0.1, 0.4, 0.3, 0.2])


def test_hand_worked_curve():
    curve = accuracy_rejection_curve(PROBS, LABELS, UNCERTAINTY)
    assert list(curve.columns) == ["kept", "coverage", "correct", "accuracy"]
    assert curve["kept"].tolist() == [4, 3, 2, 1]
    assert curve["coverage"].tolist() == [1, 0.75, 0.5, 0.25]
    assert curve["correct"].tolist() == [3, 3, 2, 1]
    assert curve["accuracy"].tolist() == [0.75, 1, 1, 1]


def test_three_quarters_of_the_test_images_are_2684():
    # 2,038 of 3,579 correct; of the 2,684 kept, 1,677: the row of Table 3 with low aleatoric uncertainty.
    correct = np.zeros(3579, dtype=bool)
    correct[:1677] = True
    correct[2684 : 2684 + 2038 - 1677] = True
    probs = np.tile([0.8, 0.2], (3579, 1))
    labels = (~correct).astype(int)
    rank = np.arange(3579.0)
    assert accuracy_at_coverage(probs, labels, rank, 0.75) == 1677 / 2684
    assert f"{accuracy_at_coverage(probs, labels, rank, 0.75):.3%}" == "62.481%"
    assert f"{accuracy_at_coverage(probs, labels, rank, 1):.3%}" == "56.943%"


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20), st.floats(0.01, 1))
def test_accuracy_at_coverage_is_a_point_of_the_curve(rows, coverage):
    uncertainty = np.array([value for value, _ in rows])
    labels = np.array([int(wrong) for _, wrong in rows])
    probs = np.tile([0.7, 0.3], (len(rows), 1))
    kept = int(coverage * len(rows))
    if kept == 0:
        with pytest.raises(ValueError, match="keeps none"):
            accuracy_at_coverage(probs, labels, uncertainty, coverage)
        return
    # Python's sort is stable, as rejection has to be.
    order = sorted(range(len(rows)), key=lambda i: uncertainty[i])[:kept]
    expected = np.mean([labels[i] == 0 for i in order])
    assert accuracy_at_coverage(probs, labels, uncertainty, coverage) == pytest.approx(expected, abs=1e-15)
    curve = accuracy_rejection_curve(probs, labels, uncertainty).set_index("kept")
    assert curve.loc[kept, "accuracy"] == pytest.approx(expected, abs=1e-15)


def test_ties_keep_the_order_of_the_rows():
    uncertainty = np.tile([1.0, 0.0], 500)
    expected = [*range(1, 1000, 2), *range(0, 1000, 2)]
    assert rejection_order(uncertainty).tolist() == expected
    tensor = rejection_order(torch.from_numpy(uncertainty))
    assert isinstance(tensor, torch.Tensor)
    assert tensor.tolist() == expected


def test_votes_stand_for_their_first_most_frequent_class_and_torch_equals_numpy():
    votes = np.array([[6, 4], [2, 8], [5, 5], [7, 3]])
    theirs = accuracy_rejection_curve(PROBS, votes, UNCERTAINTY)
    ours = accuracy_rejection_curve(PROBS, [0, 1, 0, 0], UNCERTAINTY)
    assert theirs.equals(ours)
    tensors = torch.from_numpy(PROBS), torch.from_numpy(LABELS), torch.from_numpy(UNCERTAINTY)
    assert accuracy_rejection_curve(*tensors).equals(accuracy_rejection_curve(PROBS, LABELS, UNCERTAINTY))
    assert type(accuracy_at_coverage(*tensors, 0.75)) is float
