"""Reject option: hand the most uncertain cases back to people. How accurate is the rest, and who is rejected?"""

import numpy as np
import pandas as pd
from ipywidgets import Dropdown, FloatSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect import metrics
from uncertain_affect.metrics.inputs import Values, as_numpy
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, bars, explore, finish, ring

ByName = dict[str, Values]


def panel(
    probs: Values, target: Values, scores: ByName, groups: ByName, *, by: str, rejected: float = 0.25, group: str = ""
) -> Figure:
    """Accuracy against coverage for every uncertainty, and the share that one of them rejects in each group.

    Args:
        probs: (N, C) predictions.
        target: (N,) labels or (N, C) votes.
        scores: by name, (N,) uncertainties; higher is rejected sooner.
        groups: by name, (N,) the group of each example.
        by: which uncertainty rejects.
        rejected: share that is rejected, at least 0 and below 1.
        group: which grouping is shown; the first by default.

    Raises:
        ValueError: a share that rejects all, or NaN, naming the row.
    """
    group = group or next(iter(groups), "")
    values = as_numpy(scores[by])
    order = as_numpy(metrics.rejection_order(values))
    kept = int((1 - rejected) * len(order) + 1e-9)
    coverage = kept / len(order)
    figure, (curve, shares) = axes([3.9, 2.9], height=3.4, gap=1.35)
    for name, u in scores.items():
        c = metrics.accuracy_rejection_curve(probs, target, u)
        c = c[c["kept"] >= min(20, len(c))]  # fewer are all noise
        style = {"color": plots.COLOURS.get(name, "0.4"), "linewidth": 2.2 if name == by else 1.0}
        curve.plot(c["coverage"], c["accuracy"], label=f"${name}$" if name in plots.COLOURS else name, **style)
    accuracy = metrics.accuracy_at_coverage(probs, target, scores[by], coverage)
    ring(curve, coverage, accuracy)
    threshold = f"above {values[order[kept - 1]]:.3f} nat" if kept < len(order) else "nothing"
    curve.set(xlabel="coverage (share kept)", ylabel="accuracy of those kept", xlim=(1.02, 0))
    finish(curve, f"keep {coverage:.0%}: accuracy {accuracy:.1%}; rejected: {threshold}", "upper left")

    out = np.zeros(len(order), dtype=bool)
    out[order[kept:]] = True
    group_of = np.asarray(groups[group])
    # numbers in their order, names in that of the examples
    members = pd.Series(out).groupby(group_of, sort=group_of.dtype.kind not in "OU").agg(["mean", "size"])
    names = [f"{name} ({n})" for name, n in members["size"].items()]
    bars(shares, names, members["mean"], color=plots.COLOURS.get(by, "0.4"))
    shares.axvline(out.mean(), color="0.1", linestyle="--", linewidth=1)
    finish(shares, f"who is rejected, by {group} (examples)", xlim=(0, 1), xlabel="share rejected (dashed: of all)")
    return figure


def controls(probs: Values, target: Values, scores: ByName, groups: ByName) -> VBox:
    """The panel below its sliders."""
    widgets = {
        "by": Dropdown(options=list(scores), description="reject by"),
        "rejected": FloatSlider(0.25, min=0, max=0.95, step=0.05, readout_format=".0%"),
        "group": Dropdown(options=list(groups)),
    }
    return explore(panel, probs, target, scores, groups, **widgets)
