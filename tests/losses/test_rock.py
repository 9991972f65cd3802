"""HAN-ROCK's losses and loss weights: hand-worked cases, torch's losses, and mutual information that is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.losses import rock
from uncertain_affect.losses.rock import loss_weights, mutual_information, task_losses, without_families

nan = math.nan
FAMILIES = ("primary", "a", "p", "h", "h")


def rng(seed=0):
    return np.random.default_rng(seed)


def by_hand():
    """A class, a number, a class: two examples, the class of one and the number of the other missing."""
    values = torch.tensor([[2.0], [5.0]], dtype=torch.float64)
    logits = torch.tensor([[[0, math.log(3)], [0, 0]], [[0, 0], [math.log(4), 0]]], dtype=torch.float64)
    targets = torch.tensor([[1, 5, -1], [0, nan, 0]], dtype=torch.float64)
    return values.requires_grad_(), logits, targets, [True, False, True]


def test_a_case_worked_by_hand():
    values, logits, targets, categorical = by_hand()
    # -log 3/4 and -log 1/2; (2 - 5)^2; -log 4/5
    expected = [(math.log(4 / 3) + math.log(2)) / 2, 9, math.log(5 / 4)]
    losses = task_losses(values, logits, targets, categorical)
    assert losses.tolist() == pytest.approx(expected, abs=1e-14)
    weights = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    total = rock.multi_task_loss(values, logits, targets, weights, categorical)
    assert total.item() == pytest.approx(0.5 * expected[0] + 0.25 * 9 + 0.25 * expected[2])


def test_a_task_without_any_target_costs_nothing():
    values, logits, targets, categorical = by_hand()
    targets[:, 1:] = nan  # classes may be missing as NaN too
    losses = task_losses(values, logits, targets, categorical)
    assert losses[1:].tolist() == [0, 0] and losses[0] > 0
    losses.sum().backward()
    assert not values.grad.any()


def test_numbers_alone_and_classes_alone():
    values, targets = torch.zeros(2, 2), torch.tensor([[1.0, -1.0], [3.0, -1.0]])
    # a number of -1 is a target like any other
    assert task_losses(values, torch.empty(2, 0, 0), targets, [False, False]).tolist() == [5, 1]
    logits = torch.zeros(2, 2, 3)
    losses = task_losses(torch.empty(2, 0), logits, torch.tensor([[0.0, 2.0], [1.0, -1.0]]), [True, True])
    torch.testing.assert_close(losses, torch.full((2,), math.log(3)))


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(2, 5))
def test_losses_agree_with_torch(seed, n, n_classes):
    g = torch.Generator().manual_seed(seed)
    logits, values = torch.randn(n, 2, n_classes, generator=g), torch.randn(n, 1, generator=g)
    labels, numbers = torch.randint(n_classes, (n, 2), generator=g), torch.randn(n, 1, generator=g)
    losses = task_losses(values, logits, torch.cat([labels, numbers], 1), [True, True, False])
    f = torch.nn.functional
    expected = [f.cross_entropy(logits[:, k], labels[:, k]) for k in range(2)] + [f.mse_loss(values, numbers)]
    torch.testing.assert_close(losses, torch.stack(expected))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"values": torch.zeros(2, 2)}, "do not fit"),
        ({"logits": torch.zeros(2, 1, 2)}, "do not fit"),
        ({"categorical": [True, False]}, "do not fit"),
        ({"targets": torch.tensor([[2.0, 0, 0], [0, 0, 0]])}, "class 2 of a target: there are 2"),
    ],
)
def test_bad_input_of_the_losses_is_named(change, message):
    valid = dict(zip(("values", "logits", "targets", "categorical"), by_hand(), strict=True))
    with pytest.raises(ValueError, match=message):
        task_losses(**valid | change)


def test_mutual_information_of_known_pairs():
    n, g = 2000, rng()
    x, noise = g.normal(size=(2, n))
    rho = 0.8
    label = g.integers(3, size=n).astype(float)
    columns = np.stack([rho * x + math.sqrt(1 - rho**2) * noise, noise, np.digitize(x, [0])], 1)
    found = mutual_information(x, columns, rng(), categorical=[False, False, True])
    # of two normals, -log(1 - rho^2) / 2; the sign of x is one bit
    assert found == pytest.approx([-math.log(1 - rho**2) / 2, 0, math.log(2)], abs=0.06)
    same = np.stack([label, g.permutation(label)], 1)
    found = mutual_information(label, same, rng(), primary_is_class=True, categorical=[True, True])
    assert found == pytest.approx([math.log(3), 0], abs=0.01)


def test_examples_with_a_missing_target_are_left_out():
    g = rng(1)
    x = g.normal(size=300)
    gaps = x + g.normal(size=300)
    gaps[200:] = nan
    whole = mutual_information(x[:200], gaps[:200, None], rng(2))
    assert mutual_information(x, gaps[:, None], rng(2)) == pytest.approx(whole)
    x[:200] = nan
    with pytest.raises(ValueError, match="AU05 and the primary one share 0 examples"):
        mutual_information(x, gaps[:, None], rng(2), names=["AU05"])
    with pytest.raises(ValueError, match="share 0 examples"):
        mutual_information(np.zeros(9), -np.ones((9, 1)), rng(), primary_is_class=True, categorical=[True])


def test_the_generator_decides():
    x, y = rng().normal(size=(2, 100))
    once, again = (mutual_information(x.round(1), y.round(1)[:, None], rng(3)) for _ in range(2))
    assert (once == again).all()
    weights = [loss_weights("random", 0.6, rng(seed), np.zeros(16)) for seed in (0, 0, 1)]
    assert (weights[0] == weights[1]).all() and (weights[0] != weights[2])[1:].all()
    drawn = np.array([rock.draw_primary_weight(g) for g in [rng()] for _ in range(4000)])
    assert drawn.min() >= 0.5 and drawn.max() <= 0.99
    assert drawn.mean() == pytest.approx(0.745, abs=4 * 0.49 / math.sqrt(12 * 4000))


INFORMATION = st.lists(st.floats(0, 20), min_size=1, max_size=16)


@given(st.sampled_from(rock.SCHEMES), st.floats(0, 1), INFORMATION, st.integers(0, 2**32))
def test_weights_sum_to_one(scheme, primary, information, seed):
    weights = loss_weights(scheme, primary, rng(seed), information)
    assert weights[0] == primary and len(weights) == len(information) + 1
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1)
    if scheme != "random" and primary < 1:
        assert (np.diff(weights[1:][np.argsort(information)]) >= -1e-12).all()


def test_schemes_worked_by_hand():
    assert loss_weights("linear", 0.8, rng(), [1, 0, 3]) == pytest.approx([0.8, 0.05, 0, 0.15])
    assert loss_weights("softmax", 0.8, rng(), [0, math.log(3)]) == pytest.approx([0.8, 0.05, 0.15])
    assert loss_weights("linear", 0.8, rng(), [0, 0]) == pytest.approx([0.8, 0.1, 0.1])


def test_removed_families_leave_their_weight_to_the_others():
    weights = [0.6, 0.1, 0.1, 0.15, 0.05]
    assert without_families(weights, FAMILIES, "h") == pytest.approx([0.6, 0.2, 0.2, 0, 0])
    assert without_families(weights, FAMILIES, ["a", "p"]) == pytest.approx([0.6, 0, 0, 0.3, 0.1])
    assert without_families(weights, FAMILIES, "") == pytest.approx(weights)
    assert without_families(weights, FAMILIES, "aph").tolist() == [1, 0, 0, 0, 0]
    assert without_families([0.6, 0, 0, 0.4, 0], FAMILIES, "h").tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: loss_weights("equal", 0.5, rng(), [1]), "random, linear, softmax"),
        (lambda: loss_weights("linear", 1.5, rng(), [1]), r"in \[0, 1\]"),
        (lambda: loss_weights("linear", 0.5, rng(), [-1]), "at least 0"),
        (lambda: loss_weights("random", 0.5, rng(), [[1.0, 2.0]]), "each auxiliary task"),
        (lambda: without_families([1, -1, 1, 1, 1], FAMILIES, "h"), "at least 0 for the primary task"),
        (lambda: without_families([1] * 5, FAMILIES, "t"), "family 't'"),
    ],
)
def test_bad_settings_of_weights_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
