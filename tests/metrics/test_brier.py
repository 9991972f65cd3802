from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metric_strategies import distributions
from metric_strategies import votes as vote_counts
from sklearn.metrics import brier_score_loss

from uncertain_affect.metrics import annotator_disagreement, brier_decomposition, brier_score


@st.composite
def predictions(draw):
    """Probabilities (N, C) and votes (N, C)."""
    votes = draw(vote_counts())
    return draw(distributions(votes.shape)), votes


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


@given(predictions(), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(case, random):
    probs, votes = case
    order = random.sample(range(len(probs)), len(probs))
    assert brier_score(probs[order], votes[order]) == pytest.approx(brier_score(probs, votes), abs=1e-14)


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


def test_counts_weigh_images_by_their_votes_and_proportions_do_not():
    probs = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert brier_score(probs, [[3, 0], [0, 1]]) == 0.5
    assert brier_score(probs, [[1.0, 0.0], [0.0, 1.0]]) == 1


def test_decomposition_of_labels_is_all_distance():
    score, disagreement, distance = brier_decomposition(np.array([[0.75, 0.25], [0.5, 0.5]]), [0, 1])
    assert disagreement.tolist() == [0, 0]
    assert score.tolist() == distance.tolist() == [0.125, 0.5]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_equals_numpy_and_keeps_dtype(dtype):
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(4), 30).astype(dtype)
    votes = generator.multinomial(10, np.ones(4) / 4, 30)
    theirs = brier_decomposition(torch.from_numpy(probs), torch.from_numpy(votes))
    for array, tensor in zip(brier_decomposition(probs, votes), theirs, strict=True):
        assert array.dtype == dtype
        assert tensor.dtype == getattr(torch, dtype)
        np.testing.assert_array_equal(tensor.numpy(), array)
