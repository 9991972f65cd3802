"""What a notebook must have to be a page of the book, and what its pictures say."""

import re

import book
import nbformat
import pytest
from nbformat import v4

from uncertain_affect.compute import paths
from uncertain_affect.run import reproduce

SITE = paths.project_root() / "site"


def ran(source, *outputs, count=1, **metadata):
    return v4.new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def picture(alt=None):
    data = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 600x400 with 1 Axes>"}
    return v4.new_output("display_data", data=data, metadata={"image/png": {"alt": alt}} if alt else {})


def printed(text="1"):
    return v4.new_output("stream", name="stdout", text=text)


def notebook(*cells, paper=None):
    return v4.new_notebook(cells=list(cells), metadata={"uncertain_affect": {"paper": paper}})


@pytest.mark.parametrize("name", reproduce.notebooks())
def test_every_committed_notebook_may_be_a_page(name):
    committed = nbformat.read(reproduce.notebooks()[name], as_version=4)
    assert book.problems(committed) == []


@pytest.mark.parametrize("page", sorted(SITE.glob("*.md")), ids=lambda page: page.name)
def test_the_books_own_pages_can_be_read_where_they_lie(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (SITE / link).exists()] == []


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (ran("print(1)"), "the notebook has no outputs"),
        (ran("print(1)", printed(), count=None), "cell {id} was not run"),
        (ran("run.figure('coin', fig, frame)\nplt.show()", printed()), "cell {id} draws a figure that is missing"),
        (ran("still(panel(), 'a face')", printed()), "cell {id} draws a figure that is missing"),
        (ran("1 / 0", v4.new_output("error", ename="ZeroDivisionError")), "cell {id} ended in an error"),
    ],
)
def test_what_is_missing_is_named_with_its_cell(cell, said):
    (problem,) = book.problems(notebook(cell))
    assert said.format(id=cell.id) in problem


def test_cells_that_show_nothing_are_no_problem():
    assert book.problems(notebook(ran("x = 1"), ran("plt.show()", picture()), ran("x", printed()))) == []


def test_a_picture_says_it_itself_before_its_cell_and_its_cell_before_the_heading():
    heading = v4.new_markdown_cell("## Coins\n\nThrown.\n\n### Bent ones")
    cells = [ran("plt.show()", picture("A coin."), picture(), alt="Two coins."), ran("plt.show()", picture())]
    assert book.alternative_texts(notebook(heading, *cells)) == {1: ["A coin.", "Two coins."], 2: ["Bent ones"]}


def test_of_a_papers_figure_it_is_what_the_paper_says_that_it_shows_and_another_goes_by_its_name():
    cell = ran('run.figure("figure4", fig, frame)', picture())
    heading = v4.new_markdown_cell("## Figure 4: disagreement")
    (text,) = book.alternative_texts(notebook(heading, cell, paper="uncnet"))[1]
    says = "Density of the disagreement probability d_i over the FER+ training images"
    assert text == f"Figure 4: disagreement. Annotators' disagreement: {says}"
    cells = [v4.new_markdown_cell("## Rejection"), ran('run.figure(\n    "of_errors", fig, frame)', picture())]
    assert book.alternative_texts(notebook(*cells, paper="uncnet")) == {1: ["Rejection. Figure: of errors"]}
