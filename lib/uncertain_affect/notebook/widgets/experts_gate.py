"""Experts and gate: whom a mixture of personal experts asks about a new person, as it adapts to that person."""

from collections.abc import Mapping, Sequence

import numpy as np
from ipywidgets import Dropdown, SelectionSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, bars, explore, finish, ring

DIMENSIONS = ("valence", "arousal")
ByShare = Mapping[int, np.ndarray]
Names = Sequence[str]


def panel(gate: ByShare, score: ByShare, experts: Names, people: Names, *, person: str, share: int) -> Figure:
    """Gate weights of one person before adaptation and after it, and how well valence and arousal are estimated.

    Args:
        gate: by share of the person's frames adapted on, in per cent and 0 among them: mean gate weights (P, n_s).
        score: by share, CCC (P, 2) of valence and arousal.
        experts: names of the n_s people that have an expert.
        people: names of the P people adapted to.
        person, share: which of them.
    """
    row = list(people).index(person)
    before, after = (np.asarray(gate[n][row], dtype=float) for n in (0, share))
    figure, (asked, lines) = axes([3.6, 3.0], height=3.4, left=1.0)
    rows = bars(asked, experts, after, color=plots.COLOURS["UncNet"], label=f"after {share}%")
    asked.plot(before, rows, "d", color="0.1", markersize=6, markerfacecolor="none", label="before")
    asked.axvline(1 / len(experts), color="0.5", linestyle="--", linewidth=1)
    asked.set(xlim=(0, max(0.5, 1.1 * max(before.max(), after.max()))), xlabel="mean gate weight (dashed: all alike)")
    finish(asked, f"whom the gate asks about {person}", "lower right")

    shares = sorted(score)
    ccc = np.array([np.asarray(score[n][row], dtype=float) for n in shares])
    for d, (dimension, line) in enumerate(zip(DIMENSIONS, ("-", "--"), strict=True)):
        lines.plot(shares, ccc[:, d], line, marker="o", markersize=4, color=plots.COLOURS["UncNet"], label=dimension)
        ring(lines, share, ccc[shares.index(share), d], 10)
    lines.axhline(0, color="0.6", linewidth=1)
    heading = ", ".join(f"{d} {c:.2f}" for d, c in zip(DIMENSIONS, ccc[shares.index(share)], strict=True))
    finish(lines, heading, "lower right", xlabel="share of frames adapted on (%)", ylabel="CCC on other frames")
    return figure


def controls(gate: ByShare, score: ByShare, experts: Names, people: Names) -> VBox:
    """The panel below its sliders."""
    widgets = {
        "person": Dropdown(options=list(people)),
        "share": SelectionSlider(options=[(f"{n}%", n) for n in sorted(gate)], description="adapted on"),
    }
    return explore(panel, gate, score, experts, people, **widgets)
