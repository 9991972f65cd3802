"""Controls and the text below them."""

from ipywidgets import HTML, IntSlider

from uncertain_affect.widgets import explore


def text(box):
    (shown,) = [child for child in box.children if isinstance(child, HTML)]
    return shown.value


def test_the_text_follows_the_controls():
    a, b = IntSlider(2, 0, 10), IntSlider(3, 0, 10, description="second")
    box = explore(lambda a, b: f"{a} < {b}", a=a, b=b)
    assert text(box) == "2 &lt; 3"
    a.value = 7
    assert text(box) == "7 &lt; 3"
    assert (a.description, b.description) == ("a", "second")


def test_an_error_is_shown_and_passes():
    a = IntSlider(0, 0, 10)
    box = explore(lambda a: f"{1 // a}", a=a)
    assert text(box).startswith("ZeroDivisionError")
    a.value = 1
    assert text(box) == "1"
