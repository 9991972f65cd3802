"""What every loss refuses: a mean over no example."""

from torch import Tensor


def check_not_empty(values: Tensor, axes: int, name: str) -> None:
    """Raise ``ValueError`` unless the last ``axes`` axes of ``values``, examples and values of each, hold one."""
    if 0 in values.shape[-axes:]:
        raise ValueError(f"{name} have shape {tuple(values.shape)}: there is no example to take a loss of")
