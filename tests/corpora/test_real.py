"""The open corpora themselves, where they are below the data root. No sentence of MELD may stand in a message."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from uncertain_affect import corpora
from uncertain_affect.corpora import ceap360vr, download, ferplus, meld

pytestmark = pytest.mark.data
# what `check` finds, row by row
FOUND = {
    "ferplus": ["28,559", "25,060", "3,573", "3,153", "3,579", "3,199", "567", "0 of 1,516", "173", "3"],
    "meld": ["9,989, 1,038", "8,245", "1,109, 114", "897", "2,610, 280", "2,211", *"109 2,355 1 0 1 2 31 822".split()],
    "emobank": ["6,982", "902", "1,615", "210", "1,465", "215"],
    "ceap360vr": ["32", "8", "15,360", "0", "0", "0", "0", "0"],
}  # fmt: skip


@pytest.fixture(scope="module")
def load(data_root):
    """Gives a corpus when called: a test that fails shows its arguments, and no text must be among them."""
    loaded = {}

    def load(name):
        if not corpora.is_available(name, data_root) or not (data_root / download.SOURCES[name][-1].path).is_file():
            pytest.skip(f"{name}, or a part of it, is not in {data_root}")
        loaded[name] = loaded.get(name) or corpora.load(name, data_root)
        return loaded[name]

    return load


@pytest.mark.parametrize("name", FOUND)
def test_the_files_and_what_they_hold_are_as_published(load, data_root, name):
    load(name)
    for source in download.SOURCES[name]:
        assert hashlib.sha256((data_root / source.path).read_bytes()).hexdigest() == source.sha256, source.path
    table = corpora.check(name, data_root)
    assert table["found"].tolist() == FOUND[name]
    assert table["fine"].all()


# --- EmoBank --------------------------------------------------------------------------------------------------------


def test_a_constant_is_hard_to_beat_and_no_document_is_in_two_splits(load):
    corpus = load("emobank")
    assert len(np.unique([f"{d} {s}" for d, s in zip(corpus.dialogue, corpus.split, strict=True)])) == 1327
    for name, mean, deviation, error in [
        ("valence", 2.977, 0.349, 0.239),
        ("activation", 3.042, 0.260, 0.192),
        ("dominance", 3.063, 0.210, 0.156),
    ]:
        values = corpus.targets[name].double()
        found = values.mean().item(), values.std().item(), (values - values.median()).abs().mean().item()
        assert found == pytest.approx((mean, deviation, error), abs=6e-4)


# --- FER+ -------------------------------------------------------------------------------------------------


def test_votes_are_those_of_the_paper(load):
    corpus = load("ferplus")
    assert corpus.votes.sum(dim=1).bincount().tolist() == [0] * 9 + [1, 35_710]  # one row has nine votes
    test = corpus.subset(corpus.split == "test")
    per_class = ferplus.proportions(test.votes).argmax(dim=1).bincount()
    assert per_class.tolist() == [1335, 899, 456, 412, 319, 34, 74, 24, 26]
    assert int(test.votes[:, :9].sum()) == 35_777  # <annotation, sample> pairs
    # d_i = 1 - sum_c p_ic^2; mean and standard deviation over images
    for split, mean, deviation in [("train", 0.357, 0.249), ("val", 0.352, None), ("test", 0.317, 0.254)]:
        disagreement = 1 - ferplus.proportions(corpus.subset(corpus.split == split).votes).square().sum(dim=1)
        assert disagreement.mean().item() == pytest.approx(mean, abs=5e-4)
        assert deviation is None or disagreement.std().item() == pytest.approx(deviation, abs=5e-4)


def test_labels_by_the_rules_of_the_authors(load):
    corpus = load("ferplus")
    for split, per_class in {
        "train": [8740, 7287, 3149, 3014, 2100, 119, 532, 119],
        "test": [1182, 865, 415, 351, 287, 24, 62, 13],
        "val": [1090, 893, 396, 384, 273, 18, 83, 16],
    }.items():
        labels, kept = ferplus.majority(corpus.subset(corpus.split == split).votes)
        assert labels[kept].bincount().tolist() == per_class, split


def test_duplicates_are_copies_of_image_and_label(load):
    corpus = load("ferplus")
    duplicates = corpus.duplicates_of_training().numpy()
    assert [int(duplicates[corpus.split == split].sum()) for split in ("test", "val")] == [279, 288]
    sizes = corpus.groups.bincount()
    assert int((sizes > 1).sum()) == 1_516
    # The published votes were made equal within a group.
    assert len(torch.cat([corpus.groups[:, None], corpus.votes], dim=1).unique(dim=0)) == len(sizes)


def test_images_are_those_of_their_files(load, data_root):
    corpus = load("ferplus")
    if not (data_root / "ferplus/data/FER2013Train").is_dir():
        pytest.skip("FER+ is there as Kaggle's csv, without single files")
    folder = {ferplus.SPLIT[usage]: name for usage, name in ferplus.FOLDER.items()}
    for row in np.random.default_rng(0).integers(0, len(corpus), 100):
        path = data_root / "ferplus/data" / folder[corpus.split[row]] / corpus.names[row]
        np.testing.assert_array_equal(corpus.images[row], np.asarray(Image.open(path)))


# --- MELD -------------------------------------------------------------------------------------------------


def test_emotions_speakers_and_timing(load):
    corpus = load("meld")
    assert torch.bincount(corpus.targets["emotion"] + 1).tolist() == [2355, 1607, 2308, 6436, 1002]
    assert np.isin(corpus.speaker, list(meld.LEADS)).mean() == pytest.approx(0.8327, abs=5e-5)
    overlap = meld.irregular(corpus)["starts before the turn before ends"].numpy()
    assert overlap[corpus.split == "train"].sum() == 651
    duration, rate, delay = (corpus.auxiliary[name] for name in ("duration", "rate", "delay"))
    # of delays: 1,432 first turns, 73 after numbers passed over, 4 beside times of no use, 35 of more than a minute
    assert [int(values.isnan().sum()) for values in (duration, rate, delay)] == [3, 4, 1544]
    assert duration.nanmedian().item() == pytest.approx(2.46, abs=0.005)
    assert rate.nanmedian().item() == pytest.approx(154.6, abs=0.1)
    assert (delay[~delay.isnan()].abs() <= 60).all()
    assert (delay < 0).sum() == 818


def test_text_has_no_sign_of_a_wrong_code(load):
    wrong = [any("\x80" <= sign <= "\x9f" or sign in "â€�" for sign in text) for text in load("meld").turns]
    assert sum(wrong) == 0  # and no text in the message


def test_each_lead_has_test_turns_of_its_own(load):
    kept = meld.leave_one_lead_out(load("meld"))
    test = torch.from_numpy(load("meld").split == "test")
    assert {lead: int((corpus.targets["emotion"][test] >= 0).sum()) for lead, corpus in kept.items()} == {
        "Chandler": 309, "Joey": 355, "Monica": 285, "Phoebe": 233, "Rachel": 307, "Ross": 318,
    }  # fmt: skip


# --- CEAP-360VR -------------------------------------------------------------------------------------------


def test_people_and_labels(load):
    corpus = load("ceap360vr")
    assert corpus.person[::480].tolist() == [f"P{number}" for number in range(1, 33)]
    assert ceap360vr.source_people(corpus) == tuple(f"P{number}" for number in range(1, 33, 2))
    assert (corpus.valence_arousal.min().item(), corpus.valence_arousal.max().item()) == (1.0, 9.0)
    assert corpus.valence_arousal.mean(dim=0).tolist() == pytest.approx([5.273, 5.147], abs=1e-3)
    # Whoever never moved the joystick from the middle, in valence or in arousal.
    traces = corpus.valence_arousal.reshape(256, 60, 2)
    still = (traces == traces[:, :1]).all(dim=1)
    where = [[f"{corpus.person[60 * t]} {corpus.video[60 * t]}" for t in axis.nonzero().flatten()] for axis in still.T]
    assert where == [["P7 V4"], ["P7 V4", "P30 V2", "P30 V8", "P32 V8"]]


def test_luminance_is_that_of_the_video_and_head_and_gaze_of_a_person_point_the_same_way(load):
    inputs = load("ceap360vr").inputs
    assert inputs.isfinite().all()
    by_person = inputs.reshape(32, 8, 60, -1)
    shared = (by_person == by_person[:1]).all(dim=0).all(dim=0).all(dim=0)
    names = [name for name, same in zip(ceap360vr.FEATURES, shared.tolist(), strict=True) if same]
    assert names == ["luminance", "luminance variation", "luminance above window"]
    # Head and gaze: only so if the pitch of the head, which the files give downwards, is turned.
    fixated = inputs[inputs[:, ceap360vr.FEATURES.index("fixated share")] > 0.5]
    for axis, least in zip("xyz", (0.9, 0.9, 0.6), strict=True):
        columns = [ceap360vr.FEATURES.index(f"{part} {axis}") for part in ("head", "gaze")]
        assert torch.corrcoef(fixated[:, columns].T)[0, 1] > least
