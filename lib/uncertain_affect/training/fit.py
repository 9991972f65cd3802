"""The one fit loop: many seeds train side by side on a leading axis."""

import io
import math
import os
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

SECONDS_BETWEEN_CHECKPOINTS = 30


@dataclass
class History:
    """What a fit leaves behind: per-epoch losses (E, S), each copy's best epoch and loss (S,), and seconds spent.

    Losses are in the units of the loss function (nats for cross-entropy); epochs count from 1.
    """

    train: list[list[float]] = field(default_factory=list)
    val: list[list[float]] = field(default_factory=list)
    best_epoch: list[int] = field(default_factory=list)
    best_val: list[float] = field(default_factory=list)
    seconds: float = 0.0


def choose_device(wanted: str = "auto") -> str:
    """``"cuda"`` where there is one and ``wanted`` is ``"auto"``, else ``"cpu"``; anything else as given.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'DEVICE is {wanted!r} but torch sees no GPU; use "auto" or "cpu"')
    return wanted


def generators(seeds: list[int], stream: int = 0) -> list[torch.Generator]:
    """One CPU generator per seed. Different streams of a seed (weights, minibatches, ...) are independent."""
    # manual_seed of neighbouring integers gives unrelated Mersenne states, but seed + stream would collide
    return [torch.Generator().manual_seed(seed * 1_000_003 + stream) for seed in seeds]


@contextmanager
def one_thread():
    """One thread for torch: sums of several threads differ in their last bits, and trainings with them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def fit(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    *,
    order: list[torch.Generator],
    lr: float,
    batch_size: int,
    max_epochs: int,
    patience: int,
    clip_norm: float | None = None,
    own_data: bool = False,
    checkpoint: Path | None = None,
    label: str | None = "training",
) -> History:
    """Train S copies of a network at once with Adam, and leave each at its best validation epoch.

    Args:
        model: maps (S, B, D) to (S, B, C); every parameter has the copies along its first axis, and
            ``model.generators`` draws the dropout masks, one generator per copy.
        loss: maps (S, B, C) outputs and (S, B, ...) targets to one loss per copy, (S,).
        train, val: inputs (N, D) and targets (N, ...), shared by all copies.
        order: one generator per copy for its order of minibatches.
        lr: Adam's learning rate.
        batch_size: examples per copy and step; the last, smaller batch of an epoch is used too.
        max_epochs, patience: stop at ``max_epochs``, or once no copy has improved for ``patience`` epochs: the
            copies stop together, so one that has come to rest goes on for as long as another improves.
        clip_norm: bound on the gradient norm of each copy on its own.
        own_data: every copy has its own data, inputs (S, N, D) and targets (S, N, ...).
        checkpoint: file that lets an interrupted fit go on where it stopped; removed when the fit is done, and
            ignored with a warning when it is damaged.
        label: what the progress bar says; None for none, where a bar of the caller counts many trainings.

    Adam is elementwise and every copy has its own generators, gradient norm and best epoch, so over the same
    epochs training side by side gives what training one after another gives, up to the rounding of the products.

    Raises:
        ValueError: parameters without a leading axis of copies, or a checkpoint of another network.
        FloatingPointError: a loss is NaN or infinite; the checkpoint keeps the last good epoch.
    """
    x, y = train
    n_copies, n = len(order), train[0].shape[1 if own_data else 0]
    first_row = torch.zeros(n_copies, 1, dtype=torch.int64)
    if own_data:
        x, y = x.flatten(0, 1), y.flatten(0, 1)
        first_row = n * torch.arange(n_copies)[:, None]
    if any(len(p) != n_copies for p in model.parameters()):
        raise ValueError(f"every parameter needs a leading axis of {n_copies} copies, one per generator in `order`")
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    history = History(best_epoch=[0] * n_copies, best_val=[float("inf")] * n_copies)
    best = {name: p.detach().clone() for name, p in model.named_parameters()}
    if checkpoint is not None and (state := read_checkpoint(checkpoint)):
        history, best = _resume(checkpoint, state, model, optimiser, order)
    saved = time.monotonic()
    started = saved - history.seconds
    shows = {"desc": label, "unit": "epoch", "leave": False, "disable": True if label is None else None}
    bar = tqdm(total=max_epochs, initial=len(history.val), **shows)
    while len(history.val) < max_epochs and not _plateau(history, patience):
        model.train()
        # a copy's epoch is a permutation of the training set that its own generator draws
        permutations = torch.stack([torch.randperm(n, generator=g) for g in order])
        permutations = (permutations + first_row).to(x.device)
        sums = torch.zeros(n_copies, device=x.device)
        for batch in permutations.split(batch_size, dim=1):
            losses = loss(model(x[batch]), y[batch])
            optimiser.zero_grad(set_to_none=True)
            losses.sum().backward()
            if clip_norm is not None:
                _clip_per_copy(model, clip_norm)
            optimiser.step()
            sums += losses.detach() * batch.shape[1]
        history.train.append((sums / n).tolist())
        history.val.append(evaluate(model, loss, val, own_data=own_data).tolist())
        _check_finite(history, label or "training")
        for copy, value in enumerate(history.val[-1]):
            if value < history.best_val[copy]:
                history.best_val[copy], history.best_epoch[copy] = value, len(history.val)
                for name, p in model.named_parameters():
                    best[name][copy] = p.detach()[copy]
        history.seconds = time.monotonic() - started
        bar.update()
        bar.set_postfix(val=f"{sum(history.val[-1]) / n_copies:.4f}")
        if checkpoint is not None and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            _save(checkpoint, model, optimiser, order, history, best)
            saved = time.monotonic()
    bar.close()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(best[name])
    model.eval()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return history


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor, Tensor],
    batch_size: int = 4096,
    own_data: bool = False,
) -> Tensor:
    """Mean loss (S,) of every copy over a set, dropout off; ``own_data`` as in :func:`fit`."""
    model.eval()
    x, y = data if own_data else (part.unsqueeze(0) for part in data)
    sums = sum(
        loss(model(xb if own_data else xb[0]), yb) * xb.shape[1]
        for xb, yb in zip(x.split(batch_size, 1), y.split(batch_size, 1), strict=True)
    )
    return sums / x.shape[1]


def _plateau(history: History, patience: int) -> bool:
    return bool(history.val) and len(history.val) - max(history.best_epoch) >= patience


def _check_finite(history: History, label: str) -> None:
    for name, losses in (("training", history.train[-1]), ("validation", history.val[-1])):
        for copy, value in enumerate(losses):
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"{label}: the {name} loss of copy {copy} is {value} in epoch {len(history.val)}; "
                    "check inputs and targets for NaN, or lower the learning rate"
                )


def _clip_per_copy(model: nn.Module, limit: float) -> None:
    grads = [p.grad for p in model.parameters()]
    norm = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in grads]).norm(dim=0)
    if (norm > limit).any():  # rare: skip a pass over all gradients otherwise
        scale = (limit / norm).clamp(max=1)
        for g in grads:
            g.mul_(scale.view(-1, *[1] * (g.ndim - 1)))


def _save(path, model, optimiser, order, history, best) -> None:
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "order": [g.get_state() for g in order],
        "masks": [g.get_state() for g in model.generators],
        "history": vars(history),
        "best": best,
    }
    write_checkpoint(path, state)


def write_checkpoint(path: Path, state: dict) -> None:
    """Write the state of an interrupted training: what is there is the old one or the new one, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = io.BytesIO()  # torch does not say why it could not write to a file
    torch.save(state, content)
    partial.write_bytes(content.getbuffer())
    os.replace(partial, path)


def read_checkpoint(path: Path) -> dict | None:
    """The state of an interrupted training, or None where there is none, or with a warning where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch reads past a wrong checksum, testzip does not
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"wrong checksum in {damaged}")
        return torch.load(path, weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged zip archive fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(f"the checkpoint {path} is damaged ({reason}); training starts anew", stacklevel=3)
        return None


def _resume(path, state, model, optimiser, order) -> tuple[History, dict[str, Tensor]]:
    try:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        for generator, saved in zip([*order, *model.generators], [*state["order"], *state["masks"]], strict=True):
            generator.set_state(saved)
        return History(**state["history"]), state["best"]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is a checkpoint of another network or fit: delete it to start anew") from error
