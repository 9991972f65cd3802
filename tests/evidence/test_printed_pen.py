"""PEN's printed numbers: complete, and its effects and errata follow from its printed cells."""

import itertools

import numpy as np
import pytest

from uncertain_affect.evidence import printed as papers

DIMENSIONS = ("valence", "arousal")
SIZES = ("5%", "10%", "20%", "30%", "50%")


@pytest.fixture(scope="module")
def pen():
    return papers.load("pen")


@pytest.fixture(scope="module")
def ccc(pen):
    """CCC of Table 1 by dimension, model and n."""
    table = pen.table("table1")
    return lambda dimension, model, n: table.at[f"{dimension.capitalize()} {model}", n]


def printed(pen, claim):
    return {name: part.get("printed") for name, part in pen.claims[claim].parts.items()}


def erratum(pen, where, wording=""):
    """The one erratum of a place, and of a wording where the place has several."""
    (found,) = [e for e in pen.errata if e["where"] == where and wording in str(e["printed"])]
    return found["recomputed"]


# --- what is printed --------------------------------------------------------------------------------------


def test_every_cell_figure_and_claim_is_there(pen):
    table1, table2 = pen.table("table1"), pen.table("table2")
    assert (table1.shape, table2.shape) == ((8, 6), (4, 3))
    assert table2.notna().all(axis=None)
    assert list(pen.tables) == ["table1", "table2"]
    assert list(pen.figures) == [f"figure{i}" for i in range(1, 5)]
    assert list(pen.claims) == [f"pen.c{i}" for i in range(1, 12)]
    # the printed rows, added up by hand
    assert table1.sum(axis=1).to_numpy() == pytest.approx([4.78, 4.88, 3.91, 4.00, 4.70, 4.77, 3.91, 3.98])
    assert table2.sum(axis=1).to_numpy() == pytest.approx([2.04, 2.39, 1.49, 1.49])


def test_only_networks_trained_on_target_data_alone_lack_a_cell(pen):
    table1 = pen.table("table1")
    empty = table1.isna()
    assert list(empty.index[empty["0%"]]) == ["Valence t-SN", "Valence t-PEN", "Arousal t-SN", "Arousal t-PEN"]
    assert not empty.drop(columns="0%").any(axis=None)


def test_table_2_repeats_table_1(pen, ccc):
    table2 = pen.table("table2")
    for n, dimension in itertools.product(("0%", "5%"), DIMENSIONS):
        assert table2.at[f"s-PEN {n}", dimension.capitalize()] == ccc(dimension, "s-PEN", n)


# --- claims -----------------------------------------------------------------------------------------------


def test_gains_of_source_training(pen, ccc):
    gains = {
        f"{net} {dimension} {n}": ccc(dimension, f"s-{net}", n) - ccc(dimension, f"t-{net}", n)
        for net, dimension, n in itertools.product(("SN", "PEN"), DIMENSIONS, SIZES)
    }
    assert gains.pop("SN valence 50%") == 0  # the tie is no part
    assert printed(pen, "pen.c1") == pytest.approx(gains)
    assert min(gains.values()) > 0


def test_gains_of_experts(pen, ccc):
    gain = {(d, n): ccc(d, "s-PEN", n) - ccc(d, "s-SN", n) for d in DIMENSIONS for n in ("0%", *SIZES)}
    assert printed(pen, "pen.c2") == pytest.approx({f"{d} {n}": gain[d, n] for d in DIMENSIONS for n in SIZES[1:]})
    for dimension in DIMENSIONS:
        assert gain[dimension, "0%"] == pytest.approx(-0.01)
        assert gain[dimension, "5%"] == 0


def test_gains_of_the_first_5_percent(pen, ccc):
    gains = {
        f"{net} {dimension}": ccc(dimension, f"s-{net}", "5%") - ccc(dimension, f"s-{net}", "0%")
        for net, dimension in itertools.product(("SN", "PEN"), DIMENSIONS)
    }
    assert printed(pen, "pen.c3") == pytest.approx(gains)


def test_margins_of_pen_over_those_of_sn(pen, ccc):
    margins = {
        f"{d} {n}": (ccc(d, "s-PEN", n) - ccc(d, "t-PEN", n)) - (ccc(d, "s-SN", n) - ccc(d, "t-SN", n))
        for d, n in itertools.product(DIMENSIONS, SIZES)
    }
    assert printed(pen, "pen.c4") == pytest.approx(margins, abs=1e-9)
    in_errata = erratum(pen, "section 4, Table 1", "larger margin")
    for dimension in DIMENSIONS:
        of_dimension = [margins[f"{dimension} {n}"] for n in SIZES]
        assert in_errata[f"PEN - SN margin for {dimension}"] == pytest.approx(of_dimension, abs=1e-9)
    true = {n for n in SIZES if all(round(margins[f"{dimension} {n}"], 2) > 0 for dimension in DIMENSIONS)}
    assert true == {"20%", "30%", "50%"}
    beyond_rounding = {name for name, margin in margins.items() if round(abs(margin), 2) > 0.02}
    assert beyond_rounding == {"valence 5%", "arousal 5%", "valence 50%"}


def test_margins_over_other_systems(pen):
    table2 = pen.table("table2")
    others = {"End2You": "End2You", "AVEC 2016": "AVEC 2016 Baseline"}
    margins = {
        f"{d} - {name}": table2.at["s-PEN 0%", d.capitalize()] - table2.at[row, d.capitalize()]
        for d, (name, row) in itertools.product(DIMENSIONS, others.items())
    }
    assert printed(pen, "pen.c7") == pytest.approx(margins)


def test_a_tolerance_is_twice_what_rounding_can_do(pen):
    for claim, cells in {"pen.c1": 2, "pen.c2": 2, "pen.c3": 2, "pen.c4": 4, "pen.c7": 2}.items():
        for part in pen.claims[claim].parts.values():
            assert part["tolerance"] == pytest.approx(2 * cells * 0.005)


def test_numbers_of_claims_that_stand_in_the_text_too(pen):
    assert pen.claims["pen.c5"].printed["people"] == pen.text["people"]["target"]
    assert pen.claims["pen.c8"].printed["epochs"] == pen.text["epochs"]["joint_before_stopping"]
    assert f"after {pen.text['epochs']['sn_and_pen']} epochs" in pen.claims["pen.c8"].note


def test_what_has_no_printed_number_claims_none(pen):
    for claim in ("pen.c5", "pen.c6", "pen.c8", "pen.c9", "pen.c10", "pen.c11"):
        assert set(printed(pen, claim).values()) == {None}


# --- errata -----------------------------------------------------------------------------------------------


def test_parameters(pen):
    text, parameters = pen.text, pen.text["parameters"]
    experts = text["people"]["source"]
    assert parameters["expert"] == (text["features"] + 1) * text["outputs"]
    assert parameters["gate"] == (text["features"] + 1) * experts
    assert (parameters["expert_biases"], parameters["gate_biases"]) == (text["outputs"], experts)
    assert erratum(pen, "Eq. 3") == {
        "weights": text["features"] * text["outputs"],
        "weights and biases": parameters["expert"],
    }
    kronecker = np.kron(np.ones(experts), np.ones((experts, text["outputs"])))
    assert erratum(pen, "Eq. 1") == {
        "outputs of the sum": text["outputs"],
        "entries of the Kronecker product": kronecker.size,
    }
    assert erratum(pen, "Eq. 5") == {"factor": text["outputs"]}
    assert erratum(pen, "Eq. 7") == {"factor": experts}
    assert erratum(pen, "section 3.4") == {"n_s": experts, "n_t": text["people"]["target"]}
    assert erratum(pen, "section 4", "raters") == {"raters": text["raters"] + 1}


def test_the_gate_at_zero_is_uniform(pen):
    uniform = np.full(pen.text["people"]["source"], 1 / pen.text["people"]["source"])
    recomputed = erratum(pen, "section 3.3", "L1")
    assert recomputed["largest weight at h = 0"] == pytest.approx(uniform[0], abs=5e-4)
    assert recomputed["entropy at h = 0"] == pytest.approx(-(uniform * np.log(uniform)).sum(), abs=5e-4)


def test_the_grid_falls_only_at_zero(pen):
    grid = erratum(pen, "section 4", "10^-4")
    assert [*grid[:2], *grid[4:]] == [*pen.text["lambda_grid"]["first"], *pen.text["lambda_grid"]["last"]]
    assert grid[2:4] == pytest.approx([0.01, 0.1])
    assert [later for earlier, later in itertools.pairwise(grid) if later < earlier] == [0]
    assert {pen.text["lambda_0"], pen.text["lambda_1"]} <= set(grid)


def test_the_tie_of_source_training(pen, ccc):
    gains = [
        round(ccc(dimension, f"s-{net}", n) - ccc(dimension, f"t-{net}", n), 2)
        for net, dimension, n in itertools.product(("SN", "PEN"), DIMENSIONS, SIZES)
    ]
    assert erratum(pen, "section 4, Table 1", "improved performance") == {
        "parts with a gain": sum(gain > 0 for gain in gains),
        "parts": len(gains),
        "s-SN - t-SN for valence at 50%": ccc("valence", "s-SN", "50%") - ccc("valence", "t-SN", "50%"),
    }
    assert len(pen.claims["pen.c1"].parts) == sum(gain > 0 for gain in gains)


def test_how_great_the_gain_of_experts_is(pen, ccc):
    gains = {
        d: np.array([ccc(d, "s-PEN", n) - ccc(d, "s-SN", n) for n in pen.table("table1").columns]) for d in DIMENSIONS
    }
    recomputed = erratum(pen, "abstract")
    assert recomputed["largest gain"] == pytest.approx(max(gain.max() for gain in gains.values()))
    for dimension, gain in gains.items():
        assert recomputed[f"mean gain for {dimension}"] == pytest.approx(gain.mean(), abs=5e-4)


def test_averages_of_table_2(pen):
    table2 = pen.table("table2")
    averages = table2[["Valence", "Arousal"]].mean(axis=1)
    recomputed = erratum(pen, "Table 2")
    (as_printed,) = [e["printed"] for e in pen.errata if e["where"] == "Table 2"]
    assert as_printed == table2["Avg."][list(recomputed)].to_dict()
    assert recomputed == pytest.approx({row: averages[row] for row in recomputed})
    # rounded half up; every average not in the errata is exact
    assert (table2["Avg."] - averages)[list(recomputed)].to_numpy() == pytest.approx(0.005)
    assert table2["Avg."].drop(list(recomputed)).to_numpy() == pytest.approx(averages.drop(list(recomputed)))


def test_how_near_a_random_split_leaves_an_adapted_frame(pen):
    video, found = pen.text["video"], pen.text["video"]["frames_with_face"]
    generator = np.random.default_rng(0)
    means = []
    for _ in range(40):
        order = generator.permutation(found)
        adapted = np.sort(order[: pen.text["adaptation"]["frames_per_person_at_5"]])
        test = order[found // 2 :]
        right = np.searchsorted(adapted, test)
        means.append(np.abs(test[:, None] - adapted[np.c_[right - 1, right] % len(adapted)]).min(axis=1).mean())
    recomputed = erratum(pen, "section 4", "at random")
    frames = recomputed["frames to the nearest adapted one at 5%"]
    # far from the ends a share p is adapted on either side, and the distance has the mean 1 / (1 - (1 - p)^2)
    expected = 1 / (1 - 0.95**2)
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / np.sqrt(len(means)))
    assert frames == pytest.approx(expected, abs=0.05)
    assert recomputed["seconds"] == pytest.approx(expected / video["fps"], abs=0.005)


def test_numbers_of_frames(pen):
    video, adaptation = pen.text["video"], pen.text["adaptation"]
    assert video["frames_with_face"] < video["minutes"] * 60 * video["fps"] == 7500
    assert adaptation["frames_per_person_at_5"] == 0.05 * video["frames_with_face"]
    assert adaptation["frames_at_5"] == adaptation["frames_per_person_at_5"] * pen.text["people"]["target"]
    assert [f"{n}%" for n in adaptation["percent"]] == list(SIZES)
    assert adaptation["percent"][-1] + pen.text["test_percent"] == sum(pen.text["source_percent"].values()) == 100
    assert adaptation["times_as_many_at_50"] == adaptation["percent"][-1] / adaptation["percent"][0]
