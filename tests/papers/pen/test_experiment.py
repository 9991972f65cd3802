from dataclasses import replace

import numpy as np
import pytest
import torch

from uncertain_affect.evidence import store
from uncertain_affect.papers import pen
from uncertain_affect.papers.pen import evidence, training
from uncertain_affect.training.fit import History

from .conftest import SMALL, corpus, frames


@pytest.mark.parametrize("n_videos, kinds", [(1, ["random", "blocked"]), (4, ["random", "blocked", "video"])])
def test_everything_is_trained_and_scored(n_videos, kinds, monkeypatch, empty_cache):
    monkeypatch.setattr(evidence.data, "settings", lambda *_: SMALL)
    monkeypatch.setattr(evidence.data, "load", lambda *_: corpus(n_videos, people=("P1", "P3", "P2", "P4")))
    e = evidence.train("ceap360vr", "quick")
    assert list(e.predictions) == kinds and ("video" in e.source) == (n_videos > 1) and len(e.of("random")) == 4
    scores = store.rounded(evidence.score_all(e))
    models = {*pen.MODELS, *pen.CONTROLS, "s-PEN, lambda 0"}
    assert all(set(of_kind) == models | set(evidence.PLAIN) for of_kind in scores.values())
    # people of both ways stand side by side
    assert scores["random"]["s-PEN"]["ccc"].shape == (2, 3, 4, 2)
    of_ridge = [evidence.plain(one, "random")["ridge"] for one in e.of("random")]
    again = evidence.score(evidence.person_sums(of_ridge, e.of("random"), "random"))["ccc"]
    np.testing.assert_allclose(scores["random"]["ridge"]["ccc"][1, 1], np.concatenate(again[[1, 3], 1]), atol=1e-6)
    for of_kind in scores.values():
        assert abs(of_kind["constant"]["ccc"]).max() < 1e-6  # no constant agrees with anything
    assert list(evidence.train("ceap360vr", "quick", penalties=(0.1,)).predictions["random"]) == [
        "s-PEN, lambda_1 = 0.1"
    ]
    assert evidence.train("ceap360vr", "quick", printed=True).settings == SMALL.as_printed()


def test_settings_are_chosen_where_nothing_is_judged(monkeypatch, empty_cache):
    choosing = replace(SMALL, rates=(("Adadelta", 1.0), ("Adam", 0.1)), grid=(1e-3, 10.0))
    monkeypatch.setattr(evidence.data, "settings", lambda *_: choosing)
    monkeypatch.setattr(evidence.data, "load", lambda *_: corpus(people=("P1", "P3", "P2", "P4")))
    seen, choose = [], training.choose
    monkeypatch.setattr(training, "choose", lambda of, *rest: seen.extend(one.seed for one in of) or choose(of, *rest))
    e = evidence.train("ceap360vr", "quick", 3)
    assert seen == [1003, 1003] and e.settings.seeds == (0, 1)
    rates, weights = e.choices["rates"], e.choices["weights"]
    assert list(rates) == list(e.settings.rate) and list(weights.index) == list(weights) == ["0.001", "10"]
    for stage, (name, rate) in e.settings.rate.items():
        assert rates[stage].idxmin() == f"{name} {rate:g}"
    if weights.min(axis=None) > 0.99 * rates["PEN"].min():  # what differs by less is the same
        assert (e.settings.lambda_0, e.settings.lambda_1) == (1e-3, 1e-3)


def test_how_training_went_is_read_off_its_history():
    val = [[4.0, 4.0, 1.0]] * 18 + [[2.0, 3.999, 1.0], [1.0, 3.998, 1.0]]
    history = History(val=val, best_epoch=[20, 20, 0], best_val=[1.0, 3.998, 1.0])
    history.traces = {"before": np.array([2.0, 1.0, 0.0]), "after": np.array([1.0, 0.9, 0.0])}
    each = [evidence.training_of(history, [copy]) for copy in range(3)]
    # a flat loss of validation has its least value anywhere
    assert [one["best is last"] for one in each] == [1, 0, 0] and each[2]["at the start"] == 1
    assert [one["last fall of the loss"] for one in each] == pytest.approx([0.5, 0.1, 0])
    assert np.isnan(evidence.training_of(replace(history, traces={}), [0])["last fall of the loss"])


def test_progress_names_every_stage_and_share(source, adapted):
    shown = evidence.progress(source, adapted)
    assert {"s-SN on source people", "gate on source people", "s-PEN on source people", "t-PEN, 50%"} <= set(
        shown.index
    )
    assert len(shown) == 2 + 4 + 2 * (3 + 4)
    assert evidence.last_fall(shown, ["t-SN"]) == shown.loc[["t-SN, 10%", "t-SN, 50%"], "last fall of the loss"].max()


def test_a_world_is_one_unit_and_people_of_recordings_are_crossed_with_seeds():
    values = np.random.default_rng(0).normal(size=(5, 4))
    alone, crossed = (evidence.effect(values, worlds) for worlds in (True, False))
    assert alone.estimate == pytest.approx(crossed.estimate) and (alone.n_seeds, alone.n_clusters) == (5, 1)
    assert (crossed.n_seeds, crossed.n_clusters) == (5, 4)
    sums = np.stack([values, np.ones((5, 4))], -1)
    ratio = evidence.effect(sums, True, lambda s: s[..., 0] / s[..., 1])
    assert (ratio.estimate, ratio.low) == pytest.approx((alone.estimate, alone.low))


def test_both_ways_stand_side_by_side():
    values = np.arange(8).reshape(4, 2)  # two ways of two seeds, two people
    assert evidence.by_seed(values, 2, 1).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert evidence.by_seed(values, 2).tolist() == [[2, 3], [4, 5]]


def test_identity_is_read_where_features_have_it_and_nowhere_else():
    f = frames(seconds=60)
    split = pen.data.source_split(f, torch.Generator().manual_seed(0))
    assert abs(evidence.identity_skill(f, split)) < 0.35
    f.features[:, 0] = torch.from_numpy(f.person).float()
    f.features[:, 1] = torch.from_numpy(f.person == 1).float()
    assert evidence.identity_skill(f, split) == 1
