"""Comparisons of cells, against scikit-learn, cases by hand and a plain loop."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from uncertain_affect.papers import rock
from uncertain_affect.papers.rock.comparisons import tuning_bootstrap

from .conftest import NONE, ROCK


def test_accuracy_and_f1_agree_with_scikit_learn(emotion):
    rng = np.random.default_rng(0)
    arms = [rng.dirichlet(np.ones(4), size=(2, len(emotion.rows["test"]))) for _ in range(2)]
    truth = emotion.truth("test")
    assert rock.score(emotion, arms[0][0], "test") == metrics.accuracy_score(truth, arms[0][0].argmax(-1))
    gains = rock.class_gains(emotion, *arms)
    f1 = [np.mean([metrics.f1_score(truth, p, average=None) for p in arm.argmax(-1)], 0) for arm in arms]
    assert [e.estimate for e in gains.values()] == pytest.approx(f1[0] - f1[1])
    assert list(gains) == ["angry", "happy", "neutral", "sad"]
    angry, happy, neutral, sad = f1[0] - f1[1]
    contrast = rock.low_resource_gain(emotion, *arms)
    assert contrast.estimate == pytest.approx((sad + angry) / 2 - (happy + neutral) / 2)


def test_an_improvement_is_positive_where_the_challenger_is_better(emotion, valence):
    truth = np.eye(4)[emotion.truth("test").astype(int)]
    right, wrong = np.stack([truth, truth]), np.stack([1 - truth, 1 - truth])
    assert rock.improvement(emotion, right, wrong).estimate == 1
    y = valence.truth("test")
    near, far = np.stack([y + 0.1, y - 0.1]), np.stack([y + 0.3, y + 0.5])
    effect = rock.improvement(valence, near, far)
    assert effect.estimate == pytest.approx(0.3)
    assert effect.n_clusters == len(np.unique(valence.dialogue[valence.rows["test"]]))


def stub(dev, test):
    return rock.Search(ROCK, 0, pd.DataFrame({"dev": dev, "test": test}), [], [], np.array(test)[:, None])


def test_choosing_is_on_development_data_and_seeds_are_shared():
    a, b = stub([0.3, 0.5, 0.5], [9, 1, 2]), stub([0.6, 0.1, 0.1], [4, 5, 6])
    assert rock.chosen([a, b]).tolist() == [[1], [4]]  # of equal ones the first
    assert rock.better_of([a, b], [b, a]) == [b, b]
    found = {("t", ROCK, 0): a, ("t", ROCK, 1): b, ("t", NONE, 1): a, ("u", NONE, 0): b}
    assert rock.common(found, "t", ROCK, NONE) == [[b], [a]]
    assert rock.common(found, "u", ROCK, NONE) == [[], []]


def test_the_papers_bootstrap_by_hand_and_as_a_plain_loop():
    rng = np.random.default_rng(0)
    assert set(tuning_bootstrap([0.5], [0.2], 10, rng)) == {0.2}
    # of two trials the better is among two draws in three of four cases
    drawn = tuning_bootstrap([0.1, 0.9], [7.0, 3.0], 40_000, rng)
    assert set(drawn) == {3.0, 7.0}
    assert (drawn == 3.0).mean() == pytest.approx(0.75, abs=0.01)
    dev, test = np.array([0.2, 0.7, 0.7, 0.1, 0.5]), np.arange(5.0)
    fast = tuning_bootstrap(dev, test, 300, np.random.default_rng(3))
    draws = np.random.default_rng(3).integers(5, size=(300, 5))
    slow = [test[min(row, key=lambda i: (-dev[i], i))] for row in draws]
    assert fast.tolist() == slow


def test_a_list_of_trials_against_itself_is_not_significant():
    rng = np.random.default_rng(0)
    search = stub(rng.normal(size=30), rng.normal(size=30))
    mean, low, high = rock.tuning_interval(search, search, rng)
    assert low < 0 < high and abs(mean) < 0.1
    better = stub(search.table["dev"], search.table["test"] + 100)
    assert rock.tuning_interval(better, search, rng)[1] > 50
