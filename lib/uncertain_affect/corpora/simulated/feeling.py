"""From feeling over time to what the face does."""

import math

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS
from uncertain_affect.corpora.simulated.people import People

N_MOVEMENTS = 2 + len(ACTION_UNITS)


def mean_reverting(
    n: int, n_frames: int, n_series: int, fps: float, relaxation_s: float, generator: torch.Generator
) -> Tensor:
    """Independent Ornstein-Uhlenbeck processes, (n, n_frames, n_series), of mean 0 and sd 1.

    Started in their stationary state; the autocorrelation falls to 1/e after `relaxation_s` seconds.
    """
    # x_t = a x_{t-1} + sqrt(1 - a^2) e_t,  a = exp(-1/(fps tau))
    a = math.exp(-1 / (fps * relaxation_s))
    noise = torch.randn(n, n_frames, n_series, generator=generator)
    noise[:, 1:] *= math.sqrt(1 - a * a)
    # The recursion as a product with its lower triangle, in blocks: no loop over frames, and no overflow of a^-t.
    block = 64
    steps = torch.arange(min(block, n_frames))
    powers = torch.tril(a ** (steps[:, None] - steps).clamp(min=0).float())
    x, last = torch.empty_like(noise), torch.zeros(n, 1, n_series)
    for start in range(0, n_frames, block):
        piece = noise[:, start : start + block]
        m = piece.shape[1]
        x[:, start : start + m] = powers[:m, :m] @ piece + a ** (steps[:m, None].float() + 1) * last
        last = x[:, start + m - 1 : start + m]
    return x


def recordings(mean: Tensor, n_frames: int, fps: float, generator: torch.Generator) -> Tensor:
    """Valence and arousal over time, (R, T, 2) in [-1, 1], of R recordings around their means (R, 2) or (R, T, 2).

    A mean-reverting process with relaxation time `constants.RELAXATION_S` and stationary sd
    `constants.FEELING_SD`, clipped at the ends of the scale.
    """
    x = mean_reverting(len(mean), n_frames, 2, fps, c.RELAXATION_S, generator)
    return ((mean[:, None] if mean.dim() == 2 else mean) + c.FEELING_SD * x).clamp(-1, 1)


def emotion_weights(valence_arousal: Tensor, mapping: Tensor) -> Tensor:
    """Share of each prototype in the display of a feeling: (..., 2) and personal log odds (..., 8) to (..., 8).

    A compound expression is a mixture: w_e ∝ exp(-||feeling - e||² / 2 s² + mapping_e).
    """
    distance = (valence_arousal[..., None, :] - c.VALENCE_AROUSAL).square().sum(-1)
    return torch.softmax(mapping - distance / (2 * c.EMOTION_WIDTH**2), -1)


def activity(weights: Tensor, people: People, moved: Tensor | torch.Generator) -> Tensor:
    """Activity of the 17 action units before it is clipped to intensities, (N, 17), in steps of intensity.

    Args:
        weights: (N, 8) shares of the emotion prototypes.
        people: the N people who show them.
        moved: (N, 19) standard normal draws of the movement that no emotion explains: one shared by the upper face,
            one by the lower, and one for each unit. A generator draws them for pictures that do not follow each other.
    """
    if isinstance(moved, torch.Generator):
        moved = torch.randn(len(weights), N_MOVEMENTS, generator=moved)
    # what is felt, as this person shows it, on top of the face at rest
    shown = 5 * (weights @ c.PROTOTYPE) * people.expressiveness + people.resting
    upper = torch.tensor([au in c.UPPER_FACE for au in ACTION_UNITS])
    shared, own = torch.where(upper, moved[:, :1], moved[:, 1:2]), moved[:, 2:]
    rho = c.MOVEMENT_CORRELATION
    return shown + c.MOVEMENT_SD * (math.sqrt(rho) * shared + math.sqrt(1 - rho) * own)


def display(valence_arousal: Tensor, people: People, moved: Tensor | torch.Generator) -> Tensor:
    """Activity (N, 17) of N people who feel this, (N, 2); `moved` as for `activity`."""
    return activity(emotion_weights(valence_arousal, people.mapping), people, moved)


def intensities(activity: Tensor, offset: Tensor | float = 0.0) -> Tensor:
    """Intensities (N, 17) in [0, 5]: the activity, moved by a corpus's offset for each unit, within FACS's scale."""
    return (activity + offset).clamp(0, 5)
