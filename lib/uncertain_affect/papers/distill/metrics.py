"""The paper's metrics, as statistics of sums over frames, and the distribution of a majority."""

import itertools
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uncertain_affect.evidence.resampling import Floats, Statistic
from uncertain_affect.metrics.sums import ccc_from_sums, f1_from_counts, moment_sums, rmse_from_sums
from uncertain_affect.models.distill import bin_values
from uncertain_affect.papers.distill.networks import Probabilities
from uncertain_affect.papers.distill.videos import Videos

DIMENSIONS = ("Valence", "Arousal")
# Probabilities are kept this far from 0 and 1 before their logarithm, as in the release.
EPS = 1e-8


class Metrics:
    """The metrics of the paper as statistics of additive sums over frames, (..., W) -> (...).

    A frame's sums are W numbers: of each action unit true and false positives, false negatives, true negatives and
    NLL; of each expression true and false positives and false negatives, and NLL; of valence and of arousal the
    `sums.moment_sums`. A frame without a task's label adds nothing to it.

    Args:
        outputs: number of outputs of each task that the corpus has, as `Videos.outputs`.

    Attributes:
        layout: of a frame's sums, a structured type with the fields of each task.
        width: W.
    """

    def __init__(self, outputs: dict[str, int]):
        n_au, n_classes = outputs.get("AU", 0), outputs.get("EXPR", 0)
        fields = {
            "AU": [("counts", float, (n_au, 4)), ("nll", float, (n_au,))],
            "EXPR": [("counts", float, (n_classes, 3)), ("nll", float)],
            "VA": [("moments", float, (2, 6))],
        }
        self.outputs = outputs
        self.layout = np.dtype([(task, fields[task]) for task in outputs])
        self.width = self.layout.itemsize // np.dtype(float).itemsize

    def sums(self, p: Probabilities, videos: Videos, part: str) -> Floats:
        """Sums (..., n, W) of probabilities (..., n, ...) of the frames that ``"tune"`` or ``"test"`` any task."""
        rows, blocks = videos.rows(part), []
        for task, probs in p.items():
            known, y = getattr(videos, part)[task][rows].numpy(), videos.labels[task][rows].numpy()
            values = probs.double()
            values = (values @ bin_values(values) if task == "VA" else values).numpy()
            if task == "AU":
                true, predicted = y == 1, values >= 0.5
                counts = predicted & true, predicted & ~true, ~predicted & true, ~predicted & ~true
                columns = np.stack(counts, -1), -np.log(np.clip(np.where(true, values, 1 - values), EPS, None))
            elif task == "EXPR":
                true, predicted = (np.eye(values.shape[-1], dtype=bool)[c] for c in (y, values.argmax(-1)))
                counts = predicted & true, predicted & ~true, ~predicted & true
                columns = np.stack(counts, -1), -np.log(np.clip(np.where(true, values, 0).sum(-1), EPS, None))
            else:
                columns = (moment_sums(values, y),)
            blocks += [np.where(known[:, None], c.reshape(*values.shape[:-1], -1), 0) for c in columns]
        return np.concatenate(blocks, -1)

    def _read(self, sums: Floats, task: str, field: str) -> Floats:
        """A field of a task, (..., W) -> (..., *shape of the field)."""
        return np.ascontiguousarray(sums).view(self.layout)[..., 0][task][field]

    def _counts(self, sums: Floats, task: str) -> Floats:
        """True positives, false positives, false negatives and, of action units, true negatives: (4 or 3, ..., C)."""
        return np.moveaxis(self._read(sums, task, "counts"), -1, 0)

    def au(self, sums: Floats) -> Floats:
        """Half the mean F1 over units and half the accuracy over all frames and units."""
        tp, fp, fn, tn = self._counts(sums, "AU")
        return 0.5 * _mean_f1(tp, fp, fn) + 0.5 * _ratio((tp + tn).sum(-1), (tp + fp + fn + tn).sum(-1))

    def expr(self, sums: Floats) -> Floats:
        """.67 of the mean F1 over classes and .33 of the accuracy."""
        tp, fp, fn = self._counts(sums, "EXPR")
        return 0.67 * _mean_f1(tp, fp, fn) + _ratio(0.33 * tp.sum(-1), (tp + fn).sum(-1))

    def ccc(self, sums: Floats, dimension: int) -> Floats:
        """CCC of valence (0) or arousal (1), population moments."""
        return ccc_from_sums(self._read(sums, "VA", "moments")[..., dimension, :])

    def rmse(self, sums: Floats, dimension: int) -> Floats:
        """RMSE of valence (0) or arousal (1), in units of the labels."""
        return rmse_from_sums(self._read(sums, "VA", "moments")[..., dimension, :])

    def total(self, sums: Floats) -> Floats:
        """AU + EXPR + CCC of valence + CCC of arousal."""
        return self.au(sums) + self.expr(sums) + self.ccc(sums, 0) + self.ccc(sums, 1)

    def au_nlls(self, sums: Floats) -> Floats:
        """NLL in nats of each unit, (..., W) -> (..., A)."""
        return _ratio(self._read(sums, "AU", "nll"), self._counts(sums, "AU").sum(0))

    def au_nll(self, sums: Floats) -> Floats:
        """NLL in nats, mean over units."""
        return self.au_nlls(sums).mean(-1)

    def expr_nll(self, sums: Floats) -> Floats:
        """NLL in nats of the expression."""
        tp, _, fn = self._counts(sums, "EXPR")
        return _ratio(self._read(sums, "EXPR", "nll"), (tp + fn).sum(-1))

    def performance(self, sums: Floats) -> Tensor:
        """What Algorithm 1 looks at, (K, W) -> (K, A): the metrics of AU and EXPR, and the sum of both CCCs."""
        metrics = {"AU": self.au, "EXPR": self.expr, "VA": lambda s: self.ccc(s, 0) + self.ccc(s, 1)}
        return torch.from_numpy(np.stack([metrics[task](sums) for task in self.outputs], -1))

    def table5(self) -> dict[str, Statistic]:
        """The columns of Table 5 that the corpus has."""
        ccc = {name: partial(self.ccc, dimension=d) for d, name in enumerate(DIMENSIONS)}
        by_task = {"AU": {"AU": self.au}, "EXPR": {"EXPR": self.expr}, "VA": ccc}
        columns = {name: f for task in self.outputs for name, f in by_task[task].items()}
        return columns | {"Total": self.total} if self.outputs.keys() == by_task.keys() else columns

    def table7(self) -> dict[str, Statistic]:
        """The columns of Table 7 that the corpus has."""
        rmse = {f"{name} RMSE": partial(self.rmse, dimension=d) for d, name in enumerate(DIMENSIONS)}
        by_task = {"AU": {}, "EXPR": {"EXPR NLL": self.expr_nll}, "VA": rmse}
        return {name: f for task in self.outputs for name, f in by_task[task].items()}


def _ratio(a: Floats, b: Floats) -> Floats:
    """a / b; NaN where nothing is counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return a / b


def _mean_f1(tp: Floats, fp: Floats, fn: Floats) -> Floats:
    """Mean F1 over what occurs or is predicted, (..., C) -> (...)."""
    f1 = f1_from_counts(tp, fp, fn)
    return _ratio(np.nansum(f1, -1), np.isfinite(f1).sum(-1))


def plurality(p: Tensor, n_votes: int) -> Tensor:
    """Probability (N, C) that each class has the most of n votes drawn from p (N, C); ties go to the first class.

    Exact, over all counts that n votes can have.

    >>> plurality(torch.tensor([[0.4, 0.6]]).double(), 3)
    tensor([[0.3520, 0.6480]], dtype=torch.float64)
    """
    n_classes = p.shape[1]
    ballots = itertools.combinations_with_replacement(reversed(range(n_classes)), n_votes)
    counts = torch.tensor([np.bincount(votes, minlength=n_classes).tolist() for votes in ballots]).double()
    ways = (torch.lgamma(torch.tensor(n_votes + 1.0).double()) - torch.lgamma(counts + 1).sum(1)).exp()
    winner = F.one_hot(counts.argmax(1), n_classes).double()
    # P(c) = sum over counts won by c of n! / prod k_j! prod p_j^k_j
    return torch.stack([(torch.exp(torch.special.xlogy(counts, q).sum(1)) * ways) @ winner for q in p.double()])
