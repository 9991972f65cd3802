from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
import torch

from uncertain_affect import corpora
from uncertain_affect.corpora import (
    ActionUnits,
    AffectTraces,
    AffectVideos,
    CorpusError,
    Dialogues,
    Expressions,
)


def expressions(**changes) -> Expressions:
    """Five images; the third and the fifth share a group across splits."""
    fields = {
        "images": torch.arange(5 * 4, dtype=torch.uint8).reshape(5, 2, 2),
        "votes": torch.tensor([[3, 0], [1, 2], [0, 3], [2, 2], [0, 3]]),
        "split": np.array(["train", "train", "train", "val", "test"]),
        "names": np.array(["a", "b", "c", "d", "e"]),
        "groups": torch.tensor([0, 1, 2, 3, 2]),
        "classes": ("calm", "glad"),
        "left_out": {"no name": 2},
        "truth": {"glow": torch.arange(5.0)},
    }
    return Expressions(**{**fields, **changes})


def action_units(**changes) -> ActionUnits:
    fields = {
        "images": torch.zeros(3, 1, 2, 2),
        "labels": torch.tensor([[1, 0], [1, -1], [0, 1]]),
        "au_names": ("AU1", "AU2"),
        "subject": np.array(["F001", "F001", "M001"]),
        "fold": torch.tensor([1, 1, 2]),
    }
    return ActionUnits(**{**fields, **changes})


def affect_traces(**changes) -> AffectTraces:
    fields = {
        "inputs": torch.zeros(3, 4),
        "valence_arousal": torch.tensor([[5.0, 5.0], [1.0, 9.0], [2.0, 3.0]]),
        "person": np.array(["P1", "P2", "P1"]),
        "video": np.array(["V1", "V1", "V2"]),
        "time": torch.tensor([0.0, 0.0, 1.0]),
    }
    return AffectTraces(**{**fields, **changes})


def affect_videos(**changes) -> AffectVideos:
    fields = {
        "frames": torch.zeros(3, 3, 2, 2),
        "audio": torch.zeros(3, 7),
        "au": torch.tensor([[1, 0], [-1, -1], [0, 0]]),
        "expression": torch.tensor([-1, 6, 0]),
        "valence_arousal": torch.tensor([[0.5, -1.0], [-5.0, -5.0], [0.0, 0.0]]),
        "video": np.array(["1", "1", "2_left"]),
        "time": torch.tensor([0.0, 0.1, 0.0]),
        "subsets": {"va train": torch.tensor([True, True, False])},
    }
    return AffectVideos(**{**fields, **changes})


def dialogues(**changes) -> Dialogues:
    fields = {
        "turns": np.array(["hello", "hi there", "so"]),
        "speaker": np.array(["A", "B", "A"]),
        "dialogue": np.array(["1", "1", "2"]),
        "start": torch.tensor([0.0, 1.0, 0.0]),
        "end": torch.tensor([1.2, 0.9, 2.0]),
        "targets": {"emotion": torch.tensor([0, 1, 2])},
        "auxiliary": {"rate": torch.zeros(3, 2)},
        "split": np.array(["train", "train", "test"]),
    }
    return Dialogues(**{**fields, **changes})


ALL = [expressions, action_units, affect_traces, affect_videos, dialogues]


# --- every shape ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL)
def test_length_is_that_of_the_first_axis_and_fields_are_frozen(make):
    corpus = make()
    assert len(corpus) == (5 if make is expressions else 3)
    with pytest.raises(FrozenInstanceError):
        corpus.left_out = {}


@pytest.mark.parametrize("make", ALL)
def test_checksum_is_of_the_content(make):
    corpus = make()
    assert corpus.checksum() == make().checksum()
    assert replace(corpus, left_out={"other": 1}).checksum() != corpus.checksum()
    assert len({other().checksum() for other in ALL}) == len(ALL)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("images", torch.zeros(5, 2, 2, dtype=torch.uint8)),
        ("votes", torch.tensor([[3, 0], [1, 2], [0, 3], [2, 2], [1, 2]])),
        ("split", np.array(["train", "train", "train", "val", "val"])),
        ("groups", torch.arange(5)),
        ("classes", ("calm", "sad")),
        ("truth", {"glow": torch.ones(5)}),
    ],
)
def test_checksum_changes_with_each_field(field, value):
    assert expressions(**{field: value}).checksum() != expressions().checksum()


@pytest.mark.parametrize("make", ALL)
def test_truth_is_per_example(make):
    make(truth={"cause": torch.zeros(len(make()), 2)})
    with pytest.raises(ValueError, match=r"truth\['cause'\] must be a Tensor of shape"):
        make(truth={"cause": torch.zeros(9)})


def test_descriptions():
    nothing = pd.NA
    expected = {
        action_units: {
            "fold 1": {"frames": 2, "subjects": 1, "AU1": 2, "AU2": 0, "unknown labels": 1},
            "fold 2": {"frames": 1, "subjects": 1, "AU1": 0, "AU2": 1, "unknown labels": 0},
        },
        affect_traces: {"video V1": {"steps": 2, "people": 2}, "video V2": {"steps": 1, "people": 1}},
        dialogues: {
            "train": {"turns": 2, "dialogues": 1, "speakers": 2},
            "val": {"turns": 0, "dialogues": 0, "speakers": 0},
            "test": {"turns": 1, "dialogues": 1, "speakers": 1},
        },
        expressions: {
            "train": {"images": 3, "groups": 3, "votes": 9, "calm": 1, "glad": 2},
            "val": {"images": 1, "groups": 1, "votes": 4, "calm": 1, "glad": 0},  # a tie: the first class
            "test": {"images": 1, "groups": 1, "votes": 3, "calm": 0, "glad": 1},
            "left out: no name": {"images": 2, **dict.fromkeys(["groups", "votes", "calm", "glad"], nothing)},
        },
    }
    for make, counts in expected.items():
        wanted = pd.DataFrame.from_dict(counts, orient="index").astype("Int64")
        pd.testing.assert_frame_equal(make().describe(), wanted)

    videos = affect_videos().describe()
    assert videos.loc["all"].tolist() == [3, 2, 2, 2, 2]
    assert videos.loc["va train"].tolist() == [2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (
            expressions,
            {"images": torch.zeros(5, 2, 2)},
            "images must have dtype torch.uint8",
        ),
        (
            expressions,
            {"images": torch.zeros(5, 1, 2, 2, dtype=torch.uint8)},
            "images .* \\(5, 1, 2, 2\\)",
        ),
        (expressions, {"votes": torch.zeros(4, 2, dtype=torch.int64)}, "votes .* \\(5, 2\\), not \\(4, 2\\)"),
        (expressions, {"votes": torch.zeros(5, 3, dtype=torch.int64)}, "votes .* \\(5, 2\\), not \\(5, 3\\)"),
        (expressions, {"votes": torch.zeros(5, 2)}, "votes must have dtype"),
        (
            expressions,
            {"votes": torch.tensor([[0, 1]] * 4 + [[2, -1]])},
            "votes must be 0 or more.* \\[4, 1\\]",
        ),
        (expressions, {"split": np.array(["train"] * 4 + ["Test"])}, "split must be one of .*Test"),
        (expressions, {"names": np.arange(5)}, "names must hold strings, not int64"),
        (expressions, {"names": ["a"] * 5}, "names must be a ndarray .* not a list"),
        (expressions, {"groups": torch.zeros(5)}, "groups must have dtype"),
        (
            action_units,
            {"labels": torch.tensor([[1, 0], [1, 9], [0, 1]])},
            "labels must be .*unknown.* \\[1, 1\\]",
        ),
        (action_units, {"fold": torch.tensor([1, 2])}, "fold .* \\(3,\\), not \\(2,\\)"),
        (affect_traces, {"valence_arousal": torch.zeros(3, 3)}, "valence_arousal .* \\(3, 2\\)"),
        (affect_traces, {"valence_arousal": torch.full((3, 2), torch.nan)}, "valence_arousal must be finite"),
        (affect_traces, {"inputs": torch.zeros(3)}, "inputs .* \\(3, any\\), not \\(3,\\)"),
        (
            affect_videos,
            {"valence_arousal": torch.full((3, 2), -2.0)},
            "valence_arousal must be in \\[-1, 1\\]",
        ),
        (affect_videos, {"expression": torch.tensor([-2, 0, 0])}, "expression must be a class"),
        (affect_videos, {"au": torch.full((3, 2), 2)}, "au must be 0, 1 or -1"),
        (affect_videos, {"subsets": {"x": torch.ones(3)}}, "subsets\\['x'\\] must have dtype torch.bool"),
        (affect_videos, {"audio": torch.zeros(2, 7)}, "audio .* \\(3, ...\\), not \\(2, 7\\)"),
        (dialogues, {"end": torch.zeros(2)}, "end .* \\(3,\\), not \\(2,\\)"),
        (dialogues, {"targets": {"emotion": torch.zeros(2)}}, "targets\\['emotion'\\]"),
        (dialogues, {"split": np.array(["train", "dev", "test"])}, "split must be one of .*not \\['dev'\\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(make, changes, message):
    with pytest.raises(ValueError, match=f"{type(make()).__name__}.{message}"):
        make(**changes)


# --- expressions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_subset_takes_the_same_rows_of_every_field(kind):
    corpus = expressions()
    part = corpus.subset(kind([False, True, False, False, True]))
    assert part.images.tolist() == corpus.images[[1, 4]].tolist()
    assert part.votes.tolist() == [[1, 2], [0, 3]]
    assert part.split.tolist() == ["train", "test"]
    assert part.names.tolist() == ["b", "e"]
    assert part.groups.tolist() == [1, 2]
    assert part.truth["glow"].tolist() == [1, 4]
    assert (part.classes, part.left_out) == (corpus.classes, corpus.left_out)


@pytest.mark.parametrize("mask", [np.array([0, 1]), np.array([0, 1, 0, 0, 1]), np.array([True])])
def test_subset_takes_a_mask_of_all_examples_only(mask):
    with pytest.raises(ValueError, match="subset"):
        expressions().subset(mask)


def test_duplicates_of_training_are_those_outside_it():
    assert expressions().duplicates_of_training().tolist() == [False, False, False, False, True]
    corpus = expressions(split=np.array(["val", "test", "val", "train", "test"]))
    assert not corpus.duplicates_of_training().any()  # the shared group has no training image


# --- the door ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", [corpora.load, corpora.is_available])
def test_an_unknown_corpus_is_refused_with_those_known(door, tmp_path):
    with pytest.raises(CorpusError, match=r"no corpus is called 'fer\+'. Known: .*ferplus"):
        door("fer+", tmp_path)


def test_only_the_simulated_world_is_available_in_an_empty_root(tmp_path):
    assert [name for name in corpora.KNOWN if corpora.is_available(name, tmp_path)] == ["simulated"]


def test_the_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_DATA", str(tmp_path))
    with pytest.raises(CorpusError, match=str(tmp_path / "ferplus")):
        corpora.load("ferplus")


def test_an_error_names_file_line_reason_and_cure():
    assert str(CorpusError("odd", path="a.csv", line=3, cure="Mend it")) == "a.csv, line 3: odd. Mend it"
    assert str(CorpusError("odd", path="a.csv")) == "a.csv: odd"
    assert str(CorpusError("odd")) == "odd"
