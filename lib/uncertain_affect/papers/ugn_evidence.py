"""What UGN's experiments leave as evidence: counts over subjects, plain baselines, and what the arms have learnt.

Training and testing is :mod:`uncertain_affect.papers.ugn`'s; here its results become plain arrays, and scores again.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from uncertain_affect import metrics
from uncertain_affect.compute.devices import choose_device
from uncertain_affect.corpora.base import ActionUnits
from uncertain_affect.evidence.claims import Arm, Effect, effect_interval
from uncertain_affect.evidence.resampling import Floats, cluster_sums, difference
from uncertain_affect.evidence.store import Field
from uncertain_affect.metrics.sums import f1_from_counts
from uncertain_affect.models.ugn import ActionUnitBranches, UncertainGraphNetwork
from uncertain_affect.papers import ugn
from uncertain_affect.papers.baselines import class_probabilities
from uncertain_affect.papers.predictions import Predictions
from uncertain_affect.training.finetune import starting_network
from uncertain_affect.training.fit import generators

# Rows of every table that cost nothing: base rates, and logistic regression on the frozen features of ResNet-BL.
CONSTANT, LINEAR = "constant", "logistic regression"
# Faces whose masks are looked at, and how many masks are drawn for each.
MASK_FACES, MASK_DRAWS = 500, 20
# From this share on the more frequent answer is one answer for all.
ONE_CLASS = 0.99


class Experiment(NamedTuple):
    """What trains: data sets by name, settings, and the network that tuning starts from with the device."""

    data: dict[str, ActionUnits]
    settings: ugn.UgnSettings
    where: dict

    def about(self) -> dict:
        """What a run says of its evidence."""
        checksum = "+".join(d.checksum()[:16] for d in self.data.values())
        return {"seeds": self.settings.seeds, "corpus_checksum": checksum, "settings": asdict(self.settings)}

    def frozen(self, name: str, k: int, fraction: float = 1.0, labels: Tensor | None = None, **options) -> ugn.Fold:
        """Fold k of a data set with its features, as :func:`ugn.test` prepares it."""
        data = self.data[name]
        split = ugn.part_of(ugn.splits(data)[k], fraction, k)
        seed = self.settings.seeds[0] + k
        return ugn.prepare(data, split, self.settings, labels=labels, seed=seed, **self.where, **options)

    def networks(self, name: str) -> Iterator[tuple[ugn.Fold, ActionUnitBranches, UncertainGraphNetwork]]:
        """Of each fold its features, the branches of ResNet-BL and the graphs; from the cache once they are tested."""
        for k in range(len(ugn.splits(self.data[name]))):
            fold, device = self.frozen(name, k), self.where["device"]
            branches = ugn.train_branches(fold, self.settings, device)
            yield fold, branches, ugn.train_graphs(fold, branches, self.settings, device=device)


@cache
def experiment(corpus: str, profile: str, seed: int, device: str, root: str) -> Experiment:
    """The experiment of a corpus and a profile; arguments as in the notebooks' parameters."""
    chosen = choose_device(device)
    settings = ugn.settings(profile, seed, chosen)
    data = ugn.load(corpus, profile, seed, root or None)
    start = starting_network(corpus == "simulated", settings.pretraining, profile, root or None, chosen)
    return Experiment(data, settings, {"start": start, "device": chosen})


# --- baselines -------------------------------------------------------------------------------------------------


def with_baselines(e: Experiment, name: str, tested: ugn.Tested, folds: Collection[int] | None = None, **options):
    """Tested methods and beside them ``CONSTANT`` and ``LINEAR``, of one fit each, on the same folds.

    Args:
        options: of :meth:`Experiment.frozen`, as the methods were tested with.
    """
    chosen = [k for k in range(len(ugn.splits(e.data[name]))) if folds is None or k in folds]
    parts = [baselines(e.frozen(name, k, **options)) for k in chosen]
    joined = {row: torch.cat([part[row] for part in parts])[None] for row in (CONSTANT, LINEAR)}
    plain = {
        row: Predictions.from_samples(p[None], metrics.bernoulli_entropy_decomposition) for row, p in joined.items()
    }
    return ugn.Tested(**{**vars(tested), "predictions": tested.predictions | plain})


def baselines(fold: ugn.Fold) -> dict[str, Tensor]:
    """Probabilities (n, A) of the units on the test frames: their rates in training, and logistic regression."""
    x, train, test = fold.features.double().numpy(), fold.split.train.numpy(), fold.split.test.numpy()
    rates, linear = [], []
    for labels in fold.labels.numpy().T:
        rows = train[labels[train] >= 0]
        rates.append(labels[rows].mean())
        linear.append(class_probabilities(LogisticRegression(max_iter=1000), x[rows], labels[rows], x[test])[:, 1])
    return {CONSTANT: torch.tensor(np.array(rates)).repeat(len(test), 1), LINEAR: torch.from_numpy(np.stack(linear, 1))}


# --- what was learnt ---------------------------------------------------------------------------------------------


def auroc(tested: ugn.Tested, method: str) -> float:
    """Area under the ROC curve, mean over seeds, folds and units of which both states are tested."""
    found = []
    for k, (unit, labels) in itertools.product(range(tested.n_folds), enumerate(tested.labels.T)):
        rows = (tested.fold == k) & (labels >= 0)
        if len(labels[rows].unique()) == 2:
            found += [metrics.auroc(p[rows, unit], labels[rows]) for p in tested.predictions[method].probs]
    return float(np.mean(found))


def dead(tested: ugn.Tested, method: str) -> float:
    """Share of a method's networks, one a seed and fold, that give one answer: on average over units for 99% of faces
    the same, or the same probability for all faces.
    """
    probs = tested.predictions[method].probs
    parts = [probs[:, tested.fold == k] for k in range(tested.n_folds)]
    yes = torch.stack([(part >= 0.5).double().mean(1) for part in parts])
    still = torch.stack([part.std(1) for part in parts]).amax(-1) == 0
    return float((still | (torch.maximum(yes, 1 - yes).mean(-1) >= ONE_CLASS)).double().mean())


def learnt(e: Experiment, name: str, tested: ugn.Tested) -> dict[str, dict]:
    """Of each of UGN's methods the fields of an :class:`~uncertain_affect.evidence.claims.Arm`, on a data set.

    Args:
        tested: on all folds, with the baselines.
    """
    best = {method: [] for method in ugn.METHODS}
    for k, (_, branches, graphs) in enumerate(e.networks(name)):
        plain = e.frozen(name, k, balanced=False)
        best["ResNet18"] += ugn.train_branches(plain, e.settings, e.where["device"]).history.best_epoch
        best["ResNet-BL"] += branches.history.best_epoch
        for method, of_method in zip(ugn.GRAPHS, np.split(np.array(graphs.history.best_epoch), 3), strict=True):
            best[method] += of_method.tolist()
    baseline = auroc(tested, LINEAR)
    last = {method: float(np.mean(np.array(epochs) == e.settings.max_epochs)) for method, epochs in best.items()}
    arms = {m: Arm("AUROC", auroc(tested, m), 0.5, baseline, last[m], dead(tested, m)) for m in ugn.METHODS}
    return {method: asdict(arm) for method, arm in arms.items()}


@torch.no_grad()
def mask_noise(
    network: UncertainGraphNetwork, branches: ActionUnitBranches, x: Tensor, copies: list[int], seed: int = 0
) -> dict[str, float]:
    """Means over pairs, faces and copies in the first layer: sigma before the sigmoid, and the mask's own sd."""
    x = x[:MASK_FACES].to(network.readout.device)
    mu, sigma = network.layers[0].mask_parameters(branches.features(x), copies)
    draws = torch.randn(MASK_DRAWS, *mu.shape, generator=generators([seed], 60)[0]).to(mu)
    return {"σ": float(sigma.mean()), "sd of the mask": float(torch.sigmoid(mu + sigma * draws).std(0).mean())}


def copies_of(method: str, settings: ugn.UgnSettings) -> list[int]:
    """Which copies of a network of all ``GRAPHS`` are a method's."""
    n = len(settings.seeds)
    return list(range(ugn.GRAPHS.index(method) * n, (ugn.GRAPHS.index(method) + 1) * n))


def noise_checks(e: Experiment, name: str, tested: ugn.Tested) -> dict[str, float]:
    """The two numbers that tell whether there is any uncertainty, the smaller of UGN's and UGN-B's."""
    methods, sds = ("UGN", "UGN-B"), []
    for fold, branches, graphs in e.networks(name):
        given = graphs, branches, fold.features[fold.split.test]
        sds.append([mask_noise(*given, copies_of(method, e.settings))["sd of the mask"] for method in methods])
    nats = [float(tested.predictions[method].epistemic.mean()) for method in methods]
    return {"mask sd": float(np.mean(sds, 0).min()), "mutual information": min(nats)}


def unit_rates(e: Experiment, name: str) -> pd.DataFrame:
    """Of each unit, mean over folds: how often it occurs in training, and ResNet-BL's F1 on the validation people."""
    rates, scores = [], []
    for fold, branches, _ in e.networks(name):
        labels, tested = (fold.labels[rows] for rows in (fold.split.train, fold.split.val))
        rates.append((labels == 1).sum(0) / (labels >= 0).sum(0))
        with torch.no_grad():
            present = branches(fold.features[fold.split.val].to(branches.weight.device)).cpu() >= 0
        counts = present & (tested == 1), present & (tested == 0), ~present & (tested == 1)
        scores.append(f1_from_counts(*(c.sum(1).double().numpy() for c in counts)).mean(0))
    columns = {"occurs in training, %": torch.stack(rates).mean(0).numpy(), "F1 in validation, %": np.mean(scores, 0)}
    return 100 * pd.DataFrame(columns, index=list(e.data[name].au_names), dtype=float)


# --- counts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """Right and wrong answers of every method for the units of each subject: what F1 and accuracy are made of.

    Attributes:
        names: of the units.
        fold: (C,), that each subject is tested in, 0, 1, ...
        positives, negatives: (C, A) known labels of either state.
        hits, false_alarms: by method, (S, C, A) how many of either were called present at the threshold .5.
    """

    names: list[str]
    fold: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    hits: Mapping[str, np.ndarray]
    false_alarms: Mapping[str, np.ndarray]

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1

    def sums(self, method: str) -> Floats:
        """Sums (S, C, F * A * 4) of a method over subjects, as the scores of :mod:`ugn` take them."""
        hits, false = (np.asarray(of[method], dtype=float) for of in (self.hits, self.false_alarms))
        counts = np.stack([hits, false, self.positives - hits, self.negatives - false], -1)
        sums = np.zeros((*counts.shape[:2], self.n_folds, *counts.shape[2:]))
        sums[:, np.arange(len(self.fold)), self.fold] = counts
        return sums.reshape(*sums.shape[:2], -1)

    def score(self, method: str, of: Callable = ugn.f1) -> Effect:
        """F1 or accuracy (%) of a method, mean over units, with an interval inside its bounds."""
        return effect_interval(self.sums(method), of(self)).within(0, 100)

    def effect(self, a: str, b: str, of: Callable = ugn.f1, unit: int | None = None) -> Effect | None:
        """Method a minus method b in points, of one unit or their mean; None where no interval can be had.

        ResNet18 stands on another tuned network than all others. Against it what varies is the fold's pair of them, and
        of a single fold nothing is known.
        """
        if "ResNet18" in (a, b):
            return over_folds([(self, a), (self, b)], of, unit)
        return effect_interval(np.concatenate([self.sums(a), self.sums(b)], -1), difference(of(self, unit)))

    def table(self, methods: Sequence[str]) -> pd.DataFrame:
        """F1 and accuracy (%) of each unit and their average, a column for each method, means over seeds."""
        columns = {}
        for label, of in (("F1", ugn.f1_of_units), ("accuracy", ugn.accuracy_of_units)):
            for method in methods:
                values = of(self.sums(method).sum(1), self).mean(0)
                columns[f"{method} {label}"] = [*values, np.nanmean(values)]
        return pd.DataFrame(columns, index=[*self.names, "Avg"])


def over_folds(pair: Sequence[tuple[Counts, str]], of: Callable = ugn.f1, unit: int | None = None) -> Effect | None:
    """The first of two results minus the second, in points, over seeds and folds; None of a single fold."""
    (first, _), f = pair[0], difference(of(pair[0][0], unit))
    if first.n_folds == 1:
        return None
    sums = np.concatenate([counts.sums(method) for counts, method in pair], -1)
    return effect_interval(np.stack([f(sums[:, first.fold == k].sum(1)) for k in range(first.n_folds)], 1))


def counted(tested: ugn.Tested, names: Sequence[str]) -> dict:
    """What :class:`Counts` of tested methods hold, as evidence. Unknown labels count nowhere."""
    first = np.unique(tested.subject, return_index=True)[1]
    tree = {"names": list(names), "fold": Field(tested.fold[first], ("subject",)), "hits": {}, "false_alarms": {}}
    states = {"positives": tested.labels == 1, "negatives": tested.labels == 0}

    def by_subject(counted: Tensor, *axes: str) -> Field:
        sums = cluster_sums(counted.numpy(), tested.subject).astype(int)
        return Field(sums if axes else sums[0], (*axes, "subject", "unit"), "faces")

    for method, predictions in tested.predictions.items():
        present = predictions.probs >= 0.5
        axis = "fit" if method in (CONSTANT, LINEAR) else "seed"  # baselines are fitted once, whatever the seed
        tree["hits"][method] = by_subject(present & states["positives"], axis)
        tree["false_alarms"][method] = by_subject(present & states["negatives"], axis)
    return tree | {name: by_subject(state[None]) for name, state in states.items()}
