"""From finished local runs to what the project commits: results, executed notebooks, scoreboard, README table."""

import copy
import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd

from uncertain_affect import record
from uncertain_affect.claims import chance_reproduced
from uncertain_affect.paths import project_root
from uncertain_affect.reproduce import NO_CORPUS, metadata, notebooks

COLUMNS = ["claim", "corpus", "profile", "effect", "low", "high", "seeds", "verdict", "notebook"]


def promote_all(run_folders: list[Path] | None = None) -> list[Path]:
    """Promote the finished runs given, or every finished run under the results root, and rebuild the scoreboard.

    Raises:
        ValueError: there is nothing to promote, or a run is not finished.
    """
    root = record.results_root()
    folders = run_folders or sorted(path.parent for path in root.glob("*/*/*/run.json"))
    folders = [folder for folder in folders if folder.parent.name != NO_CORPUS or not _corpora(folder.name)]
    if not folders:
        raise ValueError(f"no finished run under {root}: run `make reproduce` first")
    targets = [promote(folder) for folder in folders]
    write_scoreboard()
    return targets


def promote(run_folder: Path) -> Path:
    """Copy a finished local run to the committed results; refresh the committed notebook from a quick one.

    Images of people stay out: outputs of cells tagged ``faces`` are dropped from the notebook.

    Raises:
        ValueError: the run is not finished.
    """
    run = record.check_complete(run_folder)
    target = project_root() / "results" / run["profile"] / run["corpus"] / run["notebook"]
    partial = target.with_name(f".{run['notebook']}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(run_folder, partial, ignore=shutil.ignore_patterns("*.ipynb"))
    record.replace_folder(partial, target)
    executed = run_folder / f"{run['notebook']}.ipynb"
    if run["profile"] == "quick" and executed.is_file():
        source = notebooks()[run["notebook"]]
        cleaned = clean(nbformat.read(executed, as_version=4))
        partial_notebook = source.with_suffix(".partial")
        nbformat.write(cleaned, partial_notebook)
        os.replace(partial_notebook, source)
    return target


def clean(executed: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook as it is committed: no injected parameters, timings, widgets, stderr or faces."""
    notebook = copy.deepcopy(executed)
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        tags = cell.metadata.get("tags", [])
        cell.execution_count = count
        cell.outputs = [] if "faces" in tags else [o for o in cell.outputs if o.get("name") != "stderr"]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            for mime in [m for m in output.get("data", {}) if "widget" in m]:
                del output.data[mime]
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags" and v})
    return notebook


def write_scoreboard() -> pd.DataFrame:
    """Rebuild ``results/scoreboard.csv``, ``results/scoreboard.md`` and the table in the README."""
    results = project_root() / "results"
    board = scoreboard(results)
    board.to_csv(results / "scoreboard.csv", index=False, float_format="%.4g", lineterminator="\n")
    text = scoreboard_markdown(board)
    (results / "scoreboard.md").write_text(f"# Scoreboard\n\n{text}", encoding="utf-8")
    readme = project_root() / "README.md"
    marked = re.compile(r"(<!-- scoreboard -->\n).*?(<!-- /scoreboard -->)", re.DOTALL)
    page = marked.sub(lambda m: f"{m[1]}{text}{m[2]}", readme.read_text(encoding="utf-8"))
    readme.write_text(page, encoding="utf-8")
    return board


def scoreboard(results: Path) -> pd.DataFrame:
    """Every committed verdict, one row each: claim, corpus, profile, effect, low, high, seeds, verdict, notebook."""
    rows = []
    for profile in record.PROFILES:
        for path in sorted((results / profile).glob("*/*/claims.json")):
            for id_, claim in json.loads(path.read_text(encoding="utf-8")).items():
                row = {key: claim[key] for key in ("effect", "low", "high", "seeds", "verdict")}
                rows.append(
                    {"claim": id_, "corpus": path.parts[-3], "profile": profile, "notebook": path.parts[-2]} | row
                )
    board = pd.DataFrame(rows, columns=COLUMNS)
    key = board["claim"].str.replace(r"\d+$", lambda m: m[0].zfill(3), regex=True)
    return board.assign(key=key).sort_values(["key", "corpus", "profile"]).drop(columns="key").reset_index(drop=True)


def scoreboard_markdown(board: pd.DataFrame) -> str:
    """The scoreboard for readers, with how many ``reproduced`` chance alone would give."""
    lines = [
        "| claim | corpus | profile | effect | 95% interval | seeds | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in board.itertuples():
        known = pd.notna(row.effect)
        interval = f"[{row.low:.3f}, {row.high:.3f}]" if known else ""
        seeds = f"{row.seeds:.0f}" if pd.notna(row.seeds) else ""
        lines.append(
            f"| {row.claim} | {row.corpus} | {row.profile} | {f'{row.effect:.3f}' if known else ''} | {interval} "
            f"| {seeds} | {row.verdict} |"
        )
    judged = int(board["verdict"].isin(["reproduced", "contradicted", "inconclusive"]).sum())
    counts = ", ".join(f"{n} {verdict}" for verdict, n in board["verdict"].value_counts().sort_index().items())
    lines += [
        "",
        f"{counts or 'Nothing judged yet'}. Had none of the {judged} judged claims any effect, chance alone would "
        f"call {chance_reproduced(judged):.1f} of them reproduced. A claim of several parts shows its weakest part.",
        "",
    ]
    return "\n".join(lines)


def _corpora(notebook: str) -> list[str]:
    return metadata(notebooks()[notebook]).get("corpora", [])
