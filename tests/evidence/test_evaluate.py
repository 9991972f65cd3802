import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from uncertain_affect import metrics
from uncertain_affect.evidence import evaluate
from uncertain_affect.evidence.evaluate import Cases

rng = np.random.default_rng(5)
N, C, T = 60, 4, 5
PROBS = rng.dirichlet(np.ones(C), (T, N))
TRUTH = rng.dirichlet(np.ones(C), N)
VOTES = rng.multinomial(10, TRUTH)
CLUSTERS = rng.integers(0, 12, N)
GROUP = rng.random(N) < 0.3
CASES = Cases(VOTES, CLUSTERS, TRUTH, GROUP)


def measured(probs=PROBS, cases=CASES):
    return {name: values.mean() for name, values in evaluate.measure(probs, cases).items()}


def test_every_measure_is_that_of_the_metrics():
    found, mean = measured(), PROBS.mean(0)
    u = metrics.entropy_decomposition(PROBS)
    wrong = mean.argmax(1) != VOTES.argmax(1)
    expected = {
        "accuracy": 1 - wrong.mean(),
        "NLL": -(VOTES * np.log(mean)).sum() / VOTES.sum(),
        "Brier": metrics.brier_score(mean, VOTES),
        "ECE": metrics.expected_calibration_error(mean, VOTES),
        "AURC": metrics.area_under_risk_coverage(u.total, wrong),
        "distance to p*": metrics.jensen_shannon_distance(mean, TRUTH).mean(),
        "distance to votes": metrics.jensen_shannon_distance(mean, VOTES / 10).mean(),
        "r(U_a, H*)": spearmanr(u.aleatoric, metrics.entropy(TRUTH)).statistic,
        "r(U_a, d)": spearmanr(u.aleatoric, metrics.annotator_disagreement(VOTES)).statistic,
        "AUROC(U_e, group)": metrics.auroc(u.epistemic, GROUP),
        "r(U_a, U_e)": spearmanr(u.aleatoric, u.epistemic).statistic,
    }
    assert list(found) == list(evaluate.MEASURES)
    assert found == pytest.approx(expected)


def test_one_prediction_has_no_epistemic_uncertainty_labels_no_disagreement_and_the_truth_is_the_best():
    found = measured(PROBS[0], Cases(VOTES.argmax(1)))
    assert list(found) == ["accuracy", "NLL", "Brier", "ECE", "AURC"]
    assert found == measured(PROBS[:1], Cases(VOTES.argmax(1)))
    best = measured(TRUTH)
    assert (best["distance to p*"], best["r(U_a, H*)"]) == (0, pytest.approx(1))


def test_clusters_widen_the_interval_and_one_cluster_has_none():
    probs, votes = np.repeat(PROBS, 2, 1), np.repeat(VOTES, 2, 0)
    clusters = (None, np.repeat(np.arange(N), 2), np.zeros(2 * N))
    alone, together, one = (evaluate.table(evaluate.measure(probs, Cases(votes, of))) for of in clusters)
    width = [of.loc["NLL", "high"] - of.loc["NLL", "low"] for of in (alone, together)]
    assert width[1] == pytest.approx(2**0.5 * width[0], rel=0.05)
    assert one.loc["NLL", "estimate"] == pytest.approx(measured()["NLL"])
    assert one[["low", "high"]].isna().all(axis=None)


def bad(row, value, of=PROBS[0]):
    changed = of.copy()
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    "probs, target, message",
    [
        (PROBS[0, 0], VOTES, r"probs has shape \(4,\): expected \(T, N, C\) or \(N, C\)"),
        (PROBS[:, :0], VOTES[:0], r"probs has shape \(5, 0, 4\).*not empty"),
        (PROBS[:0], VOTES, r"probs has shape \(0, 60, 4\).*not empty"),
        (np.ones((3, 1)), [0, 0, 0], r"probs has shape \(3, 1\).*C at least 2"),
        (PROBS.astype(complex), VOTES, "probs are complex128: expected floating-point numbers"),
        (PROBS * np.where(np.arange(N) == 7, 1.01, 1)[:, None], VOTES, "probs, sample 0: row 7 sums to 1.01"),
        (np.stack([PROBS[0], bad(9, [np.nan, 0, 0, 1])]), VOTES, "probs, sample 1: row 9 holds nan"),
        (bad(3, [-0.5, 0.5, 0.5, 0.5]), VOTES, "probs: row 3 holds -0.5: probabilities lie between 0 and 1"),
        (PROBS.astype(np.float16), VOTES, "probs, sample 0: row 2 sums to .*half precision is too coarse"),
        (PROBS, VOTES[:50], r"target has shape \(50, 4\): expected labels \(60,\) or votes \(60, 4\)"),
        (PROBS, np.int64(1), r"target has shape \(\)"),
        (PROBS.swapaxes(0, 1), VOTES, "of 60 examples with 5 samples each: samples come first"),
        (PROBS, bad(5, 0, VOTES), "votes: row 5 has no votes"),
        (PROBS, np.where(np.arange(N) == 9, 4, 0), "labels: row 9 holds 4"),
        (PROBS, Cases(VOTES, [1, 2, 3]), r"groups have shape \(3,\): expected one for each of 60 examples"),
    ],
)
def test_bad_arrays_are_refused_with_the_first_bad_index(probs, target, message):
    """Here what measure adds; the tests of the metrics' inputs go through what is wrong with one prediction."""
    with pytest.raises(ValueError, match=message):
        evaluate.measure(probs, target if isinstance(target, Cases) else Cases(target))


def test_by_hand():
    probs, labels = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0], [0.25, 0.75]]), np.array([0, 1, 0, 1])
    found = measured(probs, Cases(labels))
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["NLL"] == pytest.approx((np.log(2) + np.log(4) + 0 + np.log(4 / 3)) / 4)
    assert found["Brier"] == pytest.approx((0.5 + 2 * 0.75**2 + 0 + 2 * 0.25**2) / 4)
    # confidences .5 and 1 right; of two at .75 one is: gaps .5, .25 and 0 of the bins
    assert found["ECE"] == pytest.approx((0.5 + 2 * 0.25 + 0) / 4)
    # most certain first: right; then a tie of a right and a wrong one, half an error each; then a right one
    assert found["AURC"] == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 1 / 4) / 4)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_on_random_input_it_agrees_with_scikit_learn(seed, n_classes):
    rng = np.random.default_rng(seed)
    p, labels = rng.dirichlet(np.ones(n_classes), (3, 20)), rng.integers(0, n_classes, 20)
    group = np.arange(20) % 3 == 0
    found, mean = measured(p, Cases(labels, group=group)), p.mean(0)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, mean.argmax(1)))
    assert found["NLL"] == pytest.approx(log_loss(labels, mean, labels=range(n_classes)))
    onehot = np.eye(n_classes)[labels]
    of_classes = [brier_score_loss(onehot[:, c], mean[:, c]) for c in range(n_classes)]
    assert found["Brier"] == pytest.approx(sum(of_classes))
    epistemic = metrics.entropy(mean) - metrics.entropy(p).mean(0)
    assert found["AUROC(U_e, group)"] == pytest.approx(roc_auc_score(group, epistemic))


def test_narrow_and_whole_numbers_are_probabilities_too():
    halves = np.array([[0.5, 0.5], [1, 0], [0.25, 0.75]])
    expected = measured(halves, Cases([0, 0, 1]))
    for dtype in (np.float16, np.float32, ">f8"):
        assert measured(halves.astype(dtype), Cases(np.array([0, 0, 1], np.uint64))) == pytest.approx(expected)
    onehot = np.eye(2)[[0, 0, 1]]
    for dtype in (bool, int):
        assert measured(onehot.astype(dtype), Cases([0, 1, 1]))["accuracy"] == pytest.approx(2 / 3)


def test_what_is_not_measured_has_a_reason():
    # shares of votes show disagreement, one vote each does not
    assert "r(U_a, d)" in measured(PROBS, Cases(VOTES / 10))
    assert "r(U_a, d)" not in measured(PROBS, Cases(np.eye(C)[VOTES.argmax(1)]))
    assert evaluate.unmeasured(evaluate.measure(PROBS, CASES)) == {}
    why = evaluate.unmeasured(evaluate.measure(PROBS[0], Cases(VOTES.argmax(1))))
    assert list(why) == [name for name in evaluate.MEASURES if name not in ("accuracy", "NLL", "Brier", "ECE", "AURC")]
    assert why["r(U_a, U_e)"] == "one prediction of each example has no epistemic uncertainty"
    assert why["distance to votes"] == "no example has several votes"
    assert why["r(U_a, H*)"] == "the true distribution is not known"
    why = evaluate.unmeasured(evaluate.measure(PROBS, Cases(VOTES, truth=TRUTH)))
    assert why == {"AUROC(U_e, group)": "no group is known to be thinned in training"}


@pytest.mark.parametrize("different", [0, 1])
def test_a_correlation_with_what_hardly_varies_is_not_defined(different):
    probs = np.tile(np.eye(2)[[0]], (N, 1))
    probs[:different] = 0.5
    found = evaluate.measure(probs, Cases(VOTES[:, :2] + 1, CLUSTERS))
    assert "r(U_a, d)" not in evaluate.table(found).index
    assert "the same for all examples, or for all but one cluster" in evaluate.unmeasured(found)["r(U_a, d)"]


def test_ten_million_float32_numbers_are_not_copied():
    probs = np.full((100, 10_000, 10), 0.1, np.float32)
    tracemalloc.start()
    evaluate.measure(probs, Cases(np.arange(10_000) % 10, np.arange(10_000) % 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < probs.nbytes


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"votes": VOTES}, "there is no array 'probs'"),
        ({"probs": PROBS}, "one of the arrays 'labels' and 'votes' is needed"),
        ({"probs": PROBS, "votes": VOTES, "labels": VOTES.argmax(1)}, "not both"),
        ({"probs": PROBS, "votes": VOTES, "extra": VOTES}, "array 'extra' is not known"),
        ({"probs": PROBS, "votes": VOTES.astype(object)}, "array 'votes' cannot be read: Object arrays"),
        ({"probs": PROBS, "votes": VOTES.astype(str)}, "array 'votes' is <U21: expected numbers"),
        (
            {"probs": PROBS[0, 0], "votes": VOTES},
            r"array 'probs' has shape \(4,\): expected 2 or 3 axes; of a yes or no, np.stack",
        ),
        ({"probs": PROBS, "labels": VOTES}, r"array 'labels' has shape \(60, 4\): expected 1 axes"),
        ({"probs": PROBS, "votes": VOTES.argmax(1)}, r"array 'votes' has shape \(60,\): expected 2 axes"),
        ({"probs": PROBS, "labels": np.int64(0)}, r"array 'labels' has shape \(\)"),
        ({"probs": PROBS, "labels": np.zeros(N)}, "array 'labels' is float64: expected an integer dtype"),
        ({"probs": PROBS, "labels": np.full(N, "glad")}, r"labels are names: save as well classes=np.array"),
        ({"probs": PROBS, "labels": np.full(N, "dull"), "classes": ["glad", "sad"]}, "'dull' is none of the classes"),
        ({"probs": PROBS, "votes": VOTES, "groups": np.where(np.arange(N) == 4, np.nan, 1)}, "'groups': row 4 is NaN"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        evaluate.read(tmp_path / "p.npz")


def test_a_file_is_read_back_and_beside_a_corpus_it_has_no_truth_of_its_own(tmp_path):
    np.savez(tmp_path / "p.npz", probs=PROBS)
    assert list(evaluate.read(tmp_path / "p.npz", known=True)) == ["probs"]
    np.savez(tmp_path / "p.npz", probs=PROBS, votes=VOTES)
    arrays = evaluate.read(tmp_path / "p.npz")
    assert set(arrays) == {"probs", "votes"}
    assert np.array_equal(arrays["probs"], PROBS)
    np.savez(tmp_path / "p.npz", probs=PROBS, votes=VOTES, groups=CLUSTERS)
    with pytest.raises(ValueError, match=r"'votes' and 'groups' in the file, beside those of the corpus: two truths"):
        evaluate.read(tmp_path / "p.npz", known=True)


def test_every_form_of_a_file_gives_the_same_arrays(tmp_path):
    probs, labels, groups = PROBS[0], VOTES.argmax(1), np.array([f"person {i}" for i in CLUSTERS])
    assert labels.max() == C - 1
    names = np.array(["calm", "glad", "sad", "afraid"])
    onehot = np.eye(C, dtype=int)[labels]
    forms = {
        "from 0.npz": {"labels": labels, "groups": groups},
        "from 1.npz": {"labels": labels + 1, "groups": groups},
        "names.npz": {"labels": names[labels], "classes": names, "groups": groups},
        "one-hot.npz": {"labels": onehot, "groups": groups},
    }
    for name, arrays in forms.items():
        np.savez(tmp_path / name, probs=probs, **arrays)
    torch.save({"probs": torch.tensor(probs), "labels": torch.tensor(labels)}, tmp_path / "tensors.pt")
    frame = pd.DataFrame(probs, columns=names).assign(label=names[labels], Group=groups)
    frame.to_csv(tmp_path / "named.csv", index=False)
    frame.assign(label=labels).to_csv(tmp_path / "numbers.csv")
    for name in (*forms, "tensors.pt", "named.csv", "numbers.csv"):
        arrays = evaluate.read(tmp_path / name)
        truth = arrays["votes"].argmax(1) if name == "one-hot.npz" else arrays["labels"]
        assert np.allclose(arrays["probs"], probs, rtol=0, atol=1e-15) and np.array_equal(truth, labels), name
        assert name == "tensors.pt" or np.array_equal(arrays["groups"], groups)
    np.save(tmp_path / "alone.npy", probs)
    assert np.array_equal(evaluate.read(tmp_path / "alone.npy", known=True)["probs"], probs)


def test_what_is_no_archive_is_refused(tmp_path):
    np.savez(tmp_path / "whole.npz", probs=PROBS, votes=VOTES)
    np.save(tmp_path / "p.npy", PROBS)
    whole = (tmp_path / "whole.npz").read_bytes()
    flipped = whole[:900] + bytes([whole[900] ^ 1]) + whole[901:]
    for name, content in {"text": b"probs", "cut": whole[:900], "flipped": flipped}.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
    (tmp_path / "words.csv").write_text("yes,no,label,remark\n.5,.5,yes,fine\n")
    (tmp_path / "hole.csv").write_text("yes,no,label\n.5,.5,yes\n.5,,no\n")
    header = np.lib.format.magic(1, 0) + b"\x0b\0" + b"{'descr': (\n"
    for name, content in {"bytes": b"0.5, 0.5", "header": header}.items():
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            archive.writestr("probs.npy", content)
    torch.save({"probs": torch.tensor(PROBS), "epoch": 3}, tmp_path / "more.pt")
    torch.save(Cases(VOTES), tmp_path / "object.pt")
    np.savez(tmp_path / "objects.npz", probs=PROBS, votes=VOTES, groups=CLUSTERS.astype(object))
    messages = dict.fromkeys(("text.npz", "cut.npz", "object.pt"), "Expected is an .npz")
    messages |= {"p.npy": "one of the arrays 'labels' and 'votes' is needed", "more.pt": "'epoch' is not a tensor"}
    messages |= {"words.csv": "the column 'remark' holds no numbers", "hole.csv": "line 3: no is empty"}
    messages |= {"objects.npz": r"array 'groups' cannot be read: .*save it with \.astype\(str\)"}
    messages |= {"flipped.npz": "array 'probs' cannot be read: Bad CRC-32", "bytes.npz": "'probs' is not an array"}
    for name, message in (messages | {"header.npz": "array 'probs' cannot be read", "": "Is a directory"}).items():
        with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
            evaluate.read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.npz does not exist"):
        evaluate.read(tmp_path / "none.npz")


@pytest.mark.parametrize(("n", "wrong"), [(60, 0), (60, 1), (60, 2), (10, 0), (1000, 0)])
def test_intervals_lie_within_the_bounds_of_their_measure(n, wrong):
    labels, group = np.arange(n) % 2, np.arange(n) < n // 2
    probs = np.full((n, 2), 0.02)
    probs[np.arange(n), labels] = 0.98
    probs[:wrong] = probs[:wrong, ::-1]
    # two networks that are further apart where the group is, so that no U_e lies wrong and AUROC is 1; or a few do
    apart = np.where(group ^ (np.arange(n) < wrong), 0.01, 0.001)[:, None] * [1, -1]
    for clusters in (None, np.arange(n) % 6):
        table = evaluate.table(
            evaluate.measure(np.stack([probs - apart, probs + apart]), Cases(labels, clusters, group=group))
        )
        assert list(table.index) == ["accuracy", "NLL", "Brier", "ECE", "AURC", "AUROC(U_e, group)", "r(U_a, U_e)"]
        for name, row in table.iterrows():
            low, high = evaluate.MEASURES[name].bounds
            assert low <= row["low"] <= row["estimate"] <= row["high"] <= high, name
        for name in ("accuracy", "AUROC(U_e, group)"):  # none wrong of a few says little
            assert table.loc[name, "low"] < 1 - wrong / n


def test_what_is_bounded_has_its_bounds():
    bounds = {name: about.bounds for name, about in evaluate.MEASURES.items()}
    assert {name for name, of in bounds.items() if of == (0, 1)} == {"accuracy", "ECE", "AURC", "AUROC(U_e, group)"}
    assert (bounds["Brier"], bounds["NLL"]) == ((0, 2), (0, np.inf))
    assert all(of == (-1, 1) for name, of in bounds.items() if name.startswith("r("))
    assert all(of == (0, np.log(2) ** 0.5) for name, of in bounds.items() if name.startswith("distance"))


def test_beside_ece_stands_what_a_calibrated_predictor_would_score():
    """One that is calibrated by construction prints an ECE above 0, as large as its reference."""
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        probs = rng.dirichlet(np.ones(5), 400)
        cases = Cases((rng.random((400, 1)) > probs.cumsum(1)).sum(1).clip(max=4))
        beside = evaluate.references(probs, cases, rng)
        errors.append((measured(probs, cases)["ECE"], *beside["ECE"]))
    error, mean, high = np.transpose(errors)
    assert error.mean() == pytest.approx(mean.mean(), rel=0.1) == pytest.approx(0.045, abs=0.004)
    assert (error > high).mean() <= 0.1
    table = evaluate.table(evaluate.measure(probs, cases), beside)
    assert list(table) == evaluate.COLUMNS
    shown = table[["if calibrated", "97.5% below"]]
    assert tuple(shown.loc["ECE"]) == beside["ECE"] and shown.drop("ECE").isna().all(axis=None)
    over_confident = probs**4 / (probs**4).sum(1, keepdims=True)
    (far,) = evaluate.references(over_confident, cases, rng).values()
    assert measured(over_confident, cases)["ECE"] > 3 * far.high


def test_the_reference_is_that_of_the_mean_prediction_and_of_votes_as_alike_as_they_are():
    found, again = (evaluate.references(given, CASES, np.random.default_rng(0)) for given in (PROBS, PROBS.mean(0)))
    assert found == again == {"ECE": metrics.calibrated_reference(PROBS.mean(0), VOTES, np.random.default_rng(0))}


def test_a_correlation_may_be_negative():
    certain = np.linspace(0.5, 0.99, N)
    probs = np.column_stack([certain, 1 - certain])
    split = np.linspace(10, 5, N).round().astype(int)  # people agree where the network is least certain
    row = evaluate.table(evaluate.measure(probs, Cases(np.column_stack([split, 10 - split])))).loc["r(U_a, d)"]
    assert -1 <= row["low"] < row["estimate"] < row["high"] < 0
