import dataclasses

import pytest
import torch

from uncertain_affect.papers import distill
from uncertain_affect.papers.distill import evidence, networks
from uncertain_affect.training.temperature import fit_temperature

from .small import LENGTH, N_VIDEOS, SMALL, TASKS


@pytest.fixture
def every(data):
    return torch.arange(len(data.video))


def test_states_are_carried_over_a_video_and_start_at_zero(data, teachers, every):
    z, some, group = distill.logits(teachers, every), distill.logits(teachers, every[::7]), teachers.groups[0]
    for task in TASKS:  # some rows alone are what they are among all
        torch.testing.assert_close(some[task], z[task][:, :, ::7], atol=1e-5, rtol=1e-5)
    # the first frame of a video knows no other, a later one does
    with torch.no_grad():
        alone = group.heads(group.features(every[None]).unsqueeze(2))["AU"].squeeze(2)
    alone = alone[group.balanced].unflatten(0, (2, 2))
    first, later = (torch.stack([s[i] for s in data.sequences]) for i in (0, 4))
    torch.testing.assert_close(alone[:, :, first], z["AU"][:, :, first], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(alone[:, :, later], z["AU"][:, :, later], atol=1e-4)


def test_videos_of_other_lengths_are_padded(data, teachers, monkeypatch):
    shorter = dataclasses.replace(data, sequences=[s[: 3 + i % 4] for i, s in enumerate(data.sequences)])
    rows = torch.cat(shorter.sequences).sort().values
    whole = distill.logits(teachers, rows)["VA"]
    monkeypatch.setattr(teachers.groups[0], "videos", shorter)
    torch.testing.assert_close(distill.logits(teachers, rows)["VA"], whole, atol=1e-5, rtol=1e-5)


def test_an_ensemble_is_the_mean_and_one_of_a_single_member_has_no_epistemic_uncertainty(data, teachers):
    p = distill.predict(teachers, data.rows("test"))
    torch.testing.assert_close(distill.ensemble(p)["EXPR"][:, 0], p["EXPR"].mean(1))
    for task, split in distill.uncertainty(p).items():
        assert split.total.shape == p[task][:, 0].shape[: 2 if task == "EXPR" else 3]
        assert (split.epistemic >= 0).all() and split.epistemic.max() > 0
        assert split.total.max() <= 1 + 1e-9  # over log C
        torch.testing.assert_close(split.total, split.aleatoric + split.epistemic)
        of_one = distill.uncertainty({task: p[task][:, :1]})[task]
        assert (of_one.epistemic == 0).all() and of_one.aleatoric.isfinite().all()


def test_dropout_is_really_on_and_off_as_released(data, teachers):
    rows = data.rows("test")
    p = distill.predict(teachers, rows)
    (mean, split, spread), (again, *_) = distill.mc_dropout(teachers, rows), distill.mc_dropout(teachers, rows)
    released = dataclasses.replace(teachers, settings=dataclasses.replace(SMALL, faithful_to_release=True))
    still, of_still, no_spread = distill.mc_dropout(released, rows)
    for task in TASKS:
        assert torch.equal(mean[task], again[task])
        assert not torch.allclose(mean[task], p[task], atol=1e-3)
        assert split[task].epistemic.mean() > 1e-4
        torch.testing.assert_close(still[task], p[task])
        assert of_still[task].epistemic.max() < 1e-9
        assert spread[task] > 1e-3 and no_spread[task] < 1e-6


def test_pictures_are_clips_of_one_frame(teachers):
    p = distill.on_pictures(teachers, torch.zeros(5, 8, 8, dtype=torch.uint8))
    assert [of.shape for of in p.values()] == [(2, 2, 5, 12), (2, 2, 5, 7), (2, 2, 5, 2, 20)]


def test_soft_labels_are_means_over_members_and_a_killed_pass_goes_on_to_them(teachers, every, tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "VIDEOS_A_SHARD", 3)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "whole"))
    whole, p = distill.networks.soft_labels(teachers), distill.predict(teachers, every)
    for task in TASKS:
        torch.testing.assert_close(whole[task], p[task].mean(1), atol=1e-6, rtol=1e-5)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path / "killed"))
    calls, honest = [], networks.Group.logits

    def dies_in_the_third(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(*args, **options)

    monkeypatch.setattr(networks.Group, "logits", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        distill.networks.soft_labels(teachers)
    resumed = distill.networks.soft_labels(teachers)
    assert len(calls) == 3 + 2  # ten videos in shards of three: the first two were there
    assert all(torch.equal(resumed[task], whole[task]) for task in TASKS)


def test_released_validation_sees_single_frames_but_for_the_first_video(released, every):
    group = released.groups[0]
    with torch.no_grad():
        h = group.heads.states(group.features(every[None]).unsqueeze(2)).squeeze(3)
        alone = group.read_out(h)["AU"].unflatten(0, (2, 2))
    # nine frames are less than a chunk of 64, so that in the first video too no frame has a predecessor
    torch.testing.assert_close(distill.logits(released, every)["AU"], alone, atol=1e-5, rtol=1e-5)


def test_released_chunks_carry_the_state_of_the_frame_64_before(data, released, every, monkeypatch):
    monkeypatch.setattr(networks, "CHUNK", 4)

    def sequences(soft):
        batches = networks._sequences(data, released.settings, every, soft)
        return {tuple(s[s >= 0].tolist()) for batch in batches for s in batch}

    first, in_soft_labels = data.sequences[0].tolist(), sequences(soft=True)
    assert {(first[0], first[4], first[8]), (first[1], first[5])} <= in_soft_labels
    assert sorted(map(len, in_soft_labels)) == sorted([3, 2, 2, 2] * N_VIDEOS)
    assert sorted(map(len, sequences(soft=False))) == sorted([3, 2, 2, 2] + [1] * LENGTH * (N_VIDEOS - 1))


def test_temperatures_of_every_network_and_unit_are_fitted_on_held_out_videos(data, teachers):
    p, t = evidence.temperature_scaling(teachers, data.rows("test"))
    assert t["AU"].shape == (2, 2, 1, 12) and t["EXPR"].shape == (2, 2, 1, 1)
    rows = data.tune["AU"].nonzero().squeeze(1)
    z, y = distill.logits(teachers, rows)["AU"][1, 0, :, 3].double(), data.labels["AU"][rows, 3].double()
    again = fit_temperature(lambda t: float(torch.nn.functional.binary_cross_entropy_with_logits(z / t, y)))
    assert t["AU"][1, 0, 0, 3].item() == pytest.approx(again, rel=1e-5)
    plain = distill.predict(teachers, data.rows("test"))
    torch.testing.assert_close(p["VA"], plain["VA"])
    assert torch.equal(p["EXPR"].argmax(-1), plain["EXPR"].argmax(-1))
    assert torch.equal(p["AU"] > 0.5, plain["AU"] > 0.5)
    # where they are fitted they lower the NLL
    rows, metrics = data.rows("test"), distill.Metrics(data.outputs)
    z = distill.logits(teachers, rows)
    fitted = evidence.scaled(z, evidence.temperatures(z, data, rows, data.test))
    before, after = (metrics.sums(p, data, "test").sum(2) for p in (networks.probabilities(z), fitted))
    assert (metrics.expr_nll(after) <= metrics.expr_nll(before) + 1e-6).all()
    assert (metrics.au_nlls(after) <= metrics.au_nlls(before) + 1e-6).all()
