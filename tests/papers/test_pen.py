import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from uncertain_affect import corpora
from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.evidence.claims import effect_interval
from uncertain_affect.evidence.resampling import difference
from uncertain_affect.metrics import ccc, rmse, rmse_from_sums
from uncertain_affect.metrics.sums import ccc_from_sums
from uncertain_affect.models.pen import PersonalizedExpertNetwork, SharedNetwork
from uncertain_affect.papers import pen
from uncertain_affect.training import finetune as finetuning
from uncertain_affect.training import fit as training
from uncertain_affect.training.fit import generators

SOURCE, TARGET = ("a", "b", "c"), ("x", "y")
TRUNK = finetuning.FineTuningSettings(width=2, lr=1e-2, epochs=1)
SMALL = pen.Settings(
    seeds=(0, 1), pretraining=TRUNK, trunk=TRUNK, sn_epochs=3, gate_epochs=3, joint_epochs=2, adapt_epochs=4,
    min_steps=0, shares=(10, 50), gap=2.0, batch_size=8,
)  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def corpus(n_videos=1, seconds=40, people=(*SOURCE, *TARGET), fps=1.0):
    """Everyone in every video (of a name of their own where there is one), rows in no order."""
    g = np.random.default_rng(0)
    n_frames = round(seconds * fps)
    rows = list(itertools.product(people, range(n_videos), range(n_frames)))
    g.shuffle(rows)
    person, video, time = zip(*rows, strict=True)
    names = [p if n_videos == 1 else f"v{v}" for p, v in zip(person, video, strict=True)]
    x = torch.from_numpy(g.normal(size=(len(rows), 6)))
    y = (x[:, :2] * 0.3 + 0.1 * torch.from_numpy(g.normal(size=(len(rows), 2)))).clamp(-1, 1)
    return AffectTraces(x, y, np.array(person), np.array(names), torch.tensor(time).double() / fps)


def frames(**options):
    made = corpus(**options)
    return pen.frames(made, made.inputs, SOURCE, TARGET)


@pytest.fixture(scope="module")
def data():
    return frames()


@pytest.fixture(scope="module")
def drawn(data):
    return pen.draw_splits(data, SMALL)


@pytest.fixture(scope="module")
def source(data, drawn):
    return pen.train_source(data, drawn[0], SMALL)


@pytest.fixture(scope="module")
def adapted(data, drawn, source):
    return pen.adapt(data, source, drawn[1], SMALL)


@pytest.fixture(scope="module")
def predictions(data, source, adapted):
    return pen.predict(data, source, adapted)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    return tmp_path


def assert_same(a: torch.nn.Module, b: torch.nn.Module, copies=slice(None), atol=0.0):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p[copies], q, rtol=0, atol=atol)


# --- settings and frames ----------------------------------------------------------------------------------


def test_full_is_the_protocol_of_the_paper():
    full = pen.settings("full")
    assert full.seeds == tuple(range(20)) and full.shares == (5, 10, 20, 30, 50)
    assert (full.sn_epochs, full.gate_epochs, full.joint_epochs, full.adapt_epochs) == (30, 30, 5, 30)
    assert (full.lambda_0, full.lambda_1, full.l1) == (1e-3, 1e-3, "mean")
    assert set(full.grid) == {1e-4, 1e-3, 1e-2, 1e-1, 0, 1, 10, 100}
    assert (full.lr, full.rho, full.eps) == (1.0, 0.95, 1e-7)
    assert (full.trunk.depth, full.trunk.width, full.trunk.epochs) == (50, 64, 10)
    on_cpu = pen.settings("full", device="cpu")
    assert (on_cpu.trunk.depth, on_cpu.trunk.width) == (18, 32) and on_cpu.grid == full.grid


def test_quick_shrinks_work_alone():
    quick, full = pen.settings("quick", seed=7), pen.settings("full", seed=7)
    assert quick.seeds == (7, 8, 9, 10, 11) and quick.seeds == full.seeds[:5]
    narrow = {"pretraining": quick.pretraining, "trunk": quick.trunk}
    assert dataclasses.replace(full, seeds=quick.seeds, grid=(), **narrow) == quick
    assert quick.trunk.epochs == full.trunk.epochs
    with pytest.raises(ValueError, match='PROFILE must be "quick" or "full", not \'fast\''):
        pen.settings("fast")


def test_corpora_come_with_labels_from_minus_1_to_1(monkeypatch):
    asked = {}

    def load(name, root=None, **options):
        asked[name] = options
        made = corpus()
        return dataclasses.replace(made, valence_arousal=torch.linspace(1, 9, len(made))[:, None].repeat(1, 2))

    monkeypatch.setattr(corpora, "load", load)
    rescaled = pen.load("ceap360vr", "quick")
    assert (rescaled.valence_arousal.min(), rescaled.valence_arousal.max()) == (-1, 1)
    torch.testing.assert_close(rescaled.valence_arousal, (load("ceap360vr").valence_arousal - 5) / 4)
    assert pen.load("recola", "quick").valence_arousal.max() == 9  # left as it is
    pen.load("simulated", "full", 3)
    assert asked["simulated"] == {"view": "recola", "size": "full", "seed": 3}


def test_source_and_target_people_of_both_corpora():
    avec = corpus(people=("dev_10", "train_2", "dev_2", "train_10", "train_1"), seconds=2)
    assert pen.roles(avec) == (("train_1", "train_2", "train_10"), ("dev_2", "dev_10"))
    ceap = corpus(people=("P10", "P1", "P3", "P2", "P11"), seconds=2)
    assert pen.roles(ceap) == (("P1", "P3", "P11"), ("P2", "P10"))
    with pytest.raises(ValueError, match="P1 to P32"):
        pen.roles(corpus(people=("train_1", "other"), seconds=2))


def pictures():
    """Frames of two source and one target person, 16 pixels a side, whose brightness is their valence."""
    made = corpus(people=("train_1", "train_2", "dev_1"), seconds=10)
    g = torch.Generator().manual_seed(0)
    light = 100 * (1 + made.valence_arousal[:, :1, None])
    images = (light + 20 * torch.rand(len(made), 16, 16, generator=g)).clamp(0, 255).to(torch.uint8)
    return dataclasses.replace(made, inputs=images, valence_arousal=made.valence_arousal.float())


def test_features_are_tuned_on_the_labels_of_the_given_frames_alone(empty_cache):
    made = pictures()
    rows = np.flatnonzero(made.person == "train_1")
    tuned = pen.features(made, rows, SMALL)
    assert tuned.features.shape == (30, 16) and len(tuned.history.train) == 1
    others, own = made.valence_arousal.clone(), made.valence_arousal.clone()
    others[made.person != "train_1"] += 1
    own[rows[0]] += 1
    same = pen.features(dataclasses.replace(made, valence_arousal=others), rows, SMALL).features
    assert torch.equal(same, tuned.features)
    assert not torch.equal(
        pen.features(dataclasses.replace(made, valence_arousal=own), rows, SMALL).features, tuned.features
    )


def test_features_are_tuned_with_the_squared_error_summed_over_dimensions(empty_cache, monkeypatch):
    seen = {}

    def finetune(images, targets, rows, loss, n_outputs, settings, seed, **options):
        seen.update(loss=loss, n_outputs=n_outputs, settings=settings, seed=seed, start=options["start"])

    monkeypatch.setattr(finetuning, "finetune", finetune)
    pen.features(pictures(), np.arange(4), dataclasses.replace(SMALL, seeds=(7, 8)), start="a network")
    assert (seen["n_outputs"], seen["settings"], seen["seed"], seen["start"]) == (2, TRUNK, 7, "a network")
    error = seen["loss"](torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 2.0], [1.0, 1.0]]))
    assert error.item() == 2.5
    with pytest.raises(ValueError, match="only images tune a network"):
        pen.features(corpus(), np.arange(4), SMALL)


def test_pictures_are_prepared_by_the_network_of_one_fold(empty_cache):
    made = pictures()
    f, fold = pen.prepare(made, SMALL)
    assert (f.source, f.target) == (("train_1", "train_2"), ("dev_1",))
    assert len(fold.train) == 16 and len(fold.val) == 4 and not np.isin(fold.train, f.target_rows).any()
    assert torch.equal(f.features, pen.features(made, fold.train, SMALL).features)  # as they are
    folds, _ = pen.draw_splits(f, SMALL, fold)
    assert all(np.array_equal(given.train, fold.train) for given in folds) and len(folds) == 2
    own, _ = pen.draw_splits(f, SMALL)
    assert np.array_equal(own[0].train, fold.train) and not np.array_equal(own[1].train, fold.train)


def test_hand_made_features_are_standardised_on_training_frames():
    made = corpus(people=("P1", "P3", "P2"))
    f, fold = pen.prepare(made, SMALL)
    torch.testing.assert_close(f.features[fold.train].mean(0), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(f.features[fold.train].std(0), torch.ones(6))


def test_frames_know_who_is_who():
    made = corpus(people=("x", "other", "b", "a"), seconds=6)
    f = pen.frames(made, made.inputs, ["b", "a"], ["x"])
    expected = {"b": 0, "a": 1, "x": 2, "other": -1}
    assert f.person.tolist() == [expected[name] for name in made.person]
    assert (made.person[f.target_rows] == "x").all() and len(f.target_rows) == 6
    assert set(made.person[f.source_rows()]) == {"a", "b"} and len(f.source_rows(held_out=["a"])) == 6
    ordered = f.in_order(0)
    assert (made.person[ordered] == "b").all() and f.time[ordered].tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(f.features, made.inputs.float())


def test_features_are_standardised_on_the_frames_named():
    made = corpus()
    known = np.isin(made.person, SOURCE)
    f = pen.frames(made, 5 + 3 * made.inputs, SOURCE, TARGET, standardise_on=known)
    torch.testing.assert_close(f.features[torch.from_numpy(known)].mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(f.features[torch.from_numpy(known)].std(0), torch.ones(6))


def test_frames_that_do_not_fit_are_refused():
    made = corpus(seconds=5)
    with pytest.raises(ValueError, match="not in the corpus: z; its people are a, b, c, x, y"):
        pen.frames(made, made.inputs, ["a", "z"], ["x"])
    with pytest.raises(ValueError, match="more than once as source or target: a"):
        pen.frames(made, made.inputs, ["a", "b"], ["a"])
    with pytest.raises(ValueError, match="1 source and 0 target people"):
        pen.frames(made, made.inputs, ["a"], [])
    with pytest.raises(ValueError, match=r"expected \(25, D\)"):
        pen.frames(made, made.inputs[1:], ["a"], ["x"])
    broken = made.inputs.clone()
    row = int(np.flatnonzero(made.person == "b")[0])
    broken[row, 2] = math.nan
    where = f"of 1 frames are not finite, the first of b in video b at {made.time[row]:g} s"
    with pytest.raises(ValueError, match=where):
        pen.frames(made, broken, SOURCE, TARGET)
    # a person without a role may have what they like
    assert len(pen.frames(made, broken, ["a", "c"], TARGET).features) == 25


# --- splits -----------------------------------------------------------------------------------------------

SHARES = pen.SHARES
SPLITS = {
    "random": lambda f, seed: pen.random_split(f, generator(seed)),
    "blocked": lambda f, seed: pen.blocked_split(f, generator(seed), gap=3.0),
    "video": lambda f, seed: pen.video_split(f, generator(seed)),
}


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("seed", range(4))
def test_adaptation_sets_are_nested_and_apart_from_the_test_frames(kind, seed):
    f = frames(n_videos=4)
    split = SPLITS[kind](f, seed)
    assert set(split.test) <= set(f.target_rows) and len(set(split.test)) == len(split.test)
    for smaller, larger in itertools.pairwise((np.array([], int), *split.adapt, f.target_rows)):
        assert set(smaller) < set(larger) and not set(smaller) & set(split.test)
    for i in (3, 4):  # of 160 frames of each person
        assert (f.person[split.test] == i).sum() == 80
        counts = [(f.person[rows] == i).sum() for rows in split.adapt]
        assert counts[:4] == [8, 16, 32, 48]
        # the gap takes the frames 1 and 2 s from the test frames of each of the four halves
        assert counts[4] == (80 - 4 * 2 if kind == "blocked" else 80)
    again, other = SPLITS[kind](f, seed), SPLITS[kind](f, seed + 10)
    assert (split.test == again.test).all() and (split.adapt[0] == again.adapt[0]).all()
    assert set(split.adapt[0]) != set(other.adapt[0])


def test_random_test_frames_lie_next_to_adapted_ones_and_blocked_ones_do_not():
    f = frames(seconds=100)

    def distance(split, share):
        return np.mean([
            np.abs(f.time[row] - f.time[rows]).min()
            for i in (3, 4)
            for rows in [split.adapt[share][f.person[split.adapt[share]] == i]]
            for row in split.test[f.person[split.test] == i]
        ])  # fmt: skip

    assert distance(pen.random_split(f, generator()), 4) < 2
    assert distance(pen.blocked_split(f, generator(), gap=10), 4) > 20


@pytest.mark.parametrize("seed", range(6))
def test_blocked_halves_are_contiguous_runs_with_a_gap(seed):
    f = frames(n_videos=2, seconds=21, fps=2.0)
    split = pen.blocked_split(f, generator(seed), gap=3.0)
    for i, v in itertools.product((3, 4), (0, 1)):
        times = [
            np.sort(f.time[rows[(f.person[rows] == i) & (f.video[rows] == v)]]) for rows in (split.test, *split.adapt)
        ]
        for t in times:
            np.testing.assert_allclose(np.diff(t), 0.5)
        test, largest = times[0], times[-1]
        assert len(test) == 21 and (test[0] == 0) != (test[-1] == 20.5)
        # the nearest frame kept is exactly the gap away, and every frame beyond it is kept
        between = max(test[0] - largest[-1], largest[0] - test[-1])
        assert between == 3 and len(largest) == 21 - 5


def test_both_halves_are_drawn_to_test():
    f = frames()
    first = [
        f.time[s.test[f.person[s.test] == 3]].min() == 0
        for s in (pen.blocked_split(f, generator(i)) for i in range(20))
    ]
    assert 3 < sum(first) < 17


def test_held_out_videos_are_held_out_of_everything():
    f = frames(n_videos=4)
    folds, kinds = pen.draw_video_splits(f, dataclasses.replace(SMALL, seeds=(0, 1, 2)), n_videos=1)
    assert len({split.held_out for split in kinds["video"]}) > 1
    for fold, split in zip(folds, kinds["video"], strict=True):
        seen = np.concatenate([fold.train, fold.val, *split.adapt])
        assert {f.videos[v] for v in f.video[seen]} == set(f.videos) - set(split.held_out)
        assert {f.videos[v] for v in f.video[split.test]} == set(split.held_out)
        # n% are one video after another, in order of time
        for i in (3, 4):
            rows = split.adapt[0][f.person[split.adapt[0]] == i]
            assert len(set(f.video[rows])) == 1 and sorted(f.time[rows]) == list(range(16))


def test_source_people_train_with_four_fifths_of_their_frames(data):
    fold = pen.source_split(data, generator())
    assert sorted([*fold.train, *fold.val]) == data.source_rows().tolist()
    assert np.bincount(data.person[fold.train]).tolist() == [32, 32, 32]
    assert set(fold.train) != set(pen.source_split(data, generator(1)).train)


def test_splits_that_are_impossible_are_refused(data):
    with pytest.raises(ValueError, match=r"no frame to adapt with: x has 8 frames, 4 of them .* 5% are less than one"):
        pen.random_split(frames(seconds=8), generator())
    with pytest.raises(ValueError, match="x, video x, has 40 frames, 0 of them for adaptation"):
        pen.blocked_split(data, generator(), gap=25)
    with pytest.raises(ValueError, match="at least 0, not -1"):
        pen.blocked_split(data, generator(), gap=-1)
    with pytest.raises(ValueError, match=r"up to 50, not \(0, 10\)"):
        pen.random_split(data, generator(), (0, 10))
    with pytest.raises(ValueError, match="of the videos of target person x are held out"):
        pen.video_split(data, generator())
    with pytest.raises(ValueError, match="5 of 5 videos cannot be held out"):
        pen.video_split(data, generator(), n_videos=5)
    with pytest.raises(ValueError, match=r"source person b is left .* more experts than people"):
        pen.source_split(data, generator(), held_out=["b"])


# --- source training --------------------------------------------------------------------------------------


def test_training_is_torch_adadelta_on_the_seeds_own_minibatches(data, drawn, empty_cache):
    fold = drawn[0][1]
    one = dataclasses.replace(SMALL, seeds=(1,), sn_epochs=1)
    trained = pen.train_source(data, [fold], one)
    reference = SharedNetwork(6, generators([1], 0))
    optimiser = torch.optim.Adadelta(reference.parameters(), lr=1.0, rho=0.95, eps=1e-7)
    order = fold.train[torch.randperm(len(fold.train), generator=generators([1], 1)[0]).numpy()]
    for rows in torch.from_numpy(order).split(8):
        optimiser.zero_grad()
        (reference(data.features[rows])[0] - data.labels[rows]).square().sum(1).mean().backward()
        optimiser.step()
    assert_same(trained.sn, reference, atol=1e-6)
    val = torch.from_numpy(fold.val)
    with torch.no_grad():
        expected = (reference(data.features[val])[0] - data.labels[val]).square().sum(1).mean().item()
    assert trained.histories["sn"].val[0][0] == pytest.approx(expected, rel=1e-4)


def test_the_gate_is_trained_before_the_experts_part(data, drawn, empty_cache):
    gate_only = dataclasses.replace(SMALL, joint_epochs=0, gate_epochs=60)
    trained = pen.train_source(data, drawn[0], gate_only)
    experts = trained.pen.expert_weight.unflatten(-1, (3, 2))
    for i in range(3):
        torch.testing.assert_close(experts[:, :, i], trained.sn.weight)
    start = PersonalizedExpertNetwork(6, 3, generators([0, 1], 2))
    assert not torch.isclose(trained.pen.gate_weight, start.gate_weight).any()
    # joint training then moves each expert its own way
    joint = pen.train_source(data, drawn[0], dataclasses.replace(gate_only, joint_epochs=2))
    experts = joint.pen.expert_weight.unflatten(-1, (3, 2))
    assert (experts[:, :, 0] - experts[:, :, 1]).abs().min() > 0


def test_copies_are_left_at_their_best_validation_epoch(data, drawn, empty_cache):
    trained = pen.train_source(data, drawn[0], dataclasses.replace(SMALL, lr=30.0, sn_epochs=12))
    history = trained.histories["sn"]
    assert np.argmin(history.val, 0).tolist() == [e - 1 for e in history.best_epoch] != [11, 11]
    for copy, fold in enumerate(drawn[0]):
        val = torch.from_numpy(fold.val)
        with torch.no_grad():
            left = (trained.sn(data.features[val])[copy] - data.labels[val]).square().sum(1).mean().item()
        assert left == pytest.approx(min(h[copy] for h in history.val), rel=1e-4)


def test_without_early_stopping_pen_is_left_at_its_last_epoch(data, drawn, empty_cache):
    rough = dataclasses.replace(SMALL, lr=30.0, joint_epochs=6)
    best, last = (pen.train_source(data, drawn[0], rough, early_stop=stop) for stop in (True, False))
    assert best.histories["pen"].val == last.histories["pen"].val
    assert last.histories["pen"].best_epoch == [6, 6] != best.histories["pen"].best_epoch
    for copy, fold in enumerate(drawn[0]):
        error = (pen.predict_rows(last.pen, data, fold.val)[copy] - data.labels[fold.val]).square().sum(1).mean()
        assert error.item() == pytest.approx(last.histories["pen"].val[-1][copy], rel=1e-4)


def test_source_training_learns(data, drawn, empty_cache):
    longer = dataclasses.replace(SMALL, sn_epochs=100)
    history = pen.train_source(data, drawn[0], longer).histories["sn"]
    # noise of 0.1 in two dimensions
    assert all(0.01 < best < 0.05 for best in history.best_val) and min(history.val[0]) > 0.1


def test_seeds_do_not_depend_on_which_others_run(data, drawn, source, adapted):
    alone = dataclasses.replace(SMALL, seeds=(1,))
    folds, kinds = drawn
    own = pen.train_source(data, folds[1:], alone)
    assert_same(source.sn, own.sn, [1], atol=1e-5)
    assert_same(source.pen, own.pen, [1], atol=1e-5)
    after = pen.adapt(data, own, {"blocked": kinds["blocked"][1:]}, alone)
    for start, share in itertools.product("st", (10, 50)):
        here, there = adapted.copies(start, "blocked", share)[1], after.copies(start, "blocked", share)[0]
        for all_seeds, one in ((adapted.sn, after.sn), (adapted.pen, after.pen)):
            for p, q in zip(all_seeds.parameters(), one.parameters(), strict=True):
                torch.testing.assert_close(p[here], q[there], rtol=0, atol=1e-5)


def test_loss_weights_train_side_by_side(data, drawn, source):
    pairs = [(0.0, 1.0), (1e-3, 1e-3), (0.5, 1e-3)]
    several = pen.train_source(data, drawn[0], SMALL, pairs)
    assert several.lambdas == tuple(pairs) and len(several.pen.gate_weight) == 6
    assert_same(several.pen, source.pen, slice(2, 4), atol=1e-5)
    alone = pen.train_source(data, drawn[0], dataclasses.replace(SMALL, lambda_0=0.0, lambda_1=1.0))
    assert_same(several.pen, alone.pen, slice(0, 2), atol=1e-5)
    with pytest.raises(ValueError, match="choose one of the 3 pairs"):
        pen.adapt(data, several, drawn[1], SMALL)


def test_a_strong_penalty_flattens_the_gate(data, drawn):
    longer = dataclasses.replace(SMALL, gate_epochs=40)
    gates = [
        pen.mean_gate(pen.train_source(data, drawn[0], longer, [(1e-3, l1)]).pen, data, data.source_rows())
        for l1 in (0.0, 100.0)
    ]
    assert (gates[1] - 1 / 3).abs().max() < 0.05 < (gates[0] - 1 / 3).abs().max()


def test_the_grid_is_judged_by_validation(data, drawn):
    tried = dataclasses.replace(SMALL, grid=(1e-3, 10.0))
    chosen, losses = pen.choose_lambdas(data, drawn[0], tried)
    assert losses.index.tolist() == losses.columns.tolist() == [1e-3, 10.0]
    assert losses.loc[chosen.lambda_0, chosen.lambda_1] == losses.to_numpy().min()
    # lambda_0 goes down: what it gives alone with the other value of lambda_1
    alone = pen.train_source(data, drawn[0], SMALL, [(10.0, 1e-3)])
    assert losses.loc[10.0, 1e-3] == pytest.approx(np.mean(alone.histories["pen"].best_val), abs=1e-5)
    same, losses = pen.choose_lambdas(data, drawn[0], SMALL)
    assert same == SMALL and losses.shape == (1, 1)


def test_individual_tuning_fits_each_expert_to_its_person_alone(data, drawn, empty_cache):
    tuned = pen.train_source(data, drawn[0], SMALL, tuning="individual")
    # the frames of one person are all that their expert sees
    labels = data.labels.clone()
    labels[torch.from_numpy(data.person == 1)] *= -1
    other = pen.train_source(
        dataclasses.replace(data, labels=labels), drawn[0], dataclasses.replace(SMALL, sn_epochs=0), tuning="individual"
    )
    same = pen.train_source(data, drawn[0], dataclasses.replace(SMALL, sn_epochs=0), tuning="individual")
    moved = [(a - b).abs().max().item() for a, b in zip(
        other.pen.expert_weight.unflatten(-1, (3, 2)).unbind(2), same.pen.expert_weight.unflatten(-1, (3, 2)).unbind(2),
        strict=True,
    )]  # fmt: skip
    assert moved[0] == moved[2] == 0 < moved[1]
    assert not torch.equal(tuned.pen.expert_weight, pen.train_source(data, drawn[0], SMALL).pen.expert_weight)


def test_source_input_that_does_not_fit_is_refused(data, drawn):
    folds = drawn[0]
    with pytest.raises(ValueError, match='must be "joint" or "individual"'):
        pen.train_source(data, folds, SMALL, tuning="apart")
    with pytest.raises(ValueError, match="1 folds for 2 seeds"):
        pen.train_source(data, folds[:1], SMALL)
    lacking = pen.Fold(folds[1].train[data.person[folds[1].train] != 2], folds[1].val)
    with pytest.raises(ValueError, match="no training frame of c: there would be more experts than people"):
        pen.train_source(data, [folds[0], lacking], SMALL)
    with pytest.raises(ValueError, match="equally many training, and validation, frames"):
        pen.train_source(data, [folds[0], pen.Fold(folds[1].train, folds[1].val[1:])], SMALL)
    with pytest.raises(FloatingPointError, match=r"SN: the training loss of copy \d is nan in epoch 1"):
        broken = dataclasses.replace(data, labels=torch.full_like(data.labels, math.nan))
        pen.train_source(broken, folds, SMALL)


# --- adaptation -------------------------------------------------------------------------------------------


def test_adaptation_starts_from_the_source_networks_or_from_random_ones(data, drawn, source):
    none = dataclasses.replace(SMALL, lr=0.0)
    still = pen.adapt(data, source, drawn[1], none)
    for kind, share in itertools.product(drawn[1], SMALL.shares):
        for network, before in ((still.sn, source.sn), (still.pen, source.pen)):
            for p, q in zip(network.parameters(), before.parameters(), strict=True):
                assert torch.equal(p[still.copies("s", kind, share)], q)
        random = PersonalizedExpertNetwork(6, 3, generators([0, 1], 21))
        assert torch.equal(still.pen.expert_weight[still.copies("t", kind, share)], random.expert_weight)
        assert torch.equal(
            still.sn.weight[still.copies("t", kind, share)], SharedNetwork(6, generators([0, 1], 20)).weight
        )


def test_every_expert_and_the_gate_adapt(source, adapted):
    for p, q in zip(adapted.pen.parameters(), source.pen.parameters(), strict=True):
        assert (p[adapted.copies("s", "random", 50)] != q).all()


def test_copies_are_numbered_in_the_order_of_their_axes(adapted):
    order = [
        adapted.copies(start, kind, share) for start in "st" for kind in ("random", "blocked") for share in (10, 50)
    ]
    # start, kind, seed, share, the last fastest
    assert order == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9, 11], [12, 14], [13, 15]]


def test_small_sets_adapt_for_as_many_passes_or_the_least_number_of_steps(data, drawn, source, adapted):
    # an epoch is 40 frames (50% of 80): four passes over 8 frames are 32 of them, over 40 four epochs; the blocked
    # 50% are 36 frames
    epochs = adapted.histories["sn"].best_epoch
    assert [epochs[c] for c in adapted.copies("s", "random", 10)] == [1, 1]
    assert [epochs[c] for c in adapted.copies("t", "random", 50)] == [4, 4]
    more = pen.adapt(data, source, drawn[1], dataclasses.replace(SMALL, min_steps=25))  # of 8 frames: 200
    assert set(more.histories["pen"].best_epoch) == {5}
    # a copy that stops early is where it would be had all stopped then
    short = pen.adapt(data, source, drawn[1], dataclasses.replace(SMALL, adapt_epochs=1))
    for start in "st":
        at = adapted.copies(start, "random", 10)
        assert torch.equal(adapted.pen.expert_weight[at], short.pen.expert_weight[at])
        at = adapted.copies(start, "random", 50)
        assert not torch.equal(adapted.pen.expert_weight[at], short.pen.expert_weight[at])


def test_test_frames_and_identities_do_not_matter_to_adaptation(data, drawn, source, adapted):
    used = torch.from_numpy(np.concatenate([s.adapt[-1] for splits in drawn[1].values() for s in splits])).unique()
    labels = torch.full_like(data.labels, 9.0)
    labels[used] = data.labels[used]
    person = data.person.copy()
    person[data.target_rows] = 3 + np.random.default_rng(0).integers(2, size=len(data.target_rows))
    blind = pen.adapt(dataclasses.replace(data, labels=labels, person=person), source, drawn[1], SMALL)
    assert_same(adapted.sn, blind.sn)
    assert_same(adapted.pen, blind.pen)


def test_adaptation_input_that_does_not_fit_is_refused(data, drawn, source):
    splits = drawn[1]["random"]
    with pytest.raises(ValueError, match=r"1 splits\['random'\] for 2 seeds"):
        pen.adapt(data, source, {"random": splits[:1]}, SMALL)
    empty = dataclasses.replace(splits[1], adapt=(splits[1].adapt[0][:0], splits[1].adapt[1]))
    with pytest.raises(ValueError, match=r"a random split has \[0, 40\] adaptation frames for n = \(10, 50\)"):
        pen.adapt(data, source, {"random": [splits[0], empty]}, SMALL)


# --- the cache --------------------------------------------------------------------------------------------


def test_stages_are_trained_once_and_know_what_they_depend_on(data, drawn, empty_cache, monkeypatch):
    trained = []

    def counted(*args, fit=pen.fit, **options):
        trained.append(options["label"])
        return fit(*args, **options)

    monkeypatch.setattr(pen, "fit", counted)
    folds, kinds = drawn
    first = pen.train_source(data, folds, SMALL)
    after = pen.adapt(data, first, kinds, SMALL)
    assert trained == ["SN", "gate", "PEN", "SN, adaptation", "PEN, adaptation"]
    again = pen.train_source(data, folds, SMALL)
    assert_same(first.pen, again.pen)
    assert_same(after.pen, pen.adapt(data, again, kinds, SMALL).pen)
    assert first.histories["gate"] == again.histories["gate"] and len(trained) == 5
    for change, stages in (
        ({"adapt_epochs": 5}, ["SN, adaptation", "PEN, adaptation"]),
        ({"lambda_0": 0.1}, ["PEN", "PEN, adaptation"]),
        ({"l1": "sum"}, ["gate", "PEN", "PEN, adaptation"]),
        ({"batch_size": 4}, ["SN", "gate", "PEN", "SN, adaptation", "PEN, adaptation"]),
    ):
        trained.clear()
        changed = dataclasses.replace(SMALL, **change)
        pen.adapt(data, pen.train_source(data, folds, changed), kinds, changed)
        assert trained == stages
    trained.clear()
    pen.train_source(data, folds, SMALL, tuning="individual")
    assert trained == ["PEN"]


def test_an_interrupted_stage_goes_on_where_it_stopped(data, drawn, source, empty_cache, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    real, calls = pen.affect_squared_error, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 20:  # nine batches an epoch: in the second epoch
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(pen, "affect_squared_error", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pen.train_source(data, drawn[0], SMALL)
    assert len(list(empty_cache.rglob("*.checkpoint"))) == 1
    resumed = pen.train_source(data, drawn[0], SMALL)
    assert_same(resumed.sn, source.sn)
    assert_same(resumed.pen, source.pen)
    assert resumed.histories["sn"].val == source.histories["sn"].val
    assert not list(empty_cache.rglob("*.checkpoint"))


# --- predictions ------------------------------------------------------------------------------------------


def test_predictions_are_those_of_each_network(data, source, adapted, predictions):
    x = data.features[torch.from_numpy(data.target_rows)]
    with torch.no_grad():
        before, after, shared = source.pen(x).mean, adapted.pen(x).mean, adapted.sn(x)
    for kind in ("random", "blocked"):
        assert tuple(predictions[kind]) == pen.MODELS
        for model in pen.MODELS:
            assert predictions[kind][model].shape == (2, 3, 80, 2)
        torch.testing.assert_close(predictions[kind]["s-PEN"][:, 0], before)
        assert predictions[kind]["t-SN"][:, 0].isnan().all() and predictions[kind]["t-PEN"][:, 0].isnan().all()
        for place, share in enumerate((10, 50), start=1):
            for start in "st":
                at = adapted.copies(start, kind, share)
                torch.testing.assert_close(predictions[kind][f"{start}-PEN"][:, place], after[at])
                torch.testing.assert_close(predictions[kind][f"{start}-SN"][:, place], shared[at])


def test_mean_gate_is_by_person(data, source):
    gates = pen.mean_gate(source.pen, data, data.target_rows)
    assert gates.shape == (2, 2, 3)
    with torch.no_grad():
        of_y = source.pen(data.features[torch.from_numpy(data.person == 4)]).gate
    torch.testing.assert_close(gates[:, 1], of_y.mean(1))
    torch.testing.assert_close(pen.mean_gate(source.pen, data, data.source_rows()).sum(-1), torch.ones(2, 3))


# --- baselines --------------------------------------------------------------------------------------------


@pytest.fixture
def worked():
    """Two source people and one target person in two videos of five seconds; labels tell person, video and time."""
    rows = [(p, v, t) for p in "abx" for v in ("v0", "v1") for t in range(5)]
    person, video, time = zip(*rows, strict=True)
    labels = torch.tensor([[0.01 * t + 0.1 * (v == "v1") + 0.2 * (p == "b"), "abx".index(p) / 2] for p, v, t in rows])
    made = AffectTraces(torch.zeros(30, 1), labels, np.array(person), np.array(video), torch.tensor(time).double())
    f = pen.frames(made, made.inputs, ["a", "b"], ["x"])
    # of x, rows 20 to 24 are v0 and 25 to 29 v1
    return f, pen.Split(np.array([22, 28]), (np.array([21]), np.array([20, 21, 24])), shares=(10, 50))


def test_nearest_adapted_frame_worked_by_hand(worked):
    f, split = worked
    nearest = pen.nearest_adapted(f, split)
    assert nearest.shape == (3, 10, 2) and nearest[0].isnan().all() and nearest[:, 5:].isnan().all()
    assert (nearest[1, :5] == f.labels[21]).all()
    # second 2 is as near to 1 as second 3 is to 4; of equally near ones the earlier counts
    assert torch.equal(nearest[2, :5], f.labels[[20, 21, 21, 24, 24]])
    between = dataclasses.replace(split, adapt=(np.array([24, 22]), np.array([24, 22])))
    assert torch.equal(pen.nearest_adapted(f, between)[1, :5], f.labels[[22, 22, 22, 22, 24]])


def test_nearest_adapted_frame_agrees_with_a_search():
    f = frames(n_videos=3, seconds=20)
    split = pen.random_split(f, generator(3))
    nearest = pen.nearest_adapted(f, split)
    for share, rows in enumerate(split.adapt, start=1):
        for place, row in enumerate(f.target_rows):
            own = rows[(f.person[rows] == f.person[row]) & (f.video[rows] == f.video[row])]
            if not len(own):
                assert nearest[share, place].isnan().all()
                continue
            best = min(own, key=lambda r: (abs(f.time[r] - f.time[row]), f.time[r]))
            assert torch.equal(nearest[share, place], f.labels[best])


def test_mean_trace_worked_by_hand(worked):
    f, _ = worked
    seconds = torch.arange(5) * 0.01
    # a and b lie at 0 and .2, and v1 lies .1 above v0
    expected = torch.cat([0.1 + seconds, 0.2 + seconds])
    torch.testing.assert_close(pen.mean_trace(f)[:, 0], expected)
    torch.testing.assert_close(pen.mean_trace(f)[:, 1], torch.full((10,), 0.25))
    # without v1 the same second of v0 stands in for it
    torch.testing.assert_close(pen.mean_trace(f, ["v1"])[:, 0], torch.cat([0.1 + seconds, 0.1 + seconds]))


def test_mean_trace_where_everyone_has_a_recording_of_their_own(data):
    trace = pen.mean_trace(data)
    for place, row in enumerate(data.target_rows[:10]):
        same = [r for r in data.source_rows() if data.time[r] == data.time[row]]
        torch.testing.assert_close(trace[place], data.labels[same].mean(0))


def test_mean_trace_of_a_second_that_no_source_person_has():
    made = corpus(seconds=5)
    keep = ~(np.isin(made.person, SOURCE) & (made.time.numpy() >= 3))
    cut = AffectTraces(
        made.inputs[keep], made.valence_arousal[keep], made.person[keep], made.video[keep], made.time[keep]
    )
    f = pen.frames(cut, cut.inputs, SOURCE, TARGET)
    late = f.time[f.target_rows] >= 3
    torch.testing.assert_close(pen.mean_trace(f)[late], f.labels[f.source_rows()].mean(0).expand(int(late.sum()), 2))


def test_video_mean_worked_by_hand(worked):
    f, _ = worked
    # a and b lie at 0 and .2, five seconds rise to .04, and v1 lies .1 above v0
    torch.testing.assert_close(pen.video_mean(f)[:, 0], torch.tensor([0.12] * 5 + [0.22] * 5))
    # a held-out video has the mean of the others
    torch.testing.assert_close(pen.video_mean(f, ["v1"])[:, 0], torch.full((10,), 0.12))


def test_a_second_has_all_its_frames():
    f = frames(seconds=4, fps=5.0)
    row = f.target_rows[0]
    same = [r for r in f.source_rows() if math.floor(f.time[r]) == math.floor(f.time[row])]
    assert len(same) == 15
    torch.testing.assert_close(pen.mean_trace(f)[0], f.labels[same].mean(0))


def test_baselines_fall_back_on_means(worked):
    f, split = worked
    said = pen.baselines(f, [split, split])
    assert tuple(said) == pen.BASELINES and all(p.shape == (2, 3, 10, 2) for p in said.values())
    source_mean, of_x = f.labels[:20].mean(0), f.labels[[20, 21, 24]].mean(0)
    torch.testing.assert_close(said["source mean"][1, 2], source_mean.expand(10, 2))
    torch.testing.assert_close(said["person mean"][0, 2], of_x.expand(10, 2))
    for name in ("nearest adapted frame", "person mean"):
        torch.testing.assert_close(said[name][0, 0], source_mean.expand(10, 2))
    torch.testing.assert_close(said["nearest adapted frame"][0, 2, 5:], of_x.expand(5, 2))
    held_out = dataclasses.replace(split, held_out=("v1",))
    without = f.labels[[*range(5), *range(10, 15)]].mean(0)
    torch.testing.assert_close(pen.baselines(f, [held_out])["source mean"][0, 0, 0], without)


# --- evaluation -------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_test_frames(data, drawn, predictions):
    splits = drawn[1]["random"]
    said = predictions["random"]["s-SN"]
    sums = pen.person_sums(said, data, splits)
    assert sums.shape == (2, 3, 2, 2, 6)
    result = pen.scores(sums)
    for seed, n, d in itertools.product(range(2), range(3), range(2)):
        test = np.isin(data.target_rows, splits[seed].test)
        x, y = said[seed, n, test, d], data.labels[data.target_rows][test, d]
        assert result.ccc[seed, n, d] == pytest.approx(ccc(x, y), abs=1e-9)
        assert result.rmse[seed, n, d] == pytest.approx(rmse(x, y), abs=1e-9)
        for p in range(2):
            own = data.target_person[test] == p
            assert result.person_ccc[seed, n, p, d] == pytest.approx(ccc(x[own], y[own]), abs=1e-9)
            assert result.person_rmse[seed, n, p, d] == pytest.approx(rmse(x[own], y[own]), abs=1e-9)
    assert not result.constant.any()


def test_people_are_the_clusters_of_a_claim(data, drawn, predictions):
    sums = {m: pen.person_sums(predictions["random"][m], data, drawn[1]["random"]) for m in ("s-SN", "s-PEN")}
    both = np.concatenate([sums["s-PEN"], sums["s-SN"]], -1)[:, 2, :, 0]
    effect = effect_interval(both, difference(ccc_from_sums))
    pooled = {m: pen.scores(s).ccc[:, 2, 0].mean() for m, s in sums.items()}
    assert effect.estimate == pytest.approx(pooled["s-PEN"] - pooled["s-SN"])
    assert (effect.n_seeds, effect.n_clusters) == (2, 2)


def test_contrasts_weigh_ccc_of_the_same_people(data, drawn, predictions):
    sums = {m: pen.person_sums(predictions["random"][m], data, drawn[1]["random"])[:, 2, :, 1] for m in pen.MODELS}
    one = pen.ccc_contrast([1, -1], [sums["s-PEN"], sums["s-SN"]])
    same = effect_interval(np.concatenate([sums["s-PEN"], sums["s-SN"]], -1), difference(ccc_from_sums))
    assert (one.estimate, one.low, one.high) == pytest.approx((same.estimate, same.low, same.high))
    of = {m: ccc_from_sums(s.sum(1)).mean() for m, s in sums.items()}
    four = pen.ccc_contrast([1, -1, -1, 0.5], [sums[m] for m in ("s-PEN", "t-PEN", "s-SN", "t-SN")])
    assert four.estimate == pytest.approx(of["s-PEN"] - of["t-PEN"] - of["s-SN"] + 0.5 * of["t-SN"])


def test_a_person_with_constant_labels_has_no_ccc_and_is_counted(data, drawn, predictions):
    labels = data.labels.clone()
    labels[torch.from_numpy(data.person == 4), 1] = 0.3
    result = pen.scores(
        pen.person_sums(predictions["random"]["s-SN"], dataclasses.replace(data, labels=labels), drawn[1]["random"])
    )
    assert result.constant.sum((0, 1)).tolist() == [[0, 0], [0, 6]]
    assert (np.isnan(result.person_ccc) == result.constant).all()
    assert np.isfinite(result.ccc).all() and np.isfinite(result.person_rmse).all()


def test_undefined_predictions_stay_undefined_and_broken_ones_are_refused(data, drawn, predictions):
    splits = drawn[1]["random"]
    sums = pen.person_sums(predictions["random"]["t-PEN"], data, splits)
    assert np.isnan(sums[:, 0]).all() and np.isfinite(sums[:, 1:]).all()
    assert np.isnan(pen.scores(sums).ccc[:, 0]).all()
    broken = predictions["random"]["s-SN"].clone()
    broken[0, 1, np.flatnonzero(data.target_rows == splits[0].test[0])] = math.nan
    with pytest.raises(ValueError, match="is not finite"):
        pen.person_sums(broken, data, splits)
    with pytest.raises(ValueError, match="1 splits for the predictions of 2 seeds"):
        pen.person_sums(broken, data, splits[:1])


def test_table_has_a_row_for_each_dimension_and_model(data, drawn, predictions):
    splits = drawn[1]["blocked"]
    sums = {m: pen.person_sums(p, data, splits) for m, p in predictions["blocked"].items()}
    shown = pen.table(sums, SMALL.shares)
    assert shown.columns.tolist() == [0, 10, 50]
    assert shown.index.tolist() == [(d, m) for d in pen.DIMENSIONS for m in pen.MODELS]
    assert shown.loc[("arousal", "s-PEN"), 50] == pytest.approx(pen.scores(sums["s-PEN"]).ccc[:, 2, 1].mean())
    errors = pen.table(sums, SMALL.shares, rmse_from_sums)
    assert errors.loc[("valence", "t-SN"), 10] == pytest.approx(pen.scores(sums["t-SN"]).rmse[:, 1, 0].mean())
