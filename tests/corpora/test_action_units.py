"""BP4D and DISFA: what the six licensed corpora have not in common, see `test_licensed`."""

import numpy as np
import pytest
import trees
import trees_faces
from licensed import CORPORA, FRAMES, GREY, SEQUENCES
from trees_faces import face, shade

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError, bp4d, disfa

LABELS = "bp4d/AUCoding/AU_OCC"
BP4D_COLUMNS = [trees_faces.BP4D_HEADER.index(unit) - 1 for unit in bp4d.UNITS]
DISFA_COLUMNS = [trees_faces.DISFA_UNITS.index(unit) for unit in disfa.UNITS]
WHOLE = {name: CORPORA[name].files for name in ("bp4d", "disfa")}
MODULES = {"bp4d": bp4d, "disfa": disfa}


@pytest.fixture
def load(tmp_path):
    """Loads a corpus from the files given, or the whole one."""
    count = iter(range(9))

    def from_files(name, files=None, **options):
        root = trees.write(tmp_path / str(next(count)), WHOLE[name] if files is None else files)
        return corpora.load(name, root, **(GREY | options))

    return from_files


def test_every_field_of_bp4d_in_order(load):
    _, made = trees_faces.bp4d(SEQUENCES)
    rows = []
    for subject, task in (("F001", "T1"), ("M007", "T2"), ("M011", "T8"), ("F007", "T2")):  # by fold, and its own order
        first, labels = made[subject, task][0], np.where(made[subject, task][1] == 9, -1, made[subject, task][1])
        rows += [(subject, first + k, cells) for k, cells in enumerate(labels[:, BP4D_COLUMNS]) if k != 2]  # no image
    subjects, frames, labels = zip(*rows, strict=True)
    data = load("bp4d")
    assert data.subject.tolist() == list(subjects)
    assert data.labels.tolist() == np.array(labels).tolist()
    assert (data.labels == -1).any(), "9 is unknown"
    assert data.au_names == ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")
    assert data.fold.tolist() == [{"F001": 1, "M007": 1, "M011": 2, "F007": 3}[subject] for subject in subjects]
    shades = data.images[:, 3, 5].numpy().astype(int)
    assert np.abs(shades - [shade(frame) for frame in frames]).max() <= 2
    assert data.left_out == {"no face image": 4, "sequence without a label file": 324}


def test_every_field_of_disfa_in_order(load):
    _, made = trees_faces.disfa(FRAMES)
    in_order = ("SN002", "SN010", "SN013", "SN003")
    rows = [(subject, k) for subject in in_order for k in range(FRAMES[subject]) if k != 1]  # without a crop
    data = load("disfa")
    assert data.subject.tolist() == [subject for subject, _ in rows]
    assert data.labels.tolist() == [(made[subject][k, DISFA_COLUMNS] >= 2).astype(int).tolist() for subject, k in rows]
    assert data.au_names == ("AU1", "AU2", "AU4", "AU6", "AU9", "AU12", "AU25", "AU26")
    assert data.fold.tolist() == [{"SN002": 1, "SN010": 1, "SN013": 2, "SN003": 3}[subject] for subject, _ in rows]
    assert data.images[:, 3, 5].tolist() == [shade(k + 1) for _, k in rows]
    assert data.left_out == {"no face image": 4, "subject without labels": 23}


def test_folds_are_those_published_in_their_order():
    assert [len(fold) for fold in bp4d.FOLDS] == [14, 14, 13]
    assert sorted(bp4d.CODING.fold_of) == [f"F{n:03}" for n in range(1, 24)] + [f"M{n:03}" for n in range(1, 19)]
    assert sum(bp4d.FRAMES) == 146_847
    assert np.sum(bp4d.POSITIVES, axis=0).tolist() == [
        31042, 25110, 29755, 67676, 80616, 87270, 82530, 68375, 24869, 50406, 24288, 22229,
    ]  # fmt: skip
    rates = [16.44, 16.14, 19.92, 41.59, 58.98, 57.64, 55.85, 40.04, 15.14, 31.76, 15.85, 13.98]
    assert (100 * np.array(bp4d.POSITIVES[0]) / bp4d.FRAMES[0]).round(2).tolist() == rates
    assert [len(fold) for fold in disfa.FOLDS] == [9, 9, 9]
    known = [*range(1, 14), 16, 17, 18, 21, *range(23, 33)]
    assert sorted(disfa.CODING.fold_of) == [f"SN{n:03}" for n in known]
    assert sum(disfa.FRAMES) == 26 * 4845 + 4844 == 130_814
    assert np.sum(disfa.POSITIVES, axis=0).tolist() == [6506, 5644, 19933, 10327, 5473, 16851, 36247, 11533]
    rates = [7.33, 8.35, 18.72, 10.11, 6.81, 14.13, 27.96, 5.75]
    assert (100 * np.array(disfa.POSITIVES[2]) / disfa.FRAMES[2]).round(2).tolist() == rates


@pytest.mark.parametrize("name", WHOLE)
def test_colour_size_and_every_nth_frame(load, name):
    data = load(name, size=20, colour=True, every=3)
    assert tuple(data.images.shape) == (10, 3, 20, 20)
    assert data.left_out["passed over by every"] == {"bp4d": 27, "disfa": 26}[name] - 10
    with pytest.raises(CorpusError, match="1 or more"):
        load(name, every=0)


def test_openface_numbers_the_crops_of_disfa_from_1(load):
    files = {file: content for file, content in WHOLE["disfa"].items() if "faces" not in file}
    for file, content in WHOLE["disfa"].items():
        if "faces" in file:
            subject, image = file.removesuffix(".png").split("/")[2:]
            place = f"disfa/faces/LeftVideo{subject}_comp_aligned/frame_det_{{}}_{int(image) + 1:06}.png"
            files[place.format("00")] = content
            files[place.format("01")] = face(255, "PNG")  # somebody else
    assert load("disfa", files).checksum() == load("disfa").checksum()


def test_openface_counts_the_frames_of_a_folder_of_bp4d(load):
    """frame_det_00_000001 is the first file of the sequence's folder, whatever its number."""
    files = dict(WHOLE["bp4d"])
    for subject, task in SEQUENCES:
        frames = sorted(file for file in files if f"{subject}/{task}/" in file)
        for k, file in enumerate(frames, start=1):
            files[f"bp4d/{subject}/{task}/{file.rpartition('/')[2]}"] = files[file]
            files[f"bp4d/faces/{subject}/{task}_aligned/frame_det_00_{k:06}.jpg"] = files.pop(file)
    assert load("bp4d", files).checksum() == load("bp4d").checksum()
    del files["bp4d/F001/T1/2440.jpg"]
    with pytest.raises(CorpusError, match="must stay"):
        load("bp4d", files)


@pytest.mark.parametrize(("old", "new"), [("/AU_OCC", ""), ("/AU_OCC", "/AUCoding"), ("bp4d/faces/", "bp4d/")])
def test_older_copies_of_bp4d_have_the_files_elsewhere(load, old, new):
    files = {file.replace(old, new): content for file, content in WHOLE["bp4d"].items()}
    assert load("bp4d", files).checksum() == load("bp4d").checksum()


def test_columns_are_found_by_their_names(load):
    file = f"{LABELS}/F001_T1.csv"
    cells = [line.split(",") for line in WHOLE["bp4d"][file].decode().splitlines()]
    turned = trees.text(*(",".join([row[0], *row[:0:-1]]) for row in cells))
    quoted = turned.replace(turned.partition(b"\n")[0], b'"0"' + turned.partition(b"\n")[0][1:])
    for content in (turned, quoted):
        assert load("bp4d", WHOLE["bp4d"] | {file: content}).checksum() == load("bp4d").checksum()


@pytest.mark.parametrize("name", WHOLE)
def test_check_finds_the_numbers_expected_fine(tmp_path, monkeypatch, name):
    """The numbers of the small tree are taken for the published ones."""
    if name == "bp4d":
        labels = {key: cells[:, BP4D_COLUMNS] == 1 for key, (_, cells) in trees_faces.bp4d(SEQUENCES)[1].items()}
        monkeypatch.setattr(bp4d, "SEQUENCES", len(labels))
    else:
        labels = {(key,): rows[:, DISFA_COLUMNS] >= 2 for key, rows in trees_faces.disfa(FRAMES)[1].items()}
    coding = MODULES[name].CODING
    by_fold = [[rows for key, rows in labels.items() if key[0] in fold] for fold in coding.folds]
    folds = [[key[0] for key in labels if key[0] in fold] for fold in coding.folds]
    frames = [sum(map(len, fold)) for fold in by_fold]
    positives = [sum(rows.sum(0) for rows in fold).tolist() for fold in by_fold]
    monkeypatch.setattr(MODULES[name], "CODING", type(coding)(name, coding.units, folds, frames, positives))
    table = corpora.check(name, trees.write(tmp_path, WHOLE[name]))
    assert table["fine"][:-1].all()
    assert len(table) == {"bp4d": 1 + 1 + 3 + 36 + 1, "disfa": 1 + 3 + 24 + 1}[name]


def test_a_gap_in_the_frames_of_bp4d_and_a_label_file_that_is_missing_are_counted(load):
    rows = WHOLE["bp4d"][f"{LABELS}/F001_T1.csv"].decode().splitlines()
    data = load("bp4d", WHOLE["bp4d"] | {f"{LABELS}/F001_T1.csv": trees.text(*rows[:5], *rows[7:])})
    assert data.left_out["frame number between two coded ones in no row"] == 2
    data = load("bp4d", {file: content for file, content in WHOLE["bp4d"].items() if "M011_T8" not in file})
    assert data.left_out["sequence without a label file"] == 325
    assert 2 not in data.fold


def test_labels_longer_than_the_recording_are_counted(load):
    file = f"{LABELS}/F001_T1.csv"
    longer = WHOLE["bp4d"][file] + trees.text(*(f"{2449 + k}{',0' * 23}" for k in range(3)))
    data, whole = load("bp4d", WHOLE["bp4d"] | {file: longer}), load("bp4d")
    assert data.left_out["no face image"] == 4 + 3
    assert (data.images == whole.images).all()
    assert (data.labels == whole.labels).all()
    of_subject = [file for file in WHOLE["disfa"] if "Labels/SN002/" in file]
    longer = {file: WHOLE["disfa"][file] + b"8,0\r\n9,0\r\n10,0\r\n11,0\r\n" for file in of_subject}
    data = load("disfa", WHOLE["disfa"] | longer)
    assert data.left_out["no face image"] == 4 + 2  # two more frames than the tree's labels have an image
    assert data.images[6:8, 0, 0].tolist() == [shade(8), shade(9)]


@pytest.mark.parametrize("name", WHOLE)
def test_without_a_face_the_command_that_crops_is_told_as_in_the_layout(load, name):
    files = {file: content for file, content in WHOLE[name].items() if "/faces/" not in file}
    with pytest.raises(CorpusError, match=f"no coded frame has a face image.*{MODULES[name].CROP}"):
        load(name, files)
    assert MODULES[name].CROP in corpora.about(name).layout
