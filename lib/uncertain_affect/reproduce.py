"""The batch driver: run notebooks headlessly with papermill.

All chosen notebooks run even if one fails. Each writes into a folder of its own, and what it recorded is moved into
place, with the executed notebook, only when it succeeded and its record is complete.
"""

import ast
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType

import nbformat
import papermill

from uncertain_affect import corpora, papers, paths, record

NO_CORPUS = "none"
CELL_TIMEOUT_S = 24 * 3600


class SelectionError(ValueError):
    """A notebook, parameter or corpus that does not exist or cannot be had; the message lists those that can."""


@dataclass
class Outcome:
    """How one notebook went. ``error`` is None where it succeeded."""

    notebook: str
    corpus: str
    seconds: float
    verdicts: Counter = field(default_factory=Counter)
    error: str | None = None
    without_corpus: tuple[str, ...] = ()  # the corpora it measures on, where it ran on none of them


def notebooks() -> dict[str, Path]:
    """Every numbered notebook by name, in order."""
    return {path.stem: path for path in sorted((paths.project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


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
    if not known:
        raise SelectionError(f"no notebooks of {paper or 'any paper'} in {paths.project_root() / 'notebooks'}")
    chosen = []
    for wanted in names or known:
        stem = Path(wanted).stem
        found = [path for name, path in known.items() if stem in (name, name[:2])]
        if not found:
            raise SelectionError(f"no notebook {wanted!r}; known: {', '.join(known)}")
        chosen += found
    return list(dict.fromkeys(chosen))


def default_parameters(path: Path) -> dict:
    """The literals of a notebook's parameters cell.

    Raises:
        SelectionError: the notebook has no cell tagged ``parameters``, or one that holds more than literals.
    """
    for cell in nbformat.read(path, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            values = {}
            try:
                for statement in ast.parse(cell.source).body:
                    (target,) = statement.targets
                    values[target.id] = ast.literal_eval(statement.value)
            except (AttributeError, SyntaxError, ValueError):
                raise SelectionError(f"{path.name}: the parameters cell may hold `NAME = literal` only") from None
            return values
    raise SelectionError(f"{path.name} has no cell tagged 'parameters'")


def check_parameters(path: Path, given: dict) -> dict:
    """``given``, strings of a command line included, as values of the types of the notebook's own literals.

    Papermill only warns of a name the notebook does not know, and then runs with the default.

    Raises:
        SelectionError: an unknown name, or a value that is not of its parameter's type.
    """
    defaults = default_parameters(path)
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise SelectionError(
            f"{path.name} has no parameter {', '.join(unknown)}; it has {', '.join(defaults)}. "
            "Name the notebooks that it is meant for"
        )
    cast = {}
    for name, value in given.items():
        kind = type(defaults[name])
        try:
            cast[name] = _cast(value, kind)
        except (SyntaxError, ValueError):
            raise SelectionError(f"{path.name}: {name} must be {kind.__name__}, not {value!r}") from None
    return cast


def _cast(value, kind: type):
    """The value as one of this type, where nothing is lost by it: bool("False") would be True, and int(0.5) 0."""
    if kind is NoneType:  # all is possible
        with contextlib.suppress(SyntaxError, ValueError, TypeError):
            return ast.literal_eval(value)
        return value
    if isinstance(value, str) and kind is not str:
        if kind is float:
            return float(value)  # knows nan and inf
        value = ast.literal_eval(value.capitalize() if kind is bool else value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError
    return value


def choose_corpus(path: Path, wanted: str | None, root: Path) -> str:
    """The corpus a notebook runs on: the one asked for, else the first of its own that the reader has, else none.

    Raises:
        SelectionError: the notebook does not run on the corpus asked for, or the corpus is not there.
    """
    own = metadata(path).get("corpora", [])
    if not own:
        return NO_CORPUS
    if wanted is None:
        return next((name for name in own if corpora.is_available(name, root)), NO_CORPUS)
    if wanted not in (*own, NO_CORPUS):
        raise SelectionError(f"{path.name} does not run on corpus {wanted!r}; it runs on {', '.join(own)}")
    if wanted != NO_CORPUS and not corpora.is_available(wanted, root):
        raise SelectionError(
            f"corpus {wanted!r} is missing, or a part of it, in {root / wanted}. `uncertain-affect data get {wanted} "
            f"--data-root {root}` fetches what may be fetched and says how to get the rest; `--corpus {NO_CORPUS}` "
            "runs what needs no corpus"
        )
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
        say: prints the line of progress of each notebook, in two pieces.

    All names are checked before anything runs. An interrupt leaves nothing half-written.

    Raises:
        SelectionError: something asked for does not exist or cannot be had.
    """
    folder = paths.data_root(root)
    if (root or os.environ.get("UNCERTAIN_AFFECT_DATA")) and not folder.is_dir():
        raise SelectionError(f"no data root {folder}; it is the folder that holds one folder per corpus")
    if corpus not in (None, NO_CORPUS, *corpora.KNOWN):
        raise SelectionError(f"no corpus {corpus!r}; known: {', '.join((*corpora.KNOWN, NO_CORPUS))}")
    if fixed := {"CORPUS", "DATA_ROOT"} & set(parameters or {}):
        raise SelectionError(f"{' and '.join(sorted(fixed))}: use --corpus and --data-root, which check what is there")
    jobs = []
    for path in chosen:
        use = choose_corpus(path, corpus, folder)
        given = dict(parameters or {})
        defaults = default_parameters(path)
        if "CORPUS" in defaults:
            given["CORPUS"] = use
            given["DATA_ROOT"] = os.path.relpath(folder, paths.project_root())
        values = defaults | check_parameters(path, given)
        if values.get("PROFILE") not in record.PROFILES:
            raise SelectionError(
                f"{path.name}: PROFILE is {values.get('PROFILE')!r}; it must be {' or '.join(record.PROFILES)}"
            )
        jobs.append((path, use, values))
    outcomes = []
    for i, (path, use, values) in enumerate(jobs, 1):
        say(f"[{i}/{len(jobs)}] {path.stem} on {use} ... ", end="", flush=True)
        outcome = _run(path, use, values)
        if use == NO_CORPUS:
            outcome.without_corpus = tuple(metadata(path).get("corpora", ()))
        say(f"{'FAILED' if outcome.error else 'done'} in {outcome.seconds:.0f} s", flush=True)
        outcomes.append(outcome)
    return outcomes


def _run(path: Path, corpus: str, parameters: dict) -> Outcome:
    clock = time.perf_counter()
    place = record.results_root() / parameters["PROFILE"] / corpus
    place.mkdir(parents=True, exist_ok=True)
    failed = place / f"{path.stem}.failed.ipynb"
    failed.unlink(missing_ok=True)
    error, verdicts = None, Counter()
    # what the notebook records lands here, so that it cannot be taken for an earlier run's, nor harm it
    staging = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=place))
    executed, folder = staging / path.name, staging / place.relative_to(record.results_root()) / path.stem
    try:
        with _results_in(staging):
            papermill.execute_notebook(
                _prepared(path, corpus),
                executed,
                parameters,
                kernel_name="python3",
                cwd=path.parent,
                progress_bar=False,
                execution_timeout=CELL_TIMEOUT_S,
                # or ipykernel warns at every start of its local port, and complains of its sockets when interrupted
                extra_arguments=["--log-level=CRITICAL"],
            )
        verdicts = _check_record(folder, parameters)
        os.replace(executed, folder / path.name)
        record.replace_folder(folder, place / path.stem)
    except Exception as problem:  # one notebook's trouble, of whatever kind, must not stop the others
        error = f"{type(problem).__name__}: {str(problem).strip().splitlines()[-1] if str(problem).strip() else ''}"
        if executed.exists():
            os.replace(executed, failed)
            error += f" (see {failed})"
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Outcome(path.stem, corpus, time.perf_counter() - clock, verdicts, error)


@contextlib.contextmanager
def _results_in(folder: Path) -> Iterator[None]:
    """Kernels started meanwhile record under this folder."""
    before = os.environ.get(record.RESULTS_VARIABLE)
    os.environ[record.RESULTS_VARIABLE] = str(folder)
    try:
        yield
    finally:
        del os.environ[record.RESULTS_VARIABLE]
        if before is not None:
            os.environ[record.RESULTS_VARIABLE] = before


def _check_record(folder: Path, parameters: dict) -> Counter:
    """How often each verdict was given, once the record proves complete and of this run.

    A notebook that ends early, with ``sys.exit()`` say, looks like a success to papermill.
    """
    if not folder.is_dir():
        raise ValueError(
            f"nothing was recorded as {'/'.join(folder.parts[-3:])}: did the last cell run, and did the notebook give "
            "record.Run its own name, profile and corpus?"
        )
    run = record.check_complete(folder)
    expected = record.plain(parameters)
    if run["parameters"] != expected:
        names = sorted(n for n in run["parameters"] | expected if run["parameters"].get(n) != expected.get(n))
        raise ValueError(f"recorded with other parameters than it was given: {', '.join(names)}")
    claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    return Counter(claim["verdict"] for claim in claims.values())


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
