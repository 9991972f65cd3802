import os
import shutil

import numpy as np
import pytest
import trees_faces as trees
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, disfa

FRAMES = {"SN003": 8, "SN010": 6, "SN002": 7, "SN013": 5}
IN_ORDER = ["SN002", "SN010", "SN013", "SN003"]  # by fold, and the fold's own order
COLUMNS = [trees.DISFA_UNITS.index(unit) for unit in disfa.UNITS]
GREY = {"size": 16, "colour": False}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("disfa")
    return root, trees.disfa(root, FRAMES)


@pytest.fixture
def copy(tree, tmp_path):
    """The tree, to be spoilt."""
    shutil.copytree(tree[0] / "disfa", tmp_path / "disfa")
    return tmp_path


def label_file(root, subject="SN002", unit=12):
    return root / "disfa/ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt"


# --- what is read -------------------------------------------------------------------------------------------------


def test_every_field_in_order(tree):
    root, made = tree
    data = corpora.load("disfa", root, **GREY)
    rows = [(subject, k) for subject in IN_ORDER for k in range(FRAMES[subject]) if k != 1]  # the second has no crop
    assert data.subject.tolist() == [subject for subject, _ in rows]
    assert data.labels.tolist() == [(made[subject][k, COLUMNS] >= 2).astype(int).tolist() for subject, k in rows]
    assert data.au_names == ("AU1", "AU2", "AU4", "AU6", "AU9", "AU12", "AU25", "AU26")
    assert data.fold.tolist() == [{"SN002": 1, "SN010": 1, "SN013": 2, "SN003": 3}[subject] for subject, _ in rows]
    assert data.images[:, 3, 5].tolist() == [trees.shade(k + 1) for _, k in rows]
    assert data.left_out == {"no face image": 4, "subject without labels": 23}


def test_folds_are_those_published_in_their_order():
    assert [len(fold) for fold in disfa.FOLDS] == [9, 9, 9]
    known = [*range(1, 14), 16, 17, 18, 21, *range(23, 33)]
    assert sorted(disfa.FOLD_OF) == [f"SN{n:03}" for n in known]
    assert sum(disfa.FRAMES) == 26 * 4845 + 4844 == 130_814
    assert np.sum(disfa.POSITIVES, axis=0).tolist() == [6506, 5644, 19933, 10327, 5473, 16851, 36247, 11533]
    rates = [7.33, 8.35, 18.72, 10.11, 6.81, 14.13, 27.96, 5.75]
    assert (100 * np.array(disfa.POSITIVES[2]) / disfa.FRAMES[2]).round(2).tolist() == rates


def test_openface_numbers_the_crops_from_1(tree, copy):
    for subject in FRAMES:
        place = copy / "disfa/faces" / f"LeftVideo{subject}_comp_aligned"
        for file in (copy / "disfa/faces" / subject).iterdir():
            number = int(file.stem) + 1
            trees.write_face(place / f"frame_det_00_{number:06}.bmp", trees.shade(number))
            trees.write_face(place / f"frame_det_01_{number:06}.bmp", 255)  # somebody else
        shutil.rmtree(copy / "disfa/faces" / subject)
    assert corpora.load("disfa", copy, **GREY).checksum() == corpora.load("disfa", tree[0], **GREY).checksum()


def test_colour_every_and_size(tree):
    data = corpora.load("disfa", tree[0], size=20, every=3)
    assert tuple(data.images.shape) == (3 + 2 + 2 + 3, 3, 20, 20)
    assert data.left_out["passed over by every"] == 26 - 10
    with pytest.raises(CorpusError, match="1 or more"):
        corpora.load("disfa", tree[0], every=0)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b" \n"])
def test_line_ends_and_byte_order_mark_change_nothing(tree, copy, end, mark):
    path = label_file(copy)
    path.write_bytes(mark + path.read_bytes().replace(b"\r\n", end) + end * 2)
    assert corpora.load("disfa", copy, **GREY).checksum() == corpora.load("disfa", tree[0], **GREY).checksum()


# --- is it there, and is it whole ---------------------------------------------------------------------------------


def test_absent(tmp_path):
    assert not corpora.is_available("disfa", tmp_path)
    with pytest.raises(CorpusError, match="Denver"):
        corpora.load("disfa", tmp_path)
    with pytest.raises(CorpusError, match="ActionUnit_Labels"):
        disfa.check(tmp_path)


def test_available_with_labels_and_faces(tree, copy):
    assert corpora.is_available("disfa", tree[0])
    shutil.rmtree(copy / "disfa/faces")
    assert not corpora.is_available("disfa", copy)
    with pytest.raises(CorpusError, match="FeatureExtraction -f Videos_LeftCamera/LeftVideoSN001_comp"):
        corpora.load("disfa", copy)


def test_check_compares_with_what_was_published(tree):
    rows = {what: (expected, found, ok) for what, expected, found, ok in disfa.check(tree[0])}
    assert rows["subjects"] == ("27", "4", False)
    assert rows["frames, fold 1"] == ("43,604", "13", False)
    assert rows["AU26, fold 3"][:1] == ("2,508",)
    assert rows["frames with a face"] == ("26, or some less", "22", False)
    assert len(rows) == 1 + 3 + 24 + 1


def test_check_says_ok_of_the_numbers_expected(tree, monkeypatch):
    folds = [[tree[1][key][:, COLUMNS] for key in IN_ORDER if disfa.FOLD_OF[key] == k] for k in (1, 2, 3)]
    monkeypatch.setattr(disfa, "FOLD_OF", {key: disfa.FOLD_OF[key] for key in IN_ORDER})
    monkeypatch.setattr(disfa, "FRAMES", [sum(len(rows) for rows in fold) for fold in folds])
    monkeypatch.setattr(disfa, "POSITIVES", [sum((rows >= 2).sum(0) for rows in fold).tolist() for fold in folds])
    assert [ok for _, _, _, ok in disfa.check(tree[0])][:-1] == [True] * 28


def test_each_of_1000_lost_or_repeated_rows_is_reported(copy, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(disfa.images, "numbered", lambda folder: {})  # no face is needed here
    reported = 0
    for n in range(1000):
        path = label_file(copy, IN_ORDER[n % 4], trees.DISFA_UNITS[n % 12])
        content = path.read_bytes()
        rows = content.splitlines(keepends=True)
        at = int(rng.integers(len(rows)))
        path.write_bytes(b"".join(rows[:at] + rows[at + 1 :] if n % 8 < 4 else rows[: at + 1] + rows[at:]))
        try:
            disfa.check(copy)
        except CorpusError as error:
            reported += error.path == path and error.line == at + (1 if n % 8 < 4 else 2)
        path.write_bytes(content)
    assert reported == 1000


# --- what is malformed --------------------------------------------------------------------------------------------

FIVE = b"1,0\n2,5\n3,1\n4,0\n5,2\n6,0\n"
MALFORMED = {
    "empty": (b"", 1, "empty"),
    "blank": (b"\r\n\r\n", 1, "empty"),
    "a header": (b"frame,intensity\n" + FIVE, 1, "'frame,intensity' is not"),
    "from 0": (FIVE.replace(b"1,0", b"0,0"), 1, "frame 0 where frame 1"),
    "a gap": (FIVE.replace(b"3,1\n", b""), 3, "frame 4 where frame 3"),
    "a row twice": (FIVE.replace(b"3,1\n", b"3,1\n3,1\n"), 4, "frame 3 where frame 4"),
    "two rows exchanged": (b"1,0\n3,1\n2,5\n4,0\n", 2, "frame 3 where frame 2"),
    "columns exchanged": (b"0,1\n5,2\n1,3\n", 1, "frame 0 where frame 1"),
    "semicolons": (FIVE.replace(b",", b";"), 1, "'1;0' is not"),
    "blanks": (FIVE.replace(b",", b" "), 1, "'1 0' is not"),
    "tabs": (FIVE.replace(b",", b"\t"), 1, "is not frame,intensity"),
    "NaN": (FIVE.replace(b"2,5", b"2,nan"), 2, "'2,nan'"),
    "6": (FIVE.replace(b"2,5", b"2,6"), 2, "the intensity 6"),
    "9": (FIVE.replace(b"2,5", b"2,9"), 2, "the intensity 9"),
    "negative": (FIVE.replace(b"2,5", b"2,-1"), 2, "'2,-1'"),
    "a decimal": (FIVE.replace(b"2,5", b"2,5.0"), 2, "'2,5.0'"),
    "a third column": (FIVE.replace(b"2,5", b"2,5,1"), 2, "'2,5,1'"),
    "a blank line": (FIVE.replace(b"2,5\n", b"2,5\n\n"), 3, "'' is not"),
    "latin-1": (FIVE + b"7,\xe9", 7, "not UTF-8"),
    "UTF-16": (FIVE.decode().encode("utf-16"), 1, "not UTF-8"),
    "other digits": ("1,٥\n".encode(), 1, "is not frame,intensity"),
    "longer than the others": (FIVE + b"7,0\n8,0\n9,0\n", 8, "9 frames where the other files of SN002 have 7"),
    "shorter than the others": (FIVE, 7, "6 frames where the other files of SN002 have 7"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_labels(copy, name):
    content, line, reason = MALFORMED[name]
    path = label_file(copy)
    path.write_bytes(content)
    with pytest.raises(CorpusError) as error:
        corpora.load("disfa", copy, **GREY)
    assert (error.value.path, error.value.line) == (path, line)
    assert reason in str(error.value)


def test_a_missing_action_unit_shifts_no_column(copy):
    label_file(copy, unit=5).unlink()
    with pytest.raises(CorpusError, match=r"SN002_au5\.txt: no such file"):
        corpora.load("disfa", copy, **GREY)


def test_labels_longer_than_the_video_are_counted(copy):
    for unit in trees.DISFA_UNITS:
        with label_file(copy, unit=unit).open("ab") as file:
            file.write(b"8,0\r\n9,0\r\n10,0\r\n11,0\r\n")
    data = corpora.load("disfa", copy, **GREY)
    # two more frames than the tree's labels have an image
    assert data.left_out["no face image"] == 4 + 2
    assert data.images[6:8, 0, 0].tolist() == [trees.shade(8), trees.shade(9)]


def test_a_subject_of_no_fold(copy):
    shutil.copytree(copy / "disfa/ActionUnit_Labels/SN002", copy / "disfa/ActionUnit_Labels/SN033")
    with pytest.raises(CorpusError, match="SN033 is in none"):
        corpora.load("disfa", copy, **GREY)


def test_faces_of_different_sizes(copy):
    trees.write_face(copy / "disfa/faces/SN010/3.png", 100, side=50)
    with pytest.raises(CorpusError, match=r"3\.png: 50 x 50 pixels, others have 48 x 48"):
        corpora.load("disfa", copy, **GREY)


def test_a_folder_in_the_place_of_a_file(copy):
    label_file(copy).unlink()
    label_file(copy).mkdir()
    with pytest.raises(CorpusError, match="not a file"):
        corpora.load("disfa", copy, **GREY)


@pytest.mark.parametrize("what", ["labels", "folder of labels", "faces"])
def test_a_loop_of_links(copy, what):
    path = {
        "labels": label_file(copy),
        "folder of labels": copy / "disfa/ActionUnit_Labels",
        "faces": copy / "disfa/faces/SN002",
    }[what]
    path.unlink() if path.is_file() else shutil.rmtree(path)
    path.symlink_to(path)
    with pytest.raises(CorpusError, match="symbolic links"):
        corpora.load("disfa", copy, **GREY)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read everything")
def test_an_unreadable_file(copy):
    label_file(copy).chmod(0)
    with pytest.raises(CorpusError, match="cannot be read"):
        corpora.load("disfa", copy, **GREY)


LINES = st.one_of(st.text(max_size=8), st.builds("{},{}".format, st.integers(-1, 7), st.integers(-1, 7)))


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(LINES, max_size=5).map(lambda rows: "\n".join(rows).encode()),
        st.lists(st.integers(0, 6), max_size=6).map(
            lambda values: "\r\n".join(f"{k},{v}" for k, v in enumerate(values, start=1)).encode()
        ),
    )
)
def test_any_bytes_give_labels_or_a_corpus_error(content):
    try:
        intensities = disfa.parse_labels(content, "some.txt")
    except CorpusError as error:
        assert error.path == "some.txt"
        assert error.line is not None
    else:
        assert ((intensities >= 0) & (intensities <= 5)).all()
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        assert len(intensities) == text.rstrip().count("\n") + 1
