import csv

import numpy as np
import pytest
import torch
from drawing import seeded
from scipy import stats

from uncertain_affect.corpora import bp4d, disfa
from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import feeling, raters, views
from uncertain_affect.corpora.simulated.constants import ACTION_UNITS

# The constants are frozen: they were set from their sources before any claim was judged on the world.
CHECKSUM = "079efe3c8ae820702d1b652ddaf76637c98d1a58b04dbef1f932b91ad7873e9e"

CODED = {
    "bp4d": (c.BP4D_RATES, c.BP4D_OFFSET, c.BP4D_THRESHOLD),
    "disfa": (c.DISFA_RATES, c.DISFA_OFFSET, c.DISFA_THRESHOLD),
    "affwild2": (c.AFFWILD2_RATES, c.AFFWILD2_OFFSET, c.BP4D_THRESHOLD),
}


@pytest.fixture(scope="module")
def populations():
    """Frames of 2,000 to 12,000 people in each view, few of each: rates vary more between people than within."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "BP4D_QUICK", 48)
        patch.setattr(views, "DISFA_QUICK", 18)
        patch.setitem(views.AFFWILD2_SIZES, "quick", (48, 4, 0.5, 64))
        n = {"bp4d": 2000, "disfa": 4000, "affwild2": 12_000}
        yield {view: views.population(view, n[view], seeded(1)) for view in CODED}


@pytest.fixture(scope="module")
def votes():
    """Ten votes each for 6,000 pictures of the ferplus view, and the chances they were drawn with."""
    _, intensities, nuisance = views.ferplus_pictures(6000, seeded(1))
    p = raters.label_distribution(intensities, nuisance)
    return raters.vote(p, 10, seeded(2)), p


def test_they_are_frozen_and_the_checksum_sees_each(monkeypatch):
    assert c.checksum() == CHECKSUM
    monkeypatch.setattr(c, "TILT_DB_PER_OCTAVE", (-12.0, -6.1))
    assert c.checksum() != CHECKSUM


def test_prototypes_and_folds_are_those_published():
    assert c.PROTOTYPE.shape == (8, 17) and not c.PROTOTYPE[0].any()
    for row, units in zip(c.PROTOTYPE, c.PROTOTYPES.values(), strict=True):
        assert {ACTION_UNITS[i] for i in row.nonzero()[:, 0].tolist()} == set(units)
    for folds, of_corpus in ((c.BP4D_FOLDS, bp4d.FOLDS), (c.DISFA_FOLDS, disfa.FOLDS)):
        assert [sorted(fold) for fold in folds] == [sorted(fold) for fold in of_corpus]
    assert sum(c.BP4D_TASK_FRAMES) == 146_847


@pytest.mark.parametrize("view", CODED)
def test_offsets_come_out_of_their_derivation_and_give_the_published_base_rates(populations, view):
    rates, offset, threshold = CODED[view]
    activity, visible, _ = populations[view]
    coded = raters.coded(feeling.intensities(activity, offset), visible, threshold).mean(0)
    for au, percent in rates.items():
        assert 100 * coded[ACTION_UNITS.index(au)].item() == pytest.approx(percent, abs=1.0), f"AU{au}"
    assert not offset[[au not in rates for au in ACTION_UNITS]].any()
    # What must be added to the activity of each unit for a population to have the base rates, by bisection.
    low, high = torch.full((17,), -10.0), torch.full((17,), 10.0)
    wanted = torch.tensor([rates.get(au, 0.0) / 100 for au in ACTION_UNITS])
    for _ in range(30):
        middle = (low + high) / 2
        coded = raters.coded(feeling.intensities(activity, middle), visible, threshold).double().mean(0)
        low, high = torch.where(coded < wanted, middle, low), torch.where(coded < wanted, high, middle)
    assert (torch.where(wanted > 0, middle, 0.0) - offset).abs().max() < 0.25


def test_folds_of_people_differ_as_those_of_bp4d_do(populations):
    rates, offset, threshold = CODED["bp4d"]
    activity, visible, person = populations["bp4d"]
    units = [ACTION_UNITS.index(au) for au in rates]
    p = raters.coded(feeling.intensities(activity, offset), visible, threshold)[:, units]
    per_person = torch.zeros(2000, 12).index_add_(0, person, p) / person.bincount()[:, None]
    # the variance of a mean over a third of 41 people, as a root mean square over units
    found = 100 * (per_person.var(0) / (41 / 3)).mean().sqrt().item()
    assert found == pytest.approx(3.96, abs=0.4)


def test_shares_of_the_votes_are_those_of_ferplus(votes):
    share = votes[1].mean(0)
    assert (share - torch.tensor(c.FERPLUS_VOTES)).abs().max() < 0.015
    assert 0.0001 < share[9] < 0.001


def disagreement(votes):
    """Chance that two of a picture's votes for the nine classes differ, for pictures that have any: (N,)."""
    votes = np.asarray(votes, float)[:, :9]
    votes = votes[votes.sum(1) > 0]
    return 1 - ((votes / votes.sum(1, keepdims=True)) ** 2).sum(1)


def test_disagreement_is_that_of_ferplus(votes):
    d = disagreement(votes[0])
    assert d.mean() == pytest.approx(c.FERPLUS_DISAGREEMENT, abs=0.015)
    assert d.std(ddof=1) == pytest.approx(0.249, abs=0.02)  # published: the sd of the real training set


@pytest.mark.data
def test_disagreement_is_distributed_like_that_of_real_votes(votes, data_root):
    labels = data_root / "ferplus" / "fer2013new.csv"
    if not labels.exists():
        pytest.skip(f"{labels} does not exist")
    with labels.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Usage"] == "Training" and row["Image name"]]
    d, d_real = disagreement(votes[0]), disagreement([[row[name] for name in raters.CLASSES[:9]] for row in rows])
    assert d_real.mean() == pytest.approx(c.FERPLUS_DISAGREEMENT, abs=5e-4)
    assert stats.ks_2samp(d, d_real).statistic < 0.05
    assert stats.wasserstein_distance(d, d_real) < 0.02
