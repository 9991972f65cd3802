"""A small IEMOCAP as its owners lay it out. Sentences are made up; none of the corpus stands here."""

import numpy as np
from trees import Files, text

CATEGORIES = ["ang", "hap", "exc", "neu", "sad", "fru", "xxx", "oth"]
# two dialogues of each session; one name has a letter, one a part and a letter
DIALOGUES = [
    f"Ses0{session}{letter}_{scene}"
    for session in range(1, 6)
    for letter, scene in (("F", "impro05a"), ("M", "script01_1b" if session == 5 else "script01_1"))
]
INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
PRESENCES = (*INTENSITIES[:-1], 28, 45)
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"


def turns(dialogue: str, n: int = 8) -> list[dict]:
    """The turns in the order of the file: first those of F, then those of M, which lie between them in time."""
    rng = np.random.default_rng([DIALOGUES.index(dialogue), n])
    out = []
    for speaker in "FM":
        for i in range(n // 2):
            start = 6.0 + 8 * i + (4 if speaker == "M" else 0) + round(float(rng.uniform(0, 0.5)), 4)
            category = CATEGORIES[(i + 3 * (speaker == "M") + DIALOGUES.index(dialogue)) % len(CATEGORIES)]
            given = rng.integers(1, 6, (2, 3))
            turn = {"name": f"{dialogue}_{speaker}{i:03d}", "speaker": f"{dialogue[:5]}{speaker}"}
            turn |= {"start": start, "end": start + 2.5}
            turn |= {"category": category, "given": given, "ratings": given.mean(0)}
            turn |= {"text": f"Tea number {i}, said {speaker}, with {category} cups."}
            out.append(turn)
    return out


def evaluation(dialogue: str, n: int = 8) -> bytes:
    lines = [HEADER, ""]
    for turn in turns(dialogue, n):
        v, a, d = turn["ratings"]
        (v1, a1, d1), (v2, a2, d2) = turn["given"]
        times = f"[{turn['start']:.4f} - {turn['end']:.4f}]"
        lines += [
            f"{times}\t{turn['name']}\t{turn['category']}\t[{v:.4f}, {a:.4f}, {d:.4f}]",
            "C-E2:\tNeutral;\t()",
            "C-E3:\tNeutral; Frustration;\t()",
            "C-F1:\tNeutral;\t(curious; and\ttabbed)",
            f"A-E3:\tval {v1}; act {a1}; dom  {d1};\t()",
            f"A-E4:\tval {v2}; act {a2}; dom  {d2};\t()",
            "A-F1:\tval 5; act 1; dom  ;\t()",
            "",
        ]
    return text(*lines)


def transcription(dialogue: str, n: int = 8) -> bytes:
    """With a turn that nobody evaluated, and a line that is no turn."""
    lines = [f"{t['name']} [{t['start']:08.4f}-{t['end']:08.4f}]: {t['text']}" for t in turns(dialogue, n)]
    return text(*lines, f"{dialogue}_MXX0 [001.0000-002.0000]: Mm.", "M: (coughs)")


def files(folder: str = "iemocap", n: int = 8) -> Files:
    tree = {}
    for dialogue in DIALOGUES:
        place = f"{folder}/Session{dialogue[4]}/dialog"
        tree[f"{place}/EmoEvaluation/{dialogue}.txt"] = evaluation(dialogue, n)
        tree[f"{place}/transcriptions/{dialogue}.txt"] = transcription(dialogue, n)
        tree[f"{place}/EmoEvaluation/._{dialogue}.txt"] = b"\x00\x05\x16\x07 macOS"
        tree[f"{place}/EmoEvaluation/Categorical/{dialogue}_e2_cat.txt"] = b"one evaluator\n"
        tree[f"{place}/EmoEvaluation/Attribute/{dialogue}_e3_atr.txt"] = b"one evaluator\n"
    return tree


def tones(n: int = 8, skip=()) -> Files:
    """talkturn_vokaturi.csv; turns whose number is in `skip` could not be judged."""
    lines = ["video_id,audio_id,speaker,talkturn no,neutrality,happiness,sadness,anger,fear"]
    for dialogue in DIALOGUES:
        for number, turn in enumerate(sorted(turns(dialogue, n), key=lambda t: t["start"]), start=1):
            if number not in skip:
                happy = round(0.1 + 0.05 * (number % 7), 3)
                lines.append(f"{dialogue},{dialogue},{turn['speaker']},{number},{0.6 - happy:.3f},{happy},0.2,0.1,0.1")
    return {"iemocap/talkturn_vokaturi.csv": text(*lines)}


def faces(n: int = 8, per_second: int = 5) -> Files:
    """OpenFace's table of each dialogue and speaker: AU12 and AU06 are on in every second turn, AU25 always."""
    names = [f"AU{u:02}_r" for u in INTENSITIES] + [f"AU{u:02}_c" for u in PRESENCES]
    tree = {}
    for dialogue in DIALOGUES:
        for letter in "FM":
            lines = [", ".join(["frame", "face_id", "timestamp", "confidence", "success", *names])]
            of_speaker = [t for t in turns(dialogue, n) if t["name"].rpartition("_")[2][0] == letter]
            for frame in range(int((max(t["end"] for t in of_speaker) + 1) * per_second)):
                time = frame / per_second
                smiles = any(t["start"] <= time <= t["end"] and i % 2 for i, t in enumerate(of_speaker))
                units = [1.5 + frame % 3 if u == 25 else 2.0 if smiles and u in (6, 12) else 0.5 for u in INTENSITIES]
                present = [int(u == 25 or (smiles and u in (6, 12))) for u in PRESENCES]
                cells = [frame + 1, 0, f"{time:.3f}", 0.98, 1, *units, *present]
                lines.append(", ".join(map(str, cells)))
            tree[f"iemocap/openface/{dialogue}/{dialogue[:5]}{letter}.csv"] = text(*lines)
    return tree
