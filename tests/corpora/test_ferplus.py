import contextlib
import csv
import io
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

# A corpus in small, with what is odd in the real one: a row without a name, two of no face, a name that is
# there twice with the same votes and one that is there twice with others (of which one is no face), a row of
# nine votes, and the same picture in several splits (rows 0, 4 and 6) and twice in one (rows 1 and 2).
# A row: Usage, name, votes.
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


def write_labels(root, rows=ROWS, header=HEADER):
    (root / "ferplus").mkdir(exist_ok=True)
    with (root / "ferplus/fer2013new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *([usage, name, *votes] for usage, name, votes in rows)])


def write_folders(root):
    for folder in FOLDER.values():
        (root / "ferplus/data" / folder).mkdir(parents=True)
        (root / "ferplus/data" / folder / "label.csv").write_text("older votes: not read\n")
    for (usage, name, _), image in zip(ROWS, pictures(), strict=True):
        if name:
            Image.fromarray(image).save(root / "ferplus/data" / FOLDER[usage] / name)


def image_rows():
    return [[0, " ".join(map(str, image.ravel())), row[0]] for row, image in zip(ROWS, pictures(), strict=True)]


def write_csv(root, rows, name="fer2013.csv", header=("emotion", "pixels", "Usage")):
    path = root / "ferplus" / name
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def folders(tmp_path):
    """A data root with the small corpus in the FER+ authors' layout."""
    write_labels(tmp_path)
    write_folders(tmp_path)
    return tmp_path


@pytest.fixture
def kaggle(tmp_path):
    """A data root with the small corpus in Kaggle's layout."""
    write_labels(tmp_path)
    write_csv(tmp_path, image_rows())
    return tmp_path


def load_fails(root, message):
    with pytest.raises(CorpusError, match=message) as caught:
        corpora.load("ferplus", root)
    assert caught.value.path is not None
    assert caught.value.cure
    return caught.value


def edit_labels(root, row, column, value):
    rows = [[usage, name, *votes] for usage, name, votes in ROWS]
    rows[row][column] = value
    write_labels(root, [(usage, name, votes) for usage, name, *votes in rows])


# --- both layouts -----------------------------------------------------------------------------------------


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
    assert corpus.left_out["no image name"] == 1
    assert corpus.left_out["no vote in the nine classes"] == 2
    assert sum(corpus.left_out.values()) + len(corpus) == len(ROWS)
    assert corpus.duplicates_of_training().tolist() == [False, False, False, True, False, True, False]


def test_it_is_available_only_with_votes_and_images(root):
    assert corpora.is_available("ferplus", root)
    (root / "ferplus/fer2013new.csv").unlink()
    assert not corpora.is_available("ferplus", root)


def test_both_layouts_give_one_checksum(folders, tmp_path_factory):
    other = tmp_path_factory.mktemp("kaggle")
    write_labels(other)
    write_csv(other, image_rows())
    assert corpora.load("ferplus", folders).checksum() == corpora.load("ferplus", other).checksum()


def test_the_images_are_decoded_once(root, monkeypatch):
    first = corpora.load("ferplus", root)
    monkeypatch.setattr(ferplus, "_decode", None)
    monkeypatch.setattr(ferplus, "_read_images", None)
    assert corpora.load("ferplus", root).checksum() == first.checksum()


def test_a_byte_order_mark_windows_lines_and_blank_lines_do_no_harm(root):
    path = root / "ferplus/fer2013new.csv"
    text = path.read_text().replace("\n\n", "\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    assert len(corpora.load("ferplus", root)) == len(KEPT)


# --- folders ----------------------------------------------------------------------------------------------


def test_an_image_that_changes_is_decoded_again(folders):
    corpora.load("ferplus", folders)
    Image.fromarray(np.full((48, 48), 7, np.uint8)).save(folders / "ferplus/data/FER2013Train/fer0000000.png")
    assert (corpora.load("ferplus", folders).images[0] == 7).all()


def test_folders_without_images_are_those_of_a_clone_and_the_csv_is_read(kaggle):
    for folder in FOLDER.values():
        (kaggle / "ferplus/data" / folder).mkdir(parents=True)
    assert len(corpora.load("ferplus", kaggle)) == len(KEPT)


def test_what_macos_leaves_is_no_image(folders):
    (folders / "ferplus/data/FER2013Train/._fer0000000.png").write_bytes(b"Mac OS X")
    assert len(corpora.load("ferplus", folders)) == len(KEPT)


def test_a_missing_image_is_named_with_its_line(folders):
    (folders / "ferplus/data/FER2013Valid/fer0000007.png").unlink()
    error = load_fails(folders, r"there is no data/FER2013Valid/fer0000007.png \(1 missing\)")
    assert (error.path.name, error.line) == ("fer2013new.csv", 6)


def test_an_image_without_a_row_is_named(folders):
    write_labels(folders, ROWS[1:])
    load_fails(folders, r"fer2013new.csv: no line for data/FER2013Train/fer0000000.png \(1 images without")


def test_a_missing_folder_is_named(folders):
    for path in (folders / "ferplus/data/FER2013Test").iterdir():
        path.unlink()
    (folders / "ferplus/data/FER2013Test").rmdir()
    load_fails(folders, "FER2013Test: no such folder")


def test_no_images_at_all_says_where_to_get_them(tmp_path):
    write_labels(tmp_path)
    load_fails(tmp_path, "ferplus: neither .* is there. FER2013 may not be redistributed: .* Kaggle")


def test_one_file_cannot_have_two_different_votes(folders):
    edit_labels(folders, 2, 2, 8)
    error = load_fails(folders, "votes for fer0000001.png that are not those of line 3")
    assert error.line == 4


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.new("L", (64, 48)), "64 x 48 pixels of mode L"),
        (Image.new("L", (48, 47)), "48 x 47 pixels of mode L"),
        (Image.new("RGB", (48, 48)), "48 x 48 pixels of mode RGB"),
        (Image.new("1", (48, 48)), "48 x 48 pixels of mode 1"),
        (Image.new("P", (48, 48)), "48 x 48 pixels of mode P"),
        (Image.new("LA", (48, 48)), "48 x 48 pixels of mode LA"),
        (Image.new("I;16", (48, 48)), "48 x 48 pixels of mode I;16"),
    ],
)
def test_an_image_of_another_size_or_mode_is_refused(folders, image, kind):
    image.save(folders / "ferplus/data/FER2013Test/fer0000009.png")
    error = load_fails(folders, rf"{kind}, not 48 x 48 of mode L \(8-bit grey\) \(named in line 8 of fer2013new.csv\)")
    assert error.path.name == "fer0000009.png"


def png(image=None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pictures()[0] if image is None else image).save(file, "PNG")
    return file.getvalue()


def test_a_png_is_refused_wherever_it_is_cut(tmp_path):
    path, content = tmp_path / "a.png", png()
    path.write_bytes(content)
    np.testing.assert_array_equal(ferplus._decode(path, 2), pictures()[0])
    # The last twelve bytes are the empty chunk that ends the file, the last four of them its checksum.
    for length in (0, 1, 8, 20, 33, 60, 500, len(content) - 13, len(content) - 12, len(content) - 5):
        path.write_bytes(content[:length])
        message = rf"a.png: truncated or damaged PNG of {length} bytes \(named in line 2"
        with pytest.raises(CorpusError, match=message):
            ferplus._decode(path, 2)


def test_a_png_without_pixels_is_refused(tmp_path):
    content = png()
    head, tail = content[:33], content[-12:]  # signature and header; the chunk that ends the file
    (tmp_path / "a.png").write_bytes(head + tail)
    with pytest.raises(CorpusError, match="damaged PNG"):
        ferplus._decode(tmp_path / "a.png", 2)


@given(st.data())
def test_no_damaged_png_is_read_as_another_picture(tmp_path_factory, data):
    path, content = tmp_path_factory.getbasetemp() / "damaged.png", bytearray(png())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    if place < len(content) - 12:
        with pytest.raises(CorpusError, match="damaged PNG"):
            ferplus._decode(path, 2)
    else:  # in the empty chunk that ends the file
        with contextlib.suppress(CorpusError):
            np.testing.assert_array_equal(ferplus._decode(path, 2), pictures()[0])


def test_a_png_that_claims_to_be_huge_is_not_decoded(tmp_path):
    content = bytearray(png())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "huge.png").write_bytes(content)
    with pytest.raises(CorpusError, match="damaged PNG"):
        ferplus._decode(tmp_path / "huge.png", 2)


def test_an_image_that_is_no_png_is_refused_and_nothing_is_cached(folders, cache_for_tests):
    before = set((cache_for_tests / "ferplus-images").glob("*/*"))
    Image.fromarray(pictures()[0]).save(folders / "ferplus/data/FER2013Train/fer0000000.png", "BMP")
    load_fails(folders, "fer0000000.png: truncated or damaged PNG")
    assert set((cache_for_tests / "ferplus-images").glob("*/*")) == before


# --- Kaggle's csv -----------------------------------------------------------------------------------------


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


def test_a_row_too_many_is_refused(kaggle):
    write_csv(kaggle, [*image_rows(), image_rows()[-1]])
    error = load_fails(kaggle, r"fer2013.csv, line 12: an image more than fer2013new.csv has lines of votes \(10\)")
    assert error.line == 12


def test_a_row_too_few_is_refused(kaggle):
    write_csv(kaggle, image_rows()[:-1])
    load_fails(kaggle, "fer2013.csv, line 10: 9 images where fer2013new.csv has 10 lines of votes")
    write_csv(kaggle, [])
    load_fails(kaggle, "fer2013.csv, line 1: 0 images where")


def test_rows_in_another_order_are_refused(kaggle):
    write_csv(kaggle, image_rows()[::-1])
    load_fails(kaggle, "line 2: Usage is PrivateTest, but Training in line 2 of fer2013new.csv")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ("0 " * 2303, "2303 pixels where 2304 are expected"),
        ("0 " * 2305, "2305 pixels where 2304 are expected"),
        ("", "0 pixels where 2304 are expected"),
        ("256 " + "0 " * 2303, "the pixel '256' is no whole number from 0 to 255"),
        ("-1 " + "0 " * 2303, "the pixel '-1' is no whole number from 0 to 255"),
        ("0.5 " + "0 " * 2303, "the pixel '0.5' is no whole number from 0 to 255"),
        ("x " + "0 " * 2303, "the pixel 'x' is no whole number from 0 to 255"),
    ],
)
def test_pixels_that_are_no_image_are_refused(kaggle, pixels, message):
    rows = image_rows()
    rows[5][1] = pixels
    write_csv(kaggle, rows)
    load_fails(kaggle, f"fer2013.csv, line 7: {message}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["0", "1"], "2 columns where 3 are expected"),
        (["0", "1", "Test"], "Usage Test is none of Training, "),
    ],
)
def test_a_row_that_is_no_image_before_the_last_is_refused(kaggle, row, message):
    write_csv(kaggle, [*image_rows()[:3], row, *image_rows()[4:]])
    load_fails(kaggle, f"fer2013.csv, line 5: {message}")


def test_kaggles_header_is_required(kaggle):
    write_csv(kaggle, image_rows(), header=("emotion", "pixels", "split"))
    load_fails(kaggle, "fer2013.csv, line 1: the header is 'emotion,pixels,split', not 'emotion,pixels,Usage'")


# --- votes ------------------------------------------------------------------------------------------------


def test_the_votes_must_be_there(root):
    (root / "ferplus/fer2013new.csv").unlink()
    load_fails(
        root,
        "fer2013new.csv: no such file. Fetch the published file with `uncertain-affect data get ferplus`",
    )


@pytest.mark.parametrize("header", [HEADER[:-1], ["Usage", "name", *HEADER[2:]], ["a;b"], []])
def test_the_header_of_the_votes_is_required(root, header):
    write_labels(root, header=header)
    assert load_fails(root, "the header is .*, not 'Usage,Image name,").line == 1


def test_an_empty_file_of_votes_is_refused(root):
    (root / "ferplus/fer2013new.csv").write_bytes(b"")
    assert load_fails(root, "the header is ''").line == 1


@pytest.mark.parametrize("value", ["2.5", "-1", "x", "", "1e0", "11", "99999999999999999999"])
def test_votes_must_be_whole_numbers(root, value):
    edit_labels(root, 6, 3, value)
    error = load_fails(root, f"the count of votes {value} is no whole number from 0 to 10")
    assert error.line == 8


def test_ten_annotators_have_ten_votes_at_most(root):
    edit_labels(root, 6, 2, "1")
    assert load_fails(root, "11 votes of ten annotators").line == 8


def test_the_usage_must_be_known(root):
    edit_labels(root, 4, 0, "Validation")
    assert load_fails(root, "Usage Validation is none of Training, PrivateTest, PublicTest").line == 6


@pytest.mark.parametrize("votes", [[0] * 9, [0] * 11])
def test_a_line_of_votes_with_a_column_too_many_or_few_is_refused(root, votes):
    write_labels(root, [*ROWS[:3], ("Training", "fer0000002.png", votes), *ROWS[4:]])
    assert load_fails(root, f"{len(votes) + 2} columns where 12 are expected").line == 5


@pytest.mark.parametrize("usage", ["Training", "PrivateTest", "PublicTest"])
def test_a_split_without_an_image_is_refused(root, usage):
    write_labels(root, [(u, name, NO_FACE if u == usage else votes) for u, name, votes in ROWS])
    load_fails(root, f"fer2013new.csv: no image of {usage}")


def test_a_header_without_rows_is_refused(root):
    write_labels(root, [])
    load_fails(root, "fer2013new.csv: no image of Training")


@pytest.mark.parametrize("file", ["fer2013new.csv", "fer2013.csv"])
def test_the_first_line_that_is_no_text_is_named(kaggle, file):
    path = kaggle / "ferplus" / file
    lines = path.read_bytes().split(b"\n")
    lines[4] = b"\xe9" + lines[4]
    path.write_bytes(b"\n".join(lines))
    assert load_fails(kaggle, rf"{file}, line 5: not UTF-8 text").line == 5


def test_utf16_is_refused(root):
    path = root / "ferplus/fer2013new.csv"
    path.write_text(path.read_text(), encoding="utf-16")
    assert load_fails(root, "not UTF-8 text").line == 1


def test_a_quote_that_is_never_closed_is_refused(kaggle):
    path = kaggle / "ferplus/fer2013new.csv"
    path.write_text(path.read_text() + '"' + "x" * 200_000)
    load_fails(kaggle, "fer2013new.csv, line 12: field larger than field limit")


# --- label rules ------------------------------------------------------------------------------------------


def votes_of(**counts) -> list[int]:
    return [counts.get(name, 0) for name in ferplus.CLASSES]


# Votes; majority's label; cross-entropy's votes and multi-target's classes, None where the image is not kept.
BY_HAND = [
    ({"neutral": 10}, "neutral"),
    # The single vote goes: 4, 3 and 2 of 9. Half of 9 is not passed by 4.
    ({"neutral": 4, "anger": 3, "disgust": 2, "sadness": 1}, None),
    # 5 is half of 10, not more.
    ({"fear": 5, "surprise": 3, "neutral": 2}, None),
    # Without the single vote it is 5 of 9.
    ({"fear": 5, "surprise": 4, "NF": 1}, "fear"),
    ({"anger": 6, "unknown": 4}, "anger"),
    # Unknown leads, and is no emotion.
    ({"anger": 4, "unknown": 6}, None),
    ({"NF": 10}, None),
    # Only single votes: nothing is left.
    (dict.fromkeys(ferplus.CLASSES, 1), None),
]


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_label_rules_by_hand(kind):
    votes = kind([votes_of(**counts) for counts, _ in BY_HAND])
    labels, kept = ferplus.majority(votes)
    assert {type(array) for array in (labels, kept)} == {type(votes)}

    for row, (counts, label) in enumerate(BY_HAND):
        assert (ferplus.EMOTIONS[labels[row]] if kept[row] else None) == label, counts
        assert (labels[row] == -1) == (not kept[row])


@st.composite
def annotations(draw):
    """Votes (N, 10) of ten annotators each."""
    choices = st.lists(st.integers(0, 9), min_size=10, max_size=10)
    return np.array([np.bincount(row, minlength=10) for row in draw(st.lists(choices, min_size=1, max_size=20))])


@given(annotations())
def test_label_rules_on_any_votes(votes):
    labels, kept = ferplus.majority(votes)
    without = np.where(votes == 1, 0, votes)
    for row, counts in enumerate(without):
        winners = [c for c in range(10) if 2 * counts[c] > counts.sum()]
        assert (labels[row] if kept[row] else None) == next((c for c in winners if c < 8), None)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_proportions_are_over_nine_classes_with_single_votes(kind):
    shares = ferplus.proportions(kind([[4, 0, 0, 1, 0, 0, 0, 0, 3, 2], [0, 9, 0, 0, 0, 0, 0, 0, 0, 0]]))
    assert type(shares) is type(kind([0]))
    np.testing.assert_array_equal(shares, [[0.5, 0, 0, 0.125, 0, 0, 0, 0, 0.375], [0, 1, 0, 0, 0, 0, 0, 0, 0]])


def test_proportions_of_no_votes_are_refused():
    with pytest.raises(ValueError, match="no vote among the nine classes in row 1"):
        ferplus.proportions(np.array([[1] * 10, NO_FACE]))


@pytest.mark.parametrize("rule", [ferplus.proportions, ferplus.majority])
def test_rules_take_ten_classes(rule):
    with pytest.raises(ValueError, match=r"votes must be \(N, 10\), not \(2, 9\)"):
        rule(np.ones((2, 9), int))


# --- the real corpus --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(data_root):
    if not corpora.is_available("ferplus", data_root):
        pytest.skip(f"FER+ is not in {data_root}")
    return corpora.load("ferplus", data_root)


@pytest.mark.data
def test_real_counts(real):
    assert real.images.shape == (35_711, 48, 48)
    assert {split: int((real.split == split).sum()) for split in ("train", "val", "test")} == {
        "train": 28_559,
        "val": 3_573,
        "test": 3_579,
    }
    assert real.left_out["no image name"] == 173
    assert real.left_out["no vote in the nine classes"] == 3
    assert real.votes.sum(dim=1).bincount().tolist() == [0] * 9 + [1, 35_710]  # one row has nine votes


@pytest.mark.data
def test_real_votes_are_those_of_the_paper(real):
    test = real.subset(real.split == "test")
    shares = ferplus.proportions(test.votes)
    assert shares.argmax(dim=1).bincount().tolist() == [1335, 899, 456, 412, 319, 34, 74, 24, 26]
    assert int(test.votes[:, :9].sum()) == 35_777  # <annotation, sample> pairs
    # d_i = 1 - sum_c p_ic^2; mean and standard deviation over images
    for split, mean, deviation in [("train", 0.357, 0.249), ("val", 0.352, None), ("test", 0.317, 0.254)]:
        votes = real.votes[torch.from_numpy(real.split == split)]
        disagreement = 1 - ferplus.proportions(votes).square().sum(dim=1)
        assert disagreement.mean().item() == pytest.approx(mean, abs=5e-4)
        if deviation is not None:
            assert disagreement.std().item() == pytest.approx(deviation, abs=5e-4)


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "per_class"),
    [
        ("train", [8740, 7287, 3149, 3014, 2100, 119, 532, 119]),
        ("test", [1182, 865, 415, 351, 287, 24, 62, 13]),
        ("val", [1090, 893, 396, 384, 273, 18, 83, 16]),
    ],
)
def test_real_labels_by_the_rules_of_the_authors(real, split, per_class):
    votes = real.votes[torch.from_numpy(real.split == split)]
    labels, kept = ferplus.majority(votes)
    assert labels[kept].bincount().tolist() == per_class
    assert int(kept.sum()) == {"train": 25_060, "test": 3_199, "val": 3_153}[split] == sum(per_class)


@pytest.mark.data
def test_real_duplicates(real):
    duplicates = real.duplicates_of_training()
    assert int(duplicates[torch.from_numpy(real.split == "test")].sum()) == 279
    assert int(duplicates[torch.from_numpy(real.split == "val")].sum()) == 288
    sizes = real.groups.bincount()
    assert int((sizes > 1).sum()) == 1_516
    # The published votes were made equal within a group: a duplicate is also a copy of the label.
    votes_and_group = torch.cat([real.groups[:, None], real.votes], dim=1)
    assert len(votes_and_group.unique(dim=0)) == len(sizes)


@pytest.mark.data
def test_real_images_are_those_of_their_files(real, data_root):
    folder = {"train": "FER2013Train", "test": "FER2013Valid", "val": "FER2013Test"}
    if not (data_root / "ferplus/data/FER2013Train").is_dir():
        pytest.skip("FER+ is there as Kaggle's csv, without single files")
    for row in np.random.default_rng(0).integers(0, len(real), 100):
        path = data_root / "ferplus/data" / folder[real.split[row]] / real.names[row]
        np.testing.assert_array_equal(real.images[row], np.asarray(Image.open(path)))
