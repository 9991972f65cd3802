"""Who is pictured and how: faces at rest, the conditions of pictures, and what stays the same about a person."""

from dataclasses import dataclass, field, fields
from typing import Self

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated import constants as c

HAIR_STYLES = ("bald", "buzz", "short", "side part", "bob", "long", "curly", "afro")
OCCLUSIONS = ("none", "hand", "sunglasses", "hair", "scarf")


class Rows:
    """For dataclasses whose fields are tensors, or such dataclasses, with one row for each of N things."""

    def __post_init__(self):
        for f in fields(self):
            if "range" in f.metadata:
                values, (low, high) = getattr(self, f.name), f.metadata["range"]
                if not ((values >= low) & (values <= high)).all():
                    reach = f"{values.min():g} to {values.max():g}"
                    raise ValueError(f"{type(self).__name__}.{f.name} must lie in [{low:g}, {high:g}], not {reach}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows) -> Self:
        """The given rows: a slice, a mask or indices, in which a row may come many times; one index keeps the axis."""
        rows = slice(rows, rows + 1 or None) if isinstance(rows, int) else rows
        return type(self)(**{name: values[rows] for name, values in vars(self).items()})

    def to(self, device: torch.device | str) -> Self:
        return type(self)(**{name: values.to(device) for name, values in vars(self).items()})


def _in(low: float, high: float, dtype: torch.dtype = torch.float32, usual: float = 0.0, **drawn) -> dict:
    """Metadata of a field: a tensor (N,) of this type with values in [low, high], and how `Nuisance` draws it."""
    return {"range": (low, high), "dtype": dtype, "usual": usual, "drawn": drawn}


@dataclass(frozen=True, eq=False)
class Identity(Rows):
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
        like = {"generator": generator, "device": generator.device}
        values = {}
        for f in fields(cls):  # a mean of three uniforms: bell-shaped, never outside; its sd is (high - low)/6
            low, high = f.metadata["range"]
            values[f.name] = low + (high - low) * torch.rand(n, 3, **like).mean(1)
        tone = torch.rand(n, **like)
        if skin_tone is not None:
            tone = torch.as_tensor(skin_tone, dtype=tone.dtype, device=tone.device).expand(n)
        paleness = (1 - tone).clamp(0, 1)
        values |= {"skin_tone": tone, "age": torch.rand(n, **like)}
        values |= {name: torch.rand(n, **like) * paleness for name in ("iris_shade", "hair_shade")}
        return cls(**values | {"hair_style": torch.randint(len(HAIR_STYLES), (n,), **like)})


@dataclass(frozen=True, eq=False)
class Nuisance(Rows):
    """The conditions of N pictures: pose, light, occlusion and camera. All are float tensors (N,) but `occlusion`.

    How `draw` draws them: normal about the usual value with a standard deviation, exponential with a mean, or uniform
    between two bounds, cut off at the ends of the range.
    """

    yaw: Tensor = field(metadata=_in(-0.7, 0.7, sd=0.25))  # radians; > 0 turns the face to the right of the picture
    pitch: Tensor = field(metadata=_in(-0.4, 0.4, sd=0.13))  # radians; > 0 looks up
    roll: Tensor = field(metadata=_in(-0.6, 0.6, sd=0.10))  # radians; > 0 leans clockwise
    light_azimuth: Tensor = field(metadata=_in(-1.4, 1.4, usual=-0.35, sd=0.5))  # radians; > 0 from the right
    light_elevation: Tensor = field(metadata=_in(-0.6, 1.4, usual=0.55, sd=0.25))  # radians; > 0 from above
    light_strength: Tensor = field(metadata=_in(0, 1.2, usual=0.55, sd=0.12))  # directed, in units of full exposure
    ambient: Tensor = field(metadata=_in(0, 1.2, usual=0.5, sd=0.10))  # light from everywhere, in the same units
    occlusion: Tensor = field(metadata=_in(0, len(OCCLUSIONS) - 1, torch.int64))  # int64 index into OCCLUSIONS
    occlusion_position: Tensor = field(metadata=_in(-1, 1, between=(-1, 1)))  # from the picture's left to its right
    occlusion_extent: Tensor = field(metadata=_in(0, 1, between=(0, 1)))  # from a little to all it can cover
    blur: Tensor = field(metadata=_in(0, 6, mean=0.5))  # standard deviation in pixels of a 64-pixel picture
    noise: Tensor = field(metadata=_in(0, 80, mean=4.0))  # standard deviation in grey levels
    exposure: Tensor = field(metadata=_in(-2, 2, sd=0.25))  # stops: each doubles the light
    background: Tensor = field(metadata=_in(0, 1, usual=0.62, between=(0.1, 0.95)))  # 0 black, 1 white

    @classmethod
    def none(cls, n: int) -> Self:
        """n pictures taken well: frontal, evenly lit from above left, sharp, nothing in the way."""
        return cls(**{f.name: torch.full((n,), f.metadata["usual"], dtype=f.metadata["dtype"]) for f in fields(cls)})

    @classmethod
    def draw(cls, n: int, generator: torch.Generator, severity: float = 1.0) -> Self:
        """Draw the conditions of n pictures; `severity` in [0, 2] scales how far they stray from `none`.

        At 1, yaw has an sd of 0.25 rad, one picture in eight is occluded, blur has a mean of 0.5 pixels (of 64)
        and noise one of 4 grey levels. Only the background does not depend on severity.
        """
        if not 0 <= severity <= 2:
            raise ValueError(f"severity must lie in [0, 2], not {severity}")
        like = {"generator": generator, "device": generator.device}
        occluded = torch.rand(n, **like) < 0.125 * severity
        values = {"occlusion": occluded * torch.randint(1, len(OCCLUSIONS), (n,), **like)}
        for f in fields(cls):
            match f.metadata["drawn"]:
                case {"sd": sd}:
                    drawn = f.metadata["usual"] + severity * sd * torch.randn(n, **like)
                case {"mean": mean}:
                    drawn = severity * mean * -torch.log1p(-torch.rand(n, **like))
                case {"between": (low, high)}:
                    drawn = low + (high - low) * torch.rand(n, **like)
                case _:
                    continue
            values[f.name] = drawn.clamp(*f.metadata["range"])
        return cls(**values)

    @property
    def quality(self) -> Tensor:
        """How much of the face's evidence these conditions leave, (N,) in [0, 1]; `none` leaves all.

        A product of one factor each for sharpness, noise, pose, occlusion and light:
        1/(1 + (blur/1.5)^2) * 1/(1 + (noise/30)^2) * (cos yaw cos pitch)^2 * (1 - covered) * 2^-(exposure/1.5)^2.
        """
        covered = torch.tensor([0.0, 0.45, 0.45, 0.25, 0.55], device=self.yaw.device)[self.occlusion]
        left = 1 / (1 + (self.blur / 1.5) ** 2) / (1 + (self.noise / 30) ** 2)
        left = left * (self.yaw.cos() * self.pitch.cos()) ** 2 * (1 - covered * (0.5 + 0.5 * self.occlusion_extent))
        return left * torch.exp2(-((self.exposure / 1.5) ** 2))


@dataclass(frozen=True, eq=False)
class People(Rows):
    """P people, drawn once each.

    Attributes:
        identity: the P faces at rest.
        expressiveness: (P, 17) how strongly each action unit answers to an emotion; 1 is the usual gain.
        resting: (P, 17) activity without any emotion, in steps of intensity; may be negative.
        mood: (P, 2) habitual valence and arousal.
        mapping: (P, 8) log odds by which a person favours each emotion's display, whatever is felt.
        voice: (P, 3) mean pitch (Hz), formant scale (1 the average vocal tract), spectral tilt (dB an octave).
    """

    identity: Identity
    expressiveness: Tensor
    resting: Tensor
    mood: Tensor
    mapping: Tensor
    voice: Tensor

    @classmethod
    def draw(cls, n: int, generator: torch.Generator, skin_tone: Tensor | float | None = None) -> Self:
        """Draw n people. `skin_tone` sets it instead of drawing it, and leaves every other trait as it would be."""
        n_aus = len(c.ACTION_UNITS)

        def normal(*shape: int) -> Tensor:
            return torch.randn(n, *shape, generator=generator)

        def between(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, generator=generator)

        # half of the spread is the person's own expressiveness, half that of the single unit
        gain = c.EXPRESSIVENESS_SD * (normal(1) + normal(n_aus)) / 2**0.5
        low, high = (torch.tensor(hz).log().item() for hz in c.PITCH_HZ)
        return cls(
            identity=Identity.draw(n, generator, skin_tone),
            expressiveness=gain.exp(),
            resting=c.RESTING_SD * normal(n_aus),
            mood=c.MOOD_SD * normal(2),
            mapping=c.MAPPING_SD * normal(len(c.EMOTIONS)),
            voice=torch.stack([between(low, high).exp(), between(*c.FORMANT_SCALE), between(*c.TILT_DB_PER_OCTAVE)], 1),
        )
