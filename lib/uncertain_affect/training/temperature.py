"""Temperature scaling: one number that logits are divided by, fitted on held-out examples."""

import math
from collections.abc import Callable

from scipy.optimize import minimize_scalar

BOUNDS = 0.05, 20


def fit_temperature(nll: Callable[[float], float]) -> float:
    """The temperature within `BOUNDS` that minimises a loss, by a bounded scalar search on its logarithm.

    Args:
        nll: negative log-likelihood of held-out labels as a function of the temperature.

    >>> round(fit_temperature(lambda temperature: (temperature - 3) ** 2), 2)
    3.0
    """
    low, high = map(math.log, BOUNDS)
    return math.exp(minimize_scalar(lambda log_t: nll(math.exp(log_t)), bounds=(low, high), method="bounded").x)
