"""What a stress test found, a row for each thing that was done, and how the rows of all runs are kept together."""

import datetime
import json
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from uncertain_affect.run import layout, provenance

PASSED, FAILED, CUT_SHORT, NOT_HERE = "passed", "failed", "cut short", "not possible here"
RESULTS = (PASSED, FAILED, CUT_SHORT, NOT_HERE)


@dataclass(frozen=True)
class Row:
    """One thing that was done."""

    trouble: str  # "kill", "fuzz" and so on
    what: str
    times: int
    outcome: str  # of what was not possible, why
    result: str  # "cut short": done less often than promised, with nothing found

    def __post_init__(self):
        if self.result not in RESULTS:
            raise ValueError(f"a result is one of {', '.join(RESULTS)}, not {self.result!r}")
        if self.result == PASSED and self.times < 1:
            raise ValueError(f"{self.what}: what was never done has not passed")


def judged(trouble: str, what: str, done: int, wanted: int, problems: list[str | None], fine: str) -> Row:
    """The row of something done many times over: what went wrong first, or that it was done too seldom to say."""
    if problems := [problem for problem in problems if problem]:
        return Row(trouble, what, done, f"{len(problems)} of {done} went wrong; the first: {problems[0]}", FAILED)
    if done < wanted:
        fine = f"the time was over after {done} of {wanted}, of which all were fine"
    return Row(trouble, what, done, fine, PASSED if done >= wanted else CUT_SHORT)


def read(folder: Path) -> list[Row]:
    """The rows of earlier runs, none where there are none."""
    path = folder / "stress.csv"
    return [Row(**row) for row in pd.read_csv(path).to_dict("records")] if path.is_file() else []


def write(folder: Path, rows: list[Row], minutes: dict[str, float]) -> list[Row]:
    """Write ``stress.csv``, ``stress.json`` and ``report.md``; rows of troubles that were not made now stay.

    Args:
        minutes: what each trouble took, of those that were made now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "stress.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    made = {"made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **provenance.provenance()}
    known |= {trouble: {"minutes": round(took, 1), **made} for trouble, took in minutes.items()}
    rows = sorted([row for row in read(folder) if row.trouble not in minutes] + rows, key=lambda row: row.trouble)
    pd.DataFrame(rows, columns=[field.name for field in fields(Row)]).to_csv(folder / "stress.csv", index=False)
    layout.write_json(path, known)
    (folder / "report.md").write_text(_report(rows, known), encoding="utf-8")
    return rows


def _report(rows: list[Row], known: dict) -> str:
    counts = ", ".join(f"{sum(row.result == result for row in rows)} {result}" for result in RESULTS)
    lines = ["# Survival", "", f"Made by `make stress`: {counts}.", ""]
    for trouble, about in known.items():
        hardware = about["hardware"]
        revision = about["revision"][:10] + "+changes" * about["revision"].endswith("+changes")
        lines.append(
            f"- {trouble}: {about['minutes']} minutes, {about['made'][:10]}, revision {revision}, "
            f"Python {about['versions']['python']}, {hardware['cores']} cores of {hardware['cpu']}"
        )
    lines += ["", "| trouble | what was done | times | outcome | result |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (row.trouble, row.what, f"{row.times:,}", row.outcome, row.result)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
