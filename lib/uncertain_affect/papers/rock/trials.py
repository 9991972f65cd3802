"""One trial: the hyper-parameters that it draws, its network, and how that is trained and tested."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
import torch
from torch import Tensor, nn

from uncertain_affect.losses.rock import SCHEMES, draw_primary_weight, loss_weights, multi_task_loss, without_families
from uncertain_affect.models.rock import FlatHan, HanRock, contexts
from uncertain_affect.papers.rock.protocol import RockSettings
from uncertain_affect.papers.rock.tasks import Problem
from uncertain_affect.training.fit import History, fit

EVALUATED = 512  # talkturns predicted at a time


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
    networks = {"flat": (FlatHan, [size]), "rock": (HanRock, [size, settings.total - size])}
    kind, sizes = networks[cell.architecture]
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
    stopped = False

    def loss(rows: Tensor) -> Tensor:
        predicted = net(tokens, context[rows])
        return multi_task_loss(predicted.values, predicted.logits, targets[rows], weights, categorical)

    def validate() -> Tensor:
        return -torch.tensor(score(problem, predict(net, problem, tokens, context, "val"), "val"), dtype=torch.float64)

    def is_stopped(history: History) -> bool:
        nonlocal stopped
        stopped = stop(len(history.val), -history.val[-1][0])
        return stopped

    history = fit(
        net,
        loss,
        lambda: _order(problem, settings.run_length, draw[1]).to(device).split(trial.batch_size),
        epochs=settings.max_epochs,
        optimiser=lambda _: torch.optim.Adam(groups, lr=trial.lr, fused=True),
        validate=validate,
        stop=is_stopped,
        label=f"{problem.name}, {cell}, {trial}",
        progress=False,
    )
    test = predict(net, problem, tokens, context, "test")
    return net, {
        "curve": -np.array(history.val)[:, 0],
        "losses": np.array(history.train)[:, 0],
        "epoch": np.array(history.best_epoch),
        "stopped": np.array([stopped]),
        "test": test,
        "dev": -np.array(history.best_val),
        "score": np.array([score(problem, test, "test")]),
        "seconds": np.array([time.perf_counter() - started]),
        "parameters": np.array([sum(p.numel() for p in net.parameters())]),
    }


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
