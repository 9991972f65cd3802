import doctest
import importlib

import pytest

PAPER = ("attention", "auxiliary", "monah", "stopping", "text")


@pytest.mark.parametrize("name", ["losses.rock", "models.rock", *(f"papers.rock.{module}" for module in PAPER)])
def test_examples_in_docstrings(name):
    failed, tried = doctest.testmod(importlib.import_module(f"uncertain_affect.{name}"))
    assert tried and not failed
