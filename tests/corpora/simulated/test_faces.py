"""The procedural face: what each action unit, trait and condition does to landmarks and pixels."""

import math
from dataclasses import fields, replace
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from drawing import changed, seeded, show, taken
from hypothesis import given, settings
from scipy.ndimage import gaussian_filter

from uncertain_affect.corpora.simulated.constants import ACTION_UNITS
from uncertain_affect.corpora.simulated.faces import HAIR_STYLES, OCCLUSIONS, Identity, Nuisance, landmarks, render
from uncertain_affect.corpora.simulated.faces.canvas import LUMA

SIZE = 64
BROWS, EYES, MOUTH = range(17, 27), range(36, 48), range(48, 68)


def plain(n: int = 1, **traits) -> Identity:
    """n times one symmetric person of middling traits with short hair; `traits` replace some."""
    middle = {f.name: torch.full((n,), sum(f.metadata["range"]) / 2) for f in fields(Identity)}
    person = Identity(**middle | {"hair_style": torch.full((n,), HAIR_STYLES.index("short"))})
    return changed(person, **{"skin_tone": 0.2, "age": 0.2} | traits)


def still(identity: Identity, conditions: Nuisance | None = None, size: int = 64) -> torch.Tensor:
    """Pictures (N, size, size), float32, of faces at rest."""
    n = len(identity)
    return render(torch.zeros(n, 17), identity, conditions or taken(n), size=size).float()


def points(expression: dict[int, float] | None = None, identity: Identity | None = None, **conditions) -> torch.Tensor:
    """The landmarks (68, 2) of one face."""
    return landmarks(show(expression or {}), identity or plain(), taken(**conditions))[0]


def mixed(n: int, seed: int, severity: float = 1.0) -> tuple[torch.Tensor, Identity, Nuisance]:
    generator = seeded(seed)
    people, conditions = Identity.draw(n, generator), Nuisance.draw(n, generator, severity)
    return 5 * torch.rand(n, len(ACTION_UNITS), generator=generator) ** 3, people, conditions


def box(which, around: torch.Tensor, margin: float = 0.03, size: int = SIZE) -> tuple[slice, slice]:
    """Rows and columns of the rectangle round some landmarks."""
    low = ((around[list(which)].amin(0) - margin) * size).floor().clamp(min=0).int().tolist()
    high = ((around[list(which)].amax(0) + margin) * size).ceil().int().tolist()
    return slice(low[1], high[1]), slice(low[0], high[0])


@pytest.mark.parametrize(("n", "size"), [(3, 16), (3, 33), (3, 64), (0, 64)])
def test_pictures_are_bytes_of_the_asked_form(n, size):
    case = mixed(n, 0)
    grey = render(*case, size=size, generator=seeded())
    rgb = render(*case, size=size, colour=True, generator=seeded())
    assert grey.shape == (n, size, size) and rgb.shape == (n, 3, size, size) and landmarks(*case).shape == (n, 68, 2)
    assert grey.dtype == rgb.dtype == torch.uint8


def test_faces_use_the_range_of_grey_without_clipping_it():
    pictures = still(Identity.draw(40, seeded(1)))
    assert (pictures.flatten(1).std(1) > 20).all()
    assert (pictures > 254).float().mean() < 0.005


def test_bits_do_not_depend_on_the_number_of_threads(request):
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    pictures = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        pictures.append(render(*mixed(24, 12), size=256, generator=seeded()))  # three chunks
        assert torch.get_num_threads() == threads
    assert torch.equal(*pictures)


def test_a_face_does_not_depend_on_those_drawn_with_it():
    intensities, people, conditions = mixed(24, 3, severity=2.0)
    clean = replace(conditions, noise=torch.zeros(24))
    together = render(intensities, people, clean, size=50)
    for k in range(24):
        assert torch.equal(render(intensities[k : k + 1], people[k], clean[k], size=50)[0], together[k])


def test_noise_is_drawn_one_face_after_another():
    case, generator = mixed(150, 4), seeded()  # more than one chunk
    parts = [render(*(x[rows] for x in case), generator=generator) for rows in (slice(0, 7), slice(7, 150))]
    assert torch.equal(torch.cat(parts), render(*case, generator=seeded()))
    assert not torch.equal(torch.cat(parts), render(*case, generator=seeded(1)))


def test_the_grey_of_a_coloured_picture_is_the_grey_picture():
    intensities, people, conditions = mixed(12, 5)
    dim = changed(conditions, noise=0.0, exposure=-0.5)
    rgb, grey = (render(intensities, people, dim, colour=colour).float() for colour in (True, False))
    in_range = (rgb < 255).all(1)
    assert ((rgb * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1) - grey).abs()[in_range].max() <= 1.01
    assert (rgb[:, 0] - rgb[:, 2]).abs().max() > 30  # and it is coloured


# Where each unit may change the picture: landmarks at rest and at 5 whose rectangle holds it, with a margin.
REGION = {
    **dict.fromkeys((1, 2, 4, 5, 7), (*BROWS, *EYES)),
    6: (*BROWS, *EYES, 0, 16, 48, 54),
    9: (*BROWS, *EYES, *range(27, 36), *MOUTH),
    **dict.fromkeys((10, 12, 14, 15, 20, 23, 24, 25), (40, 47, *range(29, 36), *MOUTH, 6, 10)),
    17: (*MOUTH, 33, 8, 6, 10),
    26: (*MOUTH, *range(3, 14), 33),
}


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_each_unit_changes_its_own_region_the_more_the_stronger(unit):
    people = Identity.draw(6, seeded(7), skin_tone=torch.linspace(0, 1, 6))
    rest = still(people)
    shown = [render(show(*[{unit: intensity}] * 6), people, taken(6)).float() for intensity in (1, 2, 3, 4, 5)]
    change = (torch.stack(shown) - rest).abs()
    total = change.sum((2, 3))
    assert (total.diff(dim=0) > 0).all(), "the change grows with the intensity, for every person"
    assert (total[0] > 20).all(), "even a trace is there"
    assert (change[-1].amax((1, 2)) > 12).all(), "somewhere the change is plain to see"
    for k in range(6):
        around = torch.cat((points({}, people[k]), points({unit: 5}, people[k])))
        which = [p + shift for p in REGION[unit] for shift in (0, 68)]
        top = {1: 0.22, 2: 0.22}.get(unit, 0.06)  # the furrows of the forehead lie above the brows
        rows, columns = box(which, around, 0.06)
        rows = slice(max(0, rows.start - int((top - 0.06) * SIZE)), rows.stop)
        assert change[-1, k, rows, columns].sum() > 0.95 * total[-1, k]


# What each unit does to landmarks of a face at rest, as FACS describes it: (name, measure, least change at 5).
# Heights are in sides of the picture; y grows downwards.
FACS = [
    (1, "inner brows rise", lambda p: -p[[21, 22], 1].mean(), 0.05),
    (1, "outer ends stay", lambda p: -(p[[17, 26], 1].mean()).abs(), 0.0),
    (2, "outer brows rise", lambda p: -p[[17, 18, 25, 26], 1].mean(), 0.05),
    (2, "inner ends stay", lambda p: -(p[[21, 22], 1].mean()).abs(), 0.0),
    (4, "brows sink", lambda p: p[[20, 21, 22, 23], 1].mean(), 0.03),
    (4, "brows draw together", lambda p: p[21, 0] - p[22, 0], 0.02),
    (5, "upper lids rise", lambda p: -p[[37, 38, 43, 44], 1].mean(), 0.02),
    (6, "lower lids rise", lambda p: -p[[40, 41, 46, 47], 1].mean(), 0.01),
    (7, "the opening narrows", lambda p: (p[[37, 38, 43, 44], 1] - p[[40, 41, 46, 47], 1]).mean(), 0.02),
    (9, "the wings of the nose rise", lambda p: -p[[31, 35], 1].mean(), 0.02),
    (9, "the upper lip rises", lambda p: -p[[50, 51, 52], 1].mean(), 0.01),
    (10, "the upper lip rises", lambda p: -p[[50, 51, 52], 1].mean(), 0.03),
    (12, "corners rise", lambda p: -p[[48, 54], 1].mean(), 0.04),
    (12, "corners go out", lambda p: p[54, 0] - p[48, 0], 0.08),
    (14, "corners tighten inwards", lambda p: p[48, 0] - p[54, 0], 0.02),
    (15, "corners sink", lambda p: p[[48, 54], 1].mean(), 0.04),
    (17, "the lower lip rises", lambda p: -p[57, 1], 0.015),
    (17, "the chin rises", lambda p: -p[8, 1], 0.005),
    (20, "the mouth widens", lambda p: p[54, 0] - p[48, 0], 0.08),
    (20, "the lips flatten", lambda p: (p[[51, 66], 1] - p[[62, 57], 1]).sum(), 0.01),
    (23, "the mouth narrows", lambda p: p[48, 0] - p[54, 0], 0.04),
    (23, "the lips thin", lambda p: (p[[51, 66], 1] - p[[62, 57], 1]).sum(), 0.02),
    (24, "the lips thin", lambda p: (p[[51, 66], 1] - p[[62, 57], 1]).sum(), 0.03),
    (25, "the lips part", lambda p: p[66, 1] - p[62, 1], 0.03),
    (26, "the lips part", lambda p: p[66, 1] - p[62, 1], 0.07),
    (26, "the chin drops", lambda p: p[8, 1], 0.04),
]


@pytest.mark.parametrize(("unit", "does", "measure", "least"), FACS, ids=[f"{unit} {does}" for unit, does, *_ in FACS])
def test_units_move_landmarks_as_facs_says(unit, does, measure, least):
    course = [float(measure(points({unit: intensity}))) for intensity in (0, 1, 2.5, 4, 5)]
    assert course[-1] - course[0] >= least
    assert (np.diff(course) >= -1e-12).all()
    turned = plain(skin_tone=0.9, age=0.9, face_width=0.67)  # whoever shows it
    assert measure(points({unit: 5}, turned)) - measure(points({}, turned)) >= 0.9 * least


@pytest.mark.parametrize("unit", [unit for unit in ACTION_UNITS if unit != 9])  # who wrinkles the nose moves both
def test_units_leave_the_other_half_of_the_face_alone(unit):
    moved = (points({unit: 5}) - points()).norm(dim=1)
    upper, lower = moved[[*BROWS, *EYES]].max(), moved[[*range(3, 14), *MOUTH]].max()
    at_rest, moving = (lower, upper) if unit in (1, 2, 4, 5, 6, 7) else (upper, lower)
    assert at_rest < 1e-9 < moving


def test_pixels_follow_the_landmarks():
    """The darkest pixel of the column through a brow lies on it; likewise the seam of the closed lips."""
    for expression in ({}, {1: 5}, {2: 5}, {4: 5}):
        picture = render(show(expression), plain(), taken())[0]
        for mark in (19, 24):
            x, y = points(expression)[mark] * SIZE
            top = int(y) - 6
            assert abs(top + int(picture[top : int(y) + 5, int(x)].argmin()) + 0.5 - y) < 1.6
    for expression in ({}, {12: 5}, {15: 5}):
        picture = render(show(expression), plain(), taken())[0]
        for mark, inwards in ((48, 1), (54, -2)):
            x, y = points(expression)[mark] * SIZE
            column = picture[int(y) - 4 : int(y) + 5, int(x) + inwards]
            assert abs(int(y) - 4 + int(column.argmin()) + 0.5 - y) < 2


def test_a_raised_upper_lid_bares_sclera_above_the_iris():
    rest, raised = render(show({}, {5: 5}), plain(2), taken(2), size=256).float()
    eye = points({5: 5})[36:42] * 256
    x, y = eye[:, 0].mean().int(), eye[1:3, 1].mean().int()
    assert raised[y + 4 : y + 9, x - 4 : x + 5].max() > 1.15 * rest[y + 4 : y + 9, x - 4 : x + 5].max()


def test_parted_lips_show_teeth_and_a_dropped_jaw_the_dark_of_the_mouth():
    closed, parted, dropped = render(show({}, {12: 4, 25: 5}, {26: 5}), plain(3), taken(3), size=128).float()
    mouth = points({12: 4, 25: 5})[60:68].mean(0) * 128
    middle = (slice(int(mouth[1]) - 2, int(mouth[1]) + 3), slice(int(mouth[0]) - 6, int(mouth[0]) + 7))
    assert parted[middle].max() > 190 > 170 > closed[middle].max()
    hole = points({26: 5})[[62, 66, 66]].mean(0) * 128
    assert dropped[int(hole[1]) - 3, int(hole[0]) - 14 : int(hole[0]) + 14].min() < 45


def test_a_one_sided_person_dimples_on_one_side():
    """laterality > 0 weakens the left of the picture, < 0 the right, nearly wholly for the dimpler (14)."""
    for laterality, strong in ((1.0, 54), (-1.0, 48)):
        person = plain(laterality=laterality)
        moved = (points({14: 5}, person) - points({}, person)).norm(dim=1)
        assert moved[strong] > 5 * moved[102 - strong]
    both = (points({14: 5}) - points()).norm(dim=1)
    assert both[48] == pytest.approx(both[54])


@settings(max_examples=25)
@given(st.lists(st.floats(0, 5, width=32), min_size=17, max_size=17), st.integers(0, 1000))
def test_lids_and_lips_never_cross(levels, seed):
    p = landmarks(torch.tensor([levels]), Identity.draw(1, seeded(seed)), taken())[0]
    assert torch.isfinite(p).all() and (p > -0.1).all() and (p < 1.1).all()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (51, 62), (66, 57), (50, 61), (65, 56)):
        assert p[upper, 1] < p[lower, 1]
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        assert p[upper, 1] <= p[lower, 1] + 1e-9


def test_a_symmetric_person_seen_from_the_front_is_symmetric():
    p = points({12: 3, 1: 2, 26: 1})
    mirrored = p * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    # the mirror image of each landmark: contour, brows, bridge, base of the nose, eyes, outer and inner lips
    partner = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39,
               38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]  # fmt: skip
    assert torch.allclose(p, mirrored[partner], atol=1e-12)


def test_people_differ_and_keep_within_their_ranges():
    people = Identity.draw(300, seeded())
    for f in fields(Identity):
        low, high = f.metadata["range"]
        values = getattr(people, f.name).double()
        assert values.min() >= low and values.max() <= high and values.std() > 0.1 * (high - low)
    pictures = still(people[:30]).flatten(1)
    apart = torch.cdist(pictures, pictures, p=1) / SIZE**2
    assert apart[~torch.eye(30, dtype=torch.bool)].min() > 3


def test_darker_skin_is_darker_and_moves_alike_with_less_contrast():
    people = plain(5, skin_tone=torch.linspace(0, 1, 5), hair_shade=0.0)
    smile = show(*[{12: 5}] * 5)
    shape = landmarks(smile, people, taken(5))
    assert torch.equal(shape, shape[:1].expand_as(shape))
    rest, smiling = still(people), render(smile, people, taken(5)).float()
    x, y = (points()[[31, 48]].mean(0) * SIZE).int() - torch.tensor([3, 0])
    assert (rest[:, y, x].diff() < -10).all()  # the cheek
    change = (smiling - rest).abs().mean((1, 2))
    assert (change.diff() < 0).all() and change[-1] > 0.2 * change[0]


def test_age_draws_lines_and_greys_the_hair():
    ages = torch.tensor([0.0, 0.5, 1.0])
    styles = (HAIR_STYLES.index(style) for style in ("bald", "bob"))
    bald, haired = (still(plain(3, age=ages, hair_style=style), size=128) for style in styles)
    p = points() * 128
    forehead = (..., slice(int(p[19, 1]) - 26, int(p[19, 1]) - 8), slice(int(p[27, 0]) - 8, int(p[27, 0]) + 9))
    darkest = (bald[0] - bald)[forehead].amax((1, 2))
    assert darkest[2] > 1.5 * darkest[1] > 10
    crown = haired[:, 12:18, 56:72].mean((1, 2))
    assert crown[2] > crown[1] + 20 and crown[1] == crown[0]


def test_yaw_moves_what_stands_out_most_and_foreshortens_the_far_side():
    front, right, left = points(), points(yaw=0.4), points(yaw=-0.4)
    nose, eyes = right[30, 0] - front[30, 0], (right[[39, 42], 0] - front[[39, 42], 0]).mean()
    assert nose > eyes + 0.02 > 0.05
    assert right[45, 0] - right[42, 0] < 0.85 * (right[39, 0] - right[36, 0])
    assert torch.allclose(left[30, 0], 1 - right[30, 0]) and torch.allclose(left[36, 0], 1 - right[45, 0])


def test_pitch_raises_the_nose_against_the_ears_and_roll_turns_the_picture_rigidly():
    front, up, rolled = points(), points(pitch=0.3), points(roll=0.5)
    rise = (front - up)[:, 1]
    assert rise[30] > rise[[0, 16]].mean() + 0.05
    cos, sin = math.cos(0.5), math.sin(0.5)
    turn, middle = front.new_tensor([[cos, sin], [-sin, cos]]), front.new_tensor([0.5, 0.515])
    assert torch.allclose((front - middle) @ turn + middle, rolled, atol=1e-7)


def test_pixels_turn_with_the_head():
    """The bright whites of the eyes move by as much as the landmarks say."""
    for yaw in (-0.3, 0.3):
        p = points(yaw=yaw)
        picture = still(plain(hair_style=0), taken(yaw=yaw), size=128)[0]
        for eye in (range(36, 42), range(42, 48)):
            seen = picture[box(eye, p, 0.0, 128)]
            assert seen.max() > 170 and seen.min() < 40


@pytest.mark.parametrize(
    ("kind", "hidden", "units", "seen", "others"),
    [
        ("hand", MOUTH, {12: 5, 25: 5}, EYES, {5: 5}),
        ("sunglasses", EYES, {5: 5, 7: 3}, MOUTH, {12: 5}),
        ("scarf", MOUTH, {12: 5, 26: 5}, BROWS, {1: 5}),
    ],
)
def test_occlusions_hide_what_they_say(kind, hidden, units, seen, others):
    conditions = taken(2, occlusion=OCCLUSIONS.index(kind), occlusion_extent=1.0)
    for which, shown, share in ((hidden, units, (0, 0.35)), (seen, others, (0.9, 1.1))):
        rows, columns = box(which, points())
        clear, covered = (render(show({}, shown), plain(2), c).float() for c in (taken(2), conditions))
        kept = (covered[1] - covered[0])[rows, columns].abs().sum() / (clear[1] - clear[0])[rows, columns].abs().sum()
        assert share[0] <= kept <= share[1]


@pytest.mark.parametrize("kind", ["hand", "hair"])
def test_position_says_from_which_side(kind):
    bare = still(plain())[0]
    left, right = slice(0, 20), slice(44, 64)
    for position, nearer, farther in ((-1.0, left, right), (1.0, right, left)):
        conditions = taken(occlusion=OCCLUSIONS.index(kind), occlusion_position=position, occlusion_extent=0.5)
        change = (still(plain(), conditions)[0] - bare).abs()
        assert change[:, nearer].sum() > 3 * change[:, farther].sum()


@pytest.mark.parametrize("kind", range(1, len(OCCLUSIONS)))
def test_extent_says_how_much_is_covered(kind):
    people = plain(4, hair_style=0, hair_shade=0.0)
    extents = taken(4, occlusion=kind, occlusion_position=0.5, occlusion_extent=torch.tensor([0.0, 0.3, 0.6, 1.0]))
    bare, covered = still(people), still(people, extents)
    area = ((covered - bare).abs() > 12).sum((1, 2))
    assert (area.diff() > 0).all() and area[0] > 60


def test_blur_is_a_gaussian_of_the_stated_width():
    sharp, *blurred = still(plain(3), taken(3, blur=torch.tensor([0.0, 0.8, 2.0]))).double().numpy()
    for picture, sd in zip(blurred, (0.8, 2.0), strict=True):
        expected = gaussian_filter(sharp, sd, mode="mirror", radius=math.ceil(3 * sd))
        assert np.abs(picture - expected).max() < 1.6  # both are rounded to bytes
    full, larger = (still(plain(), taken(blur=sd), size=128)[0].double().numpy() for sd in (0.0, 2.0))
    assert np.abs(larger - gaussian_filter(full, 4.0, mode="mirror", radius=12)).max() < 1.6  # pixels of 64


def test_noise_has_the_stated_spread_and_exposure_counts_in_stops():
    person = plain(skin_tone=0.5)
    clean, darker = still(person).double(), still(person, taken(exposure=-1.0)).double()
    grain = render(torch.zeros(1, 17), person, taken(noise=8.0), generator=seeded()).double() - clean
    inside = (clean > 40) & (clean < 215)
    assert grain[inside].std() == pytest.approx(8.0, rel=0.05) and abs(grain[inside].mean()) < 0.5
    assert (2 * darker - clean).abs().max() <= 2


def test_light_from_one_side_brightens_that_side():
    for azimuth, bright, dark in ((-0.9, slice(16, 28), slice(36, 48)), (0.9, slice(36, 48), slice(16, 28))):
        picture = still(plain(), taken(light_azimuth=azimuth))[0]
        assert picture[36:44, bright].mean() > picture[36:44, dark].mean() + 15


def test_quality_is_1_at_its_best_and_falls_with_every_nuisance():
    assert torch.allclose(Nuisance.none(3).quality, torch.ones(3))
    worse = {"blur": [0, 0.5, 1.5, 4], "noise": [0, 5, 30, 80], "yaw": [0, 0.2, -0.4, 0.7], "exposure": [0, 0.5, -1, 2]}
    for name, values in worse.items():
        assert (taken(4, **{name: torch.tensor(values)}).quality.diff() < 0).all()
    assert taken(blur=1.5).quality.item() == pytest.approx(0.5)
    assert taken(occlusion=1, occlusion_extent=1.0).quality.item() == pytest.approx(0.55)
    drawn = Nuisance.draw(500, seeded(), severity=2.0).quality
    assert (drawn >= 0).all() and (drawn <= 1).all()


def test_severity_scales_how_far_conditions_stray():
    mild, usual, harsh = (Nuisance.draw(2000, seeded(3), s) for s in (0.0, 1.0, 2.0))
    assert torch.equal(mild.quality, torch.ones(2000)) and torch.equal(mild.yaw, torch.zeros(2000))
    assert usual.yaw.std().item() == pytest.approx(0.25, rel=0.1)
    assert (usual.occlusion > 0).float().mean().item() == pytest.approx(0.125, abs=0.025)
    assert (harsh.occlusion > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert usual.blur.mean().item() == pytest.approx(0.5, rel=0.1)
    assert mild.quality.mean() > usual.quality.mean() > harsh.quality.mean()


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: render(show({4: -0.1}), plain(), taken()), r"intensities must lie in \[0, 5\]"),
        (lambda: landmarks(show({4: 5.1}), plain(), taken()), r"intensities must lie in \[0, 5\]"),
        (lambda: render(show({4: math.nan}), plain(), taken()), r"intensities must lie in \[0, 5\]"),
        (lambda: render(torch.zeros(2, 12), plain(2), taken(2)), r"must have shape \(2, 17\).*not \(2, 12\)"),
        (lambda: landmarks(torch.zeros(1, 17), plain(2), taken(2)), r"must have shape \(2, 17\).*not \(1, 17\)"),
        (lambda: render(torch.zeros(2, 17), plain(2), taken(3)), "a row for each person and 3 conditions"),
        (lambda: render(show({}), plain(), taken(noise=1.0)), r"nuisance\.noise is above 0.*generator"),
        (lambda: Nuisance.draw(1, seeded(), severity=2.5), r"severity must lie in \[0, 2\], not 2.5"),
        (lambda: Identity.draw(2, seeded(), skin_tone=1.5), r"Identity\.skin_tone must lie in \[0, 1\], not 1.5 to"),
        (lambda: taken(yaw=math.nan), r"Nuisance\.yaw must lie in \[-0.7, 0.7\], not nan to nan"),
    ],
)
def test_bad_input_is_refused(use, message):
    with pytest.raises(ValueError, match=message):
        use()
