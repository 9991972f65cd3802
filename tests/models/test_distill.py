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


def test_parameters_are_those_of_the_release():
    sees, hears = EMENet(generator()), EMENet(generator(), audio=True)
    assert [count(part) for part in (sees.trunk, sees.heads, hears.sound)] == [937_344, 747_195, 88_896]
    assert [count(network) for network in (sees, hears)] == [1_684_539, 1_920_891]


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
        for same in (grey[:, None].expand(-1, 3, -1, -1), grey[:, None] / 255):
            torch.testing.assert_close(trunk(grey), trunk(same))
        torch.testing.assert_close(trunk.layers[trunk.n_early :](trunk.early_maps(grey)).flatten(1), trunk(grey))
    with pytest.raises(ValueError, match="a multiple of 16 from 32 on"):
        MobileFaceNet(generator(), side=50)


def test_initial_weights_come_from_the_generator_alone():
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(EMENet(generator(3), audio=True, width=0.1, side=32).state_dict().values())
    assert all(map(torch.equal, *states))
    conv = MobileFaceNet(generator()).layers[0].weight
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.1)


def test_prelu_is_torchs():
    ours, theirs = emenet.PReLU(5), nn.PReLU(5)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.uniform_(-0.5, 1.5, generator=generator()))
    x = torch.randn(2, 5, 3, 3, generator=generator())
    torch.testing.assert_close(ours(x), theirs(x))


def test_sound_is_averaged_over_time():
    sound = MarbleNet(generator(), width=0.25).eval()
    with torch.no_grad():
        assert sound(torch.randn(2, 64, 64, generator=generator())).shape == (2, 32)
        band = torch.randn(1, 64, 1, generator=generator())
        short, long, longer = (sound(band.expand(-1, -1, length)) for length in (400, 800, 1600))
    # a constant sound gives a constant but for the ends, whose share halves
    torch.testing.assert_close(short - long, 2 * (long - longer), atol=1e-3, rtol=1e-2)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.booleans())
def test_every_copy_of_every_task_is_torchs_gru(seed, k, b, t, own):
    heads = TaskHeads(4, generators(range(seed, seed + k)), {"AU": 3, "EXPR": 2}, hidden=5).eval()
    x = torch.randn(k, *((2,) if own else ()), b, t, 4, generator=generator(seed))
    out = heads(x)
    for copy in range(k):
        for a, (task, gru) in enumerate(zip(heads.outputs, as_grus(heads, copy), strict=True)):
            h, _ = gru(x[copy, a] if own else x[copy])
            logits = h @ heads.weights[task][copy] + heads.biases[task][copy]
            torch.testing.assert_close(out[task][copy], logits, atol=1e-5, rtol=1e-5)


def test_released_gru_runs_over_the_clips_of_a_batch():
    heads, released = (TaskHeads(4, generators([0]), {"AU": 3}, hidden=5, across_clips=a).eval() for a in (False, True))
    x = torch.randn(1, 6, 2, 4, generator=generator())
    with torch.no_grad():
        ours, theirs = heads(x.transpose(1, 2))["AU"].transpose(1, 2), released(x)["AU"]
        torch.testing.assert_close(ours, theirs)
        # torch's own GRU without batch_first, given (clips, time, features)
        (gru,) = as_grus(released, 0)
        gru.batch_first = False
        h = gru(x[0])[0]
        logits = released.read_out(h.flatten(0, 1)[None, None])["AU"].view(theirs.shape)
    torch.testing.assert_close(logits, theirs, atol=1e-5, rtol=1e-5)


def test_dropout_is_on_in_training_alone_and_of_each_copys_own_generator():
    heads = TaskHeads(4, generators([0, 0, 1]), {"AU": 3}, hidden=64)
    x = torch.randn(1, 1, 1, 4, generator=generator()).expand(3, -1, -1, -1)
    with torch.no_grad():
        out = heads(x)["AU"]
        assert torch.equal(out[0], out[1]) and not torch.equal(out[0], out[2])
        assert not torch.equal(heads(x)["AU"], out)
        heads.eval()
        assert torch.equal(heads(x)["AU"], heads(x)["AU"])
        masks = heads.masks((400, 64), x)
    assert masks.unique().tolist() == [0, 2] and masks.mean().item() == pytest.approx(1, abs=0.02)
    with pytest.raises(ValueError, match="at least one generator"):
        TaskHeads(4, [])


def test_only_emenet_va_hears():
    sees, hears = (EMENet(generator(), audio, width=0.1, side=32, hidden=4).eval() for audio in (False, True))
    frames = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert sees(frames)["AU"].shape == (1, 2, 3, 12)
    outs = [hears(frames, torch.randn(2, 3, 64, 64, generator=generator(seed)))["VA"] for seed in range(2)]
    assert outs[0].shape == (1, 2, 3, 40) and not torch.allclose(*outs)


def test_a_shared_layer_of_features_that_all_copies_share_is_that_of_each():
    heads = TaskHeads(4, generators([0, 1]), {"AU": 3}, hidden=5, shared=6).eval()
    torch.nn.init.normal_(heads.shared_bias, generator=torch.Generator().manual_seed(0))
    x = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    for task, y in heads(x).items():
        torch.testing.assert_close(y, heads(x.expand(2, -1, -1, -1))[task])
    rows = x[0] @ heads.shared_weight[1] + heads.shared_bias[1]
    expected = torch.where(rows > 0, rows, 0.25 * rows)
    torch.testing.assert_close(heads._shared_layer(x)[1], expected)
