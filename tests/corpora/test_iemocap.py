"""IEMOCAP. Sentences are made up; none of the corpus is written or printed here."""

import numpy as np
import pytest
import torch
import trees
import trees_iemocap

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, iemocap, talkturns, tones
from uncertain_affect.papers import rock

PLACE = "iemocap/Session1/dialog"
EVALUATION = f"{PLACE}/EmoEvaluation/Ses01F_impro05a.txt"
TRANSCRIPTION = f"{PLACE}/transcriptions/Ses01F_impro05a.txt"
FIRST = "Ses01F_impro05a_F000"
VALENCE = f"{trees_iemocap.turns(FIRST[:-5])[0]['ratings'][0]:.4f}"  # of the first turn


@pytest.fixture(scope="module")
def whole():
    return trees_iemocap.files()


@pytest.fixture
def root(tmp_path, whole):
    return trees.write(tmp_path, whole)


def expected(dialogue):
    return sorted(trees_iemocap.turns(dialogue), key=lambda turn: turn["start"])


def test_turns_are_in_order_of_time_and_carry_the_labels_of_their_names(root):
    corpus = corpora.load("iemocap", root)
    turns = [(dialogue, turn) for dialogue in sorted(trees_iemocap.DIALOGUES) for turn in expected(dialogue)]
    assert corpus.dialogue.tolist() == [dialogue for dialogue, _ in turns]
    assert corpus.speaker.tolist() == [turn["speaker"] for _, turn in turns]
    assert corpus.turns.tolist() == [turn["text"] for _, turn in turns]
    np.testing.assert_allclose(corpus.start, [turn["start"] for _, turn in turns])
    np.testing.assert_allclose(corpus.end, [turn["end"] for _, turn in turns])
    ratings = torch.stack([corpus.targets[name] for name in ("valence", "activation", "dominance")], 1)
    np.testing.assert_allclose(ratings, [turn["ratings"] for _, turn in turns])
    # files hold F's turns before M's: they were sorted
    assert corpus.speaker[:4].tolist() == ["Ses01F", "Ses01M", "Ses01F", "Ses01M"]


def test_excited_is_happy_and_other_categories_stay_as_context(root):
    corpus = corpora.load("iemocap", root)
    four = {"ang": 0, "hap": 1, "exc": 1, "neu": 2, "sad": 3}
    categories = [t["category"] for dialogue in sorted(trees_iemocap.DIALOGUES) for t in expected(dialogue)]
    assert set(categories) == set(trees_iemocap.CATEGORIES)
    assert corpus.targets["emotion"].tolist() == [four.get(category, -1) for category in categories]
    assert iemocap.EMOTIONS == ("angry", "happy", "neutral", "sad")


def test_sessions_make_the_partition(root):
    corpus = corpora.load("iemocap", root)
    split = {name[4]: part for name, part in zip(corpus.dialogue.tolist(), corpus.split.tolist(), strict=True)}
    assert split == {"1": "train", "2": "train", "3": "train", "4": "val", "5": "test"}
    train, test = (set(corpus.speaker[corpus.split == part].tolist()) for part in ("train", "test"))
    assert not train & test


def test_what_nobody_evaluated_is_counted(root):
    assert corpora.load("iemocap", root).left_out == {
        "transcribed, without an evaluation": 10,
        "transcribed, without a turn's name": 10,
    }


def test_without_tools_timing_is_auxiliary(root):
    corpus = corpora.load("iemocap", root)
    assert tuple(corpus.auxiliary) == ("rate", "duration", "delay")
    first = corpus.dialogue == corpus.dialogue[0]
    duration, delay = (corpus.auxiliary[name][torch.from_numpy(first)].numpy() for name in ("duration", "delay"))
    np.testing.assert_allclose(duration, 2.5, atol=1e-6)
    start = corpus.start[torch.from_numpy(first)].numpy()
    np.testing.assert_allclose(delay, [np.nan, *(start[1:] - start[:-1] - 2.5)], atol=1e-3)
    # seven words in 2.5 s
    assert corpus.auxiliary["rate"][0].item() == pytest.approx(60 * len(corpus.turns[0].split()) / 2.5)


def test_both_tools_give_actions_and_tones(root):
    trees.write(root, trees_iemocap.tones(skip=(3,)) | trees_iemocap.faces())
    corpus = corpora.load("iemocap", root)
    assert set(corpus.auxiliary) == {"AU05", "AU17", "AU20", "AU25", "actions", *talkturns.TONES}
    here = np.flatnonzero(corpus.dialogue == "Ses02M_script01_1")
    happy = corpus.auxiliary["happy"][here]
    assert happy.isnan().nonzero().flatten().tolist() == [2]  # the third turn's voice could not be judged
    np.testing.assert_allclose(happy[[0, 1, 3]], [0.15, 0.20, 0.30])
    actions = corpus.auxiliary["actions"][here]
    assert actions[:, talkturns.ACTIONS.index("dropped jaw")].all()
    # each speaker smiles in every second turn of theirs
    assert actions[:, talkturns.ACTIONS.index("smiled")].tolist() == [False, False, True, True] * 2
    assert ((corpus.auxiliary["AU25"][here] > 2.2) & (corpus.auxiliary["AU25"][here] < 2.8)).all()
    problem = rock.targets(corpus, "iemocap", "valence")
    assert "".join(dict.fromkeys(task.family for task in problem.tasks[1:])) == "aphf"
    assert len(problem.tasks) == 17


def test_narratives_are_told_of_women_and_men(root):
    corpus = corpora.load("iemocap", root)
    told = rock.narratives(corpus, "iemocap")
    assert told[0].startswith("the woman ")
    assert " the man said tea number 0 " in told[1]


def test_check_counts_against_what_was_published(root, monkeypatch):
    table = corpora.check("iemocap", root)
    assert table.loc["turns with ratings"].tolist() == ["10,039", "80", False]
    assert table.loc["turns of the four classes", "expected"] == "5,531"
    what = "ratings that are the mean of their evaluators, without the actors"
    assert table.loc[what].tolist() == ["most", "80 of 80", True]
    # in the small tree each speaker has as many turns as each dialogue
    monkeypatch.setattr(iemocap, "PRINTED", {"Ses01F": 8, "Ses01M": 8})
    table = corpora.check("iemocap", root)
    assert table.loc["letter that gives 8 Ses01F and 8 Ses01M in Table 5", "found"] == "the dialogue and the speaker"


def test_check_tells_by_whose_letter_table_5_counts(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(iemocap, "PRINTED", {"Ses01F": 7, "Ses01M": 8})
    name = f"{PLACE}/EmoEvaluation/Ses01F_impro05a.txt"
    blocks = whole[name].split(b"\n\n")
    # one turn of M less in the dialogue of F
    tree = whole | {name: b"\n\n".join(blocks[:-2]) + b"\n"}
    root = trees.write(tmp_path, tree)
    table = corpora.check("iemocap", root)
    assert table.loc["letter that gives 7 Ses01F and 8 Ses01M in Table 5", "found"] == "the dialogue"


def test_published_counts_add_up():
    assert sum(iemocap.PUBLISHED["classes"].values()) == 5531
    assert sum(iemocap.PUBLISHED["sessions"].values()) == 10039


@pytest.mark.parametrize("change", trees.HARMLESS.values(), ids=list(trees.HARMLESS))
def test_other_line_ends_and_a_mark_change_nothing(tmp_path, root, whole, change):
    changed = {name: change(content) if b"macOS" not in content else content for name, content in whole.items()}
    other = corpora.load("iemocap", trees.write(tmp_path / "changed", changed))
    assert other.checksum() == corpora.load("iemocap", root).checksum()


@pytest.mark.parametrize("folder", ["iemocap/IEMOCAP_full_release", "IEMOCAP_full_release", "."])
def test_the_folder_of_the_owners_is_found_too(tmp_path, root, folder):
    other = trees.write(tmp_path / "other", trees_iemocap.files(folder))
    assert corpora.is_available("iemocap", other)
    assert corpora.load("iemocap", other).checksum() == corpora.load("iemocap", root).checksum()


MALFORMED = {  # file, old, new, message, line
    "category": (EVALUATION, f"{FIRST}\tang", f"{FIRST}\tmad", "the category 'mad' is none of ang", 3),
    "out of range": (EVALUATION, "\t[", "\t[9", "valence is 9.*, not from 0 to 6", 3),
    "nan": (EVALUATION, f"ang\t[{VALENCE}", "ang\t[nan", "is not .start - end., name, category", 3),
    "swapped columns": (EVALUATION, f"{FIRST}\tang", f"ang\t{FIRST}", "is not .start - end., name", 3),
    "wrong delimiter": (EVALUATION, f"\t{FIRST}\t", f" {FIRST} ", "is not .start - end., name", 3),
    "two ratings": (EVALUATION, f"ang\t[{VALENCE}, ", "ang\t[", "is not .start - end., name", 3),
    "ends before it starts": (EVALUATION, "[6.", "[66.", "does not end after it starts", 3),
    "a turn of another dialogue": (EVALUATION, FIRST, "Ses01F_impro06_F000", "is no turn of Ses01F_impro05a", 3),
    "a turn twice": (EVALUATION, "F001\t", "F000\t", "Ses01F_impro05a_F000 stands there a second time", 11),
    "no empty line": (EVALUATION, "\n\n[1", "\n[1", "a turn begins in another", 10),
    "an evaluator twice": (EVALUATION, "C-E3", "C-E2", "evaluator C-E2 is there twice", 5),
    "an evaluator without a turn": (EVALUATION, "\nC-E2", "\n\nC-E2", "evaluator C-E2 belongs to no turn", 5),
    "the header twice": (EVALUATION, "\n\n[", f"\n{trees_iemocap.HEADER}\n[", "the header stands there a second", 2),
    "a stray line": (EVALUATION, "C-E2:", "hello:", "'hello:.* is no line of an evaluation", 4),
    "not transcribed": (TRANSCRIPTION, FIRST, "Ses01F_impro05a_F099", "F000 has no line in transcriptions", 3),
    "transcribed twice": (TRANSCRIPTION, "F001 [", "F000 [", "F000 stands there a second time", 2),
    "transcribed in another": (TRANSCRIPTION, FIRST, "Ses01M_impro05a_F000", "is no turn of Ses01F_impro05a", 1),
    "transcribed without times": (TRANSCRIPTION, f"{FIRST} [", f"{FIRST} (", "F000 has no line in", 3),
    "only a header": (EVALUATION, None, trees_iemocap.HEADER, "no turn is evaluated", 1),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(root, whole, case):
    file, old, new, message, line = MALFORMED[case]
    content = new.encode() if old is None else trees.replaced(whole, file, old, new)[file]
    trees.write(root, {file: content})
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("iemocap", root)
    assert caught.value.line == line
    assert caught.value.path.name == file.rpartition("/")[2]


@pytest.mark.parametrize("file", [EVALUATION, TRANSCRIPTION])
@pytest.mark.parametrize("change", trees.ANYWHERE.values(), ids=list(trees.ANYWHERE))
def test_malformed_anywhere(root, whole, file, change):
    alter, message = change
    trees.write(root, {file: alter(whole[file])})
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("iemocap", root)
    assert str(caught.value.path).endswith(file)


@pytest.mark.parametrize("put", trees.IN_ITS_PLACE, ids=lambda put: put.__name__)
@pytest.mark.parametrize("file", [EVALUATION, TRANSCRIPTION])
def test_something_else_in_a_files_place(root, file, put):
    put(root / file)
    if put is trees.unreadable and not trees.is_unreadable(root / file):
        pytest.skip("this user may read everything")
    message = r"there is no (EmoEvaluation|transcriptions)/" if put is trees.nothing else trees.IN_ITS_PLACE[put]
    with pytest.raises(CorpusError, match=message):
        corpora.load("iemocap", root)


def test_a_missing_session_or_one_of_another_number(root):
    (root / "iemocap/Session3").rename(root / "iemocap/Session9")
    with pytest.raises(CorpusError, match=r"Session3/dialog/EmoEvaluation: no such folder"):
        corpora.load("iemocap", root)
    assert not corpora.is_available("iemocap", root)
    (root / "iemocap/Session2").rename(root / "iemocap/Session3")
    (root / "iemocap/Session9").rename(root / "iemocap/Session2")
    with pytest.raises(CorpusError, match="Ses03F_impro05a is no dialogue of session 2"):
        corpora.load("iemocap", root)


def test_every_row_dropped_or_doubled_is_reported(tmp_path, whole):
    """Of turns and of the words of turns; 1,000 times: an error, or one more of what is left out."""
    root = trees.write(tmp_path, whole)
    usual = corpora.load("iemocap", root).left_out
    sources = {name: whole[name] for name in (EVALUATION, TRANSCRIPTION)}
    for file, _, content in trees.planted(sources, rows_of=rows):
        (root / file).write_bytes(content)
        try:
            reported = corpora.load("iemocap", root).left_out != usual
        except CorpusError as error:
            reported = error.path.name == file.rpartition("/")[2] or "has no line" in error.reason
        assert reported, content.decode()
        (root / file).write_bytes(whole[file])


def rows(file, lines):
    """Numbers of the lines that are a turn, or its words."""
    start = b"[" if "EmoEvaluation" in file else b"Ses"
    return [i for i, line in enumerate(lines) if line.startswith(start)]


# --- tone of voice ------------------------------------------------------------------------------------------------

TONES = "iemocap/" + tones.FILE
TONES_MALFORMED = {  # old, new, message, line
    "another speaker": ("Ses01F,1,", "Ses01M,1,", "turn 1 of Ses01F_impro05a is spoken by Ses01F, not by 'Ses01M'", 2),
    "no such turn": ("Ses01F,1,", "Ses01F,99,", "there is no turn 99", 2),
    "no number": ("Ses01F,1,", "Ses01F,one,", "talkturn no is 'one', no whole number", 2),
    "twice": ("Ses01M,2,", "Ses01F,1,", "turn 1 of Ses01F_impro05a stands there a second time, after line 2", 3),
    "sum": ("0.2,0.1,0.1", "0.2,0.1,0.4", "the five scores sum to 1.3", 2),
    "out of range": ("0.2,0.1,0.1", "-0.2,0.1,0.1", "sadness is -0.2, not from 0 to 1", 2),
    "nan": ("0.2,0.1,0.1", "nan,0.1,0.1", "sadness is 'nan', no number", 2),
    "wrong delimiter": ("0.2,0.1,0.1", "0.2;0.1;0.1", "7 columns where 9", 2),
    "a column less": (",anger,", ",", "the columns are not", 1),
    "an open quote": ("Ses01F_impro05a,", '"Ses01F_impro05a,', "unexpected end of data|columns where", None),
}


@pytest.mark.parametrize("case", TONES_MALFORMED)
def test_malformed_tones(root, case):
    old, new, message, line = TONES_MALFORMED[case]
    tree = trees_iemocap.tones() | trees_iemocap.faces(per_second=1)
    trees.write(root, tree | {TONES: trees.replaced(tree, TONES, old, new)[TONES]})
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("iemocap", root)
    assert caught.value.path.name == tones.FILE
    assert caught.value.line == line or (line is None and caught.value.line)


def test_columns_of_tones_go_by_their_names(root):
    tree = trees_iemocap.tones() | trees_iemocap.faces(per_second=1)
    trees.write(root, tree)
    usual = corpora.load("iemocap", root)
    lines = [line.split(",") for line in tree[TONES].decode().splitlines()]
    swapped = "\n".join(",".join(reversed(cells)) for cells in lines).encode()
    trees.write(root, {TONES: swapped})
    assert corpora.load("iemocap", root).checksum() == usual.checksum()


def test_faces_of_no_dialogue_are_refused(root):
    trees.write(root, trees_iemocap.tones() | {"iemocap/openface/readme.txt": b"hello"})
    with pytest.raises(CorpusError, match=r"openface: no <dialogue>/<speaker>.csv of any turn is there"):
        corpora.load("iemocap", root)
