"""The talkturns of a recording, and what is observed of them: words, their rate, tones of voice, actions of the face.

The rules are those of MONAH (see `papers.rock.monah`, which puts it into words).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from uncertain_affect.corpora.base import Dialogues

Floats = NDArray[np.float64]

TONES = ("happy", "sad", "angry", "fear")
ACTION_UNITS = ("AU5", "AU6", "AU12", "AU17", "AU20", "AU25")
ACTIONS = (
    "smiled", "displayed a positive expression", "raised upper lid", "raised chin", "stretched lip", "dropped jaw",
)  # fmt: skip

SMILE_S = 0.5
_PUNCTUATION = re.compile(r"[^\w\s]+")


@dataclass(frozen=True, eq=False)
class Talkturns:
    """The N talkturns of one recording, in the order in which they were taken.

    Attributes:
        speaker: (N,), who speaks; any labels.
        start, end: float (N,), seconds; NaN where unknown. They may overlap, have no length or be reversed.
        text: N strings, the words as transcribed.
        tones: float (N, 4), scores of the voice in the order of `TONES`, such as Vokaturi's; NaN where the
            voice could not be judged. None if the corpus has no such scores.
        actions: bool (N, 6), which of `ACTIONS` the speaker showed, from `shown_actions` or elsewhere. None if
            the corpus has no action units.

    Raises:
        ValueError: a field has another length or shape, a number is infinite, or a text is not a string.
    """

    speaker: np.ndarray
    start: Floats
    end: Floats
    text: Sequence[str]
    tones: Floats | None = None
    actions: np.ndarray | None = None

    def __post_init__(self):
        n = len(self.text)
        for i, text in enumerate(self.text):
            if not isinstance(text, str):
                raise ValueError(f"text[{i}] is {text!r}, not a string; a turn without words is ''")
        self._hold("speaker", (n,), None)
        self._hold("start", (n,), np.float64)
        self._hold("end", (n,), np.float64)
        if self.tones is not None:
            self._hold("tones", (n, len(TONES)), np.float64)
        if self.actions is not None:
            self._hold("actions", (n, len(ACTIONS)), np.bool_)

    def __len__(self) -> int:
        return len(self.text)

    def _hold(self, name: str, shape: tuple[int, ...], dtype) -> None:
        values = np.asarray(getattr(self, name), dtype=dtype)
        if values.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, one row for each of the texts, not {values.shape}")
        if dtype is np.float64 and np.isinf(values).any():
            raise ValueError(f"{name}[{np.argwhere(np.isinf(values))[0, 0]}] is infinite; NaN marks what is unknown")
        object.__setattr__(self, name, values)


def of_dialogue(corpus: Dialogues, dialogue: str) -> Talkturns:
    """The talkturns of one dialogue, with the tones and actions that the corpus has."""
    here, auxiliary = corpus.dialogue == dialogue, corpus.auxiliary
    tones = torch.stack([auxiliary[tone] for tone in TONES], dim=1)[here].numpy() if TONES[0] in auxiliary else None
    return Talkturns(
        speaker=corpus.speaker[here],
        start=corpus.start[here].numpy(),
        end=corpus.end[here].numpy(),
        text=corpus.turns[here].tolist(),
        tones=tones,
        actions=auxiliary["actions"][here].numpy() if "actions" in auxiliary else None,
    )


def spoken_text(text: str) -> str:
    """The words alone: lower case, single spaces, punctuation deleted, not replaced.

    >>> spoken_text("Don't!  Well, GO")
    'dont well go'
    """
    return " ".join(_PUNCTUATION.sub("", text).lower().split())


def words_per_minute(n_words: ArrayLike, start: ArrayLike, end: ArrayLike) -> Floats:
    """Rate of speech of N turns, (N,), from words and times in seconds, (N,) each.

    NaN where it is undefined: no words, or a turn that does not end after it starts.

    >>> words_per_minute([3, 0, 3], [0, 0, 5], [1.5, 1, 4])
    array([120.,  nan,  nan])
    """
    n_words = np.asarray(n_words, np.float64)
    # Whole microseconds: turns of one length have one rate, and not a spread of rounding errors to be z-scored.
    minutes = np.round(np.asarray(end, np.float64) - np.asarray(start, np.float64), 6) / 60
    return np.divide(n_words, minutes, out=np.full(len(n_words), np.nan), where=(minutes > 0) & (n_words > 0))


def shown_actions(start: ArrayLike, end: ArrayLike, time: ArrayLike, presence: ArrayLike) -> NDArray[np.bool_]:
    """Which of `ACTIONS` one person showed in each of their N turns, bool (N, 6).

    - *smiled*: AU6 and AU12 present in consecutive frames that span at least half a second inside the turn,
      from the first frame's time to the last one's.
    - the other five: AU12, AU5, AU17, AU20, AU25 present in every frame of the turn.

    The frames of a turn are those from `start` to `end`, both included. Unknown frames interrupt a smile and
    are passed over otherwise. A turn without (known) frames shows nothing.

    Args:
        start, end: (N,), seconds.
        time: (F,), when the frames of this person were taken, in seconds, ascending.
        presence: (F, 6), 1 present, 0 absent, −1 unknown (no face found), in the order of `ACTION_UNITS`.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    time, presence = np.asarray(time, np.float64), np.asarray(presence)
    # The frames of a turn are first ≤ f < stop; none if the turn is reversed or has an unknown time.
    first = np.searchsorted(time, start, side="left")
    stop = np.where(end >= start, np.searchsorted(time, end, side="right"), first)

    def count(frames: NDArray[np.bool_]) -> NDArray[np.intp]:
        running = np.concatenate([np.zeros((1, frames.shape[1]), np.intp), np.cumsum(frames, axis=0)])
        return running[stop] - running[first]

    n_known, n_present = count(presence >= 0), count(presence == 1)
    throughout = dict(zip(ACTION_UNITS, ((n_known > 0) & (n_present == n_known)).T, strict=True))
    smiled = _enough_smile(time, (presence[:, [ACTION_UNITS.index("AU6"), ACTION_UNITS.index("AU12")]] == 1).all(1))
    others = [throughout[unit] for unit in ("AU12", "AU5", "AU17", "AU20", "AU25")]
    return np.stack([smiled[first] < stop, *others], axis=1)


def _enough_smile(time: Floats, smiles: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each frame, (F + 1,): the first frame by which, starting no earlier, a smile has lasted; F if none.

    The last entry stands for starting after all frames.
    """
    n = len(time)
    # A microsecond is forgiven, for rounding in the times.
    lasted = np.searchsorted(time, time + SMILE_S - 1e-6)
    # f to lasted[f] is one smile if no frame in it is without.
    without = np.concatenate([[0], np.cumsum(~smiles)])
    unbroken = (lasted < n) & (without[np.minimum(lasted, n - 1) + 1] == without[:n])
    reached = np.append(np.where(unbroken, lasted, n), n)
    return np.minimum.accumulate(reached[::-1])[::-1]
