import numpy as np
import pytest
import torch

from uncertain_affect.evidence import store
from uncertain_affect.papers import pen
from uncertain_affect.papers.pen import evidence
from uncertain_affect.training.fit import History

from .conftest import SMALL, corpus, frames


@pytest.mark.parametrize("n_videos, kinds", [(1, ["random", "blocked"]), (4, ["random", "blocked", "video"])])
def test_everything_is_trained_and_scored(n_videos, kinds, monkeypatch, empty_cache):
    monkeypatch.setattr(evidence.data, "settings", lambda *_: SMALL)
    monkeypatch.setattr(evidence.data, "load", lambda *_: corpus(n_videos, people=("P1", "P3", "P2", "P4")))
    e = evidence.train("ceap360vr", "quick")
    assert list(e.splits) == list(e.source_splits) == list(e.predictions) == kinds
    scores = store.rounded(evidence.score_all(e))
    rules = [name for name in evidence.BASELINES if n_videos > 1 or name != "video mean"]
    assert all(list(of_kind) == [*pen.MODELS, *rules, "ridge"] for of_kind in scores.values())
    assert list(evidence.score_all(e, ["ridge", "s-SN"])["blocked"]) == ["s-SN", "ridge"]
    of_ridge = evidence.ridge(e.frames, e.splits["random"][1].adapt[0], e.frames.target_rows).expand(2, 3, -1, -1)
    again = evidence.score(evidence.person_sums(of_ridge, e.frames, e.splits["random"]))["ccc"]
    np.testing.assert_allclose(scores["random"]["ridge"]["ccc"][1, 1], again[1, 1], atol=1e-6)
    for of_kind in scores.values():
        assert abs(of_kind["constant"]["ccc"]).max() < 1e-6  # no constant agrees with anything
    shown = evidence.progress(e.source, e.adapted)
    assert shown.loc["SN on source people", "epochs"] == 3 and shown.loc["PEN on source people", "epochs"] == 2
    assert shown.loc["t-PEN, 50%", "epochs"] == e.adapted.histories["pen"].best_epoch[-1]
    assert shown["best is last"].notna().tolist() == [True] * 3 + [False] * 8


def test_the_last_tenth_is_that_of_each_copys_own_epochs():
    losses = [[2.0**-epoch, 1.0 / epoch] for epoch in range(1, 21)]
    validated = History(train=losses, val=losses, best_epoch=[3, 4])
    np.testing.assert_allclose(evidence.last_fall(validated), [0.75, 1 - 18 / 20])
    # without validation a copy ends at its own epoch; of five epochs a tenth is one
    np.testing.assert_allclose(evidence.last_fall(History(train=losses, best_epoch=[5, 20])), [0.5, 1 - 18 / 20])
    assert evidence.last_fall(History(train=losses[:1], best_epoch=[1, 1])).tolist() == [0, 0]


def test_identity_is_read_where_features_have_it_and_nowhere_else():
    f = frames(seconds=60)
    split = pen.data.source_split(f, torch.Generator().manual_seed(0))
    assert abs(evidence.identity_skill(f, split)) < 0.35
    f.features[:, 0] = torch.from_numpy(f.person).float()
    f.features[:, 1] = torch.from_numpy(f.person == 1).float()
    assert evidence.identity_skill(f, split) == 1
