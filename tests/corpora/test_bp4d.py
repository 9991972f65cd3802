import os
import shutil

import numpy as np
import pytest
import trees_faces as trees
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, bp4d

SEQUENCES = {("F001", "T1"): 9, ("M011", "T8"): 6, ("F007", "T2"): 7, ("M007", "T2"): 5}
IN_ORDER = [("F001", "T1"), ("M007", "T2"), ("M011", "T8"), ("F007", "T2")]  # by fold, and the fold's own order
COLUMNS = [trees.BP4D_HEADER.index(unit) - 1 for unit in bp4d.UNITS]
GREY = {"size": 16, "colour": False}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("bp4d")
    return root, trees.bp4d(root, SEQUENCES)


@pytest.fixture
def copy(tree, tmp_path):
    """The tree, to be spoilt."""
    shutil.copytree(tree[0] / "bp4d", tmp_path / "bp4d")
    return tmp_path


def label_file(root, subject="F001", task="T1"):
    return root / "bp4d/AUCoding/AU_OCC" / f"{subject}_{task}.csv"


def rows_of(made):
    """(subject, frame, labels) of every coded frame with a face, in the order expected."""
    for subject, task in IN_ORDER:
        first, cells = made[subject, task]
        for k, row in enumerate(cells[:, COLUMNS]):
            if k != 2:  # the tree has no image of it
                yield subject, first + k, np.where(row == 9, -1, row)


# --- what is read -------------------------------------------------------------------------------------------------


def test_every_field_in_order(tree):
    root, made = tree
    data = corpora.load("bp4d", root, **GREY)
    subjects, frames, labels = zip(*rows_of(made), strict=True)
    assert data.subject.tolist() == list(subjects)
    assert data.labels.tolist() == np.array(labels).tolist()
    assert (data.labels == -1).any(), "9 is unknown"
    assert data.au_names == ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")
    assert data.fold.tolist() == [bp4d.FOLD_OF[subject] for subject in subjects]
    shades = data.images[:, 3, 5].numpy().astype(int)
    assert np.abs(shades - [trees.shade(frame) for frame in frames]).max() <= 2
    assert data.left_out == {"no face image": 4, "sequence without a label file": 324}


def test_folds_are_those_published_in_their_order():
    assert [len(fold) for fold in bp4d.FOLDS] == [14, 14, 13]
    assert sorted(bp4d.FOLD_OF) == [f"F{n:03}" for n in range(1, 24)] + [f"M{n:03}" for n in range(1, 19)]
    assert sum(bp4d.FRAMES) == 146_847
    assert np.sum(bp4d.POSITIVES, axis=0).tolist() == [
        31042, 25110, 29755, 67676, 80616, 87270, 82530, 68375, 24869, 50406, 24288, 22229,
    ]  # fmt: skip
    rates = [16.44, 16.14, 19.92, 41.59, 58.98, 57.64, 55.85, 40.04, 15.14, 31.76, 15.85, 13.98]
    assert (100 * np.array(bp4d.POSITIVES[0]) / bp4d.FRAMES[0]).round(2).tolist() == rates


def test_colour_and_size(tree):
    data = corpora.load("bp4d", tree[0], size=20)
    assert tuple(data.images.shape) == (23, 3, 20, 20)


def test_every_nth_frame_is_counted(tree):
    data = corpora.load("bp4d", tree[0], every=3, **GREY)
    assert len(data) == 3 + 2 + 2 + 3
    assert data.left_out["passed over by every"] == 27 - 10
    with pytest.raises(CorpusError, match="1 or more"):
        corpora.load("bp4d", tree[0], every=0)


@pytest.mark.parametrize("place", ["AUCoding", "AUCoding/AUCoding"])
def test_older_copies_have_the_files_elsewhere(tree, copy, place):
    shutil.move(copy / "bp4d/AUCoding/AU_OCC", copy / "aside")
    shutil.copytree(copy / "aside", copy / "bp4d" / place, dirs_exist_ok=True)
    assert corpora.load("bp4d", copy, **GREY).checksum() == corpora.load("bp4d", tree[0], **GREY).checksum()


def test_crops_in_the_place_of_frames(tree, copy):
    for subject in ("F001", "M007", "M011", "F007"):
        shutil.move(copy / "bp4d/faces" / subject, copy / "bp4d" / subject)
    assert corpora.load("bp4d", copy, **GREY).checksum() == corpora.load("bp4d", tree[0], **GREY).checksum()


def test_openface_counts_the_frames_of_the_folder(tree, copy):
    """frame_det_00_000001 is the first file of the sequence's folder, whatever its number."""
    for subject, task in IN_ORDER:
        frames = sorted((copy / "bp4d/faces" / subject / task).iterdir())
        shutil.move(copy / "bp4d/faces" / subject / task, copy / "bp4d" / subject / task)
        for k, file in enumerate(frames, start=1):
            trees.write_face(
                copy / "bp4d/faces" / subject / f"{task}_aligned/frame_det_00_{k:06}.bmp", trees.shade(int(file.stem))
            )
    a, b = (corpora.load("bp4d", root, **GREY) for root in (copy, tree[0]))
    assert (a.images.int() - b.images.int()).abs().max() <= 2
    assert a.labels.tolist() == b.labels.tolist()
    (copy / "bp4d/F001/T1/2440.jpg").unlink()
    with pytest.raises(CorpusError, match="must stay"):
        corpora.load("bp4d", copy, **GREY)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark_change_nothing(tree, copy, end, mark):
    path = label_file(copy)
    path.write_bytes(mark + path.read_bytes().replace(b"\n", end.encode()) + end.encode() * 2)
    assert corpora.load("bp4d", copy, **GREY).checksum() == corpora.load("bp4d", tree[0], **GREY).checksum()


def test_columns_are_found_by_their_names(tree, copy):
    path = label_file(copy)
    cells = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([row[0], *row[:0:-1]]) for row in cells))
    assert corpora.load("bp4d", copy, **GREY).checksum() == corpora.load("bp4d", tree[0], **GREY).checksum()


# --- is it there, and is it whole ---------------------------------------------------------------------------------


def test_absent(tmp_path):
    assert not corpora.is_available("bp4d", tmp_path)
    with pytest.raises(CorpusError, match="Binghamton"):
        corpora.load("bp4d", tmp_path)
    with pytest.raises(CorpusError, match="AU_OCC"):
        bp4d.check(tmp_path)


def test_available_with_labels_and_faces(tree, copy):
    assert corpora.is_available("bp4d", tree[0])
    shutil.rmtree(copy / "bp4d/faces")
    assert not corpora.is_available("bp4d", copy)


def test_check_compares_with_what_was_published(tree):
    rows = {what: (expected, found, ok) for what, expected, found, ok in bp4d.check(tree[0])}
    assert rows["label files"] == ("328", "4", False)
    assert rows["coded frames, fold 1"] == ("50,631", "14", False)
    assert rows["AU24, fold 3"][:1] == ("7,286",)
    assert rows["frame numbers missing between coded ones"] == ("0", "0", True)
    assert len(rows) == 1 + 3 + 36 + 1 + 1


def test_check_says_ok_of_the_numbers_expected(tree, monkeypatch):
    as_published(monkeypatch, tree[1])
    assert [ok for _, _, _, ok in bp4d.check(tree[0])][:-1] == [True] * 41


def as_published(monkeypatch, made):
    """Take the tree's own numbers for the published ones."""
    folds = [[made[key][1][:, COLUMNS] for key in made if bp4d.FOLD_OF[key[0]] == k] for k in (1, 2, 3)]
    monkeypatch.setattr(bp4d, "SEQUENCES", len(made))
    monkeypatch.setattr(bp4d, "FRAMES", [sum(len(cells) for cells in fold) for fold in folds])
    monkeypatch.setattr(bp4d, "POSITIVES", [sum((cells == 1).sum(0) for cells in fold).tolist() for fold in folds])


def test_each_of_1000_lost_or_repeated_rows_is_reported(tree, copy, monkeypatch):
    as_published(monkeypatch, tree[1])
    rng = np.random.default_rng(0)
    monkeypatch.setattr(bp4d.images, "numbered", lambda folder: {})  # no face is needed here
    reported = 0
    for n in range(1000):
        path = label_file(copy, *IN_ORDER[n % 4])
        content = path.read_bytes()
        header, *rows = content.splitlines(keepends=True)
        at = int(rng.integers(len(rows)))
        spoilt = rows[:at] + rows[at + 1 :] if n % 8 < 4 else rows[: at + 1] + rows[at:]
        path.write_bytes(header + b"".join(spoilt))
        try:
            reported += not all(ok for _, _, _, ok in bp4d.check(copy)[:-1])
        except CorpusError as error:
            reported += error.path == path and error.line is not None
        path.write_bytes(content)
    assert reported == 1000


# --- what is malformed --------------------------------------------------------------------------------------------

HEADER = ",".join(map(str, trees.BP4D_HEADER))
ZEROS = ",0" * 23


def csv(*rows, header=HEADER):
    return "\n".join([header, *rows, ""]).encode()


MALFORMED = {
    "empty": (b"", 1, "empty"),
    "blank": (b"\n\n \n", 1, "empty"),
    "header alone": (csv(), 1, "no coded frame"),
    "a missing unit": (csv("5" + ZEROS, header=HEADER.replace(",24,", ",25,")), 1, "no column for action unit 24"),
    "a unit twice": (csv("5" + ZEROS, header=HEADER.replace(",24,", ",23,")), 1, "'23' is there twice"),
    "frame column elsewhere": (csv("0,5" + ZEROS[2:], header="1,0," + HEADER[4:]), 1, "first column"),
    "no header": (csv(header="5" + ZEROS), 1, "first column"),
    "semicolons": (csv("5" + ZEROS).replace(b",", b";"), 1, "first column"),
    "tabs": (csv("5" + ZEROS).replace(b",", b"\t"), 1, "first column"),
    "too few cells": (csv("5" + ZEROS, "6" + ZEROS[2:]), 3, "23 cells where the header has 24"),
    "too many cells": (csv("5" + ZEROS + ",0"), 2, "25 cells"),
    "a row twice": (csv("5" + ZEROS, "5" + ZEROS), 3, "frame 5 does not come after frame 5"),
    "descending": (csv("5" + ZEROS, "4" + ZEROS), 3, "frame 4 does not come after"),
    "blank between": (csv("5" + ZEROS, "", "6" + ZEROS), 3, "1 cells"),
    "NaN": (csv("5,nan" + ZEROS[2:]), 2, "'nan'"),
    "an intensity": (csv("5,3" + ZEROS[2:]), 2, "'3' is not 0, 1 or 9"),
    "a decimal": (csv("5,1.0" + ZEROS[2:]), 2, "'1.0'"),
    "a frame of letters": (csv("five" + ZEROS), 2, "the frame 'five'"),
    "a negative frame": (csv("-5" + ZEROS), 2, "the frame '-5'"),
    "a giant frame": (csv("9" * 40 + ZEROS), 2, "the frame '999"),
    "other digits": (csv("٥" + ZEROS), 2, "no whole number"),
    "latin-1": (csv("5" + ZEROS) + b"6\xe9", 3, "not UTF-8"),
    "UTF-16": (csv("5" + ZEROS).decode().encode("utf-16"), 1, "not UTF-8"),
    "a null byte": (csv("\0" + ZEROS), 2, "the frame"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_labels(tree, copy, name):
    content, line, reason = MALFORMED[name]
    path = label_file(copy)
    path.write_bytes(content)
    with pytest.raises(CorpusError) as error:
        corpora.load("bp4d", copy, **GREY)
    assert (error.value.path, error.value.line) == (path, line)
    assert reason in str(error.value)


def test_a_gap_is_reported(copy):
    path = label_file(copy)
    rows = path.read_text().splitlines()
    path.write_text("\n".join(rows[:5] + rows[7:]))
    assert corpora.load("bp4d", copy, **GREY).left_out["frame number between two coded ones in no row"] == 2


def test_labels_longer_than_the_sequence_are_counted(tree, copy):
    path = label_file(copy)
    with path.open("a") as file:
        file.writelines(f"{2449 + k}{ZEROS}\n" for k in range(3))
    data = corpora.load("bp4d", copy, **GREY)
    assert data.left_out["no face image"] == 4 + 3
    whole = corpora.load("bp4d", tree[0], **GREY)
    assert (data.images == whole.images).all()
    assert (data.labels == whole.labels).all()


def test_bp4d_plus_is_refused(copy):
    shutil.copy(label_file(copy), label_file(copy, "F024", "T1"))
    with pytest.raises(CorpusError, match=r"F024 T1 .*BP4D\+"):
        corpora.load("bp4d", copy, **GREY)


def test_a_missing_label_file_is_counted(copy):
    label_file(copy, "M011", "T8").unlink()
    data = corpora.load("bp4d", copy, **GREY)
    assert data.left_out["sequence without a label file"] == 325
    assert 2 not in data.fold


def test_two_images_of_one_frame(copy):
    shutil.copy(copy / "bp4d/faces/F001/T1/2440.jpg", copy / "bp4d/faces/F001/T1/02440.jpg")
    with pytest.raises(CorpusError, match="frame 2440 a second time"):
        corpora.load("bp4d", copy, **GREY)


def test_whole_frames_are_refused_with_the_command_that_crops_them(copy):
    for file in (copy / "bp4d/faces/F001/T1").iterdir():
        Image.new("RGB", (104, 139)).save(file)
    with pytest.raises(CorpusError, match=r"139 pixels are no square crop.*FeatureExtraction -fdir F001/T1"):
        corpora.load("bp4d", copy, **GREY)


def test_a_folder_in_the_place_of_a_file(copy):
    label_file(copy).unlink()
    label_file(copy).mkdir()
    with pytest.raises(CorpusError, match=r"F001_T1\.csv: not a file"):
        corpora.load("bp4d", copy, **GREY)


def test_a_loop_of_links(copy):
    label_file(copy).unlink()
    label_file(copy).symlink_to(label_file(copy))
    with pytest.raises(CorpusError, match=r"F001_T1\.csv: cannot be read"):
        corpora.load("bp4d", copy, **GREY)


def test_a_pipe_does_not_hang(copy):
    label_file(copy).unlink()
    os.mkfifo(label_file(copy))
    with pytest.raises(CorpusError, match="not a file"):
        corpora.load("bp4d", copy, **GREY)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read everything")
def test_an_unreadable_file(copy):
    label_file(copy).chmod(0)
    with pytest.raises(CorpusError, match="cannot be read"):
        corpora.load("bp4d", copy, **GREY)


def test_a_file_too_large(copy):
    with label_file(copy).open("r+b") as file:
        file.truncate(2**30)
    with pytest.raises(CorpusError, match="more than a file of labels"):
        corpora.load("bp4d", copy, **GREY)


CELLS = st.sampled_from(["0", "1", "9", "", "-1", "nan", "2", " 1", "01", "1e0", "5", "6", "\x00", "é"])
NEARLY = st.builds(
    lambda rows, header: (header + "\n" + "\n".join(",".join(row) for row in rows)).encode(),
    st.lists(st.lists(CELLS, min_size=22, max_size=25), max_size=4),
    st.sampled_from([HEADER, HEADER + ",29", "0", HEADER.replace("24", "٢٤")]),
)


@given(st.one_of(st.binary(max_size=300), NEARLY))
def test_any_bytes_give_labels_or_a_corpus_error(content):
    try:
        frames, labels = bp4d.parse_labels(content, "some.csv")
    except CorpusError as error:
        assert error.path == "some.csv"
        assert error.line is not None
    else:
        assert labels.shape == (len(frames), 12)
        assert set(np.unique(labels)) <= {-1, 0, 1}
        assert (np.diff(frames) > 0).all()
