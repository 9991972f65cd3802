import dataclasses

import pytest

from uncertain_affect.papers import distill

from .small import SMALL, TUNING, corpus, trunks


@pytest.fixture(scope="package")
def data():
    return distill.split_videos(corpus(), SMALL)


@pytest.fixture(scope="package")
def arms(data):
    """Teachers without and with balancing."""
    return distill.train(data, trunks(data), SMALL, balanced=(False, True))


@pytest.fixture(scope="package")
def teachers(arms):
    return arms[1]


@pytest.fixture(scope="package")
def released(data):
    (teachers,) = distill.train(data, trunks(data), dataclasses.replace(SMALL, faithful_to_release=True))
    return teachers


@pytest.fixture(scope="package")
def start():
    return distill.trunks.starting_trunk(TUNING, 32)
