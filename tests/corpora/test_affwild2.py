"""Aff-Wild2: what the six licensed corpora have not in common, see `test_licensed`."""

from dataclasses import replace

import numpy as np
import pytest
import trees
import trees_faces
from licensed import CORPORA, GREY, TRAIN, VAL, VIDEOS
from trees_faces import face, shade

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, affwild2
from uncertain_affect.papers import distill

PLACE = "affwild2/annotations/{}_Set/{}/{}.txt"
VIDEO85 = PLACE.format("AU", TRAIN, "video85")
CROP = "affwild2/cropped_aligned/video85/{:05}.jpg"
WHOLE = {file: content for file, content in CORPORA["affwild2"].files.items() if "/videos/" not in file}


@pytest.fixture
def load(tmp_path):
    """Loads the corpus from the files given, or the whole one."""
    count = iter(range(9))

    def from_files(files=WHOLE, **options):
        return corpora.load("affwild2", trees.write(tmp_path / str(next(count)), files), **(GREY | options))

    return from_files


@pytest.mark.parametrize("release", [2021, 2022, 2024])
def test_every_field_in_order(load, release):
    files, made = trees_faces.affwild2(VIDEOS, release)
    data = load(files)
    rows = [(video, k) for video in sorted(VIDEOS) for k in range(VIDEOS[video][0]) if k + 1 != 4]  # without a crop
    assert data.video.tolist() == [video for video, _ in rows]
    shades = data.frames[:, 3, 5].numpy().astype(int)
    assert np.abs(shades - [shade(k + 1) for _, k in rows]).max() <= 2
    rate = dict.fromkeys(VIDEOS, 30.0) | {"130-25-1280x720": 25.0, "122-60-1920x1080-1": 60.0}
    assert data.time.tolist() == pytest.approx([k / rate[video] for video, k in rows])
    for row, (video, k) in enumerate(rows):
        tasks, labels = VIDEOS[video][1], made[video]
        assert data.au[row].tolist() == (labels["AU"][k].tolist() if "AU" in tasks else [-1] * 12)
        expression = labels["EXPR"][k] if "EXPR" in tasks else -1
        assert data.expression[row] == (-1 if expression == 7 else expression)
        affect = labels["VA"][k] if "VA" in tasks else (-5, -5)
        expected = (-5, -5) if affect[1] == -5 else affect
        assert data.valence_arousal[row].tolist() == pytest.approx(expected, abs=1e-6)
    for name, task in (("au", "AU"), ("expression", "EXPR"), ("va", "VA")):
        for part, folder in (("train", TRAIN), ("val", VAL)):
            expected = [VIDEOS[video][1].get(task) == folder for video, _ in rows]
            assert data.subsets[f"{name} {part}"].tolist() == expected
    others = sum((made[v]["EXPR"] == 7).sum() for v in VIDEOS if "EXPR" in VIDEOS[v][1])
    assert (others > 0) == (release > 2021)
    assert data.left_out == {affwild2.NO_FACE: len(VIDEOS)} | ({affwild2.IS_OTHER: others} if others else {})
    assert tuple(data.audio.shape) == (len(data), 0)


def test_a_protocol_can_use_it(load):
    videos = distill.split_videos(load(), replace(distill.settings("quick", seed=2), clip=2))
    assert videos.tasks == ("AU", "EXPR", "VA")
    assert videos.names["EXPR"] == affwild2.EXPRESSIONS
    assert videos.names["AU"] == tuple(f"AU{unit}" for unit in affwild2.UNITS[12])


def test_colour_every_and_longest(load):
    data = load(size=20, colour=True, every=2, longest=3)
    assert tuple(data.frames.shape) == (7 * 3, 3, 20, 20)
    assert data.time[:3].tolist() == pytest.approx([0, 2 / 60, 4 / 60])
    assert data.left_out["passed over by every or longest"] == (49 - 7) - 21
    for options in ({"every": 0}, {"longest": 0}):
        with pytest.raises(CorpusError, match="1 or more"):
            load(**options)


def test_names_of_crops_padded_with_blanks_and_columns_in_another_order_change_nothing(load):
    padded = {file.replace("/0000", "/     "): content for file, content in WHOLE.items()}
    turned = trees.text(*(",".join(row.split(",")[::-1]) for row in WHOLE[VIDEO85].decode().splitlines()))
    usual = load().checksum()
    assert load(padded).checksum() == load(WHOLE | {VIDEO85: turned}).checksum() == usual


def test_the_eight_units_of_2020(load):
    header, row = "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25", "0,1,0,0,0,0,-1,1"
    units = [file for file in WHOLE if "/AU_Set/" in file and file.endswith(".txt")]
    files = WHOLE | {file: trees.text(header, *[row] * (WHOLE[file].count(b"\n") - 1)) for file in units}
    assert load(files).au.unique(dim=0).tolist() == [[-1] * 8, [0, 1, 0, 0, 0, 0, -1, 1]]
    with pytest.raises(CorpusError, match="12 action units, other files have 8"):
        load(files | {VIDEO85: WHOLE[VIDEO85]})


def test_check_misses_a_task(tmp_path):
    assert corpora.check("affwild2", trees.write(tmp_path / "whole", WHOLE))["fine"].all()
    without = {file: content for file, content in WHOLE.items() if "VA_Set" not in file}
    table = corpora.check("affwild2", trees.write(tmp_path / "without", without))
    assert set(table.index[~table["fine"]]) == {"videos, va train", "videos, va val"}


HEADER = "image,valence,arousal,expression," + ",".join(f"AU{unit}" for unit in affwild2.UNITS[12])


def listed(train, val):
    """The whole corpus with lists of frames in the place of label files."""
    place, parts = "affwild2/MTL_Challenge/{}_set.txt", {"train": train, "validation": val}
    lists = {place.format(part): trees.text(HEADER, *rows) for part, rows in parts.items()}
    return {file: content for file, content in WHOLE.items() if "/annotations/" not in file} | lists


def test_the_lists_of_the_multi_task_challenge(load):
    units = ",1" * 11
    train = [f"130/00003.jpg,0.5,-0.25,4,0{units}", f"130/00001.jpg,-5,-5,-1,-1{units}"]
    files = listed(train, [f"video85/00002.jpg,0.1,0.2,7,1{units}"])
    data = load(files)
    assert data.video.tolist() == ["130"] * 3 + ["video85"] * 2
    assert data.expression.tolist() == [-1, -1, 4, -1, -1]
    assert data.valence_arousal[2].tolist() == [0.5, -0.25]
    assert data.au[:, 0].tolist() == [-1, -1, 0, -1, 1]
    assert data.subsets["au train"].tolist() == data.subsets["va train"].tolist() == [True] * 3 + [False] * 2
    assert data.subsets["expression val"].tolist() == [False] * 3 + [True] * 2
    assert data.left_out == {affwild2.IS_OTHER: 1}
    assert load(WHOLE | files).checksum() == load().checksum()  # beside label files they are passed over
    with pytest.raises(CorpusError, match="130 is in both lists"):
        load(listed(train, train))


@pytest.mark.parametrize("header", [HEADER, "image,valence,arousal,expression,aus", str(HEADER.split(","))])
def test_the_lists_of_later_editions(load, header):
    rows = {"training": "130/00003.jpg", "validation": "video85/00002.jpg"}
    files = {file: content for file, content in WHOLE.items() if "/annotations/" not in file}
    lists = {
        f"affwild2/8th ABAW/{part}_set_annotations.txt": trees.text(header, f"{row},0.5,-0.25,4,0" + ",1" * 11)
        for part, row in rows.items()
    }
    data = load(files | lists)
    assert data.expression.tolist() == [-1, -1, 4, -1, 4] and data.au[2].tolist() == [0] + [1] * 11
    with pytest.raises(CorpusError, match="no list of the part val"):
        load(files | dict([next(iter(lists.items()))]))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        *((f"{place},0,0,0" + ",0" * 12, "not <video>/<frame>.jpg") for place in (
            "../130/00001.jpg", "../00001.jpg", "/etc/00001.jpg", "..\\..\\a/00001.jpg", "130/00000.jpg", "130/1.gif",
        )),
        ("130/00002.jpg,0,0,0" + ",0" * 12, "frame .* a second time"),
        ("130/00001.jpg,nan,0,0" + ",0" * 12, "valence 'nan'"),
        ("130/00001.jpg,0,0,8" + ",0" * 12, "expression '8'"),
        ("130/00001.jpg,0,0,0" + ",0" * 11, "15 columns where 16"),
        ("", "0 columns where 16"),
    ],
)  # fmt: skip
def test_malformed_lists(load, row, reason):
    fine = "130/00002.jpg,0,0,0" + ",0" * 12
    with pytest.raises(CorpusError, match=reason) as error:
        load(listed([fine, row, fine.replace("2.", "3.")], [fine.replace("130", "video85")]))
    assert error.value.line == 3


def test_one_crop_more_than_lines_is_counted_and_two_are_a_video_less(load, tmp_path):
    one = WHOLE | {CROP.format(7): face(99, side=112)}
    data = load(one)
    assert data.left_out == {affwild2.NO_FACE: 7, affwild2.NO_LINE: 1}
    assert len(data) == 42
    data = load(one | {CROP.format(8): face(99, side=112)})
    assert data.left_out == {affwild2.NO_FACE: 6, affwild2.DISAGREE: 6}
    assert "video85" not in data.video
    assert corpora.check("affwild2", tmp_path / "1").loc[affwild2.DISAGREE].tolist() == ["0", "6", False]


@pytest.mark.parametrize(("place", "make"), [("batch1/{}.mp4", trees_faces.mp4), ("batch2/{}.AVI", trees_faces.avi)])
def test_labels_longer_or_shorter_than_the_video(load, place, make):
    """The two people of one video have a line for each of its frames."""
    disagree = {affwild2.DISAGREE: 18}
    lost = {9: {}, 10: {affwild2.NO_LINE: 2}, 8: {affwild2.BEYOND_VIDEO: 2}, 7: disagree, 11: disagree}
    for n, expected in lost.items():
        left_out = load(WHOLE | {"affwild2/videos/" + place.format("6-30-1920x1080"): make(n)}).left_out
        assert {reason: count for reason, count in left_out.items() if reason != affwild2.NO_FACE} == expected, n


def test_a_shift_is_seen_without_the_video_by_other_tasks_and_crops(load):
    file = PLACE.format("VA", TRAIN, "130")
    rows = WHOLE[file].splitlines(keepends=True)
    assert load(WHOLE | {file: b"".join(rows[:3] + rows[4:])}).left_out[affwild2.BEYOND_OTHERS] == 1
    longer = WHOLE[VIDEO85] + WHOLE[VIDEO85].splitlines()[-1]
    assert load(WHOLE | {VIDEO85: longer}).left_out[affwild2.AFTER_CROPS] == 1


def test_any_bytes_of_a_video_have_frames_or_not(tmp_path):
    path = tmp_path / "some.mp4"
    rng = np.random.default_rng(0)
    for make in (trees_faces.mp4, trees_faces.avi):
        whole = make(50)
        path.write_bytes(whole)
        assert affwild2.n_frames(path) == 50
        for _ in range(500):
            content = bytearray(whole[: rng.integers(len(whole) + 1)])
            for at in rng.integers(0, max(1, len(content)), 3):
                content[at : at + 4] = rng.bytes(4)
            path.write_bytes(content)
            frames = affwild2.n_frames(path)
            assert frames is None or frames > 0
    path.write_bytes(bytes(64))
    assert affwild2.n_frames(path) is None
