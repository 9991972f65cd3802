"""PEN's protocol: experts for source people, adapted to target people with n% of their frames, on frozen features.

Source: sections 3.2 to 4 of the paper and its Algorithm 1, corrected: step 3 optimises (W^e, W^c) where (W^s, W^c) is
printed, and inference is on target frames outside the adaptation set (the fixed other half), not on the intersection.
"""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Adadelta

from uncertain_affect import corpora
from uncertain_affect.compute.cache import code_key, content_key
from uncertain_affect.corpora import ceap360vr
from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.evidence.claims import Effect, effect_interval
from uncertain_affect.evidence.resampling import Statistic, cluster_sums
from uncertain_affect.losses import affect_squared_error, pen_adaptation_loss, pen_gate_loss, pen_source_loss
from uncertain_affect.metrics import rmse_from_sums
from uncertain_affect.metrics.sums import ccc_from_sums, moment_sums
from uncertain_affect.models.backbones import ResNet
from uncertain_affect.models.pen import PersonalizedExpertNetwork, SharedNetwork, select_copies
from uncertain_affect.training import finetune as finetuning
from uncertain_affect.training.fit import History, cached_fit, fit, generators, minibatches

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

MODELS = ("s-SN", "s-PEN", "t-SN", "t-PEN")
BASELINES = ("nearest adapted frame", "mean trace", "video mean", "person mean", "source mean")
SHARES = (5, 10, 20, 30, 50)
DIMENSIONS = ("valence", "arousal")

# A variance below this fraction of the mean square is the rounding of a constant.
CONSTANT = 1e-12


@dataclass(frozen=True)
class Settings:
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
        l1: form of alpha_r, ``"mean"`` or ``"sum"``.
        shares: n, the percentages of each target person's frames that adapt; 0 always stands before them.
        gap: seconds between test and adaptation frames where halves are contiguous.
    """

    seeds: tuple[int, ...]
    pretraining: finetuning.FineTuningSettings
    trunk: finetuning.FineTuningSettings
    grid: tuple[float, ...] = ()
    sn_epochs: int = 30
    gate_epochs: int = 30
    joint_epochs: int = 5
    adapt_epochs: int = 30
    min_steps: int = 1000
    lambda_0: float = 1e-3
    lambda_1: float = 1e-3
    l1: str = "mean"
    batch_size: int = 32
    lr: float = 1.0
    rho: float = 0.95
    eps: float = 1e-7
    shares: tuple[int, ...] = SHARES
    gap: float = 10.0


def settings(profile: str, seed: int = 0, device: str = "cuda") -> Settings:
    """The settings of a profile; seeds count up from ``seed``.

    The paper's ResNet-50 needs a GPU: quick has a ResNet-18 a quarter as wide as published, full on a CPU half.

    Raises:
        ValueError: no such profile.
    """
    if profile == "quick":
        start = finetuning.FineTuningSettings(width=16, lr=3e-3)
        trunk = finetuning.FineTuningSettings(width=16, lr=2e-3)
        return Settings(tuple(range(seed, seed + 5)), start, trunk)
    if profile == "full":
        depth, width = (18, 32) if device == "cpu" else (50, 64)
        trunk = finetuning.FineTuningSettings(depth=depth, width=width, lr=2e-3)
        grid = (1e-4, 1e-3, 1e-2, 1e-1, 0.0, 1.0, 10.0, 100.0)
        return Settings(tuple(range(seed, seed + 20)), trunk, trunk, grid)
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
    if name == "recola":
        return corpora.load(name, root, every=25 if profile == "quick" else 1)
    loaded = corpora.load(name, root)
    if name == "ceap360vr":
        low, high = ceap360vr.SCALE
        y = 2 * (loaded.valence_arousal - low) / (high - low) - 1
        return replace(loaded, valence_arousal=y)
    return loaded


def roles(corpus: AffectTraces) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Source and target people: AVEC 2016's training and development sets, or CEAP-360VR's odd and even numbers.

    Raises:
        ValueError: people of neither corpus.
    """

    def number(name: str) -> int:
        return int(re.sub(r"\D", "", name))

    people = np.unique(corpus.person).tolist()
    if all(re.fullmatch(r"(train|dev)_\d+", name) for name in people):
        source = {name for name in people if name.startswith("train")}
    else:
        source = set(ceap360vr.source_people(corpus))
    people.sort(key=number)
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
        """Rows (N_t,) of the target people's frames, ascending: the frames that predictions are of."""
        return np.flatnonzero(self.person >= len(self.source))

    @cached_property
    def target_person(self) -> np.ndarray:
        """Index (N_t,) into ``target`` of who is seen in each of the ``target_rows``."""
        return self.person[self.target_rows] - len(self.source)

    def source_rows(self, held_out: Sequence[str] = ()) -> np.ndarray:
        """Rows of the source people's frames, ascending, but for those of the videos held out."""
        usable = (self.person >= 0) & (self.person < len(self.source))
        return np.flatnonzero(usable & ~np.isin(np.array(self.videos)[self.video], held_out))

    def in_order(self, person: int) -> np.ndarray:
        """Rows of a person's frames, video after video, each in order of time."""
        rows = np.flatnonzero(self.person == person)
        return rows[np.lexsort((self.time[rows], self.video[rows]))]


def frames(
    corpus: AffectTraces,
    features: np.ndarray | Tensor,
    source: Iterable[str],
    target: Iterable[str],
    standardise_on: np.ndarray | None = None,
) -> Frames:
    """Frames of source and target people.

    Args:
        corpus: its labels should be on a scale of about -1 to 1 (networks start at 0); its inputs are not used.
        features: (N, D), one row per frame.
        source, target: names of people.
        standardise_on: bool (N,), frames over which each feature gets zero mean and unit variance, which hand-made
            features need; the paper feeds those of its fine-tuned network as they are.

    Raises:
        ValueError: rows missing, people unknown or in both roles, or features that are not finite.
    """
    source, target = tuple(source), tuple(target)
    people = (*source, *target)
    known = set(corpus.person.tolist())
    if unknown := [name for name in people if name not in known]:
        raise ValueError(f"not in the corpus: {', '.join(unknown)}; its people are {', '.join(sorted(known))}")
    if twice := sorted({name for name in people if people.count(name) > 1}):
        raise ValueError(f"named more than once as source or target: {', '.join(twice)}")
    if not source or not target:
        raise ValueError(f"there are {len(source)} source and {len(target)} target people: both are needed")
    x = torch.as_tensor(features).to(torch.float32, copy=True)
    if x.ndim != 2 or len(x) != len(corpus):
        raise ValueError(f"features have shape {tuple(x.shape)}: expected ({len(corpus)}, D), one row per frame")
    index = {name: i for i, name in enumerate(people)}
    person = np.array([index.get(name, -1) for name in corpus.person.tolist()])
    bad = ~x.isfinite().all(1).numpy() & (person >= 0)
    if bad.any():
        first = np.flatnonzero(bad)[0]
        raise ValueError(
            f"features of {bad.sum()} frames are not finite, the first of {corpus.person[first]} in video "
            f"{corpus.video[first]} at {corpus.time[first]:g} s: leave such frames, or people, out and count them"
        )
    if standardise_on is not None:
        reference = x[torch.as_tensor(standardise_on)]
        x = (x - reference.mean(0)) / reference.std(0).clamp(min=1e-6)
    videos, video = np.unique(corpus.video, return_inverse=True)
    time_s = corpus.time.double().numpy()
    return Frames(x, corpus.valence_arousal.float(), person, video, time_s, source, target, tuple(videos.tolist()))


def features(
    corpus: AffectTraces, rows: np.ndarray, settings: Settings, start: ResNet | None = None, device: str = "cpu"
) -> finetuning.FineTuned:
    """Step 1 of Algorithm 1's source learning: a residual network under SN's linear layer, tuned with alpha^y.

    Its pooled features (N, D) are all that any network sees, those trained on target people alone included (the
    paper's footnote 3).

    Args:
        corpus: of images.
        rows: source people's training frames; nothing is learnt from the labels of others.
        settings: of the run; the network starts from the first seed.
        start: the network to start from, see :func:`finetuning.starting_network`.
        device: where to train.

    Raises:
        ValueError: inputs that are no images.
    """
    if corpus.inputs.dtype != torch.uint8:
        raise ValueError(f"inputs are {tuple(corpus.inputs.shape)} {corpus.inputs.dtype}: only images tune a network")
    labels = corpus.valence_arousal.float()
    return finetuning.finetune(
        corpus.inputs,
        labels,
        torch.from_numpy(rows),
        affect_squared_error,
        labels.shape[1],
        settings.trunk,
        settings.seeds[0],
        loss_key="alpha^y of valence and arousal",
        start=start,
        device=device,
        label="PEN's backbone",
    )


# --- splits ---------------------------------------------------------------------------------------------------


class Fold(NamedTuple):
    """Rows of the source people's frames that train and that validate."""

    train: np.ndarray
    val: np.ndarray


@dataclass(frozen=True)
class Split:
    """Rows of the target people's frames that test, whatever n, and that adapt for each n.

    Attributes:
        test: rows (n_test,).
        adapt: rows for each of ``shares``, each set within the next larger one.
        shares: n, in percent of all frames of a person.
        held_out: videos that nobody's training, adaptation or choice of model may see.
    """

    test: np.ndarray
    adapt: tuple[np.ndarray, ...]
    shares: tuple[int, ...] = SHARES
    held_out: tuple[str, ...] = ()


def source_split(frames: Frames, generator: torch.Generator, share: float = 0.8, held_out: Sequence[str] = ()) -> Fold:
    """A random 80% of each source person's frames for training and the others for validation (section 4).

    Args:
        frames: of all people.
        generator: draws the frames.
        share: of training frames.
        held_out: videos to leave out altogether.

    Raises:
        ValueError: a source person without a frame to train on: there would be more experts than people.
    """
    usable = frames.source_rows(held_out)
    train, val = [], []
    for i, name in enumerate(frames.source):
        rows = _shuffled(usable[frames.person[usable] == i], generator)
        n_train = round(share * len(rows))
        if not n_train:
            raise ValueError(
                f"no frame of source person {name} is left for training ({len(rows)} usable): the gate would have "
                "more experts than people; leave the person out"
            )
        train.append(rows[:n_train])
        val.append(rows[n_train:])
    return Fold(np.sort(np.concatenate(train)), np.sort(np.concatenate(val)))


def random_split(frames: Frames, generator: torch.Generator, shares: Sequence[int] = SHARES) -> Split:
    """The paper's split: of each target person a random half of the frames tests, n% of all are drawn from the rest.

    A test frame's neighbours in time adapt: at 25 frames a second and n = 5% the nearest is 0.4 s away on average.

    Raises:
        ValueError: a person with too few frames for a share.
    """
    test, pools = [], []
    for i, name in _targets(frames):
        rows = _shuffled(frames.in_order(i), generator)
        half = len(rows) // 2
        test.append(rows[:half])
        pools.append((name, len(rows), rows[half:], 0.0))
    return _split(test, pools, shares)


def blocked_split(
    frames: Frames, generator: torch.Generator, shares: Sequence[int] = SHARES, gap: float = 10.0
) -> Split:
    """Contiguous halves: of each target person's recording one half tests, n% of it, one run in the other half, adapts.

    Which half tests is drawn, and so is where in the other half the runs lie. A recording is one person's frames of
    one video. At n = 50% the gap leaves fewer frames than that: all of the half that it leaves.

    Args:
        frames: of all people.
        generator: draws halves and runs.
        shares: n, in percent of the recording's frames.
        gap: seconds; adaptation frames are at least this far from every test frame.

    Raises:
        ValueError: a negative gap, or a recording with too few frames for a share.
    """
    if not gap >= 0:
        raise ValueError(f"gap is a number of seconds of at least 0, not {gap}")
    test, pools = [], []
    for i, name in _targets(frames):
        of_person = frames.in_order(i)
        starts = np.flatnonzero(np.diff(frames.video[of_person], prepend=-1))
        for rows in np.split(of_person, starts[1:]):
            half, t = len(rows) // 2, frames.time[rows]
            test_first, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
            if test_first < 0.5:
                test.append(rows[:half])
                pool = rows[half:][t[half:] - t[half - 1] >= gap]
            else:
                test.append(rows[len(rows) - half :])
                pool = rows[: len(rows) - half][t[len(rows) - half] - t[: len(rows) - half] >= gap]
            pools.append((f"{name}, video {frames.videos[frames.video[rows[0]]]},", len(rows), pool, place))
    return _split(test, pools, shares)


def video_split(
    frames: Frames, generator: torch.Generator, shares: Sequence[int] = SHARES, n_videos: int | None = None
) -> Split:
    """Whole videos test: held out whoever watched them, so source people must be trained without them too.

    The frames that adapt are the first n% (of all the person's frames) of the other videos, which each person has in
    an order of their own. Give ``held_out`` of the split to :func:`source_split`.

    Args:
        frames: of all people.
        generator: draws the videos, and their order for each person.
        shares: n, in percent of a person's frames.
        n_videos: how many are held out; by default half.

    Raises:
        ValueError: no video left on either side, for all or for one target person, or too few frames for a share.
    """
    n_videos = len(frames.videos) // 2 if n_videos is None else n_videos
    if not 0 < n_videos < len(frames.videos):
        raise ValueError(f"{n_videos} of {len(frames.videos)} videos cannot be held out: some must be left either way")
    drawn = _shuffled(np.arange(len(frames.videos)), generator)
    held_out = np.sort(drawn[:n_videos])
    test, pools = [], []
    for i, name in _targets(frames):
        rows = frames.in_order(i)
        out = np.isin(frames.video[rows], held_out)
        if out.all() or not out.any():
            side = "all" if out.all() else "none"
            raise ValueError(
                f"{side} of the videos of target person {name} are held out: video_split needs people who watched "
                "several of the same videos"
            )
        test.append(rows[out])
        place = np.argsort(_shuffled(np.arange(len(frames.videos)), generator))
        rest = rows[~out]
        pool = rest[np.argsort(place[frames.video[rest]], kind="stable")]
        pools.append((name, len(rows), pool, 0.0))
    return replace(_split(test, pools, shares), held_out=tuple(frames.videos[v] for v in held_out))


def draw_splits(
    frames: Frames, settings: Settings, fold: Fold | None = None
) -> tuple[list[Fold], dict[str, list[Split]]]:
    """One fold of the source people, and one random and one blocked split of the target people, for every seed.

    Given a ``fold``, because the features are tuned on it, it serves all seeds.
    """
    seeds, shares = list(settings.seeds), settings.shares
    folds = [fold or source_split(frames, g) for g in generators(seeds, 10)]
    kinds = {
        "random": [random_split(frames, g, shares) for g in generators(seeds, 11)],
        "blocked": [blocked_split(frames, g, shares, settings.gap) for g in generators(seeds, 12)],
    }
    return folds, kinds


def draw_video_splits(frames: Frames, settings: Settings, n_videos: int | None = None) -> tuple[list[Fold], dict]:
    """As :func:`draw_splits`, with videos held out of everything, the folds of the source people included."""
    seeds = list(settings.seeds)
    splits = [video_split(frames, g, settings.shares, n_videos) for g in generators(seeds, 13)]
    drawn = zip(generators(seeds, 10), splits, strict=True)
    return [source_split(frames, g, held_out=split.held_out) for g, split in drawn], {"video": splits}


def prepare(
    corpus: AffectTraces, settings: Settings, start: ResNet | None = None, device: str = "cpu"
) -> tuple[Frames, Fold]:
    """Frames of the corpus, and the fold of the source people's frames behind their features.

    Images become what :func:`features` leaves of them, as they are; hand-made features get zero mean and unit
    variance over the training frames of the fold. One network, and so one fold, serves all seeds.
    """
    source, target = roles(corpus)
    blank = frames(corpus, np.zeros((len(corpus), 1)), source, target)
    fold = source_split(blank, generators(list(settings.seeds[:1]), 10)[0])
    if corpus.inputs.dtype == torch.uint8:
        return replace(blank, features=features(corpus, fold.train, settings, start, device).features), fold
    return frames(corpus, corpus.inputs, source, target, np.isin(np.arange(len(corpus)), fold.train)), fold


def _targets(frames: Frames) -> Iterable[tuple[int, str]]:
    return enumerate(frames.target, start=len(frames.source))


def _shuffled(rows: np.ndarray, generator: torch.Generator) -> np.ndarray:
    return rows[torch.randperm(len(rows), generator=generator).numpy()]


def _split(test: list[np.ndarray], pools: list[tuple[str, int, np.ndarray, float]], shares: Sequence[int]) -> Split:
    """Runs of each pool (whose, frames in all, rows that may adapt, place from 0 to 1), nested over the shares."""
    if not all(0 < share <= 50 for share in shares):
        raise ValueError(f"shares are percentages above 0 and up to 50, not {tuple(shares)}")
    adapt = []
    for share in shares:
        runs = []
        for whose, n_frames, pool, place in pools:
            size = min(math.floor(share * n_frames / 100 + 0.5), len(pool))
            if not size:
                raise ValueError(
                    f"no frame to adapt with: {whose} has {n_frames} frames, {len(pool)} of them for adaptation, and "
                    f"{share}% are less than one; leave out the share or the person, or make the gap smaller"
                )
            # a run that grows to both sides in the proportion of its place holds every shorter one
            start = math.floor(place * (len(pool) - size))
            runs.append(pool[start : start + size])
        adapt.append(np.sort(np.concatenate(runs)))
    return Split(np.sort(np.concatenate(test)), tuple(adapt), tuple(shares))


# --- training -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Networks trained on the source people.

    Attributes:
        sn: S copies, one per seed.
        pen: L x S copies: all seeds with the first pair of loss weights, then with the second, and so on.
        lambdas: the L pairs (lambda_0, lambda_1).
        histories: by stage, ``sn``, ``gate`` and ``pen``.
    """

    sn: SharedNetwork
    pen: PersonalizedExpertNetwork
    lambdas: tuple[tuple[float, float], ...]
    histories: dict[str, History]


def train_source(
    frames: Frames,
    folds: Sequence[Fold],
    settings: Settings,
    lambdas: Sequence[tuple[float, float]] | None = None,
    tuning: str = "joint",
    early_stop: bool = True,
    device: str = "cpu",
) -> Source:
    """Steps 2 and 3 of Algorithm 1's source learning, all seeds side by side, or from the cache.

    SN is tuned on the features; the experts start as SN; the gate is trained alone (alpha_c + lambda_1 alpha_r), then
    all together (equation 4), for few epochs. Every copy is left at its best validation epoch: by its loss for the
    gate, else by alpha^y, which can be compared over loss weights. Step 1, which tunes the backbone, lies behind the
    features.

    Args:
        frames: of all people.
        folds: one per seed.
        settings: of the run.
        lambdas: pairs (lambda_0, lambda_1), of which each gives a PEN of its own; by default that of the settings.
        tuning: ``"joint"``; or ``"individual"``, the paper's rejected alternative: each expert is tuned to its own
            person, apart from the gate, for as many epochs.
        early_stop: leave PEN at its best validation epoch; else at its last.
        device: where to train.

    Raises:
        ValueError: another tuning, not one fold per seed, folds of different sizes, or a fold without one of the
            people.
    """
    if tuning not in ("joint", "individual"):
        raise ValueError(f'tuning must be "joint" or "individual", not {tuning!r}')
    _check_one_per_seed("folds", folds, settings)
    seeds, n_people = list(settings.seeds), len(frames.source)
    for fold in folds:
        if missing := set(range(n_people)) - set(frames.person[fold.train].tolist()):
            who = ", ".join(frames.source[i] for i in sorted(missing))
            raise ValueError(f"a fold has no training frame of {who}: there would be more experts than people")
    if len({(len(fold.train), len(fold.val)) for fold in folds}) > 1 or not len(folds[0].val):
        raise ValueError("folds must have equally many training, and validation, frames for every seed, and some")
    pairs = tuple(lambdas or [(settings.lambda_0, settings.lambda_1)])
    stage = _Stages(frames, settings, device)
    x, y = stage.x, stage.y
    person = torch.as_tensor(frames.person).to(device)

    def data(of_copy: Sequence[int]) -> dict:
        """Each copy's rows, by the seed that it belongs to."""
        return {"rows": [folds[s].train for s in of_copy], "val_rows": np.stack([folds[s].val for s in of_copy])}

    every_seed = range(len(seeds))
    sn = SharedNetwork(x.shape[1], generators(seeds, 0), y.shape[1]).to(device)

    def sn_loss(rows: Tensor) -> Tensor:
        return affect_squared_error(sn(x[rows]), y[rows])

    histories = {}
    histories["sn"] = stage.run(
        "SN", sn, sn_loss, sn_loss, orders=generators(seeds, 1), epochs=settings.sn_epochs, **data(every_seed)
    )

    # the gate does not depend on lambda_0: one for each lambda_1
    of_gate = sorted({lambda_1 for _, lambda_1 in pairs})
    copies = [s for _ in of_gate for s in every_seed]
    gated = PersonalizedExpertNetwork.from_shared(
        select_copies(sn, copies), n_people, generators([seeds[s] for s in copies], 2)
    )
    l1 = torch.tensor(of_gate, device=device).repeat_interleave(len(seeds))

    def gate_loss(rows: Tensor) -> Tensor:
        return pen_gate_loss(gated.gate_logits(x[rows]), person[rows], l1, settings.l1)

    histories["gate"] = stage.run(
        "gate", gated, gate_loss, gate_loss, orders=generators([seeds[s] for s in copies], 3),
        epochs=settings.gate_epochs, trained=("gate_weight", "gate_bias"), depends_on=(of_gate, settings.l1),
        **data(copies),
    )  # fmt: skip

    copies = [s for _ in pairs for s in every_seed]
    pen = select_copies(gated, [of_gate.index(lambda_1) * len(seeds) + s for _, lambda_1 in pairs for s in every_seed])
    l0, l1 = (torch.tensor(part, device=device).repeat_interleave(len(seeds)) for part in zip(*pairs, strict=True))

    def joint_loss(rows: Tensor) -> Tensor:
        return pen_source_loss(pen(x[rows]), y[rows], person[rows], l0, l1, settings.l1)

    def individual_loss(rows: Tensor) -> Tensor:
        own = person[rows][..., None, None].expand(-1, -1, 1, y.shape[1])
        return affect_squared_error(pen.expert_predictions(x[rows]).gather(2, own).squeeze(2), y[rows])

    def pen_val(rows: Tensor) -> Tensor:
        return affect_squared_error(pen(x[rows]).mean, y[rows])

    joint = tuning == "joint"
    histories["pen"] = stage.run(
        "PEN", pen, joint_loss if joint else individual_loss, pen_val,
        orders=generators([seeds[s] for s in copies], 4), epochs=settings.joint_epochs,
        trained=None if joint else ("expert_weight", "expert_bias"),
        keep_last=not early_stop, depends_on=(pairs, settings.l1, tuning), **data(copies),
    )  # fmt: skip
    return Source(sn, pen, pairs, histories)


def choose_lambdas(
    frames: Frames, folds: Sequence[Fold], settings: Settings, device: str = "cpu"
) -> tuple[Settings, pd.DataFrame]:
    """The settings with the loss weights of the grid that validate best on the source people (section 4).

    Returns also alpha^y on the validation frames, mean over seeds, with lambda_0 down and lambda_1 across. An empty
    grid is the one pair of the settings.
    """
    down, across = settings.grid or (settings.lambda_0,), settings.grid or (settings.lambda_1,)
    pairs = list(itertools.product(down, across))
    source = train_source(frames, folds, settings, pairs, device=device)
    losses = np.reshape(source.histories["pen"].best_val, (len(down), len(across), -1)).mean(-1)
    table = pd.DataFrame(losses, index=pd.Index(down, name="lambda_0"), columns=pd.Index(across, name="lambda_1"))
    lambda_0, lambda_1 = pairs[int(losses.argmin())]
    return replace(settings, lambda_0=lambda_0, lambda_1=lambda_1), table


@dataclass(frozen=True)
class Adapted:
    """Networks after adaptation, one copy for each start, kind of split, seed and share, the last varying fastest.

    Starts are ``"s"``, the networks trained on the source people, and ``"t"``, random ones.
    """

    sn: SharedNetwork
    pen: PersonalizedExpertNetwork
    kinds: tuple[str, ...]
    n_seeds: int
    shares: tuple[int, ...]
    histories: dict[str, History]

    def copies(self, start: str, kind: str, share: int) -> list[int]:
        """Which copies (S,) of the networks have this start, kind of split and share, seed by seed."""
        shape = (2, len(self.kinds), self.n_seeds, len(self.shares))
        place = "st".index(start), self.kinds.index(kind), slice(None), self.shares.index(share)
        return np.arange(math.prod(shape)).reshape(shape)[place].tolist()


def adapt(
    frames: Frames, source: Source, splits: Mapping[str, Sequence[Split]], settings: Settings, device: str = "cpu"
) -> Adapted:
    """Adapt SN and PEN to the target people without their identities (equation 8), or take them from the cache.

    The source networks and random ones (t-SN, t-PEN), all seeds, kinds of split and shares train side by side, all
    experts and the gate. A random one sees features from a backbone tuned on source labels all the same (the paper's
    footnote 3). How long depends on the number of frames (:class:`Settings`), in units of an epoch of the largest
    share, rounded up.

    Args:
        frames: of all people.
        source: trained with one pair of loss weights.
        splits: by kind, one split per seed, all of the same shares.
        settings: of the run.
        device: where to train.

    Raises:
        ValueError: several pairs of loss weights, not one split per seed, or an empty adaptation set.
    """
    if len(source.lambdas) > 1:
        raise ValueError(f"choose one of the {len(source.lambdas)} pairs of loss weights before adaptation")
    for kind, of_seeds in splits.items():
        _check_one_per_seed(f"splits[{kind!r}]", of_seeds, settings)
        for split, share in itertools.product(of_seeds, range(len(settings.shares))):
            if split.shares != settings.shares or not len(split.adapt[share]):
                raise ValueError(
                    f"a {kind} split has {[len(rows) for rows in split.adapt]} adaptation frames for "
                    f"n = {split.shares}: each n of {settings.shares} needs some"
                )
    seeds, n_seeds, n_shares = list(settings.seeds), len(settings.seeds), len(settings.shares)
    every = list(itertools.product("st", splits, range(n_seeds), range(n_shares)))
    rows = [splits[kind][s].adapt[a] for _, kind, s, a in every]
    length = len(frames.target_rows) * max(settings.shares) // 100
    wanted = [max(settings.adapt_epochs * len(r), settings.min_steps * settings.batch_size) for r in rows]
    copies = {
        "rows": rows,
        "length": length,
        "epochs": [-(-n // length) for n in wanted],
    }
    stage = _Stages(frames, settings, device)
    x, y = stage.x, stage.y
    random = [seeds[s] for _, _, s, _ in every]
    n_features, n_out = x.shape[1], y.shape[1]
    sn = SharedNetwork(n_features, generators(random, 20), n_out).to(device)
    pen = PersonalizedExpertNetwork(n_features, source.pen.n_experts, generators(random, 21), n_out).to(device)
    trained = [s for start, _, s, _ in every if start == "s"]
    with torch.no_grad():
        for network, start in ((sn, source.sn), (pen, source.pen)):
            for p, q in zip(network.parameters(), start.parameters(), strict=True):
                p[: len(trained)] = q[trained]
    lambda_1 = source.lambdas[0][1]

    def orders(stream: int) -> list[torch.Generator]:
        return [g for _, _, s, a in every for g in generators([seeds[s]], stream + a)]

    def sn_loss(rows: Tensor) -> Tensor:
        return affect_squared_error(sn(x[rows]), y[rows])

    def pen_loss(rows: Tensor) -> Tensor:
        return pen_adaptation_loss(pen(x[rows]), y[rows], lambda_1, settings.l1)

    histories = {"sn": stage.run("SN, adaptation", sn, sn_loss, orders=orders(100), **copies)}
    histories["pen"] = stage.run(
        "PEN, adaptation", pen, pen_loss, orders=orders(200), depends_on=(lambda_1, settings.l1), **copies
    )
    return Adapted(sn, pen, tuple(splits), n_seeds, settings.shares, histories)


class _Stages:
    """What every stage of a run shares: the frames on their device, the optimiser's settings and the cache key."""

    def __init__(self, frames: Frames, settings: Settings, device: str):
        self.x, self.y, self.settings = frames.features.to(device), frames.labels.to(device), settings
        optimiser = settings.batch_size, settings.lr, settings.rho, settings.eps
        self.device = device
        self.key = content_key(RECIPE, frames.features, frames.labels, frames.person, optimiser)

    def run(
        self,
        label: str,
        model: nn.Module,
        loss: Callable[[Tensor], Tensor],
        val_loss: Callable[[Tensor], Tensor] | None = None,
        *,
        rows: Sequence[np.ndarray],
        orders: list[torch.Generator],
        epochs: int | Sequence[int],
        val_rows: np.ndarray | None = None,
        length: int | None = None,
        trained: Sequence[str] | None = None,
        keep_last: bool = False,
        depends_on: Sequence = (),
    ) -> History:
        """Train the copies of a model in place, or load them from the cache; an interrupted stage goes on.

        Args:
            label: what the progress bar says.
            model: every parameter has the C copies along its first axis.
            loss, val_loss: of rows (C, B), one value per copy (C,).
            rows: what each copy trains on.
            orders: one new generator per copy, for its minibatches.
            epochs: how many, for all copies or each; with ``val_loss`` a copy is left at its best, else at its last.
            keep_last: leave it at its last even so.
            val_rows: (C, n_val).
            length: frames of an epoch, for each copy; by default one pass over the first copy's.
            trained: names of the parameters to train; by default all.
            depends_on: what else ``loss`` depends on.
        """
        settings, length = self.settings, len(rows[0]) if length is None else length
        of_copies = [torch.from_numpy(r).to(self.x.device) for r in rows]
        states = [g.get_state() for g in orders]
        start = dict(model.named_parameters())
        decides = (self.key, label, start, rows, val_rows, states, epochs, length, trained, keep_last, depends_on)

        def validate() -> Tensor:
            batches = torch.from_numpy(val_rows).to(self.x.device).split(1024, 1)
            return sum(val_loss(batch) * batch.shape[1] for batch in batches) / val_rows.shape[1]

        def learn(checkpoint: Path) -> History:
            return fit(
                model,
                loss,
                minibatches(of_copies, orders, settings.batch_size, length),
                epochs=epochs,
                optimiser=partial(Adadelta, lr=settings.lr, rho=settings.rho, eps=settings.eps),
                validate=None if val_loss is None else validate,
                keep_best=not keep_last,
                trained=trained,
                draws=orders,
                checkpoint=checkpoint,
                label=label,
            )

        return cached_fit(model, learn, *decides, device=self.device)


def _check_one_per_seed(name: str, given: Sequence, settings: Settings) -> None:
    if len(given) != len(settings.seeds):
        raise ValueError(f"there are {len(given)} {name} for {len(settings.seeds)} seeds: one is needed for each")


# --- predictions ----------------------------------------------------------------------------------------------


@torch.no_grad()
def predict_rows(network: SharedNetwork | PersonalizedExpertNetwork, frames: Frames, rows: np.ndarray) -> Tensor:
    """What every copy of a network says of some frames, (C, n, 2)."""
    device = next(network.parameters()).device
    outputs = (network(x.to(device)) for x in frames.features[torch.from_numpy(rows)].split(2048))
    return torch.cat([(out.mean if isinstance(out, tuple) else out).cpu() for out in outputs], 1)


@torch.no_grad()
def predict(frames: Frames, source: Source, adapted: Adapted) -> dict[str, dict[str, Tensor]]:
    """What the four models say of all target frames, by kind of split: (S, 1 + A, N_t, 2), the first being n = 0.

    Frames are ``frames.target_rows``. At n = 0 s-SN and s-PEN are the source networks, t-SN and t-PEN are NaN.
    """
    shape = (2, len(adapted.kinds), adapted.n_seeds, len(adapted.shares))
    predictions = {kind: {} for kind in adapted.kinds}
    for name, before, after in (("SN", source.sn, adapted.sn), ("PEN", source.pen, adapted.pen)):
        at_zero = predict_rows(before, frames, frames.target_rows).unsqueeze(1)
        by_start = predict_rows(after, frames, frames.target_rows).unflatten(0, shape)
        for k, kind in enumerate(adapted.kinds):
            predictions[kind][f"s-{name}"] = torch.cat([at_zero, by_start[0, k]], 1)
            predictions[kind][f"t-{name}"] = torch.cat([torch.full_like(at_zero, math.nan), by_start[1, k]], 1)
    return {kind: {name: of_kind[name] for name in MODELS} for kind, of_kind in predictions.items()}


@torch.no_grad()
def mean_gate(model: PersonalizedExpertNetwork, frames: Frames, rows: np.ndarray) -> Tensor:
    """Mean weight of every expert for each person in the rows, (C, P, n_s): the matrices of figure 4.

    People are in the order of ``frames.source`` and then ``frames.target``.
    """
    people = np.unique(frames.person[rows])
    means = []
    for person in people:
        z = frames.features[torch.from_numpy(rows[frames.person[rows] == person])].to(model.gate_weight.device)
        means.append(torch.softmax(model.gate_logits(z), -1).mean(1).cpu())
    return torch.stack(means, 1)


# --- baselines without a model --------------------------------------------------------------------------------


def nearest_adapted(frames: Frames, split: Split) -> Tensor:
    """The label of the same person's nearest adapted frame in the same video, (1 + A, N_t, 2), n = 0 first.

    Of two equally near the earlier counts. NaN where nothing adapted: at n = 0, and in held-out videos.
    """
    # one time line on which recordings lie so far apart that the nearest frame is of the own one if that has any
    recording = frames.person * len(frames.videos) + frames.video
    line = recording * (3 * np.ptp(frames.time) + 3) + frames.time
    out = torch.full((1 + len(split.shares), len(frames.target_rows), 2), math.nan)
    for share, adapted in enumerate(split.adapt, start=1):
        rows = adapted[np.argsort(line[adapted])]
        asked = line[frames.target_rows]
        after = np.searchsorted(line[rows], asked).clip(0, len(rows) - 1)
        before = (after - 1).clip(0)
        nearest = rows[np.where(asked - line[rows[before]] <= np.abs(line[rows[after]] - asked), before, after)]
        own = recording[nearest] == recording[frames.target_rows]
        out[share, own] = frames.labels[nearest[own]]
    return out


def person_mean(frames: Frames, split: Split) -> Tensor:
    """The mean label of the same person's adapted frames, (1 + A, N_t, 2), n = 0 first; NaN where nothing adapted."""
    out = torch.full((1 + len(split.shares), len(frames.target_rows), 2), math.nan)
    for share, rows in enumerate(split.adapt, start=1):
        person = frames.person[rows] - len(frames.source)
        counts = np.bincount(person, minlength=len(frames.target))[:, None]
        sums = [np.bincount(person, values, minlength=len(frames.target)) for values in frames.labels[rows].numpy().T]
        with np.errstate(invalid="ignore"):
            out[share] = torch.from_numpy(np.stack(sums, 1) / counts)[frames.target_person].float()
    return out


def mean_trace(frames: Frames, held_out: Sequence[str] = ()) -> Tensor:
    """The source people's mean label at the same second of the same video, (N_t, 2).

    Where no source person has that second of the video (in RECOLA everyone has a recording of their own; videos
    held out) it is their mean at the same second of all videos, and failing that over everything.
    """
    labels = pd.DataFrame(frames.labels.numpy(), columns=DIMENSIONS)
    table = labels.assign(video=frames.video, second=np.floor(frames.time).astype(np.int64))
    source, asked = table.iloc[frames.source_rows(held_out)], table.iloc[frames.target_rows]
    columns = list(DIMENSIONS)
    here = source.groupby(["video", "second"])[columns].mean()
    here = here.reindex(pd.MultiIndex.from_frame(asked[["video", "second"]])).to_numpy()
    anywhere = source.groupby("second")[columns].mean().reindex(asked["second"]).to_numpy()
    anywhere = np.where(np.isnan(anywhere), source[columns].mean().to_numpy(), anywhere)
    return torch.from_numpy(np.where(np.isnan(here), anywhere, here)).float()


def video_mean(frames: Frames, held_out: Sequence[str] = ()) -> Tensor:
    """The source people's mean label of the same video, (N_t, 2); over everything where none of them has seen it."""
    out = frames.labels[frames.source_rows(held_out)].mean(0).repeat(len(frames.target_rows), 1)
    rows, asked = frames.source_rows(held_out), frames.video[frames.target_rows]
    for video in np.intersect1d(frames.video[rows], asked):
        out[asked == video] = frames.labels[rows[frames.video[rows] == video]].mean(0)
    return out


def baselines(frames: Frames, splits: Sequence[Split]) -> dict[str, Tensor]:
    """What can be said of target frames without a model, as (S, 1 + A, N_t, 2), one split per seed, n = 0 first.

    ``nearest adapted frame`` falls back on ``person mean`` where a video has no adapted frame, and that on ``source
    mean`` where the person has none (n = 0). ``mean trace``, ``video mean`` and ``source mean`` do not adapt.
    """
    said = {name: [] for name in BASELINES}
    for split in splits:
        source_mean = frames.labels[frames.source_rows(split.held_out)].mean(0)
        of_person = person_mean(frames, split)
        of_person = torch.where(of_person.isnan(), source_mean, of_person)
        nearest = nearest_adapted(frames, split)
        said["nearest adapted frame"].append(torch.where(nearest.isnan(), of_person, nearest))
        said["mean trace"].append(mean_trace(frames, split.held_out).expand_as(nearest))
        said["video mean"].append(video_mean(frames, split.held_out).expand_as(nearest))
        said["person mean"].append(of_person)
        said["source mean"].append(source_mean.expand_as(nearest))
    return {name: torch.stack(of_seeds) for name, of_seeds in said.items()}


# --- evaluation -----------------------------------------------------------------------------------------------


def person_sums(predictions: Tensor, frames: Frames, splits: Sequence[Split]) -> np.ndarray:
    """Sums over each target person's test frames for CCC and RMSE: (S, ..., N_t, 2) to (S, ..., P, 2, 6).

    The sums are those of `sums.moment_sums` (predictions first), people in the order of ``frames.target``:
    added over people they give the pooled values, and seed by seed one of them, (S, P, 6), goes into
    `claims.effect_interval` with people as clusters. Where all predictions are NaN (t-SN and t-PEN at n = 0) so are
    the sums.

    Raises:
        ValueError: not one split per seed, or predictions that are in part not finite.
    """
    if len(splits) != len(predictions):
        raise ValueError(f"there are {len(splits)} splits for the predictions of {len(predictions)} seeds")
    labels = frames.labels[frames.target_rows].double().numpy()
    sums = []
    for of_seed, split in zip(predictions.double().numpy(), splits, strict=True):
        test = np.isin(frames.target_rows, split.test)
        asked = of_seed.reshape(-1, *of_seed.shape[-2:])[:, test]
        undefined = np.isnan(asked).all((-2, -1))
        values = moment_sums(np.where(undefined[:, None, None], 0, asked), labels[test])
        added = cluster_sums(values.reshape(*values.shape[:2], -1), frames.target_person[test])
        added[undefined] = np.nan
        sums.append(added.reshape(*of_seed.shape[:-2], len(frames.target), *values.shape[-2:]))
    return np.stack(sums)


def ccc_contrast(weights: Sequence[float], sums: Sequence[np.ndarray]) -> Effect:
    """Interval of a weighted sum of pooled CCCs of the same seeds and people, for example with 1 and -1 a difference.

    Args:
        weights: one for each of the sums.
        sums: (S, P, 6) each, one dimension of :func:`person_sums`.
    """

    def contrast(stacked: np.ndarray) -> np.ndarray:
        parts = stacked.reshape(*stacked.shape[:-1], len(weights), -1)
        return ccc_from_sums(parts) @ np.asarray(weights, dtype=np.float64)

    return effect_interval(np.concatenate(list(sums), -1), contrast)


@dataclass(frozen=True)
class Scores:
    """CCC and RMSE pooled over people (..., 2) and of each person (..., P, 2), for valence and arousal.

    Attributes:
        constant: (..., P, 2), where a person's test labels are constant: their CCC is undefined, ``person_ccc`` is
            NaN there, and they are to be left out of means over people and counted. They stay among the pooled.
    """

    ccc: np.ndarray
    rmse: np.ndarray
    person_ccc: np.ndarray
    person_rmse: np.ndarray
    constant: np.ndarray


def scores(sums: np.ndarray) -> Scores:
    """Pooled and per-person scores from :func:`person_sums` (..., P, 2, 6).

    The paper does not say whether its tables pool the target people, as AVEC does, or average their values; pooling
    gives credit for differences between people.
    """
    n, y, yy = sums[..., 0], sums[..., 2], sums[..., 4]
    constant = yy / n - (y / n) ** 2 <= CONSTANT * yy / n
    pooled = sums.sum(-3)
    by_person = np.where(constant, np.nan, ccc_from_sums(sums))
    return Scores(ccc_from_sums(pooled), rmse_from_sums(pooled), by_person, rmse_from_sums(sums), constant)


def table(sums: Mapping[str, np.ndarray], shares: Sequence[int], statistic: Statistic = ccc_from_sums) -> pd.DataFrame:
    """Table 1: a pooled statistic, mean over seeds, by dimension and model down and n across.

    Args:
        sums: by model, from :func:`person_sums`, (S, 1 + A, P, 2, 6).
        shares: the A percentages.
        statistic: of the sums, for example `metrics.rmse_from_sums`.
    """
    values = {name: statistic(of_model.sum(-3)).mean(0) for name, of_model in sums.items()}
    rows = {(dim, name): value[:, d] for d, dim in enumerate(DIMENSIONS) for name, value in values.items()}
    out = pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index((0, *shares), name="n [%]"))
    out.index = pd.MultiIndex.from_tuples(out.index, names=["dimension", "model"])
    return out
