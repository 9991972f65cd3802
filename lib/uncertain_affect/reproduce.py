"""The batch driver: run notebooks headlessly with papermill.

All chosen notebooks run even if one fails; an executed notebook is moved into place only when it succeeded and left
a fresh, complete record.
"""

import ast
import datetime
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill

from uncertain_affect import corpora, papers, record
from uncertain_affect.paths import data_root, project_root

NO_CORPUS = "none"
CELL_TIMEOUT_S = 24 * 3600


class SelectionError(ValueError):
    """A notebook, parameter or corpus that does not exist; the message lists those that do."""


@dataclass
class Outcome:
    """How one notebook went. ``error`` is None where it succeeded."""

    notebook: str
    corpus: str
    seconds: float
    verdicts: Counter = field(default_factory=Counter)
    error: str | None = None
    without_corpus: bool = False  # it measures on a corpus, and none was there


def notebooks() -> dict[str, Path]:
    """Every numbered notebook by name, in order."""
    return {path.stem: path for path in sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def metadata(path: Path) -> dict:
    """What a notebook says it covers: paper, tables, figures, claims, corpora."""
    return nbformat.read(path, as_version=4).metadata.get("uncertain_affect", {})


def select(names: Sequence[str] = (), paper: str | None = None) -> list[Path]:
    """The notebooks named (by number, stem or file name), or all of a paper, or all.

    Raises:
        SelectionError: nothing goes by that name.
    """
    known = notebooks()
    if paper is not None:
        if paper not in papers.keys():
            raise SelectionError(f"no paper {paper!r}; known: {', '.join(papers.keys())}")
        known = {name: path for name, path in known.items() if metadata(path).get("paper") == paper}
    if not names:
        return list(known.values())
    chosen = []
    for wanted in names:
        stem = Path(wanted).stem
        found = [path for name, path in known.items() if stem in (name, name[:2])]
        if not found:
            raise SelectionError(f"no notebook {wanted!r}; known: {', '.join(known)}")
        chosen += found
    return chosen


def default_parameters(path: Path) -> dict:
    """The literals of a notebook's parameters cell.

    Raises:
        SelectionError: the notebook has no cell tagged ``parameters``, or one that holds more than literals.
    """
    for cell in nbformat.read(path, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            values = {}
            for statement in ast.parse(cell.source).body:
                try:
                    (target,) = statement.targets
                    values[target.id] = ast.literal_eval(statement.value)
                except (AttributeError, ValueError):
                    raise SelectionError(f"{path.name}: the parameters cell may hold literals only") from None
            return values
    raise SelectionError(f"{path.name} has no cell tagged 'parameters'")


def check_parameters(path: Path, given: dict) -> dict:
    """``given`` cast to the types of the notebook's own literals.

    Papermill only warns of a name the notebook does not know, and then runs with the default.

    Raises:
        SelectionError: an unknown name, or a value that is not of its parameter's type.
    """
    defaults = default_parameters(path)
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise SelectionError(f"{path.name} has no parameter {', '.join(unknown)}; it has {', '.join(defaults)}")
    cast = {}
    for name, value in given.items():
        kind = type(defaults[name])
        try:
            cast[name] = value if defaults[name] is None else kind(value)
        except (TypeError, ValueError):
            raise SelectionError(f"{path.name}: {name} must be {kind.__name__}, not {value!r}") from None
    return cast


def choose_corpus(path: Path, wanted: str | None, root: Path) -> str:
    """The corpus a notebook runs on: the one asked for, else the first of its own that the reader has, else none.

    Raises:
        SelectionError: the notebook does not run on the corpus asked for.
    """
    own = metadata(path).get("corpora", [])
    if not own:
        return NO_CORPUS
    if wanted is None:
        return next((name for name in own if corpora.is_available(name, root)), NO_CORPUS)
    if wanted not in (*own, NO_CORPUS):
        raise SelectionError(f"{path.name} does not run on corpus {wanted!r}; it runs on {', '.join(own)}")
    return wanted


def reproduce(
    chosen: Sequence[Path],
    *,
    corpus: str | None = None,
    root: str | None = None,
    parameters: dict | None = None,
    say=print,
) -> list[Outcome]:
    """Run notebooks one after another and report on each.

    Args:
        chosen: notebooks, from :func:`select`.
        corpus: corpus for all of them; default: for each the first it can run on that is there, else the parts
            that need no corpus.
        root: data root.
        parameters: values for the notebooks' parameters; those a notebook does not have are an error.
        say: gets one line of progress per notebook.

    All names are checked before anything runs.
    """
    folder = data_root(root)
    jobs = []
    for path in chosen:
        use = choose_corpus(path, corpus, folder)
        given = dict(parameters or {})
        defaults = default_parameters(path)
        if "CORPUS" in defaults:
            given["CORPUS"] = use
            given["DATA_ROOT"] = os.path.relpath(folder, project_root())
        jobs.append((path, use, {**defaults, **check_parameters(path, given)}))
    outcomes = []
    for i, (path, use, values) in enumerate(jobs, 1):
        say(f"[{i}/{len(jobs)}] {path.stem} on {use} ...")
        outcome = _run(path, use, values)
        outcome.without_corpus = use == NO_CORPUS and bool(metadata(path).get("corpora"))
        say(f"[{i}/{len(jobs)}] {path.stem}: {outcome.error or 'done'} ({outcome.seconds:.0f} s)")
        outcomes.append(outcome)
    return outcomes


def _run(path: Path, corpus: str, parameters: dict) -> Outcome:
    started, clock = datetime.datetime.now(datetime.UTC).replace(microsecond=0), time.perf_counter()
    profile = parameters.get("PROFILE", "quick")
    folder = record.results_root() / profile / corpus
    folder.mkdir(parents=True, exist_ok=True)
    source, executed = folder / f".{path.stem}.source.ipynb", folder / f".{path.stem}.partial.ipynb"
    failed = folder / f"{path.stem}.failed.ipynb"
    failed.unlink(missing_ok=True)
    nbformat.write(_prepared(path, corpus), source)
    error, verdicts = None, Counter()
    try:
        papermill.execute_notebook(
            source,
            executed,
            parameters,
            kernel_name="python3",
            cwd=path.parent,
            progress_bar=False,
            execution_timeout=CELL_TIMEOUT_S,
        )
        run = record.check_complete(folder / path.stem)
        if datetime.datetime.fromisoformat(run["started"]) < started:
            raise ValueError(f"{folder / path.stem} is older than this run: the last cell did not record anything")
        if run["parameters"] != parameters:
            raise ValueError(f"{folder / path.stem} was recorded with other parameters: {run['parameters']}")
        claims = json.loads((folder / path.stem / "claims.json").read_text(encoding="utf-8"))
        verdicts = Counter(claim["verdict"] for claim in claims.values())
        os.replace(executed, folder / path.stem / f"{path.stem}.ipynb")
    except Exception as problem:  # one notebook's trouble, of whatever kind, must not stop the others
        error = f"{type(problem).__name__}: {str(problem).strip().splitlines()[-1] if str(problem).strip() else ''}"
        if executed.exists():
            os.replace(executed, failed)
            error += f" (see {failed})"
    finally:
        source.unlink(missing_ok=True)
        executed.unlink(missing_ok=True)
    return Outcome(path.stem, corpus, time.perf_counter() - clock, verdicts, error)


def _prepared(path: Path, corpus: str) -> nbformat.NotebookNode:
    """The notebook to execute: without outputs, and without the cells that need a corpus where there is none."""
    notebook = nbformat.read(path, as_version=4)
    if corpus == NO_CORPUS:
        notebook.cells = [c for c in notebook.cells if "needs-corpus" not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def summary(outcomes: Sequence[Outcome]) -> str:
    """A table: notebook, corpus, seconds, verdict counts, and what failed."""
    rows = [("notebook", "corpus", "seconds", "verdicts")]
    for o in outcomes:
        counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(o.verdicts.items())) or "-"
        rows.append((o.notebook, o.corpus, f"{o.seconds:.0f}", "FAILED" if o.error else counts))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
