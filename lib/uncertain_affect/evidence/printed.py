"""The printed numbers and claims of the five papers, read from ``results/printed/*.yaml``."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator

from uncertain_affect.compute import paths

# what of a claim decides how it is judged
JUDGED = ("endpoint", "primary", "requires", "delta", "decides", "kind", "margin", "parts", "parts_of")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Table(_Strict):
    title: str
    columns: list[str]
    rows: dict[str, list[float | None]]

    @model_validator(mode="after")
    def _has_a_cell_for_each_column(self) -> Self:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("has two columns of one name; tell them apart")
        for row, cells in self.rows.items():
            if len(cells) != len(self.columns):
                raise ValueError(
                    f"row {row!r} has {len(cells)} cells for {len(self.columns)} columns; "
                    "write null where the paper prints none"
                )
        return self


class _Part(_Strict):
    kind: Literal["greater", "equivalent"]
    assertion: str = Field("", pattern="^[a-z]?$")
    printed: float | None = None
    margin: float | None = Field(None, gt=0)
    delta: float | None = Field(None, gt=0)
    tolerance: float | None = Field(None, gt=0)


class _Bounds(_Strict):
    """What a number that was measured must be at least, and at most."""

    least: float | None = None
    most: float | None = None


class _Requires(_Strict):
    """The arms that must have learnt, and by its name each number that has bounds."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Bounds]

    learnt: list[str] = []


def _as_written(value: Any, check) -> Any:
    """For what is checked against a model and stays a dictionary."""
    check(value)
    return value


class Claim(_Strict):
    """One claim of a paper, as printed and as it is judged.

    That what it states can be judged, every part having a kind and a delta or a margin, is for a test of the files.

    Attributes:
        where: its place in the paper.
        statement: the claim in at most 15 plain words.
        says: the claim in the paper's own terms, with symbols and numbers.
        endpoint: what is measured, in a line; what is claimed lies above zero, or within the margin of it.
        primary: the rule by which the parts are judged: "single", "mean" or "weakest", of unlike assertions a rule for
            each letter; "quoted" where the paper compares with other papers' numbers.
        requires: what must hold before it is a test: `learnt`, the arms that must have, and by the name of a number
            that a run measures its bounds, `least`, `most` or both.
        delta: below which an effect is none, of all assertions or by letter; without it half of the printed effect.
        decides: whose answer is the claim's, the first that has a full run; "corpus" or "corpus/features".
        print: what the paper's own numbers say.
        why: reasons for endpoint, delta and bounds.
        kind, margin, tolerance: of a claim without parts. `margin` bounds an equivalence; `tolerance` says how near a
            value must be to the printed one, and is used only with the paper's own corpus and features.
        parts: by name their `kind`, `assertion`, `printed` effect, `margin`, `delta` and `tolerance`, as written.
        parts_of: whether only these parts are judged, or a run has those that its own corpus gives: see `like`.
        printed: the printed numbers, ``printed["effect"]`` the effect of a claim without parts.
    """

    where: str
    statement: str
    says: str
    endpoint: str
    primary: Literal["single", "mean", "weakest", "quoted"] | dict[str, Literal["single", "mean", "weakest"]]
    requires: Annotated[_Requires, WrapValidator(_as_written)]
    delta: Annotated[float, Field(gt=0)] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    decides: list[str] = Field(min_length=1)
    print: Literal["support", "contradict", "rounding decides", "nothing"]
    why: str
    kind: Literal["greater", "equivalent"] | None = None
    margin: float | None = None
    tolerance: float | None = None
    parts: dict[str, Annotated[_Part, WrapValidator(_as_written)]] = {}
    parts_of: Literal["this paper", "any corpus"] = "this paper"
    printed: dict[str, Any]
    note: str = ""

    def assertions(self, measured: Iterable[str] = ()) -> dict[str, tuple[str, dict[str, dict]]]:
        """The rule and the parts of each assertion, by its letter; "" for the only one, and for its only part.

        Args:
            measured: with `parts_of: any corpus`, the parts that a run has, in place of those listed here; an
                assertion of which it has none is left with none.
        """
        names = list(measured) if self.parts_of == "any corpus" else []
        names = names or list(self.parts) or [""]
        rules = self.primary if isinstance(self.primary, dict) else {"": self.primary}
        return {
            letter: (rule, {name: self.stated(name) for name in names if self.assertion_of(name) == letter})
            for letter, rule in rules.items()
        }

    def assertion_of(self, part: str) -> str:
        """The letter of the assertion to which a part belongs."""
        return self.parts[self.like(part)].get("assertion", "") if self.parts else ""

    def like(self, part: str) -> str:
        """The listed part of which this one is a kind: itself, else with `parts_of: any corpus` that of its assertion.

        "EmoBank valence" is like "IEMOCAP valence", which is the same after the first word; where only what follows a
        colon is the same, that does. With a single assertion every part is like the others.

        Raises:
            ValueError: there is none.
        """
        if part in self.parts:
            return part
        if self.parts_of == "any corpus" and part:
            if not isinstance(self.primary, dict):
                return next(iter(self.parts))
            for mark in (" ", ": "):
                for listed in self.parts:
                    if part.partition(mark)[2] and part.partition(mark)[2] == listed.partition(mark)[2]:
                        return listed
        raise ValueError(f"the claim has no part {part!r}; it has {', '.join(self.parts) or 'none'}")

    def stated(self, part: str = "") -> dict:
        """Of a part, or a claim without parts: ``kind``, ``printed`` effect, ``margin``, ``delta`` and ``tolerance``.

        What there is none of is None. Of a part that is not listed only the kind is known.

        Raises:
            ValueError: there is no such part.
        """
        if self.parts:
            listed = self.parts[self.like(part)]
            own = listed if part in self.parts else {}
            return {"kind": listed["kind"]} | {key: own.get(key) for key in ("printed", "margin", "delta", "tolerance")}
        if part:
            raise ValueError(f"the claim has no part {part!r}; it has none")
        margins = {"margin": self.margin, "delta": self.delta, "tolerance": self.tolerance}
        return {"kind": self.kind, "printed": self.printed.get("effect")} | margins

    def delta_of(self, assertion: str = "") -> float | None:
        """The size below which an effect is none, where the claim gives one."""
        return self.delta.get(assertion) if isinstance(self.delta, dict) else self.delta

    def printed_effect(self, assertion: str = "") -> float | None:
        """The printed effect of an assertion: of a mean that of the printed parts, else of the part least in favour."""
        rule, parts = self.assertions()[assertion]
        known = [part for part in parts.values() if part["printed"] is not None]
        if not known:
            return None
        if rule == "mean":
            return sum(part["printed"] for part in known) / len(known)
        return min(known, key=_lead)["printed"]


def _lead(stated: dict) -> float:
    """How far a printed effect lies within what is claimed."""
    return stated["margin"] - abs(stated["printed"]) if stated["kind"] == "equivalent" else stated["printed"]


class Paper(_Strict):
    """What one paper prints: bibliography, tables, figures, claims and the errata an audit found."""

    info: dict[str, Any] = Field(alias="paper")
    tables: dict[str, Annotated[_Table, WrapValidator(_as_written)]]
    figures: dict[str, dict[str, Any]]
    claims: dict[str, Claim]
    errata: list[dict[str, Any]]
    text: dict[str, Any] = {}

    @property
    def key(self) -> str:
        return self.info["key"]

    def table(self, name: str) -> pd.DataFrame:
        """A printed table as a frame; cells the paper leaves empty are NaN."""
        if name not in self.tables:
            raise KeyError(f"{self.key} prints no {name}; it has {', '.join(self.tables)}")
        table = self.tables[name]
        return pd.DataFrame.from_dict(table["rows"], orient="index", columns=table["columns"]).astype(float)


class Change(_Strict):
    """A change to a claim after it was frozen: what of it was judged before, what is now, and why."""

    claim: str
    old: dict[str, Any]
    new: dict[str, Any]
    reason: str = Field(min_length=1)


class Frozen(_Strict):
    """The commit that fixed how all claims are judged, the checksum of what it fixed, and what was changed since."""

    commit: str = Field(pattern="^[0-9a-f]{40}$")
    checksum: str = Field(pattern="^[0-9a-f]{64}$")
    changes: list[Change] = []


def keys() -> list[str]:
    """The papers whose printed numbers are at hand."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


@cache
def load(key: str) -> Paper:
    """Read ``results/printed/<key>.yaml``.

    Raises:
        ValueError: the file is missing or says something impossible; the message names file, entry and cure.
    """
    path = _folder() / f"{key}.yaml"
    if key not in keys():
        raise ValueError(f"no printed numbers for {key!r}: {path} is missing; known: {', '.join(keys())}")
    try:
        paper = Paper.model_validate(yaml.load(path.read_text(encoding="utf-8"), _Loader) or {})
        if paper.info.get("key") != key:
            raise ValueError(f"is of the paper {paper.info.get('key')!r}; the key is the name of the file")
        if strange := [id_ for id_ in paper.claims if not id_.startswith(f"{key}.")]:
            raise ValueError(f"claim {strange[0]} must be called {key}.c1, {key}.c2, ...")
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name}: {explain(error)}") from error
    return paper


def claim(id_: str) -> Claim:
    """The claim ``"uncnet.c1"``, say.

    Raises:
        ValueError: no paper makes it.
    """
    paper = load(id_.partition(".")[0])
    if id_ not in paper.claims:
        raise ValueError(f"{paper.key} makes no claim {id_}; its claims are {', '.join(paper.claims)}")
    return paper.claims[id_]


def frozen() -> Frozen:
    """What ``results/printed/frozen.json`` says.

    Raises:
        ValueError: it is missing, or says something else.
    """
    path = _folder() / "frozen.json"
    try:
        return Frozen.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {explain(error)}; restore it") from error


def judged(id_: str) -> dict[str, Any]:
    """What of a claim decides how it is judged, its printed effect among it."""
    stated = claim(id_)
    return {name: getattr(stated, name) for name in JUDGED} | {"printed": stated.printed.get("effect")}


def claims_checksum() -> str:
    """SHA-256 of what is judged of all claims, as it was before the changes that are entered in ``frozen.json``."""
    stated = {id_: judged(id_) for key in keys() for id_ in load(key).claims}
    for change in reversed(frozen().changes):
        if change.new.items() <= stated.get(change.claim, {}).items():
            stated[change.claim] |= change.old
    content = json.dumps(stated, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def explain(error: Exception) -> str:
    """What is wrong with a file, in a line: of several things that pydantic refuses the first, with its place."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    place, message = ", ".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    found = f", not {first['input']!r:.40}" if message.startswith("Input should") else ""
    return f"{place}: {message}{found}" if place else f"{message}{found}"


class _Loader(yaml.SafeLoader):
    """YAML that refuses a repeated key, of which PyYAML would keep the last in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := {str(key) for key in keys if keys.count(key) > 1}:
            raise ValueError(f"line {node.start_mark.line + 1}: {', '.join(sorted(repeated))} stands twice")
        return super().construct_mapping(node, deep)


def _folder() -> Path:
    return paths.project_root() / "results" / "printed"
