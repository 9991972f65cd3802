"""The committed numbers of all papers: complete, and copied without a slip; UncNet's effects follow from its cells."""

import pytest
from paper_numbers import effects

from uncertain_affect.evidence import printed

SHAPES = {
    "distill": {"table5": (4, 5), "table6": (6, 13), "table7": (6, 3)},
    "pen": {"table1": (8, 6), "table2": (4, 3)},
    "rock": dict(table1=(3, 8), table2=(5, 8), table3=(2, 8), table4=(4, 8), table5=(31, 3), table6=(9, 2))
    | {"table7": (28, 8)},
    "ugn": {"table1": (13, 10), "table2": (13, 10), "table3": (9, 10)},
    "uncnet": {"table1": (4, 6), "table2": (2, 6), "table3": (5, 1)},
}
FIGURES = {"distill": [6], "pen": range(1, 5), "rock": range(1, 6), "ugn": range(1, 5), "uncnet": range(1, 5)}
N_CLAIMS = {"distill": 10, "pen": 11, "rock": 10, "ugn": 10, "uncnet": 10}
WITH_GAPS = {("distill", "table7"), ("pen", "table1"), ("rock", "table5"), ("rock", "table6")}
# the printed rows, added up by hand
SUMS = {
    ("distill", "table5"): [4.2346, 4.4190, 4.3094, 4.4930],
    ("distill", "table6"): [5.100, 4.529, 4.538, 4.524, 5.065, 4.967],
    ("distill", "table7"): [1.716, 1.455, 1.469, 1.471, 0.955, 1.647],
    ("pen", "table1"): [4.78, 4.88, 3.91, 4.00, 4.70, 4.77, 3.91, 3.98],
    ("pen", "table2"): [2.04, 2.39, 1.49, 1.49],
    ("rock", "table1"): [3.116, 3.107, 3.046],
    ("rock", "table2"): [3.099, 3.131, 3.134, 3.111, 3.096],
    ("rock", "table3"): [3.113, 3.107],
}


@pytest.mark.parametrize("key", SHAPES)
def test_every_cell_figure_and_claim_is_there(key):
    paper = printed.load(key)
    assert paper.key == key
    assert {"title", "authors", "venue", "year", "url", "corpora"} <= set(paper.info)
    assert all({"where", "printed", "recomputed"} <= set(one) for one in paper.errata)
    tables = {name: paper.table(name) for name in paper.tables}
    assert {name: table.shape for name, table in tables.items()} == SHAPES[key]
    assert list(paper.figures) == [f"figure{i}" for i in FIGURES[key]]
    assert list(paper.claims) == [f"{key}.c{i}" for i in range(1, N_CLAIMS[key] + 1)]
    for name, table in tables.items():
        assert table.notna().any(axis=None)
        assert table.isna().any(axis=None) == ((key, name) in WITH_GAPS)
        if (key, name) in SUMS:
            assert table.sum(axis=1).to_numpy() == pytest.approx(SUMS[key, name])
    assert printed.keys() == sorted(SHAPES)


# claims, and with how many cells printed with so many decimals each of their parts is computed
CELLS = {
    "distill": {"c1": (2, 4), "c2": (2, 4), "c3": (2, 4), "c4": (2, 3), "c6": (2, 3), "c7": (2, 3), "c8": (2, 3)},
    "pen": {"c1": (2, 2), "c2": (2, 2), "c3": (2, 2), "c4": (4, 2), "c7": (2, 2)},
}


@pytest.mark.parametrize("key", CELLS)
def test_a_tolerance_is_twice_what_rounding_can_do(key):
    for claim, (cells, decimals) in CELLS[key].items():
        for part in printed.load(key).claims[f"{key}.{claim}"].parts.values():
            assert part["tolerance"] == pytest.approx(2 * cells * 0.5 * 10**-decimals)


@pytest.mark.parametrize(("key", "claims"), [("pen", ["c5", "c6", "c8", "c9", "c10", "c11"]), ("rock", ["c6", "c10"])])
def test_what_has_no_printed_number_claims_none(key, claims):
    for claim in claims:
        assert set(effects(printed.load(key), f"{key}.{claim}").values()) == {None}


def test_uncnets_printed_effects_follow_from_its_printed_tables():
    paper = printed.load("uncnet")
    accuracy, layers = paper.table("table3")["Accuracy"], paper.table("table1").loc["Accuracy CASIA-WebFace"]
    assert accuracy["UncNet - low U_a"] == 62.481
    gains = {f"low {u} - all": accuracy[f"UncNet - low {u}"] - accuracy["UncNet"] for u in ("U_e", "U_a", "U_t")}
    gains["UncNet - Baseline"] = accuracy["UncNet"] - accuracy["Baseline"]
    assert effects(paper, "uncnet.c8") == pytest.approx(gains)
    steps = effects(paper, "uncnet.c10")
    assert steps == pytest.approx({n: layers["Mixed-7a"] - layers[n.removeprefix("Mixed-7a - ")] for n in steps})
    c6 = paper.claims["uncnet.c6"].printed
    assert c6["effect"] == pytest.approx(c6["baseline"][0] - c6["uncnet"][0])
    ece = paper.table("table2")["ECE"]
    expected = {f"ECE {network}": value for network, value in ece.items()}
    expected["ECE Baseline - UncNet"] = ece["Baseline"] - ece["UncNet"]
    found = effects(paper, "uncnet.c9")
    assert {name: value for name, value in found.items() if value is not None} == pytest.approx(expected)
    assert set(found) - set(expected) == {"BCE constant - Baseline", "BCE constant - UncNet"}
