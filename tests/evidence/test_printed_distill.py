"""Iterative Distillation's printed numbers: complete, and its effects and errata follow from its printed cells."""

import numpy as np
import pytest
import torch

from uncertain_affect.evidence import printed as papers
from uncertain_affect.losses import distill as distillation

STUDENTS, OTHERS = ["Stu1", "Stu2", "Stu3"], ["Tea", "TS", "MC"]


@pytest.fixture(scope="module")
def distill():
    return papers.load("distill")


def printed(distill, claim):
    return {name: part.get("printed") for name, part in distill.claims[claim].parts.items()}


def erratum(distill, where):
    (found,) = [e for e in distill.errata if e["where"] == where]
    return found["recomputed"]


# --- what is printed --------------------------------------------------------------------------------------


def test_every_cell_figure_and_claim_is_there(distill):
    table5, table6, table7 = (distill.table(f"table{i}") for i in (5, 6, 7))
    assert (table5.shape, table6.shape, table7.shape) == ((4, 5), (6, 13), (6, 3))
    assert table5.notna().all(axis=None) and table6.notna().all(axis=None)
    assert list(table7.index[table7.isna().any(axis=1)]) == ["TS"]
    assert list(distill.tables) == ["table5", "table6", "table7"]
    assert list(distill.figures) == ["figure6"]
    assert list(distill.claims) == [f"distill.c{i}" for i in range(1, 11)]
    # the printed rows, added up by hand
    assert table5.sum(axis=1).to_numpy() == pytest.approx([4.2346, 4.4190, 4.3094, 4.4930])
    assert table6.sum(axis=1).to_numpy() == pytest.approx([5.100, 4.529, 4.538, 4.524, 5.065, 4.967])
    assert table7.sum(axis=1).to_numpy() == pytest.approx([1.716, 1.455, 1.469, 1.471, 0.955, 1.647])


def test_averages_of_table_6_are_those_of_its_cells(distill):
    table6 = distill.table("table6")
    assert list(table6.columns[:-1]) == distill.text["au_names"]
    average = table6.drop(columns="Avg.").mean(axis=1)
    assert (average - table6["Avg."]).abs().max() < 0.0005 + 1e-9


# --- claims -----------------------------------------------------------------------------------------------


def test_gains_of_balancing(distill):
    table5 = distill.table("table5")
    gains = {n: table5.at[f"w/ ba. {n}", "Total"] - table5.at[f"w/o ba. {n}", "Total"] for n in ("N=1", "N=5")}
    assert printed(distill, "distill.c1") == pytest.approx(gains)
    without = {
        f"{task} {n}": table5.at[f"w/o ba. {n}", task] - table5.at[f"w/ ba. {n}", task]
        for task in ("EXPR", "Arousal")
        for n in ("N=1", "N=5")
    }
    assert printed(distill, "distill.c2") == pytest.approx(without)


def test_gains_of_the_ensemble(distill):
    table5 = distill.table("table5")
    gains = {
        f"{arm} {task}": table5.at[f"{arm} N=5", task] - table5.at[f"{arm} N=1", task]
        for arm in ("w/o ba.", "w/ ba.")
        for task in ("AU", "EXPR", "Valence", "Arousal")
    }
    assert printed(distill, "distill.c3") == pytest.approx(gains)


def test_students_beside_the_others(distill):
    average = distill.table("table6")["Avg."]
    leads = {f"{s} - {o}": average[s] - average[o] for s in STUDENTS for o in OTHERS}
    assert printed(distill, "distill.c4") == pytest.approx(leads)
    table6 = distill.table("table6")
    lowest = table6.loc[STUDENTS].min() - table6.loc[OTHERS].min()
    assert printed(distill, "distill.c8") == pytest.approx(lowest.to_dict())
    assert list(lowest.index[lowest > 0]) == ["AU12"]
    assert distill.claims["distill.c10"].printed["effect"] == pytest.approx(average["TS"] - average["Tea"])


def test_generations(distill):
    table7 = distill.table("table7")
    nll = table7["EXPR NLL"]
    steps = {"Stu2 - Stu1": nll["Stu2"] - nll["Stu1"], "Stu3 - Stu2": nll["Stu3"] - nll["Stu2"]}
    steps |= {f"Stu3 - {o}": nll["Stu3"] - nll[o] for o in ("TS", "MC", "Tea")}
    assert printed(distill, "distill.c6") == pytest.approx(steps)
    falls = {
        f"{task} {after} - {before}": table7.at[after, f"{task} RMSE"] - table7.at[before, f"{task} RMSE"]
        for task in ("Valence", "Arousal")
        for before, after in (("Tea", "Stu1"), ("Stu1", "Stu2"), ("Stu2", "Stu3"))
    }
    assert printed(distill, "distill.c7") == pytest.approx(falls)


def test_audio(distill):
    au, expr = distill.text["au_nll"], distill.text["expr_nll"]
    c5 = distill.claims["distill.c5"]
    assert c5.printed["AU"] == [au["V"], au["VA"]]
    assert au["VA"] == distill.table("table6").at["Stu1", "Avg."]
    assert expr["VA"] == distill.table("table7").at["Stu1", "EXPR NLL"]
    assert 100 * (au["V"] - au["VA"]) / au["V"] == pytest.approx(au["percent"], abs=0.05)
    of_v = expr["VA"] / (1 - expr["percent"] / 100)
    assert c5.printed["EXPR"] == [pytest.approx(of_v, abs=0.0005), expr["VA"]]
    assert erratum(distill, "section C, 5.2%") == {"EXPR NLL of EMENet-V": pytest.approx(of_v, abs=0.0005)}
    percent = {"AU NLL": -au["percent"] / 100, "EXPR NLL": -expr["percent"] / 100}
    assert printed(distill, "distill.c5") == pytest.approx(percent)


def test_margins_are_a_fortieth_of_what_is_printed(distill):
    c9, c10 = distill.claims["distill.c9"], distill.claims["distill.c10"]
    assert c9.parts["Arousal, VA - V"]["margin"] == c10.margin == 0.01
    assert 0.01 == pytest.approx(distill.table("table6").at["Tea", "Avg."] / 40, rel=0.03)
    assert 0.01 == pytest.approx(distill.table("table7").at["Stu1", "Valence RMSE"] / 40, rel=0.03)


def test_a_tolerance_is_twice_what_rounding_can_do(distill):
    for claim, unit in {"c1": 1e-4, "c2": 1e-4, "c3": 1e-4, "c4": 1e-3, "c6": 1e-3, "c7": 1e-3, "c8": 1e-3}.items():
        for part in distill.claims[f"distill.{claim}"].parts.values():
            assert part["tolerance"] == pytest.approx(2 * 2 * unit / 2)


# --- errata -----------------------------------------------------------------------------------------------


def test_weights_of_action_units(distill):
    odds = np.array([a / b for a, b in distill.text["code"]["au_odds"]])
    as_printed = np.array(distill.text["au_weights"])
    off = np.abs(odds - as_printed) > 0.0501
    assert [name for name, o in zip(distill.text["au_names"], off, strict=True) if o] == ["AU2", "AU6"]
    assert erratum(distill, "appendix A, p of AU6") == pytest.approx(odds[3], abs=5e-4)
    recomputed = erratum(distill, "appendix A, p of AU2")
    assert recomputed["odds at 6% positives"] == pytest.approx(94 / 6, abs=0.005) == pytest.approx(odds[1], abs=0.005)
    assert recomputed["percent of positives at 24.7"] == pytest.approx(100 / 25.7, abs=0.05)
    assert erratum(distill, "appendix A, the least weight of AUs") == {
        "percent of positives": pytest.approx(100 / 1.59, abs=0.5)
    }


def test_weights_of_expressions(distill):
    code, as_printed = np.array(distill.text["code"]["expr_weights"]), np.array(distill.text["expr_weights"])
    recomputed = erratum(distill, "appendix A, p of EXPR")
    shares = code / code.sum()
    assert recomputed["from the code"] == pytest.approx(shares, abs=5e-4)
    assert recomputed["printed sum"] == pytest.approx(as_printed.sum())
    off = np.abs(shares.round(2) - as_printed) > 0.006
    assert off.nonzero()[0].tolist() == [3]  # fear
    assert recomputed["with 0.27"] == pytest.approx(as_printed.sum() + 0.03)


def test_totals_of_table_5(distill):
    table5 = distill.table("table5")
    totals = table5.drop(columns="Total").sum(axis=1)
    off = (totals - table5["Total"]).abs() > 1e-9
    assert list(table5.index[off]) == ["w/ ba. N=1"]
    assert erratum(distill, "Table 5, row 3") == pytest.approx(totals["w/ ba. N=1"])
    ranks = totals.rank(), table5["Total"].rank()
    assert ranks[0].equals(ranks[1])


def test_weights_of_algorithm_1(distill):
    recomputed = erratum(distill, "Algorithm 1, line 15")
    never_again = distillation.balancing_trace(torch.tensor([[1, 1], [2, 1], [3, 1], [4, 1], [5, 1]]))
    raw = never_again[:, 1] / never_again[:, 0]  # of the task that does not improve, over the other's 1
    assert raw[2].item() == pytest.approx(recomputed["weight after 1 epoch"])
    assert raw[3].item() == pytest.approx(recomputed["after 2"], abs=5e-4)
    assert raw[4].item() == pytest.approx(recomputed["after 3"])
    back = erratum(distill, "Algorithm 1, text")
    assert back == {
        "initial": pytest.approx(1 / distill.text["tasks"], abs=5e-4),
        "after it is set back with the others at 2": pytest.approx(1 / (1 + 2 + 2)),
    }


def test_the_exception_of_au12(distill):
    table6 = distill.table("table6").drop(columns="Avg.")
    lead = table6.loc[STUDENTS].min() - table6.loc[OTHERS].min()
    assert erratum(distill, "section C, lowest NLL") == {
        "units": len(lead),
        "units where a student is lowest": int((lead < 0).sum()),
        "AU12 lowest student - lowest other": pytest.approx(lead["AU12"]),
    }
