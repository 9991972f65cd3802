"""Random search over hyper-parameters with median stopping, kept on disk by Optuna.

A search is a folder. It goes on where it stopped, and several workers can share it: each trial is run by whoever gets
its lock, and the lock of a worker that died is free.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.pruners import BasePruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
WAIT_S = 0.2


def falls_behind(curve: Sequence[float], completed: Sequence[Sequence[float]]) -> bool:
    """Whether the median stopping rule stops a trial after s steps (Golovin et al. 2017, Google Vizier, section 3.2.1).

    It does if the best objective so far is worse than the median, over completed trials, of the running average of
    their objective up to step s. Greater is better; without completed trials nothing stops.

    Args:
        curve: (s,), the trial's objective at steps 1 to s.
        completed: of each completed trial, its objective at all steps.
    """
    if not completed:
        return False
    averages = [np.mean(other[: len(curve)]) for other in completed]
    return bool(max(curve) < np.median(averages))


class MedianStopping(BasePruner):
    """`falls_behind`, asked after steps `first`, `first + every`, and so on (HAN-ROCK, section 4.4: 5, 7, 9, ...).

    Optuna's own `MedianPruner` compares with the median of the others' objective *at* the step, not of their averages
    up to it. Only completed trials with a smaller index count, so that a trial run again stops where it did.
    """

    def __init__(self, first: int = 5, every: int = 2):
        self.first, self.every = first, every

    def is_asked(self, step: int) -> bool:
        """Whether the rule is applied after this step, counted from 1."""
        return step >= self.first and (step - self.first) % self.every == 0

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self.is_asked(step):
            return False
        index = trial.user_attrs["index"]
        others = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        completed = [curve(other) for other in others if other.user_attrs["index"] < index]
        return falls_behind(curve(trial), completed)


def curve(trial: FrozenTrial) -> list[float]:
    """What a trial reported, in the order of its steps."""
    return [value for _, value in sorted(trial.intermediate_values.items())]


CHECKSUM = "sha256"


class CheckedJournal(JournalFileBackend):
    """Optuna's journal with a checksum in each line, which it would else believe whatever it says.

    It is cut off, with a warning, before the first line that does not match: what stood after it is run again.
    """

    def __init__(self, path: Path):
        lock = JournalFileSymlinkLock(str(path))
        lock.acquire()  # or a line that another worker is writing looks cut off
        try:
            _cut_off_damage(path)
        finally:
            lock.release()
        super().__init__(str(path), lock)

    def append_logs(self, logs: list[dict]) -> None:
        super().append_logs([log | {CHECKSUM: _checksum(log)} for log in logs])

    def read_logs(self, log_number_from: int) -> Iterator[dict]:
        for log in super().read_logs(log_number_from):
            yield {key: value for key, value in log.items() if key != CHECKSUM}


def _cut_off_damage(path: Path) -> None:
    whole, lines = 0, path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        if not _is_whole(line):
            warnings.warn(f"line {number} of {path} is damaged; the trials from there on are run again", stacklevel=2)
            with path.open("r+b") as file:
                file.truncate(whole)
            return
        whole += len(line)


def _is_whole(line: bytes) -> bool:
    try:
        log = json.loads(line)
        return line.endswith(b"\n") and log.pop(CHECKSUM) == _checksum(log)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):  # no JSON, or of something else
        return False


def _checksum(log: dict) -> str:
    return hashlib.sha256(json.dumps(log).encode()).hexdigest()


def random_search(
    folder: Path,
    run: Callable[[optuna.Trial], float],
    *,
    n_trials: int,
    seed: int,
    pruner: BasePruner | None = None,
    deadline: float = float("inf"),
) -> list[FrozenTrial] | None:
    """Run what is left of `n_trials` trials, and return all of them in the order of their index.

    Trial i draws its hyper-parameters from (seed, i) alone, whoever runs it and whatever ran before. With one worker a
    search gives the same trials whether or not it was interrupted or its journal damaged; with several at once, which
    trials are complete when another one asks the pruner depends on who was faster.

    Args:
        folder: of this search; made where it is missing.
        run: suggests, trains and reports; returns the objective, of which greater is better, or raises
            `optuna.TrialPruned`. `trial.user_attrs["index"]` counts from 0.
        seed: of all trials.
        pruner: asked by `trial.should_prune()`; nothing is pruned if None.
        deadline: on `time.time`, which machines share; no trial starts after it. None comes back if trials are left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with FileLock(folder / "study.lock"):
        study = optuna.create_study(
            storage=JournalStorage(CheckedJournal(folder / "trials.journal")),
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=pruner or optuna.pruners.NopPruner(),
        )
    while missing := sorted(set(range(n_trials)) - set(_finished(study))):
        claimed = False
        for index in missing:
            if time.time() > deadline:
                return None
            try:
                with FileLock(folder / f"{index}.lock", timeout=0):
                    claimed = True
                    if index not in _finished(study):
                        _run_one(study, run, index, seed)
            except Timeout:  # another worker has it
                continue
        if not claimed:
            time.sleep(WAIT_S)
    finished = _finished(study)
    return [finished[index] for index in range(n_trials)]


def _finished(study: optuna.Study) -> dict[int, FrozenTrial]:
    return {trial.user_attrs["index"]: trial for trial in study.get_trials(deepcopy=False, states=FINISHED)}


def _run_one(study: optuna.Study, run: Callable[[optuna.Trial], float], index: int, seed: int) -> None:
    # the lock is ours: whoever was running this trial is gone
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("index") == index:
            study.tell(trial.number, state=TrialState.FAIL)
    study.sampler = optuna.samplers.RandomSampler(seed=int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))
    trial = study.ask()
    trial.set_user_attr("index", index)
    try:
        value = run(trial)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        study.tell(trial, value)
