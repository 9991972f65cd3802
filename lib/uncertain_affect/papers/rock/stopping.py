"""Median stopping: a trial that falls behind those before it is not trained to its end."""

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

FIRST, EVERY = 5, 2  # epochs after which the rule is applied (HAN-ROCK, section 4.4)


def falls_behind(curve: Sequence[float], completed: Sequence[Sequence[float]]) -> bool:
    """Whether the median stopping rule stops a trial after s steps (Golovin et al. 2017, Google Vizier, section 3.2.1).

    It does if the best objective so far is worse than the median, over completed trials, of the running average of
    their objective up to step s. Greater is better; without completed trials nothing stops.

    >>> falls_behind([0.1, 0.3], completed=[[0.2, 0.4, 0.9], [0.5, 0.5, 0.5]])  # the median of 0.3 and 0.5 is 0.4
    True

    Args:
        curve: (s,), the trial's objective at steps 1 to s.
        completed: the objective of each completed trial at all its steps.
    """
    averages = [np.mean(other[: len(curve)]) for other in completed]
    return bool(averages and max(curve) < np.median(averages))


class MedianStopping(optuna.pruners.BasePruner):
    """:func:`falls_behind`, applied after epochs 5, 7, 9, ...

    Optuna's own `MedianPruner` compares with the median of the others' objective *at* the step, not of their averages
    up to it.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if trial.last_step < FIRST or (trial.last_step - FIRST) % EVERY:
            return False
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        own, *others = ([values for _, values in sorted(t.intermediate_values.items())] for t in (trial, *completed))
        return falls_behind(own, others)
