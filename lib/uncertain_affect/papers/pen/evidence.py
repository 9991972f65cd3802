"""PEN's experiment: what both notebooks train on one corpus, and what of it tables and answers are computed from."""

import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.evidence.claims import Arm
from uncertain_affect.evidence.resampling import cluster_sums, pseudo_values
from uncertain_affect.evidence.store import Field
from uncertain_affect.metrics.sums import ccc_from_sums, moment_sums, rmse_from_sums
from uncertain_affect.papers.pen import data
from uncertain_affect.papers.pen.data import DIMENSIONS, Frames, PenSettings, SourceSplit, TargetSplit
from uncertain_affect.papers.pen.training import Adapted, Source, adapt, choose_lambdas, predict, train_source
from uncertain_affect.training.finetune import starting_network
from uncertain_affect.training.fit import History

BASELINES = ("nearest adapted frame", "mean trace", "video mean", "person mean", "constant")

# The penalties that a ridge regression on standardised features chooses from.
PENALTIES = np.logspace(-2, 4, 13)

# A variance below this fraction of the mean square, and a CCC below it, is the rounding of a constant.
CONSTANT = 1e-12
# Predictions whose standard deviation is below this part of the labels' do not vary.
DEAD = 0.01


# --- what is trained -------------------------------------------------------------------------------------------


class Experiment(NamedTuple):
    """A corpus, what was trained on it, and the predictions, see :func:`train`.

    Attributes:
        settings: with the loss weights that were chosen.
        grid: of :func:`choose_lambdas`.
        source_splits: by kind of split of the target people, one per seed.
        splits: of the target people, by kind: ``random``, ``blocked``, and where people share videos ``video``.
        source, adapted: networks of the random and the blocked split.
        predictions: by kind and model, (S, 1 + A, N_t, 2).
    """

    corpus: AffectTraces
    settings: PenSettings
    grid: pd.DataFrame
    frames: Frames
    source_splits: dict[str, list[SourceSplit]]
    splits: dict[str, list[TargetSplit]]
    source: Source
    adapted: Adapted
    predictions: dict[str, dict[str, Tensor]]


def train(
    name: str, profile: str, seed: int = 0, root: str | os.PathLike | None = None, device: str = "cpu"
) -> Experiment:
    """Everything trained, or from the cache.

    Where people share videos, a third kind of split holds half of these out, and has networks of its own: source people
    are trained without these videos too.
    """
    chosen, corpus = data.settings(profile, seed, device), data.load(name, profile, seed, root)
    start = None
    if corpus.inputs.dtype == torch.uint8:
        start = starting_network(name == "simulated", chosen.pretraining, profile, root, device)
    frames, split = data.prepare(corpus, chosen, start, device)
    of_source, splits = data.draw_splits(frames, chosen, split)
    chosen, grid = choose_lambdas(frames, of_source, chosen, device)
    source = train_source(frames, of_source, chosen, device=device)
    adapted = adapt(frames, source, splits, chosen, device)
    predictions, source_splits = predict(frames, source, adapted), dict.fromkeys(splits, of_source)
    if np.isin(frames.video[frames.target_rows], frames.video[frames.source_rows()]).any():
        source_splits["video"], held_out = data.draw_video_splits(frames, chosen)
        of_videos = train_source(frames, source_splits["video"], chosen, device=device)
        predictions |= predict(frames, of_videos, adapt(frames, of_videos, held_out, chosen, device))
        splits |= held_out
    return Experiment(corpus, chosen, grid, frames, source_splits, splits, source, adapted, predictions)


# --- baselines without a model --------------------------------------------------------------------------------


def nearest_adapted(frames: Frames, rows: np.ndarray) -> Tensor:
    """The label of the same person's nearest adapted frame in the same video, (N_t, 2).

    Of two equally near the earlier counts. NaN where none of the ``rows`` lies in the same video.
    """
    keys = ["person", "video"]
    target, adapted = (frames.table.iloc[r].sort_values("time") for r in (frames.target_rows, rows))
    found = pd.merge_asof(target[[*keys, "time"]], adapted, on="time", by=keys, direction="nearest")
    return torch.tensor(found[list(DIMENSIONS)].set_axis(target.index).loc[frames.target_rows].to_numpy())


def person_mean(frames: Frames, rows: np.ndarray) -> Tensor:
    """The mean label of the same person's adapted frames, (N_t, 2); NaN where none of the ``rows`` shows them."""
    people = frames.person[rows] - len(frames.source)
    return _means(frames.labels[rows].double(), people, len(frames.target))[frames.target_person].float()


def mean_trace(frames: Frames, held_out: Sequence[int] = ()) -> Tensor:
    """The source people's mean label at the same second of the same video, (N_t, 2).

    Where no source person has that second of the video (in RECOLA everyone has a recording of their own; videos
    held out) it is their mean at the same second of all videos, and failing that over everything.
    """
    source, target = (frames.table.iloc[rows] for rows in (frames.source_rows(held_out), frames.target_rows))
    mean = source_mean(frames, held_out)
    for keys in (["second"], ["video", "second"]):
        found = target[keys].join(source.groupby(keys)[list(DIMENSIONS)].mean(), on=keys)
        mean = _fill_nan(torch.tensor(found[list(DIMENSIONS)].to_numpy()), mean)
    return mean


def video_mean(frames: Frames, held_out: Sequence[int] = ()) -> Tensor:
    """The source people's mean label of the same video, (N_t, 2); over everything where none of them has seen it."""
    rows = frames.source_rows(held_out)
    means = _means(frames.labels[rows], frames.video[rows], len(frames.videos))
    return _fill_nan(means[frames.video[frames.target_rows]], source_mean(frames, held_out))


def source_mean(frames: Frames, held_out: Sequence[int] = ()) -> Tensor:
    """The source people's mean label, (N_t, 2), the same for every frame."""
    return frames.labels[frames.source_rows(held_out)].mean(0).expand(len(frames.target_rows), 2)


def _means(labels: Tensor, index: np.ndarray, n: int) -> Tensor:
    """Mean (n, 2) of the labels with each index; NaN without any."""
    return torch.stack([labels[torch.from_numpy(index == i)].mean(0) for i in range(n)])


def _fill_nan(values: Tensor, fallback: Tensor) -> Tensor:
    return torch.where(values.isnan(), fallback, values)


def baselines(frames: Frames, splits: Sequence[TargetSplit]) -> dict[str, Tensor]:
    """Predictions for target frames without a model, (S, 1 + A, N_t, 2), one split per seed, n = 0 first.

    ``nearest adapted frame`` falls back on ``person mean`` where a video has no adapted frame, and that on
    ``constant``, the source people's mean, where the person has none (n = 0). ``mean trace``, ``video mean`` and
    ``constant`` do not adapt.
    """
    predictions = {name: [] for name in BASELINES}
    for split in splits:
        n_shares, mean = len(split.adapt), source_mean(frames, split.held_out)
        of_person = [_fill_nan(person_mean(frames, rows), mean) for rows in split.adapt]
        nearest = [nearest_adapted(frames, rows) for rows in split.adapt]
        nearest = [_fill_nan(labels, fallback) for labels, fallback in zip(nearest, of_person, strict=True)]
        predictions["nearest adapted frame"].append(torch.stack([mean, *nearest]))
        predictions["person mean"].append(torch.stack([mean, *of_person]))
        for name, rule in (("mean trace", mean_trace), ("video mean", video_mean), ("constant", source_mean)):
            predictions[name].append(rule(frames, split.held_out).expand(1 + n_shares, -1, -1))
    return {name: torch.stack(of_seeds) for name, of_seeds in predictions.items()}


def ridge(frames: Frames, rows: np.ndarray, at: np.ndarray) -> Tensor:
    """Predictions (n, 2) for the frames ``at`` of a ridge regression on the frames in ``rows``.

    Its penalty is the one with the least error on frames left out one by one.
    """
    x, y = frames.features.double().numpy(), frames.labels.double().numpy()
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(x[rows], y[rows])
    return torch.from_numpy(model.predict(x[at]))


# --- scores ---------------------------------------------------------------------------------------------------


def person_sums(predictions: Tensor, frames: Frames, splits: Sequence[TargetSplit]) -> np.ndarray:
    """Sums over each target person's test frames for CCC and RMSE: (S, A, N_t, 2) to (S, A, P, 2, 6).

    The sums are those of `sums.moment_sums` (predictions first), people in the order of ``frames.target``:
    added over people they give the pooled values. Where all predictions are NaN (t-SN and t-PEN at n = 0) so are the
    sums.

    Raises:
        ValueError: not one split per seed, or predictions that are in part not finite.
    """
    labels = frames.labels[frames.target_rows].double().numpy()
    sums = []
    for of_seed, split in zip(predictions.double().numpy(), splits, strict=True):
        test = np.isin(frames.target_rows, split.test)
        undefined = np.isnan(of_seed[:, test]).all((1, 2), keepdims=True)
        values = moment_sums(np.where(undefined, 0, of_seed[:, test]), labels[test])
        added = cluster_sums(values.reshape(*values.shape[:2], -1), frames.target_person[test])
        sums.append(np.where(undefined, np.nan, added).reshape(len(added), -1, *values.shape[2:]))
    return np.stack(sums)


def score(sums: np.ndarray) -> dict[str, np.ndarray]:
    """What tables, intervals and answers need of :func:`person_sums` (S, A, P, 2, 6), as 32-bit floats.

    No label can be worked out from it, as it could be from many sums over many sets of frames.

    Returns:
        ``ccc`` (S, A, P, 2): jackknife pseudo-values of the CCC pooled over people, whose mean over people it is. A
        contrast of them, (S, P), goes into `claims.effect_interval` with people as clusters. The paper does not say
        whether its tables pool the target people, as AVEC does, or average their values; pooling gives credit for
        differences between people.

        ``person ccc`` (S, A, P, 2): of each person. NaN where their test labels are constant: they are left out of
        means over people and counted, and stay among the pooled.

        ``rmse`` and ``spread`` (S, A, 2): root mean squared error, and the standard deviation of predictions over that
        of labels, both pooled.
    """
    values = np.moveaxis(pseudo_values(np.moveaxis(sums, (1, 3), (0, 1)), ccc_from_sums), (0, 1), (1, 3))
    n, _, y, _, yy, _ = np.moveaxis(sums, -1, 0)
    constant = yy / n - (y / n) ** 2 <= CONSTANT * yy / n
    pooled = sums.sum(2)
    n, x, y, xx, yy, _ = np.moveaxis(pooled, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((xx / n - (x / n) ** 2).clip(0) / (yy / n - (y / n) ** 2))
    found = {"ccc": values, "person ccc": np.where(constant, np.nan, ccc_from_sums(sums))}
    found = {name: np.where(abs(array) < CONSTANT, 0, array) for name, array in found.items()}
    found |= {"rmse": rmse_from_sums(pooled), "spread": spread}
    return {name: array.astype(np.float32) for name, array in found.items()}


def kept(scores: Mapping[str, np.ndarray]) -> dict[str, Field]:
    """A :func:`score` as evidence keeps it."""
    axes = {3: ("seed", "share", "dimension"), 4: ("seed", "share", "person", "dimension")}
    return {name: Field(v, axes[v.ndim], "label" if name == "rmse" else "") for name, v in scores.items()}


def table(scores: Mapping[str, Mapping], shares: Sequence[int], what: str = "ccc") -> pd.DataFrame:
    """Table 1: CCC or RMSE pooled over people, mean over seeds, by dimension and model down and n across.

    Args:
        scores: by model, from :func:`score`.
        shares: the A percentages above 0.
        what: ``"ccc"`` or ``"rmse"``.
    """
    values = {name: of_model[what].mean((0, 2) if what == "ccc" else 0) for name, of_model in scores.items()}
    rows = {(dim, name): value[:, d] for d, dim in enumerate(DIMENSIONS) for name, value in values.items()}
    index = pd.MultiIndex.from_tuples(rows, names=["dimension", "model"])
    return pd.DataFrame(list(rows.values()), index, pd.Index((0, *shares), name="n [%]"))


def arm(scores: Mapping[str, Mapping], name: str, shares: slice, last_epoch: float | None = None) -> Arm:
    """What a model has learnt beside ``constant`` and ``ridge``: CCC, mean over shares, seeds and both dimensions.

    Args:
        scores: by model, from :func:`score`.
        shares: which of the percentages, 0 being the first.
        last_epoch: see `claims.Arm`.
    """
    ccc = (float(scores[of]["ccc"][:, shares].mean(dtype=float)) for of in (name, "constant", "ridge"))
    dead = (scores[name]["spread"][:, shares] < DEAD).any((1, 2)).mean()
    return Arm("CCC", *ccc, last_epoch, float(dead))


def score_all(of: Experiment, names: Collection[str] = ()) -> dict[str, dict[str, dict[str, Field]]]:
    """The :func:`score`, as evidence keeps it, of each model and baseline, or of those named, by kind of split.

    Without shared videos nobody's video is anybody else's, and ``video mean`` is left out.
    """
    found = {}
    for kind, splits in of.splits.items():
        predicted = of.predictions[kind] | baselines(of.frames, splits)
        # first of the source people, then of the adapted frames alone, as SN and PEN are tuned
        sets = [(s.train, *t.adapt) for s, t in zip(of.source_splits[kind], splits, strict=True)]
        fitted = partial(ridge, of.frames, at=of.frames.target_rows)
        predicted["ridge"] = torch.stack([torch.stack([*map(fitted, of_seed)]) for of_seed in sets])
        if "video" not in of.splits:
            del predicted["video mean"]
        wanted = [name for name in predicted if not names or name in names]
        found[kind] = {name: kept(score(person_sums(predicted[name], of.frames, splits))) for name in wanted}
    return found


def last_fall(history: History) -> np.ndarray:
    """By which part of itself the loss of training fell over the last tenth of a copy's epochs, of each copy (C,)."""
    losses = np.array(history.train)
    # without validation the epoch that is kept is a copy's own last one
    last = np.full(losses.shape[1], len(losses)) if history.val else np.array(history.best_epoch)
    before = np.maximum(last - 1 + -last // 10, 0)
    copies = np.arange(len(last))
    return 1 - losses[last - 1, copies] / losses[before, copies]


def progress(source: Source, adapted: Adapted) -> pd.DataFrame:
    """How far training came: epochs, share of seeds whose best one is the last, and :func:`last_fall`, mean over seeds.

    A row for each stage on source people, and for each model and share on the random split, which validates nothing.
    """
    rows = {}
    for stage, history in source.histories.items():
        epochs, best = len(history.train), np.array(history.best_epoch)
        name = f"{stage if stage == 'gate' else stage.upper()} on source people"
        rows[name] = epochs, (best == epochs).mean(), last_fall(history).mean()
    for start, (model, history), share in itertools.product("st", adapted.histories.items(), adapted.shares):
        copies = adapted.copies(start, "random", share)
        epochs, fall = max(history.best_epoch[copy] for copy in copies), last_fall(history)[copies].mean()
        rows[f"{start}-{model.upper()}, {share}%"] = epochs, np.nan, fall
    return pd.DataFrame.from_dict(rows, orient="index", columns=["epochs", "best is last", "last fall of the loss"])


def identity_skill(frames: Frames, split: SourceSplit) -> float:
    """How well a logistic regression tells source people apart on frames left out: 0 by chance, 1 without an error."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    x, chance = frames.features.numpy(), 1 / len(frames.source)
    model.fit(x[split.train], frames.person[split.train])
    return float((model.score(x[split.val], frames.person[split.val]) - chance) / (1 - chance))
