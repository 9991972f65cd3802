"""HAN-ROCK's printed numbers: complete, and its effects and errata follow from its printed cells."""

import numpy as np
import pandas as pd
import pytest

from uncertain_affect.evidence import printed as papers
from uncertain_affect.models.rock import FAMILIES, seventeen_tasks

TASKS = (
    *(f"IEMOCAP {dimension}" for dimension in ("emotion", "valence", "activation", "dominance")),
    *(f"SEMAINE {dimension}" for dimension in ("activation", "intensity", "power", "valence")),
)
SIZES = (256, 192, 128, 64, 1)
SMALLER = [f"P = {p}" for p in SIZES[1:]]
CLASSES = ("sad", "angry", "happy", "neutral")
SIGN = pd.Series(dict.fromkeys(TASKS, -1) | {"IEMOCAP emotion": 1})  # of what is better, MAE or accuracy


@pytest.fixture(scope="module")
def rock():
    return papers.load("rock")


@pytest.fixture(scope="module")
def tables(rock):
    return {name: rock.table(name) for name in rock.tables}


@pytest.fixture(scope="module")
def families(tables):
    """By Table 7's weights, aphf where any past or future label has one."""
    labels = tables["table7"].filter(like="Y_", axis=0)
    return labels.any().map({True: "aphf", False: "ap"})


def gain(better, worse):
    """How much a row of one table improves on another, by task."""
    return (better - worse) * SIGN


def printed(rock, claim):
    return {name: part.get("printed") for name, part in rock.claims[claim].parts.items()}


def erratum(rock, where):
    (found,) = [e for e in rock.errata if e["where"] == where]
    return found["recomputed"]


# --- what is printed --------------------------------------------------------------------------------------


def test_every_cell_figure_and_claim_is_there(rock, tables):
    assert {name: table.shape for name, table in tables.items()} == {
        "table1": (3, 8),
        "table2": (5, 8),
        "table3": (2, 8),
        "table4": (4, 8),
        "table5": (31, 3),
        "table6": (9, 2),
        "table7": (28, 8),
    }
    for name in ("table1", "table2", "table3", "table7"):
        assert tuple(tables[name].columns) == TASKS
    for name in ("table1", "table2", "table3", "table4", "table7"):
        assert tables[name].notna().all(axis=None)
    assert list(rock.figures) == [f"figure{i}" for i in range(1, 6)]
    assert list(rock.claims) == [f"rock.c{i}" for i in range(1, 11)]


def test_rows_as_added_up_by_hand(tables):
    assert tables["table1"].sum(axis=1).to_numpy() == pytest.approx([3.116, 3.107, 3.046])
    assert tables["table2"].sum(axis=1).to_numpy() == pytest.approx([3.099, 3.131, 3.134, 3.111, 3.096])
    assert tables["table3"].sum(axis=1).to_numpy() == pytest.approx([3.113, 3.107])
    f1 = tables["table4"].drop(columns="Count")
    assert f1.sum(axis=1).to_numpy() == pytest.approx([4.705, 4.877, 5.558, 4.636])
    assert tables["table4"]["Count"].sum() == 5531
    of_table7 = ["Dev. set", "Test set", "Batch size", "Content-Size", "GRU dropout", "Recurrent dropout", "Epoch No."]
    assert tables["table7"].loc[of_table7].sum(axis=1).to_numpy() == pytest.approx(
        [2.813, 3.062, 404, 99, 1.74, 1.28, 865]
    )
    assert tables["table7"].loc["Learning rate"].sum() == pytest.approx(0.14655)


def test_table_7_lies_within_table_6(rock, tables):
    ranges, best = tables["table6"], tables["table7"]
    for row, of_best in {
        "Learning rate": "Learning rate",
        "Batch-Size": "Batch size",
        "L2 Regularization": "L2 regularization",
        "Content-Size": "Content-Size",
        "GRU dropout": "GRU dropout",
        "Recurrent dropout": "Recurrent dropout",
    }.items():
        low, high = ranges.loc[row]
        # dominance has the largest learning rate there is, rounded up
        assert best.loc[of_best].between(low, high * 1.002).all(), row
    assert (best.loc["Pri GRU"] + best.loc["Aux GRU"] == rock.text["units"]).all()
    assert list(ranges.loc["Pri GRU"]) == [min(SIZES), max(SIZES)]
    assert set(best.loc["Pri GRU"]) <= set(rock.text["table6"]["Pri GRU"]) == set(SIZES)
    assert best.loc["Main loss weight"].between(*rock.text["primary_weight"]).all()
    assert (best.loc["Epoch No."] <= rock.text["epochs"]).all()
    assert list(ranges.index[ranges.isna().any(axis=1)]) == ["Aux GRU", "Loss-weights Assignment"]
    assert set(ranges.index) - {"Aux GRU"} == set(rock.text["table6"]["sampling"])
    assert {scheme[0] for scheme in rock.text["table6"]["Loss-weights Assignment"]} == set(rock.text["table7_schemes"])


def test_loss_weights_sum_to_one_within_rounding(rock, tables):
    weights = tables["table7"].filter(like="loss weight", axis=0)
    assert len(weights) == len(seventeen_tasks("emotion")) == 17
    # each weight that is not zero may be .0005 off
    assert ((weights.sum() - 1).abs() <= 0.0005 * (weights > 0).sum() + 1e-9).all()
    assert weights.sum().round(3).tolist() == [0.998, 0.997, 1.0, 1.0, 1.0, 0.999, 0.996, 1.0]
    # softmax of mutual information leaves none out and spreads little
    softmax = weights.iloc[1:].loc[:, [scheme == "S" for scheme in rock.text["table7_schemes"]]]
    assert (softmax > 0).all(axis=None)


def test_families(rock, families):
    assert list(families[families == "ap"].index) == ["IEMOCAP activation", "SEMAINE activation", "SEMAINE intensity"]
    assert [len(FAMILIES[key]) for key in "ap"] == [len(rock.text["families"][key]) for key in "ap"]
    assert rock.text["families"]["a"] == list(FAMILIES["a"])
    assert [len(FAMILIES[key]) for key in "hf"] == [rock.text["families"][key] for key in "hf"]


def test_margins_are_a_hundredth_of_accuracy_and_half_a_percent_of_the_range(rock):
    ranges = {corpus: high - low for corpus, (low, high) in rock.text["label_range"].items()}
    expected = {task: 0.005 * ranges[task.split()[0]] for task in TASKS} | {"IEMOCAP emotion": 0.01}
    assert rock.text["margins"] == pytest.approx(expected)


def test_marks_are_as_many_as_the_text_says(rock):
    text, says = rock.text, rock.text["significant"]
    ap, aphf = (set(text["table1_stars"][row]) for row in ("ap", "aphf"))
    assert (len(ap | aphf), len(ap)) == (says["H1"], says["H1 ap"])
    assert len(text["table2_carets"]) == says["H2 one unit against none"]
    assert len({task for tasks in text["table2_stars"].values() for task in tasks}) == says["H2 smaller P worse"]
    assert len(text["table3_stars"]["better"]) == says["H3 better"]
    assert len(text["table3_stars"]["worse"]) == says["H3 worse"]


def test_marks_stand_on_the_side_the_text_says(rock, tables):
    one, two, three, text = tables["table1"], tables["table2"], tables["table3"], rock.text
    for row, tasks in text["table1_stars"].items():
        assert (gain(one.loc[row], one.loc["None"])[tasks] > 0).all()
    for row, tasks in text["table2_stars"].items():
        assert (gain(two.loc[row], two.loc["P = 256"])[tasks] < 0).all()
    assert (gain(two.loc["P = 256"], one.loc["None"])[text["table2_carets"]] > 0).all()
    over_flat = gain(three.loc["HAN-ROCK"], three.loc["Flat"])
    assert (over_flat[text["table3_stars"]["better"]] > 0).all()
    assert (over_flat[text["table3_stars"]["worse"]] < 0).all()


# --- claims -----------------------------------------------------------------------------------------------


def test_gains_of_auxiliary_supervision(rock, tables):
    one = tables["table1"]
    ap, aphf = (gain(one.loc[row], one.loc["None"]) for row in ("ap", "aphf"))
    assert printed(rock, "rock.c1") == pytest.approx(np.maximum(ap, aphf).to_dict())
    assert list(ap.index[ap > aphf]) == ["IEMOCAP emotion", "SEMAINE activation", "SEMAINE intensity"]
    assert printed(rock, "rock.c2") == pytest.approx(ap.to_dict())
    starred = rock.text["table1_stars"]
    assert set(TASKS) - {*starred["ap"], *starred["aphf"]} == {"IEMOCAP activation", "SEMAINE valence"}


def test_gains_of_past_and_future_labels(rock, tables):
    one, starred = tables["table1"], rock.text["table1_stars"]
    of_aphf = gain(one.loc["aphf"], one.loc["ap"])
    expected = {
        f"{task}: {'aphf over ap' if of_aphf[task] > 0 else 'ap over aphf'}": abs(of_aphf[task])
        for task in TASKS
        if (task in starred["ap"]) != (task in starred["aphf"])
    }
    assert printed(rock, "rock.c3") == pytest.approx(expected)


def test_effects_of_a_smaller_primary_branch(rock, tables):
    two = tables["table2"]
    gains = pd.DataFrame({row: gain(two.loc[row], two.loc["P = 256"]) for row in SMALLER})
    best = gains.max(axis=1)
    expected = {f"{task}: smaller P over 256 - margin": best[task] - rock.text["margins"][task] for task in TASKS}
    worse = {task for tasks in rock.text["table2_stars"].values() for task in tasks}
    for task in sorted(worse):
        expected[f"{task}: 256 over the mean of smaller P"] = -gains.loc[task].mean()
    assert printed(rock, "rock.c4") == pytest.approx(expected)
    assert [part["kind"] for part in rock.claims["rock.c4"].parts.values()] == 8 * ["less"] + 2 * ["greater"]
    exceeded = best[best > pd.Series(rock.text["margins"])]
    assert erratum(rock, "section 5, H2, the smaller P") == pytest.approx(exceeded.to_dict())


def test_gains_of_one_auxiliary_unit(rock, tables):
    one, base = tables["table1"], tables["table2"].loc["P = 256"]
    assert printed(rock, "rock.c5") == pytest.approx(gain(base, one.loc["None"]).to_dict())
    families = rock.text["table2_families"]
    assert tuple(families) == TASKS
    # only one row of Table 1 has the cell
    assert [[row for row in ("ap", "aphf") if one.at[row, task] == base[task]] for task in TASKS] == [
        [row] for row in families.values()
    ]


def test_gains_of_hierarchy(rock, tables):
    three = tables["table3"]
    gains = gain(three.loc["HAN-ROCK"], three.loc["Flat"])
    assert printed(rock, "rock.c7") == pytest.approx(gains.to_dict())
    assert three.loc["HAN-ROCK"].equals(tables["table1"].loc["ap"])
    assert gains["IEMOCAP valence"] == pytest.approx(6 * gains["SEMAINE power"])
    assert "IEMOCAP valence" not in rock.text["table3_stars"]["worse"]


def test_gains_of_classes(rock, tables):
    f1 = tables["table4"]
    challengers = {"H1": ("aphf", "None"), "H2": ("P = 256", "P = 1"), "H3": ("HAN-ROCK", "Flat")}
    gains = pd.DataFrame({h: f1[f"{h} {a}"] - f1[f"{h} {b}"] for h, (a, b) in challengers.items()})
    effect = gains.loc[["sad", "angry"]].mean() - gains.loc[["happy", "neutral"]].mean()
    assert printed(rock, "rock.c8") == pytest.approx(effect.to_dict())
    assert list(gains.columns[gains.loc["neutral"] < 0]) == ["H1", "H3"]
    assert gains["H1"].round(3).to_dict() == {"sad": 0.116, "angry": 0.152, "happy": 0.012, "neutral": -0.028}
    assert rock.text["table4_stars"]["H1 aphf"] == ["sad"]
    assert list(f1["Count"].sort_values().index[:2]) == ["sad", "angry"]


def test_every_class_is_below_m3er(rock, tables):
    f1 = tables["table4"].drop(columns="Count")
    assert printed(rock, "rock.c9") == pytest.approx((f1["H3 HAN-ROCK"] - f1["M3ER"]).to_dict())
    assert (f1.drop(columns="M3ER").max(axis=1) < f1["M3ER"]).all()
    assert rock.claims["rock.c9"].printed["M3ER"] == f1["M3ER"].tolist()


def test_counts_are_over_the_eight_tasks(rock):
    says = rock.text["significant"]
    for claim, at_least in {"rock.c1": "H1", "rock.c2": "H1 ap", "rock.c5": "H2 one unit against none"}.items():
        assert rock.claims[claim].at_least == rock.claims[claim].printed["better"] == says[at_least]
    assert rock.claims["rock.c7"].at_least == says["H3 better"]
    for claim in ("rock.c1", "rock.c2", "rock.c5", "rock.c7"):
        assert tuple(rock.claims[claim].parts) == TASKS
        assert {part["kind"] for part in rock.claims[claim].parts.values()} == {"greater"}


def test_what_has_no_printed_number_claims_none(rock):
    for claim in ("rock.c6", "rock.c10"):
        assert set(printed(rock, claim).values()) == {None}
        assert rock.claims[claim].printed == {}


# --- errata -----------------------------------------------------------------------------------------------


def test_the_budget_is_not_fixed(rock):
    auxiliary, total = len(seventeen_tasks("emotion")) - 1, rock.text["units"]
    units = {f"P = {p}": p + auxiliary * (total - p) for p in SIZES}
    assert erratum(rock, "section 2, H2") == units
    assert round(units["P = 1"] / units["P = 256"]) == 15
    assert erratum(rock, "section 5, H2, no auxiliary GRU") == {"P": 256, "A": 1, "units": units["P = 256"]}


def test_shapes_of_the_fusion(rock):
    tasks = len(seventeen_tasks("emotion"))
    assert erratum(rock, "section 3.2, fusion") == {
        "features of v_pri at P = 256": 2 * 256,
        "features of v_aux at A = 1": 2 * 1,
    }
    assert erratum(rock, "section 3.2, indices") == {"pairs as printed": 2 * tasks, "pairs in Figure 3": tasks}


def test_partitions(rock, tables):
    table5, recomputed = tables["table5"], erratum(rock, "section 4.1")
    talkturns = {corpus: table5.filter(like=corpus, axis=0) for corpus in ("IEMOCAP", "SEMAINE")}
    sums = {corpus: table.sum().astype(int).tolist() for corpus, table in talkturns.items()}
    assert sums == {"IEMOCAP": [5766, 2103, 2170], "SEMAINE": [7812, 2264, 1888]}
    for corpus, of_partition in sums.items():
        assert recomputed[corpus] == [round(100 * n / sum(of_partition)) for n in of_partition]
    assert (sum(sums["IEMOCAP"]), sum(sums["SEMAINE"])) == (10039, 11964)
    (session,) = table5.index[table5.notna().sum(axis=1) > 1]
    assert erratum(rock, "section 4.1, Table 5") == {
        f"{session.removeprefix('SEMAINE ')} in {partition}": n for partition, n in table5.loc[session].dropna().items()
    }
    counts = talkturns["SEMAINE"].stack().dropna()
    assert erratum(rock, "Table 5, SEMAINE") == {
        "even counts": int((counts % 2 == 0).sum()),
        "of": len(counts),
        "half": counts.sum() / 2,
    }


def test_numbers_of_examples(rock, tables):
    (found,) = [e for e in rock.errata if e["where"] == "Table 4, Count"]
    assert found["printed"]["talkturns"] == tables["table4"]["Count"].sum()
    iemocap = tables["table5"].filter(like="IEMOCAP", axis=0).sum().sum()
    assert found["recomputed"]["talkturns in Table 5"] == iemocap
    assert f"{iemocap - tables['table4']['Count'].sum():,.0f} talkturns" in found["note"]


def test_past_labels_of_the_first_talkturns(rock):
    for turn, labels in erratum(rock, "section 4.3, missing labels").items():
        before = int(turn.removeprefix("at talkturn ")) - 1
        assert labels == ["t" if not before else f"t-{min(back, before)}" for back in range(1, 5)]


def test_scales_of_the_losses_of_emotion(rock):
    p, rank = np.full(4, 1 / 4), (np.arange(10000) + 0.5) / 10000
    losses = {
        "cross-entropy": -np.log(p).mean(),
        "squared error": ((rank - 0.5) ** 2).mean(),
        "absolute error": np.abs(rank - 0.5).mean(),
    }
    assert erratum(rock, "section 4.3, scale of the losses") == pytest.approx(losses, abs=5e-4)
    assert losses["squared error"] < losses["cross-entropy"] / 16
    assert losses["absolute error"] < losses["cross-entropy"] / 5


def test_zeros_of_a_logarithmic_scale(rock, tables):
    l2 = tables["table7"].loc["L2 regularization"]
    assert erratum(rock, "Table 6, L2") == {"zeros in Table 7": (l2 == 0).sum(), "of": len(l2)}


def test_what_each_set_of_auxiliary_tasks_improves(rock):
    stars = rock.text["table1_stars"]
    assert erratum(rock, "abstract") == {
        "better with all sixteen": len(stars["aphf"]),
        "better with eight": len(stars["ap"]),
        "better with either": len({*stars["ap"], *stars["aphf"]}),
        "of": len(TASKS),
    }


def test_families_of_table_2(rock, families):
    of_table2 = pd.Series(rock.text["table2_families"])
    assert erratum(rock, "Table 2, P = 256") == {
        f"cells of {row}": n for row, n in of_table2.value_counts(sort=False).items()
    }
    assert list(of_table2.index[of_table2 != families]) == [
        "IEMOCAP emotion",
        "IEMOCAP valence",
        "SEMAINE activation",
        "SEMAINE intensity",
    ]


def test_one_contrast_of_two_minds(rock, tables):
    task = "SEMAINE valence"
    assert tables["table1"].at["aphf", task] == tables["table2"].at["P = 256", task]
    assert erratum(rock, "Tables 1 and 2, SEMAINE valence") == {
        "None": tables["table1"].at["None", task],
        "aphf and P = 256": tables["table1"].at["aphf", task],
    }
    carets, starred = rock.text["table2_carets"], rock.text["table1_stars"]
    other = [t for t in TASKS if (t in carets) != (t in starred[rock.text["table2_families"][t]])]
    assert other == [task]


def test_the_test_row_of_table_7(rock, tables, families):
    of_table1 = pd.Series({task: tables["table1"].at[row, task] for task, row in families.items()})
    test = tables["table7"].loc["Test set"]
    (found,) = [e for e in rock.errata if e["where"] == "Table 7, Test set"]
    other = test != of_table1
    assert found["printed"] == test[other].to_dict()
    assert found["recomputed"] == of_table1[other].to_dict()
    emotion = erratum(rock, "Tables 2 and 7, IEMOCAP emotion")
    assert emotion == {row: tables["table2"].at[row, "IEMOCAP emotion"] for row in emotion}
    assert tables["table7"].at["Pri GRU", "IEMOCAP emotion"] == 256
    assert test["IEMOCAP emotion"] - emotion["P = 256"] == pytest.approx(0.032)


def test_no_task_falls_with_p(rock, tables):
    two = tables["table2"] * SIGN
    falls = (two.diff().iloc[1:] <= 1e-9).all()
    best, rest = two.loc["P = 256"], two.loc[SMALLER].max()
    assert erratum(rock, "section 5, H2, the order") == {
        "tasks in that order": falls.sum(),
        "of": len(TASKS),
        "P = 256 alone best": (best > rest).sum(),
        "tied": (best == rest).sum(),
        "beaten": (best < rest).sum(),
    }
    assert list(best.index[best > rest]) == ["IEMOCAP dominance", "SEMAINE valence"]


def test_a_third_task_is_worse_by_table_4(rock):
    stars = rock.text["table4_stars"]["H2 P = 1"]
    assert erratum(rock, "section 5, H2, Table 4") == {
        "classes of IEMOCAP emotion worse at P = 1": len(stars),
        "of": len(CLASSES),
    }
    assert all("IEMOCAP emotion" not in tasks for tasks in rock.text["table2_stars"].values())


def test_two_models_of_one_accuracy(rock, tables):
    table4 = tables["table4"]
    (found,) = [e for e in rock.errata if e["where"] == "Table 4, H2 and H3"]
    for column, value in found["recomputed"].items():
        assert value == pytest.approx(np.average(table4[column], weights=table4["Count"]), abs=5e-4)
    accuracies = [tables["table2"].at["P = 256", TASKS[0]], tables["table3"].at["HAN-ROCK", TASKS[0]]]
    assert list(found["printed"].values()) == accuracies
    difference = table4["H2 P = 256"] - table4["H3 HAN-ROCK"]
    assert (difference != 0).all() and difference["neutral"] == pytest.approx(0.057)


def test_what_resampled_trials_can_reach(rock):
    trials = rock.text["trials"]["all"]
    drawn = {best: 1 - (1 - best / trials) ** trials for best in (1, 3, 4)}
    recomputed = erratum(rock, "section A.5, bootstrap")
    assert recomputed["chance that the best of 30 is drawn"] == pytest.approx(drawn[1], abs=5e-4)
    assert recomputed["chance that one of the best 4 is"] == pytest.approx(drawn[4], abs=5e-4)
    # the outer 2.5% of a side begin within the fourth trial
    assert drawn[3] < 1 - rock.text["bootstrap"]["removed_each_side"] / 100 < drawn[4]
    resampled = np.random.default_rng(0).integers(trials, size=(20000, trials)).min(axis=1)
    assert [(resampled < best).mean() for best in (1, 4)] == pytest.approx([drawn[1], drawn[4]], abs=0.02)


def test_how_many_contrasts_there_are(rock, tables):
    text, tasks, classes = rock.text, len(TASKS), len(CLASSES)
    challengers = {
        "Table 1": 2 * tasks,
        "Table 2": (len(SMALLER) + 1) * tasks,
        "Table 3": tasks,
        "Table 4": 3 * classes,
    }
    marks = [text["table1_stars"], text["table2_stars"], text["table3_stars"], text["table4_stars"]]
    recomputed = erratum(rock, "sections 5 and A.5")
    assert recomputed["contrasts"] == sum(challengers.values())
    assert recomputed["marks"] == len(text["table2_carets"]) + sum(len(on) for table in marks for on in table.values())
    assert recomputed["chance of a mark in Table 1"] == pytest.approx(1 - 0.95 ** challengers["Table 1"], abs=5e-3)
    assert recomputed["chance of a mark in all"] == pytest.approx(1 - 0.95 ** recomputed["contrasts"], abs=5e-3)
    # Markov: at least k hold with a chance of at most the expected number over k
    (note,) = [e["note"] for e in rock.errata if e["where"] == "sections 5 and A.5"]
    assert f"{2 * tasks * 0.025 / 6:.3f}".lstrip("0") in note
    assert f"{tasks * 0.025 / 4:.2f}".lstrip("0") in note


def test_figure_4(rock):
    figure = rock.text["figure4"]
    assert erratum(rock, "Figure 4") == figure["monah"].replace(". The", " the").replace("The", "the")
    said = set(figure["verbatim"].rstrip(".").lower().split())
    for sentence in figure["monah"].rstrip(".").split(". "):
        words = sentence.lower().split()
        added = [n for n, word in enumerate(words, 1) if word not in said]
        recomputed = erratum(rock, "section A.6, second word")
        assert recomputed == {"second word": words[1], "first annotation at word": added[0]}
