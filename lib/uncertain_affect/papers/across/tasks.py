"""The tasks on which methods are compared: expressions, action units, valence and arousal, emotion in dialogue.

Each comes with one frozen set of features for all methods: up to 128 principal components, found on training data, of
HOG of the faces, of a corpus's own features, or of the words of a turn and of those before it.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor
from torch.nn.functional import one_hot

from uncertain_affect import corpora
from uncertain_affect.corpora.base import SPLITS, Expressions
from uncertain_affect.corpora.simulated import constants
from uncertain_affect.corpora.simulated.views import out_of_distribution
from uncertain_affect.evidence.evaluate import Cases
from uncertain_affect.papers import pen, rock, ugn, uncnet
from uncertain_affect.papers.across.networks import AcrossSettings, PredictionTask
from uncertain_affect.papers.predictions import stack_by_name
from uncertain_affect.training.features import frozen_features
from uncertain_affect.training.fit import generators

WIDTH = 128  # principal components
BINS = 9  # of valence and of arousal, over [-1, 1]
VALIDATION = 0.2  # of the frames of each source person, the last ones
BLUR_SD, NOISE_SD = 1.5, 20.0  # pixels, and shades of 256
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 1.0)  # of the training examples
THINNED, NOISY = "skin_tone", "happiness"  # what is made rare in training, and whose votes are made noisy

Root = str | os.PathLike | None


def load(corpus: str, profile: str, settings: AcrossSettings, root: Root = None, **options) -> dict[str, Callable]:
    """Functions without arguments that load the tasks of a corpus, by name.

    ``options`` are those of :func:`expression`; the other tasks have none.

    Raises:
        ValueError: no task is made from this corpus.
    """
    if corpus not in TASKS:
        raise ValueError(f"CORPUS is {corpus!r}: tasks across papers are made from {', '.join(TASKS)}")
    return {name: partial(make, corpus, profile, settings, root, **options) for name, make in TASKS[corpus].items()}


def components(known: np.ndarray, *others: np.ndarray) -> list[Tensor]:
    """Principal components, those of ``known`` (N, D), of this and other features; a root mean square of 1 in all."""
    pca = PCA(min(WIDTH, *known.shape), svd_solver="covariance_eigh").fit(known)
    scale = np.sqrt(pca.explained_variance_.sum() / pca.n_components_)
    return [torch.from_numpy(pca.transform(part) / scale).float() for part in (known, *others)]


def _task(features, answers, rows, clusters, others=None, **options) -> PredictionTask:
    """A task from a corpus' features (N, D), answers (N, A, C) and clusters (N,), its rows by split, training first,
    and from the features of other inputs by name."""
    x = {split: features[index] for split, index in rows.items()} | (others or {})
    inputs = dict(zip(x, components(*x.values()), strict=True))
    targets = {split: answers[index].float() for split, index in rows.items()}
    _, cluster = np.unique(clusters[rows["test"]], return_inverse=True)
    options = {"votes": answers[rows["test"]].double(), **options}
    return PredictionTask(inputs, targets, clusters=torch.from_numpy(cluster), **options)


# --- expression ----------------------------------------------------------------------------------------------


def expression(corpus: str, profile: str, settings: AcrossSettings, root: Root = None, **options) -> PredictionTask:
    """Expressions with their votes, of FER+ or of a simulated world for each seed.

    In the simulated world there are also, by name, ``degraded`` test pictures, blurred and noisy, pictures of ``other``
    kinds than faces (`out_of_distribution`), and two groups: people of dark skin, who can be thinned in training, and
    faces most likely called happy, whose votes can be made noisy.

    Args:
        options: of the simulated view ferplus, such as thin or noisy_class.
    """
    uncnet_settings = replace(uncnet.settings(profile), seeds=settings.seeds)
    worlds = uncnet.load(corpus, uncnet_settings, root, size=profile, **options)
    tasks = [_faces(world, corpus, seed) for world, seed in zip(worlds, settings.seeds, strict=False)]
    first = replace(tasks[0], checksum=worlds[0].checksum())
    if len(tasks) == 1:
        return first

    votes, truth = (torch.stack([getattr(task, name) for task in tasks]) for name in ("votes", "truth"))
    names = ("inputs", "targets", "groups")
    inputs, targets, groups = (stack_by_name([getattr(task, name) for task in tasks]) for name in names)
    one = torch.zeros_like(first.clusters)  # a world is one observation
    return replace(first, inputs=inputs, targets=targets, votes=votes, truth=truth, groups=groups, clusters=one)


def _faces(world: Expressions, corpus: str, seed: int) -> PredictionTask:
    """The task in one world."""
    images, rows = np.asarray(world.images), {split: np.flatnonzero(world.split == split) for split in SPLITS}
    known, test = {}, rows["test"]
    if corpus == "simulated":
        pictures = {"degraded": degraded(images[test], seed), "other": out_of_distribution(len(test), seed).numpy()}
        known["others"] = {name: frozen_features(images) for name, images in pictures.items()}
        known["truth"] = _true_shares(world.truth["label_distribution"][test][:, None, :9])
        happy = world.truth["label"][test] == constants.EMOTIONS.index(NOISY)
        known["groups"] = {THINNED: world.truth["group"][test].bool(), NOISY: happy}
    votes = world.votes[:, :9].double()[:, None]
    shares, clusters = votes / votes.sum(-1, keepdim=True), world.groups.numpy()
    return _task(frozen_features(images), shares, rows, clusters, votes=votes[test], **known)


def _true_shares(p: Tensor) -> Tensor:
    """True shares (..., C) of the classes that are left of all, which sum to one."""
    return p.double() / p.double().sum(-1, keepdim=True)


def degraded(images: np.ndarray, seed: int) -> np.ndarray:
    """Grey images uint8 (N, H, W) out of focus and noisy."""
    rng = np.random.default_rng([seed, 70])
    blurred = gaussian_filter(images.astype(np.float32), (0, BLUR_SD, BLUR_SD))
    return (blurred + NOISE_SD * rng.standard_normal(images.shape, np.float32)).round().clip(0, 255).astype(np.uint8)


# --- action units, valence and arousal -----------------------------------------------------------------------


def action_units(corpus: str, profile: str, settings: AcrossSettings, root: Root, part: str) -> PredictionTask:
    """Whether each action unit occurs, on the people of the first fold; emotions of FER+ in their place."""
    data = ugn.load(corpus, profile, settings.seeds[0], root)[part]
    rows = {split: index.numpy() for split, index in ugn.splits(data)[0]._asdict().items()}
    truth = data.truth and _present_or_not(data.truth["label_distribution"][rows["test"]].double())
    options = {"truth": truth, "units": True, "checksum": data.checksum()}
    return _task(frozen_features(data.images), _present_or_not(data.labels), rows, data.subject, **options)


def _present_or_not(p: Tensor) -> Tensor:
    """Shares (N, A, 2) of absent and present, of the share (N, A) that is present."""
    return torch.stack([1 - p, p], -1)


def valence_arousal(corpus: str, profile: str, settings: AcrossSettings, root: Root) -> PredictionTask:
    """In which of nine parts of the scale valence and arousal lie: source people train, target people test."""
    data = pen.load(corpus, profile, settings.seeds[0], root)
    source, target = pen.roles(data)
    x = np.asarray(data.inputs)
    features = frozen_features(x) if x.dtype == np.uint8 else x
    in_order = np.lexsort((data.time.numpy(), data.video))
    people = [in_order[data.person[in_order] == name] for name in source]
    parts = [np.split(frames, [round((1 - VALIDATION) * len(frames))]) for frames in people]
    train, val = (np.concatenate(part) for part in zip(*parts, strict=True))
    rows = {"train": train, "val": val, "test": np.flatnonzero(np.isin(data.person, target))}
    edges, truth = torch.linspace(-1, 1, BINS + 1)[1:-1], None
    if data.truth is not None:
        felt, sd = (data.truth[name][rows["test"]].double().numpy() for name in ("valence_arousal", "label_sd"))
        # the raters' mean about what is felt, normal
        below = norm.cdf((edges.double().numpy() - felt[..., None]) / sd[..., None])
        truth = torch.from_numpy(np.diff(below, prepend=0, append=1))
    number = {name: i for i, name in enumerate(source)}
    person = {s: torch.tensor([number[name] for name in data.person[rows[s]].tolist()]) for s in SPLITS[:2]}
    answers = one_hot(torch.bucketize(data.valence_arousal.contiguous(), edges), BINS)
    options = {"truth": truth, "person": person, "checksum": data.checksum()}
    return _task(features, answers, rows, data.person, **options)


# --- emotion in dialogue -------------------------------------------------------------------------------------


def emotion_in_dialogue(corpus: str, profile: str, settings: AcrossSettings, root: Root, form: str) -> PredictionTask:
    """The emotion of each turn, from its words and those of the two turns before it."""
    data = rock.load(corpus, profile, settings.seeds[0], root)[form]
    wanted, turns, dialogue = rock.targets(data, form, "emotion"), rock.narratives(data, form), data.dialogue
    n, rows, parts = len(turns), wanted.rows, []
    before = [" ".join(turns[j] for j in range(max(0, i - 2), i) if dialogue[j] == dialogue[i]) for i in range(n)]
    for texts in (turns, before):
        terms = TfidfVectorizer(min_df=2, sublinear_tf=True).fit([texts[i] for i in rows["train"]])
        counts = terms.transform(texts)
        svd = TruncatedSVD(min(2 * WIDTH, counts.shape[1] - 1), random_state=0).fit(counts[rows["train"]])
        parts.append(svd.transform(counts))
    n_classes = len(wanted.classes)
    truth = data.truth and _true_shares(data.truth["emotion_distribution"][rows["test"]][:, None, :n_classes])
    answers = one_hot(torch.from_numpy(np.nan_to_num(wanted.values[:, 0])).long(), n_classes)[:, None]
    options = {"truth": truth, "checksum": data.checksum()}
    return _task(np.concatenate(parts, 1), answers, rows, dialogue, **options)


TASKS = {
    "simulated": {
        "expression": expression,
        "action units, BP4D": partial(action_units, part="bp4d"),
        "action units, DISFA": partial(action_units, part="disfa"),
        "valence and arousal": valence_arousal,
        "emotion in dialogue": partial(emotion_in_dialogue, form="iemocap"),
    },
    "ferplus": {"expression": expression, "emotions as units": partial(action_units, part="ferplus")},
    "ceap360vr": {"valence and arousal": valence_arousal},
    "meld": {"emotion in dialogue": partial(emotion_in_dialogue, form="meld")},
}


def part_of(task: PredictionTask, fraction: float, settings: AcrossSettings) -> PredictionTask:
    """The task with a part of its training examples, drawn for each seed; a smaller part lies within a larger one.

    UGN, which takes one training set for all seeds, is left out of it: notebook 22 has it.
    """
    n = task.targets["train"].shape[-3]
    kept = max(2, round(fraction * n))
    orders = [torch.randperm(n, generator=g)[:kept] for g in generators(list(settings.seeds), 60)]

    def part(values: dict[str, Tensor]) -> dict[str, Tensor]:
        train = values["train"]
        return values | {"train": torch.stack([(train[i] if task.own else train)[o] for i, o in enumerate(orders)])}

    person = task.person and part(task.person)
    return replace(task, inputs=part(task.inputs), targets=part(task.targets), person=person, units=False)


# --- predictions made elsewhere ------------------------------------------------------------------------------


class Known(NamedTuple):
    """What is known of the N test examples of a corpus, for predictions made elsewhere.

    Attributes:
        cases: their labels or votes, clusters and, in the simulated world, truth.
        classes: C, in the order of the last axis of predictions.
        rows: what an example is, and in which order they come.
    """

    cases: Cases
    classes: tuple[str, ...]
    rows: str

    def cases_of(self, shape: tuple[int, ...]) -> Cases:
        """The cases, for predictions of this shape (..., N, C); ``ValueError`` if N or C are not theirs."""
        expected = len(self.cases.target), len(self.classes)
        if shape[-2:] != expected:
            raise ValueError(
                f"probs has shape {tuple(shape)}: expected (T, {expected[0]}, {expected[1]}) or {expected}. "
                f"The rows are {self.rows}, the classes {', '.join(self.classes)}"
            )
        return self.cases


def known(corpus: str, root: Root = None, seed: int = 0) -> Known:
    """What is known of the test split: emotions of FER+ or the simulated world (quick, without NF), or those of MELD.

    Args:
        seed: of the simulated world.

    Raises:
        ValueError: another corpus.
        CorpusError: it is not there, or not as it should be.
    """
    if corpus in ("simulated", "ferplus"):
        options = {"view": "ferplus", "seed": seed} if corpus == "simulated" else {}
        world = corpora.load(corpus, root, **options)
        test = world.subset(world.split == "test")
        truth = None if test.truth is None else _true_shares(test.truth["label_distribution"][:, :9])
        rows = "the images of the test split, in the order of the corpus"
        return Known(Cases(test.votes[:, :9], test.groups.numpy(), truth), test.classes[:9], rows)
    if corpus == "meld":
        data = corpora.load(corpus, root)
        wanted = rock.targets(data, corpus, "emotion")
        index = wanted.rows["test"]
        rows = "the turns of the test split with one of these emotions, in the order of the corpus"
        return Known(Cases(wanted.values[index, 0].astype(int), data.dialogue[index]), wanted.classes, rows)
    raise ValueError(f"--corpus is {corpus!r}: predictions are evaluated on simulated, ferplus and meld")
