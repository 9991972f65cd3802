"""Rounding intervals: by hand, against brute force, and no false alarm on synthetic tables."""

import math
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from uncertain_affect.evidence import audit
from uncertain_affect.evidence.audit import Check, Range


def half(low, high):
    return Range(Fraction(low), Fraction(high))


# --- what a printed number stands for ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "decimals", "low", "high"),
    [
        (0.5, 1, "0.45", "0.55"),
        (54.848, 3, "54.8475", "54.8485"),
        (0.1, 2, "0.095", "0.105"),  # printed as .10
        (-0.027, 3, "-0.0275", "-0.0265"),
        (60, 0, "59.5", "60.5"),
        (np.float64(0.3), 1, "0.25", "0.35"),
        (7e-05, 5, "0.000065", "0.000075"),
    ],
)
def test_a_printed_number_stands_for_half_a_unit_either_way(value, decimals, low, high):
    assert audit.rounded(value, decimals) == half(low, high)


def test_decimals_are_the_most_that_any_cell_shows_and_no_more():
    for cells, places in (([0.80, 0.795, math.nan, 3], 3), ([60.0, 20, 100.0], 0), ([2.25e-05], 7), ([], 0)):
        assert audit.decimals(cells) == places
    with pytest.raises(ValueError, match=r"0\.123 has more than 2 decimals"):
        audit.rounded(0.123, 2)


def test_a_cell_has_the_decimals_that_its_row_and_column_share():
    frame = pd.DataFrame({"Count": [1084, 1636], "F1": [0.573, 0.8]}, index=["sad", "happy"])
    ranges = audit.ranges(frame)
    assert ranges.at["sad", "Count"] == half("1083.5", "1084.5")
    assert ranges.at["sad", "F1"] == half("0.5725", "0.5735")
    assert ranges.at["happy", "F1"] == half("0.75", "0.85")  # of its row, with nothing else to go by
    assert pd.isna(audit.ranges(pd.DataFrame({"a": [math.nan, 0.25]})).iat[0, 0])


# --- arithmetic -------------------------------------------------------------------------------------------


def test_sums_and_averages_by_hand_and_an_average_on_the_edge_agrees():
    cells = [audit.rounded(value, 4) for value in (0.6632, 0.5541, 0.4202, 0.5192)]
    assert audit.total(cells) == half("2.1565", "2.1569")
    assert audit.average(cells) == half("0.539125", "0.539225")
    assert not Check(2.1527, 4, audit.total(cells)).agrees  # the erratum of Table 5
    assert Check(2.1527, 4, audit.total(cells)).beyond == pytest.approx(0.00375)
    with pytest.raises(ValueError, match="no cells"):
        audit.average([])
    # (.58 + .41) / 2 = .495, printed .50 or .49
    average = audit.average([audit.rounded(0.58, 2), audit.rounded(0.41, 2)])
    assert [Check(value, 2, average).agrees for value in (0.48, 0.49, 0.5, 0.51)] == [False, True, True, False]


finite = st.fractions(-10, 10, max_denominator=50)


@given(*[st.tuples(finite, finite, st.fractions(0, 1, max_denominator=20)) for _ in "ab"])
def test_the_range_of_a_result_holds_the_result_of_any_values(a, b):
    (low, high, share), (other_low, other_high, other_share) = a, b
    first = Range(min(low, high), max(low, high))
    second = Range(min(other_low, other_high), max(other_low, other_high))
    x, y = (r.low + s * (r.high - r.low) for r, s in ((first, share), (second, other_share)))
    results = [(x + y, first + second), (x - y, first - second), (x * y, first * second)]
    results += [(min(x, y), audit.lowest([first, second])), (max(x, y), audit.highest([first, second]))]
    if second.sign:
        results.append((x / y, first / second))
        assert (second.sign > 0) == (y > 0)
    else:
        with pytest.raises(ZeroDivisionError, match="the divisor may be zero"):
            first / second
    if first.sign == second.sign == 1:
        results.append((100 * (x - y) / y, audit.relative_change(first, second)))
    assert all(found.low <= value <= found.high for value, found in results)


@pytest.mark.parametrize(
    ("percent", "decimals", "n", "how_many"),
    [(54.848, 3, 3579, 1), (54.848, 3, 3589, 0), (49.85, 2, 3573, None), (50.0, 0, 7, None), (33.3, 1, 4, None)],
)
def test_counts_that_are_a_percentage_are_those_that_round_to_it(percent, decimals, n, how_many):
    # Decimal's own rounding both ways, on every count there is
    half_unit = Fraction(1, 2 * 10**decimals)
    fitting = [k for k in range(n + 1) if abs(Fraction(100 * k, n) - audit.fraction(percent)) <= half_unit]
    assert list(audit.counts(percent, decimals, n)) == fitting
    assert how_many in (None, len(fitting))
    for k in fitting:
        assert Check(percent, decimals, audit.percentage(k, n)).agrees


@pytest.mark.parametrize(("r", "n"), [(0.301, 3579), (-0.027, 3579), (0.71, 25), (0.884, 25), (0.0, 12), (0.999, 5)])
def test_p_values_are_those_of_scipy(r, n):
    x = np.random.default_rng(0).normal(size=(2, n))
    # two series with exactly this correlation
    a, b = stats.zscore(x, axis=1)
    b = stats.zscore(b - a * (a @ b) / n)
    p = stats.pearsonr(a, r * a + math.sqrt(1 - r * r) * b).pvalue
    found = audit.p_value(audit.exact(r), n)
    assert float(found.low) <= p * (1 + 1e-6) and float(found.high) >= p * (1 - 1e-6)
    assert float(found.high - found.low) <= 1e-6 * p + 1e-300


def test_the_range_of_a_p_value():
    p = audit.p_value(audit.rounded(-0.027, 3), 3579)
    assert (round(float(p.low), 3), round(float(p.high), 3)) == (0.1, 0.113)
    assert audit.p_value(audit.rounded(0.0, 1), 50).high >= 1
    assert audit.p_value(audit.exact(1), 9).low == 0


def test_a_table_of_checks():
    table = audit.table({"right": Check(0.5, 1, half("0.54", "0.6")), "wrong": Check(0.5, 1, half("0.6", "0.7"))})
    assert table["agrees"].tolist() == [True, False]
    assert table["beyond"].tolist() == [0.0, pytest.approx(0.05)]
    assert table.loc["right", ["printed", "low", "high"]].tolist() == [0.5, 0.54, 0.6]


# --- rounding, and what the checks are worth --------------------------------------------------------------


@given(st.integers(-(10**6), 10**6), st.integers(0, 4))
def test_rounding_halves_up_is_that_of_decimal(k, places):
    value = Decimal(k).scaleb(-5)
    rounded = value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    assert audit.round_half_up(Fraction(value), places) == Fraction(rounded)


def test_no_false_alarm_on_ten_thousand_correctly_rounded_tables_which_reach_the_ends_of_the_ranges():
    """Were all ranges their middles, many would be alarms: that there is none is no luck."""
    rng = np.random.default_rng(1)
    tables, alarms, narrow = Counter(), Counter(), Counter()
    for _ in range(10_000):
        for kind, check in audit.synthetic(rng).items():
            middle = (check.recomputed.low + check.recomputed.high) / 2
            tables[kind] += 1
            alarms[kind] += not check.agrees
            narrow[kind] += not Check(check.printed, check.decimals, Range(middle, middle)).agrees
    assert set(tables) == {"sum", "average", "margin", "percentage of n", "p of r and n"}
    assert (set(tables.values()), set(alarms.values())) == ({10_000}, {0})
    assert narrow.pop("percentage of n") == 0  # nothing is rounded but the result
    assert min(narrow.values()) > 200


@pytest.mark.parametrize("up", [True, False])
def test_what_rounding_cannot_explain_is_always_found_and_is_the_least_such(up):
    rng = np.random.default_rng(3)
    for _ in range(500):
        for check in audit.synthetic(rng).values():
            wrong = audit.planted(check, beyond=True, up=up)
            assert not wrong.agrees
            assert audit.planted(wrong, beyond=False, up=not up).agrees
            off_by_one = audit.planted(check, beyond=False, up=up)
            difference = audit.fraction(off_by_one.printed) - audit.fraction(check.printed)
            assert abs(difference) == Fraction(1, 10**check.decimals)


def test_what_printed_numbers_say_of_a_claim():
    def said(rule, *effects, margin=None):
        parts = {str(i): {"margin": margin} for i in range(len(effects) + 1)}  # the last without a number
        ranges = {str(i): audit.rounded(effect, 1) for i, effect in enumerate(effects)}
        return audit.says({"a": (rule, parts), "b": ("single", {"without": {"margin": None}})}, ranges)

    assert said("weakest", 0.2, 0.1) == said("mean", 0.4, -0.1) == "support"
    assert said("weakest", 0.2, 0.0) == said("mean", 0.1, -0.1) == "rounding decides"
    assert said("weakest", 0.2, 0.0, -0.1) == said("quoted", -0.1) == said("mean", 0.1, -0.4) == "contradict"
    assert said("single") == said("mean") == "nothing"
    # within 1 of zero, at its edge, and beyond
    answers = {said("single", sign * 0.9, margin=1.0) for sign in (1, -1)}, said("single", 1.0, margin=1.0)
    assert answers == ({"support"}, "rounding decides")
    assert said("single", -1.2, margin=1.0) == "contradict"


# --- the likelihood of a constant -------------------------------------------------------------------------


@given(st.fractions("1/50", 50), st.fractions(0, "1/2"), st.fractions(0, 1))
def test_the_nll_of_a_base_rate_is_that_of_a_constant_detector(odds, half_width, share):
    stands_for = Range(max(odds - half_width, Fraction(1, 100)), odds + half_width)
    found = audit.base_rate_nll(stands_for)
    within = stands_for.low + share * (stands_for.high - stands_for.low)
    rate = float(1 / (1 + within))
    of_frames = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert float(found.low) - 1e-12 <= of_frames <= float(found.high) + 1e-12
    assert float(found.high) <= math.log(2) * (1 + 1e-8)
    point = audit.base_rate_nll(audit.exact(within))
    assert float(point.high - point.low) <= 1e-8 and float(point.low) == pytest.approx(of_frames)


def test_even_odds_within_the_rounding_have_the_greatest_nll():
    found = audit.base_rate_nll(audit.rounded(1, 0))
    assert float(found.high) == pytest.approx(math.log(2), rel=1e-8)
    assert float(found.low) == pytest.approx(stats.bernoulli(1 / 1.5).entropy())  # of odds .5
