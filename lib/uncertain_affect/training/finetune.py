"""Fine-tune a residual network on face images, and keep its pooled features: the first stage of several papers.

UGN and PEN both tune a ResNet on their own labels and then leave it alone: all that follows reads its pooled
features. Tuning is by far the dearest step, so it is done once for a set of training rows and cached with the
features of all images; what is repeated over seeds comes after it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from uncertain_affect.compute.cache import code_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.compute.paths import data_root
from uncertain_affect.models.backbones import PUBLISHED_RESNETS, ResNet, load_resnet
from uncertain_affect.training.augment import center_crop, random_crop_flip
from uncertain_affect.training.fit import History, cached_fit, fit, generators, minibatches, one_cycle

# Channels of the first stage of the published networks.
PUBLISHED_WIDTH = 64
# Seed of the pictures that the simulated starting network learns from: no view is drawn with it.
PRETRAINING_SEED = 1_000_000
# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)


@dataclass(frozen=True)
class FineTuningSettings:
    """How a network is tuned: Adam, its rate rising to ``lr`` and falling again over one cycle (Smith, 2018).

    Attributes:
        depth, width: of the residual network; 64 is the published width.
        lr: the highest learning rate of the cycle.
        epochs: passes over the training rows; more where they would come to fewer than ``min_steps`` steps.
        batch_size: images a step.
        crop: side of the square cut out of each image at random, and of the middle one that gives the features,
            as a share of the image's own; 224 of 256 pixels in the papers. Every other crop is mirrored, at random.
    """

    depth: int = 18
    width: int = 64
    lr: float = 1e-4
    epochs: int = 10
    batch_size: int = 64
    min_steps: int = 0
    crop: float = 7 / 8


class FineTuned(NamedTuple):
    """Pooled features (N, D) of all images, and the history of the tuning."""

    features: Tensor
    history: History


@one_thread()
def finetune(
    images: Tensor,
    targets: Tensor,
    rows: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    n_outputs: int,
    settings: FineTuningSettings,
    seed: int,
    *,
    loss_key: object,
    start: ResNet | None = None,
    device: str = "cpu",
    label: str = "fine-tuning",
) -> FineTuned:
    """Tune a network with a linear head on some images, or take its features from the cache.

    An interrupted tuning goes on where it stopped.

    Args:
        images: uint8 (N, H, W) or (N, 3, H, W).
        targets: (N, ...), for the loss; those outside ``rows`` are not looked at.
        rows: int (n,), the training images.
        loss: maps outputs (B, n_outputs) and targets (B, ...) to the mean loss of a batch.
        n_outputs: width of the linear head, which is thrown away.
        settings: see :class:`FineTuningSettings`.
        seed: of the initial weights, the order of the images and their augmentation.
        loss_key: names the loss and holds all that it depends on, so that another has another place in the cache.
        start: the network to start from, see :func:`starting_network`; random weights if None.
        device: where to compute.
        label: what progress and errors call it.

    Raises:
        ValueError: no training rows, or a network to start from that is not of these settings.
        FloatingPointError: the loss is NaN or infinite.
    """
    network = _network(images, n_outputs, settings, seed, start)

    def learn(checkpoint: Path) -> History:
        history = _fit(network, images, targets, rows, loss, settings, seed, label, checkpoint)
        return replace(history, traces={"features": _features(network, images, settings).numpy()})

    learnt = (loss_key, n_outputs, asdict(settings), seed, None if start is None else start.state_dict())
    history = cached_fit(network, learn, RECIPE, images, targets[rows], rows, learnt, kind="backbones", device=device)
    return FineTuned(torch.from_numpy(history.traces["features"]), history)


@one_thread()
def starting_network(
    simulated: bool,
    settings: FineTuningSettings,
    size: str = "quick",
    root: str | Path | None = None,
    device: str = "cpu",
) -> ResNet | None:
    """What tuning starts from, in the place of the papers' ImageNet weights.

    For networks of the published width those weights themselves, where the reader has put the published file into
    ``<data root>/weights/``. Else, for simulated faces, a network that has learnt to predict the votes for expressions
    from other simulated pictures, cached: it knows faces, though none of the people it will meet. Else None, random
    weights.

    Args:
        simulated: whether the faces to come are simulated ones.
        settings: of the network, and of how it learns from simulated pictures.
        size: of the simulated ferplus view that it learns from, ``"quick"`` or ``"full"``.
        root: the data root.
        device: where to train.
    """
    published = data_root(root) / "weights" / PUBLISHED_RESNETS[settings.depth]
    if settings.width == PUBLISHED_WIDTH and published.is_file():
        return load_resnet(published, settings.depth)
    if not simulated:
        return None
    from uncertain_affect import corpora

    faces = corpora.load("simulated", view="ferplus", size=size, seed=PRETRAINING_SEED)
    shares, rows = faces.votes / faces.votes.sum(1, keepdim=True), torch.arange(len(faces))
    network = _network(faces.images, shares.shape[1], settings, PRETRAINING_SEED)
    data = (faces.images, shares, rows, cross_entropy, settings, PRETRAINING_SEED)
    learn = partial(_fit, network, *data, "pre-training")
    cached_fit(network, learn, RECIPE, "votes", faces.images, shares, asdict(settings), kind="backbones", device=device)
    del network.fc
    return network.cpu()


def _network(images, n_outputs, settings, seed, start=None) -> ResNet:
    """A network with a new linear head, starting from another one or from random weights."""
    channels = start.in_channels if start is not None else 1 if images.ndim == 3 else images.shape[1]
    network = ResNet(settings.depth, generators([seed])[0], settings.width, channels, num_classes=n_outputs)
    if start is not None:
        try:
            network.load_state_dict(start.state_dict() | {"fc.weight": network.fc.weight, "fc.bias": network.fc.bias})
        except RuntimeError as error:
            raise ValueError(f"the start is no ResNet of depth {settings.depth} and width {settings.width}") from error
    return network


def _fit(network, images, targets, rows, loss, settings, seed, label, checkpoint) -> History:
    """Tune the network in place."""
    if not len(rows):
        raise ValueError(f"{label}: there is no training image")
    device, side = network.fc.weight.device, _side(images, settings)
    order, augmentation = (generators([seed], stream)[0] for stream in (1, 2))
    steps = -(-len(rows) // settings.batch_size)
    epochs = max(settings.epochs, -(-settings.min_steps // steps))

    def loss_of(batch: Tensor) -> Tensor:
        x = random_crop_flip(images[batch], side, augmentation)
        return loss(network(x.to(device)), targets[batch].to(device))

    batches = minibatches(rows, order, settings.batch_size)
    options = {"draws": [order, augmentation], "checkpoint": checkpoint, "label": label}
    return fit(network, loss_of, batches, epochs=epochs, **one_cycle(settings.lr, epochs * steps), **options)


@torch.inference_mode()
def _features(network: ResNet, images: Tensor, settings: FineTuningSettings, batch_size: int = 256) -> Tensor:
    side, device = _side(images, settings), network.fc.weight.device
    return torch.cat([network.features(center_crop(x, side).to(device)).cpu() for x in images.split(batch_size)])


def _side(images: Tensor, settings: FineTuningSettings) -> int:
    return round(settings.crop * min(images.shape[-2:]))
