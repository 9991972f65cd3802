import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.evidence.claims import Arm, effect_interval
from uncertain_affect.evidence.resampling import difference
from uncertain_affect.metrics import ccc, rmse, rmse_from_sums
from uncertain_affect.metrics.sums import ccc_from_sums
from uncertain_affect.papers import pen
from uncertain_affect.papers.pen import evidence

from .conftest import SMALL, frames, generator


@pytest.fixture
def worked():
    """Two source people and one target person in two videos of five seconds; labels tell person, video and time."""
    rows = [(p, v, t) for p in "abx" for v in ("v0", "v1") for t in range(5)]
    person, video, time = zip(*rows, strict=True)
    labels = torch.tensor([[0.01 * t + 0.1 * (v == "v1") + 0.2 * (p == "b"), "abx".index(p) / 2] for p, v, t in rows])
    made = AffectTraces(torch.zeros(30, 1), labels, np.array(person), np.array(video), torch.tensor(time).double())
    # of x, rows 20 to 24 are v0 and 25 to 29 v1
    return pen.frames(made, made.inputs, ["a", "b"], ["x"])


def test_nearest_adapted_frame_worked_by_hand(worked):
    nearest = evidence.nearest_adapted(worked, np.array([21]))
    assert (nearest[:5] == worked.labels[21]).all() and nearest[5:].isnan().all()
    # second 2 is as near to 1 as second 3 is to 4; of equally near ones the earlier counts
    nearest = evidence.nearest_adapted(worked, np.array([20, 21, 24]))
    assert torch.equal(nearest[:5], worked.labels[[20, 21, 21, 24, 24]])
    nearest = evidence.nearest_adapted(worked, np.array([24, 22]))
    assert torch.equal(nearest[:5], worked.labels[[22, 22, 22, 22, 24]])


def test_nearest_adapted_frame_agrees_with_a_search():
    f = frames(n_videos=3, seconds=20)
    for rows in pen.data.random_split(f, generator(3), SMALL).adapt:
        nearest = evidence.nearest_adapted(f, rows)
        for place, row in enumerate(f.target_rows):
            own = rows[(f.person[rows] == f.person[row]) & (f.video[rows] == f.video[row])]
            if not len(own):
                assert nearest[place].isnan().all()
                continue
            best = min(own, key=lambda r: (abs(f.time[r] - f.time[row]), f.time[r]))
            assert torch.equal(nearest[place], f.labels[best])


def test_mean_trace_worked_by_hand(worked):
    seconds = torch.arange(5) * 0.01
    # a and b lie at 0 and .2, and v1 lies .1 above v0
    torch.testing.assert_close(evidence.mean_trace(worked)[:, 0], torch.cat([0.1 + seconds, 0.2 + seconds]))
    torch.testing.assert_close(evidence.mean_trace(worked)[:, 1], torch.full((10,), 0.25))
    # without v1 the same second of v0 stands in for it, or the mean of the others
    torch.testing.assert_close(evidence.mean_trace(worked, [1])[:, 0], torch.cat([0.1 + seconds, 0.1 + seconds]))


def test_mean_trace_where_everyone_has_a_recording_of_their_own():
    f = frames(seconds=6, fps=5.0)
    # no source person has the last two seconds
    f = replace(f, person=np.where((f.person < 3) & (f.time >= 4), -1, f.person))
    trace, rows = evidence.mean_trace(f), f.source_rows()
    for place, row in enumerate(f.target_rows):
        same = rows[np.floor(f.time[rows]) == np.floor(f.time[row])]
        assert len(same) == (15 if f.time[row] < 4 else 0)
        torch.testing.assert_close(trace[place], f.labels[same if len(same) else rows].mean(0))


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_stands_beside_falls_back_on_means(worked):
    split = pen.data.TargetSplit(np.array([22, 28]), (np.array([21]), np.array([20, 21, 24])))
    fold = pen.data.SourceSplit(np.arange(12), np.arange(12, 16), np.arange(16, 20))
    predicted = evidence.plain(pen.data.Replicate(0, worked, fold, {"random": split}), "random")
    assert tuple(predicted) == evidence.PLAIN and all(p.shape == (3, 10, 2) for p in predicted.values())
    source_mean, of_x = worked.labels[:20].mean(0).double(), worked.labels[[20, 21, 24]].mean(0).double()
    torch.testing.assert_close(predicted["constant"][2], source_mean.expand(10, 2))
    torch.testing.assert_close(predicted["nearest adapted frame"][0], source_mean.expand(10, 2))
    torch.testing.assert_close(predicted["nearest adapted frame"][2, 5:], of_x.expand(5, 2))
    torch.testing.assert_close(predicted["mean trace"][1], evidence.mean_trace(worked).double())
    # features are constant: least squares are the mean of what is known
    torch.testing.assert_close(predicted["SN, least squares"][0, 0], worked.labels[:12].mean(0).double())
    torch.testing.assert_close(predicted["SN, least squares"][2, 0], of_x)
    held_out = pen.data.Replicate(0, worked, fold, {"video": split._replace(held_out=(1,))})
    without = evidence.plain(held_out, "video")["constant"][0, 0]
    torch.testing.assert_close(without, worked.labels[[*range(5), *range(10, 15)]].mean(0).double())


@pytest.fixture(scope="module")
def sums(drawn, predictions):
    """Sums (S, 1 + A, P, 2, 6) of each model on the random split."""
    return {m: evidence.person_sums(p, drawn, "random") for m, p in predictions["random"].items()}


@pytest.fixture(scope="module")
def scores(sums):
    return {m: evidence.score(s) for m, s in sums.items()}


def test_scores_are_those_of_the_test_frames(data, drawn, predictions, sums, scores):
    predicted, of = predictions["random"]["s-SN"], scores["s-SN"]
    assert sums["s-SN"].shape == (2, 3, 2, 2, 6) and {array.dtype.name for array in of.values()} == {"float32"}
    for seed, n, d in itertools.product(range(2), range(3), range(2)):
        test = np.isin(data.target_rows, drawn[seed].target["random"].test)
        x, y = predicted[seed][n, test, d].double(), data.labels[data.target_rows][test, d].double()
        assert of["ccc"][seed, n, :, d].mean() == pytest.approx(ccc(x, y), abs=1e-6)
        assert of["rmse"][seed, n, d] == pytest.approx(rmse(x, y), abs=1e-6)
        assert of["spread"][seed, n, d] == pytest.approx(float(x.std() / y.std()), abs=1e-6)
        for p in range(2):
            own = data.target_person[test] == p
            assert of["person ccc"][seed, n, p, d] == pytest.approx(ccc(x[own], y[own]), abs=1e-6)


def test_contrasts_of_scores_are_contrasts_of_pooled_ccc(sums, scores):
    one = effect_interval(scores["s-PEN"]["ccc"][:, 2, :, 1] - scores["s-SN"]["ccc"][:, 2, :, 1])
    of_sums = np.concatenate([sums[m][:, 2, :, 1] for m in ("s-PEN", "s-SN")], -1)
    same = effect_interval(of_sums, difference(ccc_from_sums))
    assert (one.estimate, one.low, one.high) == pytest.approx((same.estimate, same.low, same.high), abs=1e-6)
    assert (one.n_seeds, one.n_clusters) == (2, 2)  # people are the clusters of a claim


def test_constant_labels_and_missing_predictions_have_no_ccc(data, drawn, predictions, scores):
    predicted, labels = [p.clone() for p in predictions["random"]["s-SN"]], data.labels.clone()
    labels[data.person == 4, 1] = 0.3
    changed = [one._replace(frames=replace(data, labels=labels)) for one in drawn]
    of = evidence.score(evidence.person_sums(predicted, changed, "random"))
    assert np.isnan(of["person ccc"]).sum((0, 1)).tolist() == [[0, 0], [0, 6]]
    assert np.isfinite(of["ccc"]).all() and np.isfinite(of["rmse"]).all()
    assert all(np.isnan(array[:, 0]).all() and np.isfinite(array[:, 1:]).all() for array in scores["t-PEN"].values())
    predicted[0][1, data.target_rows == drawn[0].target["random"].test[0]] = math.nan  # one frame alone
    with pytest.raises(ValueError, match="is not finite"):
        evidence.person_sums(predicted, drawn, "random")


def test_table_has_a_row_for_each_dimension_and_model(sums, scores):
    shown = evidence.table(scores, SMALL.shares)
    assert shown.columns.tolist() == [0, 10, 50]
    assert shown.index.tolist() == [(d, m) for d in pen.DIMENSIONS for m in scores]
    expected = ccc_from_sums(sums["s-PEN"].sum(2))[:, 2, 1].mean()
    assert shown.loc[("arousal", "s-PEN"), 50] == pytest.approx(expected, abs=1e-6)
    errors, expected = evidence.table(scores, SMALL.shares, "rmse"), rmse_from_sums(sums["t-SN"].sum(2))
    assert errors.loc[("valence", "t-SN"), 10] == pytest.approx(expected[:, 1, 0].mean(), abs=1e-6)


def test_an_arm_stands_beside_a_constant_and_a_ridge_regression():
    def of(ccc, *spread):
        return {"ccc": np.full((4, 3, 2, 2), ccc), "spread": np.array(spread).reshape(4, 1, 1).repeat(3, 1)}

    scores = {"s-PEN": of(0.5, 1, 0.001, 1, 1), "constant": of(0.0, 0, 0, 0, 0), "ridge": of(0.75, 1, 1, 1, 1)}
    assert evidence.arm(scores, "s-PEN", slice(1, None), 0.2) == Arm("CCC", 0.5, 0.0, 0.75, 0.2, 0.25)
    scores["s-PEN"]["ccc"][:, 0] = 0.25
    assert evidence.arm(scores, "s-PEN", slice(0, 1)).score == 0.25


def test_ridge_is_least_squares_with_a_penalty_on_standardised_features(data):
    rows, at = data.source_rows(), data.target_rows
    x, y = data.features.double(), data.labels.double()
    mean, sd, middle = x[rows].mean(0), x[rows].std(0, correction=0), y[rows].mean(0)
    z, shown = (x[rows] - mean) / sd, (x[at] - mean) / sd
    solved = [
        shown @ torch.linalg.solve(z.T @ z + a * torch.eye(6).double(), z.T @ (y[rows] - middle)) + middle
        for a in evidence.PENALTIES
    ]
    assert min(float((evidence.ridge(data, rows, at) - one).abs().max()) for one in solved) < 1e-6
