"""Tone of voice: the scores of Vokaturi by talkturn, in the csv file that MONAH writes, `talkturn_vokaturi.csv`.

    video_id,audio_id,speaker,talkturn no,neutrality,happiness,sadness,anger,fear
    Ses01F_impro01,Ses01F_impro01,Ses01F,1,0.52,0.08,0.31,0.05,0.04

Here `video_id` is the name of the dialogue, `speaker` that of the speaker, and `talkturn no` counts the dialogue's
turns from 1, whoever speaks. The scores of a turn lie in [0, 1] and sum to 1. Turns whose voice could not be judged,
and those of no length, have no row: their scores are NaN.
"""

import csv
from pathlib import Path

import numpy as np

from uncertain_affect.corpora import lines, reading
from uncertain_affect.corpora.base import CorpusError
from uncertain_affect.corpora.talkturns import TONES

FILE = "talkturn_vokaturi.csv"
SCORES = {"happy": "happiness", "sad": "sadness", "angry": "anger", "fear": "fear"}
HEADER = ("video_id", "audio_id", "speaker", "talkturn no", "neutrality", *SCORES.values())
SUM_WITHIN = 0.02  # rounding of five scores

GET = "Write it anew with MONAH and Vokaturi, one row for each turn whose voice could be judged"


def read(path: Path, dialogue: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """The scores float64 (N, 4) of N turns in the order of `talkturns.TONES`; NaN where the file has no row.

    Args:
        dialogue, speaker: str (N,), of each turn; the turns of a dialogue in order.

    Raises:
        CorpusError: the file is missing or malformed; a row is of a turn that does not exist, or that somebody else
            speaks; or a turn has two rows.
    """
    place, count = {}, {}
    for row, name in enumerate(dialogue.tolist()):
        count[name] = count.get(name, 0) + 1
        place[name, count[name]] = row
    scores = np.full((len(dialogue), len(TONES)), np.nan)
    seen = {}
    for line, cells in rows(path):
        name, who, number = cells["video_id"], cells["speaker"], cells["talkturn no"]
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise CorpusError(f"talkturn no is {number[:20]!r}, no whole number", path=path, line=line, cure=GET)
        key = name, int(number)
        if key not in place:
            raise CorpusError(f"there is no turn {number} of {name[:40]!r}", path=path, line=line, cure=GET)
        if key in seen:
            reason = f"turn {number} of {name[:40]} stands there a second time, after line {seen[key]}"
            raise CorpusError(reason, path=path, line=line, cure=GET)
        if speaker[place[key]] != who:
            reason = f"turn {number} of {name[:40]} is spoken by {speaker[place[key]]}, not by {who[:40]!r}"
            raise CorpusError(reason, path=path, line=line, cure=GET)
        seen[key] = line
        values = {n: reading.number(cells[n], n, 0, 1, path, line, GET) for n in HEADER[4:]}
        if abs(sum(values.values()) - 1) > SUM_WITHIN:
            reason = f"the five scores sum to {sum(values.values()):.3f}, not 1"
            raise CorpusError(reason, path=path, line=line, cure=GET)
        scores[place[key]] = [values[SCORES[tone]] for tone in TONES]
    return scores


def rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and stripped cells by name of each row that is not blank.

    Raises:
        CorpusError: the file is missing or malformed.
    """
    reader = csv.reader(lines.split(lines.read(path, GET), path, GET), strict=True)
    found = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if sorted(header) != sorted(HEADER):
            reason = f"the columns are not {', '.join(HEADER)}"
            raise CorpusError(reason, path=path, line=1, cure=GET)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(HEADER):
                reason = f"{len(row)} columns where {len(HEADER)} are expected"
                raise CorpusError(reason, path=path, line=reader.line_num, cure=GET)
            found.append((reader.line_num, {n: cell.strip() for n, cell in zip(header, row, strict=True)}))
    except csv.Error as error:
        raise CorpusError(str(error), path=path, line=reader.line_num or 1, cure=GET) from error
    return found
