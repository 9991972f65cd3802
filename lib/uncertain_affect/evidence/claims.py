"""The answer to a claim: direction, size and resolution of its effect, and whether it was tested at all.

See `judge` for the answers and how often chance alone gives them, and `intervals` for the effects they rest on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from uncertain_affect.evidence.intervals import (
    LEVEL,
    Effect,
    Floats,
    Interval,
    crossed_mean_interval,
    effect_interval,
    ends,
    mean_effect,
    quantile,
)

__all__ = [
    "Answer", "Arm", "Effect", "Part", "chance", "compare_ranks", "crossed_mean_interval", "decide", "effect_interval",
    "holm", "judge", "judge_apart", "mean_effect", "near", "plan_seeds",
]  # fmt: skip

KINDS = ("greater", "equivalent")
RULES = ("single", "mean", "weakest")
POWER = 0.80


# --- answers ------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """One part of a claim: its kind, `greater` (above 0) or `equivalent` (within ± `margin`), and measured effect.

    As claimed is positive. `printed` is the paper's effect, `delta` the size below which an effect is none. The
    effect is None where the data at hand do not have this part.
    """

    kind: str
    effect: Effect | None
    margin: float | None = None
    printed: float | None = None
    delta: float | None = None


@dataclass(frozen=True)
class Answer:
    """The answer to a claim or a part of one.

    Attributes:
        answer: `holds`, `holds in part, k of n`, `fails`, `no effect`, `open`, `too small to see here; would need N`;
            `not a test`, `needs ...`, `compares with other papers' numbers`; of unlike assertions that differ, each of
            them by its letter.
        size: against the printed effect, `larger`, `smaller`, `as printed`, `negligible` or `size open`.
        effect, low, high, se, df, seeds, clusters: of the primary endpoint, as claimed positive.
        printed, delta: the paper's effect, and the size below which one is none.
        resolution: the effect that would be found in 80% of runs, as a multiple of the printed one (or of 2 delta).
        parts: answers to the parts beneath, or to unlike assertions.
        flags: what a reader should know beside, `weaker than linear`, say.
    """

    answer: str
    size: str = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    se: float | None = None
    df: float | None = None
    seeds: int | None = None
    clusters: int | None = None
    printed: float | None = None
    delta: float | None = None
    resolution: float | None = None
    reason: str = ""
    parts: dict[str, "Answer"] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def decide(
    rule: str,
    parts: Interval,
    mean: Interval | None = None,
    *,
    margins: ArrayLike = np.nan,
    deltas: ArrayLike = np.nan,
    delta: ArrayLike = np.nan,
) -> tuple[NDArray[np.str_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Directions of a batch of claims of P parts: from intervals of shape (..., P) to answers of shape (...).

    Args:
        rule: `mean` of the parts, whose interval is `mean`; or `weakest`, where every part must hold.
        margins: (P,) of equivalences, NaN for parts that are claimed to be above 0.
        deltas: (P,) sizes below which a part has no effect, NaN where it is not known.
        delta: the same for their mean.

    Returns:
        The answers, and which parts (..., P) hold by their 95% interval and are against after Holm.
    """
    margins, deltas = np.broadcast_arrays(np.asarray(margins, dtype=float), deltas)
    hold = np.where(np.isnan(margins), parts.low, np.fmin(parts.low + margins, margins - parts.high)) > 0
    against = _against(parts, margins)
    if rule == "mean":
        holds, fails = mean.low > 0, mean.high < 0
        none = (mean.low > -delta) & (mean.high < delta)
    else:
        holds, fails = hold.all(-1), against.any(-1)
        none = ((parts.low > -deltas) & (parts.high < deltas) & np.isnan(margins)).all(-1)
    chosen = [holds & ~against.any(-1), holds, fails, none]
    return np.select(chosen, ["holds", "holds in part", "fails", "no effect"], "open"), hold, against


def _against(effects: Interval, margins: Floats) -> NDArray[np.bool_]:
    """Which of P parts (..., P) lie on the other side than claimed, by Holm's (1979) procedure over all of them."""
    # of an equivalence, how far it is from its margin, either way
    distance = np.abs(effects.estimate) - np.where(np.isnan(margins), 0.0, margins)
    t = np.divide(distance, effects.se, out=np.copysign(np.inf, distance), where=effects.se > 0)
    order = np.argsort(stats.t.sf(t, effects.df), axis=-1, kind="stable")

    def ordered(part: ArrayLike) -> Floats:
        part = np.broadcast_to(part, np.broadcast_shapes(np.shape(part), order.shape))
        return np.take_along_axis(part, np.broadcast_to(order, part.shape), -1)

    level = 1 - (1 - LEVEL) / np.arange(order.shape[-1], 0, -1)
    own, estimate, skewness = ordered(margins), ordered(effects.estimate), ordered(effects.skewness)
    low, high = ends(estimate, ordered(effects.ways), skewness, level)
    beyond = np.where(np.isnan(own), -high, np.fmax(low - own, -own - high)) > 0
    found = beyond | (np.isnan(own) & (low > 0))
    against = np.empty_like(beyond)
    np.put_along_axis(against, order, np.logical_and.accumulate(found, axis=-1) & beyond, -1)
    return against


def judge(
    parts: Mapping[str, Part],
    rule: str = "single",
    *,
    delta: float | None = None,
    printed: float | None = None,
    planned: bool = False,
) -> Answer:
    """The answer to one assertion: direction, size and resolution.

    - *Direction*, by the 95% interval of the primary endpoint: wholly above 0 `holds`, wholly below `fails`, else
      inside (−δ, δ) `no effect`, else `open`. A part of kind `equivalent` holds inside ± its margin, fails wholly
      outside, and is open else. An effect that is the same in every unit is open: how it varies was not seen.
    - `mean`: the endpoint is the plain mean of the parts, over those at hand. It holds only if no part is against
      after Holm over the parts, else it `holds in part, k of n`.
    - `weakest`: every part must hold; it fails if a part is against after Holm. Shown is the part least in favour,
      by standard errors.
    - *Size*: the interval above the printed effect `larger`; on the claimed side and below half of it `smaller`;
      beyond 0 but inside (−δ, δ) `negligible`; with the printed effect inside, half of it outside `as printed`.
    - δ is half the printed effect where none is given; the printed effect of a `mean` that of the printed parts.
    - `planned`: the first five seeds are the pilot of the others. An open answer is then `too small to see here; would
      need N` where by their spread forty seeds would not resolve the printed effect (or 2 δ), see `plan_seeds`.

        parts                       1          2          6         13         19
        mean, 5 × 1         2.5 / 2.6  2.6 / 2.7  2.6 / 2.5  2.7 / 2.6  2.7 / 2.5
        mean, 5 × 20        2.6 / 2.7  2.5 / 2.6  2.5 / 2.8  2.6 / 2.6  2.5 / 2.5
        mean, 20 × 41       2.5 / 2.6  2.6 / 2.6  2.6 / 2.7  2.6 / 2.8  2.7 / 2.6
        mean, 5 × 3400      2.6 / 2.7  2.7 / 2.6  2.7 / 2.7  2.7 / 2.6  2.8 / 2.7
        weakest, 5 × 1      2.5 / 2.6  2.6 / 2.7  2.5 / 2.6  2.7 / 2.2  2.7 / 2.5
        weakest, 5 × 20     2.6 / 2.7  2.4 / 2.6  2.4 / 2.5  2.5 / 2.6  2.3 / 2.4
        weakest, 20 × 41    2.5 / 2.6  2.4 / 2.5  2.6 / 2.5  2.5 / 2.4  2.6 / 2.3
        weakest, 5 × 3400   2.6 / 2.7  2.6 / 2.5  2.6 / 2.5  2.6 / 2.5  2.8 / 2.6

    (`holds` / `fails`.) Lower are, where interaction weighs 90%, .5 at 5 × 20 and 1.4 at 20 × 41; of the weakest of
    six independent parts, `holds` 0. Effects of three standard errors are found in 56 to 83% of cases for one part and
    for a mean of identical ones, in 62 to 64 at least from five seeds where interaction is small, and in nearly all
    for a mean of six independent ones; the weakest of six independent parts holds in 3 to 22%, of nineteen in 0 to 1.
    With cluster effects of 90% and skewness 1.4 that all lean one way, the rates on that side are 3.4 for one part, 2.1
    for the mean and 3.5 for the weakest of 19 at 5 × 9, and 3.0, 2.5 and 2.9 at 5 × 20.

    Raises:
        ValueError: a kind, rule or margin that there is not, or nothing to judge.
    """
    if rule not in RULES or not parts or (rule == "single" and len(parts) > 1):
        raise ValueError(f"{len(parts)} parts cannot be judged by the rule {rule!r}; the rules are {', '.join(RULES)}")
    for name, part in parts.items():
        if part.kind not in KINDS:
            raise ValueError(f"{name} is of kind {part.kind!r}; the kinds are {', '.join(KINDS)}")
        if part.kind == "equivalent" and not (part.margin is not None and part.margin > 0):
            raise ValueError(f"{name} claims equivalence and needs a margin above 0, fixed beforehand")
        if rule == "mean" and part.kind != "greater":
            raise ValueError(f"{name} claims equivalence: the mean of such parts is none of them")
    at_hand = {name: part for name, part in parts.items() if part.effect is not None}
    if not at_hand or (rule != "mean" and len(at_hand) < len(parts)):
        missing = ", ".join(name or "it" for name in parts if name not in at_hand)
        return Answer("needs other data", reason=f"the data at hand do not have {missing}")
    known = [part.printed for part in at_hand.values() if part.printed is not None]
    if rule == "mean":
        mean = mean_effect([part.effect for part in at_hand.values()])
        shown = Part("greater", mean, None, float(np.mean(known)) if known and printed is None else printed, delta)
    else:
        shown = at_hand[min(at_hand, key=lambda name: _support(at_hand[name]))]
        shown = shown._replace(delta=_delta(shown, delta))
    margins = np.array([math.nan if part.margin is None else part.margin for part in at_hand.values()])
    direction, hold, _ = decide(
        "mean" if rule == "mean" else "weakest",
        _intervals([part.effect for part in at_hand.values()]),
        _intervals([shown.effect]),
        margins=margins,
        deltas=[_delta(part, delta) for part in at_hand.values()],
        delta=_delta(shown),
    )
    several = len(parts) > 1
    answer = str(np.squeeze(direction))
    if answer == "holds in part":
        answer = f"holds in part, {int(hold.sum())} of {len(at_hand)}"
    if planned and answer == "open" and (needed := _needed(shown)):
        answer = f"too small to see here; would need {needed}"
    reason = _where(shown)
    if rule == "mean" and several:
        reason += f" (mean of {len(at_hand)}" + (f" of {len(parts)} parts)" if len(at_hand) < len(parts) else " parts)")
    elif several:
        reason = f"{int(hold.sum())} of {len(parts)} parts hold; shown is the weakest"
    effect = shown.effect
    return Answer(
        answer,
        size=_size(shown),
        effect=effect.estimate,
        low=effect.low,
        high=effect.high,
        se=effect.se,
        df=None if math.isinf(effect.df) else effect.df,
        seeds=effect.n_seeds,
        clusters=effect.n_clusters,
        printed=shown.printed,
        delta=None if math.isnan(_delta(shown)) else _delta(shown),
        resolution=_resolution(shown),
        reason=reason,
        parts={name: judge({"": part}, delta=delta) for name, part in parts.items()} if several else {},
    )


def judge_apart(answers: Mapping[str, Answer]) -> Answer:
    """The answer to a sentence of unlike assertions: the one they share, else that of each by its letter.

    >>> judge_apart({"a": Answer("holds"), "b": Answer("open")}).answer
    'a holds, b open'
    """
    words = [answer.answer for answer in answers.values()]
    shared = (
        words[0] if len(set(words)) == 1 else ", ".join(f"{k} {word}" for k, word in zip(answers, words, strict=True))
    )
    return Answer(shared, parts=dict(answers), reason=f"{len(answers)} assertions, judged apart")


def _intervals(effects: Sequence[Effect]) -> Interval:
    """Effects as arrays; one that is the same in every unit, without being counted, may lie anywhere."""
    columns = ("estimate", "low", "high", "se", "df", "skewness")
    estimate, low, high, se, df, skewness = (np.array([getattr(e, c) for e in effects], float) for c in columns)
    unknown = np.array([e.se == 0 and not e.exact for e in effects])
    low, high, se = np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high), np.where(unknown, np.inf, se)
    most = max(e.all_ways.shape[1] for e in effects)
    # an effect with fewer ways than another has its first one several times
    ways = np.stack([np.pad(e.all_ways, ((0, 0), (0, most - e.all_ways.shape[1])), "edge") for e in effects], axis=-1)
    ways[0] = np.where(unknown, np.inf, ways[0])
    return Interval(estimate, low, high, se, df, skewness, ways)


def _delta(part: Part, of_claim: float | None = None) -> float:
    """The size below which a part has no effect; NaN where it is not known."""
    half = part.printed / 2 if part.printed is not None and part.printed > 0 else math.nan
    return next((d for d in (part.delta, of_claim) if d is not None), half)


def _support(part: Part) -> float:
    """How far the effect lies on the claimed side of the boundary, in standard errors."""
    estimate, se = part.effect.estimate, part.effect.se
    distance = part.margin - abs(estimate) if part.kind == "equivalent" else estimate
    if part.effect.exact:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / se if se > 0 else 0.0


def _where(part: Part) -> str:
    """Where the interval lies, in words."""
    effect, delta = part.effect, _delta(part)
    if effect.se == 0 and not effect.exact:
        return "the same in every unit: nothing was seen of how it varies"
    edge = part.margin if part.kind == "equivalent" else delta
    inside = -edge < effect.low and effect.high < edge
    if part.kind == "equivalent":
        outside = effect.low > edge or effect.high < -edge
        return f"interval {'inside' if inside else 'outside' if outside else 'crosses the edge of'} ±{edge:g}"
    side = "above 0" if effect.low > 0 else "below 0" if effect.high < 0 else "on both sides of 0"
    return f"interval {side}, inside ±{edge:.3g}" if inside else f"interval {side}"


def _size(part: Part) -> str:
    low, high, delta = part.effect.low, part.effect.high, _delta(part)
    printed = part.printed if part.printed is not None and part.printed > 0 else None
    if part.kind == "equivalent" or (part.effect.se == 0 and not part.effect.exact):
        return ""
    if printed and low > printed:
        return "larger"
    if printed and 0 < low and high < printed / 2:
        return "smaller"
    if -delta < low and high < delta and not low <= 0 <= high:
        return "negligible"
    if not printed:
        return ""
    return "as printed" if low <= printed <= high and not low <= printed / 2 <= high else "size open"


def _resolution(part: Part) -> float | None:
    """(t.975 + t.80) standard errors, as a multiple of the printed effect or of 2 δ."""
    scale, effect = _scale(part), part.effect
    if math.isnan(scale) or (effect.se == 0 and not effect.exact):
        return None
    return float((quantile(effect.df, LEVEL) + stats.t.ppf(POWER, effect.df)) * effect.se / scale)


def _scale(part: Part) -> float:
    """The printed effect, else 2 δ; NaN where it is not known, and of an equivalence."""
    if part.kind == "equivalent":
        return math.nan
    return part.printed if part.printed is not None and part.printed > 0 else 2 * _delta(part)


def _needed(part: Part) -> str:
    """What would resolve the effect, where by its first seeds forty would not; `""` where they would, or who knows."""
    values, scale = part.effect.values, _scale(part)
    if values is None or len(values) < PILOT_SEEDS or math.isnan(scale):
        return ""
    needed = plan_seeds(values[:PILOT_SEEDS], scale).would_need
    return "" if needed is None else "a larger test set" if math.isinf(needed) else str(needed)


def chance(answers: Sequence[Answer]) -> float:
    """How many of the assertions judged chance alone would call `holds` at most, and as many `fails`: 2.5% each.

    Equivalences do not count, which no effect makes true.
    """
    assertions = [a for answer in answers for a in (answer.parts.values() if answer.effect is None else [answer])]
    return (1 - LEVEL) / 2 * sum(a.effect is not None and a.delta is not None for a in assertions)


# --- how many seeds -----------------------------------------------------------------------------------------

PILOT_SEEDS = 5
# From the standard deviation of five to an upper bound that the true one keeps in 80% of cases: sqrt(4 / χ²_.20,4).
PILOT_FACTOR = 1.56
SEEDS = range(10, 41)
WANTED_RESOLUTION = 0.4


class Plan(NamedTuple):
    """With how many seeds (or worlds) to run, from a pilot's variance.

    Attributes:
        n: seeds.
        resolution: what they are planned to resolve, as a multiple of the printed effect.
        floor: what the test set alone resolves, however many seeds there are; 0 where a world is the replicate.
        would_need: seeds that resolve the printed effect itself, where 40 do not; infinite where the test set forbids.
    """

    n: int
    resolution: float
    floor: float
    would_need: float | None


def plan_seeds(pilot: Floats, printed: float) -> Plan:
    """Seeds or worlds from a pilot, of which the spread alone is read, never the effect.

    Args:
        pilot: (S, C) values of five seeds and of clusters, whose mean is the effect.
        printed: the effect to resolve.
    """
    y, (n_seeds, n_clusters) = pilot, pilot.shape
    v_seed = PILOT_FACTOR**2 * y.mean(1).var(ddof=1)  # of one seed, its share of the interaction included
    v_cluster = 0.0
    if n_clusters > 1:
        residual = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
        v_residual = (residual**2).sum() / ((n_seeds - 1) * (n_clusters - 1))
        v_cluster = max(y.mean(0).var(ddof=1) - v_residual / n_seeds, 0.0) / n_clusters

    def resolution(n: float) -> float:
        reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) + stats.t.ppf(POWER, n - 1)
        return float(reach * math.sqrt(v_cluster + v_seed / n) / printed)

    floor = resolution(math.inf) if v_cluster else 0.0
    least, most = SEEDS[0], SEEDS[-1]
    if floor > WANTED_RESOLUTION:
        return Plan(least, resolution(least), floor, math.inf if floor > 1 else None)
    if resolution(most) > 1:
        n = most
        while resolution(n) > 1:
            n *= 1.05
        return Plan(least, resolution(least), floor, math.ceil(n))
    n = next((n for n in SEEDS if resolution(n) <= WANTED_RESOLUTION), most)
    return Plan(n, resolution(n), floor, None)


# --- is this a test at all? ---------------------------------------------------------------------------------

GAIN_OF_BASELINE = 0.9
MOST_LAST_EPOCHS = 0.2
MOST_DEAD = 0.1


@dataclass(frozen=True)
class Arm:
    """What one arm of a comparison has learnt, on data that decide nothing else.

    Attributes:
        metric: accuracy, AUROC or CCC, never the endpoint of a claim.
        score, constant, baseline: of the arm, of base rates, and of a plain baseline on the same inputs.
        last_epoch: share of seeds whose best epoch is the last; None for a fixed number of epochs.
        dead: share of seeds with one class for 99% of examples, or without variance.
    """

    metric: str
    score: float
    constant: float
    baseline: float
    last_epoch: float | None = None
    dead: float = 0.0

    def problem(self) -> str:
        """Why comparing it would be no test; empty where it would.

        >>> Arm("accuracy", score=0.31, constant=0.30, baseline=0.55).problem()
        'accuracy .310 gains 4% of what a plain baseline gains'
        """
        gain, plain = self.score - self.constant, self.baseline - self.constant
        if not gain > 0:
            return f"{self.metric} {_short(self.score)} is not above the constant's {_short(self.constant)}"
        if gain < GAIN_OF_BASELINE * plain:
            return f"{self.metric} {_short(self.score)} gains {gain / plain:.0%} of what a plain baseline gains"
        if self.last_epoch is not None and self.last_epoch > MOST_LAST_EPOCHS:
            return f"the best epoch is the last in {self.last_epoch:.0%} of the seeds"
        if self.dead > MOST_DEAD:
            return f"{self.dead:.0%} of the seeds are dead"
        return ""

    @property
    def weaker_than_linear(self) -> bool:
        return self.score < self.baseline


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def holm(parts: Mapping[str, Part]) -> dict[str, Answer]:
    """Answers to several comparisons at once, of which chance makes even one wrong no more often than a single one.

    Holm's (1979) procedure: of m effects the one least likely under no effect is judged by its 1 - α/m interval, the
    next by 1 - α/(m - 1), and so on; from the first that is open on, all are. Parts without an effect do not count.

    Raises:
        ValueError: a part is an equivalence.
    """
    if strange := [name for name, part in parts.items() if part.kind != "greater"]:
        raise ValueError(f"Holm's procedure here is for greater; {strange[0]!r} is {parts[strange[0]].kind}")
    tested = [name for name, part in parts.items() if part.effect is not None]
    tested.sort(key=lambda name: stats.t.sf(abs(_support(parts[name])), parts[name].effect.df))
    answers, still = {}, True
    for tests, name in zip(range(len(tested), 0, -1), tested, strict=True):
        part = parts[name]
        effect = part.effect.at(1 - (1 - LEVEL) / tests)
        found = "holds" if effect.low > 0 else "fails" if effect.high < 0 else "open"
        still = still and found != "open"
        adjusted = {"low": effect.low, "high": effect.high, "answer": found if still else "open"}
        answers[name] = replace(judge({"": part}), **adjusted)
    return {name: answers.get(name) or judge({"": part}) for name, part in parts.items()}


# --- values -------------------------------------------------------------------------------------------------


def near(printed: float, by_seed: ArrayLike, digits: int, tolerance: float = math.inf) -> tuple[float, float, bool]:
    """Mean of S seeds, how far from it a printed value may lie, and whether it does.

    The paper reports one network, so that its value is another seed's, rounded: it lies within

        t_{.975, S−1} s √(1 + 1/S) + 10^−digits / 2,

    s being the standard deviation over seeds; and never beyond a tolerance that was fixed beforehand.

    >>> [round(float(x), 3) for x in near(55.75, [55.0, 56.0, 57.0], digits=2)]
    [56.0, 4.973, 1.0]
    """
    values = np.asarray(by_seed, dtype=np.float64)
    t, n = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1), len(values)
    reach = min(t * values.std(ddof=1) * math.sqrt(1 + 1 / n) + 0.5 * 10.0**-digits, tolerance)
    return float(values.mean()), float(reach), bool(abs(values.mean() - printed) <= reach)


# --- many methods on several data sets ----------------------------------------------------------------------


class Ranks(NamedTuple):
    """How K methods rank over B blocks, see `compare_ranks`.

    Attributes:
        mean: by method, best (1) first.
        critical_difference: two methods whose mean ranks lie further apart differ.
        p: of Friedman's test that all are alike.
        n_blocks: B.
    """

    mean: dict[str, float]
    critical_difference: float
    p: float
    n_blocks: int


def compare_ranks(scores: Mapping[str, ArrayLike], *, higher_is_better: bool) -> Ranks:
    """Mean ranks of methods over data sets with Nemenyi's critical difference (Demšar 2006, section 3.2).

    A block is a data set. Seeds are no blocks: they are repetitions on one and the same data.

    Args:
        scores: (B,) of each method, one for each block.

    Raises:
        ValueError: fewer than three methods or two blocks, numbers of blocks that differ, or a score that is not
            finite.
    """
    table = np.array([np.asarray(of_method, dtype=np.float64) for of_method in scores.values()])
    if table.ndim != 2 or len(table) < 3 or table.shape[1] < 2:
        raise ValueError(
            f"scores have shape {table.shape}: ranks are compared of three methods on two data sets at least"
        )
    if not np.isfinite(table).all():
        raise ValueError(f"a score of {list(scores)[np.argwhere(~np.isfinite(table))[0][0]]} is not finite")
    n_methods, n_blocks = table.shape
    ranks = stats.rankdata(-table if higher_is_better else table, axis=0).mean(1)
    # CD = q_α sqrt(K (K + 1) / 6 B), with q_α that of the studentised range divided by sqrt 2
    q = stats.studentized_range.ppf(LEVEL, n_methods, np.inf) / math.sqrt(2)
    difference = q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks))
    p = stats.friedmanchisquare(*table).pvalue if np.ptp(table, 0).any() else 1.0
    order = np.argsort(ranks, kind="stable")
    return Ranks({list(scores)[i]: float(ranks[i]) for i in order}, float(difference), float(p), n_blocks)
