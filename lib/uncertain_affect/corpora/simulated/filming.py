"""Filming people: from who is recorded, feeling what, to what each frame is to show.

Everything comes in chunks of recordings, drawn from one generator in order, so that memory does not grow with the
length of a corpus.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import feeling
from uncertain_affect.corpora.simulated.faces import Nuisance
from uncertain_affect.corpora.simulated.people import People

CHUNK = 5000  # frames filmed at a time, or one recording where that is longer


class Recordings(NamedTuple):
    """R recordings, each of one person, with N frames in all.

    Attributes:
        people: who is recorded.
        person: int (R,), row of the people.
        mean: (R, 2), the feeling that valence and arousal wander about; or its course (R, T, 2).
        n_frames: int (R,), at most T.
        fps: frames a second.
        severity: of the conditions, see `Nuisance.draw`.
        task: int (N,), what the person does or watches in each frame; None where that makes no difference.
    """

    people: People
    person: Tensor
    mean: Tensor
    n_frames: Tensor
    fps: float
    severity: float
    task: Tensor | None = None

    def chunks(self) -> Iterator[slice]:
        """Runs of recordings of at most `CHUNK` frames together, or of a single longer one."""
        start, frames = 0, 0
        for i, n in enumerate(self.n_frames.tolist()):
            if i > start and frames + n > CHUNK:
                yield slice(start, i)
                start, frames = i, 0
            frames += n
        yield slice(start, len(self.person))

    def frames(self) -> tuple[Tensor, Tensor]:
        """Recording (N,) and number within it (N,) of each frame."""
        recording = torch.arange(len(self.person)).repeat_interleave(self.n_frames)
        return recording, torch.cat([torch.arange(n) for n in self.n_frames.tolist()])


class Scene(NamedTuple):
    """N frames before they are rendered: who they show, feeling, doing what, filmed how."""

    person: Tensor  # int (N,), row of the people recorded
    people: People  # these rows
    valence_arousal: Tensor  # (N, 2)
    activity: Tensor  # (N, 17), before a corpus's offset
    nuisance: Nuisance


def stage(recordings: Recordings, generator: torch.Generator) -> Iterator[Scene]:
    """The recordings, a chunk at a time, unrendered; the generator draws feelings, movement and conditions."""
    fps = recordings.fps
    for rows in recordings.chunks():
        mean, n_frames = recordings.mean[rows], recordings.n_frames[rows]
        n, longest = len(mean), int(n_frames.max())
        taken = torch.arange(longest) < n_frames[:, None]
        mean = mean if mean.dim() == 2 else mean[:, :longest]
        felt = feeling.recordings(mean, longest, fps, generator)[taken]
        moved = feeling.mean_reverting(n, longest, feeling.N_MOVEMENTS, fps, c.MOVEMENT_S, generator)[taken]
        nuisance = conditions(taken, fps, recordings.severity, generator)
        person = recordings.person[rows].repeat_interleave(n_frames)
        people = recordings.people[person]
        yield Scene(person, people, felt, feeling.display(felt, people, moved), nuisance)


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

    changes = {name: getattr(passing, name) for name in ("occlusion", "occlusion_position", "occlusion_extent", "blur")}
    for i, (name, furthest) in enumerate((("yaw", 0.7), ("pitch", 0.4), ("roll", 0.6))):
        # half of the spread of poses is between recordings, half within
        pose = (getattr(lasting, name) + severity * turned[:, i]) / math.sqrt(2)
        changes[name] = pose.clamp(-furthest, furthest)
    return replace(lasting, **changes)
