"""PEN's experiment: what both notebooks train on one corpus, and what of it tables and answers are computed from."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.evidence.claims import Arm, Effect, effect_interval
from uncertain_affect.evidence.resampling import Statistic, cluster_sums, pseudo_values
from uncertain_affect.evidence.store import Field
from uncertain_affect.metrics.sums import ccc_from_sums, moment_sums, rmse_from_sums
from uncertain_affect.papers.pen import data, training
from uncertain_affect.papers.pen.data import DIMENSIONS, Frames, PenSettings, Replicate, SourceSplit
from uncertain_affect.papers.pen.training import Adapted, Source, Variant
from uncertain_affect.training.fit import History

SOLVED = "SN, least squares"
PLAIN = ("constant", "ridge", SOLVED, "nearest adapted frame", "mean trace")
# Settings are chosen with this seed beyond the others: of the simulated corpus in one more world.
CHOOSING = 1000

# The penalties that a ridge regression on standardised features chooses from.
PENALTIES = np.logspace(-2, 4, 13)

# A variance below this fraction of the mean square, and a CCC below it, is the rounding of a constant.
CONSTANT = 1e-12
# Predictions whose standard deviation is below this part of the labels' do not vary.
DEAD = 0.01
# A loss that falls by less over the last tenth of the epochs has come to rest.
AT_REST = 1e-3


# --- what is trained -------------------------------------------------------------------------------------------


class Experiment(NamedTuple):
    """A corpus, what was trained on it, and the predictions, see :func:`train`.

    Attributes:
        corpora: one, or a world for each seed.
        settings: with what was chosen.
        choices: of `training.choose`.
        replicates: by ``all``, for the random and the blocked split, and where people share videos ``video``.
        source, adapted: networks, by the same.
        predictions: by kind of split and model, of each replicate (1 + A, N_t, 2).
    """

    corpora: list[AffectTraces]
    settings: PenSettings
    choices: dict[str, pd.DataFrame]
    replicates: dict[str, list[Replicate]]
    source: dict[str, Source]
    adapted: dict[str, Adapted]
    predictions: dict[str, dict[str, list[Tensor]]]

    def of(self, kind: str) -> list[Replicate]:
        """The replicates of a kind of split."""
        return self.replicates.get(kind, self.replicates["all"])


def train(
    name: str, profile: str, seed: int = 0, root: str | os.PathLike | None = None, device: str = "cpu",
    penalties: Sequence[float] = (), printed: bool = False,
) -> Experiment:  # fmt: skip
    """Everything trained, or from the cache.

    Where people share videos, a third kind of split holds half of these out, and has networks of its own: source people
    are trained without these videos too.

    Args:
        name, profile, seed, root, device: as of the notebooks.
        penalties: instead of PEN, its controls and the held-out videos train a PEN for each of these lambda_1, by
            the name ``s-PEN, lambda_1 = 0.1``.
        printed: in the paper's own training, Adadelta at a rate of 1.
    """
    chosen = data.settings(profile, seed, device)
    choosing = replace(chosen, seeds=(seed + CHOOSING,))
    others = data.replicates(name, profile, choosing, root, device)[0] if chosen.rates else []
    chosen, choices = training.choose(others, chosen, device)
    chosen = chosen.as_printed() if printed else chosen
    found, corpora = data.replicates(name, profile, chosen, root, device)
    ways, groups = training.variants(chosen), data.STAGES[2:]
    if printed:
        ways = {"s-PEN": ways["s-PEN"]}
    elif penalties:
        groups = ("s-PEN",)
        ways = {f"s-PEN, lambda_1 = {penalty:g}": Variant(chosen.lambda_0, penalty) for penalty in penalties}
    replicates = {"all": found}
    shared = np.isin(found[0].frames.video[found[0].frames.target_rows], found[0].frames.video[found[0].source.train])
    if shared.any() and not penalties and not printed:
        replicates["video"] = [data.with_videos_held_out(one, chosen) for one in found]
    source, adapted, predictions = {}, {}, {}
    for which, of in replicates.items():
        source[which] = training.train_source(of, chosen, ways, device=device)
        adapted[which] = training.adapt(of, source[which], chosen, device, groups)
        predictions |= training.predict(of, source[which], adapted[which])
    return Experiment(corpora, chosen, choices, replicates, source, adapted, predictions)


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


def source_mean(frames: Frames, held_out: Sequence[int] = ()) -> Tensor:
    """The source people's mean label, (N_t, 2), the same for every frame."""
    return frames.labels[frames.source_rows(held_out)].mean(0).expand(len(frames.target_rows), 2)


def _means(labels: Tensor, index: np.ndarray, n: int) -> Tensor:
    """Mean (n, 2) of the labels with each index; NaN without any."""
    return torch.stack([labels[torch.from_numpy(index == i)].mean(0) for i in range(n)])


def _fill_nan(values: Tensor, fallback: Tensor) -> Tensor:
    return torch.where(values.isnan(), fallback, values)


def plain(of: Replicate, kind: str) -> dict[str, Tensor]:
    """What stands beside the models: predictions (1 + A, N_t, 2) for target frames, n = 0 first, by `PLAIN`.

    ``constant`` is the source people's mean. ``ridge`` and SN's closed form, the least squares of least norm, are those
    of the source people's training frames at n = 0, then of the adapted frames alone. ``nearest adapted frame`` falls
    back on the mean of the person's adapted frames where a video has none, and that on the constant. ``mean trace``,
    like the constant, does not adapt.
    """
    frames, split = of.frames, of.target[kind]
    mean, known = source_mean(frames, split.held_out), (of.source.train, *split.adapt)
    nearest = [mean]
    for rows in split.adapt:
        fallback = _fill_nan(person_mean(frames, rows), mean)
        nearest.append(_fill_nan(nearest_adapted(frames, rows), fallback))
    fixed = {"constant": mean, "mean trace": mean_trace(frames, split.held_out)}
    fixed = {name: values.expand(len(known), -1, -1) for name, values in fixed.items()}
    regressions = {"ridge": ridge, SOLVED: least_squares}
    fitted = {
        name: torch.stack([f(frames, rows, frames.target_rows) for rows in known]) for name, f in regressions.items()
    }
    found = fixed | fitted | {"nearest adapted frame": torch.stack(nearest)}
    return {name: found[name].double() for name in PLAIN}


def ridge(frames: Frames, rows: np.ndarray, at: np.ndarray) -> Tensor:
    """Predictions (n, 2) for the frames ``at`` of a ridge regression on the frames in ``rows``.

    Its penalty is the one with the least error on frames left out one by one.
    """
    x, y = frames.features.double().numpy(), frames.labels.double().numpy()
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(x[rows], y[rows])
    return torch.from_numpy(model.predict(x[at]))


def least_squares(frames: Frames, rows: np.ndarray, at: np.ndarray) -> Tensor:
    """Predictions (n, 2) for the frames ``at`` of what SN would be had it come to rest on the frames in ``rows``."""
    x = torch.cat([frames.features, torch.ones(len(frames.features), 1)], 1).double()
    return x[at] @ torch.linalg.lstsq(x[rows], frames.labels[rows].double(), driver="gelsd").solution


# --- scores ---------------------------------------------------------------------------------------------------


def frame_sums(predictions: Tensor, frames: Frames, rows: np.ndarray) -> np.ndarray:
    """Sums of predictions (A, n, 2) for some frames over each person in them, for CCC and RMSE: (A, P, 2, 6).

    The sums are those of `sums.moment_sums` (predictions first), people in the order of their numbers: added over
    people they give the pooled values. Where all predictions are NaN (t-SN and t-PEN at n = 0) so are the sums.

    Raises:
        ValueError: predictions that are in part not finite.
    """
    predicted = predictions.double().numpy()
    undefined = np.isnan(predicted).all((1, 2), keepdims=True)
    values = moment_sums(np.where(undefined, 0, predicted), frames.labels[rows].double().numpy())
    added = cluster_sums(values.reshape(*values.shape[:2], -1), frames.person[rows])
    return np.where(undefined, np.nan, added).reshape(len(added), -1, *values.shape[2:])


def person_sums(predictions: Sequence[Tensor], of: Sequence[Replicate], kind: str) -> np.ndarray:
    """:func:`frame_sums` of predictions (1 + A, N_t, 2) over the test frames of each replicate: (R, 1 + A, P, 2, 6)."""
    sums = []
    for predicted, one in zip(predictions, of, strict=True):
        test = np.isin(one.frames.target_rows, one.target[kind].test)
        sums.append(frame_sums(predicted[:, test], one.frames, one.frames.target_rows[test]))
    return np.stack(sums)


def by_seed(values: ArrayLike, n_seeds: int, person: int | None = None) -> np.ndarray:
    """Values of replicates (R, ...) as those of seeds (S, ...), where source and target people have changed places.

    People of both ways stand side by side along the axis ``person`` of the values; without one it is the mean of both.
    """
    values = np.asarray(values)
    ways = values.reshape(-1, n_seeds, *values.shape[1:])
    return ways.mean(0) if person is None else np.concatenate(list(ways), person)


def effect(values: np.ndarray, worlds: bool, f: Statistic | None = None) -> Effect:
    """The effect of values (S, P), or of a statistic of sums (S, P, K), over seeds and people.

    Where every seed has a world of its own these alone are the replicates: the effect is averaged, or pooled, over the
    people of a world.
    """
    if not worlds:
        return effect_interval(values, f)
    values = np.asarray(values, dtype=float)
    return effect_interval((values.mean(1) if f is None else f(values.sum(1)))[:, None])


def score(sums: np.ndarray) -> dict[str, np.ndarray]:
    """What tables, intervals and answers need of :func:`person_sums` (R, A, P, 2, 6), as 32-bit floats.

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


def kept(sums: np.ndarray, n_seeds: int) -> dict[str, Field]:
    """The :func:`score` of sums (R, A, P, 2, 6) by seed, as evidence keeps it."""
    axes = {3: ("seed", "share", "dimension"), 4: ("seed", "share", "person", "dimension")}
    scores = {name: by_seed(v, n_seeds, 2 if v.ndim == 4 else None) for name, v in score(sums).items()}
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


def score_all(of: Experiment) -> dict[str, dict[str, dict[str, Field]]]:
    """What is :func:`kept` of each model and of what stands beside, by kind of split."""
    found, n_seeds = {}, len(of.settings.seeds)
    for kind, predictions in of.predictions.items():
        beside = [plain(one, kind) for one in of.of(kind)]
        whole = predictions | {name: [by_name[name] for by_name in beside] for name in PLAIN}
        found[kind] = {name: kept(person_sums(p, of.of(kind), kind), n_seeds) for name, p in whole.items()}
    return found


def training_of(history: History, copies: ArrayLike) -> dict[str, float]:
    """How the training of some copies went, as means over them.

    ``best is last`` counts those whose best epoch is the last though the loss of validation had not come to rest: where
    it is flat its least value lies anywhere. ``at the start`` are those left as they started, because no epoch
    validated better.
    """
    copies, best, val = np.ravel(copies), np.array(history.best_epoch), np.array(history.val)
    before, after = (history.traces.get(name, np.full(len(best), np.nan)) for name in ("before", "after"))
    fall = np.where(before == after, 0.0, 1 - after / np.where(before == 0, 1, before))
    still = (best == len(val)) & (val[-1] < (1 - AT_REST) * val[-1 - max(len(val) // 10, 1)])
    columns = {"best epoch": best, "best is last": still, "at the start": best == 0, "last fall of the loss": fall}
    return {name: float(np.mean(values[copies])) for name, values in columns.items()}


def progress(source: Source, adapted: Adapted, kind: str = "random") -> pd.DataFrame:
    """:func:`training_of` every stage on source people, and of every model and share on one kind of split."""
    rows, n = {}, len(source.sn.weight)
    for stage, history in source.histories.items():
        for place, name in enumerate(source.variants if stage == "PEN" else [{"SN": "s-SN"}.get(stage, stage)]):
            copies = np.arange(n) + place * n if stage == "PEN" else np.arange(len(history.best_epoch))
            rows[f"{name} on source people"] = training_of(history, copies)
    for group, models in adapted.models.items():
        for model in models:
            for share, copies in zip(adapted.shares, adapted.copies(model, kind)[1].T, strict=True):
                rows[f"{model}, {share}%"] = training_of(adapted.histories[group], copies)
    return pd.DataFrame.from_dict(rows, orient="index")


def last_fall(progress: pd.DataFrame, models: Sequence[str]) -> float:
    """The largest last fall of the loss of the models compared, on source people and at any n.

    >>> table = pd.DataFrame({"last fall of the loss": [0.1, 0.2, 0.5]}, ["s-PEN, 5%", "s-PEN, 10%", "gate"])
    >>> last_fall(table, ["s-PEN"])
    0.2
    """
    names = {row: (row.removesuffix(" on source people"), row.rpartition(", ")[0]) for row in progress.index}
    own = [row for row, either in names.items() if not set(models).isdisjoint(either)]
    return float(progress.loc[own, "last fall of the loss"].max(skipna=False))


def identity_skill(frames: Frames, split: SourceSplit) -> float:
    """How well a logistic regression tells source people apart on frames left out: 0 by chance, 1 without an error."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    x, chance = frames.features.numpy(), 1 / len(frames.source)
    model.fit(x[split.train], frames.person[split.train])
    return float((model.score(x[split.judge], frames.person[split.judge]) - chance) / (1 - chance))
