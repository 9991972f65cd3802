"""On which device torch computes, and on how many threads."""

import re
from contextlib import contextmanager

import torch


def choose_device(wanted: str = "auto") -> str:
    """``"cuda"`` where there is one and ``wanted`` is ``"auto"``, else ``"cpu"``; a device of torch as given.

    Raises:
        ValueError: it is none of these, or a GPU is asked for and there is none.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted):
        raise ValueError(f'DEVICE is {wanted!r}; it must be "auto", "cpu" or "cuda"')
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'DEVICE is {wanted!r} but torch sees no GPU; use "auto" or "cpu"')
    return wanted


@contextmanager
def one_thread():
    """One thread for torch: sums of several threads differ in their last bits, and trainings with them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
