import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Dirichlet, kl_divergence
from tqdm.auto import tqdm

from uncertain_affect import corpora, metrics
from uncertain_affect.corpora.base import Dialogues, Expressions
from uncertain_affect.evidence import evaluate
from uncertain_affect.models.pen import PersonalizedExpertNetwork
from uncertain_affect.papers import across
from uncertain_affect.papers.across import comparison, methods, tasks
from uncertain_affect.papers.across.networks import train
from uncertain_affect.training.fit import History, generators

G = torch.Generator().manual_seed(0)
SIZES = {"train": 300, "val": 80, "test": 60}
SAMPLES = {"softmax": 1, "temperature scaling": 1, "MC dropout": 7, "Laplace": 7, "deep ensemble": 2, "student 1": 1,
           "students 1": 2, "student 2": 1, "students 2": 2, "evidential": 7}  # fmt: skip
PEOPLE = {"train": torch.arange(300) % 4, "val": torch.arange(80) % 4}
pytestmark = pytest.mark.usefixtures("empty_cache")


def small_task(shape=(1, 4), own=False, **options):
    x = {split: torch.randn(*([3] if own else []), n, 6, generator=G) for split, n in SIZES.items()}
    weight = 2 * torch.randn(6, shape[0] * shape[1], generator=G)
    p = {split: methods.probabilities(inputs @ weight, shape).float() for split, inputs in x.items()}
    if options.get("units"):
        p = {split: F.one_hot(y.argmax(-1), 2).float() for split, y in p.items()}
    clusters = torch.zeros(60, dtype=torch.int64) if own else torch.arange(60) // 4
    return across.PredictionTask(x, p, p["test"].double(), clusters, p["test"].double(), **options)


def small_settings(**options):
    small = {"members": 2, "generations": 2, "n_samples": 7, "rates": (1e-3, 1e-2), "max_epochs": 4}
    return across.AcrossSettings(**{"seeds": (0, 1, 2)} | small | options)


def predict(task, method, **options):
    return across.predict_all(task, small_settings(**options), methods=[method])[method]


def test_the_profiles_differ_in_size():
    quick, full = across.settings("quick", 7), across.settings("full", 7)
    assert quick.seeds == (7, 8, 9, 10, 11) == full.seeds[:5] and len(full.seeds) == 20
    assert (full.hidden, full.n_samples) == ((128, 128), 100)
    with pytest.raises(ValueError, match='PROFILE must be "quick" or "full"'):
        across.settings("fast")


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shape", [(1, 4), (3, 2), (2, 3)])
def test_every_method_predicts_every_input(shape, own):
    task, settings = small_task(shape, own), small_settings()
    predictions = across.predict_all(task, settings)
    assert {method: p.probs["test"].shape[1] for method, p in predictions.items()} == SAMPLES
    for method, predicted in predictions.items():
        p = predicted.probs["test"]
        assert p.shape[0] == 3 and p.shape[2:] == (60, *shape) and (p.sum(-1) - 1).abs().max() < 1e-9, method
        assert not torch.equal(p[0], p[1]), "seeds differ"
        assert predicted.training > 0 and predicted.prediction > 0
    assert predictions["students 2"].networks == 6 and predictions["student 2"].networks == 5
    again = across.predict_all(task, settings, methods=["students 1", "evidential"])
    assert set(again) == {"students 1", "evidential"}
    for method, predicted in again.items():
        assert torch.equal(predicted.probs["test"], predictions[method].probs["test"]), method


@pytest.mark.parametrize(
    ("method", "shape", "options"), [("UGN", (3, 2), {"units": True}), ("PEN", (2, 3), {"person": PEOPLE})]
)
def test_graphs_and_experts_predict_the_tasks_that_they_fit(method, shape, options):
    p = predict(small_task(shape, **options), method).probs["test"]
    assert p.shape == (3, 7, 60, *shape) and (p.sum(-1) - 1).abs().max() < 1e-6
    assert not across.predict_all(small_task(), small_settings(), methods=[method])


def test_a_seed_predicts_the_same_alone_and_among_others():
    task = small_task()
    among, alone = (predict(task, "deep ensemble", seeds=seeds) for seeds in ((0, 1, 2), (0,)))
    # all copies rest together, so what is the same is what so few epochs leave
    torch.testing.assert_close(alone.probs["test"][0], among.probs["test"][0], rtol=0, atol=1e-5)


def test_an_epoch_passes_several_times_over_a_small_training_set():
    task = small_task()
    inputs, targets = ({**part, "train": torch.cat([part["train"]] * 2)} for part in (task.inputs, task.targets))
    twice = dataclasses.replace(task, inputs=inputs, targets=targets)
    first, second, once = (
        predict(t, "softmax", least=n).probs["test"] for t, n in ((task, 301), (twice, 0), (task, 0))
    )
    assert torch.equal(first, second) and not torch.equal(first, once)


def test_none_of_many_trainings_has_a_bar_of_its_own(monkeypatch):
    """Under nbval the messages of hundreds of bars would drown the news that the cell has ended."""
    bars = []

    def bar(*_, disable, **__):
        bars.append(disable)
        return tqdm(disable=True)

    monkeypatch.setattr("tqdm.auto.tqdm", bar)
    across.predict_all(small_task(), small_settings(), methods=["deep ensemble", "evidential"])
    assert bars and set(bars) == {True}


def test_graphs_are_trained_as_long_as_all_others(monkeypatch):
    trained = []

    def train(*arguments):
        trained.extend(a for a in arguments if isinstance(a, methods.ugn.UgnSettings))
        return SimpleNamespace(history=History(seconds=1.5))

    monkeypatch.setattr(methods.ugn, "train_branches", train)
    monkeypatch.setattr(methods.ugn, "train_graphs", train)
    _, seconds = methods._graphs(small_task((3, 2), units=True), small_settings(max_epochs=7, patience=2), "cpu")
    assert [(s.max_epochs, s.patience, s.seeds, s.n_samples) for s in trained] == [(7, 2, (0, 1, 2), 7)] * 2
    assert seconds == 3


def test_experts_are_sampled_as_often_as_their_gate_weighs():
    gate = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    experts = torch.eye(3)[None, :, None].expand(2, 3, 1, 3)  # each is sure of its own answer
    sampled = methods.sample_experts(gate, experts, 4)
    assert sampled.shape == (4, 2, 1, 3)
    torch.testing.assert_close(sampled.mean(0)[:, 0], gate)
    rounded = torch.tensor([[0.1] * 9 + [0.0999999]])
    assert methods.sample_experts(rounded, torch.ones(1, 10, 1, 2), 50).shape == (50, 1, 1, 2)


def test_the_loss_of_a_mixture_is_that_of_its_three_parts():
    mixture = PersonalizedExpertNetwork(4, 3, generators([0]), 4)(torch.randn(5, 4, generator=G))
    person, answers = torch.tensor([0, 1, 2, 2, 0]), torch.softmax(torch.randn(5, 2, 2, generator=G), -1)
    target = torch.cat([answers, person[:, None, None].expand(5, 2, 1)], -1)[None]
    expected = 0.0
    for i in range(5):
        log_p = torch.log_softmax(mixture.experts[0, i].unflatten(-1, (2, 2)), -1)
        own = -(answers[i] * log_p[person[i]]).sum(-1).mean()
        gate = -torch.log_softmax(mixture.logits[0, i], -1)[person[i]]
        mixed = torch.einsum("k,kac->ac", mixture.gate[0, i], log_p.exp()).log()
        expected += (own + gate - (answers[i] * mixed).sum(-1).mean()) / 5
    torch.testing.assert_close(methods.mixture_loss(mixture, target)[0], expected)


@pytest.mark.parametrize("shape", [(1, 3), (2, 2)])
def test_the_posterior_has_the_curvature_of_the_loss(shape):
    n_questions, n_answers = shape
    k = n_questions * n_answers
    h, w = torch.randn(5, 3, generator=G).double(), torch.randn(k, 4, generator=G).double()
    target = torch.softmax(torch.randn(5, *shape, generator=G).double(), -1)

    def loss(weights):
        z = methods._with_one(h) @ weights.view(k, 4).T
        return 5 * n_questions * methods.answers_cross_entropy(z, target) + 0.5 * 3.0 * weights.square().sum()

    expected = torch.autograd.functional.hessian(loss, w.flatten())
    posterior = methods.LastLayerLaplace(h, methods._with_one(h) @ w.T, shape, precision=3.0)
    torch.testing.assert_close(torch.block_diag(*(posterior.factors @ posterior.factors.mT)), expected)


def test_draws_of_the_posterior_have_its_covariance():
    h, z = torch.randn(20, 2, generator=G), torch.randn(20, 4, generator=G)
    posterior = methods.LastLayerLaplace(h, z, (2, 2), precision=1.0)
    drawn = posterior.sample(h[:1], z[:1], 200_000, G)[:, 0]
    j = torch.kron(torch.eye(4).double(), methods._with_one(h[:1].double()))
    expected = j @ torch.cholesky_inverse(torch.block_diag(*posterior.factors)) @ j.T
    torch.testing.assert_close(torch.cov(drawn.T), expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(drawn.mean(0), z[0].double(), rtol=0, atol=0.03)


def test_the_evidential_loss_is_an_expectation_under_its_dirichlet():
    out, target = torch.randn(1, 1, 3, generator=G).double(), torch.tensor([[[[1.0, 0, 0]]]]).double()
    alpha = methods.concentrations(out, (1, 3))[0, 0, 0]
    drawn = torch.from_numpy(np.random.default_rng(0).dirichlet(alpha.numpy(), 200_000))
    misleading = Dirichlet(torch.tensor([1.0, alpha[1], alpha[2]], dtype=torch.float64))
    penalty = methods.EVIDENCE_PENALTY * kl_divergence(misleading, Dirichlet(torch.ones(3, dtype=torch.float64)))
    expected = -drawn[:, 0].log().mean() + penalty
    assert methods.evidential_loss(out, target).item() == pytest.approx(expected.item(), abs=0.01)


def test_the_temperature_undoes_a_temperature():
    z = torch.randn(2, 4000, 6, generator=G)
    fitted = methods.fit_temperatures(torch.tensor([3.0, 0.5])[:, None, None] * z, methods.probabilities(z, (2, 3)))
    assert fitted.shape == (2, 1, 1, 1) and fitted.flatten().tolist() == pytest.approx([3, 0.5], rel=1e-3)


def test_mc_dropout_without_dropout_is_the_network():
    task = small_task()
    networks = train(task, small_settings(), "networks", methods.answers_cross_entropy, task.targets, members=2)
    alone, x = networks.first_members(), task.inputs["test"]
    torch.testing.assert_close(alone.outputs(x), networks.outputs(x)[:, :1])
    alone.model.dropout = 0.0
    p = methods.mc_dropout(alone, 2, (1, 4), generators([0, 1, 2]), x)
    expected = methods.probabilities(alone.outputs(x), (1, 4))
    torch.testing.assert_close(p, expected.expand_as(p), rtol=0, atol=1e-6)
    assert networks.model.dropout and len(networks.model.generators) == 6, "the others stay as they are"


def test_a_method_of_ones_own_is_measured_like_the_others():
    task = small_task()
    predictions = across.own_predictions(lambda x: np.full((3, len(x), 4), 0.25), task)
    assert predictions.probs["test"].shape == (1, 3, 60, 1, 4) and predictions.prediction > 0
    found = across.measured(task, {"mine": predictions})["mine"]
    assert found["NLL"].mean() == pytest.approx(np.log(4)) and found["NLL"].shape == (1, 15)
    assert across.own_predictions(lambda x: np.full((len(x), 4), 0.25), task).probs["test"].shape == (1, 1, 60, 1, 4)


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda x: np.full((3, len(x), 5), 0.2), r"shape \(3, 60, 5\) for 60 inputs: expected \(T, 60, 4\)"),
        (lambda x: np.full((len(x) - 1, 4), 0.25), r"shape \(1, 59, 4\)"),
        (lambda x: np.where(np.arange(len(x)) == 7, 0.3, 0.25)[None, :, None] * np.ones(4), "row 0, 7 sums to 1.2"),
        (lambda x: np.full((1, len(x), 4), np.nan), "row 0, 0"),
    ],
)
def test_what_is_no_prediction_is_refused(predict, message):
    with pytest.raises(ValueError, match=message):
        across.own_predictions(predict, small_task())
    for task in ({"shape": (3, 2)}, {"own": True}):
        with pytest.raises(ValueError, match="one question in one world"):
            across.own_predictions(predict, small_task(**task))


@pytest.mark.parametrize("own", [False, True])
def test_measures_are_those_of_each_seed(own):
    task = small_task((2, 3), own)
    predictions = across.predict_all(task, small_settings(), methods=["softmax", "deep ensemble"])
    found = across.measured(task, predictions)
    assert set(found) == set(predictions) and found["softmax"]["NLL"].shape == (3, 1 if own else 15)
    p = predictions["deep ensemble"].probs["test"][1].mean(0)
    truth = task.votes[1] if own else task.votes
    assert found["deep ensemble"]["NLL"][1].mean() == pytest.approx(float(-(truth * p.log()).sum(-1).mean()))
    assert set(found["deep ensemble"]) - set(found["softmax"]) == {"r(U_a, U_e)"}
    assert set(found["softmax"]) < set(evaluate.MEASURES)


@pytest.mark.parametrize("own", [False, True])
def test_each_question_is_a_case_of_its_own(own):
    group = torch.rand(3, 60, generator=G) < 0.3
    task = small_task((2, 3), own, groups={"rare": group if own else group[1]})
    cases = task.cases(1, "rare")
    votes = task.votes[1] if own else task.votes
    assert torch.equal(cases.target, votes.reshape(120, 3)) and torch.equal(cases.truth, cases.target)
    assert torch.equal(cases.clusters, task.clusters.repeat_interleave(2))
    assert torch.equal(cases.group, group[1].repeat_interleave(2))
    cases = dataclasses.replace(task, truth=None).cases()
    assert cases.group is None and cases.truth is None


def test_only_differences_that_hold_all_together_are_decided():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(5, 40))
    noise = 0.1 * rng.normal(size=(3, *base.shape))
    found = {
        "softmax": {"NLL": base, "accuracy": base},
        "better": {"NLL": base - 1 + noise[0], "accuracy": base},
        "noise": {"NLL": base + noise[1], "accuracy": base - 1 + noise[2]},
        "MC dropout": {"NLL": base, "accuracy": base, "r(U_a, U_e)": base},
    }
    rows, n = across.decided({"a task": found})
    assert n == 3, "equal ones and what has no direction are not compared"
    answers = [" ".join(row) for row in rows[["measure", "method", "answer"]].to_numpy()]
    assert answers == ["NLL better better", "accuracy noise worse"]
    assert rows.difference[0] == pytest.approx(-1, abs=0.1) and rows.low[0] < rows.difference[0] < rows.high[0] < 0


def predicted(**probs):
    """Predictions of one seed, each (T, N, C) by name of the inputs."""
    return methods.MethodPredictions({name: p.double()[None, :, :, None] for name, p in probs.items()}, 1.0, 1, 1.0)


def test_who_is_rejected_and_who_is_wrong_worked_by_hand():
    # ten examples of two answers, ever less certain; of all the first answer is predicted
    p = torch.linspace(0.95, 0.55, 10)
    votes = torch.tensor([[1.0, 0.0]] * 7 + [[0.0, 1.0]] * 3, dtype=torch.float64)[:, None]
    last = torch.arange(10) >= 6
    task = across.PredictionTask({}, {}, votes, torch.arange(10), groups={"last": last})
    found = comparison.rejected(task, {"softmax": predicted(test=torch.stack([p, 1 - p], -1)[None])}, coverage=0.8)
    # 2 of the group's 4 are rejected and 3 wrong, of the 6 others none
    assert found == {"softmax": {"last, rejected": [[0.5]], "last, wrong": [[0.75]]}}


def test_inputs_of_another_kind_are_told_apart_by_their_uncertainty():
    certain, doubtful = torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([[0.6, 0.4], [0.85, 0.15]])
    once = predicted(test=certain[None], other=doubtful[None])
    # samples that contradict one another: nothing but U_e and U_a
    several = predicted(test=certain.expand(2, 2, 2), other=torch.stack([certain, certain.flip(-1)]))
    found = across.shift_auroc({"once": once, "several": several}, "other")
    assert found["once"] == {"U_t": [[0.75]], "U_a": [[0.75]]}  # .6 before both, .85 before .9 alone
    assert found["several"] == {"U_t": [[1.0]], "U_a": [[0.5]], "U_e": [[1.0]]}


def test_conditions_are_compared_by_the_predictions_of_all_methods(monkeypatch):
    task, settings = small_task(groups={"first": torch.arange(60) < 20}), small_settings()
    task.inputs["other"] = task.inputs["test"] + 1
    monkeypatch.setattr(tasks, "load", lambda *_: {"small": lambda: task})
    names = ["softmax", "deep ensemble"]
    whole = across.compare_methods("made up", "small", "whole", "quick", settings, methods=names)
    for method, p in across.predict_all(task, settings, ["other"], names).items():
        for name, levels in (("test", whole["levels"]), ("other", whole["shifted"]["other"])):
            expected = np.stack(across.uncertainties(p.probs[name]))
            np.testing.assert_array_equal(levels[method], expected)
            assert expected.shape == (3, 3, 60)
    assert whole["sizes"] == [300, 80, 60, 1, 4, 15] and set(whole["shift AUROC"]) == {"other"}
    assert set(whole["ECE if calibrated"]) == set(names)
    assert set(whole["rejected"]["softmax"]) == {"first, rejected", "first, wrong"}
    growing = across.compare_methods("made up", "small", "growing", "quick", settings, methods=names)
    assert list(growing) == list(across.FRACTIONS[:-1])
    assert not np.array_equal(growing[0.01]["softmax"], growing[0.2]["softmax"])
    assert growing[0.01]["deep ensemble"].shape == (3, 3, 60)


@pytest.mark.parametrize("own", [False, True])
def test_beside_ece_stands_that_of_a_calibrated_method_with_the_same_predictions(own):
    task = small_task((2, 3), own)
    p = predict(task, "deep ensemble")
    (found,) = comparison.if_calibrated(task, {"ensemble": p}, np.random.default_rng(1)).values()
    mean = p.probs["test"].double().mean(1).flatten(1, 2).numpy()
    assert mean.shape == (3, 120, 3)
    targets = np.stack([task.cases(i).target for i in range(3)])
    assert found == pytest.approx(metrics.calibrated_reference(mean, targets, np.random.default_rng(1), n_redrawn=200))
    assert 0 < found.mean < found.high < 1


@pytest.mark.parametrize("own", [False, True])
def test_a_smaller_part_lies_within_a_larger_one(own):
    task = small_task(own=own)
    parts = [tasks.part_of(task, fraction, small_settings()) for fraction in (0.05, 0.5)]
    for seed in range(3):
        small, large = ({tuple(row) for row in part.inputs["train"][seed].tolist()} for part in parts)
        assert len(small) == 15 and len(large) == 150 and small < large
    predictions = predict(parts[0], "deep ensemble")
    assert predictions.probs["test"].shape == (3, 2, 60, 1, 4)
    assert across.measured(parts[0], {"": predictions})[""]["NLL"].shape == (3, 1 if own else 15)


def test_a_part_of_the_training_examples_keeps_who_is_seen():
    task = small_task((2, 3), person=PEOPLE)
    part = tasks.part_of(task, 0.1, small_settings())
    for seed in range(3):
        rows = [(task.inputs["train"] == x).all(1).nonzero().item() for x in part.inputs["train"][seed]]
        assert part.person["train"][seed].tolist() == task.person["train"][rows].tolist()
    assert predict(part, "PEN").probs["test"].shape == (3, 7, 60, 2, 3)


def test_components_are_those_of_training_and_have_its_scale():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(5, 200))
    known, other = (rng.normal(size=(n, 5)) @ mix + 3 for n in (150, 20))
    first, second = tasks.components(known, other)
    assert first.shape == (150, 128) and second.shape == (20, 128)
    assert first.square().mean(0).sum().item() == pytest.approx(128, rel=0.02)
    assert first[:, 5:].abs().max() < 1e-3 and second[:, 5:].abs().max() < 1e-3, "there are but five directions"


def test_an_unknown_corpus_is_refused():
    with pytest.raises(ValueError, match="CORPUS is 'bp4d': tasks across papers are made from simulated, ferplus"):
        across.load("bp4d", "quick", small_settings())
    with pytest.raises(ValueError, match="'iemocap': predictions are evaluated on simulated, ferplus and meld"):
        across.known("iemocap")


def small_world(truth=True):
    votes, images = torch.arange(60).reshape(6, 10) + 1, torch.zeros(6, 2, 2, dtype=torch.uint8)
    split, names = np.array(["train", "test", "val", "test", "test", "train"]), np.array(list("abcdef"))
    truth = {"label_distribution": torch.tensor([[0.5, 0.3, *[0.0] * 7, 0.2]] * 6)} if truth else None
    return Expressions(images, votes, split, names, torch.tensor([0, 1, 2, 3, 1, 5]), tuple("ABCDEFGHIJ"), truth=truth)


def test_of_faces_the_test_split_is_known_in_nine_classes(monkeypatch):
    monkeypatch.setattr(corpora, "load", lambda name, root, **options: small_world(name == "simulated"))
    known = across.known("simulated")
    assert known.cases.target.tolist() == small_world().votes[[1, 3, 4], :9].tolist()
    assert known.cases.clusters.tolist() == [1, 3, 1]
    assert known.cases.truth[0].tolist() == pytest.approx([0.625, 0.375, *[0] * 7])
    assert known.classes == tuple("ABCDEFGHI")
    known = across.known("ferplus")
    assert known.cases.truth is None
    assert known.cases_of((3, 9)) is known.cases_of((7, 3, 9)) is known.cases
    for shape in ((4, 9), (2, 3, 8), (9,)):
        with pytest.raises(ValueError, match=r"expected \(T, 3, 9\) or \(3, 9\)\. The rows are the images of the test"):
            known.cases_of(shape)


def test_of_dialogues_the_turns_with_one_of_the_emotions_are_known(monkeypatch):
    seconds, words = torch.arange(5.0), np.array(list("vwxyz"))
    emotion, split = torch.tensor([0, 3, -1, 1, 2]), np.array(["train", "test", "test", "val", "test"])
    dialogue = np.array(["d1", "d2", "d2", "d3", "d4"])
    corpus = Dialogues(words, words, dialogue, seconds, seconds, {"emotion": emotion}, {}, split)
    monkeypatch.setattr(corpora, "load", lambda *_: corpus)
    known = across.known("meld")
    assert known.cases.target.tolist() == [3, 2]
    assert known.cases.clusters.tolist() == ["d2", "d4"]
    assert known.classes == ("angry", "happy", "neutral", "sad")
