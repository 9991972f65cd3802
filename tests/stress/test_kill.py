"""That a batch which is killed at any moment goes on where it stopped and leaves what it would have left.

Once for each kind of kill; `make stress` does it twenty times.
"""

import random

import kill
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout of its own, and the seconds of a batch there that nobody stops."""
    root = tmp_path_factory.mktemp("checkout")
    seconds = kill.checkout(root)
    assert len(kill.left_by(root, "whole")) == 2 * 5  # notebook, claims, a table, a figure and its numbers
    return root, seconds


def test_a_batch_that_is_killed_twice_goes_on_to_the_same_results(checkout):
    root, seconds = checkout
    moments = [random.SystemRandom().uniform(0, seconds) for _ in range(2)]
    assert kill.kill_at(root, "killed", moments) is None


@pytest.mark.parametrize(("when", "nth", "anew"), [("before", 2, False), ("after", 1, True)])
def test_a_batch_that_is_killed_in_the_final_rename_loses_nothing(checkout, when, nth, anew):
    root, _ = checkout
    assert kill.kill_in_rename(root, f"{when} {nth}", nth, when, anew) is None


def test_results_that_are_not_the_same_are_noticed(checkout):
    root, _ = checkout
    kill.kill_at(root, "changed", [])
    table = root / "whole" / "results" / "quick" / "none" / "11_trains" / "tables" / "table.csv"
    content = table.read_bytes()
    try:
        table.write_bytes(content + b"9\n")
        assert "other results than without: quick/none/11_trains/tables/table.csv" in kill.kill_at(root, "changed", [])
    finally:
        table.write_bytes(content)


def test_two_batches_at_once_leave_what_one_leaves(checkout):
    root, _ = checkout
    both = [kill.start(root, "both") for _ in range(2)]
    said = [batch.communicate(timeout=300)[0] for batch in both]
    assert [batch.returncode for batch in both] == [0, 0], said
    assert kill.left_by(root, "both") == kill.left_by(root, "whole")
    assert sorted(kill.steps_of(root, "both")) == sorted(kill.steps_of(root, "whole"))
