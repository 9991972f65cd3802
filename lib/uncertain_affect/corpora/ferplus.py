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

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.corpora import images
from uncertain_affect.corpora.base import CheckRow, CorpusError, Expressions, counted
from uncertain_affect.corpora.reading import File, Table, entries

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
COUNTS = {str(count): count for count in range(11)}  # ten annotators
MAX_BYTES = 2**30  # of Kaggle's csv, which has 300 MB

GET_LABELS = "Fetch the published file with `uncertain-affect data get ferplus`"
GET_IMAGES = (
    "FER2013 may not be redistributed: accept its terms on Kaggle (competition "
    "challenges-in-representation-learning-facial-expression-recognition-challenge), then put its "
    "fer2013.csv or icml_face_data.csv into the folder ferplus of the data root, or the PNGs that the FER+ "
    "authors' generate_training_data.py makes of it into ferplus/data/FER2013{Train,Valid,Test}"
)
PUBLISHED = {"train": 28559, "val": 3573, "test": 3579}  # images kept
MAJORITY = {"train": 25060, "val": 3153, "test": 3199}  # of them with a majority, by the FER+ authors' own code


# --- reading ----------------------------------------------------------------------------------------------


def load(root: Path) -> Expressions:
    """FER+ with the UncNet paper's images: every named row with a vote among the nine classes other than NF.

    Of the published files these are 28,559 train, 3,573 val and 3,579 test images, uint8 (48, 48), with votes
    (10,) in the order of `CLASSES`. Images with identical pixels share a group, across splits too. The first
    call decodes the images, which takes some seconds; later ones read them from the cache.

    Args:
        root: the data root, which holds `ferplus/`.

    Raises:
        CorpusError: a file is missing, truncated or malformed, or a split is empty.
    """
    folder = root / "ferplus"
    labels = read_labels(folder / LABELS)
    kept, unnamed = labels.kept, labels.names == ""
    left_out = {"no image name": int(unnamed.sum()), "no vote in the nine classes": int((~unnamed & ~kept).sum())}
    if _has_pngs(folder):
        pixels = _images_from_folders(folder, labels)
    elif (csv_file := _kaggle_csv(folder)) is not None:
        pixels, trailing = _images_from_csv(csv_file, labels)
        if trailing:
            left_out["no image, after the last line of votes"] = trailing
    else:
        raise File(folder, GET_IMAGES).error("neither data/FER2013*/*.png nor fer2013.csv is there")
    return Expressions(
        images=torch.from_numpy(pixels),
        votes=torch.from_numpy(labels.votes[kept]),
        split=np.array([SPLIT[usage] for usage in labels.usage[kept]]),
        names=labels.names[kept],
        groups=torch.tensor(_groups(pixels)),
        classes=CLASSES,
        left_out=left_out,
    )


def is_available(root: Path) -> bool:
    """Whether the votes, and the images in either layout, are there."""
    folder = root / "ferplus"
    return (folder / LABELS).is_file() and (_has_pngs(folder) or _kaggle_csv(folder) is not None)


def check(root: Path) -> list[CheckRow]:
    """Images of each split, those with a majority, duplicates and whether their votes agree, and what is left out.

    Raises:
        CorpusError: as `load`.
    """
    corpus = load(root)
    _, kept = majority(corpus.votes)
    rows = []
    for split, expected in PUBLISHED.items():
        here = torch.from_numpy(corpus.split == split)
        rows.append(counted(f"images of {split}", expected, int(here.sum())))
        rows.append(counted(f"with a majority, {split}", MAJORITY[split], int(kept[here].sum())))
    again = int(corpus.duplicates_of_training().sum())
    rows.append(("kept: identical to a training image", "567", f"{again:,}", True))
    # where images and votes are not in one order, the votes of identical images differ
    votes, groups = corpus.votes.numpy(), corpus.groups.numpy()
    _, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    differ = len(np.unique(groups[(votes != votes[first[groups]]).any(axis=1)]))
    several = f"{differ} of {(sizes > 1).sum():,}"
    rows.append(("groups of identical images whose votes differ", "0 of 1,516", several, not differ))
    return rows + corpus.left_out_rows()


@dataclass(frozen=True)
class Labels:
    """The n rows of `fer2013new.csv`: usage and names str (n,), votes int (n, 10), and which the UncNet paper keeps."""

    table: Table
    usage: np.ndarray
    names: np.ndarray
    votes: np.ndarray
    kept: np.ndarray


def read_labels(path: Path) -> Labels:
    """The votes.

    Raises:
        CorpusError: it is malformed: a usage is unknown, a count of votes is no number, a row has more than ten votes,
            or a split has no image.
    """
    table = File(path, GET_LABELS).table(LABELS_HEADER)
    usage, names = (table.text(name) for name in ("Usage", "Image name"))
    table.refuse(~np.isin(usage, list(SPLIT)), lambda row: f"Usage {usage[row]} is none of {', '.join(SPLIT)}")
    votes = np.stack([table.codes(name, COUNTS) for name in CLASSES], axis=1)
    table.refuse(votes.sum(axis=1) > 10, lambda row: f"{votes[row].sum()} votes of ten annotators")
    kept = (names != "") & (votes[:, :-1].sum(axis=1) > 0)
    for split in SPLIT:
        if not (usage[kept] == split).any():
            raise table.file.error(f"no image of {split}")
    return Labels(table, usage, names, votes, kept)


def _images_from_folders(folder: Path, labels: Labels) -> np.ndarray:
    """The images uint8 (N, 48, 48) of the rows kept, from the FER+ authors' folders."""
    table, kept = labels.table, labels.kept
    pairs = zip(labels.usage, labels.names, strict=True)
    file_of = np.array([f"data/{FOLDER[usage]}/{name}" for usage, name in pairs])
    files, first, row_to_file = np.unique(file_of[kept], return_index=True, return_inverse=True)
    first_row = np.arange(len(kept))
    first_row[kept] = np.flatnonzero(kept)[first][row_to_file]  # of those that name the same file
    table.refuse(
        (labels.votes != labels.votes[first_row]).any(axis=1),
        lambda row: f"votes for {labels.names[row]} that are not those of line {table.lines[first_row[row]]}",
    )
    found = _pngs(folder)
    missing = kept & ~np.isin(file_of, list(found))
    table.refuse(missing, lambda row: f"there is no {file_of[row]} ({missing.sum()} missing)", GET_IMAGES)
    if without_votes := sorted(found.keys() - set(file_of.tolist())):
        raise table.file.error(f"no line for {without_votes[0]} ({len(without_votes)} images without votes)")

    def decode() -> dict[str, np.ndarray]:
        lines = np.array(table.lines)[kept][first]
        progress = tqdm(zip(files, lines, strict=True), "FER+ images", len(files), unit="image", disable=None)
        return {"images": np.stack([read_png(folder / file, line) for file, line in progress])[row_to_file]}

    key = content_key(RECIPE, images.RECIPE, "folders", file_of[kept], np.array([found[file] for file in files]))
    return cached_arrays(key, decode, kind="ferplus-images")["images"]


def _has_pngs(folder: Path) -> bool:
    # A clone of the FER+ repository has the folders, but no image in them.
    return any(next((folder / "data" / name).glob("[!.]*.png"), None) for name in FOLDER.values())


def _pngs(folder: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of change in ns of each image, by its path in `folder`."""
    found = {}
    for name in FOLDER.values():
        for path in entries(folder / "data" / name, GET_IMAGES):
            if path.suffix == ".png":
                state = path.stat()
                found[f"data/{name}/{path.name}"] = (state.st_size, state.st_mtime_ns)
    return found


def read_png(path: Path, line: int) -> np.ndarray:
    """The image uint8 (48, 48) in the file that this line of votes names."""
    cure = f"Line {line} of {LABELS} names it: make it anew. {GET_IMAGES}"
    with images.opened(path, cure, ("PNG",)) as image:
        image.verify()  # every chunk, to the end of the file: decoding alone checks no sums
    with images.opened(path, cure, ("PNG",)) as image:
        mode, size, pixels = image.mode, image.size, np.asarray(image)
    if mode != "L" or size != (SIZE, SIZE):
        reason = f"{size[0]} x {size[1]} pixels of mode {mode}, not 48 x 48 of mode L (8-bit grey)"
        raise CorpusError(reason, path=path, cure=cure)
    return pixels


def _images_from_csv(path: Path, labels: Labels) -> tuple[np.ndarray, int]:
    """The images uint8 (N, 48, 48) of the rows kept, from Kaggle's csv, and how many rows follow the last."""
    state = [path.name, path.stat().st_size, path.stat().st_mtime_ns]
    key = content_key(RECIPE, "csv", labels.usage, labels.kept, state)
    cached = cached_arrays(key, lambda: read_images(path, labels), kind="ferplus-images")
    return cached["images"], int(cached["trailing"])


def read_images(path: Path, labels: Labels) -> dict[str, np.ndarray]:
    """The `images` of the rows kept, uint8 (N, 48, 48), in Kaggle's csv, and how many rows are `trailing` after all.

    Raises:
        CorpusError: it is malformed, or its rows are not those of the votes.
    """
    file = File(path, GET_IMAGES, MAX_BYTES)
    rows = file.rows()
    _, header = next(rows)
    file.check_header(header, IMAGES_HEADER)
    levels, done, trailing, line = np.empty((len(labels.usage), SIZE * SIZE), np.uint8), 0, 0, 1
    for line, row in tqdm(rows, "FER+ images", len(levels), unit="image", disable=None):
        if not row:
            continue
        image = _parse_image(row, header)
        if isinstance(image, str):
            if done < len(levels):
                raise file.error(image, line)
            trailing += 1  # some Kaggle copies end in rows that are no image
            continue
        usage, pixels = image
        if done == len(levels):
            raise file.error(f"an image more than {LABELS} has lines of votes ({done})", line, GET_LABELS)
        if usage != labels.usage[done]:
            reason = f"Usage is {usage}, but {labels.usage[done]} in line {labels.table.lines[done]} of {LABELS}"
            raise file.error(reason, line, f"Both files must be in their published order. {GET_IMAGES}")
        levels[done] = pixels
        done += 1
    if done < len(levels):
        raise file.error(f"{done} images where {LABELS} has {len(levels)} lines of votes", line)
    return {"images": levels.reshape(-1, SIZE, SIZE)[labels.kept], "trailing": np.array(trailing)}


def _kaggle_csv(folder: Path) -> Path | None:
    return next((folder / name for name in IMAGES if (folder / name).is_file()), None)


def _parse_image(row: list[str], header: list[str]) -> tuple[str, list[int]] | str:
    """Usage and the 2,304 grey levels, row by row; or why the row is no image."""
    if len(row) != len(header):
        return f"{len(row)} columns where {len(header)} are expected"
    usage, levels = row[header.index("Usage")], row[header.index("pixels")].split()
    if usage not in SPLIT:
        return f"Usage {usage} is none of {', '.join(SPLIT)}"
    if len(levels) != SIZE * SIZE:
        return f"{len(levels)} pixels where {SIZE * SIZE} are expected"
    try:
        return usage, [GREY[level] for level in levels]
    except KeyError as error:
        return f"the pixel {error} is no whole number from 0 to 255"


def _groups(images: np.ndarray) -> list[int]:
    """A number for each image, the same for identical images, in the order of their first appearance."""
    number = {}
    return [number.setdefault(image.tobytes(), len(number)) for image in images]


# --- label rules ------------------------------------------------------------------------------------------


def proportions(votes: Tensor) -> Tensor:
    """The UncNet paper's target: the shares (N, 9) of the votes (N, 10) that are not for NF; no vote is removed.

    >>> proportions(torch.tensor([[3, 1, 0, 0, 0, 0, 0, 0, 0, 6]]))[0, :2]
    tensor([0.7500, 0.2500], dtype=torch.float64)

    Raises:
        ValueError: a row has no vote among the nine classes.
    """
    counts = votes[:, :-1].double()
    total = counts.sum(dim=1, keepdim=True)
    if not total.all():
        raise ValueError(f"no vote among the nine classes in row {int((total == 0).int().argmax())}")
    return counts / total


def majority(votes: Tensor) -> tuple[Tensor, Tensor]:
    """The emotion with more than half of the votes (N, 10) ("majority voting" of Barsoum et al.).

    As in all three rules that the FER+ authors published, a class with a single vote counts as having none,
    and an image whose answer is unknown or NF is not kept.

    Returns:
        labels: int (N,), index into `EMOTIONS`; -1 where not kept.
        kept: bool (N,).

    >>> majority(torch.tensor([[1, 5, 4, 0, 0, 0, 0, 0, 0, 0], [0, 5, 5, 0, 0, 0, 0, 0, 0, 0]]))
    (tensor([ 1, -1]), tensor([ True, False]))
    """
    counts = torch.where(votes == 1, 0, votes).long()
    top = counts.argmax(dim=1)
    kept = (2 * counts.amax(dim=1) > counts.sum(dim=1)) & (top < len(EMOTIONS))
    return torch.where(kept, top, -1), kept
