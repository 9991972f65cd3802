"""Small trees in a corpus's official syntax: files by path, so that a test can change one before it is written."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

Files = dict[str, bytes]


def write(root: Path, files: Files) -> Path:
    """Write the files below `root`, and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def text(*lines: str, end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


def replaced(files: Files, name: str, old: str, new: str) -> Files:
    """The files, with a piece of one of them replaced; it must be there."""
    assert old.encode() in files[name], f"{old!r} is not in {name}"
    return files | {name: files[name].replace(old.encode(), new.encode(), 1)}


def planted(files: Files, rows_of: Callable[[str, list[bytes]], list[int]]) -> Iterator[tuple[str, bytes]]:
    """File and new content: each of the rows `rows_of` a file (of many, some thirty) dropped, and there twice."""
    for file, content in files.items():
        lines = content.splitlines(keepends=True)
        rows = rows_of(file, content.splitlines())
        for row in {*rows[:: 1 + len(rows) // 30], rows[-1]}:
            yield file, b"".join(lines[:row] + lines[row + 1 :])
            yield file, b"".join(lines[: row + 1] + lines[row:])


IN_ITS_PLACE = {  # what can lie in the place of any file, and what a reader is told
    "a folder": (Path.mkdir, "not a file"),
    "a loop": (lambda path: path.symlink_to(path.name), r"cannot be read \(Too many levels of symbolic links\)"),
    "a pipe": (os.mkfifo, "not a file"),
    "nothing": (lambda path: None, "no such file"),
    "unreadable": (lambda path: path.touch(mode=0), "cannot be read"),
    "a giant": (lambda path: (path.touch(), os.truncate(path, 2**31)), "bytes are more than such a file can have"),
}
ANYWHERE = {  # changes of a whole text, and what a reader is told
    "empty": (lambda content: b"", "the file is empty"),
    "blank": (lambda content: b"\n\n \n", "the file is empty"),
    "utf-16": (lambda content: content.decode().encode("utf-16"), "line 1: not UTF-8 text"),
    "utf-32": (lambda content: content.decode().encode("utf-32"), "line 1: not UTF-8 text"),
    "latin-1 bytes": (lambda content: content + b"\xe9\xe8\n", "not UTF-8 text"),
}
HARMLESS = {
    "windows line ends": lambda content: content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    "old line ends": lambda content: content.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
    "byte-order mark": lambda content: b"\xef\xbb\xbf" + content,
    "blank lines at the end": lambda content: content + b"\n \n\n",
    "no line end at the end": lambda content: content.rstrip(b"\r\n"),
}
