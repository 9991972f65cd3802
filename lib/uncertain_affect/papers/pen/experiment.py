"""PEN's experiment: what both notebooks train on one corpus, and what of it tables and answers are computed from."""

import itertools
import os
from collections.abc import Collection
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.papers.pen.data import Frames, PenSettings, load, settings
from uncertain_affect.papers.pen.scoring import baselines, person_sums, ridge, score
from uncertain_affect.papers.pen.splits import SourceSplit, TargetSplit, draw_splits, draw_video_splits, prepare
from uncertain_affect.papers.pen.training import Adapted, Source, adapt, choose_lambdas, predict, train_source
from uncertain_affect.training.finetune import starting_network
from uncertain_affect.training.fit import History


class Experiment(NamedTuple):
    """A corpus, what was trained on it, and the predictions, see :func:`train`.

    Attributes:
        settings: with the loss weights that were chosen.
        grid: of :func:`choose_lambdas`.
        source_splits: by kind of split of the target people, one per seed.
        splits: of the target people, by kind: ``random``, ``blocked``, and where people share videos ``video``.
        source, adapted: networks of the random and the blocked split.
        predictions: by kind and model, (S, 1 + A, N_t, 2).
    """

    corpus: AffectTraces
    settings: PenSettings
    grid: pd.DataFrame
    frames: Frames
    source_splits: dict[str, list[SourceSplit]]
    splits: dict[str, list[TargetSplit]]
    source: Source
    adapted: Adapted
    predictions: dict[str, dict[str, Tensor]]


def train(
    name: str, profile: str, seed: int = 0, root: str | os.PathLike | None = None, device: str = "cpu"
) -> Experiment:
    """Everything trained, or from the cache.

    Where people share videos, a third kind of split holds half of these out, and has networks of its own: source people
    are trained without these videos too.
    """
    chosen, corpus = settings(profile, seed, device), load(name, profile, seed, root)
    start = None
    if corpus.inputs.dtype == torch.uint8:
        start = starting_network(name == "simulated", chosen.pretraining, profile, root, device)
    frames, split = prepare(corpus, chosen, start, device)
    of_source, splits = draw_splits(frames, chosen, split)
    chosen, grid = choose_lambdas(frames, of_source, chosen, device)
    source = train_source(frames, of_source, chosen, device=device)
    adapted = adapt(frames, source, splits, chosen, device)
    predictions, source_splits = predict(frames, source, adapted), dict.fromkeys(splits, of_source)
    if np.isin(frames.video[frames.target_rows], frames.video[frames.source_rows()]).any():
        source_splits["video"], held_out = draw_video_splits(frames, chosen)
        of_videos = train_source(frames, source_splits["video"], chosen, device=device)
        predictions |= predict(frames, of_videos, adapt(frames, of_videos, held_out, chosen, device))
        splits |= held_out
    return Experiment(corpus, chosen, grid, frames, source_splits, splits, source, adapted, predictions)


def score_all(of: Experiment, names: Collection[str] = ()) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """The :func:`score` of each model and baseline, or of those named, by kind of split.

    Without shared videos nobody's video is anybody else's, and ``video mean`` is left out.
    """
    found = {}
    for kind, splits in of.splits.items():
        predicted = of.predictions[kind] | baselines(of.frames, splits)
        # first of the source people, then of the adapted frames alone, as SN and PEN are tuned
        sets = [(s.train, *t.adapt) for s, t in zip(of.source_splits[kind], splits, strict=True)]
        fitted = partial(ridge, of.frames, at=of.frames.target_rows)
        predicted["ridge"] = torch.stack([torch.stack([*map(fitted, of_seed)]) for of_seed in sets])
        if "video" not in of.splits:
            del predicted["video mean"]
        found[kind] = {
            name: score(person_sums(p, of.frames, splits))
            for name, p in predicted.items()
            if not names or name in names
        }
    return found


def last_fall(history: History) -> np.ndarray:
    """By which part of itself the loss of training fell over the last tenth of a copy's epochs, of each copy (C,)."""
    losses = np.array(history.train)
    # without validation the epoch that is kept is a copy's own last one
    last = np.full(losses.shape[1], len(losses)) if history.val else np.array(history.best_epoch)
    before = np.maximum(last - 1 + -last // 10, 0)
    copies = np.arange(len(last))
    return 1 - losses[last - 1, copies] / losses[before, copies]


def progress(source: Source, adapted: Adapted) -> pd.DataFrame:
    """How far training came: epochs, share of seeds whose best one is the last, and :func:`last_fall`, mean over seeds.

    A row for each stage on source people, and for each model and share on the random split, which validates nothing.
    """
    rows = {}
    for stage, history in source.histories.items():
        epochs, best = len(history.train), np.array(history.best_epoch)
        rows[f"{stage if stage == 'gate' else stage.upper()} on source people"] = (
            epochs,
            (best == epochs).mean(),
            last_fall(history).mean(),
        )
    for start, (model, history), share in itertools.product("st", adapted.histories.items(), adapted.shares):
        copies = adapted.copies(start, "random", share)
        epochs, fall = max(history.best_epoch[copy] for copy in copies), last_fall(history)[copies].mean()
        rows[f"{start}-{model.upper()}, {share}%"] = epochs, np.nan, fall
    return pd.DataFrame.from_dict(rows, orient="index", columns=["epochs", "best is last", "last fall of the loss"])


def identity_skill(frames: Frames, split: SourceSplit) -> float:
    """How well a logistic regression tells source people apart on frames left out: 0 by chance, 1 without an error."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    x, chance = frames.features.numpy(), 1 / len(frames.source)
    model.fit(x[split.train], frames.person[split.train])
    return float((model.score(x[split.val], frames.person[split.val]) - chance) / (1 - chance))
