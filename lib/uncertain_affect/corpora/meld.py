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

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncertain_affect.corpora.base import SPLITS, CheckRow, Dialogues, counted
from uncertain_affect.corpora.reading import File
from uncertain_affect.corpora.talkturns import Talkturns, of_dialogue, spoken_text
from uncertain_affect.corpora.turns import LONGEST_S, dialogues, timing

FILES = {"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
HEADER = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
    "StartTime", "EndTime",
)  # fmt: skip
PUBLISHED = {"train": (9989, 1038), "val": (1109, 114), "test": (2610, 280)}  # utterances, dialogues

# The four classes are those of IEMOCAP, in HAN-ROCK's order: angry, happy, neutral, sad; −1 is another emotion.
EMOTIONS = {"anger": 0, "joy": 1, "neutral": 2, "sadness": 3, "disgust": -1, "fear": -1, "surprise": -1}

LEADS = {
    "Chandler": "man", "Joey": "man", "Monica": "woman", "Phoebe": "woman", "Rachel": "woman", "Ross": "man",
}  # fmt: skip
EVERYONE = "All"  # a speaker of MELD: whoever is there

GET = "Fetch the published file with `uncertain-affect data get meld`"
TERMS = "MELD is licensed GPL-3.0; its sentences are a television series' own and belong in no published output"
WITH_TARGET = {"train": 8245, "val": 897, "test": 2211}  # utterances of the four classes


# --- reading ------------------------------------------------------------------------------------------------------


def load(root: Path) -> Dialogues:
    """MELD with its official splits: 9,989 train, 1,109 val and 2,610 test turns.

    - targets: `emotion` int (N,), one of `EMOTIONS`; −1 where the emotion is none of the four classes: such a turn is
      still spoken before those that follow, and stays as their context (8,245, 897 and 2,211 turns have a target).
    - auxiliary, the family `t` of timing, float (N,), NaN where undefined: `rate` in words per minute, words counted
      as MONAH does; `duration` in seconds; `delay` in seconds from the end of the turn before, whoever spoke it,
      negative where they overlap. Undefined are all three of a turn that does not end after it starts, or lasts longer
      than `LONGEST_S`; the rate of a turn without words; the delay of the first turn, after a turn that is in no file
      or has no duration, and of more than `LONGEST_S` either way.

    There is no family of actions or of tones. History and future labels follow from the targets of a dialogue.

    `left_out` counts the utterance numbers that were passed over, and `irregular` finds the odd turns among the others.

    Args:
        root: the data root, which holds `meld/`.

    Raises:
        CorpusError: a file is missing, malformed, or has not as many utterances and dialogues as the published one.
    """
    table = pd.concat([_read(root / "meld" / FILES[split], split) for split in SPLITS], ignore_index=True)
    first = (table["dialogue"] != table["dialogue"].shift()).to_numpy()
    step = table["number"].diff().to_numpy()
    passed_over = np.where(first, table["number"], step - 1)
    return dialogues(
        table,
        targets={"emotion": torch.tensor(table["emotion"].to_numpy())},
        auxiliary=timing(table, follows=~first & (step == 1)),
        left_out={"utterance number in no file": int(passed_over.sum())},
    )


def is_available(root: Path) -> bool:
    """Whether the three files are there."""
    return all((root / "meld" / name).is_file() for name in FILES.values())


def check(root: Path) -> list[CheckRow]:
    """Utterances, dialogues and targets of each split; turns that are left out, and those that are odd.

    Raises:
        CorpusError: as `load`, which refuses any other number of utterances and dialogues than the published.
    """
    corpus = load(root)
    rows = []
    for split, published in PUBLISHED.items():
        here = corpus.split == split
        found = int(here.sum()), len(np.unique(corpus.dialogue[here]))
        expected, there = ("{:,}, {:,}".format(*n) for n in (published, found))
        rows.append((f"utterances and dialogues of {split}", expected, there, found == published))
        with_target = int((corpus.targets["emotion"].numpy()[here] >= 0).sum())
        rows.append(counted(f"of the four classes in {split}", WITH_TARGET[split], with_target))
    rows += corpus.left_out_rows()
    return rows + [(f"kept: {odd}", "some", f"{int(turns.sum()):,}", True) for odd, turns in irregular(corpus).items()]


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
    file = _File(path, GET)
    cells = file.table(HEADER)
    table = pd.DataFrame(
        {
            "dialogue": cells.whole("Dialogue_ID", 0, 10**9),
            "number": cells.whole("Utterance_ID", 0, 10**9),
            "words": cells.columns["Utterance"],
            "speaker": cells.columns["Speaker"],
            "emotion": cells.codes("Emotion", EMOTIONS),
            "start": cells.values("StartTime", _seconds, "no HH:MM:SS,mmm"),
            "end": cells.values("EndTime", _seconds, "no HH:MM:SS,mmm"),
        }
    )
    cells.refuse(table["speaker"] == "", lambda row: "nobody is named as Speaker")
    cells.refuse_repeated(zip(table["dialogue"], table["number"], strict=True), "dialogue and utterance")
    if (found := (len(table), table["dialogue"].nunique())) != PUBLISHED[split]:
        reason = "{} utterances in {} dialogues, where {} in {} were published".format(*found, *PUBLISHED[split])
        raise file.error(reason)
    table = table.sort_values(["dialogue", "number"])
    return table.assign(split=split, dialogue=[f"{split}_{dialogue}" for dialogue in table["dialogue"]])


def _seconds(cell: str) -> float | None:
    if not (match := re.fullmatch("([0-9]{1,2}):([0-5][0-9]):([0-5][0-9]),([0-9]{1,3})", cell)):
        return None
    hours, minutes, seconds, fraction = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(f"{seconds}.{fraction}")


# --- text ---------------------------------------------------------------------------------------------------------


def _windows(text: str) -> str:
    """Control characters U+0080 to U+009F, which no text has, as the signs that Windows' code page has there."""
    return re.sub("[\x80-\x9f]", lambda sign: sign[0].encode("latin-1").decode("cp1252", "ignore") or sign[0], text)


# UTF-8 that was read as code page 1252, for the signs beyond ASCII that the published text has.
_MISREAD = {_windows(sign.encode().decode("latin-1")): sign for sign in "‘’“”–—…éó"}
_MISREAD_PATTERN = re.compile("|".join(_MISREAD))


class _File(File):
    """A csv file whose lines are UTF-8, or in Windows' code page 1252."""

    def decoded(self, line: str, number: int) -> str:
        content = line.encode(errors="surrogateescape")
        for encoding in ("utf-8", "cp1252"):
            with suppress(UnicodeDecodeError):
                return _MISREAD_PATTERN.sub(lambda found: _MISREAD[found[0]], _windows(content.decode(encoding)))
        raise self.error("neither UTF-8 nor code page 1252", number)


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
    """
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
    """
    turns = of_dialogue(corpus, dialogue)
    return replace(turns, end=np.where(turns.end - turns.start > LONGEST_S, np.nan, turns.end))


def nouns(corpus: Dialogues) -> dict[str, str]:
    """What MONAH calls each speaker: the leads "woman" or "man", everyone else, of whom MELD does not say, "person"."""
    return {name: LEADS.get(name, "person") for name in np.unique(corpus.speaker).tolist()}
