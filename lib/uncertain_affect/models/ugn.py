"""UGN: facial action units detected on a graph whose edges are masked at random.

Paper: Song, Chen, Zheng and Ji, "Uncertain Graph Neural Networks for Facial Action Unit Detection" (AAAI 2021),
section "Method" and figure 1. No code was published: what the text leaves open is noted where it is decided.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncertain_affect.metrics.uncertainty import bernoulli_entropy_decomposition
from uncertain_affect.models.uncnet import draw_uniform

ARMS = ("GN-D", "UGN", "UGN-B")
NORMALISATIONS = ("symmetric", "printed")

# An index of copies: all of them, or those of a list.
Copies = slice | list[int]
ALL = slice(None)

# Sampling goes through as many examples at a time as keep a layer's output near this many numbers: a few
# megabytes stay in the processor's cache, and the memory needed does not grow with the data.
NUMBERS_PER_CHUNK = 2**20


class ActionUnitBranches(nn.Module):
    """N parallel branches that turn a face network's pooled features into one feature vector per action unit.

    The paper takes "N feature vectors from ResNet18" and does not explain how; here each action unit (AU) has its own
    fully connected layer with ReLU, and its own readout, on the pooled features that all share.

    Args:
        in_features: width D of the pooled features.
        n_au: number N of action units.
        generators: one generator per copy C; it draws that copy's weights.
        width: width d of each AU's feature vector, 512 in the paper.

    Weights start as Glorot's uniform draws and biases at zero, the defaults of TensorFlow, which the paper used.

    Source: section "The Generation of AU Features". Eq. 1 prints w_i^T x_i with a row w_i; w_i x_i is meant.
    """

    def __init__(self, in_features: int, n_au: int, generators: Sequence[torch.Generator], width: int = 512):
        super().__init__()
        self.n_au, self.width = n_au, width
        self.generators = list(generators)
        copies = len(self.generators)
        self.weight = _glorot((in_features, n_au * width), in_features, width, self.generators)
        self.bias = nn.Parameter(torch.zeros(copies, 1, n_au * width))
        self.readout = _glorot((n_au, width), width, 1, self.generators)
        self.readout_bias = nn.Parameter(torch.zeros(copies, 1, n_au))

    def features(self, pooled: Tensor) -> Tensor:
        """AU features (C, B, N, d) of pooled features (B, D), the same for every copy, or (C, B, D)."""
        return _branch(pooled, self.weight, self.bias).unflatten(-1, (self.n_au, self.width))

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (C, B, N) of pooled features (B, D) or (C, B, D)."""
        # Eq. 1: p_i = sigmoid(w_i x_i + b_i)
        return (self.features(pooled) * self.readout[:, None]).sum(-1) + self.readout_bias


class UncertainGraphLayer(nn.Module):
    """A graph convolution over action units whose edges are masked at random, in C independent copies.

    Nodes are action units. Every image has the same learned edges, and its own distribution over their masks.

    Args:
        n_au: number N of nodes.
        in_features: width d of a node's features.
        generators: one generator per copy C; it draws that copy's weights.
        width: width of a node's output, 64 in the paper.
        mask_width: width d' of the projection P the masks are computed from; the paper does not give it.
        normalisation: of the adjacency, ``"symmetric"`` D^-1/2 A D^-1/2 or, as Eq. 3 is printed, ``"printed"``
            D^-1/2 A D^1/2. The printed one is no longer symmetric and normalises nothing: it is similar to A.

    Attributes:
        B: (C, N, N), the adjacency before it is made symmetric and non-negative. It starts at 1/(2N), so that
            all edges start alike and none starts where the ReLU of A = ReLU(B + B^T) has no gradient.
        W: (C, d, width), the weights of the convolution.
        P: (C, d', d), the projection the masks are computed from.
        a_mu, a_sigma: (C, 2 d'), the masks' attention vectors over [P x_i || P x_j].

    ``W``, ``P`` and the attention vectors start as Glorot's uniform draws. The layer has no bias, as Eq. 3 has none.

    Raises:
        ValueError: no such normalisation.

    Source: Eqs. 3-6 and 8. The mask weights the edges before they are summed over: (M o A) X^T W, not M o (A X^T W),
    whose shapes do not agree.
    """

    def __init__(
        self,
        n_au: int,
        in_features: int,
        generators: Sequence[torch.Generator],
        width: int = 64,
        mask_width: int = 64,
        normalisation: str = "symmetric",
    ):
        super().__init__()
        if normalisation not in NORMALISATIONS:
            raise ValueError(f'normalisation must be "symmetric" or "printed", not {normalisation!r}')
        self.normalisation = normalisation
        self.B = nn.Parameter(torch.full((len(generators), n_au, n_au), 1 / (2 * n_au)))
        self.W = _glorot((in_features, width), in_features, width, generators)
        self.P = _glorot((mask_width, in_features), in_features, mask_width, generators)
        self.a_mu = _glorot((2 * mask_width,), 2 * mask_width, 1, generators)
        self.a_sigma = _glorot((2 * mask_width,), 2 * mask_width, 1, generators)

    def adjacency(self, copies: Copies = ALL) -> Tensor:
        """The normalised adjacency (C, N, N), self-connections included."""
        b = self.B[copies]
        # A = ReLU(B + B^T),  A~ = A + I,  D_ii = sum_j A~_ij
        a = torch.relu(b + b.mT) + torch.eye(b.shape[-1], dtype=b.dtype, device=b.device)
        degree = a.sum(-1)
        left, right = degree.rsqrt(), degree.rsqrt() if self.normalisation == "symmetric" else degree.sqrt()
        return left[:, :, None] * a * right[:, None, :]

    def mask_parameters(self, x: Tensor, copies: Copies = ALL) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each (C, B, N, N), of the masks before the sigmoid; ``x`` as in `forward`."""
        # Eq. 6: mu_ij = a [P x_i || P x_j] = (a_1 P) x_i + (a_2 P) x_j, so P is applied to a and never to x
        a = torch.cat([p[copies].unflatten(-1, (2, -1)) for p in (self.a_mu, self.a_sigma)], 1)
        s = _product(x, (a @ self.P[copies]).mT)
        mu = s[..., :, None, 0] + s[..., None, :, 1]
        sigma = F.softplus(s[..., :, None, 2] + s[..., None, :, 3])
        return mu, sigma

    def masks(self, x: Tensor, noise: Tensor, copies: Copies = ALL) -> Tensor:
        """S masks (C, B, S, N, N) of every example from standard normal noise of that shape; ``x`` as in `forward`.

        Noise of zero gives the deterministic mask sigmoid(mu).
        """
        mu, sigma = (part.unsqueeze(2) for part in self.mask_parameters(x, copies))
        # Eqs. 4 and 8: M = sigmoid(mu + sigma eps)
        return torch.sigmoid(torch.addcmul(mu, sigma, noise))

    def forward(self, x: Tensor, masks: Tensor, copies: Copies = ALL) -> Tensor:
        """Outputs (C, B, S, N, width) of features (B, N, d), the same for every copy, or (C, B, N, d).

        Args:
            x: features of the nodes.
            masks: (C, B, S, N, N), S masks for every example.
            copies: which copies of the layer ``x`` and ``masks`` belong to.
        """
        # Eq. 3: H = (M o A^) X W, the S masks of an example stacked over rows: one product for all of them
        edges = self._edges(masks, copies).flatten(2, 3)
        return (edges @ _product(x, self.W[copies])).unflatten(2, masks.shape[2:4])

    def read_out(self, x: Tensor, masks: Tensor, readout: Tensor, copies: Copies = ALL) -> Tensor:
        """``(layer(x, masks, copies) * readout[:, None, None]).sum(-1)``, (C, B, S, N), without the outputs.

        The readout (C, N, width), one unit per node, is applied to the weights: less than half the work.
        """
        # sum_j (M o A^)_ij (x_j W) . r_i = sum_j (M o A^)_ij x_j . (W r_i)
        y = _product(x, self.W[copies] @ readout.mT)
        return (self._edges(masks, copies) * y.mT.unsqueeze(2)).sum(-1)

    def _edges(self, masks: Tensor, copies: Copies) -> Tensor:
        return masks * self.adjacency(copies)[:, None, None]


class Prediction(NamedTuple):
    """Logits (C, B, N), and what each example's loss is to be multiplied by (C, B)."""

    logits: Tensor
    weights: Tensor


class UncertainGraphNetwork(nn.Module):
    """Two uncertain graph layers and a readout per action unit, in C copies: seeds x arms of one experiment.

    The copies share no weight, no minibatch and no noise, so a copy is the same network whether it was trained
    alone or beside others, and copies of different arms with the same seed start from the same weights. The first
    layer is followed by ReLU (the paper names no activation), the second by one fully connected unit per AU. The
    paper's "softmax" cannot run over AUs, which occur together; a two-way softmax, present against absent, is the
    sigmoid of the difference of its logits, and that difference is the logit here.

    Args:
        n_au: number N of action units.
        in_features: width d of an AU's features.
        generators: one generator per copy; it draws that copy's weights now and its noise later.
        arms: what each copy is. ``"GN-D"``: no noise, M = sigmoid(mu). ``"UGN"``: random masks. ``"UGN-B"``:
            random masks, and examples weighted by their epistemic uncertainty.
        width: of both layers.
        mask_width: see :class:`UncertainGraphLayer`.
        shared_mask: the second layer takes the masks of the first, which follow from the input features. By
            default each layer draws its own from its own input: M(X) may be read either way.
        normalisation: see :class:`UncertainGraphLayer`.
        n_samples: S of predictions in evaluation mode; the paper does not give it.
        n_weight_samples: S of the uncertainties behind UGN-B's weights.
        branches: trained branches, used as they are and never trained on; the network then takes the face
            network's pooled features instead of AU features.
        branch_copies: which copy of ``branches`` each copy stands on; by default the one of its own number.

    Raises:
        ValueError: an unknown arm or normalisation.

    Source: section "Learning the Uncertain Graph for AU Detection".
    """

    def __init__(
        self,
        n_au: int,
        in_features: int,
        generators: Sequence[torch.Generator],
        arms: Sequence[str],
        width: int = 64,
        mask_width: int = 64,
        shared_mask: bool = False,
        normalisation: str = "symmetric",
        n_samples: int = 20,
        n_weight_samples: int = 20,
        branches: ActionUnitBranches | None = None,
        branch_copies: Sequence[int] | None = None,
    ):
        super().__init__()
        if unknown := sorted(set(arms) - set(ARMS)):
            raise ValueError(f"unknown arm {unknown[0]!r}: expected one of {', '.join(ARMS)}")
        self.n_au, self.in_features, self.width = n_au, in_features, width
        self.generators = list(generators)
        self.arms = tuple(arms)
        self.shared_mask = shared_mask
        self.n_samples, self.n_weight_samples = n_samples, n_weight_samples
        self.layers = nn.ModuleList(
            UncertainGraphLayer(n_au, features, self.generators, width, mask_width, normalisation)
            for features in (in_features, width)
        )
        if shared_mask:
            # drawn all the same, so that the ablation starts from the same weights
            for name in ("P", "a_mu", "a_sigma"):
                self.layers[1].register_parameter(name, None)
        self.readout = _glorot((n_au, width), width, 1, self.generators)
        self.readout_bias = nn.Parameter(torch.zeros(len(generators), 1, 1, n_au))
        # buffers follow the network to its device, and are not parameters
        chosen = list(range(len(generators)) if branch_copies is None else branch_copies)
        for name in ("weight", "bias"):
            frozen = None if branches is None else getattr(branches, name).detach()[chosen]
            self.register_buffer(f"branch_{name}", frozen, persistent=False)

    def forward(self, x: Tensor) -> Prediction:
        """What `training.fit` needs: logits (C, B, N) and example weights (C, B).

        In training mode one sample of the masks (Eq. 9) and the weights of Eq. 11, one for copies that are not
        UGN-B; in evaluation mode the logit of the mean probability over ``n_samples`` (Eq. 7) and weights of one.

        Args:
            x: AU features (B, N, d), the same for every copy, or (C, B, N, d); with branches, pooled features
                (B, D) or (C, B, D).
        """
        n_copies, n_examples = len(self.arms), x.shape[self._example_axis]
        weights = x.new_ones(n_copies, n_examples)
        if not self.training:
            z = self.sample_logits(x, self.n_samples)
            # log p/(1 - p) of p = mean_s sigmoid(z_s), from logarithms, so that no p of 0 or 1 turns infinite
            return Prediction(F.logsigmoid(z).logsumexp(0) - F.logsigmoid(-z).logsumexp(0), weights)
        features = self._features(x)
        if weighted := [c for c, arm in enumerate(self.arms) if arm == "UGN-B"]:
            # "before training every batch of data", so the draws come first
            with torch.no_grad():
                parts = self._chunks(features, self.n_weight_samples, axis=-3)
                z = torch.cat([self._logits(part, self.n_weight_samples, weighted) for part in parts], 2)
                weights[weighted] = sample_weights(bernoulli_entropy_decomposition(torch.sigmoid(z)).epistemic)
        return Prediction(self._logits(features, 1, list(range(n_copies)))[0], weights)

    def sample_logits(self, x: Tensor, n_samples: int) -> Tensor:
        """Logits (S, C, B, N) under S draws of the masks; a GN-D copy gives the same S times. ``x`` as in `forward`.

        What does not depend on the masks is computed once for all S. Examples draw their noise one after another,
        so that a set split into batches has the same noise as the whole.
        """
        n_copies, axis = len(self.arms), self._example_axis
        # without noise all samples are the same one
        still = [c for c, arm in enumerate(self.arms) if arm == "GN-D"]
        noisy = [c for c, arm in enumerate(self.arms) if arm != "GN-D"]
        logits = x.new_empty(n_samples, n_copies, x.shape[axis], self.n_au)
        start = 0
        for part in self._chunks(x, n_samples, axis):
            inputs = slice(start, start := start + part.shape[axis])
            features = self._features(part)
            for copies, n in ((noisy, n_samples), (still, 1)):
                if copies:
                    logits[:, copies, inputs] = self._logits(features, n, copies)
        return logits

    @torch.no_grad()
    def probabilities(self, x: Tensor, n_samples: int) -> Tensor:
        """Probabilities (S, C, B, N) that each AU occurs, without gradients; the mean over S is Eq. 7.

        Takes the arguments of :meth:`sample_logits`.
        """
        return torch.sigmoid(self.sample_logits(x, n_samples))

    def adjacency(self) -> Tensor:
        """The normalised adjacency (C, 2, N, N) of both layers."""
        return torch.stack([layer.adjacency() for layer in self.layers], 1)

    @torch.no_grad()
    def mean_mask(self, x: Tensor) -> Tensor:
        """Mean over examples of the deterministic mask sigmoid(mu), (C, 2, N, N) for both layers.

        The second layer's input is that of the noise-free network. ``x`` as in `forward`.
        """
        sums = 0.0
        for part in self._chunks(x, 1, self._example_axis):
            features = self._features(part)
            noise = features.new_zeros(2, len(self.arms), features.shape[-3], 1, self.n_au, self.n_au)
            masks = self._propagate(features, noise, ALL)[1]
            sums = sums + torch.stack([m.sum((1, 2)) for m in masks], 1)
        return sums / x.shape[self._example_axis]

    def draw_noise(self, n_examples: int, n_samples: int, copies: Sequence[int]) -> Tensor:
        """Standard normal noise (2, C, B, S, N, N) of both layers' masks, zero for copies that are GN-D.

        With shared masks there is one draw for both, and the first axis has length 1.
        """
        shape = (n_samples, 1 if self.shared_mask else 2, self.n_au, self.n_au)
        # torch draws normals in blocks of sixteen: whole blocks per example are the same drawn together or apart
        drawn = math.prod(shape)
        noise = torch.empty(len(copies), n_examples, 16 * math.ceil(drawn / 16))
        for row, copy in zip(noise, copies, strict=True):
            if self.arms[copy] == "GN-D":
                row.zero_()
            else:
                row.normal_(generator=self.generators[copy])
        return noise[..., :drawn].unflatten(-1, shape).movedim(3, 0).to(self.readout)

    def _logits(self, features: Tensor, n_samples: int, copies: list[int]) -> Tensor:
        """Logits (S, C, B, N) of some copies, on the features of all of them."""
        noise = self.draw_noise(features.shape[-3], n_samples, copies)
        if len(copies) == len(self.arms):
            return self._propagate(features, noise, ALL)[0]
        return self._propagate(features if features.ndim == 3 else features[copies], noise, copies)[0]

    def _propagate(self, x: Tensor, noise: Tensor, copies: Copies) -> tuple[Tensor, list[Tensor]]:
        """Logits (S, C, B, N) under given noise (2, C, B, S, N, N), and both layers' masks."""
        first, second = self.layers
        masks = first.masks(x, noise[0], copies)
        # to the second layer every sample of an example is an example, with one mask
        h = first(x, masks, copies).relu_().flatten(1, 2)
        if self.shared_mask:
            own = masks.flatten(1, 2).unsqueeze(2)
        else:
            own = second.masks(h, noise[1].flatten(1, 2).unsqueeze(2), copies)
        logits = second.read_out(h, own, self.readout[copies], copies) + self.readout_bias[copies]
        return logits.view(masks.shape[:-1]).movedim(2, 0), [masks, own]

    @property
    def _example_axis(self) -> int:
        """Where the input has its examples: pooled features have one axis less than AU features."""
        return -3 if self.branch_weight is None else -2

    def _features(self, x: Tensor) -> Tensor:
        if self.branch_weight is None:
            return x
        return _branch(x, self.branch_weight, self.branch_bias).unflatten(-1, (self.n_au, self.in_features))

    def _chunks(self, x: Tensor, n_samples: int, axis: int) -> tuple[Tensor, ...]:
        per_example = len(self.arms) * self.n_au * max(n_samples * self.width, self.in_features)
        return x.split(max(1, NUMBERS_PER_CHUNK // per_example), axis)


def sample_weights(epistemic: Tensor) -> Tensor:
    """Weights (..., B) of the examples of a batch from their epistemic uncertainties (..., B, N) in nats.

    They add up to B + 1, and no gradient flows through them: the paper computes them "before training" a batch.

    Source: Eq. 11.
    """
    # Eq. 11: w_k = 1 + softmax_k(sum_i I_ik)
    return 1 + torch.softmax(epistemic.detach().sum(-1), -1)


def _glorot(shape: tuple[int, ...], fan_in: int, fan_out: int, generators: Sequence[torch.Generator]) -> nn.Parameter:
    """A parameter (C, *shape), each copy drawn by its own generator."""
    return draw_uniform(shape, math.sqrt(6 / (fan_in + fan_out)), generators)


def _branch(pooled: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """ReLU(pooled W + b), (C, B, N d)."""
    return torch.relu(torch.baddbmm(bias, pooled.expand(len(weight), *pooled.shape[-2:]), weight))


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """Features (B, N, d) or (C, B, N, d) times one matrix (C, d, k) per copy, (C, B, N, k)."""
    rows = x.expand(len(weight), *x.shape[-3:]).flatten(1, 2)
    return torch.bmm(rows, weight).unflatten(1, x.shape[-3:-1])
