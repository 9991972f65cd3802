"""Effects with their intervals, and the verdict on a claim.

An effect is measured on S training seeds × C clusters (people, videos, dialogues, groups of duplicate
images). The two are crossed: every seed meets every cluster, so with cell values

    y_sc = θ + a_s + b_c + e_sc,    Var(ȳ) = σ_a²/S + σ_b²/C + σ_e²/(S C).

An interval from one of them alone answers a smaller question (these networks on other people; other networks
on these people) and is too narrow for the claim. See `crossed_mean_interval` for the interval used here and
how well it covers, and `judge` for the verdicts.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from uncertain_affect.evidence.resampling import Statistic, pseudo_values

Floats = NDArray[np.float64]

LEVEL = 0.95
KINDS = ("greater", "less", "equivalent", "order", "all", "count")
# Fewer values than this say more about chance than about the skewness of what they were drawn from.
MIN_UNITS_FOR_SKEWNESS = 9
# Hall's inverse runs away far out; nearly all it has to give lies within this many times Student's reach.
MAX_STRETCH = 2.0
# A standard error below this fraction of the values is their rounding, not their variation.
ROUNDING = 1e-12


class Interval(NamedTuple):
    """Centre and ends of an interval, and the parts they came from; floats or arrays of the batch shape."""

    estimate: Floats
    low: Floats
    high: Floats
    se: Floats
    df: Floats
    skewness: Floats


@dataclass(frozen=True)
class Effect:
    """A measured effect with its interval at `level`, standard error and degrees of freedom.

    `skewness` is that of the estimate's sampling distribution, 0 where it could not be estimated.
    `n_seeds` or `n_clusters` is 1 where the effect was not replicated that way. An `exact` effect was counted, not
    sampled: see :meth:`counted`.
    """

    estimate: float
    low: float
    high: float
    se: float
    df: float
    skewness: float
    n_seeds: int
    n_clusters: int
    level: float = LEVEL
    exact: bool = False

    @classmethod
    def counted(cls, value: float) -> "Effect":
        """An effect that follows from definitions and varies with nothing, such as a number of parameters."""
        return cls(value, value, value, se=0.0, df=np.inf, skewness=0.0, n_seeds=1, n_clusters=1, exact=True)

    def minus(self, margin: float) -> "Effect":
        """The effect beyond a margin fixed beforehand, for claims of not being worse by more than that."""
        return replace(self, estimate=self.estimate - margin, low=self.low - margin, high=self.high - margin)

    def within(self, least: float, most: float) -> "Effect":
        """The same effect with its interval inside the bounds of what was measured; `most` may be infinite.

        Wilson's (1927) interval for a share p = (θ − least) / (most − least) of n cases, with Student's quantile t and
        as many cases as have this standard error, n = p (1 − p) / se(p)²:

            (p + t²/2n ± t √(p (1 − p) / n + t²/4n²)) / (1 + t²/n).

        Where the standard error is larger than the distance to a bound, as of a small calibration error, it is wide.
        Coverage in percent, Student's in brackets, of 2,000 simulated shares p a case, correlated by .2 in clusters:

            p                                       .02          .1           .5
            60 cases                            97.2 (70.4)  95.4 (97.8)  95.1 (95.1)
            20 clusters of 50                   84.3 (86.8)  93.4 (96.3)  94.5 (95.5)
            19 clusters of 20 and one of 500    86.8 (70.0)  92.1 (89.2)  92.8 (93.3)
            99 clusters of 10 and one of 1,000  91.2 (85.5)  95.4 (94.5)  95.7 (95.8)

        At a bound no standard error says anything: there it is Clopper and Pearson's (1934) for none, or all, of n
        clusters, 0 to 1 − (α/2)^(1/n). Without an upper bound it is Student's of log (θ − least).

        >>> none_of_six = replace(Effect.counted(0.0), exact=False, n_clusters=6)
        >>> round(none_of_six.within(0, 1).high, 3)
        0.459
        """
        width, below = most - least, self.estimate - least
        if self.exact or (not math.isfinite(width) and below <= 0):
            return self
        t = float(_quantile(self.df, self.level))
        if not math.isfinite(width):
            factor = math.exp(min(t * self.se / below, 500.0))
            return replace(self, low=least + below / factor, high=least + below * factor)
        p = below / width
        if min(p, 1 - p) <= ROUNDING:
            reach = 1 - ((1 - self.level) / 2) ** (1 / self.n_clusters)
            low, high = (0.0, reach) if p < 0.5 else (1 - reach, 1.0)
        elif self.se == 0:
            low = high = p
        else:
            z = (t * self.se / width) ** 2 / (p * (1 - p))
            half = math.sqrt(z * p * (1 - p) + z**2 / 4)
            low, high = max((p + z / 2 - half) / (1 + z), 0.0), min((p + z / 2 + half) / (1 + z), 1.0)
        return replace(self, low=least + width * low, high=least + width * high)

    def at(self, level: float) -> "Effect":
        """The same effect with its interval at another level, for adjusted comparisons."""
        low, high = _ends(self.estimate, self.se, self.df, self.skewness, level)
        return replace(self, low=float(low), high=float(high), level=level)


def _quantile(df: ArrayLike, level: float) -> Floats:
    return stats.t.ppf((1 + level) / 2, df)


def _ends(
    estimate: ArrayLike, se: ArrayLike, df: ArrayLike, skewness: ArrayLike, level: float
) -> tuple[Floats, Floats]:
    """Ends of the t interval, each moved out where Hall's (1992) correction for skewness reaches further.

    Hall's transform g(t) = t + λt²/3 + λ²t³/27 + λ/6 of the t statistic is free of the skewness λ to first
    order. Its inverse is g⁻¹(q) = 3/λ {[1 + λ(q − λ/6)]^(1/3) − 1}.
    """
    q = _quantile(df, level)
    skewness = np.asarray(skewness, dtype=np.float64)
    skewed = np.abs(skewness) > 1e-6
    lam = np.where(skewed, skewness, 1.0)

    def inverse(x: Floats) -> Floats:
        return np.where(skewed, 3 / lam * (np.cbrt(1 + lam * (x - lam / 6)) - 1), x)

    below = np.clip(inverse(q), q, MAX_STRETCH * q)
    above = np.clip(-inverse(-q), q, MAX_STRETCH * q)
    return estimate - se * below, estimate + se * above


def _third_cumulant_of_mean(x: Floats) -> Floats:
    """Third cumulant of the mean of x over its last axis, from the unbiased third cumulant of x."""
    n = x.shape[-1]
    if n < MIN_UNITS_FOR_SKEWNESS:
        return np.zeros(x.shape[:-1])
    deviation = x - x.mean(axis=-1, keepdims=True)
    return (deviation**3).sum(axis=-1) / ((n - 1) * (n - 2) * n)


def crossed_mean_interval(y: ArrayLike, level: float = LEVEL) -> Interval:
    """Interval for the mean of a crossed table: `(..., S, C)` values of S seeds × C clusters to `(...)` ends.

    With mean squares turned into variances of the mean, V_s = var(row means)/S, V_c = var(column means)/C and
    V_e = var(interaction)/(SC), the components are v_s = max(V_s − V_e, 0), v_c = max(V_c − V_e, 0) and V_e,
    their sum is the variance of the mean, and its degrees of freedom are Satterthwaite's (1946)

        df = (v_s + v_c + V_e)² / (v_s²/(S−1) + v_c²/(C−1) + V_e²/((S−1)(C−1))).

    The interval is Student's, but never narrower than the one from seeds alone (V_s, S−1) or from clusters
    alone (V_c, C−1): `se` and `df` are those of the widest. Each end is then moved outwards where Hall's
    correction for skewness reaches further (units numbering at least `MIN_UNITS_FOR_SKEWNESS`). With one
    seed or one cluster the other way alone is used. Where all values agree, `se` is 0 and the interval has
    no width.

    Measured on 20,000 simulated normal tables a case (4,000 where there are 3,400 clusters; standard error
    .15 to .35 points). Shares are of Var(ȳ), all of it where there is only one way. False is how often a
    claim without effect is called reproduced (nominal 2.5%) with skewed cluster effects of 90%, on the worse
    of the two sides:

        coverage %              1×3   5×1   1×9   5×3   5×9  5×27  20×41  5×3400  20×3400
        seeds 90%                    95.0        96.0  95.4  95.0   95.2    94.8     95.0
        clusters 90%           94.8        96.0  95.9  95.9  95.5   95.2    95.2     95.2
        seeds 75, clusters 25                    96.5  95.2  94.5   95.5    94.3     95.1
        a third each                             98.3  96.7  95.8   94.9    95.0     95.2
        interaction 90%                          99.4  98.8  98.2   97.1    97.8     96.2
        false %, skewness 1.4   7.1         4.3   5.2   4.3   3.2    2.9     2.7      2.5
        false %, skewness 2    10.6         5.3   7.3   5.7   3.9    3.5     2.5      2.5

    It is cautious where interaction weighs much, since a few seeds cannot show that seeds do not matter, and
    finds fewer effects there. One of three standard errors is found, in percent of cases, against what a t
    test told the true mix would find: interaction 90%, 5×9 50 (83), 5×3400 62 (85), 20×41 77 (85); a third
    each, 5×3 43 (77), 5×9 66 (82), 5×27 73 (83), 20×41 82 (84); seeds or clusters 90%, at most ten points
    fewer. With nine or fewer units and strongly skewed effects it is too bold on the side of the long tail,
    and below 1% on the other.

    Raises:
        ValueError: y is not (..., S, C), has a NaN or infinite value, or fewer than two units either way.
    """
    y = np.asarray(y, dtype=np.float64)
    if y.ndim < 2:
        raise ValueError(
            f"values must be (seeds, clusters), got shape {y.shape}; "
            "give (S, 1) for seeds alone, (1, C) for clusters alone"
        )
    n_seeds, n_clusters = y.shape[-2:]
    if n_seeds < 2 and n_clusters < 2:
        raise ValueError(
            f"an interval needs at least two seeds or clusters, got {n_seeds} × {n_clusters}; run more seeds"
        )
    if not np.isfinite(y).all():
        place = np.argwhere(~np.isfinite(y))[0]
        raise ValueError(
            f"the value of seed {place[-2]}, cluster {place[-1]} is not finite: the statistic is undefined "
            "there or without that cluster; merge or leave out such clusters and say so"
        )
    seed_means, cluster_means = y.mean(axis=-1), y.mean(axis=-2)
    mean = seed_means.mean(axis=-1)

    # Candidates (variance of the mean, degrees of freedom); the widest is used.
    candidates = []
    if n_seeds > 1:
        v_seed = seed_means.var(axis=-1, ddof=1) / n_seeds
        candidates.append((v_seed, np.full_like(v_seed, n_seeds - 1)))
    if n_clusters > 1:
        v_cluster = cluster_means.var(axis=-1, ddof=1) / n_clusters
        candidates.append((v_cluster, np.full_like(v_cluster, n_clusters - 1)))
    if len(candidates) == 2:
        candidates.append(_crossed_variance(y, seed_means, cluster_means, mean, v_seed, v_cluster))
    variance, df = (np.stack(parts) for parts in zip(*candidates, strict=True))
    widest = np.argmax(np.sqrt(variance) * _quantile(df, level), axis=0)[None]
    se = np.sqrt(np.take_along_axis(variance, widest, axis=0)[0])
    df = np.take_along_axis(df, widest, axis=0)[0]

    varies = se > ROUNDING * np.abs(y).max(axis=(-2, -1))
    se = np.where(varies, se, 0.0)
    third = _third_cumulant_of_mean(seed_means) + _third_cumulant_of_mean(cluster_means)
    # The crossed variance is the last candidate, or the only one; a single way would overstate the skewness.
    skewness = np.where(varies, third, 0.0) / np.where(varies, variance[-1], 1.0) ** 1.5
    return Interval(mean, *_ends(mean, se, df, skewness, level), se, df, skewness)


def _crossed_variance(
    y: Floats, seed_means: Floats, cluster_means: Floats, mean: Floats, v_seed: Floats, v_cluster: Floats
) -> tuple[Floats, Floats]:
    """Variance of the mean from its three components, and Satterthwaite's degrees of freedom."""
    n_seeds, n_clusters = y.shape[-2:]
    df_seed, df_cluster = n_seeds - 1, n_clusters - 1
    residual = y - seed_means[..., None]
    residual -= (cluster_means - mean[..., None])[..., None, :]
    v_interaction = np.einsum("...sc,...sc->...", residual, residual) / (df_seed * df_cluster * n_seeds * n_clusters)
    seed = np.maximum(v_seed - v_interaction, 0.0)
    cluster = np.maximum(v_cluster - v_interaction, 0.0)
    variance = seed + cluster + v_interaction
    spread = seed**2 / df_seed + cluster**2 / df_cluster + v_interaction**2 / (df_seed * df_cluster)
    df = np.divide(variance**2, spread, out=np.full_like(variance, min(df_seed, df_cluster)), where=spread > 0)
    return variance, df


def effect_interval(values: ArrayLike, f: Statistic | None = None, level: float = LEVEL) -> Effect:
    """Effect with its interval, from sums or from one value for each seed and cluster.

    With a statistic `f` of additive sums, `values` are `(S, C, K)` from `resampling.cluster_sums`; the
    effect is the mean over seeds of f(sums over all clusters), and its variance that of the jackknife
    pseudo-values. Without, they are `(S, C)` effects whose mean is wanted, every cluster counting alike:
    `(S, 1)` for seeds alone, `(1, C)` for clusters or folds alone.

    The jackknife was preferred to a bootstrap of clusters because it needs no draws, costs O(C) and errs
    towards caution: it does not shrink the variance by (C − 1)/C.

    Raises:
        ValueError: the shape does not fit, a value or a statistic is NaN or infinite, or there are fewer than
            two units.
    """
    values = np.asarray(values, dtype=np.float64)
    expected = "(seeds, clusters)" if f is None else "(seeds, clusters, sums)"
    if values.ndim != (2 if f is None else 3):
        raise ValueError(
            f"values must be {expected}, got shape {values.shape}; one seed or cluster is an axis of length 1"
        )
    interval = crossed_mean_interval(values if f is None else pseudo_values(values, f), level)
    n_seeds, n_clusters = values.shape[:2]
    return Effect(*(float(part) for part in interval), n_seeds=n_seeds, n_clusters=n_clusters, level=level)


# --- verdicts -----------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """One part of a conjunction or count: its kind (`greater`, `less`, `equivalent`) and measured effect.

    The effect is None where the data at hand cannot test this part.
    """

    kind: str
    effect: Effect | None
    margin: float | None = None
    printed: float | None = None


@dataclass(frozen=True)
class Verdict:
    """Verdict on a claim, with the measured effect, its interval, and why.

    Of several parts, `effect`, `low`, `high`, `seeds` and `clusters` are those of the part that decides
    (the one least in favour; for a count, the `at_least`-th most in favour), and `parts` holds them all.
    `size_ratio` is measured over printed effect. What does not apply is None.
    """

    verdict: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int | None = None
    clusters: int | None = None
    parts: dict[str, "Verdict"] = field(default_factory=dict)
    size_ratio: float | None = None
    reason: str = ""


def judge(
    kind: str,
    effect: Effect | None = None,
    *,
    parts: Mapping[str, Part] | None = None,
    margin: float | None = None,
    at_least: int | None = None,
    printed: float | None = None,
) -> Verdict:
    """Judge a claim by the 95% interval of its effect.

    - `greater`, `less`: `reproduced` if the interval lies wholly on the claimed side of 0, `contradicted`
      if on the other, else `inconclusive`.
    - `equivalent`: `reproduced` if the interval lies inside (−margin, margin), `contradicted` if wholly
      outside, else `inconclusive`. A `greater` or `less` that is inconclusive never supports "no
      difference".
    - `all` of `parts`: `reproduced` only if every part is, `contradicted` if any part is. Parts without an
      effect are `not testable`, and so is the whole where the others do not settle it.
    - `order`: values claimed to ascend; `parts` are the differences of neighbours, each claimed `greater`.
    - `count`, at least `at_least` of `parts`: the parts' intervals are widened so that chance calls the
      *count* reproduced or contradicted no more often than a single claim (partial conjunction, Benjamini &
      Heller 2008).

    An effect that is the same in every unit is `inconclusive`: nothing was seen of how it varies, so the
    interval without width says nothing about other seeds or clusters.

    Raises:
        ValueError: the kind is unknown, or something it needs is missing.
    """

    if kind not in KINDS:
        raise ValueError(f"unknown kind of claim {kind!r}; the kinds are {', '.join(KINDS)}")
    if kind in ("greater", "less", "equivalent"):
        if effect is None:
            raise ValueError(f"a claim of kind {kind!r} needs effect")
        return _judge_part(Part(kind, effect, margin, printed))
    if not parts:
        raise ValueError(f"a claim of kind {kind!r} needs parts")
    if kind == "order" and any(part.kind != "greater" for part in parts.values()):
        raise ValueError("an order is judged by differences of neighbours, each of kind 'greater'")
    at_least = at_least if kind == "count" else len(parts)
    if at_least is None or not 1 <= at_least <= len(parts):
        raise ValueError(f"at_least must be 1 to {len(parts)}, the number of parts, got {at_least}")
    return _judge_parts(parts, at_least)


def _judge_part(part: Part, level: float = LEVEL) -> Verdict:
    kind, effect, margin, printed = part
    if effect is None:
        return Verdict("not testable", reason="the data at hand do not have it")
    if effect.level != level:
        effect = effect.at(level)
    if kind == "equivalent":
        if margin is None or not margin > 0:
            raise ValueError(f"a claim of equivalence needs a margin above 0, fixed beforehand, got {margin}")
        within = -margin < effect.low and effect.high < margin
        beyond = effect.low > margin or effect.high < -margin
        claimed = f"(−{margin:g}, {margin:g})"
    elif kind in ("greater", "less"):
        above, below = effect.low > 0, effect.high < 0
        within, beyond = (above, below) if kind == "greater" else (below, above)
        claimed = "the values above 0" if kind == "greater" else "the values below 0"
    else:
        raise ValueError(f"a part of a claim is greater, less or equivalent, got {kind!r}")

    interval = f"the {100 * level:.4g}% interval"
    if effect.se == 0 and not effect.exact:
        verdict, reason = "inconclusive", "the same in every unit: no evidence of how it varies"
    elif within:
        verdict, reason = "reproduced", f"{interval} lies within {claimed}"
    elif beyond:
        verdict, reason = "contradicted", f"{interval} lies wholly outside {claimed}"
    else:
        verdict, reason = "inconclusive", f"{interval} crosses the edge of {claimed}"
    return Verdict(
        verdict,
        effect=effect.estimate,
        low=effect.low,
        high=effect.high,
        seeds=effect.n_seeds,
        clusters=effect.n_clusters,
        size_ratio=effect.estimate / printed if printed else None,
        reason=reason,
    )


def _support(part: Part) -> float:
    """How far the effect lies on the claimed side of the boundary, in standard errors."""
    estimate, se = part.effect.estimate, part.effect.se
    if part.kind == "equivalent":
        distance = part.margin - abs(estimate)
    else:
        distance = estimate if part.kind == "greater" else -estimate
    if part.effect.exact:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / se if se > 0 else 0.0


def _judge_parts(parts: Mapping[str, Part], at_least: int) -> Verdict:
    """Verdict on the claim that at least so many of the parts hold; all of them for a conjunction."""
    n = len(parts)
    # k of n parts hold: k one-sided tests, each at α/(n − k + 1). They do not: n − k + 1 tests, each at α/k.
    # Both use the stricter. A conjunction (k = n) needs no adjustment to be reproduced, and gets none.
    tests = max(n - at_least + 1, at_least)
    level = LEVEL if at_least == n else 1 - (1 - LEVEL) / tests
    verdicts = {name: _judge_part(part, level) for name, part in parts.items()}
    verdict = combine([part.verdict for part in verdicts.values()], at_least)
    count = Counter(part.verdict for part in verdicts.values())
    tested = [name for name, part in parts.items() if part.effect is not None]
    if not tested:
        return Verdict(verdict, parts=verdicts, reason="the data at hand have none of its parts")
    # the parts that could not be tested count as the least in favour
    deciding = sorted(tested, key=lambda name: _support(parts[name]), reverse=True)[:at_least][-1]
    return replace(
        verdicts[deciding],
        verdict=verdict,
        parts=verdicts,
        reason=f"{count['reproduced']} of {n} parts reproduced, {count['contradicted']} contradicted"
        + (f", {count['not testable']} not testable" if count["not testable"] else "")
        + f"; {at_least} must hold. Shown: {deciding}",
    )


def combine(verdicts: Sequence[str], at_least: int) -> str:
    """The verdict on "at least so many of these hold" from those on the parts.

    >>> combine(["reproduced", "contradicted"], at_least=2)
    'contradicted'
    """
    if verdicts.count("reproduced") >= at_least:
        return "reproduced"
    if len(verdicts) - verdicts.count("contradicted") < at_least:
        return "contradicted"
    return "not testable" if "not testable" in verdicts else "inconclusive"


def holm(parts: Mapping[str, Part]) -> dict[str, Verdict]:
    """Verdicts on several claims at once, of which chance makes even one wrong no more often than a single one.

    Holm's (1979) procedure: of m effects the one least likely under no effect is judged by its 1 - α/m interval, the
    next by 1 - α/(m - 1), and so on; from the first that is inconclusive on, all are. Parts without an effect are
    `not testable` and do not count.

    Raises:
        ValueError: a part is of another kind than `greater` or `less`.
    """
    if strange := [name for name, part in parts.items() if part.kind not in ("greater", "less")]:
        raise ValueError(f"Holm's procedure here is for greater and less; {strange[0]!r} is {parts[strange[0]].kind}")
    tested = [name for name, part in parts.items() if part.effect is not None]
    tested.sort(key=lambda name: stats.t.sf(abs(_support(parts[name])), parts[name].effect.df))
    verdicts, open_ = {}, True
    for tests, name in zip(range(len(tested), 0, -1), tested, strict=True):
        verdict = _judge_part(parts[name], 1 - (1 - LEVEL) / tests)
        open_ = open_ and verdict.verdict != "inconclusive"
        verdicts[name] = verdict if open_ else replace(verdict, verdict="inconclusive")
    return {name: verdicts.get(name) or _judge_part(part) for name, part in parts.items()}


def chance_reproduced(n_claims: int) -> float:
    """How many of so many claims chance alone would call `reproduced` if none had any effect: 2.5% each.

    An upper estimate where claims have several parts, all of which would have to come out.
    """
    return n_claims * (1 - LEVEL) / 2


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


def compare_ranks(scores: Mapping[str, ArrayLike], *, higher_is_better: bool, level: float = LEVEL) -> Ranks:
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
    q = stats.studentized_range.ppf(level, n_methods, np.inf) / math.sqrt(2)
    difference = q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks))
    p = stats.friedmanchisquare(*table).pvalue if np.ptp(table, 0).any() else 1.0
    order = np.argsort(ranks, kind="stable")
    return Ranks({list(scores)[i]: float(ranks[i]) for i in order}, float(difference), float(p), n_blocks)
