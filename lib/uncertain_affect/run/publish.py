"""From finished local runs to what the project commits: results, executed notebooks, scoreboard."""

import copy
import re
import shutil
from pathlib import Path

import nbformat
from nbconvert.preprocessors import TagRemovePreprocessor

from uncertain_affect.compute import paths
from uncertain_affect.compute.cache import file_checksum
from uncertain_affect.compute.replacing import replacing
from uncertain_affect.evidence import store
from uncertain_affect.run import layout, scoreboard
from uncertain_affect.run.layout import NO_CORPUS, RECORDED, default_parameters, notebooks
from uncertain_affect.run.reproduce import shown, strip

# an absolute path of two parts or more, on any system; not a fraction, a URL, an HTML tag or "<data root>/weights"
MACHINE_PATH = re.compile(r"(?<![\w/:.<>)\]}$~-])/\w[\w.-]*/[\w.-]+|\b[A-Za-z]:\\{1,2}\w+")
README_TABLE = re.compile(r"(<!-- scoreboard -->\n).*?(<!-- /scoreboard -->)", re.DOTALL)


def promote_all(run_folders: list[Path] | None = None, demonstration: bool = False) -> list[Path]:
    """Copy the finished full runs given, or every one under the results root, to the committed results.

    With ``demonstration`` quick runs too, of a paper that has no full run on their corpus: they show that everything
    runs, and answer nothing. What is committed stays, unless a later run of the same takes its place.

    The scoreboard is rebuilt, and the committed notebooks get new outputs: of a notebook that shows evidence those of
    the profile ``recorded``, see :func:`refresh_outputs`; of another those of its quick run. Runs without a corpus, of
    notebooks that measure on one, are passed over unless they are given. Images of people stay out: outputs of cells
    tagged ``faces`` are dropped, but for simulated faces. The place of the data stays out too.

    Raises:
        ValueError: there is nothing to promote, or nothing has been copied because a run is not finished, is of another
            schema than this version's, was made without the corpus, or is quick and no demonstration, or of other
            parameters than the notebook's own or other code than it has now, or its outputs name paths of this
            machine; or its evidence is missing, not shareable or too large; or what it would replace is of a later
            schema. Or the runs were promoted, and a notebook cannot show their evidence.
    """
    root = layout.results_root()
    found = [folder for folder in sorted(layout.runs(root)) if (folder / "run.json").exists()]
    whole = [f for f in found if layout.measured_in(f)[0] != NO_CORPUS or not layout.about(f.name).get("corpora")]
    there = [*layout.runs(paths.project_root() / "results"), *(f.absolute() for f in run_folders or whole)]
    full = {_measured(folder) for folder in there if folder.parts[-3:-2] == ("full",)}
    extra = [folder for folder in whole if demonstration and _measured(folder) not in full]
    folders = run_folders or [folder for folder in whole if folder.parts[-3] == "full" or folder in extra]
    if not folders:
        kind, profile = ("", "") if demonstration else ("full ", " PROFILE=full")
        raise ValueError(f"no finished {kind}run to promote under {root}: run `make reproduce{profile}` first")
    promotions = [_promotion(folder, full if demonstration else None) for folder in folders]
    _check_total({_target(run): folder for folder, run, _ in promotions})
    targets = [_promote(*promotion) for promotion in promotions]
    write_scoreboard()
    changed = dict.fromkeys(notebooks()[run["notebook"]] for _, run, _ in promotions)
    refresh_outputs([path for path in changed if _shows_evidence(path)])
    return targets


def refresh_outputs(chosen: list[Path]) -> list[Path]:
    """Run committed notebooks with the evidence that is recorded, and keep their outputs.

    Raises:
        ValueError: one shows no evidence, fails, or names a path of this machine; those before it are refreshed.
    """
    for path in chosen:
        with shown(path) as (outcome, folder):
            if outcome.error:
                lines = (f"{path.name} cannot show what is recorded: {outcome.error}", outcome.traceback)
                raise ValueError("\n".join(filter(None, lines)))
            executed = _read_executed(folder / path.name)
        # evidence holds no picture, so that there is none to be dropped
        refreshed = _with_outputs(nbformat.read(path, as_version=4), executed, faces=True)
        _check_outputs(refreshed, path)
        with replacing(path) as file:
            nbformat.write(refreshed, file)
    return chosen


def _shows_evidence(path: Path) -> bool:
    return default_parameters(path).get("PROFILE") == RECORDED


def _check_evidence(folder: Path, run: dict) -> None:
    """Let pass the evidence of a run that may be committed, or none where its notebook needs none.

    Raises:
        ValueError: it is missing, is not what the run recorded, or may not be committed.
    """
    path = folder / store.NAME
    if path.is_file() or store.NAME in run["files"]:
        store.check_committable(path)
        if run["files"].get(store.NAME) != file_checksum(path):
            raise ValueError(f"{path} has changed since it was recorded: run `uncertain-affect reproduce` again")
    elif run["corpus"] != NO_CORPUS and _shows_evidence(notebooks()[run["notebook"]]):
        raise ValueError(f"{folder} holds no {store.NAME}, which {run['notebook']} shows: does it call run.evidence?")


def _check_total(sources: dict[Path, Path]) -> None:
    """Let pass runs, by where they go, with which the committed evidence stays small.

    Raises:
        ValueError: it does not.
    """
    committed = layout.runs(paths.project_root() / "results")
    files = [sources.get(folder, folder) / store.NAME for folder in {*committed, *sources}]
    if (total := sum(file.stat().st_size for file in files if file.is_file())) > store.TOTAL_LIMIT:
        limit = store.TOTAL_LIMIT / 1e6
        raise ValueError(
            f"with these runs {total / 1e6:.1f} MB of evidence would be committed, more than {limit:g}: keep fewer "
            "seeds of single examples, or remove runs that nobody needs"
        )


def _measured(folder: Path) -> tuple[str, str]:
    """What a run is a measurement of: a corpus, and a paper, or a notebook of none."""
    return layout.measured_in(folder)[0], layout.about(folder.name).get("paper") or folder.name


def _promotion(folder: Path, full: set | None = None) -> tuple[Path, dict, nbformat.NotebookNode | None]:
    """A finished run that may be committed, what it says, and the notebook with its outputs where it gets them.

    Quick runs only demonstrate: of nothing that is measured in ``full`` runs, and none at all where that is None.
    """
    run = layout.check_complete(folder)
    name, cure = run["notebook"], "run `uncertain-affect reproduce` again"
    if name not in notebooks():
        raise ValueError(f"{folder} is a run of {name}, which is not in notebooks/ any more")
    if run["corpus"] == NO_CORPUS and layout.about(name).get("corpora"):
        raise ValueError(f"{folder} was run without a corpus: half of {name} is missing")
    executed, source = folder / f"{name}.ipynb", notebooks()[name]
    if not executed.is_file():
        raise ValueError(f"{folder} holds no executed {name}.ipynb: only headless runs are recorded; {cure}")
    if run["schema"] < layout.SCHEMA:
        older = f"the older schema {run['schema']} (now {layout.SCHEMA})"
        raise ValueError(f"{folder} has {older}, and does not say as which claims it was judged; {cure}")
    _check_evidence(folder, run)
    layout.check_replaceable(_target(run))
    refreshed = None
    if run["profile"] == "quick":
        if full is None:
            raise ValueError(f"{folder} is a quick run, which answers nothing: --demonstration promotes it as such")
        if _measured(_target(run)) in full:
            raise ValueError(f"{folder} is a quick run, and its paper has a full one on {run['corpus']}, which answers")
        own, given = default_parameters(source), run["parameters"]
        other = sorted(key for key in own.keys() | given if own.get(key) != given.get(key))
        if other := [key for key in other if key not in layout.PLACE_PARAMETERS]:
            raise ValueError(f"{folder} was run with other parameters than {name} shows: {', '.join(other)}; {cure}")
        simulated = run["corpus"] == "simulated"  # its faces are nobody's
        refreshed = _with_outputs(nbformat.read(source, as_version=4), _read_executed(executed), simulated)
        if refreshed is None:
            raise ValueError(f"{name}.ipynb has changed since {folder} was run; {cure}")
        _check_outputs(refreshed, folder)
    return folder, run, None if _shows_evidence(source) else refreshed


def _check_outputs(notebook: nbformat.NotebookNode, place: Path) -> None:
    for cell in notebook.cells:
        if found := MACHINE_PATH.search(text_of(cell)):
            raise ValueError(f"{place}: the output of cell {cell.id} names a path of this machine, {found[0]}")


def _read_executed(path: Path) -> nbformat.NotebookNode:
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat's own, and whatever meets what is no notebook
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"{path} is no notebook ({reason}); run `uncertain-affect reproduce` again") from error
    return notebook


def _promote(folder: Path, run: dict, refreshed: nbformat.NotebookNode | None) -> Path:
    target = _target(run)
    with replacing(target) as partial:
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns("*.ipynb"))
        if "DATA_ROOT" in run["parameters"]:  # where the reader keeps data is nobody else's business
            layout.write_run(partial, run | {"parameters": run["parameters"] | {"DATA_ROOT": ""}})
    if refreshed is not None:
        with replacing(notebooks()[run["notebook"]]) as file:
            nbformat.write(refreshed, file)
    return target


def _target(run: dict) -> Path:
    place = layout.place(run["profile"], run["corpus"], run["parameters"].get("FEATURES", ""))
    return paths.project_root() / "results" / place / run["notebook"]


def _with_outputs(
    source: nbformat.NotebookNode, executed: nbformat.NotebookNode, faces: bool
) -> nbformat.NotebookNode | None:
    """The source as it is committed, with the outputs of its executed copy; None where the code differs."""
    ran = {cell.id: cell for cell in clean(executed, faces).cells if cell.cell_type == "code"}
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    if [(cell.id, cell.source) for cell in code] != [(id_, cell.source) for id_, cell in ran.items()]:
        return None
    for cell in code:
        cell.outputs, cell.execution_count = ran[cell.id].outputs, ran[cell.id].execution_count
    return clean(source, faces)


def text_of(cell: nbformat.NotebookNode) -> str:
    """What a cell's outputs hold in words."""
    texts = [output.get("text", "") for output in cell.get("outputs", [])]
    for output in cell.get("outputs", []):
        texts += [text for mime, text in output.get("data", {}).items() if mime.startswith("text/")]
    return "\n".join(texts)


def clean(executed: nbformat.NotebookNode, faces: bool = False) -> nbformat.NotebookNode:
    """An executed notebook as it is committed: no injected parameters, timings, widgets or stderr.

    Outputs of cells tagged ``faces`` go too, unless ``faces`` says that these may stay.
    """
    removal = TagRemovePreprocessor(remove_cell_tags={"injected-parameters"})
    removal.remove_all_outputs_tags = set() if faces else {"faces"}
    notebook, _ = removal.preprocess(copy.deepcopy(executed), {})
    strip(notebook)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    return notebook


def write_scoreboard() -> None:
    """Rebuild what is generated from the committed results, see :func:`generated`.

    Raises:
        ValueError: the README has no place for the table.
    """
    for path, text in generated().items():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")


def generated() -> dict[Path, str]:
    """What the committed results give: ``results/scoreboard.csv`` and ``.md``, ``results/verdicts.svg``, the
    README's summary.

    Raises:
        ValueError: the README has no place for the table.
    """
    root = paths.project_root()
    results, readme = root / "results", root / "README.md"
    page = readme.read_text(encoding="utf-8")
    if not README_TABLE.search(page):
        raise ValueError(f"{readme} has no <!-- scoreboard --> ... <!-- /scoreboard --> around the scoreboard's table")
    board = scoreboard.board(results)
    table = scoreboard.frame(board).to_csv(index=False, float_format="%.4g", lineterminator="\n")
    return {
        results / "scoreboard.csv": table,
        results / "scoreboard.md": f"# Scoreboard\n\n{scoreboard.markdown(board)}",
        results / "verdicts.svg": scoreboard.verdicts(board),
        readme: README_TABLE.sub(lambda m: f"{m[1]}{scoreboard.compact(board)}{m[2]}", page),
    }
