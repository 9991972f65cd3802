"""Comparisons of cells: what the tables of HAN-ROCK compare, over seeds and dialogues, and by the paper's bootstrap.

Tasks and cells are those of `papers.rock.kept`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from uncertain_affect.evidence.claims import Effect, effect_interval
from uncertain_affect.evidence.resampling import difference
from uncertain_affect.metrics.sums import f1_from_sums, ratio
from uncertain_affect.papers.rock.kept import CONSTANT


def metric(task: Mapping, cell: Mapping) -> float:
    """Accuracy, or mean absolute error, mean over the seeds there are; NaN without one."""
    errors = np.atleast_2d(cell["errors"]).sum(1) / task["turns"].sum()
    errors = errors[np.isfinite(errors)]
    value = errors.mean() if len(errors) else np.nan
    return float(1 - value if task["classes"] else value)


def reached(*cells: Mapping) -> np.ndarray:
    """Which seeds (S,) all of these cells have."""
    return np.isfinite([cell["errors"] for cell in cells]).all((0, 2))


def better_of(*cells: Mapping) -> dict[str, np.ndarray]:
    """For each seed the cell with the best development score, of equal ones the first; `chosen` (S,) says which."""
    best = np.argmax([cell["dev"] for cell in cells], axis=0)  # that of a seed that one lacks is NaN, and stays it
    kept = {key: np.stack([cell[key] for cell in cells])[best, np.arange(len(best))] for key in cells[0]}
    return kept | {"chosen": best}


def mean_of(*cells: Mapping) -> dict[str, np.ndarray]:
    """The mean error of several cells."""
    return {"errors": np.mean([cell["errors"] for cell in cells], axis=0)}


def gain(task: Mapping, challenger: Mapping, baseline: Mapping, *, skill: bool = True) -> Effect | None:
    """By how much one cell improves on another, over seeds and test dialogues, crossed; None for fewer than two seeds.

    In skill, 1 - error / error of the constant, or else in units of the metric: accuracy, or minus the mean absolute
    error. The paper's interval (:func:`tuning_bootstrap`) does not include the sampling of test examples.
    """
    there = reached(challenger, baseline)
    if there.sum() < 2:
        return None
    saved = (baseline["errors"] - challenger["errors"])[there]
    of = task["plain"][CONSTANT]["errors"] if skill else task["turns"]
    return effect_interval(np.stack([saved, np.broadcast_to(of, saved.shape)], -1), ratio)


def class_f1(task: Mapping, cell: Mapping) -> dict[str, float]:
    """F1 of each class, mean over seeds; that of a class that nobody predicts is 0."""
    f1 = f1_from_sums(cell["counts"][reached(cell)].sum(1)).mean(0)
    return dict(zip(task["classes"], f1.tolist(), strict=True))


def _counts(challenger: Mapping, baseline: Mapping) -> np.ndarray:
    """Sums (S, C, K, 6) for the F1 of each class, the challenger's before the baseline's."""
    there = reached(challenger, baseline)
    return np.concatenate([challenger["counts"][there], baseline["counts"][there]], axis=-1)


def class_gains(task: Mapping, challenger: Mapping, baseline: Mapping) -> dict[str, Effect]:
    """Improvement of the F1 of each class on the test set, over seeds and dialogues."""
    by_class = np.moveaxis(_counts(challenger, baseline), 2, 0)
    names = zip(task["classes"], by_class, strict=True)
    return {name: effect_interval(sums, difference(f1_from_sums)) for name, sums in names}


def low_resource_gain(
    task: Mapping, challenger: Mapping, baseline: Mapping, rare: Sequence[str] = ("sad", "angry")
) -> Effect | None:
    """Mean improvement of F1 over some classes, minus that over the others (section 5.1)."""
    sums = _counts(challenger, baseline)
    if len(sums) < 2:
        return None
    n_classes = len(task["classes"])
    sign = np.array([1 / len(rare) if name in rare else -1 / (n_classes - len(rare)) for name in task["classes"]])

    def contrast(sums: np.ndarray) -> np.ndarray:
        return difference(f1_from_sums)(sums.reshape(*sums.shape[:-1], n_classes, 6)) @ sign

    return effect_interval(sums.reshape(*sums.shape[:2], -1), contrast)


def class_ratio(task: Mapping, rare: Sequence[str] = ("sad", "angry")) -> float:
    """The rarest of the other classes over the commonest of those that are said to be rare, in training."""
    counts = task["class counts"]["train"]
    return float(counts.drop(list(rare)).min() / counts[list(rare)].max())


def tuning_bootstrap(dev: np.ndarray, test: np.ndarray, n_resamples: int, generator: np.random.Generator) -> np.ndarray:
    """The paper's bootstrap (appendix A.5): test scores (R,) of the best of resampled trials.

    (1) Resample the trials with replacement, (2) choose the best on development data, of equal ones the first,
    (3) look up its test score. What varies is the luck of tuning, not the test set.

    Args:
        dev, test: (K,), scores of the trials, of which greater is better.
    """
    rank = np.argsort(np.argsort(-np.asarray(dev), kind="stable"))
    by_rank = np.asarray(test)[np.argsort(rank)]
    return by_rank[rank[generator.integers(len(rank), size=(n_resamples, len(rank)))].min(1)]


def tuning_intervals(
    challenger: pd.DataFrame, baseline: pd.DataFrame, generator: np.random.Generator, n_resamples: int = 1000
) -> pd.DataFrame:
    """Mean difference of the test scores of each seed, and its ends without 2.5% on each side (A.5).

    Args:
        challenger, baseline: trials, with columns `seed`, `dev` and `test`; of the seeds that both have, the first's
            test scores minus the second's.
    """
    rows, others = {}, dict(list(baseline.groupby("seed")))
    for seed, trials in challenger.groupby("seed"):
        if seed in others:
            better, other = (
                tuning_bootstrap(t["dev"], t["test"], n_resamples, generator) for t in (trials, others[seed])
            )
            rows[seed] = (better - other).mean(), *np.quantile(better - other, [0.025, 0.975])
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])
