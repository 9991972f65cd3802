"""Random search with median stopping: the rule on a hand-worked case, resuming, sharing, and what dies on the way."""

import multiprocessing
import os
import signal
import time

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from uncertain_affect.papers.rock.search import MedianStopping, curve, falls_behind, random_search


def toy(trial, epochs=9):
    """A trial whose objective is what it drew, with a ripple."""
    x = trial.suggest_float("x", 0.0, 1.0)
    for epoch in range(1, epochs + 1):
        trial.report(x + 0.01 * np.sin(epoch), epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return max(curve(trial.study.get_trials(deepcopy=False)[trial.number]))


def summary(trials):
    return [(t.user_attrs["index"], t.params, t.state, curve(t)) for t in trials]


# --- the rule ---------------------------------------------------------------------------------------------


def test_the_rule_by_hand():
    completed = [[1, 2, 3], [2, 2, 2], [0, 0, 9]]
    # after two steps the running averages are 1.5, 2 and 0, and their median 1.5
    assert falls_behind([1.4, 1.0], completed)
    assert not falls_behind([1.5, 0.0], completed)  # strictly worse, and its best counts
    # after three they are 2, 2 and 3
    assert falls_behind([1.5, 0.0, 1.9], completed)
    assert not falls_behind([1.5, 2.0, 0.0], completed)


def test_nothing_stops_before_a_trial_is_complete():
    assert not falls_behind([-1e9], [])


def test_it_is_not_optunas_median_of_values_at_the_step():
    completed = [[0.0, 0.0, 9.0]]
    assert not falls_behind([4.0, 4.0, 4.0], completed)  # 4 > 3, although 4 < 9


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 2**31))
def test_the_rule_is_the_definition(own, n_others, seed):
    others = np.random.default_rng(seed).normal(size=(n_others, 8))
    expected = max(own) < np.median(others[:, : len(own)].mean(1))
    assert falls_behind(own, others.tolist()) == expected


def test_when_it_is_asked():
    pruner = MedianStopping()
    assert [step for step in range(1, 14) if pruner.is_asked(step)] == [5, 7, 9, 11, 13]


# --- searches ---------------------------------------------------------------------------------------------


def test_a_search_stops_bad_trials_at_the_steps_asked(tmp_path):
    trials = random_search(tmp_path, toy, n_trials=12, seed=0, pruner=MedianStopping())
    assert [t.user_attrs["index"] for t in trials] == list(range(12))
    assert trials[0].state == TrialState.COMPLETE
    stopped = [t for t in trials if t.state == TrialState.PRUNED]
    assert stopped
    assert all(len(curve(t)) in (5, 7, 9) for t in stopped)
    for i, trial in enumerate(trials):  # the rule, once more from the records
        completed = [curve(t) for t in trials[:i] if t.state == TrialState.COMPLETE]
        asked = [s for s in (5, 7, 9) if s <= len(curve(trial))]
        behind = [s for s in asked if falls_behind(curve(trial)[:s], completed)]
        assert (behind[:1] == [len(curve(trial))]) == (trial.state == TrialState.PRUNED)


def test_trials_depend_on_seed_and_index_alone(tmp_path):
    a, b, other = (
        random_search(tmp_path / name, toy, n_trials=n, seed=seed)
        for name, n, seed in (("a", 4, 1), ("b", 6, 1), ("c", 4, 2))
    )
    assert summary(a) == summary(b[:4])
    assert summary(a) != summary(other)


def test_a_search_goes_on_where_it_was_interrupted(tmp_path):
    whole = random_search(tmp_path / "whole", toy, n_trials=8, seed=3, pruner=MedianStopping())
    runs = []

    def breaks(trial):
        runs.append(trial.user_attrs["index"])
        if len(runs) == 4:
            raise KeyboardInterrupt
        return toy(trial)

    with pytest.raises(KeyboardInterrupt):
        random_search(tmp_path / "part", breaks, n_trials=8, seed=3, pruner=MedianStopping())
    resumed = random_search(tmp_path / "part", breaks, n_trials=8, seed=3, pruner=MedianStopping())
    assert runs == [0, 1, 2, 3, 3, 4, 5, 6, 7]  # the interrupted one alone is run again
    assert summary(resumed) == summary(whole)


@pytest.mark.parametrize("old", [b'"values":[0.', b'"worker_id"', b"\n{"])
def test_a_search_whose_journal_was_damaged_is_run_again_from_there_on(tmp_path, old):
    whole = summary(random_search(tmp_path, toy, n_trials=8, seed=3, pruner=MedianStopping()))
    journal, ran = tmp_path / "trials.journal", []
    content = journal.read_bytes()
    place = content.index(old, len(content) // 2) + len(old) - 1
    journal.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.warns(UserWarning, match=r"line \d+ of .*trials.journal is damaged; the trials from there on are run"):
        again = random_search(
            tmp_path, lambda trial: ran.append(0) or toy(trial), n_trials=8, seed=3, pruner=MedianStopping()
        )
    assert summary(again) == whole
    assert 0 < len(ran) < 8
    assert summary(random_search(tmp_path, lambda _: pytest.fail("ran"), n_trials=8, seed=3)) == whole


def test_a_finished_search_runs_nothing(tmp_path):
    random_search(tmp_path, toy, n_trials=3, seed=0)
    again = random_search(tmp_path, lambda trial: pytest.fail("ran"), n_trials=3, seed=0)
    assert len(again) == 3


def test_a_deadline_that_has_passed_starts_nothing(tmp_path):
    assert random_search(tmp_path, toy, n_trials=2, seed=0, deadline=time.monotonic() - 1) is None
    assert len(random_search(tmp_path, toy, n_trials=2, seed=0)) == 2


def slow(trial):
    time.sleep(0.05)
    return toy(trial)


def hangs(trial):
    if trial.user_attrs["index"] == 1:
        time.sleep(60)
    return toy(trial)


def work(folder, run):
    random_search(folder, run, n_trials=8, seed=5)


def test_workers_share_a_search(tmp_path):
    alone = random_search(tmp_path / "alone", toy, n_trials=8, seed=5)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(tmp_path / "shared", slow)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    shared = random_search(tmp_path / "shared", lambda trial: pytest.fail("ran"), n_trials=8, seed=5)
    assert summary(shared) == summary(alone)
    journal = (tmp_path / "shared" / "trials.journal").read_text()
    assert len({line.split('"worker_id":')[1].split(",")[0] for line in journal.splitlines()}) >= 2


def test_the_trial_of_a_killed_worker_is_run_again(tmp_path):
    worker = multiprocessing.get_context("fork").Process(target=work, args=(tmp_path, hangs))
    worker.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "1.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    trials = random_search(tmp_path, toy, n_trials=8, seed=5)
    assert summary(trials) == summary(random_search(tmp_path / "alone", toy, n_trials=8, seed=5))
