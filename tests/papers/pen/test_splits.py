import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from uncertain_affect.papers import pen
from uncertain_affect.papers.pen import evidence
from uncertain_affect.training import finetune
from uncertain_affect.training.fit import History

from .conftest import SMALL, TRUNK, corpus, frames, generator

FIVE = replace(SMALL, shares=(5, 10, 20, 30, 50), gap=3.0)
SPLITS = {"random": pen.data.random_split, "blocked": pen.data.blocked_split, "video": pen.data.video_split}


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("seed", range(4))
def test_adaptation_sets_are_nested_and_apart_from_the_test_frames(kind, seed):
    f = frames(n_videos=4)
    split = SPLITS[kind](f, generator(seed), FIVE)
    assert set(split.test) <= set(f.target_rows) and len(set(split.test)) == len(split.test)
    for smaller, larger in itertools.pairwise((np.array([], int), *split.adapt, f.target_rows)):
        assert set(smaller) < set(larger) and not set(smaller) & set(split.test)
    for i in (3, 4):  # of 160 frames of each person
        assert (f.person[split.test] == i).sum() == 80
        # the gap takes the frames 1 and 2 s from the test frames of each of the four halves
        most = 80 - 4 * 2 if kind == "blocked" else 80
        assert [(f.person[rows] == i).sum() for rows in split.adapt] == [8, 16, 32, 48, most]
    again, other = (SPLITS[kind](f, generator(s), FIVE) for s in (seed, seed + 10))
    assert (split.test == again.test).all() and (split.adapt[0] == again.adapt[0]).all()
    assert set(split.adapt[0]) != set(other.adapt[0])


def test_random_test_frames_lie_next_to_adapted_ones_and_blocked_ones_do_not():
    f, away = frames(seconds=100), {}
    for kind in ("random", "blocked"):
        split = SPLITS[kind](f, generator(), replace(SMALL, gap=10.0))
        tests, adapted = (f.time[rows[f.person[rows] == 3]] for rows in (split.test, split.adapt[-1]))
        away[kind] = np.abs(tests[:, None] - adapted).min(1).mean()
    assert away["random"] < 2 and away["blocked"] > 20


def test_blocked_halves_are_contiguous_runs_with_a_gap():
    f, test_first = frames(n_videos=2, seconds=21, fps=2.0), []
    for seed, i, v in itertools.product(range(6), (3, 4), (0, 1)):
        split = pen.data.blocked_split(f, generator(seed), FIVE)
        here = [rows[(f.person[rows] == i) & (f.video[rows] == v)] for rows in (split.test, *split.adapt)]
        times = [np.sort(f.time[rows]) for rows in here]
        assert all((np.diff(t) == 0.5).all() for t in times)
        test, largest = times[0], times[-1]
        assert len(test) == 21 and (test[0] == 0) != (test[-1] == 20.5)
        # the nearest frame kept is exactly the gap away, and every frame beyond it is kept
        assert max(test[0] - largest[-1], largest[0] - test[-1]) == 3 and len(largest) == 21 - 5
        test_first.append(test[0] == 0)
    assert 3 < sum(test_first) < 21  # either half is drawn


def test_held_out_videos_are_held_out_of_everything():
    f = frames(n_videos=4)
    drawn = [pen.data.with_videos_held_out(pen.data.replicate(f, SMALL, seed), SMALL) for seed in range(3)]
    assert len({of.target["video"].held_out for of in drawn}) > 1
    for known, split in ((of.source, of.target["video"]) for of in drawn):
        assert len(split.held_out) == 2 and set(f.video[split.test]) == set(split.held_out)
        assert set(f.video[np.concatenate([*known, *split.adapt])]) == set(range(4)) - set(split.held_out)
        # n% are one video after another, in order of time
        for i in (3, 4):
            rows = split.adapt[0][f.person[split.adapt[0]] == i]
            assert len(set(f.video[rows])) == 1 and sorted(f.time[rows]) == list(range(16))


def test_source_people_train_choose_and_judge_with_frames_of_their_own(data):
    split = pen.data.source_split(data, generator())
    assert sorted(np.concatenate(split)) == data.source_rows().tolist()
    assert [np.bincount(data.person[rows]).tolist() for rows in split] == [[24] * 3, [8] * 3, [8] * 3]
    assert set(split.train) != set(pen.data.source_split(data, generator(1)).train)


def test_splits_that_are_impossible_are_refused(data):
    with pytest.raises(ValueError, match="x has 8, 4 of them to test and 4 to adapt with 5% of all"):
        pen.data.random_split(frames(seconds=8), generator(), FIVE)
    with pytest.raises(ValueError, match="x, video x, has 40, 20 of them to test and 0 to adapt with 10% of all"):
        pen.data.blocked_split(data, generator(), replace(SMALL, gap=25))
    # everyone has a video of their own: either it is held out or it is not
    with pytest.raises(ValueError, match=r"x has 40, (0 of them to test and 40|40 of them to test and 0) to adapt"):
        pen.data.video_split(data, generator(), SMALL)
    with pytest.raises(ValueError, match=r"source person b is left .* more experts than people"):
        pen.data.source_split(data, generator(), held_out=[data.videos.index("b")])


def pictures(people=("train_1", "train_2", "dev_1")):
    """Frames of two source and one target person, 16 pixels a side, whose brightness is their valence."""
    made = corpus(people=people, seconds=10)
    light = 100 * (1 + made.valence_arousal[:, :1, None])
    images = (light + 20 * torch.rand(len(made), 16, 16, generator=generator())).clamp(0, 255).to(torch.uint8)
    return replace(made, inputs=images, valence_arousal=made.valence_arousal.float())


def test_pictures_become_features_tuned_on_the_labels_of_one_split(empty_cache, monkeypatch):
    made = pictures()
    monkeypatch.setattr(pen.data, "load", lambda *_: made)
    given, corpora = pen.data.replicates("recola", "quick", SMALL)
    f, split = given[0].frames, given[0].source
    assert (f.source, f.target, corpora) == (("train_1", "train_2"), ("dev_1",), [made])
    assert len(split.train) == 12 and len(split.val) == 4 and not np.isin(split.train, f.target_rows).any()
    assert all(np.array_equal(of.source.train, split.train) for of in given) and len(given) == 2
    others, own = made.valence_arousal + 1, made.valence_arousal.clone()
    others[split.train] = made.valence_arousal[split.train]
    own[split.train[0]] += 1
    for labels, same in ((others, True), (own, False)):
        monkeypatch.setattr(pen.data, "load", lambda *_, y=labels: replace(made, valence_arousal=y))
        changed = pen.data.replicates("recola", "quick", SMALL)[0][0]
        assert torch.equal(changed.frames.features, f.features) is same


def test_features_are_tuned_with_the_squared_error_summed_over_dimensions(monkeypatch):
    seen = {}

    def tune(images, targets, rows, loss, n_outputs, settings, seed, **options):
        seen.update(options, loss=loss, n_outputs=n_outputs, settings=settings, seed=seed)
        return finetune.FineTuned(torch.randn(len(images), 3, generator=generator()), History())

    monkeypatch.setattr(pen.data, "finetune", tune)
    monkeypatch.setattr(pen.data, "load", lambda *_: pictures())
    pen.data.replicates("recola", "quick", replace(SMALL, seeds=(7, 8)))
    assert (seen["n_outputs"], seen["settings"], seen["seed"], seen["start"]) == (2, TRUNK, 7, None)
    error = seen["loss"](torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 2.0], [1.0, 1.0]]))
    assert error.item() == 2.5


def test_whitened_features_are_uncorrelated_over_source_people_and_fit_the_same(data):
    mixing = torch.randn(6, 8, generator=generator())  # two of eight directions are empty
    f = pen.data.whitened(replace(data, features=data.features @ mixing + 5))
    known = f.features[f.source_rows()].double()
    assert f.features.shape[1] == 6
    torch.testing.assert_close(known.T @ known / (len(known) - 1), torch.eye(6).double(), rtol=0, atol=1e-4)
    rows, at = f.source_rows(), f.target_rows
    solved = evidence.least_squares(f, rows, at), evidence.least_squares(data, rows, at)
    torch.testing.assert_close(*solved, rtol=0, atol=1e-4)


def test_everybody_of_ceap360vr_is_source_and_target_once(monkeypatch):
    made = corpus(people=("P1", "P3", "P2", "P4"))
    monkeypatch.setattr(pen.data, "load", lambda *_: made)
    of, _ = pen.data.replicates("ceap360vr", "quick", SMALL)
    assert [(one.seed, one.frames.source[0]) for one in of] == [(0, "P1"), (1, "P1"), (0, "P2"), (1, "P2")]
    assert [one.frames.target for one in of[::2]] == [("P2", "P4"), ("P1", "P3")]


def test_every_seed_draws_a_simulated_world_at_one_frame_a_second(monkeypatch):
    asked = []
    monkeypatch.setattr(pen.data, "load", lambda *given: asked.append(given) or pictures())
    monkeypatch.setattr(pen.data, "finetune", lambda images, *_, **__: finetune.FineTuned(images.float().mean(2), None))
    of, worlds = pen.data.replicates("simulated", "full", SMALL)
    assert asked == [("simulated", "quick", 0), ("simulated", "quick", 1)] and len(worlds) == 2
    assert of[0].frames is not of[1].frames and [one.seed for one in of] == [0, 1]
