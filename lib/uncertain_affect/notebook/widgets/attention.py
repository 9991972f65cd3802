"""Attention: choose a talkturn of a conversation, and see how much weight it has and where it lies in its words."""

from collections.abc import Sequence

import numpy as np
from ipywidgets import ToggleButtons, VBox
from matplotlib.figure import Figure

from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, bars, choice, explore, finish


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

    Raises:
        ValueError: no talkturn, one that is not there or has no words, or weights that are NaN, naming the place.
    """
    choice("turn", turn, range(len(turns)))
    if len(words[turn]) == 0 or len(words[turn]) != len(weights[turn]):
        raise ValueError(f"talkturn {turn} has {len(words[turn])} words and {len(weights[turn])} weights")
    turns, weights = np.asarray(turns, dtype=float), np.asarray(weights[turn], dtype=float)
    for name, values in (("talkturn", turns), (f"talkturn {turn}, word", weights)):
        bad = ~(values >= 0)  # NaN too
        if bad.any():
            raise ValueError(f"attention to {name} {bad.argmax()} is {values[bad.argmax()]}")
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
