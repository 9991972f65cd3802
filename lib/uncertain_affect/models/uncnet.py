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
    after as many epochs copy s is the same network whether it was trained alone or beside nineteen others. ReLU
    after both hidden layers, dropout after each ReLU, and none on the input: the published code drops no
    feature, although the text has dropout "before each layer of FC".

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

    def hidden(self, x: Tensor) -> Tensor:
        """Activations (S, N, H) of the last hidden layer, of features (N, D), the same for every copy, or (S, N, D).

        In training mode each copy draws its masks from its own generator.
        """
        h = x.expand(len(self.generators), *x.shape[-2:])
        for weight, bias in list(zip(self.weights, self.biases, strict=True))[:-1]:
            h = torch.relu(torch.baddbmm(bias, h, weight))
            if self.training and self.dropout:
                kept = torch.stack([draw_kept(h.shape[1:], self.dropout, g) for g in self.generators])
                h = h * (kept.to(h) / (1 - self.dropout))
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Logits (S, N, C) of features, as :meth:`hidden` takes them."""
        return torch.baddbmm(self.biases[-1], self.hidden(x), self.weights[-1])


def draw_kept(shape: Sequence[int], dropout: float, generator: torch.Generator) -> Tensor:
    """Which units survive: a boolean tensor, each entry false with probability ``dropout``.

    ``dropout`` is rounded to a multiple of 2^-16, an error of at most 8e-6. Four entries come out of each 64-bit
    draw, about ten times faster than a Bernoulli draw an entry, which would cost more than the network itself.
    Each row along the last axis takes whole draws, so that drawing rows together or one by one is the same.

    >>> draw_kept((100, 400), 0.25, torch.Generator().manual_seed(0)).float().mean().round(decimals=2)
    tensor(0.7500)
    """
    *rows, n = shape
    bits = torch.empty(*rows, -(-n // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return bits.view(torch.int16)[..., :n] >= round(dropout * 2**16) - 2**15


def draw_uniform(shape: Sequence[int], limit: float, generators: Sequence[torch.Generator]) -> nn.Parameter:
    """Weights (S, *shape) of S copies, uniform in ± limit, each copy drawn by its own generator.

    Raises:
        ValueError: no generator.
    """
    if not generators:
        raise ValueError("a network needs at least one generator: one per copy")
    return nn.Parameter(torch.stack([torch.empty(shape).uniform_(-limit, limit, generator=g) for g in generators]))


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
            do. ``"per_network"`` draws T networks and applies each to every input: T masked weight matrices,
            no mask the size of the data, and faster; but the error of the T draws is then shared by all inputs,
            so a number over a whole set needs T of 1,000 or more.
        member: which copy of the network.

    Inputs draw their masks one after another, so a set split into batches that share the generator has the same
    masks as the whole (``"per_network"``: batches that start from the same generator state).

    The network has two hidden layers.

    Raises:
        ValueError: fewer than one sample, another name of masks, or features that are not finite.

    Source: section 3.2, p(y = c | x) ~ 1/T sum_t softmax(z^{W_t}(x))_c with its misprints mended.
    """
    probs = x.new_empty(n_samples, len(x), model.biases[-1].shape[-1])
    for samples, inputs, log_p in _mc_chunks(model, x, n_samples, generator, masks, member):
        probs[samples, inputs] = log_p.exp().transpose(1, 2)
    return probs


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

    Takes the arguments of :func:`mc_dropout`, raises what it raises, and equals
    ``entropy_decomposition(mc_dropout(...))`` up to the rounding of the network's own precision.
    """
    # U_t = H[1/T sum_t p_t],  U_a = 1/T sum_t H[p_t],  U_e = U_t - U_a
    mean = x.new_zeros(len(x), model.biases[-1].shape[-1], dtype=torch.float64)
    aleatoric = x.new_zeros(len(x), dtype=torch.float64)
    for _, inputs, log_p in _mc_chunks(model, x, n_samples, generator, masks, member):
        p = log_p.exp()
        mean[inputs] += p.sum(0).T
        aleatoric[inputs] -= p.mul_(log_p).sum((0, 1))
    mean /= n_samples
    aleatoric /= n_samples
    total = torch.special.entr(mean).sum(-1)
    return mean, EntropyDecomposition(total, aleatoric, (total - aleatoric).clamp(min=0))


def _mc_chunks(
    model: UncNet, x: Tensor, n_samples: int, generator: torch.Generator, masks: str, member: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Log-probabilities (t, C, n) of some samples and inputs at a time, after the slices of T and N they fill.

    The pieces fit the processor's cache, and classes lie before inputs: a softmax over nine rows of inputs
    vectorises, one over nine neighbouring numbers takes twenty times as long.
    """
    if masks not in ("per_input", "per_network"):
        raise ValueError(f'masks must be "per_input" or "per_network", not {masks!r}')
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, not {n_samples}")
    (w1, w2, w3), (b1, b2, b3) = ([p[member] for p in ps] for ps in (model.weights, model.biases))
    widths, dropout = (len(w2), len(w3)), model.dropout
    z1 = torch.addmm(b1, x, w1)
    if not z1.isfinite().all():
        row = int(z1.isfinite().all(1).logical_not().nonzero()[0])
        raise ValueError(f"the first layer of input {row} is not finite: NaN or infinite features or weights")
    # what survives is divided by 1 - p, here once for all samples
    h1, w3, b3 = z1.relu_() / (1 - dropout), w3.T / (1 - dropout), b3.T
    if masks == "per_network":
        m1, m2 = (draw_kept((n_samples, width), dropout, generator).to(x) for width in widths)
        for samples in _slices(n_samples, 16):
            w2_t, w3_t = m1[samples, :, None] * w2, m2[samples, None] * w3
            for inputs in _slices(len(x), 512):
                h2 = torch.baddbmm(b2, h1[inputs].expand(len(w2_t), -1, -1), w2_t).relu_()
                yield samples, inputs, torch.baddbmm(b3, w3_t, h2.mT).log_softmax(1)
    else:
        for inputs in _slices(len(x), max(1, 8192 // n_samples)):
            h = h1[inputs, None]
            kept = draw_kept((len(h), n_samples, sum(widths)), dropout, generator)
            m1, m2 = kept.to(x).split(widths, -1)
            h2 = torch.addmm(b2, (h * m1).flatten(0, 1), w2).relu_().view_as(m2).mul_(m2)
            logits = torch.addmm(b3, w3, h2.flatten(0, 1).T).view(-1, len(h), n_samples)
            yield slice(None), inputs, logits.log_softmax(0).permute(2, 0, 1)


def _slices(n: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, n, size))
