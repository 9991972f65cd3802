import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from uncertain_affect.corpora import CorpusError, download, ferplus

CONTENT = b"Usage,Image name\nTraining,fer0000000.png\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path_factory, monkeypatch):
    """Serves the published file of FER+ from this machine; returns the folder it is served from."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "fer2013new.csv").write_bytes(CONTENT)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}/fer2013new.csv"
        source = download.Source(url, "ferplus/fer2013new.csv", hashlib.sha256(CONTENT).hexdigest())
        monkeypatch.setitem(download.SOURCES, "ferplus", (source,))
        yield folder
        http.shutdown()


def test_the_file_is_fetched_and_the_rest_explained(server, tmp_path, capsys):
    assert download.get("ferplus", tmp_path) == [tmp_path / "ferplus/fer2013new.csv"]
    assert (tmp_path / "ferplus/fer2013new.csv").read_bytes() == CONTENT
    printed = capsys.readouterr().out
    assert "fer2013new.csv is the published file" in printed
    assert ferplus.GET_IMAGES in printed


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    download.get("ferplus", tmp_path)
    (server / "fer2013new.csv").unlink()
    assert download.get("ferplus", tmp_path) == [tmp_path / "ferplus/fer2013new.csv"]


def test_images_that_are_there_need_no_explanation(server, tmp_path, capsys):
    (tmp_path / "ferplus").mkdir()
    (tmp_path / "ferplus/fer2013.csv").write_text("emotion,pixels,Usage\n")
    download.get("ferplus", tmp_path)
    assert "Kaggle" not in capsys.readouterr().out


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, tmp_path):
    (server / "fer2013new.csv").write_bytes(CONTENT + b"x")
    with pytest.raises(CorpusError, match=r"http://.*/fer2013new.csv: not the published file: its SHA-256.*Try again"):
        download.get("ferplus", tmp_path)
    assert list((tmp_path / "ferplus").iterdir()) == []


def test_another_file_in_its_place_is_left_alone(server, tmp_path):
    (tmp_path / "ferplus").mkdir()
    (tmp_path / "ferplus/fer2013new.csv").write_bytes(b"mine")
    with pytest.raises(CorpusError, match=r"ferplus/fer2013new.csv: not the published file.*Move it away"):
        download.get("ferplus", tmp_path)
    assert (tmp_path / "ferplus/fer2013new.csv").read_bytes() == b"mine"


def test_what_cannot_be_reached_is_named(server, tmp_path):
    (server / "fer2013new.csv").unlink()
    with pytest.raises(CorpusError, match=r"http://.*/fer2013new.csv: cannot be fetched .*404.*fetch it by hand to"):
        download.get("ferplus", tmp_path)


def test_an_unknown_corpus_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"nothing can be fetched for 'bp4d'. Known: ferplus"):
        download.get("bp4d", tmp_path)


@pytest.mark.data
def test_the_real_file_is_the_published_one(data_root):
    (source,) = download.SOURCES["ferplus"]
    file = data_root / source.path
    if not file.is_file():
        pytest.skip(f"FER+ is not in {data_root}")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == source.sha256
