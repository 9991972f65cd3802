"""People: what stays the same about a person across recordings."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated.faces.traits import ACTION_UNITS, Identity, Rows


@dataclass(frozen=True, eq=False)
class People(Rows):
    """P people, drawn once each.

    Attributes:
        identity: the P faces at rest.
        expressiveness: (P, 17) how strongly each action unit answers to an emotion; 1 is the usual gain.
        resting: (P, 17) activity without any emotion, in steps of intensity; may be negative.
        mood: (P, 2) habitual valence and arousal.
        mapping: (P, 8) log odds by which a person favours each emotion's display, whatever is felt.
        voice: (P, 3) mean pitch (Hz), formant scale (1 the average vocal tract), spectral tilt (dB an octave).
    """

    identity: Identity
    expressiveness: Tensor
    resting: Tensor
    mood: Tensor
    mapping: Tensor
    voice: Tensor

    @classmethod
    def draw(cls, n: int, generator: torch.Generator, skin_tone: Tensor | float | None = None) -> Self:
        """Draw n people. `skin_tone` sets it instead of drawing it, and leaves every other trait as it would be."""
        n_aus, n_emotions = len(ACTION_UNITS), len(c.EMOTIONS)

        def normal(*shape: int) -> Tensor:
            return torch.randn(n, *shape, generator=generator)

        def between(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, generator=generator)

        # half of the spread is the person's own expressiveness, half that of the single unit
        gain = c.EXPRESSIVENESS_SD * (normal(1) + normal(n_aus)) / 2**0.5
        low, high = (torch.tensor(hz).log().item() for hz in c.PITCH_HZ)
        return cls(
            identity=Identity.draw(n, generator, skin_tone),
            expressiveness=gain.exp(),
            resting=c.RESTING_SD * normal(n_aus),
            mood=c.MOOD_SD * normal(2),
            mapping=c.MAPPING_SD * normal(n_emotions),
            voice=torch.stack([between(low, high).exp(), between(*c.FORMANT_SCALE), between(*c.TILT_DB_PER_OCTAVE)], 1),
        )
