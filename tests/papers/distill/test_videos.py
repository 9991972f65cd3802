import dataclasses

import pytest
import torch

from uncertain_affect import losses
from uncertain_affect.papers import distill

from .small import SMALL, TASKS, corpus, faces


def split(made, settings=SMALL, **changed):
    return distill.split_videos(dataclasses.replace(made, **changed), settings)


def names(data, rows):
    """Of the videos of some rows."""
    return set(data.video[rows.flatten().numpy()])


def test_full_is_the_protocol_of_the_release_and_quick_is_narrower_and_frozen():
    v, va = distill.settings("full"), distill.settings("full", 7, audio=True)
    published = {"members": 5, "generations": 3, "n_samples": 10, "lr": 1e-3, "dropout": 0.5, "hidden": 128}
    published |= {"shared": None, "end_to_end": True, "faithful_to_release": False, "tuning": distill.videos.Tuning()}
    assert (published | {"clip": 16, "clips": 5, "epochs": 10, "decay": 3}).items() <= vars(v).items()
    assert (published | {"clip": 8, "clips": 8, "epochs": 15, "decay": 4}).items() <= vars(va).items()
    assert v.seeds == tuple(range(20)) and (v.tuning.width, v.tuning.repeats) == (1, 1)
    tuning = dataclasses.replace(va.tuning, width=0.25, repeats=0.25, pictures=3000, start_epochs=3, epochs=2)
    narrow = {"tuning": tuning, "hidden": 32, "shared": 64, "lr": 3e-3, "end_to_end": False, "seeds": va.seeds[:5]}
    assert distill.settings("quick", 7, audio=True) == dataclasses.replace(va, **narrow)
    with pytest.raises(ValueError, match='PROFILE must be "quick" or "full", not \'fast\''):
        distill.settings("fast")


def test_ferplus_differs_between_profiles_in_seeds_alone_but_on_a_gpu():
    quick, full = (distill.settings(profile, corpus="ferplus") for profile in ("quick", "full"))
    assert quick == dataclasses.replace(full, seeds=quick.seeds)
    assert (len(quick.seeds), len(full.seeds), quick.clip) == (5, 20, 1)
    gpu = distill.settings("full", corpus="ferplus", device="cuda")
    assert gpu.end_to_end and gpu.tuning.width == 0.25 and gpu.clip == 1
    assert distill.settings("quick", corpus="ferplus", device="cuda") == quick


def test_frames_are_split_by_task_and_tuning_videos_train_nothing(data):
    tuning = names(data, data.rows("tune"))
    assert len(tuning) == 2 and not tuning & (names(data, data.rows("train")) | names(data, data.union))
    # each task has one at least
    assert all(mask.any() for mask in split(corpus(), dataclasses.replace(SMALL, tuning_share=0.01)).tune.values())
    for first, task in enumerate(TASKS):
        here = {f"v{i}" for i in range(first, first + 7)}
        assert names(data, data.train[task].nonzero()) == here - tuning
        assert names(data, data.test[task].nonzero()) == {f"v{(first + i) % 10}" for i in (7, 8)}
        # 9 frames hold two clips of four
        assert data.clips[task].shape == (2 * len(here - tuning), 4)
    assert torch.equal(data.rows("test"), (data.test["AU"] | data.test["EXPR"] | data.test["VA"]).nonzero()[:, 0])
    assert data.outputs == {"AU": 12, "EXPR": 7, "VA": 40}
    assert data.names["AU"][2] == "AU4" and data.names["EXPR"][6] == "Surprise"
    torch.testing.assert_close(data.weights["AU"], losses.positive_weights(corpus().au[data.train["AU"]]))
    # clips run through one video in order of time
    for clips in (*data.clips.values(), data.union):
        assert (corpus().time[clips].diff(dim=1) == 1).all()
        assert all(len(names(data, clip)) == 1 for clip in clips)
        assert clips.flatten().unique().numel() == clips.numel()


def test_frames_with_a_missing_part_are_left_out_and_the_clip_goes_on_after_them():
    made = corpus()
    whole, au, va = split(made), made.au.clone(), made.valence_arousal.clone()
    name = whole.video[whole.clips["AU"][0, 0]]
    gap = (made.time == 2) & torch.from_numpy(made.video == name)
    au[gap, 5], va[torch.from_numpy(made.video == "v4")] = -1, -5  # and no label at all in a video
    data = split(made, au=au, valence_arousal=va)
    of_video = [made.time[clip].tolist() for clip in data.clips["AU"] if data.video[clip[0]] == name]
    assert of_video == [[0, 1, 3, 4], [5, 6, 7, 8]]
    assert not data.train["AU"][gap].any() and torch.equal(data.train["AU"][~gap], whole.train["AU"][~gap])
    assert "v4" in names(whole, whole.clips["VA"]) and "v4" not in names(data, data.clips["VA"])
    assert torch.equal(data.union, whole.union)


def test_what_cannot_be_split_says_why():
    made = corpus()
    for part in ("train", "val"):
        au = made.au.clone()
        au[made.subsets[f"au {part}"]] = -1
        with pytest.raises(ValueError, match=f'every label of "au {part}" is missing.*to do without AU'):
            split(made, au=au)
    with pytest.raises(ValueError, match="no video has 12 frames that train AU"):
        split(made, dataclasses.replace(SMALL, clip=12))
    with pytest.raises(ValueError, match='no task: expected subsets such as "au train"'):
        split(made, subsets={"other": made.subsets["au train"]})
    alone = {name: mask for name, mask in made.subsets.items() if name.startswith("va")}
    assert split(made, subsets=alone).tasks == ("VA",)
    with pytest.raises(ValueError, match=r"AffectVideos.expression must be a Tensor of shape \(90,\), not \(91,\)"):
        split(made, expression=torch.zeros(91, dtype=torch.int64))


def test_images_are_videos_of_one_frame_and_their_votes_are_held_back():
    images = distill.videos.images_as_videos(faces())
    assert images.expression[0] == -1 and set(images.expression.tolist()) == {-1, 0, 1}
    assert images.truth["votes"].shape == (60, 8)
    assert images.video[0] == images.video[1] != images.video[2]
    data = split(images, dataclasses.replace(SMALL, clip=1, clips=8))
    assert data.outputs == {"EXPR": 8}
    # a student sees the images without a majority too
    known = images.expression >= 0
    assert len(data.union) == 36 and torch.equal(data.clips["EXPR"], known[:36].nonzero())
    assert torch.equal(data.tune["EXPR"][36:48], known[36:48]) and torch.equal(data.test["EXPR"][48:], known[48:])


def test_a_corpus_is_loaded_by_name(monkeypatch):
    calls, made = [], corpus()

    def load(*args, **options):
        calls.append((args, options))
        return faces() if args[0] == "ferplus" else made

    monkeypatch.setattr(distill.videos.corpora, "load", load)
    for arguments in (("simulated", "full", 3), ("affwild2", "quick", 0, "somewhere"), ("affwild2", "full")):
        assert distill.load(*arguments) is made
    assert "votes" in distill.load("ferplus", "quick").truth
    assert calls == [
        (("simulated",), {"view": "affwild2", "size": "full", "seed": 3}),
        (("affwild2", "somewhere"), {"size": 64, "colour": False, "every": 4, "longest": 96}),
        (("affwild2", None), {"size": 112, "every": 4}),
        (("ferplus", None), {}),
    ]
