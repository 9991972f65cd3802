"""Frozen image features, cached: histograms of oriented gradients, or a face network at a tap point."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from skimage.feature import hog
from tqdm import tqdm

from uncertain_affect.compute.cache import cached_arrays, code_key, content_key, file_checksum
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.compute.paths import data_root
from uncertain_affect.corpora.simulated import identity
from uncertain_affect.models.backbones import (
    PUBLISHED_WEIGHTS,
    SMALL_TAPS,
    TAPS,
    WEIGHTS_URL,
    load_inception_resnet_v1,
)

# Kind of features -> identity corpus of the simulated world on which the small network is pre-trained.
SIMULATED = {f"simulated-{corpus}": corpus for corpus in identity.CORPORA}
KINDS = ("hog", *SIMULATED, *PUBLISHED_WEIGHTS)

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)


class WeightsMissing(FileNotFoundError):
    """The weight file of a face network is not there; the message says where it comes from and belongs."""


def hog_features(images) -> np.ndarray:
    """Histograms of oriented gradients, float32 (N, D), of grey images, uint8 (N, H, W).

    Dalal & Triggs (2005): cells of 8x8 pixels, 9 unsigned orientations, overlapping blocks of 2x2 cells each
    normalised by L2-Hys; a 48x48 face gives 5 x 5 blocks x 4 cells x 9 = 900 numbers.

    Raises ValueError for anything but uint8 images of at least 16x16 pixels.
    """
    images = _grey_images(images)
    return np.stack(
        [
            hog(image, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), block_norm="L2-Hys").astype(
                np.float32
            )
            for image in tqdm(images, desc="HOG", disable=None, leave=False)
        ]
    )


def taps_of(kind: str) -> tuple[str, ...]:
    """The six tap points of the network behind a kind of features, from shallow to deep.

    Raises ValueError for a kind that is unknown or not that of a network.
    """
    if kind in SIMULATED:
        return tuple(SMALL_TAPS)
    if kind in PUBLISHED_WEIGHTS:
        return tuple(TAPS)
    raise ValueError(f"no network gives {kind!r} features: choose among {', '.join((*SIMULATED, *PUBLISHED_WEIGHTS))}")


def frozen_features(images, kind: str = "hog", tap: str | None = None, **options) -> np.ndarray:
    """Frozen features, float32 (N, D), of grey images, uint8 (N, H, W), computed once and then cached.

    The cache is addressed by content: images, kind, tap, preparation of the input, checksum of the weights.

    Args:
        kind: "hog" (`hog_features`, which needs no weights), or the corpus of faces on which a network was trained
            to tell people apart: "casia-webface" (UncNet's choice) or "vggface2" for Inception-ResNet-v1,
            "simulated-skewed" or "simulated-balanced" for the small network of the simulated world.
        tap: where the network is tapped (`taps_of`); by default the fourth depth of six, of which UncNet's
            "mixed_7a" is the published networks'. No effect on HOG.
        options: of `tapped_features`, for the networks.

    Raises:
        ValueError: an unknown kind or tap, images that are not uint8 (N, H, W), weights of another network.
        WeightsMissing: the network's weight file is absent.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of features {kind!r}: choose among {', '.join(KINDS)}")
    if kind != "hog":
        tap = tap or taps_of(kind)[3]
        return tapped_features(images, kind, [tap], **options)[tap]
    images = _grey_images(images)
    key = content_key(RECIPE, kind, images)
    return cached_arrays(key, lambda: {"hog": hog_features(images)}, kind="features")["hog"]


@one_thread()
def tapped_features(
    images,
    kind: str,
    taps: Iterable[str] | None = None,
    *,
    weights: str | os.PathLike | None = None,
    root: str | os.PathLike | None = None,
    size: str = "quick",
    seed: int = 0,
    device: str | torch.device = "cpu",
    scaling: str = "raw",
    resize: str = "nearest",
    batch_size: int = 32,
) -> dict[str, np.ndarray]:
    """Features of a face network at several taps in one pass, cached: {tap: float32 (N, channels)}.

    The backbones and layers of UncNet's Table 1: Inception-ResNet-v1 takes about 17 ms an image on one CPU core up to
    "mixed_7a"; the small network of the simulated world takes under 1 ms, and is pre-trained when it is first asked
    for (`corpora.simulated.identity`).

    Args:
        images: grey, uint8 (N, H, W); for the small network, (N, 48, 48).
        kind: any of `KINDS` but "hog".
        taps: of `taps_of(kind)`; default all.
        weights: of a published network: its file; by default the published one in `<data root>/weights/`.
        root: the data root, as for a corpus, where published weights are.
        size, seed: of the pre-training of the small network.
        device: where to compute, and to pre-train. A published network's features agree between devices up to
            rounding, and share the cache.
        scaling, resize: of a published network: preparation of the input, see `models.backbones.prepare_faces`.
        batch_size: images at a time; features do not depend on it. 32 is fastest on a CPU.

    Raises:
        ValueError, WeightsMissing: as `frozen_features`.
    """
    known = taps_of(kind)
    taps, images = list(known if taps is None else taps), _grey_images(images)
    if kind in SIMULATED:
        return identity.tapped_features(
            images, SIMULATED[kind], taps, size=size, seed=seed, device=device, batch_size=batch_size
        )
    name, num_classes = PUBLISHED_WEIGHTS[kind]
    path = Path(weights or _weights_dir(root) / name)
    if not path.is_file():
        raise WeightsMissing(
            f"no weights for {kind!r} features: {path} does not exist. Download {name} from {WEIGHTS_URL}"
            f" into {_weights_dir(root)}, or use kind='hog', which needs none."
        )
    checksum = file_checksum(path)

    def build() -> dict[str, np.ndarray]:
        network = load_inception_resnet_v1(path, num_classes).to(device)
        batches = []
        for start in tqdm(range(0, len(images), batch_size), desc=kind, disable=None, leave=False):
            batch = torch.tensor(images[start : start + batch_size])
            tapped = network.tapped_features(batch, taps, scaling=scaling, resize=resize)
            batches.append({tap: features.cpu().numpy() for tap, features in tapped.items()})
        return {tap: np.concatenate([batch[tap] for batch in batches]) for tap in taps}

    key = content_key(RECIPE, kind, taps, scaling, resize, checksum, images)
    return cached_arrays(key, build, kind="features")


def find_weights(root: str | os.PathLike | None = None) -> dict[str, Path]:
    """The published weight files present in `<data root>/weights/`: {kind: path}."""
    paths = {kind: _weights_dir(root) / name for kind, (name, _) in PUBLISHED_WEIGHTS.items()}
    return {kind: path for kind, path in paths.items() if path.is_file()}


def _weights_dir(root: str | os.PathLike | None) -> Path:
    return data_root(root) / "weights"


def _grey_images(images) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 3 or not len(images):
        raise ValueError(
            f"images are {images.dtype} of shape {images.shape}: features take at least one grey image, uint8 (N, H, W)"
        )
    return images
