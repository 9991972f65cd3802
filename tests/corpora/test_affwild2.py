import os
import shutil

import numpy as np
import pytest
import torch
import trees_faces as trees
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, affwild2

TRAIN, VAL = "Train_Set", "Validation_Set"
VIDEOS = {
    "6-30-1920x1080_left": (9, {"AU": TRAIN, "VA": VAL}),
    "6-30-1920x1080_right": (9, {"AU": TRAIN, "EXPR": TRAIN}),
    "130": (8, {"AU": VAL, "EXPR": TRAIN, "VA": TRAIN}),
    "130-25-1280x720": (7, {"EXPR": VAL, "VA": TRAIN}),
    "video85": (6, {"AU": TRAIN}),
    "122-60-1920x1080-1": (5, {"VA": TRAIN}),
    "video10_1_left": (5, {"VA": VAL}),
}
IN_ORDER = [
    "122-60-1920x1080-1", "130", "130-25-1280x720", "6-30-1920x1080_left", "6-30-1920x1080_right", "video10_1_left",
    "video85",
]  # fmt: skip
SMALL = {"size": 16, "colour": False}
NO_CROP = 4  # the frame of each video that the tree has no crop of
MISMATCH = {affwild2.DISAGREE, affwild2.BEYOND_OTHERS, affwild2.BEYOND_VIDEO, affwild2.NO_LINE, affwild2.AFTER_CROPS}


@pytest.fixture(scope="module", params=[2021, 2022, 2024])
def any_tree(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("affwild2")
    return root, trees.affwild2(root, VIDEOS, request.param), request.param


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("affwild2")
    return root, trees.affwild2(root, VIDEOS)


@pytest.fixture
def copy(tree, tmp_path):
    """The tree, to be spoilt."""
    shutil.copytree(tree[0] / "affwild2", tmp_path / "affwild2")
    return tmp_path


def label_file(root, task="AU", part=TRAIN, video="video85"):
    return root / "affwild2/annotations" / f"{task}_Set" / part / f"{video}.txt"


# --- what is read -------------------------------------------------------------------------------------------------


def test_every_field_in_order(any_tree):
    root, made, release = any_tree
    data = corpora.load("affwild2", root, **SMALL)
    rows = [(video, k) for video in IN_ORDER for k in range(VIDEOS[video][0]) if k + 1 != NO_CROP]
    assert data.video.tolist() == [video for video, _ in rows]
    shades = data.frames[:, 3, 5].numpy().astype(int)
    assert np.abs(shades - [trees.shade(k + 1) for _, k in rows]).max() <= 2
    rate = {"130-25-1280x720": 25.0, "122-60-1920x1080-1": 60.0}
    assert data.time.tolist() == pytest.approx([k / rate.get(video, 30.0) for video, k in rows])
    for row, (video, k) in enumerate(rows):
        tasks, labels = VIDEOS[video][1], made[video]
        assert data.au[row].tolist() == (labels["AU"][k].tolist() if "AU" in tasks else [-1] * 12)
        expression = labels["EXPR"][k] if "EXPR" in tasks else -1
        assert data.expression[row] == (-1 if expression == 7 else expression)
        valence, arousal = labels["VA"][k] if "VA" in tasks else (-5, -5)
        assert data.valence_arousal[row].tolist() == pytest.approx(
            (-5, -5) if arousal == -5 else (valence, arousal), abs=1e-6
        )
    for name, task in (("au", "AU"), ("expression", "EXPR"), ("va", "VA")):
        for part, folder in (("train", TRAIN), ("val", VAL)):
            expected = [VIDEOS[video][1].get(task) == folder for video, _ in rows]
            assert data.subsets[f"{name} {part}"].tolist() == expected
    others = sum((made[v]["EXPR"] == 7).sum() for v in VIDEOS if "EXPR" in VIDEOS[v][1])
    assert (others > 0) == (release > 2021)
    expected = {affwild2.NO_FACE: len(VIDEOS)} | ({affwild2.IS_OTHER: others} if others else {})
    assert data.left_out == expected
    assert tuple(data.audio.shape) == (len(data), 0)


def test_a_protocol_can_use_it(tree):
    from uncertain_affect.papers import distill

    data = corpora.load("affwild2", tree[0], **SMALL)
    videos = distill.split_videos(data, distill.DistillSettings(seeds=(2,), tuning=distill.Tuning(), clip=2))
    assert videos.tasks == ("AU", "EXPR", "VA")
    assert videos.names["EXPR"] == affwild2.EXPRESSIONS
    assert videos.names["AU"] == tuple(f"AU{unit}" for unit in affwild2.UNITS[data.au.shape[1]])


def test_colour_every_and_longest(tree):
    data = corpora.load("affwild2", tree[0], size=20, every=2, longest=3)
    assert tuple(data.frames.shape) == (7 * 3, 3, 20, 20)
    assert data.time[:3].tolist() == pytest.approx([0, 2 / 60, 4 / 60])
    assert data.left_out["passed over by every or longest"] == (49 - 7) - 21
    for options in ({"every": 0}, {"longest": 0}):
        with pytest.raises(CorpusError, match="1 or more"):
            corpora.load("affwild2", tree[0], **options)


def test_some_tools_pad_names_with_blanks(tree, copy):
    for file in (copy / "affwild2/cropped_aligned/video85").glob("*.jpg"):
        file.rename(file.with_name(f"{int(file.stem):6}.jpg"))
    assert corpora.load("affwild2", copy, **SMALL).checksum() == corpora.load("affwild2", tree[0], **SMALL).checksum()


def test_action_units_are_found_by_their_names(tree, copy):
    path = label_file(copy)
    rows = [",".join(row.split(",")[::-1]) for row in path.read_text().splitlines()]
    path.write_text("\n".join(rows))
    assert corpora.load("affwild2", copy, **SMALL).checksum() == corpora.load("affwild2", tree[0], **SMALL).checksum()


def test_the_eight_units_of_2020(copy):
    for file in (copy / "affwild2/annotations/AU_Set").glob("*/*.txt"):
        n = len(file.read_text().splitlines()) - 1
        trees.write_text(file, ["AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25", *["0,1,0,0,0,0,-1,1"] * n])
    assert corpora.load("affwild2", copy, **SMALL).au.unique(dim=0).tolist() == [
        [-1] * 8,
        [0, 1, 0, 0, 0, 0, -1, 1],
    ]
    trees.write_text(
        label_file(copy), ["AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26", *["0" + ",0" * 11] * 6]
    )
    with pytest.raises(CorpusError, match="12 action units, other files have 8"):
        corpora.load("affwild2", copy, **SMALL)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_and_byte_order_mark_change_nothing(tree, copy, end, mark):
    for task, part, video in (("AU", TRAIN, "video85"), ("EXPR", TRAIN, "130"), ("VA", TRAIN, "130")):
        path = label_file(copy, task, part, video)
        path.write_bytes(mark + path.read_bytes().replace(b"\n", end) + end * 2)
    assert corpora.load("affwild2", copy, **SMALL).checksum() == corpora.load("affwild2", tree[0], **SMALL).checksum()


MTL_HEADER = "image,valence,arousal,expression," + ",".join(f"AU{unit}" for unit in trees.AFFWILD2_UNITS)


def write_mtl(root, train, val):
    shutil.rmtree(root / "affwild2/annotations", ignore_errors=True)
    for name, rows in (("train_set", train), ("validation_set", val)):
        trees.write_text(root / "affwild2/MTL_Challenge" / f"{name}.txt", [MTL_HEADER, *rows])


def test_the_list_of_the_multi_task_challenge(copy):
    units = ",1" * 11
    write_mtl(
        copy,
        [f"130/00003.jpg,0.5,-0.25,4,0{units}", f"130/00001.jpg,-5,-5,-1,-1{units}"],
        [f"video85/00002.jpg,0.1,0.2,7,1{units}"],
    )
    data = corpora.load("affwild2", copy, **SMALL)
    assert data.video.tolist() == ["130"] * 3 + ["video85"] * 2
    assert data.expression.tolist() == [-1, -1, 4, -1, -1]
    assert data.valence_arousal[2].tolist() == [0.5, -0.25]
    assert data.au[:, 0].tolist() == [-1, -1, 0, -1, 1]
    assert data.subsets["au train"].tolist() == data.subsets["va train"].tolist() == [True] * 3 + [False] * 2
    assert data.subsets["expression val"].tolist() == [False] * 3 + [True] * 2
    assert data.left_out == {affwild2.IS_OTHER: 1}


MALFORMED_MTL = {
    "out of the folder": ("../130/00001.jpg,0,0,0" + ",0" * 12, "not <video>/<frame>.jpg"),
    "up and away": ("../00001.jpg,0,0,0" + ",0" * 12, "not <video>/<frame>.jpg"),
    "from the root": ("/etc/00001.jpg,0,0,0" + ",0" * 12, "not <video>/<frame>.jpg"),
    "backslash": ("..\\..\\a/00001.jpg,0,0,0" + ",0" * 12, "not <video>/<frame>.jpg"),
    "frame 0": ("130/00000.jpg,0,0,0" + ",0" * 12, "not <video>/<frame>.jpg"),
    "a frame twice": ("130/00002.jpg,0,0,0" + ",0" * 12, "frame 2 of 130 is there a second time"),
    "valence": ("130/00001.jpg,nan,0,0" + ",0" * 12, "not valence,arousal"),
    "expression": ("130/00001.jpg,0,0,8" + ",0" * 12, "no expression"),
    "units": ("130/00001.jpg,0,0,0" + ",0" * 11, "no 12 action units"),
    "blank": ("", "not <video>/<frame>.jpg"),
}


@pytest.mark.parametrize("name", MALFORMED_MTL)
def test_malformed_lists(copy, name):
    row, reason = MALFORMED_MTL[name]
    fine = "130/00002.jpg,0,0,0" + ",0" * 12
    write_mtl(copy, [fine, row, fine.replace("2.", "3.")], [fine])
    with pytest.raises(CorpusError) as error:
        corpora.load("affwild2", copy, **SMALL)
    assert error.value.line == 3
    assert reason in str(error.value)


# --- is it there, and is it whole ---------------------------------------------------------------------------------


def test_absent(tmp_path):
    assert not corpora.is_available("affwild2", tmp_path)
    with pytest.raises(CorpusError, match="Imperial College"):
        corpora.load("affwild2", tmp_path)
    with pytest.raises(CorpusError, match="AU_Set"):
        affwild2.check(tmp_path)


def test_available_with_labels_and_crops(tree, copy):
    assert corpora.is_available("affwild2", tree[0])
    shutil.rmtree(copy / "affwild2/cropped_aligned")
    assert not corpora.is_available("affwild2", copy)
    with pytest.raises(CorpusError, match="no frame with labels has a crop"):
        corpora.load("affwild2", copy, **SMALL)


def test_check(tree, copy):
    rows = {what: (expected, found, ok) for what, expected, found, ok in affwild2.check(tree[0])}
    assert rows["videos, au train"] == ("1 or more", "3", True)
    assert rows["videos, va val"] == ("1 or more", "2", True)
    assert rows["frames with labels and a crop"] == ("1 or more", "42", True)
    assert all(ok for _, _, ok in rows.values())
    shutil.rmtree(copy / "affwild2/annotations/VA_Set")
    assert {what for what, _, _, ok in affwild2.check(copy) if not ok} == {"videos, va train", "videos, va val"}


def test_two_competitions_at_once(copy):
    trees.affwild2(copy, {"130": VIDEOS["130"]}, 2024)
    with pytest.raises(CorpusError, match=r"second time.*Keep those of one competition"):
        corpora.load("affwild2", copy, **SMALL)


def test_a_video_in_both_parts_of_a_task(copy):
    shutil.copy(label_file(copy), label_file(copy, part=VAL))
    with pytest.raises(CorpusError, match=r"video85 is in .*Train_Set/video85\.txt too"):
        corpora.load("affwild2", copy, **SMALL)


# --- lines, crops and videos that do not match --------------------------------------------------------------------


def test_one_crop_more_than_lines_is_counted(copy):
    trees.write_face(copy / "affwild2/cropped_aligned/video85/00007.jpg", 99, 112)
    data = corpora.load("affwild2", copy, **SMALL)
    assert data.left_out == {affwild2.NO_FACE: 7, affwild2.NO_LINE: 1}
    assert len(data) == 42
    trees.write_face(copy / "affwild2/cropped_aligned/video85/00008.jpg", 99, 112)
    data = corpora.load("affwild2", copy, **SMALL)
    assert data.left_out == {affwild2.NO_FACE: 6, affwild2.DISAGREE: 6}
    assert "video85" not in data.video
    assert (affwild2.DISAGREE, "0", "6", False) in affwild2.check(copy)


@pytest.mark.parametrize(
    ("place", "make"), [("batch1/6-30-1920x1080.mp4", trees.mp4), ("batch2/6-30-1920x1080.avi", trees.avi)]
)
@pytest.mark.parametrize(
    ("n", "lost"),
    [
        (9, {}),
        (10, {affwild2.NO_LINE: 2}),
        (8, {affwild2.BEYOND_VIDEO: 2}),
        (7, {affwild2.DISAGREE: 18}),
        (11, {affwild2.DISAGREE: 18}),
    ],
)
def test_labels_longer_or_shorter_than_the_video(copy, place, make, n, lost):
    """The two people of one video have a line for each of its frames."""
    path = copy / "affwild2/videos" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(make(n))
    assert affwild2.n_frames(path) == n
    left_out = corpora.load("affwild2", copy, **SMALL).left_out
    assert {reason: count for reason, count in left_out.items() if reason != affwild2.NO_FACE} == lost


def test_each_of_1000_lost_or_repeated_rows_is_reported(tree, copy, monkeypatch):
    for video in VIDEOS:
        stem = video.removesuffix("_left").removesuffix("_right")
        (copy / "affwild2/videos").mkdir(exist_ok=True)
        (copy / f"affwild2/videos/{stem}.mp4").write_bytes(trees.mp4(VIDEOS[video][0]))
    there = {video: affwild2.images.numbered(copy / "affwild2/cropped_aligned" / video) for video in VIDEOS}
    monkeypatch.setattr(affwild2.images, "numbered", lambda folder: there[folder.name])
    files = [
        label_file(copy, task, part, video) for video, (_, tasks) in VIDEOS.items() for task, part in tasks.items()
    ]
    rng = np.random.default_rng(0)
    assert not MISMATCH & {what for what, _, found, _ in affwild2.check(copy) if found != "0"}
    reported = 0
    for n in range(1000):
        path = files[n % len(files)]
        content = path.read_bytes()
        header, *rows = content.splitlines(keepends=True)
        at = int(rng.integers(len(rows)))
        spoilt = rows[:at] + rows[at + 1 :] if rng.random() < 0.5 else rows[: at + 1] + rows[at:]
        path.write_bytes(header + b"".join(spoilt))
        reported += bool(MISMATCH & {what for what, _, found, _ in affwild2.check(copy) if found != "0"})
        path.write_bytes(content)
    assert reported == 1000


def test_a_shift_is_seen_without_the_video_by_other_tasks_and_crops(copy):
    path = label_file(copy, "VA", TRAIN, "130")
    rows = path.read_text().splitlines()
    path.write_text("\n".join(rows[:3] + rows[4:]))
    assert corpora.load("affwild2", copy, **SMALL).left_out[affwild2.BEYOND_OTHERS] == 1
    path = label_file(copy)
    path.write_text("\n".join([*path.read_text().splitlines(), path.read_text().splitlines()[-1]]))
    assert corpora.load("affwild2", copy, **SMALL).left_out[affwild2.AFTER_CROPS] == 1


# --- what is malformed --------------------------------------------------------------------------------------------

UNITS = ",".join(f"AU{unit}" for unit in trees.AFFWILD2_UNITS)
ZEROS = "0" + ",0" * 11
EXPR = ",".join(trees.EXPRESSIONS)
MALFORMED = {
    "empty": ("AU", [], 1, "empty"),
    "header alone": ("AU", [UNITS], 1, "no line after"),
    "no header": ("AU", [ZEROS] * 7, 1, "the header"),
    "a missing unit": ("AU", [UNITS.replace(",AU26", ""), *[ZEROS[2:]] * 6], 1, "the header"),
    "a unit twice": ("AU", [UNITS.replace("AU26", "AU25"), *[ZEROS] * 6], 1, "the header"),
    "another unit": ("AU", [UNITS.replace("AU26", "AU27"), *[ZEROS] * 6], 1, "the header"),
    "semicolons": ("AU", [UNITS.replace(",", ";"), *[ZEROS.replace(",", ";")] * 6], 1, "the header"),
    "too few cells": ("AU", [UNITS, ZEROS, ZEROS[2:], *[ZEROS] * 4], 3, "12 labels"),
    "too many cells": ("AU", [UNITS, ZEROS, ZEROS + ",0", *[ZEROS] * 4], 3, "12 labels"),
    "a unit of 2": ("AU", [UNITS, ZEROS, "2" + ZEROS[1:], *[ZEROS] * 4], 3, "12 labels"),
    "a unit of -5": ("AU", [UNITS, "-5" + ZEROS[1:], *[ZEROS] * 5], 2, "12 labels"),
    "a unit of nan": ("AU", [UNITS, "nan" + ZEROS[1:], *[ZEROS] * 5], 2, "12 labels"),
    "a blank line": ("AU", [UNITS, ZEROS, "", *[ZEROS] * 4], 3, "12 labels"),
    "expression in the place of units": ("AU", [EXPR, *"012345"], 1, "the header"),
    "expressions in another order": (
        "EXPR",
        [EXPR.replace("Anger,Disgust", "Disgust,Anger"), *"01234560"],
        1,
        "header",
    ),
    "expression without header": ("EXPR", [*"012345601"], 1, "the header"),
    "expression 8": ("EXPR", [EXPR, *"01283456"], 5, "no expression 0 to 7"),
    "expression of a decimal": ("EXPR", [EXPR, "1.0", *"0123456"], 2, "'1.0' is no expression"),
    "expression by name": ("EXPR", [EXPR, "Anger", *"0123456"], 2, "'Anger' is no expression"),
    "an empty expression": ("EXPR", [EXPR, "0", "", *"012345"], 3, "'' is no expression"),
    "arousal first": ("VA", ["arousal,valence", *["0,0"] * 8], 1, "the header"),
    "va without header": ("VA", ["0.1,0.2"] * 9, 1, "the header"),
    "valence of 1.5": ("VA", ["valence,arousal", "0,0", "1.5,0", *["0,0"] * 6], 3, "1.5 is not from -1 to 1"),
    "arousal of -4": ("VA", ["valence,arousal", "0,-4", *["0,0"] * 7], 2, "-4 is not from -1 to 1"),
    "valence of nan": ("VA", ["valence,arousal", "nan,0", *["0,0"] * 7], 2, "not valence,arousal"),
    "valence of inf": ("VA", ["valence,arousal", "inf,0", *["0,0"] * 7], 2, "not valence,arousal"),
    "valence alone": ("VA", ["valence,arousal", "0.1", *["0,0"] * 7], 2, "not valence,arousal"),
    "decimal commas": ("VA", ["valence,arousal", "0,1,0,2", *["0,0"] * 7], 2, "not valence,arousal"),
}
WHERE = {"AU": ("AU", TRAIN, "video85"), "EXPR": ("EXPR", TRAIN, "130"), "VA": ("VA", TRAIN, "130")}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_labels(copy, name):
    task, rows, line, reason = MALFORMED[name]
    path = label_file(copy, *WHERE[task])
    trees.write_text(path, rows)
    with pytest.raises(CorpusError) as error:
        corpora.load("affwild2", copy, **SMALL)
    assert (error.value.path, error.value.line) == (path, line)
    assert reason in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_another_encoding(copy, encoding):
    path = label_file(copy)
    path.write_bytes(path.read_text().encode(encoding))
    with pytest.raises(CorpusError, match="line 1: not UTF-8"):
        corpora.load("affwild2", copy, **SMALL)


def test_a_name_that_is_none_of_a_video(copy):
    shutil.copy(label_file(copy), label_file(copy, video="a b"))
    with pytest.raises(CorpusError, match="not the name of a video"):
        corpora.load("affwild2", copy, **SMALL)


@pytest.mark.parametrize("kind", ["folder", "loop", "pipe"])
def test_something_else_in_the_place_of_a_file(copy, kind):
    path = label_file(copy)
    path.unlink()
    {"folder": path.mkdir, "loop": lambda: path.symlink_to(path), "pipe": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(CorpusError, match=r"not a file|symbolic links"):
        corpora.load("affwild2", copy, **SMALL)


def test_a_missing_part_of_a_task(copy):
    shutil.rmtree(copy / "affwild2/annotations/AU_Set/Validation_Set")
    with pytest.raises(CorpusError, match="Validation_Set: no folder of labels"):
        corpora.load("affwild2", copy, **SMALL)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read everything")
def test_an_unreadable_file(copy):
    label_file(copy).chmod(0)
    with pytest.raises(CorpusError, match="cannot be read"):
        corpora.load("affwild2", copy, **SMALL)


# --- any bytes ----------------------------------------------------------------------------------------------------

CELLS = st.sampled_from(["0", "1", "-1", "-5", "0.5", "7", "8", "nan", "", " 1", "1e9", "٣", "\x00"])
LINES = st.one_of(
    st.text(max_size=12),
    CELLS,
    st.lists(CELLS, min_size=2, max_size=2).map(",".join),
    st.lists(CELLS, min_size=11, max_size=13).map(",".join),
    st.lists(st.sampled_from(["0", "1", "-1"]), min_size=12, max_size=12).map(",".join),
)
HEADERS = st.sampled_from([UNITS, EXPR, EXPR + ",Other", "valence,arousal", "x", "1", ""])
NEARLY = st.builds(lambda header, rows: "\n".join([header, *rows]).encode(), HEADERS, st.lists(LINES, max_size=5))


@given(st.one_of(st.binary(max_size=200), NEARLY), st.sampled_from(["AU", "EXPR", "VA"]))
def test_any_bytes_give_labels_or_a_corpus_error(content, task):
    try:
        labels = affwild2.parse_labels(content, "some.txt", task)
    except CorpusError as error:
        assert error.path == "some.txt"
        assert error.line is not None
    else:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        assert len(labels) == text.rstrip().count("\n")  # one for each line, and none for the header
        assert np.isfinite(labels).all()


PLACES = st.sampled_from(["130/00001.jpg", "130/2.jpg", "../1.jpg", "a/b/3.jpg", "130/1.gif", "/x/1.jpg", "x"])


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.builds("{},{},0,{}".format, PLACES, CELLS, st.just(ZEROS)), max_size=4).map(
            lambda rows: "\n".join([MTL_HEADER, *rows]).encode()
        ),
    )
)
def test_any_bytes_give_a_list_or_a_corpus_error(content):
    try:
        found = affwild2.parse_mtl(content, "some.txt")
    except CorpusError as error:
        assert error.path == "some.txt"
        assert error.line is not None
    else:
        assert all(affwild2.VIDEO.fullmatch(video) and ".." not in video for video in found)


def test_any_bytes_of_a_video_have_frames_or_not(tmp_path):
    path = tmp_path / "some.mp4"
    rng = np.random.default_rng(0)
    for make in (trees.mp4, trees.avi):
        whole = make(50)
        for _ in range(500):
            content = bytearray(whole[: rng.integers(len(whole) + 1)])
            for at in rng.integers(0, max(1, len(content)), 3):
                content[at : at + 4] = rng.bytes(4)
            path.write_bytes(content)
            frames = affwild2.n_frames(path)
            assert frames is None or frames > 0
    path.write_bytes(torch.zeros(64, dtype=torch.uint8).numpy().tobytes())
    assert affwild2.n_frames(path) is None
