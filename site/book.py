"""The committed notebooks as pages of a book: what a page must have, and what its pictures show, in words."""

import re

from nbformat import NotebookNode

from uncertain_affect.evidence import printed

_DRAWS = re.compile(r"\brun\.figure\(|\bplt\.show\(|\bstill\(")
_RECORDS = re.compile(r"\brun\.figure\(\s*[\"']([\w-]+)[\"']")


def problems(notebook: NotebookNode) -> list[str]:
    """What keeps a notebook from being a page, with the cell and the cure; nothing where it may be one."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not any(cell.outputs for cell in code):
        return ["the notebook has no outputs: run it from top to bottom before it is committed"]
    found = []
    for cell in code:
        if cell.execution_count is None:
            found.append(f"cell {cell.id} was not run: run the notebook from top to bottom")
        elif any(output.output_type == "error" for output in cell.outputs):
            found.append(f"cell {cell.id} ended in an error: mend it and run the notebook from top to bottom")
        elif _DRAWS.search(cell.source) and not _pictures(cell):
            found.append(f"cell {cell.id} draws a figure that is missing from its output: run the notebook again")
    return found


def alternative_texts(notebook: NotebookNode) -> dict[int, list[str]]:
    """What each picture shows, in words, for those who do not see it: a list by index of the cell that shows it.

    A picture says it itself (``alt`` in the metadata of the output) or its cell does (``alt`` in that of the cell).
    Of others it is the heading above and what ``results/printed`` says that the paper's figure shows.
    """
    texts, heading = {}, ""
    key = notebook.metadata.get("uncertain_affect", {}).get("paper")
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            heading = (headings or [heading])[-1]
        elif cell.cell_type == "code" and (pictures := _pictures(cell)):
            common = cell.metadata.get("alt") or _by_heading(cell, heading, key)
            texts[index] = [_own_text(picture) or common for picture in pictures]
    return texts


def _pictures(cell: NotebookNode) -> list[NotebookNode]:
    return [output for output in cell.outputs if _picture_types(output)]


def _picture_types(output: NotebookNode) -> list[str]:
    return [mime for mime in output.get("data", {}) if mime.startswith("image/")]


def _own_text(picture: NotebookNode) -> str:
    return "".join(picture.metadata.get(mime, {}).get("alt", "") for mime in _picture_types(picture)[:1])


def _by_heading(cell: NotebookNode, heading: str, key: str | None) -> str:
    parts = [heading]
    for name in _RECORDS.findall(cell.source):
        figure = printed.load(key).figures.get(name.partition("_")[0]) if key else None
        parts.append(f"{figure['title']}: {figure['shows']}" if figure else f"Figure: {name.replace('_', ' ')}")
    return ". ".join(parts)
