import math
import tracemalloc

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from metric_strategies import distributions

from uncertain_affect.metrics import bernoulli_entropy_decomposition, entropy, entropy_decomposition

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@st.composite
def samples(draw):
    """Probabilities (T, N, C)."""
    return draw(distributions(draw(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(2, 5)))))


def test_entropy_of_hand_worked_distributions():
    probs = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_allclose(entropy(probs), [0, math.log(2), math.log(4)], rtol=1e-15)
    np.testing.assert_allclose(entropy(probs, base=2), [0, 1, 2], rtol=1e-15)
    np.testing.assert_allclose(entropy(probs, normalise=True), [0, 0.5, 1], rtol=1e-15)
    np.testing.assert_allclose(entropy(probs, base=2, normalise=True), [0, 0.5, 1], rtol=1e-15)
    assert entropy([0.5, 0.5], base=2) == 1


@given(samples())
def test_entropy_agrees_with_scipy(probs):
    np.testing.assert_allclose(entropy(probs), scipy.stats.entropy(probs, axis=-1), atol=1e-12)
    np.testing.assert_allclose(entropy(probs, base=2), scipy.stats.entropy(probs, base=2, axis=-1), atol=1e-12)


def test_decomposition_of_hand_worked_samples():
    # Two certain networks that contradict each other: all epistemic. Two that agree on a coin: all aleatoric.
    probs = np.array([[[1, 0], [0.5, 0.5]], [[0, 1], [0.5, 0.5]]])
    total, aleatoric, epistemic = entropy_decomposition(probs, base=2)
    assert total.tolist() == [1, 1]
    assert aleatoric.tolist() == [0, 1]
    assert epistemic.tolist() == [1, 0]


@given(samples())
def test_decomposition_properties(probs):
    split = entropy_decomposition(probs)
    log_c = math.log(probs.shape[-1])
    assert (split.epistemic >= 0).all()
    assert (split.aleatoric >= 0).all()
    assert (split.total <= log_c + 1e-12).all()
    # What is clipped away is rounding: the parts still add up.
    np.testing.assert_allclose(split.aleatoric + split.epistemic, split.total, atol=1e-12)
    np.testing.assert_allclose(split.total, entropy(probs.mean(0)), atol=1e-12)
    np.testing.assert_allclose(split.aleatoric, entropy(probs).mean(0), atol=1e-12)
    for normalised, part in zip(entropy_decomposition(probs, normalise=True), split, strict=True):
        np.testing.assert_allclose(normalised * log_c, part, atol=1e-12)


@given(samples(), st.randoms(use_true_random=False))
def test_decomposition_does_not_depend_on_the_order_of_samples(probs, random):
    order = random.sample(range(len(probs)), len(probs))
    for part, other in zip(entropy_decomposition(probs), entropy_decomposition(probs[order]), strict=True):
        np.testing.assert_allclose(part, other, atol=1e-12)


def test_a_network_that_never_changes_has_no_epistemic_uncertainty():
    probs = np.broadcast_to(np.random.default_rng(0).dirichlet(np.ones(9), 20), (2000, 20, 9))
    split = entropy_decomposition(probs.astype(np.float32))
    np.testing.assert_allclose(split.epistemic, 0, atol=1e-12)


def test_multi_label_output_with_a_last_axis_of_two():
    on = np.random.default_rng(0).random((10, 4, 6))
    split = entropy_decomposition(np.stack([on, 1 - on], -1), normalise=True)
    assert split.total.shape == (4, 6)
    assert (split.total <= 1).all()
    mean = on.mean(0)
    np.testing.assert_allclose(split.total, -(mean * np.log2(mean) + (1 - mean) * np.log2(1 - mean)))


def test_uncertainties_are_in_nats_where_nothing_else_is_asked_for():
    even = np.full((1, 4), 0.25)
    for found in (entropy(even), entropy_decomposition(even[None]).total):
        assert found[0] == pytest.approx(np.log(4))
    assert bernoulli_entropy_decomposition(np.array([[0.5]])).total[0] == pytest.approx(np.log(2))


def test_bernoulli_decomposition_of_hand_worked_samples():
    # one label on which two certain networks contradict each other, one on which both toss a coin, one all agree on
    total, aleatoric, epistemic = bernoulli_entropy_decomposition(np.array([[1, 0.5, 0], [0, 0.5, 0]]), base=2)
    assert total.tolist() == [1, 1, 0]
    assert aleatoric.tolist() == [0, 1, 0]
    assert epistemic.tolist() == [1, 0, 0]


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]), st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4)),
        elements=st.floats(0, 1, width=32),
    ),
    st.booleans(),
)  # fmt: skip
def test_a_bernoulli_is_a_distribution_over_two_classes(probs, normalise):
    wide = probs.astype(np.float64)
    reference = entropy_decomposition(np.stack([wide, 1 - wide], -1), normalise=normalise)
    split = bernoulli_entropy_decomposition(probs, normalise=normalise)
    for ours, expected in zip(split, reference, strict=True):
        assert ours.dtype == probs.dtype
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-12)
    limit = 1 if normalise else math.log(2)
    assert (split.epistemic >= 0).all() and (split.total <= limit + 1e-6).all()
    tensors = bernoulli_entropy_decomposition(torch.from_numpy(probs), normalise=normalise)
    for tensor, array in zip(tensors, split, strict=True):
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_equals_numpy_and_keeps_dtype_and_device(dtype, device):
    probs = np.random.default_rng(0).dirichlet(np.full(5, 0.2), (7, 11)).astype(dtype)
    tensor = torch.from_numpy(probs).to(device)
    expected = [entropy(probs), *entropy_decomposition(probs)]
    for array, result in zip(expected, [entropy(tensor), *entropy_decomposition(tensor)], strict=True):
        assert isinstance(result, torch.Tensor)
        assert result.device == tensor.device
        assert result.dtype == tensor.dtype
        assert array.dtype == probs.dtype
        np.testing.assert_allclose(result.cpu().numpy(), array, rtol=1e-6, atol=1e-12)


def test_decomposition_needs_no_copy_of_all_samples():
    probs = np.random.default_rng(0).dirichlet(np.ones(9), (200, 1000))
    tracemalloc.start()
    entropy_decomposition(probs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Checking the row sums takes a ninth of the input several times over; one full copy would take it all.
    assert peak < 0.6 * probs.nbytes


def test_bad_input_is_named():
    probs = np.full((3, 4, 2), 0.5)
    probs[1, 2] = [1.5, -0.5]
    with pytest.raises(ValueError, match=r"probs_TNC: row 1, 2 holds -0\.5"):
        entropy_decomposition(probs)
    with pytest.raises(ValueError, match=r"samples first"):
        entropy_decomposition(np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"probs sums to 0\.9"):
        entropy([0.5, 0.4])
    with pytest.raises(ValueError, match="base is 1"):
        entropy([0.5, 0.5], base=1)
    with pytest.raises(ValueError, match="single class"):
        entropy([[1.0]], normalise=True)
    for bad in ([1.2], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            bernoulli_entropy_decomposition([[0.5], bad])
    with pytest.raises(ValueError, match="samples first"):
        bernoulli_entropy_decomposition(np.empty((0, 3)))


@pytest.mark.parametrize("probs", [0.5, torch.tensor(0.5)])
def test_one_number_has_no_samples(probs):
    with pytest.raises(ValueError, match=r"shape \(\): expected a non-empty \(T, ...\), samples first"):
        bernoulli_entropy_decomposition(probs)
