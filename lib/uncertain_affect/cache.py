"""A cache of arrays that are slow to make (decoded images, frozen features), addressed by content."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from uncertain_affect.paths import project_root


def cache_dir() -> Path:
    """The folder of the cache: `$UNCERTAIN_AFFECT_CACHE`, else `.cache/uncertain_affect` in the checkout."""
    named = os.environ.get("UNCERTAIN_AFFECT_CACHE")
    return Path(named).expanduser() if named else project_root() / ".cache" / "uncertain_affect"


def content_key(*parts) -> str:
    """A SHA-256 (64 hexadecimal digits) of everything a cached result depends on.

    Args:
        parts: None, booleans, numbers, strings, bytes, NumPy arrays, tensors, and mappings and sequences of
            these, nested at will. A tensor counts as the array it holds, a tuple as a list; the order of a
            mapping does not matter. 1, 1.0, True and "1" are four different things.

    Raises:
        TypeError: a part of another type; a path, for example, says where a file is, not what is in it.
    """
    return _digest(parts).hex()


def cached_arrays(
    key: str, build: Callable[[], Mapping[str, np.ndarray]], kind: str = "arrays"
) -> dict[str, np.ndarray]:
    """The arrays that `build` makes, from the cache when they are there.

    Each array lies in `<cache>/<kind>/<key>/<name>.npy`. It comes back memory-mapped copy-on-write: reading
    costs no memory until a page is touched, and writing to it never reaches the file. An entry appears only
    when it is complete, a second process waits for the first, and an entry that does not match its checksums
    is built anew with a warning.

    Args:
        key: from `content_key`, over everything that the arrays depend on, the version of `build` included.
        build: makes the arrays by name; called only when they are not cached. No object arrays: no pickle.
        kind: the sub-folder, naming what the arrays are.
    """
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


def _write(entry: Path, arrays: Mapping[str, np.ndarray]) -> None:
    part = entry.with_name(f"{entry.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed: the lock is ours
    part.mkdir()
    try:
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        checksums = {name: _file_sha256(part / f"{name}.npy") for name in arrays}
        (part / "checksums.json").write_text(json.dumps(checksums, indent=1))
        part.rename(entry)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _read(entry: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for name, checksum in json.loads((entry / "checksums.json").read_text()).items():
        file = entry / f"{name}.npy"
        if _file_sha256(file) != checksum:
            raise ValueError(f"{file.name} does not match its checksum")
        arrays[name] = np.asarray(np.load(file, mmap_mode="c", allow_pickle=False))
    return arrays


def _file_sha256(path: Path) -> str:
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
        tag = "mapping"
        content = b"".join(sorted(_digest(key) + _digest(value) for key, value in part.items()))
    elif isinstance(part, list | tuple):
        tag, content = "sequence", b"".join(map(_digest, part))
    else:
        raise TypeError(f"content_key cannot hash a {type(part).__name__}; give arrays and strings")

    digest = hashlib.sha256(f"{tag}\0".encode())
    digest.update(content)
    return digest.digest()
