"""Losses, one family per module, under the papers' names."""

from uncertain_affect.losses.soft_labels import soft_label_cross_entropy

__all__ = ["soft_label_cross_entropy"]
