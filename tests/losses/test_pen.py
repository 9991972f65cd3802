import math

import pytest
import torch
from torch.nn import functional as F

from uncertain_affect.losses import (
    affect_squared_error,
    gate_activation_l1,
    gate_cross_entropy,
    pen_adaptation_loss,
    pen_gate_loss,
    pen_source_loss,
)
from uncertain_affect.models.pen import PersonalizedExpertNetwork
from uncertain_affect.training.fit import generators


@pytest.fixture
def batch():
    """A mixture of four experts in three copies, and labels and people of eleven frames for each."""
    g = torch.Generator().manual_seed(0)
    pen = PersonalizedExpertNetwork(5, 4, generators([0, 1, 2]))
    labels = torch.randn(3, 11, 2, generator=g)
    return pen(torch.randn(3, 11, 5, generator=g)), labels, torch.randint(4, (3, 11), generator=g)


def test_squared_error_is_summed_over_valence_and_arousal():
    predictions, labels = torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    # (1 + 4) and 1/4, halved: the mean over frames alone
    assert affect_squared_error(predictions, labels).item() == pytest.approx(2.625)
    assert affect_squared_error(predictions, labels) == 2 * F.mse_loss(predictions, labels)


def test_each_copy_has_its_own_squared_error(batch):
    mixture, labels, _ = batch
    together = affect_squared_error(mixture.mean, labels)
    for copy in range(3):
        torch.testing.assert_close(together[copy], 2 * F.mse_loss(mixture.mean[copy], labels[copy]))


def test_gate_losses_worked_by_hand():
    logits = torch.tensor([[0.0, math.log(3), -math.log(4)], [0.0, 0.0, 0.0]])
    # softmax (4, 12, 1) / 17 and a third each
    expected = (math.log(17 / 12) + math.log(3)) / 2
    assert gate_cross_entropy(logits, torch.tensor([1, 2])).item() == pytest.approx(expected)
    assert gate_activation_l1(logits, "sum").item() == pytest.approx((math.log(3) + math.log(4)) / 2)
    assert gate_activation_l1(logits).item() == pytest.approx((math.log(3) + math.log(4)) / 6)


def test_cross_entropy_agrees_with_torch(batch):
    mixture, _, person = batch
    for copy in range(3):
        expected = F.cross_entropy(mixture.logits[copy], person[copy])
        torch.testing.assert_close(gate_cross_entropy(mixture.logits, person)[copy], expected)


def test_the_sum_form_is_n_times_the_mean(batch):
    mixture, _, _ = batch
    torch.testing.assert_close(gate_activation_l1(mixture.logits, "sum"), 4 * gate_activation_l1(mixture.logits))


def test_the_penalty_is_smallest_where_the_gate_is_uniform():
    # it pulls to h = 0, not to a sparse gate
    logits = torch.tensor([[5.0, 0.1, -0.1]], requires_grad=True)
    gate_activation_l1(logits).backward()
    assert logits.grad.sign().tolist() == [[1, 1, -1]]
    assert gate_activation_l1(torch.zeros(1, 3)) == 0


def test_the_losses_add_their_parts(batch):
    mixture, labels, person = batch
    y = affect_squared_error(mixture.mean, labels)
    c, r = gate_cross_entropy(mixture.logits, person), gate_activation_l1(mixture.logits)
    torch.testing.assert_close(pen_gate_loss(mixture.logits, person, 0.3), c + 0.3 * r)
    torch.testing.assert_close(pen_adaptation_loss(mixture, labels, 0.3), y + 0.3 * r)
    torch.testing.assert_close(pen_source_loss(mixture, labels, person, 0.2, 0.3), y + 0.2 * c + 0.3 * r)
    torch.testing.assert_close(pen_source_loss(mixture, labels, person, 0.2, 0.3, "sum"), y + 0.2 * c + 1.2 * r)
    assert pen_source_loss(mixture, labels, person, 0.2, 0.3).shape == (3,)


def test_every_copy_can_have_weights_of_its_own(batch):
    mixture, labels, person = batch
    l0, l1 = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 10.0])
    together = pen_source_loss(mixture, labels, person, l0, l1)
    for copy in range(3):
        alone = pen_source_loss(mixture, labels, person, l0[copy], l1[copy])
        torch.testing.assert_close(together[copy], alone[copy])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no expert for person 3: 3 experts are numbered from 0 to 2"):
        gate_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="no expert for person 4"):
        gate_cross_entropy(torch.zeros(3, 3), torch.tensor([7, 4, 0]))
    with pytest.raises(ValueError, match="no expert for person -1"):
        gate_cross_entropy(torch.zeros(2, 3), torch.tensor([-1, 0]))
    with pytest.raises(ValueError, match='form must be "mean" or "sum", not \'max\''):
        gate_activation_l1(torch.zeros(2, 3), "max")
    with pytest.raises(ValueError, match=r"people are torch\.float32"):
        gate_cross_entropy(torch.zeros(2, 3), torch.tensor([0.0, math.nan]))
    for loss in (affect_squared_error, gate_cross_entropy, lambda z, _: gate_activation_l1(z)):
        with pytest.raises(ValueError, match="there is no example"):
            loss(torch.zeros(4, 0, 2), torch.zeros(4, 0, 2, dtype=torch.int64))
