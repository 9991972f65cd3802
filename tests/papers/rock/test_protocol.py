"""HAN-ROCK's protocol: targets, trials, searches that resume, and comparisons, on small conversations."""

import dataclasses
import itertools

import numpy as np
import optuna
import pytest
import torch
from sklearn import metrics

from uncertain_affect import corpora
from uncertain_affect.compute import parallel as cluster
from uncertain_affect.corpora.base import Dialogues
from uncertain_affect.models.rock import FAMILIES, FlatHan, HanRock, contexts
from uncertain_affect.papers.rock import protocol as rock
from uncertain_affect.papers.rock.protocol import Cell

ROCK, NONE, FLAT = Cell("rock", 256, "aphf"), Cell("rock", 256, ""), Cell("flat", 256, "ap")


@pytest.fixture(scope="module")
def settings():
    return dataclasses.replace(
        rock.settings("quick"),
        seeds=(0, 1),
        n_trials=2,
        max_epochs=6,
        pri_gru={256: 4, 1: 1},
        total=5,
        embedding_size=6,
        word_gru=3,
        attention=4,
        max_words=10,
        content_size=(1, 3),
    )


def small(form):
    """Two dialogues of each split."""
    corpus = corpora.load("simulated", view="dialogues", form=form)
    names = [list(dict.fromkeys(corpus.dialogue[corpus.split == s].tolist()))[:2] for s in ("train", "val", "test")]
    here = np.isin(corpus.dialogue, np.concatenate(names))

    def kept(values):
        if isinstance(values, dict):
            return {name: kept(part) for name, part in values.items()}
        return values[here] if isinstance(values, np.ndarray) else values[torch.from_numpy(here)]

    fields = ("turns", "speaker", "dialogue", "start", "end", "targets", "auxiliary", "split")
    return Dialogues(**{name: kept(getattr(corpus, name)) for name in fields})


@pytest.fixture(scope="module")
def forms():
    return {form: small(form) for form in ("iemocap", "semaine")}


@pytest.fixture(scope="module")
def emotion(forms, settings):
    return rock.problem(forms["iemocap"], "iemocap", "emotion", settings)


@pytest.fixture(scope="module")
def valence(forms, settings):
    return rock.problem(forms["semaine"], "semaine", "valence", settings)


def tiny(n=12, **more):
    """Dialogues of four turns, two for each split of four."""
    labels = torch.arange(n) % 3 - 1  # -1, 0, 1, ...
    given = {
        "turns": np.array(["word"] * n),
        "speaker": np.array(["S_F", "T_M"] * (n // 2)),
        "dialogue": np.repeat([f"d{i}" for i in range(n // 4)], 4),
        "start": torch.arange(n).double(),
        "end": torch.arange(n).double() + 0.5,
        "targets": {"emotion": labels, "valence": 1.0 + torch.arange(n) % 5},
        "auxiliary": {},
        "split": np.repeat(["train", "val", "test"], n // 3),
    }
    return Dialogues(**given | more)


def test_settings_of_the_profiles():
    quick, small, paper = (rock.settings(*which) for which in (("quick", 7), ("full", 0, "cpu"), ("full",)))
    assert quick.seeds == (7, 8, 9, 10, 11)
    assert len(paper.seeds) == len(small.seeds) == 20
    assert (paper.n_trials, paper.max_epochs, paper.total, paper.embedding_size) == (30, 350, 257, 300)
    assert small.n_trials == 30
    for s in (quick, small, paper):
        assert s.pri_gru[256] == s.total - 1  # A = 1
        assert s.pri_gru[1] == 1
    assert rock.settings("full", n_trials=9) == dataclasses.replace(paper, n_trials=9)
    with pytest.raises(ValueError, match="a list needs at least one trial, not 0"):
        rock.settings("quick", n_trials=0)
    with pytest.raises(ValueError, match=r"PROFILE must be .* not 'fast'"):
        rock.settings("fast")


# --- targets ----------------------------------------------------------------------------------------------


def test_ranks_have_the_range_of_the_primary_task():
    ramp = {name: torch.arange(12.0) for name in (*FAMILIES["a"], *FAMILIES["p"])}
    corpus = tiny(auxiliary=ramp)
    for target, low, high in (("valence", 1, 5), ("emotion", 0, 1)):
        found = rock.targets(corpus, "iemocap", target)
        assert [task.family for task in found.tasks] == ["primary", *"aaaapppphhhhffff"]
        # training values 0 to 3: ranks 1/8, 3/8, 5/8, 7/8, and 1 beyond
        ranks = np.array([0.125, 0.375, 0.625, 0.875] + [1.0] * 8)
        for column in range(1, 9):
            assert found.values[:, column] == pytest.approx(low + (high - low) * ranks)
    assert rock.targets(corpus, "iemocap", "emotion").tasks[9].n_classes == 4
    assert rock.targets(corpus, "iemocap", "valence").tasks[9].n_classes is None


def test_semaine_is_scaled_to_minus_one_and_one(forms):
    found = rock.targets(forms["semaine"], "semaine", "power")
    ranks = found.values[:, 1:9]
    assert np.nanmin(ranks) >= -1
    assert np.nanmax(ranks) <= 1
    assert np.nanmean(ranks[found.rows["train"]]) == pytest.approx(0, abs=0.01)


def test_turns_without_a_class_are_no_examples_but_stay_context(forms):
    found = rock.targets(forms["iemocap"], "iemocap", "emotion")
    label = forms["iemocap"].targets["emotion"].numpy()
    assert (label < 0).any()
    assert np.isnan(found.values[label < 0, 0]).all()
    assert sorted(np.concatenate(list(found.rows.values()))) == np.flatnonzero(label >= 0).tolist()
    # history of a turn without a label is there all the same
    assert np.isfinite(found.values[label < 0, 9:][5:]).any()


def test_history_and_future_are_labels_of_the_primary_task():
    corpus = tiny()
    found = rock.targets(corpus, "iemocap", "valence")
    assert [task.name for task in found.tasks[1:]] == [*FAMILIES["h"], *FAMILIES["f"]]
    second = found.values[1]
    assert second[1:5].tolist() == [1, 1, 1, 1]  # one turn ago, and nothing before it
    assert second[5:9].tolist() == [3, 4, 4, 4]
    assert np.isnan(rock.targets(corpus, "iemocap", "valence", leak=False).values[0, 1:5]).all()


def test_timing_is_a_family_where_a_corpus_has_it():
    timing = {name: torch.arange(12.0) for name in ("rate", "duration", "delay")}
    found = rock.targets(tiny(auxiliary=timing), "meld", "emotion")
    assert [task.family for task in found.tasks] == ["primary", *"ttthhhhffff"]


def test_bad_targets():
    with pytest.raises(ValueError, match="the corpus has no target 'joy'; it has emotion, valence"):
        rock.targets(tiny(), "iemocap", "joy")
    none_in_val = torch.where(torch.from_numpy(tiny().split == "val"), -1, tiny().targets["emotion"])
    with pytest.raises(ValueError, match="no turn of the val split has a target 'emotion'"):
        rock.targets(tiny(targets={"emotion": none_in_val}), "iemocap", "emotion")
    missing = {name: torch.full((12,), torch.nan) for name in FAMILIES["p"]}
    with pytest.raises(ValueError, match="happy: all training values are missing"):
        rock.targets(tiny(auxiliary=missing), "iemocap", "valence")


def test_narratives_stand_in_the_rows_of_their_turns(forms):
    corpus = forms["iemocap"]
    told = rock.narratives(corpus, "iemocap")
    assert len(told) == len(corpus)
    for story, said in zip(told, corpus.turns.tolist(), strict=True):
        assert story.endswith(f"said {said.lower()}")


def test_which_tasks_there_are(forms):
    names = [name for *_, name in rock.problems(forms)]
    assert names == [
        *(f"IEMOCAP {t}" for t in ("emotion", "valence", "activation", "dominance")),
        *(f"SEMAINE {t}" for t in ("activation", "intensity", "power", "valence")),
    ]
    assert [name for *_, name in rock.problems(forms, rock.QUICK)] == ["IEMOCAP emotion", "SEMAINE valence"]


def test_published_vectors_are_taken_where_they_lie(tmp_path, forms, settings):
    same, none = rock.embeddings(settings, tmp_path)
    assert none is None
    assert same == settings
    (tmp_path / "glove").mkdir()
    lines = [f"{word} {' '.join(map(str, range(i, i + 6)))}" for i, word in enumerate(("said", "woman", "the"))]
    (tmp_path / "glove" / "glove.6B.6d.txt").write_text("\n".join(lines) + "\n")
    frozen, path = rock.embeddings(dataclasses.replace(settings, freeze=False), tmp_path)
    assert frozen.freeze
    p = rock.problem(forms["semaine"], "semaine", "power", frozen, glove=path)
    the = int(p.tokens[0, 0])
    assert p.embedding[the].tolist() == [2, 3, 4, 5, 6, 7]
    assert len(p.without_vector) == len(p.embedding) - 2 - 2  # nobody here is a woman
    assert not {"the", "said"} & set(p.without_vector)


# --- trials -----------------------------------------------------------------------------------------------


def drawn(problem, cell, settings, n=12, seed=0):
    trials = []

    def objective(trial):
        trial.set_user_attr("index", trial.number)
        trials.append(rock.suggest(trial, problem, cell, settings, seed))
        return 0.0

    sampler = optuna.samplers.RandomSampler(seed=seed)
    optuna.create_study(sampler=sampler).optimize(objective, n_trials=n)
    return trials


def test_trials_lie_in_table_6_and_schemes_take_turns(emotion):
    paper = rock.settings("full")
    trials = drawn(emotion, ROCK, paper, 60)
    for name in ("lr", "batch_size", "content_size", "gru_dropout", "recurrent_dropout"):
        low, high = getattr(paper, name)
        values = [getattr(t, name) for t in trials]
        assert low <= min(values) <= max(values) <= high
    l2 = np.array([t.l2 for t in trials])
    assert 15 < (l2 == 0).sum() < 45
    assert ((l2 == 0) | ((l2 >= 1e-6) & (l2 <= 0.5))).all()
    assert [t.scheme for t in trials] == ["random", "linear", "softmax"] * 20
    assert all(0.5 <= t.weights[0] <= 0.99 for t in trials)
    assert all(sum(t.weights) == pytest.approx(1) for t in trials)


def test_cells_share_their_trials_and_removed_families_have_no_weight(emotion, settings):
    every, ap, none = (drawn(emotion, cell, settings) for cell in (ROCK, Cell("rock", 256, "ap"), NONE))
    for a, b, c in zip(every, ap, none, strict=True):
        for name in ("lr", "batch_size", "l2", "content_size", "gru_dropout", "recurrent_dropout", "scheme"):
            assert getattr(a, name) == getattr(b, name) == getattr(c, name)
        assert a.weights[0] == pytest.approx(b.weights[0])
        assert set(b.weights[9:]) == {0.0}
        assert sum(b.weights) == pytest.approx(1)
        assert c.weights == (1.0, *[0.0] * 16)


def test_networks_have_the_sizes_that_are_printed(emotion, settings):
    trial = drawn(emotion, ROCK, settings, 1)[0]
    g = torch.Generator().manual_seed(0)
    net = rock.network(emotion, Cell("rock", 1, "ap"), settings, trial, g)
    assert isinstance(net, HanRock)
    assert net.primary.weight_hh.shape[-1] == 1
    assert net.auxiliary.weight_hh.shape[-1] == settings.total - 1
    assert isinstance(rock.network(emotion, FLAT, settings, trial, g), FlatHan)
    with pytest.raises(ValueError, match='architecture must be "rock" or "flat"'):
        rock.network(emotion, Cell("tree", 256, ""), settings, trial, g)


def test_heads_of_numbers_start_at_the_mean_of_their_training_targets(valence, settings):
    trial = drawn(valence, ROCK, settings, 1)[0]
    net = rock.network(valence, ROCK, settings, trial, torch.Generator().manual_seed(0))
    means = valence.targets[valence.rows["train"]].nanmean(0)
    assert torch.allclose(net.heads.value_bias, means)


@pytest.mark.parametrize("run_length", [1, 4])
def test_an_epoch_sees_every_training_turn_once_in_runs(emotion, run_length):
    g = torch.Generator().manual_seed(0)
    orders = [rock._order(emotion, run_length, g).numpy() for _ in range(3)]
    for order in orders:
        assert sorted(order) == emotion.rows["train"].tolist()
    assert not np.array_equal(orders[0], orders[1])
    rows = emotion.rows["train"]
    place = np.searchsorted(rows, orders[0])
    neighbours = (np.diff(place) == 1).mean()
    assert neighbours < 0.1 if run_length == 1 else 0.6 < neighbours < 0.8


def fixed(problem, cell, settings, **more):
    given = {"lr": 0.02, "batch_size": 32, "l2": 0.0, "content_size": 2, "gru_dropout": 0.1, "recurrent_dropout": 0.1}
    weights = drawn(problem, cell, settings, 1)[0].weights
    return rock.Trial(**given | more, scheme="random", weights=weights)


def test_training_returns_the_best_epoch(valence, settings):
    trial = fixed(valence, ROCK, settings)
    net, out = rock.train(valence, ROCK, settings, trial, (0, 0))
    assert out["curve"].shape == out["losses"].shape == (6,)
    assert out["epoch"][0] == out["curve"].argmax() + 1
    assert out["dev"][0] == out["curve"].max()
    assert rock.score(valence, out["val"], "val") == pytest.approx(out["dev"][0])
    assert rock.score(valence, out["test"], "test") == pytest.approx(out["score"][0])
    context = contexts(valence.dialogue, trial.content_size)
    np.testing.assert_array_equal(rock.predict(net, valence, valence.tokens, context, "test"), out["test"])
    assert out["losses"][-1] < out["losses"][0]
    assert out["parameters"][0] == sum(p.numel() for p in net.parameters())


def test_training_depends_on_its_seed_alone(emotion, settings):
    trial = fixed(emotion, ROCK, settings)
    torch.manual_seed(1)
    first = rock.train(emotion, ROCK, settings, trial, (3, 1), epochs=2)[1]
    torch.manual_seed(2)
    again, other = (rock.train(emotion, ROCK, settings, trial, seed, epochs=2)[1] for seed in ((3, 1), (3, 2)))
    np.testing.assert_array_equal(first["test"], again["test"])
    assert not np.array_equal(first["test"], other["test"])


def test_strong_l2_shrinks_the_weights(valence, settings):
    norms = []
    for l2 in (0.0, 0.5):
        net, _ = rock.train(valence, ROCK, settings, fixed(valence, ROCK, settings, l2=l2), (0, 0), lambda e, s: e == 6)
        norms.append(float(net.primary.weight_hh.detach().norm()))
    assert norms[1] < 0.9 * norms[0]


def test_frozen_vectors_stay_and_others_learn(valence, settings):
    for freeze in (True, False):
        s = dataclasses.replace(settings, freeze=freeze)
        net, _ = rock.train(valence, ROCK, s, fixed(valence, ROCK, s), (0, 0), epochs=1)
        assert torch.equal(net.embedding.weight, valence.embedding) == freeze


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_trial(valence, settings):
    broken = dataclasses.replace(valence, embedding=valence.embedding * torch.nan)
    with pytest.raises(FloatingPointError, match=r"SEMAINE valence, Cell.* Trial.*: the training loss .* is nan"):
        rock.train(broken, ROCK, settings, fixed(valence, ROCK, settings), (0, 0))


# --- searches ---------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    return tmp_path


def same(a, b):
    np.testing.assert_array_equal(a.test, b.test)
    np.testing.assert_array_equal(np.concatenate(a.curves), np.concatenate(b.curves))
    assert a.trials == b.trials
    assert a.table.drop(columns="seconds").equals(b.table.drop(columns="seconds"))


def test_a_search_is_kept_and_its_best_trial_chosen(emotion, settings, cache, monkeypatch):
    found = rock.search(emotion, ROCK, settings, 0)
    assert list(found.table.index) == [0, 1]
    assert found.best == found.table["dev"].to_numpy().argmax()
    assert found.test.shape == (2, len(emotion.rows["test"]), 4)
    np.testing.assert_allclose(found.test.sum(-1), 1, rtol=1e-5)
    monkeypatch.setattr(rock, "train", lambda *_, **__: pytest.fail("trained again"))
    same(found, rock.search(emotion, ROCK, settings, 0))
    assert rock.search(emotion, ROCK, settings, 1, deadline=-np.inf) is None


def test_a_search_that_was_interrupted_ends_as_one_that_was_not(emotion, settings, cache, monkeypatch):
    trained = rock.train

    def interrupted(*args, **kwargs):
        done = trained(*args, **kwargs)
        if args[4] == (0, 1):
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(rock, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rock.search(emotion, ROCK, settings, 0)
    monkeypatch.setattr(rock, "train", trained)
    resumed = rock.search(emotion, ROCK, settings, 0)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(cache / "other"))
    same(resumed, rock.search(emotion, ROCK, settings, 0))


def test_a_trial_trained_but_not_told_is_not_trained_again(emotion, settings, cache, monkeypatch):
    told = optuna.Study.tell

    def dies(self, trial, *args, **kwargs):
        if not kwargs:  # a value: the worker dies before it can say it
            raise MemoryError
        return told(self, trial, *args, **kwargs)

    monkeypatch.setattr(optuna.Study, "tell", dies)
    with pytest.raises(MemoryError):
        rock.search(emotion, ROCK, settings, 0)
    monkeypatch.setattr(optuna.Study, "tell", told)
    calls = []
    trained = rock.train
    monkeypatch.setattr(rock, "train", lambda *a, **k: calls.append(a[4]) or trained(*a, **k))
    found = rock.search(emotion, ROCK, settings, 0)
    assert calls == [(0, 1)]
    assert [len(c) for c in found.curves] == [6, len(found.curves[1])]


def test_a_damaged_trial_is_made_again(emotion, settings, cache):
    found = rock.search(emotion, ROCK, settings, 0)
    (file,) = cache.glob("rock/*/trials/001/test.npy")
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.warns(UserWarning, match="is damaged .* and is built anew"):
        same(found, rock.search(emotion, ROCK, settings, 0))


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(emotion, valence, settings, cache, monkeypatch):
    jobs = [(p, cell, seed) for p in (emotion, valence) for cell in (ROCK, NONE) for seed in settings.seeds]
    one = rock.search_all(jobs, settings)
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(cache / "other"))
    with cluster.local(2) as client, cluster.environment(UNCERTAIN_AFFECT_SCHEDULER=client.scheduler.address):
        two = rock.search_all(jobs, settings)
    assert list(one) == list(two) == [(p.name, cell, seed) for p, cell, seed in jobs]
    for key in one:
        same(one[key], two[key])


def test_a_budget_leaves_out_what_it_does_not_reach(emotion, settings, cache):
    rock.search(emotion, NONE, settings, 0)
    found = rock.search_all([(emotion, cell, 0) for cell in (NONE, ROCK)], settings, budget_s=-1)
    assert list(found) == [(emotion.name, NONE, 0)]


def test_cells_that_differ_have_searches_of_their_own(emotion, valence, settings):
    other = dataclasses.replace(settings, attention=5)
    keys = {
        rock._key(p, cell, s, seed, "cpu")
        for p, cell, s, seed in itertools.product(
            (emotion, valence), (ROCK, NONE, FLAT, Cell("rock", 1, "aphf")), (settings, other), (0, 1)
        )
    }
    assert len(keys) == 32
    more = dataclasses.replace(settings, n_trials=9, seeds=(5,))
    assert rock._key(emotion, ROCK, more, 0, "cpu") == rock._key(emotion, ROCK, settings, 0, "cpu")


def test_the_cheapest_cells_of_five_seeds_come_first(emotion):
    s = dataclasses.replace(rock.settings("full", 0, "cpu"), seeds=tuple(range(7)))
    cells = [Cell("rock", 1, "ap"), Cell("flat", 256, "ap"), Cell("rock", 256, "ap")]
    order = [(cell, seed) for _, cell, seed in rock.in_order([(emotion, c, i) for c in cells for i in s.seeds], s)]
    assert order == [(c, i) for block in (range(5), range(5, 7)) for c in (cells[1], cells[2], cells[0]) for i in block]


def test_the_best_network_is_the_one_that_was_tested(emotion, settings, cache):
    found = rock.search(emotion, ROCK, settings, 0)
    net = rock.best_network(emotion, ROCK, settings, 0, found)
    context = contexts(emotion.dialogue, found.trials[found.best].content_size)
    said = rock.predict(net, emotion, emotion.tokens, context, "test")
    np.testing.assert_allclose(said, rock.chosen([found])[0], atol=1e-6)
    again = rock.retrain(emotion, ROCK, settings, 0, found)
    np.testing.assert_allclose(again, said, atol=1e-6)


# --- comparisons ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def said(emotion):
    """Random probabilities (2, n, 4) of two arms."""
    rng = np.random.default_rng(0)
    return [rng.dirichlet(np.ones(4), size=(2, len(emotion.rows["test"]))) for _ in range(2)]


def test_accuracy_recall_and_f1_agree_with_scikit_learn(emotion, said):
    truth, predicted = emotion.truth("test"), said[0].argmax(-1)
    assert rock.score(emotion, said[0][0], "test") == pytest.approx(metrics.accuracy_score(truth, predicted[0]))
    expected = [metrics.balanced_accuracy_score(truth, p) for p in predicted]
    assert rock.recall(emotion, said[0]) == pytest.approx(expected)
    gains = rock.class_gains(emotion, *said)
    f1 = [np.mean([metrics.f1_score(truth, p, average=None) for p in s.argmax(-1)], 0) for s in said]
    assert [e.estimate for e in gains.values()] == pytest.approx(f1[0] - f1[1])
    assert list(gains) == ["angry", "happy", "neutral", "sad"]
    angry, happy, neutral, sad = f1[0] - f1[1]
    contrast = rock.low_resource_gain(emotion, *said)
    assert contrast.estimate == pytest.approx((sad + angry) / 2 - (happy + neutral) / 2)


def test_an_improvement_is_positive_where_the_challenger_is_better(emotion, valence):
    truth = np.eye(4)[emotion.truth("test").astype(int)]
    right, wrong = np.stack([truth, truth]), np.stack([1 - truth, 1 - truth])
    assert rock.improvement(emotion, right, wrong).estimate == 1
    y = valence.truth("test")
    near, far = np.stack([y + 0.1, y - 0.1]), np.stack([y + 0.3, y + 0.5])
    assert rock.improvement(valence, near, far).estimate == pytest.approx(0.3)
    assert rock.improvement(valence, near, far).n_clusters == len(np.unique(valence.dialogue[valence.rows["test"]]))


def stub(dev, test):
    table = rock.pd.DataFrame({"dev": dev, "test": test})
    return rock.Search(table, [], [], np.zeros((len(dev), 1)), np.array(test)[:, None])


def test_choosing_is_on_development_data_and_seeds_are_shared():
    a, b = stub([0.3, 0.5, 0.5], [9, 1, 2]), stub([0.6, 0.1, 0.1], [4, 5, 6])
    assert rock.chosen([a, b]).tolist() == [[1], [4]]  # of equal ones the first
    assert rock.better_of([a, b], [b, a]) == [b, b]
    found = {("t", ROCK, 0): a, ("t", ROCK, 1): b, ("t", NONE, 1): a, ("u", NONE, 0): b}
    assert rock.common(found, "t", ROCK, NONE) == [[b], [a]]
    assert rock.common(found, "u", ROCK, NONE) == [[], []]


def test_the_papers_bootstrap_by_hand():
    rng = np.random.default_rng(0)
    assert set(rock.tuning_bootstrap([0.5], [0.2], 10, rng)) == {0.2}
    # of two trials the better is among two draws in three of four cases
    drawn_ = rock.tuning_bootstrap([0.1, 0.9], [7.0, 3.0], 40_000, rng)
    assert set(drawn_) == {3.0, 7.0}
    assert (drawn_ == 3.0).mean() == pytest.approx(0.75, abs=0.01)


def test_the_papers_bootstrap_is_a_plain_loop():
    dev, test = np.array([0.2, 0.7, 0.7, 0.1, 0.5]), np.arange(5.0)
    fast = rock.tuning_bootstrap(dev, test, 300, np.random.default_rng(3))
    draws = np.random.default_rng(3).integers(5, size=(300, 5))
    slow = [test[min(row, key=lambda i: (-dev[i], i))] for row in draws]
    assert fast.tolist() == slow


def test_a_list_of_trials_against_itself_is_not_significant():
    rng = np.random.default_rng(0)
    search = stub(rng.normal(size=30), rng.normal(size=30))
    mean, low, high = rock.tuning_interval(search, search, rng)
    assert low < 0 < high
    assert abs(mean) < 0.1
    better = stub(search.table["dev"], search.table["test"] + 100)
    assert rock.tuning_interval(better, search, rng)[1] > 50


# --- attention --------------------------------------------------------------------------------------------


def test_levels_by_hand():
    # mean 1, sd 2: z of 0, 1, 3, 5 and 4.99 are -.5, 0, 1, 2 and just below
    weights = np.array([1 - 2, 1 - 2, 1 - 2, 1, 1, 3, 5.0])
    z = (weights - weights.mean()) / weights.std()
    assert rock.attention_levels(weights).tolist() == [int(np.clip(np.floor(v) + 1, 0, 3)) for v in z]
    assert rock.attention_levels([0.2, 0.2, 0.2]).tolist() == [0, 0, 0]
    assert rock.LEVELS == ("none", "low", "medium", "high")


def test_an_edge_belongs_to_the_level_above_it():
    assert rock.attention_levels([-1.0, 1.0, 0.0]).tolist()[2] == 1  # z = 0
    assert rock.attention_levels([-1.0, 1.0]).tolist() == [0, 2]  # z = -1 and 1


def test_history_and_second_words_by_hand():
    attention = rock.Attention(
        context=np.array([[3, 4, 5], [7, -1, -1]]),
        words=np.array([[[0.2, 0.5, 0.3], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0]], [[0.1, 0.8, 0.1], [0, 0, 0], [0, 0, 0]]]),
        turns=np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]]),
        n_words=np.array([[3, 2, 1], [3, 0, 0]]),
    )
    assert attention.history_minus_current() == pytest.approx([0.4 - 0.2, np.nan], nan_ok=True)
    # .5 - .25 and .4 - .6; a turn of one word has no other
    assert attention.second_word_minus_others() == pytest.approx([(0.25 - 0.2) / 2, 0.8 - 0.1])


def test_attention_of_a_network_sums_to_one(emotion, settings):
    trial = fixed(emotion, ROCK, settings, content_size=3)
    net = rock.network(emotion, ROCK, settings, trial, torch.Generator().manual_seed(0))
    found = rock.attention(net, emotion, trial, emotion.rows["test"])
    assert found.turns.sum(1) == pytest.approx(np.ones(len(found.turns)), abs=1e-5)
    there = found.context >= 0
    assert found.words.sum(2)[there] == pytest.approx(np.ones(there.sum()), abs=1e-5)
    assert (found.n_words[there] > 0).all()
    assert (found.n_words[~there] == 0).all()


# --- MELD -------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_meld_has_timing_history_and_future(data_root):
    s = rock.settings("full", 0, "cpu")
    corpus = rock.load("meld", "full", 0, data_root)["meld"]
    p = rock.problem(corpus, "meld", "emotion", s, stories=rock.narratives(corpus, "meld"))
    assert p.families == "thf"
    assert {split: len(rows) for split, rows in p.rows.items()} == {"train": 8245, "val": 897, "test": 2211}
    assert len(p.tasks) == 12
    assert p.classes == ("angry", "happy", "neutral", "sad")
