import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence

from uncertain_affect.protocols import across

G = torch.Generator().manual_seed(0)


def small_task(kind="classes", own=False):
    n = {"train": 300, "val": 80, "test": 60}
    x = {split: torch.randn(*([3] if own else []), size, 6, generator=G) for split, size in n.items()}
    weight = 2 * torch.randn(6, 4, generator=G)
    logits = {split: of @ weight for split, of in x.items()}
    if kind == "classes":
        y = {split: torch.softmax(z, -1) for split, z in logits.items()}
    else:
        y = {split: (z > 0).float() for split, z in logits.items()}
    return across.Task("small", kind, x, y)


def small_settings():
    return across.Settings((0, 1, 2), members=2, generations=2, n_samples=7, rates=(1e-3, 1e-2), max_epochs=4)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", ["classes", "units"])
def test_every_method_says_something_of_every_input(tmp_path, monkeypatch, kind, own):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    task, settings = small_task(kind, own), small_settings()
    said = across.say(task, settings)
    samples = {method: of.probs["test"].shape[1] for method, of in said.items()}
    assert samples == {
        "softmax": 1, "temperature scaling": 1, "MC dropout": 7, "Laplace": 7, "deep ensemble": 2,
        "student 1": 1, "students 1": 2, "student 2": 1, "students 2": 2,
    } | ({"evidential": 7} if kind == "classes" else {})  # fmt: skip
    for method, of in said.items():
        p = of.probs["test"]
        assert p.shape[0::2][:2] == (3, 60) and (p.sum(-1) - 1).abs().max() < 1e-9, method
        assert not torch.equal(p[0], p[1]), "seeds differ"
    assert said["students 2"].networks == 6
    again = across.say(task, settings)
    for method, of in said.items():
        assert torch.equal(of.probs["test"], again[method].probs["test"]), method


def test_the_posterior_has_the_curvature_of_the_loss():
    h, w = torch.randn(5, 3, generator=G).double(), torch.randn(2, 4, generator=G).double()
    target = torch.softmax(torch.randn(5, 2, generator=G).double(), -1)

    def loss(weights):
        z = across._with_one(h) @ weights.view(2, 4).T
        return 5 * across.KINDS["classes"](z, target) + 0.5 * 3.0 * weights.square().sum()

    expected = torch.autograd.functional.hessian(loss, w.flatten())
    posterior = across.LastLayerLaplace(h, across._with_one(h) @ w.T, "classes", precision=3.0)
    torch.testing.assert_close(posterior.factor @ posterior.factor.T, expected)


def test_draws_of_the_posterior_have_its_covariance():
    h, z = torch.randn(20, 2, generator=G), torch.randn(20, 2, generator=G)
    posterior = across.LastLayerLaplace(h, z, "units", precision=1.0)
    drawn = posterior.sample(h[:1], z[:1], 20_000, G)[:, 0]
    j = torch.kron(torch.eye(2).double(), across._with_one(h[:1].double()))
    expected = j @ torch.cholesky_inverse(posterior.factor) @ j.T
    torch.testing.assert_close(torch.cov(drawn.T), expected, rtol=0.05, atol=0.02)
    torch.testing.assert_close(drawn.mean(0), z[0].double(), rtol=0, atol=0.03)


def test_the_evidential_loss_is_an_expectation_under_its_dirichlet():
    out, target = torch.randn(1, 1, 3, generator=G).double(), torch.tensor([[[1.0, 0, 0]]]).double()
    alpha = across.concentrations(out)[0, 0]
    drawn = torch.from_numpy(np.random.default_rng(0).dirichlet(alpha.numpy(), 200_000))
    misleading = Dirichlet(torch.tensor([1.0, alpha[1], alpha[2]], dtype=torch.float64))
    penalty = across.EVIDENCE_PENALTY * kl_divergence(misleading, Dirichlet(torch.ones(3, dtype=torch.float64)))
    expected = -drawn[:, 0].log().mean() + penalty
    assert across.evidential_loss(out, target).item() == pytest.approx(expected.item(), abs=0.01)


def test_the_temperature_undoes_a_temperature():
    z = torch.randn(4000, 5, generator=G)
    target = torch.softmax(z, -1)
    assert across.fit_temperature(3 * z, target, "classes") == pytest.approx(3, rel=1e-3)


def test_mc_dropout_without_dropout_is_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    task, settings = small_task(), small_settings()
    networks = across.train(task, settings, "networks", across.KINDS["classes"], task.targets, members=2)
    networks.model.dropout = 0.0
    p = across.mc_dropout(networks, task.inputs["test"], 2, "classes", across.generators([0, 1, 2]))
    expected = across.chances(across.outputs(networks, task.inputs["test"])[:, :1], "classes")
    torch.testing.assert_close(p, expected.expand_as(p), rtol=0, atol=1e-6)
    h = across.hidden(networks, task.inputs["test"], member=1)
    last = torch.baddbmm(networks.model.biases[2][1::2], h, networks.model.weights[2][1::2])
    torch.testing.assert_close(last, across.outputs(networks, task.inputs["test"])[:, 1])


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind is 'ranks': expected one of classes, units"):
        across.Task("x", "ranks", {}, {})
