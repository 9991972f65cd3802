"""UncNet: a small classifier whose dropout stays on at test time.

Paper: Ghandeharioun, Eoff, Jou and Picard, "Characterizing Sources of Uncertainty to Proxy Calibration and
Disambiguate Annotator and Data Bias" (2019), section 3.2 and figure 3.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from uncertain_affect.metrics.uncertainty import EntropyDecomposition

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown")


class UncNet(nn.Module):
    """The perceptron in-128-128-9 of figure 3, with S independent copies along a leading axis.

    The copies are the seeds of one experiment: they share no weight, no minibatch and no dropout mask, so
    copy s is the same network whether it is trained alone or beside nineteen others. ReLU after both hidden
    layers, dropout after each ReLU, and none on the input: the published code drops no feature, although the
    text has dropout "before each layer of FC".

    Args:
        in_features: width D of the frozen features; 1,792 at the paper's Mixed-7a tap.
        generators: one generator per copy; it draws that copy's weights now and its dropout masks later.
        hidden: widths of the hidden layers.
        n_classes: FER+ has eight expressions and "unknown".
        dropout: probability p that a hidden unit is dropped.

    Weights start as truncated normals of standard deviation 1/sqrt(fan in), biases at 0.1, as in the published
    code. With 1,792 inputs one copy has 247,177 parameters.
    """

    def __init__(
        self,
        in_features: int,
        generators: Sequence[torch.Generator],
        hidden: tuple[int, ...] = (128, 128),
        n_classes: int = len(CLASSES),
        dropout: float = 0.2,
    ):
        super().__init__()
        if not generators:
            raise ValueError("UncNet needs at least one generator: one per copy of the network")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), not {dropout}")
        self.dropout = dropout
        self.generators = list(generators)
        widths = (in_features, *hidden, n_classes)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(widths):
            weight = torch.empty(len(generators), fan_in, fan_out)
            for copy, generator in zip(weight, self.generators, strict=True):
                sd = 1 / math.sqrt(fan_in)
                nn.init.trunc_normal_(copy, std=sd, a=-2 * sd, b=2 * sd, generator=generator)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.full((len(generators), 1, fan_out), 0.1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (S, N, C) of features (N, D), the same for every copy, or (S, N, D).

        In training mode each copy draws its masks from its own generator.
        """
        *hidden, last = zip(self.weights, self.biases, strict=True)
        h = x.expand(len(self.generators), *x.shape[-2:])
        for weight, bias in hidden:
            h = torch.relu(torch.baddbmm(bias, h, weight))
            if self.training and self.dropout:
                h = h * self._masks(h)
        return torch.baddbmm(last[1], h, last[0])

    def _masks(self, h: Tensor) -> Tensor:
        kept = torch.stack([draw_kept(h.shape[1:], self.dropout, g) for g in self.generators])
        return kept.to(h) / (1 - self.dropout)


def draw_kept(shape: Sequence[int], dropout: float, generator: torch.Generator) -> Tensor:
    """Which units survive: a boolean tensor, each entry false with probability ``dropout``.

    ``dropout`` is rounded to a multiple of 2^-16, an error of at most 8e-6. Four entries come out of each 64-bit
    draw, about ten times faster than a Bernoulli draw an entry, which would cost more than the network itself.
    """
    n = math.prod(shape)
    bits = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return (bits.view(torch.int16)[:n] >= round(dropout * 2**16) - 2**15).view(*shape)


@torch.no_grad()
def mc_dropout(
    model: UncNet,
    x: Tensor,
    n_samples: int,
    generator: torch.Generator,
    masks: str = "per_input",
    member: int = 0,
) -> Tensor:
    """Class probabilities (T, N, C) of one copy of the network under T draws of its dropout masks.

    The first layer is not touched by dropout, so its activations are computed once for all T.

    Args:
        model: the trained network.
        x: features (N, D).
        n_samples: T; the paper uses 100.
        generator: draws the masks, on the CPU.
        masks: ``"per_input"`` draws T masks for every input, which is what T passes through a dropout layer
            do. ``"per_network"`` draws T networks and asks all of them about every input: T masked weight
            matrices, no mask the size of the data, and faster; but the error of the T draws is then shared by
            all inputs, so a number over a whole set needs T of 1,000 or more.
        member: which copy of the network.

    The result does not depend on how a set is split into batches: inputs draw their masks one after another.
    Source: section 3.2, p(y = c | x) ~ 1/T sum_t softmax(z^{W_t}(x))_c with its misprints mended.
    """
    parts = list(_mc_chunks(model, x, n_samples, generator, masks, member))
    return torch.cat(parts, dim=1 if masks == "per_input" else 0)


@torch.no_grad()
def mc_uncertainty(
    model: UncNet,
    x: Tensor,
    n_samples: int,
    generator: torch.Generator,
    masks: str = "per_input",
    member: int = 0,
) -> tuple[Tensor, EntropyDecomposition]:
    """Mean probabilities (N, C) and the three uncertainties (N,) in nats, without holding (T, N, C).

    Takes the arguments of :func:`mc_dropout` and equals ``entropy_decomposition(mc_dropout(...))``.
    """
    # U_t = H[1/T sum_t p_t],  U_a = 1/T sum_t H[p_t],  U_e = U_t - U_a
    means, aleatorics = [], []
    for p in _mc_chunks(model, x, n_samples, generator, masks, member):
        means.append(p.sum(0))
        aleatorics.append(torch.special.entr(p).sum((0, -1)))
    join = torch.cat if masks == "per_input" else lambda parts: torch.stack(parts).sum(0)
    mean = join(means).double() / n_samples
    aleatoric = join(aleatorics).double() / n_samples
    total = torch.special.entr(mean).sum(-1)
    return mean, EntropyDecomposition(total, aleatoric, (total - aleatoric).clamp(min=0))


def _mc_chunks(
    model: UncNet, x: Tensor, n_samples: int, generator: torch.Generator, masks: str, member: int
) -> Iterator[Tensor]:
    """Pieces of the (T, N, C) probabilities small enough for the cache: over inputs, or over networks."""
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, not {n_samples}")
    if len(model.weights) != 3:
        raise ValueError(f"expected two hidden layers, the network has {len(model.weights) - 1}")
    (w1, w2, w3), (b1, b2, b3) = ([p[member] for p in ps] for ps in (model.weights, model.biases))
    keep = 1 - model.dropout
    n_hidden = (w1.shape[1], w2.shape[1])
    h1 = torch.relu(torch.addmm(b1, x, w1)) / keep
    w3 = w3 / keep
    if masks == "per_network":
        m1, m2 = (draw_kept((n_samples, width), model.dropout, generator).to(x) for width in n_hidden)
        for t1, t2 in zip(m1.split(8), m2.split(8), strict=True):
            # (N, H)(H, 8H): eight masked networks are one product
            masked = (t1[:, :, None] * w2).transpose(0, 1).reshape(n_hidden[0], -1)
            h2 = (h1 @ masked).view(len(x), len(t1), -1).add_(b2).relu_()
            logits = torch.einsum("nth,thc->tnc", h2, t2[:, :, None] * w3) + b3
            yield torch.softmax(logits, -1)
    elif masks == "per_input":
        for h in h1.split(max(1, 8192 // n_samples)):
            # drawn input by input, so that the split into batches does not matter
            drawn = torch.stack([draw_kept((n_samples, sum(n_hidden)), model.dropout, generator) for _ in h])
            m1, m2 = drawn.to(x).split(n_hidden, -1)
            h2 = torch.relu((m1 * h[:, None]).flatten(0, 1) @ w2 + b2).view_as(m2).mul_(m2)
            yield torch.softmax(h2 @ w3 + b3, -1).transpose(0, 1)
    else:
        raise ValueError(f'masks must be "per_input" or "per_network", not {masks!r}')
