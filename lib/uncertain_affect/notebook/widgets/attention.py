"""Attention: choose a talkturn of a conversation, and see how much weight it has and where it lies in its words."""

from collections.abc import Sequence

import numpy as np
from ipywidgets import ToggleButtons, VBox
from matplotlib.figure import Figure

from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, bars, explore, finish


def names(n: int) -> list[str]:
    """What n talkturns are called, oldest first: the last is i."""
    return [f"i-{back}" if back else "i" for back in range(n - 1, -1, -1)]


def panel(
    turns: Sequence[float], words: Sequence[Sequence[str]], weights: Sequence[Sequence[float]], *, turn: int
) -> Figure:
    """Weights of the talkturns, and of the words of one of them, as multiples of an even share.

    Args:
        turns: (L,) attention to each talkturn read, oldest first.
        words: the words of each.
        weights: the attention to each of these words within its talkturn.
        turn: which talkturn's words are shown, from 0.
    """
    turns, weights = np.asarray(turns, dtype=float), np.asarray(weights[turn], dtype=float)
    height = max(2.6, 1.2 + 0.19 * len(weights))
    figure, (left, right) = axes([2.6, 4.2], height=height, gap=1.6)
    called, chosen = names(len(turns)), plots.COLOURS["UncNet"]
    bars(left, called, turns * len(turns), color=[chosen if i == turn else "0.75" for i in range(len(turns))])
    bars(right, words[turn], weights * len(weights), color=chosen)
    for ax, heading in ((left, "attention to talkturns"), (right, f"to the words of {called[turn]}")):
        ax.axvline(1, color="0.1", linestyle="--", linewidth=1)
        finish(ax, heading, xlabel="times an even share")
    return figure


def controls(turns: Sequence[float], words: Sequence[Sequence[str]], weights: Sequence[Sequence[float]]) -> VBox:
    """The panel below a button for each talkturn, the last chosen."""
    options = [(name, i) for i, name in enumerate(names(len(turns)))]
    buttons = ToggleButtons(options=options, value=len(turns) - 1, description="talkturn")
    return explore(panel, turns, words, weights, turn=buttons)
