from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from metric_strategies import predictions
from sklearn.metrics import brier_score_loss

from uncertain_affect.metrics import annotator_disagreement, brier_decomposition, brier_score


def exact_scores(probs, votes):
    """Mean over each image's pairs of ||onehot - p||^2, and over all pairs, in exact arithmetic."""
    per_image, every = [], []
    for row, counts in zip(probs.tolist(), votes.tolist(), strict=True):
        p = [Fraction(value) for value in row]
        pairs = []
        for k, count in enumerate(counts):
            pairs += [sum(((c == k) - value) ** 2 for c, value in enumerate(p))] * count
        per_image.append(sum(pairs) / len(pairs))
        every += pairs
    return per_image, sum(every) / len(every)


def test_hand_worked_scores():
    assert brier_score([[1, 0]], [0]) == 0
    assert brier_score([[1, 0]], [1]) == 2
    assert brier_score([[0.5, 0.5]], [1]) == 0.5
    # Votes 3:1 and p = (1/2, 1/2): d = 1 - 10/16, distance 2/16, together the 1/2 of every pair.
    score, disagreement, distance = brier_decomposition(np.array([[0.5, 0.5]]), [[3, 1]])
    assert (score[0], disagreement[0], distance[0]) == (0.5, 0.375, 0.125)
    # Labels have no disagreement.
    score, disagreement, distance = brier_decomposition(np.array([[0.75, 0.25], [0.5, 0.5]]), [0, 1])
    assert disagreement.tolist() == [0, 0]
    assert score.tolist() == distance.tolist() == [0.125, 0.5]
    # Counts weigh images by their votes, proportions do not.
    probs = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert brier_score(probs, [[3, 0], [0, 1]]) == 0.5
    assert brier_score(probs, [[1.0, 0.0], [0.0, 1.0]]) == 1


@given(predictions())
def test_agrees_with_exact_arithmetic_over_pairs(case):
    probs, votes = case
    per_image, overall = exact_scores(probs, votes)
    parts = brier_decomposition(probs, votes)
    np.testing.assert_allclose(parts.score, [float(value) for value in per_image], atol=1e-14)
    assert brier_score(probs, votes) == pytest.approx(float(overall), abs=1e-14)


@given(predictions())
def test_the_terms_are_disagreement_and_distance(case):
    probs, votes = case
    score, disagreement, distance = brier_decomposition(probs, votes)
    np.testing.assert_array_equal(score, disagreement + distance)
    np.testing.assert_allclose(disagreement, annotator_disagreement(votes), atol=1e-15)
    # No prediction does better than the votes themselves.
    proportions = votes / votes.sum(1, keepdims=True)
    np.testing.assert_allclose(brier_decomposition(proportions, votes).distance, 0, atol=1e-15)
    assert brier_score(proportions, votes) <= brier_score(probs, votes) + 1e-15
    assert 0 <= brier_score(probs, votes) <= 2


@given(predictions())
def test_agrees_with_scikit_learn(case):
    probs, votes = case
    n_classes = probs.shape[1]
    # scikit-learn's binary score of each class against the rest, summed, on one row per pair.
    rows, labels = np.nonzero(votes)
    theirs = sum(
        brier_score_loss(labels == c, probs[rows, c], sample_weight=votes[rows, labels], pos_label=True)
        for c in range(n_classes)
    )
    assert brier_score(probs, votes) == pytest.approx(theirs, abs=1e-12)
