import csv

import numpy as np
import pytest
import torch
from hypothesis import given
from metric_strategies import votes as vote_counts

from uncertain_affect.metrics import annotator_disagreement, split_half_reliability


def test_hand_worked_votes():
    votes = np.array([[10, 0, 0], [5, 5, 0], [4, 3, 3], [1, 1, 1]])
    np.testing.assert_allclose(annotator_disagreement(votes), [0, 0.5, 0.66, 2 / 3], rtol=1e-15)
    assert annotator_disagreement(votes).dtype == np.float64
    assert annotator_disagreement(torch.from_numpy(votes)).dtype == torch.float64
    # Without replacement: 1 - (20 + 20)/90, 1 - (12 + 6 + 6)/90; three different votes always disagree.
    np.testing.assert_allclose(annotator_disagreement(votes, unbiased=True), [0, 5 / 9, 11 / 15, 1], rtol=1e-15)


@given(vote_counts())
def test_counts_and_proportions_agree_and_stay_in_range(votes):
    disagreement = annotator_disagreement(votes)
    np.testing.assert_allclose(annotator_disagreement(votes / votes.sum(1, keepdims=True)), disagreement, atol=1e-15)
    assert (disagreement >= 0).all()
    assert (disagreement <= 1 - 1 / votes.shape[1] + 1e-15).all()


@given(vote_counts())
def test_unbiased_form_counts_pairs_of_votes(votes):
    votes = votes + np.eye(votes.shape[1], dtype=int)[0]  # at least two each
    for row, value in zip(votes, annotator_disagreement(votes, unbiased=True), strict=True):
        labels = np.repeat(np.arange(len(row)), row)
        different = (labels[:, None] != labels).sum()
        assert value == pytest.approx(different / (len(labels) * (len(labels) - 1)), abs=1e-14)


def test_reliability_of_votes_that_carry_all_or_nothing():
    generator = np.random.default_rng(0)
    # Half of the images unanimous, half split evenly over 1,000 votes: d is known almost without error.
    certain = np.repeat([[1000, 0], [500, 500]], 200, axis=0)
    assert split_half_reliability(certain, generator).full > 0.99
    # The same coin for every image: what differs is luck, and the halves share none of it.
    chance = generator.multinomial(10, [0.5, 0.5], 5000)
    reliability = split_half_reliability(chance, generator)
    assert abs(reliability.half) < 0.06
    assert reliability.ceiling < 0.35


def test_halves_share_no_vote():
    # Of four votes (2, 2), one half is mixed exactly when the other is, which happens two times in three;
    # of (3, 1), exactly one half is. Over equal numbers of both: mean 7/12, covariance 1/3 - 49/144, r is
    # -1/35. Halves that may share votes would give +1/35.
    votes = [[2, 2]] * 20_000 + [[3, 1]] * 20_000
    assert split_half_reliability([[2, 2]] * 300, np.random.default_rng(0)).half == pytest.approx(1)
    assert split_half_reliability(votes, np.random.default_rng(0)).half == pytest.approx(-1 / 35, abs=0.01)
    # A reliability below zero has no ceiling.
    reliability = split_half_reliability([[3, 1]] * 300, np.random.default_rng(0))
    assert reliability.half == pytest.approx(-1)
    assert reliability.ceiling == 0


def test_spearman_brown_bounds_the_reliability_of_all_votes_from_below():
    generator = np.random.default_rng(0)
    truth = generator.dirichlet(np.full(8, 0.3), 20_000)
    first, second = (generator.multinomial(10, truth) for _ in range(2))
    reliability = split_half_reliability(first, generator, splits=5)
    assert reliability.full == pytest.approx(2 * reliability.half / (1 + reliability.half))
    actual = np.corrcoef(annotator_disagreement(first), annotator_disagreement(second))[0, 1]
    # It errs low, as d_i is computed from pairs of votes, and so does its ceiling.
    assert actual - 0.1 < reliability.full < actual
    best = np.corrcoef(annotator_disagreement(first), annotator_disagreement(truth))[0, 1]
    assert best - 0.1 < reliability.ceiling < best


def test_reliability_repeats_with_its_generator():
    votes = np.random.default_rng(1).multinomial(9, np.ones(4) / 4, 50)  # an odd number leaves one vote out
    one, other, third = (split_half_reliability(votes, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one == other != third
    assert split_half_reliability(torch.from_numpy(votes), np.random.default_rng(0)) == one


@pytest.mark.data
@pytest.mark.parametrize(
    ("usage", "n", "mean", "half", "full"),
    [
        ("Training", 28_559, 0.357, 0.54, 0.70),
        ("PrivateTest", 3_573, 0.352, 0.54, 0.70),
        ("PublicTest", 3_579, 0.317, 0.58, 0.73),
    ],
)
def test_published_figures_of_ferplus(data_root, usage, n, mean, half, full):
    path = data_root / "ferplus" / "fer2013new.csv"
    if not path.is_file():
        pytest.skip(f"{path} does not exist")
    with path.open(newline="") as file:
        rows = [row[2:11] for row in csv.reader(file) if row[0] == usage and row[1]]
    votes = np.array(rows, dtype=int)
    votes = votes[votes.sum(1) > 0]
    assert len(votes) == n
    assert annotator_disagreement(votes).mean() == pytest.approx(mean, abs=5e-4)
    reliability = split_half_reliability(votes, np.random.default_rng(0))
    assert reliability.half == pytest.approx(half, abs=0.01)
    assert reliability.full == pytest.approx(full, abs=0.01)


def test_the_first_row_with_parts_of_votes_is_named():
    votes = np.full((5, 3), 2.0)
    votes[3, 1] = 1.5
    with pytest.raises(ValueError, match="row 3"):
        split_half_reliability(votes, np.random.default_rng(0))
