"""Lessons and their solutions: the same checks, unanswered in the one and right in the other."""

import ast

import nbformat
import pytest

from uncertain_affect.compute import paths
from uncertain_affect.run import publish, reproduce

LESSONS = {name: path for name, path in reproduce.notebooks().items() if "_lesson_" in name}
SOLUTIONS = paths.project_root() / "notebooks" / "solutions"
UNANSWERED = "Not answered yet"


def code(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def checks(path):
    """What each check asks for, the answer left out, in order."""
    calls = [
        node
        for cell in code(path)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"
    ]
    return [[ast.unparse(argument) for argument in call.args[1:]] for call in calls]


def printed(path):
    return [line for cell in code(path) for line in publish.text_of(cell).splitlines()]


@pytest.fixture(params=LESSONS)
def lesson(request):
    return LESSONS[request.param]


def test_there_are_three_lessons_and_nothing_else_is_solved():
    assert list(LESSONS) == ["04_lesson_uncertainty", "05_lesson_calibration", "06_lesson_disagreement"]
    assert {path.name for path in SOLUTIONS.iterdir()} == {path.name for path in LESSONS.values()}


def test_the_lesson_leaves_every_exercise_open_and_the_solutions_none(lesson):
    solution, n = SOLUTIONS / lesson.name, len(checks(lesson))
    assert n >= 3
    assert checks(solution) == checks(lesson)
    assert sum(line.startswith(UNANSWERED) for line in printed(lesson)) == n
    assert not any(line == "Right." for line in printed(lesson))
    assert sum(line == "Right." for line in printed(solution)) == n
    assert not any(line.startswith(UNANSWERED) for line in printed(solution))


def test_the_minutes_of_the_sections_are_a_lesson(lesson):
    table = next(cell.source for cell in nbformat.read(lesson, as_version=4).cells if "| minutes |" in cell.source)
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:]
    assert sum(map(int, rows)) == 45
