import copy
import math

import pytest
import yaml

from uncertain_affect.compute import paths
from uncertain_affect.evidence import printed as printed_numbers

ABOUT = {"where": "w", "statement": "More of this.", "says": "s", "endpoint": "e", "requires": {"learnt": ["A"]}} | {
    "decides": ["ferplus"], "print": "nothing", "why": "y", "primary": "single",
}  # fmt: skip
CLAIM = ABOUT | {"kind": "greater", "printed": {"effect": 0.1}}
PARTS = {"A x": {"assertion": "a", "kind": "equivalent", "margin": 1.0}} | {
    f"{name} y": {"assertion": "b", "kind": "greater", "printed": effect} for name, effect in (("B", 0.1), ("C", 0.3))
}
APART = ABOUT | {"primary": {"a": "single", "b": "mean"}, "printed": {}, "parts": PARTS}
TASKS = {"A task": {"kind": "greater"}, "B task": {"kind": "greater"}}
OPEN = ABOUT | {"primary": "mean", "delta": 0.2, "parts_of": "any corpus", "printed": {}, "parts": TASKS}
ROWS = {"ours": [0.5, None], "theirs": [1, 2]}
MINIMAL = {
    "paper": {"key": "tiny", "title": "T", "authors": "A", "venue": "V", "year": 2020, "corpora": ["ferplus"]},
    "tables": {"table1": {"title": "t", "columns": ["F1", "accuracy"], "rows": ROWS}},
    "figures": {"figure1": {"title": "f", "shows": "s"}},
    "claims": {"tiny.c1": CLAIM, "tiny.c2": APART, "tiny.c3": OPEN},
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
    none = dict.fromkeys(("printed", "margin", "delta", "tolerance"))
    assert printed_numbers.claim("tiny.c1").stated() == none | {"kind": "greater", "printed": 0.1}
    assert printed_numbers.claim("tiny.c2").stated("A x") == none | {"kind": "equivalent", "margin": 1.0}
    for claim, part in (("tiny.c1", "A x"), ("tiny.c2", "C x"), ("tiny.c2", ""), ("tiny.c3", "")):
        with pytest.raises(ValueError, match=f"the claim has no part '{part}'; it has"):
            printed_numbers.claim(claim).stated(part)
    with pytest.raises(ValueError, match=r"tiny makes no claim tiny\.c9; its claims are tiny\.c1, tiny\.c2"):
        printed_numbers.claim("tiny.c9")
    for unknown in ("huge", "x" * 3000):  # the other cannot name a file
        with pytest.raises(ValueError, match=rf"no printed numbers for '{unknown}': .*{unknown}\.yaml .*; known: tiny"):
            printed_numbers.claim(f"{unknown}.c1")


def test_assertions_have_their_rule_parts_printed_effect_and_delta(printed):
    single, apart, open_ = printed(MINIMAL)().claims.values()
    assert single.assertions() == {"": ("single", {"": single.stated()})}
    assert (single.printed_effect(), single.delta_of()) == (0.1, None)
    assert apart.assertions() == {
        "a": ("single", {"A x": apart.stated("A x")}),
        "b": ("mean", {name: apart.stated(name) for name in ("B y", "C y")}),
    }
    assert apart.printed_effect("a") is None
    assert apart.printed_effect("b") == pytest.approx(0.2)
    assert (open_.printed_effect(), open_.delta_of()) == (None, 0.2)
    assert list(apart.assertions(["D y"])["b"][1]) == ["B y", "C y"]  # of this paper alone


def test_of_what_is_weakest_the_printed_effect_is_the_one_least_in_favour(printed):
    weakest = {
        "A x": {"kind": "equivalent", "margin": 1.0, "printed": -0.8},
        "B x": {"kind": "greater", "printed": 0.3},
    }
    content = changed("claims", "tiny.c2", to=APART | {"primary": "weakest", "parts": weakest})
    assert printed(content)().claims["tiny.c2"].printed_effect() == -0.8


def test_a_run_on_another_corpus_has_parts_of_its_own(printed):
    parts = PARTS | {"A x": {"assertion": "a", "kind": "greater"}, "Z: w": {"assertion": "a", "kind": "greater"}}
    own = APART | {"primary": {"a": "mean", "b": "mean"}, "delta": {"a": 1.0}, "parts_of": "any corpus", "parts": parts}
    *_, apart, open_ = printed(changed("claims", "tiny.c2", to=own))().claims.values()
    assert list(open_.assertions(["C task", "A task"])[""][1]) == ["C task", "A task"]
    found = apart.assertions(["D y", "E x", "F v: w"])
    assert {letter: list(names) for letter, (_, names) in found.items()} == {"a": ["E x", "F v: w"], "b": ["D y"]}
    assert found["b"][1]["D y"] == apart.stated("B y") | {"printed": None}
    assert list(apart.assertions(["D y"])["a"][1]) == []
    with pytest.raises(ValueError, match="no part 'D z'"):
        apart.assertion_of("D z")


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
        (changed("claims", "tiny.c1", "kind", to="less"), r"tiny\.c1, kind: .* 'greater' or 'equivalent', not 'less'"),
        (changed("claims", "tiny.c1", "margins", to=1.0), r"tiny\.c1, margins: Extra inputs are not permitted"),
        (changed("claims", "tiny.c1", "printed", to=None), r"tiny\.c1, printed: Field required"),
        (changed("claims", "tiny.c1", "why", to=None), r"tiny\.c1, why: Field required"),
        (
            changed("claims", "tiny.c1", "primary", to="best"),
            r"tiny\.c1, primary, .*: .* 'weakest' or 'quoted', not 'best'",
        ),
        (changed("claims", "tiny.c3", "delta", to=0.0), r"tiny\.c3, delta, .*: Input should be greater than 0"),
        (changed("claims", "tiny.c1", "requires", "sd", to=["A"]), r"tiny\.c1, requires, sd: Input should be a valid"),
        (changed("claims", "tiny.c1", "requires", "learnt", to="A"), r"tiny\.c1, requires, learnt: Input should be a"),
        (changed("claims", "tiny.c1", "decides", to=[]), r"tiny\.c1, decides: List should have at least 1 item"),
        (changed("claims", "tiny.c1", "print", to="yes"), r"tiny\.c1, print: .*, not 'yes'"),
        (changed("claims", "tiny.c2", "parts", "B y", to={}), r"tiny\.c2, parts, B y, kind: Field required"),
        (
            changed("claims", "tiny.c2", "parts", "B y", "assertion", to="bb"),
            r"tiny\.c2, parts, B y, assertion: String",
        ),
        (changed("claims", "ugn.c1", to=CLAIM), r"claim ugn\.c1 must be called tiny\.c1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_file_and_the_entry(printed, content, message):
    with pytest.raises(ValueError, match=rf"^tiny\.yaml: .*{message}"):
        printed(content)()
