"""The locks, read: what they pin, where, with which hashes, and what asks for it."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements/main.txt", "requirements/site.txt")
PIN = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>\d+(\.\d+)*)( ; (?P<marker>[^\\\n]+))? \\\n"
    r"(?P<hashes>(    --hash=sha256:[0-9a-f]{64} \\\n)*    --hash=sha256:[0-9a-f]{64})\n"
    r"    # via (?P<via>[^\n]+)\n"
)
TORCH = re.compile(r"^torch==(\d+(?:\.\d+)*)  # \S", re.MULTILINE)


class Pin(NamedTuple):
    name: str
    version: str
    marker: str | None
    hashes: list[str]
    via: list[str]

    def holds(self, place: dict) -> bool:
        """Whether it is meant for a system and Python, given as an environment of markers."""
        return self.marker is None or Marker(self.marker).evaluate(place)


@cache
def lock(file: str) -> list[Pin]:
    """The pins of one lock, in its order."""
    found = PIN.finditer((ROOT / file).read_text(encoding="utf-8"))
    return [
        Pin(m["name"], m["version"], m["marker"], re.findall(r"[0-9a-f]{64}", m["hashes"]), m["via"].split(", "))
        for m in found
    ]


def torch_release() -> str:
    """The release of torch, which is in no lock."""
    (release,) = TORCH.findall((ROOT / "requirements/torch.txt").read_text(encoding="utf-8"))
    return release


def pinned() -> list[tuple[str, str]]:
    """Names and versions of everything that any lock pins, and of torch, once each."""
    return sorted({("torch", torch_release())} | {(pin.name, pin.version) for file in LOCKS for pin in lock(file)})
