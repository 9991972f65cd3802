"""The batch driver: run notebooks headlessly with papermill, here or on the workers of a cluster.

All chosen notebooks run even if one fails. Each writes into a folder of its own, and what it recorded is moved into
place, with the executed notebook, only when it succeeded and its record is complete.
"""

import ast
import contextlib
import errno
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType

import nbformat
import papermill
import psutil

from uncertain_affect import corpora
from uncertain_affect.compute import orphans, paths
from uncertain_affect.compute import parallel as cluster
from uncertain_affect.compute.cache import CACHE_VARIABLE, cache_dir
from uncertain_affect.evidence import printed as papers
from uncertain_affect.run import record

NO_CORPUS = "none"
WATCH_S = 0.5
# the folder where a notebook that is running records, see _staging_prefix
STAGING = re.compile(r"[^\s'\"()]*/\.\w+\." + re.escape(socket.gethostname()) + r"\.\d+\.\w+")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# what a notebook's cells are doing, by the words in the heading above them; the rest is training and testing
PARTS = {"imports": r"^imports", "parameters": r"^parameters", "data": r"^data\b"}


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
    traceback: str = ""
    parts: dict[str, float] = field(default_factory=dict)  # seconds by what the cells do
    memory: int = 0  # bytes, the most that its processes held at once


@dataclass(frozen=True)
class Job:
    """One notebook on one corpus with all its parameters. ``seconds`` is what a recorded run of it took, if any."""

    path: Path
    corpus: str
    parameters: dict
    seconds: float | None = None
    seconds_of: str = ""  # the profile and corpus of that run


@dataclass(frozen=True)
class Limits:
    """What one notebook may take: seconds, and bytes of memory, of its kernel and that kernel's children together."""

    seconds: float = 24 * 3600
    memory: float = 0.9 * psutil.virtual_memory().total


@dataclass(frozen=True)
class How:
    """What a worker is told besides the job: limits, whether to write pages, and the folders, which it shares."""

    limits: Limits
    html: bool
    results: Path
    failed: Path
    cache: Path


def notebooks() -> dict[str, Path]:
    """Every numbered notebook by name, in order."""
    return {path.stem: path for path in sorted((paths.project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def metadata(path: Path) -> dict:
    """What a notebook says it covers: paper, tables, figures, claims, corpora."""
    return nbformat.read(path, as_version=4).metadata.get("uncertain_affect", {})


def select(
    names: Sequence[str] = (), paper: str | None = None, *, claim: str | None = None, table: str | None = None
) -> list[Path]:
    """The notebooks named (by number, stem or file name), those of a paper, of a claim, of a table, or all.

    Args:
        claim: ``"ugn.c3"``.
        table: of a table or figure, ``"ugn.table1"``, or ``"table1"`` with ``paper``.

    Raises:
        SelectionError: nothing goes by that name.
    """
    known = notebooks()
    if paper is not None:
        if paper not in papers.keys():
            raise SelectionError(f"no paper {paper!r}; known: {', '.join(papers.keys())}")
        known = {name: path for name, path in known.items() if metadata(path).get("paper") == paper}
    if claim is not None:
        known = _owners(known, claim, "claim", lambda said: said.get("claims", []))
    if table is not None:
        if paper is not None and "." not in table:
            table = f"{paper}.{table}"
        known = _owners(
            known,
            table,
            "table or figure",
            lambda said: [f"{said.get('paper')}.{name}" for name in said.get("tables", []) + said.get("figures", [])],
        )
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


def _owners(known: dict[str, Path], wanted: str, what: str, of: Callable[[dict], list[str]]) -> dict[str, Path]:
    """Those of the notebooks that own a claim, a table or a figure."""
    owned = {name: of(metadata(path)) for name, path in known.items()}
    if chosen := {name: known[name] for name, ids in owned.items() if wanted in ids}:
        return chosen
    there = [id_ for ids in owned.values() for id_ in ids]
    raise SelectionError(f"no notebook owns {what} {wanted!r}; owned: {', '.join(there) or 'none'}")


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


def plan(
    chosen: Sequence[Path], *, corpus: str | None = None, root: str | None = None, parameters: dict | None = None
) -> list[Job]:
    """What :func:`reproduce` would run, checked: notebook, corpus, parameters, and how long a recorded run took.

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
        jobs.append(Job(path, use, values, *_recorded_seconds(path.stem, values["PROFILE"], use)))
    return jobs


def _recorded_seconds(notebook: str, profile: str, corpus: str) -> tuple[float | None, str]:
    """The seconds of a committed run of this profile, on this corpus if there is one, and which run it is."""
    found = sorted((paths.project_root() / "results" / profile).glob(f"*/{notebook}/run.json"))
    for run in sorted(found, key=lambda file: file.parts[-3] != corpus):
        with contextlib.suppress(ValueError):  # of verify to say
            if isinstance(seconds := record.read_run(run.parent).get("seconds"), int | float):
                return seconds, f"{profile} on {run.parts[-3]}"
    return None, ""


def plan_table(jobs: Sequence[Job]) -> str:
    """The plan as a table, with its total."""
    rows = [("notebook", "corpus", "profile", "seconds", "recorded")]
    for job in jobs:
        known = "unknown" if job.seconds is None else f"{job.seconds:.0f}"
        rows.append((job.path.stem, job.corpus, job.parameters["PROFILE"], known, job.seconds_of or "-"))
    known = [job.seconds for job in jobs if job.seconds is not None]
    total = f"{sum(known):.0f} s on the machine that recorded them, one after another"
    if unknown := len(jobs) - len(known):
        total += f"; {unknown} not recorded yet"
    return f"{_table(rows)}\n\n{len(jobs)} notebooks, {total}"


def reproduce(
    chosen: Sequence[Path],
    *,
    corpus: str | None = None,
    root: str | None = None,
    parameters: dict | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    slurm_jobs: int | None = None,
    limits: Limits | None = None,
    html: bool = False,
    say=print,
) -> list[Outcome]:
    """Run notebooks and report on each.

    Args:
        chosen: notebooks, from :func:`select`.
        corpus: corpus for all of them; default: for each the first it can run on that is there, else the parts
            that need no corpus.
        root: data root.
        parameters: values for the notebooks' parameters; those a notebook does not have are an error.
        workers: processes on this machine; with 1 everything runs here, one after another.
        scheduler: address of a Dask scheduler whose workers run the notebooks instead.
        slurm_jobs: number of SLURM jobs that run them instead.
        limits: what one notebook may take.
        html: write each executed notebook as a page as well.
        say: prints a line of progress for each notebook.

    All names are checked before anything runs. An interrupt leaves nothing half-written; what a killed run left is
    put in order first. Notebooks of one paper, which share trained networks, run one after another.

    Raises:
        SelectionError: something asked for does not exist or cannot be had, results cannot be written, or this machine
            cannot talk to itself.
        ClusterError: the scheduler does not answer or its workers run no notebooks.
    """
    jobs = plan(chosen, corpus=corpus, root=root, parameters=parameters)
    _check_writable(record.results_root())
    _check_loopback()
    for job in jobs:
        record.check_replaceable(record.results_root() / job.parameters["PROFILE"] / job.corpus / job.path.stem)
    record.recover(record.results_root())
    _clear_staging(record.results_root())
    how = How(limits or Limits(), html, record.results_root(), record.failed_root(), cache_dir())
    outcomes = {}
    if scheduler is not None:
        running = _on_cluster(cluster.existing(scheduler), jobs, how)
    elif slurm_jobs is not None:
        running = _on_cluster(cluster.slurm(slurm_jobs), jobs, how)
    elif workers > 1:
        running = _on_cluster(cluster.local(workers), jobs, how)
    else:
        running = ((job, _run(job, how)) for job in jobs)
    try:
        for i, (job, outcome) in enumerate(running, 1):
            if job.corpus == NO_CORPUS:
                outcome.without_corpus = tuple(metadata(job.path).get("corpora", ()))
            done = "FAILED" if outcome.error else "done"
            say(f"[{i}/{len(jobs)}] {job.path.stem} on {job.corpus}: {done} in {outcome.seconds:.0f} s", flush=True)
            outcomes[job.path] = outcome
    finally:
        _clear_staging(how.results)
    return [outcomes[job.path] for job in jobs]


def _check_writable(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as problem:
        raise SelectionError(
            f"results cannot be written to {root} ({problem.strerror}): make room or set "
            f"{record.RESULTS_VARIABLE} to another folder; nothing was run"
        ) from problem


def _check_loopback() -> None:
    """Without it a kernel is waited for in vain."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=10).close()
    except OSError as problem:
        raise SelectionError(
            f"the loopback interface, by which notebooks talk to their kernels, does not answer ({problem}): "
            "`ip link set lo up` as root starts it; nothing was run"
        ) from problem


def _on_cluster(started, jobs: Sequence[Job], how: How) -> Iterator[tuple[Job, Outcome]]:
    """Jobs with their outcomes as they end. The paper with most left to do goes first."""
    chains = defaultdict(list)
    for job in jobs:
        chains[metadata(job.path).get("paper") or job.path.stem].append(job)
    idle = sorted(chains.values(), key=lambda chain: -sum(job.seconds or 0 for job in chain))
    running = {}
    with started as client:
        has_gpu = any(cluster.GPU in offered for offered in cluster.offers(client))

        def take(offered):
            for chain in idle:
                wants_gpu = has_gpu and chain[0].parameters.get("DEVICE", "cpu") != "cpu"
                if not wants_gpu or cluster.GPU in offered:
                    idle.remove(chain)
                    running[chain[0].path.stem] = chain
                    return chain[0].path.stem, _run, (chain[0], how)
            return None

        for name, future in cluster.spread(client, cluster.NOTEBOOK, take):
            chain = running.pop(name)
            job = chain.pop(0)
            try:
                outcome = future.result()
            except Exception as problem:  # the worker died, several times over
                outcome = Outcome(job.path.stem, job.corpus, 0.0, error=_in_a_line(problem))
            if chain:
                idle.insert(0, chain)
            yield job, outcome


def _run(job: Job, how: How) -> Outcome:
    path, clock = job.path, time.perf_counter()
    place = how.results / job.parameters["PROFILE"] / job.corpus
    failed = how.failed / job.parameters["PROFILE"] / job.corpus / path.name
    failed.unlink(missing_ok=True)
    outcome = Outcome(path.stem, job.corpus, 0.0)
    place.mkdir(parents=True, exist_ok=True)
    # what the notebook records lands here, so that it cannot be taken for an earlier run's, nor harm it
    staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(path.stem), dir=place))
    executed, folder = staging / path.name, staging / place.relative_to(how.results) / path.stem
    variables = cluster.ENVIRONMENT | {record.RESULTS_VARIABLE: str(staging), CACHE_VARIABLE: str(how.cache)}
    variables["TQDM_MININTERVAL"] = "60"  # nobody watches
    if (address := _scheduler()) is not None:
        variables[cluster.SCHEDULER_VARIABLE] = address
    try:
        with cluster.environment(**variables), _Watch(how.limits) as watch:
            try:
                papermill.execute_notebook(
                    _prepared(path, job.corpus),
                    executed,
                    job.parameters,
                    kernel_name="python3",
                    cwd=path.parent,
                    progress_bar=False,
                    # or ipykernel warns at every start of its local port, and complains of its sockets when interrupted
                    extra_arguments=["--log-level=CRITICAL", f"--IPKernelApp.extra_extensions={orphans.__name__}"],
                )
            finally:
                outcome.memory = watch.most
                if watch.stopped is not None:  # whatever the kernel's death looked like
                    raise watch.stopped
        outcome.parts = _seconds_by_part(executed)
        outcome.verdicts = _check_record(folder, job.parameters)
        _finish_copy(executed)
        os.replace(executed, folder / path.name)
        if how.html:
            _write_html(folder / path.name)
        record.replace_folder(folder, place / path.stem)
    except Exception as problem:  # one notebook's trouble, of whatever kind, must not stop the others
        outcome.error = _in_a_line(problem)
        if cure := _cure(problem, outcome.error):  # what the cell was doing has nothing to do with it
            outcome.error += f"; {cure}"
        else:
            outcome.traceback = _traceback(problem, staging)
        if executed.exists():
            with contextlib.suppress(OSError, ValueError):  # it stays as papermill left it
                _finish_copy(executed)
            failed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(executed, failed)
            outcome.error += f" (see {failed})"
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    outcome.seconds = time.perf_counter() - clock
    return outcome


def _scheduler() -> str | None:
    """The address of the scheduler whose worker this process is, if it is one."""
    try:
        from distributed import get_worker

        return get_worker().scheduler.address
    except ValueError:
        return None


def _staging_prefix(stem: str) -> str:
    return f".{stem}.{socket.gethostname()}.{os.getpid()}."


def _clear_staging(root: Path) -> None:
    """Remove what killed runs on this machine left behind."""
    for folder in root.glob(f"*/*/.*.{socket.gethostname()}.*"):
        pid = folder.name.split(".")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


class _Watch:
    """Notes the most memory that the processes started meanwhile hold, and kills them when they pass the limits.

    Attributes:
        most: bytes.
        stopped: why they were killed, or None.
    """

    def __init__(self, limits: Limits):
        self.limits, self.most, self.stopped = limits, 0, None
        self._others = {child.pid for child in psutil.Process().children(recursive=True)}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_Watch":
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(WATCH_S) and self.stopped is None:
            processes = [p for p in psutil.Process().children(recursive=True) if p.pid not in self._others]
            memory = 0
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    memory += process.memory_info().rss
            self.most = max(self.most, memory)
            if memory > self.limits.memory:
                most = f"{self.limits.memory / 2**30:.2f}"
                self.stopped = MemoryError(f"took {memory / 2**30:.2f} GiB of memory, more than {most}")
            elif time.monotonic() - self._started > self.limits.seconds:
                self.stopped = TimeoutError(f"took longer than {self.limits.seconds / 60:.3g} minutes")
            if self.stopped is not None:
                for process in processes:
                    with contextlib.suppress(psutil.Error):
                        process.kill()


def _in_a_line(problem: Exception) -> str:
    text = str(problem).strip()
    return f"{type(problem).__name__}: {text.splitlines()[-1] if text else ''}"


def _cure(problem: Exception, line: str) -> str | None:
    """What to do where the machine has no more disk or memory to give; None where that is not it."""
    full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in line:
        return (
            "a disk is full: make room for the results and the cache, then run the same command: all that was "
            "recorded is intact"
        )
    # of papermill, the name of what the cell raised; PyTorch raises a RuntimeError
    if getattr(problem, "ename", None) == "MemoryError" or "DefaultCPUAllocator: can't allocate memory" in line:
        return "out of memory: close other programs or use fewer --workers, then run the same command"
    return None


def _traceback(problem: Exception, staging: Path) -> str:
    """What the cell that failed printed, without colours and without this machine's paths."""
    return _without_paths(ANSI.sub("", "\n".join(getattr(problem, "traceback", ()))), staging)


def _without_paths(text: str, staging: Path) -> str:
    text = text.replace(str(staging), "results/local")  # whose name may hold spaces, which STAGING stops at
    text = STAGING.sub("results/local", text).replace(str(paths.project_root()), ".")
    return text.replace(str(Path.home()), "~") if len(Path.home().parts) > 1 else text


def _finish_copy(path: Path) -> None:
    """Take out of an executed notebook what says when and where it was run, which stands in run.json, and widgets."""
    notebook = nbformat.read(path, as_version=4)
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"  # papermill draws one
        if cell.cell_type == "code":  # without a kernel a widget is a progress bar that stands still
            cell.outputs = [output for output in cell.outputs if not is_widget(output)]
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = _without_paths(output.text, path.parent)
            if "traceback" in output:
                output.traceback = [_without_paths(line, path.parent) for line in output.traceback]
            for mime, said in output.get("data", {}).items():
                if mime.startswith("text/"):
                    output.data[mime] = _without_paths(said, path.parent)
    partial = path.with_name(f".{path.name}.partial")
    nbformat.write(notebook, partial)
    os.replace(partial, path)


def is_widget(output: nbformat.NotebookNode) -> bool:
    """Whether a cell's output is a widget, of which only a line of text is left without a kernel."""
    return any("widget" in mime for mime in output.get("data", {}))


def _seconds_by_part(executed: Path) -> dict[str, float]:
    """Seconds of an executed notebook's cells by what they do, see ``PARTS``; drawing cells are those with figures."""
    heading, seconds = "", defaultdict(float)
    for cell in nbformat.read(executed, as_version=4).cells:
        if cell.cell_type == "markdown":
            headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            heading = headings[-1].lower() if headings else heading
            continue
        spent = cell.metadata.get("papermill", {}).get("duration") or 0.0
        part = next((name for name, words in PARTS.items() if re.search(words, heading)), "training and testing")
        if "run.figure(" in cell.source or "plots." in cell.source:
            part = "figures"
        seconds[part] += spent
    return dict(seconds)


def _write_html(notebook: Path) -> None:
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_filename(str(notebook))
    notebook.with_suffix(".html").write_text(page, encoding="utf-8")


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
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
