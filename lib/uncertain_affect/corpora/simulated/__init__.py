"""A simulated world whose true uncertainty is known: the embedded default, which needs no download.

One generative model (people, feelings, faces, raters, voices, conversations) is seen through six views, each shaped
and split like the corpus it stands for. Every constant of the world is in `constants`, with its source.
"""

import inspect
import os

from uncertain_affect.corpora.base import Corpus, CorpusError
from uncertain_affect.corpora.simulated.constants import EMOTIONS
from uncertain_affect.corpora.simulated.conversation import FORMS
from uncertain_affect.corpora.simulated.views import VIEWS

CHOICES = {
    "view": tuple(VIEWS),
    "size": ("quick", "full"),
    "thin": (None, "skin_tone"),
    "noisy_class": (None, *EMOTIONS),
    "form": FORMS,
}


def load(
    root: str | os.PathLike | None = None, view: str = "ferplus", size: str = "quick", seed: int = 0, **options
) -> Corpus:
    """One view of the world: "ferplus", "bp4d", "disfa", "recola", "affwild2" or "dialogues".

    The first call draws it, which takes seconds (quick) or minutes (full); later ones read it from the cache.

    Args:
        root: not used: the world needs no files.
        view: which corpus it is shaped like.
        size: "quick", or "full" for about as many examples as that corpus has.
        seed: redraws people, frames and raters. The same seed gives the same bits on one machine.
        options: of the view, see `views`: thin, thin_share, noisy_class (ferplus), form (dialogues).

    Raises:
        CorpusError: an option is unknown or impossible; the message names it and its range.
    """
    for name, value in {"view": view, "size": size, **options}.items():
        if value not in CHOICES.get(name, (value,)):
            raise CorpusError(f"{name} must be one of {', '.join(map(str, CHOICES[name]))}, not {value!r}")
    known = inspect.signature(VIEWS[view]).parameters
    if unknown := [name for name in options if name not in known]:
        cure = f"Its options: {', '.join(known)}"
        raise CorpusError(f"the simulated view {view!r} has no option {unknown[0]!r}", cure=cure)
    if not 0 <= (share := options.get("thin_share", 0)) <= 1:
        raise CorpusError(f"thin_share must lie in [0, 1], not {share}")
    return VIEWS[view](size, seed, **options)


def is_available(root: str | os.PathLike | None = None) -> bool:
    """Always: the world is part of the package."""
    return True


def check(root: str | os.PathLike | None = None) -> list[tuple[str, str, str, bool]]:
    """Rows (what, expected, found, fine): there are no files to check, only the views."""
    return [("views", f"{len(VIEWS)}", ", ".join(VIEWS), True)]
