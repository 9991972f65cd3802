"""`kill -9` at any moment: nothing is lost, and the same command goes on to the same results.

A checkout of its own with two small notebooks, of about half a minute, is reproduced again and again. Some batches are
killed at a moment drawn at random, some of those once more while they resume, and some while a finished run is moved
into its place, which is over too soon to be met by chance: there the move is slowed down from outside the library.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import v4
from rows import Row, judged

from uncertain_affect.compute import paths

# how many kills of each kind `make stress` makes
KILLS = {"at any moment": 10, "while it resumes": 4, "in the final rename": 6}
PARAMETERS = 'PROFILE = "quick"\nSEED = 0'
HEAD = """
import os, time, pathlib
import pandas as pd, torch
from matplotlib import pyplot as plt
from uncertain_affect.compute import parallel as cluster
from uncertain_affect.run import record
from uncertain_affect.training import fit as training
from uncertain_affect.compute.cache import cache_dir, cached_arrays, content_key
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
from uncertain_affect.training import fit as training
from uncertain_affect.compute.cache import cache_dir, cached_arrays, content_key

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
# what Python reads before anything else: the n-th move into or out of a place of results stands still, and says where
SLOW_RENAME = """
import os, pathlib, time
replace, moves = os.replace, []

def slow(source, target):
    place, nth = pathlib.Path(os.environ["SLOW_RESULTS"]), int(os.environ["SLOW_MOVE"])
    after = os.environ["SLOW_WHEN"] == "after"
    if place in (pathlib.Path(source).parents[2:3] + pathlib.Path(target).parents[2:3]):
        moves.append(target)
    stands = len(moves) == nth and place in pathlib.Path(target).parents[2:3]
    if stands and not after:
        stand(source, target)
    replace(source, target)
    if stands and after:
        stand(source, target)

def stand(source, target):
    marker = pathlib.Path(os.environ["SLOW_MARKER"])
    marker.with_suffix(".new").write_text(f"{source} -> {target}")
    replace(marker.with_suffix(".new"), marker)
    time.sleep(60)

os.replace = slow
"""


def checkout(root: Path) -> float:
    """Make a checkout with two small notebooks, and leave in ``whole`` what a batch that nobody kills leaves.

    Returns:
        The seconds that it took.
    """
    shutil.copytree(paths.project_root() / "results" / "printed", root / "results" / "printed")
    shutil.copytree(paths.project_root() / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "lib" / "steps.py").write_text(STEPS, encoding="utf-8")
    (root / "slow").mkdir()
    (root / "slow" / "sitecustomize.py").write_text(SLOW_RENAME, encoding="utf-8")
    for name, body in {"11_trains": TRAINS, "21_shares": SHARES}.items():
        write_notebook(root, name, HEAD.format(name=name), body, TAIL)
    started = time.monotonic()
    batch = start(root, "whole")
    said, _ = batch.communicate(timeout=300)
    if batch.returncode:
        raise RuntimeError(f"a batch that nobody killed failed: {said}")
    return time.monotonic() - started


def write_notebook(root: Path, name: str, *sources: str) -> None:
    """A notebook of the paper that its number says, with a profile and a seed, that needs no corpus."""
    cells = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [v4.new_code_cell(source.strip()) for source in sources]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "uncertain_affect": {"paper": {"1": "uncnet", "2": "ugn"}[name[0]], "corpora": []},
    }
    (root / "notebooks").mkdir(exist_ok=True)
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), root / "notebooks" / f"{name}.ipynb")


def start(root: Path, name: str, **variables: str) -> subprocess.Popen:
    """The command of a reader, in a process group of its own, with a cache and results below ``name``."""
    own = {
        "PYTHONPATH": str(root / "lib"),
        "UNCERTAIN_AFFECT_CACHE": str(root / name / "cache"),
        "UNCERTAIN_AFFECT_RESULTS": str(root / name / "results"),
        "STEPS_LOG": str(root / name / "steps"),
    }
    (root / name).mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "uncertain_affect.run.cli", "reproduce", "--workers", "2"],
        cwd=root,
        env=os.environ | own | variables,
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
    """What was made, not taken from the cache."""
    return (root / name / "steps").read_text().splitlines() if (root / name / "steps").exists() else []


def _kill_after(batch: subprocess.Popen, seconds: float) -> None:
    try:
        batch.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(batch.pid, signal.SIGKILL)  # the driver alone: its workers and kernels must find out
    batch.communicate(timeout=300)


def _went_on(root: Path, name: str, done: dict[str, bytes], kills: int, where: str) -> str | None:
    """What is wrong with the results once the same command has run to its end; None if nothing is."""
    whole = left_by(root, "whole")
    again = start(root, name)
    said, _ = again.communicate(timeout=300)
    if again.returncode:
        return f"{where}: the same command ended with {again.returncode}: {said}"
    if lost := set(done) - set(whole):
        return f"{where}: left {', '.join(sorted(lost))}"
    left = left_by(root, name)
    if left != whole:
        different = sorted(path for path in {*left, *whole} if left.get(path) != whole.get(path))
        return f"{where}: other results than without: {', '.join(different)}"
    repeated = len(steps_of(root, name)) - len(steps_of(root, "whole"))
    if repeated > 4 * kills:  # two notebooks and two inner tasks may be at work
        return f"{where}: {repeated} steps were made again that had been finished"
    return None


def kill_at(root: Path, name: str, moments: list[float]) -> str | None:
    """Kill a batch after so many seconds, and again while it resumes; what is wrong in the end, or None."""
    for moment in moments:
        _kill_after(start(root, name), moment)
    done = {path: content for path, content in left_by(root, name).items() if "/." not in path}  # others lie apart
    return _went_on(root, name, done, len(moments), f"killed after {' and '.join(f'{m:.2f} s' for m in moments)}")


def kill_in_rename(root: Path, name: str, nth: int, when: str, anew: bool) -> str | None:
    """Kill whoever moves a finished run into its place, with the whole batch; what is wrong in the end, or None.

    Args:
        nth: of the moves of one process; where a run is replaced, 1 puts the old one aside and 2 the new one there.
        when: ``"before"`` or ``"after"`` the move.
        anew: nothing was there before; else a finished run is replaced.
    """
    whole, where = left_by(root, "whole"), f"killed {when} move {nth} {'into an empty place' if anew else 'over a run'}"
    if not anew:
        shutil.copytree(root / "whole", root / name)
    marker = root / name / "stands"
    slow = {
        "PYTHONPATH": os.pathsep.join([str(root / "slow"), str(root / "lib")]),
        "SLOW_RESULTS": str(root / name / "results"),
        "SLOW_MARKER": str(marker),
        "SLOW_MOVE": str(nth),
        "SLOW_WHEN": when,
    }
    batch = start(root, name, **slow)
    deadline = time.monotonic() + 240
    while not marker.exists() and batch.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(batch.pid, signal.SIGKILL)
    batch.communicate(timeout=300)
    if not marker.exists():
        return f"{where}: no such move was met"
    left = left_by(root, name)
    for folder in {Path(path).parents[-4] for path in whole} if not anew else ():
        own = {path: content for path, content in whole.items() if Path(path).is_relative_to(folder)}
        aside = folder.with_name(f".{folder.name}.old")
        put_aside = {str(aside / Path(path).relative_to(folder)): content for path, content in own.items()}
        if not (own.items() <= left.items() or put_aside.items() <= left.items()):
            return f"{where}: neither the old nor the new {folder} is whole"
    return _went_on(root, name, {path: left[path] for path in left if "/." not in path}, 1, where)


def run(minutes: float) -> Iterator[Row]:
    """Kill batches for so many minutes, or as often as ``KILLS`` says."""
    rng = random.SystemRandom()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds = checkout(root)
        deadline = time.monotonic() + 60 * minutes - seconds
        moves = [
            (2, "before", False),
            (2, "after", False),
            (1, "before", True),
            (1, "after", True),
            (1, "before", False),
        ]
        makers = {
            "at any moment": lambda name, i: kill_at(root, name, [rng.uniform(0, seconds)]),
            "while it resumes": lambda name, i: kill_at(root, name, [rng.uniform(0, seconds), rng.uniform(0, seconds)]),
            "in the final rename": lambda name, i: kill_in_rename(root, name, *moves[i % len(moves)]),
        }
        found = {kind: [] for kind in KILLS}
        # one of each in turn: where the time is short, none is left out
        for i in range(max(KILLS.values())):
            for kind, wanted in KILLS.items():
                if i < wanted and time.monotonic() < deadline:
                    name = f"{kind} {i}"
                    found[kind].append(makers[kind](name, i))
                    shutil.rmtree(root / name)
        for kind, wanted in KILLS.items():
            problems = [problem for problem in found[kind] if problem]
            fine = f"nothing lost, the same results to the last bit; a batch that nobody kills takes {seconds:.0f} s"
            yield judged("kill", f"kill -9 of a batch {kind}", len(found[kind]), wanted, problems, fine)
