"""Works: calibration errors, resampling by clusters, percentile ranks, concordance, Jensen-Shannon."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from bench.compare import Peer, Task, Work
from bench.limits import memory
from uncertain_affect.metrics import (
    adaptive_calibration_error,
    ccc,
    expected_calibration_error,
    jensen_shannon_distance,
    jensen_shannon_divergence,
    maximum_calibration_error,
    static_calibration_error,
    thresholded_adaptive_calibration_error,
)
from uncertain_affect.papers.rock.tasks import percentile_ranks

N_BINS = 10
TOP_LABEL = {"ECE": expected_calibration_error, "MCE": maximum_calibration_error}
Error = Callable[[np.ndarray, np.ndarray], float]

CALIBRATION_REASON = (
    "ours also checks that every row is a distribution, which reads the probabilities once more, and adds in float64"
)


def works() -> list[Work]:
    return [
        *(
            Work(f"{metric}, 9 classes, float64", n, "examples", lambda n, metric=metric: top_label(n, metric))
            for metric in TOP_LABEL
            for n in (10_000, 100_000, 1_000_000)
        ),
        *(
            Work(f"{metric}, 9 classes, float64", 1_000_000, "examples", lambda n, metric=metric: per_class(n, metric))
            for metric in PER_CLASS
        ),
        Work("Percentile ranks among another set of as many", 10_000, "values", ranks_among_others),
        Work("Percentile ranks among themselves", 1_000_000, "values", ranks),
        Work("Concordance (CCC)", 1_000_000, "pairs of values", concordance),
        Work("Jensen-Shannon distance, 9 classes, NumPy", 1_000_000, "pairs of distributions", distance),
        Work("Jensen-Shannon divergence, 9 classes, torch", 1_000_000, "pairs of distributions", divergence),
    ]


def predictions(n: int, n_classes: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Made-up probabilities (n, n_classes), too sure of themselves, and labels (n,)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, n_classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return torch.softmax(1.5 * torch.from_numpy(logits), -1).numpy(), labels


# --- errors of the predicted class ----------------------------------------------------------------------------


def torchmetrics_error(metric: str) -> Error:
    from torchmetrics.functional.classification import multiclass_calibration_error

    def error(probs: np.ndarray, labels: np.ndarray) -> float:
        tensors, norm = (torch.from_numpy(probs), torch.from_numpy(labels)), {"ECE": "l1", "MCE": "max"}[metric]
        return multiclass_calibration_error(*tensors, num_classes=probs.shape[1], n_bins=N_BINS, norm=norm).item()

    return error


def netcal_error(metric: str) -> Error:
    from netcal.metrics.confidence import ECE, MCE

    return {"ECE": ECE, "MCE": MCE}[metric](N_BINS).measure


def uncertainty_calibration_error(metric: str) -> Error:
    from calibration import get_ece

    # it has no maximum
    return {"ECE": lambda probs, labels: float(get_ece(probs, labels, num_bins=N_BINS))}[metric]


CALIBRATION_PEERS = {
    "torchmetrics": (torchmetrics_error, ("ECE", "MCE")),
    "netcal": (netcal_error, ("ECE", "MCE")),
    "uncertainty-calibration": (uncertainty_calibration_error, ("ECE",)),
}


def float32_tolerance(n: int) -> float:
    """1e-6, or what roundings of a bin's sums in float32, which torchmetrics adds one by one, come to if larger."""
    return max(1e-6, 2**-24 * math.sqrt(n / N_BINS))


def top_label(n: int, metric: str) -> Task:
    """ECE or MCE of the predicted class, beside three libraries that are given the same float64 numbers."""
    probs, labels = predictions(n)

    def peer(name: str, error: Callable[[str], Error]) -> Peer:
        def start() -> Callable[[], float]:
            theirs = error(metric)
            return lambda: theirs(probs, labels)

        tolerance = float32_tolerance(n) if name == "torchmetrics" else 1e-9
        return Peer(name, start, target=1, reason=CALIBRATION_REASON, tolerance=tolerance)

    peers = [peer(name, error) for name, (error, has) in CALIBRATION_PEERS.items() if metric in has]
    return Task(lambda: TOP_LABEL[metric](probs, labels), peers, memory(probs.nbytes + labels.nbytes))


# --- errors of every class ------------------------------------------------------------------------------------


def plain_sce(probs: np.ndarray, labels: np.ndarray) -> float:
    """Static calibration error as its definition reads: a loop over classes and bins."""
    total = 0.0
    for c in range(probs.shape[1]):
        confidence, correct = probs[:, c], labels == c
        for b in range(N_BINS):
            within = (confidence >= b / N_BINS) & (confidence < (b + 1) / N_BINS if b < N_BINS - 1 else True)
            if within.any():
                total += within.mean() * abs(correct[within].mean() - confidence[within].mean())
    return total / probs.shape[1]


def plain_ace(probs: np.ndarray, labels: np.ndarray, threshold: float = 0.0) -> float:
    """Adaptive calibration error as its definition reads: every class sorted and cut into ranges of equal count.

    Only probabilities above the threshold count. Ties would need care; continuous probabilities have none.
    """
    total = 0.0
    for c in range(probs.shape[1]):
        kept = probs[:, c] > threshold
        confidence, correct = probs[kept, c], labels[kept] == c
        order = np.argsort(confidence)
        for r in range(N_BINS):
            within = order[r * len(order) // N_BINS : (r + 1) * len(order) // N_BINS]
            if len(within):
                total += len(within) / len(order) * abs(correct[within].mean() - confidence[within].mean())
    return total / probs.shape[1]


PER_CLASS = {
    "SCE": (static_calibration_error, plain_sce),
    "ACE": (adaptive_calibration_error, plain_ace),
    "TACE, threshold .01": (thresholded_adaptive_calibration_error, lambda p, y: plain_ace(p, y, threshold=0.01)),
}


def per_class(n: int, metric: str) -> Task:
    """SCE, ACE or TACE beside its definition in NumPy."""
    probs, labels = predictions(n)
    ours, plain = PER_CLASS[metric]
    reason = (
        "both go through the data class by class, from columns that do not lie together in memory; what ours saves, "
        "the sort or the loop over bins, has to be most of the time"
    )
    peer = Peer("plain NumPy", lambda: lambda: plain(probs, labels), target=3, reason=reason, tolerance=1e-9)
    return Task(lambda: ours(probs, labels), [peer], memory(probs.nbytes + labels.nbytes))


# --- ranks, concordance, divergence ---------------------------------------------------------------------------


def ranks_among_others(n: int) -> Task:
    """Percentile ranks (n,) among n other values."""
    values, others = np.random.default_rng(0).normal(size=(2, n))

    def scipy() -> np.ndarray:
        from scipy.stats import percentileofscore

        return percentileofscore(others, values, kind="mean") / 100

    reason = "both sets are sorted first, which few values do not repay"
    peer = Peer("scipy.stats.percentileofscore", lambda: scipy, target=1, reason=reason, tolerance=1e-12)
    return Task(lambda: percentile_ranks(values, others), [peer], memory(values.nbytes + others.nbytes))


def ranks(n: int) -> Task:
    """Percentile ranks (n,) of values among themselves, a case that ours is not made for."""
    values = np.random.default_rng(0).normal(size=n)

    def scipy() -> np.ndarray:
        from scipy.stats import rankdata

        return (rankdata(values) - 0.5) / n

    reason = "rankdata sorts once; ours takes any training set, so it sorts that and the values and merges the two"
    peer = Peer("scipy.stats.rankdata", lambda: scipy, target=1, reason=reason, tolerance=1e-12)
    return Task(lambda: percentile_ranks(values, values), [peer], memory(2 * values.nbytes))


def concordance(n: int) -> Task:
    """Lin's concordance; torchmetrics divides by n - 1 where we divide by n, which makes up to 1/n."""
    rng = np.random.default_rng(0)
    labels = rng.normal(size=n)
    predicted = 0.7 * labels + 0.2 + 0.5 * rng.normal(size=n)

    def torchmetrics() -> Callable[[], float]:
        return partial(torchmetrics_ccc("CCC"), predicted, labels)

    reason = "ours reads both arrays twice, for means and for products of what is left, and once more to check them"
    peer = Peer("torchmetrics", torchmetrics, target=1, reason=reason, tolerance=1 / n)
    return Task(lambda: ccc(predicted, labels), [peer], memory(predicted.nbytes + labels.nbytes))


def torchmetrics_ccc(_: str) -> Error:
    from torchmetrics.functional.regression import concordance_corrcoef

    return lambda x, y: concordance_corrcoef(torch.from_numpy(x), torch.from_numpy(y)).item()


JENSEN_SHANNON_REASON = "the logarithms of three distributions are most of the time, ours and theirs"


def distance(n: int) -> Task:
    """Jensen-Shannon distances (n,) of arrays."""
    (p, _), q = predictions(n), predictions(n)[0][::-1].copy()

    def scipy() -> np.ndarray:
        from scipy.spatial.distance import jensenshannon

        return jensenshannon(p, q, axis=1)

    # the root of a divergence near zero has half of its digits
    peer = Peer("scipy.spatial", lambda: scipy, target=1, reason=JENSEN_SHANNON_REASON, tolerance=1e-7)
    return Task(lambda: jensen_shannon_distance(p, q), [peer], memory(p.nbytes + q.nbytes))


def divergence(n: int) -> Task:
    """Jensen-Shannon divergences (n,) of tensors."""
    p = torch.from_numpy(predictions(n)[0])
    q = p.flip(0)

    def torchmetrics() -> Callable[[], torch.Tensor]:
        from torchmetrics.functional.regression import jensen_shannon_divergence as theirs

        return lambda: theirs(p, q, reduction="none")

    peer = Peer("torchmetrics", torchmetrics, target=1, reason=JENSEN_SHANNON_REASON, tolerance=1e-9)
    return Task(lambda: jensen_shannon_divergence(p, q), [peer], memory(p.nbytes + q.nbytes))
