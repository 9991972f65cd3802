"""RECOLA as AVEC 2016 distributed it: valence and arousal of people in remote talks of two, traced by six raters.

Ringeval, Sonderegger, Sauer and Lalanne, "Introducing the RECOLA multimodal corpus of remote collaborative and
affective interactions", EmoSPACE 2013; Valstar et al., "AVEC 2016", AVEC 2016. By agreement. Below
`<data root>/recola/` are read:

- `ratings_gold_standard/{arousal,valence}/{train,dev}_{1..9}.arff`: 7,501 rows at 0.04 s, from 0 to 300 s. Rows are
  counted from `@data`; blank lines stand before and after it, and the name in each row may be quoted. `test_*` files
  have no labels and are not read.
- the input, one of: `features_video_appearance`, `features_video_geometric` or `features_audio`, each with a file
  `{arousal,valence}/{train,dev}_N.arff` for either target, made with windows of its own (both are taken); or face
  crops, see `FACES`.
- `ratings_individual/{arousal,valence}/*.csv`, where they are, are counted by `check`: `;` between columns, names with
  trailing spaces, six raters (PEN says five).

Rows are matched by time, never by their place. At t = 0 there is no video frame, so that row is left out; so is a
frame without a face: no crop, or features that are all zero.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uncertain_affect.compute.cache import cached_arrays, content_key
from uncertain_affect.corpora import images, lines, reading
from uncertain_affect.corpora.base import About, AffectTraces, CorpusError

STEP = 0.04  # seconds
ROWS = 7501  # of a recording
PEOPLE = tuple(f"{part}_{number}" for part in ("train", "dev") for number in range(1, 10))
DIMENSIONS = ("valence", "arousal")
FEATURES = {  # columns for either target
    "appearance": ("features_video_appearance", 168),
    "geometric": ("features_video_geometric", 632),
    "audio": ("features_audio", 88),
}
FACES = "faces"
SIZE = 64  # pixels of a face's side
LONGEST_DELAY_S = 10

GET = "See `uncertain-affect data list` for how to get RECOLA, and where it belongs"
MAKE_FACES = (
    "Make the crops with OpenFace 2: `FeatureExtraction -f recordings_video/train_1.mp4 -simalign -simsize 112 "
    "-nobadaligned -out_dir faces`, for each video"
)
ABOUT = About(
    title="RECOLA (AVEC 2016)",
    purpose="PEN: valence and arousal of nine source and nine target people, 25 labels a second",
    licence="research only, by a signed end user licence agreement",
    how_to_get="Ask for the RECOLA database at https://diuf.unifr.ch/main/diva/recola with the signed agreement of a "
    f"permanent member of staff, and for the AVEC 2016 partition of it. Videos hold no face crops. {MAKE_FACES}",
    layout="recola/ratings_gold_standard/{arousal,valence}/{train,dev}_{1..9}.arff, and beside it features_audio, "
    "features_video_appearance, features_video_geometric as distributed, or faces/{train,dev}_N_aligned/"
    "frame_det_00_NNNNNN.bmp",
)


def load(root: str | os.PathLike, features: str | None = None, every: int = 1, delay: float = 0.0) -> AffectTraces:
    """RECOLA's training and development people, with the gold standard: 18 recordings of up to 7,500 frames.

    `person` and `video` are train_1 to train_9 and dev_1 to dev_9, in that order; `time` is that of the input.

    Args:
        root: the data root, which holds `recola/`.
        features: "faces" (uint8, 64 x 64), "appearance", "geometric" or "audio" (float32; the columns of the files for
            arousal, then those for valence); by default the first of these that is there.
        every: keep frames 25, 50, ... for 25, which is one a second.
        delay: seconds that raters are taken to lag behind; the label of `time` + `delay` is given to an input. PEN
            has none. A multiple of 0.04, and 10 at most.

    Raises:
        CorpusError: a file is missing, malformed or truncated; a row is missing, stands there twice or is another
            recording's; or an option is impossible.
    """
    folder = _folder(root)
    if features is None:
        features = next((kind for kind in (FACES, *FEATURES) if _has(folder, kind)), "appearance")
    if features not in (FACES, *FEATURES):
        raise CorpusError(f"no features {features!r}", cure=f"features is {', '.join((FACES, *FEATURES))}")
    if not isinstance(every, int) or every < 1:
        raise CorpusError(f"every is {every!r}", cure="every counts frames from 1")
    lag = round(delay / STEP) if 0 <= delay <= LONGEST_DELAY_S else -1
    if abs(lag * STEP - delay) > 1e-6:
        raise CorpusError(f"delay is {delay!r}", cure=f"delay is a multiple of {STEP} s, up to {LONGEST_DELAY_S} s")

    reasons = (
        "no video frame at t = 0", "frame without a label", "no label so late", "no face", "between frames kept",
    )  # fmt: skip
    left_out = dict.fromkeys(reasons, 0)
    inputs, labels, times, who = [], [], [], []
    for person in PEOPLE:
        gold = np.stack([gold_standard(_gold(folder, dimension, person), person) for dimension in DIMENSIONS], axis=1)
        frames = _frames(folder, features, person)
        wanted = np.arange(1, len(gold))
        left_out["no video frame at t = 0"] += 1
        left_out["between frames kept"] += int((wanted % every != 0).sum())
        left_out["frame without a label"] += int((frames >= len(gold)).sum())
        wanted = wanted[wanted % every == 0]
        late = wanted + lag >= len(gold)
        left_out["no label so late"] += int(late.sum())
        wanted = wanted[~late]
        left_out["no face"] += int((~np.isin(wanted, frames)).sum())
        kept = wanted[np.isin(wanted, frames)]
        if not len(kept):
            raise CorpusError(f"no frame of {person} has {features} and a label", path=folder, cure=GET)
        if features == FACES:
            crops = _crops(folder, person)
            inputs += [crops[frame] for frame in kept.tolist()]
        else:
            inputs.append(_feature_rows(folder, features, person)[1][np.searchsorted(frames, kept)])
        labels.append(gold[kept + lag])
        times.append(kept * STEP)
        who += [person] * len(kept)
    if features == FACES:
        of_frames = images.faces(inputs, SIZE, colour=False, cure=MAKE_FACES, label="RECOLA")
    else:
        of_frames = torch.from_numpy(np.concatenate(inputs))
    return AffectTraces(
        inputs=of_frames,
        valence_arousal=torch.from_numpy(np.concatenate(labels)),
        person=np.array(who),
        video=np.array(who),
        time=torch.from_numpy(np.concatenate(times)),
        left_out=left_out,
    )


def is_available(root: str | os.PathLike) -> bool:
    """Whether there are gold standards, and inputs of any kind."""
    folder = _folder(root)
    return _gold(folder, "valence", PEOPLE[0]).is_file() and any(_has(folder, kind) for kind in (FACES, *FEATURES))


def check(root: str | os.PathLike) -> list[tuple[str, str, str, bool]]:
    """Rows (what, expected, found, fine) about the files below the data root.

    Raises:
        CorpusError: a file is malformed, or there is no gold standard.
    """
    folder = _folder(root)
    found = {dimension: [p for p in PEOPLE if _gold(folder, dimension, p).is_file()] for dimension in DIMENSIONS}
    if not any(found.values()):
        raise CorpusError("no gold standard is there", path=folder / "ratings_gold_standard", cure=GET)
    rows = []
    for part in ("train", "dev"):
        n = [sum(p.startswith(part) for p in found[dimension]) for dimension in DIMENSIONS]
        rows.append((f"people of {part}, valence and arousal", "9, 9", f"{n[0]}, {n[1]}", n == [9, 9]))
    lengths = {len(gold_standard(_gold(folder, d, p), p)) for d, people in found.items() for p in people}
    rows.append(("rows of a gold standard", f"{ROWS}", ", ".join(map(str, sorted(lengths))), lengths == {ROWS}))
    kinds = [kind for kind in (FACES, *FEATURES) if _has(folder, kind)]
    rows.append(("inputs", f"one of {', '.join((FACES, *FEATURES))}", ", ".join(kinds) or "none", bool(kinds)))
    for kind in kinds:
        lost = {}
        for person in PEOPLE:
            frames = _frames(folder, kind, person)
            lost[person] = ROWS - 1 - int(((frames > 0) & (frames < ROWS)).sum())
        said = f"{sum(lost.values()):,} of {len(lost) * (ROWS - 1):,} frames"
        rows.append((f"left out: no face, {kind}", "some", said, all(n < ROWS - 1 for n in lost.values())))
    individual = folder / "ratings_individual"
    if individual.is_dir():
        raters = {
            individual_ratings(file).shape[1]
            for dimension in DIMENSIONS
            for file in reading.entries(individual / dimension, GET)
            if file.suffix == ".csv"
        }
        rows.append(("raters (PEN says five)", "6", ", ".join(map(str, sorted(raters))), raters == {6}))
    return rows


def _folder(root: str | os.PathLike) -> Path:
    return reading.place(root, "recola", ("AVEC2016", "AVEC_2016"), "ratings_gold_standard")


def _gold(folder: Path, dimension: str, person: str) -> Path:
    return folder / "ratings_gold_standard" / dimension / f"{person}.arff"


def _has(folder: Path, kind: str) -> bool:
    if kind == FACES:
        return (folder / FACES / f"{PEOPLE[0]}_aligned").is_dir()
    return (folder / FEATURES[kind][0] / "valence" / f"{PEOPLE[0]}.arff").is_file()


# --- labels -------------------------------------------------------------------------------------------------------


def gold_standard(path: Path, person: str) -> np.ndarray:
    """The trace float64 (7501,) of a gold standard file, which must be that of `person` and without a gap."""
    names, rows = _arff(path)
    if [name.lower() for name in names] != ["instance_name", "frametime", "goldstandard"]:
        reason = f"the attributes are {', '.join(names)[:80]!r}, not Instance_name, frameTime, GoldStandard"
        raise CorpusError(reason, path=path, line=1, cure=GET)
    trace = np.empty(len(rows))
    for k, (line, row) in enumerate(rows):
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) != 3:
            raise CorpusError(f"{len(cells)} columns where 3 are expected", path=path, line=line, cure=GET)
        if (name := cells[0].strip("'\"")) != person:
            reason = f"the row is of {name[:20]}, and the file of {person}"
            raise CorpusError(reason, path=path, line=line, cure=GET)
        _check_time(cells[1], k, path, line)
        trace[k] = reading.number(cells[2], "GoldStandard", -1, 1, path, line, GET)
    _check_length(len(rows), path, rows[-1][0] if rows else 1)
    return trace


def individual_ratings(path: Path) -> pd.DataFrame:
    """The raters' traces (7501, raters) of `ratings_individual`, by the raters' names.

    Raises:
        CorpusError: it is malformed.
    """
    header, *rows = lines.split(lines.read(path, GET), path, GET)
    names = [name.strip() for name in header.split(";")]
    if names[0].lower() != "time" or len(names) < 2 or len(set(names)) < len(names):
        raise CorpusError(f"the header is {header[:60]!r}, not time;FM1;...", path=path, line=1, cure=GET)
    traces = []
    for line, row in enumerate(rows, start=2):
        if not row.strip():
            continue
        cells = [cell.strip() for cell in row.split(";")]
        if len(cells) != len(names):
            raise CorpusError(f"{len(cells)} columns where {len(names)} are expected", path=path, line=line, cure=GET)
        _check_time(cells[0], len(traces), path, line)
        traces.append([reading.number(c, n, -1, 1, path, line, GET) for c, n in zip(cells[1:], names[1:], strict=True)])
    _check_length(len(traces), path, len(rows) + 1)
    return pd.DataFrame(traces, columns=names[1:])


def _arff(path: Path) -> tuple[list[str], list[tuple[int, str]]]:
    """The names of the attributes, and number and text of each line after @data that is not blank."""
    names, rows, begun = [], [], False
    for number, line in enumerate(lines.split(lines.read(path, GET), path, GET), start=1):
        line = line.strip()
        if not line or line.startswith("%"):
            continue
        if begun:
            rows.append((number, line))
        elif line.lower() == "@data":
            begun = True
        elif match := re.match(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+\S", line, re.IGNORECASE):
            names.append(match[1].strip("'\""))
        elif not re.match(r"@relation\b", line, re.IGNORECASE):
            raise CorpusError(f"{line[:40]!r} stands before @data", path=path, line=number, cure=GET)
    if not begun:
        raise CorpusError("there is no @data", path=path, line=1, cure=GET)
    return names, rows


def _check_time(cell: str, k: int, path: Path, line: int) -> None:
    time = reading.number(cell, "the time", 0, 1e4, path, line, GET)
    if abs(time - k * STEP) > STEP / 4:
        reason = f"the time is {cell}, where {k * STEP:.2f} is expected: a row is missing, twice there or out of place"
        raise CorpusError(reason, path=path, line=line, cure=GET)


def _check_length(n: int, path: Path, line: int) -> None:
    if n != ROWS:
        raise CorpusError(f"{n} rows where {ROWS} are expected", path=path, line=line, cure=GET)


# --- inputs -------------------------------------------------------------------------------------------------------


def _frames(folder: Path, kind: str, person: str) -> np.ndarray:
    """Which frames (n,) of a person have a face, ascending."""
    return np.array(list(_crops(folder, person)), int) if kind == FACES else _feature_rows(folder, kind, person)[0]


def _crops(folder: Path, person: str) -> dict[int, Path]:
    """The face crops of a person by number of the frame, ascending; frame k is that at 0.04 k s."""
    of_person = folder / FACES / f"{person}_aligned"
    crops = images.numbered(of_person)
    if not crops:
        raise CorpusError("no face crop is there", path=of_person, cure=MAKE_FACES)
    return crops


def _feature_rows(folder: Path, kind: str, person: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n,) whose features are not all zero, and the features float32 (n, 2 columns), arousal's files first."""
    name, _ = FEATURES[kind]
    paths = [folder / name / dimension / f"{person}.arff" for dimension in ("arousal", "valence")]
    state = [[p.stat().st_size, p.stat().st_mtime_ns] if p.is_file() else None for p in paths]

    def read() -> dict[str, np.ndarray]:
        (frames, first), (others, second) = (feature_table(path, FEATURES[kind][1]) for path in paths)
        if not np.array_equal(frames, others):
            reason = f"other times than those of {paths[0].parent.name}/{paths[0].name}"
            raise CorpusError(reason, path=paths[1], line=1, cure=GET)
        table = np.concatenate([first, second], axis=1)
        seen = (table != 0).any(axis=1) | (kind == "audio")
        return {"frames": frames[seen], "features": table[seen].astype(np.float32)}

    key = content_key("RECOLA features, 1", str(folder), kind, person, ROWS, state)
    stored = cached_arrays(key, read, kind="recola")
    return stored["frames"], stored["features"]


def feature_table(path: Path, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames int (n,), ascending without a gap from 0 or 1, and their features float64 (n, columns).

    Raises:
        CorpusError: it is malformed.
    """
    names, rows = _arff(path)
    if not names or names[0].lower() != "frametime" or len(names) != columns + 1:
        reason = f"{len(names)} attributes, the first {names[:1]}, not frameTime and {columns} features"
        raise CorpusError(reason, path=path, line=1, cure=GET)
    if not rows:
        raise CorpusError("no row after @data", path=path, line=1, cure=GET)
    try:
        table = np.loadtxt([row for _, row in rows], delimiter=",", comments=None, ndmin=2)
        fine = table.shape[1] == columns + 1 and np.isfinite(table).all()
    except ValueError:
        fine = False
    if not fine:  # find the line
        for line, row in rows:
            cells = [cell.strip() for cell in row.split(",")]
            if len(cells) != columns + 1:
                reason = f"{len(cells)} columns where {columns + 1} are expected"
                raise CorpusError(reason, path=path, line=line, cure=GET)
            for name, cell in zip(names, cells, strict=True):
                reading.number(cell, name, -1e30, 1e30, path, line, GET)
        raise CorpusError("a number that cannot be read", path=path, line=rows[0][0], cure=GET)
    frames = np.rint(table[:, 0] / STEP)
    wrong = (np.abs(table[:, 0] - frames * STEP) > STEP / 4) | (frames != frames[0] + np.arange(len(frames)))
    wrong[0] |= frames[0] not in (0, 1)
    if wrong.any():
        row = int(wrong.argmax())
        reason = f"the time is {table[row, 0]:g}: a row is missing, twice there or out of place"
        raise CorpusError(reason, path=path, line=rows[row][0], cure=GET)
    if frames[-1] >= ROWS:
        reason = f"features last to {table[-1, 0]:g} s, labels to {(ROWS - 1) * STEP:g} s"
        raise CorpusError(reason, path=path, line=rows[-1][0], cure=GET)
    return frames.astype(int), table[:, 1:]
