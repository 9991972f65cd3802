import hashlib
import json
import threading
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from uncertain_affect import corpora
from uncertain_affect.corpora import AffectTraces, CorpusError, ceap360vr, download

ANNOTATION = "3_AnnotationData/Transformed/{}_Annotation_TransData.json"
HEAD = "4_BehaviorData/HM_ScanPath/{}_Behavior_HeadScanPathData.json"
GAZE = "4_BehaviorData/EM_Fixation/{}_Behavior_FixationData.json"
LAYOUT = {
    ANNOTATION: ("ContinuousAnnotation_TransData", "Video_Annotation_TransData", "TimeStamp_Valence_Arousal"),
    HEAD: ("Behavior_HeadScanPath_Data", "Video_Behavior_ScanPath_Data", "ID_Pitch_Yaw"),
    GAZE: ("Behavior_FixationData", "Video_Behavior_FixationData", "Fixation"),
}
COLUMNS = {
    ANNOTATION: ("TimeStamp", "Valence", "Arousal"),
    HEAD: ("ID", "Pitch", "Yaw"),
    GAZE: ("StartFrame", "EndFrame", "Pitch", "Yaw"),
}
VIDEOS = [f"V{number}" for number in range(1, 9)]
RATES = {"V0": 30, "V1": 25} | dict.fromkeys(VIDEOS[1:], 30)
WHOLE = 32 * 8 * 60


def samples_of(kind, person, video):
    """What this person does in this video: rows in the order of the columns."""
    generator = np.random.default_rng([person, int(video[1:]), list(LAYOUT).index(kind)])
    if kind == ANNOTATION:
        times = np.arange(0.05, 60, 0.12) + generator.uniform(0, 0.1, 500)
        return np.column_stack([times, generator.uniform(1, 9, (500, 2))]).round(3).tolist()
    angles = generator.uniform([-60, -180], [60, 180], (299, 2)).round(3).tolist()
    if kind == HEAD:
        return [[number, *angle] for number, angle in enumerate(angles, start=1)]
    frames = range(0, 60 * RATES[video] - 40, 40)
    return [[frame, frame + 20, *angle] for frame, angle in zip(frames, angles, strict=False)]


def content(kind, person, videos=VIDEOS, name="P{}", samples=None):
    """The file, as Python holds it, of a person (number); `samples` replaces those of a video."""
    top, of_videos, of_samples = LAYOUT[kind]
    return {
        top: [
            {
                "ParticipantID": name.format(person),
                of_videos: [
                    {
                        "VideoID": video,
                        of_samples: [
                            dict(zip(COLUMNS[kind], row, strict=True))
                            for row in (samples or {}).get(video, samples_of(kind, person, video))
                        ],
                    }
                    for video in videos
                ],
            }
        ]
    }


def write(folder, path, whatever):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(whatever if isinstance(whatever, str) else json.dumps(whatever))


def levels(video):
    """The grey level of each frame: second plus the number of the video; one frame of second 2 is 9 brighter."""
    frames = np.arange(60 * RATES[video] + 3)  # the published videos last a little longer than a minute
    level = np.floor(frames / RATES[video]) + int(video[1:])
    level[2 * RATES[video] + 5] += 9
    return level


def write_stimuli(folder, rates=None, luminance=None):
    rates = RATES if rates is None else rates
    write(folder, "1_Stimuli/VideoInfo.json", {"VideoInfo": [{"VideoID": v, "FrameRate": r} for v, r in rates.items()]})
    columns = {video: [f"{level:g}" for level in levels(video)] for video in RATES} | (luminance or {})
    length = max(map(len, columns.values()))
    lines = [[str(n), *(cells[n] if n < len(cells) else "" for cells in columns.values())] for n in range(length)]
    write(folder, "1_Stimuli/VideoLuminance.csv", "\n".join(map(",".join, [["Frame", *columns], *lines])) + "\n")


@cache
def published(kind, person):
    """The text of a file, over many lines as in the full distribution; some files there say "P1", some "1"."""
    return json.dumps(content(kind, person, name="{}" if kind == GAZE else "P{}"), indent=4)


def write_corpus(folder, people=(1, 2)):
    write_stimuli(folder)
    for person in people:
        for kind in LAYOUT:
            write(folder, kind.format(f"P{person}"), published(kind, person))


@pytest.fixture
def root(tmp_path):
    """A data root with two of the 32 people."""
    write_corpus(tmp_path / "ceap360vr")
    return tmp_path


def load(root) -> AffectTraces:
    return corpora.load("ceap360vr", root)


def rows(corpus, person, video):
    return (corpus.person == person) & (corpus.video == video)


def load_fails(root, message):
    with pytest.raises(CorpusError, match=message) as caught:
        load(root)
    assert caught.value.path is not None
    assert "`uncertain-affect data get ceap360vr`" in caught.value.cure
    return caught.value


# --- the layout -------------------------------------------------------------------------------------------


def test_one_example_a_second_in_order(root):
    corpus = load(root)
    assert len(corpus) == 2 * 8 * 60
    assert corpus.inputs.shape == (960, len(ceap360vr.FEATURES))
    assert corpus.inputs.dtype == corpus.valence_arousal.dtype == corpus.time.dtype == torch.float32
    assert corpus.inputs.isfinite().all()
    assert corpus.person.tolist() == ["P1"] * 480 + ["P2"] * 480
    assert corpus.video.tolist() == [video for video in VIDEOS for _ in range(60)] * 2
    assert corpus.time.tolist() == list(range(60)) * 16


def test_a_part_of_the_corpus_says_what_is_not_there(root):
    corpus = load(root)
    assert corpus.left_out == {
        "training video V0": 0,
        "no files of the person": 30 * 480,
        "no annotation": 0,
        "no head path": 0,
        "no gaze fixations": 0,
    }
    described = corpus.describe()
    assert described.loc["left out: no files of the person", "steps"] == 14_400
    assert described.loc["video V3"].tolist() == [120, 2]


def test_the_layout_of_the_authors_repository_gives_the_same(root, tmp_path_factory):
    clone = tmp_path_factory.mktemp("clone")
    write_corpus(clone / "ceap360vr/CEAP-360VR")
    assert corpora.is_available("ceap360vr", clone)
    assert load(clone).checksum() == load(root).checksum()


def test_it_is_available_with_the_videos_and_one_whole_person(root):
    assert corpora.is_available("ceap360vr", root)
    (root / "ceap360vr" / GAZE.format("P1")).unlink()
    assert corpora.is_available("ceap360vr", root)
    (root / "ceap360vr" / HEAD.format("P2")).unlink()
    assert not corpora.is_available("ceap360vr", root)
    write_corpus(root / "ceap360vr")
    (root / "ceap360vr/1_Stimuli/VideoLuminance.csv").unlink()
    assert not corpora.is_available("ceap360vr", root)


def test_it_is_read_once_and_again_when_a_file_changes(root, monkeypatch):
    first = load(root)
    with monkeypatch.context() as patch:
        patch.setattr(ceap360vr, "_read", None)
        assert load(root).checksum() == first.checksum()
    changed = content(ANNOTATION, 1, samples={"V1": [[0.5, 2.0, 3.0]] + [[s + 0.25, 2.0, 3.0] for s in range(1, 60)]})
    write(root / "ceap360vr", ANNOTATION.format("P1"), changed)
    assert load(root).valence_arousal[:60].tolist() == [[2.0, 3.0]] * 60


def test_a_byte_order_mark_and_windows_lines_do_no_harm(root):
    expected = load(root).checksum()
    for path in (ANNOTATION.format("P1"), "1_Stimuli/VideoInfo.json", "1_Stimuli/VideoLuminance.csv"):
        file = root / "ceap360vr" / path
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert load(root).checksum() == expected


# --- what is left out -------------------------------------------------------------------------------------


def test_the_training_video_is_left_out_and_counted(root):
    expected = load(root)
    for kind in LAYOUT:
        write(root / "ceap360vr", kind.format("P2"), content(kind, 2, videos=["V0", *VIDEOS]))
    corpus = load(root)
    assert corpus.left_out == {**expected.left_out, "training video V0": 60}
    assert corpus.inputs.equal(expected.inputs)
    assert corpus.video.tolist() == expected.video.tolist()


@pytest.mark.parametrize(
    ("kind", "reason"), [(ANNOTATION, "no annotation"), (HEAD, "no head path"), (GAZE, "no gaze fixations")]
)
def test_a_person_without_a_part_is_left_out_and_counted(root, kind, reason):
    (root / "ceap360vr" / kind.format("P2")).unlink()
    corpus = load(root)
    assert set(corpus.person.tolist()) == {"P1"}
    assert corpus.left_out[reason] == 480
    assert len(corpus) + sum(corpus.left_out.values()) == WHOLE


@pytest.mark.parametrize(
    ("kind", "reason"), [(ANNOTATION, "no annotation"), (HEAD, "no head path"), (GAZE, "no gaze fixations")]
)
@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_a_video_without_a_part_is_left_out_and_counted(root, kind, reason, empty):
    videos = VIDEOS if empty else [video for video in VIDEOS if video != "V3"]
    write(root / "ceap360vr", kind.format("P2"), content(kind, 2, videos, samples={"V3": []}))
    corpus = load(root)
    assert not rows(corpus, "P2", "V3").any()
    assert rows(corpus, "P1", "V3").sum() == 60
    assert corpus.left_out[reason] == 60
    assert len(corpus) + sum(corpus.left_out.values()) == WHOLE


def test_seconds_without_a_sample_are_left_out_and_counted_once(root):
    traces = [row for row in samples_of(ANNOTATION, 1, "V4") if not 20 <= row[0] < 25]
    write(root / "ceap360vr", ANNOTATION.format("P1"), content(ANNOTATION, 1, samples={"V4": traces}))
    head = [row for row in samples_of(HEAD, 1, "V4") if not 24 * 5 < row[0] <= 27 * 5]
    write(root / "ceap360vr", HEAD.format("P1"), content(HEAD, 1, samples={"V4": head}))
    corpus = load(root)
    here = rows(corpus, "P1", "V4")
    assert corpus.time[here].tolist() == [*range(20), *range(27, 60)]
    assert (corpus.left_out["no annotation"], corpus.left_out["no head path"]) == (5, 2)
    assert corpus.inputs.isfinite().all()


def test_labels_that_never_change_are_kept(root):
    traces = [[time, 5.0, arousal] for time, _, arousal in samples_of(ANNOTATION, 2, "V8")]
    write(root / "ceap360vr", ANNOTATION.format("P2"), content(ANNOTATION, 2, samples={"V8": traces}))
    corpus = load(root)
    assert (corpus.valence_arousal[rows(corpus, "P2", "V8"), 0] == 5).all()
    assert len(corpus) == 960


# --- labels -----------------------------------------------------------------------------------------------


def test_a_second_has_the_mean_of_the_line_through_the_samples():
    # Valence rises from 1 at .5 s to 5 at 2.5 s and stays; arousal drops from 9 to 1 between 1.25 and 1.75 s.
    traces = np.array([[0.5, 1, 9], [1.25, 2.5, 9], [1.75, 3.5, 1], [2.5, 5, 1]])
    means = ceap360vr._second_means(traces)
    # Second 0: 1 for half of it, then from 1 to 2. Second 1: from 2 to 4. Second 2: from 4 to 5, then 5.
    np.testing.assert_allclose(means[:4, 0], [1.25, 3, 4.75, 5], rtol=1e-14)
    np.testing.assert_allclose(means[:4, 1], [9, 5, 1, 1], rtol=1e-14)
    np.testing.assert_allclose(means[4:], [[5, 1]] * 56, rtol=1e-12)


@given(st.lists(st.tuples(st.integers(1, 61_000), st.floats(1, 9)), min_size=1, max_size=30, unique_by=lambda s: s[0]))
def test_labels_are_integrals(samples):
    times, values = np.array(sorted(samples)).T
    times = times / 1000
    means = ceap360vr._second_means(np.column_stack([times, values, 10 - values]))
    for second in (0, 17, 59):
        inner = times[(times > second) & (times < second + 1)]
        area, _ = quad(np.interp, second, second + 1, args=(times, values), points=inner, limit=100)
        assert means[second, 0] == pytest.approx(area, abs=1e-6)
    np.testing.assert_allclose(means.sum(axis=1), 10, rtol=1e-9)
    assert means.min() >= 1 - 1e-9


# --- features ---------------------------------------------------------------------------------------------


def head_of(pitch_yaw):
    return np.array([[number, *angles] for number, angles in enumerate(pitch_yaw, start=1)], dtype=float)


def named(features, first):
    """Features by name, from the place of the name `first`."""
    start = ceap360vr.FEATURES.index(first)
    return dict(zip(ceap360vr.FEATURES[start:], features.T, strict=False))


def test_features_have_each_a_name():
    assert len(set(ceap360vr.FEATURES)) == len(ceap360vr.FEATURES) == 10 + 8 + 3
    assert ceap360vr.FEATURES[:10] == tuple(named(ceap360vr.head_features(head_of([(0, 0)] * 299)), "head x"))
    assert ceap360vr.FEATURES[-3:] == tuple(named(ceap360vr.luminance_features(levels("V1"), 25), "luminance"))


def test_a_head_that_rests_has_no_speed_and_no_spread():
    head = named(ceap360vr.head_features(head_of([(-30, 90)] * 299)), "head x")  # up by 30 degrees
    np.testing.assert_allclose(head["head x"], 0, atol=1e-15)
    np.testing.assert_allclose(head["head y"], np.sqrt(3) / 2)
    np.testing.assert_allclose(head["head z"], 0.5)
    for name in ceap360vr.FEATURES[3:10]:
        np.testing.assert_allclose(head[name], 0, atol=1e-7)


def test_a_turn_across_the_back_is_a_small_one():
    # 2 degrees a sample, from 0 through 180 = -180, and on at the equator: 10 degrees a second.
    yaw = (2 * np.arange(299) + 180) % 360 - 180
    head = named(ceap360vr.head_features(head_of([(0, y) for y in yaw])), "head x")
    for name in ("head speed", "head speed, window", "head peak speed", "head yaw velocity"):
        np.testing.assert_allclose(head[name], 10, rtol=1e-9)
    np.testing.assert_allclose(head["head pitch velocity"], 0, atol=1e-9)
    # Five samples about their mean: the mean of cos(-4, -2, 0, 2, 4 degrees) is the length of the mean vector.
    length = np.cos(np.radians([-4, -2, 0, 2, 4])).mean()
    np.testing.assert_allclose(head["head spread"][:59], np.sqrt(2 - 2 * length), rtol=1e-6)
    length = np.cos(np.radians(np.arange(-24, 25, 2))).mean()
    np.testing.assert_allclose(head["head spread, window"][4:59], np.sqrt(2 - 2 * length), rtol=1e-6)
    assert (np.diff(head["head spread, window"][:5]) > 0).all()  # the window fills


def test_head_pitch_is_turned_upwards_and_gaps_are_not_jumps():
    # Downwards by 6 degrees a sample, with samples 3 and 4 missing.
    head = head_of([(-45 + 6 * n, 0) for n in range(15)])[[0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]]
    found = named(ceap360vr.head_features(head), "head x")
    np.testing.assert_allclose(found["head pitch velocity"][:3], -30, rtol=1e-12)
    np.testing.assert_allclose(found["head peak speed"][:3], 30, rtol=1e-12)
    assert found["head z"][0] > 0 > found["head z"][2]


@given(st.data())
def test_head_features_do_not_depend_on_how_yaw_is_written(data):
    angles = data.draw(st.lists(st.tuples(st.integers(-80, 80), st.integers(-180, 180)), min_size=2, max_size=40))
    turns = data.draw(st.lists(st.integers(-2, 2), min_size=len(angles), max_size=len(angles)))
    head = head_of(angles)
    wound = head_of([(pitch, yaw + 360 * turn) for (pitch, yaw), turn in zip(angles, turns, strict=True)])
    plain, other = ceap360vr.head_features(head), ceap360vr.head_features(wound)
    # Rounding moves a spread of 0 by the root of the precision of float64.
    np.testing.assert_allclose(plain, other, atol=1e-6)


def test_fixations_by_hand():
    # At 25 frames a second: .4 s to 1.6 s straight ahead, 2.0 s to 2.2 s up by 90 degrees; then nothing.
    gaze = named(ceap360vr.gaze_features(np.array([[10, 39, 0, 0], [50, 54, 90, 0.0]]), 25), "gaze x")
    close = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    close(gaze["fixated share"][:4], [0.6, 0.6, 0.2, 0])
    close(gaze["fixated share, window"][:8], [0.6, 0.6, 1.4 / 3, 1.4 / 4, 1.4 / 5, 0.8 / 5, 0.2 / 5, 0])
    close(gaze["fixation rate, window"][:8], [1, 1 / 2, 2 / 3, 2 / 4, 2 / 5, 1 / 5, 1 / 5, 0])
    # The first has lasted .6 s at the end of second 0, and 1.2 s in the end.
    close(gaze["fixation duration, window"][:8], [0.6, 1.2, 0.7, 0.7, 0.7, 0.7, 0.2, 0])
    close(gaze["gaze x"][:4], [1, 1, 0, 0])
    close(gaze["gaze z"][:4], [0, 0, 1, 0])
    # 1.2 s ahead and .2 s up: the mean vector is (6/7, 0, 1/7). From second 5 on the first .6 s are out.
    spreads = [np.sqrt(2 - 2 * np.hypot(6, 1) / 7)] * 3 + [np.sqrt(2 - 2 * np.hypot(3, 1) / 4)]
    np.testing.assert_allclose(gaze["gaze spread, window"][:8], [0, 0, *spreads, 0, 0], atol=1e-7)


def test_frames_are_seconds_by_the_rate_of_the_video():
    fixations = np.array([[60, 74, 0, 0.0]])
    assert ceap360vr.gaze_features(fixations, 30)[:, 4].tolist() == [0, 0, 0.5] + [0] * 57
    assert ceap360vr.gaze_features(fixations, 25)[:, 4] == pytest.approx([0, 0, 0.6] + [0] * 57)


def test_luminance_of_the_second_whatever_the_frame_rate(root):
    corpus = load(root)
    for video in ("V1", "V5"):
        found = named(corpus.inputs[rows(corpus, "P2", video)].numpy(), "head x")
        level = np.arange(60.0) + int(video[1:])
        level[2] += 9 / RATES[video]
        np.testing.assert_allclose(found["luminance"], level, rtol=1e-6)
        # Each second is one brighter than the last, and one frame in second 2 goes 9 up and down again.
        np.testing.assert_allclose(found["luminance variation"], [0, 1, 19] + [1] * 57, rtol=1e-6)
        np.testing.assert_allclose(found["luminance above window"][[0, 1, 20]], [0, 0.5, 2], rtol=1e-6)


def test_nothing_looks_ahead(root):
    expected = load(root)
    for kind, per_second in ((HEAD, dict.fromkeys(VIDEOS, 5)), (GAZE, RATES)):
        late = {
            video: [
                [*row[:-2], -row[-2] / 2, row[-1] / 3] if row[0] > 30 * per_second[video] else row
                for row in samples_of(kind, 1, video)
            ]
            for video in VIDEOS
        }
        write(root / "ceap360vr", kind.format("P1"), content(kind, 1, samples=late))
    corpus = load(root)
    early, first = corpus.time < 30, torch.from_numpy(corpus.person == "P1")
    assert corpus.inputs[early].equal(expected.inputs[early])
    changed = (corpus.inputs != expected.inputs).any(dim=1)
    assert changed[first & ~early].all()
    assert not changed[~first].any()


def test_a_fixation_that_goes_on_is_not_known_to():
    short = ceap360vr.gaze_features(np.array([[25, 49, 10, 20.0]]), 25)
    long = ceap360vr.gaze_features(np.array([[25, 400, 10, 20.0]]), 25)
    np.testing.assert_array_equal(short[:2], long[:2])
    assert (short[2] != long[2]).any()


def test_features_know_neither_label_nor_name(root):
    expected = load(root)
    other = {video: [[time, 9.0, 1.0] for time, *_ in samples_of(ANNOTATION, 1, video)] for video in VIDEOS}
    write(root / "ceap360vr", ANNOTATION.format("P1"), content(ANNOTATION, 1, samples=other))
    corpus = load(root)
    assert corpus.valence_arousal[:480].tolist() == [[9.0, 1.0]] * 480
    assert corpus.inputs.equal(expected.inputs)
    for kind in LAYOUT:  # P7 does what P2 did
        (root / "ceap360vr" / kind.format("P2")).unlink()
        twin = {video: samples_of(kind, 2, video) for video in VIDEOS}
        write(root / "ceap360vr", kind.format("P7"), content(kind, 7, samples=twin))
    corpus = load(root)
    assert set(corpus.person.tolist()) == {"P1", "P7"}
    assert corpus.inputs.equal(expected.inputs)


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["1_Stimuli/VideoInfo.json", "1_Stimuli/VideoLuminance.csv"])
def test_a_missing_file_of_the_videos_is_named(root, path):
    (root / "ceap360vr" / path).unlink()
    load_fails(root, f"{path}: no such file")


def test_an_empty_root_says_where_to_get_the_corpus(tmp_path):
    assert not corpora.is_available("ceap360vr", tmp_path)
    load_fails(tmp_path, "ceap360vr/1_Stimuli/VideoInfo.json: no such file")


@pytest.mark.parametrize("kind", LAYOUT)
def test_a_missing_folder_is_named(root, kind):
    for person in ("P1", "P2"):
        (root / "ceap360vr" / kind.format(person)).unlink()
    pattern = kind.format("P*").replace("*", r"\*")
    load_fails(root, f"ceap360vr: no {pattern} is there")


def test_nobody_with_all_parts_is_an_error(root):
    (root / "ceap360vr" / HEAD.format("P1")).unlink()
    (root / "ceap360vr" / GAZE.format("P2")).unlink()
    load_fails(root, "ceap360vr: nobody has annotation, head path and fixations of a video")


@pytest.mark.parametrize("kind", LAYOUT)
@pytest.mark.parametrize("share", [0, 0.3, 0.9999])
def test_truncated_json_is_refused_and_nothing_is_cached(root, cache_for_tests, kind, share):
    before = set((cache_for_tests / "ceap360vr").glob("*/*"))
    file = root / "ceap360vr" / kind.format("P2")
    text = file.read_text()
    text = text[: int(share * len(text))]
    file.write_text(text)
    error = load_fails(root, "truncated or damaged JSON")
    assert error.path == file
    assert error.line in (text.count("\n"), text.count("\n") + 1)  # where the text ends, or what began there
    assert set((cache_for_tests / "ceap360vr").glob("*/*")) == before


def test_bytes_that_are_no_text_are_refused(root):
    (root / "ceap360vr" / HEAD.format("P1")).write_bytes(b'{"Behavior\xff": []}')
    load_fails(root, "P1_Behavior_HeadScanPathData.json: not text")


@pytest.mark.parametrize(
    "other",
    [
        [],
        {},
        {"Behavior_FixationData": []},
        {"Behavior_FixationData": [{"ParticipantID": "P1"}]},
        content(HEAD, 1),
        {"Behavior_FixationData": [{"ParticipantID": "P1", "Video_Behavior_FixationData": [{"VideoID": "V1"}]}]},
        content(GAZE, 1, samples={"V1": [["a", 2, 0, 0]]}),
        content(GAZE, 1, samples={"V1": [[[1], 2, 0, 0]]}),
    ],
)
def test_another_layout_is_refused(root, other):
    write(root / "ceap360vr", GAZE.format("P1"), other)
    load_fails(root, "P1_Behavior_FixationData.json: not laid out as it is published")


def test_a_file_of_somebody_else_is_refused(root):
    write(root / "ceap360vr", HEAD.format("P2"), content(HEAD, 1))
    load_fails(root, "P2_Behavior_HeadScanPathData.json: ParticipantID is that of P1, not of P2")


@pytest.mark.parametrize(
    ("videos", "message"),
    [(["V1", "V9"], "VideoID 'V9' is none of V0 to V8"), (["V1", "V2", "V1"], "V1 is there twice")],
)
def test_videos_that_cannot_be_are_refused(root, videos, message):
    rest = {"V9": [[0.1, 5, 5]]}
    write(root / "ceap360vr", ANNOTATION.format("P1"), content(ANNOTATION, 1, videos, samples=rest))
    load_fails(root, message)


NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (ANNOTATION, [0.2, NAN, 5.0], "Valence is nan, not a number from 1 to 9"),
        (ANNOTATION, [0.2, 5.0, None], "Arousal is nan, not a number from 1 to 9"),
        (ANNOTATION, [0.2, 5.0, 0.9], "Arousal is 0.9, not a number from 1 to 9"),
        (ANNOTATION, [0.2, 9.1, 5.0], "Valence is 9.1, not a number from 1 to 9"),
        (ANNOTATION, [NAN, 5.0, 5.0], "TimeStamp is nan, not a number from 0 to 61"),
        (ANNOTATION, [1.6e9, 5.0, 5.0], r"TimeStamp is 1.6e\+09, not a number from 0 to 61"),
        (ANNOTATION, [0.1, 5.0, 5.0], "TimeStamp 0.1 does not come after 0.1"),
        (ANNOTATION, [0.05, 5.0, 5.0], "TimeStamp 0.05 does not come after 0.1"),
        (HEAD, [2, NAN, 0], "Pitch is nan, not a number from -90 to 90"),
        (HEAD, [2, 0, 181], "Yaw is 181, not a number from -180 to 180"),
        (HEAD, [1, 0, 0], "ID 1 does not come after 1"),
        (HEAD, [0, 0, 0], "ID is 0, not a number from 1 to 305"),
        (GAZE, [20, 25, 0, float("inf")], "Yaw is inf, not a number from -180 to 180"),
        (GAZE, [10, 25, 0, 0], "StartFrame 10 does not come after 10"),
        (GAZE, [30, 29, 0, 0], "EndFrame comes before StartFrame"),
    ],
)
def test_samples_that_cannot_be_are_refused_by_place(root, kind, row, message):
    first = {ANNOTATION: [0.1, 5, 5], HEAD: [1, 0, 0], GAZE: [0, 10, 0, 0]}[kind]
    write(root / "ceap360vr", kind.format("P2"), content(kind, 2, samples={"V6": [first, row]}))
    error = load_fails(root, f"V6, sample 2: {message}")
    assert error.path == root / "ceap360vr" / kind.format("P2")


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"V1": 25}, "no entry for V2"),
        (RATES | {"V4": 0}, "FrameRate of V4 is 0, not 1 to 1000"),
        (RATES | {"V4": NAN}, "FrameRate of V4 is nan"),
        (RATES | {"V4": "fast"}, "not laid out as it is published"),
    ],
)
def test_frame_rates_that_cannot_be_are_refused(root, rates, message):
    write_stimuli(root / "ceap360vr", rates)
    load_fails(root, f"VideoInfo.json: {message}")


@pytest.mark.parametrize(
    ("cells", "line", "message"),
    [
        (["7"] * 1770, 1771, "the luminance of V2 ends with frame 1769, before second 59"),
        (["7"] * 9 + ["", "7"], 11, "the luminance of V2 is blank before its last frame"),
        (["7"] * 9 + ["nan", "7"], 11, "the luminance of V2 is nan, not a number from 0 to 255"),
        (["7"] * 9 + ["256", "7"], 11, "the luminance of V2 is 256, not a number from 0 to 255"),
        (["7"] * 9 + ["dark", "7"], None, "the luminance of V2 is no number .*dark"),
    ],
)
def test_luminance_that_cannot_be_is_refused(root, cells, line, message):
    write_stimuli(root / "ceap360vr", luminance={"V2": cells})
    assert load_fails(root, f"VideoLuminance.csv.*: {message}").line == line


def test_a_damaged_table_of_luminance_is_refused(root):
    file = root / "ceap360vr/1_Stimuli/VideoLuminance.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:100], lines[100][:9]]))
    load_fails(root, "line 101: not frame 99 with 9 levels")
    file.write_text("\n".join([*lines[:100], *lines[101:]]))
    load_fails(root, "line 101: not frame 99 with 9 levels")
    file.write_text("\n".join(lines[1:]))
    load_fails(root, "line 1: the header is not 'Frame,V0,")
    file.write_text("")
    load_fails(root, "line 1: the header is not")
    file.write_bytes(b"Frame\xff")
    load_fails(root, "not the text of a csv file")


# --- source and target ------------------------------------------------------------------------------------


def test_people_with_odd_numbers_are_the_source(tmp_path):
    write_corpus(tmp_path / "ceap360vr", people=(1, 2, 11, 3, 12))
    assert ceap360vr.source_people(load(tmp_path)) == ("P1", "P3", "P11")


def test_other_people_have_no_source():
    corpus = AffectTraces(
        torch.zeros(1, 1), torch.zeros(1, 2), np.array(["train_1"]), np.array(["train_1"]), torch.zeros(1)
    )
    with pytest.raises(ValueError, match="called P1 to P32, not 'train_1'"):
        ceap360vr.source_people(corpus)


# --- fetching ---------------------------------------------------------------------------------------------


def test_every_file_that_is_read_has_a_source():
    sources = download.SOURCES["ceap360vr"]
    assert [source.path for source in sources] == [f"ceap360vr/{path}" for path in ceap360vr.paths()]
    assert len(sources) == 2 + 3 * 32 == len({source.sha256 for source in sources})
    for source in sources:
        assert source.url.startswith("https://raw.githubusercontent.com/cwi-dis/CEAP-360VR-Dataset/d41a8212")
        assert source.url.endswith(f"/CEAP-360VR/{source.path.removeprefix('ceap360vr/')}")
        assert len(bytes.fromhex(source.sha256)) == 32


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_what_is_fetched_can_be_loaded(tmp_path, monkeypatch, capsys):
    served = tmp_path / "served"
    write_corpus(served, people=(1, 2, 3))
    paths = [path for path in ceap360vr.paths() if (served / path).is_file()]
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served)) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}"
        digests = [hashlib.sha256((served / path).read_bytes()).hexdigest() for path in paths]
        sources = [
            download.Source(f"{url}/{path}", f"ceap360vr/{path}", digest)
            for path, digest in zip(paths, digests, strict=True)
        ]
        monkeypatch.setitem(download.SOURCES, "ceap360vr", tuple(sources))
        download.get("ceap360vr", tmp_path)
        http.shutdown()
    printed = capsys.readouterr().out
    assert f"All 11 files in {tmp_path / 'ceap360vr'} are the published ones." in printed
    assert "CC BY-NC 4.0" in printed
    assert len(load(tmp_path)) == 3 * 480


# --- the real corpus --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(data_root):
    folder = data_root / "ceap360vr"
    folder = folder / "CEAP-360VR" if (folder / "CEAP-360VR").is_dir() else folder
    if not all((folder / path).is_file() for path in ceap360vr.paths()):
        pytest.skip(f"CEAP-360VR, or a part of it, is not in {data_root}")
    return load(data_root)


@pytest.mark.data
def test_real_counts(real):
    assert len(real) == WHOLE == 15_360
    assert real.left_out == dict.fromkeys(ceap360vr.LEFT_OUT, 0)
    assert real.describe().loc["video V1":"video V8"].to_numpy().tolist() == [[32 * 60, 32]] * 8
    assert real.person[::480].tolist() == [f"P{number}" for number in range(1, 33)]
    assert real.inputs.isfinite().all()
    source = ceap360vr.source_people(real)
    assert source == tuple(f"P{number}" for number in range(1, 33, 2))
    assert int(np.isin(real.person, source).sum()) == WHOLE // 2


@pytest.mark.data
def test_real_labels(real):
    assert (real.valence_arousal.min().item(), real.valence_arousal.max().item()) == (1.0, 9.0)
    assert real.valence_arousal.mean(dim=0).tolist() == pytest.approx([5.273, 5.147], abs=1e-3)
    # Whoever never moved the joystick from the middle, in valence or in arousal.
    traces = real.valence_arousal.reshape(256, 60, 2)
    still = (traces == traces[:, :1]).all(dim=1)
    where = [(real.person[60 * trace], real.video[60 * trace]) for trace in range(256)]
    assert [where[trace] for trace in still[:, 0].nonzero().flatten()] == [("P7", "V4")]
    assert [where[trace] for trace in still[:, 1].nonzero().flatten()] == [
        ("P7", "V4"), ("P30", "V2"), ("P30", "V8"), ("P32", "V8")
    ]  # fmt: skip


@pytest.mark.data
def test_real_luminance_is_that_of_the_video_and_all_else_the_persons(real):
    inputs = real.inputs.reshape(32, 8, 60, -1)
    shared = (inputs == inputs[:1]).all(dim=0).all(dim=0).all(dim=0)
    assert [name for name, same in zip(ceap360vr.FEATURES, shared.tolist(), strict=True) if same] == [
        "luminance", "luminance variation", "luminance above window"
    ]  # fmt: skip


@pytest.mark.data
def test_real_head_and_gaze_point_the_same_way(real):
    # Only so if the pitch of the head, which the files give downwards, is turned.
    fixated = real.inputs[:, ceap360vr.FEATURES.index("fixated share")] > 0.5
    for axis, least in zip("xyz", (0.9, 0.9, 0.6), strict=True):
        columns = [ceap360vr.FEATURES.index(f"{part} {axis}") for part in ("head", "gaze")]
        assert torch.corrcoef(real.inputs[fixated][:, columns].T)[0, 1] > least


@pytest.mark.data
def test_real_files_are_the_published_ones(data_root):
    if not corpora.is_available("ceap360vr", data_root) or (data_root / "ceap360vr/CEAP-360VR").is_dir():
        pytest.skip(f"CEAP-360VR is not in {data_root}/ceap360vr")
    for source in download.SOURCES["ceap360vr"]:
        file = data_root / source.path
        if file.is_file():
            assert hashlib.sha256(file.read_bytes()).hexdigest() == source.sha256, source.path
