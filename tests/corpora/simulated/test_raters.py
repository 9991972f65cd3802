import numpy as np
import pytest
import torch
from drawing import seeded, show, taken
from scipy import stats
from torch.testing import assert_close

from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import raters, views
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS, OCCLUSIONS

UNKNOWN, NF = 8, 9


def test_distribution_of_one_rater_by_hand(monkeypatch):
    rater = torch.tensor([1.5]), torch.tensor([0.5]), torch.arange(10.0)[None] / 10, torch.tensor([0.1])
    monkeypatch.setattr(raters, "population", lambda: rater)
    intensities = show({12: 4.0, 6: 2.0})
    scores = []
    for i, emotion in enumerate(c.EMOTIONS):
        evidence = 0.0
        for au, share in c.PROTOTYPES[emotion].items():
            m = 3.0 * share
            seen = max(intensities[0, ACTION_UNITS.index(au)].item() - 0.5, 0)
            evidence += (seen * m - m * m / 2) / c.EVIDENCE_SD**2
        scores.append(1.5 * evidence + i / 10)
    e = np.exp([*scores, 0.8, 0.9])  # nothing is lost in a good picture
    expected = 0.9 * e / e.sum() + 0.1 * np.array([1 / 9] * 9 + [0])
    found = raters.label_distribution(intensities, taken())
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=2e-4)


def test_the_population_is_one_and_averages_to_p_star(monkeypatch):
    face, crowd = (show({1: 2.0, 4: 3.0}), taken()), raters.population()
    p = raters.label_distribution(*face)
    assert crowd is raters.population() and all(len(values) == c.N_RATERS for values in crowd)
    alone = []
    for k in range(c.N_RATERS):
        monkeypatch.setattr(raters, "population", lambda k=k: tuple(values[k : k + 1] for values in crowd))
        alone.append(raters.label_distribution(*face))
    assert_close(p, torch.stack(alone).mean(0), atol=1e-5, rtol=1e-4)


def test_a_hundred_thousand_simulated_raters_confirm_p_star():
    _, intensities, nuisance = views.ferplus_pictures(6, seeded(2))
    n = 100_000
    p = raters.label_distribution(intensities, nuisance).double().numpy()
    counts = raters.simulate(intensities, nuisance, n, seeded()).numpy()
    assert (counts.sum(1) == n).all()
    # Pearson's statistic of six multinomials, classes with hardly a vote pooled with the likeliest
    statistic, freedom = 0.0, 0
    for observed, expected in zip(counts, n * p / p.sum(1, keepdims=True), strict=True):
        often = expected >= 20
        observed, expected = (np.append(x[often], x[~often].sum() + 1e-9) for x in (observed, expected))
        terms = (observed - expected) ** 2 / np.maximum(expected, 1)
        statistic, freedom = statistic + terms.sum(), freedom + len(terms) - 1
    assert stats.chi2.sf(statistic, freedom) > 1e-4


def test_votes_are_ten_a_picture_and_follow_the_distribution():
    p = torch.tensor([[0.5, 0.3, 0.2, 0.0]]).expand(4000, 4)
    votes = raters.vote(p, 10, seeded())
    assert (votes.sum(1) == 10).all() and (votes[:, 3] == 0).all()
    assert_close(votes.double().mean(0) / 10, p[0].double(), atol=0.01, rtol=0)
    # counts of a multinomial: variance n p (1 - p)
    assert votes[:, 0].double().var().item() == pytest.approx(2.5, rel=0.1)


READ_AS = {
    "neutral": {}, "happiness": {6: 4, 12: 5}, "surprise": {1: 4, 2: 4, 5: 4, 26: 3}, "sadness": {1: 4, 4: 3, 15: 4},
    "anger": {4: 4, 23: 4, 24: 4}, "disgust": {9: 5, 10: 5}, "fear": {1: 5, 2: 5, 4: 5, 5: 5, 20: 5},
}  # fmt: skip


@pytest.mark.parametrize(("emotion", "units"), READ_AS.items())
def test_prototypes_are_read_as_their_emotion(emotion, units):
    p = raters.label_distribution(show(units), taken())
    assert c.EMOTIONS[p[0, :8].argmax()] == emotion


def test_what_a_scarf_covers_is_no_evidence():
    scarf, bare = taken(occlusion=OCCLUSIONS.index("scarf"), occlusion_extent=1.0), taken()
    smile, rest = show({12: 5.0}), show({})
    assert_close(raters.label_distribution(smile, scarf), raters.label_distribution(rest, scarf))
    assert raters.label_distribution(smile, bare)[0, 1] > 2 * raters.label_distribution(rest, bare)[0, 1]


def test_bad_pictures_are_unknown_more_often():
    smile = show({6: 4.0, 12: 5.0})
    good, bad = (raters.label_distribution(smile, taken(blur=blur))[0] for blur in (0.0, 4.0))
    assert bad[UNKNOWN] > 3 * good[UNKNOWN] and bad[NF] > good[NF]
    assert torch.special.entr(bad).sum() > torch.special.entr(good).sum()


def test_a_good_picture_shows_every_unit():
    assert_close(raters.visibility(taken(2)), torch.ones(2, 17))
    assert_close(raters.visibility(taken(blur=1.5)), torch.full((1, 17), 0.5))  # 1/(1 + (blur/1.5)^2)
    glasses = raters.visibility(taken(occlusion=OCCLUSIONS.index("sunglasses"), occlusion_extent=1.0))[0]
    assert glasses[ACTION_UNITS.index(5)] == pytest.approx(0.05) and glasses[ACTION_UNITS.index(12)] == 1


def test_coders_by_hand():
    intensities, visible = torch.tensor([[1.3, 1.3, 1.0]]), torch.tensor([[1.0, 0.5, 1.0]])
    expected = stats.norm.cdf([0.3 / c.CODER_SD, 0.15 / c.CODER_SD, 0])
    np.testing.assert_allclose(raters.coded(intensities, visible, 1.0)[0], expected, atol=1e-5)
