"""What a run keeps of its searches: of each task and cell sums over test dialogues, and beside them plain baselines.

A *task* is a dictionary: its `classes` and `families`, names of its `auxiliary` tasks, the test `turns` of its
dialogues (C,), `class counts` by split, and `cells` and `plain`, both by name. Its `trials` have a row each, as have
their loss `weights` and `curves`. A *cell* holds for S seeds, NaN where a seed was not reached:

- `errors` (S, C), summed over the turns of each dialogue: missed classes, or absolute errors;
- `counts` (S, C, K, 3), of classes: true, false and missed positives;
- `learnt` (S,), AUROC (mean of each class against the rest) or CCC, which no claim is about;
- `dead` (S,), one class for 99% of the turns or no variance; `last` (S,), the best epoch was the last possible one;
- `dev` (S,), the development score of the trial that was chosen and tested.

A plain baseline has the first four without S. Beside that, what trained networks attend to (section A.6), and how large
and fast they are.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from uncertain_affect.compute.devices import one_thread
from uncertain_affect.evidence.claims import Arm, Effect, effect_interval
from uncertain_affect.evidence.resampling import cluster_sums, difference
from uncertain_affect.evidence.store import Field
from uncertain_affect.losses.rock import multi_task_loss
from uncertain_affect.metrics.concordance import ccc
from uncertain_affect.metrics.ranking import auroc
from uncertain_affect.metrics.sums import f1_from_sums, f1_sums, ratio
from uncertain_affect.models.rock import HanRock, contexts
from uncertain_affect.papers.baselines import class_probabilities
from uncertain_affect.papers.rock.search import EVALUATED, Cell, Search, Trial, errors
from uncertain_affect.papers.rock.tasks import PADDING, Problem

# rows of tables: majority or median of training; logistic or ridge regression on the mean word vector, and on TF-IDF
CONSTANT, PLAIN, WORDS = "constant", "regression on mean vectors", "regression on TF-IDF"
DEAD_SHARE, DEAD_SD = 0.99, 1e-3
RARE = ["sad", "angry"]  # section 5.1
LEVELS = ("none", "low", "medium", "high")  # of attention
N_WORDS = 12  # of a talkturn, when steps of training are timed


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
    named = [(name, seed, found.get((problem.name, cell, seed))) for name, cell in cells.items() for seed in seeds]
    lists = [s for _, _, s in named if s is not None]
    tables = [s.table.reset_index().assign(cell=name, seed=seed) for name, seed, s in named if s is not None]
    splits = {split: problem.truth(split) for split in problem.rows}
    counts = {split: [int((y == k).sum()) for k in range(len(problem.classes))] for split, y in splits.items()}
    curves = [curve.tolist() for search in lists for curve in search.curves]
    turns = _by_dialogue(problem, np.ones((len(problem.rows["test"]), 1)))[:, 0]
    return {
        "classes": list(problem.classes),
        "families": problem.families,
        "auxiliary": [task.name for task in problem.tasks[1:]],
        "turns": Field(turns, ("dialogue",), "turns"),
        "class counts": pd.DataFrame(counts, index=list(problem.classes)),
        "cells": {
            name: _of_seeds(problem, [found.get((problem.name, cell, seed)) for seed in seeds], max_epochs)
            for name, cell in cells.items()
        },
        "plain": {name: _named(problem, _tested(problem, p)) for name, p in plain_predictions(problem).items()},
        # a row for each trial: `cell`, `seed`, `trial` from 0, and the columns of `Search.table`
        "trials": pd.concat(tables, ignore_index=True),
        "weights": Field(np.array([t.weights for search in lists for t in search.trials]), ("trial", "task")),
        # development scores, NaN after the last epoch
        "curves": Field(pd.DataFrame(curves).to_numpy(float), ("trial", "epoch")),
    }


def _of_seeds(problem: Problem, searches: Sequence[Search | None], max_epochs: int) -> dict[str, Field]:
    """A cell: what the chosen trial of each seed did."""
    blank = _tested(problem, _constant(problem)) | {"dev": 0.0, "last": False}
    cell = {key: np.full((len(searches), *np.shape(value)), np.nan) for key, value in blank.items()}
    for i, s in enumerate(searches):
        if s is not None:
            chosen = {"dev": s.table["dev"].max(), "last": s.best_epoch == max_epochs}
            for key, value in (_tested(problem, s.test[s.best]) | chosen).items():
                cell[key][i] = value
    return _named(problem, cell, "seed")


def _named(problem: Problem, values: Mapping[str, np.ndarray], *first: str) -> dict[str, Field]:
    """Sums and what was learnt with their axes and units, the first axes before those of :func:`_tested`."""
    axes, units = (*first, "dialogue", "class", "kind"), {"errors": "label", "counts": "turns"}
    units |= {"errors": "turns"} if problem.classes else {}
    return {key: Field(of, axes[: of.ndim], units.get(key, "")) for key, of in values.items()}


def _by_dialogue(problem: Problem, values: np.ndarray) -> np.ndarray:
    """Values (n, K) of the test turns summed over dialogues (C, K)."""
    return cluster_sums(values[None], problem.dialogue[problem.rows["test"]])[0]


def _tested(problem: Problem, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over dialogues, and what was learnt, of test predictions (n,) or probabilities (n, C)."""
    truth = problem.truth("test")
    found = {"errors": _by_dialogue(problem, errors(problem, predictions, "test")[:, None])[:, 0]}
    if not problem.classes:
        dead = np.array(predictions.std() < DEAD_SD * truth.std())
        return found | {"learnt": np.array(ccc(predictions, truth)), "dead": dead}
    labels, classes = predictions.argmax(-1), range(len(problem.classes))
    counts = np.concatenate([f1_sums(truth == k, labels == k) for k in classes], -1)
    area = np.array(np.nanmean([auroc(predictions[:, k], truth == k) for k in classes]))
    dead = np.array(np.bincount(labels).max() >= DEAD_SHARE * len(labels))
    counts = _by_dialogue(problem, counts).reshape(-1, len(classes), 3)
    return found | {"counts": counts, "learnt": area, "dead": dead}


def _constant(problem: Problem) -> np.ndarray:
    train, n, n_classes = problem.truth("train"), len(problem.rows["test"]), len(problem.classes)
    if not n_classes:
        return np.full(n, np.median(train))
    return np.tile(np.bincount(train.astype(int), minlength=n_classes) / len(train), (n, 1))


def plain_predictions(problem: Problem) -> dict[str, np.ndarray]:
    """Test predictions of what costs nothing: a constant, and regressions on the words of the talkturn.

    The constant is the majority class of training, with its base rates as probabilities, or the median. Regressions
    are logistic (L2, C = 1) or ridge (penalty chosen among 10^-3 to 10^5 by leaving one out) on the mean of the
    network's own word vectors, standardised, and on the TF-IDF of its words.
    """
    rows, train = problem.rows, problem.truth("train")
    n_classes, words = len(problem.classes), problem.tokens.numpy()
    present = (words != PADDING)[..., None]
    mean = (problem.embedding.numpy()[words] * present).sum(1) / np.maximum(present.sum(1), 1)
    n_words = np.zeros((len(words), len(problem.embedding)))
    np.add.at(n_words, (np.arange(len(words))[:, None], words), present[..., 0])
    found = {CONSTANT: _constant(problem)}
    for name, inputs, scaler in ((PLAIN, mean, StandardScaler()), (WORDS, n_words, TfidfTransformer())):
        x, at = inputs[rows["train"]], inputs[rows["test"]]
        if n_classes:
            model = make_pipeline(scaler, LogisticRegression(max_iter=1000))
            found[name] = class_probabilities(model, x, train, at, n_classes)
        else:
            found[name] = make_pipeline(scaler, RidgeCV(np.logspace(-3, 5, 17))).fit(x, train).predict(at)
    return found


def learnt(tasks: Iterable[tuple[str, Mapping, Mapping]]) -> Arm:
    """What an arm has learnt in the task where it has learnt least, of tasks with their names and cells."""
    arms = []
    for name, kept, cell in tasks:
        there = np.isfinite(cell["dev"])
        if not there.any():
            continue
        score, last, dead = (float(cell[of][there].mean()) for of in ("learnt", "last", "dead"))
        measured, constant = ("AUROC", 0.5) if kept["classes"] else ("CCC", 0.0)
        arms.append(Arm(f"{measured} of {name}", score, constant, float(kept["plain"][PLAIN]["learnt"]), last, dead))
    nothing = Arm("score of no seed", math.nan, 0.0, 0.0)
    share = {arm: (arm.score - arm.constant) / (arm.baseline - arm.constant) for arm in arms}
    return min(arms, key=lambda arm: (not arm.problem(), share[arm]), default=nothing)


# --- comparisons of cells ---------------------------------------------------------------------------------------


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


def low_resource_gain(task: Mapping, challenger: Mapping, baseline: Mapping) -> Effect | None:
    """Mean improvement of F1 over the classes that are said to be rare, minus that over the others (section 5.1)."""
    sums = _counts(challenger, baseline)
    if len(sums) < 2:
        return None
    n_classes = len(task["classes"])
    sign = np.array([1 / len(RARE) if name in RARE else -1 / (n_classes - len(RARE)) for name in task["classes"]])

    def contrast(sums: np.ndarray) -> np.ndarray:
        return difference(f1_from_sums)(sums.reshape(*sums.shape[:-1], n_classes, 6)) @ sign

    return effect_interval(sums.reshape(*sums.shape[:2], -1), contrast)


def class_ratio(task: Mapping) -> float:
    """The rarest of the other classes over the commonest of those that are said to be rare, in training."""
    counts = task["class counts"]["train"]
    return float(counts.drop(RARE).min() / counts[RARE].max())


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


# --- attention --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention in n examples, averaged over tasks with the weights of the fusion.

    Attributes:
        context: int (n, L), rows of the talkturns read, the current one last among them, -1 after it.
        words: (n, L, W), weights within each talkturn; zero after its last word.
        turns: (n, L), weights of the talkturns.
        n_words: int (n, L).
    """

    context: np.ndarray
    words: np.ndarray
    turns: np.ndarray
    n_words: np.ndarray

    def history_share(self) -> np.ndarray:
        """Weight of all talkturns of history together (n,); NaN where there is no history."""
        last = (self.context >= 0).sum(1) - 1
        return np.where(last > 0, 1 - np.take_along_axis(self.turns, last[:, None], 1)[:, 0], np.nan)

    def history_minus_current(self) -> np.ndarray:
        """Mean weight of a talkturn of history minus that of the current one (n,), in units of equal weights.

        NaN where there is no history.
        """
        last = (self.context >= 0).sum(1) - 1
        history = self.history_share()
        return (history / np.maximum(last, 1) - (1 - history)) * (last + 1)

    def second_word_minus_others(self) -> np.ndarray:
        """Weight of the second word minus the mean of the others (n,), in units of equal weights.

        The mean over talkturns of at least two words; NaN without one.
        """
        enough = self.n_words >= 2
        second = self.words[:, :, 1]
        others = (self.words.sum(2) - second) / np.where(enough, self.n_words - 1, 1)
        with np.errstate(invalid="ignore"):
            return ((second - others) * self.n_words * enough).sum(1) / np.where(enough.any(1), enough.sum(1), np.nan)


@torch.no_grad()
def attention_weights(net: torch.nn.Module, problem: Problem, trial: Trial, rows: np.ndarray) -> Attention:
    """What a trained network attends to in some rows of its problem."""
    device = next(net.parameters()).device
    tokens, context = problem.tokens, contexts(problem.dialogue, trial.content_size)[torch.from_numpy(rows)]
    net.eval()
    parts = [net(tokens.to(device), part.to(device)).overall_attention() for part in context.split(EVALUATED)]
    words, turns = (torch.cat(kind).cpu().numpy() for kind in zip(*parts, strict=True))
    n_words = ((tokens != 0).sum(1)[context.clamp(min=0)] * (context >= 0)).numpy()
    return Attention(context.numpy(), words, turns, n_words)


def attention_levels(weights: np.ndarray) -> np.ndarray:
    """Index in `LEVELS` of each of n weights by its z-score among them: below 0, from 0, from 1 and from 2 on.

    Equal weights have no z-score and are "none".

    >>> attention_levels([0.1, 0.1, 0.1, 0.7]).tolist()
    [0, 0, 0, 2]
    """
    weights = np.asarray(weights, float)
    sd = weights.std()
    # equal weights differ by rounding alone
    z = (weights - weights.mean()) / sd if sd > 1e-9 else np.full(len(weights), -1.0)
    return np.digitize(z, [0, 1, 2])


# --- size and speed ---------------------------------------------------------------------------------------------


def n_parameters(net: torch.nn.Module) -> int:
    """Parameters without embeddings."""
    return sum(p.numel() for name, p in net.named_parameters() if "embedding" not in name)


def step_seconds(
    nets: Mapping[str, HanRock], *, batch_size: int, content_size: int, repeats: int = 5
) -> dict[str, Field]:
    """Seconds (R,) of one core for a step of training, networks by turns: loss, gradients and Adam.

    Args:
        nets: emotion of four classes is their primary task; words are drawn from their embedding.
        batch_size: consecutive talkturns of one dialogue, each read with its context.
        content_size: L.
    """
    g, n = torch.Generator().manual_seed(0), batch_size + content_size - 1
    rows = contexts(np.zeros(n), content_size)[-batch_size:]
    optimisers = {name: torch.optim.Adam(net.parameters(), fused=True) for name, net in nets.items()}
    seconds = {name: np.empty(repeats) for name in nets}
    with one_thread():
        for i in range(-1, repeats):  # the first round warms up
            for name, net in nets.items():
                categorical = [task.n_classes is not None for task in net.tasks]
                tokens = torch.randint(1, len(net.embedding.weight), (n, N_WORDS), generator=g)
                targets = torch.randint(4, (batch_size, len(categorical)), generator=g).float()
                weights = torch.full((len(categorical),), 1 / len(categorical))
                started = time.process_time()
                predicted = net(tokens, rows)
                loss = multi_task_loss(predicted.values, predicted.logits, targets, weights, categorical)
                optimisers[name].zero_grad()
                loss.backward()
                optimisers[name].step()
                if i >= 0:
                    seconds[name][i] = time.process_time() - started
    return {name: Field(of_net, ("round",), "s") for name, of_net in seconds.items()}
