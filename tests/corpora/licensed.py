"""The six licensed corpora in small: a tree of files for each, and what is wrong with one that is damaged."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trees_faces
import trees_iemocap
import trees_recola
import trees_semaine
from trees import Files, text

from uncertain_affect.corpora.semaine import TRACE, TWICE

TRAIN, VAL = "Train_Set", "Validation_Set"
VIDEOS = {
    "6-30-1920x1080_left": (9, {"AU": TRAIN, "VA": VAL}),
    "6-30-1920x1080_right": (9, {"AU": TRAIN, "EXPR": TRAIN}),
    "130": (8, {"AU": VAL, "EXPR": TRAIN, "VA": TRAIN}),
    "130-25-1280x720": (7, {"EXPR": VAL, "VA": TRAIN}),
    "video85": (6, {"AU": TRAIN}),
    "122-60-1920x1080-1": (5, {"VA": TRAIN}),
    "video10_1_left": (5, {"VA": VAL}),
}
SEQUENCES = {("F001", "T1"): 9, ("M011", "T8"): 6, ("F007", "T2"): 7, ("M007", "T2"): 5}
FRAMES = {"SN003": 8, "SN010": 6, "SN002": 7, "SN013": 5}
ROWS = 26  # of a recording of RECOLA
GREY = {"size": 16, "colour": False}


@dataclass(frozen=True)
class Corpus:
    files: Files  # a whole tree
    texts: tuple[str, ...]  # a text file of each kind
    # the numbers of those lines of such a file whose loss, or repetition, must be reported
    rows_of: Callable[[str, list[bytes]], list[int]]
    malformed: dict[str, tuple]  # of `cases`
    needed: str  # a folder without which the corpus is not available
    # files that are others, more, or none (None) than they should be, and what is said of them
    contradictory: dict[str, tuple[dict[str, bytes | None], str]]
    check: dict[str, list]  # some rows of `check`
    options: dict = field(default_factory=dict)  # of load
    optional: tuple[str, ...] = ()  # those of the texts that may be missing: what lacks then is counted
    missing: str = "no such file"  # what is said of another text that is not there
    places: tuple[str, ...] = ()  # other places of the folder than the corpus's own name


def that_begin(*beginnings: bytes) -> Callable[[str, list[bytes]], list[int]]:
    return lambda file, lines: [i for i, line in enumerate(lines) if line.startswith(beginnings)]


def after_header(file: str, lines: list[bytes]) -> list[int]:
    return list(range(1, len(lines)))


def cases(file: str, **by_name: tuple[str | None, str, int | None, str]) -> dict[str, tuple]:
    """By name: the file, in which `old` (None: all of it) becomes `new`, the line that is named, and what is said."""
    return {name.replace("_", " "): (file, *case) for name, case in by_name.items()}


def _bp4d() -> Corpus:
    file = "bp4d/AUCoding/AU_OCC/F001_T1.csv"
    header, zeros = ",".join(map(str, trees_faces.BP4D_HEADER)), ",0" * 23

    def csv(*rows: str, header: str = header) -> str:
        return text(header, *rows).decode()

    malformed = cases(
        file,
        header_alone=(None, csv(), 1, "no coded frame"),
        a_missing_unit=(None, csv("5" + zeros, header=header.replace(",24,", ",25,")), 1, "no column 24"),
        frame_column_elsewhere=(None, csv("0,5" + zeros[2:], header="1,0," + header[4:]), 1, "first column"),
        a_row_twice=(None, csv("5" + zeros, "5" + zeros), 3, "frame 5 does not come after"),
        descending=(None, csv("5" + zeros, "4" + zeros), 3, "frame 4 does not come after"),
        blank_between=(None, csv("5" + zeros, "", "6" + zeros), 3, "0 columns where 24"),
        an_intensity=(None, csv("5,3" + zeros[2:]), 2, "the 1 '3' is none of 0, 1, 9"),
        quotes=(None, csv('5,"1"' + zeros[2:]), 2, "the 1 '\"1\"' is none"),
        a_giant_frame=(None, csv("9" * 40 + zeros), 2, "the 0 '999.*' is no whole number"),
    )
    faces, uncropped = "bp4d/faces/F001/T1/", trees_faces.face(100, side=104, height=139)
    contradictory = {
        "BP4D+": ({file.replace("F001", "F024"): b"0"}, r"F024 T1 .*BP4D\+"),
        "two images": ({f"{faces}02440.jpg": b""}, "frame 2440 a second time"),
        "a crop without its frame": ({"bp4d/F001/T1/2441.jpg": b""}, "a crop of frame 24.*, which is not there"),
        "an uncropped frame": ({f"{faces}2440.jpg": uncropped}, "104 x 139 pixels are no .*Extraction -fdir F001/T1"),
    }
    check = {
        "label files": ["328", "4", False],
        "coded frames, fold 1": ["50,631", "14", False],
        "AU24, fold 3": ["7,286", "3", False],
        "frame numbers missing between coded ones": ["0", "0", True],
    }
    files, _ = trees_faces.bp4d(SEQUENCES)
    needed, optional = "bp4d/faces", (file,)
    return Corpus(files, optional, after_header, malformed, needed, contradictory, check, GREY, optional)


def _disfa() -> Corpus:
    file = "disfa/ActionUnit_Labels/SN002/SN002_au12.txt"
    aligned = "disfa/faces/LeftVideoSN002_comp_aligned/frame_det_00_0000"
    five, larger = "1,0\n2,5\n3,1\n4,0\n5,2\n6,0\n", trees_faces.face(100, "PNG", 50)
    malformed = cases(
        file,
        a_header=(None, "frame,intensity\n" + five, 1, "the frame 'frame' is no whole number"),
        from_0=(None, five.replace("1,0", "0,0", 1), 1, "frame 0 where frame 1 is expected"),
        a_gap=(None, five.replace("3,1\n", ""), 3, "frame 4 where frame 3"),
        a_row_twice=(None, five.replace("3,1\n", "3,1\n3,1\n"), 4, "frame 3 where frame 4"),
        six=(None, five.replace("2,5", "2,6"), 2, "the intensity '6' is none of 0, 1, 2, 3, 4, 5"),
        a_blank_line=(None, five.replace("2,5\n", "2,5\n\n"), 3, "0 columns where 2"),
        longer_than_the_others=(None, five + "7,0\n8,0\n9,0\n", 8, "9 frames where the other files of SN002 have 7"),
        shorter_than_the_others=(None, five, 7, "6 frames where the other files of SN002 have 7"),
    )
    contradictory = {
        "a subject of no fold": ({file.replace("SN002", "SN033"): b"1,0"}, "SN033 is in none"),
        "crops from 1": ({"disfa/faces/SN002/0.png": None}, "crop 7 of 7 frames and no crop 0: .*-start_number 0"),
        "OpenFace's crops from 0": ({f"{aligned}00.bmp": larger, f"{aligned}01.bmp": larger}, "there is a crop 0"),
        "faces of two sizes": ({"disfa/faces/SN010/3.png": larger}, r"3\.png: 50 x 50 pixels, others have 48"),
    }
    check = {
        "subjects": ["27", "4", False],
        "coded frames, fold 1": ["43,604", "13", False],
        "AU26, fold 3": ["2,508", "5", False],
        "coded frames with a face": ["26, or a few less", "22", False],
    }
    (files, _), needed = trees_faces.disfa(FRAMES), "disfa/faces"
    return Corpus(files, (file,), that_begin(b""), malformed, needed, contradictory, check, GREY)


def _affwild2() -> Corpus:
    place = "affwild2/annotations/{}_Set/Train_Set/{}.txt"
    au, expr, va = place.format("AU", "video85"), place.format("EXPR", "130"), place.format("VA", "130")
    units, names = ",".join(f"AU{unit}" for unit in trees_faces.AFFWILD2_UNITS), ",".join(trees_faces.EXPRESSIONS)
    affect, zeros, pairs = "valence,arousal", "0" + ",0" * 11, ["0,0"] * 7

    def lines(*rows: str) -> str:
        return text(*rows).decode()

    malformed = cases(
        au,
        header_alone=(None, lines(units), 1, "no line after"),
        another_unit=(None, lines(units.replace("AU26", "AU27"), *[zeros] * 6), 1, "the header"),
        a_unit_of_2=(None, lines(units, zeros, "2" + zeros[1:], *[zeros] * 4), 3, "the au1 '2' is none of 0, 1, -1"),
        a_blank_line=(None, lines(units, zeros, "", *[zeros] * 4), 3, "0 columns where 12"),
        expression_in_the_place_of_units=(None, lines(names, *"012345"), 1, "the header"),
    ) | cases(
        expr,
        in_another_order=(None, lines(names.replace("Anger,Disgust", "Disgust,Anger"), *"01234560"), 1, "the header"),
        expression_without_header=(None, lines(*"012345601"), 1, "the header"),
        expression_8=(None, lines(names, *"01283456"), 5, "the expression '8' is none of -1, 0, 1, 2, 3, 4, 5, 6, 7"),
    ) | cases(
        va,
        arousal_first=(None, lines("arousal,valence", *pairs), 1, "the header"),
        valence_too_large=(None, lines(affect, "0,0", "1.5,0", *pairs), 3, "the valence '1.5' is neither from -1 to 1"),
        arousal_too_small=(None, lines(affect, "0,-4", *pairs), 2, "the arousal '-4' is neither from -1 to 1 nor -5"),
        decimal_commas=(None, lines(affect, "0,1,0,2", *pairs), 2, "4 columns where 2"),
    )  # fmt: skip
    files, _ = trees_faces.affwild2(VIDEOS)
    for video, (n, _) in VIDEOS.items():  # a file that says how many frames there are
        files[f"affwild2/videos/{video.removesuffix('_left').removesuffix('_right')}.mp4"] = trees_faces.mp4(n)
    needed, texts = "affwild2/cropped_aligned", (au, expr, va)
    both = {au.replace(TRAIN, VAL): files[au]}
    contradictory = {
        "two competitions": ({"affwild2/6th/AU_Detection_Challenge/x": b""}, "second time.*Keep those of one"),
        "a video in two parts": (both, r"video85 is in .*Train_Set/video85\.txt"),
        "no video's name": ({au.replace("video85", "a b"): files[au]}, "a b.txt: not the name of a video"),
        "no crop": ({file: None for file in files if needed in file}, "no frame with labels has a crop"),
        "no part": ({f: None for f in files if "AU_Set/Validation" in f}, "Validation_Set: no such folder"),
    }
    check = {
        "videos, au train": ["1 or more", "3", True],
        "videos, va val": ["1 or more", "2", True],
        "frames with labels and a crop": ["1 or more", "42", True],
    }
    return Corpus(files, texts, after_header, malformed, needed, contradictory, check, GREY, texts)


def _recola() -> Corpus:
    gold = "recola/ratings_gold_standard/{}/{}.arff"
    arousal, quoted = gold.format("arousal", "train_1"), gold.format("valence", "dev_4")
    features = "recola/features_video_appearance/valence/train_2.arff"
    malformed = cases(
        arousal,
        out_of_range=("train_1,0.08,-0", "train_1,0.08,-1", 9, "the GoldStandard '-1.*' is no number from -1 to 1"),
        swapped_columns=("train_1,0.04,", "0.04,train_1,", 8, "the row is of 0.04, not of train_1"),
        another_attribute=("Instance_name", "name", 1, "the attributes are"),
        no_data=("@data", "", 7, "train_1,0.00.* stands before @data"),
        nothing_but_a_header=(None, "@relation x\n", 1, "there is no @data"),
        a_stray_line=("@data", "hello\n@data", 6, "'hello' stands before @data"),
        a_gap=("0.08,", "0.12,", 9, "the time is 0.12, not 0.08"),
        a_negative_time=("train_1,0.00", "train_1,-0.04", 7, "the frameTime '-0.04' is no number from 0"),
    ) | cases(
        quoted,
        another_recording=("'dev_4',0.04", "'dev_5',0.04", 12, "the row is of dev_5, not of dev_4"),
    ) | cases(
        features,
        features_nan=("1001.5,1", "1001.5,nan", 176, "the feature 2 'nan' is no number"),
        features_a_column_less=("1001.5,1,", "1001.5,", 176, "168 columns where 169 are expected"),
        features_an_attribute_less=("@attribute feature_9 numeric", "", 1, "168 attributes, the first"),
        features_a_gap=("\n0.08,", "\n0.12,", 177, "the time is 0.12: a row is missing"),
        features_without_rows=(None, trees_recola.files(0)[features].decode(), 1, "no row after @data"),
    ) | cases(
        "recola/ratings_individual/valence/train_1.csv",
        ratings_of_seven=("0.04;", "0.04;0.1;", 3, "8 columns where 7"),
        ratings_out_of_range=("0.100", "1.100", 2, "the FM1 '1.100' is no number from -1 to 1"),
        ratings_with_a_comma=("time;", "time,", 1, "the header is"),
        two_raters_of_one_name=("FM2", "FM1", 1, "the header is"),
    )  # fmt: skip

    def rows_of(file: str, lines: list[bytes]) -> list[int]:
        """The rows of data; features may begin with frame 1 and end early: then a frame is without a face."""
        first = [line.lower() for line in lines].index(b"@data") + 1
        found = [i for i in range(first, len(lines)) if lines[i].strip()]
        return found[1:-1] if "features" in file else found

    files, needed = trees_recola.files(ROWS), "recola/ratings_gold_standard"
    shorter = {features: b"\n".join(files[features].splitlines()[:-1])}
    contradictory = {"other times": (shorter, "train_2.arff, line 1: other times than those of arousal/train_2.arff")}
    check = {
        "people of dev, valence and arousal": ["9, 9", "9, 9", True],
        "left out: no face, appearance": ["some", "18 of 450 frames", True],
        "raters (PEN says five)": ["6", "6", True],
    }
    places, texts = ("recola/AVEC2016", "AVEC2016", "."), (arousal, features)
    return Corpus(files, texts, rows_of, malformed, needed, contradictory, check, places=places)


def _iemocap() -> Corpus:
    place = "iemocap/Session1/dialog"
    evaluation, transcription = (f"{place}/{name}/Ses01F_impro05a.txt" for name in ("EmoEvaluation", "transcriptions"))
    first = "Ses01F_impro05a_F000"
    no_summary = "begins a turn, and is not .start - end., name, category"
    malformed = cases(
        evaluation,
        category=(f"{first}\tang", f"{first}\tmad", 3, "the category 'mad' is none of ang"),
        out_of_range=("\t[", "\t[9", 3, "the valence '9.*' is no number from 0 to 6"),
        wrong_delimiter=(f"\t{first}\t", f" {first} ", 3, no_summary),
        ends_before_it_starts=("[6.", "[66.", 3, "does not end after it starts"),
        a_turn_of_another_dialogue=(first, "Ses01F_impro06_F000", 3, "is no turn of Ses01F_impro05a"),
        a_turn_twice=("F001\t", "F000\t", 11, "the turn Ses01F_impro05a_F000 stands there a second time, after line 3"),
        no_empty_line=("\n\n[1", "\n[1", 10, "is no evaluator's, in the turn of line 3"),
        an_evaluator_twice=("C-E3", "C-E2", 5, "evaluator C-E2 is there twice"),
        an_evaluator_without_a_turn=("\nC-E2", "\n\nC-E2", 5, no_summary),
        the_header_twice=("\n\n[", f"\n{trees_iemocap.HEADER}\n[", 2, no_summary),
        a_stray_line=("C-E2:", "hello:", 4, "'hello:.* is no evaluator's"),
        only_a_header=(None, trees_iemocap.HEADER, 1, "no turn is evaluated"),
    ) | cases(
        transcription,
        not_transcribed=(first, "Ses01F_impro05a_F099", 3, "F000 has no line in transcriptions"),
        transcribed_twice=("F001 [", "F000 [", 2, "the turn Ses01F_impro05a_F000 stands there a second time"),
        transcribed_in_another=(first, "Ses01M_impro05a_F000", 1, "is no turn of Ses01F_impro05a"),
        transcribed_without_times=(f"{first} [", f"{first} (", 3, "F000 has no line in"),
    )  # fmt: skip
    rows_of, missing = that_begin(b"[", b"Ses"), r"there is no (EmoEvaluation|transcriptions)/"
    places, texts = ("iemocap/IEMOCAP_full_release", "IEMOCAP_full_release", "."), (evaluation, transcription)
    files, needed = trees_iemocap.files(), "iemocap/Session3"
    other = {file.replace("Session1", "Session2"): files[file] for file in texts}
    contradictory = {
        "a missing session": ({f: None for f in files if needed in f}, "Session3/dialog/EmoEvaluation: no such folder"),
        "of another session": (other, "Ses01F_impro05a is no dialogue of session 2"),
    }
    check = {
        "turns with ratings": ["10,039", "80", False],
        "turns of the four classes": ["5,531", "51", False],
        "ratings that are the mean of their evaluators, without the actors": ["most", "80 of 80", True],
    }
    return Corpus(files, texts, rows_of, malformed, needed, contradictory, check, missing=missing, places=places)


def _semaine() -> Corpus:
    place = "semaine/Sessions/2"  # Poppy of the first recording
    xml, user, trace = f"{place}/session.xml", f"{place}/wordLevel_alignedTranscript_2_user", f"{place}/R1S1TUCPoDV.txt"
    first = f"{trees_semaine.trace(2, 1, 'V', 900)[0]:.6f}"  # value of that trace
    malformed = cases(
        trace,
        out_of_range=("0.04 -0.", "0.04 -1.", 3, "the value '-1.*' is no number from -1 to 1"),
        a_gap=("\n0.06 ", "\n0.08 ", 5, "0.08 s after 0.04 s"),
        a_time_twice=("\n0.06 ", "\n0.04 ", 5, "0.04 s after 0.04 s"),
        no_time=("0.00 ", "\n", 2, "1 columns where 2"),
        swapped_columns=(f"0.00 {first}", f"{first} 0.00", 1, f"the time '{first}' is no number from 0"),
    ) | cases(
        user,
        no_end_of_a_turn=("TEA,\n.\n", "TEA,\n", 5, "turn 0 has no end"),
        no_begin_of_a_turn=("---recording 2 turn 2---\n", "", 6, "'.' belongs to no turn"),
        no_end_of_the_last_turn=("13700 TEA,\n.", "13700 TEA,", None, "turn 6 has no end"),
        a_turn_twice=("turn 4---", "turn 0---", 8, "turn 0 stands there a second time, after line 1"),
        a_word_without_times=("200 500 WELL", "WELL", 2, "'WELL' is not start, end and word"),
    ) | cases(
        xml,
        another_character=("Poppy", "Spike", None, "a trace of poppy in the folder of 2, spike"),
        no_such_character=("Poppy", "Peppy", 1, "the character is 'peppy'"),
        two_users=("Operator", "User", 1, "two subjects are user"),
        no_id=('id="1"', 'id=""', 1, "a subject without an id"),
        no_operator=('<subject role="Operator" id="90"/>', "", 1, "not one user and one operator"),
        a_path_that_leads_out=("R1S1TUCPoDA", "../../R1S1TUCPoDA", 1, "is no name of a file in this folder"),
        an_entity=("<session ", '<!DOCTYPE s [<!ENTITY e SYSTEM "a">]><session ', 1, "declares a document type"),
        not_closed=("</session>", "", 9, "not well-formed XML"),
    )  # fmt: skip

    def rows_of(file: str, lines: list[bytes]) -> list[int]:
        """Samples of traces, and the marks around turns: of a word that is not there no file can tell."""
        return that_begin(*(b"---", b".") if "wordLevel" in file else (b"0", b"1"))(file, lines)

    files, needed, optional = trees_semaine.files(), "semaine/Sessions", (user, trace)
    traces = [file for file in files if TRACE.fullmatch(file.removeprefix(f"{place}/"))]
    sounds = [file for file in files if file.startswith(f"{place}/2008")]
    late = {file: b"\n".join(files[file].split(b"\n")[6:]) for file in traces}
    contradictory = {
        "two sounds": ({f"{place}/2009.01.30.12.00.35_User HeadMounted_Poppy.wav": b""}, "are both the time stamp"),
        "no sound": (dict.fromkeys(sounds), "no sound of a head-mounted microphone"),
        "a second trace": ({f"{place}/A1R2TUCPo2DV.txt": files[trace]}, "a second trace of valence by rater 1"),
        "a second transcript": ({user.replace("_2_", "_3_"): files[user]}, "a second transcript of the user"),
        "a late trace": ({trace: files[trace].partition(b"\n")[2]}, "at 0.02 s, and the earliest .* at 0 s: rows are"),
        "late traces": (late, "begins at 0.1 s"),
    }
    check = {
        f"turns of {TWICE} (printed in two partitions)": ["404 in Dev or 440 in Test in Table 5", "14 in val", True],
        "turns of 2009.01.30.12.00.35": ["404 in Train in Table 5", "0 in train", False],
        "speakers in two partitions": ["0 by the paper", "1", True],  # the operator
    }
    texts, places = (xml, *optional), (".",)
    return Corpus(files, texts, rows_of, malformed, needed, contradictory, check, optional=optional, places=places)


CORPORA = {
    "bp4d": _bp4d(), "disfa": _disfa(), "affwild2": _affwild2(),
    "recola": _recola(), "iemocap": _iemocap(), "semaine": _semaine(),
}  # fmt: skip
