"""HAN-ROCK's protocol: primary tasks with auxiliary ones, random search with median stopping, and what it compares.

Source: sections 4.2 to 4.4 and appendices A.2 to A.5 of the paper. A *cell* is what a table compares (an architecture,
its capacity, its families of auxiliary tasks); a seed is an independent list of trials, each with hyper-parameters and
initial weights of its own. Cells share the lists, so that they are compared on the same settings.

Where the paper is silent, these readings hold:

- *Optimiser*: Adam. *L2* is the weight of the sum of squares of all weight matrices, embeddings excepted, and is 0 in
  half of the trials: Table 6 prints 0 as the lower end of a logarithmic scale, and half of Table 7's best are 0.
- *Development performance* of a trial is its best over epochs; the epoch it came in is tested.
- *Heads* of numbers start at the mean of their training targets.
- *Loss* of numbers is the squared error; `regression="absolute"` is the paper's metric.
- *Batches* hold runs of consecutive talkturns (`run_length`) where a turn's context is expensive: contexts of
  neighbours overlap, and each talkturn is encoded once. Runs of one are the usual shuffle.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.trial import TrialState
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.compute import parallel as cluster
from uncertain_affect.compute.cache import cache_dir, cached_arrays, code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.compute.paths import data_root
from uncertain_affect.corpora import meld, turns
from uncertain_affect.corpora.base import SPLITS, Dialogues
from uncertain_affect.corpora.simulated import conversation
from uncertain_affect.evidence.claims import Effect, effect_interval
from uncertain_affect.evidence.resampling import cluster_sums, difference
from uncertain_affect.losses.rock import (
    SCHEMES,
    draw_primary_weight,
    loss_weights,
    multi_task_loss,
    mutual_information,
    without_families,
)
from uncertain_affect.metrics.sums import f1_from_sums, f1_sums, ratio, ratio_sums
from uncertain_affect.models.rock import FAMILIES, FlatHan, HanRock, Task, contexts
from uncertain_affect.papers.rock import text
from uncertain_affect.papers.rock.monah import narrate
from uncertain_affect.papers.rock.search import MedianStopping, random_search
from uncertain_affect.papers.rock.targets import neighbouring_labels, percentile_ranks
from uncertain_affect.training.fit import History, fit, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

TIMING = {"t": turns.TIMING}
# The primary tasks by form, in the order of the paper's tables, and the range of those that are numbers.
PRIMARY = {
    "iemocap": ("emotion", "valence", "activation", "dominance"),
    "semaine": ("activation", "intensity", "power", "valence"),
    "meld": ("emotion",),
}
SCALES = {"iemocap": (1.0, 5.0), "semaine": (-1.0, 1.0)}
CLASSES = {"iemocap": conversation.EMOTIONS, "meld": ("angry", "happy", "neutral", "sad")}
# What quick fills, one task of each form.
QUICK = ("IEMOCAP emotion", "SEMAINE valence", "MELD emotion")
EVALUATED = 512  # talkturns predicted at a time
MEASURED = ("dev", "score", "epoch", "stopped", "seconds", "parameters")


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run.

    Given by the paper: 30 trials, ten for each way to weight losses, of up to 350 epochs; the ranges of Table 6; the
    sizes P, of P + A = 257; 300-dimensional embeddings. Not given: sizes of the word encoders and of attention, words
    in a talkturn, and how embeddings are trained.

    Attributes:
        pri_gru: the sizes P by those that the paper prints.
        total: P + A.
        content_size: range of L, the talkturns read, the current one included.
        batch_size: range of the examples in a minibatch.
        freeze: embeddings stay as they are.
        max_words: words of a talkturn that are read.
        min_count: how often a word must come in training to be known.
        run_length: consecutive talkturns in a minibatch, see the head of this module.
    """

    seeds: tuple[int, ...]
    n_trials: int = 30
    max_epochs: int = 350
    pri_gru: Mapping[int, int] = field(default_factory=lambda: {p: p for p in (256, 192, 128, 64, 1)})
    total: int = 257
    content_size: tuple[int, int] = (1, 30)
    batch_size: tuple[int, int] = (32, 256)
    lr: tuple[float, float] = (2**-10, 2**-5)
    l2: tuple[float, float] = (1e-6, 0.5)
    gru_dropout: tuple[float, float] = (0.01, 0.5)
    recurrent_dropout: tuple[float, float] = (0.01, 0.5)
    embedding_size: int = 300
    freeze: bool = False
    word_gru: int = 50
    attention: int = 100
    max_words: int = 60
    min_count: int = 2
    run_length: int = 1
    regression: str = "squared"
    attend: str = "u"


def settings(profile: str, seed: int = 0, device: str = "cuda", n_trials: int | None = None) -> Settings:
    """The settings of a profile; seeds count up from `seed`, and `n_trials` takes the place of its number of trials.

    The paper's sizes need a GPU. On a CPU full keeps the 30 trials and all values of P, a sixteenth as large, for few
    epochs; quick draws its word vectors once and leaves them.

    Raises:
        ValueError: no such profile, or no trial.
    """
    if n_trials is not None and n_trials < 1:
        raise ValueError(f"a list needs at least one trial, not {n_trials}")
    small = Settings(
        tuple(range(seed, seed + 20)),
        max_epochs=8,
        pri_gru={256: 16, 192: 12, 128: 8, 64: 4, 1: 1},
        total=17,
        content_size=(1, 10),
        embedding_size=32,
        word_gru=8,
        attention=24,
        max_words=24,
        run_length=8,
    )
    if profile == "full":
        chosen = small if device == "cpu" else Settings(small.seeds)
        return dataclasses.replace(chosen, n_trials=n_trials or chosen.n_trials)
    if profile == "quick":
        few = {"seeds": small.seeds[:5], "n_trials": n_trials or 3, "pri_gru": {256: 16, 128: 8, 1: 1}}
        return dataclasses.replace(small, **few, content_size=(1, 4), batch_size=(32, 128), freeze=True)
    raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')


def embeddings(settings: Settings, root: str | os.PathLike | None) -> tuple[Settings, Path | None]:
    """The settings with, where the reader has it, the file of GloVe vectors `<data root>/glove/glove.6B.<D>d.txt`.

    Published vectors stay as they are: then nothing that auxiliary tasks learn reaches the primary branch through them.
    """
    path = data_root(root) / "glove" / f"glove.6B.{settings.embedding_size}d.txt"
    return (dataclasses.replace(settings, freeze=True), path) if path.is_file() else (settings, None)


# --- corpora --------------------------------------------------------------------------------------------------------


def load(name: str, profile: str, seed: int = 0, root: str | os.PathLike | None = None) -> dict[str, Dialogues]:
    """Corpora by form, "iemocap", "semaine" or "meld"; the simulated world gives the first two.

    Raises:
        CorpusError: as :func:`corpora.load`.
    """
    if name == "simulated":
        return {
            form: corpora.load(name, view="dialogues", size=profile, seed=seed, form=form)
            for form in conversation.FORMS
        }
    return {name: corpora.load(name, root)}


def narratives(corpus: Dialogues, form: str, **how) -> list[str]:
    """One MONAH sentence for each talkturn, see :func:`monah.narrate`, which takes `how`."""
    source = meld if form == "meld" else conversation
    nouns, told = source.nouns(corpus), {}
    for name in dict.fromkeys(corpus.dialogue.tolist()):
        rows = np.flatnonzero(corpus.dialogue == name)
        told |= zip(rows.tolist(), narrate(source.talkturns(corpus, name), nouns, **how), strict=True)
    return [told[row] for row in range(len(corpus))]


@dataclass(frozen=True, eq=False)
class Problem:
    """One primary task of a corpus with its auxiliary ones, ready for networks.

    Attributes:
        name: as the tables have it, "SEMAINE valence".
        tasks: T, the primary one first.
        targets: float (N, T): classes, numbers on the scale of the primary task; NaN where missing.
        tokens: int (N, W), the words of each talkturn.
        embedding: (V, D), vectors of the words.
        dialogue: str (N,).
        rows: those that have a primary target, by split, ascending.
        information: (T - 1,), estimated mutual information of each auxiliary target with the primary one in training,
            nats.
        classes: names of the primary task's classes; none where it is a number.
        without_vector: words of the vocabulary that a file of vectors lacks; all of them where there is no file.
    """

    name: str
    tasks: tuple[Task, ...]
    targets: Tensor
    tokens: Tensor
    embedding: Tensor
    dialogue: np.ndarray
    rows: dict[str, np.ndarray]
    information: np.ndarray
    classes: tuple[str, ...] = ()
    without_vector: tuple[str, ...] = ()

    @property
    def families(self) -> str:
        """Letters of the families of auxiliary tasks it has, in order."""
        return "".join(dict.fromkeys(task.family for task in self.tasks[1:]))

    def truth(self, split: str) -> np.ndarray:
        """Primary targets (n,) of the rows of a split."""
        return self.targets[self.rows[split], 0].numpy()


def problems(corpora_: Mapping[str, Dialogues], only: Iterable[str] | None = None) -> list[tuple[str, str, str]]:
    """Form, target and name of the primary tasks of some corpora, in the order of the tables."""
    every = [(form, target, f"{form.upper()} {target}") for form in corpora_ for target in PRIMARY[form]]
    return [entry for entry in every if only is None or entry[2] in only]


@dataclass(frozen=True, eq=False)
class Targets:
    """What is to be predicted of N talkturns.

    Attributes:
        tasks: T, the primary one first.
        values: float (N, T): classes, numbers on the scale of the primary task; NaN where missing.
        classes: names of the primary task's classes; none where it is a number.
        rows: those that have a primary target, by split, ascending.
    """

    tasks: tuple[Task, ...]
    values: np.ndarray
    classes: tuple[str, ...]
    rows: dict[str, np.ndarray]

    def information(self, generator: np.random.Generator) -> np.ndarray:
        """Estimated mutual information (T - 1,) of each auxiliary target with the primary one in training, nats."""
        learnt = self.values[self.rows["train"]]
        return mutual_information(
            learnt[:, 0],
            learnt[:, 1:],
            generator,
            primary_is_class=bool(self.classes),
            categorical=[task.n_classes is not None for task in self.tasks[1:]],
            names=[task.name for task in self.tasks[1:]],
        )


def targets(corpus: Dialogues, form: str, target: str, *, leak: bool = True) -> Targets:
    """A primary target with all auxiliary families that a corpus has.

    Actions and tones are percentile ranks among training values, scaled to the range of the primary task (appendix
    A.2; left in [0, 1] where it is a classification), and so is timing where a corpus has it.

    Args:
        form: "iemocap", "semaine" or "meld".
        target: name of the primary target.
        leak: see :func:`neighbouring_labels`.

    Raises:
        ValueError: the corpus lacks the target, a split has none, or an auxiliary target has no training values.
    """
    if target not in corpus.targets:
        raise ValueError(f"the corpus has no target {target!r}; it has {', '.join(corpus.targets)}")
    is_class = not corpus.targets[target].dtype.is_floating_point
    primary = corpus.targets[target].double().numpy()
    if is_class:
        primary = np.where(primary < 0, np.nan, primary)
    rows = {split: np.flatnonzero((corpus.split == split) & ~np.isnan(primary)) for split in SPLITS}
    if empty := [split for split, of_split in rows.items() if not len(of_split)]:
        raise ValueError(f"no turn of the {empty[0]} split has a target {target!r}")
    training = corpus.split == "train"
    low, high = (0.0, 1.0) if is_class else SCALES[form]
    classes = CLASSES[form] if is_class else ()

    tasks, columns = [Task(target, "primary", len(classes) or None)], [primary]
    for family, names in (FAMILIES | TIMING).items():
        if family in "hf" or not set(names) <= set(corpus.auxiliary):
            continue
        for name in names:
            values = corpus.auxiliary[name].double().numpy()
            try:
                ranks = percentile_ranks(values, values[training])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            columns.append(low + (high - low) * ranks)
            tasks.append(Task(name, family))
    for family, side in zip("hf", neighbouring_labels(primary, corpus.dialogue, leak=leak), strict=True):
        columns += list(side.T)
        tasks += [Task(name, family, len(classes) or None) for name in FAMILIES[family]]
    return Targets(tuple(tasks), np.stack(columns, axis=1), classes, rows)


def problem(
    corpus: Dialogues,
    form: str,
    target: str,
    settings: Settings,
    *,
    stories: Sequence[str] | None = None,
    glove: Path | None = None,
    leak: bool = True,
) -> Problem:
    """A primary task of a corpus, see :func:`targets`.

    Args:
        stories: narratives, if not those of :func:`narratives`.
        glove: file of word vectors; else vectors are drawn.
        leak: see :func:`neighbouring_labels`.
    """
    wanted = targets(corpus, form, target, leak=leak)
    stories = narratives(corpus, form) if stories is None else stories
    known = [stories[row] for row in np.flatnonzero(corpus.split == "train")]
    vocabulary = text.Vocabulary.of(known, settings.min_count)
    (generator,) = generators([settings.seeds[0]], 60)
    if glove is None:
        embedding = text.random_embedding(vocabulary, settings.embedding_size, generator)
    else:
        embedding = text.load_glove(glove, vocabulary, generator)
    return Problem(
        f"{form.upper()} {target}",
        wanted.tasks,
        torch.from_numpy(wanted.values).float(),
        vocabulary.encode(stories, settings.max_words),
        embedding.vectors,
        corpus.dialogue,
        wanted.rows,
        wanted.information(np.random.default_rng([settings.seeds[0], 61])),
        wanted.classes,
        embedding.missing,
    )


# --- training -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """What a table compares.

    Attributes:
        architecture: "rock" or "flat".
        pri_gru: the size P that is printed, a key of :class:`Settings`' `pri_gru`.
        families: letters of the auxiliary families that are learnt; "" for none.
    """

    architecture: str
    pri_gru: int
    families: str


@dataclass(frozen=True)
class Trial:
    """Hyper-parameters of one trial, those that Table 6 draws."""

    lr: float
    batch_size: int
    l2: float
    content_size: int
    gru_dropout: float
    recurrent_dropout: float
    scheme: str
    weights: tuple[float, ...]

    @classmethod
    def of(cls, trial: optuna.Trial | optuna.trial.FrozenTrial) -> "Trial":
        """What a trial of a search has drawn."""
        drawn, more = trial.params, trial.user_attrs
        return cls(
            lr=drawn["learning rate"],
            batch_size=drawn["batch size"],
            l2=drawn["L2"] * drawn["L2 is used"],
            content_size=drawn["content size"],
            gru_dropout=drawn["GRU dropout"],
            recurrent_dropout=drawn["recurrent dropout"],
            scheme=more["scheme"],
            weights=tuple(more["weights"]),
        )


def suggest(trial: optuna.Trial, problem: Problem, cell: Cell, settings: Settings, seed: int) -> Trial:
    """Draw from Table 6, and the loss weights as section 4.4 has it; the schemes take turns."""
    index = trial.user_attrs["index"]
    trial.suggest_float("learning rate", *settings.lr, log=True)
    trial.suggest_int("batch size", *settings.batch_size)
    trial.suggest_float("L2", *settings.l2, log=True)
    trial.suggest_int("L2 is used", 0, 1)
    trial.suggest_int("content size", *settings.content_size)
    trial.suggest_float("GRU dropout", *settings.gru_dropout)
    trial.suggest_float("recurrent dropout", *settings.recurrent_dropout)
    scheme, rng = SCHEMES[index % len(SCHEMES)], np.random.default_rng([seed, index, 62])
    weights = loss_weights(scheme, draw_primary_weight(rng), rng, problem.information)
    removed = set(problem.families) - set(cell.families)
    weights = without_families(weights, [task.family for task in problem.tasks], removed)
    trial.set_user_attr("scheme", scheme)
    trial.set_user_attr("weights", weights.tolist())
    return Trial.of(trial)


def network(problem: Problem, cell: Cell, settings: Settings, trial: Trial, generator: torch.Generator):
    """The untrained network of a cell, with the dropout of a trial.

    Raises:
        ValueError: no such architecture.
    """
    size = settings.pri_gru[cell.pri_gru]
    sizes = {"flat": (FlatHan, (size,)), "rock": (HanRock, (size, settings.total - size))}
    if cell.architecture not in sizes:
        raise ValueError(f'architecture must be "rock" or "flat", not {cell.architecture!r}')
    kind, gru = sizes[cell.architecture]
    net = kind(
        problem.tasks,
        problem.embedding,
        *gru,
        generator,
        word_gru=settings.word_gru,
        attention=settings.attention,
        gru_dropout=trial.gru_dropout,
        recurrent_dropout=trial.recurrent_dropout,
        attend=settings.attend,
        freeze=settings.freeze,
    )
    means = problem.targets[problem.rows["train"]].nanmean(0)
    with torch.no_grad():
        net.heads.value_bias.copy_(means[net.heads.numbers].nan_to_num(0))
    return net


def train(
    problem: Problem,
    cell: Cell,
    settings: Settings,
    trial: Trial,
    seed: Sequence[int],
    stop: Callable[[int, float], bool] = lambda epoch, score: False,
    epochs: int | None = None,
    device: str = "cpu",
) -> tuple[torch.nn.Module, dict[str, np.ndarray]]:
    """Train a network, and leave it at its best epoch on the development set.

    Args:
        seed: numbers that decide initial weights, dropout masks and the order of examples.
        stop: asked after each epoch, with its number from 1 and the development score.
        epochs: at most so many; those of the settings if None.

    Returns the network, and arrays: `curve` and `losses` (E,), development score and training loss of each epoch;
    `epoch`, the best one, from 1; `stopped`; `val` and `test`, predictions (n,) or probabilities (n, C) at that epoch;
    `dev` and `score`, the metric of each; `seconds`, and `parameters`, their number.

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
    decayed = [p for name, p in net.named_parameters() if "weight" in name and "embedding" not in name]
    others = [p for name, p in net.named_parameters() if "weight" not in name or "embedding" in name]
    # the gradient of l2 ||W||^2 is 2 l2 W
    groups = [{"params": decayed, "weight_decay": 2 * trial.l2}, {"params": [p for p in others if p.requires_grad]}]
    stopped = False

    def loss(rows: Tensor) -> Tensor:
        said = net(tokens, context[rows])
        return multi_task_loss(said.values, said.logits, targets[rows], weights, categorical, settings.regression)

    def validate() -> Tensor:
        return -torch.tensor(score(problem, predict(net, problem, tokens, context, "val"), "val"), dtype=torch.float64)

    def asked(history: History) -> bool:
        nonlocal stopped
        stopped = stop(len(history.val), -history.val[-1][0])
        return stopped

    history = fit(
        net,
        loss,
        lambda: _order(problem, settings.run_length, draw[1]).to(device).split(trial.batch_size),
        epochs=epochs or settings.max_epochs,
        optimiser=lambda _: torch.optim.Adam(groups, lr=trial.lr, fused=True),
        validate=validate,
        stop=asked,
        label=f"{problem.name}, {cell}, {trial}",
        progress=False,
    )
    test = predict(net, problem, tokens, context, "test")
    return net, {
        "curve": -np.array(history.val)[:, 0],
        "losses": np.array(history.train)[:, 0],
        "epoch": np.array(history.best_epoch),
        "stopped": np.array([stopped]),
        "val": predict(net, problem, tokens, context, "val"),
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
    first = np.flatnonzero(np.diff(dialogue, prepend=-1))
    place = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows))))
    # runs begin anywhere, so that their ends do not lie in the same places in every epoch
    shift = int(torch.randint(run_length, (), generator=generator))
    _, run = np.unique(np.stack([dialogue, (place + shift) // run_length]), axis=1, return_inverse=True)
    at = torch.randperm(int(run.max()) + 1, generator=generator).numpy()[run.ravel()]
    return torch.from_numpy(rows[np.argsort(at, kind="stable")])


@torch.no_grad()
def predict(net: torch.nn.Module, problem: Problem, tokens: Tensor, context: Tensor, split: str) -> np.ndarray:
    """Of the rows of a split, numbers (n,) or probabilities (n, C) of the primary task."""
    net.eval()
    parts = []
    for rows in torch.from_numpy(problem.rows[split]).split(EVALUATED):
        said = net(tokens, context[rows.to(tokens.device)])
        parts.append(said.logits[:, 0].softmax(-1) if problem.classes else said.values[:, 0])
    return torch.cat(parts).cpu().numpy()


def errors(problem: Problem, predictions: np.ndarray, split: str) -> np.ndarray:
    """What the metric averages: of predictions (..., n[, C]), 1 or 0 for a class missed or hit, or absolute errors."""
    truth = problem.truth(split)
    return (predictions.argmax(-1) != truth).astype(float) if problem.classes else np.abs(predictions - truth)


def score(problem: Problem, predictions: np.ndarray, split: str) -> float:
    """Accuracy, which is MA(4) with classes weighted by their support; or minus the mean absolute error."""
    return float((1.0 if problem.classes else 0.0) - errors(problem, predictions, split).mean())


# --- search ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Search:
    """The trials of one seed in one cell.

    Attributes:
        table: one row for each trial: hyper-parameters, scheme, `dev` and `test` score (accuracy, or minus the mean
            absolute error), best `epoch`, `epochs` trained, `stopped`, `seconds`, `parameters`.
        trials: what each has drawn.
        curves: of each, the development score by epoch.
        val, test: predictions (n, n_val[, C]) and (n, n_test[, C]).
    """

    table: pd.DataFrame
    trials: list[Trial]
    curves: list[np.ndarray]
    val: np.ndarray
    test: np.ndarray

    @property
    def best(self) -> int:
        """The trial with the best development score; of equal ones the first."""
        return int(self.table["dev"].to_numpy().argmax())


def search(
    problem: Problem,
    cell: Cell,
    settings: Settings,
    seed: int,
    device: str = "cpu",
    deadline: float = float("inf"),
) -> Search | None:
    """The trials of one seed, from the cache as far as they are there; see :func:`random_search`.

    None if the deadline passes first: what was done stays in the cache.
    """
    folder = cache_dir() / "rock" / _key(problem, cell, settings, seed, device)

    def trained(index: int, drawn: Trial, stop: Callable[[int, float], bool]) -> dict[str, np.ndarray]:
        return cached_arrays(
            f"{index:03}",
            lambda: train(problem, cell, settings, drawn, (seed, index), stop, device=device)[1],
            kind=f"rock/{folder.name}/trials",
        )

    def run(trial: optuna.Trial) -> float:
        reported = set()

        def stop(epoch: int, value: float) -> bool:
            trial.report(value, epoch)
            reported.add(epoch)
            return trial.should_prune()

        found = trained(trial.user_attrs["index"], suggest(trial, problem, cell, settings, seed), stop)
        for epoch, value in enumerate(found["curve"].tolist(), 1):
            if epoch not in reported:  # it was trained by a worker that died before it could tell
                trial.report(value, epoch)
        if found["stopped"][0]:
            raise optuna.TrialPruned
        return float(found["dev"][0])

    finished = random_search(
        folder, run, n_trials=settings.n_trials, seed=seed, pruner=MedianStopping(), deadline=deadline
    )
    if finished is None:
        return None
    rows, arrays, trials = [], [], [Trial.of(trial) for trial in finished]
    for index, (drawn, trial) in enumerate(zip(trials, finished, strict=True)):
        last = len(trial.intermediate_values) if trial.state == TrialState.PRUNED else 0
        # an entry that was damaged is made again, and stops where it did
        found = trained(index, drawn, lambda epoch, _, last=last: epoch == last)
        arrays.append(found)
        given = {name: value for name, value in dataclasses.asdict(drawn).items() if name != "weights"}
        measured = {name: found[name][0].item() for name in MEASURED}
        rows.append(given | {"main_weight": drawn.weights[0], "epochs": len(found["curve"])} | measured)
    table = pd.DataFrame(rows).rename(columns={"score": "test"}).rename_axis("trial")
    val, test = (np.stack([found[split] for found in arrays]) for split in ("val", "test"))
    return Search(table, trials, [found["curve"] for found in arrays], val, test)


Job = tuple[Problem, Cell, int]
Key = TypeVar("Key")


def search_all(
    jobs: Sequence[Job],
    settings: Settings,
    device: str = "cpu",
    budget_s: float = float("inf"),
) -> dict[tuple[str, Cell, int], Search]:
    """The searches of many problems, cells and seeds, by problem's name, cell and seed; see :func:`cluster.run_all`.

    Args:
        jobs: in the order in which they are begun.
        budget_s: no trial starts after so many seconds; searches that are not finished then are left out.
    """
    deadline = time.time() + budget_s
    named = {(problem.name, cell, seed): (problem, cell, seed) for problem, cell, seed in jobs}
    with one_thread():
        # what is in the cache needs no other process
        found = {name: search(p, c, settings, s, device, -np.inf) for name, (p, c, s) in named.items()}
    left = {name: (p, c, settings, s, device, deadline) for name, (p, c, s) in named.items() if found[name] is None}
    found |= cluster.run_all(search, left, device)
    return {name: found[name] for name in named if found[name] is not None}


def best_network(
    problem: Problem, cell: Cell, settings: Settings, seed: int, found: Search, device: str = "cpu"
) -> torch.nn.Module:
    """The network of the trial with the best development score, trained again up to its best epoch."""
    epoch = int(found.table["epoch"].iloc[found.best])
    with one_thread():
        return train(
            problem, cell, settings, found.trials[found.best], (seed, found.best), epochs=epoch, device=device
        )[0]


def _key(problem: Problem, cell: Cell, settings: Settings, seed: int, device: str) -> str:
    """Everything that the trials of one seed depend on."""
    decides = {k: v for k, v in dataclasses.asdict(settings).items() if k not in ("seeds", "pri_gru", "n_trials")}
    return content_key(
        RECIPE,
        [problem.targets, problem.tokens, problem.embedding, problem.information],
        [str(name) for name in problem.dialogue],
        [problem.rows[split] for split in SPLITS],
        [(task.name, task.family, task.n_classes) for task in problem.tasks],
        (cell.architecture, settings.pri_gru[cell.pri_gru], cell.families),
        decides,
        seed,
        torch.device(device).type,
        torch.__version__,
    )


def cost(cell: Cell, settings: Settings) -> int:
    """Units of all talkturn encoders of a cell, by which searches are put in order."""
    size = settings.pri_gru[cell.pri_gru]
    n_auxiliary = sum(len(names) for names in FAMILIES.values())
    return size if cell.architecture == "flat" else size + n_auxiliary * (settings.total - size)


def in_order(jobs: Iterable[Job], settings: Settings, block: int = 5) -> list[Job]:
    """The cheapest cells first, five seeds at a time, so that a budget that runs out leaves whole comparisons."""

    def key(job: Job) -> tuple[int, int, int]:
        place = settings.seeds.index(job[2])
        return place // block, cost(job[1], settings), place

    return sorted(jobs, key=key)


def retrain(
    problem: Problem, cell: Cell, settings: Settings, seed: int, found: Search, device: str = "cpu"
) -> np.ndarray:
    """Test predictions (n[, C]) on another problem with what the best trial of a search has drawn, from the cache.

    For other splits of one corpus: nothing is searched again, and training stops at the epoch that was best there.
    """
    drawn, epoch = found.trials[found.best], int(found.table["epoch"].iloc[found.best])

    def build() -> dict[str, np.ndarray]:
        return train(problem, cell, settings, drawn, (seed, found.best), epochs=epoch, device=device)[1]

    key = content_key(_key(problem, cell, settings, seed, device), dataclasses.asdict(drawn), found.best, epoch)
    return cached_arrays(key, build, kind="rock/retrained")["test"]


def retrain_all(
    jobs: Mapping[Key, tuple[Problem, Cell, int, Search]], settings: Settings, device: str = "cpu"
) -> dict[Key, np.ndarray]:
    """:func:`retrain` for many problems, cells, seeds and searches."""
    calls = {name: (p, cell, settings, seed, found, device) for name, (p, cell, seed, found) in jobs.items()}
    return cluster.run_all(retrain, calls, device)


@dataclass(frozen=True, eq=False)
class Attention:
    """What a network attends to in n examples, averaged over tasks with the weights of the fusion (section A.6).

    Attributes:
        context: int (n, L), rows of the talkturns read, the current one last among them, -1 after it.
        words: (n, L, W), within each talkturn; zero after its last word.
        turns: (n, L).
        n_words: int (n, L).
    """

    context: np.ndarray
    words: np.ndarray
    turns: np.ndarray
    n_words: np.ndarray

    def history_minus_current(self) -> np.ndarray:
        """Mean weight of a talkturn of history minus that of the current one (n,); NaN where there is no history."""
        there = self.context >= 0
        last = there.sum(1) - 1
        current = np.take_along_axis(self.turns, last[:, None], 1)[:, 0]
        with np.errstate(invalid="ignore"):
            return ((self.turns * there).sum(1) - current) / np.where(last > 0, last, np.nan) - current

    def second_word_minus_others(self) -> np.ndarray:
        """Weight of the second word minus the mean of the others, mean over talkturns of at least two words (n,)."""
        enough = self.n_words >= 2
        second = self.words[:, :, 1]
        others = (self.words.sum(2) - second) / np.where(enough, self.n_words - 1, 1)
        with np.errstate(invalid="ignore"):
            return ((second - others) * enough).sum(1) / np.where(enough.any(1), enough.sum(1), np.nan)


@torch.no_grad()
def attention(net: torch.nn.Module, problem: Problem, trial: Trial, rows: np.ndarray) -> Attention:
    """What a trained network attends to in some rows of its problem."""
    device = next(net.parameters()).device
    tokens, context = problem.tokens, contexts(problem.dialogue, trial.content_size)[torch.from_numpy(rows)]
    net.eval()
    parts = [net(tokens.to(device), part.to(device)).overall_attention() for part in context.split(EVALUATED)]
    words, turns = (torch.cat(kind).cpu().numpy() for kind in zip(*parts, strict=True))
    n_words = ((tokens != 0).sum(1)[context.clamp(min=0)] * (context >= 0)).numpy()
    return Attention(context.numpy(), words, turns, n_words)


LEVELS = ("none", "low", "medium", "high")


def attention_levels(weights: np.ndarray) -> np.ndarray:
    """Index in `LEVELS` of each of n weights by its z-score among them: below 0, 1, 2 and above (section A.6).

    An edge belongs to the level above it. Equal weights have no z-score and are "none".
    """
    weights = np.asarray(weights, float)
    sd = weights.std()
    # equal weights differ by rounding alone
    z = (weights - weights.mean()) / sd if sd > 1e-9 else np.full(len(weights), -1.0)
    return np.digitize(z, [0, 1, 2])


# --- comparisons ----------------------------------------------------------------------------------------------------


def chosen(searches: Sequence[Search], split: str = "test") -> np.ndarray:
    """Predictions (S, n[, C]) of the best trial of each seed."""
    return np.stack([getattr(found, split)[found.best] for found in searches])


def common(found: Mapping, problem: str, *cells: Cell) -> list[list[Search]]:
    """Of each cell the searches of the seeds that all of them have, in the order of seeds; empty lists if none."""
    seeds = sorted({seed for _, _, seed in found})
    seeds = [seed for seed in seeds if all((problem, cell, seed) in found for cell in cells)]
    return [[found[problem, cell, seed] for seed in seeds] for cell in cells]


def better_of(*cells: Sequence[Search]) -> list[Search]:
    """Of several cells, for each seed the search with the best development score."""
    return [max(of_seed, key=lambda found: found.table["dev"].max()) for of_seed in zip(*cells, strict=True)]


def improvement(problem: Problem, challenger: np.ndarray, baseline: np.ndarray, split: str = "test") -> Effect:
    """By how much predictions (S, n[, C]) improve on others: accuracy, or minus mean absolute error.

    The interval is over seeds and dialogues, crossed: it knows of the sampling of test examples, which the paper's
    (:func:`tuning_bootstrap`) does not.
    """
    return mean_gain(problem, errors(problem, baseline, split) - errors(problem, challenger, split), split)


def mean_gain(problem: Problem, gain: np.ndarray, split: str = "test") -> Effect:
    """Mean of a gain (S, n) in each example of a split, with its interval over seeds and dialogues, crossed."""
    return effect_interval(cluster_sums(ratio_sums(gain), problem.dialogue[problem.rows[split]]), ratio)


def class_gains(problem: Problem, challenger: np.ndarray, baseline: np.ndarray) -> dict[str, Effect]:
    """Improvement of the F1 of each class on the test set, over seeds and dialogues."""
    truth, groups = problem.truth("test"), problem.dialogue[problem.rows["test"]]
    effects = {}
    for k, name in enumerate(problem.classes):
        sums = [f1_sums(truth == k, said.argmax(-1) == k) for said in (challenger, baseline)]
        effects[name] = effect_interval(cluster_sums(np.concatenate(sums, -1), groups), difference(f1_from_sums))
    return effects


def low_resource_gain(
    problem: Problem, challenger: np.ndarray, baseline: np.ndarray, rare: Sequence[str] = ("sad", "angry")
) -> Effect:
    """Mean improvement of F1 over some classes, minus that over the others (section 5.1)."""
    truth, groups = problem.truth("test"), problem.dialogue[problem.rows["test"]]
    sums = np.concatenate(
        [
            f1_sums(truth == k, said.argmax(-1) == k)
            for k in range(len(problem.classes))
            for said in (challenger, baseline)
        ],
        -1,
    )
    sign = np.array(
        [1 / len(rare) if name in rare else -1 / (len(problem.classes) - len(rare)) for name in problem.classes]
    )

    def contrast(sums: np.ndarray) -> np.ndarray:
        of_class = sums.reshape(*sums.shape[:-1], len(sign), 6)
        return difference(f1_from_sums)(of_class) @ sign

    return effect_interval(cluster_sums(sums, groups), contrast)


def recall(problem: Problem, predictions: np.ndarray) -> np.ndarray:
    """Unweighted mean recall (S,) over the classes of the test set, of predictions (S, n, C)."""
    truth = problem.truth("test")
    hit = predictions.argmax(-1) == truth
    return np.mean([hit[:, truth == k].mean(1) for k in np.unique(truth)], axis=0)


def tuning_bootstrap(dev: np.ndarray, test: np.ndarray, n_resamples: int, generator: np.random.Generator) -> np.ndarray:
    """The paper's bootstrap (appendix A.5): test scores (R,) of the best of resampled trials.

    (1) Resample the trials with replacement, (2) choose the best on development data, of equal ones the first,
    (3) look up its test score. What varies is the luck of tuning, not the test set.

    Args:
        dev, test: (K,), scores of the trials, of which greater is better.
    """
    rank = np.argsort(np.argsort(-np.asarray(dev), kind="stable"))
    by_rank = np.asarray(test)[np.argsort(rank)]
    return by_rank[rank[generator.integers(len(rank), size=(n_resamples, len(rank)))].min(1)]


def tuning_interval(
    challenger: Search, baseline: Search, generator: np.random.Generator, n_resamples: int = 1000
) -> tuple[float, float, float]:
    """Mean difference of the test scores, challenger minus baseline, and its ends without 2.5% on each side (A.5)."""
    drawn = [
        tuning_bootstrap(found.table["dev"].to_numpy(), found.table["test"].to_numpy(), n_resamples, generator)
        for found in (challenger, baseline)
    ]
    gap = drawn[0] - drawn[1]
    low, high = np.quantile(gap, [0.025, 0.975])
    return float(gap.mean()), float(low), float(high)
