import copy
import math

import pytest
import yaml

from uncertain_affect.compute import paths
from uncertain_affect.evidence import printed as printed_numbers

CLAIM = {"where": "w", "statement": "s", "kind": "greater", "printed": {"effect": 0.1}}
PARTS = {"a": {"kind": "equivalent", "margin": 1.0}, "b": {"kind": "less"}}
ROWS = {"ours": [0.5, None], "theirs": [1, 2]}
MINIMAL = {
    "paper": {"key": "tiny", "title": "T", "authors": "A", "venue": "V", "year": 2020, "corpora": ["ferplus"]},
    "tables": {"table1": {"title": "t", "columns": ["F1", "accuracy"], "rows": ROWS}},
    "figures": {"figure1": {"title": "f", "shows": "s"}},
    "claims": {"tiny.c1": CLAIM, "tiny.c2": CLAIM | {"kind": "all", "printed": {}, "parts": PARTS}},
    "errata": [],
}


@pytest.fixture
def printed(tmp_path, monkeypatch):
    """Writes printed numbers, as text or content, and returns how to load them."""
    folder = tmp_path / "results" / "printed"
    folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)

    def write(content):
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (folder / "tiny.yaml").write_text(text, encoding="utf-8")
        printed_numbers.load.cache_clear()
        return lambda: printed_numbers.load("tiny")

    yield write
    printed_numbers.load.cache_clear()


def changed(*path, to):
    """MINIMAL with one entry changed; ``to=None`` takes it out."""
    content = copy.deepcopy(MINIMAL)
    place = content
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return content


def test_a_table_keeps_the_printed_order_and_leaves_empty_cells_nan(printed):
    paper = printed(MINIMAL)()
    table = paper.table("table1")
    assert (list(table.index), list(table.columns)) == (["ours", "theirs"], ["F1", "accuracy"])
    assert table.loc["ours", "F1"] == 0.5
    assert math.isnan(table.loc["ours", "accuracy"])
    assert table.dtypes.eq(float).all()
    with pytest.raises(KeyError, match="tiny prints no table9; it has table1"):
        paper.table("table9")


def test_papers_claims_and_what_is_stated_are_found_by_key_id_and_part(printed):
    printed(MINIMAL)
    assert printed_numbers.keys() == ["tiny"]
    whole = {"kind": "greater", "printed": 0.1, "margin": None, "tolerance": None}
    assert printed_numbers.claim("tiny.c1").stated() == whole
    assert printed_numbers.claim("tiny.c2").stated("a") == PARTS["a"]
    with pytest.raises(ValueError, match=r"tiny makes no claim tiny\.c9; its claims are tiny\.c1, tiny\.c2"):
        printed_numbers.claim("tiny.c9")
    for unknown in ("huge", "x" * 3000):  # the other cannot name a file
        with pytest.raises(ValueError, match=rf"no printed numbers for '{unknown}': .*{unknown}\.yaml .*; known: tiny"):
            printed_numbers.claim(f"{unknown}.c1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "paper: Field required"),
        ("tables: [", "while parsing"),
        ("a: " + "[" * 3000, "maximum recursion depth"),
        ("# a comment\n" + yaml.safe_dump(MINIMAL) + "errata: []\n", "line 2: errata stands twice"),
        (changed("errata", to=None), "errata: Field required"),
        (changed("errata", to="none"), "errata: Input should be a valid list, not 'none'"),
        (changed("figures", to=[]), r"figures: Input should be a valid dictionary, not \[\]"),
        (changed("claims", to=["c1"]), r"claims: Input should be a valid dictionary, not \['c1'\]"),
        (changed("paper", to="tiny"), "paper: Input should be a valid dictionary, not 'tiny'"),
        (changed("paper", "key", to="other"), "is of the paper 'other'; the key is the name of the file"),
        (changed("tables", "table1", "rows", to=None), "tables, table1, rows: Field required"),
        (changed("tables", "table1", "columns", to=None), "tables, table1, columns: Field required"),
        (changed("tables", "table1", "columns", to=["F1"]), "table1: row 'ours' has 2 cells for 1 columns; write null"),
        (changed("tables", "table1", "columns", to=["F1", "F1"]), "table1: has two columns of one name; tell them"),
        (changed("tables", "table1", "rows", "ours", to=[0.5, "1e-3"]), "ours, 1: Input should be .*, not '1e-3'"),
        (changed("tables", "table1", "rows", "ours", to=[0.5, True]), "ours, 1: Input should be .* number, not True"),
        (changed("claims", "tiny.c1", "kind", to="better"), r"tiny\.c1, kind: .* 'greater', 'less', .*, not 'better'"),
        (changed("claims", "tiny.c1", "margins", to=1.0), r"tiny\.c1, margins: Extra inputs are not permitted"),
        (changed("claims", "tiny.c1", "printed", to=None), r"tiny\.c1, printed: Field required"),
        (changed("claims", "tiny.c1", "kind", to="equivalent"), r"tiny\.c1: is of kind equivalent and needs a margin"),
        (changed("claims", "tiny.c1", "kind", to="order"), r"tiny\.c1: is of kind order and needs parts"),
        (changed("claims", "tiny.c2", "kind", to="count"), r"tiny\.c2: is of kind count and needs at_least"),
        (changed("claims", "tiny.c2", "parts", "b", to={}), r"tiny\.c2, parts, b, kind: Field required"),
        (changed("claims", "tiny.c2", "parts", "a", "margin", to=None), r"tiny\.c2, parts, a: .* needs a margin"),
        (changed("claims", "ugn.c1", to=CLAIM), r"claim ugn\.c1 must be called tiny\.c1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_file_and_the_entry(printed, content, message):
    with pytest.raises(ValueError, match=rf"^tiny\.yaml: .*{message}"):
        printed(content)()
