"""Temperature scaling: one number that logits are divided by (Guo et al. 2017)."""

import math
from collections.abc import Callable

from scipy.optimize import minimize_scalar


def fit_temperature(nll: Callable[[float], float]) -> float:
    """The temperature T, from .05 to 20, at which a loss is smallest, found by bounded search over log T.

    Args:
        nll: the loss at log T.

    >>> round(fit_temperature(lambda log_t: (log_t - math.log(3)) ** 2), 3)
    3.0
    """
    return math.exp(minimize_scalar(nll, bounds=(math.log(0.05), math.log(20)), method="bounded").x)
