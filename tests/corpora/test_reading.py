import os

import numpy as np
import pytest
import trees

from uncertain_affect.corpora import CorpusError, reading
from uncertain_affect.corpora.reading import File, Table

CURE = "Mend it"


@pytest.fixture
def file(tmp_path):
    """Makes a file of the content."""

    def make(content: bytes | str) -> File:
        path = tmp_path / "a.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return File(path, CURE)

    return make


@pytest.mark.parametrize("change", trees.HARMLESS)
def test_lines_and_rows_are_the_same_in_every_form(file, change):
    changed = file(trees.HARMLESS[change](b"a,b\n\n 1 ,2\n"))
    assert changed.lines() == ["a,b", "", "1 ,2"]
    assert list(changed.rows()) == [(1, ["a", "b"]), (2, []), (3, ["1", "2"])]


@pytest.mark.parametrize("read", [File.lines, lambda file: list(file.rows())])
@pytest.mark.parametrize("change", trees.ANYWHERE)
def test_what_is_no_text_is_refused(file, read, change):
    alter, message = trees.ANYWHERE[change]
    with pytest.raises(CorpusError, match=f"{message}.*Mend it") as caught:
        read(file(alter(b"a,b\n1,2\n")))
    assert caught.value.line == (3 if change == "latin-1 bytes" else 1)


@pytest.mark.parametrize("what", trees.IN_ITS_PLACE)
@pytest.mark.parametrize("read", [File.content, File.lines, File.xml])
def test_something_else_in_the_place_of_a_file(tmp_path, what, read):
    path, (put, message) = tmp_path / "a.csv", trees.IN_ITS_PLACE[what]
    put(path)
    if what == "unreadable" and os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(CorpusError, match=f"{message}.*Mend it") as caught:
        read(File(path, CURE))
    assert caught.value.path == path


def test_a_large_file_is_read_as_far_as_its_rows_are_wanted(file):
    large = file(b"a,b\n1,2\n" + 1000 * (b"3" * 60_000 + b",4\n") + b"\xff")
    rows = File(large.path, CURE, limit=2**30).rows()
    assert [next(rows) for _ in range(2)] == [(1, ["a", "b"]), (2, ["1", "2"])]
    with pytest.raises(CorpusError, match="line 1003: not UTF-8"):
        list(rows)


TABLE = {  # content, options of table, line, message
    "a column less": ("x,z\n1,2", {}, 1, "there is no column y in the header 'x,z'"),
    "a column more": ("x,z,y\n1,2,3", {}, 1, "the column 'z' is none of x, y"),
    "a column twice": ("x,y,x\n1,2,3", {"others": True}, 1, "the column 'x' is there twice"),
    "semicolons": ("x;y\n1;2", {}, 1, "there is no column x in the header 'x;y'"),
    "no header": ("1,2\n3,4", {}, 1, "there is no column x"),
    "a cell less": ("x,y\n1,2\n3", {}, 3, "1 columns where 2 are expected"),
    "a cell more": ("x,y\n1,2\n\n3,4,5", {}, 4, "3 columns where 2 are expected"),
    "a blank line among numbers": ("x,y\n1,2\n\n3,4", {"plain": True}, 3, "0 columns where 2"),
    "an open quote": ('x,y\n1,"2\n3,4', {}, 3, "unexpected end of data"),
    "a quote that goes on": ('x,y\n1,"2"3', {}, 2, "expected after"),
    "a giant cell": ("x,y\n1," + "2" * 200_000, {}, 2, "field larger than field limit"),
}


@pytest.mark.parametrize("case", TABLE)
def test_tables_that_are_refused(file, case):
    content, options, line, message = TABLE[case]
    with pytest.raises(CorpusError, match=f"line {line}: .*{message}.*Mend it"):
        file(content).table(("x", "y"), **options)


def test_cells_go_by_the_names_of_their_columns(file):
    table = file('y,other,"x"\n1,"a, b",2\n\n3,c,4').table(("x", "y"), others=True)
    assert table.columns == {"y": ("1", "3"), "other": ("a, b", "c"), "x": ("2", "4")}
    assert table.lines == [2, 4]
    assert table.text("other").tolist() == ["a, b", "c"]
    empty = file("x,y\n").table(("x", "y"))
    assert len(empty) == len(empty.numbers("x", 0, 1)) == len(empty.text("y")) == 0


@pytest.mark.parametrize("cell", ["", "nan", "inf", "1_0", "0x1", "1;5", "1e9999", "１", "--1", "e", "11", "-1e2"])
def test_numbers_and_what_is_refused_though_python_takes_it_for_one_or_is_out_of_range(file, cell):
    fine = ["1", "+1", "-1.", ".5", "1e1", "-2.5E-1"]
    table = file("\n".join(["x,y", *(f"{number},1" for number in fine), f"1,{cell}"])).table(("x", "y"))
    assert table.numbers("x", -10, 10).tolist() == [1, 1, -1, 0.5, 10, -0.25, 1]
    with pytest.raises(CorpusError, match=f"line 8: the y '{cell}' is no number from -10 to 10"):
        table.numbers("y", -10, 10)


@pytest.mark.parametrize("cell", ["", "1.0", "+1", "٣", "1e0", "one", "10", "-1", "9" * 40])
def test_whole_numbers_and_codes_are_read_by_their_signs(file, cell):
    table = file(f"x,y\n0,1\n1,{cell}").table(("x", "y"))
    assert table.whole("x", 0, 9).tolist() == table.codes("x", {"0": 0, "1": 1}).tolist() == [0, 1]
    with pytest.raises(CorpusError, match=r"line 3: the y .* is no whole number from 0 to 9"):
        table.whole("y", 0, 9)
    with pytest.raises(CorpusError, match=r"line 3: the y .* is none of 1, 2"):
        table.codes("y", {"1": 7, "2": 8})


def test_rows_that_are_wrong_or_repeated_are_named_by_their_lines(tmp_path):
    table = Table(File(tmp_path, CURE), ["x"], [(3, ["a"]), (5, ["b"]), (9, ["a"])])
    table.refuse(np.zeros(3, bool), None)
    with pytest.raises(CorpusError, match=r"line 5: no b. Or else"):
        table.refuse(np.array([False, True, True]), lambda row: f"no {table.columns['x'][row]}", "Or else")
    with pytest.raises(CorpusError, match=r"line 9: the letter a stands there a second time, after line 3. Mend it"):
        table.refuse_repeated(table.columns["x"], "the letter")


BOMB = "<!DOCTYPE x [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<a>", "not well-formed XML"),
        ("", "not well-formed XML"),
        (BOMB + "]><a>&a11;</a>", "declares a document type"),
        ('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', "declares a document type"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>', "declares a document type"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not"),
        ("<a>&e;</a>", "not well-formed XML"),
    ],
)
def test_xml_that_is_refused(file, content, message):
    with pytest.raises(CorpusError, match=message) as caught:
        file(content).xml()
    assert caught.value.line


def test_entries_are_in_order_without_hidden_ones(tmp_path):
    for name in ("b", "a", "._a", ".DS_Store"):
        (tmp_path / name).touch()
    assert reading.entries(tmp_path, CURE) == [tmp_path / "a", tmp_path / "b"]
    assert reading.entries(tmp_path / "nowhere", CURE, optional=True) == []
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (("nowhere", "no such folder"), ("a", "no such folder"), ("loop", "cannot be read .Too many")):
        with pytest.raises(CorpusError, match=f"{name}: {message}.*Mend it"):
            reading.entries(tmp_path / name, CURE)
    with pytest.raises(CorpusError, match="more than 1 files in one folder"):
        reading.entries(tmp_path, CURE, limit=1)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/a", "a\\b", "C:a", "a\0", 300 * "9"])
def test_a_name_that_leads_elsewhere_or_is_none_is_refused_where_it_stands(file, name):
    with pytest.raises(CorpusError, match=r"a\.csv, line 3: .* (no|the) name of a file"):
        file("").named(name, 3)


def test_links_may_stay_in_the_folder(file, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "real").touch()
    for name, target in (("link", "real"), ("out", tmp_path / "a.csv"), ("loop", "loop")):
        (inside / name).symlink_to(target)
    names = file("")
    assert names.named("link", 1, inside) == inside / "link"
    assert names.named("absent", 1, inside) == inside / "absent"
    for name, message in (("out", "a link to a file outside this folder"), ("loop", "cannot be the name|outside")):
        with pytest.raises(CorpusError, match=message):
            names.named(name, 1, inside)


def test_the_folder_of_a_corpus_may_be_that_of_its_owners(tmp_path):
    def at(path):
        (tmp_path / path / "mark").mkdir(parents=True)
        return reading.corpus_folder(tmp_path, "x", ("Owner",), "mark")

    assert reading.corpus_folder(tmp_path, "x", ("Owner",), "mark") == tmp_path / "x"
    for place in (".", "Owner", "x/Owner", "x"):
        assert at(place) == tmp_path / place
