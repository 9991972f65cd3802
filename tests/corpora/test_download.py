import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pooch
import pytest

from uncertain_affect.corpora import KNOWN, CorpusError, about, download, ferplus

FILE, CONTENT = "ferplus/fer2013new.csv", b"Usage,Image name\nTraining,fer0000000.png\n"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files; the server's `failing` first requests get no answer, `cut` ones less than was announced."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append(self.path)
        self.path = urlsplit(self.path).path  # a proxy is asked for the whole address
        if self.server.failing:
            self.server.failing -= 1
            self.send_error(503)
        elif self.server.cut:
            self.server.cut -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:20])
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path_factory, monkeypatch):
    """Serves the published file of FER+ from this machine; returns the folder it is served from, and the server."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "fer2013new.csv").write_bytes(CONTENT)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    waited = []
    monkeypatch.setattr(pooch.core.time, "sleep", waited.append)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        http.failing, http.cut, http.requests, http.folder, http.waited = 0, 0, [], folder, waited
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}/fer2013new.csv"
        source = download.Source(url, FILE, hashlib.sha256(CONTENT).hexdigest())
        monkeypatch.setitem(download.SOURCES, "ferplus", (source,))
        yield http
        http.shutdown()


def test_the_file_is_fetched_once_and_the_rest_explained(server, tmp_path, capsys):
    assert download.get("ferplus", tmp_path) == [tmp_path / FILE]
    assert (tmp_path / FILE).read_bytes() == CONTENT
    printed = capsys.readouterr().out
    assert "fer2013new.csv is the published file" in printed
    assert ferplus.GET_IMAGES in printed
    (server.folder / "fer2013new.csv").unlink()
    (tmp_path / "ferplus/fer2013.csv").write_text("emotion,pixels,Usage\n")
    assert download.get("ferplus-votes", tmp_path) == [tmp_path / FILE]  # another name
    assert "Kaggle" not in capsys.readouterr().out


def test_of_many_files_one_line_is_printed_and_the_terms(server, tmp_path, capsys, monkeypatch):
    (source,) = download.SOURCES["ferplus"]
    sources = [download.Source(source.url, f"ceap360vr/{n}/a.csv", source.sha256) for n in range(11)]
    monkeypatch.setitem(download.SOURCES, "ceap360vr", sources)
    assert all(file.read_bytes() == CONTENT for file in download.get("ceap360vr", tmp_path))
    printed = capsys.readouterr().out
    assert f"All 11 files in {tmp_path / 'ceap360vr'} are the published ones." in printed
    assert "CC BY-NC 4.0" in printed


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, tmp_path):
    (server.folder / "fer2013new.csv").write_bytes(CONTENT + b"x")
    with pytest.raises(CorpusError, match=r"http://.*/fer2013new.csv: not the published file: its SHA-256.*Try again"):
        download.get("ferplus", tmp_path)
    assert list((tmp_path / "ferplus").iterdir()) == []
    (server.folder / "fer2013new.csv").unlink()
    with pytest.raises(CorpusError, match=r"http://.*/fer2013new.csv: cannot be fetched .*404.*fetch it by hand to"):
        download.get("ferplus", tmp_path)


def test_another_file_in_its_place_is_left_alone(server, tmp_path):
    (tmp_path / "ferplus").mkdir()
    (tmp_path / FILE).write_bytes(b"mine")
    with pytest.raises(CorpusError, match=r"ferplus/fer2013new.csv: not the published file.*Move it away"):
        download.get("ferplus", tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"mine"


def test_a_server_that_fails_is_asked_again(server, tmp_path):
    server.failing, server.cut = 2, 1
    assert download.get("ferplus", tmp_path)[0].read_bytes() == CONTENT
    assert len(server.requests) == 4
    assert server.waited == [1, 2, 3]


@pytest.mark.parametrize(("trouble", "message"), [("cut", "cannot be fetched|not the published"), ("failing", "503")])
def test_a_truncated_file_or_a_broken_server_leaves_nothing(server, tmp_path, trouble, message):
    setattr(server, trouble, 9)
    with pytest.raises(CorpusError, match=message):
        download.get("ferplus", tmp_path)
    assert len(server.requests) == 1 + download.RETRIES
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_it_goes_through_the_proxy_that_the_environment_names(server, tmp_path, monkeypatch):
    far = download.Source("http://example.invalid/fer2013new.csv", FILE, download.SOURCES["ferplus"][0].sha256)
    monkeypatch.setitem(download.SOURCES, "ferplus", (far,))
    for variable in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_port}")
    # this proxy answers by itself: no name of that kind exists
    assert download.get("ferplus", tmp_path)[0].read_bytes() == CONTENT
    assert server.requests == ["http://example.invalid/fer2013new.csv"]


@pytest.mark.parametrize("name", ["faces", *(name for name in KNOWN if name not in download.SOURCES)])
def test_what_cannot_be_fetched_is_refused_and_says_how_to_get_it(name, tmp_path):
    with pytest.raises(CorpusError) as caught:
        download.get(name, tmp_path)
    known = "nothing can be fetched for 'faces'. Known: ferplus, meld, emobank, ceap360vr, facenet-casia"
    assert (known if name == "faces" else f"from here. How to get it: {about(name).how_to_get}") in str(caught.value)
    assert list(tmp_path.iterdir()) == []
