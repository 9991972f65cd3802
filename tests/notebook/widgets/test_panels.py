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


def sliders(box):
    return {slider.description: slider for slider in box.children[0].children}


# --- calibration bench ----------------------------------------------------------------------------------------


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


@given(st.integers(1, 30), st.integers(0, 1000))
def test_even_bins_give_the_error_of_the_metrics(n_bins, seed):
    rng = np.random.default_rng(seed)
    p, labels = rng.dirichlet(np.ones(4), 50), rng.integers(4, size=50)
    confidence, correct = p.max(1), (p.argmax(1) == labels).astype(float)
    ece, mce, _ = errors(confidence, correct, n_bins)
    assert ece == pytest.approx(metrics.expected_calibration_error(p, labels, n_bins))
    assert mce == pytest.approx(metrics.maximum_calibration_error(p, labels, n_bins))


def test_equal_count_bins_hold_as_many_each():
    bin_of = calibration_bench.bins(RNG.random(60), 7, "equal count")
    assert set(np.bincount(bin_of)) == {8, 9}


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
    expected = [
        metrics.expected_calibration_error(p, votes, 5),
        metrics.maximum_calibration_error(p, votes, 5),
        metrics.static_calibration_error(p, votes, 5),
        metrics.adaptive_calibration_error(p, votes, 5),
        metrics.thresholded_adaptive_calibration_error(p, votes, 5),
    ]
    assert widths(bars) == pytest.approx([100 * e for e in expected])


def test_luck_is_less_with_more_votes():
    one = calibration_bench.panel(PROBS, np.eye(3)[PROBS.argmax(1)]).axes[1].lines[0].get_xdata()
    ten = calibration_bench.panel(PROBS, 10 * np.eye(3)[PROBS.argmax(1)]).axes[1].lines[0].get_xdata()
    assert (np.array(ten) < np.array(one)).all()


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"probs": with_nan(PROBS, 7, 1)}, "row 7"),
        ({"votes": with_nan(VOTES, 9, 0)}, "row 9"),
        ({"votes": np.r_[np.zeros((1, 3)), VOTES[1:]]}, "row 0"),
        ({"n": 0}, "the sample is empty"),
        ({"probs": PROBS[:0], "votes": VOTES[:0]}, "the sample is empty"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"n_bins": 0}, "n_bins is 0"),
        ({"binning": "odd"}, "even width, equal count"),
    ],
)
def test_the_bench_says_what_is_wrong_and_where(spoilt, said):
    with pytest.raises(ValueError, match=said):
        calibration_bench.panel(**({"probs": PROBS, "votes": VOTES} | spoilt))


# --- Monte Carlo dropout --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"passes": {0.2: with_nan(MEMBERS, 2, 5, 0)}}, "passes at rate 0.2.*row.*2.*5"),
        ({"rate": 0.3}, "no network has the dropout rate 0.3; there are 0.2"),
        ({"face": 30}, "face is 30: there are 30"),
        ({"n_passes": 0}, "n_passes is 0"),
        ({"n_passes": 5}, "there are 1 to 4 passes"),
        ({"passes": {}}, "no network"),
    ],
)
def test_monte_carlo_dropout_says_what_is_wrong_and_where(spoilt, said):
    with pytest.raises(ValueError, match=said):
        monte_carlo_dropout.panel(**({"passes": {0.2: MEMBERS}, "rate": 0.2, "n_passes": 2} | spoilt))


# --- reject option --------------------------------------------------------------------------------------------

FOUR = {
    "probs": np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]),
    "target": np.array([0, 0, 1, 1]),
    "uncertainties": {"U_t": np.array([0.1, 0.4, 0.3, 0.2])},
    "groups": {"who": np.array(["a", "a", "b", "b"])},
    "by": "U_t",
}


def test_who_is_rejected_by_hand():
    curve, bars = reject_option.panel(**FOUR, rejected=0.25).axes
    assert widths(bars) == [0.5, 0.0]  # the second example is of group a
    assert curve.lines[-1].get_xydata().tolist() == [[0.75, pytest.approx(2 / 3)]]
    assert widths(reject_option.panel(**FOUR, rejected=0.5).axes[1]) == [0.5, 0.5]
    assert widths(reject_option.panel(**FOUR, rejected=0.0).axes[1]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"uncertainties": {"U_t": np.array([0.1, np.nan, 0.3, 0.2])}}, "row 1 is NaN"),
        ({"probs": with_nan(FOUR["probs"], 3, 0)}, "row 3"),
        ({"rejected": 0.9}, "keeps none"),
        ({"rejected": math.nan}, "rejected is nan"),
        ({"by": "U_x"}, "expected one of U_t"),
        ({"group": "age"}, "expected one of who"),
        ({"uncertainties": {}}, "nothing to choose from"),
        ({"groups": {}}, "nothing to choose from"),
    ],
)
def test_the_reject_option_says_what_is_wrong_and_where(spoilt, said):
    with pytest.raises(ValueError, match=said):
        reject_option.panel(**(FOUR | spoilt))


# --- ensemble and students ------------------------------------------------------------------------------------


def test_likelihood_and_disagreement_by_hand():
    said = {"Tea": np.array([[[0.9, 0.1]], [[0.3, 0.7]]]), "Stu1": np.array([[[0.6, 0.4]], [[0.6, 0.4]]])}
    target = np.array([[1.0, 0.0]])
    assert ensemble_students.nll(said["Tea"].mean(0), target) == pytest.approx(-math.log(0.6))
    left, right = ensemble_students.panel(said, target, members=2, generation="Stu1").axes
    assert left.lines[0].get_ydata() == pytest.approx([-math.log(0.9), -math.log(0.6)])
    assert widths(right) == pytest.approx([0.675, 0.971, 0.296, 0.0], abs=5e-4)  # U_a of both, then U_e
    alone = widths(ensemble_students.panel(said, target, members=1, generation="Tea").axes[1])
    assert alone[2:] == pytest.approx([0, 0])


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"said": {"Tea": with_nan(MEMBERS, 1, 8, 0)}}, "probabilities of Tea.*row.*1.*8"),
        ({"generation": "Stu9"}, "expected one of Tea"),
        ({"said": {}}, "none is given"),
        ({"members": 0}, "Tea has 1 to 4"),
        ({"members": 5}, "Tea has 1 to 4"),
    ],
)
def test_ensemble_and_students_say_what_is_wrong_and_where(spoilt, said):
    given_ = {"said": {"Tea": MEMBERS}, "target": np.eye(3)[[0] * 30], "members": 2, "generation": "Tea"}
    with pytest.raises(ValueError, match=said):
        ensemble_students.panel(**(given_ | spoilt))


# --- experts and gate -----------------------------------------------------------------------------------------

GATE = {
    "gate": {0: np.array([[0.5, 0.5], [0.2, 0.8]]), 5: np.array([[0.9, 0.1], [0.4, 0.6]])},
    "score": {0: np.array([[0.1, 0.2], [0.3, 0.4]]), 5: np.array([[0.5, 0.6], [0.7, 0.8]])},
    "experts": ["Ann", "Bob"],
    "people": ["Cem", "Dora"],
    "person": "Dora",
    "share": 5,
}


def test_the_gate_is_that_of_the_person_after_and_before():
    bars, lines = experts_gate.panel(**GATE).axes
    assert widths(bars) == [0.4, 0.6]
    assert bars.lines[0].get_xdata().tolist() == [0.2, 0.8]
    assert lines.lines[0].get_xydata().tolist() == [[0, 0.3], [5, 0.7]]
    assert "valence 0.70, arousal 0.80" in {lines.get_title(loc) for loc in ("left", "center")}


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (
            {"gate": {0: GATE["gate"][0], 5: with_nan(GATE["gate"][5], 1, 0)}},
            r"of Dora after 5% are \[nan",
        ),
        ({"gate": {0: GATE["gate"][0] / 2, 5: GATE["gate"][5]}}, "gate weights of Dora after 0%"),
        ({"person": "Eve"}, "expected one of Cem, Dora"),
        ({"people": []}, "none is given"),
        ({"share": 50}, "gate knows the shares 0, 5"),
    ],
)
def test_experts_and_gate_say_what_is_wrong_and_where(spoilt, said):
    with pytest.raises(ValueError, match=said):
        experts_gate.panel(**(GATE | spoilt))


# --- attention ------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"turns": [math.nan, 0.5]}, "attention to talkturn 0 is nan"),
        ({"weights": [[0.5, 0.25, 0.25], [0.1, math.nan]]}, "attention to talkturn 1, word 1 is nan"),
        ({"turn": 2}, "turn is 2: there are 2"),
        ({"turns": []}, "no talkturn"),
        ({"words": [["how"], []], "weights": [[1.0], []]}, "talkturn 1 has 0 words"),
    ],
)
def test_attention_says_what_is_wrong_and_where(spoilt, said):
    with pytest.raises(ValueError, match=said):
        attention.panel(**(TALK | {"turn": 1} | spoilt))


# --- Algorithm 1 ----------------------------------------------------------------------------------------------


def test_a_task_that_rests_gains_weight_as_the_logarithm_of_its_epochs():
    rising = np.linspace(0.1, 0.8, 8)
    scores = np.stack([rising, np.full(8, 0.3), rising], 1)
    _, right = algorithm1.panel(scores).axes
    # counters start at 1 and fall back to it: after epoch e the resting task has m = e, and lambda = log2 m
    raw = [1, *(max(1, math.log2(e)) for e in range(1, 9))]
    assert right.lines[1].get_ydata() == pytest.approx([r / (r + 2) for r in raw], rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (with_nan(algorithm1.SCORES, 2, 1), "the score of EXPR in epoch 3 is NaN"),
        (np.zeros((0, 3)), "at least one epoch"),
        (np.zeros((4, 2)), r"expected \(epochs, 3\)"),
    ],
)
def test_algorithm1_says_what_is_wrong_and_where(scores, said):
    with pytest.raises(ValueError, match=said):
        algorithm1.panel(scores)


def test_a_dragged_score_moves_the_weights():
    box = algorithm1.controls()
    before = drawn(box)
    sliders(box)["EXPR, epoch 2"].value = 0.9
    assert drawn(box) != before
    assert shown(box) == ""


# --- face explorer --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A classroom of few pictures, small networks and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name, value in {"SIZES": (20, 40), "N_VAL": 20, "N_TEST": 30, "N_COMPONENTS": 8, "MEMBERS": 2}.items():
            patch.setattr(classroom, name, value)
        classroom.classroom.cache_clear()
        made = classroom.classroom(seed=3)
        classroom.classroom.cache_clear()
        again = classroom.classroom(seed=3)  # from the cache
        classroom.classroom.cache_clear()
    assert torch.equal(made.predict("face", 40), again.predict("face", 40))
    return made


def test_the_classroom_holds_votes_truth_and_ensembles(room):
    assert [len(part) for part in (room.train, room.val, room.test)] == [40, 20, 30]
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
    assert torch.allclose(
        room.read("face", u, nothing) * room.scales["face sd"] + room.scales["face mean"], raw, atol=1e-5
    )
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
    of_truth, aleatoric, epistemic = widths(parts)
    assert of_truth == pytest.approx(float(metrics.entropy(truth)))
    assert aleatoric > 0 and epistemic >= 0
    assert sum(widths(classes)) <= 1 + 1e-9  # shares of votes, less those for no face


def test_what_the_reader_of_faces_cannot_see_does_not_move_it(room):
    one, other = (
        face_explorer.panel(room, learnt_from=40, au12=4, skin_tone=tone, person=who) for tone, who in ((0, 0), (1, 7))
    )
    assert widths(one.axes[2]) == widths(other.axes[2])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"au12": math.nan}, "au12 is nan"),
        ({"au12": 6}, "au12 is 6"),
        ({"au3": 1}, "no au3; it has au1, au2"),
        ({"yaw": math.nan}, "Nuisance.yaw must lie in"),
        ({"blur": 9}, "Nuisance.blur must lie in"),
        ({"occlusion": "mask"}, "expected one of none, hand"),
        ({"skin_tone": math.nan}, "skin_tone is nan"),
    ],
)
def test_the_explorer_says_what_is_wrong_and_where(room, setting, said):
    with pytest.raises(ValueError, match=said):
        face_explorer.panel(room, learnt_from=40, **setting)


# --- all of them ----------------------------------------------------------------------------------------------


def boxes(room):
    groups = {"who": np.arange(60) % 2}
    return {
        "face explorer": lambda: face_explorer.controls(room),
        "calibration bench": lambda: calibration_bench.controls(PROBS, VOTES),
        "Monte Carlo dropout": lambda: monte_carlo_dropout.controls({0.2: MEMBERS, 0.5: MEMBERS[::-1]}),
        "reject option": lambda: reject_option.controls(PROBS, VOTES, {"U_t": metrics.entropy(PROBS)}, groups),
        "ensemble and students": lambda: ensemble_students.controls({"Tea": MEMBERS}, np.eye(3)[[0] * 30]),
        "experts and gate": lambda: experts_gate.controls(*(GATE[k] for k in ("gate", "score", "experts", "people"))),
        "attention": lambda: attention.controls(*TALK.values()),
        "Algorithm 1": algorithm1.controls,
    }


@pytest.mark.parametrize("name", boxes(None))
def test_controls_start_with_a_picture_and_a_moved_one_leaves_nothing_behind(room, name, monkeypatch):
    monkeypatch.setattr(face_explorer, "SIZES", (20, 40, 1000))
    room.ensembles.update({(reader, 1000): room.ensembles[reader, 40] for reader in classroom.READERS})
    make = boxes(room)[name]
    box = make()
    assert shown(box) == ""
    start = drawn(box)
    assert start.startswith(b"\x89PNG")
    moved = {
        "face explorer": ("au12", 0.0),
        "calibration bench": ("temperature", 2.0),
        "Monte Carlo dropout": ("face", 3),
        "reject option": ("rejected", 0.5),
        "ensemble and students": ("members", 2),
        "experts and gate": ("person", "Dora"),
        "attention": ("talkturn", 0),
        "Algorithm 1": ("as released", True),
    }[name]
    sliders(box)[moved[0]].value = moved[1]
    assert shown(box) == ""
    assert drawn(box) != start
    assert drawn(make()) == start


def test_bad_numbers_are_named_in_the_panel():
    assert "row 7" in shown(calibration_bench.controls(with_nan(PROBS, 7, 1), VOTES))
    assert "row 1 is NaN" in shown(
        reject_option.controls(*(FOUR[k] for k in ("probs", "target")), {"U_t": with_nan(range(4), 1)}, FOUR["groups"])
    )
