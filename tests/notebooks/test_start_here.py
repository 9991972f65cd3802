"""That the committed map names every notebook and every claim there is."""

import nbformat

from uncertain_affect.evidence import printed
from uncertain_affect.run import publish, reproduce


def test_the_map_is_whole():
    notebook = nbformat.read(reproduce.notebooks()["00_start_here"], as_version=4)
    text = "\n".join(publish.text_of(cell) for cell in notebook.cells)
    again = "make reproduce ONLY=00, then make record"
    for name in reproduce.notebooks():
        assert f"[{name}]({name}.ipynb)" in text, again
    for key in printed.keys():
        assert printed.load(key).info["title"] in text, again
        for id_, claim in printed.load(key).claims.items():
            assert f"| `{id_}` | {claim.statement}" in text, again
