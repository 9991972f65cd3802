"""A small simulated world for lessons and panels: pictures, votes, the truth, and ensembles that learnt from them.

Two readers learn the vote shares of the same pictures. One reads *pixels* (HOG features); the other reads the *face*,
what the picture leaves of each action unit, which is all that the raters go by, so that it can come near the truth.
"""

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.corpora.simulated import raters, views
from uncertain_affect.corpora.simulated.faces import Nuisance, render
from uncertain_affect.losses import soft_label_cross_entropy
from uncertain_affect.models.uncnet import UncNet
from uncertain_affect.training.features import hog_features
from uncertain_affect.training.fit import History, cached_fit, fit_tensors, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

READERS = ("face", "pixels")
SIZES = (30, 100, 300, 1000, 3000)  # pictures that an ensemble learns from
MEMBERS = 5
N_VAL, N_TEST = 500, 1000
N_COMPONENTS = 64
N_VOTES = 10
TRAINING = {"lr": 1e-3, "batch_size": 90, "max_epochs": 60, "patience": 3}


@dataclass(frozen=True)
class Pictures:
    """N pictures of as many people, and what is known of them.

    Attributes:
        inputs: by reader, standardised float32 (N, D).
        votes: (N, 9) ten votes a picture over the nine classes, fewer where some called it no face.
        truth: (N, 9) float64, p*(y|x) over the nine classes.
        skin_tone, quality: (N,) in [0, 1].
    """

    inputs: dict[str, Tensor]
    votes: Tensor
    truth: Tensor
    skin_tone: Tensor
    quality: Tensor

    def __getitem__(self, rows) -> "Pictures":
        inputs = {reader: x[rows] for reader, x in self.inputs.items()}
        return Pictures(inputs, self.votes[rows], self.truth[rows], self.skin_tone[rows], self.quality[rows])


@dataclass(frozen=True)
class Classroom:
    """Pictures to learn from, to stop by and to test on; ensembles by reader and number of pictures learnt from.

    ``scales`` holds what standardises a reader's inputs, and the ``components`` of the pixels.
    """

    train: Pictures
    val: Pictures
    test: Pictures
    ensembles: dict[tuple[str, int], UncNet]
    scales: dict[str, Tensor]

    @torch.no_grad()
    def predict(self, reader: str, n: int, inputs: Tensor | None = None) -> Tensor:
        """Class probabilities (members, N, 9) of an ensemble, float64; of the test pictures by default."""
        x = self.test.inputs[reader] if inputs is None else inputs
        return torch.softmax(self.ensembles[reader, n](x).double(), -1)

    def read(self, reader: str, intensities: Tensor, nuisance: Nuisance, images: Tensor | None = None) -> Tensor:
        """What a reader makes of new pictures, standardised (N, D); only the one of pixels looks at ``images``."""
        raw = read_face(intensities, nuisance) if reader == "face" else torch.from_numpy(hog_features(images))
        x = (raw - self.scales[f"{reader} mean"]) / self.scales[f"{reader} sd"]
        return x if reader == "face" else x @ self.scales["components"]


def read_face(intensities: Tensor, nuisance: Nuisance) -> Tensor:
    """What a picture leaves of each action unit, how visible each is, and the quality of the whole, (N, 35)."""
    seen = raters.visibility(nuisance)
    return torch.cat([intensities * seen, seen, nuisance.quality[:, None]], 1)


def nine(p: Tensor) -> Tensor:
    """Label distributions (N, 10) over the nine classes without NF, float64."""
    p = p[:, :9].double()
    return p / p.sum(1, keepdim=True)


@cache
def classroom(seed: int = 0) -> Classroom:
    """The classroom of a seed, from the disk's cache, else drawn and trained in about ten seconds."""
    n, sizes = SIZES[-1], (SIZES[-1], N_VAL, N_TEST, N_COMPONENTS, N_VOTES)
    with one_thread():
        key = content_key("classroom", RECIPE, seed, sizes, torch.__version__)
        stored = cached_arrays(key, lambda: _draw(seed), kind="classroom")
        arrays = {name: torch.from_numpy(array) for name, array in stored.items()}
        known = [arrays.pop(name) for name in ("votes", "truth", "skin_tone", "quality")]
        pictures = Pictures({reader: arrays.pop(reader) for reader in READERS}, *known)
        train, val, test = pictures[:n], pictures[n : n + N_VAL], pictures[n + N_VAL :]
        which = itertools.product(READERS, SIZES)
        ensembles = {(reader, n): train_ensemble(train, val, reader, n, seed, MEMBERS) for reader, n in which}
    return Classroom(train, val, test, ensembles, scales=arrays)


def _draw(seed: int) -> dict[str, np.ndarray]:
    """All pictures, and the scales of their inputs."""
    n = SIZES[-1]
    g = generators([seed], 300)[0]
    people, intensities, nuisance = views.ferplus_pictures(n + N_VAL + N_TEST, g)
    images = render(intensities, people.identity, nuisance, size=48, generator=g)
    p = raters.label_distribution(intensities, nuisance)
    votes = raters.vote(p, N_VOTES, g)[:, :9]
    # a picture that nobody took for a face teaches nothing
    votes[votes.sum(1) == 0, -1] = 1
    arrays = {"votes": votes, "truth": nine(p), "skin_tone": people.identity.skin_tone, "quality": nuisance.quality}
    raw = {"face": read_face(intensities, nuisance), "pixels": torch.from_numpy(hog_features(images))}
    for reader, x in raw.items():
        mean, sd = x[:n].mean(0), x[:n].std(0).clamp(min=1e-6)
        arrays |= {f"{reader} mean": mean, f"{reader} sd": sd, reader: (x - mean) / sd}
    # the first 64 principal components: what is left out is noise to three thousand pictures, and half of the work
    _, s, v = torch.linalg.svd(arrays["pixels"][:n], full_matrices=False)
    arrays["components"] = v[:N_COMPONENTS].T * (n**0.5 / s[0])
    arrays["pixels"] = arrays["pixels"] @ arrays["components"]
    return {name: array.contiguous().numpy() for name, array in arrays.items()}


def train_ensemble(
    train: Pictures, val: Pictures, reader: str, size: int, seed: int, members: int, dropout: float = 0.0
) -> UncNet:
    """Networks side by side on bootstrap samples of the first ``size`` pictures, stopped by ``val``; cached."""
    seeds = [1000 * seed + member for member in range(members)]
    rows = torch.stack([torch.randint(size, (size,), generator=g) for g in generators(seeds, 301)])
    x, y = train.inputs[reader][:size], shares(train.votes[:size])
    held_out = tuple(part.expand(members, -1, -1) for part in (val.inputs[reader], shares(val.votes)))
    model = UncNet(x.shape[1], generators(seeds, 302), hidden=(64, 64), dropout=dropout)

    def fit(_checkpoint: Path) -> History:
        given = model, soft_label_cross_entropy, (x[rows], y[rows]), held_out
        return fit_tensors(*given, order=generators(seeds, 303), own_data=True, **TRAINING)

    cached_fit(model, fit, RECIPE, seeds, dropout, TRAINING, x, y, *held_out, kind="classroom")
    return model


def shares(votes: Tensor) -> Tensor:
    """Proportions of votes (N, C), float32."""
    return (votes / votes.sum(1, keepdim=True)).float()
