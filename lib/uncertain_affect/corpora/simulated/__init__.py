"""A simulated world whose true uncertainty is known: the embedded default, which needs no download.

One generative model (people, feelings, faces, raters, voices, conversations) is seen through six views, each shaped
and split like the corpus it stands for. Every constant of the world is in `constants`, with its source.
"""

import os

from uncertain_affect.corpora.base import Corpus
from uncertain_affect.corpora.simulated import views


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
        options: of the view, see `views`: thin, thin_share, noisy_class, noise_share (ferplus), form (dialogues).

    Raises:
        CorpusError: an option is unknown or impossible; the message names it and its range.
    """
    return views.load(view, size, seed, **options)


def is_available(root: str | os.PathLike | None = None) -> bool:
    """Always: the world is part of the package."""
    return True


def check(root: str | os.PathLike | None = None) -> list[tuple[str, str, str, bool]]:
    """Rows (what, expected, found, fine): there are no files to check, only the views."""
    return [("views", f"{len(views.VIEWS)}", ", ".join(views.VIEWS), True)]
