"""Of each paper one notebook trained in the quick profile on the simulated world, headlessly, from an empty cache.

What it leaves is whole: an answer to each of its claims, and evidence from which all its tables, figures and answers
follow again. What the numbers are is not compared: they are a demonstration, and differ between machines.
"""

import pytest

from uncertain_affect.evidence import store
from uncertain_affect.run import layout, record, reproduce, verify

# the one of each paper that takes least
NOTEBOOKS = (
    "12_uncnet_calibration", "23_ugn_epistemic", "31_pen_adaptation", "43_rock_search", "51_distillation_balancing",
)  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=NOTEBOOKS)
def folder(request, tmp_path_factory):
    """The folder of a fresh run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNCERTAIN_AFFECT_RESULTS", str(tmp_path_factory.mktemp("results")))
        chosen = reproduce.select([request.param])
        (outcome,) = reproduce.reproduce(chosen, corpus="simulated", parameters={"PROFILE": "quick"})
        assert outcome.error is None, outcome.traceback
        yield layout.results_root() / "quick" / "simulated" / request.param


def test_every_claim_is_answered(folder):
    claims = reproduce.metadata(reproduce.notebooks()[folder.name])["claims"]
    assert set(record.read_answers(folder / "claims.json")) == set(claims)


def test_all_that_it_shows_follows_from_its_evidence(folder):
    store.check_committable(folder / store.NAME)
    assert verify.check_run(folder) == []
    assert verify.check_evidence(folder) == []
