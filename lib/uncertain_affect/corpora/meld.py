"""MELD: dialogues from a television series, an emotion for each utterance.

Poria, Hazarika, Majumder, Naik, Cambria and Mihalcea, "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition
in Conversations", ACL 2019; GPL-3.0. Under `<data root>/meld/` lie its three files,
`{train,dev,test}_sent_emo.csv`. The sentences are the series', and stand in no table or figure of this project.

- *Dialogues* are numbered anew in each file; here they are "train_0", "val_0", "test_0" and so on.
- *Utterance numbers* have gaps: what stood there is in no file. The turns on both sides stay neighbours, but the time
  between them is no delay.
- *Times* are those of the subtitle that an utterance was found in. Where one subtitle holds several utterances they
  share or divide its time, so that turns overlap and very short ones speak at thousands of words a minute. They stay
  as they are, as does the order of the utterance numbers, which is not always that of the start times. A second's
  fraction of two digits is a decimal (",82" is .820).
- *Text* is UTF-8 in the files as published now. Copies from elsewhere hold quotation marks and dashes from Windows'
  code page 1252: as single bytes, as control characters (U+0080 to U+009F), or read a second time ("â€™" for "’").
  All three are put right; the last for those signs alone that the published text has.
- *Speakers* are shared by the official splits: the six leads speak 83% of the utterances. See `leave_one_lead_out`.
"""

import csv
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncertain_affect.corpora.base import SPLITS, About, CorpusError, Dialogues
from uncertain_affect.corpora.talkturns import Talkturns, spoken_text
from uncertain_affect.corpora.turns import LONGEST_S, timing

FILES = {"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
HEADER = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
    "StartTime", "EndTime",
)  # fmt: skip
PUBLISHED = {"train": (9989, 1038), "val": (1109, 114), "test": (2610, 280)}  # utterances, dialogues

EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
# By number of classes; the four are those of IEMOCAP, in HAN-ROCK's order: angry, happy, neutral, sad.
CLASSES = {4: ("anger", "joy", "neutral", "sadness"), 7: EMOTIONS}

LEADS = {
    "Chandler": "man", "Joey": "man", "Monica": "woman", "Phoebe": "woman", "Rachel": "woman", "Ross": "man",
}  # fmt: skip
EVERYONE = "All"  # a speaker of MELD: whoever is there

GET = "Fetch the published file with `uncertain-affect data get meld`"
TERMS = "MELD is licensed GPL-3.0; its sentences are a television series' own and belong in no published output"
ABOUT = About(
    title="MELD",
    purpose="HAN-ROCK: emotions of turns in dialogues, as open data",
    licence="GPL-3.0; its sentences are a television series' own and belong in no published output",
    how_to_get="`uncertain-affect data get meld`",
    layout=f"meld/{', '.join(FILES.values())}",
)
WITH_TARGET = {"train": 8245, "val": 897, "test": 2211}  # utterances of the four classes


# --- reading ------------------------------------------------------------------------------------------------------


def load(root: str | os.PathLike, classes: int = 4) -> Dialogues:
    """MELD with its official splits: 9,989 train, 1,109 val and 2,610 test turns.

    - targets: `emotion` int (N,), an index in `CLASSES[classes]`. Of four classes, −1 where the emotion is another one:
      such a turn is still said before those that follow, and stays as their context (8,245, 897 and 2,211 turns have
      a target).
    - auxiliary, the family `t` of timing, float (N,), NaN where undefined: `rate` in words per minute, words counted
      as MONAH does; `duration` in seconds; `delay` in seconds from the end of the turn before, whoever spoke it,
      negative where they overlap. Undefined are all three of a turn that does not end after it starts, or lasts longer
      than `LONGEST_S`; the rate of a turn without words; the delay of the first turn, after a turn that is in no file
      or has no duration, and of more than `LONGEST_S` either way.

    There is no family of actions or of tones. History and future labels follow from the targets of a dialogue.

    `left_out` counts the utterance numbers that were passed over, and `irregular` finds the odd turns among the others.

    Args:
        root: the data root, which holds `meld/`.
        classes: 4 (anger, joy, neutral, sadness) or 7.

    Raises:
        CorpusError: a file is missing, malformed, or has not as many utterances and dialogues as the published one; or
            there is no such set of classes.
    """
    if classes not in CLASSES:
        raise CorpusError(f"no set of {classes!r} classes", cure=f"classes is {' or '.join(map(str, CLASSES))}")
    table = pd.concat([_read(Path(root) / "meld" / FILES[split], split) for split in SPLITS], ignore_index=True)

    first = (table["dialogue"] != table["dialogue"].shift()).to_numpy()
    step = table["number"].diff().to_numpy()
    passed_over = np.where(first, table["number"], step - 1)
    start, end = (table[name].to_numpy(copy=True) for name in ("start", "end"))
    index = {emotion: i for i, emotion in enumerate(CLASSES[classes])}
    return Dialogues(
        turns=table["text"].to_numpy(str),
        speaker=table["speaker"].to_numpy(str),
        dialogue=table["dialogue"].to_numpy(str),
        start=torch.from_numpy(start),
        end=torch.from_numpy(end),
        targets={"emotion": torch.tensor([index.get(emotion, -1) for emotion in table["emotion"]])},
        auxiliary=timing(table["text"].to_numpy(str), start, end, ~first & (step == 1)),
        split=table["split"].to_numpy(str),
        left_out={"utterance number in no file": int(passed_over.sum())},
    )


def is_available(root: str | os.PathLike) -> bool:
    """Whether the three files are there."""
    return all((Path(root) / "meld" / name).is_file() for name in FILES.values())


def check(root: str | os.PathLike) -> list[tuple[str, str, str, bool]]:
    """Rows (what, expected, found, fine) about the files below the data root.

    Raises:
        CorpusError: as `load`, which refuses any other number of utterances and dialogues than the published.
    """
    corpus = load(root)
    rows = []
    for split, (utterances, dialogues) in PUBLISHED.items():
        here = corpus.split == split
        found = int(here.sum()), len(np.unique(corpus.dialogue[here]))
        rows.append(
            (
                f"utterances and dialogues of {split}",
                f"{utterances:,}, {dialogues:,}",
                f"{found[0]:,}, {found[1]:,}",
                found == (utterances, dialogues),
            )
        )
        n = int((corpus.targets["emotion"][torch.from_numpy(here)] >= 0).sum())
        rows.append((f"of the four classes in {split}", f"{WITH_TARGET[split]:,}", f"{n:,}", n == WITH_TARGET[split]))
    rows += [(f"left out: {reason}", "some", f"{n:,}", True) for reason, n in corpus.left_out.items()]
    rows += [(f"kept: {reason}", "some", f"{int(odd.sum()):,}", True) for reason, odd in irregular(corpus).items()]
    return rows


def irregular(corpus: Dialogues) -> dict[str, Tensor]:
    """Which turns are odd, bool (N,) by reason; all are among the examples, and a turn can be odd twice."""
    duration = (corpus.end - corpus.start).numpy()
    same = torch.from_numpy(corpus.dialogue[1:] == corpus.dialogue[:-1])
    earlier, overlaps = torch.zeros(2, len(corpus), dtype=torch.bool)
    earlier[1:] = same & (corpus.start[1:] < corpus.start[:-1])
    overlaps[1:] = same & (corpus.start[1:] < corpus.end[:-1])
    return {
        "no target: context alone": corpus.targets["emotion"] < 0,
        "no words": torch.tensor([not spoken_text(text) for text in corpus.turns]),
        "ends before it starts": torch.from_numpy(duration < 0),
        "no length": torch.from_numpy(duration == 0),
        f"longer than {LONGEST_S} s": torch.from_numpy(duration > LONGEST_S),
        "starts before the turn before": earlier,
        "starts before the turn before ends": overlaps,
    }


def _read(path: Path, split: str) -> pd.DataFrame:
    """The utterances of one file, by dialogue and utterance number."""
    rows = []
    for line, row in _rows(path):
        dialogue, number = (_number(row[name], name, path, line) for name in ("Dialogue_ID", "Utterance_ID"))
        start, end = (_seconds(row[name], name, path, line) for name in ("StartTime", "EndTime"))
        if row["Emotion"] not in EMOTIONS:
            reason = f"Emotion is none of {', '.join(EMOTIONS)}"
            raise CorpusError(reason, path=path, line=line, cure=GET)
        if not row["Speaker"]:
            raise CorpusError("nobody is named as Speaker", path=path, line=line, cure=GET)
        rows.append((dialogue, number, row["Utterance"], row["Speaker"], row["Emotion"], start, end, line))
    columns = ["dialogue", "number", "text", "speaker", "emotion", "start", "end", "line"]
    table = pd.DataFrame(rows, columns=columns)
    if (twice := table.duplicated(["dialogue", "number"])).any():
        again = table[twice].iloc[0]
        reason = f"utterance {again['number']} of dialogue {again['dialogue']} stands there a second time"
        raise CorpusError(reason, path=path, line=int(again["line"]), cure=GET)
    if (found := (len(table), table["dialogue"].nunique())) != PUBLISHED[split]:
        reason = "{} utterances in {} dialogues, where {} in {} were published".format(*found, *PUBLISHED[split])
        raise CorpusError(reason, path=path, cure=GET)
    table = table.sort_values(["dialogue", "number"])
    return table.assign(split=split, dialogue=[f"{split}_{dialogue}" for dialogue in table["dialogue"]])


def _rows(path: Path):
    """Line number and stripped cells by name of each row that is not blank."""
    if not path.is_file():
        raise CorpusError("no such file", path=path, cure=GET)
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    reader = csv.reader((_text(line, path, number) for number, line in enumerate(lines, start=1)), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if sorted(header) != sorted(HEADER):
            reason = f"the columns are not {', '.join(HEADER)}"
            raise CorpusError(reason, path=path, line=1, cure=GET)
        for row in reader:
            if len(row) not in (0, len(HEADER)):
                reason = f"{len(row)} columns where {len(HEADER)} are expected"
                raise CorpusError(reason, path=path, line=reader.line_num, cure=GET)
            if row:
                yield reader.line_num, {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    except csv.Error as error:
        raise CorpusError(str(error), path=path, line=reader.line_num, cure=GET) from error


def _number(cell: str, name: str, path: Path, line: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", cell):
        raise CorpusError(f"{name} is {cell[:20]!r}, no whole number", path=path, line=line, cure=GET)
    return int(cell)


def _seconds(cell: str, name: str, path: Path, line: int) -> float:
    if not (match := re.fullmatch(r"([0-9]{1,2}):([0-5][0-9]):([0-5][0-9]),([0-9]{1,3})", cell)):
        raise CorpusError(f"{name} is {cell[:20]!r}, not HH:MM:SS,mmm", path=path, line=line, cure=GET)
    hours, minutes, seconds, fraction = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(f"{seconds}.{fraction}")


# --- text ---------------------------------------------------------------------------------------------------------


def _windows(text: str) -> str:
    """Control characters U+0080 to U+009F, which no text has, as the signs that Windows' code page has there."""
    return re.sub("[\x80-\x9f]", lambda sign: sign[0].encode("latin-1").decode("cp1252", "ignore") or sign[0], text)


# UTF-8 that was read as code page 1252, for the signs beyond ASCII that the published text has.
_MISREAD = {_windows(sign.encode().decode("latin-1")): sign for sign in "‘’“”–—…éó"}
_MISREAD_PATTERN = re.compile("|".join(_MISREAD))


def _text(line: bytes, path: Path, number: int) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        try:
            text = line.decode("cp1252")
        except UnicodeDecodeError as error:
            reason = "neither UTF-8 nor code page 1252"
            raise CorpusError(reason, path=path, line=number, cure=GET) from error
    return _MISREAD_PATTERN.sub(lambda found: _MISREAD[found[0]], _windows(text))


# --- speakers -----------------------------------------------------------------------------------------------------


def speaks(speaker: np.ndarray, lead: str) -> np.ndarray:
    """Whether `lead` speaks in each turn, bool (N,), from the speakers' names (N,).

    Alone, with others ("Ross and Rachel", "All") or in a role ("Joey/Drake").
    """
    names, of_turn = np.unique(speaker, return_inverse=True)
    voices = [re.split(" and |/", name) for name in names.tolist()]
    return np.array([lead in voice or EVERYONE in voice for voice in voices])[of_turn]


def leave_one_lead_out(corpus: Dialogues) -> dict[str, Dialogues]:
    """For each of the six `LEADS`, the corpus with their labels to be predicted by a network that saw none of them.

    No split of MELD is disjoint in speakers: nearly all its dialogues hang together by the leads. So the official
    splits of dialogues stay, and targets are hidden (−1): of train and val turns in which the lead speaks (`speaks`),
    and of test turns that the lead does not speak alone. Hidden turns stay as context. What is measured stands beside
    the same test turns under the official split.

    Raises:
        ValueError: a target is not of whole numbers, which −1 could hide.
    """
    if wrong := [name for name, values in corpus.targets.items() if values.dtype.is_floating_point]:
        raise ValueError(f"only classes can be hidden as −1; target {wrong[0]!r} is {corpus.targets[wrong[0]].dtype}")
    test = corpus.split == "test"
    left_out = {}
    for lead in LEADS:
        hidden = torch.from_numpy(np.where(test, corpus.speaker != lead, speaks(corpus.speaker, lead)))
        targets = {name: values.masked_fill(hidden, -1) for name, values in corpus.targets.items()}
        left_out[lead] = replace(corpus, targets=targets)
    return left_out


# --- narratives ---------------------------------------------------------------------------------------------------


def talkturns(corpus: Dialogues, dialogue: str) -> Talkturns:
    """One dialogue as MONAH reads it, without actions and tones.

    A turn longer than `LONGEST_S` has an unknown end. A delay after turns that are in no file runs over them.

    Raises:
        ValueError: the corpus has no such dialogue.
    """
    here = corpus.dialogue == dialogue
    if not here.any():
        raise ValueError(f"no dialogue is called {dialogue!r}; the first is {str(corpus.dialogue[0])!r}")
    start, end = corpus.start[here].numpy(), corpus.end[here].numpy()
    return Talkturns(
        speaker=corpus.speaker[here],
        start=start,
        end=np.where(end - start > LONGEST_S, np.nan, end),
        text=corpus.turns[here].tolist(),
    )


def nouns(corpus: Dialogues) -> dict[str, str]:
    """What MONAH calls each speaker: the leads "woman" or "man", everyone else, of whom MELD does not say, "person"."""
    return {name: LEADS.get(name, "person") for name in np.unique(corpus.speaker).tolist()}
