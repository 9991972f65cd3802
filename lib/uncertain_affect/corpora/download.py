"""Fetch what may be fetched of the open corpora, and say how to get the rest."""

import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from uncertain_affect.compute.paths import data_root
from uncertain_affect.corpora import KNOWN, CorpusError, about, ceap360vr, emobank, facenet, ferplus, is_available, meld


@dataclass(frozen=True)
class Source:
    """One public file: where it is, where it goes below the data root, and its SHA-256."""

    url: str
    path: str
    sha256: str


GITHUB = "https://raw.githubusercontent.com"
# Where the files of a corpus lie, at one revision; their checksums are in published.sha256, by place in the data root.
PUBLISHED_AT = {
    "ferplus": f"{GITHUB}/microsoft/FERPlus/ae2128abf776409c93e50cf7c9d87180673314e6",
    "meld": f"{GITHUB}/declare-lab/MELD/2d2011b409d3ca2d7e94460cd007d434b1d0a102/data/MELD",
    "emobank": f"{GITHUB}/JULIELab/EmoBank/248ce2a43e165a66d31aeaed83cff9641d6654e0/corpus",
    "ceap360vr": f"{GITHUB}/cwi-dis/CEAP-360VR-Dataset/d41a82128542f404d5022ca336bc4efd2910d165/CEAP-360VR",
}


SOURCES: dict[str, tuple[Source, ...]] = dict.fromkeys(PUBLISHED_AT, ())
for sha256, path in map(str.split, Path(__file__).with_name("published.sha256").read_text().splitlines()):
    name, _, place = path.partition("/")
    SOURCES[name] += (Source(f"{PUBLISHED_AT[name]}/{place}", path, sha256),)
BY_HAND = {"ferplus": ferplus.GET_IMAGES}
ALSO_CALLED = {"ferplus-votes": "ferplus"}
RETRIES = 3  # after the first try, waiting one second longer each time
TERMS = {"meld": meld.TERMS, "emobank": emobank.TERMS, "ceap360vr": ceap360vr.TERMS}


def get(name: str, root: str | os.PathLike | None = None) -> list[Path]:
    """Fetch the public files of corpus `name` below the data root, and print how to get the rest.

    "facenet-casia" is no corpus but UncNet's face network: see `facenet.get`.

    A file that is there already is kept if it is the published one. Another one is fetched through the proxy that the
    environment names, under a temporary name, up to four times, and moved into place when its checksum is right.
    Nothing is unpacked.

    Returns:
        The files, fetched or already there.

    Raises:
        CorpusError: nothing of this corpus can be fetched, or a file cannot be reached or is not the
            published one. What lay in its place is left as it was.
    """
    name = ALSO_CALLED.get(name, name)
    if name == "facenet-casia":
        file = facenet.get(data_root(root))
        print(f"{file} is the network whose features UncNet reads.")
        return [file]
    if name in KNOWN and name not in SOURCES:
        title, how = about(name).title, about(name).how_to_get
        raise CorpusError(f"{title} cannot be fetched from here", cure=f"How to get it: {how}")
    if name not in SOURCES:
        raise CorpusError(f"nothing can be fetched for {name!r}", cure=f"Known: {', '.join(SOURCES)}, facenet-casia")
    files = [_fetch(source, data_root(root) / source.path) for source in SOURCES[name]]
    if len(files) <= 10:
        for file in files:
            print(f"{file} is the published file.")
    else:
        print(f"All {len(files)} files in {os.path.commonpath(files)} are the published ones.")
    if name in TERMS:
        print(f"{TERMS[name]}.")
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
        place = pooch.create(
            file.parent, source.url, registry={file.name: f"sha256:{source.sha256}"}, urls={file.name: source.url},
            retry_if_failed=RETRIES,
        )  # fmt: skip
        place.fetch(file.name)
    except OSError as error:  # of the network, and of the disk
        cure = f"Try again, or fetch it by hand to {file}"
        raise CorpusError(f"cannot be fetched ({error})", path=source.url, cure=cure) from error
    except ValueError as error:  # a wrong checksum; nothing was kept
        cure = "Try again: it may have been altered on its way"
        raise CorpusError(other, path=source.url, cure=cure) from error
    return file
