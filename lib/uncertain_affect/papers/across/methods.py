"""Every way to know when not to trust a prediction, on the same frozen features and under the same measures.

All networks are the perceptron of UncNet with another last layer, trained by the one fit loop, but for the graph
(UGN) and the mixture of experts (PEN), which are their papers' own, on the same features. What differs between methods
is what they do, never what they see. Every method answers with T sampled predictions, so that one decomposition
(`metrics.entropy_decomposition`) serves them all.

Every task asks A questions of an example, each of which has C answers: the expression (A = 1), whether each action unit
is there (C = 2), in which part of the scale valence and arousal lie (A = 2).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from uncertain_affect.compute.cache import code_key
from uncertain_affect.evidence.claims import Part, effect_interval, holm
from uncertain_affect.evidence.evaluate import MEASURES, Cases, measure
from uncertain_affect.losses import soft_label_cross_entropy
from uncertain_affect.metrics import EntropyDecomposition, auroc, entropy_decomposition
from uncertain_affect.metrics.inputs import check_probabilities
from uncertain_affect.models.pen import PersonalizedExpertNetwork, SharedNetwork, select_copies
from uncertain_affect.models.uncnet import UncNet, draw_kept
from uncertain_affect.papers import ugn
from uncertain_affect.training.fit import History, cached_fit, fit_tensors, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]

SINGLE = ("softmax", "temperature scaling", "student 1", "student 2", "student 3")  # one prediction: no U_e
SAMPLED = (
    "MC dropout", "UGN", "PEN", "deep ensemble", "students 1", "students 2", "students 3", "Laplace", "evidential",
)  # fmt: skip
METHODS = (*SINGLE[:2], *SAMPLED[:4], "student 1", "students 1", "student 2", "students 2", "student 3", "students 3",
           *SAMPLED[-2:])  # fmt: skip
COLOURS = dict(zip(METHODS, sns.color_palette("husl", len(METHODS)), strict=True))


@dataclass(frozen=True)
class Settings:
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


def settings(profile: str, seed: int = 0) -> Settings:
    """The settings of a profile; seeds count up from ``seed``.

    Raises:
        ValueError: no such profile.
    """
    if profile not in ("quick", "full"):
        raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')
    if profile == "quick":
        return Settings(tuple(range(seed, seed + 5)))
    return Settings(tuple(range(seed, seed + 20)), n_samples=100, hidden=(128, 128), max_epochs=100)


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be predicted, ready for networks.

    Attributes:
        name: "expression".
        corpus: "simulated".
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

    name: str
    corpus: str
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

        def of(part: Tensor) -> Tensor:
            return part[seed] if self.own else part

        n_questions = self.shape[0]
        return Cases(
            of(self.votes).flatten(0, 1),
            self.clusters.repeat_interleave(n_questions),
            None if self.truth is None else of(self.truth).flatten(0, 1),
            None if group is None else of(self.groups[group]).repeat_interleave(n_questions),
        )


def answers_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy in nats of logits (..., B, A C) against shares (..., B, A, C), over examples and questions."""
    return soft_label_cross_entropy(logits.unflatten(-1, target.shape[-2:]).flatten(-3, -2), target.flatten(-3, -2))


def chances(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Probabilities (..., A, C) of the answers, in float64, of logits (..., A C)."""
    return torch.softmax(logits.double().unflatten(-1, shape), -1)


# --- training -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Networks:
    """S x M networks of one kind: copy s M + m is member m of seed s.

    Attributes:
        rate: the learning rate that was taken.
        tried: validation loss of the first seed by learning rate.
        seconds: of the training, the search included.
    """

    model: nn.Module
    members: int
    rate: float
    tried: dict[float, float]
    seconds: float


def train(
    task: Task,
    settings: Settings,
    kind: str,
    loss: Loss,
    targets: Mapping[str, Tensor],
    *,
    members: int = 1,
    stream: int = 0,
    network: Callable[[Sequence[torch.Generator], Sequence[int]], nn.Module] | None = None,
    depends_on: object = None,
    device: str = "cpu",
) -> Networks:
    """Networks of all seeds and members side by side, or from the cache.

    Args:
        kind: what they are called, part of the cache's key beside the code.
        loss: of what the network says and targets (copies, B, ...).
        targets: of training and validation, as the task has them or with a leading axis of seeds.
        stream: seeds of other kinds of networks are independent.
        network: of a generator and the index of the seed for each copy; the perceptron by default.
        depends_on: whatever else decides what is learnt, for the cache's key.
    """
    seeds = list(settings.seeds)
    data = {split: (task.inputs[split], targets[split]) for split in ("train", "val")}
    passes = max(1, -(-settings.least // targets["train"].shape[-3]))
    data["train"] = tuple(
        torch.cat([part] * passes, dim=-axes) for part, axes in zip(data["train"], (2, 3), strict=True)
    )
    n_outputs = math.prod(task.shape)
    decides = (kind, asdict(settings), members, n_outputs, stream, data, depends_on)

    def fresh(of_seeds: Sequence[int], n: int) -> nn.Module:
        of_copies = generators([seed * settings.members + m for seed in of_seeds for m in range(n)], stream)
        if network is not None:
            return network(of_copies, [seeds.index(seed) for seed in of_seeds for _ in range(n)])
        return UncNet(task.inputs["train"].shape[-1], of_copies, settings.hidden, n_outputs, settings.dropout)

    def fitted(model: nn.Module, of_seeds: Sequence[int], n: int, rate: float, checkpoint: Path | None = None):
        copies = [seed * settings.members + m for seed in of_seeds for m in range(n)]
        own = any(x.ndim > 2 or y.ndim > 3 for x, y in data.values())
        rows = torch.tensor([seeds.index(seed) for seed in of_seeds]).repeat_interleave(n)
        parts = [
            tuple(_of_copies(part, rows, axes).to(device) if own else part.to(device) for part, axes in of_split)
            for of_split in (zip(data[split], (2, 3), strict=True) for split in ("train", "val"))
        ]
        return fit_tensors(
            model,
            loss,
            *parts,
            order=generators(copies, stream + 1),
            lr=rate,
            batch_size=settings.batch_size,
            max_epochs=settings.max_epochs,
            patience=settings.patience,
            clip_norm=settings.clip_norm,
            own_data=own,
            checkpoint=checkpoint,
            progress=False,  # one of very many
        )

    model = fresh(seeds, members)

    def learn(checkpoint: Path) -> History:
        searched = [fitted(fresh(seeds[:1], 1).to(device), seeds[:1], 1, rate) for rate in settings.rates]
        tried = [history.best_val[0] for history in searched]
        rate = settings.rates[int(np.argmin(tried))]
        history = fitted(model, seeds, members, rate, checkpoint)
        seconds = history.seconds + sum(h.seconds for h in searched)
        return replace(history, seconds=seconds, traces={"rate": np.array(rate), "tried": np.array(tried)})

    history = cached_fit(model, learn, RECIPE, *decides, device=device)
    rate, tried = (history.traces[name].tolist() for name in ("rate", "tried"))
    return Networks(model, members, rate, dict(zip(settings.rates, tried, strict=True)), history.seconds)


def _of_copies(part: Tensor, rows: Tensor, axes: int) -> Tensor:
    """Data of so many axes, or with one more of seeds before them, as each copy has its own."""
    return part[rows] if part.ndim > axes else part.expand(len(rows), *part.shape)


@torch.no_grad()
def outputs(networks: Networks, x: Tensor) -> Tensor:
    """What the last layer says (S, M, N, A C), dropout off, of inputs (N, D) or (S, N, D)."""
    model, m = networks.model, networks.members
    x = x.to(next(model.parameters()).device)
    n_copies = len(next(model.parameters()))
    z = model(x.repeat_interleave(m, 0) if x.ndim == 3 else x)
    return z.unflatten(0, (n_copies // m, m)).cpu()


def first(networks: Networks) -> Networks:
    """The first member of every seed, alone."""
    model = select_copies(networks.model, list(range(0, len(networks.model.generators), networks.members)))
    model.generators = networks.model.generators[:: networks.members]
    return replace(networks, model=model, members=1, seconds=networks.seconds / networks.members)


@torch.no_grad()
def hidden(alone: Networks, x: Tensor) -> Tensor:
    """Inputs (S, N, H) of the last layer of the one network of every seed, dropout off."""
    model = alone.model
    h = x.to(model.biases[0].device).expand(len(model.generators), *x.shape[-2:])
    for weight, bias in zip(model.weights[:-1], model.biases[:-1], strict=True):
        h = torch.relu(torch.baddbmm(bias, h, weight))
    return h.cpu()


# --- methods --------------------------------------------------------------------------------------------------


@torch.no_grad()
def mc_dropout(
    alone: Networks, x: Tensor, n_samples: int, shape: tuple[int, int], draws: Sequence[torch.Generator]
) -> Tensor:
    """UncNet: chances (S, T, N, A, C) of the one network of every seed under T passes with dropout on."""
    model = alone.model
    weights, biases = model.weights, model.biases
    x = x.to(weights[0].device).expand(len(draws), *x.shape[-2:])
    first = torch.relu(torch.baddbmm(biases[0], x, weights[0]))  # no dropout before it: the same in all passes
    passes = []
    for _ in range(n_samples):
        h = first * _kept(first, model.dropout, draws)
        h = torch.relu(torch.baddbmm(biases[1], h, weights[1]))
        h = h * _kept(h, model.dropout, draws)
        passes.append(chances(torch.baddbmm(biases[2], h, weights[2]), shape).cpu())
    return torch.stack(passes, 1)


def _kept(h: Tensor, dropout: float, draws: Sequence[torch.Generator]) -> Tensor:
    return torch.stack([draw_kept(h.shape[1:], dropout, g) for g in draws]).to(h) / (1 - dropout)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature, from .05 to 20, that minimises the cross-entropy of logits (N, A C) on shares (N, A, C)."""
    logits, target = logits.double(), target.double()

    def nll(log_t: float) -> float:
        return float(answers_cross_entropy(logits / math.exp(log_t), target))

    return math.exp(minimize_scalar(nll, bounds=(math.log(0.05), math.log(20)), method="bounded").x)


class LastLayerLaplace:
    """Gaussian posterior of the last layer about its trained weights (MacKay 1992; Daxberger et al. 2021).

    With h the input of the last layer and a 1 appended, and B(x) the second derivative of the loss in the logits,

        H = sum_i B(x_i) (x) h_i h_i^T + delta I,    W ~ N(W*, H^-1).

    B has a block for each question, and so has H: the questions' weights are independent.

    Args:
        h: (N, H), of training inputs.
        logits: (N, A C), of the same.
        shape: A, C.
        precision: delta, of the Gaussian prior.
    """

    def __init__(self, h: Tensor, logits: Tensor, shape: tuple[int, int], precision: float):
        h, n_answers = _with_one(h.double()), shape[1]
        width = h.shape[1]
        factors = []
        for p in chances(logits, shape).unbind(1):
            hessian = torch.empty(n_answers, width, n_answers, width, dtype=torch.float64)
            for a in range(n_answers):
                for b in range(a, n_answers):
                    # B = diag(p) - p p^T
                    curvature = p[:, a] * (float(a == b) - p[:, b])
                    hessian[a, :, b] = hessian[b, :, a] = (h * curvature[:, None]).T @ h
            hessian = hessian.reshape(n_answers * width, -1) + precision * torch.eye(
                n_answers * width, dtype=torch.float64
            )
            factors.append(torch.linalg.cholesky(hessian))
        self.factors, self.shape = torch.stack(factors), shape

    def sample(self, h: Tensor, logits: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
        """Logits (T, N, A C) under T draws of the weights, of inputs h (N, H) with trained logits (N, A C)."""
        n_answers = self.shape[1]
        noise = torch.randn(*self.factors.shape[:2], n_samples, dtype=torch.float64, generator=generator)
        # H = L L^T: L^-T z has covariance H^-1
        change = torch.linalg.solve_triangular(self.factors.mT, noise, upper=True)
        change = change.unflatten(1, (n_answers, -1)).flatten(0, 1)
        return logits.double() + torch.einsum("ni,kit->tnk", _with_one(h.double()), change)


def _with_one(h: Tensor) -> Tensor:
    return F.pad(h, (0, 1), value=1.0)


def evidential_loss(said: Tensor, target: Tensor) -> Tensor:
    """Expected cross-entropy in nats under a Dirichlet, with votes as shares (Sensoy et al. 2018, equation 4).

    What is said (..., B, A C) are concentrations before softplus(x) + 1. With labels of one answer the evidence would
    grow without bound, were it not for the term that Sensoy et al. add: the divergence from the uniform Dirichlet of
    the concentrations of what is not the target, weighted by `EVIDENCE_PENALTY`.
    """
    alpha = concentrations(said, target.shape[-2:])
    total = alpha.sum(-1, keepdim=True)
    # sum_c y_c (psi(alpha_0) - psi(alpha_c))
    loss = (target * (torch.digamma(total) - torch.digamma(alpha))).sum(-1)
    misleading = target + (1 - target) * alpha
    return (loss + EVIDENCE_PENALTY * _from_uniform(misleading)).mean((-2, -1))


EVIDENCE_PENALTY = 0.1


def concentrations(said: Tensor, shape: tuple[int, int]) -> Tensor:
    """Dirichlet concentrations (..., A, C), at least 1, of what an evidential head says, (..., A C)."""
    return F.softplus(said.unflatten(-1, tuple(shape))) + 1


def _from_uniform(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) over the last axis, nats."""
    total, c = alpha.sum(-1), alpha.shape[-1]
    log_b = torch.lgamma(total) - torch.lgamma(alpha).sum(-1) - math.lgamma(c)
    return log_b + ((alpha - 1) * (torch.digamma(alpha) - torch.digamma(total)[..., None])).sum(-1)


def mixture_loss(shape: tuple[int, int]) -> Loss:
    """PEN's three losses, equations 4 to 6, with cross-entropies in the place of squared errors.

    The targets (..., B, 1, A C + 1) end in the number of the person, whose expert alone learns from the example.
    """

    def loss(said, target: Tensor) -> Tensor:
        target = target.squeeze(-2)
        person, answers = target[..., -1].long(), target[..., :-1].unflatten(-1, shape)
        own = said.experts.gather(-2, person[..., None, None].expand(*person.shape, 1, said.experts.shape[-1]))
        of_expert = answers_cross_entropy(own.squeeze(-2), answers)
        of_gate = -said.logits.log_softmax(-1).gather(-1, person[..., None]).squeeze(-1).mean(-1)
        # the mixture is of what the experts hold likely
        p = torch.softmax(said.experts.unflatten(-1, shape), -1)
        mixed = torch.einsum("...nk,...nkac->...nac", said.gate, p).clamp(min=1e-12)
        return of_expert + of_gate - (answers * mixed.log()).sum(-1).mean((-2, -1))

    return loss


def of_experts(gate: Tensor, experts: Tensor, n_samples: int) -> Tensor:
    """T samples (T, N, A, C) of the experts' chances (N, K, A, C), each expert as often as its gate (N, K) weighs."""
    # the expert at each of the T quantiles of the gate: no draw, and the shares are right within 1 / T
    quantiles = (torch.arange(n_samples, dtype=gate.dtype) + 0.5) / n_samples
    chosen = torch.searchsorted(gate.cumsum(-1).contiguous(), quantiles.expand(len(gate), -1).contiguous())
    chosen = chosen.clamp(max=gate.shape[-1] - 1).T  # the last sum may be rounded below one
    return experts[torch.arange(len(gate)), chosen]


# --- all of them ----------------------------------------------------------------------------------------------

PRECISIONS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Said:
    """What one method says, and what it costs.

    Attributes:
        probs: (S, T, N, A, C) by name of the inputs.
        training: seconds of all that had to be trained for one seed, with the search.
        networks: that had to be trained for one seed.
        prediction: milliseconds for one test example, features given.
    """

    probs: dict[str, Tensor]
    training: float
    networks: int
    prediction: float


def say(
    task: Task,
    settings: Settings,
    names: Sequence[str] = ("test",),
    methods: Sequence[str] | None = None,
    device: str = "cpu",
) -> dict[str, Said]:
    """What every method that fits the task, or those named, says of the named inputs, ``test`` first.

    Whatever a method chooses, it chooses on validation data: the learning rate of each kind of network, and one number
    of its own in temperature scaling (T) and Laplace (delta of `PRECISIONS`).
    """
    loss, shape, m, seeds = answers_cross_entropy, task.shape, settings.members, list(settings.seeds)
    said: dict[str, Said] = {}

    def add(method: str, of: Callable[[str], Tensor], seconds: float, n: int) -> None:
        probs, started = {}, time.perf_counter()
        probs["test"] = of("test")
        taken = 1e3 * (time.perf_counter() - started) / (probs["test"].shape[0] * probs["test"].shape[2])
        probs |= {name: of(name) for name in names if name != "test"}
        said[method] = Said(probs, seconds / len(seeds), n, taken)

    def wanted(*of: str) -> bool:
        return methods is None or bool(set(of) & set(methods))

    inputs = task.inputs
    teachers = train(task, settings, "networks", loss, task.targets, members=m, device=device)
    alone = first(teachers)  # what it cost to search for its rate is shared out among all
    add("softmax", lambda name: chances(outputs(alone, inputs[name]), shape), alone.seconds, 1)
    if wanted("temperature scaling"):
        z, target = outputs(alone, inputs["val"])[:, 0], _of_seeds(task.targets["val"], len(seeds))
        t = torch.tensor([fit_temperature(*of_seed) for of_seed in zip(z, target, strict=True)]).view(-1, 1, 1, 1)
        add("temperature scaling", lambda name: chances(outputs(alone, inputs[name]) / t, shape), alone.seconds, 1)
    if wanted("MC dropout"):
        draws = generators(seeds, 20)
        t_passes = partial(mc_dropout, alone, n_samples=settings.n_samples, shape=shape, draws=draws)
        add("MC dropout", lambda name: t_passes(inputs[name]), alone.seconds, 1)
    if wanted("Laplace"):
        add("Laplace", _laplace(task, settings, alone), alone.seconds, 1)
    if wanted("deep ensemble"):
        add("deep ensemble", lambda name: chances(outputs(teachers, inputs[name]), shape), teachers.seconds, m)

    generations = [g for g in range(1, settings.generations + 1) if wanted(*(f"student{s} {g}" for s in ("", "s")))]
    taught, seconds = teachers, teachers.seconds
    for g in range(1, max(generations, default=0) + 1):
        soft = {split: chances(outputs(taught, inputs[split]), shape).mean(1).float() for split in ("train", "val")}
        taught = train(task, settings, f"students {g}", loss, soft, members=m, stream=10 * g, device=device)
        one = first(taught)
        n, spent = m * g + 1, seconds + one.seconds
        add(f"student {g}", lambda name, of=one: chances(outputs(of, inputs[name]), shape), spent, n)
        seconds += taught.seconds
        add(f"students {g}", lambda name, of=taught: chances(outputs(of, inputs[name]), shape), seconds, m * (g + 1))

    if wanted("evidential"):
        heads = train(task, settings, "evidential", evidential_loss, task.targets, stream=90, device=device)
        draws = generators(seeds, 40)
        add("evidential", lambda name: _dirichlet(heads, inputs[name], settings, shape, draws), heads.seconds, 1)
    if task.units and wanted("UGN"):
        graphs, seconds = _graphs(task, settings, device)
        add("UGN", lambda name: _masked(graphs, inputs[name], settings), seconds, 1)
    if task.person is not None and wanted("PEN"):
        experts = _experts(task, settings, device)
        add("PEN", lambda name: _mixed(experts, inputs[name], settings, shape), experts.seconds, 1)
    return {name: of for name, of in said.items() if methods is None or name in methods}


def _laplace(task: Task, settings: Settings, alone: Networks) -> Callable[[str], Tensor]:
    """Chances of inputs by name, with the precision of the prior that validates best, seed by seed."""
    shape, posteriors = task.shape, []
    target = _of_seeds(task.targets["val"], len(settings.seeds))
    z, h = ({name: f(alone, task.inputs[name]) for name in ("train", "val")} for f in (outputs, hidden))
    for i, seed in enumerate(settings.seeds):
        tried = []
        for precision in PRECISIONS:
            posterior = LastLayerLaplace(h["train"][i], z["train"][i, 0], shape, precision)
            (draw,) = generators([seed], 30)
            p = chances(posterior.sample(h["val"][i], z["val"][i, 0], settings.n_samples, draw), shape).mean(0)
            tried.append((float(-(target[i] * p.clamp(min=1e-12).log()).sum(-1).mean()), posterior))
        posteriors.append(min(tried, key=lambda pair: pair[0])[1])

    def of(name: str) -> Tensor:
        x = task.inputs[name]
        parts = posteriors, hidden(alone, x), outputs(alone, x)[:, 0], generators(list(settings.seeds), 31)
        drawn = (p.sample(h, z, settings.n_samples, g) for p, h, z, g in zip(*parts, strict=True))
        return torch.stack([chances(logits, shape) for logits in drawn])

    return of


def _dirichlet(networks: Networks, x: Tensor, settings: Settings, shape: tuple[int, int], draws) -> Tensor:
    """T draws (S, T, N, A, C) from the Dirichlets of an evidential head."""
    alpha = concentrations(outputs(networks, x)[:, 0].double(), shape)
    drawn = []
    for of_seed, g in zip(alpha, draws, strict=True):
        # torch's own draws of a gamma take no public generator
        gamma = np.random.default_rng(int(torch.randint(2**62, (1,), generator=g))).standard_gamma
        drawn.append(torch.from_numpy(gamma(of_seed.numpy(), (settings.n_samples, *of_seed.shape))))
    drawn = torch.stack(drawn)
    return drawn / drawn.sum(-1, keepdim=True)


def _graphs(task: Task, settings: Settings, device: str) -> tuple[nn.Module, float]:
    """UGN on the task's features: its branches, then the graph, as its own protocol trains them."""
    # as long as all others, in every profile
    shared = {name: getattr(settings, name) for name in ("seeds", "n_samples", "max_epochs", "patience")}
    how = replace(ugn.settings("quick"), **shared)
    sizes = [len(task.inputs[split]) for split in ("train", "val")]
    rows = torch.arange(sum(sizes)).split(sizes)
    x, y = (torch.cat([part[split] for split in ("train", "val")]) for part in (task.inputs, task.targets))
    labels = y[..., 1].to(torch.int8)
    fold = ugn.Fold(x, labels, ugn.Split(*rows, torch.empty(0, dtype=torch.int64)), torch.ones(labels.shape[1]))
    branches = ugn.train_branches(fold, how, device)
    graphs = ugn.train_graphs(fold, branches, how, ["UGN"], device)
    return graphs, branches.seconds + graphs.seconds


@torch.no_grad()
def _masked(graphs: nn.Module, x: Tensor, settings: Settings) -> Tensor:
    """Chances (S, T, N, A, 2) under T masks."""
    graphs.generators = generators(list(settings.seeds), 30)
    batches = x.to(graphs.readout.device).split(2048)
    present = torch.cat([graphs.probabilities(b, settings.n_samples).double().cpu() for b in batches], 2)
    return torch.stack([1 - present, present], -1).transpose(0, 1)


def _experts(task: Task, settings: Settings, device: str) -> Networks:
    """PEN on the task's features: one linear network for all people, then an expert for each, and the gate."""
    n_features, n_outputs, n_people = (
        task.inputs["train"].shape[-1],
        math.prod(task.shape),
        1 + max(int(of.max()) for of in task.person.values()),
    )

    def shared(of_copies: Sequence[torch.Generator], seeds: Sequence[int]) -> SharedNetwork:
        return _without_masks(SharedNetwork(n_features, of_copies, n_outputs))

    def mixture(of_copies: Sequence[torch.Generator], seeds: Sequence[int]) -> PersonalizedExpertNetwork:
        start = select_copies(everyone.model.cpu(), list(seeds))
        return _without_masks(PersonalizedExpertNetwork.from_shared(start, n_people, of_copies))

    loss = answers_cross_entropy
    everyone = train(task, settings, "SN", loss, task.targets, network=shared, stream=100, device=device)
    targets = {
        # an axis more, as `train` counts them: A, C and the person
        split: torch.cat([task.targets[split].flatten(-2), task.person[split][..., None].float()], -1)[..., None, :]
        for split in ("train", "val")
    }
    experts = train(
        task,
        settings,
        "PEN",
        mixture_loss(task.shape),
        targets,
        network=mixture,
        stream=110,
        depends_on=list(everyone.model.parameters()),
        device=device,
    )
    return replace(experts, seconds=experts.seconds + everyone.seconds)


def _without_masks(model: nn.Module) -> nn.Module:
    model.generators = []  # `fit` keeps those that draw masks of dropout; here none does
    return model


@torch.no_grad()
def _mixed(networks: Networks, x: Tensor, settings: Settings, shape: tuple[int, int]) -> Tensor:
    """Samples (S, T, N, A, C) of the mixture of experts."""
    said = networks.model(x.to(networks.model.gate_weight.device))
    parts = zip(said.gate.cpu(), chances(said.experts, shape).cpu(), strict=True)
    return torch.stack([of_experts(gate, experts, settings.n_samples) for gate, experts in parts])


def _of_seeds(part: Tensor, n_seeds: int) -> Tensor:
    return part if part.ndim == 4 else part.expand(n_seeds, *part.shape)


# --- measures -------------------------------------------------------------------------------------------------


def measured(task: Task, said: Mapping[str, Said], group: str | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Pseudo-values (S, clusters) of every measure of each method, by method, on the test split.

    Args:
        group: name of the task's group that was thinned in training.
    """
    found = {}
    for method, of in said.items():
        seeds = [measure(p.flatten(1, 2).numpy(), task.cases(i, group)) for i, p in enumerate(of.probs["test"])]
        found[method] = {name: np.stack([values[name] for values in seeds]) for name in seeds[0]}
    return found


def uncertainties(probs: Tensor) -> EntropyDecomposition:
    """Total, aleatoric and epistemic uncertainty (S, N), nats, of samples (S, T, N, A, C), averaged over questions."""
    parts = [entropy_decomposition(of_seed.numpy()) for of_seed in probs]
    return EntropyDecomposition(*(np.stack([part[i].mean(-1) for part in parts]) for i in range(3)))


def told_apart(said: Mapping[str, Said], name: str) -> dict[str, dict[str, np.ndarray]]:
    """Chance (S, 1) that an input of the other name is more uncertain than one of the test split, by method.

    In epistemic, aleatoric and total uncertainty; a method without epistemic uncertainty has no such chance of it.
    """
    found = {}
    for method, of in said.items():
        test, other = (uncertainties(of.probs[key]) for key in ("test", name))
        kinds = {"U_t": 0, "U_a": 1} | ({"U_e": 2} if of.probs["test"].shape[1] > 1 else {})
        found[method] = {
            kind: np.array(
                [
                    [auroc(np.append(a, b), np.repeat([False, True], [len(a), len(b)]))]
                    for a, b in zip(test[i], other[i], strict=True)
                ]
            )
            for kind, i in kinds.items()
        }
    return found


def rejected(task: Task, said: Mapping[str, Said], coverage: float = 0.8) -> dict[str, dict[str, np.ndarray]]:
    """How much more often examples of a group are rejected than others, and how much more often wrong, (S, 1).

    The examples with the highest total uncertainty are rejected until this share is kept. Wrong is what is likeliest,
    where most voted for something else, before anything is rejected.

    Returns:
        By method; by "rejected" and "wrong" with the name of the group before it.
    """
    answer = task.votes.argmax(-1)  # ([S,] N, A)
    found = {}
    for method, of in said.items():
        total = uncertainties(of.probs["test"]).total
        wrong = (of.probs["test"].mean(1).argmax(-1) != answer).double().mean(-1).numpy()
        parts = {"rejected": total.argsort(1).argsort(1) >= coverage * total.shape[1], "wrong": wrong}
        found[method] = {}
        for name, group in task.groups.items():
            member = np.broadcast_to(group.numpy(), total.shape)
            for part, values in parts.items():
                pairs = zip(values, member, strict=True)
                found[method][f"{name}, {part}"] = np.array([[v[m].mean() - v[~m].mean()] for v, m in pairs])
    return found


def asked(predict: Callable[[np.ndarray], np.ndarray], task: Task, names: Sequence[str] = ("test",)) -> Said:
    """What a method of the reader's own says of a task without worlds of their own for seeds.

    Args:
        predict: maps features (N, D) to probabilities (T, N, C), or (N, C), of one question's answers.

    Raises:
        ValueError: the task asks several questions or has several worlds, or what is predicted has another shape or is
            no probabilities, naming the first bad row.
    """
    n_questions, n_answers = task.shape
    if task.own or n_questions > 1:
        raise ValueError("a method of your own is asked one question in one world: give a task of one seed")
    probs, started = {}, time.perf_counter()
    for name in names:
        x = task.inputs[name].numpy()
        p = np.asarray(predict(x), dtype=np.float64)
        p = p[None] if p.ndim == 2 else p
        if p.ndim != 3 or p.shape[1:] != (len(x), n_answers):
            raise ValueError(f"predict gave shape {p.shape} for {len(x)} inputs: expected (T, {len(x)}, {n_answers})")
        check_probabilities(p)
        probs[name] = torch.from_numpy(p)[None, :, :, None]
    seconds = time.perf_counter() - started
    return Said(probs, math.nan, 1, 1e3 * seconds / sum(p.shape[2] for p in probs.values()))


def reference(measure: str) -> str:
    """The method that others are compared with: softmax, or UncNet's own where softmax has no epistemic part."""
    return "MC dropout" if "U_e" in measure else "softmax"


def decided(found: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]) -> tuple[pd.DataFrame, int]:
    """The differences from the reference that hold all together, and how many were looked at.

    Args:
        found: pseudo-values of :func:`measured` by task.

    Returns:
        A row for each difference that Holm's procedure over all of them decides, with the ends of its 95% interval.
    """
    parts = {}
    for task, methods in found.items():
        for method, measures in methods.items():
            for name, values in measures.items():
                better, other = MEASURES[name].better, reference(name)
                if better and method != other and name in methods.get(other, ()):
                    effect = effect_interval(values - methods[other][name])
                    if effect.se > 0:  # accuracy of temperature scaling never differs
                        parts[task, name, method] = Part("greater" if better == "higher" else "less", effect)
    words = {"reproduced": "better", "contradicted": "worse"}
    columns = ["task", "measure", "method", "against", "difference", "low", "high", "verdict"]
    rows = [
        (task, name, method, reference(name), v.effect, v.low, v.high, words[v.verdict])
        for (task, name, method), v in holm(parts).items()
        if v.verdict in words
    ]
    return pd.DataFrame(rows, columns=columns), len(parts)
