"""What the heads of a run stand on: trunks and encoders of sound, tuned once and frozen, or hand-made features."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncertain_affect.compute.cache import code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.corpora.base import AffectVideos
from uncertain_affect.corpora.simulated.faces import landmarks, render
from uncertain_affect.corpora.simulated.raters import label_distribution
from uncertain_affect.corpora.simulated.views import ferplus_pictures
from uncertain_affect.losses import au_loss, expr_loss, landmark_loss, va_loss
from uncertain_affect.models.distill import AUXILIARY, MarbleNet, MobileFaceNet, as_pictures
from uncertain_affect.papers.distill.videos import DistillSettings, Tuning, Videos
from uncertain_affect.training.features import frozen_features
from uncertain_affect.training.fit import History, cached_fit, fit, generators, minibatches, one_cycle

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

# Seed of the pictures of pretraining: no view of the simulated world is drawn with it.
PRETRAINING_SEED = 1_000_000
# Landmark errors count in twentieths of the picture's side beside the cross-entropy of votes.
LANDMARKS_IN = 20
# 300-W's landmarks in the order that a mirror image has them.
MIRRORED = torch.tensor([
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
])  # fmt: skip
# Losses by task: logits (..., B, T, C), labels, and where there are weights of classes these, to (...).
TEACHER_LOSSES = {"AU": au_loss, "EXPR": expr_loss, "VA": va_loss, "FA": landmark_loss, "VAD": expr_loss}


# --- pictures and labels of training --------------------------------------------------------------------------


def jitter(images: Tensor, generator: torch.Generator, strength: float = 0.3) -> Tensor:
    """Pictures (N, C, H, W) from 0 to 1, each brighter or darker and of more or less contrast, by up to 30%.

    Of grey pictures this is all that the release's colour jitter does: they have no saturation.
    """
    drawn = torch.rand(2, len(images), 1, 1, 1, generator=generator).to(images)
    brightness, contrast = 1 + strength * (2 * drawn - 1)
    images = (images * brightness).clamp(max=1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + contrast * (images - mean)).clamp(0, 1)


def augmented(images: Tensor, mirrored: Tensor, draw: torch.Generator) -> Tensor:
    """Pictures (N, 1 or 3, S, S) from 0 to 1 of images uint8, jittered, those of ``mirrored`` bool (N,) mirrored."""
    x = jitter(as_pictures(images), draw)
    return torch.where(mirrored.view(-1, 1, 1, 1).to(x.device), x.flip(-1), x)


def auxiliary_labels(known: Tensor, rows: Tensor, mirrored: Tensor) -> Tensor:
    """Labels of an auxiliary task for rows (n,): coordinates of landmarks (n, 136), or voice activity (n,).

    Args:
        known: landmarks (N, 68, 2), in sides of the picture, or voice activity bool (N,).
        mirrored: bool (n,), which of the pictures are mirrored left to right.
    """
    y = known[rows]
    if y.ndim == 1:
        return y
    flipped = y[:, MIRRORED] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    return torch.where(mirrored.view(-1, 1, 1), flipped, y).flatten(1)


# --- what heads stand on --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trunks:
    """Frozen encoders, one per seed, and the features (S, N, D) of all frames; a leading 1 where all seeds share them.

    Attributes:
        features: standardised over the training frames.
        encode: gives features (S, n, D) of other pictures, uint8 (n, H, W), standardised alike.
    """

    features: Tensor
    encode: Callable[[Tensor], Tensor]

    @cached_property
    def key(self) -> str:
        """What the features are, for the cache."""
        return content_key(RECIPE, "trunks", self.features)


@dataclass(frozen=True, eq=False)
class OwnTrunks:
    """In the place of frozen trunks: every member trains its own, end to end, from the same start.

    Attributes:
        corpus: frames, sound, and in the simulated world landmarks and voice activity, the auxiliary tasks.
        start: what every trunk begins as; random weights if None.
    """

    corpus: AffectVideos
    start: MobileFaceNet | None

    @cached_property
    def key(self) -> str:
        """What the networks see, and begin as, for the cache."""
        begun = None if self.start is None else self.start.state_dict()
        return content_key(RECIPE, "own", self.corpus.checksum(), begun)


Encoders = Trunks | OwnTrunks


@one_thread()
def encoders(
    corpus: AffectVideos, videos: Videos, settings: DistillSettings, simulated: bool, device: str = "cpu"
) -> Encoders:
    """What the heads of a run stand on: hand-made features of single images, tuned trunks, or trunks of their own.

    Args:
        corpus, videos: the frames, and which of them train.
        settings: of the run.
        simulated: the faces are simulated, so that trunks may begin with one that knows such faces.
        device: where to train.
    """
    if settings.clip == 1 and not settings.end_to_end:
        return hog_trunk(corpus, videos)
    start = starting_trunk(settings.tuning, corpus.frames.shape[-1], device) if simulated else None
    if settings.end_to_end:
        return OwnTrunks(corpus, start)
    return tune_trunks(corpus, videos, settings, start, device)


def hog_trunk(corpus: AffectVideos, videos: Videos) -> Trunks:
    """Histograms of oriented gradients in the place of a trunk, for images that no network has seen."""

    def encode(images: Tensor) -> Tensor:
        return torch.from_numpy(np.array(frozen_features(images, "hog")))[None]

    return _standardised(encode(corpus.frames), encode, videos)


def tune_trunks(
    corpus: AffectVideos, videos: Videos, settings: DistillSettings, start: MobileFaceNet | None, device: str = "cpu"
) -> Trunks:
    """One trunk per seed, tuned on all tasks at once and frozen, or from the cache; with audio, sound beside it.

    Its linear heads, which are thrown away, see single frames; tasks have equal weights, and a frame counts for those
    whose label it has. Where landmarks and voice activity are known (the simulated world) they are auxiliary tasks.

    Args:
        corpus, videos: the frames, and which of them train.
        settings: of the run.
        start: what every trunk begins as; its layers up to conv_34 are left as they are, so that their maps of all
            frames, plain, and mirrored and jittered, are computed once for all seeds. Random weights if None.
        device: where to train.
    """
    maps = cache(partial(_early_maps, start, corpus.frames, device))
    tuned = [_tuned("trunk", corpus, videos, settings.tuning, seed, start, maps, device) for seed in settings.seeds]
    features = torch.stack([x for _, x in tuned])
    if settings.audio:
        sound = [_tuned("sound", corpus, videos, settings.tuning, seed, None, maps, device) for seed in settings.seeds]
        features = torch.cat([features, torch.stack([x for _, x in sound])], 2)

    def encode(images: Tensor) -> Tensor:
        return torch.stack([in_batches(network, device, images) for network, _ in tuned])

    return _standardised(features, encode, videos)


def _standardised(features: Tensor, encode: Callable[[Tensor], Tensor], videos: Videos) -> Trunks:
    """Features (S, N, D) and those of other pictures, standardised by the training frames."""
    training = features[:, videos.rows("train")]
    mean, sd = training.mean(1, keepdim=True), training.std(1, keepdim=True).clamp(min=1e-6)
    return Trunks((features - mean) / sd, lambda images: (encode(images) - mean) / sd)


# --- training them --------------------------------------------------------------------------------------------


@one_thread()
def starting_trunk(tuning: Tuning, side: int, device: str = "cpu") -> MobileFaceNet:
    """A trunk that knows simulated faces, though none of the people it will meet, or from the cache.

    In the place of the release's, which begins from a face-alignment network: it has learnt the 68 landmarks, and the
    votes for expressions, of other simulated pictures.
    """
    draw = generators([PRETRAINING_SEED])[0]
    network = MobileFaceNet(draw, tuning.width, side, tuning.repeats)

    def learn(_: Path) -> History:
        images, points, votes = [], [], []
        for start in range(0, tuning.pictures, 1000):
            people, intensities, nuisance = ferplus_pictures(min(1000, tuning.pictures - start), draw)
            images.append(render(intensities, people.identity, nuisance, size=side, generator=draw))
            points.append(landmarks(intensities, people.identity, nuisance).float())
            votes.append(label_distribution(intensities, nuisance).float())
        images, points, votes = torch.cat(images), torch.cat(points), torch.cat(votes)
        n_points, n_classes = points[0].numel(), votes.shape[1]

        def loss(rows: Tensor, mirrored: Tensor) -> Tensor:
            z = model(augmented(images[rows].to(device), mirrored, draw))
            y = auxiliary_labels(points, rows, mirrored).to(device)
            expressions = F.cross_entropy(z[:, n_points:], votes[rows].to(device))
            return LANDMARKS_IN * (z[:, :n_points] - y).abs().mean() + expressions

        weight = torch.randn(n_points + n_classes, network.n_features, generator=draw)
        bias = torch.cat([points.flatten(1).mean(0), torch.zeros(n_classes)])
        model = nn.Sequential(network, _linear(weight / (10 * network.n_features**0.5), bias).to(device))
        pretraining = replace(tuning, lr=tuning.start_lr, epochs=tuning.start_epochs)
        return _fit(model, loss, torch.arange(len(images)), pretraining, draw)

    cached_fit(network, learn, RECIPE, "start", asdict(tuning), side, kind="trunks", device=device)
    return network


@torch.no_grad()
def _early_maps(start: MobileFaceNet, frames: Tensor, device: str) -> Tensor:
    """Maps (2, N, C, h, w) of a start's early layers: of frames as they are, and of them mirrored and jittered."""
    draw, maps = generators([PRETRAINING_SEED], 1)[0], []
    for batch in frames.split(256):
        batch = batch.to(device)
        other = augmented(batch, torch.ones(len(batch), dtype=torch.bool), draw)
        maps.append(torch.stack([start.early_maps(batch), start.early_maps(other)]))
    return torch.cat(maps, 1)


def _tuned(kind, corpus, videos, tuning, seed, start, maps, device) -> tuple[nn.Module, Tensor]:
    """A tuned trunk or encoder of sound, and its features (N, D) of all frames.

    Args:
        kind: ``"trunk"`` or ``"sound"``.
        maps: gives `_early_maps` of the start; only what comes after these layers learns.
    """
    draw = generators([seed], 101 if kind == "trunk" else 102)[0]
    if kind == "trunk":
        network = MobileFaceNet(draw, tuning.width, corpus.frames.shape[-1], tuning.repeats)
        inputs, auxiliary = corpus.frames, "landmarks"
    else:
        network, inputs, auxiliary = MarbleNet(draw, tuning.width), corpus.audio, "speaking"
    known = (corpus.truth or {}).get(auxiliary)
    learning = network
    if start is not None:
        network.load_state_dict(start.state_dict())
        learning = nn.Sequential(network.layers[network.n_early :], nn.Flatten())
    outputs, weights = videos.outputs, {task: [w.to(device)] for task, w in videos.weights.items()}
    if known is not None:
        outputs |= {"FA": AUXILIARY["FA"]} if kind == "trunk" else {"VAD": AUXILIARY["VAD"]}
    n_outputs, n_features = sum(outputs.values()), network.n_features
    weight = (2 * torch.rand(n_outputs, n_features, generator=draw) - 1) * n_features**-0.5
    model = nn.Sequential(learning, _linear(weight, torch.zeros(n_outputs)).to(device))

    def given(rows: Tensor, mirrored: Tensor) -> Tensor:
        if start is not None:
            return maps()[mirrored.long(), rows]
        x = inputs[rows].to(device)
        return augmented(x, mirrored, draw) if kind == "trunk" else x

    def loss(rows: Tensor, mirrored: Tensor) -> Tensor:
        z, terms = model(given(rows, mirrored)), []
        for task, logits in zip(outputs, z.split(list(outputs.values()), 1), strict=True):
            if task in AUXILIARY:
                labelled, y = slice(None), auxiliary_labels(known, rows, mirrored)
            else:
                labelled, y = videos.train[task][rows], videos.labels[task][rows]
            y = y[labelled].to(device)
            if len(y) > 1:  # a concordance takes two
                terms.append(TEACHER_LOSSES[task](logits[labelled][None], y[None], *weights.get(task, [])))
        return sum(terms) / len(outputs)

    def learn(_: Path) -> History:
        history = _fit(model, loss, videos.rows("train"), tuning, draw)
        features = in_batches(learning, device, inputs if start is None else maps()[0])
        return replace(history, traces={"features": features.numpy()})

    labels = videos.labels, videos.train, videos.weights, known
    decides = kind, asdict(tuning), seed, inputs, labels, network.state_dict()
    history = cached_fit(network, learn, RECIPE, *decides, kind="trunks", device=device)
    return network, torch.from_numpy(history.traces["features"])


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer with these weights (C, D) and biases (C,)."""
    layer = nn.utils.skip_init(nn.Linear, *weight.T.shape)  # it draws nothing from the global generator
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def _fit(model: nn.Module, loss: Callable, rows: Tensor, tuning: Tuning, draw: torch.Generator) -> History:
    """Train a network on rows int (N,); every other picture is mirrored, at random.

    Args:
        loss: of rows (n,), and which of them are mirrored, bool (n,).
        tuning: highest learning rate, epochs, and rows a step.
        draw: the generator of all that is drawn.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in minibatches(rows, draw, tuning.batch_size)():
            mirrored = torch.rand(len(batch), generator=draw) < 0.5
            if len(batch) > 1:  # no batch normalisation of one
                yield batch, mirrored

    n_steps = tuning.epochs * -(-len(rows) // tuning.batch_size)
    return fit(model, loss, batches, epochs=tuning.epochs, label="tuning", **one_cycle(tuning.lr, n_steps))


@torch.no_grad()
def in_batches(encode: Callable[..., Tensor], device: str, *inputs: Tensor, batch_size: int = 256) -> Tensor:
    """What an encoder makes of inputs (N, ...), some of them at a time."""
    batches = zip(*(x.split(batch_size) for x in inputs), strict=True)
    return torch.cat([encode(*(x.to(device) for x in batch)).cpu() for batch in batches])
