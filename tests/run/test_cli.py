import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock, call

import dask.config
import numpy as np
import pandas as pd
import pytest
import trees
import trees_iemocap
import trees_recola
from building import SAID, write_notebook

from uncertain_affect import corpora
from uncertain_affect.compute import cache, parallel, paths
from uncertain_affect.corpora import download, recola
from uncertain_affect.evidence import evaluate
from uncertain_affect.papers.across import tasks as across_tasks
from uncertain_affect.run import cli, publish, record, reproduce

SLEEPS = """
import pathlib, time
pathlib.Path("started").touch()
time.sleep(120)
"""
# the command in a checkout made by the test
COMMAND = """
import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from uncertain_affect.compute import paths
paths.project_root = lambda: pathlib.Path(sys.argv[1])
from uncertain_affect.run.cli import main
sys.exit(main(sys.argv[2:]))
"""


PARAMETERS = 'PROFILE = "quick"\nSEED = 0'


@pytest.fixture
def checkout(checkout):
    write_notebook(checkout / "notebooks", "11_one", PARAMETERS, corpora=["ferplus"])
    write_notebook(checkout / "notebooks", "92_audit", PARAMETERS)
    return checkout


@pytest.fixture
def ran(monkeypatch):
    """Notebooks are not run but noted: (name, corpus, parameters). Errors by name make them fail."""
    jobs, errors = [], {}

    def run(job, options):
        name, run.options = job.path.stem, options
        jobs.append((name, job.corpus, job.parameters))
        return reproduce.Outcome(name, job.corpus, 1.0, error=errors.get(name), traceback=errors.get(f"{name} in", ""))

    monkeypatch.setattr(reproduce, "_run", run)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # here, where they are noted
    run.jobs, run.errors = jobs, errors
    return run


# --- reproduce --------------------------------------------------------------------------------------------


def test_reproduce_runs_everything_and_prints_a_table(checkout, ran, capsys):
    assert cli.main(["reproduce"]) == 0
    parameters = {"PROFILE": "quick", "SEED": 0}
    assert ran.jobs == [("11_one", "none", parameters), ("92_audit", "none", parameters)]
    out, err = capsys.readouterr()
    table = ["notebook  corpus  seconds  answers", "11_one    none    1        -", "92_audit  none    1        -"]
    assert out.splitlines()[2:5] == table
    assert err == ""
    assert "No corpus for 11_one: only the parts that need none were run" in out
    assert f"have one of ferplus in {checkout / 'data'}, or set DATA_ROOT" in out
    assert "`uncertain-affect data get ferplus`" in out
    cli.main(["reproduce", "92"])
    assert "No corpus" not in capsys.readouterr().out


def test_options_reach_the_notebooks(checkout, ran):
    assert cli.main(["reproduce", "11", "--profile", "full", "--corpus", "none", "-p", "SEED", "7"]) == 0
    assert ran.jobs == [("11_one", "none", {"PROFILE": "full", "SEED": 7})]
    limits = ["--time-limit", "2", "--memory-limit", "0.5", "--html"]
    assert cli.main(["reproduce", "--paper", "uncnet", *limits]) == 0
    assert [name for name, *_ in ran.jobs] == ["11_one", "11_one", "92_audit"]
    assert (ran.options.seconds, ran.options.memory, ran.options.html) == (120, 2**29, True)


def test_a_failure_is_exit_code_1_after_everything_ran_and_its_traceback_follows_it(checkout, ran, capsys):
    ran.errors["11_one"] = "ValueError: broken"
    assert cli.main(["reproduce"]) == 1
    assert len(ran.jobs) == 2
    printed = capsys.readouterr()
    assert "11_one    none    1        FAILED" in printed.out
    assert printed.err == "11_one failed: ValueError: broken\n"
    ran.errors["11_one in"] = "line 1\nValueError: broken"
    cli.main(["reproduce"])
    assert capsys.readouterr().err == "11_one failed: ValueError: broken\nline 1\nValueError: broken\n"


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 5000, json.dumps(SAID | {"seconds": "long"}), json.dumps(SAID | {"seconds": 2})]
)
def test_a_dry_run_lists_and_runs_nothing_and_an_unreadable_run_has_no_seconds_to_plan_with(
    checkout, ran, capsys, text
):
    run = checkout / "results" / "quick" / "none" / "92_audit" / "run.json"
    run.parent.mkdir(parents=True)
    run.write_text(text)
    assert cli.main(["reproduce", "--only", "92", "--dry-run"]) == 0
    assert ran.jobs == []
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head == "notebook  corpus  profile  seconds  recorded"
    assert row.split() == ["92_audit", "none", "quick", *("2 quick on none" if ": 2," in text else "unknown -").split()]


def test_a_dry_run_for_slurm_prints_the_script_of_its_jobs(checkout, ran, capsys):
    directives = {"jobqueue.slurm.job-extra-directives": ["--gres=gpu:1"], "jobqueue.slurm.queue": "short"}
    with dask.config.set(directives | {"jobqueue.slurm.memory": "12GB"}):
        assert cli.main(["reproduce", "--dry-run", "--slurm", "3"]) == 0
    out = capsys.readouterr().out
    script = out[out.index("#!/usr/bin/env bash") :].splitlines()
    assert "Each of 3 jobs:" in out
    assert {"#SBATCH -p short", "#SBATCH --cpus-per-task=1", "#SBATCH --mem=12G", "#SBATCH --gres=gpu:1"} <= set(script)
    assert "export OMP_NUM_THREADS=1" in script
    (worker,) = [line for line in script if "dask_worker" in line]
    assert "--nthreads 2" in worker
    assert worker.endswith("--resources notebook=1,core=1,gpu=1")
    assert ran.jobs == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "argument --workers: must be above 0, not 0"),
        (["--workers", "two"], "argument --workers: invalid int value: 'two'"),
        (["--memory-limit", "-1"], "argument --memory-limit: must be above 0, not -1"),
        (["--workers", "2", "--scheduler", "tcp://here"], "not allowed with argument"),
        (["--profile", "fast"], "argument --profile: invalid choice: 'fast'"),
        (["-p", "SEED"], "argument -p/--parameter: expected 2 arguments"),
    ],
)
def test_options_that_make_no_sense_are_refused(checkout, ran, capsys, options, message):
    with pytest.raises(SystemExit) as left:
        cli.main(["reproduce", *options])
    assert left.value.code == 2
    assert message in capsys.readouterr().err
    assert ran.jobs == []
    for arguments in ([], ["reproduc"]):
        with pytest.raises(SystemExit) as left:
            cli.main(arguments)
        assert left.value.code == 2
        assert "usage: uncertain-affect" in capsys.readouterr().err


def test_a_scheduler_that_does_not_answer_is_said_so(checkout, monkeypatch, capsys):
    monkeypatch.setattr(parallel, "ANSWERS_WITHIN_S", 0.5)
    assert cli.main(["reproduce", "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no scheduler answers at tcp://127.0.0.1:9 within 0.5 s" in capsys.readouterr().err


# --- evaluate ---------------------------------------------------------------------------------------------


@pytest.fixture
def predictions(tmp_path):
    """What writes arrays to a file of predictions and gives its path as the command takes it."""

    def write(**arrays):
        np.savez(tmp_path / "predictions.npz", **arrays)
        return str(tmp_path / "predictions.npz")

    return write


HALVES = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0], [0.25, 0.75]])


def test_evaluate_prints_measures_by_question_and_what_it_could_not_measure(predictions, capsys):
    assert cli.main(["evaluate", predictions(probs=HALVES, labels=[0, 1, 0, 1], groups=[7] * 4)]) == 0
    out = capsys.readouterr().out
    assert "All examples are one cluster, and no interval follows from one." in out
    assert "[" not in out and "nan" not in out
    assert cli.main(["evaluate", predictions(probs=HALVES, labels=[0, 1, 0, 1])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "examples 4, clusters 4, classes 2, predictions of each example 1"
    assert lines[2].split() == ["use", "estimate", "95%", "interval", "better", "says"]
    name, estimate, *_, better = lines[3].partition("share of")[0].split()
    assert (name, estimate, better) == ("accuracy", "0.750", "higher")
    assert "not measured" in lines
    assert lines[-1].split("  ")[-1].strip() == "one prediction of each example has no epistemic uncertainty"


def test_evaluate_writes_what_it_prints(predictions, tmp_path, capsys):
    votes, folder = np.random.default_rng(0).multinomial(5, HALVES), tmp_path / "new"
    given = predictions(probs=np.stack([HALVES, HALVES[::-1]]), votes=votes, groups=list("aabc"))
    folder.mkdir()
    assert cli.main(["evaluate", given, "--csv", str(folder / "table.csv")]) == 0
    out = capsys.readouterr().out
    assert "clusters 3," in out
    table = pd.read_csv(folder / "table.csv", index_col="measure")
    assert list(table) == evaluate.COLUMNS
    for name, row in table.iterrows():
        (line,) = [line for line in out.splitlines() if line.startswith(f"  {name} ")]
        assert f"{row['estimate']:.3f}  [{row['low']:.3f}, {row['high']:.3f}]" in line
        assert np.isnan(row["if calibrated"]) == (name != "ECE")
    ece, lines = table.loc["ECE"], out.splitlines()
    (below,) = [after for line, after in itertools.pairwise(lines) if line.startswith("  ECE ")]
    words = below.split()
    assert words == [
        *"if calibrated".split(),
        f"{ece['if calibrated']:.3f}",
        "97.5%",
        "below",
        f"{ece['97.5% below']:.3f}",
    ]
    assert [path.name for path in folder.iterdir()] == ["table.csv"], "nothing half-written is left"


def test_evaluate_takes_the_truth_of_a_corpus(predictions, capsys, monkeypatch):
    calls = []

    def known(*given):
        calls.append(given)
        truth = np.array([[0.6, 0.4], [0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        cases = evaluate.Cases(np.array([[3, 2], [2, 0], [5, 1], [1, 1]]), truth=truth)
        return across_tasks.Known(cases, ("yes", "no"), "four faces")

    monkeypatch.setattr(across_tasks, "known", known)
    options = ["--corpus", "simulated", "--data-root", "there", "--seed", "3"]
    assert cli.main(["evaluate", predictions(probs=HALVES), *options]) == 0
    assert calls == [("simulated", str(Path.cwd() / "there"), 3)]
    out = capsys.readouterr().out
    assert "\naleatoric " in out and "distance to p* " in out and "r(U_a, d) " in out
    assert cli.main(["evaluate", predictions(probs=HALVES, labels=[0, 1, 0, 1]), *options]) == 2
    assert "'labels' in the file, beside those of the corpus: two truths" in capsys.readouterr().err
    given = predictions(probs=HALVES[:3])
    assert cli.main(["evaluate", given, *options]) == 2
    message = f"{given}: probs has shape (3, 2): expected (T, 4, 2) or (4, 2). The rows are four"
    assert message in capsys.readouterr().err


def test_evaluate_asked_wrongly_is_exit_code_2_and_a_line(predictions, checkout, capsys):
    folder = checkout / "folder"
    folder.mkdir()
    bad = predictions(probs=np.where(np.arange(4)[:, None] == 2, 0.4, HALVES), labels=[0, 1, 0, 1])
    for arguments, message in (
        ([bad], f"{bad}: probs: row 2 sums to 0.8"),
        ([str(folder)], "Is a directory"),
        ([str(folder / "none.npz")], "none.npz does not exist"),
        ([bad, "--csv", os.devnull], f"--csv: {os.devnull} is no file, and is not replaced by one"),
        ([bad, "--csv", str(folder)], "folder is no file, and is not replaced by one"),
        ([bad, "--csv", bad], "is the name of predictions; give one that ends in .csv"),
        ([bad, "--seed", "1"], "--seed is that of the simulated world: it needs --corpus simulated"),
    ):
        assert cli.main(["evaluate", *arguments]) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("uncertain-affect: ") and printed.err.count("\n") == 1
        assert message in printed.err and printed.out == ""
    given = predictions(probs=HALVES)
    for corpus, message in (("iemocap", "evaluated on simulated, ferplus and meld"), ("meld", "data get meld")):
        assert cli.main(["evaluate", given, "--corpus", corpus]) == 2
        assert message in capsys.readouterr().err


# --- cache ------------------------------------------------------------------------------------------------


def test_the_cache_is_listed_and_pruned(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    for i in range(3):
        cache.cached_arrays(cache.content_key(i), lambda: {"a": np.zeros(1000)}, kind="networks")
    assert cli.main(["cache", "list"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.split()[:3] == ["networks", "3", "entries"]
    assert last == f"3 entries, 0.0 MB in {tmp_path}"
    assert cli.main(["cache", "prune"]) == 2
    assert "say which, by --kind or --unused DAYS" in capsys.readouterr().err
    assert cli.main(["cache", "prune", "--unused", "1"]) == 0
    assert "removed 0 entries" in capsys.readouterr().out
    assert cli.main(["cache", "prune", "--kind", "networks"]) == 0
    assert "removed 3 entries" in capsys.readouterr().out
    assert cache.entries() == []


def test_each_notebook_has_a_line_of_progress_as_it_ends_where_there_is_no_terminal_too(checkout, ran, capsys):
    assert not sys.stdout.isatty()
    cli.main(["reproduce"])
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert (first, second) == ("[1/2] 11_one on none: done in 1 s", "[2/2] 92_audit on none: done in 1 s")


def test_bad_input_is_exit_code_2_before_anything_runs(checkout, ran, capsys):
    for arguments, message in (
        (["13"], "no notebook '13'; known: 11_one, 92_audit"),
        (["--corpus", "ferplus"], "`uncertain-affect data get ferplus"),
        (["--data-root", "nowhere"], "nowhere; it is the folder that holds one folder per corpus"),
        (["-p", "SEED", "many"], "11_one.ipynb: SEED must be int, not 'many'"),
    ):
        assert cli.main(["reproduce", *arguments]) == 2
        out, err = capsys.readouterr()
        assert err.startswith("uncertain-affect: ") and message in err
        assert (err.count("\n"), out, ran.jobs) == (1, "", [])


def test_what_the_system_refuses_is_a_line_and_exit_code_1_and_outside_a_checkout_2(checkout, monkeypatch, capsys):
    assert cli.main(["verify", "9" * 5000]) == 1
    assert "File name too long" in capsys.readouterr().err
    full = OSError(28, "No space left on device", "results/quick")
    for problem, line in (TimeoutError(), "TimeoutError"), (full, str(full)):
        monkeypatch.setattr(publish, "promote_all", Mock(side_effect=problem))
        assert cli.main(["record"]) == 1
        assert capsys.readouterr().err == f"uncertain-affect: {line}\n"
    monkeypatch.setattr(paths, "project_root", Mock(side_effect=FileNotFoundError("no checkout")))
    assert cli.main(["reproduce"]) == 2
    assert capsys.readouterr().err == "uncertain-affect: no checkout\n"


def test_an_interrupt_ends_cleanly_with_exit_code_130(checkout):
    """The one test of the real command on a real kernel: nothing half-written, no kernel left, no other word."""
    write_notebook(checkout / "notebooks", "10_sleeps", PARAMETERS, SLEEPS)
    arguments = [sys.executable, "-c", COMMAND, str(checkout), "reproduce", "10"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        try:
            deadline = time.monotonic() + 60
            while not (checkout / "notebooks" / "started").exists():
                assert command.poll() is None, command.stderr.read()
                assert time.monotonic() < deadline, "the kernel did not start"
                time.sleep(0.1)
            command.send_signal(signal.SIGINT)
            out, err = command.communicate(timeout=30)
        finally:
            command.kill()
    assert (command.returncode, out) == (130, "")
    assert err == "uncertain-affect: interrupted; run the same command to go on\n"
    assert not [path for path in (checkout / "results" / "local").rglob("*") if path.is_file()]


# --- record and data --------------------------------------------------------------------------------------


def test_record_promotes_and_names_what_it_wrote(checkout, monkeypatch, capsys):
    promote_all = Mock(return_value=[checkout / "a", checkout / "b"])
    monkeypatch.setattr(publish, "promote_all", promote_all)
    assert cli.main(["record"]) == 0
    assert cli.main(["record", "some/run", "--demonstration"]) == 0
    assert promote_all.call_args_list == [call([], False), call([Path("some/run")], True)]
    assert capsys.readouterr().out.splitlines()[:2] == [f"recorded {checkout / 'a'}", f"recorded {checkout / 'b'}"]


def test_record_with_nothing_to_record_and_only_to_refresh_what_is_generated(checkout, capsys):
    assert cli.main(["record"]) == 2
    assert "no finished full run to promote under" in capsys.readouterr().err
    assert cli.main(["record", str(checkout / "nowhere")]) == 2
    assert "nowhere is not a finished run" in capsys.readouterr().err
    (checkout / "README.md").write_text("<!-- scoreboard -->\nold\n<!-- /scoreboard -->\n")
    assert cli.main(["record", "--refresh"]) == 0
    assert "**51 claims.** On recordings 0." in (checkout / "README.md").read_text()
    assert cli.main(["record", "--refresh", "some/run"]) == 2
    assert "--refresh takes no runs" in capsys.readouterr().err


def test_verify_says_what_it_found_and_ends_with_0_1_or_2(checkout, capsys):
    run = record.Run("92_audit", profile="quick", corpus="none", parameters={"PROFILE": "quick", "SEED": 0})
    run.table("t", pd.DataFrame({"a": [1]}))
    folder = run.finish()
    assert cli.main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out == "1 runs looked at, 0 problems\n"
    (folder / "tables" / "t.csv").write_text(",a\n0,2\n")
    assert cli.main(["verify", str(checkout / "results" / "local")]) == 1
    assert capsys.readouterr().out == (
        f"{folder / 'tables' / 't.csv'} has changed since it was recorded: restore it, or run the notebook again\n"
        "1 runs looked at, 1 problems\n"
    )
    assert cli.main(["verify", str(checkout / "nowhere")]) == 2
    assert capsys.readouterr().err == f"uncertain-affect: no folder {checkout / 'nowhere'}\n"


def test_data_get_fetches_below_the_data_root_or_says_how(checkout, monkeypatch, capsys):
    get = Mock(return_value=[])
    with monkeypatch.context() as patched:
        patched.setattr(download, "get", get)
        assert cli.main(["data", "get", "ferplus", "--data-root", str(checkout / "corpora")]) == 0
        assert cli.main(["data", "get", "ferplus-votes", "--to", str(checkout / "elsewhere")]) == 0
    assert get.call_args_list == [call("ferplus", checkout / "corpora"), call("ferplus-votes", checkout / "elsewhere")]
    assert capsys.readouterr().out == ""  # it is download that says what it did
    for corpus, message in {
        "nothing": "nothing can be fetched for 'nothing'",
        "iemocap": "IEMOCAP cannot be fetched from here. How to get it: Fill in the release form",
    }.items():
        assert cli.main(["data", "get", corpus]) == 2
        assert message in capsys.readouterr().err


def test_data_list_has_a_row_for_every_corpus_there_or_not(checkout, capsys):
    trees.write(checkout / "data", trees_iemocap.files())
    assert cli.main(["data", "list"]) == 0
    out = capsys.readouterr().out
    blocks = {block.partition(":")[0]: block for block in out.split("\n\n")[1:]}
    assert list(blocks) == list(corpora.KNOWN)
    for name, block in blocks.items():
        about = corpora.about(name)
        assert block.splitlines()[0].endswith("NOT FOUND" if name not in ("simulated", "iemocap") else "- found")
        words = " ".join(block.split())
        for text in (about.title, about.purpose, about.licence, about.how_to_get, about.layout):
            assert " ".join(text.split()) in words


def test_data_check_shows_a_table_and_its_exit_code_says_whether_all_is_as_published(checkout, capsys, monkeypatch):
    monkeypatch.setattr(recola, "ROWS", 26)
    trees.write(checkout / "data", trees_recola.files(26))
    assert cli.main(["data", "check", "recola"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["expected", "found", "fine"]
    assert "people of train, valence and arousal" in out
    assert out.endswith("recola: as published\n")
    (checkout / "data/recola/ratings_gold_standard/valence/dev_9.arff").unlink()
    assert cli.main(["data", "check", "recola"]) == 1
    out = capsys.readouterr().out
    assert "8, 9" in out
    assert "recola: 1 of 6 differ from what was published" in out


def test_data_check_of_a_malformed_absent_or_unknown_corpus(checkout, capsys):
    tree = trees_iemocap.files()
    file = "iemocap/Session2/dialog/EmoEvaluation/Ses02F_impro05a.txt"
    trees.write(checkout / "data", trees.replaced(tree, file, "C-E2", "hello"))
    assert cli.main(["data", "check", "iemocap"]) == 1
    assert "Ses02F_impro05a.txt, line 4: 'hello" in capsys.readouterr().out
    assert cli.main(["data", "check", "semaine"]) == 1
    assert "semaine/Sessions: no such folder. See `uncertain-affect data list`" in capsys.readouterr().out
    assert cli.main(["data", "check", "nothing"]) == 2
    assert "no corpus is called 'nothing'; known: simulated" in capsys.readouterr().err


@pytest.mark.parametrize("name", corpora.KNOWN)
def test_every_corpus_says_what_it_is_and_can_be_checked(name, tmp_path):
    assert all(vars(corpora.about(name)).values())
    if name == "simulated":
        assert corpora.check(name, tmp_path)["fine"].all()
    else:
        with pytest.raises(corpora.CorpusError, match=str(tmp_path)):
            corpora.check(name, tmp_path)


# --- the installed command --------------------------------------------------------------------------------


def test_help_is_quick_and_names_every_command():
    command = [sys.executable, "-X", "importtime", "-m", "uncertain_affect.run.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in ("reproduce", "record", "verify", "evaluate", "data"))
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "uncertain_affect" in imported
    assert not {"torch", "papermill", "pandas"} & imported


def test_the_make_targets_call_commands_that_exist(capsys):
    makefile = (paths.project_root() / "Makefile").read_text(encoding="utf-8")
    for command in ("reproduce", "record"):
        assert f"$(BIN)/uncertain-affect {command}" in makefile
        with pytest.raises(SystemExit) as exit_:
            cli.main([command, "--help"])
        assert exit_.value.code == 0
    options = capsys.readouterr().out
    assert all(option in options for option in ("--profile", "--corpus", "--data-root"))
