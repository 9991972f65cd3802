import dataclasses

import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence
from tqdm.auto import tqdm

from uncertain_affect import corpora
from uncertain_affect.corpora.base import Dialogues, Expressions
from uncertain_affect.evidence import evaluate
from uncertain_affect.papers.across import methods as across
from uncertain_affect.papers.across import tasks as across_tasks
from uncertain_affect.training import fit as training

G = torch.Generator().manual_seed(0)
SIZES = {"train": 300, "val": 80, "test": 60}
TWICE = {"softmax": 1, "temperature scaling": 1, "MC dropout": 7, "Laplace": 7, "deep ensemble": 2, "student 1": 1,
         "students 1": 2, "student 2": 1, "students 2": 2, "evidential": 7}  # fmt: skip


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))


def small_task(shape=(1, 4), own=False, **options):
    x = {split: torch.randn(*([3] if own else []), n, 6, generator=G) for split, n in SIZES.items()}
    weight = 2 * torch.randn(6, shape[0] * shape[1], generator=G)
    p = {split: across.chances(of @ weight, shape).float() for split, of in x.items()}
    clusters = torch.zeros(60, dtype=torch.int64) if own else torch.arange(60) // 4
    return across.Task("small", "made up", x, p, p["test"].double(), clusters, p["test"].double(), **options)


def small_settings(**options):
    how = {"members": 2, "generations": 2, "n_samples": 7, "rates": (1e-3, 1e-2), "max_epochs": 4} | options
    return across.Settings((0, 1, 2), **how)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shape", [(1, 4), (3, 2), (2, 3)])
def test_every_method_says_something_of_every_input(shape, own):
    task, settings = small_task(shape, own), small_settings()
    said = across.say(task, settings)
    assert {method: of.probs["test"].shape[1] for method, of in said.items()} == TWICE
    for method, of in said.items():
        p = of.probs["test"]
        assert p.shape[0] == 3 and p.shape[2:] == (60, *shape) and (p.sum(-1) - 1).abs().max() < 1e-9, method
        assert not torch.equal(p[0], p[1]), "seeds differ"
        assert of.training > 0 and of.prediction > 0
    assert said["students 2"].networks == 6 and said["student 2"].networks == 5
    again = across.say(task, settings, methods=["students 1", "evidential"])
    assert set(again) == {"students 1", "evidential"}
    for method, of in again.items():
        assert torch.equal(of.probs["test"], said[method].probs["test"]), method


def test_a_seed_says_the_same_alone_and_among_others():
    task = small_task()
    said = across.say(task, small_settings(), methods=["deep ensemble"])["deep ensemble"]
    alone = across.say(
        task, across.Settings((0,), members=2, rates=(1e-3, 1e-2), max_epochs=4), methods=["deep ensemble"]
    )
    # all copies rest together, so what is the same is what so few epochs leave
    torch.testing.assert_close(alone["deep ensemble"].probs["test"][0], said.probs["test"][0], rtol=0, atol=1e-5)


def test_graphs_and_experts_say_something_too():
    task = small_task((3, 2), units=True)
    task.targets.update(
        {split: torch.nn.functional.one_hot(y.argmax(-1), 2).float() for split, y in task.targets.items()}
    )
    said = across.say(task, small_settings(), methods=["UGN"])["UGN"].probs["test"]
    assert said.shape == (3, 7, 60, 3, 2) and (said.sum(-1) - 1).abs().max() < 1e-6

    person = {"train": torch.arange(300) % 4, "val": torch.arange(80) % 4}
    said = across.say(small_task((2, 3), person=person), small_settings(), methods=["PEN"])["PEN"].probs["test"]
    assert said.shape == (3, 7, 60, 2, 3) and (said.sum(-1) - 1).abs().max() < 1e-6


def test_methods_that_do_not_fit_are_not_asked():
    assert not across.say(small_task(), small_settings(), methods=["UGN", "PEN"])


def test_an_expert_is_asked_as_often_as_its_gate_weighs():
    gate = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    experts = torch.eye(3)[None, :, None].expand(2, 3, 1, 3)  # each is sure of its own answer
    said = across.of_experts(gate, experts, 4)
    assert said.shape == (4, 2, 1, 3)
    torch.testing.assert_close(said.mean(0)[:, 0], gate)
    assert across.of_experts(torch.tensor([[0.1] * 9 + [0.0999999]]), torch.ones(1, 10, 1, 2), 50).shape == (
        50,
        1,
        1,
        2,
    )


def test_the_loss_of_a_mixture_is_that_of_its_three_parts():
    said = across.PersonalizedExpertNetwork(4, 3, across.generators([0]), 4)(torch.randn(5, 4, generator=G))
    person, answers = torch.tensor([0, 1, 2, 2, 0]), torch.softmax(torch.randn(5, 2, 2, generator=G), -1)
    target = torch.cat([answers.flatten(1), person[:, None].float()], 1)[None, :, None]
    expected = 0.0
    for i in range(5):
        log_p = torch.log_softmax(said.experts[0, i].unflatten(-1, (2, 2)), -1)
        own = -(answers[i] * log_p[person[i]]).sum(-1).mean()
        gate = -torch.log_softmax(said.logits[0, i], -1)[person[i]]
        mixed = torch.einsum("k,kac->ac", said.gate[0, i], log_p.exp()).log()
        expected += (own + gate - (answers[i] * mixed).sum(-1).mean()) / 5
    torch.testing.assert_close(across.mixture_loss((2, 2))(said, target)[0], expected)


@pytest.mark.parametrize("shape", [(1, 3), (2, 2)])
def test_the_posterior_has_the_curvature_of_the_loss(shape):
    n_questions, n_answers = shape
    k = n_questions * n_answers
    h, w = torch.randn(5, 3, generator=G).double(), torch.randn(k, 4, generator=G).double()
    target = torch.softmax(torch.randn(5, *shape, generator=G).double(), -1)

    def loss(weights):
        z = across._with_one(h) @ weights.view(k, 4).T
        return 5 * n_questions * across.answers_cross_entropy(z, target) + 0.5 * 3.0 * weights.square().sum()

    expected = torch.autograd.functional.hessian(loss, w.flatten())
    posterior = across.LastLayerLaplace(h, across._with_one(h) @ w.T, shape, precision=3.0)
    torch.testing.assert_close(torch.block_diag(*(posterior.factors @ posterior.factors.mT)), expected)


def test_draws_of_the_posterior_have_its_covariance():
    h, z = torch.randn(20, 2, generator=G), torch.randn(20, 4, generator=G)
    posterior = across.LastLayerLaplace(h, z, (2, 2), precision=1.0)
    drawn = posterior.sample(h[:1], z[:1], 200_000, G)[:, 0]
    j = torch.kron(torch.eye(4).double(), across._with_one(h[:1].double()))
    expected = j @ torch.cholesky_inverse(torch.block_diag(*posterior.factors)) @ j.T
    torch.testing.assert_close(torch.cov(drawn.T), expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(drawn.mean(0), z[0].double(), rtol=0, atol=0.03)


def test_the_evidential_loss_is_an_expectation_under_its_dirichlet():
    out, target = torch.randn(1, 1, 3, generator=G).double(), torch.tensor([[[[1.0, 0, 0]]]]).double()
    alpha = across.concentrations(out, (1, 3))[0, 0, 0]
    drawn = torch.from_numpy(np.random.default_rng(0).dirichlet(alpha.numpy(), 200_000))
    misleading = Dirichlet(torch.tensor([1.0, alpha[1], alpha[2]], dtype=torch.float64))
    penalty = across.EVIDENCE_PENALTY * kl_divergence(misleading, Dirichlet(torch.ones(3, dtype=torch.float64)))
    expected = -drawn[:, 0].log().mean() + penalty
    assert across.evidential_loss(out, target).item() == pytest.approx(expected.item(), abs=0.01)


def test_the_temperature_undoes_a_temperature():
    z = torch.randn(4000, 6, generator=G)
    assert across.fit_temperature(3 * z, across.chances(z, (2, 3))) == pytest.approx(3, rel=1e-3)


def test_mc_dropout_without_dropout_is_the_network():
    task, settings = small_task(), small_settings()
    networks = across.train(task, settings, "networks", across.answers_cross_entropy, task.targets, members=2)
    alone, x = across.first(networks), task.inputs["test"]
    torch.testing.assert_close(across.outputs(alone, x), across.outputs(networks, x)[:, :1])
    alone.model.dropout = 0.0
    p = across.mc_dropout(alone, x, 2, (1, 4), across.generators([0, 1, 2]))
    expected = across.chances(across.outputs(alone, x), (1, 4))
    torch.testing.assert_close(p, expected.expand_as(p), rtol=0, atol=1e-6)
    last = torch.baddbmm(alone.model.biases[2], across.hidden(alone, x), alone.model.weights[2])
    torch.testing.assert_close(last, across.outputs(alone, x)[:, 0])
    assert networks.model.dropout and len(networks.model.generators) == 6, "the others stay as they are"


@pytest.mark.parametrize("own", [False, True])
def test_measures_are_those_of_each_seed(own):
    task = small_task((2, 3), own)
    said = across.say(task, small_settings(), methods=["softmax", "deep ensemble"])
    found = across.measured(task, said)
    assert set(found) == set(said) and found["softmax"]["NLL"].shape == (3, 1 if own else 15)
    p = said["deep ensemble"].probs["test"][1].mean(0)
    truth = task.votes[1] if own else task.votes
    assert found["deep ensemble"]["NLL"][1].mean() == pytest.approx(float(-(truth * p.log()).sum(-1).mean()))
    assert set(found["deep ensemble"]) - set(found["softmax"]) == {"r(U_a, U_e)"}
    assert set(found["softmax"]) < set(evaluate.MEASURES)


@pytest.mark.parametrize("own", [False, True])
def test_a_smaller_part_lies_within_a_larger_one(own):
    task, settings = small_task(own=own), small_settings()
    parts = [across_tasks.part_of(task, fraction, settings) for fraction in (0.05, 0.5)]
    for seed in range(3):
        small, large = ({tuple(row) for row in part.inputs["train"][seed].tolist()} for part in parts)
        assert len(small) == 15 and len(large) == 150 and small < large
    said = across.say(parts[0], settings, methods=["deep ensemble"])["deep ensemble"]
    assert said.probs["test"].shape == (3, 2, 60, 1, 4)
    assert across.measured(parts[0], {"x": said})["x"]["NLL"].shape == (3, 1 if own else 15)


def test_a_part_of_the_training_examples_keeps_who_is_seen():
    task = small_task((2, 3), person={"train": torch.arange(300) % 4, "val": torch.arange(80) % 4})
    part = across_tasks.part_of(task, 0.1, small_settings())
    for seed in range(3):
        rows = [(task.inputs["train"] == x).all(1).nonzero().item() for x in part.inputs["train"][seed]]
        assert part.person["train"][seed].tolist() == task.person["train"][rows].tolist()
    said = across.say(part, small_settings(), methods=["PEN"])["PEN"].probs["test"]
    assert said.shape == (3, 7, 60, 2, 3)


def test_components_are_those_of_training_and_have_its_scale():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(5, 200))
    known, other = (rng.normal(size=(n, 5)) @ mix + 3 for n in (150, 20))
    first, second = across_tasks.components(known, other)
    assert first.shape == (150, 128) and second.shape == (20, 128)
    assert first.square().mean(0).sum().item() == pytest.approx(128, rel=0.02)
    assert first[:, 5:].abs().max() < 1e-3 and second[:, 5:].abs().max() < 1e-3, "there are but five directions"


def test_an_unknown_corpus_is_refused():
    with pytest.raises(ValueError, match="CORPUS is 'bp4d': tasks across papers are made from simulated, ferplus"):
        across_tasks.load("bp4d", "quick", small_settings())


def test_a_method_of_ones_own_is_asked_like_the_others():
    task = small_task()
    said = across.asked(lambda x: np.full((3, len(x), 4), 0.25), task)
    assert said.probs["test"].shape == (1, 3, 60, 1, 4) and said.prediction > 0
    found = across.measured(task, {"mine": said})["mine"]
    assert found["NLL"].mean() == pytest.approx(np.log(4)) and found["NLL"].shape == (1, 15)
    assert across.asked(lambda x: np.full((len(x), 4), 0.25), task).probs["test"].shape == (1, 1, 60, 1, 4)


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
        across.asked(predict, small_task())


@pytest.mark.parametrize("task", [{"shape": (3, 2)}, {"own": True}])
def test_ones_own_method_is_asked_one_question_in_one_world(task):
    with pytest.raises(ValueError, match="one question in one world"):
        across.asked(lambda x: x, small_task(**task))


def test_only_differences_that_hold_all_together_are_decided():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(5, 40))
    methods = {
        "softmax": {"NLL": base, "accuracy": base},
        "better": {"NLL": base - 1 + 0.1 * rng.normal(size=base.shape), "accuracy": base},
        "noise": {
            "NLL": base + 0.1 * rng.normal(size=base.shape),
            "accuracy": base - 1 + 0.1 * rng.normal(size=base.shape),
        },
        "MC dropout": {"NLL": base, "accuracy": base, "r(U_a, U_e)": base},
    }
    rows, n = across.decided({"a task": methods})
    assert n == 3, "equal ones and what has no direction are not compared"
    assert [tuple(row) for row in rows[["measure", "method", "verdict"]].to_numpy()] == [
        ("NLL", "better", "better"),
        ("accuracy", "noise", "worse"),
    ]
    assert rows.difference[0] == pytest.approx(-1, abs=0.1) and rows.low[0] < rows.difference[0] < rows.high[0] < 0


# --- predictions made elsewhere -------------------------------------------------------------------------------


def corpus_of(monkeypatch, corpus):
    monkeypatch.setattr(corpora, "load", lambda name, root, **options: corpus)


def small_world(truth=True):
    votes = torch.arange(60).reshape(6, 10) + 1
    p = torch.tensor([[0.5, 0.3, *[0.0] * 7, 0.2]] * 6)
    return Expressions(
        torch.zeros(6, 2, 2, dtype=torch.uint8),
        votes,
        np.array(["train", "test", "val", "test", "test", "train"]),
        np.array(list("abcdef")),
        torch.tensor([0, 1, 2, 3, 1, 5]),
        tuple("ABCDEFGHIJ"),
        truth={"label_distribution": p} if truth else None,
    )


def test_of_faces_the_test_split_is_known_in_nine_classes(monkeypatch):
    corpus_of(monkeypatch, small_world())
    known = across_tasks.known("simulated")
    assert known.cases.target.tolist() == small_world().votes[[1, 3, 4], :9].tolist()
    assert known.cases.clusters.tolist() == [1, 3, 1]
    assert known.cases.truth[0].tolist() == pytest.approx([0.625, 0.375, *[0] * 7])
    assert known.classes == tuple("ABCDEFGHI")
    corpus_of(monkeypatch, small_world(truth=False))
    assert across_tasks.known("ferplus").cases.truth is None


def test_of_dialogues_the_turns_with_one_of_the_emotions_are_known(monkeypatch):
    split = ["train", "test", "test", "val", "test"]
    seconds, words = torch.arange(5.0), np.array(list("vwxyz"))
    emotion = torch.tensor([0, 3, -1, 1, 2])
    dialogue = np.array(["d1", "d2", "d2", "d3", "d4"])
    corpus = Dialogues(words, words, dialogue, seconds, seconds, {"emotion": emotion}, {}, np.array(split))
    corpus_of(monkeypatch, corpus)
    known = across_tasks.known("meld")
    assert known.cases.target.tolist() == [3, 2]
    assert known.cases.clusters.tolist() == ["d2", "d4"]
    assert known.classes == ("angry", "happy", "neutral", "sad")


def test_predictions_of_other_examples_or_classes_are_told_which_there_are(monkeypatch):
    corpus_of(monkeypatch, small_world())
    known = across_tasks.known("ferplus")
    assert known.cases_of((3, 9)) is known.cases_of((7, 3, 9)) is known.cases
    for shape in ((4, 9), (2, 3, 8), (9,)):
        with pytest.raises(ValueError, match=r"expected \(T, 3, 9\) or \(3, 9\)\. The rows are the images of the test"):
            known.cases_of(shape)
    with pytest.raises(ValueError, match="'iemocap': predictions are evaluated on simulated, ferplus and meld"):
        across_tasks.known("iemocap")


def test_an_epoch_passes_several_times_over_a_small_training_set():
    task = small_task()
    twice = dataclasses.replace(
        task,
        inputs=task.inputs | {"train": task.inputs["train"].repeat(2, 1)},
        targets=task.targets | {"train": task.targets["train"].repeat(2, 1, 1)},
    )
    once = [across.say(of, small_settings(least=n), methods=["deep ensemble"]) for of, n in ((task, 301), (twice, 0))]
    first, second = (of["deep ensemble"].probs["test"] for of in once)
    assert torch.equal(first, second)
    assert not torch.equal(first, across.say(task, small_settings(least=0))["deep ensemble"].probs["test"])


def test_who_is_rejected_and_who_is_wrong_worked_by_hand():
    # ten examples of two answers, ever less certain; all are said to be of the first answer
    p = torch.linspace(0.95, 0.55, 10, dtype=torch.float64)
    probs = torch.stack([p, 1 - p], -1)[None, None, :, None]
    votes = torch.tensor([[1.0, 0.0]] * 7 + [[0.0, 1.0]] * 3, dtype=torch.float64)[:, None]
    last = torch.arange(10) >= 6
    task = across.Task("t", "made up", {}, {}, votes, torch.arange(10), groups={"last": last})
    found = across.rejected(task, {"softmax": across.Said({"test": probs}, 1.0, 1, 1.0)}, coverage=0.8)
    # 2 of the group's 4 are rejected and 3 wrong, of the 6 others none
    assert found == {"softmax": {"last, rejected": [[0.5]], "last, wrong": [[0.75]]}}


def test_inputs_of_another_kind_are_told_apart_by_their_uncertainty():
    certain = torch.tensor([[0.9, 0.1], [0.8, 0.2]], dtype=torch.float64)
    doubtful = torch.tensor([[0.6, 0.4], [0.85, 0.15]], dtype=torch.float64)
    apart = torch.stack([certain, certain.flip(-1)])  # samples that contradict one another: nothing but U_e and U_a

    def of(part):
        return part[None, None, :, None]

    once = across.Said({"test": of(certain), "other": of(doubtful)}, 1.0, 1, 1.0)
    several = across.Said({"test": of(certain).expand(1, 2, 2, 1, 2), "other": apart[None, :, :, None]}, 1.0, 1, 1.0)
    found = across.told_apart({"once": once, "several": several}, "other")
    assert found["once"] == {"U_t": [[0.75]], "U_a": [[0.75]]}  # .6 before both, .85 before .9 alone
    assert found["several"] == {"U_t": [[1.0]], "U_a": [[0.5]], "U_e": [[1.0]]}


def test_questions_are_answered_by_what_the_methods_say(monkeypatch):
    task, settings = small_task(groups={"first": torch.arange(60) < 20}), small_settings()
    task.inputs["other"] = task.inputs["test"] + 1
    monkeypatch.setattr(across_tasks, "load", lambda *_: {"small": lambda: task})
    methods = ["softmax", "deep ensemble"]
    whole = across_tasks.ask("made up", "small", "whole", "quick", settings, methods=methods)
    said = across.say(task, settings, ["other"], methods)
    for method, of in said.items():
        for name, levels in (("test", whole["levels"]), ("other", whole["shifted"]["other"])):
            expected = np.stack(across.uncertainties(of.probs[name]))
            np.testing.assert_array_equal(levels[method], expected)
            assert expected.shape == (3, 3, 60)
    assert whole["sizes"] == [300, 80, 60, 1, 4, 15]
    assert set(whole["told apart"]) == {"other"} and set(whole["rejected"]["softmax"]) == {
        "first, rejected",
        "first, wrong",
    }
    growing = across_tasks.ask("made up", "small", "growing", "quick", settings, methods=methods)
    assert list(growing) == list(across_tasks.FRACTIONS[:-1])
    assert not np.array_equal(growing[0.01]["softmax"], growing[0.2]["softmax"])
    assert growing[0.01]["deep ensemble"].shape == (3, 3, 60)


def test_none_of_many_trainings_has_a_bar_of_its_own(monkeypatch):
    """Under nbval the messages of hundreds of bars would drown the news that the cell has ended."""
    bars = []

    def bar(*_, disable, **__):
        bars.append(disable)
        return tqdm(disable=True)

    monkeypatch.setattr(training, "tqdm", bar)
    across.say(small_task(), small_settings(), methods=["deep ensemble", "evidential"])
    assert bars and set(bars) == {True}


def test_graphs_are_trained_as_long_as_all_others(monkeypatch):
    trained = []
    monkeypatch.setattr(across.ugn, "train_branches", lambda fold, how, device: trained.append(how))
    monkeypatch.setattr(across.ugn, "train_graphs", lambda fold, branches, how, *_: trained.append(how))
    with pytest.raises(AttributeError):  # no seconds
        across._graphs(small_task((3, 2), units=True), small_settings(max_epochs=7, patience=2), "cpu")
    assert [(how.max_epochs, how.patience, how.seeds, how.n_samples) for how in trained] == [(7, 2, (0, 1, 2), 7)] * 2
