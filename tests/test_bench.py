import json

import numpy as np
import pandas as pd
import pytest
import torch

from uncertain_affect import bench


@pytest.fixture(autouse=True)
def own_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("masks", ["per_network", "per_input"])
def test_mc_dropout_and_its_peer_give_the_same_numbers(masks):
    work = bench.mc_dropout_work(masks, target=1, n=30, n_features=20, n_samples=500)
    for ours, peer in zip(work.ours(), work.peer(), strict=True):
        # probabilities have a spread of about .1 over masks: a standard error of .1 sqrt(2 / 500) = .006
        torch.testing.assert_close(ours.float(), peer, rtol=0, atol=0.04)


def test_training_and_its_peer_give_the_same_numbers():
    # the masks differ, the weights and minibatches do not
    work = bench.training_work(n_seeds=2, n_features=10, steps=60, batch_size=20)
    ours, peer = work.ours(), work.peer()
    assert len(ours) == len(peer) == 2
    assert ours == pytest.approx(peer, abs=0.03)
    assert max(ours) < 2.1, "less than the log 9 = 2.197 of a guess: both have learnt"


def test_the_bootstrap_and_its_peer_give_the_same_numbers():
    work = bench.bootstrap_work(n=3000, n_clusters=30, n_resamples=4000, peer_resamples=400)
    ours, peer = work.ours(), work.peer()
    assert work.share == 0.1
    # a 2.5% quantile of 400 resamples is uncertain by about .13 of the width of the interval
    np.testing.assert_allclose(ours, peer, rtol=0, atol=0.3 * (ours[1] - ours[0]))


def test_calibration_error_and_its_peer_give_the_same_number():
    work = bench.calibration_work(n=20_000)
    assert work.ours() == pytest.approx(work.peer(), abs=1e-5)
    assert work.ours() > 0.05


def test_auxiliary_encoders_and_their_peer_give_the_same_numbers():
    work = bench.auxiliary_encoders_work(n=5, n_steps=4, n_features=20, n_units=2, n_tasks=3)
    for ours, peer in zip(work.ours(), work.peer(), strict=True):
        assert ours.abs().max() > 0.1
        torch.testing.assert_close(ours, peer, rtol=0, atol=1e-5)
    promised = bench.auxiliary_encoders_work()
    assert promised.name == "16 bi-GRUs, forward and backward: B = 64, L = 18, D = 256, H = 1"
    assert promised.target == 15


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("loader", [False, True])
def test_faces_and_their_peers_give_the_same_tensor(again, loader):
    work = bench.faces_work(again, loader, n=60, side=48)
    ours = work.ours()
    assert torch.equal(ours, work.peer())
    assert torch.equal(ours, work.ours())
    assert tuple(ours.shape) == (60, 3, 48, 48)
    assert ours.float().std() > 30


def test_task_heads_and_their_peer_give_the_same_losses():
    work = bench.task_heads_work(n_heads=2, n_clips=2, n_steps=3, n_features=4, size=3)
    torch.testing.assert_close(work.ours(), work.peer(), atol=1e-5, rtol=1e-5)


def test_the_graph_and_its_peer_give_the_same_logits():
    work = bench.graph_work(n=40, n_au=5, n_features=16, n_samples=3)
    ours, peer = work.ours(), work.peer()
    assert ours.shape == (3, 40, 5)
    torch.testing.assert_close(ours, peer, rtol=0, atol=1e-5)
    assert ours.std(0).mean() > 0.01, "the masks differ between samples"
    torch.testing.assert_close(work.ours(), ours)  # the same draws each time
    promised = bench.graph_work()
    assert promised.name == "Uncertain graph network: N = 12, d = 512, S = 20, batch 512"
    assert promised.target == 10


def test_the_graph_layer_and_its_peer_take_the_same_graphs():
    pytest.importorskip("torch_geometric", reason="PyTorch Geometric is not installed")
    work = bench.attention_work(n=6, n_au=3, n_features=8, width=4)
    assert work.target is None
    assert work.ours().shape == work.peer().shape == (6, 3, 4)


def test_the_table_is_printed_and_written(tmp_path, capsys):
    calls = []
    todo = [
        bench.Work("sums", "a loop", lambda: calls.append("ours"), lambda: calls.append("peer"), target=2, share=0.01),
        bench.Work("more sums", "a loop", lambda: None, lambda: None),
    ]
    bench.main(tmp_path / "bench", todo, pairs=2)
    assert calls == ["ours", "peer"] * 3  # alternating, the first pair for warming up
    written = pd.read_csv(tmp_path / "bench" / "peers.csv")
    assert written["work"].tolist() == ["sums", "more sums"]
    assert written["target"].fillna(0).tolist() == [2, 0]
    assert (written["lowest"] <= written["times faster"]).all() and (
        written["times faster"] <= written["highest"]
    ).all()
    provenance = json.loads((tmp_path / "bench" / "peers.json").read_text())
    assert {"hardware", "versions", "threads", "revision"} <= set(provenance)
    assert provenance["threads"] == bench.THREADS
    assert "target 2" in capsys.readouterr().out


def test_the_time_of_a_part_is_scaled_to_the_whole(monkeypatch):
    ticks = iter([0, 1, 1, 2] * 4)  # every call takes one second
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(ticks))
    row = bench.compare(bench.Work("all", "a tenth", lambda: None, lambda: None, share=0.1), pairs=3)
    assert (row["seconds"], row["peer seconds"], row["times faster"]) == (1, 10, 10)


def test_what_is_timed_has_the_promised_targets(monkeypatch):
    monkeypatch.setattr(bench, "training_work", lambda: None)
    monkeypatch.setattr(bench, "bootstrap_work", lambda: None)
    monkeypatch.setattr(bench, "calibration_work", lambda: None)
    monkeypatch.setattr(bench, "attention_work", lambda: None)
    per_network, per_input, *_ = bench.works()
    assert "N = 3,579, D = 1,792, T = 100" in per_network.name
    assert (per_network.target, per_input.target) == (10, 1.5)


def test_the_world_is_timed_and_written(tmp_path, capsys):
    table = bench.world(tmp_path, n_faces=20, views=["dialogues"], repeats=2)
    assert table["work"].tolist() == ["faces per second, 64x64", "seconds to build view dialogues, quick"]
    assert (table["value"] > 0).all()
    assert "faces per second" in capsys.readouterr().out
    assert {"hardware", "versions", "threads"} <= set(json.loads((tmp_path / "simulated.json").read_text()))


@pytest.mark.slow
def test_the_panels_are_timed_and_written(tmp_path, capsys):
    table = bench.panels(tmp_path, repeats=1)
    assert len(table) == 9
    assert (table["milliseconds"] > 0).all()
    assert "face explorer" in capsys.readouterr().out
    assert json.loads((tmp_path / "panels.json").read_text())["threads"] == 1
