import io
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from uncertain_affect.corpora import CorpusError, images
from uncertain_affect.corpora.images import decode, faces, numbered


def picture(side=32, seed=0):
    """A smooth one: JPEG hardly changes it."""
    small = np.random.default_rng(seed).integers(60, 200, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def write(path, side=32, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(side, seed).save(path, quality=95)
    return path


def test_names_are_numbers_and_of_several_faces_the_first_counts(tmp_path):
    for name in ("12.jpg", "0009.JPG", "     3.jpeg", "100.png", "frame_det_00_000002.bmp", "frame_det_01_000002.bmp"):
        (tmp_path / name).touch()
    for name in (".DS_Store", "keypoints.csv", "._12.jpg", "a12.jpg", "12.gif", "12.jpg.txt", "-4.jpg", "٣.jpg"):
        (tmp_path / name).touch()
    assert list(numbered(tmp_path)) == [2, 3, 9, 12, 100]
    assert [numbered(tmp_path)[number].name for number in (2, 9)] == ["frame_det_00_000002.bmp", "0009.JPG"]


def test_no_folder_one_number_twice_and_too_many_files(tmp_path, monkeypatch):
    assert numbered(tmp_path / "none") == {}
    for name in ("312.jpg", "0312.jpg"):
        (tmp_path / name).touch()
    assert numbered(tmp_path / "312.jpg") == {}
    with pytest.raises(CorpusError, match="frame 312 a second time"):
        numbered(tmp_path)
    monkeypatch.setattr(images, "MAX_FILES", 1)
    with pytest.raises(CorpusError, match="more than 1 files"):
        numbered(tmp_path)


@pytest.mark.parametrize(("suffix", "tolerance"), [("jpg", 15), ("png", 0), ("bmp", 0)])
def test_a_face_as_it_is(tmp_path, suffix, tolerance):
    path = write(tmp_path / f"1.{suffix}")
    expected = {True: np.moveaxis(np.asarray(picture()), -1, 0), False: np.asarray(picture().convert("L"))}
    for colour, pixels in expected.items():
        face = decode(path, 32, colour)
        assert face.dtype == np.uint8
        assert face.shape == pixels.shape
        assert np.abs(face - pixels.astype(int)).max() <= tolerance


@pytest.mark.parametrize("side", [8, 20, 64])
def test_a_smaller_face_is_the_same_face(tmp_path, side):
    """A JPEG is decoded at a smaller size, which must not move or darken it."""
    face = decode(write(tmp_path / "1.jpg", side=128), side, False).astype(float)
    expected = np.asarray(picture(128).convert("L").resize((side, side), Image.Resampling.BOX)).astype(float)
    assert np.abs(face - expected).mean() < 3


def saved(image, kind):
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


JPEG, PNG, BMP = (saved(picture(), kind) for kind in ("JPEG", "PNG", "BMP"))
BROKEN = {
    "empty": (b"", "damaged"),
    "text": (b"no image at all", "damaged"),
    "truncated": (JPEG[:-200], "truncated"),
    "cut in its header": (JPEG[:30], "damaged"),
    "grey": (saved(picture().convert("L"), "JPEG"), "of mode L"),
    "CMYK": (saved(picture().convert("CMYK"), "JPEG"), "of mode CMYK"),
    "transparent": (saved(picture().convert("RGBA"), "PNG"), "of mode RGBA"),
    "of a palette": (saved(picture().convert("P"), "PNG"), "of mode P"),
    "not square": (saved(picture().crop((0, 0, 32, 30)), "PNG"), "32 x 30 pixels are no square crop"),
    "a GIF": (saved(picture(), "GIF"), "damaged"),
    "truncated PNG": (PNG[:-40], "truncated"),
    "truncated BMP": (BMP[:-40], "truncated"),
    "huge": (saved(Image.new("RGB", (3000, 3000)), "PNG"), "3000 x 3000 pixels, more than a crop can have"),  # 26 kB
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_images(tmp_path, name):
    content, reason = BROKEN[name]
    path = tmp_path / "5.jpg"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"5\.jpg: .*Crop it") as error:
        decode(path, 16, True, cure="Crop it")
    assert reason in str(error.value)
    assert error.value.path == path


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = write(tmp_path / "1.png", 2000)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # Pillow opens nothing of more than twice as many
        for read in (lambda: decode(path, 16, True), lambda: faces([path], 16, True)):
            with pytest.raises(CorpusError, match="decompression bomb"):
                read()
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(CorpusError, match="more than such a file can have"):
        decode(path, 16, True)


@given(st.one_of(st.binary(max_size=200), st.binary(min_size=1, max_size=30)), st.integers(0, 2), st.integers(0, 600))
def test_any_bytes_give_a_face_or_a_corpus_error(tmp_path_factory, content, kind, at):
    whole = (JPEG, PNG, BMP)[kind]
    path = tmp_path_factory.getbasetemp() / "any.jpg"
    for spoilt in (content, whole[:at] + content + whole[at + len(content) :], whole[:at] + content):
        path.write_bytes(spoilt)
        try:
            assert decode(path, 8, False).shape == (8, 8)
        except CorpusError as error:
            assert error.path == path


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Ten faces, and an empty cache."""
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "cache"))
    return [write(tmp_path / "faces" / f"{n}.jpg", seed=n) for n in range(10)]


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded from here on."""
    names = []

    def counted(path, *args):
        names.append(path.name)
        return decode(path, *args)

    monkeypatch.setattr(images, "decode", counted)
    return names


def test_faces_are_decoded_once_into_a_mapped_array(files, decoded):
    first = faces(files, 16, True)
    assert tuple(first.shape) == (10, 3, 16, 16)
    assert torch.equal(first, torch.tensor(np.stack([decode(file, 16, True) for file in files])))
    assert sorted(decoded) == sorted(file.name for file in files)
    decoded.clear()
    again = faces(files, 16, True)
    assert torch.equal(first, again)
    assert decoded == []
    again[0] = 7  # a reader's own copy of the page
    assert torch.equal(faces(files, 16, True), first)


def test_other_options_order_or_files_are_another_array_and_a_copy_elsewhere_is_not(files, decoded, tmp_path):
    one = faces(files, 16, False)
    assert tuple(one.shape) == (10, 16, 16)
    decoded.clear()
    shutil.copytree(tmp_path / "faces", tmp_path / "elsewhere", copy_function=shutil.copy2)
    assert torch.equal(faces([tmp_path / "elsewhere" / file.name for file in files], 16, False), one)
    assert decoded == []
    assert torch.equal(faces(files[::-1], 16, False), one.flip(0))
    assert faces(files, 8, False).shape[-1] == 8
    decoded.clear()
    write(files[3], seed=99)
    assert not torch.equal(faces(files, 16, False), one)
    assert len(decoded) == 10


def test_a_broken_face_is_named_and_what_was_done_is_kept(files, decoded, monkeypatch):
    monkeypatch.setattr("uncertain_affect.compute.cache.BLOCK_BYTES", 2 * 16 * 16)
    state = files[7].stat()
    content, times = files[7].read_bytes(), (state.st_atime_ns, state.st_mtime_ns)
    files[7].write_bytes(b"x" * len(content))
    os.utime(files[7], ns=times)
    with pytest.raises(CorpusError, match=r"7\.jpg: truncated or damaged"):
        faces(files, 16, False)
    files[7].write_bytes(content)
    os.utime(files[7], ns=times)
    decoded.clear()
    assert torch.equal(faces(files, 16, False)[7], torch.tensor(decode(files[7], 16, False)))
    assert sorted(decoded) == ["6.jpg", "7.jpg", "8.jpg", "9.jpg"]


def test_what_cannot_be_decoded_together(files, tmp_path):
    other = write(tmp_path / "faces/11.jpg", side=40)
    for paths, side, message in (
        ([], 16, "no face image was found"),
        (files, 0, "1 to 2048 pixels"),
        ([tmp_path / "none.jpg"], 16, r"none\.jpg: no such file"),
        ([*files, other], 16, r"11\.jpg: 40 x 40 pixels, others have 32 x 32"),
    ):
        with pytest.raises(CorpusError, match=message):
            faces(paths, side, True)
