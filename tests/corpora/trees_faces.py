"""Small BP4D, DISFA and Aff-Wild2 in their official layout, with what is odd in the real ones.

Each function writes a corpus below a data root. A face is a square of one brightness, `shade` of its frame, so that a
test can tell which frame a row of the result shows. With `every` only each so-manieth frame from the first has a face.
"""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

BP4D_HEADER = (0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 27, 28)
DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
AFFWILD2_UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
FOLDERS = {
    2021: ("annotations", "AU_Set", "EXPR_Set", "VA_Set"),
    2022: (
        "Third ABAW Annotations", "AU_Detection_Challenge", "EXPR_Classification_Challenge", "VA_Estimation_Challenge",
    ),
    2024: (
        "6th ABAW Annotations", "AU_Detection_Challenge", "EXPR_Recognition_Challenge", "VA_Estimation_Challenge",
    ),
}  # fmt: skip


def shade(frame: int) -> int:
    """Grey level of a frame's face."""
    return 40 + 3 * (frame % 60)


def write_face(path: Path, grey: int, side: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), grey, np.uint8)).save(path, quality=95)


def write_text(path: Path, lines, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())


def bp4d(root: Path, sequences: dict, seed: int = 0, side: int = 48, every: int = 1) -> dict:
    """BP4D with so many coded frames in each (subject, task); returns (first frame, cells (n, 23)) by sequence.

    Names of images have as many digits as the sequence's longest, in every third sequence two more; frames before the
    first coded one have an image too, and the third coded one of each sequence has none.
    """
    rng = np.random.default_rng(seed)
    made = {}
    for i, ((subject, task), n) in enumerate(sequences.items()):
        first = (2440, 95, 732)[i % 3]
        cells = (rng.random((n, len(BP4D_HEADER) - 1)) < 0.4).astype(int)
        cells[rng.random(cells.shape) < 0.02] = 9
        rows = [",".join(map(str, (first + k, *row))) for k, row in enumerate(cells.tolist())]
        write_text(root / "bp4d/AUCoding/AU_OCC" / f"{subject}_{task}.csv", [",".join(map(str, BP4D_HEADER)), *rows])
        width = len(str(first + n)) + 2 * (i % 3 == 2)
        for frame in [first - 1, *range(first, first + n, every)]:
            if frame != first + 2:
                path = root / "bp4d/faces" / subject / task / f"{frame:0{width}}.jpg"
                write_face(path, shade(frame), side)
        made[subject, task] = first, cells
    (root / "bp4d/AUCoding/AU_OCC/._F001_T1.csv").write_bytes(b"\x00\x05macOS")
    return made


def disfa(root: Path, frames: dict, seed: int = 0, side: int = 48, every: int = 1) -> dict:
    """DISFA with so many frames of each subject; returns intensities (n, 12) by subject.

    Crops are numbered from 0 as PNGs; the second frame has none, and two more than the labels have are there.
    """
    rng = np.random.default_rng(seed)
    made = {}
    for subject, n in frames.items():
        intensities = rng.integers(0, 6, (n, len(DISFA_UNITS)))
        for unit, values in zip(DISFA_UNITS, intensities.T.tolist(), strict=True):
            path = root / "disfa/ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt"
            write_text(path, [f"{k},{value}" for k, value in enumerate(values, start=1)], "\r\n")
        for image in {*range(0, n + 2, every)} - {1}:
            write_face(root / "disfa/faces" / subject / f"{image}.png", shade(image + 1), side)
        made[subject] = intensities
    return made


def affwild2(root: Path, videos: dict, release: int = 2021, seed: int = 0, side: int = 112, every: int = 1) -> dict:
    """Aff-Wild2 with videos: name -> (n frames, {task: part}); returns labels by video and task.

    Some labels are missing; in each video the fourth frame has no crop. In 2022 and 2024 there is an eighth expression.
    """
    rng = np.random.default_rng(seed)
    place, *folders = FOLDERS[release]
    folder = {task: root / "affwild2" / place / name for task, name in zip(("AU", "EXPR", "VA"), folders, strict=True)}
    names = EXPRESSIONS if release == 2021 else (*EXPRESSIONS, "Other")
    made = {}
    for task in folder:
        for part in ("Train_Set", "Validation_Set"):
            (folder[task] / part).mkdir(parents=True, exist_ok=True)
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
        for task, part in parts.items():
            write_text(folder[task] / part / f"{video}.txt", lines[task])
        for frame in range(1, n + 1, every):
            if frame != 4:
                write_face(root / "affwild2/cropped_aligned" / video / f"{frame:05}.jpg", shade(frame), side)
        (root / "affwild2/cropped_aligned" / video / ".DS_Store").write_bytes(b"macOS")
        made[video] = {"AU": units, "EXPR": expression, "VA": affect}
    return made


def mp4(n_frames: int) -> bytes:
    """An MP4 file with an empty sound track and a picture track of so many frames, as far as its table of contents."""

    def box(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return struct.pack(">I", 8 + len(body)) + kind + body

    def track(handler: bytes, samples: int) -> bytes:
        sizes = box(b"stsz", struct.pack(">III", 0, 1, samples))
        media = [
            box(b"hdlr", bytes(8) + handler + bytes(12)),
            box(b"minf", box(b"stbl", box(b"stsd", bytes(8)), sizes)),
        ]
        return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"mdhd", bytes(24)), *media))

    moov = box(b"moov", box(b"mvhd", bytes(100)), track(b"soun", 9), track(b"vide", n_frames))
    return box(b"ftyp", b"isom\0\0\2\0isom") + box(b"mdat", bytes(100)) + moov


def avi(n_frames: int) -> bytes:
    """The head of an AVI file of so many frames."""
    avih = b"avih" + struct.pack("<I", 56) + struct.pack("<IIIII", 33333, 0, 0, 0, n_frames) + bytes(36)
    body = b"AVI " + b"LIST" + struct.pack("<I", 4 + len(avih)) + b"hdrl" + avih
    return b"RIFF" + struct.pack("<I", len(body)) + body
