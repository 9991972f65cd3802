"""The same numbers again, first with one worker and then with two, and other ones with another seed.

The whole quick reproduction takes a quarter of an hour each time. Within the minutes of `make stress` stand in for it,
of each paper, the notebook with the lowest number, which trains from an empty cache, and the first lesson that trains:
those that took least when they were recorded come first, as many as fit. `NOTEBOOKS=all` runs all that measure.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rows import CUT_SHORT, FAILED, NOT_HERE, PASSED, Row

from uncertain_affect.compute import paths
from uncertain_affect.run import record, reproduce

# how often the seconds of one run are spent: with one worker and with two; another seed has a run of the shortest
RUNS = 2
PARAMETER = "SEED"
OTHER_SEED = "1000"


def chosen(minutes: float) -> tuple[list[str], list[str]]:
    """Notebooks that stand in for all within the minutes, and those that would have, had there been more time."""
    seconds = {}
    for name, path in reproduce.notebooks().items():
        run = paths.project_root() / "results" / "quick" / "simulated" / name / "run.json"
        kind = reproduce.metadata(path).get("paper") or "lessons"
        if run.is_file() and kind not in seconds and (kind != "lessons" or "lesson" in name):
            seconds[kind] = record.read_run(run.parent)["seconds"], name
    fits, left = [], 60 * minutes
    by_seconds = sorted(seconds.values())
    for took, name in by_seconds:
        if RUNS * took <= left:
            left -= RUNS * took
            fits.append(name)
    return fits, [name for _, name in by_seconds if name not in fits]


def measured(root: Path, name: str, notebooks: Sequence[str], *options: str) -> dict[str, bytes]:
    """The tables, drawn numbers and verdicts of a run from an empty cache, by path; every process has one thread.

    Raises:
        RuntimeError: a notebook failed.
    """
    folder = root / name
    variables = {"UNCERTAIN_AFFECT_CACHE": f"{folder}/cache", "UNCERTAIN_AFFECT_RESULTS": f"{folder}/results"}
    done = subprocess.run(
        [sys.executable, "-m", "uncertain_affect.run.cli", "reproduce", *notebooks, *options],
        env=os.environ | variables | {"OMP_NUM_THREADS": "1"},
        cwd=paths.project_root(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {(done.stdout + done.stderr)[-1000:]}")
    files = [*(folder / "results").rglob("*.csv"), *(folder / "results").rglob("claims.json")]
    return {str(path.relative_to(folder / "results")): path.read_bytes() for path in sorted(files)}


def differ(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The paths of which the two hold different bytes."""
    return sorted(path for path in {*one, *other} if one.get(path) != other.get(path))


def run(minutes: float, notebooks: Sequence[str] = ()) -> Iterator[Row]:
    """Compare runs of the notebooks given, of ``all``, or of those that fit into the minutes."""
    left_out = []
    if list(notebooks) == ["all"]:
        names = [name for name, path in reproduce.notebooks().items() if reproduce.metadata(path).get("paper")]
    elif notebooks:
        names = [path.stem for path in reproduce.select(notebooks)]
    else:
        names, left_out = chosen(minutes)
    said = f"{', '.join(name[:2] for name in names)} quick"
    if left_out:
        yield Row(
            "determinism",
            "the whole quick reproduction",
            0,
            f"takes longer than {minutes:.0f} minutes: {', '.join(name[:2] for name in names) or 'nothing'} stood in "
            f"for it; {', '.join(name[:2] for name in left_out)} and the rest are for NOTEBOOKS=all",
            NOT_HERE if names else CUT_SHORT,
        )
    if not names:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        once = measured(root, "once", names, "--workers", "1")
        again = measured(root, "again", names, "--workers", "2")
        # the audit and the map have none to change
        seeded = [n for n in names if PARAMETER in reproduce.default_parameters(reproduce.notebooks()[n])]
        if not notebooks:
            seeded = seeded[:1]  # one is enough to see that a seed matters
        other = measured(root, "other", seeded, "--workers", "2", "-p", PARAMETER, OTHER_SEED) if seeded else {}
    changed = differ(once, again)
    yield Row(
        "determinism",
        f"{said}, twice from an empty cache, with one worker and with two",
        2,
        f"{len(changed)} of {len(once)} differ: {', '.join(changed[:5])}"
        if changed
        else f"{len(once)} tables, drawn numbers and verdicts the same to the last byte",
        FAILED if changed else PASSED,
    )
    if seeded:
        changed = [path for path in differ(once, other) if path in other]
        still = sorted({path.split("/")[2] for path in other} - {path.split("/")[2] for path in changed})
        yield Row(
            "determinism",
            f"{', '.join(name[:2] for name in seeded)} quick, another seed",
            1,
            f"nothing differs in {', '.join(still)}"
            if still
            else f"{len(changed)} of {len(other)} differ, some of every notebook",
            FAILED if still else PASSED,
        )
