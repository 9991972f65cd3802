"""IEMOCAP: what the six licensed corpora have not in common, see `test_licensed`.

Sentences are made up; none of the corpus is written or printed here.
"""

import numpy as np
import pytest
import torch
import trees
import trees_iemocap
from licensed import CORPORA

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, iemocap, talkturns, turns
from uncertain_affect.papers import rock

WHOLE = CORPORA["iemocap"].files


@pytest.fixture
def root(tmp_path):
    return trees.write(tmp_path, WHOLE)


def test_turns_are_in_order_of_time_and_carry_the_labels_of_their_names_and_sessions(root):
    in_order = []
    for dialogue in sorted(trees_iemocap.DIALOGUES):
        in_order += sorted(trees_iemocap.turns(dialogue), key=lambda turn: turn["start"])
    corpus = corpora.load("iemocap", root)
    assert corpus.dialogue.tolist() == [turn["name"].rpartition("_")[0] for turn in in_order]
    assert corpus.speaker.tolist() == [turn["speaker"] for turn in in_order]
    assert corpus.turns.tolist() == [turn["text"] for turn in in_order]
    np.testing.assert_allclose(corpus.start, [turn["start"] for turn in in_order])
    np.testing.assert_allclose(corpus.end, [turn["end"] for turn in in_order])
    ratings = torch.stack([corpus.targets[name] for name in ("valence", "activation", "dominance")], 1)
    np.testing.assert_allclose(ratings, [turn["ratings"] for turn in in_order])
    # files hold F's turns before M's: they were sorted
    assert corpus.speaker[:4].tolist() == ["Ses01F", "Ses01M", "Ses01F", "Ses01M"]
    assert corpus.left_out == {"transcribed, without an evaluation": 10, "transcribed, without a turn's name": 10}
    # excited is happy, and other categories stay as context
    four = {"ang": 0, "hap": 1, "exc": 1, "neu": 2, "sad": 3}
    categories = [turn["category"] for turn in in_order]
    assert set(categories) == set(trees_iemocap.CATEGORIES)
    assert corpus.targets["emotion"].tolist() == [four.get(category, -1) for category in categories]
    assert iemocap.EMOTIONS == ("angry", "happy", "neutral", "sad")
    split = {name[4]: part for name, part in zip(corpus.dialogue.tolist(), corpus.split.tolist(), strict=True)}
    assert split == {"1": "train", "2": "train", "3": "train", "4": "val", "5": "test"}
    train, test = (set(corpus.speaker[corpus.split == part].tolist()) for part in ("train", "test"))
    assert not train & test


def test_without_tools_timing_is_auxiliary(root):
    corpus = corpora.load("iemocap", root)
    assert tuple(corpus.auxiliary) == ("rate", "duration", "delay")
    first = torch.from_numpy(corpus.dialogue == corpus.dialogue[0])
    duration, delay = (corpus.auxiliary[name][first].numpy() for name in ("duration", "delay"))
    np.testing.assert_allclose(duration, 2.5, atol=1e-6)
    start = corpus.start[first].numpy()
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
    narratives = rock.narratives(corpora.load("iemocap", root), "iemocap")
    assert narratives[0].startswith("the woman ")
    assert " the man said tea number 0 " in narratives[1]


def test_check_tells_by_whose_letter_table_5_counts(tmp_path, monkeypatch):
    def letter(n, files):
        monkeypatch.setattr(iemocap, "PRINTED", {"Ses01F": n, "Ses01M": 8})
        table = corpora.check("iemocap", trees.write(tmp_path, files))
        return table.loc[f"letter that gives {n} Ses01F and 8 Ses01M in Table 5", "found"]

    assert letter(8, WHOLE) == "the dialogue and the speaker"  # each speaker has as many turns as each dialogue
    name = "iemocap/Session1/dialog/EmoEvaluation/Ses01F_impro05a.txt"
    # one turn of M less in the dialogue of F
    assert letter(7, {name: b"\n\n".join(WHOLE[name].split(b"\n\n")[:-2]) + b"\n"}) == "the dialogue"


def test_published_counts_add_up():
    assert sum(iemocap.PUBLISHED["classes"].values()) == 5531
    assert sum(iemocap.PUBLISHED["sessions"].values()) == 10039


TONES = "iemocap/" + turns.VOKATURI
TOOLS = trees_iemocap.tones() | trees_iemocap.faces(per_second=1)
TONES_MALFORMED = {  # old, new, message, line
    "another speaker": ("Ses01F,1,", "Ses01M,1,", "'Ses01F_impro05a', 1. is spoken by Ses01F, not by Ses01M", 2),
    "no such turn": ("Ses01F,1,", "Ses01F,99,", "there is no turn .'Ses01F_impro05a', 99", 2),
    "no number": ("Ses01F,1,", "Ses01F,one,", "the talkturn no 'one' is no whole number", 2),
    "twice": ("Ses01M,2,", "Ses01F,1,", "turn .'Ses01F_impro05a', 1. stands there a second time, after line 2", 3),
    "sum": ("0.2,0.1,0.1", "0.2,0.1,0.4", "the five scores sum to 1.3", 2),
    "wrong delimiter": ("0.2,0.1,0.1", "0.2;0.1;0.1", "7 columns where 9", 2),
    "an open quote": ("Ses01F_impro05a,", '"Ses01F_impro05a,', "unexpected end of data", 81),
}


@pytest.mark.parametrize("case", TONES_MALFORMED)
def test_malformed_tones(root, case):
    old, new, message, line = TONES_MALFORMED[case]
    trees.write(root, trees.replaced(TOOLS, TONES, old, new))
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("iemocap", root)
    assert (caught.value.path.name, caught.value.line) == (turns.VOKATURI, line)


def test_columns_of_tones_go_by_their_names(root):
    usual = corpora.load("iemocap", trees.write(root, TOOLS))
    lines = [line.split(",") for line in TOOLS[TONES].decode().splitlines()]
    trees.write(root, {TONES: trees.text(*(",".join(reversed(cells)) for cells in lines))})
    assert corpora.load("iemocap", root).checksum() == usual.checksum()


def test_faces_of_no_dialogue_are_refused(root):
    trees.write(root, {TONES: TOOLS[TONES], "iemocap/openface/readme.txt": b"hello"})
    with pytest.raises(CorpusError, match=r"openface: no <dialogue>/<speaker>.csv of any turn is there"):
        corpora.load("iemocap", root)
