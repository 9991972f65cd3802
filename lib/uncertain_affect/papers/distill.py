"""Iterative Distillation's protocol: teachers, their ensemble, and students taught by it, three generations long.

Sources: appendices A to C and, where they are silent, the released code (wtomin/UncertainEmotion), whose four
behaviours that differ from the text come back with ``faithful_to_release``.

One trunk per seed (and, with audio, one encoder of sound) is tuned on all tasks at once and frozen; its features are
computed once, and the members of all seeds train side by side on them, generation after generation. With
``end_to_end`` every member trains a network of its own.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR
from tqdm.auto import tqdm

from uncertain_affect import corpora, losses
from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.corpora import ferplus
from uncertain_affect.corpora.base import AffectVideos, Expressions
from uncertain_affect.corpora.simulated.faces import landmarks, render
from uncertain_affect.corpora.simulated.raters import label_distribution as label_shares
from uncertain_affect.corpora.simulated.views import ferplus_pictures, out_of_distribution
from uncertain_affect.evidence.resampling import Floats, Statistic, cluster_sums
from uncertain_affect.metrics import EntropyDecomposition, bernoulli_entropy_decomposition, entropy_decomposition
from uncertain_affect.metrics.sums import ccc_from_sums, moment_sums
from uncertain_affect.models.distill import AUXILIARY, N_BINS, EMENet, MarbleNet, MobileFaceNet, TaskHeads, bin_values
from uncertain_affect.training.features import frozen_features
from uncertain_affect.training.fit import History, cached_fit, fit, generators, minibatches

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

TASKS = ("AU", "EXPR", "VA")
SUBSETS = {"AU": "au", "EXPR": "expression", "VA": "va"}
DIMENSIONS = ("Valence", "Arousal")
STUDENTS = ("Stu1", "Stu2", "Stu3")
METHODS = ("Tea", *STUDENTS, "TS", "MC")
AU_NAMES = tuple(f"AU{n}" for n in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")

KINDS = EntropyDecomposition._fields
# How Aff-Wild2 is read: every fourth frame, as the simulated videos have; in quick small, grey, and 13 s of each video.
READING = {"quick": {"size": 64, "colour": False, "every": 4, "longest": 96}, "full": {"size": 112, "every": 4}}
# Chances are kept this far from 0 and 1 before their logarithm, as in the release.
EPS = 1e-8
# Where the release cuts a video into chunks in validation.
CHUNK = 64
# 300-W's landmarks in the order that a mirror image has them.
MIRRORED = torch.tensor(
    [
        *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Tuning:
    """How a trunk and an encoder of sound begin, and are tuned before they are frozen: Adam, its rate over one cycle.

    Attributes:
        width, repeats: of :class:`MobileFaceNet` and :class:`MarbleNet`.
        pictures, start_epochs, start_lr: simulated pictures of other people that a trunk first learns from.
        lr: the highest learning rate of tuning.
        epochs: passes of tuning over the training frames.
        batch_size: frames a step.
    """

    width: float = 1.0
    repeats: float = 1.0
    pictures: int = 30_000
    start_epochs: int = 10
    start_lr: float = 6e-3
    lr: float = 2e-3
    epochs: int = 3
    batch_size: int = 32


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run.

    From the release: Adam at 1e-3, tenfold slower every ``decay`` epochs; EMENet-V 10 epochs of clips of 16 frames,
    five to a minibatch and task, EMENet-VA 15 of 8 frames, eight; dropout .5 before the linear layer; ensembles of
    five; three generations. The trunk's tuning and the shared layer are ours: see the module.

    Attributes:
        tuning: of the trunk and the encoder of sound.
        audio: EMENet-VA.
        members: N, the size of an ensemble.
        hidden: width of the GRUs' states.
        shared: width of the layer that a member's tasks share on frozen features; None without one.
        clip, clips: frames of a clip, clips of a minibatch.
        tuning_share: of the training videos, held out of all training: Algorithm 1, the best epoch and temperatures
            look at them, so that the validation set is only scored.
        n_samples: passes of Monte Carlo dropout.
        side_by_side: copies trained at once; more of them do not fit the processor's cache.
        faithful_to_release: GRUs run across the clips of a minibatch in training and see single frames in validation;
            Algorithm 1's counters start at 0 and weights never come back; Monte Carlo dropout stays off.
        end_to_end: every member trains its own trunk.
    """

    seeds: tuple[int, ...]
    tuning: Tuning
    audio: bool = False
    members: int = 5
    generations: int = 3
    hidden: int = 128
    shared: int | None = None
    clip: int = 16
    clips: int = 5
    lr: float = 1e-3
    decay: int = 3
    epochs: int = 10
    dropout: float = 0.5
    tuning_share: float = 0.2
    n_samples: int = 10
    side_by_side: int = 50
    faithful_to_release: bool = False
    end_to_end: bool = False


def settings(
    profile: str, seed: int = 0, audio: bool = False, corpus: str = "simulated", device: str = "cpu"
) -> Settings:
    """The settings of a profile; seeds count up from ``seed``.

    In quick, trunk and heads are a quarter as wide as published, and the trunk is frozen before the members train; in
    full every member trains a network of the published size, for which a GPU is needed. On FER+ either profile
    trains heads on frozen features; on a GPU full trains small convolutional networks from scratch instead, a quarter
    as wide as published, on the 48 x 48 pixels. Of single images there is no clip, and a minibatch has 256 of them.

    Raises:
        ValueError: no such profile.
    """
    if profile not in ("quick", "full"):
        raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')
    seeds = tuple(range(seed, seed + (5 if profile == "quick" else 20)))
    sizes = {"clip": 8, "clips": 8, "decay": 4, "epochs": 15} if audio else {}
    if corpus == "ferplus":
        sizes = {"clip": 1, "clips": 256, "hidden": 64}
        if profile == "full" and device.startswith("cuda"):
            return Settings(seeds, Tuning(width=0.25, repeats=0.25), **sizes, side_by_side=1, end_to_end=True)
        return Settings(seeds, Tuning(), **sizes, shared=64, side_by_side=25)
    if profile == "quick":
        narrow = {"hidden": 32, "shared": 64, "lr": 3e-3}
        return Settings(
            seeds, Tuning(width=0.25, repeats=0.25, pictures=3000, start_epochs=3, epochs=2), audio, **(sizes | narrow)
        )
    return Settings(seeds, Tuning(), audio, end_to_end=True, side_by_side=1, **sizes)


# --- videos and their labels ----------------------------------------------------------------------------------


def load(name: str, profile: str, seed: int = 0, root: str | os.PathLike | None = None) -> AffectVideos:
    """A corpus of videos; FER+'s images are videos of one frame, with an expression each and nothing else.

    Aff-Wild2 comes as ``READING`` says, and without sound.

    Args:
        name: ``"simulated"`` is its affwild2 view.
        profile, seed: size and seed of the simulated world.
        root: the data root.

    Raises:
        CorpusError: as :func:`corpora.load`.
    """
    if name == "simulated":
        return corpora.load(name, view="affwild2", size=profile, seed=seed)
    loaded = corpora.load(name, root, **(READING[profile] if name == "affwild2" else {}))
    return images_as_videos(loaded) if isinstance(loaded, Expressions) else loaded


def images_as_videos(corpus: Expressions) -> AffectVideos:
    """Images with the label that more than half of the annotators give; `truth` holds back the votes (N, 8).

    Images with one identity of pixels share a video; those without a majority have no label, and no vote for an
    emotion no place. Subsets are "expression train", "expression tune" and "expression val" (the test images).
    """
    label, _ = ferplus.majority(corpus.votes)
    n, eight = len(corpus), corpus.votes[:, : len(ferplus.EMOTIONS)].float()
    named = {"train": "train", "tune": "val", "val": "test"}
    return AffectVideos(
        frames=corpus.images,
        audio=torch.zeros(n, 0),
        au=torch.zeros(n, 0, dtype=torch.int8),
        expression=label,
        valence_arousal=torch.full((n, 2), -5.0),
        video=corpus.groups.numpy().astype(str),
        time=torch.zeros(n),
        subsets={f"expression {ours}": torch.from_numpy(corpus.split == theirs) for ours, theirs in named.items()},
        left_out=corpus.left_out,
        truth={"votes": eight},
    )


@dataclass(frozen=True, eq=False)
class Videos:
    """Which frames train, tune and test each task, and their labels; tasks that a corpus lacks are absent.

    Attributes:
        labels: by task: AU int (N, A), EXPR int (N,), VA float (N, 2).
        names: of the action units and of the expressions.
        train, tune, test: bool (N,) by task, frames with labels.
        clips: int (n, T) by task, rows of frames of one video in order of time that train it.
        union: int (m, T), clips of all frames of training videos, labelled or not: what students train on.
        sequences: rows of each video, in order of time.
        video: str (N,).
        weights: p_c of AU and EXPR over the training frames.
        left_out: how many labelled training frames of each task fill no clip.
    """

    labels: dict[str, Tensor]
    names: dict[str, tuple[str, ...]]
    train: dict[str, Tensor]
    tune: dict[str, Tensor]
    test: dict[str, Tensor]
    clips: dict[str, Tensor]
    union: Tensor
    sequences: list[Tensor]
    video: np.ndarray
    weights: dict[str, Tensor]
    left_out: dict[str, int]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.labels)

    @cached_property
    def test_rows(self) -> Tensor:
        """Rows (n,) of the frames that test any task, ascending."""
        return torch.stack(list(self.test.values())).any(0).nonzero().squeeze(1)

    @cached_property
    def tune_rows(self) -> Tensor:
        """Rows (n,) of the frames that tune any task, ascending."""
        return torch.stack(list(self.tune.values())).any(0).nonzero().squeeze(1)

    @property
    def outputs(self) -> dict[str, int]:
        """Outputs of the heads by task."""
        sizes = {"AU": lambda: self.labels["AU"].shape[1], "EXPR": lambda: len(self.names["EXPR"]), "VA": lambda: 40}
        return {task: sizes[task]() for task in self.tasks}


def split_videos(corpus: AffectVideos, settings: Settings, expressions: Sequence[str] | None = None) -> Videos:
    """Frames for training, tuning and testing.

    A frame has a task's label if none of its parts is missing. Frames tune whose subset is "<task> tune", or else
    those of a share of the training videos that is drawn from the first seed, and that no task trains on. A video
    without labels for a task gives it no clip, and neither do fewer labelled frames than fill one.

    Args:
        corpus: with subsets "<task> train" and "<task> val" for each task it has, of `SUBSETS`.
        settings: of the run.
        expressions: names of the classes; those of Aff-Wild2, or of FER+ where there are eight.

    Raises:
        ValueError: no task, a subset in which every label is missing, or too few labels for a clip.
    """
    va = corpus.valence_arousal
    labels = {"AU": corpus.au, "EXPR": corpus.expression, "VA": va}
    known = {"AU": (corpus.au >= 0).all(1), "EXPR": corpus.expression >= 0, "VA": (va >= -1).all(1)}
    tasks = [task for task in TASKS if f"{SUBSETS[task]} train" in corpus.subsets]
    if not tasks:
        raise ValueError(f'no task: expected subsets such as "au train", the corpus has {", ".join(corpus.subsets)}')
    parts = {
        part: {task: corpus.subsets[f"{SUBSETS[task]} {part}"] & known[task] for task in tasks}
        for part in ("train", "val")
    }
    in_training = torch.stack([corpus.subsets[f"{SUBSETS[task]} train"] for task in tasks]).any(0)
    held_out = torch.zeros(len(corpus), dtype=torch.bool)
    if all(f"{SUBSETS[task]} tune" in corpus.subsets for task in tasks):
        tune = {task: corpus.subsets[f"{SUBSETS[task]} tune"] & known[task] for task in tasks}
    else:
        videos = np.unique(corpus.video[in_training.numpy()])
        drawn = torch.randperm(len(videos), generator=generators([settings.seeds[0]], 105)[0]).numpy()
        n = max(1, round(settings.tuning_share * len(videos)))
        while n < len(videos):  # more, if need be, until each task has a label among them
            held_out = torch.from_numpy(np.isin(corpus.video, videos[drawn[:n]]))
            if all((parts["train"][task] & held_out).any() for task in tasks):
                break
            n += 1
        tune = {task: parts["train"][task] & held_out for task in tasks}
    train = {task: parts["train"][task] & ~held_out for task in tasks}
    for part, chosen in (("train", train), ("tune", tune), ("val", parts["val"])):
        for task in tasks:
            if not chosen[task].any():
                raise ValueError(
                    f'every label of "{SUBSETS[task]} {part}" is missing: no frame there has a known label; leave the '
                    f'subset "{SUBSETS[task]} train" out to do without {task}'
                )
    sequences = _by_video(corpus)
    clips, left_out = {}, {}
    for task in tasks:
        clips[task] = _cut(sequences, train[task], settings.clip)
        left_out[task] = int(train[task].sum()) - clips[task].numel()
        if not len(clips[task]):
            raise ValueError(
                f"no video has {settings.clip} frames that train {task}, as many as a clip: make clips shorter"
            )
    weights = {}
    if expressions is None:
        expressions = ferplus.EMOTIONS if int(corpus.expression.max()) >= len(EXPRESSIONS) else EXPRESSIONS
    if "AU" in tasks:
        weights["AU"] = losses.positive_weights(corpus.au[train["AU"]])
    if "EXPR" in tasks:
        weights["EXPR"] = losses.class_weights(corpus.expression[train["EXPR"]], len(expressions))
    n_au = corpus.au.shape[1]
    names = {"AU": AU_NAMES if n_au == len(AU_NAMES) else tuple(f"unit {i}" for i in range(n_au))}
    return Videos(
        labels={task: labels[task] for task in tasks},
        names=names | {"EXPR": tuple(expressions)},
        train=train,
        tune=tune,
        test=parts["val"],
        clips=clips,
        union=_cut(sequences, in_training & ~held_out, settings.clip),
        sequences=sequences,
        video=corpus.video,
        weights=weights,
        left_out=left_out,
    )


def _by_video(corpus: AffectVideos) -> list[Tensor]:
    """Rows of each video, in order of time."""
    _, video = np.unique(corpus.video, return_inverse=True)
    order = np.lexsort((corpus.time.numpy(), video))
    starts = np.flatnonzero(np.diff(video[order], prepend=-1))
    return [torch.from_numpy(rows) for rows in np.split(order, starts[1:])]


def _cut(sequences: Sequence[Tensor], wanted: Tensor, length: int) -> Tensor:
    """Clips (n, T) of the wanted frames of each video, one after another; what is left at its end fills none."""
    if length == 1:
        return wanted.nonzero()
    rows = [rows[wanted[rows]] for rows in sequences]
    return torch.cat([r[: len(r) // length * length].view(-1, length) for r in rows])


# --- trunks ---------------------------------------------------------------------------------------------------


def jitter(images: Tensor, generator: torch.Generator, strength: float = 0.3) -> Tensor:
    """Pictures (N, C, H, W) from 0 to 1, each brighter or darker and of more or less contrast, by up to 30%.

    Of grey pictures this is all that the release's colour jitter does: they have no saturation.
    """
    brightness, contrast = (
        1 + strength * (2 * torch.rand(len(images), 1, 1, 1, generator=generator) - 1).to(images) for _ in range(2)
    )
    images = (images * brightness).clamp(max=1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + contrast * (images - mean)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Trunks:
    """Frozen encoders, one per seed, and the features (S, N, D) of all frames; a leading 1 where all seeds share them.

    Attributes:
        features: standardised over the training frames.
        encode: gives features (S, n, D) of other pictures, uint8 (n, H, W), standardised alike.
        key: what the features follow from, for the cache.
    """

    features: Tensor
    encode: Callable[[Tensor], Tensor]
    key: str


def hog_trunk(corpus: AffectVideos, videos: Videos) -> Trunks:
    """Histograms of oriented gradients in the place of a trunk, for images that no network has seen."""
    training = torch.stack(list(videos.train.values())).any(0)
    x = torch.from_numpy(np.array(frozen_features(corpus.frames, "hog")))
    mean, sd = x[training].mean(0), x[training].std(0).clamp(min=1e-6)

    def encode(images: Tensor) -> Tensor:
        return ((torch.from_numpy(np.array(frozen_features(images, "hog"))) - mean) / sd)[None]

    features = ((x - mean) / sd)[None]
    return Trunks(features, encode, content_key(RECIPE, "hog", features))


# Seed of the pictures that a trunk begins with: no view of the simulated world is drawn with it.
PRETRAINING_SEED = 1_000_000
# Landmark errors count in twentieths of the picture's side beside the cross-entropy of votes.
LANDMARKS_IN = 20


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
            votes.append(label_shares(intensities, nuisance).float())
        images, points, votes = torch.cat(images), torch.cat(points), torch.cat(votes)
        n_points = points[0].numel()

        def loss(z: Tensor, batch: Tensor, mirrored: Tensor) -> Tensor:
            at = _mirror(points[batch], mirrored).flatten(1).to(device)
            of_votes = F.cross_entropy(z[:, n_points:], votes[batch].to(device))
            return LANDMARKS_IN * (z[:, :n_points] - at).abs().mean() + of_votes

        def encode(batch: Tensor, mirrored: Tensor) -> Tensor:
            return network.encode(_augmented(images[batch].to(device), mirrored, draw))

        linear = nn.Linear(network.n_features, n_points + votes.shape[1], device="meta").to_empty(device=device)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(linear.weight.shape, generator=draw) / (10 * network.n_features**0.5))
            linear.bias.copy_(torch.cat([points.flatten(1).mean(0), torch.zeros(votes.shape[1])]))
        how = (tuning.start_lr, tuning.start_epochs, tuning.batch_size)
        return _learn(encode, network, linear, loss, torch.arange(len(images)), how, draw)

    cached_fit(network, learn, RECIPE, "start", asdict(tuning), side, kind="trunks", device=device)
    return network.train()


def _augmented(images: Tensor, mirrored: Tensor, draw: torch.Generator) -> Tensor:
    """Pictures (n, 3, S, S) from 0 to 1 of uint8 (n, S, S) or (n, 3, S, S), jittered, some of them mirrored."""
    x = jitter((images[:, None] if images.ndim == 3 else images).float() / 255, draw)
    return torch.where(mirrored.view(-1, 1, 1, 1).to(x.device), x.flip(-1), x).expand(-1, 3, -1, -1)


def _mirror(points: Tensor, mirrored: Tensor) -> Tensor:
    """Landmarks (n, 68, 2), in sides of the picture, of pictures of which some are mirrored left to right."""
    flipped = points[:, MIRRORED] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    return torch.where(mirrored.view(-1, 1, 1), flipped, points)


@one_thread()
def encoders(
    corpus: AffectVideos, videos: Videos, settings: Settings, simulated: bool, device: str = "cpu"
) -> "Trunks | OwnTrunks":
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


def tune_trunks(
    corpus: AffectVideos, videos: Videos, settings: Settings, start: MobileFaceNet | None = None, device: str = "cpu"
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
    maps = _Maps(start, corpus.frames, device)
    networks = [_tuned("trunk", corpus, videos, settings, seed, maps, device) for seed in settings.seeds]
    features = [x for _, x in networks]
    if settings.audio:
        sounds = [_tuned("sound", corpus, videos, settings, seed, maps, device)[1] for seed in settings.seeds]
        features = [torch.cat(pair, 1) for pair in zip(features, sounds, strict=True)]
    x = torch.stack(features)
    training = torch.stack(list(videos.train.values())).any(0)
    mean, sd = x[:, training].mean(1, keepdim=True), x[:, training].std(1, keepdim=True).clamp(min=1e-6)

    def encode(images: Tensor) -> Tensor:
        if settings.audio:
            raise ValueError(NO_SOUND)
        return (torch.stack([_encode(network, images, device) for network, _ in networks]) - mean) / sd

    x = (x - mean) / sd
    return Trunks(x, encode, content_key(RECIPE, "trunks", x))


class _Maps:
    """Maps of a start's layers up to conv_34, computed when they are first asked for."""

    def __init__(self, start: MobileFaceNet | None, frames: Tensor, device: str):
        self.start, self.frames, self.device = start, frames, device

    @cached_property
    def both(self) -> Tensor:
        """(2, N, C, h, w): of the frames as they are, and of them mirrored and jittered."""
        draw, early = generators([PRETRAINING_SEED], 1)[0], self.start.layers[: self.start.n_early].eval()
        maps = []
        with torch.inference_mode():
            for batch in self.frames.split(256):
                plain = (batch[:, None] if batch.ndim == 3 else batch).expand(-1, 3, -1, -1).to(self.device) / 255
                other = _augmented(batch.to(self.device), torch.ones(len(batch), dtype=torch.bool), draw)
                maps.append(
                    torch.stack([early(x.contiguous(memory_format=torch.channels_last)) for x in (plain, other)])
                )
        return torch.cat(maps, 1).clone()


def _tuned(
    kind: str,
    corpus: AffectVideos,
    videos: Videos,
    settings: Settings,
    seed: int,
    maps: _Maps,
    device: str,
) -> tuple[nn.Module, Tensor]:
    """A tuned trunk or encoder of sound, and its features (N, D) of all frames."""
    tuning, start = settings.tuning, maps.start if kind == "trunk" else None
    draw = generators([seed], 101 if kind == "trunk" else 102)[0]
    if kind == "trunk":
        network: nn.Module = MobileFaceNet(draw, tuning.width, corpus.frames.shape[-1], tuning.repeats)
        inputs, auxiliary = corpus.frames, "landmarks"
    else:
        network, inputs, auxiliary = MarbleNet(draw, tuning.width), corpus.audio, "speaking"
    if start is not None:
        network.load_state_dict(start.state_dict())
    known = None if corpus.truth is None else corpus.truth.get(auxiliary)
    begun = None if start is None else start.state_dict()
    decides = (kind, asdict(tuning), seed, inputs, videos.labels, videos.train, videos.weights, known, begun)

    def learn(_: Path) -> History:
        learning = network if start is None else network.layers[network.n_early :]

        def encode(batch: Tensor, mirrored: Tensor) -> Tensor:
            if kind == "sound":
                return network(inputs[batch].to(device))
            if start is None:
                return network.encode(_augmented(inputs[batch].to(device), mirrored, draw))
            return learning(maps.both[mirrored.long(), batch]).flatten(1)

        network.train()
        history = _tune(encode, learning, network.n_features, videos, known, tuning, draw, device)
        network.eval()
        if start is None:
            features = _encode(network, inputs, device)
        else:
            features = _encode(nn.Sequential(learning, nn.Flatten()), maps.both[0], device)
        return replace(history, traces={"features": features.numpy()})

    history = cached_fit(network, learn, RECIPE, *decides, kind="trunks", device=device)
    return network, torch.from_numpy(history.traces["features"])


def _tune(
    encode: Callable[[Tensor, Tensor], Tensor],
    learning: nn.Module,
    n_features: int,
    videos: Videos,
    known: Tensor | None,
    tuning: Tuning,
    draw: torch.Generator,
    device: str,
) -> History:
    """Tune an encoder on all tasks; ``known`` are landmarks (N, 68, 2) or voice activity bool (N,), or None."""
    outputs = videos.outputs
    if known is not None:
        outputs |= {"FA": AUXILIARY["FA"]} if known.ndim == 3 else {"VAD": AUXILIARY["VAD"]}
    p_c = {task: w.to(device) for task, w in videos.weights.items()}

    def loss(z: Tensor, batch: Tensor, mirrored: Tensor) -> Tensor:
        terms = []
        for task, said in zip(outputs, z.split(list(outputs.values()), 1), strict=True):
            if task == "FA":
                there, y = slice(None), _mirror(known[batch], mirrored).flatten(1)
            elif task == "VAD":
                there, y = slice(None), known[batch].long()
            else:
                there, y = videos.train[task][batch], videos.labels[task][batch]
            y = y[there].to(device)
            if len(y) > 1:  # a concordance takes two
                terms.append(TEACHING[task](said[there][None, None], y[None, None], p_c.get(task)).squeeze())
        return sum(terms) / len(outputs)

    linear = nn.Linear(n_features, sum(outputs.values()), device="meta").to_empty(device=device)
    with torch.no_grad():
        linear.weight.copy_((2 * torch.rand(linear.weight.shape, generator=draw) - 1) * n_features**-0.5)
        linear.bias.zero_()
    rows = torch.stack(list(videos.train.values())).any(0).nonzero().squeeze(1)
    return _learn(encode, learning, linear, loss, rows, (tuning.lr, tuning.epochs, tuning.batch_size), draw)


def _learn(
    encode: Callable[[Tensor, Tensor], Tensor],
    learning: nn.Module,
    linear: nn.Linear,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    rows: Tensor,
    how: tuple[float, int, int],
    draw: torch.Generator,
) -> History:
    """Train an encoder and the linear layer on it; every other picture is mirrored, at random.

    Args:
        encode: gives features (n, D) of rows, and which of them are mirrored.
        learning: what of the encoder learns.
        loss: of outputs (n, K), their rows, and which of them are mirrored.
        how: highest learning rate, epochs, and rows a step.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    lr, epochs, batch_size = how

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in minibatches(rows, draw, batch_size)():
            mirrored = torch.rand(len(batch), generator=draw) < 0.5
            if len(batch) > 1:  # no batch normalisation of one
                yield batch, mirrored

    return fit(
        nn.ModuleList([learning, linear]),
        lambda batch, mirrored: loss(linear(encode(batch, mirrored)), batch, mirrored),
        batches,
        epochs=epochs,
        optimiser=partial(Adam, lr=lr, fused=True),
        schedule=partial(OneCycleLR, max_lr=lr, total_steps=epochs * -(-len(rows) // batch_size)),
        label="tuning",
    )


@torch.inference_mode()
def _encode(network: nn.Module, inputs: Tensor, device: str, batch_size: int = 256) -> Tensor:
    return torch.cat([network(batch.to(device)).cpu() for batch in inputs.split(batch_size)]).clone()


# Losses of teachers by task: logits (K, B, T, C), labels, and weights of classes, to (K,).
TEACHING: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "AU": losses.au_loss,
    "EXPR": losses.expr_loss,
    "VA": lambda z, y, _: losses.va_loss(z, y),
    "FA": lambda z, y, _: losses.landmark_loss(z, y),
    "VAD": losses.expr_loss,
}
# Losses of students by task: logits and soft labels to (K,).
DISTILLING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AU": losses.au_distillation,
    "EXPR": losses.expr_distillation,
    "VA": losses.va_distillation,
}


# --- members --------------------------------------------------------------------------------------------------


class Copy(NamedTuple):
    """One network: place of its seed among the seeds, number among the members, balanced by Algorithm 1 or not."""

    seed: int
    member: int
    balanced: bool = True


@dataclass(frozen=True, eq=False)
class Part:
    """Copies that trained side by side, and what they read: features (K or 1, n, D) of rows, or of pictures."""

    copies: tuple[Copy, ...]
    heads: TaskHeads
    features: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Generation:
    """The networks of all seeds and members of one generation; teachers are the generation 0.

    Attributes:
        parts: their networks, in the order of ``copies``.
        performance: (K, E, A), validation performance of each task after each epoch, on the frames that tune.
        weights: (K, E + 1, A), weights of the tasks' losses before the first and after each epoch, normalised over
            tasks and auxiliary tasks.
        best_epoch: (K,), the epoch whose weights are kept, from 1.
        number: 0 for teachers, else of the students.
        key: what the networks follow from, for the cache.
    """

    parts: tuple[Part, ...]
    performance: Tensor
    weights: Tensor
    best_epoch: Tensor
    settings: Settings
    number: int
    key: str

    @property
    def copies(self) -> tuple[Copy, ...]:
        return tuple(copy for part in self.parts for copy in part.copies)

    def arm(self, balanced: bool) -> "Generation":
        """The copies with, or without, balancing.

        Raises:
            ValueError: there is none.
        """
        parts, keep = [], torch.tensor([copy.balanced == balanced for copy in self.copies])
        if not keep.any():
            raise ValueError(f"no network was trained with{'' if balanced else 'out'} balancing")
        if keep.all():
            return self
        for part in self.parts:
            chosen = [i for i, copy in enumerate(part.copies) if copy.balanced == balanced]
            if chosen:
                parts.append(_select(part, chosen))
        traces = (self.performance[keep], self.weights[keep], self.best_epoch[keep])
        return Generation(tuple(parts), *traces, self.settings, self.number, content_key(self.key, balanced))


def _select(part: Part, chosen: list[int]) -> Part:
    if len(chosen) == len(part.copies):
        return part
    heads = part.heads.select(chosen)
    features, encode = ((lambda x, f=f: y[chosen] if len(y := f(x)) > 1 else y) for f in (part.features, part.encode))
    return Part(tuple(part.copies[i] for i in chosen), heads, features, encode)


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
        begun = None if self.start is None else self.start.state_dict()
        return content_key(RECIPE, "own", self.corpus.checksum(), begun)


@one_thread()
def train(
    videos: Videos,
    trunks: Trunks | OwnTrunks,
    settings: Settings,
    *,
    soft: "SoftLabels | None" = None,
    balanced: Sequence[bool] = (True,),
    device: str = "cpu",
) -> Generation:
    """Teachers, or with soft labels students, of all seeds and members, or from the cache.

    On frozen trunks they train side by side; copies of one seed and member start from the same weights, see the same
    minibatches and drop the same units, whether balanced or not. With trunks of their own they train one by one.

    Args:
        videos, trunks: what they learn from.
        settings: of the run.
        soft: what the generation before says; without, networks are teachers.
        balanced: arms to train, with Algorithm 1 (True) and without.
        device: where to train.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    copies = [Copy(s, m, b) for b in balanced for s in range(len(settings.seeds)) for m in range(settings.members)]
    generation = 0 if soft is None else soft.generation + 1
    fitting = {k: v for k, v in asdict(settings).items() if k not in ("n_samples", "side_by_side", "tuning")}
    told = [None if soft is None else soft.key, videos.clips, videos.union, videos.weights, videos.labels, videos.tune]
    decides = (fitting, trunks.key, told)
    key = content_key(RECIPE, *decides, torch.device(device).type, torch.__version__)
    at_once = settings.side_by_side if isinstance(trunks, Trunks) else 1
    parts, histories = [], []
    for start in range(0, len(copies), at_once):
        some = tuple(copies[start : start + at_once])
        seeds = [1000 * settings.seeds[c.seed] + c.member for c in some]
        source = _source(videos, trunks, settings, some, generators(seeds, 10 * generation), device)

        def learn(_: Path, source=source, some=some, seeds=seeds) -> History:
            return _fit(source, videos, settings, some, generators(seeds, 10 * generation + 1), soft, device)

        histories.append(cached_fit(source, learn, RECIPE, *decides, [list(c) for c in some], device=device))
        parts.append(Part(some, source.heads, source.features_of, source.encode))
    traces = [torch.from_numpy(np.concatenate([h.traces[name] for h in histories])) for name in TRACES]
    best_epoch = torch.tensor([epoch for h in histories for epoch in h.best_epoch])
    return Generation(tuple(parts), *traces, best_epoch, settings, generation, key)


# What is noted of a training beside its losses, by copy.
TRACES = ("performance", "weights_trace")


def _source(
    videos: Videos,
    trunks: Trunks | OwnTrunks,
    settings: Settings,
    copies: Sequence[Copy],
    draw: list[torch.Generator],
    device: str,
) -> "_Frozen | _EndToEnd":
    how = {"hidden": settings.hidden, "dropout": settings.dropout, "across_clips": settings.faithful_to_release}
    if isinstance(trunks, OwnTrunks):
        return _EndToEnd(videos, trunks, settings, draw[0], device)
    heads = TaskHeads(trunks.features.shape[-1], draw, videos.outputs, shared=settings.shared, **how)
    return _Frozen(heads, trunks, copies, device)


class _Frozen(nn.Module):
    """Heads on frozen features."""

    def __init__(self, heads: TaskHeads, trunks: Trunks, copies: Sequence[Copy], device: str):
        super().__init__()
        self.heads, self.trunks = heads, trunks
        of_copy = torch.tensor([copy.seed for copy in copies]) if len(trunks.features) > 1 else torch.tensor([0])
        self.of_copy, self.device = of_copy.to(device), device

    @cached_property
    def features(self) -> Tensor:
        return self.trunks.features.to(self.device)

    def batch(self, rows: Tensor) -> Tensor:
        """Features (K, ..., D) of each copy's rows (K, ...)."""
        of_copy = self.of_copy.view(-1, *[1] * (rows.ndim - 1))
        return self.features[of_copy, rows.to(self.device)]

    def auxiliary(self, out: Mapping[str, Tensor], n: int) -> list[Tensor | None]:
        """Losses of n auxiliary tasks: off, since nothing that they could train is trained."""
        return [None] * n

    def features_of(self, rows: Tensor) -> Tensor:
        """Features (K, n, D) of n rows, or (1, n, D) where all copies share them."""
        return self.features[:, rows.to(self.device)][self.of_copy]

    def encode(self, images: Tensor) -> Tensor:
        """As :meth:`features_of`, of pictures."""
        return self.trunks.encode(images).to(self.device)[self.of_copy]


class _EndToEnd(nn.Module):
    """One network with a trunk of its own."""

    def __init__(self, videos: Videos, own: OwnTrunks, settings: Settings, draw: torch.Generator, device: str):
        super().__init__()
        corpus, tuning = own.corpus, settings.tuning
        known = {"FA": "landmarks", "VAD": "speaking"} if settings.audio else {"FA": "landmarks"}
        truth = corpus.truth or {}
        self.known = {task: truth[name] for task, name in known.items() if name in truth}
        outputs = videos.outputs | {task: AUXILIARY[task] for task in self.known}
        how = {"hidden": settings.hidden, "dropout": settings.dropout, "across_clips": settings.faithful_to_release}
        self.network = EMENet(
            draw, settings.audio, False, tuning.width, corpus.frames.shape[-1], tuning.repeats, outputs, **how
        )
        if own.start is not None:
            self.network.trunk.load_state_dict(own.start.state_dict())
        self.corpus, self.device, self.draw = corpus, device, draw
        self.turn = itertools.cycle(range(len(videos.tasks)))
        self.seen: tuple[Tensor, Tensor] | None = None

    @property
    def heads(self) -> TaskHeads:
        return self.network.heads

    def batch(self, rows: Tensor) -> Tensor:
        """Features (1, B, T, D) of rows (1, B, T), clips being mirrored and coloured at random.

        Of rows (1, A, B, T), with a minibatch for each task, they are (1, A', B, T, D): auxiliary tasks see the
        minibatch of one task after the other.
        """
        clips = rows[0].flatten(0, -2)
        mirrored = torch.rand(len(clips), generator=self.draw) < 0.5
        frames = self.corpus.frames[clips.flatten()].to(self.device)
        x = self.network.trunk.encode(_augmented(frames, mirrored.repeat_interleave(clips.shape[1]), self.draw))
        if self.network.sound is not None:
            x = torch.cat([x, self.network.sound(self.corpus.audio[clips.flatten()].to(self.device))], 1)
        x = x.view(*rows.shape, -1)
        if rows.ndim == 3:
            self.seen = rows[0], mirrored
            return x
        turn = next(self.turn)
        self.seen = rows[0, turn], mirrored.view(rows.shape[1], -1)[turn]
        return torch.cat([x, x[:, turn : turn + 1].expand(-1, len(self.known), -1, -1, -1)], 1)

    def auxiliary(self, out: Mapping[str, Tensor], n: int) -> list[Tensor | None]:
        """Losses (1,) of n auxiliary tasks, None where the corpus does not know their labels."""
        rows, mirrored = self.seen
        terms: list[Tensor | None] = []
        for task, known in self.known.items():
            y = known[rows.flatten()]
            if task == "FA":
                y = _mirror(y, mirrored.repeat_interleave(rows.shape[1])).flatten(1)
            terms.append(TEACHING[task](out[task], y.view(1, *rows.shape, *y.shape[1:]).to(self.device), None))
        return [*terms, *[None] * (n - len(terms))]

    def features_of(self, rows: Tensor) -> Tensor:
        """Features (1, n, D) of n rows."""
        x = _encode(self.network.trunk, self.corpus.frames[rows], self.device)
        if self.network.sound is not None:
            x = torch.cat([x, _encode(self.network.sound, self.corpus.audio[rows], self.device)], 1)
        return x[None].to(self.device)

    def encode(self, images: Tensor) -> Tensor:
        """As :meth:`features_of`, of pictures.

        Raises:
            ValueError: the network hears, and pictures have no sound.
        """
        if self.network.sound is not None:
            raise ValueError(NO_SOUND)
        return _encode(self.network.trunk, images, self.device)[None].to(self.device)


NO_SOUND = "pictures have no sound: ask EMENet-V about them"


def _fit(
    source: "_Frozen | _EndToEnd",
    videos: Videos,
    settings: Settings,
    copies: Sequence[Copy],
    order: list[torch.Generator],
    soft: "SoftLabels | None",
    device: str,
) -> History:
    """Train copies in place and leave each at its best epoch, and trace performance and weights."""
    tasks, metrics, heads = videos.tasks, Metrics.of(videos), source.heads
    balancer = losses.TaskBalancer(
        len(copies),
        len(tasks),
        n_auxiliary=_n_auxiliary(videos, settings),
        balanced=torch.tensor([copy.balanced for copy in copies]),
        released=settings.faithful_to_release,
    )
    loaders = [videos.union] if soft is not None else [videos.clips[task] for task in tasks]
    clips = min(settings.clips, *(len(loader) for loader in loaders))
    steps = max(1, min(len(loader) for loader in loaders) // clips)
    labels = {task: videos.labels[task].to(device) for task in tasks}
    p_c = {task: w.to(device) for task, w in videos.weights.items()}
    told = None if soft is None else soft.of(copies, device)
    performance, weights = [], [balancer.weights]

    def batches() -> Iterator[tuple[Tensor, ...]]:
        """Rows (K, B, T) of each loader."""
        shuffled = [torch.stack([torch.randperm(len(loader), generator=g) for g in order]) for loader in loaders]
        for step in range(steps):
            chosen = slice(step * clips, (step + 1) * clips)
            yield tuple(loader[o[:, chosen]] for loader, o in zip(loaders, shuffled, strict=True))

    def loss(*rows: Tensor) -> Tensor:
        if soft is None:
            # a minibatch for each task
            out, _ = heads(source.batch(torch.stack(rows, 1)))
            said = [
                TEACHING[task](out[task], labels[task][of_task.to(device)], p_c.get(task))
                for task, of_task in zip(tasks, rows, strict=True)
            ]
        else:
            # one minibatch, with soft labels for all tasks
            out, _ = heads(source.batch(rows[0]))
            said = [DISTILLING[task](out[task], told(task, rows[0])) for task in tasks]
        auxiliary = source.auxiliary(out, balancer.n_auxiliary)
        return losses.multitask_loss([*said, *auxiliary], balancer.weights.to(device))

    def validate() -> Tensor:
        part = Part(tuple(copies), heads, source.features_of, source.encode)
        sums = metrics.sums(_probabilities(_logits(part, videos, settings, videos.tune_rows)), videos, "tune")
        performance.append(metrics.performance(sums.sum(1), tasks))
        balancer.update(performance[-1])
        weights.append(balancer.weights)
        return -performance[-1].nan_to_num(-1).sum(1)

    history = fit(
        source,
        loss,
        batches,
        epochs=settings.epochs,
        optimiser=partial(Adam, lr=settings.lr, fused=True),
        schedule=partial(LambdaLR, lr_lambda=lambda step: 0.1 ** (step // steps // settings.decay)),
        validate=validate,
        label="teachers" if soft is None else f"students {soft.generation + 1}",
    )
    traces = (torch.stack(trace, 1).numpy() for trace in (performance, weights))
    return replace(history, traces=dict(zip(TRACES, traces, strict=True)))


def _n_auxiliary(videos: Videos, settings: Settings) -> int:
    """Auxiliary tasks that count in the normalisation: landmarks, and voice activity where sound is heard."""
    return 0 if videos.tasks == ("EXPR",) else 1 + settings.audio


# --- what networks say ----------------------------------------------------------------------------------------


def _sequences(videos: Videos, settings: Settings, rows: Tensor, soft: bool) -> Iterator[Tensor]:
    """Rows (B, T) of batches of sequences over which the state is carried, covering all ``rows``; -1 pads.

    A video is one sequence. As released, validation sees single frames, but for the first video, where (as in making
    soft labels) the frame of the chunk before is the one before.
    """
    if settings.clip == 1:
        yield from (batch[:, None] for batch in rows.split(8192))
        return
    wanted = torch.zeros(int(max(s.max() for s in videos.sequences)) + 1, dtype=torch.bool)
    wanted[rows] = True
    chosen = [s for s in videos.sequences if wanted[s].any()]
    if settings.faithful_to_release:
        alone = [] if soft else [s for rest in chosen[1:] for s in rest.split(1)]
        carried = chosen if soft else chosen[:1]
        chosen = [s[start::CHUNK] for s in carried for start in range(min(CHUNK, len(s)))] + alone
    chosen.sort(key=len)
    size = 4096 if settings.faithful_to_release else 16
    for start in range(0, len(chosen), size):
        yield nn.utils.rnn.pad_sequence(chosen[start : start + size], batch_first=True, padding_value=-1)


@torch.no_grad()
def _states(part: Part, videos: Videos, settings: Settings, rows: Tensor, soft: bool = False) -> Tensor:
    """What the GRUs of K copies put out for n rows, (K, A, n, H)."""
    heads = part.heads
    place = torch.full((len(videos.video),), -1)
    place[rows] = torch.arange(len(rows))
    out = None
    for batch in _sequences(videos, settings, rows, soft):
        x = part.features(batch.clamp(min=0).flatten())
        h, _ = heads.states(x.unflatten(1, batch.shape))
        if out is None:
            out = h.new_empty(*h.shape[:2], len(rows), h.shape[-1])
        there = (batch >= 0) & (place[batch.clamp(min=0)] >= 0)
        out[:, :, place[batch[there]].to(h.device)] = h[:, :, there.to(h.device)]
    return out


def _logits(part: Part, videos: Videos, settings: Settings, rows: Tensor, soft: bool = False) -> dict[str, Tensor]:
    """Logits (K, n, C) by task for n rows."""
    return _read_out(part.heads, _states(part, videos, settings, rows, soft))


@torch.no_grad()
def _read_out(heads: TaskHeads, states: Tensor) -> dict[str, Tensor]:
    return {
        task: heads.read_out(states.unsqueeze(2), task, i).squeeze(1)
        for i, task in enumerate(heads.outputs)
        if task in TASKS
    }


def _probabilities(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Chances by task: AU (..., A) of presence, EXPR (..., C), VA (..., 2, 20)."""
    to = {
        "AU": torch.sigmoid,
        "EXPR": lambda z: z.softmax(-1),
        "VA": lambda z: z.unflatten(-1, (2, N_BINS)).softmax(-1),
    }
    return {task: to[task](z.cpu()) for task, z in logits.items()}


# Chances by task, (S, M, n, ...): what M networks of each of S seeds say of n frames.
Said = dict[str, Tensor]


def logits(generation: Generation, videos: Videos, rows: Tensor) -> dict[str, Tensor]:
    """Logits (S, M, n, C) by task of one arm for n rows, states carried over whole videos, dropout off.

    Raises:
        ValueError: the generation holds two arms.
    """
    _check_one_arm(generation)
    parts = [_logits(part, videos, generation.settings, rows) for part in generation.parts]
    return {
        task: torch.cat([p[task].cpu() for p in parts]).unflatten(0, (len(generation.settings.seeds), -1))
        for task in videos.tasks
    }


def predict(generation: Generation, videos: Videos, rows: Tensor) -> Said:
    """What each network of one arm says of n rows."""
    return _probabilities(logits(generation, videos, rows))


def ensemble(said: Said) -> Said:
    """The mean over members, as a single one (S, 1, n, ...)."""
    return {task: p.mean(1, keepdim=True) for task, p in said.items()}


def _check_one_arm(generation: Generation) -> None:
    if len({copy.balanced for copy in generation.copies}) > 1:
        raise ValueError("the generation has copies with and without balancing: choose with .arm(True) or .arm(False)")


@torch.no_grad()
def mc_dropout(generation: Generation, videos: Videos, rows: Tensor) -> tuple[Said, dict[str, EntropyDecomposition]]:
    """Mean chances over passes with dropout on before each linear layer, and each network's normalised uncertainties.

    The state is not touched by dropout, so that it is computed once for all passes. As released dropout stays off.

    Returns:
        Chances (S, M, n, ...), and by task uncertainties (S, M, n, ...) as :func:`uncertainty` has them.
    """
    _check_one_arm(generation)
    settings, means, splits = generation.settings, [], []
    for part in generation.parts:
        heads = part.heads
        states = _states(part, videos, settings, rows)
        drawn = heads.generators
        heads.generators = generators([1000 * settings.seeds[c.seed] + c.member for c in part.copies], 107)
        passes = []
        for _ in range(settings.n_samples):
            h = states if settings.faithful_to_release else states * heads.masks(states.shape[1:], states)
            passes.append(_probabilities(_read_out(heads, h)))
        heads.generators = drawn
        stacked = {task: torch.stack([p[task] for p in passes]) for task in passes[0]}
        means.append({task: p.mean(0) for task, p in stacked.items()})
        splits.append({task: _decompose(p, task) for task, p in stacked.items()})
    shape = (len(settings.seeds), -1)
    mean = {task: torch.cat([m[task] for m in means]).unflatten(0, shape) for task in means[0]}
    split = {
        task: EntropyDecomposition(
            *(torch.cat([getattr(of_part[task], kind) for of_part in splits]).unflatten(0, shape) for kind in KINDS)
        )
        for task in splits[0]
    }
    return mean, split


def _decompose(probs: Tensor, task: str) -> EntropyDecomposition:
    # entropies over log C: 2 answers of a unit, C expressions, 20 bins of valence and of arousal
    split = bernoulli_entropy_decomposition if task == "AU" else entropy_decomposition
    return split(probs.double(), normalise=True)


def uncertainty(said: Said) -> dict[str, EntropyDecomposition]:
    """Total, aleatoric and epistemic uncertainty (S, n, ...) of the ensemble of M members, each divided by log C.

    AU has a last axis of units, EXPR none, VA one of valence and arousal. Of a single member all is aleatoric, and
    the epistemic uncertainty is 0.
    """
    # U_t = H(mean_m p_m),  U_a = mean_m H(p_m),  U_e = U_t - U_a
    return {task: _decompose(p.movedim(1, 0), task) for task, p in said.items()}


def on_pictures(generation: Generation, images: Tensor) -> Said:
    """What each network of one arm says of pictures uint8 (n, H, W), each a clip of one frame."""
    _check_one_arm(generation)
    parts = []
    for part in generation.parts:
        with torch.no_grad():
            states, _ = part.heads.states(part.encode(images).unsqueeze(2))
        parts.append(_probabilities(_read_out(part.heads, states.squeeze(3))))
    shape = (len(generation.settings.seeds), -1)
    return {task: torch.cat([p[task] for p in parts]).unflatten(0, shape) for task in parts[0]}


# Pictures that come with scikit-image and show nobody.
SCENES = (
    "brick", "cell", "cat", "clock", "coffee", "grass", "gravel", "horse", "hubble_deep_field",
    "immunohistochemistry", "microaneurysms", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip


def other_pictures(n: int, side: int, draw: torch.Generator) -> dict[str, Tensor]:
    """Pictures uint8 (n, S, S) of kinds that no face corpus has, by kind.

    Square cut-outs of scikit-image's pictures without people, scikit-learn's digits, and the simulated world's own
    out-of-distribution set (faces upside down, negatives, shuffled quarters).
    """

    def resized(pictures: Tensor) -> Tensor:
        x = F.interpolate(pictures[None, None].float(), (side, side), mode="bilinear", antialias=True)
        return x[0, 0].round().clamp(0, 255).to(torch.uint8)

    scenes = []
    for i in range(n):
        picture = np.asarray(getattr(skimage.data, SCENES[i % len(SCENES)])())
        grey = picture * 255.0 if picture.dtype == bool else picture.astype(float)
        grey = torch.from_numpy(grey.mean(-1) if grey.ndim == 3 else grey)
        least = min(grey.shape)
        size = int(torch.randint(least // 2, least + 1, (), generator=draw))
        top, left = (int(torch.randint(length - size + 1, (), generator=draw)) for length in grey.shape)
        scenes.append(resized(grey[top : top + size, left : left + size]))
    digits = load_digits().images[torch.randperm(1797, generator=draw)[:n].numpy()] * (255 / 16)
    distorted = out_of_distribution(n, int(torch.randint(2**31, (), generator=draw)))
    return {
        "scenes": torch.stack(scenes),
        "digits": torch.stack([resized(torch.from_numpy(digit)) for digit in digits]),
        "distorted faces": torch.stack([resized(face) for face in distorted]),
    }


# --- soft labels ----------------------------------------------------------------------------------------------

VIDEOS_A_SHARD, IMAGES_A_SHARD = 16, 8192


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """What a generation says of all frames, the mean over its members: (S, N, ...) by task, as `Said` without M."""

    labels: dict[str, Tensor]
    generation: int
    key: str

    def of(self, copies: Sequence[Copy], device: str) -> Callable[[str, Tensor], Tensor]:
        """A function of a task and rows (K, B, T) that gives each copy the soft labels (K, B, T, ...) of its seed."""
        seed = torch.tensor([copy.seed for copy in copies])[:, None, None]
        return lambda task, rows: self.labels[task][seed, rows].to(device)


@one_thread()
def soft_labels(generation: Generation, videos: Videos) -> SoftLabels:
    """Soft labels of every frame, in shards of videos that are written once with their checksums.

    A pass that is killed goes on with the first shard that is missing, and gives what it would have given: a shard
    depends on the networks and its own frames alone.
    """
    _check_one_arm(generation)
    settings = generation.settings
    if settings.clip == 1:
        shards = torch.arange(len(videos.video)).split(IMAGES_A_SHARD)
    else:
        sequences = videos.sequences
        shards = [
            torch.cat(sequences[start : start + VIDEOS_A_SHARD]) for start in range(0, len(sequences), VIDEOS_A_SHARD)
        ]
    labels: dict[str, Tensor] = {}
    for rows in tqdm(shards, desc="soft labels", unit="shard", disable=None, leave=False):

        def build(rows=rows) -> dict[str, np.ndarray]:
            parts = [_probabilities(_logits(part, videos, settings, rows, soft=True)) for part in generation.parts]
            said = {
                task: torch.cat([p[task] for p in parts]).unflatten(0, (len(settings.seeds), -1)) for task in parts[0]
            }
            # the arithmetic mean over the N models
            return {task: p.mean(1).numpy() for task, p in said.items()}

        stored = cached_arrays(content_key("soft labels", generation.key, rows), build, kind="soft_labels")
        for task, values in stored.items():
            if task not in labels:
                labels[task] = torch.empty(values.shape[0], len(videos.video), *values.shape[2:])
            labels[task][:, rows] = torch.from_numpy(values)
    return SoftLabels(labels, generation.number, content_key("soft labels", generation.key))


# --- temperature scaling --------------------------------------------------------------------------------------


def fit_temperature(z: Tensor, labels: Tensor) -> float:
    """The temperature that minimises the NLL of logits (n, C) and classes (n,), or of logits (n,) and answers 0 or 1.

    A bounded scalar search on log T, T from .05 to 20.

    Raises:
        ValueError: no frame to fit on.
    """
    if not len(z):
        raise ValueError("temperature scaling has no frame to fit on: hold out labelled videos for it")
    z, labels = z.double(), labels.long()

    def nll(log_t: float) -> float:
        scaled = z / math.exp(log_t)
        if z.ndim == 1:
            return float(F.binary_cross_entropy_with_logits(scaled, labels.double()))
        return float(F.cross_entropy(scaled, labels))

    return math.exp(minimize_scalar(nll, bounds=(math.log(0.05), math.log(20)), method="bounded").x)


def temperatures(tuned: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Temperatures of every network: AU (S, M, 1, A), one a unit, EXPR (S, M, 1, 1), from logits (S, M, n, C).

    Args:
        tuned: logits by task on the frames to fit on.
        labels: by task, (n, A) and (n,); frames of which one is missing (-1) are left out for that task.

    Raises:
        ValueError: no frame to fit on.
    """
    fitted = {}
    if "AU" in tuned:
        z, y = tuned["AU"], labels["AU"]
        known = (y >= 0).all(1)
        n_seeds, n_members, _, n_au = z.shape
        t = [
            [[fit_temperature(z[s, m, known, a], y[known, a]) for a in range(n_au)] for m in range(n_members)]
            for s in range(n_seeds)
        ]
        fitted["AU"] = torch.tensor(t).unsqueeze(2)
    if "EXPR" in tuned:
        z, y = tuned["EXPR"], labels["EXPR"]
        known = y >= 0
        t = [[fit_temperature(z[s, m, known], y[known]) for m in range(z.shape[1])] for s in range(z.shape[0])]
        fitted["EXPR"] = torch.tensor(t)[:, :, None, None]
    return fitted


def scaled(tested: Mapping[str, Tensor], by: Mapping[str, Tensor]) -> Said:
    """Chances from logits over their temperatures; valence and arousal, which have none, are left as they are."""
    return _probabilities({task: z / by[task] if task in by else z for task, z in tested.items()})


def temperature_scaling(generation: Generation, videos: Videos, rows: Tensor) -> tuple[Said, dict[str, Tensor]]:
    """What each network says of n rows at the temperatures that fit the held-out videos best, and these."""
    labels = {task: _labels(videos, task, videos.tune) for task in videos.tasks}
    fitted = temperatures(
        logits(generation, videos, videos.tune_rows), {t: y[videos.tune_rows] for t, y in labels.items()}
    )
    return scaled(logits(generation, videos, rows), fitted), fitted


def temperature_scaling_on_halves(
    generation: Generation, videos: Videos, rows: Tensor, draw: torch.Generator
) -> tuple[Said, Tensor]:
    """As the release does: temperatures fitted on a random half of the frames that are scored; and the other half.

    Returns:
        Chances (S, M, n, ...) of all n rows, and which of them, bool (n,), were not fitted on.
    """
    tested = logits(generation, videos, rows)
    fitted_on = torch.zeros(len(rows), dtype=torch.bool)
    fitted_on[torch.randperm(len(rows), generator=draw)[: len(rows) // 2]] = True
    labels = {task: _labels(videos, task, videos.test)[rows[fitted_on]] for task in videos.tasks}
    fitted = temperatures({task: z[:, :, fitted_on] for task, z in tested.items()}, labels)
    return scaled(tested, fitted), ~fitted_on


def _labels(videos: Videos, task: str, part: Mapping[str, Tensor]) -> Tensor:
    """Labels of a task, -1 outside a part."""
    y = videos.labels[task]
    return torch.where(part[task].view(-1, *[1] * (y.ndim - 1)), y, -1)


# --- metrics --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metrics:
    """The metrics of the paper as statistics of additive sums over frames.

    A frame's sums are W numbers: of each action unit true and false positives, false negatives, true negatives and
    NLL; of each expression true and false positives and false negatives, and NLL; of valence and of arousal the
    `sums.moment_sums`. A frame without a task's label adds nothing to it.

    Attributes:
        n_au, n_classes: action units and expressions; 0 where the corpus has none.
        has_va: valence and arousal are there.
    """

    n_au: int
    n_classes: int
    has_va: bool

    @classmethod
    def of(cls, videos: Videos) -> "Metrics":
        outputs = videos.outputs
        return cls(outputs.get("AU", 0), outputs.get("EXPR", 0), "VA" in outputs)

    @property
    def _places(self) -> dict[str, slice]:
        widths = {
            "AU counts": 4 * self.n_au, "AU nll": self.n_au, "EXPR counts": 3 * self.n_classes,
            "EXPR nll": int(self.n_classes > 0), "VA": 12 * self.has_va,
        }  # fmt: skip
        ends = list(itertools.accumulate(widths.values()))
        return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}

    @property
    def width(self) -> int:
        """W."""
        return self._places["VA"].stop

    def sums(self, said: Said, videos: Videos, part: str) -> Floats:
        """Sums (..., n, W) of chances (..., n, ...) of the frames that ``"tune"`` or ``"test"`` any task."""
        masks, rows = {"tune": (videos.tune, videos.tune_rows), "test": (videos.test, videos.test_rows)}[part]
        first = next(iter(said.values()))
        lead = first.shape[: {"AU": -2, "EXPR": -2, "VA": -3}[next(iter(said))]]
        sums = np.zeros((*lead, len(rows), self.width))
        places = self._places

        def put(name: str, task: str, values: np.ndarray) -> None:
            sums[..., places[name]] = np.where(masks[task][rows].numpy()[:, None], values, 0)

        if "AU" in said:
            p, y = said["AU"].double().numpy(), videos.labels["AU"][rows].numpy() == 1
            yes = p >= 0.5
            counts = np.stack([yes & y, yes & ~y, ~yes & y, ~yes & ~y], -1)
            put("AU counts", "AU", counts.reshape(*counts.shape[:-2], -1))
            put("AU nll", "AU", -np.log(np.clip(np.where(y, p, 1 - p), EPS, None)))
        if "EXPR" in said:
            p, y = said["EXPR"].double().numpy(), videos.labels["EXPR"][rows].numpy()
            top = np.eye(self.n_classes, dtype=bool)[p.argmax(-1)]
            true = np.eye(self.n_classes, dtype=bool)[np.clip(y, 0, None)]
            counts = np.stack([top & true, top & ~true, ~top & true], -1)
            put("EXPR counts", "EXPR", counts.reshape(*counts.shape[:-2], -1))
            of_label = np.take_along_axis(p, np.broadcast_to(np.clip(y, 0, None)[:, None], (*p.shape[:-1], 1)), -1)
            put("EXPR nll", "EXPR", -np.log(np.clip(of_label, EPS, None)))
        if "VA" in said:
            p = said["VA"].double()
            means = (p @ bin_values(p)).numpy()
            moments = moment_sums(means, videos.labels["VA"][rows].double().numpy())
            put("VA", "VA", moments.reshape(*moments.shape[:-2], -1))
        return sums

    def _au(self, sums: Floats) -> Floats:
        """tp, fp, fn, tn (4, ..., A)."""
        return np.moveaxis(sums[..., self._places["AU counts"]].reshape(*sums.shape[:-1], self.n_au, 4), -1, 0)

    def _expr(self, sums: Floats) -> Floats:
        """tp, fp, fn (3, ..., C)."""
        counts = sums[..., self._places["EXPR counts"]]
        return np.moveaxis(counts.reshape(*sums.shape[:-1], self.n_classes, 3), -1, 0)

    def _va(self, sums: Floats, dimension: int) -> Floats:
        return sums[..., self._places["VA"]].reshape(*sums.shape[:-1], 2, 6)[..., dimension, :]

    def au(self, sums: Floats) -> Floats:
        """Half the mean F1 over units and half the accuracy over all frames and units, (..., W) -> (...)."""
        tp, fp, fn, tn = self._au(sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            accuracy = (tp + tn).sum(-1) / (tp + fp + fn + tn).sum(-1)
        return 0.5 * _mean_f1(tp, fp, fn) + 0.5 * accuracy

    def expr(self, sums: Floats) -> Floats:
        """.67 of the mean F1 over classes and .33 of the accuracy."""
        tp, fp, fn = self._expr(sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            return 0.67 * _mean_f1(tp, fp, fn) + 0.33 * tp.sum(-1) / (tp + fn).sum(-1)

    def ccc(self, sums: Floats, dimension: int) -> Floats:
        """CCC of valence (0) or arousal (1), population moments."""
        return ccc_from_sums(self._va(sums, dimension))

    def rmse(self, sums: Floats, dimension: int) -> Floats:
        """RMSE of valence (0) or arousal (1), in units of the labels."""
        n, _, _, xx, yy, xy = np.moveaxis(self._va(sums, dimension), -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sqrt(np.maximum(xx + yy - 2 * xy, 0) / n)

    def total(self, sums: Floats) -> Floats:
        """AU + EXPR + CCC of valence + CCC of arousal."""
        return self.au(sums) + self.expr(sums) + self.ccc(sums, 0) + self.ccc(sums, 1)

    def au_nlls(self, sums: Floats) -> Floats:
        """NLL in nats of each unit, (..., W) -> (..., A)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., self._places["AU nll"]] / self._au(sums).sum(0)

    def au_nll(self, sums: Floats) -> Floats:
        """NLL in nats, mean over units."""
        return self.au_nlls(sums).mean(-1)

    def expr_nll(self, sums: Floats) -> Floats:
        """NLL in nats of the expression."""
        tp, _, fn = self._expr(sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., self._places["EXPR nll"]][..., 0] / (tp + fn).sum(-1)

    def performance(self, sums: Floats, tasks: Sequence[str]) -> Tensor:
        """What Algorithm 1 looks at, (K, W) -> (K, A): the metrics of AU and EXPR, and the sum of both CCCs."""
        of_task = {"AU": self.au, "EXPR": self.expr, "VA": lambda s: self.ccc(s, 0) + self.ccc(s, 1)}
        return torch.from_numpy(np.stack([of_task[task](sums) for task in tasks], -1))

    def table5(self) -> dict[str, Statistic]:
        """The columns of Table 5 that the corpus has."""
        columns: dict[str, Statistic] = {}
        if self.n_au:
            columns["AU"] = self.au
        if self.n_classes:
            columns["EXPR"] = self.expr
        if self.has_va:
            columns |= {name: lambda s, d=d: self.ccc(s, d) for d, name in enumerate(DIMENSIONS)}
        if self.n_au and self.n_classes and self.has_va:
            columns["Total"] = self.total
        return columns

    def table7(self) -> dict[str, Statistic]:
        """The columns of Table 7 that the corpus has."""
        columns: dict[str, Statistic] = {"EXPR NLL": self.expr_nll} if self.n_classes else {}
        if self.has_va:
            columns |= {f"{name} RMSE": lambda s, d=d: self.rmse(s, d) for d, name in enumerate(DIMENSIONS)}
        return columns


def _mean_f1(tp: Floats, fp: Floats, fn: Floats) -> Floats:
    """Mean F1 over what is there or said to be, (..., C) -> (...)."""
    there = tp + fp + fn > 0
    f1 = np.divide(2 * tp, 2 * tp + fp + fn, out=np.zeros_like(tp), where=there)
    with np.errstate(invalid="ignore", divide="ignore"):
        return f1.sum(-1) / there.sum(-1)


def clustered(said: Said, videos: Videos, metrics: Metrics | None = None) -> Floats:
    """Sums (S, C, M W) of the test frames, added up within videos: what :func:`over_members` takes."""
    metrics = metrics or Metrics.of(videos)
    sums = metrics.sums(said, videos, "test")  # (S, M, n, W)
    flat = np.moveaxis(sums, 1, 2).reshape(sums.shape[0], sums.shape[2], -1)
    return cluster_sums(flat, videos.video[videos.test_rows.numpy()])


def over_members(f: Statistic, width: int) -> Statistic:
    """The mean of a statistic over M single models, (..., M W) -> (...)."""
    return lambda sums: f(sums.reshape(*sums.shape[:-1], -1, width)).mean(-1)


def plurality(p: Tensor, n_votes: int) -> Tensor:
    """Chance (N, C) that each class has the most of n votes drawn from p (N, C); ties go to the first class.

    Exact, over all ways that the votes can fall.
    """
    classes = p.shape[1]
    bars = itertools.combinations(range(n_votes + classes - 1), classes - 1)
    ends = np.array([(-1, *of_fall, n_votes + classes - 1) for of_fall in bars])
    falls = torch.from_numpy(np.diff(ends) - 1).double()
    ways = (torch.lgamma(torch.tensor(n_votes + 1.0).double()) - torch.lgamma(falls + 1).sum(1)).exp()
    winner = F.one_hot(falls.argmax(1), classes).double()
    # P(c) = sum over falls won by c of n! / prod k_j! prod p_j^k_j
    out = [(torch.exp(torch.special.xlogy(falls, q).sum(1)) * ways) @ winner for q in p.double()]
    return torch.stack(out)
