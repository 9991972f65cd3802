"""Aff-Wild2: videos from the internet, with action units, expressions, valence and arousal frame by frame.

Kollias and Zafeiriou, "Aff-Wild2: Extending the Aff-Wild Database for Affect Recognition", 2018, and the ABAW
competitions. Under `<data root>/affwild2/`:

- annotations of one competition, in a folder of any name: `AU_Set`, `EXPR_Set` and `VA_Set` (2020, 2021), or
  `AU_Detection_Challenge`, `EXPR_Classification_Challenge` (2022, 2023) or `EXPR_Recognition_Challenge` (2024), and
  `VA_Estimation_Challenge`; in each `Train_Set/<video>.txt` and `Validation_Set/<video>.txt`. Where only
  the lists of the multi-task challenge are there, `MTL_Challenge/{train_set,validation_set}.txt` or later
  `{training,validation}_set_annotations.txt`, they are read.
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

Known from: the corpus's page at Imperial College (header of valence and arousal, the -5); the loaders of
UncertainEmotion and ABAW3_MultiEmotionNet (folders, lists, lines and crops, a line more or less) and of
Aff-Wild2-Pytorch (blanks in names). How expressions are headed is not known: their names, or any one word, will do.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.corpora import images
from uncertain_affect.corpora.base import AffectVideos, CheckRow, CorpusError
from uncertain_affect.corpora.reading import File, Table, entries, number

# Folders of a task, by competition.
FOLDERS = {
    "AU": ("AU_Set", "AU_Detection_Challenge"),
    "EXPR": ("EXPR_Set", "EXPR_Classification_Challenge", "EXPR_Recognition_Challenge"),
    "VA": ("VA_Set", "VA_Estimation_Challenge"),
}
PARTS = {"train": "Train_Set", "val": "Validation_Set"}
# Of the multi-task challenge, one list of frames for all tasks in each part.
LISTS = {
    "train": ("MTL_Challenge/train_set.txt", "training_set_annotations.txt"),
    "val": ("MTL_Challenge/validation_set.txt", "validation_set_annotations.txt"),
}
SUBSETS = {"AU": "au", "EXPR": "expression", "VA": "va"}
UNITS = {12: (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26), 8: (1, 2, 4, 6, 12, 15, 20, 25)}  # 8 in 2020 alone
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
OTHER = len(EXPRESSIONS)
MISSING = -5.0
# What stands in a file, as the labels here.
OCCURRENCE = {"0": 0, "1": 1, "-1": -1}
EXPRESSION = {str(code): code for code in range(-1, OTHER + 1)}
FPS = 30.0  # of a video whose name does not say: most have it
MAX_LINES = 1_000_000  # of a video: nine hours

GET = "See `uncertain-affect data list` for how to get Aff-Wild2, and where it belongs"


VIDEO = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,199}")  # 6-30-1920x1080_left, 122-60-1920x1080-1, video10_1_left
_PERSON = re.compile("_(?:left|right)$")
_RATE = re.compile("-([1-9][0-9]{0,2})-[0-9]+x[0-9]+")
_CROP = re.compile(r"([^/\\]{1,200})/\s*([0-9]{1,7})\.(?:jpe?g|png)", re.IGNORECASE)


# Why a line, or a crop, is left out.
DISAGREE = "line of a video whose label files, crops and frames differ by more than one"
BEYOND_OTHERS = "line beyond the shortest label file of its video"
BEYOND_VIDEO = "line beyond the last frame of its video"
NO_LINE = "crop beyond the last line of its video"
NO_FACE = "no crop (no face found)"
AFTER_CROPS = "no crop, after the last one of its video"
NO_CROPS = "no crop: none of its video is there"
IS_OTHER = "label of a frame: the expression Other"


@dataclass(frozen=True)
class _Track:
    """The labels of one task in one video, for frames 1 to n; `whole` where every frame of the video has a line."""

    part: str
    labels: np.ndarray
    path: Path
    whole: bool = True


@dataclass(frozen=True)
class _Video:
    """A video, its labels by task, its crops by number of the frame, and what is left out of it."""

    name: str
    tracks: dict[str, _Track]
    crops: dict[int, Path]
    left_out: Counter


def load(root: Path, size: int = 112, colour: bool = True, every: int = 1, longest: int | None = None) -> AffectVideos:
    """Aff-Wild2's frames that have a crop, by video and frame.

    Subsets are "au train", "au val", "expression train" and so on, for the tasks that are there: all frames of the
    videos of the set, labelled or not. `au` are `UNITS` in the order of their numbers, `expression` an index in
    `EXPRESSIONS`. There is no sound, `audio` is (N, 0).

    Args:
        root: the data root, which holds `affwild2/`.
        size: pixels of a face's side.
        colour: faces uint8 (N, 3, size, size) in RGB, else (N, size, size) in grey levels.
        every: take the first of so many frames of a video.
        longest: take only so many frames of a video, its first; default all.

    Raises:
        CorpusError: a file is missing or malformed, a video is in two parts of a task, a crop cannot be read, or there
            is no frame at all.
    """
    if every < 1 or (longest is not None and longest < 1):
        raise CorpusError(f"every is 1 or more, and so is longest, not {every} and {longest}")
    folder = root / "affwild2"
    videos = _videos(folder)
    n_units = _n_units(videos)
    files, names, times, left_out = [], [], [], Counter()
    labels, parts = defaultdict(list), defaultdict(list)
    for video in videos:
        chosen = [frame for frame in video.crops if (frame - 1) % every == 0][:longest]
        left_out += video.left_out
        left_out["passed over by every or longest"] += len(video.crops) - len(chosen)
        files += [video.crops[frame] for frame in chosen]
        names += [video.name] * len(chosen)
        times += [(frame - 1) / _fps(video.name) for frame in chosen]
        rows = np.array(chosen, dtype=np.int64) - 1
        for task, unlabelled in _unlabelled(len(rows), n_units).items():
            track = video.tracks.get(task)
            labels[task].append(track.labels[rows] if track else unlabelled)
            parts[task] += [track.part if track else ""] * len(rows)
    if not files:
        raise CorpusError("no frame with labels has a crop", path=folder / "cropped_aligned", cure=GET)
    joined = {task: torch.from_numpy(np.concatenate(blocks)) for task, blocks in labels.items()}
    tasks = [task for task in SUBSETS if any(task in video.tracks for video in videos)]
    return AffectVideos(
        frames=images.faces(files, size, colour, GET, "Aff-Wild2"),
        audio=torch.zeros(len(files), 0),
        au=joined["AU"],
        expression=joined["EXPR"],
        valence_arousal=joined["VA"],
        video=np.array(names),
        time=torch.tensor(times, dtype=torch.float64),
        subsets={
            f"{SUBSETS[task]} {part}": torch.from_numpy(np.array(parts[task]) == part)
            for task in tasks
            for part in PARTS
        },
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def is_available(root: Path) -> bool:
    """Whether there are annotations of a task, and the folder of crops."""
    folder = root / "affwild2"
    try:
        return any(_annotations(folder)) and (folder / "cropped_aligned").is_dir()
    except CorpusError:
        return True  # load says what is wrong with them


def check(root: Path) -> list[CheckRow]:
    """Videos of each task and part; and what does not match between label files, crops and videos.

    No counts of the whole corpus are published: each competition has its own.

    Raises:
        CorpusError: as :func:`load`; but crops may lack, and are not decoded.
    """
    videos = _videos(root / "affwild2")
    left_out = sum((video.left_out for video in videos), Counter())
    counts = Counter((task, track.part) for video in videos for task, track in video.tracks.items())
    frames, few = sum(len(video.crops) for video in videos), len(videos) // 20
    expected = {f"videos, {SUBSETS[task]} {part}": counts[task, part] for task in SUBSETS for part in PARTS}
    expected["frames with labels and a crop"] = frames
    rows = [(what, "1 or more", f"{found:,}", found > 0) for what, found in expected.items()]
    rows.append((DISAGREE, "0", f"{left_out[DISAGREE]:,}", not left_out[DISAGREE]))
    for reason in (BEYOND_OTHERS, BEYOND_VIDEO, NO_LINE):
        rows.append((reason, f"0, or up to {few:,}", f"{left_out[reason]:,}", left_out[reason] <= few))
    rows += [(reason, "any", f"{left_out[reason]:,}", True) for reason in (NO_FACE, NO_CROPS, AFTER_CROPS, IS_OTHER)]
    return rows


# --- files -------------------------------------------------------------------------------------------------------


def _place(folder: Path, what: str, names: Sequence[str]) -> Path | None:
    """The file or folder of one of these names, at most three levels down; what macOS adds to archives is none.

    Raises:
        CorpusError: there are two.
    """
    patterns = [f"{above}{name}" for name in names for above in ("", "[!.]*/", "[!.]*/[!.]*/")]
    places = sorted(place for pattern in patterns for place in folder.glob(pattern) if "__MACOSX" not in place.parts)
    if len(places) > 1:
        reason = f"annotations of {what} a second time, beside {places[0]}"
        raise CorpusError(reason, path=places[1], cure="Keep those of one competition")
    return places[0] if places else None


def _annotations(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The folder of each task that is there; without any, the list of each part."""
    folders = {task: place for task, names in FOLDERS.items() if (place := _place(folder, task, names))}
    if folders:
        return folders, {}
    return {}, {part: place for part, names in LISTS.items() if (place := _place(folder, part, names))}


def _videos(folder: Path) -> list[_Video]:
    """The labelled videos, by name."""
    places, lists = _annotations(folder)
    if not places and not lists:
        raise CorpusError("no AU_Set, EXPR_Set or VA_Set, or their later names", path=folder, cure=GET)
    tracks: dict[str, dict[str, _Track]] = defaultdict(dict)
    if lists and (missing := LISTS.keys() - lists.keys()):
        raise CorpusError(f"no list of the part {missing.pop()}", path=folder, cure=GET)
    for part, path in lists.items():
        for video, labels in read_list(path).items():
            if video in tracks:
                raise CorpusError(f"{video} is in both lists", path=path, cure="A video has one part of a task")
            tracks[video] = {task: _Track(part, labels[task], path, whole=False) for task in labels}
    for task, part in product(places, PARTS):
        for path in entries(places[task] / PARTS[part], GET):
            if path.suffix != ".txt":
                continue
            if not VIDEO.fullmatch(path.stem):
                raise CorpusError("not the name of a video", path=path, cure=GET)
            if other := tracks[path.stem].get(task):
                reason = f"{path.stem} is in {other.path} too"
                raise CorpusError(reason, path=path, cure="A video has one part of a task")
            tracks[path.stem][task] = _Track(part, read_labels(path, task), path)
    videos = []
    for name, of_video in sorted(tracks.items()):
        crops, left_out = _crops(folder, name, list(of_video.values()))
        if "EXPR" in of_video:
            expression = of_video["EXPR"].labels
            left_out[IS_OTHER] += int((expression == OTHER).sum())
            expression[expression == OTHER] = -1
        videos.append(_Video(name, of_video, crops, left_out))
    return videos


def _n_units(videos: Sequence[_Video]) -> int:
    """How many action units there are; 0 without any."""
    tracks = [video.tracks["AU"] for video in videos if "AU" in video.tracks]
    n = tracks[0].labels.shape[1] if tracks else 0
    for track in tracks:
        if track.labels.shape[1] != n:
            reason = f"{track.labels.shape[1]} action units, other files have {n}"
            raise CorpusError(reason, path=track.path, line=1, cure="Keep the annotations of one competition")
    return n


def _unlabelled(n: int, n_units: int) -> dict[str, np.ndarray]:
    """Labels of each task for n frames that have none."""
    return {
        "AU": np.full((n, n_units), -1, np.int8),
        "EXPR": np.full(n, -1, np.int64),
        "VA": np.full((n, 2), MISSING, np.float32),
    }


def _crops(folder: Path, video: str, tracks: Sequence[_Track]) -> tuple[dict[int, Path], Counter]:
    """A video's crops by frame, of frames that its labels reach, and what is left out of it.

    Args:
        folder: of the corpus.
        video: its name.
        tracks: its labels; crops and videos are compared with those that are whole.
    """
    left_out = Counter()
    lengths = [len(track.labels) for track in tracks]
    crops = images.numbered(folder / "cropped_aligned" / video)
    length, longest, last = min(lengths), max(lengths), max(crops, default=0)
    if all(track.whole for track in tracks):
        n_frames = _frames_in_video(folder, video)
        if longest > length + 1 or last > length + 1 or (n_frames is not None and abs(n_frames - length) > 1):
            return {}, Counter({DISAGREE: longest})
        left_out[BEYOND_OTHERS] = longest - length
        left_out[NO_LINE] = int(last == length + 1 or n_frames == length + 1)
        left_out[BEYOND_VIDEO] = int(n_frames == length - 1)
        length -= left_out[BEYOND_VIDEO]
    crops = {frame: path for frame, path in crops.items() if 1 <= frame <= length}
    if crops:
        last = min(last, length)
        left_out[NO_FACE], left_out[AFTER_CROPS] = last - len(crops), length - last
    else:
        left_out[NO_CROPS] = length
    return crops, left_out


def _fps(video: str) -> float:
    match = _RATE.search(video)
    return float(match[1]) if match else FPS


# --- labels ------------------------------------------------------------------------------------------------------


def read_labels(path: Path, task: str) -> np.ndarray:
    """Labels of each frame of one video in one task's file.

    Returns:
        Of "AU" int8 (n, 12) or (n, 8), −1 where missing, in the order of `UNITS` whatever that of the file; of "EXPR"
        int64 (n,), 0 to 7, −1 where missing; of "VA" float32 (n, 2), −5 where either is missing.

    Raises:
        CorpusError: the header is not the task's, or a line is not a label.
    """
    file = File(path, GET)
    (_, header), *rows = file.rows(quotes=False)
    if not rows:
        raise file.error("no line after the header", 1)
    if len(rows) > MAX_LINES:
        raise file.error(f"{len(rows):,} lines are more than a video has frames")
    names = [name.lower() for name in header]
    if task == "AU":
        units = _units(file, names)
        return _occurrence(Table(file, names, rows), units)
    if task == "VA":
        expected, fits = ("valence", "arousal"), names == ["valence", "arousal"]
    else:  # the names of the expressions, or one word
        expected = EXPRESSIONS
        fits = names[: len(expected)] == [name.lower() for name in expected]
        fits = fits or (len(names) == 1 and not re.fullmatch("-?[0-9]+", names[0]))
    if not fits:
        raise file.error(f"the header is {','.join(header)[:60]!r}, not {','.join(expected)}", 1)
    if task == "EXPR":
        return Table(file, ["expression"], rows).codes("expression", EXPRESSION)
    return _valence_arousal(Table(file, names, rows))


def read_list(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Labels by video and task from a list of frames `<video>/<frame>.jpg,valence,arousal,expression,AU1,...,AU26`.

    They are as of :func:`read_labels`, for frames 1 to the last that is listed; those not listed have no label.

    Raises:
        CorpusError: the header is another one, a line is not a label, names no crop, or a frame a second time.
    """
    file = File(path, GET)
    (_, header), *rows = file.rows(quotes=False)
    # later editions write the header as a list in brackets, or "aus" for all twelve
    names = ["image", *(re.sub(r"\W", "", name).lower() for name in header[1:])]
    if names[4:] == ["aus"]:
        names[4:] = [f"au{unit}" for unit in UNITS[12]]
    if names[1:4] != ["valence", "arousal", "expression"]:
        reason = f"the header is {','.join(header)[:60]!r}, not image,valence,arousal,expression and action units"
        raise file.error(reason, 1)
    units = _units(file, names[4:])
    table = Table(file, names, rows)
    crops = [_CROP.fullmatch(cell) for cell in table.columns["image"]]
    wrong = [not (crop and VIDEO.fullmatch(crop[1]) and 1 <= int(crop[2]) <= MAX_LINES) for crop in crops]
    table.refuse(wrong, lambda row: f"{table.columns['image'][row][:60]!r} is not <video>/<frame>.jpg")
    table.refuse_repeated(((crop[1], int(crop[2])) for crop in crops), "frame")
    listed = {
        "AU": _occurrence(table, units),
        "EXPR": table.codes("expression", EXPRESSION),
        "VA": _valence_arousal(table),
    }
    videos, index = np.array([crop[1] for crop in crops], dtype=str), np.array([int(crop[2]) - 1 for crop in crops])
    found = {}
    for video in np.unique(videos).tolist():
        rows = np.flatnonzero(videos == video)
        found[video] = _unlabelled(index[rows].max() + 1, listed["AU"].shape[1])
        for task, labels in found[video].items():
            labels[index[rows]] = listed[task][rows]
    return found


def _valence_arousal(table: Table) -> np.ndarray:
    """Valence and arousal (n, 2), float32; both are missing where one is."""
    unlike = "neither from -1 to 1 nor -5"
    values = np.stack([table.values(name, _affect, unlike) for name in ("valence", "arousal")], axis=1)
    values[(values == MISSING).any(axis=1)] = MISSING
    return values.astype(np.float32)


def _affect(cell: str) -> float | None:
    value = number(cell)
    return value if value is not None and (value == MISSING or -1 <= value <= 1) else None


def _units(file: File, names: Sequence[str]) -> list[int]:
    """The numbers of the action units, ascending, that the columns `names` of a header must be."""
    units = sorted(int(name[2:]) if re.fullmatch("au[0-9]{1,2}", name) else -1 for name in names)
    if tuple(units) != UNITS.get(len(units)):
        reason = f"the header is {','.join(names)[:60]!r}, not AU{',AU'.join(map(str, UNITS[12]))}"
        raise file.error(reason, 1)
    return units


def _occurrence(table: Table, units: Sequence[int]) -> np.ndarray:
    """The labels (n, units), int8, of the action units."""
    return np.stack([table.codes(f"au{unit}", OCCURRENCE) for unit in units], axis=1).astype(np.int8)


# --- videos ------------------------------------------------------------------------------------------------------


def _frames_in_video(folder: Path, video: str) -> int | None:
    """How many frames the file of a video says it has; None where there is no such file, or it does not say."""
    for place in ("videos", "videos/batch1", "videos/batch2"):
        for path in sorted((folder / place).glob(f"{_PERSON.sub('', video)}.*")):
            if path.suffix.lower() in (".mp4", ".avi") and path.is_file():
                return n_frames(path)
    return None


def n_frames(path: Path) -> int | None:
    """How many frames an MP4 or AVI file says it has, from its header; None where it does not say.

    Raises:
        CorpusError: the file cannot be read.
    """
    try:
        content = np.memmap(path, mode="r") if path.stat().st_size else b""
    except OSError as error:
        raise CorpusError(f"cannot be read ({error.strerror})", path=path) from error
    head = bytes(content[:56])
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return int.from_bytes(head[48:52], "little") or None if head[24:28] == b"avih" else None
    for track in _boxes([content], b"moov", b"trak"):
        media = _boxes([track], b"mdia")
        if any(bytes(box[8:12]) == b"vide" for box in _boxes(media, b"hdlr")):
            sizes = _boxes(media, b"minf", b"stbl", b"stsz")
            return int.from_bytes(sizes[0][8:12], "big") or None if sizes else None
    return None


def _boxes(contents: Sequence[np.ndarray], *kinds: bytes) -> Sequence[np.ndarray]:
    """What MP4 boxes contain: those of the first kind in the `contents`, those of the next kind in these, ..."""
    for kind in kinds:
        found = []
        for content in contents:
            while len(content) >= 8:
                size, skip = int.from_bytes(content[:4], "big"), 8
                if size == 1:
                    size, skip = int.from_bytes(content[8:16], "big"), 16
                elif size == 0:  # to the end
                    size = len(content)
                if size < skip:
                    break
                if bytes(content[4:8]) == kind:
                    found.append(content[skip:size])
                content = content[size:]
        contents = found
    return contents
