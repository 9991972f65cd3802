"""Things to move in the notebooks: a pure `panel` function each, one module a panel, and a thin layer of controls.

A panel takes numbers and gives a figure or a line of text, so that it is tested without a browser and shown as a
picture (`still`) where no kernel runs. `explore` puts controls above it. Nothing is kept between two pictures. What
panels share is here: `axes` and what is drawn on them. What controls offer is not checked again.
"""

import html
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from ipywidgets import HTML, GridBox, Image, Layout, ValueWidget, VBox
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncertain_affect.metrics.inputs import Values, as_float64, as_numpy


def explore(panel: Callable[..., str | Figure], *given: object, **controls: ValueWidget) -> VBox:
    """Controls above the text or figure that ``panel`` makes of their values, anew whenever one is moved.

    An error is shown in place of them. `ipywidgets.interact` is not used on purpose: it captures output through
    an Output widget, on which headless execution now and then waits for ever (jupyter/nbclient issue 312).

    Args:
        panel: takes what is given, and the controls' values by name.
        controls: sliders and the like; one without a description is named after its argument.
    """
    text, image = HTML(), Image(format="png", layout=Layout(max_width="100%", object_fit="contain"))

    def update(_change: object = None) -> None:
        try:
            made = panel(*given, **{name: control.value for name, control in controls.items()})
            drawn = picture(made, compress_level=1) if isinstance(made, Figure) else b""
        except Exception as problem:  # whatever it is, the reader sees it where they look
            made, drawn = f"{type(problem).__name__}: {problem}", b""
        text.value = "" if drawn else html.escape(made)
        # the old picture must not stand beside an error
        image.layout.display = None if drawn else "none"
        if drawn:
            image.value = drawn

    for name, control in controls.items():
        control.description = control.description or name
        control.style.description_width = "8em"
        control.observe(update, names="value")
    update()
    columns = Layout(grid_template_columns="repeat(auto-fill, minmax(20em, 1fr))")
    return VBox([GridBox([*controls.values()], layout=columns), text, image])


@dataclass(frozen=True)
class Still:
    """A picture as the last value of a notebook's cell, with alternative text."""

    png: bytes
    alt: str

    def _repr_mimebundle_(self, **_kwargs: object) -> tuple[dict, dict]:
        data = {"image/png": b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


def still(figure: Figure, alt: str) -> Still:
    """A panel's figure as a picture, for readers without a kernel, and ``alt`` for those without the picture."""
    return Still(picture(figure), alt)


def numbers(values: Values) -> np.ndarray:
    """Values as an array in float64."""
    return as_numpy(as_float64(values))


def axes(widths: list[float], height: float = 3.2, left: float = 0.75, gap: float = 0.95) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side, of these widths in inches, placed by hand: a layout engine takes too long.

    Args:
        widths: of the axes; the space left of each is ``left`` for the first and ``gap`` for the others.
        height: of the figure.
    """
    bottom, top, right = 0.6, 0.45, 0.25
    total = left + sum(widths) + gap * (len(widths) - 1) + right
    figure = Figure(figsize=(total, height), dpi=90)  # not pyplot's, which would keep it
    x = left
    for width in widths:
        ax = figure.add_axes([x / total, bottom / height, width / total, (height - bottom - top) / height])
        ax.tick_params(labelsize=8)
        ax.locator_params(nbins=5)
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set_size(9)
        x += width + gap
    return figure, figure.axes


def finish(ax: Axes, title: str, legend: str = "", **settings) -> None:
    """Settings of axes, a title, and a legend where a place for it is given.

    The title stands at a fixed height: matplotlib would measure every label to find one, a fifth of the panel's time.
    """
    ax.set(**settings)
    ax.set_title(title, fontsize=9, y=1.02)
    if legend:
        ax.legend(fontsize=8, loc=legend)


def bars(ax: Axes, names: Sequence[str], values: Sequence[float], **style) -> np.ndarray:
    """Horizontal bars with a name each, the first on top; returns their heights."""
    rows = np.arange(len(names))
    ax.barh(rows, values, linewidth=0, **style)
    ax.set_yticks(rows, names, fontsize=8)
    ax.invert_yaxis()
    return rows


def ring(ax: Axes, x: float, y: float, size: int = 9) -> None:
    """Mark what is chosen."""
    ax.plot(x, y, "o", color="0.1", markersize=size, markerfacecolor="none")


def picture(figure: Figure, **options) -> bytes:
    """The figure as PNG; ``options`` are Pillow's, ``compress_level=1`` where speed counts more than size."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs=options)
    return buffer.getvalue()
