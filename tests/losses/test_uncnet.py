import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uncertain_affect.losses import soft_label_cross_entropy


def test_a_case_worked_by_hand():
    # softmax(log 1, log 3) = 1/4, 3/4
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    expected = (-(0.5 * math.log(1 / 4) + 0.5 * math.log(3 / 4)) + math.log(2)) / 2
    assert soft_label_cross_entropy(logits, target).item() == pytest.approx(expected, abs=1e-15)
    with pytest.raises(ValueError, match=r"logits have shape \(2, 0, 4\): there is no example"):
        soft_label_cross_entropy(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4))


@settings(deadline=None)  # the first backward pass is slow
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 9), st.floats(0.1, 50))
def test_value_and_gradient_of_each_copy_agree_with_torch(seed, n, n_classes, scale):
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(3, n, n_classes, generator=g, dtype=torch.float64)
    target = torch.softmax(torch.randn(1, n, n_classes, generator=g, dtype=torch.float64), -1)  # shared by the copies
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = soft_label_cross_entropy(ours, target)
    reference = torch.stack([torch.nn.functional.cross_entropy(z, target[0]) for z in theirs])
    loss.sum().backward()
    reference.sum().backward()
    torch.testing.assert_close(loss, reference, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
