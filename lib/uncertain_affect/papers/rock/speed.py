"""How large the network is, and how long it takes, at sizes that need no training to be looked at."""

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from uncertain_affect.compute.devices import one_thread
from uncertain_affect.evidence.store import Field
from uncertain_affect.losses.rock import multi_task_loss
from uncertain_affect.models.rock import HanRock, contexts

N_WORDS = 12  # of a talkturn


def n_parameters(net: nn.Module) -> int:
    """Parameters without embeddings."""
    return sum(p.numel() for name, p in net.named_parameters() if "embedding" not in name)


def step_seconds(
    nets: Mapping[str, HanRock], *, batch_size: int, content_size: int, repeats: int = 5
) -> dict[str, Field]:
    """Seconds (R,) of one core for a step of training, networks by turns: loss, gradients and Adam.

    Args:
        nets: emotion of four classes is their primary task; words are drawn from their embedding.
        batch_size: consecutive talkturns of one dialogue, each read with its context.
        content_size: L.
    """
    g, n = torch.Generator().manual_seed(0), batch_size + content_size - 1
    rows = contexts(np.zeros(n), content_size)[-batch_size:]
    optimisers = {name: torch.optim.Adam(net.parameters(), fused=True) for name, net in nets.items()}
    seconds = {name: np.empty(repeats) for name in nets}
    with one_thread():
        for i in range(-1, repeats):  # the first round warms up
            for name, net in nets.items():
                categorical = [task.n_classes is not None for task in net.tasks]
                tokens = torch.randint(1, len(net.embedding.weight), (n, N_WORDS), generator=g)
                targets = torch.randint(4, (batch_size, len(categorical)), generator=g).float()
                weights = torch.full((len(categorical),), 1 / len(categorical))
                started = time.process_time()
                predicted = net(tokens, rows)
                loss = multi_task_loss(predicted.values, predicted.logits, targets, weights, categorical)
                optimisers[name].zero_grad()
                loss.backward()
                optimisers[name].step()
                if i >= 0:
                    seconds[name][i] = time.process_time() - started
    return {name: Field(of_net, ("round",), "s") for name, of_net in seconds.items()}
