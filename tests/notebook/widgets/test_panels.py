"""The panels without a browser: numbers in, figure out. What they draw is read off the figure again."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ipywidgets import HTML

from uncertain_affect import metrics
from uncertain_affect.corpora.simulated import raters
from uncertain_affect.corpora.simulated.faces import Nuisance
from uncertain_affect.models.uncnet import UncNet
from uncertain_affect.notebook.widgets import (
    algorithm1,
    attention,
    calibration_bench,
    classroom,
    ensemble_students,
    experts_gate,
    face_explorer,
    monte_carlo_dropout,
    reject_option,
)
from uncertain_affect.training.fit import generators

RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet(np.ones(3), 60)
VOTES = RNG.multinomial(10, [0.5, 0.3, 0.2], 60)
MEMBERS = RNG.dirichlet(np.ones(3), (4, 30))


def with_nan(values, *place):
    spoilt = np.array(values, dtype=float)
    spoilt[place] = np.nan
    return spoilt


def widths(ax):
    return [patch.get_width() for patch in ax.patches]


def shown(box):
    """The text of a box, which is empty where a picture is shown."""
    return next(child.value for child in box.children if isinstance(child, HTML))


def drawn(box):
    return bytes(box.children[-1].value)


def errors(confidence, correct, n_bins, binning="even width"):
    """ECE, MCE and the curve."""
    bin_of = calibration_bench.bins(confidence, n_bins, binning)
    totals = calibration_bench.sums(confidence, correct, bin_of, n_bins)
    return metrics.ece_from_sums(totals), metrics.mce_from_sums(totals), calibration_bench.curve(totals)


def test_ece_mce_and_curve_by_hand():
    confidence, correct = np.array([0.9] * 6 + [0.6] * 4), np.array([1, 1, 1, 0, 0, 0, 1, 1, 1, 0])
    ece, mce, _ = errors(confidence, correct, 2)  # one bin, [1/2, 1]: confidence .78, accuracy .6
    assert (ece, mce) == pytest.approx((0.18, 0.18))
    ece, mce, table = errors(confidence, correct, 4)
    assert (ece, mce) == pytest.approx((0.6 * 0.4 + 0.4 * 0.15, 0.4))
    assert table.to_numpy() == pytest.approx(np.array([[0.6, 0.75, 0.4], [0.9, 0.5, 0.6]]))
    # five each: .6 four times and .9, of which 3 and 1 are correct; .9 five times, of which 2 are
    ece, mce, _ = errors(confidence, correct, 2, "equal count")
    assert (ece, mce) == pytest.approx((0.5 * 0.14 + 0.5 * 0.5, 0.5))
    assert set(np.bincount(calibration_bench.bins(RNG.random(60), 7, "equal count"))) == {8, 9}


@given(st.integers(1, 30), st.integers(0, 1000))
def test_even_bins_give_the_error_of_the_metrics(n_bins, seed):
    rng = np.random.default_rng(seed)
    p, labels = rng.dirichlet(np.ones(4), 50), rng.integers(4, size=50)
    confidence, correct = p.max(1), (p.argmax(1) == labels).astype(float)
    ece, mce, _ = errors(confidence, correct, n_bins)
    assert ece == pytest.approx(metrics.expected_calibration_error(p, labels, n_bins))
    assert mce == pytest.approx(metrics.maximum_calibration_error(p, labels, n_bins))


@given(st.floats(0.2, 5), st.integers(0, 100))
def test_a_temperature_keeps_the_order(temperature, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(4), 5)
    q = calibration_bench.tempered(p, temperature)
    assert q.sum(1) == pytest.approx(1)
    assert (p.argsort(1) == q.argsort(1)).all()
    assert ((metrics.entropy(q) - metrics.entropy(p)) * (temperature - 1) >= -1e-9).all()


def test_the_bench_draws_what_the_metrics_say():
    _, bars = calibration_bench.panel(PROBS, VOTES, n_bins=5, temperature=2.0, n=40).axes
    p, votes = calibration_bench.tempered(PROBS[:40], 2.0), VOTES[:40]
    kinds = ("expected", "maximum", "static", "adaptive", "thresholded_adaptive")
    expected = [100 * getattr(metrics, f"{kind}_calibration_error")(p, votes, 5) for kind in kinds]
    assert widths(bars) == pytest.approx(expected)
    # luck is less with more votes
    one = calibration_bench.panel(PROBS, np.eye(3)[PROBS.argmax(1)]).axes[1].lines[0].get_xdata()
    ten = calibration_bench.panel(PROBS, 10 * np.eye(3)[PROBS.argmax(1)]).axes[1].lines[0].get_xdata()
    assert (np.array(ten) < np.array(one)).all()


def test_running_uncertainties_end_at_the_decomposition_and_start_without_disagreement():
    parts = monte_carlo_dropout.running(MEMBERS)
    assert parts[:, -1] == pytest.approx(np.array(metrics.entropy_decomposition(MEMBERS)))
    assert parts[2, 0] == pytest.approx(0)


def test_passes_are_drawn_for_each_rate():
    models = {rate: UncNet(4, generators([0]), hidden=(8, 8), dropout=rate) for rate in (0.0, 0.5)}
    x = torch.randn(6, 4, generator=generators([0], 1)[0])
    passes = monte_carlo_dropout.draw(models, x, generators([0], 2)[0], n=20)
    assert {rate: tuple(p.shape) for rate, p in passes.items()} == dict.fromkeys((0.0, 0.5), (20, 6, 9))
    spread = {rate: float(p.std(0).max()) for rate, p in passes.items()}
    assert spread[0.0] < 1e-6 < spread[0.5]
    course, scatter = monte_carlo_dropout.panel(passes, rate=0.5, n_passes=20, face=2).axes
    u = metrics.entropy_decomposition(passes[0.5].double())
    ends = sorted(line.get_ydata()[-1] for line in course.lines)  # a single block of 20 passes: no other draws
    assert ends == pytest.approx(sorted(float(part[2]) for part in u))
    assert scatter.lines[1].get_ydata() == pytest.approx(u.epistemic.numpy())


FOUR = {
    "probs": np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]),
    "target": np.array([0, 0, 1, 1]),
    "scores": {"U_t": np.array([0.1, 0.4, 0.3, 0.2])},
    "groups": {"who": np.array(["a", "a", "b", "b"])},
    "by": "U_t",
}


def test_who_is_rejected_by_hand():
    curve, bars = reject_option.panel(**FOUR, rejected=0.25).axes
    assert widths(bars) == [0.5, 0.0]  # the second example is of group a
    assert curve.lines[-1].get_xydata().tolist() == [[0.75, pytest.approx(2 / 3)]]
    assert widths(reject_option.panel(**FOUR, rejected=0.5).axes[1]) == [0.5, 0.5]
    assert widths(reject_option.panel(**FOUR, rejected=0.0).axes[1]) == [0.0, 0.0]


def test_likelihood_and_disagreement_by_hand():
    probs = {"Tea": np.array([[[0.9, 0.1]], [[0.3, 0.7]]]), "Stu1": np.array([[[0.6, 0.4]], [[0.6, 0.4]]])}
    target = np.array([[1.0, 0.0]])
    assert ensemble_students.nll(probs["Tea"].mean(0), target) == pytest.approx(-math.log(0.6))
    left, right = ensemble_students.panel(probs, target, members=2, generation="Stu1").axes
    assert left.lines[0].get_ydata() == pytest.approx([-math.log(0.9), -math.log(0.6)])
    assert widths(right) == pytest.approx([0.675, 0.971, 0.296, 0.0], abs=5e-4)  # U_a of both, then U_e
    alone = widths(ensemble_students.panel(probs, target, members=1, generation="Tea").axes[1])
    assert alone[2:] == pytest.approx([0, 0])


GATE = {
    "gate": {0: np.array([[0.5, 0.5], [0.2, 0.8]]), 5: np.array([[0.9, 0.1], [0.4, 0.6]])},
    "score": {0: np.array([[0.1, 0.2], [0.3, 0.4]]), 5: np.array([[0.5, 0.6], [0.7, 0.8]])},
    "experts": ["Ann", "Bob"], "people": ["Cem", "Dora"], "person": "Dora", "share": 5,
}  # fmt: skip


def test_the_gate_is_that_of_the_person_after_and_before():
    bars, lines = experts_gate.panel(**GATE).axes
    assert widths(bars) == [0.4, 0.6]
    assert bars.lines[0].get_xdata().tolist() == [0.2, 0.8]
    assert lines.lines[0].get_xydata().tolist() == [[0, 0.3], [5, 0.7]]
    assert "valence 0.70, arousal 0.80" in {lines.get_title(loc) for loc in ("left", "center")}


TALK = {
    "turns": [0.25, 0.75],
    "words": [["how", "are", "you"], ["well", "enough"]],
    "weights": [[0.5, 0.25, 0.25], [0.1, 0.9]],
}


def test_attention_is_in_multiples_of_an_even_share():
    left, right = attention.panel(**TALK, turn=1).axes
    assert widths(left) == [0.5, 1.5]
    assert widths(right) == pytest.approx([0.2, 1.8])
    assert [label.get_text() for label in right.get_yticklabels()] == ["well", "enough"]
    assert attention.names(3) == ["i-2", "i-1", "i"]


def test_a_task_that_rests_gains_weight_as_the_logarithm_of_its_epochs():
    rising = np.linspace(0.1, 0.8, 8)
    scores = np.stack([rising, np.full(8, 0.3), rising], 1)
    _, right = algorithm1.panel(scores).axes
    # counters start at 1 and fall back to it: after epoch e the resting task has m = e, and lambda = log2 m
    raw = [1, *(max(1, math.log2(e)) for e in range(1, 9))]
    assert right.lines[1].get_ydata() == pytest.approx([r / (r + 2) for r in raw], rel=1e-6)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A classroom of few pictures, small networks and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name, value in {"SIZES": (20, 40), "N_VAL": 20, "N_TEST": 30, "N_COMPONENTS": 8, "MEMBERS": 2}.items():
            patch.setattr(classroom, name, value)
        made, again = (classroom.classroom.__wrapped__(seed=3) for _ in range(2))  # once more, from the cache
    assert torch.equal(made.predict("face", 40), again.predict("face", 40))
    return made


def test_the_classroom_holds_votes_truth_and_ensembles(room):
    assert [len(part.votes) for part in (room.train, room.val, room.test)] == [40, 20, 30]
    assert (room.train.votes.sum(1) <= 10).all() and (room.train.votes.sum(1) > 0).all()
    assert torch.allclose(room.train.truth.sum(1), torch.ones(40, dtype=torch.float64))
    for reader in classroom.READERS:
        for size in (20, 40):
            p = room.predict(reader, size)
            assert p.shape == (2, 30, 9)
            assert torch.allclose(p.sum(-1), torch.ones(2, 30, dtype=torch.float64))
            assert float(metrics.entropy_decomposition(p).epistemic.max()) > 0
    assert room.train.inputs["face"].mean(0).abs().max() < 1e-4


def test_new_pictures_are_read_as_the_old_ones_were(room):
    nothing = Nuisance.none(1)
    u = torch.zeros(1, 17)
    raw = classroom.read_face(u, nothing)
    assert raw[0].tolist() == [0.0] * 17 + [1.0] * 17 + [1.0]
    read = room.read("face", u, nothing)
    assert torch.allclose(read * room.scales["face sd"] + room.scales["face mean"], raw, atol=1e-5)
    assert room.read("pixels", u, nothing, torch.zeros(1, 48, 48, dtype=torch.uint8)).shape == (1, 8)


@pytest.mark.parametrize("reader", classroom.READERS)
def test_the_explorer_draws_the_truth_and_the_split(room, reader):
    figure = face_explorer.panel(room, reader=reader, learnt_from=40, au12=4, blur=1.5)
    _, classes, parts = figure.axes
    u = torch.zeros(1, 17)
    u[0, 8] = 4
    blurred = Nuisance(**(vars(Nuisance.none(1)) | {"blur": torch.tensor([1.5])}))
    truth = classroom.nine(raters.label_distribution(u, blurred))
    assert classes.lines[-1].get_xdata() == pytest.approx(truth[0].numpy())
    true_entropy, aleatoric, epistemic = widths(parts)
    assert true_entropy == pytest.approx(float(metrics.entropy(truth)))
    assert aleatoric > 0 and epistemic >= 0
    assert sum(widths(classes)) <= 1 + 1e-9  # shares of votes, less those for no face


def test_what_the_reader_of_faces_cannot_see_does_not_move_it(room):
    one, other = (
        face_explorer.panel(room, learnt_from=40, au12=4, skin_tone=tone, person=who) for tone, who in ((0, 0), (1, 7))
    )
    assert widths(one.axes[2]) == widths(other.axes[2])


BY_U_T = {"U_t": metrics.entropy(PROBS)}
# what makes the controls, and which of them is moved where
CONTROLS = {
    "face explorer": (face_explorer.controls, "au12", 0.0),
    "calibration bench": (lambda _: calibration_bench.controls(PROBS, VOTES), "temperature", 2.0),
    "Monte Carlo dropout": (lambda _: monte_carlo_dropout.controls({0.2: MEMBERS, 0.5: MEMBERS[::-1]}), "face", 3),
    "reject option": (
        lambda _: reject_option.controls(PROBS, VOTES, BY_U_T, {"who": np.arange(60) % 2}), "rejected", 0.5,
    ),
    "ensemble and students": (
        lambda _: ensemble_students.controls({"Tea": MEMBERS}, np.eye(3)[[0] * 30]), "members", 2,
    ),
    "experts and gate": (lambda _: experts_gate.controls(*list(GATE.values())[:4]), "person", "Dora"),
    "attention": (lambda _: attention.controls(*TALK.values()), "talkturn", 0),
    "Algorithm 1": (lambda _: algorithm1.controls(), "as released", True),
    "a score": (lambda _: algorithm1.controls(), "EXPR, epoch 2", 0.9),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_start_with_a_picture_and_a_moved_one_leaves_nothing_behind(room, name, monkeypatch):
    monkeypatch.setattr(face_explorer, "SIZES", (20, 40, 1000))
    room.ensembles.update({(reader, 1000): room.ensembles[reader, 40] for reader in classroom.READERS})
    make, slider, value = CONTROLS[name]
    box = make(room)
    assert shown(box) == ""
    start = drawn(box)
    assert start.startswith(b"\x89PNG")
    {control.description: control for control in box.children[0].children}[slider].value = value
    assert shown(box) == ""
    assert drawn(box) != start
    assert drawn(make(room)) == start


GIVEN = {
    calibration_bench: {"probs": PROBS, "votes": VOTES},
    monte_carlo_dropout: {"passes": {0.2: MEMBERS}, "rate": 0.2, "n_passes": 2},
    reject_option: FOUR,
    ensemble_students: {
        "probs": {"Tea": MEMBERS}, "target": np.eye(3)[[0] * 30], "members": 2, "generation": "Tea",
    },
    experts_gate: GATE,
    attention: TALK | {"turn": 1},
    algorithm1: {"scores": algorithm1.SCORES},
    face_explorer: {"learnt_from": 40},
}  # fmt: skip
REFUSED = [
    (calibration_bench, {"probs": with_nan(PROBS, 7, 1)}, "row 7"),
    (calibration_bench, {"votes": with_nan(VOTES, 9, 0)}, "row 9"),
    (calibration_bench, {"votes": np.r_[np.zeros((1, 3)), VOTES[1:]]}, "row 0 has no votes"),
    (calibration_bench, {"probs": PROBS[:0], "votes": VOTES[:0]}, "expected a non-empty"),
    (calibration_bench, {"temperature": 0.0}, "temperature is 0.0"),
    (calibration_bench, {"temperature": math.nan}, "temperature is nan"),
    (monte_carlo_dropout, {"passes": {0.2: with_nan(MEMBERS, 2, 5, 0)}}, "passes at rate 0.2.*row.*2.*5"),
    (reject_option, {"scores": {"U_t": np.array([0.1, np.nan, 0.3, 0.2])}}, "row 1 is NaN"),
    (reject_option, {"probs": with_nan(FOUR["probs"], 3, 0)}, "row 3"),
    (reject_option, {"rejected": 0.9}, "coverage is 0"),
    (ensemble_students, {"probs": {"Tea": with_nan(MEMBERS, 1, 8, 0)}}, "probabilities of Tea.*row.*1.*8"),
    (face_explorer, {"au3": 1}, "what is moved is au3: expected some of au1, au2"),
]


@pytest.mark.parametrize(("module", "spoilt", "message"), REFUSED)
def test_what_is_wrong_is_named_with_its_place(room, module, spoilt, message):
    with pytest.raises(ValueError, match=message):
        module.panel(**({"room": room} if module is face_explorer else {}) | GIVEN[module] | spoilt)
