"""Faces from image files: each is decoded once, into a memory-mapped array that later runs read.

Faces are read from crops, which the corpora or OpenFace provide; nothing here looks for a face in a picture.
"""

import os
import re
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from uncertain_affect.compute.cache import cached_blocks, code_key, content_key
from uncertain_affect.corpora.base import CorpusError
from uncertain_affect.corpora.reading import File, entries

FORMATS = ("JPEG", "PNG", "BMP")
MAX_BYTES = 16 * 2**20  # of an image file: a bitmap of 2048 x 2048 pixels has 12
MAX_SIDE = 2048  # pixels of a crop
MAX_FILES = 500_000  # of a folder: a video of four hours

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)

# "00012.jpg", or as some tools write it "    12.jpg"; OpenFace numbers its crops by face and frame.
_NAME = re.compile(r"\s*(?:frame_det_(?P<face>[0-9]{2})_)?(?P<number>[0-9]{1,9})\.(?:jpe?g|png|bmp)", re.IGNORECASE)


def numbered(folder: str | os.PathLike) -> dict[int, Path]:
    """The images of a folder by the number in their name, ascending; none where there is no such folder.

    Names are "12.jpg" or "0012.jpg" alike (also .png, .bmp), or OpenFace's "frame_det_00_000012.bmp", of which the
    first face of a frame counts. Other files are passed over: macOS and some tools leave a few.

    Raises:
        CorpusError: two images have one number, there are too many, or the folder cannot be read.
    """
    found: dict[int, Path] = {}
    for path in entries(Path(folder), None, MAX_FILES, optional=True):
        match = _NAME.fullmatch(path.name)
        if match and match["face"] in (None, "00"):
            number = int(match["number"])
            if (other := found.setdefault(number, path)) is not path:
                reason = f"frame {number} a second time, beside {other.name}"
                raise CorpusError(reason, path=path, cure="Remove one of the two")
    return dict(sorted(found.items()))


@contextmanager
def opened(path: str | os.PathLike, cure: str | None, formats: Sequence[str] = FORMATS):
    """An image file, open; whatever the decoder meets in one that is malformed is a `CorpusError`.

    Args:
        path: of the file.
        cure: what to do about a file that is malformed.
        formats: that it can have.

    Raises:
        CorpusError: it cannot be read, or is truncated, damaged or too large.
    """
    file = File(Path(path), cure, MAX_BYTES)
    with file.opened("rb") as content:
        try:
            with Image.open(content, formats=formats) as image:
                if max(image.size) > MAX_SIDE:
                    pixels = f"{image.width} x {image.height} pixels"
                    raise file.error(f"{pixels}, more than a crop can have ({MAX_SIDE} x {MAX_SIDE})")
                yield image
        except CorpusError:
            raise
        except (
            OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError, TypeError, IndexError, struct.error,
            Image.DecompressionBombError, Image.DecompressionBombWarning,
        ) as error:  # fmt: skip
            raise file.error(f"truncated or damaged image ({error})") from error


def decode(
    path: str | os.PathLike, side: int, colour: bool, size: tuple[int, int] | None = None, cure: str | None = None
) -> np.ndarray:
    """One face, uint8 (side, side) in grey levels or (3, side, side) in RGB.

    Args:
        path: of a JPEG, PNG or BMP of a square crop with three channels of 8 bits.
        side: pixels of what comes out.
        colour: RGB, or grey levels.
        size: pixels (width, height) that the file must have.
        cure: what to do about a file that is no such crop.

    Raises:
        CorpusError: as :func:`opened`, or of another size, not square, or not of three channels.
    """
    with opened(path, cure) as image:
        pixels = f"{image.width} x {image.height} pixels"
        if image.mode != "RGB":
            raise CorpusError(f"of mode {image.mode}, not RGB with 8 bits a channel", path=path, cure=cure)
        if image.width != image.height:
            raise CorpusError(f"{pixels} are no square crop", path=path, cure=cure)
        if size is not None and image.size != size:
            raise CorpusError(f"{pixels}, others have {size[0]} x {size[1]}", path=path, cure=cure)
        mode = "RGB" if colour else "L"
        image.draft(mode, (side, side))  # a JPEG is decoded at the nearest size above, and without its colours
        resized = image.convert(mode).resize((side, side), Image.Resampling.BILINEAR)
        return np.moveaxis(np.asarray(resized), -1, 0) if colour else np.asarray(resized)


def faces(files: Sequence[Path], side: int, colour: bool, cure: str | None = None, label: str = "faces") -> Tensor:
    """Crops of one size, uint8 (N, side, side) or (N, 3, side, side), memory-mapped.

    The first call decodes them, a block at a time, into one array in the cache; what was interrupted goes on where it
    stopped. Later calls map the array: pages are read when they are looked at, and none need stay in memory. A file
    that has changed in size or time makes another array.

    Args:
        files: N crops, as for :func:`decode`.
        side, colour, cure: as for :func:`decode`.
        label: what the progress bar says.

    Raises:
        CorpusError: no file, a side that is none, or as :func:`decode`.
    """
    if not files:
        raise CorpusError("no face image was found", cure=cure)
    if not 1 <= side <= MAX_SIDE:
        raise CorpusError(f"a face has 1 to {MAX_SIDE} pixels a side, not {side}")
    with opened(files[0], cure) as first:
        size = first.size
    states = np.array([(state.st_size, state.st_mtime_ns) for state in map(os.stat, files)])
    folder = os.path.commonpath([file.parent for file in files])
    names = [os.path.relpath(file, folder) for file in files]
    key = content_key("faces", RECIPE, names, states, side, colour)
    shape = (len(files), 3, side, side) if colour else (len(files), side, side)
    with (
        ThreadPoolExecutor(torch.get_num_threads()) as pool,
        tqdm(total=len(files), desc=label, unit="image", disable=None, leave=False) as progress,
    ):

        def build(start: int, stop: int) -> np.ndarray:
            block = np.empty((stop - start, *shape[1:]), np.uint8)
            decoded = pool.map(lambda file: decode(file, side, colour, size, cure), files[start:stop])
            for row, face in zip(block, decoded, strict=True):
                row[...] = face
                progress.update()
            return block

        return torch.from_numpy(cached_blocks(key, shape, np.uint8, build, kind="faces"))
