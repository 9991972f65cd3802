"""HAN-ROCK: a hierarchical attention network whose auxiliary tasks are learnt below the primary one.

Paper: "Reusing Preprocessing Data as Auxiliary Supervision in Conversational Analysis", section 3.

    words -> bi-GRU -> attention -> talkturns -> bi-GRU of each task -> attention -> a vector for each task -> heads

`FlatHan` (figure 2) has one encoder for all tasks. `HanRock` (figure 3) has one word encoder for the primary task and
one for all auxiliary tasks, a talkturn encoder for each task, and attention over tasks, from whose sum the primary task
is predicted.

Where the paper is silent or loose, these readings hold:

- *Attention* sums the projections u, as printed four times, and not the states h, as Yang et al. (2016) do. With
  `attend="h"` states are summed, except by the talkturn encoders of `HanRock`: their states have 2P and 2A features,
  and only projections have a common size to be fused in.
- *Fusion*. "Concatenation" stacks the vectors of all tasks, and one query u_c scores each of them as it is.
- *Content size* L counts the current talkturn: L = 1 is no context.
- *GRU dropout* is that of a GRU's inputs, as Keras names it: features are dropped, the same ones at all steps. Tasks
  and directions that read one input share its mask.
- *Recurrent dropout* drops units of the state where it enters the gates, the same ones at all steps (Gal and
  Ghahramani, 2016), not where the state is carried over. Each task and direction has its own masks.
- Both act in word and in talkturn encoders.
- *Initial weights* are those of Keras: uniform after Glorot, orthogonal between states, biases zero.
- *Heads* are linear: scores in units of the target where it is a number, logits where it is a class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from uncertain_affect.models.uncnet import draw_kept

# gradient times f'(x), given f(x)
sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward

FAMILIES = {
    "a": ("AU05", "AU17", "AU20", "AU25"),
    "p": ("happy", "sad", "angry", "fear"),
    "h": ("past1", "past2", "past3", "past4"),
    "f": ("future1", "future2", "future3", "future4"),
}


@dataclass(frozen=True)
class Task:
    """What one head predicts.

    Attributes:
        name: of the target.
        family: "primary", or a key of `FAMILIES` or of another corpus.
        n_classes: of a categorical target; None where the target is a number.
    """

    name: str
    family: str
    n_classes: int | None = None


def seventeen_tasks(primary: str, n_classes: int | None = None) -> tuple[Task, ...]:
    """The primary task and the sixteen auxiliary ones, in the order of the paper's Table 7.

    Past and future labels are labels of the primary task, and classes where it is a classification.
    """
    auxiliary = [
        Task(name, family, n_classes if family in "hf" else None)
        for family, names in FAMILIES.items()
        for name in names
    ]
    return (Task(primary, "primary", n_classes), *auxiliary)


def contexts(dialogue: Sequence | np.ndarray, content_size: int) -> Tensor:
    """The rows read for each of N talkturns, int64 (N, L): those before it, oldest first, then the talkturn itself.

    If the dialogue has fewer than L so far, -1 fills the end of the row.

    >>> contexts(["a", "a", "b"], content_size=2).tolist()
    [[0, -1], [0, 1], [2, -1]]

    Args:
        dialogue: (N,), any labels; the turns of a dialogue follow one another.
        content_size: L.

    Raises:
        ValueError: L < 1, or a dialogue comes in several pieces.
    """
    if content_size < 1:
        raise ValueError(f"content_size counts the current talkturn and must be at least 1, not {content_size}")
    dialogue = np.asarray(dialogue)
    row = np.arange(len(dialogue))
    is_first = np.ones(len(dialogue), bool)
    is_first[1:] = dialogue[1:] != dialogue[:-1]
    names, pieces = np.unique(dialogue[is_first], return_counts=True)
    if (pieces > 1).any():
        raise ValueError(f"dialogue '{names[pieces > 1][0]}' comes in several pieces; sort the talkturns by dialogue")
    first = np.maximum.accumulate(np.where(is_first, row, 0))
    rows = np.maximum(row - content_size + 1, first)[:, None] + np.arange(content_size)
    return torch.from_numpy(np.where(rows <= row[:, None], rows, -1))


# --- many bidirectional GRUs as one ---------------------------------------------------------------------------------


class TaskGRU(nn.Module):
    """T bidirectional GRUs, run as one recurrence over steps.

    Each is `nn.GRU(input_size, hidden_size, batch_first=True, bidirectional=True)`, with its layout of gates (reset,
    update, new), apart from dropout:

        r, z = sigmoid(W_r x_t + b_r + U_r h_{t-1} + c_r), and so on with z
        n = tanh(W_n x_t + b_n + r * (U_n h_{t-1} + c_n)),  h_t = (1 - z) n + z h_{t-1}

    Args:
        n_tasks, input_size, hidden_size: T, D, H.
        generator: draws the weights now and dropout masks later, on the CPU.
        dropout: chance that a feature of the input is dropped at all steps; tasks and directions share the mask of a
            shared input.
        recurrent_dropout: chance that a unit of the state h_{t-1} in the equations of the gates is dropped at all
            steps.
    """

    def __init__(
        self,
        n_tasks: int,
        input_size: int,
        hidden_size: int,
        generator: Generator,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
    ):
        super().__init__()
        self.generator, self.dropout, self.recurrent_dropout = generator, dropout, recurrent_dropout
        self.weight_ih = nn.Parameter(_glorot((n_tasks, 2, 3 * hidden_size, input_size), generator))
        self.weight_hh = nn.Parameter(torch.empty(n_tasks, 2, 3 * hidden_size, hidden_size))
        for matrix in self.weight_hh.detach().flatten(0, 1):
            nn.init.orthogonal_(matrix, generator=generator)
        self.bias_ih = nn.Parameter(torch.zeros(n_tasks, 2, 3 * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(n_tasks, 2, 3 * hidden_size))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """States (T, B, L, 2H), forward ones before backward ones, zero after the end of a sequence.

        Args:
            x: (B, L, D), the same for all tasks, or (T, B, L, D).
            lengths: int (B,), from 1 to L; all L if None. What follows the end of a sequence is never read, and the
                backward GRU starts at each sequence's own end.
        """
        n_tasks, _, n_gates, n_features = self.weight_ih.shape
        n, n_steps = x.shape[-3:-1]
        if lengths is None:
            lengths = torch.full((n,), n_steps, device=x.device)
        if self.training and self.dropout:
            x = x * self._masks((*x.shape[:-2], 1, n_features), self.dropout, x)
        kept = None
        if self.training and self.recurrent_dropout:
            kept = self._masks((2 * n_tasks, n_gates // 3, n), self.recurrent_dropout, x)

        # Directions before tasks: what the two directions read differs in order alone.
        w, u, b, c = (p.transpose(0, 1) for p in (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh))
        there = (torch.arange(n_steps, device=x.device) < lengths[:, None]).flatten()
        rows = there.nonzero().squeeze(1)
        is_padded = len(rows) < len(there)
        x = x.flatten(-3, -2)
        if is_padded:
            x = x.index_select(-2, rows)
        if x.ndim == 2:  # one product for all tasks and directions
            gates = torch.addmm(b.reshape(-1, 1), w.reshape(-1, n_features), x.T)
        else:
            gates = torch.matmul(w, x.mT) + b[..., None]
        gates = gates.view(2, n_tasks, n_gates, -1)
        states = _Recurrence.apply(gates, u.flatten(0, 1), c.flatten(0, 1), kept, _Packing.of(lengths)).flatten(1, 2)
        if is_padded:
            states = states.new_zeros(*states.shape[:2], len(there)).index_copy(-1, rows, states)
        return states.unflatten(-1, (n, n_steps)).permute(0, 2, 3, 1)

    def _masks(self, shape: Sequence[int], dropout: float, like: Tensor) -> Tensor:
        return draw_kept(shape, dropout, self.generator).to(like) / (1 - dropout)


@dataclass(frozen=True)
class _Packing:
    """Sequences of different lengths in the order in which a recurrence reads their steps.

    Steps come one after another, and those of a step from the longest sequence to the shortest. N counts all steps of
    all sequences, which lie end to end before they are packed.

    Attributes:
        sizes: sequences that have a first, second, ... step.
        order: int (2, N), the step to read next, forward and backward.
        place: int (2, N), when each step is read: the inverse of `order`.
    """

    sizes: list[int]
    order: Tensor
    place: Tensor

    @classmethod
    def of(cls, lengths: Tensor) -> "_Packing":
        longest_first = lengths.argsort(descending=True, stable=True)
        first = (lengths.cumsum(0) - lengths)[longest_first]
        lengths = lengths[longest_first]
        step = torch.arange(int(lengths[0]), device=lengths.device)[:, None]
        there = step < lengths
        order = torch.stack([(first + step)[there], (first + lengths - 1 - step)[there]])
        when = torch.arange(order.shape[1], device=order.device).expand_as(order)
        return cls(there.sum(1).tolist(), order, torch.empty_like(order).scatter_(1, order, when))


class _Recurrence(torch.autograd.Function):
    """States (T, 2, H, N) of all GRUs from what their inputs add to the gates, (2, T, 3H, N).

    Steps lie along the last axis, sequences side by side, so that gates are contiguous however few units there are.
    Backpropagation is written out: all that does not depend on later steps is computed for all steps at once, which
    leaves three operations a step, where autograd would record a dozen.
    """

    @staticmethod
    def forward(ctx, inputs: Tensor, weight: Tensor, bias: Tensor, kept: Tensor | None, packing: _Packing) -> Tensor:
        """weight (2T, 3H, H), bias (2T, 3H) and masks `kept` (2T, H, B) of the states."""
        size, sizes = weight.shape[-1], packing.sizes
        x = _arrange(inputs, packing.order).flatten(0, 1)
        # r, z and U_n h + c_n; n; h
        gates, new, states = torch.empty_like(x), *torch.empty_like(x[:, : 2 * size]).chunk(2, 1)
        x_rz, x_n = (part.split(sizes, -1) for part in x.split((2 * size, size), 1))
        r, z, q = (part.split(sizes, -1) for part in gates.split(size, 1))
        rz, rzq, n, h = (part.split(sizes, -1) for part in (gates[:, : 2 * size], gates, new, states))
        # with one unit the product is an outer one
        multiply_add = torch.addcmul if size == 1 else torch.baddbmm
        bias, before = bias[..., None], torch.zeros_like(h[0])
        for step, n_sequences in enumerate(sizes):
            before = before[..., :n_sequences]
            entering = before if kept is None else before * kept[..., :n_sequences]
            multiply_add(bias, weight, entering, out=rzq[step])
            rz[step].add_(x_rz[step]).sigmoid_()
            torch.addcmul(x_n[step], r[step], q[step], out=n[step]).tanh_()
            before = torch.lerp(n[step], before, z[step], out=h[step])
        ctx.save_for_backward(weight, kept, gates, new, states)
        ctx.packing = packing
        return _arrange(states.unflatten(0, (2, -1)), packing.place, dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        weight, kept, gates, n, states = ctx.saved_tensors
        sizes, size = ctx.packing.sizes, weight.shape[-1]
        r, z, q = gates.split(size, 1)
        parts = states.split(sizes, -1)
        before = torch.cat(
            [torch.zeros_like(parts[0]), *(h[..., :m] for h, m in zip(parts, sizes[1:], strict=False))], -1
        )
        # Derivatives of h with respect to what enters n, and to U h + c in r, z and n, for one step.
        by_n = tanh_backward(1 - z, n)
        by_gates = torch.cat([sigmoid_backward(by_n * q, r), sigmoid_backward(before - n, z), by_n * r], 1)
        # They are multiplied by the derivative of the loss with respect to h as it comes in from the last step on.
        dh = _arrange(gradient.transpose(0, 1), ctx.packing.order).flatten(0, 1)
        dh_at, z_at, dgates_at = (part.split(sizes, -1) for part in (dh, z, by_gates))
        by_gate_at = by_gates.unflatten(1, (3, size)).split(sizes, -1)
        back = weight.mT
        for step in reversed(range(len(sizes))):
            by_gate_at[step].mul_(dh_at[step][:, None])
            if step:
                earlier = dh_at[step - 1][..., : sizes[step]]
                earlier.addcmul_(dh_at[step], z_at[step])
                if kept is None:
                    earlier.baddbmm_(back, dgates_at[step])
                else:
                    earlier.addcmul_(kept[..., : sizes[step]], torch.bmm(back, dgates_at[step]))
        if kept is not None:
            before = before * torch.cat([kept[..., :m] for m in sizes], -1)
        dweight, dbias = torch.bmm(by_gates, before.mT), by_gates.sum(-1)
        by_gates[:, 2 * size :] = dh.mul_(by_n)  # the input enters n without r
        return _arrange(by_gates.unflatten(0, (2, -1)), ctx.packing.place), dweight, dbias, None, None


def _arrange(x: Tensor, order: Tensor, dim: int = 0) -> Tensor:
    """x (2, ..., N) with its last axis in another order (2, N) in each half, and the first axis moved to `dim`."""
    # of two axes, the last one is selected three times as fast as of three
    halves = [
        half.flatten(0, -2).index_select(-1, index).view(half.shape) for half, index in zip(x, order, strict=True)
    ]
    return torch.stack(halves, dim)


# --- attention ------------------------------------------------------------------------------------------------------


class TaskAttention(nn.Module):
    """T attentions over steps, each with its own projection and query.

        u_i = relu(W h_i + b),  alpha = softmax_i(u_i . q),  v = sum_i alpha_i u_i

    Args:
        n_tasks, input_size, size: T, F, and the size d of u.
        generator: draws the weights.
        attend: "u" as printed, "h" for v = sum_i alpha_i h_i.

    Raises:
        ValueError: another `attend`.
    """

    def __init__(self, n_tasks: int, input_size: int, size: int, generator: Generator, attend: str = "u"):
        super().__init__()
        if attend not in ("u", "h"):
            raise ValueError(f'attend must be "u" or "h", not {attend!r}')
        self.attend = attend
        self.weight = nn.Parameter(_glorot((n_tasks, size, input_size), generator))
        self.bias = nn.Parameter(torch.zeros(n_tasks, size))
        self.query = nn.Parameter(_glorot((n_tasks, 1, size), generator).squeeze(1))

    @property
    def output_size(self) -> int:
        """Features of v: d, or F with `attend="h"`."""
        return self.weight.shape[1 if self.attend == "u" else 2]

    def forward(self, h: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors v (T, B, d) and weights alpha (T, B, L) of states h (T, B, L, F).

        there: bool (B, L), which steps exist, at least one in each row; the others have no weight.
        """
        h = h.permute(0, 3, 1, 2)  # as `TaskGRU` holds them
        u = torch.relu(torch.baddbmm(self.bias[..., None], self.weight, h.flatten(2)))
        scores = torch.bmm(self.query[:, None], u).view(len(u), *there.shape)
        alpha = scores.masked_fill(~there, -math.inf).softmax(-1)
        summed = u.unflatten(2, there.shape) if self.attend == "u" else h
        return (summed * alpha[:, None]).sum(-1).mT, alpha


# --- the networks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predictions of a network for B talkturns, and what it attended to.

    Attributes:
        values: (B, R), of the R tasks whose targets are numbers, in the order of the tasks.
        logits: (B, K, C), of the K tasks whose targets are classes.
        word_attention: (E, B, L, W), of each word encoder within each talkturn; the primary one first.
        turn_attention: (T, B, L), of each talkturn encoder; the primary one first.
        task_attention: (T, B), of the fusion; for `FlatHan`, which has one encoder, a row of ones.
    """

    values: Tensor
    logits: Tensor
    word_attention: Tensor
    turn_attention: Tensor
    task_attention: Tensor

    def overall_attention(self) -> tuple[Tensor, Tensor]:
        """Attention to words (B, L, W) and talkturns (B, L), averaged with the weights of the tasks (section A.6)."""
        turns = torch.einsum("tb,tbl->bl", self.task_attention, self.turn_attention)
        # one word encoder is shared by all tasks, or the second by all but the first
        first, *others = self.task_attention
        shares = torch.stack([first, sum(others)] if others else [first])
        return torch.einsum("eb,eblw->blw", shares, self.word_attention), turns


class _Han(nn.Module):
    """What both networks share: embeddings, word encoders and the encoding of contexts; for options see `FlatHan`.

    The networks have a method `_predict`, from vectors of talkturns s (E, B, L, d), attention to words (E, B, L, W),
    which talkturns exist, bool (B, L), and how many, (B,), to a `Prediction`.
    """

    def __init__(
        self,
        n_encoders: int,
        tasks: Sequence[Task],
        embedding: Tensor,
        generator: Generator,
        *,
        word_gru: int = 50,
        attention: int = 100,
        gru_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        attend: str = "u",
        freeze: bool = True,
    ):
        super().__init__()
        if len({task.n_classes for task in tasks} - {None}) > 1:
            raise ValueError("all categorical tasks must have the same number of classes")
        self.tasks, self.attention, self.attend = tuple(tasks), attention, attend
        self.embedding = nn.Embedding.from_pretrained(embedding.clone(), freeze=freeze, padding_idx=0)
        self.dropouts = gru_dropout, recurrent_dropout
        self.words = TaskGRU(n_encoders, embedding.shape[1], word_gru, generator, *self.dropouts)
        self.word_attention = TaskAttention(n_encoders, 2 * word_gru, attention, generator, attend)

    def forward(self, tokens: Tensor, context: Tensor) -> Prediction:
        """Predictions for B talkturns, each read with those before it.

        A talkturn that several of the B read is encoded once.

        Args:
            tokens: int (N, W), the words of talkturns, 0 after the last one.
            context: int (B, L), rows of `tokens`, oldest first and the one predicted last, -1 after it.

        Raises:
            ValueError: a talkturn without words, or an example without talkturns.
        """
        there = context >= 0
        lengths = there.sum(1)
        if not bool(there[:, 0].all()):
            raise ValueError(f"example {int((lengths == 0).nonzero()[0])} has no talkturn")
        read, at = torch.unique(context[there], return_inverse=True)
        words = tokens[read]
        n_words = (words != 0).sum(1)
        if not bool(n_words.all()):
            raise ValueError(f"talkturn {int(read[(n_words == 0).nonzero()[0]])} has no words; leave it out")
        words = words[:, : int(n_words.max())]
        h = self.words(self.embedding(words), n_words)
        s, alpha = self.word_attention(h, words != 0)
        # back to the examples; what stands where there is no talkturn is never read
        index = torch.zeros_like(context).masked_scatter(there, at)
        alpha = nn.functional.pad(alpha, (0, tokens.shape[1] - words.shape[1]))
        return self._predict(s[:, index], alpha[:, index] * there[..., None], there, lengths)


class FlatHan(_Han):
    """The flat multi-task network of figure 2: every task is predicted from one vector of the talkturns.

    Args:
        tasks: the primary one first.
        embedding: (V, D), vectors of the words, row 0 that of padding.
        pri_gru: units P of the talkturn encoder, in each direction.
        generator: draws the weights now and dropout masks later.
        options: `word_gru` (50), units of the word encoder in each direction; `attention` (100), size of the
            projections u of words and of talkturns; `gru_dropout` and `recurrent_dropout` (0) of all GRUs, see the head
            of this module; `attend` ("u"), or "h", what attention sums; `freeze` (True): embeddings are not trained.

    Raises:
        ValueError: categorical tasks with different numbers of classes, or another `attend`.
    """

    def __init__(self, tasks: Sequence[Task], embedding: Tensor, pri_gru: int, generator: Generator, **options):
        super().__init__(1, tasks, embedding, generator, **options)
        self.turns = TaskGRU(1, self.word_attention.output_size, pri_gru, generator, *self.dropouts)
        self.turn_attention = TaskAttention(1, 2 * pri_gru, self.attention, generator, self.attend)
        self.heads = _Heads(tasks, self.turn_attention.output_size, generator)

    def _predict(self, s, word_attention, there, lengths):
        v, alpha = self.turn_attention(self.turns(s[0], lengths), there)
        return Prediction(
            *self.heads(v.expand(len(self.tasks), -1, -1)), word_attention, alpha, torch.ones_like(alpha[..., 0])
        )


class HanRock(_Han):
    """The network of figure 3: auxiliary tasks have encoders of their own, which the primary task looks at.

    The paper has P + A = 257. There is at least one auxiliary task; a loss weight of zero takes it away. Arguments are
    those of `FlatHan`, and

    Args:
        pri_gru: units P of the primary talkturn encoder, in each direction.
        aux_gru: units A of each auxiliary talkturn encoder.

    Raises:
        ValueError: categorical tasks with different numbers of classes, or another `attend`.
    """

    def __init__(
        self, tasks: Sequence[Task], embedding: Tensor, pri_gru: int, aux_gru: int, generator: Generator, **options
    ):
        super().__init__(2, tasks, embedding, generator, **options)
        n_auxiliary, width = len(tasks) - 1, self.word_attention.output_size
        self.primary = TaskGRU(1, width, pri_gru, generator, *self.dropouts)
        self.auxiliary = TaskGRU(n_auxiliary, width, aux_gru, generator, *self.dropouts)
        self.primary_attention = TaskAttention(1, 2 * pri_gru, self.attention, generator)
        self.auxiliary_attention = TaskAttention(n_auxiliary, 2 * aux_gru, self.attention, generator)
        self.query = nn.Parameter(_glorot((1, self.attention), generator).squeeze(0))
        self.heads = _Heads(tasks, self.attention, generator)

    def _predict(self, s, word_attention, there, lengths):
        primary, primary_alpha = self.primary_attention(self.primary(s[0], lengths), there)
        auxiliary, auxiliary_alpha = self.auxiliary_attention(self.auxiliary(s[1], lengths), there)
        # alpha_c = softmax_c(v_c . u_c),  v = sum_c alpha_c v_c
        v = torch.cat([primary, auxiliary])
        alpha = (v @ self.query).softmax(0)
        fused = (alpha[..., None] * v).sum(0, keepdim=True)
        turn_attention = torch.cat([primary_alpha, auxiliary_alpha])
        return Prediction(*self.heads(torch.cat([fused, auxiliary])), word_attention, turn_attention, alpha)


class _Heads(nn.Module):
    """A linear predictor for each of T tasks: values (B, R) and logits (B, K, C) from vectors (T, B, d)."""

    def __init__(self, tasks: Sequence[Task], size: int, generator: Generator):
        super().__init__()
        n_classes = max(task.n_classes or 0 for task in tasks)
        self.numbers = [i for i, task in enumerate(tasks) if task.n_classes is None]
        self.classes = [i for i, task in enumerate(tasks) if task.n_classes is not None]
        self.value_weight = nn.Parameter(_glorot((len(self.numbers), 1, size), generator))
        self.value_bias = nn.Parameter(torch.zeros(len(self.numbers)))
        self.class_weight = nn.Parameter(_glorot((len(self.classes), n_classes, size), generator))
        self.class_bias = nn.Parameter(torch.zeros(len(self.classes), n_classes))

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.bmm(v[self.numbers], self.value_weight.mT).squeeze(-1).mT + self.value_bias
        logits = torch.bmm(v[self.classes], self.class_weight.mT).transpose(0, 1) + self.class_bias
        return values, logits


def _glorot(shape: Sequence[int], generator: Generator) -> Tensor:
    """Matrices (..., out, in), uniform in ± sqrt(6 / (in + out)) (Glorot and Bengio, 2010)."""
    limit = math.sqrt(6 / (shape[-1] + shape[-2])) if shape[-1] + shape[-2] else 0.0
    return torch.empty(shape).uniform_(-limit, limit, generator=generator)
