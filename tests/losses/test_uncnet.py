import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.losses import soft_label_cross_entropy


def test_a_case_worked_by_hand():
    # softmax(log 1, log 3) = 1/4, 3/4
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    expected = (-(0.5 * math.log(1 / 4) + 0.5 * math.log(3 / 4)) + math.log(2)) / 2
    assert soft_label_cross_entropy(logits, target).item() == pytest.approx(expected, abs=1e-15)


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 9), st.floats(0.1, 50))
def test_each_copy_agrees_with_torch(seed, n, n_classes, scale):
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(3, n, n_classes, generator=g, dtype=torch.float64)
    target = torch.softmax(torch.randn(1, n, n_classes, generator=g, dtype=torch.float64), -1)  # shared by the copies
    reference = torch.stack([torch.nn.functional.cross_entropy(z, target[0]) for z in logits])
    torch.testing.assert_close(soft_label_cross_entropy(logits, target), reference, rtol=1e-12, atol=1e-12)
