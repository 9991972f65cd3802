import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from uncertain_affect.evidence.claims import Ranks
from uncertain_affect.notebook import plots
from uncertain_affect.papers.uncnet import ARMS


@pytest.fixture(autouse=True)
def own_figures():
    with matplotlib.rc_context({"backend": "Agg"}):
        yield
    plt.close("all")


def test_every_method_has_a_colour_of_its_own_and_figures_one_style():
    assert set(ARMS) | {"U_a", "U_e", "U_t"} <= set(plots.COLOURS)
    assert len({tuple(colour) for colour in plots.COLOURS.values()}) == len(plots.COLOURS)
    plots.style()
    assert plt.rcParams["figure.dpi"] == 90
    assert plt.rcParams["axes.grid"]


def test_a_reliability_diagram_draws_the_filled_bins_and_their_weights():
    curve = pd.DataFrame({"confidence": [0.1, np.nan, 0.9], "accuracy": [0.2, np.nan, 0.8], "weight": [30.0, 0, 10.0]})
    _, ax = plt.subplots()
    assert plots.reliability_diagram({"UncNet": curve}, ax) is ax
    diagonal, line = ax.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert line.get_xydata().tolist() == [[0.1, 0.2], [0.9, 0.8]]
    sizes = ax.collections[0].get_sizes() - 10
    assert sizes[0] == pytest.approx(3 * sizes[1])  # area follows the share of predictions
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["perfect", "UncNet"]


def test_vote_histograms_have_a_column_for_each_face():
    votes, images = np.array([[9, 1], [4, 6], [0, 10]]), np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    fig = plots.vote_histograms(votes, ("neutral", "happiness"), ["a", "b", "c"], images)
    assert len(fig.axes) == 6
    for bars, counts in zip(fig.axes[3:], votes, strict=True):
        assert [patch.get_width() for patch in bars.patches] == counts.tolist()
    assert [ax.get_title() for ax in fig.axes[:3]] == ["a", "b", "c"]
    np.testing.assert_array_equal(fig.axes[1].images[0].get_array(), images[1])
    alone = plots.vote_histograms(votes, ("neutral", "happiness"), ["a", "b", "c"])
    assert [(ax.get_title(), len(ax.images)) for ax in alone.axes] == [("a", 0), ("b", 0), ("c", 0)]


def test_a_block_diagram_names_every_block_once_and_joins_them():
    blocks = [("Stem", "192 x 3 x 3", True), ("Mixed-5a", "192 x 3 x 3", True), ("FC", "9", False)]
    fig = plots.block_diagram(blocks, "Figure 3")
    (ax,) = fig.axes
    written = [text.get_text() for text in ax.texts]
    assert [text for text in written if text] == ["Stem", "192 x 3 x 3", "Mixed-5a", "192 x 3 x 3", "FC", "9"]
    assert written.count("") == 2  # arrows
    frozen, _, trained = (patch.get_facecolor() for patch in ax.patches)
    assert frozen != trained
    assert ax.get_title(loc="left") + ax.get_title() == "Figure 3"


def test_marked_text_draws_every_word_and_wraps():
    _, ax = plt.subplots()
    turns = [["the", "woman", "said"], ["no"] * 80]
    levels = [[0, 1, 3], [2] * 80]
    plots.marked_text(turns, levels, ["i-1", "i"], ax, turn_levels=[0, 3])
    drawn = [text.get_text() for text in ax.texts]
    assert [text for text in drawn if text not in ("i-1", "i")] == [word for words in turns for word in words]
    sizes = {text.get_text(): text.get_fontsize() for text in ax.texts}
    assert sizes["the"] < sizes["woman"] < sizes["said"]
    assert len({round(text.get_position()[1], 3) for text in ax.texts}) > 3  # the second turn needs several lines


def test_words_of_marked_text_do_not_touch():
    fig, ax = plt.subplots(figsize=(9, 2))
    words = ["hundred", "milliseconds", "the", "significantly", "long", "delay"] * 3
    plots.marked_text([words], [[3, 3, 0, 3, 2, 1] * 3], [""], ax)
    boxes = [text.get_window_extent(fig.canvas.get_renderer()) for text in ax.texts if text.get_text()]
    assert len(boxes) == len(words)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_strips_show_each_effect_beside_the_printed_one_with_the_claimed_side_on_the_right():
    columns = ["label", "printed", "effect", "low", "high", "answer", "corpus"]
    first = ["Faces are seen.", 0.5, 0.2, 0.1, 0.3, "holds", "ferplus"]
    second = ["Nothing is heard.", np.nan, -0.1, -0.4, 0.1, "open", "simulated"]
    _, ax = plt.subplots()
    assert plots.strips(pd.DataFrame([first, second], columns=columns), ax) is ax
    zero, line, circle, printed, other, _ = ax.lines
    assert zero.get_xdata() == [0, 0]
    assert line.get_xydata().ravel().tolist() == pytest.approx([0.2, 0, 0.6, 0])
    assert (circle.get_xdata(), printed.get_xdata()) == (pytest.approx([0.4]), [1.0])
    assert other.get_xydata().ravel().tolist() == pytest.approx([-1, 1, 0.25, 1])
    assert (line.get_color(), other.get_color()) == (plots.COLOURS["recordings"], plots.COLOURS["simulated"])
    assert [text.get_text() for text in ax.texts] == ["holds", "open"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Faces are seen.", "Nothing is heard."]


def test_a_critical_difference_diagram_joins_the_methods_that_do_not_differ():
    ranks = Ranks({"a": 1.2, "b": 2.0, "c": 3.4, "d": 3.4}, critical_difference=1.5, p=0.01, n_blocks=6)
    _, ax = plt.subplots()
    plots.critical_difference(ranks, "NLL", ax)
    written = [text.get_text().strip() for text in ax.texts]
    assert {"a, 1.2", "b, 2.0", "c, 3.4", "d, 3.4", "CD 1.5"} <= set(written)
    bars = [line.get_xdata() for line in ax.lines if line.get_linewidth() == 3]
    assert [bar.tolist() for bar in bars] == [pytest.approx([1.15, 2.05]), pytest.approx([1.95, 3.45])]
