"""PEN: a mixture of personalised experts on frozen features, and the shared network that it starts from.

Paper: Feffer, Rudovic and Picard, "A Mixture of Personalized Experts for Human Affect Estimation" (2018), section 3,
equations 1 to 3. Everything here is linear in the features but the softmax of the gate.
"""

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from uncertain_affect.models.uncnet import draw_uniform

Network = TypeVar("Network", bound=nn.Module)


class SharedNetwork(nn.Module):
    """SN, one linear layer from features to valence and arousal, in C independent copies along a leading axis.

    Args:
        in_features: width D of the frozen features; 2,048 in the paper.
        generators: one generator per copy, which draws its weights.
        out_features: dimensions K of affect.

    Weights start as Keras starts a dense layer, which the paper used: Glorot-uniform, biases at zero. With 2,048
    features and two dimensions one copy has 4,098 parameters.

    Raises:
        ValueError: no generator.
    """

    def __init__(self, in_features: int, generators: Sequence[torch.Generator], out_features: int = 2):
        super().__init__()
        self.weight, self.bias = _dense(in_features, out_features, generators)

    def forward(self, z: Tensor) -> Tensor:
        """Valence and arousal (C, N, K) of features (N, D), the same for every copy, or (C, N, D)."""
        return _linear(z, self.weight, self.bias)


class Mixture(NamedTuple):
    """Outputs of a mixture of n_s experts for N inputs, of each of C copies.

    Attributes:
        mean: (C, N, K), the output y~ of equation 1.
        gate: (C, N, n_s), the weights c~ of the experts, which sum to one.
        logits: (C, N, n_s), the gate's activations h before the softmax.
        experts: (C, N, n_s, K), each expert's own prediction.
    """

    mean: Tensor
    gate: Tensor
    logits: Tensor
    experts: Tensor


class PersonalizedExpertNetwork(nn.Module):
    """PEN: n_s linear experts, one per source person, weighted by a gate (CN) that tells who is seen.

    C independent copies along a leading axis; all experts of all copies are one batched product.

    Args:
        in_features: width D of the frozen features; 2,048 in the paper.
        n_experts: how many people n_s have an expert; 9 in the paper.
        generators: one generator per copy, which draws its weights, the gate's before the experts'.
        out_features: dimensions K of affect.

    Experts and gate start as dense layers do in Keras: Glorot-uniform, biases at zero. With 2,048 features and nine
    experts one copy has 18,441 parameters in the gate and 9 x 4,098 in the experts.

    Raises:
        ValueError: no generator.
    """

    def __init__(self, in_features: int, n_experts: int, generators: Sequence[torch.Generator], out_features: int = 2):
        super().__init__()
        self.n_experts = n_experts
        self.gate_weight, self.gate_bias = _dense(in_features, n_experts, generators)
        # expert i has the columns i K to (i + 1) K
        self.expert_weight, self.expert_bias = _dense(in_features, out_features, generators, n_experts)

    @classmethod
    def from_shared(
        cls, shared: SharedNetwork, n_experts: int, generators: Sequence[torch.Generator]
    ) -> "PersonalizedExpertNetwork":
        """Every expert a copy of the shared network, W_i^e <- W^s (section 3.5); the gate drawn anew.

        The experts are then all the same, and the gradient to each is weighted by the gate: they part only if the
        gate tells people apart already, which is why it is trained first, on its own.
        """
        model = cls(shared.weight.shape[1], n_experts, generators, shared.weight.shape[2]).to(shared.weight.device)
        with torch.no_grad():
            model.expert_weight.copy_(shared.weight.repeat(1, 1, n_experts))
            model.expert_bias.copy_(shared.bias.repeat(1, 1, n_experts))
        return model

    def gate_logits(self, z: Tensor) -> Tensor:
        """The gate's activations h (C, N, n_s) before the softmax, of features (N, D) or (C, N, D)."""
        # h = z W^c + b^c; printed in equation 2 with W^s, the weights of the shared network
        return _linear(z, self.gate_weight, self.gate_bias)

    def expert_predictions(self, z: Tensor) -> Tensor:
        """Each expert's own predictions (C, N, n_s, K) for features (N, D) or (C, N, D)."""
        # y~_i^e = z W_i^e + b_i^e; equation 3 leaves out the bias, which the paper's parameter counts have
        return _linear(z, self.expert_weight, self.expert_bias).unflatten(-1, (self.n_experts, -1))

    def forward(self, z: Tensor) -> Mixture:
        """The mixture for features (N, D), the same for every copy, or (C, N, D)."""
        logits, experts = self.gate_logits(z), self.expert_predictions(z)
        gate = torch.softmax(logits, -1)
        # y~ = sum_i c~_i y~_i^e
        return Mixture(torch.einsum("cni,cnik->cnk", gate, experts), gate, logits, experts)


def select_copies(model: Network, index: Sequence[int] | Tensor) -> Network:
    """A network of the copies at ``index``, in that order and as often as they are named; the model stays as it is."""
    chosen = copy.deepcopy(model)
    for p in chosen.parameters():
        p.data = p.data[index]
    return chosen


def _dense(
    fan_in: int, fan_out: int, generators: Sequence[torch.Generator], layers: int = 1
) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights (C, fan_in, layers x fan_out), Glorot-uniform for each layer, and zero biases beside them."""
    weight = draw_uniform((fan_in, layers * fan_out), math.sqrt(6 / (fan_in + fan_out)), generators)
    return weight, nn.Parameter(torch.zeros(len(generators), 1, layers * fan_out))


def _linear(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if z.ndim == 3:
        return torch.baddbmm(bias, z, weight)
    return torch.einsum("nd,cdk->cnk", z, weight) + bias  # one product for all copies
