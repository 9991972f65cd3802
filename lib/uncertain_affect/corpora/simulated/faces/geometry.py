"""Where the landmarks of a face lie: at rest, moved by action units, on a head that turns.

Face coordinates: x to the right of the picture, y down, z towards the camera, the origin at the middle of the
head; the unit is half the height of the face, so the crown lies at y = -1 and the chin at y = +1. Points of one
half are written once, with x *outward* from the midline, and mirrored.
"""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated.constants import ACTION_UNITS
from uncertain_affect.corpora.simulated.people import Identity, Nuisance

# The right half of the picture in the order of 300-W (Sagonas et al., 2013), counted from 0: jaw, brow, bridge
# and base of the nose, eye, outer lip, inner lip. LEFT holds their mirror images; midline points mirror themselves.
JAW, BROW = range(8, 17), range(22, 27)
RIGHT = (*JAW, *BROW, *range(27, 31), *range(33, 36), *range(42, 48), *range(51, 58), *range(62, 67))
LEFT = (*range(8, -1, -1), *range(21, 16, -1), *range(27, 31), 33, 32, 31, 39, 38, 37, 36, 41, 40,
        51, 50, 49, 48, 59, 58, 57, 62, 61, 60, 67, 66)  # fmt: skip
SLOT = {landmark: slot for slot, landmark in enumerate(RIGHT)}
MIRROR = ((-1.0, 1.0), (1.0, 1.0))  # by side: what turns x outward into x to the right of the picture
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
_MOVES = torch.tensor(
    [[MOVES[unit].get(landmark, (0, 0)) for landmark in RIGHT] for unit in ACTION_UNITS], dtype=torch.float64
)

# What of an action unit is lost on the weaker side of a fully one-sided person (`Identity.laterality` = -1 or 1):
# the dimple of contempt is usually one-sided, smiles and sneers lean to a side, brows and lids hardly do.
LATERALITY = {2: 0.2, 9: 0.15, 10: 0.3, 12: 0.25, 14: 0.9, 15: 0.2, 20: 0.15}
# How far down landmarks of the picture's right half shift, and up those of its left half, in an asymmetry of 1.
ASYMMETRY = {"mouth_asymmetry": {54: 0.5, 64: 0.5, 53: 0.3, 55: 0.3}, "brow_asymmetry": dict.fromkeys(BROW, 0.5)}
PRESSED = {10: -0.10, 12: 0.20, 14: 0.15, 15: 0.10, 17: 0.10, 20: 0.40, 23: 0.55, 24: 0.75}  # share of lip lost

# How far landmarks stand out from the ellipsoid of the head.
RELIEF = {22: 0.04, 23: 0.04, 24: 0.03, 27: 0.05, 28: 0.10, 29: 0.16, 30: 0.24, 33: 0.12, 34: 0.09, 35: 0.04}
RELIEF |= {43: 0.01, 44: 0.01, 51: 0.09, 52: 0.08, 53: 0.04, 55: 0.04, 56: 0.07, 57: 0.08}
RELIEF |= {62: 0.07, 63: 0.06, 65: 0.06, 66: 0.07}
DEPTH = 0.60  # of the ellipsoid's front
PIVOT = 0.30  # z about which the head turns: a crop that follows the face keeps a point near its front in place
SCALE, MIDDLE = 0.43, (0.5, 0.515)  # of face coordinates in the picture, whose sides are 1


def as_table(by_unit: Mapping[int, float]) -> Tensor:
    """A number for each action unit, (17,); 0 where none is given."""
    return torch.tensor([by_unit.get(unit, 0.0) for unit in ACTION_UNITS], dtype=torch.float64)


class Geometry(NamedTuple):
    """Where everything lies in the picture, (x, y) in [0, 1] of its sides; axis 2 of halves is (left, right)."""

    landmarks: Tensor  # (N, 68, 2)
    skull: Tensor  # (N, K, 2), the upper outline, from the right of the picture over the crown to the left
    action: Tensor  # (N, 2, 17) in [0, 1], as shown on either side
    half: Tensor  # (N, 2, 39, 2) landmarks in face coordinates, x outward
    head: "Head"

    def at(self, *which: int) -> Tensor:
        """Some landmarks (N, K, 2), by number."""
        return self.landmarks[:, list(which)]

    def on_side(self, side: int, first: int, last: int) -> Tensor:
        """The landmarks of one half from `first` to `last`, as the picture's right half numbers them."""
        return self.at(*(LEFT, RIGHT)[side][SLOT[first] : SLOT[last] + 1])

    def off(self, side: int, *anchors: tuple[int, float, float], relief: float = 0.02) -> Tensor:
        """Points (N, K, 2) in the picture at (outward, down) from landmarks of one half."""
        half = self.half[:, side]
        shift = torch.tensor([a[1:] for a in anchors]).to(half)
        points = half[:, [SLOT[a[0]] for a in anchors]] + shift
        return self.head.surface(points * half.new_tensor(MIRROR[side]), relief)

    def fixed(self, x: Tensor | float, y: Tensor | float, relief: float = 0.03) -> Tensor:
        """The point (N, 2) in the picture of a place (x, y) on the face that no action unit moves."""
        x, y = (torch.as_tensor(t).to(self.half).expand(len(self.half)) for t in (x, y))
        return self.head.surface(torch.stack((x, y), -1), relief)

    def shown(self, unit: int, side: int | None = None) -> Tensor:
        """Intensity of an action unit over 5, (N,): on one side, or the mean of both."""
        action = self.action[..., ACTION_UNITS.index(unit)].float()
        return action.mean(1) if side is None else action[:, side]


class Head(NamedTuple):
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


def _rest(identity: Identity, thickness: Tensor) -> Tensor:
    """The half-face at rest, (N, 39, 2), x outward; `thickness` (N,) is what action units leave of the lips."""
    i = SimpleNamespace(**{name: values.double() for name, values in vars(identity).items()})
    zero = torch.zeros_like(i.face_width)

    # |x/W|^n + |(y - y0)/(1 - y0)|^n = 1: a superellipse from the ear to the chin
    power = 2 / (1.9 + 0.8 * i.jaw)
    turns = [math.pi / 2 * (1 - k / 8) for k in range(9)]
    points = [(i.face_width * max(math.cos(t), 0.0) ** power, -0.05 + 1.05 * math.sin(t) ** power) for t in turns]

    brow = i.eye_level - i.brow_height
    for along, x, rise in ((0, 0.13, 0.008), (0.25, 0.23, 0.04), (0.5, 0.35, 0.06), (0.75, 0.465, 0.05), (1, 0.565, 0)):
        tilt = 0.44 * i.brow_tilt * (along - 0.4)
        points.append((x + i.eye_spacing - 0.335, brow - rise - tilt + i.resting_brow * (1 - along)))

    base = i.eye_level + i.nose_length
    points += [(zero, i.eye_level + along * i.nose_length) for along in (0, 0.3, 0.58, 0.84)]
    points += [(x * i.nose_width, base + y) for x, y in ((0, 0.015), (0.52, 0.0), (1, -0.055))]

    for x, y in ((-1, 0.025), (-0.38, -0.082), (0.36, -0.085), (1, 0), (0.38, 0.062), (-0.36, 0.064)):
        opening = i.eye_height if y else 1
        points.append((i.eye_spacing + x * i.eye_size, i.eye_level + y * opening - i.eye_tilt * i.eye_size * x))

    upper, lower = 0.085 * i.lip_thickness * thickness, 0.105 * i.lip_thickness * thickness
    lips = ((0, -0.80, upper), (0.27, -1, upper), (0.64, -0.62, upper), (1, 1, i.resting_mouth), (0.64, 0.68, lower),
            (0.30, 1, lower), (0, 1.05, lower))  # fmt: skip
    points += [(x * i.mouth_width, i.mouth_height + y * height) for x, y, height in lips]
    for x, y in ((0, 0.005), (0.36, -0.004), (0.9, 0.0), (0.36, -0.004), (0, 0.005)):
        points.append((x * i.mouth_width, i.mouth_height + y + i.resting_mouth * x))
    return torch.stack([torch.stack((zero + x, zero + y), -1) for x, y in points], 1)


def place(intensities: Tensor, identity: Identity, nuisance: Nuisance) -> Geometry:
    """Where the landmarks of N people lie who show these intensities (N, 17) under these conditions."""
    action = intensities.double()[:, None] / 5
    side = torch.tensor([-1.0, 1.0]).to(action)
    weaker = (-side * identity.laterality.double()[:, None]).clamp(min=0)  # (N, 2)
    action = action * (1 - weaker[..., None] * as_table(LATERALITY).to(action))

    thickness = (1 - action * as_table(PRESSED).to(action)).clamp(min=0.18).prod(-1).clamp(min=0.16).mean(1)
    half = _rest(identity, thickness)[:, None] + torch.einsum("nsu,upc->nspc", action, _MOVES.to(action))
    for name, share in ASYMMETRY.items():
        shift = side * getattr(identity, name).double()[:, None]
        for landmark, part in share.items():
            half[:, :, SLOT[landmark], 1] += part * shift
    half[:, :, MIDLINE] = half[:, :, MIDLINE].mean(1, keepdim=True)
    half = _keep_in_order(half)

    angles = torch.stack((nuisance.yaw, nuisance.pitch, nuisance.roll), 1).double()
    head = Head(angles.cos(), angles.sin(), identity.face_width.double(), identity.face_height.double())

    relief = torch.tensor([RELIEF.get(landmark, 0.0) for landmark in RIGHT]).to(half)
    placed = head.surface(half * half.new_tensor(MIRROR)[:, None], relief)
    # z of the middle of the jaw's cross-sections: 0 at the ears, well forward at the chin
    jaw = half[:, :, : len(JAW)]
    forward = 0.75 * DEPTH * (1 - jaw[..., 0] / head.width[:, None, None]).clamp(min=0)
    placed[:, :, : len(JAW)] = head.silhouette(jaw, forward)
    landmarks = placed.new_empty(len(placed), 68, 2)
    landmarks[:, list(LEFT)] = placed[:, 0]
    landmarks[:, list(RIGHT)] = placed[:, 1]
    return Geometry(landmarks, skull(head, torch.zeros_like(head.width)), action, half, head)


def _keep_in_order(half: Tensor) -> Tensor:
    """Lids that meet and lips that touch go no further, whatever action units add up to."""
    y = dict(zip(RIGHT, half[..., 1].unbind(2), strict=True))
    for upper, lower in ((43, 47), (44, 46)):
        shut = (0.035 - (y[lower] - y[upper])).clamp(min=0) / 2
        y[upper], y[lower] = y[upper] - shut, y[lower] + shut
    for upper, lower, outer_upper, outer_lower in ((62, 66, 51, 57), (63, 65, 52, 56)):
        overlap = (y[upper] - y[lower]).clamp(min=0) / 2
        y[upper], y[lower] = y[upper] - overlap, y[lower] + overlap
        y[outer_upper] = torch.minimum(y[outer_upper], y[upper] - 0.012)
        y[outer_lower] = torch.maximum(y[outer_lower], y[lower] + 0.015)
    return torch.stack((half[..., 0], torch.stack(list(y.values()), 2)), -1)


def skull(head: Head, volume: Tensor) -> Tensor:
    """The outline from ear over the crown to the other ear, grown by `volume` (N,), (N, 19, 2) in the picture."""
    turn = torch.linspace(0, math.pi / 2, 10).to(volume)
    volume = volume.view(-1, 1, 1)
    width = (head.width.view(-1, 1, 1) + volume) * turn.cos().clamp(min=0) ** 0.9
    level = -0.05 - (0.95 + 0.8 * volume) * turn.sin()
    points = torch.stack((width, level), -1).expand(-1, 2, -1, -1)
    left, right = head.silhouette(points, -0.12 * turn.sin()).unbind(1)
    return torch.cat((right, left[:, :-1].flip(1)), 1)
