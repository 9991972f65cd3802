"""The shared figure style, and the drawings that more than one notebook needs."""

from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from uncertain_affect.evidence.claims import Ranks

# colour-blind safe, and the same method keeps its colour in every figure
METHODS = ("Baseline", "UncNet", "U_a", "U_e", "U_t", "GN-D", "UGN")
COLOURS = dict(zip(METHODS, sns.color_palette("colorblind"), strict=False))
COLOURS["UncNet, dropout off"] = (0.45, 0.45, 0.45)
COLOURS |= {"one rate, dropout off": (0.7, 0.7, 0.7), "one rate, dropout on": (0.8, 0.65, 0.45)}
COLOURS |= dict(zip(["Tea", "Stu1", "Stu2", "Stu3", "TS", "MC"], sns.color_palette("dark"), strict=False))
# what was measured, whatever the method, where it stands beside what is printed
COLOURS |= {"printed": (0.0, 0.0, 0.0), "recordings": (0.0, 0.267, 0.533), "simulated": (0.867, 0.667, 0.2)}

LINE = 100  # characters of the smallest size in a line of marked text


def style() -> None:
    """Set the look of all figures and tables of a notebook: sentences in cells are not cut."""
    sns.set_theme(context="notebook", style="whitegrid", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 90, "axes.titlelocation": "left", "legend.frameon": False})
    pd.set_option("display.max_colwidth", None)


def reliability_diagram(curves: dict[str, pd.DataFrame], ax: Axes) -> Axes:
    """Accuracy against confidence per bin, one line per method, the diagonal being perfect calibration.

    Args:
        curves: method -> frame with columns ``confidence``, ``accuracy`` and ``weight`` (share of the
            predictions in the bin, shown by the size of the marker); empty bins are left out.
    """
    ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="perfect")
    for name, curve in curves.items():
        filled = curve[curve["weight"] > 0]
        share = filled["weight"] / filled["weight"].sum()
        ax.plot(filled["confidence"], filled["accuracy"], color=COLOURS.get(name), label=name)
        ax.scatter(filled["confidence"], filled["accuracy"], s=10 + 200 * share, color=COLOURS.get(name), alpha=0.6)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend(loc="upper left")
    return ax


def vote_histograms(votes: np.ndarray, classes: tuple[str, ...], titles: list[str], images: np.ndarray | None = None):
    """A column for each face: the histogram of its votes (n, C), and above it the face where there are ``images``."""
    rows = 1 if images is None else 2
    fig, axes = plt.subplots(rows, len(votes), figsize=(2.1 * len(votes), 2.6 * rows), squeeze=False, sharey="row")
    for bars, counts, top, title in zip(axes[-1], votes, axes[0], titles, strict=True):
        bars.barh(range(len(classes)), counts, color="0.4")
        bars.set_yticks(range(len(classes)), classes)
        bars.set(xlim=(0, 10), xlabel="votes", ylim=(len(classes) - 0.5, -0.5))
        top.set_title(title, fontsize=9)
    for face, image in zip(axes[0], [] if images is None else images, strict=images is not None):
        face.imshow(image, cmap="gray", vmin=0, vmax=255)
        face.axis("off")
    fig.tight_layout(rect=(0, 0, 1, 0.95))  # room for a title over all columns
    return fig


def strips(effects: pd.DataFrame, ax: Axes) -> Axes:
    """Measured effects with their intervals beside the printed ones, a row each on a scale of its own.

    Zero is in the middle, and what is claimed on the right, on grey.

    Args:
        effects: ``label``, ``printed``, ``effect``, ``low``, ``high``, ``answer`` and ``corpus``; what is claimed is
            positive. See :func:`uncertain_affect.run.scoreboard.drawn`.
    """
    ax.axvspan(0, 1.1, color="0.93", linewidth=0)
    ax.axvline(0, color="0.3", linewidth=0.8)
    for y, row in enumerate(effects.itertuples()):
        most = np.nanmax(np.abs([row.printed, row.effect, row.low, row.high])) or 1.0
        colour = COLOURS["simulated" if row.corpus == "simulated" else "recordings"]
        ax.plot([row.low / most, row.high / most], [y, y], color=colour)
        ax.plot(row.effect / most, y, "o", markersize=6, color=colour)
        if not np.isnan(row.printed):
            ax.plot(row.printed / most, y, "D", markersize=5, color=COLOURS["printed"], markerfacecolor="none")
        ax.text(1.13, y, row.answer, va="center", fontsize=8)
    labels = ["\n".join(wrap(row.label, 62)) for row in effects.itertuples()]
    ax.set_yticks(range(len(effects)), labels, fontsize=8)
    ax.set(xlim=(-1.1, 1.1), ylim=(len(effects) - 0.5, -0.5), xticks=[])
    ax.grid(False)
    return ax


def answers(effects: pd.DataFrame):
    """The figure at the head of a notebook: :func:`strips` of its claims, with what the signs mean."""
    fig, ax = plt.subplots(figsize=(8, 0.45 * max(len(effects), 1) + 0.6))
    strips(effects, ax).set_title("diamond: printed, dot and line: measured, on grey: as claimed", fontsize=9)
    return fig


def block_diagram(blocks: list[tuple[str, str, bool]], title: str):
    """A row of boxes joined by arrows: (name, output size, frozen or unused) in the order data flows."""
    fig, ax = plt.subplots(figsize=(1.35 * len(blocks), 1.9))
    for i, (name, size, frozen) in enumerate(blocks):
        colour = "0.88" if frozen else sns.color_palette("colorblind")[0] + (0.35,)
        ax.add_patch(FancyBboxPatch((i, 0), 0.72, 1, boxstyle="round,pad=0.04", facecolor=colour, edgecolor="0.3"))
        ax.text(i + 0.36, 0.5, name, ha="center", va="center", fontsize=8)
        ax.text(i + 0.36, -0.28, size, ha="center", va="center", fontsize=7, color="0.3")
        if i:
            ax.annotate("", (i - 0.05, 0.5), (i - 0.24, 0.5), arrowprops={"arrowstyle": "->", "color": "0.3"})
    ax.set(xlim=(-0.1, len(blocks)), ylim=(-0.5, 1.3), title=title)
    ax.axis("off")
    return fig


def marked_text(turns: list, word_levels: list, labels: list[str], ax: Axes, turn_levels: list | None = None) -> Axes:
    """Talkturns as lines of words, larger and darker the higher their level, each with a label before it.

    Args:
        turns, word_levels: a list of words for each turn, and one of their levels from 0 to 3.
        labels: of the turns, one each.
        turn_levels: levels of the turns themselves, from 0 to 3, shown as the shade of the label's box.
    """
    shades = sns.color_palette("Blues", 7)[2:]
    colours = [(0.62, 0.62, 0.62), shades[2], shades[3], "black"]
    line = 0
    for i, (words, levels, label) in enumerate(zip(turns, word_levels, labels, strict=True)):
        shade = "white" if turn_levels is None else shades[turn_levels[i]]
        box = {"boxstyle": "square", "facecolor": shade, "edgecolor": "0.4"}
        ax.text(0, -line, label, fontsize=8, va="center", bbox=box)
        column = 0
        for word, level in zip(words, levels, strict=True):
            length = len(word) * (7 + level) / 7  # in characters of the smallest size
            if column + length > LINE:
                line, column = line + 1, 0
            # one width for all characters, so that words need not be measured to be placed
            style = {"fontsize": 7 + level, "family": "monospace", "weight": "bold" if level >= 2 else "normal"}
            ax.text(0.12 + 0.88 * column / LINE, -line, word, color=colours[level], va="center", **style)
            column += length + 2
        line += 1.35
    ax.set(xlim=(0, 1), ylim=(-line, 0.8))
    ax.axis("off")
    return ax


def critical_difference(ranks: Ranks, title: str, ax: Axes) -> Axes:
    """Mean ranks on a line, best on the left; bars join methods that do not differ (Demšar 2006, figure 1)."""
    values, n = list(ranks.mean.values()), len(ranks.mean)
    low, high = 1.0, float(n)
    for i, (method, rank) in enumerate(ranks.mean.items()):
        y, end, side = (-1 - i, low - 0.3, "right") if i < -(-n // 2) else (i - n, high + 0.3, "left")
        ax.plot([rank, rank, end], [0, y, y], color="0.4", linewidth=0.9)
        ax.text(end, y, f" {method}, {rank:.1f} ", ha=side, va="center", fontsize=8)
    # the longest runs of methods whose ends lie within the critical difference
    ends = [max(j for j in range(n) if values[j] - values[i] <= ranks.critical_difference) for i in range(n)]
    runs = [(i, j) for i, j in enumerate(ends) if j > i and (i == 0 or ends[i - 1] < j)]
    for level, (i, j) in enumerate(runs):
        y = -0.25 - 0.25 * level
        ax.plot([values[i] - 0.05, values[j] + 0.05], [y, y], color=COLOURS["recordings"], linewidth=3)
    ax.plot([low, low + ranks.critical_difference], [0.9, 0.9], color="0.2", marker="|")
    ax.text(low + ranks.critical_difference / 2, 1.0, f"CD {ranks.critical_difference:.1f}", ha="center", fontsize=8)
    ax.plot([low, high], [0, 0], color="0.2")
    for tick in range(1, n + 1):
        ax.plot([tick, tick], [0, 0.12], color="0.2")
        ax.text(tick, 0.2, f"{tick}", ha="center", va="bottom", fontsize=8)
    width = 0.45 * n
    ax.set(xlim=(low - width, high + width), ylim=(-1.6 - n / 2, 1.8), title=title)
    ax.axis("off")
    return ax
