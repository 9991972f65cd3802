"""A small RECOLA as AVEC 2016 lays it out."""

import numpy as np
from trees import Files, text
from trees_faces import face

PEOPLE = [f"{part}_{number}" for part in ("train", "dev") for number in range(1, 10)]
COLUMNS = {"features_video_appearance": 168, "features_video_geometric": 632, "features_audio": 88}


def trace(person: str, dimension: str, rows: int) -> np.ndarray:
    """The gold standard, of which rounding to six digits loses nothing."""
    place = PEOPLE.index(person)
    phase = place + (3 if dimension == "arousal" else 0)
    return np.round(0.8 * np.sin(np.arange(rows) / rows * 7 + phase), 6)


def gold(person: str, dimension: str, rows: int) -> bytes:
    """Six lines of header in some files and nine in others; names bare, or quoted."""
    quote = "'" if person.startswith("dev") else ""
    header = [
        f"@relation GOLDSTANDARD_{dimension.upper()}",
        "",
        "@attribute Instance_name string",
        "@attribute frameTime numeric",
        "@attribute GoldStandard numeric",
        *(["@data"] if person == "train_1" else ["", "", "", "@data", ""]),
    ]
    values = trace(person, dimension, rows)
    return text(*header, *(f"{quote}{person}{quote},{k * 0.04:.2f},{v:.6f}" for k, v in enumerate(values)), "")


def features(person: str, folder: str, dimension: str, rows: int, columns: int) -> bytes:
    """The first column tells person and frame; frame 3 of everybody has no face."""
    header = ["@relation features", "", "@attribute frameTime numeric"]
    header += [f"@attribute feature_{i} numeric" for i in range(columns)] + ["", "@data", ""]
    lines = []
    for k in range(rows):
        first = PEOPLE.index(person) * 1000 + k + (0.5 if dimension == "valence" else 0)
        blank = k == 3 and folder != "features_audio"
        lines.append(f"{k * 0.04:.2f}," + ("0," * columns if blank else f"{first}," + "1," * (columns - 1))[:-1])
    return text(*header, *lines)


def files(rows: int = 26, kinds=("features_video_appearance",), crops=None) -> Files:
    """Gold standards of all 18 people with `rows` rows; features of the `kinds`; face crops of the frames `crops`."""
    tree = {}
    for person in PEOPLE:
        for dimension in ("arousal", "valence"):
            tree[f"recola/ratings_gold_standard/{dimension}/{person}.arff"] = gold(person, dimension, rows)
            for kind in kinds:
                content = features(person, kind, dimension, rows, COLUMNS[kind])
                tree[f"recola/{kind}/{dimension}/{person}.arff"] = content
        for frame in crops or ():
            level = 30 + (7 * PEOPLE.index(person) + frame) % 200
            tree[f"recola/faces/{person}_aligned/frame_det_00_{frame:06d}.bmp"] = face(level, "BMP", side=20)
    tree["recola/ratings_gold_standard/arousal/test_1.arff"] = b"not read\n"
    tree["recola/ratings_gold_standard/arousal/._train_1.arff"] = b"\x00macOS"
    raters = ["FM1 ", "FM2 ", "FM3 ", "FF1 ", "FF2 ", "FF3"]
    rated = text(";".join(["time", *raters]), *(f"{k * 0.04:.2f}" + f";{0.1:.3f}" * 6 for k in range(rows)))
    return tree | {f"recola/ratings_individual/{name}/train_1.csv": rated for name in ("arousal", "valence")}
