"""Every way to know when not to trust a prediction, on the same frozen features and under the same measures.

All networks are the perceptron of UncNet with another last layer, trained by the one fit loop: what differs between
methods is what they do, never what they see. Every method answers with T sampled predictions, so that one
decomposition (`metrics.entropy_decomposition`) serves them all.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from uncertain_affect.cache import cache_dir, cached_arrays, code_key, content_key
from uncertain_affect.losses import soft_label_cross_entropy
from uncertain_affect.models.uncnet import UncNet, draw_kept
from uncertain_affect.training import fit, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run.

    Attributes:
        members: M, networks of an ensemble, each with weights and minibatches of its own.
        generations: of students.
        n_samples: T, draws of methods that draw.
        rates: learning rates tried for each kind of network, on the first seed; the one with the lowest validation
            loss is taken. No method has a larger budget than another.
        dropout: of the hidden layers, in training everywhere, at test for MC dropout only.
    """

    seeds: tuple[int, ...]
    members: int = 5
    generations: int = 3
    n_samples: int = 20
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    dropout: float = 0.2
    batch_size: int = 128
    max_epochs: int = 40
    patience: int = 3
    clip_norm: float = 5.0


def settings(profile: str, seed: int = 0) -> Settings:
    """The settings of a profile; seeds count up from ``seed``.

    Raises:
        ValueError: no such profile.
    """
    if profile not in ("quick", "full"):
        raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')
    quick = profile == "quick"
    return Settings(tuple(range(seed, seed + (5 if quick else 20))), n_samples=20 if quick else 100)


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be predicted, ready for networks.

    Attributes:
        name: "expression, simulated".
        kind: "classes" of which one is right, "units" of which each may be.
        inputs: float (N, D), or (S, N, D) where every seed has a world of its own, by split, ``train``, ``val`` and
            ``test``; others under other names.
        targets: by split, shares of votes (N, C) or labels (N, A) in {0, 1}; with the same leading axis.
    """

    name: str
    kind: str
    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}: expected one of {', '.join(KINDS)}")


def multi_label_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy in nats of logits (..., B, A) against labels or chances (..., B, A), shape (...)."""
    losses = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    return losses.mean((-2, -1))


KINDS: Mapping[str, Loss] = {"classes": soft_label_cross_entropy, "units": multi_label_cross_entropy}


def chances(logits: Tensor, kind: str) -> Tensor:
    """Probabilities (..., C) of classes, or (..., A, 2) that a unit is absent and present, in float64."""
    if kind == "classes":
        return torch.softmax(logits.double(), -1)
    present = torch.sigmoid(logits.double())
    return torch.stack([1 - present, present], -1)


# --- training -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Networks:
    """S x M networks of one kind: copy s M + m is member m of seed s.

    Attributes:
        rate: the learning rate that was taken.
        tried: validation loss of the first seed by learning rate.
        seconds: of the training, the search included.
    """

    model: UncNet
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
    n_outputs: int | None = None,
    stream: int = 0,
    device: str = "cpu",
) -> Networks:
    """Networks of all seeds and members side by side, or from the cache.

    Args:
        kind: what they are called, part of the cache's key beside the code.
        loss: of outputs (copies, B, n_outputs) and targets (copies, B, ...).
        targets: of training and validation, as the task has them or with a leading axis of seeds.
        stream: seeds of other kinds of networks are independent.
    """
    seeds = list(settings.seeds)
    n_outputs = n_outputs or task.targets["train"].shape[-1]
    data = {split: (task.inputs[split], targets[split]) for split in ("train", "val")}
    depends_on = (kind, asdict(settings), members, n_outputs, stream, data, torch.device(device).type)
    key = content_key(RECIPE, *depends_on, torch.__version__)

    def fitted(of_seeds: Sequence[int], n: int, rate: float, label: str):
        copies = [seed * settings.members + m for seed in of_seeds for m in range(n)]
        model = UncNet(
            data["train"][0].shape[-1], generators(copies, stream), n_classes=n_outputs, dropout=settings.dropout
        ).to(device)
        own = any(part.ndim == 3 for of_split in data.values() for part in of_split)
        rows = torch.tensor([seeds.index(seed) for seed in of_seeds]).repeat_interleave(n)
        parts = [
            tuple(_of_copies(part, rows).to(device) if own else part.to(device) for part in data[split])
            for split in ("train", "val")
        ]
        history = fit(
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
            checkpoint=cache_dir() / "networks" / f"{key}.checkpoint" if n == members and len(rows) > 1 else None,
            label=label,
        )
        return model, history

    def build() -> dict[str, np.ndarray]:
        searched = [fitted(seeds[:1], 1, rate, f"{kind}, rate {rate:g}")[1] for rate in settings.rates]
        tried = [history.best_val[0] for history in searched]
        rate = settings.rates[int(np.argmin(tried))]
        model, history = fitted(seeds, members, rate, kind)
        state = {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}
        seconds = history.seconds + sum(h.seconds for h in searched)
        return state | {"rate": np.array(rate), "tried": np.array(tried), "seconds": np.array(seconds)}

    stored = cached_arrays(key, build, kind="networks")
    rate, tried, seconds = (stored.pop(name).tolist() for name in ("rate", "tried", "seconds"))
    copies = [seed * settings.members + m for seed in seeds for m in range(members)]
    model = UncNet(
        data["train"][0].shape[-1], generators(copies, stream), n_classes=n_outputs, dropout=settings.dropout
    )
    model.load_state_dict({name: torch.from_numpy(value) for name, value in stored.items()})
    return Networks(model.to(device).eval(), members, rate, dict(zip(settings.rates, tried, strict=True)), seconds)


def _of_copies(part: Tensor, rows: Tensor) -> Tensor:
    """Data (N, ...) or (S, N, ...) as each copy has its own, (copies, N, ...)."""
    return part[rows] if part.ndim == 3 else part.expand(len(rows), *part.shape)


@torch.no_grad()
def outputs(networks: Networks, x: Tensor) -> Tensor:
    """What the last layer says (S, M, N, n_outputs), dropout off, of inputs (N, D) or (S, N, D)."""
    n_copies, m = len(networks.model.generators), networks.members
    x = x.to(networks.model.biases[0].device)
    z = networks.model(_of_copies(x, torch.arange(n_copies // m).repeat_interleave(m)) if x.ndim == 3 else x)
    return z.unflatten(0, (n_copies // m, m)).cpu()


@torch.no_grad()
def hidden(networks: Networks, x: Tensor, member: int = 0) -> Tensor:
    """Inputs (S, N, H) of the last layer of one member of every seed, dropout off."""
    model = networks.model
    h = x.to(model.biases[0].device).expand(len(model.generators) // networks.members, *x.shape[-2:])
    for weight, bias in zip(model.weights[:-1], model.biases[:-1], strict=True):
        h = torch.relu(torch.baddbmm(bias[member :: networks.members], h, weight[member :: networks.members]))
    return h


# --- methods --------------------------------------------------------------------------------------------------


@torch.no_grad()
def mc_dropout(networks: Networks, x: Tensor, n_samples: int, kind: str, draws: Sequence[torch.Generator]) -> Tensor:
    """UncNet: chances (S, T, N, ...) of the first member of each seed under T passes with dropout on."""
    model, m = networks.model, networks.members
    weights, biases = ([p[::m] for p in parameters] for parameters in (model.weights, model.biases))
    x = x.to(weights[0].device).expand(len(draws), *x.shape[-2:])
    first = torch.relu(torch.baddbmm(biases[0], x, weights[0]))  # no dropout before it: the same in all passes
    passes = []
    for _ in range(n_samples):
        h = first * _kept(first, model.dropout, draws)
        h = torch.relu(torch.baddbmm(biases[1], h, weights[1]))
        h = h * _kept(h, model.dropout, draws)
        passes.append(chances(torch.baddbmm(biases[2], h, weights[2]), kind).cpu())
    return torch.stack(passes, 1)


def _kept(h: Tensor, dropout: float, draws: Sequence[torch.Generator]) -> Tensor:
    return torch.stack([draw_kept(h.shape[1:], dropout, g) for g in draws]).to(h) / (1 - dropout)


def fit_temperature(logits: Tensor, targets: Tensor, kind: str) -> float:
    """The temperature that minimises the loss of logits (N, C) on targets (N, C): bounded, T from .05 to 20."""
    logits, targets = logits.double(), targets.double()

    def nll(log_t: float) -> float:
        return float(KINDS[kind](logits / math.exp(log_t), targets))

    return math.exp(minimize_scalar(nll, bounds=(math.log(0.05), math.log(20)), method="bounded").x)


class LastLayerLaplace:
    """Gaussian posterior of the last layer about its trained weights (MacKay 1992; Daxberger et al. 2021).

    With h the input of the last layer and a 1 appended, B(x) the second derivative of the loss in the logits,

        H = sum_i B(x_i) (x) h_i h_i^T + delta I,    W ~ N(W*, H^-1).

    Args:
        h: (N, H), of training inputs.
        logits: (N, C), of the same.
        kind: of the task.
        precision: delta, of the Gaussian prior.
    """

    def __init__(self, h: Tensor, logits: Tensor, kind: str, precision: float):
        h, p = _with_one(h.double()), chances(logits, kind)
        if kind == "classes":
            # B = diag(p) - p p^T
            curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        else:
            curvature = torch.diag_embed(p.prod(-1))
        c, width = logits.shape[1], h.shape[1]
        hessian = torch.einsum("nab,ni,nj->aibj", curvature, h, h).reshape(c * width, c * width)
        hessian += precision * torch.eye(c * width, dtype=torch.float64)
        self.factor, self.shape = torch.linalg.cholesky(hessian), (c, width)

    def sample(self, h: Tensor, logits: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
        """Logits (T, N, C) under T draws of the weights, of inputs h (N, H) with trained logits (N, C)."""
        noise = torch.randn(self.factor.shape[0], n_samples, dtype=torch.float64, generator=generator)
        # H = L L^T: L^-T z has covariance H^-1
        change = torch.linalg.solve_triangular(self.factor.T, noise, upper=True).T.reshape(n_samples, *self.shape)
        return logits.double() + torch.einsum("ni,tci->tnc", _with_one(h.double()), change)


def _with_one(h: Tensor) -> Tensor:
    return F.pad(h, (0, 1), value=1.0)


def evidential_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Expected cross-entropy in nats under a Dirichlet, with votes as shares (Sensoy et al. 2018, equation 4).

    The outputs (..., B, C) are concentrations before softplus(x) + 1. With labels of one class the evidence would grow
    without bound, were it not for the term that Sensoy et al. add: the divergence from the uniform Dirichlet of the
    concentrations of what is not the target, weighted by `EVIDENCE_PENALTY`.
    """
    alpha = concentrations(outputs)
    total = alpha.sum(-1, keepdim=True)
    # sum_c y_c (psi(alpha_0) - psi(alpha_c))
    loss = (target * (torch.digamma(total) - torch.digamma(alpha))).sum(-1)
    misleading = target + (1 - target) * alpha
    return (loss + EVIDENCE_PENALTY * _from_uniform(misleading)).mean(-1)


EVIDENCE_PENALTY = 0.1


def concentrations(outputs: Tensor) -> Tensor:
    """Dirichlet concentrations (..., C), at least 1, of the outputs of an evidential head."""
    return F.softplus(outputs) + 1


def _from_uniform(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) over the last axis, nats."""
    total, c = alpha.sum(-1), alpha.shape[-1]
    log_b = torch.lgamma(total) - torch.lgamma(alpha).sum(-1) - math.lgamma(c)
    return log_b + ((alpha - 1) * (torch.digamma(alpha) - torch.digamma(total)[..., None])).sum(-1)


# --- all of them ----------------------------------------------------------------------------------------------

PRECISIONS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Said:
    """What one method says, and what it costs.

    Attributes:
        probs: (S, T, N, C) of classes, or (S, T, N, A, 2) of units, by name of the inputs.
        training: seconds of all that had to be trained for one seed.
        networks: that had to be trained for one seed.
    """

    probs: dict[str, Tensor]
    training: float
    networks: int


def say(task: Task, settings: Settings, names: Sequence[str] = ("test",), device: str = "cpu") -> dict[str, Said]:
    """What every method that fits the task says of the named inputs.

    Whatever a method chooses, it chooses on validation data: the learning rate of each kind of network, and one number
    of its own in temperature scaling (T) and Laplace (delta of `PRECISIONS`).
    """
    loss, kind, s = KINDS[task.kind], task.kind, len(settings.seeds)
    said: dict[str, Said] = {}

    def add(method: str, of: Callable[[str], Tensor], networks: Sequence[Networks], n: int) -> None:
        seconds = sum(one.seconds for one in networks) / s
        said[method] = Said({name: of(name) for name in names}, seconds, n)

    m = settings.members
    teachers = train(task, settings, "networks", loss, task.targets, members=m, device=device)
    alone = replace(teachers, seconds=teachers.seconds / m)
    z = {name: outputs(teachers, task.inputs[name]) for name in {*names, "train", "val"}}
    add("softmax", lambda name: chances(z[name][:, :1], kind), [alone], 1)

    val = _of_seeds(task.targets["val"], s)
    t = torch.tensor([fit_temperature(z["val"][i, 0], val[i], kind) for i in range(s)])
    add("temperature scaling", lambda name: chances(z[name][:, :1] / t.view(-1, 1, 1, 1), kind), [alone], 1)

    draws = generators(list(settings.seeds), 20)
    add("MC dropout", lambda name: mc_dropout(teachers, task.inputs[name], settings.n_samples, kind, draws), [alone], 1)
    add("Laplace", _laplace(task, settings, teachers, z, val), [alone], 1)
    add("deep ensemble", lambda name: chances(z[name], kind), [teachers], m)

    spent, taught = [teachers], z
    for generation in range(1, settings.generations + 1):
        soft = {split: _likely(chances(taught[split], kind).mean(1), kind) for split in ("train", "val")}
        label = f"students {generation}"
        students = train(task, settings, label, loss, soft, members=m, stream=10 * generation, device=device)
        taught = {name: outputs(students, task.inputs[name]) for name in {*names, "train", "val"}}
        spent.append(students)
        add(f"student {generation}", lambda name, z=taught: chances(z[name][:, :1], kind), spent, m * generation + 1)
        add(f"students {generation}", lambda name, z=taught: chances(z[name], kind), spent, m * (generation + 1))

    if kind == "classes":
        believers = train(task, settings, "evidential", evidential_loss, task.targets, stream=90, device=device)
        said["evidential"] = Said(
            {name: _dirichlet(believers, task.inputs[name], settings) for name in names}, believers.seconds / s, 1
        )
    return said


def _laplace(task: Task, settings: Settings, networks: Networks, z: Mapping[str, Tensor], val: Tensor) -> Callable:
    """Chances of inputs by name, with the precision of the prior that validates best, seed by seed."""
    h = {name: hidden(networks, task.inputs[name]).cpu() for name in z}
    kind, posteriors = task.kind, []
    for i, seed in enumerate(settings.seeds):
        tried = []
        for precision in PRECISIONS:
            posterior = LastLayerLaplace(h["train"][i], z["train"][i, 0], kind, precision)
            (draw,) = generators([seed], 30)
            p = chances(posterior.sample(h["val"][i], z["val"][i, 0], settings.n_samples, draw), kind).mean(0)
            tried.append((float(_nll(p, val[i], kind)), posterior))
        posteriors.append(min(tried, key=lambda pair: pair[0])[1])

    def of(name: str) -> Tensor:
        drawn = zip(posteriors, h[name], z[name][:, 0], generators(list(settings.seeds), 31), strict=True)
        return torch.stack([chances(p.sample(x, y, settings.n_samples, g), kind) for p, x, y, g in drawn])

    return of


def _nll(p: Tensor, target: Tensor, kind: str) -> Tensor:
    target = target.double() if kind == "classes" else torch.stack([1 - target, target], -1).double()
    return -torch.special.xlogy(target, p.clamp(min=1e-12)).sum(-1).mean()


def _dirichlet(networks: Networks, x: Tensor, settings: Settings) -> Tensor:
    """T draws (S, T, N, C) from the Dirichlets of an evidential head."""
    alpha = concentrations(outputs(networks, x)[:, 0].double())
    drawn = []
    for of_seed, g in zip(alpha, generators(list(settings.seeds), 40), strict=True):
        # torch's own draws of a gamma take no public generator
        gamma = np.random.default_rng(int(torch.randint(2**62, (1,), generator=g))).standard_gamma
        drawn.append(torch.from_numpy(gamma(of_seed.numpy(), (settings.n_samples, *of_seed.shape))))
    drawn = torch.stack(drawn)
    return drawn / drawn.sum(-1, keepdim=True)


def _likely(p: Tensor, kind: str) -> Tensor:
    """Targets as the losses take them: shares of classes, or chances that a unit is present."""
    return (p if kind == "classes" else p[..., 1]).float()


def _of_seeds(part: Tensor, n_seeds: int) -> Tensor:
    return part if part.ndim == 3 else part.expand(n_seeds, *part.shape)
