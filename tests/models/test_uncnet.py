import math

import pytest
import torch
from torch import nn

from uncertain_affect.metrics import entropy_decomposition
from uncertain_affect.models.uncnet import CLASSES, UncNet, draw_kept, mc_dropout, mc_uncertainty

MASKS = ("per_input", "per_network")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(in_features=12, copies=1, **options):
    return UncNet(in_features, [generator(s) for s in range(copies)], **options).eval()


def features(n, in_features=12):
    return torch.randn(n, in_features, generator=generator(99))


def as_sequential(model, member=0):
    """The same network from torch's own layers."""
    layers = []
    for weight, bias in zip(model.weights, model.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:])
        with torch.no_grad():
            linear.weight.copy_(weight[member].T)
            linear.bias.copy_(bias[member, 0])
        layers += [linear, nn.ReLU(), nn.Dropout(model.dropout)]
    return nn.Sequential(*layers[:-2]).eval()


def test_parameters_are_247_177_a_copy_truncated_normals_with_biases_of_a_tenth():
    assert CLASSES[0] == "neutral" and len(CLASSES) == 9
    assert sum(p.numel() for p in network(1792).parameters()) == 247_177
    assert sum(p.numel() for p in network(1792, copies=2).parameters()) == 2 * 247_177
    model = network(1792)
    # cut at two standard deviations, a normal keeps sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)) = .8796 of its own
    for weight, fan_in in zip(model.weights, (1792, 128, 128), strict=True):
        weight = weight.detach()
        sd = 1 / math.sqrt(fan_in)
        assert weight.abs().max() <= 2 * sd
        # standard errors over n weights: sd / sqrt(n) of the mean, under sd / sqrt(2 n) of the standard deviation
        assert abs(weight.mean()) < 4 * sd / math.sqrt(weight.numel())
        assert weight.std() == pytest.approx(0.8796 * sd, abs=4 * sd / math.sqrt(2 * weight.numel()))
    assert all((bias == 0.1).all() for bias in model.biases)


def test_forward_is_the_sequential_network():
    model = network(copies=3)
    x = features(20)
    for member, logits in enumerate(model(x)):
        torch.testing.assert_close(logits, as_sequential(model, member)(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model(x.expand(3, -1, -1)), model(x))


def test_what_dropout_keeps_in_training_is_scaled_so_that_the_mean_stays():
    model, x = UncNet(12, [generator()], hidden=(40,), dropout=0.2), features(30)
    plain = model.eval().hidden(x)
    trained = model.train().hidden(x)
    kept = trained != 0
    torch.testing.assert_close(trained[kept], plain[kept] / 0.8)
    assert 0.7 < (kept & (plain > 0)).sum() / (plain > 0).sum() < 0.9


def test_training_masks_are_those_of_the_own_generator_and_follow_the_hidden_layers():
    both, alone, x = network(copies=2).train(), UncNet(12, [generator(1)]).train(), features(30)
    first = both(x)
    torch.testing.assert_close(first[1], alone(x)[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(first[1], both(x)[1])
    hidden = network(copies=2).train().hidden(x)
    torch.testing.assert_close(first, torch.baddbmm(both.biases[-1], hidden, both.weights[-1]))
    assert (hidden == 0).double().mean() > 0.5, "half by ReLU, and a fifth of what is left by dropout"


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="at least one generator"):
        UncNet(12, [])
    for dropout in (-0.1, 1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            UncNet(12, [generator()], dropout=dropout)


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.2, 1 / 3, 0.5, 0.9])
def test_the_rate_is_within_its_bound(dropout):
    n = 4_000_000
    assert abs(round(dropout * 2**16) / 2**16 - dropout) <= 8e-6
    dropped = 1 - draw_kept((n // 100, 100), dropout, generator()).double().mean().item()
    assert abs(dropped - dropout) <= 8e-6 + 4 * math.sqrt(dropout * (1 - dropout) / n)


def test_four_entries_are_the_quarters_of_each_draw():
    # trained networks are cached and recorded: the draws behind them must stay as they are
    g, reference = generator(), generator()
    kept = draw_kept((5, 128), 0.2, g)
    bits = torch.empty(5 * 32, dtype=torch.int64).random_(-(2**63), None, generator=reference)
    quarters = torch.stack([(bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48)], -1)
    signed = torch.where(quarters < 2**15, quarters, quarters - 2**16)  # as an int16 reads them
    assert torch.equal(kept.flatten(), (signed + 2**15 >= 0.2 * 2**16).flatten())
    assert torch.equal(g.get_state(), reference.get_state())


@pytest.mark.parametrize("width", [1, 4, 7, 256])
def test_rows_drawn_together_or_apart_are_the_same(width):
    whole, parts = generator(), generator()
    together = draw_kept((6, 5, width), 0.2, whole)
    apart = torch.cat([draw_kept((n, 5, width), 0.2, parts) for n in (1, 3, 2)])
    assert together.shape == (6, 5, width) and together.dtype == torch.bool
    assert torch.equal(together, apart)
    assert torch.equal(whole.get_state(), parts.get_state())


@pytest.mark.parametrize("masks", MASKS)
def test_mean_and_variance_are_those_of_dropout_layers(masks):
    """Both arms against T passes through nn.Dropout on the same weights.

    A mean of T samples has the standard error s / sqrt(T); the sample variance v has sqrt((m4 - v^2) / T), with m4
    the fourth central moment. Over 6 inputs x 9 classes the largest of 54 standardised differences stays below 5
    (p = 3e-5 for unrelated ones). Networks are independent draws for one input, so the same bound holds for both.
    """
    model, x, n = network(hidden=(32, 32)), features(6), 20_000
    layers = as_sequential(model).train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        reference = torch.softmax(layers(x.repeat(n, 1)), -1).view(n, 6, 9).double()
    ours = mc_dropout(model, x, n, generator(), masks).double()

    def moments(p):
        d = p - p.mean(0)
        v = d.square().mean(0)
        return p.mean(0), v, v / n, ((d**4).mean(0) - v**2) / n

    mean, var, mean_error, var_error = moments(ours)
    mean_ref, var_ref, mean_error_ref, var_error_ref = moments(reference)
    assert ((mean - mean_ref) / (mean_error + mean_error_ref).sqrt()).abs().max() < 5
    assert ((var - var_ref) / (var_error + var_error_ref).sqrt()).abs().max() < 5


@pytest.mark.parametrize("n_samples", [1, 3, 100])
def test_per_network_samples_are_masked_networks(n_samples):
    model, x = network(), features(9)
    m1, m2 = (draw_kept((n_samples, 128), 0.2, g) / 0.8 for g in [generator(4)] for _ in range(2))
    (w1, w2, w3), (b1, b2, b3) = ([p[0] for p in ps] for ps in (model.weights, model.biases))
    expected = [
        torch.softmax(torch.relu((torch.relu(x @ w1 + b1) * k1) @ w2 + b2) * k2 @ w3 + b3, -1)
        for k1, k2 in zip(m1, m2, strict=True)
    ]
    probs = mc_dropout(model, x, n_samples, generator(4), "per_network")
    torch.testing.assert_close(probs, torch.stack(expected), rtol=1e-4, atol=1e-6)
    # while every input has masks of its own
    same = mc_dropout(model, x[:1].repeat(2, 1), n_samples, generator(), "per_input")
    assert not torch.isclose(same[:, 0], same[:, 1]).all(-1).any()


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("hidden", [(128, 128), (5, 6)])
@pytest.mark.parametrize(("n_samples", "batches"), [(1, (1, 599)), (3, (123, 77, 400)), (100, (123, 77, 400))])
def test_predictions_do_not_depend_on_the_split_into_batches(masks, hidden, n_samples, batches):
    # another mask would change a probability by about .01, rounding of the products changes it by 1e-7
    model, x, running = network(hidden=hidden), features(600), generator(3)
    parts = [
        mc_dropout(model, part, n_samples, running if masks == "per_input" else generator(3), masks)
        for part in x.split(batches)
    ]
    whole = mc_dropout(model, x, n_samples, generator(3), masks)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("masks", MASKS)
def test_without_dropout_every_sample_is_the_network(masks):
    model, x = network(dropout=0.0), features(600)
    probs = mc_dropout(model, x, 20, generator(), masks)
    torch.testing.assert_close(probs, torch.softmax(model(x), -1).expand(20, -1, -1))
    _, split = mc_uncertainty(model, x, 20, generator(), masks)
    assert split.epistemic.max() < 1e-5


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("n_samples", [1, 37])
def test_uncertainty_is_the_entropy_decomposition_of_the_samples(masks, n_samples):
    model, x = network(), features(600)
    mean, split = mc_uncertainty(model, x, n_samples, generator(1), masks)
    probs = mc_dropout(model, x, n_samples, generator(1), masks).double()
    torch.testing.assert_close(mean, probs.mean(0), rtol=0, atol=1e-6)
    for ours, reference in zip(split, entropy_decomposition(probs), strict=True):
        torch.testing.assert_close(ours, reference, rtol=0, atol=3e-6)
    assert (split.epistemic >= 0).all()
    # certain predictions have no entropy
    with torch.no_grad():
        model.biases[-1][0, 0, 3] += 1e5
    mean, split = mc_uncertainty(model, x, n_samples, generator(), masks)
    assert (mean.argmax(-1) == 3).all() and all((part == 0).all() for part in split)


def test_a_member_is_chosen_by_its_index():
    model, x = network(copies=3), features(10)
    alone = UncNet(12, [generator(2)])
    torch.testing.assert_close(
        mc_dropout(model, x, 5, generator(), member=2), mc_dropout(alone, x, 5, generator()), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("call", [mc_dropout, mc_uncertainty])
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"masks": "per_batch"}, "masks must be"),
        ({"n_samples": 0}, "n_samples must be at least 1"),
        ({"x": torch.zeros(4, 12).index_fill(0, torch.tensor([2]), float("nan"))}, "input 2 is not finite"),
        ({"x": torch.zeros(4, 12).index_fill(0, torch.tensor([1]), -float("inf"))}, "input 1 is not finite"),
    ],
)
def test_bad_input_is_named(call, arguments, message):
    valid = {"model": network(), "x": features(4), "n_samples": 3, "generator": generator()}
    with pytest.raises(ValueError, match=message):
        call(**valid | arguments)
