import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from uncertain_affect import metrics
from uncertain_affect.corpora.base import Expressions
from uncertain_affect.evidence import store
from uncertain_affect.metrics import entropy_decomposition
from uncertain_affect.metrics.sums import moment_sums, pearson_from_sums, ratio, ratio_sums
from uncertain_affect.papers import uncnet, uncnet_evidence
from uncertain_affect.papers.predictions import Predictions
from uncertain_affect.papers.uncnet_evidence import CONSTANT, LOGISTIC, MEASURES

FEW = {"seeds": (0, 1), "rates": (1e-2, 1e-3), "max_epochs": 4, "patience": 4}
SMALL = dataclasses.replace(uncnet.settings("quick"), lr_factor=100, batch_size=20, n_samples=10, **FEW)


def world(seed):
    """Ninety images whose votes follow their features, and the features (N, 5)."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(90, 5, generator=g)
    p = torch.softmax(2 * x @ torch.randn(5, 9, generator=g), -1)
    votes = torch.zeros(90, 10, dtype=torch.int64)
    votes.scatter_add_(1, torch.multinomial(p, 10, True, generator=g), torch.ones(90, 10, dtype=torch.int64))
    groups = torch.arange(90)
    groups[71] = groups[70]  # of two test images, and of one that is in training too
    groups[72] = groups[0]
    names = np.array([f"{seed}_{i:02}" for i in range(90)])
    split = np.repeat(["train", "val", "test"], [50, 20, 20])
    classes = (*(f"class {i}" for i in range(9)), "NF")
    images, truth = torch.zeros(90, 2, 2, dtype=torch.uint8), {"quality": x[:, 0]}
    return Expressions(images, votes, split, names, groups, classes, truth=truth), x.numpy()


@pytest.fixture(params=[1, 2], ids=["one world", "a world a seed"])
def made(request, empty_cache, monkeypatch):
    worlds, features = zip(*(world(seed) for seed in range(request.param)), strict=True)
    monkeypatch.setattr(uncnet, "settings", lambda *args: SMALL)
    monkeypatch.setattr(uncnet, "load", lambda *args, **options: list(worlds))
    monkeypatch.setattr(uncnet, "features", lambda *args: list(features))
    return uncnet_evidence.experiment("ferplus", "quick", 0, "hog", None, "cpu")


def test_what_is_read_is_what_was_measured(made):
    arms = dict.fromkeys(made.arms, tuple(MEASURES))
    tested = uncnet_evidence.Tested.read(store.rounded(made.evidence(arms)), 2)
    votes = made.test.votes
    assert np.array_equal(tested.votes, votes) and tested.n_worlds == len(made.worlds)
    np.testing.assert_allclose(tested.disagreement, [metrics.annotator_disagreement(v.double()) for v in votes])
    for arm, predictions in made.arms.items():
        probs = predictions.probs.expand(2, -1, -1)
        sums = [metrics.calibration_sums(p, v) for p, v in zip(probs, votes, strict=True)]
        brier = [metrics.brier_decomposition(p, v).score for p, v in zip(probs, votes, strict=True)]
        js = [metrics.jensen_shannon_distance(p, v / 10) for p, v in zip(probs, votes, strict=True)]
        of = tested.arms[arm]
        for ours, expected in [
            (tested.calibration_sums(arm), np.stack(sums)),
            (tested.brier(arm), np.stack(brier)),
            (of["JSD"], np.stack(js)),
            (of["U_t"], predictions.total.expand(2, -1)),
            (of["entropy"], predictions.total.expand(2, -1)),
        ]:
            np.testing.assert_allclose(ours, expected, atol=2e-4)
        assert np.array_equal(tested.correct(arm), probs.argmax(-1) == votes.argmax(-1))


def test_effects_are_over_seeds_and_groups_of_identical_images(made):
    tested = uncnet_evidence.Tested.read(store.rounded(made.evidence({"UncNet": ("predicted",)})), 2)
    correct = tested.correct("UncNet")
    effect = tested.effect(ratio_sums(correct), ratio)
    assert effect.estimate == pytest.approx(correct.mean())
    one = len(made.worlds) == 1
    assert (effect.n_seeds, effect.n_clusters) == (2, 19 if one else 1)
    assert tested.describe().splitlines()[0] == (
        f"all: 20 test images a world in {19 if one else 1} clusters, {len(made.worlds)} world(s)"
    )
    if one:
        unseen = np.arange(20) != 2
        without = tested.effect(ratio_sums(correct), ratio, "deduplicated")
        assert without.estimate == pytest.approx(correct[:, unseen].mean())


def test_a_dead_network_is_named_and_a_correlation_with_it_is_none(made):
    dead = made.arms["UncNet"].probs.clone()
    dead[1] = dead[1, :1]
    arms = made.arms | {"UncNet": Predictions.from_samples(dead[None], entropy_decomposition)}
    learnt = made._replace(arms=arms).learnt()
    assert learnt["which dead"].to_dict() == dict.fromkeys(arms, "") | {"UncNet": "1"}
    assert learnt.loc["UncNet", "dead"] == 0.5 and "which dead" not in made.learnt()
    kept = store.rounded(made._replace(arms=arms).evidence({"UncNet": ("U_a", "U_e")}))
    tested = uncnet_evidence.Tested.read(kept, 2)
    u, d = tested.arms["UncNet"]["U_a"], tested.disagreement
    assert tested.dead.tolist() == [False, True]
    alone = np.corrcoef(u[0], d[0])[0, 1]
    assert tested.effect(moment_sums(u, d), pearson_from_sums).estimate == pytest.approx(alone / 2)
    if len(made.worlds) == 1:  # where no network is dead, it is an error as ever
        with pytest.raises(ValueError, match="seed 1, cluster 0 is not finite"):
            dataclasses.replace(tested, dead=np.zeros(2, bool)).effect(moment_sums(u, d), pearson_from_sums)


def test_what_a_run_says_of_itself(made):
    about = made.about()
    assert about["seeds"] == (0, 1) and about["settings"]["max_epochs"] == 4
    assert about["keys"] == [f"{seed}_{i}" for seed in range(len(made.worlds)) for i in range(70, 90)]
    assert about["corpus_checksum"] == "+".join(w.checksum()[:16] for w in made.worlds)
    learnt = made.learnt()
    assert list(learnt.index) == ["UncNet", "Baseline", *uncnet.ARMS[2:], CONSTANT, LOGISTIC]
    assert learnt.loc[[CONSTANT], ["AUROC", "dead"]].to_numpy().tolist() == [[0.5, 1.0]]
    assert learnt["last epoch"].notna().tolist() == [True] * 5 + [False] * 2
    printed = made._replace(settings=dataclasses.replace(SMALL, as_printed=True)).learnt()  # epochs that nobody chose
    assert printed["last epoch"].notna().tolist() == [False] * 3 + [True] * 2 + [False] * 2


def test_constant_and_logistic_regression_are_those_of_each_world(made):
    rates = [w.votes[w.split == "train"][:, :9].double().mean(0) / 10 for w in made.worlds]
    for rate, probs in zip(rates, made.arms[CONSTANT].probs, strict=True):
        torch.testing.assert_close(probs, rate.expand(20, -1), rtol=0, atol=1e-6)
    alone = [
        uncnet_evidence.logistic_regression(uncnet_evidence.inputs([w], [x], "hog")) for w, x in map(world, (0, 1))
    ]
    torch.testing.assert_close(made.arms[LOGISTIC].probs, torch.cat(alone)[: len(made.worlds)])


def test_logistic_regression_is_that_of_scikit_learn_and_its_penalty_is_chosen_on_validation(empty_cache, monkeypatch):
    corpus, x = world(0)
    data = uncnet_evidence.inputs([corpus], [x], "hog")
    label = data.targets["train"].argmax(-1)
    hard = data._replace(targets=data.targets | {"train": torch.nn.functional.one_hot(label, 9).float()})
    loss = {}
    for penalty in (0.003, 0.03):
        monkeypatch.setattr(uncnet_evidence, "PENALTIES", (penalty,))
        probs = uncnet_evidence.logistic_regression(hard)[0]
        theirs = LogisticRegression(C=1 / (penalty * 50), max_iter=1000).fit(hard.features["train"], label)
        standard = hard.features["train"]  # has mean 0 and standard deviation 1 already
        torch.testing.assert_close(standard.std(0), torch.ones(5))
        expected = np.zeros((20, 9))
        expected[:, theirs.classes_] = theirs.predict_proba(hard.features["test"])
        assert np.abs(probs.numpy() - expected).max() < 0.02 and probs[:, theirs.classes_].sum(1).min() > 0.97
        expected = np.zeros((20, 9))
        expected[:, theirs.classes_] = theirs.predict_proba(hard.features["val"])
        loss[penalty] = -(hard.targets["val"].numpy() * np.log(np.maximum(expected, 1e-3))).sum(), probs
    monkeypatch.setattr(uncnet_evidence, "PENALTIES", (0.003, 0.03))
    chosen = uncnet_evidence.logistic_regression(hard)[0]
    torch.testing.assert_close(chosen, min(loss.values(), key=lambda one: one[0])[1], rtol=0, atol=2e-3)


def test_what_an_arm_has_learnt():
    # two seeds of 100 images: the first is right in 60 and names both classes, the second always names class 0
    labels = torch.arange(100) % 2
    votes = torch.nn.functional.one_hot(labels, 2).expand(2, -1, -1)
    guess = torch.where(torch.arange(100) < 60, labels, 1 - labels)
    probs = torch.stack([0.2 + 0.6 * torch.nn.functional.one_hot(guess, 2), torch.tensor([0.7, 0.3]).expand(100, 2)])
    arms = {"ours": probs, CONSTANT: torch.full((1, 100, 2), 0.5), LOGISTIC: votes[:1].double()}
    table = uncnet_evidence.what_is_learnt(arms, votes, {"ours": [7, 3]}, max_epochs=7)
    *measured, which = table.loc["ours"]
    assert measured == pytest.approx([0.55, 0.55, 0.5, 0.5]) and which == "1"
    assert table.loc[LOGISTIC, ["accuracy", "AUROC"]].tolist() == [1, 1]
    arm = uncnet_evidence.learnt(table, "ours", "AUROC")
    assert dataclasses.astuple(arm) == ("AUROC", pytest.approx(0.55), 0.5, 1.0, 0.5, 0.5)
    assert uncnet_evidence.learnt(table, "ours").metric == "accuracy"
