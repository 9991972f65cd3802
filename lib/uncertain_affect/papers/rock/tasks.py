"""The primary tasks of each corpus, their auxiliary targets, and both made ready for networks."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.corpora import meld, turns
from uncertain_affect.corpora.base import SPLITS, Dialogues
from uncertain_affect.corpora.simulated import conversation
from uncertain_affect.losses.rock import mutual_information
from uncertain_affect.models.rock import FAMILIES, Task
from uncertain_affect.papers.rock.auxiliary import neighbouring_labels, percentile_ranks
from uncertain_affect.papers.rock.monah import narrate
from uncertain_affect.papers.rock.protocol import RockSettings
from uncertain_affect.papers.rock.text import build_vocabulary, encode, load_glove, random_vectors
from uncertain_affect.training.fit import generators

# The primary tasks by form, in the order of the paper's tables, and the range of those that are numbers.
PRIMARY = {
    "iemocap": ("emotion", "valence", "activation", "dominance"),
    "semaine": ("activation", "intensity", "power", "valence"),
    "meld": ("emotion",),
}
SCALES = {"iemocap": (1.0, 5.0), "semaine": (-1.0, 1.0)}
CLASSES = {"iemocap": conversation.EMOTIONS, "meld": ("angry", "happy", "neutral", "sad")}
# The tasks of the quick profile, one of each form.
QUICK = ("IEMOCAP emotion", "SEMAINE valence", "MELD emotion")


def load(name: str, profile: str, seed: int = 0, root: str | os.PathLike | None = None) -> dict[str, Dialogues]:
    """Corpora by form, "iemocap", "semaine" or "meld"; the simulated world gives the first two.

    Raises:
        CorpusError: as :func:`corpora.load`.
    """
    if name != "simulated":
        return {name: corpora.load(name, root)}
    options = {"view": "dialogues", "size": profile, "seed": seed}
    return {form: corpora.load(name, form=form, **options) for form in conversation.FORMS}


def narratives(corpus: Dialogues, form: str, **options) -> list[str]:
    """One MONAH sentence for each talkturn of a corpus; `options` are those of :func:`monah.narrate`."""
    source = meld if form == "meld" else conversation
    nouns, sentences = source.nouns(corpus), np.empty(len(corpus), dtype=object)
    for name in dict.fromkeys(corpus.dialogue.tolist()):
        sentences[corpus.dialogue == name] = narrate(source.talkturns(corpus, name), nouns, **options)
    return sentences.tolist()


def problems(corpora_: Mapping[str, Dialogues], only: Iterable[str] | None = None) -> list[tuple[str, str, str]]:
    """Form, target and name of the primary tasks of some corpora, in the order of the tables."""
    every = [(form, target, f"{form.upper()} {target}") for form in corpora_ for target in PRIMARY[form]]
    return [entry for entry in every if only is None or entry[2] in only]


@dataclass(frozen=True, eq=False)
class Targets:
    """What is to be predicted for N talkturns.

    Attributes:
        tasks: T, the primary one first.
        values: float (N, T): classes, or numbers on the scale of the primary task; NaN where missing.
        classes: names of the primary task's classes; none where it is a number.
        rows: those that have a primary target, by split, ascending.
    """

    tasks: tuple[Task, ...]
    values: np.ndarray
    classes: tuple[str, ...]
    rows: dict[str, np.ndarray]

    def estimate_information(self, generator: np.random.Generator) -> np.ndarray:
        """Estimated mutual information (T - 1,) of each auxiliary target with the primary one in training, nats."""
        known = self.values[self.rows["train"]]
        is_class = [task.n_classes is not None for task in self.tasks]
        names = [task.name for task in self.tasks[1:]]
        return mutual_information(
            known[:, 0], known[:, 1:], generator, primary_is_class=is_class[0], categorical=is_class[1:], names=names
        )


def targets(corpus: Dialogues, form: str, target: str, *, leak: bool = True) -> Targets:
    """A primary target with all families of auxiliary targets that a corpus has.

    Actions and tones are percentile ranks among training values, scaled to the range of the primary task (appendix
    A.2; left in [0, 1] where it is a classification), and so is timing where a corpus has it.

    Args:
        form: "iemocap", "semaine" or "meld".
        target: name of the primary target.
        leak: see :func:`neighbouring_labels`.

    Raises:
        ValueError: the corpus lacks the target, a split has none, or an auxiliary target has no training values.
    """
    if target not in corpus.targets:
        raise ValueError(f"the corpus has no target {target!r}; it has {', '.join(corpus.targets)}")
    is_class = not corpus.targets[target].dtype.is_floating_point
    primary = corpus.targets[target].double().numpy()
    if is_class:
        primary = np.where(primary < 0, np.nan, primary)
    rows = {split: np.flatnonzero((corpus.split == split) & ~np.isnan(primary)) for split in SPLITS}
    if empty := [split for split in SPLITS if not len(rows[split])]:
        raise ValueError(f"no turn of the {empty[0]} split has a target {target!r}")
    low, high = (0.0, 1.0) if is_class else SCALES[form]
    classes = CLASSES[form] if is_class else ()

    tasks, columns = [Task(target, "primary", len(classes) or None)], [primary]
    for family, names in (FAMILIES | {"t": turns.TIMING}).items():
        if family in "hf" or not set(names) <= set(corpus.auxiliary):
            continue
        for name in names:
            values = corpus.auxiliary[name].double().numpy()
            training = values[corpus.split == "train"]
            if np.isnan(training).all():
                raise ValueError(f"{name}: all training values are missing; leave this auxiliary target out")
            columns.append(low + (high - low) * percentile_ranks(values, training))
            tasks.append(Task(name, family))
    for family, labels in zip("hf", neighbouring_labels(primary, corpus.dialogue, leak=leak), strict=True):
        columns += list(labels.T)
        tasks += [Task(name, family, len(classes) or None) for name in FAMILIES[family]]
    return Targets(tuple(tasks), np.stack(columns, axis=1), classes, rows)


@dataclass(frozen=True, eq=False)
class Problem(Targets):
    """One primary task of a corpus with its auxiliary ones, ready for networks: targets and inputs.

    Attributes:
        name: as in the paper's tables, "SEMAINE valence".
        tokens: int (N, W), the words of each talkturn.
        embedding: (V, D), vectors of the words.
        dialogue: str (N,).
        information: (T - 1,), estimated mutual information of each auxiliary target with the primary one in training,
            nats.
        without_vector: words of the vocabulary that a file of vectors lacks; all of them where there is no file.
    """

    name: str
    tokens: Tensor
    embedding: Tensor
    dialogue: np.ndarray
    information: np.ndarray
    without_vector: tuple[str, ...]

    @property
    def families(self) -> str:
        """Letters of the families of auxiliary tasks it has, in order."""
        return "".join(dict.fromkeys(task.family for task in self.tasks[1:]))

    @property
    def targets(self) -> Tensor:
        """The values in single precision."""
        return torch.from_numpy(self.values).float()

    def truth(self, split: str) -> np.ndarray:
        """Primary targets (n,) of the rows of a split."""
        return self.targets[self.rows[split], 0].numpy()


def problem(
    corpus: Dialogues,
    form: str,
    target: str,
    settings: RockSettings,
    *,
    stories: Sequence[str] | None = None,
    glove: Path | None = None,
    leak: bool = True,
) -> Problem:
    """A primary task of a corpus with its auxiliary ones, see :func:`targets`.

    Args:
        stories: narratives, if not those of :func:`narratives`.
        glove: file of word vectors; else vectors are drawn.
        leak: see :func:`neighbouring_labels`.
    """
    wanted = targets(corpus, form, target, leak=leak)
    stories = narratives(corpus, form) if stories is None else stories
    in_training = (stories[row] for row in np.flatnonzero(corpus.split == "train"))
    vocabulary = build_vocabulary(in_training, settings.min_count)
    (generator,) = generators([settings.seeds[0]], 60)
    if glove is None:
        vectors, missing = random_vectors(vocabulary, settings.embedding_size, generator), tuple(vocabulary)
    else:
        vectors, missing = load_glove(glove, vocabulary, generator)
    return Problem(
        **vars(wanted),
        name=f"{form.upper()} {target}",
        tokens=encode(stories, vocabulary, settings.max_words),
        embedding=vectors,
        dialogue=corpus.dialogue,
        information=wanted.estimate_information(np.random.default_rng([settings.seeds[0], 61])),
        without_vector=missing,
    )
