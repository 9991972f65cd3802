"""Small trees in a corpus's official syntax: files by path, so that a test can change one before it is written."""

import os
from pathlib import Path

import numpy as np

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


def without_row(files: Files, name: str, row: int) -> Files:
    lines = files[name].splitlines(keepends=True)
    return files | {name: b"".join(lines[:row] + lines[row + 1 :])}


def with_row_twice(files: Files, name: str, row: int) -> Files:
    lines = files[name].splitlines(keepends=True)
    return files | {name: b"".join(lines[: row + 1] + lines[row:])}


def planted(files: Files, rows_of, n: int = 1000, seed: int = 0):
    """File, change and new content, `n` times: one of the rows `rows_of(file, lines)` dropped, or there twice."""
    rng = np.random.default_rng(seed)
    names = sorted(files)
    for _ in range(n):
        file = names[rng.integers(len(names))]
        row = int(rng.choice(rows_of(file, files[file].splitlines())))
        change = (without_row, with_row_twice)[rng.integers(2)]
        yield file, change, change(files, file, row)[file]


# what can lie in the place of any file, and what a reader is told
def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def nothing(path: Path) -> None:
    path.unlink()


def unreadable(path: Path) -> None:
    path.chmod(0)


IN_ITS_PLACE = {
    a_folder: "not a file",
    a_loop: "cannot be read",
    a_pipe: "not a file",
    nothing: "no such file",
    unreadable: "cannot be read",
}
ANYWHERE = {  # changes of a whole text, and what a reader is told
    "empty": (lambda content: b"", "the file is empty"),
    "blank": (lambda content: b"\n\n", "the file is empty"),
    "utf-16": (lambda content: content.decode().encode("utf-16"), "not UTF-8 text"),
    "latin-1 bytes": (lambda content: content + b"\xe9\xe8\n", "not UTF-8 text"),
}
HARMLESS = {
    "windows line ends": lambda content: content.replace(b"\n", b"\r\n"),
    "byte-order mark": lambda content: b"\xef\xbb\xbf" + content,
    "no line end at the end": lambda content: content.rstrip(b"\n"),
}


def is_unreadable(path: Path) -> bool:
    try:
        path.read_bytes()
    except PermissionError:
        return True
    return False
