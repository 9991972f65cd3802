"""What the plain baselines of several papers share: a regression's probabilities, where training may lack classes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def class_probabilities(model, x: ArrayLike, y: ArrayLike, at: ArrayLike, n_classes: int = 2) -> NDArray[np.float64]:
    """Probabilities (n, C) of the classes 0 to C - 1 by a scikit-learn classifier.

    A class that training lacks has none; where it has but one, that one is certain, and nothing is fitted.

    Args:
        model: is fitted.
        x, y: (N, D) and int (N,), of training.
        at: (n, D).
    """
    present, found = np.unique(y).astype(int), np.zeros((len(at), n_classes))
    found[:, present] = model.fit(x, y).predict_proba(at) if len(present) > 1 else 1.0
    return found
