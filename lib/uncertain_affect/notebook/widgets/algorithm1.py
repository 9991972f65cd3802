"""Algorithm 1: drag the validation scores of three tasks epoch by epoch, and watch the weights follow."""

import numpy as np
import torch
from ipywidgets import Checkbox, FloatSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect.losses.distill import balancing_trace
from uncertain_affect.metrics.inputs import Values, as_float64, as_numpy
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, explore, title

TASKS = ("AU", "EXPR", "VA")
# three tasks of which one stops improving, then comes back
SCORES = np.array([[0.30, 0.30, 0.10], [0.38, 0.29, 0.18], [0.44, 0.28, 0.24], [0.48, 0.28, 0.28], [0.50, 0.27, 0.30],
                   [0.52, 0.33, 0.31]])  # fmt: skip
STYLES = dict(zip(TASKS, zip(("Baseline", "UncNet", "U_a"), "os^", strict=True), strict=True))


def panel(scores: Values, *, released: bool = False) -> Figure:
    """Validation scores by epoch, and the weight of each task in the next epoch's loss.

    Args:
        scores: (E, 3), higher is better.
        released: as the released code does it, not as printed.

    Raises:
        ValueError: no epoch, another number of tasks, or a NaN, naming task and epoch.
    """
    values = as_numpy(as_float64(scores))
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] != len(TASKS):
        raise ValueError(f"scores have shape {values.shape}: expected (epochs, {len(TASKS)}) with at least one epoch")
    if np.isnan(values).any():
        epoch, task = np.argwhere(np.isnan(values))[0]
        raise ValueError(f"the score of {TASKS[task]} in epoch {epoch + 1} is NaN")
    weights = balancing_trace(torch.from_numpy(values), released=released).numpy()
    figure, (left, right) = axes([3.4, 3.4], height=3.2)
    epochs = np.arange(1, len(values) + 1)
    best = np.maximum.accumulate(values, 0)
    stale = np.vstack([np.zeros(len(TASKS), bool), values[1:] <= best[:-1]])
    for t, task in enumerate(TASKS):
        colour, marker = STYLES[task]
        left.plot(epochs, values[:, t], marker=marker, color=plots.COLOURS[colour], label=task)
        left.plot(epochs[stale[:, t]], values[stale[:, t], t], "x", color="0.1", markersize=9)
        right.step(
            np.r_[epochs, epochs[-1] + 1],
            weights[:, t],
            where="mid",
            marker=marker,
            color=plots.COLOURS[colour],
            label=task,
        )
    left.set(xlabel="epoch", ylabel="validation score", xlim=(0.5, len(values) + 1.5))
    title(left, "× no better than the best so far")
    right.set(xlabel="used in epoch", ylabel="share of the loss", ylim=(0, 1), xlim=(0.5, len(values) + 1.5))
    title(right, "weights, " + ("as released" if released else "as printed"))
    for ax in (left, right):
        ax.set_xticks(np.r_[epochs, epochs[-1] + 1])
        ax.legend(fontsize=8, ncols=3, loc="upper left")
    left.set_ylim(0, 1)
    return figure


def controls(scores: np.ndarray = SCORES) -> VBox:
    """The panel below a slider for every score."""
    sliders = {
        f"{task}_{epoch + 1}": FloatSlider(
            scores[epoch, t], min=0, max=1, step=0.01, description=f"{task}, epoch {epoch + 1}"
        )
        for epoch in range(len(scores))
        for t, task in enumerate(TASKS)
    }

    def moved(released: bool, **values: float) -> Figure:
        return panel(np.array(list(values.values())).reshape(len(scores), len(TASKS)), released=released)

    return explore(moved, released=Checkbox(value=False, description="as released"), **sliders)
