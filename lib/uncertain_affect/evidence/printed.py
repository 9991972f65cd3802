"""The printed numbers and claims of the five papers, read from ``results/printed/*.yaml``."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator

from uncertain_affect.compute import paths
from uncertain_affect.evidence.claims import KINDS


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
    kind: Literal[KINDS]
    printed: float | None = None
    margin: float | None = None
    tolerance: float | None = None

    @model_validator(mode="after")
    def _has_a_margin(self) -> Self:
        if self.kind == "equivalent" and self.margin is None:
            raise ValueError("is of kind equivalent and needs a margin")
        return self


def _as_written(value: Any, check) -> Any:
    """For what is checked against a model and stays a dictionary."""
    check(value)
    return value


class Claim(_Part):
    """One claim of a paper, as printed.

    ``printed`` holds the printed numbers, ``printed["effect"]`` the effect where the claim has a single one.
    ``parts`` maps the parts of a conjunction or count to their own ``kind``, ``printed``, ``margin`` and
    ``tolerance``. ``margin`` bounds an equivalence; ``tolerance`` says how near a value must be to the printed one,
    and is used only with the paper's own corpus and features.
    """

    where: str
    statement: str
    printed: dict[str, Any]
    note: str = ""
    parts: dict[str, Annotated[_Part, WrapValidator(_as_written)]] = {}
    at_least: int | None = None

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if self.kind in ("all", "order", "count") and not self.parts:
            raise ValueError(f"is of kind {self.kind} and needs parts")
        if self.kind == "count" and self.at_least is None:
            raise ValueError("is of kind count and needs at_least")
        return self

    def stated(self, part: str = "") -> dict:
        """The ``kind`` of a part, or of the whole claim, and its ``printed`` effect, ``margin`` and ``tolerance``.

        A part lacks those that it has none of.
        """
        whole = {"kind": self.kind, "margin": self.margin, "tolerance": self.tolerance}
        return self.parts[part] if part else whole | {"printed": self.printed.get("effect")}


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
