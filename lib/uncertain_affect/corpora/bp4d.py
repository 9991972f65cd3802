"""BP4D-Spontaneous: 41 people in eight tasks, the action units of about 20 s of each coded frame by frame.

Zhang, Yin, Cohn, Canavan, Reale, Horowitz, Liu and Girard, "BP4D-Spontaneous: a high-resolution spontaneous 3D dynamic
facial expression database", Image and Vision Computing 2014. Under `<data root>/bp4d/`:

- `AUCoding/AU_OCC/<subject>_<task>.csv`, or in older copies the same files in `AUCoding/` or `AUCoding/AUCoding/`: 328
  files, F001 to F023 and M001 to M018, T1 to T8. The first column is the frame, under the header `0`; the others are
  action units by number, 0 or 1, 9 where not coded. Intensities (`AU_INT/`) are not read.
- faces, square crops of one size, by frame, in `faces/<subject>/<task>/<frame>.jpg` (or .png, .bmp), in
  `faces/<subject>/<task>_aligned/`, where OpenFace puts them, or in `<subject>/<task>/`, if the frames there are crops.
  A frame's number is a number: `732.jpg` and `0732.jpg` are the same.

The corpus ships whole frames, `<subject>/<task>/<frame>.jpg`. OpenFace 2.x crops the faces of a sequence (`CROP`) and
numbers its crops by their place in the folder, from 1, so the frames themselves must stay where they are.

Coded frames begin anywhere in a sequence, and a few have no image.
"""

import os
import re
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.corpora import images, lines
from uncertain_affect.corpora.base import About, ActionUnits, CorpusError

UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
AU_NAMES = tuple(f"AU{unit}" for unit in UNITS)
TASKS = tuple(f"T{number}" for number in range(1, 9))
# The subject-exclusive folds used since JAA-Net (Shao et al., 2018), in their order. ME-GraphAU counts them from the
# last: its fold k tests part 4 - k.
FOLDS = (
    "F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008".split(),
    "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005".split(),
    "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014".split(),
)
FOLD_OF = {subject: number for number, fold in enumerate(FOLDS, start=1) for subject in fold}
# Coded frames of each fold, and how many show each of `UNITS`: derived exactly from the class weights and the rates
# that CVI-SZU/ME-GraphAU publishes.
FRAMES = (50_631, 50_182, 46_034)
POSITIVES = (
    (8322, 8172, 10085, 21055, 29862, 29183, 28277, 20274, 7664, 16080, 8023, 7076),
    (10223, 6568, 9870, 23312, 27651, 27954, 26187, 25762, 10024, 18379, 8657, 7867),
    (12497, 10370, 9800, 23309, 23103, 30133, 28066, 22339, 7181, 15947, 7608, 7286),
)
SEQUENCES = len(FOLD_OF) * len(TASKS)
UNKNOWN = 9
LAST_FRAME = 1_000_000  # of a sequence; the longest real ones have a few thousand

CROP = "FeatureExtraction -fdir F001/T1 -out_dir faces/F001 -simalign -simsize 256 -nomask -nobadaligned"
GET = "BP4D is licensed by Binghamton University; put its AUCoding folder into bp4d of the data root as it is shipped"
GET_FACES = f"Crop the faces with OpenFace 2.x, for each sequence: `{CROP}` in the folder bp4d"

ABOUT = About(
    title="BP4D-Spontaneous",
    purpose="UGN's first corpus: twelve action units of 41 people in eight tasks, three folds",
    licence="by agreement, for academic research; neither images nor labels may be passed on",
    how_to_get="the agreement of Binghamton University, www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    layout="bp4d/AUCoding/AU_OCC/F001_T1.csv, bp4d/F001/T1/2440.jpg and crops in bp4d/faces/F001/T1/2440.jpg or "
    f"as OpenFace makes them: {CROP}",
)

_LABELS = ("AUCoding/AU_OCC", "AUCoding", "AUCoding/AUCoding", "AUCoding/AUCoding/AU_OCC")
_FILE = re.compile(r"([FM][0-9]{3})_(T[0-9]+)\.csv")


def load(root: str | os.PathLike, size: int = 256, colour: bool = True, every: int = 1) -> ActionUnits:
    """BP4D's coded frames, by fold, subject, task and frame.

    Labels are 1, 0, or −1 where not coded. `fold` is 1 to 3, in the published order. Of the published files these are
    146,847 coded frames less those without a crop.

    Args:
        root: the data root, which holds `bp4d/`.
        size: pixels of a face's side.
        colour: faces uint8 (N, 3, size, size) in RGB, else (N, size, size) in grey levels.
        every: only each so-manieth coded frame of a sequence, for a quick look.

    Raises:
        CorpusError: a file is missing or malformed, two frames have one number, a crop cannot be read, the folder
            holds BP4D+ (whose F001 is somebody else), or there is no frame at all.
    """
    if every < 1:
        raise CorpusError(f"every {every}th frame cannot be taken: every is 1 or more")
    folder = Path(root) / "bp4d"
    found = _label_files(folder)
    files, labels, subjects, folds = [], [], [], []
    unseen = gaps = passed_over = 0
    for (subject, task), path in found.items():
        frames, coded = parse_labels(lines.read(path, GET), path)
        gaps += int(frames[-1] - frames[0]) + 1 - len(frames)
        crops = _crops(folder, subject, task)
        chosen = range(0, len(frames), every)
        passed_over += len(frames) - len(chosen)
        seen = [i for i in chosen if int(frames[i]) in crops]
        unseen += len(chosen) - len(seen)
        files += [crops[int(frames[i])] for i in seen]
        labels.append(coded[seen])
        subjects += [subject] * len(seen)
        folds += [FOLD_OF[subject]] * len(seen)
    if not files:
        raise CorpusError("no coded frame has a face image", path=folder, cure=GET_FACES)
    left_out = {
        "no face image": unseen,
        "frame number between two coded ones in no row": gaps,
        "sequence without a label file": SEQUENCES - len(found),
        "passed over by every": passed_over,
    }
    return ActionUnits(
        images=images.faces(files, size, colour, GET_FACES, "BP4D"),
        labels=torch.from_numpy(np.concatenate(labels)),
        au_names=AU_NAMES,
        subject=np.array(subjects),
        fold=torch.tensor(folds),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def is_available(root: str | os.PathLike) -> bool:
    """Whether there are label files, and frames or faces of one of their subjects."""
    folder = Path(root) / "bp4d"
    try:
        subjects = {subject for subject, _ in _label_files(folder)}
    except CorpusError:
        return False
    return any((folder / place / subject).is_dir() for place in ("faces", ".") for subject in subjects)


def check(root: str | os.PathLike) -> list[tuple[str, str, str, bool]]:
    """What was published, what is there, and whether they agree: (what, expected, found, ok) for each.

    Label files, coded frames and frames with each action unit, by fold; and coded frames with a face, of which a few
    may lack.

    Raises:
        CorpusError: as :func:`load`.
    """
    folder = Path(root) / "bp4d"
    found = _label_files(folder)
    frames, positives, gaps, faces = np.zeros(3, int), np.zeros((3, len(UNITS)), int), 0, 0
    for (subject, task), path in found.items():
        numbers, coded = parse_labels(lines.read(path, GET), path)
        fold = FOLD_OF[subject] - 1
        frames[fold] += len(numbers)
        positives[fold] += (coded == 1).sum(0)
        gaps += int(numbers[-1] - numbers[0]) + 1 - len(numbers)
        faces += len(_crops(folder, subject, task).keys() & set(numbers.tolist()))
    rows = [("label files", SEQUENCES, len(found))]
    rows += [(f"coded frames, fold {k + 1}", FRAMES[k], int(frames[k])) for k in range(3)]
    rows += [
        (f"{name}, fold {k + 1}", POSITIVES[k][i], int(positives[k, i])) for k in range(3) for i, name in
        enumerate(AU_NAMES)
    ]  # fmt: skip
    rows += [("frame numbers missing between coded ones", 0, gaps)]
    total = int(frames.sum())
    enough = ("coded frames with a face", f"{total:,}, or a few less", f"{faces:,}", faces >= 0.95 * total > 0)
    return [(what, f"{wanted:,}", f"{here:,}", wanted == here) for what, wanted, here in rows] + [enough]


def parse_labels(content: bytes, path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Frames int64 (n,), ascending, and labels int8 (n, 12) of `UNITS`, −1 where not coded, of one sequence's csv.

    Raises:
        CorpusError: the header lacks one of the action units or names one twice, a row has too many or too few cells,
            a label is not 0, 1 or 9, a frame is no number or does not come after the one before.
    """

    def wrong(reason: str, line: int) -> CorpusError:
        return CorpusError(reason, path=path, line=line, cure=GET)

    header, *rows = lines.split(content, path, GET)
    names = [cell.strip().strip('"') for cell in header.split(",")]
    if names[0] != "0":
        raise wrong(f"the first column is {names[0][:20]!r}, not the frames, which have the header 0", 1)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise wrong(f"the column {twice[0][:20]!r} is there twice", 1)
    if missing := [unit for unit in UNITS if str(unit) not in names]:
        raise wrong(f"there is no column for action unit {missing[0]}", 1)
    column = [names.index(str(unit)) for unit in UNITS]
    value = {"0": 0, "1": 1, str(UNKNOWN): -1}
    frames, labels = np.empty(len(rows), np.int64), np.empty((len(rows), len(UNITS)), np.int8)
    before = -1
    for i, row in enumerate(rows):
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) != len(names):
            raise wrong(f"{len(cells)} cells where the header has {len(names)}", i + 2)
        if not re.fullmatch("[0-9]{1,9}", cells[0]) or int(cells[0]) > LAST_FRAME:
            raise wrong(f"the frame {cells[0][:20]!r} is no whole number up to {LAST_FRAME}", i + 2)
        frames[i] = int(cells[0])
        if frames[i] <= before:
            raise wrong(f"frame {frames[i]} does not come after frame {before}", i + 2)
        before = frames[i]
        try:
            labels[i] = [value[cells[j]] for j in column]
        except KeyError as error:
            raise wrong(f"the label {error.args[0][:20]!r} is not 0, 1 or {UNKNOWN} (unknown)", i + 2) from None
    if not rows:
        raise wrong("no coded frame", 1)
    return frames, labels


def _label_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The label files by subject and task, in the order of the folds."""
    for place in _LABELS:
        try:
            names = os.listdir(folder / place)
        except OSError:
            continue
        found = {match.groups(): folder / place / match[0] for name in names if (match := _FILE.fullmatch(name))}
        if found:
            break
    else:
        raise CorpusError("no AUCoding/AU_OCC/<subject>_<task>.csv is there", path=folder, cure=GET)
    for (subject, task), path in sorted(found.items()):
        if subject not in FOLD_OF or task not in TASKS:
            reason = f"{subject} {task} is none of BP4D's F001 to F023 and M001 to M018, T1 to T8"
            cure = "BP4D+ has the same names for other people: give BP4D a folder of its own"
            raise CorpusError(reason, path=path, cure=cure)
    order = {subject: i for i, subject in enumerate(FOLD_OF)}
    return {key: found[key] for key in sorted(found, key=lambda key: (order[key[0]], key[1]))}


def _crops(folder: Path, subject: str, task: str) -> dict[int, Path]:
    """The faces of a sequence by frame."""
    if crops := images.numbered(folder / "faces" / subject / task):
        return crops
    frames = images.numbered(folder / subject / task)
    if aligned := images.numbered(folder / "faces" / subject / f"{task}_aligned"):
        # OpenFace counts the files of the folder in the order of their names
        in_order = sorted(frames, key=lambda number: frames[number].name)
        if max(aligned) > len(in_order):
            reason = f"crop {max(aligned)} of a sequence of which {len(in_order)} frames are there"
            cure = f"The frames that OpenFace cropped must stay in {folder / subject / task}"
            raise CorpusError(reason, path=aligned[max(aligned)], cure=cure)
        return {in_order[place - 1]: crop for place, crop in aligned.items() if place >= 1}
    return frames
