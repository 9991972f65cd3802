"""The tasks on which `across` puts every method: expressions, action units, valence and arousal, emotion in dialogue.

Each comes with one frozen set of features for all methods: up to 128 principal components, found on training data, of
HOG of the faces, of a corpus's own features, or of the words of a turn and of those before it.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.corpora.base import ActionUnits, AffectTraces, Dialogues, Expressions
from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated.views import out_of_distribution
from uncertain_affect.evidence.evaluate import Cases
from uncertain_affect.metrics import entropy
from uncertain_affect.papers import pen, rock, ugn, uncnet
from uncertain_affect.papers.across import methods as across
from uncertain_affect.papers.across.methods import Said, Settings, Task
from uncertain_affect.training.features import frozen_features
from uncertain_affect.training.fit import generators

WIDTH = 128  # principal components
BINS = 9  # of valence and of arousal, over [-1, 1]
SPLITS = ("train", "val", "test")
VALIDATION = 0.2  # of the frames of each source person, the last ones
BLUR_SD, NOISE_SD = 1.5, 20.0  # pixels, and shades of 256


def load(
    corpus: str, profile: str, settings: Settings, root: str | os.PathLike | None = None
) -> dict[str, Callable[[], Task]]:
    """What loads each task of a corpus, by name.

    Raises:
        ValueError: no task is made from this corpus.
    """
    seed = settings.seeds[0]

    def units(part: str) -> Task:
        return action_units(ugn.load(corpus, profile, seed, root)[part], corpus, part)

    def traces() -> Task:
        return valence_arousal(pen.load(corpus, profile, seed, root), corpus)

    def turns(form: str) -> Task:
        return emotion_in_dialogue(rock.load(corpus, profile, seed, root)[form], corpus, form)

    def faces() -> Task:
        return expression(corpus, profile, settings, root)

    known = {
        "simulated": {
            "expression": faces,
            "action units, BP4D": lambda: units("bp4d"),
            "action units, DISFA": lambda: units("disfa"),
            "valence and arousal": traces,
            "emotion in dialogue": lambda: turns("iemocap"),
        },
        "ferplus": {"expression": faces, "emotions as units": lambda: units("ferplus")},
        "ceap360vr": {"valence and arousal": traces},
        "meld": {"emotion in dialogue": lambda: turns("meld")},
    }
    if corpus not in known:
        raise ValueError(f"CORPUS is {corpus!r}: tasks across papers are made from {', '.join(known)}")
    return known[corpus]


def components(known: np.ndarray, *others: np.ndarray) -> list[Tensor]:
    """Principal components, those of ``known`` (N, D), of this and other features; a root mean square of 1 in all."""
    pca = PCA(min(WIDTH, *known.shape), svd_solver="covariance_eigh").fit(known)
    scale = np.sqrt(pca.explained_variance_.sum() / pca.n_components_)
    return [torch.from_numpy(pca.transform(part) / scale).float() for part in (known, *others)]


# --- expression ----------------------------------------------------------------------------------------------


def expression(corpus: str, profile: str, settings: Settings, root: str | os.PathLike | None = None, **options) -> Task:
    """Expressions with their votes, of FER+ or of a simulated world for each seed.

    In the simulated world there are also, by name, ``degraded`` test pictures, blurred and noisy, pictures of ``other``
    kinds than faces (`out_of_distribution`), and two groups: people of dark skin, who can be thinned in training, and
    faces most likely called happy, whose votes can be made noisy.

    Args:
        options: of the simulated view ferplus, such as thin or noisy_class.
    """
    how = replace(uncnet.settings(profile), seeds=settings.seeds)
    worlds = uncnet.load(corpus, profile, how, root, **options)
    parts = [_faces(world, corpus == "simulated", seed) for seed, world in zip(settings.seeds, worlds, strict=False)]

    def put(name: str) -> dict[str, Tensor]:
        stacked = {key: torch.stack([part[name][key] for part in parts]) for key in parts[0][name]}
        return stacked if len(parts) > 1 else {key: value[0] for key, value in stacked.items()}

    known = put("known")
    clusters = torch.zeros(known["votes"].shape[-3], dtype=torch.int64) if len(parts) > 1 else parts[0]["clusters"]
    return Task(
        "expression",
        corpus,
        put("inputs"),
        put("targets"),
        known["votes"],
        clusters,
        known.get("truth"),
        put("groups"),
        checksum=worlds[0].checksum(),
    )


def _faces(world: Expressions, simulated: bool, seed: int) -> dict:
    images = np.asarray(world.images)
    rows = {split: world.split == split for split in SPLITS}
    others = {}
    if simulated:
        others["degraded"] = degraded(images[rows["test"]], seed)
        others["other"] = out_of_distribution(int(rows["test"].sum()), seed).numpy()
    x = np.asarray(frozen_features(images))
    found = components(
        x[rows["train"]], *(x[rows[split]] for split in SPLITS[1:]), *(frozen_features(o) for o in others.values())
    )
    votes = world.votes[:, :9].double()
    shares = (votes / votes.sum(1, keepdim=True)).float()[:, None]
    test = torch.from_numpy(rows["test"])
    known, groups = {"votes": votes[test][:, None]}, {}
    if simulated:
        known["truth"] = _true_shares(world.truth["label_distribution"][test][:, None, :9])
        happy = world.truth["label"][test] == c.EMOTIONS.index(NOISY)
        groups = {THINNED: world.truth["group"][test].bool(), NOISY: happy}
    return {
        "inputs": dict(zip((*SPLITS, *others), found, strict=True)),
        "targets": {split: shares[torch.from_numpy(of)] for split, of in rows.items()},
        "known": known,
        "groups": groups,
        "clusters": world.groups[test],
    }


def _true_shares(p: Tensor) -> Tensor:
    """True shares (..., C) of the classes that are left of all, which sum to one."""
    p = p.double()
    return p / p.sum(-1, keepdim=True)


def degraded(images: np.ndarray, seed: int) -> np.ndarray:
    """Grey images uint8 (N, H, W) out of focus and noisy."""
    rng = np.random.default_rng([seed, 70])
    blurred = gaussian_filter(images.astype(np.float32), (0, BLUR_SD, BLUR_SD))
    noisy = blurred + NOISE_SD * rng.standard_normal(images.shape, np.float32)
    return noisy.round().clip(0, 255).astype(np.uint8)


# --- action units, valence and arousal -----------------------------------------------------------------------


def action_units(data: ActionUnits, corpus: str, name: str) -> Task:
    """Whether each action unit occurs, on the people of the first fold; emotions of FER+ in their place."""
    split = ugn.splits(data)[0]
    rows = {name: getattr(split, name) for name in SPLITS}
    x = np.asarray(frozen_features(_grey(data.images)))
    present = data.labels.float()[..., None]
    shares = torch.cat([1 - present, present], -1)
    truth = None
    if data.truth is not None:
        p = data.truth["label_distribution"][rows["test"]].double()[..., None]
        truth = torch.cat([1 - p, p], -1)
    _, clusters = np.unique(data.subject[rows["test"].numpy()], return_inverse=True)
    return Task(
        "emotions as units" if corpus == "ferplus" else f"action units, {name.upper()}",
        corpus,
        dict(zip(SPLITS, components(*(x[rows[split].numpy()] for split in SPLITS)), strict=True)),
        {split: shares[of] for split, of in rows.items()},
        shares[rows["test"]].double(),
        torch.from_numpy(clusters),
        truth,
        units=True,
        checksum=data.checksum(),
    )


def valence_arousal(data: AffectTraces, corpus: str) -> Task:
    """In which of nine parts of the scale valence and arousal lie: source people train, target people test."""
    source, target = pen.roles(data)
    x = np.asarray(data.inputs)
    if x.dtype == np.uint8:
        x = np.asarray(frozen_features(_grey(data.inputs)))
    number = {name: i for i, name in enumerate(source)}
    train, val = [], []
    for name in source:
        of_person = np.flatnonzero(data.person == name)
        of_person = of_person[np.lexsort((data.time.numpy()[of_person], data.video[of_person]))]
        cut = round((1 - VALIDATION) * len(of_person))
        train.append(of_person[:cut])
        val.append(of_person[cut:])
    rows = {
        "train": np.concatenate(train),
        "val": np.concatenate(val),
        "test": np.flatnonzero(np.isin(data.person, target)),
    }
    edges = torch.linspace(-1, 1, BINS + 1)[1:-1]
    answers = torch.nn.functional.one_hot(torch.bucketize(data.valence_arousal.contiguous(), edges), BINS).float()
    truth = None
    if data.truth is not None:
        felt, sd = (data.truth[name][rows["test"]].double().numpy() for name in ("valence_arousal", "label_sd"))
        # the raters' mean about what is felt, normal
        below = norm.cdf((edges.double().numpy() - felt[..., None]) / sd[..., None])
        truth = torch.from_numpy(np.diff(below, prepend=0, append=1))
    _, clusters = np.unique(data.person[rows["test"]], return_inverse=True)
    return Task(
        "valence and arousal",
        corpus,
        dict(zip(SPLITS, components(*(x[rows[split]] for split in SPLITS)), strict=True)),
        {split: answers[of] for split, of in rows.items()},
        answers[rows["test"]].double(),
        torch.from_numpy(clusters),
        truth,
        checksum=data.checksum(),
        person={
            split: torch.tensor([number[name] for name in data.person[rows[split]].tolist()]) for split in SPLITS[:2]
        },
    )


def _grey(images: Tensor) -> np.ndarray:
    images = np.asarray(images)
    return images if images.ndim == 3 else images.mean(-1).round().astype(np.uint8)


# --- emotion in dialogue -------------------------------------------------------------------------------------


def emotion_in_dialogue(data: Dialogues, corpus: str, form: str) -> Task:
    """The emotion of each turn, from its words and those of the two turns before it."""
    wanted = rock.targets(data, form, "emotion")
    told = rock.narratives(data, form)
    before = [
        " ".join(told[j] for j in range(max(0, i - 2), i) if data.dialogue[j] == data.dialogue[i])
        for i in range(len(told))
    ]
    rows = wanted.rows
    parts = []
    for texts in (told, before):
        terms = TfidfVectorizer(min_df=2, sublinear_tf=True).fit([texts[i] for i in rows["train"]])
        counts = {split: terms.transform([texts[i] for i in of]) for split, of in rows.items()}
        svd = TruncatedSVD(min(2 * WIDTH, counts["train"].shape[1] - 1), random_state=0).fit(counts["train"])
        parts.append({split: svd.transform(of) for split, of in counts.items()})
    x = {split: np.concatenate([part[split] for part in parts], 1) for split in SPLITS}
    n_classes = len(wanted.classes)
    label = torch.from_numpy(np.nan_to_num(wanted.values[:, 0])).long()
    answers = torch.nn.functional.one_hot(label, n_classes).float()[:, None]
    truth = None
    if data.truth is not None:
        truth = _true_shares(data.truth["emotion_distribution"][rows["test"]][:, None, :n_classes])
    _, clusters = np.unique(data.dialogue[rows["test"]], return_inverse=True)
    return Task(
        "emotion in dialogue",
        corpus,
        dict(zip(SPLITS, components(*(x[split] for split in SPLITS)), strict=True)),
        {split: answers[of] for split, of in rows.items()},
        answers[rows["test"]].double(),
        torch.from_numpy(clusters),
        truth,
        checksum=data.checksum(),
    )


def part_of(task: Task, fraction: float, settings: Settings) -> Task:
    """The task with a part of its training examples, drawn for each seed; a smaller part lies within a larger one.

    UGN, which takes one training set for all seeds, is not asked about it: notebook 22 does.
    """
    n = task.targets["train"].shape[-3]
    kept = max(2, round(fraction * n))
    orders = [torch.randperm(n, generator=g)[:kept] for g in generators(list(settings.seeds), 60)]

    def part(values: Tensor) -> Tensor:
        return torch.stack([(values[i] if task.own else values)[order] for i, order in enumerate(orders)])

    return replace(
        task,
        inputs=task.inputs | {"train": part(task.inputs["train"])},
        targets=task.targets | {"train": part(task.targets["train"])},
        person=task.person and task.person | {"train": part(task.person["train"])},
        units=False,
    )


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


def known(corpus: str, root: str | os.PathLike | None = None, seed: int = 0) -> Known:
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
        of_test = wanted.rows["test"]
        rows = "the turns of the test split with one of these emotions, in the order of the corpus"
        return Known(Cases(wanted.values[of_test, 0].astype(int), data.dialogue[of_test]), wanted.classes, rows)
    raise ValueError(f"--corpus is {corpus!r}: predictions are evaluated on simulated, ferplus and meld")


# --- questions -----------------------------------------------------------------------------------------------

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 1.0)
THINNED, NOISY = "skin_tone", "happiness"  # what is made rare in training, and whose votes are made noisy
OTHERS = ("degraded", "other")


def ask(
    corpus: str,
    name: str,
    question: str,
    profile: str,
    settings: Settings,
    root: str | os.PathLike | None = None,
    methods: Sequence[str] | None = None,
    device: str = "cpu",
) -> dict:
    """What every method that fits a task says to one question: a call for a worker, which returns little.

    Args:
        question: ``whole``, the task as it is; ``growing``, with `FRACTIONS` of the training examples but the last,
            all of them; ``thinned`` and ``noisy``, where a group is rare in training and where votes for a class are
            noisy.
    """
    options = {"thinned": {"thin": THINNED}, "noisy": {"noisy_class": NOISY}}.get(question)
    task = (
        expression(corpus, profile, settings, root, **options)
        if options
        else load(corpus, profile, settings, root)[name]()
    )
    if question == "growing":
        parts = {share: part_of(task, share, settings) for share in FRACTIONS[:-1]}
        return {share: _levels(across.say(part, settings, (), methods, device)) for share, part in parts.items()}
    names = [key for key in OTHERS if question == "whole" and key in task.inputs]
    said = across.say(task, settings, names, methods, device)
    *_, n_questions, n_answers = task.targets["test"].shape
    sizes = [task.inputs[split].shape[-2] for split in SPLITS]
    return {
        "measures": across.measured(task, said, THINNED if question == "thinned" else None),
        "costs": {method: (of.prediction, of.training, of.networks) for method, of in said.items()},
        "levels": _levels(said),
        "shifted": {key: _levels(said, key) for key in names},
        "told apart": {key: across.told_apart(said, key) for key in names},
        "rejected": across.rejected(task, said),
        "groups": {key: np.asarray(group) for key, group in task.groups.items()},
        "true entropy": None if task.truth is None else float(entropy(task.truth).mean()),
        "sizes": [*sizes, n_questions, n_answers, len(task.clusters.unique())],
        "checksum": task.checksum,
    }


def _levels(said: dict[str, Said], name: str = "test") -> dict[str, np.ndarray]:
    """Total, aleatoric and epistemic uncertainty (3, S, N) by method."""
    return {method: np.stack(across.uncertainties(of.probs[name])) for method, of in said.items()}
