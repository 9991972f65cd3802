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
COLOURS = dict(zip(["Baseline", "UncNet", "U_a", "U_e", "U_t"], sns.color_palette("colorblind"), strict=False))
COLOURS |= dict(zip(["GN-D", "UGN"], sns.color_palette("colorblind")[5:], strict=False))
COLOURS["UncNet, dropout off"] = (0.45, 0.45, 0.45)
COLOURS |= dict(zip(["Tea", "Stu1", "Stu2", "Stu3", "TS", "MC"], sns.color_palette("dark"), strict=False))
# what was measured, whatever the method, where it stands beside what is printed
COLOURS |= {"printed": (0.0, 0.0, 0.0), "recordings": (0.0, 0.267, 0.533), "simulated": (0.867, 0.667, 0.2)}


def style() -> None:
    """Set the look of all figures of a notebook."""
    sns.set_theme(context="notebook", style="whitegrid", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 90, "axes.titlelocation": "left", "legend.frameon": False})


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
    """One column per face: its vote histogram, and above it the face where ``images`` (n, H, W) is given."""
    n_rows = 1 if images is None else 2
    fig, axes = plt.subplots(n_rows, len(votes), figsize=(2.1 * len(votes), 2.3 * n_rows), squeeze=False, sharey="row")
    for column, (counts, title) in enumerate(zip(votes, titles, strict=True)):
        bars = axes[-1, column]
        bars.barh(range(len(classes)), counts, color="0.4")
        bars.set_yticks(range(len(classes)), classes)
        bars.set(xlim=(0, 10), xlabel="votes")
        bars.invert_yaxis()
        axes[0, column].set_title(title, fontsize=9)
        if images is not None:
            axes[0, column].imshow(images[column], cmap="gray", vmin=0, vmax=255)
            axes[0, column].axis("off")
    fig.tight_layout(rect=(0, 0, 1, 0.95))  # room for a title over all columns
    return fig


def forest(effects: pd.DataFrame, ax: Axes) -> Axes:
    """Effects with their intervals, a row each, beside the printed ones, on grey where the claim would have them.

    Args:
        effects: rows of :func:`uncertain_affect.run.publish.effects` that have an effect. Filled circles are full runs,
            open ones quick; the colour tells recordings from the simulated world; a diamond is the printed effect. The
            part of a claim that is shown stands below the name of the run.
    """
    ends = effects[["printed", "effect", "low", "high"]].to_numpy(float)
    least, most = min(np.nanmin(ends), 0.0), max(np.nanmax(ends), 0.0)
    margin = effects["margin"].max()
    if margin == margin:
        least, most = min(least, -1.2 * margin), max(most, 1.2 * margin)
    least, most = least - 0.08 * (most - least), most + 0.08 * (most - least)
    for y, row in enumerate(effects.itertuples()):
        claimed = {"greater": (0, most), "less": (least, 0), "equivalent": (-row.margin, row.margin)}[row.kind]
        ax.fill_betweenx([y - 0.45, y + 0.45], *claimed, color="0.9", linewidth=0)
        colour = COLOURS["simulated" if row.corpus == "simulated" else "recordings"]
        ax.plot([row.low, row.high], [y, y], color=colour)
        filling = colour if row.profile == "full" else "white"
        ax.plot(row.effect, y, "o", markersize=6, color=colour, markerfacecolor=filling, markeredgewidth=1.5)
        if row.printed == row.printed:
            ax.plot(row.printed, y, "D", markersize=4.5, color=COLOURS["printed"])
    ax.axvline(0, color="0.3", linewidth=0.8)
    labels = ["\n".join([f"{row.corpus}, {row.profile}", *wrap(row.part, 34)]) for row in effects.itertuples()]
    ax.set_yticks(range(len(effects)), labels, fontsize=7)
    ax.set(xlim=(least, most), ylim=(len(effects) - 0.4, -0.6))
    ax.tick_params(axis="x", labelsize=8)
    ax.locator_params(axis="x", nbins=5)
    ax.grid(False)
    return ax


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


def marked_text(
    turns: list[list[str]],
    word_levels: list[list[int]],
    labels: list[str],
    ax: Axes,
    turn_levels: list[int] | None = None,
    width: int = 100,
) -> Axes:
    """Talkturns as lines of words, larger and darker the higher their level, each with a label before it.

    Args:
        turns, word_levels: words of each turn, and a level from 0 to 3 for each word.
        labels: of the turns, one each.
        turn_levels: levels of the turns themselves, from 0 to 3, shown as the shade of the label's box.
        width: characters of the smallest size in a line, longer turns go on in the next one.
    """
    shades = sns.color_palette("Blues", 7)[2:]
    line = 0
    for i, (words, levels, label) in enumerate(zip(turns, word_levels, labels, strict=True)):
        shade = "white" if turn_levels is None else shades[turn_levels[i]]
        ax.text(
            0,
            -line,
            label,
            fontsize=8,
            va="center",
            bbox={"boxstyle": "square", "facecolor": shade, "edgecolor": "0.4"},
        )
        column = 0
        for word, level in zip(words, levels, strict=True):
            length = len(word) * (7 + level) / 7  # in characters of the smallest size
            if column + length > width:
                line, column = line + 1, 0
            # one width for all characters, so that words need not be measured to be placed
            ax.text(
                0.12 + 0.88 * column / width,
                -line,
                word,
                fontsize=7 + level,
                family="monospace",
                color=(0.62, 0.62, 0.62) if level == 0 else shades[level + 1] if level < 3 else "black",
                weight="bold" if level >= 2 else "normal",
                va="center",
            )
            column += length + 2
        line += 1.35
    ax.set(xlim=(0, 1), ylim=(-line, 0.8))
    ax.axis("off")
    return ax


def critical_difference(ranks: Ranks, title: str, ax: Axes) -> Axes:
    """Mean ranks on a line, best on the left; bars join methods that do not differ (Demšar 2006, figure 1)."""
    methods, values = list(ranks.mean), list(ranks.mean.values())
    n = len(methods)
    low, high = 1.0, float(n)
    for i, (method, rank) in enumerate(ranks.mean.items()):
        left = i < -(-n // 2)
        y = -1 - (i if left else n - 1 - i)
        end = low - 0.3 if left else high + 0.3
        ax.plot([rank, rank, end], [0, y, y], color="0.4", linewidth=0.9)
        ax.text(end, y, f" {method}, {rank:.1f} ", ha="right" if left else "left", va="center", fontsize=8)
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
