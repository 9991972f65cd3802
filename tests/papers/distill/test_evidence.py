import dataclasses

import numpy as np
import pytest
import torch

from uncertain_affect.models.distill import bin_values
from uncertain_affect.papers import distill
from uncertain_affect.papers.distill import evidence

from .small import SMALL, TASKS, corpus, trunks


def test_a_constant_says_the_rates_of_the_frames_that_train(data):
    p = evidence.constant(data, data.rows("test"), 3)
    au, expr, va = (data.labels[task][data.train[task]].double() for task in TASKS)
    n = len(data.rows("test"))
    assert [tuple(of.shape) for of in p.values()] == [(3, 1, n, 12), (3, 1, n, 7), (3, 1, n, 2, 20)]
    torch.testing.assert_close(p["AU"][2, 0, -1], au.mean(0))
    torch.testing.assert_close(p["EXPR"][0, 0, 0], torch.stack([(expr == c).double().mean() for c in range(7)]))
    torch.testing.assert_close(p["VA"][1, 0, 3] @ bin_values(p["VA"]), va.mean(0))
    found = evidence.learnt(p, data)
    assert found["tasks"]["AU"] == {"score": 0.5, "dead": 1.0}
    assert found["tasks"]["VA"] == {"score": pytest.approx(0, abs=1e-9), "dead": 1.0}
    assert found["last epoch"] == 0


def test_values_lie_on_the_two_nearest_bins():
    values = torch.tensor([-1.0, -0.97, 0.0, 0.31, 1.0, 1.7], dtype=torch.float64)
    bins = evidence._in_bins(values)
    torch.testing.assert_close(bins @ bin_values(bins), values.clamp(max=1))
    assert bins.sum(-1).tolist() == pytest.approx([1] * 6)
    assert ((bins > 0).sum(-1) <= 2).all() and (bins >= 0).all()


def test_the_plain_baseline_finds_what_features_say_and_gives_distributions(data):
    given, rows = trunks(data), data.rows("test")
    p = evidence.plain_baseline(None, data, given, rows, 2)
    assert [tuple(of.shape[:2]) for of in p.values()] == [(2, 1)] * 3
    for task in ("EXPR", "VA"):
        torch.testing.assert_close(p[task].sum(-1), torch.ones(p[task].shape[:-1], dtype=torch.float64))
    found = evidence.learnt(p, data)
    assert found["tasks"]["VA"]["score"] > 0.5  # of which the features know
    assert found["tasks"]["VA"]["dead"] == 0


def test_without_frozen_features_the_plain_baseline_reads_pictures(data, start):
    own = distill.trunks.OwnTrunks(corpus(), start)
    p = evidence.plain_baseline(corpus(), data, own, data.rows("test"), 3)
    assert [len(of) for of in p.values()] == [3, 3, 3]
    assert torch.equal(p["AU"][0], p["AU"][2])


def test_a_label_that_never_varies_is_what_the_plain_baseline_says(data):
    never = data.labels | {"AU": torch.zeros_like(data.labels["AU"])}
    still = dataclasses.replace(data, labels=never)
    p = evidence.plain_baseline(None, still, trunks(data), data.rows("test"), 2)
    assert p["AU"].abs().max() == 0


def test_what_was_learnt_counts_dead_networks_and_last_epochs(data, teachers):
    p = distill.predict(teachers, data.rows("test"))
    dead = {task: of.clone() for task, of in p.items()}
    dead["AU"][0, 0], dead["EXPR"][:, 0] = 0.9, torch.eye(7)[2]
    dead["VA"][1, 1, :, 1] = torch.eye(20)[4]  # arousal alone
    last = dataclasses.replace(teachers, best_epoch=torch.tensor([1, SMALL.epochs, 2, 1]))
    found = evidence.learnt(dead, data, last)
    assert [found["tasks"][task]["dead"] for task in TASKS] == [0.25, 0.5, 0.25]
    assert found["last epoch"] == 0.25
    assert evidence.table({"Tea": found}).loc["Tea", "dead, EXPR"] == 0.5


def test_the_task_learnt_least_speaks_for_an_arm():
    def of(au, va, last=0.0, dead=0.0):
        return {"tasks": {"AU": {"score": au, "dead": 0.0}, "VA": {"score": va, "dead": dead}}, "last epoch": last}

    found = {"Tea": of(0.7, 0.3, 0.1), "V constant": of(0.5, 0.0), "V plain baseline": of(0.6, 0.5)}
    both = evidence.arm(found, "Tea", ("AU", "VA"), beside="V ")
    assert (both.metric, both.score, both.constant, both.baseline, both.last_epoch) == ("CCC", 0.3, 0.0, 0.5, 0.1)
    assert evidence.arm(found, "Tea", ("AU",), beside="V ").problem() == ""
    found["Tea"] = of(0.56, 0.6, dead=0.2)  # units fall short, valence is dead: either is a problem
    assert evidence.arm(found, "Tea", ("AU", "VA"), beside="V ").problem()


def test_temperatures_at_a_bound_are_counted():
    fitted = [np.array([[0.0501, 1.0]]), np.array([19.99, 20.0, 0.05, 3.0, 0.06, 19.0])]
    assert evidence.share_at_bound(fitted) == 0.5
