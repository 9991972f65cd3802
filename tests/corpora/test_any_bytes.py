"""Any bytes give a result, or a `CorpusError` that names the file; never another exception."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from parsers import PARSERS

from uncertain_affect.corpora import CorpusError

SIGNS = [b"", b"\n", b"\r\n", b",", b";", b" ", b"\t", b"'", b'"', b"\xff", b"\0"]
NUMBERS = [b"nan", b"-1", b"1e999", b"9" * 5000]


def changed(seed: bytes):
    """The whole file with a piece of it replaced: near to what is read, and so deeper in the parser than any bytes."""
    piece = st.one_of(st.sampled_from(SIGNS + NUMBERS), st.binary(max_size=8))
    once = st.tuples(st.integers(0, len(seed)), st.integers(0, 12), piece)

    def edited(edits) -> bytes:
        content = seed
        for start, length, piece in edits:
            content = content[:start] + piece + content[start + length :]
        return content

    return st.lists(once, min_size=1, max_size=3).map(edited)


@pytest.mark.parametrize("name", PARSERS)
def test_whole_files_are_read(name, tmp_path):
    parser = PARSERS[name]
    path = tmp_path / parser.file
    path.write_bytes(parser.seed)
    try:
        parser.call(path)
    except CorpusError as error:  # those of a size that was published
        assert "expected" in error.reason or "were published" in error.reason, error


@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes(name, tmp_path_factory):
    parser = PARSERS[name]
    path = tmp_path_factory.mktemp("bytes") / parser.file

    @given(st.one_of(st.binary(max_size=200), changed(parser.seed)))
    @example(b"")
    @example(b"[" * 100_000)
    @example(b'{"a":' * 10_000)
    @example(b"9" * 5000)
    @example(b"\xef\xbb\xbf")
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def check(content):
        path.write_bytes(content)
        try:
            parser.call(path)
        except CorpusError as error:
            assert error.path == path
            assert error.reason

    check()
