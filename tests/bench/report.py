"""Writes what was measured: peers.csv, departures.csv, peers.json with its provenance, and peers.md made of them."""

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import torch

from bench.compare import PAIRS, Work, compare
from bench.departures import departures
from uncertain_affect.run import layout
from uncertain_affect.run.provenance import cpu_name, revision

COLUMNS = [
    *("work", "n", "items", "peer", "seconds", "peer seconds", "times faster", "per second", "lowest", "highest"),
    *("target", "outcome", "difference", "tolerance", "slope", "MiB", "peer MiB", "limit", "share of limit", "reason"),
]
PACKAGES = ("torch", "numpy", "scipy", "torchmetrics")
PEER_PACKAGES = ("netcal", "uncertainty-calibration", "baal", "torch_geometric", "torch_uncertainty")


def run(folder: Path, todo: Sequence[Work], pairs: int = PAIRS, n_departures: int = 1_000_000) -> list[str]:
    """Compare everything, print it, and write the tables and the page; returns where ours and a peer disagree."""
    rows = []
    for work in todo:
        rows += (found := compare(work, pairs))
        print(f"{work.name}, {work.n:,} {work.items}: {found[0]['seconds']:.3g} s", flush=True)
        for row in found:
            print(f"  {row['peer']}: {_times_faster(row) or 'not timed'}, {row['outcome']}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    table.to_csv(folder / "peers.csv", index=False, float_format="%.4g")
    departures(n_departures).to_csv(folder / "departures.csv", index=False, float_format="%.10g")
    layout.write_json(folder / "peers.json", {"pairs": pairs, **provenance(), "peers": _versions(PEER_PACKAGES)})
    (folder / "peers.md").write_text(page(folder), encoding="utf-8")
    return [f"{row['work']}, {row['n']:,} {row['items']}: {row['peer']}" for row in rows if _agrees(row) is False]


def provenance() -> dict:
    """Threads, hardware, versions and revision: what times depend on."""
    return {
        "threads": torch.get_num_threads(),
        "hardware": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
        },
        "versions": {"python": platform.python_version()} | _versions(PACKAGES),
        "revision": revision(),
    }


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _agrees(row: dict) -> bool | None:
    """Whether the difference is within the tolerance; None where nothing was compared."""
    if pd.isna(row.get("tolerance")) or pd.isna(row.get("peer seconds")):
        return None
    return bool(row["difference"] <= row["tolerance"])


# --- the page -------------------------------------------------------------------------------------------------

PAGE = """\
# The library beside its peers

Measured on {cpu} ({cores} cores, {instructions}) with {threads} threads, at revision {revision}. {versions}.

Ours and the peers run in turns in one process, on the same inputs; *times faster* is the median over {pairs} pairs of \
the peer's time over ours, with the lowest and the highest. A target counts as met if the median reaches it; beside it \
is in how many pairs it was reached. *Slope* is the growth of our time with the number of items as a power of it, over \
a hundredfold: at 1 an item takes as long however many there are. *MiB* is the most memory that a call holds beyond \
its inputs, as the kernel counts it, without processes that it starts. *Share of limit* is the time of the matrix \
products alone, or of reading inputs or writing outputs once at the speed of a large copy, over ours: at 100% nothing \
but that is left.

## Times

{counts}

{times}

{notes}## Agreement

The largest absolute difference between our result and the peer's on the same input, where draws are random on the \
same draws.

{agreement}

## Departures from the definition

The definition's value is computed by a loop whose sums are rounded once; what is within 1e-9 of it is the same. Edges \
of bins are a convention: ours are [lo, hi) with the last bin closed. What netcal and torch-uncertainty call ACE are \
other quantities than the paper's adaptive calibration error, so they are not timed beside it.

{departures}
"""
TIMES = [
    *("work", "N", "peer", "seconds", "peer's", "times faster", "target", "outcome", "slope"),
    *("MiB", "peer's MiB", "share of limit"),
]
AGREEMENT = ["work", "N", "peer", "largest difference", "tolerance", ""]
DEPARTURES = ["input", "metric", "library", "definition", "value", "difference", ""]


def page(folder: Path) -> str:
    """The page of the tables in a folder."""
    rows, departs = (
        pd.read_csv(folder / name, keep_default_na=False, na_values=[""]).to_dict("records")
        for name in ("peers.csv", "departures.csv")
    )
    facts = json.loads((folder / "peers.json").read_text(encoding="utf-8"))
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in (facts["versions"] | facts["peers"]).items())
    return PAGE.format(
        **facts | facts["hardware"],
        counts=_counts(rows),
        times=_markdown(TIMES, map(_timed, rows)),
        notes=_notes(rows),
        agreement=_markdown(AGREEMENT, [_compared(row) for row in rows if _agrees(row) is not None]),
        departures=_markdown(DEPARTURES, map(_departed, departs)),
    )


def _counts(rows: list[dict]) -> str:
    promised = [row["outcome"] for row in rows if not pd.isna(row["target"])]
    met, missed = (sum(outcome.startswith(word) for outcome in promised) for word in ("met", "missed"))
    return (
        f"Of {len(promised)} targets {met} are met and {missed} missed; for {len(promised) - met - missed} the peer is "
        "missing or fails, which counts as neither."
    )


def _timed(row: dict) -> list[str]:
    target = "" if pd.isna(row["target"]) else f"{row['target']:,g}{'' if _has_ratio(row) else ' a second'}"
    return [
        *(row["work"], f"{row['n']:,}", row["peer"], _number(row["seconds"]), _number(row["peer seconds"])),
        *(_times_faster(row), target, row["outcome"], _number(row["slope"], ".2f")),
        *(_number(row["MiB"], ",.0f"), _number(row["peer MiB"], ",.0f")),
        "" if pd.isna(row["limit"]) else f"{row['share of limit']:.0%} of {row['limit']}",
    ]


def _has_ratio(row: dict) -> bool:
    return row["peer"] != "none"


def _times_faster(row: dict) -> str:
    if not _has_ratio(row):
        return f"{row['per second']:,.0f} a second ({row['lowest']:,.0f}-{row['highest']:,.0f})"
    if pd.isna(row.get("times faster")):
        return ""
    return f"{_number(row['times faster'])} ({_number(row['lowest'])}-{_number(row['highest'])})"


def _notes(rows: list[dict]) -> str:
    missed = [row for row in rows if row["outcome"].startswith("missed")]
    lines = [f"- {row['work']}, N = {row['n']:,}, beside {row['peer']}: {row['reason']}.\n" for row in missed]
    return "".join(["Why targets are missed:\n\n", *lines, "\n"]) if missed else ""


def _compared(row: dict) -> list[str]:
    outcome = "agrees" if _agrees(row) else "DISAGREES"
    difference, tolerance = (_number(row[name], ".1e") for name in ("difference", "tolerance"))
    return [row["work"], f"{row['n']:,}", row["peer"], difference, tolerance, outcome]


def _departed(row: dict) -> list[str]:
    formats = {"definition": ".7f", "value": ".7f", "difference": ".1e"}
    values = [_number(row[name], spec) for name, spec in formats.items()]
    return [row["case"], row["metric"], row["library"], *values, row["outcome"]]


def _number(value: float | None, spec: str = "") -> str:
    """Three digits, or as the spec has it; nothing for what was not measured."""
    if value is None or pd.isna(value):
        return ""
    if spec or value == 0 or not math.isfinite(value):
        return f"{value:{spec}}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def _markdown(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
