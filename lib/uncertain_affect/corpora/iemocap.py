"""IEMOCAP: ten actors in five sessions play scenes of two; each turn has a category and three ratings.

Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee and Narayanan, "IEMOCAP: interactive emotional dyadic motion
capture database", Language Resources and Evaluation 42:335, 2008. By agreement. Below `<data root>/iemocap/`, or in
`IEMOCAP_full_release/` there, are read, for each of `Session1` to `Session5`:

- `dialog/EmoEvaluation/<dialogue>.txt`: for each turn a line of times, name, category and [valence, activation,
  dominance], then a line for each evaluator. Only `*.txt` files directly in there count: `Attribute`, `Categorical` and
  `Self-evaluation` hold single evaluators', and macOS leaves `._*` files.
- `dialog/transcriptions/<dialogue>.txt`: the words. Lines that are no turn (`M: ...`) and turns without an evaluation
  (`_MXX0`) are left out and counted.

Readings:

- *Who speaks* is told by the letter after the last underscore of a turn's name: names vary (`impro05a`,
  `script01_1b`). The letter of the dialogue tells who wears the markers. Table 5 of HAN-ROCK counts by the dialogue's
  or by the speaker's; `check` says which of them gives its numbers.
- *Four classes*: angry, happy, neutral, sad; excited is merged into happy. Of the published files 5,531 turns have one;
  the others, −1, stay as the context that their dialogue is, and have ratings (10,039 in all).
- *Evaluators* called F or M are the actors themselves, and count in no agreement. Some rate no dominance, and some give
  several categories.
- *Order* is that of the start times: the files are not always in order across speakers.
- *Ratings* are means of evaluators, 1 to 5; some of the published means lie a little outside, and are kept.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.corpora import lines, reading
from uncertain_affect.corpora import turns as talk
from uncertain_affect.corpora.base import About, CorpusError, Dialogues

SESSIONS = {1: "train", 2: "train", 3: "train", 4: "val", 5: "test"}
EMOTIONS = ("angry", "happy", "neutral", "sad")
CATEGORIES = {  # of the files, as one of the four classes
    "ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad",
    "fru": None, "fea": None, "sur": None, "dis": None, "oth": None, "xxx": None,
}  # fmt: skip
DIMENSIONS = ("valence", "activation", "dominance")
RATED = (0.0, 6.0)  # means of evaluators; beyond 1 to 5 where one left out a rating, or slipped

PUBLISHED = {  # turns; by class from Table 4 of HAN-ROCK, by session and letter from its Table 5
    "classes": {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084},
    "sessions": {1: 1819, 2: 1811, 3: 2136, 4: 2103, 5: 2170},
}
PRINTED = {"Ses01F": 861, "Ses01M": 958}

NAME = r"Ses0[1-5][FM]_(?:impro|script)0[1-9][ab]?(?:_\d[ab]?)?"
DIALOGUE = re.compile(NAME, re.ASCII)
SUMMARY = re.compile(
    rf"\[(\d+\.\d+) - (\d+\.\d+)\]\t({NAME}_[FM]\w{{3}})\t(\w+)\t\[(\d+\.\d+), (\d+\.\d+), (\d+\.\d+)\]", re.ASCII
)
EVALUATOR = re.compile(r"([CA]-[A-Z]\d{1,2}):\t(.*)", re.ASCII)
SPOKEN = re.compile(rf"({NAME}_[FM][X\d]{{2}}\d) \[(\d+\.\d+)-(\d+\.\d+)\]:(.*)", re.ASCII)

GET = "See `uncertain-affect data list` for how to get IEMOCAP, and where it belongs"
ABOUT = About(
    title="IEMOCAP",
    purpose="HAN-ROCK: four classes of emotion, and valence, activation and dominance of turns in acted dialogues",
    licence="research only, by a signed release form; its sentences belong in no published output",
    how_to_get="Fill in the release form at https://sail.usc.edu/iemocap/iemocap_release.htm; the owners send a "
    "link to IEMOCAP_full_release.tar.gz. Unpack it into the data root, or link the folder there. Of each "
    "session only dialog/EmoEvaluation and dialog/transcriptions are read",
    layout="iemocap/Session{1..5}/dialog/{EmoEvaluation,transcriptions}/*.txt, or the same in "
    "iemocap/IEMOCAP_full_release; for actions and tones, both optional and used together: "
    "iemocap/openface/<dialogue>/<speaker>.csv and iemocap/talkturn_vokaturi.csv",
)


@dataclass(frozen=True)
class Turn:
    """One evaluated turn: what its summary line says, the evaluators' lines, and the number of the summary's line."""

    name: str
    start: float
    end: float
    category: str
    ratings: tuple[float, float, float]
    evaluators: dict[str, str]
    line: int


def load(root: str | os.PathLike) -> Dialogues:
    """IEMOCAP, sessions 1 to 3 for training, 4 for development and 5 for testing: 5,766, 2,103 and 2,170 turns.

    - targets: `emotion` int (N,), an index in `EMOTIONS`, −1 for another category or none; `valence`, `activation`,
      `dominance` float (N,), 1 to 5.
    - auxiliary: actions and tones if the reader has run both tools, else timing; see `turns.auxiliary`.

    Speakers are called Ses01F to Ses05M, and dialogues as their files. `left_out` counts what is transcribed and has no
    evaluation, and lines of the transcriptions that are no turn.

    Args:
        root: the data root, which holds `iemocap/`.

    Raises:
        CorpusError: a session or a file is missing; a file is malformed; a turn stands there twice, or has no
            transcription.
    """
    folder = _folder(root)
    left_out = {"transcribed, without an evaluation": 0, "transcribed, without a turn's name": 0}
    rows = []
    for session, split in SESSIONS.items():
        for dialogue, evaluation, transcription in _dialogues(folder, session):
            spoken, nameless = read_transcription(transcription)
            turns = read_evaluation(evaluation)
            for turn in turns:
                if turn.name not in spoken:
                    reason = f"{turn.name} has no line in {transcription.parent.name}/{transcription.name}"
                    raise CorpusError(reason, path=evaluation, line=turn.line, cure=GET)
            left_out["transcribed, without an evaluation"] += len(spoken) - len(turns)
            left_out["transcribed, without a turn's name"] += nameless
            turns.sort(key=lambda turn: (turn.start, turn.end, turn.name))
            rows += [(dialogue, split, spoken[turn.name], turn) for turn in turns]
    dialogue, split, text = (np.array([row[i] for row in rows], dtype=str) for i in range(3))
    speaker = np.array([_speaker(turn.name) for *_, turn in rows])
    start, end = (np.array([getattr(turn, name) for *_, turn in rows]) for name in ("start", "end"))
    ratings = torch.tensor([turn.ratings for *_, turn in rows]).reshape(-1, 3)
    index = {emotion: i for i, emotion in enumerate(EMOTIONS)} | {None: -1}
    return Dialogues(
        turns=text,
        speaker=speaker,
        dialogue=dialogue,
        start=torch.from_numpy(start),
        end=torch.from_numpy(end),
        targets={"emotion": torch.tensor([index[CATEGORIES[turn.category]] for *_, turn in rows])}
        | dict(zip(DIMENSIONS, ratings.unbind(1), strict=True)),
        auxiliary=talk.auxiliary(folder, text, dialogue, speaker, start, end),
        split=split,
        left_out=left_out,
    )


def is_available(root: str | os.PathLike) -> bool:
    """Whether all five sessions have evaluations and transcriptions."""
    parts = [_folder(root) / f"Session{session}" / "dialog" for session in SESSIONS]
    return all((part / name).is_dir() for part in parts for name in ("EmoEvaluation", "transcriptions"))


def check(root: str | os.PathLike) -> list[tuple[str, str, str, bool]]:
    """Rows (what, expected, found, fine) about the files below the data root.

    Raises:
        CorpusError: as `load`.
    """
    corpus = load(root)
    rows = []
    session = np.array([int(name[4]) for name in corpus.dialogue.tolist()])
    for number, expected in PUBLISHED["sessions"].items():
        found = int((session == number).sum())
        rows.append(
            (f"turns of session {number} ({SESSIONS[number]})", f"{expected:,}", f"{found:,}", found == expected)
        )
    total = sum(PUBLISHED["sessions"].values())
    rows.append(("turns with ratings", f"{total:,}", f"{len(corpus):,}", len(corpus) == total))
    emotion = corpus.targets["emotion"]
    for i, (name, expected) in enumerate(PUBLISHED["classes"].items()):
        found = int((emotion == i).sum())
        rows.append((f"turns of class {name}", f"{expected:,}", f"{found:,}", found == expected))
    total, found = sum(PUBLISHED["classes"].values()), int((emotion >= 0).sum())
    rows.append(("turns of the four classes", f"{total:,}", f"{found:,}", found == total))
    ratings = torch.stack([corpus.targets[name] for name in DIMENSIONS])
    outside = int(((ratings < 1) | (ratings > 5)).any(0).sum())
    rows.append(("turns with a mean rating outside 1 to 5", "few", f"{outside:,}", outside <= len(corpus) // 50))
    by_dialogue, by_speaker = Counter(name[:6] for name in corpus.dialogue.tolist()), Counter(corpus.speaker.tolist())
    fits = [
        what
        for what, count in (("the dialogue", by_dialogue), ("the speaker", by_speaker))
        if all(count[name] == n for name, n in PRINTED.items())
    ]
    said = " and ".join(f"{n} {name}" for name, n in PRINTED.items())
    rows.append(
        (
            f"letter that gives {said} in Table 5",
            "the dialogue's or the speaker's",
            " and ".join(fits) or "neither",
            bool(fits),
        )
    )
    folder = _folder(root)
    agree = checked = 0
    for number in SESSIONS:
        for _, evaluation, _ in _dialogues(folder, number):
            for turn in read_evaluation(evaluation):
                mean = external_mean(turn)
                checked += mean is not None
                agree += mean is not None and bool(np.abs(np.subtract(mean, turn.ratings)).max() < 1e-3)
    rows.append(
        (
            "ratings that are the mean of their evaluators, without the actors",
            "most",
            f"{agree:,} of {checked:,}",
            2 * agree > checked,
        )
    )
    rows += [(f"left out: {reason}", "some", f"{n:,}", True) for reason, n in corpus.left_out.items()]
    return rows


def _folder(root: str | os.PathLike) -> Path:
    return reading.place(root, "iemocap", ("IEMOCAP_full_release",), "Session1")


def _speaker(turn: str) -> str:
    return turn[:5] + turn.rpartition("_")[2][0]


def _dialogues(folder: Path, session: int) -> list[tuple[str, Path, Path]]:
    """Name, evaluation and transcription of the dialogues of a session."""
    of_session = folder / f"Session{session}" / "dialog"
    evaluations, transcriptions = (
        {path.stem: path for path in reading.entries(of_session / name, GET) if path.suffix == ".txt"}
        for name in ("EmoEvaluation", "transcriptions")
    )
    if not evaluations:
        raise CorpusError("no evaluation is there", path=of_session / "EmoEvaluation", cure=GET)
    for one, other, where in (
        (evaluations, transcriptions, "transcriptions"),
        (transcriptions, evaluations, "EmoEvaluation"),
    ):
        for name, path in one.items():
            if name not in other:
                raise CorpusError(f"there is no {where}/{name}.txt", path=path, cure=GET)
    for name, path in evaluations.items():
        if not DIALOGUE.fullmatch(name) or int(name[4]) != session:
            raise CorpusError(f"{name[:40]} is no dialogue of session {session}", path=path, cure=GET)
    return [(name, path, transcriptions[name]) for name, path in evaluations.items()]


def read_evaluation(path: Path) -> list[Turn]:
    """The evaluated turns of a dialogue, in the order of the file.

    Raises:
        CorpusError: it is malformed, or a turn is of another dialogue or there twice.
    """
    turns, seen, block = [], {}, None

    def close() -> None:
        if block is not None:
            turns.append(Turn(*block))

    for number, line in enumerate(lines.split(lines.read(path, GET), path, GET), start=1):
        line = line.rstrip()
        if not line:
            close()
            block = None
        elif line.startswith("% ["):
            if number != 1:
                raise CorpusError("the header stands there a second time", path=path, line=number, cure=GET)
        elif line.startswith("["):
            if block is not None:
                reason = "a turn begins in another: an empty line is missing, or the line stands there twice"
                raise CorpusError(reason, path=path, line=number, cure=GET)
            block = _summary(line, path, number)
            if block[0] in seen:
                reason = f"{block[0]} stands there a second time, after line {seen[block[0]]}"
                raise CorpusError(reason, path=path, line=number, cure=GET)
            seen[block[0]] = number
        elif match := EVALUATOR.fullmatch(line):
            if block is None:
                reason = f"evaluator {match[1]} belongs to no turn: the line of times and name is missing"
                raise CorpusError(reason, path=path, line=number, cure=GET)
            if match[1] in block[5]:
                raise CorpusError(f"evaluator {match[1]} is there twice", path=path, line=number, cure=GET)
            block[5][match[1]] = match[2]
        else:
            raise CorpusError(f"{line[:40]!r} is no line of an evaluation", path=path, line=number, cure=GET)
    close()
    if not turns:
        raise CorpusError("no turn is evaluated", path=path, line=1, cure=GET)
    return turns


def _summary(line: str, path: Path, number: int) -> list:
    match = SUMMARY.fullmatch(line)
    if not match:
        reason = f"{line[:60]!r} is not [start - end], name, category and [valence, activation, dominance] between tabs"
        raise CorpusError(reason, path=path, line=number, cure=GET)
    start, end, name, category, *ratings = match.groups()
    if name.rpartition("_")[0] != path.stem:
        raise CorpusError(f"{name} is no turn of {path.stem}", path=path, line=number, cure=GET)
    if category not in CATEGORIES:
        reason = f"the category {category[:20]!r} is none of {', '.join(CATEGORIES)}"
        raise CorpusError(reason, path=path, line=number, cure=GET)
    times = [reading.number(cell, "a time", 0, 1e5, path, number, GET) for cell in (start, end)]
    if times[1] <= times[0]:
        raise CorpusError(f"{name} does not end after it starts", path=path, line=number, cure=GET)
    rated = tuple(
        reading.number(cell, dimension, *RATED, path, number, GET)
        for dimension, cell in zip(DIMENSIONS, ratings, strict=True)
    )
    return [name, *times, category, rated, {}, number]


def external_mean(turn: Turn) -> tuple[float, float, float] | None:
    """The mean of the ratings of the evaluators that are not the actors; None where one left out a rating."""
    ratings = []
    for name, said in turn.evaluators.items():
        if name.startswith("A-E"):
            match = re.match(r"val\s+(\d);\s*act\s+(\d);\s*dom\s+(\d);", said, re.ASCII)
            if not match:
                return None
            ratings.append([float(cell) for cell in match.groups()])
    return tuple(np.mean(ratings, axis=0).tolist()) if ratings else None


def read_transcription(path: Path) -> tuple[dict[str, str], int]:
    """The words of a dialogue's turns by name, and how many lines are no turn.

    Raises:
        CorpusError: it is malformed, or a turn is of another dialogue or there twice.
    """
    spoken, nameless = {}, 0
    for number, line in enumerate(lines.split(lines.read(path, GET), path, GET), start=1):
        line = line.strip()
        if not line:
            continue
        if match := SPOKEN.fullmatch(line):
            name = match[1]
            if name.rpartition("_")[0] != path.stem:
                raise CorpusError(f"{name} is no turn of {path.stem}", path=path, line=number, cure=GET)
            if name in spoken:
                raise CorpusError(f"{name} stands there a second time", path=path, line=number, cure=GET)
            spoken[name] = match[4].strip()
        else:
            nameless += 1
    return spoken, nameless
