"""Things to move in the notebooks' "try it" sections."""

import html
from collections.abc import Callable

from ipywidgets import HTML, ValueWidget, VBox


def explore(panel: Callable[..., str], **controls: ValueWidget) -> VBox:
    """Controls above the text that ``panel`` makes of their values, anew whenever one is moved.

    An error is shown in place of the text. `ipywidgets.interact` is not used on purpose: it captures output through
    an Output widget, on which headless execution now and then waits for ever (jupyter/nbclient issue 312).

    Args:
        panel: takes the controls' values by name.
        controls: sliders and the like; one without a description is named after its argument.
    """
    shown = HTML()

    def update(_change: object = None) -> None:
        try:
            text = panel(**{name: control.value for name, control in controls.items()})
        except Exception as problem:  # whatever it is, the reader sees it where they look
            text = f"{type(problem).__name__}: {problem}"
        shown.value = html.escape(text)

    for name, control in controls.items():
        control.description = control.description or name
        control.observe(update, names="value")
    update()
    return VBox([*controls.values(), shown])
