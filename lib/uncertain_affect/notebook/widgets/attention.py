"""Attention: choose a talkturn of a conversation, and see how much weight it has and where it lies in its words."""

from collections.abc import Sequence

import numpy as np
from ipywidgets import ToggleButtons, VBox
from matplotlib.figure import Figure

from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, explore, title


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
    if not len(turns):
        raise ValueError("no talkturn is given")
    if not 0 <= turn < len(turns):
        raise ValueError(f"turn is {turn}: there are {len(turns)}, counted from 0")
    if len(words[turn]) == 0 or len(words[turn]) != len(weights[turn]):
        raise ValueError(f"talkturn {turn} has {len(words[turn])} words and {len(weights[turn])} weights")
    of_turns, of_words = np.asarray(turns, dtype=float), np.asarray(weights[turn], dtype=float)
    for name, values in (("talkturn", of_turns), (f"talkturn {turn}, word", of_words)):
        bad = ~(values >= 0)  # NaN too
        if bad.any():
            raise ValueError(f"attention to {name} {bad.argmax()} is {values[bad.argmax()]}")
    height = max(2.6, 1.2 + 0.19 * len(of_words))
    figure, (left, right) = axes([2.6, 4.2], height=height, gap=1.6)
    rows = np.arange(len(of_turns))
    colours = [plots.COLOURS["UncNet"] if row == turn else "0.75" for row in rows]
    left.barh(rows, of_turns * len(of_turns), color=colours, linewidth=0)
    left.set_yticks(rows, names(len(of_turns)))
    left.set(xlabel="times an even share")
    title(left, "attention to talkturns")
    places = np.arange(len(of_words))
    right.barh(places, of_words * len(of_words), color=plots.COLOURS["UncNet"], linewidth=0)
    right.set_yticks(places, words[turn], fontsize=8)
    right.set(xlabel="times an even share")
    title(right, f"to the words of {names(len(of_turns))[turn]}")
    for ax in (left, right):
        ax.axvline(1, color="0.1", linestyle="--", linewidth=1)
        ax.invert_yaxis()
    return figure


def controls(turns: Sequence[float], words: Sequence[Sequence[str]], weights: Sequence[Sequence[float]]) -> VBox:
    """The panel below a button for each talkturn, the last chosen."""
    options = [(name, i) for i, name in enumerate(names(len(turns)))]
    return explore(
        lambda turn: panel(turns, words, weights, turn=turn),
        turn=ToggleButtons(options=options, value=len(turns) - 1, description="talkturn"),
    )
