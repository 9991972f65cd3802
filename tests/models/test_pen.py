import math

import pytest
import torch
from torch import nn

from uncertain_affect.models.pen import PersonalizedExpertNetwork, SharedNetwork, select_copies
from uncertain_affect.training.fit import generators


def features(*shape):
    return torch.randn(*shape, 6, generator=torch.Generator().manual_seed(99))


def test_parameters_are_those_of_the_paper_for_each_copy_and_start_glorot_uniform():
    sn, pen = SharedNetwork(2048, generators([3, 4])), PersonalizedExpertNetwork(2048, 9, generators([3, 4]))
    for weight, bias, n, fan_out in (
        (sn.weight, sn.bias, 4_098, 2),
        (pen.gate_weight, pen.gate_bias, 18_441, 9),
        (pen.expert_weight, pen.expert_bias, 9 * 4_098, 2),
    ):
        assert len(weight) == len(bias) == 2 and weight[0].numel() + bias[0].numel() == n and not bias.any()
        limit = math.sqrt(6 / (2048 + fan_out))
        assert weight.abs().max() <= limit
        # variance of a uniform limit^2 / 3, of its estimate (4/45) limit^4 / n
        se = limit**2 * math.sqrt(4 / 45 / weight.numel())
        assert weight.var(unbiased=False).item() == pytest.approx(limit**2 / 3, abs=4 * se)
    experts = pen.expert_weight[0].unflatten(-1, (9, 2))
    assert not torch.isclose(experts[:, 0], experts[:, 1]).any(0).all()


def test_networks_are_a_linear_layer_for_each_copy_and_each_expert():
    sn, pen = SharedNetwork(6, generators([0, 1, 2])), PersonalizedExpertNetwork(6, 4, generators([0, 1, 2]))
    with torch.no_grad():
        sn.bias += 0.5
        pen.expert_bias += torch.arange(8.0)
    for shared, own in ((features(20), features(20).expand(3, -1, -1)), (features(3, 20)[1], features(3, 20))):
        experts, copy = pen.expert_predictions(own), 1
        torch.testing.assert_close(sn(own)[copy], nn.functional.linear(shared, sn.weight[copy].T, sn.bias[copy, 0]))
        torch.testing.assert_close(sn(own)[copy], sn(shared)[copy])
        for i in range(4):
            columns = slice(2 * i, 2 * i + 2)
            expected = shared @ pen.expert_weight[copy, :, columns] + pen.expert_bias[copy, 0, columns]
            torch.testing.assert_close(experts[copy, :, i], expected)
        for of_own, of_shared in zip(pen(own), pen(shared), strict=True):
            torch.testing.assert_close(of_own[copy], of_shared[copy])


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


def test_experts_start_as_the_shared_network_and_part_only_through_the_gate():
    sn, z = SharedNetwork(6, generators([0, 1])), features(30)
    pen = PersonalizedExpertNetwork.from_shared(sn, 3, generators([0, 1], 1))
    out = pen(z)
    torch.testing.assert_close(out.mean, sn(z))
    torch.testing.assert_close(out.experts, sn(z).unsqueeze(2).expand(-1, -1, 3, -1))
    # the gradient to expert i is the gate's weight times that of the shared network: a uniform gate parts nothing
    with torch.no_grad():
        pen.gate_weight.zero_()
    pen(z).mean.square().sum().backward()
    of_experts = pen.expert_weight.grad.unflatten(-1, (3, 2))
    torch.testing.assert_close(of_experts[:, :, 0], of_experts[:, :, 2])
    assert sn.weight.grad is None  # copied, not tied


def test_copies_do_not_depend_on_which_others_there_are_and_can_be_selected():
    both, alone = (PersonalizedExpertNetwork(6, 3, generators(seeds)) for seeds in ([4, 7], [7]))
    for p, q in zip(both.parameters(), alone.parameters(), strict=True):
        assert torch.equal(p[1], q[0])
    chosen, z = select_copies(both, [1, 0, 1]), features(5)
    torch.testing.assert_close(chosen(z).mean, both(z).mean[[1, 0, 1]])
    with torch.no_grad():
        chosen.expert_weight.zero_()
    assert both.expert_weight.all() and len(both.expert_weight) == 2


def test_no_copy_is_refused():
    with pytest.raises(ValueError, match="at least one generator"):
        SharedNetwork(6, [])
