"""One set of measures for the uncertainty of any classifier: what ``uncertain-affect evaluate`` prints.

Each measure is computed as jackknife pseudo-values, one for each cluster of test examples, so that methods are
compared on the same clusters and seeds by subtracting: see `claims.effect_interval`.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from uncertain_affect import metrics
from uncertain_affect.evidence.claims import effect_interval
from uncertain_affect.evidence.resampling import Floats, Statistic, cluster_sums, leave_one_out, pseudo_values
from uncertain_affect.metrics.inputs import Values, as_numpy, check_probabilities, set_votes
from uncertain_affect.metrics.sums import moment_sums, pearson_from_sums, ratio, ratio_sums


class Measure(NamedTuple):
    """Of which question it is part, in which direction better lies (None: neither), what it measures, its bounds."""

    question: str
    better: str | None
    says: str
    bounds: tuple[float, float] = (0, 1)


JSD, R = (0, math.log(2) ** 0.5), (-1, 1)  # bounds of a Jensen-Shannon distance and of a correlation
MEASURES = {
    "accuracy": Measure("use", "higher", "share of test examples whose likeliest class has most votes"),
    "NLL": Measure("use", "lower", "mean negative log-probability of a vote, nats", (0, np.inf)),
    "Brier": Measure("use", "lower", "mean squared distance of prediction and vote", (0, 2)),
    "ECE": Measure("use", "lower", "expected calibration error, ten bins"),
    "AURC": Measure("use", "lower", "error rate of those kept by U_t, averaged over coverages"),
    "distance to p*": Measure("aleatoric", "lower", "mean Jensen-Shannon distance of mean prediction and truth", JSD),
    "distance to votes": Measure(
        "aleatoric", "lower", "mean Jensen-Shannon distance of mean prediction and votes", JSD
    ),
    "r(U_a, H*)": Measure("aleatoric", "higher", "rank correlation of aleatoric uncertainty and true entropy", R),
    "r(U_a, d)": Measure(
        "aleatoric", "higher", "rank correlation of aleatoric uncertainty and disagreement of votes", R
    ),
    "AUROC(U_e, group)": Measure("epistemic", "higher", "chance that U_e is higher in the group thinned in training"),
    "r(U_a, U_e)": Measure("separate", None, "rank correlation of the two uncertainties", R),
}
COLUMNS = ["estimate", "low", "high", "if calibrated", "97.5% below", "better", "question", "says"]


@dataclass(frozen=True)
class Cases:
    """Test examples and what is known of them.

    Attributes:
        target: (N,) labels or (N, C) votes.
        clusters: (N,), examples that count as one observation share a value; None where each stands alone.
        truth: (N, C), p*(y|x) where it is known.
        group: (N,) bool, the group that was thinned in training, where one was.
    """

    target: Values
    clusters: ArrayLike | None = None
    truth: Values | None = None
    group: ArrayLike | None = None


def measure(probs: Values, cases: Cases) -> dict[str, Floats]:
    """Pseudo-values (clusters,) of every measure of `MEASURES` that applies; their mean is the measure.

    Args:
        probs: (T, N, C) of T sampled networks or members, or (N, C). One prediction alone has no epistemic
            uncertainty, and its aleatoric one is the total.
        cases: the test examples.

    Float32 stays float32, and samples are worked through one at a time: beyond the input, memory is that of a few
    predictions (N, C).

    Returns:
        By name, (clusters,) each; NaN where a measure is not defined for all examples or without one cluster; fewer
        than clusters where AURC or AUROC leave out several at once, see :func:`resampling.leave_one_out`.

    Raises:
        ValueError: for numbers that are not probabilities, labels or votes, naming the first bad row (and its
            sample), or shapes that do not match.
    """
    probs = as_numpy(probs)
    if probs.dtype.kind not in "fiub":
        raise ValueError(f"probs are {probs.dtype}: expected floating-point numbers")
    if probs.ndim not in (2, 3) or 0 in probs.shape or probs.shape[-1] < 2:
        raise ValueError(f"probs has shape {probs.shape}: expected (T, N, C) or (N, C), not empty, C at least 2")
    if probs.dtype not in (np.float32, np.float64):
        probs = probs.astype(np.float32 if probs.dtype == np.float16 else np.float64)
    sampled, probs = probs.ndim == 3, probs.reshape(-1, *probs.shape[-2:])
    for t, sample in enumerate(probs):
        check_probabilities(sample, f"probs, sample {t}" if sampled else "probs")
    n = probs.shape[1]
    if n != len(probs) and np.shape(cases.target)[:1] == (len(probs),):
        cure = "samples come first, np.swapaxes(probs, 0, 1)"
        raise ValueError(f"probs seem to be of {len(probs)} examples with {n} samples each: {cure}")
    votes, weight = set_votes(cases.target, probs.shape[1:])
    clusters = np.arange(n) if cases.clusters is None else np.asarray(cases.clusters)
    if clusters.shape != (n,):
        raise ValueError(f"clusters or groups have shape {clusters.shape}: expected one for each of {n} examples")

    mean, (total, aleatoric, epistemic) = probs.mean(0, dtype=np.float64), metrics.entropy_decomposition(probs)
    proportions = votes / weight[:, None]
    wrong = (mean.argmax(1) != votes.argmax(1)).astype(float)

    def jackknifed(sums: Floats, statistic: Statistic) -> Floats:
        return pseudo_values(cluster_sums(sums[None], clusters), statistic)[0]

    def averaged(values: Floats, weights: ArrayLike = 1.0) -> Floats:
        return jackknifed(ratio_sums(values, weights), ratio)

    def correlated(x: Floats, y: Floats) -> Floats:
        # ranks are taken once: leaving a cluster out moves the others together
        x, y = (rankdata(values) - (n + 1) / 2 for values in (x, y))
        return jackknifed(moment_sums(x, y), _correlation_of_ranks)

    def ranked(f: Callable, values: ArrayLike, uncertainty: Floats) -> Floats:
        return leave_one_out(lambda weights: f(uncertainty, values, weights), clusters)

    # NLL = -sum_k v_k log p_k,  Brier = sum_k v_k ||e_k - p||^2 = 1 + |p|^2 - 2 v.p
    nll = -np.where(proportions > 0, proportions * np.log(np.clip(mean, 1e-12, None)), 0).sum(1)
    found = {
        "accuracy": averaged(1 - wrong),
        "NLL": averaged(nll, weight),
        "Brier": averaged(1 + (mean**2).sum(1) - 2 * (mean * proportions).sum(1), weight),
        "ECE": jackknifed(metrics.calibration_sums(mean, cases.target), metrics.ece_from_sums),
        "AURC": ranked(metrics.area_under_risk_coverage, wrong, total),
    }
    if cases.truth is not None:
        truth = as_numpy(cases.truth).astype(np.float64)
        found["distance to p*"] = averaged(metrics.jensen_shannon_distance(mean, truth))
        found["r(U_a, H*)"] = correlated(aleatoric, metrics.entropy(truth))
    if (weight > 1).any() or (votes.max(1) < weight).any():  # some example has several, counted or as shares
        found["distance to votes"] = averaged(metrics.jensen_shannon_distance(mean, proportions))
        found["r(U_a, d)"] = correlated(aleatoric, metrics.annotator_disagreement(votes))
    if len(probs) > 1:
        found["r(U_a, U_e)"] = correlated(aleatoric, epistemic)
        if cases.group is not None:
            found["AUROC(U_e, group)"] = ranked(metrics.auroc, np.asarray(cases.group), epistemic)
    return {name: found[name] for name in MEASURES if name in found}


def _correlation_of_ranks(sums: Floats) -> Floats:
    n, x, y, xx, yy, _ = np.moveaxis(sums, -1, 0)
    # ranks are halves of whole numbers, so that this tells exactly where all are equal
    varies = (n * xx > x * x) & (n * yy > y * y)
    return np.where(varies, pearson_from_sums(sums), np.nan)


def references(probs: Values, cases: Cases, generator: np.random.Generator) -> dict[str, metrics.Reference]:
    """What a calibrated predictor with the same confidences would score, by measure: of ECE, which is biased upwards.

    Args:
        probs, cases: as :func:`measure` takes them, and has checked them.
        generator: redraws the targets, see :func:`metrics.calibrated_reference`.
    """
    probs = as_numpy(probs)
    mean = probs.reshape(-1, *probs.shape[-2:]).mean(0, dtype=np.float64)
    return {"ECE": metrics.calibrated_reference(mean, cases.target, generator)}


def table(measured: Mapping[str, Floats], references: Mapping[str, metrics.Reference] | None = None) -> pd.DataFrame:
    """A row for each measure that is defined: estimate, 95% interval in its bounds, which way is better, what it says.

    Args:
        measured: pseudo-values (clusters,) or (seeds, clusters) by name, see :func:`measure`.
        references: by name, see :func:`references`.

    Returns:
        Columns estimate, low, high, "if calibrated" and "97.5% below" (what a calibrated predictor scores on average,
        and below what in 97.5% of cases; NaN of other measures than calibration errors), better, question and says;
        low and high are NaN where there is but one seed and cluster, from which no interval follows.
    """
    rows = {}
    for name, values in measured.items():
        if not np.isfinite(values).all():
            continue
        about = MEASURES[name]
        estimate, low, high = float(np.mean(values)), np.nan, np.nan
        if np.size(values) > 1:
            effect = effect_interval(np.atleast_2d(values)).within(*about.bounds)
            estimate, low, high = effect.estimate, effect.low, effect.high
        if_calibrated = (references or {}).get(name, (np.nan, np.nan))
        rows[name] = (estimate, low, high, *if_calibrated, about.better or "-", about.question, about.says)
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)


def unmeasured(measured: Mapping[str, Floats]) -> dict[str, str]:
    """Why each of `MEASURES` that has no row in the table of what :func:`measure` found has none, by name."""
    alone = "one prediction of each example has no epistemic uncertainty"
    lacks = {
        "distance to p*": "the true distribution is not known",
        "distance to votes": "no example has several votes",
        "r(U_a, H*)": "the true distribution is not known",
        "r(U_a, d)": "no example has several votes",
        "AUROC(U_e, group)": alone if "r(U_a, U_e)" not in measured else "no group is known to be thinned in training",
        "r(U_a, U_e)": alone,
    }
    equal = "not defined: one of the two is the same for all examples, or for all but one cluster"
    missing = [name for name in MEASURES if not np.isfinite(measured.get(name, np.nan)).all()]
    return {name: equal if name in measured else lacks[name] for name in missing}


# --- predictions made elsewhere -------------------------------------------------------------------------------

# The axes of each array of a file, and the kinds of its numbers, as `numpy.dtype.kind` and in words.
ARRAYS = {
    "probs": ((2, 3), "fiub", "numbers"),
    "labels": ((1,), "iuUS", "an integer dtype or names of classes"),
    "votes": ((2,), "fiub", "numbers"),
    "groups": ((1,), "fiubUS", "numbers or strings"),
    "classes": ((1,), "US", "strings"),
}
FORMS = (
    "Expected is an .npz of np.savez(path, probs=..., labels=... or votes=...), a .pt of a dictionary of such tensors, "
    "a .csv with the columns label and group and one for each class, or, with --corpus, an .npy of probs alone"
)


def read(path: str | os.PathLike, known: bool = False) -> dict[str, np.ndarray]:
    """Arrays of a file of predictions, none of which is a Python object.

    Args:
        path: an ``.npz``, or a ``.pt`` of a dictionary of tensors, with ``probs`` (T, N, C) or (N, C); ``labels`` (N,),
            whole numbers in an integer dtype (floats are how missing labels come) from 0, or from 1 where the last
            class is among them, or the names of ``classes`` (C,); or one-hot rows or ``votes`` (N, C), counts or
            shares; and, if examples belong together (one person, one dialogue), ``groups`` (N,), numbers or strings.
            Or a ``.csv`` with a column for each class, named as it, and the columns ``label`` and, if there are,
            ``group``. Or an ``.npy`` with probs alone.
        known: labels, votes and groups come from elsewhere, and the file has none.

    Raises:
        ValueError: not such a file, naming the array.
        FileNotFoundError: no file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        arrays = {".csv": _read_csv, ".pt": _read_tensors, ".pth": _read_tensors}.get(path.suffix, _read_arrays)(path)
    except PredictionsError as problem:
        raise ValueError(f"{path}: {problem}") from None
    except Exception as problem:  # what is none of these, or a broken one, raises nearly anything
        raise ValueError(f"{path}: {str(problem).partition('. ')[0]}. {FORMS}") from None
    if unknown := sorted(arrays.keys() - ARRAYS.keys()):
        raise ValueError(f"{path}: array {unknown[0]!r} is not known; known are {', '.join(ARRAYS)}")
    if "probs" not in arrays:
        raise ValueError(f"{path}: there is no array 'probs'")
    truths = [name for name in arrays if name not in ("probs", "classes")]
    if known and truths:
        more = " and ".join(map(repr, truths))
        raise ValueError(f"{path}: {more} in the file, beside those of the corpus: two truths; leave out one of them")
    if not known and ("labels" in arrays) == ("votes" in arrays):
        raise ValueError(f"{path}: one of the arrays 'labels' and 'votes' is needed, not both")
    if arrays.get("labels", np.empty(0)).ndim == 2 and (set(np.unique(arrays["labels"])) <= {0, 1}):
        arrays["votes"] = arrays.pop("labels")  # one-hot
    for name, array in arrays.items():
        _check(f"{path}: array {name!r}", array, *ARRAYS[name])
    classes = arrays.pop("classes", None)
    if "labels" in arrays:
        arrays["labels"] = _from_zero(f"{path}: labels", arrays["labels"], arrays["probs"].shape[-1], classes)
    return arrays


class PredictionsError(ValueError):
    """What is wrong with a file of predictions, by array."""


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        return {"probs": archive}
    arrays = {}
    with archive:
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except Exception as problem:  # so does a header, which is read as Python's literals
                objects = "Object arrays" in str(problem)
                cure = f"; save it with .astype(str), or as numbers: np.array({name}.tolist())" if objects else ""
                raise PredictionsError(f"array {name!r} cannot be read: {problem}{cure}") from None
            if not isinstance(arrays[name], np.ndarray):  # what does not begin as an array comes as bytes
                raise PredictionsError(f"{name!r} is not an array")
    return arrays


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    content = content if isinstance(content, dict) else {"probs": content}
    if others := [name for name, value in content.items() if not isinstance(value, torch.Tensor)]:
        raise PredictionsError(f"{others[0]!r} is not a tensor; save tensors alone")
    return {name: as_numpy(value) for name, value in content.items()}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    table = pd.read_csv(path).drop(columns="Unnamed: 0", errors="ignore")  # the index that pandas writes
    names = {str(name).strip().lower().removesuffix("s"): name for name in table}
    extra = {kind: names[kind] for kind in ("label", "group") if kind in names}
    probs = table.drop(columns=list(extra.values()))
    if strange := [name for name in probs if not pd.api.types.is_numeric_dtype(probs[name])]:
        reason = f"the column {strange[0]!r} holds no numbers: leave in label, group and a column for each class alone"
        raise PredictionsError(reason)
    if table.isna().any(axis=None):
        row, column = np.argwhere(table.isna().to_numpy())[0]
        raise PredictionsError(f"line {row + 2}: {table.columns[column]} is empty")
    arrays = {"probs": probs.to_numpy(float), "classes": np.array(probs.columns, dtype=str)}
    for kind, name in extra.items():
        numbers = pd.api.types.is_numeric_dtype(table[name])
        arrays[f"{kind}s"] = table[name].to_numpy() if numbers else table[name].to_numpy(dtype=str)
    return arrays


def _from_zero(what: str, labels: np.ndarray, n_classes: int, classes: np.ndarray | None) -> np.ndarray:
    """Labels as whole numbers from 0, of C classes, which may be their names or count from 1."""
    if labels.dtype.kind in "US":
        if classes is None:
            cure = "save as well classes=np.array([...]), their names in the order of the columns of probs"
            raise ValueError(f"{what} are names: {cure}")
        place = {name: i for i, name in enumerate(classes.astype(str).tolist())}
        if unknown := sorted(set(labels.astype(str).tolist()) - place.keys()):
            raise ValueError(f"{what}: {unknown[0]!r} is none of the classes {', '.join(place)}")
        return np.array([place[label] for label in labels.astype(str).tolist()])
    # n classes counted from 1 have a label that counting from 0 has not
    return labels - 1 if len(labels) and labels.min() >= 1 and labels.max() == n_classes else labels


def _check(what: str, array: np.ndarray, axes: tuple[int, ...], kinds: str, in_words: str) -> None:
    if array.ndim not in axes:
        yes = "; of a yes or no, np.stack([1 - probs, probs], -1)" if axes == (2, 3) and array.ndim == 1 else ""
        raise ValueError(f"{what} has shape {array.shape}: expected {' or '.join(map(str, axes))} axes{yes}")
    if array.dtype.kind not in kinds:
        raise ValueError(f"{what} is {array.dtype}: expected {in_words}")
    if array.ndim == 1 and array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{what}: row {np.isnan(array).argmax()} is NaN")
