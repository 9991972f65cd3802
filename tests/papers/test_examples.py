"""The examples in docstrings give what they show."""

import doctest

import pytest

from uncertain_affect.models import uncnet
from uncertain_affect.papers import predictions
from uncertain_affect.training import features, temperature


@pytest.mark.parametrize("module", [uncnet, predictions, features, temperature], ids=lambda module: module.__name__)
def test_examples(module):
    results = doctest.testmod(module)
    assert results.attempted and not results.failed
