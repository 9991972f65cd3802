"""Losses of several tasks, weighted, and HAN-ROCK's ways to choose the weights (its section 4.4)."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

SCHEMES = ("random", "linear", "softmax")
PRIMARY_WEIGHT = (0.50, 0.99)


def task_losses(values: Tensor, logits: Tensor, targets: Tensor, categorical: Sequence[bool]) -> Tensor:
    """Loss (T,) of each task, a mean over the B examples that have its target; zero where none has.

    Cross-entropy in nats for classes, and squared error, in squared units of the target, for numbers. For these the
    paper names no loss, only its metric, the absolute error.

    Args:
        values: (B, R), predicted numbers of the tasks that are not categorical, in the order of the tasks.
        logits: (B, K, C), of those that are.
        targets: (B, T), numbers and indices of classes. Missing are NaN, and negative classes.
        categorical: (T,), whose targets are classes.

    Raises:
        ValueError: shapes do not fit, or a class is C or more.
    """
    categorical = torch.as_tensor(categorical, device=targets.device)
    n, n_categorical, n_tasks = len(targets), int(categorical.sum()), len(categorical)
    shapes = [tuple(x.shape[:2]) for x in (targets, values, logits)]
    if shapes != [(n, n_tasks), (n, n_tasks - n_categorical), (n, n_categorical)]:
        raise ValueError(
            f"{n_tasks} tasks, {n_categorical} of them categorical, do not fit targets, values and logits of {shapes}"
        )
    numbers, classes = targets[:, ~categorical], targets[:, categorical]
    if n_categorical and bool((classes >= logits.shape[2]).any()):
        raise ValueError(f"class {classes.nan_to_num(0).max():g} of a target: there are {logits.shape[2]}, from 0")

    losses, there = values.new_zeros(n, n_tasks), torch.empty(n, n_tasks, dtype=torch.bool, device=values.device)
    there[:, ~categorical], there[:, categorical] = ~numbers.isnan(), classes >= 0
    # missing targets are replaced before they are used, so that no NaN reaches a gradient
    numbers = torch.where(numbers.isnan(), values.detach(), numbers)
    labels = classes.nan_to_num(0).clamp(min=0).long()
    losses[:, ~categorical] = torch.square(values - numbers)
    losses[:, categorical] = -logits.log_softmax(2).gather(2, labels[..., None]).squeeze(2)
    return torch.where(there, losses, 0).sum(0) / there.sum(0).clamp(min=1)


def multi_task_loss(
    values: Tensor, logits: Tensor, targets: Tensor, weights: Tensor, categorical: Sequence[bool]
) -> Tensor:
    """Weighted sum of the losses of all tasks, weights (T,); arguments and errors are those of :func:`task_losses`.

    Missing targets, NaN, leave their task with fewer examples, as there.
    """
    # L = sum_b w_b L_b,  sum_b w_b = 1
    return weights @ task_losses(values, logits, targets, categorical)


def mutual_information(
    primary: ArrayLike,
    auxiliary: ArrayLike,
    generator: np.random.Generator,
    *,
    primary_is_class: bool = False,
    categorical: Sequence[bool] | None = None,
    names: Sequence[str] | None = None,
) -> NDArray[np.float64]:
    """Estimated mutual information in nats of each of K auxiliary targets with the primary one, (K,), at least 0.

    The nearest-neighbour estimators of Kraskov et al. (2004) and Ross (2014) in scikit-learn. Examples whose primary
    or auxiliary target is missing are left out for that auxiliary target.

    Args:
        primary: (N,), targets of the training set. Missing are NaN, and negative classes.
        auxiliary: (N, K).
        generator: draws the small noise that separates equal numbers.
        primary_is_class: the primary target is a class.
        categorical: (K,), which auxiliary targets are classes; none if None.
        names: (K,), of the auxiliary targets, for errors.

    Raises:
        ValueError: fewer than five examples have both targets.
    """
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    primary, auxiliary = np.asarray(primary, np.float64), np.asarray(auxiliary, np.float64)
    estimate = mutual_info_classif if primary_is_class else mutual_info_regression
    categorical = np.zeros(auxiliary.shape[1], bool) if categorical is None else np.asarray(categorical, bool)
    information = np.empty(auxiliary.shape[1])
    for k, (target, is_class) in enumerate(zip(auxiliary.T, categorical, strict=True)):
        both = _is_there(primary, primary_is_class) & _is_there(target, is_class)
        if both.sum() < 5:  # the estimators look at three neighbours
            name = k if names is None else names[k]
            raise ValueError(f"auxiliary target {name} and the primary one share {both.sum()} examples; leave it out")
        seed = int(generator.integers(2**31))
        (information[k],) = estimate(target[both, None], primary[both], discrete_features=[is_class], random_state=seed)
    return information


def _is_there(target: NDArray, is_class: bool) -> NDArray[np.bool_]:
    return target >= 0 if is_class else ~np.isnan(target)


def draw_primary_weight(generator: np.random.Generator) -> float:
    """The loss weight of the primary task, uniform in [.50, .99]."""
    return float(generator.uniform(*PRIMARY_WEIGHT))


def loss_weights(
    scheme: str, primary_weight: float, generator: np.random.Generator, information: ArrayLike
) -> NDArray[np.float64]:
    """Weights (1 + K,) of the losses, the primary one first; they sum to one.

    >>> loss_weights("linear", 0.8, np.random.default_rng(0), information=[1, 3]).round(2).tolist()
    [0.8, 0.05, 0.15]

    The auxiliary tasks share 1 - `primary_weight`:

    - "random": in proportion to numbers uniform in [0, 1];
    - "linear": to their mutual information with the primary target, m / sum m; equally if no m is above 0;
    - "softmax": to exp(m).

    Args:
        primary_weight: in [0, 1], see :func:`draw_primary_weight`.
        information: m (K,), of :func:`mutual_information`; "random" takes only its length from it.

    Raises:
        ValueError: an unknown scheme, a weight outside [0, 1], or a negative or infinite m.
    """
    m = np.asarray(information, np.float64)
    if not 0 <= primary_weight <= 1:
        raise ValueError(f"primary_weight must be in [0, 1], not {primary_weight}")
    if m.ndim != 1 or not len(m) or not (np.isfinite(m) & (m >= 0)).all():
        raise ValueError("information must hold a number of at least 0 for each auxiliary task")
    if scheme == "random":
        shares = generator.uniform(size=len(m))
    elif scheme == "linear":
        shares = m if m.any() else np.ones(len(m))
    elif scheme == "softmax":
        shares = np.exp(m - m.max())
    else:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, not {scheme!r}")
    return np.concatenate([[primary_weight], (1 - primary_weight) * (shares / shares.sum())])


def without_families(weights: ArrayLike, families: Sequence[str], removed: Collection[str]) -> NDArray[np.float64]:
    """Weights (1 + K,) with those of some families zero, and the other auxiliary weights scaled to the old sum.

    >>> without_families([0.8, 0.1, 0.1], ["primary", "a", "p"], removed="p").round(2).tolist()
    [0.8, 0.2, 0.0]

    The paper says only that weights are set to zero; that the rest is scaled agrees with its Table 7, where the
    columns with only two families sum to one. If no auxiliary weight is left, the primary one is one.

    Args:
        families: (1 + K,), the family of each task; the first is the primary one.
        removed: families.

    Raises:
        ValueError: a weight is negative or not finite, or no auxiliary task is of a removed family.
    """
    weights = np.asarray(weights, np.float64)
    if not len(weights) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights must hold a number of at least 0 for the primary task and each auxiliary one")
    if unknown := sorted(set(removed) - set(families[1:])):
        raise ValueError(f"no auxiliary task is of the family {unknown[0]!r}")
    left = np.where(np.isin(families, list(removed)), 0.0, weights)
    left[0] = 0.0
    if not left.any():
        return np.eye(len(weights))[0]
    left *= weights[1:].sum() / left.sum()
    left[0] = weights[0]
    return left
