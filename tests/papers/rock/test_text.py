import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.corpora.base import CorpusError
from uncertain_affect.papers.rock.text import PADDING, UNKNOWN, Vocabulary, load_glove, random_embedding, tokenise

TEXTS = ("The woman sadly said no.", "the man said: No, no!", "the woman said why")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- tokens and vocabularies ------------------------------------------------------------------------------


def test_tokens():
    assert tokenise("Don't —  you SAY?") == ["dont", "you", "say"]
    assert tokenise("Ça va été") == ["ça", "va", "été"]


@pytest.mark.parametrize("text", ["", "  ", "...?!"])
def test_a_text_without_words_is_refused(text):
    with pytest.raises(ValueError, match="has no words"):
        tokenise(text)
    with pytest.raises(ValueError, match=r"text 1: .*has no words"):
        Vocabulary.of(["no", text])
    with pytest.raises(ValueError, match=r"text 2: .*has no words"):
        Vocabulary(("no",)).encode(["no", "no", text])


def test_bytes_that_were_not_utf8_are_refused():
    latin = "voilà".encode("latin-1")
    with pytest.raises(ValueError, match=r"character 4 of .* was not UTF-8"):
        tokenise(latin.decode("utf-8", errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"text 0: .*decode bytes"):
        Vocabulary.of([latin])


def test_words_are_numbered_by_frequency():
    vocabulary = Vocabulary.of(TEXTS)
    # "no", "said" and "the" come three times, "woman" twice, the others once
    assert vocabulary.words == ("no", "said", "the", "woman", "man", "sadly", "why")
    assert len(vocabulary) == 9
    assert Vocabulary.of(TEXTS, min_count=3).words == ("no", "said", "the")
    assert Vocabulary.of(reversed(TEXTS)) == vocabulary


def test_encoding():
    vocabulary = Vocabulary(("no", "said", "the"))
    numbers = vocabulary.encode(["The woman said no.", "No?"])
    assert numbers.tolist() == [[4, UNKNOWN, 3, 2], [2, PADDING, PADDING, PADDING]]
    assert numbers.dtype == torch.int64
    assert vocabulary.encode(["the woman said", "no"], max_words=2).tolist() == [[4, 1], [2, 0]]
    with pytest.raises(ValueError, match="max_words"):
        vocabulary.encode(["no"], max_words=0)


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), min_size=1, max_size=6))
def test_known_words_can_be_read_back(sentences):
    vocabulary = Vocabulary.of([" ".join(words) for words in sentences])
    numbers = vocabulary.encode([" ".join(words) for words in sentences])
    assert numbers.shape == (len(sentences), max(map(len, sentences)))
    assert [[vocabulary.words[i - 2] for i in row if i != PADDING] for row in numbers] == sentences


def test_a_vocabulary_without_words_is_refused():
    for empty in (lambda: Vocabulary(()), lambda: Vocabulary.of([]), lambda: Vocabulary.of(TEXTS, min_count=9)):
        with pytest.raises(ValueError, match="vocabulary has no words"):
            empty()
    with pytest.raises(ValueError, match="'no' comes twice"):
        Vocabulary(("no", "yes", "no"))


# --- vectors ----------------------------------------------------------------------------------------------

GLOVE = "the 0.5 -1 2\nno 1 2e-1 3\n. . . 9 9 9\nthe 7 7 7\nwoman of 8 8 8\nélan 1 1 1\n"


@pytest.fixture
def glove(tmp_path):
    def write(content):
        path = tmp_path / "glove.3d.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_vectors_are_read(glove):
    vocabulary = Vocabulary(("the", "woman", "said", "no", "élan"))
    embedding = load_glove(glove(GLOVE), vocabulary, generator())
    assert embedding.vectors.shape == (7, 3)
    # the first of two, none of an entry of two words
    known = torch.tensor([[0.5, -1, 2], [1, 0.2, 3], [1, 1, 1]])
    torch.testing.assert_close(embedding.vectors[[2, 5, 6]], known)
    assert embedding.missing == ("woman", "said")
    assert not embedding.vectors[PADDING].any()
    drawn = embedding.vectors[[UNKNOWN, 3, 4]]
    torch.testing.assert_close(
        drawn, (known.mean() + known.std() * torch.randn(7, 3, generator=generator()))[[1, 3, 4]]
    )


def test_ends_of_lines_do_not_matter(glove):
    vocabulary = Vocabulary(("the", "no"))
    plain = load_glove(glove("the 1 2 3\nno 4 5 6"), vocabulary, generator()).vectors
    assert torch.equal(load_glove(glove("the 1 2 3 \r\nno 4 5 6\r\n"), vocabulary, generator()).vectors, plain)


@pytest.mark.parametrize(
    "content, message",
    [
        ("the 1 2 3\nno 4 5\n", "line 2: 2 numbers after the word, not 3"),
        ("the 1 2 3\n\nno 4 5 6\n", "line 2: 0 numbers"),
        ("the 1 2 3\nno 4 x 6\n", "line 2: could not convert string to float: 'x'"),
        ("the 1 2 3\nno 4 nan 6\n", "line 2: a number is not finite"),
        ("400000 3\nthe 1 2 3\n", "line 1: not a word and its numbers. Delete a header"),
        (b"the 1 2 3\nd\xe9j\xe0 4 5 6\n", "line 2: byte 1 is not UTF-8"),
        ("a 1 2 3\n", "has no word of the vocabulary"),
        ("", "has no word of the vocabulary"),
    ],
)
def test_malformed_files_are_named_with_the_line(glove, content, message):
    with pytest.raises(CorpusError, match=message) as caught:
        load_glove(glove(content), Vocabulary(("the", "no")), generator())
    assert "glove.3d.txt" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"none\.txt: no such file"):
        load_glove(tmp_path / "none.txt", Vocabulary(("no",)), generator())


def test_random_vectors():
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(500)))
    embedding = random_embedding(vocabulary, 40, generator())
    assert embedding.vectors.shape == (502, 40) and embedding.missing == vocabulary.words
    assert not embedding.vectors[PADDING].any()
    assert embedding.vectors[1:].std() == pytest.approx(1, abs=4 / (2 * 501 * 40) ** 0.5)
    assert torch.equal(embedding.vectors, random_embedding(vocabulary, 40, generator()).vectors)
