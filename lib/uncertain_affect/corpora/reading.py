"""Reading what others wrote: every fault is a `CorpusError`, and only ordinary files of a bounded size are read."""

import errno
import os
import re
import stat
from pathlib import Path

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from uncertain_affect.corpora.base import CorpusError

TEXT_BYTES = 256 * 2**20  # of a text file at most; the largest here, a table of features, has some 60 MB
ENTRIES = 200_000  # of a folder at most; a recording's video frames are fewer than 10,000

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def content(path: Path, cure: str, limit: int = TEXT_BYTES) -> bytes:
    """What the file holds.

    Raises:
        CorpusError: it is missing, no ordinary file, unreadable, or larger than `limit` bytes.
    """
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise CorpusError("a folder, where a file is expected", path=path, cure=cure)
        if not stat.S_ISREG(state.st_mode):
            raise CorpusError("no ordinary file", path=path, cure=cure)
        if state.st_size > limit:
            reason = f"{state.st_size:,} bytes, where {limit:,} are the most that is read"
            raise CorpusError(reason, path=path, cure=cure)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise _refused(path, error, cure) from error


def lines(path: Path, cure: str, limit: int = TEXT_BYTES) -> list[str]:
    """The lines of a text in UTF-8, without their ends: Unix or Windows, with a byte-order mark or without.

    Raises:
        CorpusError: as `content`; or it is empty, or no UTF-8 text.
    """
    raw = content(path, cure, limit).removeprefix(b"\xef\xbb\xbf")
    if not raw.strip():
        raise CorpusError("the file is empty", path=path, line=1, cure=cure)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"not UTF-8 text ({error.reason})", path=path, line=line, cure=cure) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CorpusError("not text: it holds a zero byte", path=path, line=line, cure=cure)
    found = [line.removesuffix("\r") for line in text.split("\n")]
    return found[:-1] if found[-1] == "" else found


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
    except (OSError, ValueError) as error:
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
    except (OSError, RuntimeError) as error:  # a loop of links
        raise _refused(target, error, cure) from error
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


def xml(path: Path, cure: str, limit: int = 2**20):
    """The root element of an XML file without a document type, and so without entities of its own.

    Raises:
        CorpusError: as `content`; or it is not well-formed, or declares a document type or an entity.
    """
    try:
        return defusedxml.ElementTree.fromstring(content(path, cure, limit), forbid_dtd=True)
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
    if isinstance(error, CorpusError):
        return error
    reasons = {
        FileNotFoundError: "no such file",
        NotADirectoryError: "no such file: what should be a folder is none",
        PermissionError: "it may not be read: its owner or mode forbids it",
    }
    loop = isinstance(error, RuntimeError) or getattr(error, "errno", None) == errno.ELOOP
    reason = "a loop of symbolic links" if loop else reasons.get(type(error), f"cannot be read ({error})")
    return CorpusError(reason, path=path, cure=cure)
