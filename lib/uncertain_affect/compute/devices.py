"""On which device torch computes, and on how many threads."""

import re
from contextlib import contextmanager

import torch


def choose_device(wanted: str = "auto") -> str:
    """``"cuda"`` where there is one and ``wanted`` is ``"auto"``, else ``"cpu"``; a device of torch as given.

    A GPU is from then on held to whole single precision, no TF32, and where it can to sums in the same order each time:
    what it gives is to be compared with another run. No half precision is used anywhere.

    Raises:
        ValueError: it is none of these, or a GPU is asked for and there is none.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted):
        raise ValueError(f'DEVICE is {wanted!r}; it must be "auto", "cpu" or "cuda"')
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "cpu":
        if not torch.cuda.is_available():
            raise ValueError(f'DEVICE is {wanted!r} but torch sees no GPU; use "auto" or "cpu"')
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True, warn_only=True)
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
