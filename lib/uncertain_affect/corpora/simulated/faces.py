"""A procedural face: action units, a person and the conditions of a picture in, pixels and landmarks out.

The face is drawn from 68 landmarks. A person (`Identity`) places them at rest; each action unit moves some of
them as the Facial Action Coding System says (Ekman, Friesen and Hager, *FACS Manual*, 2002) and deepens the
furrows it is known by; the head turns in space; and what is drawn are outlines, discs and strokes through the
landmarks so placed, with edges softened by a smoothstep of the distance to them. `landmarks` returns the very
points that `render` draws from.

Face coordinates: x to the right of the picture, y down, z towards the camera, the origin at the middle of the
head; the unit is half the height of the face, so the crown lies at y = -1 and the chin at y = +1. Points of one
half are written once, with x *outward* from the midline, and mirrored.

Pixels are touched only by operations that IEEE 754 rounds correctly (+, -, *, /, square root, comparisons), and
positions are worked out in float64: a face has the same bits whichever faces it is drawn with.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import lru_cache
from types import SimpleNamespace
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26)
HAIR_STYLES = ("bald", "buzz", "short", "side part", "bob", "long", "curly", "afro")
OCCLUSIONS = ("none", "hand", "sunglasses", "hair", "scarf")
LUMA = (0.299, 0.587, 0.114)  # grey of red, green and blue: ITU-R BT.601

CHUNK = 128 * 64**2  # pixels drawn at once: enough to hide the cost of a call, few enough for the caches


# ---------------------------------------------------------------------------------------------------------------
# People and conditions
# ---------------------------------------------------------------------------------------------------------------


def _in(low: float, high: float, dtype: torch.dtype = torch.float32) -> dict:
    return {"range": (low, high), "dtype": dtype}


class _Rows:
    """What `Identity` and `Nuisance` share: tensors (N,), each within its own range."""

    def __post_init__(self):
        n = len(self)
        for f in fields(self):
            values, (low, high) = getattr(self, f.name), f.metadata["range"]
            name = f"{type(self).__name__}.{f.name}"
            dtype = f.metadata["dtype"]
            if not isinstance(values, Tensor) or values.shape != (n,) or values.dtype != dtype:
                raise ValueError(f"{name} must be a {dtype} tensor of shape ({n},), like {fields(self)[0].name}")
            if not bool(((values >= low) & (values <= high)).all()):
                reach = f"{values.min():g} to {values.max():g}"
                raise ValueError(f"{name} must lie in [{low:g}, {high:g}]; these reach from {reach}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows) -> Self:
        """The given rows: a slice, a mask or indices; one index keeps the axis."""
        rows = slice(rows, rows + 1 or None) if isinstance(rows, int) else rows
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device | str) -> Self:
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def _bell(n: int, generator: torch.Generator, low: float, high: float) -> Tensor:
    """The mean of three uniforms on [low, high]: bell-shaped, never outside; its sd is (high - low)/6."""
    return low + (high - low) * torch.rand(n, 3, generator=generator, device=generator.device).mean(1)


def _uniform(n: int, generator: torch.Generator, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator, device=generator.device)


@dataclass(frozen=True, eq=False)
class Identity(_Rows):
    """N people: what of a face stays when its expression changes. All are float tensors (N,) but `hair_style`.

    Lengths are in halves of the height of the face, angles in radians; shares run from 0 to 1.
    """

    face_width: Tensor = field(metadata=_in(0.66, 0.80))  # half-width at the cheekbones
    face_height: Tensor = field(metadata=_in(0.94, 1.06))  # stretch of the whole face
    jaw: Tensor = field(metadata=_in(0, 1))  # 0 pointed, 1 square
    eye_size: Tensor = field(metadata=_in(0.165, 0.205))  # half-width between the corners
    eye_spacing: Tensor = field(metadata=_in(0.31, 0.36))  # from the midline to the middle of the eye
    eye_height: Tensor = field(metadata=_in(0.75, 1.15))  # opening at rest, 1 the usual one
    eye_level: Tensor = field(metadata=_in(-0.12, -0.02))  # y of the eyes
    eye_tilt: Tensor = field(metadata=_in(-0.12, 0.20))  # outer corner above the inner one
    iris_shade: Tensor = field(metadata=_in(0, 1))  # 0 dark brown, 1 light blue
    brow_thickness: Tensor = field(metadata=_in(0.025, 0.055))  # half-thickness where thickest
    brow_height: Tensor = field(metadata=_in(0.21, 0.29))  # above the eyes
    brow_tilt: Tensor = field(metadata=_in(-0.18, 0.10))  # outer end above the inner one
    nose_length: Tensor = field(metadata=_in(0.36, 0.46))  # from the eyes to the base of the nose
    nose_width: Tensor = field(metadata=_in(0.12, 0.19))  # half-width at the wings
    mouth_width: Tensor = field(metadata=_in(0.25, 0.33))  # half-width at the corners
    mouth_height: Tensor = field(metadata=_in(0.55, 0.63))  # y of the mouth
    lip_thickness: Tensor = field(metadata=_in(0.75, 1.5))  # of both lips, 1 the usual one
    skin_tone: Tensor = field(metadata=_in(0, 1))  # 0 light, 1 dark: how much light the skin keeps
    hair_style: Tensor = field(metadata=_in(0, len(HAIR_STYLES) - 1, torch.int64))  # int64 index into HAIR_STYLES
    hair_shade: Tensor = field(metadata=_in(0, 1))  # 0 black, 1 fair
    hairline: Tensor = field(metadata=_in(-0.80, -0.66))  # its y at the midline
    age: Tensor = field(metadata=_in(0, 1))  # 0 smooth, 1 deeply lined and grey
    resting_mouth: Tensor = field(metadata=_in(-0.03, 0.014))  # how far the corners hang at rest
    resting_brow: Tensor = field(metadata=_in(-0.02, 0.02))  # how far the inner brows hang at rest
    mouth_asymmetry: Tensor = field(metadata=_in(-0.015, 0.015))  # right corner of the picture lower than the left one
    brow_asymmetry: Tensor = field(metadata=_in(-0.02, 0.02))  # right brow of the picture lower than the left one
    laterality: Tensor = field(metadata=_in(-1, 1))  # expressions weaker on the picture's right (< 0) or left (> 0)

    @classmethod
    def draw(cls, n: int, generator: torch.Generator, skin_tone: Tensor | float | None = None) -> Self:
        """Draw n people; traits are bell-shaped on their ranges, skin tone and age uniform.

        Hair and eyes are the darker the darker the skin; every hairstyle is as likely. `skin_tone`, a number or a
        tensor (n,), sets it instead of drawing it: hair and eyes follow it, all other traits stay as drawn.
        """
        if n < 0:
            raise ValueError(f"n must be at least 0, not {n}")
        drawn = {f.name: _bell(n, generator, *f.metadata["range"]) for f in fields(cls)}
        tone = _uniform(n, generator, 0, 1)
        if skin_tone is not None:
            tone = torch.zeros_like(tone) + torch.as_tensor(skin_tone, dtype=tone.dtype, device=tone.device)
        paleness = (1 - tone).clamp(0, 1)
        return cls(
            **drawn
            | {
                "skin_tone": tone,
                "age": _uniform(n, generator, 0, 1),
                "iris_shade": _uniform(n, generator, 0, 1) * paleness,
                "hair_shade": _uniform(n, generator, 0, 1) * paleness,
                "hair_style": torch.randint(len(HAIR_STYLES), (n,), generator=generator, device=generator.device),
            }
        )


@dataclass(frozen=True, eq=False)
class Nuisance(_Rows):
    """The conditions of N pictures: pose, light, occlusion and camera. All are float tensors (N,) but `occlusion`."""

    yaw: Tensor = field(metadata=_in(-0.7, 0.7))  # radians; > 0 turns the face to the right of the picture
    pitch: Tensor = field(metadata=_in(-0.4, 0.4))  # radians; > 0 looks up
    roll: Tensor = field(metadata=_in(-0.6, 0.6))  # radians; > 0 leans clockwise
    light_azimuth: Tensor = field(metadata=_in(-1.4, 1.4))  # radians; > 0 from the right of the picture
    light_elevation: Tensor = field(metadata=_in(-0.6, 1.4))  # radians; > 0 from above
    light_strength: Tensor = field(metadata=_in(0, 1.2))  # of the directed light, in units of full exposure
    ambient: Tensor = field(metadata=_in(0, 1.2))  # light from everywhere, in the same units
    occlusion: Tensor = field(metadata=_in(0, len(OCCLUSIONS) - 1, torch.int64))  # int64 index into OCCLUSIONS
    occlusion_position: Tensor = field(metadata=_in(-1, 1))  # from the left to the right of the picture
    occlusion_extent: Tensor = field(metadata=_in(0, 1))  # from a little to all it can cover
    blur: Tensor = field(metadata=_in(0, 6))  # standard deviation in pixels of a 64-pixel picture
    noise: Tensor = field(metadata=_in(0, 80))  # standard deviation in grey levels
    exposure: Tensor = field(metadata=_in(-2, 2))  # stops: each doubles the light
    background: Tensor = field(metadata=_in(0, 1))  # 0 black, 1 white

    @classmethod
    def none(cls, n: int) -> Self:
        """n pictures taken well: frontal, evenly lit from above left, sharp, nothing in the way."""
        usual = {"light_azimuth": -0.35, "light_elevation": 0.55, "light_strength": 0.55, "ambient": 0.5}
        values = {f.name: torch.full((n,), usual.get(f.name, 0.0)) for f in fields(cls)}
        values["background"].fill_(0.62)
        return cls(**values | {"occlusion": torch.zeros(n, dtype=torch.long)})

    @classmethod
    def draw(cls, n: int, generator: torch.Generator, severity: float = 1.0) -> Self:
        """Draw the conditions of n pictures; `severity` in [0, 2] scales how far they stray from `none`.

        At 1, yaw has an sd of 0.25 rad, one picture in eight is occluded, blur has a mean of 0.5 pixels (of 64)
        and noise one of 4 grey levels. Only the background does not depend on severity.
        """
        if n < 0:
            raise ValueError(f"n must be at least 0, not {n}")
        if not 0 <= severity <= 2:
            raise ValueError(f"severity must lie in [0, 2], not {severity}")
        ranges = {f.name: f.metadata["range"] for f in fields(cls)}
        usual = {name: values.to(generator.device) for name, values in vars(cls.none(n)).items()}

        def spread(name: str, sd: float) -> Tensor:
            drawn = torch.randn(n, generator=generator, device=generator.device)
            return (usual[name] + severity * sd * drawn).clamp(*ranges[name])

        def skewed(name: str, mean: float) -> Tensor:
            drawn = -torch.log1p(-torch.rand(n, generator=generator, device=generator.device))
            return (severity * mean * drawn).clamp(*ranges[name])

        occluded = torch.rand(n, generator=generator, device=generator.device) < 0.125 * severity
        kind = torch.randint(1, len(OCCLUSIONS), (n,), generator=generator, device=generator.device)
        return cls(
            yaw=spread("yaw", 0.25),
            pitch=spread("pitch", 0.13),
            roll=spread("roll", 0.10),
            light_azimuth=spread("light_azimuth", 0.5),
            light_elevation=spread("light_elevation", 0.25),
            light_strength=spread("light_strength", 0.12),
            ambient=spread("ambient", 0.10),
            occlusion=kind * occluded,
            occlusion_position=_uniform(n, generator, -1, 1),
            occlusion_extent=_uniform(n, generator, 0, 1),
            blur=skewed("blur", 0.5),
            noise=skewed("noise", 4.0),
            exposure=spread("exposure", 0.25),
            background=_uniform(n, generator, 0.1, 0.95),
        )

    @property
    def quality(self) -> Tensor:
        """How much of the face's evidence these conditions leave, (N,) in [0, 1]; `none` leaves all.

        A product of one factor each for sharpness, noise, pose, occlusion and light:
        1/(1 + (blur/1.5)^2) * 1/(1 + (noise/30)^2) * (cos yaw cos pitch)^2 * (1 - covered) * 2^-(exposure/1.5)^2.
        """
        covered = torch.tensor([0.0, 0.45, 0.45, 0.25, 0.55], device=self.yaw.device)[self.occlusion]
        return (
            1
            / (1 + (self.blur / 1.5) ** 2)
            / (1 + (self.noise / 30) ** 2)
            * (self.yaw.cos() * self.pitch.cos()) ** 2
            * (1 - covered * (0.5 + 0.5 * self.occlusion_extent))
            * torch.exp2(-((self.exposure / 1.5) ** 2))
        )


# ---------------------------------------------------------------------------------------------------------------
# The landmarks, and what moves them
# ---------------------------------------------------------------------------------------------------------------

# The right half of the picture in the order of 300-W (Sagonas et al., 2013), counted from 0: jaw, brow, bridge
# and base of the nose, eye, outer lip, inner lip. LEFT holds their mirror images; midline points mirror themselves.
JAW = tuple(range(8, 17))
BROW, BRIDGE, NOSE_BASE = (22, 23, 24, 25, 26), (27, 28, 29, 30), (33, 34, 35)
EYE, OUTER_LIP, INNER_LIP = (42, 43, 44, 45, 46, 47), (51, 52, 53, 54, 55, 56, 57), (62, 63, 64, 65, 66)
RIGHT = JAW + BROW + BRIDGE + NOSE_BASE + EYE + OUTER_LIP + INNER_LIP
LEFT = (
    *(8, 7, 6, 5, 4, 3, 2, 1, 0),
    *(21, 20, 19, 18, 17, 27, 28, 29, 30, 33, 32, 31, 39, 38, 37, 36, 41, 40),
    *(51, 50, 49, 48, 59, 58, 57, 62, 61, 60, 67, 66),
)
SLOT = {landmark: slot for slot, landmark in enumerate(RIGHT)}
MIDLINE = tuple(SLOT[r] for r, l in zip(RIGHT, LEFT, strict=True) if r == l)

# How far each action unit at intensity 5 moves the landmarks of one half: {landmark: (outward, down)}.
# fmt: off
MOVES: Mapping[int, Mapping[int, tuple[float, float]]] = {
    1: {22: (-0.005, -0.135), 23: (0, -0.115), 24: (0, -0.05), 43: (0, -0.012)},
    2: {23: (0, -0.03), 24: (0, -0.09), 25: (0, -0.13), 26: (0.005, -0.125), 44: (0, -0.012)},
    4: {22: (-0.04, 0.095), 23: (-0.04, 0.08), 24: (-0.03, 0.055), 25: (-0.02, 0.03), 43: (0, 0.02),
        44: (0, 0.012)},
    5: {43: (0, -0.062), 44: (0, -0.062)},
    6: {25: (0, 0.012), 26: (0, 0.02), 44: (0, 0.018), 45: (0.005, -0.008), 46: (0, -0.038), 47: (0, -0.03)},
    7: {43: (0, 0.03), 44: (0, 0.032), 46: (0, -0.036), 47: (0, -0.036)},
    9: {22: (-0.02, 0.045), 23: (-0.01, 0.035), 24: (0, 0.02), 30: (0, -0.03), 33: (0, -0.03),
        34: (0.005, -0.045), 35: (0.03, -0.06), 43: (0, 0.015), 46: (0, -0.015), 47: (0, -0.022),
        51: (0, -0.035), 52: (0, -0.045), 53: (0, -0.035), 56: (0, -0.015), 57: (0, -0.015), 62: (0, -0.025),
        63: (0, -0.03), 65: (0, -0.022), 66: (0, -0.022)},
    10: {34: (0, -0.012), 35: (0.012, -0.025), 51: (0, -0.075), 52: (0.02, -0.09), 53: (0.045, -0.085),
         54: (0.01, 0.01), 56: (0, -0.022), 57: (0, -0.025), 62: (0, -0.06), 63: (0.015, -0.062),
         64: (0.01, 0), 65: (0.01, -0.04), 66: (0, -0.04)},
    12: {35: (0.02, -0.005), 51: (0, -0.005), 52: (0.02, -0.015), 53: (0.085, -0.07), 54: (0.125, -0.125),
         55: (0.085, -0.035), 56: (0.03, 0.012), 57: (0, 0.015), 63: (0.05, -0.028), 64: (0.115, -0.115),
         65: (0.05, -0.022)},
    14: {53: (-0.015, 0.01), 54: (-0.03, -0.03), 55: (-0.015, -0.02), 64: (-0.035, -0.03)},
    15: {53: (0.005, 0.055), 54: (0.005, 0.115), 55: (0.01, 0.075), 56: (0, 0.015), 63: (0, 0.022),
         64: (0.005, 0.105), 65: (0, 0.022)},
    17: {8: (0, -0.02), 9: (0, -0.012), 51: (0, -0.035), 52: (0, -0.03), 53: (0, -0.01), 54: (0, 0.02),
         55: (0, -0.03), 56: (0, -0.048), 57: (0, -0.05), 62: (0, -0.045), 63: (0, -0.035), 64: (0, 0.015),
         65: (0, -0.035), 66: (0, -0.045)},
    20: {52: (0.02, 0.01), 53: (0.08, 0.015), 54: (0.125, 0.035), 55: (0.08, 0.005), 56: (0.03, -0.005),
         63: (0.04, 0.008), 64: (0.12, 0.032), 65: (0.04, 0.008)},
    23: {52: (-0.015, 0), 53: (-0.045, 0), 54: (-0.075, 0), 55: (-0.045, 0), 56: (-0.02, 0), 63: (-0.025, 0),
         64: (-0.07, 0), 65: (-0.025, 0)},
    24: {51: (0, 0.005), 54: (-0.02, 0.005), 57: (0, -0.005), 64: (-0.02, 0.005)},
    25: {51: (0, -0.022), 52: (0, -0.022), 53: (0, -0.01), 55: (0, 0.03), 56: (0, 0.052), 57: (0, 0.055),
         62: (0, -0.035), 63: (0, -0.03), 65: (0, 0.048), 66: (0, 0.06)},
    26: {8: (0, 0.13), 9: (0, 0.125), 10: (0, 0.105), 11: (-0.01, 0.07), 12: (-0.015, 0.035),
         13: (-0.01, 0.01), 51: (0, -0.01), 53: (-0.015, 0.01), 54: (-0.03, 0.05), 55: (-0.015, 0.13),
         56: (0, 0.19), 57: (0, 0.195), 62: (0, -0.02), 63: (0, -0.012), 64: (-0.025, 0.055), 65: (0, 0.18),
         66: (0, 0.2)},
}
# fmt: on

# What of an action unit is lost on the weaker side of a fully one-sided person (`Identity.laterality` = -1 or 1):
# the dimple of contempt is usually one-sided, smiles and sneers lean to a side, brows and lids hardly do.
LATERALITY = {2: 0.2, 9: 0.15, 10: 0.3, 12: 0.25, 14: 0.9, 15: 0.2, 20: 0.15}
PRESSED = {10: -0.10, 12: 0.20, 14: 0.15, 15: 0.10, 17: 0.10, 20: 0.40, 23: 0.55, 24: 0.75}  # share of lip lost

# How far landmarks stand out from the ellipsoid of the head.
RELIEF = {22: 0.04, 23: 0.04, 24: 0.03, 27: 0.05, 28: 0.10, 29: 0.16, 30: 0.24, 33: 0.12, 34: 0.09, 35: 0.04}
RELIEF |= {43: 0.01, 44: 0.01, 51: 0.09, 52: 0.08, 53: 0.04, 55: 0.04, 56: 0.07, 57: 0.08}
RELIEF |= {62: 0.07, 63: 0.06, 65: 0.06, 66: 0.07}
DEPTH = 0.60  # of the ellipsoid's front
PIVOT = 0.30  # z about which the head turns: a crop that follows the face keeps a point near its front in place
SCALE, MIDDLE = 0.43, (0.5, 0.515)  # of face coordinates in the picture, whose sides are 1


class _Curve(NamedTuple):
    """A furrow of one half: a bow from one landmark to another, darkened by action units and by age."""

    start: tuple[int, float, float]  # landmark, outward, down
    end: tuple[int, float, float]
    bow: tuple[float, float]  # how far its middle is pushed (outward, down)
    half_width: float
    darkness: Mapping[int, float]  # at intensity 5, by action unit
    age: float = 0.0  # at age 1
    rest: float = 0.0


# fmt: off
CURVES = (
    # across the forehead, in the middle and above the outer brows
    *(_Curve((27, -0.015, -0.44 - up), (27, 0.27, -0.415 - up), (0.0, -0.035), 0.017, {1: dark}, age)
      for up, dark, age in ((0.0, 0.60, 0.10), (0.085, 0.65, 0.18), (0.17, 0.55, 0.18))),
    *(_Curve((27, 0.25, -0.43 - up), (27, 0.55, -0.33 - up), (0.02, -0.06), 0.017, {2: dark}, age)
      for up, dark, age in ((0.01, 0.50, 0.08), (0.09, 0.55, 0.14), (0.17, 0.40, 0.14))),
    # upright between the brows, then across the root of the nose and down its sides
    _Curve((27, 0.04, -0.33), (27, 0.042, -0.10), (0.014, 0.0), 0.017, {4: 0.62}, 0.12),
    _Curve((27, -0.01, -0.02), (27, 0.085, -0.045), (0.0, 0.01), 0.015, {9: 0.6, 4: 0.12}, 0.08),
    _Curve((27, -0.01, 0.05), (27, 0.10, 0.015), (0.0, 0.01), 0.015, {9: 0.7}, 0.03),
    _Curve((28, 0.06, -0.04), (28, 0.15, 0.05), (0.0, -0.015), 0.015, {9: 0.7}),
    _Curve((28, 0.075, 0.03), (28, 0.15, 0.12), (0.0, -0.015), 0.014, {9: 0.55}),
    # crow's feet, and the bag below the eye
    _Curve((45, 0.035, -0.02), (45, 0.115, -0.075), (0.0, 0.012), 0.011, {6: 0.45}, 0.18),
    _Curve((45, 0.04, 0.012), (45, 0.130, 0.008), (0.0, 0.010), 0.011, {6: 0.50}, 0.20),
    _Curve((45, 0.035, 0.042), (45, 0.11, 0.085), (0.0, -0.012), 0.011, {6: 0.45}, 0.18),
    _Curve((42, 0.015, 0.07), (45, -0.02, 0.07), (0.0, 0.055), 0.015, {6: 0.42, 7: 0.35, 9: 0.2}, 0.22, 0.06),
    # the nasolabial fold
    _Curve((35, 0.03, -0.06), (54, 0.075, 0.015), (0.025, -0.035), 0.020,
           {6: 0.10, 9: 0.35, 10: 0.48, 12: 0.32, 20: 0.12}, 0.28, 0.04),
    # the dimple beside the corner of the mouth, the line down from it, and the tension above it
    _Curve((54, 0.055, -0.065), (54, 0.050, 0.065), (0.035, 0.0), 0.018, {12: 0.12, 14: 0.68}),
    _Curve((54, 0.020, 0.02), (54, 0.045, 0.14), (0.03, 0.0), 0.017, {15: 0.6, 26: 0.10}, 0.22),
    _Curve((54, 0.015, -0.055), (53, 0.02, -0.065), (0.0, -0.02), 0.015, {23: 0.35, 24: 0.35}),
    # under the lower lip, and the dents of the chin
    _Curve((57, -0.01, 0.075), (55, 0.0, 0.10), (0.0, -0.01), 0.022,
           {15: 0.2, 17: 0.55, 23: 0.25, 24: 0.35}, 0.08, 0.14),
    _Curve((8, 0.03, -0.235), (8, 0.115, -0.20), (0.0, -0.02), 0.015, {17: 0.6}),
    _Curve((8, 0.015, -0.17), (8, 0.085, -0.13), (0.0, -0.015), 0.015, {17: 0.55}),
)
# fmt: on


def _as_table(by_unit: Mapping[int, float]) -> Tensor:
    """A number for each action unit, (17,); 0 where none is given."""
    return torch.tensor([by_unit.get(unit, 0.0) for unit in ACTION_UNITS], dtype=torch.float64)


@lru_cache
def _moves(device: torch.device) -> Tensor:
    """MOVES as a tensor (17, 39, 2)."""
    table = torch.zeros(len(ACTION_UNITS), len(RIGHT), 2, dtype=torch.float64)
    for i, unit in enumerate(ACTION_UNITS):
        for landmark, shift in MOVES[unit].items():
            table[i, SLOT[landmark]] = torch.tensor(shift, dtype=torch.float64)
    return table.to(device)


class _Geometry(NamedTuple):
    """Where everything lies in the picture, (x, y) in [0, 1] of its sides; axis 2 of halves is (left, right)."""

    landmarks: Tensor  # (N, 68, 2)
    skull: Tensor  # (N, K, 2), the upper outline, from the right of the picture over the crown to the left
    action: Tensor  # (N, 2, 17) in [0, 1], as shown on either side
    half: Tensor  # (N, 2, 39, 2) landmarks in face coordinates, x outward
    head: "_Head"


class _Head(NamedTuple):
    """The turned head: takes points of the face to the picture."""

    cos: Tensor  # (N, 3) of yaw, pitch and roll
    sin: Tensor
    width: Tensor  # (N,)
    stretch: Tensor

    def _as_wide_as(self, x: Tensor) -> list[Tensor]:
        """Cosines, then sines, of yaw, pitch and roll, and width and stretch, each to broadcast over x (N, ...)."""
        columns = torch.cat((self.cos, self.sin, self.width[:, None], self.stretch[:, None]), 1)
        return [column.view(-1, *[1] * (x.ndim - 1)) for column in columns.unbind(1)]

    def _nod(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Pitch, then roll, then into the picture; z is counted from PIVOT."""
        _, cos_pitch, cos_roll, _, sin_pitch, sin_roll, _, stretch = self._as_wide_as(x)
        y = y * stretch * cos_pitch - z * sin_pitch
        x, y = x * cos_roll - y * sin_roll, x * sin_roll + y * cos_roll
        return torch.stack((MIDDLE[0] + SCALE * x, MIDDLE[1] + SCALE * y), -1)

    def at(self, points: Tensor, z: Tensor | float) -> Tensor:
        """Points (N, ..., 2) in face coordinates at depth z, in the picture."""
        x, y = points.unbind(-1)
        cos, _, _, sin, *_ = self._as_wide_as(x)
        z = z - PIVOT
        return self._nod(x * cos + z * sin, y, z * cos - x * sin)

    def surface(self, points: Tensor, relief: Tensor | float = 0.0) -> Tensor:
        """Points (N, ..., 2) in face coordinates on the front of the head, raised by `relief`, in the picture."""
        x, y = points.unbind(-1)
        *_, width, _ = self._as_wide_as(x)
        z = DEPTH * (1 - (x / (1.08 * width)) ** 2 - (y / 1.25) ** 2).clamp(min=0.02).sqrt()
        return self.at(points, z + relief)

    def silhouette(self, points: Tensor, forward: Tensor | float) -> Tensor:
        """The contour that a stack of elliptical cross-sections shows; points (N, 2, K, 2) give its two sides.

        The section at height y has half-width w, half-depth d = w DEPTH/width, and its middle at z = forward. Turned
        by yaw its half-width is sqrt((w cos)^2 + (d sin)^2), about (forward - PIVOT) sin(yaw).
        """
        w, y = points.unbind(-1)
        cos, _, _, sin, _, _, width, _ = self._as_wide_as(w)
        turned = ((w * cos) ** 2 + (w * DEPTH / width * sin) ** 2).sqrt()
        side = w.new_tensor([[-1.0], [1.0]])
        z = forward - PIVOT
        return self._nod(side * turned + z * sin, y, z * cos)


def _mirrored(half: Tensor) -> Tensor:
    """Face coordinates (N, 2, ..., 2) with x outward turned into x to the right of the picture."""
    return half * torch.tensor([[-1.0, 1.0], [1.0, 1.0]]).to(half).view(1, 2, *[1] * (half.ndim - 3), 2)


def _rest(identity: Identity, thickness: Tensor) -> Tensor:
    """The half-face at rest, (N, 39, 2), x outward; `thickness` (N,) is what action units leave of the lips."""
    i = SimpleNamespace(**{f.name: getattr(identity, f.name).double() for f in fields(identity)})
    zero = torch.zeros_like(i.face_width)
    points = []

    def put(x: Tensor | float, y: Tensor | float) -> None:
        points.append(torch.stack((zero + x, zero + y), -1))

    # |x/W|^n + |(y - y0)/(1 - y0)|^n = 1: a superellipse from the ear to the chin
    power = 2 / (1.9 + 0.8 * i.jaw)
    for k in range(9):
        turn = math.pi / 2 * (1 - k / 8)
        put(i.face_width * max(math.cos(turn), 0.0) ** power, -0.05 + 1.05 * math.sin(turn) ** power)

    brow = i.eye_level - i.brow_height
    for along, x, rise in ((0, 0.13, 0.008), (0.25, 0.23, 0.04), (0.5, 0.35, 0.06), (0.75, 0.465, 0.05), (1, 0.565, 0)):
        tilt = 0.44 * i.brow_tilt * (along - 0.4)
        put(x + i.eye_spacing - 0.335, brow - rise - tilt + i.resting_brow * (1 - along))

    base = i.eye_level + i.nose_length
    for along in (0, 0.3, 0.58, 0.84):
        put(zero, i.eye_level + along * i.nose_length)
    for x, y in ((0, 0.015), (0.52, 0.0), (1, -0.055)):
        put(x * i.nose_width, base + y)

    for x, y in ((-1, 0.025), (-0.38, -0.082), (0.36, -0.085), (1, 0), (0.38, 0.062), (-0.36, 0.064)):
        opening = i.eye_height if y else 1
        put(i.eye_spacing + x * i.eye_size, i.eye_level + y * opening - i.eye_tilt * i.eye_size * x)

    upper, lower = 0.085 * i.lip_thickness * thickness, 0.105 * i.lip_thickness * thickness
    corner = i.mouth_height + i.resting_mouth
    for x, y in ((0, -0.80), (0.27, -1), (0.64, -0.62)):
        put(x * i.mouth_width, i.mouth_height + y * upper)
    put(i.mouth_width, corner)
    for x, y in ((0.64, 0.68), (0.30, 1), (0, 1.05)):
        put(x * i.mouth_width, i.mouth_height + y * lower)
    for x, y in ((0, 0.005), (0.36, -0.004), (0.9, 0.0), (0.36, -0.004), (0, 0.005)):
        put(x * i.mouth_width, i.mouth_height + y + i.resting_mouth * x)
    return torch.stack(points, 1)


def _geometry(intensities: Tensor, identity: Identity, nuisance: Nuisance) -> _Geometry:
    action = intensities.double()[:, None] / 5
    side = torch.tensor([-1.0, 1.0]).to(action)
    weaker = (-side * identity.laterality.double()[:, None]).clamp(min=0)  # (N, 2)
    action = action * (1 - weaker[..., None] * _as_table(LATERALITY).to(action))

    thickness = (1 - action * _as_table(PRESSED).to(action)).clamp(min=0.18).prod(-1).clamp(min=0.16).mean(1)
    half = _rest(identity, thickness)[:, None] + torch.einsum("nsu,upc->nspc", action, _moves(action.device))
    for name, share in (
        ("mouth_asymmetry", {54: 0.5, 64: 0.5, 53: 0.3, 55: 0.3}),
        ("brow_asymmetry", dict.fromkeys(BROW, 0.5)),
    ):
        shift = side * getattr(identity, name).double()[:, None]
        for landmark, part in share.items():
            half[:, :, SLOT[landmark], 1] += part * shift
    half[:, :, MIDLINE] = half[:, :, MIDLINE].mean(1, keepdim=True)
    half = _keep_in_order(half)

    angles = torch.stack((nuisance.yaw, nuisance.pitch, nuisance.roll), 1).double()
    head = _Head(angles.cos(), angles.sin(), identity.face_width.double(), identity.face_height.double())

    relief = torch.tensor([RELIEF.get(landmark, 0.0) for landmark in RIGHT]).to(half)
    placed = head.surface(_mirrored(half), relief)
    jaw = half[:, :, : len(JAW)]
    placed[:, :, : len(JAW)] = head.silhouette(jaw, _jaw_forward(jaw, identity))
    landmarks = placed.new_empty(len(placed), 68, 2)
    landmarks[:, list(LEFT)] = placed[:, 0]
    landmarks[:, list(RIGHT)] = placed[:, 1]
    return _Geometry(landmarks, _skull(head, torch.zeros_like(head.width)), action, half, head)


def _keep_in_order(half: Tensor) -> Tensor:
    """Lids that meet and lips that touch go no further, whatever action units add up to."""
    y = list(half[..., 1].unbind(2))
    for upper, lower in ((43, 47), (44, 46)):
        shut = (0.035 - (y[SLOT[lower]] - y[SLOT[upper]])).clamp(min=0) / 2
        y[SLOT[upper]], y[SLOT[lower]] = y[SLOT[upper]] - shut, y[SLOT[lower]] + shut
    for upper, lower, outer_upper, outer_lower in ((62, 66, 51, 57), (63, 65, 52, 56)):
        overlap = (y[SLOT[upper]] - y[SLOT[lower]]).clamp(min=0) / 2
        y[SLOT[upper]], y[SLOT[lower]] = y[SLOT[upper]] - overlap, y[SLOT[lower]] + overlap
        y[SLOT[outer_upper]] = torch.minimum(y[SLOT[outer_upper]], y[SLOT[upper]] - 0.012)
        y[SLOT[outer_lower]] = torch.maximum(y[SLOT[outer_lower]], y[SLOT[lower]] + 0.015)
    return torch.stack((half[..., 0], torch.stack(y, 2)), -1)


def _jaw_forward(jaw: Tensor, identity: Identity) -> Tensor:
    """z of the middle of the jaw's cross-sections: 0 at the ears, well forward at the chin."""
    return 0.75 * DEPTH * (1 - jaw[..., 0] / identity.face_width.double()[:, None, None]).clamp(min=0)


def _skull(head: _Head, volume: Tensor) -> Tensor:
    """The outline from ear over the crown to the other ear, grown by `volume` (N,), (N, 19, 2) in the picture."""
    turn = torch.linspace(0, math.pi / 2, 10).to(volume)
    volume = volume.view(-1, 1, 1)
    width = (head.width.view(-1, 1, 1) + volume) * turn.cos().clamp(min=0) ** 0.9
    level = -0.05 - (0.95 + 0.8 * volume) * turn.sin()
    points = torch.stack((width.expand(-1, 2, -1), level.expand(-1, 2, -1)), -1)
    left, right = head.silhouette(points, -0.12 * turn.sin()).unbind(1)
    return torch.cat((right, left[:, :-1].flip(1)), 1)


def landmarks(intensities: Tensor, identity: Identity, nuisance: Nuisance) -> Tensor:
    """The 68 landmarks of each face, (N, 68, 2): (x, y) from the upper left corner, in sides of the picture.

    In the order of 300-W (0-16 the visible contour from ear over chin to ear, 17-26 brows, 27-35 nose, 36-47 eyes,
    48-59 outer and 60-67 inner lips), "left" being left in the picture. Float64; these are the points that `render`
    draws through, whether or not an occlusion hides them. Arguments and errors are those of `render`.
    """
    _check(intensities, identity, nuisance)
    return _geometry(intensities, identity, nuisance).landmarks


# ---------------------------------------------------------------------------------------------------------------
# Drawing
# ---------------------------------------------------------------------------------------------------------------


class _Box:
    """A rectangle of the canvas: the smallest that holds given points with a margin, for every face of the chunk."""

    def __init__(self, canvas: "_Canvas", low: Sequence[float], high: Sequence[float], margin: float = 0.0):
        self.canvas, size, pad = canvas, canvas.size, margin + canvas.edge
        left, top = (min(max(math.floor((edge - pad) * size), 0), size - 1) for edge in low)
        right, bottom = (min(max(math.ceil((edge + pad) * size), 1), size) for edge in high)
        self.pixels = (..., slice(top, bottom), slice(left, right))
        self.x = canvas.centres[left:right].view(1, 1, -1)
        self.y = canvas.centres[top:bottom].view(1, -1, 1)

    def segments(self, points: Tensor, closed: bool = False) -> Iterator[tuple[Tensor, Tensor, Tensor, list[Tensor]]]:
        """Pixels as each segment of a line through points (N, K, 2) sees them.

        Yields how far along the segment their nearest point lies, how far beyond its ends and how far to the right
        of it they are, each (N, h, w), and its unit direction and length.
        """
        after = points.roll(-1, 1) if closed else points[:, 1:]
        start = points if closed else points[:, :-1]
        step = after - start
        length = step.square().sum(-1, keepdim=True).sqrt()
        along_x = step.new_tensor([1.0, 0.0])  # a direction for segments that are but a point
        columns = torch.cat((start, torch.where(length > 1e-9, step / length, along_x), length), -1)
        for ax, ay, tx, ty, length in zip(*(_scalars(c) for c in columns.unbind(-1)), strict=True):
            x, y = self.x - ax, self.y - ay  # one row and one column: only their sums below fill the box
            beyond, right = x * tx + y * ty, y * tx - x * ty
            along = torch.minimum(beyond.clamp(min=0), length)
            yield along, beyond.sub_(along), right, [tx, ty, length]

    def stroke(self, points: Tensor, half_width: Tensor) -> Tensor:
        """Distance (N, h, w) to an open line through (N, K, 2), less its half-width there ((N, K) or (K,))."""
        half_width = half_width.expand(points.shape[:2])
        lengths = (points[:, 1:] - points[:, :-1]).square().sum(-1).sqrt().clamp(min=1e-9)
        slopes = _scalars((half_width[:, 1:] - half_width[:, :-1]) / lengths)
        nearest = None
        for segment, width, slope in zip(self.segments(points), _scalars(half_width), slopes, strict=False):
            along, beyond, right, _ = segment
            distance = beyond.mul_(beyond).add_(right.mul_(right)).sqrt_()
            distance -= along.mul_(slope).add_(width)
            nearest = distance if nearest is None else torch.minimum(nearest, distance, out=nearest)
        return nearest

    def polygon(self, points: Tensor) -> Tensor:
        """Signed distance (N, h, w) to the polygon through (N, K, 2): negative inside, by the even-odd rule."""
        y, y_after = _scalars(points[..., 1]), _scalars(points[..., 1].roll(-1, 1))
        nearest, inside = None, None
        for (_, beyond, right, _), y0, y1 in zip(self.segments(points, closed=True), y, y_after, strict=True):
            crossed = (right < 0).logical_xor_(y1 > y0).logical_and_((self.y >= y0) ^ (self.y >= y1))
            inside = crossed if inside is None else inside.logical_xor_(crossed)
            distance = beyond.mul_(beyond).add_(right.mul_(right))
            nearest = distance if nearest is None else torch.minimum(nearest, distance, out=nearest)
        return nearest.sqrt_().mul_(1 - 2 * inside.to(nearest.dtype))

    def convex(self, points: Tensor) -> Tensor:
        """Signed distance inside a convex polygon (N, K, 2), and near its sides; far from a corner too small."""
        step = points.roll(-1, 1) - points
        normal = torch.stack((step[..., 1], -step[..., 0]), -1)
        normal = normal / normal.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-9)
        outward = (normal * (points - points.mean(1, keepdim=True))).sum(-1, keepdim=True).sum(1, keepdim=True)
        normal = normal * outward.sign()
        reach = (normal * points).sum(-1)
        farthest = None
        for nx, ny, c in zip(*map(_scalars, (normal[..., 0], normal[..., 1], reach)), strict=True):
            d = self.x * nx + (self.y * ny - c)
            farthest = d if farthest is None else torch.maximum(farthest, d, out=farthest)
        return farthest

    def ellipse(self, centre: Tensor, radius: Tensor) -> Tensor:
        """Approximate signed distance (N, h, w) to an upright ellipse, exact for a disc; both (N, 2)."""
        cx, cy, rx, ry = _scalars(torch.cat((centre, radius), 1))
        x, y = (self.x - cx) / rx, (self.y - cy) / ry
        return (x * x + y * y).sqrt_().sub_(1).mul_(torch.minimum(rx, ry))

    def cover(self, distance: Tensor, soft: float = 0.0) -> Tensor:
        """Coverage in [0, 1] of signed distances: a smoothstep over one pixel, or over `soft` where that is more."""
        t = distance.mul(-1 / max(self.canvas.edge, soft)).add_(0.5).clamp_(0, 1)
        return (t * t).mul_(t.mul_(-2).add_(3))

    def paint(self, cover: Tensor, colour: Tensor, rows: Tensor | None = None) -> None:
        """Lay a colour (N, C) over the canvas, or over some rows of it; `cover` is (N, h, w)."""
        under = self.canvas.colour[self.pixels]
        if self.canvas.clip is not None:
            cover = cover * self.canvas.clip[self.pixels]
        if rows is None:
            under += (colour[:, :, None, None] - under).mul_(cover[:, None])
        else:
            part = under[rows]
            under[rows] = part + (colour[:, :, None, None] - part).mul_(cover[:, None])


def _scalars(values: Tensor) -> list[Tensor]:
    """Columns of (N, K) as float32 (N, 1, 1), to broadcast over pixels."""
    return list(values.float()[:, :, None, None].unbind(1))


class _Canvas:
    def __init__(self, n: int, size: int, channels: int, device: torch.device):
        self.size, self.edge = size, 1.25 / size
        self.colour = torch.empty(n, channels, size, size, device=device)
        self.centres = (torch.arange(size, device=device) + 0.5) / size
        self.weights = torch.tensor(LUMA, device=device)
        self.clip: Tensor | None = None  # where paint holds, (N, size, size) in [0, 1]

    def box(self, points: Tensor, margin: float = 0.0) -> _Box:
        """The box around points (..., 2)."""
        points = points.reshape(-1, 2)
        return _Box(self, *torch.stack((points.amin(0), points.amax(0))).tolist(), margin)

    def whole(self) -> _Box:
        return _Box(self, (0, 0), (1, 1))

    def ink(self, *rgb: float) -> Tensor:
        """A colour in [0, 1] per channel as (1, C)."""
        return self.mix(torch.tensor([rgb], device=self.colour.device))

    def mix(self, rgb: Tensor) -> Tensor:
        """Colours (N, 3) as this canvas holds them: themselves, or their grey."""
        return rgb if self.colour.shape[1] == 3 else (rgb * self.weights).sum(1, keepdim=True)


def _ramp(stops: tuple[tuple[float, float, float], ...], share: Tensor) -> Tensor:
    """Colours (N, 3) at `share` (N,) in [0, 1] of the way along evenly spaced stops."""
    table = torch.tensor(stops, device=share.device)
    place = share.float() * (len(stops) - 1)
    low = place.floor().clamp(max=len(stops) - 2).long()
    return table[low] + (place - low)[:, None] * (table[low + 1] - table[low])


SKIN = ((0.97, 0.84, 0.76), (0.91, 0.73, 0.61), (0.76, 0.55, 0.42), (0.54, 0.37, 0.28), (0.33, 0.22, 0.17))
HAIR = ((0.07, 0.06, 0.06), (0.20, 0.13, 0.09), (0.42, 0.26, 0.15), (0.78, 0.62, 0.38))
GREY_HAIR = (0.74, 0.74, 0.75)
IRIS = ((0.20, 0.11, 0.06), (0.36, 0.22, 0.10), (0.36, 0.40, 0.24), (0.36, 0.52, 0.66))
CLOTH = ((0.25, 0.36, 0.48), (0.55, 0.25, 0.26), (0.30, 0.42, 0.34))


@lru_cache
def _spline(k: int, per_span: int) -> Tensor:
    """The matrix that takes K points to a Catmull-Rom curve through them, `per_span` steps between two."""
    rows = []
    for span in range(k - 1):
        for step in range(per_span):
            t = step / per_span
            weights = ((-t + 2 * t**2 - t**3) / 2, (2 - 5 * t**2 + 3 * t**3) / 2,
                       (t + 4 * t**2 - 3 * t**3) / 2, (-(t**2) + t**3) / 2)  # fmt: skip
            row = [0.0] * k
            for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
                at = span + offset
                if at < 0:  # beyond an end the curve goes straight on
                    row[0] += 2 * weight
                    row[1] -= weight
                elif at >= k:
                    row[k - 1] += 2 * weight
                    row[k - 2] -= weight
                else:
                    row[at] += weight
            rows.append(row)
    rows.append([0.0] * (k - 1) + [1.0])
    return torch.tensor(rows, dtype=torch.float64)


def _smooth(points: Tensor, per_span: int) -> Tensor:
    """(N, K, 2) to (N, (K - 1) per_span + 1, 2), through every point."""
    matrix = _spline(points.shape[1], per_span).to(points)
    return (matrix[None, :, :, None] * points[:, None]).sum(2)


class _Portrait:
    """One chunk of faces on its canvas, drawn back to front."""

    def __init__(self, geometry: _Geometry, identity: Identity, nuisance: Nuisance, size: int, channels: int):
        self.g, self.identity, self.nuisance = geometry, identity, nuisance
        self.points = geometry.landmarks
        self.canvas = _Canvas(len(identity), size, channels, self.points.device)
        self.skin_rgb = _ramp(SKIN, identity.skin_tone)
        self.skin = self.canvas.mix(self.skin_rgb)
        grey = ((identity.age.float() - 0.55) * 1.8).clamp(0, 0.9)[:, None]
        shade = _ramp(HAIR, identity.hair_shade)
        self.hair_rgb = shade + grey * (torch.tensor(GREY_HAIR, device=shade.device) - shade)
        self.hair = self.canvas.mix(self.hair_rgb)
        self.glints: list[tuple[_Box, Tensor, Tensor, Tensor]] = []  # lit after the rest

    def at(self, *which: int) -> Tensor:
        return self.points[:, list(which)]

    def off(self, side: int, *anchors: tuple[int, float, float], relief: float = 0.02) -> Tensor:
        """Points (N, K, 2) in the picture at (outward, down) from landmarks of one half."""
        half = self.g.half[:, side]
        shift = torch.tensor([a[1:] for a in anchors]).to(half)
        points = half[:, [SLOT[a[0]] for a in anchors]] + shift
        return self.g.head.surface(points * torch.tensor([2.0 * side - 1, 1.0]).to(points), relief)

    def fixed(self, x: Tensor | float, y: Tensor | float, relief: float = 0.03) -> Tensor:
        """The point (N, 2) in the picture of a place (x, y) on the face that no action unit moves."""
        x, y = (torch.as_tensor(t).to(self.points).expand(len(self.points)) for t in (x, y))
        return self.g.head.surface(torch.stack((x, y), -1), relief)

    def shown(self, unit: int, side: int | None = None) -> Tensor:
        """Intensity of an action unit over 5, (N,): on one side, or the mean of both."""
        action = self.g.action[..., ACTION_UNITS.index(unit)].float()
        return action.mean(1) if side is None else action[:, side]

    def draw(self) -> Tensor:
        self.background()
        self.head()
        self.canvas.clip = self.face_cover  # what turns away behind the cheek is hidden
        self.folds()
        for side in (0, 1):
            self.eye(side)
            self.brow(side)
        self.nose()
        self.mouth()
        self.canvas.clip = None
        self.front_hair()
        self.ears(self.nuisance.yaw * self.nuisance.yaw.new_tensor([[5.0], [-5.0]]))
        self.light()
        self.occlusion()
        return self.canvas.colour

    def lay(self, box: _Box, cover: Tensor, colour: Tensor) -> None:
        """Paint a part of the figure, as opposed to the background and to what is drawn upon the face."""
        box.paint(cover, colour)
        figure = self.figure[box.pixels]
        figure += (1 - figure).mul_(cover)

    # ---- from back to front

    def background(self) -> None:
        whole = self.canvas.whole()
        shade = self.nuisance.background.float()[:, None] * torch.tensor([0.96, 0.99, 1.02], device=self.skin.device)
        self.canvas.colour[:] = self.canvas.mix(shade.clamp(0, 1))[:, :, None, None]
        self.canvas.colour *= 1.06 - 0.16 * whole.y

    def head(self) -> None:
        """Hair behind, neck and shoulders, ears, and the face itself."""
        g, style, n = self.g, self.identity.hair_style, len(self.points)
        volume, length, taper, _ = _STYLE.to(self.points)[style].unbind(1)
        width = g.head.width
        self.figure = torch.zeros_like(self.canvas.colour[:, 0])
        self.hair_hull = _skull(g.head, volume)

        down = torch.tensor([0.35, 0.65, 0.85, 0.96, 1.0]).to(width)
        wide = (width + volume)[:, None] * (1 - (1 - taper)[:, None] * down**2) * down.new_tensor([1, 1, 1, 0.96, 0.85])
        ends = torch.stack((wide, -0.05 + down * (length[:, None] + 0.05)), -1)[:, None].expand(-1, 2, -1, -1)
        left, right = g.head.silhouette(ends, 0.0).unbind(1)
        outline = torch.cat((self.hair_hull, left, right.flip(1)), 1)
        box = self.canvas.box(outline, 0.02)
        hanging = box.cover(self.curl(box, box.convex(outline)))
        self.lay(box, hanging.mul_(_scalars((style > 1).float()[:, None])[0]), self.hair)

        neck = torch.tensor([[-0.40, 0.4], [0.40, 0.4], [0.44, 1.5], [-0.44, 1.5]]).to(self.points)
        neck = neck * (width / 0.73)[:, None, None]
        neck = torch.cat((g.head.at(neck[:, :2], -0.1), MIDDLE[0] + SCALE * neck[:, 2:]), 1)
        box = self.canvas.box(neck)
        self.lay(box, box.cover(box.convex(neck)), self.skin * 0.70)
        cloth = self.canvas.mix(torch.tensor(CLOTH, device=self.skin.device)[style % len(CLOTH)])
        shoulders = self.points.new_tensor([[0.5, 1.17, 0.52, 0.20]]).expand(n, -1)
        box = self.canvas.box(self.points.new_tensor([[0, 0.96], [1, 1]]))
        self.lay(box, box.cover(box.ellipse(shoulders[:, :2], shoulders[:, 2:])), cloth)
        self.ears(torch.ones(2, n, device=self.points.device))

        face = torch.cat((self.points[:, :17], g.skull[:, 1:-1]), 1)
        box = self.canvas.box(face)
        self.face_cover = torch.zeros_like(self.figure)
        self.face_cover[box.pixels] = box.cover(box.convex(face))
        self.lay(box, self.face_cover[box.pixels], self.skin)

    def curl(self, box: _Box, distance: Tensor) -> Tensor:
        """The distance to an edge of hair, made uneven where it curls."""
        curly = _scalars((self.identity.hair_style >= HAIR_STYLES.index("curly")).float()[:, None])[0]
        wave_x, wave_y = (((t * 13).remainder(1) - 0.5).abs() - 0.25 for t in (box.x, box.y))
        return distance + (wave_x * wave_y) * (curly * 0.20)

    def ears(self, shown: Tensor) -> None:
        """Both ears, as far as `shown` (2, N) says; hair that hangs over them hides them."""
        width = self.g.head.width
        free = (_STYLE.to(self.points)[self.identity.hair_style, 1] < 0.4).float()
        radius = self.points.new_tensor([[0.038, 0.075]]).expand(len(width), -1)
        for side, sign in ((0, -1.0), (1, 1.0)):
            visible = _scalars((free * shown[side].clamp(0, 1))[:, None])[0]
            ear = self.g.head.at(torch.stack((sign * (width + 0.02), torch.full_like(width, 0.06)), -1), -0.02)
            box = self.canvas.box(ear, 0.10)
            for grow, shade in ((1.0, 0.90), (0.55, 0.74)):
                self.lay(box, box.cover(box.ellipse(ear, radius * grow), 0.025).mul_(visible), self.skin * shade)

    def folds(self) -> None:
        """Furrows: bows between landmarks, as dark as their action units and age make them."""
        p = self.points
        taper = p.new_tensor([0.25, 0.85, 1.0, 0.85, 0.25])
        t = torch.linspace(0, 1, 5).to(p)[:, None]
        ink, age = self.skin * 0.42, self.identity.age.float()
        anchors = [SLOT[landmark] for c in CURVES for landmark in (c.start[0], c.end[0])]
        shift = p.new_tensor([[c.start[1:], c.end[1:]] for c in CURVES])
        bow = p.new_tensor([c.bow for c in CURVES])[:, None]
        darkness = torch.stack([_as_table(c.darkness) for c in CURVES]).to(age)
        rest, aging = age.new_tensor([(c.rest, c.age) for c in CURVES]).unbind(1)
        for side in (0, 1):
            ends = self.g.half[:, side, anchors].unflatten(1, (-1, 2)) + shift  # (N, curves, 2, 2)
            start, end = ends[:, :, None, 0], ends[:, :, None, 1]
            lines = start + t * (end - start) + 4 * t * (1 - t) * bow
            lines = self.g.head.surface(lines * p.new_tensor([2.0 * side - 1, 1.0]), 0.03)
            dark = (self.g.action[:, side].float()[:, None] * darkness).sum(-1) + rest + aging * age[:, None]
            dark = _scalars(dark.clamp(0, 0.85))
            corners = torch.stack((lines.amin((0, 2)), lines.amax((0, 2))), 1).tolist()
            for k, curve in enumerate(CURVES):
                width = curve.half_width * SCALE
                box = _Box(self.canvas, *corners[k], 2 * width)
                cover = box.cover(box.stroke(lines[:, k], taper * width), 1.6 * width)
                box.paint(cover.mul_(dark[k]), ink)

    def eye(self, side: int) -> None:
        inner, up1, up2, outer, low2, low1 = self.at(*(LEFT, RIGHT)[side][SLOT[42] : SLOT[47] + 1]).unbind(1)
        upper = _smooth(torch.stack((inner, up1, up2, outer), 1), 3)
        lower = _smooth(torch.stack((outer, low2, low1, inner), 1), 3)

        # The socket, and the lid's crease above the lashes.
        lift = torch.tensor([0.0, 0.055]).to(upper) * SCALE
        crease = upper[:, 2:] - lift
        box = self.canvas.box(torch.cat((crease, lower), 1), 0.05)
        socket = box.stroke(torch.stack((inner, outer), 1) - lift * 0.3, upper.new_tensor([0.03, 0.03]))
        box.paint(box.cover(socket, 0.10).mul_(0.14), self.skin * 0.55)
        taper = torch.linspace(0.5, 1.0, crease.shape[1]).to(upper)
        lid = box.cover(box.stroke(crease, taper * 0.011 * SCALE), 0.014)
        box.paint(lid.mul_(0.42), self.skin * 0.45)

        box = self.canvas.box(torch.cat((upper, lower), 1), 0.03)
        opening = box.cover(box.polygon(torch.cat((upper[:, :-1], lower[:, :-1]), 1))) * self.face_cover[box.pixels]
        box.paint(opening, self.canvas.ink(0.95, 0.94, 0.93))

        # The eyeball looks where the head does; its middle does not move with the lids.
        centre = self.fixed((2 * side - 1) * self.identity.eye_spacing, self.identity.eye_level)
        radius = (0.50 * SCALE * self.identity.eye_size.double())[:, None]
        narrow = torch.stack((self.g.head.cos[:, 0].clamp(min=0.75), torch.ones_like(self.g.head.cos[:, 0])), 1)
        iris = self.canvas.mix(_ramp(IRIS, self.identity.iris_shade))
        for share, colour in ((1.0, iris * 0.45), (0.80, iris), (0.45, self.canvas.ink(0.03, 0.03, 0.04))):
            disc = box.cover(box.ellipse(centre, share * radius * narrow)).mul_(opening)
            box.paint(disc, colour)
        shadow = box.stroke(upper, upper.new_tensor(0.0)[None].expand(upper.shape[1]))
        box.paint(box.cover(shadow - 0.012, 0.03).mul_(opening).mul_(0.40), self.canvas.ink(0.25, 0.2, 0.2))
        glint = centre + upper.new_tensor([-0.30, -0.34]) * radius
        self.glints.append((box, glint, radius * 0.22, opening))

        lashes = self.canvas.ink(0.08, 0.06, 0.06)
        taper = torch.linspace(0.55, 1.0, upper.shape[1]).to(upper)
        lid = box.cover(box.stroke(upper, taper * 0.020 * SCALE), 0.010)
        box.paint(lid.mul_(0.92), lashes)
        lid = box.cover(box.stroke(lower, lower.new_full((lower.shape[1],), 0.008 * SCALE)), 0.010)
        box.paint(lid.mul_(0.40), self.skin * 0.35)

    def brow(self, side: int) -> None:
        line = _smooth(self.at(*(LEFT, RIGHT)[side][SLOT[22] : SLOT[26] + 1]), 2)
        taper = torch.tensor([0.75, 0.92, 1, 1, 0.95, 0.85, 0.7, 0.52, 0.3]).to(line)
        width = taper * self.identity.brow_thickness.double()[:, None] * SCALE
        box = self.canvas.box(line, 0.05)
        dark = torch.minimum(self.hair_rgb * 0.8, self.skin_rgb * 0.48)
        box.paint(box.cover(box.stroke(line, width), 0.020).mul_(0.90), self.canvas.mix(dark))

    def nose(self) -> None:
        box = self.canvas.box(self.at(29, 30, 31, 33, 35), 0.07)
        base = _smooth(self.at(31, 32, 33, 34, 35), 2)
        under = box.cover(box.stroke(base, base.new_tensor(0.012).expand(base.shape[1])), 0.035)
        box.paint(under.mul_(0.30), self.skin * 0.45)
        for side in (0, 1):
            wing = self.off(
                side, (35, -0.045, -0.085), (35, 0.012, -0.045), (35, 0.010, 0.012), (35, -0.04, 0.025), relief=0.05
            )
            wing = _smooth(wing, 2)
            taper = torch.tensor([0.2, 0.6, 0.9, 1.0, 1.0, 0.8, 0.4]).to(wing)
            box.paint(box.cover(box.stroke(wing, taper * 0.010), 0.014).mul_(0.50), self.skin * 0.42)
            hole = self.off(side, (34, -0.025, 0.004), (34, 0.035, -0.006), relief=0.08)
            box.paint(box.cover(box.stroke(hole, hole.new_tensor([0.008, 0.009])), 0.012).mul_(0.80), self.skin * 0.22)

    def mouth(self) -> None:
        upper = _smooth(self.at(*range(48, 55)), 2)
        lower = _smooth(self.at(54, *range(55, 60), 48), 2)
        top = _smooth(self.at(*range(60, 65)), 3)
        bottom = _smooth(self.at(64, 65, 66, 67, 60), 3)
        box = self.canvas.box(torch.cat((upper, lower), 1), 0.03)
        canvas, device = self.canvas, self.points.device

        red = torch.tensor([0.87, 0.62, 0.60], device=device)
        lips = canvas.mix(self.skin_rgb * red + torch.tensor([0.03, 0.0, 0.005], device=device))
        whole = box.cover(box.polygon(torch.cat((upper[:, :-1], lower[:, :-1]), 1)))
        box.paint(whole.mul_(0.92), lips)
        roof = box.cover(box.polygon(torch.cat((upper[:, :-1], top.flip(1)), 1)))
        box.paint(roof.mul_(0.30), lips * 0.55)

        gap = box.polygon(torch.cat((top[:, :-1], bottom[:, :-1]), 1))
        inside = box.cover(gap)
        box.paint(inside, canvas.ink(0.17, 0.05, 0.06))
        tongue = self.at(66)[:, 0] + (self.at(66) - self.at(62))[:, 0] * 0.08
        height = (self.at(66) - self.at(62))[:, 0].square().sum(1).sqrt()
        round_ = torch.stack((torch.full_like(height, 0.085), height * 0.36 + 1e-3), 1)
        box.paint(box.cover(box.ellipse(tongue, round_), 0.03).mul_(inside).mul_(0.75), canvas.ink(0.62, 0.28, 0.29))
        teeth = top[:, 1:-1]
        depth = torch.linspace(-1, 1, teeth.shape[1]).to(teeth)
        depth = (1 - 0.55 * depth**2) * 0.078 * SCALE
        inner = box.cover(gap + 0.004)
        box.paint(box.cover(box.stroke(teeth, depth)).mul_(inner), canvas.ink(0.95, 0.94, 0.90))

        # The line between closed lips; pressing them together makes it darker and longer.
        line = (top + bottom.flip(1)) / 2
        taper = torch.tensor([0.7, *[1.0] * (line.shape[1] - 2), 0.7], device=device)
        closed = (1 - height / 0.035).clamp(0, 1).float()
        dark = closed * (0.62 + 0.3 * self.shown(24) + 0.15 * self.shown(23)).clamp(max=0.95)
        seam = box.cover(box.stroke(line, taper * 0.013 * SCALE), 0.012).mul_(_scalars(dark[:, None])[0])
        box.paint(seam, self.skin * 0.22)
        for corner in (48, 54):
            spot = self.at(corner)[:, 0]
            side = int(corner == 54)
            dot = box.cover(box.ellipse(spot, torch.full_like(spot, 0.012)), 0.02)
            deep = (0.32 + 0.3 * self.shown(14, side)).clamp(max=0.8)
            box.paint(dot.mul_(_scalars(deep[:, None])[0]), self.skin * 0.30)

    def front_hair(self) -> None:
        """Everything of the scalp above the hairline."""
        style, g = self.identity.hair_style, self.g
        square = _STYLE.to(self.points)[style, 3]
        hairline = self.identity.hairline.double()
        turn = torch.linspace(0, math.pi, 21).to(self.points)
        cos, sin = turn.cos(), turn.sin().clamp(min=0)
        x = cos.sign() * cos.abs() ** (2 / square[:, None]) * (g.head.width * 1.03)[:, None]
        part = (style == HAIR_STYLES.index("side part")).double()[:, None] * 0.10
        y = 0.10 + (hairline[:, None] - 0.10) * sin ** (2 / square[:, None]) + part * cos
        brow = torch.stack((x, y), -1)
        floor = torch.stack((x[:, [-1, 0]], torch.full_like(x[:, :2], 1.3)), -1)
        forehead = torch.cat((g.head.surface(brow), g.head.at(floor, 0.3)), 1)
        box = self.canvas.box(self.hair_hull, 0.02)
        scalp = box.cover(self.curl(box, box.convex(self.hair_hull)))
        bare = box.cover(self.curl(box, box.convex(forehead)), 0.02)
        thin = torch.tensor([0.0, 0.62, *[1.0] * (len(HAIR_STYLES) - 2)], device=style.device)[style]
        self.lay(box, scalp.mul_(1 - bare).mul_(_scalars(thin[:, None])[0]), self.hair)

    def light(self) -> None:
        """Lambert's law over an ellipsoid with bumps for features, and a little shine; the background keeps its own."""
        n, whole = len(self.points), self.canvas.whole()
        middle = (self.at(0, 16).mean(1) + self.g.skull[:, 9] + self.fixed(0.0, 1.0, 0.25)) / 3
        cx, cy = _scalars(middle)
        nx = ((whole.x - cx) * 2.6).clamp(-1, 1)
        ny = ((whole.y - cy) * 1.5).clamp(-1, 1)
        nx, ny = (
            (nx * (1 + 0.3 * nx * nx)).expand(n, self.canvas.size, -1).contiguous(),
            ny.expand(n, -1, self.canvas.size).contiguous(),
        )
        for a, b, radius, height in self.bumps():
            box = self.canvas.box(torch.cat((a, b)), radius)
            _, beyond, right, (tx, ty, _) = next(box.segments(torch.stack((a, b), 1)))
            # height q^3 with q = 1 - d^2/R^2 inside R: its slope is -6 height q^2 d / R^2, and normals lean against it
            q = (beyond * beyond).add_(right * right).mul_(-1 / radius**2).add_(1).clamp_(min=0)
            q.mul_(q).mul_(_scalars((6 / radius**2 * height).expand(n)[:, None])[0])
            beyond.mul_(q)
            right.mul_(q)
            nx[box.pixels] += (beyond * tx).sub_(right * ty)
            ny[box.pixels] += beyond.mul_(ty).add_(right.mul_(tx))
        light = self.nuisance
        azimuth, elevation = light.light_azimuth.double(), light.light_elevation.double()
        lx, ly, lz, strength, ambient = _scalars(
            torch.stack(
                (azimuth.sin() * elevation.cos(), -elevation.sin(), azimuth.cos() * elevation.cos(),
                 light.light_strength, light.ambient), 1)
        )  # fmt: skip
        facing = (nx * lx).add_(ny * ly).add_(lz)
        facing /= (nx.mul_(nx)).add_(ny.mul_(ny)).add_(1).sqrt_()
        facing.clamp_(min=0)
        shade = (facing * strength).add_(ambient)
        shine = facing.pow_(2)
        shine = (shine * shine).mul_(shine)
        shine = (shine * shine).mul_(strength * 0.07).mul_(self.face_cover)
        shade = shade.sub_(1).mul_(self.figure).add_(1)
        self.canvas.colour *= shade[:, None]
        self.canvas.colour += shine[:, None]
        for box, glint, radius, opening in self.glints:
            dot = box.ellipse(glint, radius.expand(-1, 2))
            box.paint(box.cover(dot).mul_(opening).mul_(0.9), self.canvas.ink(1.0, 1.0, 1.0))

    def bumps(self) -> Iterator[tuple[Tensor, Tensor, float, Tensor]]:
        """What stands out of the head, or into it (height < 0): from and to (N, 2) in the picture, radius, height."""
        at, one = self.at, torch.ones(len(self.points), device=self.points.device)
        lip = self.identity.lip_thickness.float()
        yield at(27)[:, 0], at(30)[:, 0], 0.085, 0.024 * one
        yield at(30)[:, 0], at(30)[:, 0], 0.075, 0.018 * one
        yield at(56)[:, 0], at(58)[:, 0], 0.050, 0.010 * lip * (1 + 0.3 * self.shown(17))
        yield at(50)[:, 0], at(52)[:, 0], 0.040, 0.005 * lip
        chin = self.off(1, (8, 0.0, -0.16), relief=0.03)[:, 0]
        yield chin, chin, 0.10, 0.012 + 0.016 * self.shown(17)
        yield at(51)[:, 0], at(57)[:, 0], 0.16, 0.012 * one
        for side in (0, 1):
            brow = self.off(side, (23, 0.0, 0.02), (25, 0.0, 0.02))
            yield brow[:, 0], brow[:, 1], 0.07, 0.006 + 0.007 * self.shown(4, side)
            socket = self.off(side, (42, 0.03, -0.04), (45, -0.06, -0.05))
            yield socket[:, 0], socket[:, 1], 0.075, -0.008 * one
            lift = self.shown(6, side) + 0.7 * self.shown(12, side) + 0.3 * self.shown(10, side)
            cheek = self.off(side, (45, -0.10, 0.30))[:, 0]
            cheek = cheek - torch.stack((torch.zeros_like(lift), 0.035 * SCALE * lift), 1).to(cheek)
            yield cheek, cheek, 0.13, 0.013 + 0.013 * lift
            wing = self.off(side, (35, -0.03, -0.035))[:, 0]
            yield wing, wing, 0.045, 0.007 * one
            pit = self.off(side, (54, 0.075, 0.0))[:, 0]
            yield pit, pit, 0.055, -0.009 * self.shown(14, side)

    def occlusion(self) -> None:
        """What stands between the face and the camera; only the pictures that have it are touched."""
        light = self.nuisance
        for kind, paint in ((1, self.hand), (2, self.sunglasses), (3, self.strand), (4, self.scarf)):
            rows = (light.occlusion == kind).nonzero()[:, 0]
            if len(rows):
                paint(rows, light.occlusion_position[rows].double(), light.occlusion_extent[rows].double())

    def hand(self, rows: Tensor, position: Tensor, extent: Tensor) -> None:
        """Four fingers laid across the mouth, from the side that `position` says."""
        reach = (0.85 + 0.35 * extent) * SCALE
        from_side = torch.where(position < 0, -1.0, 1.0)
        middle = self.fixed(0.0, self.identity.mouth_height)[rows]
        shade = _scalars((0.94 * self.brightness()[rows])[:, None])[0]
        for rise, length in ((-0.24, 0.88), (-0.08, 1.0), (0.08, 0.97), (0.24, 0.80)):
            y = middle[:, 1] + rise * reach
            tip = torch.stack((middle[:, 0] - from_side * (length - 0.40) * reach, y - 0.03), 1)
            root = torch.stack((middle[:, 0] + from_side * 0.95, y + 0.16), 1)
            box = self.canvas.box(torch.stack((tip, root), 1), 0.12)
            distance = box.stroke(torch.stack((tip, root), 1), (0.105 * reach)[:, None].expand(-1, 2))
            for inset, tone in ((0.0, 0.62), (0.012, 1.0)):
                box.paint(box.cover(distance + inset, 0.012), self.skin[rows] * tone * shade[:, :, 0], rows)
            nail = tip - torch.stack((0.035 * reach * from_side, 0.0 * reach), 1)
            oval = torch.stack((0.050 * reach, 0.055 * reach), 1)
            box.paint(box.cover(box.ellipse(nail, oval)) * 0.25, self.canvas.ink(1.0, 0.9, 0.86), rows)

    def sunglasses(self, rows: Tensor, position: Tensor, extent: Tensor) -> None:
        """Dark lenses with a frame; a larger extent means larger lenses. They sit where the eyes are."""
        dark, box = self.canvas.ink(0.06, 0.06, 0.08), self.canvas.whole()
        size = (1.25 + 0.40 * extent) * self.identity.eye_size.double()[rows] * SCALE
        spacing, level = self.identity.eye_spacing, self.identity.eye_level
        eyes = [self.fixed(sign * spacing, level)[rows] for sign in (-1, 1)]
        thin = torch.full((2,), 0.010, device=size.device)
        for points in (torch.stack(eyes, 1), torch.stack((eyes[0], self.at(0)[rows, 0]), 1),
                       torch.stack((eyes[1], self.at(16)[rows, 0]), 1)):  # fmt: skip
            box.paint(box.cover(box.stroke(points, thin)), dark, rows)
        narrow = self.g.head.cos[rows, 0].clamp(min=0.6)
        for eye in eyes:
            box.paint(box.cover(box.ellipse(eye, torch.stack((size * narrow, 0.80 * size), 1))), dark, rows)
            glare = eye + torch.stack((-0.35 * size, -0.35 * size), 1)
            box.paint(box.cover(box.ellipse(glare, torch.stack((0.3 * size, 0.16 * size), 1)), 0.02) * 0.3,
                      self.canvas.ink(0.8, 0.85, 0.9), rows)  # fmt: skip

    def strand(self, rows: Tensor, position: Tensor, extent: Tensor) -> None:
        """A curtain of hair from the crown down over the side that `position` says; at full extent to the nose."""
        hull, points, box = self.hair_hull[rows], self.points[rows], self.canvas.whole()
        right = (position >= 0)[:, None, None]
        outer = torch.where(right, hull[:, :10], hull[:, 9:].flip(1))  # from the ear up to the crown
        jaw = torch.where(right, points[:, [12, 14, 16]], points[:, [4, 2, 0]])
        nose, ear, crown = points[:, 28], jaw[:, 2], outer[:, 9]
        inner = nose + (ear - nose) * (0.55 - 0.50 * extent)[:, None]  # where the curtain's edge passes the eye
        edge = torch.stack(
            (crown, 0.45 * crown + 0.55 * inner + 0.12 * (nose - ear), inner, 0.4 * inner + 0.6 * jaw[:, 0]), 1
        )
        distance = box.polygon(torch.cat((_smooth(edge, 4), jaw, outer[:, :9]), 1))
        tone = self.brightness()[rows, None] * self.hair[rows]
        for inset, shade in ((0.0, 0.75), (0.02, 1.0), (0.05, 0.88), (0.06, 1.0), (0.09, 0.9), (0.10, 1.0)):
            box.paint(box.cover(distance + inset, 0.015), tone * shade, rows)

    def scarf(self, rows: Tensor, position: Tensor, extent: Tensor) -> None:
        """Cloth over everything below a line: the chin and mouth, at full extent up to the tip of the nose."""
        box = self.canvas.whole()
        ears = self.at(1, 15)[rows]
        tip = self.fixed(0.0, self.identity.eye_level + 0.84 * self.identity.nose_length, 0.24)[rows, None]
        mouth = self.fixed(0.0, self.identity.mouth_height - 0.06, 0.09)[rows, None]
        top = mouth + (tip - mouth) * (0.30 + 0.70 * extent)[:, None, None]
        edge = torch.cat((ears[:, :1], top, ears[:, 1:]), 1)
        edge[:, [0, 2], 0] += torch.tensor([-0.05, 0.05]).to(edge)
        floor = torch.tensor([[1.05, 1.3], [-0.05, 1.3]]).to(edge).expand(len(edge), -1, -1)
        distance = box.polygon(torch.cat((_smooth(edge, 4), floor), 1))
        hue = torch.tensor([[0.62, 0.30, 0.32], [0.28, 0.42, 0.56], [0.60, 0.56, 0.42]], device=edge.device)
        cloth = self.canvas.mix(hue[((position + 1) * 1.499).long()]) * self.brightness()[rows, None]
        for inset, tone in ((0.0, 0.70), (0.018, 1.0), (0.09, 0.90), (0.11, 1.0), (0.20, 0.90), (0.22, 1.0)):
            box.paint(box.cover(distance + inset, 0.02), cloth * tone, rows)

    def brightness(self) -> Tensor:
        """Light on a surface that faces the camera, (N,): what occlusions are lit by."""
        light = self.nuisance
        facing = (light.light_azimuth.cos() * light.light_elevation.cos()).clamp(min=0)
        return light.ambient + light.light_strength * facing


# By hairstyle: volume beyond the skull, how far down it hangs, its width there, and the squareness of the hairline.
_STYLE = torch.tensor(
    [
        *([0.0, 0.0, 1.0, 2.4], [0.012, 0.0, 1.0, 2.6], [0.06, 0.05, 0.9, 2.6], [0.08, 0.08, 0.9, 2.2]),
        *([0.09, 0.80, 0.95, 2.2], [0.08, 1.60, 1.0, 2.0], [0.13, 0.55, 0.8, 2.4], [0.24, 0.42, 0.72, 2.3]),
    ],
    dtype=torch.float64,
)


def _check(intensities: Tensor, identity: Identity, nuisance: Nuisance) -> None:
    wanted = f"intensities must be a float tensor (N, {len(ACTION_UNITS)}), one column per action unit"
    if not isinstance(intensities, Tensor) or not intensities.is_floating_point():
        raise ValueError(wanted)
    if intensities.ndim != 2 or intensities.shape[1] != len(ACTION_UNITS):
        raise ValueError(f"{wanted}, not {tuple(intensities.shape)}")
    if not bool(((intensities >= 0) & (intensities <= 5)).all()):
        raise ValueError("intensities must lie in [0, 5], the levels absent to E; some do not, or are NaN")
    for name, rows in (("identity", identity), ("nuisance", nuisance)):
        if len(rows) != len(intensities):
            raise ValueError(f"{name} holds {len(rows)} rows, intensities {len(intensities)}: give one each per face")


def _blur(pictures: Tensor, sd: Tensor) -> Tensor:
    """Gaussian blur of (N, C, S, S) with a standard deviation in pixels (N,) for each picture; edges are reflected."""
    size = pictures.shape[-1]
    reach = (3 * sd).ceil().clamp(max=size - 1)
    widest = int(reach.max()) if len(sd) else 0
    if widest == 0:
        return pictures
    offset = torch.arange(-widest, widest + 1, device=sd.device)
    weights = torch.exp(-0.5 * (offset / sd.double().clamp(min=1e-3)[:, None]) ** 2)
    weights = weights * (offset.abs() <= reach[:, None])  # so that a picture does not depend on its neighbours
    weights = _scalars(weights / weights.sum(1, keepdim=True))
    for axis in (-1, -2):
        pad = (widest, widest, 0, 0) if axis == -1 else (0, 0, widest, widest)
        padded = functional.pad(pictures, pad, mode="reflect")
        pictures = torch.zeros_like(pictures)
        for k, weight in enumerate(weights):
            pictures += padded.narrow(axis, k, size) * weight[:, None]
    return pictures


def render(
    intensities: Tensor,
    identity: Identity,
    nuisance: Nuisance,
    size: int = 64,
    colour: bool = False,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw N faces.

    Args:
        intensities: float (N, 17), 0 (absent) to 5 (maximal, level E of FACS) in the order of ACTION_UNITS;
            fractions are allowed.
        identity, nuisance: one row per face.
        size: pixels on each side, at least 16.
        colour: RGB instead of grey. The grey of a coloured picture (BT.601) is the grey picture to within
            rounding, where no channel is overexposed.
        device: where to draw. Pictures come back to the CPU, a chunk at a time: memory is bounded by the result.
        generator: draws the noise, one picture after another; may be left out where `nuisance.noise` is 0.

    Returns:
        uint8 (N, size, size), or (N, 3, size, size) with `colour`. A face is the same, bit for bit on one kind of
        device, whichever faces are drawn with it; its noise depends on how many faces came before.

    Raises:
        ValueError: for intensities of another shape, outside [0, 5] or NaN; for as many rows of `identity` or
            `nuisance` as do not match; for a size under 16; for noise without a generator.

    Dark skin keeps less light, so the same movement changes grey levels less there, as in photographs; the
    landmarks move alike.
    """
    _check(intensities, identity, nuisance)
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, not {size}")
    if generator is None and bool((nuisance.noise > 0).any()):
        raise ValueError("nuisance.noise is above 0 for some faces: pass the generator that draws it")
    n, channels = len(intensities), 3 if colour else 1
    out = torch.empty(n, channels, size, size, dtype=torch.uint8)
    at_once = min(max(CHUNK // size**2, 8), 1024)

    def draw(start: int) -> Tensor:
        """The pictures of one chunk in grey levels, before noise."""
        rows = slice(start, start + at_once)
        person, taken = identity[rows].to(device), nuisance[rows].to(device)
        geometry = _geometry(intensities[rows].to(device), person, taken)
        pictures = _Portrait(geometry, person, taken, size, channels).draw()
        pictures = _blur(pictures, taken.blur * (size / 64))
        return pictures.mul_(_scalars(255 * torch.exp2(taken.exposure.double())[:, None])[0][:, None])

    for start, pictures in _in_order(draw, range(0, n, at_once), device):
        if generator is not None:
            for picture, sd in zip(pictures, nuisance.noise[start : start + at_once].tolist(), strict=True):
                grain = torch.randn(size, size, generator=generator, device=generator.device)
                picture += grain.mul_(sd).to(device)
        out[start : start + at_once] = pictures.clamp_(0, 255).round_().to(torch.uint8).cpu()
    return out if colour else out[:, 0]


def _in_order(
    draw: Callable[[int], Tensor], starts: Sequence[int], device: torch.device | str
) -> Iterator[tuple[int, Tensor]]:
    """Each start with its chunk, as many at a time as torch has threads.

    One thread per chunk: the operations are too small for threads to share, which would wait at each of them.
    """
    threads = torch.get_num_threads()
    if torch.device(device).type != "cpu" or threads == 1 or len(starts) == 0:
        yield from ((start, draw(start)) for start in starts)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for wave in range(0, len(starts), threads):
                now = starts[wave : wave + threads]
                yield from zip(now, list(pool.map(draw, now)), strict=True)
    finally:
        torch.set_num_threads(threads)
