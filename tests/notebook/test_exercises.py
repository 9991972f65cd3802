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


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([0.52, -0.5, math.nan, math.inf, 0], r"is not it\. flip it"),
        (["half", None, [0.5, 0.5], np.array([0.5, 0.5])], r"cannot be checked \(TypeError: .*flip it"),
    ],
)
def test_a_wrong_one_fails_with_the_hint_and_one_of_the_wrong_kind_with_the_reason(answers, told):
    for answer in answers:
        with pytest.raises(AssertionError, match=told):
            check(answer, half, "flip it")
    with pytest.raises(AssertionError, match="ValueError"):  # an array of truths is no truth
        check(np.array([1, 2]), lambda a: a == np.array([1, 2]), "use all")


@pytest.mark.parametrize("answer", [..., (0.5, ...), [...]])
def test_three_dots_are_not_answered_yet(answer, capsys):
    check(answer, lambda _: pytest.fail("nothing to check"), "flip it")
    assert capsys.readouterr().out.startswith("Not answered yet")
