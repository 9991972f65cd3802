"""The driver, on tiny notebooks that do all that a notebook can do wrong. One batch of real executions is shared."""

import contextlib
import errno
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter

import building
import nbformat
import pytest

from uncertain_affect.compute import paths
from uncertain_affect.models.backbones import PUBLISHED_WEIGHTS
from uncertain_affect.run import layout, reproduce
from uncertain_affect.run.reproduce import SelectionError

PARAMETERS = """
PROFILE = "quick"  # "quick" or "full"
CORPUS = "ferplus"
SEED = 0
LEARNING_RATE = 1e-3
DROPOUT = True
DATA_ROOT = ""
LAYERS = [128, 128]
LIMIT = None
""".strip()
NAMES = "PROFILE CORPUS SEED LEARNING_RATE DROPOUT DATA_ROOT LAYERS LIMIT"
# What record.Run leaves, without the seconds it takes to import it
RECORD = f"""
import json, os, pathlib
folder = pathlib.Path(os.environ["UNCERTAIN_AFFECT_RESULTS"], PROFILE, CORPUS, "NOTEBOOK")
for sub in ("tables", "figures"):
    (folder / sub).mkdir(parents=True)
parameters = {{name: globals()[name] for name in "{NAMES}".split()}}
(folder / "run.json").write_text(json.dumps({building.SAID} | {{"parameters": parameters}}))
claims = dict.fromkeys(["uncnet.c1", "uncnet.c2"], {{"answer": "holds"}})
(folder / "claims.json").write_text(json.dumps(claims))
"""
RUN = f"""
from uncertain_affect.run import record

parameters = {{name: globals()[name] for name in "{NAMES}".split()}}
run = record.Run("NOTEBOOK", profile=PROFILE, corpus=CORPUS, parameters=parameters)
run.needs("uncnet.c1", "a corpus")
run.finish()
"""


def write_notebook(folder, name, *sources, corpora=("ferplus",), parameters=PARAMETERS, paper="uncnet"):
    """A notebook whose sources know its name."""
    sources = [s if isinstance(s, tuple) else s.replace("NOTEBOOK", name) for s in sources]
    return building.write_notebook(folder, name, parameters, *sources, corpora=list(corpora), paper=paper)


@pytest.fixture
def notebook(checkout):
    return write_notebook(checkout / "notebooks", "11_one", RECORD)


# --- running ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Outcomes by notebook of one run over all, its lines of progress, the folder of its results, that of failures."""
    root = tmp_path_factory.mktemp("checkout")
    folder, results = root / "notebooks", root / "results" / "local"
    shutil.copytree(paths.project_root() / "results" / "printed", root / "results" / "printed")
    write_notebook(folder, "11_fails", "print('before')", "raise ValueError('broken on purpose')", RECORD)
    write_notebook(folder, "12_exits", "import sys; sys.exit(0)", RECORD)
    write_notebook(folder, "13_dies", "import os; os._exit(1)", RECORD)
    write_notebook(folder, "14_records", ("raise RuntimeError('there is no corpus')", ["needs-corpus"]), RECORD)

    place, failed = results / "quick" / "none", results / "failed" / "quick" / "none"
    for name in ("11_fails", "12_exits", "14_records"):  # finished runs of yesterday
        (place / name).mkdir(parents=True)
        (place / name / "yesterday.csv").touch()
    failed.mkdir(parents=True)
    (failed / "14_records.ipynb").touch()
    # and what a killed run left, of a process that is gone
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (place / f".13_dies.{socket.gethostname()}.{gone.pid}.abc").mkdir()
    # killed between the two steps of moving a finished run into place
    (place / ".92_audit.old").mkdir()

    lines = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "project_root", lambda: root)
        patch.delenv("UNCERTAIN_AFFECT_DATA", raising=False)
        patch.setenv("UNCERTAIN_AFFECT_RESULTS", str(results))
        with contextlib.redirect_stdout(lines):
            outcomes = reproduce.reproduce(
                reproduce.select(), parameters={"SEED": "7", "LEARNING_RATE": "1"}, progress=print
            )
        assert os.environ["UNCERTAIN_AFFECT_RESULTS"] == str(results)
    return {outcome.notebook: outcome for outcome in outcomes}, lines.getvalue(), place, failed


def test_a_finished_run_is_moved_into_place_with_its_executed_notebook(batch):
    outcomes, _, place, _ = batch
    executed = nbformat.read(place / "14_records" / "14_records.ipynb", as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert "there is no corpus" not in "".join(cell.source for cell in executed.cells)  # where one is needed
    assert outcomes["14_records"].corpus == "none"
    assert not (place / "14_records" / "yesterday.csv").exists()
    assert outcomes["14_records"].answers == {"holds": 2}
    given = {"PROFILE": "quick", "CORPUS": "none", "SEED": 7, "LEARNING_RATE": 1.0, "DROPOUT": True}
    given |= {"DATA_ROOT": "data", "LAYERS": [128, 128], "LIMIT": None}
    assert layout.check_complete(place / "14_records")["parameters"] == given


def test_a_failed_copy_is_kept_with_its_error_and_earlier_results_stay(batch):
    outcomes, _, place, failed = batch
    failed /= "11_fails.ipynb"
    assert outcomes["11_fails"].error == f"PapermillExecutionError: ValueError: broken on purpose (see {failed})"
    outputs = [o for cell in nbformat.read(failed, as_version=4).cells for o in cell.get("outputs", [])]
    assert [o.get("evalue") for o in outputs if o.output_type == "error"] == ["broken on purpose"]
    assert any(o.get("text") == "before\n" for o in outputs)
    assert [path.name for path in (place / "11_fails").iterdir()] == ["yesterday.csv"]
    assert outcomes["11_fails"].traceback.splitlines()[-1] == "ValueError: broken on purpose"
    assert "\x1b" not in outcomes["11_fails"].traceback


def test_a_notebook_that_stops_early_failed_though_an_earlier_record_is_there_and_so_did_a_dead_kernel(batch):
    outcomes, _, place, _ = batch
    assert "nothing was recorded as quick/none/12_exits: did the last cell run" in outcomes["12_exits"].error
    assert (place / "12_exits" / "yesterday.csv").exists()
    assert outcomes["13_dies"].error.startswith("DeadKernelError: Kernel died")


def test_nothing_is_left_but_results_and_failed_copies_that_say_neither_when_nor_where(batch):
    _, _, place, failed = batch
    assert {path.name for path in place.iterdir()} == {"11_fails", "12_exits", "14_records", "92_audit"}
    assert {path.name for path in place.parents[1].iterdir()} == {"quick", "failed"}
    assert {path.name for path in failed.iterdir()} == {"11_fails.ipynb", "12_exits.ipynb", "13_dies.ipynb"}
    for path in (place / "14_records" / "14_records.ipynb", failed / "11_fails.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in (str(place.parents[3]), '"papermill"', "start_time"))
    for path in (place.parents[3] / "notebooks").iterdir():  # which are not touched
        assert path.suffix == ".ipynb"
        assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)


def test_seconds_of_cells_and_memory_are_noted_and_there_is_a_line_of_progress_for_each_notebook(batch):
    outcomes, lines, place, _ = batch
    assert [name for name, outcome in outcomes.items() if outcome.error is None] == ["14_records"]
    assert all(outcome.seconds > 0 for outcome in outcomes.values())
    executed = nbformat.read(place / "14_records" / "14_records.ipynb", as_version=4)
    assert {cell.id for cell in executed.cells} - {"injected-parameters"} <= outcomes["14_records"].cells.keys()
    assert sum(outcomes["14_records"].cells.values()) > 0
    assert outcomes["14_records"].memory > 10 * 2**20
    first, *_, last = lines.splitlines()
    assert lines.count("\n") == 4
    assert first.startswith("[1/4] 11_fails on none: FAILED in ")
    assert last.startswith("[4/4] 14_records on none: done in ")


def test_a_kernel_is_gone_and_its_memory_free_before_the_next_notebook_starts(checkout, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_RESULTS", str(checkout / "local"))
    pid = f"pathlib.Path({str(checkout / 'pid')!r})"
    first = f"import os, pathlib; {pid}.write_text(str(os.getpid()))"
    write_notebook(checkout / "notebooks", "11_first", first, RECORD)
    then = f"import pathlib, psutil; assert not psutil.pid_exists(int({pid}.read_text())), 'still there'"
    write_notebook(checkout / "notebooks", "12_then", then, RECORD)
    outcomes = reproduce.reproduce(reproduce.select())
    assert {outcome.notebook: outcome.error for outcome in outcomes} == {"11_first": None, "12_then": None}
    assert (checkout / "pid").read_text() != str(os.getpid())


def execute_in_place(source, output, parameters, **_):
    """A stand-in for papermill: runs the code cells here, without a kernel."""
    scope = {}
    for cell in source.cells:
        if cell.cell_type == "code":
            exec(cell.source, scope)
            if "parameters" in cell.metadata.get("tags", []):
                scope |= parameters
    nbformat.write(source, output)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"parameters": parameters', '"parameters": parameters | {"SEED": 99}'), "other parameters than .*: SEED"),
        (('"parameters": parameters', '"parameters": {}'), "other parameters than .*: CORPUS, DATA_ROOT, DROPOUT, "),
        (("CORPUS,", "'another',"), "nothing was recorded as quick/none/11_one"),
        (("claims.json", "claim.json"), "not a finished run: claims.json is missing"),
        (("PROFILE, CORPUS", "'full', CORPUS"), "nothing was recorded as quick/none/11_one"),
    ],
)
def test_a_record_that_is_not_of_this_run_is_a_failure_and_goes_nowhere(checkout, monkeypatch, change, message):
    monkeypatch.setattr(reproduce.papermill, "execute_notebook", execute_in_place)
    assert change[0] in RECORD
    path = write_notebook(checkout / "notebooks", "11_one", RECORD.replace(*change))
    (outcome,) = reproduce.reproduce([path])
    assert re.search(message, outcome.error)
    left = [path for folder in ("local", "failed") for path in (checkout / "results" / folder).rglob("*.*")]
    assert [path for path in left if path.is_file()] == [checkout / "results/failed/quick/none/11_one.ipynb"]


def test_results_of_record_run_are_taken(checkout, monkeypatch):
    monkeypatch.setattr(reproduce.papermill, "execute_notebook", execute_in_place)
    path = write_notebook(checkout / "notebooks", "11_one", RUN)
    (outcome,) = reproduce.reproduce([path], parameters={"LIMIT": "nan"})
    assert outcome.error is None
    assert outcome.answers == {"needs": 1}


def test_the_summary_is_a_table():
    outcomes = [
        reproduce.Outcome("11_short", "ferplus", 3.4, Counter({"open": 2, "holds": 1})),
        reproduce.Outcome("12_with_a_longer_name", "none", 120, error="ValueError: no"),
        reproduce.Outcome("92_audit", "none", 5),
    ]
    assert reproduce.summary(outcomes) == (
        "notebook               corpus   seconds  answers\n"
        "11_short               ferplus  3        1 holds, 2 open\n"
        "12_with_a_longer_name  none     120      FAILED\n"
        "92_audit               none     5        -"
    )


def test_an_interrupt_passes_through_and_leaves_nothing(checkout, notebook, monkeypatch):
    def interrupted(source, output, *_, **__):
        nbformat.write(source, output)
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce.papermill, "execute_notebook", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reproduce.reproduce([notebook])
    assert not [path for path in (checkout / "results" / "local").rglob("*") if path.is_file()]
    assert "UNCERTAIN_AFFECT_RESULTS" not in os.environ


FULL_DISK = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("problem", "line", "cure"),
    [
        (OSError("first line\nand the last"), "OSError: and the last", None),
        (FULL_DISK, "OSError: [Errno 28] No space left on device", "a disk is full: make room for results and"),
        (("OSError", "[Errno 28] No space left on device"), None, "a disk is full: make room"),
        (("MemoryError", "Unable to allocate 3 GiB"), None, "out of memory: close other programs or use fewer --work"),
        (("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried to"), None, "out of memory"),
        (("ValueError", "broken"), None, None),
    ],
)
def test_a_failure_of_any_kind_is_a_line_with_a_cure_where_the_machine_lacks_something_else_with_the_traceback(
    notebook, monkeypatch, problem, line, cure
):
    of_a_cell = isinstance(problem, tuple)
    if of_a_cell:
        line = ": ".join(problem)
        problem = reproduce.papermill.PapermillExecutionError(0, 1, "work()", *problem, ["in work", line])

    def fails(*_, **__):
        raise problem

    monkeypatch.setattr(reproduce.papermill, "execute_notebook", fails)
    (outcome,) = reproduce.reproduce([notebook])
    assert line in outcome.error
    assert (f"; {cure}" in outcome.error) if cure else ("; " not in outcome.error)
    assert outcome.traceback == (f"in work\n{line}" if of_a_cell and not cure else "")


def test_without_the_loopback_interface_nothing_runs(notebook, nothing_runs, monkeypatch):
    def unreachable(*_, **__):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(reproduce.socket, "create_connection", unreachable)
    message = r"loopback interface, .*unreachable.*`ip link set lo up`.*nothing was run"
    with pytest.raises(SelectionError, match=message):
        reproduce.reproduce([notebook])


def test_results_that_cannot_be_written_or_are_of_a_later_version_are_refused_before_anything_runs(
    checkout, notebook, nothing_runs, monkeypatch
):
    folder = checkout / "results" / "local" / "quick" / "none" / "11_one"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(f'{{"schema": {layout.SCHEMA + 1}}}')
    with pytest.raises(layout.SchemaError):
        reproduce.reproduce([notebook])
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    (checkout / "file").touch()
    monkeypatch.setenv("UNCERTAIN_AFFECT_RESULTS", str(checkout / "file" / "results"))
    with pytest.raises(SelectionError, match=r"results cannot be written to .*file/results .*; nothing was run"):
        reproduce.reproduce([notebook])


@pytest.mark.parametrize(
    ("limit", "source", "message"),
    [
        ({"memory": 300 * 2**20}, "hog = bytearray(400 * 2**20)", r"MemoryError: took 0\.[3-9]\d GiB of memory, more"),
        ({"seconds": 3}, "", r"TimeoutError: took longer than 0\.05 minutes"),
    ],
)
def test_a_notebook_that_takes_too_much_is_stopped(checkout, limit, source, message):
    path = write_notebook(checkout / "notebooks", "11_one", "print('before')", f"import time; {source}\ntime.sleep(60)")
    (outcome,) = reproduce.reproduce([path], options=reproduce.RunOptions(**limit))
    assert re.match(message, outcome.error)
    assert outcome.seconds < 30
    kept = (checkout / "results" / "failed" / "quick" / "none" / "11_one.ipynb").read_text(encoding="utf-8")
    assert "before" in kept


def test_a_page_is_written_beside_the_executed_notebook(checkout, notebook):
    (outcome,) = reproduce.reproduce([notebook], options=reproduce.RunOptions(html=True))
    assert outcome.error is None
    page = checkout / "results" / "local" / "quick" / "none" / "11_one" / "11_one.html"
    assert "Title" in page.read_text(encoding="utf-8")


# --- choosing notebooks -----------------------------------------------------------------------------------


@pytest.fixture
def three(checkout):
    with pytest.raises(SelectionError, match="no notebooks of any paper"):
        reproduce.select()
    folder = checkout / "notebooks"
    write_notebook(folder, "draft")  # without a number
    papers = {"11_one": "uncnet", "12_two": "uncnet", "92_audit": None}
    return [write_notebook(folder, name, paper=paper) for name, paper in papers.items()]


CHOICES = [
    ([], None, [0, 1, 2]), ([], "uncnet", [0, 1]), (["12"], None, [1]), (["12_two"], None, [1]),
    (["notebooks/12_two.ipynb"], None, [1]), (["92", "11"], None, [2, 0]), (["11", "11_one"], None, [0]),
    (["11"], "uncnet", [0]),
]  # fmt: skip
NO_CHOICES = [
    (["13"], None, "no notebook '13'; known: 11_one, 12_two, 92_audit"),
    (["draft"], None, "no notebook 'draft'"),
    (["1"], None, "no notebook '1'"),
    (["92"], "uncnet", "no notebook '92'; known: 11_one, 12_two"),
    ([], "other", "no paper 'other'; known: distill, pen, rock, ugn, uncnet"),
    ([], "ugn", "no notebooks of ugn in "),
]


def test_notebooks_are_chosen_by_number_name_file_and_paper(three):
    for names, paper, expected in CHOICES:
        assert reproduce.select(names, paper) == [three[i] for i in expected]
    for names, paper, message in NO_CHOICES:
        with pytest.raises(SelectionError, match=message):
            reproduce.select(names, paper)


def test_notebooks_are_chosen_by_claim_table_and_figure(three):
    first, second = {"claims": ["uncnet.c1"], "tables": ["table1"]}, {"figures": ["figure2"]}
    for path, owned in zip(three[:2], (first, second), strict=True):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata["uncertain_affect"] |= owned
        nbformat.write(notebook, path)
    assert reproduce.select(claim="uncnet.c1") == [three[0]]
    assert reproduce.select(table="uncnet.table1") == [three[0]]
    assert reproduce.select(paper="uncnet", table="figure2") == [three[1]]
    with pytest.raises(SelectionError, match=r"no notebook owns claim 'uncnet\.c2'; owned: uncnet\.c1"):
        reproduce.select(claim="uncnet.c2")
    with pytest.raises(SelectionError, match=r"no notebook owns table or figure 'table1'; owned: uncnet\.table1, "):
        reproduce.select(table="table1")


def test_a_plan_says_what_recorded_runs_took(checkout, notebook):
    other = write_notebook(checkout / "notebooks", "12_two", RECORD)
    for corpus, seconds in (("ferplus", 200), ("meld", 30)):
        folder = checkout / "results" / "quick" / corpus / "11_one"
        folder.mkdir(parents=True)
        layout.write_json(folder / "run.json", building.SAID | {"seconds": seconds + 0.4})
    assert reproduce.plan_table(reproduce.plan([notebook, other])).splitlines() == [
        "notebook  corpus  profile  seconds  recorded",
        "11_one    none    quick    200      quick on ferplus",
        "12_two    none    quick    unknown  -",
        "",
        "2 notebooks, 200 s on the machine that recorded them, one after another; 1 not recorded yet",
    ]
    assert not (checkout / "results" / "local").exists()


def test_a_plan_names_the_papers_own_features_where_their_weights_are(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce.corpora, "is_available", lambda *_: True)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / PUBLISHED_WEIGHTS["casia-webface"][0]).touch()
    asked = {"corpus": "ferplus", "root": str(tmp_path)}
    for named, place in (({}, "ferplus+casia-webface"), ({"FEATURES": "hog"}, "ferplus+hog")):
        [job] = reproduce.plan(reproduce.select(["11"]), parameters={"PROFILE": "full"} | named, **asked)
        assert job.place.as_posix() == f"full/{place}"


# --- parameters -------------------------------------------------------------------------------------------


FITTING = {
    "SEED": [("7", 7), (7, 7), ("-1", -1)],
    "LEARNING_RATE": [("5", 5.0), (5, 5.0), ("1e-5", 1e-5), ("inf", float("inf"))],
    "DROPOUT": [("False", False), ("false", False), ("True", True)],
    "DATA_ROOT": [("007", "007")],
    "LAYERS": [("[64]", [64])],
    "LIMIT": [("10", 10), ("all", "all"), (None, None)],
}
UNFITTING = {
    ("SEED", "int"): ["seven", "0.5", 0.5, True, "", None],
    ("LEARNING_RATE", "float"): ["small", True],
    ("DROPOUT", "bool"): ["no", 1],
    ("DATA_ROOT", "str"): [7],
    ("LAYERS", "list"): ["abc", "(1, 2)", "__import__('os')"],
}


@pytest.mark.parametrize("name", FITTING)
def test_parameters_take_the_type_of_the_notebooks_own(notebook, name):
    for given, expected in FITTING[name]:
        value = reproduce.check_parameters(notebook, {name: given})[name]
        assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(("name", "kind"), UNFITTING)
def test_a_parameter_of_another_name_or_type_is_refused(notebook, name, kind):
    for value in UNFITTING[name, kind]:
        with pytest.raises(SelectionError, match=re.escape(f"{name} must be {kind}, not {value!r}")):
            reproduce.check_parameters(notebook, {name: value})
    with pytest.raises(SelectionError, match=r"11_one\.ipynb has no parameter SEEDS; it has PROFILE, .* Name the no"):
        reproduce.check_parameters(notebook, {"SEEDS": 1})


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, "has no cell tagged 'parameters'"),
        ("SEED = 2 + SEEDS", "may hold `NAME = literal` only"),
        ("import os", "may hold `NAME = literal` only"),
        ("A = B = 1", "may hold `NAME = literal` only"),
        ("SEED = ", "may hold `NAME = literal` only"),
    ],
)
def test_a_parameters_cell_holds_literals(checkout, cell, message):
    path = write_notebook(checkout / "notebooks", "11_one", parameters=cell)
    with pytest.raises(SelectionError, match=message):
        reproduce.default_parameters(path)


def test_no_parameter_is_passed_over_whatever_its_comment(checkout):
    cell = 'SEED = 0  # a = 3\nTEXT = "a # b"  # c\nMANY = """a\nb"""\nLAYERS = [1,\n  2]  # two'
    path = write_notebook(checkout / "notebooks", "11_one", parameters=cell)
    found = {"SEED": 0, "TEXT": "a # b", "MANY": "a\nb", "LAYERS": [1, 2]}
    assert reproduce.default_parameters(path) == found


def test_every_committed_notebook_can_be_given_its_own_parameters():
    for path in reproduce.notebooks().values():
        defaults = reproduce.default_parameters(path)
        assert reproduce.check_parameters(path, {name: str(value) for name, value in defaults.items()}) == defaults


# --- what is checked before anything runs -----------------------------------------------------------------


@pytest.fixture
def nothing_runs(monkeypatch):
    def fail(*_):
        raise AssertionError("a notebook was run")

    monkeypatch.setattr(reproduce, "_run", fail)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"corpus": "imagenet"}, "no corpus 'imagenet'; known: .*ferplus.*, none"),
        ({"corpus": "ferplus"}, "corpus 'ferplus' is missing, or a part of it, in .*data/ferplus. .* data get ferplus"),
        ({"root": "nowhere"}, "no data root .*/nowhere; it is the folder that holds one folder per corpus"),
        (
            {"parameters": {"PROFILE": "fast"}},
            "PROFILE is 'fast'; it must be one of recorded, quick, full",
        ),
        ({"parameters": {"CORPUS": "ferplus"}}, "CORPUS: use --corpus"),
        ({"parameters": {"DATA_ROOT": "/"}}, "DATA_ROOT: use --corpus and --data-root"),
        ({"corpus": "meld"}, "11_one.ipynb does not run on corpus 'meld'; it runs on ferplus"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(checkout, notebook, nothing_runs, given, message):
    with pytest.raises(SelectionError, match=message):
        reproduce.reproduce([notebook], **given)
    assert not (checkout / "results" / "local").exists()


def test_a_data_root_of_the_environment_that_is_gone_is_refused(notebook, nothing_runs, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_DATA", "nowhere")
    with pytest.raises(SelectionError, match=r"no data root .*/nowhere"):
        reproduce.reproduce([notebook])


def test_the_first_corpus_that_is_there_is_used_or_none(checkout, monkeypatch):
    path = write_notebook(checkout / "notebooks", "11_one", corpora=["ferplus", "meld"])
    audit = write_notebook(checkout / "notebooks", "92_audit", corpora=[])
    there = {"meld"}
    monkeypatch.setattr(reproduce.corpora, "is_available", lambda name, root: name in there)
    assert reproduce.choose_corpus(path, None, checkout) == "meld"
    assert reproduce.choose_corpus(path, "none", checkout) == "none"
    assert reproduce.choose_corpus(audit, "meld", checkout) == "none"
    there.add("ferplus")
    assert reproduce.choose_corpus(path, None, checkout) == "ferplus"
    there.clear()
    assert reproduce.choose_corpus(path, None, checkout) == "none"


def test_the_notebook_gets_its_corpus_and_a_data_root_that_names_no_home(checkout, notebook, monkeypatch):
    (checkout.parent / "corpora").mkdir(exist_ok=True)
    got = []
    monkeypatch.setattr(reproduce, "_run", lambda *job: got.append(job) or reproduce.Outcome("11_one", "none", 0.0))
    reproduce.reproduce([notebook], root="../corpora", corpus="none")
    job, _ = got[0]
    assert job.corpus == job.parameters["CORPUS"] == "none"
    assert job.parameters["DATA_ROOT"] == "../corpora"


def test_no_path_of_this_machine_is_left_in_an_executed_copy_even_where_folders_have_spaces(tmp_path):
    folder = tmp_path / "my results" / f".11_one.{socket.gethostname()}.1.abc"
    folder.mkdir(parents=True)
    stream = nbformat.v4.new_output("stream", text=f"wrote {folder}/quick/none/11_one\n")
    shown = nbformat.v4.new_output("execute_result", {"text/plain": f"PosixPath('{folder}/quick')"}, execution_count=1)
    cell = nbformat.v4.new_code_cell("pass", outputs=[stream, shown], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "11_one.ipynb")
    reproduce._finish_copy(folder / "11_one.ipynb")
    stream, shown = nbformat.read(folder / "11_one.ipynb", as_version=4).cells[0].outputs
    assert stream.text == "wrote results/local/quick/none/11_one\n"
    assert shown.data["text/plain"] == "PosixPath('results/local/quick')"
