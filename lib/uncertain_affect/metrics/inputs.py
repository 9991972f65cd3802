"""What every metric accepts, and how it is refused: probabilities, labels and votes, NumPy or torch alike."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike

Values = ArrayLike | torch.Tensor

# A float32 softmax sums to one within 1e-6; logits, percentages and float16 do not come this close.
SUM_TOLERANCE = 1e-4


def as_float64(values: Values) -> np.ndarray | torch.Tensor:
    """``values`` in float64; a tensor stays a tensor on its device, anything else becomes an array."""
    if isinstance(values, torch.Tensor):
        return values.to(torch.float64)
    return np.asarray(values, dtype=np.float64)


def as_numpy(values: Values) -> np.ndarray:
    """``values`` as an array in their own precision (bfloat16, which NumPy lacks, as float32)."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def restore_dtype(result: np.ndarray | torch.Tensor, like: Values) -> np.ndarray | torch.Tensor:
    """``result`` in the kind and floating dtype of ``like``; left in float64 where ``like`` holds integers."""
    if isinstance(like, torch.Tensor):
        result = torch.as_tensor(result, device=like.device)
        return result.to(like.dtype) if like.is_floating_point() else result
    dtype = np.asarray(like).dtype
    return result.astype(dtype) if np.issubdtype(dtype, np.floating) else result


def float_or_array(values: np.ndarray) -> float | np.ndarray:
    """A float where there is one value alone."""
    return float(values) if np.ndim(values) == 0 else values


def _first(name: str, bad: np.ndarray | torch.Tensor) -> str:
    """Name the first row marked in a boolean mask (...) of rows."""
    index = np.argwhere(as_numpy(bad))[0].tolist()
    return f"{name}: row {', '.join(map(str, index))}" if index else name


def _check_not_negative(values: np.ndarray | torch.Tensor, name: str, cure: Callable[[], str]) -> None:
    # NaN fails every comparison, so the one test finds it as well as a negative number.
    if not bool(values.min() >= 0):
        bad = ~(values >= 0)
        value = as_numpy(values)[as_numpy(bad)][0]
        raise ValueError(f"{_first(name, bad.any(-1))} holds {value}: {cure()}")


def check_probabilities(probs: np.ndarray | torch.Tensor, name: str = "probs") -> None:
    """Raise ``ValueError``, naming the first bad row, unless the last axis holds distributions."""
    if probs.ndim == 0 or 0 in probs.shape:
        raise ValueError(f"{name} has shape {tuple(probs.shape)}: expected a non-empty (..., C)")
    _check_not_negative(probs, name, lambda: f"probabilities lie between 0 and 1. {_cure(probs)}")
    if probs.dtype in (np.float16, torch.float16, torch.bfloat16):
        probs = as_float64(probs)  # a sum of theirs is rounded to one where they are not
    # A product with ones is several times faster than NumPy's sum over a short last axis.
    total = probs.sum(-1) if isinstance(probs, torch.Tensor) else probs @ np.ones(probs.shape[-1], probs.dtype)
    if not all(abs(extreme - 1) <= SUM_TOLERANCE for extreme in (total.min(), total.max())):
        bad = ~(abs(total - 1) <= SUM_TOLERANCE)
        value = float(as_numpy(total)[as_numpy(bad)][0])
        expected = f"the last axis must sum to one within {SUM_TOLERANCE}"
        raise ValueError(f"{_first(name, bad)} sums to {value:.6g}: {expected}. {_cure(probs)}")


def _cure(values: np.ndarray | torch.Tensor) -> str:
    """What numbers that are no distributions over the last axis seem to be, and the line that mends them."""
    x = as_numpy(values).astype(np.float64)

    def sums_to(total: float, of: np.ndarray, axis: int = -1, tolerance: float = 0.02) -> bool:
        sums = of.sum(axis)
        return bool((abs(sums - total) <= tolerance * total).mean() > 0.5)

    if not np.isfinite(x).all():
        return "Leave out what is not finite"
    if (x.max(-1) <= 0).all() and sums_to(1, np.exp(x)):
        return "They seem to be logarithms of probabilities: np.exp(x)"
    if (x < 0).any() or x.max() > 100:
        return "They seem to be logits: scipy.special.softmax(x, axis=-1)"
    if sums_to(100, x):
        return "They seem to be percentages: x / 100"
    for axis in range(x.ndim - 1):
        if x.shape[axis] > 1 and sums_to(1, x, axis, SUM_TOLERANCE):
            return f"Axis {axis} sums to one: np.moveaxis(x, {axis}, -1)"
    if x.max() > 1:
        return "They seem to be logits or counts: scipy.special.softmax(x, axis=-1), or x / x.sum(-1, keepdims=True)"
    if sums_to(1, x):
        return "Rounding or half precision is too coarse: compute in float32, or take x / x.sum(-1, keepdims=True)"
    return "They seem to be sigmoids, a yes or no for each class: measure each, np.stack([1 - x[:, c], x[:, c]], -1)"


def check_votes(votes: np.ndarray | torch.Tensor, name: str = "votes") -> None:
    """Raise ``ValueError``, naming the first bad row, unless ``votes`` (N, C) has a vote in every row."""
    if votes.ndim != 2 or 0 in votes.shape:
        raise ValueError(f"{name} has shape {tuple(votes.shape)}: expected a non-empty (N, C)")
    _check_not_negative(votes, name, lambda: "votes are counts or proportions")
    total = votes.sum(-1)
    if not bool(total.min() > 0):
        raise ValueError(f"{_first(name, ~(total > 0))} has no votes: leave such examples out")
    if not bool(total.max() < np.inf):
        raise ValueError(f"{_first(name, ~(total < np.inf))} is not finite")


def set_probabilities(probs: Values) -> np.ndarray:
    """Checked probabilities (N, C) of a set as an array, float32 and float64 kept as they are."""
    probs = as_numpy(probs)
    if probs.dtype not in (np.float32, np.float64):
        probs = probs.astype(np.float64)
    if probs.ndim != 2:
        raise ValueError(f"probs has shape {probs.shape}: expected (N, C); average the samples of (T, N, C) first")
    check_probabilities(probs)
    return probs


def set_target(target: Values, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Checked labels (N,) or float64 votes (N, C) beside probabilities of ``shape``, and weights (N,).

    An example weighs as much as it has votes: each <annotation, image> pair counts once. Rows that all sum to
    one are proportions: they are normalised to the last bit, so that each example weighs exactly one.
    """
    n, n_classes = shape
    target = as_numpy(target)
    if target.ndim == 1:
        expected = f"integers from 0 to {n_classes - 1}"
        if target.shape != (n,):
            raise ValueError(f"there are {len(target)} labels for {n} rows of probs")
        if not np.issubdtype(target.dtype, np.integer):
            raise ValueError(f"labels are {target.dtype}: expected {expected}")
        bad = (target < 0) | (target >= n_classes)
        if bad.any():
            raise ValueError(f"{_first('labels', bad)} holds {target[bad][0]}: expected {expected}")
        return target, np.ones(n)
    votes = target.astype(np.float64)
    if votes.shape != shape:
        raise ValueError(f"target has shape {votes.shape}: expected labels ({n},) or votes {shape} as probs has")
    check_votes(votes)
    weight = votes.sum(1)
    if (abs(weight - 1) <= SUM_TOLERANCE).all():
        return votes / weight[:, None], np.ones(n)
    return votes, weight


def set_votes(target: Values, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`set_target`, with labels turned into one vote each."""
    target, weight = set_target(target, shape)
    if target.ndim == 2:
        return target, weight
    votes = np.zeros(shape)
    votes[np.arange(len(target)), target] = 1
    return votes, weight
