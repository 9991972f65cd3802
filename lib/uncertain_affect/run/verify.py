"""Whether results are what a notebook recorded: their form, their checksums, and what can be rebuilt from them.

What a run measured cannot be known without running it again. What follows from its files can: of each file, whether it
is the one that was recorded; of each table, figure and answer, whether the evidence gives the same; of the scoreboard
and the README's summary, whether the recorded answers give them; of the claims, whether they are those that were frozen
before any run was judged.
"""

import contextlib
import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from uncertain_affect.compute import parallel, paths
from uncertain_affect.compute.cache import file_checksum
from uncertain_affect.evidence import printed, store
from uncertain_affect.run import layout, publish, reading, record, reproduce
from uncertain_affect.run.layout import AGAIN

# what a run writes beside run.json
FILES = re.compile(rf"claims\.json|{re.escape(store.NAME)}|tables/[^/]+\.csv|figures/[^/]+\.(csv|png)")
# by how much, relative to it, a number may differ from what its evidence gives: processors add up in other orders
TOLERANCE = 1e-6


@dataclass
class Report:
    """What was looked at: the folders of runs, those judged by other claims than the frozen ones, and what is wrong, a
    line each."""

    runs: list[Path] = field(default_factory=list)
    exploratory: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [*self.problems, f"{len(self.runs)} runs looked at, {len(self.problems)} problems"]
        if self.exploratory:
            lines.append(
                f"{len(self.exploratory)} of them are exploratory: not judged by the claims as they were frozen"
            )
        return "\n".join(lines)


def verify(folders: Sequence[Path] = (), *, recompute: bool = False, progress: Callable = lambda _: None) -> Report:
    """Look at runs, or at all runs under a folder; default: the committed results and the reader's own.

    Args:
        recompute: whether all that follows from evidence is computed again, by running each notebook that has some.
        progress: gets a line for each of these.

    Raises:
        ValueError: a folder is not there, or there is no run in it.
    """
    committed = paths.project_root() / "results"
    if not folders:
        folders = [committed, *([layout.results_root()] if layout.results_root().is_dir() else [])]
    report = Report(problems=check_frozen())
    for folder in folders:
        found = _runs(folder)
        if not found:
            raise ValueError(f"no recorded run in {folder}: name the folder of a run, or one above it")
        for run in found:
            if run not in report.runs:
                report.runs.append(run)
                try:
                    problems = check_run(run)
                    if recompute and not problems:
                        problems = check_evidence(run)
                        if (run / store.NAME).is_file():
                            found = f"{len(problems)} problems" if problems else "follows from its evidence"
                            progress(f"{run}: {found}")
                except OSError as error:
                    problems = [f"{run} cannot be read: {error}"]
                report.problems += problems
                with contextlib.suppress(OSError, ValueError):  # which are among the problems
                    if layout.is_exploratory(layout.read_run(run)) and record.read_answers(run / "claims.json"):
                        report.exploratory.append(run)
        if folder.resolve() == committed.resolve():
            report.problems += check_generated()
    return report


def _runs(folder: Path) -> list[Path]:
    """The folders of runs: the one given, or those at their place below it, whatever they hold."""
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}")
    if (folder / "run.json").exists() or (folder / "claims.json").exists():
        return [folder]
    if folder.name in layout.PROFILES or folder.parent.name in layout.PROFILES:
        below = "*/[!.]*" if folder.name in layout.PROFILES else "[!.]*"
        return [path for path in sorted(folder.glob(below)) if path.is_dir()]
    return layout.runs(folder)


def check_generated() -> list[str]:
    """What in the scoreboard and the README's summary does not follow from the committed results."""
    problems = []
    try:
        generated = publish.generated()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"the scoreboard cannot be rebuilt: {error}"]
    for path, text in generated.items():
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            problems.append(f"{path} is not what the results give: rebuild it with `uncertain-affect record --refresh`")
    return problems


def check_frozen() -> list[str]:
    """How the claims differ from those that were frozen, a line."""
    try:
        frozen, found = printed.frozen(), printed.claims_checksum()
    except ValueError as error:
        return [str(error)]
    if found == frozen.checksum:
        return []
    return [
        f"{paths.project_root() / 'results' / 'printed'}: what is judged is not what commit {frozen.commit[:7]} froze "
        f"(`git diff {frozen.commit[:7]} -- results/printed` shows it): restore it, or enter the change in frozen.json"
    ]


def check_run(folder: Path) -> list[str]:
    """What is wrong with a run, a line each naming the file and the cure."""
    if folder.is_symlink():
        return [f"{folder} is a symbolic link: results are files and folders of their own; copy them here"]
    try:
        run = layout.read_run(folder)
    except (ValueError, OSError) as error:
        return [str(error)]
    problems = []
    if run["checksum"] != layout.checksum_of_run(run):
        problems.append(f"{folder / 'run.json'} has changed since it was recorded: restore it, or {AGAIN}")
    place = layout.place(run["profile"], run["corpus"], run["parameters"].get("FEATURES", "")) / run["notebook"]
    if folder.absolute().parts[-3:] != place.parts:
        problems.append(f"{folder} holds the run {place.as_posix()}: move it to a folder of that name")
    return [*problems, *_check_files(folder, run), *_check_claims(folder, run)]


def _check_files(folder: Path, run: dict) -> Iterator[str]:
    """Checksums, and that every file is one that a run writes."""
    recorded = run["files"]
    paths_ = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    yield from (
        f"{path} is a symbolic link: results are files of their own; {AGAIN}" for path in paths_ if path.is_symlink()
    )
    names = {path.relative_to(folder).as_posix() for path in paths_ if not path.is_symlink()}
    names -= {"run.json", f"{run['notebook']}.ipynb", f"{run['notebook']}.html"}  # these come after the checksums
    for name in sorted(names):
        path = folder / name
        if name not in recorded or not FILES.fullmatch(name):
            yield f"{path} was not recorded by this run: remove it"
        elif file_checksum(path) != recorded[name]:
            yield f"{path} has changed since it was recorded: restore it, or {AGAIN}"
        elif name == store.NAME:
            try:
                store.read(path)
            except store.EvidenceError as error:
                yield str(error)
    for name in sorted({*recorded, "claims.json"} - names):
        yield f"{folder / name} is missing: restore it, or {AGAIN}"


def check_evidence(folder: Path) -> list[str]:
    """What in a run does not follow from its evidence: its notebook shows it, and gives the same to one in a million.

    Returns:
        A line for each file that differs, with the first place where it does; one where there are answers that no
        evidence gives.
    """
    run = layout.read_run(folder)
    if store.NAME not in run["files"]:
        path = folder / "claims.json"
        shown = [id_ for id_, answer in record.read_answers(path).items() if answer.effect is not None or answer.parts]
        return [f"{path}: no {store.NAME} gives the answers to {', '.join(shown)}; {AGAIN}"] if shown else []
    path = layout.notebooks()[run["notebook"]]
    own = layout.default_parameters(path)
    free = {"PROFILE", "CORPUS", *reading.OWN_PARAMETERS}
    given = {name: value for name, value in run["parameters"].items() if name in own and name not in free}
    with parallel.environment(**{reading.EVIDENCE_VARIABLE: str(folder.absolute())}):
        try:
            with reproduce.shown(path, given) as (outcome, again):
                problem = outcome.error
                differences = [] if problem else list(_differences(folder, again))
        except ValueError as error:
            problem = error
    return [f"{folder / store.NAME} cannot be shown: {problem}"] if problem else differences


def _differences(folder: Path, again: Path) -> Iterator[str]:
    """A line for each table, figure's data and answer of a run that is not the same in another."""
    names = {p.relative_to(f).as_posix() for f in (folder, again) for p in f.rglob("*.csv")} | {"claims.json"}
    for name in sorted(names):
        path = folder / name
        if not (again / name).is_file():
            yield f"{path}: {folder.name} does not write it from its evidence; {AGAIN}"
        elif not path.is_file():
            yield f"{path} is missing: {folder.name} writes it from its evidence; {AGAIN}"
        elif difference := _difference(_cells(path), _cells(again / name)):
            yield f"{path}, {difference}; {AGAIN}"


def _cells(path: Path) -> dict[str, str | float | None]:
    """Each value in a csv or JSON file by its place in words."""
    if path.suffix == ".csv":
        head, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        named = path.parent.name == "tables"  # each row, by its first cell
        return {
            f"row {i}{f' ({row[0]})' if named else ''}, column {column}": cell
            for i, row in enumerate(rows, 2)
            for column, cell in zip(head, row, strict=False)
        }
    content = pd.json_normalize(json.loads(path.read_bytes()), sep=", ")
    return content.astype(object).iloc[0].to_dict()


def _difference(recorded: dict, again: dict) -> str | None:
    """The first place where the two differ, and how."""
    for place in dict.fromkeys([*recorded, *again]):
        if place not in again or place not in recorded:
            return f"{place}: is {'recorded' if place in recorded else 'given by the evidence'} alone"
        if not _equal(recorded[place], again[place]):
            return f"{place}: recorded {recorded[place]}, the evidence gives {again[place]}"
    return None


def _equal(a: str | float | None, b: str | float | None) -> bool:
    try:
        return a == b or math.isclose(float(a), float(b), rel_tol=TOLERANCE, abs_tol=TOLERANCE / 1000)
    except (TypeError, ValueError):
        return False


def _check_claims(folder: Path, run: dict) -> Iterator[str]:
    """That the answers are those that the notebook gives, and can be computed again."""
    path = folder / "claims.json"
    if path.is_symlink() or not path.is_file():
        return  # reported with the files
    try:
        answers = record.read_answers(path)
    except ValueError as error:
        yield str(error)
        return
    notebook = layout.notebooks().get(run["notebook"])
    if notebook is None:
        yield f"{folder} is a run of {run['notebook']}, which is not in notebooks/ any more: remove the folder"
    elif run["corpus"] != layout.NO_CORPUS:
        if missing := [id_ for id_ in layout.metadata(notebook).get("claims", []) if id_ not in answers]:
            yield f"{path} lacks {', '.join(missing)}, which {run['notebook']} judges; {AGAIN}"
