"""Whether results are what a notebook recorded: their form, their checksums, and what can be rebuilt from them.

What a run measured cannot be known without running it again. What follows from its files can: of each answer, whether
its interval gives it, and that of several parts, whether theirs do; of each table and figure, whether it is the file
that was recorded and still reads as one, and where there is evidence, whether it gives the same numbers; of the
scoreboard, the README's table and codecheck.yml, whether the recorded answers give them; of the claims, whether they
are those that were frozen before any run was judged.
"""

import csv
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import stats

from uncertain_affect.compute import parallel, paths
from uncertain_affect.compute.cache import file_checksum
from uncertain_affect.evidence import claims, printed, store
from uncertain_affect.evidence.claims import Answer
from uncertain_affect.run import layout, publish, reading, record, reproduce
from uncertain_affect.run.layout import AGAIN
from uncertain_affect.run.scoreboard import QUOTED

# by how much, relative to it, a number may differ from what its evidence gives: processors add up in other orders
TOLERANCE = 1e-6


@dataclass
class Report:
    """What was looked at: the folders of runs, those without checksums, those judged by other claims than the frozen
    ones, and what is wrong, a line each."""

    runs: list[Path] = field(default_factory=list)
    older: list[Path] = field(default_factory=list)
    exploratory: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [*self.problems, f"{len(self.runs)} runs looked at, {len(self.problems)} problems"]
        if self.older:
            lines.append(
                f"{len(self.older)} of them have no checksums (older schema): of these the form and the answers were "
                "checked, not whether a file has changed since"
            )
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
                    problems, older = check_run(run)
                    if recompute and not problems and (run / store.NAME).is_file():
                        problems = check_evidence(run)
                        progress(f"{run}: {f'{len(problems)} problems' if problems else 'follows from its evidence'}")
                except OSError as error:
                    problems, older = [f"{run} cannot be read: {error}"], False
                report.problems += problems
                report.older += [run] * older
                report.exploratory += [run] * _is_exploratory(run)
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


def _is_exploratory(folder: Path) -> bool:
    """Whether the answers of a run are not by the frozen claims."""
    try:
        return layout.is_exploratory(layout.read_run(folder)) and bool(record.read_answers(folder / "claims.json"))
    except (OSError, ValueError):
        return False  # which is reported elsewhere


def check_run(folder: Path) -> tuple[list[str], bool]:
    """What is wrong with a run, a line each naming the file and the cure, and whether it is of an older schema."""
    if folder.is_symlink():
        return [f"{folder} is a symbolic link: results are files and folders of their own; copy them here"], False
    try:
        run = layout.read_run(folder)
    except (ValueError, OSError) as error:
        return [str(error)], False
    older = run.get("schema", 1) == 1
    problems = list(layout.wrong_keys(folder, run))
    if problems:
        return problems, older
    if not older and run["checksum"] != layout.checksum_of_run(run):
        problems.append(f"{folder / 'run.json'} has changed since it was recorded: restore it, or {AGAIN}")
    place = run["profile"], run["corpus"], run["notebook"]
    if folder.absolute().parts[-3:] != place:
        problems.append(f"{folder} holds the run {'/'.join(place)}: move it to a folder of that name")
    problems += _check_judged_by(folder, run)
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


def _check_judged_by(folder: Path, run: dict) -> Iterator[str]:
    """That a run names the frozen claims whole, or others whole."""
    try:
        frozen = printed.frozen()
    except ValueError:
        return  # reported once for all
    said = run.get("claims", {})
    if said.get("commit") == frozen.commit and said.get("checksum") != frozen.checksum:
        yield (
            f"{folder / 'run.json'}: claims names commit {frozen.commit[:7]}, but what was judged is not what that "
            f"froze: restore the claims in results/printed, and {AGAIN}"
        )


def _check_claims(folder: Path, run: dict) -> Iterator[str]:
    """That each answer follows from its interval, and that of several parts from theirs."""
    path = folder / "claims.json"
    if path.is_symlink() or not path.is_file():
        return  # reported with the files
    try:
        answers = record.read_answers(path)
    except ValueError as error:
        yield str(error)
        return
    for id_, answer in answers.items():
        try:
            problem = check_answer(printed.claim(id_), answer)
        except ValueError as error:
            yield f"{path} does not hold answers ({error}); {AGAIN}"
            return
        if problem:
            yield f"{path}, {id_}: {problem}; {AGAIN}"
    notebook = layout.notebooks().get(run["notebook"])
    if notebook is None:
        yield f"{folder} is a run of {run['notebook']}, which is not in notebooks/ any more: remove the folder"
    elif run["corpus"] != layout.NO_CORPUS:
        if missing := [id_ for id_ in layout.metadata(notebook).get("claims", []) if id_ not in answers]:
            yield f"{path} lacks {', '.join(missing)}, which {run['notebook']} judges; {AGAIN}"


def check_answer(claim: printed.Claim, answer: Answer) -> str | None:
    """Why a recorded answer does not follow from its interval or its parts; None if it does.

    What is not recorded is believed: whether ``requires`` holds, and of a mean or a weakest part with some part against
    it, whether Holm's procedure finds that.
    """
    if not isinstance(claim.primary, dict):
        return _check_assertion(claim, "", answer)
    if set(answer.parts) != set(claim.primary):
        if _says_nothing(claim, answer) is None and not answer.parts:
            return None
        return f"the assertions are {', '.join(answer.parts) or 'none'}, those of the claim {', '.join(claim.primary)}"
    for letter, beneath in answer.parts.items():
        if problem := _check_assertion(claim, letter, beneath):
            return f"{letter}: {problem}"
    expected = claims.judge_apart(answer.parts)
    return None if answer == expected else f"{answer.answer!r}, but the assertions give {expected.answer!r}"


def _says_nothing(claim: printed.Claim, answer: Answer) -> str | None:
    """Why an answer without an effect is none."""
    allowed = answer.answer == QUOTED if claim.primary == "quoted" else answer.answer.startswith("needs ")
    allowed = allowed or answer.answer == "needs other data"
    return None if allowed and answer.effect is None else f"{answer.answer!r} without an effect"


def _check_assertion(claim: printed.Claim, letter: str, answer: Answer) -> str | None:
    if answer.effect is None:
        return _says_nothing(claim, answer)
    rule, listed = claim.assertions()[letter]
    rule, of_claim = "weakest" if rule == "quoted" else rule, claim.delta_of(letter)
    free = claim.parts_of == "any corpus"
    strange = [name for name in answer.parts if claim.assertion_of(name) != letter]
    if strange or (answer.parts and not free and set(answer.parts) != set(listed)):
        return f"the parts are {', '.join(answer.parts)}, those of the claim {', '.join(listed)}"
    for name, part in answer.parts.items():
        if part.effect is None:
            problem = _says_nothing(claim, part) if rule == "mean" else "has no effect, and all parts must hold"
        else:
            problem = _check_part(claim.stated(name), of_claim, part)
        if problem:
            return f"{name}: {problem}"
    if rule == "mean":
        of_mean = {"kind": "greater", "margin": None, "printed": claim.printed_effect(letter), "delta": of_claim}
        return _check_part(of_mean, None, answer, [part for part in answer.parts.values() if part.effect is not None])
    if answer.parts:
        return _check_weakest(answer, [claim.stated(name)["kind"] for name in answer.parts])
    # of one part alone the name is not kept, and on another corpus it is none of those listed
    stated = [*listed.values(), *([{"kind": "greater"}] if free else [])]
    problems = [_check_part(one, of_claim, answer) for one in stated]
    return None if None in problems else problems[0]


def _check_part(stated: dict, of_claim: float | None, answer: Answer, parts: Sequence[Answer] = ()) -> str | None:
    """Why an answer does not follow from its interval; of a mean, from it and its parts."""
    effect, low, high = answer.effect, answer.low, answer.high
    if None in (low, high, answer.se) or not low <= effect <= high:
        return f"the effect {effect} does not lie in its interval, {low} to {high}"
    if parts and not _equal(effect, math.fsum(part.effect for part in parts) / len(parts)):
        return f"the effect {effect} is not the mean of its parts"
    part = claims.Part(
        stated["kind"], _effect(answer, stated["kind"]), *map(stated.get, ("margin", "printed", "delta"))
    )
    expected = claims.judge({"": part}, delta=of_claim)
    for name in ("printed", "delta", "resolution", "size"):
        given, rebuilt = getattr(answer, name), getattr(expected, name)
        if not (given == rebuilt or _equal(given, rebuilt)):
            return f"{name} {given!r}, but the interval gives {rebuilt!r}"
    allowed = {expected.answer}
    found = [part.answer for part in parts]
    if expected.answer == "holds" and "fails" in found:
        allowed.add(f"holds in part, {found.count('holds')} of {len(parts)}")
    return _unless_allowed(answer, allowed)


def _unless_allowed(answer: Answer, allowed: set[str]) -> str | None:
    given = answer.answer
    if given == "not a test":
        return None if answer.reason else "'not a test' without a reason"
    if given.startswith("too small to see here; would need ") and "open" in allowed:
        return None
    return None if given in allowed else f"{given!r}, but the interval gives {' or '.join(map(repr, sorted(allowed)))}"


def _effect(answer: Answer, kind: str) -> claims.Effect:
    """The effect that an answer shows, with an interval that ends where it says also when it is drawn again."""
    df = math.inf if answer.df is None else answer.df
    exact = answer.se == 0 and answer.df is None  # counted, not the same in every unit by chance
    one_sided = (
        answer.effect - answer.low if kind == "equivalent" and answer.effect > 0 else answer.high - answer.effect
    )
    ways = np.array([[one_sided / stats.t.ppf((1 + claims.LEVEL) / 2, df)], [df]])
    interval = (answer.effect, answer.low, answer.high, answer.se, df, 0.0, answer.seeds, answer.clusters)
    return claims.Effect(*interval, exact=exact, ways=ways)


def _check_weakest(answer: Answer, kinds: Sequence[str]) -> str | None:
    parts = list(answer.parts.values())
    shown = [part for part in parts if (part.effect, part.low, part.high) == (answer.effect, answer.low, answer.high)]
    if not shown:
        return f"the effect {answer.effect} with its interval is that of none of the parts"
    if not any((p.printed, p.delta, p.size) == (answer.printed, answer.delta, answer.size) for p in shown):
        return "printed effect, delta and size are not those of the part that it shows"
    given = {part.answer for part in parts}
    allowed = {"open"}
    if given == {"holds"}:
        allowed = {"holds"}
    elif "equivalent" not in kinds and all(
        p.delta is not None and -p.delta < p.low and p.high < p.delta for p in parts
    ):
        allowed = {"no effect"}
    if "fails" in given:
        allowed.add("fails")
    return _unless_allowed(answer, allowed)
