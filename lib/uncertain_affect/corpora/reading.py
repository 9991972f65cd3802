"""Read what others wrote: text, tables, XML, folders.

Every fault is a `CorpusError` with file, line, reason and cure.
"""

import csv
import os
import re
import stat
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from uncertain_affect.corpora.base import CorpusError

MAX_BYTES = 64 * 2**20  # of a text file; the longest label file of the corpora here has a few megabytes
MAX_ENTRIES = 200_000  # of a folder; a recording's video frames are fewer than 10,000

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class File:
    """A file of a corpus.

    Attributes:
        path: where it lies.
        cure: what to do about a file that is absent or malformed.
        limit: the most bytes that it can have.
    """

    path: Path
    cure: str | None = None
    limit: int = MAX_BYTES

    def error(self, reason: str, line: int | None = None, cure: str | None = None) -> CorpusError:
        """The error to raise about this file, or about a line of it (from 1)."""
        return CorpusError(reason, path=self.path, line=line, cure=cure or self.cure)

    def content(self) -> bytes:
        """All bytes.

        Raises:
            CorpusError: as :meth:`opened`.
        """
        with self.opened("rb") as file:
            return file.read()

    def text(self) -> Iterator[str]:
        r"""The lines of UTF-8 text, each ended by \n, whatever ends it in the file. A byte-order mark is passed over.

        Raises:
            CorpusError: as :meth:`opened`, or a line is not UTF-8.
        """
        with self.opened("r", encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, start=1):
                yield self.decoded(line, number)

    def decoded(self, line: str, number: int) -> str:
        """The line as it shall be read; its bytes that are not UTF-8 come as lone surrogates, and are refused."""
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise self.error("not UTF-8 text", number) from error
        return line

    def lines(self) -> list[str]:
        """The lines, stripped. Blank ones at the end are dropped; others stay, so that the i-th line stays the i-th.

        Raises:
            CorpusError: as :meth:`text`, or the file is empty.
        """
        lines = [line.strip() for line in self.text()]
        while lines and not lines[-1]:
            lines.pop()
        if not lines:
            raise self.error("the file is empty", 1)
        return lines

    def rows(self, separator: str = ",", quotes: bool = True) -> Iterator[tuple[int, list[str]]]:
        """Line number and stripped cells of each row of a csv file; a blank line has no cells, and is none at the end.

        Raises:
            CorpusError: as :meth:`lines`, or a quote is not closed.
        """
        quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        reader = csv.reader(self.text(), delimiter=separator, quoting=quoting, strict=True)
        blank, found = [], False
        try:
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if cells in ([], [""]):
                    blank.append(reader.line_num)
                    continue
                yield from ((number, []) for number in blank)
                yield reader.line_num, cells
                blank, found = [], True
        except csv.Error as error:
            raise self.error(str(error), reader.line_num or 1) from error
        if not found:
            raise self.error("the file is empty", 1)

    def table(self, names: Sequence[str], others: bool = False, plain: bool = False) -> "Table":
        """A csv file that begins with a header of the columns `names`, in any order.

        Args:
            names: of the columns to be read.
            others: there may be other columns.
            plain: it holds numbers alone, so that neither quotes nor blank lines have a place in it.

        Raises:
            CorpusError: as :meth:`rows` and :meth:`check_header`, or a row has more or fewer cells than the header.
        """
        rows = self.rows(quotes=not plain)
        header = [name.strip('"') for name in next(rows)[1]]
        self.check_header(header, names, others)
        return Table(self, header, (row for row in rows if plain or row[1]))

    def check_header(self, header: Sequence[str], names: Sequence[str], others: bool = False) -> None:
        """Refuse a header in which one of the `names` is missing, a column is there twice, or there are `others`.

        Raises:
            CorpusError: it is refused.
        """
        if twice := [name for name in header if header.count(name) > 1]:
            raise self.error(f"the column {twice[0][:40]!r} is there twice", 1)
        if missing := [name for name in names if name not in header]:
            raise self.error(f"there is no column {missing[0]} in the header {','.join(header)[:80]!r}", 1)
        if not others and len(header) > len(names):
            unknown = next(name for name in header if name not in names)
            raise self.error(f"the column {unknown[:40]!r} is none of {', '.join(names)}", 1)

    def named(self, name: str, line: int | None = None, folder: Path | None = None) -> Path:
        """The file in `folder` (default: that of this file) that this file names; what leads elsewhere is refused.

        Raises:
            CorpusError: the name holds a separator or is no name of a file, or it is a link out of the folder.
        """
        folder = folder or self.path.parent
        if not name or name in (".", "..") or re.search(r"[/\\:\0]", name):
            raise self.error(f"{name[:60]!r} is no name of a file in this folder", line)
        target = folder / name
        try:
            if target.is_symlink() and folder.resolve() not in target.resolve().parents:
                raise self.error(f"{name[:60]!r} is a link to a file outside this folder", line)
        except (OSError, RuntimeError) as error:  # a loop of links, or a name that no file can have
            reason = getattr(error, "strerror", None) or error
            raise self.error(f"{name[:60]!r} cannot be the name of a file: {reason}", line) from error
        return target

    def xml(self):
        """The root element of an XML file without a document type, and so without entities of its own.

        Raises:
            CorpusError: as :meth:`opened`; or it is not well-formed, or declares a document type or an entity.
        """
        content = self.content()
        try:
            return defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
        except DefusedXmlException as error:
            raise self.error("declares a document type or an entity, which is not read", 1) from error
        except defusedxml.ElementTree.ParseError as error:
            raise self.error(f"not well-formed XML ({error})", error.position[0]) from error
        except (LookupError, ValueError) as error:  # an encoding that is unknown, or unfit
            raise self.error(f"not XML that can be read ({error})", 1) from error

    @contextmanager
    def opened(self, mode: str, **options):
        """The file, open, unless it is none that can be read.

        Raises:
            CorpusError: there is no such file, it is too large, or it cannot be read (a folder, a loop of links, ...).
        """
        try:
            state = os.stat(self.path)
            if not stat.S_ISREG(state.st_mode):
                raise self.error("not a file")
            if state.st_size > self.limit:
                raise self.error(f"{state.st_size:,} bytes are more than such a file can have ({self.limit:,})")
            with open(self.path, mode, **options) as file:
                yield file
        except FileNotFoundError as error:
            raise self.error("no such file") from error
        except OSError as error:
            raise self.error(f"cannot be read ({error.strerror})") from error


class Table:
    """Rows of cells by column.

    Attributes:
        file: what they were read from.
        lines: the line that each of the n rows stands in.
        columns: the n cells of each column by its name.
    """

    def __init__(self, file: File, names: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]]):
        self.file, self.lines, cells = file, [], []
        for line, row in rows:
            if len(row) != len(names):
                raise file.error(f"{len(row)} columns where {len(names)} are expected", line)
            self.lines.append(line)
            cells.append(row)
        by_column = zip(*cells, strict=True) if cells else [()] * len(names)
        self.columns = dict(zip(names, by_column, strict=True))

    def __len__(self) -> int:
        return len(self.lines)

    def refuse(self, wrong: np.ndarray, reason: Callable[[int], str], cure: str | None = None) -> None:
        """Raise for the first of the rows that are `wrong` (bool); `reason` makes the message from its number.

        Raises:
            CorpusError: there is one.
        """
        if np.any(wrong):
            row = int(np.argmax(wrong))
            raise self.file.error(reason(row), self.lines[row], cure)

    def refuse_repeated(self, keys: Iterable[Hashable], name: str) -> None:
        """Raise for the first row whose key another row had before it; `name` says what a key is.

        Raises:
            CorpusError: there is one.
        """
        first: dict[Hashable, int] = {}
        for line, key in zip(self.lines, keys, strict=True):
            if first.setdefault(key, line) != line:
                raise self.file.error(f"{name} {key} stands there a second time, after line {first[key]}", line)

    def text(self, name: str) -> np.ndarray:
        """The cells of a column, str (n,)."""
        return np.array(self.columns[name], dtype=str)

    def values(
        self,
        name: str,
        value_of: Callable[[str], float | None],
        unlike: str,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> np.ndarray:
        """The cells of a column as numbers float64 (n,).

        Args:
            name: of the column.
            value_of: the number that a cell means; None for a cell that is refused.
            unlike: what a cell is that is refused, for the message.
            low, high: the least and the greatest number that is not refused.

        Raises:
            CorpusError: a cell is refused.
        """
        cells = self.columns[name]
        known = {cell: value_of(cell) for cell in set(cells)}
        values = np.array([known[cell] for cell in cells], dtype=float)  # None becomes NaN, which is in no range
        wrong = ~((values >= low) & (values <= high))
        self.refuse(wrong, lambda row: f"the {name} {cells[row][:20]!r} is {unlike}")
        return values

    def numbers(self, name: str, low: float, high: float) -> np.ndarray:
        """A column of decimal numbers from `low` to `high`, float64 (n,); what else Python takes for one is refused."""
        return self.values(name, number, f"no number from {low:g} to {high:g}", low, high)

    def whole(self, name: str, low: int, high: int) -> np.ndarray:
        """A column of whole numbers from `low` to `high`, int64 (n,)."""
        return self.values(name, _whole, f"no whole number from {low} to {high}", low, high).astype(np.int64)

    def codes(self, name: str, values: Mapping[str, int]) -> np.ndarray:
        """A column in which only the keys of `values` stand, as their values int64 (n,)."""
        return self.values(name, values.get, f"none of {', '.join(values)}").astype(np.int64)


def number(cell: str) -> float | None:
    """The decimal number that a text is; None if it is none, though Python might take it for one.

    >>> number("-2.5e-1"), number("nan"), number("1_0")
    (-0.25, None, None)
    """
    return float(cell) if _NUMBER.fullmatch(cell) else None


def _whole(cell: str) -> int | None:
    return int(cell) if _WHOLE.fullmatch(cell) else None


def entries(folder: Path, cure: str | None, limit: int = MAX_ENTRIES, optional: bool = False) -> list[Path]:
    """What lies in a folder, by name; hidden files, such as the ._* that macOS leaves, are passed over.

    Args:
        folder: to be listed.
        cure: what to do about one that cannot be.
        limit: the most files that it can hold.
        optional: where there is no such folder, nothing lies in it.

    Raises:
        CorpusError: it is missing, no folder, unreadable, or holds too many files.
    """
    try:
        with os.scandir(folder) as scan:
            names = [entry.name for entry in islice(scan, limit + 1)]
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        if missing and optional:
            return []
        reason = "no such folder" if missing else f"cannot be read ({error.strerror})"
        raise CorpusError(reason, path=folder, cure=cure) from error
    if len(names) > limit:
        raise CorpusError(f"more than {limit:,} files in one folder", path=folder, cure=cure)
    return sorted(folder / name for name in names if not name.startswith("."))


def corpus_folder(root: str | os.PathLike, name: str, inner: tuple[str, ...], mark: str) -> Path:
    """The folder of a corpus: `<root>/<name>`, or where its owners' own folder `inner` lies, or `root` itself.

    Args:
        root: the data root.
        name: of the corpus's folder in it.
        inner: names of the folder as its owners distribute it.
        mark: what tells that a folder is it.
    """
    root = Path(root)
    candidates = [root / name, *(root / name / i for i in inner), *(root / i for i in inner), root]
    return next((folder for folder in candidates if (folder / mark).exists()), root / name)
