"""The command: time the library beside its peers, then what has none."""

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


def main(folder: Path, pairs: int = PAIRS) -> str | int:
    """Write all tables into a folder; returns for `sys.exit` where ours and a peer disagree, or 0."""
    torch.set_num_threads(THREADS)
    disagree = report.run(folder, works(), pairs)
    world.views(folder)
    world.panels(folder)
    print(f"the tables: {folder / 'peers.md'}")
    return "ours and the peer disagree: " + "; ".join(disagree) if disagree else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else project_root() / "results" / "bench"))
