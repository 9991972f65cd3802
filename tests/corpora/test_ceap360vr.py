import json
import shutil
from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from uncertain_affect import corpora
from uncertain_affect.corpora import AffectTraces, CorpusError, ceap360vr, download

ANNOTATION, HEAD, GAZE = KINDS = tuple(ceap360vr.PARTS)
STIMULI = ["1_Stimuli/VideoInfo.json", "1_Stimuli/VideoLuminance.csv"]
VIDEOS = [f"V{number}" for number in range(1, 9)]
RATES = {"V0": 30, "V1": 25} | dict.fromkeys(VIDEOS[1:], 30)
WHOLE = 32 * 8 * 60


def path_of(root, kind, person):
    return root / "ceap360vr" / ceap360vr.PARTS[kind].path.format(f"P{person}")


def samples_of(kind, person, video):
    """What this person does in this video: rows in the order of the columns."""
    generator = np.random.default_rng([person, int(video[1:]), KINDS.index(kind)])
    if kind == ANNOTATION:
        times = np.arange(0.05, 60, 0.12) + generator.uniform(0, 0.1, 500)
        return np.column_stack([times, generator.uniform(1, 9, (500, 2))]).round(3).tolist()
    angles = generator.uniform([-60, -180], [60, 180], (299, 2)).round(3).tolist()
    if kind == HEAD:
        return [[number, *angle] for number, angle in enumerate(angles, start=1)]
    frames = range(0, 60 * RATES.get(video, 30) - 40, 40)
    return [[frame, frame + 20, *angle] for frame, angle in zip(frames, angles, strict=False)]


def content(kind, person, videos=VIDEOS, name="P{}", **samples):
    """The file, as Python holds it, of a person (number); `samples` replaces those of a video."""
    part, entries = ceap360vr.PARTS[kind], []
    for video in videos:
        rows = samples.get(video, samples_of(kind, person, video))
        entries.append({"VideoID": video, part.samples: [dict(zip(part.columns, row, strict=True)) for row in rows]})
    return {part.top: [{"ParticipantID": name.format(person), part.videos: entries}]}


def write(path, whatever):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(whatever if isinstance(whatever, str) else json.dumps(whatever), errors="surrogateescape")


def levels(video):
    """The grey level of each frame: second plus the number of the video; one frame of second 2 is 9 brighter."""
    frames = np.arange(60 * RATES[video] + 3)  # the published videos last a little longer than a minute
    level = np.floor(frames / RATES[video]) + int(video[1:])
    level[2 * RATES[video] + 5] += 9
    return level


def write_stimuli(root, rates=RATES, **luminance):
    info, table = (root / "ceap360vr" / path for path in STIMULI)
    write(info, {"VideoInfo": [{"VideoID": video, "FrameRate": rate} for video, rate in rates.items()]})
    columns = {video: [f"{level:g}" for level in levels(video)] for video in RATES} | luminance
    length = max(map(len, columns.values()))
    lines = [[str(n), *(cells[n] if n < len(cells) else "" for cells in columns.values())] for n in range(length)]
    write(table, "\n".join(map(",".join, [["Frame", *columns], *lines])) + "\n")


@cache
def published(kind, person):
    """The text of a file, over many lines as in the full distribution; some files there say "P1", some "1"."""
    return json.dumps(content(kind, person, name="{}" if kind == GAZE else "P{}"), indent=4)


def write_corpus(root, people=(1, 2)):
    write_stimuli(root)
    for person in people:
        for kind in KINDS:
            write(path_of(root, kind, person), published(kind, person))
    return root


def change(root, kind, person, videos=VIDEOS, **samples):
    write(path_of(root, kind, person), content(kind, person, videos, **samples))


@pytest.fixture
def root(tmp_path):
    """A data root with two of the 32 people."""
    return write_corpus(tmp_path)


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


def test_one_example_a_second_in_order(root):
    corpus = load(root)
    assert corpus.inputs.shape == (960, len(set(ceap360vr.FEATURES))) == (960, 21)
    assert corpus.inputs.dtype == corpus.valence_arousal.dtype == corpus.time.dtype == torch.float32
    assert corpus.inputs.isfinite().all()
    assert corpus.person.tolist() == ["P1"] * 480 + ["P2"] * 480
    assert corpus.video.tolist() == [video for video in VIDEOS for _ in range(60)] * 2
    assert corpus.time.tolist() == list(range(60)) * 16
    nothing = dict.fromkeys(["training video V0", *KINDS], 0)
    assert corpus.left_out == nothing | {"no files of the person": 30 * 480}


def test_the_authors_repository_a_byte_order_mark_and_windows_lines_change_nothing(root, tmp_path_factory):
    usual = load(root).checksum()
    clone = tmp_path_factory.mktemp("clone")
    shutil.copytree(root / "ceap360vr", clone / "ceap360vr/CEAP-360VR")
    assert corpora.is_available("ceap360vr", clone)
    assert load(clone).checksum() == usual
    for file in (path_of(root, ANNOTATION, 1), *(root / "ceap360vr" / path for path in STIMULI)):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert load(root).checksum() == usual


def test_it_is_available_with_the_videos_and_one_whole_person(root):
    assert corpora.is_available("ceap360vr", root)
    path_of(root, GAZE, 1).unlink()
    assert corpora.is_available("ceap360vr", root)
    path_of(root, HEAD, 2).unlink()
    assert not corpora.is_available("ceap360vr", root)
    load_fails(root, "ceap360vr: nobody has annotation, head path and fixations of a video")
    for path in STIMULI:
        write_corpus(root)
        (root / "ceap360vr" / path).unlink()
        assert not corpora.is_available("ceap360vr", root)
        load_fails(root, f"{path}: no such file")


def test_check_counts_people_videos_and_seconds(root):
    table = corpora.check("ceap360vr", root)
    assert table.loc["people"].tolist() == ["32", "2", False]
    assert table.loc["seconds"].tolist() == ["15,360", "960", False]
    assert table.loc["left out: no files of the person"].tolist() == ["0", "14,400", False]


def test_the_training_video_is_left_out_and_counted(root):
    expected = load(root)
    for kind in KINDS:
        change(root, kind, 2, ["V0", *VIDEOS])
    corpus = load(root)
    assert corpus.left_out == {**expected.left_out, "training video V0": 60}
    assert corpora.check("ceap360vr", root).loc["left out: training video V0"].tolist() == ["0", "60", True]
    assert corpus.inputs.equal(expected.inputs)
    assert corpus.video.tolist() == expected.video.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_or_a_video_without_a_part_is_left_out_and_counted(root, kind):
    for videos, samples in ([v for v in VIDEOS if v != "V3"], {}), (VIDEOS, {"V3": []}):
        change(root, kind, 2, videos, **samples)
        corpus = load(root)
        assert not rows(corpus, "P2", "V3").any()
        assert rows(corpus, "P1", "V3").sum() == 60
        assert corpus.left_out[kind] == 60
        assert len(corpus) + sum(corpus.left_out.values()) == WHOLE
    path_of(root, kind, 2).unlink()
    corpus = load(root)
    assert set(corpus.person.tolist()) == {"P1"}
    assert corpus.left_out[kind] == 480
    assert len(corpus) + sum(corpus.left_out.values()) == WHOLE
    path_of(root, kind, 1).unlink()
    load_fails(root, f"ceap360vr: no {ceap360vr.PARTS[kind].path.format('P.')} is there")


def test_seconds_without_a_sample_are_left_out_and_counted_once(root):
    change(root, ANNOTATION, 1, V4=[row for row in samples_of(ANNOTATION, 1, "V4") if not 20 <= row[0] < 25])
    change(root, HEAD, 1, V4=[row for row in samples_of(HEAD, 1, "V4") if not 24 * 5 < row[0] <= 27 * 5])
    corpus = load(root)
    assert corpus.time[rows(corpus, "P1", "V4")].tolist() == [*range(20), *range(27, 60)]
    assert (corpus.left_out["no annotation"], corpus.left_out["no head path"]) == (5, 2)
    assert corpus.inputs.isfinite().all()


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


def head_of(pitch_yaw):
    return np.array([[number, *angles] for number, angles in enumerate(pitch_yaw, start=1)], dtype=float)


def named(features, first):
    """Features by name, from the place of the name `first`."""
    start = ceap360vr.FEATURES.index(first)
    return dict(zip(ceap360vr.FEATURES[start:], features.T, strict=False))


def test_a_head_that_rests_has_no_speed_and_no_spread():
    head = named(ceap360vr.head_features(head_of([(-30, 90)] * 299)), "head x")  # up by 30 degrees
    np.testing.assert_allclose(head["head x"], 0, atol=1e-15)
    np.testing.assert_allclose(head["head y"], np.sqrt(3) / 2)
    np.testing.assert_allclose(head["head z"], 0.5)
    np.testing.assert_allclose([head[name] for name in ceap360vr.FEATURES[3:10]], 0, atol=1e-7)


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
    head = np.delete(head_of([(-45 + 6 * n, 0) for n in range(15)]), [2, 3], axis=0)
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
    # Frames are seconds by the rate of the video.
    at_30 = ceap360vr.gaze_features(np.array([[60, 74, 0, 0.0]]), 30)
    assert at_30[:, 4].tolist() == [0, 0, 0.5] + [0] * 57


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
        late = {video: samples_of(kind, 1, video) for video in VIDEOS}
        for video, samples in late.items():
            for row in samples:
                if row[0] > 30 * per_second[video]:
                    row[-2:] = -row[-2] / 2, row[-1] / 3
        change(root, kind, 1, **late)
    corpus = load(root)
    early, first = corpus.time < 30, torch.from_numpy(corpus.person == "P1")
    assert corpus.inputs[early].equal(expected.inputs[early])
    changed = (corpus.inputs != expected.inputs).any(dim=1)
    assert changed[first & ~early].all()
    assert not changed[~first].any()


def test_features_know_neither_label_nor_name(root):
    expected = load(root)
    change(root, ANNOTATION, 1, **{v: [[t, 9.0, 1.0] for t, *_ in samples_of(ANNOTATION, 1, v)] for v in VIDEOS})
    corpus = load(root)
    assert corpus.valence_arousal[:480].tolist() == [[9.0, 1.0]] * 480
    assert corpus.inputs.equal(expected.inputs)
    for kind in KINDS:  # P7 does what P2 did
        path_of(root, kind, 2).unlink()
        change(root, kind, 7, **{video: samples_of(kind, 2, video) for video in VIDEOS})
    corpus = load(root)
    assert set(corpus.person.tolist()) == {"P1", "P7"}
    assert corpus.inputs.equal(expected.inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0, 0.3, 0.9999])
def test_truncated_json_is_refused(root, kind, share):
    file = path_of(root, kind, 2)
    text = file.read_text()
    text = text[: int(share * len(text))]
    file.write_text(text)
    error = load_fails(root, "truncated or damaged JSON")
    assert error.path == file
    assert error.line in (text.count("\n"), text.count("\n") + 1)  # where the text ends, or what began there


TOP, NO_SAMPLES = ceap360vr.PARTS[GAZE].top, {"ParticipantID": "P1", ceap360vr.PARTS[GAZE].videos: [{"VideoID": "V1"}]}
OTHERS = {  # the gaze of P1, and what is said of it
    "nobody": ({TOP: []}, "not laid out"),
    "another part": (content(HEAD, 1), "not laid out"),
    "no samples": ({TOP: [NO_SAMPLES]}, "not laid out"),
    "a word": (content(GAZE, 1, V1=[["a", 2, 0, 0]]), "not laid out"),
    "a list in a sample": (content(GAZE, 1, V1=[[[1], 2, 0, 0]]), "not laid out"),
    "lists in a sample": (content(GAZE, 1, V1=[[[1], [2], [0], [0]]]), "a sample holds a list"),
    "somebody else": (content(GAZE, 2), "ParticipantID is that of P2, not of P1"),
    "another video": (content(GAZE, 1, ["V1", "V9"], V9=[[0, 1, 5, 5]]), "VideoID 'V9' is none of V0"),
    "a video twice": (content(GAZE, 1, ["V1", "V2", "V1"]), "V1 is there twice"),
    "no text": ("\udcff{}", "truncated or damaged JSON"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_layout_is_refused(root, case):
    other, message = OTHERS[case]
    write(path_of(root, GAZE, 1), other)
    load_fails(root, f"P1_Behavior_FixationData.json.*: .*{message}")


NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (ANNOTATION, [0.2, NAN, 5.0], "Valence is nan, not a number from 1 to 9"),
        (ANNOTATION, [0.2, 5.0, None], "Arousal is nan, not a number from 1 to 9"),
        (ANNOTATION, [1.6e9, 5.0, 5.0], r"TimeStamp is 1.6e\+09, not a number from 0 to 61"),
        (ANNOTATION, [0.1, 5.0, 5.0], "TimeStamp 0.1 does not come after 0.1"),
        (HEAD, [2, 0, 181], "Yaw is 181, not a number from -180 to 180"),
        (HEAD, [1, 0, 0], "ID 1 does not come after 1"),
        (HEAD, [0, 0, 0], "ID is 0, not a number from 1 to 305"),
        (GAZE, [20, 25, 0, float("inf")], "Yaw is inf, not a number from -180 to 180"),
        (GAZE, [10, 25, 0, 0], "StartFrame 10 does not come after 10"),
        (GAZE, [30, 29, 0, 0], "EndFrame comes before StartFrame"),
    ],
)
def test_samples_that_cannot_be_are_refused_by_place(root, kind, row, message):
    change(root, kind, 2, V6=[{ANNOTATION: [0.1, 5, 5], HEAD: [1, 0, 0], GAZE: [0, 10, 0, 0]}[kind], row])
    error = load_fails(root, f"V6, sample 2: {message}")
    assert error.path == path_of(root, kind, 2)


@pytest.mark.parametrize(
    ("stimuli", "line", "message"),
    [
        ({"rates": {"V1": 25}}, None, "VideoInfo.json: no entry for V2"),
        ({"rates": RATES | {"V4": 0}}, None, "VideoInfo.json: FrameRate of V4 is 0, not 1 to 1000"),
        ({"rates": RATES | {"V4": NAN}}, None, "VideoInfo.json: FrameRate of V4 is nan"),
        ({"rates": RATES | {"V4": "fast"}}, None, "VideoInfo.json: not laid out as it is published"),
        ({"V2": ["7"] * 1770}, 1771, "the luminance of V2 ends with frame 1769, before second 59"),
        ({"V2": ["7"] * 9 + ["", "7"]}, 11, "the luminance of V2 is blank before its last frame"),
        ({"V2": ["7"] * 9 + ["nan", "7"]}, 11, "the V2 'nan' is no number from 0 to 255"),
        ({"V2": ["7"] * 9 + ["256", "7"]}, 11, "the V2 '256' is no number from 0 to 255"),
    ],
)
def test_frame_rates_and_luminance_that_cannot_be_are_refused(root, stimuli, line, message):
    write_stimuli(root, **stimuli)
    error = load_fails(root, message)
    assert (error.path.name, error.line) == ("VideoLuminance.csv" if line else "VideoInfo.json", line)


def test_a_frame_of_luminance_that_lacks_is_refused(root):
    file = root / "ceap360vr" / STIMULI[1]
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:100], *lines[101:]]))
    load_fails(root, "line 101: not frame 99")


def test_people_with_odd_numbers_are_the_source(tmp_path):
    write_corpus(tmp_path, people=(1, 2, 11, 3, 12))
    assert ceap360vr.source_people(load(tmp_path)) == ("P1", "P3", "P11")


def test_every_file_that_is_read_has_a_source():
    files = STIMULI + [part.path.format(person) for part in ceap360vr.PARTS.values() for person in ceap360vr.PEOPLE]
    assert [source.path for source in download.SOURCES["ceap360vr"]] == [f"ceap360vr/{path}" for path in files]
