"""Small BP4D, DISFA and Aff-Wild2 in their official layout, with what is odd in the real ones.

Each function makes the files of a corpus, and returns with them the labels that they hold. A face is a square of one
brightness, `shade` of its frame, so that a test can tell which frame a row of the result shows. With `every` only the
first of so many frames has a face.
"""

import io
import struct

import numpy as np
from PIL import Image
from trees import Files, text

BP4D_HEADER = (0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 27, 28)
DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
AFFWILD2_UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
AU, VA = "AU_Detection_Challenge", "VA_Estimation_Challenge"
FOLDERS = {
    2021: ("annotations", "AU_Set", "EXPR_Set", "VA_Set"),
    2022: ("Third ABAW Annotations", AU, "EXPR_Classification_Challenge", VA),
    2024: ("6th ABAW Annotations", AU, "EXPR_Recognition_Challenge", VA),
}


def shade(frame: int) -> int:
    """Grey level of a frame's face."""
    return 40 + 3 * (frame % 60)


def face(grey: int, kind: str = "JPEG", side: int = 48, height: int | None = None, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (side, height or side), (grey,) * len(mode)).save(out, kind, quality=95)
    return out.getvalue()


def bp4d(sequences: dict, every: int = 1) -> tuple[Files, dict]:
    """With so many coded frames in each (subject, task); first frame and cells (n, 23) by sequence.

    Names of images have as many digits as the sequence's longest, in every third sequence two more; frames before the
    first coded one have an image too, and the third coded one of each sequence has none.
    """
    rng = np.random.default_rng(0)
    files, made = {"bp4d/AUCoding/AU_OCC/._F001_T1.csv": b"\x00\x05macOS"}, {}
    for i, ((subject, task), n) in enumerate(sequences.items()):
        first = (2440, 95, 732)[i % 3]
        cells = (rng.random((n, len(BP4D_HEADER) - 1)) < 0.4).astype(int)
        cells[rng.random(cells.shape) < 0.02] = 9
        rows = [BP4D_HEADER, *((first + k, *row) for k, row in enumerate(cells.tolist()))]
        files[f"bp4d/AUCoding/AU_OCC/{subject}_{task}.csv"] = text(*(",".join(map(str, row)) for row in rows))
        width = len(str(first + n)) + 2 * (i % 3 == 2)
        for frame in {first - 1, *range(first, first + n, every)} - {first + 2}:
            files[f"bp4d/faces/{subject}/{task}/{frame:0{width}}.jpg"] = face(shade(frame))
        made[subject, task] = first, cells
    return files, made


def disfa(frames: dict, every: int = 1) -> tuple[Files, dict]:
    """With so many frames of each subject; intensities (n, 12) by subject.

    Crops are numbered from 0 as PNGs; the second frame has none, and two more than the labels have are there.
    """
    rng = np.random.default_rng(0)
    files, made = {}, {}
    for subject, n in frames.items():
        made[subject] = rng.integers(0, 6, (n, len(DISFA_UNITS)))
        for unit, values in zip(DISFA_UNITS, made[subject].T.tolist(), strict=True):
            lines = [f"{k},{value}" for k, value in enumerate(values, start=1)]
            files[f"disfa/ActionUnit_Labels/{subject}/{subject}_au{unit}.txt"] = text(*lines, end="\r\n")
        for image in {*range(0, n + 2, every)} - {1}:
            files[f"disfa/faces/{subject}/{image}.png"] = face(shade(image + 1), "PNG")
    return files, made


def affwild2(videos: dict, release: int = 2021, every: int = 1) -> tuple[Files, dict]:
    """With videos: name -> (n frames, {task: part}); labels by video and task.

    Some labels are missing; in each video the fourth frame has no crop. In 2022 and 2024 there is an eighth expression.
    """
    rng = np.random.default_rng(0)
    place, *folders = FOLDERS[release]
    folder = {t: f"affwild2/{place}/{name}" for t, name in zip(("AU", "EXPR", "VA"), folders, strict=True)}
    names = EXPRESSIONS if release == 2021 else (*EXPRESSIONS, "Other")
    files = {f"{folder[task]}/{part}_Set/.DS_Store": b"macOS" for task in folder for part in ("Train", "Validation")}
    made = {}
    for video, (n, parts) in videos.items():
        units = rng.integers(0, 2, (n, 12))
        units[rng.random(n) < 0.1, 3] = -1
        expression = rng.integers(0, len(names), n)
        expression[rng.random(n) < 0.1] = -1
        affect = rng.uniform(-1, 1, (n, 2)).round(3)
        affect[rng.random(n) < 0.1, 1] = -5
        lines = {
            "AU": [",".join(f"AU{unit}" for unit in AFFWILD2_UNITS), *(",".join(map(str, r)) for r in units.tolist())],
            "EXPR": [",".join(names), *map(str, expression.tolist())],
            "VA": ["valence,arousal", *(f"{v:g},{a:g}" for v, a in affect.tolist())],
        }
        files |= {f"{folder[task]}/{part}/{video}.txt": text(*lines[task]) for task, part in parts.items()}
        for frame in {*range(1, n + 1, every)} - {4}:
            files[f"affwild2/cropped_aligned/{video}/{frame:05}.jpg"] = face(shade(frame), side=112)
        files[f"affwild2/cropped_aligned/{video}/.DS_Store"] = b"macOS"
        made[video] = {"AU": units, "EXPR": expression, "VA": affect}
    return files, made


def mp4(n_frames: int) -> bytes:
    """An MP4 file with an empty sound track and a picture track of so many frames, as far as its table of contents."""

    def box(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return struct.pack(">I", 8 + len(body)) + kind + body

    def track(handler: bytes, samples: int) -> bytes:
        sizes = box(b"stsz", struct.pack(">III", 0, 1, samples))
        kind, table = box(b"hdlr", bytes(8) + handler + bytes(12)), box(b"stbl", box(b"stsd", bytes(8)), sizes)
        media = box(b"mdia", box(b"mdhd", bytes(24)), kind, box(b"minf", table))
        return box(b"trak", box(b"tkhd", bytes(84)), media)

    moov = box(b"moov", box(b"mvhd", bytes(100)), track(b"soun", 9), track(b"vide", n_frames))
    return box(b"ftyp", b"isom\0\0\2\0isom") + box(b"mdat", bytes(100)) + moov


def avi(n_frames: int) -> bytes:
    """The head of an AVI file of so many frames."""
    avih = b"avih" + struct.pack("<I", 56) + struct.pack("<IIIII", 33333, 0, 0, 0, n_frames) + bytes(36)
    body = b"AVI " + b"LIST" + struct.pack("<I", 4 + len(avih)) + b"hdrl" + avih
    return b"RIFF" + struct.pack("<I", len(body)) + body
