"""How the turns of a dialogue were said: by the output of tools, where the reader has run them, else by their times.

Two tools are read, and count only together: Vokaturi's `talkturn_vokaturi.csv` (see `tones`) and, in the folder
`openface`, a table `<dialogue>/<speaker>.csv` of OpenFace 2 for the video that shows a speaker (see `openface`), whose
times are those of the dialogue.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uncertain_affect.corpora import openface, tones
from uncertain_affect.corpora.base import CorpusError
from uncertain_affect.corpora.talkturns import (
    ACTION_UNITS,
    ACTIONS,
    TONES,
    shown_actions,
    spoken_text,
    words_per_minute,
)

# MELD's longest turns that are what they seem last 41 s; two last minutes, with a handful of words. Pauses beyond a
# minute (either way) are cuts to another scene, or times from elsewhere.
LONGEST_S = 60
TIMING = ("rate", "duration", "delay")
UNITS = ("AU05", "AU17", "AU20", "AU25")  # whose intensities HAN-ROCK predicts
FACES = "openface"


def auxiliary(
    folder: Path, turns: np.ndarray, dialogue: np.ndarray, speaker: np.ndarray, start: np.ndarray, end: np.ndarray
) -> dict[str, Tensor]:
    """Auxiliary targets of N turns: actions and tones where the reader has both tools' output in `folder`, else timing.

    - actions: `AU05`, `AU17`, `AU20`, `AU25`, the mean intensities over the valid frames of a turn, NaN without one;
      and `actions`, bool (N, 6), which of `ACTIONS` were shown.
    - tones: `happy`, `sad`, `angry`, `fear`, NaN where the voice could not be judged.
    - timing: see :func:`timing`.

    Args:
        folder: of the corpus.
        turns, dialogue, speaker: str (N,); the turns of a dialogue in order.
        start, end: float (N,), seconds.

    Raises:
        CorpusError: a file is malformed, or `openface` holds no table of any of these dialogues and speakers.
    """
    if not (folder / tones.FILE).is_file() or not (folder / FACES).is_dir():
        follows = np.r_[False, dialogue[1:] == dialogue[:-1]]
        return timing(turns, start, end, follows)
    scores = torch.from_numpy(tones.read(folder / tones.FILE, dialogue, speaker)).float()
    return actions(folder / FACES, dialogue, speaker, start, end) | dict(zip(TONES, scores.unbind(1), strict=True))


def actions(
    folder: Path, dialogue: np.ndarray, speaker: np.ndarray, start: np.ndarray, end: np.ndarray
) -> dict[str, Tensor]:
    """What the faces did in N turns, from the tables `<dialogue>/<speaker>.csv` in `folder`, see :func:`auxiliary`."""
    units = np.full((len(start), len(UNITS)), np.nan)
    shown = np.zeros((len(start), len(ACTIONS)), bool)
    wanted = [openface.INTENSITIES.index(f"{unit}_r") for unit in UNITS]
    of_actions = [openface.PRESENCES.index(f"AU{int(unit[2:]):02}_c") for unit in ACTION_UNITS]
    found = False
    for name, who in sorted(set(zip(dialogue.tolist(), speaker.tolist(), strict=True))):
        path = folder / name / f"{who}.csv"
        if not path.exists():
            continue
        found = True
        table = openface.load(path)
        table = table.of_face(table.main_face())
        if len(table) and not (np.diff(table.time) > 0).all():
            line = int(np.argmin(np.diff(table.time) > 0)) + 3
            raise CorpusError("the times of a face do not ascend", path=path, line=line, cure=openface.GET)
        rows = np.flatnonzero((dialogue == name) & (speaker == who))
        shown[rows] = shown_actions(start[rows], end[rows], table.time, table.presence[:, of_actions])
        for row in rows:
            here = table.valid & (table.time >= start[row]) & (table.time <= end[row])
            if here.any():
                units[row] = table.intensity[here][:, wanted].mean(axis=0)
    if not found:
        raise CorpusError("no <dialogue>/<speaker>.csv of any turn is there", path=folder, cure=openface.GET)
    intensities = dict(zip(UNITS, torch.from_numpy(units).float().unbind(1), strict=True))
    return intensities | {"actions": torch.from_numpy(shown)}


def timing(turns: np.ndarray, start: np.ndarray, end: np.ndarray, follows: np.ndarray) -> dict[str, Tensor]:
    """`rate` in words per minute, `duration`, and `delay` after the turn before in seconds, float32 (N,) or NaN.

    The delay is negative where turns overlap, whoever speaks. A turn without a duration, or with one beyond
    `LONGEST_S`, has none of them, and no delay before or after it; nor has a turn that does not follow another.

    Args:
        turns: str (N,).
        start, end: float (N,), seconds.
        follows: bool (N,), the turn before is the one before it in the same dialogue.
    """
    known = (end > start) & (end - start <= LONGEST_S)
    n_words = np.array([len(spoken_text(text).split()) for text in turns.tolist()])
    delay = np.full(len(start), np.nan)
    delay[1:] = np.round(start[1:] - end[:-1], 3)
    follows = follows & known & np.r_[False, known[:-1]] & (np.abs(delay) <= LONGEST_S)
    values = (
        np.where(known, words_per_minute(n_words, start, end), np.nan),
        np.where(known, np.round(end - start, 3), np.nan),
        np.where(follows, delay, np.nan),
    )
    return {name: torch.from_numpy(v).float() for name, v in zip(TIMING, values, strict=True)}
