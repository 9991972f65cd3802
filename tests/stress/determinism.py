"""The same numbers again, first with one worker and then with two, and other ones with another seed.

The whole quick reproduction takes a quarter of an hour each time. Within the minutes of `make stress` stand in for it,
of each paper, the notebook with the lowest number, which trains from an empty cache, and the first lesson that trains:
those that took least when they were recorded come first, as many as fit. `NOTEBOOKS=all` runs all that measure.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import same
from rows import CUT_SHORT, FAILED, NOT_HERE, PASSED, Row

from uncertain_affect.compute import paths
from uncertain_affect.run import layout, reproduce

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
            seconds[kind] = layout.read_run(run.parent)["seconds"], name
    fits, left = [], 60 * minutes
    for took, name in sorted(seconds.values()):
        if RUNS * took <= left:
            left -= RUNS * took
            fits.append(name)
    return fits, [name for _, name in sorted(seconds.values()) if name not in fits]


def run(minutes: float, notebooks: Sequence[str] = ()) -> Iterator[Row]:
    """Compare runs of the notebooks given, of ``all``, or of those that fit into the minutes."""
    left_out = []
    if list(notebooks) == ["all"]:
        names = [name for name, path in reproduce.notebooks().items() if reproduce.metadata(path).get("paper")]
    elif notebooks:
        names = [path.stem for path in reproduce.select(notebooks)]
    else:
        names, left_out = chosen(minutes)
    if left_out:
        outcome = f"takes longer than {minutes:.0f} minutes: {_numbers(names) or 'nothing'} stood in for it; "
        outcome += f"{_numbers(left_out)} and the rest are for NOTEBOOKS=all"
        yield Row("determinism", "the whole quick reproduction", 0, outcome, NOT_HERE if names else CUT_SHORT)
    if not names:
        return
    with tempfile.TemporaryDirectory() as folder:
        once, again, other = (Path(folder, name) for name in ("once", "again", "other"))
        same.run(same.ROOT, once, "reproduce", *names, "--workers", "1")
        same.run(same.ROOT, again, "reproduce", *names, "--workers", "2")
        changed = list(same.differences(once, again))
        n = len(same.measured(once))
        outcome = f"{n} tables, drawn numbers and answers, and all arrays, the same to the last byte"
        if changed:
            outcome = f"{len(changed)} differences, the first: {'; '.join(changed[:3])}"
        what = f"{_numbers(names)} quick, twice from an empty cache, with one worker and with two"
        yield Row("determinism", what, 2, outcome, FAILED if changed else PASSED)
        # the audit and the map have none to change
        seeded = [n for n in names if PARAMETER in reproduce.default_parameters(reproduce.notebooks()[n])]
        seeded = seeded if notebooks else seeded[:1]  # one is enough to see that a seed matters
        if seeded:
            same.run(same.ROOT, other, "reproduce", *seeded, "--workers", "2", "-p", PARAMETER, OTHER_SEED)
            changed = [line for line in same.differences(once, other) if any(f"/{name}/" in line for name in seeded)]
            still = [name for name in seeded if not any(f"/{name}/" in line for line in changed)]
            differ = f"{len(changed)} numbers differ, some of each"
            outcome = f"nothing differs in {', '.join(still)}" if still else differ
            what = f"{_numbers(seeded)} quick, another seed"
            yield Row("determinism", what, 1, outcome, FAILED if still else PASSED)


def _numbers(names: Sequence[str]) -> str:
    return ", ".join(name[:2] for name in names)
