"""A constant and a plain baseline beside every method, what each has learnt, temperatures, and what is kept of it."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.corpora.base import AffectVideos
from uncertain_affect.evidence.claims import Arm, Effect, effect_interval
from uncertain_affect.evidence.resampling import Floats, Statistic, cluster_sums
from uncertain_affect.evidence.store import Field
from uncertain_affect.metrics import auroc
from uncertain_affect.models.distill import N_BINS, bin_values
from uncertain_affect.papers.baselines import class_probabilities
from uncertain_affect.papers.distill.metrics import DIMENSIONS, EPS, Metrics
from uncertain_affect.papers.distill.networks import Generation, Probabilities, logits, probabilities
from uncertain_affect.papers.distill.trunks import Encoders, Trunks, hog_trunk
from uncertain_affect.papers.distill.videos import Videos
from uncertain_affect.training.temperature import BOUNDS, fit_temperature

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)
# Strengths of the penalty, of which the videos that tune choose one.
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
# What says whether a task was learnt.
METRICS = {"AU": "AUROC of units", "EXPR": "accuracy of expressions", "VA": "CCC"}
# More clusters than this are nearly single examples.
MANY_CLUSTERS = 1000
# Answers that are the same for so many frames are a constant's.
ALL_BUT = 0.99


def constant(videos: Videos, rows: Tensor, n_seeds: int) -> Probabilities:
    """Rates of units and of expressions, and mean valence and arousal, over the frames that train: (S, 1, n, ...)."""
    known = {task: y[videos.train[task]].double() for task, y in videos.labels.items()}
    if "EXPR" in known:
        known["EXPR"] = _one_hot(known["EXPR"], len(videos.names["EXPR"]))
    means = {task: _in_bins(y.mean(0)) if task == "VA" else y.mean(0) for task, y in known.items()}
    return {task: mean.expand(n_seeds, 1, len(rows), *mean.shape) for task, mean in means.items()}


@one_thread()
def plain_baseline(corpus: AffectVideos, videos: Videos, trunks: Encoders, rows: Tensor, n_seeds: int) -> Probabilities:
    """Logistic and ridge regression on single frames' frozen features, without class weights: (S, 1, n, ...).

    Where trunks are trained end to end, so that there are none, on histograms of oriented gradients. The penalty is the
    one of `PENALTIES` that predicts the videos that tune best.
    """
    x = (trunks if isinstance(trunks, Trunks) else hog_trunk(corpus, videos)).features
    key = content_key(RECIPE, x, videos.labels, videos.train, videos.tune, rows)

    def build() -> dict[str, np.ndarray]:
        seeds = [{task: _regressed(task, videos, of_seed, rows) for task in videos.tasks} for of_seed in x.double()]
        return {task: np.stack([found[task] for found in seeds])[:, None] for task in videos.tasks}

    # where all seeds have the same features, one regression is theirs
    found = {task: torch.from_numpy(p) for task, p in cached_arrays(key, build, kind="baselines").items()}
    return {task: p.expand(n_seeds, *p.shape[1:]) for task, p in found.items()}


def _regressed(task: str, videos: Videos, x: Tensor, rows: Tensor) -> np.ndarray:
    """Predictions (n, ...) of one seed for a task."""
    (train, tune), y = ((part[task].nonzero().squeeze(1) for part in (videos.train, videos.tune)), videos.labels[task])
    places = torch.cat([tune, rows])
    if task == "AU":
        units = [_chosen(x, y[:, a].long(), 2, train, tune, places)[:, 1] for a in range(y.shape[1])]
        return torch.stack(units, -1)[len(tune) :].numpy()
    if task == "EXPR":
        return _chosen(x, y.long(), len(videos.names["EXPR"]), train, tune, places)[len(tune) :].numpy()
    tried = [torch.from_numpy(Ridge(alpha=s).fit(x[train], y[train].double()).predict(x[places])) for s in PENALTIES]
    best = min(tried, key=lambda p: float((p[: len(tune)] - y[tune]).square().mean()))
    return _in_bins(best[len(tune) :]).numpy()


def _chosen(x: Tensor, y: Tensor, n_classes: int, train: Tensor, tune: Tensor, places: Tensor) -> Tensor:
    """Probabilities (n, C) of logistic regression at some places, the first of which tune."""
    models = (LogisticRegression(C=1 / strength, max_iter=300) for strength in PENALTIES)
    tried = [torch.from_numpy(class_probabilities(m, x[train], y[train], x[places], n_classes)) for m in models]
    return min(tried, key=lambda p: float(-p[: len(tune)].gather(1, y[tune, None]).clamp(min=EPS).log().mean()))


def _one_hot(y: Tensor, n_classes: int) -> Tensor:
    return F.one_hot(y.long(), n_classes).double()


def _in_bins(values: Tensor) -> Tensor:
    """Values (...) as distributions (..., 20) over the bins with these means, on the two nearest."""
    at = bin_values(values)
    values = values.clamp(float(at[0]), float(at[-1]))
    place = (values - at[0]) / (at[1] - at[0])
    low = place.floor().clamp(0, N_BINS - 2)
    share = (place - low)[..., None]
    return (1 - share) * _one_hot(low, N_BINS) + share * _one_hot(low + 1, N_BINS)


# --- is it a test at all? -------------------------------------------------------------------------------------


def learnt(p: Probabilities, videos: Videos, generation: Generation | None = None) -> dict:
    """What networks have learnt of each task, on the test frames: metric of `METRICS`, mean of all, and share of dead.

    Dead is a network that says the same of 99% of frames (of AU: of every unit), or gives valence or arousal no
    variance. With the generation that they are, also the share whose best epoch was the last.
    """
    rows, scores = videos.rows("test"), Metrics(videos.outputs)
    sums, found = scores.sums(p, videos, "test").sum(2), {}
    for task, probs in p.items():
        known = videos.test[task][rows]
        values, y = probs[:, :, known].double(), videos.labels[task][rows[known]]
        if task == "AU":
            there = [a for a in range(y.shape[1]) if 0 < y[:, a].sum() < len(y)]
            each = [auroc(of[:, a], y[:, a] == 1) for of in values.flatten(0, 1) for a in there]
            score, positive = np.mean(each), (values >= 0.5).double().mean(2)
            dead = (torch.maximum(positive, 1 - positive) >= ALL_BUT).all(-1)
        elif task == "EXPR":
            top = values.argmax(-1)
            score, dead = (top == y).double().mean(), _one_hot(top, values.shape[-1]).mean(2).amax(-1) >= ALL_BUT
        else:
            score = np.mean([scores.ccc(sums, d) for d in range(len(DIMENSIONS))])
            dead = ((values @ bin_values(values)).std(2) < EPS).any(-1)
        found[task] = {"score": float(score), "dead": float(dead.double().mean())}
    last = 0.0 if generation is None else (generation.best_epoch == generation.settings.epochs).double().mean()
    return {"tasks": found, "last epoch": float(last)}


def arm(found: Mapping[str, Mapping], method: str, tasks: Iterable[str], beside: str = "") -> Arm:
    """What a method has learnt, of the tasks that a claim is about: of the one where it has learnt least.

    Args:
        found: by method what :func:`learnt` gives, with the rows *constant* and *plain baseline*.
        beside: what the names of these two rows begin with.
    """
    arms = []
    for task in tasks:
        rows = (method, f"{beside}constant", f"{beside}plain baseline")
        of, *others = (found[name]["tasks"][task] for name in rows)
        scores = of["score"], *(other["score"] for other in others)
        arms.append(Arm(METRICS[task], *scores, found[method]["last epoch"], of["dead"]))
    return min(arms, key=lambda a: (not a.problem(), a.score - a.baseline))


def table(found: Mapping[str, Mapping]) -> pd.DataFrame:
    """A row for each method, a column for each task, of what :func:`learnt` gives."""
    rows = {
        name: {METRICS[task]: scores["score"] for task, scores in of["tasks"].items()}
        | {"best epoch is the last": of["last epoch"]}
        | {f"dead, {task}": scores["dead"] for task, scores in of["tasks"].items()}
        for name, of in found.items()
    }
    return pd.DataFrame(rows).T


def share_at_bound(fitted: Iterable[ArrayLike]) -> float:
    """Share of temperatures within a hundredth of a bound of their search."""
    t = np.concatenate([np.ravel(part) for part in fitted])
    low, high = BOUNDS
    return float(((t < 1.01 * low) | (t > 0.99 * high)).mean())


# --- temperature scaling --------------------------------------------------------------------------------------


def temperatures(
    logits: Mapping[str, Tensor], videos: Videos, rows: Tensor, labelled: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Temperatures of every network that fit rows best: AU (S, M, 1, A), one a unit, and EXPR (S, M, 1, 1).

    Args:
        logits: (S, M, n, C) by task for n rows.
        labelled: bool (N,) by task, frames with labels to fit on, for example ``videos.tune``.
    """
    fitted = {}
    for task in sorted({"AU", "EXPR"} & logits.keys()):
        known = labelled[task][rows]
        z, y = logits[task][:, :, known].double(), videos.labels[task][rows[known]]
        of_networks = [(m, y) for m in z.flatten(0, 1)]
        if task == "AU":
            of_networks = [unit for m, y in of_networks for unit in zip(m.T, y.T, strict=True)]
        fitted[task] = torch.tensor([_fitted(*of) for of in of_networks]).view(*z.shape[:2], 1, -1)
    return fitted


def _fitted(z: Tensor, y: Tensor) -> float:
    """The temperature of logits (n, C) and classes (n,), or of logits (n,) and answers 0 or 1."""
    if z.ndim == 1:
        return fit_temperature(lambda t: float(F.binary_cross_entropy_with_logits(z / t, y.double())))
    return fit_temperature(lambda t: float(F.cross_entropy(z / t, y.long())))


def scaled(logits: Mapping[str, Tensor], by: Mapping[str, Tensor]) -> Probabilities:
    """Probabilities of logits over temperatures; valence and arousal, which have none, are left as they are."""
    return probabilities({task: z / by[task] if task in by else z for task, z in logits.items()})


def temperature_scaling(generation: Generation, rows: Tensor) -> tuple[Probabilities, dict[str, Tensor]]:
    """Predictions for n rows at the temperatures that fit the held-out videos best, and these temperatures."""
    videos, held_out = generation.videos, generation.videos.rows("tune")
    fitted = temperatures(logits(generation, held_out), videos, held_out, videos.tune)
    return scaled(logits(generation, rows), fitted), fitted


# --- what is kept of a method ---------------------------------------------------------------------------------


def clustered(p: Probabilities, videos: Videos) -> Floats:
    """Sums (S, C, M W) of the test frames, added up within videos: what :func:`over_members` takes."""
    sums = Metrics(videos.outputs).sums(p, videos, "test")  # (S, M, n, W)
    flat = np.moveaxis(sums, 1, 2).reshape(sums.shape[0], sums.shape[2], -1)
    return cluster_sums(flat, videos.video[videos.rows("test").numpy()])


def over_members(f: Statistic, width: int) -> Statistic:
    """The mean of a statistic over M single models, (..., M W) -> (...)."""
    return lambda sums: f(sums.reshape(*sums.shape[:-1], -1, width)).mean(-1)


def left_out(columns: Mapping[str, Statistic], sums: Floats) -> Floats:
    """Statistics of all clusters, and of all but each: sums (S, C, K) to (S, 1 + C, number of columns).

    What evidence keeps of a method: means over seeds of the first are a table, and :func:`effect` makes intervals of
    differences, ratios and minima alike.
    """
    total = sums.sum(1, keepdims=True)
    parts = np.concatenate([total, total - sums], 1) if sums.shape[1] > 1 else total
    return np.stack([f(parts) for f in columns.values()], -1)


def kept(left: Floats) -> Field:
    """What :func:`left_out` gives, as evidence keeps it; of clusters that are nearly single examples in 16 bits."""
    encoding = "scaled" if left.shape[1] > MANY_CLUSTERS else "exact"
    return Field(left, ("seed", "all clusters, and all but each", "column"), encoding=encoding)


def effect(left: Floats) -> Effect:
    """The interval of a statistic from :func:`left_out` (S, 1 + C) of it, by jackknife pseudo-values."""
    whole, without = left[:, :1], left[:, 1:]
    n_clusters = without.shape[1]
    # y_sc = T_s + (C - 1) (mean_c T_s(c) - T_s(c)), as `resampling.pseudo_values`
    moved = (n_clusters - 1) * (without.mean(1, keepdims=True) - without) if n_clusters else 0.0
    return effect_interval(whole + moved)
