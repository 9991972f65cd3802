"""Files and folders that change in one step: whatever happens, the old one is there or the new one."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from uncertain_affect.compute.cache import cache_dir, content_key


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
