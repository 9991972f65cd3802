"""Arithmetic on printed numbers, which are rounded: what can still be said of what they were computed from.

A number printed with d decimals stands for all values within half a unit of its last digit, both ends included, so that
it does not matter which way halves were rounded. What is recomputed from such numbers is an interval too, exact in
fractions, and a printed result is in doubt only if its interval and the recomputed one have no value in common.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pandas as pd
from scipy import special

Number = int | float | str | Fraction


@dataclass(frozen=True)
class Range:
    """All values from ``low`` to ``high``, with the arithmetic of intervals."""

    low: Fraction
    high: Fraction

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def __sub__(self, other: "Range") -> "Range":
        return Range(self.low - other.high, self.high - other.low)

    def __mul__(self, other: "Range") -> "Range":
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(ends), max(ends))

    def __truediv__(self, other: "Range") -> "Range":
        if other.low <= 0 <= other.high:
            raise ZeroDivisionError(f"the divisor may be zero: it lies from {float(other.low)} to {float(other.high)}")
        return self * Range(1 / other.high, 1 / other.low)

    def meets(self, other: "Range") -> bool:
        """Whether some value lies in both."""
        return self.low <= other.high and other.low <= self.high

    @property
    def sign(self) -> int:
        """1 or -1 where all values have this sign, else 0."""
        return (self.low > 0) - (self.high < 0)


@dataclass(frozen=True)
class Check:
    """A printed number beside the range recomputed for it. They ``agree`` if rounding can explain the difference."""

    printed: float
    decimals: int
    recomputed: Range

    @property
    def agrees(self) -> bool:
        return rounded(self.printed, self.decimals).meets(self.recomputed)

    @property
    def beyond(self) -> float:
        """By how much more than rounding the two differ; 0 where they agree."""
        stands_for = rounded(self.printed, self.decimals)
        return float(max(stands_for.low - self.recomputed.high, self.recomputed.low - stands_for.high, Fraction(0)))


def fraction(value: Number) -> Fraction:
    """A number as it is printed: 0.1 is a tenth, not the binary number next to it."""
    if isinstance(value, float):  # NumPy's too, whose repr has its name
        value = Decimal(repr(float(value)))
    return value if isinstance(value, Fraction) else Fraction(value)


def rounded(value: Number, decimals: int) -> Range:
    """What a number printed with so many decimals may have been.

    Raises:
        ValueError: it has more decimals than that.

    >>> rounded(0.5, 1)
    Range(low=Fraction(9, 20), high=Fraction(11, 20))
    """
    value = fraction(value)
    if (value * 10**decimals).denominator != 1:
        raise ValueError(f"{float(value)!r} has more than {decimals} decimals")
    half = Fraction(1, 2 * 10**decimals)
    return Range(value - half, value + half)


def exact(value: Number) -> Range:
    """A number that was not rounded: a count."""
    return Range(fraction(value), fraction(value))


def decimals(cells: Iterable[float]) -> int:
    """With how many decimals a table's cells are printed: the most that any of them shows; NaN is no cell."""
    shown = [Decimal(repr(float(cell))).normalize().as_tuple().exponent for cell in cells if cell == cell]
    return max(0, -min(shown, default=0))


def ranges(frame: pd.DataFrame) -> pd.DataFrame:
    """What the cells of a printed table may have been; empty ones (NaN) stay empty.

    A cell has the decimals that its row and its column have in common: tables print percentages beside losses, and
    counts beside shares.
    """
    places = np.minimum.outer(
        [decimals(frame.loc[row]) for row in frame.index], [decimals(frame[column]) for column in frame]
    )
    found = frame.astype(object)
    for place, value in np.ndenumerate(frame.to_numpy(dtype=float)):
        if not np.isnan(value):
            found.iat[place] = rounded(value, int(places[place]))
    return found


def total(parts: Sequence[Range]) -> Range:
    """The sum of numbers each of which may be any of its range."""
    return Range(sum(part.low for part in parts), sum(part.high for part in parts))


def average(parts: Sequence[Range]) -> Range:
    """Their mean.

    Raises:
        ValueError: there are none.
    """
    if not len(parts):
        raise ValueError("the average of no cells")
    return total(parts) / exact(len(parts))


def percentage(count: int, of: int) -> Range:
    """A whole number in percent of another, of which neither is rounded."""
    return exact(Fraction(100 * count, of))


def counts(percent: Number, places: int, of: int) -> range:
    """The whole numbers of ``of`` things that are this many percent of them as printed; none if it cannot be.

    >>> list(counts(54.848, 3, 3579))
    [1963]
    """
    possible = rounded(percent, places)
    return range(max(0, ceil(possible.low * of / 100)), min(of, floor(possible.high * of / 100)) + 1)


def lowest(parts: Sequence[Range]) -> Range:
    """The least of several numbers."""
    return Range(min(part.low for part in parts), min(part.high for part in parts))


def highest(parts: Sequence[Range]) -> Range:
    """The greatest of several numbers."""
    return Range(max(part.low for part in parts), max(part.high for part in parts))


def relative_change(new: Range, old: Range) -> Range:
    """By how many percent ``new`` is more than ``old``, both of them above zero."""
    return (new / old - exact(1)) * exact(100)


def p_value(r: Range, n: int) -> Range:
    """Two-sided p of a correlation r over n pairs: of t = r √((n − 2) / (1 − r²)) with n − 2 degrees of freedom."""

    def at(size: Fraction) -> Fraction:
        r = min(float(size), 1.0)
        return Fraction(0) if r == 1 else Fraction(2 * special.stdtr(n - 2, -r * ((n - 2) / (1 - r * r)) ** 0.5))

    least = Fraction(0) if r.sign == 0 else min(abs(r.low), abs(r.high))
    slack = Fraction(1, 10**9)  # of floating-point numbers, far more than they need
    return Range(at(max(abs(r.low), abs(r.high))) * (1 - slack), at(least) * (1 + slack))


def says(assertions: Mapping[str, tuple[str, Mapping[str, Mapping]]], effects: Mapping[str, Range]) -> str:
    """What printed numbers say of a claim: `support`, `contradict`, `rounding decides`, or `nothing` if there are none.

    A mean is judged by the mean of its printed parts, every other part by itself; of several answers the worst counts.

    Args:
        assertions: as `printed.Claim.assertions` gives them.
        effects: what the printed effect of a part may have been, by its name; parts without one are left out.
    """
    sides = []
    for rule, parts in assertions.values():
        known = {name: effects[name] for name in parts if name in effects}
        if rule == "mean" and known:
            sides.append(average(list(known.values())).sign)
        else:
            sides += [_side(effect, parts[name]["margin"]) for name, effect in known.items()]
    return {1: "support", 0: "rounding decides", -1: "contradict"}[min(sides)] if sides else "nothing"


def _side(effect: Range, margin: float | None) -> int:
    """1 if all of it is as claimed, above zero or within the margin of it; -1 if nothing is; else 0."""
    if margin is None:
        return effect.sign
    allowed = Range(-fraction(margin), fraction(margin))
    return 1 if allowed.low <= effect.low and effect.high <= allowed.high else 0 if effect.meets(allowed) else -1


def base_rate_nll(odds: Range) -> Range:
    """Negative log-likelihood, in nats, of always predicting the base rate, where absent is ``odds`` times present.

    That is the entropy of the rate r = 1 / (1 + odds), largest where the odds are even.

    >>> round(float(base_rate_nll(exact(3)).low), 4)
    0.5623
    """

    def at(odds: Fraction) -> Fraction:
        rate = float(1 / (1 + odds))
        return Fraction(float(special.entr(rate) + special.entr(1 - rate)))

    ends, slack = [at(odds.low), at(odds.high)], Fraction(1, 10**9)  # far more than floating-point numbers need
    highest = at(Fraction(1)) if odds.low <= 1 <= odds.high else max(ends)
    return Range(min(ends) * (1 - slack), highest * (1 + slack))


def table(checks: Mapping[str, Check]) -> pd.DataFrame:
    """A row per check: printed number, recomputed range, whether they agree and by how much more than rounding not."""
    rows = {
        name: (check.printed, float(check.recomputed.low), float(check.recomputed.high), check.agrees, check.beyond)
        for name, check in checks.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["printed", "low", "high", "agrees", "beyond"])


# --- what the checks are worth ------------------------------------------------------------------------------


def round_half_up(value: Fraction, places: int) -> Fraction:
    """Rounded as at school, halves away from zero."""
    scaled = abs(value) * 10**places
    size = Fraction(floor(scaled + Fraction(1, 2)), 10**places)
    return size if value >= 0 else -size


def synthetic(rng: np.random.Generator) -> dict[str, Check]:
    """A made-up table of correctly rounded numbers and what is printed beside it, one check of each kind.

    3 to 20 cells of 1 to 4 decimals, with their sum, average and the difference of two, printed with as many decimals
    or one less; a count in percent, and r, n and p of a correlation. In half of the tables what is rounded has just one
    more digit, so that every tenth number is a half; halves go up in one half of the tables and to even in the other.
    """
    half_up = rng.random() < 0.5
    round_to: Callable[[Fraction, int], Fraction] = round_half_up if half_up else round  # to the even digit
    places = int(rng.integers(1, 5))
    digits = places + (1 if rng.random() < 0.5 else 6)
    size = 10**digits * int(rng.choice([1, 100]))
    drawn = rng.integers(-size if rng.random() < 0.2 else 0, size, rng.integers(3, 21))
    truth = [Fraction(int(k), 10**digits) for k in drawn]
    cells = [rounded(round_to(value, places), places) for value in truth]
    fewer = places - int(rng.integers(0, 2))

    def check(value: Fraction, places: int, recomputed: Range) -> Check:
        return Check(float(round_to(value, places)), places, recomputed)

    n = int(rng.integers(5, 2000))
    k = int(rng.integers(0, n + 1))
    r = Fraction(int(rng.integers(-990, 991)), 1000)
    r_places, p_places = int(rng.integers(1, 4)), int(rng.integers(2, 6))
    p = p_value(exact(r), n)
    return {
        "sum": check(sum(truth), fewer, total(cells)),
        "average": check(sum(truth) / len(truth), fewer, average(cells)),
        "margin": check(truth[0] - truth[1], fewer, cells[0] - cells[1]),
        "percentage of n": check(Fraction(100 * k, n), fewer, percentage(k, n)),
        "p of r and n": check((p.low + p.high) / 2, p_places, p_value(rounded(round_to(r, r_places), r_places), n)),
    }


def planted(check: Check, *, beyond: bool, up: bool) -> Check:
    """The check with a wrong number printed: off by one unit, or by the least that rounding cannot explain."""
    unit = Fraction(1, 10**check.decimals)
    value = fraction(check.printed)
    if beyond and up:
        value = floor((check.recomputed.high + unit / 2) / unit) * unit + unit
    elif beyond:
        value = ceil((check.recomputed.low - unit / 2) / unit) * unit - unit
    else:
        value += unit if up else -unit
    return Check(float(value), check.decimals, check.recomputed)
