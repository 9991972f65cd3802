"""Filming people: from who is recorded, feeling what, to frames and all that is true of them.

Everything comes in chunks of recordings, drawn from one generator in order, so that memory does not grow with the
length of a corpus.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import feeling
from uncertain_affect.corpora.simulated.faces import Nuisance, render
from uncertain_affect.corpora.simulated.people import People

CHUNK = 5000  # frames filmed at a time, or one recording where that is longer


@dataclass(frozen=True, eq=False)
class Recordings:
    """R recordings, each of one person.

    Attributes:
        person: int (R,), row of the people.
        mean: (R, 2), the feeling that valence and arousal wander about; or its course (R, T, 2).
        n_frames: int (R,), at most T.
        fps: frames a second.
    """

    person: Tensor
    mean: Tensor
    n_frames: Tensor
    fps: float

    def __len__(self) -> int:
        return len(self.person)

    def __getitem__(self, rows: slice) -> "Recordings":
        return Recordings(self.person[rows], self.mean[rows], self.n_frames[rows], self.fps)

    def chunks(self) -> Iterator[slice]:
        """Runs of recordings of at most `CHUNK` frames together, or of a single longer one."""
        start, frames = 0, 0
        for i, n in enumerate(self.n_frames.tolist()):
            if i > start and frames + n > CHUNK:
                yield slice(start, i)
                start, frames = i, 0
            frames += n
        yield slice(start, len(self))

    def index(self) -> tuple[Tensor, Tensor]:
        """Recording (N,) and number within it (N,) of each frame."""
        recording = torch.arange(len(self)).repeat_interleave(self.n_frames)
        first = self.n_frames.cumsum(0) - self.n_frames
        return recording, torch.arange(len(recording)) - first[recording]


@dataclass(frozen=True, eq=False)
class Scene:
    """N frames before they are rendered: who they show (rows of the people), feeling, doing what, filmed how."""

    person: Tensor
    valence_arousal: Tensor  # (N, 2)
    activity: Tensor  # (N, 17), before a corpus's offset
    nuisance: Nuisance


def stage(recordings: Recordings, people: People, severity: float, generator: torch.Generator) -> Iterator[Scene]:
    """The recordings, a chunk at a time, unrendered.

    Args:
        recordings: of any number of frames.
        people: whom their `person` refers to.
        severity: of the conditions, see `Nuisance.draw`.
        generator: of feelings, movement and conditions.
    """
    for rows in recordings.chunks():
        part = recordings[rows]
        n, fps, longest = len(part), part.fps, int(part.n_frames.max())
        taken = torch.arange(longest) < part.n_frames[:, None]
        mean = part.mean if part.mean.dim() == 2 else part.mean[:, :longest]
        felt = feeling.recordings(mean, longest, fps, generator)[taken]
        moved = feeling.mean_reverting(n, longest, feeling.N_MOVEMENTS, fps, c.MOVEMENT_S, generator)[taken]
        nuisance = conditions(taken, fps, severity, generator)
        person = part.person.repeat_interleave(part.n_frames)
        who = people[person]
        yield Scene(person, felt, feeling.activity(feeling.emotion_weights(felt, who.mapping), who, moved), nuisance)


def conditions(taken: Tensor, fps: float, severity: float, generator: torch.Generator) -> Nuisance:
    """Conditions of the frames (R, T) that are taken, (N,): light, camera and background stay for a recording, what
    hides the face and blurs it for `constants.PASSING_S` seconds, and the head turns about its usual pose.
    """
    n, longest = taken.shape
    recording, frame = taken.nonzero().unbind(1)
    lasting = Nuisance.draw(n, generator, severity)[recording]
    passing_frames = max(1, round(c.PASSING_S * fps))
    passings = -(-longest // passing_frames)
    passing = Nuisance.draw(n * passings, generator, severity)[recording * passings + frame // passing_frames]
    turned = feeling.mean_reverting(n, longest, 3, fps, c.POSE_S, generator)[taken] * torch.tensor(c.POSE_SD)

    # half of the spread of poses is between recordings, half within
    def pose(i: int, name: str, furthest: float) -> Tensor:
        return ((getattr(lasting, name) + severity * turned[:, i]) / math.sqrt(2)).clamp(-furthest, furthest)

    return Nuisance(
        **vars(lasting)
        | {name: getattr(passing, name) for name in ("occlusion", "occlusion_position", "occlusion_extent", "blur")}
        | {"yaw": pose(0, "yaw", 0.7), "pitch": pose(1, "pitch", 0.4), "roll": pose(2, "roll", 0.6)}
    )


def film(
    scenes: Iterator[Scene],
    people: People,
    generator: torch.Generator,
    *,
    size: int,
    offset: Tensor | float = 0.0,
) -> Iterator[tuple[Scene, dict[str, Tensor]]]:
    """Each scene with its `images` (n, size, size) and what is true of them: `intensities` (n, 17), `quality` and
    `skin_tone` (n,).

    Args:
        scenes: from `stage`.
        people: as there.
        generator: of the camera's noise.
        size: pixels a side.
        offset: by which the corpus moves the activity of each unit, (17,).
    """
    for scene in scenes:
        identity = people.identity[scene.person]
        intensities = feeling.intensities(scene.activity, offset)
        yield (
            scene,
            {
                "images": render(intensities, identity, scene.nuisance, size=size, generator=generator),
                "intensities": intensities,
                "quality": scene.nuisance.quality,
                "skin_tone": identity.skin_tone,
            },
        )
