"""UGN's protocol: five methods on frozen features of faces, over subject-exclusive folds.

Sources: the paper's sections on features, uncertain graph and experiments. It publishes no code; what its text leaves
open is settled in the settings below and said in the notebooks.

The residual network is tuned on the training subjects of a fold, once with the plain loss (ResNet18) and once with the
balanced one (ResNet-BL), and then left alone. On its pooled features all seeds train side by side: first the branches
of the action units, then the graph networks (GN-D, UGN, UGN-B) on the frozen branches of the same seed's ResNet-BL.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.compute import parallel as cluster
from uncertain_affect.compute.cache import code_key
from uncertain_affect.corpora.base import ActionUnits, Expressions
from uncertain_affect.evidence.resampling import Floats, Statistic, cluster_sums
from uncertain_affect.losses import action_unit_cross_entropy, occurrence_weights
from uncertain_affect.metrics import bernoulli_entropy_decomposition
from uncertain_affect.models.backbones import ResNet
from uncertain_affect.models.ugn import ActionUnitBranches, UncertainGraphNetwork
from uncertain_affect.training import finetune as finetuning
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
class Settings:
    """Everything that decides a run.

    Of the second stage the paper gives the learning rate (.01), the batch (16) and the widths; of the first, none.
    The optimiser is Adam throughout. Training ends when no seed has improved on the validation subjects for
    ``patience`` epochs: the paper, which has no validation set, does not say when it stops.

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
    pretraining: finetuning.Settings
    trunk: finetuning.Settings
    branch_width: int
    lr_branches: float
    max_epochs: int
    patience: int
    batch_branches: int = 64
    lr: float = 0.01
    batch_size: int = 16
    n_samples: int = 20
    n_training_samples: int = 20
    least_frames: int = 800


def settings(profile: str, seed: int = 0, device: str = "cuda") -> Settings:
    """The settings of a profile; seeds count up from ``seed``.

    The published sizes need a GPU: on a CPU full has half the ResNet's width, a quarter of the branches', and fewer
    epochs, as many as an hour allows on FER+.

    Raises:
        ValueError: no such profile.
    """
    if profile == "quick":
        return Settings(
            tuple(range(seed, seed + 5)),
            finetuning.Settings(width=16, lr=3e-3, epochs=10),
            finetuning.Settings(width=16, lr=2e-3, epochs=4, min_steps=60),
            branch_width=64,
            lr_branches=1e-3,
            max_epochs=4,
            patience=2,
            n_training_samples=5,
            least_frames=400,
        )
    if profile == "full":
        width, branch_width, epochs = (32, 128, 8) if device == "cpu" else (64, 512, 12)
        return Settings(
            tuple(range(seed, seed + 20)),
            finetuning.Settings(width=width, lr=2e-3, epochs=epochs),
            finetuning.Settings(width=width, lr=2e-3, epochs=epochs, min_steps=300),
            branch_width=branch_width,
            lr_branches=1e-3,
            max_epochs=10,
            patience=2,
            n_training_samples=5,
        )
    raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')


# --- frames and folds ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Rows (int64) of the training, validation and test frames of one fold."""

    train: Tensor
    val: Tensor
    test: Tensor


def load(corpus: str, profile: str, seed: int = 0, root: str | Path | None = None) -> dict[str, ActionUnits]:
    """The data sets of a corpus by name: both views of the simulated world, or the corpus itself.

    FER+ comes as eight emotions in the place of action units, see :func:`emotions_as_units`; BP4D and DISFA come as
    ``READING`` says.

    Raises:
        CorpusError: as :func:`corpora.load`.
    """
    if corpus == "simulated":
        return {view: corpora.load(corpus, view=view, size=profile, seed=seed) for view in ("bp4d", "disfa")}
    loaded = corpora.load(corpus, root, **(READING[profile] if corpus in RECORDINGS else {}))
    return {corpus: emotions_as_units(loaded) if isinstance(loaded, Expressions) else loaded}


def emotions_as_units(faces: Expressions) -> ActionUnits:
    """FER+ as a multi-label problem: an emotion is present where at least two of the ten annotators chose it.

    Groups of identical images stand for subjects, since FER+ does not say who is shown. There is one fold to test on,
    FER+'s own test images (fold 1); its training and validation images are folds -1 and -2, which are never tested.
    """
    fold = np.select([faces.split == "test", faces.split == "val"], [1, -2], -1)
    return ActionUnits(
        images=faces.images,
        labels=(faces.votes[:, :8] >= 2).to(torch.int8),
        au_names=faces.classes[:8],
        subject=np.char.add("group ", faces.groups.numpy().astype(str)),
        fold=torch.from_numpy(fold),
        left_out=faces.left_out,
    )


def splits(data: ActionUnits) -> list[Split]:
    """Training, validation and test frames of each fold.

    Of the subjects not under test every fifth, in the order of their names, is for validation. Emotions of FER+ keep
    FER+'s own split.

    Raises:
        ValueError: a subject in two folds, or no frame to train on, to validate on or to test on.
    """
    folds = data.fold.unique().tolist()
    if min(folds, default=0) < 0:
        parts = [Split(*((data.fold == k).nonzero()[:, 0] for k in (-1, -2, 1)))]
    else:
        _check_subjects(data)
        parts = []
        for k in folds:
            held_out = (data.fold == k).numpy()
            others = np.unique(data.subject[~held_out])
            val = np.isin(data.subject, others[::5]) & ~held_out
            parts.append(Split(*(torch.from_numpy(rows.nonzero()[0]) for rows in (~held_out & ~val, val, held_out))))
    for i, part in enumerate(parts):
        for purpose, rows in vars(part).items():
            if not len(rows):
                raise ValueError(f"fold {i}, counted from 0, has no {purpose} frame: it takes more subjects, or folds")
    return parts


def _check_subjects(data: ActionUnits) -> None:
    names, subject = np.unique(data.subject, return_inverse=True)
    subject, fold = np.unique([subject, data.fold.numpy()], axis=1)
    if len(twice := subject[1:][np.diff(subject) == 0]):
        folds = fold[subject == twice[0]].tolist()
        raise ValueError(f"subject {names[twice[0]]} is in folds {folds}: all frames of a subject belong to one fold")


def part_of(split: Split, fraction: float, seed: int) -> Split:
    """The split with a part of its training frames, drawn uniformly; a smaller part lies within a larger one.

    Two frames at the least, since one has no standard deviation.

    Raises:
        ValueError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the training frames is in (0, 1], not {fraction}")
    shuffled = split.train[torch.randperm(len(split.train), generator=generators([seed], 40)[0])]
    return replace(split, train=shuffled[: max(2, round(fraction * len(shuffled)))].sort().values)


# --- training ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fold:
    """One fold ready for its networks: pooled features (N, D) of all frames, labels (N, A), rows, loss weights (A,)."""

    features: Tensor
    labels: Tensor
    split: Split
    tau: Tensor


def prepare(
    data: ActionUnits,
    split: Split,
    settings: Settings,
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
        ValueError: labels of another shape or other than 1, 0 and -1, or a unit that never occurs in training frames.
    """
    labels = data.labels if labels is None else labels
    if labels.shape != data.labels.shape:
        raise ValueError(f"labels have shape {tuple(labels.shape)}, those of the corpus {tuple(data.labels.shape)}")
    # the rates of the whole fold, whatever part of it is trained on: a part may not contain every unit
    training = torch.ones(len(data), dtype=torch.bool)
    training[torch.cat([split.val, split.test])] = False
    tau = occurrence_weights(labels[training], data.au_names)
    if not balanced:
        tau = torch.ones_like(tau)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return action_unit_cross_entropy(logits, target, tau.to(logits))

    tuned = finetuning.finetune(
        data.images,
        labels,
        split.train,
        loss,
        len(data.au_names),
        settings.trunk,
        seed,
        loss_key=("action units", tau),
        start=start,
        device=device,
        label="ResNet",
    )
    x = tuned.features
    mean, sd = x[split.train].mean(0), x[split.train].std(0).clamp(min=1e-6)
    return Fold((x - mean) / sd, labels, split, tau)


def train_branches(fold: Fold, settings: Settings, device: str = "cpu") -> ActionUnitBranches:
    """The branches of the action units on a fold's features, for all seeds side by side, or from the cache."""
    n_au = fold.labels.shape[1]
    model = ActionUnitBranches(
        fold.features.shape[1], n_au, generators(list(settings.seeds)), width=settings.branch_width
    )

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return action_unit_cross_entropy(logits, labels, fold.tau.to(logits))

    fitting = {"lr": settings.lr_branches, "batch_size": settings.batch_branches}
    return _fitted(model, loss, fold, settings, list(settings.seeds), fitting, "branches", fold.tau, device)


def train_graphs(
    fold: Fold,
    branches: ActionUnitBranches,
    settings: Settings,
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
    n_seeds, seeds = len(settings.seeds), list(settings.seeds) * len(methods)
    model = UncertainGraphNetwork(
        fold.labels.shape[1],
        settings.branch_width,
        generators(seeds, 10),
        [("UGN" if method == CONSTANT else method) for method in methods for _ in settings.seeds],
        branches=branches,
        branch_copies=list(range(n_seeds)) * len(methods),
        n_samples=settings.n_training_samples,
        n_weight_samples=settings.n_training_samples,
        **options,
    )
    scale = torch.tensor([1 + (method == CONSTANT) / settings.batch_size for method in methods]).repeat_interleave(
        n_seeds
    )

    def loss(outputs, labels: Tensor) -> Tensor:
        losses = action_unit_cross_entropy(outputs.logits, labels, example_weights=outputs.weights)
        return scale.to(losses) * losses

    fitting = {"lr": settings.lr, "batch_size": settings.batch_size}
    depends_on = [methods, options, settings.n_training_samples, dict(model.named_buffers())]
    return _fitted(model, loss, fold, settings, seeds, fitting, "graphs", depends_on, device)


def _fitted(model, loss, fold, settings, seeds, fitting, label, depends_on, device):
    """The model, trained or from the cache; its attribute ``seconds`` says how long the training took."""
    fitting |= {"max_epochs": settings.max_epochs, "patience": settings.patience}
    # an epoch passes several times over a small training set
    passes = max(1, -(-settings.least_frames // len(fold.split.train)))
    parts = {
        name: (fold.features[rows], fold.labels[rows])
        for name, rows in (("train", fold.split.train.repeat(passes)), ("val", fold.split.val))
    }

    def learn(checkpoint: Path) -> History:
        return fit_tensors(
            model,
            loss,
            *((x.to(device), y.to(device)) for x, y in (parts["train"], parts["val"])),
            order=generators(seeds, 20),
            checkpoint=checkpoint,
            label=label,
            **fitting,
        )

    decides = (label, settings.seeds, settings.branch_width, fitting, depends_on, parts)
    model.seconds = cached_fit(model, learn, RECIPE, *decides, device=device).seconds
    return model


# --- prediction ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """What one method says of n frames, seed by seed.

    Attributes:
        probs: (S, n, A), probability of each unit.
        total, aleatoric, epistemic: (S, n, A), uncertainties in nats (Eq. 10). Without masks all of it is aleatoric.
    """

    probs: Tensor
    total: Tensor
    aleatoric: Tensor
    epistemic: Tensor


@torch.no_grad()
def predict_branches(fold: Fold, branches: ActionUnitBranches) -> Predictions:
    """What the branches of all seeds say of the test frames of a fold."""
    probs = torch.sigmoid(branches(fold.features[fold.split.test].to(branches.weight.device)).double()).cpu()
    return Predictions(probs, *bernoulli_entropy_decomposition(probs[None]))


def predict_graphs(
    fold: Fold, graphs: UncertainGraphNetwork, settings: Settings, methods: Sequence[str] = GRAPHS
) -> dict[str, Predictions]:
    """What the graph networks of each method say of the test frames of a fold, S masks drawn for each."""
    x = fold.features[fold.split.test].to(graphs.readout.device)
    graphs.generators = generators(list(settings.seeds) * len(methods), 30)
    batches = []
    for batch in x.split(2048):  # S probabilities of a batch at a time
        probs = graphs.probabilities(batch, settings.n_samples).double().cpu()
        batches.append((probs.mean(0), *bernoulli_entropy_decomposition(probs)))
    parts = (torch.cat(part, 1).split(len(settings.seeds)) for part in zip(*batches, strict=True))
    return {method: Predictions(*of_method) for method, *of_method in zip(methods, *parts, strict=True)}


@dataclass(frozen=True)
class Tested:
    """All test frames of all folds, and what every method says of them.

    Attributes:
        rows: (n,), of the data set.
        labels: (n, A); -1 where unknown.
        subject: str (n,).
        fold: (n,), 0, 1, ... in the order of the splits.
        predictions: by method.
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
    settings: Settings,
    methods: Sequence[str] = METHODS,
    *,
    fraction: float = 1.0,
    labels: Tensor | None = None,
    folds: Iterable[int] | None = None,
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
        folds: which, counting from 0; default all.
        start: the residual network to start from, random weights if None.
        options: of :class:`UncertainGraphNetwork`.

    Raises:
        ValueError: an unknown method or fold, or as :func:`splits`, :func:`part_of` and :func:`prepare`.
    """
    if unknown := set(methods) - {*METHODS, CONSTANT}:
        raise ValueError(f"unknown method {sorted(unknown)[0]!r}: choose among {', '.join((*METHODS, CONSTANT))}")
    all_splits = splits(data)
    chosen = list(range(len(all_splits)) if folds is None else folds)
    if not chosen or not set(chosen) <= set(range(len(all_splits))):
        raise ValueError(f"folds are {chosen}: choose one or more of {list(range(len(all_splits)))}")
    calls = {
        k: (data, part_of(all_splits[k], fraction, k), settings, tuple(methods), k, labels, start, device, options)
        for k in chosen
    }
    parts = list(cluster.run_all(_test_fold, calls, device, label="folds").values())
    rows = torch.cat([all_splits[k].test for k in chosen])
    return Tested(
        rows=rows,
        labels=data.labels[rows],
        subject=data.subject[rows.numpy()],
        fold=torch.cat([torch.full_like(all_splits[k].test, i) for i, k in enumerate(chosen)]),
        predictions={method: _joined([part[method] for part in parts]) for method in methods},
    )


def _test_fold(data, split, settings, methods, k, labels, start, device, options) -> dict[str, Predictions]:
    """What methods that were trained on a fold, the k-th, say of its test frames."""
    graph_methods, said = tuple(method for method in methods if method not in BRANCHES), {}
    how = {"labels": labels, "seed": settings.seeds[0] + k, "start": start, "device": device}
    if "ResNet18" in methods:
        plain = prepare(data, split, settings, balanced=False, **how)
        said["ResNet18"] = predict_branches(plain, train_branches(plain, settings, device))
    if "ResNet-BL" in methods or graph_methods:
        fold = prepare(data, split, settings, **how)
        branches = train_branches(fold, settings, device)
        said["ResNet-BL"] = predict_branches(fold, branches)
    if graph_methods:
        graphs = train_graphs(fold, branches, settings, graph_methods, device, **options)
        said |= predict_graphs(fold, graphs, settings, graph_methods)
    return {method: said[method] for method in methods}


def _joined(parts: list[Predictions]) -> Predictions:
    return Predictions(*(torch.cat([vars(part)[name] for part in parts], 1) for name in vars(parts[0])))


def noisy(labels: Tensor, rate: float, seed: int) -> Tensor:
    """Labels (N, A), each known one flipped with this chance.

    Raises:
        ValueError: the rate is not in [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"a rate of noise is in [0, 1], not {rate}")
    flipped = torch.rand(labels.shape, generator=generators([seed], 50)[0]) < rate
    return torch.where(flipped & (labels >= 0), 1 - labels, labels)


# --- F1 and accuracy -----------------------------------------------------------------------------------------


def unit_sums(tested: Tested, method: str, keep: Tensor | None = None) -> Floats:
    """Sums (S, C, F * A * 4) over subjects, for :func:`f1` and :func:`accuracy`: of each fold and unit the true and
    false positives, false negatives and true negatives at the threshold .5. Unknown labels count nowhere.

    Args:
        keep: bool (n,), which test frames to count; default all.
    """
    p = tested.predictions[method].probs
    keep = torch.ones(len(tested.rows), dtype=torch.bool) if keep is None else keep
    label, said, subject, fold = tested.labels[keep], p[:, keep] >= 0.5, tested.subject[keep.numpy()], tested.fold[keep]
    positive, negative = label == 1, label == 0
    counts = torch.stack([positive & said, negative & said, positive & ~said, negative & ~said], -1).flatten(2)
    of_subject = np.concatenate([cluster_sums(c[None], subject) for c in counts.numpy()])
    first = np.unique(subject, return_index=True)[1]
    sums = np.zeros((*of_subject.shape[:2], tested.n_folds, of_subject.shape[2]))
    sums[:, np.arange(len(first)), fold.numpy()[first]] = of_subject
    return sums.reshape(*sums.shape[:2], -1)


def f1_of_units(sums: Floats, tested: Tested, pooled: bool = False) -> Floats:
    """F1 (%) of each unit, ``(..., F * A * 4) -> (..., A)`` from :func:`unit_sums`: of each fold, then their mean.

    A unit without a positive in a fold has no F1 there, and in no fold, NaN.

    Args:
        pooled: count over all folds instead.
    """
    tp, fp, fn, _ = _counts(sums, tested, pooled)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _mean(np.where(tp + fn > 0, 200 * tp / (2 * tp + fp + fn), np.nan), axis=-2)


def accuracy_of_units(sums: Floats, tested: Tested, pooled: bool = False) -> Floats:
    """Accuracy (%) of each unit, as :func:`f1_of_units`."""
    tp, fp, fn, tn = _counts(sums, tested, pooled)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _mean(100 * (tp + tn) / (tp + fp + fn + tn), axis=-2)


def f1(tested: Tested, unit: int | None = None, pooled: bool = False) -> Statistic:
    """Statistic of :func:`unit_sums`: F1 (%) of one unit, or averaged over those that have one."""

    def statistic(sums: Floats) -> Floats:
        of_units = f1_of_units(sums, tested, pooled)
        return _mean(of_units, axis=-1) if unit is None else of_units[..., unit]

    return statistic


def accuracy(tested: Tested, unit: int | None = None, pooled: bool = False) -> Statistic:
    """Statistic of :func:`unit_sums`: accuracy (%) of one unit, or averaged over all."""

    def statistic(sums: Floats) -> Floats:
        of_units = accuracy_of_units(sums, tested, pooled)
        return _mean(of_units, axis=-1) if unit is None else of_units[..., unit]

    return statistic


def by_fold(sums: Floats, tested: Tested) -> list[Floats]:
    """:func:`unit_sums` of the subjects of each fold alone: what the fold's own networks did."""
    fold_of = tested.fold.numpy()[np.unique(tested.subject, return_index=True)[1]]
    return [sums[:, fold_of == k] for k in range(tested.n_folds)]


def _counts(sums: Floats, tested: Tested, pooled: bool) -> Floats:
    """The four counts (4, ..., F, A), F being 1 where the folds are pooled."""
    counts = sums.reshape(*sums.shape[:-1], tested.n_folds, -1, 4)
    if pooled:
        counts = counts.sum(-3, keepdims=True)
    return np.moveaxis(counts, -1, 0)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of what is defined (not NaN)."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(defined, values, 0).sum(axis) / defined.sum(axis)


def scores(tested: Tested, names: Sequence[str], methods: Iterable[str] | None = None) -> pd.DataFrame:
    """F1 and accuracy (%) of each unit and their average, a column for each method, means over seeds."""
    columns, methods = {}, list(methods or tested.predictions)
    for label, of_units in (("F1", f1_of_units), ("accuracy", accuracy_of_units)):
        for method in methods:
            values = of_units(unit_sums(tested, method).sum(1), tested).mean(0)
            columns[f"{method} {label}"] = [*values, _mean(values, axis=-1)]
    return pd.DataFrame(columns, index=[*names, "Avg"])
