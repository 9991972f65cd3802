import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from uncertain_affect.losses import action_unit_cross_entropy
from uncertain_affect.metrics import bernoulli_entropy_decomposition
from uncertain_affect.models import ugn
from uncertain_affect.models.ugn import (
    ARMS,
    ActionUnitBranches,
    UncertainGraphLayer,
    UncertainGraphNetwork,
    sample_weights,
)
from uncertain_affect.training.fit import fit_tensors, generators

N_AU, D = 4, 6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=99):
    return torch.randn(*shape, generator=generator(seed))


def layer(copies=1, n_au=N_AU, in_features=D, **options):
    """A layer whose edges are not all alike, some of them cut."""
    made = UncertainGraphLayer(n_au, in_features, generators(list(range(copies))), 5, 3, **options)
    with torch.no_grad():
        made.B.copy_(normal(*made.B.shape, seed=7))
    return made


def network(arms=("UGN",), seeds=None, n_au=N_AU, in_features=D, **options):
    seeds = list(range(len(arms))) if seeds is None else seeds
    options = {"width": 5, "mask_width": 3} | options
    return UncertainGraphNetwork(n_au, in_features, generators(seeds), arms, **options)


def randomise(model):
    """Larger weights, so that masks and probabilities spread, and edges that differ."""
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(0.7 * normal(*p.shape, seed=i))
    return model


def convolve_pair_by_pair(made, c, x, noise=None, masks=None):
    """Eqs. 3-8 of one example as they read: x (N, d), noise (N, N) or ready masks (N, N)."""
    n = len(x)
    a_tilde = torch.relu(made.B[c] + made.B[c].T) + torch.eye(n)
    degree = a_tilde.sum(1)
    adjacency = torch.diag(degree**-0.5) @ a_tilde @ torch.diag(degree**-0.5)
    if masks is None:
        masks = torch.zeros(n, n)
        for i in range(n):
            for j in range(n):
                pair = torch.cat([made.P[c] @ x[i], made.P[c] @ x[j]])
                mu, sigma = made.a_mu[c] @ pair, torch.log(torch.exp(made.a_sigma[c] @ pair) + 1)
                masks[i, j] = torch.sigmoid(mu + sigma * noise[i, j])
    return (masks * adjacency) @ x @ made.W[c], masks


def test_branches_are_one_linear_layer_per_action_unit():
    branches = ActionUnitBranches(7, 3, generators([0, 1]), width=5)
    pooled = normal(2, 10, 7)
    features, logits = branches.features(pooled), branches(pooled)
    assert features.shape == (2, 10, 3, 5) and logits.shape == (2, 10, 3)
    for c in range(2):
        for i in range(3):
            own = slice(5 * i, 5 * (i + 1))
            expected = F.linear(pooled[c], branches.weight[c, :, own].T, branches.bias[c, 0, own]).relu()
            torch.testing.assert_close(features[c, :, i], expected)
            expected = F.linear(expected, branches.readout[c, i, None], branches.readout_bias[c, :, i])
            torch.testing.assert_close(logits[c, :, i, None], expected)
    # features that all copies share
    torch.testing.assert_close(branches(pooled[0])[0], logits[0])
    # weights are Glorot's whatever the number of branches
    branches = ActionUnitBranches(200, 12, generators([0]), width=100)
    bound = math.sqrt(6 / 300)
    assert 0.99 * bound < branches.weight.abs().max() <= bound
    # a uniform draw has the standard deviation b / sqrt(3), its estimate over n an error below sd / sqrt(2 n)
    assert branches.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=4 / math.sqrt(2 * 240_000))


def test_how_a_layer_starts():
    network = UncertainGraphNetwork(2, 1, [generator()], ["UGN"])
    assert [made.W.shape for made in network.layers] == [(1, 1, 64), (1, 64, 64)], "nodes as wide as in the paper"
    layer, bound = UncertainGraphLayer(2, 1, [generator()], mask_width=1000), math.sqrt(6 / 2001)
    for drawn in (layer.a_mu, layer.a_sigma):  # Glorot's of two nodes and one output
        assert drawn.shape == (1, 2000) and 0.99 * bound < drawn.abs().max() <= bound
    # all edges alike: A_ij = 1/5 and 1 more on the diagonal, degrees of 2
    a = UncertainGraphLayer(5, D, [generator()]).adjacency()[0]
    torch.testing.assert_close(a, torch.full((5, 5), 0.1) + 0.5 * torch.eye(5))


def test_two_nodes_worked_by_hand():
    made = UncertainGraphLayer(2, 1, [generator()], width=1, mask_width=1)
    with torch.no_grad():
        made.B.copy_(torch.tensor([[[0.0, 3.0], [0.0, -1.0]]]))
        made.W.fill_(2)
        made.P.fill_(1)
        made.a_mu.copy_(torch.tensor([[1.0, -1.0]]))
        made.a_sigma.copy_(torch.tensor([[0.0, 1.0]]))
    # A~ = [[1, 3], [3, 1]], since ReLU cuts B_22 + B_22 = -2; both degrees are 4
    torch.testing.assert_close(made.adjacency(), torch.tensor([[[0.25, 0.75], [0.75, 0.25]]]))
    x = torch.tensor([[[math.log(2)], [0.0]]])
    mu, sigma = made.mask_parameters(x)
    # mu_ij = x_i - x_j, sigma_ij = log(exp(x_j) + 1)
    torch.testing.assert_close(mu, math.log(2) * torch.tensor([[[[0.0, 1.0], [-1.0, 0.0]]]]))
    torch.testing.assert_close(sigma, torch.tensor([[[[3.0, 2.0], [3.0, 2.0]]]]).log())
    # without noise the masks are 1/2, 2/3, 1/3, 1/2 and x W = 2 log 2, 0: half of a quarter, a third of .75
    noise = torch.zeros(1, 1, 2, 2, 2)
    noise[:, :, 1, 1, 0] = 1
    h = made(x, made.masks(x, noise))
    torch.testing.assert_close(h[0, 0, 0, :, 0], 2 * math.log(2) * torch.tensor([0.125, 0.25]))
    # noise of one standard deviation on edge 2-1: z = -log 2 + log 3, a mask of 3/2 to 1
    torch.testing.assert_close(h[0, 0, 1, :, 0], 2 * math.log(2) * torch.tensor([0.125, 0.75 * 0.6]))


def test_the_adjacency_is_symmetric_and_normalised_and_the_printed_one_neither():
    a = layer(copies=3, n_au=6).adjacency()
    torch.testing.assert_close(a, a.mT)
    # D^-1/2 A~ D^-1/2 has the eigenvector sqrt(degree) of eigenvalue 1, and none above
    torch.testing.assert_close(torch.linalg.eigvalsh(a)[:, -1], torch.ones(3))
    assert (a >= 0).all() and (a == 0).any()
    printed = layer(n_au=6, normalisation="printed").adjacency()[0]
    assert (printed - printed.T).abs().max() > 0.1
    # a similarity transform: the spectrum is that of A~ itself
    b = layer(n_au=6).B[0]
    unnormalised = torch.linalg.eigvalsh(torch.relu(b + b.T) + torch.eye(6))
    torch.testing.assert_close(torch.linalg.eigvals(printed).real.sort().values, unnormalised, rtol=1e-4, atol=1e-4)
    assert unnormalised.max() > 2


@pytest.mark.parametrize("shared_mask", [False, True])
@pytest.mark.parametrize("per_chunk", [1, 10**9])
def test_the_network_is_the_loop_over_samples_and_pairs(shared_mask, per_chunk, monkeypatch):
    monkeypatch.setattr(ugn, "NUMBERS_PER_CHUNK", per_chunk)
    model = randomise(network(("UGN", "GN-D", "UGN-B"), shared_mask=shared_mask))
    x = normal(3, 5, N_AU, D)
    logits = model.sample_logits(x, 4)
    assert logits.shape == (4, 3, 5, N_AU)
    with torch.no_grad():
        # the noise the generators of a fresh network have come to
        fresh = network(("UGN", "GN-D", "UGN-B"), shared_mask=shared_mask)
        noise = fresh.draw_noise(5, 4, [0, 1, 2])
        assert len(noise) == (1 if shared_mask else 2)
        for c in range(3):
            for k in range(5):
                for s in range(4):
                    h, mask = convolve_pair_by_pair(model.layers[0], c, x[c, k], noise[0, c, k, s])
                    second = {"masks": mask} if shared_mask else {"noise": noise[1, c, k, s]}
                    h, _ = convolve_pair_by_pair(model.layers[1], c, h.relu(), **second)
                    expected = (h * model.readout[c]).sum(-1) + model.readout_bias[c, 0, 0]
                    torch.testing.assert_close(logits[s, c, k], expected, rtol=0, atol=1e-5)


def test_gn_d_draws_nothing_and_takes_the_mean_mask():
    model = randomise(network(("GN-D",)))
    state = model.generators[0].get_state()
    x = normal(6, N_AU, D)
    trained, predicted = model.train()(x).logits, model.eval()(x).logits
    assert torch.equal(model.generators[0].get_state(), state)
    torch.testing.assert_close(trained, predicted, rtol=1e-4, atol=1e-5)
    mu, _ = model.layers[0].mask_parameters(x)
    torch.testing.assert_close(model.mean_mask(x)[:, 0], mu.sigmoid().mean(1))


def test_arms_of_a_seed_start_from_the_same_weights():
    model = network(ARMS, seeds=[5, 5, 5])
    for p in model.parameters():
        assert torch.equal(p[0], p[1]) and torch.equal(p[0], p[2])
    different = network(("UGN", "UGN"), seeds=[5, 6])
    assert all(not torch.equal(p[0], p[1]) for p in (different.readout, different.layers[1].P))
    # the ablation too
    shared = dict(network(("UGN",), seeds=[5], shared_mask=True).named_parameters())
    assert all(torch.equal(p[0], model.get_parameter(name)[0]) for name, p in shared.items())
    assert "layers.1.P" not in shared


@pytest.mark.parametrize("n_au", [3, 4])  # with three, an example's noise is no multiple of sixteen
@pytest.mark.parametrize("n_samples", [1, 7])
def test_predictions_do_not_depend_on_the_split_into_batches(n_au, n_samples):
    make = lambda: randomise(network(("UGN", "GN-D"), n_au=n_au))  # noqa: E731
    x = normal(20, n_au, D)
    whole, running = make().sample_logits(x, n_samples), make()
    parts = [running.sample_logits(part, n_samples) for part in x.split((1, 12, 7))]
    torch.testing.assert_close(torch.cat(parts, 2), whole, rtol=0, atol=1e-6)


def test_noise_is_standard_normal_and_independent():
    noise = network(("UGN", "UGN")).draw_noise(400, 20, [0, 1])
    assert noise.shape == (2, 2, 400, 20, N_AU, N_AU)
    n = noise.numel()
    assert noise.mean().item() == pytest.approx(0, abs=4 / math.sqrt(n))
    assert noise.std().item() == pytest.approx(1, abs=4 / math.sqrt(2 * n))
    rows = torch.cat([noise[0], noise[1]]).flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(4)).abs().max() < 5 / math.sqrt(rows.shape[1])


def test_evaluation_gives_the_logit_of_the_mean_probability():
    model, again = (randomise(network(("UGN", "GN-D"), n_samples=9)).eval() for _ in range(2))
    x = normal(6, N_AU, D)
    out, probs = model(x), again.probabilities(x, 9)
    assert probs.shape == (9, 2, 6, N_AU) and not probs.requires_grad
    torch.testing.assert_close(out.logits.sigmoid(), probs.mean(0))
    assert torch.equal(out.weights, torch.ones(2, 6))
    # probabilities that round to 0 and 1 have finite logits
    with torch.no_grad():
        model.readout_bias.fill_(200)
    assert model(x).logits.min() > 100


def test_training_gives_one_sample_and_weights_of_the_batch():
    model, again = (randomise(network(ARMS, n_weight_samples=6)).train() for _ in range(2))
    x = normal(3, 8, N_AU, D)
    logits, weights = model(x)
    assert logits.shape == (3, 8, N_AU) and weights.shape == (3, 8)
    assert torch.equal(weights[:2], torch.ones(2, 8))
    # Eq. 11, from draws that come before that of the sample
    with torch.no_grad():
        probs = again._logits(x, 6, [2]).sigmoid()
    epistemic = bernoulli_entropy_decomposition(probs).epistemic
    torch.testing.assert_close(weights[2:], 1 + epistemic.sum(-1).softmax(-1))
    assert weights[2].std() > 0
    assert weights[2].sum().item() == pytest.approx(8 + 1)
    torch.testing.assert_close(logits, again.sample_logits(x, 1)[0])
    assert not torch.allclose(logits[1], model(x).logits[1]), "every step has its own noise"


def test_gradients_reach_every_parameter_and_do_not_flow_through_the_weights():
    for shared_mask in (False, True):
        model = randomise(network(("GN-D",), shared_mask=shared_mask)).train()
        model(normal(8, N_AU, D)).logits.sum().backward()
        # clipping and Adam need one even where it is zero, as that of a standard deviation nobody uses
        assert all(p.grad is not None for p in model.parameters())
        assert (model.layers[0].a_sigma.grad == 0).all()
    logits, weights = randomise(network(("UGN-B",))).train()(normal(8, N_AU, D))
    assert logits.requires_grad and not weights.requires_grad
    assert not sample_weights(torch.rand(3, 5, requires_grad=True, generator=generator())).requires_grad


def test_weights_worked_by_hand():
    # softmax of log 1, log 3 summed over action units
    epistemic = torch.tensor([[0.0, 0.0], [math.log(3) - 0.5, 0.5]])
    torch.testing.assert_close(sample_weights(epistemic), torch.tensor([1.25, 1.75]))
    # a batch of 16 in which one example has half a nat more: 1.099 against 1.060
    weights = sample_weights(torch.tensor([0.5] + [0.0] * 15)[:, None])
    assert weights[:2].tolist() == pytest.approx([1.099, 1.060], abs=5e-4)


def test_mean_masks_and_adjacencies_are_those_of_each_layer(monkeypatch):
    monkeypatch.setattr(ugn, "NUMBERS_PER_CHUNK", 1)  # every example a chunk of its own
    model = randomise(network(("UGN", "GN-D")))
    x = normal(5, N_AU, D)
    first, second = model.layers
    assert torch.equal(model.adjacency(), torch.stack([first.adjacency(), second.adjacency()], 1))
    masks = model.mean_mask(x)
    assert masks.shape == (2, 2, N_AU, N_AU)
    mu, _ = first.mask_parameters(x)
    torch.testing.assert_close(masks[:, 0], mu.sigmoid().mean(1))
    h = first(x, mu.sigmoid().unsqueeze(2)).relu()[:, :, 0]
    torch.testing.assert_close(masks[:, 1], second.mask_parameters(h)[0].sigmoid().mean(1))
    shared = randomise(network(shared_mask=True)).mean_mask(x)
    assert torch.equal(shared[:, 0], shared[:, 1])


@pytest.mark.parametrize("own", [False, True])
def test_branches_are_used_as_they_are(own):
    branches = ActionUnitBranches(7, N_AU, generators([8, 9]), width=D)
    choice = {"branches": branches, "branch_copies": [1, 0, 1]}
    arms = ("UGN", "GN-D", "UGN-B")
    standing, plain = randomise(network(arms, **choice)), randomise(network(arms))
    pooled = normal(3, 5, 7) if own else normal(5, 7)
    features = torch.stack([branches.features(pooled[c] if own else pooled)[b] for c, b in enumerate([1, 0, 1])])
    for mode in (True, False):
        ours, reference = standing.train(mode)(pooled), plain.train(mode)(features.detach())
        torch.testing.assert_close(ours.logits, reference.logits)
        torch.testing.assert_close(ours.weights, reference.weights)
    torch.testing.assert_close(standing.mean_mask(pooled), plain.mean_mask(features))
    # no parameters, no part in training, and no way back to the network they came from
    assert [n for n, _ in standing.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert not standing.branch_weight.requires_grad
    branches.weight.data.zero_()
    assert standing.branch_weight.abs().min() >= 0 and standing.branch_weight.abs().max() > 0
    assert "branch_weight" not in standing.state_dict()


def loss(out, labels):
    return action_unit_cross_entropy(out.logits, labels, example_weights=out.weights)


def task(n=120):
    """Features and labels: of the pairs 0-1 and 2-3, an action unit occurs where its partner's first feature is > 0."""
    x = normal(n, N_AU, D)
    y = (x[:, [1, 0, 3, 2], 0] > 0).float()
    y[::7, 1] = -1
    return x, y


def test_the_graph_learns_what_no_single_node_knows():
    x, y = task(400)
    model, order = network(ARMS, n_samples=3, n_weight_samples=3, width=16), generators([0, 1, 2], 1)
    options = {"lr": 0.02, "batch_size": 16, "max_epochs": 10, "patience": 10, "clip_norm": 5.0}
    history = fit_tensors(model, loss, (x[:300], y[:300]), (x[300:], y[300:]), order=order, **options)
    # from its own features a node can only guess, at log 2
    assert max(history.best_val) < N_AU * math.log(2) / 2


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"unknown arm 'GND'.*GN-D, UGN, UGN-B"):
        network(("UGN", "GND"))
    with pytest.raises(ValueError, match=r"normalisation must be .*'row'"):
        network(normalisation="row")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_noticed_in_training_and_at_test(value):
    x, y = task()
    x[3, 1, 0] = value
    model = network(("GN-D", "UGN"))
    with pytest.raises(FloatingPointError, match=r"training loss of copy 0 is nan in epoch 1; check inputs"):
        fit_tensors(model, loss, (x, y), (x, y), order=generators([0, 1], 1), lr=0.1, batch_size=16, max_epochs=1)
    with pytest.raises(ValueError, match="probabilities lie between 0 and 1"):
        bernoulli_entropy_decomposition(model.probabilities(x, 3))


def test_the_published_widths():
    made = UncertainGraphNetwork(3, 4, generators([0]), ["UGN"])
    assert (made.width, inspect.signature(UncertainGraphNetwork).parameters["mask_width"].default) == (64, 64)
