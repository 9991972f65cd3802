"""What reproducing costs: seconds and memory of each notebook and its parts, cold and warm, with one worker and two."""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat
import pandas as pd

from uncertain_affect.compute import parallel, paths
from uncertain_affect.compute.cache import CACHE_VARIABLE
from uncertain_affect.run import layout, provenance, reproduce

# workers of each run; they share a cache, which is empty when a number of workers comes for the first time
RUNS = {"cold, 1 worker": 1, "cold, 2 workers": 2, "warm, 2 workers": 2}
# what a notebook's cells are doing, by the words in the heading above them; the rest is training and testing
PARTS = {"imports": r"^imports", "parameters": r"^parameters", "data": r"^data\b"}


def main(names: list[str]) -> int:
    """Run the papers' notebooks, quick and simulated, three times over, print where the time went, and write it down.

    The last run finds the cache of the one before. ``results/bench/reproduction.csv`` and ``.json`` are
    written. Returns 1 if a notebook failed, else 0.
    """
    chosen = reproduce.select(names)
    if not names:
        chosen = [path for path in chosen if reproduce.metadata(path).get("paper")]
    walls, outcomes = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, workers in RUNS.items():
            folders = {CACHE_VARIABLE: f"cache {workers}", layout.RESULTS_VARIABLE: "results"}
            with parallel.environment(**{name: str(Path(scratch, folder)) for name, folder in folders.items()}):
                started = time.perf_counter()
                outcomes[name] = reproduce.reproduce(chosen, corpus="simulated", workers=workers)
                walls[name] = time.perf_counter() - started
    table = _table(outcomes)
    print(f"\n{table.to_string(float_format=lambda value: f'{value:.1f}')}\n")
    parts = sum(map(_parts, outcomes["cold, 1 worker"]), Counter())
    shares = {name: seconds / sum(parts.values()) for name, seconds in parts.most_common()}
    print("from an empty cache: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    print(", ".join(f"{name} {wall:.0f} s" for name, wall in walls.items()))
    scaling = walls["cold, 1 worker"] / walls["cold, 2 workers"]
    imports = _import_seconds()
    print(f"2 workers are {scaling:.2f} times as fast as 1; importing the library {imports:.2f} s beyond torch")
    folder = paths.project_root() / "results" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "reproduction.csv", float_format="%.4g")
    layout.write_json(
        folder / "reproduction.json",
        {"wall": walls, "shares": shares, "scaling": scaling, "import": imports, **provenance.provenance()},
    )
    return int(any(outcome.error for run in outcomes.values() for outcome in run))


def _table(outcomes: dict[str, list[reproduce.Outcome]]) -> pd.DataFrame:
    """Seconds by notebook, those of each part from an empty cache, and the most memory held at once."""
    rows = {}
    for name, run in outcomes.items():
        for outcome in run:
            row = rows.setdefault(outcome.notebook, {})
            row[f"s {name}"] = outcome.seconds
            if name == "cold, 1 worker":
                row |= {f"s {part}": seconds for part, seconds in _parts(outcome).items()}
                row["GiB"] = outcome.memory / 2**30
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("notebook")


def _parts(outcome: reproduce.Outcome) -> Counter:
    """Seconds of a notebook's cells by what they do, see ``PARTS``; drawing cells are those with figures."""
    heading, seconds = "", Counter()
    for cell in nbformat.read(reproduce.notebooks()[outcome.notebook], as_version=4).cells:
        if cell.cell_type == "markdown":
            headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            heading = headings[-1].lower() if headings else heading
            continue
        part = next((name for name, words in PARTS.items() if re.search(words, heading)), "training and testing")
        if "run.figure(" in cell.source or "plots." in cell.source:
            part = "figures"
        seconds[part] += outcome.cells.get(cell.id, 0.0)
    return seconds


def _import_seconds(repeats: int = 5) -> float:
    """Median seconds that importing the library adds to importing torch, in new processes."""
    seconds = []
    for _ in range(repeats):
        code = "import time, torch; t = time.perf_counter(); import uncertain_affect; print(time.perf_counter() - t)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds.append(float(done.stdout))
    return statistics.median(seconds)
