"""PEN's settings, its corpora, and the frames of source and target people."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.corpora import ceap360vr
from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.training.finetune import FineTuningSettings

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
    bad = np.flatnonzero(~x.isfinite().all(1).numpy() & (person >= 0))
    if len(bad):
        raise ValueError(
            f"features of {len(bad)} frames are not finite, the first of {corpus.person[bad[0]]} in video "
            f"{corpus.video[bad[0]]} at {corpus.time[bad[0]]:g} s: leave such frames, or people, out and count them"
        )
    videos, video = np.unique(corpus.video, return_inverse=True)
    labels, time = corpus.valence_arousal.float(), corpus.time.double().numpy()
    return Frames(x, labels, person, video, time, source, target, tuple(videos.tolist()))
