"""A procedural face: action units, a person and the conditions of a picture in, pixels and landmarks out.

The face is drawn from 68 landmarks. A person (`Identity`) places them at rest; each action unit moves some of
them as the Facial Action Coding System says (Ekman, Friesen and Hager, *FACS Manual*, 2002) and deepens the
furrows it is known by; the head turns in space; and what is drawn are outlines, discs and strokes through the
landmarks so placed, with edges softened by a smoothstep of the distance to them. `landmarks` returns the very
points that `render` draws from.

`geometry`: where landmarks lie. `canvas`: shapes and paint. `portrait`: the face drawn with them. Here portraits are
blurred, exposed and made noisy.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional

from uncertain_affect.compute.devices import one_thread
from uncertain_affect.corpora.simulated.constants import ACTION_UNITS
from uncertain_affect.corpora.simulated.faces.canvas import scalar, scalars
from uncertain_affect.corpora.simulated.faces.geometry import place
from uncertain_affect.corpora.simulated.faces.portrait import Portrait
from uncertain_affect.corpora.simulated.people import HAIR_STYLES, OCCLUSIONS, Identity, Nuisance

__all__ = ["ACTION_UNITS", "HAIR_STYLES", "OCCLUSIONS", "Identity", "Nuisance", "landmarks", "render"]
CHUNK = 128 * 64**2  # pixels drawn at once: enough to hide the cost of a call, few enough for the caches


def landmarks(intensities: Tensor, identity: Identity, nuisance: Nuisance) -> Tensor:
    """The 68 landmarks of each face, (N, 68, 2): (x, y) from the upper left corner, in sides of the picture.

    In the order of 300-W (0-16 the visible contour from ear over chin to ear, 17-26 brows, 27-35 nose, 36-47 eyes,
    48-59 outer and 60-67 inner lips), "left" being left in the picture. Float64; these are the points that `render`
    draws through, whether or not an occlusion hides them. Arguments and errors are those of `render`.
    """
    _check(intensities, identity, nuisance)
    return place(intensities, identity, nuisance).landmarks


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
        size: pixels on each side.
        colour: RGB instead of grey. The grey of a coloured picture (BT.601) is the grey picture to within
            rounding, where no channel is overexposed.
        device: where to draw. Pictures come back to the CPU, a chunk at a time: memory is bounded by the result.
        generator: draws the noise, one picture after another; may be left out where `nuisance.noise` is 0.

    Returns:
        uint8 (N, size, size), or (N, 3, size, size) with `colour`. A face is the same, bit for bit on one kind of
        device, whichever faces are drawn with it; its noise depends on how many faces came before.

    Raises:
        ValueError: for intensities of another shape, outside [0, 5] or NaN; for as many rows of `identity` or
            `nuisance` as do not match; for noise without a generator.

    Dark skin keeps less light, so the same movement changes grey levels less there, as in photographs; the
    landmarks move alike.

    >>> someone = Identity.draw(1, torch.Generator().manual_seed(0), skin_tone=0.5)
    >>> render(torch.zeros(1, 17), someone, Nuisance.none(1), size=32).shape
    torch.Size([1, 32, 32])
    """
    _check(intensities, identity, nuisance)
    if generator is None and (nuisance.noise > 0).any():
        raise ValueError("nuisance.noise is above 0 for some faces: pass the generator that draws it")
    n, channels = len(intensities), 3 if colour else 1
    out = torch.empty(n, channels, size, size, dtype=torch.uint8)
    at_once = min(max(CHUNK // size**2, 8), 1024)

    def draw(start: int) -> Tensor:
        """The pictures of one chunk in grey levels, before noise."""
        rows = slice(start, start + at_once)
        person, taken = identity[rows].to(device), nuisance[rows].to(device)
        geometry = place(intensities[rows].to(device), person, taken)
        pictures = Portrait(geometry, person, taken, size, channels).draw()
        pictures = _blur(pictures, taken.blur * (size / 64))
        return pictures.mul_(scalar(255 * torch.exp2(taken.exposure.double()))[:, None])

    # One thread per chunk: the operations are too small for threads to share, which would wait at each of them.
    threads = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        for wave in range(0, n, threads * at_once):
            starts = range(wave, min(wave + threads * at_once, n), at_once)
            for start, pictures in zip(starts, pool.map(draw, starts), strict=True):
                if generator is not None:
                    for picture, sd in zip(pictures, nuisance.noise[start : start + at_once].tolist(), strict=True):
                        grain = torch.randn(size, size, generator=generator, device=generator.device)
                        picture += grain.mul_(sd).to(device)
                out[start : start + at_once] = pictures.clamp_(0, 255).round_().to(torch.uint8).cpu()
    return out if colour else out[:, 0]


def _check(intensities: Tensor, identity: Identity, nuisance: Nuisance) -> None:
    wanted = (len(identity), len(ACTION_UNITS))
    if intensities.shape != wanted or len(nuisance) != len(identity):
        form = f"{wanted}, a row for each person and {len(nuisance)} conditions, a column for each action unit"
        raise ValueError(f"intensities must have shape {form}, not {tuple(intensities.shape)}")
    if not ((intensities >= 0) & (intensities <= 5)).all():
        raise ValueError("intensities must lie in [0, 5], the levels absent to E; some do not, or are NaN")


def _blur(pictures: Tensor, sd: Tensor) -> Tensor:
    """Gaussian blur of (N, C, S, S) with a standard deviation in pixels (N,) for each picture; edges are reflected."""
    size = pictures.shape[-1]
    reach = (3 * sd).ceil().clamp(max=size - 1)
    widest = int(reach.max())
    if widest == 0:
        return pictures
    offset = torch.arange(-widest, widest + 1, device=sd.device)
    weights = torch.exp(-0.5 * (offset / sd.double().clamp(min=1e-3)[:, None]) ** 2)
    weights = weights * (offset.abs() <= reach[:, None])  # so that a picture does not depend on its neighbours
    weights = scalars(weights / weights.sum(1, keepdim=True))
    for axis in (-1, -2):
        pad = (widest, widest, 0, 0) if axis == -1 else (0, 0, widest, widest)
        padded = functional.pad(pictures, pad, mode="reflect")
        pictures = torch.zeros_like(pictures)
        for k, weight in enumerate(weights):
            pictures += padded.narrow(axis, k, size) * weight[:, None]
    return pictures
