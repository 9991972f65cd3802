"""A canvas, shapes upon it, and paint: each pixel knows how far it lies from the edge of a shape.

Pixels are touched only by operations that IEEE 754 rounds correctly (+, -, *, /, square root, comparisons), and
positions are worked out in float64: a face has the same bits whichever faces it is drawn with.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # grey of red, green and blue: ITU-R BT.601


class Canvas:
    """N pictures, (N, C, size, size), grey (C = 1) or RGB; places on them are (x, y) in sides of the picture."""

    def __init__(self, n: int, size: int, channels: int, device: torch.device):
        self.size, self.edge = size, 1.25 / size
        self.colour = torch.empty(n, channels, size, size, device=device)
        self.centres = (torch.arange(size, device=device) + 0.5) / size
        self.whole = Box(self, (0, 0), (1, 1))
        self.clip: Tensor | None = None  # where paint holds, (N, size, size) in [0, 1]

    def box(self, points: Tensor, margin: float = 0.0) -> "Box":
        """The box around points (..., 2)."""
        points = points.reshape(-1, 2)
        return Box(self, *torch.stack((points.amin(0), points.amax(0))).tolist(), margin)

    def ink(self, *rgb: float) -> Tensor:
        """A colour in [0, 1] per channel as (1, C)."""
        return self.mix(torch.tensor([rgb], device=self.colour.device))

    def mix(self, rgb: Tensor) -> Tensor:
        """Colours (N, 3) as this canvas holds them: themselves, or their grey."""
        return rgb if self.colour.shape[1] == 3 else (rgb * rgb.new_tensor(LUMA)).sum(1, keepdim=True)


class Box:
    """A rectangle of the canvas: the smallest that holds given points with a margin, for every face of the chunk."""

    def __init__(self, canvas: Canvas, low: Sequence[float], high: Sequence[float], margin: float = 0.0):
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
        for ax, ay, tx, ty, length in zip(*map(scalars, columns.unbind(-1)), strict=True):
            x, y = self.x - ax, self.y - ay  # one row and one column: only their sums below fill the box
            beyond, right = x * tx + y * ty, y * tx - x * ty
            along = torch.minimum(beyond.clamp(min=0), length)
            yield along, beyond.sub_(along), right, [tx, ty, length]

    def stroke(self, points: Tensor, half_width: Tensor | float) -> Tensor:
        """Distance (N, h, w) to an open line through (N, K, 2), less its half-width there ((N, K) or (K,))."""
        if not isinstance(half_width, Tensor):
            half_width = points.new_tensor(half_width)
        half_width = half_width.expand(points.shape[:2])
        lengths = (points[:, 1:] - points[:, :-1]).square().sum(-1).sqrt().clamp(min=1e-9)
        slopes = scalars((half_width[:, 1:] - half_width[:, :-1]) / lengths)
        nearest = None
        for segment, width, slope in zip(self.segments(points), scalars(half_width), slopes, strict=False):
            along, beyond, right, _ = segment
            distance = beyond.mul_(beyond).add_(right.mul_(right)).sqrt_()
            distance -= along.mul_(slope).add_(width)
            nearest = distance if nearest is None else torch.minimum(nearest, distance, out=nearest)
        return nearest

    def polygon(self, points: Tensor) -> Tensor:
        """Signed distance (N, h, w) to the polygon through (N, K, 2): negative inside, by the even-odd rule."""
        y, y_after = scalars(points[..., 1]), scalars(points[..., 1].roll(-1, 1))
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
        for nx, ny, c in zip(*map(scalars, (normal[..., 0], normal[..., 1], reach)), strict=True):
            d = self.x * nx + (self.y * ny - c)
            farthest = d if farthest is None else torch.maximum(farthest, d, out=farthest)
        return farthest

    def ellipse(self, centre: Tensor, radius: Tensor) -> Tensor:
        """Approximate signed distance (N, h, w) to an upright ellipse, exact for a disc; both (N, 2)."""
        cx, cy, rx, ry = scalars(torch.cat((centre, radius), 1))
        x, y = (self.x - cx) / rx, (self.y - cy) / ry
        return (x * x + y * y).sqrt_().sub_(1).mul_(torch.minimum(rx, ry))

    def cover(self, distance: Tensor, soft: float = 0.0) -> Tensor:
        """Coverage in [0, 1] of signed distances: a smoothstep over one pixel, or over `soft` where that is more."""
        t = distance.mul(-1 / max(self.canvas.edge, soft)).add_(0.5).clamp_(0, 1)
        return (t * t).mul_(t.mul_(-2).add_(3))

    def fill(self, distance: Tensor, colour: Tensor, *shares: Tensor | float, soft: float = 0.0, rows=None) -> Tensor:
        """Paint where the distance is negative, in the canvas's pictures or some rows of them.

        Args:
            distance: (N, h, w).
            colour: (N, C).
            shares: by which the paint is thinned one after another: numbers, or tensors (N, 1, 1) or (N, h, w).
            soft: as of `cover`.
            rows: int (N,), which pictures; default all.

        Returns:
            How far it covers the pixels, (N, h, w), but for what the canvas clips.
        """
        cover = self.cover(distance, soft)
        for share in shares:
            cover.mul_(share)
        seen = cover if self.canvas.clip is None else cover * self.canvas.clip[self.pixels]
        under = self.canvas.colour[self.pixels]
        part = under if rows is None else under[rows]
        part += (colour[:, :, None, None] - part).mul_(seen[:, None])
        if rows is not None:
            under[rows] = part
        return cover


def scalars(values: Tensor) -> list[Tensor]:
    """Columns of (N, K) as float32 (N, 1, 1), to broadcast over pixels."""
    return list(values.float()[:, :, None, None].unbind(1))


def scalar(values: Tensor) -> Tensor:
    """(N,) as float32 (N, 1, 1)."""
    return values.float()[:, None, None]


def ramp(stops: tuple[tuple[float, float, float], ...], share: Tensor) -> Tensor:
    """Colours (N, 3) at `share` (N,) in [0, 1] of the way along evenly spaced stops."""
    table = torch.tensor(stops, device=share.device)
    place = share.float() * (len(stops) - 1)
    low = place.floor().clamp(max=len(stops) - 2).long()
    return table[low] + (place - low)[:, None] * (table[low + 1] - table[low])


@lru_cache
def _spline(k: int, per_span: int) -> Tensor:
    """The matrix that takes K points to a Catmull-Rom curve through them, `per_span` steps between two."""
    weights = [
        ((-t + 2 * t**2 - t**3) / 2, (2 - 5 * t**2 + 3 * t**3) / 2, (t + 4 * t**2 - 3 * t**3) / 2, (-(t**2) + t**3) / 2)
        for t in (step / per_span for step in range(per_span))
    ]
    points = torch.eye(k, dtype=torch.float64)
    # beyond an end the curve goes straight on
    points = torch.cat((2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]))
    spans = [torch.tensor(weights, dtype=torch.float64) @ points[span : span + 4] for span in range(k - 1)]
    return torch.cat((*spans, points[-2:-1]))


def smooth(points: Tensor, per_span: int) -> Tensor:
    """(N, K, 2) to (N, (K - 1) per_span + 1, 2), through every point."""
    matrix = _spline(points.shape[1], per_span).to(points)
    return (matrix[None, :, :, None] * points[:, None]).sum(2)


def ring(there: Tensor, back: Tensor) -> Tensor:
    """A closed outline (N, K + L - 2, 2) of two lines: each begins where the other ends."""
    return torch.cat((there[:, :-1], back[:, :-1]), 1)
