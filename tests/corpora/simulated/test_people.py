import math

import pytest
import torch
from drawing import seeded
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import feeling
from uncertain_affect.corpora.simulated.constants import ACTION_UNITS
from uncertain_affect.corpora.simulated.people import People


def draw(n, seed=0, **options):
    return People.draw(n, seeded(seed), **options)


def traits(people):
    return {name: values for name, values in vars(people).items() if name != "identity"} | vars(people.identity)


def test_shapes_ranges_and_spread_are_those_of_the_constants():
    people = draw(5000)
    log_gain = people.expressiveness.log()
    assert_close(log_gain.std(0), torch.full((17,), c.EXPRESSIVENESS_SD), rtol=0.05, atol=0)
    # half of it is shared by the units of a person
    assert torch.corrcoef(log_gain[:, :2].T)[0, 1] == pytest.approx(0.5, abs=0.04)
    for name, n, sd in (("resting", 17, c.RESTING_SD), ("mood", 2, c.MOOD_SD), ("mapping", 8, c.MAPPING_SD)):
        assert_close(getattr(people, name).std(0), torch.full((n,), sd), rtol=0.05, atol=0)
    ranges = (c.PITCH_HZ, c.FORMANT_SCALE, c.TILT_DB_PER_OCTAVE)
    for values, (low, high) in zip(people.voice.unbind(1), ranges, strict=True):
        assert (values >= low - 1e-3).all() and (values <= high + 1e-3).all()
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
    age = people.identity.age
    choices = ((slice(1, 3), [1, 2]), (-1, [4]), (torch.tensor([3, 3, 0]), [3, 3, 0]), (age > 2, []))
    for rows, numbers in (*choices, (age == age.max(), [int(age.argmax())])):
        some = people[rows]
        assert len(some) == len(numbers)
        assert all(torch.equal(values, traits(people)[name][numbers]) for name, values in traits(some).items())


@pytest.mark.parametrize("n_frames", [1, 2, 63, 64, 65, 300])
def test_blocks_give_what_the_recursion_gives(n_frames):
    a = math.exp(-1 / (5.0 * 2.0))
    noise = torch.randn(3, n_frames, 2, generator=seeded(4))
    expected = [noise[:, 0]]
    for t in range(1, n_frames):
        expected.append(a * expected[-1] + math.sqrt(1 - a * a) * noise[:, t])
    found = feeling.mean_reverting(3, n_frames, 2, 5.0, 2.0, seeded(4))
    assert_close(found, torch.stack(expected, 1), atol=1e-5, rtol=0)


def test_autocorrelation_falls_to_one_over_e_in_the_relaxation_time():
    x = feeling.mean_reverting(2000, 81, 1, 10.0, 4.0, seeded())[..., 0]
    assert_close(x.std(0), torch.ones(81), atol=0.08, rtol=0)  # stationary from the first frame on
    for seconds in (1, 4, 8):
        found = torch.stack([x[:, 0], x[:, 10 * seconds]])
        assert torch.corrcoef(found)[0, 1] == pytest.approx(math.exp(-seconds / 4), abs=0.06)


def test_recordings_vary_about_their_mean_which_may_be_a_course_and_stay_on_the_scale():
    mean = torch.tensor([[0.1, -0.2]]).expand(3000, 2)
    felt = feeling.recordings(mean, 3, 1.0, seeded())
    assert felt.shape == (3000, 3, 2) and felt.abs().max() <= 1
    assert_close(felt.mean((0, 1)), mean[0], atol=0.02, rtol=0)
    assert_close(felt.std((0, 1)), torch.full((2,), c.FEELING_SD), rtol=0.05, atol=0)
    course = torch.stack([torch.linspace(-0.5, 0.5, 9), torch.zeros(9)], 1).expand(3000, 9, 2)
    felt = feeling.recordings(course, 9, 1.0, seeded())
    assert_close(felt.mean(0), course[0], atol=0.03, rtol=0)
    felt = feeling.recordings(torch.ones(50, 2), 20, 1.0, seeded())
    assert felt.max() == 1 and felt.min() < 1


def test_weights_at_a_word_itself():
    # log odds of e against f where the feeling is e: ||e - f||^2 / 2 s^2, plus the person's own
    mapping = torch.zeros(8)
    mapping[3] = 0.7
    w = feeling.emotion_weights(c.VALENCE_AROUSAL[1], mapping)
    distance = (0.81 + 0.63) ** 2 + (0.51 + 0.27) ** 2
    assert (w[1] / w[3]).log().item() == pytest.approx(distance / (2 * c.EMOTION_WIDTH**2) - 0.7, rel=1e-4)
    assert w.argmax() == 1


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 20))
def test_weights_are_shares(valence, arousal, person):
    w = feeling.emotion_weights(torch.tensor([valence, arousal]), draw(21).mapping[person])
    assert (w >= 0).all() and w.sum().item() == pytest.approx(1, abs=1e-5)


def test_activity_and_intensities_by_hand():
    who, weights, still = draw(1), torch.zeros(1, 8), torch.zeros(1, feeling.N_MOVEMENTS)
    weights[0, 1] = 0.5  # half happiness: unit 12 belongs to all its variants, 25 to half of them
    found = feeling.activity(weights, who, still)[0]
    gain, rest = who.expressiveness[0], who.resting[0]
    for au, share in ((12, 1.0), (25, 0.5), (4, 0.0)):
        i = ACTION_UNITS.index(au)
        assert found[i].item() == pytest.approx(2.5 * share * gain[i].item() + rest[i].item(), abs=1e-5)
    clipped = feeling.intensities(torch.tensor([-1.0, 0.5, 4.5]), torch.tensor([0.0, -0.2, 1.0]))
    assert_close(clipped, torch.tensor([0.0, 0.3, 5.0]))


def test_units_of_one_half_of_the_face_move_together():
    who = draw(1)[torch.zeros(20_000, dtype=torch.long)]
    moved = feeling.activity(torch.zeros(20_000, 8), who, seeded())
    assert_close(moved.std(0), torch.full((17,), c.MOVEMENT_SD), rtol=0.03, atol=0)
    correlation = torch.corrcoef(moved.T)
    brow, lid, smile, jaw = (ACTION_UNITS.index(au) for au in (1, 5, 12, 26))
    assert correlation[brow, lid] == pytest.approx(c.MOVEMENT_CORRELATION, abs=0.03)
    assert correlation[smile, jaw] == pytest.approx(c.MOVEMENT_CORRELATION, abs=0.03)
    assert correlation[brow, smile] == pytest.approx(0, abs=0.03)
