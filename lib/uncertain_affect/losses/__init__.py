"""Losses, one family per module, under the papers' names."""

from uncertain_affect.losses.action_units import action_unit_cross_entropy, occurrence_weights
from uncertain_affect.losses.experts import (
    affect_squared_error,
    gate_activation_l1,
    gate_cross_entropy,
    pen_adaptation_loss,
    pen_gate_loss,
    pen_source_loss,
)
from uncertain_affect.losses.soft_labels import soft_label_cross_entropy

__all__ = [
    "action_unit_cross_entropy",
    "affect_squared_error",
    "gate_activation_l1",
    "gate_cross_entropy",
    "occurrence_weights",
    "pen_adaptation_loss",
    "pen_gate_loss",
    "pen_source_loss",
    "soft_label_cross_entropy",
]
