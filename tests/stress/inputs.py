"""Inputs that nobody meant, given to all that reads: none may end in a traceback.

Each reader gets whole small files with pieces of them replaced, removed, doubled or moved (the command line: lists of
its own words and of others). It may give a result, or an error of the library's own that names the file; everything
else, and ten seconds of the processor for one input, is a failure, whose input is kept below `.cache/fuzz`. `make fuzz`
gives the parsers of corpora inputs that are led by what they reach, where atheris is installed; so does this then.
"""

import contextlib
import importlib.util
import io
import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from nbformat import v4
from rows import FAILED, NOT_HERE, PASSED, Row, judged

from uncertain_affect import corpora
from uncertain_affect.compute import parallel, paths
from uncertain_affect.corpora import CorpusError, download
from uncertain_affect.evidence import evaluate, printed
from uncertain_affect.evidence.claims import Effect
from uncertain_affect.papers.across import tasks
from uncertain_affect.run import cli, publish, record, reproduce, scoreboard, verify

HERE = Path(__file__).resolve()
FOUND = HERE.parents[2] / ".cache" / "fuzz"
WANTED = 1_000_000
PROCESSES = 2
SECONDS_FOR_ONE = 10
LED = "parsers of corpora, led by what they reach"
# what stands for something else in one of the formats
TOKENS = [
    b"", b"\n", b"\r\n", b",", b";", b":", b" ", b"\t", b"'", b'"', b"{}", b"[]", b"[", b"}", b"null", b"true",
    b"NaN", b"&a", b"*a", b"-1", b"0", b"1e999", b"-0.5", b'""', b'"x"', b"9" * 5000, b"[" * 3000, b"\xff", b"\0",
    b"\xef\xbb\xbf", b"../..", b"2026-01-01",
]  # fmt: skip
PIECES = re.compile(rb'"[^"\n]*"|[\w.+-]+|[^\w\s]')
SMALL_PAPER = """\
paper: {key: uncnet, title: T, year: 2019, url: https://example.org, corpora: [ferplus]}
tables:
  table2:
    title: Calibration
    columns: [ECE, MCE]
    rows:
      Baseline: [1.0, null]
      UncNet: [2.5, 3]
figures:
  figure1: {title: Disagreement}
claims:
  uncnet.c1: {where: Figure 1, statement: S, kind: greater, printed: {effect: 0.3}, tolerance: 0.1}
  uncnet.c2:
    where: Table 2
    statement: S
    kind: all
    printed: {}
    parts:
      ECE: {kind: less, printed: -0.1}
      MCE: {kind: equivalent, printed: 0.0, margin: 0.5}
errata:
  - {where: Table 2, what: W}
text: {}
"""
WORDS = [
    "reproduce", "record", "cache", "bench", "verify", "data", "evaluate", "list", "check", "get", "prune", "--only",
    "--paper", "--claim", "--table", "--dry-run", "--corpus", "--data-root", "--profile", "-p", "--workers",
    "--scheduler", "--slurm", "--time-limit", "--memory-limit", "--html", "--refresh", "--kind", "--unused", "--to",
    "--csv", "--seed", "predictions.npz", "--", "11", "12",
    "11_one.ipynb", "uncnet", "uncnet.c1", "uncnet.table2", "none", "ferplus", "simulated", "iemocap", "meld", "quick",
    "full", "SEED", "PROFILE", "SEEDS", "7", "0", "-1", "1e3", "nan", "inf", "two", "", " ", "/", ".", "..", "~",
    "~nobody/x", "/dev/null", "/proc/1", "a" * 300, "a/" * 2000, "9" * 5000, "\0", "\udcff", "ß", "[" * 500, "a*",
    "[!a", "results", "results/local", "results/full/ferplus/11_one", "data", "tcp://x", "1" * 30,
]  # fmt: skip


class TooLong(BaseException):
    """One input took more of the processor than it may; a busy machine does not count."""


class Reader(NamedTuple):
    """What reads an input, raising what is a failure and nothing else; whole inputs; and what makes inputs of them."""

    call: Callable
    seeds: Sequence
    draw: Callable[[np.random.Generator, Sequence], object]


def mutated(rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    """A whole file with up to three pieces of it changed, near to what is read and so deep in its reader."""
    content = seeds[rng.integers(len(seeds))]
    for _ in range(rng.integers(1, 4)):
        pieces = _pieces(content)
        if pieces and rng.random() < 0.7:  # whole words and numbers
            start, stop = pieces[rng.integers(len(pieces))]
        else:
            start = int(rng.integers(len(content) + 1))
            stop = start + int(rng.integers(0, 13))
        how = rng.integers(4)
        if how == 0:
            new = TOKENS[rng.integers(len(TOKENS))]
        elif how == 1:
            new = rng.bytes(int(rng.integers(0, 9)))
        elif how == 2 and pieces:
            a, b = pieces[rng.integers(len(pieces))]
            new = content[a:b]
        else:
            new = content[start:stop] * int(rng.integers(0, 4))
        content = content[:start] + new + content[stop:]
    return content


@lru_cache(maxsize=64)
def _pieces(content: bytes) -> list[tuple[int, int]]:
    return [match.span() for match in PIECES.finditer(content)] if len(content) < 20_000 else []


def command_line(rng: np.random.Generator, seeds: Sequence[str]) -> list[str]:
    """Words in any order, more often than not after the name of a command."""
    words = [seeds[i] for i in rng.integers(len(seeds), size=rng.integers(0, 7))]
    return [seeds[rng.integers(7)], *words] if rng.random() < 0.8 else words


def naming(file: object, call: Callable[[], object], kind: type[Exception] = ValueError) -> object:
    """What a call gives; None where it ends in an error of the library's own, which has to name the file."""
    try:
        return call()
    except kind as error:
        assert str(file) in str(error), f"does not name the file: {error}"


def of_file(path: Path, seeds: Sequence[bytes], *calls: Callable[[], object]) -> Reader:
    """The reader that lays an input at a path before each call, and then what was there."""
    whole = path.read_bytes() if path.is_file() else b""

    def call(content: bytes) -> None:
        path.write_bytes(content)
        try:
            for one in calls:
                one()
        finally:
            path.write_bytes(whole)

    return Reader(call, list(seeds) or [whole], mutated)


def readers(folder: Path) -> dict[str, Reader]:
    """Everything that reads what others may have changed, by name; makes a small checkout in an empty folder.

    The library takes this for its checkout from then on, and what would start work, or reach the network, starts
    nothing: only for a process that does nothing else.
    """
    root, project = folder / "checkout", HERE.parents[2]
    shutil.copytree(project / "results" / "printed", root / "results" / "printed")
    (root / "notebooks").mkdir()
    for name in ("CITATION.cff", "README.md"):
        shutil.copy(project / name, root)
    paths.project_root = lambda: root
    os.environ |= {"UNCERTAIN_AFFECT_CACHE": str(folder / "cache"), "UNCERTAIN_AFFECT_RESULTS": "results/local"}
    os.environ.pop("UNCERTAIN_AFFECT_DATA", None)
    os.chdir(root)
    return {
        **{name: _corpus(folder / name, parser) for name, parser in parsers().items()},
        **_results(root),
        "printed yaml": _paper(folder / "printed"),
        **_predictions(folder / "predictions.npz"),
        "command line": _command(root),
    }


def _corpus(folder: Path, parser) -> Reader:
    folder.mkdir()
    path = folder / parser.file
    return of_file(path, [parser.seed], lambda: naming(path, lambda: parser.call(path), CorpusError))


def parsers() -> dict:
    """The parsers of corpora, with small whole files for each."""
    sys.path.insert(0, str(HERE.parents[1] / "corpora"))
    return importlib.import_module("parsers").PARSERS


def _finished(root: Path, profile: str) -> Path:
    """A run like one that a notebook leaves, with the executed notebook."""
    run = record.Run("11_one", profile=profile, corpus="ferplus", parameters={"SEED": 0})
    run.table("table2", pd.DataFrame({"ECE": [1.0, None], "MCE": [2.5, 3.0]}, index=["Baseline", "UncNet"]))
    run.figure("figure2", Figure(figsize=(1, 1)), pd.DataFrame({"x": [1, 2]}))
    run.judge("uncnet.c1", Effect(0.3, 0.25, 0.35, 0.02, 4.0, 0.0, n_seeds=5, n_clusters=1))
    run.needs("uncnet.c3", "the truth")
    folder = run.finish()
    shutil.copy(root / "notebooks" / "11_one.ipynb", folder)
    return folder


def _results(root: Path) -> dict[str, Reader]:
    about = {"paper": "uncnet", "corpora": ["ferplus"], "tables": ["table2"], "figures": [], "claims": ["uncnet.c1"]}
    cell = v4.new_code_cell("SEED = 0", metadata={"tags": ["parameters"]})
    notebook = root / "notebooks" / "11_one.ipynb"
    nbformat.write(v4.new_notebook(cells=[cell], metadata={"uncertain_affect": about}), notebook)
    quick, full = _finished(root, "quick"), _finished(root, "full")
    committed = root / "results" / "full" / "ferplus" / "11_one"
    shutil.copytree(full, committed)
    publish.write_scoreboard()
    notebook.write_text(notebook.read_text().replace("SEED = 0", 'SEED = 0\\nPROFILE = \\"full\\"'))

    def check(folder: Path) -> None:
        problems = verify.check_run(folder)
        assert all(str(folder) in problem for problem in problems), f"does not name the file: {problems}"

    def plan() -> None:
        reproduce.plan_table(reproduce.plan(reproduce.select(["11"]), corpus="none", parameters={}))

    checks_full = partial(check, full)
    promotes, promotes_quick = (
        partial(naming, place, partial(publish._promotion, place, set())) for place in (full, quick)
    )
    scores = partial(naming, "11_one", partial(scoreboard.board, root / "results"))
    recalls = partial(naming, "table2.csv", partial(record.recorded_on, "11_one", "table2", "full"))
    calls = {
        "run.json": (full / "run.json", checks_full, promotes),
        "claims.json": (full / "claims.json", checks_full),
        "claims.json of the scoreboard": (committed / "claims.json", scores),
        "table": (full / "tables" / "table2.csv", checks_full),
        "recorded table": (committed / "tables" / "table2.csv", recalls),
        "figure": (full / "figures" / "figure2.png", checks_full),
        "executed notebook": (quick / "11_one.ipynb", promotes_quick),
        "run.json of the plan": (committed / "run.json", plan),
        "scoreboard": (root / "results" / "scoreboard.csv", verify.check_generated),
    }
    return {f"results: {name}": of_file(path, [], *each) for name, (path, *each) in calls.items()}


def _paper(root: Path) -> Reader:
    path = root / "results" / "printed" / "uncnet.yaml"
    path.parent.mkdir(parents=True)

    def load() -> None:
        before, paths.project_root = paths.project_root, lambda: root
        try:
            paper = naming("uncnet.yaml", lambda: printed.load.__wrapped__("uncnet"))
        finally:
            paths.project_root = before
        if paper is not None:
            for name in paper.tables:
                paper.table(name)

    return of_file(path, [SMALL_PAPER.encode()], load)


def _predictions(path: Path) -> dict[str, Reader]:
    rng = np.random.default_rng(0)
    arrays = {
        "probs": rng.dirichlet(np.ones(3), (2, 6)),
        "votes": rng.multinomial(4, np.ones(3) / 3, 6),
        "groups": np.arange(6) // 2,
    }

    def bytes_of(save: Callable, *values, **named) -> bytes:
        save(file := io.BytesIO(), *values, **named)
        return file.getvalue()

    def evaluated() -> None:
        read = naming(path, lambda: evaluate.read(path))
        if read is not None:
            with contextlib.suppress(ValueError):
                cases = evaluate.Cases(read.get("labels", read.get("votes")), read.get("groups"))
                evaluate.table(evaluate.measure(read["probs"], cases))

    archive = of_file(path, [bytes_of(save, **arrays) for save in (np.savez, np.savez_compressed)], evaluated)

    def in_archive(name: str) -> Reader:
        """Gives an array in a whole archive, whose checksums would stop it before it is read."""

        def call(content: bytes) -> None:
            with zipfile.ZipFile(file := io.BytesIO(), "w") as written:
                for other, values in arrays.items():
                    written.writestr(f"{other}.npy", content if other == name else bytes_of(np.save, values))
            archive.call(file.getvalue())

        return Reader(call, [bytes_of(np.save, arrays[name])], mutated)

    return {"predictions: archive": archive, **{f"predictions: {name}": in_archive(name) for name in arrays}}


def _command(root: Path) -> Reader:
    def no_slurm():
        raise ValueError("no SLURM here")

    reproduce.reproduce = lambda *_, **__: []
    publish.promote_all = lambda *_: []
    publish.write_scoreboard = lambda: None
    runpy.run_path = lambda path: {"main": lambda names: 0}
    parallel.slurm_cluster = no_slurm
    tasks.known = lambda corpus, *_: tasks.Known(evaluate.Cases([0, 1]), ("a", "b"), corpus)
    np.savez(root / "predictions.npz", probs=np.full((2, 2), 0.5))
    download._fetch = lambda source, file: file
    corpora.is_available("simulated", root)

    def call(arguments: list[str]) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                code = cli.main(arguments)
            except SystemExit as ended:
                code = ended.code
        assert code in (0, 1, 2), f"ended with {code!r}"

    return Reader(call, WORDS, command_line)


# --- giving them inputs -----------------------------------------------------------------------------------

_READERS: dict[str, Reader] = {}


def _begin() -> None:
    """Make the readers of this process, in memory where the system offers it."""
    memory = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)
    warnings.simplefilter("ignore")
    _READERS.update(readers(Path(folder.name)))
    _begin.folder = folder  # for as long as the process lives


def _too_long(*_):
    raise TooLong(f"took more than {SECONDS_FOR_ONE} s of the processor")


def give(reader: Reader, seed: int, seconds: float, most: int = 10**9) -> tuple[int, list[tuple[str, object]]]:
    """Give a reader inputs for so long; how many, and up to five failures, each with its input."""
    rng, deadline = np.random.default_rng(seed), time.monotonic() + seconds
    given, failures = 0, []
    signal.signal(signal.SIGPROF, _too_long)
    while given < most and time.monotonic() < deadline and len(failures) < 5:
        content = reader.draw(rng, reader.seeds)
        given += 1
        signal.setitimer(signal.ITIMER_PROF, SECONDS_FOR_ONE)
        try:
            reader.call(content)
        except (Exception, TooLong) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            failures.append((f"{type(error).__name__} at {place}: {str(error)[:200]}", content))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return given, failures


def _slice(name: str, seed: int, seconds: float) -> tuple[str, int, list[str]]:
    given, failures = give(_READERS[name], seed, seconds)
    for i, (_, content) in enumerate(failures):
        FOUND.mkdir(parents=True, exist_ok=True)
        kept = content if isinstance(content, bytes) else json.dumps(content).encode()
        (FOUND / f"{re.sub(r'[^a-z0-9]+', '-', name)}-{seed}-{i}").write_bytes(kept)
    return name, given, [what for what, _ in failures]


def _names() -> list[str]:
    return list(_READERS)


def run(minutes: float, wanted: int = WANTED) -> Iterator[Row]:
    """Give every reader inputs for the same time."""
    why = "atheris is not installed: see requirements/fuzz.txt; the parsers got inputs drawn without it, below"
    led = Row("fuzz", LED, 0, why, NOT_HERE)
    if importlib.util.find_spec("atheris"):
        led = _led_by_what_they_reach(60 * minutes * 0.3)
    yield led
    total, problems = led.times, []
    seeds = np.random.default_rng().integers(2**31, size=1000).tolist()
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), _begin) as pool:
        every = pool.submit(_names).result()
        each = PROCESSES * 60 * minutes * (1.0 if led.result == NOT_HERE else 0.7) / len(every)
        for name, given, failures in pool.map(_slice, every, seeds, [each] * len(every)):
            total += given
            problems += failures
            fine = "a result or an error that names the file" if name != "command line" else "exit code 0, 1 or 2"
            yield judged("fuzz", name, given, 1, failures, f"each met with {fine}")
    fine = f"{total:,} inputs, at least {wanted:,} wanted"
    yield judged("fuzz", "all readers together", total, wanted, problems, fine)


def _led_by_what_they_reach(seconds: float) -> Row:
    each = max(1, round(seconds / len(parsers())))
    command = [sys.executable, str(HERE.parents[1] / "fuzz" / "fuzz.py"), "--seconds", str(each)]
    done = subprocess.run(command, capture_output=True, text=True)
    counts = [int(n) for n in re.findall(r"^.{24} +(\d+) inputs ", done.stdout, re.MULTILINE)]
    outcome = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    return Row("fuzz", LED, sum(counts), outcome, PASSED if done.returncode == 0 and sum(counts) else FAILED)
