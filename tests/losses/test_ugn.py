import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.losses import action_unit_cross_entropy, occurrence_weights


def test_a_case_worked_by_hand():
    # p = 1/2, 3/4, 1/4
    logits = torch.tensor([[0.0, math.log(3), -math.log(3)], [0.0, math.log(3), 9.0]], dtype=torch.float64)
    labels = torch.tensor([[1, 1, 1], [0, 0, -1]])
    first, second = math.log(2) + math.log(4 / 3) + math.log(4), math.log(2) + math.log(4)
    assert action_unit_cross_entropy(logits, labels).item() == pytest.approx((first + second) / 2)
    # tau = 1, 2, 3 and w = 1, 1.5
    first = math.log(2) + 2 * math.log(4 / 3) + 3 * math.log(4)
    second = 1.5 * (math.log(2) + 2 * math.log(4))
    weighted = action_unit_cross_entropy(logits, labels, torch.tensor([1, 2, 3]), torch.tensor([1, 1.5]))
    assert weighted.item() == pytest.approx((first + second) / 2)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5), st.floats(0.1, 60), st.booleans())
def test_each_copy_agrees_with_torch(seed, n, n_au, scale, shared):
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(3, n, n_au, generator=g, dtype=torch.float64)
    labels = torch.randint(-1, 2, (1 if shared else 3, n, n_au), generator=g)
    tau, w = torch.rand(3, 1, n_au, generator=g).double(), torch.rand(3, n, generator=g).double()
    weights, targets = tau * w[..., None] * (labels >= 0), labels.clamp(min=0).double().expand(3, -1, -1)
    each = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none")
    loss = action_unit_cross_entropy(logits, labels.to(torch.int8), tau, w)
    torch.testing.assert_close(loss, each.sum((1, 2)) / n, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "labels, message",
    [
        (torch.zeros(1, 5, 3), "3 action units, logits for 4"),
        (torch.zeros(1, 5, 4).index_fill(1, torch.tensor([2]), 9), r"entry 0, 2, 0 is 9: expected 1, 0, or -1"),
        (torch.full((1, 5, 4), 0.5), r"is 0\.5"),
    ],
)
def test_bad_labels_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        action_unit_cross_entropy(torch.zeros(2, 5, 4), labels)


def test_occurrence_weights_worked_by_hand():
    # rates 3/4, 1/2, and 1/4 of the four known: 1/r = 4/3, 2, 4, in all 22/3
    labels = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, -1], [1, 0, -1], [0, 1, -1], [1, 0, -1]])
    weights = occurrence_weights(labels)
    torch.testing.assert_close(weights, 3 * torch.tensor([4 / 3, 2, 4]) / (22 / 3))


def test_action_units_without_weights_are_named():
    labels = torch.tensor([[1, 0, -1], [1, 0, -1]])
    with pytest.raises(ValueError, match="action unit 2 has no known label in 2 training examples: leave it out"):
        occurrence_weights(labels)
    with pytest.raises(ValueError, match="action unit AU2 never occurs in 2 training examples"):
        occurrence_weights(labels[:, :2], ["AU1", "AU2"])
