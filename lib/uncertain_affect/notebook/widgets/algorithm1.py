"""Algorithm 1: drag the validation scores of three tasks epoch by epoch, and watch the weights follow."""

import numpy as np
import torch
from ipywidgets import Checkbox, FloatSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect.losses.distill import balancing_trace
from uncertain_affect.metrics.inputs import Values
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, explore, finish, numbers

TASKS = ("AU", "EXPR", "VA")
# three tasks of which one stops improving, then comes back
SCORES = np.array([[0.30, 0.30, 0.10], [0.38, 0.29, 0.18], [0.44, 0.28, 0.24], [0.48, 0.28, 0.28], [0.50, 0.27, 0.30],
                   [0.52, 0.33, 0.31]])  # fmt: skip
STYLES = [{"color": plots.COLOURS[name], "marker": m} for name, m in (("Baseline", "o"), ("UncNet", "s"), ("U_a", "^"))]


def panel(scores: Values, *, released: bool = False) -> Figure:
    """Validation scores by epoch, and the weight of each task in the next epoch's loss.

    Args:
        scores: (E, 3), higher is better.
        released: as the released code does it, not as printed.
    """
    values = numbers(scores)
    weights = balancing_trace(torch.from_numpy(values), released=released).numpy()
    figure, (left, right) = axes([3.4, 3.4], height=3.2)
    epochs, following = np.arange(1, len(values) + 1), np.arange(1, len(values) + 2)
    stale = np.vstack([np.zeros(len(TASKS), bool), values[1:] <= np.maximum.accumulate(values, 0)[:-1]])
    for t, task in enumerate(TASKS):
        left.plot(epochs, values[:, t], label=task, **STYLES[t])
        left.plot(epochs[stale[:, t]], values[stale[:, t], t], "x", color="0.1", markersize=9)
        right.step(following, weights[:, t], where="mid", label=task, **STYLES[t])
    finish(left, "× no better than the best so far", xlabel="epoch", ylabel="validation score")
    how = "released" if released else "printed"
    finish(right, f"weights, as {how}", xlabel="used in epoch", ylabel="share of the loss")
    for ax in (left, right):
        ax.set(xlim=(0.5, len(values) + 1.5), ylim=(0, 1), xticks=following)
        ax.legend(fontsize=8, ncols=3, loc="upper left")
    return figure


def controls(scores: np.ndarray = SCORES) -> VBox:
    """The panel below a slider for every score."""
    sliders = {}
    for (epoch, t), score in np.ndenumerate(scores):
        name = f"{TASKS[t]}, epoch {epoch + 1}"
        sliders[name] = FloatSlider(score, min=0, max=1, step=0.01, description=name)

    def moved(released: bool, **values: float) -> Figure:
        return panel(np.reshape([*values.values()], scores.shape), released=released)

    return explore(moved, released=Checkbox(value=False, description="as released"), **sliders)
