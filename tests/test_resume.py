"""That a batch which is killed at any moment goes on where it stopped and leaves what it would have left.

`UNCERTAIN_AFFECT_KILLS` says how often it is killed; `make stress` does so many times.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from uncertain_affect import paths

KILLS = int(os.environ.get("UNCERTAIN_AFFECT_KILLS", "3"))
PARAMETERS = 'PROFILE = "quick"\nSEED = 0'
HEAD = """
import os, time, pathlib
import pandas as pd, torch
from matplotlib import pyplot as plt
from uncertain_affect import cluster, record, training
from uncertain_affect.cache import cache_dir, cached_arrays, content_key
import steps

run = record.Run("{name}", profile=PROFILE, corpus="none", parameters={{"PROFILE": PROFILE, "SEED": SEED}})
"""
# a chain of cached steps, a training that leaves checkpoints
TRAINS = """
training.SECONDS_BETWEEN_CHECKPOINTS = 0
state = torch.zeros(3)
for i in range(4):
    state = steps.add(state, i, SEED)
history = steps.train(SEED)
frame = pd.DataFrame({"state": state, "loss": history[-3:]})
"""
# tasks for the workers
SHARES = """
found = cluster.run_all(steps.add, {i: (torch.ones(3), i, SEED + 9) for i in range(6)})
frame = pd.DataFrame({i: values for i, values in found.items()})
"""
TAIL = """
run.table("table", frame)
figure, axes = plt.subplots()
axes.plot(frame.to_numpy())
run.figure("figure", figure, frame)
plt.close(figure)
run.not_testable("uncnet.c1", "no corpus")
run.finish()
"""
STEPS = """
import os, pathlib, time
import numpy as np, torch
from uncertain_affect import training
from uncertain_affect.cache import cache_dir, cached_arrays, content_key

def note(what):
    with open(os.environ["STEPS_LOG"], "a") as log:
        log.write(what + "\\n")

def add(state, i, seed):
    def build():
        note(f"add {i} {seed}")
        time.sleep(0.3)
        draw = torch.rand(3, generator=torch.Generator().manual_seed(seed * 100 + i))
        return {"state": (state + draw).numpy()}
    return torch.from_numpy(cached_arrays(content_key("add", state, i, seed), build, kind="steps")["state"])

class Copies(torch.nn.Module):
    def __init__(self, generators):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.stack([torch.randn(4, 1, generator=g) for g in generators]))
        self.generators = generators
    def forward(self, x):
        time.sleep(0.02)
        return x @ self.weight

def train(seed):
    key = content_key("train", seed)
    def build():
        note(f"train {seed}")
        model = Copies(training.generators([seed, seed + 1]))
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        loss = lambda z, y: ((z - y) ** 2).mean((1, 2))
        history = training.fit(
            model, loss, (x, x[:, :1]), (x, x[:, :1]), order=training.generators([seed, seed + 1], 1), lr=0.01,
            batch_size=16, max_epochs=20, patience=99, checkpoint=cache_dir() / "steps" / f"{key}.checkpoint",
        )
        return {"val": np.array([v[0] for v in history.val])}
    return cached_arrays(key, build, kind="steps")["val"]
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout of its own with two small notebooks, and what one run that nobody stops leaves there."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(paths.project_root() / "results" / "printed", root / "results" / "printed")
    shutil.copytree(paths.project_root() / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "lib" / "steps.py").write_text(STEPS, encoding="utf-8")
    (root / "notebooks").mkdir()
    for name, body in {"11_trains": TRAINS, "21_shares": SHARES}.items():
        cells = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
        cells += [v4.new_code_cell(source.strip()) for source in (HEAD.format(name=name), body, TAIL)]
        metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "uncertain_affect": {"paper": {"1": "uncnet", "2": "ugn"}[name[0]], "corpora": []},
        }
        nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), root / "notebooks" / f"{name}.ipynb")
    started = time.monotonic()
    batch = start(root, "whole")
    said, _ = batch.communicate(timeout=300)
    assert batch.returncode == 0, said
    return root, time.monotonic() - started


def start(root: Path, name: str) -> subprocess.Popen:
    """The command of a reader, in a process group of its own."""
    variables = {
        "PYTHONPATH": str(root / "lib"),
        "UNCERTAIN_AFFECT_CACHE": str(root / name / "cache"),
        "UNCERTAIN_AFFECT_RESULTS": str(root / name / "results"),
        "STEPS_LOG": str(root / name / "steps"),
    }
    (root / name).mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "uncertain_affect.cli", "reproduce", "--workers", "2"],
        cwd=root,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_by(root: Path, name: str) -> dict[str, bytes]:
    """Everything under the results, but what says when."""
    results = root / name / "results"
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted(results.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def steps_of(root: Path, name: str) -> list[str]:
    return (root / name / "steps").read_text().splitlines() if (root / name / "steps").exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(KILLS))
def test_a_batch_that_is_killed_goes_on_to_the_same_results(checkout, kill):
    root, seconds = checkout
    whole, name = left_by(root, "whole"), f"killed{kill}"
    assert len(whole) == 2 * 5  # notebook, claims, a table, a figure and its numbers
    moment = random.SystemRandom().uniform(0, seconds)
    batch = start(root, name)
    try:
        batch.wait(moment)
    except subprocess.TimeoutExpired:
        os.kill(batch.pid, signal.SIGKILL)  # the driver alone: its workers and kernels must find out
    batch.communicate()
    done = {path for path in left_by(root, name) if "/." not in path}  # what was not ready yet lies apart
    again = start(root, name)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, f"killed after {moment:.2f} s: {said}"
    assert done <= set(whole)
    assert left_by(root, name) == whole, f"killed after {moment:.2f} s"
    repeated = len(steps_of(root, name)) - len(steps_of(root, "whole"))
    assert repeated <= 4, f"killed after {moment:.2f} s"  # two notebooks and two inner tasks may be at work


@pytest.mark.slow
def test_two_batches_at_once_leave_what_one_leaves(checkout):
    root, _ = checkout
    both = [start(root, "both") for _ in range(2)]
    said = [batch.communicate(timeout=300)[0] for batch in both]
    assert [batch.returncode for batch in both] == [0, 0], said
    assert left_by(root, "both") == left_by(root, "whole")
    assert sorted(steps_of(root, "both")) == sorted(steps_of(root, "whole"))
