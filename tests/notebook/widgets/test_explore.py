"""Controls and the text or picture below them."""

from base64 import b64decode

import pytest
from ipywidgets import HTML, Image, IntSlider
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from uncertain_affect.notebook.widgets import axes, explore, still

PNG = b"\x89PNG\r\n"


def text(box):
    (shown,) = [child for child in box.children if isinstance(child, HTML)]
    return shown.value


def picture(box):
    """The picture's bytes, or None where it is hidden."""
    (shown,) = [child for child in box.children if isinstance(child, Image)]
    return None if shown.layout.display == "none" else bytes(shown.value)


def bar(height):
    figure, (ax,) = axes([1.0], height=1.5)
    ax.bar([0], [1 // height])
    return figure


def test_the_text_follows_the_controls():
    a, b = IntSlider(2, 0, 10), IntSlider(3, 0, 10, description="second")
    box = explore(lambda given, a, b: f"{given}: {a} < {b}", "it is", a=a, b=b)
    assert text(box) == "it is: 2 &lt; 3"
    assert picture(box) is None
    a.value = 7
    assert text(box) == "it is: 7 &lt; 3"
    assert (a.description, b.description) == ("a", "second")


def test_the_picture_follows_the_controls():
    height = IntSlider(1, 0, 10)
    box = explore(bar, height=height)
    first = picture(box)
    assert first.startswith(PNG)
    height.value = 2
    assert picture(box).startswith(PNG)
    assert picture(box) != first
    assert text(box) == ""
    assert plt.get_fignums() == []


def test_an_error_is_shown_in_place_of_text_and_picture():
    a, height = IntSlider(0, 0, 10), IntSlider(1, 0, 10)
    box, drawn = explore(lambda a: f"{1 // a}", a=a), explore(bar, height=height)
    assert text(box).startswith("ZeroDivisionError")
    a.value = 1
    assert text(box) == "1"
    first = picture(drawn)
    height.value = 0
    assert text(drawn).startswith("ZeroDivisionError")
    assert picture(drawn) is None
    height.value = 1
    assert (text(drawn), picture(drawn)) == ("", first)


def test_a_still_picture_has_its_alternative_text():
    data, metadata = still(bar(1), "one bar")._repr_mimebundle_()
    assert b64decode(data["image/png"]).startswith(PNG)
    assert data["text/plain"] == "one bar"
    assert metadata["image/png"]["alt"] == "one bar"


def test_axes_stand_side_by_side_at_their_widths():
    figure, (left, right) = axes([2.0, 3.0], height=3.0, left=0.5, gap=1.0)
    inches = figure.get_size_inches()
    assert [ax.get_position().width * inches[0] for ax in (left, right)] == pytest.approx([2, 3])
    assert left.get_position().x0 * inches[0] == pytest.approx(0.5)
    assert (right.get_position().x0 - left.get_position().x1) * inches[0] == pytest.approx(1)
    assert isinstance(figure, Figure)
