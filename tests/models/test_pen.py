import math

import pytest
import torch
from torch import nn

from uncertain_affect.models.pen import Mixture, PersonalizedExpertNetwork, SharedNetwork, select_copies
from uncertain_affect.training.fit import generators


def features(n, width=6, seed=99):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def count(*parameters):
    return sum(p.numel() for p in parameters)


def test_parameters_are_those_of_the_paper():
    sn = SharedNetwork(2048, generators([0]))
    pen = PersonalizedExpertNetwork(2048, 9, generators([0]))
    assert count(*sn.parameters()) == 4_098
    assert count(pen.gate_weight, pen.gate_bias) == 18_441
    assert count(pen.expert_weight, pen.expert_bias) == 9 * 4_098
    assert count(*PersonalizedExpertNetwork(2048, 9, generators([0, 1])).parameters()) == 2 * (18_441 + 9 * 4_098)


def test_every_layer_starts_glorot_uniform():
    pen = PersonalizedExpertNetwork(2048, 9, generators([3]))
    for weight, fan_out in (
        (pen.gate_weight, 9),
        (pen.expert_weight, 2),
        (SharedNetwork(2048, generators([3])).weight, 2),
    ):
        limit = math.sqrt(6 / (2048 + fan_out))
        assert weight.abs().max() <= limit
        # variance of a uniform limit^2 / 3, of its estimate (4/45) limit^4 / n
        se = limit**2 * math.sqrt(4 / 45 / weight.numel())
        assert weight.var(unbiased=False).item() == pytest.approx(limit**2 / 3, abs=4 * se)
    assert not pen.gate_bias.any() and not pen.expert_bias.any()
    experts = pen.expert_weight[0].unflatten(-1, (9, 2))
    assert not torch.isclose(experts[:, 0], experts[:, 1]).any(0).all()


def test_shared_network_is_a_linear_layer_for_each_copy():
    sn, z = SharedNetwork(6, generators([0, 1, 2])), features(20)
    with torch.no_grad():
        sn.bias += 0.5
    for copy in range(3):
        expected = nn.functional.linear(z, sn.weight[copy].T, sn.bias[copy, 0])
        torch.testing.assert_close(sn(z)[copy], expected)
    own = torch.stack([features(20, seed=s) for s in range(3)])
    for copy in range(3):
        torch.testing.assert_close(sn(own)[copy], sn(own[copy])[copy])


def test_mixture_worked_by_hand():
    # one feature, two experts: W_1 z = (z, 2 z), W_2 z + b_2 = (-z, 1); h = (0, z log 3)
    pen = PersonalizedExpertNetwork(1, 2, generators([0]))
    with torch.no_grad():
        pen.expert_weight.copy_(torch.tensor([[[1.0, 2.0, -1.0, 0.0]]]))
        pen.expert_bias.copy_(torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]))
        pen.gate_weight.copy_(torch.tensor([[[0.0, math.log(3)]]]))
    out = pen(torch.tensor([[1.0], [0.0]]))
    torch.testing.assert_close(out.gate, torch.tensor([[[0.25, 0.75], [0.5, 0.5]]]))
    torch.testing.assert_close(out.logits, torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]]]))
    torch.testing.assert_close(out.experts, torch.tensor([[[[1.0, 2.0], [-1.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]]]))
    # 1/4 (1, 2) + 3/4 (-1, 1), then 1/2 (0, 0) + 1/2 (0, 1)
    torch.testing.assert_close(out.mean, torch.tensor([[[-0.5, 1.25], [0.0, 0.5]]]))
    # of two values a and b with weights p and 1 - p it is |a - b| sqrt(p (1 - p))
    root = math.sqrt(3) / 4
    torch.testing.assert_close(out.spread, torch.tensor([[[2 * root, root], [0.0, 0.5]]]))


def test_experts_are_one_linear_layer_each():
    pen, z = PersonalizedExpertNetwork(6, 4, generators([0, 1])), features(15)
    with torch.no_grad():
        pen.expert_bias += torch.arange(8.0)
    for copy in range(2):
        for i in range(4):
            columns = slice(2 * i, 2 * i + 2)
            weight, bias = pen.expert_weight[copy, :, columns], pen.expert_bias[copy, 0, columns]
            torch.testing.assert_close(pen.expert_predictions(z)[copy, :, i], z @ weight + bias)


def test_own_features_and_shared_features_agree():
    pen, z = PersonalizedExpertNetwork(6, 3, generators([0, 1])), features(10)
    for own, shared in zip(pen(z.expand(2, -1, -1)), pen(z), strict=True):
        torch.testing.assert_close(own, shared)


def test_experts_start_as_the_shared_network_and_part_only_through_the_gate():
    sn = SharedNetwork(6, generators([0, 1]))
    pen = PersonalizedExpertNetwork.from_shared(sn, 3, generators([0, 1], 1))
    z = features(30)
    out = pen(z)
    torch.testing.assert_close(out.mean, sn(z))
    torch.testing.assert_close(out.experts, sn(z).unsqueeze(2).expand(-1, -1, 3, -1))
    assert out.spread.max() < 1e-6
    # the gradient to expert i is the gate's weight times that of the shared network: a uniform gate parts nothing
    with torch.no_grad():
        pen.gate_weight.zero_()
    pen(z).mean.square().sum().backward()
    of_experts = pen.expert_weight.grad.unflatten(-1, (3, 2))
    torch.testing.assert_close(of_experts[:, :, 0], of_experts[:, :, 2])
    assert sn.weight.grad is None  # copied, not tied


def test_one_expert_alone_has_no_spread():
    pen = PersonalizedExpertNetwork(6, 1, generators([0]))
    out = pen(features(5))
    assert (out.gate == 1).all() and (out.spread == 0).all()
    assert isinstance(out, Mixture)


def test_copies_do_not_depend_on_which_others_there_are():
    both, alone = (PersonalizedExpertNetwork(6, 3, generators(seeds)) for seeds in ([4, 7], [7]))
    for p, q in zip(both.parameters(), alone.parameters(), strict=True):
        assert torch.equal(p[1], q[0])


def test_selected_copies_are_copies():
    pen, z = PersonalizedExpertNetwork(6, 3, generators([0, 1, 2])), features(5)
    chosen = select_copies(pen, [2, 0, 2])
    torch.testing.assert_close(chosen(z).mean, pen(z).mean[[2, 0, 2]])
    with torch.no_grad():
        chosen.expert_weight.zero_()
    assert pen.expert_weight.all() and len(pen.expert_weight) == 3


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one generator"):
        SharedNetwork(6, [])
    with pytest.raises(ValueError, match="at least one expert, not 0"):
        PersonalizedExpertNetwork(6, 0, generators([0]))
    pen = PersonalizedExpertNetwork(6, 3, generators([0, 1]))
    for shape in ((5, 7), (3, 5, 6), (6,)):
        with pytest.raises(ValueError, match=r"takes \(N, 6\), or \(2, N, 6\)"):
            pen(torch.zeros(shape))
