import numpy as np
import pytest
from scipy.stats import spearmanr

from uncertain_affect import evaluate, metrics
from uncertain_affect.evaluate import Cases

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


def test_one_prediction_has_no_epistemic_uncertainty_and_labels_no_disagreement():
    found = measured(PROBS[0], Cases(VOTES.argmax(1)))
    assert list(found) == ["accuracy", "NLL", "Brier", "ECE", "AURC"]
    assert found == measured(PROBS[:1], Cases(VOTES.argmax(1)))


def test_the_truth_itself_is_the_best_there_is():
    found = measured(TRUTH)
    assert found["distance to p*"] == 0
    assert found["r(U_a, H*)"] == pytest.approx(1)


def test_clusters_widen_the_interval():
    doubled = [np.repeat(part, 2, axis) for part, axis in ((PROBS, 1), (VOTES, 0))]
    alone = evaluate.table(evaluate.measure(doubled[0], Cases(doubled[1])))
    together = evaluate.table(evaluate.measure(doubled[0], Cases(doubled[1], np.repeat(np.arange(N), 2))))
    width = [of.loc["NLL", "high"] - of.loc["NLL", "low"] for of in (alone, together)]
    assert width[1] == pytest.approx(2**0.5 * width[0], rel=0.05)


@pytest.mark.parametrize(
    "probs, target, message",
    [
        (PROBS[0, 0], VOTES, r"probs has shape \(4,\): expected \(T, N, C\) or \(N, C\)"),
        (PROBS * np.where(np.arange(N) == 7, 1.01, 1)[:, None], VOTES, "probs: row 0, 7 sums to 1.01"),
        (PROBS, VOTES[:, :3], r"target has shape \(60, 3\)"),
        (PROBS, np.where(np.arange(N) == 9, 4, 0), "labels: row 9 holds 4"),
    ],
)
def test_bad_arrays_are_refused_with_the_first_bad_index(probs, target, message):
    with pytest.raises(ValueError, match=message):
        evaluate.measure(probs, Cases(target))


def test_a_file_is_read_back(tmp_path):
    np.savez(tmp_path / "p.npz", probs=PROBS, votes=VOTES)
    arrays = evaluate.read(tmp_path / "p.npz")
    assert set(arrays) == {"probs", "votes"}
    assert np.array_equal(arrays["probs"], PROBS)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"votes": VOTES}, "there is no array 'probs'"),
        ({"probs": PROBS}, "one of the arrays 'labels' and 'votes' is needed"),
        ({"probs": PROBS, "votes": VOTES, "labels": VOTES.argmax(1)}, "not both"),
        ({"probs": PROBS, "votes": VOTES, "extra": VOTES}, "array 'extra' is not known"),
        ({"probs": PROBS, "votes": VOTES.astype(object)}, "array 'votes' cannot be read: Object arrays"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        evaluate.read(tmp_path / "p.npz")


def test_what_is_no_archive_is_refused(tmp_path):
    np.save(tmp_path / "p.npy", PROBS)
    (tmp_path / "text.npz").write_text("probs")
    np.savez(tmp_path / "whole.npz", probs=PROBS, votes=VOTES)
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:900])
    for name in ("p.npy", "text.npz", "cut.npz"):
        with pytest.raises(ValueError, match=rf"{name}: .*Expected is an .npz"):
            evaluate.read(tmp_path / name)
    (tmp_path / "flipped.npz").write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
    with pytest.raises(ValueError, match="array 'probs' cannot be read: Bad CRC-32"):
        evaluate.read(tmp_path / "flipped.npz")
    with pytest.raises(FileNotFoundError, match=r"none\.npz does not exist"):
        evaluate.read(tmp_path / "none.npz")
