"""Metrics, one family per module, under the papers' names.

They take probabilities (N, C) and either integer labels (N,) or votes (N, C), NumPy or torch alike. Those
over a set return a float computed in float64; those per example an (N,) array or tensor of the input's kind
and dtype. Sample axes come first: (T, N, C).

No example at all, NaN, negative probabilities and those that do not sum to one within 1e-4 raise ``ValueError``; rows
of a softmax in half precision are too coarse for that. NaN is a result only where the docstring says so.
"""

from uncertain_affect.metrics.brier import BrierDecomposition, brier_decomposition, brier_score
from uncertain_affect.metrics.calibration import (
    adaptive_calibration_error,
    calibration_sums,
    ece_from_sums,
    expected_calibration_error,
    maximum_calibration_error,
    mce_from_sums,
    reliability_curve,
    static_calibration_error,
    thresholded_adaptive_calibration_error,
)
from uncertain_affect.metrics.concordance import ccc, rmse
from uncertain_affect.metrics.disagreement import (
    SplitHalfReliability,
    annotator_disagreement,
    split_half_reliability,
)
from uncertain_affect.metrics.divergence import jensen_shannon_distance, jensen_shannon_divergence
from uncertain_affect.metrics.ranking import area_under_risk_coverage, auroc
from uncertain_affect.metrics.rejection import accuracy_at_coverage, accuracy_rejection_curve, rejection_order
from uncertain_affect.metrics.sums import rmse_from_sums
from uncertain_affect.metrics.uncertainty import (
    EntropyDecomposition,
    bernoulli_entropy_decomposition,
    entropy,
    entropy_decomposition,
)

__all__ = [
    "BrierDecomposition",
    "EntropyDecomposition",
    "SplitHalfReliability",
    "accuracy_at_coverage",
    "accuracy_rejection_curve",
    "adaptive_calibration_error",
    "annotator_disagreement",
    "area_under_risk_coverage",
    "auroc",
    "bernoulli_entropy_decomposition",
    "brier_decomposition",
    "brier_score",
    "calibration_sums",
    "ccc",
    "ece_from_sums",
    "entropy",
    "entropy_decomposition",
    "expected_calibration_error",
    "jensen_shannon_distance",
    "jensen_shannon_divergence",
    "maximum_calibration_error",
    "mce_from_sums",
    "rejection_order",
    "reliability_curve",
    "rmse",
    "rmse_from_sums",
    "split_half_reliability",
    "static_calibration_error",
    "thresholded_adaptive_calibration_error",
]
