import math
import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bench import compare as comparing
from bench import limits
from bench.compare import Peer, Task, Work, compare, largest_difference


class Clock:
    """Time that passes only where something is done."""

    now = 0.0

    def takes(self, seconds):
        def call():
            self.now += next(seconds) if isinstance(seconds, Iterator) else seconds

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(comparing.time, "perf_counter", lambda: clock.now)
    return clock


def rows(ours, *peers, n=100, limit=None, pairs=3, at_least=0, **settings):
    work = Work("sums", n, "numbers", lambda n: Task(ours, peers, limit), growth=(n, n * 100), **settings)
    return compare(work, pairs, at_least)


def one(ours, *peers, **settings):
    (row,) = rows(ours, *peers, **settings)
    return row


def test_ours_and_the_peers_take_turns_after_one_call_of_each():
    calls = []
    peers = [Peer(name, lambda name=name: lambda: calls.append(name)) for name in ("first", "second")]
    rows(lambda: calls.append("ours"), *peers, pairs=2)
    assert calls[:9] == ["ours", "first", "second"] * 3
    assert calls[9:] == ["ours"] * 3 + ["ours", "first", "second"], "the larger size, and once more for memory"


def test_times_are_medians_ratios_are_of_pairs_and_a_part_is_scaled_to_the_whole(clock):
    ours, theirs = clock.takes(iter([9, 1, 2, 4, *[1] * 10])), clock.takes(iter([9, 8, 8, 8, 1]))
    row = one(ours, Peer("a loop", lambda: theirs), n=10)
    assert (row["seconds"], row["peer seconds"], row["per second"]) == (2, 8, 5)
    assert (row["times faster"], row["lowest"], row["highest"]) == (4, 2, 8)
    row = one(clock.takes(1), Peer("a tenth", lambda: clock.takes(1), share=0.1))
    assert (row["seconds"], row["peer seconds"], row["times faster"]) == (1, 10, 10)


def test_what_takes_little_time_is_done_several_times(clock):
    calls = []

    def ours():
        calls.append(clock.now)
        clock.now += 0.001

    row = one(ours, Peer("a loop", lambda: clock.takes(2)), pairs=1, at_least=0.0095)
    assert row["seconds"] == pytest.approx(0.001)
    assert row["times faster"] == pytest.approx(2000)
    # one to warm up, one to see how long it takes, ten for the pair, as often for the larger size, and one for memory
    assert len(calls) == 2 * (1 + 1 + 10) + 1


@pytest.mark.parametrize(
    ("target", "seconds", "outcome", "reason"),
    [
        (None, [4] * 5, "no target", ""),
        (4, [4] * 5, "met (3 of 3)", ""),
        (4.1, [4] * 5, "missed (0 of 3)", "memory is slow"),
        (2, [1, 1, 3, 3, 1], "met (2 of 3)", ""),
    ],
)
def test_a_missed_target_comes_with_its_reason(clock, target, seconds, outcome, reason):
    theirs = clock.takes(iter(seconds))
    row = one(clock.takes(1), Peer("a loop", lambda: theirs, target=target, reason="memory is slow"))
    assert (row["outcome"], row["reason"]) == (outcome, reason)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ImportError("libnothing.so: no such file"), "cannot be imported: libnothing.so: no such file"),
        (ModuleNotFoundError("No torchvision", name="torchvision"), "cannot be imported: No torchvision"),
        (ModuleNotFoundError("No module named 'netcal'", name="netcal.metrics"), "not installed: netcal"),
        (IndexError("list index out of range"), "fails: IndexError: list index out of range"),
    ],
)
def test_a_missing_peer_is_neither_beaten_nor_timed_and_leaves_the_others(error, outcome):
    def start():
        raise error

    missing = Peer("a peer", start, target=0.001, reason="never needed", tolerance=1)
    row, other = rows(lambda: 1, missing, Peer("a loop", lambda: lambda: 1))
    assert other["peer"] == "a loop" and "times faster" in other
    assert row["seconds"] > 0 and row["target"] == 0.001
    assert not {"times faster", "peer seconds", "difference", "lowest"} & row.keys()
    assert (row["outcome"], row["reason"]) == (outcome, "")


def test_a_work_without_peers_promises_a_rate(clock):
    met = one(clock.takes(0.5), n=100, rate=200)
    assert (met["peer"], met["outcome"], met["per second"], met["target"]) == ("none", "met (3 of 3)", 200, 200)
    missed = one(clock.takes(0.5), n=100, rate=201, reason="pixels")
    assert (missed["outcome"], missed["reason"]) == ("missed (0 of 3)", "pixels")


@pytest.mark.parametrize("power", [0, 1, 2])
@pytest.mark.parametrize(("n", "growth", "sizes"), [(500, None, [5, 500]), (7, (7, 700), [7, 700])])
def test_the_slope_is_the_power_with_which_time_grows(clock, power, n, growth, sizes):
    made = []

    def make(n):
        made.append(n)
        return Task(clock.takes(float(n) ** power), [Peer("a loop", lambda: clock.takes(1))])

    (row,) = compare(Work("sums", n, "numbers", make, growth=growth), pairs=1, at_least=0)
    assert row["slope"] == pytest.approx(power)
    assert sorted(made) == sizes, "a hundredfold, the size that is timed anyway made once"


def test_the_share_of_the_limit_is_its_time_over_ours(clock):
    limit = limits.Limit("matrix products", clock.takes(6), times=0.5)
    row = one(clock.takes(4), Peer("a loop", lambda: clock.takes(8)), limit=limit)
    assert (row["limit"], row["share of limit"]) == ("matrix products", 0.75)
    assert math.isnan(one(clock.takes(4), Peer("a loop", lambda: clock.takes(8)))["share of limit"])


def test_results_are_compared_and_those_of_random_draws_on_the_same_draws():
    ours = [np.array([1.0, 2.0]), torch.tensor(3.0)]
    row = one(lambda: ours, Peer("a loop", lambda: lambda: [np.array([1.0, 2.5]), torch.tensor(3.0)], tolerance=0.1))
    assert (row["difference"], row["tolerance"]) == (0.5, 0.1)
    same = Peer("a loop", lambda: lambda: 7.0, tolerance=0.1, outputs=lambda run: (7.0, run()))
    assert one(lambda: ours, same)["difference"] == 0
    assert "difference" not in one(lambda: ours, Peer("another function", lambda: lambda: 7.0))


def test_differences_of_results():
    assert largest_difference(1.0, 1.25) == 0.25
    assert largest_difference((torch.ones(2, 2), 1), (np.array([[1, 1], [1, 4]]), 2)) == 3
    assert largest_difference(np.array([np.nan, 1]), np.array([np.nan, 1])) == 0
    assert math.isnan(largest_difference(np.array([np.nan, 1]), np.array([1, 1])))
    assert math.isnan(largest_difference([np.nan, 1.0], [1.0, 9.0]))
    assert largest_difference(np.ones(3), np.ones((3, 1))) == math.inf
    assert largest_difference([1.0], [1.0, 2.0]) == math.inf


def test_matrix_products_are_done_as_often_as_asked(monkeypatch):
    shapes = []
    real = torch.bmm

    def bmm(left, right, out):
        shapes.append((*left.shape, right.shape[-1]))
        return real(left, right, out=out)

    monkeypatch.setattr(limits.torch, "bmm", bmm)
    limit = limits.matrix_products((2, 3, 4, 5, 2), (1, 6, 7, 8, 0.5))
    limit.run()
    assert shapes == [(2, 3, 4, 5)] * 2 + [(1, 6, 7, 8)]
    assert limit.times == 1


def test_the_memory_limit_is_a_share_of_a_large_copy(monkeypatch):
    monkeypatch.setattr(limits, "COPIED", 1000)
    limits._arrays.cache_clear()
    limit = limits.memory(500)
    assert limit.times == 0.25, "a copy of 1,000 bytes reads and writes 2,000"
    assert limit.run().shape == (1000,)
    limits._arrays.cache_clear()


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="only Linux counts it")
def test_peak_memory_is_that_of_the_call_whoever_asked_for_it():
    def ones(mib):
        return torch.ones(mib * 2**20, dtype=torch.uint8)

    kept = ones(50)
    for call, expected in ((lambda: ones(30), 30), (lambda: ones(20).max(), 20), (kept.max, 0), (lambda: ones(30), 30)):
        call()
        assert limits.peak_memory(call) == pytest.approx(expected, abs=4)


def test_peak_memory_is_unknown_where_the_system_does_not_count_it(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError

    monkeypatch.setattr(limits.Path, "write_text", refuse)
    assert math.isnan(limits.peak_memory(lambda: 1))
