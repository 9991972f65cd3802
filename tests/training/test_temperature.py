import math

import pytest
from scipy.special import expit, logit

from uncertain_affect.training.temperature import fit_temperature


def test_the_temperature_is_where_the_loss_is_flat_and_within_its_bounds():
    # two answers with the logit z, right with probability q: sigmoid(z / T) = q
    z, q = 4.0, 0.7
    fitted = fit_temperature(lambda log_t: -q * math.log(p := expit(z / math.exp(log_t))) - (1 - q) * math.log(1 - p))
    assert fitted == pytest.approx(z / logit(q), rel=1e-4)
    for slope, bound in ((1, 0.05), (-1, 20)):
        assert fit_temperature(lambda log_t, slope=slope: slope * log_t) == pytest.approx(bound, rel=1e-4)
