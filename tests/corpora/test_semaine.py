"""SEMAINE: what the six licensed corpora have not in common, see `test_licensed`.

Sentences are made up; none of the corpus is written or printed here.
"""

import numpy as np
import pytest
import torch
import trees
import trees_semaine
from licensed import CORPORA
from trees_semaine import RECORDINGS

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, semaine
from uncertain_affect.papers import rock

PLACE = "semaine/Sessions/2"  # Poppy of the first recording
USER = f"{PLACE}/wordLevel_alignedTranscript_2_user"
WHOLE = CORPORA["semaine"].files


@pytest.fixture
def root(tmp_path):
    return trees.write(tmp_path, WHOLE)


def test_folders_of_one_time_stamp_are_one_recording_with_turns_in_order_of_time_and_without_empty_ones(root):
    corpus = corpora.load("semaine", root)
    numbers = trees_semaine.numbers().items()
    names = [f"{recording}_{number}_{character.lower()}" for number, (recording, character) in numbers]
    assert list(dict.fromkeys(corpus.dialogue.tolist())) == names
    split = dict(zip(corpus.dialogue.tolist(), corpus.split.tolist(), strict=True))
    assert {name.split("_")[0]: part for name, part in split.items()} == RECORDINGS
    assert len(semaine.PARTITION) == 21
    assert semaine.PARTITION[semaine.TWICE] == "val"  # printed in two partitions, it counts once
    here = corpus.dialogue == "2008.12.05.16.03.15_2_poppy"
    assert corpus.speaker[here].tolist() == ["1", "90", "90", "1", "90", "1", "90"]
    assert set(corpus.turns.tolist()) == {"WELL TEA,"}  # tags are no words
    start = np.array([0.2, 2.2, 6.2, 8.2, 10.2, 12.2, 14.2])
    np.testing.assert_allclose(corpus.start[torch.from_numpy(here)], start)
    np.testing.assert_allclose(corpus.end[torch.from_numpy(here)], start + 1.5)


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
    # operators are context, without labels
    without = corpus.targets[semaine.DIMENSIONS[letter]].isnan()
    np.testing.assert_array_equal(without, corpus.speaker == "90")


def test_files_of_other_dimensions_are_not_taken_for_intensity_or_activation(root):
    names = ["DA", "DI", "DV", "DP"]
    assert all(semaine.TRACE.fullmatch(f"R12S3TUCOb2{name}.txt") for name in names)
    for name in ("DAm", "DAn", "DAgre", "DIn", "DE", "DFr", "DAA"):
        assert not semaine.TRACE.fullmatch(f"R1S3TUCOb{name}.txt")
    assert not semaine.TRACE.fullmatch("R1S3TOCObDA.txt")  # the operator's
    corpus = corpora.load("semaine", root)
    assert corpus.targets["activation"].nan_to_num(0).max() < 0.71  # theirs is .999


def test_what_is_left_out_is_counted(root):
    assert corpora.load("semaine", root).left_out == {
        "folder: no talk with a character": 3,
        "folder: no words of the user": 1,
        "folder: nobody traced the user": 1,
        "folder: the recording is in no partition": 1,
        "turn without a word": 6,
        semaine.OUT_OF_ORDER: 0,
        # 6 folders, 3 dimensions whose second rater stops 5 samples early
        "trace sample after the shortest trace": 6 * 3 * 5,
        "trace sample that is missing to the longest of its folder": 6 * 3 * 5,
    }
    for content in (b"", b" \n\n"):
        (root / USER).write_bytes(content)
        assert corpora.load("semaine", root).left_out["folder: no words of the user"] == 2


def test_a_download_is_read_whose_traces_name_the_recording_and_not_the_folder(tmp_path):
    """Folders 2 to 5, 8 to 11 and 13 to 15, as they are numbered; two turns and one rater in each."""
    tree, characters = {}, {"Poppy": "Po", "Spike": "Sp", "Prudence": "Pr", "Obadiah": "Ob"}
    for recording, folders in zip(RECORDINGS, (range(2, 6), range(8, 12), range(13, 16)), strict=True):
        for folder, (character, code) in zip(folders, characters.items(), strict=False):
            place, talk = f"semaine/Sessions/{folder}", trees_semaine.recording_number(recording)
            tree[f"{place}/session.xml"] = trees_semaine.session_xml(folder, recording, character, talk)
            tree[f"{place}/{recording}_User HeadMounted_{character}.wav"] = b""
            for role in ("user", "operator"):
                tree[f"{place}/wordLevel_alignedTranscript_{folder}_{role}"] = trees_semaine.words(folder, role, 1)
            tree[f"{place}/R5S{talk}TUC{code}DA.txt"] = trees.text(*(f"{k / 50:.2f} 0.1" for k in range(300)))
    corpus = corpora.load("semaine", trees.write(tmp_path, tree))
    assert len(corpus.turns) == 22 and int(corpus.targets["activation"].isfinite().sum()) == 11


@pytest.mark.parametrize(
    ("old", "new", "words", "start"),
    [
        ("200 500 WELL", "500 200 WELL", "TEA,", 0.5),  # what is left: a laugh, and tea
        ("900 1700 TEA,", "100 1700 TEA,", "WELL", 0.2),
        ("200 500 WELL", "200 500 WELL\n200 500 WELL", "WELL TEA,", 0.2),
    ],
)
def test_a_word_out_of_order_is_counted_and_the_rest_is_read(tmp_path, old, new, words, start):
    corpus = corpora.load("semaine", trees.write(tmp_path, trees.replaced(WHOLE, USER, old, new)))
    assert corpus.left_out[semaine.OUT_OF_ORDER] == 1
    assert (corpus.turns[0], round(float(corpus.start[0]), 3), len(corpus)) == (words, start, 42)


def test_a_turn_after_the_end_of_the_traces_has_no_label(tmp_path):
    tree = trees.replaced(WHOLE, USER, "12200 12500", "912200 912500")
    tree = trees.replaced(tree, USER, "12500 12840", "912500 912840")
    root = trees.write(tmp_path, trees.replaced(tree, USER, "12900 13700", "912900 913700"))
    corpus = corpora.load("semaine", root)
    last = np.flatnonzero(corpus.dialogue == "2008.12.05.16.03.15_2_poppy")[-1]
    assert corpus.start[last] == 912.2
    assert all(values[last].isnan() for values in corpus.targets.values())


def test_narratives_and_targets_are_ready_for_the_protocol(root):
    corpus = corpora.load("semaine", root)
    assert rock.narratives(corpus, "semaine")[0] == "the person said well tea."
    wanted = rock.targets(corpus, "semaine", "valence")
    assert "".join(dict.fromkeys(task.family for task in wanted.tasks[1:])) == "thf"
    assert {split: len(rows) for split, rows in wanted.rows.items()} == {"train": 6, "val": 6, "test": 6}


def test_a_file_that_session_xml_names_may_not_be_a_link_out_of_its_folder(root, tmp_path):
    (tmp_path / "secret.txt").write_text("0.00 0.5\n")
    trace = root / f"{PLACE}/R1S1TUCPoDA.txt"
    trace.unlink()
    trace.symlink_to(tmp_path / "secret.txt")
    with pytest.raises(CorpusError, match="is a link to a file outside this folder"):
        corpora.load("semaine", root)
