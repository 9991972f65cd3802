"""Which run's answer is a claim's, and how the scoreboard says it to somebody who knows no id."""

import dataclasses
import json

import pytest
from building import LEARNT, effect, measured, write_notebook

from uncertain_affect.compute import paths
from uncertain_affect.evidence import printed, store
from uncertain_affect.evidence.claims import Answer
from uncertain_affect.run import layout, record, scoreboard
from uncertain_affect.run.scoreboard import Line, strip

NAME = "11_one"
PARAMETERS = {"PROFILE": "recorded", "CORPUS": "", "SEED": 0, "DEVICE": "auto", "DATA_ROOT": "", "FEATURES": "hog"}
CLAIMS = [f"uncnet.c{i}" for i in range(1, 11)]


@pytest.fixture
def checkout(checkout):
    cell = "\n".join(f"{name} = {value!r}" for name, value in PARAMETERS.items())
    write_notebook(checkout / "notebooks", NAME, cell, corpora=["simulated", "ferplus"], claims=CLAIMS)
    return checkout


def ran(profile, corpus, found, *, exploratory=False, learnt=True, notebook=NAME, paper="uncnet", **parameters):
    """A run with an effect for each claim named, or for each of its parts."""
    given = PARAMETERS | {"PROFILE": profile, "CORPUS": corpus} | parameters
    run = record.Run(notebook, profile=profile, corpus=corpus, parameters=given, seeds=range(20))
    measured(run, paper)
    if not learnt:
        run.learnt("UncNet", dataclasses.replace(LEARNT, score=0.3))
    for id_, size in found.items():
        parts = printed.claim(id_).parts
        if isinstance(size, str):
            run.needs(id_, size)
        elif parts and not isinstance(size, dict):
            run.judge(id_, dict.fromkeys(parts, effect(size)))
        else:
            run.judge(id_, {name: effect(x) for name, x in size.items()} if parts else effect(size))
    folder = run.finish()
    if exploratory:
        layout.write_run(folder, {k: v for k, v in layout.read_run(folder).items() if k != "claims"} | {"schema": 2})
    return folder


def rows(*ids):
    board = {row.id: row for row in scoreboard.board(layout.results_root())}
    return [board[id_] for id_ in ids] if ids else list(board.values())


# --- whose answer it is -----------------------------------------------------------------------------------


def test_every_claim_has_one_row_papers_in_the_order_of_their_notebooks(checkout):
    found = rows()
    assert len(found) == 51
    assert list(dict.fromkeys(row.id.partition(".")[0] for row in found)) == ["uncnet", "distill", "pen", "rock", "ugn"]
    assert [row.id for row in found[:10]] == CLAIMS  # c10 after c9
    assert {row.answer for row in found} == {"not yet", "compares with other papers' numbers"}
    assert found[0].reasons == ["no full run on any of 3 places that decide"]
    assert found[9].reasons == ["no full run on FER+ with casia-webface"]


def test_quick_gives_no_answer_and_full_outranks_it_whatever_it_says(checkout):
    ran("quick", "ferplus", {"uncnet.c1": 0.3}, FEATURES="casia-webface")
    (row,) = rows("uncnet.c1")
    assert (row.answer, row.found, row.evidence, len(row.others)) == ("not yet: demonstration only", None, "", 1)
    ran("full", "simulated", {"uncnet.c1": -0.3})
    (row,) = rows("uncnet.c1")
    assert (row.answer, row.evidence) == ("fails", "simulated only")
    assert [other.place for other in row.others] == ["FER+ with casia-webface, quick"]


def test_the_first_place_that_decides_and_has_a_full_run_gives_the_answer(checkout):
    ran("full", "simulated", {"uncnet.c1": 0.3, "uncnet.c4": 0.1})
    ran("full", "ferplus", {"uncnet.c1": -0.3, "uncnet.c10": "the weights"})
    first, skewed, layers = rows("uncnet.c1", "uncnet.c4", "uncnet.c10")
    assert (first.answer, first.found.place) == ("fails", "FER+ with hog, full")
    assert first.evidence == "paper's corpus, other features"
    # simulated-skewed alone decides this one, and the paper's features that one
    assert (skewed.found, skewed.answer, len(skewed.others)) == (None, "not yet", 1)
    assert (layers.found, layers.answer) == (None, "not yet")
    ran("full", "ferplus", {"uncnet.c1": 0.3}, FEATURES="casia-webface")
    ran("full", "simulated", {"uncnet.c4": 0.1}, FEATURES="simulated-skewed")
    first, skewed = rows("uncnet.c1", "uncnet.c4")
    assert (first.answer, first.evidence) == ("holds", "paper's own corpus and features")
    assert skewed.answer == "holds"


def test_a_run_that_needs_something_says_nothing_where_another_speaks(checkout):
    ran("full", "affwild2", {"distill.c1": "sound"}, notebook="51_one", paper="distill")
    (row,) = rows("distill.c1")
    assert (row.answer, row.kind) == ("needs sound", "needs")
    ran("full", "simulated", {"distill.c1": 0.1}, notebook="51_one", paper="distill")
    (row,) = rows("distill.c1")
    assert (row.answer, row.evidence, row.notebook) == ("holds", "simulated only", "51_one")


def test_an_exploratory_run_decides_only_where_no_other_does_and_is_labelled(checkout):
    ran("full", "ferplus", {"uncnet.c1": 0.3}, exploratory=True)
    (row,) = rows("uncnet.c1")
    assert (row.answer, row.found.exploratory) == ("holds", True)
    assert "| holds (exploratory) |" in scoreboard.markdown([row])
    assert "**holds (exploratory)**" in scoreboard.compact([row])
    assert "as they were fixed beforehand, 1: 1 hold." in scoreboard.headline([row])
    ran("full", "simulated", {"uncnet.c1": -0.3})
    (row,) = rows("uncnet.c1")
    assert (row.answer, row.found.corpus) == ("fails", "simulated")
    assert row.others[0].place == "FER+ with hog, full, exploratory"


# --- in words ---------------------------------------------------------------------------------------------


def test_unlike_assertions_have_an_answer_and_a_strip_each_and_count_once(checkout):
    accuracy, *rest = printed.claim("uncnet.c8").parts
    ran("full", "ferplus", {"uncnet.c8": {accuracy: -9.0} | dict.fromkeys(rest, 9.0)})
    (row,) = rows("uncnet.c8")
    assert (row.answer, row.kind) == ("a fails, b holds", "mixed")
    assert row.reasons == ["a interval below 0", "b interval above 0; larger than printed here"]
    text = scoreboard.markdown([row])
    assert "| `●·········┃·○········`<br>`··········┃···○·····●` | a fails<br>b holds |" in text
    assert "On recordings 1: 1 differ between their assertions." in text
    assert "none of the 2 assertions judged any effect, chance alone would let at most 0.1 hold" in text


def test_what_was_no_test_says_why_and_is_not_judged(checkout):
    ran("full", "ferplus", {"uncnet.c1": 0.3}, learnt=False)
    (row,) = rows("uncnet.c1")
    assert (row.answer, row.kind) == ("not a test", "not a test")
    assert row.reasons == ["UncNet: accuracy .300 is not above the constant's .300"]
    assert "On recordings 1: 1 were not a test." in scoreboard.headline([row])
    assert "chance" not in scoreboard.headline([row])
    page = scoreboard.markdown([row])
    assert "**Not a test: what must happen first did not**\n\n- Where annotators disagree more, aleatoric" in page
    assert "section 4.1): UncNet: accuracy .300 is not above the constant's .300" in page


def test_no_reason_has_more_than_ten_words_and_commands_rerun_what_was_run(checkout):
    ran("full", "ferplus", dict.fromkeys(CLAIMS, 0.04), SEED=7, FEATURES="casia-webface")
    found = rows()
    assert all(len(reason.removesuffix(" …").split()) <= 11 for row in found for reason in row.reasons)
    first = found[0]
    assert first.command == (
        "uncertain-affect reproduce 11 --profile full --corpus ferplus -p SEED 7 -p FEATURES casia-webface"
    )
    (skewed,) = rows("uncnet.c4")
    assert skewed.command.endswith("--profile full --corpus simulated -p FEATURES simulated-skewed")
    assert first.n_seeds == 5
    table = scoreboard.frame(found).set_index("claim")
    assert list(table.columns) == scoreboard.COLUMNS[1:]
    assert table.loc["uncnet.c1", ["effect", "printed", "corpus", "features"]].tolist() == [
        0.04, 0.301, "ferplus", "casia-webface",
    ]  # fmt: skip


def test_parts_and_other_runs_are_folded_beneath_and_disagreement_is_printed(checkout):
    ran("full", "ferplus", {"uncnet.c5": 0.5, "uncnet.c1": 0.3})
    ran("full", "simulated", {"uncnet.c5": -0.5, "uncnet.c1": 0.3})
    page = scoreboard.markdown(rows())
    assert "## Ghandeharioun et al. 2019: Characterizing Sources" in page
    assert "<details><summary>Parts and other runs</summary>\n\n| claim | part |" in page
    assert "| uncnet.c5 | r(U_a, BCE) | the simulated world with hog, full | 0.880 | -0.500 |" in page
    line = (
        "any of the three uncertainties is higher. holds (FER+ with hog, full); fails (the simulated world with hog, f"
    )
    assert line in page.partition("## Where full runs disagree")[2]
    assert scoreboard.so_far(rows("uncnet.c5")).endswith("; but fails (the simulated world with hog, full)")
    found = scoreboard.found_frame(rows("uncnet.c5"))
    assert list(found["part"]) == ["", *printed.claim("uncnet.c5").parts] * 2
    assert list(found["decides"]) == [True] * 4 + [False] * 4


def test_unlike_assertions_disagree_apart(checkout):
    gains = {"UncNet - Baseline": 1.0} | {f"low {u} - all": 1.0 for u in ("U_e", "U_a", "U_t")}
    ran("full", "ferplus", {"uncnet.c8": gains})
    ran("full", "simulated", {"uncnet.c8": gains | {"UncNet - Baseline": -1.0}})
    (row,) = rows("uncnet.c8")
    assert scoreboard.differing(row) == ["a fails (the simulated world with hog, full)"]


def test_what_was_not_tested_is_grouped_by_what_is_missing(checkout):
    groups = scoreboard.untested(rows())
    assert sum(map(len, groups.values())) == 51
    assert [row.id for row in groups["Needs a full run on FER+ with casia-webface"]] == ["uncnet.c10"]
    quoted = next(own for missing, own in groups.items() if missing.startswith("The paper compares"))
    assert {row.id for row in quoted} == {"pen.c7", "rock.c9", "ugn.c5", "ugn.c6"}


def test_a_change_to_a_frozen_claim_is_shown(checkout):
    path = checkout / "results" / "printed" / "frozen.json"
    change = {"claim": "uncnet.c3", "old": {"delta": 0.1}, "new": {"delta": 0.2}, "reason": "A slip."}
    layout.write_json(path, json.loads(path.read_text()) | {"changes": [change]})
    assert "{'delta': 0.1} became {'delta': 0.2}: A slip." in scoreboard.markdown(rows("uncnet.c3"))


# --- strips -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "low", "high", "stated", "margin", "expected"),
    [
        (0.6, 0.4, 0.8, 1.0, None, "··········┃···──●──·○"),
        (1.0, 0.5, 1.0, 1.0, None, "··········┃····─────◉"),
        (0.0, -0.5, 0.5, None, None, "──────────●──────────"),
        (0.1, -0.5, 0.5, -0.5, None, "○─────────┿─●────────"),
        (-1.0, -1.0, -0.8, 0.0, None, "●──·······○··········"),
        (0.1, -0.1, 0.3, 0.0, 1.0, "··········┃······──●○"),  # of an equivalence, how far within its margin
        (-2.0, -2.0, -1.5, None, 1.0, "●─────····┃··········"),
        (0.0, 0.0, 0.0, None, None, "··········●··········"),
    ],
)
def test_a_strip_has_zero_in_the_middle_and_what_is_claimed_on_the_right(effect, low, high, stated, margin, expected):
    answer = Answer("open", effect=effect, low=low, high=high, printed=stated)
    assert strip(Line("", answer, margin)) == expected
    assert strip(Line("", dataclasses.replace(answer, answer="not a test"), margin)) == ""


def test_a_notebook_begins_with_its_own_answers_in_a_line_each(checkout, monkeypatch):
    monkeypatch.setattr(layout, "results_root", lambda: checkout / "results")
    ran("full", "ferplus", {"uncnet.c1": 0.4, "uncnet.c8": 2.0, "uncnet.c10": "the weights"})
    found = {row.id: row for row in scoreboard.of_notebook(NAME)}
    assert list(found) == CLAIMS
    first, apart, needs = scoreboard.so_far([found[f"uncnet.c{i}"] for i in (1, 8, 10)]).splitlines()
    low, high = (found["uncnet.c1"].lines[0].ends[i] for i in (0, 2))
    assert first == (
        f"- {found['uncnet.c1'].claim.statement} **holds**; 0.400 [{low:.3f}, {high:.3f}] (printed 0.301); "
        "paper's corpus, other features"
    )
    assert (
        "**holds**; a (UncNet - Baseline) 2.000 [" in apart and "; b (low U_e - all, low U_a - all, …) 2.000 [" in apart
    )
    assert needs.startswith(f"- {found['uncnet.c10'].claim.statement} **not yet**")


def test_an_equivalence_is_drawn_by_its_margin(checkout):
    ran("full", "ferplus", {"uncnet.c2": 0.0})
    (row,) = rows("uncnet.c2")
    assert row.lines[0].margin == printed.claim("uncnet.c2").margin
    drawn = scoreboard.drawn([row])
    assert drawn.loc[0, ["low", "effect"]].tolist() == pytest.approx([row.lines[0].margin - 0.01, row.lines[0].margin])


# --- the committed one ------------------------------------------------------------------------------------


def test_the_notice_names_every_corpus_whose_labels_are_committed():
    text = (paths.project_root() / "results" / "NOTICE.md").read_text(encoding="utf-8")
    names = {"simulated": "simulated world", "ferplus": "FER+", "emobank": "EmoBank"}
    assert set(names) == set(store.WITH_LABELS) - {"none"}
    assert all(name in text for name in names.values())


def test_the_picture_has_every_answer_that_the_headline_counts():
    assert set(scoreboard.ORDER) <= scoreboard.BARS.keys()
