"""The methods, and what each predicts for a task."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncertain_affect.losses import soft_label_cross_entropy
from uncertain_affect.metrics.inputs import check_probabilities
from uncertain_affect.models.pen import Mixture, PersonalizedExpertNetwork, SharedNetwork, select_copies
from uncertain_affect.papers import ugn
from uncertain_affect.papers.across.networks import AcrossSettings, Networks, PredictionTask, train
from uncertain_affect.training.fit import generators
from uncertain_affect.training.temperature import fit_temperature

METHODS = (
    "softmax", "temperature scaling", "MC dropout", "UGN", "PEN", "deep ensemble", "student 1", "students 1",
    "student 2", "students 2", "student 3", "students 3", "Laplace", "evidential",
)  # fmt: skip
SINGLE = ("softmax", "temperature scaling", "student 1", "student 2", "student 3")  # one prediction: no U_e
SAMPLED = tuple(method for method in METHODS if method not in SINGLE)
PRECISIONS = (0.1, 1.0, 10.0)  # of Laplace's prior, of which one is chosen
EVIDENCE_PENALTY = 0.1

Shape = tuple[int, int]  # A, C
Predict = Callable[[Tensor], Tensor]  # of inputs (N, D) or (S, N, D), probabilities (S, T, N, A, C)


def answers_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy in nats of logits (..., B, A C) against shares (..., B, A, C), over examples and questions."""
    return soft_label_cross_entropy(logits.unflatten(-1, target.shape[-2:]).flatten(-3, -2), target.flatten(-3, -2))


def probabilities(logits: Tensor, shape: Shape) -> Tensor:
    """Probabilities (..., A, C) of the answers, in float64, of logits (..., A C)."""
    return torch.softmax(logits.double().unflatten(-1, shape), -1)


# --- dropout, temperature and the last layer's posterior ------------------------------------------------------


@torch.no_grad()
def mc_dropout(alone: Networks, n_samples: int, shape: Shape, draws: list[torch.Generator], x: Tensor) -> Tensor:
    """UncNet: probabilities (S, T, N, A, C) by the one network of every seed under T passes with dropout on."""
    model = alone.model.train()
    model.generators, x = draws, x.to(model.weights[0].device)
    passes = [probabilities(model(x), shape).cpu() for _ in range(n_samples)]
    model.eval()
    return torch.stack(passes, 1)


def fit_temperatures(logits: Tensor, target: Tensor) -> Tensor:
    """The temperatures (S, 1, 1, 1) with the lowest cross-entropy of logits (S, N, A C) on shares (S, N, A, C)."""
    seeds = zip(logits.double(), target.double(), strict=True)
    fitted = [fit_temperature(lambda t, z=z, y=y: float(answers_cross_entropy(z / t, y))) for z, y in seeds]
    return torch.tensor(fitted).view(-1, 1, 1, 1)


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

    def __init__(self, h: Tensor, logits: Tensor, shape: Shape, precision: float):
        h, n_answers = _with_one(h.double()), shape[1]
        size, factors = n_answers * h.shape[1], []
        for p in probabilities(logits, shape).unbind(1):
            hessian = torch.empty(n_answers, h.shape[1], n_answers, h.shape[1], dtype=torch.float64)
            for a in range(n_answers):
                for b in range(a, n_answers):
                    # B = diag(p) - p p^T
                    curvature = p[:, a] * (float(a == b) - p[:, b])
                    hessian[a, :, b] = hessian[b, :, a] = (h * curvature[:, None]).T @ h
            prior = precision * torch.eye(size, dtype=torch.float64)
            factors.append(torch.linalg.cholesky(hessian.reshape(size, size) + prior))
        self.factors, self.shape = torch.stack(factors), shape

    def sample(self, h: Tensor, logits: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
        """Logits (T, N, A C) under T draws of the weights, of inputs h (N, H) with trained logits (N, A C)."""
        noise = torch.randn(*self.factors.shape[:2], n_samples, dtype=torch.float64, generator=generator)
        # H = L L^T: L^-T z has covariance H^-1
        change = torch.linalg.solve_triangular(self.factors.mT, noise, upper=True)
        change = change.unflatten(1, (self.shape[1], -1)).flatten(0, 1)
        return logits.double() + torch.einsum("ni,kit->tnk", _with_one(h.double()), change)


def _with_one(h: Tensor) -> Tensor:
    return F.pad(h, (0, 1), value=1.0)


def laplace(task: PredictionTask, settings: AcrossSettings, alone: Networks) -> Predict:
    """Predictions under the posterior whose prior has the precision that validates best, seed by seed."""
    target, posteriors, seeds = _per_seed(task.targets["val"], settings), [], list(settings.seeds)

    @torch.no_grad()
    def last_layer(x: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (S, N, H) and outputs (S, N, A C) of the last layer."""
        return alone.model.hidden(x.to(alone.model.weights[0].device)).cpu(), alone.outputs(x)[:, 0]

    (h, z), (h_val, z_val) = (last_layer(task.inputs[split]) for split in ("train", "val"))

    def nll(i: int, posterior: LastLayerLaplace) -> float:
        drawn = posterior.sample(h_val[i], z_val[i], settings.n_samples, generators(seeds[i : i + 1], 30)[0])
        p = probabilities(drawn, task.shape).mean(0)
        return float(-(target[i] * p.clamp(min=1e-12).log()).sum(-1).mean())

    for i in range(len(seeds)):
        tried = [LastLayerLaplace(h[i], z[i], task.shape, precision) for precision in PRECISIONS]
        posteriors.append(min(tried, key=partial(nll, i)))

    def predict(x: Tensor) -> Tensor:
        parts = zip(posteriors, *last_layer(x), generators(seeds, 31), strict=True)
        drawn = [posterior.sample(h, z, settings.n_samples, draws) for posterior, h, z, draws in parts]
        return probabilities(torch.stack(drawn), task.shape)

    return predict


# --- evidential head ------------------------------------------------------------------------------------------


def evidential_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Expected cross-entropy in nats under a Dirichlet, with votes as shares (Sensoy et al. 2018, equation 4).

    The outputs (..., B, A C) are concentrations before softplus(x) + 1. With labels of one answer the evidence would
    grow without bound, were it not for the term that Sensoy et al. add: the divergence from the uniform Dirichlet of
    the concentrations of what is not the target, weighted by `EVIDENCE_PENALTY`.
    """
    alpha = concentrations(outputs, target.shape[-2:])
    total = alpha.sum(-1, keepdim=True)
    # sum_c y_c (psi(alpha_0) - psi(alpha_c))
    loss = (target * (torch.digamma(total) - torch.digamma(alpha))).sum(-1)
    misleading = target + (1 - target) * alpha
    return (loss + EVIDENCE_PENALTY * _divergence_from_uniform(misleading)).mean((-2, -1))


def concentrations(outputs: Tensor, shape: Shape) -> Tensor:
    """Dirichlet concentrations (..., A, C), at least 1, of the outputs (..., A C) of an evidential head."""
    return F.softplus(outputs.unflatten(-1, tuple(shape))) + 1


def _divergence_from_uniform(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) over the last axis, nats."""
    total, c = alpha.sum(-1), alpha.shape[-1]
    log_b = torch.lgamma(total) - torch.lgamma(alpha).sum(-1) - math.lgamma(c)
    return log_b + ((alpha - 1) * (torch.digamma(alpha) - torch.digamma(total)[..., None])).sum(-1)


def _dirichlet(heads: Networks, n_samples: int, shape: Shape, draws, x: Tensor) -> Tensor:
    """T draws (S, T, N, A, C) from the Dirichlets of an evidential head."""
    alpha = concentrations(heads.outputs(x)[:, 0].double(), shape).numpy()
    # torch's own draws of a gamma take no public generator
    numpy_draws = [np.random.default_rng(int(torch.randint(2**62, (1,), generator=g))) for g in draws]
    drawn = [g.standard_gamma(a, (n_samples, *a.shape)) for a, g in zip(alpha, numpy_draws, strict=True)]
    drawn = torch.from_numpy(np.stack(drawn))
    return drawn / drawn.sum(-1, keepdim=True)


# --- UGN's graph and PEN's experts ----------------------------------------------------------------------------


def _graphs(task: PredictionTask, settings: AcrossSettings, device: str) -> tuple[nn.Module, float]:
    """UGN on the task's features, and its seconds: its branches, then the graph, as its own protocol trains them."""
    # as long as all others, in every profile
    shared = {name: getattr(settings, name) for name in ("seeds", "n_samples", "max_epochs", "patience")}
    ugn_settings = replace(ugn.settings("quick"), **shared)
    x, y = (torch.cat([part[split] for split in ("train", "val")]) for part in (task.inputs, task.targets))
    rows = torch.arange(len(x)).tensor_split([len(task.inputs["train"]), len(x)])
    labels = y[..., 1].to(torch.int8)
    fold = ugn.Fold(x, labels, ugn.Split(*rows), torch.ones(labels.shape[1]))
    branches = ugn.train_branches(fold, ugn_settings, device)
    graphs = ugn.train_graphs(fold, branches, ugn_settings, ["UGN"], device)
    return graphs, branches.history.seconds + graphs.history.seconds


@torch.no_grad()
def _masked(graphs: nn.Module, settings: AcrossSettings, x: Tensor) -> Tensor:
    """Probabilities (S, T, N, A, 2) under T masks."""
    graphs.generators = generators(list(settings.seeds), 30)
    batches = x.to(graphs.readout.device).split(2048)
    present = torch.cat([graphs.probabilities(b, settings.n_samples).double().cpu() for b in batches], 2)
    return torch.stack([1 - present, present], -1).transpose(0, 1)


def mixture_loss(mixture: Mixture, target: Tensor) -> Tensor:
    """PEN's three losses, equations 4 to 6, with cross-entropies in the place of squared errors.

    The targets (..., B, A, C + 1) end in the number of the person, whose expert alone learns from the example.
    """
    answers, person = target[..., :-1], target[..., 0, -1:].long()
    own = torch.take_along_dim(mixture.experts, person[..., None], -2).squeeze(-2)
    gate_loss = -mixture.logits.log_softmax(-1).gather(-1, person).squeeze(-1).mean(-1)
    # the mixture is of the experts' probabilities
    p = torch.softmax(mixture.experts.unflatten(-1, answers.shape[-2:]), -1)
    mixed = torch.einsum("...nk,...nkac->...nac", mixture.gate, p).clamp(min=1e-12)
    return answers_cross_entropy(own, answers) + gate_loss - (answers * mixed.log()).sum(-1).mean((-2, -1))


def sample_experts(gate: Tensor, experts: Tensor, n_samples: int) -> Tensor:
    """T samples (T, N, A, C) of the experts' probabilities (N, K, A, C), each as often as its gate (N, K) weighs."""
    # the expert at each of the T quantiles of the gate: no draw, and the shares are right within 1 / T
    quantiles = (torch.arange(n_samples, dtype=gate.dtype) + 0.5) / n_samples
    chosen = torch.searchsorted(gate.cumsum(-1).contiguous(), quantiles.expand(len(gate), -1).contiguous())
    chosen = chosen.clamp(max=gate.shape[-1] - 1).T  # the last sum may be rounded below one
    return experts[torch.arange(len(gate)), chosen]


def _experts(task: PredictionTask, settings: AcrossSettings, device: str) -> Networks:
    """PEN on the task's features: one linear network for all people, then an expert for each, and the gate."""
    n_features, n_outputs = task.inputs["train"].shape[-1], math.prod(task.shape)
    n_people = 1 + max(int(people.max()) for people in task.person.values())

    def shared(draws: Sequence[torch.Generator], seeds: Sequence[int]) -> SharedNetwork:
        return SharedNetwork(n_features, draws, n_outputs)

    def mixture(draws: Sequence[torch.Generator], seeds: Sequence[int]) -> PersonalizedExpertNetwork:
        return PersonalizedExpertNetwork.from_shared(select_copies(start, list(seeds)), n_people, draws)

    fit = partial(train, task, settings, device=device)
    everyone = fit("SN", answers_cross_entropy, task.targets, network=shared, stream=100)
    start = everyone.model.cpu()
    targets = {split: F.pad(task.targets[split], (0, 1)) for split in task.person}
    for split, people in task.person.items():
        targets[split][..., -1] = people[..., None]
    experts = fit("PEN", mixture_loss, targets, network=mixture, stream=110)
    return experts._replace(seconds=experts.seconds + everyone.seconds)


@torch.no_grad()
def _mixed(networks: Networks, n_samples: int, shape: Shape, x: Tensor) -> Tensor:
    """Samples (S, T, N, A, C) of the mixture of experts."""
    mixture = networks.model(x.to(networks.model.gate_weight.device))
    parts = zip(mixture.gate.cpu(), probabilities(mixture.experts, shape).cpu(), strict=True)
    return torch.stack([sample_experts(gate, experts, n_samples) for gate, experts in parts])


# --- all of them ----------------------------------------------------------------------------------------------


class MethodPredictions(NamedTuple):
    """Predictions of one method, and what they cost.

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


def predict_all(
    task: PredictionTask,
    settings: AcrossSettings,
    names: Sequence[str] = ("test",),
    methods: Sequence[str] | None = None,
    device: str = "cpu",
) -> dict[str, MethodPredictions]:
    """Predictions of every method that fits the task, or of those named, for the named inputs, ``test`` first.

    Whatever a method chooses, it chooses on validation data: the learning rate of each kind of network, and one number
    of its own in temperature scaling (T) and Laplace (delta of `PRECISIONS`).
    """
    found, wanted = {}, METHODS if methods is None else methods
    for method, predict, seconds, n in _trained(task, settings, wanted, device):
        started = time.perf_counter()
        probs = {"test": predict(task.inputs["test"])}
        taken = 1e3 * (time.perf_counter() - started) / (probs["test"].shape[0] * probs["test"].shape[2])
        probs |= {name: predict(task.inputs[name]) for name in names if name != "test"}
        found[method] = MethodPredictions(probs, seconds / len(settings.seeds), n, taken)
    return {method: predictions for method, predictions in found.items() if method in wanted}


def _trained(task, settings, methods, device) -> Iterator[tuple[str, Predict, float, int]]:
    """Name, predictions, seconds of training for all seeds and networks of a seed, of the wanted methods and others
    that come with them. The predictions of one are made before the next is trained."""
    shape, m, t, seeds = task.shape, settings.members, settings.n_samples, list(settings.seeds)
    fit = partial(train, task, settings, device=device)

    def softmax(networks: Networks, temperature: Tensor | float = 1.0) -> Predict:
        return lambda x: probabilities(networks.outputs(x) / temperature, shape)

    teachers = fit("networks", answers_cross_entropy, task.targets, members=m)
    alone = teachers.first_members()  # what it cost to search for its rate is shared out among all
    yield "softmax", softmax(alone), alone.seconds, 1
    if "temperature scaling" in methods:
        z, target = alone.outputs(task.inputs["val"])[:, 0], _per_seed(task.targets["val"], settings)
        yield "temperature scaling", softmax(alone, fit_temperatures(z, target)), alone.seconds, 1
    if "MC dropout" in methods:
        yield "MC dropout", partial(mc_dropout, alone, t, shape, generators(seeds, 20)), alone.seconds, 1
    if "Laplace" in methods:
        yield "Laplace", laplace(task, settings, alone), alone.seconds, 1
    if "deep ensemble" in methods:
        yield "deep ensemble", softmax(teachers), teachers.seconds, m

    wanted = [g for g in range(1, settings.generations + 1) if {f"student {g}", f"students {g}"} & set(methods)]
    taught, seconds = teachers, teachers.seconds
    for g in range(1, max(wanted, default=0) + 1):
        soft = {split: softmax(taught)(task.inputs[split]).mean(1).float() for split in ("train", "val")}
        taught = fit(f"students {g}", answers_cross_entropy, soft, members=m, stream=10 * g)
        one = taught.first_members()
        yield f"student {g}", softmax(one), seconds + one.seconds, m * g + 1
        seconds += taught.seconds
        yield f"students {g}", softmax(taught), seconds, m * (g + 1)

    if "evidential" in methods:
        heads = fit("evidential", evidential_loss, task.targets, stream=90)
        yield "evidential", partial(_dirichlet, heads, t, shape, generators(seeds, 40)), heads.seconds, 1
    if task.units and "UGN" in methods:
        graphs, seconds = _graphs(task, settings, device)
        yield "UGN", partial(_masked, graphs, settings), seconds, 1
    if task.person is not None and "PEN" in methods:
        experts = _experts(task, settings, device)
        yield "PEN", partial(_mixed, experts, t, shape), experts.seconds, 1


def _per_seed(part: Tensor, settings: AcrossSettings) -> Tensor:
    return part if part.ndim == 4 else part.expand(len(settings.seeds), *part.shape)


def own_predictions(
    predict: Callable[[np.ndarray], np.ndarray], task: PredictionTask, names: Sequence[str] = ("test",)
) -> MethodPredictions:
    """Predictions of a method of the reader's own, for a task of one question in one world.

    Args:
        predict: maps features (N, D) to probabilities (T, N, C), or (N, C), of the answers.

    Raises:
        ValueError: the task has several questions or several worlds, or what is predicted has another shape or is
            no probabilities, naming the first bad row.
    """
    n_questions, n_answers = task.shape
    if task.own or n_questions > 1:
        raise ValueError("a method of your own predicts one question in one world: give a task of one seed")
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
    return MethodPredictions(probs, math.nan, 1, 1e3 * seconds / sum(p.shape[2] for p in probs.values()))
