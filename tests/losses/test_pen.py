import math

import pytest
import torch
from torch.nn import functional as F

from uncertain_affect.losses import pen
from uncertain_affect.models.pen import PersonalizedExpertNetwork
from uncertain_affect.training.fit import generators


@pytest.fixture
def batch():
    """A mixture of four experts in three copies, and labels and people of eleven frames for each."""
    g = torch.Generator().manual_seed(0)
    network = PersonalizedExpertNetwork(5, 4, generators([0, 1, 2]))
    labels = torch.randn(3, 11, 2, generator=g)
    return network(torch.randn(3, 11, 5, generator=g)), labels, torch.randint(4, (3, 11), generator=g)


def test_losses_worked_by_hand():
    predictions, labels = torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    # (1 + 4) and 1/4, halved: the mean over frames alone
    assert pen.affect_squared_error(predictions, labels).item() == pytest.approx(2.625)
    logits = torch.tensor([[0.0, math.log(3), -math.log(4)], [0.0, 0.0, 0.0]])
    # softmax (4, 12, 1) / 17 and a third each
    expected = (math.log(17 / 12) + math.log(3)) / 2
    assert pen.gate_cross_entropy(logits, torch.tensor([1, 2])).item() == pytest.approx(expected)
    assert pen.gate_activation_l1(logits).item() == pytest.approx((math.log(3) + math.log(4)) / 6)


def test_losses_agree_with_torch_for_each_copy(batch):
    mixture, labels, person = batch
    error, entropy = pen.affect_squared_error(mixture.mean, labels), pen.gate_cross_entropy(mixture.logits, person)
    for copy in range(3):
        torch.testing.assert_close(error[copy], 2 * F.mse_loss(mixture.mean[copy], labels[copy]))
        torch.testing.assert_close(entropy[copy], F.cross_entropy(mixture.logits[copy], person[copy]))


def test_the_losses_add_their_parts_with_weights_of_each_copy(batch):
    mixture, labels, person = batch
    y = pen.affect_squared_error(mixture.mean, labels)
    c, r = pen.gate_cross_entropy(mixture.logits, person), pen.gate_activation_l1(mixture.logits)
    for l0, l1 in ((0.2, 0.3), (torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 10.0]))):
        torch.testing.assert_close(pen.pen_gate_loss(mixture.logits, person, l1), c + l1 * r)
        torch.testing.assert_close(pen.pen_adaptation_loss(mixture, labels, l1), y + l1 * r)
        torch.testing.assert_close(pen.pen_source_loss(mixture, labels, person, l0, l1), y + l0 * c + l1 * r)


@pytest.mark.parametrize("people, wrong", [([0, 3], 3), ([7, 4], 4), ([-1, 0], -1)])
def test_people_without_an_expert_are_named(people, wrong):
    with pytest.raises(ValueError, match=f"no expert for person {wrong}: 3 experts are numbered from 0 to 2"):
        pen.gate_cross_entropy(torch.zeros(2, 3), torch.tensor(people))
