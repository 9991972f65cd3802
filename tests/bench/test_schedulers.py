"""When a worker starves, by hand."""

import pytest

from bench.schedulers import starved


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([(0, 4), (0, 1), (3, 5)], 2),  # the second worker has nothing from 1 to 3
        ([(0, 1), (0, 4)], 0),  # what follows when nothing waits does not count
        ([(0, 1), (1, 2), (2, 3)], 2),  # all on one of two workers
        ([(0, 2), (0, 1), (1, 3)], 0),
    ],
)
def test_a_worker_starves_while_it_has_no_task_and_one_waits(spans, seconds):
    assert starved(spans) == seconds
