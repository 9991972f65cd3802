import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from uncertain_affect.compute.cache import content_key
from uncertain_affect.corpora.base import ActionUnits, Expressions
from uncertain_affect.evidence import store
from uncertain_affect.evidence.resampling import pseudo_values
from uncertain_affect.losses import action_unit_cross_entropy, occurrence_weights
from uncertain_affect.metrics import bernoulli_entropy_decomposition
from uncertain_affect.models.backbones import ResNet
from uncertain_affect.models.ugn import ActionUnitBranches, Prediction
from uncertain_affect.papers import ugn, ugn_evidence
from uncertain_affect.papers.predictions import Predictions
from uncertain_affect.papers.ugn import CONSTANT, GRAPHS, METHODS
from uncertain_affect.training.finetune import FineTuned, FineTuningSettings
from uncertain_affect.training.fit import History, generators

UNITS = ("AU1", "AU2", "AU4")
TRUNK = FineTuningSettings(width=4, lr=1e-2, epochs=6, batch_size=16)
SMALL = ugn.UgnSettings(
    (0, 1), TRUNK, TRUNK, branch_width=6, lr_branches=0.01, lr=0.005, max_epochs=3, patience=9, batch_branches=16,
    n_samples=4, n_training_samples=3, least_frames=0,
)  # fmt: skip
ONE_EPOCH = dataclasses.replace(SMALL, max_epochs=1)


def made_up(n_subjects=6, frames=16, first_fold=1) -> ActionUnits:
    """Subjects in three folds. A unit is a bright band at its own height; one label in ten is unknown."""
    g = torch.Generator().manual_seed(0)
    subject = torch.arange(n_subjects).repeat_interleave(frames)
    occurs = torch.rand(len(subject), 3, generator=g) < torch.tensor([0.5, 0.4, 0.3])
    images = torch.randint(0, 60, (len(subject), 16, 16), generator=g, dtype=torch.uint8)
    for unit, top in enumerate((1, 6, 11)):
        images[:, top : top + 4] += (150 * occurs[:, unit, None, None]).to(torch.uint8)
    unknown = torch.rand(occurs.shape, generator=g) < 0.1
    labels, names = torch.where(unknown, -1, occurs.to(torch.int8)), np.array([f"S{i:03}" for i in subject])
    return ActionUnits(images, labels, UNITS, names, subject % 3 + first_fold)


def faces(n=48) -> Expressions:
    """Ten annotators each. Faces 0 and 1, 2 and 3, ... are one group, as duplicates are: also across splits."""
    g = torch.Generator().manual_seed(0)
    shares = torch.rand(n, 10, generator=g) ** 2
    chosen = torch.multinomial(shares, 10, replacement=True, generator=g)
    images = torch.randint(0, 256, (n, 16, 16), generator=g, dtype=torch.uint8)
    votes, names = torch.nn.functional.one_hot(chosen, 10).sum(1), np.array([f"fer{i:07}.png" for i in range(n)])
    split = np.array(["train", "train", "train", "val", "test"] * n)[:n]
    classes = tuple("neutral happiness surprise sadness anger disgust fear contempt unknown NF".split())
    return Expressions(images, votes, split, names, torch.arange(n) // 2, classes)


@pytest.fixture(scope="module")
def data():
    return made_up()


@pytest.fixture(scope="module")
def fold(data):
    return ugn.prepare(data, ugn.splits(data)[0], SMALL)


@pytest.fixture(scope="module")
def branches(fold):
    return ugn.train_branches(fold, SMALL)


@pytest.fixture(scope="module")
def tested(data):
    return ugn.test(data, SMALL, (*METHODS, CONSTANT))


@pytest.fixture(scope="module")
def graphs(fold, branches):
    return ugn.train_graphs(fold, branches, SMALL, (*GRAPHS, CONSTANT))


def agree(ours: Predictions, theirs: Predictions, atol=0.0):
    for name, value in vars(ours).items():
        assert (value - getattr(theirs, name)).abs().max() <= atol, name


# --- settings, frames and folds -----------------------------------------------------------------------------------


def test_full_is_the_protocol_of_the_paper_and_quick_has_five_seeds():
    full, quick = ugn.settings("full"), ugn.settings("quick", seed=7)
    assert full.seeds == tuple(range(20)) and quick.seeds == (7, 8, 9, 10, 11)
    assert (full.trunk.depth, full.trunk.width, full.trunk.crop) == (18, 64, 224 / 256)
    assert (full.branch_width, full.lr, full.batch_size) == (512, 0.01, 16)
    assert (quick.lr, quick.batch_size) == (0.01, 16)
    with pytest.raises(ValueError, match='PROFILE must be "quick" or "full", not \'fast\''):
        ugn.settings("fast")


def test_a_corpus_is_loaded_by_name(data, monkeypatch):
    calls = []

    def load(*args, **options):
        calls.append((*args, options))
        return faces() if args[0] == "ferplus" else data

    monkeypatch.setattr(ugn.corpora, "load", load)
    assert list(ugn.load("simulated", "full", seed=3)) == ["bp4d", "disfa"]
    assert calls == [("simulated", {"view": view, "size": "full", "seed": 3}) for view in ("bp4d", "disfa")]
    calls.clear()
    assert len(ugn.load("ferplus", "quick", root="somewhere")["ferplus"].au_names) == 8
    for corpus, profile in (("licensed", "quick"), ("bp4d", "quick"), ("disfa", "full")):
        assert ugn.load(corpus, profile, root="somewhere") == {corpus: data}
    read = {"ferplus": {}, "licensed": {}, "bp4d": {"size": 64, "colour": False, "every": 20}, "disfa": {"size": 256}}
    assert calls == [(corpus, "somewhere", options) for corpus, options in read.items()]


def test_emotions_are_present_where_two_annotators_chose_them():
    votes = [[8, 2, 0, 0, 0, 0, 0, 0, 0, 0], [9, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 3, 2, 4]]
    known = {"split": np.array(["train", "test", "val"]), "groups": torch.tensor([4, 4, 2]), "left_out": {"no face": 3}}
    expressions = dataclasses.replace(faces(3), votes=torch.tensor(votes), **known)
    units = ugn.emotions_as_units(expressions)
    assert units.au_names == ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
    assert units.labels.tolist() == [[1, 1, *[0] * 6], [1, *[0] * 7], [*[0] * 7, 1]]
    assert units.subject.tolist() == ["group 4", "group 4", "group 2"]
    assert torch.equal(units.images, expressions.images) and units.left_out == {"no face": 3}
    (split,) = ugn.splits(units)
    assert [rows.tolist() for rows in split] == [[0], [2], [1]], "FER+'s own, though group 4 crosses it"


@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(0, 3))
def test_splits_are_complete_and_exclude_subjects(seed, n_folds, first):
    g = np.random.default_rng(seed)
    # two subjects at least in every fold, and their frames in no order
    fold_of = g.permutation(
        np.concatenate([np.repeat(np.arange(n_folds), 2), g.integers(n_folds, size=g.integers(20))])
    )
    rows = g.permutation(np.concatenate([np.arange(len(fold_of)), g.integers(len(fold_of), size=50)]))
    subject, fold = np.array([f"S{i:03}" for i in rows]), torch.from_numpy(fold_of[rows] + first)
    nothing = torch.zeros(len(rows), 1, dtype=torch.int8)
    data = ActionUnits(nothing[:, None].byte(), nothing, ("AU1",), subject, fold)
    splits = ugn.splits(data)
    assert len(splits) == n_folds
    for k, split in enumerate(splits):
        parts = [set(data.subject[part.numpy()]) for part in split]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
        assert sorted(torch.cat(split).tolist()) == list(range(len(data)))
        assert parts[2] == {f"S{i:03}" for i in np.flatnonzero(fold_of == k)}
        assert parts[1] == set(sorted(parts[0] | parts[1])[::5])


def test_folds_that_cannot_be_used_are_refused(data):
    fold = data.fold.clone()
    fold[-1] = 2
    message = r"subject S005 is in folds \[2, 3\]: all frames of one belong to one fold"
    with pytest.raises(ValueError, match=message):
        ugn.splits(dataclasses.replace(data, fold=fold))
    for n_subjects in (1, 2):
        with pytest.raises(ValueError, match=r"fold 0, .* has no train frame"):
            ugn.splits(made_up(n_subjects))
    expressions = faces()
    with pytest.raises(ValueError, match="fold 0, counted from 0, has no val frame"):
        ugn.splits(ugn.emotions_as_units(expressions.subset(expressions.split != "val")))


def test_a_smaller_part_lies_within_a_larger_one(data):
    split = ugn.splits(data)[0]
    parts = [ugn.part_of(split, fraction, 0) for fraction in (0.01, 0.05, 0.1, 0.5, 1.0)]
    # of 48 training frames
    assert [len(p.train) for p in parts] == [2, 2, 5, 24, 48]
    for smaller, larger in itertools.pairwise(parts):
        assert set(smaller.train.tolist()) <= set(larger.train.tolist())
        assert torch.equal(smaller.val, split.val) and torch.equal(smaller.test, split.test)
    assert torch.equal(parts[-1].train, split.train)
    assert not torch.equal(ugn.part_of(split, 0.5, 1).train, parts[3].train)
    for fraction in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ValueError, match=r"a fraction of the training frames is in \(0, 1\], not"):
            ugn.part_of(split, fraction, 0)


def test_noise_flips_known_labels_at_its_rate():
    labels = torch.randint(-1, 2, (20_000, 5), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    for rate in (0.0, 0.1, 0.4, 1.0):
        noisy = ugn.noisy(labels, rate, seed=0)
        flipped = noisy != labels
        assert noisy.dtype == labels.dtype and torch.equal(noisy[flipped], 1 - labels[flipped])
        for value, share in ((-1, 0), (0, rate), (1, rate)):
            # four standard errors
            error = 4 * (share * (1 - share) / 33_000) ** 0.5
            assert flipped[labels == value].double().mean().item() == pytest.approx(share, abs=error)
    assert not torch.equal(ugn.noisy(labels, 0.2, 1), ugn.noisy(labels, 0.2, 2))
    # more noise flips what less noise flips, and more
    assert ((ugn.noisy(labels, 0.1, 0) != labels) <= (ugn.noisy(labels, 0.2, 0) != labels)).all()


# --- features -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tunings(monkeypatch):
    """The arguments of each tuning, which gives random features instead."""
    calls = []

    def finetune(images, targets, rows, loss, n_outputs, settings, seed, **options):
        calls.append({"targets": targets, "rows": rows, "loss": loss, "seed": seed, **options})
        features = 3 + 2 * torch.randn(len(images), 8, generator=torch.Generator().manual_seed(seed))
        features[:, 5] = 1.0
        return FineTuned(features, History())

    monkeypatch.setattr(ugn, "finetune", finetune)
    return calls


def test_both_networks_have_their_loss_and_features_standardised_by_the_training_frames(data, tunings):
    split = ugn.splits(data)[1]
    start = ResNet(18, torch.Generator(), width=4, in_channels=1)
    balanced, plain = (ugn.prepare(data, split, SMALL, balanced=b, seed=4, start=start) for b in (True, False))
    train, varies = balanced.features[split.train], torch.arange(8) != 5
    torch.testing.assert_close(train.mean(0), torch.zeros(8), rtol=0, atol=1e-5)
    torch.testing.assert_close(train.std(0)[varies], torch.ones(7))
    assert (balanced.features[:, 5] == 0).all()
    assert balanced.features.shape == (96, 8) and torch.equal(balanced.labels, data.labels)
    torch.testing.assert_close(balanced.tau, occurrence_weights(data.labels[split.train]))
    assert plain.tau.tolist() == [1, 1, 1] != balanced.tau.tolist()
    logits, labels = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 0, 0]])
    for tuning, tau in zip(tunings, (balanced.tau, plain.tau), strict=True):
        expected = np.log(2) * (tau[:2].sum() + tau.sum()) / 2  # each label costs log 2
        torch.testing.assert_close(tuning["loss"](logits, labels), expected)
        assert tuning["start"] is start and tuning["seed"] == 4 and torch.equal(tuning["rows"], split.train)
    assert content_key(tunings[0]["loss_key"]) != content_key(tunings[1]["loss_key"])


def test_weights_are_those_of_the_whole_fold_and_of_the_labels_trained_on(data, tunings):
    split = ugn.splits(data)[0]
    whole = ugn.prepare(data, split, SMALL)
    few = ugn.prepare(data, ugn.part_of(split, 0.05, 0), SMALL)
    assert torch.equal(few.tau, whole.tau) and len(tunings[1]["rows"]) == 2
    labels = ugn.noisy(data.labels, 0.3, 0)
    noisy = ugn.prepare(data, split, SMALL, labels=labels)
    assert torch.equal(noisy.labels, labels) and torch.equal(tunings[2]["targets"], labels)
    torch.testing.assert_close(noisy.tau, occurrence_weights(labels[split.train]))
    # what is not trained on weighs nothing
    labels = data.labels.clone()
    labels[split.test], labels[split.val] = 1, 1
    assert torch.equal(ugn.prepare(data, split, SMALL, labels=labels).tau, whole.tau)


@pytest.mark.parametrize(("value", "problem"), [(-1, "has no known label"), (0, "never occurs")])
def test_units_that_cannot_be_learnt_are_named_before_the_tuning(data, tunings, value, problem):
    labels = data.labels.clone()
    labels[ugn.splits(data)[0].train, 1] = value
    for methods in (("ResNet18",), ("UGN",)):
        with pytest.raises(ValueError, match=f"action unit AU2 {problem} in 48 training examples: leave it out"):
            ugn.test(dataclasses.replace(data, labels=labels), SMALL, methods)
    assert not tunings


def test_a_part_of_the_frames_and_other_labels_are_trained_on(data, tunings):
    start, labels = ResNet(18, torch.Generator(), width=4, in_channels=1), ugn.noisy(data.labels, 0.2, 0)
    found = ugn.test(data, ONE_EPOCH, ("ResNet18", "UGN"), fraction=0.25, labels=labels, start=start)
    assert len(tunings) == 6
    for i, tuning in enumerate(tunings):
        k = i // 2  # fold by fold, both networks on the same frames
        assert torch.equal(tuning["targets"], labels) and tuning["start"] is start and tuning["seed"] == k
        assert torch.equal(tuning["rows"], ugn.part_of(ugn.splits(data)[k], 0.25, k).train)
    assert torch.equal(found.labels, data.labels[found.rows]), "tested on the corpus's own labels"


# --- branches and graphs ----------------------------------------------------------------------------------------------


def test_a_network_is_trained_once(fold, branches, empty_cache, monkeypatch):
    calls = []

    def counted_fit(*args, fit=ugn.fit_tensors, **kwargs):
        calls.append(kwargs["label"])
        return fit(*args, **kwargs)

    def trained(label, train, others, same):
        """Others are trained anew, the same is not, and comes back as it was."""
        calls.clear()
        first, second = train(), train()
        assert calls == [label] and not second.training
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
        for other in (*others, same):
            train(**other)
        assert calls == [label] * (1 + len(others))

    def train_branches(fold=fold, settings=ONE_EPOCH):
        return ugn.train_branches(fold, settings)

    def train_graphs(branches=branches, settings=ONE_EPOCH, methods=("UGN",), **options):
        return ugn.train_graphs(fold, branches, settings, methods, **options)

    monkeypatch.setattr(ugn, "fit_tensors", counted_fit)
    changes = {"lr_branches": 1e-4}, {"seeds": (0, 2)}, {"branch_width": 5}, {"least_frames": 90}
    data = {"tau": fold.tau.flip(0)}, {"labels": 0 * fold.labels}, {"features": fold.features + 1}
    others = [{"settings": dataclasses.replace(ONE_EPOCH, **change)} for change in changes]
    others += [{"fold": fold._replace(**change)} for change in data]
    same = dataclasses.replace(ONE_EPOCH, lr=1.0, batch_size=1, n_samples=1, n_training_samples=1)
    trained("branches", train_branches, others, {"settings": same})
    others = [{"methods": ("UGN-B",)}, {"methods": (CONSTANT,)}, {"shared_mask": True}, {"normalisation": "printed"}]
    others += [{"settings": dataclasses.replace(ONE_EPOCH, n_training_samples=2)}]
    others += [{"branches": ActionUnitBranches(fold.features.shape[1], 3, generators([5, 6]), width=6)}]
    trained("graphs", train_graphs, others, {"settings": dataclasses.replace(ONE_EPOCH, n_samples=9)})


def test_the_fits_have_their_settings_and_losses(fold, branches, empty_cache, monkeypatch):
    fits = []

    def watched_fit(model, loss, train, val, **options):
        fits.append(SimpleNamespace(model=model, loss=loss, sizes=(len(train[0]), len(val[0])), options=options))
        return History(seconds=2.5 * len(fits))

    monkeypatch.setattr(ugn, "fit_tensors", watched_fit)
    settings = dataclasses.replace(SMALL, batch_branches=7, least_frames=49)
    trained = [ugn.train_branches(fold, settings)]
    trained += [ugn.train_graphs(fold, branches, settings, ("UGN", CONSTANT, "UGN-B")) for _ in range(2)]
    assert [model.history.seconds for model in trained] == [2.5, 5, 5], "from the cache with the time that it took"
    names = ("lr", "batch_size", "max_epochs", "patience")
    assert [[f.options[name] for name in names] for f in fits] == [[0.01, 7, 3, 9], [0.005, 16, 3, 9]]
    assert [f.sizes for f in fits] == [(96, 16)] * 2, "few frames are passed over several times"
    assert (fits[1].model.n_samples, fits[1].model.n_weight_samples) == (3, 3)
    # branches are balanced; graphs are not, and the control's loss has the mean of Eq. 11's weights in a batch of 16
    logits, weights, labels = torch.randn(6, 16, 3), torch.rand(6, 16), fold.labels[:16]
    balanced = action_unit_cross_entropy(logits, labels, fold.tau)
    torch.testing.assert_close(fits[0].loss(logits, labels), balanced)
    weighted = action_unit_cross_entropy(logits, labels, example_weights=weights)
    expected = weighted * torch.tensor([1, 1, 17 / 16, 17 / 16, 1, 1])
    torch.testing.assert_close(fits[1].loss(Prediction(logits, weights), labels), expected)


def test_every_seed_has_its_own_draws(fold, branches, empty_cache):
    still = dataclasses.replace(ONE_EPOCH, lr=0.0, lr_branches=0.0)
    drawn = ugn.train_branches(fold, still)
    expected = ActionUnitBranches(fold.features.shape[1], 3, generators([0, 1]), width=6)
    assert all(torch.equal(a, b) for a, b in zip(drawn.parameters(), expected.parameters(), strict=True))
    graphs = ugn.train_graphs(fold, branches, still, (*GRAPHS, CONSTANT))
    assert graphs.arms == ("GN-D",) * 2 + ("UGN",) * 2 + ("UGN-B",) * 2 + ("UGN",) * 2
    for p in graphs.parameters():
        # copies are seeds within methods: those of a seed start from the same weights
        assert all(torch.equal(p[:2], p[2 * i : 2 * i + 2]) for i in range(4))
    assert not torch.equal(graphs.readout[0], graphs.readout[1])
    assert torch.equal(graphs.branch_weight, branches.weight.detach().repeat(4, 1, 1))
    assert torch.equal(graphs.branch_bias, branches.bias.detach().repeat(4, 1, 1))
    # at test the methods that draw masks share the noise
    predictions = ugn.predict_graphs(fold, graphs, still, (*GRAPHS, CONSTANT))
    agree(predictions["UGN"], predictions["UGN-B"], atol=1e-6)
    assert (predictions["UGN"].probs - predictions["GN-D"].probs).abs().max() > 1e-5


def test_adam_does_not_see_the_constant(tested):
    """And UGN and the control have the same noise: they differ by no more than Adam's epsilon and rounding."""
    agree(tested.predictions["UGN"], tested.predictions[CONSTANT], atol=1e-3)
    difference = tested.predictions["UGN"].probs - tested.predictions["UGN-B"].probs
    assert difference.abs().max() > 1e-2


def test_seeds_do_not_depend_on_which_others_run(fold, branches, graphs):
    together = ugn.predict_graphs(fold, graphs, SMALL, (*GRAPHS, CONSTANT))
    alone = dataclasses.replace(SMALL, seeds=(1,))
    own = ugn.train_branches(fold, alone)
    agree(ugn.predict_branches(fold, own), ugn.predict_branches(fold, branches)[1:2], atol=1e-5)
    for method, predictions in ugn.predict_graphs(fold, ugn.train_graphs(fold, own, alone), alone).items():
        agree(predictions, together[method][1:2], atol=1e-4)


def test_predictions_of_branches_are_theirs_and_all_aleatoric(fold, branches):
    predictions = ugn.predict_branches(fold, branches)
    with torch.no_grad():
        logits = branches(fold.features[fold.split.test])
    p = predictions.probs
    assert p.shape == (2, 32, 3) and p.dtype == torch.float64
    torch.testing.assert_close(p, torch.sigmoid(logits.double()))
    assert (predictions.epistemic == 0).all() and torch.equal(predictions.total, predictions.aleatoric)
    torch.testing.assert_close(predictions.total, -(p * p.log() + (1 - p) * (1 - p).log()))


def test_predictions_of_graphs_are_means_over_masks(fold, branches):
    graphs = ugn.train_graphs(fold, branches, SMALL)
    predictions = ugn.predict_graphs(fold, graphs, SMALL)
    # once more, the seeds' own noise from the start
    graphs.generators = generators([0, 1] * 3, 30)
    probs = graphs.probabilities(fold.features[fold.split.test], 4).double()
    expected = Predictions.from_samples(probs, bernoulli_entropy_decomposition)
    for i, method in enumerate(GRAPHS):
        agree(predictions[method], expected[2 * i : 2 * i + 2], atol=1e-6)
        parts = predictions[method].aleatoric + predictions[method].epistemic
        torch.testing.assert_close(predictions[method].total, parts)
    assert (predictions["GN-D"].epistemic < 1e-7).all()
    assert all(predictions[method].epistemic.median() > 1e-5 for method in ("UGN", "UGN-B"))
    for method, again in ugn.predict_graphs(fold, graphs, SMALL).items():
        agree(predictions[method], again)


# --- all of it --------------------------------------------------------------------------------------------------------


def test_every_frame_is_tested_once(data, tested):
    assert tested.n_folds == 3 and sorted(tested.rows.tolist()) == list(range(96))
    assert torch.equal(tested.rows, torch.cat([split.test for split in ugn.splits(data)]))
    assert torch.equal(tested.labels, data.labels[tested.rows])
    assert tested.subject.tolist() == data.subject[tested.rows.numpy()].tolist()
    assert torch.equal(tested.fold, data.fold[tested.rows] - 1)
    assert list(tested.predictions) == [*METHODS, CONSTANT]
    assert {v.shape for p in tested.predictions.values() for v in vars(p).values()} == {(2, 96, 3)}


def test_bands_are_found(data):
    """F1 and accuracy of always yes are 67, 57, 46 and 50, 40, 30."""
    longer = dataclasses.replace(SMALL, trunk=dataclasses.replace(SMALL.trunk, epochs=20), max_epochs=6)
    tested = ugn.test(data, longer)
    for statistic in (ugn.f1(tested), ugn.accuracy(tested)):
        scores = {method: statistic(counts_of(tested).sums(method).sum(1)).mean() for method in METHODS}
        assert min(scores.values()) > 80, scores


def test_a_fold_is_what_its_stages_give(data, tested, fold, branches, graphs):
    frames = (slice(None), slice(0, 32))
    agree(tested.predictions["ResNet-BL"][frames], ugn.predict_branches(fold, branches))
    for method, predictions in ugn.predict_graphs(fold, graphs, SMALL, (*GRAPHS, CONSTANT)).items():
        agree(tested.predictions[method][frames], predictions)
    plain = ugn.prepare(data, ugn.splits(data)[0], SMALL, balanced=False)
    agree(tested.predictions["ResNet18"][frames], ugn.predict_branches(plain, ugn.train_branches(plain, SMALL)))
    # and options are those of the graph
    found = ugn.test(data, SMALL, ("UGN",), folds=[0], shared_mask=True)
    shared = ugn.train_graphs(fold, branches, SMALL, ("UGN",), shared_mask=True)
    agree(found.predictions["UGN"], ugn.predict_graphs(fold, shared, SMALL, ("UGN",))["UGN"])
    assert shared.shared_mask


def test_folds_can_be_chosen(data, tested):
    some = ugn.test(data, SMALL, (*METHODS, CONSTANT), folds=[0, 2])
    assert torch.equal(some.rows, torch.cat([tested.rows[tested.fold == k] for k in (0, 2)]))
    assert some.fold.unique_consecutive().tolist() == [0, 1] and some.n_folds == 2
    for method, predictions in some.predictions.items():
        for new, old in ((0, 0), (1, 2)):
            agree(predictions[:, some.fold == new], tested.predictions[method][:, tested.fold == old])


@pytest.mark.parametrize(
    ("methods", "trained"),
    [
        (("ResNet18",), "branches"),
        (("ResNet-BL",), "branches"),
        (("UGN", "GN-D"), "branches graphs"),
        ((CONSTANT, "ResNet18"), "branches branches graphs"),
    ],
)
def test_only_wanted_methods_are_trained(data, tested, methods, trained, monkeypatch):
    calls = []

    def fitted(*args, fitted=ugn._fitted):
        calls.append(args[5])
        return fitted(*args)

    monkeypatch.setattr(ugn, "_fitted", fitted)
    some = ugn.test(data, SMALL, methods, folds=[0])
    assert calls == trained.split() and list(some.predictions) == list(methods)
    for method in methods:
        agree(some.predictions[method], tested.predictions[method][:, :32], atol=1e-4)
    with pytest.raises(ValueError, match="unknown arm 'GCN': expected one of "):
        ugn.test(data, SMALL, (*methods, "GCN"))


def test_a_seed_is_itself_among_others_that_start_alike(data, tested):
    """The first seed tunes the ResNet, so that it alone gives what it gives among others; another one does not."""
    first = ugn.test(data, dataclasses.replace(SMALL, seeds=(0,)), METHODS, folds=[0])
    for method, predictions in first.predictions.items():
        agree(predictions, tested.predictions[method][0:1, :32], atol=1e-4)
    second = ugn.test(data, dataclasses.replace(SMALL, seeds=(1,)), ("ResNet-BL",), folds=[0])
    among = tested.predictions["ResNet-BL"][1:2, :32]
    assert (second.predictions["ResNet-BL"].probs - among.probs).abs().max() > 1e-2


# --- F1 and accuracy ------------------------------------------------------------------------------------------------


def made_up_tested(seed=0, n_seeds=2, n_folds=3, per_fold=3, n_au=4, n=120, share_unknown=0.2) -> ugn.Tested:
    """Answers better than chance; frames of subjects in no order."""
    g = np.random.default_rng(seed)
    fold_of = np.arange(n_folds * per_fold) % n_folds
    subject = np.concatenate([np.arange(len(fold_of)), g.integers(len(fold_of), size=n - len(fold_of))])
    subject = subject[np.argsort(fold_of[subject], kind="stable")]
    labels = (g.random((n, n_au)) < 0.4).astype(np.int64)
    probs = np.clip(0.5 + (labels - 0.5) * 0.4 + 0.3 * g.normal(size=(n_seeds, n, n_au)), 0, 1)
    labels[g.random((n, n_au)) < share_unknown] = -1
    predictions = Predictions.from_samples(torch.from_numpy(probs)[None], bernoulli_entropy_decomposition)
    names, fold = np.array([f"S{i:02}" for i in subject]), torch.from_numpy(fold_of[subject])
    return ugn.Tested(torch.arange(n), torch.from_numpy(labels), names, fold, {"UGN": predictions})


def counts_of(tested, names="abcd"):
    """As a notebook has them, from the file."""
    return ugn_evidence.Counts(**store.rounded(ugn_evidence.counted(tested, names)))


def by_sklearn(tested, keep=None, pooled=False):
    """F1 and accuracy (S, A) in percent, the folds of each unit one by one."""
    keep = np.ones(len(tested.rows), bool) if keep is None else keep
    probs, folds = tested.predictions["UGN"].probs.numpy(), tested.fold.numpy()
    n_seeds, _, n_au = probs.shape
    f1, accuracy = np.full((2, n_seeds, n_au), np.nan)
    for seed in range(n_seeds):
        for unit in range(n_au):
            label, present = tested.labels[:, unit].numpy(), probs[seed, :, unit] >= 0.5
            parts = [keep & (label >= 0) & (pooled | (folds == k)) for k in range(1 if pooled else tested.n_folds)]
            f1s = [100 * f1_score(label[p], present[p]) for p in parts if label[p].any()]
            accuracies = [100 * accuracy_score(label[p], present[p]) for p in parts if p.any()]
            f1[seed, unit] = np.mean(f1s) if f1s else np.nan
            accuracy[seed, unit] = np.mean(accuracies) if accuracies else np.nan
    return f1, accuracy


def mean_of_defined(values):
    return np.array([np.nan if np.isnan(row).all() else row[~np.isnan(row)].mean() for row in values])


@given(st.integers(0, 2**32), st.integers(9, 80), st.sampled_from([0.0, 0.3, 0.9]), st.booleans())
@hypothesis_settings(max_examples=25, deadline=None)
def test_f1_and_accuracy_are_those_of_sklearn(seed, n, share_unknown, pooled):
    tested = made_up_tested(seed, n=n, share_unknown=share_unknown)
    total = counts_of(tested).sums("UGN").sum(1)
    scores = (ugn.f1_of_units, ugn.f1), (ugn.accuracy_of_units, ugn.accuracy)
    for expected, (score_units, statistic) in zip(by_sklearn(tested, pooled=pooled), scores, strict=True):
        np.testing.assert_allclose(score_units(total, tested, pooled), expected)
        np.testing.assert_allclose(statistic(tested, pooled=pooled)(total), mean_of_defined(expected))
        for unit in range(4):
            np.testing.assert_allclose(statistic(tested, unit, pooled)(total), expected[:, unit])


def test_sums_worked_by_hand():
    """Two subjects in one fold, a third in another, two units; a probability of one half says yes."""
    probs = torch.tensor([[[0.9, 0.1], [0.5, 0.6], [0.2, 0.7], [0.1, 0.4], [0.8, 0.9]]], dtype=torch.float64)
    labels, fold = torch.tensor([[1, 0], [0, 1], [1, -1], [0, 1], [-1, 0]]), torch.tensor([0, 0, 0, 1, 1])
    predictions = {"UGN": Predictions(probs, probs, probs, probs)}
    tested = ugn.Tested(torch.arange(5), labels, np.array(["b", "a", "b", "c", "c"]), fold, predictions)
    sums = counts_of(tested).sums("UGN")
    # true and false positives, false and true negatives: subjects a, b and c; folds; units
    nothing = [[0] * 4] * 2
    assert sums.reshape(3, 2, 2, 4).tolist() == [
        [[[0, 1, 0, 0], [1, 0, 0, 0]], nothing],
        [[[1, 0, 1, 0], [0, 0, 0, 1]], nothing],
        [nothing, [[0, 0, 0, 1], [0, 1, 1, 0]]],
    ]
    total = sums.sum(1)
    # first unit: 2 / (2 + 1 + 1) in the first fold, no positive in the second; second unit: 1 and 0
    assert ugn.f1_of_units(total, tested).tolist() == [[50.0, 50.0]]
    assert ugn.accuracy_of_units(total, tested)[0] == pytest.approx([(100 / 3 + 100) / 2, (100 + 0) / 2])
    # pooled, the second unit: 2 / (2 + 1 + 1)
    assert ugn.f1_of_units(total, tested, pooled=True).tolist() == [[50.0, 50.0]]
    assert ugn.accuracy_of_units(total, tested, pooled=True).tolist() == [[50.0, 50.0]]
    assert ugn.f1(tested)(total).tolist() == [50.0] and ugn.f1(tested, unit=1)(total).tolist() == [50.0]


def test_all_units_undefined_is_no_number_and_no_warning(recwarn):
    tested = made_up_tested(share_unknown=1)
    total = counts_of(tested).sums("UGN").sum(1)
    assert np.isnan(ugn.f1(tested)(total)).all() and np.isnan(ugn.accuracy(tested)(total)).all()
    assert not recwarn.list


@pytest.mark.parametrize("pooled", [False, True])
def test_leaving_a_subject_out_is_counting_the_others(pooled):
    tested = made_up_tested()
    sums = counts_of(tested).sums("UGN")
    assert sums.shape == (2, 9, 3 * 4 * 4)
    without = sums.sum(1, keepdims=True) - sums
    for i, name in enumerate(np.unique(tested.subject)):
        expected = by_sklearn(tested, tested.subject != name, pooled)
        for score, values in zip((ugn.f1_of_units, ugn.accuracy_of_units), expected, strict=True):
            np.testing.assert_allclose(score(without[:, i], tested, pooled), values)
    values = pseudo_values(sums, ugn.f1(tested, pooled=pooled))
    assert values.shape == (2, 9)
    np.testing.assert_allclose(values.mean(1), ugn.f1(tested, pooled=pooled)(sums.sum(1)))
