"""What a work cannot get below on this machine, measured beside it, and the most memory it holds."""

import ctypes
import functools
import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

COPIED = 2**27  # bytes, many times any processor's cache


@dataclass(frozen=True)
class Limit:
    """What the work would cost were this all there is to do."""

    name: str
    run: Callable[[], object]  # takes time in proportion to the limit
    times: float = 1.0  # the limit over the time of `run`


def matrix_products(*shapes: tuple[int, int, int, int, float]) -> Limit:
    """Matrix products alone: (batch, rows, inner, columns, how often), in float32 and into memory that is there."""
    made = [
        (torch.ones(batch, rows, inner), torch.ones(batch, inner, columns), torch.empty(batch, rows, columns), times)
        for batch, rows, inner, columns, times in shapes
    ]

    def run() -> None:
        for left, right, out, times in made:
            for _ in range(math.ceil(times)):
                torch.bmm(left, right, out=out)

    return Limit("matrix products", run)


def memory(n_bytes: int) -> Limit:
    """So many bytes read or written once, at the speed at which a large array is copied."""
    source, target = _arrays()
    return Limit("memory bandwidth", lambda: target.copy_(source), n_bytes / (2 * COPIED))


@functools.cache
def _arrays() -> tuple[Tensor, Tensor]:
    return torch.ones(COPIED, dtype=torch.uint8), torch.empty(COPIED, dtype=torch.uint8)


def peak_memory(call: Callable[[], object]) -> float:
    """MiB that a call holds at most beyond what is held before it, its result among them; NaN where none can say.

    The kernel counts the pages in use, whoever asked for them: Python's own count misses those of torch. Its mark of
    the most so far is set back before the call, and so is memory that was freed before but not yet returned, which
    the call could otherwise take unseen. Call it once before: what is loaded at first is not of the work. Processes
    that the call starts are not in it.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError, TypeError):  # another system than Linux, or another C library than glibc
        return math.nan
    before = _status("VmRSS")
    result = call()
    after = _status("VmHWM")
    del result
    return (after - before) / 2**10


def _status(name: str) -> int:
    """A line of the kernel's account of this process, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
