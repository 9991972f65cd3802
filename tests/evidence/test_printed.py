import copy
import math

import pytest
import yaml

from uncertain_affect.compute import paths
from uncertain_affect.evidence import printed as papers
from uncertain_affect.evidence.claims import KINDS

MINIMAL = {
    "paper": {"key": "tiny", "title": "T", "authors": "A", "venue": "V", "year": 2020, "corpora": ["ferplus"]},
    "tables": {
        "table1": {"title": "t", "columns": ["F1", "accuracy"], "rows": {"ours": [0.5, None], "theirs": [1, 2]}}
    },
    "figures": {"figure1": {"title": "f", "shows": "s"}},
    "claims": {
        "tiny.c1": {"where": "w", "statement": "s", "kind": "greater", "printed": {"effect": 0.1}},
        "tiny.c2": {
            "where": "w",
            "statement": "s",
            "kind": "all",
            "printed": {},
            "parts": {"a": {"kind": "equivalent", "margin": 1.0}, "b": {"kind": "less"}},
        },
    },
    "errata": [],
}


@pytest.fixture
def printed(tmp_path, monkeypatch):
    """Writes printed numbers, as text or content, and returns how to load them."""
    folder = tmp_path / "results" / "printed"
    folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)

    def write(content, key="tiny"):
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (folder / f"{key}.yaml").write_text(text, encoding="utf-8")
        papers.load.cache_clear()
        return lambda: papers.load(key)

    yield write
    papers.load.cache_clear()


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
    assert list(table.index) == ["ours", "theirs"]
    assert list(table.columns) == ["F1", "accuracy"]
    assert table.loc["ours", "F1"] == 0.5
    assert math.isnan(table.loc["ours", "accuracy"])
    assert table.dtypes.eq(float).all()
    assert paper.owned() == ["table1", "figure1", "tiny.c1", "tiny.c2"]


def test_a_table_that_is_not_printed(printed):
    with pytest.raises(KeyError, match="tiny prints no table9; it has table1"):
        printed(MINIMAL)().table("table9")


def test_papers_and_claims_are_found_by_key_and_id(printed):
    printed(MINIMAL)
    assert papers.keys() == ["tiny"]
    assert papers.claim("tiny.c1").printed == {"effect": 0.1}
    with pytest.raises(ValueError, match=r"tiny makes no claim tiny\.c9; its claims are tiny\.c1, tiny\.c2"):
        papers.claim("tiny.c9")
    with pytest.raises(ValueError, match=r"no printed numbers for 'huge': huge\.yaml is not in .*; known: tiny"):
        papers.claim("huge.c1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "lacks claims, errata, figures, paper, tables"),
        ("tables: [", "while parsing"),
        (yaml.safe_dump(MINIMAL) + "errata: []\n", "errata stands twice"),
        (changed("errata", to=None), "lacks errata"),
        (changed("paper", "key", to="other"), "is of the paper 'other'"),
        (changed("tables", "table1", "columns", to=["F1"]), "table1, row 'ours' has 2 cells for 1 columns; .*null"),
        (changed("tables", "table1", "columns", to=["F1", "F1"]), "table1 has two columns of one name"),
        (changed("tables", "table1", "rows", "ours", to=[0.5, "1e-3"]), "row 'ours' has '1e-3'; cells are numbers"),
        (changed("tables", "table1", "rows", "ours", to=[0.5, True]), "row 'ours' has True"),
        (changed("claims", "tiny.c1", "kind", to="better"), r"tiny\.c1 has kind 'better'; kinds are greater, less"),
        (changed("claims", "tiny.c1", "margins", to=1.0), r"tiny\.c1 has the unknown key margins"),
        (changed("claims", "tiny.c1", "printed", to=None), r"tiny\.c1 lacks printed"),
        (changed("claims", "tiny.c1", "kind", to="equivalent"), r"tiny\.c1 is of kind equivalent and needs a margin"),
        (changed("claims", "tiny.c1", "kind", to="order"), r"tiny\.c1 is of kind order and needs parts"),
        (changed("claims", "tiny.c1", "kind", to="qualitative"), r"tiny\.c1 is of kind qualitative and needs note"),
        (changed("claims", "tiny.c2", "kind", to="count"), r"tiny\.c2 is of kind count and needs at_least"),
        (changed("claims", "tiny.c2", "parts", "b", to={}), r"tiny\.c2, part 'b', has kind None"),
        (changed("claims", "tiny.c2", "parts", "a", "margin", to=None), r"tiny\.c2, part 'a', .* needs a margin"),
        (changed("claims", "ugn.c1", to=MINIMAL["claims"]["tiny.c1"]), r"claim ugn\.c1 must be called tiny\.c1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_file_and_the_entry(printed, content, message):
    with pytest.raises(ValueError, match=rf"^tiny\.yaml: .*{message}"):
        printed(content)()


# --- the committed numbers --------------------------------------------------------------------------------


def test_every_committed_paper_loads():
    assert "uncnet" in papers.keys()
    for key in papers.keys():
        paper = papers.load(key)
        assert paper.key == key
        assert {"title", "authors", "venue", "year", "url", "corpora"} <= set(paper.info)
        assert all({"where", "printed", "recomputed"} <= set(erratum) for erratum in paper.errata)
        assert {claim.kind for claim in paper.claims.values()} <= set(KINDS)
        for name in paper.tables:
            assert paper.table(name).notna().any(axis=None)


def test_uncnet_has_every_printed_cell():
    paper = papers.load("uncnet")
    assert {name: paper.table(name).shape for name in paper.tables} == {
        "table1": (4, 6),
        "table2": (2, 6),
        "table3": (5, 1),
    }
    assert all(paper.table(name).notna().all(axis=None) for name in paper.tables)
    assert list(paper.claims) == [f"uncnet.c{i}" for i in range(1, 11)]
    assert list(paper.figures) == [f"figure{i}" for i in range(1, 5)]
    assert paper.table("table3").loc["UncNet - low U_a", "Accuracy"] == 62.481


def test_uncnets_printed_effects_follow_from_its_printed_tables():
    paper = papers.load("uncnet")
    accuracy, layers = paper.table("table3")["Accuracy"], paper.table("table1").loc["Accuracy CASIA-WebFace"]
    c8, c10 = paper.claims["uncnet.c8"].parts, paper.claims["uncnet.c10"].parts
    assert c8["UncNet - Baseline"]["printed"] == pytest.approx(accuracy["UncNet"] - accuracy["Baseline"])
    for u in ("U_e", "U_a", "U_t"):
        gain = accuracy[f"UncNet - low {u}"] - accuracy["UncNet"]
        assert c8[f"low {u} - all"]["printed"] == pytest.approx(gain)
    for name, part in c10.items():
        assert part["printed"] == pytest.approx(layers["Mixed-7a"] - layers[name.removeprefix("Mixed-7a - ")])
    c6 = paper.claims["uncnet.c6"].printed
    assert c6["effect"] == pytest.approx(c6["uncnet"][0] - c6["baseline"][0])
    for part in paper.claims["uncnet.c9"].parts:
        assert paper.claims["uncnet.c9"].parts[part]["printed"] == paper.table("table2").loc[part.split()[1], "ECE"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("tables", "table1", "rows", to=None), "tiny.yaml: table1 lacks rows"),
        (changed("tables", "table1", "columns", to=None), "tiny.yaml: table1 lacks columns"),
        (changed("claims", to=["c1"]), "tiny.yaml is not built as printed numbers are"),
        (changed("figures", to=[]), "tiny.yaml is not built as printed numbers are: TypeError: figures is no dict"),
        (changed("errata", to="none"), "tiny.yaml is not built as printed numbers are: TypeError: errata is no list"),
        (changed("paper", to="tiny"), "tiny.yaml is not built as printed numbers are"),
        ("a: " + "[" * 3000, "tiny.yaml is not built as printed numbers are: RecursionError"),
    ],
)
def test_what_is_built_otherwise_is_named_and_no_traceback(printed, content, message):
    with pytest.raises(ValueError, match=message):
        printed(content)()


def test_a_key_that_cannot_name_a_file_is_one_that_is_not_known(printed):
    printed(MINIMAL)
    with pytest.raises(ValueError, match="known: tiny"):
        papers.claim(f"{'x' * 3000}.c1")
