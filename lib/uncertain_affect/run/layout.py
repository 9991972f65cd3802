"""The notebooks, the folders of their runs, and the form of ``run.json`` in each."""

import ast
import hashlib
import json
import math
import os
from pathlib import Path

import nbformat
from pydantic import BaseModel, ConfigDict, ValidationError

from uncertain_affect.compute import paths
from uncertain_affect.evidence import printed

PROFILES = ("quick", "full")  # that train
RECORDED = "recorded"  # that shows what one of them left
NO_CORPUS = "none"
PLACE_PARAMETERS = {"PROFILE", "CORPUS", "DATA_ROOT", "DEVICE"}  # where a run was made, not what was measured
RESULTS_VARIABLE = "UNCERTAIN_AFFECT_RESULTS"
# of run.json: 2 does not say as which claims the run was judged
SCHEMA, OLDEST_SCHEMA = 3, 2
AGAIN = "run the notebook again"


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
    files: dict
    peak_memory_mib: int
    environment: dict
    dirty: bool | None
    checksum: str
    claims: dict[str, str] | None = None


def notebooks() -> dict[str, Path]:
    """Every numbered notebook by name, in order."""
    return {path.stem: path for path in sorted((paths.project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def metadata(path: Path) -> dict:
    """What a notebook covers: paper, tables, figures, claims, corpora."""
    return nbformat.read(path, as_version=4).metadata.get("uncertain_affect", {})


def about(notebook: str) -> dict:
    """What a notebook of this name covers; nothing if it is none of the project's."""
    path = notebooks().get(notebook)
    return metadata(path) if path else {}


class SelectionError(ValueError):
    """A notebook, parameter or corpus that does not exist or cannot be had; the message lists those that can."""


def default_parameters(path: Path) -> dict:
    """The literals of a notebook's parameters cell.

    Raises:
        SelectionError: the notebook has no cell tagged ``parameters``, or one that holds more than literals.
    """
    cells = nbformat.read(path, as_version=4).cells
    cell = next((cell for cell in cells if "parameters" in cell.metadata.get("tags", [])), None)
    if cell is None:
        raise SelectionError(f"{path.name} has no cell tagged 'parameters'")
    try:  # papermill's inspect_notebook passes over what it cannot parse: `SEED = 0  # not = 1`, for example
        statements = ast.parse(cell.source).body
        return {target.id: ast.literal_eval(line.value) for line in statements for (target,) in [line.targets]}
    except (AttributeError, SyntaxError, ValueError):
        raise SelectionError(f"{path.name}: the parameters cell may hold `NAME = literal` only") from None


def results_root() -> Path:
    """Where runs write: ``$UNCERTAIN_AFFECT_RESULTS``, else ``results/local``; relative paths from the checkout."""
    return paths.project_root() / Path(os.environ.get(RESULTS_VARIABLE) or "results/local").expanduser()


def failed_root() -> Path:
    """Where notebooks that failed are kept: ``results/failed``, or ``failed`` in ``$UNCERTAIN_AFFECT_RESULTS``."""
    return results_root() / "failed" if os.environ.get(RESULTS_VARIABLE) else paths.project_root() / "results/failed"


def runs(results: Path, notebook: str = "[!.]*") -> list[Path]:
    """The folders of runs in a folder of results, of one notebook or of all, by profile, corpus and notebook."""
    folders = ((results / profile).glob(f"*/{notebook}") for profile in PROFILES)
    return [path for found in folders for path in sorted(found) if path.is_dir()]


def place(profile: str, corpus: str, features: str = "") -> Path:
    """The folder of runs: a profile, then a corpus with the features that were asked for, ``full/ferplus+hog``."""
    return Path(profile, f"{corpus}+{features}" if features else corpus)


def measured_in(folder: Path) -> tuple[str, str]:
    """Corpus and features, or ``""``, of the folder of a run, see :func:`place`."""
    corpus, _, features = folder.parts[-2].partition("+")
    return corpus, features


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
        ValueError: it is missing, truncated or something else, or lacks what a run writes.
    """
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: {folder} is no finished run") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}): truncated or edited; {AGAIN}") from None
    schema = run.get("schema") if isinstance(run, dict) else None
    if type(schema) is not int or schema < OLDEST_SCHEMA:
        raise ValueError(f"{path} is no record of a run, or of an earlier version of this project; {AGAIN}")
    if schema > SCHEMA:
        raise SchemaError(
            f"{path} has schema {schema}, of a later version of this project (this one knows up to {SCHEMA}), and is "
            "left as it is: update the checkout, or move the folder away"
        )
    try:
        RunForm.model_validate(run)
    except ValidationError as error:
        raise ValueError(f"{path}: {printed.explain(error)}; {AGAIN}") from None
    return run


def is_exploratory(run: dict) -> bool:
    """Whether a run was judged before the claims were frozen, or by others than those that are."""
    frozen = printed.frozen()
    return run.get("claims") != {"commit": frozen.commit, "checksum": frozen.checksum}


def judged_by() -> dict[str, str]:
    """As which claims a run is judged now: the commit that froze them, and the checksum of what they say.

    Raises:
        ValueError: what was frozen cannot be read.
    """
    return {"commit": printed.frozen().commit, "checksum": printed.claims_checksum()}


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
