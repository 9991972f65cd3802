"""UncNet's protocol: two networks, and predictions in three ways, on frozen features of FER+ faces.

Sources: sections 3 and 4 of the paper, and its published code (asmadotgh/unc-net, MIT) where the text is silent.
"""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.compute.cache import code_key
from uncertain_affect.compute.parallel import run_all
from uncertain_affect.corpora.base import SPLITS, Expressions
from uncertain_affect.losses import soft_label_cross_entropy
from uncertain_affect.metrics import entropy_decomposition
from uncertain_affect.models.backbones import PUBLISHED_WEIGHTS
from uncertain_affect.models.uncnet import UncNet, mc_uncertainty
from uncertain_affect.papers.predictions import Predictions, stack_by_name
from uncertain_affect.training.features import frozen_features
from uncertain_affect.training.fit import History, cached_fit, fit_tensors, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

CONTROL = "UncNet, dropout off"
ONE_RATE = "one rate"
# of one network, at the rate that validation chooses: only inference differs
OFF, ON = f"{ONE_RATE}, dropout off", f"{ONE_RATE}, dropout on"
ARMS = ("Baseline", "UncNet", CONTROL, OFF, ON)
QUICK_EPOCHS = 60  # at most, on a published network's features, from which Baseline learns for hundreds
PRINTED_EPOCHS = {"Baseline": 403, "UncNet": 819}  # the checkpoints in the authors' notebook


@dataclass(frozen=True)
class UncNetSettings:
    """Everything that decides a run.

    The paper trains its two networks at different rates, Baseline at 1e-4 and UncNet at 1e-5, and keeps different
    epochs (403 and 819). ``lr_factor`` raises both rates alike: at 1e-5 a few epochs leave UncNet untrained. Training
    ends at a validation plateau, ``patience`` epochs in which no seed improves, or, ``as_printed``, after the printed
    number of epochs.
    """

    seeds: tuple[int, ...]
    lr_factor: float
    patience: int
    max_epochs: int = 819
    lr_baseline: float = 1e-4
    lr_uncnet: float = 1e-5
    batch_size: int = 90
    clip_norm: float = 5.0
    dropout: float = 0.2
    n_samples: int = 100
    as_printed: bool = False
    rates: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2)  # to choose among: of the paper's grid, from 5e-6 to 1e-1

    def rate(self, network: str) -> float:
        """The learning rate of ``"Baseline"`` or ``"UncNet"``."""
        return self.lr_factor * {"Baseline": self.lr_baseline, "UncNet": self.lr_uncnet}[network]


def settings(profile: str, seed: int = 0, features: str = "hog", corpus: str = "ferplus") -> UncNetSettings:
    """The settings of a profile; seeds count up from ``seed``.

    The printed epochs belong to the features of a published face network. These come unscaled, as in the paper, where
    ten times the printed rate kills every seed of Baseline: quick keeps the rates. Other features are learnt to a
    plateau, those of simulated faces, a tenth as many as FER+ has, at ten times the printed rates: 20 worlds in full.

    Raises:
        ValueError: no such profile.
    """
    seeds, as_printed = range(seed, seed + 20), features in PUBLISHED_WEIGHTS
    if profile == "quick":
        own = {"lr_factor": 1, "max_epochs": QUICK_EPOCHS} if as_printed else {"lr_factor": 10}
        return UncNetSettings(tuple(seeds[:5]), patience=3, rates=(1e-4, 1e-3, 1e-2), **own)
    if profile == "full":
        worlds = corpus == "simulated"
        n, own = (20, {"rates": (1e-4, 1e-3, 1e-2)}) if worlds else (5 if as_printed else 10, {})
        factor = 10 if worlds else 1
        return UncNetSettings(tuple(seeds[:n]), lr_factor=factor, patience=10, as_printed=as_printed, **own)
    raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')


def load(name: str, settings: UncNetSettings, root: str | os.PathLike | None = None, **options) -> list[Expressions]:
    """The corpus; of the simulated world one for each seed, whose people, pictures and votes a seed redraws.

    ``options`` are those of the simulated view; by default a world has 4,600 pictures.

    Workers of a cluster share the drawing, see :func:`parallel.run_all`.

    Raises:
        CorpusError: it is not there, or not as it should be.
    """
    if name != "simulated":
        return [corpora.load(name, root)]
    options = {"view": "ferplus", "size": "quick", **options}
    run_all(_draw, {seed: (seed, options) for seed in settings.seeds}, label="worlds")
    return [corpora.load("simulated", seed=seed, **options) for seed in settings.seeds]


def _draw(seed: int, options: dict) -> None:
    corpora.load("simulated", seed=seed, **options)  # into the cache: a world is too large to be sent around


def features(
    worlds: list[Expressions], kind: str, root: str | os.PathLike | None = None, device: str = "cpu"
) -> list[np.ndarray]:
    """Frozen features (N, D) of the images of each world, see :func:`features.frozen_features`, shared by workers."""
    calls = {i: (np.asarray(world.images), kind, None, root, device) for i, world in enumerate(worlds)}
    return list(run_all(frozen_features, calls, device, label="features").values())


class Faces(NamedTuple):
    """Inputs and targets of the classifier: features (N, D) and vote proportions (N, C) of each split.

    Attributes:
        features, targets: by split, ``train``, ``val`` and ``test``; with a leading axis of S where every seed has
            its own world (:func:`side_by_side`).
    """

    features: dict[str, Tensor]
    targets: dict[str, Tensor]


def faces(features: np.ndarray, proportions: Tensor, split: np.ndarray, standardise: bool) -> Faces:
    """Split features and vote proportions.

    Args:
        features: (N, D) frozen features.
        proportions: (N, C) shares of the votes.
        split: (N,) ``train``, ``val`` or ``test``.
        standardise: to zero mean and unit variance over the training images, which hand-made features need;
            the paper feeds the features of its face network as they are.

    Raises:
        ValueError: a split has no image.
    """
    rows = {name: torch.as_tensor(split == name) for name in SPLITS}
    for name, chosen in rows.items():
        if not chosen.any():
            raise ValueError(f"no image is in the split {name!r}")
    x = torch.as_tensor(np.array(features), dtype=torch.float32)
    if standardise:
        train = x[rows["train"]]
        x = (x - train.mean(0)) / train.std(0).clamp(min=1e-6)
    return Faces({s: x[r] for s, r in rows.items()}, {s: proportions[r].float() for s, r in rows.items()})


def side_by_side(worlds: list[Faces]) -> Faces:
    """One world for all seeds as it is, or one world per seed stacked along a leading axis."""
    if len(worlds) == 1:
        return worlds[0]
    return Faces(*(stack_by_name([getattr(world, name) for world in worlds]) for name in Faces._fields))


class Trained(NamedTuple):
    """One network of the paper, in S copies, its learning rate, and how its training went."""

    model: UncNet
    history: History
    rate: float


def train(
    data: Faces, settings: UncNetSettings, network: str, device: str = "cpu", rate: float | None = None
) -> Trained:
    """Train ``"Baseline"`` or ``"UncNet"`` for all seeds side by side, or take them from the cache.

    All train with dropout, as in the published code; they differ in learning rate, and so in stopping point. With a
    ``rate`` of its own a network of any other name is trained to its plateau. An interrupted training goes on where it
    stopped.
    """
    stream = {"Baseline": 0, "UncNet": 10}.get(network, 40)
    seeds, fixed = list(settings.seeds), settings.as_printed and rate is None
    fitting = {"lr": settings.rate(network) if rate is None else rate, "batch_size": settings.batch_size}
    fitting |= {"max_epochs": PRINTED_EPOCHS[network] if fixed else settings.max_epochs, "keep_best": not fixed}
    fitting |= {"patience": None if fixed else settings.patience, "clip_norm": settings.clip_norm}
    n_features, n_classes = data.features["train"].shape[-1], data.targets["train"].shape[-1]
    model = UncNet(n_features, generators(seeds, stream), n_classes=n_classes, dropout=settings.dropout)

    def learn(checkpoint: Path) -> History:
        return fit_tensors(
            model,
            soft_label_cross_entropy,
            *((data.features[s].to(device), data.targets[s].to(device)) for s in ("train", "val")),
            order=generators(seeds, stream + 1),
            own_data=data.features["train"].ndim == 3,
            checkpoint=checkpoint,
            label=network,
            **fitting,
        )

    key = (RECIPE, network, settings.seeds, settings.dropout, fitting, *data)
    return Trained(model, cached_fit(model, learn, *key, device=device), fitting["lr"])


def losses_by_rate(data: Faces, settings: UncNetSettings, device: str = "cpu") -> dict[float, float]:
    """The least validation loss (nat) at each of the settings' rates of the first seed, trained to its plateau.

    A training whose loss grows without bound has an infinite one.
    """
    first = Faces(*({s: x[0] if x.ndim == 3 else x for s, x in part.items()} for part in data))
    one, found = replace(settings, seeds=settings.seeds[:1]), {}
    for rate in settings.rates:
        try:
            found[rate] = train(first, one, f"at a rate of {rate:g}", device, rate).history.best_val[0]
        except FloatingPointError:
            found[rate] = math.inf
    return found


def predict(data: Faces, networks: dict[str, Trained], settings: UncNetSettings) -> dict[str, Predictions]:
    """Predictions of the arms for the test images.

    ``Baseline`` is its own network with dropout off and ``UncNet`` another one with dropout on, as in the paper,
    where the comparison also carries the difference in training. In the controls that the paper lacks only inference
    differs: the UncNet network with dropout off and on, and one network at the rate that validation chooses.
    """
    x = data.features["test"].to(networks["UncNet"].model.weights[0].device)
    arms = {
        "UncNet": _dropout_on(networks["UncNet"].model, x, settings, stream=20),
        "Baseline": _dropout_off(networks["Baseline"].model, x),
        CONTROL: _dropout_off(networks["UncNet"].model, x),
    }
    if ONE_RATE in networks:
        arms[OFF] = _dropout_off(networks[ONE_RATE].model, x)
        arms[ON] = _dropout_on(networks[ONE_RATE].model, x, settings, stream=50)
    return arms


def _dropout_on(model: UncNet, x: Tensor, settings: UncNetSettings, stream: int) -> Predictions:
    sampled = []
    for member, draws in enumerate(generators(list(settings.seeds), stream)):
        own = x[member] if x.ndim == 3 else x
        mean, uncertainties = mc_uncertainty(model, own, settings.n_samples, draws, member=member)
        sampled.append((mean.cpu(), *(u.cpu() for u in uncertainties)))
    return Predictions(*(torch.stack(parts) for parts in zip(*sampled, strict=True)))


@torch.no_grad()
def _dropout_off(model: UncNet, x: Tensor) -> Predictions:
    return Predictions.from_samples(torch.softmax(model(x).double(), -1).cpu()[None], entropy_decomposition)


class TestImages(NamedTuple):
    """The test images of every seed's world, and what may be compared on them.

    Attributes:
        votes: (S, N, 9) votes for the nine classes without NF.
        clusters: (N,) which images count as one observation. Where all seeds share one world these are groups of
            identical images, crossed with the seeds. Where every seed has its own world, a world is one observation
            and all its images one cluster.
        subsets: (N,) masks by name, ``all`` and, in a shared world, ``deduplicated`` (not also in training).
        worlds: the test part of each world.
        truth: (S, N, ...) true values, known in the simulated world; empty elsewhere.
    """

    votes: Tensor
    clusters: Tensor
    subsets: dict[str, Tensor]
    worlds: list[Expressions]
    truth: dict[str, Tensor]

    @property
    def n_clusters(self) -> int:
        return len(self.clusters.unique())


def test_images(worlds: list[Expressions], n_seeds: int) -> TestImages:
    """The test images of one world shared by all seeds, or of one world per seed (equally many in each)."""
    tests = [world.subset(world.split == "test") for world in worlds]
    votes = torch.stack([test.votes[:, :9] for test in tests]).expand(n_seeds, -1, -1)
    everything = torch.ones(votes.shape[1], dtype=torch.bool)
    if len(worlds) > 1:
        truth = stack_by_name([test.truth for test in tests])
        return TestImages(votes, torch.zeros_like(everything, dtype=torch.int64), {"all": everything}, tests, truth)
    unseen = ~worlds[0].duplicates_of_training()[worlds[0].split == "test"]
    return TestImages(votes, tests[0].groups, {"all": everything, "deduplicated": unseen}, tests, {})
