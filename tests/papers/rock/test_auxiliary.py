"""Percentile ranks and labels of neighbouring turns: hand-worked cases, SciPy's ranks, and a plain search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from uncertain_affect.papers.rock.tasks import neighbouring_labels, percentile_ranks

N = np.nan


def test_ranks_by_hand():
    assert percentile_ranks([1, 2, 3], [1, 2, 2, 3]) == pytest.approx([0.125, 0.5, 0.875])
    # outside the training range, and missing
    assert percentile_ranks([-5, 9, N, 1], [0, 1, N, 2]) == pytest.approx([0, 1, N, 0.5], nan_ok=True)


NUMBERS = st.one_of(st.integers(-7, 7), st.floats(-1e3, 1e3))  # with ties, and without


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.lists(NUMBERS, min_size=1, max_size=30))
def test_ranks_are_scipys_mean_percentiles(training, values):
    expected = [stats.percentileofscore(training, value, kind="mean") / 100 for value in values]
    assert percentile_ranks(values, training) == pytest.approx(expected)
    assert percentile_ranks(training, training).mean() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "labels, dialogue, reach, past, future",
    [
        # beyond the start the nearest label, and at the first turn its own
        ([1, 2, 3, 4], "aaaa", 2, [[1, 1], [1, 1], [2, 1], [3, 2]], [[2, 3], [3, 4], [4, 4], [4, 4]]),
        # the paper's example: four turns ago at the third turn
        ([1, 2, 3], "aaa", 4, [[1] * 4, [1] * 4, [2, 1, 1, 1]], [[2, 3, 3, 3], [3] * 4, [3] * 4]),
        ([1, 2], "aa", 2, [[1, 1], [1, 1]], [[2, 2], [2, 2]]),
        # of two equally near labels that nearer to the present one, and never the present one itself
        (
            *([0, 1, N, 3, 4], "aaaaa", 3),
            [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0], [3, 3, 1]],
            [[1, 1, 3], [3, 3, 4], [3, 4, 4], [4, 4, 4], [4, 4, 4]],
        ),
        ([1, 2, 3, 4], "aabb", 1, [[1], [1], [3], [3]], [[2], [2], [4], [4]]),
        # a dialogue of one turn, and one without labels
        ([5, N, N], "abb", 2, [[5, 5], [N, N], [N, N]], [[5, 5], [N, N], [N, N]]),
    ],
)
def test_neighbours_by_hand(labels, dialogue, reach, past, future):
    found = neighbouring_labels(labels, list(dialogue), reach)
    np.testing.assert_array_equal(found, (past, future))


def slow_past(labels, dialogue, reach):
    out = np.full((len(labels), reach), N)
    for t in range(len(labels)):
        known = [j for j in range(t) if dialogue[j] == dialogue[t] and not np.isnan(labels[j])]
        for k in range(1, reach + 1):
            if known:
                out[t, k - 1] = labels[min(known, key=lambda j, k=k: (abs(j - (t - k)), -j))]
    return out


LABELS = st.lists(st.one_of(st.just(N), st.integers(0, 9).map(float)), min_size=1, max_size=7)


@given(st.lists(LABELS, min_size=1, max_size=4), st.integers(1, 5))
def test_neighbours_are_those_of_a_plain_search_both_ways(dialogues, reach):
    labels = np.array([x for part in dialogues for x in part])
    names = np.repeat(np.arange(len(dialogues)), [len(part) for part in dialogues])
    found = neighbouring_labels(labels, names, reach)
    expected = slow_past(labels, names, reach), slow_past(labels[::-1], names[::-1], reach)[::-1]
    for side, found_plainly in zip(found, expected, strict=True):  # a side without a label has that of the turn itself
        np.testing.assert_array_equal(side, np.where(np.isnan(found_plainly), labels[:, None], found_plainly))
