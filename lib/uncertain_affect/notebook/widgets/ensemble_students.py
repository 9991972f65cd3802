"""Ensemble and students: what more members buy, and what becomes of disagreement when students learn from them."""

import numpy as np
from ipywidgets import Dropdown, IntSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect import metrics
from uncertain_affect.metrics.inputs import Values, as_float64, as_numpy, check_probabilities
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, explore, title


def nll(probs: np.ndarray, target: np.ndarray) -> float:
    """Mean negative log-likelihood in nats of probabilities (N, C) under labels or label distributions (N, C)."""
    return float(-(target * np.log(np.clip(probs, 1e-12, None))).sum(-1).mean())


def panel(said: dict[str, Values], target: Values, *, members: int, generation: str) -> Figure:
    """NLL against the number of members for each generation, and the parts of the uncertainty by generation.

    Args:
        said: by generation, in order, probabilities (M, N, C) of its members.
        target: (N, C) distribution of the label, one-hot where a label is all there is.
        members: how many of the M are asked, at least 1.
        generation: which one is marked.

    Raises:
        ValueError: no generation, an unknown one, more members than there are, or numbers that are not probabilities.
    """
    if generation not in said:
        raise ValueError(f"generation is {generation!r}: expected one of {', '.join(said) or 'none: none is given'}")
    arrays = {name: as_numpy(as_float64(p)) for name, p in said.items()}
    for name, p in arrays.items():
        check_probabilities(p, f"probabilities of {name}")
        if not 1 <= members <= len(p):
            raise ValueError(f"members is {members}: {name} has 1 to {len(p)}")
    target = as_numpy(as_float64(target))
    figure, (left, right) = axes([3.6, 3.4], height=3.4)
    for name, p in arrays.items():
        counts = np.arange(1, len(p) + 1)
        values = [nll(p[:k].mean(0), target) for k in counts]
        width = 2.4 if name == generation else 1.0
        left.plot(
            counts, values, marker="o", markersize=4, color=plots.COLOURS.get(name, "0.4"), label=name, linewidth=width
        )
        if name == generation:
            left.plot(members, values[members - 1], "o", color="0.1", markersize=11, markerfacecolor="none")
            marked = values[members - 1]
    left.set(xlabel="members asked", ylabel="NLL of their mean (nat)", xticks=counts)
    title(left, f"{generation}, {members} of {len(arrays[generation])}: {marked:.3f} nat")
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    left.legend(fontsize=8, loc="upper center", ncols=4, columnspacing=1, handlelength=1.2)

    parts = {name: metrics.entropy_decomposition(p[:members], normalise=True) for name, p in arrays.items()}
    rows = np.arange(len(parts))
    aleatoric, epistemic = (
        np.array([float(getattr(u, kind).mean()) for u in parts.values()]) for kind in ("aleatoric", "epistemic")
    )
    right.barh(rows, aleatoric, color=plots.COLOURS["U_a"], label="$U_a$", linewidth=0)
    right.barh(rows, epistemic, left=aleatoric, color=plots.COLOURS["U_e"], label="$U_e$", linewidth=0)
    for row, a, e in zip(rows, aleatoric, epistemic, strict=True):
        right.text(a + e + 0.02, row, f"{a:.2f} + {e:.3f}", fontsize=8, va="center")
    right.set_yticks(rows, list(parts))
    right.invert_yaxis()
    right.set(xlim=(0, 1.35), xlabel="mean uncertainty / log C (most: 1)", xticks=[0, 0.25, 0.5, 0.75, 1])
    title(right, f"of {members} member{'s' if members > 1 else ', which cannot disagree'}")
    right.legend(fontsize=8, loc="lower right")
    return figure


def controls(said: dict[str, Values], target: Values) -> VBox:
    """The panel below its sliders."""
    most = min(len(p) for p in said.values())
    return explore(
        lambda **values: panel(said, target, **values),
        members=IntSlider(most, 1, most),
        generation=Dropdown(options=list(said)),
    )
