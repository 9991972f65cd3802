from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
import torch

from uncertain_affect import corpora
from uncertain_affect.corpora import ActionUnits, AffectTraces, AffectVideos, CorpusError, Dialogues, Expressions

FIELDS = {
    Expressions: {  # five images; the third and the fifth share a group across splits
        "images": torch.arange(5 * 4, dtype=torch.uint8).reshape(5, 2, 2),
        "votes": torch.tensor([[3, 0], [1, 2], [0, 3], [2, 2], [0, 3]]),
        "split": np.array(["train", "train", "train", "val", "test"]),
        "names": np.array(["a", "b", "c", "d", "e"]),
        "groups": torch.tensor([0, 1, 2, 3, 2]),
        "classes": ("calm", "glad"),
        "left_out": {"no name": 2},
        "truth": {"glow": torch.arange(5.0)},
    },
    ActionUnits: {
        "images": torch.zeros(3, 1, 2, 2),
        "labels": torch.tensor([[1, 0], [1, -1], [0, 1]]),
        "au_names": ("AU1", "AU2"),
        "subject": np.array(["F001", "F001", "M001"]),
        "fold": torch.tensor([1, 1, 2]),
    },
    AffectTraces: {
        "inputs": torch.zeros(3, 4),
        "valence_arousal": torch.tensor([[5.0, 5.0], [1.0, 9.0], [2.0, 3.0]]),
        "person": np.array(["P1", "P2", "P1"]),
        "video": np.array(["V1", "V1", "V2"]),
        "time": torch.tensor([0.0, 0.0, 1.0]),
    },
    AffectVideos: {
        "frames": torch.zeros(3, 3, 2, 2),
        "audio": torch.zeros(3, 7),
        "au": torch.tensor([[1, 0], [-1, -1], [0, 0]]),
        "expression": torch.tensor([-1, 6, 0]),
        "valence_arousal": torch.tensor([[0.5, -1.0], [-5.0, -5.0], [0.0, 0.0]]),
        "video": np.array(["1", "1", "2_left"]),
        "time": torch.tensor([0.0, 0.1, 0.0]),
        "subsets": {"va train": torch.tensor([True, True, False])},
    },
    Dialogues: {
        "turns": np.array(["hello", "hi there", "so"]),
        "speaker": np.array(["A", "B", "A"]),
        "dialogue": np.array(["1", "1", "2"]),
        "start": torch.tensor([0.0, 1.0, 0.0]),
        "end": torch.tensor([1.2, 0.9, 2.0]),
        "targets": {"emotion": torch.tensor([0, 1, 2])},
        "auxiliary": {"rate": torch.zeros(3, 2)},
        "split": np.array(["train", "train", "test"]),
    },
}
each_shape = pytest.mark.parametrize("shape", FIELDS)


def make(shape, **changes):
    return shape(**{**FIELDS[shape], **changes})


@each_shape
def test_checksum_is_of_the_content_which_is_frozen(shape):
    with pytest.raises(FrozenInstanceError):
        make(shape).left_out = {}
    checksum = make(shape).checksum()
    assert checksum == make(shape).checksum()
    assert len({make(other).checksum() for other in FIELDS}) == len(FIELDS)
    for name, value in (FIELDS[shape] | {"left_out": {}}).items():
        if isinstance(value, torch.Tensor):
            other = value.roll(1, 0) if not value.equal(value.roll(1, 0)) else value + 0.25
        elif isinstance(value, np.ndarray):
            other = np.roll(value, 1)
        else:
            other = {"another": 1} if name == "left_out" else value[::-1] if isinstance(value, tuple) else {}
        assert make(shape, **{name: other}).checksum() != checksum, name


@each_shape
def test_truth_is_per_example(shape):
    assert len(make(shape)) == (5 if shape is Expressions else 3)
    make(shape, truth={"cause": torch.zeros(len(make(shape)), 2)})
    with pytest.raises(ValueError, match=r"truth\['cause'\] must be a Tensor of shape"):
        make(shape, truth={"cause": torch.zeros(9)})


def test_descriptions():
    columns = {
        ActionUnits: ["frames", "subjects", "AU1", "AU2", "unknown labels"],
        AffectTraces: ["steps", "people"],
        AffectVideos: ["frames", "videos", "with action units", "with expression", "with valence and arousal"],
        Dialogues: ["turns", "dialogues", "speakers"],
        Expressions: ["images", "groups", "votes", "calm", "glad"],
    }
    rows = {
        ActionUnits: {"fold 1": [2, 1, 2, 0, 1], "fold 2": [1, 1, 0, 1, 0]},
        AffectTraces: {"video V1": [2, 2], "video V2": [1, 1]},
        AffectVideos: {"all": [3, 2, 2, 2, 2], "va train": [2, 1, 1, 1, 1]},
        Dialogues: {"train": [2, 1, 2], "val": [0, 0, 0], "test": [1, 1, 1]},
        Expressions: {
            "train": [3, 3, 9, 1, 2],
            "val": [1, 1, 4, 1, 0],  # a tie: the first class
            "test": [1, 1, 3, 0, 1],
            "left out: no name": [2, *[pd.NA] * 4],
        },
    }
    for shape, counts in rows.items():
        wanted = pd.DataFrame.from_dict(counts, orient="index", columns=columns[shape]).astype("Int64")
        pd.testing.assert_frame_equal(make(shape).describe(), wanted)
    assert make(Expressions).left_out_rows() == [("left out: no name", "some", "2", True)]


BYTES, WHOLE = torch.uint8, torch.int64
REFUSED = [
    (Expressions, "images", torch.zeros(5, 2, 2), "must have dtype torch.uint8"),
    (Expressions, "images", torch.zeros(5, 1, 2, 2, dtype=BYTES), r"must be .* \(5, any, any\), not \(5, 1, 2, 2\)"),
    (Expressions, "votes", torch.zeros(5, 3, dtype=WHOLE), r".* \(5, 2\), not \(5, 3\)"),
    (Expressions, "votes", torch.tensor([[0, 1]] * 4 + [[2, -1]]), r"must be 0 or more.* \[4, 1\]"),
    (Expressions, "split", np.array(["train"] * 4 + ["Test"]), "must be one of .*Test"),
    (Expressions, "names", np.arange(5), "must be an array of 5 strings, not int64"),
    (Expressions, "names", ["a"] * 5, "must be an array of 5 strings, not a list"),
    (Expressions, "groups", torch.zeros(5), "must have dtype"),
    (ActionUnits, "labels", torch.tensor([[1, 0], [1, 9], [0, 1]]), r"must be .*unknown.* \[1, 1\]"),
    (ActionUnits, "fold", torch.tensor([1, 2]), r".* \(3,\), not \(2,\)"),
    (AffectTraces, "valence_arousal", torch.full((3, 2), torch.nan), "must be finite"),
    (AffectTraces, "inputs", torch.zeros(3), r".* \(3, any\), not \(3,\)"),
    (AffectVideos, "valence_arousal", torch.full((3, 2), -2.0), r"must be in \[-1, 1\]"),
    (AffectVideos, "expression", torch.tensor([-2, 0, 0]), "must be a class"),
    (AffectVideos, "au", torch.full((3, 2), 2), "must be 0, 1 or -1"),
    (AffectVideos, "subsets", {"x": torch.ones(3)}, r"\['x'\] must have dtype torch.bool"),
    (AffectVideos, "audio", torch.zeros(2, 7), r".* \(3, ...\), not \(2, 7\)"),
    (Dialogues, "end", torch.zeros(2), r".* \(3,\), not \(2,\)"),
    (Dialogues, "targets", {"emotion": torch.zeros(2)}, r"\['emotion'\]"),
    (Dialogues, "split", np.array(["train", "dev", "test"]), r"must be one of .*not \['dev'\]"),
]


@pytest.mark.parametrize(("shape", "name", "value", "message"), REFUSED)
def test_what_does_not_fit_is_refused_by_name(shape, name, value, message):
    with pytest.raises(ValueError, match=f"{shape.__name__}.{name} ?{message}"):
        make(shape, **{name: value})


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_subset_takes_the_same_rows_of_every_field(kind):
    corpus = make(Expressions)
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
        make(Expressions).subset(mask)


def test_duplicates_of_training_are_those_outside_it():
    assert make(Expressions).duplicates_of_training().tolist() == [False, False, False, False, True]
    corpus = make(Expressions, split=np.array(["val", "test", "val", "train", "test"]))
    assert not corpus.duplicates_of_training().any()  # the shared group has no training image


@pytest.mark.parametrize("door", [corpora.load, corpora.is_available])
def test_an_unknown_corpus_is_refused_with_those_known(door, tmp_path):
    with pytest.raises(CorpusError, match=r"no corpus is called 'fer\+'. Known: .*ferplus"):
        door("fer+", tmp_path)


def test_only_the_simulated_world_is_available_in_an_empty_root_which_comes_from_the_environment(tmp_path, monkeypatch):
    assert [name for name in corpora.KNOWN if corpora.is_available(name, tmp_path)] == ["simulated"]
    monkeypatch.setenv("UNCERTAIN_AFFECT_DATA", str(tmp_path))
    with pytest.raises(CorpusError, match=str(tmp_path / "ferplus")):
        corpora.load("ferplus")


def test_an_error_names_file_line_reason_and_cure():
    assert str(CorpusError("odd", path="a.csv", line=3, cure="Mend it")) == "a.csv, line 3: odd. Mend it"
    assert str(CorpusError("odd", path="a.csv")) == "a.csv: odd"
    assert str(CorpusError("odd")) == "odd"
