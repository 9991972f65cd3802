"""What a run keeps of its searches: of each task and cell sums over test dialogues, and beside them plain baselines.

A *task* is a dictionary: its `classes` and `families`, names of its `auxiliary` tasks, the test `turns` of its
dialogues (C,), `class counts` by split, and `cells` and `plain`, both by name. Its `trials` have a row each, as have
their loss `weights` and `curves`. A *cell* holds for S seeds, NaN where a seed was not reached:

- `errors` (S, C), summed over the turns of each dialogue: missed classes, or absolute errors;
- `counts` (S, C, K, 3), of classes: true, false and missed positives;
- `learnt` (S,), AUROC (mean of each class against the rest) or CCC, which no claim is about;
- `dead` (S,), one class for 99% of the turns or no variance; `last` (S,), the best epoch was the last possible one;
- `dev` (S,), the development score of the trial that was chosen and tested.

A plain baseline has the first four without S.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from uncertain_affect.evidence.claims import Arm
from uncertain_affect.evidence.resampling import cluster_sums
from uncertain_affect.evidence.store import Field
from uncertain_affect.metrics.concordance import ccc
from uncertain_affect.metrics.ranking import auroc
from uncertain_affect.metrics.sums import f1_sums
from uncertain_affect.papers.rock.searches import Search
from uncertain_affect.papers.rock.tasks import Problem
from uncertain_affect.papers.rock.text import PADDING
from uncertain_affect.papers.rock.trials import Cell, errors

# rows of tables: majority or median of training; logistic or ridge regression on the mean word vector, and on TF-IDF
CONSTANT, PLAIN, WORDS = "constant", "regression on mean vectors", "regression on TF-IDF"
DEAD_SHARE, DEAD_SD = 0.99, 1e-3


def task(
    problem: Problem, cells: Mapping[str, Cell], found: Mapping, seeds: Sequence[int], max_epochs: int
) -> dict[str, object]:
    """What is kept of a primary task.

    Args:
        cells: by the name that each is kept under.
        found: searches by problem's name, cell and seed, see :func:`search_all`.
        seeds: those kept, in order.
        max_epochs: that a trial may last.
    """
    lists = [search for _, _, search in _lists(problem, cells, found, seeds)]
    splits = {split: problem.truth(split) for split in problem.rows}
    counts = {split: [int((y == k).sum()) for k in range(len(problem.classes))] for split, y in splits.items()}
    return {
        "classes": list(problem.classes),
        "families": problem.families,
        "auxiliary": [task.name for task in problem.tasks[1:]],
        "turns": _by_dialogue(problem, np.ones((len(problem.rows["test"]), 1)))[:, 0],
        "class counts": pd.DataFrame(counts, index=list(problem.classes)),
        "cells": {
            name: _of_seeds(problem, [found.get((problem.name, cell, seed)) for seed in seeds], max_epochs)
            for name, cell in cells.items()
        },
        "plain": {name: _tested(problem, predictions) for name, predictions in plain_predictions(problem).items()},
        "trials": _trials(problem, cells, found, seeds),
        "weights": np.array([t.weights for search in lists for t in search.trials]),
        "curves": _padded([curve for search in lists for curve in search.curves]),
    }


def _trials(problem: Problem, cells: Mapping[str, Cell], found: Mapping, seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each trial: `cell`, `seed`, `trial` from 0, and the columns of `Search.table`."""
    return pd.concat(
        [s.table.reset_index().assign(cell=name, seed=seed) for name, seed, s in _lists(problem, cells, found, seeds)],
        ignore_index=True,
    )


def _padded(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Curves of several lengths as rows, NaN after their ends."""
    rows = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for row, curve in zip(rows, curves, strict=True):
        row[: len(curve)] = curve
    return rows


def _lists(problem, cells, found, seeds) -> list[tuple[str, int, Search]]:
    named = [(name, seed, found.get((problem.name, cell, seed))) for name, cell in cells.items() for seed in seeds]
    return [entry for entry in named if entry[2] is not None]


def _of_seeds(problem: Problem, searches: Sequence[Search | None], max_epochs: int) -> dict[str, Field]:
    """A cell: what the chosen trial of each seed did."""
    of_seed = [
        _tested(problem, s.test[s.best]) | {"dev": s.table["dev"].max(), "last": s.best_epoch == max_epochs}
        for s in searches
        if s is not None
    ]
    reached = np.array([s is not None for s in searches])
    cell = {}
    for key in of_seed[0] if of_seed else ():
        values = np.array([one[key] for one in of_seed], dtype=float)
        cell[key] = np.full((len(searches), *values.shape[1:]), np.nan)
        cell[key][reached] = values
    axes = ("seed", "dialogue", "class", "kind")
    return {key: Field(values, dims=axes[: values.ndim]) for key, values in cell.items()}


def _by_dialogue(problem: Problem, values: np.ndarray) -> np.ndarray:
    """Values (n, K) of the test turns summed over dialogues (C, K)."""
    return cluster_sums(values[None], problem.dialogue[problem.rows["test"]])[0]


def _tested(problem: Problem, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over dialogues, and what was learnt, of test predictions (n,) or probabilities (n, C)."""
    truth = problem.truth("test")
    found = {"errors": _by_dialogue(problem, errors(problem, predictions, "test")[:, None])[:, 0]}
    if not problem.classes:
        return found | {
            "learnt": np.array(ccc(predictions, truth)),
            "dead": np.array(predictions.std() < DEAD_SD * truth.std()),
        }
    labels, classes = predictions.argmax(-1), range(len(problem.classes))
    counts = np.concatenate([f1_sums(truth == k, labels == k) for k in classes], -1)
    return found | {
        "counts": _by_dialogue(problem, counts).reshape(-1, len(classes), 3),
        "learnt": np.array(np.nanmean([auroc(predictions[:, k], truth == k) for k in classes])),
        "dead": np.array(np.bincount(labels).max() >= DEAD_SHARE * len(labels)),
    }


def plain_predictions(problem: Problem) -> dict[str, np.ndarray]:
    """Test predictions of what costs nothing: a constant, and regressions on the words of the talkturn.

    The constant is the majority class of training, with its base rates as probabilities, or the median. Regressions
    are logistic (L2, C = 1) or ridge (penalty chosen among 10^-3 to 10^5 by leaving one out) on the mean of the
    network's own word vectors, standardised, and on the TF-IDF of its words.
    """
    rows, train = problem.rows, problem.truth("train")
    n_test, n_classes = len(rows["test"]), len(problem.classes)
    if n_classes:
        constant = np.tile(np.bincount(train.astype(int), minlength=n_classes) / len(train), (n_test, 1))
    else:
        constant = np.full(n_test, np.median(train))
    words = problem.tokens.numpy()
    present = (words != PADDING)[..., None]
    mean = (problem.embedding.numpy()[words] * present).sum(1) / np.maximum(present.sum(1), 1)
    n_words = np.zeros((len(words), len(problem.embedding)))
    np.add.at(n_words, (np.arange(len(words))[:, None], words), present[..., 0])
    found = {CONSTANT: constant}
    for name, inputs, scaler in ((PLAIN, mean, StandardScaler()), (WORDS, n_words, TfidfTransformer())):
        fit = LogisticRegression(max_iter=1000) if n_classes else RidgeCV(np.logspace(-3, 5, 17))
        model = make_pipeline(scaler, fit).fit(inputs[rows["train"]], train)
        if n_classes:  # a class that training lacks has no probability
            found[name] = np.zeros((n_test, n_classes))
            found[name][:, fit.classes_.astype(int)] = model.predict_proba(inputs[rows["test"]])
        else:
            found[name] = model.predict(inputs[rows["test"]])
    return found


def learnt(tasks: Iterable[tuple[str, Mapping, Mapping]]) -> Arm:
    """What an arm has learnt in the task where it has learnt least, of tasks with their names and cells."""
    arms = []
    for name, kept, cell in tasks:
        there = np.isfinite(cell["dev"])
        arms.append(
            Arm(
                metric=f"{'AUROC' if kept['classes'] else 'CCC'} of {name}",
                score=float(cell["learnt"][there].mean()),
                constant=0.5 if kept["classes"] else 0.0,
                baseline=float(kept["plain"][PLAIN]["learnt"]),
                last_epoch=float(cell["last"][there].mean()),
                dead=float(cell["dead"][there].mean()),
            )
        )
    return min(arms, key=lambda arm: (not arm.problem(), (arm.score - arm.constant) / (arm.baseline - arm.constant)))
