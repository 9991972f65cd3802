import numpy as np
import pytest
import trees

from uncertain_affect.corpora import CorpusError, openface

HEAD = ["frame", "face_id", "timestamp", "confidence", "success"]
NAMES = [*HEAD, "gaze_0_x", "pose_Rx", "p_0", *openface.INTENSITIES, *openface.PRESENCES]


def row(frame, face=0, confidence=0.98, success=1, intensity=1.5, presence=1, names=NAMES):
    value = {"frame": frame, "face_id": face, "timestamp": (frame - 1) / 30, "confidence": confidence}
    value |= {"success": success} | dict.fromkeys(openface.INTENSITIES, intensity)
    return [str((value | dict.fromkeys(openface.PRESENCES, presence)).get(name, -0.25)) for name in names]


def csv(*rows, names=NAMES, between=","):
    return trees.text(*(between.join(cells) for cells in [names, *rows]))


@pytest.fixture
def read(tmp_path):
    def of(content):
        (tmp_path / "a.csv").write_bytes(content)
        return openface.read(tmp_path / "a.csv")

    return of


def values(table):
    return [(name, column.tolist()) for name, column in vars(table).items()]


def test_units_and_failed_frames(read):
    rows = [row(1), row(2, success=0, confidence=0.0, intensity=0, presence=0), row(3, confidence=0.7)]
    table = read(csv(*rows))
    assert table.time.tolist() == pytest.approx([0, 1 / 30, 2 / 30])
    assert table.valid.tolist() == [True, False, False], "success 0, and confidence below .8"
    assert table.intensity.shape == (3, 17)
    assert (table.intensity[0] == 1.5).all()
    assert np.isnan(table.intensity[1:]).all()
    assert table.presence.shape == (3, 18)
    assert table.presence[:, 0].tolist() == [1, -1, -1]
    assert str(values(read(csv(*rows, between=", ")))) == str(values(table))


def test_columns_are_found_by_their_names(read):
    names = [*openface.INTENSITIES, *openface.PRESENCES, *HEAD[::-1]]
    turned = csv(row(1, names=names), row(2, intensity=0.25, presence="1.00", names=names), names=names)
    assert values(read(turned)) == values(read(csv(row(1), row(2, intensity=0.25))))
    cells = row(1)
    for k, name in enumerate(openface.INTENSITIES):
        cells[NAMES.index(name)] = str(k / 4)
    assert read(csv(cells)).intensity[0].tolist() == [k / 4 for k in range(17)]
    assert openface.INTENSITIES[3] == "AU05_r"
    assert "AU28_c" in openface.PRESENCES
    assert "AU28_r" not in openface.INTENSITIES


def test_the_main_face_is_valid_in_most_frames(read):
    table = read(csv(row(1), row(1, face=1, intensity=2), row(2, face=1), row(3, face=1, success=0)))
    assert table.valid.tolist() == [True, True, False]
    assert table.intensity[0, 0] == 2
    assert read(csv(row(1, face=3, intensity=1), row(1, face=2, intensity=2))).intensity[0, 0] == 2  # the lower number


def test_older_tables_have_no_face_id_and_some_have_no_row(read):
    names = [name for name in NAMES if name != "face_id"]
    assert len(read(csv(row(1, names=names), row(2, names=names), names=names)).time) == 2
    assert len(read(csv()).time) == 0


EXCHANGED = [{"AU01_r": "AU02_r", "AU02_r": "AU01_r"}.get(name, name) for name in NAMES]
OPENFACE_3 = ["frame", "timestamp", "confidence", "success", "AU01_r", "AU02_r", "AU04_r"]
MALFORMED = {
    "OpenFace 3": (csv(names=OPENFACE_3), 1, "OpenFace 3.0 gives other units these names"),
    "a unit that is missing": (csv(names=[n for n in NAMES if n != "AU09_r"]), 1, "the action units are"),
    "a unit twice": (csv(names=[*NAMES, "AU09_r"]), 1, "'AU09_r' is there twice"),
    "units exchanged": (csv(names=EXCHANGED), 1, "the action units are"),
    "no success": (csv(names=[n for n in NAMES if n != "success"]), 1, "no column success"),
    "Windows' NaN": (csv(row(1, intensity="-nan(ind)")), 2, "the AU01_r '-nan(ind)'"),
    "an intensity of 6": (csv(row(1), row(2, intensity=6)), 3, "the AU01_r '6' is no number from 0 to 5"),
    "a presence of a half": (csv(row(1, presence=0.5)), 2, "the AU01_c '0.5' is no whole number"),
    "a frame of a half": (csv(row(1.5)), 2, "the frame '1.5'"),
    "a frame twice": (csv(row(1), row(1)), 3, "frame and face (1, 0) stands there a second time, after line 2"),
    "descending": (csv(row(2), row(1)), 3, "frame 1 after frame 2"),
    "times that stand still": (csv(row(1), ["2", *row(1)[1:]]), 3, "the time 0 of a face does not come after"),
    "appended to itself": (csv(row(1)) + csv(row(1)), 3, "the frame 'frame'"),
    "a blank line": (csv(row(1)) + b"\n" + csv(row(2)), 3, "0 columns"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_tables(read, tmp_path, name):
    content, line, reason = MALFORMED[name]
    with pytest.raises(CorpusError) as error:
        read(content)
    assert (error.value.path, error.value.line) == (tmp_path / "a.csv", line)
    assert reason in str(error.value)


def test_a_row_twice_is_an_error_and_a_lost_row_moves_no_other(read):
    rows = [row(frame, face=face, intensity=frame / 10) for frame in range(1, 5) for face in (0, 1)]
    for at in range(len(rows)):
        with pytest.raises(CorpusError, match="a second time"):
            read(csv(*rows[: at + 1], *rows[at:]))
        table = read(csv(*rows[:at], *rows[at + 1 :]))
        np.testing.assert_allclose(table.intensity[:, 0], (1 + 30 * table.time) / 10)
