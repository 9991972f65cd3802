"""How the turns of a dialogue were spoken: by the output of tools, where the reader has run them, else by their times.

Two tools are read, and count only together:

- OpenFace 2: in the folder `openface` a table `<dialogue>/<speaker>.csv` for the video that shows a speaker. Its times
  are those of the dialogue; see `openface`.
- Vokaturi: the scores of tone of voice, in the file that MONAH writes, `talkturn_vokaturi.csv`:

      video_id,audio_id,speaker,talkturn no,neutrality,happiness,sadness,anger,fear
      Ses01F_impro01,Ses01F_impro01,Ses01F,1,0.52,0.08,0.31,0.05,0.04

  `video_id` is the name of the dialogue, `speaker` that of the speaker, and `talkturn no` counts the dialogue's turns
  from 1, whoever speaks. The scores of a turn lie in [0, 1] and sum to 1. Turns whose voice could not be judged, and
  those of no length, have no row: their scores are NaN.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncertain_affect.corpora import openface, talkturns
from uncertain_affect.corpora.base import CorpusError, Dialogues
from uncertain_affect.corpora.reading import File

# MELD's longest turns that are what they seem last 41 s; two last minutes, with a handful of words. Pauses beyond a
# minute (either way) are cuts to another scene, or times from elsewhere.
LONGEST_S = 60
TIMING = ("rate", "duration", "delay")
UNITS = ("AU05", "AU17", "AU20", "AU25")  # whose intensities HAN-ROCK predicts
FACES = "openface"
VOKATURI = "talkturn_vokaturi.csv"
# Vokaturi's words for `talkturns.TONES`
SCORES = {"happy": "happiness", "sad": "sadness", "angry": "anger", "fear": "fear"}
SUM_WITHIN = 0.02  # rounding of five scores
GET_TONES = "Write it anew with MONAH and Vokaturi, one row for each turn whose voice could be judged"


def dialogues(
    table: pd.DataFrame, targets: Mapping[str, Tensor], auxiliary: Mapping[str, Tensor], left_out: Mapping[str, int]
) -> Dialogues:
    """The corpus of N turns, of which a table has the columns words, speaker, dialogue, start, end and split."""
    words, speaker, dialogue, split = (table[n].to_numpy(str) for n in ("words", "speaker", "dialogue", "split"))
    start, end = (torch.from_numpy(table[name].to_numpy(float, copy=True)) for name in ("start", "end"))
    return Dialogues(words, speaker, dialogue, start, end, targets, auxiliary, split, left_out=left_out)


def auxiliary(folder: Path, table: pd.DataFrame) -> dict[str, Tensor]:
    """Auxiliary targets of N turns: actions and tones where the reader has both tools' output in `folder`, else timing.

    - actions: `AU05`, `AU17`, `AU20`, `AU25`, the mean intensities over the valid frames of a turn, NaN without one;
      and `actions`, bool (N, 6), which of `talkturns.ACTIONS` were shown.
    - tones: `happy`, `sad`, `angry`, `fear`, NaN where the voice could not be judged.
    - timing: see :func:`timing`.

    Args:
        folder: of the corpus.
        table: of turns as for :func:`dialogues`; the turns of a dialogue in order.

    Raises:
        CorpusError: a file is malformed, or `openface` holds no table of any of these dialogues and speakers.
    """
    if not (folder / VOKATURI).is_file() or not (folder / FACES).is_dir():
        return timing(table, follows=(table["dialogue"] == table["dialogue"].shift()).to_numpy())
    scores = torch.from_numpy(tones(folder / VOKATURI, table)).float()
    return actions(folder / FACES, table) | dict(zip(talkturns.TONES, scores.unbind(1), strict=True))


def actions(folder: Path, table: pd.DataFrame) -> dict[str, Tensor]:
    """What the faces did in N turns, from the tables `<dialogue>/<speaker>.csv` in `folder`, see :func:`auxiliary`."""
    units, shown = np.full((len(table), len(UNITS)), np.nan), np.zeros((len(table), len(talkturns.ACTIONS)), bool)
    wanted = [openface.INTENSITIES.index(f"{unit}_r") for unit in UNITS]
    of_actions = [openface.PRESENCES.index(f"AU{int(unit[2:]):02}_c") for unit in talkturns.ACTION_UNITS]
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    rows_of = table.groupby(["dialogue", "speaker"]).indices
    there = {who: path for who in rows_of if (path := folder / who[0] / f"{who[1]}.csv").exists()}
    if not there:
        raise CorpusError("no <dialogue>/<speaker>.csv of any turn is there", path=folder, cure=openface.GET)
    for who, path in there.items():
        face, rows = openface.read(path), rows_of[who]
        shown[rows] = talkturns.shown_actions(start[rows], end[rows], face.time, face.presence[:, of_actions])
        for row in rows:
            here = face.valid & (face.time >= start[row]) & (face.time <= end[row])
            if here.any():
                units[row] = face.intensity[here][:, wanted].mean(axis=0)
    intensities = dict(zip(UNITS, torch.from_numpy(units).float().unbind(1), strict=True))
    return intensities | {"actions": torch.from_numpy(shown)}


def tones(path: Path, table: pd.DataFrame) -> np.ndarray:
    """Vokaturi's scores float64 (N, 4) of N turns in the order of `talkturns.TONES`; NaN where the file has no row.

    Args:
        path: of the file.
        table: of turns, with the columns dialogue and speaker; the turns of a dialogue in order.

    Raises:
        CorpusError: the file is missing or malformed; a row is of a turn that does not exist, or that somebody else
            speaks; or a turn has two rows.
    """
    number = table.groupby("dialogue").cumcount() + 1
    place = {turn: row for row, turn in enumerate(zip(table["dialogue"], number, strict=True))}
    names = ("neutrality", *SCORES.values())
    judged = File(path, GET_TONES).table(("video_id", "audio_id", "speaker", "talkturn no", *names))
    numbers = judged.whole("talkturn no", 0, 10**9)
    turns = list(zip(judged.columns["video_id"], numbers.tolist(), strict=True))
    judged.refuse([turn not in place for turn in turns], lambda row: f"there is no turn {turns[row]}")
    judged.refuse_repeated(turns, "turn")
    rows = [place[turn] for turn in turns]
    speaker, found = table["speaker"].to_numpy(str)[rows], judged.text("speaker")
    judged.refuse(found != speaker, lambda row: f"turn {turns[row]} is spoken by {speaker[row]}, not by {found[row]}")
    scores = {name: judged.numbers(name, 0, 1) for name in names}
    total = sum(scores.values())
    judged.refuse(np.abs(total - 1) > SUM_WITHIN, lambda row: f"the five scores sum to {total[row]:.3f}, not 1")
    of_turns = np.full((len(table), len(talkturns.TONES)), np.nan)
    of_turns[rows] = np.stack([scores[SCORES[tone]] for tone in talkturns.TONES], axis=1)
    return of_turns


def timing(table: pd.DataFrame, follows: np.ndarray) -> dict[str, Tensor]:
    """`rate` in words per minute, `duration`, and `delay` after the turn before in seconds, float32 (N,) or NaN.

    The delay is negative where turns overlap, whoever speaks. A turn without a duration, or with one beyond
    `LONGEST_S`, has none of them, and no delay before or after it; nor has a turn that does not follow another.

    Args:
        table: of turns, with the columns words, start and end.
        follows: bool (N,), the turn before is the one before it in the same dialogue.
    """
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    known = (end > start) & (end - start <= LONGEST_S)
    n_words = np.array([len(talkturns.spoken_text(words).split()) for words in table["words"]])
    delay = np.full(len(start), np.nan)
    delay[1:] = np.round(start[1:] - end[:-1], 3)
    follows = follows & known & np.r_[False, known[:-1]] & (np.abs(delay) <= LONGEST_S)
    values = (
        np.where(known, talkturns.words_per_minute(n_words, start, end), np.nan),
        np.where(known, np.round(end - start, 3), np.nan),
        np.where(follows, delay, np.nan),
    )
    return {name: torch.from_numpy(v).float() for name, v in zip(TIMING, values, strict=True)}
