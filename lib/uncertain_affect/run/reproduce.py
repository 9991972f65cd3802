"""The batch driver: run notebooks headlessly with papermill, here or on the workers of a cluster.

All chosen notebooks run even if one fails. Each writes into a folder of its own, and what it recorded is moved into
place, with the executed notebook, only when it succeeded and its record is complete.
"""

import ast
import contextlib
import errno
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType

import nbformat
import papermill
import psutil
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor
from pydantic import TypeAdapter

from uncertain_affect import corpora
from uncertain_affect.compute import kernels, parallel, paths
from uncertain_affect.compute.cache import CACHE_VARIABLE, cache_dir
from uncertain_affect.compute.replacing import recover, replace_folder, replacing
from uncertain_affect.evidence import printed
from uncertain_affect.run import layout, reading, record, scoreboard
from uncertain_affect.run.layout import NO_CORPUS, SelectionError, default_parameters, metadata, notebooks

WATCH_S = 0.5
# the folder where a notebook that is running records, see _staging_prefix
STAGING = re.compile(r"[^\s'\"()]*/\.\w+\." + re.escape(socket.gethostname()) + r"\.\d+\.\w+")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# the metadata that a notebook and its cells have when they are committed
OWN, OWN_OF_CELLS = ("kernelspec", "language_info", "uncertain_affect"), ("tags", "alt")


@dataclass
class Outcome:
    """How one notebook went. ``error`` is None where it succeeded."""

    notebook: str
    corpus: str
    seconds: float
    answers: Counter = field(default_factory=Counter)  # to claims, by kind
    error: str | None = None
    traceback: str = ""
    cells: dict[str, float] = field(default_factory=dict)  # seconds of each by id
    memory: int = 0  # bytes, the most that its processes held at once


@dataclass(frozen=True)
class Job:
    """One notebook on one corpus with all its parameters.

    ``seconds`` is what a recorded run of it took, if any, and ``evidence`` the folder of the run that it shows.
    """

    path: Path
    corpus: str
    parameters: dict
    seconds: float | None = None
    seconds_of: str = ""  # the profile and corpus of that run
    evidence: Path | None = None

    @property
    def place(self) -> Path:
        return layout.place(self.parameters["PROFILE"], self.corpus, self.parameters.get("FEATURES", ""))


@dataclass(frozen=True)
class RunOptions:
    """With what each notebook is run, here or on a worker, which shares the folders with this machine."""

    seconds: float = 24 * 3600  # that it may take
    memory: float = 0.9 * psutil.virtual_memory().total  # bytes for its kernel and the kernel's children
    html: bool = False  # whether its page is written as well
    results: Path = field(default_factory=layout.results_root)
    failed: Path = field(default_factory=layout.failed_root)
    cache: Path = field(default_factory=cache_dir)


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
        if paper not in printed.keys():
            raise SelectionError(f"no paper {paper!r}; known: {', '.join(printed.keys())}")
        known = {name: path for name, path in known.items() if metadata(path).get("paper") == paper}
        table = f"{paper}.{table}" if table and "." not in table else table
    for what, id_ in (("claim", claim), ("table or figure", table)):
        if id_ is not None:
            known = _owners(known, what, id_)
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


def _owners(known: dict[str, Path], what: str, id_: str) -> dict[str, Path]:
    """Those of the notebooks that own a claim, or a table or figure."""
    owned = {}
    for name, about in ((name, metadata(path)) for name, path in known.items()):
        shown = [f"{about.get('paper')}.{name}" for name in about.get("tables", []) + about.get("figures", [])]
        owned[name] = about.get("claims", []) if what == "claim" else shown
    owners = {name: known[name] for name, ids in owned.items() if id_ in ids}
    if not owners:
        there = ", ".join(id_ for ids in owned.values() for id_ in ids)
        raise SelectionError(f"no notebook owns {what} {id_!r}; owned: {there or 'none'}")
    return owners


def check_parameters(path: Path, given: dict) -> dict:
    """``given``, strings of a command line included, as values of the types of the notebook's own literals.

    Papermill only warns of a name the notebook does not know, and then runs with the default.

    Raises:
        SelectionError: an unknown name, or a value that is not of its parameter's type.
    """
    defaults = default_parameters(path)
    if unknown := sorted(set(given) - set(defaults)):
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
    if isinstance(value, str) and kind is float:
        return float(value)  # knows nan and inf
    if isinstance(value, str) and kind is not str:
        value = ast.literal_eval(value.capitalize() if kind is bool else value)
    return TypeAdapter(kind).validate_python(value, strict=True)


def choose_corpus(path: Path, wanted: str | None, root: Path) -> str:
    """The corpus a notebook runs on: the one wanted, else the first of its own that the reader has, else none.

    Raises:
        SelectionError: the notebook does not run on the corpus, or the corpus is not there.
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

    Args:
        corpus: for all of them; default: for each the first it can run on that is there, else the parts that need none.
        root: data root.
        parameters: values for the notebooks' parameters; those a notebook does not have are an error.

    Raises:
        SelectionError: a corpus, data root or parameter does not exist or cannot be had.
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
        given, defaults = dict(parameters or {}), default_parameters(path)
        profile = check_parameters(path, given).get("PROFILE", defaults.get("PROFILE"))
        if profile == layout.RECORDED:
            jobs.append(_plan_recorded(path, corpus, root, given))
            continue
        if profile not in layout.PROFILES:
            allowed = ", ".join((layout.RECORDED, *layout.PROFILES))
            raise SelectionError(f"{path.name}: PROFILE is {profile!r}; it must be one of {allowed}")
        use = choose_corpus(path, corpus, folder)
        if "CORPUS" in defaults:
            given |= {"CORPUS": use, "DATA_ROOT": paths.from_checkout(folder)}
        values = defaults | check_parameters(path, given)
        values |= reading.own_features(path.stem, use, values, folder)
        jobs.append(Job(path, use, values, *_recorded_seconds(path.stem, profile, use)))
    return jobs


def _plan_recorded(path: Path, corpus: str | None, root: str | None, given: dict) -> Job:
    """The job that shows a notebook's evidence: no corpus is looked for, and its literals stay."""
    defaults = default_parameters(path)
    if defaults["PROFILE"] != layout.RECORDED:
        raise SelectionError(f"{path.name} shows no evidence: run it with --profile {' or '.join(layout.PROFILES)}")
    places = {"CORPUS": corpus, "DATA_ROOT": root}
    values = defaults | check_parameters(path, given | {k: v for k, v in places.items() if v is not None})
    try:
        shown = reading.read(path.stem, values.get("CORPUS", ""), values.get("FEATURES", ""))
        reading.check_unchanged(path.stem, values, shown.about)
    except ValueError as problem:
        raise SelectionError(str(problem)) from None
    return Job(path, shown.about["corpus"], values, evidence=shown.folder.absolute())


def _recorded_seconds(notebook: str, profile: str, corpus: str) -> tuple[float | None, str]:
    """The seconds of a committed run of this profile, on this corpus if there is one, and which run it is."""
    found = [run for run in layout.runs(paths.project_root() / "results", notebook) if run.parts[-3] == profile]
    for run in sorted(found, key=lambda run: layout.measured_in(run)[0] != corpus):
        with contextlib.suppress(ValueError):  # of verify to report
            return layout.read_run(run)["seconds"], f"{profile} on {run.parts[-2]}"
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
    workers: int = 1,
    share_gpus: bool = False,
    scheduler: str | None = None,
    slurm_jobs: int | None = None,
    options: RunOptions | None = None,
    progress: Callable = lambda *_, **__: None,
    **selected,
) -> list[Outcome]:
    """Run notebooks and report on each.

    Args:
        chosen: notebooks, from :func:`select`.
        workers: processes on this machine; with 1 everything runs here, one after another.
        share_gpus: more of them than GPUs, see :func:`parallel.local`.
        scheduler: address of a Dask scheduler whose workers run the notebooks instead.
        slurm_jobs: number of SLURM jobs that run them instead.
        options: limits of each notebook, and more.
        progress: gets a line for each notebook, as `print` does.
        selected: corpus, root and parameters, see :func:`plan`.

    All names are checked before anything runs. An interrupt leaves nothing half-written; what a killed run left is
    put in order first. Notebooks of one paper, which share trained networks, run one after another.

    Raises:
        SelectionError: as :func:`plan`; or results or the cache cannot be written, or this machine cannot talk to
            itself.
        ClusterError: the scheduler does not answer or its workers run no notebooks.
    """
    jobs = plan(chosen, **selected)
    options = options or RunOptions()
    _check_machine(options)
    for job in jobs:
        layout.check_replaceable(options.results / job.place / job.path.stem)
    recover(options.results)
    _clear_staging(options.results)
    outcomes = {}
    if scheduler is not None:
        cluster = parallel.existing(scheduler)
    elif slurm_jobs is not None:
        cluster = parallel.slurm(slurm_jobs)
    else:
        cluster = parallel.local(workers, share_gpus) if workers > 1 else None
    running = _on_cluster(cluster, jobs, options) if cluster else ((job, _run(job, options)) for job in jobs)
    try:
        for i, (job, outcome) in enumerate(running, 1):
            done = f"{'FAILED' if outcome.error else 'done'} in {outcome.seconds:.0f} s"
            progress(f"[{i}/{len(jobs)}] {job.path.stem} on {job.corpus}: {done}", flush=True)
            outcomes[job.path] = outcome
    finally:
        _clear_staging(options.results)
    return [outcomes[job.path] for job in jobs]


@contextlib.contextmanager
def shown(path: Path, parameters: Mapping = {}) -> Iterator[tuple[Outcome, Path]]:
    """How it went to show a notebook's evidence, and the folder of what it wrote, which does not stay.

    Raises:
        SelectionError: there is no evidence that these parameters show.
    """
    with tempfile.TemporaryDirectory() as place:
        options = RunOptions(results=Path(place), failed=Path(place) / "failed")
        (outcome,) = reproduce([path], parameters={**parameters, "PROFILE": layout.RECORDED}, options=options)
        yield outcome, next(Path(place).glob(f"{layout.RECORDED}/*/{path.stem}"), Path(place))


def _check_machine(options: RunOptions) -> None:
    """That results and the cache can be written, and kernels be talked to, for whom one would wait in vain else."""
    places = (("results", options.results, layout.RESULTS_VARIABLE), ("the cache", options.cache, CACHE_VARIABLE))
    for what, folder, variable in places:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(2**16))  # an empty file takes no room on a full disk
        except OSError as problem:
            raise SelectionError(
                f"{what} cannot be written to {folder} ({problem.strerror}): make room or set {variable} to another "
                f"folder (results go to ${layout.RESULTS_VARIABLE}, the cache to ${CACHE_VARIABLE}); nothing was run"
            ) from problem
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=10).close()
    except OSError as problem:
        raise SelectionError(
            f"the loopback interface, by which notebooks talk to their kernels, does not answer ({problem}): "
            "`ip link set lo up` as root starts it; nothing was run"
        ) from problem


def _on_cluster(cluster, jobs: Sequence[Job], options: RunOptions) -> Iterator[tuple[Job, Outcome]]:
    """Jobs with their outcomes as they end. The paper with most left to do goes first."""
    chains = defaultdict(list)
    for job in jobs:
        chains[metadata(job.path).get("paper") or job.path.stem].append(job)
    idle = sorted(chains.values(), key=lambda chain: -sum(job.seconds or 0 for job in chain))
    running = {}
    with cluster as client:
        has_gpu = any(parallel.GPU in offered for offered in parallel.offers(client).values())

        def take(offered):
            for chain in idle:
                wants_gpu = has_gpu and chain[0].parameters.get("DEVICE", "cpu") != "cpu"
                if not wants_gpu or parallel.GPU in offered:
                    idle.remove(chain)
                    running[chain[0].path.stem] = chain
                    return chain[0].path.stem, _run, (chain[0], options)
            return None

        for name, future in parallel.spread(client, parallel.NOTEBOOK, take):
            chain = running.pop(name)
            job = chain.pop(0)
            try:
                outcome = future.result()
            except Exception as problem:  # the worker died, several times over
                outcome = Outcome(job.path.stem, job.corpus, 0.0, error=_in_a_line(problem))
            if chain:
                idle.insert(0, chain)
            yield job, outcome


def _run(job: Job, options: RunOptions) -> Outcome:
    from distributed import get_worker  # a second, which a plan need not take

    path, clock = job.path, time.perf_counter()
    place, failed = options.results / job.place, options.failed / job.place / path.name
    failed.unlink(missing_ok=True)
    outcome = Outcome(path.stem, job.corpus, 0.0)
    place.mkdir(parents=True, exist_ok=True)
    # what the notebook records lands here, so that it cannot be taken for an earlier run's, nor harm it
    staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(path.stem), dir=place))
    executed, folder = staging / path.name, staging / place.relative_to(options.results) / path.stem
    variables = parallel.ENVIRONMENT | {layout.RESULTS_VARIABLE: str(staging), CACHE_VARIABLE: str(options.cache)}
    if job.evidence is not None:
        variables[reading.EVIDENCE_VARIABLE] = str(job.evidence)
    variables["TQDM_MININTERVAL"] = "60"  # nobody watches
    with contextlib.suppress(ValueError):  # this process is no worker
        variables[parallel.SCHEDULER_VARIABLE] = get_worker().scheduler.address
    try:
        with parallel.environment(**variables), _watched(outcome, options):
            papermill.execute_notebook(
                _prepared(path, job.corpus),
                executed,
                job.parameters,
                kernel_name="python3",
                kernel_manager_class=kernels.OwnKernel,
                cwd=path.parent,
                progress_bar=False,
                # or ipykernel warns at every start of its local port, and complains of its sockets when interrupted
                extra_arguments=["--log-level=CRITICAL", f"--IPKernelApp.extra_extensions={kernels.__name__}"],
            )
        outcome.answers = _check_record(folder, job.parameters)
        outcome.cells = _finish_copy(executed)
        os.replace(executed, folder / path.name)
        if options.html:
            page, _ = HTMLExporter().from_filename(str(folder / path.name))
            (folder / path.name).with_suffix(".html").write_text(page, encoding="utf-8")
        replace_folder(folder, place / path.stem)
    except Exception as problem:  # one notebook's trouble, of whatever kind, must not stop the others
        outcome.error = _in_a_line(problem)
        if cure := _cure(problem, outcome.error):  # what the cell was doing has nothing to do with it
            outcome.error += f"; {cure}"
        else:  # what the failed cell printed, without colours
            lines = "\n".join(getattr(problem, "traceback", ()))
            outcome.traceback = _without_paths(ANSI.sub("", lines), staging)
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


def _staging_prefix(stem: str) -> str:
    return f".{stem}.{socket.gethostname()}.{os.getpid()}."


def _clear_staging(root: Path) -> None:
    """Remove what killed runs on this machine left behind."""
    for folder in root.glob(f"*/*/.*.{socket.gethostname()}.*"):
        pid = folder.name.split(".")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _watched(outcome: Outcome, limits: RunOptions) -> Iterator[None]:
    """Note the most memory that the processes started meanwhile hold, and kill them when they pass the limits.

    Raises:
        MemoryError, TimeoutError: they did, whatever their death looked like.
    """
    others = {child.pid for child in psutil.Process().children(recursive=True)}
    deadline, end, passed = time.monotonic() + limits.seconds, threading.Event(), []

    def look() -> None:
        pause = WATCH_S / 16  # the shortest notebook is seen, and a long one is not looked at all the time
        while not end.wait(pause) and not passed:
            pause = min(2 * pause, WATCH_S)
            processes = [p for p in psutil.Process().children(recursive=True) if p.pid not in others]
            memory = 0
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    memory += process.memory_info().rss
            outcome.memory = max(outcome.memory, memory)
            if memory > limits.memory:
                most = f"{limits.memory / 2**30:.2f}"
                passed.append(MemoryError(f"took {memory / 2**30:.2f} GiB of memory, more than {most}"))
            elif time.monotonic() > deadline:
                passed.append(TimeoutError(f"took longer than {limits.seconds / 60:.3g} minutes"))
            for process in processes if passed else ():
                with contextlib.suppress(psutil.Error):
                    process.kill()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        if passed:
            raise passed[0]


def _in_a_line(problem: Exception) -> str:
    text = str(problem).strip()
    return f"{type(problem).__name__}: {text.splitlines()[-1] if text else ''}"


def _cure(problem: Exception, line: str) -> str | None:
    """What to do where the machine has no more disk or memory to give; None where that is not it."""
    full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in line:
        return "a disk is full: make room for results and cache, then run the same command: what was recorded is whole"
    # of papermill, the name of what the cell raised; PyTorch raises a RuntimeError
    if getattr(problem, "ename", None) == "MemoryError" or "DefaultCPUAllocator: can't allocate memory" in line:
        return "out of memory: close other programs or use fewer --workers, then run the same command"
    return None


def _without_paths(text: str, staging: Path) -> str:
    text = text.replace(str(staging), "results/local")  # whose name may hold spaces, which STAGING stops at
    text = STAGING.sub("results/local", text).replace(str(paths.project_root()), ".")
    return text.replace(str(Path.home()), "~") if len(Path.home().parts) > 1 else text


def _finish_copy(path: Path) -> dict[str, float]:
    """Take out of an executed notebook what says when and where it was run, which stands in run.json, and widgets.

    Returns:
        Seconds of each cell by its id.
    """
    notebook = nbformat.read(path, as_version=4)
    seconds = {cell.id: cell.metadata.get("papermill", {}).get("duration") or 0.0 for cell in notebook.cells}
    strip(notebook)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"  # papermill draws one
        for output in cell.get("outputs", []):
            texts = output.get("data", {})
            for mime in [mime for mime in texts if mime.startswith("text/")]:
                texts[mime] = _without_paths(texts[mime], path.parent)
            if "text" in output:
                output.text = _without_paths(output.text, path.parent)
            if "traceback" in output:
                output.traceback = [_without_paths(line, path.parent) for line in output.traceback]
    with replacing(path) as partial:
        nbformat.write(notebook, partial)
    return seconds


def strip(notebook: nbformat.NotebookNode) -> None:
    """Take metadata of one execution out of a notebook, and widgets: without a kernel, bars that stand still.

    nbconvert's ClearMetadataPreprocessor knows code cells only, and papermill writes into all.
    """
    notebook.metadata = nbformat.from_dict({k: v for k, v in notebook.metadata.items() if k in OWN})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in OWN_OF_CELLS and v})
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not any("widget" in mime for mime in o.get("data", {}))]


def _check_record(folder: Path, parameters: dict) -> Counter:
    """How often each kind of answer was given, once the record proves complete and of this run.

    A notebook that ends early, with ``sys.exit()`` say, looks like a success to papermill.
    """
    if not folder.is_dir():
        raise ValueError(
            f"nothing was recorded as {'/'.join(folder.parts[-3:])}: did the last cell run, and did the notebook give "
            "record.Run its own name, profile and corpus?"
        )
    run = layout.check_complete(folder)
    expected = layout.plain(parameters)
    if run["parameters"] != expected:
        names = sorted(n for n in run["parameters"] | expected if run["parameters"].get(n) != expected.get(n))
        raise ValueError(f"recorded with other parameters than it was given: {', '.join(names)}")
    return Counter(map(scoreboard.kind, record.read_answers(folder / "claims.json").values()))


def _prepared(path: Path, corpus: str) -> nbformat.NotebookNode:
    """The notebook to execute: without outputs, and without the cells that need a corpus where there is none."""
    notebook = nbformat.read(path, as_version=4)
    left_out = {"needs-corpus"} if corpus == NO_CORPUS else set()
    for preprocessor in (TagRemovePreprocessor(remove_cell_tags=left_out), ClearOutputPreprocessor()):
        notebook, _ = preprocessor.preprocess(notebook, {})
    return notebook


def summary(outcomes: Sequence[Outcome]) -> str:
    """A table: notebook, corpus, seconds, how many answers of each kind, and what failed."""
    rows = [("notebook", "corpus", "seconds", "answers")]
    for o in outcomes:
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(o.answers.items())) or "-"
        rows.append((o.notebook, o.corpus, f"{o.seconds:.0f}", "FAILED" if o.error else counts))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
