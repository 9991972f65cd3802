"""The software bill of materials, from the locks: `make sbom` writes `sbom.json` (CycloneDX 1.6) and `licences.md`.

Licences are what packages say themselves, read from those installed here; of those for other systems or Pythons the
wheels are looked at, which needs a network. Hashes of files stand in the locks.
"""

import email
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from email.message import Message
from pathlib import Path

from locks import LOCKS, ROOT, lock, pinned, torch_release

from uncertain_affect import __version__

FOLDER = ROOT / "results" / "supply"
LICENCES = (
    "# Licences",
    "",
    "What the packages pinned by the locks say of themselves; written by `make sbom`. None of their code is in",
    "this repository, whose own licence is MIT.",
    "",
    "| licence | packages |",
    "|---|---|",
)


def metadata_of(name: str, version: str) -> Message:
    """What a release says of itself."""
    try:
        found = importlib.metadata.distribution(name)
        if found.version.partition("+")[0] == version:
            return found.metadata
    except importlib.metadata.PackageNotFoundError:
        pass
    # any wheel will do: a package has one licence; PyPy and Linux wheels lack for some, Windows ones for none
    with tempfile.TemporaryDirectory() as folder:
        where = ["--only-binary", ":all:", "--platform", "win_amd64", "--python-version", "3.12", "--dest", folder]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *where, f"{name}=={version}"]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            (inside,) = (file for file in files.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", file))
            return email.message_from_bytes(files.read(inside))


def licence_of(metadata: Message) -> str:
    """The SPDX expression, else the classifiers, else the first line of the free text."""
    if expression := metadata.get("License-Expression"):
        return expression
    lines = metadata.get_all("Classifier", [])
    names = [line.rpartition(" :: ")[2] for line in lines if line.startswith("License ::")]
    if names := [name for name in names if name != "OSI Approved"]:
        return ", ".join(names)
    return (metadata.get("License") or "").strip().partition("\n")[0] or "not said"


def bill(licences: dict[tuple[str, str], str]) -> dict:
    """The bill as CycloneDX has it, in the order of names."""
    where = {(pin.name, pin.version): pin.marker for file in LOCKS for pin in lock(file)}

    def component(type_: str, ref: str, name: str, version: str, licence: dict) -> dict:
        what = {"type": type_, "bom-ref": ref, "name": name, "version": version}
        return what | {"licenses": [{"license": licence}]}

    def library(name: str, version: str) -> dict:
        what = component("library", f"{name}@{version}", name, version, {"name": licences[name, version]})
        what["purl"] = f"pkg:pypi/{name}@{version}"
        marker = where.get((name, version))
        return what | ({"properties": [{"name": "marker", "value": marker}]} if marker else {})

    project = "uncertain-affect"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component("application", project, project, __version__, {"id": "MIT"})},
        "components": [library(*which) for which in sorted(licences)],
        "dependencies": [{"ref": ref, "dependsOn": sorted(on)} for ref, on in sorted(_brought_in().items())],
    }


def _brought_in() -> dict[str, set[str]]:
    """What each package brings in, by the notes in the locks; torch is in none, and is asked for."""
    refs = {}
    for name, version in pinned():
        refs.setdefault(name, []).append(f"{name}@{version}")
    brings = {ref: set() for versions in refs.values() for ref in versions}
    brings["uncertain-affect"] = {f"torch@{torch_release()}"}
    for pin in (pin for file in LOCKS for pin in lock(file)):
        for source in pin.via:
            for ref in ["uncertain-affect"] if source.startswith("uncertain-affect") else refs.get(source, []):
                brings[ref].add(f"{pin.name}@{pin.version}")
    return brings


def listed(licences: dict[tuple[str, str], str]) -> str:
    """The licences as a table, packages of one licence in one row."""
    by_licence = {}
    for (name, version), licence in sorted(licences.items()):
        by_licence.setdefault(licence.replace("|", "&#124;"), []).append(f"{name} {version}")
    rows = [f"| {licence} | {', '.join(names)} |" for licence, names in sorted(by_licence.items())]
    return "\n".join([*LICENCES, *rows]) + "\n"


def write(names: Iterable[tuple[str, str]], folder: Path) -> None:
    """Look up the licences and write both files."""
    licences = {(name, version): licence_of(metadata_of(name, version)) for name, version in names}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(bill(licences), indent=1, ensure_ascii=False)
    (folder / "sbom.json").write_text(text + "\n", encoding="utf-8")
    (folder / "licences.md").write_text(listed(licences), encoding="utf-8")


if __name__ == "__main__":
    write(pinned(), FOLDER)
