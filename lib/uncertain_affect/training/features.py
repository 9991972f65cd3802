"""Frozen image features, cached: histograms of oriented gradients, or a face network at a tap point."""

import functools
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from skimage.feature import hog
from tqdm import tqdm

from uncertain_affect.compute.cache import cached_arrays, cached_blocks, code_key, content_key, file_checksum
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.compute.paths import data_root
from uncertain_affect.corpora.simulated import identity
from uncertain_affect.models import backbones
from uncertain_affect.models.backbones import PUBLISHED_WEIGHTS

# Kind of features -> identity corpus of the simulated world on which the small network is pre-trained.
SIMULATED = {f"simulated-{corpus}": corpus for corpus in identity.CORPORA}
NETWORKS = (*SIMULATED, *PUBLISHED_WEIGHTS)
BATCH_SIZE = 32  # images at a time, fastest on a CPU

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)
# Of a published network's features, which take half an hour, nothing counts that cannot change them.
NETWORK_RECIPE = code_key(backbones.__name__)


def hog_features(images) -> np.ndarray:
    """Histograms of oriented gradients, float32 (N, D), of grey images, uint8 (N, H, W).

    Dalal & Triggs (2005): cells of 8x8 pixels, 9 unsigned orientations, overlapping blocks of 2x2 cells each
    normalised by L2-Hys; a 48x48 face gives 5 x 5 blocks x 4 cells x 9 = 900 numbers.

    Raises ValueError for anything but uint8 images of at least 16x16 pixels.

    >>> hog_features(np.zeros((2, 48, 48), np.uint8)).shape
    (2, 900)
    """
    options = {"orientations": 9, "pixels_per_cell": (8, 8), "cells_per_block": (2, 2), "block_norm": "L2-Hys"}
    images = tqdm(_grey_images(images), desc="HOG", disable=None, leave=False)
    return np.stack([hog(image, **options).astype(np.float32) for image in images])


def taps_of(kind: str) -> tuple[str, ...]:
    """The six tap points of the network behind a kind of features, from shallow to deep.

    Raises ValueError for a kind that is unknown or not that of a network.
    """
    if kind not in NETWORKS:
        raise ValueError(f"no network gives {kind!r} features: choose among {', '.join(NETWORKS)}; hog needs none")
    return tuple(backbones.SMALL_TAPS if kind in SIMULATED else backbones.TAPS)


def frozen_features(
    images, kind: str = "hog", tap: str | None = None, root: str | Path | None = None, device: str = "cpu"
) -> np.ndarray:
    """Frozen features, float32 (N, D), of grey images, uint8 (N, H, W), computed once and then cached.

    The cache is addressed by content: images, kind, tap, checksum of the weights.

    Args:
        kind: "hog" (`hog_features`, which needs no weights), or the corpus of faces on which a network was trained
            to tell people apart: "casia-webface" (UncNet's choice) or "vggface2" for Inception-ResNet-v1,
            "simulated-skewed" or "simulated-balanced" for the small network of the simulated world.
        tap: where the network is tapped (`taps_of`); by default the fourth depth of six, of which UncNet's
            "mixed_7a" is the published networks'. No effect on HOG.
        root, device: as of `tapped_features`.

    Raises:
        ValueError: an unknown kind or tap, images that are not uint8 (N, H, W), weights of another network.
        FileNotFoundError: the network's weight file is absent.
    """
    if kind == "hog":
        images = _grey_images(images)
        key = content_key(RECIPE, kind, images)
        return cached_arrays(key, lambda: {"hog": hog_features(images)}, kind="features")["hog"]
    tap = tap or taps_of(kind)[3]
    return tapped_features(images, kind, [tap], root, device)[tap]


@one_thread()
def tapped_features(
    images,
    kind: str,
    taps: Iterable[str] | None = None,
    root: str | Path | None = None,
    device: str = "cpu",
    reading: str = backbones.READINGS[0],
) -> dict[str, np.ndarray]:
    """Features of a face network at several taps in one pass, cached: {tap: float32 (N, channels)}.

    The backbones and layers of UncNet's Table 1. Inception-ResNet-v1 takes 20 to 40 ms an image on one CPU core, and
    all its taps are computed and cached at once, block after block: what was interrupted goes on where it stopped, and
    each block gets a line on stderr. The small network of the simulated world takes under 1 ms, and is pre-trained when
    it is first needed (`corpora.simulated.identity`).

    Args:
        images: grey, uint8 (N, H, W); for the small network, (N, 48, 48).
        kind: of `NETWORKS`.
        taps: of `taps_of(kind)`; default all.
        root: the data root, as for a corpus; the published weights are in its folder `weights`.
        device: where to compute, and to pre-train. A published network's features agree between devices up to
            rounding, and share the cache.
        reading: how a published network is fed, of `backbones.READINGS`.

    Raises:
        ValueError, FileNotFoundError: as `frozen_features`; an unknown reading.
    """
    known = taps_of(kind)
    taps, images = list(known if taps is None else taps), _grey_images(images)
    backbones.check_taps(taps, known)
    if kind in SIMULATED:
        options = {"size": "quick", "seed": 0, "device": device, "batch_size": BATCH_SIZE}
        return identity.tapped_features(images, SIMULATED[kind], taps, **options)
    name, num_classes = PUBLISHED_WEIGHTS[kind]
    path = data_root(root) / "weights" / name
    if not path.is_file():
        fetched = ", or let `uncertain-affect data get facenet-casia` do it" if kind == "casia-webface" else ""
        raise FileNotFoundError(
            f"no weights for {kind!r} features: {path} does not exist. Download {name} from {backbones.WEIGHTS_URL}"
            f" into {path.parent}{fetched}, or use kind='hog', which needs none."
        )

    channels, n = [width for _, width in backbones.TAPS.values()], len(images)
    network = functools.cache(lambda: backbones.load_inception_resnet_v1(path, num_classes).to(device))

    def build(start: int, stop: int) -> np.ndarray:
        begun, batches = time.perf_counter(), torch.tensor(images[start:stop]).split(BATCH_SIZE)
        tapped = [torch.cat(list(network().tapped_features(x, known, reading).values()), 1).cpu() for x in batches]
        rate = (stop - start) / (time.perf_counter() - begun)
        done, left = f"{stop:,} of {n:,} images", f"{(n - stop) / rate / 60:.0f} min left"
        print(f"{kind} features ({reading}): {done}, {rate:.1f} a second, {left}", file=sys.stderr, flush=True)
        return torch.cat(tapped).numpy()

    key = content_key(NETWORK_RECIPE, kind, reading, file_checksum(path), images)
    columns = cached_blocks(key, (n, sum(channels)), np.float32, build, kind="features")
    ends = np.cumsum(channels)
    of_tap = {tap: columns[:, end - width : end] for tap, width, end in zip(known, channels, ends, strict=True)}
    return {tap: of_tap[tap] for tap in taps}


def find_weights(root: str | Path | None = None) -> dict[str, Path]:
    """The published weight files present in `<data root>/weights/`: {kind: path}."""
    paths = {kind: data_root(root) / "weights" / name for kind, (name, _) in PUBLISHED_WEIGHTS.items()}
    return {kind: path for kind, path in paths.items() if path.is_file()}


def _grey_images(images) -> np.ndarray:
    images = np.asarray(images)
    fit = images.dtype == np.uint8 and images.ndim == 3 and len(images) > 0
    backbones.check_images(images, fit, "features take at least one grey image, uint8 (N, H, W)")
    return images
