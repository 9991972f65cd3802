"""DISFA: 27 people watching a video of four minutes, the intensity of twelve action units coded frame by frame.

Mavadati, Mahoor, Bartlett, Trinh and Cohn, "DISFA: A spontaneous facial action intensity database", IEEE Transactions
on Affective Computing 2013. Under `<data root>/disfa/`:

- `ActionUnit_Labels/<subject>/<subject>_au<unit>.txt`: a line `frame,intensity` for each frame from 1 on, intensities 0
  to 5. 4,845 frames of each subject, of SN010 one less.
- faces, square crops of one size, in either of two places. `faces/LeftVideo<subject>_comp_aligned/` is where OpenFace
  2.x puts the crops of the left camera's video (`CROP`), numbered from 1 as the labels are. `faces/<subject>/0.png`
  (or .jpg, .bmp) holds crops numbered from 0, as JAA-Net and ME-GraphAU do: image i is the frame of label i + 1.

The corpus ships video alone (`Videos_LeftCamera/LeftVideoSN001_comp.avi`), a little longer than its labels. Frames in
which OpenFace found no face have no crop.
"""

import os
import re
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.corpora import images, lines
from uncertain_affect.corpora.base import About, ActionUnits, CorpusError

CODED = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
UNITS = (1, 2, 4, 6, 9, 12, 25, 26)  # those that are common in papers
AU_NAMES = tuple(f"AU{unit}" for unit in UNITS)
OCCURS = 2  # the least intensity at which a unit counts as present
GREATEST = 5
# The subject-exclusive folds used since JAA-Net (Shao et al., 2018), in their order. ME-GraphAU counts them from the
# last: its fold k tests part 4 - k.
FOLDS = (
    "SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016".split(),
    "SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024".split(),
    "SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004".split(),
)
FOLD_OF = {subject: number for number, fold in enumerate(FOLDS, start=1) for subject in fold}
# Frames of each fold, and how many show each of `UNITS`: derived exactly from the class weights and the rates that
# CVI-SZU/ME-GraphAU publishes.
FRAMES = (43_604, 43_605, 43_605)
POSITIVES = (
    (1839, 1125, 5119, 2360, 1218, 4503, 10850, 4902),
    (1469, 879, 6653, 3558, 1287, 6187, 13206, 4123),
    (3198, 3640, 8161, 4409, 2968, 6161, 12191, 2508),
)
LONGEST = 1_000_000  # frames of a video; the real ones have 4,845

CROP = (
    "FeatureExtraction -f Videos_LeftCamera/LeftVideoSN001_comp.avi -out_dir faces -simalign -simsize 256 -nomask "
    "-nobadaligned"
)
GET = "DISFA is licensed by the University of Denver; put its ActionUnit_Labels into disfa of the data root"
GET_FACES = f"Crop the faces with OpenFace 2.x, for each video: `{CROP}` in the folder disfa"

ABOUT = About(
    title="DISFA",
    purpose="UGN's second corpus: eight action units of 27 people, three folds",
    licence="by agreement, for academic research; neither videos nor labels may be passed on",
    how_to_get="the agreement of the University of Denver, mohammadmahoor.com/disfa",
    layout="disfa/ActionUnit_Labels/SN001/SN001_au1.txt and crops in disfa/faces/SN001/0.png, from 0, or as OpenFace "
    f"makes them: {CROP}",
)

_LINE = re.compile(r"([0-9]{1,9})\s*,\s*([0-9]{1,3})")


def load(root: str | os.PathLike, size: int = 256, colour: bool = True, every: int = 1) -> ActionUnits:
    """DISFA's frames, by fold, subject and frame.

    A unit's label is 1 where its intensity is `OCCURS` or more, else 0. `fold` is 1 to 3, in the published order. Of
    the published files these are 130,814 frames less those without a crop.

    Args:
        root: the data root, which holds `disfa/`.
        size: pixels of a face's side.
        colour: faces uint8 (N, 3, size, size) in RGB, else (N, size, size) in grey levels.
        every: only each so-manieth frame of a subject, for a quick look.

    Raises:
        CorpusError: a file of a subject is missing or malformed, the files of a subject differ in length, a subject is
            in no fold, a crop cannot be read, or there is no frame at all.
    """
    if every < 1:
        raise CorpusError(f"every {every}th frame cannot be taken: every is 1 or more")
    folder = Path(root) / "disfa"
    subjects = _subjects(folder)
    files, labels, names = [], [], []
    unseen = passed_over = 0
    for subject in subjects:
        occurs = _labels(folder, subject)
        crops = _crops(folder, subject)
        chosen = range(0, len(occurs), every)
        passed_over += len(occurs) - len(chosen)
        seen = [i for i in chosen if i + 1 in crops]
        unseen += len(chosen) - len(seen)
        files += [crops[i + 1] for i in seen]
        labels.append(occurs[seen])
        names += [subject] * len(seen)
    if not files:
        raise CorpusError("no frame has a face image", path=folder, cure=GET_FACES)
    left_out = {
        "no face image": unseen,
        "subject without labels": len(FOLD_OF) - len(subjects),
        "passed over by every": passed_over,
    }
    return ActionUnits(
        images=images.faces(files, size, colour, GET_FACES, "DISFA"),
        labels=torch.from_numpy(np.concatenate(labels)),
        au_names=AU_NAMES,
        subject=np.array(names),
        fold=torch.tensor([FOLD_OF[name] for name in names]),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def is_available(root: str | os.PathLike) -> bool:
    """Whether there are labels of a subject, and its faces."""
    folder = Path(root) / "disfa"
    places = ("faces/{}", "faces/LeftVideo{}_comp_aligned")
    return any(
        (folder / "ActionUnit_Labels" / subject).is_dir() and any((folder / p.format(subject)).is_dir() for p in places)
        for subject in FOLD_OF
    )


def check(root: str | os.PathLike) -> list[tuple[str, str, str, bool]]:
    """What was published, what is there, and whether they agree: (what, expected, found, ok) for each.

    Subjects, frames and frames with each action unit, by fold; and frames with a face, of which some may lack.

    Raises:
        CorpusError: as :func:`load`.
    """
    folder = Path(root) / "disfa"
    subjects = _subjects(folder)
    frames, positives, faces = np.zeros(3, int), np.zeros((3, len(UNITS)), int), 0
    for subject in subjects:
        occurs = _labels(folder, subject)
        fold = FOLD_OF[subject] - 1
        frames[fold] += len(occurs)
        positives[fold] += occurs.sum(0)
        faces += sum(1 for number in _crops(folder, subject) if 1 <= number <= len(occurs))
    rows = [("subjects", len(FOLD_OF), len(subjects))]
    rows += [(f"frames, fold {k + 1}", FRAMES[k], int(frames[k])) for k in range(3)]
    rows += [
        (f"{name}, fold {k + 1}", POSITIVES[k][i], int(positives[k, i])) for k in range(3) for i, name in
        enumerate(AU_NAMES)
    ]  # fmt: skip
    total = int(frames.sum())
    enough = ("frames with a face", f"{total:,}, or some less", f"{faces:,}", faces >= 0.9 * total > 0)
    return [(what, f"{wanted:,}", f"{here:,}", wanted == here) for what, wanted, here in rows] + [enough]


def parse_labels(content: bytes, path: str | os.PathLike) -> np.ndarray:
    """Intensities int8 (n,), 0 to 5, of frames 1 to n, of one subject's file of one action unit.

    Raises:
        CorpusError: a line is not `frame,intensity`, an intensity is above 5, or a frame is not the one after the frame
            before it.
    """
    rows = lines.split(content, path, GET)
    intensities = np.empty(len(rows), np.int8)
    for number, row in enumerate(rows, start=1):
        match = _LINE.fullmatch(row)
        if match is None:
            raise CorpusError(f"{row[:40]!r} is not frame,intensity", path=path, line=number, cure=GET)
        if int(match[1]) != number:
            reason = f"frame {match[1]} where frame {number} is expected"
            raise CorpusError(reason, path=path, line=number, cure=GET)
        if int(match[2]) > GREATEST:
            reason = f"the intensity {match[2]} is not 0 to {GREATEST}"
            raise CorpusError(reason, path=path, line=number, cure=GET)
        intensities[number - 1] = int(match[2])
    if len(rows) > LONGEST:
        raise CorpusError(f"{len(rows):,} frames are more than a video can have", path=path, cure=GET)
    return intensities


def _subjects(folder: Path) -> list[str]:
    """The subjects whose labels are there, in the order of the folds."""
    place = folder / "ActionUnit_Labels"
    try:
        found = {name for name in os.listdir(place) if re.fullmatch("SN[0-9]{3}", name)}
    except OSError as error:
        reason = f"no folders of labels ({error.strerror})"
        raise CorpusError(reason, path=place, cure=GET) from error
    if strange := sorted(found - FOLD_OF.keys()):
        raise CorpusError(f"{strange[0]} is in none of the three folds", path=place / strange[0], cure=GET)
    if not found:
        raise CorpusError("no folder SN001 and so on", path=place, cure=GET)
    return [subject for subject in FOLD_OF if subject in found]


def _labels(folder: Path, subject: str) -> np.ndarray:
    """Occurrence int8 (n, 8) of `UNITS` in a subject's frames. All twelve files are read: they must agree in length."""
    place = folder / "ActionUnit_Labels" / subject
    of_unit = {}
    for unit in CODED:
        path = place / f"{subject}_au{unit}.txt"
        of_unit[unit] = parse_labels(lines.read(path, GET), path)
    lengths = [len(values) for values in of_unit.values()]
    usual = max(set(lengths), key=lengths.count)
    for unit, values in of_unit.items():
        if len(values) != usual:
            reason = f"{len(values)} frames where the other files of {subject} have {usual}"
            line = min(len(values), usual) + 1
            raise CorpusError(reason, path=place / f"{subject}_au{unit}.txt", line=line, cure=GET)
    return np.stack([of_unit[unit] >= OCCURS for unit in UNITS], axis=1).astype(np.int8)


def _crops(folder: Path, subject: str) -> dict[int, Path]:
    """The faces of a subject by the frame that the labels give them."""
    if aligned := images.numbered(folder / "faces" / f"LeftVideo{subject}_comp_aligned"):
        return aligned
    return {number + 1: path for number, path in images.numbered(folder / "faces" / subject).items()}
