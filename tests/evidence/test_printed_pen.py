"""PEN's printed effects and errata follow from its printed cells."""

import itertools

import numpy as np
import pytest
from paper_numbers import effects, entry, erratum

from uncertain_affect.evidence import printed

DIMENSIONS = ("valence", "arousal")
SIZES = ("5%", "10%", "20%", "30%", "50%")
PAPER = printed.load("pen")
TEXT = PAPER.text
TABLE1, TABLE2 = PAPER.table("table1"), PAPER.table("table2")


def ccc(dimension, model, n):
    return TABLE1.at[f"{dimension.capitalize()} {model}", n]


def gain_of_source(net, dimension, n):
    return ccc(dimension, f"s-{net}", n) - ccc(dimension, f"t-{net}", n)


def test_only_networks_trained_on_target_data_alone_lack_a_cell_and_table_2_repeats_table_1():
    empty = TABLE1.isna()
    assert list(empty.index[empty["0%"]]) == ["Valence t-SN", "Valence t-PEN", "Arousal t-SN", "Arousal t-PEN"]
    assert not empty.drop(columns="0%").any(axis=None)
    for n, dimension in itertools.product(("0%", "5%"), DIMENSIONS):
        assert TABLE2.at[f"s-PEN {n}", dimension.capitalize()] == ccc(dimension, "s-PEN", n)


# --- claims -----------------------------------------------------------------------------------------------


def test_gains_of_source_training():
    parts = itertools.product(("SN", "PEN"), DIMENSIONS, SIZES)
    gains = {f"{net} {dimension} {n}": gain_of_source(net, dimension, n) for net, dimension, n in parts}
    assert erratum(PAPER, "section 4, Table 1", "improved performance") == {
        "parts with a gain": sum(round(gain, 2) > 0 for gain in gains.values()),
        "parts": len(gains),
        "s-SN - t-SN for valence at 50%": gains["SN valence 50%"],
    }
    averages = {
        f"{net} {d}": np.mean([gains[f"{net} {d} {n}"] for n in SIZES]) for net in ("SN", "PEN") for d in DIMENSIONS
    }
    assert effects(PAPER, "pen.c1") == pytest.approx(averages)
    assert gains.pop("SN valence 50%") == 0  # the tie is in its average and not listed
    assert PAPER.claims["pen.c1"].printed["at n"] == pytest.approx(gains)
    assert min(gains.values()) > 0


def test_gains_of_experts():
    gain = {(d, n): ccc(d, "s-PEN", n) - ccc(d, "s-SN", n) for d in DIMENSIONS for n in TABLE1.columns}
    assert effects(PAPER, "pen.c2") == pytest.approx({f"{d} {n}": gain[d, n] for d in DIMENSIONS for n in SIZES[1:]})
    recomputed = erratum(PAPER, "abstract")
    assert recomputed["largest gain"] == pytest.approx(max(gain.values()))
    for dimension in DIMENSIONS:
        assert gain[dimension, "0%"] == pytest.approx(-0.01)
        assert gain[dimension, "5%"] == 0
        mean = np.mean([gain[dimension, n] for n in TABLE1.columns])
        assert recomputed[f"mean gain for {dimension}"] == pytest.approx(mean, abs=5e-4)
    # the delta of what has no printed number
    assert np.mean([gain[d, n] for d in DIMENSIONS for n in SIZES]) == pytest.approx(0.019)
    for claim in ("c5", "c8", "c9", "c10"):
        claim = PAPER.claims[f"pen.{claim}"]
        assert claim.delta_of("a" if isinstance(claim.primary, dict) else "") == round(0.019 / 2, 2)


def test_gains_of_the_first_5_percent():
    pairs = itertools.product(("SN", "PEN"), DIMENSIONS)
    gains = {f"{net} {d}": ccc(d, f"s-{net}", "5%") - ccc(d, f"s-{net}", "0%") for net, d in pairs}
    assert effects(PAPER, "pen.c3") == pytest.approx(gains)


def test_margins_of_pen_over_those_of_sn():
    pairs = itertools.product(DIMENSIONS, SIZES)
    margins = {f"{d} {n}": gain_of_source("PEN", d, n) - gain_of_source("SN", d, n) for d, n in pairs}
    judged = {name: margin for name, margin in margins.items() if round(margin, 2) != 0}
    assert set(margins) - set(judged) == {"valence 10%"}  # the tie is no part
    assert effects(PAPER, "pen.c4") == pytest.approx(judged, abs=1e-9)
    assert PAPER.claims["pen.c4"].printed_effect() == pytest.approx(0.003, abs=5e-4)
    recomputed = erratum(PAPER, "section 4, Table 1", "larger margin")
    for dimension in DIMENSIONS:
        expected = [margins[f"{dimension} {n}"] for n in SIZES]
        assert recomputed[f"PEN - SN margin for {dimension}"] == pytest.approx(expected, abs=1e-9)
    true = {n for n in SIZES if all(round(margins[f"{dimension} {n}"], 2) > 0 for dimension in DIMENSIONS)}
    assert true == {"20%", "30%", "50%"}
    beyond_rounding = {name for name, margin in margins.items() if round(abs(margin), 2) > 0.02}
    assert beyond_rounding == {"valence 5%", "arousal 5%", "valence 50%"}


def test_margins_over_other_systems():
    others = {"End2You": "End2You", "AVEC 2016": "AVEC 2016 Baseline"}
    margins = {
        f"{d} - {name}": TABLE2.at["s-PEN 0%", d.capitalize()] - TABLE2.at[row, d.capitalize()]
        for d, (name, row) in itertools.product(DIMENSIONS, others.items())
    }
    assert effects(PAPER, "pen.c7") == pytest.approx(margins)


# --- errata -----------------------------------------------------------------------------------------------


def test_parameters():
    parameters, features, outputs = (TEXT[name] for name in ("parameters", "features", "outputs"))
    experts = TEXT["people"]["source"]
    assert parameters["expert"] == (features + 1) * outputs
    assert parameters["gate"] == (features + 1) * experts
    assert (parameters["expert_biases"], parameters["gate_biases"]) == (outputs, experts)
    kronecker = np.kron(np.ones(experts), np.ones((experts, outputs)))
    for where, recomputed in {
        "Eq. 3": {"weights": features * outputs, "weights and biases": parameters["expert"]},
        "Eq. 1": {"outputs of the sum": outputs, "entries of the Kronecker product": kronecker.size},
        "Eq. 5": {"factor": outputs},
        "Eq. 7": {"factor": experts},
        "section 3.4": {"n_s": experts, "n_t": TEXT["people"]["target"]},
    }.items():
        assert erratum(PAPER, where) == recomputed
    assert erratum(PAPER, "section 4", "raters") == {"raters": TEXT["raters"] + 1}


def test_the_gate_at_zero_is_uniform():
    experts = TEXT["people"]["source"]
    recomputed = erratum(PAPER, "section 3.3", "L1")
    assert recomputed["largest weight at h = 0"] == pytest.approx(1 / experts, abs=5e-4)
    assert recomputed["entropy at h = 0"] == pytest.approx(np.log(experts), abs=5e-4)


def test_the_grid_falls_only_at_zero():
    grid = erratum(PAPER, "section 4", "10^-4")
    assert [*grid[:2], *grid[4:]] == [*TEXT["lambda_grid"]["first"], *TEXT["lambda_grid"]["last"]]
    assert grid[2:4] == pytest.approx([0.01, 0.1])
    assert [later for earlier, later in itertools.pairwise(grid) if later < earlier] == [0]
    assert {TEXT["lambda_0"], TEXT["lambda_1"]} <= set(grid)


def test_averages_of_table_2():
    averages = TABLE2[["Valence", "Arousal"]].mean(axis=1)
    found = entry(PAPER, "Table 2")
    wrong = list(found["recomputed"])
    assert found["printed"] == TABLE2["Avg."][wrong].to_dict()
    assert found["recomputed"] == pytest.approx(averages[wrong].to_dict())
    # rounded half up; every average not in the errata is exact
    assert (TABLE2["Avg."] - averages)[wrong].to_numpy() == pytest.approx(0.005)
    assert TABLE2["Avg."].drop(wrong).to_numpy() == pytest.approx(averages.drop(wrong))


def test_how_near_a_random_split_leaves_an_adapted_frame():
    found, means = TEXT["video"]["frames_with_face"], []
    generator = np.random.default_rng(0)
    for _ in range(40):
        order = generator.permutation(found)
        adapted = np.sort(order[: TEXT["adaptation"]["frames_per_person_at_5"]])
        test = order[found // 2 :]
        right = np.searchsorted(adapted, test)
        means.append(np.abs(test[:, None] - adapted[np.c_[right - 1, right] % len(adapted)]).min(axis=1).mean())
    recomputed = erratum(PAPER, "section 4", "at random")
    # far from the ends a share p is adapted on either side, and the distance has the mean 1 / (1 - (1 - p)^2)
    expected = 1 / (1 - 0.95**2)
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / np.sqrt(len(means)))
    assert recomputed["frames to the nearest adapted one at 5%"] == pytest.approx(expected, abs=0.05)
    assert recomputed["seconds"] == pytest.approx(expected / TEXT["video"]["fps"], abs=0.005)


def test_numbers_that_the_text_gives_more_than_once():
    assert PAPER.claims["pen.c5"].printed["people"] == TEXT["people"]["target"]
    assert PAPER.claims["pen.c8"].printed["epochs"] == TEXT["epochs"]["joint_before_stopping"]
    assert f"after {TEXT['epochs']['sn_and_pen']} epochs" in PAPER.claims["pen.c8"].note
    video, adaptation = TEXT["video"], TEXT["adaptation"]
    assert video["frames_with_face"] < video["minutes"] * 60 * video["fps"] == 7500
    assert adaptation["frames_per_person_at_5"] == 0.05 * video["frames_with_face"]
    assert adaptation["frames_at_5"] == adaptation["frames_per_person_at_5"] * TEXT["people"]["target"]
    assert [f"{n}%" for n in adaptation["percent"]] == list(SIZES)
    assert adaptation["percent"][-1] + TEXT["test_percent"] == sum(TEXT["source_percent"].values()) == 100
    assert adaptation["times_as_many_at_50"] == adaptation["percent"][-1] / adaptation["percent"][0]
