"""Has a change of code changed a number? `make same BASE=32a3517 [TINY=1] [OPTIONS="--tolerance 1e-6"]`.

Two revisions run the quick reproduction on the simulated world from an empty cache, with one worker of one thread, half
an hour each, or with TINY=1 one seed of every paper's training on little data (`tiny.py` as each revision has it, a
minute). Then every number of every csv and claims.json is compared, and the content of every array that was trained or
drawn, wherever the code keeps it. Times are left out. What a revision gave is kept in `build/same` and not made again.

Exit code 0: the same. 1: something differs, and is listed. 2: it could not be said.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.run import provenance

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "same"
MEASURED = ("*.csv", "claims.json", "*.npy")
# rows, columns and keys that hold times, or ranks and ratios of times
TIMES = re.compile(r"\b(ms|seconds?|minutes?|speed)\b|\(s\)|times as long|cost rank")
# files, and claims, that hold nothing else, or say what runs of other times gave
TIMED_FILES = re.compile(r"42_rock_capacity/tables/speed\.csv")
TIMED_CLAIMS = re.compile(r"rock\.c6\b")
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def run(checkout: Path, to: Path, *arguments: str) -> None:
    """Run the checkout's own code and leave in a folder `results`, with what was measured, and `arrays.json`.

    Args:
        arguments: of `uncertain-affect`; none for `tiny.py`.

    Raises:
        RuntimeError: it failed; the message ends in what was printed last.
    """
    shutil.rmtree(to, ignore_errors=True)
    (to / "results").mkdir(parents=True)
    variables = {
        "PYTHONPATH": str(checkout / "lib"),
        "UNCERTAIN_AFFECT_CACHE": str(to / "cache"),
        "UNCERTAIN_AFFECT_RESULTS": str(to / "results"),
    }
    if arguments:
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        module, function = project["scripts"]["uncertain-affect"].split(":")
        command = ["-c", f"import sys; from {module} import {function}; sys.exit({function}())", *arguments]
    else:
        command = [str(checkout / "tests" / "stress" / "tiny.py"), str(to / "results")]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env=os.environ | ENVIRONMENT | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise RuntimeError(f"{checkout} ended with {done.returncode}: {done.stdout.decode(errors='replace')[-2000:]}")
    (to / "arrays.json").write_text(json.dumps(arrays(to / "cache"), indent=0), encoding="utf-8")
    shutil.rmtree(to / "cache", ignore_errors=True)


def arrays(cache: Path) -> dict[str, list[str]]:
    """SHA-256 of type, shape and content of each array in a cache, with the kinds and names it is kept under."""
    found: dict[str, list[str]] = {}
    for path in sorted(cache.rglob("*.npy")):
        if TIMES.search(path.stem.replace("_", " ")):
            continue
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        digest = hashlib.sha256(repr((array.dtype.str, array.shape)).encode())
        for start in range(0, array.size, 2**22):
            digest.update(array.reshape(-1)[start : start + 2**22].tobytes())
        inside = path.relative_to(cache).parts
        kind = "/".join(part for part in inside[:-1] if not re.fullmatch(r"[0-9a-f]{64}", part))
        found.setdefault(digest.hexdigest(), []).append(f"{kind}/{path.stem}")
    return found


def measured(folder: Path) -> dict[str, Path]:
    """The files that :func:`run` has left in a folder and that are compared, by their place in its results."""
    results = folder / "results"
    return {str(path.relative_to(results)): path for pattern in MEASURED for path in results.rglob(pattern)}


def cells(path: Path) -> dict[str, str]:
    """What a csv or claims.json holds, by place, without times."""
    found: dict[str, str] = {}
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        for number, row in enumerate(rows):
            for column, value in enumerate(row):
                name = rows[0][column] if column < len(rows[0]) else str(column)
                if number == 0 or not (TIMES.search(name) or TIMES.search(row[0])):
                    found[f"row {number}, {name}"] = value
        return found

    def put(value, place: tuple[str, ...]) -> None:
        if isinstance(value, dict | list):
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                if not (TIMES.search(str(key)) or TIMED_CLAIMS.match(str(key))):
                    put(part, (*place, str(key)))
        else:
            found[" / ".join(place)] = json.dumps(value)

    put(json.loads(path.read_text(encoding="utf-8")), ())
    return found


def differences(base: Path, other: Path, tolerance: float = 0.0) -> Iterator[str]:
    """What differs between two folders that :func:`run` has left, a line each.

    Args:
        tolerance: numbers that differ by no more are the same; with 0 their digits are compared, and the arrays too.
    """
    before, after = measured(base), measured(other)
    for name in sorted({*before, *after}):
        if name not in after or name not in before:
            yield f"{name}: only {'before' if name in before else 'after'}"
        elif name.endswith(".npy"):
            yield from _arrays_differ(name, before[name], after[name], tolerance)
        elif not TIMED_FILES.search(name):
            yield from _cells_differ(name, cells(before[name]), cells(after[name]), tolerance)
    if not tolerance:
        before, after = (json.loads((folder / "arrays.json").read_text(encoding="utf-8")) for folder in (base, other))
        for when, some, others in (("before", before, after), ("after", after, before)):
            alone = Counter(place for digest, places in some.items() if digest not in others for place in places)
            yield from (f"{n} arrays {place}: only {when}" for place, n in sorted(alone.items()))


def _arrays_differ(name: str, before: Path, after: Path, tolerance: float) -> Iterator[str]:
    a, b = np.load(before), np.load(after)
    if a.shape != b.shape:
        yield f"{name}: shape {a.shape} before, {b.shape} after"
    elif not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        largest = np.nanmax(np.abs(a.astype(float) - b.astype(float)))
        if not largest <= tolerance or (np.isnan(a) != np.isnan(b)).any():
            yield f"{name}: differs by up to {largest:.3g}"


def _cells_differ(name: str, before: dict[str, str], after: dict[str, str], tolerance: float) -> Iterator[str]:
    for place in [*before, *(place for place in after if place not in before)]:
        a, b = before.get(place), after.get(place)
        if a == b:
            continue
        try:
            apart = abs(float(a) - float(b))
        except (TypeError, ValueError):
            apart = math.nan
        if not (tolerance and apart <= tolerance):
            yield f"{name}, {place}: {a} before, {b} after"


def made(revision: str | None, tiny: bool) -> Path:
    """The folder with what a revision gives (None: the files as they are), made now unless it is there."""
    profile = "tiny" if tiny else "quick"
    folder = KEPT / profile / (revision or "now")
    stamp = folder / "machine.json"
    here = {"cpu": provenance.cpu_name(), "torch": torch.__version__, "numpy": np.__version__}
    if revision and stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == here:
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        checkout = Path(temporary) / "checkout" if revision else ROOT
        if revision:
            git("worktree", "add", "--detach", str(checkout), revision)
        try:
            print(f"running {profile} at {revision or 'the files as they are'}", file=sys.stderr, flush=True)
            run(checkout, folder, *([] if tiny else ["reproduce", "--workers", "1"]))
        finally:
            if revision:
                git("worktree", "remove", "--force", str(checkout))
    stamp.write_text(json.dumps(here), encoding="utf-8")
    return folder


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("base", help="the revision to compare with")
    arguments.add_argument("--revision", help="the other one (default: the files as they are)")
    arguments.add_argument("--tiny", action="store_true", help="one seed of every training on little data")
    arguments.add_argument("--tolerance", type=float, default=0.0, help="of numbers; arrays are then not compared")
    args = arguments.parse_args(argv)
    try:
        revisions = [n and git("rev-parse", "--verify", f"{n}^{{commit}}") for n in (args.base, args.revision)]
        base, other = (made(revision, args.tiny) for revision in revisions)
    except (RuntimeError, subprocess.CalledProcessError) as problem:
        reason = getattr(problem, "stderr", None) or problem
        print(f"same: {args.base} beside {args.revision or 'the files as they are'}: {reason}", file=sys.stderr)
        return 2
    found = list(differences(base, other, args.tolerance))
    for line in found:
        print(line)
    n_arrays = sum(map(len, json.loads((base / "arrays.json").read_text(encoding="utf-8")).values()))
    print(f"{len(found)} differences in {len(measured(base))} files and {n_arrays} arrays, times left out")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
