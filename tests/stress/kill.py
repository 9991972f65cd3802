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
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import checkouts
from rows import Row, judged

# how many kills of each kind `make stress` makes
KILLS = {"at any moment": 10, "while it resumes": 4, "in the final rename": 6}
# which move of one process is met, on which side of it, and whether nothing was there before; where a run is replaced,
# the first move puts the old one aside and the second the new one there
MOVES = [(2, "before", False), (2, "after", False), (1, "before", True), (1, "after", True), (1, "before", False)]
BODIES = {
    # a chain of cached steps, a training that leaves checkpoints
    "11_trains": """
import steps
fit.SECONDS_BETWEEN_CHECKPOINTS = 0
state = torch.zeros(3)
for i in range(4):
    state = steps.add(state, i, SEED)
history = steps.train(SEED)
frame = pd.DataFrame({"state": state, "loss": history[-3:]})
""",
    # tasks for the workers
    "21_shares": """
import steps
found = parallel.run_all(steps.add, {i: (torch.ones(3), i, SEED + 9) for i in range(6)})
frame = pd.DataFrame({i: values for i, values in found.items()})
""",
}
STEPS = """
import os, time
import torch
from uncertain_affect.compute.cache import cached_arrays, content_key
from uncertain_affect.models.uncnet import UncNet
from uncertain_affect.training.fit import cached_fit, fit_tensors, generators

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

def train(seed):
    seeds = [seed, seed + 1]
    model = UncNet(4, generators(seeds), hidden=(8,), n_classes=1)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    def learn(checkpoint):
        note(f"train {seed}")
        return fit_tensors(
            model, lambda z, y: ((z - y) ** 2).mean((1, 2)), (x, x[:, :1]), (x, x[:, :1]), lr=0.01, batch_size=16,
            order=generators(seeds, 1), max_epochs=200, patience=999, checkpoint=checkpoint,
        )
    return [val[0] for val in cached_fit(model, learn, "train", seed).val]
"""
# what Python reads before anything else: the n-th move into or out of a place of results stands still, and says so
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
        stand()
    replace(source, target)
    if stands and after:
        stand()

def stand():
    pathlib.Path(os.environ["SLOW_MARKER"]).touch()
    time.sleep(60)

os.replace = slow
"""


def checkout(root: Path) -> float:
    """Make the checkout, and leave in ``whole`` what a batch that nobody kills leaves; the seconds that it took."""
    checkouts.checkout(root, BODIES, {"steps": STEPS})
    (root / "slow").mkdir()
    (root / "slow" / "sitecustomize.py").write_text(SLOW_RENAME, encoding="utf-8")
    started = time.monotonic()
    if problem := runs_to_its_end(root, "whole"):
        raise RuntimeError(f"of a batch that nobody killed {problem}")
    return time.monotonic() - started


def start(root: Path, name: str, **variables: str) -> subprocess.Popen:
    """A batch with a cache, results and a log of steps below ``name``."""
    own = root / name
    own.mkdir(exist_ok=True)
    places = {"results": own / "results", "cache": own / "cache", "STEPS_LOG": str(own / "steps")}
    return checkouts.start(root, "reproduce", "--workers", "2", **places, **variables)


def runs_to_its_end(root: Path, name: str) -> str | None:
    """Run a batch; how it failed, None if it did not."""
    batch = start(root, name)
    printed, _ = batch.communicate(timeout=300)
    return f"the command ended with {batch.returncode}: {printed}" if batch.returncode else None


def left_by(root: Path, name: str) -> dict[str, bytes]:
    """Everything under the results, but what says when."""
    results = root / name / "results"
    files = (path for path in sorted(results.rglob("*")) if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(results)): path.read_bytes() for path in files}


def steps_of(root: Path, name: str) -> list[str]:
    """What was made, not taken from the cache."""
    log = root / name / "steps"
    return log.read_text().splitlines() if log.exists() else []


def _goes_on(root: Path, name: str, kept: dict[str, bytes], kills: int) -> str | None:
    """What is wrong with the results once the same command has run to its end; None if nothing is."""
    whole = left_by(root, "whole")
    if problem := runs_to_its_end(root, name):
        return problem
    # what is being written or put aside lies in folders with a dot
    if alien := {path for path in kept if "/." not in path} - set(whole):
        return f"left {', '.join(sorted(alien))}"
    left = left_by(root, name)
    if different := sorted(path for path in {*left, *whole} if left.get(path) != whole.get(path)):
        return f"other results than without: {', '.join(different)}"
    repeated = len(steps_of(root, name)) - len(steps_of(root, "whole"))
    if repeated > 4 * kills:  # two notebooks and two inner tasks may be at work
        return f"{repeated} steps were made again that had been finished"
    return None


def kill_at(root: Path, name: str, moments: list[float]) -> str | None:
    """Kill a batch after so many seconds, and again while it resumes; what is wrong in the end, or None."""
    for moment in moments:
        batch = start(root, name)
        try:
            batch.wait(moment)
        except subprocess.TimeoutExpired:
            os.kill(batch.pid, signal.SIGKILL)  # the driver alone: its workers and kernels must find out
        batch.communicate(timeout=300)
    problem = _goes_on(root, name, left_by(root, name), len(moments))
    return problem and f"killed after {' and '.join(f'{moment:.2f} s' for moment in moments)}: {problem}"


def kill_in_rename(root: Path, name: str, nth: int, when: str, anew: bool) -> str | None:
    """Kill whoever moves a finished run into its place, with the whole batch; what is wrong in the end, or None.

    Args:
        nth, when, anew: of ``MOVES``.
    """
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
    left, problem = left_by(root, name), None if marker.exists() else "no such move was met"
    if not problem:
        problem = (not anew and _torn(root, left)) or _goes_on(root, name, left, 1)
    return problem and f"killed {when} move {nth} {'into an empty place' if anew else 'over a run'}: {problem}"


def _torn(root: Path, left: dict[str, bytes]) -> str | None:
    """What is wrong if a run lies whole neither in its place nor put aside."""
    whole = left_by(root, "whole")
    for folder in {Path(path).parents[-4] for path in whole}:
        own = {path: content for path, content in whole.items() if Path(path).is_relative_to(folder)}
        aside = folder.with_name(f".{folder.name}.old")
        put_aside = {str(aside / Path(path).relative_to(folder)): content for path, content in own.items()}
        if not (own.items() <= left.items() or put_aside.items() <= left.items()):
            return f"neither the old nor the new {folder} is whole"
    return None


def run(minutes: float) -> Iterator[Row]:
    """Kill batches for so many minutes, or as often as ``KILLS`` says."""
    rng = random.SystemRandom()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds = checkout(root)
        deadline = time.monotonic() + 60 * minutes - seconds
        makers = {
            "at any moment": lambda name, i: kill_at(root, name, [rng.uniform(0, seconds)]),
            "while it resumes": lambda name, i: kill_at(root, name, [rng.uniform(0, seconds), rng.uniform(0, seconds)]),
            "in the final rename": lambda name, i: kill_in_rename(root, name, *MOVES[i % len(MOVES)]),
        }
        found = {kind: [] for kind in KILLS}
        # one of each in turn: where the time is short, none is left out
        for i, kind in sorted((i, kind) for kind, wanted in KILLS.items() for i in range(wanted)):
            if time.monotonic() < deadline:
                name = f"{kind} {i}"
                found[kind].append(makers[kind](name, i))
                shutil.rmtree(root / name)
        for kind, wanted in KILLS.items():
            fine = f"nothing lost, the same results to the last bit; a batch that nobody kills takes {seconds:.0f} s"
            yield judged("kill", f"kill -9 of a batch {kind}", len(found[kind]), wanted, found[kind], fine)
