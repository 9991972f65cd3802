"""Additive statistics over clusters: sums and jackknife pseudo-values.

A *cluster* is what was drawn independently: a person, a video, a dialogue, a group of duplicate images.
Accuracy, Brier score, calibration error, Pearson's r, CCC and F1 are all functions of sums over examples.
The examples are therefore collapsed to clusters once, `(S, N, K) -> (S, C, K)` for S seeds, N examples, K
sums and C clusters, and leaving out clusters afterwards costs one subtraction, whatever N is.

A *statistic* is any function `f(sums (..., K)) -> (...)` of such sums. Each comes with the function that
makes its per-example sums: `ratio` with `ratio_sums`, `pearson_from_sums` and `ccc_from_sums` with
`moment_sums`, `f1_from_sums` with `f1_sums`; `metrics.calibration` has `ece_from_sums` with
`calibration_sums`. To compare two methods on the same examples, concatenate their sums on the last axis and
use `difference(f)`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

# What cannot be told from sums is computed anew for each cluster that is left out, up to this many weights of examples
# (seconds); beyond, several clusters are left out at once, in at least so many groups.
LEFT_OUT_WEIGHTS = 20_000_000
FEWEST_GROUPS = 1_000

# Sets of examples are scored in blocks of this many weights (16 MB), so that memory does not grow with N C.
BLOCK_WEIGHTS = 2_000_000


def cluster_sums(values: ArrayLike, groups: ArrayLike) -> Floats:
    """Sum per-example values within clusters: `(S, N, K)` and `(N,)` labels to `(S, C, K)`.

    Clusters are in the sorted order of their labels, which may be numbers or strings.

    Raises:
        ValueError: values are not (S, N, K), groups are not (N,), or a value is NaN or infinite.

    >>> cluster_sums([[[1], [2], [3]]], ["b", "a", "b"]).tolist()
    [[[2.0], [4.0]]]
    """
    values, groups = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if values.ndim != 3:
        raise ValueError(f"values must be (seeds, examples, sums), got shape {values.shape}")
    if groups.shape != values.shape[1:2]:
        raise ValueError(f"groups must label the {values.shape[1]} examples, got shape {groups.shape}")
    if not np.isfinite(values).all():
        seed, example, k = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"values[{seed}, {example}, {k}] is not finite; leave such examples out and report them")
    labels, cluster = np.unique(groups, return_inverse=True)
    n = len(groups)
    # membership (C, N) has a one where an example belongs to a cluster
    membership = sparse.csr_array((np.ones(n), (cluster, np.arange(n))), shape=(len(labels), n))
    return np.stack([membership @ of_seed for of_seed in values])


# --- statistics ---------------------------------------------------------------------------------------------


def difference(f: Statistic) -> Statistic:
    """Statistic f of method A minus that of method B, for sums of A then B on the last axis, `(..., 2K)`."""

    def f_difference(sums: Floats) -> Floats:
        k = sums.shape[-1] // 2
        return f(sums[..., :k]) - f(sums[..., k:])

    return f_difference


# --- leaving out clusters ---------------------------------------------------------------------


def pseudo_values(sums: Floats, f: Statistic) -> Floats:
    """Jackknife pseudo-values of a statistic, one for each seed and cluster: `(..., S, C, K) -> (..., S, C)`.

    With T_s the statistic of seed s and T_s(c) the same without cluster c,

        y_sc = T_s + (C − 1) (mean_c T_s(c) − T_s(c)),

    so that a seed's values average to T_s and vary over clusters as if T_s were a mean of C of them (Tukey
    1958, without his correction for bias: subtracting it from a calibration error, which has kinks, makes the
    seeds vary two to eight times as much as they do). For a mean over clusters of equal size y_sc are the
    clusters' own means. One cluster gives T_s itself.
    """
    sums = np.asarray(sums, dtype=np.float64)
    n_clusters = sums.shape[-2]
    total = sums.sum(axis=-2, keepdims=True)
    if n_clusters == 1:
        return f(total)
    without = f(total - sums)
    return f(total) + (n_clusters - 1) * (without.mean(axis=-1, keepdims=True) - without)


def leave_one_out(f: Callable[[Floats], Floats], groups: ArrayLike) -> Floats:
    """Jackknife pseudo-values, one for each cluster, of a statistic that sums cannot express: `(N,)` to `(C,)`.

    As `pseudo_values`, for one seed. `f(weights (R, N)) -> (R,)` scores R sets of examples at once; an example that
    is left out weighs 0. The sets come in blocks, so that memory does not grow with N C.

    Where N C exceeds `LEFT_OUT_WEIGHTS` (4,472 examples, each a cluster), clusters are put together at random, in
    groups as equal as can be, always the same ones, and each group is left out as one cluster: `(G,)` values, G at
    least `FEWEST_GROUPS` (delete-a-group jackknife; Kott 2001, J. Official Statistics 17:521). They average to the
    statistic as before; with 1,000 of them the standard error has a relative error of 1 / sqrt(2 · 999) = 2.2%.
    """
    labels, cluster = np.unique(groups, return_inverse=True)
    n, n_clusters = len(cluster), len(labels)
    total = f(np.ones((1, n)))
    if n_clusters == 1:
        return total
    most = max(FEWEST_GROUPS, LEFT_OUT_WEIGHTS // n)
    if n_clusters > most:
        # at random, since neighbours in a file are often alike
        group = np.random.default_rng(0).permutation(n_clusters) % most
        cluster, n_clusters = group[cluster], most
    block = max(1, BLOCK_WEIGHTS // n)
    without = np.concatenate(
        [
            f((cluster != np.arange(start, min(start + block, n_clusters))[:, None]).astype(np.float64))
            for start in range(0, n_clusters, block)
        ]
    )
    return total + (n_clusters - 1) * (without.mean() - without)
