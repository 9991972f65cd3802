"""From a finished run to what is committed, in a checkout of one notebook that claims things of UncNet."""

import json
import shutil
from unittest.mock import Mock
from xml.etree import ElementTree

import building
import nbformat
import pandas as pd
import pytest
import yaml
from nbformat import v4

from uncertain_affect.compute import paths
from uncertain_affect.evidence import printed
from uncertain_affect.run import layout, publish, record, verify

NAME = "11_one"
ORDER = ("uncnet", "distill", "pen", "rock", "ugn")  # that of the notebooks, then by name
README = "# Title\n\n<!-- scoreboard -->\nold\n<!-- /scoreboard -->\n\nThe rest.\n"
OWN = {"PROFILE": "quick", "CORPUS": "ferplus", "SEED": 0, "DEVICE": "auto", "DATA_ROOT": "", "FEATURES": "hog"}
PARAMETERS_CELL = "\n".join(f"{name} = {value!r}  # meaning" for name, value in OWN.items())
CODE = {"cell-run": "run = 1", "cell-show": "show()", "cell-face": "show_faces()", "cell-end": "run.finish()"}
TAGS = {"cell-run": ["needs-corpus", "nbval-skip"], "cell-face": ["faces"]}


def make_notebook():
    about = {"corpora": ["ferplus"], "tables": ["table2"], "figures": ["figure2"], "claims": ["uncnet.c1"]}
    cells = [(source, TAGS.get(id_, [])) for id_, source in CODE.items()]
    notebook = building.make_notebook(PARAMETERS_CELL, *cells, **about)
    for cell, id_ in zip(notebook.cells, ["cell-title", "cell-par", *CODE], strict=True):
        cell.id = id_
    notebook.cells[-1].metadata["alt"] = "What its picture shows."
    return notebook


def execute(notebook, text="as measured\n"):
    """What papermill makes of a notebook, with an output of every kind."""
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "0%|     | 0/7"}
    picture = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 10x10 with 1 Axes>"}
    outputs = {
        "cell-run": [
            v4.new_output("stream", name="stderr", text="a warning in /home/me/x.py"),
            v4.new_output("display_data", data=widget),
            v4.new_output("stream", name="stdout", text=text),
        ],
        "cell-show": [v4.new_output("execute_result", data={"text/plain": "3"}, execution_count=9)],
        "cell-face": [v4.new_output("display_data", data=picture)],
    }
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 7):
        cell.execution_count, cell.outputs = count, outputs.get(cell.id, [])
        cell.metadata["papermill"] = {"duration": 1.0}
    injected = v4.new_code_cell("DATA_ROOT = '/home/me/data'", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(2, injected)
    notebook.metadata |= {"papermill": {"input_path": "/home/me/in.ipynb"}, "widgets": {"state": {}}}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.99.0"}
    return notebook


@pytest.fixture
def checkout(checkout):
    (checkout / "README.md").write_text(README)
    nbformat.write(make_notebook(), checkout / "notebooks" / f"{NAME}.ipynb")
    return checkout


def finish(checkout, profile="quick", corpus="ferplus", name=NAME, executed=None, effects=None, **parameters):
    """A finished local run."""
    given = OWN | {"PROFILE": profile, "CORPUS": corpus, "DATA_ROOT": "../../me/data"} | parameters
    run = record.Run(name, profile=profile, corpus=corpus, parameters=given)
    run.table("table2", pd.DataFrame({"ECE": [1.0]}, index=["UncNet"]))
    building.measured(run, "uncnet")
    for claim, (estimate, low, high) in (effects or {"uncnet.c1": (0.4, 0.3, 0.5)}).items():
        run.judge(claim, building.effect(estimate, (high - low) / 2))
    run.needs("uncnet.c3", "the truth")
    folder = run.finish()
    nbformat.write(executed or execute(make_notebook()), folder / f"{name}.ipynb")
    return folder


def promote(folder):
    (target,) = publish.promote_all([folder], demonstration=True)
    return target


def committed(checkout):
    return nbformat.read(checkout / "notebooks" / f"{NAME}.ipynb", as_version=4)


def everything(checkout):
    """All files but the reader's own runs."""
    return {p: p.read_bytes() for p in checkout.rglob("*") if p.is_file() and "local" not in p.parts}


# --- results ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_results_are_copied_without_the_executed_notebook_and_the_place_of_the_data(checkout, profile):
    folder = finish(checkout, profile)
    target = promote(folder)
    assert target == checkout / "results" / profile / "ferplus+hog" / NAME
    names = sorted(path.name for path in target.rglob("*") if path.is_file())
    assert names == ["claims.json", "run.json", "table2.csv"]
    assert (target / "claims.json").read_bytes() == (folder / "claims.json").read_bytes()
    assert (folder / f"{NAME}.ipynb").exists()  # the reader's own run is left as it is
    assert [path.name for path in target.parent.iterdir()] == [NAME]
    run, mine = layout.check_complete(target), layout.check_complete(folder)
    assert mine["parameters"]["DATA_ROOT"] == "../../me/data"
    assert run.pop("checksum") != mine.pop("checksum")
    assert run == mine | {"parameters": mine["parameters"] | {"DATA_ROOT": ""}}
    assert verify.check_run(target) == []


def test_a_later_run_replaces_the_committed_one_whole_and_a_crash_leaves_it(checkout, monkeypatch):
    target = promote(finish(checkout))
    (target / "tables" / "stale.csv").touch()
    promote(finish(checkout))
    assert [path.name for path in (target / "tables").iterdir()] == ["table2.csv"]
    before, folder = everything(checkout), finish(checkout)
    monkeypatch.setattr(layout, "write_json", Mock(side_effect=OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        promote(folder)
    assert everything(checkout) == before


# --- the notebook -----------------------------------------------------------------------------------------


def test_a_quick_run_refreshes_the_committed_notebook(checkout):
    promote(finish(checkout))
    notebook = committed(checkout)
    nbformat.validate(notebook)
    before, cells = make_notebook(), {cell.id: cell for cell in notebook.cells}
    assert [(c.id, c.source) for c in notebook.cells] == [(c.id, c.source) for c in before.cells]
    assert notebook.metadata == before.metadata
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == [1, 2, 3, 4, 5]
    assert [output.text for output in cells["cell-run"].outputs] == ["as measured\n"]
    assert cells["cell-show"].outputs[0].execution_count == 3
    assert cells["cell-face"].outputs == []
    assert [dict(cell.metadata) for cell in notebook.cells] == [dict(cell.metadata) for cell in before.cells]
    text = (checkout / "notebooks" / f"{NAME}.ipynb").read_text()
    assert all(word not in text for word in ("/home/me", "papermill", "widget", "injected", "stderr"))
    assert [path.name for path in (checkout / "notebooks").iterdir()] == [f"{NAME}.ipynb"]
    once = everything(checkout)
    promote(checkout / "results" / "local" / "quick" / "ferplus+hog" / NAME)
    assert everything(checkout) == once


def test_a_full_run_leaves_the_committed_notebook_and_prose_may_have_changed_since_a_run_but_code_may_not(checkout):
    before = committed(checkout)
    promote(finish(checkout, "full", SEED=100))
    assert committed(checkout) == before

    shutil.rmtree(checkout / "results" / "full")
    folder = finish(checkout)
    source = make_notebook()
    source.cells[0].source = "# A better title"
    nbformat.write(source, checkout / "notebooks" / f"{NAME}.ipynb")
    promote(folder)
    assert committed(checkout).cells[0].source == "# A better title"
    assert committed(checkout).cells[2].outputs

    source.cells[3].source = "show_more()"
    nbformat.write(source, checkout / "notebooks" / f"{NAME}.ipynb")
    before = everything(checkout)
    with pytest.raises(ValueError, match=r"11_one.ipynb has changed since .* reproduce` again"):
        promote(folder)
    assert everything(checkout) == before


# --- what may not be committed ----------------------------------------------------------------------------


def refused(checkout, folder, message):
    other = building.write_notebook(checkout / "notebooks", "92_of_no_paper", "SEED = 0", paper=None).stem
    before = everything(checkout)
    for runs in ([folder], [finish(checkout, "full", "none", other), folder]):
        with pytest.raises(ValueError, match=message):
            publish.promote_all(runs, demonstration=True)
        assert everything(checkout) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"corpus": "none"}, "was run without a corpus"),
        ({"SEED": 7}, "other parameters than 11_one shows: SEED"),
        ({"name": "19_gone"}, "19_gone, which is not in notebooks/ any more"),
    ],
)
def test_a_run_of_something_else_than_is_committed(checkout, given, message):
    refused(checkout, finish(checkout, **given), message)


def test_an_unfinished_run_one_by_hand_and_a_folder_that_is_not_there(checkout):
    for place in (checkout / "nowhere", type(checkout)("/")):
        refused(checkout, place, "not a finished run")
    folder = finish(checkout)
    (folder / f"{NAME}.ipynb").unlink()
    refused(checkout, folder, "holds no executed 11_one.ipynb")
    (folder / "claims.json").unlink()
    refused(checkout, folder, "not a finished run: claims.json is missing")


@pytest.mark.parametrize("path", ["/home/me/data/a.csv", "C:\\Users\\me", "in '/tmp/x/y'", "(/opt/a.b/c-d)"])
def test_outputs_that_name_paths_of_this_machine_which_other_slashes_are_not(checkout, path):
    folder = finish(checkout, executed=execute(make_notebook(), f"read {path}\n"))
    refused(checkout, folder, "the output of cell cell-run names a path of this machine, ")
    slashes = "1963 / 3579|a/b/c|https://arxiv.org/abs/1909.09285|<td>a</td>|<data root>/weights/x.pt|./a|~/a/b"
    assert not any(publish.MACHINE_PATH.search(text) for text in slashes.split("|"))


def test_a_run_of_another_form_or_schema_and_a_committed_one_of_a_later(checkout):
    folder = finish(checkout)
    run = layout.check_complete(folder)
    layout.write_json(folder / "run.json", {key: value for key, value in run.items() if key != "corpus"})
    refused(checkout, folder, "run.json: corpus: Field required; run the notebook again")
    layout.write_json(folder / "run.json", {key: value for key, value in run.items() if key != "schema"})
    refused(
        checkout, folder, "run.json is no record of a run, or of an earlier version of this project; run the notebook"
    )
    layout.write_run(folder, run | {"schema": 2})
    refused(
        checkout, folder, r"has the older schema 2 \(now 3\), and does not say as which claims .*; run `uncertain-af"
    )
    layout.write_json(folder / "run.json", run)
    layout.write_json(promote(folder) / "run.json", run | {"schema": 99})
    refused(checkout, finish(checkout), "schema 99, of a later version .* is left as it is: update the checkout")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 5000, b'{"cells": 1, "metadata": {}, "nbformat": 4}'])
def test_an_executed_notebook_that_is_none(checkout, content):
    folder = finish(checkout)
    (folder / f"{NAME}.ipynb").write_bytes(content)
    refused(checkout, folder, f"{NAME}.ipynb is no notebook .*; run `uncertain-affect reproduce` again")


# --- all of them ------------------------------------------------------------------------------------------


def test_every_finished_full_run_is_promoted_but_those_without_their_corpus(checkout):
    finish(checkout, "full", corpus="none")
    finish(checkout)
    with pytest.raises(ValueError, match=r"no finished full run .* under .*local: run `make reproduce PROFILE=full`"):
        publish.promote_all()
    finish(checkout, "full")
    unfinished = checkout / "results" / "local" / "full" / "ferplus+hog" / ".12_two.1.partial"
    unfinished.mkdir()
    (unfinished / "run.json").touch()
    results = checkout / "results"
    assert publish.promote_all() == [results / "full" / "ferplus+hog" / NAME]
    board = pd.read_csv(results / "scoreboard.csv").set_index("claim")
    assert board.loc["uncnet.c1", ["profile", "answer"]].tolist() == ["full", "holds"]


def test_a_quick_run_is_promoted_as_a_demonstration_alone_where_its_paper_has_no_full_one(checkout):
    folder, results = finish(checkout), checkout / "results"
    with pytest.raises(ValueError, match="is a quick run, which answers nothing: --demonstration promotes it as such"):
        publish.promote_all([folder])
    assert publish.promote_all(demonstration=True) == [results / "quick" / "ferplus+hog" / NAME]
    assert "not yet: demonstration only" in (results / "scoreboard.md").read_text()

    other = building.write_notebook(checkout / "notebooks", "12_two", "SEED = 0", corpora=["ferplus"]).stem
    full = finish(checkout, "full", name=other, effects={"uncnet.c2": (0.0, -0.01, 0.01)})
    assert publish.promote_all(demonstration=True) == [results / "full" / "ferplus+hog" / other]
    assert (results / "quick" / "ferplus+hog" / NAME / "claims.json").is_file()  # what was committed stays
    for runs in ([folder], [full, folder]):
        with pytest.raises(ValueError, match="its paper has a full one on ferplus, which answers"):
            publish.promote_all(runs, demonstration=True)


# --- what is generated ------------------------------------------------------------------------------------


def test_the_scoreboard_has_a_row_for_each_claim_and_stands_in_the_readme(checkout):
    promote(finish(checkout, "full", effects={"uncnet.c1": (-0.4, -0.5, -0.3)}))
    board = pd.read_csv(checkout / "results" / "scoreboard.csv")
    assert list(board["claim"]) == [id_ for key in ORDER for id_ in printed.load(key).claims]
    row = board.set_index("claim").loc["uncnet.c1"]
    assert row[["answer", "evidence", "effect"]].tolist() == ["fails", "paper's corpus, other features", -0.4]
    page = (checkout / "results" / "scoreboard.md").read_text()
    assert page.startswith("# Scoreboard\n\n**51 claims.** On recordings 1: 1 fail. In the simulated world alone 0.")
    readme = (checkout / "README.md").read_text()
    start, end = README.split("old\n")
    assert readme.startswith(f"{start}**51 claims.** On recordings 1: 1 fail.")
    assert readme.endswith(end)
    assert "old" not in readme.split()
    drawn = ElementTree.fromstring((checkout / "results" / "verdicts.svg").read_text())
    counts = [int(text.text) for text in drawn.findall("{*}text") if text.text.isdigit()]
    assert sum(counts) == 51 and "Ghandeharioun et al. 2019: 1 fails, 9 no answer yet" in drawn.get("aria-label")
    publish.write_scoreboard()
    assert (checkout / "README.md").read_text() == readme


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("uncnet.c5", "uncnet.c99", r"11_one/claims\.json does not hold answers \(uncnet makes no claim uncnet.c99; "),
        ('"parts"', "", r"11_one/claims\.json does not hold answers .*: restore it, or run the notebook again"),
    ],
)
def test_answers_that_cannot_be_shown_are_named_and_nothing_is_rebuilt(checkout, old, new, message):
    run = record.Run(NAME, profile="quick", corpus="ferplus", parameters={})
    run.judge("uncnet.c5", dict.fromkeys(printed.claim("uncnet.c5").parts, building.effect(0.2)))
    committed_run = publish._target(layout.check_complete(run.finish()))
    shutil.copytree(layout.results_root() / "quick" / "ferplus" / NAME, committed_run)
    path = committed_run / "claims.json"
    path.write_text(path.read_text().replace(old, new))
    before = everything(checkout)
    with pytest.raises(ValueError, match=message):
        publish.write_scoreboard()
    assert everything(checkout) == before


def test_a_scoreboard_of_nothing_a_full_disk_and_a_readme_without_a_place_for_the_table(checkout, monkeypatch):
    publish.write_scoreboard()
    assert "**51 claims.** On recordings 0. In the simulated world alone 0." in (checkout / "README.md").read_text()
    promote(finish(checkout))
    before = everything(checkout)

    def full_disk(path, text, **_):
        path.touch()
        raise OSError("no space left")

    with monkeypatch.context() as full, pytest.raises(OSError, match="no space"):
        full.setattr(type(checkout), "write_text", full_disk)
        publish.write_scoreboard()
    assert everything(checkout) == before
    (checkout / "README.md").write_text("# Title\n")
    with pytest.raises(ValueError, match=r"README.md has no <!-- scoreboard -->"):
        publish.write_scoreboard()


def test_the_citation_refers_to_the_five_papers():
    root = paths.project_root()
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    papers = [printed.load(key).info for key in printed.keys()]
    expected = {(paper["title"], paper["year"], paper["url"]) for paper in papers}
    assert {(r["title"], r["year"], r["url"]) for r in citation["references"]} == expected


def test_committed_runs_do_not_say_where_the_data_lay():
    for folder in layout.runs(paths.project_root() / "results"):
        assert not layout.read_run(folder)["parameters"].get("DATA_ROOT")
        assert not publish.MACHINE_PATH.search((folder / "run.json").read_text(encoding="utf-8"))
