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

Known from: ME-GraphAU's and JAA-Net's loaders, image lists and class weights (names, the header 0, the 9, padded
numbers, folds, counts); OpenFace's documentation (its crops). Nothing is demanded of where frames begin and end.
"""

import re
from itertools import product
from pathlib import Path

import numpy as np

from uncertain_affect.corpora import images
from uncertain_affect.corpora.action_units import Coding, Recording, assemble, check_rows
from uncertain_affect.corpora.base import ActionUnits, CheckRow, CorpusError, counted
from uncertain_affect.corpora.reading import File

UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
TASKS = tuple(f"T{number}" for number in range(1, 9))
# The subject-exclusive folds used since JAA-Net (Shao et al., 2018), in their order. ME-GraphAU counts them from the
# last: its fold k tests part 4 - k.
FOLDS = (
    "F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008".split(),
    "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005".split(),
    "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014".split(),
)
# Coded frames of each fold, and how many show each of `UNITS`: derived exactly from the class weights and the rates
# that CVI-SZU/ME-GraphAU publishes.
FRAMES = (50_631, 50_182, 46_034)
POSITIVES = (
    (8322, 8172, 10085, 21055, 29862, 29183, 28277, 20274, 7664, 16080, 8023, 7076),
    (10223, 6568, 9870, 23312, 27651, 27954, 26187, 25762, 10024, 18379, 8657, 7867),
    (12497, 10370, 9800, 23309, 23103, 30133, 28066, 22339, 7181, 15947, 7608, 7286),
)
CODING = Coding("BP4D", UNITS, FOLDS, FRAMES, POSITIVES)
SEQUENCES = len(CODING.fold_of) * len(TASKS)
LABELS = {"0": 0, "1": 1, "9": -1}  # 9: not coded
LAST_FRAME = 1_000_000  # of a sequence; the longest real ones have a few thousand

CROP = "FeatureExtraction -fdir F001/T1 -out_dir faces/F001 -simalign -simsize 256 -nomask -nobadaligned"
GET = "BP4D is licensed by Binghamton University; put its AUCoding folder into bp4d of the data root as it is shipped"
GET_FACES = f"Crop the faces with OpenFace 2.x, for each sequence: `{CROP}` in the folder bp4d"


_LABELS = ("AUCoding/AU_OCC", "AUCoding", "AUCoding/AUCoding", "AUCoding/AUCoding/AU_OCC")
_FILE = re.compile(r"([FM][0-9]{3})_(T[0-9]+)\.csv")


def load(root: Path, size: int = 256, colour: bool = True, every: int = 1) -> ActionUnits:
    """BP4D's coded frames, by fold, subject, task and frame.

    Labels are 1, 0, or −1 where not coded. `fold` is 1 to 3, in the published order. Of the published files these are
    146,847 coded frames less those without a crop.

    Args:
        root: the data root, which holds `bp4d/`.
        size: pixels of a face's side.
        colour: faces uint8 (N, 3, size, size) in RGB, else (N, size, size) in grey levels.
        every: take the first of so many coded frames of a sequence, for a quick look.

    Raises:
        CorpusError: a file is missing or malformed, two frames have one number, a crop cannot be read, the folder
            holds BP4D+ (whose F001 is somebody else), or there is no frame at all.
    """
    folder = root / "bp4d"
    recordings, gaps = _recordings(folder)
    left_out = {
        "frame number between two coded ones in no row": gaps,
        "sequence without a label file": SEQUENCES - len(recordings),
    }
    return assemble(recordings, CODING, folder, left_out, size, colour, every, GET_FACES)


def is_available(root: Path) -> bool:
    """Whether there are label files, and frames or faces of one of their subjects."""
    folder = root / "bp4d"
    try:
        subjects = {subject for subject, _ in _label_files(folder)}
    except CorpusError:
        return False
    return any((folder / place / subject).is_dir() for place in ("faces", ".") for subject in subjects)


def check(root: Path) -> list[CheckRow]:
    """Whether the label files, and the frames of each fold and action unit in them, are as many as were published.

    Raises:
        CorpusError: as :func:`load`; but faces may lack, and are not decoded.
    """
    recordings, gaps = _recordings(root / "bp4d")
    return [
        counted("label files", SEQUENCES, len(recordings)),
        counted("frame numbers missing between coded ones", 0, gaps),
        *check_rows(recordings, CODING, share_with_face=0.95),
    ]


def read_labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames int64 (n,), ascending, and labels int8 (n, 12) of `UNITS`, −1 where not coded, of one sequence's csv.

    Raises:
        CorpusError: the header lacks one of the action units or names one twice, a row has too many or too few cells,
            a label is not 0, 1 or 9, a frame is no number or does not come after the one before.
    """
    file = File(path, GET)
    table = file.table(("0", *map(str, UNITS)), others=True, plain=True)
    if next(iter(table.columns)) != "0":
        raise file.error("the first column is not that of the frames, which has the header 0", 1)
    if not len(table):
        raise file.error("no coded frame", 1)
    frames = table.whole("0", 0, LAST_FRAME)
    table.refuse(
        np.diff(frames, prepend=-1) <= 0, lambda row: f"frame {frames[row]} does not come after the one before"
    )
    return frames, np.stack([table.codes(str(unit), LABELS) for unit in UNITS], axis=1).astype(np.int8)


def _recordings(folder: Path) -> tuple[list[Recording], int]:
    """The coded sequences in the order of the folds, and how many frame numbers lie in gaps between coded frames."""
    recordings, gaps = [], 0
    for (subject, task), path in _label_files(folder).items():
        frames, labels = read_labels(path)
        faces = _faces(folder, subject, task)
        recordings.append(Recording(subject, labels, [faces.get(frame) for frame in frames.tolist()]))
        gaps += int(frames[-1] - frames[0]) + 1 - len(frames)
    return recordings, gaps


def _label_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The label files by subject and task, in the order of the folds."""
    for place in _LABELS:
        found = {m.groups(): path for path in (folder / place).glob("*.csv") if (m := _FILE.fullmatch(path.name))}
        if found:
            break
    else:
        raise CorpusError("no AUCoding/AU_OCC/<subject>_<task>.csv is there", path=folder, cure=GET)
    known = list(product(CODING.fold_of, TASKS))
    if strange := sorted(found.keys() - set(known)):
        reason = f"{' '.join(strange[0])} is none of BP4D's F001 to F023 and M001 to M018, T1 to T8"
        cure = "BP4D+ has the same names for other people: give BP4D a folder of its own"
        raise CorpusError(reason, path=found[strange[0]], cure=cure)
    return {key: found[key] for key in known if key in found}


def _faces(folder: Path, subject: str, task: str) -> dict[int, Path]:
    """The faces of a sequence by frame."""
    frames = images.numbered(folder / subject / task)
    if crops := images.numbered(folder / "faces" / subject / task):
        if frames and (alone := sorted(crops.keys() - frames.keys())):
            cure = f"A crop has the number of its frame in {folder / subject / task}"
            raise CorpusError(f"a crop of frame {alone[0]}, which is not there", path=crops[alone[0]], cure=cure)
        return crops
    if aligned := images.numbered(folder / "faces" / subject / f"{task}_aligned"):
        # OpenFace counts the files of the folder in the order of their names
        in_order = sorted(frames, key=lambda number: frames[number].name)
        if max(aligned) > len(in_order):
            reason = f"crop {max(aligned)} of a sequence of which {len(in_order)} frames are there"
            cure = f"The frames that OpenFace cropped must stay in {folder / subject / task}"
            raise CorpusError(reason, path=aligned[max(aligned)], cure=cure)
        return {in_order[place - 1]: crop for place, crop in aligned.items() if place >= 1}
    return frames
