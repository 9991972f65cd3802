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


BRANCHES = (((2, 1, 1),), ((2, 1, 1), (2, 3, 1)))
TASKS = (rock.Task("a", "primary", 3), rock.Task("b", "x"), rock.Task("c", "h", 3))
TOKENS = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [2, 4, 1, 0]])
CONTEXT = torch.tensor([[0, 1, 2], [1, 2, -1], [2, -1, -1]])
# of networks with many weights a random projection of the differences
FAST = {"fast_mode": True}


def graph_network(**options):
    arms = ("UGN", "GN-D", "UGN-B")
    return ugn.UncertainGraphNetwork(3, 4, generators([0, 1, 2]), arms, width=3, mask_width=2, **options)


def steps_of_a_gru():
    shapes = (3, 2, 2, 6), (2, 2, 2), (2, 2, 6), (2, 1, 6)
    inputs = [normal(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    assert gradcheck(distill._Recurrence.apply, inputs)


def steps_of_many_grus():
    packing = rock._Packing.of(torch.tensor([2, 3, 1]))
    shapes = (2, 2, 6, 6), (4, 6, 2), (4, 6), (4, 2, 3)
    inputs, weight, bias, kept = (normal(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes))
    kept = kept.detach().sign().clamp(min=0)  # drops about half
    for mask in (None, kept):
        f = rock._Recurrence.apply
        assert gradcheck(lambda x, w, b, f=f, m=mask: f(x, w, b, m, packing), (inputs, weight, bias))


def embedding():
    return torch.cat([torch.zeros(1, 3), torch.randn(4, 3, generator=generator(5))])


LAYERS = {
    "backbones.ConvBN": lambda: check(backbones.ConvBN(2, 3, 3), normal(2, 2, 5, 5)),
    "backbones.Inception": lambda: check(backbones.Inception(2, (((2, 3, 2),), ())), normal(2, 2, 5, 5)),
    "backbones.InceptionResidual": lambda: check(backbones.InceptionResidual(2, BRANCHES, 0.3), normal(2, 2, 4, 4)),
    "backbones.SmallResNet": lambda: check(backbones.SmallResNet(3, generator()), pictures(2, 48, 48), **FAST),
    "backbones.ResidualBlock": lambda: check(
        backbones.ResidualBlock(2, 1, backbones.RESNETS[50][1], 2), normal(2, 2, 4, 4)
    ),
    "backbones.ResNet": lambda: check(backbones.ResNet(18, generator(), 2, 1, 3), pictures(3, 48, 48), **FAST),
    "distill.PReLU": lambda: check(distill.PReLU(2), normal(2, 2, 3, 3)),
    "distill.Bottleneck": lambda: check(distill.Bottleneck(2, 2, 3, 1, True), normal(2, 2, 3, 3)),
    "distill.MobileFaceNet": lambda: check(
        distill.MobileFaceNet(generator(), 0.05, 32, 0.1), pictures(3, 32, 32), **FAST
    ),
    "distill.MarbleNet": lambda: check(distill.MarbleNet(generator(), 0.05), normal(2, 64, 40), **FAST),
    "distill._SoundBlock": lambda: check(distill._SoundBlock(2, 3, 3, 2, True, True, 2), normal(2, 2, 7)),
    "distill.TaskHeads": lambda: check(
        distill.TaskHeads(3, generators([0, 1]), {"AU": 2, "VA": 1}, 2, shared=2), normal(2, 2, 3, 3)
    ),
    "distill.EMENet": lambda: check(
        distill.EMENet(generator(), True, 0.05, 32, 0.1, hidden=2),
        pictures(2, 2, 32, 32),
        normal(2, 2, 64, 40),
        **FAST,
    ),
    "distill._Recurrence": steps_of_a_gru,
    "pen.SharedNetwork": lambda: check(pen.SharedNetwork(3, generators([0, 1])), normal(4, 3)),
    "pen.PersonalizedExpertNetwork": lambda: check(
        pen.PersonalizedExpertNetwork(3, 4, generators([0, 1])), normal(2, 4, 3)
    ),
    "rock.TaskGRU": lambda: check(
        rock.TaskGRU(2, 3, 2, generator(), 0.3, 0.3), normal(3, 4, 3), torch.tensor([2, 4, 1])
    ),
    "rock._Recurrence": steps_of_many_grus,
    "rock.TaskAttention": lambda: check(
        rock.TaskAttention(2, 3, 4, generator()),
        normal(2, 3, 4, 3),
        torch.arange(4) < torch.tensor([[4], [2], [1]]),
    ),
    "rock.FlatHan": lambda: check(
        rock.FlatHan(TASKS, embedding(), 2, generator(), word_gru=2, attention=3, freeze=False),
        TOKENS,
        CONTEXT,
        **FAST,
    ),
    "rock.HanRock": lambda: check(
        rock.HanRock(TASKS, embedding(), 2, 1, generator(), word_gru=2, attention=3, freeze=False),
        TOKENS,
        CONTEXT,
        **FAST,
    ),
    "rock._Heads": lambda: check(rock._Heads(TASKS, 3, generator()), normal(3, 4, 3)),
    "ugn.ActionUnitBranches": lambda: check(ugn.ActionUnitBranches(4, 3, generators([0, 1]), 2), normal(2, 5, 4)),
    "ugn.UncertainGraphLayer": lambda: check(
        ugn.UncertainGraphLayer(3, 4, generators([0, 1]), 3, 2), normal(2, 2, 3, 4), normal(2, 2, 2, 3, 3).sigmoid()
    ),
    "ugn.UncertainGraphNetwork": lambda: [
        check(graph_network(**options), normal(2, 3, 4), **FAST)
        for options in ({}, {"shared_mask": True}, {"normalisation": "printed"})
    ],
    "uncnet.UncNet": lambda: check(uncnet.UncNet(3, generators([0, 1]), (4, 3), 2), normal(5, 3)),
}
NOT_TRAINED = {
    "backbones.InceptionResnetV1": "frozen: no parameter has a gradient",
    "rock._Han": "what FlatHan and HanRock share",
}


def test_every_module_is_looked_at():
    assert set(modules()) == set(LAYERS) | set(NOT_TRAINED)
    assert not any(p.requires_grad for p in backbones.InceptionResnetV1().parameters())


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_layers_are_those_of_finite_differences(name, monkeypatch):
    # networks that take bytes make single-precision numbers of them
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    LAYERS[name]()


@pytest.mark.parametrize("options", [{}, {"shared_mask": True}])
def test_gradients_flow_through_random_masks(options):
    layer = ugn.UncertainGraphLayer(3, 4, generators([0, 1]), 3, 2).double()
    x, noise, readout = normal(2, 2, 3, 4), normal(2, 2, 2, 3, 3, seed=1), normal(2, 3, 3, seed=2)
    names = [name for name, _ in layer.named_parameters()]

    def f(x, *values):
        class Read(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = layer

            def forward(self, x):
                return self.layer.read_out(x, self.layer.masks(x, noise), readout)

        parameters = {f"layer.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(Read(), parameters, (x,))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert gradcheck(f, (x.requires_grad_(), *values))


LABELS = torch.tensor([[0, 2, 1], [1, 1, 0]])  # two clips of three frames
UNITS = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).expand(2, 3, 4)
BALANCE = torch.tensor([0.3, 0.7], dtype=torch.float64)


def soft(*shape):
    return normal(*shape, seed=7).softmax(-1)


def mixture(mean, logits):
    return pen.Mixture(mean, logits.softmax(-1), logits, mean[..., None, :])


TARGETS = torch.tensor([[1.0, 0.3], [2.0, torch.nan], [-1.0, 0.2]], dtype=torch.float64)


# a loss, and the shapes of what it is differentiated by
LOSSES = {
    "ugn.action_unit_cross_entropy": (
        lambda z: losses.action_unit_cross_entropy(z, UNITS - UNITS.roll(1, -1).clamp(max=0), soft(4), soft(2, 3)),
        (2, 3, 4),
    ),
    "rock.multi_task_loss": (
        lambda values, logits: losses.rock.multi_task_loss(values, logits, TARGETS, BALANCE, (True, False)),
        (3, 1),
        (3, 1, 4),
    ),
    "rock.task_losses": (lambda y, z: losses.rock.task_losses(y, z, TARGETS, (True, False)), (3, 1), (3, 1, 4)),
    "distill.au_distillation": (lambda z: losses.au_distillation(z, soft(2, 3, 4)), (2, 3, 4)),
    "distill.au_loss": (lambda z: losses.au_loss(z, UNITS, soft(4)), (2, 3, 4)),
    "distill.ccc_loss": (lambda x, y: losses.ccc_loss(x, y), (2, 2, 3), (2, 2, 3)),
    "distill.expr_distillation": (lambda z: losses.expr_distillation(z, soft(2, 3, 4)), (2, 3, 4)),
    "distill.expr_loss": (
        lambda z: torch.stack([losses.expr_loss(z, LABELS), losses.expr_loss(z, LABELS, soft(3))]),
        (2, 3, 3),
    ),
    "distill.landmark_loss": (lambda x, y: losses.landmark_loss(x, y), (2, 3, 4), (2, 3, 4)),
    "distill.multitask_loss": (lambda x, w: losses.multitask_loss([*x.unbind()], w), (2, 3), (3, 3)),
    "distill.va_distillation": (lambda z: losses.va_distillation(z, soft(2, 3, 2, 20)), (2, 3, 40)),
    "distill.va_loss": (lambda z: losses.va_loss(z, normal(2, 3, 2, seed=1)), (2, 3, 40)),
    "pen.affect_squared_error": (losses.affect_squared_error, (2, 3, 2), (2, 3, 2)),
    "pen.gate_activation_l1": (losses.gate_activation_l1, (2, 3, 4)),
    "pen.gate_cross_entropy": (lambda z: losses.gate_cross_entropy(z, LABELS), (2, 3, 4)),
    "pen.pen_adaptation_loss": (
        lambda y, z: losses.pen_adaptation_loss(mixture(y, z), normal(2, 3, 2, seed=9), 0.3),
        (2, 3, 2),
        (2, 3, 4),
    ),
    "pen.pen_gate_loss": (lambda z: losses.pen_gate_loss(z, LABELS, 0.3), (2, 3, 4)),
    "pen.pen_source_loss": (
        lambda y, z: losses.pen_source_loss(mixture(y, z), normal(2, 3, 2, seed=9), LABELS, 0.2, 0.3),
        (2, 3, 2),
        (2, 3, 4),
    ),
    "uncnet.soft_label_cross_entropy": (lambda z: losses.soft_label_cross_entropy(z, soft(2, 3, 4)), (2, 3, 4)),
}
WEIGHTS = {  # nothing is learnt through what chooses the weights of losses
    "ugn.occurrence_weights",
    "rock.draw_primary_weight",
    "rock.loss_weights",
    "rock.mutual_information",
    "rock.without_families",
    "distill.TaskBalancer",
    "distill.balancing_trace",
    "distill.class_weights",
    "distill.positive_weights",
}


def test_every_loss_is_looked_at():
    public = {name.removeprefix("losses.") for name in numerics.public() if name.startswith("losses.")}
    assert public == set(LOSSES) | WEIGHTS


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses_are_those_of_finite_differences(name):
    loss, *shapes = LOSSES[name]
    values = [normal(*shape, seed=i + 3).requires_grad_() for i, shape in enumerate(shapes)]
    assert loss(*values).dtype == torch.float64
    assert gradcheck(loss, values)


def test_a_wrong_gradient_is_seen(monkeypatch):
    right = distill._Recurrence.backward

    def wrong(ctx, gradient):
        inputs, *rest = right(ctx, gradient)
        return 1.001 * inputs, *rest

    monkeypatch.setattr(distill._Recurrence, "backward", staticmethod(wrong))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        LAYERS["distill.TaskHeads"]()
