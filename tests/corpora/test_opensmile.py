import numpy as np
import pytest
import trees

from uncertain_affect.corpora import CorpusError, opensmile

NAMES = ("F0semitoneFrom27.5Hz_sma3nz_amean", "loudness_sma3_amean")
# as the command writes it: two frames of one recording, names in single quotes, numbers as %e
COMMAND = trees.text(
    "name;frameTime;" + ";".join(NAMES),
    "'train_1';0.000000;3.120000e+01;1.250000e-01",
    "'train_1';0.010000;3.220000e+01;-2.500000e-01",
    "'train_1';0.020000;3.320000e+01;0.000000e+00",
    "'it;s';0.000000;1.000000e+00;2.000000e+00",
)
# as its Python package writes it: whole files
PACKAGE = trees.text(
    "file,start,end," + ",".join(NAMES),
    '"a, b.wav",0 days 00:00:00,0 days 00:00:02.410000,31.2,0.125',
    "c.wav,0 days 00:00:01.500000,0 days 00:00:02,32.2,-0.25",
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "features.csv"


def test_what_the_command_writes(path):
    path.write_bytes(COMMAND)
    found = opensmile.read(path)
    assert found.names == NAMES
    assert found.source.tolist() == ["train_1"] * 3 + ["it;s"]
    assert found.time.tolist() == [0, 0.01, 0.02, 0]
    np.testing.assert_array_equal(found.values, [[31.2, 0.125], [32.2, -0.25], [33.2, 0], [1, 2]])
    assert found.repeated == 0


def test_what_the_package_writes(path):
    path.write_bytes(PACKAGE)
    found = opensmile.read(path)
    assert found.names == NAMES
    assert found.source.tolist() == ["a, b.wav", "c.wav"]
    assert found.time.tolist() == [0, 1.5]
    np.testing.assert_array_equal(found.values, [[31.2, 0.125], [32.2, -0.25]])


def test_rows_that_a_second_run_appended_are_left_out_and_counted(path):
    path.write_bytes(COMMAND + COMMAND.partition(b"\n")[2])
    found = opensmile.read(path)
    assert len(found.values) == 4
    assert found.repeated == 4


@pytest.mark.parametrize("change", trees.HARMLESS.values(), ids=list(trees.HARMLESS))
@pytest.mark.parametrize("content", [COMMAND, PACKAGE])
def test_other_line_ends_and_a_mark_change_nothing(path, change, content):
    path.write_bytes(content)
    usual = opensmile.read(path)
    path.write_bytes(change(content))
    np.testing.assert_array_equal(opensmile.read(path).values, usual.values)


MALFORMED = {  # content, old, new, message, line
    "nan": (COMMAND, "3.220000e+01", "nan", "F0.* is 'nan', no number", 3),
    "infinite": (COMMAND, "3.220000e+01", "inf", "no number", 3),
    "too large": (COMMAND, "3.220000e+01", "3.2e+99", "not from -1e.30 to 1e.30", 3),
    "text": (PACKAGE, "32.2", "high", "no number", 3),
    "a gap": (COMMAND, "0.010000", "0.011000", "0.009 s after the row before, where 0.011 s are the step", 4),
    "backwards": (COMMAND, "0.020000", "0.005000", "'train_1' at 0.005 s comes after 0.01 s", 4),
    "twice with others": (COMMAND, "0.010000", "0.000000", "a second row of 'train_1' at 0 s", 3),
    "a column less": (COMMAND, ";-2.500000e-01", "", "3 columns where 4 are expected", 3),
    "a column more": (PACKAGE, ",-0.25", ",-0.25,1", "6 columns where 5 are expected", 3),
    "wrong delimiter": (COMMAND, "'train_1';0.010000", "'train_1',0.010000", "columns where 4|';' expected", 3),
    "swapped columns": (COMMAND, "name;frameTime", "frameTime;name", "the header begins 'frameTime;name", 1),
    "another header": (PACKAGE, "file,start,end", "file,begin,end", "the header begins 'file,begin", 1),
    "two of one name": (COMMAND, NAMES[1], NAMES[0], "the header begins", 1),
    "a name is missing": (PACKAGE, NAMES[1], "", "the header begins", 1),
    "an open quote": (PACKAGE, '"a, b.wav"', '"a, b.wav', "unexpected end of data|columns where", None),
    "ends before it starts": (PACKAGE, "0 days 00:00:02,", "0 days 00:00:01,", "it ends before it starts", 3),
    "no length of time": (PACKAGE, "0 days 00:00:01.5", "1 day long", "start is '1 day long.*, no length", 3),
    "a negative time": (PACKAGE, "0 days 00:00:01.5", "-1 days 00:00:01.5", "start is -.*|no number", 3),
    "only a header": (COMMAND, COMMAND.partition(b"\n")[2].decode(), "", "no row after the header", 1),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(path, case):
    content, old, new, message, line = MALFORMED[case]
    path.write_bytes(trees.replaced({"x": content}, "x", old, new)["x"])
    with pytest.raises(CorpusError, match=message) as caught:
        opensmile.read(path)
    assert caught.value.path == path
    assert caught.value.line == line or (line is None and caught.value.line)


@pytest.mark.parametrize("change", trees.ANYWHERE.values(), ids=list(trees.ANYWHERE))
def test_malformed_anywhere(path, change):
    alter, message = change
    path.write_bytes(alter(COMMAND))
    with pytest.raises(CorpusError, match=message):
        opensmile.read(path)


@pytest.mark.parametrize("put", trees.IN_ITS_PLACE, ids=lambda put: put.__name__)
def test_something_else_in_its_place(path, put):
    path.write_bytes(COMMAND)
    put(path)
    if put is trees.unreadable and not trees.is_unreadable(path):
        pytest.skip("this user may read everything")
    with pytest.raises(CorpusError, match=trees.IN_ITS_PLACE[put]):
        opensmile.read(path)


def test_every_frame_dropped_or_doubled_is_reported(path):
    """Between the first and the last frame; 1,000 times."""
    rows = [f"'x';{k * 0.01:.6f};{k:e};1.0e+00" for k in range(300)]
    content = trees.text("name;frameTime;" + ";".join(NAMES), *rows)
    for _, change, changed in trees.planted({"x": content}, lambda _, lines: range(2, len(lines) - 1)):
        path.write_bytes(changed)
        if change is trees.with_row_twice:
            assert opensmile.read(path).repeated == 1
        else:
            with pytest.raises(CorpusError, match="a row is missing"):
                opensmile.read(path)
