"""Searches: the stopping rule, what trials depend on, interruption, damage, deadlines, and the best trial."""

import dataclasses
import itertools
import time

import numpy as np
import pytest

from uncertain_affect.compute import parallel
from uncertain_affect.models.rock import contexts
from uncertain_affect.papers import rock
from uncertain_affect.papers.rock import search

from .conftest import FLAT, NONE, ROCK

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # Optuna's, if an epoch is reported twice


class Toy:
    """In the place of training: the score is the GRU dropout drawn, with a ripple. Counts what it trains."""

    def __init__(self, breaks_at=None):
        self.trained, self.breaks_at = [], breaks_at

    def __call__(self, problem, cell, settings, trial, seed, stop, device="cpu"):
        self.trained.append(seed[1])
        if len(self.trained) == self.breaks_at:
            raise KeyboardInterrupt
        curve, stopped = [], False
        while len(curve) < 9 and not stopped:
            curve.append(trial.gru_dropout + 0.01 * np.sin(len(curve)))
            stopped = stop(len(curve), curve[-1])
        measured = {"dev": max(curve), "score": 0, "epoch": 1, "seconds": 0, "parameters": 0, "stopped": stopped}
        return None, {"curve": np.array(curve), "test": np.zeros(1)} | {k: np.array([v]) for k, v in measured.items()}


@pytest.fixture
def toy(empty_cache, emotion, settings, monkeypatch):
    """A search of toys, from the cache of a name, by a toy of one's own where one is given."""

    def of_toys(n_trials=8, seed=3, toy=None, cache_name="toys", **more):
        monkeypatch.setattr(search, "train", toy or Toy())
        monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(empty_cache / cache_name))
        return search.search(emotion, ROCK, dataclasses.replace(settings, n_trials=n_trials), seed, **more)

    return of_toys


def same(a, b):
    np.testing.assert_array_equal(a.test, b.test)
    np.testing.assert_array_equal(np.concatenate(a.curves), np.concatenate(b.curves))
    assert a.trials == b.trials
    assert a.table.drop(columns="seconds").equals(b.table.drop(columns="seconds"))


def test_the_rule_by_hand():
    completed = [[1, 2, 3], [2, 2, 2], [0, 0, 9]]
    # after two steps the running averages are 1.5, 2 and 0, and their median 1.5
    assert search.falls_behind([1.4, 1.0], completed)
    assert not search.falls_behind([1.5, 0.0], completed)  # strictly worse, and its best counts
    # after three they are 2, 2 and 3
    assert search.falls_behind([1.5, 0.0, 1.9], completed)
    assert not search.falls_behind([1.5, 2.0, 0.0], completed)
    # not Optuna's median of values at the step: 4 > 3, although 4 < 9
    assert not search.falls_behind([4.0, 4.0, 4.0], [[0.0, 0.0, 9.0]])
    assert not search.falls_behind([-1e9], [])


def test_a_search_stops_bad_trials_after_epochs_5_7_and_9(toy):
    found = toy(12)
    stopped = found.table["stopped"].tolist()
    assert any(stopped) and not stopped[0]
    for i, curve in enumerate(found.curves):  # the rule, once more from what is recorded
        completed = [c for c, s in zip(found.curves[:i], stopped, strict=False) if not s]
        short = [curve[:epochs] for epochs in (5, 7, 9) if epochs <= len(curve)]
        behind = [len(start) for start in short if search.falls_behind(start, completed)]
        assert behind == ([len(curve)] if stopped[i] else [])


def test_a_search_goes_on_where_it_was_interrupted(toy):
    whole, breaks, longer = toy(cache_name="whole"), Toy(breaks_at=4), Toy()
    with pytest.raises(KeyboardInterrupt):
        toy(toy=breaks)
    same(toy(toy=breaks), whole)
    assert breaks.trained == [0, 1, 2, 3, 3, 4, 5, 6, 7]  # the interrupted one alone is run again
    assert toy(10, toy=longer).trials[:8] == whole.trials
    assert longer.trained == [8, 9]
    assert not set(toy(seed=4).trials) & set(whole.trials)


def test_a_damaged_trial_is_made_again_and_stops_where_it_did(toy, empty_cache):
    whole = toy()
    first_stopped = int(whole.table["stopped"].argmax())
    for index in {0, first_stopped}:
        (file,) = empty_cache.glob(f"toys/rock/*/trials/{index:03}/test.npy")
        file.write_bytes(file.read_bytes()[:-1] + b"\1")
        again = Toy()
        with pytest.warns(UserWarning, match="is damaged .* and is built anew"):
            same(toy(toy=again), whole)
        assert again.trained == [index]


def test_nothing_is_trained_after_the_deadline(toy):
    late = Toy()
    assert toy(2, toy=late, deadline=time.time() - 1) is None
    toy(2)
    assert toy(3, toy=late, deadline=time.time() - 1) is None
    # what is in the cache does not count
    assert len(toy(2, toy=late, deadline=-np.inf).trials) == 2
    assert late.trained == []


def test_a_budget_leaves_out_what_it_does_not_reach(emotion, settings, empty_cache):
    search.search(emotion, NONE, settings, 0)
    found = rock.search_all([(emotion, cell, 0) for cell in (NONE, ROCK)], settings, budget_s=-1)
    assert list(found) == [(emotion.name, NONE, 0)]


def test_cells_that_differ_have_searches_of_their_own(emotion, valence, settings):
    other = dataclasses.replace(settings, attention=5)
    cells = (ROCK, NONE, FLAT, rock.Cell("rock", 1, "aphf"))
    every = itertools.product((emotion, valence), cells, (settings, other), (0, 1), ("cpu",))
    assert len({search._key(*case) for case in every}) == 32
    more = dataclasses.replace(settings, n_trials=9, seeds=(5,))
    assert search._key(emotion, ROCK, more, 0, "cpu") == search._key(emotion, ROCK, settings, 0, "cpu")


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(emotion, valence, settings, empty_cache, monkeypatch):
    jobs = [(p, cell, seed) for p in (emotion, valence) for cell in (ROCK, NONE) for seed in settings.seeds]
    one = rock.search_all(jobs, settings)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(empty_cache / "other"))
    with parallel.local(2) as client, parallel.environment(UNCERTAIN_AFFECT_SCHEDULER=client.scheduler.address):
        two = rock.search_all(jobs, settings)
    assert list(one) == list(two) == [(p.name, cell, seed) for p, cell, seed in jobs]
    for key in one:
        same(one[key], two[key])


def test_the_cheapest_cells_of_five_seeds_come_first(emotion):
    s = dataclasses.replace(rock.settings("full", 0, "cpu"), seeds=tuple(range(7)))
    cells = [rock.Cell("rock", 1, "ap"), rock.Cell("flat", 256, "ap"), rock.Cell("rock", 256, "ap")]
    order = [(cell, seed) for _, cell, seed in rock.in_order([(emotion, c, i) for c in cells for i in s.seeds], s)]
    assert order == [(c, i) for block in (range(5), range(5, 7)) for c in (cells[1], cells[2], cells[0]) for i in block]


def test_the_best_trial_is_chosen_and_its_network_can_be_had_again(emotion, settings, empty_cache):
    found = search.search(emotion, ROCK, settings, 0)
    assert list(found.table.index) == [0, 1]
    assert found.best == found.table["dev"].to_numpy().argmax()
    assert found.test.shape == (2, len(emotion.rows["test"]), 4)
    np.testing.assert_allclose(found.test.sum(-1), 1, rtol=1e-5)
    context = contexts(emotion.dialogue, found.trials[found.best].content_size)
    net = rock.best_network(emotion, found, settings)
    predictions = search.predict(net, emotion, emotion.tokens, context, "test")
    np.testing.assert_allclose(predictions, found.test[found.best], atol=1e-6)
    np.testing.assert_allclose(search.retrain(emotion, found, settings), predictions, atol=1e-6)
    assert rock.retrain_all({"all": (emotion, found)}, settings)["all"].tolist() == predictions.tolist()
