import os

import pytest

from uncertain_affect.corpora import CorpusError, reading


def test_entries_are_in_order_without_hidden_ones(tmp_path):
    for name in ("b", "a", "._a", ".DS_Store"):
        (tmp_path / name).touch()
    assert reading.entries(tmp_path, "") == [tmp_path / "a", tmp_path / "b"]


def test_a_folder_that_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (("nowhere", "no such folder"), ("file", "no such folder"), ("loop", "a loop of links")):
        with pytest.raises(CorpusError, match=f"{name}: {message}. Mend it"):
            reading.entries(tmp_path / name, "Mend it")
    monkeypatch.setattr(reading, "ENTRIES", 0)
    with pytest.raises(CorpusError, match="more than 0 files in one folder"):
        reading.entries(tmp_path, "")


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/a", "a\\b", "C:a", "a\0"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(CorpusError, match=r"list\.xml, line 3: .* is no name of a file in this folder"):
        reading.named(tmp_path, name, tmp_path / "list.xml", 3, "")


def test_a_name_that_no_file_can_have_is_refused_where_it_stands(tmp_path):
    with pytest.raises(CorpusError, match="cannot be the name of a file: File name too long") as refused:
        reading.named(tmp_path, 300 * "9", tmp_path / "session.xml", 3, "Get it again.")
    assert refused.value.path == tmp_path / "session.xml" and refused.value.line == 3


def test_links_may_stay_in_the_folder(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.touch()
    (inside / "real").touch()
    (inside / "link").symlink_to("real")
    (inside / "out").symlink_to(outside)
    (inside / "loop").symlink_to("loop")
    assert reading.named(inside, "link", inside / "x", 1, "") == inside / "link"
    assert reading.named(inside, "absent", inside / "x", 1, "") == inside / "absent"
    for name, message in (("out", "a link to a file outside this folder"), ("loop", "a loop of links|outside")):
        with pytest.raises(CorpusError, match=message):
            reading.named(inside, name, inside / "x", 1, "")


@pytest.mark.parametrize("cell", ["1", "+1", "-1.", ".5", "1e1", "-2.5E-1"])
def test_numbers(tmp_path, cell):
    assert reading.number(cell, "it", -10, 10, tmp_path, 1, "") == float(cell)


@pytest.mark.parametrize("cell", ["", "nan", "inf", "1_0", "0x1", "1,5", " 1", "1e9999", "１", "--1", "e"])
def test_what_python_takes_for_a_number_and_a_file_should_not_hold(tmp_path, cell):
    with pytest.raises(CorpusError, match=r"line 2: it is .*no number"):
        reading.number(cell, "it", -1e300, 1e300, tmp_path, 2, "")


BOMB = "<!DOCTYPE x [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<a>", "not well-formed XML"),
        ("", "not well-formed XML"),
        ("hello", "not well-formed XML"),
        (BOMB + "]><a>&a11;</a>", "declares a document type"),
        ('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', "declares a document type"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>', "declares a document type"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not"),
        ("<a>&e;</a>", "not well-formed XML"),
    ],
)
def test_xml_that_is_refused(tmp_path, content, message):
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(CorpusError, match=message) as caught:
        reading.xml(path, "")
    assert caught.value.path == path
    assert caught.value.line


def test_place_finds_the_owners_folder(tmp_path):
    def at(path):
        (tmp_path / path / "mark").mkdir(parents=True)
        return reading.place(tmp_path, "x", ("Owner",), "mark")

    assert reading.place(tmp_path, "x", ("Owner",), "mark") == tmp_path / "x"
    assert at(".") == tmp_path
    assert at("Owner") == tmp_path / "Owner"
    assert at("x/Owner") == tmp_path / "x" / "Owner"
    assert at("x") == tmp_path / "x"
    assert os.path.isdir(at("y"))
