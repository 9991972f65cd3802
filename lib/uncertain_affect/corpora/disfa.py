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

Known from: ME-GraphAU's and JAA-Net's loaders, image lists and class weights (names, lines, crops from 0, folds,
counts); FacialDynamicsHMM (videos longer than labels); OpenFace's documentation (its crops, from 1).
"""

import re
from pathlib import Path

import numpy as np

from uncertain_affect.corpora import images
from uncertain_affect.corpora.action_units import Coding, Recording, assemble, check_rows
from uncertain_affect.corpora.base import ActionUnits, CheckRow, CorpusError, counted
from uncertain_affect.corpora.reading import File, Table, entries

CODED = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
UNITS = (1, 2, 4, 6, 9, 12, 25, 26)  # those that are common in papers
OCCURS = 2  # the least intensity at which a unit counts as present
INTENSITIES = {str(intensity): intensity for intensity in range(6)}
# The subject-exclusive folds used since JAA-Net (Shao et al., 2018), in their order. ME-GraphAU counts them from the
# last: its fold k tests part 4 - k.
FOLDS = (
    "SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016".split(),
    "SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024".split(),
    "SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004".split(),
)
# Frames of each fold, and how many show each of `UNITS`: derived exactly from the class weights and the rates that
# CVI-SZU/ME-GraphAU publishes.
FRAMES = (43_604, 43_605, 43_605)
POSITIVES = (
    (1839, 1125, 5119, 2360, 1218, 4503, 10850, 4902),
    (1469, 879, 6653, 3558, 1287, 6187, 13206, 4123),
    (3198, 3640, 8161, 4409, 2968, 6161, 12191, 2508),
)
CODING = Coding("DISFA", UNITS, FOLDS, FRAMES, POSITIVES)
LONGEST = 1_000_000  # frames of a video; the real ones have 4,845

CROP = (
    "FeatureExtraction -f Videos_LeftCamera/LeftVideoSN001_comp.avi -out_dir faces -simalign -simsize 256 -nomask "
    "-nobadaligned"
)
GET = "DISFA is licensed by the University of Denver; put its ActionUnit_Labels into disfa of the data root"
GET_FACES = f"Crop the faces with OpenFace 2.x, for each video: `{CROP}` in the folder disfa"


def load(root: Path, size: int = 256, colour: bool = True, every: int = 1) -> ActionUnits:
    """DISFA's frames, by fold, subject and frame.

    A unit's label is 1 where its intensity is `OCCURS` or more, else 0. `fold` is 1 to 3, in the published order. Of
    the published files these are 130,814 frames less those without a crop.

    Args:
        root: the data root, which holds `disfa/`.
        size: pixels of a face's side.
        colour: faces uint8 (N, 3, size, size) in RGB, else (N, size, size) in grey levels.
        every: take the first of so many frames of a subject, for a quick look.

    Raises:
        CorpusError: a file of a subject is missing or malformed, the files of a subject differ in length, a subject is
            in no fold, a crop cannot be read, or there is no frame at all.
    """
    folder = root / "disfa"
    recordings = _recordings(folder)
    left_out = {"subject without labels": len(CODING.fold_of) - len(recordings)}
    return assemble(recordings, CODING, folder, left_out, size, colour, every, GET_FACES)


def is_available(root: Path) -> bool:
    """Whether there are labels of a subject, and its faces."""
    folder = root / "disfa"
    places = ("faces/{}", "faces/LeftVideo{}_comp_aligned")
    return any(
        (folder / "ActionUnit_Labels" / subject).is_dir() and any((folder / p.format(subject)).is_dir() for p in places)
        for subject in CODING.fold_of
    )


def check(root: Path) -> list[CheckRow]:
    """Whether the subjects, and the frames of each fold and action unit, are as many as were published.

    Raises:
        CorpusError: as :func:`load`; but faces may lack, and are not decoded.
    """
    recordings = _recordings(root / "disfa")
    return [
        counted("subjects", len(CODING.fold_of), len(recordings)),
        *check_rows(recordings, CODING, share_with_face=0.9),
    ]


def read_labels(path: Path) -> np.ndarray:
    """Intensities int8 (n,), 0 to 5, of frames 1 to n, of one subject's file of one action unit.

    Raises:
        CorpusError: a line is not `frame,intensity`, an intensity is above 5, or a frame is not the one after the frame
            before it.
    """
    file = File(path, GET)
    table = Table(file, ("frame", "intensity"), file.rows(quotes=False))
    frames = table.whole("frame", 0, LONGEST)
    expected = np.arange(1, len(table) + 1)
    table.refuse(frames != expected, lambda row: f"frame {frames[row]} where frame {expected[row]} is expected")
    return table.codes("intensity", INTENSITIES).astype(np.int8)


def _recordings(folder: Path) -> list[Recording]:
    """The subjects whose labels are there, in the order of the folds."""
    place = folder / "ActionUnit_Labels"
    found = {path.name for path in entries(place, GET) if re.fullmatch("SN[0-9]{3}", path.name)}
    if strange := sorted(found - CODING.fold_of.keys()):
        raise CorpusError(f"{strange[0]} is in none of the three folds", path=place / strange[0], cure=GET)
    if not found:
        raise CorpusError("no folder SN001 and so on", path=place, cure=GET)
    recordings = []
    for subject in CODING.fold_of:
        if subject in found:
            labels = _labels(folder, subject)
            faces = _faces(folder, subject, len(labels))
            recordings.append(Recording(subject, labels, [faces.get(frame) for frame in range(1, len(labels) + 1)]))
    return recordings


def _labels(folder: Path, subject: str) -> np.ndarray:
    """Occurrence int8 (n, 8) of `UNITS` in a subject's frames. All twelve files are read: they must agree in length."""
    paths = {unit: folder / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt" for unit in CODED}
    intensities = {unit: read_labels(path) for unit, path in paths.items()}
    lengths = [len(values) for values in intensities.values()]
    usual = max(set(lengths), key=lengths.count)
    for unit, n in zip(CODED, lengths, strict=True):
        if n != usual:
            reason = f"{n} frames where the other files of {subject} have {usual}"
            raise CorpusError(reason, path=paths[unit], line=min(n, usual) + 1, cure=GET)
    return np.stack([intensities[unit] >= OCCURS for unit in UNITS], axis=1).astype(np.int8)


def _faces(folder: Path, subject: str, n_frames: int) -> dict[int, Path]:
    """The faces of a subject by the frame, 1 to `n_frames`, that the labels give them.

    Raises:
        CorpusError: they seem to be numbered from the other end: every label would be that of the frame beside it.
    """
    place = folder / "faces" / f"LeftVideo{subject}_comp_aligned"
    if aligned := images.numbered(place):
        if 0 in aligned:
            cure = f"OpenFace counts from 1; crops that are numbered from 0 belong into faces/{subject}"
            raise CorpusError("there is a crop 0", path=aligned[0], cure=cure)
        return aligned
    crops = images.numbered(folder / "faces" / subject)
    if crops and 0 not in crops and n_frames in crops:
        reason = f"crop {n_frames} of {n_frames} frames and no crop 0: they seem to be numbered from 1, not from 0"
        raise CorpusError(reason, path=crops[n_frames], cure="Number them from 0: `ffmpeg ... -start_number 0 %d.png`")
    return {number + 1: path for number, path in crops.items()}
