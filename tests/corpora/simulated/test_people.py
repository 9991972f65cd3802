import pytest
import torch
from torch.testing import assert_close

from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated.people import People


def draw(n, seed=0, **options):
    return People.draw(n, torch.Generator().manual_seed(seed), **options)


def traits(people):
    return {name: values for name, values in vars(people).items() if name != "identity"} | vars(people.identity)


def test_shapes_and_ranges():
    people = draw(200)
    assert len(people) == 200
    assert people.expressiveness.shape == people.resting.shape == (200, 17)
    assert people.mood.shape == (200, 2) and people.mapping.shape == (200, 8)
    assert (people.expressiveness > 0).all()
    ranges = (c.PITCH_HZ, c.FORMANT_SCALE, c.TILT_DB_PER_OCTAVE)
    for values, (low, high) in zip(people.voice.unbind(1), ranges, strict=True):
        assert (values >= low - 1e-3).all() and (values <= high + 1e-3).all()


def test_spread_over_people_is_that_of_the_constants():
    people = draw(5000)
    log_gain = people.expressiveness.log()
    assert_close(log_gain.std(0), torch.full((17,), c.EXPRESSIVENESS_SD), rtol=0.05, atol=0)
    # half of it is shared by the units of a person
    assert torch.corrcoef(log_gain[:, :2].T)[0, 1] == pytest.approx(0.5, abs=0.04)
    for name, n, sd in (("resting", 17, c.RESTING_SD), ("mood", 2, c.MOOD_SD), ("mapping", 8, c.MAPPING_SD)):
        assert_close(getattr(people, name).std(0), torch.full((n,), sd), rtol=0.05, atol=0)
    # evenly spread on a log scale: the median pitch is the geometric mean of the ends
    assert people.voice[:, 0].median() == pytest.approx((c.PITCH_HZ[0] * c.PITCH_HZ[1]) ** 0.5, rel=0.03)


def test_draws_repeat_and_a_set_skin_tone_leaves_every_other_trait():
    first, again, other, dark = (traits(draw(9, **how)) for how in ({}, {}, {"seed": 1}, {"skin_tone": 0.9}))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["resting"], other["resting"])
    follows = {"skin_tone", "iris_shade", "hair_shade"}  # hair and eyes darken with the skin
    assert {name for name in first if not torch.equal(first[name], dark[name])} == follows
    assert (dark["skin_tone"] == 0.9).all()


def test_rows_are_chosen_by_slice_mask_index_and_number_and_keep_traits_together():
    people = draw(5)
    identity, oldest = people.identity, people.identity.age == people.identity.age.max()
    for rows, numbers in (
        (slice(1, 3), [1, 2]),
        (-1, [4]),
        (torch.tensor([3, 3, 0]), [3, 3, 0]),
        (identity.age > 2, []),
    ):
        some = people[rows]
        assert len(some) == len(numbers)
        assert all(torch.equal(values, traits(people)[name][numbers]) for name, values in traits(some).items())
    assert people[oldest].identity.age == identity.age.max()
