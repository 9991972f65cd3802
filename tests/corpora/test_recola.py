import numpy as np
import pytest
import torch
import trees
import trees_recola
from trees_recola import PEOPLE

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, recola
from uncertain_affect.papers import pen

ROWS = 26
GOLD = "recola/ratings_gold_standard/{}/{}.arff"
AROUSAL, QUOTED = GOLD.format("arousal", "train_1"), GOLD.format("valence", "dev_4")
FEATURES = "recola/features_video_appearance/valence/train_2.arff"
RATINGS = "recola/ratings_individual/valence/train_1.csv"


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(recola, "ROWS", ROWS)


@pytest.fixture(scope="module")
def whole():
    return trees_recola.files(ROWS)


@pytest.fixture
def root(tmp_path, whole):
    return trees.write(tmp_path, whole)


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
    assert corpus.left_out == {
        "no video frame at t = 0": 18,
        "frame without a label": 0,
        "no label so late": 0,
        "no face": 18,
        "between frames kept": 0,
    }


def test_nine_source_and_nine_target_people_in_order(root):
    source, target = pen.roles(corpora.load("recola", root))
    assert source == tuple(PEOPLE[:9])
    assert target == tuple(PEOPLE[9:])


def test_a_delay_gives_each_input_a_later_label(root):
    now, later = corpora.load("recola", root), corpora.load("recola", root, delay=0.2)
    assert later.left_out["no label so late"] == 18 * 5
    of = later.person == "dev_2"
    frames = np.rint(later.time[torch.from_numpy(of)].numpy() / 0.04).astype(int)
    np.testing.assert_array_equal(
        later.valence_arousal[torch.from_numpy(of), 1], trees_recola.trace("dev_2", "arousal", ROWS)[frames + 5]
    )
    assert torch.isin(later.inputs[:, 0], now.inputs[:, 0]).all()


def test_one_frame_a_second_is_every_25th(root):
    corpus = corpora.load("recola", root, every=25)
    assert corpus.time.tolist() == [1.0] * 18
    assert corpus.left_out["between frames kept"] == 18 * 24


def test_faces_are_matched_by_the_number_of_the_frame(tmp_path, whole):
    root = trees.write(tmp_path, {**trees_recola.files(ROWS, kinds=(), crops=(1, 7, 25, 30)), RATINGS: whole[RATINGS]})
    corpus = corpora.load("recola", root)
    assert corpus.inputs.shape == (54, 64, 64)
    assert corpus.inputs.dtype == torch.uint8
    frames = np.tile([1, 7, 25], 18)
    np.testing.assert_allclose(corpus.time, frames * 0.04)
    levels = 30 + (7 * np.repeat(np.arange(18), 3) + frames) % 200
    np.testing.assert_array_equal(corpus.inputs[:, 5, 5], levels)
    assert corpus.left_out["no face"] == 18 * 22
    assert corpus.left_out["frame without a label"] == 18  # the recording is longer than its labels


def test_of_the_voice_no_frame_is_left_out(tmp_path):
    root = trees.write(tmp_path, trees_recola.files(ROWS, kinds=("features_audio",)))
    assert corpora.load("recola", root).inputs.shape == (18 * 25, 2 * 88)


def test_check_finds_a_whole_tree_fine_and_counts_raters(root):
    table = corpora.check("recola", root)
    assert table["fine"].all()
    assert table.loc["raters (PEN says five)", "found"] == "6"
    assert table.loc["people of dev, valence and arousal", "found"] == "9, 9"
    (root / GOLD.format("valence", "dev_9")).unlink()
    table = corpora.check("recola", root)
    assert table.loc["people of dev, valence and arousal"].tolist() == ["9, 9", "8, 9", False]
    with pytest.raises(CorpusError, match=r"dev_9.arff: no such file"):
        corpora.load("recola", root)


def test_six_raters_by_name(root):
    table = recola.individual_ratings(root / RATINGS)
    assert list(table.columns) == ["FM1", "FM2", "FM3", "FF1", "FF2", "FF3"]
    assert len(table) == ROWS


@pytest.mark.parametrize("change", trees.HARMLESS.values(), ids=list(trees.HARMLESS))
def test_other_line_ends_and_a_mark_change_nothing(tmp_path, whole, change, root):
    changed = {name: change(content) if name.endswith("arff") else content for name, content in whole.items()}
    again = corpora.load("recola", trees.write(tmp_path / "changed", changed))
    corpus = corpora.load("recola", root)
    torch.testing.assert_close(again.inputs, corpus.inputs)
    torch.testing.assert_close(again.valence_arousal, corpus.valence_arousal)


def test_the_folder_of_the_owners_is_found_too(tmp_path, whole):
    inside = {name.removeprefix("recola/"): content for name, content in whole.items()}
    assert len(corpora.load("recola", trees.write(tmp_path, inside))) == 18 * 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "smell"}, "no features 'smell'. features is faces"),
        ({"every": 0}, "every is 0"),
        ({"delay": 0.05}, "delay is 0.05. delay is a multiple of 0.04 s"),
        ({"delay": -1}, "delay is -1"),
        ({"delay": 11}, "delay is 11"),
        ({"features": "audio"}, "features_audio/arousal/train_1.arff: no such file"),
    ],
)
def test_impossible_options(root, options, message):
    with pytest.raises(CorpusError, match=message):
        corpora.load("recola", root, **options)


MALFORMED = {  # file, old, new, message, line
    "out of range": (AROUSAL, "train_1,0.08,-0", "train_1,0.08,-1", "GoldStandard is -1.*, not from -1 to 1", 9),
    "nan": (AROUSAL, "train_1,0.08,-0.309226", "train_1,0.08,nan", "GoldStandard is 'nan', no number", 9),
    "text": (AROUSAL, "train_1,0.08,-", "train_1,0.08,high", "no number", 9),
    "wrong delimiter": (AROUSAL, "train_1,0.04,", "train_1;0.04;", "1 columns where 3 are expected", 8),
    "a column more": (QUOTED, "'dev_4',0.04,", "'dev_4',0.04,0,", "4 columns where 3", 12),
    "swapped columns": (AROUSAL, "train_1,0.04,", "0.04,train_1,", "the row is of 0.04, and the file of train_1", 8),
    "another recording": (QUOTED, "'dev_4',0.04", "'dev_5',0.04", "the row is of dev_5, and the file of dev_4", 12),
    "swapped attributes": (
        AROUSAL, "frameTime numeric\n@attribute GoldStandard", "GoldStandard numeric\n@attribute frameTime",
        "the attributes are", 1,
    ),
    "no @data": (AROUSAL, "@data", "", "train_1,0.00.* stands before @data", 7),
    "a stray line": (AROUSAL, "@data", "hello\n@data", "'hello' stands before @data", 6),
    "a gap": (AROUSAL, "0.08,", "0.12,", "the time is 0.12, where 0.08 is expected", 9),
    "a negative time": (AROUSAL, "train_1,0.00", "train_1,-0.04", "the time is -0.04, not from 0", 7),
    "features: nan": (FEATURES, "1001.5,1", "1001.5,nan", "feature_1 is 'nan', no number", None),
    "features: a column less": (FEATURES, "1001.5,1,", "1001.5,", "168 columns where 169 are expected", None),
    "features: wrong delimiter": (FEATURES, "0.04,1001.5,", "0.04;1001.5;", "columns where 169", None),
    "features: an attribute less": (FEATURES, "@attribute feature_9 numeric", "", "168 attributes, the first", 1),
    "ratings: seven columns": (RATINGS, "0.04;", "0.04;0.1;", "8 columns where 7", 3),
    "ratings: comma": (RATINGS, "time;", "time,", "the header is", 1),
    "ratings: two raters of one name": (RATINGS, "FM2", "FM1", "the header is", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(root, whole, case):
    file, old, new, message, line = MALFORMED[case]
    trees.write(root, {file: trees.replaced(whole, file, old, new)[file]})
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("recola", root)
        corpora.check("recola", root)
    assert str(caught.value.path).endswith(file)
    assert caught.value.line == line or (line is None and caught.value.line > 1)


@pytest.mark.parametrize("file", [AROUSAL, FEATURES])
@pytest.mark.parametrize("change", trees.ANYWHERE.values(), ids=list(trees.ANYWHERE))
def test_malformed_anywhere(root, whole, file, change):
    alter, message = change
    trees.write(root, {file: alter(whole[file])})
    with pytest.raises(CorpusError, match=f"{message}|columns where|stands before") as caught:
        corpora.load("recola", root)
    assert str(caught.value.path).endswith(file)


@pytest.mark.parametrize("put", trees.IN_ITS_PLACE, ids=lambda put: put.__name__)
@pytest.mark.parametrize("file", [AROUSAL, FEATURES])
def test_something_else_in_a_files_place(root, file, put):
    put(root / file)
    if put is trees.unreadable and not trees.is_unreadable(root / file):
        pytest.skip("this user may read everything")
    with pytest.raises(CorpusError, match=trees.IN_ITS_PLACE[put]) as caught:
        corpora.load("recola", root)
    assert str(caught.value.path).endswith(file)


def test_crops_that_cannot_be_read(tmp_path):
    tree = trees_recola.files(ROWS, kinds=(), crops=(1, 7))
    crop = "recola/faces/dev_3_aligned/frame_det_00_000007.bmp"
    root = trees.write(tmp_path, tree | {crop: tree[crop][:500]})
    with pytest.raises(CorpusError, match=r"dev_3_aligned/frame_det_00_000007.bmp: truncated or damaged"):
        corpora.load("recola", root)
    trees.write(root, {crop: tree[crop], crop.replace("_000007", "_7"): tree[crop]})
    with pytest.raises(CorpusError, match="frame 7 a second time"):
        corpora.load("recola", root)


def test_every_row_dropped_or_doubled_is_reported(tmp_path, whole):
    """Of gold standards and features; 1,000 times."""
    sources = {name: whole[name] for name in whole if name.endswith(".arff") and PEOPLE[0][:-2] in name}
    sources = {n: c for n, c in (sources | {QUOTED: whole[QUOTED]}).items() if "/._" not in n}
    path = tmp_path / "changed.arff"
    for file, _, content in trees.planted(sources, rows_of=rows):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=r"changed\.arff, line"):
            if "features" in file:
                recola.feature_table(path, 168)
            else:
                recola.gold_standard(path, file.rpartition("/")[2].removesuffix(".arff"))


def rows(file, lines):
    """Numbers of the rows of data. Features may begin with frame 1 and end early: then the frame is without a face."""
    first = [line.lower() for line in lines].index(b"@data") + 1
    found = [i for i in range(first, len(lines)) if lines[i].strip()]
    return found[1:-1] if "features" in file else found
