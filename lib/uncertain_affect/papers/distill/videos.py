"""Corpora as videos: which frames train, tune and test each task, and clips of them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uncertain_affect import corpora, losses
from uncertain_affect.corpora import affwild2, ferplus
from uncertain_affect.corpora.base import AffectVideos, Expressions
from uncertain_affect.models.distill import N_BINS
from uncertain_affect.papers.distill.profiles import DistillSettings
from uncertain_affect.training.fit import generators

# Tasks, and what a corpus calls their subsets.
SUBSETS = {"AU": "au", "EXPR": "expression", "VA": "va"}
EXPRESSIONS = affwild2.EXPRESSIONS
# How Aff-Wild2 is read: every fourth frame, as the simulated videos have; in quick small, grey, and 13 s of each video.
READING = {"quick": {"size": 64, "colour": False, "every": 4, "longest": 96}, "full": {"size": 112, "every": 4}}


def load(name: str, profile: str, seed: int = 0, root: str | os.PathLike | None = None) -> AffectVideos:
    """A corpus of videos; FER+'s images are videos of one frame, with an expression each and nothing else.

    Aff-Wild2 is read with the options of ``READING``; it has no sound.

    Args:
        name: ``"simulated"`` is its affwild2 view.
        profile, seed: size and seed of the simulated world.
        root: the data root.

    Raises:
        CorpusError: as :func:`corpora.load`.
    """
    if name == "simulated":
        return corpora.load(name, view="affwild2", size=profile, seed=seed)
    loaded = corpora.load(name, root, **(READING[profile] if name == "affwild2" else {}))
    return images_as_videos(loaded) if isinstance(loaded, Expressions) else loaded


def images_as_videos(corpus: Expressions) -> AffectVideos:
    """Images with the label that more than half of the annotators give; `truth` holds back the votes (N, 8).

    Images with one identity of pixels share a video; those without a majority have no label, and no vote for an
    emotion no place. Subsets are "expression train", "expression tune" and "expression val" (the test images).
    """
    label, _ = ferplus.majority(corpus.votes)
    n, splits = len(corpus), {"train": "train", "tune": "val", "val": "test"}
    return AffectVideos(
        frames=corpus.images,
        audio=torch.zeros(n, 0),
        au=torch.zeros(n, 0, dtype=torch.int8),
        expression=label,
        valence_arousal=torch.full((n, 2), -5.0),
        video=corpus.groups.numpy().astype(str),
        time=torch.zeros(n),
        subsets={f"expression {ours}": torch.from_numpy(corpus.split == theirs) for ours, theirs in splits.items()},
        left_out=corpus.left_out,
        truth={"votes": corpus.votes[:, : len(ferplus.EMOTIONS)].float()},
    )


@dataclass(frozen=True, eq=False)
class Videos:
    """Which frames train, tune and test each task, and their labels; tasks that a corpus lacks are absent.

    Attributes:
        labels: by task: AU int (N, A), EXPR int (N,), VA float (N, 2).
        names: of the action units and of the expressions.
        train, tune, test: bool (N,) by task, frames with labels.
        clips: int (n, T) by task, rows of frames of one video in order of time that train it.
        union: int (m, T), clips of all frames of training videos, labelled or not: what students train on.
        sequences: rows of each video, in order of time.
        video: str (N,).
        weights: p_c of AU and EXPR over the training frames.
    """

    labels: dict[str, Tensor]
    names: dict[str, tuple[str, ...]]
    train: dict[str, Tensor]
    tune: dict[str, Tensor]
    test: dict[str, Tensor]
    clips: dict[str, Tensor]
    union: Tensor
    sequences: list[Tensor]
    video: np.ndarray
    weights: dict[str, Tensor]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.labels)

    @property
    def outputs(self) -> dict[str, int]:
        """Outputs of the heads by task."""
        return {task: 2 * N_BINS if task == "VA" else len(self.names[task]) for task in self.tasks}

    def rows(self, part: str) -> Tensor:
        """Rows (n,) of the frames that ``"train"``, ``"tune"`` or ``"test"`` any task, ascending."""
        return _any(getattr(self, part)).nonzero().squeeze(1)


def split_videos(corpus: AffectVideos, settings: DistillSettings) -> Videos:
    """Frames for training, tuning and testing.

    A frame has a task's label if none of its parts is missing. Frames tune whose subset is "<task> tune", or else
    those of a share of the training videos that is drawn from the first seed, and that no task trains on. A video
    without labels for a task gives it no clip, and neither do fewer labelled frames than fill one.

    Args:
        corpus: with subsets "<task> train" and "<task> val" for each task it has, of `SUBSETS`.
        settings: of the run.

    Raises:
        ValueError: no task, a subset in which every label is missing, or too few labels for a clip.
    """
    labels = {"AU": corpus.au, "EXPR": corpus.expression, "VA": corpus.valence_arousal}
    known = {"AU": (corpus.au >= 0).all(1), "EXPR": corpus.expression >= 0, "VA": (labels["VA"] >= -1).all(1)}
    tasks = [task for task, name in SUBSETS.items() if f"{name} train" in corpus.subsets]
    if not tasks:
        raise ValueError(f'no task: expected subsets such as "au train", the corpus has {", ".join(corpus.subsets)}')

    def labelled(part: str) -> dict[str, Tensor]:
        return {task: corpus.subsets[f"{SUBSETS[task]} {part}"] & known[task] for task in tasks}

    train, test = labelled("train"), labelled("val")
    training_videos = _any({task: corpus.subsets[f"{SUBSETS[task]} train"] for task in tasks})
    if all(f"{SUBSETS[task]} tune" in corpus.subsets for task in tasks):
        tune = labelled("tune")
    else:
        held_out = _held_out(corpus.video, training_videos, train, settings)
        tune = {task: mask & held_out for task, mask in train.items()}
        train = {task: mask & ~held_out for task, mask in train.items()}
        training_videos = training_videos & ~held_out
    for part, masks in (("train", train), ("tune", tune), ("val", test)):
        for task, mask in masks.items():
            if not mask.any():
                name = SUBSETS[task]
                raise ValueError(
                    f'every label of "{name} {part}" is missing: leave subset "{name} train" out to do without {task}'
                )
    sequences = _by_video(corpus)
    clips = {task: _cut(sequences, mask, settings.clip) for task, mask in train.items()}
    for task in tasks:
        if not len(clips[task]):
            raise ValueError(f"no video has {settings.clip} frames that train {task}, a whole clip: make clips shorter")
    units = tuple(f"AU{unit}" for unit in affwild2.UNITS.get(corpus.au.shape[1], ()))
    names = {"AU": units, "EXPR": ferplus.EMOTIONS if "votes" in (corpus.truth or {}) else EXPRESSIONS}
    weights = {}
    if "AU" in tasks:
        weights["AU"] = losses.positive_weights(corpus.au[train["AU"]])
    if "EXPR" in tasks:
        weights["EXPR"] = losses.class_weights(corpus.expression[train["EXPR"]], len(names["EXPR"]))
    return Videos(
        labels={task: labels[task] for task in tasks},
        names=names,
        train=train,
        tune=tune,
        test=test,
        clips=clips,
        union=_cut(sequences, training_videos, settings.clip),
        sequences=sequences,
        video=corpus.video,
        weights=weights,
    )


def _any(masks: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(masks.values())).any(0)


def _held_out(video: np.ndarray, training: Tensor, train: Mapping[str, Tensor], settings: DistillSettings) -> Tensor:
    """Frames (N,) of a share of the training videos, drawn at random; of more, until each task has a label there."""
    videos = np.unique(video[training.numpy()])
    drawn = torch.randperm(len(videos), generator=generators([settings.seeds[0]], 105)[0]).numpy()
    held_out = torch.zeros(len(video), dtype=torch.bool)
    for n in range(max(1, round(settings.tuning_share * len(videos))), len(videos)):
        held_out = torch.from_numpy(np.isin(video, videos[drawn[:n]]))
        if all((mask & held_out).any() for mask in train.values()):
            break
    return held_out


def _by_video(corpus: AffectVideos) -> list[Tensor]:
    """Rows of each video, in order of time."""
    _, video = np.unique(corpus.video, return_inverse=True)
    order = np.lexsort((corpus.time.numpy(), video))
    starts = np.flatnonzero(np.diff(video[order], prepend=-1))
    return [torch.from_numpy(rows) for rows in np.split(order, starts[1:])]


def _cut(sequences: Sequence[Tensor], wanted: Tensor, length: int) -> Tensor:
    """Clips (n, T) of the wanted frames of each video, one after another; what is left at its end fills none."""
    if length == 1:
        return wanted.nonzero()
    rows = [rows[wanted[rows]] for rows in sequences]
    return torch.cat([r[: len(r) // length * length].view(-1, length) for r in rows])
