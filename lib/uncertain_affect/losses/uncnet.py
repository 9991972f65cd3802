"""Cross-entropy against a distribution over labels."""

import torch
from torch import Tensor

from uncertain_affect.losses._inputs import check_not_empty


def soft_label_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy in nats of logits (..., B, C) against label distributions (..., B, C), shape (...).

    UncNet is trained on the proportions of the annotators' votes (section 3.2). The sign is that of a loss: the
    printed objective "minimises" a log-likelihood. Its L2 term is left out, as the published code's weight decay
    of zero leaves it out.

    Raises:
        ValueError: no example.
    """
    check_not_empty(logits, 2, "logits")
    # L = -1/B sum_i sum_c p_ic log softmax(z_i)_c
    return -(target * torch.log_softmax(logits, -1)).sum(-1).mean(-1)
