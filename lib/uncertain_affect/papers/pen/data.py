"""PEN's settings, the frames of source and target people, and how these are split.

Source people train and validate, target people adapt and test.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from uncertain_affect.training.finetune import FineTuningSettings, finetune, starting_network
from uncertain_affect.training.fit import generators

DIMENSIONS = ("valence", "arousal")


# Of the features, and which of them are no rounding: the paper has 2,048 for 3,150 frames at n = 5%, here 135 are few.
COMPONENTS, LEAST_SD = 32, 1e-4

# An optimiser of torch and its highest rate.
Rate = tuple[str, float]
AS_PRINTED: Rate = ("Adadelta", 1.0)
# on source people, and in adaptation from there or from random weights
STAGES = ("SN", "PEN", "s-SN", "s-PEN", "t-SN", "t-PEN")


@dataclass(frozen=True)
class PenSettings:
    """Everything that decides a run.

    Given by the paper: Adadelta "with the default parameters", which had the rate 1 in Keras at the time, 30 epochs
    "for training the models", 5 in joint training, the weights 1e-3 of the losses and the grid they were chosen from.
    Not given: the batch size (Keras's default is taken) and how long adaptation goes on.

    Here training goes on until it has come to rest: the rate rises over the first twentieth of the steps and then
    falls exponentially, to ``anneal`` of its highest. Optimisers, rates, lambda_0 and lambda_1 are chosen on validation
    frames, by one search for SN and PEN, see `training.choose`. Every copy is left at its best validation epoch, the
    start among them; in adaptation a fifth of the adapted frames validates.

    Of the first stage, which tunes the residual network, the paper gives 10 epochs "without overfitting".

    Attributes:
        seeds: of the simulated corpus each draws a world of its own.
        pretraining: how the residual network learns from other simulated pictures before; None to start at random.
        trunk: how it is tuned on source people.
        rates: optimisers and highest rates to choose from.
        grid: values tried for lambda_0 and lambda_1; 0, which the paper lists too, is a row and no candidate.
        rate, lambda_0, lambda_1: what was chosen, the rate of each of `STAGES`.
        epochs: of SN, of the gate alone and of joint training, passes over the source people's training frames.
        adapt_epochs, adapt_steps: minibatches of adaptation, whatever n, and after how many parts of them is validated.
        shares: n, the percentages of each target person's frames that adapt; 0 always stands before them.
        gap: seconds between test and adaptation frames where halves are contiguous.
    """

    seeds: tuple[int, ...]
    pretraining: FineTuningSettings | None
    trunk: FineTuningSettings
    rates: tuple[Rate, ...] = (AS_PRINTED, ("Adam", 1e-3), ("Adam", 1e-2), ("Adam", 1e-1))
    grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    rate: Mapping[str, Rate] = field(default_factory=lambda: dict.fromkeys(STAGES, ("Adam", 1e-2)))
    lambda_0: float = 1e-3
    lambda_1: float = 1e-3
    epochs: int = 40
    joint_epochs: int = 40
    adapt_epochs: int = 60
    adapt_steps: int = 3000
    anneal: float = 1e-4
    batch_size: int = 32
    shares: tuple[int, ...] = (5, 10, 20, 30, 50)
    gap: float = 10.0

    def as_printed(self) -> "PenSettings":
        """The same with the paper's own training: a row of its own, whatever validation has chosen."""
        return replace(self, rate=dict.fromkeys(STAGES, AS_PRINTED), epochs=30, joint_epochs=5, anneal=1.0)


def settings(profile: str, seed: int = 0, device: str = "cuda") -> PenSettings:
    """The settings of a profile; seeds count up from ``seed``.

    The paper's ResNet-50 needs a GPU. On a CPU full has a ResNet-18 a quarter as wide as published; quick one half as
    wide as that, tuned from a random start, two seeds, and nothing to choose from.

    Raises:
        ValueError: no such profile.
    """
    if profile == "quick":
        trunk = FineTuningSettings(width=8, lr=3e-3, epochs=2)
        short = {"epochs": 8, "joint_epochs": 8, "adapt_epochs": 10, "adapt_steps": 300}
        return PenSettings((seed, seed + 1), None, trunk, rates=(), grid=(), **short)
    if profile == "full":
        if device != "cpu":
            trunk = FineTuningSettings(depth=50, lr=2e-3)
            return PenSettings(tuple(range(seed, seed + 12)), trunk, trunk)
        start, trunk = FineTuningSettings(width=16, lr=3e-3), FineTuningSettings(width=16, lr=2e-3)
        return PenSettings(tuple(range(seed, seed + 12)), start, trunk)
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
    """Rows of the source people's frames that train, that validate, and that judge, each ascending."""

    train: np.ndarray
    val: np.ndarray
    judge: np.ndarray


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


class Replicate(NamedTuple):
    """What one seed trains on: frames, and how source and target people's are split, by kind of split."""

    seed: int
    frames: Frames
    source: SourceSplit
    target: dict[str, TargetSplit]


Halves = tuple[np.ndarray, np.ndarray, float]


def source_split(frames: Frames, generator: torch.Generator, held_out: Sequence[int] = ()) -> SourceSplit:
    """Of each source person's frames a random 60% that train, 20% that validate and 20% that judge.

    The paper has 80% for training and 20% for validation (section 4): what chooses may not judge.

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
        parts.append(np.split(rows, [round(0.6 * len(rows)), round(0.8 * len(rows))]))
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


# kinds of split that share networks trained on source people, and the stream that draws them
KINDS = {"random": (random_split, 11), "blocked": (blocked_split, 12)}


def replicate(frames: Frames, settings: PenSettings, seed: int, split: SourceSplit | None = None) -> Replicate:
    """The splits of one seed: a random and a blocked one of the target people; ``split``, if given, of the source's."""
    random, blocked = (make(frames, generators([seed], stream)[0], settings) for make, stream in KINDS.values())
    source = split or source_split(frames, generators([seed], 10)[0])
    return Replicate(seed, frames, source, dict(zip(KINDS, (random, blocked), strict=True)))


def with_videos_held_out(of: Replicate, settings: PenSettings) -> Replicate:
    """The same seed with half of the videos held out of everything, the split of the source people included."""
    target = video_split(of.frames, generators([of.seed], 13)[0], settings)
    source = source_split(of.frames, generators([of.seed], 10)[0], target.held_out)
    return of._replace(source=source, target={"video": target})


def whitened(frames: Frames) -> Frames:
    """The same with the principal components of the features, at most `COMPONENTS`, each of variance 1.

    They are those of the source people's frames. What is linear in them is linear in the features; but a rate that fits
    one direction fits them all, so that training can come to rest.
    """
    known = frames.features[frames.source_rows()].double()
    _, sd, directions = torch.linalg.svd(known - known.mean(0), full_matrices=False)
    n = min(COMPONENTS, int((sd > LEAST_SD * sd[0]).sum()))
    scale = directions[:n].T / (sd[:n] / math.sqrt(len(known) - 1))
    return replace(frames, features=((frames.features.double() - known.mean(0)) @ scale).float())


def replicates(
    name: str, profile: str, settings: PenSettings, root: str | os.PathLike | None = None, device: str = "cpu"
) -> tuple[list[Replicate], list[AffectTraces]]:
    """What each seed trains on, and the corpora it comes from, one for each simulated world.

    Of the simulated corpus every seed has a world, at one frame a second in full too: there more people count for more
    than more frames. CEAP-360VR comes twice, the odd numbers as source people and then, after all seeds, the even ones.

    Images become the pooled features of a residual network under SN's linear layer that is tuned with alpha^y on the
    training frames of the split: step 1 of Algorithm 1's source learning. They are all that any network sees, those
    trained on target people alone included (the paper's footnote 3). One network, and so one split, serves all seeds
    of recordings.

    Raises:
        CorpusError: as :func:`corpora.load`.
    """
    if name == "simulated":
        worlds = [load(name, "quick", seed) for seed in settings.seeds]
        start = settings.pretraining and starting_network(True, settings.pretraining, "quick", root, device)
        parts = zip(worlds, settings.seeds, strict=True)
        return [_tuned(world, settings, (seed,), start, device)[0] for world, seed in parts], worlds
    corpus = load(name, profile, settings.seeds[0], root)
    if corpus.inputs.dtype == torch.uint8:
        start = settings.pretraining and starting_network(False, settings.pretraining, profile, root, device)
        return _tuned(corpus, settings, settings.seeds, start, device), [corpus]
    source, target = roles(corpus)
    ways = [(source, target), (target, source)] if name == "ceap360vr" else [(source, target)]
    sides = [whitened(frames(corpus, corpus.inputs, *way)) for way in ways]
    return [replicate(side, settings, seed) for side in sides for seed in settings.seeds], [corpus]


def _tuned(corpus: AffectTraces, settings: PenSettings, seeds: Sequence[int], start, device: str) -> list[Replicate]:
    """The replicates of one corpus of images, whose network is tuned with the first seed."""
    raw = frames(corpus, torch.zeros(len(corpus), 1), *roles(corpus))
    split = source_split(raw, generators(seeds[:1], 10)[0])
    tuned = finetune(
        corpus.inputs, raw.labels, torch.from_numpy(split.train), affect_squared_error, raw.labels.shape[1],
        settings.trunk, seeds[0], loss_key="alpha^y of valence and arousal", start=start, device=device,
        label="PEN's backbone",
    )  # fmt: skip
    side = whitened(replace(raw, features=tuned.features))
    return [replicate(side, settings, seed, split) for seed in seeds]
