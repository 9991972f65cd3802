"""Experts and gate: whom a mixture of personal experts asks about a new person, as it adapts to that person."""

from collections.abc import Mapping, Sequence

import numpy as np
from ipywidgets import Dropdown, SelectionSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, explore, title

DIMENSIONS = ("valence", "arousal")


def panel(
    gate: Mapping[int, np.ndarray],
    score: Mapping[int, np.ndarray],
    experts: Sequence[str],
    people: Sequence[str],
    *,
    person: str,
    share: int,
) -> Figure:
    """Gate weights of one person before adaptation and after it, and how well valence and arousal are estimated.

    Args:
        gate: by share of the person's frames adapted on, in per cent and 0 among them: mean gate weights (P, n_s).
        score: by share, CCC (P, 2) of valence and arousal.
        experts: names of the n_s people that have an expert.
        people: names of the P people adapted to.
        person, share: which of them.

    Raises:
        ValueError: an unknown person or share, or gate weights that are NaN or do not sum to one, naming the row.
    """
    if person not in people:
        raise ValueError(f"person is {person!r}: expected one of {', '.join(people) or 'none: none is given'}")
    for name, table in (("gate", gate), ("score", score)):
        if share not in table or 0 not in table:
            raise ValueError(f"{name} knows the shares {', '.join(map(str, table))} %, not 0 and {share}")
    row = list(people).index(person)
    for n in (0, share):
        weights = np.asarray(gate[n][row], dtype=float)
        if weights.shape != (len(experts),) or not abs(weights.sum() - 1) < 1e-3:  # NaN too
            raise ValueError(
                f"gate weights of {person} after {n}% are {weights}: expected {len(experts)} that sum to 1"
            )
    before, after = (np.asarray(gate[n][row], dtype=float) for n in (0, share))
    figure, (bars, lines) = axes([3.6, 3.0], height=3.4, left=1.0)
    rows = np.arange(len(experts))
    bars.barh(rows, after, color=plots.COLOURS["UncNet"], linewidth=0, label=f"after {share}%")
    bars.plot(before, rows, "d", color="0.1", markersize=6, markerfacecolor="none", label="before")
    bars.axvline(1 / len(experts), color="0.5", linestyle="--", linewidth=1)
    bars.set_yticks(rows, experts, fontsize=8)
    bars.invert_yaxis()
    bars.set(xlim=(0, max(0.5, 1.1 * max(before.max(), after.max()))), xlabel="mean gate weight (dashed: all alike)")
    title(bars, f"whom the gate asks about {person}")
    bars.legend(fontsize=8, loc="lower right")

    shares = sorted(score)
    ccc = np.array([np.asarray(score[n][row], dtype=float) for n in shares])
    for d, (dimension, line) in enumerate(zip(DIMENSIONS, ("-", "--"), strict=True)):
        lines.plot(shares, ccc[:, d], line, marker="o", markersize=4, color=plots.COLOURS["UncNet"], label=dimension)
        lines.plot(share, ccc[shares.index(share), d], "o", color="0.1", markersize=10, markerfacecolor="none")
    lines.axhline(0, color="0.6", linewidth=1)
    lines.set(xlabel="share of frames adapted on (%)", ylabel="CCC on other frames")
    title(lines, ", ".join(f"{d} {c:.2f}" for d, c in zip(DIMENSIONS, ccc[shares.index(share)], strict=True)))
    lines.legend(fontsize=8, loc="lower right")
    return figure


def controls(
    gate: Mapping[int, np.ndarray], score: Mapping[int, np.ndarray], experts: Sequence[str], people: Sequence[str]
) -> VBox:
    """The panel below its sliders."""
    return explore(
        lambda **values: panel(gate, score, experts, people, **values),
        person=Dropdown(options=list(people)),
        share=SelectionSlider(options=[(f"{n}%", n) for n in sorted(gate)], description="adapted on"),
    )
