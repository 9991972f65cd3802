"""What is observed of talkturns: actions of the face against hand-worked frames and a loop, rates, and bad input."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.corpora.talkturns import ACTION_UNITS, ACTIONS, Talkturns, shown_actions, words_per_minute


def test_words_per_minute():
    rates = words_per_minute([3, 3, 3, 3, 0, 3], [0, 0, 0, 5, 0, 0], [1.5, 60, 0, 4, 1, np.nan])
    np.testing.assert_array_equal(rates, [120, 3, np.nan, np.nan, np.nan, np.nan])


def presence_of(n_frames, **units):
    """(F, 6) with AU=on_frames given as slices."""
    presence = np.zeros((n_frames, 6), int)
    for unit, frames in units.items():
        presence[frames, ACTION_UNITS.index(unit)] = 1
    return presence


def shown(start, end, presence):
    time = np.round(np.arange(len(presence)) / 30, 3)  # OpenFace writes three decimals
    rows = shown_actions(np.atleast_1d(start), np.atleast_1d(end), time, presence)
    return [[action for action, on in zip(ACTIONS, row, strict=True) if on] for row in rows]


@pytest.mark.parametrize(
    "unit, action",
    [
        ("AU12", "displayed a positive expression"),
        ("AU5", "raised upper lid"),
        ("AU17", "raised chin"),
        ("AU20", "stretched lip"),
        ("AU25", "dropped jaw"),
        ("AU6", None),  # alone it is no action
    ],
)
def test_an_action_lasts_all_of_its_turn(unit, action):
    presence = presence_of(90, **{unit: slice(30, 61)})  # from 1 s to 2 s
    here = [action] if action else []
    assert shown([1, 1.2, 0.9, 1, 0], [2, 1.8, 2, 2.04, 0.9], presence) == [here, here, [], [], []]


def test_a_smile_spans_half_a_second():
    both = slice(30, 46)  # 16 frames, from 1.000 s to 1.500 s
    assert shown(0, 3, presence_of(91, AU6=both, AU12=both)) == [["smiled"]]
    assert shown(0, 3, presence_of(91, AU6=both, AU12=slice(30, 45))) == [[]]
    assert shown(0, 3, presence_of(91, AU6=both, AU12=slice(None))) == [["smiled", "displayed a positive expression"]]
    halves = np.r_[30:40, 41:56]  # .3 s and .467 s, with one frame between
    assert shown(0, 3, presence_of(91, AU6=halves, AU12=halves)) == [[]]


def test_a_smile_of_half_a_second_counts_wherever_it_lies():
    """(k + 15)/30 − k/30 is less than .5 in binary for some k."""
    k = np.arange(200)
    assert (k / 30 + 0.5 > (k + 15) / 30).any()
    time, presence = np.arange(220) / 30, presence_of(220, AU6=slice(None), AU12=slice(None))
    assert shown_actions(k / 30, (k + 15) / 30, time, presence)[:, 0].all()
    assert not shown_actions(k / 30, (k + 14) / 30, time, presence)[:, 0].any()


def test_a_smile_is_inside_its_turn():
    both = slice(30, 61)  # from 1 s to 2 s
    presence = presence_of(91, AU6=both, AU12=both)
    inside = shown([0, 0, 0, 1.5, 1.51, 1.7], [0.9, 1.5, 1.49, 3, 3, 2.9], presence)
    assert inside == [[], ["smiled"], [], ["smiled"], [], []]
    assert shown(1.2, 1.9, presence) == [["smiled", "displayed a positive expression"]]
    assert shown(1.2, 1.6, presence) == [["displayed a positive expression"]]


def test_frames_without_a_face():
    presence = presence_of(31, AU5=slice(None), AU6=slice(None), AU12=slice(None))
    presence[8] = presence[23] = -1  # the longest stretch between them is 14 frames
    assert shown([0, 0.26], [1, 0.27], presence) == [["displayed a positive expression", "raised upper lid"], []]


def test_turns_without_frames_show_nothing():
    presence = presence_of(31, AU5=slice(None))
    #                      after the video, between frames, reversed, unknown; a turn of no length on a frame has one
    starts, ends = [2, 0.01, 0.9, np.nan, 0.1, 0.5], [3, 0.02, 0.1, 1, np.nan, 0.5]
    assert shown(starts, ends, presence) == [[], [], [], [], [], ["raised upper lid"]]
    assert not shown_actions([0.0], [1.0], [], np.zeros((0, 6))).any()


@given(st.integers(0, 2**32 - 1))
def test_shown_actions_equal_a_loop(seed):
    generator = np.random.default_rng(seed)
    time = np.cumsum(generator.uniform(0.02, 0.2, size=40))
    presence = generator.choice([-1, 0, 1], size=(40, 6), p=[0.05, 0.1, 0.85])
    start = generator.uniform(0, 4, size=20)
    end = start + generator.uniform(-0.1, 1.5, size=20)

    def of_turn(a, b):
        here = (time >= a) & (time <= b)
        inside, times = presence[here], time[here]
        smiles = (inside[:, 1] == 1) & (inside[:, 2] == 1)
        pairs = itertools.combinations(range(len(times)), 2)
        smiled = any(smiles[i : j + 1].all() and times[j] - times[i] >= 0.5 for i, j in pairs)
        known = [column[column >= 0] for column in inside.T]
        return [smiled] + [len(known[k]) > 0 and bool((known[k] == 1).all()) for k in (2, 0, 3, 4, 5)]

    expected = [of_turn(a, b) for a, b in zip(start, end, strict=True)]
    assert shown_actions(start, end, time, presence).tolist() == expected


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"text": ["yes", np.nan]}, r"text\[1\] is nan, not a string; a turn without words is ''"),
        ({"start": [0, 1, 2]}, r"start must have shape \(2,\).*not \(3,\)"),
        ({"tones": np.zeros((2, 5))}, r"tones must have shape \(2, 4\).*not \(2, 5\)"),
        ({"actions": np.zeros((6, 2))}, r"actions must have shape \(2, 6\).*not \(6, 2\)"),
        ({"end": [1, np.inf]}, r"end\[1\] is infinite; NaN marks"),
    ],
)
def test_bad_turns_are_refused(changed, message):
    turns = {"speaker": ["a", "b"], "start": [0, 1], "end": [1, 2], "text": ["yes", "no"]}
    with pytest.raises(ValueError, match=message):
        Talkturns(**turns | changed)
