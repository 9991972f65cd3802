"""PEN's training: experts for the source people, adapted to the target people, and what the networks predict."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim import Adadelta

from uncertain_affect.compute.cache import code_key
from uncertain_affect.losses import affect_squared_error, pen_adaptation_loss, pen_gate_loss, pen_source_loss
from uncertain_affect.models.pen import Mixture, PersonalizedExpertNetwork, SharedNetwork, select_copies
from uncertain_affect.papers.pen.data import Frames, PenSettings, SourceSplit, TargetSplit
from uncertain_affect.training.fit import History, cached_fit, fit, generators, minibatches

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

MODELS = ("s-SN", "s-PEN", "t-SN", "t-PEN")

Network = SharedNetwork | PersonalizedExpertNetwork
TargetSplits = Mapping[str, Sequence[TargetSplit]]
# Of features (C, B, D), labels (C, B, 2) and people (C, B): a value for each of the C copies of a network.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Source(NamedTuple):
    """Networks trained on the source people.

    Attributes:
        sn: S copies, one per seed.
        pen: L x S copies: all seeds with the first pair of loss weights, then with the second, and so on.
        lambdas: the L pairs (lambda_0, lambda_1).
        histories: by stage, ``sn``, ``gate`` and ``pen``.
    """

    sn: SharedNetwork
    pen: PersonalizedExpertNetwork
    lambdas: tuple[tuple[float, float], ...]
    histories: dict[str, History]


def train_source(
    frames: Frames,
    splits: Sequence[SourceSplit],
    settings: PenSettings,
    lambdas: Sequence[tuple[float, float]] | None = None,
    tuning: Literal["joint", "individual"] = "joint",
    early_stop: bool = True,
    device: str = "cpu",
) -> Source:
    """Steps 2 and 3 of Algorithm 1's source learning, all seeds side by side, or from the cache.

    SN is tuned on the features; the experts start as SN; the gate is trained alone (alpha_c + lambda_1 alpha_r), then
    all together (equation 4), for few epochs. Every copy is left at its best validation epoch: by its loss for the
    gate, else by alpha^y, which can be compared over loss weights. Step 1, which tunes the backbone, lies behind the
    features.

    Args:
        frames: of all people.
        splits: one per seed, of equally many frames.
        settings: of the run.
        lambdas: pairs (lambda_0, lambda_1), of which each gives a PEN of its own; by default that of the settings.
        tuning: ``"joint"``; or ``"individual"``, the paper's rejected alternative: each expert is tuned to its own
            person, apart from the gate, for as many epochs.
        early_stop: leave PEN at its best validation epoch; else at its last.
        device: where to train.
    """
    seeds, pairs = settings.seeds, tuple(lambdas or [(settings.lambda_0, settings.lambda_1)])
    train = partial(_train, frames, settings, device)

    def copies(times: int, stream: int) -> dict:
        """What the copies of all seeds train on, so many times over."""
        rows, val_rows = ([getattr(split, part) for split in splits] * times for part in ("train", "val"))
        return {"rows": rows, "val_rows": val_rows, "orders": generators(seeds * times, stream)}

    sn = SharedNetwork(frames.features.shape[1], generators(seeds, 0)).to(device)
    histories = {"sn": train("SN", sn, _squared_error(sn), epochs=settings.sn_epochs, **copies(1, 1))}

    # the gate does not depend on lambda_0: one for each lambda_1
    penalties, every_seed = sorted({lambda_1 for _, lambda_1 in pairs}), np.arange(len(seeds))
    start = select_copies(sn, np.tile(every_seed, len(penalties)))
    gated = PersonalizedExpertNetwork.from_shared(start, len(frames.source), generators(seeds * len(penalties), 2))
    of_gates = torch.tensor(penalties, device=device).repeat_interleave(len(seeds))

    def gate_loss(x: Tensor, _: Tensor, person: Tensor) -> Tensor:
        return pen_gate_loss(gated.gate_logits(x), person, of_gates)

    options = {"epochs": settings.gate_epochs, "depends_on": penalties}
    histories["gate"] = train("gate", gated, gate_loss, **options, **copies(len(penalties), 3))

    pen = select_copies(gated, np.concatenate([penalties.index(l1) * len(seeds) + every_seed for _, l1 in pairs]))
    weights = [torch.tensor(part, device=device).repeat_interleave(len(seeds)) for part in zip(*pairs, strict=True)]

    def joint_loss(x: Tensor, y: Tensor, person: Tensor) -> Tensor:
        return pen_source_loss(pen(x), y, person, *weights)

    def individual_loss(x: Tensor, y: Tensor, person: Tensor) -> Tensor:
        own = person[..., None, None].expand(-1, -1, 1, y.shape[-1])
        return affect_squared_error(pen.expert_predictions(x).gather(2, own).squeeze(2), y)

    loss = {"joint": joint_loss, "individual": individual_loss}[tuning]
    options = {"epochs": settings.joint_epochs, "keep_best": early_stop, "depends_on": (pairs, tuning)}
    histories["pen"] = train("PEN", pen, loss, _squared_error(pen), **options, **copies(len(pairs), 4))
    return Source(sn, pen, pairs, histories)


def choose_lambdas(
    frames: Frames, splits: Sequence[SourceSplit], settings: PenSettings, device: str = "cpu"
) -> tuple[PenSettings, pd.DataFrame]:
    """The settings with the loss weights of the grid that validate best on the source people (section 4).

    Returns also alpha^y on the validation frames, mean over seeds, with lambda_0 down and lambda_1 across. An empty
    grid is the one pair of the settings.
    """
    down, across = settings.grid or (settings.lambda_0,), settings.grid or (settings.lambda_1,)
    pairs = list(itertools.product(down, across))
    history = train_source(frames, splits, settings, pairs, device=device).histories["pen"]
    losses = np.reshape(history.best_val, (len(down), len(across), -1)).mean(-1)
    table = pd.DataFrame(losses, index=pd.Index(down, name="lambda_0"), columns=pd.Index(across, name="lambda_1"))
    lambda_0, lambda_1 = pairs[int(losses.argmin())]
    return replace(settings, lambda_0=lambda_0, lambda_1=lambda_1), table


class Adapted(NamedTuple):
    """Networks after adaptation, one copy for each start, kind of split, seed and share, the last varying fastest.

    Starts are ``"s"``, the networks trained on the source people, and ``"t"``, random ones.
    """

    sn: SharedNetwork
    pen: PersonalizedExpertNetwork
    kinds: tuple[str, ...]
    shares: tuple[int, ...]
    histories: dict[str, History]

    def copies(self, start: str, kind: str, share: int) -> list[int]:
        """Which copies (S,) of the networks have this start, kind of split and share, seed by seed."""
        number = np.arange(len(self.sn.weight)).reshape(2, len(self.kinds), -1, len(self.shares))
        return number["st".index(start), self.kinds.index(kind), :, self.shares.index(share)].tolist()


def adapt(frames: Frames, source: Source, splits: TargetSplits, settings: PenSettings, device: str = "cpu") -> Adapted:
    """Adapt SN and PEN to the target people without their identities (equation 8), or take them from the cache.

    The source networks and random ones (t-SN, t-PEN), all seeds, kinds of split and shares train side by side, all
    experts and the gate. A random one sees features from a backbone tuned on source labels all the same (the paper's
    footnote 3). How long depends on the number of frames (:class:`PenSettings`), in units of an epoch of the largest
    share, rounded up.

    Args:
        frames: of all people.
        source: trained with one pair of loss weights.
        splits: by kind, one split per seed, with the shares of the settings.
        settings: of the run.
        device: where to train.

    Raises:
        ValueError: several pairs of loss weights.
    """
    if len(source.lambdas) > 1:
        raise ValueError(f"choose one of the {len(source.lambdas)} pairs of loss weights before adaptation")
    n_features, lambda_1 = frames.features.shape[1], source.lambdas[0][1]
    copies = list(itertools.product("st", splits, range(len(settings.seeds)), range(len(settings.shares))))
    seeds = [settings.seeds[s] for _, _, s, _ in copies]
    rows = [splits[kind][s].adapt[share] for _, kind, s, share in copies]
    length = len(frames.target_rows) * max(settings.shares) // 100
    wanted = [max(settings.adapt_epochs * len(r), settings.min_steps * settings.batch_size) for r in rows]
    sn = SharedNetwork(n_features, generators(seeds, 20)).to(device)
    pen = PersonalizedExpertNetwork(n_features, source.pen.n_experts, generators(seeds, 21)).to(device)
    from_source = [s for start, _, s, _ in copies if start == "s"]
    for network, start in ((sn, source.sn), (pen, source.pen)):
        for p, q in zip(network.parameters(), start.parameters(), strict=True):
            p.data[: len(from_source)] = q.data[from_source]
    options = {"rows": rows, "length": length, "epochs": [-(-n // length) for n in wanted]}
    histories = {}
    for name, network, loss, stream, depends_on in (
        ("SN", sn, _squared_error(sn), 100, None),
        ("PEN", pen, lambda x, y, _: pen_adaptation_loss(pen(x), y, lambda_1), 200, lambda_1),
    ):
        options["depends_on"] = depends_on
        options["orders"] = [generators([settings.seeds[s]], stream + share)[0] for _, _, s, share in copies]
        histories[name.lower()] = _train(frames, settings, device, f"{name}, adaptation", network, loss, **options)
    return Adapted(sn, pen, tuple(splits), settings.shares, histories)


def _train(
    frames, settings, device, label, model, loss, val_loss=None, *,
    rows, orders, val_rows=(), length=None, depends_on=None, **options,
) -> History:  # fmt: skip
    """Train the copies of a model in place, or load them from the cache; an interrupted stage goes on.

    Args:
        frames: of all people.
        settings: of the optimiser.
        device: where to train.
        label: what the progress bar calls the stage.
        model: every parameter has the C copies along its first axis.
        loss: of features (C, B, D), labels (C, B, 2) and people (C, B), a value for each copy (C,).
        val_loss: that of the validation frames; by default the same.
        rows: frames that each copy trains on.
        orders: one new generator per copy, for its minibatches.
        val_rows: frames that each copy is validated on, equally many; it is then left at its best epoch, else at its
            last.
        length: frames of an epoch, for each copy; by default one pass over its own.
        depends_on: what else the losses depend on.
        options: ``epochs`` and ``keep_best`` of :func:`fit`.
    """
    inputs = [part.to(device) for part in (frames.features, frames.labels, torch.from_numpy(frames.person))]
    adadelta = {"lr": settings.lr, "rho": settings.rho, "eps": settings.eps}

    def of_rows(function: Loss, batch: Tensor) -> Tensor:
        return function(*(part[batch] for part in inputs))

    def validate() -> Tensor:
        batches = torch.from_numpy(np.stack(val_rows)).to(device).split(1024, 1)
        return sum(of_rows(val_loss or loss, batch) * batch.shape[1] for batch in batches) / len(val_rows[0])

    def learn(checkpoint: Path) -> History:
        of_copies = [torch.from_numpy(r).to(device) for r in rows]
        return fit(
            model, partial(of_rows, loss), minibatches(of_copies, orders, settings.batch_size, length),
            optimiser=partial(Adadelta, **adadelta), validate=validate if val_rows else None, draws=orders,
            checkpoint=checkpoint, label=label, **options,
        )  # fmt: skip

    states, start = [g.get_state() for g in orders], dict(model.named_parameters())
    seen = (frames.features, frames.labels, frames.person, rows, val_rows, states, settings.batch_size, length)
    return cached_fit(model, learn, RECIPE, label, start, seen, adadelta, depends_on, options, device=device)


# --- predictions ----------------------------------------------------------------------------------------------


def _predictions(network: Network, x: Tensor) -> Tensor:
    output = network(x)
    return output.mean if isinstance(output, Mixture) else output


def _squared_error(network: Network) -> Loss:
    """alpha^y of what a network predicts."""
    return lambda x, y, _: affect_squared_error(_predictions(network, x), y)


@torch.no_grad()
def predict_rows(network: Network, frames: Frames, rows: np.ndarray) -> Tensor:
    """Predictions (C, n, 2) of every copy of a network for some frames."""
    device = next(network.parameters()).device
    batches = frames.features[torch.from_numpy(rows)].split(2048)
    return torch.cat([_predictions(network, x.to(device)).cpu() for x in batches], 1)


def predict(frames: Frames, source: Source, adapted: Adapted) -> dict[str, dict[str, Tensor]]:
    """Predictions of the four models for all target frames, by kind of split: (S, 1 + A, N_t, 2), n = 0 first.

    Frames are ``frames.target_rows``. At n = 0 s-SN and s-PEN are the source networks, t-SN and t-PEN are NaN.
    """
    predictions = {kind: dict.fromkeys(MODELS) for kind in adapted.kinds}
    for name, before, after in (("SN", source.sn, adapted.sn), ("PEN", source.pen, adapted.pen)):
        at_zero = predict_rows(before, frames, frames.target_rows)
        later = predict_rows(after, frames, frames.target_rows)
        for start, kind in itertools.product("st", adapted.kinds):
            first = at_zero if start == "s" else torch.full_like(at_zero, math.nan)
            by_share = [later[adapted.copies(start, kind, share)] for share in adapted.shares]
            predictions[kind][f"{start}-{name}"] = torch.stack([first, *by_share], 1)
    return predictions
