"""The table that OpenFace 2.x writes of a video or picture: action units, frame by frame and face by face.

Baltrusaitis, Zadeh, Lim and Morency, "OpenFace 2.0: Facial Behavior Analysis Toolkit", FG 2018. Of its columns the
frame, the face and how sure it is of it, and the action units are read; of the units 17 have an intensity
(`AU01_r`, 0 to 5) and 18 a presence (`AU01_c`, 0 or 1). Names have a leading space where Windows wrote them.

- Where no face was tracked (`success` 0) all units are 0, which means nothing.
- Several faces of a frame are rows of their own, with one `frame` and each a `face_id`.
- OpenFace 3.0 gives its eight units names of these, in another order: it is refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uncertain_affect.corpora.reading import File, Table, number

INTENSITIES = tuple(f"AU{n:02}_r" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))
PRESENCES = tuple(f"AU{n:02}_c" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45))
# Columns and the greatest number in each. Before 2.0.6, and where one face is expected, face_id is not there.
GREATEST = {"frame": 1e9, "face_id": 1e9, "timestamp": 1e9, "confidence": 1, "success": 1}
GREATEST |= dict.fromkeys(INTENSITIES, 5) | dict.fromkeys(PRESENCES, 1)
WHOLE = ("frame", "face_id", "success", *PRESENCES)
LEAST_CONFIDENCE = 0.8  # of a row that is valid
GET = "Write it with OpenFace 2.x: FeatureExtraction -f <video> -aus"


@dataclass(frozen=True, eq=False)
class OpenFace:
    """The N rows of one face, in order of time.

    Attributes:
        time: float (N,), seconds.
        valid: bool (N,), the face was tracked, and surely enough.
        intensity: float (N, 17), 0 to 5, of `INTENSITIES`; NaN where not valid.
        presence: int (N, 18), 0 or 1, of `PRESENCES`; −1 where not valid.
    """

    time: np.ndarray
    valid: np.ndarray
    intensity: np.ndarray
    presence: np.ndarray


def read(path: Path) -> OpenFace:
    """The main face of a table: the one that is valid in most frames; of several such that with the lowest number.

    Raises:
        CorpusError: the file cannot be read, the columns are not those of OpenFace 2.x, a cell is no number or outside
            its range, frames do not ascend, or one has the same face twice.
    """
    file = File(path, GET)
    rows = file.rows(quotes=False)
    _, header = next(rows)
    units = [name for name in header if re.fullmatch("AU[0-9]{2}_[rc]", name)]
    if units and len(set(units)) == len(units) and units != [*INTENSITIES, *PRESENCES]:
        found = f"the action units are {', '.join(units)[:80]}"
        cure = "OpenFace 3.0 gives other units these names: its tables cannot be used"
        raise file.error(f"{found}, not the 17 intensities and 18 presences of OpenFace 2.x", 1, cure)
    file.check_header(header, [name for name in GREATEST if name != "face_id"], others=True)
    table = Table(file, header, rows)
    columns = {}
    for name, greatest in GREATEST.items():
        kind, value_of = ("whole number", _whole) if name in WHOLE else ("number", number)
        if name in header:
            columns[name] = table.values(name, value_of, f"no {kind} from 0 to {greatest:g}", 0, greatest)
    frame, time = columns["frame"], columns["timestamp"]
    face = columns.get("face_id", np.zeros(len(table)))
    table.refuse(np.diff(frame, prepend=0) < 0, lambda row: f"frame {frame[row]:g} after frame {frame[row - 1]:g}")
    table.refuse_repeated(zip(frame.astype(int).tolist(), face.astype(int).tolist(), strict=True), "frame and face")
    valid = (columns["success"] == 1) & (columns["confidence"] >= LEAST_CONFIDENCE)
    faces, counts = np.unique(face[valid] if valid.any() else face, return_counts=True)
    here = np.flatnonzero(face == faces[counts.argmax()]) if len(table) else np.zeros(0, int)
    not_later = np.zeros(len(table), bool)
    not_later[here] = np.diff(time[here], prepend=-1) <= 0
    table.refuse(not_later, lambda row: f"the time {time[row]:g} of a face does not come after the one before")
    intensity, presence = (np.stack([columns[n] for n in names], axis=1) for names in (INTENSITIES, PRESENCES))
    return OpenFace(
        time=time[here],
        valid=valid[here],
        intensity=np.where(valid[:, None], intensity, np.nan)[here],
        presence=np.where(valid[:, None], presence, -1).astype(np.int8)[here],
    )


def _whole(cell: str) -> float | None:
    """A whole number, which some versions write as 1.00."""
    value = number(cell)
    return value if value is not None and value.is_integer() else None
