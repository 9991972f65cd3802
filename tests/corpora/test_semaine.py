"""SEMAINE. Sentences are made up; none of the corpus is written or printed here."""

import numpy as np
import pytest
import torch
import trees
import trees_semaine
from trees_semaine import RECORDINGS

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, reading, semaine
from uncertain_affect.papers import rock

PLACE = "semaine/Sessions/2"  # Poppy of the first recording
XML = f"{PLACE}/session.xml"
USER, OPERATOR = (f"{PLACE}/wordLevel_alignedTranscript_2_{role}" for role in ("user", "operator"))
VALENCE = f"{PLACE}/R1S2TUCPoDV.txt"
FIRST = f"{trees_semaine.trace(2, 1, 'V', 900)[0]:.6f}"  # value of that trace
SOUND = f"{PLACE}/2008.12.05.16.03.15_User HeadMounted_Poppy.wav"


@pytest.fixture(scope="module")
def whole():
    return trees_semaine.files()


@pytest.fixture
def root(tmp_path, whole):
    return trees.write(tmp_path, whole)


def test_folders_of_one_time_stamp_are_one_recording(root):
    corpus = corpora.load("semaine", root)
    dialogues = list(dict.fromkeys(corpus.dialogue.tolist()))
    assert dialogues == [
        f"{recording}_{number}_{character.lower()}"
        for number, (recording, character) in trees_semaine.numbers().items()
    ]
    split = dict(zip(corpus.dialogue.tolist(), corpus.split.tolist(), strict=True))
    assert {name.split("_")[0]: part for name, part in split.items()} == RECORDINGS


def test_turns_of_both_speakers_in_order_of_time_without_empty_ones(root):
    corpus = corpora.load("semaine", root)
    here = corpus.dialogue == "2008.12.05.16.03.15_2_poppy"
    assert corpus.speaker[here].tolist() == ["1", "90", "90", "1", "90", "1", "90"]
    assert set(corpus.turns.tolist()) == {"WELL TEA,"}  # tags are no words
    np.testing.assert_allclose(corpus.start[torch.from_numpy(here)], [0.2, 2.2, 6.2, 8.2, 10.2, 12.2, 14.2])
    np.testing.assert_allclose(
        corpus.end[torch.from_numpy(here)], np.array([0.2, 2.2, 6.2, 8.2, 10.2, 12.2, 14.2]) + 1.5
    )
    assert corpus.left_out["turn without a word"] == 6


@pytest.mark.parametrize("letter", "AVPI")
def test_a_label_is_the_mean_of_the_raters_mean_over_the_turn(root, letter):
    corpus = corpora.load("semaine", root)
    here = (corpus.dialogue == "2008.12.05.16.03.15_3_spike") & (corpus.speaker == "1")
    raters = trees_semaine.RATERS[letter]
    n = 900 - (5 if 2 in raters else 0)
    mean = np.mean([trees_semaine.trace(3, rater, letter, n) for rater in raters], axis=0)
    wanted = [mean[round(start / 0.02) : round((start + 1.5) / 0.02) + 1].mean() for start in (0.3, 8.3, 12.3)]
    measured = corpus.targets[semaine.DIMENSIONS[letter]][torch.from_numpy(here)]
    np.testing.assert_allclose(measured, wanted, rtol=1e-5)


def test_operators_are_context_without_labels(root):
    corpus = corpora.load("semaine", root)
    operator = torch.from_numpy(corpus.speaker == "90")
    for values in corpus.targets.values():
        assert values[operator].isnan().all()
        assert values[~operator].isfinite().all()


def test_files_of_other_dimensions_are_not_taken_for_intensity_or_activation(root):
    names = ["DA", "DI", "DV", "DP"]
    assert all(semaine.TRACE.fullmatch(f"R12S3TUCOb2{name}.txt") for name in names)
    for name in ("DAm", "DAn", "DAgre", "DIn", "DE", "DFr", "DAA"):
        assert not semaine.TRACE.fullmatch(f"R1S3TUCOb{name}.txt")
    assert not semaine.TRACE.fullmatch("R1S3TOCObDA.txt")  # the operator's
    corpus = corpora.load("semaine", root)
    assert corpus.targets["activation"].nan_to_num(0).max() < 0.71  # theirs is .999


def test_raters_are_cut_to_the_shortest_and_both_numbers_are_reported(root):
    left_out = corpora.load("semaine", root).left_out
    # 6 folders, 3 dimensions whose second rater stops 5 samples early
    assert left_out["trace sample after the shortest trace"] == 6 * 3 * 5
    assert left_out["trace sample that is missing to the longest of its folder"] == 6 * 3 * 5


def test_a_turn_after_the_end_of_the_traces_has_no_label(root, whole):
    tree = trees.replaced(whole, USER, "12200 12500", "912200 912500")
    tree = trees.replaced(tree, USER, "12500 12840", "912500 912840")
    trees.write(root, {USER: trees.replaced(tree, USER, "12900 13700", "912900 913700")[USER]})
    corpus = corpora.load("semaine", root)
    last = np.flatnonzero(corpus.dialogue == "2008.12.05.16.03.15_2_poppy")[-1]
    assert corpus.start[last] == 912.2
    assert all(values[last].isnan() for values in corpus.targets.values())


def test_what_is_no_talk_is_counted(root):
    left_out = corpora.load("semaine", root).left_out
    assert left_out["folder: no talk with a character"] == 3
    assert left_out["folder: the recording is in no partition"] == 1
    assert left_out["folder: no words of the user"] == 1
    assert left_out["folder: nobody traced the user"] == 1


def test_the_recording_that_is_printed_twice_is_reported(root):
    assert semaine.PARTITION[semaine.TWICE] == "val"
    assert len(semaine.PARTITION) == 21
    table = corpora.check("semaine", root)
    row = table.loc[f"turns of {semaine.TWICE} (printed in two partitions)"]
    assert row.tolist() == ["404 in Dev or 440 in Test in Table 5", "14 in val", True]
    assert table.loc["turns of 2009.01.30.12.00.35"].tolist() == ["404 in Train in Table 5", "0 in train", False]
    assert table.loc["speakers in two partitions", "found"] == "1"  # the operator


def test_narratives_and_targets_are_ready_for_the_protocol(root):
    corpus = corpora.load("semaine", root)
    assert rock.narratives(corpus, "semaine")[0] == "the person said well tea."
    wanted = rock.targets(corpus, "semaine", "valence")
    assert "".join(dict.fromkeys(task.family for task in wanted.tasks[1:])) == "thf"
    assert {split: len(rows) for split, rows in wanted.rows.items()} == {"train": 6, "val": 6, "test": 6}


@pytest.mark.parametrize("change", trees.HARMLESS.values(), ids=list(trees.HARMLESS))
def test_other_line_ends_and_a_mark_change_nothing(tmp_path, root, whole, change):
    changed = {name: change(content) for name, content in whole.items()}
    other = corpora.load("semaine", trees.write(tmp_path / "changed", changed))
    assert other.checksum() == corpora.load("semaine", root).checksum()


def test_the_folder_of_the_owners_is_found_too(tmp_path, whole):
    root = trees.write(tmp_path, {name.removeprefix("semaine/"): content for name, content in whole.items()})
    assert corpora.is_available("semaine", root)
    assert len(corpora.load("semaine", root)) == 42


MALFORMED = {  # file, old, new, message, line
    "out of range": (VALENCE, "0.04 -0.", "0.04 -1.", "the value is -1.*, not from -1 to 1", 3),
    "nan": (VALENCE, "0.00 ", "0.00 nan\n9 ", "the value is 'nan', no number", 1),
    "a gap": (VALENCE, "\n0.06 ", "\n0.08 ", "0.08 s after 0.04 s", 5),
    "a time twice": (VALENCE, "\n0.06 ", "\n0.04 ", "0.04 s after 0.04 s", 5),
    "a late begin": (VALENCE, "0.00 ", "\n", "'-0.* is not time and value", 2),
    "wrong delimiter": (VALENCE, "0.00 ", "0.00;", "is not time and value", 1),
    "swapped columns": (VALENCE, f"0.00 {FIRST}", f"{FIRST} 0.00", f"the time is {FIRST}, not from 0", 1),
    "three columns": (VALENCE, "0.00 ", "0.00 0.1 ", "is not time and value", 1),
    "no end of a turn": (USER, "TEA,\n.\n", "TEA,\n", "turn 0 has no end", 5),
    "no begin of a turn": (USER, "---recording 2 turn 2---\n", "", "'.' belongs to no turn", 6),
    "no end of the last turn": (USER, "13700 TEA,\n.", "13700 TEA,", "turn 6 has no end", None),
    "a turn twice": (USER, "turn 4---", "turn 0---", "turn 0 stands there a second time, after line 1", 8),
    "a word backwards": (USER, "200 500", "500 200", "a word that ends before it starts", 2),
    "words out of order": (USER, "500 840", "100 840", "starts before the one before", 3),
    "a word twice": (USER, "200 500 WELL", "200 500 WELL\n200 500 WELL", "is twice there", 3),
    "a word without times": (USER, "200 500 WELL", "WELL", "'WELL' is not start, end and word", 2),
    "another character": (XML, "Poppy", "Spike", "a trace of session 2, poppy, in the folder of 2, spike", None),
    "no such character": (XML, "Poppy", "Peppy", "the character is 'peppy'", 1),
    "two users": (XML, "Operator", "User", "two subjects are user", 1),
    "no id": (XML, 'id="1"', 'id=""', "a subject without an id", 1),
    "no operator": (XML, '<subject role="Operator" id="90"/>', "", "not one user and one operator", 1),
    "a path that leads out": (XML, "R1S2TUCPoDA", "../../R1S2TUCPoDA", "is no name of a file in this folder", 1),
    "an absolute path": (XML, "R1S2TUCPoDA.txt", "/etc/passwd", "is no name of a file in this folder", 1),
    "a drive": (XML, "R1S2TUCPoDA.txt", "C:passwd", "is no name of a file in this folder", 1),
    "not closed": (XML, "</session>", "", "not well-formed XML", 9),
    "an entity of its own": (
        XML, "<session ", '<!DOCTYPE s [<!ENTITY e SYSTEM "file:///etc/passwd">]><session ', "declares a document", 1,
    ),
    "entities that grow": (
        XML, "<session ", '<!DOCTYPE s [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><session ', "declares a document type", 1,
    ),
    "an unknown encoding": (XML, "UTF-8", "klingon", "not (well-formed XML|XML that can be read)", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(root, whole, case):
    file, old, new, message, line = MALFORMED[case]
    trees.write(root, {file: trees.replaced(whole, file, old, new)[file]})
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("semaine", root)
    assert caught.value.line == line or line is None
    assert str(caught.value.path).startswith(str(root / PLACE))


@pytest.mark.parametrize("file", [XML, VALENCE, USER])
@pytest.mark.parametrize("change", trees.ANYWHERE.values(), ids=list(trees.ANYWHERE))
def test_malformed_anywhere(root, whole, file, change):
    alter, message = change
    trees.write(root, {file: alter(whole[file])})
    if file == XML and alter(b"<a/>").startswith(b"\xff\xfe"):
        return  # XML in UTF-16 that says so is XML
    if file == USER and not alter(whole[file]).strip():
        assert corpora.load("semaine", root).left_out["folder: no words of the user"] == 2
        return
    with pytest.raises(CorpusError, match=f"{message}|not well-formed XML") as caught:
        corpora.load("semaine", root)
    assert str(caught.value.path).endswith(file)


@pytest.mark.parametrize("put", trees.IN_ITS_PLACE, ids=lambda put: put.__name__)
@pytest.mark.parametrize("file", [XML, VALENCE, USER])
def test_something_else_in_a_files_place(root, file, put):
    put(root / file)
    if put is trees.unreadable and not trees.is_unreadable(root / file):
        pytest.skip("this user may read everything")
    if put is trees.nothing and file != XML:
        # another rater is there; without words of the user the folder is left out, and counted
        counts = corpora.load("semaine", root).left_out
        assert counts["folder: no words of the user"] == (2 if file == USER else 1)
        return
    with pytest.raises(CorpusError, match=trees.IN_ITS_PLACE[put]) as caught:
        corpora.load("semaine", root)
    assert str(caught.value.path).endswith(file)


def test_sounds_of_two_recordings_in_one_folder_and_of_none(root):
    (root / PLACE / "2009.01.30.12.00.35_User HeadMounted_Poppy.wav").touch()
    with pytest.raises(CorpusError, match=r"2008.12.05.16.03.15 and 2009.01.30.12.00.35 are both the time stamp"):
        corpora.load("semaine", root)
    for path in (root / PLACE).glob("*.wav"):
        path.unlink()
    with pytest.raises(CorpusError, match="no sound of a head-mounted microphone tells"):
        corpora.load("semaine", root)


def test_a_second_transcript_or_trace_of_the_same_is_refused(root, whole):
    trees.write(root, {f"{PLACE}/A1R2TUCPo2DV.txt": whole[VALENCE]})
    with pytest.raises(CorpusError, match="a second trace of valence by rater 1"):
        corpora.load("semaine", root)
    trees.write(root, {f"{PLACE}/wordLevel_alignedTranscript_3_user": whole[USER]})
    with pytest.raises(CorpusError, match="a second transcript of the user"):
        corpora.load("semaine", root)


def test_a_file_that_session_xml_names_may_not_be_a_link_out_of_its_folder(root, tmp_path, whole):
    (tmp_path / "secret.txt").write_text("0.00 0.5\n")
    trace = root / f"{PLACE}/R1S2TUCPoDA.txt"
    trace.unlink()
    trace.symlink_to(tmp_path / "secret.txt")
    with pytest.raises(CorpusError, match="is a link to a file outside this folder"):
        corpora.load("semaine", root)
    with pytest.raises(CorpusError, match="no name of a file"):
        reading.named(root, "a/../../b", trace, 1, "")


def test_every_row_dropped_or_doubled_is_reported(tmp_path):
    """Of traces, and of the words and marks of turns as far as a file can tell; 1,000 times."""
    whole = {name: content for name, content in trees_semaine.files(turns=1).items() if name.startswith(f"{PLACE}/")}
    root = trees.write(tmp_path, whole)
    usual = corpora.load("semaine", root).left_out
    sources = {name: whole[name] for name in (VALENCE, f"{PLACE}/R6S2TUCPoDI.txt", USER, OPERATOR)}
    for file, change, content in trees.planted(sources, rows_of=rows):
        (root / file).write_bytes(content)
        try:
            reported = corpora.load("semaine", root).left_out != usual
        except CorpusError as error:
            reported = str(error.path).startswith(str(root / PLACE)) and error.line is not None
        # a word that is not there leaves no gap in its file; no label is touched by it
        a_word = change is trees.without_row and content.count(b"recording") == whole[file].count(b"recording")
        assert reported or (a_word and file in (USER, OPERATOR)), (file, change, content.decode()[:300])
        (root / file).write_bytes(whole[file])


def rows(file, lines):
    """Numbers of the lines that hold something."""
    return [i for i, line in enumerate(lines) if line.strip()]
