"""PEN's training: experts for the source people, adapted to the target people, and what the networks predict.

All replicates, variants, kinds of split and shares are copies of one network and train side by side.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from uncertain_affect.compute.cache import code_key
from uncertain_affect.losses import affect_squared_error, pen_adaptation_loss, pen_gate_loss, pen_source_loss
from uncertain_affect.models.pen import Mixture, PersonalizedExpertNetwork, SharedNetwork, select_copies
from uncertain_affect.papers.pen.data import STAGES, Frames, PenSettings, Rate, Replicate
from uncertain_affect.training.fit import History, cached_fit, fit, generators, minibatches

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

MODELS = ("s-SN", "s-PEN", "t-SN", "t-PEN")
SHUFFLED, MIXTURE = "s-PEN, identities shuffled", "s-mixture, no identities"
CONTROLS = (SHUFFLED, MIXTURE)
WARMING, VALIDATED = 0.05, 0.2  # parts of the steps, and of the frames that adapt
BETTER = 0.01  # by which part of itself other loss weights must lower the error

Network = SharedNetwork | PersonalizedExpertNetwork
# Of features (C, B, D), labels (C, B, 2) and people (C, B): a value for each frame of the C copies of a network.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Variant(NamedTuple):
    """A way to train PEN on source people.

    Attributes:
        lambda_0, lambda_1: weights of the losses.
        identities: ``"true"``; ``"shuffled"`` over frames, or ``"none"``: the gate starts at random and nobody's name
            is used, so that what is left is a mixture of the same size.
    """

    lambda_0: float
    lambda_1: float
    identities: Literal["true", "shuffled", "none"] = "true"


def variants(settings: PenSettings) -> dict[str, Variant]:
    """PEN with the weights of the settings, the two controls, and PEN without either weight, each by its name."""
    chosen = settings.lambda_0, settings.lambda_1
    controls = {SHUFFLED: Variant(*chosen, "shuffled"), MIXTURE: Variant(0.0, settings.lambda_1, "none")}
    return {"s-PEN": Variant(*chosen)} | controls | {"s-PEN, lambda 0": Variant(0.0, 0.0)}


class Source(NamedTuple):
    """Networks trained on the source people.

    Attributes:
        sn: R copies, one for each replicate.
        pen: V x R copies: all replicates of the first variant, then of the second, and so on.
        variants: by name.
        histories: by stage, ``SN``, ``gate`` and ``PEN``, see :func:`_train`.
    """

    sn: SharedNetwork
    pen: PersonalizedExpertNetwork
    variants: dict[str, Variant]
    histories: dict[str, History]

    def network(self, model: str, replicate: int | None = None) -> Network:
        """``s-SN`` or a variant of PEN, of one replicate or of all R."""
        n = len(self.sn.weight)
        first = 0 if model == "s-SN" else list(self.variants).index(model) * n
        copies = range(n) if replicate is None else [replicate]
        return select_copies(self.sn if model == "s-SN" else self.pen, [first + copy for copy in copies])


def train_source(
    of: Sequence[Replicate], settings: PenSettings, variants: Mapping[str, Variant],
    tuning: Literal["joint", "individual"] = "joint", keep_best: bool = True, device: str = "cpu",
) -> Source:  # fmt: skip
    """Steps 2 and 3 of Algorithm 1's source learning, all replicates side by side, or from the cache.

    SN is tuned on the features; the experts start as SN; the gate is trained alone (alpha_c + lambda_1 alpha_r), then
    all together (equation 4). Every copy is left at its best validation epoch, the start among them: by its loss for
    the gate, else by alpha^y, which can be compared over loss weights. Step 1, which tunes the backbone, lies behind
    the features.

    Args:
        of: the replicates.
        settings: of the run.
        variants: of PEN, by name.
        tuning: ``"joint"``; or ``"individual"``, the paper's rejected alternative: each expert is tuned to its own
            person, apart from the gate, for as many epochs.
        keep_best: leave PEN at its best validation epoch; else at its last.
        device: where to train.
    """
    ways, n_experts = list(variants.values()), len(of[0].frames.source)
    seeds = [r.seed for r in of]
    train = partial(_train, of, settings, device)

    def copies(times: int, stream: int) -> dict:
        """What the copies of all replicates train on, so many times over."""
        rows, val_rows = ([getattr(r.source, part) for r in of] * times for part in ("train", "val"))
        return {"rows": rows, "val_rows": val_rows, "orders": generators(seeds * times, stream)}

    def each(values: Iterable[float]) -> Tensor:
        """One value for each copy of several variants, (C, 1)."""
        return torch.tensor(list(values), device=device).repeat_interleave(len(of)).unsqueeze(1)

    sn = SharedNetwork(of[0].frames.features.shape[1], generators(seeds, 0)).to(device)
    histories = {"SN": train("SN", sn, squared_error(sn), settings.rate["SN"], epochs=settings.epochs, **copies(1, 1))}

    # the gate does not depend on lambda_0
    kinds = list(dict.fromkeys((w.lambda_1, w.identities) for w in ways))
    start, every = select_copies(sn, np.tile(np.arange(len(of)), len(kinds))), np.arange(len(of))
    gated = PersonalizedExpertNetwork.from_shared(start, n_experts, generators(seeds * len(kinds), 2))
    penalties, known = each(penalty for penalty, _ in kinds), each(float(names != "none") for _, names in kinds)

    def gate_loss(x: Tensor, _: Tensor, person: Tensor) -> Tensor:
        return known * pen_gate_loss(gated.gate_logits(x).unsqueeze(2), person.unsqueeze(2), penalties)

    shuffled = [names == "shuffled" for _, names in kinds for _ in of]
    options = {"epochs": settings.epochs, "shuffled": shuffled, "depends_on": kinds, **copies(len(kinds), 3)}
    histories["gate"] = train("gate", gated, gate_loss, settings.rate["PEN"], **options)

    pen = select_copies(gated, np.concatenate([kinds.index(w[1:]) * len(of) + every for w in ways]))
    lambda_0, lambda_1 = (each(weights) for weights in zip(*(w[:2] for w in ways), strict=True))

    def joint_loss(x: Tensor, y: Tensor, person: Tensor) -> Tensor:
        mixture = Mixture(*(part.unsqueeze(2) for part in pen(x)))
        return pen_source_loss(mixture, y.unsqueeze(2), person.unsqueeze(2), lambda_0, lambda_1)

    def individual_loss(x: Tensor, y: Tensor, person: Tensor) -> Tensor:
        own = person[..., None, None].expand(-1, -1, 1, y.shape[-1])
        return affect_squared_error(pen.expert_predictions(x).gather(2, own), y.unsqueeze(2))

    loss = {"joint": joint_loss, "individual": individual_loss}[tuning]
    options = {"epochs": settings.joint_epochs, "keep_best": keep_best, "depends_on": (ways, tuning)}
    options |= {"shuffled": [w.identities == "shuffled" for w in ways for _ in of], **copies(len(ways), 4)}
    histories["PEN"] = train("PEN", pen, loss, settings.rate["PEN"], squared_error(pen), **options)
    return Source(sn, pen, dict(variants), histories)


def choose(of: Sequence[Replicate], settings: PenSettings, device: str = "cpu") -> tuple[PenSettings, dict]:
    """The settings with the optimisers, rates and loss weights that validate best.

    On source people (section 4) first SN's rate, then PEN's at the printed loss weights, then lambda_0 and lambda_1 of
    the grid; in adaptation the rate of each model. The printed weights stay unless others lower the error by more than
    a hundredth: what differs by less is the same.

    Returns:
        Also what was compared, squared errors alpha^y on validation frames, mean over copies: ``rates``, a row for each
        and a column for each stage, and ``weights``, lambda_0 down and lambda_1 across. Nothing where there is nothing
        to choose from.
    """
    if not settings.rates:
        return settings, {}
    errors: dict[str, list[float]] = {}
    ways = {f"{w}": w for w in itertools.starmap(Variant, itertools.product(settings.grid, repeat=2))}

    def source(trial: PenSettings) -> Source:
        return train_source(of, trial, {"s-PEN": Variant(trial.lambda_0, trial.lambda_1)}, device=device)

    for stage in STAGES:
        if stage == "s-SN":  # PEN is chosen
            history = train_source(of, settings, ways, device=device).histories["PEN"]
            losses = np.reshape(history.best_val, (len(ways), -1)).mean(-1)
            if losses.min() < (1 - BETTER) * min(errors["PEN"]):
                lambda_0, lambda_1, _ = list(ways.values())[int(losses.argmin())]
                settings = replace(settings, lambda_0=lambda_0, lambda_1=lambda_1)
        errors[stage] = []
        for rate in settings.rates:
            trial = replace(settings, rate={**settings.rate, stage: rate})
            histories = source(trial).histories if "-" not in stage else (
                adapt(of, source(trial), trial, device, [stage]).histories)  # fmt: skip
            errors[stage].append(np.mean(histories[stage].best_val))
        settings = replace(settings, rate={**settings.rate, stage: settings.rates[int(np.argmin(errors[stage]))]})
    rates = pd.DataFrame(errors, [f"{name} {rate:g}" for name, rate in settings.rates])
    down, across = (pd.Index([f"{x:g}" for x in settings.grid], name=f"lambda_{i}") for i in (0, 1))
    return settings, {"rates": rates, "weights": pd.DataFrame(losses.reshape(len(down), -1), down, across)}


class Adapted(NamedTuple):
    """Networks after adaptation, by group: ``s-SN``, ``t-SN``, ``t-PEN``, and ``s-PEN`` with all variants of PEN.

    A group has a copy for each of its models, kind of split, replicate and share, the last varying fastest. Names
    that begin with ``s-`` were trained on source people, those with ``t-`` are random at first.
    """

    networks: dict[str, Network]
    models: dict[str, tuple[str, ...]]
    kinds: tuple[str, ...]
    shares: tuple[int, ...]
    histories: dict[str, History]

    def copies(self, model: str, kind: str) -> tuple[str, np.ndarray]:
        """The group of a model, and which of its copies (R, A) are of this model and kind of split."""
        (group,) = [group for group, models in self.models.items() if model in models]
        number = np.arange(len(next(self.networks[group].parameters())))
        number = number.reshape(len(self.models[group]), len(self.kinds), -1, len(self.shares))
        return group, number[self.models[group].index(model), self.kinds.index(kind)]


def adapt(
    of: Sequence[Replicate], source: Source, settings: PenSettings, device: str = "cpu",
    groups: Sequence[str] = STAGES[2:],
) -> Adapted:  # fmt: skip
    """Adapt SN and PEN to the target people without their identities (equation 8), or take them from the cache.

    The source networks and random ones (t-SN, t-PEN), all experts and the gate. A random one sees features from a
    backbone tuned on source labels all the same (the paper's footnote 3). A fifth of the frames of each set, drawn at
    random, chooses the epoch, the start among them; the steps are as many for every n.

    Args:
        of: the replicates, of the same kinds of split.
        source: trained on them; t-PEN has the loss weights of its first variant.
        settings: of the run.
        device: where to train.
        groups: which to adapt, see :class:`Adapted`.
    """
    n_features, kinds, n_shares = of[0].frames.features.shape[1], tuple(of[0].target), len(settings.shares)
    models = {group: tuple(source.variants) if group == "s-PEN" else (group,) for group in groups}
    networks, histories, first = {}, {}, next(iter(source.variants.values()))
    length = math.ceil(settings.adapt_steps / settings.adapt_epochs) * settings.batch_size
    for group in groups:
        copies = list(itertools.product(models[group], kinds, range(len(of)), range(n_shares)))
        whose = [r for *_, r, _ in copies]
        seeds = [of[r].seed for r in whose]
        if group.endswith("SN"):
            network = SharedNetwork(n_features, generators(seeds, 20)).to(device)
            loss, penalties = squared_error(network), None
        else:
            network = PersonalizedExpertNetwork(n_features, source.pen.n_experts, generators(seeds, 21)).to(device)
            penalties = [source.variants.get(model, first).lambda_1 for model, *_ in copies]
            loss = _adaptation_loss(network, torch.tensor(penalties, device=device).unsqueeze(1))
        if group.startswith("s-"):
            before = source.sn if group == "s-SN" else source.pen
            number = [models[group].index(model) * len(of) + r for model, _, r, _ in copies]
            network.load_state_dict(select_copies(before, number).state_dict())
        parts = [_fifth(of[r].target[kind].adapt[share], of[r].seed, share) for _, kind, r, share in copies]
        rows, val_rows = zip(*parts, strict=True)
        stream = 100 if group.endswith("SN") else 200
        orders = [generators([of[r].seed], stream + share)[0] for *_, r, share in copies]
        histories[group] = _train(
            of, settings, device, f"{group}, adaptation", network, loss, settings.rate[group], squared_error(network),
            rows=rows, val_rows=val_rows, orders=orders, replicate=whose, length=length, epochs=settings.adapt_epochs,
            depends_on=penalties,
        )  # fmt: skip
        networks[group] = network
    return Adapted(networks, models, kinds, settings.shares, histories)


def _adaptation_loss(network: PersonalizedExpertNetwork, lambda_1: Tensor) -> Loss:
    def loss(x: Tensor, y: Tensor, _: Tensor) -> Tensor:
        return pen_adaptation_loss(Mixture(*(part.unsqueeze(2) for part in network(x))), y.unsqueeze(2), lambda_1)

    return loss


def _fifth(rows: np.ndarray, seed: int, share: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames that adapt, as those that train and, a fifth drawn at random, those that validate."""
    drawn = rows[torch.randperm(len(rows), generator=generators([seed], 30 + share)[0]).numpy()]
    n = max(round(VALIDATED * len(rows)), 1)
    return np.sort(drawn[n:]), np.sort(drawn[:n])


def _train(
    of, settings, device, label, model, loss, rate: Rate, val_loss=None, *,
    rows, val_rows, orders, epochs, replicate=None, length=None, shuffled=False, keep_best=True, depends_on=None,
) -> History:  # fmt: skip
    """Train the copies of a model in place, or load them from the cache; an interrupted stage goes on.

    The history's traces are ``start``, the loss of validation before any step, and ``before`` and ``after``, the loss
    of all frames of training a tenth of the epochs before the end and at the end. Its best epoch is 0 where the start
    validates best.

    Args:
        of: the replicates.
        settings: of the run.
        device: where to train.
        label: what the progress bar calls the stage.
        model: every parameter has the C copies along its first axis.
        loss: of features (C, B, D), labels (C, B, 2) and people (C, B), a value for each frame (C, B).
        rate: optimiser and highest rate.
        val_loss: that of the validation frames; by default the same.
        rows, val_rows: frames that each copy trains on, and is validated on.
        orders: one new generator per copy, for its minibatches.
        epochs: how many.
        replicate: whose frames each copy has; by default all replicates' in turn.
        length: frames of an epoch, for each copy; by default one pass over its own.
        shuffled: whether a copy is told wrong identities.
        keep_best: leave copies at their best validation epoch.
        depends_on: what else the losses depend on.
    """
    whose = range(len(of)) if replicate is None else replicate
    sides = {id(r.frames): r.frames for r in of}
    starts = dict(zip(sides, np.cumsum([0, *(len(f.person) for f in sides.values())]), strict=False))
    offset = [int(starts[id(of[r].frames)]) for r in whose] * (len(rows) // len(whose))
    inputs = [torch.cat([getattr(f, part) for f in sides.values()]).to(device) for part in ("features", "labels")]
    people = torch.cat([_people(f) for f in sides.values()], 1).to(device)
    told = torch.as_tensor(shuffled).long().expand(len(rows)).unsqueeze(1).to(device)
    known, validating = (
        [torch.from_numpy(r + o) for r, o in zip(part, offset, strict=True)] for part in (rows, val_rows)
    )
    n_batches, val_loss = -(-(length or len(rows[0])) // settings.batch_size), val_loss or loss

    def of_rows(function: Loss, batch: Tensor) -> Tensor:
        return function(*(part[batch] for part in inputs), people[told, batch])

    def mean(function: Loss, rows: Sequence[Tensor]) -> Tensor:
        """Of each copy over its own rows, however many: (C,)."""
        padded, weights = (nn.utils.rnn.pad_sequence(part, batch_first=True).to(device) for part in (
            rows, [torch.full((len(r),), 1 / len(r)) for r in rows]))  # fmt: skip
        with torch.no_grad():
            parts = zip(padded.split(128, 1), weights.split(128, 1), strict=True)
            return sum((of_rows(function, batch) * weight).sum(1) for batch, weight in parts)

    def note(history: History) -> bool:
        """Keep the loss of all frames of training, a tenth before the end and there; never a reason to stop."""
        names = {epochs - max(epochs // 10, 1): "before", epochs: "after"}
        if (place := names.get(len(history.train))) is not None:
            history.traces[place] = mean(loss, known).tolist()
        return False

    def learn(checkpoint: Path) -> History:
        first, start = mean(val_loss, validating), {n: p.detach().clone() for n, p in model.named_parameters()}
        optimiser = partial(getattr(torch.optim, rate[0]), lr=rate[1], **DEFAULTS.get(rate[0], {}))
        schedule = partial(LambdaLR, lr_lambda=partial(_falling, settings.anneal, epochs * n_batches))
        history = fit(
            model, lambda batch: of_rows(loss, batch).mean(1),
            minibatches([r.to(device) for r in known], orders, settings.batch_size, length),
            epochs=epochs, optimiser=optimiser, schedule=schedule, validate=lambda: mean(val_loss, validating),
            keep_best=keep_best, stop=note, draws=orders, checkpoint=checkpoint, label=label,
        )  # fmt: skip
        unmoved = first <= torch.tensor(history.best_val, device=device)
        for copy in unmoved.nonzero().flatten().tolist() if keep_best else ():
            history.best_epoch[copy], history.best_val[copy] = 0, float(first[copy])
            for place, p in model.named_parameters():
                p.data[copy] = start[place][copy]
        history.traces = {place: np.array(values) for place, values in history.traces.items()}
        history.traces["start"] = first.cpu().numpy()
        return history

    states, start = [g.get_state() for g in orders], dict(model.named_parameters())
    seen = (*inputs, people, known, validating, told, states, settings.batch_size, length)
    return cached_fit(
        model, learn, RECIPE, label, start, seen, rate, settings.anneal, epochs, keep_best, depends_on, device=device
    )


# as in Keras at the time
DEFAULTS = {"Adadelta": {"rho": 0.95, "eps": 1e-7}, "Adam": {"fused": True}}


def _falling(anneal: float, n_steps: int, step: int) -> float:
    """The rate as a part of its highest: rising over the first steps, then falling to ``anneal``; 1 where that is 1."""
    return anneal ** (step / n_steps) * min(1, (step + 1) / (WARMING * n_steps)) if anneal < 1 else 1.0


def _people(frames: Frames) -> Tensor:
    """Who is seen in each frame (2, N), and the same with the source people's names shuffled over their frames."""
    rows, wrong = frames.source_rows(), frames.person.copy()
    order = torch.randperm(len(rows), generator=generators([0], 14)[0]).numpy()
    wrong[rows] = frames.person[rows[order]]
    return torch.from_numpy(np.stack([frames.person, wrong]))


# --- predictions ----------------------------------------------------------------------------------------------


def _predictions(network: Network, x: Tensor) -> Tensor:
    output = network(x)
    return output.mean if isinstance(output, Mixture) else output


def squared_error(network: Network) -> Loss:
    """alpha^y of what a network predicts, of each frame."""
    return lambda x, y, _: affect_squared_error(_predictions(network, x).unsqueeze(2), y.unsqueeze(2))


@torch.no_grad()
def predict_rows(network: Network, frames: Frames, rows: np.ndarray) -> Tensor:
    """Predictions (C, n, 2) of every copy of a network for some frames."""
    device = next(network.parameters()).device
    batches = frames.features[torch.from_numpy(rows)].split(2048)
    return torch.cat([_predictions(network, x.to(device)).cpu() for x in batches], 1)


def predict(of: Sequence[Replicate], source: Source, adapted: Adapted) -> dict[str, dict[str, list[Tensor]]]:
    """Predictions of the models for all target frames, by kind of split and model: of each replicate (1 + A, N_t, 2).

    Frames are its ``frames.target_rows``, n = 0 comes first. There s-SN and s-PEN are the source networks, and t-SN and
    t-PEN are NaN.
    """
    found: dict = {
        kind: {model: [] for models in adapted.models.values() for model in models} for kind in adapted.kinds
    }
    for kind, (place, replicate) in itertools.product(adapted.kinds, enumerate(of)):
        rows = replicate.frames.target_rows
        for model, predictions in found[kind].items():
            name, copies = adapted.copies(model, kind)
            later = predict_rows(select_copies(adapted.networks[name], copies[place]), replicate.frames, rows)
            before = None if model.startswith("t-") else source.network(model, place)
            first = (
                torch.full_like(later[:1], math.nan) if before is None else predict_rows(before, replicate.frames, rows)
            )
            predictions.append(torch.cat([first, later]))
    return found
