"""The table that OpenFace 2.x writes of a video or picture: action units, frame by frame and face by face.

Baltrusaitis, Zadeh, Lim and Morency, "OpenFace 2.0: Facial Behavior Analysis Toolkit", FG 2018. Of its columns the
frame, the face and how sure it is of it, and the action units are read; of the units 17 have an intensity
(`AU01_r`, 0 to 5) and 18 a presence (`AU01_c`, 0 or 1). Names have a leading space where Windows wrote them.

- Where no face was tracked (`success` 0) all units are 0, which means nothing.
- Several faces of a frame are rows of their own, with one `frame` and each a `face_id`.
- OpenFace 3.0 gives its eight units names of these, in another order: it is refused.
"""

import os
import re
from dataclasses import dataclass

import numpy as np

from uncertain_affect.corpora import lines
from uncertain_affect.corpora.base import CorpusError

INTENSITIES = tuple(f"AU{n:02}_r" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))
PRESENCES = tuple(f"AU{n:02}_c" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45))
# Before 2.0.6, and where one face is expected, the column face_id is not there.
NEEDED = ("frame", "timestamp", "confidence", "success")
MAX_ROWS = 2_000_000
GET = "Write it with OpenFace 2.x: FeatureExtraction -f <video> -aus"

_UNIT = re.compile(r"AU[0-9]{2}_[rc]")
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True, eq=False)
class OpenFace:
    """The rows of one table, in the order of the file.

    Attributes:
        frame: int (N,), from 1.
        face: int (N,), which face of the frame.
        time: float (N,), seconds.
        confidence: float (N,), 0 to 1.
        valid: bool (N,), a face was tracked, and surely enough.
        intensity: float (N, 17), 0 to 5, of `INTENSITIES`; NaN where not valid.
        presence: int (N, 18), 0 or 1, of `PRESENCES`; −1 where not valid.
    """

    frame: np.ndarray
    face: np.ndarray
    time: np.ndarray
    confidence: np.ndarray
    valid: np.ndarray
    intensity: np.ndarray
    presence: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def of_face(self, face: int) -> "OpenFace":
        """The rows of one face."""
        here = self.face == face
        return OpenFace(**{name: values[here] for name, values in vars(self).items()})

    def main_face(self) -> int:
        """The face that is valid in most frames; of several such the lowest number."""
        faces, counts = np.unique(self.face[self.valid] if self.valid.any() else self.face, return_counts=True)
        return int(faces[counts.argmax()])


def load(path: str | os.PathLike, least_confidence: float = 0.8) -> OpenFace:
    """The table in a csv file.

    Raises:
        CorpusError: the file cannot be read, or as :func:`parse`.
    """
    return parse(lines.read(path, GET), path, least_confidence)


def parse(content: bytes, path: str | os.PathLike, least_confidence: float = 0.8) -> OpenFace:
    """The table in the content of a csv file.

    Args:
        content: of the file.
        path: for messages.
        least_confidence: of a valid row.

    Raises:
        CorpusError: the columns are not those of OpenFace 2.x, a cell is no number or outside its range, frames do not
            ascend or one has the same face twice.
    """

    def wrong(reason: str, line: int, cure: str = GET) -> CorpusError:
        return CorpusError(reason, path=path, line=line, cure=cure)

    header, *rows = lines.split(content, path, GET)
    if len(rows) > MAX_ROWS:
        raise CorpusError(f"{len(rows):,} rows are more than a video has", path=path, cure=GET)
    names = [name.strip() for name in header.split(",")]
    if len(names) == 1 and ";" in header:
        raise wrong("cells are divided by ';', so this is another tool's copy", 1)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise wrong(f"the column {twice[0][:20]!r} is there twice", 1)
    units = [name for name in names if _UNIT.fullmatch(name)]
    if units and units != [*INTENSITIES, *PRESENCES]:
        reason = (
            f"the action units are {', '.join(units)[:80]}, not the 17 intensities and 18 presences of OpenFace 2.x"
        )
        raise wrong(reason, 1, "OpenFace 3.0 gives other units these names: its tables cannot be used")
    if missing := [name for name in (*NEEDED, *INTENSITIES, *PRESENCES) if name not in names]:
        raise wrong(f"there is no column {missing[0]}", 1)
    column = {name: i for i, name in enumerate(names)}
    wanted = [*NEEDED, *(["face_id"] if "face_id" in column else []), *INTENSITIES, *PRESENCES]
    places = [column[name] for name in wanted]
    low, high = np.array([_range(name) for name in wanted]).T
    whole = np.array([name in ("frame", "face_id", "success") or name.endswith("_c") for name in wanted])
    table = np.empty((len(rows), len(wanted)))
    seen: set[tuple[float, float]] = set()
    n_head = len(wanted) - len(INTENSITIES) - len(PRESENCES)
    before = 0.0
    for i, row in enumerate(rows):
        cells = row.split(",")
        if len(cells) != len(names):
            raise wrong(f"{len(cells)} cells where the header has {len(names)}", i + 2)
        for j, place in enumerate(places):
            cell = cells[place].strip()
            if not _NUMBER.fullmatch(cell):
                raise wrong(f"{wanted[j]} is {cell[:20]!r}, no number", i + 2)
            table[i, j] = float(cell)
        outside = ~((table[i] >= low) & (table[i] <= high)) | (whole & (table[i] != np.floor(table[i])))
        if outside.any():
            j = int(outside.argmax())
            kind = "whole number" if whole[j] else "number"
            raise wrong(f"{wanted[j]} is {table[i, j]:g}, not a {kind} from {low[j]:g} to {high[j]:g}", i + 2)
        frame, face = table[i, 0], table[i, len(NEEDED)] if n_head > len(NEEDED) else 0.0
        if frame < before:
            raise wrong(f"frame {frame:g} comes after frame {before:g}", i + 2)
        if (frame, face) in seen:
            raise wrong(f"face {face:g} of frame {frame:g} is there a second time", i + 2)
        seen.add((frame, face))
        before = frame
    frame, time, confidence, success = table[:, :4].T
    valid = (success == 1) & (confidence >= least_confidence)
    intensity = table[:, n_head : n_head + len(INTENSITIES)]
    presence = table[:, n_head + len(INTENSITIES) :]
    return OpenFace(
        frame=frame.astype(np.int64),
        face=(table[:, 4] if n_head > len(NEEDED) else np.zeros(len(rows))).astype(np.int64),
        time=time.copy(),
        confidence=confidence.copy(),
        valid=valid,
        intensity=np.where(valid[:, None], intensity, np.nan),
        presence=np.where(valid[:, None], presence, -1).astype(np.int8),
    )


def _range(name: str) -> tuple[float, float]:
    if name.endswith("_r"):
        return 0, 5
    if name.endswith("_c") or name in ("success", "confidence"):
        return 0, 1
    return (0, 1e9) if name in ("frame", "face_id", "timestamp") else (-np.inf, np.inf)
