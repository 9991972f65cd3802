"""What the six licensed corpora have in common: what is read whatever the form of the files, and what is refused."""

import importlib
import os
import pickle
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import trees
from licensed import CORPORA, ROWS

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, recola


def pairs(values_of):
    """(corpus, value) for each value that `values_of` gives for a corpus."""
    return [pytest.param(name, value, id=f"{name}-{value}") for name, c in CORPORA.items() for value in values_of(c)]


each_corpus = pytest.mark.parametrize("name", CORPORA)
each_text = pytest.mark.parametrize(("name", "file"), pairs(lambda corpus: corpus.texts))


@pytest.fixture(autouse=True)
def short_recordings(monkeypatch):
    monkeypatch.setattr(recola, "ROWS", ROWS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Data root and checksum of each corpus as it should be; nobody may change the files."""
    roots = {name: trees.write(tmp_path_factory.mktemp(name), corpus.files) for name, corpus in CORPORA.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recola, "ROWS", ROWS)
        return {name: (root, load(name, root).checksum()) for name, root in roots.items()}


@pytest.fixture
def spoilt(whole, tmp_path):
    """Makes a copy of a corpus in which some files are others; the rest are links to the whole one's."""

    def make(name: str, files: trees.Files) -> Path:
        shutil.copytree(whole[name][0], tmp_path, copy_function=os.link, dirs_exist_ok=True)
        for file in files:
            (tmp_path / file).unlink()
        return trees.write(tmp_path, files)

    return make


def load(name: str, root: Path) -> corpora.Corpus:
    return corpora.load(name, root, **CORPORA[name].options)


@pytest.mark.parametrize("change", trees.HARMLESS)
@each_corpus
def test_the_form_of_text_files_changes_nothing(whole, spoilt, name, change):
    files = {file: CORPORA[name].files[file] for file in CORPORA[name].texts}
    if change.startswith("blank"):  # XML may not end otherwise
        files = {file: content for file, content in files.items() if not file.endswith(".xml")}
    root = spoilt(name, {file: trees.HARMLESS[change](content) for file, content in files.items()})
    assert load(name, root).checksum() == whole[name][1]


@each_corpus
def test_the_order_in_which_a_folder_is_listed_changes_nothing(whole, name, monkeypatch):
    scandir = os.scandir

    @contextmanager
    def backwards(*folder):
        with scandir(*folder) as scan:
            yield iter(sorted(scan, key=lambda entry: entry.name, reverse=True))

    monkeypatch.setattr(os, "scandir", backwards)
    assert load(name, whole[name][0]).checksum() == whole[name][1]


@pytest.mark.parametrize(("name", "place"), pairs(lambda corpus: corpus.places))
def test_the_folder_of_the_owners_is_found_too(whole, name, place, tmp_path):
    files = {f"{place}/{file.removeprefix(f'{name}/')}": content for file, content in CORPORA[name].files.items()}
    root = trees.write(tmp_path, files)
    assert corpora.is_available(name, root)
    assert load(name, root).checksum() == whole[name][1]


@each_corpus
def test_nothing_is_unpickled(whole, name, monkeypatch):
    for reader in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, reader, None)
    assert load(name, whole[name][0]).checksum() == whole[name][1]


@each_corpus
def test_an_empty_data_root_is_refused_and_says_what_to_do(name, tmp_path):
    assert not corpora.is_available(name, tmp_path)
    for door in (corpora.load, corpora.check):
        with pytest.raises(CorpusError) as caught:
            door(name, tmp_path)
        assert str(caught.value.path).startswith(str(tmp_path))
        assert caught.value.cure


@each_corpus
def test_it_is_available_with_all_its_parts_alone(whole, spoilt, name):
    assert corpora.is_available(name, whole[name][0])
    root = spoilt(name, {})
    shutil.rmtree(root / CORPORA[name].needed)
    assert not corpora.is_available(name, root)


@each_corpus
def test_it_says_where_its_layout_is_known_from(name):
    assert "\nKnown from: " in importlib.import_module(f"uncertain_affect.corpora.{name}").__doc__


@each_corpus
def test_what_a_mac_adds_to_archives_is_passed_over(spoilt, whole, name):
    root = spoilt(name, {})
    for file in CORPORA[name].files:
        place, _, own = file.rpartition("/")
        for folder in (place, f"{name}/__MACOSX/{place.partition('/')[2]}"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"._{own}").write_bytes(b"Mac OS X")
    assert corpora.is_available(name, root)
    assert load(name, root).checksum() == load(name, whole[name][0]).checksum()


@each_corpus
def test_each_row_that_is_lost_or_there_twice_is_reported(spoilt, name, monkeypatch):
    """By an error that names the file and the line, or by another count in what `check` compares."""
    root = spoilt(name, {})

    def counts():
        table = corpora.check(name, root)
        return table[table["expected"] != "any"].to_csv()

    usual, corpus = counts(), CORPORA[name]
    texts = {file: corpus.files[file] for file in corpus.texts if not file.endswith(".xml")}
    for file in texts:
        (root / file).unlink()  # a link: the whole corpus stays as it is
        (root / file).write_bytes(texts[file])
    for file, content in trees.planted(texts, corpus.rows_of):
        (root / file).write_bytes(content)
        try:
            assert counts() != usual, (file, content)
        except CorpusError as error:
            assert error.path.parent.parent in (root / file).parents, error
            assert error.line is not None
        (root / file).write_bytes(texts[file])
    assert counts() == usual


@each_corpus
def test_check_compares_with_what_was_published(whole, name):
    table = corpora.check(name, whole[name][0])
    assert {row: table.loc[row].tolist() for row in CORPORA[name].check} == CORPORA[name].check


@pytest.mark.parametrize(("name", "case"), pairs(lambda corpus: corpus.malformed))
def test_what_is_malformed_is_refused_by_file_line_reason_and_cure(spoilt, name, case):
    file, old, new, line, message = CORPORA[name].malformed[case]
    content = new.encode() if old is None else trees.replaced(CORPORA[name].files, file, old, new)[file]
    root = spoilt(name, {file: content})
    with pytest.raises(CorpusError, match=message) as caught:
        load(name, root)
        corpora.check(name, root)
    assert caught.value.line == line or line is None
    assert caught.value.path.parent in ((root / file).parent, (root / file).parents[1] / "EmoEvaluation")
    assert caught.value.cure


@pytest.mark.parametrize(("name", "case"), pairs(lambda corpus: corpus.contradictory))
def test_what_contradicts_itself_is_refused(tmp_path, name, case):
    changes, message = CORPORA[name].contradictory[case]
    files = {file: content for file, content in (CORPORA[name].files | changes).items() if content is not None}
    with pytest.raises(CorpusError, match=message):
        load(name, trees.write(tmp_path, files))


@pytest.mark.parametrize("change", trees.ANYWHERE)
@each_text
def test_what_is_no_text_is_refused(spoilt, name, file, change):
    alter, message = trees.ANYWHERE[change]
    if file.endswith(".xml") or ("wordLevel" in file and message == "the file is empty"):
        return  # XML has its own; where nobody spoke a transcript is empty
    root = spoilt(name, {file: alter(CORPORA[name].files[file])})
    with pytest.raises(CorpusError, match=message) as caught:
        load(name, root)
    assert caught.value.path == root / file


@pytest.mark.parametrize("what", trees.IN_ITS_PLACE)
@each_text
def test_something_else_in_the_place_of_a_file(whole, spoilt, name, file, what):
    root, (put, message) = spoilt(name, {file: b""}), trees.IN_ITS_PLACE[what]
    (root / file).unlink()
    put(root / file)
    if what == "unreadable" and os.access(root / file, os.R_OK):
        pytest.skip("this user may read everything")
    if what == "nothing" and file in CORPORA[name].optional:
        assert load(name, root).checksum() != whole[name][1]
        return
    with pytest.raises(CorpusError, match=CORPORA[name].missing if what == "nothing" else message):
        load(name, root)
