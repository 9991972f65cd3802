"""The settings of HAN-ROCK's protocol, by profile."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uncertain_affect.compute.paths import data_root


@dataclass(frozen=True)
class RockSettings:
    """Everything that decides a run.

    Given by the paper: 30 trials, ten for each scheme of loss weights, of up to 350 epochs; the ranges of Table 6; the
    sizes P, with P + A = 257; 300-dimensional embeddings. Not given: sizes of the word encoders and of attention, words
    in a talkturn, and how embeddings are trained.

    Attributes:
        pri_gru: the sizes P used, by those that the paper prints.
        total: P + A.
        content_size: range of L, the number of talkturns read, the current one included.
        batch_size: range of the number of examples in a minibatch.
        freeze: word embeddings are not trained.
        max_words: longer talkturns are cut off after so many words.
        min_count: words that occur less often in training are unknown.
        run_length: consecutive talkturns in a minibatch. Their contexts overlap, and each talkturn is encoded once; 1
            is the usual shuffle.
        attend: what attention sums, see :class:`uncertain_affect.models.rock.TaskAttention`.
    """

    seeds: tuple[int, ...]
    n_trials: int = 30
    max_epochs: int = 350
    pri_gru: Mapping[int, int] = field(default_factory=lambda: {p: p for p in (256, 192, 128, 64, 1)})
    total: int = 257
    content_size: tuple[int, int] = (1, 30)
    batch_size: tuple[int, int] = (32, 256)
    lr: tuple[float, float] = (2**-10, 2**-5)
    l2: tuple[float, float] = (1e-6, 0.5)
    gru_dropout: tuple[float, float] = (0.01, 0.5)
    recurrent_dropout: tuple[float, float] = (0.01, 0.5)
    embedding_size: int = 300
    freeze: bool = False
    word_gru: int = 50
    attention: int = 100
    max_words: int = 60
    min_count: int = 2
    run_length: int = 1
    attend: str = "u"


def settings(profile: str, seed: int = 0, device: str = "cuda", n_trials: int | None = None) -> RockSettings:
    """The settings of a profile; seeds count up from `seed`, and `n_trials` replaces the profile's number of trials.

    The paper's sizes need a GPU. On a CPU, full keeps the 30 trials and all values of P, a sixteenth as large, for few
    epochs; quick draws its word vectors once and does not train them.

    Raises:
        ValueError: no such profile, or no trial.
    """
    if n_trials is not None and n_trials < 1:
        raise ValueError(f"a search needs at least one trial, not {n_trials}")
    sizes = {"pri_gru": {256: 16, 192: 12, 128: 8, 64: 4, 1: 1}, "total": 17, "embedding_size": 32, "word_gru": 8}
    sizes |= {"attention": 24, "max_words": 24, "content_size": (1, 10), "run_length": 8, "max_epochs": 8}
    paper = RockSettings(tuple(range(seed, seed + 20)))
    small = dataclasses.replace(paper, **sizes)
    if profile == "full":
        return dataclasses.replace(small if device == "cpu" else paper, n_trials=n_trials or paper.n_trials)
    if profile == "quick":
        few = {"seeds": small.seeds[:5], "n_trials": n_trials or 3, "pri_gru": {256: 16, 128: 8, 1: 1}}
        return dataclasses.replace(small, **few, content_size=(1, 4), batch_size=(32, 128), freeze=True)
    raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')


def embeddings(settings: RockSettings, root: str | os.PathLike | None) -> tuple[RockSettings, Path | None]:
    """The settings, and the file of GloVe vectors `<data root>/glove/glove.6B.<D>d.txt`, or None if it is not there.

    Published vectors are not trained: then nothing that auxiliary tasks learn reaches the primary branch through them.
    """
    path = data_root(root) / "glove" / f"glove.6B.{settings.embedding_size}d.txt"
    return (dataclasses.replace(settings, freeze=True), path) if path.is_file() else (settings, None)
