"""Every parser of a file that others wrote, each as a call on a path, with small whole files to start from.

Tests and the fuzzer give them any bytes: what comes back is a result, or a `CorpusError` that names the file.
"""

import importlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trees_iemocap
import trees_recola
import trees_semaine
from PIL import Image

from uncertain_affect.corpora import ceap360vr, ferplus, iemocap, meld, recola, semaine, tones


@dataclass(frozen=True)
class Parser:
    """A call on the path of a file of this name, and whole files for it."""

    call: Callable[[Path], object]
    file: str
    seeds: Iterable[bytes]


def _png(level: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (48, 48), level).save(out, "PNG")
    return out.getvalue()


def _ceap(part: str, *rows: list) -> bytes:
    p = ceap360vr.PARTS[part]
    samples = [dict(zip(p.columns, row, strict=True)) for row in rows]
    content = {p.top: [{"ParticipantID": "1", p.videos: [{"VideoID": "V1", p.samples: samples}]}]}
    return json.dumps(content).encode()


VOTES = (
    ",".join(ferplus.LABELS_HEADER)
    + "\nTraining,fer0000000.png,4,0,0,1,3,2,0,0,0,0\nPublicTest,fer0000001.png,6,0,1,1,0,0,0,0,2,0"
    + "\nPrivateTest,fer0000002.png,0,10,0,0,0,0,0,0,0,0\nTraining,,0,0,0,0,0,0,0,0,0,10\n"
).encode()
PIXELS = " ".join(map(str, range(256))) + " " + " ".join(["7"] * (48 * 48 - 256))
UTTERANCES = (
    ",".join(meld.HEADER)
    + '\n1,"Tea, please.",Ross,neutral,neutral,0,0,1,1,"00:00:01,000","00:00:02,500"'
    + "\n2,No\x92.,Monica,anger,negative,0,1,1,1,'0:00:03,1','0:00:04,20'\n"
).encode("latin-1")
DIALOGUE = trees_iemocap.DIALOGUES[0]


def _images(path: Path):
    labels = ferplus._Labels(
        path, np.array([2]), np.array(["Training"]), np.array(["a"]), np.ones((1, 10), int), np.array([True])
    )
    return ferplus._read_images(path, labels)


def _tones(path: Path):
    turns = sorted(trees_iemocap.turns(DIALOGUE), key=lambda turn: turn["start"])
    return tones.read(path, np.array([DIALOGUE] * len(turns)), np.array([turn["speaker"] for turn in turns]))


PARSERS = {
    "ferplus votes": Parser(ferplus._read_labels, ferplus.LABELS, [VOTES]),
    "ferplus pixels": Parser(_images, "fer2013.csv", [f"emotion,pixels,Usage\n0,{PIXELS},Training\n".encode()]),
    "ferplus png": Parser(lambda path: ferplus._decode(path, 1), "fer0000000.png", [_png(7)]),
    "meld": Parser(lambda path: meld._read(path, "test"), meld.FILES["test"], [UTTERANCES]),
    "ceap360vr annotation": Parser(
        lambda path: ceap360vr._samples(path, ceap360vr.PARTS["no annotation"], "P1"),
        "P1.json",
        [_ceap("no annotation", [0.1, 5, 5], [0.2, 6, 4])],
    ),
    "ceap360vr gaze": Parser(
        lambda path: ceap360vr._samples(path, ceap360vr.PARTS["no gaze fixations"], "P1"),
        "P1.json",
        [_ceap("no gaze fixations", [0, 9, -5.5, 170], [20, 31, 6, -4])],
    ),
    "ceap360vr videos": Parser(
        ceap360vr._frame_rates,
        "VideoInfo.json",
        [json.dumps({"VideoInfo": [{"VideoID": f"V{i}", "FrameRate": 30} for i in range(9)]}).encode()],
    ),
    "ceap360vr luminance": Parser(
        lambda path: ceap360vr._luminance(path, dict.fromkeys(ceap360vr.VIDEOS, 1.0)),
        "VideoLuminance.csv",
        ["\n".join([",".join(ceap360vr.LUMINANCE_HEADER), *(f"{i}" + ",7" * 9 for i in range(61))]).encode()],
    ),
    "recola gold standard": Parser(
        lambda path: recola.gold_standard(path, "dev_1"), "dev_1.arff", [trees_recola.gold("dev_1", "valence", 9)]
    ),
    "recola features": Parser(
        lambda path: recola.feature_table(path, 2), "dev_1.arff", [trees_recola.features("dev_1", "x", "valence", 9, 2)]
    ),
    "recola ratings": Parser(
        recola.individual_ratings,
        "dev_1.csv",
        [trees_recola.files(9, ())["recola/ratings_individual/valence/train_1.csv"]],
    ),
    "iemocap evaluation": Parser(iemocap.read_evaluation, f"{DIALOGUE}.txt", [trees_iemocap.evaluation(DIALOGUE, 4)]),
    "iemocap transcription": Parser(
        iemocap.read_transcription, f"{DIALOGUE}.txt", [trees_iemocap.transcription(DIALOGUE, 4)]
    ),
    "tones": Parser(
        _tones, tones.FILE, ["\n".join(next(iter(trees_iemocap.tones().values())).decode().splitlines()[:5]).encode()]
    ),
    "semaine session": Parser(semaine.read_session, "session.xml", [trees_semaine.session_xml(2, "r", "Poppy", 1)]),
    "semaine words": Parser(semaine.read_words, "words_user", [trees_semaine.words(2, "user", 2)]),
    "semaine trace": Parser(semaine.read_trace, "R1S2TUCPoDV.txt", [b"0.00 0.1\n\n0.02 -0.25\n0.04 1\n"]),
}


def _of_faces() -> dict[str, Parser]:
    """Those of the corpora of faces, where they are part of the library."""
    found = {}

    def add(name: str, module: str, function: str, file: str, *seeds: bytes, arguments: tuple = ()) -> None:
        try:
            call = getattr(importlib.import_module(f"uncertain_affect.corpora.{module}"), function)
        except (ImportError, AttributeError):
            return
        found[name] = Parser(lambda path: call(path.read_bytes(), path, *arguments), file, seeds)

    units = "1,2,4,5,6,7,9,10,11,12,13,14,15,16,17,18,19,20,22,23,24,27,28"
    add("bp4d", "bp4d", "parse_labels", "F001_T1.csv", f"0,{units}\n7,{'0,9,1,' * 7}1,0\n8{',0' * 23}\n".encode())
    add("disfa", "disfa", "parse_labels", "SN001_au1.txt", b"1,0\n2,5\n3,1\n")
    add(
        "affwild2 au", "affwild2", "parse_labels", "1.txt",
        b"AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26\n0,1,0,0,0,0,0,0,0,0,1,-1\n", arguments=("AU",),
    )  # fmt: skip
    add(
        "affwild2 expr",
        "affwild2",
        "parse_labels",
        "1.txt",
        b"Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n-1\n3\n",
        arguments=("EXPR",),
    )
    add("affwild2 va", "affwild2", "parse_labels", "1.txt", b"valence,arousal\n0.1,-0.2\n-5,-5\n", arguments=("VA",))
    mtl = "image,valence,arousal,expression,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
    add("affwild2 mtl", "affwild2", "parse_mtl", "train_set.txt", f"{mtl}\n1/00001.jpg,0.1,-5,3{',0' * 12}\n".encode())
    openface = next(iter(trees_iemocap.faces(2, 1).values()))
    add("openface", "openface", "parse", "video.csv", openface)
    return found


PARSERS |= _of_faces()
