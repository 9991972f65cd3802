"""One piece of work for every network of the papers: what it predicts before training, and some steps of its training.

Everything is made on the CPU from a seed, with the CPU's own generators, and then goes to a device: there and on the
CPU the same is computed. Nothing but torch and NumPy is imported.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adam

from uncertain_affect import losses, metrics
from uncertain_affect.losses.rock import multi_task_loss
from uncertain_affect.models.backbones import InceptionResnetV1, SmallResNet
from uncertain_affect.models.distill import AUXILIARY, TASKS, EMENet, TaskHeads
from uncertain_affect.models.pen import PersonalizedExpertNetwork, SharedNetwork
from uncertain_affect.models.rock import FlatHan, HanRock, contexts, seventeen_tasks
from uncertain_affect.models.ugn import ARMS, ActionUnitBranches, UncertainGraphNetwork
from uncertain_affect.models.uncnet import UncNet, mc_dropout, mc_uncertainty
from uncertain_affect.training import finetune
from uncertain_affect.training.fit import History, fit, generators, minibatches, one_cycle

EXPR = "EXPR"


class Work(NamedTuple):
    """A network on a device.

    Attributes:
        model: the network.
        outputs: what it predicts, by name, dropout off where it is off at test.
        learn: takes so many steps of training; None where nothing is trained.
    """

    model: nn.Module
    outputs: Callable[[], dict[str, Tensor]]
    learn: Callable[[int], History] | None = None


@dataclass(frozen=True)
class Case:
    """A piece of work: its name, and what makes it for a device, small, or else of the published size."""

    name: str
    make: Callable[[str, bool], Work]


def compute(case: Case, device: str, small: bool = True) -> dict[str, Tensor]:
    """Outputs before training, and the loss and the gradients of one step, on the CPU."""
    work = case.make(device, small)
    work.model.eval()
    with torch.no_grad():
        found = {f"output {name}": value for name, value in work.outputs().items()}
    if work.learn is not None:
        found["loss"] = torch.tensor(work.learn(1).train)
        named = work.model.named_parameters()
        found |= {f"gradient {name}": p.grad for name, p in named if p.grad is not None}
    return {name: value.detach().cpu() for name, value in found.items()}


def _fitting(model: nn.Module, loss: Callable, batches: Callable[[], Iterable], **options):
    """What :class:`Work` needs to learn: so many minibatches in the library's own loop; options are those of `fit`."""
    endless = itertools.chain.from_iterable(batches() for _ in itertools.count())

    def learn(steps: int) -> History:
        return fit(model, loss, lambda: itertools.islice(endless, steps), epochs=1, progress=False, **options)

    return learn


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _adam(lr: float) -> dict[str, Callable]:
    return {"optimiser": partial(Adam, lr=lr, fused=True)}


# --- UncNet ---------------------------------------------------------------------------------------------------


def uncnet(device: str, small: bool) -> Work:
    """All seeds side by side, on features, with the votes as targets."""
    seeds, n, width = (2, 60, 12) if small else (20, 20_000, 1792)
    x, y = torch.randn(n, width, generator=_draw()), torch.rand(n, 9, generator=_draw(1)).square()
    x, y = x.to(device), (y / y.sum(1, keepdim=True)).to(device)
    hidden = (8, 8) if small else (128, 128)
    model = UncNet(width, generators(range(seeds)), hidden).to(device)
    rows = [torch.arange(n, device=device)] * seeds
    batches = minibatches(rows, generators(range(seeds), 1), 20 if small else 90)

    def outputs() -> dict[str, Tensor]:
        some, found = x[:500], {"logits": model(x[:500])}
        for masks in ("per_input", "per_network"):
            found[f"probabilities {masks}"] = mc_dropout(model, some, 4, _draw(2), masks)
            mean, split = mc_uncertainty(model, some, 20, _draw(3), masks, member=1)
            found |= {f"mean {masks}": mean} | {f"{name} {masks}": u for name, u in split._asdict().items()}
        return found

    def loss(batch: Tensor) -> Tensor:
        return losses.soft_label_cross_entropy(model(x[batch]), y[batch])

    return Work(model, outputs, _fitting(model, loss, batches, **_adam(1e-4), clip_norm=5.0))


# --- UGN ------------------------------------------------------------------------------------------------------


def _units(device: str, small: bool):
    """Pooled features, labels of action units of which some are unknown, and sizes."""
    n, width, units = (40, 8, 4) if small else (5000, 512, 12)
    x, y = torch.randn(n, width, generator=_draw()), torch.randint(-1, 2, (n, units), generator=_draw(1))
    return x.to(device), y.to(device), 6 if small else 512, range(2 if small else 20)


def ugn_branches(device: str, small: bool) -> Work:
    """The branches of the action units, all seeds side by side."""
    x, y, width, seeds = _units(device, small)
    model = ActionUnitBranches(x.shape[1], y.shape[1], generators(seeds), width).to(device)
    tau = losses.occurrence_weights(y)
    batches = minibatches([torch.arange(len(x), device=device) for _ in seeds], generators(seeds, 1), 16)

    def loss(batch: Tensor) -> Tensor:
        return losses.action_unit_cross_entropy(model(x[batch]), y[batch], tau)

    return Work(model, lambda: {"logits": model(x[:200])}, _fitting(model, loss, batches, **_adam(1e-3)))


def ugn_graphs(device: str, small: bool, **options) -> Work:
    """The graph networks of all arms and seeds side by side, on frozen branches."""
    x, y, width, seeds = _units(device, small)
    branches, copies = ActionUnitBranches(x.shape[1], y.shape[1], generators(seeds), width), list(seeds) * len(ARMS)
    arms = [arm for arm in ARMS for _ in seeds]
    options |= {"branches": branches, "branch_copies": copies, "n_samples": 3, "n_weight_samples": 3}
    sizes = (4, 4) if small else (64, 64)
    model = UncertainGraphNetwork(y.shape[1], width, generators(copies, 10), arms, *sizes, **options).to(device)
    batches = minibatches([torch.arange(len(x), device=device) for _ in copies], generators(copies, 20), 16)

    def outputs() -> dict[str, Tensor]:
        probs = model.probabilities(x[:100], 5)
        split = metrics.bernoulli_entropy_decomposition(probs)
        return {"probabilities": probs, "masks": model.mean_mask(x[:100]), "edges": model.adjacency()} | split._asdict()

    def loss(batch: Tensor) -> Tensor:
        predicted = model(x[batch])
        return losses.action_unit_cross_entropy(predicted.logits, y[batch], example_weights=predicted.weights)

    return Work(model, outputs, _fitting(model, loss, batches, **_adam(0.01)))


# --- PEN ------------------------------------------------------------------------------------------------------


def pen(device: str, small: bool, stage: str = "source") -> Work:
    """The shared network, or the gate, the experts of the source people, or their adaptation, in copies."""
    n, width, people, copies = (60, 6, 3, 2) if small else (20_000, 2048, 9, 20)
    x, y = (torch.randn(n, d, generator=_draw(d)).to(device) for d in (width, 2))
    person = torch.randint(people, (n,), generator=_draw(1)).to(device)
    shared = SharedNetwork(width, generators(range(copies))).to(device)
    experts = PersonalizedExpertNetwork.from_shared(shared, people, generators(range(copies), 2))
    model = shared if stage == "shared" else experts
    lambdas = [torch.full((copies,), value, device=device) for value in (1e-3, 1e-2)]
    rows = [torch.arange(n, device=device)] * copies
    batches = minibatches(rows, generators(range(copies), 3), 8 if small else 50)
    adadelta = {"optimiser": partial(Adadelta, lr=1.0, rho=0.95, eps=1e-7)}

    def loss(batch: Tensor) -> Tensor:
        if stage == "shared":
            return losses.affect_squared_error(shared(x[batch]), y[batch])
        if stage == "gate":
            return losses.pen_gate_loss(experts.gate_logits(x[batch]), person[batch], lambdas[1])
        if stage == "source":
            return losses.pen_source_loss(experts(x[batch]), y[batch], person[batch], *lambdas)
        return losses.pen_adaptation_loss(experts(x[batch]), y[batch], lambdas[1])

    def outputs() -> dict[str, Tensor]:
        return {"mean": shared(x[:200])} if stage == "shared" else experts(x[:200])._asdict()

    return Work(model, outputs, _fitting(model, loss, batches, **adadelta))


# --- HAN-ROCK -------------------------------------------------------------------------------------------------


def rock(device: str, small: bool, flat: bool = False, n_classes: int | None = None) -> Work:
    """The network of figure 3, or of figure 2, for a primary task that is a number or a class."""
    n, words, vocabulary, size = (40, 7, 20, 6) if small else (3000, 60, 3000, 300)
    units, options = ((3, 2), {"word_gru": 3, "attention": 4}) if small else ((128, 129), {})
    options |= {"gru_dropout": 0.2, "recurrent_dropout": 0.2, "freeze": False}
    length = torch.randint(1, words + 1, (n, 1), generator=_draw(1))
    tokens = torch.randint(1, vocabulary, (n, words), generator=_draw()) * (torch.arange(words) < length)
    tasks, embedding = seventeen_tasks("primary", n_classes), torch.randn(vocabulary, size, generator=_draw(2))
    kind, sizes = (FlatHan, units[:1]) if flat else (HanRock, units)
    model = kind(tasks, embedding, *sizes, _draw(3), **options).to(device)
    categorical = [task.n_classes is not None for task in tasks]
    targets = torch.where(
        torch.tensor(categorical), torch.randint(n_classes or 1, (n, 17), generator=_draw(4)).float(),
        torch.randn(n, 17, generator=_draw(5)),
    )  # fmt: skip
    targets[::7, 1:] = torch.nan
    tokens, targets = tokens.to(device), targets.to(device)
    context = contexts(np.arange(n) // 20, 4 if small else 15).to(device)
    weights = torch.full((17,), 1 / 17, device=device)
    batches = minibatches(torch.arange(n, device=device), _draw(6), 16 if small else 128)

    def outputs() -> dict[str, Tensor]:
        predicted = model(tokens, context[:100])
        words, turns = predicted.overall_attention()
        return {"values": predicted.values, "logits": predicted.logits, "words": words, "turns": turns}

    def loss(rows: Tensor) -> Tensor:
        predicted = model(tokens, context[rows])
        return multi_task_loss(predicted.values, predicted.logits, targets[rows], weights, categorical)

    return Work(model, outputs, _fitting(model, loss, batches, **_adam(1e-3)))


# --- Iterative Distillation -----------------------------------------------------------------------------------


def _labels(frames: Sequence[int], device: str) -> dict[str, Tensor]:
    """Labels of all tasks for so many clips and frames."""
    draw = _draw(7)
    units, speaks = (torch.randint(2, (*frames, n), generator=draw) for n in (TASKS["AU"], 1))
    known = {"AU": units, EXPR: torch.randint(TASKS[EXPR], frames, generator=draw), "VAD": speaks[..., 0]}
    known["VA"] = 2 * torch.rand(*frames, 2, generator=draw) - 1
    known["FA"] = torch.rand(*frames, AUXILIARY["FA"], generator=draw)
    return {task: y.to(device) for task, y in known.items()}


def _probabilities(logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """Soft labels by task of logits."""
    bins = logits["VA"].unflatten(-1, (2, 20)).softmax(-1)
    return {"AU": logits["AU"].sigmoid(), EXPR: logits[EXPR].softmax(-1), "VA": bins}


def distill_heads(device: str, small: bool, students: bool = False, **options) -> Work:
    """Teachers' or students' heads on frozen features, members and seeds side by side."""
    n, frames, width, copies = (12, 4, 6, 2) if small else (600, 16, 512, 50)
    sizes = {"hidden": 5, "shared": 4} if small else {"shared": 64}
    model = TaskHeads(width, generators(range(copies)), **sizes, **options).to(device)
    x, y = torch.randn(n, frames, width, generator=_draw()).to(device), _labels((n, frames), device)
    positive = losses.positive_weights(y["AU"].flatten(0, 1).cpu()).to(device)
    of_classes = losses.class_weights(y[EXPR].flatten().cpu(), TASKS[EXPR]).to(device)
    with torch.no_grad():
        taught = TaskHeads(width, generators([99]), hidden=sizes.get("hidden", 128)).to(device).eval()
        soft = {task: p[0] for task, p in _probabilities(taught(x[None])).items()}
    weights = losses.TaskBalancer(copies, 3).weights.to(device)
    batches = minibatches([torch.arange(n, device=device) for _ in range(copies)], generators(range(copies), 1), 5)

    def loss(batch: Tensor) -> Tensor:
        z, of = model(x[batch]), {task: labels[batch] for task, labels in (soft if students else y).items()}
        terms = [losses.au_distillation(z["AU"], of["AU"]), losses.expr_distillation(z[EXPR], of[EXPR]),
                 losses.va_distillation(z["VA"], of["VA"])] if students else [
                 losses.au_loss(z["AU"], of["AU"], positive), losses.expr_loss(z[EXPR], of[EXPR], of_classes),
                 losses.va_loss(z["VA"], of["VA"])]  # fmt: skip
        return losses.multitask_loss(terms, weights)

    def outputs() -> dict[str, Tensor]:
        return model(x[None, :8]) | {"states": model.states(x[None, :8])}

    return Work(model, outputs, _fitting(model, loss, batches, **_adam(1e-3), clip_norm=1.0))


def distill_whole(device: str, small: bool) -> Work:
    """EMENet-VA, sight and hearing, end to end, with its auxiliary tasks."""
    n, frames, side, wide = (6, 3, 32, 0.1) if small else (40, 8, 112, 1.0)
    sizes = {"repeats": 0.2, "hidden": 4} if small else {}
    model = EMENet(_draw(), True, wide, side, outputs=TASKS | AUXILIARY, **sizes).to(device)
    images = torch.randint(256, (n, frames, side, side), generator=_draw(1), dtype=torch.uint8).to(device)
    sound = torch.randn(n, frames, 64, 63, generator=_draw(2)).to(device)
    y = _labels((n, frames), device)
    every = {"AU": losses.au_loss, EXPR: losses.expr_loss, "VA": losses.va_loss}
    every |= {"FA": losses.landmark_loss, "VAD": losses.expr_loss}
    weights = torch.full((1, len(every)), 1 / len(every), device=device)
    batches = minibatches(torch.arange(n, device=device), _draw(3), 4)

    def loss(batch: Tensor) -> Tensor:
        z = model(images[batch], sound[batch])
        return losses.multitask_loss([of(z[task], y[task][batch][None]) for task, of in every.items()], weights)

    return Work(model, lambda: model(images[:2], sound[:2]), _fitting(model, loss, batches, **_adam(1e-3)))


# --- residual networks and features ---------------------------------------------------------------------------


def tuned_resnet(device: str, small: bool, depth: int = 18) -> Work:
    """A ResNet as it is fine-tuned before its features are read: UGN's 18 layers, PEN's 50."""
    side, size, width = (16, 8, 4) if small else (256, 16, 64)
    channels = 1 if small else 3
    shape = (size, side, side) if channels == 1 else (size, channels, side, side)
    images = torch.randint(256, shape, generator=_draw(), dtype=torch.uint8)
    targets, draw = torch.randint(12, (size,), generator=_draw(1)), _draw(2)
    settings = finetune.FineTuningSettings(depth, width, batch_size=size)
    model = finetune._network(images, 12, settings, seed=0).to(device)

    def loss(batch: Tensor) -> Tensor:
        cropped = finetune.random_crop_flip(images[batch], round(side * settings.crop), draw)
        return F.cross_entropy(model(cropped.to(device)), targets[batch].to(device))

    learn = _fitting(model, loss, minibatches(torch.arange(size), _draw(3), size), **one_cycle(settings.lr, 10_000))
    return Work(model, lambda: {"features": finetune._features(model, images, settings)}, learn)


def small_resnet(device: str, small: bool) -> Work:
    """The network of the simulated world, which is pre-trained and then tapped."""
    n = 48 if small else 512
    images = torch.randint(256, (n, 48, 48), generator=_draw(), dtype=torch.uint8)
    labels, model = torch.randint(9, (n,), generator=_draw(1)).to(device), SmallResNet(9, _draw(2)).to(device)
    batches = minibatches(torch.arange(n), _draw(3), 48 if small else 64)
    momentum = {"optimiser": partial(SGD, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)}

    def loss(batch: Tensor) -> Tensor:
        return F.cross_entropy(model(images[batch]), labels[batch.to(device)])

    return Work(model, lambda: model.tapped_features(images[:64]), _fitting(model, loss, batches, **momentum))


def facenet(device: str, small: bool) -> Work:
    """Inception-ResNet-v1, whose features UncNet reads; random weights stand for the published ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = InceptionResnetV1(10)
    model = model.to(memory_format=torch.channels_last).to(device)
    images = torch.randint(256, (2 if small else 64, 48, 48), generator=_draw(), dtype=torch.uint8)
    return Work(model, lambda: model.tapped_features(images))


def measures(device: str, small: bool) -> Work:
    """The metrics, of probabilities that lie on the device."""
    shape = (3, 50, 4) if small else (20, 20_000, 9)
    samples = torch.randn(shape, generator=_draw()).softmax(-1)
    votes = torch.randint(1, 10, shape[1:], generator=_draw(1))
    p, votes = samples.to(device), votes.to(device)

    def outputs() -> dict[str, Tensor]:
        mean, shares, labels = p.mean(0), votes / votes.sum(1, keepdim=True), votes.argmax(1)
        split = metrics.entropy_decomposition(p, normalise=True)
        wrong = mean.argmax(1) != labels
        found = {
            "entropy": metrics.entropy(mean),
            "units": metrics.bernoulli_entropy_decomposition(p).epistemic,
            "divergence": metrics.jensen_shannon_divergence(mean, shares.to(mean)),
            "distance": metrics.jensen_shannon_distance(p[0], p[1]),
            "disagreement": metrics.annotator_disagreement(votes),
            "Brier": metrics.brier_decomposition(mean, votes).score,
            "ECE": metrics.expected_calibration_error(mean, votes),
            "MCE": metrics.maximum_calibration_error(mean, labels),
            "SCE": metrics.static_calibration_error(mean, labels),
            "ACE": metrics.adaptive_calibration_error(mean, labels),
            "accuracy": metrics.accuracy_at_coverage(mean, labels, split.total, 0.5),
            "AUROC": metrics.auroc(split.total, wrong),
            "AURC": metrics.area_under_risk_coverage(split.epistemic, wrong.double()),
            "CCC": metrics.ccc(mean[:, 0], shares[:, 0]),
            "RMSE": metrics.rmse(mean[:, 0], shares[:, 0]),
        }
        found |= split._asdict()
        return {name: torch.as_tensor(value).double() for name, value in found.items()}

    return Work(nn.Module(), outputs)


CASES = (
    Case("UncNet", uncnet),
    Case("UGN, branches", ugn_branches),
    Case("UGN, graphs", ugn_graphs),
    Case("UGN, graphs as printed", partial(ugn_graphs, shared_mask=True, normalisation="printed")),
    Case("PEN, shared network", partial(pen, stage="shared")),
    Case("PEN, gate", partial(pen, stage="gate")),
    Case("PEN, source people", pen),
    Case("PEN, adaptation", partial(pen, stage="adaptation")),
    Case("HAN-ROCK, numbers", rock),
    Case("HAN-ROCK, classes", partial(rock, n_classes=4)),
    Case("flat HAN, classes", partial(rock, flat=True, n_classes=4)),
    Case("Distillation, teachers' heads", distill_heads),
    Case("Distillation, students' heads", partial(distill_heads, students=True)),
    Case("Distillation, heads as released", partial(distill_heads, across_clips=True)),
    Case("Distillation, EMENet-VA", distill_whole),
    Case("ResNet-18, fine-tuned", tuned_resnet),
    Case("ResNet-50, fine-tuned", partial(tuned_resnet, depth=50)),
    Case("simulated faces' ResNet", small_resnet),
    Case("Inception-ResNet-v1, features", facenet),
    Case("metrics", measures),
)
# of those that differ in a detail one is timed
DETAILS = (
    *("UGN, graphs as printed", "PEN, shared network", "PEN, gate", "PEN, adaptation", "HAN-ROCK, numbers"),
    *("Distillation, students' heads", "Distillation, heads as released"),
)
TIMED = tuple(case for case in CASES if case.name not in DETAILS)
