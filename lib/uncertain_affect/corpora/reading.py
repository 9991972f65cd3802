"""What others wrote: folders, names of files, numbers, XML. Every fault is a `CorpusError`; text is read by `lines`."""

import errno
import os
import re
from pathlib import Path

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from uncertain_affect.corpora import lines
from uncertain_affect.corpora.base import CorpusError

ENTRIES = 200_000  # of a folder at most; a recording's video frames are fewer than 10,000

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def entries(folder: Path, cure: str) -> list[Path]:
    """What lies in a folder, by name; hidden files, such as the ._* that macOS leaves, are passed over.

    Raises:
        CorpusError: it is missing, no folder, unreadable, or holds more than `ENTRIES`.
    """
    found = []
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                if len(found) == ENTRIES:
                    raise CorpusError(f"more than {ENTRIES:,} files in one folder", path=folder, cure=cure)
                if not entry.name.startswith("."):
                    found.append(folder / entry.name)
    except OSError as error:
        raise _refused(folder, error, cure) from error
    return sorted(found)


def named(folder: Path, name: str, path: Path, line: int | None, cure: str) -> Path:
    """The file in `folder` that another file names; a name that leads elsewhere is refused.

    Args:
        path, line: where the name stands.

    Raises:
        CorpusError: the name holds a separator or is no name of a file, or it is a link out of the folder.
    """
    if not name or name in (".", "..") or re.search(r"[/\\:\0]", name):
        raise CorpusError(f"{name[:60]!r} is no name of a file in this folder", path=path, line=line, cure=cure)
    target = folder / name
    try:
        if target.is_symlink() and folder.resolve() not in target.resolve().parents:
            reason = f"{name[:60]!r} is a link to a file outside this folder"
            raise CorpusError(reason, path=path, line=line, cure=cure)
    except (OSError, RuntimeError) as error:
        reason = "is a loop of links" if _is_loop(error) else f"cannot be the name of a file: {error.strerror}"
        raise CorpusError(f"{name[:60]!r} {reason}", path=path, line=line, cure=cure) from error
    return target


def number(cell: str, name: str, low: float, high: float, path: Path, line: int, cure: str) -> float:
    """A decimal number of a text, from `low` to `high`.

    Raises:
        CorpusError: it is no number, or out of range.
    """
    if not _NUMBER.fullmatch(cell):
        raise CorpusError(f"{name} is {cell[:20]!r}, no number", path=path, line=line, cure=cure)
    value = float(cell)
    if not low <= value <= high:
        raise CorpusError(f"{name} is {cell[:20]}, not from {low:g} to {high:g}", path=path, line=line, cure=cure)
    return value


def xml(path: Path, cure: str):
    """The root element of an XML file without a document type, and so without entities of its own.

    Raises:
        CorpusError: as `lines.read`; or it is not well-formed, or declares a document type or an entity.
    """
    try:
        return defusedxml.ElementTree.fromstring(lines.read(path, cure), forbid_dtd=True)
    except DefusedXmlException as error:
        reason = "declares a document type or an entity, which is not read"
        raise CorpusError(reason, path=path, line=1, cure=cure) from error
    except defusedxml.ElementTree.ParseError as error:
        raise CorpusError(f"not well-formed XML ({error})", path=path, line=error.position[0], cure=cure) from error
    except (LookupError, ValueError) as error:  # an encoding that is unknown, or unfit
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"not XML that can be read ({error})", path=path, line=1, cure=cure) from error


def place(root: str | os.PathLike, name: str, inner: tuple[str, ...], mark: str) -> Path:
    """The folder of a corpus: `<root>/<name>`, or where its owners' own folder `inner` lies, or `root` itself.

    Args:
        inner: names of the folder as its owners distribute it.
        mark: what tells that a folder is it.
    """
    root = Path(root)
    candidates = [root / name, *(root / name / i for i in inner), *(root / i for i in inner), root]
    return next((folder for folder in candidates if (folder / mark).exists()), root / name)


def _refused(path: Path, error: Exception, cure: str) -> CorpusError:
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    reason = "no such folder" if missing else "a loop of links" if _is_loop(error) else f"cannot be read ({error})"
    return CorpusError(reason, path=path, cure=cure)


def _is_loop(error: Exception) -> bool:
    return isinstance(error, RuntimeError) or getattr(error, "errno", None) == errno.ELOOP
