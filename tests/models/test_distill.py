import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from uncertain_affect.models import distill as emenet
from uncertain_affect.models.distill import EMENet, MarbleNet, MobileFaceNet, TaskHeads
from uncertain_affect.training.fit import generators


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def count(module):
    return sum(p.numel() for p in module.parameters())


def as_grus(heads, copy):
    """torch's own GRUs with the weights of one copy, one a task."""
    grus = []
    for a in range(len(heads.outputs)):
        gru = nn.GRU(heads.weight_ih.shape[2], heads.hidden, batch_first=True)
        with torch.no_grad():
            for name in ("ih", "hh"):
                getattr(gru, f"weight_{name}_l0").copy_(getattr(heads, f"weight_{name}")[copy, a].T)
                getattr(gru, f"bias_{name}_l0").copy_(getattr(heads, f"bias_{name}")[copy, a, 0])
        grus.append(gru)
    return grus


# --- sizes ------------------------------------------------------------------------------------------------


def test_parameters_are_those_of_the_release():
    network = EMENet(generator())
    assert count(network.trunk) == 937_344
    assert count(network.heads) == 747_195
    assert count(network) == 1_684_539
    hears = EMENet(generator(), audio=True)
    assert count(hears.sound) == 88_896
    assert count(hears) == 1_920_891
    assert EMENet(generator(), auxiliary=True).heads.outputs == {"AU": 12, "EXPR": 7, "VA": 40, "FA": 136}
    every = EMENet(generator(), audio=True, auxiliary=True).heads.outputs
    assert every == {"AU": 12, "EXPR": 7, "VA": 40, "FA": 136, "VAD": 2}


def test_maps_of_the_trunk_have_the_published_sizes():
    trunk, sizes = MobileFaceNet(generator()).eval(), []
    for layer in trunk.layers:
        layer.register_forward_hook(lambda *a: sizes.append(tuple(a[2].shape[1:])))
    with torch.no_grad():
        features = trunk(torch.zeros(1, 112, 112, dtype=torch.uint8))
    assert features.shape == (1, 512)
    stages = list(dict.fromkeys(sizes))
    assert stages == [(64, 56, 56), (64, 28, 28), (128, 14, 14), (128, 7, 7), (512, 7, 7), (512, 1, 1)]
    assert sum(isinstance(layer, emenet.Bottleneck) for layer in trunk.layers) == 15
    assert sizes[trunk.n_early - 2 : trunk.n_early] == [(64, 28, 28), (128, 14, 14)], "conv_34 is the last early one"


def test_a_narrow_trunk_takes_smaller_pictures_grey_or_in_colour():
    trunk = MobileFaceNet(generator(), width=0.25, side=64, repeats=0.25).eval()
    grey = torch.randint(256, (3, 64, 64), dtype=torch.uint8, generator=generator())
    with torch.no_grad():
        assert trunk(grey).shape == (3, trunk.n_features) == (3, 128)
        torch.testing.assert_close(trunk(grey), trunk(grey[:, None].expand(-1, 3, -1, -1)))
    for images in (grey.float(), grey[:, :48], grey[..., :48], torch.zeros(3, 80, 64, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"the trunk takes uint8 \(N, 64, 64\), grey"):
            trunk(images)
    with pytest.raises(ValueError, match="a multiple of 16 from 32 on"):
        MobileFaceNet(generator(), side=50)


def test_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    first = EMENet(generator(3), audio=True, width=0.1, side=32)
    torch.manual_seed(2)
    second = EMENet(generator(3), audio=True, width=0.1, side=32)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    conv = MobileFaceNet(generator()).layers[0].weight
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.1)


def test_prelu_is_torchs():
    ours, theirs = emenet.PReLU(5), nn.PReLU(5)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.uniform_(-0.5, 1.5, generator=generator()))
    x, y = (torch.randn(2, 5, 3, 3, generator=generator()).requires_grad_() for _ in range(2))
    torch.testing.assert_close(ours(x), theirs(y))
    ours(x).square().sum().backward()
    theirs(y).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_sound_is_averaged_over_time():
    sound = MarbleNet(generator(), width=0.25).eval()
    with torch.no_grad():
        assert sound(torch.randn(2, 64, 64, generator=generator())).shape == (2, 32)
        band = torch.randn(1, 64, 1, generator=generator())
        short, long, longer = (sound(band.expand(-1, -1, length)) for length in (400, 800, 1600))
    # a constant sound gives a constant but for the ends, whose share halves
    torch.testing.assert_close(short - long, 2 * (long - longer), atol=1e-3, rtol=1e-2)


# --- the recurrence ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.booleans())
def test_every_copy_of_every_task_is_torchs_gru(seed, k, b, t, own):
    heads = TaskHeads(4, generators(range(seed, seed + k)), {"AU": 3, "EXPR": 2}, hidden=5).eval()
    g = generator(seed)
    x = torch.randn(k, *((2,) if own else ()), b, t, 4, generator=g, requires_grad=True)
    state = torch.randn(k, 2, b, 5, generator=g)
    out, last = heads(x, state)
    sum((v**2).sum() for v in out.values()).backward()
    ours, x_grad = {n: p.grad.clone() for n, p in heads.named_parameters()}, x.grad.clone()
    x.grad = None
    total = 0.0
    grus = [as_grus(heads, copy) for copy in range(k)]
    for copy in range(k):
        for a, task in enumerate(heads.outputs):
            h, final = grus[copy][a](x[copy, a] if own else x[copy], state[copy, a][None])
            logits = h @ heads.weights[task][copy].detach() + heads.biases[task][copy].detach()
            torch.testing.assert_close(out[task][copy], logits, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(last[copy, a], final[0], atol=1e-5, rtol=1e-5)
            total = total + (logits**2).sum()
    total.backward()
    torch.testing.assert_close(x_grad, x.grad, atol=1e-4, rtol=1e-4)
    for copy in range(k):
        for a in range(2):
            gru = grus[copy][a]
            torch.testing.assert_close(ours["weight_hh"][copy, a], gru.weight_hh_l0.grad.T, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(ours["weight_ih"][copy, a], gru.weight_ih_l0.grad.T, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(ours["bias_hh"][copy, a, 0], gru.bias_hh_l0.grad, atol=1e-4, rtol=1e-4)


def test_gradients_of_everything_by_differences():
    heads = TaskHeads(3, generators([0, 1]), {"AU": 2, "VA": 1}, hidden=2, shared=2).double().eval()
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=generator(), requires_grad=True)
    state = torch.randn(2, 2, 2, 2, dtype=torch.float64, generator=generator(), requires_grad=True)

    def f(x, state, *_):
        out, last = heads(x, state)
        return *out.values(), last

    assert torch.autograd.gradcheck(f, (x, state, *heads.parameters()))


def test_state_carries_a_video_over_its_chunks():
    heads = TaskHeads(4, generators([0, 1]), {"AU": 3}, hidden=5, shared=3).eval()
    x = torch.randn(1, 2, 10, 4, generator=generator())
    with torch.no_grad():
        whole, last = heads(x)
        first, state = heads(x[:, :, :6])
        rest, end = heads(x[:, :, 6:], state)
    torch.testing.assert_close(torch.cat([first["AU"], rest["AU"]], 2), whole["AU"])
    torch.testing.assert_close(end, last)
    torch.testing.assert_close(heads(x[:, :, 6:])[0]["AU"].isnan().sum(), torch.tensor(0))
    assert not torch.allclose(heads(x[:, :, 6:])[0]["AU"], rest["AU"])


def test_released_gru_runs_over_the_clips_of_a_batch():
    heads = TaskHeads(4, generators([0]), {"AU": 3}, hidden=5).eval()
    released = TaskHeads(4, generators([0]), {"AU": 3}, hidden=5, across_clips=True).eval()
    x = torch.randn(1, 6, 2, 4, generator=generator())
    with torch.no_grad():
        ours, theirs = heads(x.transpose(1, 2))[0]["AU"].transpose(1, 2), released(x)[0]["AU"]
        torch.testing.assert_close(ours, theirs)
        # torch's own GRU without batch_first, given (clips, time, features)
        (gru,) = as_grus(released, 0)
        gru.batch_first = False
        h = gru(x[0])[0]
    torch.testing.assert_close(released.read_out(h[None, None], "AU", 0)[0], theirs[0], atol=1e-5, rtol=1e-5)


# --- copies -----------------------------------------------------------------------------------------------


def trained(seeds, steps=8, lr=1e-2):
    """Copies after some steps on data of their own, each with its own dropout."""
    heads = TaskHeads(4, generators(seeds), {"AU": 3, "EXPR": 2}, hidden=5, shared=6)
    optimiser = torch.optim.Adam(heads.parameters(), lr=lr)
    draws = generators(seeds, 1)
    for _ in range(steps):
        x = torch.stack([torch.randn(2, 3, 7, 4, generator=g)[:2] for g in draws])
        out, _ = heads(x)
        loss = sum(v.square().mean((1, 2, 3)) for v in out.values())
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
    return heads


def test_a_copy_is_the_same_trained_alone_or_beside_others():
    together = trained([0, 1, 2])
    for copy in range(3):
        alone = trained([copy])
        for a, b in zip(together.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(a[copy], b[0], atol=1e-6, rtol=1e-4)


def test_dropout_is_on_in_training_alone_and_of_each_copys_own_generator():
    heads = TaskHeads(4, generators([0, 0, 1]), {"AU": 3}, hidden=64)
    x = torch.randn(1, 1, 1, 4, generator=generator()).expand(3, -1, -1, -1)
    with torch.no_grad():
        out = heads(x)[0]["AU"]
        assert torch.equal(out[0], out[1]) and not torch.equal(out[0], out[2])
        assert not torch.equal(heads(x)[0]["AU"], out)
        heads.eval()
        assert torch.equal(heads(x)[0]["AU"], heads(x)[0]["AU"])
        h, _ = heads.states(x)
        masks = heads.train().masks((400, 64), h)
    assert masks.unique().tolist() == [0, 2]
    assert masks.mean().item() == pytest.approx(1, abs=0.02)


def test_wrong_shapes_say_what_fits():
    heads = TaskHeads(4, generators([0, 1]), {"AU": 3, "EXPR": 2})
    for shape in ((2, 3, 4), (2, 3, 5, 6), (3, 3, 5, 4)):
        with pytest.raises(ValueError, match=r"2 copies take \(K, B, T, 4\), or \(K, 2, B, T, 4\)"):
            heads(torch.zeros(shape))
    with pytest.raises(ValueError, match="x holds features for 3 tasks, the heads have 2"):
        heads(torch.zeros(2, 3, 1, 1, 4))
    with pytest.raises(ValueError, match="state is of 2 sequences, x of 3"):
        heads(torch.zeros(2, 3, 1, 4), torch.zeros(2, 2, 2, 128))
    with pytest.raises(ValueError, match="at least one generator"):
        TaskHeads(4, [])
    with pytest.raises(ValueError, match="a probability"):
        TaskHeads(4, generators([0]), dropout=1.0)


def test_sound_is_asked_for_by_the_network_that_hears():
    sees, hears = (EMENet(generator(), audio, width=0.1, side=32, hidden=4) for audio in (False, True))
    frames = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    patches = torch.randn(2, 3, 64, 64, generator=generator())
    out, state = hears(frames, patches)
    assert out["VA"].shape == (1, 2, 3, 40) and state.shape == (1, 3, 2, 4)
    assert sees(frames)[0]["AU"].shape == (1, 2, 3, 12)
    with pytest.raises(ValueError, match="EMENet-VA needs the sound"):
        hears(frames)
    with pytest.raises(ValueError, match="EMENet-V takes frames alone"):
        sees(frames, patches)
