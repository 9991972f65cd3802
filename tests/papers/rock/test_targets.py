"""Percentile ranks and labels of neighbouring turns: hand-worked cases, SciPy's ranks, and properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from uncertain_affect.papers.rock.targets import neighbouring_labels, percentile_ranks

NAN = np.nan


# --- percentile ranks -------------------------------------------------------------------------------------


def test_ties_share_the_middle_of_their_ranks():
    assert percentile_ranks([1, 2, 3], [1, 2, 2, 3]) == pytest.approx([0.125, 0.5, 0.875])


def test_values_outside_the_training_range_get_0_and_1_and_missing_ones_stay_missing():
    assert percentile_ranks([-5, 9, NAN, 1], [0, 1, NAN, 2]) == pytest.approx([0, 1, NAN, 0.5], nan_ok=True)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.lists(st.integers(-7, 7), min_size=1, max_size=30))
def test_ranks_are_scipys_mean_percentiles(training, values):
    expected = [stats.percentileofscore(training, value, kind="mean") / 100 for value in values]
    assert percentile_ranks(values, training) == pytest.approx(expected)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_ranks_keep_the_order_and_average_to_a_half(values):
    ranks = percentile_ranks(values, values)
    order = np.argsort(values)
    assert (np.diff(ranks[order]) >= 0).all()
    assert ranks.mean() == pytest.approx(0.5)
    assert ((ranks > 0) & (ranks < 1)).all()


def test_an_auxiliary_target_without_training_values_is_an_error():
    with pytest.raises(ValueError, match="all training values are missing: leave this auxiliary target out"):
        percentile_ranks([1.0], [NAN, NAN])
    with pytest.raises(ValueError, match="infinite"):
        percentile_ranks([1.0], [0.0, np.inf])


# --- neighbouring labels ----------------------------------------------------------------------------------


def test_a_dialogue_with_all_labels():
    past, future = neighbouring_labels([1, 2, 3, 4], ["a"] * 4, reach=2)
    # the paper's rule: beyond the start the nearest label, and at the first turn its own
    assert past.tolist() == [[1, 1], [1, 1], [2, 1], [3, 2]]
    assert future.tolist() == [[2, 3], [3, 4], [4, 4], [4, 4]]


def test_the_papers_example_four_turns_ago_at_the_third_turn():
    past, _ = neighbouring_labels([10, 20, 30], ["a"] * 3)
    assert past[2].tolist() == [20, 10, 10, 10]


def test_without_the_leak_first_and_last_turns_have_none():
    past, future = neighbouring_labels([1, 2], ["a", "a"], reach=2, leak=False)
    assert past == pytest.approx(np.array([[NAN, NAN], [1, 1]]), nan_ok=True)
    assert future == pytest.approx(np.array([[2, 2], [NAN, NAN]]), nan_ok=True)


def test_missing_labels_are_replaced_by_the_nearest_of_their_side():
    # wanted at turn 4: turns 3, 2, 1; turn 2 is missing, and of its equally near neighbours the later one is taken
    past, _ = neighbouring_labels([0, 1, NAN, 3, 4], ["a"] * 5, reach=3, leak=False)
    assert past[4].tolist() == [3, 3, 1]
    # turn 1 of the past of turn 3 (turn 2) is missing: turn 1 is the nearest, never turn 3 itself
    assert past[3].tolist() == [1, 1, 0]


def test_dialogues_do_not_touch():
    labels, dialogue = [1, 2, 3, 4], ["a", "a", "b", "b"]
    past, future = neighbouring_labels(labels, dialogue, reach=1, leak=False)
    assert past == pytest.approx(np.array([[NAN], [1], [NAN], [3]]), nan_ok=True)
    assert future == pytest.approx(np.array([[2], [NAN], [4], [NAN]]), nan_ok=True)


def test_a_dialogue_of_one_turn_and_one_without_labels():
    past, future = neighbouring_labels([5, NAN, NAN], ["a", "b", "b"], reach=2)
    assert past == pytest.approx(np.array([[5, 5], [NAN, NAN], [NAN, NAN]]), nan_ok=True)
    assert future == pytest.approx(past, nan_ok=True)


def slow_past(labels, dialogue, reach):
    out = np.full((len(labels), reach), NAN)
    for t in range(len(labels)):
        known = [j for j in range(t) if dialogue[j] == dialogue[t] and not np.isnan(labels[j])]
        for k in range(1, reach + 1):
            if known:
                out[t, k - 1] = labels[min(known, key=lambda j, k=k: (abs(j - (t - k)), -j))]
    return out


@given(
    st.lists(
        st.lists(st.one_of(st.just(NAN), st.integers(0, 9).map(float)), min_size=1, max_size=7), min_size=1, max_size=4
    ),
    st.integers(1, 5),
)
def test_neighbours_are_those_of_a_plain_search_both_ways(dialogues, reach):
    labels = np.array([x for part in dialogues for x in part])
    names = np.repeat(np.arange(len(dialogues)), [len(part) for part in dialogues])
    past, future = neighbouring_labels(labels, names, reach, leak=False)
    np.testing.assert_array_equal(past, slow_past(labels, names, reach))
    np.testing.assert_array_equal(future, slow_past(labels[::-1], names[::-1], reach)[::-1])


def test_bad_input():
    with pytest.raises(ValueError, match=r"labels \(2,\) and dialogue \(1,\)"):
        neighbouring_labels([1, 2], ["a"])
    with pytest.raises(ValueError, match="reach counts turns and must be at least 1, not 0"):
        neighbouring_labels([1], ["a"], reach=0)
