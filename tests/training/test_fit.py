import io
import pickle

import pytest
import torch
from torch import nn

from uncertain_affect.losses import soft_label_cross_entropy
from uncertain_affect.models.uncnet import UncNet, draw_kept
from uncertain_affect.training import fit as module
from uncertain_affect.training.fit import evaluate, fit, fit_tensors, generators, minibatches

D, C = 6, 3


def data(n, seed=0, dtype=torch.float64):
    """Inputs (n, D) and soft labels (n, C) that a linear map explains."""
    g = torch.Generator().manual_seed(1000 + seed)
    x = torch.randn(n, D, generator=g, dtype=dtype)
    to_logits = torch.randn(D, C, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return x, torch.softmax(2 * x @ to_logits, -1)


TRAIN, VAL = data(50), data(30, seed=1)


def network(seeds, dropout=0.2):
    return UncNet(D, generators(seeds), hidden=(16, 16), n_classes=C, dropout=dropout).double()


def fitted(seeds, loss=soft_label_cross_entropy, train=TRAIN, val=VAL, dropout=0.2, **options):
    model = network(seeds, dropout)
    settings = {"lr": 0.01, "batch_size": 16, "max_epochs": 8, "patience": 100, "clip_norm": 0.5} | options
    return model, fit_tensors(model, loss, train, val, order=generators(seeds, 1), **settings)


def parameters(model, member=0):
    return torch.cat([p.detach()[member].flatten() for p in model.parameters()])


@pytest.mark.parametrize("own_data", [False, True])
def test_copies_side_by_side_are_copies_trained_one_after_another(own_data):
    seeds = [3, 0, 7]
    sets = [data(50, seed if own_data else 0) for seed in seeds]
    together = tuple(torch.stack(part) for part in zip(*sets, strict=True)) if own_data else sets[0]
    together, history = fitted(seeds, train=together, val=together, own_data=own_data)
    for member, seed in enumerate(seeds):
        alone, its_history = fitted([seed], train=sets[member], val=sets[member])
        torch.testing.assert_close(parameters(together, member), parameters(alone), rtol=0, atol=1e-9)
        ours, theirs = torch.tensor(history.val)[:, member], torch.tensor(its_history.val)[:, 0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
        assert history.best_epoch[member] == its_history.best_epoch[0]


def test_a_copy_is_a_plain_torch_network():
    """nn.Linear, torch.optim.Adam and clip_grad_norm_ in the usual loop, with the copy's own draws."""
    epochs, seed = 5, 4
    initial = network([seed])

    plain = nn.ModuleList(nn.Linear(*w.shape[1:], dtype=torch.float64) for w in initial.weights)
    with torch.no_grad():
        for layer, weight, bias in zip(plain, initial.weights, initial.biases, strict=True):
            layer.weight.copy_(weight[0].T)
            layer.bias.copy_(bias[0, 0])

    def forward(x, masks=None):
        for layer in plain[:-1]:
            x = torch.relu(layer(x))
            if masks is not None:
                x = x * draw_kept(x.shape, 0.2, masks) / 0.8
        return plain[-1](x)

    masks, order = initial.generators[0], generators([seed], 1)[0]
    optimiser = torch.optim.Adam(plain.parameters(), lr=0.01)
    vals, clipped = [], 0
    for _ in range(epochs):
        for batch in torch.randperm(len(TRAIN[0]), generator=order).split(16):
            optimiser.zero_grad()
            nn.functional.cross_entropy(forward(TRAIN[0][batch], masks), TRAIN[1][batch]).backward()
            clipped += nn.utils.clip_grad_norm_(plain.parameters(), 0.5) > 0.5
            optimiser.step()
        with torch.no_grad():
            vals.append(nn.functional.cross_entropy(forward(VAL[0]), VAL[1]).item())
    assert 0 < clipped < epochs * 4, "the case should have steps with and without clipping"

    model, history = fitted([seed], max_epochs=epochs)
    assert [v[0] for v in history.val] == pytest.approx(vals, abs=1e-5)
    assert history.best_epoch == [epochs], "the last epoch should be the best for the weights to be compared"
    ours = [w[0].T for w in model.weights] + [b[0, 0] for b in model.biases]
    theirs = [layer.weight for layer in plain] + [layer.bias for layer in plain]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_losses_are_means_over_all_examples():
    # without learning and dropout the training loss of an epoch is that of the whole set, last small batch included
    model, history = fitted([0, 1], dropout=0.0, lr=0.0, max_epochs=1)
    for losses, over in ((history.train[0], TRAIN), (history.val[0], VAL)):
        expected = soft_label_cross_entropy(model(over[0]), over[1])
        assert losses == pytest.approx(expected.tolist(), abs=1e-6)
        torch.testing.assert_close(evaluate(model, soft_label_cross_entropy, over, batch_size=7), expected)


def scripted(values):
    """A loss whose validation part follows a script, (epochs, S), whatever the network predicts."""
    values = iter(torch.as_tensor(values, dtype=torch.float64))

    def loss(logits, target):
        true = soft_label_cross_entropy(logits, target)
        return true if logits.requires_grad else next(values)

    return loss


def test_each_copy_ends_at_its_own_best_epoch():
    script = [[3.0, 3.0], [2.0, 2.0], [2.5, 1.0], [2.0, 1.5]]  # a tie does not count as better
    model, history = fitted([0, 1], scripted(script), max_epochs=4)
    assert (history.best_epoch, history.best_val) == ([2, 3], [2.0, 1.0])
    assert history.val == script
    assert not model.training
    for member, epoch in enumerate(history.best_epoch):
        # the network as it stood: one that was stopped there
        stopped, _ = fitted([0, 1], scripted(torch.arange(epoch, 0.0, -1)[:, None].expand(-1, 2)), max_epochs=epoch)
        torch.testing.assert_close(parameters(model, member), parameters(stopped, member), rtol=0, atol=0)


def test_training_ends_when_no_copy_has_improved_for_patience_epochs():
    falling_then_flat = [[3.0, 3.0], [2.0, 3.0], [2.0, 3.0], [2.0, 2.0], [2.0, 2.0], [2.0, 2.0]] + 9 * [[2.0, 2.0]]
    _, history = fitted([0, 1], scripted(falling_then_flat), max_epochs=15, patience=3)
    assert len(history.val) == 4 + 3
    assert history.best_epoch == [2, 4]


@pytest.mark.parametrize(
    ("is_val", "value", "message"),
    [(False, "nan", "training loss of copy 1 is nan"), (True, "inf", "validation loss of copy 1 is inf")],
)
def test_a_loss_that_is_not_a_number_ends_training(is_val, value, message, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    seen = []

    def loss(logits, target):
        seen.append(not logits.requires_grad)
        bad = seen[-1] == is_val and sum(seen) == 2 + is_val  # in the third epoch
        return soft_label_cross_entropy(logits, target) * torch.tensor([1, float(value) if bad else 1])

    with pytest.raises(FloatingPointError, match=f"my fit: the {message} in epoch 3"):
        fitted([0, 1], loss, checkpoint=tmp_path / "fit", label="my fit")
    assert len(torch.load(tmp_path / "fit", weights_only=True)["history"]["val"]) == 2


class Epochs:
    """The loss, which counts the epochs and is interrupted in the one after `last`."""

    def __init__(self, last=None):
        self.seen, self.last = 0, last

    def __call__(self, logits, target):
        self.seen += not logits.requires_grad
        if self.seen == self.last and logits.requires_grad:
            raise KeyboardInterrupt
        return soft_label_cross_entropy(logits, target)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """The checkpoint of a fit that was interrupted in its fourth epoch."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    path = tmp_path / "folder" / "fit.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        fitted([0, 1], Epochs(last=3), checkpoint=path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return path


def test_a_resumed_fit_is_bit_for_bit_the_uninterrupted_one(checkpoint):
    (whole, history), epochs = fitted([0, 1]), Epochs()
    state = torch.load(checkpoint, weights_only=True)
    state["history"]["seconds"] = 1000.0
    torch.save(state, checkpoint)
    resumed, its_history = fitted([0, 1], epochs, checkpoint=checkpoint)
    assert epochs.seen == 8 - 3 and history == its_history
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert 1000 < its_history.seconds < 1060, "they add up"
    assert not checkpoint.exists()


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def code(content):
    """A checkpoint that would run code."""

    class Payload:
        def __reduce__(self):
            return (pytest.fail, ("the checkpoint ran code",))

    file = io.BytesIO()
    torch.save({"model": Payload()}, file)
    return file.getvalue()


@pytest.mark.parametrize("damage", [cut, flip, code, lambda content: b"", lambda content: pickle.dumps({"model": 1})])
def test_a_damaged_checkpoint_starts_the_fit_anew(checkpoint, damage):
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.warns(UserWarning, match=r"fit\.checkpoint is damaged \(.+\); training starts anew"):
        model, history = fitted([0, 1], checkpoint=checkpoint)
    whole, _ = fitted([0, 1])
    assert len(history.val) == 8
    assert torch.equal(parameters(model), parameters(whole))
    assert not checkpoint.exists()


def test_a_checkpoint_of_another_network_is_refused(checkpoint):
    with pytest.raises(ValueError, match="checkpoint of another network or fit: delete it"):
        fitted([0, 1, 2], checkpoint=checkpoint)
    assert checkpoint.exists()


def test_without_a_checkpoint_file_there_is_no_warning(tmp_path, recwarn):
    fitted([0], checkpoint=tmp_path / "none", max_epochs=1)
    assert list(tmp_path.iterdir()) == [] and not recwarn.list


def test_generators_repeat_and_their_streams_are_unrelated():
    seeds, streams, n = range(20), (0, 1, 10, 11, 20), 1000
    draws = {
        (seed, stream): torch.randn(n, generator=g)
        for stream in streams
        for seed, g in zip(seeds, generators(list(seeds), stream), strict=True)
    }
    assert torch.equal(draws[3, 10], torch.randn(n, generator=generators([3], 10)[0]))
    correlation = torch.corrcoef(torch.stack(list(draws.values()))) - torch.eye(len(draws))
    # 4,950 pairs of standard error 1 / sqrt(n): the largest stays below 5 of them (p = .003)
    assert correlation.abs().max() < 5 / n**0.5


def test_minibatches_pass_over_small_sets_until_an_epoch_is_full():
    rows = [torch.tensor([5, 7, 9]), torch.arange(20, 28)]
    epoch = minibatches(rows, generators([0, 1]), 3, length=8)
    first, second = (torch.cat(list(epoch()), 1) for _ in range(2))
    assert [b.shape for b in epoch()] == [(2, 3), (2, 3), (2, 2)]
    small, large = first
    assert sorted(small[:3].tolist()) == sorted(small[3:6].tolist()) == [5, 7, 9] and len(set(small[6:].tolist())) == 2
    assert sorted(large.tolist()) == list(range(20, 28)) and not torch.equal(first, second)
    (one,) = minibatches(torch.arange(4), generators([0])[0], 9)()
    assert sorted(one.tolist()) == [0, 1, 2, 3]


def line(steps, **options):
    """One weight that a gradient of 1 moves by -1 a step, from 0; one step an epoch."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    settings = {"epochs": steps, "optimiser": lambda p: torch.optim.SGD(p, lr=1.0)} | options
    history = fit(model, lambda rows: model.weight.sum(), lambda: [torch.arange(2)], **settings)
    return model.weight.item(), history


def test_the_best_epoch_is_kept_or_the_last_if_asked_or_without_validation():
    weight, history = line(4)
    assert weight == -4 and history.best_epoch == [4] and history.val == []
    assert history.train == [[0.0], [-1.0], [-2.0], [-3.0]]
    values = iter([3.0, 1.0, 2.0] * 2)
    options = {"validate": lambda: torch.tensor(next(values))}
    weight, history = line(3, **options)
    assert weight == -2 and (history.best_epoch, history.best_val) == ([2], [1.0])
    weight, history = line(3, keep_best=False, **options)
    assert weight == -3 and history.best_epoch == [3] and history.val == [[3.0], [1.0], [2.0]]


def test_a_caller_may_stop_it_and_schedule_its_rate():
    weight, history = line(9, stop=lambda history: len(history.train) == 2)
    assert weight == -2 and len(history.train) == 2
    schedule = lambda optimiser: torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5**step)  # noqa: E731
    assert line(3, schedule=schedule)[0] == -1.75, "it moves with each step"


def test_what_is_not_to_be_trained_stays_as_it_is():
    model, (x, y), batches = network([0, 1]), TRAIN, minibatches([torch.arange(50)] * 2, generators([0, 1]), 10)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.requires_grad_(False).weights[2].requires_grad_()
    model.biases[2].requires_grad_()
    options = {"epochs": 1, "optimiser": lambda p: torch.optim.SGD(p, lr=0.1)}
    fit(model, lambda batch: soft_label_cross_entropy(model(x[batch]), y[batch]), batches, **options)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, start[name])}
    assert moved == {"weights.2", "biases.2"}


def test_copies_may_have_epochs_of_their_own():
    model = nn.ParameterList([torch.zeros(2)])
    options = {"epochs": [1, 3], "optimiser": lambda p: torch.optim.SGD(p, lr=1.0)}
    history = fit(model, lambda _: model[0] * 1, lambda: [torch.zeros(2, 1, dtype=torch.int64)], **options)
    assert model[0].tolist() == [-1, -3] and history.best_epoch == [1, 3]
