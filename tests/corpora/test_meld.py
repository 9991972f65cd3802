"""MELD. Sentences are made up; none of the corpus is written or printed here."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, meld, turns
from uncertain_affect.papers.rock import monah

NAN = float("nan")

# A row: text, speaker, emotion, dialogue, utterance, start, end. What is odd in the real one is here in small: numbers
# passed over, overlaps, a turn of no length, one of five minutes, a cut to another scene, hours of one digit, a
# fraction of two; and rows that are not in order.
TRAIN = [
    ("A kettle sings.", "Ross", "neutral", 10, 0, "00:00:05,000", "00:00:06,000"),
    ("Oh, a blue teapot!", "Ross", "surprise", 2, 0, "00:01:00,000", "00:01:02,000"),
    ("It isn't yours.", "Monica", "anger", 2, 1, "00:01:01,500", "00:01:03,000"),
    ("?!", "Ross", "fear", 2, 2, "00:01:03,250", "00:01:04,25"),
    ("Take the cups then.", "Monica", "joy", 2, 5, "0:01:10,000", "0:01:12,000"),
    ("I will.", "Ross", "sadness", 2, 6, "0:03:00,000", "0:03:01,000"),
    ("Together we drink tea.", "Ross and Rachel", "joy", 3, 1, "00:10:00,000", "00:10:02,000"),
    ("Cups at sixty miles an hour.", "Joey/Drake", "disgust", 3, 2, "00:10:03,000", "00:10:03,000"),
    ("Tea.", "Ross", "neutral", 3, 3, "00:10:03,000", "00:15:10,000"),
    ("Still tea.", "Old Waiter", "neutral", 3, 4, "00:10:04,000", "00:10:05,000"),
]
VAL = [
    ("Sugar?", "All", "neutral", 0, 0, "00:00:01,000", "00:00:02,000"),
    ("No.", "Ross", "anger", 0, 1, "00:00:02,100", "00:00:02,600"),
]
TEST = [
    ("Milk?", "Ross", "joy", 0, 0, "00:00:01,000", "00:00:01,500"),
    ("Please.", "Phoebe Sr", "joy", 0, 1, "00:00:01,900", "00:00:02,400"),
    ("More?", "Ross and Joey", "neutral", 0, 2, "00:00:03,000", "00:00:04,000"),
]
PARTS = {"train": TRAIN, "val": VAL, "test": TEST}


def write(root, parts=PARTS):
    (root / "meld").mkdir(exist_ok=True)
    for split, rows in parts.items():
        cells = [[i, *row[:3], "neutral", *row[3:5], 1, 1, *row[5:]] for i, row in enumerate(rows, start=1)]
        with (root / "meld" / meld.FILES[split]).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([meld.HEADER, *cells])


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with the small corpus, which is taken to be the published one."""
    write(tmp_path)
    monkeypatch.setattr(meld, "PUBLISHED", {"train": (10, 3), "val": (2, 1), "test": (3, 1)})
    return tmp_path


def edit(root, row, column, value):
    rows = [list(r) for r in TRAIN]
    rows[row][column] = value
    write(root, {"train": rows})


def load_fails(root, message, line=None):
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("meld", root)
    assert caught.value.path is not None
    assert "data get meld" in caught.value.cure
    assert caught.value.line == line


def train(corpus, values):
    return values[corpus.split == "train"]


def test_turns_are_read_in_the_order_of_dialogue_and_utterance_numbers_and_counted(root):
    corpus = corpora.load("meld", root)
    rows = TRAIN[1:] + TRAIN[:1] + VAL + TEST
    assert corpus.turns.tolist() == [row[0] for row in rows]
    assert corpus.speaker.tolist() == [row[1] for row in rows]
    assert corpus.split.tolist() == ["train"] * 10 + ["val"] * 2 + ["test"] * 3
    # dialogue 0 of two files are two dialogues, and 10 comes after 2 and 3
    lengths = {"train_2": 5, "train_3": 4, "train_10": 1, "val_0": 2, "test_0": 3}
    assert corpus.dialogue.tolist() == [name for name, n in lengths.items() for _ in range(n)]
    assert train(corpus, corpus.start).tolist() == [60, 61.5, 63.25, 70, 180, 600, 603, 603, 604, 5]
    assert train(corpus, corpus.end).tolist() == [62, 63, 64.25, 72, 181, 602, 603, 910, 605, 6]
    # of emotions other than the four no label is left, and none is shifted
    four = {"anger": 0, "joy": 1, "neutral": 2, "sadness": 3}
    assert corpus.targets["emotion"].tolist() == [four.get(row[2], -1) for row in rows]
    # 3 and 4 of dialogue 2, 0 of dialogue 3
    assert corpus.left_out == {"utterance number in no file": 3}
    table = corpora.check("meld", root)
    assert table.loc["utterances and dialogues of train"].tolist() == ["10, 3", "10, 3", True]
    assert table.loc["of the four classes in train"].tolist() == ["8,245", "7", False]
    assert table.loc["kept: no target: context alone", "found"] == "3"


def test_duration_rate_and_delay_by_hand(root):
    corpus = corpora.load("meld", root)
    timing = {name: train(corpus, values).numpy() for name, values in corpus.auxiliary.items()}
    assert tuple(timing) == turns.TIMING
    # no length; more than a minute
    np.testing.assert_allclose(timing["duration"], [2, 1.5, 1, 2, 1, 2, NAN, NAN, 1, 1])
    # 4 words in 2 s, 3 in 1.5 s ("isnt" is one), none, 4 in 2 s, 2 in 1 s, 4 in 2 s, -, -, 2 in 1 s, 3 in 1 s
    np.testing.assert_allclose(timing["rate"], [120, 120, NAN, 120, 120, 120, NAN, NAN, 120, 180])
    # first; overlap; .25 s; numbers passed over; 108 s; first; no length; after it; after five minutes; first
    np.testing.assert_allclose(timing["delay"], [NAN, -0.5, 0.25, NAN, NAN, NAN, NAN, NAN, NAN, NAN])


def test_odd_turns_are_found_and_kept(root):
    edit(root, 9, 6, "00:10:03,000")  # now it ends before it starts
    corpus = corpora.load("meld", root)
    odd = {reason: mask.nonzero().squeeze(1).tolist() for reason, mask in meld.irregular(corpus).items()}
    assert odd == {
        "no target: context alone": [0, 2, 6],
        "no words": [2],
        "ends before it starts": [8],
        "no length": [6],
        "longer than 60 s": [7],
        "starts before the turn before": [],
        "starts before the turn before ends": [1, 8],
    }
    assert len(corpus) == 15
    assert corpus.end[8] - corpus.start[8] == -1
    assert all(corpus.auxiliary[name][8].isnan() for name in turns.TIMING)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 9_000)), min_size=2, max_size=6))
def test_delays_add_up(times):
    """Through consecutive turns, durations and delays add up to the time from the first start to the last end."""
    start, length = np.array(times).T / 1000
    table = pd.DataFrame({"words": "a b", "start": start, "end": start + length})
    timing = turns.timing(table, np.arange(len(times)) > 0)
    total = timing["duration"].sum() + timing["delay"][1:].sum()
    assert total.item() == pytest.approx(start[-1] + length[-1] - start[0], abs=1e-3)


SIGNS = "a “cup” – or ‘two’ — isn’t café… ó"


def write_text(root, content: bytes):
    path = root / "meld" / meld.FILES["val"]
    path.write_bytes(path.read_bytes().replace(b"Sugar?", content))


@pytest.mark.parametrize(
    ("content", "absent"),
    [
        (SIGNS.encode("utf-8"), ""),
        (SIGNS.encode("cp1252"), ""),  # single bytes
        (SIGNS.encode("cp1252").decode("latin-1").encode("utf-8"), ""),  # control characters
        (SIGNS.encode("utf-8").decode("latin-1").encode("utf-8"), ""),  # read a second time, as Latin-1
        # read as code page 1252; ” has a byte that it lacks, so that no such copy can have it as a sign
        (SIGNS.replace("”", "").encode("utf-8").decode("cp1252").encode("utf-8"), "”"),
    ],
)
def test_text_in_a_windows_code_page_is_put_right(root, content, absent):
    write_text(root, content)
    assert corpora.load("meld", root).turns[10] == SIGNS.replace(absent, "")


@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30))
@example("CAFÉ… Ç’est là")
def test_text_that_is_right_stays_as_it_is(text):
    line = (text + "“‘—").encode()
    if not meld._MISREAD_PATTERN.search(text):
        assert meld._File(None).decoded(line.decode(), 1) == text + "“‘—"


def test_what_is_no_text_in_either_code_is_refused(root):
    write_text(root, b"\x81\xff")
    load_fails(root, "dev_sent_emo.csv, line 2: neither UTF-8 nor code page 1252", line=2)


def test_a_byte_order_mark_blank_lines_unix_lines_and_another_order_of_columns_do_no_harm(root):
    first = corpora.load("meld", root).checksum()
    for name in meld.FILES.values():
        path = root / "meld" / name
        rows = list(csv.reader(path.open(newline="")))
        lines = [",".join(f'"{cell}"' for cell in row[::-1]) for row in rows]
        path.write_bytes(b"\xef\xbb\xbf" + "\n\n".join(lines).encode() + b"\n\n")
    assert corpora.load("meld", root).checksum() == first


def test_it_is_available_only_with_all_three_files(root):
    assert corpora.is_available("meld", root)
    (root / "meld" / "dev_sent_emo.csv").unlink()
    assert not corpora.is_available("meld", root)
    load_fails(root, r"dev_sent_emo.csv: no such file. Fetch")


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (1, 1, " ", "nobody is named as Speaker"),
        (1, 2, "bored", "the Emotion 'bored' is none of anger, joy"),
        (1, 3, "x", "the Dialogue_ID 'x' is no whole number"),
        (1, 4, "-1", "the Utterance_ID '-1' is no whole number"),
        (1, 4, "1.0", "the Utterance_ID '1.0' is no whole number"),
        (1, 5, "00:61:00,000", "the StartTime '00:61:00,000' is no HH:MM:SS,mmm"),
        (1, 6, "00:01:02.000", "the EndTime '00:01:02.000' is no"),
        (1, 6, "", "the EndTime '' is no"),
        (3, 4, 1, r"dialogue and utterance \(2, 1\) stands there a second time, after line 4"),
    ],
)
def test_a_cell_that_cannot_be_is_refused_with_its_line(root, row, column, value, message):
    edit(root, row, column, value)
    load_fails(root, f"train_sent_emo.csv, line {row + 2}: {message}", line=row + 2)


def test_a_file_that_was_cut_is_refused(root):
    write(root, {"train": TRAIN[:-1]})
    load_fails(root, "train_sent_emo.csv: 9 utterances in 3 dialogues, where 10 in 3 were published")
    path = root / "meld" / "train_sent_emo.csv"
    path.write_bytes(path.read_bytes()[:-5])
    load_fails(root, "line 10: unexpected end of data", line=10)


def test_a_turn_without_text_is_one_without_words(root):
    edit(root, 1, 0, "")
    corpus = corpora.load("meld", root)
    assert meld.irregular(corpus)["no words"].tolist()[:3] == [True, False, True]
    assert corpus.auxiliary["rate"][0].isnan()
    assert corpus.auxiliary["duration"][0] == 2


def test_a_lead_speaks_alone_with_others_or_in_a_role():
    speaker = np.array(["Ross", "Ross and Rachel", "Joey/Drake", "All", "Phoebe Sr", "Fake Monica", "Old Waiter"])
    spoken = {lead: meld.speaks(speaker, lead).nonzero()[0].tolist() for lead in meld.LEADS}
    assert spoken == {lead: [3] for lead in meld.LEADS} | {"Joey": [2, 3], "Rachel": [1, 3], "Ross": [0, 1, 3]}


def test_without_a_lead_no_label_of_theirs_is_left_and_only_theirs_are_tested(root):
    corpus = corpora.load("meld", root)
    kept = meld.leave_one_lead_out(corpus)
    assert list(kept) == list(meld.LEADS)
    left = kept["Ross"].targets["emotion"] >= 0
    speakers = [corpus.speaker[(corpus.split == split) & left.numpy()].tolist() for split in ("train", "val", "test")]
    assert speakers == [["Monica", "Monica", "Old Waiter"], [], ["Ross"]]
    # labels that are left are what they were, and the turns are all there
    assert torch.equal(kept["Ross"].targets["emotion"][left], corpus.targets["emotion"][left])
    assert kept["Ross"].turns.tolist() == corpus.turns.tolist()


def test_a_dialogue_is_narrated_with_delay_and_without_actions_and_tones(root):
    corpus = corpora.load("meld", root)
    turns = meld.talkturns(corpus, "train_2")
    assert turns.tones is None
    assert turns.actions is None
    assert monah.narrate(turns, meld.nouns(corpus)) == [
        "the man said oh a blue teapot.",
        "the woman said it isnt yours.",
        "after two hundred milliseconds the man said.",
        "after more than twelve hundred milliseconds the woman said take the cups then.",
        "after more than twelve hundred milliseconds the man said i will.",
    ]
    # the end of an endless turn is unknown, and a guest is a person
    turns = meld.talkturns(corpus, "train_3")
    np.testing.assert_array_equal(turns.end, [602, 603, NAN, 605])
    assert monah.narrate(turns, meld.nouns(corpus))[3] == "the person said still tea."
