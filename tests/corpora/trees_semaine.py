"""A small SEMAINE as its owners lay it out. Sentences are made up; none of the corpus stands here."""

import numpy as np
from trees import Files, text

RECORDINGS = {"2008.12.05.16.03.15": "train", "2009.06.26.14.38.17": "val", "2008.12.14.14.47.07": "test"}
CHARACTERS = {"Poppy": "Po", "Spike": "Sp"}
RATERS = {"A": (1, 2), "V": (1, 2), "P": (1, 2), "I": (6,)}  # intensity by another rater


# The folders of each recording: a talk with each character, between folders of no talk.
FIRST_FOLDER = dict(zip(RECORDINGS, (2, 8, 13), strict=True))


def numbers() -> dict[int, tuple[str, str]]:
    """Recording and character of each numbered folder."""
    return {
        first + i: (recording, character)
        for recording, first in FIRST_FOLDER.items()
        for i, character in enumerate(CHARACTERS)
    }


def recording_number(recording: str) -> int:
    """What stands in the names of traces: not the number of the folder."""
    return list(RECORDINGS).index(recording) + 1 if recording in RECORDINGS else 9


def words(number: int, role: str, turns: int = 4) -> bytes:
    """User and operator take turns of 2 s, with even and odd numbers. The user's second turn is empty."""
    lines = []
    for turn in range(role == "operator", 2 * turns, 2):
        start = 2000 * turn + 100 * number
        said = ((0, 300, "WELL"), (300, 640, "<LAUGH>"), (700, 1500, "TEA,")) if turn != 2 else ()
        rows = (f"{start + begin} {start + end} {word}" for begin, end, word in said)
        lines += [f"---recording {number} turn {turn}---", *rows, "."]
    return text(*lines, "")


def trace(number: int, rater: int, dimension: str, samples: int) -> np.ndarray:
    shift = number + 0.3 * rater + "AVPI".index(dimension)
    return np.round(0.7 * np.sin(np.arange(samples) / 90 + shift), 6)


def session_xml(number: int, recording: str, character: str, user: int) -> bytes:
    trace = f"R1S{recording_number(recording)}TUC{CHARACTERS.get(character, 'Po')}DA.txt"
    return text(
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<session sessionId="{number}" recording="{recording}" character="{character}">',
        f'  <subject role="User" id="{user}"/>',
        '  <subject role="Operator" id="90"/>',
        f'  <track type="AV" filename="{number}.avi">',
        f'    <annotation type="FeelTrace" filename="{trace}"/>',
        "  </track>",
        "</session>",
    )


def files(turns: int = 4, shorter: int = 5) -> Files:
    """Rater 2 stops `shorter` samples before rater 1. Beside what is read lie files with names much like it."""
    tree = {}
    for number, (recording, character) in numbers().items():
        place, code, talk = f"semaine/Sessions/{number}", CHARACTERS[character], recording_number(recording)
        samples = 200 * turns + 100
        user = list(RECORDINGS).index(recording) + 1
        tree[f"{place}/session.xml"] = session_xml(number, recording, character, user)
        for role in ("User", "Operator"):
            tree[f"{place}/{recording}_{role} HeadMounted_{character}.wav"] = b"RIFF"
            name = f"wordLevel_alignedTranscript_{number}_{role.lower()}"
            tree[f"{place}/{name}"] = words(number, role.lower(), turns)
        tree[f"{place}/alignedTranscript_{number}.txt"] = b"--- turn ---\n"
        for dimension, raters in RATERS.items():
            for rater in raters:
                values = trace(number, rater, dimension, samples - (shorter if rater == 2 else 0))
                lines = [f"{k * 0.02:.2f} {v:.6f}" for k, v in enumerate(values)]
                two = "2" if number % 2 else ""
                tree[f"{place}/R{rater}S{talk}TUC{code}{two}D{dimension}.txt"] = text(*lines[:3], "", *lines[3:])
        # amusement, anger, agreement, interest: not activation or intensity; and the operator
        for name in (f"TUC{code}DAm", f"TUC{code}DAn", f"TUC{code}DAgre", f"TUC{code}DIn", f"TOC{code}DA"):
            tree[f"{place}/R1S{talk}{name}.txt"] = b"0.00 0.999\n"
    last = max(numbers()) + 1
    for number, character in enumerate(("beginning", "end", "forbidden"), start=last):
        tree[f"semaine/Sessions/{number}/session.xml"] = session_xml(number, "", character, 1)
    # a recording of no partition, and folders that no user speaks in, or nobody traced
    extra = last + 3
    for number, recording, traced, said in (
        (extra, "2010.01.01.00.00.00", True, True),
        (extra + 1, "2008.12.05.16.03.15", True, False),
        (extra + 2, "2008.12.05.16.03.15", False, True),
    ):
        place = f"semaine/Sessions/{number}"
        tree[f"{place}/session.xml"] = session_xml(number, recording, "Prudence", 1)
        tree[f"{place}/{recording}_User HeadMounted_Prudence.wav"] = b"RIFF"
        if said:
            tree[f"{place}/wordLevel_alignedTranscript_{number}_user"] = words(number, "user", turns)
        if traced:
            tree[f"{place}/R1S{recording_number(recording)}TUCPrDV.txt"] = text("0.00 0.1", "0.02 0.1")
    return tree
