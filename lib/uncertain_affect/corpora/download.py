"""Fetch what may be fetched of the open corpora, and say how to get the rest."""

import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from uncertain_affect.corpora import CorpusError, ferplus, is_available
from uncertain_affect.paths import data_root


@dataclass(frozen=True)
class Source:
    """One public file: where it is, where it goes below the data root, and its SHA-256."""

    url: str
    path: str
    sha256: str


SOURCES = {
    "ferplus": (
        Source(
            "https://raw.githubusercontent.com/microsoft/FERPlus/ae2128abf776409c93e50cf7c9d87180673314e6/"
            "fer2013new.csv",
            f"ferplus/{ferplus.LABELS}",
            "9206e20d62f56475939f516847d61753e4860caeac9718b560129541b776fc2c",
        ),
    ),
}
BY_HAND = {"ferplus": ferplus.GET_IMAGES}


def get(name: str, root: str | os.PathLike | None = None) -> list[Path]:
    """Fetch the public files of corpus `name` below the data root, and print how to get the rest.

    A file that is there already is kept if it is the published one.

    Returns:
        The files, fetched or already there.

    Raises:
        CorpusError: nothing of this corpus can be fetched, or a file cannot be reached or is not the
            published one. What lay in its place is left as it was.
    """
    if name not in SOURCES:
        raise CorpusError(f"nothing can be fetched for {name!r}", cure=f"Known: {', '.join(SOURCES)}")
    files = [_fetch(source, data_root(root) / source.path) for source in SOURCES[name]]
    for file in files:
        print(f"{file} is the published file.")
    if name in BY_HAND and not is_available(name, root):
        print(f"Still missing: {BY_HAND[name]}.")
    return files


def _fetch(source: Source, file: Path) -> Path:
    other = "not the published file: its SHA-256 is another"
    if file.exists():
        if pooch.file_hash(str(file)) != source.sha256:
            raise CorpusError(other, path=file, cure="Move it away, then fetch again")
        return file
    try:
        pooch.retrieve(source.url, f"sha256:{source.sha256}", file.name, file.parent)
    except OSError as error:  # of the network, and of the disk
        cure = f"Try again, or fetch it by hand to {file}"
        raise CorpusError(f"cannot be fetched ({error})", path=source.url, cure=cure) from error
    except ValueError as error:  # a wrong checksum; nothing was kept
        cure = "Try again: it may have been altered on its way"
        raise CorpusError(other, path=source.url, cure=cure) from error
    return file
