"""Reject option: hand the most uncertain cases back to people. How accurate is the rest, and who is rejected?"""

import numpy as np
from ipywidgets import Dropdown, FloatSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect import metrics
from uncertain_affect.metrics.inputs import Values, as_numpy
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, explore, title


def panel(
    probs: Values,
    target: Values,
    uncertainties: dict[str, Values],
    groups: dict[str, np.ndarray],
    *,
    by: str,
    rejected: float = 0.25,
    group: str | None = None,
) -> Figure:
    """Accuracy against coverage for every uncertainty, and the share that one of them rejects in each group.

    Args:
        probs: (N, C) predictions.
        target: (N,) labels or (N, C) votes.
        uncertainties: by name, (N,) each; higher is rejected sooner.
        groups: by name, (N,) the group of each example.
        by: which uncertainty rejects.
        rejected: share that is rejected, at least 0 and below 1.
        group: which grouping is shown; the first by default.

    Raises:
        ValueError: nothing to choose from, an unknown choice, a share that rejects all, or NaN, naming the row.
    """
    if not uncertainties or not groups:
        raise ValueError("no uncertainty or no grouping is given: there is nothing to choose from")
    group = next(iter(groups)) if group is None else group
    for name, chosen, known in (("by", by, uncertainties), ("group", group, groups)):
        if chosen not in known:
            raise ValueError(f"{name} is {chosen!r}: expected one of {', '.join(known)}")
    if not 0 <= rejected < 1:
        raise ValueError(f"rejected is {rejected}: expected a share of at least 0 and below 1")
    values = as_numpy(uncertainties[by])
    order = as_numpy(metrics.rejection_order(values))
    kept = int((1 - rejected) * len(order) + 1e-9)
    if kept == 0:
        raise ValueError(f"rejecting {rejected:.1%} of {len(order)} examples keeps none")
    figure, (curve, bars) = axes([3.9, 2.9], height=3.4, gap=1.35)
    for name, u in uncertainties.items():
        c = metrics.accuracy_rejection_curve(probs, target, u)
        c = c[c["kept"] >= min(20, len(c))]  # fewer are all noise
        label = f"${name}$" if name in plots.COLOURS else name
        curve.plot(
            c["coverage"], c["accuracy"], color=plots.COLOURS.get(name, "0.4"), label=label,
            linewidth=2.2 if name == by else 1.0,
        )  # fmt: skip
        if name == by:
            accuracy = metrics.accuracy_at_coverage(probs, target, u, kept / len(order))
    curve.plot(kept / len(order), accuracy, "o", color="0.1", markersize=9, markerfacecolor="none")
    threshold = f"above {values[order[kept - 1]]:.3f} nat" if kept < len(order) else "nothing"
    curve.set(xlabel="coverage (share kept)", ylabel="accuracy of those kept", xlim=(1.02, 0))
    title(curve, f"keep {kept / len(order):.0%}: accuracy {accuracy:.1%}; rejected: {threshold}")
    curve.legend(fontsize=8, loc="upper left")

    out = np.zeros(len(order), dtype=bool)
    out[order[kept:]] = True
    of = np.asarray(groups[group])
    names = list(dict.fromkeys(of.tolist())) if of.dtype.kind in "OU" else sorted(set(of.tolist()))
    share, count = zip(*((out[of == name].mean(), (of == name).sum()) for name in names), strict=True)
    rows = np.arange(len(names))
    bars.barh(rows, share, color=plots.COLOURS.get(by, "0.4"), linewidth=0)
    bars.axvline(out.mean(), color="0.1", linestyle="--", linewidth=1)
    bars.set_yticks(rows, [f"{name} ({n})" for name, n in zip(names, count, strict=True)], fontsize=8)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1), xlabel="share rejected (dashed: of all)")
    title(bars, f"who is rejected, by {group} (examples)")
    return figure


def controls(probs: Values, target: Values, uncertainties: dict[str, Values], groups: dict[str, np.ndarray]) -> VBox:
    """The panel below its sliders."""
    return explore(
        lambda **values: panel(probs, target, uncertainties, groups, **values),
        by=Dropdown(options=list(uncertainties), description="reject by"),
        rejected=FloatSlider(0.25, min=0, max=0.95, step=0.05, readout_format=".0%"),
        group=Dropdown(options=list(groups)),
    )
