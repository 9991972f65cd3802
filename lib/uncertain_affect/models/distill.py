"""EMENet: action units, expression, valence and arousal from one face network, with a GRU over time for each task.

The models of "Iterative Distillation" (arXiv 2108.04228), of which only the appendices are at hand; the architecture is
read from the released code (wtomin/UncertainEmotion), as are the four behaviours that `faithful_to_release` brings
back. EMENet-V sees frames; EMENet-VA hears 0.63 s of sound around each as well.

The networks come in K copies along a leading axis, the members and seeds of one experiment: the heads, which are
small, train side by side as batched products. A frozen trunk stands before them, or one that is trained with a single
copy, end to end.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncertain_affect.models.uncnet import draw_kept, draw_uniform

# Task -> outputs: 12 action units, 7 expressions, 20 bins each of valence and arousal.
TASKS = {"AU": 12, "EXPR": 7, "VA": 40}
# Auxiliary tasks: 68 landmarks; whether somebody speaks (EMENet-VA alone).
AUXILIARY = {"FA": 136, "VAD": 2}
N_BINS = 20

# (name, output channels, channels inside the bottleneck, stride, repeats): between the first and the last convolution.
STAGES = (
    ("conv_23", 64, 128, 2, 1),
    ("conv_3", 64, 128, 1, 4),
    ("conv_34", 128, 256, 2, 1),
    ("conv_4", 128, 256, 1, 6),
    ("conv_45", 128, 512, 2, 1),
    ("conv_5", 128, 256, 1, 2),
)
STEM, LAST = 64, 512

# (channels, kernel, dilation, separable, residual, repeats): NeMo's MarbleNet 3x2x64 without its decoder.
MARBLENET = (
    (128, 11, 1, True, False, 1),
    (64, 13, 1, True, True, 2),
    (64, 15, 1, True, True, 2),
    (64, 17, 1, True, True, 2),
    (128, 29, 2, True, False, 1),
    (128, 1, 1, False, False, 1),
)
N_MELS = 64


class PReLU(nn.PReLU):
    """`nn.PReLU` of maps (N, C, H, W), written so that its backward pass takes a quarter of the time on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        # max(x, 0) + a min(x, 0) = a x + (1 - a) max(x, 0)
        slope = self.weight[:, None, None]
        return torch.addcmul(slope * x, 1 - slope, torch.relu(x))


class Bottleneck(nn.Sequential):
    """1x1 convolution to more channels, depthwise 3x3, and a linear 1x1 back, each with batch normalisation."""

    def __init__(self, in_channels: int, channels: int, inside: int, stride: int, residual: bool):
        super().__init__(
            *_conv(in_channels, inside, 1),
            *_conv(inside, inside, 3, stride, padding=1, groups=inside),
            *_conv(inside, channels, 1)[:2],
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + y if self.residual else y


class MobileFaceNet(nn.Module):
    """The trunk: a face network of depthwise convolutions that ends in one weight for each place of its last map.

    Args:
        generator: draws the initial weights: convolutions Kaiming normal by fan-out.
        width: factor on the published numbers of channels.
        side: of the square pictures, a multiple of 16; 112 as published.
        repeats: factor on the numbers of repeated blocks, none below 1.

    Attributes:
        n_features: 512 as published.
        n_early: layers up to conv_34, whose maps have an eighth of the picture's side or more.

    As published it has 937,344 parameters. The linear layer that ends the face model is left out, as in the release.

    Raises:
        ValueError: an impossible side.
    """

    def __init__(self, generator: torch.Generator, width: float = 1.0, side: int = 112, repeats: float = 1.0):
        super().__init__()
        if side < 32 or side % 16:
            raise ValueError(f"side is {side}: the trunk halves pictures four times, give a multiple of 16 from 32 on")
        # On the meta device the layers draw nothing from the global generator.
        with torch.device("meta"):
            channels = _scaled(STEM, width)
            layers = [*_conv(3, channels, 3, 2, padding=1), *_conv(channels, channels, 3, padding=1, groups=channels)]
            for name, wide, inside, stride, n in STAGES:
                for _ in range(max(1, round(repeats * n))):
                    sizes = _scaled(wide, width), _scaled(inside, width)
                    layers.append(Bottleneck(channels, *sizes, stride, residual=stride == 1))
                    channels = sizes[0]
                if name == "conv_34":
                    self.n_early = len(layers)
            self.n_features = _scaled(LAST, width)
            layers += _conv(channels, self.n_features, 1)
            layers += _conv(self.n_features, self.n_features, side // 16, groups=self.n_features)[:2]
            self.layers = nn.Sequential(*layers)
        _initialise(self, generator)
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, n_features) of images as :func:`as_pictures` takes them, or of pictures that it has given."""
        return self.layers(_rgb(images)).flatten(1)

    def early_maps(self, images: Tensor) -> Tensor:
        """Maps (N, C, h, w) after conv_34, of images as :meth:`forward` takes them."""
        return self.layers[: self.n_early](_rgb(images))


def as_pictures(images: Tensor) -> Tensor:
    """Pictures (N, 1 or 3, S, S) from 0 to 1 of images uint8 (N, S, S), grey, or (N, 3, S, S).

    >>> as_pictures(torch.full((2, 1, 1), 51, dtype=torch.uint8)).flatten()
    tensor([0.2000, 0.2000])
    """
    return (images[:, None] if images.ndim == 3 else images).float() / 255


def _rgb(images: Tensor) -> Tensor:
    x = as_pictures(images) if images.dtype == torch.uint8 else images
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)  # faster on a CPU


class MarbleNet(nn.Module):
    """The encoder of sound: separable convolutions over time on 64 mel bands, averaged over time.

    Args:
        generator: draws the initial weights.
        width: factor on the published numbers of channels.

    As published it has 88,896 parameters and 128 features. Patches are standardised band by band before the first
    convolution by a batch normalisation without parameters, since the levels of recordings differ.
    """

    def __init__(self, generator: torch.Generator, width: float = 1.0):
        super().__init__()
        with torch.device("meta"):
            self.normalise = nn.BatchNorm1d(N_MELS, affine=False)
            blocks, channels = [], N_MELS
            for wide, *options in MARBLENET:
                blocks.append(_SoundBlock(channels, _scaled(wide, width), *options))
                channels = blocks[-1].channels
            self.blocks = nn.Sequential(*blocks)
        self.n_features = channels
        _initialise(self, generator)

    def forward(self, patches: Tensor) -> Tensor:
        """Features (N, n_features) of log-mel patches (N, 64 bands, L frames)."""
        return self.blocks(self.normalise(patches)).mean(-1)


class _SoundBlock(nn.Module):
    def __init__(
        self, in_channels: int, channels: int, kernel: int, dilation: int, separable: bool, residual: bool, repeats: int
    ):
        super().__init__()
        self.channels = channels
        layers = []
        for i in range(repeats):
            before = channels if i else in_channels
            if separable:
                padding = dilation * (kernel - 1) // 2
                layers.append(nn.Conv1d(before, before, kernel, 1, padding, dilation, groups=before, bias=False))
            layers += [nn.Conv1d(before, channels, 1, bias=False), nn.BatchNorm1d(channels), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.shortcut = None
        if residual:
            self.shortcut = nn.Sequential(nn.Conv1d(in_channels, channels, 1, bias=False), nn.BatchNorm1d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return F.relu(y if self.shortcut is None else y + self.shortcut(x))


class TaskHeads(nn.Module):
    """A GRU over time and a linear layer for each of A tasks, in K independent copies side by side.

    Every copy of every task is one batch of the same products. Copies share no weight, no minibatch and no dropout
    mask, so that a copy is the same network whether it was trained alone or beside others. The recurrence is that of
    `nn.GRU(..., batch_first=True)`, with its layout of gates (reset, update, new).

    Args:
        in_features: width D of the features.
        generators: one generator per copy; it draws that copy's weights now and its dropout masks later.
        outputs: task -> number of outputs.
        hidden: width H of each GRU's state, 128 as published.
        dropout: chance that a unit of the GRU's output is dropped before the linear layer.
        shared: width of a layer with PReLU before the GRUs that a copy's tasks share; none if None, as published.
            Where the trunk is frozen it is what the tasks have in common: without it, a weight on a task's loss
            would do nothing under Adam.
        across_clips: the GRUs run over the clips of a batch, not over time (release behaviour (a)).

    With three tasks on 512 features one copy has 747,195 parameters.

    Raises:
        ValueError: no generator.
    """

    def __init__(
        self,
        in_features: int,
        generators: Sequence[torch.Generator],
        outputs: Mapping[str, int] = TASKS,
        hidden: int = 128,
        dropout: float = 0.5,
        shared: int | None = None,
        across_clips: bool = False,
    ):
        super().__init__()
        self.in_features, self.hidden, self.dropout = in_features, hidden, dropout
        self.outputs, self.shared, self.across_clips = dict(outputs), shared, across_clips
        self.generators = list(generators)
        k, a, width = len(self.generators), len(self.outputs), in_features if shared is None else shared
        if shared is not None:
            self.shared_weight = draw_uniform((in_features, shared), in_features**-0.5, self.generators)
            self.shared_bias = nn.Parameter(torch.zeros(k, 1, shared))
            self.slope = nn.Parameter(torch.full((k, 1, 1), 0.25))
        # Copies lead in every parameter; torch draws a GRU and a linear layer uniformly within 1/sqrt(fan in).
        drawn = partial(draw_uniform, limit=hidden**-0.5, generators=self.generators)
        self.weight_ih = drawn((a, width, 3 * hidden))
        self.weight_hh = drawn((a, hidden, 3 * hidden))
        self.bias_ih = drawn((a, 1, 3 * hidden))
        self.bias_hh = drawn((a, 1, 3 * hidden))
        self.weights = nn.ParameterDict({task: drawn((hidden, n)) for task, n in self.outputs.items()})
        self.biases = nn.ParameterDict({task: drawn((1, n)) for task, n in self.outputs.items()})

    def states(self, x: Tensor) -> Tensor:
        """Outputs of the GRUs (K, A, B, T, H), which start at zero.

        Args:
            x: features (K, B, T, D), the same for all tasks, or (K, A, B, T, D); a leading axis of length 1 where
                all copies share them.
        """
        k, a = self.weight_ih.shape[:2]
        n, steps = x.shape[-3:-1]
        if self.shared is not None:
            x = self._shared_layer(x)
        x = x.expand(k, *x.shape[1:])
        # W_i x + b_i for all steps at once
        if x.ndim == 5:
            gates = torch.matmul(x.flatten(2, 3), self.weight_ih)
        else:  # one product for all tasks of a copy
            gates = torch.bmm(x.flatten(1, 2), self.weight_ih.transpose(1, 2).flatten(2))
            gates = gates.unflatten(2, (a, -1)).transpose(1, 2)
        gates = (gates + self.bias_ih).reshape(k * a, n, steps, -1).movedim(2, 0)  # steps first
        start, w, b = gates.new_zeros(k * a, n, self.hidden), self.weight_hh.flatten(0, 1), self.bias_hh.flatten(0, 1)
        return _Recurrence.apply(gates, start, w, b).movedim(0, 2).unflatten(0, (k, a))

    def _shared_layer(self, x: Tensor) -> Tensor:
        rows = x.flatten(1, -2)
        if len(x) == 1:  # one product for all copies
            rows = torch.einsum("nd,kdw->knw", rows[0], self.shared_weight) + self.shared_bias
        else:
            rows = torch.baddbmm(self.shared_bias, rows, self.shared_weight)
        # PReLU(v) = max(v, 0) + a min(v, 0) = a v + (1 - a) max(v, 0)
        rows = torch.addcmul(self.slope * rows, 1 - self.slope, torch.relu(rows))
        return rows.view(len(rows), *x.shape[1:-1], -1)

    def read_out(self, states: Tensor) -> dict[str, Tensor]:
        """Logits (K, N, C) by task of states (K, A, N, H)."""
        return {
            task: torch.baddbmm(self.biases[task], states[:, i], self.weights[task])
            for i, task in enumerate(self.outputs)
        }

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits (K, B, T, C) by task of features as :meth:`states` takes them.

        In training mode each copy draws its dropout masks from its own generator.
        """
        if self.across_clips:
            h = self.states(x.transpose(-3, -2)).transpose(2, 3)
        else:
            h = self.states(x)
        if self.training and self.dropout:
            h = h * self.masks(h.shape[1:], h)
        return {task: z.unflatten(1, h.shape[2:4]) for task, z in self.read_out(h.flatten(2, 3)).items()}

    def masks(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Dropout masks (K, *shape), divided by 1 - dropout, in the type of ``like``."""
        kept = torch.stack([draw_kept(shape, self.dropout, g) for g in self.generators])
        return kept.to(like) / (1 - self.dropout)


class EMENet(nn.Module):
    """EMENet-V, or with ``audio`` EMENet-VA: trunk, encoder of sound, and one copy of the heads, trained end to end.

    Args:
        generator: draws weights and dropout masks.
        audio: hear as well as see.
        width, side, repeats: of :class:`MobileFaceNet`; the width is that of :class:`MarbleNet` too.
        options: of :class:`TaskHeads`.

    EMENet-V has 1,684,539 parameters with three heads (printed in the release's README: 1.68 M). EMENet-VA has
    1,920,891 as built here, where that README has 1.91 M.
    """

    def __init__(
        self,
        generator: torch.Generator,
        audio: bool = False,
        width: float = 1.0,
        side: int = 112,
        repeats: float = 1.0,
        **options,
    ):
        super().__init__()
        self.trunk = MobileFaceNet(generator, width, side, repeats)
        self.sound = MarbleNet(generator, width) if audio else None
        n_features = self.trunk.n_features + (self.sound.n_features if audio else 0)
        self.heads = TaskHeads(n_features, [generator], **options)

    def encode(self, images: Tensor, patches: Tensor | None = None) -> Tensor:
        """Features (N, D) of images as the trunk takes them and, where the network hears, patches (N, 64, L)."""
        x = self.trunk(images)
        return x if self.sound is None else torch.cat([x, self.sound(patches)], 1)

    def forward(self, images: Tensor, patches: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (1, B, T, C) by task of B clips of T frames, :meth:`encode`'s inputs with two axes for one."""
        x = self.encode(images.flatten(0, 1), None if patches is None else patches.flatten(0, 1))
        return self.heads(x.view(1, *images.shape[:2], -1))


class _Recurrence(torch.autograd.Function):
    """The steps of G GRUs, with a backward pass of its own that makes far fewer calls than autograd would."""

    @staticmethod
    def forward(ctx, gates: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """States (T, G, B, H) from gates (T, G, B, 3H) of the input, first states (G, B, H), U (G, H, 3H), c."""
        size = h.shape[-1]
        out = gates.new_empty(*gates.shape[:-1], size)
        before, kept = h, []
        for step, of_input in enumerate(gates):
            of_state = torch.baddbmm(bias, h, weight)
            # r, z = sigmoid(W x + b + U h + c),  n = tanh(W_n x + b_n + r * (U_n h + c_n)),  h' = n + z (h - n)
            rz = torch.add(of_input[..., : 2 * size], of_state[..., : 2 * size]).sigmoid_()
            u = of_state[..., 2 * size :]
            n = torch.addcmul(of_input[..., 2 * size :], rz[..., :size], u).tanh_()
            h = torch.lerp(n, h, rz[..., size:], out=out[step])
            kept.append((rz, u, n))
        if any(ctx.needs_input_grad):
            ctx.kept = kept
            ctx.save_for_backward(before, weight, out)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        before, weight, out = ctx.saved_tensors
        size = out.shape[-1]
        of_inputs = gradient.new_empty(*out.shape[:-1], 3 * size)
        of_states = torch.empty_like(of_inputs)
        dh = torch.zeros_like(before)
        for step in range(len(out) - 1, -1, -1):
            rz, u, n = ctx.kept[step]
            r, z = rz[..., :size], rz[..., size:]
            h = out[step - 1] if step else before
            dh = dh + gradient[step]
            dn = dh * (1 - z) * (1 - n * n)
            d_rz = torch.cat([dn * u, dh * (h - n)], -1) * rz * (1 - rz)
            of_inputs[step, ..., : 2 * size] = of_states[step, ..., : 2 * size] = d_rz
            of_inputs[step, ..., 2 * size :] = dn
            of_states[step, ..., 2 * size :] = dn * r
            dh = torch.baddbmm(dh * z, of_states[step], weight.mT)
        inputs = torch.cat([before[None], out[:-1]]).movedim(0, 1).flatten(1, 2)
        d_weight = inputs.mT @ of_states.movedim(0, 1).flatten(1, 2)
        return of_inputs, dh, d_weight, of_states.sum((0, 2)).unsqueeze(1)


def expectation(logits: Tensor) -> Tensor:
    """Valence and arousal (..., 2) in [-1, 1] from logits (..., 40): the mean of each softmax over 20 bins."""
    # E[v] = sum_b softmax(z)_b b,  b in linspace(-1, 1, 20)
    p = logits.unflatten(-1, (2, N_BINS)).softmax(-1)
    return p @ bin_values(p)


def bin_values(like: Tensor) -> Tensor:
    """The values (20,) that the bins of valence and arousal stand for."""
    return torch.linspace(-1, 1, N_BINS, dtype=like.dtype, device=like.device)


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> list:
    return [
        nn.Conv2d(in_channels, channels, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        PReLU(channels),
    ]


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of a network made on the meta device."""
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.PReLU):
            module.reset_parameters()  # nothing drawn: ones and zeros, and slopes of a quarter
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size) / module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out), generator=generator)
