"""Aff-Wild2: videos from the internet, with action units, expressions, valence and arousal frame by frame.

Kollias and Zafeiriou, "Aff-Wild2: Extending the Aff-Wild Database for Affect Recognition", 2018, and the ABAW
competitions. Under `<data root>/affwild2/`:

- annotations of one competition, in a folder of any name: `AU_Set`, `EXPR_Set` and `VA_Set` (2020, 2021), or
  `AU_Detection_Challenge`, `EXPR_Classification_Challenge` (2022, 2023) or `EXPR_Recognition_Challenge` (2024), and
  `VA_Estimation_Challenge`; in each `Train_Set/<video>.txt` and `Validation_Set/<video>.txt`. Where only
  `MTL_Challenge/{train_set,validation_set}.txt` is there, it is read.
- `cropped_aligned/<video>/00001.jpg`, the crops as they are shipped, 112 x 112 pixels.
- `videos/*/<video>.mp4` (or .avi), only asked how many frames they have, and not at all where they are not there.

A label file has a header, then a line for each frame of the video: line i, the header being line 0, belongs to crop i.
A frame without a face has no crop. A line has no number, so a lost line would shift all that follow: the files of one
video must agree in length with each other, with the last crop and with the video. Where they differ by one line, as a
few real videos do, that is counted and what is too much at the end left out; where by more, the whole video. A line
lost from the only label file of a video whose last frame has no crop is seen only where the video itself is there.

`<video>_left` and `<video>_right` are two people in one video. A video can train one task and validate another. −1 (an
action unit or expression) and −5 (valence or arousal) mean that there is no label; of valence and arousal neither
counts without the other. The eighth expression since 2022, "Other", counts as none.
"""

import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.corpora import images, lines
from uncertain_affect.corpora.base import About, AffectVideos, CorpusError

# Folders of a task, by competition.
FOLDERS = {
    "AU": ("AU_Set", "AU_Detection_Challenge"),
    "EXPR": ("EXPR_Set", "EXPR_Classification_Challenge", "EXPR_Recognition_Challenge"),
    "VA": ("VA_Set", "VA_Estimation_Challenge"),
    "MTL": ("MTL_Challenge",),
}
PARTS = {"train": ("Train_Set", "train_set.txt"), "val": ("Validation_Set", "validation_set.txt")}
SUBSETS = {"AU": "au", "EXPR": "expression", "VA": "va"}
UNITS = {12: (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26), 8: (1, 2, 4, 6, 12, 15, 20, 25)}  # 8 in 2020 alone
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
OTHER = len(EXPRESSIONS)
MISSING = -5.0
FPS = 30.0  # of a video whose name does not say: most have it
MAX_LINES = 1_000_000  # of a video: nine hours
MAX_HEADER = 64 * 2**20  # bytes of a video's table of contents

GET = (
    "Aff-Wild2 is licensed by Imperial College London (ibug.doc.ic.ac.uk/resources/aff-wild2); put its annotations and "
    "its cropped_aligned folder into affwild2 of the data root"
)

ABOUT = About(
    title="Aff-Wild2",
    purpose="Iterative Distillation's corpus: twelve action units, seven expressions, valence and arousal in videos",
    licence="by agreement, for academic research; nothing made of it may be passed on",
    how_to_get="the agreement of Imperial College London, ibug.doc.ic.ac.uk/resources/aff-wild2",
    layout="affwild2/<annotations>/AU_Set/Train_Set/<video>.txt and so on, affwild2/cropped_aligned/<video>/00001.jpg",
)

VIDEO = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,199}")  # 6-30-1920x1080_left, 122-60-1920x1080-1, video10_1_left
_PERSON = re.compile("_(?:left|right)$")
_RATE = re.compile("-([1-9][0-9]{0,2})-[0-9]+x[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,4}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_PLACE = re.compile(r"([^/\\]{1,200})/\s*([0-9]{1,7})\.(?:jpe?g|png)", re.IGNORECASE)


@dataclass(frozen=True)
class _Track:
    """The labels of one task in one video, for frames 1 to n; `whole` where every frame of the video has a line."""

    part: str
    labels: np.ndarray
    path: Path
    whole: bool = True


def load(
    root: str | os.PathLike, size: int = 112, colour: bool = True, every: int = 1, longest: int | None = None
) -> AffectVideos:
    """Aff-Wild2's frames that have a crop, by video and frame.

    Subsets are "au train", "au val", "expression train" and so on, for the tasks that are there: all frames of the
    videos of the set, labelled or not. `au` are `UNITS` in the order of their numbers, `expression` an index in
    `EXPRESSIONS`. There is no sound, `audio` is (N, 0).

    Args:
        root: the data root, which holds `affwild2/`.
        size: pixels of a face's side.
        colour: faces uint8 (N, 3, size, size) in RGB, else (N, size, size) in grey levels.
        every: only each so-manieth frame of a video.
        longest: only so many frames of a video, its first; default all.

    Raises:
        CorpusError: a file is missing or malformed, a video is in two parts of a task, a crop cannot be read, or there
            is no frame at all.
    """
    if every < 1 or (longest is not None and longest < 1):
        raise CorpusError(f"every is 1 or more, and so is longest, not {every} and {longest}")
    folder = Path(root) / "affwild2"
    tracks, left_out = _tracks(folder)
    files: list[Path] = []
    labels = defaultdict(list)
    names, times, subsets = [], [], defaultdict(list)
    n_units = _n_units(tracks)
    for video, of_task in tracks.items():
        crops, lost = _frames(folder, video, of_task)
        for reason, count in lost.items():
            left_out[reason] += count
        chosen = [number for number in crops if (number - 1) % every == 0][:longest]
        left_out["passed over by every or longest"] += len(crops) - len(chosen)
        files += [crops[number] for number in chosen]
        names += [video] * len(chosen)
        times += [(number - 1) / _fps(video) for number in chosen]
        rows = np.array(chosen, dtype=np.int64) - 1
        for task, nothing in (("AU", np.int8(-1)), ("EXPR", np.int64(-1)), ("VA", np.float32(MISSING))):
            shape = {"AU": (len(rows), n_units), "EXPR": (len(rows),), "VA": (len(rows), 2)}[task]
            track = of_task.get(task)
            labels[task].append(np.full(shape, nothing) if track is None else track.labels[rows])
            for part in PARTS:
                subsets[task, part].append(np.full(len(rows), track is not None and track.part == part))
    if not files:
        raise CorpusError("no frame with labels has a crop", path=folder / "cropped_aligned", cure=GET)
    tasks = [task for task in SUBSETS if any(task in of_task for of_task in tracks.values())]
    joined = {task: torch.from_numpy(np.concatenate(parts)) for task, parts in labels.items()}
    return AffectVideos(
        frames=images.faces(files, size, colour, GET, "Aff-Wild2"),
        audio=torch.zeros(len(files), 0),
        au=joined["AU"],
        expression=joined["EXPR"],
        valence_arousal=joined["VA"],
        video=np.array(names),
        time=torch.tensor(times, dtype=torch.float64),
        subsets={
            f"{SUBSETS[task]} {part}": torch.from_numpy(np.concatenate(subsets[task, part]))
            for task in tasks
            for part in PARTS
        },
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def is_available(root: str | os.PathLike) -> bool:
    """Whether there are annotations of a task, and the folder of crops."""
    folder = Path(root) / "affwild2"
    try:
        return bool(_task_folders(folder)) and (folder / "cropped_aligned").is_dir()
    except CorpusError:
        return True  # load says what is wrong with them


def check(root: str | os.PathLike) -> list[tuple[str, str, str, bool]]:
    """What is expected, what is there, and whether they agree: (what, expected, found, ok) for each.

    Videos of each task and part; and what does not match between label files, crops and videos. No counts of the whole
    corpus are published: each competition has its own.

    Raises:
        CorpusError: as :func:`load`.
    """
    folder = Path(root) / "affwild2"
    tracks, total = _tracks(folder)
    counts, frames = defaultdict(int), 0
    for video, of_task in tracks.items():
        crops, lost = _frames(folder, video, of_task)
        frames += len(crops)
        for reason, count in lost.items():
            total[reason] += count
        for task, track in of_task.items():
            counts[task, track.part] += 1
    rows = [
        (f"videos, {SUBSETS[task]} {part}", "1 or more", f"{counts[task, part]:,}", counts[task, part] > 0)
        for task in SUBSETS
        for part in PARTS
    ]
    rows.append(("frames with labels and a crop", "1 or more", f"{frames:,}", frames > 0))
    few = len(tracks) // 20
    rows.append((DISAGREE, "0", f"{total[DISAGREE]:,}", not total[DISAGREE]))
    for reason in (BEYOND_OTHERS, BEYOND_VIDEO, NO_LINE):
        rows.append((reason, f"0, or up to {few:,}", f"{total[reason]:,}", total[reason] <= few))
    for reason in (NO_FACE, NO_CROPS, AFTER_CROPS, IS_OTHER):
        rows.append((reason, "some", f"{total[reason]:,}", True))
    return rows


# Why a line, or a crop, is left out.
DISAGREE = "line of a video whose label files, crops and frames differ by more than one"
BEYOND_OTHERS = "line beyond the shortest label file of its video"
BEYOND_VIDEO = "line beyond the last frame of its video"
NO_LINE = "crop beyond the last line of its video"
NO_FACE = "no crop (no face found)"
AFTER_CROPS = "no crop, after the last one of its video"
NO_CROPS = "no crop: none of its video is there"
IS_OTHER = "label of a frame: the expression Other"


# --- files -------------------------------------------------------------------------------------------------------


def _task_folders(folder: Path) -> dict[str, Path]:
    """The folder of each task; at most three levels down.

    Raises:
        CorpusError: two folders hold annotations of one task.
    """
    known = {name: task for task, names in FOLDERS.items() for name in names}
    found: dict[str, Path] = {}
    level = [folder]
    for _ in range(3):
        below = []
        for place in level:
            try:
                inside = sorted(Path(entry.path) for entry in os.scandir(place) if entry.is_dir())
            except OSError:
                continue
            for path in inside:
                task = known.get(path.name)
                if task is not None and task in found:
                    reason = f"annotations of {task} a second time, beside {found[task]}"
                    raise CorpusError(reason, path=path, cure="Keep those of one competition")
                if task is not None:
                    found[task] = path
                elif path.name not in ("cropped_aligned", "videos") and not path.name.startswith("."):
                    below.append(path)
        level = below
    return found


def _tracks(folder: Path) -> tuple[dict[str, dict[str, _Track]], dict[str, int]]:
    """Labels by video and task, in the order of the videos' names, and what is left out of them."""
    places = _task_folders(folder)
    tracks: dict[str, dict[str, _Track]] = defaultdict(dict)
    left_out: dict[str, int] = defaultdict(int)
    if not places:
        raise CorpusError("no AU_Set, EXPR_Set or VA_Set, or their later names", path=folder, cure=GET)
    if places.keys() == {"MTL"}:
        for part, (_, name) in PARTS.items():
            path = places["MTL"] / name
            for video, labels in parse_mtl(lines.read(path, GET), path).items():
                for task, values in labels.items():
                    _add(tracks, video, task, _Track(part, values, path, whole=False))
    for task, place in places.items():
        if task == "MTL":
            continue
        for part, (name, _) in PARTS.items():
            try:
                files = sorted(file for file in os.listdir(place / name) if file.endswith(".txt"))
            except OSError as error:
                raise CorpusError(f"no folder of labels ({error.strerror})", path=place / name, cure=GET) from error
            for file in files:
                if file.startswith("."):  # macOS leaves ._*
                    continue
                path = place / name / file
                if not VIDEO.fullmatch(path.stem):
                    raise CorpusError("not the name of a video", path=path, cure=GET)
                _add(tracks, path.stem, task, _Track(part, parse_labels(lines.read(path, GET), path, task), path))
    for of_task in tracks.values():
        if "EXPR" in of_task:
            expression = of_task["EXPR"].labels
            left_out[IS_OTHER] += int((expression == OTHER).sum())
            expression[expression == OTHER] = -1
    return dict(sorted(tracks.items())), left_out


def _add(tracks: dict[str, dict[str, _Track]], video: str, task: str, track: _Track) -> None:
    if (other := tracks[video].get(task)) is not None:
        raise CorpusError(f"{video} is in {other.path} too", path=track.path, cure="A video has one part of a task")
    tracks[video][task] = track


def _n_units(tracks: dict[str, dict[str, _Track]]) -> int:
    """How many action units there are; 0 without any."""
    number = None
    for of_task in tracks.values():
        if (track := of_task.get("AU")) is not None:
            number = number or track.labels.shape[1]
            if track.labels.shape[1] != number:
                reason = f"{track.labels.shape[1]} action units, other files have {number}"
                raise CorpusError(reason, path=track.path, line=1, cure="Keep the annotations of one competition")
    return number or 0


def _frames(folder: Path, video: str, of_task: dict[str, _Track]) -> tuple[dict[int, Path], dict[str, int]]:
    """A video's crops by frame, of frames that its labels reach, and what is left out of it."""
    lost: dict[str, int] = defaultdict(int)
    crops = images.numbered(folder / "cropped_aligned" / video)
    lengths = [len(track.labels) for track in of_task.values()]
    length, longest, last = min(lengths), max(lengths), max(crops, default=0)
    if all(track.whole for track in of_task.values()):
        n_frames = _frames_in_video(folder, video)
        if longest > length + 1 or last > length + 1 or (n_frames is not None and abs(n_frames - length) > 1):
            lost[DISAGREE] = longest
            return {}, lost
        lost[BEYOND_OTHERS] = longest - length
        lost[NO_LINE] = int(last == length + 1 or n_frames == length + 1)
        lost[BEYOND_VIDEO] = int(n_frames == length - 1)
        length -= lost[BEYOND_VIDEO]
    crops = {number: path for number, path in crops.items() if 1 <= number <= length}
    if crops:
        last = min(last, length)
        lost[NO_FACE], lost[AFTER_CROPS] = last - len(crops), length - last
    else:
        lost[NO_CROPS] = length
    return crops, lost


def _fps(video: str) -> float:
    match = _RATE.search(video)
    return float(match[1]) if match else FPS


# --- labels ------------------------------------------------------------------------------------------------------


def parse_labels(content: bytes, path: str | os.PathLike, task: str) -> np.ndarray:
    """Labels of each frame of one video in one task's file.

    Returns:
        Of "AU" int8 (n, 12) or (n, 8), −1 where missing, in the order of `UNITS` whatever that of the file; of "EXPR"
        int64 (n,), 0 to 7, −1 where missing; of "VA" float32 (n, 2), −5 where either is missing.

    Raises:
        CorpusError: the header is not the task's, or a line is not a label.
    """
    header, *rows = lines.split(content, path, GET)
    if len(rows) > MAX_LINES:
        raise CorpusError(f"{len(rows):,} lines are more than a video has frames", path=path, cure=GET)
    if not rows:
        raise CorpusError("no line after the header", path=path, line=1, cure=GET)
    names = [name.strip() for name in header.split(",")]
    if task == "VA":
        if [name.lower() for name in names] != ["valence", "arousal"]:
            raise CorpusError(f"the header is {header[:60]!r}, not valence,arousal", path=path, line=1, cure=GET)
        values = [_valence_arousal(row.split(","), path, line) for line, row in enumerate(rows, start=2)]
        return np.array(values, dtype=np.float32)
    if task == "EXPR":
        listed = [name.lower() for name in names[: len(EXPRESSIONS)]]
        if re.fullmatch("-?[0-9]+", header) or (len(names) > 1 and listed != [name.lower() for name in EXPRESSIONS]):
            reason = f"the header is {header[:60]!r}, not {','.join(EXPRESSIONS)}"
            raise CorpusError(reason, path=path, line=1, cure=GET)
        return np.array([_expression(row, path, line) for line, row in enumerate(rows, start=2)], dtype=np.int64)
    column = _unit_columns(names, path)
    value = {"0": 0, "1": 1, "-1": -1}
    known: dict[str, list[int]] = {}  # there are few different lines
    for line, row in enumerate(rows, start=2):
        if row not in known:
            cells = [cell.strip() for cell in row.split(",")]
            if len(cells) != len(names) or not set(cells) <= value.keys():
                reason = f"{row[:60]!r} is not {len(names)} labels 0, 1 or -1 (missing)"
                raise CorpusError(reason, path=path, line=line, cure=GET)
            known[row] = [value[cells[i]] for i in column]
    return np.array([known[row] for row in rows], dtype=np.int8)


def _unit_columns(names: list[str], path: str | os.PathLike) -> list[int]:
    """Places of the action units in a header, by their number."""
    numbers = [int(name[2:]) if re.fullmatch("[Aa][Uu][0-9]{1,2}", name) else -1 for name in names]
    wanted = UNITS.get(len(numbers), ())
    if sorted(numbers) != sorted(wanted) or not wanted:
        reason = f"the header is {','.join(names)[:60]!r}, not AU{',AU'.join(map(str, UNITS[12]))}"
        raise CorpusError(reason, path=path, line=1, cure=GET)
    return [numbers.index(number) for number in wanted]


def _expression(cell: str, path: str | os.PathLike, line: int) -> int:
    if not re.fullmatch(f"-1|[0-{OTHER}]", cell.strip()):
        reason = f"{cell[:40]!r} is no expression 0 to {OTHER}, nor -1 (missing)"
        raise CorpusError(reason, path=path, line=line, cure=GET)
    return int(cell)


def _valence_arousal(cells: list[str], path: str | os.PathLike, line: int) -> tuple[float, float]:
    cells = [cell.strip() for cell in cells]
    if len(cells) != 2 or not all(map(_NUMBER.fullmatch, cells)):
        reason = f"{','.join(cells)[:60]!r} is not valence,arousal"
        raise CorpusError(reason, path=path, line=line, cure=GET)
    valence, arousal = map(float, cells)
    for value in (valence, arousal):
        if value != MISSING and not (math.isfinite(value) and -1 <= value <= 1):
            reason = f"{value:g} is not from -1 to 1, nor {MISSING:g} (missing)"
            raise CorpusError(reason, path=path, line=line, cure=GET)
    return (MISSING, MISSING) if MISSING in (valence, arousal) else (valence, arousal)


def parse_mtl(content: bytes, path: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """Labels by video and task from a list of frames `<video>/<frame>.jpg,valence,arousal,expression,AU1,...,AU26`.

    As of :func:`parse_labels`, for frames 1 to the last that is listed; those not listed have no label.

    Raises:
        CorpusError: the header is another one, a line is not of this form, names a place that is none of a crop, or a
            frame a second time.
    """
    header, *rows = lines.split(content, path, GET)
    names = [name.strip() for name in header.split(",")]
    if [name.lower() for name in names[1:4]] != ["valence", "arousal", "expression"] or len(names) < 5:
        reason = f"the header is {header[:60]!r}, not image,valence,arousal,expression and action units"
        raise CorpusError(reason, path=path, line=1, cure=GET)
    column = _unit_columns(names[4:], path)
    value = {"0": 0, "1": 1, "-1": -1}
    of_video: dict[str, dict[int, tuple]] = defaultdict(dict)
    for line, row in enumerate(rows, start=2):
        place, *cells = [cell.strip() for cell in row.split(",")]
        match = _PLACE.fullmatch(place)
        if match is None or not VIDEO.fullmatch(match[1]) or not 1 <= int(match[2]) <= MAX_LINES:
            raise CorpusError(f"{place[:60]!r} is not <video>/<frame>.jpg", path=path, line=line, cure=GET)
        if len(cells) != len(names) - 1 or not set(cells[3:]) <= value.keys():
            reason = f"{row[:80]!r} has no {len(column)} action units 0, 1 or -1 (missing)"
            raise CorpusError(reason, path=path, line=line, cure=GET)
        video, number = match[1], int(match[2])
        if number in of_video[video]:
            raise CorpusError(f"frame {number} of {video} is there a second time", path=path, line=line, cure=GET)
        of_video[video][number] = (
            [value[cells[3 + i]] for i in column],
            _expression(cells[2], path, line),
            _valence_arousal(cells[:2], path, line),
        )
    found = {}
    for video, frames in of_video.items():
        n = max(frames)
        labels = {
            "AU": np.full((n, len(column)), -1, np.int8),
            "EXPR": np.full(n, -1, np.int64),
            "VA": np.full((n, 2), MISSING, np.float32),
        }
        for number, (units, expression, affect) in frames.items():
            labels["AU"][number - 1], labels["EXPR"][number - 1], labels["VA"][number - 1] = units, expression, affect
        found[video] = labels
    return found


# --- videos ------------------------------------------------------------------------------------------------------


def _frames_in_video(folder: Path, video: str) -> int | None:
    """How many frames the file of a video says it has; None where there is no such file, or it does not say."""
    stem = _PERSON.sub("", video)
    for place in ("videos", "videos/batch1", "videos/batch2"):
        for suffix in ("mp4", "avi", "MP4", "AVI"):
            path = folder / place / f"{stem}.{suffix}"
            if path.is_file():
                return n_frames(path)
    return None


def n_frames(path: str | os.PathLike) -> int | None:
    """How many frames an MP4 or AVI file says it has, from its header; None where it does not say.

    Raises:
        CorpusError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(56)
            if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
                is_header = head[24:28] == b"avih" and len(head) >= 52
                return int.from_bytes(head[48:52], "little") or None if is_header else None
            end = file.seek(0, os.SEEK_END)
            start = 0
            while start + 8 <= end:
                file.seek(start)
                size, kind, skip = _box(file.read(16), end - start)
                if size < skip:
                    return None
                if kind == b"moov":
                    file.seek(start + skip)
                    return _samples(file.read(min(size - skip, MAX_HEADER)))
                start += size
    except OSError as error:
        raise CorpusError(f"cannot be read ({error.strerror})", path=path) from error
    return None


def _box(head: bytes, rest: int) -> tuple[int, bytes, int]:
    """Size, kind and length of the header of an MP4 box that has at most `rest` bytes."""
    size, kind = int.from_bytes(head[:4], "big"), head[4:8]
    if size == 1:
        return int.from_bytes(head[8:16], "big"), kind, 16
    return (rest if size == 0 else size), kind, 8


def _boxes(content: bytes):
    """Kind and content of the MP4 boxes in the content of another."""
    start = 0
    while start + 8 <= len(content):
        size, kind, skip = _box(content[start : start + 16], len(content) - start)
        if size < skip:
            return
        yield kind, content[start + skip : start + size]
        start += size


def _samples(moov: bytes) -> int | None:
    """Samples of the first picture track."""
    for kind, track in _boxes(moov):
        if kind != b"trak":
            continue
        media = dict(_boxes(dict(_boxes(track)).get(b"mdia", b"")))
        if media.get(b"hdlr", b"")[8:12] != b"vide":
            continue
        table = dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
        sizes = table.get(b"stsz", b"")
        return int.from_bytes(sizes[8:12], "big") or None if len(sizes) >= 12 else None
    return None
