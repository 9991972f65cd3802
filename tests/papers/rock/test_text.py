"""Vocabularies, encoded texts, and word vectors drawn or read from a file of GloVe."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.corpora.base import CorpusError
from uncertain_affect.papers.rock.tasks import PADDING, UNKNOWN, build_vocabulary, encode, load_glove, random_vectors

TEXTS = ("The woman sadly said no.", "the man said: No, no!", "the woman said why", "Don't")
VOCABULARY = {"the": 2, "woman": 3, "said": 4, "no": 5, "élan": 6}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_words_are_numbered_by_frequency_and_texts_encoded():
    # "no", "said" and "the" come three times, "woman" twice, the others once
    words = ["no", "said", "the", "woman", "dont", "man", "sadly", "why"]
    assert build_vocabulary(TEXTS) == build_vocabulary(reversed(TEXTS)) == {w: i for i, w in enumerate(words, 2)}
    assert list(build_vocabulary(TEXTS, min_count=3)) == ["no", "said", "the"]
    numbers = encode(["The man said no.", "No?", "..."], VOCABULARY)
    assert numbers.tolist() == [[2, UNKNOWN, 4, 5], [5, *[PADDING] * 3], [PADDING] * 4]
    assert numbers.dtype == torch.int64
    assert encode(["the man said", "no"], VOCABULARY, max_words=2).tolist() == [[2, 1], [5, 0]]


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), min_size=1, max_size=6))
def test_known_words_can_be_read_back(sentences):
    texts = [" ".join(words) for words in sentences]
    vocabulary = build_vocabulary(texts)
    numbers, words = encode(texts, vocabulary), [None, None, *vocabulary]
    assert numbers.shape == (len(sentences), max(map(len, sentences)))
    assert [[words[i] for i in row if i != PADDING] for row in numbers] == sentences


GLOVE = "the 0.5 -1 2\nno 1 2e-1 3\n. . . 9 9 9\nthe 7 7 7\nwoman of 8 8 8\nélan 1 1 1\n"


@pytest.fixture
def glove(tmp_path):
    def write(content):
        path = tmp_path / "glove.3d.txt"
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize("end", ["\n", " \r\n"])
def test_vectors_are_read(glove, end):
    vectors, missing = load_glove(glove(GLOVE.replace("\n", end).rstrip()), VOCABULARY, generator())
    assert vectors.shape == (7, 3)
    # the first of two, none of an entry of two words
    known = torch.tensor([[0.5, -1, 2], [1, 0.2, 3], [1, 1, 1]])
    torch.testing.assert_close(vectors[[2, 5, 6]], known)
    assert missing == ("woman", "said")
    assert not vectors[PADDING].any()
    drawn = known.mean() + known.std() * torch.randn(7, 3, generator=generator())
    torch.testing.assert_close(vectors[[UNKNOWN, 3, 4]], drawn[[1, 3, 4]])


@pytest.mark.parametrize(
    "content, message",
    [
        ("the 1 2 3\nno 4 5\n", "line 2: 2 numbers after the word, not 3"),
        ("the 1 2 3\n\nno 4 5 6\n", "line 2: 0 numbers"),
        ("the 1 2 3\nno 4 x 6\n", "line 2: could not convert string to float: 'x'"),
        ("the 1 2 3\nno 4 nan 6\n", "line 2: a number is not finite"),
        ("400000 3\nthe 1 2 3\n", "line 1: not a word and its numbers; delete a header"),
        (b"the 1 2 3\nd\xe9j\xe0 4 5 6\n", "line 2: 'utf-8' codec can't decode byte 0xe9 in position 1"),
        ("a 1 2 3\n", "has no word of the vocabulary"),
        ("", "has no word of the vocabulary"),
        (None, "no such file"),
    ],
)
def test_bad_files_are_named_with_the_line(glove, content, message):
    with pytest.raises(CorpusError, match=message) as caught:
        load_glove(glove(content), VOCABULARY, generator())
    assert "glove.3d.txt" in str(caught.value)


def test_random_vectors():
    vectors, again = (random_vectors({f"w{i}": i + 2 for i in range(500)}, 40, generator()) for _ in range(2))
    assert vectors.shape == (502, 40)
    assert not vectors[PADDING].any()
    assert vectors[1:].std() == pytest.approx(1, abs=4 / (2 * 501 * 40) ** 0.5)
    assert torch.equal(vectors, again)
