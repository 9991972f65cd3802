"""PEN's baselines without a model, and the scores of predictions for target people."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncertain_affect.evidence.claims import Effect, effect_interval
from uncertain_affect.evidence.resampling import Statistic, cluster_sums
from uncertain_affect.metrics.sums import ccc_from_sums, moment_sums
from uncertain_affect.papers.pen.data import DIMENSIONS, Frames
from uncertain_affect.papers.pen.splits import TargetSplit

BASELINES = ("nearest adapted frame", "mean trace", "video mean", "person mean", "source mean")

# A variance below this fraction of the mean square is the rounding of a constant.
CONSTANT = 1e-12


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

    ``nearest adapted frame`` falls back on ``person mean`` where a video has no adapted frame, and that on ``source
    mean`` where the person has none (n = 0). ``mean trace``, ``video mean`` and ``source mean`` do not adapt.
    """
    predictions = {name: [] for name in BASELINES}
    for split in splits:
        n_shares, mean = len(split.adapt), source_mean(frames, split.held_out)
        of_person = [_fill_nan(person_mean(frames, rows), mean) for rows in split.adapt]
        nearest = [nearest_adapted(frames, rows) for rows in split.adapt]
        nearest = [_fill_nan(labels, fallback) for labels, fallback in zip(nearest, of_person, strict=True)]
        predictions["nearest adapted frame"].append(torch.stack([mean, *nearest]))
        predictions["person mean"].append(torch.stack([mean, *of_person]))
        for name, rule in (("mean trace", mean_trace), ("video mean", video_mean), ("source mean", source_mean)):
            predictions[name].append(rule(frames, split.held_out).expand(1 + n_shares, -1, -1))
    return {name: torch.stack(of_seeds) for name, of_seeds in predictions.items()}


# --- scores ---------------------------------------------------------------------------------------------------


def person_sums(predictions: Tensor, frames: Frames, splits: Sequence[TargetSplit]) -> np.ndarray:
    """Sums over each target person's test frames for CCC and RMSE: (S, A, N_t, 2) to (S, A, P, 2, 6).

    The sums are those of `sums.moment_sums` (predictions first), people in the order of ``frames.target``:
    added over people they give the pooled values, and seed by seed one of them, (S, P, 6), goes into
    `claims.effect_interval` with people as clusters. Where all predictions are NaN (t-SN and t-PEN at n = 0) so are
    the sums.

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


def ccc_contrast(weights: Sequence[float], sums: Sequence[np.ndarray]) -> Effect:
    """Interval of a weighted sum of pooled CCCs of the same seeds and people, for example with 1 and -1 a difference.

    Args:
        weights: one for each of the sums.
        sums: (S, P, 6) each, one dimension of :func:`person_sums`.
    """

    def contrast(stacked: np.ndarray) -> np.ndarray:
        parts = stacked.reshape(*stacked.shape[:-1], len(weights), -1)
        return ccc_from_sums(parts) @ np.asarray(weights, dtype=np.float64)

    return effect_interval(np.concatenate(list(sums), -1), contrast)


class Scores(NamedTuple):
    """CCC pooled over people (..., 2) and of each person (..., P, 2), for valence and arousal.

    Attributes:
        constant: (..., P, 2), where a person's test labels are constant: their CCC is undefined, ``person_ccc`` is
            NaN there, and they are to be left out of means over people and counted. They stay among the pooled.
    """

    ccc: np.ndarray
    person_ccc: np.ndarray
    constant: np.ndarray


def scores(sums: np.ndarray) -> Scores:
    """Pooled and per-person CCC from :func:`person_sums` (..., P, 2, 6).

    The paper does not say whether its tables pool the target people, as AVEC does, or average their values; pooling
    gives credit for differences between people.
    """
    n, _, y, _, yy, _ = np.moveaxis(sums, -1, 0)
    constant = yy / n - (y / n) ** 2 <= CONSTANT * yy / n
    return Scores(ccc_from_sums(sums.sum(-3)), np.where(constant, np.nan, ccc_from_sums(sums)), constant)


def table(sums: Mapping[str, np.ndarray], shares: Sequence[int], statistic: Statistic = ccc_from_sums) -> pd.DataFrame:
    """Table 1: a pooled statistic, mean over seeds, by dimension and model down and n across.

    Args:
        sums: by model, from :func:`person_sums`, (S, 1 + A, P, 2, 6).
        shares: the A percentages.
        statistic: of the sums, for example `metrics.rmse_from_sums`.
    """
    values = {name: statistic(of_model.sum(-3)).mean(0) for name, of_model in sums.items()}
    rows = {(dim, name): value[:, d] for d, dim in enumerate(DIMENSIONS) for name, value in values.items()}
    index = pd.MultiIndex.from_tuples(rows, names=["dimension", "model"])
    return pd.DataFrame(list(rows.values()), index, pd.Index((0, *shares), name="n [%]"))
