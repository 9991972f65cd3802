"""Exercises that answer at once."""

from collections.abc import Callable
from typing import Any


def check(answer: Any, right: Callable[[Any], bool], hint: str) -> None:
    """Say whether an answer is right; one that is still ``...`` is not answered, which is no error.

    Args:
        answer: what the reader put in place of ``...``; a tuple or list with a ``...`` in it is not answered either.
        right: whether an answer is right. What it raises, of an answer of the wrong kind, counts as wrong.
        hint: where to look when it is not.

    Raises:
        AssertionError: the answer is wrong; the message is the hint.
    """
    if answer is ... or (isinstance(answer, tuple | list) and any(part is ... for part in answer)):
        print("Not answered yet: put your answer in place of the three dots, and run the cell again.")
        return
    try:
        fine = bool(right(answer))
    except Exception as problem:
        raise AssertionError(f"{answer!r} cannot be checked ({type(problem).__name__}: {problem}). {hint}") from None
    if not fine:
        raise AssertionError(f"{answer!r} is not it. {hint}")
    print("Right.")
