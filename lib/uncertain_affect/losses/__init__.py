"""Losses, one family per module, under the papers' names.

Each is a mean over examples, and raises ``ValueError`` where there are none, but for those of `rock`, to which targets
that nobody has cost nothing. Classes and occurrences are checked. NaN and infinity among predictions and
numbers to predict are not looked for, which would cost as much as some of the losses: what they give is not finite
either, and `training.fit` stops there.
"""

# ruff: noqa: F401 - what is imported here is what the package offers

from uncertain_affect.losses import rock
from uncertain_affect.losses.distill import (
    TaskBalancer,
    au_distillation,
    au_loss,
    balancing_trace,
    ccc_loss,
    class_weights,
    expr_distillation,
    expr_loss,
    landmark_loss,
    multitask_loss,
    positive_weights,
    va_distillation,
    va_loss,
)
from uncertain_affect.losses.pen import (
    affect_squared_error,
    gate_activation_l1,
    gate_cross_entropy,
    pen_adaptation_loss,
    pen_gate_loss,
    pen_source_loss,
)
from uncertain_affect.losses.ugn import action_unit_cross_entropy, occurrence_weights
from uncertain_affect.losses.uncnet import soft_label_cross_entropy
