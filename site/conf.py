"""The book that `make site` builds: the committed notebooks, not run, as pages that need no network."""

import importlib.metadata
import sys
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset

from uncertain_affect import __version__

sys.path.insert(0, str(Path(__file__).parent))
import book

project = "Uncertain Affect"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.mathjax"]
exclude_patterns = ["scoreboard.md", "**.ipynb_checkpoints"]  # the scoreboard is part of the first page

nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # links among notebooks in what they print
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nitpicky = True

html_title = project
html_favicon = "favicon.svg"
html_theme = "sphinx_book_theme"
html_theme_options = {
    "footer_content_items": [],
    "navbar_persistent": [],  # one search field is enough
    "show_toc_level": 2,
    "use_download_button": True,
}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_static_path = ["book.css"]
html_css_files = ["book.css"]
html_copy_source = True
html_use_index = False
# one file that holds its fonts; the usual address is a network's
mathjax_path = "tex-svg.js"
mathjax3_config = {}


def _check(app: Sphinx, docname: str, content: list[str]) -> None:
    """What a page lacks is a warning that names it, and so an error."""
    if Path(app.env.doc2path(docname)).suffix == ".ipynb":
        for problem in book.problems(nbformat.reads(content[0], as_version=4)):
            logging.getLogger(__name__).warning(problem, location=docname)


def _from_the_book(app: Sphinx, docname: str, content: list[str]) -> None:
    """Pages in site/ reach the notebooks and the picture of the answers beside it; in the book these lie below."""
    content[0] = content[0].replace("](../notebooks/", "](notebooks/").replace("](../results/", "](")


def _describe_pictures(app: Sphinx, doctree: nodes.document) -> None:
    cells = [node for node in doctree.findall(nodes.container) if node.get("nb_element") == "cell_code"]
    if cells:
        texts = book.alternative_texts(nbformat.read(app.env.doc2path(app.env.docname), as_version=4))
        for cell in cells:
            for image, text in zip(cell.findall(nodes.image), texts.get(cell["cell_index"], []), strict=True):
                image["alt"] = text


def _copy_mathjax(app: Sphinx) -> None:
    (file,) = (f for f in importlib.metadata.files("sphinx-mathjax-offline") if f.name == mathjax_path)
    copy_asset(str(file.locate()), app.outdir / "_static")


def setup(app: Sphinx) -> None:
    app.connect("source-read", _check)
    app.connect("source-read", _from_the_book)
    app.connect("doctree-read", _describe_pictures)
    app.connect("builder-inited", _copy_mathjax)
