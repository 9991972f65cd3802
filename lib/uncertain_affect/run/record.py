"""What a notebook leaves behind, and what earlier runs left: tables, figures, verdicts and provenance.

A finished run is one folder, ``<profile>/<corpus>/<notebook>/``, with ``tables/*.csv``, ``figures/*.png`` and the
plotted data beside each as csv, ``claims.json`` and ``run.json``. Runs go to ``results/local``; the committed
``results/quick`` and ``results/full`` change only when a finished run is promoted.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import torch
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from uncertain_affect.compute import paths
from uncertain_affect.compute.cache import cache_dir, content_key, file_checksum
from uncertain_affect.compute.devices import choose_device
from uncertain_affect.evidence import printed
from uncertain_affect.evidence.claims import Effect, Part, Verdict, judge

PROFILES = ("quick", "full")
NO_CORPUS = "none"
RESULTS_VARIABLE = "UNCERTAIN_AFFECT_RESULTS"
# of run.json: 1, which says nothing of it, has no checksums, no peak memory and less of the hardware
SCHEMA = 2
VERSIONED = (
    "torch", "numpy", "scipy", "pandas", "scikit-learn", "scikit-image", "optuna", "matplotlib", "seaborn", "papermill",
)  # fmt: skip
AGAIN = "run the notebook again"
# what decides, before a kernel starts, in which order numbers are added up
ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES")

VERDICTS = TypeAdapter(dict[str, Verdict], config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))


class RunForm(BaseModel):
    """What run.json says at least, by type."""

    model_config = ConfigDict(strict=True)

    notebook: str
    profile: str
    corpus: str
    corpus_checksum: str | None
    parameters: dict
    seeds: list
    started: str
    seconds: float
    device: str
    hardware: dict
    versions: dict
    revision: str


class RunForm2(RunForm):
    """What it says since schema 2."""

    files: dict
    peak_memory_mib: int
    environment: dict
    dirty: bool | None
    checksum: str


def notebooks() -> dict[str, Path]:
    """Every numbered notebook by name, in order."""
    return {path.stem: path for path in sorted((paths.project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def metadata(path: Path) -> dict:
    """What a notebook covers: paper, tables, figures, claims, corpora."""
    return nbformat.read(path, as_version=4).metadata.get("uncertain_affect", {})


def results_root() -> Path:
    """Where runs write: ``$UNCERTAIN_AFFECT_RESULTS``, else ``results/local``; relative paths from the checkout."""
    return paths.project_root() / Path(os.environ.get(RESULTS_VARIABLE) or "results/local").expanduser()


def failed_root() -> Path:
    """Where notebooks that failed are kept: ``results/failed``, or ``failed`` in ``$UNCERTAIN_AFFECT_RESULTS``."""
    return results_root() / "failed" if os.environ.get(RESULTS_VARIABLE) else paths.project_root() / "results/failed"


@dataclass
class Run:
    """Collects what one notebook measures; :meth:`finish` writes all of it at once, or nothing.

    Args:
        notebook: its file name without suffix, ``"11_uncnet_disagreement"``.
        profile: ``"quick"`` or ``"full"``.
        corpus: name of the corpus, or ``"none"``.
        parameters: the values of the notebook's parameters cell.
        seeds: the seeds measured, for the record.
        corpus_checksum: content hash of the corpus.
        device: where the networks ran.

    Raises:
        ValueError: the profile, the corpus or the parameter DEVICE is none that this notebook knows, so that nothing
            would be recorded under a name that is not its own.
    """

    notebook: str
    _: KW_ONLY
    profile: str
    corpus: str
    parameters: dict
    seeds: Iterable[int] = ()
    corpus_checksum: str | None = None
    device: str = "cpu"
    verdicts: dict[str, Verdict] = field(default_factory=dict, init=False)

    def __post_init__(self):
        if self.profile not in PROFILES:
            raise ValueError(f"PROFILE must be one of {', '.join(PROFILES)}, not {self.profile!r}")
        choose_device(self.parameters.get("DEVICE", "cpu"))  # refuses what is none
        if own := notebooks().get(self.notebook):
            its = metadata(own).get("corpora", [])
            if self.corpus not in (*its, NO_CORPUS):
                raise ValueError(f"CORPUS is {self.corpus!r}: {self.notebook} runs on {', '.join(its) or 'no corpus'}")
        self._tables: dict[str, pd.DataFrame] = {}
        self._figures: dict[str, tuple] = {}
        self._started = datetime.datetime.now(datetime.UTC)
        self._clock = time.perf_counter()

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Keep a table, and give it back for display.

        Raises:
            ValueError: the name cannot be that of a file.
        """
        self._tables[_file_name(name)] = frame.copy()
        return frame

    def figure(self, name: str, fig, data: pd.DataFrame):
        """Keep a figure with the numbers it draws, and give the figure back.

        Raises:
            ValueError: the name cannot be that of a file.
        """
        self._figures[_file_name(name)] = (fig, data.copy())
        return fig

    def judge(self, id_: str, effect: Effect | dict[str, Effect | None] | None = None) -> Verdict:
        """Judge a claim as its paper's yaml states it, and keep the verdict.

        Args:
            id_: ``"uncnet.c1"``.
            effect: the measured effect; by the names of the parts for a claim of several, None for those that this
                corpus cannot test.

        Raises:
            ValueError: no paper makes this claim, or the effects are not those of its parts.
        """
        claim = printed.claim(id_)
        given = effect if isinstance(effect, dict) else {}
        if set(given) != set(claim.parts):
            raise ValueError(
                f"{id_} has the parts {', '.join(claim.parts) or 'none'}; effects came for {', '.join(given) or 'none'}"
            )
        parts = {
            name: Part(part["kind"], effect[name], part.get("margin"), part.get("printed"))
            for name, part in claim.parts.items()
        }
        bounds = {"margin": claim.margin, "at_least": claim.at_least, "printed": claim.printed.get("effect")}
        self.verdicts[id_] = verdict = judge(claim.kind, effect, parts=parts, **bounds)
        return verdict

    def not_testable(self, id_: str, reason: str) -> Verdict:
        """Keep a claim that this run cannot test, with the reason.

        Raises:
            ValueError: no paper makes this claim.
        """
        printed.claim(id_)
        self.verdicts[id_] = verdict = Verdict("not testable", reason=reason)
        return verdict

    def finish(self) -> Path:
        """Write everything under a temporary name, move it into place, and return the folder.

        Raises:
            SchemaError: a later version of the project has recorded there.
        """
        folder = results_root() / self.profile / self.corpus / self.notebook
        check_replaceable(folder)
        with replacing(folder) as partial:
            self._write(partial)
        return folder

    def _write(self, partial: Path) -> None:
        for sub in ("tables", "figures"):
            (partial / sub).mkdir(parents=True)
        for name, frame in self._tables.items():
            frame.to_csv(partial / "tables" / f"{name}.csv", float_format="%.6g")
        for name, (fig, data) in self._figures.items():
            fig.savefig(partial / "figures" / f"{name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None})
            data.to_csv(partial / "figures" / f"{name}.csv", index=False, float_format="%.6g")
        write_json(partial / "claims.json", {id_: asdict(verdict) for id_, verdict in self.verdicts.items()})
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        given = ("notebook", "profile", "corpus", "corpus_checksum", "parameters")
        run = {"schema": SCHEMA} | {name: getattr(self, name) for name in given}
        run |= {
            "seeds": list(self.seeds),
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._clock, 1),
            "peak_memory_mib": peak_memory_mib(),
            **provenance(self.device),
            "files": {path.relative_to(partial).as_posix(): file_checksum(path) for path in files},
        }
        write_run(partial, run)


def runs(results: Path, notebook: str = "[!.]*") -> list[Path]:
    """The folders of runs in a folder of results, of one notebook or of all, by profile, corpus and notebook."""
    folders = ((results / profile).glob(f"*/{notebook}") for profile in PROFILES)
    return [path for found in folders for path in sorted(found) if path.is_dir()]


def recorded(notebook: str, table: str) -> tuple[pd.DataFrame | None, str]:
    """The committed measurement of a table and its provenance in a line, or None and why there is none.

    Takes the most complete committed run, never the one with the best score: full before quick, and papers' own
    corpora (in the order their yaml lists them) before others.

    Raises:
        ValueError: the table cannot be read.
    """
    for folder, frame in _committed_tables(notebook, table):
        run = read_run(folder)
        line = (
            f"{run['profile']} profile on {run['corpus']}, {len(run['seeds'])} seeds, {run['device']}, "
            f"{run['started'][:10]}, revision {run['revision'][:10]}"
        )
        return frame, line
    return None, "no run recorded yet"


def recorded_on(notebook: str, table: str, profile: str) -> dict[str, pd.DataFrame]:
    """The committed measurements of a table by corpus, of the runs of one profile.

    Raises:
        ValueError: a table cannot be read.
    """
    found = _committed_tables(notebook, table)
    return {folder.parts[-2]: frame for folder, frame in found if folder.parts[-3] == profile}


def _committed_tables(notebook: str, table: str) -> Iterator[tuple[Path, pd.DataFrame]]:
    """The committed runs that have a table, the most complete first, with the table."""
    own = [corpus for key in printed.keys() for corpus in printed.load(key).info.get("corpora", [])]
    rank = {corpus: i for i, corpus in enumerate(own)}
    folders = runs(paths.project_root() / "results", notebook)
    for folder in sorted(folders, key=lambda f: (f.parts[-3] != "full", rank.get(f.parts[-2], len(own)))):
        path = folder / "tables" / f"{table}.csv"
        if path.is_file():
            try:
                yield folder, pd.read_csv(path, index_col=0)
            except (ValueError, IndexError) as error:
                raise ValueError(f"{path} is no table ({str(error).strip()}): restore it, or {AGAIN}") from error


def beside(printed: pd.DataFrame, recorded: pd.DataFrame | None, measured: pd.DataFrame | None) -> pd.DataFrame:
    """Printed, recorded and this run's numbers in neighbouring columns, in the printed order of rows.

    A column or row that only some of them have stays, with the others empty.
    """
    sources = {"printed": printed, "recorded": recorded, "this run": measured}
    sources = {name: frame for name, frame in sources.items() if frame is not None}
    columns = dict.fromkeys(column for frame in sources.values() for column in frame)
    rows = list(dict.fromkeys(row for frame in sources.values() for row in frame.index))
    cells = [(column, name) for column in columns for name, frame in sources.items() if column in frame]
    return pd.DataFrame({(column, name): sources[name][column].reindex(rows) for column, name in cells}, index=rows)


def intervals(effects: dict[str, Effect], within: tuple[float, float] | None = None) -> pd.DataFrame:
    """A row per effect: estimate, 95% interval, and how many seeds and clusters it rests on.

    Args:
        within: bounds of what was measured, (0, 1) of an accuracy or calibration error: intervals stay inside.
    """
    bounded = {name: effect.within(*within) if within else effect for name, effect in effects.items()}
    rows = {name: (e.estimate, e.low, e.high, e.n_seeds, e.n_clusters) for name, e in bounded.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "low", "high", "seeds", "clusters"])


def verdict_table(run: Run, own_features: bool = False) -> pd.DataFrame:
    """The claims judged so far: printed and measured effect with its 95% interval, size ratio and verdict.

    A claim of several parts has a row for each below its own. With ``own_features`` (the paper's own features or
    weights were used), and on its own corpus, a last column says whether each value is ``near`` the printed one or
    ``off``, by the tolerance stated beside it.
    """
    rows = {}
    for id_, verdict in run.verdicts.items():
        claim, paper = printed.claim(id_), printed.load(id_.partition(".")[0])
        for part, v in {"": verdict, **verdict.parts}.items():
            stated = claim.stated(part)
            expected, tolerance = stated.get("printed"), stated.get("tolerance")
            shown = v.effect is not None and not v.parts
            rows[f"{id_}: {part}" if part else id_] = row = {
                "kind": stated["kind"],
                "printed": "" if expected is None else f"{expected:.3f}",
                "measured": f"{v.effect:.3f}" if shown else "",
                "95% interval": f"[{v.low:.3f}, {v.high:.3f}]" if shown else "",
                "measured / printed": f"{v.size_ratio:.2f}" if shown and v.size_ratio is not None else "",
                "verdict": v.verdict,
            }
            comparable = own_features and run.corpus in paper.info.get("corpora", [])
            if comparable and shown and expected is not None and tolerance is not None:
                row["value"] = f"{'near' if abs(v.effect - expected) <= tolerance else 'off'} (±{tolerance:g})"
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


class SchemaError(ValueError):
    """Results that a later version of the project wrote."""


def check_complete(folder: Path) -> dict:
    """The run.json of a finished run.

    Raises:
        ValueError: something that every finished run has is missing; the message names it.
    """
    for name in ("run.json", "claims.json", "tables", "figures"):
        if not (folder / name).exists():
            raise ValueError(f"{folder} is not a finished run: {name} is missing; run the notebook to its last cell")
    return read_run(folder)


def read_run(folder: Path) -> dict:
    """The run.json of a run of this or an earlier schema.

    Raises:
        SchemaError: a later version of the project wrote it.
        ValueError: it is missing, truncated or something else.
    """
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: {folder} is no finished run") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}): truncated or edited; {AGAIN}") from None
    schema = run.get("schema", 1) if isinstance(run, dict) else None
    if type(schema) is not int or schema < 1:
        raise ValueError(f"{path} is no record of a run; {AGAIN}")
    if schema > SCHEMA:
        raise SchemaError(
            f"{path} has schema {schema}, of a later version of this project (this one knows up to {SCHEMA}), and is "
            "left as it is: update the checkout, or move the folder away"
        )
    return run


def wrong_keys(folder: Path, run: dict) -> Iterator[str]:
    """What run.json lacks of what a run of its schema writes, or holds of another type, a line each."""
    form = RunForm if run.get("schema", 1) < SCHEMA else RunForm2
    try:
        form.model_validate(run)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            key = problem["loc"][0]
            if problem["type"] == "missing":
                yield f"{folder / 'run.json'} lacks {key}; {AGAIN}"
            else:
                yield f"{folder / 'run.json'}: {key} is {run[key]!r:.40}, not what a run writes; {AGAIN}"


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """The verdicts of a claims.json by claim; those of parts are verdicts too.

    Raises:
        ValueError: it is no JSON, or holds something else.
    """
    try:
        return VERDICTS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path} does not hold verdicts ({printed.explain(error)}): restore it, or {AGAIN}") from None


def check_replaceable(folder: Path) -> None:
    """Let pass a folder that is not there, or holds what this version can read or nobody can.

    Raises:
        SchemaError: it holds a run of a later version of the project.
    """
    try:
        read_run(folder)
    except SchemaError:
        raise
    except ValueError:
        pass  # nothing, or a truncated run, of which a new one is the cure


def write_run(folder: Path, run: dict) -> None:
    """Write run.json, with a checksum of all that it says."""
    write_json(folder / "run.json", run | {"checksum": checksum_of_run(run)})


def checksum_of_run(run: dict) -> str:
    """SHA-256 of what a run.json says, but for its own ``checksum``."""
    content = json.dumps(plain({key: value for key, value in run.items() if key != "checksum"}), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def replace_folder(source: Path, target: Path) -> None:
    """Move a folder over another: what is there is the old one or the new one, never a mixture.

    Two processes that replace the same folder take turns. One that is killed between its two steps leaves the old one
    aside, for :func:`recover`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    locks = cache_dir() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{content_key(str(target.resolve()))}.lock"):
        _recover(_aside(target))
        if target.exists():
            os.replace(target, _aside(target))
        try:
            os.replace(source, target)
        except BaseException:
            _recover(_aside(target))
            raise
        shutil.rmtree(_aside(target), ignore_errors=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what replaces a file or a folder once it is whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        (replace_folder if partial.is_dir() else os.replace)(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        partial.unlink(missing_ok=True)


def recover(root: Path) -> None:
    """Put back the finished runs under a results folder that a killed process had put aside and not replaced."""
    for old in root.glob("*/*/.*.old"):
        _recover(old)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _recover(old: Path) -> None:
    target = old.with_name(old.name.removeprefix(".").removesuffix(".old"))
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        os.replace(old, target)


def write_json(path: Path, content) -> None:
    """Write what JSON can hold, see :func:`plain`."""
    path.write_text(json.dumps(plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def plain(value):
    """The value as JSON holds it: NaN and infinity become null, arrays and tuples lists.

    >>> plain((1, float("nan")))
    [1, None]
    """
    if hasattr(value, "tolist"):  # arrays, tensors and their scalars
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _file_name(name: str) -> str:
    # refused here, not in the last cell after hours of work
    if not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError(f"{name!r} cannot name a table or figure: use letters, digits, _ and -")
    return name


def provenance(device: str = "cpu") -> dict:
    """What results depend on beside code and data: hardware, versions, revision, and what decides about sums."""
    versions = {"python": platform.python_version()}
    versions |= {package: importlib.metadata.version(package) for package in VERSIONED}
    hardware = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_mib": psutil.virtual_memory().total // 2**20,
    }
    if device.startswith("cuda"):
        hardware["gpu"] = torch.cuda.get_device_name(device)
        hardware["gpu_memory_mib"] = torch.cuda.get_device_properties(device).total_memory // 2**20
        hardware["gpu_peak_memory_mib"] = torch.cuda.max_memory_allocated(device) // 2**20
        versions["cuda"] = torch.version.cuda
    code = revision()
    return {
        "device": device,
        "hardware": hardware,
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "versions": versions,
        "revision": code,
        "dirty": None if code == "unknown" else code.endswith("+changes"),
    }


def cpu_name() -> str:
    """The processor's name as its maker gives it, where the system tells, else its architecture."""
    return _in_proc("cpuinfo", "model name") or platform.processor() or platform.machine()


def peak_memory_mib() -> int:
    """The most memory that this process held at once; processes that it started are not in it."""
    # what the kernel counts for this program alone; getrusage's has that of the program that started it, if larger
    if peak := _in_proc("self/status", "VmHWM"):
        return int(peak.split()[0]) // 2**10
    memory = psutil.Process().memory_info()
    try:
        import resource
    except ImportError:  # Windows, which counts it by itself
        return getattr(memory, "peak_wset", memory.rss) // 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else KiB
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def _in_proc(file: str, name: str) -> str | None:
    """The value of the first line of that name in a file of /proc, where the system has one."""
    with contextlib.suppress(OSError):
        lines = Path("/proc", file).read_text(encoding="utf-8").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def revision() -> str:
    """The commit of the checkout, with ``+changes`` where code differs from it; ``unknown`` outside git.

    A new file in lib/ counts, which other code may import, but a reader's own notebook does not.
    """
    try:
        head = _git("rev-parse", "HEAD")
        tracked = _git("status", "--porcelain", "--untracked-files=no", "lib", "notebooks")
        return head + ("+changes" if tracked or _git("status", "--porcelain", "lib") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=paths.project_root(), capture_output=True, text=True, check=True)
    return done.stdout.strip()
