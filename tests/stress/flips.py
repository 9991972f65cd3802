"""A bit flipped in a cache entry, wherever it falls: what was flipped is made anew, never used.

The entries are of every kind that the library keeps: arrays, an array in blocks, and the checkpoint of a training.
"""

import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from rows import Row, judged

from uncertain_affect.compute import cache
from uncertain_affect.training import fit

FLIPS = 50
KEY = cache.content_key("stress")


def _arrays(root: Path) -> list:
    rng = np.random.default_rng(0)
    want = {"a": rng.normal(size=(20, 7)), "c": rng.integers(0, 9, 30), "votes": np.ones(3, np.float32)}
    got = cache.cached_arrays(KEY, lambda: want)
    return [(name, got[name].dtype.str, got[name].tolist()) for name in want]


def _blocks(root: Path) -> list:
    want = np.random.default_rng(1).normal(size=(40, 8))
    with mock.patch.object(cache, "BLOCK_BYTES", 10 * 8 * want.itemsize):
        got = cache.cached_blocks(KEY, want.shape, want.dtype, lambda start, stop: want[start:stop], kind="blocks")
    return [got.dtype.str, got.tolist()]


def _checkpoint(root: Path) -> list:
    path = root / f"{KEY}.checkpoint"
    state = fit.read_checkpoint(path)
    if state is None:
        state = {"model": {"weight": torch.arange(40.0)}, "history": {"val": [1.5, 0.25], "seconds": 3.0}}
        fit.write_checkpoint(path, state)
    return [state["model"]["weight"].tolist(), state["history"]]


KINDS: dict[str, Callable[[Path], list]] = {"arrays": _arrays, "blocks": _blocks, "checkpoint": _checkpoint}


def flip(kind: str, rng: np.random.Generator, bit: int | None = None) -> str | None:
    """Make an entry, flip one bit of one of its files, and read it; what is wrong with what came back, or None.

    Args:
        bit: of the first file; drawn, with the file, if None.
    """
    read = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, UNCERTAIN_AFFECT_CACHE=folder):
        root = Path(folder)
        want = read(root)
        files = sorted(file for file in root.rglob("*") if file.is_file() and file.suffix != ".lock")
        file = files[0] if bit is not None else files[rng.integers(len(files))]
        content = bytearray(file.read_bytes())
        bit = int(rng.integers(8 * len(content))) if bit is None else bit
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = read(root)
        except Exception as error:
            return f"bit {bit} of {file.relative_to(root)}: {type(error).__name__}: {error}"
        return None if got == want else f"bit {bit} of {file.relative_to(root)}: what was flipped was used"


def run(minutes: float) -> Iterator[Row]:
    """Flip ``FLIPS`` bits, in entries of each kind in turn."""
    rng, kinds = np.random.default_rng(), list(itertools.islice(itertools.cycle(KINDS), FLIPS))
    found = [flip(kind, rng) for kind in kinds]
    fine = f"none used ({', '.join(f'{kinds.count(kind)} in {kind}' for kind in KINDS)})"
    yield judged("flips", "one bit flipped in a cache entry", FLIPS, FLIPS, found, fine)
