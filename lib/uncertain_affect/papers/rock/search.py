"""Random search with median stopping: what a trial draws, how it is trained, and the trials of a seed in a cell.

A *cell* is what a table compares (an architecture, its capacity, its families of auxiliary tasks); a seed is an
independent list of trials, each with hyper-parameters and initial weights of its own. Cells share the lists, so that
they are compared on the same settings. What the cache holds of a trial is not trained again.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor, nn

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.compute.parallel import run_all
from uncertain_affect.losses.rock import SCHEMES, draw_primary_weight, loss_weights, multi_task_loss, without_families
from uncertain_affect.models.rock import FAMILIES, FlatHan, HanRock, contexts
from uncertain_affect.papers.rock.protocol import RockSettings
from uncertain_affect.papers.rock.tasks import Problem
from uncertain_affect.training.fit import History, fit

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)
FIRST, EVERY = 5, 2  # epochs after which median stopping is applied (section 4.4)
EVALUATED = 512  # talkturns predicted at a time
MEASURED = ("dev", "score", "epoch", "stopped", "seconds", "parameters")


# --- one trial --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is compared with other cells.

    Attributes:
        architecture: "rock" or "flat".
        pri_gru: the size P that is printed, a key of `RockSettings.pri_gru`.
        families: letters of the auxiliary families that are learnt; "" for none.
    """

    architecture: str
    pri_gru: int
    families: str


@dataclass(frozen=True)
class Trial:
    """Hyper-parameters of one trial, those of Table 6, and its loss weights, the primary task's first."""

    lr: float
    batch_size: int
    l2: float
    content_size: int
    gru_dropout: float
    recurrent_dropout: float
    scheme: str
    weights: tuple[float, ...]


def suggest(trial: optuna.Trial, problem: Problem, cell: Cell, settings: RockSettings, seed: int) -> Trial:
    """Draw hyper-parameters from Table 6, and loss weights as section 4.4 does; the schemes take turns."""
    scheme, rng = SCHEMES[trial.number % len(SCHEMES)], np.random.default_rng([seed, trial.number, 62])
    weights = loss_weights(scheme, draw_primary_weight(rng), rng, problem.information)
    removed = set(problem.families) - set(cell.families)
    weights = without_families(weights, [task.family for task in problem.tasks], removed)
    return Trial(
        lr=trial.suggest_float("learning rate", *settings.lr, log=True),
        batch_size=trial.suggest_int("batch size", *settings.batch_size),
        l2=trial.suggest_float("L2", *settings.l2, log=True) * trial.suggest_int("L2 is used", 0, 1),
        content_size=trial.suggest_int("content size", *settings.content_size),
        gru_dropout=trial.suggest_float("GRU dropout", *settings.gru_dropout),
        recurrent_dropout=trial.suggest_float("recurrent dropout", *settings.recurrent_dropout),
        scheme=scheme,
        weights=tuple(weights.tolist()),
    )


def network(problem: Problem, cell: Cell, settings: RockSettings, trial: Trial, generator: torch.Generator):
    """The untrained network of a cell, with the dropout of a trial; heads of numbers start at their training means."""
    size = settings.pri_gru[cell.pri_gru]
    kind, sizes = {"flat": (FlatHan, [size]), "rock": (HanRock, [size, settings.total - size])}[cell.architecture]
    options = {name: getattr(settings, name) for name in ("word_gru", "attention", "attend", "freeze")}
    options |= {name: getattr(trial, name) for name in ("gru_dropout", "recurrent_dropout")}
    net = kind(problem.tasks, problem.embedding, *sizes, generator, **options)
    means = problem.targets[problem.rows["train"]].nanmean(0)
    with torch.no_grad():
        net.heads.value_bias.copy_(means[net.heads.numbers].nan_to_num(0))
    return net


def train(
    problem: Problem,
    cell: Cell,
    settings: RockSettings,
    trial: Trial,
    seed: Sequence[int],
    stop: Callable[[int, float], bool] = lambda epoch, score: False,
    device: str = "cpu",
) -> tuple[nn.Module, dict[str, np.ndarray]]:
    """Train a network, and leave it at its best epoch on the development set.

    Args:
        seed: numbers that decide initial weights, dropout masks and the order of examples.
        stop: called after each epoch with its number, from 1, and the development score; True ends the training.

    Returns:
        The network, and arrays: `curve` and `losses` (E,), development score and training loss of each epoch; `epoch`,
        the best one, from 1; `stopped`; `test`, predictions (n,) or probabilities (n, C) for the test set at that
        epoch; `dev` and `score`, its development and test scores; `seconds`; `parameters`, their number.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    started = time.perf_counter()
    draw = [torch.Generator().manual_seed(int(n)) for n in np.random.SeedSequence(list(seed)).generate_state(2, "u8")]
    net = network(problem, cell, settings, trial, draw[0]).to(device)
    tokens, targets = problem.tokens.to(device), problem.targets.to(device)
    context = contexts(problem.dialogue, trial.content_size).to(device)
    weights = torch.tensor(trial.weights, device=device)
    categorical = [task.n_classes is not None for task in problem.tasks]
    decayed, others = [], []
    for name, p in net.named_parameters():
        if p.requires_grad:
            (decayed if "weight" in name and "embedding" not in name else others).append(p)
    # the gradient of l2 ||W||^2 is 2 l2 W
    groups = [{"params": decayed, "weight_decay": 2 * trial.l2}, {"params": others}]
    stops = []

    def loss(rows: Tensor) -> Tensor:
        predicted = net(tokens, context[rows])
        return multi_task_loss(predicted.values, predicted.logits, targets[rows], weights, categorical)

    def batches() -> Sequence[Tensor]:
        return _order(problem, settings.run_length, draw[1]).to(device).split(trial.batch_size)

    def validate() -> Tensor:
        return -torch.tensor(score(problem, predict(net, problem, tokens, context, "val"), "val"), dtype=torch.float64)

    def is_stopped(history: History) -> bool:
        stops.append(stop(len(history.val), -history.val[-1][0]))
        return stops[-1]

    options = {"optimiser": lambda _: torch.optim.Adam(groups, lr=trial.lr, fused=True), "validate": validate}
    options |= {"stop": is_stopped, "label": f"{problem.name}, {cell}, {trial}", "progress": False}
    history = fit(net, loss, batches, epochs=settings.max_epochs, **options)
    test = predict(net, problem, tokens, context, "test")
    found = {"dev": -history.best_val[0], "epoch": history.best_epoch[0], "stopped": any(stops)}
    found |= {"score": score(problem, test, "test"), "seconds": time.perf_counter() - started}
    found["parameters"] = sum(p.numel() for p in net.parameters())
    curves = {"curve": -np.array(history.val)[:, 0], "losses": np.array(history.train)[:, 0]}
    return net, curves | {"test": test} | {name: np.array([value]) for name, value in found.items()}


def _order(problem: Problem, run_length: int, generator: torch.Generator) -> Tensor:
    """Training rows in random order; runs of so many neighbours in a dialogue stay together."""
    rows = problem.rows["train"]
    _, dialogue = np.unique(problem.dialogue[rows], return_inverse=True)
    place = pd.Series(dialogue).groupby(dialogue).cumcount().to_numpy()
    # runs begin anywhere, so that their ends do not lie in the same places in every epoch
    shift = int(torch.randint(run_length, (), generator=generator))
    _, run = np.unique(np.stack([dialogue, (place + shift) // run_length]), axis=1, return_inverse=True)
    at = torch.randperm(int(run.max()) + 1, generator=generator).numpy()[run.ravel()]
    return torch.from_numpy(rows[np.argsort(at, kind="stable")])


@torch.no_grad()
def predict(net: nn.Module, problem: Problem, tokens: Tensor, context: Tensor, split: str) -> np.ndarray:
    """Predictions (n,) of the primary task, or probabilities (n, C), for the rows of a split."""
    net.eval()
    parts = []
    for rows in torch.from_numpy(problem.rows[split]).split(EVALUATED):
        predicted = net(tokens, context[rows.to(tokens.device)])
        parts.append(predicted.logits[:, 0].softmax(-1) if problem.classes else predicted.values[:, 0])
    return torch.cat(parts).cpu().numpy()


def errors(problem: Problem, predictions: np.ndarray, split: str) -> np.ndarray:
    """What the metric averages, for predictions (..., n[, C]): absolute errors, or 1 for a missed class and 0 else."""
    truth = problem.truth(split)
    return (predictions.argmax(-1) != truth).astype(float) if problem.classes else np.abs(predictions - truth)


def score(problem: Problem, predictions: np.ndarray, split: str) -> float:
    """Accuracy, which is MA(4) with classes weighted by their support; or minus the mean absolute error."""
    return float((1.0 if problem.classes else 0.0) - errors(problem, predictions, split).mean())


# --- median stopping --------------------------------------------------------------------------------------------


def falls_behind(curve: Sequence[float], completed: Sequence[Sequence[float]]) -> bool:
    """Whether the median stopping rule stops a trial after s steps (Golovin et al. 2017, Google Vizier, section 3.2.1).

    It does if the best objective so far is worse than the median, over completed trials, of the running average of
    their objective up to step s. Greater is better; without completed trials nothing stops.

    >>> falls_behind([0.1, 0.3], completed=[[0.2, 0.4, 0.9], [0.5, 0.5, 0.5]])  # the median of 0.3 and 0.5 is 0.4
    True

    Args:
        curve: (s,), the trial's objective at steps 1 to s.
        completed: the objective of each completed trial at all its steps.
    """
    averages = [np.mean(other[: len(curve)]) for other in completed]
    return bool(averages and max(curve) < np.median(averages))


class MedianStopping(optuna.pruners.BasePruner):
    """:func:`falls_behind`, applied after epochs 5, 7, 9, ...

    Optuna's own `MedianPruner` compares with the median of the others' objective *at* the step, not of their averages
    up to it.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if trial.last_step < FIRST or (trial.last_step - FIRST) % EVERY:
            return False
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        own, *others = ([values for _, values in sorted(t.intermediate_values.items())] for t in (trial, *completed))
        return falls_behind(own, others)


# --- the trials of a seed ---------------------------------------------------------------------------------------


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
        trials, found = zip(*map(run, range(settings.n_trials)), strict=True)
    except _DeadlinePassed:
        return None
    rows = [
        {name: value for name, value in asdict(trial).items() if name != "weights"}
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
    return _train_best(problem, found, settings, device)[0]


def retrain(problem: Problem, found: Search, settings: RockSettings, device: str = "cpu") -> np.ndarray:
    """Test predictions (n[, C]) on another problem with the best trial's hyper-parameters, from the cache if there.

    For other splits of one corpus: nothing is searched again, and training stops at the epoch that was best there.
    """
    key = _key(problem, found.cell, settings, found.seed, device)
    key = content_key(key, asdict(found.trials[found.best]), found.best, found.best_epoch)
    return cached_arrays(key, lambda: _train_best(problem, found, settings, device)[1], kind="rock/retrained")["test"]


def retrain_all(jobs: Mapping, settings: RockSettings, device: str = "cpu") -> dict:
    """:func:`retrain` for many pairs of a problem and a search, by name."""
    return run_all(retrain, {name: (*job, settings, device) for name, job in jobs.items()}, device)


@one_thread()
def _train_best(problem: Problem, found: Search, settings: RockSettings, device: str) -> tuple[torch.nn.Module, dict]:
    """What :func:`train` returns for the best trial of a search, trained up to the epoch that was best there."""
    until = replace(settings, max_epochs=found.best_epoch)
    return train(problem, found.cell, until, found.trials[found.best], (found.seed, found.best), device=device)


def _key(problem: Problem, cell: Cell, settings: RockSettings, seed: int, device: str) -> str:
    """Everything that the trials of one seed depend on."""
    decides = {k: v for k, v in asdict(settings).items() if k not in ("seeds", "pri_gru", "n_trials")}
    of_cell = cell.architecture, settings.pri_gru[cell.pri_gru], cell.families
    return content_key(RECIPE, asdict(problem), of_cell, decides, seed, torch.device(device).type, torch.__version__)
