"""Iterative Distillation's protocol: teachers, their ensemble, and students taught by it, three generations long.

Sources: appendices A to C and, where they are silent, the released code (wtomin/UncertainEmotion), whose four
behaviours that differ from the text come back with ``faithful_to_release``.

One trunk per seed (and, with audio, one encoder of sound) is tuned on all tasks at once and frozen; its features are
computed once, and the members of all seeds train side by side on them, generation after generation. With
``end_to_end`` every member trains a network of its own.
"""
# ruff: noqa: F401 - these are the names of the package

from uncertain_affect.papers.distill.metrics import DIMENSIONS, EPS, Metrics, plurality
from uncertain_affect.papers.distill.networks import ensemble, logits, mc_dropout, on_pictures, predict, uncertainty
from uncertain_affect.papers.distill.training import train
from uncertain_affect.papers.distill.trunks import encoders
from uncertain_affect.papers.distill.videos import EXPRESSIONS, load, settings, split_videos
