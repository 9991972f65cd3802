"""CEAP-360VR: valence and arousal that 32 people felt and annotated while they watched eight 360-degree videos.

Xue, El Ali, Zhang, Ding and Cesar, "CEAP-360VR: A Continuous Physiological and Behavioral Emotion Annotation
Dataset for 360 VR Videos", IEEE Transactions on Multimedia 2021; CC BY-NC 4.0. Of it five things are read, in
`<data root>/ceap360vr/`, or in `CEAP-360VR/` in there, as in the authors' repository:

- `3_AnnotationData/Transformed`: valence and arousal, 1 to 9, at irregular times, about eight a second. A second's
  label is the mean, over that second, of the line through the samples: those that lie close do not count for more.
- `4_BehaviorData/HM_ScanPath`: where the head pointed, in degrees, five times a second; sample `ID` is the mean of
  the fifth of a second that ends at `ID` / 5, so that the last second has four. Pitch is positive *downwards*.
- `4_BehaviorData/EM_Fixation`: where the gaze rested, in degrees, from one frame of the video to another, both
  included. Pitch is positive *upwards*. Only rests of at least 0.2 s are there, and some are half a minute apart.
- `1_Stimuli/VideoInfo.json` and `VideoLuminance.csv`: frames per second (V1 has 25, the others 30), and the
  mean grey level of each frame, blank after the video's last.

V0 is the video that people were trained with; it is left out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.integrate import cumulative_trapezoid

from uncertain_affect.corpora.base import AffectTraces, CheckRow, CorpusError, counted
from uncertain_affect.corpora.reading import File, corpus_folder, number

PEOPLE = tuple(f"P{number}" for number in range(1, 33))
VIDEOS = tuple(f"V{number}" for number in range(1, 9))
TRAINING_VIDEO = "V0"
SECONDS = 60  # of each video
SCALE = (1.0, 9.0)  # of valence and of arousal
HEAD_HZ = 5
WINDOW = 5  # seconds: this one and the four before it, or as many as there are

# x points ahead (yaw 0), y to yaw 90, z up. A mean of unit vectors needs no unwrapped yaw, and is the shorter the
# further they lie apart.
# - Spread: root mean square distance of unit vectors from their mean direction; radians, where it is small.
# - Speed in degrees a second along the path; velocity signed.
# - Gaze and its spread are weighted by time, and 0 without a fixation; shares are of the time; the rate is that of
#   beginnings a second, the duration the mean of seconds up to now of the fixations in the window.
# - Luminance, 0 to 255, is the mean over pixels and frames, its variation the sum of the absolute changes from frame to
#   frame, and "above window" the second's mean less the window's.
FEATURES = (
    "head x", "head y", "head z", "head spread", "head spread, window", "head speed", "head speed, window",
    "head peak speed", "head yaw velocity", "head pitch velocity",
    "gaze x", "gaze y", "gaze z", "gaze spread, window", "fixated share", "fixated share, window",
    "fixation rate, window", "fixation duration, window",
    "luminance", "luminance variation", "luminance above window",
)  # fmt: skip

VIDEO_INFO, LUMINANCE = "1_Stimuli/VideoInfo.json", "1_Stimuli/VideoLuminance.csv"
LUMINANCE_HEADER = ("Frame", TRAINING_VIDEO, *VIDEOS)

GET = "Fetch the published files with `uncertain-affect data get ceap360vr`"
TERMS = "CEAP-360VR is licensed CC BY-NC 4.0: name its authors, and do not use it commercially"


@dataclass(frozen=True)
class _Part:
    """What one file per person holds: {top: [{ParticipantID, videos: [{VideoID, samples: [{column: value}]}]}]}."""

    path: str
    top: str
    videos: str
    samples: str
    columns: dict[str, tuple[float, float]]  # name: least and greatest value


ANGLES = {"Pitch": (-90, 90), "Yaw": (-180, 180)}
LATEST = SECONDS + 1  # the last samples come a little after the minute
PARTS = {
    "no annotation": _Part(
        "3_AnnotationData/Transformed/{}_Annotation_TransData.json",
        "ContinuousAnnotation_TransData",
        "Video_Annotation_TransData",
        "TimeStamp_Valence_Arousal",
        {"TimeStamp": (0, LATEST), "Valence": SCALE, "Arousal": SCALE},
    ),
    "no head path": _Part(
        "4_BehaviorData/HM_ScanPath/{}_Behavior_HeadScanPathData.json",
        "Behavior_HeadScanPath_Data",
        "Video_Behavior_ScanPath_Data",
        "ID_Pitch_Yaw",
        {"ID": (1, LATEST * HEAD_HZ), **ANGLES},
    ),
    "no gaze fixations": _Part(
        "4_BehaviorData/EM_Fixation/{}_Behavior_FixationData.json",
        "Behavior_FixationData",
        "Video_Behavior_FixationData",
        "Fixation",
        {"StartFrame": (0, np.inf), "EndFrame": (0, np.inf), **ANGLES},
    ),
}
LEFT_OUT = ("training video V0", "no files of the person", *PARTS)


def load(root: Path) -> AffectTraces:
    """CEAP-360VR at one example a second: features float32 (N, 21), valence and arousal float32 (N, 2) from 1 to 9.

    The published files give 32 people x 8 videos x 60 s = 15,360 examples, by person, video and time. `time` is the
    beginning of the second that an example stands for: 0 to 59. `inputs` are `FEATURES`, in their own units; none
    looks ahead of its second. Luminance is the same for all who watch, so it can tell videos apart: only a video
    held out altogether shows what a model knows of feelings.

    Of a part of the corpus what is there is loaded. A second counts as left out, by the first reason that holds,
    if the person has no file at all, or if that person's annotation, head path or fixations of the video are
    missing, or if no sample of annotation or head lies in it: these counts and N always add up to 15,360. The
    training video is counted apart, a minute for each annotation of it. Labels that never change are kept.

    Args:
        root: the data root, which holds `ceap360vr/`.

    Raises:
        CorpusError: a file of the videos is missing, there is no second to load, or a file is truncated or
            malformed: no number, a number out of its range, or times that do not increase.
    """
    folder = _folder(root)
    rates = _frame_rates(folder / VIDEO_INFO)
    luminance = _luminance(folder / LUMINANCE, rates)
    left_out = dict.fromkeys(LEFT_OUT, 0)
    blocks = []
    for person in PEOPLE:
        files = {reason: folder / part.path.format(person) for reason, part in PARTS.items()}
        if not any(path.is_file() for path in files.values()):
            left_out["no files of the person"] += len(VIDEOS) * SECONDS
            continue
        samples = {reason: _samples(files[reason], part, person) for reason, part in PARTS.items()}
        left_out["training video V0"] += SECONDS * (TRAINING_VIDEO in samples["no annotation"])
        for video in VIDEOS:
            traces, head, fixations = (part.get(video, np.empty((0, 4))) for part in samples.values())
            missing = {
                "no annotation": ~_covered(traces[:, 0]),
                "no head path": ~_covered((head[:, 0] - 1) / HEAD_HZ),
                # A second without a fixation is common; a minute without one is an eye tracker that failed.
                "no gaze fixations": np.full(SECONDS, len(fixations) == 0),
            }
            kept = np.ones(SECONDS, dtype=bool)
            for reason, seconds in missing.items():
                left_out[reason] += int((kept & seconds).sum())
                kept &= ~seconds
            if kept.any():
                features = (head_features(head), gaze_features(fixations, rates[video]), luminance[video])
                times = kept.nonzero()[0]
                inputs, labels = np.concatenate(features, axis=1)[kept], _second_means(traces)[kept]
                blocks.append((inputs, labels, times, [person] * len(times), [video] * len(times)))
    if not blocks:
        for part in PARTS.values():
            if not any((folder / part.path.format(person)).is_file() for person in PEOPLE):
                raise CorpusError(f"no {part.path.format('P*')} is there", path=folder, cure=GET)
        raise CorpusError("nobody has annotation, head path and fixations of a video", path=folder, cure=GET)
    inputs, labels, times, person, video = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return AffectTraces(
        inputs=torch.from_numpy(inputs).float(),
        valence_arousal=torch.from_numpy(labels).float(),
        person=person,
        video=video,
        time=torch.from_numpy(times).float(),
        left_out=left_out,
    )


def is_available(root: Path) -> bool:
    """Whether the files of the videos, and all those of at least one person, are there."""
    folder = _folder(root)
    whole = [all((folder / part.path.format(person)).is_file() for part in PARTS.values()) for person in PEOPLE]
    return (folder / VIDEO_INFO).is_file() and (folder / LUMINANCE).is_file() and any(whole)


def check(root: Path) -> list[CheckRow]:
    """People, videos and seconds, and what is left out: of the whole corpus nothing but the training video.

    Raises:
        CorpusError: as `load`.
    """
    corpus = load(root)
    rows = [
        counted("people", len(PEOPLE), len(np.unique(corpus.person))),
        counted("videos", len(VIDEOS), len(np.unique(corpus.video))),
        counted("seconds", len(PEOPLE) * len(VIDEOS) * SECONDS, len(corpus)),
    ]
    return rows + [
        (f"left out: {why}", "0", f"{n:,}", not n or why == LEFT_OUT[0]) for why, n in corpus.left_out.items()
    ]


def source_people(corpus: AffectTraces) -> tuple[str, ...]:
    """The people with odd numbers: the source of all comparisons here; those with even numbers are the target.

    Of the whole corpus these are 16 and 16.
    """
    return tuple(person for person in PEOPLE[::2] if person in corpus.person)


def _folder(root: Path) -> Path:
    return corpus_folder(root, "ceap360vr", ("CEAP-360VR",), "1_Stimuli")


# --- examples ---------------------------------------------------------------------------------------------


def _covered(times: np.ndarray) -> np.ndarray:
    """Which seconds (60,), bool, hold at least one of the `times`."""
    return np.isin(np.arange(SECONDS), np.floor(times))


def _second_means(traces: np.ndarray) -> np.ndarray:
    """Mean over each second (60, 2) of the lines through samples (n, 3) of time and two values.

    Before the first sample its value holds, and after the last.
    """
    bounds = np.arange(SECONDS + 1.0)
    times = np.union1d(traces[:, 0], bounds)
    values = np.stack([np.interp(times, traces[:, 0], column) for column in traces[:, 1:].T], axis=1)
    integral = cumulative_trapezoid(values, times, axis=0, initial=0)  # the trapezoid rule is exact on lines
    return np.diff(integral[np.searchsorted(times, bounds)], axis=0)


def head_features(head: np.ndarray) -> np.ndarray:
    """The ten features (60, 10) of a head path (n, 3): sample number, pitch (downwards) and yaw in degrees."""
    number, pitch, yaw = head[head[:, 0] <= SECONDS * HEAD_HZ].T
    second = (number.astype(int) - 1) // HEAD_HZ
    unit = _unit(-pitch, yaw)
    total, count = _sum_by_second(second, unit), _sum_by_second(second, np.ones((len(unit), 1)))

    # A step belongs to the second in which it ends. 2 arcsin(chord / 2) is exact for small angles too.
    elapsed = np.diff(number) / HEAD_HZ
    angle = np.degrees(2 * np.arcsin(np.minimum(np.linalg.norm(np.diff(unit, axis=0), axis=1) / 2, 1)))
    turn = (np.diff(yaw) + 180) % 360 - 180
    path = _sum_by_second(second[1:], np.stack([angle, turn, -np.diff(pitch), elapsed], axis=1))
    peak = np.zeros((SECONDS, 1))
    np.maximum.at(peak[:, 0], second[1:], angle / elapsed)
    velocity, window_path = _ratio(path[:, :3], path[:, 3:]), _windowed(path)
    spread, window_spread = _spread(total, count), _spread(_windowed(total), _windowed(count))
    speed, window_speed = velocity[:, :1], _ratio(window_path[:, :1], window_path[:, 3:])
    return np.hstack([_ratio(total, count), spread, window_spread, speed, window_speed, peak, velocity[:, 1:]])


def gaze_features(fixations: np.ndarray, rate: float) -> np.ndarray:
    """The eight features (60, 8) of fixations (n, 4): first and last frame, pitch (upwards) and yaw in degrees.

    A fixation is cut at the end of the second, so that nothing is known of how long it will last.
    """
    start, end = fixations[:, 0] / rate, (fixations[:, 1] + 1) / rate
    begin = np.arange(SECONDS)[:, None]
    held = np.maximum(np.minimum(end, begin + 1) - np.maximum(start, begin), 0)  # seconds, (60, n)
    starts = (np.floor(start) == begin).astype(float)
    unit = _unit(fixations[:, 2], fixations[:, 3])

    length = np.minimum(begin + 1, WINDOW)
    window = _windowed(held)
    share, window_share = held.sum(axis=1, keepdims=True), window.sum(axis=1, keepdims=True)
    touched = window > 0
    duration = np.where(touched, np.minimum(end, begin + 1) - start, 0).sum(axis=1, keepdims=True)
    gaze, spread = _ratio(held @ unit, share), _spread(window @ unit, window_share)
    rate_of_starts = _windowed(starts).sum(axis=1, keepdims=True) / length
    mean_duration = _ratio(duration, touched.sum(axis=1, keepdims=True))
    return np.hstack([gaze, spread, share, window_share / length, rate_of_starts, mean_duration])


def luminance_features(levels: np.ndarray, rate: float) -> np.ndarray:
    """The three features (60, 3) of the grey levels of a video's frames (n,)."""
    second = (np.arange(len(levels)) / rate).astype(int)
    levels, second = levels[second < SECONDS], second[second < SECONDS]
    total, count = _sum_by_second(second, levels[:, None]), _sum_by_second(second, np.ones((len(levels), 1)))
    variation = _sum_by_second(second[1:], np.abs(np.diff(levels))[:, None])
    level = total / count
    return np.hstack([level, variation, level - _windowed(total) / _windowed(count)])


def _unit(pitch: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3): ahead, to yaw 90, up."""
    pitch, yaw = np.radians(pitch), np.radians(yaw)
    return np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=1)


def _sum_by_second(second: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums (60, D) of the values (n, D) of each second."""
    sums = np.zeros((SECONDS, values.shape[1]))
    np.add.at(sums, second, values)
    return sums


def _windowed(sums: np.ndarray) -> np.ndarray:
    """Sums over the window that ends with each second, of sums (60, D) over seconds."""
    padded = np.concatenate([np.zeros((WINDOW - 1, sums.shape[1])), sums])
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=0).sum(axis=-1)


def _ratio(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean, and 0 where there is nothing to take it of."""
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)


def _spread(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Root mean square distance (60, 1) of unit vectors from their mean direction; from their weighted sum (60, 3)."""
    # |u - m|^2 = 2 - 2 u.m, and the mean of u.m over all u is the length of their mean
    length = _ratio(np.linalg.norm(total, axis=1, keepdims=True), weight)
    return np.where(weight > 0, np.sqrt(2 * np.maximum(1 - length, 0)), 0)


# --- files ------------------------------------------------------------------------------------------------


def _parsed(file: File, take: Callable):
    """What `take` finds in the content of a JSON file that is laid out as it is published."""
    content = file.content()
    try:
        content = json.loads(content)
    except (ValueError, RecursionError) as error:  # also of no text, a number of thousands of digits, or a deep list
        raise file.error(f"truncated or damaged JSON ({error})", getattr(error, "lineno", None)) from error
    try:
        return take(content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise file.error(f"not laid out as it is published ({type(error).__name__}: {error})") from error


def _samples(path: Path, part: _Part, person: str) -> dict[str, np.ndarray]:
    """The samples (n, columns) float64 of each video that there are any of, checked; none without the file."""
    if not path.is_file():
        return {}

    def take(content) -> tuple[str, list[tuple[str, np.ndarray]]]:
        (record,) = content[part.top]
        videos = [
            (entry["VideoID"], np.array([[row[name] for name in part.columns] for row in entry[part.samples]], float))
            for entry in record[part.videos]
        ]
        if any(rows.ndim != 2 and rows.size for _, rows in videos):
            raise ValueError("a sample holds a list, not numbers")
        return "P" + str(record["ParticipantID"]).removeprefix("P"), videos  # some files say "P1", some "1"

    file = File(path, GET)
    owner, videos = _parsed(file, take)
    if owner != person:
        raise file.error(f"ParticipantID is that of {owner}, not of {person}")
    names = [video for video, _ in videos]
    for video, rows in videos:
        if video not in (TRAINING_VIDEO, *VIDEOS):
            raise file.error(f"VideoID {video!r} is none of V0 to V8")
        if names.count(video) > 1:
            raise file.error(f"{video} is there twice")
        if len(rows) and (fault := _fault(rows, part)):
            raise file.error(f"{video}, sample {fault}")
    return {video: rows for video, rows in videos if len(rows)}


def _fault(rows: np.ndarray, part: _Part) -> str | None:
    """The number, from 1, of a sample that cannot be, and why; None where all are fine."""
    for (name, (low, high)), column in zip(part.columns.items(), rows.T, strict=True):
        wrong = ~((column >= low) & (column <= high))  # NaN is not in any range
        if wrong.any():
            row = int(wrong.argmax())
            return f"{row + 1}: {name} is {column[row]:g}, not a number from {low:g} to {high:g}"
    first, last = rows[:, 0], rows[:, 1] if "EndFrame" in part.columns else rows[:, 0]
    for row in (last < first).nonzero()[0]:
        return f"{row + 1}: EndFrame comes before StartFrame"
    for row in (first[1:] <= last[:-1]).nonzero()[0]:
        return f"{row + 2}: {next(iter(part.columns))} {first[row + 1]:g} does not come after {last[row]:g}"
    return None


def _frame_rates(path: Path) -> dict[str, float]:
    """Frames per second of each video."""
    file = File(path, GET)
    rates = _parsed(file, lambda content: {e["VideoID"]: float(e["FrameRate"]) for e in content["VideoInfo"]})
    for video in VIDEOS:
        if video not in rates:
            raise file.error(f"no entry for {video}")
        if not 1 <= rates[video] <= 1000:
            raise file.error(f"FrameRate of {video} is {rates[video]:g}, not 1 to 1000")
    return rates


def _luminance(path: Path, rates: dict[str, float]) -> dict[str, np.ndarray]:
    """The features (60, 3) of the grey levels of each video."""
    table = File(path, GET).table(LUMINANCE_HEADER)
    frames = np.arange(len(table))
    table.refuse(table.text("Frame") != frames.astype(str), lambda row: f"not frame {row}")
    features = {}
    for video in VIDEOS:
        blank = table.text(video) == ""
        length = 1 + int(np.flatnonzero(~blank).max(initial=-1))
        table.refuse(blank[:length], lambda _, video=video: f"the luminance of {video} is blank before its last frame")
        levels = table.values(video, lambda cell: number(cell or "0"), "no number from 0 to 255", 0, 255)[:length]
        if length <= (SECONDS - 1) * rates[video]:
            reason = f"the luminance of {video} ends with frame {length - 1}, before second {SECONDS - 1}"
            raise table.file.error(reason, table.lines[length - 1] if length else 1)
        features[video] = luminance_features(levels, rates[video])
    return features
