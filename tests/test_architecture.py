"""The library's shape: what may import what, and how large it may grow."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

from uncertain_affect.compute.paths import project_root

LIBRARY = project_root() / "lib" / "uncertain_affect"
MODULES = sorted(path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py"))
# ground floor first; packages of a floor may import each other and whatever lies below
FLOORS = (("compute",), ("metrics", "models", "losses"), ("corpora", "training"), ("evidence",), ("papers",),
          ("notebook", "run"))  # fmt: skip
FLOOR = {package: number for number, floor in enumerate(FLOORS) for package in floor}
LINES_OF_CODE, LINES_OF_A_MODULE, LINES_OF_TESTS = 15_370, 600, 30_920


def imports(path: Path):
    """Package and names of each import from the library itself, those within functions included."""
    for node in ast.walk(ast.parse((LIBRARY / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == LIBRARY.name:
            for alias in node.names:
                yield [*node.module.split(".")[1:], alias.name]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == LIBRARY.name:
                    yield alias.name.split(".")[1:]


def test_the_root_holds_nothing_but_packages():
    assert [path for path in MODULES if len(path.parts) == 1] == [Path("__init__.py")]
    assert {path.parts[0] for path in MODULES if len(path.parts) > 1} == FLOOR.keys()


@pytest.mark.parametrize("path", [path for path in MODULES if len(path.parts) > 1], ids=str)
def test_imports_point_one_way(path):
    own = path.parts[0]
    for parts in imports(path):
        if parts and parts[0] in FLOOR:  # else it is of the root itself
            allowed = FLOOR[parts[0]] <= FLOOR[own] and (own != "compute" or parts[0] == "compute")
            assert allowed, f"{path} imports {'.'.join(parts)}: {own} lies below {parts[0]}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_private_names_stay_in_their_package(path):
    for parts in imports(path):
        private = [part for part in parts if part.startswith("_") and part != "__version__"]
        assert not private or parts[0] == path.parts[0], f"{path} imports {'.'.join(parts)}"


def code_lines(source: str) -> int:
    """Lines of a source that hold code: without docstrings, comments and blank lines."""
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in nothing:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_lines_of_code_are_counted_as_said():
    source = (
        '"""Head."""\n\nimport os  # why\n\n\ndef f(\n    x,\n):\n'
        '    """Say.\n\n    More."""\n    # so\n    return """a\nb"""\n'
    )
    assert code_lines(source) == 6  # import, the three lines of the signature, the two of the string


def test_the_library_stays_thin():
    sources = {path: (LIBRARY / path).read_text(encoding="utf-8") for path in MODULES}
    assert sum(map(code_lines, sources.values())) <= LINES_OF_CODE
    assert {str(p): n for p, s in sources.items() if (n := len(s.splitlines())) > LINES_OF_A_MODULE} == {}


def test_the_tests_stay_readable():
    tests = project_root() / "tests"
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in tests.rglob("*.py")) <= LINES_OF_TESTS
    folders = {path.name for path in tests.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    others = {"notebooks", "site", "gpu", "bench", "stress", "fuzz", "mutation", "browser", "supply"}
    assert folders - others == FLOOR.keys()  # they mirror the library
