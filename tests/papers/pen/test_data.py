import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from uncertain_affect import corpora
from uncertain_affect.papers import pen

from .conftest import SOURCE, TARGET, corpus


def test_full_decides_by_twelve_seeds_and_quick_shrinks_work_alone():
    quick, full = (pen.settings(profile, seed=7, device="cpu") for profile in ("quick", "full"))
    assert full.seeds == tuple(range(7, 19)) and full.shares == quick.shares == (5, 10, 20, 30, 50)
    assert (
        pen.data.AS_PRINTED in full.rates
        and 0 not in full.grid
        and {1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100} == {*full.grid}
    )
    assert (full.lambda_0, full.lambda_1) == (1e-3, 1e-3) and set(full.rate) == set(pen.data.STAGES)
    with_gpu = pen.settings("full")
    assert (with_gpu.trunk.depth, with_gpu.trunk.width, with_gpu.trunk.epochs) == (50, 64, 10)
    of_paper = full.as_printed()
    assert (of_paper.epochs, of_paper.joint_epochs, of_paper.anneal) == (30, 5, 1.0)
    assert set(of_paper.rate.values()) == {("Adadelta", 1.0)}
    less = {"trunk": full.trunk, "pretraining": full.pretraining, "rates": full.rates, "grid": full.grid}
    times = ("epochs", "joint_epochs", "adapt_epochs", "adapt_steps", "seeds")
    assert replace(quick, **less, **{name: getattr(full, name) for name in times}) == full
    with pytest.raises(ValueError, match='PROFILE must be "quick" or "full", not \'fast\''):
        pen.settings("fast")


def test_corpora_come_with_labels_from_minus_1_to_1(monkeypatch):
    made, loaded = corpus(), {}
    made = replace(made, valence_arousal=torch.linspace(1, 9, len(made))[:, None].repeat(1, 2))

    def load(name, root=None, **options):
        loaded[name] = options
        return made

    monkeypatch.setattr(corpora, "load", load)
    torch.testing.assert_close(pen.load("ceap360vr", "quick").valence_arousal, (made.valence_arousal - 5) / 4)
    assert pen.load("recola", "quick") is pen.load("simulated", "full", 3) is made  # as they are
    expected = {"ceap360vr": {}, "recola": {"every": 25}, "simulated": {"view": "recola", "size": "full", "seed": 3}}
    assert loaded == expected


def test_source_and_target_people_of_both_corpora():
    avec = corpus(people=("dev_10", "train_2", "dev_2", "train_10", "train_1"), seconds=2)
    assert pen.roles(avec) == (("train_1", "train_2", "train_10"), ("dev_2", "dev_10"))
    ceap = corpus(people=("P10", "P1", "P3", "P2", "P11"), seconds=2)
    assert pen.roles(ceap) == (("P1", "P3", "P11"), ("P2", "P10"))
    with pytest.raises(ValueError, match="P1 to P32"):
        pen.roles(corpus(people=("train_1", "other"), seconds=2))


def test_frames_know_who_is_who():
    made = corpus(people=("x", "other", "b", "a"), seconds=6)
    f = pen.frames(made, made.inputs, ["b", "a"], ["x"])
    expected = {"b": 0, "a": 1, "x": 2, "other": -1}
    assert f.person.tolist() == [expected[name] for name in made.person]
    assert (made.person[f.target_rows] == "x").all() and len(f.target_rows) == 6
    without_a = f.source_rows(held_out=[f.videos.index("a")])
    assert set(made.person[f.source_rows()]) == {"a", "b"} and set(made.person[without_a]) == {"b"}
    ordered = f.in_order(0)
    assert (made.person[ordered] == "b").all() and f.time[ordered].tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(f.features, made.inputs.float())


def test_frames_that_do_not_fit_are_refused():
    made = corpus(seconds=5)
    with pytest.raises(ValueError, match="1 source and 0 target people"):
        pen.frames(made, made.inputs, ["a"], [])
    row = int(np.flatnonzero(made.person == "b")[0])
    made.inputs[row, 2] = math.nan
    with pytest.raises(ValueError, match=f"of 1 frames .* first of b in video b at {made.time[row]:g} s"):
        pen.frames(made, made.inputs, SOURCE, TARGET)
    # a person without a role may have what they like
    assert len(pen.frames(made, made.inputs, ["a", "c"], TARGET).features) == 25
