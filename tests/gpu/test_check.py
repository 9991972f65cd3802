"""`make check-gpu`, with the CPU in the place of a GPU."""

import csv
import subprocess
import sys

import pytest
import torch
from torch import nn

from gpu import check, steps
from uncertain_affect.compute.paths import project_root
from uncertain_affect.run import cli

FEW = [case for case in steps.CASES if case.name in ("UncNet", "PEN, gate", "metrics")]
HEAVY = "scipy pandas pydantic filelock psutil tqdm sklearn skimage papermill distributed dask joblib matplotlib"
BARE = f"""
import importlib.abc, importlib.util, runpy, sys

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in "{HEAVY}".split():
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Bare())
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in "{HEAVY}".split() else found(name)
"""


@pytest.fixture(autouse=True)
def determinism():
    """The check asks torch for it, and other tests have not."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(steps, "CASES", FEW)
    monkeypatch.setattr(steps, "TIMED", FEW)


def run(folder, *options):
    return check.main(["--device", "cpu", "--small", "--seconds", "60", "--results", str(folder), *options])


def rows(folder):
    (file,) = folder.glob("*.csv")
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_without_a_gpu_it_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli.main(["check-gpu"]) == 2
    assert check.main(["--results", str(tmp_path)]) == 2
    assert "no GPU, nothing was checked: DEVICE is 'cuda' but torch sees no GPU" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_every_part_that_needs_no_notebook(few, tmp_path, capsys):
    assert run(tmp_path, "--parts", "agreement", "repetition", "speed") == 0
    said, found = capsys.readouterr().out, rows(tmp_path)
    assert [row["what"] for row in found] == 3 * [case.name for case in FEW]
    assert {row["outcome"] for row in found} == {"ok"}
    assert {row["loss"] for row in found[:2]} == {"0"} and float(found[-3]["seconds"]) > 0 < float(
        found[-3]["CPU seconds"]
    )
    (page,) = (path.read_text(encoding="utf-8") for path in tmp_path.glob("*.md"))
    for text in ("0 of 3 failed", "UncNet: ok", "precision: matrix products highest"):
        assert text in said
    for text in ("# CPU in the place of a GPU", "revision: ", "## A short training", "| PEN, gate | ok |"):
        assert text in page


class Wrong(nn.Module):
    """A network that is not what it was the time before."""

    times = 0

    def outputs(self):
        Wrong.times += 1
        x = torch.zeros(3)
        x.put_(torch.tensor([0, 0]), torch.tensor([1.0, 1.0]))  # has no deterministic algorithm
        return {"numbers": x + Wrong.times}


def broken(device, small):
    raise RuntimeError("no kernel for this card\nand much more")


def wrong(device, small):
    network = Wrong()
    return steps.Work(network, network.outputs)


def test_what_fails_is_named_and_does_not_stop_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "CASES", [steps.Case("broken", broken), steps.Case("wrong", wrong), *FEW])
    assert run(tmp_path, "--parts", "agreement", "repetition") == 1
    agreement, repetition = rows(tmp_path)[:5], rows(tmp_path)[5:]
    for part in (agreement, repetition):
        assert [row["outcome"] for row in part] == ["FAILED", "FAILED", "ok", "ok", "ok"]
        assert part[0]["detail"] == "RuntimeError: no kernel for this card"
    assert agreement[1]["detail"] == "output numbers beyond 0.001"
    assert repetition[1]["detail"] == "without a deterministic algorithm: put_; differs: output numbers"


def test_nan_is_no_agreement():
    here, there = {"loss": torch.tensor([1.0])}, {"loss": torch.tensor([torch.nan])}
    assert not check._difference("loss", here, there)[0] <= 1


def test_what_does_not_fit_in_the_time_is_left_out(few, tmp_path):
    assert run(tmp_path, "--seconds", "0", "--parts", "agreement") == 0
    assert {(row["outcome"], row["detail"]) for row in rows(tmp_path)} == {("left out", "the time was up")}


def test_notebooks_that_are_run_and_those_that_cannot_be(monkeypatch, tmp_path):
    commands = []

    def fake(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, len(commands) - 1, "", "it failed: in cell 3\n")

    monkeypatch.setattr(check.subprocess, "run", fake)
    assert [row["outcome"] for row in check.notebooks("cuda", float("inf"))] == ["ok", "FAILED"]
    assert [command[4] for command in commands] == list(check.NOTEBOOKS)
    assert commands[0][-2:] == ["DEVICE", "cuda"]
    monkeypatch.setattr(check, "NEEDED", ("torch", "not_there", "nor_this"))
    reasons = {row["detail"] for row in check.notebooks("cuda", float("inf"))}
    assert reasons == {"not installed here: not_there, nor_this"} and len(commands) == 2


@pytest.mark.slow
def test_networks_and_the_check_need_torch_and_numpy_alone(tmp_path):
    modules = "models.uncnet models.ugn models.pen models.rock models.distill models.backbones losses metrics"
    modules += " training.fit training.augment training.finetune compute.devices compute.cache"
    script = BARE + f"for name in {modules.split()}: importlib.import_module(f'uncertain_affect.{{name}}')\n"
    place = project_root() / "tests" / "gpu" / "check.py"
    options = ["--device", "cpu", "--parts", "agreement", "notebooks", "--results", str(tmp_path)]
    script += f"sys.argv[1:] = {options}\n"
    script += f"runpy.run_path({str(place)!r}, run_name='__main__')"
    library = str(project_root() / "lib")
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": library, "OMP_NUM_THREADS": "1"},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {(row["part"], row["outcome"]) for row in rows(tmp_path)} == {("agreement", "ok"), ("notebooks", "left out")}
    assert "not installed here: papermill, pydantic, distributed, pandas" in done.stdout
