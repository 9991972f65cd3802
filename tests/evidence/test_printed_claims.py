"""All claims as they are judged, and what the papers' own numbers say of each."""

import math
import re
from fractions import Fraction

import pytest

from uncertain_affect import corpora
from uncertain_affect.evidence import audit, printed

CLAIMS = {id_: claim for key in printed.keys() for id_, claim in printed.load(key).claims.items()}
OWN = {key: printed.load(key).info["corpora"] for key in printed.keys()}
# Of how many cells with how many decimals a printed effect is made, a mean of differences of two like one of them.
ROUNDING = {
    "uncnet": dict(c1=(1, 3), c2=(1, 3), c5=(1, 3), c6=(2, 3), c7=(1, 3), c8=(2, 3), c9=(2, 3), c10=(2, 2)),
    "ugn": dict.fromkeys(("c1", "c2", "c3", "c4", "c5", "c6", "c7"), (2, 1)) | {"c10": (4, 1)},
    "pen": dict(c1=(2, 2), c2=(2, 2), c3=(2, 2), c4=(4, 2), c7=(2, 2)),
    "rock": dict(c8=(4, 3), c9=(2, 3)),
    "distill": dict(c1=(2, 4), c2=(2, 4), c3=(2, 4), c5=(1, 3))
    | dict.fromkeys(("c4", "c6", "c7", "c8", "c10"), (2, 3)),
}
# Claims in skill, whose printed gains are of two cells: the rows of Tables 1 to 3 that are improved upon.
IMPROVED = {"c1": ("table1", "None"), "c2": ("table1", "None"), "c5": ("table1", "None"), "c7": ("table3", "Flat")}


def around(value, cells, decimals):
    """What an effect may have been that was taken from so many rounded cells."""
    half = Fraction(cells, 2 * 10**decimals)
    return audit.Range(audit.fraction(value) - half, audit.fraction(value) + half)


def effects(id_):
    """What the printed effects of a claim may have been, by part."""
    key, _, number = id_.partition(".")
    claim = CLAIMS[id_]
    if "gains" in claim.printed:
        return skills(number, claim)
    stated = {name: part["printed"] for _, parts in claim.assertions().values() for name, part in parts.items()}
    known = {name: value for name, value in stated.items() if value is not None}
    places = {"r(hardness, gain)": (1, 3)}  # of many cells, and far from zero whatever their rounding
    return {name: around(value, *places.get(name, ROUNDING[key].get(number))) for name, value in known.items()}


def skills(number, claim):
    """Of claims in skill: over the printed error of what is improved upon, since a constant's is not in print."""
    rock = printed.load("rock")
    found = {name: around(value, 2, 3) for name, value in claim.printed["gains"].items()}
    if number == "c3":  # single tasks, whose sign no divisor changes
        return found
    if number in IMPROVED:
        table, row = IMPROVED[number]
        error = rock.table(table).loc[row]
    else:
        error = rock.table("table2").loc["P = 256"]
    error["IEMOCAP emotion"] = 1 - error["IEMOCAP emotion"]
    found = {name: gain / audit.rounded(round(error[name.split(":")[0]], 3), 3) for name, gain in found.items()}
    if number != "c4":
        return found
    margin = audit.exact(claim.printed["margin"])
    return {
        name if ":" in name else f"{name}: margin - gain of smaller P": gain if ":" in name else margin - gain
        for name, gain in found.items()
    }


def test_there_are_51_each_with_a_statement_of_its_own():
    assert len(CLAIMS) == 51
    assert len({claim.statement for claim in CLAIMS.values()}) == 51
    for id_, claim in CLAIMS.items():
        assert claim.statement[0].isupper() and claim.statement.endswith("."), id_
        assert all([claim.says, claim.endpoint, claim.why, claim.where]), id_


@pytest.mark.parametrize("id_", CLAIMS)
def test_each_can_be_judged_as_it_is_stated(id_):
    claim = CLAIMS[id_]
    assert len(claim.statement.split()) <= 15 and not re.search(r"[^A-Za-z0-9 ,.;:'-]", claim.statement)
    assert bool(claim.parts) == (claim.kind is None)
    assert not claim.parts or (claim.margin, claim.tolerance) == (None, None)  # which are the parts'
    letters = {claim.assertion_of(name) for name in claim.parts} or {""}
    assert letters == (set(claim.primary) if isinstance(claim.primary, dict) else {""})
    assert not isinstance(claim.delta, dict) or set(claim.delta) <= letters
    for name, bounds in claim.requires.items():
        if name != "learnt":
            assert bounds and bounds.get("least", -math.inf) <= bounds.get("most", math.inf), name
    for letter, (rule, parts) in claim.assertions().items():
        assert rule != "single" or len(parts) == 1
        for part in parts.values():
            assert (part["kind"] == "equivalent") == (part["margin"] is not None and part["margin"] > 0)
            # an equivalence is no part of a mean or of any corpus
            assert part["kind"] == "greater" or (rule != "mean" and claim.parts_of == "this paper")
        if claim.delta_of(letter) is None:  # then it is half of an effect above zero that is printed
            effects = [part["printed"] for part in parts.values() if part["margin"] is None and not part["delta"]]
            effects = [claim.printed_effect(letter)] if rule == "mean" else effects
            assert all((effect or 0) > 0 for effect in effects)


@pytest.mark.parametrize("id_", CLAIMS)
def test_the_papers_own_numbers_say_what_is_stated(id_):
    claim = CLAIMS[id_]
    assert claim.print == audit.says(claim.assertions(), effects(id_))


def test_answers_of_the_print_by_number_and_what_is_below_zero():
    said = {
        answer: {id_ for id_, claim in CLAIMS.items() if claim.print == answer}
        for answer in ("contradict", "rounding decides", "nothing")
    }
    assert said["contradict"] == set()
    assert said["rounding decides"] == {"ugn.c3", "ugn.c6", "pen.c4"}
    assert said["nothing"] == {
        *("uncnet.c3", "uncnet.c4", "ugn.c8", "ugn.c9", "rock.c6", "rock.c10", "distill.c9"),
        *("pen.c5", "pen.c6", "pen.c8", "pen.c9", "pen.c10", "pen.c11"),
    }
    # as claimed is above zero, but where the print itself is against the claim, or ties
    stated = {(id_, name): c.stated(name) for id_, c in CLAIMS.items() for name in c.parts or [""]}
    against = {place for place, part in stated.items() if part["kind"] == "greater" and (part["printed"] or 1) < 0}
    assert against == {
        ("pen.c4", "valence 5%"),
        ("pen.c4", "arousal 5%"),
        ("pen.c4", "arousal 10%"),
        ("distill.c8", "AU12"),
    }
    assert {place for place, part in stated.items() if part["printed"] == 0} == {("ugn.c3", "accuracy")}


@pytest.mark.parametrize("id_", CLAIMS)
def test_the_paper_decides_before_recordings_and_these_before_the_simulated_world(id_):
    claim, own = CLAIMS[id_], OWN[id_.partition(".")[0]]
    named = [place.partition("/")[0] for place in claim.decides]
    assert set(named) <= {*corpora.KNOWN, "emobank"}
    assert len(set(claim.decides)) == len(claim.decides)
    rank = [0 if name in own else 2 if name == "simulated" else 1 for name in named]
    assert rank == sorted(rank)
    if claim.primary == "quoted":
        assert len(named) == 1 and set(rank) == {0}


def test_what_is_required():
    for id_, claim in CLAIMS.items():
        assert claim.requires.get("learnt") or id_ == "rock.c6", id_
    bounded = {name for claim in CLAIMS.values() for name in claim.requires} - {"learnt"}
    asked = {name: {id_ for id_, claim in CLAIMS.items() if name in claim.requires} for name in bounded}
    assert asked["mask sd"] == asked["mutual information"] == {"ugn.c4", "ugn.c8", "ugn.c9"}
    assert asked["identity skill"] == {"pen.c6", "pen.c8"}
    assert asked["teachers balanced"] == {"distill.c1", "distill.c2"}
    assert asked["temperatures at a bound"] == {"distill.c4", "distill.c6", "distill.c8", "distill.c10"}
    # one number has one bound wherever it is asked for
    for name, ids in asked.items():
        assert len({tuple(CLAIMS[id_].requires[name].items()) for id_ in ids}) == 1, name


def test_parts_that_another_corpus_has():
    units = CLAIMS["ugn.c4"].assertions(["fear", "disgust", "contempt"])[""][1]
    assert list(units) == ["fear", "disgust", "contempt"]
    sizes = CLAIMS["ugn.c7"].assertions(["FER+ 1%", "FER+ 100%", "FER+ UGN 20% - 100%"])
    assert {letter: len(parts) for letter, (_, parts) in sizes.items()} == {"a": 2, "b": 1}
    assert list(CLAIMS["rock.c3"].assertions(["EmoBank valence: aphf over ap"])["a"][1])
    assert CLAIMS["rock.c4"].assertion_of("MELD emotion: margin - gain of smaller P") == "a"
    assert CLAIMS["distill.c3"].assertions(["w/o ba. EXPR"])["b"][1]["w/o ba. EXPR"]["printed"] == 0.0182
    open_ = {id_ for id_, claim in CLAIMS.items() if claim.parts_of == "any corpus"}
    assert open_ == {
        *("ugn.c4", "ugn.c7", "ugn.c8", "ugn.c10", "distill.c3"),
        *("rock.c1", "rock.c2", "rock.c3", "rock.c4", "rock.c5", "rock.c7"),
    }
