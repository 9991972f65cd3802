"""PEN's settings, the frames of source and target people, and how these are split.

Source people train and validate, target people adapt and test.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.corpora import ceap360vr
from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.losses import affect_squared_error
from uncertain_affect.models.backbones import ResNet
from uncertain_affect.training.finetune import FineTuningSettings, finetune
from uncertain_affect.training.fit import generators

DIMENSIONS = ("valence", "arousal")


@dataclass(frozen=True)
class PenSettings:
    """Everything that decides a run.

    Given by the paper: 30 epochs "for training the models", 5 in joint training, the weights 1e-3 of the losses, the
    grid they were chosen from (0 stands among its powers of ten) and Adadelta "with the default parameters", which
    were these in Keras at the time. Not given: the batch size (Keras's default is taken) and how long adaptation goes
    on. Here it is the 30 epochs that were "enough for the models' loss to converge"; a few frames are gone through
    more often, until there have been as many steps as a random start needs to get near convergence.

    Of the first stage, which tunes the residual network, the paper gives 10 epochs "without overfitting".

    Attributes:
        pretraining: how the residual network learns from other simulated pictures before.
        trunk: how it is tuned on source people.
        grid: values tried for lambda_0 and lambda_1, see :func:`choose_lambdas`; empty to take those here.
        min_steps: minibatches of adaptation at least; of the paper's frames, 30 epochs of 5% are 2,953.
        shares: n, the percentages of each target person's frames that adapt; 0 always stands before them.
        gap: seconds between test and adaptation frames where halves are contiguous.
    """

    seeds: tuple[int, ...]
    pretraining: FineTuningSettings
    trunk: FineTuningSettings
    grid: tuple[float, ...] = ()
    sn_epochs: int = 30
    gate_epochs: int = 30
    joint_epochs: int = 5
    adapt_epochs: int = 30
    min_steps: int = 1000
    lambda_0: float = 1e-3
    lambda_1: float = 1e-3
    batch_size: int = 32
    lr: float = 1.0
    rho: float = 0.95
    eps: float = 1e-7
    shares: tuple[int, ...] = (5, 10, 20, 30, 50)
    gap: float = 10.0


def settings(profile: str, seed: int = 0, device: str = "cuda") -> PenSettings:
    """The settings of a profile; seeds count up from ``seed``.

    The paper's ResNet-50 needs a GPU: quick has a ResNet-18 a quarter as wide as published, full on a CPU half.

    Raises:
        ValueError: no such profile.
    """
    if profile == "quick":
        start, trunk = FineTuningSettings(width=16, lr=3e-3), FineTuningSettings(width=16, lr=2e-3)
        return PenSettings(tuple(range(seed, seed + 5)), start, trunk)
    if profile == "full":
        depth, width = (18, 32) if device == "cpu" else (50, 64)
        trunk = FineTuningSettings(depth=depth, width=width, lr=2e-3)
        grid = (1e-4, 1e-3, 1e-2, 1e-1, 0.0, 1.0, 10.0, 100.0)
        return PenSettings(tuple(range(seed, seed + 20)), trunk, trunk, grid)
    raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')


# --- frames and who they show ---------------------------------------------------------------------------------


def load(name: str, profile: str, seed: int = 0, root: str | os.PathLike | None = None) -> AffectTraces:
    """A corpus of traces with labels from -1 to 1: those of CEAP-360VR, from 1 to 9, become (y - 5) / 4.

    Of RECOLA quick takes one frame a second; face crops where there are some, else the features it comes with.

    Args:
        name: ``"simulated"`` is its recola view.
        profile, seed: size and seed of the simulated world.
        root: the data root.

    Raises:
        CorpusError: as :func:`corpora.load`.
    """
    if name == "simulated":
        return corpora.load(name, view="recola", size=profile, seed=seed)
    options = {"every": 25 if profile == "quick" else 1} if name == "recola" else {}
    corpus = corpora.load(name, root, **options)
    if name != "ceap360vr":
        return corpus
    low, high = ceap360vr.SCALE
    return replace(corpus, valence_arousal=2 * (corpus.valence_arousal - low) / (high - low) - 1)


def roles(corpus: AffectTraces) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Source and target people: AVEC 2016's training and development sets, or CEAP-360VR's odd and even numbers.

    Raises:
        ValueError: people of neither corpus.
    """
    people = np.unique(corpus.person).tolist()
    if all(re.fullmatch(r"(train|dev)_\d+", name) for name in people):
        source = {name for name in people if name.startswith("train")}
    elif strange := [name for name in people if name not in ceap360vr.PEOPLE]:
        raise ValueError(f"people are called train_1, dev_1 and so on, or P1 to P32, not {strange[0]!r}")
    else:
        source = set(ceap360vr.source_people(corpus))
    people.sort(key=lambda name: int(re.sub(r"\D", "", name)))
    return tuple(p for p in people if p in source), tuple(p for p in people if p not in source)


@dataclass(frozen=True, eq=False)
class Frames:
    """Features and labels of N frames, of source people, target people, and possibly others, who are not used.

    Attributes:
        features: float (N, D), frozen.
        labels: float (N, 2), valence and arousal.
        person: int (N,), index into the source people and, after them, the target people; -1 for others.
        video: int (N,), index into ``videos``.
        time: float (N,), seconds from the start of the video.
        source, target, videos: their names.
    """

    features: Tensor
    labels: Tensor
    person: np.ndarray
    video: np.ndarray
    time: np.ndarray
    source: tuple[str, ...]
    target: tuple[str, ...]
    videos: tuple[str, ...]

    @cached_property
    def target_rows(self) -> np.ndarray:
        """Rows (N_t,) of the target people's frames, ascending: the frames that are predicted."""
        return np.flatnonzero(self.person >= len(self.source))

    @cached_property
    def target_person(self) -> np.ndarray:
        """Index (N_t,) into ``target`` of who is seen in each of the ``target_rows``."""
        return self.person[self.target_rows] - len(self.source)

    @cached_property
    def table(self) -> pd.DataFrame:
        """All frames, with columns person, video, time, second, valence and arousal."""
        table = pd.DataFrame(self.labels.numpy(), columns=list(DIMENSIONS))
        return table.assign(person=self.person, video=self.video, time=self.time, second=np.floor(self.time))

    def source_rows(self, held_out: Sequence[int] = ()) -> np.ndarray:
        """Rows of the source people's frames, ascending, but for those of the videos held out."""
        of_source = (self.person >= 0) & (self.person < len(self.source))
        return np.flatnonzero(of_source & ~np.isin(self.video, held_out))

    def in_order(self, person: int) -> np.ndarray:
        """Rows of a person's frames, video after video, each in order of time."""
        rows = np.flatnonzero(self.person == person)
        return rows[np.lexsort((self.time[rows], self.video[rows]))]


def frames(corpus: AffectTraces, features: np.ndarray | Tensor, source: Iterable[str], target: Iterable[str]) -> Frames:
    """Frames of source and target people.

    Args:
        corpus: its labels should be on a scale of about -1 to 1 (networks start at 0); its inputs are not used.
        features: (N, D), one row per frame.
        source, target: names of people.

    Raises:
        ValueError: no source or no target people, or features of theirs that are not finite.
    """
    source, target = tuple(source), tuple(target)
    if not source or not target:
        raise ValueError(f"there are {len(source)} source and {len(target)} target people: both are needed")
    index = {name: i for i, name in enumerate((*source, *target))}
    person = np.array([index.get(name, -1) for name in corpus.person.tolist()])
    x = torch.as_tensor(features).to(torch.float32, copy=True)
    if len(bad := np.flatnonzero(~x.isfinite().all(1).numpy() & (person >= 0))):
        first = f"{corpus.person[bad[0]]} in video {corpus.video[bad[0]]} at {corpus.time[bad[0]]:g} s"
        cure = "leave such frames, or people, out and count them"
        raise ValueError(f"features of {len(bad)} frames are not finite, the first of {first}: {cure}")
    videos, video = np.unique(corpus.video, return_inverse=True)
    labels, time = corpus.valence_arousal.float(), corpus.time.double().numpy()
    return Frames(x, labels, person, video, time, source, target, tuple(videos.tolist()))


# --- splits ---------------------------------------------------------------------------------------------------


class SourceSplit(NamedTuple):
    """Rows of the source people's frames that train and that validate, both ascending."""

    train: np.ndarray
    val: np.ndarray


class TargetSplit(NamedTuple):
    """Rows of the target people's frames that test, whatever n, and that adapt for each n.

    Attributes:
        test: rows (n_test,), ascending.
        adapt: ascending rows for each n, each set within the next larger one.
        held_out: numbers of the videos that nobody's training, adaptation or choice of model may see.
    """

    test: np.ndarray
    adapt: tuple[np.ndarray, ...]
    held_out: tuple[int, ...] = ()


# Splits of the source people, one per seed, and of the target people, by kind.
SplitsOfSeeds = tuple[list[SourceSplit], dict[str, list[TargetSplit]]]
Halves = tuple[np.ndarray, np.ndarray, float]


def source_split(frames: Frames, generator: torch.Generator, held_out: Sequence[int] = ()) -> SourceSplit:
    """A random 80% of each source person's frames for training and the others for validation (section 4).

    Args:
        frames: of all people.
        generator: draws the frames.
        held_out: numbers of the videos to leave out altogether.

    Raises:
        ValueError: a source person without a frame to train on: there would be more experts than people.
    """
    usable, parts = frames.source_rows(held_out), []
    for i, name in enumerate(frames.source):
        rows = _shuffled(usable[frames.person[usable] == i], generator)
        parts.append(np.split(rows, [round(0.8 * len(rows))]))
        if not len(parts[-1][0]):
            cure = "the gate would have more experts than people; leave the person out"
            raise ValueError(f"no frame of source person {name} is left for training ({len(rows)} usable): {cure}")
    return SourceSplit(*(np.sort(np.concatenate(part)) for part in zip(*parts, strict=True)))


def random_split(frames: Frames, generator: torch.Generator, settings: PenSettings) -> TargetSplit:
    """The paper's split: of each target person a random half of the frames tests, n% of all are drawn from the rest.

    A test frame's neighbours in time adapt: at 25 frames a second and n = 5% the nearest is 0.4 s away on average.

    Raises:
        ValueError: a person with too few frames for a share.
    """

    def halve(rows: np.ndarray) -> Halves:
        rows, half = _shuffled(rows, generator), len(rows) // 2
        return rows[:half], rows[half:], 0.0

    return _target_split(frames, halve, settings.shares)


def blocked_split(frames: Frames, generator: torch.Generator, settings: PenSettings) -> TargetSplit:
    """Contiguous halves: of each target person's recording one half tests, n% of it, one run in the other half, adapts.

    Which half tests is drawn, and so is where in the other half the runs lie. A recording is one person's frames of
    one video. Frames that adapt are at least ``settings.gap`` seconds from every test frame: at n = 50% this leaves
    fewer frames than that, which then all adapt.

    Raises:
        ValueError: a recording with too few frames for a share.
    """

    def halve(rows: np.ndarray) -> Halves:
        test_first, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        first, time = np.arange(len(rows)) < len(rows) // 2, frames.time[rows]
        test = first if test_first < 0.5 else first[::-1]
        # seconds from the test frames, negative among them
        away = np.maximum(time - time[test].max(initial=-math.inf), time[test].min(initial=math.inf) - time)
        return rows[test], rows[~test & (away >= settings.gap)], place

    return _target_split(frames, halve, settings.shares, by_video=True)


def video_split(frames: Frames, generator: torch.Generator, settings: PenSettings) -> TargetSplit:
    """Half of the videos test: held out whoever watched them, so source people must be trained without them too.

    The frames that adapt are the first n% (of all the person's frames) of the other videos, which each person has in
    an order of their own. Give ``held_out`` of the split to :func:`source_split`.

    Raises:
        ValueError: a target person without a video on either side, or with too few frames for a share.
    """
    videos = np.arange(len(frames.videos))
    held_out = np.sort(_shuffled(videos, generator)[: len(videos) // 2])

    def halve(rows: np.ndarray) -> Halves:
        place = np.argsort(_shuffled(videos, generator))
        rows = rows[np.argsort(place[frames.video[rows]], kind="stable")]
        test = np.isin(frames.video[rows], held_out)
        return rows[test], rows[~test], 0.0

    return _target_split(frames, halve, settings.shares)._replace(held_out=tuple(held_out.tolist()))


def _target_split(
    frames: Frames, halve: Callable[[np.ndarray], Halves], shares: Sequence[int], by_video: bool = False
) -> TargetSplit:
    """Halve the frames of every target person, or each of their recordings, and let a run of n% of them adapt.

    ``halve`` gives rows that test, rows that may adapt, and the place from 0 to 1 in these of the runs, which grow to
    both sides in that proportion: each holds every shorter one.
    """
    test, adapt = [], [[] for _ in shares]
    for i, name in enumerate(frames.target, start=len(frames.source)):
        rows = frames.in_order(i)
        for part in np.split(rows, np.flatnonzero(np.diff(frames.video[rows])) + 1) if by_video else [rows]:
            tested, pool, place = halve(part)
            test.append(tested)
            for share, runs in zip(shares, adapt, strict=True):
                size = min(math.floor(share * len(part) / 100 + 0.5), len(pool))
                if not size or not len(tested):
                    where = f"{name}, video {frames.videos[frames.video[part[0]]]}," if by_video else name
                    raise ValueError(
                        f"too few frames: {where} has {len(part)}, {len(tested)} of them to test and {len(pool)} to "
                        f"adapt with {share}% of all; leave out the share or the person, or make the gap smaller"
                    )
                start = math.floor(place * (len(pool) - size))
                runs.append(pool[start : start + size])
    return TargetSplit(np.sort(np.concatenate(test)), tuple(np.sort(np.concatenate(runs)) for runs in adapt))


def _shuffled(rows: np.ndarray, generator: torch.Generator) -> np.ndarray:
    return rows[torch.randperm(len(rows), generator=generator).numpy()]


def draw_splits(frames: Frames, settings: PenSettings, split: SourceSplit | None = None) -> SplitsOfSeeds:
    """One split of the source people, and one random and one blocked split of the target people, for every seed.

    Given a ``split`` of the source people, because the features are tuned on it, it serves all seeds.
    """
    random = [random_split(frames, g, settings) for g in generators(settings.seeds, 11)]
    blocked = [blocked_split(frames, g, settings) for g in generators(settings.seeds, 12)]
    source = [split or source_split(frames, g) for g in generators(settings.seeds, 10)]
    return source, {"random": random, "blocked": blocked}


def draw_video_splits(frames: Frames, settings: PenSettings) -> SplitsOfSeeds:
    """As :func:`draw_splits`, with videos held out of everything, the splits of the source people included."""
    target = [video_split(frames, g, settings) for g in generators(settings.seeds, 13)]
    source = [source_split(frames, g, t.held_out) for g, t in zip(generators(settings.seeds, 10), target, strict=True)]
    return source, {"video": target}


def prepare(
    corpus: AffectTraces, settings: PenSettings, start: ResNet | None = None, device: str = "cpu"
) -> tuple[Frames, SourceSplit]:
    """Frames of the corpus, and the split of the source people's frames behind their features.

    Images become the pooled features of a residual network under SN's linear layer that is tuned with alpha^y on the
    training frames of the split: step 1 of Algorithm 1's source learning. They are all that any network sees, those
    trained on target people alone included (the paper's footnote 3). Hand-made features get zero mean and unit
    variance over the same frames. One network, and so one split, serves all seeds.

    Args:
        corpus: nothing is learnt from labels outside the training frames.
        settings: the residual network is trained with the first seed.
        start: the network to start from, see :func:`finetune.starting_network`.
        device: where to train.
    """
    images = corpus.inputs.dtype == torch.uint8
    raw = frames(corpus, torch.zeros(len(corpus), 1) if images else corpus.inputs, *roles(corpus))
    split = source_split(raw, generators(settings.seeds[:1], 10)[0])
    if images:
        tuned = finetune(
            corpus.inputs, raw.labels, torch.from_numpy(split.train), affect_squared_error, raw.labels.shape[1],
            settings.trunk, settings.seeds[0], loss_key="alpha^y of valence and arousal", start=start, device=device,
            label="PEN's backbone",
        )  # fmt: skip
        return replace(raw, features=tuned.features), split
    known = raw.features[split.train]
    return replace(raw, features=(raw.features - known.mean(0)) / known.std(0).clamp(min=1e-6)), split
