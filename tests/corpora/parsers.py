"""Every parser of a file that others wrote, each as a call on a path, with small whole files to start from.

Tests and the fuzzer give them any bytes: what comes back is a result, or a `CorpusError` that names the file.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import trees_iemocap
import trees_recola
import trees_semaine
from trees import text
from trees_faces import AFFWILD2_UNITS, BP4D_HEADER, EXPRESSIONS, face

from uncertain_affect.corpora import (
    affwild2,
    bp4d,
    ceap360vr,
    disfa,
    emobank,
    ferplus,
    iemocap,
    meld,
    openface,
    recola,
    semaine,
)
from uncertain_affect.corpora.turns import VOKATURI, tones


@dataclass(frozen=True)
class Parser:
    """A call on the path of a file of this name, and a whole file for it."""

    call: Callable[[Path], object]
    file: str
    seed: bytes


def _ceap(part: str, *rows: list) -> Parser:
    p = ceap360vr.PARTS[part]
    samples = [dict(zip(p.columns, row, strict=True)) for row in rows]
    content = {p.top: [{"ParticipantID": "1", p.videos: [{"VideoID": "V1", p.samples: samples}]}]}
    return Parser(lambda path: ceap360vr._samples(path, p, "P1"), "P1.json", json.dumps(content).encode())


def _images(path: Path):
    table = ferplus.Table(ferplus.File(path), (), [])
    table.lines = [2]
    usage, names, votes, kept = np.array(["Training"]), np.array(["a"]), np.ones((1, 10), int), np.array([True])
    return ferplus.read_images(path, ferplus.Labels(table, usage, names, votes, kept))


def _tones(path: Path):
    spoken = sorted(trees_iemocap.turns(DIALOGUE), key=lambda turn: turn["start"])
    return tones(path, pd.DataFrame({"dialogue": DIALOGUE, "speaker": [turn["speaker"] for turn in spoken]}))


VOTES = text(
    ",".join(ferplus.LABELS_HEADER),
    "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0",
    "PublicTest,fer0000001.png,6,0,1,1,0,0,0,0,2,0",
    "PrivateTest,fer0000002.png,0,10,0,0,0,0,0,0,0,0",
    "Training,,0,0,0,0,0,0,0,0,0,10",
)
PIXELS = " ".join(map(str, range(256))) + " " + " ".join(["7"] * (48 * 48 - 256))
UTTERANCES = (
    ",".join(meld.HEADER)
    + '\n1,"Tea, please.",Ross,neutral,neutral,0,0,1,1,"00:00:01,000","00:00:02,500"'
    + "\n2,No\x92.,Monica,anger,negative,0,1,1,1,'0:00:03,1','0:00:04,20'\n"
).encode("latin-1")
BP4D = text(",".join(map(str, BP4D_HEADER)), "7," + "0,9,1," * 7 + "1,0", "8" + ",0" * 23)
RECOLA = trees_recola.files(9, ())["recola/ratings_individual/valence/train_1.csv"]
DIALOGUE = trees_iemocap.DIALOGUES[0]
TRANSCRIBED = trees_iemocap.transcription(DIALOGUE, 4)
TONES = trees_iemocap.tones()["iemocap/" + VOKATURI]
RATES = {"VideoInfo": [{"VideoID": f"V{i}", "FrameRate": 30} for i in range(9)]}
LUMINANCE_OF = functools.partial(ceap360vr._luminance, rates=dict.fromkeys(ceap360vr.VIDEOS, 1.0))
LUMINANCE = [",".join(ceap360vr.LUMINANCE_HEADER), *(f"{i}" + ",7" * 9 for i in range(61))]
AU_HEADER = ",".join(f"AU{unit}" for unit in AFFWILD2_UNITS)
AFFWILD2 = {
    "AU": text(AU_HEADER, "0,1,0,0,0,0,0,0,0,0,1,-1"),
    "EXPR": text(",".join(EXPRESSIONS), "-1", "3"),
    "VA": text("valence,arousal", "0.1,-0.2", "-5,-5"),
}

PARSERS = {
    "ferplus votes": Parser(ferplus.read_labels, ferplus.LABELS, VOTES),
    "ferplus pixels": Parser(_images, "fer2013.csv", text("emotion,pixels,Usage", f"0,{PIXELS},Training")),
    "ferplus png": Parser(lambda path: ferplus.read_png(path, 1), "fer0000000.png", face(7, "PNG", mode="L")),
    "meld": Parser(lambda path: meld._read(path, "test"), meld.FILES["test"], UTTERANCES),
    "emobank": Parser(emobank._documents, emobank.META, text("\t".join(emobank.META_HEADER), "T_0_9\tT\tfiction\t ")),
    "ceap360vr annotation": _ceap("no annotation", [0.1, 5, 5], [0.2, 6, 4]),
    "ceap360vr gaze": _ceap("no gaze fixations", [0, 9, -5.5, 170], [20, 31, 6, -4]),
    "ceap360vr videos": Parser(ceap360vr._frame_rates, "VideoInfo.json", json.dumps(RATES).encode()),
    "ceap360vr luminance": Parser(LUMINANCE_OF, "VideoLuminance.csv", text(*LUMINANCE)),
    "bp4d": Parser(bp4d.read_labels, "F001_T1.csv", BP4D),
    "disfa": Parser(disfa.read_labels, "SN001_au1.txt", text("1,0", "2,5", "3,1")),
    **{
        f"affwild2 {task.lower()}": Parser(functools.partial(affwild2.read_labels, task=task), "1.txt", seed)
        for task, seed in AFFWILD2.items()
    },
    "affwild2 list": Parser(
        affwild2.read_list, "train_set.txt",
        text("image,valence,arousal,expression," + AU_HEADER, "130/00002.jpg,0,1,2" + ",0" * 12),
    ),
    "openface": Parser(openface.read, "video.csv", next(iter(trees_iemocap.faces(2, 1).values()))),
    "recola gold standard": Parser(
        lambda path: recola.read_gold(path, "dev_1"), "dev_1.arff", trees_recola.gold("dev_1", "valence", 9)
    ),
    "recola features": Parser(
        lambda path: recola.read_features(path, 2), "dev_1.arff", trees_recola.features("dev_1", "x", "valence", 9, 2)
    ),
    "recola ratings": Parser(recola.read_raters, "dev_1.csv", RECOLA),
    "iemocap evaluation": Parser(iemocap.read_evaluation, f"{DIALOGUE}.txt", trees_iemocap.evaluation(DIALOGUE, 4)),
    "iemocap transcription": Parser(iemocap.read_transcription, f"{DIALOGUE}.txt", TRANSCRIBED),
    "tones": Parser(_tones, VOKATURI, b"\n".join(TONES.splitlines()[:5])),
    "semaine session": Parser(semaine.read_session, "session.xml", trees_semaine.session_xml(2, "r", "Poppy", 1)),
    "semaine words": Parser(semaine.read_words, "words_user", trees_semaine.words(2, "user", 2)),
    "semaine trace": Parser(semaine.read_trace, "R1S1TUCPoDV.txt", b"0.00 0.1\n\n0.02 -0.25\n0.04 1\n"),
}  # fmt: skip
