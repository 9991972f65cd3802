"""What plain baselines share."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from uncertain_affect.papers.baselines import class_probabilities

X = np.random.default_rng(0).normal(size=(40, 3))


def test_a_class_that_training_lacks_has_no_probability():
    y = np.where(X[:, 0] > 0, 2, 0)
    found = class_probabilities(LogisticRegression(), X, y, X[:5], 4)
    assert found[:, [0, 2]] == pytest.approx(LogisticRegression().fit(X, y).predict_proba(X[:5]))
    assert (found[:, [1, 3]] == 0).all()


def test_the_only_class_is_certain():
    assert class_probabilities(None, X, np.ones(40), X[:2]).tolist() == [[0, 1], [0, 1]]
