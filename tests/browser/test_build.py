"""That `make site` refuses a book with something missing, and says what and where."""

import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat import v4

from uncertain_affect.compute import paths

ROOT = paths.project_root()


@pytest.fixture
def source(tmp_path):
    """A book of one page, in the project's own settings."""
    shutil.copytree(ROOT / "site", tmp_path / "book")
    for page in (tmp_path / "book").glob("*.md"):
        page.unlink()
    (tmp_path / "book" / "index.md").write_text("# Book\n\n```{toctree}\nnotebooks/11_page\n```\n")
    (tmp_path / "book" / "notebooks").mkdir()
    return tmp_path / "book"


def build(source):
    """Exit status and what Sphinx says, called as `make site` does."""
    arguments = ["-q", "--fail-on-warning", source, source.parent / "out"]
    done = subprocess.run([sys.executable, "-m", "sphinx", *arguments], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def write(source, *cells):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Page"), *cells], metadata={"kernelspec": kernel})
    nbformat.write(notebook, source / "notebooks" / "11_page.ipynb")


def ran(source, text="1"):
    return v4.new_code_cell(source, execution_count=1, outputs=[v4.new_output("stream", text=text)], id="fine")


def test_a_whole_book_is_built(source):
    write(source, ran("print(1)"), v4.new_markdown_cell("$x$ and [a page](../index.md)"))
    assert build(source) == (0, "")


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (v4.new_code_cell("print(1)", execution_count=1), "has no outputs"),
        (v4.new_code_cell("plt.show()", execution_count=2, id="empty"), "cell empty draws a figure that is missing"),
        (v4.new_markdown_cell("![A face.](face.png)"), "face.png"),
        (v4.new_markdown_cell("[a page](12_none.ipynb)"), "12_none"),
        (v4.new_markdown_cell("[a place](#nowhere)"), "nowhere"),
    ],
)
def test_what_is_missing_stops_the_build_and_is_named(source, cell, problem):
    write(source, *([] if "no outputs" in problem else [ran("print(1)")]), cell)
    status, output = build(source)
    assert status != 0 and "11_page" in output and problem in output
