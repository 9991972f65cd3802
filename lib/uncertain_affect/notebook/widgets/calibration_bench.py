"""Calibration bench: temperature, bins and sample size, and every calibration error moving with them."""

import numpy as np
import pandas as pd
from ipywidgets import Dropdown, FloatLogSlider, IntSlider, SelectionSlider, VBox
from matplotlib.figure import Figure
from scipy.special import softmax

from uncertain_affect import metrics
from uncertain_affect.metrics.inputs import Values, check_probabilities, check_votes
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, bars, explore, finish, numbers

BINNINGS = EVEN, EQUAL = "even width", "equal count"
N_LUCK = 20  # draws of what a perfectly calibrated model would score


def tempered(probs: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of probabilities (N, C): T > 1 flattens, T < 1 sharpens.

    Raises:
        ValueError: a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: expected a positive number")
    return softmax(np.log(np.clip(probs, 1e-12, None)) / temperature, axis=-1)


def bins(confidence: np.ndarray, n_bins: int, binning: str) -> np.ndarray:
    """Bin (N,) of each confidence, of even width [lo, hi) or with equally many examples each."""
    if binning == EVEN:
        return np.searchsorted(np.arange(1, n_bins) / n_bins, confidence, side="right")
    ranks = np.argsort(np.argsort(confidence, kind="stable"), kind="stable")
    return ranks * n_bins // len(confidence)


def sums(confidence: np.ndarray, correct: np.ndarray, bin_of: np.ndarray, n_bins: int) -> np.ndarray:
    """Count, confidence and correct ones of each bin, (3 * n_bins,): what `metrics.calibration_sums` adds up to."""
    parts = (np.ones(len(bin_of)), confidence, correct)
    return np.concatenate([np.bincount(bin_of, weights, n_bins) for weights in parts])


def curve(totals: np.ndarray) -> pd.DataFrame:
    """A row per bin that holds something: mean ``confidence`` and ``accuracy``, and ``share`` of the examples."""
    totals = totals.reshape(3, -1)
    count, confidence, correct = totals[:, totals[0] > 0]
    return pd.DataFrame({"confidence": confidence / count, "accuracy": correct / count, "share": count / count.sum()})


def panel(
    probs: Values, votes: Values, *, temperature: float = 1.0, n_bins: int = 10, binning: str = EVEN, n: int = 1000
) -> Figure:
    """Reliability diagram and five calibration errors of the first n examples, beside what luck alone would give.

    Args:
        probs: (N, C) predictions.
        votes: (N, C) votes; every example counts alike. Labels are one vote, and so are proportions.
        temperature: divides the logits.
        n_bins, binning: of the diagram, ECE and MCE; SCE, ACE and TACE have as many bins, of the kind each is
            defined with.
        n: sample size.

    Raises:
        ValueError: numbers that are not probabilities or votes; the first bad row is named.
    """
    p, shares = numbers(probs), numbers(votes)
    check_probabilities(p)
    check_votes(shares)
    p, counts = tempered(p[:n], temperature), shares[:n].sum(1, keepdims=True)
    shares = shares[:n] / counts
    confidence, correct = p.max(1), shares[np.arange(len(p)), p.argmax(1)]
    bin_of = bins(confidence, n_bins, binning)
    totals = sums(confidence, correct, bin_of, n_bins)
    measured = {
        "ECE": metrics.ece_from_sums(totals),
        "MCE": metrics.mce_from_sums(totals),
        "SCE": metrics.static_calibration_error(p, shares, n_bins),
        "ACE": metrics.adaptive_calibration_error(p, shares, n_bins),
        "TACE": metrics.thresholded_adaptive_calibration_error(p, shares, n_bins),
    }
    # as many votes an example, drawn from the model's own confidence: all that is left then is chance
    n_votes = np.maximum(1, counts[:, 0].round()).astype(int)
    draws = np.random.default_rng(0).binomial(n_votes, confidence, (N_LUCK, len(p))) / n_votes
    drawn = np.stack([sums(confidence, correct, bin_of, n_bins) for correct in draws])
    luck = [metrics.ece_from_sums(drawn).mean(), metrics.mce_from_sums(drawn).mean()]

    figure, (diagram, errors) = axes([3.4, 3.6], height=3.6)
    table = curve(totals)
    mean, accuracy, share = (table[name] for name in ("confidence", "accuracy", "share"))
    worst = (accuracy - mean).abs().idxmax()
    diagram.plot([0, 1], [0, 1], "--", color="0.6", linewidth=1)
    diagram.vlines(mean, mean, accuracy, color="0.7", linewidth=1.5)
    diagram.scatter(mean, accuracy, s=12 + 250 * share, color=plots.COLOURS["UncNet"])
    square = {"color": "0.1", "markersize": 15, "markerfacecolor": "none"}
    diagram.plot(mean[worst], accuracy[worst], "s", label=f"sets MCE, holds {share[worst]:.1%}", **square)
    diagram.legend(fontsize=8, loc="upper left", markerscale=0.5)
    diagram.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="accuracy (share of votes)")
    finish(diagram, f"{len(p)} examples in {len(table)} bins")

    values = 100 * np.array([float(error) for error in measured.values()])
    rows = bars(errors, list(measured), values, color=plots.COLOURS["UncNet"])
    errors.plot([100 * error for error in luck], rows[:2], "D", color="0.1", markersize=5, label="luck alone")
    far = max(20.0, 1.2 * values.max())
    for row, value in zip(rows, values, strict=True):
        errors.text(value + 0.015 * far, row - 0.28, f"{value:.1f}", fontsize=8, va="center")
    heading = "measured, and if every probability were right"
    finish(errors, heading, "lower right", xlim=(0, far), xlabel="calibration error (%)")
    return figure


def controls(probs: Values, votes: Values) -> VBox:
    """The panel below its sliders."""
    sizes = [*(k for k in (20, 50, 100, 200, 500, 1000, 2000, 5000) if k < len(probs)), len(probs)]
    widgets = {
        "temperature": FloatLogSlider(1.0, base=10, min=-0.7, max=0.7, step=0.02),
        "n_bins": IntSlider(10, 1, 50, description="bins"),
        "binning": Dropdown(options=BINNINGS),
        "n": SelectionSlider(options=sizes, value=len(probs), description="sample size"),
    }
    return explore(panel, probs, votes, **widgets)
