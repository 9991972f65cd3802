"""Crops and mirror images for training and test; images stay 8-bit, as every network here takes them."""

import torch
from torch import Tensor

from uncertain_affect.models.backbones import check_images


def random_crop_flip(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crop every image at a place of its own, and mirror it left to right with chance one half.

    UGN, "Training Details": faces of 256x256 pixels are cropped to 224x224 and flipped.

    Args:
        images: uint8 (N, H, W) or (N, C, H, W).
        size: of the crops, in pixels.
        generator: draws the places, uniform over all that fit, and the mirroring.

    Returns:
        uint8 (N, size, size) or (N, C, size, size).

    Raises:
        ValueError: images of another type or shape, or a size that does not fit into them.
    """
    down, right = _room(images, size)
    n = len(images)
    top, left = (torch.randint(room + 1, (n,), generator=generator).to(images.device) for room in (down, right))
    mirrored = (torch.rand(n, *[1] * (images.ndim - 1), generator=generator) < 0.5).to(images.device)
    # All crops as a view (N, [C,] down + 1, right + 1, size, size), of which one per image is copied.
    windows = images.unfold(-2, size, 1).unfold(-2, size, 1)
    crops = windows.movedim((-4, -3), (1, 2))[torch.arange(n, device=images.device), top, left]
    return torch.where(mirrored, crops.flip(-1), crops)


def center_crop(images: Tensor, size: int) -> Tensor:
    """The middle of every image, as networks trained on `random_crop_flip` are tested; a view.

    Where the margin is odd, the larger part of it is cut off at the bottom and on the right.

    Args:
        images: uint8 (N, H, W) or (N, C, H, W).
        size: of the crops, in pixels.

    Returns:
        uint8 (N, size, size) or (N, C, size, size).

    Raises:
        ValueError: as `random_crop_flip`.
    """
    down, right = _room(images, size)
    return images[..., down // 2 : down // 2 + size, right // 2 : right // 2 + size]


def _room(images: Tensor, size: int) -> tuple[int, int]:
    """By how many pixels a crop can be moved, down and to the right."""
    fit = images.dtype == torch.uint8 and images.ndim in (3, 4)
    check_images(images, fit, "crops are taken of uint8 (N, H, W) or (N, C, H, W)")
    height, width = images.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"no crop of {size}x{size} pixels fits into images of {height}x{width}")
    return height - size, width - size
