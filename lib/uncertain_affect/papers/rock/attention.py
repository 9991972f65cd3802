"""What trained networks attend to (section A.6)."""

from dataclasses import dataclass

import numpy as np
import torch

from uncertain_affect.models.rock import contexts
from uncertain_affect.papers.rock.search import EVALUATED, Trial
from uncertain_affect.papers.rock.tasks import Problem

LEVELS = ("none", "low", "medium", "high")


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention in n examples, averaged over tasks with the weights of the fusion.

    Attributes:
        context: int (n, L), rows of the talkturns read, the current one last among them, -1 after it.
        words: (n, L, W), weights within each talkturn; zero after its last word.
        turns: (n, L), weights of the talkturns.
        n_words: int (n, L).
    """

    context: np.ndarray
    words: np.ndarray
    turns: np.ndarray
    n_words: np.ndarray

    def history_share(self) -> np.ndarray:
        """Weight of all talkturns of history together (n,); NaN where there is no history."""
        last = (self.context >= 0).sum(1) - 1
        return np.where(last > 0, 1 - np.take_along_axis(self.turns, last[:, None], 1)[:, 0], np.nan)

    def history_minus_current(self) -> np.ndarray:
        """Mean weight of a talkturn of history minus that of the current one (n,), in units of equal weights.

        NaN where there is no history.
        """
        last = (self.context >= 0).sum(1) - 1
        history = self.history_share()
        return (history / np.maximum(last, 1) - (1 - history)) * (last + 1)

    def second_word_minus_others(self) -> np.ndarray:
        """Weight of the second word minus the mean of the others (n,), in units of equal weights.

        The mean over talkturns of at least two words; NaN without one.
        """
        enough = self.n_words >= 2
        second = self.words[:, :, 1]
        others = (self.words.sum(2) - second) / np.where(enough, self.n_words - 1, 1)
        with np.errstate(invalid="ignore"):
            return ((second - others) * self.n_words * enough).sum(1) / np.where(enough.any(1), enough.sum(1), np.nan)


@torch.no_grad()
def attention_weights(net: torch.nn.Module, problem: Problem, trial: Trial, rows: np.ndarray) -> Attention:
    """What a trained network attends to in some rows of its problem."""
    device = next(net.parameters()).device
    tokens, context = problem.tokens, contexts(problem.dialogue, trial.content_size)[torch.from_numpy(rows)]
    net.eval()
    parts = [net(tokens.to(device), part.to(device)).overall_attention() for part in context.split(EVALUATED)]
    words, turns = (torch.cat(kind).cpu().numpy() for kind in zip(*parts, strict=True))
    n_words = ((tokens != 0).sum(1)[context.clamp(min=0)] * (context >= 0)).numpy()
    return Attention(context.numpy(), words, turns, n_words)


def attention_levels(weights: np.ndarray) -> np.ndarray:
    """Index in `LEVELS` of each of n weights by its z-score among them: below 0, from 0, from 1 and from 2 on.

    Equal weights have no z-score and are "none".

    >>> attention_levels([0.1, 0.1, 0.1, 0.7]).tolist()
    [0, 0, 0, 2]
    """
    weights = np.asarray(weights, float)
    sd = weights.std()
    # equal weights differ by rounding alone
    z = (weights - weights.mean()) / sd if sd > 1e-9 else np.full(len(weights), -1.0)
    return np.digitize(z, [0, 1, 2])
