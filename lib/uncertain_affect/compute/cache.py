"""A cache of arrays that are slow to make (decoded images, frozen features), addressed by content."""

import ast
import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.compute.paths import project_root

CACHE_VARIABLE = "UNCERTAIN_AFFECT_CACHE"
# How much of a large array is made at a time.
BLOCK_BYTES = 2**25
# Names of entries: what content_key gives.
HEX_KEY = re.compile(r"[0-9a-f]{64}")


def cache_dir() -> Path:
    """The folder of the cache: `$UNCERTAIN_AFFECT_CACHE`, else `.cache/uncertain_affect` in the checkout."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else project_root() / ".cache" / "uncertain_affect"


def content_key(*parts) -> str:
    """A SHA-256 (64 hexadecimal digits) of everything a cached result depends on.

    Args:
        parts: None, booleans, numbers, strings, bytes, NumPy arrays, tensors, and mappings and sequences of
            these, nested at will. A tensor counts as the array it holds, a tuple as a list; the order of a
            mapping does not matter. 1, 1.0, True and "1" are four different things.

    Raises:
        TypeError: a part of another type; a path, for example, says where a file is, not what is in it.

    >>> content_key({"a": 1, "b": [2]}) == content_key({"b": (2,), "a": 1})
    True
    """
    return _digest(parts).hex()


# What decides what is learnt, by its place in the library. The rest says where things lie, what is printed and how
# results are judged and shown. What a corpus holds enters a key as content; the simulated world is drawn from while
# something is made, and counts.
RECIPES = ("corpora.simulated.", "corpora.talkturns.", "losses.", "metrics.", "models.", "papers.", "training.")
LIBRARY = Path(__file__).parents[1]


@functools.cache
def code_key(module: str) -> str:
    """A SHA-256 of the code of a module of this library and of all of the library's that it imports.

    Part of the key of what the module computes: what other code has made is not taken. Comments, docstrings and
    layout do not count, and of what it imports what lies in `RECIPES` does.

    Args:
        module: `__name__`.
    """
    code: dict[str, bytes] = {}
    waiting = [module.partition(".")[2]]
    while waiting:
        name = waiting.pop()
        if name not in code and (file := _file_of(name)):
            code[name], imported = _read_code(file)
            waiting += [other for other in imported if f"{other}.".startswith(RECIPES)]
    return content_key(code)


@functools.cache
def _read_code(file: Path) -> tuple[bytes, list[str]]:
    """A digest of what a file does, and the names of this library that it imports."""
    tree, imported = ast.parse(file.read_text(encoding="utf-8")), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == LIBRARY.name:
            source = node.module.partition(".")[2]
            imported += [source, *(f"{source}.{alias.name}".strip(".") for alias in node.names)]
    return hashlib.sha256(ast.dump(tree).encode()).digest(), imported


def _file_of(name: str) -> Path | None:
    path = LIBRARY.joinpath(*name.split("."))
    return next((f for f in (path / "__init__.py", path.with_suffix(".py")) if f.is_file()), None)


def cached_arrays(
    key: str, build: Callable[[], Mapping[str, np.ndarray]], kind: str = "arrays"
) -> dict[str, np.ndarray]:
    """The arrays that `build` makes, from the cache when they are there.

    Each array lies in `<cache>/<kind>/<key>/<name>.npy`. It comes back memory-mapped copy-on-write: reading
    costs no memory until a page is touched, and writing to it never reaches the file. An entry appears only
    when it is complete, a second process waits for the first, and an entry that does not match its checksums
    is built anew with a warning.

    Args:
        key: from `content_key`, over everything that the arrays depend on, the code of `build` included (`code_key`).
        build: makes the arrays by name; called only when they are not cached. No object arrays: no pickle.
        kind: the sub-folder, naming what the arrays are.
    """
    from filelock import FileLock

    entry = cache_dir() / kind / key
    entry.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{entry}.lock"):
        if entry.is_dir():
            try:
                return _read(entry)
            except (OSError, ValueError) as error:
                warnings.warn(f"the cached {entry} is damaged ({error}) and is built anew", stacklevel=2)
                shutil.rmtree(entry)
        _write(entry, build())
        return _read(entry)


def cached_blocks(
    key: str,
    shape: tuple[int, ...],
    dtype,
    build: Callable[[int, int], np.ndarray],
    kind: str = "arrays",
) -> np.ndarray:
    """One array too large for memory, made block after block of its rows, from the cache as far as it is there.

    It lies in `<cache>/<kind>/<key>/array.npy` beside the checksum of each block, and comes back memory-mapped
    copy-on-write, as from `cached_arrays`. Only one block is ever in memory. A block counts once it is whole: what was
    interrupted goes on with the first that is missing, a second process waits for the first, and a block that does not
    match its checksum is built anew with a warning.

    Args:
        key: as of `cached_arrays`.
        shape, dtype: of the array; at least one row.
        build: makes rows start to stop (exclusive), (stop - start, ...).
        kind: the sub-folder, naming what the array is.
    """
    from filelock import FileLock

    entry = cache_dir() / kind / key
    entry.mkdir(parents=True, exist_ok=True)
    file, log, dtype = entry / "array.npy", entry / "blocks.sha256", np.dtype(dtype)
    n_rows = max(1, BLOCK_BYTES // max(1, math.prod(shape[1:]) * dtype.itemsize))
    with FileLock(f"{entry}.lock"):
        array, checksums = _map(file, shape, dtype), _block_checksums(log)
        if array is None:
            if file.exists():
                warnings.warn(f"the cached {entry} is damaged and is built anew", stacklevel=2)
            log.unlink(missing_ok=True)
            array, checksums = np.lib.format.open_memmap(file, "w+", dtype, tuple(shape)), {}
        for start in range(0, shape[0], n_rows):
            stop = min(start + n_rows, shape[0])
            if start in checksums:
                if hashlib.sha256(array[start:stop]).hexdigest() == checksums[start]:
                    continue
                warnings.warn(f"rows {start} to {stop - 1} of {file} are damaged and built anew", stacklevel=2)
            rows = np.ascontiguousarray(build(start, stop), dtype)
            array[start:stop] = rows  # unflushed: what a crash loses does not match its checksum
            with log.open("a") as lines:
                lines.write(f"{start} {hashlib.sha256(rows).hexdigest()}\n")
        del array
        return np.asarray(np.load(file, mmap_mode="c", allow_pickle=False))


def _map(file: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """The file as an array that can be written to, or None where it is no array of this shape and type."""
    try:
        array = np.load(file, mmap_mode="r+", allow_pickle=False)
    except Exception:  # a damaged header fails in many ways
        return None
    return array if (array.shape, array.dtype) == (tuple(shape), dtype) else None


def _block_checksums(log: Path) -> dict[int, str]:
    """The last checksum of each block; a line that was cut off counts for nothing."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    found = (re.fullmatch(r"([0-9]{1,15}) ([0-9a-f]{64})", line) for line in lines)
    return {int(match[1]): match[2] for match in found if match}


def _write(entry: Path, arrays: Mapping[str, np.ndarray]) -> None:
    part = entry.with_name(f"{entry.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed: the lock is ours
    part.mkdir()
    try:
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        checksums = {name: file_checksum(part / f"{name}.npy") for name in arrays}
        (part / "checksums.json").write_text(json.dumps(checksums, indent=1))
        part.rename(entry)
    except OSError as error:
        if error.errno is None:  # NumPy's, of an array that was cut off
            raise OSError(errno.ENOSPC, f"No space left on device ({error})", str(entry)) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _read(entry: Path) -> dict[str, np.ndarray]:
    arrays, checksums = {}, json.loads((entry / "checksums.json").read_text())
    if not isinstance(checksums, dict) or checksums.keys() != {file.stem for file in entry.glob("*.npy")}:
        raise ValueError("checksums.json names other arrays than there are")
    for name, checksum in checksums.items():
        file = entry / f"{name}.npy"
        if file_checksum(file) != checksum:
            raise ValueError(f"{file.name} does not match its checksum")
        arrays[name] = np.asarray(np.load(file, mmap_mode="c", allow_pickle=False))
    return arrays


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(part) -> bytes:
    if isinstance(part, torch.Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, np.generic):
        part = part.item()

    # A tag keeps types apart, and nested digests have one length: no two different inputs read the same.
    if part is None or isinstance(part, bool | int):
        tag, content = type(part).__name__, str(part).encode()
    elif isinstance(part, float):
        tag, content = "float", part.hex().encode()
    elif isinstance(part, str):
        tag, content = "str", part.encode()
    elif isinstance(part, bytes):
        tag, content = "bytes", part
    elif isinstance(part, np.ndarray) and not part.dtype.hasobject:
        tag = f"array {part.dtype.descr} {part.shape}"
        content = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    elif isinstance(part, Mapping):
        tag, content = "mapping", b"".join(sorted(_digest(key) + _digest(value) for key, value in part.items()))
    elif isinstance(part, list | tuple):
        tag, content = "sequence", b"".join(map(_digest, part))
    else:
        raise TypeError(f"content_key cannot hash a {type(part).__name__}; give arrays and strings")

    digest = hashlib.sha256(f"{tag}\0".encode())
    digest.update(content)
    return digest.digest()


@dataclass(frozen=True)
class Entry:
    """Something in the cache: a folder of arrays, a search, or what an interrupted training left to go on from."""

    kind: str
    path: Path
    size: int  # bytes
    used: float  # seconds since 1970, when it was last written or read

    @property
    def finished(self) -> bool:
        """Whether it is complete; an unfinished training is not."""
        return self.path.suffix not in (".checkpoint", ".partial", ".part")


def entries() -> list[Entry]:
    """All that the cache holds, by kind and path."""
    root, found = cache_dir(), []
    for path in sorted(root.rglob("*")) if root.is_dir() else []:
        kind = path.parent.relative_to(root).as_posix()
        inside = any(HEX_KEY.fullmatch(parent.name) or parent.suffix == ".part" for parent in path.parents)
        if inside or not ((path.is_dir() and HEX_KEY.match(path.name)) or path.suffix in (".checkpoint", ".partial")):
            continue
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        stats = [f.stat() for f in files]
        used = max((max(s.st_mtime, s.st_atime) for s in stats), default=path.stat().st_mtime)
        found.append(Entry(kind, path, sum(s.st_size for s in stats), used))
    return found


def prune(kind: str | None = None, unused_days: float = 0.0) -> list[Entry]:
    """Remove entries of a kind (all kinds if None) that nobody has used for so many days; returns them.

    What another process is making at this moment stays, and a search in which it is running a trial.
    """
    from filelock import FileLock, Timeout

    removed = []
    for entry in entries():
        if kind not in (None, entry.kind) or time.time() - entry.used < 86400 * unused_days:
            continue
        locks = [Path(f"{entry.path.with_suffix('')}.lock"), *entry.path.rglob("*.lock")]
        try:
            with contextlib.ExitStack() as held:
                for lock in locks:
                    held.enter_context(FileLock(lock, timeout=0))
                shutil.rmtree(entry.path) if entry.path.is_dir() else entry.path.unlink()
        except Timeout:
            continue
        removed.append(entry)
    return removed
