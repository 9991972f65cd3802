"""RECOLA: what the six licensed corpora have not in common, see `test_licensed`."""

import numpy as np
import pytest
import torch
import trees
import trees_recola
from licensed import CORPORA, ROWS
from trees_recola import PEOPLE

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, recola
from uncertain_affect.papers import pen

WHOLE = CORPORA["recola"].files
GOLD = "recola/ratings_gold_standard/{}/{}.arff"


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(recola, "ROWS", ROWS)


@pytest.fixture
def root(tmp_path):
    return trees.write(tmp_path, WHOLE)


def test_labels_inputs_people_and_times_are_those_of_the_files(root):
    corpus = corpora.load("recola", root)
    kept = [k for k in range(1, ROWS) if k != 3]  # t = 0 has no frame, and frame 3 no face
    assert corpus.person.tolist() == [p for p in PEOPLE for _ in kept]
    assert corpus.video.tolist() == corpus.person.tolist()
    np.testing.assert_allclose(corpus.time, np.tile(np.array(kept) * 0.04, 18))
    wanted = [np.stack([trees_recola.trace(p, d, ROWS)[kept] for d in ("valence", "arousal")], axis=1) for p in PEOPLE]
    np.testing.assert_array_equal(corpus.valence_arousal, np.concatenate(wanted))
    # either target has features of its own: both are there, arousal's first
    assert corpus.inputs.shape == (18 * 24, 2 * 168)
    first = np.concatenate([np.array(kept) + 1000 * i for i in range(18)])
    np.testing.assert_array_equal(corpus.inputs[:, 0], first)
    np.testing.assert_array_equal(corpus.inputs[:, 168], first + 0.5)
    none = dict.fromkeys(("frame without a label", "between frames kept"), 0)
    assert corpus.left_out == none | {"no video frame at t = 0": 18, "no face": 18}
    assert pen.roles(corpus) == (tuple(PEOPLE[:9]), tuple(PEOPLE[9:]))
    # one frame a second is every 25th
    corpus = corpora.load("recola", root, every=25)
    assert corpus.time.tolist() == [1.0] * 18
    assert corpus.left_out["between frames kept"] == 18 * 24


def test_faces_are_matched_by_the_number_of_the_frame_and_the_voice_has_every_frame(tmp_path):
    root = trees.write(tmp_path, trees_recola.files(ROWS, kinds=(), crops=(1, 7, 25, 30)))
    corpus = corpora.load("recola", root)
    assert corpus.inputs.shape == (54, 64, 64)
    assert corpus.inputs.dtype == torch.uint8
    frames = np.tile([1, 7, 25], 18)
    np.testing.assert_allclose(corpus.time, frames * 0.04)
    levels = 30 + (7 * np.repeat(np.arange(18), 3) + frames) % 200
    np.testing.assert_array_equal(corpus.inputs[:, 5, 5], levels)
    assert corpus.left_out["no face"] == 18 * 22
    assert corpus.left_out["frame without a label"] == 18  # the recording is longer than its labels
    root = trees.write(tmp_path / "from 0", trees_recola.files(ROWS, kinds=(), crops=(0, 1, 2)))
    with pytest.raises(CorpusError, match=r"there is a crop 0.*OpenFace counts from 1"):
        corpora.load("recola", root)
    # of the voice no frame is left out
    root = trees.write(tmp_path / "voice", trees_recola.files(ROWS, kinds=("features_audio",)))
    assert corpora.load("recola", root).inputs.shape == (18 * 25, 2 * 88)


def test_check_finds_a_whole_tree_fine_and_misses_people(root):
    table = corpora.check("recola", root)
    assert table["fine"].all()
    (root / GOLD.format("valence", "dev_9")).unlink()
    table = corpora.check("recola", root)
    assert table.loc["people of dev, valence and arousal"].tolist() == ["9, 9", "8, 9", False]
    with pytest.raises(CorpusError, match=r"dev_9.arff: no such file"):
        corpora.load("recola", root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "smell"}, "no features 'smell'. features is faces"),
        ({"every": 0}, "every is 0"),
        ({"features": "audio"}, "features_audio/arousal/train_1.arff: no such file"),
    ],
)
def test_impossible_options(root, options, message):
    with pytest.raises(CorpusError, match=message):
        corpora.load("recola", root, **options)
