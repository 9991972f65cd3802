"""That ours and the peer do the same work, on small sizes, and that what is promised is timed at its size."""

import importlib.util

import numpy as np
import pytest
import torch

from bench import __main__ as command
from bench import faces, metrics, models
from bench.compare import compare, largest_difference

SMALL = {
    "ECE": lambda: metrics.top_label(3000, "ECE"),
    "MCE": lambda: metrics.top_label(3000, "MCE"),
    **{name: lambda name=name: metrics.per_class(3001, name) for name in metrics.PER_CLASS},
    "ranks among others": lambda: metrics.ranks_among_others(500),
    "ranks": lambda: metrics.ranks(500),
    "concordance": lambda: metrics.concordance(500),
    "distance": lambda: metrics.distance(500),
    "divergence": lambda: metrics.divergence(500),
    "MC dropout, per network": lambda: models.mc_dropout(30, "per_network", n_features=20, n_samples=7),
    "MC dropout, per input": lambda: models.mc_dropout(30, "per_input", n_features=20, n_samples=7),
    "training": lambda: models.training(600, n_seeds=2, n_features=10, batch_size=20, n_val=100),
    "graph network": lambda: models.graph_network(20, n_au=5, n_features=16, n_samples=3),
    "graph layer": lambda: models.graph_layer(6, n_au=3, n_features=8, width=4),
    "encoders": lambda: models.auxiliary_encoders(5, n_steps=4, n_features=20, n_units=2, n_tasks=3),
    "heads": lambda: models.task_heads(2, n_heads=2, n_steps=3, n_features=4, size=3),
    "faces, first": lambda: faces.from_disk(60, again=False, side=48),
    "faces, again": lambda: faces.from_disk(60, again=True, side=48),
}
PEERS = [(name, i) for name, make in SMALL.items() for i in range(len(make().peers))]


@pytest.mark.parametrize(("name", "i"), PEERS)
def test_ours_and_the_peer_give_the_same(name, i):
    task = SMALL[name]()
    peer = task.peers[i]
    try:
        run = peer.start()
        theirs = run()
    except ImportError as error:
        pytest.skip(f"{peer.name}: {error}")
    if peer.tolerance is None:
        assert name == "graph layer", "two functions on the same graphs"
        assert task.ours().shape == theirs.shape == (6, 3, 4)
        return
    ours, theirs = peer.outputs(run) if peer.outputs else (task.ours(), theirs)
    assert largest_difference(ours, theirs) <= peer.tolerance
    nothing = [0 * part for part in ours] if isinstance(ours, list | tuple) else 0 * ours
    assert largest_difference(ours, nothing) > 0.01


def test_the_masks_of_peers_are_their_own_when_they_are_timed():
    plain = models.mc_dropout(30, "per_input", n_features=20, n_samples=7).peers[0].start()
    assert largest_difference(plain(), plain()) > 0.001


def test_a_timed_training_learns():
    task = SMALL["training"]()
    for losses in (task.ours(), task.peers[0].start()()):
        assert len(losses) == 2 and max(losses) < 2.19, "less than the log 9 = 2.197 of a guess"


def test_graphs_differ_between_samples_and_are_drawn_alike_each_time():
    task = SMALL["graph network"]()
    logits = task.ours()
    assert logits.shape == (3, 20, 5)
    assert logits.std(0).mean() > 0.01
    torch.testing.assert_close(task.ours(), logits)


def test_faces_from_disk_and_rendered_ones_are_pictures():
    from_disk = SMALL["faces, again"]()
    pictures, rendered = from_disk.ours(), faces.rendered(3, side=32).ours()
    assert pictures.shape == (60, 3, 48, 48) and rendered.shape == (3, 32, 32)
    assert pictures.float().std() > 30 and rendered.float().std() > 10
    assert torch.equal(pictures, from_disk.ours())


def test_the_tolerance_of_float32_grows_with_the_sums_of_torchmetrics():
    assert metrics.float32_tolerance(100) == 1e-6
    assert metrics.float32_tolerance(4 * 10**6) == pytest.approx(2 * metrics.float32_tolerance(10**6))
    assert metrics.float32_tolerance(10**6) < 2e-5


def test_the_definitions_in_numpy_are_right_where_they_can_be_worked_out_by_hand():
    probs, labels = np.array([[0.25, 0.75], [0.85, 0.15]]), np.array([1, 1])
    # of each class: bins hold one example each, gaps .25 and .85
    assert metrics.plain_sce(probs, labels) == pytest.approx((0.25 + 0.85) / 2)
    assert metrics.plain_ace(probs, labels) == pytest.approx((0.25 + 0.85) / 2)
    assert metrics.plain_ace(probs, labels, threshold=0.2) == pytest.approx(((0.25 + 0.85) / 2 + 0.25) / 2)


def test_what_is_promised_is_timed_at_its_size():
    timed = {(work.name, work.n): work for work in command.works()}
    assert len(timed) == len(command.works()), "names tell works apart"
    for metric in ("ECE", "MCE"):
        sizes = [n for name, n in timed if name.startswith(f"{metric}, 9 classes")]
        assert sizes == [10_000, 100_000, 1_000_000]
    assert timed["Simulated faces rendered, 64 x 64", 2000].rate == 1000
    promised = {
        "MC dropout, per network": [10, 10, 3, 10],
        "training": [2],
        "graph network": [10],
        "graph layer": [1],
        "encoders": [15],
        "ECE": [1, 1, 1],
        "ACE": [3],
    }
    assert {name: [peer.target for peer in SMALL[name]().peers] for name in promised} == promised


def test_every_target_has_a_reason_ready_should_it_be_missed():
    for make in SMALL.values():
        for peer in make().peers:
            assert bool(peer.target) == bool(peer.reason) or peer.target is None
            assert not peer.reason.endswith("."), "a sentence that the page ends"
    assert all(work.reason for work in command.works() if work.rate)


@pytest.mark.skipif(importlib.util.find_spec("torchmetrics") is None, reason="torchmetrics is not installed")
def test_a_work_is_compared_from_end_to_end():
    (work,) = (work for work in metrics.works() if work.name.startswith("Concordance"))
    (row,) = compare(type(work)(work.name, 2000, work.items, work.make), pairs=2, at_least=0.001)
    assert row["lowest"] <= row["times faster"] <= row["highest"]
    assert row["difference"] <= row["tolerance"] == 1 / 2000
    assert 0 < row["share of limit"] < 1
