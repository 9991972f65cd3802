"""Little data for the tests of distillation."""

import numpy as np
import torch

from uncertain_affect.corpora.base import AffectVideos, Expressions
from uncertain_affect.papers import distill

N_VIDEOS, LENGTH = 10, 9
TASKS = ("AU", "EXPR", "VA")
TUNING = distill.videos.Tuning(width=0.05, repeats=0.1, pictures=20, start_epochs=1, epochs=1, batch_size=16)
SMALL = distill.videos.DistillSettings(
    seeds=(0, 1), tuning=TUNING, members=2, hidden=3, shared=4, clip=4, clips=2, epochs=3, lr=1e-2, side_by_side=8
)  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def corpus(truth=True):
    """Ten videos of nine frames in no order; tasks train on videos 0 to 6, 1 to 7, 2 to 8, and validate on two."""
    g, n, subsets = generator(), N_VIDEOS * LENGTH, {}
    order = torch.randperm(n, generator=g)
    video, time = order // LENGTH, (order % LENGTH).float()
    for first, task in enumerate(("au", "expression", "va")):
        subsets[f"{task} train"] = (video >= first) & (video < first + 7)
        subsets[f"{task} val"] = (video == (first + 7) % N_VIDEOS) | (video == (first + 8) % N_VIDEOS)
    known = {"landmarks": torch.rand(n, 68, 2, generator=g), "speaking": torch.rand(n, generator=g) < 0.5}
    return AffectVideos(
        frames=torch.randint(256, (n, 32, 32), dtype=torch.uint8, generator=g),
        audio=torch.randn(n, 64, 16, generator=g),
        au=torch.randint(2, (n, 12), generator=g),
        expression=torch.randint(7, (n,), generator=g),
        valence_arousal=2 * torch.rand(n, 2, generator=g) - 1,
        video=np.array([f"v{i}" for i in video.tolist()]),
        time=time,
        subsets=subsets,
        truth=known if truth else None,
    )


def faces(n=60):
    """Images with votes of ten: the happy have stripes that lie, the others some that stand; ties are no majority."""
    g = generator()
    happy = torch.rand(n, generator=g) > 0.5
    votes = torch.zeros(n, 10, dtype=torch.int64)
    votes[:, 1], votes[:, 0] = torch.where(happy, 8, 2), torch.where(happy, 2, 8)
    votes[::10, :2] = 5
    stripes = (torch.arange(48) % 8 < 4) * 100.0
    light = torch.where(happy[:, None, None], stripes[:, None], stripes) + torch.randint(60, (n, 48, 48), generator=g)
    split, names = np.array(["train"] * (n - 24) + ["val"] * 12 + ["test"] * 12), np.array([f"i{i}" for i in range(n)])
    groups, classes = torch.arange(n) // 2 * 2, (*distill.videos.ferplus.EMOTIONS, "unknown", "NF")
    return Expressions(light.to(torch.uint8), votes, split, names, groups, classes)


def trunks(data, settings=SMALL):
    """Made-up features that know a little about the labels."""
    x = torch.randn(len(settings.seeds), len(data.video), 6, generator=generator(3))
    x[..., :2] += 2 * data.labels["VA"].clamp(min=-1)
    return distill.trunks.Trunks(x, lambda images: x[:, : len(images)])
