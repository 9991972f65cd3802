"""Where a peer computes something else than the definition: both are computed here, on inputs that show it."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch

from bench.compare import why_not
from bench.metrics import CALIBRATION_PEERS, N_BINS, TOP_LABEL, Error, plain_ace, predictions, torchmetrics_ccc
from uncertain_affect.metrics import adaptive_calibration_error, ccc

# what is further from the definition departs from it
SAME = {1e-9: "same", 1e-6: "same in float32"}


def by_definition(probs: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """ECE or MCE in bins [lo, hi), the last one closed, from sums that are rounded once."""
    confidence, correct = probs.max(1).astype(float), probs.argmax(1) == labels
    gaps, shares = [], []
    for b in range(N_BINS):
        within = (confidence >= b / N_BINS) & (confidence < (b + 1) / N_BINS if b < N_BINS - 1 else True)
        if n := int(within.sum()):
            gaps.append(abs(int(correct[within].sum()) - math.fsum(confidence[within])) / n)
            shares.append(n / len(labels))
    return max(gaps) if metric == "MCE" else math.fsum(g * s for g, s in zip(gaps, shares, strict=True))


def top_label_cases(n: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs on which conventions and precision show: probabilities and labels."""
    # a sure prediction that is wrong, and one of the same bin that is right
    sure = np.array([[1.0, 0.0, 0.0], [0.95, 0.05, 0.0], [0.62, 0.3, 0.08], [0.52, 0.28, 0.2]]), np.array([1, 0, 2, 1])
    # .5 lies between the bins of the two others
    edge = np.array([[0.5, 0.3, 0.2], [0.45, 0.3, 0.25], [0.25, 0.55, 0.2]]), np.array([0, 2, 1])
    return {"one confidence of exactly 1": sure, "a confidence on an edge, .5": edge, f"{n:,} examples": predictions(n)}


def departures(n: int = 1_000_000) -> pd.DataFrame:
    """A row for each input, metric and library, ours among them: the definition's value, theirs, and the difference."""
    return pd.DataFrame(list(_rows(n)))


def _rows(n: int) -> Iterator[dict]:
    for case, inputs in top_label_cases(n).items():
        for metric, ours in TOP_LABEL.items():
            definition = by_definition(*inputs, metric)
            yield _row(case, metric, "ours", definition, ours(*inputs))
            for peer, (start, has) in CALIBRATION_PEERS.items():
                if metric in has:
                    yield _of_peer(case, metric, peer, definition, start, inputs)
    case, inputs = "what the name ACE means", predictions(10_000)
    definition = plain_ace(*inputs)
    yield _row(case, "ACE", "ours", definition, adaptive_calibration_error(*inputs))
    yield _of_peer(case, "ACE", "netcal (average calibration error)", definition, _netcal_ace, inputs)
    name = "torch-uncertainty (of the predicted class)"
    yield _of_peer(case, "ACE", name, definition, _torch_uncertainty_ace, inputs)
    case, (x, y) = "moments of four pairs, divided by n", np.array([[1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 4.0, 5.0]])
    definition = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    yield _row(case, "CCC", "ours", definition, ccc(x, y))
    yield _of_peer(case, "CCC", "torchmetrics", definition, torchmetrics_ccc, (x, y))


def _row(case: str, metric: str, library: str, definition: float, value: float) -> dict:
    difference = value - definition
    outcome = next((name for limit, name in SAME.items() if abs(difference) <= limit), "departs")
    row = {"case": case, "metric": metric, "library": library, "definition": definition}
    return row | {"value": value, "difference": difference, "outcome": outcome}


def _of_peer(case: str, metric: str, peer: str, definition: float, start: Callable, inputs: tuple) -> dict:
    try:
        value = float(start(metric)(*inputs))
    except Exception as error:
        return {"case": case, "metric": metric, "library": peer, "definition": definition, "outcome": why_not(error)}
    return _row(case, metric, peer, definition, value)


def _netcal_ace(_: str) -> Error:
    from netcal.metrics.confidence import ACE

    return ACE(N_BINS).measure


def _torch_uncertainty_ace(_: str) -> Error:
    from torch_uncertainty.metrics import AdaptiveCalibrationError

    def error(probs: np.ndarray, labels: np.ndarray) -> float:
        metric = AdaptiveCalibrationError(task="multiclass", num_classes=probs.shape[1], num_bins=N_BINS)
        return float(metric(torch.from_numpy(probs), torch.from_numpy(labels)))

    return error
