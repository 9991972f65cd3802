"""Words as numbers: tokens, vocabularies and GloVe vectors."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from uncertain_affect.corpora.base import CorpusError
from uncertain_affect.papers.rock.monah import spoken_text

PADDING, UNKNOWN = 0, 1


def tokenise(text: str) -> list[str]:
    """The words of a text: lower case, punctuation deleted as in narratives, so that "Don't!" gives "dont".

    Raises:
        ValueError: the text is not one, holds bytes that were not UTF-8, or has no words.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a text; decode bytes as UTF-8 first")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} of {text!r} was not UTF-8; convert the file to UTF-8") from None
    if not (words := spoken_text(text).split()):
        raise ValueError(f"{text!r} has no words; leave the talkturn out, or tell it as a narrative")
    return words


@dataclass(frozen=True)
class Vocabulary:
    """Words by number from 2 on; 0 is padding, and 1 every unknown word.

    Attributes:
        words: those known, in the order of their numbers.

    Raises:
        ValueError: there are no words, or one comes twice.
    """

    words: tuple[str, ...]

    def __post_init__(self):
        if not self.words:
            raise ValueError("the vocabulary has no words; lower min_count or give it texts")
        if len(set(self.words)) < len(self.words):
            raise ValueError(f"the word {Counter(self.words).most_common(1)[0][0]!r} comes twice")

    @classmethod
    def of(cls, texts: Iterable[str], min_count: int = 1) -> "Vocabulary":
        """The words that come at least `min_count` times in the texts of the training set, the commonest first.

        Raises:
            ValueError: a text has no words, or no word is common enough.
        """
        counts = Counter(word for words in _tokenise_all(texts) for word in words)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(tuple(word for word in ranked if counts[word] >= min_count))

    def __len__(self) -> int:
        """Numbers in use, padding and the unknown word among them."""
        return len(self.words) + 2

    def encode(self, texts: Sequence[str], max_words: int | None = None) -> Tensor:
        """Numbers of the words, int64 (N, W), of N texts; 0 after the last one.

        Words after the first `max_words` are cut off.

        Raises:
            ValueError: a text has no words, or `max_words` is less than 1.
        """
        if max_words is not None and max_words < 1:
            raise ValueError(f"max_words must be at least 1, not {max_words}")
        number = {word: i for i, word in enumerate(self.words, 2)}
        rows = [
            torch.tensor([number.get(word, UNKNOWN) for word in words[:max_words]]) for words in _tokenise_all(texts)
        ]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)


def _tokenise_all(texts: Iterable[str]) -> Iterable[list[str]]:
    for i, text in enumerate(texts):
        try:
            yield tokenise(text)
        except ValueError as error:
            raise ValueError(f"text {i}: {error}") from None


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors of the numbers of a vocabulary.

    Attributes:
        vectors: float (V, D); zero for padding.
        missing: words of the vocabulary whose vectors were drawn, as the file has none.
    """

    vectors: Tensor
    missing: tuple[str, ...]


def load_glove(path: str | os.PathLike, vocabulary: Vocabulary, generator: torch.Generator) -> Embedding:
    """Vectors of a vocabulary from a GloVe text file: on each line a word and D numbers, with single spaces.

    Missing words, and the unknown word, draw normal vectors with the mean and sd of all numbers found. Entries of
    several words are passed over. Of a word that comes twice the first vector counts.

    Raises:
        CorpusError: the file is not there or empty, a line is malformed or not UTF-8, or the file has no word of the
            vocabulary.
    """
    path = Path(path)
    if not path.is_file():
        raise CorpusError("no such file", path=path, cure="Unpack a glove.*.txt from nlp.stanford.edu/projects/glove")
    wanted = {word: i for i, word in enumerate(vocabulary.words, 2)}
    found: dict[str, list[float]] = {}
    n_numbers = None
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8").rstrip("\r\n ")
            except UnicodeDecodeError as error:
                raise CorpusError(f"byte {error.start} is not UTF-8", path=path, line=number) from None
            n_spaces = line.count(" ")
            if n_numbers is None:
                n_numbers = n_spaces
                if n_numbers < 2:
                    raise CorpusError("not a word and its numbers", path=path, line=number, cure="Delete a header")
            if n_spaces < n_numbers:
                raise CorpusError(f"{n_spaces} numbers after the word, not {n_numbers}", path=path, line=number)
            word, _, numbers = line.partition(" ")
            if n_spaces == n_numbers and word in wanted and word not in found:
                found[word] = _numbers(numbers, path, number)
    if not found:
        raise CorpusError("the file has no word of the vocabulary", path=path, cure="Is it a GloVe text file?")

    known = torch.tensor(list(found.values()))
    vectors = known.mean() + known.std() * torch.randn(len(vocabulary), n_numbers, generator=generator)
    vectors[[wanted[word] for word in found]] = known
    vectors[PADDING] = 0
    return Embedding(vectors, tuple(word for word in vocabulary.words if word not in found))


def _numbers(text: str, path: Path, line: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(" ")]
    except ValueError as error:
        raise CorpusError(str(error), path=path, line=line) from None
    if not all(abs(x) < float("inf") for x in numbers):
        raise CorpusError("a number is not finite", path=path, line=line)
    return numbers


def random_embedding(vocabulary: Vocabulary, size: int, generator: torch.Generator) -> Embedding:
    """Standard normal vectors (V, size), where there is no file of vectors; every word counts as missing."""
    vectors = torch.randn(len(vocabulary), size, generator=generator)
    vectors[PADDING] = 0
    return Embedding(vectors, vocabulary.words)
