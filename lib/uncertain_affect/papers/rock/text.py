"""Words as numbers: vocabularies and GloVe vectors."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uncertain_affect.corpora.base import CorpusError
from uncertain_affect.corpora.talkturns import spoken_text

PADDING, UNKNOWN = 0, 1


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
