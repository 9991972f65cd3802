"""How the turns of a dialogue were said: by the output of tools, where the reader has run them, else by their times."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uncertain_affect import monah
from uncertain_affect.corpora import tones

LONGEST_S = 60  # of a turn or a pause; longer ones are an error of the times
TIMING = ("rate", "duration", "delay")


def auxiliary(folder: Path, turns, dialogue, speaker, start, end) -> dict[str, Tensor]:
    """Auxiliary targets of N turns: the tone of voice if `talkturn_vokaturi.csv` lies in `folder`, else their timing.

    Args:
        turns, dialogue, speaker: str (N,).
        start, end: float (N,), seconds.

    Raises:
        CorpusError: the csv file is malformed.
    """
    if (folder / tones.FILE).is_file():
        scores = torch.from_numpy(tones.read(folder / tones.FILE, dialogue, speaker))
        return dict(zip(monah.TONES, scores.float().unbind(1), strict=True))
    return timing(turns, dialogue, start, end)


def timing(turns, dialogue, start, end) -> dict[str, Tensor]:
    """`rate` in words per minute, `duration` and `delay` after the turn before in seconds, float32 (N,) or NaN.

    As MELD's: the delay is negative where turns overlap, whoever speaks, and undefined for a dialogue's first turn.
    """
    known = (end > start) & (end - start <= LONGEST_S)
    n_words = np.array([len(monah.spoken_text(text).split()) for text in turns.tolist()])
    delay = np.full(len(start), np.nan)
    delay[1:] = np.round(start[1:] - end[:-1], 3)
    follows = np.zeros(len(start), bool)
    follows[1:] = (dialogue[1:] == dialogue[:-1]) & known[1:] & known[:-1]
    values = (
        np.where(known, monah.words_per_minute(n_words, start, end), np.nan),
        np.where(known, np.round(end - start, 3), np.nan),
        np.where(follows & (np.abs(delay) <= LONGEST_S), delay, np.nan),
    )
    return {name: torch.from_numpy(v).float() for name, v in zip(TIMING, values, strict=True)}
