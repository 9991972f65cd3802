"""Crops and mirror images: every crop is a window of its image, every window and orientation is as likely."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from uncertain_affect.training.augment import center_crop, random_crop_flip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(*shape: int) -> torch.Tensor:
    """Images whose pixels tell their place: all of one image and channel differ, for up to 256 pixels."""
    return torch.arange(torch.Size(shape).numel()).remainder(256).to(torch.uint8).view(shape)


SIDES = st.integers(1, 16)


@st.composite
def images_and_size(draw) -> tuple[torch.Tensor, int]:
    channels = draw(st.sampled_from([(), (1,), (3,)]))
    height, width = draw(SIDES), draw(SIDES)
    images = numbered(draw(st.integers(1, 5)), *channels, height, width)
    return images, draw(st.integers(1, min(height, width)))


@given(images_and_size(), st.integers(0, 2**31))
def test_every_crop_is_a_window_of_its_image_or_its_mirror(given, seed):
    images, size = given
    crops = random_crop_flip(images, size, seeded(seed))
    assert crops.dtype == torch.uint8 and crops.shape == (*images.shape[:-2], size, size)
    for image, crop in zip(images, crops, strict=True):
        windows = [
            image[..., top : top + size, left : left + size]
            for top in range(image.shape[-2] - size + 1)
            for left in range(image.shape[-1] - size + 1)
        ]
        assert any(torch.equal(crop, w) or torch.equal(crop, w.flip(-1)) for w in windows)


def test_every_place_and_orientation_is_as_likely():
    # 3 places down x 2 to the right x 2 orientations; the two left columns tell which.
    n = 6000
    crops = random_crop_flip(numbered(1, 6, 5).expand(n, -1, -1), 4, seeded())
    _, counts = torch.unique(crops[:, 0, :2].long() @ torch.tensor([256, 1]), return_counts=True)
    assert len(counts) == 12
    assert chisquare(counts).pvalue > 0.001


def test_images_move_apart():
    """Place down, place to the right and mirroring are independent, and of one image from the next."""
    crops = random_crop_flip(numbered(1, 16, 16).expand(2000, -1, -1), 8, seeded())
    mirrored = crops[:, 0, 0] > crops[:, 0, 1]
    corner = torch.where(mirrored, crops[:, 0, -1], crops[:, 0, 0]).long()
    moves = torch.stack([corner // 16, corner % 16, mirrored.long()]).double()
    moves = torch.cat([moves[:, 1:], moves[:, :-1]])
    assert (torch.corrcoef(moves) - torch.eye(6)).abs().max() < 5 / 2000**0.5


def test_a_generator_decides_all():
    images, before = numbered(50, 9, 9), torch.get_rng_state()
    first, again, other = (random_crop_flip(images, 6, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_whole_images_are_mirrored_only():
    images = numbered(40, 3, 5, 5)
    crops, before = random_crop_flip(images, 5, seeded()), images.clone()
    mirrored = (crops != images).flatten(1).any(1)
    assert torch.equal(crops[mirrored], images[mirrored].flip(-1))
    assert 8 < mirrored.sum() < 32
    crops.zero_()
    assert torch.equal(images, before), "crops are copies"


def test_the_middle_by_hand():
    image, several = numbered(1, 4, 5), numbered(2, 3, 9, 11)
    # One row above and one below; of three columns too many, one on the left and two on the right.
    assert center_crop(image, 2).tolist() == [[[6, 7], [11, 12]]]
    assert center_crop(image, 3).tolist() == [[[1, 2, 3], [6, 7, 8], [11, 12, 13]]]
    assert torch.equal(center_crop(several, 5), several[:, :, 2:7, 3:8])


@pytest.mark.parametrize(
    ("images", "size", "message"),
    [
        (torch.zeros(2, 8, 8), 4, r"images are torch.float32 of shape \(2, 8, 8\): crops are taken of uint8"),
        (numbered(8, 8), 4, r"shape \(8, 8\): crops are taken of uint8 \(N, H, W\) or \(N, C, H, W\)"),
        (numbered(2, 8, 6), 7, "no crop of 7x7 pixels fits into images of 8x6"),
        (numbered(2, 3, 6, 8), 0, "no crop of 0x0 pixels fits"),
    ],
)
def test_bad_input(images, size, message):
    with pytest.raises(ValueError, match=message):
        random_crop_flip(images, size, seeded())
    with pytest.raises(ValueError, match=message):
        center_crop(images, size)
