"""The primary tasks of each corpus, their words and auxiliary targets, made ready for networks.

Source of the auxiliary targets: section 4.3 and appendix A.2.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from uncertain_affect import corpora
from uncertain_affect.corpora import meld, turns
from uncertain_affect.corpora.base import SPLITS, CorpusError, Dialogues
from uncertain_affect.corpora.simulated import conversation
from uncertain_affect.corpora.talkturns import spoken_text
from uncertain_affect.losses.rock import mutual_information
from uncertain_affect.models.rock import FAMILIES, Task
from uncertain_affect.papers.rock.monah import narrate
from uncertain_affect.papers.rock.protocol import RockSettings, embeddings, settings
from uncertain_affect.training.fit import generators

Floats = NDArray[np.float64]
PADDING, UNKNOWN = 0, 1  # where there is no word, and for one that is not in the vocabulary
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


# --- words as numbers -------------------------------------------------------------------------------------------


def build_vocabulary(texts: Iterable[str], min_count: int = 1) -> dict[str, int]:
    """Numbers from 2 on of the words that occur at least `min_count` times in texts, the most frequent first.

    Words are lower case without punctuation; 0 is padding, and 1 stands for every other word.

    >>> build_vocabulary(["No, don't!", "no"])
    {'no': 2, 'dont': 3}
    """
    counts = Counter(word for text in texts for word in spoken_text(text).split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate((w for w in ranked if counts[w] >= min_count), 2)}


def encode(texts: Iterable[str], vocabulary: Mapping[str, int], max_words: int | None = None) -> Tensor:
    """Numbers of the first `max_words` words of N texts, int64 (N, W); 0 after the last word."""
    numbers = [[vocabulary.get(word, UNKNOWN) for word in spoken_text(text).split()[:max_words]] for text in texts]
    rows = [torch.tensor(row, dtype=torch.int64) for row in numbers]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)


def random_vectors(vocabulary: Mapping[str, int], size: int, generator: torch.Generator) -> Tensor:
    """Standard normal word vectors (V, size), where there is no file of vectors; zero for padding."""
    vectors = torch.randn(len(vocabulary) + 2, size, generator=generator)
    vectors[PADDING] = 0
    return vectors


def load_glove(
    path: str | os.PathLike, vocabulary: Mapping[str, int], generator: torch.Generator
) -> tuple[Tensor, tuple[str, ...]]:
    """Word vectors (V, D) from a GloVe text file, and the words that it lacks.

    Each line holds a word and D numbers, separated by single spaces. Missing words, and the unknown word, get normal
    vectors with the mean and sd of all numbers found; padding gets zeros. Entries of several words are passed over. If
    a word occurs twice, its first vector counts.

    Raises:
        CorpusError: the file is absent or empty, a line is malformed or not UTF-8, or the file has no word of the
            vocabulary.
    """
    path = Path(path)
    if not path.is_file():
        raise CorpusError("no such file", path=path, cure="Unpack a glove.*.txt from nlp.stanford.edu/projects/glove")
    found, n_numbers = {}, None
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8").rstrip("\r\n ")
                n_spaces = line.count(" ")
                n_numbers = n_spaces if n_numbers is None else n_numbers
                if n_numbers < 2:
                    raise ValueError("not a word and its numbers; delete a header")
                if n_spaces < n_numbers:
                    raise ValueError(f"{n_spaces} numbers after the word, not {n_numbers}")
                word, _, numbers = line.partition(" ")
                if n_spaces == n_numbers and word in vocabulary and word not in found:
                    found[word] = [float(x) for x in numbers.split(" ")]
                    if not np.isfinite(found[word]).all():
                        raise ValueError("a number is not finite")
            except ValueError as error:
                raise CorpusError(str(error), path=path, line=number) from None
    if not found:
        raise CorpusError("the file has no word of the vocabulary", path=path, cure="Is it a GloVe text file?")

    known = torch.tensor(list(found.values()))
    vectors = known.mean() + known.std() * torch.randn(len(vocabulary) + 2, n_numbers, generator=generator)
    vectors[[vocabulary[word] for word in found]] = known
    vectors[PADDING] = 0
    return vectors, tuple(word for word in vocabulary if word not in found)


# --- auxiliary targets ------------------------------------------------------------------------------------------


def percentile_ranks(values: ArrayLike, training: ArrayLike) -> Floats:
    """Percentile ranks (N,) in [0, 1] of values (N,) among those of the training set (M,).

    The rank of a value is the share of training values below it plus half the share of those equal to it, so that ties
    get the middle of their ranks. Values outside the training range get 0 or 1, and missing ones (NaN) stay missing.
    Missing training values do not count; at least one must be known.

    >>> percentile_ranks([1, 2, 9], [1, 2, 2, 3]).tolist()
    [0.125, 0.5, 1.0]
    """
    values, training = np.asarray(values, np.float64), np.asarray(training, np.float64)
    known = np.sort(training[~np.isnan(training)])
    # (number below + number at or below) / 2 n
    below = np.searchsorted(known, values, side="left") + np.searchsorted(known, values, side="right")
    return np.where(np.isnan(values), np.nan, below / (2 * len(known)))


def neighbouring_labels(labels: ArrayLike, dialogue: Sequence | np.ndarray, reach: int = 4) -> tuple[Floats, Floats]:
    """Labels of 1 to `reach` turns ago, and of 1 to `reach` turns later, (N, reach) each.

    If the wanted turn has no label, or lies beyond the end of the dialogue, the label of the nearest labelled turn on
    that side is taken; of two equally near ones, that nearer to the present. If no turn on that side has a label, it is
    the label of the present turn, as the paper's "next nearest non-missing label" has it at the first and last turn.
    That puts the primary target among the auxiliary ones: harmless at test, but it counts twice in training.

    >>> past, future = neighbouring_labels([1, 2, 3], ["a", "a", "a"], reach=2)
    >>> past.tolist(), future.tolist()
    ([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]], [[2.0, 3.0], [3.0, 3.0], [3.0, 3.0]])

    Args:
        labels: (N,), NaN where missing.
        dialogue: (N,), the dialogue of each turn; the turns of a dialogue are contiguous and in order of time.
    """
    labels, dialogue = np.asarray(labels, np.float64), np.asarray(dialogue)
    past = _nearest_before(labels, dialogue, reach)
    future = _nearest_before(labels[::-1], dialogue[::-1], reach)[::-1]
    return tuple(np.where(np.isnan(side), labels[:, None], side) for side in (past, future))


def _nearest_before(labels: Floats, dialogue: np.ndarray, reach: int) -> Floats:
    """Labels (N, reach) of 1 to `reach` turns ago, or of the nearest turn before the present one; NaN without any."""
    found = np.full((len(labels), reach), np.nan)
    for rows in np.split(np.arange(len(labels)), np.flatnonzero(dialogue[1:] != dialogue[:-1]) + 1):
        labelled = rows[~np.isnan(labels[rows])][::-1]  # of two equally near ones the later comes first
        for row in rows:
            if len(earlier := labelled[labelled < row]):
                wanted = np.maximum(row - np.arange(1, reach + 1), rows[0])
                found[row] = labels[earlier[np.abs(earlier - wanted[:, None]).argmin(1)]]
    return found


# --- targets and inputs -----------------------------------------------------------------------------------------


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


def targets(corpus: Dialogues, form: str, target: str) -> Targets:
    """A primary target with all families of auxiliary targets that a corpus has.

    Actions and tones are percentile ranks among training values, scaled to the range of the primary task (appendix
    A.2; left in [0, 1] where it is a classification), and so is timing where a corpus has it.

    Args:
        form: "iemocap", "semaine" or "meld".
        target: name of the primary target.

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
    for family, labels in zip("hf", neighbouring_labels(primary, corpus.dialogue), strict=True):
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
    stories: Sequence[str] | None = None,
    glove: Path | None = None,
) -> Problem:
    """A primary task of a corpus with its auxiliary ones, see :func:`targets`.

    Args:
        stories: narratives, if not those of :func:`narratives`.
        glove: file of word vectors; else vectors are drawn.
    """
    wanted = targets(corpus, form, target)
    stories = narratives(corpus, form) if stories is None else stories
    in_training = (stories[row] for row in np.flatnonzero(corpus.split == "train"))
    vocabulary = build_vocabulary(in_training, settings.min_count)
    (generator,) = generators([settings.seeds[0]], 60)
    if glove is None:
        vectors, missing = random_vectors(vocabulary, settings.embedding_size, generator), tuple(vocabulary)
    else:
        vectors, missing = load_glove(glove, vocabulary, generator)
    name, tokens = f"{form.upper()} {target}", encode(stories, vocabulary, settings.max_words)
    information = wanted.estimate_information(np.random.default_rng([settings.seeds[0], 61]))
    return Problem(*vars(wanted).values(), name, tokens, vectors, corpus.dialogue, information, missing)


@dataclass(frozen=True, eq=False)
class Experiment:
    """Corpora by form, primary tasks by name, and how they are learnt.

    Attributes:
        targets: form and target of each task, by its name.
    """

    settings: RockSettings
    glove: Path | None
    forms: Mapping[str, Dialogues]
    targets: Mapping[str, tuple[str, str]]
    problems: Mapping[str, Problem]

    @property
    def checksum(self) -> str:
        return "-".join(corpus.checksum() for corpus in self.forms.values())

    def described(self) -> dict:
        """The settings, with the number of seeds planned, as JSON holds them."""
        values = asdict(self.settings) | {"glove": self.glove is not None}
        values["n_seeds"] = len(values.pop("seeds"))
        values["pri_gru"] = {str(printed): size for printed, size in self.settings.pri_gru.items()}
        return values


def prepare(
    profile: str, corpus: str, seed: int, device: str, n_trials: int = 0, root: str | os.PathLike = ""
) -> Experiment:
    """Load a corpus and make its primary tasks ready; quick takes one of each form.

    Args:
        n_trials: of each list; 0 for those of the profile.
        root: of the data; "" for the default.
    """
    chosen, glove = embeddings(settings(profile, seed, device, n_trials or None), root or None)
    forms = load(corpus, profile, seed, root or None)
    named = {f"{form.upper()} {target}": (form, target) for form in forms for target in PRIMARY[form]}
    targets = {name: of for name, of in named.items() if profile != "quick" or name in QUICK}
    ready = {name: problem(forms[form], form, what, chosen, glove=glove) for name, (form, what) in targets.items()}
    return Experiment(chosen, glove, forms, targets, ready)
