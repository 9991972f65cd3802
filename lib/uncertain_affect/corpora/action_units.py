"""What BP4D and DISFA share: people recorded on video, their action units coded frame by frame, in three folds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.corpora import images
from uncertain_affect.corpora.base import ActionUnits, CheckRow, CorpusError, counted


@dataclass(frozen=True)
class Coding:
    """What was published of a corpus.

    Attributes:
        title: of the corpus.
        units: the numbers of the action units.
        folds: the people of each fold.
        frames: how many coded frames each fold has.
        positives: how many of them show each of the units.
    """

    title: str
    units: tuple[int, ...]
    folds: tuple[Sequence[str], ...]
    frames: tuple[int, ...]
    positives: tuple[tuple[int, ...], ...]

    @property
    def au_names(self) -> tuple[str, ...]:
        return tuple(f"AU{unit}" for unit in self.units)

    @property
    def fold_of(self) -> dict[str, int]:
        """The fold of each person, from 1, in the order of the folds."""
        return {subject: number for number, fold in enumerate(self.folds, start=1) for subject in fold}


@dataclass(frozen=True)
class Recording:
    """The n coded frames of a recording.

    Attributes:
        subject: the person.
        labels: int8 (n, units); 1, 0, or −1 where not coded.
        faces: the image of the face in each frame; None where there is none.
    """

    subject: str
    labels: np.ndarray
    faces: Sequence[Path | None]


def assemble(
    recordings: Iterable[Recording],
    coding: Coding,
    folder: Path,
    left_out: Mapping[str, int],
    size: int,
    colour: bool,
    every: int,
    cure: str,
) -> ActionUnits:
    """The frames that have a face, in the order of the recordings.

    Args:
        recordings: those that are there.
        coding: of the corpus.
        folder: of the corpus.
        left_out: what is left out besides frames; counts of 0 are dropped.
        size, colour: of the faces, as for `images.faces`.
        every: take the first frame of each recording and every so many frames after it.
        cure: where to get faces.

    Raises:
        CorpusError: `every` is not positive, no frame has a face, or as `images.faces`.
    """
    if every < 1:
        raise CorpusError(f"every is {every}", cure="every is 1 or more")
    files, labels, subjects = [], [], []
    without_face = passed_over = 0
    for recording in recordings:
        chosen = range(0, len(recording.faces), every)
        seen = [frame for frame in chosen if recording.faces[frame]]
        passed_over += len(recording.faces) - len(chosen)
        without_face += len(chosen) - len(seen)
        files += [recording.faces[frame] for frame in seen]
        labels.append(recording.labels[seen])
        subjects += [recording.subject] * len(seen)
    if not files:
        raise CorpusError("no coded frame has a face image", path=folder, cure=cure)
    counts = {"no face image": without_face, **left_out, "passed over by every": passed_over}
    fold_of = coding.fold_of
    return ActionUnits(
        images=images.faces(files, size, colour, cure, coding.title),
        labels=torch.from_numpy(np.concatenate(labels)),
        au_names=coding.au_names,
        subject=np.array(subjects),
        fold=torch.tensor([fold_of[subject] for subject in subjects]),
        left_out={reason: count for reason, count in counts.items() if count},
    )


def check_rows(recordings: Sequence[Recording], coding: Coding, share_with_face: float) -> list[CheckRow]:
    """Coded frames, and those that show each action unit, by fold; and how many frames have a face.

    Args:
        recordings: those that are there.
        coding: of the corpus.
        share_with_face: of the frames, at least.
    """
    rows, published = [], zip(coding.folds, coding.frames, coding.positives, strict=True)
    for fold, (subjects, n_frames, positives) in enumerate(published, start=1):
        labels = [recording.labels for recording in recordings if recording.subject in subjects]
        labels = np.concatenate([np.empty((0, len(positives))), *labels])
        rows.append(counted(f"coded frames, fold {fold}", n_frames, len(labels)))
        for name, *counts in zip(coding.au_names, positives, (labels == 1).sum(axis=0), strict=True):
            rows.append(counted(f"{name}, fold {fold}", *counts))
    total = sum(len(recording.faces) for recording in recordings)
    faces = sum(face is not None for recording in recordings for face in recording.faces)
    few = ("coded frames with a face", f"{total:,}, or a few less", f"{faces:,}", faces >= share_with_face * total > 0)
    return [*rows, few]
