"""What is compared, the settings of a run and a task, and networks for it, of all seeds and members side by side."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from uncertain_affect.compute.cache import code_key
from uncertain_affect.evidence.evaluate import Cases
from uncertain_affect.models.pen import select_copies
from uncertain_affect.models.uncnet import UncNet
from uncertain_affect.training.fit import History, Loss, cached_fit, fit_tensors, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)


@dataclass(frozen=True)
class AcrossSettings:
    """Everything that decides a run.

    Attributes:
        members: M, networks of an ensemble, each with weights and minibatches of its own.
        generations: of students.
        n_samples: T, draws of methods that draw.
        rates: learning rates tried for each kind of network, on the first seed; the one with the lowest validation
            loss is taken. No method has a larger budget than another.
        hidden: widths of the hidden layers; UncNet's are (128, 128).
        least: training examples of an epoch at the least: it passes several times over a smaller set, which would
            else be left after a few steps.
        dropout: of the hidden layers, in training everywhere, at test for MC dropout only.
    """

    seeds: tuple[int, ...]
    members: int = 5
    generations: int = 3
    n_samples: int = 20
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    hidden: tuple[int, int] = (64, 64)
    dropout: float = 0.2
    batch_size: int = 256
    least: int = 1000
    max_epochs: int = 20
    patience: int = 3
    clip_norm: float = 5.0


def settings(profile: str, seed: int = 0) -> AcrossSettings:
    """The settings of a profile; seeds count up from ``seed``.

    Raises:
        ValueError: no such profile.
    """
    if profile == "quick":
        return AcrossSettings(tuple(range(seed, seed + 5)))
    if profile == "full":
        return AcrossSettings(tuple(range(seed, seed + 20)), n_samples=100, hidden=(128, 128), max_epochs=100)
    raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')


@dataclass(frozen=True, eq=False)
class PredictionTask:
    """What is to be predicted, ready for networks.

    Attributes:
        inputs: float (N, D), or (S, N, D) where every seed has a world of its own, by split, ``train``, ``val`` and
            ``test``; others under other names.
        targets: shares (N, A, C) of answers by split, with the same leading axis.
        votes: (N, A, C) of the test split, counts where annotators are counted, with the same leading axis.
        clusters: (N,) of the test split, examples that count as one observation share a value.
        truth: p*(y|x) of the test split, as ``votes``, where it is known.
        groups: bool (N,) of the test split by name, with the same leading axis.
        person: int (N,), or (S, N), who is seen, of the training and validation splits; None where each is seen once.
        units: whether the questions are action units, which a graph relates.
        checksum: of the corpus.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    votes: Tensor
    clusters: Tensor
    truth: Tensor | None = None
    groups: dict[str, Tensor] = field(default_factory=dict)
    person: dict[str, Tensor] | None = None
    units: bool = False
    checksum: str = ""

    @property
    def own(self) -> bool:
        """Whether every seed has a world of its own."""
        return self.votes.ndim == 4

    @property
    def shape(self) -> tuple[int, int]:
        """Questions A and answers C."""
        return tuple(self.targets["train"].shape[-2:])

    def cases(self, seed: int = 0, group: str | None = None) -> Cases:
        """The test examples of the seed at this index, each question a case of its own."""
        n_questions, parts = self.shape[0], {"target": self.votes, "truth": self.truth}
        if group is not None:
            parts["group"] = self.groups[group][..., None].expand(*self.groups[group].shape, n_questions)
        known = {name: part[seed] if self.own else part for name, part in parts.items() if part is not None}
        known = {name: part.flatten(0, 1) for name, part in known.items()}
        return Cases(clusters=self.clusters.repeat_interleave(n_questions), **known)


# --- training -------------------------------------------------------------------------------------------------


class Networks(NamedTuple):
    """S x M networks of one kind, copy s M + m being member m of seed s, and the seconds of their training."""

    model: nn.Module
    members: int
    seconds: float

    def first_members(self) -> "Networks":
        """The first member of every seed, alone."""
        model = select_copies(self.model, list(range(0, len(self.model.generators), self.members)))
        model.generators = self.model.generators[:: self.members]
        return Networks(model, 1, self.seconds / self.members)

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        """Outputs (S, M, N, A C) of the last layer, dropout off, for inputs (N, D) or (S, N, D)."""
        x = x.to(next(self.model.parameters()).device)
        z = self.model(x.repeat_interleave(self.members, 0) if x.ndim == 3 else x)
        return z.unflatten(0, (-1, self.members)).cpu()


def train(
    task: PredictionTask,
    settings: AcrossSettings,
    kind: str,
    loss: Loss,
    targets: Mapping[str, Tensor],
    *,
    members: int = 1,
    stream: int = 0,
    network: Callable[[Sequence[torch.Generator], Sequence[int]], nn.Module] | None = None,
    device: str = "cpu",
) -> Networks:
    """Networks of all seeds and members side by side, or from the cache.

    The learning rate is searched with the first member of the first seed; the search counts in the seconds.

    Args:
        kind: what they are called, part of the cache's key beside the code.
        loss: of the network's outputs and targets (copies, B, ...).
        targets: of training and validation, as the task has them or with a leading axis of seeds.
        stream: seeds of other kinds of networks are independent.
        network: of a generator and the index of the seed for each copy; the perceptron by default.
    """
    data = [(task.inputs[split], targets[split]) for split in ("train", "val")]
    own = any(x.ndim > 2 or y.ndim > 3 for x, y in data)
    # an epoch passes several times over a small training set
    passes = max(1, -(-settings.least // targets["train"].shape[-3]))
    data[0] = tuple(torch.cat([part] * passes, dim=axis) for part, axis in zip(data[0], (-2, -3), strict=True))
    numbers = [seed * settings.members + m for seed in settings.seeds for m in range(members)]
    seed_of = [s for s in range(len(settings.seeds)) for _ in range(members)]

    def fresh(n: int) -> nn.Module:
        """The first n copies."""
        draws = generators(numbers[:n], stream)
        if network is not None:
            return network(draws, seed_of[:n])
        n_inputs, n_outputs = task.inputs["train"].shape[-1], math.prod(task.shape)
        return UncNet(n_inputs, draws, settings.hidden, n_outputs, settings.dropout)

    def for_copies(part: Tensor, n: int, axes: int) -> Tensor:
        """Data that all copies share, as each of n copies has its own where some are of one seed alone."""
        if not own:
            return part.to(device)
        return (part[seed_of[:n]] if part.ndim > axes else part.expand(n, *part.shape)).to(device)

    options = {name: getattr(settings, name) for name in ("batch_size", "max_epochs", "patience", "clip_norm")}
    options |= {"own_data": own, "progress": False}  # one of very many

    def fitted(model: nn.Module, n: int, rate: float, checkpoint: Path | None = None) -> History:
        order = generators(numbers[:n], stream + 1)
        parts = ((for_copies(x, n, 2), for_copies(y, n, 3)) for x, y in data)
        return fit_tensors(model, loss, *parts, order=order, lr=rate, checkpoint=checkpoint, **options)

    def learn(checkpoint: Path) -> History:
        searched = [fitted(fresh(1).to(device), 1, rate) for rate in settings.rates]
        tried = [history.best_val[0] for history in searched]
        rate = settings.rates[int(np.argmin(tried))]
        history = fitted(model, len(numbers), rate, checkpoint)
        seconds = history.seconds + sum(h.seconds for h in searched)
        return replace(history, seconds=seconds, traces={"rate": np.array(rate), "tried": np.array(tried)})

    model = fresh(len(numbers))
    # the weights that training starts from are part of the cache's key
    decides = (kind, asdict(settings), members, stream, data, model.state_dict())
    return Networks(model, members, cached_fit(model, learn, RECIPE, *decides, device=device).seconds)
