"""Random search with median stopping: the trials of a seed in a cell, each taken from the cache or trained.

A *cell* is what a table compares (an architecture, its capacity, its families of auxiliary tasks); a seed is an
independent list of trials, each with hyper-parameters and initial weights of its own. Cells share the lists, so that
they are compared on the same settings.
"""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.trial import TrialState

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.compute.parallel import run_all
from uncertain_affect.models.rock import FAMILIES
from uncertain_affect.papers.rock.protocol import RockSettings
from uncertain_affect.papers.rock.stopping import MedianStopping
from uncertain_affect.papers.rock.tasks import Problem
from uncertain_affect.papers.rock.trials import Cell, Trial, suggest, train

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)
MEASURED = ("dev", "score", "epoch", "stopped", "seconds", "parameters")

Job = tuple[Problem, Cell, int]


@dataclass(frozen=True, eq=False)
class Search:
    """The trials of one seed in one cell.

    Attributes:
        cell, seed: what was searched.
        table: one row for each trial: hyper-parameters, scheme, `dev` and `test` score (accuracy, or minus the mean
            absolute error), best `epoch`, `epochs` trained, `stopped`, `seconds`, `parameters`.
        trials: the hyper-parameters of the K trials.
        curves: the development score of each trial by epoch.
        test: (K, n[, C]), the test predictions of each trial.
    """

    cell: Cell
    seed: int
    table: pd.DataFrame
    trials: list[Trial]
    curves: list[np.ndarray]
    test: np.ndarray

    @property
    def best(self) -> int:
        """The trial with the best development score; of equal ones the first."""
        return int(self.table["dev"].to_numpy().argmax())

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, at which the best trial was tested."""
        return int(self.table["epoch"].iloc[self.best])


class _DeadlinePassed(Exception):
    """A trial that is not in the cache may not be trained any more."""


def search(
    problem: Problem, cell: Cell, settings: RockSettings, seed: int, device: str = "cpu", deadline: float = np.inf
) -> Search | None:
    """Run the trials of one seed in one cell; what the cache holds of them is not trained again.

    Trial i draws its hyper-parameters from (seed, i) alone, and whether it is stopped depends on the trials before it
    alone. So a search that was interrupted, or whose cache was damaged, ends with the same trials.

    Args:
        deadline: in seconds of `time.time`, which machines share. No training starts after it.

    Returns:
        None if trials are left at the deadline.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=MedianStopping())
    kind = f"rock/{_key(problem, cell, settings, seed, device)}/trials"

    def run(index: int) -> tuple[Trial, dict[str, np.ndarray]]:
        study.sampler = optuna.samplers.RandomSampler(int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))
        trial = study.ask()
        drawn = suggest(trial, problem, cell, settings, seed)

        def stop(epoch: int, score: float) -> bool:
            trial.report(score, epoch)
            return trial.should_prune()

        def build() -> dict[str, np.ndarray]:
            if time.time() > deadline:
                raise _DeadlinePassed
            return train(problem, cell, settings, drawn, (seed, index), stop, device)[1]

        arrays = cached_arrays(f"{index:03}", build, kind=kind)
        if study.trials[index].last_step is None:  # it comes from the cache
            for epoch, score in enumerate(arrays["curve"].tolist(), 1):
                trial.report(score, epoch)
        if arrays["stopped"][0]:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(arrays["dev"][0]))
        return drawn, arrays

    try:
        trials, found = zip(*(run(index) for index in range(settings.n_trials)), strict=True)
    except _DeadlinePassed:
        return None
    rows = [
        {name: value for name, value in dataclasses.asdict(trial).items() if name != "weights"}
        | {"main_weight": trial.weights[0], "epochs": len(arrays["curve"])}
        | {name: arrays[name][0].item() for name in MEASURED}
        for trial, arrays in zip(trials, found, strict=True)
    ]
    table = pd.DataFrame(rows).rename(columns={"score": "test"}).rename_axis("trial")
    curves, test = [arrays["curve"] for arrays in found], np.stack([arrays["test"] for arrays in found])
    return Search(cell, seed, table, list(trials), curves, test)


def search_all(
    jobs: Sequence[Job], settings: RockSettings, device: str = "cpu", budget_s: float = np.inf
) -> dict[tuple[str, Cell, int], Search]:
    """The searches of many problems, cells and seeds, by problem's name, cell and seed; see :func:`run_all`.

    Args:
        jobs: in the order in which they are begun.
        budget_s: no training starts after so many seconds; searches that are unfinished then are left out.
    """
    deadline = time.time() + budget_s
    named = {(problem.name, cell, seed): (problem, cell, settings, seed, device) for problem, cell, seed in jobs}
    with one_thread():
        # what is in the cache needs no other process
        found = {name: search(*arguments, deadline=-np.inf) for name, arguments in named.items()}
    left = {name: (*arguments, deadline) for name, arguments in named.items() if found[name] is None}
    found |= run_all(search, left, device)
    return {name: result for name, result in found.items() if result is not None}


def in_order(jobs: Iterable[Job], settings: RockSettings, block: int = 5) -> list[Job]:
    """The cheapest cells first, five seeds at a time, so that a budget that runs out leaves whole comparisons."""
    n_auxiliary = sum(len(names) for names in FAMILIES.values())

    def order(job: Job) -> tuple[int, int, int]:
        _, cell, seed = job
        place, size = settings.seeds.index(seed), settings.pri_gru[cell.pri_gru]
        n_units = size if cell.architecture == "flat" else size + n_auxiliary * (settings.total - size)
        return place // block, n_units, place

    return sorted(jobs, key=order)


def best_network(problem: Problem, found: Search, settings: RockSettings, device: str = "cpu") -> torch.nn.Module:
    """The network of the trial with the best development score, trained again up to its best epoch."""
    with one_thread():
        return _train_best(problem, found, settings, device)[0]


def retrain(problem: Problem, found: Search, settings: RockSettings, device: str = "cpu") -> np.ndarray:
    """Test predictions (n[, C]) on another problem with the best trial's hyper-parameters, from the cache if there.

    For other splits of one corpus: nothing is searched again, and training stops at the epoch that was best there.
    """
    key = _key(problem, found.cell, settings, found.seed, device)
    key = content_key(key, dataclasses.asdict(found.trials[found.best]), found.best, found.best_epoch)
    return cached_arrays(key, lambda: _train_best(problem, found, settings, device)[1], kind="rock/retrained")["test"]


def retrain_all(jobs: Mapping, settings: RockSettings, device: str = "cpu") -> dict:
    """:func:`retrain` for many pairs of a problem and a search, by name."""
    return run_all(retrain, {name: (*job, settings, device) for name, job in jobs.items()}, device)


def _train_best(problem: Problem, found: Search, settings: RockSettings, device: str) -> tuple[torch.nn.Module, dict]:
    """What :func:`train` returns for the best trial of a search, trained up to the epoch that was best there."""
    until = dataclasses.replace(settings, max_epochs=found.best_epoch)
    return train(problem, found.cell, until, found.trials[found.best], (found.seed, found.best), device=device)


def _key(problem: Problem, cell: Cell, settings: RockSettings, seed: int, device: str) -> str:
    """Everything that the trials of one seed depend on."""
    decides = {k: v for k, v in dataclasses.asdict(settings).items() if k not in ("seeds", "pri_gru", "n_trials")}
    return content_key(
        RECIPE,
        dataclasses.asdict(problem),
        (cell.architecture, settings.pri_gru[cell.pri_gru], cell.families),
        decides,
        seed,
        torch.device(device).type,
        torch.__version__,
    )
