"""Raters: what a population of annotators makes of a face as it is rendered.

Raters answer to the picture, not to the latent intensities: what blur, noise, pose, light and occlusion hide of an
action unit is no evidence to them. The population is finite, so the label distribution p*(y|x), its average, is exact.
"""

from functools import cache

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS, OCCLUSIONS, Nuisance

CLASSES = (*c.EMOTIONS, "unknown", "NF")
CHUNK = 1000


@cache
def population() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The K raters of the world, the same in every view and for every seed.

    Returns:
        Weight of the evidence against the habits of answering (K,); intensity below which an action unit is not
        noticed (K,); log odds of naming each class before any evidence (K, 10); share of answers given without
        looking (K,).
    """
    n, generator = c.N_RATERS, torch.Generator().manual_seed(0)
    sensitivity = (c.SENSITIVITY_SD * torch.randn(n, generator=generator)).exp()
    noticed = (c.NOTICED_MEAN + c.NOTICED_SD * torch.randn(n, generator=generator)).clamp(min=0)
    usual = torch.cat([c.READINESS, torch.tensor([c.UNKNOWN_LOG_ODDS, c.NOT_A_FACE_LOG_ODDS])])
    readiness = usual + c.READINESS_SD * torch.randn(n, len(CLASSES), generator=generator)
    lapse = -c.LAPSE_MEAN * torch.log1p(-torch.rand(n, generator=generator)).clamp(min=-5)
    return sensitivity, noticed, readiness, lapse


def visibility(nuisance: Nuisance) -> Tensor:
    """Share of each action unit's evidence that a picture leaves, (N, 17) in [0, 1]."""
    table = torch.tensor([[c.HIDDEN[kind].get(au, 0.0) for au in ACTION_UNITS] for kind in OCCLUSIONS])
    hidden = table[nuisance.occlusion] * (0.5 + 0.5 * nuisance.occlusion_extent[:, None])
    seen = Nuisance(**(vars(nuisance) | {"occlusion": torch.zeros_like(nuisance.occlusion)})).quality
    return seen[:, None] * (1 - hidden)


def label_distribution(intensities: Tensor, nuisance: Nuisance) -> Tensor:
    """p*(y|x), (N, 10): the average over the rater population of the chance that each names each class.

    Args:
        intensities: (N, 17) in [0, 5].
        nuisance: the conditions of the N pictures.

    >>> p = label_distribution(torch.zeros(1, 17), Nuisance.none(1))
    >>> CLASSES[p[0].argmax()]
    'neutral'
    """
    chunks = zip(*(x.split(CHUNK) for x in (intensities, visibility(nuisance), nuisance.quality)), strict=True)
    return torch.cat([_per_rater(*chunk).mean(1) for chunk in chunks])


def vote(p: Tensor, n_votes: int, generator: torch.Generator) -> Tensor:
    """Counts (N, C) of n votes from label distributions (N, C), each vote by a rater drawn anew."""
    drawn = torch.multinomial(p, n_votes, replacement=True, generator=generator)
    return torch.zeros(p.shape, dtype=torch.int64).scatter_add_(1, drawn, torch.ones_like(drawn))


def simulate(intensities: Tensor, nuisance: Nuisance, n: int, generator: torch.Generator) -> Tensor:
    """How many of n raters, drawn one by one with replacement, name each class, (N, 10): what p*(y|x) predicts.

    Unlike `vote`, which draws from the average, this draws a rater, then that rater's answer.
    """
    counts = []
    for picture in zip(intensities.split(1), visibility(nuisance).split(1), nuisance.quality.split(1), strict=True):
        up_to = _per_rater(*picture)[0].cumsum(1)
        who = torch.randint(len(up_to), (n,), generator=generator)
        # the answer is the first class whose cumulative chance exceeds u
        answer = (torch.rand(n, 1, generator=generator) >= up_to[who, :-1]).sum(1)
        counts.append(torch.bincount(answer, minlength=len(CLASSES)))
    return torch.stack(counts)


def coded(intensities: Tensor, visible: Tensor, threshold: float) -> Tensor:
    """Chance that a coder scores each action unit as present, (N, 17): the truth about occurrence labels.

    A coder compares the intensity with the threshold, with an error that grows as the picture hides the unit:
    p = Phi((u - threshold) / s),  s = CODER_SD / visibility.

    Args:
        intensities: (N, 17) in [0, 5].
        visible: (N, 17), from `visibility`.
        threshold: from which the unit counts as present.
    """
    sd = c.CODER_SD / visible.clamp(min=c.LEAST_VISIBLE)
    return torch.special.ndtr((intensities - threshold) / sd)


def _per_rater(intensities: Tensor, visible: Tensor, quality: Tensor) -> Tensor:
    """Chance (N, K, 10) that each rater of the population names each class."""
    sensitivity, least, readiness, lapse = population()
    # Evidence for emotion e against a neutral face, from independent Gaussian readings of the visible units:
    #   sum_a v_a (u_a m_ea - m_ea^2 / 2) / s^2,  m the expected intensities
    expected = c.EXPECTED_INTENSITY * c.PROTOTYPE
    noticed = (intensities[:, None] - least[:, None]).clamp(min=0) * visible[:, None]  # (N, K, 17)
    against = (visible @ (expected**2).T / 2)[:, None]
    evidence = (noticed @ expected.T - against) / c.EVIDENCE_SD**2
    lost = 1 - quality[:, None, None]
    no_emotion = lost * torch.tensor([c.UNKNOWN_PER_LOST_QUALITY, c.NOT_A_FACE_PER_LOST_QUALITY])
    scores = torch.cat([sensitivity[:, None] * evidence, no_emotion.expand(-1, len(lapse), -1)], -1)
    p = torch.softmax(scores + readiness, -1)
    # Who does not look still sees that it is a face.
    lapse, guess = lapse[:, None], torch.tensor([1.0] * 9 + [0.0]) / 9
    return (1 - lapse) * p + lapse * guess
