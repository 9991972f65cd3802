"""What the papers' networks do not tell apart: the order of action units, members, people and tasks, and padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from uncertain_affect import losses
from uncertain_affect.models.distill import TaskHeads
from uncertain_affect.models.pen import PersonalizedExpertNetwork, SharedNetwork
from uncertain_affect.models.rock import FlatHan, HanRock, Task
from uncertain_affect.models.ugn import ActionUnitBranches, UncertainGraphNetwork
from uncertain_affect.models.uncnet import UncNet
from uncertain_affect.training.fit import generators

N_AU, COPIES, ARMS = 5, 3, ["UGN"] * 3
FEW = settings(deadline=None, max_examples=10)


def normal(*shape, seed=99):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomise(model):
    """Weights that differ everywhere, also where all start alike."""
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(0.5 * normal(*p.shape, seed=i))
    return model


def reorder(order, *axes):
    """Put parameters into another order along an axis; where it holds blocks of k, it is given as (axis, k)."""
    with torch.no_grad():
        for p, axis in axes:
            axis, size = axis if isinstance(axis, tuple) else (axis, 1)
            blocks = p.movedim(axis, 0).unflatten(0, (-1, size))[list(order)]
            p.copy_(blocks.flatten(0, 1).movedim(0, axis))


def places(order):
    """Where each has gone."""
    return torch.empty(len(order), dtype=torch.int64).scatter_(0, torch.tensor(order), torch.arange(len(order)))


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shared_mask", [False, True])
@FEW
@given(st.permutations(range(N_AU)))
def test_the_graph_network_does_not_know_the_order_of_action_units(shared_mask, order):
    model, permuted = (
        randomise(UncertainGraphNetwork(N_AU, 4, generators([0]), ("UGN",), 3, 2, shared_mask=shared_mask))
        for _ in range(2)
    )
    reorder(order, *((layer.B, axis) for layer in permuted.layers for axis in (1, 2)))
    reorder(order, (permuted.readout, 1), (permuted.readout_bias, -1))
    x, noise = normal(6, N_AU, 4), model.draw_noise(6, 2, [0])
    logits, masks = model._propagate(x, noise, slice(None))
    other, other_masks = permuted._propagate(x[:, order], noise[..., order, :][..., order], slice(None))
    close(other, logits[..., order])
    for theirs, ours in zip(other_masks, masks, strict=True):
        close(theirs, ours[..., order, :][..., order])
    assert not torch.allclose(logits[..., order], logits) or order == list(range(N_AU))


@FEW
@given(st.permutations(range(N_AU)))
def test_branches_and_their_loss_do_not_know_the_order_of_action_units(order):
    branches, permuted = (randomise(ActionUnitBranches(7, N_AU, generators([0, 1]), width=3)) for _ in range(2))
    reorder(order, (permuted.weight, (-1, 3)), (permuted.bias, (-1, 3)))
    reorder(order, (permuted.readout, 1), (permuted.readout_bias, -1))
    pooled, tau = normal(10, 7), normal(N_AU, seed=1).exp()
    labels = torch.randint(-1, 2, (10, N_AU), generator=torch.Generator().manual_seed(0))
    logits, other = branches(pooled), permuted(pooled)
    close(other, logits[..., order])
    close(
        losses.action_unit_cross_entropy(other, labels[:, order], tau[order]),
        losses.action_unit_cross_entropy(logits, labels, tau),
    )


STACKED = {
    "UncNet": (lambda seeds: UncNet(4, generators(seeds), (5, 3), 3), (6, 4)),
    "SharedNetwork": (lambda seeds: SharedNetwork(4, generators(seeds)), (6, 4)),
    "PersonalizedExpertNetwork": (lambda seeds: PersonalizedExpertNetwork(4, 3, generators(seeds)), (6, 4)),
    "ActionUnitBranches": (lambda seeds: ActionUnitBranches(4, N_AU, generators(seeds), 3), (6, 4)),
    "UncertainGraphNetwork": (lambda seeds: UncertainGraphNetwork(4, 4, generators(seeds), ARMS, 3, 2), (6, 4, 4)),
    "TaskHeads": (lambda seeds: TaskHeads(4, generators(seeds), {"AU": 2, "EXPR": 3}, 3, shared=2), (1, 2, 5, 4)),
}


def outputs(result):
    if isinstance(result, torch.Tensor):
        return [result]
    return [part for item in (result.values() if isinstance(result, dict) else result) for part in outputs(item)]


@pytest.mark.parametrize("name", STACKED)
@pytest.mark.parametrize("training", [False, True])
@FEW
@given(st.permutations(range(COPIES)))
def test_members_in_another_order_are_the_same_members(name, training, order):
    make, shape = STACKED[name]
    model, permuted = make([0, 1, 2]).train(training), make(order).train(training)
    x = normal(*shape)
    for ours, theirs in zip(outputs(model(x)), outputs(permuted(x)), strict=True):
        close(theirs, ours[order])


@FEW
@given(st.permutations(range(4)))
def test_the_mixture_does_not_know_the_order_of_people(order):
    pen, permuted = (randomise(PersonalizedExpertNetwork(5, 4, generators([0, 1]))) for _ in range(2))
    reorder(order, (permuted.gate_weight, -1), (permuted.gate_bias, -1))
    reorder(order, (permuted.expert_weight, (-1, 2)), (permuted.expert_bias, (-1, 2)))
    z, labels = normal(9, 5), normal(2, 9, 2, seed=1)
    person = torch.randint(4, (2, 9), generator=torch.Generator().manual_seed(0))
    ours, theirs = pen(z), permuted(z)
    close(theirs.mean, ours.mean)
    for part in ("gate", "logits", "experts"):
        close(getattr(theirs, part), getattr(ours, part)[:, :, order])
    close(
        losses.pen_source_loss(theirs, labels, places(order)[person], 0.2, 0.3),
        losses.pen_source_loss(ours, labels, person, 0.2, 0.3),
    )


TASKS = (Task("emotion", "primary", 3), Task("AU05", "a"), Task("past1", "h", 3), Task("AU17", "a"))
TOKENS = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [2, 4, 1, 5], [5, 5, 0, 0]])
CONTEXT = torch.tensor([[0, -1, -1], [0, 1, -1], [0, 1, 2], [1, 2, 3]])


def network(kind, tasks=TASKS):
    embedding = torch.cat([torch.zeros(1, 3), normal(5, 3)])
    g, sizes = torch.Generator().manual_seed(0), {"word_gru": 3, "attention": 4, "freeze": False}
    return FlatHan(tasks, embedding, 3, g, **sizes) if kind == "flat" else HanRock(tasks, embedding, 3, 2, g, **sizes)


@pytest.mark.parametrize("kind", ["flat", "rock"])
@FEW
@given(st.integers(0, 4), st.integers(0, 3))
def test_padding_changes_neither_predictions_nor_gradients(kind, words, turns):
    model = network(kind)
    found, padded = [], (nn.functional.pad(TOKENS, (0, words)), nn.functional.pad(CONTEXT, (0, turns), value=-1))
    for tokens, context in ((TOKENS, CONTEXT), padded):
        model.zero_grad()
        out = model(tokens, context)
        (out.values.square().sum() + out.logits.square().sum()).backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        attention = out.word_attention[:, :, :3, :4], out.turn_attention[..., :3]
        found.append([out.values, out.logits, *attention, *gradients])
    for ours, theirs in zip(*found, strict=True):
        close(theirs, ours)
    assert not model.embedding.weight.grad[0].any()


@pytest.mark.parametrize("kind", ["flat", "rock"])
@FEW
@given(st.permutations(range(len(TOKENS))))
def test_where_talkturns_lie_does_not_matter(kind, order):
    model, place = network(kind), places([*order, len(TOKENS)])
    place[-1] = -1
    ours, theirs = model(TOKENS, CONTEXT), model(TOKENS[order], place[CONTEXT])
    close(theirs.values, ours.values)
    close(theirs.logits, ours.logits)


@FEW
@given(st.permutations(range(1, len(TASKS))))
def test_the_primary_task_does_not_know_the_order_of_auxiliary_ones(order):
    whole = [0, *order]
    model, permuted = randomise(network("rock")), randomise(network("rock", [TASKS[i] for i in whole]))
    auxiliary = [i - 1 for i in order]
    numbers = [model.heads.numbers.index(i) for i in whole if i in model.heads.numbers]
    classes = [model.heads.classes.index(i) for i in whole if i in model.heads.classes]
    with torch.no_grad():
        for name, p in permuted.named_parameters():
            if name.startswith("auxiliary"):
                p.copy_(p[auxiliary])
            elif name.startswith("heads"):
                p.copy_(p[numbers if "value" in name else classes])
    ours, theirs = model(TOKENS, CONTEXT), permuted(TOKENS, CONTEXT)
    close(theirs.values, ours.values[:, numbers])
    close(theirs.logits, ours.logits[:, classes])
    close(theirs.task_attention, ours.task_attention[whole])
