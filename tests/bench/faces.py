"""Works: face crops from disk to a tensor, and simulated faces rendered."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.compare import Peer, Task, Work
from bench.limits import memory
from uncertain_affect.corpora import images
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS, Identity, Nuisance, render
from uncertain_affect.training.fit import generators

RENDERING_REASON = "every pixel passes through shading, expression, blur and noise of its own face"


def works() -> list[Work]:
    return [
        Work("Simulated faces rendered, 64 x 64", 2000, "faces", rendered, rate=1000, reason=RENDERING_REASON),
        Work("Faces of 256 x 256 from JPEGs, first time", 500, "faces", lambda n: from_disk(n, again=False)),
        Work("Faces of 256 x 256 from JPEGs, again", 500, "faces", lambda n: from_disk(n, again=True)),
    ]


def rendered(n: int, side: int = 64) -> Task:
    """Faces drawn with identities, conditions and intensities of their own; the world has no peer."""
    generator = generators([0])[0]
    identity, nuisance = Identity.draw(n, generator), Nuisance.draw(n, generator)
    intensities = 5 * torch.rand(n, len(ACTION_UNITS), generator=generator)
    return Task(
        lambda: render(intensities, identity, nuisance, size=side, generator=generator), limit=memory(n * side**2)
    )


def from_disk(n: int, again: bool, side: int = 256) -> Task:
    """Face crops from disk to a tensor uint8 (n, 3, side, side), beside a plain loop and a ``DataLoader``.

    Args:
        n: JPEGs, written here.
        again: from the array that an earlier call prepared; else from an empty cache, preparing it.
        side: of the JPEGs, in pixels.
    """
    folder = tempfile.TemporaryDirectory()  # for as long as the work is there
    rng, files = np.random.default_rng(0), []
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        files.append(Path(folder.name) / f"{i}.jpg")
        small.resize((side, side), Image.Resampling.BICUBIC).save(files[-1], quality=90)
    ready = Path(folder.name) / "cache"

    def ours() -> Tensor:
        with tempfile.TemporaryDirectory(dir=folder.name) as empty:
            with mock.patch.dict(os.environ, UNCERTAIN_AFFECT_CACHE=str(ready if again else empty)):
                return images.faces(files, side, colour=True).clone()

    pictures = _Pictures(files)

    def loop() -> Tensor:
        return torch.stack([pictures[i] for i in range(n)])

    def loader() -> Tensor:
        return torch.cat(list(DataLoader(pictures, batch_size=50, num_workers=torch.get_num_threads())))

    ways = {"a loop with Pillow": loop, "torch's DataLoader": loader}
    peers = [Peer(name, lambda way=way: way, tolerance=0) for name, way in ways.items()]
    return Task(ours, peers, memory(n * 3 * side**2))


class _Pictures(Dataset):
    """Pictures as tensors uint8 (3, H, W)."""

    def __init__(self, files: Sequence[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self.files[i]) as picture:
            # NumPy's copy: torch's own of so small an array costs more in waking its threads than it saves
            return torch.from_numpy(np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0).copy())
