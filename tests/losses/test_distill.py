import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from uncertain_affect.losses import distill
from uncertain_affect.metrics import ccc
from uncertain_affect.models.distill import bin_values, expectation

SEED = st.integers(0, 2**31)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_weights_are_odds_of_units_and_inverse_frequencies_of_classes_down_to_the_rarest():
    # 1 of 4, 3 of 4, never
    labels = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert distill.positive_weights(labels).tolist() == pytest.approx([3, 1 / 3, 40])
    with pytest.raises(ValueError, match="labels of 1 are not all 0 or 1"):
        distill.positive_weights(torch.tensor([[0, -1]]))
    weights, inverse = distill.class_weights(torch.tensor([0, 0, 0, 1]), 3), np.array([4 / 3, 4, 40])
    assert weights.tolist() == pytest.approx(inverse / inverse.sum())


def test_losses_worked_by_hand():
    # two frames of one clip, two units: p = 1/2, 3/4; 1/4, 1/2
    z = torch.tensor([[[[0.0, math.log(3)], [-math.log(3), 0.0]]]])
    y = torch.tensor([[[[1, 0], [1, 1]]]])
    terms = [2 * math.log(2), math.log(4), 2 * math.log(4), 3 * math.log(2)]
    assert distill.au_loss(z, y, torch.tensor([2.0, 3.0])).tolist() == pytest.approx([sum(terms) / 4])
    # classes 0 and 1 with weights 1 and 3: (1 log 2 + 3 log 4) / 4
    z, y = torch.tensor([[[[0.0, 0.0], [math.log(3), 0.0]]]]), torch.tensor([[[0, 1]]])
    loss = distill.expr_loss(z, y, torch.tensor([1.0, 3.0]))
    assert loss.tolist() == pytest.approx([(math.log(2) + 3 * math.log(4)) / 4])
    assert distill.landmark_loss(torch.zeros(1, 1, 2, 3), torch.tensor([1.0, -2.0, 3.0]).expand(1, 1, 2, 3)).item() == 2


@settings(deadline=None, max_examples=30)
@given(SEED, st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_teachers_losses_agree_with_torch(seed, k, b, t):
    z, w = normal(seed, k, b, t, 4), normal(seed + 1, 4).exp()
    y, c = (normal(seed + 2, k, b, t, 4) > 0).long(), torch.randint(4, (k, b, t))
    ours = torch.stack([distill.au_loss(z, y, w), distill.expr_loss(z, c, 17 * w), distill.expr_loss(z, c)])
    for i in range(k):
        flat = z[i].flatten(0, 1), c[i].flatten()
        theirs = (
            F.binary_cross_entropy_with_logits(z[i], y[i].double(), pos_weight=w),
            F.cross_entropy(*flat, weight=w),  # only ratios of weights matter
            F.cross_entropy(*flat),
        )
        torch.testing.assert_close(ours[:, i], torch.stack(theirs))


def test_concordance_worked_by_hand():
    x, y = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.0, 2.0]]])
    # rho 1, unbiased deviations^2 1/2 and 2, means 1/2 and 1: CCC = 2 / (2.5 + .25)
    assert distill.ccc_loss(x, y).item() == pytest.approx(1 - 2 / 2.75, abs=1e-6)
    # of three, deviations^2 of 1 and 1, means 1 and 2: 2 / (1 + 1 + 1)
    x = torch.tensor([[[0.0, 1.0, 2.0]]])
    assert distill.ccc_loss(x, x + 1).item() == pytest.approx(1 - 2 / 3, abs=1e-6)
    # the metric has population moments: 2 * 1/2 / (1/4 + 1 + 1/4)
    assert ccc([0, 1], [0, 2]) == pytest.approx(2 / 3)


@settings(deadline=None, max_examples=30)
@given(SEED, st.integers(50, 400))
def test_the_loss_of_many_frames_nears_one_minus_the_metric(seed, n):
    x = normal(seed, 1, 1, n)
    y = 0.5 * x + normal(seed + 1, 1, 1, n) + 0.3
    assert distill.ccc_loss(x, y).item() == pytest.approx(1 - ccc(x.flatten(), y.flatten()), abs=2 / n)


def test_constant_predictions_have_no_concordance_and_a_gradient():
    x = torch.zeros(1, 1, 4, requires_grad=True)
    loss = distill.ccc_loss(x, torch.tensor([[[0.0, 1.0, 2.0, 3.0]]]))
    assert loss.item() == pytest.approx(1, abs=1e-6)
    loss.sum().backward()
    assert x.grad.isfinite().all()


def test_valence_and_arousal_are_expectations_over_bins():
    assert bin_values(torch.zeros(1)).tolist() == pytest.approx(np.linspace(-1, 1, 20))
    logits = torch.full((40,), -1e4)
    logits[0], logits[39] = 0, 0  # the lowest bin of valence, the highest of arousal
    assert expectation(logits).tolist() == [-1, 1]
    logits[19] = 0  # valence half lowest, half highest
    assert expectation(logits)[0].item() == pytest.approx(0, abs=1e-6)
    z, y = normal(0, 2, 3, 4, 40), normal(1, 2, 3, 4, 2)
    valence, arousal = (distill.ccc_loss(expectation(z)[..., i], y[..., i]) for i in range(2))
    torch.testing.assert_close(distill.va_loss(z, y), valence + arousal)


def test_a_student_that_says_what_its_teachers_say_loses_nothing_but_their_entropy():
    z = normal(0, 2, 3, 4, 5)
    p = torch.sigmoid(z)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).mean((1, 2, 3))
    torch.testing.assert_close(distill.au_distillation(z, p), entropy)
    torch.testing.assert_close(distill.expr_distillation(z, z.softmax(-1)), torch.zeros(2).double(), atol=1e-12, rtol=0)
    va = normal(1, 2, 3, 4, 40)
    bins = va.unflatten(-1, (2, 20)).softmax(-1)
    torch.testing.assert_close(distill.va_distillation(va, bins), torch.zeros(2).double(), atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=30)
@given(SEED)
def test_distillation_agrees_with_torch(seed):
    z, q = normal(seed, 1, 3, 4, 5), normal(seed + 1, 1, 3, 4, 5).softmax(-1)
    kl = F.kl_div(z.log_softmax(-1).flatten(0, 2), q.flatten(0, 2), reduction="batchmean")
    torch.testing.assert_close(distill.expr_distillation(z, q)[0], kl)
    certain = torch.tensor([1.0, 0.0]).expand(1, 1, 1, 2)
    assert distill.expr_distillation(torch.zeros(1, 1, 1, 2), certain).item() == pytest.approx(math.log(2))


# Three tasks over six epochs. AU improves every time; EXPR in epochs 1 and 5; VA in epoch 1 alone (a tie is no gain).
HISTORY = torch.tensor(
    [[0.1, 0.5, 0.3], [0.2, 0.4, 0.3], [0.3, 0.4, 0.2], [0.4, 0.4, 0.2], [0.5, 0.6, 0.2], [0.6, 0.5, 0.2]]
)
LOG3, LOG5, LOG6 = math.log2(3), math.log2(5), math.log2(6)


@pytest.mark.parametrize(
    "released, raw",
    [
        # m of EXPR: 1 2 3 4 1 2, of VA: 1 2 3 4 5 6; lambda = max(1, log2 m)
        (False, [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, LOG3, LOG3], [1, 2, 2], [1, 1, LOG5], [1, 1, LOG6]]),
        # n of EXPR: 0 1 2 3 0 1, of VA: 0 1 2 3 4 5; lambda = log2 n where n > 1, else as it was
        (True, [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, LOG3, LOG3], [1, LOG3, 2], [1, LOG3, LOG5]]),
    ],
)
def test_traces_as_printed_and_as_released(released, raw):
    expected = torch.tensor(raw)
    torch.testing.assert_close(distill.balancing_trace(HISTORY, 0, released), expected / expected.sum(1, keepdim=True))
    # auxiliary tasks are counted
    expected = torch.cat([expected, torch.ones(7, 1)], 1)
    torch.testing.assert_close(distill.balancing_trace(HISTORY, 1, released), expected / expected.sum(1, keepdim=True))


def test_copies_are_balanced_each_on_its_own_and_only_those_asked_for_and_nan_is_no_improvement():
    balancer = distill.TaskBalancer(4, 3, balanced=torch.tensor([True, False, True, True]))
    for number, epoch in enumerate(HISTORY[:5]):
        balancer.update(torch.stack([epoch, epoch, number + torch.arange(3.0), torch.full((3,), torch.nan)]))
    torch.testing.assert_close(balancer.weights[0], distill.balancing_trace(HISTORY)[5])
    torch.testing.assert_close(balancer.weights[1:3], torch.full((2, 3), 1 / 3))  # not asked for; all improve always
    assert balancer.counts[3].tolist() == [6, 6, 6]


@settings(deadline=None, max_examples=50)
@given(SEED, st.integers(1, 12), st.integers(1, 4), st.integers(0, 2), st.booleans())
def test_weights_sum_to_one_and_none_falls_below_an_equal_share_of_the_greatest(seed, epochs, tasks, auxiliary, old):
    trace = distill.balancing_trace(normal(seed, epochs, tasks), auxiliary, old)
    torch.testing.assert_close(trace.sum(1), torch.ones(epochs + 1))
    assert (trace > 0).all()
    greatest = max(1, math.log2(epochs + 1))
    assert (trace.max(1).values / trace.min(1).values <= greatest + 1e-5).all()


def test_a_loss_that_is_off_is_counted():
    losses, weights = [torch.tensor([1.0]), torch.tensor([2.0])], torch.tensor([[0.25, 0.25, 0.5]])
    assert distill.multitask_loss(losses, weights).item() == 0.75
    with pytest.raises(ValueError, match="every loss is off"):
        distill.multitask_loss([], weights)


@pytest.mark.parametrize("wrong", [-1, 3, 0.5])
def test_what_is_no_label_is_refused(wrong):
    z, y = torch.zeros(1, 1, 2, 3), torch.tensor([0, wrong])
    with pytest.raises(ValueError, match="not all 0 or 1: leave out the missing ones"):
        distill.au_loss(z, y[:, None].expand(1, 1, 2, 3))
    with pytest.raises(ValueError, match="labels from 0 to 2: leave out the missing ones"):
        distill.expr_loss(z, y[None, None])
    with pytest.raises(ValueError, match="at least one label, all from 0 to 2: leave out the missing ones"):
        distill.class_weights(y, 3)
    with pytest.raises(ValueError, match="with a frame to count"):
        distill.positive_weights(y)
