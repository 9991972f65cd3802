"""Two identity corpora of the simulated world, and a small face network pre-trained on each.

UncNet classifies expressions from the features of a network that was trained to tell people apart, on one of two
corpora (its Table 1). Here the two differ in the skin tones of their people, and the hair and eyes that go with them,
and in nothing else: with one seed, the same people show the same expressions under the same conditions.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.corpora.simulated import feeling
from uncertain_affect.corpora.simulated.faces import Nuisance, render
from uncertain_affect.corpora.simulated.people import People
from uncertain_affect.models.backbones import SmallResNet
from uncertain_affect.training.fit import History, cached_fit, fit, generators

CORPORA = ("skewed", "balanced")

# Who is in the skewed corpus. Most people in CASIA-WebFace are white, and fewer in VGGFace2 [published, direction only:
# Wang et al. 2019, "Racial Faces in the Wild", Table 1]. Skin tone is not ethnicity, so the share is [chosen]: large
# enough that a network meets few dark faces, small enough that it meets some. "Balanced" is an ideal; VGGFace2 is not.
LIGHT_SHARE, LIGHT_UP_TO = 0.9, 1 / 3

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

# What each generator of a seed is for, far from the streams of other modules.
PEOPLE, PICTURES, _, WEIGHTS, ORDER = range(700_001, 700_006)


@dataclass(frozen=True)
class PretrainingSettings:
    """Everything that decides a pre-training, its corpus and seed aside.

    SGD with Nesterov momentum (0.9) and weight decay (5e-4), whose rate rises to `lr` in the first fifth of the steps
    and falls to nothing along a cosine (one cycle: Smith and Topin, 2019), needing fewer epochs than a constant rate.
    """

    n_people: int
    n_pictures: int  # of each
    epochs: int
    batch_size: int = 64
    lr: float = 0.1


SIZES = {"quick": PretrainingSettings(150, 24, epochs=12), "full": PretrainingSettings(600, 40, epochs=20)}


def skin_tones(corpus: str, n: int, generator: torch.Generator) -> Tensor:
    """Skin tones (n,) in [0, 1] of an identity corpus, evenly spread (one in each of n equal parts of it).

    "balanced": uniform. "skewed": `LIGHT_SHARE` of the people lie evenly in [0, 1/3), the others evenly above.

    Raises:
        ValueError: an unknown corpus.
    """
    if corpus not in CORPORA:
        raise ValueError(f"unknown identity corpus {corpus!r}: choose among {', '.join(CORPORA)}")
    share = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    if corpus == "balanced":
        return share
    light = share / LIGHT_SHARE * LIGHT_UP_TO
    dark = LIGHT_UP_TO + (share - LIGHT_SHARE) / (1 - LIGHT_SHARE) * (1 - LIGHT_UP_TO)
    return torch.where(share < LIGHT_SHARE, light, dark)


def people(corpus: str, size: str = "quick", seed: int = 0) -> People:
    """The people of an identity corpus. With one seed, those of both corpora differ in what skin tone decides only.

    Raises:
        ValueError: an unknown corpus.
    """
    generator = generators([seed], PEOPLE)[0]
    n = SIZES[size].n_people
    return People.draw(n, generator, skin_tones(corpus, n, generator))


def pictures(people: People, n_pictures: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures, uint8 (P * m, 48, 48), of P people, m of each, and whose they are, int64 (P * m,).

    Feelings are uniform over valence and arousal, so that all expressions come; conditions, pose among them, are
    those of `Nuisance.draw`.
    """
    person = torch.arange(len(people)).repeat_interleave(n_pictures)
    shown = people[person]
    felt = 2 * torch.rand(len(person), 2, generator=generator) - 1
    intensities = feeling.intensities(feeling.display(felt, shown, generator))
    seen = Nuisance.draw(len(person), generator)
    return render(intensities, shown.identity, seen, size=SmallResNet.SIZE, generator=generator), person


@one_thread()
def train(network: SmallResNet, images: Tensor, person: Tensor, settings: PretrainingSettings, seed: int) -> History:
    """Train a network in place to tell people apart: cross-entropy, every picture mirrored with chance one half.

    Args:
        network: with an output for each person, on the device on which it is to be trained.
        images: uint8 (N, 48, 48).
        person: whose they are, int64 (N,), counted from 0.
        settings: only those of the training matter.
        seed: of the order of the pictures and their mirroring.

    Returns:
        How its training went, losses in nats.
    """
    order, device = generators([seed], ORDER)[0], network.logits.weight.device
    images, person = images.to(device), person.to(device)
    steps = settings.epochs * -(-len(images) // settings.batch_size)

    def batches() -> Iterable[tuple[Tensor, Tensor]]:
        shuffled = torch.randperm(len(images), generator=order).to(device)
        mirrored = (torch.rand(len(images), 1, 1, generator=order) < 0.5).to(device)
        return ((batch, mirrored[batch]) for batch in shuffled.split(settings.batch_size))

    def loss(batch: Tensor, mirrored: Tensor) -> Tensor:
        x = torch.where(mirrored, images[batch].flip(2), images[batch])
        return functional.cross_entropy(network(x), person[batch])

    return fit(
        network,
        loss,
        batches,
        epochs=settings.epochs,
        optimiser=partial(SGD, lr=settings.lr, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=partial(OneCycleLR, max_lr=settings.lr, total_steps=steps, pct_start=0.2, cycle_momentum=False),
        label="pre-training",
    )


def pretrain(corpus: str, size: str = "quick", seed: int = 0, device: str | torch.device = "cpu") -> SmallResNet:
    """The network pre-trained on an identity corpus, frozen, from the cache when it is there.

    Args:
        corpus: "skewed" or "balanced".
        size: "quick" or "full" (`SIZES`).
        seed: redraws people, pictures and initial weights. The same seed gives the same bits on one machine.
        device: where to train. A GPU's network is not a CPU's, and is cached apart.

    Raises:
        ValueError: an unknown corpus.
    """
    known, settings = people(corpus, size, seed), SIZES[size]
    network = SmallResNet(settings.n_people, generators([seed], WEIGHTS)[0])

    def learn(_: Path) -> History:
        return train(network, *pictures(known, settings.n_pictures, *generators([seed], PICTURES)), settings, seed)

    # A few pictures stand for all that draws them: constants, people, feeling and renderer.
    sample, _ = pictures(known[:8], 2, *generators([seed], PICTURES))
    cached_fit(network, learn, RECIPE, corpus, asdict(settings), seed, sample, kind="backbones", device=device)
    return network.requires_grad_(False)


@one_thread()
def tapped_features(
    images: np.ndarray, corpus: str, taps: list[str], *, size: str, seed: int, device: str, batch_size: int
) -> dict[str, np.ndarray]:
    """Features of the network pre-trained on `corpus`, at several depths in one pass: {tap: float32 (N, channels)}.

    Cached by the images and the weights of the network.

    Args:
        images: grey, uint8 (N, 48, 48).
        corpus, size, seed: of `pretrain`.
        taps: of `SMALL_TAPS`.
        device: where to train and compute.
        batch_size: images at a time; features depend on it by rounding only.

    Raises:
        ValueError: an unknown tap; images of another type or size.
    """
    images = torch.as_tensor(images)
    SmallResNet.check(images, taps)  # before a minute of pre-training
    network = pretrain(corpus, size, seed, device)

    def build() -> dict[str, np.ndarray]:
        with torch.inference_mode():
            batches = [network.tapped_features(batch, taps) for batch in images.split(batch_size)]
        return {tap: torch.cat([batch[tap] for batch in batches]).cpu().numpy() for tap in taps}

    return cached_arrays(content_key(RECIPE, taps, network.state_dict(), images), build, kind="features")
