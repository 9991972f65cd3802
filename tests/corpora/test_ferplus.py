import contextlib
import csv
import io
import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, ferplus

# A corpus in small, a row: Usage, name, votes. What is odd in the real one: a row without a name, two of no face, a
# name that is there twice with the same votes and one that is there twice with others (of which one is no face), a row
# of nine votes, and the same picture in several splits (rows 0, 4 and 6) and twice in one (rows 1 and 2).
NO_FACE = [0] * 9 + [10]
ROWS = [
    ("Training", "fer0000000.png", [4, 0, 0, 1, 3, 2, 0, 0, 0, 0]),
    ("Training", "fer0000001.png", [9, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
    ("Training", "fer0000001.png", [9, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
    ("Training", "", NO_FACE),
    ("PublicTest", "fer0000007.png", [4, 0, 0, 0, 0, 3, 1, 0, 1, 0]),
    ("PublicTest", "fer0000008.png", [0, 0, 0, 0, 0, 0, 0, 0, 6, 4]),
    ("PrivateTest", "fer0000009.png", [0, 10, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("PrivateTest", "fer0000010.png", [5, 0, 0, 1, 1, 0, 0, 0, 3, 0]),
    ("PrivateTest", "fer0000010.png", NO_FACE),
    ("PrivateTest", "fer0000011.png", NO_FACE),
]
KEPT = [0, 1, 2, 4, 5, 6, 7]
HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF".split(",")
FOLDER = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


def pictures() -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (len(ROWS), 48, 48), dtype=np.uint8)
    images[[4, 6]] = images[0]
    images[2] = images[1]
    images[8] = images[7]
    return images


def image_rows():
    return [[0, " ".join(map(str, image.ravel())), row[0]] for row, image in zip(ROWS, pictures(), strict=True)]


def write_csv(root, rows, name="fer2013.csv", header=("emotion", "pixels", "Usage")):
    path = root / "ferplus" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_labels(root, rows=ROWS, header=HEADER):
    write_csv(root, [[usage, name, *votes] for usage, name, votes in rows], "fer2013new.csv", header)


@pytest.fixture
def folders(tmp_path):
    """A data root with the small corpus in the FER+ authors' layout."""
    write_labels(tmp_path)
    for folder in FOLDER.values():
        (tmp_path / "ferplus/data" / folder).mkdir(parents=True)
        (tmp_path / "ferplus/data" / folder / "label.csv").write_text("older votes: not read\n")
    for (usage, name, _), image in zip(ROWS, pictures(), strict=True):
        if name:
            Image.fromarray(image).save(tmp_path / "ferplus/data" / FOLDER[usage] / name)
    return tmp_path


@pytest.fixture
def kaggle(tmp_path):
    """A data root with the small corpus in Kaggle's layout."""
    write_labels(tmp_path)
    write_csv(tmp_path, image_rows())
    return tmp_path


def load_fails(root, message, line=None):
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("ferplus", root)
    assert caught.value.path and caught.value.cure
    assert caught.value.line == line
    return caught.value


def edited(row, column, value):
    """The rows with another usage (column 0), name (1) or count of votes in one of them."""
    rows = [[usage, name, *votes] for usage, name, votes in ROWS]
    rows[row][column] = value
    return [(usage, name, votes) for usage, name, *votes in rows]


@pytest.fixture(params=["folders", "kaggle"])
def root(request):
    return request.getfixturevalue(request.param)


def test_the_rows_of_the_paper_are_read_from_either_layout(root):
    corpus = corpora.load("ferplus", root)
    np.testing.assert_array_equal(corpus.images.numpy(), pictures()[KEPT])
    assert corpus.votes.tolist() == [ROWS[row][2] for row in KEPT]
    assert corpus.split.tolist() == ["train", "train", "train", "test", "test", "val", "val"]
    assert corpus.names.tolist() == [ROWS[row][1] for row in KEPT]
    assert corpus.groups.tolist() == [0, 1, 1, 0, 2, 0, 3]
    assert corpus.classes == tuple(HEADER[2:])
    assert corpus.left_out == {"no image name": 1, "no vote in the nine classes": 2}
    assert corpus.duplicates_of_training().tolist() == [False, False, False, True, False, True, False]


def test_it_is_available_only_with_votes_and_images(root, tmp_path_factory):
    assert corpora.is_available("ferplus", root)
    (root / "ferplus/fer2013new.csv").unlink()
    assert not corpora.is_available("ferplus", root)
    load_fails(root, r"fer2013new.csv: no such file. Fetch the published file with `uncertain-affect data get ferplus`")
    votes = tmp_path_factory.mktemp("votes")
    write_labels(votes)
    assert not corpora.is_available("ferplus", votes)
    load_fails(votes, r"ferplus: neither .* is there. FER2013 may not be redistributed: .* Kaggle")


def test_the_images_are_decoded_once(root, monkeypatch):
    first = corpora.load("ferplus", root)
    monkeypatch.setattr(ferplus, "read_png", None)
    monkeypatch.setattr(ferplus, "read_images", None)
    assert corpora.load("ferplus", root).checksum() == first.checksum()


def test_a_byte_order_mark_windows_lines_and_blank_lines_do_no_harm(root):
    path = root / "ferplus/fer2013new.csv"
    lines = path.read_text().splitlines()
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines[:3], "", *lines[3:], "", ""]).encode())
    assert len(corpora.load("ferplus", root)) == len(KEPT)


def test_an_image_that_changes_is_decoded_again(folders):
    corpora.load("ferplus", folders)
    train = folders / "ferplus/data/FER2013Train"
    Image.fromarray(np.full((48, 48), 7, np.uint8)).save(train / "fer0000000.png")
    (train / "._fer0000000.png").write_bytes(b"Mac OS X")  # what macOS leaves is no image
    assert (corpora.load("ferplus", folders).images[0] == 7).all()


def test_folders_without_images_are_those_of_a_clone_and_the_csv_is_read(kaggle):
    for folder in FOLDER.values():
        (kaggle / "ferplus/data" / folder).mkdir(parents=True)
    assert len(corpora.load("ferplus", kaggle)) == len(KEPT)


def test_images_and_votes_must_belong_together(folders):
    data = folders / "ferplus/data"
    write_labels(folders, ROWS[1:])
    load_fails(folders, r"fer2013new.csv: no line for data/FER2013Train/fer0000000.png \(1 images without")
    write_labels(folders, edited(2, 2, 8))
    load_fails(folders, "votes for fer0000001.png that are not those of line 3", line=4)
    write_labels(folders)
    (data / "FER2013Valid/fer0000007.png").unlink()
    error = load_fails(folders, r"there is no data/FER2013Valid/fer0000007.png \(1 missing\)", line=6)
    assert error.path.name == "fer2013new.csv"
    shutil.rmtree(data / "FER2013Test")
    load_fails(folders, "FER2013Test: no such folder")


@pytest.mark.parametrize(
    ("mode", "size"),
    [("L", (64, 48)), ("L", (48, 47)), *((mode, (48, 48)) for mode in ("RGB", "1", "P", "LA", "I;16"))],
)
def test_an_image_of_another_size_or_mode_is_refused(folders, mode, size):
    Image.new(mode, size).save(folders / "ferplus/data/FER2013Test/fer0000009.png")
    kind = f"{size[0]} x {size[1]} pixels of mode {mode}"
    error = load_fails(folders, rf"{kind}, not 48 x 48 of mode L \(8-bit grey\). Line 8 of fer2013new.csv names it")
    assert error.path.name == "fer0000009.png"


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(pictures()[0]).save(file, "PNG")
    return file.getvalue()


def test_a_png_is_refused_wherever_it_is_cut(tmp_path):
    path, content = tmp_path / "a.png", png()
    path.write_bytes(content)
    np.testing.assert_array_equal(ferplus.read_png(path, 2), pictures()[0])
    # The last twelve bytes are the empty chunk that ends the file, the last four of them its checksum.
    cuts = [content[:n] for n in (0, 1, 8, 20, 33, 60, 500, *(len(content) - k for k in (13, 12, 5)))]
    huge = bytearray(content)
    huge[16:24] = struct.pack(">II", 60_000, 60_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    for damaged in (*cuts, content[:33] + content[-12:], huge):  # without pixels; claims to be huge
        path.write_bytes(damaged)
        with pytest.raises(CorpusError, match=r"a.png: truncated or damaged image.*Line 2 of fer2013new.csv names it"):
            ferplus.read_png(path, 2)


@given(st.data())
def test_no_damaged_png_is_read_as_another_picture(tmp_path_factory, data):
    path, content = tmp_path_factory.getbasetemp() / "damaged.png", bytearray(png())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    if place < len(content) - 12:
        with pytest.raises(CorpusError, match=r"damaged image|more than a crop"):
            ferplus.read_png(path, 2)
    else:  # in the empty chunk that ends the file
        with contextlib.suppress(CorpusError):
            np.testing.assert_array_equal(ferplus.read_png(path, 2), pictures()[0])


def test_an_image_that_is_no_png_is_refused_and_nothing_is_cached(folders, cache_for_tests):
    before = set((cache_for_tests / "ferplus-images").glob("*/*"))
    Image.fromarray(pictures()[0]).save(folders / "ferplus/data/FER2013Train/fer0000000.png", "BMP")
    load_fails(folders, "fer0000000.png: truncated or damaged image")
    assert set((cache_for_tests / "ferplus-images").glob("*/*")) == before


@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv", "fer2013/fer2013.csv"])
def test_leading_spaces_and_another_order_of_columns_do_no_harm(tmp_path, name):
    write_labels(tmp_path)
    rows = [[emotion, f" {usage}", f" {pixels}"] for emotion, pixels, usage in image_rows()]
    write_csv(tmp_path, rows, name, header=("emotion", " Usage", " pixels"))
    np.testing.assert_array_equal(corpora.load("ferplus", tmp_path).images.numpy(), pictures()[KEPT])


def test_rows_that_are_no_image_after_the_last_are_counted(tmp_path):
    write_labels(tmp_path)
    junk = [["fer2013/README", "", "", "", "", "ustar"], ["x"], ["0", "1 2 3", "Training"]]
    write_csv(tmp_path, image_rows() + junk)
    for _ in range(2):  # decoded, then from the cache
        corpus = corpora.load("ferplus", tmp_path)
        assert len(corpus) == len(KEPT)
        assert corpus.left_out["no image, after the last line of votes"] == 3


def test_rows_that_are_not_those_of_the_votes_are_refused(kaggle):
    rows = image_rows()
    for other, line, message in (
        ([*rows, rows[-1]], 12, r"an image more than fer2013new.csv has lines of votes \(10\)"),
        (rows[:-1], 10, "9 images where fer2013new.csv has 10 lines of votes"),
        ([], 1, "0 images where"),
        (rows[::-1], 2, "Usage is PrivateTest, but Training in line 2 of fer2013new.csv"),
    ):
        write_csv(kaggle, other)
        load_fails(kaggle, f"fer2013.csv, line {line}: {message}", line)
    write_csv(kaggle, rows, header=("emotion", "pixels", "split"))
    load_fails(kaggle, "fer2013.csv, line 1: there is no column Usage in the header 'emotion,pixels,split'", line=1)


ZEROS = "0 " * 2303
NO_IMAGES = {  # a row of the csv, and what is said of it
    "a pixel less": (["0", ZEROS, "Training"], "2303 pixels where 2304 are expected"),
    "a pixel more": (["0", f"{ZEROS}0 0", "Training"], "2305 pixels where 2304 are expected"),
    "too bright": (["0", f"256 {ZEROS}", "Training"], "the pixel '256' is no whole number from 0 to 255"),
    "too dark": (["0", f"-1 {ZEROS}", "Training"], "the pixel '-1' is no whole number from 0 to 255"),
    "a decimal": (["0", f"0.5 {ZEROS}", "Training"], "the pixel '0.5' is no whole number from 0 to 255"),
    "two columns": (["0", "1"], "2 columns where 3 are expected"),
    "another usage": (["0", "1", "Test"], "Usage Test is none of Training, "),
}


@pytest.mark.parametrize("case", NO_IMAGES)
def test_a_row_that_is_no_image_before_the_last_is_refused(kaggle, case):
    row, message = NO_IMAGES[case]
    write_csv(kaggle, [*image_rows()[:3], row, *image_rows()[4:]])
    load_fails(kaggle, f"fer2013.csv, line 5: {message}", line=5)


NO_COUNTS = ("2.5", "-1", "x", "", "1e0", "11", "99999999999999999999")
WITHOUT = {use: [(u, name, NO_FACE if u == use else votes) for u, name, votes in ROWS] for use in FOLDER}
VOTES = {  # rows, header, line, message
    "a class less": (ROWS, HEADER[:-1], 1, "there is no column NF in the header"),
    "eleven votes": (edited(6, 2, "1"), HEADER, 8, "11 votes of ten annotators"),
    "another usage": (edited(4, 0, "Validation"), HEADER, 6, "Usage Validation is none of Training, PrivateTest, Publ"),
    "no row": ([], HEADER, None, "fer2013new.csv: no image of Training"),
}
VOTES |= {f"a count {n}": (edited(6, 3, n), HEADER, 8, f"the happiness '{n}' is none of 0, 1, .*10") for n in NO_COUNTS}
VOTES |= {f"no {usage}": (rows, HEADER, None, f"no image of {usage}") for usage, rows in WITHOUT.items()}


@pytest.mark.parametrize("case", VOTES)
def test_malformed_votes(root, case):
    rows, header, line, message = VOTES[case]
    write_labels(root, rows, header)
    load_fails(root, message, line)


# Votes; majority's label, None where the image is not kept.
BY_HAND = [
    ({"neutral": 10}, "neutral"),
    ({"neutral": 4, "anger": 3, "disgust": 2, "sadness": 1}, None),  # the single vote goes: 4 is not half of 9
    ({"fear": 5, "surprise": 3, "neutral": 2}, None),  # 5 is half of 10, not more
    ({"fear": 5, "surprise": 4, "NF": 1}, "fear"),  # without the single vote it is 5 of 9
    ({"anger": 6, "unknown": 4}, "anger"),
    ({"anger": 4, "unknown": 6}, None),  # unknown leads, and is no emotion
    ({"NF": 10}, None),
    (dict.fromkeys(ferplus.CLASSES, 1), None),  # only single votes: nothing is left
]


def test_label_rules_by_hand():
    votes = torch.tensor([[counts.get(name, 0) for name in ferplus.CLASSES] for counts, _ in BY_HAND])
    labels, kept = ferplus.majority(votes)
    for row, (counts, label) in enumerate(BY_HAND):
        assert (ferplus.EMOTIONS[labels[row]] if kept[row] else None) == label, counts
        assert (labels[row] == -1) == (not kept[row])


@given(st.lists(st.lists(st.integers(0, 9), min_size=10, max_size=10), min_size=1, max_size=20))
def test_label_rules_on_any_votes(annotations):
    votes = np.array([np.bincount(of_ten, minlength=10) for of_ten in annotations])
    labels, kept = ferplus.majority(torch.from_numpy(votes))
    without = np.where(votes == 1, 0, votes)
    for row, counts in enumerate(without):
        winners = [c for c in range(10) if 2 * counts[c] > counts.sum()]
        assert (labels[row] if kept[row] else None) == next((c for c in winners if c < 8), None)


def test_proportions_are_over_nine_classes_with_single_votes():
    shares = ferplus.proportions(torch.tensor([[4, 0, 0, 1, 0, 0, 0, 0, 3, 2], [0, 9, 0, 0, 0, 0, 0, 0, 0, 0]]))
    assert shares.tolist() == [[0.5, 0, 0, 0.125, 0, 0, 0, 0, 0.375], [0, 1, 0, 0, 0, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match="no vote among the nine classes in row 1"):
        ferplus.proportions(torch.tensor([[1] * 10, NO_FACE]))


def test_check_reports_identical_images_whose_votes_differ(folders):
    """As they do where two rows of one of the files have changed places."""
    what = "groups of identical images whose votes differ"
    assert corpora.check("ferplus", folders).loc[what].tolist() == ["0 of 1,516", "1 of 2", False]
    alike = [(usage, name, ROWS[0][2] if row in (4, 6) else votes) for row, (usage, name, votes) in enumerate(ROWS)]
    write_labels(folders, alike)
    assert corpora.check("ferplus", folders).loc[what].tolist() == ["0 of 1,516", "0 of 2", True]
