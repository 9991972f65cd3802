"""SEMAINE (Solid SAL): people talk with four characters of set temper; raters trace four dimensions of their affect.

McKeown, Valstar, Cowie, Pantic and Schröder, "The SEMAINE database", IEEE Transactions on Affective Computing 3:5,
2012. By agreement. Below `<data root>/semaine/Sessions/`, a folder with a number for each talk with one character:

- `session.xml`: the character, and who is user and operator.
- `2008.12.05.16.03.15_User HeadMounted_Poppy.wav`: of the sound only the name counts. Its time stamp is the
  *recording*, of which several folders (one for each character) are parts; HAN-ROCK's Table 5 lists recordings.
- `wordLevel_alignedTranscript_*_user` and `_operator`, without an extension: `---recording N turn M---`, a line
  `start end WORD` in milliseconds for each word, and `.` at the end of the turn. Turns can be empty.
- `[AR]<rater>[RS]<session>TUC<character>[2]D<dimension>.txt`: one rater's trace of the user, `time value` every 20 ms,
  in [-1, 1]. A is activation, I intensity, P power, V valence; the end of the name is matched whole, or `DA` would take
  `DAm`, `DAn` and `DAgre` in.

A turn is labelled with the mean, from its first word's start to its last word's end, of the mean trace over raters.
Raters' files differ in length and are cut to the shortest. Operators are not labelled here: their turns stay, with
NaN, as what the user answers to.

Table 5 prints recording 2009.06.26.14.38.17 twice, as development (404 turns) and as test data (440): one of the two
must be another, unknown one, or the partitions share a speaker. Here it is development data, and `check` reports it.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uncertain_affect.corpora import lines, reading
from uncertain_affect.corpora import turns as talk
from uncertain_affect.corpora.base import About, CorpusError, Dialogues

DIMENSIONS = {"A": "activation", "I": "intensity", "P": "power", "V": "valence"}
CHARACTERS = {"Po": "poppy", "Sp": "spike", "Pr": "prudence", "Ob": "obadiah"}
OTHERS = ("beginning", "end", "forbidden")  # no talk with a character
TWICE = "2009.06.26.14.38.17"
STEP = 0.02  # seconds between the samples of a trace
MOST_SESSIONS = 10_000

TRACE = re.compile(r"[AR](\d{1,3})[RS](\d{1,3})TUC(Ob|Po|Pr|Sp)2?D([AIPV])\.txt", re.ASCII)
SOUND = re.compile(r"(\d{4}(?:\.\d\d){5})_(User|Operator) HeadMounted_(\w+)\.wav", re.ASCII)
TURN = re.compile(r"---recording (\d{1,6}) turn (\d{1,6})---", re.ASCII)
WORD = re.compile(r"(\d{1,9})\s+(\d{1,9})\s+(\S.*)", re.ASCII)
SAMPLE = re.compile(r"(\S+)\s+(\S+)", re.ASCII)

GET = "See `uncertain-affect data list` for how to get SEMAINE, and where it belongs"
ABOUT = About(
    title="SEMAINE (Solid SAL)",
    purpose="HAN-ROCK: traces of activation, intensity, power and valence of people who talk with four characters",
    licence="research only, by a signed end user licence agreement; its sentences belong in no published output",
    how_to_get="Register at https://semaine-db.eu and send the signed agreement; then download the folders of Sessions "
    "with session.xml, the word-level transcripts, the FeelTrace files, and the sound of the head-mounted microphones",
    layout="semaine/Sessions/<number>/ as distributed; for actions and tones, both optional and used "
    "together: semaine/openface/<dialogue>/<speaker>.csv and semaine/talkturn_vokaturi.csv",
)


SPLITS = {"train": "Train", "val": "Dev", "test": "Test"}  # as printed
# HAN-ROCK's Table 5: how many talkturns each recording has, by split; one is printed twice, and the first one counts.
PRINTED = {
    "train": {
        "2008.12.05.16.03.15": 424, "2009.01.30.12.00.35": 404, "2009.02.12.10.49.45": 686, "2009.05.15.15.04.29": 436,
        "2009.05.29.14.30.05": 760, "2009.05.22.15.17.45": 668, "2009.05.25.11.23.09": 928, "2009.05.26.10.19.53": 790,
        "2009.06.05.10.14.28": 732, "2009.06.15.12.13.06": 958, "2009.06.19.14.01.24": 586, "2009.10.27.16.17.38": 440,
    },
    "val": {
        "2008.12.19.11.03.11": 188, "2009.01.06.14.53.49": 472, "2009.05.12.15.02.01": 448, "2009.05.08.11.28.48": 752,
        TWICE: 404,
    },
    "test": {
        TWICE: 440, "2008.12.14.14.47.07": 372, "2009.01.06.12.41.42": 264, "2009.01.28.15.35.20": 364,
        "2009.06.26.14.09.45": 448,
    },
}  # fmt: skip
PARTITION = {name: split for split in ("test", "val", "train") for name in PRINTED[split]}


@dataclass(frozen=True)
class Turn:
    """One turn of a transcript: its number, start and end in seconds, and words."""

    number: int
    start: float
    end: float
    words: str


def load(root: str | os.PathLike) -> Dialogues:
    """SEMAINE, users' and operators' turns, in the partition of HAN-ROCK's Table 5.

    - targets `activation`, `intensity`, `power`, `valence` float (N,), −1 to 1; NaN for an operator's turn, where
      nobody traced this dimension, and where the traces end before the turn begins.
    - auxiliary: actions and tones if the reader has run both tools, else timing; see `turns.auxiliary`.

    Speakers are called by the ids of session.xml, and dialogues `<recording>_<folder>_<character>`. `left_out` counts
    folders that are no talk with a character, that have no words or no traces of the user, or whose recording is in no
    partition; turns without a word; and samples of traces beyond the end of the shortest.

    Args:
        root: the data root, which holds `semaine/`.

    Raises:
        CorpusError: a file is missing or malformed, or folders contradict each other.
    """
    folder = _folder(root)
    split = PARTITION
    left_out = dict.fromkeys(
        (
            "folder: no talk with a character", "folder: no words of the user", "folder: nobody traced the user",
            "folder: the recording is in no partition", "turn without a word", "trace sample after the shortest trace",
            "trace sample that is missing to the longest of its folder",
        ),
        0,
    )  # fmt: skip
    rows = []
    for session in _sessions(folder):
        character, people = read_session(session / "session.xml")
        if character in OTHERS:
            left_out["folder: no talk with a character"] += 1
            continue
        files = reading.entries(session, GET)
        recording = _recording(session, files)
        if recording not in split:
            left_out["folder: the recording is in no partition"] += 1
            continue
        turns = {role: _turns(files, role) for role in ("user", "operator")}
        if turns["user"] is None or not any(turn.words for turn in turns["user"]):
            left_out["folder: no words of the user"] += 1
            continue
        begin, traces = _traces(session, files, character)
        if not traces:
            left_out["folder: nobody traced the user"] += 1
            continue
        longest, mean = max(len(t) for of_raters in traces.values() for t in of_raters.values()), {}
        for dimension, of_raters in traces.items():
            mean[dimension], dropped = mean_trace(of_raters)
            left_out["trace sample after the shortest trace"] += dropped
            missing = sum(longest - len(trace) for trace in of_raters.values())
            left_out["trace sample that is missing to the longest of its folder"] += missing
        said = []
        for role, of_role in turns.items():
            for turn in of_role or ():
                if not turn.words:
                    left_out["turn without a word"] += 1
                    continue
                labels = [_label(mean.get(d), turn, begin) if role == "user" else np.nan for d in DIMENSIONS.values()]
                said.append((turn.start, turn.end, people[role], turn.words, labels))
        said.sort(key=lambda row: row[:3])
        name = f"{recording}_{session.name}_{character}"
        rows += [(name, split[recording], *row) for row in said]
    if not rows:
        raise CorpusError("no turn of any recording of Table 5 is there", path=folder, cure=GET)
    dialogue, splits, speaker, text = (np.array([row[i] for row in rows], dtype=str) for i in (0, 1, 4, 5))
    start, end = (np.array([row[i] for row in rows], dtype=float) for i in (2, 3))
    labels = torch.tensor([row[6] for row in rows], dtype=torch.float32)
    return Dialogues(
        turns=text,
        speaker=speaker,
        dialogue=dialogue,
        start=torch.from_numpy(start),
        end=torch.from_numpy(end),
        targets=dict(zip(DIMENSIONS.values(), labels.unbind(1), strict=True)),
        auxiliary=talk.auxiliary(folder, text, dialogue, speaker, start, end),
        split=splits,
        left_out=left_out,
    )


def is_available(root: str | os.PathLike) -> bool:
    """Whether a folder of a session is there."""
    sessions = _folder(root) / "Sessions"
    return sessions.is_dir() and any((sessions / str(n) / "session.xml").is_file() for n in range(1, 200))


def check(root: str | os.PathLike) -> list[tuple[str, str, str, bool]]:
    """Rows (what, expected, found, fine) about the files below the data root.

    The paper's counts of turns stand beside those found and are not demanded: how it counts is not known.

    Raises:
        CorpusError: as `load`.
    """
    corpus = load(root)
    recording = np.array([name.split("_")[0] for name in corpus.dialogue.tolist()])
    rows = []
    for name, split in PARTITION.items():
        printed = " or ".join(f"{turns[name]} in {SPLITS[part]}" for part, turns in PRINTED.items() if name in turns)
        here = recording == name
        what = f"turns of {name}" + (" (printed in two partitions)" if name == TWICE else "")
        rows.append((what, f"{printed} in Table 5", f"{int(here.sum())} in {split}", bool(here.any())))
    shared = {part: set(corpus.speaker[corpus.split == part].tolist()) for part in ("train", "val", "test")}
    both = (shared["test"] & (shared["train"] | shared["val"])) | (shared["train"] & shared["val"])
    rows.append(("speakers in two partitions", "0 by the paper", f"{len(both)}", True))
    labelled = torch.stack([corpus.targets[d] for d in DIMENSIONS.values()]).isfinite()
    for i, dimension in enumerate(DIMENSIONS.values()):
        rows.append((f"turns with {dimension}", "some", f"{int(labelled[i].sum()):,}", bool(labelled[i].any())))
    rows += [(f"left out: {reason}", "some", f"{n:,}", True) for reason, n in corpus.left_out.items()]
    return rows


def _folder(root: str | os.PathLike) -> Path:
    return reading.place(root, "semaine", (), "Sessions")


def _sessions(folder: Path) -> list[Path]:
    """The numbered folders, in order."""
    found = [p for p in reading.entries(folder / "Sessions", GET) if re.fullmatch(r"\d{1,6}", p.name, re.ASCII)]
    if len(found) > MOST_SESSIONS:
        raise CorpusError(f"more than {MOST_SESSIONS:,} sessions", path=folder / "Sessions", cure=GET)
    return sorted(found, key=lambda path: int(path.name))


def read_session(path: Path) -> tuple[str, dict[str, str]]:
    """The character in lower case, and the ids of user and operator, from a session.xml.

    Raises:
        CorpusError: it is malformed, or names a file that does not lie beside it.
    """
    session = reading.xml(path, GET)
    character = (session.get("character") or "").strip().lower()
    if character not in (*CHARACTERS.values(), *OTHERS):
        raise CorpusError(f"the character is {character[:20]!r}", path=path, line=1, cure=GET)
    people = {}
    for subject in session.iter("subject"):
        role, name = (subject.get("role") or "").strip().lower(), (subject.get("id") or "").strip()
        if role not in ("user", "operator") or not name:
            raise CorpusError(
                "a subject without an id, or who is neither User nor Operator", path=path, line=1, cure=GET
            )
        if role in people:
            raise CorpusError(f"two subjects are {role}", path=path, line=1, cure=GET)
        people[role] = name
    if character in CHARACTERS.values() and set(people) != {"user", "operator"}:
        raise CorpusError("not one user and one operator", path=path, line=1, cure=GET)
    for annotation in session.iter("annotation"):
        if name := annotation.get("filename"):
            reading.named(path.parent, name, path, 1, GET)
    return character, people


def _recording(session: Path, files: list[Path]) -> str:
    """The time stamp that the sound files of a folder share."""
    stamps = {match[1] for path in files if (match := SOUND.fullmatch(path.name))}
    if len(stamps) != 1:
        reason = (
            "no sound of a head-mounted microphone tells" if not stamps else f"{' and '.join(sorted(stamps))} are both"
        )
        raise CorpusError(f"{reason} the time stamp of the recording", path=session, cure=GET)
    return stamps.pop()


def _turns(files: list[Path], role: str) -> list[Turn] | None:
    found = [p for p in files if p.name.startswith("wordLevel_alignedTranscript") and p.name.endswith(f"_{role}")]
    if len(found) > 1:
        raise CorpusError(f"a second transcript of the {role}, beside {found[0].name}", path=found[1], cure=GET)
    return read_words(found[0]) if found else None


def read_words(path: Path) -> list[Turn]:
    """The turns of a word-level transcript, in the order of the file.

    Raises:
        CorpusError: it is malformed; a turn is twice there or does not end; or words are not in the order of time.
    """
    turns, seen, number, words = [], {}, None, []
    if not lines.read(path, GET).strip():
        return []  # nothing was said
    for line, row in enumerate(lines.split(lines.read(path, GET), path, GET), start=1):
        row = row.strip()
        if not row:
            continue
        if match := TURN.fullmatch(row):
            if number is not None:
                raise CorpusError(f"turn {number} has no end: its '.' is missing", path=path, line=line, cure=GET)
            number, words = int(match[2]), []
            if number in seen:
                reason = f"turn {number} stands there a second time, after line {seen[number]}"
                raise CorpusError(reason, path=path, line=line, cure=GET)
            seen[number] = line
        elif number is None:
            reason = f"{row[:40]!r} belongs to no turn: its '---recording N turn M---' is missing"
            raise CorpusError(reason, path=path, line=line, cure=GET)
        elif row == ".":
            said = " ".join(word for *_, word in words if not re.fullmatch("<.*>", word))
            turns.append(Turn(number, words[0][0] if words else 0.0, words[-1][1] if words else 0.0, said))
            number = None
        elif match := WORD.fullmatch(row):
            start, end = int(match[1]) / 1000, int(match[2]) / 1000
            word = start, end, match[3].strip()
            if end < start or (words and (start < words[-1][0] or word == words[-1])):
                reason = "a word that ends before it starts, starts before the one before, or is twice there"
                raise CorpusError(reason, path=path, line=line, cure=GET)
            words.append(word)
        else:
            raise CorpusError(f"{row[:40]!r} is not start, end and word", path=path, line=line, cure=GET)
    if number is not None:
        raise CorpusError(f"turn {number} has no end: its '.' is missing", path=path, line=line, cure=GET)
    return turns


def _traces(session: Path, files: list[Path], character: str) -> tuple[float, dict[str, dict[str, np.ndarray]]]:
    """When the user's traces of this folder begin, all at the same time, and they by dimension and rater."""
    traces, begins, first = {}, {}, 0.0
    for path in files:
        if not (match := TRACE.fullmatch(path.name)):
            continue
        rater, number, of, letter = match.groups()
        if number.lstrip("0") != session.name.lstrip("0") or CHARACTERS[of] != character:
            reason = f"a trace of session {number}, {CHARACTERS[of]}, in the folder of {session.name}, {character}"
            raise CorpusError(reason, path=path, cure=GET)
        of_dimension = traces.setdefault(DIMENSIONS[letter], {})
        if rater in of_dimension:
            raise CorpusError(f"a second trace of {DIMENSIONS[letter]} by rater {rater}", path=path, cure=GET)
        begin, of_dimension[rater] = read_trace(path)
        begins[path] = begin
    if begins:
        first = min(begins.values())
        for path, begin in begins.items():
            if begin - first > STEP / 2:
                reason = f"it begins at {begin:g} s and another trace at {first:g} s: a row is missing"
                raise CorpusError(reason, path=path, line=1, cure=GET)
        if first > 1.5 * STEP:
            path = min(begins, key=begins.get)
            raise CorpusError(f"it begins at {first:g} s: rows are missing", path=path, line=1, cure=GET)
    return first, traces


def read_trace(path: Path) -> tuple[float, np.ndarray]:
    """When a trace begins, in seconds, and its values float64 (n,), one every 20 ms.

    Raises:
        CorpusError: it is malformed, or samples are not 20 ms apart.
    """
    times, values = [], []
    for line, row in enumerate(lines.split(lines.read(path, GET), path, GET), start=1):
        row = row.strip()
        if not row:
            continue
        match = SAMPLE.fullmatch(row)
        if not match:
            raise CorpusError(f"{row[:40]!r} is not time and value", path=path, line=line, cure=GET)
        times.append(reading.number(match[1], "the time", 0, 1e5, path, line, GET))
        values.append(reading.number(match[2], "the value", -1, 1, path, line, GET))
        if len(times) > 1 and abs(times[-1] - times[-2] - STEP) > STEP / 2:
            reason = (
                f"{times[-1]:g} s after {times[-2]:g} s, where {STEP} s are the step: a row is missing or twice there"
            )
            raise CorpusError(reason, path=path, line=line, cure=GET)
    return times[0], np.array(values)


def mean_trace(of_raters: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """The mean (n,) over raters, up to the end of the shortest trace, and how many samples lie after it."""
    n = min(len(trace) for trace in of_raters.values())
    dropped = sum(len(trace) - n for trace in of_raters.values())
    return np.mean([trace[:n] for trace in of_raters.values()], axis=0), dropped


def _label(mean: np.ndarray | None, turn: Turn, begin: float) -> float:
    """The mean, over a turn, of a trace that begins at `begin`; NaN where there is none."""
    if mean is None:
        return np.nan
    first, last = (round((time - begin) / STEP) for time in (turn.start, turn.end))
    part = mean[max(first, 0) : max(last + 1, 0)]
    return float(part.mean()) if len(part) else np.nan
