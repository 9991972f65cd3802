"""The command: time the library beside its peers, then what has none."""

import argparse
import re
import sys
from pathlib import Path

import torch

from bench import faces, metrics, models, report, world
from bench.compare import PAIRS, Work
from uncertain_affect.compute.paths import project_root

THREADS = 2


def works() -> list[Work]:
    """Everything that is timed beside peers."""
    return [*metrics.works(), *models.works(), *faces.works()]


def main(arguments: list[str] | None = None, pairs: int = PAIRS) -> str | int:
    """Returns what is wrong, for `sys.exit`: where ours and a peer disagree, or that no work is of that name."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where tables go (default: results/bench)")
    parser.add_argument("--only", metavar="PATTERN", help="works whose names match, into results/local/bench")
    given = parser.parse_args(arguments)
    todo = [work for work in works() if re.search(given.only or "", work.name, re.IGNORECASE)]
    if not todo:
        return f"no work matches {given.only!r}: " + "; ".join(sorted({work.name for work in works()}))
    results = project_root() / "results"
    folder = given.folder or (results / "local" / "bench" if given.only else results / "bench")
    torch.set_num_threads(THREADS)
    disagree = report.run(folder, todo, pairs)
    if not given.only:
        world.views(folder)
        world.panels(folder)
    print(f"the tables: {folder / 'peers.md'}")
    return "ours and the peer disagree: " + "; ".join(disagree) if disagree else 0


if __name__ == "__main__":
    sys.exit(main())
