"""Ensemble and students: what more members buy, and what becomes of disagreement when students learn from them."""

import numpy as np
from ipywidgets import Dropdown, IntSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect import metrics
from uncertain_affect.metrics.inputs import Values, check_probabilities
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, bars, explore, finish, numbers, ring


def nll(probs: np.ndarray, target: np.ndarray) -> float:
    """Mean negative log-likelihood in nats of probabilities (N, C) under labels or label distributions (N, C)."""
    return float(-(target * np.log(np.clip(probs, 1e-12, None))).sum(-1).mean())


def panel(probs: dict[str, Values], target: Values, *, members: int, generation: str) -> Figure:
    """NLL against the number of members for each generation, and the parts of the uncertainty by generation.

    Args:
        probs: by generation, in order, probabilities (M, N, C) of its members.
        target: (N, C) distribution of the label, one-hot where a label is all there is.
        members: how many of the M are asked, at least 1.
        generation: which one is marked.

    Raises:
        ValueError: numbers that are not probabilities.
    """
    probs, target = {name: numbers(p) for name, p in probs.items()}, numbers(target)
    for name, p in probs.items():
        check_probabilities(p, f"probabilities of {name}")
    figure, (left, right) = axes([3.6, 3.4], height=3.4)
    for name, p in probs.items():
        counts = np.arange(1, len(p) + 1)
        values = [nll(p[:k].mean(0), target) for k in counts]
        style = {"color": plots.COLOURS.get(name, "0.4"), "linewidth": 2.4 if name == generation else 1.0}
        left.plot(counts, values, marker="o", markersize=4, label=name, **style)
        if name == generation:
            marked = values[members - 1]
            ring(left, members, marked, 11)
    heading = f"{generation}, {members} of {len(probs[generation])}: {marked:.3f} nat"
    finish(left, heading, xlabel="members asked", ylabel="NLL of their mean (nat)", xticks=counts)
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    left.legend(fontsize=8, loc="upper center", ncols=4, columnspacing=1, handlelength=1.2)

    parts = [metrics.entropy_decomposition(p[:members], normalise=True) for p in probs.values()]
    aleatoric, epistemic = np.array([(u.aleatoric.mean(), u.epistemic.mean()) for u in parts]).T
    rows = bars(right, list(probs), aleatoric, color=plots.COLOURS["U_a"], label="$U_a$")
    right.barh(rows, epistemic, left=aleatoric, color=plots.COLOURS["U_e"], label="$U_e$", linewidth=0)
    for row, a, e in zip(rows, aleatoric, epistemic, strict=True):
        right.text(a + e + 0.02, row, f"{a:.2f} + {e:.3f}", fontsize=8, va="center")
    right.set(xlim=(0, 1.35), xlabel="mean uncertainty / log C (most: 1)", xticks=[0, 0.25, 0.5, 0.75, 1])
    finish(right, f"of {members} member{'s' if members > 1 else ', which cannot disagree'}", "lower right")
    return figure


def controls(probs: dict[str, Values], target: Values) -> VBox:
    """The panel below its sliders."""
    most = min(len(p) for p in probs.values())
    return explore(panel, probs, target, members=IntSlider(most, 1, most), generation=Dropdown(options=list(probs)))
