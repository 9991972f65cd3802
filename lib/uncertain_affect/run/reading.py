"""The profile ``recorded``: which evidence a notebook shows, and what it refuses because that cannot be shown."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uncertain_affect.compute import paths
from uncertain_affect.compute.cache import file_checksum
from uncertain_affect.evidence import printed, store
from uncertain_affect.evidence.store import EvidenceError
from uncertain_affect.run import layout
from uncertain_affect.training.features import find_weights

# names the folder of the one run to show, in place of the committed ones
EVIDENCE_VARIABLE = "UNCERTAIN_AFFECT_EVIDENCE"
# compared with what the notebook says itself; all others with what the evidence was made with
OWN_PARAMETERS = ("SEED", "DEVICE", "DATA_ROOT")


@dataclass(frozen=True)
class Shown:
    """A run whose evidence is shown: its folder, its run.json, and what its evidence says and holds."""

    folder: Path
    run: dict
    about: dict
    tree: dict


def default_corpus(notebook: str) -> str:
    """What is trained on where no corpus is named: the simulated world, where the notebook knows it."""
    own = layout.about(notebook).get("corpora", ["simulated"])
    return "simulated" if "simulated" in own else own[0] if own else layout.NO_CORPUS


def own_features(notebook: str, corpus: str, parameters: Mapping, root: str | Path | None = None) -> dict:
    """``FEATURES`` where that parameter is ``""``: those of a published network by which the paper's claims are decided
    on the corpus, where the data root has its weights, else ``""``.
    """
    key = layout.about(notebook).get("paper")
    if parameters.get("FEATURES") != "" or not key:
        return {}
    kinds = [entry.removeprefix(f"{corpus}/") for claim in printed.load(key).claims.values() for entry in claim.decides]
    return {"FEATURES": next((kind for kind in kinds if kind in find_weights(root)), "")}


def choose(notebook: str, corpus: str = "", features: str = "") -> Path:
    """The folder of the run that a notebook shows, on a corpus and with features, or (``""``) the best there are.

    Full before quick; then the paper's own corpora as its yaml lists them, other recordings, the simulated world; then
    the features by which its claims are decided first.

    Raises:
        ValueError: there is none; the message has the command that trains.
    """
    if named := os.environ.get(EVIDENCE_VARIABLE):
        found = [paths.project_root() / Path(named).expanduser()]
    else:
        runs = layout.runs(paths.project_root() / "results", notebook)
        found = [folder for folder in runs if (folder / store.NAME).is_file()]
    asked = corpus, features
    fitting = [f for f in found if all(a in ("", b) for a, b in zip(asked, layout.measured_in(f), strict=True))]
    if fitting:
        return min(fitting, key=lambda folder: _rank(notebook, folder))
    on = f"on {layout.place('', corpus or 'any corpus', features)} " if corpus or features else ""
    there = ", ".join(f"{folder.parts[-3]} on {folder.parts[-2]}" for folder in found)
    how = command(notebook, corpus, {"FEATURES": features} if features else {})
    raise ValueError(f"no evidence of {notebook} {on}is recorded (there is: {there or 'none'}): `{how}` trains")


def _rank(notebook: str, folder: Path) -> tuple:
    key, (corpus, features) = layout.about(notebook).get("paper"), layout.measured_in(folder)
    paper = printed.load(key) if key else None
    own = paper.info.get("corpora", []) if paper else []
    place = own.index(corpus) if corpus in own else len(own) + (corpus == "simulated")
    decides = list(dict.fromkeys(e for c in paper.claims.values() for e in c.decides)) if paper else []
    entry = f"{corpus}/{features}"
    return folder.parts[-3] != "full", place, decides.index(entry) if entry in decides else len(decides), folder


def read(notebook: str, corpus: str = "", features: str = "") -> Shown:
    """The run to show, see :func:`choose`, with its evidence.

    Raises:
        ValueError: there is none, or it is not what its run.json says.
    """
    folder = choose(notebook, corpus, features)
    run, path = layout.check_complete(folder), folder / store.NAME
    about, tree = store.read(path)
    cure = f"restore it, or {store.AGAIN}"
    if about["notebook"] != notebook:
        raise EvidenceError(f"is of {about['notebook']}, not of {notebook}", path=path, field="notebook")
    for name in ("notebook", "profile", "corpus", "corpus_checksum", "seeds"):
        if about[name] != run.get(name):
            reason = f"is {about[name]!r:.60} and in run.json {run.get(name)!r:.60}"
            raise EvidenceError(reason, path=path, field=name, cure=cure)
    if run.get("files", {}).get(store.NAME) != file_checksum(path):
        raise EvidenceError("has changed since it was recorded", path=path, cure=cure)
    return Shown(folder, run, about, tree)


def check_unchanged(notebook: str, parameters: Mapping, about: Mapping) -> None:
    """Let pass parameters that the evidence was made with: nothing else can be shown without training.

    A parameter that is ``""`` takes whatever the evidence has.

    Raises:
        ValueError: some are others; the message has the command that trains with them.
    """
    known = layout.notebooks()
    own = layout.default_parameters(known[notebook]) if notebook in known else {}
    changed = {}
    for name, value in parameters.items():
        expected = own.get(name, value) if name in OWN_PARAMETERS else about["parameters"].get(name)
        free = name in ("PROFILE", "CORPUS") or (value == "" and name not in OWN_PARAMETERS)
        if not free and layout.plain(value) != layout.plain(expected):
            changed[name] = expected
    if changed:
        asked = {name: parameters[name] for name in changed}
        raise ValueError(
            f"PROFILE is 'recorded', and the evidence has {', '.join(f'{n} = {v!r}' for n, v in changed.items())}: "
            f"`{command(notebook, parameters.get('CORPUS', ''), asked)}` trains what you ask for"
        )


def command(notebook: str, corpus: str = "", parameters: Mapping = {}, profile: str = "quick") -> str:
    """What trains a notebook on a corpus with these parameters."""
    number = notebook[:2] if notebook[:2].isdigit() else notebook
    words = ["uncertain-affect", "reproduce", number, "--profile", profile]
    corpus = corpus or default_corpus(notebook)
    words += ["--corpus", corpus] if corpus != layout.NO_CORPUS else []
    for name, value in parameters.items():
        words += ["--data-root", str(value)] if name == "DATA_ROOT" else ["-p", name, str(value)]
    return shlex.join(words)


def banner(shown: Shown) -> str:
    """What a reader must know of what is shown, in a line or two."""
    about, features = shown.about, shown.about["parameters"].get("FEATURES")
    place = f"{about['corpus']} with {features}" if features else about["corpus"]
    made = f"{about['profile']} on {place}, {len(about['seeds'])} seeds, {shown.run['started'][:10]}"
    demonstration = "" if about["profile"] == "full" else " A demonstration, no answer."
    return f"Recorded evidence of {made}: nothing but the visible loop is trained here.{demonstration}"
