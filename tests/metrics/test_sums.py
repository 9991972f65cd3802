import doctest

from uncertain_affect.metrics import sums


def test_the_examples():
    failed, tried = doctest.testmod(sums)
    assert failed == 0 and tried > 0
