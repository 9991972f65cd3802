"""Gradients of every layer, network and loss against finite differences in double precision, found by introspection."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil

import numerics
import pytest
import torch
from torch import Tensor, nn

from uncertain_affect import losses, models
from uncertain_affect.models import backbones, distill, pen, rock, ugn, uncnet
from uncertain_affect.training.fit import generators

# differences of 1e-6 in double precision err by about 1e-10
gradcheck = functools.partial(torch.autograd.gradcheck, atol=1e-7, rtol=1e-5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def pictures(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator())


def modules():
    """Every class of a module or of a function with a backward pass of its own, by name."""
    found = {}
    for info in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            is_own = inspect.isclass(value) and value.__module__ == module.__name__
            if is_own and issubclass(value, nn.Module | torch.autograd.Function):
                found[f"{info.name.rpartition('.')[2]}.{name}"] = value
    return found


def floating(outputs):
    """The tensors in outputs that have a gradient."""
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.requires_grad else []
    if dataclasses.is_dataclass(outputs):
        outputs = [getattr(outputs, field.name) for field in dataclasses.fields(outputs)]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return [tensor for part in outputs for tensor in floating(part)]


def check(model, *inputs, **how):
    """Gradients of all outputs with respect to parameters and inputs, dropout included."""
    model = model.double().train()
    for i, p in enumerate(model.parameters()):
        with torch.no_grad():  # away from zero, where all that starts alike has the kinks of ReLU
            p.add_(0.1 * normal(*p.shape, seed=i))
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    differentiable = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.is_floating_point()]
    of_model = [g for m in model.modules() for g in [*getattr(m, "generators", []), getattr(m, "generator", None)] if g]
    states = [g.get_state() for g in of_model]

    def f(*values):
        for g, state in zip(of_model, states, strict=True):
            g.set_state(state)
        given = list(inputs)
        for i, value in zip(differentiable, values, strict=False):
            given[i] = value
        parameters = dict(zip(names, values[len(differentiable) :], strict=True))
        return tuple(floating(torch.func.functional_call(model, parameters, tuple(given))))

    values = [inputs[i].clone().requires_grad_() for i in differentiable]
    values += [model.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert gradcheck(f, values, **how)


BRANCHES, KERNELS = (((2, 1, 1),), ((2, 1, 1), (2, 3, 1))), backbones.RESNETS[50][1]
SEEN_AND_HEARD = pictures(2, 2, 32, 32), normal(2, 2, 64, 40)
TASKS = (rock.Task("a", "primary", 3), rock.Task("b", "x"), rock.Task("c", "h", 3))
TOKENS = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [2, 4, 1, 0]])
CONTEXT = torch.tensor([[0, 1, 2], [1, 2, -1], [2, -1, -1]])
THERE = torch.arange(4) < torch.tensor([[4], [2], [1]])
EMBEDDING = torch.cat([torch.zeros(1, 3), torch.randn(4, 3, generator=generator(5))])
TEXT = {"word_gru": 2, "attention": 3, "freeze": False}


def two():
    return generators([0, 1])


def graph_layer():
    return ugn.UncertainGraphLayer(3, 4, two(), 3, 2)


def graph_network(**options):
    arms = ("UGN", "GN-D", "UGN-B")
    return ugn.UncertainGraphNetwork(3, 4, generators([0, 1, 2]), arms, width=3, mask_width=2, **options)


class ReadOut(nn.Module):
    """What is read out of a graph layer under masks that are drawn."""

    def __init__(self):
        super().__init__()
        self.layer = graph_layer()

    def forward(self, x, noise, readout):
        return self.layer.read_out(x, self.layer.masks(x, noise), readout)


# each with its inputs, by the name of its class and, behind a comma, of a variant
LAYERS = {
    "backbones.ConvBN": lambda: (backbones.ConvBN(2, 3, 3), normal(2, 2, 5, 5)),
    "backbones.Inception": lambda: (backbones.Inception(2, (((2, 3, 2),), ())), normal(2, 2, 5, 5)),
    "backbones.InceptionResidual": lambda: (backbones.InceptionResidual(2, BRANCHES, 0.3), normal(2, 2, 4, 4)),
    "backbones.SmallResNet": lambda: (backbones.SmallResNet(3, generator()), pictures(2, 48, 48)),
    "backbones.ResidualBlock": lambda: (backbones.ResidualBlock(2, 1, KERNELS, 2), normal(2, 2, 4, 4)),
    "backbones.ResNet": lambda: (backbones.ResNet(18, generator(), 2, 1, 3), pictures(3, 48, 48)),
    "distill.PReLU": lambda: (distill.PReLU(2), normal(2, 2, 3, 3)),
    "distill.Bottleneck": lambda: (distill.Bottleneck(2, 2, 3, 1, True), normal(2, 2, 3, 3)),
    "distill.MobileFaceNet": lambda: (distill.MobileFaceNet(generator(), 0.05, 32, 0.1), pictures(3, 32, 32)),
    "distill.MarbleNet": lambda: (distill.MarbleNet(generator(), 0.05), normal(2, 64, 40)),
    "distill._SoundBlock": lambda: (distill._SoundBlock(2, 3, 3, 2, True, True, 2), normal(2, 2, 7)),
    "distill.TaskHeads": lambda: (distill.TaskHeads(3, two(), {"AU": 2, "VA": 1}, 2, shared=2), normal(2, 2, 3, 3)),
    "distill.EMENet": lambda: (distill.EMENet(generator(), True, 0.05, 32, 0.1, hidden=2), *SEEN_AND_HEARD),
    "pen.SharedNetwork": lambda: (pen.SharedNetwork(3, two()), normal(4, 3)),
    "pen.PersonalizedExpertNetwork": lambda: (pen.PersonalizedExpertNetwork(3, 4, two()), normal(2, 4, 3)),
    "rock.TaskGRU": lambda: (rock.TaskGRU(2, 3, 2, generator(), 0.3, 0.3), normal(3, 4, 3), torch.tensor([2, 4, 1])),
    "rock.TaskAttention": lambda: (rock.TaskAttention(2, 3, 4, generator()), normal(2, 3, 4, 3), THERE),
    "rock.FlatHan": lambda: (rock.FlatHan(TASKS, EMBEDDING, 2, generator(), **TEXT), TOKENS, CONTEXT),
    "rock.HanRock": lambda: (rock.HanRock(TASKS, EMBEDDING, 2, 1, generator(), **TEXT), TOKENS, CONTEXT),
    "rock._Heads": lambda: (rock._Heads(TASKS, 3, generator()), normal(3, 4, 3)),
    "ugn.ActionUnitBranches": lambda: (ugn.ActionUnitBranches(4, 3, two(), 2), normal(2, 5, 4)),
    "ugn.UncertainGraphLayer": lambda: (graph_layer(), normal(2, 2, 3, 4), normal(2, 2, 2, 3, 3).sigmoid()),
    "ugn.UncertainGraphLayer, masks": lambda: (ReadOut(), normal(2, 2, 3, 4), normal(2, 2, 2, 3, 3), normal(2, 3, 3)),
    "ugn.UncertainGraphNetwork": lambda: (graph_network(), normal(2, 3, 4)),
    "ugn.UncertainGraphNetwork, shared mask": lambda: (graph_network(shared_mask=True), normal(2, 3, 4)),
    "ugn.UncertainGraphNetwork, printed": lambda: (graph_network(normalisation="printed"), normal(2, 3, 4)),
    "uncnet.UncNet": lambda: (uncnet.UncNet(3, two(), (4, 3), 2), normal(5, 3)),
}
# of networks with many weights a random projection of the differences
FAST = ("SmallResNet", "ResNet", "MobileFaceNet", "MarbleNet", "EMENet", "FlatHan", "HanRock", "UncertainGraphNetwork")
NOT_TRAINED = {"backbones.InceptionResnetV1", "rock._Han"}  # frozen; and what FlatHan and HanRock share


def test_every_module_is_looked_at():
    assert set(modules()) == {name.partition(",")[0] for name in LAYERS} | NOT_TRAINED | {
        "distill._Recurrence",
        "rock._Recurrence",
    }
    assert not any(p.requires_grad for p in backbones.InceptionResnetV1().parameters())


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_layers_are_those_of_finite_differences(name, monkeypatch):
    # networks that take bytes make single-precision numbers of them
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    check(*LAYERS[name](), fast_mode=name.partition(",")[0].partition(".")[2] in FAST)


LABELS = torch.tensor([[0, 2, 1], [1, 1, 0]])  # two clips of three frames
UNITS = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).expand(2, 3, 4)
SIGNED = UNITS - UNITS.roll(1, -1).clamp(max=0)
AFFECT = normal(2, 3, 2, seed=9)
Z = (2, 3, 4)  # the shape of logits
BALANCE = torch.tensor([0.3, 0.7], dtype=torch.float64)
TRUTH = torch.tensor([[1.0, 0.3], [2.0, torch.nan], [-1.0, 0.2]], dtype=torch.float64)
KINDS = (True, False)
PACKING = rock._Packing.of(torch.tensor([2, 3, 1]))
KEPT = normal(4, 2, 3, seed=3).sign().clamp(min=0)  # drops about half


def soft(*shape):
    return normal(*shape, seed=7).softmax(-1)


def mixture(mean, logits):
    return pen.Mixture(mean, logits.softmax(-1), logits, mean[..., None, :])


def many_grus(kept):
    return lambda x, weight, bias: rock._Recurrence.apply(x, weight, bias, kept, PACKING)


# a loss, and the shapes of what it is differentiated by
LOSSES = {
    "ugn.action_unit_cross_entropy": (lambda z: losses.action_unit_cross_entropy(z, SIGNED, soft(4), soft(2, 3)), Z),
    "rock.multi_task_loss": (lambda y, z: losses.rock.multi_task_loss(y, z, TRUTH, BALANCE, KINDS), (3, 1), (3, 1, 4)),
    "rock.task_losses": (lambda y, z: losses.rock.task_losses(y, z, TRUTH, KINDS), (3, 1), (3, 1, 4)),
    "distill.au_distillation": (lambda z: losses.au_distillation(z, soft(2, 3, 4)), Z),
    "distill.au_loss": (lambda z: losses.au_loss(z, UNITS, soft(4)), Z),
    "distill.ccc_loss": (losses.ccc_loss, (2, 2, 3), (2, 2, 3)),
    "distill.expr_distillation": (lambda z: losses.expr_distillation(z, soft(2, 3, 4)), Z),
    "distill.expr_loss": (lambda z: losses.expr_loss(z, LABELS), (2, 3, 3)),
    "distill.expr_loss, weighted": (lambda z: losses.expr_loss(z, LABELS, soft(3)), (2, 3, 3)),
    "distill.landmark_loss": (losses.landmark_loss, (2, 3, 4), Z),
    "distill.multitask_loss": (lambda x, w: losses.multitask_loss([*x.unbind()], w), (2, 3), (3, 3)),
    "distill.va_distillation": (lambda z: losses.va_distillation(z, soft(2, 3, 2, 20)), (2, 3, 40)),
    "distill.va_loss": (lambda z: losses.va_loss(z, AFFECT), (2, 3, 40)),
    "pen.affect_squared_error": (losses.affect_squared_error, (2, 3, 2), (2, 3, 2)),
    "pen.gate_activation_l1": (losses.gate_activation_l1, Z),
    "pen.gate_cross_entropy": (lambda z: losses.gate_cross_entropy(z, LABELS), Z),
    "pen.pen_adaptation_loss": (lambda y, z: losses.pen_adaptation_loss(mixture(y, z), AFFECT, 0.3), (2, 3, 2), Z),
    "pen.pen_gate_loss": (lambda z: losses.pen_gate_loss(z, LABELS, 0.3), Z),
    "pen.pen_source_loss": (lambda y, z: losses.pen_source_loss(mixture(y, z), AFFECT, LABELS, 0.2, 0.3), (2, 3, 2), Z),
    "uncnet.soft_label_cross_entropy": (lambda z: losses.soft_label_cross_entropy(z, soft(2, 3, 4)), Z),
}
STEPS = {
    "distill._Recurrence": (distill._Recurrence.apply, (3, 2, 2, 6), (2, 2, 2), (2, 2, 6), (2, 1, 6)),
    "rock._Recurrence": (many_grus(None), (2, 2, 6, 6), (4, 6, 2), (4, 6)),
    "rock._Recurrence, dropping": (many_grus(KEPT), (2, 2, 6, 6), (4, 6, 2), (4, 6)),
}
# nothing is learnt through what chooses the weights of losses
WEIGHTS = {f"distill.{name}" for name in ("TaskBalancer", "balancing_trace", "class_weights", "positive_weights")} | {
    f"rock.{name}" for name in ("draw_primary_weight", "loss_weights", "mutual_information", "without_families")
}


def test_every_loss_is_looked_at():
    public = {name.removeprefix("losses.") for name in numerics.public() if name.startswith("losses.")}
    assert public == {name.partition(",")[0] for name in LOSSES} | WEIGHTS | {"ugn.occurrence_weights"}


@pytest.mark.parametrize("name", LOSSES | STEPS)
def test_gradients_of_losses_and_recurrences_are_those_of_finite_differences(name):
    loss, *shapes = (LOSSES | STEPS)[name]
    values = [normal(*shape, seed=i + 3).requires_grad_() for i, shape in enumerate(shapes)]
    assert floating(loss(*values))[0].dtype == torch.float64
    assert gradcheck(loss, values)


def test_a_wrong_gradient_is_seen(monkeypatch):
    right = distill._Recurrence.backward

    def wrong(ctx, gradient):
        inputs, *rest = right(ctx, gradient)
        return 1.001 * inputs, *rest

    monkeypatch.setattr(distill._Recurrence, "backward", staticmethod(wrong))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        check(*LAYERS["distill.TaskHeads"]())
