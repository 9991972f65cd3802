"""Every way to know when not to trust a prediction, on the same frozen features and under the same measures.

All networks are the perceptron of UncNet with another last layer, trained by the one fit loop, but for the graph
(UGN) and the mixture of experts (PEN), which are their papers' own, on the same features. What differs between methods
is what they do, never what they see. Every method predicts with T samples, so that one decomposition
(`metrics.entropy_decomposition`) serves them all.

Every task has A questions about an example, each with C answers: the expression (A = 1), whether each action unit is
there (C = 2), in which part of the scale valence and arousal lie (A = 2).
"""

# ruff: noqa: F401 - the names of the package, from its modules
from uncertain_affect.papers.across.comparison import compare_methods, decided, measured, shift_auroc, uncertainties
from uncertain_affect.papers.across.methods import METHODS, SAMPLED, own_predictions, predict_all
from uncertain_affect.papers.across.networks import AcrossSettings, PredictionTask, settings
from uncertain_affect.papers.across.tasks import FRACTIONS, NOISY, THINNED, expression, known, load
