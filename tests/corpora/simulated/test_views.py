import re
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import seeded
from torch.testing import assert_close

from uncertain_affect import corpora
from uncertain_affect.corpora import CorpusError
from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import conversation, filming, views
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS
from uncertain_affect.corpora.simulated.people import People


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Views of a few hundred frames, drawn in several chunks."""
    monkeypatch.setitem(views.FERPLUS_SIZES, "quick", {"train": 160, "val": 30, "test": 50})
    monkeypatch.setattr(views, "BP4D_QUICK", 16)
    monkeypatch.setattr(views, "DISFA_QUICK", 9)
    monkeypatch.setitem(views.RECOLA_FPS, "quick", 1 / 20)
    monkeypatch.setitem(views.AFFWILD2_SIZES, "quick", (16, 12, 1.0, 48))
    monkeypatch.setattr(views, "CHUNK", 64)
    monkeypatch.setattr(filming, "CHUNK", 200)


def load(view, **options):
    return corpora.load("simulated", view=view, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "fer"}, "view must be one of ferplus, bp4d, disfa, recola, affwild2, dialogues, not 'fer'"),
        ({"size": 0}, "size must be one of quick, full, not 0"),
        ({"view": "recola", "size": "huge"}, "size must be one of quick, full, not 'huge'"),
        ({"thin": "age"}, "thin must be one of None, skin_tone, not 'age'"),
        ({"thin": "skin_tone", "thin_share": -0.1}, r"thin_share must lie in \[0, 1\], not -0.1"),
        ({"noisy_class": "unknown"}, "noisy_class must be one of None, neutral, .*, contempt, not 'unknown'"),
        ({"view": "bp4d", "thin": "skin_tone"}, "'bp4d' has no option 'thin'. Its options: size, seed"),
        ({"view": "dialogues", "form": "meld"}, "form must be one of iemocap, semaine, not 'meld'"),
    ],
)
def test_what_is_impossible_is_named_with_its_range(options, message):
    with pytest.raises(CorpusError, match=message):
        corpora.load("simulated", **options)


@pytest.mark.parametrize("view", ["ferplus", "bp4d", "recola", "affwild2", "iemocap", "semaine"])
def test_a_seed_gives_the_same_bits_and_another_gives_others(monkeypatch, tmp_path, view):
    options = {"view": "dialogues", "form": view} if view in conversation.FORMS else {"view": view}
    first = load(**options).checksum()
    assert load(**options).checksum() == first  # from the cache
    assert load(**options, seed=1).checksum() != first
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    assert load(**options).checksum() == first  # drawn anew


@pytest.mark.parametrize("view", ["ferplus", "bp4d", "disfa", "recola", "affwild2"])
def test_truth_common_to_the_views_with_faces(view):
    corpus = load(view)
    truth, n = corpus.truth, len(corpus)
    assert truth["intensities"].shape == (n, 17)
    assert 0 <= truth["intensities"].min() and truth["intensities"].max() <= 5
    assert 0 <= truth["quality"].min() and truth["quality"].max() <= 1
    assert torch.equal(truth["group"] == 1, truth["skin_tone"] > 2 / 3)
    assert (truth["rarity"] > 0).all()
    assert not {"images", "votes", "labels", "traces", "audio"} & set(truth)


def test_ferplus_is_shaped_and_split_like_ferplus():
    corpus = load("ferplus")
    assert corpus.images.shape == (240, 48, 48)
    assert [int((corpus.split == split).sum()) for split in ("train", "val", "test")] == [160, 30, 50]
    assert corpus.classes == (*c.EMOTIONS, "unknown", "NF")
    assert (corpus.votes.sum(1) == 10).all()
    assert len(set(corpus.names.tolist())) == len(corpus.groups.unique()) == 240
    assert corpus.images.flatten(1).unique(dim=0).shape[0] == 240  # every picture is another
    assert views.FERPLUS_SIZES["full"] == {"train": 28_559, "val": 3573, "test": 3579}
    p = corpus.truth["label_distribution"]
    nine = p[:, :9] / p[:, :9].sum(1, keepdim=True)
    assert torch.equal(corpus.truth["label"], nine.argmax(1))
    assert_close(corpus.truth["aleatoric"], -(nine * nine.log()).sum(1), atol=1e-4, rtol=0)
    assert_close(p.sum(1), torch.ones(240))


def test_votes_follow_the_truth(monkeypatch):
    monkeypatch.setitem(views.FERPLUS_SIZES, "quick", {"train": 320, "val": 3, "test": 3})
    corpus = load("ferplus", seed=2)
    p = corpus.truth["label_distribution"].double()
    error = ((corpus.votes / 10 - p) ** 2).sum(1).mean()  # of a multinomial: sum p (1 - p) / 10
    assert error.item() == pytest.approx((p * (1 - p)).sum(1).mean().item() / 10, rel=0.2)


@pytest.mark.parametrize("share", [0, 0.2, 1])
def test_a_thinned_group_leaves_the_training_set_its_size_and_the_other_splits_untouched(share):
    whole, thinned = load("ferplus"), load("ferplus", thin="skin_tone", thin_share=share)
    train, inside = torch.from_numpy(whole.split == "train"), whole.truth["skin_tone"] > 2 / 3
    assert (thinned.split == whole.split).all()
    assert torch.equal(thinned.images[~train], whole.images[~train])
    assert torch.equal(thinned.votes[~train], whole.votes[~train])
    for name in ("label_distribution", "intensities", "skin_tone"):
        assert torch.equal(thinned.truth[name][~train], whole.truth[name][~train])
    kept = (thinned.truth["intensities"] == whole.truth["intensities"]).all(1)
    assert kept[train & ~inside].all()  # nobody else is replaced
    error = (share * (1 - share) / int((train & inside).sum())) ** 0.5
    assert kept[train & inside].float().mean().item() == pytest.approx(share, abs=4 * error)
    assert torch.equal(thinned.truth["group"][train] == 1, (kept & inside)[train])


@pytest.mark.parametrize(("share", "noisy_class"), [(0.0, "happiness"), (0.5, "happiness"), (1.0, "neutral")])
def test_noise_changes_only_training_votes_of_its_class(monkeypatch, share, noisy_class):
    monkeypatch.setattr(views, "NOISE_SHARE", share)
    clean, noisy = load("ferplus"), load("ferplus", noisy_class=noisy_class)
    meant = torch.from_numpy(clean.split == "train") & (clean.truth["label"] == c.EMOTIONS.index(noisy_class))
    changed = (clean.votes != noisy.votes).any(1)
    assert not changed[~meant].any()
    assert changed[meant].float().mean() > 0.9 if share else not changed.any()
    assert (noisy.votes.sum(1) == 10).all() and (noisy.votes >= 0).all()
    assert torch.equal(clean.images, noisy.images)
    assert all(torch.equal(clean.truth[name], noisy.truth[name]) for name in clean.truth)
    # of the votes for an emotion its share stays, and an eighth of all that are replaced comes back to it
    before, after = (corpus.votes[meant].double().mean(0) for corpus in (clean, noisy))
    assert_close(after[:8], (1 - share) * before[:8] + share * 10 / 8, atol=0.6 if share == 1 else 0.7, rtol=0)
    assert share < 1 or not after[8:].any()


def test_out_of_distribution_pictures():
    pictures = views.out_of_distribution(7, seed=3)
    assert pictures.shape == (7, 48, 48) and pictures.dtype == torch.uint8
    assert torch.equal(pictures, views.out_of_distribution(7, seed=3))
    generator = views._generator("out of distribution", 3)
    people, intensities, nuisance = views.ferplus_pictures(7, generator)
    faces = views.render(intensities, people.identity, nuisance, size=48, generator=generator)
    assert torch.equal(pictures[:3], faces[:3].flip(1))
    assert torch.equal(pictures[3:5], 255 - faces[3:5])
    for shuffled, face in zip(pictures[5:], faces[5:], strict=True):
        assert torch.equal(shuffled.flatten().sort().values, face.flatten().sort().values)
        assert torch.equal(shuffled[:24, :24], face[24:, :24]) and torch.equal(shuffled[24:, 24:], face[:24, :24])


@pytest.mark.parametrize(
    ("view", "units", "folds", "threshold"),
    [
        ("bp4d", (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), c.BP4D_FOLDS, 1.0),
        ("disfa", (1, 2, 4, 6, 9, 12, 25, 26), c.DISFA_FOLDS, 2.0),
    ],
)
def test_action_units_come_by_subject_exclusive_folds_and_are_coded_from_intensities(view, units, folds, threshold):
    corpus = load(view)
    truth, p = corpus.truth, corpus.truth["label_distribution"]
    assert corpus.au_names == tuple(f"AU{au}" for au in units)
    assert corpus.images.shape == (len(corpus), 64, 64) and corpus.images.dtype == torch.uint8
    assert corpus.labels.shape == (len(corpus), len(units)) and set(corpus.labels.unique().tolist()) == {0, 1}
    for k, names in enumerate(folds, 1):
        assert set(corpus.subject[(corpus.fold == k).numpy()].tolist()) == set(names)
    # one face per subject
    assert all(len(truth["skin_tone"][torch.from_numpy(corpus.subject == name)].unique()) == 1 for name in folds[0])
    present = truth["intensities"][:, [ACTION_UNITS.index(au) for au in units]] >= threshold
    assert torch.equal(truth["label"] == 1, present)
    assert torch.equal(truth["label"] == 1, p >= 0.5)
    assert_close(truth["aleatoric"], -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)), atol=1e-4, rtol=0)
    # labels are drawn with these chances
    z = (corpus.labels - p).sum(0) / (p * (1 - p)).sum(0).sqrt()
    assert z.abs().max() < 4 and (corpus.labels != truth["label"]).any()


def test_full_views_have_as_many_frames_as_their_corpora():
    generator = seeded()
    recordings = views.bp4d_recordings(People.draw(41, generator), "full")
    assert int(recordings.n_frames.sum()) == 146_847 and recordings.fps == pytest.approx(25)
    assert tuple(recordings.task.bincount().tolist()) == c.BP4D_TASK_FRAMES
    recordings = views.disfa_recordings(People.draw(27, generator), "full")
    assert int(recordings.n_frames.sum()) == len(recordings.task) == 130_814 and recordings.fps == 20
    assert c.DISFA_FOLDS[0][int(recordings.n_frames.argmin())] == "SN010"
    assert recordings.task.unique().tolist() == list(range(9))
    assert 18 * views.RECOLA_S * views.RECOLA_FPS["full"] == 18 * 7500


def test_recola_is_nine_source_and_nine_target_people_in_time_order():
    corpus = load("recola")
    assert corpus.inputs.shape == (18 * 15, 64, 64) and corpus.inputs.dtype == torch.uint8
    assert sorted(set(corpus.person.tolist())) == [f"{part}_{i}" for part in ("dev", "train") for i in range(1, 10)]
    for person in ("train_1", "dev_9"):
        time = corpus.time[torch.from_numpy(corpus.person == person)]
        assert_close(time, torch.arange(15) * 20.0)  # five minutes
    assert corpus.valence_arousal.abs().max() <= 1


def test_traces_stray_from_the_feeling_as_stated():
    felt = torch.zeros(4000, 2) + torch.tensor([0.5, 0.0])
    block = torch.arange(400).repeat_interleave(10)
    mean, sd = views.traced(felt, block, 1.0, 6, seeded())
    variance = ((c.TRACE_GAIN_SD * felt[0]) ** 2 + c.TRACE_BIAS_SD**2 + c.TRACE_ERROR_SD**2) / 6
    assert_close(sd[0], variance.sqrt())
    assert_close((mean - felt).std(0), sd[0], rtol=0.15, atol=0)
    assert_close((mean - felt).mean(0), torch.zeros(2), atol=0.02, rtol=0)


def test_affwild2_labels_are_missing_outside_of_their_sets_and_truth_nowhere():
    corpus = load("affwild2")
    n = len(corpus)
    assert n == 16 * 12 and corpus.frames.shape == (n, 48, 48) and corpus.audio.shape == (n, 64, 64)
    assert corpus.au.shape == (n, 12)
    seen = corpus.truth["quality"] >= views.SEEN
    labels = {"au": (corpus.au, -1), "expression": (corpus.expression[:, None], -1), "va": (corpus.valence_arousal, -5)}
    for task, (values, missing) in labels.items():
        train, val = corpus.subsets[f"{task} train"], corpus.subsets[f"{task} val"]
        assert not (train & val).any()
        there = (train | val) & seen
        assert torch.equal((values != missing).all(1), there) and (values[~there] == missing).all()
        # whole videos
        for mask in (train, val):
            assert not set(corpus.video[mask.numpy()]) & set(corpus.video[~mask.numpy()])
    assert 0 < int((~seen).sum()) < n / 3
    assert set(corpus.expression.unique().tolist()) <= set(range(-1, 7))
    # the truth is there for every frame
    truth, speaking, loud = corpus.truth, corpus.truth["speaking"], corpus.audio.mean((1, 2))
    assert set(truth["au"].unique().tolist()) == {0, 1} and truth["valence_arousal"].abs().max() <= 1
    assert torch.equal(truth["expression"], truth["expression_distribution"].argmax(1))
    assert truth["landmarks"].shape == (n, 68, 2)
    assert speaking.any() and not speaking.all()
    assert loud[speaking].median() > loud[~speaking].median() + 1  # there is a voice


def test_affwild2_subsets_overlap_only_in_part():
    subsets = views._affwild2_subsets(48, seeded())
    au, va = (subsets[f"{task} train"] | subsets[f"{task} val"] for task in ("au", "va"))
    assert (au & va).any() and (au & ~va).any() and (va & ~au).any()
    assert (subsets["au train"] & subsets["expression val"]).any()
    sizes = [int(subsets[f"{task} {part}"].sum()) for task in ("au", "expression", "va") for part in ("train", "val")]
    assert len(subsets) == 6 and sizes == 3 * [26, 8]


def test_rarity_is_the_distance_to_the_tenth_nearest_other_training_picture(monkeypatch):
    traits, known = torch.randn(40, 3, generator=seeded()), torch.arange(40) < 25
    traits[1] = traits[0]  # one twin counts, the picture itself does not
    scaled = ((traits - traits.mean(0)) / traits.std(0)).numpy()
    apart = np.linalg.norm(scaled[:, None] - scaled[:25], axis=2)
    expected = [np.sort(np.delete(row, i) if i < 25 else row)[9] for i, row in enumerate(apart)]
    assert_close(views._rarity(traits, known), torch.tensor(expected), atol=1e-3, rtol=0)
    monkeypatch.setattr(views, "MOST_KNOWN", 13)  # then every second counts
    assert torch.equal(views._rarity(traits, known), views._rarity(traits, known & (torch.arange(40) % 2 == 0)))


def test_memory_does_not_grow_with_the_view(monkeypatch, tmp_path):
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux to tell a process's own memory from mapped files")

    def own_mb():
        return int(re.search(r"RssAnon:\s+(\d+) kB", status.read_text())[1]) / 1024

    def blank(intensities, *_, size, **__):
        peak.append(own_mb())
        return torch.zeros(len(intensities), size, size, dtype=torch.uint8)

    peak = []
    monkeypatch.setattr(filming, "CHUNK", 1000)
    monkeypatch.setattr(views, "render", blank)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    monkeypatch.setattr(views, "rarity", lambda truth, known: torch.ones(len(known)))
    monkeypatch.setattr(views, "BP4D_QUICK", 800)
    before = own_mb()
    corpus = load("bp4d")
    assert len(corpus) == pytest.approx(41 * 800, rel=0.01) and corpus.images.numel() > 120 * 2**20
    assert len(peak) > 30  # one chunk after another
    assert max(peak) - before < 40


def test_chunks_hold_few_recordings_and_lose_none():
    people, n_frames = People.draw(5, torch.Generator()), torch.tensor([90, 90, 90, 500, 10])
    recordings = filming.Recordings(people, torch.arange(5), torch.zeros(5, 2), n_frames, 1.0, 1.0)
    assert [(rows.start, rows.stop) for rows in recordings.chunks()] == [(0, 2), (2, 3), (3, 4), (4, 5)]
    recording, frame = recordings.frames()
    assert len(recording) == 780 and frame[90] == 0 and recording[90] == 1 and frame[-1] == 9
