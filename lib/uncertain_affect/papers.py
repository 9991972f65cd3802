"""The printed numbers and claims of the five papers, read from ``results/printed/*.yaml``."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from uncertain_affect.claims import KINDS
from uncertain_affect.paths import project_root


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, as printed.

    ``printed`` holds the printed numbers, ``printed["effect"]`` the effect where the claim has a single one.
    ``parts`` maps the parts of a conjunction or count to their own ``kind``, ``printed``, ``margin`` and
    ``tolerance``. ``margin`` bounds an equivalence; ``tolerance`` says how near a value must be to the printed one,
    and is used only with the paper's own corpus and features.
    """

    id: str
    where: str
    statement: str
    kind: str
    printed: dict
    note: str = ""
    margin: float | None = None
    parts: dict[str, dict] = field(default_factory=dict)
    tolerance: float | None = None
    at_least: int | None = None


@dataclass(frozen=True)
class Paper:
    """What one paper prints: bibliography, tables, figures, claims and the errata an audit found."""

    info: dict
    tables: dict[str, dict]
    figures: dict[str, dict]
    claims: dict[str, Claim]
    errata: list[dict]
    text: dict

    @property
    def key(self) -> str:
        return self.info["key"]

    def table(self, name: str) -> pd.DataFrame:
        """A printed table as a frame; cells the paper leaves empty are NaN."""
        try:
            table = self.tables[name]
        except KeyError:
            raise KeyError(f"{self.key} prints no {name}; it has {', '.join(self.tables)}") from None
        return pd.DataFrame.from_dict(table["rows"], orient="index", columns=table["columns"]).astype(float)

    def owned(self) -> list[str]:
        """Everything a notebook must cover: names of tables and figures, and ids of claims."""
        return [*self.tables, *self.figures, *self.claims]


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
    if not path.is_file():
        raise ValueError(
            f"no printed numbers for {key!r}: {path.name} is not in {path.parent}; known: {', '.join(keys())}"
        )
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    missing = {"paper", "tables", "figures", "claims", "errata"} - set(content)
    if missing:
        raise ValueError(f"{path.name} lacks {', '.join(sorted(missing))}")
    for name, table in content["tables"].items():
        for row, cells in table["rows"].items():
            if len(cells) != len(table["columns"]):
                raise ValueError(
                    f"{path.name}: {name}, row {row!r} has {len(cells)} cells for {len(table['columns'])} columns; "
                    "write null where the paper prints none"
                )
    claims = {}
    for id_, entry in content["claims"].items():
        claims[id_] = claim = Claim(id=id_, **entry)
        for what, kind in [(id_, claim.kind), *((part, p["kind"]) for part, p in claim.parts.items())]:
            if kind not in KINDS:
                raise ValueError(f"{path.name}: {what} has kind {kind!r}; kinds are {', '.join(KINDS)}")
        if claim.kind in ("all", "count") and not claim.parts:
            raise ValueError(f"{path.name}: {id_} is of kind {claim.kind} and needs parts")
    return Paper(
        info=content["paper"],
        tables=content["tables"],
        figures=content["figures"],
        claims=claims,
        errata=content["errata"],
        text=content.get("text", {}),
    )


def claim(id_: str) -> Claim:
    """The claim ``"uncnet.c1"``, say.

    Raises:
        ValueError: no paper makes it.
    """
    paper = load(id_.partition(".")[0])
    if id_ not in paper.claims:
        raise ValueError(f"{paper.key} makes no claim {id_}; its claims are {', '.join(paper.claims)}")
    return paper.claims[id_]


def _folder() -> Path:
    return project_root() / "results" / "printed"
