"""What openSMILE writes: a csv file of acoustic features, by its command (`;`) or by its Python package (`,`).

    name;frameTime;F0semitoneFrom27.5Hz_sma3nz_amean;...        file,start,end,F0semitoneFrom27.5Hz_sma3nz_amean,...
    'unknown';0.000000;3.120000e+01;...                         a.wav,0 days 00:00:00,0 days 00:00:02.410000,31.2,...

The command appends to a file that is there already (`-csvoutput`; `-lldcsvoutput` does not): a second run leaves every
row twice, and the header once. Such rows, equal in all columns, are left out and counted. Rows that have one name and
time and other features are an error, and so is a gap between the frames of one name.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from uncertain_affect.corpora import lines, reading
from uncertain_affect.corpora.base import CorpusError

GET = "Run openSMILE again, into a file that is not there yet"
COMMAND, PACKAGE = ("name", "frameTime"), ("file", "start", "end")
FRAME_WITHIN = 0.02  # share of a step by which times may be off, from rounding


@dataclass(frozen=True, eq=False)
class Features:
    """Acoustic features of N frames, or of N whole recordings.

    Attributes:
        values: float64 (N, D).
        names: the D features.
        source: str (N,), the recording: what `-instname` gave, else "unknown"; or the file.
        time: float64 (N,), seconds from its start.
        repeated: how many rows were a second copy of another, and are left out.
    """

    values: np.ndarray
    names: tuple[str, ...]
    source: np.ndarray
    time: np.ndarray
    repeated: int


def read(path: str | os.PathLike) -> Features:
    """The features of a csv file of either kind, in its order.

    Raises:
        CorpusError: it is missing or malformed; a value is not finite; or frames of a recording lie out of order, twice
            there with different features, or not evenly in time.
    """
    path = Path(path)
    text = lines.split(lines.read(path, GET), path, GET)
    delimiter = ";" if text[0].count(";") > text[0].count(",") else ","
    # names stand in single quotes in the one kind; in the other double quotes may hold a comma
    reader = csv.reader(text, delimiter=delimiter, quotechar="'" if delimiter == ";" else '"', strict=True)
    rows, repeated, seen = [], 0, {}
    try:
        header = [name.strip() for name in next(reader, [])]
        keys = COMMAND if tuple(header[:2]) == COMMAND else PACKAGE
        names = tuple(header[len(keys) :])
        if tuple(header[: len(keys)]) != keys or not names or len(set(names)) < len(names) or "" in names:
            reason = (
                f"the header begins {delimiter.join(header[:3])[:60]!r}, not name;frameTime;... or file,start,end,..."
            )
            raise CorpusError(reason, path=path, line=1, cure=GET)
        for row in reader:
            line, cells = reader.line_num, [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) != len(header):
                reason = f"{len(cells)} columns where {len(header)} are expected"
                raise CorpusError(reason, path=path, line=line, cure=GET)
            time = _seconds(cells[1], keys[1], path, line)
            if keys == PACKAGE and _seconds(cells[2], "end", path, line) < time:
                raise CorpusError("it ends before it starts", path=path, line=line, cure=GET)
            values = [
                reading.number(c, n, -1e30, 1e30, path, line, GET)
                for n, c in zip(names, cells[len(keys) :], strict=True)
            ]
            key = cells[0], time
            if key in seen:
                if rows[seen[key]][2] != values:
                    reason = f"a second row of {cells[0][:40]!r} at {time:g} s, with other features"
                    raise CorpusError(reason, path=path, line=line, cure=GET)
                repeated += 1
                continue
            seen[key] = len(rows)
            rows.append((cells[0], time, values, line))
    except csv.Error as error:
        raise CorpusError(str(error), path=path, line=reader.line_num or 1, cure=GET) from error
    if not rows:
        raise CorpusError("no row after the header", path=path, line=1, cure=GET)
    _check_even(rows, path)
    return Features(
        values=np.array([row[2] for row in rows]),
        names=names,
        source=np.array([row[0] for row in rows]),
        time=np.array([row[1] for row in rows]),
        repeated=repeated,
    )


def _seconds(cell: str, name: str, path: Path, line: int) -> float:
    """Seconds of a number, or of a length of time as pandas writes it, "0 days 00:00:02.41"."""
    if "day" in cell or ":" in cell:
        try:
            value = pd.Timedelta(cell).total_seconds()
        except (ValueError, OverflowError) as error:
            raise CorpusError(f"{name} is {cell[:30]!r}, no length of time", path=path, line=line, cure=GET) from error
        return reading.number(f"{value:.9f}", name, 0, 1e7, path, line, GET)
    return reading.number(cell, name, 0, 1e7, path, line, GET)


def _check_even(rows: list[tuple], path: Path) -> None:
    """Refuse frames of a recording that are out of order or unevenly spaced."""
    last, steps = {}, {}
    for name, time, _, line in rows:
        if name in last:
            step = time - last[name]
            if step <= 0:
                reason = f"{name[:40]!r} at {time:g} s comes after {last[name]:g} s"
                raise CorpusError(reason, path=path, line=line, cure=GET)
            usual = steps.setdefault(name, step)
            if abs(step - usual) > FRAME_WITHIN * usual + 1e-6:
                reason = f"{step:g} s after the row before, where {usual:g} s are the step: a row is missing"
                raise CorpusError(reason, path=path, line=line, cure=GET)
        last[name] = time
