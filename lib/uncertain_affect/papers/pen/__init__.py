"""PEN's protocol: experts for source people, adapted to target people with n% of their frames, on frozen features.

Source: sections 3.2 to 4 of the paper and its Algorithm 1, corrected: step 3 optimises (W^e, W^c) where (W^s, W^c) is
printed, and inference is on target frames outside the adaptation set (the fixed other half), not on the intersection.
"""

# ruff: noqa: F401 - the names of the package, from its modules
from uncertain_affect.papers.pen.data import DIMENSIONS, PenSettings, Replicate, frames, load, roles, settings
from uncertain_affect.papers.pen.training import CONTROLS, MODELS, adapt, choose, predict, predict_rows, train_source
