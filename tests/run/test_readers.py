"""What readers do that no test of a single module does."""

import json
import os
import sys
from pathlib import Path

import psutil
import pytest
from building import write_notebook
from jupyter_client.kernelspec import KernelSpecManager

from uncertain_affect.compute import kernels, paths
from uncertain_affect.run import cli, layout, provenance, record, reproduce

PARAMETERS = 'PROFILE = "quick"\nDATA_ROOT = ""'


def test_a_run_is_of_a_corpus_that_its_notebook_knows():
    parameters = {"PROFILE": "quick", "DEVICE": "cpu"}

    def run(notebook, corpus, **changed):
        return record.Run(notebook, profile="quick", corpus=corpus, parameters=parameters | changed)

    for name, path in layout.notebooks().items():
        for corpus in ("ferplus", "nosuch", "none", "simulated"):
            if corpus in (*layout.metadata(path).get("corpora", []), "none"):
                run(name, corpus)
            else:
                with pytest.raises(ValueError, match=f"CORPUS is '{corpus}': {name} runs on (simulated|no corpus)"):
                    run(name, corpus)
    with pytest.raises(ValueError, match=r"DEVICE is 'tpu'; it must be"):
        run("06_lesson_disagreement", "simulated", DEVICE="tpu")
    run("77_of_a_reader", "their own")


def test_results_and_the_cache_are_tried_before_anything_runs(checkout, monkeypatch):
    path = write_notebook(checkout / "notebooks", "11_one", PARAMETERS)
    monkeypatch.setattr(reproduce, "_run", pytest.fail)
    (checkout / "file").touch()
    monkeypatch.setenv("UNCERTAIN_AFFECT_RESULTS", str(checkout / "results" / "own"))
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(checkout / "file" / "cache"))
    message = r"the cache cannot be written to .*file/cache .*UNCERTAIN_AFFECT_RESULTS.*UNCERTAIN_AFFECT_CACHE"
    with pytest.raises(reproduce.SelectionError, match=message):
        reproduce.reproduce([path])


def test_a_kernel_of_the_same_name_that_others_installed_is_not_started(checkout, tmp_path, monkeypatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    argv = [str(tmp_path / "no such python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (foreign / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "theirs", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert KernelSpecManager().get_kernel_spec("python3").display_name == "theirs"
    assert kernels.OwnKernel(kernel_name="python3").kernel_spec.argv[0] == sys.executable
    write_notebook(
        checkout / "notebooks", "11_one", PARAMETERS, f"import sys; assert sys.executable == {sys.executable!r}"
    )
    (outcome,) = reproduce.reproduce(reproduce.select(["11"]))
    assert "nothing was recorded as quick/none/11_one" in outcome.error  # it ran, to its last cell


def test_a_relative_path_starts_where_the_reader_stands(checkout, tmp_path_factory, monkeypatch):
    roots, folder = [], tmp_path_factory.mktemp("elsewhere")
    (folder / "mine").mkdir()
    write_notebook(checkout / "notebooks", "11_one", PARAMETERS)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(reproduce, "plan", lambda chosen, root, **_: roots.append(root) or [])
    assert cli.main(["reproduce", "--dry-run", "--data-root", "mine"]) == 0
    assert cli.main(["reproduce", "--dry-run", "--data-root", "~"]) == 0
    assert cli.main(["reproduce", "--dry-run"]) == 0
    assert roots == [str(folder / "mine"), os.path.expanduser("~"), None]


def test_what_windows_has_not_is_done_without(monkeypatch):
    def no_way(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    assert paths.from_checkout(paths.project_root() / "data") == "data"
    monkeypatch.setattr(os.path, "relpath", no_way)
    assert paths.from_checkout(Path("D:/corpora")) == "D:/corpora"
    monkeypatch.setattr(provenance, "_in_proc", lambda *_: None)
    assert provenance.peak_memory_mib() > 10
    monkeypatch.setitem(sys.modules, "resource", None)
    assert provenance.peak_memory_mib() == pytest.approx(psutil.Process().memory_info().rss / 2**20, abs=30)
