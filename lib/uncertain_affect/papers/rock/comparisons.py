"""Comparisons of cells: what the tables of HAN-ROCK compare, over seeds and dialogues, and by the paper's bootstrap."""

from collections.abc import Mapping, Sequence

import numpy as np

from uncertain_affect.evidence.claims import Effect, effect_interval
from uncertain_affect.evidence.resampling import cluster_sums, difference
from uncertain_affect.metrics.sums import f1_from_sums, f1_sums, ratio, ratio_sums
from uncertain_affect.papers.rock.searches import Search
from uncertain_affect.papers.rock.tasks import Problem
from uncertain_affect.papers.rock.trials import Cell, errors


def chosen(searches: Sequence[Search]) -> np.ndarray:
    """Test predictions (S, n[, C]) of the best trial of each seed."""
    return np.stack([found.test[found.best] for found in searches])


def common(found: Mapping, problem: str, *cells: Cell) -> list[list[Search]]:
    """The searches of each cell for the seeds that all of these cells have, ascending; empty lists if there are none.

    Args:
        found: searches by problem's name, cell and seed, see :func:`search_all`.
        problem: its name.
    """
    seeds = sorted({seed for _, _, seed in found})
    seeds = [seed for seed in seeds if all((problem, cell, seed) in found for cell in cells)]
    return [[found[problem, cell, seed] for seed in seeds] for cell in cells]


def better_of(*cells: Sequence[Search]) -> list[Search]:
    """For each seed the search with the best development score among those of several cells."""
    return [max(searches, key=lambda found: found.table["dev"].max()) for searches in zip(*cells, strict=True)]


def improvement(problem: Problem, challenger: np.ndarray, baseline: np.ndarray) -> Effect:
    """By how much test predictions (S, n[, C]) improve on others: accuracy, or minus mean absolute error.

    The interval is over seeds and dialogues, crossed: it includes the sampling of test examples, which the paper's
    (:func:`tuning_bootstrap`) does not.
    """
    return mean_gain(problem, errors(problem, baseline, "test") - errors(problem, challenger, "test"))


def mean_gain(problem: Problem, gain: np.ndarray) -> Effect:
    """Mean of a gain (S, n) in each test example, with its interval over seeds and dialogues, crossed."""
    return effect_interval(cluster_sums(ratio_sums(gain), problem.dialogue[problem.rows["test"]]), ratio)


def _f1_sums(problem: Problem, challenger: np.ndarray, baseline: np.ndarray) -> list[np.ndarray]:
    """The sums (S, dialogues, 6) for the test F1 of each class, the challenger's before the baseline's."""
    truth, groups = problem.truth("test"), problem.dialogue[problem.rows["test"]]
    predicted = [probabilities.argmax(-1) for probabilities in (challenger, baseline)]
    return [
        cluster_sums(np.concatenate([f1_sums(truth == k, p == k) for p in predicted], -1), groups)
        for k in range(len(problem.classes))
    ]


def class_gains(problem: Problem, challenger: np.ndarray, baseline: np.ndarray) -> dict[str, Effect]:
    """Improvement of the F1 of each class on the test set, over seeds and dialogues."""
    by_class = dict(zip(problem.classes, _f1_sums(problem, challenger, baseline), strict=True))
    return {name: effect_interval(sums, difference(f1_from_sums)) for name, sums in by_class.items()}


def low_resource_gain(
    problem: Problem, challenger: np.ndarray, baseline: np.ndarray, rare: Sequence[str] = ("sad", "angry")
) -> Effect:
    """Mean improvement of F1 over some classes, minus that over the others (section 5.1)."""
    sums = np.concatenate(_f1_sums(problem, challenger, baseline), -1)
    n_classes = len(problem.classes)
    sign = np.array([1 / len(rare) if name in rare else -1 / (n_classes - len(rare)) for name in problem.classes])

    def contrast(sums: np.ndarray) -> np.ndarray:
        return difference(f1_from_sums)(sums.reshape(*sums.shape[:-1], n_classes, 6)) @ sign

    return effect_interval(sums, contrast)


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


def tuning_interval(
    challenger: Search, baseline: Search, generator: np.random.Generator, n_resamples: int = 1000
) -> tuple[float, float, float]:
    """Mean difference of the test scores, challenger minus baseline, and its ends without 2.5% on each side (A.5)."""
    tables = challenger.table, baseline.table
    better, other = (tuning_bootstrap(table["dev"], table["test"], n_resamples, generator) for table in tables)
    gap = better - other
    low, high = np.quantile(gap, [0.025, 0.975])
    return float(gap.mean()), float(low), float(high)
