"""A small simulated world for lessons and panels: pictures, votes, the truth, and ensembles that learnt from them.

Two readers learn the vote shares of the same pictures. One reads *pixels* (HOG features); the other reads the *face*,
what the picture leaves of each action unit, which is all that the raters go by, so that it can come near the truth.
"""

from dataclasses import dataclass
from functools import cache

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
from uncertain_affect.training.fit import fit_tensors, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

READERS = ("face", "pixels")
SIZES = (30, 100, 300, 1000, 3000)  # pictures that an ensemble learns from
MEMBERS = 5
N_VAL, N_TEST = 500, 1000
N_COMPONENTS = 64
N_VOTES = 10


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

    def __len__(self) -> int:
        return len(self.votes)

    def __getitem__(self, rows) -> "Pictures":
        inputs = {reader: x[rows] for reader, x in self.inputs.items()}
        return Pictures(inputs, self.votes[rows], self.truth[rows], self.skin_tone[rows], self.quality[rows])


@dataclass(frozen=True)
class Classroom:
    """Pictures to learn from, to stop by and to test on; ensembles by reader and number of pictures learnt from."""

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
    sizes = (SIZES, N_VAL, N_TEST, MEMBERS, N_COMPONENTS, N_VOTES)
    key = content_key("classroom", RECIPE, seed, sizes, torch.__version__)
    with one_thread():
        stored = cached_arrays(key, lambda: _build(seed), kind="classroom")
    arrays = {name: torch.from_numpy(array) for name, array in stored.items()}
    everything = _pictures(arrays)
    n = SIZES[-1]
    ensembles = {(reader, size): _network(arrays, reader, size) for reader in READERS for size in SIZES}
    return Classroom(
        everything[:n],
        everything[n : n + N_VAL],
        everything[n + N_VAL :],
        ensembles,
        {name.removeprefix("scale "): array for name, array in arrays.items() if name.startswith("scale ")},
    )


def _pictures(arrays: dict[str, Tensor]) -> Pictures:
    inputs = {reader: arrays[reader] for reader in READERS}
    return Pictures(inputs, *(arrays[name] for name in ("votes", "truth", "skin_tone", "quality")))


def _build(seed: int) -> dict[str, np.ndarray]:
    n = SIZES[-1]
    g = generators([seed], 300)[0]
    people, intensities, nuisance = views.ferplus_pictures(n + N_VAL + N_TEST, g)
    images = render(intensities, people.identity, nuisance, size=48, generator=g)
    p = raters.label_distribution(intensities, nuisance)
    raw = {"face": read_face(intensities, nuisance), "pixels": torch.from_numpy(hog_features(images))}
    arrays = {
        "votes": raters.vote(p, N_VOTES, g)[:, :9],
        "truth": nine(p),
        "skin_tone": people.identity.skin_tone,
        "quality": nuisance.quality,
    }
    for reader, x in raw.items():
        mean, sd = x[:n].mean(0), x[:n].std(0).clamp(min=1e-6)
        arrays |= {f"scale {reader} mean": mean, f"scale {reader} sd": sd, reader: (x - mean) / sd}
    # the first 64 principal components: what is left out is noise to three thousand pictures, and half of the work
    _, s, v = torch.linalg.svd(arrays["pixels"][:n], full_matrices=False)
    arrays["scale components"] = v[:N_COMPONENTS].T * (n**0.5 / s[0])
    arrays["pixels"] = arrays["pixels"] @ arrays["scale components"]
    # a picture that nobody took for a face teaches nothing
    arrays["votes"][arrays["votes"].sum(1) == 0, -1] = 1
    pictures = _pictures(arrays)
    for reader in READERS:
        for size in SIZES:
            model = train_ensemble(pictures[:n], pictures[n : n + N_VAL], reader, size, seed, MEMBERS)
            arrays |= {f"{reader} {size} {name}": p.detach() for name, p in model.named_parameters()}
    return {name: array.contiguous().numpy() for name, array in arrays.items()}


def train_ensemble(
    train: Pictures, val: Pictures, reader: str, size: int, seed: int, members: int, dropout: float = 0.0
) -> UncNet:
    """Networks side by side on bootstrap samples of the first ``size`` pictures, stopped by ``val``."""
    seeds = [1000 * seed + member for member in range(members)]
    rows = torch.stack([torch.randint(size, (size,), generator=g) for g in generators(seeds, 301)])
    x, y = train.inputs[reader][:size], shares(train.votes[:size])
    model = UncNet(x.shape[1], generators(seeds, 302), hidden=(64, 64), dropout=dropout)
    fit_tensors(
        model,
        soft_label_cross_entropy,
        (x[rows], y[rows]),
        tuple(t.expand(members, -1, -1) for t in (val.inputs[reader], shares(val.votes))),
        order=generators(seeds, 303),
        lr=1e-3,
        batch_size=90,
        max_epochs=60,
        patience=3,
        own_data=True,
    )
    return model


def shares(votes: Tensor) -> Tensor:
    """Proportions of votes (N, C), float32."""
    return (votes / votes.sum(1, keepdim=True)).float()


def _network(arrays: dict[str, Tensor], reader: str, size: int) -> UncNet:
    model = UncNet(arrays[reader].shape[1], generators(range(MEMBERS)), hidden=(64, 64), dropout=0.0)
    model.load_state_dict({name: arrays[f"{reader} {size} {name}"] for name, _ in model.named_parameters()})
    return model.eval()
