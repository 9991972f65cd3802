"""The shared figure style, and the drawings that more than one notebook needs."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

# colour-blind safe, and the same method keeps its colour in every figure
COLOURS = dict(zip(["Baseline", "UncNet", "U_a", "U_e", "U_t"], sns.color_palette("colorblind"), strict=False))
COLOURS |= dict(zip(["GN-D", "UGN"], sns.color_palette("colorblind")[5:], strict=False))
COLOURS["UncNet, dropout off"] = (0.45, 0.45, 0.45)


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
