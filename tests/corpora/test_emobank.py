"""EmoBank, in small, with sentences of our own."""

import numpy as np
import pytest

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, emobank

# out of order, two kinds of text, a headline, a cell with a comma
ROWS = [
    "Tale_80_99,train,3.2,3.4,3.0,She left.",
    'Tale_0_40,test,2.8,3,3.1,"Rain fell, all night."',
    "SemEval_7,dev,4.0,3.5,3.2,Team wins cup",
    "Tale_9_12,train,1,5,3,No.",
    "Note_1_5,train,3,3,3,Hi.",
]
META = [
    *(f"Tale_{place}\tTale\tfiction\t " for place in ("80_99", "0_40", "9_12")),
    "SemEval_7\tSemEval\tSemEval\t ",
    "Note_1_5\tNote\tletters\tphilanthropic",
    "Gone_0_3\tTale\tfiction\t ",
]


def write(root, rows=ROWS, meta=META):
    (root / "emobank").mkdir(exist_ok=True)
    for name, header, lines in ((emobank.TABLE, emobank.HEADER, rows), (emobank.META, emobank.META_HEADER, meta)):
        separator = "," if name == emobank.TABLE else "\t"
        (root / "emobank" / name).write_text("\n".join([separator.join(header), *lines]) + "\n", encoding="utf-8")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with the small corpus, which is taken to be the published one."""
    write(tmp_path)
    monkeypatch.setattr(emobank, "PUBLISHED", {"sentences": 5, "documents": 3})
    return tmp_path


def test_sentences_come_in_the_order_of_their_documents_with_ratings_and_without_times(root):
    corpus = corpora.load("emobank", root)
    assert corpus.dialogue.tolist() == ["SemEval_7", "Tale", "Tale", "Tale", "Note"]  # by kind of text
    assert corpus.turns.tolist() == ["Team wins cup", "Rain fell, all night.", "No.", "She left.", "Hi."]
    ratings = {"valence": [4, 2.8, 1, 3.2, 3], "activation": [3.5, 3, 5, 3.4, 3], "dominance": [3.2, 3.1, 3, 3, 3]}
    assert corpus.targets.keys() == ratings.keys()
    for name, expected in ratings.items():
        np.testing.assert_allclose(corpus.targets[name], expected, rtol=1e-6)
    assert corpus.start.isnan().all() and corpus.end.isnan().all()
    assert (corpus.auxiliary, corpus.left_out) == ({}, {})
    assert corpora.check("emobank", root).loc["sentences of train"].tolist() == ["6,982", "5", False]


def test_headlines_are_documents_by_themselves(root):
    write(
        root,
        [*ROWS[:2], "SemEval_7,dev,4,3,3,A", "SemEval_8,dev,4,3,3,B", ROWS[4]],
        [*META, "SemEval_8\tSemEval\tSemEval\t "],
    )
    assert np.unique(corpora.load("emobank", root).dialogue).tolist() == ["Note", "SemEval_7", "SemEval_8", "Tale"]


def test_whole_documents_are_shared_out_within_each_kind_of_text_the_largest_first():
    sizes = {"a": {"v": 14, "w": 3, "x": 3}, "b": {"p": 1, "q": 1}}
    names = [(kind, name) for kind, of in sizes.items() for name, n in of.items() for _ in range(n)]
    found = emobank.split_by_document(*zip(*names, strict=True))
    # of 20: 14, 3 and 3. Of 2: 1.4, .3, .3; after the first still .4, .3, .3
    assert found == {"v": "train", "w": "val", "x": "test", "p": "train", "q": "train"}
    shuffled = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    assert emobank.split_by_document(*zip(*shuffled, strict=True)) == found


@pytest.mark.parametrize(
    ("rows", "meta", "message", "file", "line"),
    [
        (["Tale_0_40,train,3,3,6,No."], META, "the D '6' is no number from 1 to 5", "emobank.csv", 2),
        ([ROWS[0], ROWS[0]], META, "sentence Tale_80_99 stands there a second time, after line 2", "emobank.csv", 3),
        (ROWS, META[1:], "meta.tsv does not know the sentence Tale_80_99", "emobank.csv", 2),
        (ROWS, [*META, META[0]], "sentence Tale_80_99 stands there a second time, after line 2", "meta.tsv", 8),
        (ROWS, [*META, "x\ty"], "2 columns where 4 are expected", "meta.tsv", 8),
        (ROWS[:-1], META, "4 sentences, where 5 were published", "emobank.csv", None),
    ],
)  # fmt: skip
def test_a_fault_is_refused_with_file_line_and_cure(root, rows, meta, message, file, line):
    write(root, rows, meta)
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("emobank", root)
    assert (caught.value.path.name, caught.value.line) == (file, line)
    assert "data get emobank" in caught.value.cure


def test_it_is_there_when_both_files_are(root):
    assert corpora.is_available("emobank", root)
    (root / "emobank" / emobank.META).unlink()
    assert not corpora.is_available("emobank", root)
    with pytest.raises(CorpusError, match="no such file"):
        corpora.load("emobank", root)
