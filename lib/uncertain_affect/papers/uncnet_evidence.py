"""UncNet's experiment as evidence: what its notebooks keep of the networks, and how they read it again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from torch import Tensor

from uncertain_affect import metrics
from uncertain_affect.compute.cache import cached_arrays, code_key, content_key
from uncertain_affect.corpora.base import Expressions
from uncertain_affect.corpora.ferplus import proportions
from uncertain_affect.evidence.claims import Arm, Effect, effect_interval
from uncertain_affect.evidence.resampling import Statistic, cluster_sums, pseudo_values
from uncertain_affect.evidence.store import Field
from uncertain_affect.metrics import entropy_decomposition
from uncertain_affect.models.backbones import PUBLISHED_WEIGHTS
from uncertain_affect.papers import uncnet
from uncertain_affect.papers.predictions import Predictions

CONSTANT, LOGISTIC = "constant", "logistic regression"
# of the logistic regression's L2 penalty; validation data choose
PENALTIES = (1e-3, 1e-2, 1e-1)
# from this share of examples on, one class predicted for all of them is no prediction
ONE_CLASS = 0.99

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)


# --- what is compared ------------------------------------------------------------------------------------------


def inputs(worlds: list[Expressions], features: list[np.ndarray], kind: str) -> uncnet.Faces:
    """Frozen features of a kind, and the vote shares of nine classes: NF, "not a face", is left out."""
    standardise = kind not in PUBLISHED_WEIGHTS
    parts = zip(worlds, features, strict=True)
    return uncnet.side_by_side([uncnet.faces(x, proportions(w.votes), w.split, standardise) for w, x in parts])


def constant(data: uncnet.Faces) -> Tensor:
    """Vote shares in training as the prediction (W, N, C) for each test image of W worlds."""
    return torch.stack([of.targets["train"].double().mean(0).expand_as(of.targets["test"]) for of in _apart(data)])


def logistic_regression(data: uncnet.Faces) -> Tensor:
    """Predictions (W, N, C) for the test images of W worlds by multinomial logistic regression, cached.

    It learns vote shares from the networks' own inputs, standardised, with the L2 penalty of `PENALTIES` whose
    cross-entropy on the validation images is lowest.
    """

    def build() -> dict[str, np.ndarray]:
        return {"probs": np.stack([_logistic_regression(of) for of in _apart(data)])}

    cached = cached_arrays(content_key(RECIPE, LOGISTIC, PENALTIES, *data), build, kind="baselines")
    return torch.from_numpy(np.array(cached["probs"]))


def _apart(data: uncnet.Faces) -> list[uncnet.Faces]:
    """The worlds that :func:`uncnet.side_by_side` has put together."""
    if data.features["train"].ndim == 2:
        return [data]
    n_worlds = len(data.features["train"])
    return [uncnet.Faces(*({s: x[i] for s, x in part.items()} for part in data)) for i in range(n_worlds)]


def _logistic_regression(data: uncnet.Faces) -> np.ndarray:
    """The same for one world, (N, C)."""
    train = data.features["train"]
    mean, sd = train.mean(0), train.std(0).clamp(min=1e-6)
    x = {s: torch.cat([(f - mean) / sd, f.new_ones(len(f), 1)], 1) for s, f in data.features.items()}
    y, found = data.targets, []
    weights = np.zeros(x["train"].shape[1] * y["train"].shape[1])
    for penalty in sorted(PENALTIES, reverse=True):  # each starts where the stronger one ended
        given = (x["train"], y["train"], penalty)
        weights = minimize(_penalised_loss, weights, given, jac=True, method="L-BFGS-B").x
        w = torch.from_numpy(weights).view(-1, y["train"].shape[1])
        log_p = {s: torch.log_softmax(x[s].double() @ w, 1) for s in ("val", "test")}
        found.append((-float((y["val"] * log_p["val"]).sum()), log_p["test"].exp().numpy()))
    return min(found, key=lambda one: one[0])[1]


def _penalised_loss(weights: np.ndarray, x: Tensor, y: Tensor, penalty: float) -> tuple[float, np.ndarray]:
    """Cross-entropy of shares (N, C) with the L2 penalty of all weights but the biases, and its gradient."""
    w = torch.from_numpy(weights).view(-1, y.shape[1])
    log_p = torch.log_softmax(x @ w.float(), 1)
    pulled = torch.cat([w[:-1], torch.zeros_like(w[-1:])])
    gradient = x.T @ (log_p.exp() - y) / len(y) + penalty * pulled
    return -float((y * log_p).sum() / len(y)) + penalty / 2 * float((pulled**2).sum()), gradient.numpy().ravel()


def what_is_learnt(
    probs: Mapping[str, Tensor], votes: Tensor, best_epoch: Mapping[str, Sequence[int]], max_epochs: int
) -> pd.DataFrame:
    """Of each arm its accuracy and AUROC (one class against the rest, mean over classes) for the most frequent vote,
    the share of seeds whose best epoch is the last possible one, and the share that are dead: one class for 99%. If a
    network is, ``which dead`` names its seeds, or worlds, by their places.

    Args:
        probs: (R, N, C) predictions by arm, of R seeds or worlds.
        votes: (S, N, C).
        best_epoch: by arm, (S,).
    """
    rows, which = {}, {}
    for arm, p in probs.items():
        labels, guess = votes[: len(p)].argmax(-1), p.argmax(-1)
        dead = [g.bincount().max() >= ONE_CLASS * len(g) for g in guess]
        which[arm] = ", ".join(str(seed) for seed, one_class in enumerate(dead) if one_class and arm != CONSTANT)
        rows[arm] = {
            "accuracy": float((guess == labels).double().mean()),
            "AUROC": float(np.mean([_auroc(of_seed, label) for of_seed, label in zip(p, labels, strict=True)])),
            "last epoch": float(np.mean(np.array(best_epoch[arm]) >= max_epochs)) if arm in best_epoch else np.nan,
            "dead": float(np.mean(dead)),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.assign(**{"which dead": pd.Series(which)}) if any(which.values()) else table


def _auroc(probs: Tensor, labels: Tensor) -> float:
    classes = [c for c in labels.unique().tolist() if not (labels == c).all()]
    return float(np.mean([metrics.auroc(probs[:, c], labels == c) for c in classes]))


def learnt(table: pd.DataFrame, arm: str, metric: str = "accuracy") -> Arm:
    """An arm of :func:`what_is_learnt` beside constant and logistic regression, by one of the two metrics."""
    score, last_epoch, dead = table.loc[arm, [metric, "last epoch", "dead"]]
    return Arm(metric, score, table.loc[CONSTANT, metric], table.loc[LOGISTIC, metric], last_epoch, dead)


# --- what is kept ----------------------------------------------------------------------------------------------


def _per_image(function: Callable) -> Callable[[Predictions, Tensor], np.ndarray]:
    """A function of predictions (N, C) and votes (N, C) as one of several predictions, seed by seed."""
    return lambda p, votes: np.stack([function(*of_seed) for of_seed in zip(p.probs, votes, strict=True)])


# What may be kept of each test image, (R, N) of predictions and votes of R seeds or worlds, and its unit. Bins are
# those of ECE, distances squared as in the Brier score.
MEASURES = {
    "U_a": (lambda p, votes: p.aleatoric, "nat"),
    "U_e": (lambda p, votes: p.epistemic, "nat"),
    "entropy": (lambda p, votes: p.total, "nat"),
    "predicted": (lambda p, votes: p.probs.argmax(-1), ""),
    "confidence": (lambda p, votes: p.probs.amax(-1), "probability"),
    "bin": (_per_image(lambda p, v: metrics.calibration_sums(p, v)[:, :10].argmax(-1)), ""),
    "distance": (_per_image(lambda p, v: metrics.brier_decomposition(p, v).distance.numpy()), ""),
    "JSD": (_per_image(lambda p, v: metrics.jensen_shannon_distance(p, v / v.sum(-1, keepdim=True)).numpy()), ""),
}


class Experiment(NamedTuple):
    """All that one corpus and kind of features give: networks and their predictions for the test images.

    Attributes:
        features: which.
        arms: of the S seeds those of :func:`uncnet.predict`; of the W worlds constant and logistic regression.
        rates: validation losses by learning rate, of which the one-rate network has the best.
    """

    settings: uncnet.UncNetSettings
    features: str
    worlds: list[Expressions]
    data: uncnet.Faces
    networks: dict[str, uncnet.Trained]
    arms: dict[str, Predictions]
    test: uncnet.TestImages
    rates: dict[float, float]

    def about(self) -> dict:
        """What a run says of its evidence: seeds, settings, checksum of the corpus, keys of the test images."""
        return {
            "seeds": self.settings.seeds,
            "settings": asdict(self.settings),
            "corpus_checksum": "+".join(world.checksum()[:16] for world in self.worlds),
            "keys": [name for world in self.test.worlds for name in world.names],
        }

    def learnt(self) -> pd.DataFrame:
        """:func:`what_is_learnt` of all arms."""
        of = {uncnet.CONTROL: "UncNet", uncnet.OFF: uncnet.ONE_RATE, uncnet.ON: uncnet.ONE_RATE}
        trained = {arm: self.networks.get(of.get(arm, arm)) for arm in self.arms}
        # where the number of epochs is printed, the last is not one that validation data chose
        fixed = ("Baseline", "UncNet", uncnet.CONTROL) if self.settings.as_printed else ()
        best_epoch = {arm: t.history.best_epoch for arm, t in trained.items() if t and arm not in fixed}
        probs = {arm: predictions.probs for arm, predictions in self.arms.items()}
        return what_is_learnt(probs, self.test.votes, best_epoch, self.settings.max_epochs)

    def evidence(self, kept: Mapping[str, Sequence[str]]) -> dict:
        """The tree that :class:`Tested` reads, with measures of `MEASURES` by arm."""
        training = {
            name: {
                "learning rate": n.rate,
                "epochs": len(n.history.train),
                "best epoch, median": float(np.median(n.history.best_epoch)),
                "validation cross-entropy, mean (nat)": float(np.mean(n.history.best_val)),
                "seconds, all seeds": round(n.history.seconds),
            }
            for name, n in self.networks.items()
        }
        return {
            "features": self.features,
            "corpus": self.worlds[0].describe(),
            "classes": list(self.worlds[0].classes[:9]),
            "names": Field(self.test.worlds[0].names, ("image",)),
            "votes": Field(self.test.votes[: len(self.worlds)], ("world", "image", "class")),
            "clusters": Field(self.test.clusters, ("image",)),
            "subsets": {name: Field(keep, ("image",)) for name, keep in self.test.subsets.items()},
            "training": pd.DataFrame(training),
            "rates": pd.DataFrame({"validation cross-entropy (nat)": self.rates}).rename_axis("learning rate"),
            "learnt": self.learnt(),
            "measures": {arm: {name: self._measure(arm, name) for name in names} for arm, names in kept.items()},
        }

    def _measure(self, arm: str, name: str) -> Field:
        function, unit = MEASURES[name]
        values = np.asarray(function(self.arms[arm], self.test.votes[: len(self.arms[arm].probs)]))
        dims = ("seed" if len(values) == len(self.settings.seeds) else "world", "image")
        return Field(values, dims, unit, "scaled" if values.dtype.kind == "f" else "exact")


def experiment(
    corpus: str, profile: str, seed: int, features: str, root: str | None, device: str, **options
) -> Experiment:
    """Load, train and predict; ``options`` are those of the simulated view.

    Raises:
        CorpusError: the corpus is not there, or not as it should be.
        ValueError: no such profile.
    """
    settings = uncnet.settings(profile, seed, features, corpus)
    worlds = uncnet.load(corpus, settings, root, **options)
    data = inputs(worlds, uncnet.features(worlds, features, root, device), features)
    networks = {name: uncnet.train(data, settings, name, device) for name in ("Baseline", "UncNet")}
    rates = uncnet.losses_by_rate(data, settings, device)
    networks[uncnet.ONE_RATE] = uncnet.train(data, settings, uncnet.ONE_RATE, device, min(rates, key=rates.get))
    arms = uncnet.predict(data, networks, settings)
    for name, probs in {CONSTANT: constant(data), LOGISTIC: logistic_regression(data)}.items():
        arms[name] = Predictions.from_samples(probs[None], entropy_decomposition)
    test = uncnet.test_images(worlds, len(settings.seeds))
    return Experiment(settings, features, worlds, data, networks, arms, test, rates)


# --- what is read ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tested:
    """Test images and what is known of each, for S seeds: an arm or votes that seeds share come S times.

    Attributes:
        votes: (S, N, C).
        n_worlds: one for all seeds, or one for each.
        clusters: (N,) which images count as one observation, see :class:`uncnet.TestImages`.
        subsets: (N,) masks by name.
        arms: by arm and name of `MEASURES`, (S, N); U_t is there where U_a and U_e are.
        dead: (S,) seeds in which a network of any arm is, see :func:`what_is_learnt`.
    """

    votes: np.ndarray
    n_worlds: int
    clusters: np.ndarray
    subsets: dict[str, np.ndarray]
    arms: dict[str, dict[str, np.ndarray]]
    dead: np.ndarray

    @classmethod
    def read(cls, tree: Mapping, n_seeds: int) -> "Tested":
        """From what :meth:`Experiment.evidence` has kept."""
        arms = {
            arm: {name: np.broadcast_to(values, (n_seeds, values.shape[1])) for name, values in measures.items()}
            for arm, measures in tree["measures"].items()
        }
        for measures in arms.values():
            if "U_e" in measures:
                measures["U_t"] = measures["U_a"] + measures["U_e"]
        votes = tree["votes"].astype(np.float64)
        spread = np.broadcast_to(votes, (n_seeds, *votes.shape[1:]))
        dead = ", ".join(tree["learnt"].get("which dead", ())).split(", ")
        is_dead = np.array([str(seed) in dead for seed in range(n_seeds)])
        return cls(spread, len(votes), tree["clusters"], tree["subsets"], arms, is_dead)

    @property
    def disagreement(self) -> np.ndarray:
        """d_i (S, N)."""
        return 1 - ((self.votes / self.votes.sum(-1, keepdims=True)) ** 2).sum(-1)

    def correct(self, arm: str) -> np.ndarray:
        """Whether an arm predicts the first of the most frequent votes, (S, N) of 0 and 1."""
        return (self.arms[arm]["predicted"] == self.votes.argmax(-1)).astype(np.float64)

    def brier(self, arm: str) -> np.ndarray:
        """Brier score over the votes of each image, (S, N)."""
        return self.disagreement + self.arms[arm]["distance"]

    def calibration_sums(self, arm: str) -> np.ndarray:
        """(S, N, 30), as :func:`metrics.calibration_sums` gives them."""
        of, n_votes = self.arms[arm], self.votes.sum(-1)
        correct = np.take_along_axis(self.votes, of["predicted"][..., None].astype(np.intp), -1)[..., 0]
        terms = np.stack([n_votes, n_votes * of["confidence"], correct], -1)
        return (terms[..., None] * np.eye(10)[of["bin"]][:, :, None]).reshape(*n_votes.shape, 30)

    def effect(self, sums: np.ndarray, f: Statistic, subset: str = "all") -> Effect:
        """A statistic of sums (S, N, K) over a subset of the images, with its interval over seeds and clusters.

        In a seed with a dead network, which says the same of all images, a correlation may have no value, and counts
        as 0.
        """
        keep = self.subsets[subset]
        values = pseudo_values(cluster_sums(sums[:, keep], self.clusters[keep]), f)
        values[self.dead[: len(values)] & ~np.isfinite(values).all(1)] = 0.0
        return effect_interval(values)

    def describe(self) -> str:
        """How many images, clusters and worlds, a line for each subset."""
        n_clusters = len(np.unique(self.clusters))
        counts = f"test images a world in {n_clusters} clusters, {self.n_worlds} world(s)"
        return "\n".join(f"{name}: {int(keep.sum())} {counts}" for name, keep in self.subsets.items())
