"""What every committed notebook has to be: complete, executed in order, and fit to be shown."""

import ast
import importlib
import tokenize
from collections import Counter
from io import StringIO
from types import ModuleType

import nbformat
import pytest

from uncertain_affect import corpora
from uncertain_affect.compute import paths
from uncertain_affect.evidence import printed
from uncertain_affect.run import publish, record, reproduce

NOTEBOOKS = reproduce.notebooks()
SOLUTIONS = sorted((paths.project_root() / "notebooks" / "solutions").glob("*.ipynb"))
KEYS = {"paper", "tables", "figures", "claims", "corpora"}
TAGS = set("parameters needs-corpus faces hide-input raises-exception".split())
TAGS |= {f"nbval-{what}" for what in ("skip", "check-output", "ignore-output")}
MAX_PICTURE = 300_000  # bytes, as base64
COMMITTED = pytest.mark.parametrize(
    "path", [*NOTEBOOKS.values(), *SOLUTIONS], ids=lambda path: f"{path.parent.name}/{path.stem}"
)


def about(name):
    return reproduce.metadata(NOTEBOOKS[name])


def tags(cell):
    return cell.metadata.get("tags", [])


def compact(code):
    """The source without white space, so that a call reads the same however it is broken into lines."""
    return "".join("".join(cell.source.split()) for cell in code)


@pytest.fixture(params=NOTEBOOKS)
def name(request):
    return request.param


@pytest.fixture
def notebook(name):
    return nbformat.read(NOTEBOOKS[name], as_version=4)


@pytest.fixture
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# --- who covers what --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", printed.keys())
@pytest.mark.parametrize("kind", ["tables", "figures", "claims"])
def test_everything_printed_is_owned_by_exactly_one_notebook(key, kind):
    owned = Counter(item for name in NOTEBOOKS if about(name).get("paper") == key for item in about(name)[kind])
    assert owned == Counter(list(getattr(printed.load(key), kind)))


def test_what_a_notebook_says_it_covers(name):
    assert set(about(name)) == KEYS
    number = int(name[:2])
    if number < 10 or number > 90:  # introductions, the scoreboard and the audit own nothing
        assert about(name)["paper"] is None
        assert not any(about(name)[kind] for kind in ("tables", "figures", "claims"))
    else:
        assert about(name)["paper"] in printed.keys()
        assert name[3:].startswith(about(name)["paper"])
    assert set(about(name)["corpora"]) <= set(corpora.KNOWN)


def test_every_claim_of_a_notebook_is_judged_in_it_and_every_figure_and_table_recorded(name, code):
    source = compact(code)
    named = [f'"{id_}"' for id_ in about(name)["claims"] + about(name)["tables"]]
    named += [f'run.figure("{figure}' for figure in about(name)["figures"]]  # and of two halves, figure2_left
    assert [call for call in named if call not in source] == []
    recorded = paths.project_root() / "results" / "quick" / "simulated" / name / "claims.json"
    assert not about(name)["claims"] or set(about(name)["claims"]) == record.read_answers(recorded).keys()


# --- form -------------------------------------------------------------------------------------------------


@COMMITTED
def test_the_notebook_is_valid_for_any_python3_and_its_cells_have_names_of_their_own(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.get("language_info", {})
    own = set() if path in SOLUTIONS else {"uncertain_affect"}
    assert set(notebook.metadata) <= {"kernelspec", "language_info", *own}
    assert all(set(cell.metadata) <= {"tags", "alt"} for cell in notebook.cells)  # alt: what its pictures show


def test_tags_are_those_that_mean_something(notebook):
    for cell in notebook.cells:
        assert set(tags(cell)) <= TAGS
        if {"needs-corpus", "faces"} & set(tags(cell)):
            assert "nbval-skip" in tags(cell)  # nbval runs anywhere, without data
        assert not {"nbval-check-output", "nbval-ignore-output"} <= set(tags(cell))
        # a tag says the same, and no ill-formed comment is passed over in silence
        assert "NBVAL_" not in cell.source


def test_the_parameters_are_commented_literals_before_any_other_work(name, notebook, code):
    (place,) = [i for i, cell in enumerate(code) if "parameters" in tags(cell)]
    for cell in code[:place]:  # imports, calls that set a style, and the answers so far
        if "scoreboard.of_notebook(" in cell.source:
            assert f'of_notebook("{name}")' in cell.source
            continue
        assert all(isinstance(node, ast.Import | ast.ImportFrom | ast.Expr) for node in ast.parse(cell.source).body)
    defaults = reproduce.default_parameters(NOTEBOOKS[name])
    shows_evidence = about(name)["paper"] is not None
    assert defaults["PROFILE"] == ("recorded" if shows_evidence else "quick")
    if about(name)["corpora"]:
        assert defaults["CORPUS"] in ([""] if shows_evidence else about(name)["corpora"])
        assert defaults["DATA_ROOT"] == ""
    tokens = tokenize.generate_tokens(StringIO(code[place].source).readline)
    comments = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    assert {node.lineno for node in ast.parse(code[place].source).body} <= comments


def test_the_order_of_sections(name, notebook):
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = [line for line in prose.splitlines() if line.startswith("## ")]
    assert next(heading for heading in headings if heading != "## The answer so far") == "## Aim"
    assert "## The answer so far" not in headings[1:]
    if about(name)["paper"]:
        last = ["## Claims and answers", "## What differs from the paper", "## Try it"]
        assert [heading for heading in headings if heading in last] == last
        assert all(words in notebook.cells[-2].source for words in ("**Exercises.**", "(1) ", "(2) ", "(3) "))


def test_the_last_cell_records(name, code):
    assert code[-1].source.strip().endswith("run.finish()")
    assert sum("run.finish()" in cell.source for cell in code) == 1
    assert f'record.Run("{name}"' in compact(code)


@COMMITTED
def test_what_a_notebook_takes_from_the_library_is_there(path):
    cells = nbformat.read(path, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code" and "%%" not in cell.source)
    nodes = list(ast.walk(ast.parse(source)))
    modules = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "uncertain_affect":
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):  # then a module that nobody has imported yet
                    importlib.import_module(f"{node.module}.{alias.name}")
                modules[alias.asname or alias.name] = getattr(module, alias.name)
    modules = {name: module for name, module in modules.items() if isinstance(module, ModuleType)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), ast.unparse(node)


# --- committed outputs ------------------------------------------------------------------------------------


@COMMITTED
def test_the_notebook_was_executed_from_top_to_bottom_and_may_be_shown(path):
    """Without an error, a warning, a widget, a large picture, or a path of one machine."""
    cells = nbformat.read(path, as_version=4).cells
    counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    for cell in cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error" and output.get("name") != "stderr", cell.id
            for mime, content in output.get("data", {}).items():
                assert "widget" not in mime, cell.id
                assert not mime.startswith("image/") or len(content) <= MAX_PICTURE, f"{cell.id}: {len(content)} bytes"
        found = publish.MACHINE_PATH.search(f"{cell.source}\n{publish.text_of(cell)}")
        assert not found, f"{cell.id}: {found[0]}"


def test_checked_cells_have_an_output_to_check(code):
    for cell in code:
        if "nbval-check-output" in tags(cell):
            assert cell.outputs, f"{cell.id}: nbval compares nothing in a cell without output"
            assert not any("image/png" in output.get("data", {}) for output in cell.outputs), (
                f"{cell.id}: nbval does not compare pictures; record the numbers and test them"
            )


def test_faces_shown_are_of_simulated_people(name, code):
    if set(about(name)["corpora"]) - {"simulated"}:
        assert reproduce.default_parameters(NOTEBOOKS[name])["CORPUS"] in ("", "simulated")
        drawn = 'world = corpora.load("simulated"' in "\n".join(cell.source for cell in code)
        for cell in code:
            simulated = drawn and "world.images" in cell.source  # whatever the corpus is
            if ("imshow" in cell.source or ".images[" in cell.source) and not simulated:
                assert "faces" in tags(cell), f"{cell.id} shows images: tag it 'faces'"
