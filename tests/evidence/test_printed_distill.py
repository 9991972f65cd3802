"""Iterative Distillation's printed effects and errata follow from its printed cells."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from paper_numbers import effects, erratum

from uncertain_affect.evidence import audit, printed
from uncertain_affect.losses import distill as distillation

STUDENTS, OTHERS = ["Stu1", "Stu2", "Stu3"], ["Tea", "TS", "MC"]
PAPER = printed.load("distill")
TEXT = PAPER.text
TABLE5, TABLE6, TABLE7 = (PAPER.table(f"table{i}") for i in (5, 6, 7))
UNITS = TABLE6.drop(columns="Avg.")


def test_averages_of_table_6_are_those_of_its_cells():
    assert list(TABLE6.columns[:-1]) == TEXT["au_names"]
    assert (UNITS.mean(axis=1) - TABLE6["Avg."]).abs().max() < 0.0005 + 1e-9
    assert list(TABLE7.index[TABLE7.isna().any(axis=1)]) == ["TS"]


# --- claims -----------------------------------------------------------------------------------------------


def test_gains_of_balancing_and_of_the_ensemble():
    def gain(ours, theirs, task):
        return TABLE5.at[ours, task] - TABLE5.at[theirs, task]

    sizes = ("N=1", "N=5")
    balanced = {n: gain(f"w/ ba. {n}", f"w/o ba. {n}", "Total") for n in sizes}
    assert effects(PAPER, "distill.c1") == pytest.approx(balanced)
    pairs = itertools.product(("EXPR", "Arousal"), sizes)
    without = {f"{task} {n}": gain(f"w/o ba. {n}", f"w/ ba. {n}", task) for task, n in pairs}
    assert effects(PAPER, "distill.c2") == pytest.approx(without)
    pairs = itertools.product(("w/o ba.", "w/ ba."), ("AU", "EXPR", "Valence", "Arousal"))
    of_ensemble = {f"{arm} {task}": gain(f"{arm} N=5", f"{arm} N=1", task) for arm, task in pairs}
    assert effects(PAPER, "distill.c3") == pytest.approx(of_ensemble)


def test_students_beside_the_others():
    average = TABLE6["Avg."]
    leads = {f"{o} - {s}": average[o] - average[s] for s, o in itertools.product(STUDENTS, OTHERS)}
    assert effects(PAPER, "distill.c4") == pytest.approx(leads)
    lead = TABLE6.loc[OTHERS].min() - TABLE6.loc[STUDENTS].min()
    assert effects(PAPER, "distill.c8") | PAPER.claims["distill.c8"].printed == pytest.approx(lead.to_dict())
    assert list(lead.index[lead < 0]) == ["AU12"]
    lead = lead.drop("Avg.")
    assert erratum(PAPER, "section C, lowest NLL") == {
        "units": len(lead),
        "units where a student is lowest": int((lead > 0).sum()),
        "AU12 lowest student - lowest other": pytest.approx(-lead["AU12"]),
    }
    scaled, c10 = TABLE6.loc["TS"] - TABLE6.loc["Tea"], PAPER.claims["distill.c10"]
    assert c10.printed["effect"] == pytest.approx(scaled["Avg."])
    assert c10.printed["units"] == pytest.approx(scaled.drop("Avg.").to_dict(), abs=1e-9)
    assert list(scaled.index[scaled.abs() > c10.margin]) == ["AU4", "AU24"]


def test_generations():
    nll = TABLE7["EXPR NLL"]
    pairs = [("Stu2", "Stu1"), ("Stu3", "Stu2"), *((other, "Stu3") for other in ("TS", "MC", "Tea"))]
    assert effects(PAPER, "distill.c6") == pytest.approx({f"{a} - {b}": nll[a] - nll[b] for a, b in pairs})
    falls = {
        f"{task} {before} - {after}": TABLE7.at[before, f"{task} RMSE"] - TABLE7.at[after, f"{task} RMSE"]
        for task in ("Valence", "Arousal")
        for before, after in itertools.pairwise(("Tea", *STUDENTS))
    }
    assert PAPER.claims["distill.c7"].printed["falls"] == pytest.approx(falls)
    steps = [f"{before} - {after}" for before, after in itertools.pairwise(("Tea", *STUDENTS))]
    means = {step: (falls[f"Valence {step}"] + falls[f"Arousal {step}"]) / 2 for step in steps}
    assert effects(PAPER, "distill.c7") == pytest.approx(means)


def test_audio():
    au, expr = TEXT["au_nll"], TEXT["expr_nll"]
    c5 = PAPER.claims["distill.c5"]
    assert c5.printed["AU"] == [au["V"], au["VA"]]
    assert (au["VA"], expr["VA"]) == (TABLE6.at["Stu1", "Avg."], TABLE7.at["Stu1", "EXPR NLL"])
    assert 100 * (au["V"] - au["VA"]) / au["V"] == pytest.approx(au["percent"], abs=0.05)
    of_v = pytest.approx(expr["VA"] / (1 - expr["percent"] / 100), abs=0.0005)
    assert c5.printed["EXPR"] == [of_v, expr["VA"]]
    assert erratum(PAPER, "section C, 5.2%") == {"EXPR NLL of EMENet-V": of_v}
    falls = {"AU NLL": au["percent"] / 100, "EXPR NLL": expr["percent"] / 100}
    assert effects(PAPER, "distill.c5") == pytest.approx(falls)


def test_margins_are_a_fortieth_of_what_is_printed():
    margins = PAPER.claims["distill.c9"].parts["Arousal, VA - V"]["margin"], PAPER.claims["distill.c10"].margin
    assert margins == (0.01, 0.01)
    for value in (TABLE6.at["Tea", "Avg."], TABLE7.at["Stu1", "Valence RMSE"]):
        assert 0.01 == pytest.approx(value / 40, rel=0.03)


# --- errata -----------------------------------------------------------------------------------------------


def test_weights_of_action_units():
    odds = np.array([a / b for a, b in TEXT["code"]["au_odds"]])
    as_printed = np.array(TEXT["au_weights"])
    off = np.abs(odds - as_printed) > 0.0501
    assert [name for name, o in zip(TEXT["au_names"], off, strict=True) if o] == ["AU2", "AU6"]
    assert erratum(PAPER, "appendix A, p of AU6") == pytest.approx(odds[3], abs=5e-4)
    recomputed = erratum(PAPER, "appendix A, p of AU2")
    assert recomputed["odds at 6% positives"] == pytest.approx(94 / 6, abs=0.005) == pytest.approx(odds[1], abs=0.005)
    assert recomputed["percent of positives at 24.7"] == pytest.approx(100 / 25.7, abs=0.05)
    least = erratum(PAPER, "appendix A, the least weight of AUs")
    assert least == {"percent of positives": pytest.approx(100 / 1.59, abs=0.5)}


def test_weights_of_expressions():
    code, as_printed = np.array(TEXT["code"]["expr_weights"]), np.array(TEXT["expr_weights"])
    recomputed, shares = erratum(PAPER, "appendix A, p of EXPR"), code / code.sum()
    assert recomputed["from the code"] == pytest.approx(shares, abs=5e-4)
    assert recomputed["printed sum"] == pytest.approx(as_printed.sum())
    assert recomputed["with 0.27"] == pytest.approx(as_printed.sum() + 0.03)
    assert (np.abs(shares.round(2) - as_printed) > 0.006).nonzero()[0].tolist() == [3]  # fear


def test_totals_of_table_5():
    totals = TABLE5.drop(columns="Total").sum(axis=1)
    off = (totals - TABLE5["Total"]).abs() > 1e-9
    assert list(TABLE5.index[off]) == ["w/ ba. N=1"]
    assert erratum(PAPER, "Table 5, row 3") == pytest.approx(totals["w/ ba. N=1"])
    assert totals.rank().equals(TABLE5["Total"].rank())


def test_weights_of_algorithm_1():
    recomputed = erratum(PAPER, "Algorithm 1, line 15")
    never_again = distillation.balancing_trace(torch.tensor([[1, 1], [2, 1], [3, 1], [4, 1], [5, 1]]))
    raw = never_again[:, 1] / never_again[:, 0]  # of the task that does not improve, over the other's 1
    assert raw[2].item() == pytest.approx(recomputed["weight after 1 epoch"])
    assert raw[3].item() == pytest.approx(recomputed["after 2"], abs=5e-4)
    assert raw[4].item() == pytest.approx(recomputed["after 3"])
    assert erratum(PAPER, "Algorithm 1, text") == {
        "initial": pytest.approx(1 / TEXT["tasks"], abs=5e-4),
        "after it is set back with the others at 2": pytest.approx(1 / (1 + 2 + 2)),
    }


# --- likelihood of action units ---------------------------------------------------------------------------


def test_the_weights_imply_constants_to_which_teachers_and_students_lose_units():
    weights = dict(zip(TEXT["au_names"], TEXT["au_weights"], strict=True))
    constant = pd.Series({unit: float(audit.base_rate_nll(audit.exact(odds)).low) for unit, odds in weights.items()})
    expected = [0.357, 0.164, 0.438, 0.569, 0.673, 0.644, 0.562, 0.135, 0.135, 0.135, 0.660, 0.279]
    assert constant.to_list() == pytest.approx(expected, abs=6e-4)
    assert constant.mean() == pytest.approx(0.396, abs=5e-4)
    absent, present = TEXT["code"]["au_odds"][1]
    assert float(audit.base_rate_nll(audit.exact(absent) / audit.exact(present)).low) == pytest.approx(0.227, abs=5e-4)
    rare = ["AU2", "AU15", "AU23", "AU24", "AU26"]
    assert list(UNITS.columns[UNITS.loc["Tea"] > constant]) == ["AU1", *rare]
    for student in STUDENTS:
        assert list(UNITS.columns[UNITS.loc[student] > constant]) == rare


def test_iterating_leaves_the_average_where_it_is_and_five_units_worse_each_time():
    students = UNITS.loc[STUDENTS]
    assert students.mean(axis=1).round(4).tolist() == [0.3484, 0.3491, 0.3480]
    steps = students.diff().iloc[1:]
    assert list(UNITS.columns[(steps > 0.0011).all()]) == ["AU6", "AU7", "AU10", "AU12", "AU25"]
