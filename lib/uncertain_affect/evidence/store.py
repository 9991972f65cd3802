"""What an experiment leaves for its tables, figures and answers: named arrays in one file, ``evidence.npz``.

The file is a zip of ``.npy`` files, which NumPy reads without pickle, and of ``about.json``, which says of each array
its axes, unit, shape, type, encoding and checksum, and of the whole whose it is. Equal content gives equal bytes.
Three encodings:

- ``exact``: booleans, text, floats as they are, whole numbers in the smallest type that holds them;
- ``probability``: 16-bit fixed point over the last axis, which sums to one again when read. A probability below 8e-6
  may become 0: keep losses and uncertainties as fields of their own;
- ``scaled``: 16 bits between the least and the largest of the array, NaN kept. For values of single examples.

An axis called ``seed`` runs over all seeds of the experiment; what is kept of the first few only needs another name.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from uncertain_affect.compute.cache import content_key
from uncertain_affect.compute.replacing import replacing
from uncertain_affect.evidence import printed

NAME = "evidence.npz"
FORMAT = 1
# what may be committed: bytes of a file, and of all of them
FILE_LIMIT, TOTAL_LIMIT = 3_000_000, 25_000_000
# corpora whose labels of single examples may be passed on, and those of which predictions and sums alone may
WITH_LABELS, WITHOUT_LABELS = ("none", "simulated", "ferplus", "emobank"), ("meld", "ceap360vr")
ENCODINGS = ("exact", "probability", "scaled")
AGAIN = "run the notebook again with its profile quick or full"
WHOLE, LEVELS, NAN = 65535, 65534, 65535  # of 16 bits: the whole of a distribution; steps of `scaled`, and its NaN


class EvidenceError(ValueError):
    """Evidence that cannot be kept, read or passed on: which file, which field of it, why, and what to do."""

    def __init__(self, reason: str, *, path: Path | None = None, field: str = "", cure: str = ""):
        place = ", ".join(filter(None, [str(path or ""), field]))
        super().__init__(f"{place}{': ' if place else ''}{reason}{f'; {cure}' if cure else ''}")


@dataclass(frozen=True)
class Field:
    """An array with what its file says of it.

    Args:
        values: NumPy or torch.
        dims: a name for each axis, ``("seed", "image", "class")``.
        unit: ``"probability"``, ``"nat"``, ...
        encoding: one of ``ENCODINGS``.
    """

    values: np.ndarray | torch.Tensor
    dims: Sequence[str] | None = None
    unit: str = ""
    encoding: str = "exact"


class _Array(BaseModel):
    """What about.json says of an array."""

    dims: list[str] | None
    unit: str
    encoding: Literal[ENCODINGS]
    shape: list[int]
    dtype: str  # as read
    stored: str  # as it lies in the file
    sha256: str
    range: list[float] | None = None  # of `scaled`


class _About(BaseModel):
    """What about.json says at least."""

    model_config = ConfigDict(strict=True)

    notebook: str
    profile: str
    corpus: str
    corpus_checksum: str | None
    parameters: dict
    seeds: list
    shareable: bool
    arrays: dict[str, _Array]
    tree: dict


@dataclass
class _Encoded:
    """A tree as it is stored: its shape, the arrays, and what is said of each."""

    tree: dict | None = None
    stored: dict[str, np.ndarray] = field(default_factory=dict)
    arrays: dict[str, dict] = field(default_factory=dict)

    def add(self, node, name: str) -> dict:
        """The node as about.json says it; the arrays in it are kept."""
        if isinstance(node, np.generic):
            node = node.item()
        if isinstance(node, Mapping):
            if strange := [key for key in node if not (isinstance(key, str) and key.isprintable())]:
                raise EvidenceError(f"has the key {strange[0]!r}", field=name, cure="make it a string of letters")
            return {"dict": {key: self.add(value, f"{name}/{key}".strip("/")) for key, value in node.items()}}
        if isinstance(node, pd.DataFrame):
            return self._frame(node, name)
        if isinstance(node, Field | np.ndarray | torch.Tensor):
            given = node if isinstance(node, Field) else Field(node)
            if name in self.stored:
                raise EvidenceError("is the name of two arrays", field=name, cure="leave / out of the keys")
            self.stored[name], self.arrays[name] = _encode(given, name)
            return {"array": name}
        if isinstance(node, list | tuple):
            if all(_is_plain(value) for value in node):
                return {"value": list(node)}
            return {"list": [self.add(value, f"{name}/{i}") for i, value in enumerate(node)]}
        if isinstance(node, float) and not math.isfinite(node):
            return {"float": str(node)}
        if _is_plain(node):
            return {"value": node}
        kind = type(node).__name__
        raise EvidenceError(f"a {kind} cannot be kept", field=name, cure="give arrays, text, numbers, tables of these")

    def _frame(self, frame: pd.DataFrame, name: str) -> dict:
        if frame.index.nlevels > 1 or frame.columns.nlevels > 1:
            raise EvidenceError("has rows or columns of several levels", field=name, cure="call reset_index first")
        parts = {"columns": list(frame.columns), "index": _plain_column(frame.index)}
        parts["data"] = [_plain_column(frame.iloc[:, i]) for i in range(frame.shape[1])]
        parts["names"] = [frame.index.name, frame.columns.name]
        return {"frame": self.add(parts, name)}


def rounded(tree: Mapping) -> dict:
    """The tree as reading gives it back once it is written: NumPy arrays, rounded where their encoding rounds."""
    encoded = _Encoded()
    encoded.tree = encoded.add(tree, "")
    return _decode(encoded.tree, encoded.stored, encoded.arrays)


def write(path: Path, tree: Mapping, about: Mapping) -> None:
    """Keep a tree in a file, in one move.

    Args:
        tree: by names, nested: arrays, `Field`, numbers, text, None, lists, and tables (`pandas.DataFrame`).
        about: whose it is: notebook, profile, corpus, corpus_checksum, parameters, seeds, shareable, and more that JSON
            can hold.

    Raises:
        EvidenceError: something in it cannot be kept, or an axis ``seed`` is not as long as the list of seeds.
    """
    encoded = _Encoded()
    encoded.tree = encoded.add(tree, "")
    members = {name: _npy(array) for name, array in encoded.stored.items()}
    for name, content in members.items():
        encoded.arrays[name]["sha256"] = hashlib.sha256(content).hexdigest()
    whole = dict(about) | {"format": FORMAT, "arrays": encoded.arrays, "tree": encoded.tree}
    _check_about(whole, path)
    text = json.dumps(whole, indent=1, allow_nan=False)
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, content in {"about.json": text.encode(), **{f"{name}.npy": c for name, c in members.items()}}.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            file.writestr(info, content)


def read(path: Path) -> tuple[dict, dict]:
    """What a file says about itself, and its tree.

    Raises:
        EvidenceError: it is missing, cut, of another version, or not what it says it is.
    """
    try:
        with zipfile.ZipFile(path) as file:
            content = {info.filename: file.read(info) for info in file.infolist()}
        about = json.loads(content.pop("about.json"))
    except FileNotFoundError:
        raise EvidenceError("is missing", path=path, cure=f"restore it, or {AGAIN}") from None
    except Exception as error:  # a damaged zip fails in many ways
        reason = f"is no evidence, or was cut ({str(error) or type(error).__name__})"
        raise EvidenceError(reason, path=path, cure=f"restore it, or {AGAIN}") from None
    _check_about(about, path)
    for name in sorted({f"{name}.npy" for name in about["arrays"]} ^ content.keys()):
        reason = "is missing" if name not in content else "is not described in about.json"
        raise EvidenceError(reason, path=path, field=name, cure=f"restore the file, or {AGAIN}")
    stored = {name: _array(content[f"{name}.npy"], said, name, path) for name, said in about["arrays"].items()}
    try:
        tree = _decode(about["tree"], stored, about["arrays"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise EvidenceError(f"does not fit its arrays ({error})", path=path, field="tree", cure=AGAIN) from None
    return about, tree


def key_checksum(keys: Sequence) -> str:
    """A SHA-256 of the keys of examples, in their order, for ``about["keys"]``."""
    return content_key([str(key) for key in keys])


def check_committable(path: Path) -> dict:
    """What a file says about itself, where it may be committed.

    Raises:
        EvidenceError: it cannot be read, is too large, or may not be passed on.
    """
    about, _ = read(path)
    cure = "it stays with its reader"
    if about["corpus"] not in WITH_LABELS + WITHOUT_LABELS:
        raise EvidenceError(f"evidence made on {about['corpus']} is not shared", path=path, field="corpus", cure=cure)
    if not about["shareable"]:
        raise EvidenceError("is not shareable", path=path, field="shareable", cure=cure)
    if (size := path.stat().st_size) > FILE_LIMIT:
        cure = "keep fewer seeds of single examples, or sums in their place"
        reason = f"{size / 1e6:.1f} MB are more than the {FILE_LIMIT / 1e6:g} that may be committed"
        raise EvidenceError(reason, path=path, cure=cure)
    return about


def _check_about(about, path: Path) -> None:
    version = about.get("format") if isinstance(about, dict) else None
    if type(version) is not int:
        raise EvidenceError("says nothing of its format", path=path, field="about.json", cure=AGAIN)
    if version != FORMAT:
        cure = "update the checkout" if version > FORMAT else AGAIN
        raise EvidenceError(f"is {version}, this version reads {FORMAT}", path=path, field="format", cure=cure)
    try:
        said = _About.model_validate(about)
    except ValidationError as error:
        raise EvidenceError(printed.explain(error), path=path, field="about.json", cure=AGAIN) from None
    n_seeds = len(set(map(str, said.seeds)))
    if n_seeds < len(said.seeds):
        raise EvidenceError("names a seed twice", path=path, field="seeds", cure=AGAIN)
    for name, array in said.arrays.items():
        for axis, length in zip(array.dims or (), array.shape, strict=False):
            if axis == "seed" and length != n_seeds:
                reason = f"the axis seed has {length}, the experiment {n_seeds}: a seed is missing, or too much"
                cure = f"{AGAIN}, or give an axis of some seeds another name"
                raise EvidenceError(reason, path=path, field=name, cure=cure)


def _encode(given: Field, name: str) -> tuple[np.ndarray, dict]:
    """The array to store, and what is said of it."""
    if given.encoding not in ENCODINGS:
        raise EvidenceError(f"encoding {given.encoding!r}", field=name, cure=f"use one of {', '.join(ENCODINGS)}")
    values = given.values.detach().cpu() if isinstance(given.values, torch.Tensor) else given.values
    try:
        values = np.asarray(values)
    except TypeError as error:
        raise EvidenceError(str(error), field=name, cure="convert it, by .double() say") from None
    if values.dtype.kind == "T" or (values.dtype.kind == "O" and all(isinstance(v, str) for v in values.flat)):
        values = values.astype(str)
    if values.dtype.kind not in "biufU" or (values.dtype.itemsize > 8 and values.dtype.kind != "U"):
        cure = "give booleans, whole numbers, floats or text"
        raise EvidenceError(f"has the type {values.dtype}, which is not kept", field=name, cure=cure)
    if given.dims is not None and len(given.dims) != values.ndim:
        cure = "name each axis"
        raise EvidenceError(f"has {values.ndim} axes and {len(given.dims)} dims", field=name, cure=cure)
    said = {"dims": None if given.dims is None else list(given.dims), "unit": given.unit, "encoding": given.encoding}
    said["shape"] = list(values.shape)
    said["dtype"] = (values.dtype if given.encoding == "exact" else np.dtype(float)).newbyteorder("<").str
    if given.encoding != "exact" and values.dtype.kind != "f":
        raise EvidenceError(f"is no float for {given.encoding!r}", field=name, cure="keep it as 'exact'")
    if given.encoding == "probability":
        values = _fixed_point(values.astype(float), name)
    elif given.encoding == "scaled":
        values, said["range"] = _scale(values.astype(float), name)
    elif values.dtype.kind in "iu" and values.size:
        values = values.astype(np.promote_types(np.min_scalar_type(values.min()), np.min_scalar_type(values.max())))
    values = np.asarray(values, values.dtype.newbyteorder("<"))
    return values, said | {"stored": values.dtype.str}


def _fixed_point(p: np.ndarray, name: str) -> np.ndarray:
    """(..., C) whole numbers that sum to ``WHOLE``: each cut off, the rest to those that lost most."""
    total = p.sum(-1, keepdims=True)
    if not p.ndim or not p.shape[-1] or not ((p >= 0).all() and (abs(total - 1) < 1e-3).all()):
        cure = "use 'scaled' or 'exact' for what is no distribution over the last axis"
        raise EvidenceError("is not between 0 and 1 with the sum 1", field=name, cure=cure)
    whole, part = np.divmod(p / total * WHOLE, 1)
    left = WHOLE - whole.sum(-1, keepdims=True)
    order = np.argsort(np.argsort(-part, axis=-1, kind="stable"), axis=-1, kind="stable")
    return (whole + (order < left)).astype(np.uint16)


def _scale(values: np.ndarray, name: str) -> tuple[np.ndarray, list[float]]:
    if np.isinf(values).any():
        raise EvidenceError("is infinite somewhere", field=name, cure="keep it as 'exact'")
    known = values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if not math.isfinite(high - low):
        raise EvidenceError("has too wide a range", field=name, cure="keep it as 'exact'")
    steps = np.rint((values - low) / ((high - low) or 1.0) * LEVELS)
    return np.where(np.isnan(values), NAN, steps).astype(np.uint16), [low, high]


def _decode(node: dict, stored: dict[str, np.ndarray], arrays: dict[str, dict]):
    ((kind, content),) = node.items()
    if kind == "dict":
        return {key: _decode(value, stored, arrays) for key, value in content.items()}
    if kind == "list":
        return [_decode(value, stored, arrays) for value in content]
    if kind == "frame":
        parts = _decode(content, stored, arrays)
        index = pd.Index(parts["index"], name=parts["names"][0])
        frame = pd.DataFrame(dict(enumerate(parts["data"])), index=index)
        frame.columns = pd.Index(parts["columns"], name=parts["names"][1])
        return frame
    if kind == "array":
        return _decode_array(stored[content], arrays[content])
    if kind not in ("value", "float"):
        raise ValueError(f"{kind!r} is nothing that is kept")
    return float(content) if kind == "float" else list(content) if isinstance(content, list) else content


def _decode_array(values: np.ndarray, said: dict) -> np.ndarray:
    if said["encoding"] == "probability":
        return values / float(WHOLE)
    if said["encoding"] == "scaled":
        share, (low, high) = np.where(values == NAN, math.nan, values / float(LEVELS)), said["range"]
        return (1 - share) * low + share * high
    return values.copy() if values.dtype == said["dtype"] else values.astype(said["dtype"])  # as wide as it was


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    return file.getvalue()


def _array(content: bytes, said: dict, name: str, path: Path) -> np.ndarray:
    """The stored array, once it is what about.json says of it."""
    cure = f"restore the file, or {AGAIN}"
    if hashlib.sha256(content).hexdigest() != said["sha256"]:
        raise EvidenceError("has another checksum than was recorded", path=path, field=name, cure=cure)
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # a damaged header fails in many ways
        raise EvidenceError(f"is no array ({error})", path=path, field=name, cure=cure) from None
    found, expected = (list(array.shape), array.dtype.str), (said["shape"], said["stored"])
    if found != expected:
        reason = f"is {found[1]} {found[0]}, about.json says {expected[1]} {expected[0]}"
        raise EvidenceError(reason, path=path, field=name, cure=cure)
    return array


def _is_plain(value) -> bool:
    """Whether JSON holds the value as it is."""
    return value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


def _plain_column(column: pd.Series | pd.Index) -> Field | list:
    """A column as an array, or where it holds text as a list with None for what is missing."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return Field(column.to_numpy(), ("row",))
    return [None if value is pd.NA or (isinstance(value, float) and value != value) else value for value in column]
