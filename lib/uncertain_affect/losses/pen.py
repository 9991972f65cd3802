"""The losses of PEN, equations 4 to 8, as the paper's implementation section settles them.

Each takes a batch of B frames with any leading axes and gives one value for each of these: (..., B, K) -> (...).
"""

import torch
from torch import Tensor

from uncertain_affect.losses._inputs import check_not_empty
from uncertain_affect.models.pen import Mixture


def affect_squared_error(predictions: Tensor, labels: Tensor) -> Tensor:
    """alpha^y: mean over frames of the squared error (..., B, K) summed over valence and arousal (equation 5).

    A mean over the K dimensions too, as Keras takes it, would be half of this for K = 2.

    Raises:
        ValueError: no frame.

    >>> affect_squared_error(torch.tensor([[0.5, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor(1.2500)
    """
    check_not_empty(predictions, 2, "predictions")
    # alpha^y = 1/N sum_j (y_j - y~_j)(y_j - y~_j)^T
    return (labels - predictions).square().sum(-1).mean(-1)


def gate_cross_entropy(logits: Tensor, person: Tensor) -> Tensor:
    """alpha_c: mean cross-entropy in nats of the gate with who the frame shows (equation 6).

    Args:
        logits: (..., B, n_s), the gate's activations before the softmax.
        person: int (..., B), the index of the person's expert.

    Raises:
        ValueError: no frame, people who are not numbered by integers, or a person without an expert.
    """
    check_not_empty(logits, 2, "logits")
    if person.is_floating_point():
        raise ValueError(f"people are {person.dtype}: experts are numbered by integers")
    n_experts = logits.shape[-1]
    if not 0 <= int(person.min()) <= int(person.max()) < n_experts:
        others = sorted(set(person.flatten().tolist()) - set(range(n_experts)))
        raise ValueError(
            f"no expert for person {others[0]}: {n_experts} experts are numbered from 0 to {n_experts - 1}"
        )
    # alpha_c = -1/N sum_j log c~_j,id(j)
    return -torch.log_softmax(logits, -1).gather(-1, person.unsqueeze(-1)).squeeze(-1).mean(-1)


def gate_activation_l1(logits: Tensor) -> Tensor:
    """alpha_r: mean over frames and experts of the gate's absolute activations (..., B, n_s) before the softmax.

    Meant to make the gate sparse. It pulls every activation to zero, where the gate is uniform. Equation 7 prints the
    sum over the n_s activations, n_s times as much; the paper's implementation takes their mean.

    Args:
        logits: h, the activations of the gate's linear layer (CN; the text has SN in one place).

    Raises:
        ValueError: no frame.

    >>> gate_activation_l1(torch.tensor([[3.0, -1.0]]))
    tensor(2.)
    """
    check_not_empty(logits, 2, "logits")
    # alpha_r = 1/N sum_j |h_j|_1, divided by n_s
    return logits.abs().mean(-1).mean(-1)


def pen_gate_loss(logits: Tensor, person: Tensor, lambda_1: float | Tensor) -> Tensor:
    """alpha_c + lambda_1 alpha_r: what the gate is trained with on its own (section 3.5).

    Arguments and errors are those of the two parts; ``lambda_1`` is one number or one for each leading index (...).
    """
    return gate_cross_entropy(logits, person) + lambda_1 * gate_activation_l1(logits)


def pen_source_loss(
    mixture: Mixture, labels: Tensor, person: Tensor, lambda_0: float | Tensor, lambda_1: float | Tensor
) -> Tensor:
    """alpha^y + lambda_0 alpha_c + lambda_1 alpha_r: joint training on the source people (equation 4).

    The text says that equation 1 is minimised; it means this.

    Args:
        mixture: of B frames.
        labels: (..., B, K).
        person: int (..., B), the index of the person's expert.
        lambda_0, lambda_1: one number, or one for each leading index (...); 1e-3 in the paper.
    """
    # alpha = alpha^y + lambda_0 alpha_c + lambda_1 alpha_r
    return pen_adaptation_loss(mixture, labels, lambda_1) + lambda_0 * gate_cross_entropy(mixture.logits, person)


def pen_adaptation_loss(mixture: Mixture, labels: Tensor, lambda_1: float | Tensor) -> Tensor:
    """alpha^y + lambda_1 alpha_r: adaptation to target people whose identities are not known (equation 8)."""
    # alpha_ad = alpha^y + lambda_1 alpha_r
    return affect_squared_error(mixture.mean, labels) + lambda_1 * gate_activation_l1(mixture.logits)
