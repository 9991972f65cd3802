"""HAN-ROCK's printed effects and errata follow from its printed cells."""

import numpy as np
import pandas as pd
import pytest
from paper_numbers import effects, entry, erratum

from uncertain_affect.evidence import printed
from uncertain_affect.models.rock import FAMILIES, seventeen_tasks

PAPER = printed.load("rock")
TEXT = PAPER.text
TABLES = {name: PAPER.table(name) for name in PAPER.tables}
ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN = TABLES.values()
TASKS = tuple(ONE.columns)
SIZES = (256, 192, 128, 64, 1)
SMALLER = [f"P = {p}" for p in SIZES[1:]]
SIGN = pd.Series(dict.fromkeys(TASKS, -1) | {"IEMOCAP emotion": 1})  # of what is better, MAE or accuracy
# by Table 7's weights, aphf where any past or future label has one
BEST_FAMILIES = SEVEN.filter(like="Y_", axis=0).any().map({True: "aphf", False: "ap"})


def gain(better, worse):
    """How much a row of one table improves on another, by task."""
    return (better - worse) * SIGN


def gains(claim):
    """The printed improvements of accuracy or MAE, of a claim that is judged in skill."""
    return PAPER.claims[claim].printed["gains"]


def starred(rows):
    """The tasks marked in any of some rows."""
    return {task for tasks in rows.values() for task in tasks}


# --- what is printed --------------------------------------------------------------------------------------


def test_columns_and_further_sums_by_hand():
    assert TASKS == (
        *(f"IEMOCAP {dimension}" for dimension in ("emotion", "valence", "activation", "dominance")),
        *(f"SEMAINE {dimension}" for dimension in ("activation", "intensity", "power", "valence")),
    )
    assert all(tuple(table.columns) == TASKS for table in (TWO, THREE, SEVEN))
    assert FOUR.drop(columns="Count").sum(axis=1).to_numpy() == pytest.approx([4.705, 4.877, 5.558, 4.636])
    assert FOUR["Count"].sum() == 5531
    rows = ["Dev. set", "Test set", "Batch size", "Content-Size", "GRU dropout", "Recurrent dropout", "Epoch No."]
    assert SEVEN.loc[rows].sum(axis=1).to_numpy() == pytest.approx([2.813, 3.062, 404, 99, 1.74, 1.28, 865])
    assert SEVEN.loc["Learning rate"].sum() == pytest.approx(0.14655)


def test_table_7_lies_within_table_6():
    rows = {"Batch-Size": "Batch size", "L2 Regularization": "L2 regularization"}
    rows |= {row: row for row in ("Learning rate", "Content-Size", "GRU dropout", "Recurrent dropout")}
    for row, best in rows.items():
        low, high = SIX.loc[row]
        # dominance has the largest learning rate there is, rounded up
        assert SEVEN.loc[best].between(low, high * 1.002).all(), row
    assert (SEVEN.loc["Pri GRU"] + SEVEN.loc["Aux GRU"] == TEXT["units"]).all()
    assert list(SIX.loc["Pri GRU"]) == [min(SIZES), max(SIZES)]
    assert set(SEVEN.loc["Pri GRU"]) <= set(TEXT["table6"]["Pri GRU"]) == set(SIZES)
    assert SEVEN.loc["Main loss weight"].between(*TEXT["primary_weight"]).all()
    assert (SEVEN.loc["Epoch No."] <= TEXT["epochs"]).all()
    assert list(SIX.index[SIX.isna().any(axis=1)]) == ["Aux GRU", "Loss-weights Assignment"]
    assert set(SIX.index) - {"Aux GRU"} == set(TEXT["table6"]["sampling"])
    assert {scheme[0] for scheme in TEXT["table6"]["Loss-weights Assignment"]} == set(TEXT["table7_schemes"])


def test_loss_weights_sum_to_one_within_rounding():
    weights = SEVEN.filter(like="loss weight", axis=0)
    assert len(weights) == len(seventeen_tasks("emotion")) == 17
    # each weight that is not zero may be .0005 off
    assert ((weights.sum() - 1).abs() <= 0.0005 * (weights > 0).sum() + 1e-9).all()
    assert weights.sum().round(3).tolist() == [0.998, 0.997, 1.0, 1.0, 1.0, 0.999, 0.996, 1.0]
    # softmax of mutual information leaves none out and spreads little
    assert (weights.iloc[1:].loc[:, [scheme == "S" for scheme in TEXT["table7_schemes"]]] > 0).all(axis=None)


def test_families_and_margins():
    a_and_p = ["IEMOCAP activation", "SEMAINE activation", "SEMAINE intensity"]
    assert list(BEST_FAMILIES[BEST_FAMILIES == "ap"].index) == a_and_p
    assert [len(FAMILIES[key]) for key in "ap"] == [len(TEXT["families"][key]) for key in "ap"]
    assert TEXT["families"]["a"] == list(FAMILIES["a"])
    assert [len(FAMILIES[key]) for key in "hf"] == [TEXT["families"][key] for key in "hf"]
    # a hundredth of accuracy, and half a percent of the range of labels
    ranges = {corpus: high - low for corpus, (low, high) in TEXT["label_range"].items()}
    expected = {task: 0.005 * ranges[task.split()[0]] for task in TASKS} | {"IEMOCAP emotion": 0.01}
    assert TEXT["margins"] == pytest.approx(expected)


def test_marks_are_as_many_and_on_the_side_that_the_text_says():
    text, says = TEXT, TEXT["significant"]
    assert (len(starred(text["table1_stars"])), len(text["table1_stars"]["ap"])) == (says["H1"], says["H1 ap"])
    assert len(text["table2_carets"]) == says["H2 one unit against none"]
    assert len(starred(text["table2_stars"])) == says["H2 smaller P worse"]
    for side in ("better", "worse"):
        assert len(text["table3_stars"][side]) == says[f"H3 {side}"]
    for row, tasks in text["table1_stars"].items():
        assert (gain(ONE.loc[row], ONE.loc["None"])[tasks] > 0).all()
    for row, tasks in text["table2_stars"].items():
        assert (gain(TWO.loc[row], TWO.loc["P = 256"])[tasks] < 0).all()
    assert (gain(TWO.loc["P = 256"], ONE.loc["None"])[text["table2_carets"]] > 0).all()
    over_flat = gain(THREE.loc["HAN-ROCK"], THREE.loc["Flat"])
    assert (over_flat[text["table3_stars"]["better"]] > 0).all()
    assert (over_flat[text["table3_stars"]["worse"]] < 0).all()


# --- claims -----------------------------------------------------------------------------------------------


def test_gains_of_auxiliary_supervision_and_of_past_and_future_labels():
    ap, aphf = (gain(ONE.loc[row], ONE.loc["None"]) for row in ("ap", "aphf"))
    assert gains("rock.c1") == pytest.approx(np.maximum(ap, aphf).to_dict())
    assert list(ap.index[ap > aphf]) == ["IEMOCAP emotion", "SEMAINE activation", "SEMAINE intensity"]
    assert gains("rock.c2") == pytest.approx(ap.to_dict())
    stars = TEXT["table1_stars"]
    assert set(TASKS) - starred(stars) == {"IEMOCAP activation", "SEMAINE valence"}
    expected = {
        f"{task}: {'aphf over ap' if aphf[task] > ap[task] else 'ap over aphf'}": abs(aphf[task] - ap[task])
        for task in TASKS
        if (task in stars["ap"]) != (task in stars["aphf"])
    }
    assert gains("rock.c3") == pytest.approx(expected)
    assert list(PAPER.claims["rock.c3"].parts) == list(expected)
    assert erratum(PAPER, "abstract") == {
        "better with all sixteen": len(stars["aphf"]),
        "better with eight": len(stars["ap"]),
        "better with either": len(starred(stars)),
        "of": len(TASKS),
    }


def test_effects_of_a_smaller_primary_branch():
    smaller = pd.DataFrame({row: gain(TWO.loc[row], TWO.loc["P = 256"]) for row in SMALLER})
    best = smaller.max(axis=1)
    two = [f"{task}: 256 over the mean of smaller P" for task in sorted(starred(TEXT["table2_stars"]))]
    expected = best.to_dict() | {part: -smaller.loc[part.split(":")[0]].mean() for part in two}
    assert gains("rock.c4") == pytest.approx(expected, abs=1e-9)
    c4 = PAPER.claims["rock.c4"]
    assert list(c4.parts) == [*(f"{task}: margin - gain of smaller P" for task in TASKS), *two]
    # what c5 calls no effect; the delta of a is half of it
    assert c4.printed["margin"] == PAPER.claims["rock.c5"].delta == 2 * c4.delta_of("a")
    exceeded = best[best > pd.Series(TEXT["margins"])]
    assert erratum(PAPER, "section 5, H2, the smaller P") == pytest.approx(exceeded.to_dict())


def test_gains_of_one_auxiliary_unit():
    base, families = TWO.loc["P = 256"], TEXT["table2_families"]
    assert gains("rock.c5") == pytest.approx(gain(base, ONE.loc["None"]).to_dict())
    assert tuple(families) == TASKS
    for task, family in families.items():  # only one row of Table 1 has the cell
        assert [row for row in ("ap", "aphf") if ONE.at[row, task] == base[task]] == [family]
    families = pd.Series(families)
    counts = families.value_counts(sort=False)
    assert erratum(PAPER, "Table 2, P = 256") == {f"cells of {row}": n for row, n in counts.items()}
    other = ["IEMOCAP emotion", "IEMOCAP valence", "SEMAINE activation", "SEMAINE intensity"]
    assert list(families.index[families != BEST_FAMILIES]) == other


def test_gains_of_hierarchy():
    over_flat = gain(THREE.loc["HAN-ROCK"], THREE.loc["Flat"])
    assert gains("rock.c7") == pytest.approx(over_flat.to_dict())
    assert THREE.loc["HAN-ROCK"].equals(ONE.loc["ap"])
    assert over_flat["IEMOCAP valence"] == pytest.approx(6 * over_flat["SEMAINE power"])
    assert "IEMOCAP valence" not in TEXT["table3_stars"]["worse"]


def test_gains_of_classes():
    challengers = {"H1": ("aphf", "None"), "H2": ("P = 256", "P = 1"), "H3": ("HAN-ROCK", "Flat")}
    gained = pd.DataFrame({h: FOUR[f"{h} {a}"] - FOUR[f"{h} {b}"] for h, (a, b) in challengers.items()})
    effect = gained.loc[["sad", "angry"]].mean() - gained.loc[["happy", "neutral"]].mean()
    assert effects(PAPER, "rock.c8") == pytest.approx(effect.to_dict())
    assert list(gained.columns[gained.loc["neutral"] < 0]) == ["H1", "H3"]
    assert gained["H1"].round(3).to_dict() == {"sad": 0.116, "angry": 0.152, "happy": 0.012, "neutral": -0.028}
    assert TEXT["table4_stars"]["H1 aphf"] == ["sad"]
    counts = FOUR["Count"]
    assert list(counts.sort_values().index[:2]) == ["sad", "angry"]
    ratio = counts[["happy", "neutral"]].min() / counts[["sad", "angry"]].max()
    assert PAPER.claims["rock.c8"].requires["class ratio"]["least"] < ratio == pytest.approx(1.48, abs=0.005)


def test_every_class_is_below_m3er():
    f1 = FOUR.drop(columns="Count")
    leads = (f1["M3ER"] - f1["H3 HAN-ROCK"]).rename("M3ER - ours, {}".format)
    assert effects(PAPER, "rock.c9") == pytest.approx(leads.to_dict())
    assert (f1.drop(columns="M3ER").max(axis=1) < f1["M3ER"]).all()
    assert PAPER.claims["rock.c9"].printed["M3ER"] == f1["M3ER"].tolist()


def test_deltas_of_skill_are_half_of_what_is_printed():
    """Over the error of what is improved upon, emotion over that of always "neutral"; rounded down to one digit."""
    constant = 1 - FOUR["Count"].max() / FOUR["Count"].sum()
    assert constant == pytest.approx(0.691, abs=5e-4)

    def halved(gained, improved, tasks=TASKS):
        errors = improved.where(SIGN < 0, constant)
        half = np.mean([gained[task] / errors[task] for task in tasks]) / 2
        digit = 10.0 ** np.floor(np.log10(half))
        return pytest.approx(np.floor(half / digit) * digit)

    none = ONE.loc["None"]
    for claim, improved in {"c1": none, "c2": none, "c5": none, "c7": THREE.loc["Flat"]}.items():
        assert PAPER.claims[f"rock.{claim}"].delta == halved(gains(f"rock.{claim}"), improved)
    for letter, (part, gained) in zip("abc", gains("rock.c3").items(), strict=True):
        task, contrast = part.split(": ")
        improved = ONE.loc[contrast.split(" over ")[1]]
        assert PAPER.claims["rock.c3"].delta_of(letter) == halved({task: gained}, improved, [task])
    worse = {part.split(":")[0]: gained for part, gained in gains("rock.c4").items() if ":" in part}
    assert PAPER.claims["rock.c4"].delta_of("b") == halved(worse, TWO.loc[SMALLER].mean(), list(worse))


def test_counts_are_over_the_eight_tasks():
    says = TEXT["significant"]
    counted = {"rock.c1": "H1", "rock.c2": "H1 ap", "rock.c5": "H2 one unit against none", "rock.c7": "H3 better"}
    for id_, count in counted.items():
        claim = PAPER.claims[id_]
        assert claim.printed["better"] == says[count]
        assert tuple(claim.parts) == tuple(claim.printed["gains"]) == TASKS
    assert PAPER.claims["rock.c6"].printed == PAPER.claims["rock.c10"].printed == {}


# --- errata -----------------------------------------------------------------------------------------------


def test_the_budget_is_not_fixed_and_shapes_of_the_fusion():
    tasks = len(seventeen_tasks("emotion"))
    units = {f"P = {p}": p + (tasks - 1) * (TEXT["units"] - p) for p in SIZES}
    assert round(units["P = 1"] / units["P = 256"]) == 15
    for where, recomputed in {
        "section 2, H2": units,
        "section 5, H2, no auxiliary GRU": {"P": 256, "A": 1, "units": units["P = 256"]},
        "section 3.2, fusion": {"features of v_pri at P = 256": 2 * 256, "features of v_aux at A = 1": 2 * 1},
        "section 3.2, indices": {"pairs as printed": 2 * tasks, "pairs in Figure 3": tasks},
    }.items():
        assert erratum(PAPER, where) == recomputed


def test_partitions_and_numbers_of_examples():
    recomputed = erratum(PAPER, "section 4.1")
    talkturns = {corpus: FIVE.filter(like=corpus, axis=0) for corpus in ("IEMOCAP", "SEMAINE")}
    sums = {corpus: table.sum().astype(int).tolist() for corpus, table in talkturns.items()}
    assert sums == {"IEMOCAP": [5766, 2103, 2170], "SEMAINE": [7812, 2264, 1888]}
    for corpus, n_turns in sums.items():
        assert recomputed[corpus] == [round(100 * n / sum(n_turns)) for n in n_turns]
    (session,) = FIVE.index[FIVE.notna().sum(axis=1) > 1]
    assert erratum(PAPER, "section 4.1, Table 5") == {
        f"{session.removeprefix('SEMAINE ')} in {partition}": n for partition, n in FIVE.loc[session].dropna().items()
    }
    counts = talkturns["SEMAINE"].stack().dropna()
    assert erratum(PAPER, "Table 5, SEMAINE") == {
        "even counts": int((counts % 2 == 0).sum()),
        "of": len(counts),
        "half": counts.sum() / 2,
    }
    found, iemocap = entry(PAPER, "Table 4, Count"), sum(sums["IEMOCAP"])
    assert found["printed"]["talkturns"] == FOUR["Count"].sum()
    assert found["recomputed"]["talkturns in Table 5"] == iemocap == 10039
    assert f"{iemocap - FOUR['Count'].sum():,.0f} talkturns" in found["note"]


def test_past_labels_of_the_first_talkturns():
    for turn, labels in erratum(PAPER, "section 4.3, missing labels").items():
        before = int(turn.removeprefix("at talkturn ")) - 1
        assert labels == ["t" if not before else f"t-{min(back, before)}" for back in range(1, 5)]


def test_scales_of_the_losses_of_emotion():
    p, rank = np.full(4, 1 / 4), (np.arange(10000) + 0.5) / 10000
    losses = {"cross-entropy": -np.log(p).mean()}
    losses |= {"squared error": ((rank - 0.5) ** 2).mean(), "absolute error": np.abs(rank - 0.5).mean()}
    assert erratum(PAPER, "section 4.3, scale of the losses") == pytest.approx(losses, abs=5e-4)
    assert losses["squared error"] < losses["cross-entropy"] / 16
    assert losses["absolute error"] < losses["cross-entropy"] / 5


def test_one_contrast_of_two_minds():
    task = "SEMAINE valence"
    assert ONE.at["aphf", task] == TWO.at["P = 256", task]
    both = {"None": ONE.at["None", task], "aphf and P = 256": ONE.at["aphf", task]}
    assert erratum(PAPER, "Tables 1 and 2, SEMAINE valence") == both
    carets, stars = TEXT["table2_carets"], TEXT["table1_stars"]
    assert [t for t in TASKS if (t in carets) != (t in stars[TEXT["table2_families"][t]])] == [task]


def test_rows_of_table_7_beside_other_tables():
    l2, test = SEVEN.loc["L2 regularization"], SEVEN.loc["Test set"]
    assert erratum(PAPER, "Table 6, L2") == {"zeros in Table 7": (l2 == 0).sum(), "of": len(l2)}
    in_table1 = pd.Series({task: ONE.at[row, task] for task, row in BEST_FAMILIES.items()})
    found, other = entry(PAPER, "Table 7, Test set"), test != in_table1
    assert found["printed"] == test[other].to_dict()
    assert found["recomputed"] == in_table1[other].to_dict()
    emotion = erratum(PAPER, "Tables 2 and 7, IEMOCAP emotion")
    assert emotion == {row: TWO.at[row, "IEMOCAP emotion"] for row in emotion}
    assert SEVEN.at["Pri GRU", "IEMOCAP emotion"] == 256
    assert test["IEMOCAP emotion"] - emotion["P = 256"] == pytest.approx(0.032)


def test_no_task_falls_with_p_and_a_third_is_worse_by_table_4():
    two = TWO * SIGN
    best, rest = two.loc["P = 256"], two.loc[SMALLER].max()
    assert erratum(PAPER, "section 5, H2, the order") == {
        "tasks in that order": (two.diff().iloc[1:] <= 1e-9).all().sum(),
        "of": len(TASKS),
        "P = 256 alone best": (best > rest).sum(),
        "tied": (best == rest).sum(),
        "beaten": (best < rest).sum(),
    }
    assert list(best.index[best > rest]) == ["IEMOCAP dominance", "SEMAINE valence"]
    n_worse = len(TEXT["table4_stars"]["H2 P = 1"])
    worse = {"classes of IEMOCAP emotion worse at P = 1": n_worse, "of": len(FOUR)}
    assert erratum(PAPER, "section 5, H2, Table 4") == worse
    assert "IEMOCAP emotion" not in starred(TEXT["table2_stars"])


def test_two_models_of_one_accuracy():
    found = entry(PAPER, "Table 4, H2 and H3")
    for column, value in found["recomputed"].items():
        assert value == pytest.approx(np.average(FOUR[column], weights=FOUR["Count"]), abs=5e-4)
    assert list(found["printed"].values()) == [TWO.at["P = 256", TASKS[0]], THREE.at["HAN-ROCK", TASKS[0]]]
    difference = FOUR["H2 P = 256"] - FOUR["H3 HAN-ROCK"]
    assert (difference != 0).all() and difference["neutral"] == pytest.approx(0.057)


def test_what_resampled_trials_can_reach():
    trials = TEXT["trials"]["all"]
    drawn = {best: 1 - (1 - best / trials) ** trials for best in (1, 3, 4)}
    recomputed = erratum(PAPER, "section A.5, bootstrap")
    assert recomputed["chance that the best of 30 is drawn"] == pytest.approx(drawn[1], abs=5e-4)
    assert recomputed["chance that one of the best 4 is"] == pytest.approx(drawn[4], abs=5e-4)
    # the outer 2.5% of a side begin within the fourth trial
    assert drawn[3] < 1 - TEXT["bootstrap"]["removed_each_side"] / 100 < drawn[4]
    resampled = np.random.default_rng(0).integers(trials, size=(20000, trials)).min(axis=1)
    assert [(resampled < best).mean() for best in (1, 4)] == pytest.approx([drawn[1], drawn[4]], abs=0.02)


def test_how_many_contrasts_there_are():
    tasks, found = len(TASKS), entry(PAPER, "sections 5 and A.5")
    recomputed = found["recomputed"]
    contrasts = 2 * tasks + (len(SMALLER) + 1) * tasks + tasks + 3 * len(FOUR)  # of Tables 1 to 4
    marks = sum(len(on) for i in range(1, 5) for on in TEXT[f"table{i}_stars"].values()) + len(TEXT["table2_carets"])
    assert (recomputed["contrasts"], recomputed["marks"]) == (contrasts, marks)
    assert recomputed["chance of a mark in Table 1"] == pytest.approx(1 - 0.95 ** (2 * tasks), abs=5e-3)
    assert recomputed["chance of a mark in all"] == pytest.approx(1 - 0.95**contrasts, abs=5e-3)
    # Markov: at least k hold with a chance of at most the expected number over k
    assert f"{2 * tasks * 0.025 / 6:.3f}".lstrip("0") in found["note"]
    assert f"{tasks * 0.025 / 4:.2f}".lstrip("0") in found["note"]


def test_figure_4():
    figure = TEXT["figure4"]
    assert erratum(PAPER, "Figure 4") == figure["monah"].replace(". The", " the").replace("The", "the")
    verbatim = set(figure["verbatim"].rstrip(".").lower().split())
    for sentence in figure["monah"].rstrip(".").split(". "):
        words = sentence.lower().split()
        added = [n for n, word in enumerate(words, 1) if word not in verbatim]
        recomputed = {"second word": words[1], "first annotation at word": added[0]}
        assert erratum(PAPER, "section A.6, second word") == recomputed
