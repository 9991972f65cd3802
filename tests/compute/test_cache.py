import errno
import hashlib
import os
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.compute import cache as cache_module
from uncertain_affect.compute.cache import cache_dir, cached_arrays, cached_blocks, content_key, entries, prune
from uncertain_affect.compute.paths import project_root
from uncertain_affect.papers import ugn


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    return tmp_path


class Build:
    """Counts its calls."""

    def __init__(self, **arrays):
        self.arrays, self.calls = arrays, 0

    def __call__(self):
        self.calls += 1
        return self.arrays


def test_the_cache_lies_where_the_environment_says_else_in_the_checkout(cache, monkeypatch):
    assert cache_dir() == cache
    monkeypatch.delenv("UNCERTAIN_AFFECT_CACHE")
    assert cache_dir() == project_root() / ".cache" / "uncertain_affect"


# --- content_key ------------------------------------------------------------------------------------------

DISTINCT = [(), ("a", "b"), ("ab",), (["a", "b"],), ([["a"], "b"],)]
DISTINCT += [(value,) for value in (None, 1, 1.0, True, "1", b"1", 0.0, -0.0, float("nan"))]
DISTINCT += [(mapping,) for mapping in ({"a": "b"}, {"a": 1, "b": 2}, {"a": 2, "b": 1})]
DISTINCT += [(np.zeros(4, dtype),) for dtype in (float, np.float32, np.int64)]
DISTINCT += [(np.zeros((2, 2)),), (np.array(["a", "b"]),), (np.array([], np.uint8),), (np.array(1.0),)]


def test_different_content_has_different_keys():
    assert len({content_key(*parts) for parts in DISTINCT}) == len(DISTINCT)


def test_same_content_has_the_same_key():
    array = np.arange(6).reshape(2, 3)
    assert content_key(array) == content_key(torch.arange(6).reshape(2, 3)) == content_key(array.T.copy().T)
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": (2,), "a": np.int32(1)})


def test_keys_are_the_same_on_every_machine_and_release():
    def sha256(text, content=b""):
        return hashlib.sha256(text.encode() + b"\0" + content).digest()

    parts = sha256("str", b"x") + sha256("array [('', '<i4')] (2,)", b"\1\0\0\0\2\0\0\0")
    assert content_key("x", np.array([1, 2], "<i4")) == sha256("sequence", parts).hex()


@given(st.binary(min_size=1), st.data())
def test_every_bit_counts(content, data):
    flipped = bytearray(content)
    flipped[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    as_array = [np.frombuffer(bytes(b), np.uint8) for b in (content, flipped)]
    assert content_key(content) != content_key(bytes(flipped))
    assert content_key(as_array[0]) != content_key(as_array[1])


@pytest.mark.parametrize("part", [object(), {1, 2}, np.array([None]), 1j], ids=["object", "set", "objects", "j"])
def test_what_has_no_plain_content_is_refused(part):
    with pytest.raises(TypeError, match="content_key cannot hash"):
        content_key({"nested": [part]})


# --- cached_arrays ----------------------------------------------------------------------------------------


def test_arrays_come_back_as_they_were_and_are_built_once(cache):
    arrays = {
        "bytes": np.arange(256, dtype=np.uint8).reshape(4, 8, 8),
        "names": np.array(["é", "bc"]),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(2.5),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    build = Build(**arrays)
    for _ in range(2):
        cached = cached_arrays("key", build, kind="images")
        assert list(cached) == list(arrays)
        for name, array in arrays.items():
            assert type(cached[name]) is np.ndarray
            assert cached[name].dtype == array.dtype
            np.testing.assert_array_equal(cached[name], array)
    assert build.calls == 1
    assert {p.name for p in (cache / "images" / "key").glob("*.npy")} == {f"{name}.npy" for name in arrays}


def test_another_key_or_kind_is_built_apart_and_writing_to_an_array_does_not_reach_the_cache(cache):
    build = Build(x=np.zeros(3))
    for key, kind in [("a", "images"), ("b", "images"), ("a", "features")]:
        cached_arrays(key, build, kind=kind)["x"][:] = 1
    np.testing.assert_array_equal(cached_arrays("a", build, kind="features")["x"], np.zeros(3))
    assert build.calls == 3


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("x.npy", lambda content: content[:-1]),
        ("x.npy", lambda content: content[:-1] + b"\xff"),
        ("x.npy", None),  # removed
        *(("checksums.json", lambda _, text=text: text) for text in (b'{"x": "', b"[]", b"{}")),
    ],
)
def test_a_damaged_entry_is_rebuilt_with_a_warning(cache, file, damage):
    build = Build(x=np.arange(3))
    cached_arrays("key", build)
    path = cache / "arrays" / "key" / file
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    with pytest.warns(UserWarning, match="is damaged .* built anew"):
        np.testing.assert_array_equal(cached_arrays("key", build)["x"], np.arange(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached_arrays("key", build)
    assert build.calls == 2


def test_an_array_whose_name_became_that_of_another_is_missed(cache):
    build = Build(a=np.arange(3), c=np.ones(2))
    cached_arrays("key", build)
    checksums = cache / "arrays" / "key" / "checksums.json"
    checksums.write_text(checksums.read_text().replace('"a"', '"c"'))  # one bit; JSON keeps the last of two names
    with pytest.warns(UserWarning, match="checksums.json names other arrays than there are"):
        assert list(cached_arrays("key", build)) == ["a", "c"]


def test_a_build_that_fails_leaves_no_entry_and_a_full_disk_is_recognised_whatever_numpy_says(cache, monkeypatch):
    for build, problem, message in (
        (Mock(side_effect=RuntimeError("no weights")), RuntimeError, "no weights"),
        (Build(fine=np.zeros(1), objects=np.array([None])), ValueError, "Object arrays cannot be saved"),
    ):
        with pytest.raises(problem, match=message):
            cached_arrays("key", build)
    with monkeypatch.context() as full, pytest.raises(OSError, match=r"No space left on device \(40500 req") as caught:
        full.setattr(np, "save", Mock(side_effect=OSError("40500 requested and 19952 written")))
        cached_arrays("key", Build(x=np.zeros(1)))
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in (cache / "arrays").iterdir() if path.suffix != ".lock"] == []
    assert list(cached_arrays("key", Build(x=np.zeros(1)))) == ["x"]


def test_what_a_killed_process_left_is_cleared(cache):
    part = cache / "arrays" / "key.part"
    part.mkdir(parents=True)
    (part / "old.npy").write_bytes(b"half")
    assert list(cached_arrays("key", Build(x=np.zeros(1)))) == ["x"]
    assert not part.exists()


def test_two_at_once_build_once(cache):
    started, release = threading.Event(), threading.Event()
    build = Build(x=np.zeros(1))

    def slow():
        started.set()
        assert release.wait(10)
        return build()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(cached_arrays, "key", slow)
        assert started.wait(10)
        second = pool.submit(cached_arrays, "key", build)
        with pytest.raises(TimeoutError):  # it waits for the first
            second.result(timeout=0.2)
        release.set()
        assert list(first.result(10)) == list(second.result(10)) == ["x"]
    assert build.calls == 1


# --- the code in a key ------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library of two modules that can be rewritten."""
    (tmp_path / "models").mkdir()
    sources = {
        "step.py": f"from {tmp_path.name}.models import net\nfrom {tmp_path.name} import plots\n",
        "models/__init__.py": "",
        "models/net.py": '"""A network."""\nWIDTH = 8\n',
        "plots.py": "COLOUR = 1\n",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    monkeypatch.setattr(cache_module, "LIBRARY", tmp_path)

    def forget():
        cache_module.code_key.cache_clear()
        cache_module._read_code.cache_clear()

    def key():
        forget()
        return cache_module.code_key(f"{tmp_path.name}.step")

    yield tmp_path, key
    forget()


@pytest.mark.parametrize(
    ("name", "source", "counts"),
    [
        ("models/net.py", "WIDTH = 9\n", True),
        ("models/net.py", '"""Another docstring."""\nWIDTH  =  8  # and a comment\n', False),
        ("models/__init__.py", "import torch\n", True),
        ("plots.py", "COLOUR = 2\n", False),
        ("unrelated.py", "X = 1\n", False),
        ("step.py", "from {library}.models import net\nfrom {library} import plots\nX = 1\n", True),
    ],
)
def test_other_code_has_another_key(library, name, source, counts):
    folder, key = library
    before = key()
    (folder / name).write_text(source.replace("{library}", folder.name))
    assert (key() != before) is counts


def test_the_code_of_a_step_is_that_of_all_it_imports():
    keys = {name: cache_module.code_key(f"uncertain_affect.papers.{name}") for name in ("uncnet", "ugn", "pen")}
    assert len(set(keys.values())) == 3
    assert keys["ugn"] == ugn.RECIPE


# --- list and prune ---------------------------------------------------------------------------------------


def test_entries_are_listed_with_what_they_hold(cache):
    arrays = cached_arrays(content_key("a"), Build(x=np.zeros(1000)), kind="networks")
    assert arrays["x"].nbytes == 8000
    cached_arrays("000", Build(x=np.zeros(10)), kind=f"rock/{content_key('search')}/trials")
    (cache / "networks" / f"{content_key('b')}.checkpoint").write_bytes(b"123")
    found = {(e.kind, e.finished): e.size for e in entries()}
    assert found.keys() == {("networks", True), ("networks", False), ("rock", True)}
    assert found["networks", False] == 3
    assert found["networks", True] > 8000


def test_only_what_is_old_and_of_the_kind_is_removed(cache):
    for kind in ("features", "networks"):
        for i in range(2):
            cached_arrays(content_key(i), Build(x=np.zeros(10)), kind=kind)
    old = cache / "networks" / content_key(0)
    for path in (old, *old.iterdir()):
        os.utime(path, (0, 0))
    assert [e.path for e in prune(unused_days=365)] == [old]
    assert len(entries()) == 3
    assert {e.kind for e in prune(kind="features")} == {"features"}
    assert [e.path for e in entries()] == [cache / "networks" / content_key(1)]


def test_what_another_process_is_making_or_searching_is_not_removed(cache):
    assert entries() == prune() == []
    made, search = cache / "arrays" / content_key(0), cache / "rock" / content_key("search")
    cached_arrays(made.name, Build(x=np.zeros(10)))
    cached_arrays("000", Build(x=np.zeros(10)), kind=f"rock/{search.name}/trials")
    with FileLock(f"{made}.lock"), FileLock(search / "1.lock"):
        assert prune() == []
    assert [e.path for e in prune()] == [made, search]
    assert not search.exists()


# --- cached_blocks ----------------------------------------------------------------------------------------


class Rows:
    """Makes rows of a known array, and keeps which were asked for; fails at `broken`."""

    def __init__(self, array, broken=None):
        self.array, self.broken, self.asked = array, broken, []

    def __call__(self, start, stop):
        if self.broken is not None and start <= self.broken < stop:
            raise OSError("the disk is full")
        self.asked.append((start, stop))
        return self.array[start:stop]


TEN = np.arange(10 * 6, dtype=np.int32).reshape(10, 2, 3)
ALL_BLOCKS = [(0, 4), (4, 8), (8, 10)]


@pytest.fixture
def blocks_of_4(cache, monkeypatch):
    monkeypatch.setattr("uncertain_affect.compute.cache.BLOCK_BYTES", 4 * 6 * 4 + 3)
    return cache


def blocks(build):
    return cached_blocks("k" * 64, TEN.shape, np.int32, build, kind="rows")


def test_blocks_are_made_one_by_one_and_once(blocks_of_4):
    first, again = Rows(TEN), Rows(TEN)
    assert (blocks(first) == TEN).all()
    assert first.asked == ALL_BLOCKS
    array = blocks(again)
    assert isinstance(array.base, np.memmap)
    assert (array == TEN).all()
    assert again.asked == []
    array[0] = -1
    assert (blocks(again) == TEN).all()


def test_only_a_block_is_in_memory(cache, monkeypatch):
    monkeypatch.setattr("uncertain_affect.compute.cache.BLOCK_BYTES", 2**20)
    shape = (64, 2**18)  # 16 MB
    tracemalloc.start()
    try:
        array = cached_blocks("k", shape, np.uint8, lambda a, b: np.full((b - a, 2**18), a, np.uint8), kind="rows")
        assert array[-1, -1] == 60
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_what_was_interrupted_goes_on_with_the_block_that_is_missing(blocks_of_4):
    with pytest.raises(OSError, match="disk is full"):
        blocks(Rows(TEN, broken=5))
    build = Rows(TEN)
    assert (blocks(build) == TEN).all()
    assert build.asked == [(4, 8), (8, 10)]


def test_a_damaged_block_is_made_anew_with_a_warning(blocks_of_4):
    blocks(Rows(TEN))
    file = next(blocks_of_4.rglob("array.npy"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    build = Rows(TEN)
    with pytest.warns(UserWarning, match="rows 8 to 9 of .* are damaged"):
        assert (blocks(build) == TEN).all()
    assert build.asked == [(8, 10)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blocks(build)


@pytest.mark.parametrize(
    ("name", "damage", "made_anew"),
    [
        ("array.npy", lambda content: content[:-5], [(8, 10)]),
        ("array.npy", lambda content: b"", ALL_BLOCKS),
        ("array.npy", lambda content: content.replace(b"(10, 2, 3)", b"(10, 3, 2)"), ALL_BLOCKS),
        # a bracket that nothing closes: NumPy raises what tokenize does
        ("array.npy", lambda content: content.replace(b"} ", b"}(", 1), ALL_BLOCKS),
        ("blocks.sha256", None, ALL_BLOCKS),  # removed
        ("blocks.sha256", lambda content: content[:-20], [(8, 10)]),
    ],
)
def test_a_damaged_array_is_made_anew(blocks_of_4, name, damage, made_anew):
    blocks(Rows(TEN))
    file = next(blocks_of_4.rglob(name))
    file.write_bytes(damage(file.read_bytes())) if damage else file.unlink()
    build = Rows(TEN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (blocks(build) == TEN).all()
    assert build.asked == made_anew


def test_two_threads_make_each_block_once(blocks_of_4):
    build = Rows(TEN)
    with ThreadPoolExecutor() as pool:
        assert all((array == TEN).all() for array in pool.map(blocks, 4 * [build]))
    assert build.asked == ALL_BLOCKS
