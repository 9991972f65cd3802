"""A check passes what is right, names what is wrong, and lets pass what is not answered."""

import math

import numpy as np
import pytest

from uncertain_affect.notebook.exercises import check


def half(answer):
    return math.isclose(answer, 0.5, abs_tol=0.01)


@pytest.mark.parametrize("answer", [0.5, 1 / 2, np.float64(0.501), np.float32(0.499)])
def test_a_right_answer_passes(answer, capsys):
    check(answer, half, "flip it")
    assert capsys.readouterr().out == "Right.\n"


@pytest.mark.parametrize("answer", [0.52, -0.5, math.nan, math.inf, 0])
def test_a_wrong_one_fails_with_the_hint(answer):
    with pytest.raises(AssertionError, match=r"is not it\. flip it"):
        check(answer, half, "flip it")


@pytest.mark.parametrize("answer", ["half", None, [0.5, 0.5], np.array([0.5, 0.5])])
def test_one_of_the_wrong_kind_fails_with_the_hint_and_the_reason(answer):
    with pytest.raises(AssertionError, match=r"cannot be checked \(TypeError: .*flip it"):
        check(answer, half, "flip it")


def test_an_array_of_truths_is_no_truth():
    with pytest.raises(AssertionError, match="ValueError"):
        check(np.array([1, 2]), lambda a: a == np.array([1, 2]), "use all")


@pytest.mark.parametrize("answer", [..., (0.5, ...), [...]])
def test_three_dots_are_not_answered_yet(answer, capsys):
    check(answer, lambda _: pytest.fail("nothing to check"), "flip it")
    assert capsys.readouterr().out.startswith("Not answered yet")
