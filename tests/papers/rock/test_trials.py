"""Trials: what they draw, their networks, and how these are trained."""

import dataclasses

import numpy as np
import optuna
import pytest
import torch

from uncertain_affect.models.rock import FlatHan, HanRock, contexts
from uncertain_affect.papers import rock
from uncertain_affect.papers.rock import evidence, search

from .conftest import FLAT, NONE, ROCK


def drawn(problem, cell, settings, n=12, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [search.suggest(study.ask(), problem, cell, settings, seed) for _ in range(n)]


def fixed(problem, cell, settings, **more):
    given = {"lr": 0.02, "batch_size": 32, "l2": 0.0, "content_size": 2, "gru_dropout": 0.1, "recurrent_dropout": 0.1}
    return dataclasses.replace(drawn(problem, cell, settings, 1)[0], **given | more)


def network(problem, cell, settings, trial=None):
    trial = trial or fixed(problem, cell, settings)
    return search.network(problem, cell, settings, trial, torch.Generator().manual_seed(0))


def test_trials_lie_in_table_6_and_schemes_take_turns(emotion):
    paper = rock.settings("full")
    found = drawn(emotion, ROCK, paper, 60)
    for name in ("lr", "batch_size", "content_size", "gru_dropout", "recurrent_dropout"):
        low, high = getattr(paper, name)
        values = [getattr(t, name) for t in found]
        assert low <= min(values) <= max(values) <= high
    l2 = np.array([t.l2 for t in found])
    assert 15 < (l2 == 0).sum() < 45
    assert ((l2 == 0) | ((l2 >= 1e-6) & (l2 <= 0.5))).all()
    assert [t.scheme for t in found] == ["random", "linear", "softmax"] * 20
    assert all(0.5 <= t.weights[0] <= 0.99 for t in found)
    assert all(sum(t.weights) == pytest.approx(1) for t in found)


def test_cells_share_their_trials_and_removed_families_have_no_weight(emotion, settings):
    every, ap, none = (drawn(emotion, cell, settings) for cell in (ROCK, rock.Cell("rock", 256, "ap"), NONE))
    for a, b, c in zip(every, ap, none, strict=True):
        first, *others = (dataclasses.replace(trial, weights=()) for trial in (a, b, c))
        assert others == [first, first]
        assert a.weights[0] == pytest.approx(b.weights[0])
        assert set(b.weights[9:]) == {0.0}
        assert sum(b.weights) == pytest.approx(1)
        assert c.weights == (1.0, *[0.0] * 16)


def test_networks_have_the_sizes_that_are_printed_and_numbers_start_at_their_mean(emotion, valence, settings):
    net = network(emotion, rock.Cell("rock", 1, "ap"), settings)
    assert isinstance(net, HanRock)
    assert net.primary.weight_hh.shape[-1] == 1
    assert net.auxiliary.weight_hh.shape[-1] == settings.total - 1
    assert isinstance(network(emotion, FLAT, settings), FlatHan)
    means = valence.targets[valence.rows["train"]].nanmean(0)
    assert torch.allclose(network(valence, ROCK, settings).heads.value_bias, means)


@pytest.mark.parametrize("run_length", [1, 4])
def test_an_epoch_sees_every_training_turn_once_in_runs(emotion, run_length):
    g = torch.Generator().manual_seed(0)
    orders = [search._order(emotion, run_length, g).numpy() for _ in range(3)]
    for order in orders:
        assert sorted(order) == emotion.rows["train"].tolist()
    assert not np.array_equal(orders[0], orders[1])
    place = np.searchsorted(emotion.rows["train"], orders[0])
    neighbours = (np.diff(place) == 1).mean()
    assert neighbours < 0.1 if run_length == 1 else 0.6 < neighbours < 0.8


def test_training_returns_the_best_epoch(valence, settings):
    trial = fixed(valence, ROCK, settings)
    net, out = search.train(valence, ROCK, settings, trial, (0, 0))
    assert out["curve"].shape == out["losses"].shape == (6,)
    assert out["epoch"][0] == out["curve"].argmax() + 1
    assert out["dev"][0] == out["curve"].max()
    assert rock.score(valence, out["test"], "test") == pytest.approx(out["score"][0])
    context = contexts(valence.dialogue, trial.content_size)
    at_best = {split: search.predict(net, valence, valence.tokens, context, split) for split in ("val", "test")}
    assert rock.score(valence, at_best["val"], "val") == pytest.approx(out["dev"][0])
    np.testing.assert_array_equal(at_best["test"], out["test"])
    assert out["losses"][-1] < out["losses"][0]
    assert out["parameters"][0] == sum(p.numel() for p in net.parameters())


def test_training_depends_on_its_seed_alone(emotion, settings):
    trial, short = fixed(emotion, ROCK, settings), dataclasses.replace(settings, max_epochs=2)
    found = []
    for n, seed in enumerate(((3, 1), (3, 1), (3, 2))):
        torch.manual_seed(n)
        found.append(search.train(emotion, ROCK, short, trial, seed)[1]["test"])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_strong_l2_shrinks_the_weights(valence, settings):
    plain, shrunk = (
        search.train(valence, ROCK, settings, fixed(valence, ROCK, settings, l2=l2), (0, 0))[0] for l2 in (0.0, 0.5)
    )
    assert shrunk.primary.weight_hh.norm() < 0.9 * plain.primary.weight_hh.norm()


@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_vectors_stay_and_others_learn(valence, settings, freeze):
    s = dataclasses.replace(settings, freeze=freeze, max_epochs=1)
    net, _ = search.train(valence, ROCK, s, fixed(valence, ROCK, s), (0, 0))
    assert torch.equal(net.embedding.weight, valence.embedding) == freeze


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_trial(valence, settings):
    broken = dataclasses.replace(valence, embedding=valence.embedding * torch.nan)
    with pytest.raises(FloatingPointError, match=r"SEMAINE valence, Cell.* Trial.*: the training loss .* is nan"):
        search.train(broken, ROCK, settings, fixed(valence, ROCK, settings), (0, 0))


def test_levels_by_hand():
    weights = np.array([1 - 2, 1 - 2, 1 - 2, 1, 1, 3, 5.0])
    z = (weights - weights.mean()) / weights.std()
    assert evidence.attention_levels(weights).tolist() == [int(np.clip(np.floor(v) + 1, 0, 3)) for v in z]
    assert evidence.attention_levels([0.2, 0.2, 0.2]).tolist() == [0, 0, 0]
    # an edge belongs to the level above it: z = -1, 1 and 0, and -1 and 1
    assert evidence.attention_levels([-1.0, 1.0, 0.0]).tolist()[2] == 1
    assert evidence.attention_levels([-1.0, 1.0]).tolist() == [0, 2]
    assert evidence.LEVELS == ("none", "low", "medium", "high")


def test_history_and_second_words_by_hand():
    attention = evidence.Attention(
        context=np.array([[3, 4, 5], [7, -1, -1]]),
        words=np.array([[[0.2, 0.5, 0.3], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0]], [[0.1, 0.8, 0.1], [0, 0, 0], [0, 0, 0]]]),
        turns=np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]]),
        n_words=np.array([[3, 2, 1], [3, 0, 0]]),
    )
    assert attention.history_minus_current() == pytest.approx([3 * (0.4 - 0.2), np.nan], nan_ok=True)
    assert attention.history_share() == pytest.approx([0.8, np.nan], nan_ok=True)
    # .5 - .25 of three words and .4 - .6 of two; a turn of one word has no other
    assert attention.second_word_minus_others() == pytest.approx([(3 * 0.25 - 2 * 0.2) / 2, 3 * (0.8 - 0.1)])


def test_attention_of_a_network_sums_to_one(emotion, settings):
    trial = fixed(emotion, ROCK, settings, content_size=3)
    found = evidence.attention_weights(network(emotion, ROCK, settings, trial), emotion, trial, emotion.rows["test"])
    assert found.turns.sum(1) == pytest.approx(np.ones(len(found.turns)), abs=1e-5)
    there = found.context >= 0
    assert found.words.sum(2)[there] == pytest.approx(np.ones(there.sum()), abs=1e-5)
    np.testing.assert_array_equal(found.n_words > 0, there)
