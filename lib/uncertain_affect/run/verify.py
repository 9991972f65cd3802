"""Whether results are what a notebook recorded: their form, their checksums, and what can be rebuilt from them.

What a run measured cannot be known without running it again. What follows from its files can: of each verdict, whether
its interval gives it, and that of several parts, whether theirs do; of each table and figure, whether it is the file
that was recorded and still reads as one, and where there is evidence, whether it gives the same numbers; of the
scoreboard, the README's table and codecheck.yml, whether the recorded verdicts give them.
"""

import csv
import dataclasses
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from uncertain_affect.compute import parallel, paths
from uncertain_affect.compute.cache import file_checksum
from uncertain_affect.evidence import claims, printed, store
from uncertain_affect.run import layout, publish, reading, record, reproduce
from uncertain_affect.run.layout import AGAIN

# by how much, relative to it, a number may differ from what its evidence gives: processors add up in other orders
TOLERANCE = 1e-6


@dataclass
class Report:
    """What was looked at: the folders of runs, those without checksums, and what is wrong, a line each."""

    runs: list[Path] = field(default_factory=list)
    older: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [*self.problems, f"{len(self.runs)} runs looked at, {len(self.problems)} problems"]
        if self.older:
            lines.append(
                f"{len(self.older)} of them have no checksums (older schema): of these the form and the verdicts were "
                "checked, not whether a file has changed since"
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
    report = Report()
    for folder in folders:
        found = _runs(folder)
        if not found:
            raise ValueError(f"no recorded run in {folder}: name the folder of a run, or one above it")
        for run in found:
            if run not in report.runs:
                report.runs.append(run)
                try:
                    problems, older = check_run(run)
                    if recompute and not problems and (run / store.NAME).is_file():
                        problems = check_evidence(run)
                        progress(f"{run}: {f'{len(problems)} problems' if problems else 'follows from its evidence'}")
                except OSError as error:
                    problems, older = [f"{run} cannot be read: {error}"], False
                report.problems += problems
                report.older += [run] * older
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
    """What in the scoreboard, the README's table and codecheck.yml does not follow from the committed results."""
    problems = []
    try:
        generated = publish.generated()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"the scoreboard cannot be rebuilt: {error}"]
    for path, text in generated.items():
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            problems.append(f"{path} is not what the results give: rebuild it with `uncertain-affect record --refresh`")
    return problems


def check_run(folder: Path) -> tuple[list[str], bool]:
    """What is wrong with a run, a line each naming the file and the cure, and whether it is of an older schema."""
    if folder.is_symlink():
        return [f"{folder} is a symbolic link: results are files and folders of their own; copy them here"], False
    try:
        run = layout.read_run(folder)
    except (ValueError, OSError) as error:
        return [str(error)], False
    older = run.get("schema", 1) < layout.SCHEMA
    problems = list(layout.wrong_keys(folder, run))
    if problems:
        return problems, older
    if not older and run["checksum"] != layout.checksum_of_run(run):
        problems.append(f"{folder / 'run.json'} has changed since it was recorded: restore it, or {AGAIN}")
    place = run["profile"], run["corpus"], run["notebook"]
    if folder.absolute().parts[-3:] != place:
        problems.append(f"{folder} holds the run {'/'.join(place)}: move it to a folder of that name")
    return [*problems, *_check_files(folder, run), *_check_claims(folder, run)], older


def _check_files(folder: Path, run: dict) -> Iterator[str]:
    """Checksums, and that every file is one of a run and reads as what it is."""
    recorded = run.get("files")
    paths_ = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    yield from (
        f"{path} is a symbolic link: results are files of their own; {AGAIN}" for path in paths_ if path.is_symlink()
    )
    names = {path.relative_to(folder).as_posix() for path in paths_ if not path.is_symlink()}
    names -= {"run.json", f"{run['notebook']}.ipynb", f"{run['notebook']}.html"}  # these come after the checksums
    for name in sorted(names):
        path = folder / name
        if not _belongs(name) or (recorded is not None and name not in recorded):
            yield f"{path} was not recorded by this run: remove it"
        elif recorded is not None and file_checksum(path) != recorded[name]:
            yield f"{path} has changed since it was recorded: restore it, or {AGAIN}"
        elif path.suffix == ".csv":
            yield from _check_csv(path)
            if path.parent.name == "figures" and not path.with_suffix(".png").is_file():
                yield f"{path} has no {path.stem}.png beside it, which draws it: restore it, or {AGAIN}"
        elif path.suffix == ".png":
            yield from _check_picture(path)
        elif name == store.NAME:
            try:
                store.read(path)
            except store.EvidenceError as error:
                yield str(error)
    for name in sorted(set(recorded or {"claims.json"}) - names):
        yield f"{folder / name} is missing: restore it, or {AGAIN}"


def _belongs(name: str) -> bool:
    parts = Path(name).parts
    allowed = {"tables": {".csv"}, "figures": {".csv", ".png"}}
    single = name in ("claims.json", store.NAME)
    return single or (len(parts) == 2 and Path(name).suffix in allowed.get(parts[0], set()))


def _check_csv(path: Path) -> Iterator[str]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines(), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        yield f"{path} is no csv ({error}): restore it, or {AGAIN}"
        return
    if not rows:
        yield f"{path} is empty: restore it, or {AGAIN}"
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            yield f"{path}, row {line}: {len(row)} cells under {len(rows[0])} columns; restore it, or {AGAIN}"
        elif endless := [cell for cell in row if cell.lower().strip("+-") in ("inf", "infinity")]:
            yield f"{path}, row {line}: {endless[0]} is no number that was measured; {AGAIN}"


def _check_picture(path: Path) -> Iterator[str]:
    if not path.with_suffix(".csv").is_file():
        yield f"{path} has no {path.stem}.csv beside it with the numbers that it draws; {AGAIN}"
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.verify()
    except Exception as error:  # a damaged picture fails in many ways
        yield f"{path} is no picture ({error}): restore it, or {AGAIN}"


def check_evidence(folder: Path) -> list[str]:
    """What in a run does not follow from its evidence: its notebook shows it, and gives the same to one in a million.

    Returns:
        A line for each file that differs, with the first place where it does.
    """
    run = layout.read_run(folder)
    path = layout.notebooks()[run["notebook"]]
    own = layout.default_parameters(path)
    free = {"PROFILE", "CORPUS", *reading.OWN_PARAMETERS}
    shown = {name: value for name, value in run["parameters"].items() if name in own and name not in free}
    with tempfile.TemporaryDirectory() as place:
        options = reproduce.RunOptions(results=Path(place), failed=Path(place) / "failed")
        with parallel.environment(**{reading.EVIDENCE_VARIABLE: str(folder.absolute())}):
            try:
                (outcome,) = reproduce.reproduce(
                    [path], parameters={"PROFILE": layout.RECORDED} | shown, options=options, progress=publish.silent
                )
            except ValueError as error:
                return [f"{folder / store.NAME} cannot be shown: {error}"]
        if outcome.error:
            return [f"{folder / store.NAME} cannot be shown: {outcome.error}"]
        return list(_differences(folder, Path(place) / layout.RECORDED / run["corpus"] / run["notebook"]))


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
    found, waiting = {}, [("", json.loads(path.read_bytes()))]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{place}, {key}".removeprefix(", "), inner) for key, inner in items]
        else:
            found[place] = value
    return found


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
    """That each verdict follows from its interval, and that of several parts from theirs."""
    path = folder / "claims.json"
    if path.is_symlink() or not path.is_file():
        return  # reported with the files
    try:
        verdicts = record.read_verdicts(path)
    except ValueError as error:
        yield str(error)
        return
    for id_, verdict in verdicts.items():
        try:
            problem = check_verdict(printed.claim(id_), verdict)
        except ValueError as error:
            yield f"{path} does not hold verdicts ({error}); {AGAIN}"
            return
        if problem:
            yield f"{path}, {id_}: {problem}; {AGAIN}"
    notebook = layout.notebooks().get(run["notebook"])
    if notebook is None:
        yield f"{folder} is a run of {run['notebook']}, which is not in notebooks/ any more: remove the folder"
    elif run["corpus"] != layout.NO_CORPUS:
        if missing := [id_ for id_ in layout.metadata(notebook).get("claims", []) if id_ not in verdicts]:
            yield f"{path} lacks {', '.join(missing)}, which {run['notebook']} judges; {AGAIN}"


def check_verdict(claim: printed.Claim, verdict: claims.Verdict) -> str | None:
    """Why a recorded verdict does not follow from its interval or its parts; None if it does."""
    parts = verdict.parts
    if not parts:
        return _check_part(claim.stated(), verdict)
    if set(parts) != set(claim.parts):
        return f"the parts are {', '.join(parts)}, those of the claim are {', '.join(claim.parts) or 'none'}"
    for name, part in parts.items():
        if problem := _check_part(claim.stated(name), part):
            return f"{name}: {problem}"
    expected = claims.combine([part.verdict for part in parts.values()], claim.at_least or len(parts))
    if verdict.verdict != expected:
        return f"{verdict.verdict!r}, but the parts give {expected!r}"
    shown = (verdict.effect, verdict.low, verdict.high)
    if shown not in [(part.effect, part.low, part.high) for part in parts.values()]:
        return f"the effect {verdict.effect} with its interval is that of none of the parts"
    return None


def _check_part(stated: dict, verdict: claims.Verdict) -> str | None:
    effect, low, high, printed_effect = verdict.effect, verdict.low, verdict.high, stated.get("printed")
    if effect is None:
        if verdict.verdict != "not testable" or not verdict.reason:
            return f"{verdict.verdict!r} without an effect; only 'not testable', with a reason, has none"
        return None
    if not (low is not None and high is not None and low <= effect <= high):
        return f"the effect {effect} does not lie in its interval, {low} to {high}"
    ratio = effect / printed_effect if printed_effect else None
    if (ratio is None) != (verdict.size_ratio is None) or (ratio and not math.isclose(ratio, verdict.size_ratio)):
        return f"measured over printed is {ratio}, not {verdict.size_ratio}"
    # the interval is the one that was judged by, whatever its level; without width it is no evidence unless counted
    counted = low == high and not verdict.reason.startswith("the same in every unit")
    given = dataclasses.replace(claims.Effect.counted(effect), low=low, high=high, se=high - low, exact=counted)
    expected = claims.judge(stated["kind"], given, margin=stated.get("margin"), printed=printed_effect).verdict
    return None if verdict.verdict == expected else f"{verdict.verdict!r}, but the interval gives {expected!r}"
