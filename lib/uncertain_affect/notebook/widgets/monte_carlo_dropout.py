"""Monte Carlo dropout: how many passes the three uncertainties need, and what the dropout rate does to them."""

import numpy as np
import torch
from ipywidgets import IntSlider, SelectionSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect import metrics
from uncertain_affect.metrics.inputs import Values, check_probabilities
from uncertain_affect.models.uncnet import UncNet, mc_dropout
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, explore, finish, numbers, ring

N_PASSES = 500
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def draw(models: dict[float, UncNet], x: torch.Tensor, generator: torch.Generator, n: int = N_PASSES):
    """Probabilities (n, N, C) of n passes for each dropout rate, which the panel reads from."""
    return {rate: mc_dropout(model, x, n, generator) for rate, model in models.items()}


def running(probs: np.ndarray) -> np.ndarray:
    """U_t, U_a and U_e (3, T, ...) of the first 1 to T of passes (T, ..., C), in nats."""
    t = np.arange(1, len(probs) + 1).reshape(-1, *[1] * (probs.ndim - 2))
    total = metrics.entropy(np.cumsum(probs, 0) / t[..., None])
    aleatoric = np.cumsum(metrics.entropy(probs), 0) / t
    return np.stack([total, aleatoric, (total - aleatoric).clip(min=0)])


def panel(passes: dict[float, Values], *, rate: float, n_passes: int = 20, face: int = 0) -> Figure:
    """Uncertainties of one face as passes are added, and those of all faces beside what all passes say.

    Args:
        passes: by dropout rate, probabilities (T, N, C), from :func:`draw`.
        rate: which of them.
        n_passes: how many of the T are used.
        face: which of the N.

    Raises:
        ValueError: numbers that are not probabilities.
    """
    probs = numbers(passes[rate])
    check_probabilities(probs, f"passes at rate {rate}")
    n_most, n_faces, _ = probs.shape
    blocks = n_most // n_passes  # as many independent draws of n passes as there are
    curves = running(probs[: blocks * n_passes, face].reshape(blocks, n_passes, -1).swapaxes(0, 1))  # (3, T, blocks)
    some, all_ = (metrics.entropy_decomposition(probs[:k, :]) for k in (n_passes, n_most))
    figure, (course, scatter) = axes([3.8, 3.1], height=3.4)
    t = np.arange(1, n_passes + 1)
    for name, c in zip(("U_t", "U_a", "U_e"), curves, strict=True):
        course.plot(t, c[:, 1:6], color=plots.COLOURS[name], alpha=0.3, linewidth=0.8)
        course.plot(t, c[:, 0], color=plots.COLOURS[name], label=f"${name}$")
    course.set(xscale="log", xlim=(0.9, max(2, n_passes)), ylim=(0, 1.35 * float(curves[0].max()) + 1e-3))
    marks = [k for k in COUNTS if k <= max(2, n_passes)]
    course.set_xticks(marks, [str(k) for k in marks])
    course.minorticks_off()
    heading = f"face {face}: one draw, and up to five more"
    finish(course, heading, "upper right", xlabel="passes", ylabel="uncertainty (nat)")

    far = 1.05 * max(float(some.epistemic.max()), float(all_.epistemic.max()), 1e-3)
    scatter.plot([0, far], [0, far], "--", color="0.6", linewidth=1)
    scatter.plot(all_.epistemic, some.epistemic, ".", color=plots.COLOURS["U_e"], markersize=4)
    ring(scatter, all_.epistemic[face], some.epistemic[face])
    scatter.set(xlabel=f"$U_e$ from {n_most} passes (nat)", ylabel=f"$U_e$ from {n_passes} (nat)")
    heading = f"{n_faces} faces: mean {some.epistemic.mean():.4f}, of all passes {all_.epistemic.mean():.4f}"
    finish(scatter, heading, xlim=(0, far), ylim=(0, far))
    return figure


def controls(passes: dict[float, Values]) -> VBox:
    """The panel below its sliders."""
    n_most, n_faces, _ = next(iter(passes.values())).shape
    counts = [*(k for k in COUNTS if k < n_most), n_most]
    widgets = {
        "rate": SelectionSlider(options=list(passes), description="dropout rate"),
        "n_passes": SelectionSlider(options=counts, value=min(20, n_most), description="passes"),
        "face": IntSlider(0, 0, n_faces - 1),
    }
    return explore(panel, passes, **widgets)
