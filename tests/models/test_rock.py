"""HAN-ROCK's networks: against torch's own GRUs and the equations written out, and attention by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from uncertain_affect.models import rock
from uncertain_affect.models.rock import Task, contexts, seventeen_tasks

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
both_networks = pytest.mark.parametrize("kind", ("flat", "rock"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=2, dtype=torch.float64):
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


def close(ours, theirs, atol=1e-6):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def as_grus(model):
    """The same recurrences from torch's own layers, one module a task."""
    n_tasks, _, n_gates, n_features = model.weight_ih.shape
    grus = []
    for task in range(n_tasks):
        gru = nn.GRU(n_features, n_gates // 3, bidirectional=True, batch_first=True).to(model.weight_ih.dtype)
        with torch.no_grad():
            for name in PARAMETERS:
                for direction, suffix in enumerate(("_l0", "_l0_reverse")):
                    getattr(gru, name + suffix).copy_(getattr(model, name)[task, direction])
        grus.append(gru)
    return grus


def recurrence(n_tasks, input_size, hidden_size, dtype=torch.float64, **options):
    model = rock.TaskGRU(n_tasks, input_size, hidden_size, generator(), **options).to(dtype)
    with torch.no_grad():  # biases start at zero: a test that leaves them there would not see them
        for bias in (model.bias_ih, model.bias_hh):
            bias.uniform_(-1, 1, generator=generator(1))
    return model


def test_the_seventeen_tasks_come_in_the_papers_order():
    tasks = seventeen_tasks("emotion", 4)
    assert [task.name for task in tasks[:6]] == ["emotion", "AU05", "AU17", "AU20", "AU25", "happy"]
    assert "".join(task.family[0] for task in tasks) == "p" + 4 * "a" + 4 * "p" + 4 * "h" + 4 * "f"
    # labels of other turns are classes, action units and tones are not
    assert [task.n_classes for task in tasks] == [4] + 8 * [None] + 8 * [4]
    assert all(task.n_classes is None for task in seventeen_tasks("valence"))
    assert len(set(tasks)) == 17


def test_contexts_stay_within_the_dialogue():
    rows = contexts(["a", "a", "a", "b", "c", "c"], 3)
    assert rows.tolist() == [[0, -1, -1], [0, 1, -1], [0, 1, 2], [3, -1, -1], [4, -1, -1], [4, 5, -1]]
    assert contexts(["a", "a"], 1).tolist() == [[0], [1]]
    with pytest.raises(ValueError, match="at least 1"):
        contexts(["a"], 0)
    with pytest.raises(ValueError, match="'a' comes in several pieces"):
        contexts(["a", "b", "a"], 2)


@pytest.mark.parametrize("own_input", [False, True])
@pytest.mark.parametrize("hidden_size", [1, 3])
@settings(max_examples=10)
@given(data=st.data())
def test_states_are_those_of_torch(own_input, hidden_size, data):
    n_tasks, n, n_steps = (data.draw(st.integers(1, 4)) for _ in range(3))
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, n_steps), min_size=n, max_size=n)))
    model = recurrence(n_tasks, 5, hidden_size)
    x = normal(*([n_tasks] if own_input else []), n, n_steps, 5)
    expected = []
    for task, gru in enumerate(as_grus(model)):
        own = x[task] if own_input else x
        packed = nn.utils.rnn.pack_padded_sequence(own, lengths, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=n_steps)
        expected.append(states)
    close(model(x, lengths), torch.stack(expected), 1e-12)


def test_what_follows_the_end_is_never_read():
    model, x, lengths = recurrence(2, 4, 3), normal(3, 6, 4), torch.tensor([2, 6, 1])
    with_rubbish = x.clone()
    with_rubbish[0, 2:], with_rubbish[2, 1:] = math.nan, math.inf
    with_rubbish.requires_grad_()
    states = model(with_rubbish, lengths)
    close(states, model(x, lengths), 0)
    assert (states[:, 0, 2:] == 0).all() and (states[:, 2, 1:] == 0).all()
    states.sum().backward()
    assert (with_rubbish.grad[0, 2:] == 0).all() and with_rubbish.grad.isfinite().all()


@pytest.mark.parametrize("hidden_size", [1, 3])
def test_recurrent_dropout_masks_the_state_that_enters_the_gates(hidden_size):
    """Against the recurrence written out for one direction."""
    model = recurrence(2, 4, hidden_size, recurrent_dropout=0.5).train()
    x = normal(5, 6, 4)
    state = model.generator.get_state()
    ours = model(x)[..., :hidden_size]
    model.generator.set_state(state)
    kept = model._masks((2, 2, hidden_size, 5), 0.5, x)[0].mT  # forward: (T, B, H)
    assert 0 < (kept == 0).double().mean() < 1
    w, u, b, c = (getattr(model, name)[:, 0] for name in PARAMETERS)
    h, expected = torch.zeros(2, 5, hidden_size, dtype=torch.float64), []
    for t in range(6):
        gx = torch.einsum("tgd,bd->tbg", w, x[:, t]) + b[:, None]
        gh = torch.einsum("tgh,tbh->tbg", u, h * kept) + c[:, None]
        (xr, xz, xn), (hr, hz, hn) = gx.chunk(3, -1), gh.chunk(3, -1)
        z, new = torch.sigmoid(xz + hz), torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
        h = (1 - z) * new + z * h
        expected.append(h)
    close(ours, torch.stack(expected, 2), 1e-12)


def test_input_dropout_drops_the_same_features_at_all_steps():
    model = recurrence(3, 8, 2, torch.float32, dropout=0.5)
    with torch.no_grad():
        for parameter in (model.weight_hh, model.bias_ih, model.bias_hh):
            parameter.zero_()
        model.weight_ih.zero_()[:, :, 4:] = 1  # n alone reads the input: h_1 = tanh(sum of what is kept) / 2
    h = model.train()(torch.full((400, 3, 8), 0.05))
    first = 2 * h[:, :, 0, 0].detach()
    n_kept = (torch.atanh(first) / 0.1).round()
    close(torch.atanh(first), 0.1 * n_kept, 1e-5)
    # tasks and directions share the mask of the shared input; at the last step the backward state is the first one
    assert torch.equal(n_kept[0], n_kept[1]) and torch.allclose(h[0, :, 2, 2], h[0, :, 0, 0])
    torch.testing.assert_close(h[0, :, 1, 0], 0.75 * first[0], rtol=1e-5, atol=1e-6)
    # binomial(8, 1/2) over 400 examples
    assert n_kept[0].mean() == pytest.approx(4, abs=4 * math.sqrt(2 / 400))
    assert torch.equal(model.eval()(torch.ones(2, 3, 8)), model(torch.ones(2, 3, 8)))


def test_weights_start_as_in_keras():
    model = rock.TaskGRU(3, 30, 10, generator())
    limit = math.sqrt(6 / (30 + 30))
    assert model.weight_ih.abs().max() <= limit
    assert model.weight_ih.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    close(model.weight_hh.mT @ model.weight_hh, torch.eye(10).expand(3, 2, 10, 10), 1e-5)
    assert not model.bias_ih.any() and not model.bias_hh.any()
    assert torch.equal(model.weight_hh, rock.TaskGRU(3, 30, 10, generator()).weight_hh)
    assert not torch.equal(model.weight_ih, rock.TaskGRU(3, 30, 10, generator(1)).weight_ih)


@pytest.mark.parametrize("attend, expected", [("u", [0.75, 0.0]), ("h", [0.75, 0.625])])
def test_attention_worked_by_hand(attend, expected):
    attention = rock.TaskAttention(1, 2, 2, generator(), attend)
    with torch.no_grad():
        attention.weight.copy_(torch.eye(2)[None])
        attention.bias.copy_(torch.tensor([[0.0, -1.0]]))
        attention.query.copy_(torch.tensor([[math.log(3), 5.0]]))
    h = torch.tensor([[[[1.0, 0.5], [0.0, 1.0], [9.0, 9.0]]]])
    # u = (1, 0) and (0, 0); scores log 3 and 0; the third step does not exist
    v, alpha = attention(h, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(alpha, torch.tensor([[[0.75, 0.25, 0.0]]]))
    torch.testing.assert_close(v, torch.tensor([[expected]]))
    assert attention.output_size == 2


def network(kind, tasks=None, seed=0, **options):
    tasks = seventeen_tasks("emotion", 4) if tasks is None else tasks
    embedding = normal(30, 12, seed=5, dtype=torch.float32)
    embedding[0] = 0
    options = {"word_gru": 6, "attention": 8} | options
    if kind == "flat":
        return rock.FlatHan(tasks, embedding, 7, generator(seed), **options).eval()
    return rock.HanRock(tasks, embedding, 7, 2, generator(seed), **options).eval()


def corpus():
    """Six talkturns of 1 to 9 words in two dialogues, each with up to three."""
    n_words = torch.tensor([3, 9, 1, 4, 2, 5])
    tokens = torch.randint(1, 30, (6, 9), generator=generator(6)) * (torch.arange(9) < n_words[:, None])
    return tokens, contexts(["a", "a", "a", "a", "b", "b"], 3)


@both_networks
@pytest.mark.parametrize("attend", ["u", "h"])
def test_shapes_and_sums(kind, attend):
    tokens, context = corpus()
    predicted = network(kind, attend=attend)(tokens, context)
    n_encoders, n_vectors = (1, 1) if kind == "flat" else (2, 17)
    assert predicted.values.shape == (6, 8) and predicted.logits.shape == (6, 9, 4)
    assert predicted.word_attention.shape == (n_encoders, 6, 3, 9)
    there = context >= 0
    close(predicted.word_attention.sum(-1), there.float().expand(n_encoders, -1, -1))
    assert (predicted.turn_attention[:, ~there] == 0).all()
    close(predicted.turn_attention.sum(-1), torch.ones(n_vectors, 6))
    close(predicted.task_attention.sum(0), torch.ones(6))
    words, turns = predicted.overall_attention()
    close(words.sum(-1), there.float())
    close(turns.sum(-1), torch.ones(6))


def test_numbers_alone_and_classes_alone():
    predicted = network("rock", seventeen_tasks("valence"))(*corpus())
    assert predicted.values.shape == (6, 17) and predicted.logits.shape == (6, 0, 0)
    predicted = network("rock", [Task("emotion", "primary", 3), Task("past1", "h", 3)])(*corpus())
    assert predicted.values.shape == (6, 0) and predicted.logits.shape == (6, 2, 3)


@both_networks
def test_an_example_alone_is_the_example_in_a_batch(kind):
    model = network(kind)
    tokens, context = corpus()
    together = model(tokens, context)
    for i in range(len(context)):
        rows = context[i][context[i] >= 0]
        longest = int((tokens[rows] != 0).sum(1).max())
        alone = model(tokens[rows][:, :longest], torch.arange(len(rows))[None])
        close(together.values[i], alone.values[0])
        close(together.logits[i], alone.logits[0])
        close(together.word_attention[:, i, : len(rows), :longest], alone.word_attention[:, 0])
        close(together.turn_attention[:, i, : len(rows)], alone.turn_attention[:, 0])


@both_networks
def test_predictions_follow_the_equations(kind):
    """One example, step by step with torch's own GRUs."""
    model = network(kind)
    tokens, context = corpus()
    predicted = model(tokens, context[2:3])  # three talkturns

    def attend(attention, task, h):
        u = torch.relu(h @ attention.weight[task].T + attention.bias[task])
        return torch.softmax(u @ attention.query[task], 0) @ u

    def encode(words, attention, task, xs):
        gru = as_grus(words)[task]
        return torch.stack([attend(attention, task, gru(x[None])[0][0]) for x in xs])

    xs = [model.embedding(row[row != 0]) for row in tokens[:3]]
    s = [encode(model.words, model.word_attention, k, xs) for k in range(1 if kind == "flat" else 2)]
    if kind == "flat":
        vectors = [encode(model.turns, model.turn_attention, 0, [s[0]])[0]] * 17
    else:
        primary = encode(model.primary, model.primary_attention, 0, [s[0]])[0]
        auxiliary = [encode(model.auxiliary, model.auxiliary_attention, k, [s[1]])[0] for k in range(16)]
        stacked = torch.stack([primary, *auxiliary])
        vectors = [torch.softmax(stacked @ model.query, 0) @ stacked, *auxiliary]
    heads = model.heads
    logits = [w @ vectors[k] for w, k in zip(heads.class_weight, [0, *range(9, 17)], strict=True)]
    values = [w[0] @ vectors[k] for w, k in zip(heads.value_weight, range(1, 9), strict=True)]
    torch.testing.assert_close(predicted.logits[0], torch.stack(logits) + heads.class_bias, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(predicted.values[0], torch.stack(values) + heads.value_bias, rtol=1e-5, atol=1e-6)


def test_parameters_are_counted():
    def gru(n_inputs, n_units):
        return 2 * 3 * n_units * (n_inputs + n_units + 2)

    def attention(n_inputs, size):
        return size * (n_inputs + 2)

    encoder = gru(12, 6) + attention(12, 8)
    heads = 8 * (8 + 1) + 9 * 4 * (8 + 1)
    flat = encoder + gru(8, 7) + attention(14, 8) + heads
    tree = 2 * encoder + gru(8, 7) + attention(14, 8) + 16 * (gru(8, 2) + attention(4, 8)) + 8 + heads
    for kind, expected in (("flat", flat), ("rock", tree)):
        assert sum(p.numel() for p in network(kind).parameters() if p.requires_grad) == expected, kind
    assert network("flat", freeze=False).embedding.weight.requires_grad


def test_auxiliary_losses_do_not_reach_the_primary_branch():
    model = network("rock", freeze=True)
    predicted = model(*corpus())
    (predicted.values.sum() + predicted.logits[:, 1:].sum()).backward()
    primary = [*model.primary.parameters(), *model.primary_attention.parameters(), model.query]
    assert all(p.grad is None or not p.grad.any() for p in primary)
    assert not model.words.weight_ih.grad[0].any() and model.words.weight_ih.grad[1].any()
    # the primary loss reaches the auxiliary branch through the fusion
    model.zero_grad()
    model(*corpus()).logits[:, 0].square().sum().backward()
    assert model.auxiliary.weight_ih.grad.any() and model.words.weight_ih.grad[1].any()


def test_overall_attention_worked_by_hand():
    predicted = rock.Prediction(
        values=torch.empty(1, 0),
        logits=torch.empty(1, 0, 0),
        word_attention=torch.tensor([[[[1.0, 0.0]]], [[[0.5, 0.5]]]]),
        turn_attention=torch.tensor([[[0.8, 0.2]], [[0.6, 0.4]], [[0.0, 1.0]]]),
        task_attention=torch.tensor([[0.5], [0.25], [0.25]]),
    )
    words, turns = predicted.overall_attention()
    torch.testing.assert_close(words, torch.tensor([[[0.75, 0.25]]]))
    torch.testing.assert_close(turns, torch.tensor([[0.55, 0.45]]))


def test_bad_input_of_the_networks_is_named():
    model, (tokens, context) = network("rock"), corpus()
    empty = tokens.clone()
    empty[1] = 0
    with pytest.raises(ValueError, match="talkturn 1 has no words"):
        model(empty, context)
    assert model(empty, context[[0, 4, 5]]).values.isfinite().all()  # nobody reads it
    context[4] = -1
    with pytest.raises(ValueError, match="example 4 has no talkturn"):
        model(tokens, context)
    with pytest.raises(ValueError, match='attend must be "u" or "h"'):
        network("rock", attend="s")
    with pytest.raises(ValueError, match="same number of classes"):
        network("flat", [Task("emotion", "primary", 4), Task("past1", "h", 3)])
