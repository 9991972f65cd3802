"""The corpora, simulated, open and licensed: `load` is the only door."""

import importlib
import os
from pathlib import Path
from types import ModuleType

import pandas as pd
import yaml

from uncertain_affect.compute.paths import data_root
from uncertain_affect.corpora.base import (
    About,
    ActionUnits,
    AffectTraces,
    AffectVideos,
    Corpus,
    CorpusError,
    Dialogues,
    Expressions,
)

__all__ = [
    "KNOWN", "About", "ActionUnits", "AffectTraces", "AffectVideos", "Corpus", "CorpusError", "Dialogues",
    "Expressions", "about", "check", "is_available", "load",
]  # fmt: skip

# One module per corpus, imported when it is needed. Each has load(root, **options), is_available(root) and check(root),
# where root is the data root; about.yaml says what it is for and how to get it.
KNOWN = (
    "simulated", "ferplus", "meld", "emobank", "ceap360vr", "bp4d", "disfa", "affwild2", "recola", "iemocap", "semaine",
)  # fmt: skip


def load(name: str, root: str | os.PathLike | None = None, **options) -> Corpus:
    """The corpus `name`, in one of the five shapes of `uncertain_affect.corpora.base`.

    Args:
        name: one of `KNOWN`.
        root: the data root, which holds one folder per corpus; default `$UNCERTAIN_AFFECT_DATA`, else `data`
            in the checkout.
        options: those of the corpus's own `load`.

    Raises:
        CorpusError: the name is unknown, or a file is missing, truncated or malformed.
    """
    return _module(name).load(data_root(root), **options)


def is_available(name: str, root: str | os.PathLike | None = None) -> bool:
    """Whether the files of corpus `name` are there. Looks, but does not read them: `load` can still fail.

    Raises:
        CorpusError: the name is unknown.
    """
    return _module(name).is_available(data_root(root))


def about(name: str) -> About:
    """What corpus `name` is for, its terms, how to get it, and where it is expected.

    Raises:
        CorpusError: the name is unknown.
    """
    _module(name)  # or the name is unknown
    texts = yaml.safe_load(Path(__file__).with_name("about.yaml").read_text(encoding="utf-8"))
    return About(**texts[name])


def check(name: str, root: str | os.PathLike | None = None) -> pd.DataFrame:
    """What was expected of the files of corpus `name`, what was found, and whether that is fine: a row for each.

    Raises:
        CorpusError: the name is unknown, or a file is missing or malformed.
    """
    rows = _module(name).check(data_root(root))
    return pd.DataFrame(rows, columns=["what", "expected", "found", "fine"]).set_index("what")


def _module(name: str) -> ModuleType:
    if name not in KNOWN:
        raise CorpusError(f"no corpus is called {name!r}", cure=f"Known: {', '.join(KNOWN)}")
    return importlib.import_module(f"{__name__}.{name}")
