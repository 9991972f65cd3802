import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from uncertain_affect.training import temperature


def fitted(z, y):
    loss = F.cross_entropy if z.ndim == 2 else F.binary_cross_entropy_with_logits
    return temperature.fit_temperature(lambda t: float(loss(z.double() / t, y if z.ndim == 2 else y.double())))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.floats(0.3, 4))
def test_the_temperature_of_drawn_labels_is_found_again(seed, true):
    g = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(4000, 3, generator=g)
    y = torch.multinomial(torch.softmax(z, -1), 1, generator=g).squeeze(1)
    assert fitted(true * z, y) == pytest.approx(true, rel=0.15)
    answers = torch.bernoulli(torch.sigmoid(z[:, 0]), generator=g)
    assert fitted(true * z[:, 0], answers) == pytest.approx(true, rel=0.25)


def test_temperatures_by_grid_and_their_bounds():
    z, y = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1, 1])
    grid = torch.linspace(math.log(0.05), math.log(20), 20001, dtype=torch.float64).exp()
    best = min(grid.tolist(), key=lambda t: float(F.cross_entropy(z.double() / t, y)))
    assert fitted(z, y) == pytest.approx(best, rel=1e-3)
    assert fitted(z, torch.tensor([0, 0, 1])) == pytest.approx(0.05, rel=1e-3)  # all right: colder
