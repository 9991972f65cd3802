"""The printed numbers and claims of the five papers, read from ``results/printed/*.yaml``."""

from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from uncertain_affect.compute import paths
from uncertain_affect.evidence.claims import KINDS


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
    if key not in keys():
        raise ValueError(
            f"no printed numbers for {key!r}: {path.name} is not in {path.parent}; known: {', '.join(keys())}"
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
        if missing := {"paper", "tables", "figures", "claims", "errata"} - set(content):
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
        for part, kind in {"tables": dict, "figures": dict, "claims": dict, "errata": list}.items():
            if not isinstance(content[part], kind):
                raise TypeError(f"{part} is no {kind.__name__}")
        if content["paper"].get("key") != key:
            raise ValueError(f"is of the paper {content['paper'].get('key')!r}; the key is the name of the file")
        for name, table in content["tables"].items():
            _check_table(name, table)
        claims = {id_: _claim(key, id_, entry) for id_, entry in content["claims"].items()}
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    except (TypeError, AttributeError, KeyError, RecursionError) as error:  # a list, say, in the place of a mapping
        raise ValueError(f"{path.name} is not built as printed numbers are: {type(error).__name__}: {error}") from error
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


def _check_table(name: str, table: dict) -> None:
    if missing := {"columns", "rows"} - set(table):
        raise ValueError(f"{name} lacks {', '.join(sorted(missing))}")
    columns = table["columns"]
    if len(set(columns)) < len(columns):
        raise ValueError(f"{name} has two columns of one name; tell them apart")
    for row, cells in table["rows"].items():
        if len(cells) != len(columns):
            raise ValueError(
                f"{name}, row {row!r} has {len(cells)} cells for {len(columns)} columns; "
                "write null where the paper prints none"
            )
        if strange := [cell for cell in cells if cell is not None and type(cell) not in (int, float)]:
            raise ValueError(f"{name}, row {row!r} has {strange[0]!r}; cells are numbers or null")


def _claim(key: str, id_: str, entry: dict) -> Claim:
    if not id_.startswith(f"{key}."):
        raise ValueError(f"claim {id_} must be called {key}.c1, {key}.c2, ...")
    if unknown := set(entry) - {f.name for f in fields(Claim)}:
        raise ValueError(f"{id_} has the unknown key {', '.join(sorted(unknown))}")
    if missing := {"where", "statement", "kind", "printed"} - set(entry):
        raise ValueError(f"{id_} lacks {', '.join(sorted(missing))}")
    claim = Claim(id=id_, **entry)
    for what, said in [(id_, entry), *((f"{id_}, part {name!r},", part) for name, part in claim.parts.items())]:
        if said.get("kind") not in KINDS:
            raise ValueError(f"{what} has kind {said.get('kind')!r}; kinds are {', '.join(KINDS)}")
        if said["kind"] == "equivalent" and said.get("margin") is None:
            raise ValueError(f"{what} is of kind equivalent and needs a margin")
    needs = {"all": "parts", "order": "parts", "count": "parts", "qualitative": "note"}.get(claim.kind)
    if needs and not getattr(claim, needs):
        raise ValueError(f"{id_} is of kind {claim.kind} and needs {needs}")
    if claim.kind == "count" and claim.at_least is None:
        raise ValueError(f"{id_} is of kind count and needs at_least")
    return claim


class _Loader(yaml.SafeLoader):
    """YAML that refuses a repeated key, of which PyYAML would keep the last in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := {str(key) for key in keys if keys.count(key) > 1}:
            raise ValueError(f"line {node.start_mark.line + 1}: {', '.join(sorted(repeated))} stands twice")
        return super().construct_mapping(node, deep)


def _folder() -> Path:
    return paths.project_root() / "results" / "printed"
