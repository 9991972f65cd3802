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

Known from: the paper of AVEC 2016 and public loaders of it (names, attributes, rows, times, windows). These disagree on
how many lines come before `@data`, and on the frame at t = 0: neither is counted on.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.corpora import images
from uncertain_affect.corpora.base import AffectTraces, CheckRow, CorpusError
from uncertain_affect.corpora.reading import File, Table, corpus_folder, entries

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

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
KINDS = (FACES, *FEATURES)
SIZE = 64  # pixels of a face's side

GET = "See `uncertain-affect data list` for how to get RECOLA, and where it belongs"
MAKE_FACES = (
    "Make the crops with OpenFace 2: `FeatureExtraction -f recordings_video/train_1.mp4 -simalign -simsize 112 "
    "-nobadaligned -out_dir faces`, for each video"
)


def load(root: Path, features: str | None = None, every: int = 1) -> AffectTraces:
    """RECOLA's training and development people, with the gold standard: 18 recordings of up to 7,500 frames.

    `person` and `video` are train_1 to train_9 and dev_1 to dev_9, in that order; `time` is that of the input.

    Args:
        root: the data root, which holds `recola/`.
        features: "faces" (uint8, 64 x 64), "appearance", "geometric" or "audio" (float32; the columns of the files for
            arousal, then those for valence); by default the first of these that is there.
        every: keep frames 25, 50, ... for 25, which is one a second.

    Raises:
        CorpusError: a file is missing, malformed or truncated; a row is missing, stands there twice or is another
            recording's; or an option is impossible.
    """
    folder = _folder(root)
    kind = features or next((kind for kind in KINDS if _has(folder, kind)), "appearance")
    if kind not in KINDS:
        raise CorpusError(f"no features {kind!r}", cure=f"features is {', '.join(KINDS)}")
    if not isinstance(every, int) or every < 1:
        raise CorpusError(f"every is {every!r}", cure="every counts frames from 1")
    inputs, labels, frames, who = [], [], [], []
    unlabelled = no_face = 0
    wanted = np.arange(every, ROWS, every)  # at t = 0 there is no frame
    for person in PEOPLE:
        gold = np.stack([read_gold(_gold(folder, dimension, person), person) for dimension in DIMENSIONS], axis=1)
        seen, of_frames = _inputs(folder, kind, person)
        unlabelled += int((seen >= ROWS).sum())
        kept = wanted[np.isin(wanted, seen)]
        no_face += len(wanted) - len(kept)
        if not len(kept):
            raise CorpusError(f"no frame of {person} has {kind} and a label", path=folder, cure=GET)
        inputs.append(of_frames[np.searchsorted(seen, kept)])
        labels.append(gold[kept])
        frames.append(kept)
        who += [person] * len(kept)
    if kind == FACES:
        joined = images.faces(np.concatenate(inputs).tolist(), SIZE, colour=False, cure=MAKE_FACES, label="RECOLA")
    else:
        joined = torch.from_numpy(np.concatenate(inputs))
    return AffectTraces(
        inputs=joined,
        valence_arousal=torch.from_numpy(np.concatenate(labels)),
        person=np.array(who),
        video=np.array(who),
        time=torch.from_numpy(np.concatenate(frames) * STEP),
        left_out={
            "no video frame at t = 0": len(PEOPLE),
            "frame without a label": unlabelled,
            "no face": no_face,
            "between frames kept": len(PEOPLE) * (ROWS - 1 - len(wanted)),
        },
    )


def is_available(root: Path) -> bool:
    """Whether there are gold standards, and inputs of any kind."""
    folder = _folder(root)
    return _gold(folder, "valence", PEOPLE[0]).is_file() and any(_has(folder, kind) for kind in KINDS)


def check(root: Path) -> list[CheckRow]:
    """How many people, labels, inputs of each kind and raters are there.

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
    lengths = {len(read_gold(_gold(folder, d, p), p)) for d, people in found.items() for p in people}
    rows.append(("rows of a gold standard", f"{ROWS}", ", ".join(map(str, sorted(lengths))), lengths == {ROWS}))
    kinds = [kind for kind in KINDS if _has(folder, kind)]
    rows.append(("inputs", f"one of {', '.join(KINDS)}", ", ".join(kinds) or "none", bool(kinds)))
    for kind in kinds:
        seen = [_inputs(folder, kind, person)[0] for person in PEOPLE]
        lost = [ROWS - 1 - int(((frames > 0) & (frames < ROWS)).sum()) for frames in seen]
        count = f"{sum(lost):,} of {len(lost) * (ROWS - 1):,} frames"
        rows.append((f"left out: no face, {kind}", "some", count, max(lost) < ROWS - 1))
    folder = folder / "ratings_individual"
    if folder.is_dir():
        files = [path for d in DIMENSIONS for path in entries(folder / d, GET) if path.suffix == ".csv"]
        raters = {len(read_raters(path)) for path in files}
        rows.append(("raters (PEN says five)", "6", ", ".join(map(str, sorted(raters))), raters == {6}))
    return rows


def _folder(root: Path) -> Path:
    return corpus_folder(root, "recola", ("AVEC2016", "AVEC_2016"), "ratings_gold_standard")


def _gold(folder: Path, dimension: str, person: str) -> Path:
    return folder / "ratings_gold_standard" / dimension / f"{person}.arff"


def _has(folder: Path, kind: str) -> bool:
    if kind == FACES:
        return (folder / FACES / f"{PEOPLE[0]}_aligned").is_dir()
    return (folder / FEATURES[kind][0] / "valence" / f"{PEOPLE[0]}.arff").is_file()


# --- labels -------------------------------------------------------------------------------------------------------


def read_gold(path: Path, person: str) -> np.ndarray:
    """The trace float64 (7501,) of a gold standard file, which must be that of `person` and without a gap."""
    file = File(path, GET)
    attributes, rows = _arff(file)
    if [name.lower() for name in attributes] != ["instance_name", "frametime", "goldstandard"]:
        reason = f"the attributes are {', '.join(attributes)[:80]!r}, not Instance_name, frameTime, GoldStandard"
        raise file.error(reason, 1)
    table = Table(file, ("name", "frameTime", "GoldStandard"), rows)
    names = [name.strip("'\"") for name in table.columns["name"]]
    table.refuse([name != person for name in names], lambda row: f"the row is of {names[row][:20]}, not of {person}")
    _check_times(table, "frameTime")
    return table.numbers("GoldStandard", -1, 1)


def read_raters(path: Path) -> list[str]:
    """The raters' names of `ratings_individual`, whose traces are checked.

    Raises:
        CorpusError: the file is malformed.
    """
    file = File(path, GET)
    rows = file.rows(";")
    _, header = next(rows)
    if len(header) < 2 or header[0].lower() != "time" or len(set(header)) < len(header):
        raise file.error(f"the header is {';'.join(header)[:60]!r}, not time;FM1;...", 1)
    table = Table(file, header, (row for row in rows if row[1]))
    _check_times(table, header[0])
    for name in header[1:]:
        table.numbers(name, -1, 1)
    return header[1:]


def _arff(file: File) -> tuple[list[str], Iterable[tuple[int, list[str]]]]:
    """The names of the attributes, and line number and cells of each row after @data that is not blank."""
    lines = [(n, line) for n, line in enumerate(file.lines(), start=1) if line and not line.startswith("%")]
    names = []
    for place, (number, line) in enumerate(lines):
        if line.lower() == "@data":
            return names, ((n, [cell.strip() for cell in row.split(",")]) for n, row in lines[place + 1 :])
        if match := re.match(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+\S", line, re.IGNORECASE):
            names.append(match[1].strip("'\""))
        elif not re.match(r"@relation\b", line, re.IGNORECASE):
            raise file.error(f"{line[:40]!r} stands before @data", number)
    raise file.error("there is no @data", 1)


def _check_times(table: Table, name: str) -> None:
    """Refuse a row that is not 0.04 s after the one before, and more or fewer rows than a recording has."""
    time, expected = table.numbers(name, 0, 1e4), np.arange(len(table)) * STEP
    table.refuse(
        np.abs(time - expected) > STEP / 4,
        lambda row: f"the time is {time[row]:g}, not {expected[row]:g}: a row is missing, twice there or out of place",
    )
    if len(table) != ROWS:
        line = table.lines[-1] if len(table) else 1
        raise table.file.error(f"{len(table)} rows where {ROWS} are expected", line)


# --- inputs -------------------------------------------------------------------------------------------------------


def _inputs(folder: Path, kind: str, person: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n,) of a person that have a face, ascending, frame k being that at 0.04 k s; and their inputs.

    Inputs are files of crops (n,), or features float32 (n, 2 columns), arousal's files first.
    """
    if kind == FACES:
        of_person = folder / FACES / f"{person}_aligned"
        crops = images.numbered(of_person)
        if not crops:
            raise CorpusError("no face crop is there", path=of_person, cure=MAKE_FACES)
        if 0 in crops:
            cure = "OpenFace counts from 1, where the frame is that at 0.04 s; number them so"
            raise CorpusError("there is a crop 0", path=crops[0], cure=cure)
        return np.array(list(crops), int), np.array(list(crops.values()), dtype=object)
    name, columns = FEATURES[kind]
    paths = [folder / name / dimension / f"{person}.arff" for dimension in ("arousal", "valence")]
    state = [[path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else None for path in paths]

    def read() -> dict[str, np.ndarray]:
        (frames, first), (others, second) = (read_features(path, columns) for path in paths)
        if not np.array_equal(frames, others):
            reason = f"other times than those of {paths[0].parent.name}/{paths[0].name}"
            raise CorpusError(reason, path=paths[1], line=1, cure=GET)
        table = np.concatenate([first, second], axis=1)
        seen = (table != 0).any(axis=1) | (kind == "audio")
        return {"frames": frames[seen], "features": table[seen].astype(np.float32)}

    stored = cached_arrays(content_key(RECIPE, str(folder), kind, person, ROWS, state), read, kind="recola")
    return stored["frames"], stored["features"]


def read_features(path: Path, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames int (n,), ascending without a gap from 0 or 1, and their features float64 (n, columns).

    Raises:
        CorpusError: it is malformed.
    """
    file = File(path, GET)
    attributes, rows = _arff(file)
    if not attributes or attributes[0].lower() != "frametime" or len(attributes) != columns + 1:
        reason = f"{len(attributes)} attributes, the first {attributes[:1]}, not frameTime and {columns} features"
        raise file.error(reason, 1)
    names = [f"feature {i}" for i in range(1, columns + 1)]
    table = Table(file, ("frameTime", *names), rows)
    if not len(table):
        raise file.error("no row after @data", 1)
    time = table.numbers("frameTime", 0, (ROWS - 1) * STEP + STEP / 4)
    frames = np.rint(time / STEP)
    wrong = (np.abs(time - frames * STEP) > STEP / 4) | (np.diff(frames, prepend=frames[0] - 1) != 1)
    wrong[0] |= frames[0] not in (0, 1)
    table.refuse(wrong, lambda row: f"the time is {time[row]:g}: a row is missing, twice there or out of place")
    return frames.astype(int), np.stack([table.numbers(name, -1e30, 1e30) for name in names], axis=1)
