"""Times a work and its peers alternately, and checks that they agree.

All run in one process on the same number of threads, one after another in each round, so that a busy machine slows
them alike; what is reported is the median over rounds of the ratio of their times, with the lowest and the highest.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from bench.limits import Limit, peak_memory

PAIRS = 5
# what is imported of requirements/bench.txt and of the tests' requirements
PEER_MODULES = ("baal", "calibration", "netcal", "torch_geometric", "torch_uncertainty", "torchmetrics")
AT_LEAST = 0.02  # seconds of each measurement: what takes less is done several times


@dataclass(frozen=True)
class Peer:
    """Another way to do the work."""

    name: str  # who does it, and how
    start: Callable[[], Callable[[], object]]  # imports what it needs, and returns what does the work once
    target: float | None = None  # how many times faster ours must at least be; None where nothing is promised
    reason: str = ""  # what limits ours, for a report of a missed target
    tolerance: float | None = None  # what is taken for rounding; None where it computes something else
    # ours and the peer's results to compare, given what `start` returned; by default those of the timed calls; where
    # draws are random this does the same draws twice
    outputs: Callable[[Callable[[], object]], tuple[object, object]] | None = None
    share: float = 1.0  # the part of the work that one call does; its time is divided by it


@dataclass(frozen=True)
class Task:
    """A work on inputs of one size: what we do, how others do it, and what nobody gets below."""

    ours: Callable[[], object]
    peers: Sequence[Peer] = ()
    limit: Limit | None = None


@dataclass(frozen=True)
class Work:
    """One piece of work."""

    name: str  # what is done, with the sizes that stay as they are
    n: int  # how many items it is timed on
    items: str  # what they are
    make: Callable[[int], Task]  # the task on so many items
    growth: tuple[int, int] | None = None  # the numbers of items between which time grows; by default n/100 and n
    rate: float | None = None  # items per second that are promised for a work without peers
    reason: str = ""  # what limits them


@dataclass
class _Side:
    """What is timed, how often in each round, and how long it took each time."""

    call: Callable[[], object]
    scale: float = 1.0
    result: object = None
    number: int = 1
    seconds: list[float] = field(default_factory=list)

    def warmed(self, at_least: float) -> "_Side":
        started = time.perf_counter()
        self.result = self.call()
        # the first call may load much that later ones find there
        if time.perf_counter() - started < 50 * at_least:
            self.number = math.ceil(at_least / max(self._once(), 1e-9))
        return self

    def time(self) -> None:
        self.seconds.append(self._once() * self.scale)

    def _once(self) -> float:
        started = time.perf_counter()
        for _ in range(self.number):
            self.call()
        return (time.perf_counter() - started) / self.number

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def compare(work: Work, pairs: int = PAIRS, at_least: float = AT_LEAST) -> list[dict]:
    """Rows of the table, one for each peer; one without a peer where the work has none."""
    task = work.make(work.n)
    ours = _Side(task.ours).warmed(at_least)
    theirs, absent = {}, {}
    for peer in task.peers:
        try:
            theirs[peer.name] = _Side(peer.start(), 1 / peer.share).warmed(at_least)
        except Exception as error:  # a peer's failure says nothing of the others
            absent[peer.name] = why_not(error)
    limit = _Side(task.limit.run, task.limit.times).warmed(at_least) if task.limit else None
    sides = [ours, *theirs.values(), *([limit] if limit else [])]
    for _ in range(pairs):
        for side in sides:
            side.time()
    common = {
        "work": work.name,
        "n": work.n,
        "items": work.items,
        "seconds": ours.median,
        "per second": work.n / ours.median,
        "slope": _slope(work, ours.median, min(pairs, 3), at_least),
        "MiB": peak_memory(ours.call),
        "limit": task.limit.name if limit else "",
        "share of limit": statistics.median(_ratios(limit, ours)) if limit else math.nan,
    }
    if not task.peers:
        rates = [work.n / seconds for seconds in ours.seconds]
        return [common | {"peer": "none"} | _outcome(rates, work.rate, work.reason)]
    return [common | _against(peer, ours, theirs.get(peer.name), absent.get(peer.name)) for peer in task.peers]


def _ratios(one: _Side, other: _Side) -> list[float]:
    return [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]


def _outcome(values: Sequence[float], target: float | None, reason: str) -> dict:
    """Whether the median reaches the target, how many rounds do, and why not."""
    spread = {"lowest": min(values), "highest": max(values), "target": target}
    if target is None:
        return spread | {"outcome": "no target", "reason": ""}
    reached = sum(value >= target for value in values)
    missed = statistics.median(values) < target
    outcome = f"{'missed' if missed else 'met'} ({reached} of {len(values)})"
    return spread | {"outcome": outcome, "reason": reason if missed else ""}


def _against(peer: Peer, ours: _Side, theirs: _Side | None, absent: str | None) -> dict:
    row = {"peer": peer.name, "tolerance": peer.tolerance}
    if theirs is None:
        return row | {"target": peer.target, "outcome": absent, "reason": ""}
    if peer.tolerance is not None:
        both = peer.outputs(theirs.call) if peer.outputs else (ours.result, theirs.result)
        row["difference"] = largest_difference(*both)
    ratios = _ratios(theirs, ours)
    return (
        row
        | {"peer seconds": theirs.median, "times faster": statistics.median(ratios)}
        | {"peer MiB": peak_memory(theirs.call)}
        | _outcome(ratios, peer.target, peer.reason)
    )


def why_not(error: Exception) -> str:
    """What the report says of a peer that is missing or fails."""
    if not isinstance(error, ImportError):
        return f"fails: {type(error).__name__}: {error}"
    name = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name in PEER_MODULES:
        return f"not installed: {name}"
    return f"cannot be imported: {error}"


def _slope(work: Work, seconds: float, repeats: int, at_least: float) -> float:
    """Growth of our time as a power of the number of items: 1 where an item takes as long however many there are."""
    small, large = work.growth or (max(1, work.n // 100), work.n)
    taken = {work.n: seconds}
    for n in {small, large} - {work.n}:
        side = _Side(work.make(n).ours).warmed(at_least)
        for _ in range(repeats):
            side.time()
        taken[n] = side.median
    return math.log(taken[large] / taken[small]) / math.log(large / small)


def largest_difference(one: object, other: object) -> float:
    """Largest absolute difference of two results, each a number, an array or a sequence of them.

    It is infinite between different shapes, and NaN, which no tolerance admits, where only one side is NaN.
    """
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return math.inf
        return float(np.max([largest_difference(a, b) for a, b in zip(one, other, strict=True)]))
    one, other = (np.asarray(v.detach() if isinstance(v, Tensor) else v, dtype=np.float64) for v in (one, other))
    if one.shape != other.shape:
        return math.inf
    return float(np.max(np.where(np.isnan(one) & np.isnan(other), 0, abs(one - other)), initial=0))
