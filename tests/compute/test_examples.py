"""That the examples in docstrings give what they show."""

import doctest
import importlib

import pytest

MODULES = ("compute.cache", "evidence.audit", "evidence.claims", "evidence.resampling", "run.record")


@pytest.mark.parametrize("name", [*(f"uncertain_affect.{module}" for module in MODULES), "bench.schedulers"])
def test_examples(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert (failed, tried > 0) == (0, True)
