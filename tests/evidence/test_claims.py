"""Direction, size and resolution of answers, and how often chance alone gives them."""

import dataclasses
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from uncertain_affect.evidence import claims
from uncertain_affect.evidence.claims import (
    Answer,
    Arm,
    Effect,
    Part,
    chance,
    crossed_mean_interval,
    decide,
    effect_interval,
    holm,
    judge,
    judge_apart,
    mean_effect,
    plan_seeds,
)
from uncertain_affect.evidence.intervals import interval_of


def effect(estimate, se=1.0, df=20.0, values=None):
    reach = se * stats.t.ppf(0.975, df)
    return Effect(estimate, estimate - reach, estimate + reach, se, df, 0.0, n_seeds=5, n_clusters=9, values=values)


def single(*args, printed=None, delta=None, **options):
    return judge({"": Part("greater", effect(*args), None, printed, delta)}, **options)


# --- by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "se", "printed", "direction", "size"),
    [
        (9.0, 1.0, 2.0, "holds", "larger"),
        (2.0, 0.4, 2.0, "holds", "as printed"),
        (0.5, 0.2, 2.0, "holds", "smaller"),
        (2.0, 0.6, 2.0, "holds", "size open"),
        (0.0, 0.4, 2.0, "no effect", "size open"),
        (-0.5, 0.2, 2.0, "fails", "negligible"),
        (-5.0, 1.0, 2.0, "fails", "size open"),
        (0.0, 1.0, 2.0, "open", "size open"),
        (3.0, 1.0, None, "holds", ""),
        (3.0, 1.0, -1.0, "holds", ""),  # the paper's own number says the opposite: it is no size to compare with
    ],
)
def test_direction_and_size(estimate, se, printed, direction, size):
    answer = single(estimate, se, printed=printed)
    assert (answer.answer, answer.size) == (direction, size)
    assert answer.low < answer.effect == estimate < answer.high
    assert (answer.seeds, answer.clusters, answer.parts) == (5, 9, {})


def test_without_a_printed_effect_delta_is_given_and_decides_what_is_none():
    assert single(0.0, 0.3, delta=1.0).answer == "no effect"
    assert single(0.0, 0.3).answer == "open"
    assert single(0.4, 0.1, delta=1.0).size == "negligible"
    assert single(0.0, 0.3, printed=1.0, delta=0.2).answer == "open"  # what is given goes before half the printed one


def test_resolution_is_what_is_found_in_four_of_five_runs():
    answer = single(0.0, 0.1, 20.0, printed=0.5)
    assert answer.resolution == pytest.approx((stats.t.ppf(0.975, 20) + stats.t.ppf(0.8, 20)) * 0.1 / 0.5)
    assert single(0.0, 0.1, 20.0, delta=0.25).resolution == pytest.approx(answer.resolution)
    assert single(0.0, 0.1).resolution is None
    found = stats.nct.sf(stats.t.ppf(0.975, 20), 20, answer.resolution * 0.5 / 0.1)
    assert found == pytest.approx(0.8, abs=0.01)


def test_an_open_answer_says_what_would_be_needed_where_its_pilot_knows():
    y = np.random.default_rng(0).normal(size=(20, 1))
    y = y - y.mean()

    def word(values, printed, planned=True):
        return judge({"": Part("greater", effect_interval(values), None, printed)}, planned=planned).answer

    needed = plan_seeds(y[:5], 0.1).would_need
    assert needed > 40 and word(y, 0.1) == f"too small to see here; would need {needed}"
    assert word(y, 0.1, planned=False) == word(y[:4], 0.1) == "open"  # no pilot, or not a whole one
    assert word(y, 0.6) == "open"  # which forty seeds would resolve
    assert word(y + 5, 0.1) == "holds"
    people = np.random.default_rng(1).normal(size=12) + 0.01 * np.random.default_rng(2).normal(size=(10, 12))
    assert word(people - people.mean(), 0.4) == "too small to see here; would need a larger test set"


def test_equivalence_holds_inside_its_margin_and_fails_wholly_outside():
    def word(estimate, se):
        return judge({"": Part("equivalent", effect(estimate, se), margin=1.0)}).answer

    assert [word(0, 0.4), word(0.1, 0.4)] == ["holds", "holds"]
    assert [word(0, 1), word(1, 0.4), word(-1, 0.4)] == ["open"] * 3
    assert [word(2, 0.4), word(-2, 0.4)] == ["fails"] * 2
    for margin in (None, 0, -1, math.nan):
        with pytest.raises(ValueError, match="needs a margin above 0"):
            judge({"": Part("equivalent", effect(0), margin=margin)})


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_no_variation_is_no_evidence(value):
    measured = effect_interval(np.full((5, 9), value))
    for part in (Part("greater", measured), Part("equivalent", measured, 1.0)):
        answer = judge({"": part})
        assert answer.answer == "open" and "same in every unit" in answer.reason
    assert judge({"a": Part("greater", measured), "b": Part("greater", effect(9))}, "weakest").answer == "open"


def parts_of(signs):
    """A part for each sign: it holds beyond doubt (+), lies on the other side (-), is open (?), not at hand (0)."""
    sizes = {"+": effect(9), "-": effect(-9), "?": effect(1), "0": None}
    return {str(i): Part("greater", sizes[sign]) for i, sign in enumerate(signs)}


@pytest.mark.parametrize(
    ("rule", "signs", "expected"),
    [
        ("weakest", "++", "holds"), ("weakest", "+?", "open"), ("weakest", "+-?", "fails"),
        ("weakest", "+0", "needs other data"), ("single", "0", "needs other data"),
        ("mean", "++?", "holds"), ("mean", "+++-", "holds in part, 3 of 4"), ("mean", "--?", "fails"),
        ("mean", "+0", "holds"), ("mean", "00", "needs other data"), ("mean", "+-", "open"),
    ],
)  # fmt: skip
def test_answers_of_several_parts(rule, signs, expected):
    answer = judge(parts_of(signs), rule)
    assert answer.answer == expected
    assert answer.effect is None or rule == "single" or list(answer.parts) == [str(i) for i in range(len(signs))]


def test_the_weakest_part_is_shown_and_each_part_has_its_answer():
    answer = judge(parts_of("+-?"), "weakest")
    assert answer.effect == -9 and [a.answer for a in answer.parts.values()] == ["holds", "fails", "open"]
    assert answer.reason == "1 of 3 parts hold; shown is the weakest"


def test_the_printed_effect_of_a_mean_is_that_of_the_printed_parts():
    parts = {"a": Part("greater", effect(3), None, 2.0), "b": Part("greater", effect(5), None, 4.0)}
    answer = judge(parts | {"c": Part("greater", effect(4))}, "mean")
    assert (answer.printed, answer.delta, answer.effect) == (3.0, 1.5, 4.0)


def test_unlike_assertions_are_answered_by_their_letters():
    assert judge_apart({"a": Answer("holds"), "b": Answer("holds")}).answer == "holds"
    mixed = judge_apart({"a": Answer("holds"), "b": Answer("no effect")})
    assert mixed.answer == "a holds, b no effect" and set(mixed.parts) == {"a", "b"}


def test_what_cannot_be_judged_is_refused():
    for parts, rule in (({}, "mean"), (parts_of("+"), "most"), (parts_of("++"), "single")):
        with pytest.raises(ValueError, match="cannot be judged by the rule"):
            judge(parts, rule)
    with pytest.raises(ValueError, match="is of kind 'less'"):
        judge({"a": Part("less", effect(1))})
    with pytest.raises(ValueError, match="the mean of such parts is none"):
        judge({"a": Part("equivalent", effect(1), 1.0), "b": Part("greater", effect(1))}, "mean")
    with pytest.raises(ValueError, match="the mean of no effect"):
        mean_effect([])


def test_answers_are_json():
    measured = effect_interval(np.random.default_rng(5).normal(size=(5, 9)))
    counted = judge({"": Part("greater", Effect.counted(1.0), None, 2.0)})
    for answer in (judge({"a": Part("greater", measured), "b": Part("greater", -measured)}, "mean"), counted):
        said = json.loads(json.dumps(dataclasses.asdict(answer), allow_nan=False))
        assert said["effect"] == answer.effect and said["answer"] == answer.answer


def test_a_counted_effect_needs_no_variation():
    for value, expected in ((0.4, "holds"), (-0.4, "fails"), (0.0, "open")):
        assert judge({"": Part("greater", Effect.counted(value))}).answer == expected
    parts = {"size": Part("greater", Effect.counted(1.0)), "speed": Part("greater", effect(9.0))}
    answer = judge(parts, "weakest")
    assert (answer.answer, answer.effect) == ("holds", 9.0)  # what was measured decides, not what is certain


# --- effects ------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3))
@settings(max_examples=40, deadline=None)
def test_another_unit_moves_every_part_of_an_effect(seed, factor):
    y = np.random.default_rng(seed).gamma(1.0, size=(4, 11))
    scaled, direct = effect_interval(y).scaled(factor), effect_interval(factor * y)
    for name in ("estimate", "low", "high", "se", "df", "skewness"):
        assert getattr(scaled, name) == pytest.approx(getattr(direct, name), rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(scaled.values, direct.values)
    assert direct.scaled(-1.0) == -direct and (-direct).estimate == -direct.estimate
    assert direct.minus(1.0).estimate == direct.estimate - 1


def test_the_mean_of_effects_knows_what_they_have_in_common():
    y = np.random.default_rng(0).normal(size=(5, 30))
    a, b = effect_interval(y), effect_interval(1.0 - y)
    assert mean_effect([a, b]).se < 1e-12 and mean_effect([a, b]).estimate == pytest.approx(0.5)
    same = mean_effect([a, a])
    assert (same.low, same.high) == pytest.approx((a.low, a.high))
    other = effect_interval(np.random.default_rng(1).normal(size=(5, 12)))
    bound = mean_effect([a, other])
    assert bound.se == pytest.approx((a.se + other.se) / 2) and bound.df == min(a.df, other.df)
    assert mean_effect([Effect.counted(1.0), Effect.counted(2.0)]) == Effect.counted(1.5)


# --- how often chance alone answers -------------------------------------------------------------------------

CLAIMS = 20_000
MOST = 0.030
MIXES = {
    "seeds": (0.9, 0.05, 0.05),
    "clusters": (0.05, 0.9, 0.05),
    "seeds 75": (0.75, 0.25, 0.0),
    "a third each": (1 / 3, 1 / 3, 1 / 3),
    "interaction": (0.05, 0.05, 0.9),
}
SIZES = [(5, 1), (5, 20), (20, 41), (5, 3400)]
# every size and number of parts, each with another mix; `tests/stress/answers.py` goes through all of them
CASES = [
    (*size, n_parts, correlation, list(MIXES)[(i + j + k) % 5])
    for i, size in enumerate(SIZES)
    for j, n_parts in enumerate((1, 2, 6, 13, 19))
    for k, correlation in enumerate((0.0, 0.5, 1.0) if n_parts in (6, 19) else (0.0,))
]


def mean_squares(generator, n, df, correlation):
    """(n, P, P) covariances of df draws of P normal parts with unit variance, a Wishart matrix over df."""
    n_parts = len(correlation)
    if n_parts > 1 and correlation[0, 1] == 1:
        return np.broadcast_to((generator.chisquare(df, n) / df)[:, None, None], (n, n_parts, n_parts))
    if df >= n_parts:
        return stats.wishart.rvs(df, correlation, size=n, random_state=generator).reshape(n, n_parts, n_parts) / df
    draws = generator.standard_normal((n, df, n_parts)) @ np.linalg.cholesky(correlation).T
    return np.einsum("ndp,ndq->npq", draws, draws) / df


def simulated(size, n_parts, rho, mix, effect=0.0, n=CLAIMS, seed=0):
    """Intervals of n claims of P parts and of their means, whose tables are normal with Var(mean) = 1.

    An interval depends on a table through its mean and mean squares alone, which are drawn in its place.
    """
    generator = np.random.default_rng([seed, *size, n_parts, int(10 * rho), sum(map(ord, mix))])
    n_seeds, n_clusters = size
    correlation = np.full((n_parts, n_parts), rho) + (1 - rho) * np.eye(n_parts)
    spread = np.linalg.cholesky(correlation + 1e-12 * np.eye(n_parts))
    means = effect + generator.standard_normal((n, n_parts)) @ spread.T
    if n_clusters == 1:
        squares = [mean_squares(generator, n, n_seeds - 1, correlation), None, None]
    else:
        a, b, e = MIXES[mix]
        freedom = (n_seeds - 1, n_clusters - 1, (n_seeds - 1) * (n_clusters - 1))
        squares = [
            share * mean_squares(generator, n, df, correlation)
            for share, df in zip((a + e, b + e, e), freedom, strict=True)
        ]
    of_parts = (w if w is None else np.einsum("npp->np", w) for w in squares)
    of_mean = (w if w is None else w.mean((1, 2)) for w in squares)
    return interval_of(means, *of_parts, size), interval_of(means.mean(1), *of_mean, size)


@pytest.mark.parametrize(("n_seeds", "n_clusters", "n_parts", "rho", "mix"), CASES)
def test_chance_answers_at_most_so_often(n_seeds, n_clusters, n_parts, rho, mix):
    case = (n_seeds, n_clusters), n_parts, rho, mix
    parts, mean = simulated(*case)
    for rule in ("mean", "weakest"):
        directions, _, _ = decide(rule, parts, mean)
        rates = {word: np.mean(directions == word) for word in ("holds", "fails")}
        assert max(rates.values()) <= MOST, (rule, rates)
        assert rule == "weakest" or min(rates.values()) > 0.002  # a rule that never speaks is none

    # three standard errors are found, at least as often as the few seeds of the worst mix allow
    parts, mean = simulated(*case, effect=3.0, n=CLAIMS // 5)
    for rule in ("mean", "weakest"):
        directions, _, _ = decide(rule, parts, mean)
        assert np.mean(directions == "fails") < 0.002
        if rule == "mean" or n_parts == 1 or rho == 1:
            assert np.mean(directions == "holds") > 0.52


@pytest.mark.parametrize("size", [(5, 20), (20, 41)])
def test_the_shortcut_by_mean_squares_is_what_whole_tables_give(size):
    generator = np.random.default_rng(1)
    n, (n_seeds, n_clusters), (a, b, e) = 4_000, size, MIXES["seeds 75"]
    y = np.sqrt(a * n_seeds) * generator.standard_normal((n, n_seeds, 1)) + np.sqrt(
        b * n_clusters
    ) * generator.standard_normal((n, 1, n_clusters))
    y += np.sqrt(e * n_seeds * n_clusters) * generator.standard_normal((n, n_seeds, n_clusters))
    whole = crossed_mean_interval(y)
    short, _ = simulated(size, 1, 0.0, "seeds 75", n=n)
    for ends in ((whole.low > 0, short.low > 0), (whole.high < 0, short.high < 0)):
        assert abs(ends[0].mean() - ends[1].mean()) < 0.012
    np.testing.assert_allclose(np.median(whole.se), np.median(short.se), rtol=0.05)


@pytest.mark.parametrize("mix", MIXES)
def test_an_equivalence_at_its_margin_is_called_equal_at_most_so_often(mix):
    at_margin, _ = simulated((5, 20), 1, 0.0, mix, effect=4.0)
    for n_parts in (1, 6):
        parts, _ = simulated((5, 20), n_parts, 0.5, mix, effect=4.0)
        directions, _, _ = decide("weakest", parts, margins=np.full(n_parts, 4.0))
        assert np.mean(directions == "holds") <= MOST and np.mean(directions == "fails") <= MOST
    assert at_margin.estimate.shape == (CLAIMS, 1)


def test_objects_and_batches_give_the_same_answers():
    generator = np.random.default_rng(3)
    tables = generator.normal(size=(60, 6, 5, 9)) + 0.5 * generator.normal(size=(60, 6, 5, 1))
    tables += generator.normal(0.5, 1.5, size=(60, 1, 1, 1))
    for rule in ("mean", "weakest"):
        parts, mean = crossed_mean_interval(tables), crossed_mean_interval(tables.mean(1))
        batch, _, _ = decide(rule, parts, mean)
        one_by_one = [
            judge({str(i): Part("greater", effect_interval(y)) for i, y in enumerate(claim)}, rule).answer.split(",")[0]
            for claim in tables
        ]
        assert list(batch) == one_by_one and len(Counter(one_by_one)) > 1


def test_chance_on_a_scoreboard_is_counted_from_what_was_judged():
    judged = [single(1.0, printed=1.0), single(1.0, delta=2.0), judge({"": Part("equivalent", effect(0), 1.0)})]
    assert chance(judged) == pytest.approx(0.05)
    apart = judge_apart({"a": judged[0], "b": judged[1]})
    assert chance([apart, Answer("not a test")]) == pytest.approx(0.05)


# --- several at once ----------------------------------------------------------------------------------------


def words(parts):
    return {name: answer.answer for name, answer in holm(parts).items()}


def test_holm_by_hand():
    # p = .004, .02 and .03: at .05/3, .05/2 and .05; with p = .04 in the middle the last one falls too
    def found(**p):
        return words({n: Part("greater", effect(float(stats.norm.isf(v / 2)), df=1e9)) for n, v in p.items()})

    assert found(a=0.03, b=0.004, c=0.02) == dict.fromkeys("abc", "holds")
    assert found(a=0.04, b=0.004, c=0.03) == {"a": "open", "b": "holds", "c": "open"}


def test_holm_knows_both_sides_and_leaves_out_what_is_not_there():
    parts = {"up": Part("greater", effect(9.0)), "none": Part("greater", None), "down": Part("greater", effect(-9.0))}
    assert list(words(parts).items()) == [("up", "holds"), ("none", "needs other data"), ("down", "fails")]
    with pytest.raises(ValueError, match="'same' is equivalent"):
        holm({"up": parts["up"], "same": Part("equivalent", effect(0.0), 1.0)})


def test_holm_keeps_the_chance_of_any_false_finding():
    rng = np.random.default_rng(0)
    wrong = 0
    for draws in rng.normal(size=(800, 8)):
        answers = holm({str(i): Part("greater", effect(x, df=1e9)) for i, x in enumerate(draws)})
        wrong += any(a.answer != "open" for a in answers.values())
    assert 0.03 < wrong / 800 < 0.07


# --- plan and learning --------------------------------------------------------------------------------------


def test_seeds_are_planned_from_the_spread_of_the_pilot_alone():
    y = np.random.default_rng(0).normal(size=(5, 1))
    y = (y - y.mean()) / y.std(ddof=1)  # sd 1
    for shift in (0.0, 100.0):  # never from its effect
        plan = plan_seeds(y + shift, printed=10.0)
        assert plan.n == 10 and plan.would_need is None and plan.floor == 0
    assert plan.resolution == pytest.approx((stats.t.ppf(0.975, 9) + stats.t.ppf(0.8, 9)) * 1.56 / np.sqrt(10) / 10)
    middling = plan_seeds(y, printed=2.5)
    assert 10 < middling.n < 40 and middling.resolution <= 0.4
    hopeless = plan_seeds(y, printed=0.4)
    assert hopeless.n == 10 and hopeless.would_need > 40
    assert claims.PILOT_FACTOR == pytest.approx(np.sqrt(4 / stats.chi2.ppf(0.2, 4)), abs=0.005)


def test_a_test_set_that_is_too_small_is_no_matter_of_seeds():
    clusters = np.random.default_rng(1).normal(size=(1, 12))
    pilot = clusters + 0.01 * np.random.default_rng(2).normal(size=(5, 12))
    plan = plan_seeds(pilot, printed=0.4)
    assert plan.n == 10 and plan.floor > 1 and math.isinf(plan.would_need)


@pytest.mark.parametrize(
    ("arm", "problem"),
    [
        (Arm("accuracy", 0.57, 0.30, 0.55), ""),
        (Arm("accuracy", 0.54, 0.30, 0.55), ""),
        (Arm("accuracy", 0.50, 0.30, 0.55), "accuracy .500 gains 80% of what a plain baseline gains"),
        (Arm("accuracy", 0.30, 0.30, 0.55), "accuracy .300 is not above the constant's .300"),
        (Arm("CCC", 0.2, 0.0, -0.1), ""),
        (Arm("AUROC", 0.7, 0.5, 0.7, last_epoch=0.25), "the best epoch is the last in 25% of the seeds"),
        (Arm("AUROC", 0.7, 0.5, 0.7, last_epoch=0.2), ""),
        (Arm("AUROC", 0.7, 0.5, 0.7, dead=0.15), "15% of the seeds are dead"),
    ],
)
def test_what_has_learnt_nothing_is_no_test(arm, problem):
    assert arm.problem() == problem


def test_weaker_than_linear_is_said():
    assert Arm("accuracy", 0.54, 0.30, 0.55).weaker_than_linear
    assert not Arm("accuracy", 0.57, 0.30, 0.55).weaker_than_linear


def test_a_printed_value_is_near_within_the_prediction_interval_of_one_more_seed():
    rng = np.random.default_rng(0)
    # of one more network it holds the stated 95%, whatever the number of seeds, rounding aside
    for n in (5, 10):
        draws = rng.normal(55, 0.4, (4000, n + 1))
        hits = [claims.near(one[-1], one[:-1], digits=9)[2] for one in draws]
        assert np.mean(hits) == pytest.approx(0.95, abs=0.012)
    assert claims.near(0.5, [0.5, 0.5], digits=3)[1:] == (0.0005, True)
    assert not claims.near(56.0, [50.0, 60.0, 55.0, 58.0], digits=2, tolerance=0.1)[2]
