"""Calibration bench: temperature, bins and sample size, and every calibration error moving with them."""

import numpy as np
import pandas as pd
from ipywidgets import Dropdown, FloatLogSlider, IntSlider, SelectionSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect import metrics
from uncertain_affect.metrics.inputs import Values, as_float64, as_numpy, check_probabilities
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, explore, title

BINNINGS = ("even width", "equal count")
N_LUCK = 20  # draws of what a perfectly calibrated model would score


def tempered(probs: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of probabilities (N, C): T > 1 flattens, T < 1 sharpens.

    Raises:
        ValueError: a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: expected a positive number")
    logits = np.log(np.clip(probs, 1e-12, None)) / temperature
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def bins(confidence: np.ndarray, n_bins: int, binning: str) -> np.ndarray:
    """Bin (N,) of each confidence, of even width [lo, hi) or with equally many examples each.

    Raises:
        ValueError: another binning, or no bin.
    """
    if binning not in BINNINGS:
        raise ValueError(f"binning is {binning!r}: expected one of {', '.join(BINNINGS)}")
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}: expected at least one bin")
    if binning == "even width":
        return np.searchsorted(np.arange(1, n_bins) / n_bins, confidence, side="right")
    ranks = np.argsort(np.argsort(confidence, kind="stable"), kind="stable")
    return ranks * n_bins // len(confidence)


def sums(confidence: np.ndarray, correct: np.ndarray, bin_of: np.ndarray, n_bins: int) -> np.ndarray:
    """Count, confidence and correct ones of each bin, (3 * n_bins,): what `metrics.calibration_sums` adds up to."""
    parts = (np.ones(len(bin_of)), confidence, correct)
    return np.concatenate([np.bincount(bin_of, weights, n_bins) for weights in parts])


def curve(totals: np.ndarray) -> pd.DataFrame:
    """A row per bin that holds something: mean ``confidence`` and ``accuracy``, and ``share`` of the examples."""
    count, said, right = totals.reshape(3, -1)[:, totals.reshape(3, -1)[0] > 0]
    return pd.DataFrame({"confidence": said / count, "accuracy": right / count, "share": count / count.sum()})


def panel(
    probs: Values,
    votes: Values,
    *,
    temperature: float = 1.0,
    n_bins: int = 10,
    binning: str = "even width",
    n: int = 1000,
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
        ValueError: an empty sample, or numbers that are not probabilities or votes; the first bad row is named.
    """
    p, shares = as_numpy(as_float64(probs)), as_numpy(as_float64(votes))
    if n < 1 or len(p) == 0:
        raise ValueError(f"the sample is empty: n is {n}, and there are {len(p)} examples")
    check_probabilities(p)
    empty = ~(shares.sum(1) > 0)  # NaN too
    if empty.any():
        raise ValueError(f"votes: row {empty.argmax()} has none, or is NaN")
    p, counts = tempered(p[:n], temperature), shares[:n].sum(1, keepdims=True)
    shares = shares[:n] / counts
    top = p.argmax(1)
    confidence, correct = p.max(1), shares[np.arange(len(p)), top]
    bin_of = bins(confidence, n_bins, binning)
    totals = sums(confidence, correct, bin_of, n_bins)
    measured = {
        "ECE": float(metrics.ece_from_sums(totals)),
        "MCE": float(metrics.mce_from_sums(totals)),
        "SCE": metrics.static_calibration_error(p, shares, n_bins),
        "ACE": metrics.adaptive_calibration_error(p, shares, n_bins),
        "TACE": metrics.thresholded_adaptive_calibration_error(p, shares, n_bins),
    }
    # as many votes an example, drawn from the model's own confidence: all that is left then is chance
    n_votes = np.maximum(1, counts[:, 0].round()).astype(int)
    draws = np.random.default_rng(0).binomial(n_votes, confidence, (N_LUCK, len(p))) / n_votes
    drawn = np.stack([sums(confidence, right, bin_of, n_bins) for right in draws])
    luck = {"ECE": metrics.ece_from_sums(drawn).mean(), "MCE": metrics.mce_from_sums(drawn).mean()}
    return _draw(curve(totals), measured, luck, len(p))


def _draw(table: pd.DataFrame, measured: dict[str, float], luck: dict[str, float], n: int) -> Figure:
    figure, (diagram, bars) = axes([3.4, 3.6], height=3.6)
    gap = (table["accuracy"] - table["confidence"]).abs()
    worst = table.loc[gap.idxmax()]
    diagram.plot([0, 1], [0, 1], "--", color="0.6", linewidth=1)
    diagram.vlines(table["confidence"], table["confidence"], table["accuracy"], color="0.7", linewidth=1.5)
    diagram.scatter(table["confidence"], table["accuracy"], s=12 + 250 * table["share"], color=plots.COLOURS["UncNet"])
    diagram.plot(
        worst["confidence"], worst["accuracy"], "s", color="0.1", markersize=15, markerfacecolor="none",
        label=f"sets MCE, holds {worst['share']:.1%}",
    )  # fmt: skip
    diagram.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="accuracy (share of votes)")
    title(diagram, f"{n} examples in {len(table)} bins")
    diagram.legend(fontsize=8, loc="upper left", markerscale=0.5)

    rows, values = np.arange(len(measured)), 100 * np.array(list(measured.values()))
    bars.barh(rows, values, color=plots.COLOURS["UncNet"], linewidth=0)
    bars.plot([100 * v for v in luck.values()], rows[: len(luck)], "D", color="0.1", markersize=5, label="luck alone")
    far = max(20.0, 1.2 * values.max())
    for row, value in zip(rows, values, strict=True):
        bars.text(value + 0.015 * far, row - 0.28, f"{value:.1f}", fontsize=8, va="center")
    bars.set_yticks(rows, list(measured))
    bars.invert_yaxis()
    bars.set(xlim=(0, far), xlabel="calibration error (%)")
    title(bars, "measured, and if every probability were right")
    bars.legend(fontsize=8, loc="lower right")
    return figure


def controls(probs: Values, votes: Values) -> VBox:
    """The panel below its sliders."""
    return explore(
        lambda **values: panel(probs, votes, **values),
        temperature=FloatLogSlider(1.0, base=10, min=-0.7, max=0.7, step=0.02),
        n_bins=IntSlider(10, 1, 50, description="bins"),
        binning=Dropdown(options=BINNINGS),
        n=SelectionSlider(
            options=[k for k in (20, 50, 100, 200, 500, 1000, 2000, 5000) if k < len(probs)] + [len(probs)],
            value=len(probs),
            description="sample size",
        ),
    )
