"""The lines of a corpus's text file, or a CorpusError that says why there are none."""

import os
import re
import stat
from pathlib import Path

from uncertain_affect.corpora.base import CorpusError

MAX_BYTES = 64 * 2**20  # of a text file; the longest label file of the corpora here has a few megabytes


def read(path: str | os.PathLike, cure: str | None = None) -> bytes:
    """The content of a file of at most `MAX_BYTES`.

    Raises:
        CorpusError: there is no such file, it is too large, or it cannot be read (a folder, a loop of links, ...).
    """
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise CorpusError("not a file", path=path, cure=cure)
        if state.st_size > MAX_BYTES:
            reason = f"{state.st_size:,} bytes are more than a file of labels can have ({MAX_BYTES:,})"
            raise CorpusError(reason, path=path, cure=cure)
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise CorpusError("no such file", path=path, cure=cure) from error
    except OSError as error:
        raise CorpusError(f"cannot be read ({error.strerror})", path=path, cure=cure) from error


def split(content: bytes, path: str | os.PathLike, cure: str | None = None) -> list[str]:
    r"""The lines of UTF-8 text, stripped, whatever ends them (\n, \r\n or \r) and with or without a byte-order mark.

    Blank lines at the end are none; others stay, so that the i-th line stays the i-th.

    Raises:
        CorpusError: the file is empty, or not UTF-8 text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\n|\r", content[: error.start])) + 1
        raise CorpusError(f"not UTF-8 text ({error.reason})", path=path, line=line, cure=cure) from error
    lines = [line.strip() for line in re.split("\r\n|\n|\r", text)]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise CorpusError("the file is empty", path=path, line=1, cure=cure)
    return lines
