"""A face drawn back to front: what is behind it, the face itself, light, and what stands before it."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated.faces.canvas import Box, Canvas, ramp, ring, scalar, scalars, smooth
from uncertain_affect.corpora.simulated.faces.geometry import MIDDLE, MIRROR, SCALE, SLOT, Geometry, as_table, skull
from uncertain_affect.corpora.simulated.people import HAIR_STYLES, Identity, Nuisance

# Furrows of one half, bows from one landmark to another, darkened by action units and by age: where they begin and end
# (landmark, outward, down), how far their middle is pushed (outward, down), half-width, darkness at intensity 5 by
# action unit, at age 1 and at rest.
# fmt: off
CURVES = (
    # across the forehead, in the middle and above the outer brows
    *(((27, -0.015, -0.44 - up), (27, 0.27, -0.415 - up), (0.0, -0.035), 0.017, {1: dark}, age, 0.0)
      for up, dark, age in ((0.0, 0.60, 0.10), (0.085, 0.65, 0.18), (0.17, 0.55, 0.18))),
    *(((27, 0.25, -0.43 - up), (27, 0.55, -0.33 - up), (0.02, -0.06), 0.017, {2: dark}, age, 0.0)
      for up, dark, age in ((0.01, 0.50, 0.08), (0.09, 0.55, 0.14), (0.17, 0.40, 0.14))),
    # upright between the brows, then across the root of the nose and down its sides
    ((27, 0.04, -0.33), (27, 0.042, -0.10), (0.014, 0.0), 0.017, {4: 0.62}, 0.12, 0.0),
    ((27, -0.01, -0.02), (27, 0.085, -0.045), (0.0, 0.01), 0.015, {9: 0.6, 4: 0.12}, 0.08, 0.0),
    ((27, -0.01, 0.05), (27, 0.10, 0.015), (0.0, 0.01), 0.015, {9: 0.7}, 0.03, 0.0),
    ((28, 0.06, -0.04), (28, 0.15, 0.05), (0.0, -0.015), 0.015, {9: 0.7}, 0.0, 0.0),
    ((28, 0.075, 0.03), (28, 0.15, 0.12), (0.0, -0.015), 0.014, {9: 0.55}, 0.0, 0.0),
    # crow's feet, and the bag below the eye
    ((45, 0.035, -0.02), (45, 0.115, -0.075), (0.0, 0.012), 0.011, {6: 0.45}, 0.18, 0.0),
    ((45, 0.04, 0.012), (45, 0.130, 0.008), (0.0, 0.010), 0.011, {6: 0.50}, 0.20, 0.0),
    ((45, 0.035, 0.042), (45, 0.11, 0.085), (0.0, -0.012), 0.011, {6: 0.45}, 0.18, 0.0),
    ((42, 0.015, 0.07), (45, -0.02, 0.07), (0.0, 0.055), 0.015, {6: 0.42, 7: 0.35, 9: 0.2}, 0.22, 0.06),
    # the nasolabial fold
    ((35, 0.03, -0.06), (54, 0.075, 0.015), (0.025, -0.035), 0.020,
           {6: 0.10, 9: 0.35, 10: 0.48, 12: 0.32, 20: 0.12}, 0.28, 0.04),
    # the dimple beside the corner of the mouth, the line down from it, and the tension above it
    ((54, 0.055, -0.065), (54, 0.050, 0.065), (0.035, 0.0), 0.018, {12: 0.12, 14: 0.68}, 0.0, 0.0),
    ((54, 0.020, 0.02), (54, 0.045, 0.14), (0.03, 0.0), 0.017, {15: 0.6, 26: 0.10}, 0.22, 0.0),
    ((54, 0.015, -0.055), (53, 0.02, -0.065), (0.0, -0.02), 0.015, {23: 0.35, 24: 0.35}, 0.0, 0.0),
    # under the lower lip, and the dents of the chin
    ((57, -0.01, 0.075), (55, 0.0, 0.10), (0.0, -0.01), 0.022,
           {15: 0.2, 17: 0.55, 23: 0.25, 24: 0.35}, 0.08, 0.14),
    ((8, 0.03, -0.235), (8, 0.115, -0.20), (0.0, -0.02), 0.015, {17: 0.6}, 0.0, 0.0),
    ((8, 0.015, -0.17), (8, 0.085, -0.13), (0.0, -0.015), 0.015, {17: 0.55}, 0.0, 0.0),
)
# fmt: on


SKIN = ((0.97, 0.84, 0.76), (0.91, 0.73, 0.61), (0.76, 0.55, 0.42), (0.54, 0.37, 0.28), (0.33, 0.22, 0.17))
HAIR = ((0.07, 0.06, 0.06), (0.20, 0.13, 0.09), (0.42, 0.26, 0.15), (0.78, 0.62, 0.38))
GREY_HAIR = (0.74, 0.74, 0.75)
IRIS = ((0.20, 0.11, 0.06), (0.36, 0.22, 0.10), (0.36, 0.40, 0.24), (0.36, 0.52, 0.66))
SCARVES = ((0.62, 0.30, 0.32), (0.28, 0.42, 0.56), (0.60, 0.56, 0.42))
CLOTH = ((0.25, 0.36, 0.48), (0.55, 0.25, 0.26), (0.30, 0.42, 0.34))
# By hairstyle: volume beyond the skull, how far down it hangs, its width there, and the squareness of the hairline.
STYLES = (
    (0.0, 0.012, 0.06, 0.08, 0.09, 0.08, 0.13, 0.24),
    (0.0, 0.0, 0.05, 0.08, 0.80, 1.60, 0.55, 0.42),
    (1.0, 1.0, 0.9, 0.9, 0.95, 1.0, 0.8, 0.72),
    (2.4, 2.6, 2.6, 2.2, 2.2, 2.0, 2.4, 2.3),
)


class Portrait:
    """One chunk of faces on its canvas."""

    def __init__(self, face: Geometry, identity: Identity, nuisance: Nuisance, size: int, channels: int):
        self.face, self.identity, self.nuisance = face, identity, nuisance
        self.points = face.landmarks
        self.canvas = Canvas(len(identity), size, channels, self.points.device)
        self.skin_rgb = ramp(SKIN, identity.skin_tone)
        grey = ((identity.age.float() - 0.55) * 1.8).clamp(0, 0.9)[:, None]
        shade = ramp(HAIR, identity.hair_shade)
        self.hair_rgb = shade + grey * (torch.tensor(GREY_HAIR, device=shade.device) - shade)
        self.skin, self.hair = self.canvas.mix(self.skin_rgb), self.canvas.mix(self.hair_rgb)
        self.style = self.points.new_tensor(STYLES)[:, identity.hair_style]
        self.hair_hull = skull(face.head, self.style[0])
        self.figure = torch.zeros_like(self.canvas.colour[:, 0])  # what is not background
        self.face_cover = torch.zeros_like(self.figure)
        self.glints: list[tuple[Box, Tensor, Tensor, Tensor]] = []  # lit after the rest

    def draw(self) -> Tensor:
        shade = self.nuisance.background.float()[:, None] * self.skin.new_tensor([0.96, 0.99, 1.02])
        self.canvas.colour[:] = self.canvas.mix(shade.clamp(0, 1))[:, :, None, None]
        self.canvas.colour *= 1.06 - 0.16 * self.canvas.whole.y
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

    def lay(self, box: Box, distance: Tensor, colour: Tensor, *shares: Tensor | float, soft: float = 0.0) -> Tensor:
        """Fill a part of the figure, as opposed to the background and to what is drawn upon the face."""
        cover = box.fill(distance, colour, *shares, soft=soft)
        figure = self.figure[box.pixels]
        figure += (1 - figure).mul_(cover)
        return cover

    # ---- from back to front

    def head(self) -> None:
        """Hair behind, neck and shoulders, ears, and the face itself."""
        head, style, p = self.face.head, self.identity.hair_style, self.points
        volume, length, taper, _ = self.style
        down = torch.tensor([0.35, 0.65, 0.85, 0.96, 1.0]).to(p)
        wide = (head.width + volume)[:, None] * (1 - (1 - taper)[:, None] * down**2)
        wide = wide * p.new_tensor([1, 1, 1, 0.96, 0.85])
        ends = torch.stack((wide, -0.05 + down * (length[:, None] + 0.05)), -1)[:, None].expand(-1, 2, -1, -1)
        left, right = head.silhouette(ends, 0.0).unbind(1)
        outline = torch.cat((self.hair_hull, left, right.flip(1)), 1)
        box = self.canvas.box(outline, 0.02)
        self.lay(box, self.curl(box, box.convex(outline)), self.hair, scalar(style > 1))

        neck = torch.tensor([[-0.40, 0.4], [0.40, 0.4], [0.44, 1.5], [-0.44, 1.5]]).to(p)
        neck = neck * (head.width / 0.73)[:, None, None]
        neck = torch.cat((head.at(neck[:, :2], -0.1), MIDDLE[0] + SCALE * neck[:, 2:]), 1)
        box = self.canvas.box(neck)
        self.lay(box, box.convex(neck), self.skin * 0.70)
        cloth = self.canvas.mix(torch.tensor(CLOTH, device=p.device)[style % len(CLOTH)])
        shoulders = p.new_tensor([[0.5, 1.17, 0.52, 0.20]]).expand(len(p), -1)
        box = self.canvas.box(p.new_tensor([[0, 0.96], [1, 1]]))
        self.lay(box, box.ellipse(shoulders[:, :2], shoulders[:, 2:]), cloth)
        self.ears(torch.ones(2, len(p), device=p.device))

        face = torch.cat((p[:, :17], self.face.skull[:, 1:-1]), 1)
        box = self.canvas.box(face)
        self.face_cover[box.pixels] = self.lay(box, box.convex(face), self.skin)

    def curl(self, box: Box, distance: Tensor) -> Tensor:
        """The distance to an edge of hair, made uneven where it curls."""
        curly = scalar(self.identity.hair_style >= HAIR_STYLES.index("curly"))
        wave_x, wave_y = (((t * 13).remainder(1) - 0.5).abs() - 0.25 for t in (box.x, box.y))
        return distance + (wave_x * wave_y) * (curly * 0.20)

    def ears(self, shown: Tensor) -> None:
        """Both ears, as far as `shown` (2, N) says; hair that hangs over them hides them."""
        width = self.face.head.width
        free = (self.style[1] < 0.4).float()
        radius = self.points.new_tensor([[0.038, 0.075]]).expand(len(width), -1)
        for side, sign in ((0, -1.0), (1, 1.0)):
            visible = scalar(free * shown[side].clamp(0, 1))
            ear = self.face.head.at(torch.stack((sign * (width + 0.02), torch.full_like(width, 0.06)), -1), -0.02)
            box = self.canvas.box(ear, 0.10)
            for grow, shade in ((1.0, 0.90), (0.55, 0.74)):
                self.lay(box, box.ellipse(ear, radius * grow), self.skin * shade, visible, soft=0.025)

    def folds(self) -> None:
        """Furrows: bows between landmarks, as dark as their action units and age make them."""
        p, age, ink = self.points, self.identity.age.float(), self.skin * 0.42
        taper = p.new_tensor([0.25, 0.85, 1.0, 0.85, 0.25])
        t = torch.linspace(0, 1, 5).to(p)[:, None]
        starts, stops, bows, half_widths, darkness, aging, rest = zip(*CURVES, strict=True)
        anchors = [SLOT[end[0]] for ends in zip(starts, stops, strict=True) for end in ends]
        shift = p.new_tensor([[start[1:], stop[1:]] for start, stop in zip(starts, stops, strict=True)])
        bow = p.new_tensor(bows)[:, None]
        darkness = torch.stack([as_table(by_unit) for by_unit in darkness]).to(age)
        rest, aging = age.new_tensor(rest), age.new_tensor(aging)
        for side in (0, 1):
            ends = self.face.half[:, side, anchors].unflatten(1, (-1, 2)) + shift  # (N, curves, 2, 2)
            start, end = ends[:, :, None].unbind(3)
            lines = start + t * (end - start) + 4 * t * (1 - t) * bow
            lines = self.face.head.surface(lines * p.new_tensor(MIRROR[side]), 0.03)
            dark = (self.face.action[:, side].float()[:, None] * darkness).sum(-1) + rest + aging * age[:, None]
            corners = torch.stack((lines.amin((0, 2)), lines.amax((0, 2))), 1).tolist()
            for k, (half_width, share) in enumerate(zip(half_widths, scalars(dark.clamp(0, 0.85)), strict=True)):
                width = half_width * SCALE
                box = Box(self.canvas, *corners[k], 2 * width)
                box.fill(box.stroke(lines[:, k], taper * width), ink, share, soft=1.6 * width)

    def eye(self, side: int) -> None:
        eye = self.face.on_side(side, 42, 47)
        upper, lower = smooth(eye[:, :4], 3), smooth(eye[:, [3, 4, 5, 0]], 3)

        # The socket, and the lid's crease above the lashes.
        lift = torch.tensor([0.0, 0.055]).to(upper) * SCALE
        crease = upper[:, 2:] - lift
        box = self.canvas.box(torch.cat((crease, lower), 1), 0.05)
        box.fill(box.stroke(eye[:, [0, 3]] - lift * 0.3, 0.03), self.skin * 0.55, 0.14, soft=0.10)
        taper = torch.linspace(0.5, 1.0, crease.shape[1]).to(upper)
        box.fill(box.stroke(crease, taper * 0.011 * SCALE), self.skin * 0.45, 0.42, soft=0.014)

        box = self.canvas.box(torch.cat((upper, lower), 1), 0.03)
        white = self.canvas.ink(0.95, 0.94, 0.93)
        opening = box.fill(box.polygon(ring(upper, lower)), white, self.face_cover[box.pixels])

        # The eyeball looks where the head does; its middle does not move with the lids.
        centre = self.face.fixed((2 * side - 1) * self.identity.eye_spacing, self.identity.eye_level)
        radius = (0.50 * SCALE * self.identity.eye_size.double())[:, None]
        cos = self.face.head.cos[:, 0]
        narrow = torch.stack((cos.clamp(min=0.75), torch.ones_like(cos)), 1)
        iris = self.canvas.mix(ramp(IRIS, self.identity.iris_shade))
        for share, colour in ((1.0, iris * 0.45), (0.80, iris), (0.45, self.canvas.ink(0.03, 0.03, 0.04))):
            box.fill(box.ellipse(centre, share * radius * narrow), colour, opening)
        shadow = box.stroke(upper, 0.0) - 0.012
        box.fill(shadow, self.canvas.ink(0.25, 0.2, 0.2), opening, 0.40, soft=0.03)
        glint = centre + upper.new_tensor([-0.30, -0.34]) * radius
        self.glints.append((box, glint, radius * 0.22, opening))

        # Lashes.
        taper = torch.linspace(0.55, 1.0, upper.shape[1]).to(upper)
        box.fill(box.stroke(upper, taper * 0.020 * SCALE), self.canvas.ink(0.08, 0.06, 0.06), 0.92, soft=0.010)
        box.fill(box.stroke(lower, 0.008 * SCALE), self.skin * 0.35, 0.40, soft=0.010)

    def brow(self, side: int) -> None:
        line = smooth(self.face.on_side(side, 22, 26), 2)
        taper = torch.tensor([0.75, 0.92, 1, 1, 0.95, 0.85, 0.7, 0.52, 0.3]).to(line)
        width = taper * self.identity.brow_thickness.double()[:, None] * SCALE
        box = self.canvas.box(line, 0.05)
        dark = self.canvas.mix(torch.minimum(self.hair_rgb * 0.8, self.skin_rgb * 0.48))
        box.fill(box.stroke(line, width), dark, 0.90, soft=0.020)

    def nose(self) -> None:
        box = self.canvas.box(self.face.at(29, 30, 31, 33, 35), 0.07)
        base = smooth(self.face.at(31, 32, 33, 34, 35), 2)
        box.fill(box.stroke(base, 0.012), self.skin * 0.45, 0.30, soft=0.035)
        taper = torch.tensor([0.2, 0.6, 0.9, 1.0, 1.0, 0.8, 0.4]).to(base)
        wing = ((35, -0.045, -0.085), (35, 0.012, -0.045), (35, 0.010, 0.012), (35, -0.04, 0.025))
        for side in (0, 1):
            line = smooth(self.face.off(side, *wing, relief=0.05), 2)
            box.fill(box.stroke(line, taper * 0.010), self.skin * 0.42, 0.50, soft=0.014)
            hole = self.face.off(side, (34, -0.025, 0.004), (34, 0.035, -0.006), relief=0.08)
            box.fill(box.stroke(hole, [0.008, 0.009]), self.skin * 0.22, 0.80, soft=0.012)

    def mouth(self) -> None:
        upper = smooth(self.face.at(*range(48, 55)), 2)
        lower = smooth(self.face.at(*range(54, 60), 48), 2)
        top = smooth(self.face.at(*range(60, 65)), 3)
        bottom = smooth(self.face.at(*range(64, 68), 60), 3)
        box, ink = self.canvas.box(torch.cat((upper, lower), 1), 0.03), self.canvas.ink

        red, pink = (torch.tensor(rgb, device=upper.device) for rgb in ([0.87, 0.62, 0.60], [0.03, 0.0, 0.005]))
        lips = self.canvas.mix(self.skin_rgb * red + pink)
        box.fill(box.polygon(ring(upper, lower)), lips, 0.92)
        box.fill(box.polygon(torch.cat((upper[:, :-1], top.flip(1)), 1)), lips * 0.55, 0.30)

        gap = box.polygon(ring(top, bottom))
        inside = box.fill(gap, ink(0.17, 0.05, 0.06))
        parted = (self.face.at(66) - self.face.at(62))[:, 0]
        height = parted.square().sum(1).sqrt()
        radius = torch.stack((torch.full_like(height, 0.085), height * 0.36 + 1e-3), 1)
        tongue = box.ellipse(self.face.at(66)[:, 0] + parted * 0.08, radius)
        box.fill(tongue, ink(0.62, 0.28, 0.29), inside, 0.75, soft=0.03)
        teeth = top[:, 1:-1]
        depth = (1 - 0.55 * torch.linspace(-1, 1, teeth.shape[1]).to(teeth) ** 2) * 0.078 * SCALE
        box.fill(box.stroke(teeth, depth), ink(0.95, 0.94, 0.90), box.cover(gap + 0.004))

        # The line between closed lips; pressing them together makes it darker and longer.
        line = (top + bottom.flip(1)) / 2
        taper = torch.tensor([0.7, *[1.0] * (line.shape[1] - 2), 0.7], device=line.device)
        dark = (1 - height / 0.035).clamp(0, 1).float()
        dark = dark * (0.62 + 0.3 * self.face.shown(24) + 0.15 * self.face.shown(23)).clamp(max=0.95)
        box.fill(box.stroke(line, taper * 0.013 * SCALE), self.skin * 0.22, scalar(dark), soft=0.012)
        for side, corner in enumerate((48, 54)):
            spot = self.face.at(corner)[:, 0]
            deep = (0.32 + 0.3 * self.face.shown(14, side)).clamp(max=0.8)
            box.fill(box.ellipse(spot, torch.full_like(spot, 0.012)), self.skin * 0.30, scalar(deep), soft=0.02)

    def front_hair(self) -> None:
        """Everything of the scalp above the hairline."""
        style, head, square = self.identity.hair_style, self.face.head, self.style[3, :, None]
        turn = torch.linspace(0, math.pi, 21).to(self.points)
        cos, sin = turn.cos(), turn.sin().clamp(min=0)
        x = cos.sign() * cos.abs() ** (2 / square) * (head.width * 1.03)[:, None]
        part = (style == HAIR_STYLES.index("side part")).double()[:, None] * 0.10
        y = 0.10 + (self.identity.hairline.double()[:, None] - 0.10) * sin ** (2 / square) + part * cos
        floor = torch.stack((x[:, [-1, 0]], torch.full_like(x[:, :2], 1.3)), -1)
        forehead = torch.cat((head.surface(torch.stack((x, y), -1)), head.at(floor, 0.3)), 1)
        box = self.canvas.box(self.hair_hull, 0.02)
        bare = box.cover(self.curl(box, box.convex(forehead)), 0.02)
        thin = torch.tensor([0.0, 0.62, *[1.0] * (len(HAIR_STYLES) - 2)], device=style.device)[style]
        self.lay(box, self.curl(box, box.convex(self.hair_hull)), self.hair, 1 - bare, scalar(thin))

    def light(self) -> None:
        """Lambert's law over an ellipsoid with bumps for features, and a little shine; the background keeps its own."""
        n, size, whole, light = len(self.points), self.canvas.size, self.canvas.whole, self.nuisance
        middle = (self.face.at(0, 16).mean(1) + self.face.skull[:, 9] + self.face.fixed(0.0, 1.0, 0.25)) / 3
        cx, cy = scalars(middle)
        nx = ((whole.x - cx) * 2.6).clamp(-1, 1)
        nx = (nx * (1 + 0.3 * nx * nx)).expand(n, size, -1).contiguous()
        ny = ((whole.y - cy) * 1.5).clamp(-1, 1).expand(n, -1, size).contiguous()
        for ends, radius, height in self.bumps():
            box = self.canvas.box(ends, radius)
            _, beyond, right, (tx, ty, _) = next(box.segments(ends, closed=True))
            # height q^3 with q = 1 - d^2/R^2 inside R: its slope is -6 height q^2 d / R^2, and normals lean against it
            q = (beyond * beyond).add_(right * right).mul_(-1 / radius**2).add_(1).clamp_(min=0)
            q.mul_(q).mul_(scalar(6 / radius**2 * height))
            beyond, right = beyond.mul_(q), right.mul_(q)
            nx[box.pixels] += (beyond * tx).sub_(right * ty)
            ny[box.pixels] += beyond.mul_(ty).add_(right.mul_(tx))
        azimuth, elevation = light.light_azimuth.double(), light.light_elevation.double()
        lx, ly, lz = azimuth.sin() * elevation.cos(), -elevation.sin(), azimuth.cos() * elevation.cos()
        lx, ly, lz, strength, ambient = map(scalar, (lx, ly, lz, light.light_strength, light.ambient))
        facing = (nx * lx).add_(ny * ly).add_(lz)
        facing = facing.div_(nx.mul_(nx).add_(ny.mul_(ny)).add_(1).sqrt_()).clamp_(min=0)
        shade = (facing * strength).add_(ambient).sub_(1).mul_(self.figure).add_(1)
        shine = facing.pow_(2)
        shine = (shine * shine).mul_(shine)
        shine = (shine * shine).mul_(strength * 0.07).mul_(self.face_cover)
        self.canvas.colour *= shade[:, None]
        self.canvas.colour += shine[:, None]
        for box, glint, radius, opening in self.glints:
            box.fill(box.ellipse(glint, radius.expand(-1, 2)), self.canvas.ink(1.0, 1.0, 1.0), opening, 0.9)

    def bumps(self) -> Iterator[tuple[Tensor, float, Tensor]]:
        """What stands out of the head, or into it (height < 0): its one or two ends (N, K, 2), radius and height."""
        at, off, shown = self.face.at, self.face.off, self.face.shown
        one, lip = torch.ones(len(self.points), device=self.points.device), self.identity.lip_thickness.float()
        yield at(27, 30), 0.085, 0.024 * one
        yield at(30), 0.075, 0.018 * one
        yield at(56, 58), 0.050, 0.010 * lip * (1 + 0.3 * shown(17))
        yield at(50, 52), 0.040, 0.005 * lip
        yield off(1, (8, 0.0, -0.16), relief=0.03), 0.10, 0.012 + 0.016 * shown(17)
        yield at(51, 57), 0.16, 0.012 * one
        for side in (0, 1):
            yield off(side, (23, 0.0, 0.02), (25, 0.0, 0.02)), 0.07, 0.006 + 0.007 * shown(4, side)
            yield off(side, (42, 0.03, -0.04), (45, -0.06, -0.05)), 0.075, -0.008 * one
            lift = shown(6, side) + 0.7 * shown(12, side) + 0.3 * shown(10, side)
            cheek = off(side, (45, -0.10, 0.30))
            rise = torch.stack((torch.zeros_like(lift), 0.035 * SCALE * lift), 1).to(cheek)
            yield cheek - rise[:, None], 0.13, 0.013 + 0.013 * lift
            yield off(side, (35, -0.03, -0.035)), 0.045, 0.007 * one
            yield off(side, (54, 0.075, 0.0)), 0.055, -0.009 * shown(14, side)

    def occlusion(self) -> None:
        """What stands between the face and the camera; only the pictures that have it are touched."""
        n = self.nuisance
        facing = (n.light_azimuth.cos() * n.light_elevation.cos()).clamp(min=0)
        light = n.ambient + n.light_strength * facing  # on what faces the camera
        for kind, paint in enumerate((self.hand, self.sunglasses, self.strand, self.scarf), 1):
            rows = (n.occlusion == kind).nonzero()[:, 0]
            if len(rows):
                paint(rows, n.occlusion_position[rows].double(), n.occlusion_extent[rows].double(), light[rows, None])

    def hand(self, rows: Tensor, position: Tensor, extent: Tensor, light: Tensor) -> None:
        """Four fingers laid across the mouth, from the side that `position` says."""
        reach, from_side = (0.85 + 0.35 * extent) * SCALE, torch.where(position < 0, -1.0, 1.0)
        middle = self.face.fixed(0.0, self.identity.mouth_height)[rows]
        for rise, length in ((-0.24, 0.88), (-0.08, 1.0), (0.08, 0.97), (0.24, 0.80)):
            y = middle[:, 1] + rise * reach
            tip = torch.stack((middle[:, 0] - from_side * (length - 0.40) * reach, y - 0.03), 1)
            root = torch.stack((middle[:, 0] + from_side * 0.95, y + 0.16), 1)
            finger = torch.stack((tip, root), 1)
            box = self.canvas.box(finger, 0.12)
            distance = box.stroke(finger, (0.105 * reach)[:, None])
            for inset, tone in ((0.0, 0.62), (0.012, 1.0)):
                box.fill(distance + inset, self.skin[rows] * tone * (0.94 * light), soft=0.012, rows=rows)
            nail = tip - torch.stack((0.035 * reach * from_side, 0.0 * reach), 1)
            oval = torch.stack((0.050 * reach, 0.055 * reach), 1)
            box.fill(box.ellipse(nail, oval), self.canvas.ink(1.0, 0.9, 0.86), 0.25, rows=rows)

    def sunglasses(self, rows: Tensor, position: Tensor, extent: Tensor, light: Tensor) -> None:
        """Dark lenses with a frame; a larger extent means larger lenses. They sit where the eyes are."""
        dark, glare, box = self.canvas.ink(0.06, 0.06, 0.08), self.canvas.ink(0.8, 0.85, 0.9), self.canvas.whole
        size = (1.25 + 0.40 * extent) * self.identity.eye_size.double()[rows] * SCALE
        x, y = self.identity.eye_spacing, self.identity.eye_level
        left, right = self.face.fixed(-x, y)[rows], self.face.fixed(x, y)[rows]
        left_ear, right_ear = self.face.at(0, 16)[rows].unbind(1)
        for ends in ((left, right), (left, left_ear), (right, right_ear)):
            box.fill(box.stroke(torch.stack(ends, 1), 0.010), dark, rows=rows)
        lens = torch.stack((size * self.face.head.cos[rows, 0].clamp(min=0.6), 0.80 * size), 1)
        for eye in (left, right):
            box.fill(box.ellipse(eye, lens), dark, rows=rows)
            bright = box.ellipse(eye - 0.35 * size[:, None], torch.stack((0.3 * size, 0.16 * size), 1))
            box.fill(bright, glare, 0.3, soft=0.02, rows=rows)

    def strand(self, rows: Tensor, position: Tensor, extent: Tensor, light: Tensor) -> None:
        """A curtain of hair from the crown down over the side that `position` says; at full extent to the nose."""
        hull, points, box = self.hair_hull[rows], self.points[rows], self.canvas.whole
        right = (position >= 0)[:, None, None]
        outer = torch.where(right, hull[:, :10], hull[:, 9:].flip(1))  # from the ear up to the crown
        jaw = torch.where(right, points[:, [12, 14, 16]], points[:, [4, 2, 0]])
        nose, ear, crown = points[:, 28], jaw[:, 2], outer[:, 9]
        inner = nose + (ear - nose) * (0.55 - 0.50 * extent)[:, None]  # where the curtain's edge passes the eye
        waist = 0.45 * crown + 0.55 * inner + 0.12 * (nose - ear)
        edge = torch.stack((crown, waist, inner, 0.4 * inner + 0.6 * jaw[:, 0]), 1)
        distance = box.polygon(torch.cat((smooth(edge, 4), jaw, outer[:, :9]), 1))
        for inset, tone in ((0.0, 0.75), (0.02, 1.0), (0.05, 0.88), (0.06, 1.0), (0.09, 0.9), (0.10, 1.0)):
            box.fill(distance + inset, light * self.hair[rows] * tone, soft=0.015, rows=rows)

    def scarf(self, rows: Tensor, position: Tensor, extent: Tensor, light: Tensor) -> None:
        """Cloth over everything below a line: the chin and mouth, at full extent up to the tip of the nose."""
        box, ears = self.canvas.whole, self.face.at(1, 15)[rows]
        tip = self.face.fixed(0.0, self.identity.eye_level + 0.84 * self.identity.nose_length, 0.24)[rows, None]
        mouth = self.face.fixed(0.0, self.identity.mouth_height - 0.06, 0.09)[rows, None]
        top = mouth + (tip - mouth) * (0.30 + 0.70 * extent)[:, None, None]
        edge = torch.cat((ears[:, :1], top, ears[:, 1:]), 1)
        edge[:, [0, 2], 0] += torch.tensor([-0.05, 0.05]).to(edge)
        floor = torch.tensor([[1.05, 1.3], [-0.05, 1.3]]).to(edge).expand(len(edge), -1, -1)
        distance = box.polygon(torch.cat((smooth(edge, 4), floor), 1))
        hue = torch.tensor(SCARVES, device=edge.device)[((position + 1) * 1.499).long()]
        for inset, tone in ((0.0, 0.70), (0.018, 1.0), (0.09, 0.90), (0.11, 1.0), (0.20, 0.90), (0.22, 1.0)):
            box.fill(distance + inset, self.canvas.mix(hue) * light * tone, soft=0.02, rows=rows)
