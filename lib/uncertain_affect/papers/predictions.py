"""Predictions of classifiers and their uncertainties, seed by seed, and the data of seeds side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from uncertain_affect.metrics import EntropyDecomposition


def stack_by_name(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several dictionaries with the same names, those of a name stacked along a new first axis."""
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class Predictions:
    """Predictions of one method for N examples, by each of S seeds.

    Attributes:
        probs: mean predicted probabilities, (S, N, C) of C classes, or (S, N, A) that each of A units occurs.
        total, aleatoric, epistemic: uncertainties in nats, (S, N) of classes or (S, N, A) of units. Of a single
            prediction the total is all aleatoric.
    """

    probs: Tensor
    total: Tensor
    aleatoric: Tensor
    epistemic: Tensor

    @classmethod
    def from_samples(cls, probs: Tensor, decompose: Callable[[Tensor], EntropyDecomposition]) -> "Predictions":
        """Predictions from the probabilities of T samples (T, S, N, ...), one sample where nothing is drawn.

        Args:
            decompose: `metrics.entropy_decomposition` of classes, `metrics.bernoulli_entropy_decomposition` of units.

        >>> from uncertain_affect.metrics import bernoulli_entropy_decomposition
        >>> samples = torch.tensor([0.2, 0.4]).view(2, 1, 1, 1)
        >>> Predictions.from_samples(samples, bernoulli_entropy_decomposition).probs
        tensor([[[0.3000]]])
        """
        return cls(probs.mean(0), *decompose(probs))

    @classmethod
    def concatenate(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """One after another, the examples of several predictions by the same seeds."""
        return cls(*(torch.cat([vars(part)[name] for part in parts], 1) for name in vars(parts[0])))

    def __getitem__(self, index) -> "Predictions":
        """Those of some seeds, or of some seeds and examples: the index of the first axis, or of the first two."""
        return Predictions(*(values[index] for values in vars(self).values()))
