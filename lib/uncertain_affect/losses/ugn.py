"""Cross-entropy over action units, some of whose labels are unknown."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from uncertain_affect.losses._inputs import check_not_empty

UNKNOWN = -1


def action_unit_cross_entropy(
    logits: Tensor, labels: Tensor, au_weights: Tensor | None = None, example_weights: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy in nats, summed over action units and averaged over examples, one per copy.

    An unknown label adds nothing, and nothing makes up for it: the sum runs over the known action units.

    Args:
        logits: (..., B, N) for N action units, usually (C, B, N).
        labels: (..., B, N), or with leading axes of length 1 where all copies share them; 1 where the action unit
            occurs, 0 where it does not, -1 where that is unknown.
        au_weights: (N,) or (..., 1, N), a weight tau_i per action unit: :func:`occurrence_weights`.
        example_weights: (..., B), a weight w_k per example, as UGN-B computes them.

    Returns:
        (...) losses: (C,) of logits (C, B, N).

    Raises:
        ValueError: no example, labels for another number of action units, labels other than 1, 0 and -1 (some corpora
            mark the unknown with 9), or NaN labels.

    Source: UGN, Eq. 2 with ``au_weights``, Eq. 9 without, Eq. 12 with ``example_weights``. Eq. 12 sums over the
    batch; the mean keeps the step size of one example whatever the batch.
    """
    check_not_empty(logits, 2, "logits")
    if labels.shape[-1] != logits.shape[-1]:
        raise ValueError(f"labels are for {labels.shape[-1]} action units, logits for {logits.shape[-1]}")
    _check_labels(labels)
    # L_k = -sum_i tau_i [y_i log p_i + (1 - y_i) log(1 - p_i)] over the known i,  L = 1/B sum_k w_k L_k
    target = labels.clamp(min=0).to(logits).expand_as(logits)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * (labels != UNKNOWN)
    if au_weights is not None:
        losses = losses * au_weights
    losses = losses.sum(-1)
    if example_weights is not None:
        losses = losses * example_weights
    return losses.mean(-1)


def occurrence_weights(labels: Tensor, au_names: Sequence[str] | None = None) -> Tensor:
    """Weights (N,) of the action units, inverse to how often they occur, with mean one.

    Args:
        labels: (B, N) training labels in {1, 0, -1 unknown}; unknown ones do not count.
        au_names: what to call the action units in errors; by default their numbers, from 0.

    Raises:
        ValueError: an action unit that never occurs, or whose labels are all unknown; labels other than 1, 0, -1.

    Source: UGN, Eq. 2, whose tau_i the paper takes from Shao et al. (2018), "Deep Adaptive Attention for Joint Facial
    Action Unit Detection and Face Alignment".
    """
    if labels.ndim != 2 or len(labels) == 0:
        raise ValueError(f"labels have shape {tuple(labels.shape)}: expected a non-empty (B, N)")
    _check_labels(labels)
    known, positive = (labels != UNKNOWN).sum(0), (labels == 1).sum(0)
    for count, problem in ((known, "has no known label"), (positive, "never occurs")):
        if not count.all():
            i = int((count == 0).nonzero()[0])
            name = i if au_names is None else au_names[i]
            raise ValueError(f"action unit {name} {problem} in {len(labels)} training examples: leave it out")
    # tau_i = N (1 / r_i) / sum_j (1 / r_j), with r_i the rate of occurrence
    inverse = known / positive
    return inverse / inverse.mean()


def _check_labels(labels: Tensor) -> None:
    bad = (labels != 0) & (labels != 1) & (labels != UNKNOWN)
    if bad.any():
        index = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"labels: entry {', '.join(map(str, index))} is {labels[index].item():g}: "
            "expected 1, 0, or -1 for an unknown label"
        )
