"""How the frames of PEN's people are split: source people to train and validate, target people to adapt and test."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.losses import affect_squared_error
from uncertain_affect.models.backbones import ResNet
from uncertain_affect.papers.pen.data import Frames, PenSettings, frames, roles
from uncertain_affect.training import finetune
from uncertain_affect.training.fit import generators


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
            raise ValueError(
                f"no frame of source person {name} is left for training ({len(rows)} usable): the gate would have "
                "more experts than people; leave the person out"
            )
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
        tuned = finetune.finetune(
            corpus.inputs, raw.labels, torch.from_numpy(split.train), affect_squared_error, raw.labels.shape[1],
            settings.trunk, settings.seeds[0], loss_key="alpha^y of valence and arousal", start=start, device=device,
            label="PEN's backbone",
        )  # fmt: skip
        return replace(raw, features=tuned.features), split
    known = raw.features[split.train]
    return replace(raw, features=(raw.features - known.mean(0)) / known.std(0).clamp(min=1e-6)), split
