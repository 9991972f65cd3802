"""FER+: the FER2013 faces, each labelled anew by ten annotators.

Barsoum, Zhang, Canton Ferrer and Zhang, "Training deep networks for facial expression recognition with
crowd-sourced label distribution", ICMI 2016. The votes are public (`fer2013new.csv`, MIT licence), the images
come from Kaggle. Under `<data root>/ferplus/`, beside `fer2013new.csv`, either of two layouts is read:

- the FER+ authors' folders of PNGs, `data/FER2013{Train,Valid,Test}/ferNNNNNNN.png`, where an image is found
  by its name. Their `label.csv` files hold older votes and are not read.
- Kaggle's `fer2013.csv` or `icml_face_data.csv`, there or in `fer2013/`, where row i belongs to row i of
  `fer2013new.csv`. The number in an image's name is not its row.

Four image names occur twice in `fer2013new.csv`, and in the folders the later image has overwritten the
earlier. `fer0033120.png` (PrivateTest) shows a sign, which ten annotators called no face; the row kept
under this name has the votes for another picture. Kaggle's layout keeps the two apart.

Splits are named as the UncNet paper uses them: validation is PrivateTest and test is PublicTest, **the
reverse of the FER+ convention**.
"""

import csv
import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.corpora.base import About, CorpusError, Expressions

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
CLASSES = (*EMOTIONS, "unknown", "NF")  # NF: not a face
SPLIT = {"Training": "train", "PrivateTest": "val", "PublicTest": "test"}
FOLDER = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}

LABELS = "fer2013new.csv"
LABELS_HEADER = ("Usage", "Image name", *CLASSES)
IMAGES = ("fer2013.csv", "icml_face_data.csv", "fer2013/fer2013.csv")
IMAGES_HEADER = ("emotion", "pixels", "Usage")
SIZE = 48
GREY = {str(level): level for level in range(256)}
COUNTS = [str(count) for count in range(11)]  # ten annotators

GET_LABELS = "Fetch the published file with `uncertain-affect data get ferplus`"
GET_IMAGES = (
    "FER2013 may not be redistributed: accept its terms on Kaggle (competition "
    "challenges-in-representation-learning-facial-expression-recognition-challenge), then put its "
    "fer2013.csv or icml_face_data.csv into the folder ferplus of the data root, or the PNGs that the FER+ "
    "authors' generate_training_data.py makes of it into ferplus/data/FER2013{Train,Valid,Test}"
)
ABOUT = About(
    title="FER+ (FER2013)",
    purpose="UncNet, UGN and Distillation: faces with the votes of ten annotators, as open data",
    licence="votes MIT; the images are FER2013's, under Kaggle's terms, and may not be passed on",
    how_to_get=f"The votes: `uncertain-affect data get ferplus-votes`. {GET_IMAGES}",
    layout=f"ferplus/{LABELS}, and ferplus/data/FER2013{{Train,Valid,Test}}/ferNNNNNNN.png or ferplus/fer2013.csv",
)
PUBLISHED = {"train": 28559, "val": 3573, "test": 3579}  # images kept
MAJORITY = {"train": 25060, "val": 3153, "test": 3199}  # of them with a majority, by the FER+ authors' own code


# --- reading ----------------------------------------------------------------------------------------------


def load(root: str | os.PathLike) -> Expressions:
    """FER+ with the UncNet paper's images: every named row with a vote among the nine classes other than NF.

    Of the published files these are 28,559 train, 3,573 val and 3,579 test images, uint8 (48, 48), with votes
    (10,) in the order of `CLASSES`. Images with identical pixels share a group, across splits too. The first
    call decodes the images, which takes some seconds; later ones read them from the cache.

    Args:
        root: the data root, which holds `ferplus/`.

    Raises:
        CorpusError: a file is missing, truncated or malformed, or a split is empty.
    """
    folder = Path(root) / "ferplus"
    labels = _read_labels(folder / LABELS)
    kept = labels.where(labels.kept)
    left_out = {
        "no image name": int((labels.names == "").sum()),
        "no vote in the nine classes": int(((labels.names != "") & ~labels.kept).sum()),
    }
    if _has_pngs(folder):
        images = _images_from_folders(folder, labels)
    elif (csv_file := _kaggle_csv(folder)) is not None:
        images, trailing = _images_from_csv(csv_file, labels)
        if trailing:
            left_out["no image, after the last line of votes"] = trailing
    else:
        reason = "neither data/FER2013*/*.png nor fer2013.csv is there"
        raise CorpusError(reason, path=folder, cure=GET_IMAGES)

    return Expressions(
        images=torch.from_numpy(images),
        votes=torch.from_numpy(kept.votes),
        split=np.array([SPLIT[usage] for usage in kept.usage]),
        names=kept.names,
        groups=torch.tensor(_groups(images)),
        classes=CLASSES,
        left_out=left_out,
    )


def is_available(root: str | os.PathLike) -> bool:
    """Whether the votes, and the images in either layout, are there."""
    folder = Path(root) / "ferplus"
    return (folder / LABELS).is_file() and (_has_pngs(folder) or _kaggle_csv(folder) is not None)


def check(root: str | os.PathLike) -> list[tuple[str, str, str, bool]]:
    """Rows (what, expected, found, fine) about the files below the data root.

    Raises:
        CorpusError: as `load`.
    """
    corpus = load(root)
    _, kept = majority(corpus.votes)
    rows = []
    for split, expected in PUBLISHED.items():
        here = torch.from_numpy(corpus.split == split)
        n, voted = int(here.sum()), int(kept[here].sum())
        rows.append((f"images of {split}", f"{expected:,}", f"{n:,}", n == expected))
        rows.append((f"with a majority, {split}", f"{MAJORITY[split]:,}", f"{voted:,}", voted == MAJORITY[split]))
    again = int(corpus.duplicates_of_training().sum())
    rows.append(("kept: identical to a training image", "567", f"{again:,}", True))
    rows += [(f"left out: {reason}", "some", f"{n:,}", True) for reason, n in corpus.left_out.items()]
    return rows


def _has_pngs(folder: Path) -> bool:
    # A clone of the FER+ repository has the folders, but no image in them.
    return any(next((folder / "data" / name).glob("*.png"), None) for name in FOLDER.values())


def _kaggle_csv(folder: Path) -> Path | None:
    return next((folder / name for name in IMAGES if (folder / name).is_file()), None)


def _groups(images: np.ndarray) -> list[int]:
    """A number for each image, the same for identical images, in the order of their first appearance."""
    number = {}
    return [number.setdefault(image.tobytes(), len(number)) for image in images]


@dataclass(frozen=True)
class _Labels:
    """Rows of `fer2013new.csv`, and which of them the UncNet paper keeps."""

    path: Path
    line: np.ndarray  # int (rows,), from 1
    usage: np.ndarray  # str (rows,)
    names: np.ndarray  # str (rows,), "" where there is none
    votes: np.ndarray  # int (rows, 10)
    kept: np.ndarray  # bool (rows,)

    def where(self, rows: np.ndarray) -> "_Labels":
        columns = (self.line, self.usage, self.names, self.votes, self.kept)
        return _Labels(self.path, *(column[rows] for column in columns))

    def refuse(self, rows: np.ndarray, reason: Callable[[int], str], cure: str = GET_LABELS) -> None:
        """Raise for the first of the `rows` (bool); `reason` makes the message from its number."""
        if rows.any():
            first = int(rows.argmax())
            raise CorpusError(reason(first), path=self.path, line=int(self.line[first]), cure=cure)


def _read_labels(path: Path) -> _Labels:
    lines, cells = [], []
    for line, row in _rows(path, LABELS_HEADER, GET_LABELS):
        if len(row) != len(LABELS_HEADER):
            reason = f"{len(row)} columns where {len(LABELS_HEADER)} are expected"
            raise CorpusError(reason, path=path, line=line, cure=GET_LABELS)
        lines.append(line)
        cells.append(row)
    table = np.array(cells, dtype=str).reshape(-1, len(LABELS_HEADER))
    usage, names, counts = table[:, 0], table[:, 1], table[:, 2:]

    wrong = ~np.isin(counts, COUNTS)
    votes = np.where(wrong, "0", counts).astype(np.int64)
    kept = (names != "") & (votes[:, :-1].sum(axis=1) > 0)
    labels = _Labels(path, np.array(lines), usage, names, votes, kept)

    strange = ~np.isin(usage, list(SPLIT))
    labels.refuse(strange, lambda row: f"Usage {usage[row]!s} is none of {', '.join(SPLIT)}")
    labels.refuse(
        wrong.any(axis=1),
        lambda row: f"the count of votes {counts[row][wrong[row]][0]!s} is no whole number from 0 to 10",
    )
    labels.refuse(votes.sum(axis=1) > 10, lambda row: f"{votes[row].sum()} votes of ten annotators")
    for split in SPLIT:
        if not (usage[kept] == split).any():
            raise CorpusError(f"no image of {split}", path=path, cure=GET_LABELS)
    return labels


def _rows(path: Path, header: Sequence[str], cure: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row of a csv file that is not blank.

    Cells are stripped and in the order of `header`, whatever the order in the file; a row with too many or
    too few is given as it is.
    """
    if not path.is_file():
        raise CorpusError("no such file", path=path, cure=cure)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            found = [name.strip() for name in next(reader, [])]
            if sorted(found) != sorted(header):
                reason = f"the header is {','.join(found)[:200]!r}, not {','.join(header)!r}"
                raise CorpusError(reason, path=path, line=1, cure=cure)
            column = [found.index(name) for name in header]
            for row in reader:
                if row:
                    cells = [row[i].strip() for i in column] if len(row) == len(header) else row
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            line = _first_line_not_utf8(path)
            raise CorpusError(f"not UTF-8 text ({error.reason})", path=path, line=line, cure=cure) from error
        except csv.Error as error:
            raise CorpusError(str(error), path=path, line=reader.line_num, cure=cure) from error


def _first_line_not_utf8(path: Path) -> int:
    # The text layer decodes in blocks and cannot say.
    with path.open("rb") as file:
        lines = enumerate(file, start=1)
        return next(number for number, line in lines if line.decode(errors="ignore").encode() != line)


def _images_from_folders(folder: Path, labels: _Labels) -> np.ndarray:
    """The images uint8 (N, 48, 48) of the rows kept, from the FER+ authors' folders."""
    kept = labels.where(labels.kept)
    file_of_row = np.array(_files(kept))
    files, first, row_to_file = np.unique(file_of_row, return_index=True, return_inverse=True)

    first_row = first[row_to_file]  # of those that name the same file
    kept.refuse(
        (kept.votes != kept.votes[first_row]).any(axis=1),
        lambda row: f"votes for {kept.names[row]} that are not those of line {kept.line[first_row[row]]}",
    )
    found = _pngs(folder)
    missing = ~np.isin(file_of_row, list(found))
    kept.refuse(missing, lambda row: f"there is no {file_of_row[row]} ({missing.sum()} missing)", GET_IMAGES)
    if unnamed := sorted(found.keys() - set(_files(labels))):
        reason = f"no line for {unnamed[0]} ({len(unnamed)} images without votes)"
        raise CorpusError(reason, path=labels.path, cure=GET_LABELS)

    def decode() -> dict[str, np.ndarray]:
        named = zip(files, kept.line[first], strict=True)
        progress = tqdm(named, "FER+ images", len(files), unit="image", disable=None)
        return {"images": np.stack([_decode(folder / file, line) for file, line in progress])[row_to_file]}

    state = np.array([found[file] for file in files])
    key = content_key(RECIPE, "folders", file_of_row, state)
    return cached_arrays(key, decode, kind="ferplus-images")["images"]


def _files(labels: _Labels) -> list[str]:
    rows = zip(labels.usage, labels.names, strict=True)
    return [f"data/{FOLDER[usage]}/{name}" for usage, name in rows]


def _pngs(folder: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of change in ns of each image, by its path in `folder`."""
    found = {}
    for name in FOLDER.values():
        split = folder / "data" / name
        if not split.is_dir():
            raise CorpusError("no such folder", path=split, cure=GET_IMAGES)
        for entry in os.scandir(split):
            if entry.name.endswith(".png") and not entry.name.startswith("."):  # macOS leaves ._*.png
                state = entry.stat()
                found[f"data/{name}/{entry.name}"] = (state.st_size, state.st_mtime_ns)
    return found


def _decode(path: Path, line: int) -> np.ndarray:
    """The image uint8 (48, 48) in the file that this line of votes names."""
    content = path.read_bytes()
    named = f"(named in line {line} of {LABELS})"
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.verify()  # every chunk, to the end of the file: decoding alone checks no sums
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            mode, size, pixels = image.mode, image.size, np.asarray(image)
    except (
        OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, MemoryError, struct.error,
        Image.DecompressionBombError,
    ) as error:  # fmt: skip
        # the decoder meets malformed files in all these ways
        reason = f"truncated or damaged PNG of {len(content)} bytes {named}"
        raise CorpusError(reason, path=path, cure=f"Make it anew. {GET_IMAGES}") from error
    if mode != "L" or size != (SIZE, SIZE):
        reason = f"{size[0]} x {size[1]} pixels of mode {mode}, not 48 x 48 of mode L (8-bit grey) {named}"
        raise CorpusError(reason, path=path, cure=f"Make it anew. {GET_IMAGES}")
    return pixels


def _images_from_csv(path: Path, labels: _Labels) -> tuple[np.ndarray, int]:
    """The images uint8 (N, 48, 48) of the rows kept, from Kaggle's csv, and how many rows follow the last."""

    def read() -> dict[str, np.ndarray]:
        images, trailing = _read_images(path, labels)
        return {"images": images[labels.kept], "trailing": np.array(trailing)}

    state = [path.name, path.stat().st_size, path.stat().st_mtime_ns]
    key = content_key(RECIPE, "csv", labels.usage, labels.kept, state)
    cached = cached_arrays(key, read, kind="ferplus-images")
    return cached["images"], int(cached["trailing"])


def _read_images(path: Path, labels: _Labels) -> tuple[np.ndarray, int]:
    """The images uint8 (rows, 48, 48) of all lines of votes, and how many rows follow the last."""
    images = np.empty((len(labels.line), SIZE * SIZE), np.uint8)
    done = trailing = 0
    rows = _rows(path, IMAGES_HEADER, GET_IMAGES)
    for line, row in tqdm(rows, "FER+ images", len(images), unit="image", disable=None):
        try:
            usage, pixels = _parse_image(row)
        except _NoImage as reason:
            if done == len(images):
                trailing += 1  # some Kaggle copies end in rows that are no image
                continue
            raise CorpusError(str(reason), path=path, line=line, cure=GET_IMAGES) from None
        if done == len(images):
            reason = f"an image more than {LABELS} has lines of votes ({done})"
            raise CorpusError(reason, path=path, line=line, cure=GET_LABELS)
        if usage != labels.usage[done]:
            reason = f"Usage is {usage}, but {labels.usage[done]} in line {labels.line[done]} of {LABELS}"
            cure = f"Both files must be in their published order. {GET_IMAGES}"
            raise CorpusError(reason, path=path, line=line, cure=cure)
        images[done] = pixels
        done += 1
    if done < len(images):
        reason = f"{done} images where {LABELS} has {len(images)} lines of votes"
        raise CorpusError(reason, path=path, line=line if done else 1, cure=GET_IMAGES)
    return images.reshape(-1, SIZE, SIZE), trailing


class _NoImage(ValueError):
    """A row of Kaggle's csv that holds no image."""


def _parse_image(row: list[str]) -> tuple[str, list[int]]:
    """Usage and the 2,304 grey levels, row by row."""
    if len(row) != len(IMAGES_HEADER):
        raise _NoImage(f"{len(row)} columns where {len(IMAGES_HEADER)} are expected")
    _, pixels, usage = row
    if usage not in SPLIT:
        raise _NoImage(f"Usage {usage} is none of {', '.join(SPLIT)}")
    levels = pixels.split()
    if len(levels) != SIZE * SIZE:
        raise _NoImage(f"{len(levels)} pixels where {SIZE * SIZE} are expected")
    try:
        return usage, [GREY[level] for level in levels]
    except KeyError as error:
        raise _NoImage(f"the pixel {error} is no whole number from 0 to 255") from None


# --- label rules ------------------------------------------------------------------------------------------
# Each takes votes (N, 10) in the order of CLASSES, NumPy or torch, and returns arrays of the same kind.


def proportions(votes):
    """The UncNet paper's target: the shares (N, 9) of the votes that are not for NF; no vote is removed.

    Raises:
        ValueError: `votes` is not (N, 10), or a row has no vote among the nine classes.
    """
    counts = _counts(votes)[:, :-1]
    total = counts.sum(axis=1, keepdims=True)
    if not total.all():
        raise ValueError(f"no vote among the nine classes in row {int((total == 0).argmax())}")
    return _like(votes, counts / total)


def majority(votes):
    """The emotion with more than half of the votes ("majority voting" of Barsoum et al.).

    As in all three rules that the FER+ authors published, a class with a single vote counts as having none,
    and an image whose answer is unknown or NF is not kept.

    Returns:
        labels: int (N,), index into `EMOTIONS`; -1 where not kept.
        kept: bool (N,).

    Raises:
        ValueError: `votes` is not (N, 10).
    """
    counts = _without_single_votes(votes)
    top = counts.argmax(axis=1)
    kept = (2 * counts.max(axis=1) > counts.sum(axis=1)) & (top < len(EMOTIONS))
    return _like(votes, np.where(kept, top, -1)), _like(votes, kept)


def _counts(votes) -> np.ndarray:
    counts = np.asarray(votes)
    if counts.ndim != 2 or counts.shape[1] != len(CLASSES):
        raise ValueError(f"votes must be (N, {len(CLASSES)}), not {counts.shape}")
    return counts


def _without_single_votes(votes) -> np.ndarray:
    counts = _counts(votes).astype(np.int64)
    return np.where(counts == 1, 0, counts)


def _like(votes, array: np.ndarray):
    return torch.from_numpy(array) if isinstance(votes, Tensor) else array
