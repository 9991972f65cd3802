"""The constants of the simulated world, each with its source.

Marks: *published* (a number or table in print), *derived* (computed from published ones), *chosen* (no source; the
reason is given). They were set from their sources before any claim was judged on the world and are frozen: a test
holds the checksum of this file's values. A claim that does not come out is a result, not a reason to edit here.
"""

import torch

from uncertain_affect.compute.cache import content_key
from uncertain_affect.corpora import bp4d, disfa

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26)  # those that any paper here codes
EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

# --- what feelings look like ---------------------------------------------------------------------------------

# Share of an emotion's published variants that contain each action unit. Published: Matsumoto, Keltner, Shiota,
# O'Sullivan and Frank (2008), as tabulated in lukassnoek/hypothesis-kernel-analysis, data/Matsumoto2008.tsv; contempt
# from Matsumoto and Ekman (2004); the parted lips of happiness from Jack and Schyns' happy models (same repository).
# Units that no paper here codes (22, 27) are left out. "9 or 10" of disgust is one movement, so both count whole.
PROTOTYPES = {
    "neutral": {},
    "happiness": {6: 1.0, 12: 1.0, 25: 0.5},
    "surprise": {1: 1.0, 2: 1.0, 5: 1.0, 25: 0.5, 26: 0.5},
    "sadness": {1: 1.0, 4: 0.5, 15: 1.0, 17: 0.5},
    "anger": {4: 1.0, 5: 0.5, 7: 0.5, 23: 1.0, 24: 1.0},
    "disgust": {9: 1.0, 10: 1.0, 25: 1 / 3, 26: 1 / 3},
    "fear": {1: 1.0, 2: 1.0, 4: 1.0, 5: 1.0, 20: 1.0, 25: 1 / 3, 26: 1 / 3},
    "contempt": {12: 0.5, 14: 1.0},
}
PROTOTYPE = torch.tensor([[PROTOTYPES[e].get(au, 0.0) for au in ACTION_UNITS] for e in EMOTIONS])  # (8, 17)

# Valence and arousal of the emotion words in [-1, 1]. Published: Russell and Mehrabian (1977), means of "happy",
# "surprised", "sad", "angry", "disgusted", "fearful" and "contemptuous"; neutral is the origin.
VALENCE_AROUSAL = torch.tensor(
    [[0.00, 0.00], [0.81, 0.51], [0.40, 0.67], [-0.63, -0.27], [-0.51, 0.59], [-0.60, 0.35], [-0.64, 0.60],
     [-0.23, 0.31]]
)  # fmt: skip

# --- people --------------------------------------------------------------------------------------------------

# Chosen: people differ in how strongly they show what they feel (published in direction only: Kring, Smith and Neale,
# 1994); a log-normal gain with this sd makes the strongest of twenty about three times as expressive as the weakest.
EXPRESSIVENESS_SD = 0.30
# Derived: the sd over people of a unit's resting activity, in intensity steps, with which three folds of 14, 14 and 13
# people differ in base rate as those of BP4D do (root mean square over the 12 units of the sd over folds: 4.0 points).
RESTING_SD = 0.21
# Chosen: how far a person's habitual mood and reading of feelings stray, in units of valence/arousal and of log odds.
MOOD_SD = 0.15
MAPPING_SD = 0.4
# Published: mean f0 of adult speech in read passages, about 120 Hz for men and 210 Hz for women (Baken and Orlikoff,
# 2000); the world has no sexes, so speakers spread evenly between, on a log scale.
PITCH_HZ = (100.0, 230.0)
# Published: average female vocal tracts are about 15% shorter than male ones (Fant, 1966).
FORMANT_SCALE = (0.9, 1.1)
# Published: long-term spectra of speech fall by about 6 to 12 dB an octave (Fant, 1960).
TILT_DB_PER_OCTAVE = (-12.0, -6.0)

# --- feeling over time ---------------------------------------------------------------------------------------

# Chosen: felt affect in the continuous corpora changes over seconds; autocorrelation falls to 1/e after this long.
RELAXATION_S = 4.0
# Chosen: the stationary sd of valence and of arousal within a recording, about half of the distance from a neutral
# feeling to an emotion's.
FEELING_SD = 0.30
# Chosen: how sharply an emotion answers to the nearness of the feeling, in units of valence/arousal.
EMOTION_WIDTH = 0.30
# Chosen: movement that no emotion explains, sd in intensity steps and how long it lasts in a film, correlated within
# the upper and the lower face (units that share muscles move together) at this correlation.
MOVEMENT_SD = 0.5
MOVEMENT_S = 0.5
MOVEMENT_CORRELATION = 0.3
UPPER_FACE = (1, 2, 4, 5, 6, 7, 9)

# --- how films are taken -------------------------------------------------------------------------------------

# Derived: sd of yaw, pitch and roll (rad) of `faces.Nuisance.draw`; a film has the same spread in all.
POSE_SD = (0.25, 0.13, 0.10)
# Chosen: heads turn, and hands pass before faces, within a second or two.
POSE_S, PASSING_S = 1.5, 2.0

# --- what coders count as present ----------------------------------------------------------------------------

# Published: base rates in % over all coded frames, derived exactly from the class weights that
# CVI-SZU/ME-GraphAU publishes (146,847 frames of BP4D, 130,814 of DISFA with intensity >= 2).
BP4D_RATES = {
    1: 21.14, 2: 17.10, 4: 20.26, 6: 46.09, 7: 54.90, 10: 59.43, 12: 56.20, 14: 46.56, 15: 16.94, 17: 34.33,
    23: 16.54, 24: 15.14,
}  # fmt: skip
DISFA_RATES = {1: 4.97, 2: 4.31, 4: 15.24, 6: 7.89, 9: 4.18, 12: 12.88, 25: 27.71, 26: 8.82}
BP4D_THRESHOLD, DISFA_THRESHOLD = 1.0, 2.0  # published coding rules: any visible action; intensity 2 or more
# Chosen: sd of a coder's error at the threshold, in steps of intensity, where nothing hides the unit. Two such coders
# agree on BP4D's units with a mean kappa of about .76, as trained FACS coders do (Sayette et al., 2001: .6 to .9).
CODER_SD = 0.25
LEAST_VISIBLE = 0.2  # chosen: what coders make of hidden units from the frames around them
BP4D_PEOPLE = 41  # published
# Published: feelings that BP4D's eight tasks are to elicit: happiness, sadness, surprise, embarrassment, fear, pain,
# anger, disgust (Zhang et al., 2014); their valence and arousal are the emotions' above, and for embarrassment and
# pain near those of the words (Russell and Mehrabian, 1977).
BP4D_TASKS = VALENCE_AROUSAL[[1, 3, 2, 0, 6, 0, 4, 5]]
BP4D_TASKS[[3, 5]] = torch.tensor([[-0.46, 0.54], [-0.50, 0.30]])
# Published: coded frames of each task over all people, and the frames a second of the cameras.
BP4D_TASK_FRAMES = (20074, 20837, 12821, 20208, 20795, 19553, 20339, 12220)
BP4D_FPS, DISFA_FPS = 25.0, 20.0
# Published: the subject-exclusive folds used since JAA-Net (Shao et al., 2018), as for the corpora themselves.
BP4D_FOLDS, DISFA_FOLDS = bp4d.FOLDS, disfa.FOLDS
DISFA_FRAMES = 4845
# Published: DISFA's people watched clips made for happiness, surprise, fear, disgust and sadness (Mavadati et al.,
# 2013); chosen: their order, and that a clip moves its watchers half as far as the word says.
DISFA_CLIPS = 0.5 * VALENCE_AROUSAL[[1, 1, 2, 6, 5, 5, 3, 3, 2]]
# Chosen: severity of the conditions, see `faces.Nuisance.draw`.
LABORATORY, CALL, WILD = 0.4, 0.5, 1.0  # in a laboratory, a video call, the wild
# Derived: share of positives in % from the class weights (negatives over positives) in the training code that
# the authors of EMENet released for Aff-Wild2.
AFFWILD2_RATES = {
    1: 11.5, 2: 6.0, 4: 16.0, 6: 26.0, 7: 40.0, 10: 35.0, 12: 25.0, 15: 3.0, 23: 3.0, 24: 3.0, 25: 63.0, 26: 8.0,
}  # fmt: skip
# Derived by bisection from 16,000 people (32,000 videos for Aff-Wild2), as the tests of this module do: what is added
# to the activity of each unit so that the share of frames that a coder scores is, in the population, the published
# base rate; 0 for units that the corpus does not code.
BP4D_OFFSET = torch.tensor(
    [-2.08, -1.55, -2.41, 0.0, 0.74, 0.72, 0.0, 0.54, 0.60, 0.43, -0.54, 0.47, 0.0, -0.85, -0.92, 0.0, 0.0]
)
DISFA_OFFSET = torch.tensor(
    [-2.59, -1.70, -0.31, 0.0, -0.68, 0.0, -0.21, 0.0, -0.16, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.62, 0.24]
)
AFFWILD2_OFFSET = torch.tensor(
    [-2.79, -2.13, -1.30, 0.0, 0.16, 0.69, 0.0, 0.40, -0.35, 0.0, -5.34, 0.0, 0.0, -1.79, -1.76, 0.74, -0.78]
)

# --- continuous ratings --------------------------------------------------------------------------------------

# Published: six raters annotated RECOLA (Ringeval et al., 2013), four the valence and arousal of Aff-Wild2 and seven
# experts its expressions (Kollias and Zafeiriou, 2019).
RECOLA_RATERS, AFFWILD2_RATERS, AFFWILD2_EXPERTS = 6, 4, 7
# Chosen: how raters' traces stray: stretch of the scale (log), bias in a recording, slow error. Two raters' traces of
# one person correlate at about .9 within a recording; real ones less, as they also lag.
TRACE_GAIN_SD, TRACE_BIAS_SD, TRACE_ERROR_SD = 0.2, 0.1, 0.1
# Chosen: mean valence and arousal of people who solve a task together in a call; spread of those of videos found in
# the wild.
RECOLA_MOOD = (0.1, 0.0)
WILD_MOOD_SD = 0.35
# Chosen: share of a video in which its person speaks, and how long stretches last.
SPEAKING_SHARE, SPEAKING_S = 0.6, 2.0

# --- single pictures -----------------------------------------------------------------------------------------

# Published: images by majority emotion in the FER+ training set (counts of the reference labelling rule).
FERPLUS_COUNTS = {
    "neutral": 8740, "happiness": 7287, "surprise": 3149, "sadness": 3014, "anger": 2100, "disgust": 119,
    "fear": 532, "contempt": 119,
}  # fmt: skip
# Published: share of each class among the votes for FER+'s training images, with unknown and "not a face" (computed
# from fer2013new.csv), and the mean of d = 1 - sum p^2 over the nine classes without the last.
FERPLUS_VOTES = (0.2996, 0.2572, 0.1158, 0.1349, 0.0789, 0.0149, 0.0338, 0.0170, 0.0476, 0.0004)
FERPLUS_DISAGREEMENT = 0.357

# --- raters --------------------------------------------------------------------------------------------------

# Chosen: the population is finite, so that the average over it is exact; votes are drawn from it with replacement.
N_RATERS = 400
# Chosen: a prototype is expected at this intensity (the middle of the scale's visible part).
EXPECTED_INTENSITY = 3.0
# Derived: sd of what a rater makes of one unit's intensity; with it the mean disagreement of ten votes on pictures of
# the ferplus view is FERPLUS_DISAGREEMENT.
EVIDENCE_SD = 1.42
# Chosen: raters' own spread: of sensitivity (log), of the intensity they first notice, and of their readiness to name
# each class (log odds). The last is what ten votes on an unambiguous face still disagree about.
SENSITIVITY_SD = 0.3
NOTICED_MEAN, NOTICED_SD = 0.5, 0.3
READINESS_SD = 0.6
# Published in kind: crowd workers answer at random now and then; chosen in size: mean share of inattentive answers.
LAPSE_MEAN = 0.02
# Derived: readiness to name each emotion, "unknown" and "not a face" before any evidence, in log odds against
# happiness; with it the shares of votes are FERPLUS_VOTES. Fitted together with EVIDENCE_SD on 12,000 pictures.
READINESS = torch.tensor([-0.24, 0.00, -1.62, -0.34, 0.85, -1.76, -1.59, -2.99])
UNKNOWN_LOG_ODDS, NOT_A_FACE_LOG_ODDS = -3.14, -10.19
# Chosen: what the worst picture adds to the last two.
UNKNOWN_PER_LOST_QUALITY, NOT_A_FACE_PER_LOST_QUALITY = 3.0, 8.0
# Which share of a unit's evidence each occlusion can hide: hand and scarf lie over the mouth, sunglasses over the
# eyes, a strand of hair over one brow (derived from where the renderer draws them).
HIDDEN = {
    "none": {},
    "hand": dict.fromkeys((10, 12, 14, 15, 17, 20, 23, 24, 25, 26), 0.9) | {9: 0.3},
    "sunglasses": dict.fromkeys((5, 6, 7), 0.95) | {1: 0.2, 2: 0.2, 4: 0.4, 9: 0.2},
    "hair": dict.fromkeys((1, 2, 4, 5, 6, 7), 0.4),
    "scarf": dict.fromkeys((12, 14, 15, 17, 20, 23, 24, 25, 26), 1.0) | {10: 0.8},
}


def checksum() -> str:
    """SHA-256 of all constants by name: it changes when one of them does."""
    return content_key({name: value for name, value in globals().items() if name.isupper()})
