import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.corpora import CorpusError, openface

GAZE = ["gaze_0_x", "gaze_angle_x", "pose_Rx", "x_0", "p_rx", "p_0"]
HEAD = ["frame", "face_id", "timestamp", "confidence", "success"]
NAMES = [*HEAD, *GAZE, *openface.INTENSITIES, *openface.PRESENCES]


def row(frame, face=0, confidence=0.98, success=1, intensity=1.5, presence=1, names=NAMES):
    value = {"frame": frame, "face_id": face, "timestamp": (frame - 1) / 30, "confidence": confidence}
    value |= {"success": success} | dict.fromkeys(GAZE, -0.25)
    value |= dict.fromkeys(openface.INTENSITIES, intensity) | dict.fromkeys(openface.PRESENCES, presence)
    return [str(value[name]) for name in names]


def csv(*rows, names=NAMES, between=",", end="\n"):
    return "".join(between.join(cells) + end for cells in [names, *rows]).encode()


THREE = [row(1), row(2, success=0, confidence=0.0, intensity=0, presence=0), row(3, confidence=0.7)]


def test_units_and_failed_frames():
    table = openface.parse(csv(*THREE), "a.csv")
    assert table.frame.tolist() == [1, 2, 3]
    assert table.time.tolist() == pytest.approx([0, 1 / 30, 2 / 30])
    assert table.valid.tolist() == [True, False, False], "success 0, and confidence below .8"
    assert table.intensity.shape == (3, 17)
    assert (table.intensity[0] == 1.5).all()
    assert np.isnan(table.intensity[1:]).all()
    assert table.presence.shape == (3, 18)
    assert (table.presence[0] == 1).all()
    assert (table.presence[1:] == -1).all()
    assert openface.parse(csv(*THREE), "a.csv", least_confidence=0.5).valid.tolist() == [True, False, True]


def same(a, b):
    return all(
        np.array_equal(values, vars(b)[name], equal_nan=values.dtype.kind == "f") for name, values in vars(a).items()
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("between", [",", ", "])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_blanks_line_ends_and_byte_order_mark_change_nothing(between, end, mark):
    spoilt = openface.parse(mark + csv(*THREE, between=between, end=end), "a.csv")
    assert same(spoilt, openface.parse(csv(*THREE), "a.csv"))


def test_columns_are_found_by_their_names():
    names = [*openface.INTENSITIES, *openface.PRESENCES, *GAZE[::-1], *HEAD[::-1]]
    rows = [row(1, names=names), row(2, intensity=0.25, names=names)]
    assert same(openface.parse(csv(*rows, names=names), "a"), openface.parse(csv(row(1), row(2, intensity=0.25)), "a"))


def test_each_unit_has_its_own_column():
    cells = row(1)
    for k, name in enumerate(openface.INTENSITIES):
        cells[NAMES.index(name)] = str(k / 4)
    assert openface.parse(csv(cells), "a").intensity[0].tolist() == [k / 4 for k in range(17)]
    assert openface.INTENSITIES[3] == "AU05_r"
    assert "AU28_c" in openface.PRESENCES
    assert "AU28_r" not in openface.INTENSITIES


def test_several_faces():
    table = openface.parse(csv(row(1), row(1, face=1), row(2, face=1), row(3, face=1, success=0)), "a.csv")
    assert table.frame.tolist() == [1, 1, 2, 3]
    assert table.face.tolist() == [0, 1, 1, 1]
    assert table.main_face() == 1
    assert table.of_face(1).frame.tolist() == [1, 2, 3]
    assert len(table.of_face(7)) == 0


def test_older_tables_have_no_face_id():
    names = [name for name in NAMES if name != "face_id"]
    table = openface.parse(csv(row(1, names=names), row(2, names=names), names=names), "a.csv")
    assert table.face.tolist() == [0, 0]
    assert table.frame.tolist() == [1, 2]


def test_a_table_without_rows():
    assert len(openface.parse(csv(), "a.csv")) == 0


def test_openface_3_is_refused():
    names = ["frame", "timestamp", "confidence", "success", *(f"AU0{n}_r" for n in (1, 2, 4, 6, 9)), "AU12_r", "AU25_r"]
    cells = ["1", "0", "1", "1", *["0.5"] * 7]
    with pytest.raises(CorpusError, match=r"line 1: the action units are .*OpenFace 3\.0 gives other units"):
        openface.parse(csv(cells, names=names), "a.csv")


MALFORMED = {
    "empty": (b"", 1, "empty"),
    "semicolons": (csv(*THREE, between=";"), 1, "divided by ';'"),
    "tabs": (csv(*THREE, between="\t"), 1, "no column frame"),
    "no header": (csv(*THREE[1:], names=THREE[0]), 1, "there twice"),
    "a unit that is missing": (csv(names=[n for n in NAMES if n != "AU09_r"]), 1, "the action units are"),
    "a unit twice": (csv(names=[*NAMES, "AU09_r"]), 1, "'AU09_r' is there twice"),
    "units exchanged": (
        csv(names=[{"AU01_r": "AU02_r", "AU02_r": "AU01_r"}.get(n, n) for n in NAMES]),
        1,
        "the action",
    ),
    "no success": (csv(names=[n for n in NAMES if n != "success"]), 1, "no column success"),
    "no units": (csv(names=HEAD), 1, "no column AU01_r"),
    "too few cells": (csv(row(1), row(2)[:-1]), 3, "45 cells where the header has 46"),
    "too many cells": (csv([*row(1), "1"]), 2, "47 cells"),
    "NaN": (csv(row(1, intensity="nan")), 2, "AU01_r is 'nan'"),
    "Windows' NaN": (csv(row(1, intensity="-nan(ind)")), 2, "AU01_r is '-nan(ind)'"),
    "an intensity of 6": (csv(row(1), row(2, intensity=6)), 3, "AU01_r is 6, not a number from 0 to 5"),
    "a presence of a half": (csv(row(1, presence=0.5)), 2, "AU01_c is 0.5, not a whole number"),
    "a confidence of 2": (csv(row(1, confidence=2)), 2, "confidence is 2"),
    "a success of 2": (csv(row(1, success=2)), 2, "success is 2"),
    "a frame of a half": (csv(row(1.5)), 2, "frame is 1.5"),
    "a frame twice": (csv(row(1), row(1)), 3, "face 0 of frame 1 is there a second time"),
    "descending": (csv(row(2), row(1)), 3, "frame 1 comes after frame 2"),
    "appended to itself": (csv(row(1)) + csv(row(1)), 3, "frame is 'frame'"),
    "a blank line": (csv(row(1)) + b"\n" + csv(row(2))[-200:], 3, "cells"),
    "latin-1": (csv(row(1)) + b"\xe9", 3, "not UTF-8"),
    "UTF-16": (csv(row(1)).decode().encode("utf-16"), 1, "not UTF-8"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_tables(tmp_path, name):
    content, line, reason = MALFORMED[name]
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(CorpusError) as error:
        openface.load(path)
    assert (error.value.path, error.value.line) == (path, line)
    assert reason in str(error.value)


@pytest.mark.parametrize("kind", ["nothing", "folder", "loop", "pipe"])
def test_something_else_in_the_place_of_a_file(tmp_path, kind):
    path = tmp_path / "a.csv"
    {
        "nothing": lambda: None,
        "folder": path.mkdir,
        "loop": lambda: path.symlink_to(path),
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    with pytest.raises(CorpusError, match=r"a\.csv: (no such file|not a file|cannot be read)"):
        openface.load(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read everything")
def test_an_unreadable_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(csv(*THREE))
    path.chmod(0)
    with pytest.raises(CorpusError, match="cannot be read"):
        openface.load(path)


def test_of_1000_lost_or_repeated_rows_every_repeated_one_is_an_error():
    """A lost row loses its frame and moves no other: every row says which it is."""
    rng = np.random.default_rng(0)
    rows = [row(frame, face=face, intensity=frame / 10) for frame in range(1, 7) for face in (0, 1)]
    for n in range(1000):
        at = int(rng.integers(len(rows)))
        if n % 2:
            with pytest.raises(CorpusError, match="a second time"):
                openface.parse(csv(*rows[: at + 1], *rows[at:]), "a.csv")
        else:
            table = openface.parse(csv(*rows[:at], *rows[at + 1 :]), "a.csv")
            assert len(table) == len(rows) - 1
            assert (table.intensity[:, 0] == table.frame / 10).all()


CELLS = st.sampled_from(["0", "1", "2", "0.5", "nan", "", "-1", " 1", "1e999", "٣", "6", "\x00"])
NEARLY = st.builds(
    lambda rows, names: csv(*[[*r, *row(1)[len(r) :]] for r in rows], names=names),
    st.lists(st.lists(CELLS, min_size=4, max_size=8), max_size=3),
    st.sampled_from([NAMES, NAMES[::-1], NAMES[1:], HEAD]),
)


@given(st.one_of(st.binary(max_size=300), NEARLY))
def test_any_bytes_give_a_table_or_a_corpus_error(content):
    try:
        table = openface.parse(content, "a.csv")
    except CorpusError as error:
        assert error.path == "a.csv"
        assert error.line is not None
    else:
        assert table.intensity.shape == (len(table), 17)
        assert np.isfinite(table.intensity[table.valid]).all()
