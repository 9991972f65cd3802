"""Agreement of predicted and annotated affect: concordance and error, over a set or from additive sums."""

import numpy as np

from uncertain_affect.metrics.inputs import Values, as_numpy, float_or_array
from uncertain_affect.metrics.sums import ccc_from_sums


def ccc(predictions: Values, labels: Values) -> float | np.ndarray:
    """Lin's (1989) concordance correlation coefficient with population moments, as AVEC scores affect.

    Args:
        predictions, labels: (..., N), or (N,) for a float.

    Returns:
        (...) values from -1 to 1; NaN where the labels are constant: there is nothing to concord with, although the
        formula gives 0 to any prediction that varies.

    Raises:
        ValueError: no value, shapes that differ, or a value that is not finite.
    """
    # CCC = 2 s_xy / (s_x^2 + s_y^2 + (mean x - mean y)^2)
    x, y = _pair(predictions, labels)
    centre = y.mean(-1, keepdims=True)  # shifting both by the same changes nothing but the rounding
    x, y = x - centre, y - centre
    # moment_sums(x, y).sum(-2), without an (..., N, 6) in between
    sums = [np.full(x.shape[:-1], float(x.shape[-1])), *(z.sum(-1) for z in (x, y, x * x, y * y, x * y))]
    return float_or_array(np.where(np.ptp(y, axis=-1) == 0, np.nan, ccc_from_sums(np.stack(sums, -1))))


def rmse(predictions: Values, labels: Values) -> float | np.ndarray:
    """Root mean squared error in the units of the labels: (..., N) to (...), or (N,) to a float.

    Raises:
        ValueError: no value, shapes that differ, or a value that is not finite.
    """
    x, y = _pair(predictions, labels)
    return float_or_array(np.sqrt(np.square(x - y).mean(-1)))


def _pair(predictions: Values, labels: Values) -> tuple[np.ndarray, np.ndarray]:
    x, y = (as_numpy(values).astype(np.float64, copy=False) for values in (predictions, labels))
    if x.shape != y.shape or not x.ndim or not x.shape[-1]:
        raise ValueError(f"predictions {x.shape} and labels {y.shape} must have one shape, (..., N), with N above 0")
    for name, values in (("predictions", x), ("labels", y)):
        if not np.isfinite(values).all():
            where = np.argwhere(~np.isfinite(values))[0].tolist()
            raise ValueError(f"{name}{where} is not finite; leave such examples out and report them")
    return x, y
