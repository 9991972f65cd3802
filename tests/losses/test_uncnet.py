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


@settings(deadline=None)  # the first backward pass is slow
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 9), st.floats(0.1, 50))
def test_value_and_gradient_agree_with_torch(seed, n, n_classes, scale):
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, n_classes, generator=g, dtype=torch.float64)
    target = torch.softmax(torch.randn(n, n_classes, generator=g, dtype=torch.float64), -1)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, reference = soft_label_cross_entropy(ours, target), torch.nn.functional.cross_entropy(theirs, target)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(loss, reference, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_each_copy_has_its_own_loss():
    g = torch.Generator().manual_seed(0)
    logits, target = torch.randn(3, 7, 9, generator=g), torch.softmax(torch.randn(3, 7, 9, generator=g), -1)
    together = soft_label_cross_entropy(logits, target)
    assert together.shape == (3,)
    for one, z, p in zip(together, logits, target, strict=True):
        torch.testing.assert_close(one, torch.nn.functional.cross_entropy(z, p))
    # one set of targets serves every copy
    torch.testing.assert_close(soft_label_cross_entropy(logits, target[:1])[0], together[0])


def test_a_loss_of_no_example_is_refused():
    with pytest.raises(ValueError, match=r"logits have shape \(2, 0, 4\): there is no example"):
        soft_label_cross_entropy(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4))
