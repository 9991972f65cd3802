"""The losses of teachers and students of Iterative Distillation, and Algorithm 1, which balances tasks.

The main text, with the equations, is not at hand: losses are those of the released code (wtomin/UncertainEmotion).
All take logits with leading axes (..., B, T) of copies, clips and frames, and give one loss per copy, (...). All raise
``ValueError`` where there is no frame.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from uncertain_affect.losses._inputs import check_not_empty
from uncertain_affect.models.distill import bin_values, expectation

# Of Aff-Wild2's expressions the rarest is one in forty; what is rarer weighs no more than that.
RAREST = 1 / 40


def positive_weights(labels: Tensor) -> Tensor:
    """p_c of action units (C,): negatives over positives of labels (N, C) in {0, 1}.

    Units rarer than one in 41 weigh no more than that, 1 / RAREST, so that a unit seen once or never has a weight.

    Raises:
        ValueError: no frame, or labels other than 0 and 1.
    """
    if labels.ndim != 2 or not len(labels):
        raise ValueError(f"labels have shape {tuple(labels.shape)}: expected (N, C) with a frame to count")
    wrong = ((labels != 0) & (labels != 1)).any(0).nonzero()
    if len(wrong):
        raise ValueError(f"labels of {int(wrong[0])} are not all 0 or 1: leave out the missing ones")
    positive = labels.double().mean(0)
    # p_c = n_negative / n_positive
    return ((1 - positive) / positive.clamp(min=1e-12)).clamp(max=1 / RAREST).float()


def class_weights(labels: Tensor, n_classes: int) -> Tensor:
    """p_c of expressions (C,), inverse to their frequencies in labels (N,) and summing to one.

    Classes rarer than `RAREST` weigh no more than that.

    Raises:
        ValueError: no label, or one that is no class.
    """
    if not len(labels) or _are_not_classes(labels, n_classes):
        raise ValueError(f"expected at least one label, all from 0 to {n_classes - 1}: leave out the missing ones")
    frequency = torch.bincount(labels.long(), minlength=n_classes).double() / len(labels)
    inverse = 1 / frequency.clamp(min=RAREST)
    return (inverse / inverse.sum()).float()


def _are_not_classes(labels: Tensor, n_classes: int) -> bool:
    # NaN fails every comparison
    return not bool(((labels >= 0) & (labels < n_classes) & (labels == labels.long())).all())


# --- teachers -------------------------------------------------------------------------------------------------


def au_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy in nats, mean over frames and action units; labels (..., B, T, C) in {0, 1}.

    ``weights`` (C,) are those of the positives.

    Raises:
        ValueError: no frame, or labels other than 0 and 1.
    """
    check_not_empty(logits, 3, "logits")
    if ((labels != 0) & (labels != 1)).any():
        raise ValueError("labels of action units are not all 0 or 1: leave out the missing ones")
    # L_AU = -mean [p_c y log s(z) + (1 - y) log(1 - s(z))]
    losses = F.binary_cross_entropy_with_logits(logits, labels.to(logits), pos_weight=weights, reduction="none")
    return losses.mean((-3, -2, -1))


def expr_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy in nats; labels (..., B, T). With class ``weights`` (C,) it is a weighted mean over frames.

    Raises:
        ValueError: no frame, or a label that is no class.
    """
    check_not_empty(logits, 3, "logits")
    if _are_not_classes(labels, logits.shape[-1]):
        raise ValueError(f"expected labels from 0 to {logits.shape[-1] - 1}: leave out the missing ones")
    losses = -logits.log_softmax(-1).gather(-1, labels.long().unsqueeze(-1)).squeeze(-1)
    if weights is None:
        return losses.mean((-2, -1))
    # L_EXPR = sum_i p_{y_i} (-log p(y_i)) / sum_i p_{y_i}: only ratios of p_c matter
    w = weights[labels.long()]
    return (w * losses).sum((-2, -1)) / w.sum((-2, -1))


def ccc_loss(predictions: Tensor, labels: Tensor) -> Tensor:
    """1 - CCC over clips and frames (..., B, T), with unbiased deviations (n - 1) as the release has them here.

    One where predictions or labels are constant, as those of a single frame are.
    """
    check_not_empty(predictions, 2, "predictions")
    x, y = predictions.flatten(-2), labels.flatten(-2)
    dx, dy = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    n = x.shape[-1]
    sx, sy = ((d.square().sum(-1) / max(n - 1, 1)).clamp(min=1e-16).sqrt() for d in (dx, dy))
    rho = (dx * dy).mean(-1) / ((dx.square().mean(-1) * dy.square().mean(-1)).clamp(min=1e-32).sqrt() + 1e-8)
    # CCC = 2 rho s_x s_y / (s_x^2 + s_y^2 + (mean x - mean y)^2)
    return 1 - 2 * rho * sx * sy / (sx.square() + sy.square() + (x.mean(-1) - y.mean(-1)).square() + 1e-8)


def va_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_VA = (1 - CCC_v) + (1 - CCC_a) of logits (..., B, T, 40) and labels (..., B, T, 2)."""
    valence, arousal = expectation(logits).unbind(-1)
    return ccc_loss(valence, labels[..., 0]) + ccc_loss(arousal, labels[..., 1])


def landmark_loss(predictions: Tensor, landmarks: Tensor) -> Tensor:
    """L_FA: mean absolute error of landmark coordinates (..., B, T, 136)."""
    check_not_empty(predictions, 3, "landmarks")
    return (predictions - landmarks).abs().mean((-3, -2, -1))


# --- students -------------------------------------------------------------------------------------------------


def au_distillation(logits: Tensor, soft: Tensor) -> Tensor:
    """Binary cross-entropy against the teachers' mean probabilities (..., B, T, C), without weights."""
    check_not_empty(logits, 3, "logits")
    return F.binary_cross_entropy_with_logits(logits, soft.expand_as(logits), reduction="none").mean((-3, -2, -1))


def expr_distillation(logits: Tensor, soft: Tensor) -> Tensor:
    """KL(teachers || student) in nats, mean over frames, of the teachers' mean probabilities (..., B, T, C)."""
    check_not_empty(logits, 3, "logits")
    # sum_c q_c (log q_c - log p_c)
    return (torch.special.xlogy(soft, soft) - soft * logits.log_softmax(-1)).sum(-1).mean((-2, -1))


def va_distillation(logits: Tensor, soft: Tensor) -> Tensor:
    """1 - CCC between expectations, valence and arousal added; ``soft`` (..., B, T, 2, 20) the teachers' mean bins."""
    return va_loss(logits, soft @ bin_values(soft))


# --- several tasks --------------------------------------------------------------------------------------------


def multitask_loss(losses: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Weighted sum of the losses (...) of tasks, auxiliary ones last; weights (..., A) as `TaskBalancer` has them.

    The last auxiliary losses may be missing: they are off, and counted in the weights all the same, as in the release.

    Raises:
        ValueError: every loss is off.
    """
    if not losses:
        raise ValueError("every loss is off: there is nothing to learn from")
    # L = sum_i lambda_i / sum_j lambda_j L_i
    return sum(weights[..., i] * loss for i, loss in enumerate(losses))


class TaskBalancer:
    """Algorithm 1 for K copies side by side: raise the weight of a task that has not improved for some epochs.

    Args:
        n_copies: K.
        n_tasks: A, the tasks of which performance is measured.
        n_auxiliary: auxiliary tasks, whose weight stays at 1 and is counted in the normalisation.
        balanced: bool (K,), which copies are balanced; the weights of the others never move. All if None.
        released: as in the released code, where counters start from and fall back to 0, and the weight of a task that
            improves stays where it is.

    Attributes:
        counts: (K, A), m of Algorithm 1.
        raw: (K, A), lambda before it is normalised.

    As printed, the inner loops never advance i; each is read as "for every task i". Improved means strictly better
    than the best so far; NaN is not.
    """

    def __init__(
        self, n_copies: int, n_tasks: int, n_auxiliary: int = 0, balanced: Tensor | None = None, released: bool = False
    ):
        self.released, self.n_auxiliary = released, n_auxiliary
        self.balanced = torch.ones(n_copies, dtype=torch.bool) if balanced is None else balanced
        self.counts = torch.full((n_copies, n_tasks), 0 if released else 1)
        self.raw = torch.ones(n_copies, n_tasks)
        self.best = torch.full((n_copies, n_tasks), -torch.inf)

    @property
    def weights(self) -> Tensor:
        """Normalised weights (K, A + n_auxiliary) for the next epoch, those of the auxiliary tasks last."""
        raw = torch.cat([self.raw, torch.ones(len(self.raw), self.n_auxiliary)], 1)
        # lambda_i / sum_j lambda_j, the sum taken once, before any is replaced
        return raw / raw.sum(1, keepdim=True)

    def update(self, performance: Tensor) -> None:
        """Take in the validation performance (K, A) of an epoch, higher being better; NaN counts as not improved."""
        performance = torch.as_tensor(performance, dtype=self.best.dtype)
        improved = performance > self.best
        self.best = torch.where(improved, performance, self.best)
        self.counts = torch.where(improved, 0 if self.released else 1, self.counts + 1)
        log = self.counts.clamp(min=1).float().log2()
        # printed: lambda_i = max(1, log2 m_i); released: lambda_i = log2 n_i where n_i > 1, else as it was
        new = torch.where(self.counts > 1, log, self.raw) if self.released else log.clamp(min=1)
        self.raw = torch.where(self.balanced[:, None], new, self.raw)


def balancing_trace(history: Tensor, n_auxiliary: int = 0, released: bool = False) -> Tensor:
    """Normalised weights (E + 1, A + n_auxiliary) before and after each of E epochs of performance (E, A).

    NaN counts as not improved.
    """
    balancer = TaskBalancer(1, history.shape[1], n_auxiliary, released=released)
    weights = [balancer.weights[0]]
    for epoch in history:
        balancer.update(epoch[None])
        weights.append(balancer.weights[0])
    return torch.stack(weights)
