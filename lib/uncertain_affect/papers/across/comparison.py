"""Every measure of every method on a task, and what their differences decide."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from uncertain_affect import metrics
from uncertain_affect.corpora.base import SPLITS
from uncertain_affect.evidence.claims import Part, effect_interval, holm
from uncertain_affect.evidence.evaluate import MEASURES, measure
from uncertain_affect.papers.across import tasks
from uncertain_affect.papers.across.methods import MethodPredictions, predict_all
from uncertain_affect.papers.across.networks import AcrossSettings, PredictionTask

Predictions = Mapping[str, MethodPredictions]  # by method
Values = dict[str, dict[str, np.ndarray]]  # by method, and by what was measured


def measured(task: PredictionTask, predictions: Predictions, group: str | None = None) -> Values:
    """Pseudo-values (S, clusters) of every measure of each method, by method, on the test split.

    Args:
        group: name of the task's group that was thinned in training.
    """
    found = {}
    for method, predicted in predictions.items():
        probs = [p.flatten(1, 2).numpy() for p in predicted.probs["test"]]
        seeds = [measure(p, task.cases(i, group)) for i, p in enumerate(probs)]
        found[method] = {name: np.stack([values[name] for values in seeds]) for name in seeds[0]}
    return found


def if_calibrated(
    task: PredictionTask, predictions: Predictions, generator: np.random.Generator
) -> dict[str, metrics.Reference]:
    """What each method's ECE on the test split would be if it were calibrated, see `metrics.calibrated_reference`."""
    found = {}
    for method, predicted in predictions.items():
        mean = np.stack([p.flatten(1, 2).double().mean(0).numpy() for p in predicted.probs["test"]])
        targets = np.stack([task.cases(i).target.numpy() for i in range(len(mean))])
        found[method] = metrics.calibrated_reference(mean, targets, generator, n_redrawn=200)
    return found


def uncertainties(probs: Tensor) -> metrics.EntropyDecomposition:
    """Total, aleatoric and epistemic uncertainty (S, N), nats, of samples (S, T, N, A, C), averaged over questions."""
    parts = [metrics.entropy_decomposition(seed_probs.numpy()) for seed_probs in probs]
    return metrics.EntropyDecomposition(*(np.stack([part[i].mean(-1) for part in parts]) for i in range(3)))


def _levels(predictions: Predictions, name: str = "test") -> dict[str, np.ndarray]:
    """Total, aleatoric and epistemic uncertainty (3, S, N) by method."""
    return {method: np.stack(uncertainties(p.probs[name])) for method, p in predictions.items()}


def shift_auroc(predictions: Predictions, name: str) -> Values:
    """Chance (S, 1) that an input of the other name is more uncertain than one of the test split, by method.

    In epistemic, aleatoric and total uncertainty; a method without epistemic uncertainty has no such chance of it.
    """
    found, levels = {}, [_levels(predictions, key) for key in ("test", name)]
    for method, p in predictions.items():
        both = np.concatenate([part[method] for part in levels], -1)
        is_other = np.arange(both.shape[-1]) >= p.probs["test"].shape[2]
        kinds = ("U_t", "U_a", "U_e") if p.probs["test"].shape[1] > 1 else ("U_t", "U_a")
        by_kind = zip(kinds, both, strict=False)
        found[method] = {kind: np.array([[metrics.auroc(u, is_other)] for u in values]) for kind, values in by_kind}
    return found


def rejected(task: PredictionTask, predictions: Predictions, coverage: float = 0.8) -> Values:
    """How much more often examples of a group are rejected than others, and how much more often wrong, (S, 1).

    The examples with the highest total uncertainty are rejected until this share is kept. Wrong is what is likeliest,
    where most voted for something else, before anything is rejected.

    Returns:
        By method; by "rejected" and "wrong" with the name of the group before it.
    """
    answer = task.votes.argmax(-1)  # ([S,] N, A)
    found = {}
    for method, p in predictions.items():
        probs = p.probs["test"]
        total = uncertainties(probs).total
        wrong = (probs.mean(1).argmax(-1) != answer).double().mean(-1).numpy()
        members = {name: np.broadcast_to(group.numpy(), total.shape) for name, group in task.groups.items()}
        parts = {"rejected": total.argsort(1).argsort(1) >= coverage * total.shape[1], "wrong": wrong}
        found[method] = {}
        for (name, member), (part, values) in itertools.product(members.items(), parts.items()):
            gaps = [v[m].mean() - v[~m].mean() for v, m in zip(values, member, strict=True)]
            found[method][f"{name}, {part}"] = np.array(gaps)[:, None]
    return found


def reference(measure: str) -> str:
    """The method that others are compared with: softmax, or UncNet's own where softmax has no epistemic part."""
    return "MC dropout" if "U_e" in measure else "softmax"


def decided(found: Mapping[str, Values]) -> tuple[pd.DataFrame, int]:
    """The differences from the reference that hold all together, and how many were looked at.

    Args:
        found: pseudo-values of :func:`measured` by task.

    Returns:
        A row for each difference that Holm's procedure over all of them decides, with the ends of its interval there.
    """
    parts = {}
    for task, methods in found.items():
        for method, measures in methods.items():
            for name, values in measures.items():
                better, other = MEASURES[name].better, reference(name)
                if better and method != other and name in methods.get(other, ()):
                    effect = effect_interval(values - methods[other][name])
                    if effect.se > 0:  # accuracy of temperature scaling never differs
                        parts[task, name, method] = Part("greater", effect if better == "higher" else -effect)
    words, rows = {"holds": "better", "fails": "worse"}, []
    columns = ["task", "measure", "method", "against", "difference", "low", "high", "answer"]
    for (task, name, method), a in holm(parts).items():
        if a.answer in words:
            higher = MEASURES[name].better == "higher"
            of = (a.effect, a.low, a.high) if higher else (-a.effect, -a.high, -a.low)
            rows.append((task, name, method, reference(name), *of, words[a.answer]))
    return pd.DataFrame(rows, columns=columns), len(parts)


def compare_methods(
    corpus: str,
    name: str,
    condition: str,
    profile: str,
    settings: AcrossSettings,
    root: tasks.Root = None,
    methods: Sequence[str] | None = None,
    device: str = "cpu",
) -> dict:
    """Every method that fits a task under one condition: a call for a worker, which returns little.

    Args:
        condition: ``whole``, the task as it is; ``growing``, with `tasks.FRACTIONS` of the training examples but the
            last, all of them; ``thinned`` and ``noisy``, where a group is rare in training and where votes for a class
            are noisy.
    """
    made = {"thinned": {"thin": tasks.THINNED}, "noisy": {"noisy_class": tasks.NOISY}}
    task = tasks.load(corpus, profile, settings, root, **made.get(condition, {}))[name]()
    if condition == "growing":
        parts = {share: tasks.part_of(task, share, settings) for share in tasks.FRACTIONS[:-1]}
        return {share: _levels(predict_all(part, settings, (), methods, device)) for share, part in parts.items()}
    others = [key for key in task.inputs if condition == "whole" and key not in SPLITS]
    predictions = predict_all(task, settings, others, methods, device)
    return {
        "measures": measured(task, predictions, tasks.THINNED if condition == "thinned" else None),
        "ECE if calibrated": if_calibrated(task, predictions, np.random.default_rng(settings.seeds[0])),
        "costs": {method: (p.prediction, p.training, p.networks) for method, p in predictions.items()},
        "levels": _levels(predictions),
        "shifted": {key: _levels(predictions, key) for key in others},
        "shift AUROC": {key: shift_auroc(predictions, key) for key in others},
        "rejected": rejected(task, predictions),
        "groups": {key: np.asarray(group) for key, group in task.groups.items()},
        "true entropy": None if task.truth is None else float(metrics.entropy(task.truth).mean()),
        "sizes": [*(task.inputs[split].shape[-2] for split in SPLITS), *task.shape, len(task.clusters.unique())],
        "checksum": task.checksum,
    }
