"""The one fit loop: networks of any kind, one or many side by side, on anything that gives a loss."""

import io
import math
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from uncertain_affect.compute.cache import cache_dir, cached_arrays, content_key
from uncertain_affect.compute.devices import one_thread

SECONDS_BETWEEN_CHECKPOINTS = 30

# Of outputs and targets, one value for each copy.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class History:
    """How a fit went: losses of each epoch (E, S), each copy's best epoch and its loss (S,), and seconds spent.

    Losses are in the units of the loss function (nats for cross-entropy); epochs count from 1. Without validation
    ``val`` is empty and ``best_val`` infinite. The best epoch is the one whose weights are kept. ``traces`` are further
    arrays that a training keeps, by name.
    """

    train: list[list[float]] = field(default_factory=list)
    val: list[list[float]] = field(default_factory=list)
    best_epoch: list[int] = field(default_factory=list)
    best_val: list[float] = field(default_factory=list)
    seconds: float = field(default=0.0, compare=False)
    traces: dict[str, np.ndarray] = field(default_factory=dict, compare=False)


def generators(seeds: Sequence[int], stream: int = 0) -> list[torch.Generator]:
    """One CPU generator per seed. Different streams of a seed (weights, minibatches, ...) are independent."""
    # manual_seed of neighbouring integers gives unrelated Mersenne states, but seed + stream would collide
    return [torch.Generator().manual_seed(seed * 1_000_003 + stream) for seed in seeds]


def minibatches(
    rows: Tensor | Sequence[Tensor],
    order: torch.Generator | Sequence[torch.Generator],
    batch_size: int,
    length: int | None = None,
) -> Callable[[], Iterable[Tensor]]:
    """A function that gives the minibatches of an epoch, shuffled anew at each call.

    Args:
        rows: int64 (n,) of one network, or those of each copy, not necessarily equally many.
        order: one generator for each copy.
        batch_size: the last, smaller batch of an epoch is used too.
        length: of an epoch, as many shuffled passes over the rows as it takes; by default one pass.

    Returns:
        Batches (B,) of one network, or (S, B) of the copies of one.
    """

    def drawn(rows: Tensor, generator: torch.Generator) -> Tensor:
        wanted = len(rows) if length is None else length
        passes = [torch.randperm(len(rows), generator=generator) for _ in range(-(-wanted // len(rows)))]
        return rows[torch.cat(passes)[:wanted].to(rows.device)]

    def epoch() -> Iterable[Tensor]:
        if isinstance(order, torch.Generator):
            return drawn(rows, order).split(batch_size)
        return torch.stack([drawn(r, g) for r, g in zip(rows, order, strict=True)]).split(batch_size, dim=1)

    return epoch


def one_cycle(lr: float, n_steps: int) -> dict[str, Callable]:
    """Arguments of :func:`fit`: Adam, its rate rising to ``lr`` and falling again over one cycle (Smith, 2018)."""
    schedule = partial(OneCycleLR, max_lr=lr, total_steps=n_steps)
    return {"optimiser": partial(Adam, lr=lr, fused=True), "schedule": schedule}


@one_thread()
def fit(
    model: nn.Module,
    loss: Callable[..., Tensor],
    batches: Callable[[], Iterable],
    *,
    epochs: int | Sequence[int],
    optimiser: Callable[[Iterable], Optimizer],
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    validate: Callable[[], Tensor] | None = None,
    patience: int | None = None,
    stop: Callable[[History], bool] = lambda history: False,
    keep_best: bool = True,
    clip_norm: float | None = None,
    draws: Sequence[torch.Generator] = (),
    checkpoint: Path | None = None,
    label: str = "training",
    progress: bool = True,
) -> History:
    """Train a network, or S copies of one at once, and leave each at its best validation epoch, else at its last.

    Args:
        model: of S > 1 copies every trained parameter has them along its first axis.
        loss: of a batch, one value for each copy (S,), or () of one network.
        batches: gives those of an epoch, see :func:`minibatches`: index tensors whose last axis counts examples, or
            tuples that begin with one and are the arguments of ``loss``.
        epochs: the most there are, of all copies; or of each, which is then left at its own last one.
        optimiser: of the parameters to train, all that require a gradient.
        schedule: of the learning rate, moved on after every step.
        validate: a value for each copy (S,), lower being better, called in evaluation mode without gradients.
        patience: stop once no copy has improved for so many epochs. Copies stop together, so one that has come to rest
            goes on for as long as another improves.
        stop: called after each epoch; True ends the fit.
        keep_best: False leaves each copy at its last epoch though there is validation.
        clip_norm: bound on the gradient norm of each copy on its own.
        draws: generators that batches and loss draw from, which a checkpoint remembers.
        checkpoint: file that lets an interrupted fit go on where it stopped; removed when the fit is done, and
            ignored with a warning when it is damaged.
        label: what progress and errors call it.
        progress: whether to show it; not where a bar of the caller counts many trainings.

    Optimisers are elementwise and every copy has its own draws, gradient norm and best epoch, so over the same
    epochs training side by side gives what training one after another gives, up to the rounding of the products.

    Raises:
        ValueError: a checkpoint of another network.
        FloatingPointError: a loss is NaN or infinite; the checkpoint keeps the last good epoch.
    """
    from tqdm.auto import tqdm

    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimised = optimiser(learnt.values())
    scheduled = None if schedule is None else schedule(optimised)
    parts = {"model": model, "optimiser": optimised} | ({} if scheduled is None else {"schedule": scheduled})
    history, best = History(), {}
    if checkpoint is not None and (state := read_checkpoint(checkpoint)):
        history, best = _resume(checkpoint, state, parts, draws)
    saved = time.monotonic()
    started = saved - history.seconds
    most = epochs if isinstance(epochs, int) else max(epochs)
    shows = {"desc": label, "unit": "epoch", "leave": False, "disable": None if progress else True}
    bar = tqdm(total=most, initial=len(history.train), **shows)
    while len(history.train) < most and not _plateau(history, patience):
        model.train()
        total, n_examples = 0, 0
        for batch in batches():
            arguments = batch if isinstance(batch, tuple) else (batch,)
            losses = loss(*arguments)
            optimised.zero_grad(set_to_none=True)
            losses.sum().backward()
            if clip_norm is not None:
                _clip_per_copy([p.grad for p in learnt.values()], clip_norm)
            optimised.step()
            if scheduled is not None:
                scheduled.step()
            size = arguments[0].shape[-1]
            total, n_examples = total + losses.detach() * size, n_examples + size
        history.train.append((total / n_examples).reshape(-1).tolist())
        if validate is not None:
            model.eval()
            with torch.no_grad():
                history.val.append(validate().reshape(-1).tolist())
            bar.set_postfix(val=f"{np.mean(history.val[-1]):.4f}")
        _check_finite(history, label)
        _keep(history, best, model, learnt, epochs, keep_best and validate is not None)
        history.seconds = time.monotonic() - started
        bar.update()
        if checkpoint is not None and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            state = {name: part.state_dict() for name, part in parts.items()}
            state |= {"draws": [g.get_state() for g in draws], "history": vars(history), "best": best}
            write_checkpoint(checkpoint, state)
            saved = time.monotonic()
        if stop(history):
            break
    bar.close()
    model.load_state_dict(best, strict=False)
    model.eval()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return history


@one_thread()
def fit_tensors(
    model: nn.Module,
    loss: Loss,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    *,
    order: Sequence[torch.Generator],
    lr: float,
    batch_size: int,
    max_epochs: int,
    own_data: bool = False,
    **options,
) -> History:
    """:func:`fit` of S copies of a network with Adam, on inputs and targets that lie in memory.

    Args:
        model: maps (S, B, D) to (S, B, C); every parameter has the copies along its first axis, and
            ``model.generators``, if there are any, draw the dropout masks, one generator per copy.
        loss: maps (S, B, C) outputs and (S, B, ...) targets to one loss per copy, (S,).
        train, val: inputs (N, D) and targets (N, ...), shared by all copies.
        order: one generator per copy for its order of minibatches.
        lr: Adam's learning rate.
        batch_size: examples per copy and step; the last, smaller batch of an epoch is used too.
        own_data: every copy has its own data, inputs (S, N, D) and targets (S, N, ...).
        options: of :func:`fit`.

    Raises:
        ValueError: a checkpoint of another network.
        FloatingPointError: as :func:`fit`.
    """
    n_copies, n = len(order), train[0].shape[1 if own_data else 0]
    x, y = (part.flatten(0, 1) for part in train) if own_data else train
    rows = [torch.arange(n, device=x.device) + (n * copy if own_data else 0) for copy in range(n_copies)]
    return fit(
        model,
        lambda batch: loss(model(x[batch]), y[batch]),
        minibatches(rows, order, batch_size),
        epochs=max_epochs,
        optimiser=partial(Adam, lr=lr, fused=True),
        validate=lambda: evaluate(model, loss, val, own_data=own_data),
        draws=[*order, *getattr(model, "generators", ())],
        **options,
    )


def cached_fit(
    model: nn.Module, train: Callable[[Path], History], *key: object, kind: str = "networks", device: str = "cpu"
) -> History:
    """Train a network in place, or load what its training has left in the cache.

    Args:
        model: goes to the device, and ends in evaluation mode.
        train: called where there is nothing in the cache, with the path of a checkpoint; trains the model.
        key: everything that decides what is learnt, the caller's ``code_key`` first; device and torch are added.
        kind: the cache's folder.
        device: where to train.
    """
    name = content_key(*key, torch.device(device).type, torch.__version__)

    def build() -> dict[str, np.ndarray]:
        model.to(device)
        fields = vars(train(cache_dir() / kind / f"{name}.checkpoint"))
        state = {place: value.cpu().numpy() for place, value in model.state_dict().items()}
        return state | fields.pop("traces") | {field: np.asarray(value) for field, value in fields.items()}

    stored = cached_arrays(name, build, kind=kind)
    model.load_state_dict({place: torch.from_numpy(stored.pop(place)) for place in model.state_dict()})
    model.to(device).eval()
    fields = {field: stored.pop(field).tolist() for field in vars(History()) if field != "traces"}
    return History(**fields, traces=stored)


@torch.no_grad()
def evaluate(
    model: nn.Module, loss: Loss, data: tuple[Tensor, Tensor], batch_size: int = 4096, own_data: bool = False
) -> Tensor:
    """Mean loss (S,) of every copy over a set, dropout off; ``own_data`` as in :func:`fit_tensors`."""
    model.eval()
    x, y = data if own_data else (part.unsqueeze(0) for part in data)
    sums = sum(
        loss(model(xb if own_data else xb[0]), yb) * xb.shape[1]
        for xb, yb in zip(x.split(batch_size, 1), y.split(batch_size, 1), strict=True)
    )
    return sums / x.shape[1]


def _plateau(history: History, patience: int | None) -> bool:
    return bool(patience and history.val) and len(history.val) - max(history.best_epoch) >= patience


def _check_finite(history: History, label: str) -> None:
    for name, values in (("training", history.train[-1]), ("validation", (history.val or [[]])[-1])):
        for copy, value in enumerate(values):
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"{label}: the {name} loss of copy {copy} is {value} in epoch {len(history.train)}; "
                    "check inputs and targets for NaN, or lower the learning rate"
                )


def _keep(history: History, best: dict, model: nn.Module, learnt: Mapping, epochs, by_validation: bool) -> None:
    """Note the best epoch of each copy so far, and its weights where that is this one."""
    now, n_copies = len(history.train), len(history.train[-1])
    if now == 1:
        history.best_epoch, history.best_val = [0] * n_copies, [math.inf] * n_copies
    last = [epochs] * n_copies if isinstance(epochs, int) else epochs
    for copy in range(n_copies):
        if not by_validation:
            history.best_epoch[copy] = min(now, last[copy])
        elif history.val[-1][copy] < history.best_val[copy]:
            history.best_epoch[copy], history.best_val[copy] = now, history.val[-1][copy]
    if not by_validation and isinstance(epochs, int):
        return  # the last epoch's weights are those of the model
    better = torch.tensor(history.best_epoch) == now
    if n_copies == 1 and better:  # with what batch normalisation counts
        best.update({name: value.clone() for name, value in model.state_dict().items()})
    elif better.any():
        for name, p in learnt.items():
            if name not in best:
                best[name] = p.detach().clone()
            best[name][better] = p.detach()[better]


def _clip_per_copy(grads: Sequence[Tensor], limit: float) -> None:
    norm = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in grads]).norm(dim=0)
    if (norm > limit).any():  # rare: skip a pass over all gradients otherwise
        scale = (limit / norm).clamp(max=1)
        for g in grads:
            g.mul_(scale.view(-1, *[1] * (g.ndim - 1)))


def write_checkpoint(path: Path, state: dict) -> None:
    """Write the state of an interrupted training: what is there is the old one or the new one, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = io.BytesIO()  # torch does not say why it could not write to a file
    torch.save(state, content)
    partial.write_bytes(content.getbuffer())
    partial.replace(path)


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


def _resume(path: Path, state: dict, parts: Mapping, draws) -> tuple[History, dict[str, Tensor]]:
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        for generator, saved in zip(draws, state["draws"], strict=True):
            generator.set_state(saved)
        return History(**state["history"]), state["best"]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is a checkpoint of another network or fit: delete it to start anew") from error
