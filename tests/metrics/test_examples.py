"""The examples in the docstrings."""

import doctest
import importlib
import pkgutil

import pytest

from uncertain_affect import metrics

MODULES = [info.name for info in pkgutil.iter_modules(metrics.__path__, f"{metrics.__name__}.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
