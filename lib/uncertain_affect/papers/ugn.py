"""UGN's protocol: five methods on frozen features of faces, over subject-exclusive folds.

Sources: the paper's sections on features, uncertain graph and experiments. It publishes no code; what its text leaves
open is settled in the settings below and explained in the notebooks.

The residual network is tuned on the training subjects of a fold, once with the plain loss (ResNet18) and once with the
balanced one (ResNet-BL), and then left alone. On its pooled features all seeds train side by side: first the branches
of the action units, then the graph networks (GN-D, UGN, UGN-B) on the frozen branches of the same seed's ResNet-BL.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.compute.cache import code_key
from uncertain_affect.compute.parallel import run_all
from uncertain_affect.corpora.base import ActionUnits, Expressions
from uncertain_affect.evidence.resampling import Floats, Statistic
from uncertain_affect.losses import action_unit_cross_entropy, occurrence_weights
from uncertain_affect.metrics import bernoulli_entropy_decomposition
from uncertain_affect.metrics.sums import f1_from_counts
from uncertain_affect.models.backbones import ResNet
from uncertain_affect.models.ugn import ActionUnitBranches, UncertainGraphNetwork
from uncertain_affect.papers.predictions import Predictions
from uncertain_affect.training.finetune import FineTuningSettings, finetune
from uncertain_affect.training.fit import History, cached_fit, fit_tensors, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

BRANCHES = ("ResNet18", "ResNet-BL")
GRAPHS = ("GN-D", "UGN", "UGN-B")
METHODS = (*BRANCHES, *GRAPHS)
# UGN with every loss multiplied by 1 + 1/K, the mean of Eq. 11's weights: what UGN-B is if the weighting is inert.
CONSTANT = "UGN, constant weight"
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 1.0)
# How BP4D and DISFA are read: in quick small, grey, and every twentieth frame; in full as the paper does.
RECORDINGS = {"bp4d", "disfa"}
READING = {"quick": {"size": 64, "colour": False, "every": 20}, "full": {"size": 256}}


@dataclass(frozen=True)
class UgnSettings:
    """Everything that decides a run.

    Of the second stage the paper gives the learning rate (.01), the batch (16) and the widths; of the first, none.
    The optimiser is Adam throughout. Training ends when no seed has improved on the validation subjects for
    ``patience`` epochs: the paper, which has no validation set, does not tell when it stops.

    Attributes:
        pretraining: how the residual network learns from other simulated pictures before.
        trunk: how it is tuned.
        branch_width: d, width of an action unit's feature vector.
        lr_branches, batch_branches: of the branches.
        n_samples: S, masks drawn at test.
        n_training_samples: masks drawn in training, for the weights of Eq. 11 and for validation.
        least_frames: of an epoch.
    """

    seeds: tuple[int, ...]
    pretraining: FineTuningSettings
    trunk: FineTuningSettings
    branch_width: int
    max_epochs: int
    patience: int = 2
    lr_branches: float = 1e-3
    batch_branches: int = 64
    lr: float = 0.01
    batch_size: int = 16
    n_samples: int = 20
    n_training_samples: int = 5
    least_frames: int = 800


def settings(profile: str, seed: int = 0, device: str = "cuda") -> UgnSettings:
    """The settings of a profile; seeds count up from ``seed``.

    The published sizes need a GPU: on a CPU full has half the ResNet's width, a quarter of the branches', and fewer
    epochs, as many as an hour allows on FER+.

    Raises:
        ValueError: no such profile.
    """
    if profile == "quick":
        pretraining = FineTuningSettings(width=16, lr=3e-3, epochs=10)
        trunk = FineTuningSettings(width=16, lr=2e-3, epochs=4, min_steps=60)
        return UgnSettings(tuple(range(seed, seed + 5)), pretraining, trunk, 64, max_epochs=4, least_frames=400)
    if profile == "full":
        width, branch_width, epochs = (32, 128, 8) if device == "cpu" else (64, 512, 12)
        pretraining = FineTuningSettings(width=width, lr=2e-3, epochs=epochs)
        trunk = replace(pretraining, min_steps=300)
        return UgnSettings(tuple(range(seed, seed + 20)), pretraining, trunk, branch_width, max_epochs=10)
    raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')


# --- frames and folds ----------------------------------------------------------------------------------------


class Split(NamedTuple):
    """Rows (int64) of the training, validation and test frames of one fold."""

    train: Tensor
    val: Tensor
    test: Tensor


def load(corpus: str, profile: str, seed: int = 0, root: str | Path | None = None) -> dict[str, ActionUnits]:
    """The data sets of a corpus by name: both views of the simulated world, or the corpus itself.

    FER+ comes as eight emotions in the place of action units, see :func:`emotions_as_units`; BP4D and DISFA come as
    ``READING`` has it.

    Raises:
        CorpusError: as :func:`corpora.load`.
    """
    if corpus == "simulated":
        return {view: corpora.load(corpus, view=view, size=profile, seed=seed) for view in ("bp4d", "disfa")}
    loaded = corpora.load(corpus, root, **(READING[profile] if corpus in RECORDINGS else {}))
    return {corpus: emotions_as_units(loaded) if isinstance(loaded, Expressions) else loaded}


def emotions_as_units(faces: Expressions) -> ActionUnits:
    """FER+ as a multi-label problem: an emotion is present where at least two of the ten annotators chose it.

    Groups of identical images stand for subjects, since FER+ does not tell who is shown. There is one fold to test on,
    FER+'s own test images (fold 1); its training and validation images are folds -1 and -2, which are never tested.
    """
    labels, subject = (faces.votes[:, :8] >= 2).to(torch.int8), np.char.add("group ", faces.groups.numpy().astype(str))
    fold = torch.from_numpy(np.select([faces.split == "test", faces.split == "val"], [1, -2], -1))
    return ActionUnits(faces.images, labels, faces.classes[:8], subject, fold, left_out=faces.left_out)


def splits(data: ActionUnits) -> list[Split]:
    """Training, validation and test frames of each fold.

    Of the subjects not under test every fifth, in the order of their names, is for validation. Emotions of FER+ keep
    FER+'s own split.

    Raises:
        ValueError: a subject in two folds, or no frame to train on, to validate on or to test on.
    """
    fold, subject, parts = data.fold.numpy(), data.subject, []
    if fold.min(initial=0) < 0:
        parts = [Split(*((data.fold == k).nonzero()[:, 0] for k in (-1, -2, 1)))]
    else:
        folds_of = pd.Series(fold).groupby(subject).unique()
        if len(twice := folds_of[folds_of.map(len) > 1]):
            folds = sorted(twice.iloc[0].tolist())
            raise ValueError(f"subject {twice.index[0]} is in folds {folds}: all frames of one belong to one fold")
        for held_out in (fold == k for k in np.unique(fold)):
            val = np.isin(subject, np.unique(subject[~held_out])[::5])
            rows = (~held_out & ~val, ~held_out & val, held_out)
            parts.append(Split(*(torch.from_numpy(part.nonzero()[0]) for part in rows)))
    for i, part in enumerate(parts):
        if empty := [purpose for purpose, rows in part._asdict().items() if not len(rows)]:
            raise ValueError(f"fold {i}, counted from 0, has no {empty[0]} frame: it takes more subjects, or folds")
    return parts


def part_of(split: Split, fraction: float, seed: int) -> Split:
    """The split with a part of its training frames, drawn uniformly; a smaller part lies within a larger one.

    Two frames at the least, since one has no standard deviation.

    Raises:
        ValueError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the training frames is in (0, 1], not {fraction}")
    shuffled = split.train[torch.randperm(len(split.train), generator=generators([seed], 40)[0])]
    return split._replace(train=shuffled[: max(2, round(fraction * len(shuffled)))].sort().values)


def noisy(labels: Tensor, rate: float, seed: int) -> Tensor:
    """Labels (N, A), each known one flipped with probability ``rate``."""
    flipped = torch.rand(labels.shape, generator=generators([seed], 50)[0]) < rate
    return torch.where(flipped & (labels >= 0), 1 - labels, labels)


# --- training ------------------------------------------------------------------------------------------------


class Fold(NamedTuple):
    """One fold ready for its networks: pooled features (N, D) of all frames, labels (N, A), rows, loss weights (A,)."""

    features: Tensor
    labels: Tensor
    split: Split
    tau: Tensor


def _balanced_loss(tau: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda logits, labels: action_unit_cross_entropy(logits, labels, tau.to(logits))


def prepare(
    data: ActionUnits,
    split: Split,
    settings: UgnSettings,
    *,
    balanced: bool = True,
    labels: Tensor | None = None,
    seed: int = 0,
    start: ResNet | None = None,
    device: str = "cpu",
) -> Fold:
    """Tune the residual network on a fold's training frames and extract the features of all frames, or from the cache.

    Args:
        balanced: with the weights tau of Eq. 2 (ResNet-BL), or without (ResNet18).
        labels: (N, A), to train on other labels than the corpus's own, with noise for example.
        seed: of the tuning; one network serves all seeds of what follows.
        start: the network to start from, random weights if None.

    Raises:
        ValueError: labels other than 1, 0 and -1, or a unit that never occurs in training frames.
    """
    labels = data.labels if labels is None else labels
    # the rates of the whole fold, whatever part of it is trained on: a part may not contain every unit
    training = torch.ones(len(data), dtype=torch.bool)
    training[torch.cat([split.val, split.test])] = False
    tau = occurrence_weights(labels[training], data.au_names)
    tau = tau if balanced else torch.ones_like(tau)
    options = {"loss_key": ("action units", tau), "start": start, "device": device, "label": "ResNet"}
    x, _ = finetune(data.images, labels, split.train, _balanced_loss(tau), len(tau), settings.trunk, seed, **options)
    mean, sd = x[split.train].mean(0), x[split.train].std(0).clamp(min=1e-6)
    return Fold((x - mean) / sd, labels, split, tau)


def train_branches(fold: Fold, settings: UgnSettings, device: str = "cpu") -> ActionUnitBranches:
    """The branches of the action units on a fold's features, for all seeds side by side, or from the cache."""
    n_features, n_au, seeds = fold.features.shape[1], fold.labels.shape[1], list(settings.seeds)
    model = ActionUnitBranches(n_features, n_au, generators(seeds), width=settings.branch_width)
    fitting = {"lr": settings.lr_branches, "batch_size": settings.batch_branches}
    return _fitted(model, _balanced_loss(fold.tau), fold, settings, seeds, "branches", fitting, fold.tau, device)


def train_graphs(
    fold: Fold,
    branches: ActionUnitBranches,
    settings: UgnSettings,
    methods: Sequence[str] = GRAPHS,
    device: str = "cpu",
    **options,
) -> UncertainGraphNetwork:
    """The graph networks of all seeds of the first method, then of the next, ... side by side, or from the cache.

    A seed's networks read the frozen branches of the same seed, start from the same weights and see the same
    minibatches. At test those that draw masks share the noise too; in training UGN-B, which draws twice, has its own.

    Args:
        methods: of ``GRAPHS`` and ``CONSTANT``.
        options: of :class:`UncertainGraphNetwork`, for ablations.
    """
    seeds = list(settings.seeds) * len(methods)
    arms = ["UGN" if method == CONSTANT else method for method in methods for _ in settings.seeds]
    frozen = {"branches": branches, "branch_copies": list(range(len(settings.seeds))) * len(methods)}
    samples = dict.fromkeys(("n_samples", "n_weight_samples"), settings.n_training_samples)
    sizes = (fold.labels.shape[1], settings.branch_width)
    model = UncertainGraphNetwork(*sizes, generators(seeds, 10), arms, **frozen, **samples, **options)
    scale = torch.tensor([1 + (method == CONSTANT) / settings.batch_size for method in methods for _ in settings.seeds])

    def loss(outputs, labels: Tensor) -> Tensor:
        losses = action_unit_cross_entropy(outputs.logits, labels, example_weights=outputs.weights)
        return scale.to(losses) * losses

    fitting = {"lr": settings.lr, "batch_size": settings.batch_size}
    depends_on = [methods, options, settings.n_training_samples, dict(model.named_buffers())]
    return _fitted(model, loss, fold, settings, seeds, "graphs", fitting, depends_on, device)


def _fitted(model, loss, fold, settings, seeds, label, fitting, depends_on, device):
    """The model, trained or from the cache; its attribute ``history`` says how that went."""
    fitting |= {"max_epochs": settings.max_epochs, "patience": settings.patience}
    # an epoch passes several times over a small training set
    passes = max(1, -(-settings.least_frames // len(fold.split.train)))
    parts = [(fold.features[rows], fold.labels[rows]) for rows in (fold.split.train.repeat(passes), fold.split.val)]

    def learn(checkpoint: Path) -> History:
        data, order = ((x.to(device), y.to(device)) for x, y in parts), generators(seeds, 20)
        return fit_tensors(model, loss, *data, order=order, checkpoint=checkpoint, label=label, **fitting)

    decides = (label, settings.seeds, settings.branch_width, fitting, depends_on, parts)
    model.history = cached_fit(model, learn, RECIPE, *decides, device=device)
    return model


# --- prediction ----------------------------------------------------------------------------------------------


@torch.no_grad()
def predict_branches(fold: Fold, branches: ActionUnitBranches) -> Predictions:
    """Predictions of the branches of all seeds for the test frames of a fold: probabilities (S, n, A) of each unit."""
    probs = torch.sigmoid(branches(fold.features[fold.split.test].to(branches.weight.device)).double()).cpu()
    return Predictions.from_samples(probs[None], bernoulli_entropy_decomposition)


def predict_graphs(
    fold: Fold, graphs: UncertainGraphNetwork, settings: UgnSettings, methods: Sequence[str] = GRAPHS
) -> dict[str, Predictions]:
    """Predictions of the graph networks of each method for the test frames of a fold, S masks drawn for each."""
    x, n_seeds = fold.features[fold.split.test].to(graphs.readout.device), len(settings.seeds)
    graphs.generators = generators(list(settings.seeds) * len(methods), 30)
    # S probabilities of a batch at a time
    batches = (graphs.probabilities(batch, settings.n_samples).double().cpu() for batch in x.split(2048))
    parts = [Predictions.from_samples(probs, bernoulli_entropy_decomposition) for probs in batches]
    copies = Predictions.concatenate(parts)
    return {method: copies[i * n_seeds : (i + 1) * n_seeds] for i, method in enumerate(methods)}


@dataclass(frozen=True)
class Tested:
    """All test frames of all folds, and the predictions of every method for them.

    Attributes:
        rows: (n,), of the data set.
        labels: (n, A); -1 where unknown.
        subject: str (n,).
        fold: (n,), 0, 1, ... in the order of the splits.
        predictions: by method, probabilities (S, n, A) of each unit.
    """

    rows: Tensor
    labels: Tensor
    subject: np.ndarray
    fold: Tensor
    predictions: dict[str, Predictions]

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1


def test(
    data: ActionUnits,
    settings: UgnSettings,
    methods: Sequence[str] = METHODS,
    *,
    fraction: float = 1.0,
    labels: Tensor | None = None,
    folds: Collection[int] | None = None,
    start: ResNet | None = None,
    device: str = "cpu",
    **options,
) -> Tested:
    """Train and test methods on every fold.

    The residual network of fold k is tuned with the first seed plus k, and serves all seeds: a seed's results are those
    it has among others, up to rounding and the epoch in which all stop, if the first seed is the same.

    Args:
        methods: of ``METHODS`` and ``CONSTANT``.
        fraction: of the training frames.
        labels: (N, A), to train on instead of the corpus's own; testing is always on its own.
        folds: which, counting from 0, in their order; default all.
        start: the residual network to start from, random weights if None.
        options: of :class:`UncertainGraphNetwork`.

    Raises:
        ValueError: an unknown method, or as :func:`splits`, :func:`part_of` and :func:`prepare`.
    """
    chosen = {k: split for k, split in enumerate(splits(data)) if folds is None or k in folds}
    tuning = {"labels": labels, "start": start, "device": device}
    calls = {k: (data, part_of(of, fraction, k), settings, methods, k, tuning, options) for k, of in chosen.items()}
    parts = list(run_all(_test_fold, calls, device, label="folds").values())
    rows = torch.cat([split.test for split in chosen.values()])
    fold = torch.cat([torch.full_like(split.test, i) for i, split in enumerate(chosen.values())])
    predictions = {method: Predictions.concatenate([part[method] for part in parts]) for method in methods}
    return Tested(rows, data.labels[rows], data.subject[rows.numpy()], fold, predictions)


def _test_fold(data, split, settings, methods, k, tuning, options) -> dict[str, Predictions]:
    """Predictions for the test frames of one fold, the k-th, by methods that are trained on it."""
    tuning, device = tuning | {"seed": settings.seeds[0] + k}, tuning["device"]
    graph_methods, predictions = tuple(method for method in methods if method not in BRANCHES), {}
    if "ResNet18" in methods:
        plain = prepare(data, split, settings, balanced=False, **tuning)
        predictions["ResNet18"] = predict_branches(plain, train_branches(plain, settings, device))
    if "ResNet-BL" in methods or graph_methods:
        fold = prepare(data, split, settings, **tuning)
        branches = train_branches(fold, settings, device)
        predictions["ResNet-BL"] = predict_branches(fold, branches)
    if graph_methods:
        graphs = train_graphs(fold, branches, settings, graph_methods, device, **options)
        predictions |= predict_graphs(fold, graphs, settings, graph_methods)
    return predictions


# --- F1 and accuracy -----------------------------------------------------------------------------------------


# All take sums (..., F * A * 4) of each fold and unit: true and false positives, false negatives and true negatives at
# the threshold .5; and what was tested, which knows how many folds there are.


def f1_of_units(sums: Floats, tested: Tested, pooled: bool = False) -> Floats:
    """F1 (%) of each unit, ``(..., F * A * 4) -> (..., A)``: of each fold, then their mean.

    A unit without a positive in a fold has no F1 there, and in no fold, NaN.

    Args:
        pooled: count over all folds instead.
    """
    tp, fp, fn, _ = _counts(sums, tested, pooled)
    return _mean(np.where(tp + fn > 0, 100 * f1_from_counts(tp, fp, fn), np.nan), axis=-2)


def accuracy_of_units(sums: Floats, tested: Tested, pooled: bool = False) -> Floats:
    """Accuracy (%) of each unit, as :func:`f1_of_units`."""
    tp, fp, fn, tn = _counts(sums, tested, pooled)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _mean(100 * (tp + tn) / (tp + fp + fn + tn), axis=-2)


def _statistic(score_units: Callable, tested: Tested, unit: int | None = None, pooled: bool = False) -> Statistic:
    """Statistic of such sums: a score (%) of one unit, or averaged over those that have one."""

    def statistic(sums: Floats) -> Floats:
        scores = score_units(sums, tested, pooled)
        return _mean(scores, axis=-1) if unit is None else scores[..., unit]

    return statistic


# of tested methods, and optionally of one unit or of counts over all folds, see `_statistic`
f1, accuracy = partial(_statistic, f1_of_units), partial(_statistic, accuracy_of_units)


def _counts(sums: Floats, tested: Tested, pooled: bool) -> Floats:
    """The four counts (4, ..., F, A), F being 1 where the folds are pooled."""
    counts = sums.reshape(*sums.shape[:-1], tested.n_folds, -1, 4)
    return np.moveaxis(counts.sum(-3, keepdims=True) if pooled else counts, -1, 0)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of what is defined (not NaN)."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(defined, values, 0).sum(axis) / defined.sum(axis)
