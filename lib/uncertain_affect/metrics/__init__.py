"""Metrics, one family per module, under the papers' names.

They take probabilities (N, C) and either integer labels (N,) or votes (N, C), NumPy or torch alike. Those
over a set return a float computed in float64; those per example an (N,) array or tensor of the input's kind
and dtype. Sample axes come first: (T, N, C).

No example at all, NaN, negative probabilities and those that do not sum to one within 1e-4 raise ``ValueError``; rows
of a softmax in half precision are too coarse for that. NaN is a result only where the docstring says so.
"""

# ruff: noqa: F401 - what is imported here is what the package offers

from uncertain_affect.metrics.brier import BrierDecomposition, brier_decomposition, brier_score
from uncertain_affect.metrics.calibration import (
    Reference,
    adaptive_calibration_error,
    calibrated_reference,
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
from uncertain_affect.metrics.sums import (
    ccc_from_sums,
    f1_from_counts,
    f1_from_sums,
    f1_sums,
    moment_sums,
    pearson_from_sums,
    ratio,
    ratio_sums,
    rmse_from_sums,
)
from uncertain_affect.metrics.uncertainty import (
    EntropyDecomposition,
    bernoulli_entropy_decomposition,
    entropy,
    entropy_decomposition,
)
