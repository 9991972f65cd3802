"""The settings of a run, and corpora as videos: which frames train, tune and test each task, and clips of them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from uncertain_affect import corpora, losses
from uncertain_affect.corpora import affwild2, ferplus
from uncertain_affect.corpora.base import AffectVideos, Expressions
from uncertain_affect.models.distill import N_BINS
from uncertain_affect.training.fit import generators

# Tasks, and what a corpus calls their subsets.
SUBSETS = {"AU": "au", "EXPR": "expression", "VA": "va"}
EXPRESSIONS = affwild2.EXPRESSIONS
# How Aff-Wild2 is read: every fourth frame, as the simulated videos have; in quick small, grey, and 13 s of each video.
READING = {"quick": {"size": 64, "colour": False, "every": 4, "longest": 96}, "full": {"size": 112, "every": 4}}


@dataclass(frozen=True)
class Tuning:
    """How trunks and encoders of sound are pretrained, and tuned before they are frozen: Adam, its rate over one cycle.

    Attributes:
        width, repeats: of `MobileFaceNet` and `MarbleNet`.
        pictures, start_epochs, start_lr: of pretraining, on simulated pictures of other people.
        lr: the highest learning rate of tuning.
        epochs: passes of tuning over the training frames.
        batch_size: frames a step.
    """

    width: float = 1.0
    repeats: float = 1.0
    pictures: int = 30_000
    start_epochs: int = 10
    start_lr: float = 6e-3
    lr: float = 2e-3
    epochs: int = 3
    batch_size: int = 32


@dataclass(frozen=True)
class DistillSettings:
    """Everything that decides a run.

    From the release: Adam at 1e-3, tenfold slower every ``decay`` epochs; EMENet-V 10 epochs of clips of 16 frames,
    five to a minibatch and task, EMENet-VA 15 of 8 frames, eight; dropout .5 before the linear layer; ensembles of
    five; three generations. The trunk's tuning and the shared layer are ours.

    Attributes:
        tuning: of the trunk and the encoder of sound.
        audio: EMENet-VA.
        members: N, the size of an ensemble.
        hidden: width of the GRUs' states.
        shared: width of the layer that a member's tasks share on frozen features; None without one.
        clip, clips: frames of a clip, clips of a minibatch.
        tuning_share: of the training videos, held out of all training: Algorithm 1, the best epoch and temperatures
            look at them, so that the validation set is only scored.
        n_samples: passes of Monte Carlo dropout.
        side_by_side: copies trained at once on frozen features; more of them do not fit the processor's cache.
        faithful_to_release: GRUs run across the clips of a minibatch in training and see single frames in validation;
            Algorithm 1's counters start at 0 and weights never come back; Monte Carlo dropout stays off.
        end_to_end: every member trains its own trunk.
    """

    seeds: tuple[int, ...]
    tuning: Tuning
    audio: bool = False
    members: int = 5
    generations: int = 3
    hidden: int = 128
    shared: int | None = None
    clip: int = 16
    clips: int = 5
    lr: float = 1e-3
    decay: int = 3
    epochs: int = 10
    dropout: float = 0.5
    tuning_share: float = 0.2
    n_samples: int = 10
    side_by_side: int = 50
    faithful_to_release: bool = False
    end_to_end: bool = False


def settings(
    profile: str, seed: int = 0, audio: bool = False, corpus: str = "simulated", device: str = "cpu"
) -> DistillSettings:
    """The settings of a profile; seeds count up from ``seed``.

    In quick, trunk and heads are a quarter as wide as published, and the trunk is frozen before the members train; in
    full every member trains a network of the published size, for which a GPU is needed. On FER+ either profile
    trains heads on frozen features; on a GPU full trains small convolutional networks from scratch instead, a quarter
    as wide as published, on the 48 x 48 pixels. Of single images there is no clip, and a minibatch has 256 of them.

    Raises:
        ValueError: no such profile.
    """
    if profile not in ("quick", "full"):
        raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')
    seeds = tuple(range(seed, seed + (5 if profile == "quick" else 20)))
    narrow = Tuning(width=0.25, repeats=0.25)
    if corpus == "ferplus":
        images = {"clip": 1, "clips": 256, "hidden": 64}
        if profile == "full" and device.startswith("cuda"):
            return DistillSettings(seeds, narrow, end_to_end=True, **images)
        return DistillSettings(seeds, Tuning(), shared=64, side_by_side=25, **images)
    clips = {"clip": 8, "clips": 8, "decay": 4, "epochs": 15} if audio else {}
    if profile == "full":
        return DistillSettings(seeds, Tuning(), audio, end_to_end=True, **clips)
    tuning = replace(narrow, pictures=3000, start_epochs=3, epochs=2)
    return DistillSettings(seeds, tuning, audio, hidden=32, shared=64, lr=3e-3, **clips)


# --- videos ---------------------------------------------------------------------------------------------------


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
    labels = {"au": torch.zeros(n, 0, dtype=torch.int8), "valence_arousal": torch.full((n, 2), -5.0)}
    labels |= {"expression": label, "truth": {"votes": corpus.votes[:, : len(ferplus.EMOTIONS)].float()}}
    subsets = {f"expression {ours}": torch.from_numpy(corpus.split == theirs) for ours, theirs in splits.items()}
    video = {"video": corpus.groups.numpy().astype(str), "time": torch.zeros(n), "audio": torch.zeros(n, 0)}
    return AffectVideos(frames=corpus.images, subsets=subsets, left_out=corpus.left_out, **labels, **video)


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
    for part, masks in {"train": train, "tune": tune, "val": test}.items():
        if empty := [task for task, mask in masks.items() if not mask.any()]:
            name, cure = SUBSETS[empty[0]], f"out to do without {empty[0]}"
            raise ValueError(f'every label of "{name} {part}" is missing: leave subset "{name} train" {cure}')
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
    labels, union = {task: labels[task] for task in tasks}, _cut(sequences, training_videos, settings.clip)
    return Videos(labels, names, train, tune, test, clips, union, sequences, corpus.video, weights)


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
