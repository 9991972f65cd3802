import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss
from torchmetrics.functional import concordance_corrcoef

from uncertain_affect import losses
from uncertain_affect.corpora.base import AffectVideos, Expressions
from uncertain_affect.evidence.claims import effect_interval
from uncertain_affect.evidence.resampling import difference
from uncertain_affect.metrics import rmse
from uncertain_affect.papers import distill

N_VIDEOS, LENGTH = 10, 9
TUNING = distill.Tuning(width=0.05, repeats=0.1, pictures=20, start_epochs=1, epochs=1, batch_size=16)
SMALL = distill.Settings(
    seeds=(0, 1), tuning=TUNING, members=2, hidden=3, shared=4, clip=4, clips=2, epochs=3, lr=1e-2, side_by_side=8
)  # fmt: skip
TASKS = ("AU", "EXPR", "VA")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def corpus(truth=True, **changed):
    """Ten videos of nine frames in no order; tasks train on videos 0 to 6, 1 to 7, 2 to 8, and validate on two."""
    g = generator()
    n = N_VIDEOS * LENGTH
    order = torch.randperm(n, generator=g)
    video, time = order // LENGTH, (order % LENGTH).float()
    subsets = {}
    for first, task in enumerate(("au", "expression", "va")):
        subsets[f"{task} train"] = (video >= first) & (video < first + 7)
        subsets[f"{task} val"] = (video == (first + 7) % N_VIDEOS) | (video == (first + 8) % N_VIDEOS)
    fields = {
        "frames": torch.randint(256, (n, 32, 32), dtype=torch.uint8, generator=g),
        "audio": torch.randn(n, 64, 16, generator=g),
        "au": torch.randint(2, (n, 12), generator=g),
        "expression": torch.randint(7, (n,), generator=g),
        "valence_arousal": 2 * torch.rand(n, 2, generator=g) - 1,
        "video": np.array([f"v{i}" for i in video.tolist()]),
        "time": time,
        "subsets": subsets,
    }
    known = {"landmarks": torch.rand(n, 68, 2, generator=g), "speaking": torch.rand(n, generator=g) < 0.5}
    return AffectVideos(**(fields | changed), truth=known if truth else None)


def trunks(data, settings=SMALL, d=6, seed=3):
    """Made-up features that know a little about the labels."""
    x = torch.randn(len(settings.seeds), len(data.video), d, generator=generator(seed))
    x[..., :2] += 2 * data.labels["VA"].clamp(min=-1)
    return distill.Trunks(x, lambda images: x[:, : len(images)], f"made up {seed} {len(settings.seeds)}")


@pytest.fixture(scope="module")
def data():
    return distill.split_videos(corpus(), SMALL)


@pytest.fixture(scope="module")
def teachers(data):
    return distill.train(data, trunks(data), SMALL, balanced=(False, True))


@pytest.fixture(scope="module")
def balanced(teachers):
    return teachers.arm(True)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    return tmp_path


# --- settings ---------------------------------------------------------------------------------------------


def test_full_is_the_protocol_of_the_release():
    v, va = distill.settings("full"), distill.settings("full", audio=True)
    assert v.seeds == tuple(range(20)) and (v.members, v.generations, v.n_samples) == (5, 3, 10)
    assert (v.clip, v.clips, v.epochs, v.decay) == (16, 5, 10, 3)
    assert (va.clip, va.clips, va.epochs, va.decay) == (8, 8, 15, 4)
    assert (v.lr, v.dropout, v.hidden, v.shared) == (1e-3, 0.5, 128, None)
    assert (v.tuning.width, v.tuning.repeats, v.end_to_end) == (1, 1, True)
    assert not v.faithful_to_release


def test_quick_is_narrower_and_frozen():
    quick, full = distill.settings("quick", 7, audio=True), distill.settings("full", 7, audio=True)
    assert quick.seeds == (7, 8, 9, 10, 11) == full.seeds[:5]
    same = ("members", "generations", "clip", "clips", "epochs", "decay", "dropout", "n_samples", "audio")
    assert all(getattr(quick, name) == getattr(full, name) for name in same)
    assert quick.hidden * 4 == full.hidden and quick.tuning.width * 4 == full.tuning.width
    assert not quick.end_to_end
    with pytest.raises(ValueError, match='PROFILE must be "quick" or "full", not \'fast\''):
        distill.settings("fast")


def test_ferplus_differs_between_profiles_in_seeds_alone():
    quick, full = (distill.settings(profile, corpus="ferplus") for profile in ("quick", "full"))
    assert dataclasses.replace(full, seeds=quick.seeds) == quick
    assert (len(quick.seeds), len(full.seeds), quick.clip) == (5, 20, 1)


def test_a_gpu_trains_small_convolutional_networks_on_ferplus():
    gpu = distill.settings("full", corpus="ferplus", device="cuda")
    assert gpu.end_to_end and gpu.tuning.width == 0.25 and gpu.clip == 1
    assert distill.settings("quick", corpus="ferplus", device="cuda") == distill.settings("quick", corpus="ferplus")


# --- videos -----------------------------------------------------------------------------------------------


def test_frames_are_split_by_task_and_tuning_videos_train_nothing(data):
    made = corpus()
    training = {name for task in TASKS for name in data.video[data.train[task].numpy()]}
    tuning = {name for task in TASKS for name in data.video[data.tune[task].numpy()]}
    assert len(tuning) == 2 and not training & tuning
    assert not tuning & set(data.video[data.union.flatten().numpy()])
    for task, first in zip(TASKS, range(3), strict=True):
        here = {f"v{i}" for i in range(first, first + 7)}
        assert set(data.video[data.train[task].numpy()]) == here - tuning
        assert set(data.video[data.test[task].numpy()]) == {f"v{(first + i) % 10}" for i in (7, 8)}
        # 9 frames hold two clips of four
        assert data.clips[task].shape == (2 * len(here - tuning), 4)
        assert data.left_out[task] == len(here - tuning)
    assert data.outputs == {"AU": 12, "EXPR": 7, "VA": 40}
    assert data.names["AU"][2] == "AU4" and data.names["EXPR"][6] == "Surprise"
    torch.testing.assert_close(data.weights["AU"], losses.positive_weights(made.au[data.train["AU"]]))


def test_clips_run_through_one_video_in_order_of_time(data):
    made = corpus()
    for clips in (*data.clips.values(), data.union):
        times = made.time[clips]
        assert (times.diff(dim=1) == 1).all()
        assert all(len(set(data.video[clip.numpy()])) == 1 for clip in clips)
        assert clips.flatten().unique().numel() == clips.numel()


def test_frames_with_a_missing_part_are_left_out_and_the_clip_goes_on_after_them():
    made = corpus()
    whole = distill.split_videos(made, SMALL)
    name = whole.video[whole.clips["AU"][0, 0]]
    gap = (made.time == 2) & torch.from_numpy(made.video == name)
    au = made.au.clone()
    au[gap, 5] = -1
    split = distill.split_videos(dataclasses.replace(made, au=au), SMALL)
    of_video = [clip for clip in split.clips["AU"] if split.video[clip[0]] == name]
    assert made.time[of_video[0]].tolist() == [0, 1, 3, 4] and made.time[of_video[1]].tolist() == [5, 6, 7, 8]
    assert not split.train["AU"][gap].any() and torch.equal(split.train["AU"][~gap], whole.train["AU"][~gap])
    assert torch.equal(split.union, whole.union)


def test_each_task_has_a_video_that_tunes_it():
    split = distill.split_videos(corpus(), dataclasses.replace(SMALL, tuning_share=0.01))
    assert all(mask.any() for mask in split.tune.values())


def test_a_video_without_labels_for_a_task_gives_it_no_clip():
    made = corpus()
    here = torch.from_numpy(made.video == "v4")
    labels = made.valence_arousal.clone()
    labels[here] = -5
    split = distill.split_videos(dataclasses.replace(made, valence_arousal=labels), SMALL)
    assert "v4" not in set(split.video[split.clips["VA"].flatten().numpy()])
    assert "v4" in set(split.video[split.union.flatten().numpy()])


def test_labels_longer_or_shorter_than_frames_are_refused():
    for n in (N_VIDEOS * LENGTH + 1, N_VIDEOS * LENGTH - 1):
        with pytest.raises(
            ValueError, match=rf"AffectVideos.expression must be a Tensor of shape \(90,\), not \({n},\)"
        ):
            corpus(expression=torch.zeros(n, dtype=torch.int64))


def test_a_subset_whose_labels_are_all_missing_is_named():
    for part in ("train", "val"):
        made = corpus()
        au = made.au.clone()
        au[made.subsets[f"au {part}"]] = -1
        with pytest.raises(ValueError, match=f'every label of "au {part}" is missing.*to do without AU'):
            distill.split_videos(dataclasses.replace(made, au=au), SMALL)


def test_what_cannot_be_split_says_why():
    made = corpus()
    with pytest.raises(ValueError, match="no video has 12 frames that train AU"):
        distill.split_videos(made, dataclasses.replace(SMALL, clip=12))
    with pytest.raises(ValueError, match='no task: expected subsets such as "au train"'):
        distill.split_videos(dataclasses.replace(made, subsets={"other": made.subsets["au train"]}), SMALL)
    alone = {name: mask for name, mask in made.subsets.items() if name.startswith("va")}
    assert distill.split_videos(dataclasses.replace(made, subsets=alone), SMALL).tasks == ("VA",)


def faces(n=60):
    """Images with votes of ten: the happy have stripes that lie, the others some that stand; ties are no majority."""
    g = generator()
    happy = torch.rand(n, generator=g) > 0.5
    votes = torch.zeros(n, 10, dtype=torch.int64)
    votes[:, 1], votes[:, 0] = torch.where(happy, 8, 2), torch.where(happy, 2, 8)
    votes[::10, :2], votes[::10, 2] = 5, 0  # a tie is no majority
    stripes = (torch.arange(48) % 8 < 4) * 100.0
    light = torch.where(happy[:, None, None], stripes[:, None], stripes) + torch.randint(60, (n, 48, 48), generator=g)
    split = np.array(["train"] * (n - 24) + ["val"] * 12 + ["test"] * 12)
    return Expressions(
        light.to(torch.uint8), votes, split, np.array([f"i{i}" for i in range(n)]), torch.arange(n) // 2 * 2,
        ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"),
    )  # fmt: skip


def test_images_are_videos_of_one_frame_and_their_votes_are_held_back():
    images = distill.images_as_videos(faces())
    assert images.expression[:3].tolist()[0] == -1 and set(images.expression.tolist()) == {-1, 0, 1}
    assert images.truth["votes"].shape == (60, 8)
    assert images.video[0] == images.video[1] != images.video[2]
    ferplus = dataclasses.replace(SMALL, clip=1, clips=8)
    split = distill.split_videos(images, ferplus, expressions=distill.ferplus.EMOTIONS)
    assert split.tasks == ("EXPR",) and split.outputs == {"EXPR": 8}
    # a student sees the images without a majority too
    assert len(split.union) == 36 and len(split.clips["EXPR"]) == int((images.expression[:36] >= 0).sum())
    assert split.tune["EXPR"][36:48].sum() + split.test["EXPR"][48:].sum() == int((images.expression[36:] >= 0).sum())


def test_a_corpus_is_loaded_by_name(monkeypatch):
    asked, videos = [], distill.images_as_videos(faces())

    def load(*args, **options):
        asked.append((args, options))
        return faces() if args[0] == "ferplus" else videos

    monkeypatch.setattr(distill.corpora, "load", load)
    assert distill.load("simulated", "full", seed=3) is videos
    assert distill.load("affwild2", "quick", root="somewhere") is videos
    assert distill.load("affwild2", "full") is videos
    assert "votes" in distill.load("ferplus", "quick").truth
    assert asked == [
        (("simulated",), {"view": "affwild2", "size": "full", "seed": 3}),
        (("affwild2", "somewhere"), {"size": 64, "colour": False, "every": 4, "longest": 96}),
        (("affwild2", None), {"size": 112, "every": 4}),
        (("ferplus", None), {}),
    ]


# --- trunks -----------------------------------------------------------------------------------------------


def test_mirroring_twice_changes_nothing_and_swaps_the_eyes():
    points = torch.rand(3, 68, 2, generator=generator())
    both = torch.tensor([True, True, False])
    torch.testing.assert_close(distill._mirror(distill._mirror(points, both), both), points)
    assert torch.equal(distill._mirror(points, both)[2], points[2])
    assert distill.MIRRORED[36:42].tolist() == [45, 44, 43, 42, 47, 46]
    assert sorted(distill.MIRRORED.tolist()) == list(range(68))


def test_jitter_stays_within_the_picture_and_its_strength():
    grey = torch.full((200, 1, 4, 4), 0.5)
    grey[:, :, 0] = 0.4
    out = distill.jitter(grey, generator())
    assert out.min() >= 0 and out.max() <= 1
    mean = out.mean((1, 2, 3)) / 0.475
    assert mean.min() >= 0.7 - 1e-6 and mean.max() <= 1.3 + 1e-6 and mean.std() > 0.1
    assert torch.equal(distill.jitter(grey, generator()), out)
    torch.testing.assert_close(distill.jitter(grey, generator(), strength=0.0), grey)


@pytest.fixture(scope="module")
def start():
    return distill.starting_trunk(TUNING, 32)


def test_a_tuned_trunk_keeps_the_early_layers_of_its_start_and_differs_between_seeds(data, start):
    made = corpus()
    tuned = distill.tune_trunks(made, data, SMALL, start)
    assert tuned.features.shape == (2, 90, start.n_features)
    training = torch.stack(list(data.train.values())).any(0)
    torch.testing.assert_close(tuned.features[:, training].mean(1), torch.zeros(2, start.n_features), atol=1e-4, rtol=0)
    assert not torch.allclose(tuned.features[0], tuned.features[1])
    # pictures are encoded as frames are
    torch.testing.assert_close(tuned.encode(made.frames[:5]), tuned.features[:, :5], atol=1e-5, rtol=1e-5)
    network, _ = distill._tuned("trunk", made, data, SMALL, 0, distill._Maps(start, made.frames, "cpu"), "cpu")
    for i, (a, b) in enumerate(zip(network.layers, start.layers, strict=True)):
        same = all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
        assert same == (i < start.n_early) or not a.state_dict()


def test_sound_stands_beside_the_trunk_and_pictures_have_none(data, start):
    hears = dataclasses.replace(SMALL, audio=True, seeds=(0,))
    sees = distill.tune_trunks(corpus(), data, dataclasses.replace(hears, audio=False), start)
    both = distill.tune_trunks(corpus(), data, hears, start)
    assert both.features.shape[2] > sees.features.shape[2]
    torch.testing.assert_close(both.features[..., : sees.features.shape[2]], sees.features)
    with pytest.raises(ValueError, match="pictures have no sound"):
        both.encode(corpus().frames[:2])


# --- members ----------------------------------------------------------------------------------------------


def test_members_train_side_by_side_as_they_do_alone(data, teachers, empty_cache):
    alone = distill.train(data, trunks(data), dataclasses.replace(SMALL, side_by_side=1), balanced=(False, True))
    assert alone.copies == teachers.copies and len(alone.parts) == 8
    torch.testing.assert_close(alone.performance, teachers.performance, atol=1e-4, rtol=1e-3)
    assert alone.best_epoch.tolist() == teachers.best_epoch.tolist()
    for name, p in teachers.parts[0].heads.named_parameters():
        q = torch.cat([part.heads.get_parameter(name) for part in alone.parts])
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-3)


def test_arms_part_only_when_a_weight_moves(data, teachers):
    without, with_ = teachers.arm(False), teachers.arm(True)
    assert without.copies[0] == (0, 0, False) and with_.copies[0] == (0, 0, True)
    torch.testing.assert_close(without.performance[:, 0], with_.performance[:, 0])
    assert (without.weights == 0.25).all()  # three tasks, and landmarks, which are off and counted
    for copy in range(4):
        trace = losses.balancing_trace(with_.performance[copy], n_auxiliary=1)
        torch.testing.assert_close(with_.weights[copy], trace)
    with pytest.raises(ValueError, match=r"choose with .arm\(True\) or .arm\(False\)"):
        distill.predict(teachers, data, data.test_rows)
    with pytest.raises(ValueError, match="no network was trained without balancing"):
        with_.arm(False)


def test_every_member_is_left_at_its_best_epoch(data, balanced):
    total = balanced.performance.sum(2)
    assert balanced.best_epoch.tolist() == (total.argmax(1) + 1).tolist()
    metrics = distill.Metrics.of(data)
    sums = metrics.sums(distill.predict(balanced, data, data.tune_rows), data, "tune")
    again = metrics.performance(sums.sum(2), data.tasks).flatten(0, 1)
    torch.testing.assert_close(again.sum(1), total.max(1).values, atol=1e-5, rtol=1e-5)


def test_networks_come_from_the_cache(data, teachers, monkeypatch):
    monkeypatch.setattr(distill, "_fit", lambda *a: pytest.fail("trained again"))
    again = distill.train(data, trunks(data), SMALL, balanced=(False, True))
    assert torch.equal(again.performance, teachers.performance)
    assert all(
        torch.equal(p, q)
        for p, q in zip(again.parts[0].heads.parameters(), teachers.parts[0].heads.parameters(), strict=True)
    )


def test_a_loss_that_is_not_finite_stops_the_training(data, empty_cache):
    broken = trunks(data)
    broken.features[0, data.clips["AU"][0, 0]] = torch.nan
    with pytest.raises(FloatingPointError, match="teachers: the training loss of copy 0 is nan in epoch 1"):
        distill.train(data, broken, dataclasses.replace(SMALL, clips=50))


# --- what networks say ------------------------------------------------------------------------------------


def test_states_are_carried_over_a_video_and_start_at_zero(data, balanced):
    rows = torch.arange(len(data.video))
    said = distill.logits(balanced, data, rows)
    # some rows alone are what they are among all
    some = distill.logits(balanced, data, rows[::7])
    for task in TASKS:
        torch.testing.assert_close(some[task], said[task][:, :, ::7], atol=1e-5, rtol=1e-5)
    # the first frame of a video knows no other, a later one does
    heads, x = balanced.parts[0].heads, balanced.parts[0].features(rows)
    with torch.no_grad():
        alone = heads(x.unsqueeze(2))[0]["AU"].squeeze(2).unflatten(0, (2, 2))
    first = torch.stack([s[0] for s in data.sequences])
    torch.testing.assert_close(alone[:, :, first], said["AU"][:, :, first], atol=1e-5, rtol=1e-5)
    later = torch.stack([s[4] for s in data.sequences])
    assert not torch.allclose(alone[:, :, later], said["AU"][:, :, later], atol=1e-4)


def test_videos_of_other_lengths_are_padded(data, balanced):
    shorter = dataclasses.replace(data, sequences=[s[: 3 + i % 4] for i, s in enumerate(data.sequences)])
    rows = torch.cat(shorter.sequences).sort().values
    ours = distill.logits(balanced, shorter, rows)["VA"]
    whole = distill.logits(balanced, data, rows)["VA"]
    torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-5)


def test_an_ensemble_is_the_mean_and_one_of_a_single_member_has_no_epistemic_uncertainty(data, balanced):
    said = distill.predict(balanced, data, data.test_rows)
    torch.testing.assert_close(distill.ensemble(said)["EXPR"][:, 0], said["EXPR"].mean(1))
    split = distill.uncertainty(said)
    assert split["AU"].total.shape == said["AU"][:, 0].shape
    assert split["EXPR"].total.shape == said["EXPR"].shape[:1] + said["EXPR"].shape[2:3]
    assert split["VA"].total.shape == (*said["VA"].shape[:1], said["VA"].shape[2], 2)
    for task in TASKS:
        assert (split[task].epistemic >= 0).all() and split[task].epistemic.max() > 0
        assert split[task].total.max() <= 1 + 1e-9  # over log C
        torch.testing.assert_close(split[task].total, split[task].aleatoric + split[task].epistemic)
    one = {task: p[:, :1] for task, p in said.items()}
    for task, of_one in distill.uncertainty(one).items():
        assert (of_one.epistemic == 0).all(), task
        assert of_one.aleatoric.isfinite().all()


def test_dropout_is_really_on_and_off_as_released(data, balanced):
    said = distill.predict(balanced, data, data.test_rows)
    mean, split = distill.mc_dropout(balanced, data, data.test_rows)
    again, _ = distill.mc_dropout(balanced, data, data.test_rows)
    for task in TASKS:
        assert torch.equal(mean[task], again[task])
        assert not torch.allclose(mean[task], said[task], atol=1e-3)
        assert split[task].epistemic.mean() > 1e-4
    released = dataclasses.replace(balanced, settings=dataclasses.replace(SMALL, faithful_to_release=True))
    one_by_one = dataclasses.replace(released, parts=balanced.parts)
    still, of_still = distill.mc_dropout(one_by_one, data, data.test_rows)
    for task in TASKS:
        torch.testing.assert_close(still[task], distill.predict(one_by_one, data, data.test_rows)[task])
        assert of_still[task].epistemic.max() < 1e-9


def test_many_passes_of_dropout_near_the_state_without(data, balanced):
    """The linear layer's mean logit over masks is the logit without: E[mask] = 1."""
    part = balanced.parts[0]
    states = distill._states(part, data, SMALL, data.test_rows)
    with torch.no_grad():
        mean = torch.stack(
            [
                distill._read_out(part.heads, states * part.heads.masks(states.shape[1:], states))["VA"]
                for _ in range(600)
            ]
        )
    off = distill._read_out(part.heads, states)["VA"]
    standard_error = mean.std(0) / math.sqrt(len(mean))
    assert ((mean.mean(0) - off).abs() < 5.5 * standard_error + 1e-6).all()


def test_pictures_are_clips_of_one_frame(data, balanced):
    images = torch.zeros(5, 8, 8, dtype=torch.uint8)
    said = distill.on_pictures(balanced, images)
    assert {task: tuple(p.shape) for task, p in said.items()} == {
        "AU": (2, 2, 5, 12), "EXPR": (2, 2, 5, 7), "VA": (2, 2, 5, 2, 20)
    }  # fmt: skip
    torch.testing.assert_close(said["EXPR"].sum(-1), torch.ones(2, 2, 5))


def test_other_pictures_show_no_face_and_are_drawn():
    made, again = (distill.other_pictures(33, 40, generator(1)) for _ in range(2))
    assert list(made) == ["scenes", "digits", "distorted faces"]
    for kind, pictures in made.items():
        assert pictures.shape == (33, 40, 40) and pictures.dtype == torch.uint8
        assert torch.equal(pictures, again[kind])
        assert pictures.float().flatten(1).std(1).min() > 1
    assert not torch.equal(made["scenes"][0], made["scenes"][16])  # another cut-out of the same picture


def test_heads_stand_on_what_the_settings_say(data, start):
    tuned = distill.encoders(corpus(), data, SMALL, simulated=True)
    assert torch.equal(tuned.features, distill.tune_trunks(corpus(), data, SMALL, start).features)
    own = distill.encoders(corpus(), data, dataclasses.replace(SMALL, end_to_end=True), simulated=False)
    assert isinstance(own, distill.OwnTrunks) and own.start is None
    images = distill.images_as_videos(faces())
    ferplus = dataclasses.replace(SMALL, clip=1)
    split = distill.split_videos(images, ferplus, expressions=distill.ferplus.EMOTIONS)
    assert distill.encoders(images, split, ferplus, simulated=False).features.shape == (1, 60, 900)


# --- soft labels and students -----------------------------------------------------------------------------


def test_soft_labels_are_the_mean_over_members_of_every_frame(data, balanced):
    soft = distill.soft_labels(balanced, data)
    said = distill.predict(balanced, data, torch.arange(len(data.video)))
    for task in TASKS:
        torch.testing.assert_close(soft.labels[task], said[task].mean(1), atol=1e-6, rtol=1e-5)
    copies = (distill.Copy(1, 0), distill.Copy(0, 1))
    rows = torch.tensor([[[0, 1]], [[2, 3]]])
    of = soft.of(copies, "cpu")("EXPR", rows)
    assert torch.equal(of[0, 0], soft.labels["EXPR"][1, :2]) and torch.equal(of[1, 0], soft.labels["EXPR"][0, 2:4])


def test_a_killed_pass_goes_on_and_gives_the_same_bits(data, balanced, tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "VIDEOS_A_SHARD", 3)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "whole"))
    whole = distill.soft_labels(balanced, data)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "killed"))
    made, honest = [], distill._logits

    def dies_in_the_third(part, videos, settings, rows, soft=False):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(rows)
        return honest(part, videos, settings, rows, soft)

    with monkeypatch.context() as patch:
        patch.setattr(distill, "_logits", dies_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            distill.soft_labels(balanced, data)
    left = sorted(p for p in (tmp_path / "killed" / "soft_labels").iterdir() if p.is_dir())
    assert len(left) == 2

    def counts(part, videos, settings, rows, soft=False):
        made.append(rows)
        return honest(part, videos, settings, rows, soft)

    monkeypatch.setattr(distill, "_logits", counts)
    resumed = distill.soft_labels(balanced, data)
    assert len(made) == 4  # ten videos in shards of three: the first two were there
    assert resumed.key == whole.key
    assert all(torch.equal(resumed.labels[task], whole.labels[task]) for task in TASKS)
    # a shard that does not match its checksum is made anew
    damaged = next(left[0].glob("EXPR.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.warns(UserWarning, match="is damaged"):
        mended = distill.soft_labels(balanced, data)
    assert all(torch.equal(mended.labels[task], whole.labels[task]) for task in TASKS)


def test_students_see_soft_labels_alone(data, balanced, empty_cache):
    soft = distill.soft_labels(balanced, data)
    students = distill.train(data, trunks(data), SMALL, soft=soft)
    assert students.number == 1 and soft.generation == 0
    labels = dict(data.labels)
    for task in TASKS:  # other labels on the frames that train
        y = labels[task].clone()
        y[data.train[task]] = y[data.train[task]].flip(0)
        labels[task] = y
    others = distill.train(dataclasses.replace(data, labels=labels), trunks(data), SMALL, soft=soft)
    for p, q in zip(students.parts[0].heads.parameters(), others.parts[0].heads.parameters(), strict=True):
        assert torch.equal(p, q)
    second = distill.train(data, trunks(data), SMALL, soft=distill.soft_labels(students, data))
    assert second.number == 2
    assert not torch.allclose(second.performance, students.performance)


def test_students_come_near_their_teachers(data, balanced, empty_cache):
    longer = dataclasses.replace(SMALL, epochs=20, decay=20, dropout=0.0)
    soft = distill.soft_labels(balanced, data)
    rows = data.union.flatten()

    def distance(generation):
        said = distill.predict(generation, data, rows)["EXPR"].mean(1)
        return float((said - soft.labels["EXPR"][:, rows]).abs().mean())

    students = distill.train(data, trunks(data), longer, soft=soft)
    strangers = distill.train(data, trunks(data), dataclasses.replace(longer, seeds=(8, 9)))
    assert distance(students) < 0.5 * distance(strangers)


# --- the release ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(data):
    return distill.train(data, trunks(data), dataclasses.replace(SMALL, faithful_to_release=True))


def test_released_validation_sees_single_frames_but_for_the_first_video(data, released):
    assert released.parts[0].heads.across_clips
    rows = torch.arange(len(data.video))
    said = distill.logits(released, data, rows)["AU"]
    heads, x = released.parts[0].heads, released.parts[0].features(rows)
    with torch.no_grad():
        alone = distill._read_out(heads, heads.states(x.unsqueeze(2))[0].squeeze(3))["AU"].unflatten(0, (2, 2))
    # nine frames are less than a chunk of 64, so that in the first video too no frame has a predecessor
    torch.testing.assert_close(said, alone, atol=1e-5, rtol=1e-5)


def test_released_chunks_carry_the_state_of_the_frame_64_before(data, released, monkeypatch):
    monkeypatch.setattr(distill, "CHUNK", 4)
    rows, settings_ = torch.arange(len(data.video)), released.settings
    made = list(distill._sequences(data, settings_, rows, soft=True))
    flat = {tuple(s[s >= 0].tolist()) for batch in made for s in batch}
    first = data.sequences[0].tolist()
    assert (first[0], first[4], first[8]) in flat and (first[1], first[5]) in flat
    lengths = sorted(len(s) for s in flat)
    assert lengths == sorted([3, 2, 2, 2] * N_VIDEOS)
    validation = {
        tuple(s[s >= 0].tolist()) for batch in distill._sequences(data, settings_, rows, soft=False) for s in batch
    }
    assert sorted(len(s) for s in validation) == sorted([3, 2, 2, 2] + [1] * LENGTH * (N_VIDEOS - 1))


def test_released_weights_never_come_back(data, released):
    for copy in range(len(released.copies)):
        trace = losses.balancing_trace(released.performance[copy], n_auxiliary=1, released=True)
        torch.testing.assert_close(released.weights[copy], trace)


# --- networks of their own --------------------------------------------------------------------------------


def test_members_may_train_trunks_of_their_own(data, start):
    own = dataclasses.replace(
        SMALL, end_to_end=True, audio=True, seeds=(0,), members=2, shared=None, epochs=1, clips=3
    )  # fmt: skip
    made = distill.OwnTrunks(corpus(), start)
    teachers = distill.train(data, made, own)
    assert len(teachers.parts) == 2 and teachers.weights.shape == (2, 2, 5)
    assert list(teachers.parts[0].heads.outputs) == ["AU", "EXPR", "VA", "FA", "VAD"]
    said = distill.predict(teachers, data, data.test_rows)
    assert said["AU"].shape == (1, 2, len(data.test_rows), 12)
    assert not torch.allclose(said["AU"][0, 0], said["AU"][0, 1])
    students = distill.train(data, made, own, soft=distill.soft_labels(teachers, data))
    mean, _ = distill.mc_dropout(students, data, data.test_rows)
    assert mean["VA"].shape == (1, 2, len(data.test_rows), 2, 20)
    with pytest.raises(ValueError, match="pictures have no sound"):
        distill.on_pictures(students, corpus().frames[:2])


def test_auxiliary_tasks_are_off_where_their_labels_are_unknown(data):
    own = dataclasses.replace(SMALL, end_to_end=True, seeds=(0,), members=1, epochs=1)
    known, unknown = (
        distill._EndToEnd(data, distill.OwnTrunks(corpus(truth), None), own, generator(), "cpu")
        for truth in (True, False)
    )
    rows = torch.stack([clips[None, :2] for clips in data.clips.values()], 1)
    for source, n in ((known, 4), (unknown, 3)):
        x = source.batch(rows)
        assert x.shape[:4] == (1, n, 2, 4)
        terms = source.auxiliary(source.heads(x)[0], 1)
        assert (terms[0] is None) == (n == 3)


def test_training_takes_one_thread_whatever_there_are(empty_cache, monkeypatch):
    images, own = distill.images_as_videos(faces()), dataclasses.replace(SMALL, clip=1, clips=8, epochs=1)
    split = distill.split_videos(images, own, expressions=distill.ferplus.EMOTIONS)
    threads, source = [], distill._source
    monkeypatch.setattr(distill, "_source", lambda *a: threads.append(torch.get_num_threads()) or source(*a))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        distill.train(split, distill.hog_trunk(images, split), own)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}


def test_networks_from_scratch_learn_single_images(empty_cache):
    own = dataclasses.replace(
        SMALL, clip=1, clips=8, side_by_side=1, epochs=4, end_to_end=True, seeds=(0,), members=2, shared=None
    )
    images = distill.images_as_videos(faces())
    split = distill.split_videos(images, own, expressions=distill.ferplus.EMOTIONS)
    scratch = distill.encoders(images, split, own, simulated=False)
    assert isinstance(scratch, distill.OwnTrunks) and scratch.start is None
    teachers = distill.train(split, scratch, own)
    soft = distill.soft_labels(teachers, split)
    students = distill.train(split, scratch, own, soft=soft)
    for generation in (teachers, students):
        said = distill.predict(generation, split, split.test_rows)["EXPR"]
        assert said.shape == (1, 2, len(split.test_rows), 8)
        torch.testing.assert_close(said.sum(-1), torch.ones(said.shape[:-1]))
        assert not torch.allclose(said[0, 0], said[0, 1])  # members of their own
    assert distill.on_pictures(students, images.frames[:3])["EXPR"].shape[-2:] == (3, 8)


def test_hand_made_features_serve_all_seeds_of_images(empty_cache):
    ferplus = dataclasses.replace(SMALL, clip=1, clips=8, side_by_side=3, epochs=4)
    images = distill.images_as_videos(faces())
    split = distill.split_videos(images, ferplus, expressions=distill.ferplus.EMOTIONS)
    hog = distill.hog_trunk(images, split)
    assert hog.features.shape == (1, 60, 900)
    torch.testing.assert_close(hog.encode(images.frames[:4]), hog.features[:, :4])
    teachers = distill.train(split, hog, ferplus)
    assert (teachers.weights == 1).all()  # nothing to balance
    said = distill.predict(teachers, split, split.test_rows)
    accuracy = (said["EXPR"].argmax(-1) == split.labels["EXPR"][split.test_rows]).float().mean()
    assert accuracy > 0.8
    students = distill.train(split, hog, ferplus, soft=distill.soft_labels(teachers, split))
    assert distill.on_pictures(students, images.frames[:4])["EXPR"].shape == (2, 2, 4, 8)


# --- temperature scaling ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.floats(0.3, 4))
def test_the_temperature_of_drawn_labels_is_found_again(seed, temperature):
    g = generator(seed)
    z = 2 * torch.randn(4000, 3, generator=g)
    y = torch.multinomial(torch.softmax(z, -1), 1, generator=g).squeeze(1)
    assert distill.fit_temperature(temperature * z, y) == pytest.approx(temperature, rel=0.15)
    answers = torch.bernoulli(torch.sigmoid(z[:, 0]), generator=g)
    assert distill.fit_temperature(temperature * z[:, 0], answers) == pytest.approx(temperature, rel=0.25)


def test_temperatures_by_grid_and_their_bounds():
    z, y = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1, 1])
    grid = torch.linspace(math.log(0.05), math.log(20), 20001, dtype=torch.float64).exp()
    nll = torch.nn.functional.cross_entropy(
        (z[None].double() / grid[:, None, None]).flatten(0, 1), y.repeat(len(grid)), reduction="none"
    )
    best = grid[nll.view(len(grid), -1).mean(1).argmin()]
    assert distill.fit_temperature(z, y) == pytest.approx(float(best), rel=1e-3)
    assert distill.fit_temperature(z, torch.tensor([0, 0, 1])) == pytest.approx(0.05, rel=1e-3)  # all right: colder
    with pytest.raises(ValueError, match="no frame to fit on"):
        distill.fit_temperature(z[:0], y[:0])


def test_temperatures_of_every_network_and_unit_are_fitted_on_held_out_videos(data, balanced):
    said, t = distill.temperature_scaling(balanced, data, data.test_rows)
    assert t["AU"].shape == (2, 2, 1, 12) and t["EXPR"].shape == (2, 2, 1, 1)
    tuned = distill.logits(balanced, data, data.tune_rows)
    labels = data.labels["AU"][data.tune_rows]
    known = data.tune["AU"][data.tune_rows]
    again = distill.fit_temperature(tuned["AU"][1, 0, known, 3], labels[known, 3])
    assert t["AU"][1, 0, 0, 3].item() == pytest.approx(again, rel=1e-5)
    plain = distill.predict(balanced, data, data.test_rows)
    torch.testing.assert_close(said["VA"], plain["VA"])
    assert torch.equal(said["EXPR"].argmax(-1), plain["EXPR"].argmax(-1))
    assert torch.equal(said["AU"] > 0.5, plain["AU"] > 0.5)


def test_the_release_fits_on_half_of_what_it_scores(data, balanced):
    said, scored = distill.temperature_scaling_on_halves(balanced, data, data.test_rows, generator())
    assert scored.shape == data.test_rows.shape and int(scored.sum()) == math.ceil(len(scored) / 2)
    assert said["EXPR"].shape[2] == len(scored)
    metrics = distill.Metrics.of(data)
    plain = metrics.sums(distill.predict(balanced, data, data.test_rows), data, "test")[:, :, ~scored]
    fitted = metrics.sums(said, data, "test")[:, :, ~scored]
    assert (metrics.expr_nll(fitted.sum(2)) <= metrics.expr_nll(plain.sum(2)) + 1e-6).all()
    assert (metrics.au_nlls(fitted.sum(2)) <= metrics.au_nlls(plain.sum(2)) + 1e-6).all()


# --- metrics ----------------------------------------------------------------------------------------------


def test_metrics_agree_with_scikit_learn_and_torchmetrics(data, balanced):
    said = distill.predict(balanced, data, data.test_rows)
    metrics = distill.Metrics.of(data)
    sums = metrics.sums(said, data, "test").sum(2)  # (S, M, W)
    for s, m in itertools.product(range(2), range(2)):
        known = {task: data.test[task][data.test_rows] for task in TASKS}
        y = {task: data.labels[task][data.test_rows][known[task]].numpy() for task in TASKS}
        p = {task: said[task][s, m][known[task]].double().numpy() for task in TASKS}
        au = p["AU"] >= 0.5
        f1 = np.mean([f1_score(y["AU"][:, a], au[:, a], zero_division=0) for a in range(12)])
        assert metrics.au(sums)[s, m] == pytest.approx(0.5 * f1 + 0.5 * (au == y["AU"]).mean())
        p["EXPR"] = p["EXPR"] / p["EXPR"].sum(1, keepdims=True)
        top = p["EXPR"].argmax(1)
        expected = 0.67 * f1_score(y["EXPR"], top, average="macro") + 0.33 * accuracy_score(y["EXPR"], top)
        assert metrics.expr(sums)[s, m] == pytest.approx(expected)
        assert metrics.expr_nll(sums)[s, m] == pytest.approx(log_loss(y["EXPR"], p["EXPR"], labels=range(7)), rel=1e-5)
        nlls = [log_loss(y["AU"][:, a], p["AU"][:, a], labels=[0, 1]) for a in range(12)]
        assert metrics.au_nlls(sums)[s, m] == pytest.approx(nlls, rel=1e-5)
        assert metrics.au_nll(sums)[s, m] == pytest.approx(np.mean(nlls), rel=1e-5)
        means = p["VA"] @ np.linspace(-1, 1, 20)
        for d in range(2):
            theirs = concordance_corrcoef(torch.from_numpy(means[:, d]), torch.from_numpy(y["VA"][:, d]).double())
            assert metrics.ccc(sums, d)[s, m] == pytest.approx(theirs.item(), abs=0.02)  # theirs has n - 1
            assert metrics.rmse(sums, d)[s, m] == pytest.approx(rmse(means[:, d], y["VA"][:, d]), abs=1e-6)
        total = metrics.au(sums) + metrics.expr(sums) + metrics.ccc(sums, 0) + metrics.ccc(sums, 1)
        assert metrics.total(sums) == pytest.approx(total)


def test_sums_of_videos_and_means_over_single_models(data, balanced):
    said = distill.predict(balanced, data, data.test_rows)
    metrics = distill.Metrics.of(data)
    of_videos = distill.clustered(said, data, metrics)
    n_videos = len(set(data.video[data.test_rows.numpy()]))
    assert of_videos.shape == (2, n_videos, 2 * metrics.width)
    nll = distill.over_members(metrics.expr_nll, metrics.width)
    whole = metrics.expr_nll(metrics.sums(said, data, "test").sum(2))
    assert nll(of_videos.sum(1)) == pytest.approx(whole.mean(1))
    both = np.concatenate([of_videos, distill.clustered(distill.ensemble(said), data, metrics)], -1)
    ensemble = metrics.expr_nll(distill.clustered(distill.ensemble(said), data, metrics).sum(1))
    w = 2 * metrics.width

    def gain(sums):
        return nll(sums[..., :w]) - metrics.expr_nll(sums[..., w:])

    effect = effect_interval(both, gain)
    assert effect.estimate == pytest.approx((whole.mean(1) - ensemble).mean(), abs=0.2)
    assert effect_interval(np.concatenate([of_videos, of_videos], -1), difference(nll)).estimate == 0
    assert effect.n_seeds == 2 and effect.n_clusters == n_videos


def test_columns_of_the_tables_are_those_of_the_tasks_there(data):
    metrics = distill.Metrics.of(data)
    assert list(metrics.table5()) == ["AU", "EXPR", "Valence", "Arousal", "Total"]
    assert list(metrics.table7()) == ["EXPR NLL", "Valence RMSE", "Arousal RMSE"]
    expressions = distill.Metrics(0, 8, False)
    assert (list(expressions.table5()), list(expressions.table7())) == (["EXPR"], ["EXPR NLL"])
    assert expressions.width == 25


# --- truth ------------------------------------------------------------------------------------------------


def test_the_plurality_of_a_few_votes_by_hand():
    p = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(distill.plurality(p, 1), p)
    # two votes: a class wins with both, or with one where the other vote is for a later class
    expected = [0.04 + 2 * 0.2 * 0.3 + 2 * 0.2 * 0.5, 0.09 + 2 * 0.3 * 0.5, 0.25]
    assert distill.plurality(p, 2)[0].tolist() == pytest.approx(expected)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(2, 5))
def test_the_plurality_agrees_with_draws(seed, n_votes, n_classes):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n_classes))
    drawn = rng.multinomial(n_votes, p, size=20_000).argmax(1)
    ours = distill.plurality(torch.from_numpy(p)[None], n_votes)[0].numpy()
    assert ours.sum() == pytest.approx(1)
    assert np.abs(np.bincount(drawn, minlength=n_classes) / 20_000 - ours).max() < 0.02
