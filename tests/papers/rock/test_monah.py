import re
import time as clock
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uncertain_affect.corpora import talkturns
from uncertain_affect.papers.rock import monah
from uncertain_affect.papers.rock.monah import Talkturns, narrate

NOUNS = {"a": "woman", "b": "man"}
NOTHING = [False] * 6
EVEN = [0.2, 0.2, 0.2, 0.2]


def alternating(text, gaps=0.0, length=1.0, **families):
    """Turns of speakers a, b, a, ... with these texts, silences before each turn and lengths, in seconds."""
    n = len(text)
    lengths, gaps = np.broadcast_to(length, n), np.broadcast_to(gaps, n)
    end = np.cumsum(gaps + lengths)
    return Talkturns(np.resize(["a", "b"], n), end - lengths, end, text, **families)


def monologue(text, length=1.0, **families):
    lengths = np.broadcast_to(length, len(text))
    end = np.cumsum(lengths)
    return Talkturns(np.full(len(text), "a"), end - lengths, end, text, **families)


def words(*counts):
    return [" ".join(["so"] * count) for count in counts]


# --- whole sentences ----------------------------------------------------------------------------------------


def test_words_alone():
    turns = alternating(["No!", "Oh, don't...  GO   there."])
    assert narrate(turns, NOUNS) == ["the woman said no.", "the man said oh dont go there."]


def test_every_piece_in_its_order():
    # a's rates are 60, 120, 60, 120 words a minute, then 30: m = 90, s = sqrt(4·30²/3) = 34.64, z = −1.73
    # a's delays before turns 2, 4, 6 are 400, 600, 500 ms, then 720: m = 500, s = 100, z = 2.2
    # a's sad voice scores .1, .3, .1, .3, then .5: m = .2, s = sqrt(4·.01/3) = .115, z = 2.6
    text = [*words(1, 1, 2, 1, 1, 1, 2, 1), "No."]
    gaps = [0, 0, 0.4, 0, 0.6, 0, 0.5, 0, 0.72]
    tones = np.full((9, 4), 0.2)
    tones[0::2, 1] = [0.1, 0.3, 0.1, 0.3, 0.5]
    actions = np.zeros((9, 6), bool)
    actions[8] = True
    turns = alternating(text, gaps, [1.0] * 8 + [2.0], tones=tones, actions=actions)
    assert narrate(turns, NOUNS)[8] == (
        "the woman smiled displayed a positive expression raised upper lid raised chin stretched lip dropped jaw "
        "after seven hundred milliseconds a significantly long delay the woman sadly and slowly said no."
    )


def test_the_papers_example():
    """Fig. 4: "The woman raised chin. The woman sadly and slowly said no.", which the rules say in one sentence."""
    tones = np.array([[0.2, 0.1, 0.2, 0.2], [0.2, 0.3, 0.2, 0.2]] * 2 + [[0.2, 0.5, 0.2, 0.2]])
    actions = np.array([NOTHING] * 4 + [[False, False, False, True, False, False]])
    turns = monologue([*words(1, 2, 1, 2), "No."], [1, 1, 1, 1, 2], tones=tones, actions=actions)
    assert narrate(turns, NOUNS)[4] == "the woman raised chin the woman sadly and slowly said no."


@pytest.mark.parametrize(
    "families, sentence",
    [
        ([], "the woman said no."),
        (["actions"], "the woman smiled the woman said no."),
        (["delay"], "after five hundred milliseconds a slightly long delay the woman said no."),
        (["tone"], "the woman happily said no."),
        (["rate"], "the woman very quickly said no."),
        (["tone", "rate"], "the woman happily and very quickly said no."),
        (
            monah.FAMILIES,
            "the woman smiled after five hundred milliseconds a slightly long delay the woman happily and very "
            "quickly said no.",
        ),
    ],
)
def test_families_can_be_left_out(families, sentence):
    text = [*words(1, 1, 2, 1, 1, 1, 2, 1), "No"]
    gaps = [0, 0, 0.4, 0, 0.6, 0, 0.4, 0, 0.5]
    tones = np.full((9, 4), 0.2)
    tones[0::2, 0] = [0.1, 0.3, 0.1, 0.3, 0.5]
    actions = np.array([NOTHING] * 8 + [[True] + [False] * 5])
    turns = alternating(text, gaps, [1.0] * 8 + [0.25], tones=tones, actions=actions)
    assert narrate(turns, NOUNS, families=families)[8] == sentence


def test_a_corpus_without_tones_and_actions_tells_the_rest():
    turns = alternating([*words(1, 1, 2, 1, 1, 1), "no no"], [0, 0, 0.3, 0, 0.5, 0, 0.5], [1.0] * 6 + [0.5])
    # Delays 300, 500 then 500: m = 400, s = 141.4, z = .71. Rates 60, 120, 60 then 240: m = 80, s = 34.6, z = 4.6
    assert narrate(turns, NOUNS)[6] == (
        "after five hundred milliseconds a slightly long delay the woman very quickly said no no."
    )


def test_first_turns_have_nothing_to_be_compared_with():
    tones = np.array([EVEN, EVEN, [0.9, 0, 0, 0], [0.9, 0, 0, 0]])
    turns = alternating(words(1, 1, 9, 9), [0, 0.25, 3, 1.2], tones=tones)
    assert narrate(turns, NOUNS) == [
        "the woman said so.",
        "after two hundred milliseconds the man said so.",
        "after more than twelve hundred milliseconds the woman said so so so so so so so so so.",
        "after twelve hundred milliseconds the man said so so so so so so so so so.",
    ]


def test_turns_without_words_and_without_length():
    turns = Talkturns(
        speaker=["a", "b", "a", "b", "a"],
        start=[0.0, 1.0, 2.0, 3.0, 3.5],
        end=[1.0, 1.0, 1.5, 4.0, 4.5],
        text=["...", "hm", "", "well", " \t"],
    )
    assert narrate(turns, NOUNS) == [
        "the woman said.",
        "the man said hm.",  # of no length
        "after ten hundred milliseconds the woman said.",  # reversed: no rate, and no delay for the next
        "the man said well.",
        "the woman said.",  # overlaps
    ]


def test_no_turns():
    assert narrate(Talkturns([], [], [], []), {}) == []


# --- words from z-scores ------------------------------------------------------------------------------------


def below(x):
    return np.nextafter(x, -np.inf)


@pytest.mark.parametrize(
    "z, word",
    [
        (-np.inf, "very slowly"),
        (below(-2), "very slowly"),
        (-2, "slowly"),
        (below(-1), "slowly"),
        (-1, ""),
        (0, ""),
        (below(1), ""),
        (1, "quickly"),
        (below(2), "quickly"),
        (2, "very quickly"),
        (1e9, "very quickly"),
        (np.nan, ""),
    ],
)
def test_rate_boundaries_are_half_open(z, word):
    assert monah.rate_words([z]) == [word]


@pytest.mark.parametrize(
    "z, judgement",
    [
        (-3, " a short delay"),
        (-1, " a short delay"),
        (below(0), " a short delay"),
        (0, " a slightly long delay"),
        (below(1), " a slightly long delay"),
        (1, " a long delay"),
        (below(2), " a long delay"),
        (2, " a significantly long delay"),
        (99, " a significantly long delay"),
        (np.nan, ""),
    ],
)
def test_delay_boundaries_are_half_open(z, judgement):
    assert monah.delay_words([300], [z]) == ["after three hundred milliseconds" + judgement]


def test_delay_lengths():
    lengths = [np.nan, -50, 0, below(200), 200, 249, 250, 251, 350, 649, 1150, 1200, np.nextafter(1200, 2000), 60_000]
    told = monah.delay_words(lengths, np.full(len(lengths), np.nan))
    assert told[:4] == [""] * 4
    assert [re.fullmatch("after (.*) hundred milliseconds", words)[1] for words in told[4:]] == [
        *("two", "two", "two", "three", "four", "six", "twelve", "twelve"),
        *("more than twelve", "more than twelve"),
    ]
    every_hundred = monah.delay_words(np.arange(200, 1300, 100), np.zeros(11))
    assert every_hundred == [
        f"after {n} hundred milliseconds a slightly long delay"
        for n in "two three four five six seven eight nine ten eleven twelve".split()
    ]


def test_later_tones_override_earlier_ones_and_fear_is_not_told():
    happy, sad, angry, fear = np.eye(4) * 2.5
    above = np.nextafter(2, 3)
    cases = {
        "happily": [happy, happy + fear, [above, 2, 2, 9]],
        "angrily": [angry, happy * 3 + angry, angry + fear],
        "sadly": [sad, sad + angry * 3, happy + sad + angry + fear],
        "": [fear, [2, 2, 2, 2], [np.nan] * 4, -happy],
    }
    for word, scores in cases.items():
        assert monah.tone_words(scores) == [word] * len(scores)


def test_bucket_words_need_a_word_for_each_bucket():
    assert monah.bucket_words([-1, 0, 0.5, np.nan], [0], ["low", "high"]) == ["low", "high", "high", ""]
    with pytest.raises(ValueError, match="1 edges need 2 words, not 3"):
        monah.bucket_words([0.0], [0], ["low", "middle", "high"])


# --- delays and rates ---------------------------------------------------------------------------------------


def test_delays_answer_another_speaker_after_silence():
    speaker = ["a", "b", "b", "a", "b", "a", "b", "a"]
    start = [0, 1.2, 3.0, 3.9, 4.9, 5.0, 9.0, 9.5]
    end = [1, 2.0, 4.0, 4.9, 4.8, 6.0, np.nan, 10.0]
    # first; 200 ms; same speaker; overlap; touches; after a reversed turn; 3 s; after a turn without end
    expected = [np.nan, 200, np.nan, np.nan, np.nan, np.nan, 3000, np.nan]
    np.testing.assert_array_equal(monah.delays_ms(speaker, start, end), expected)


def test_delays_of_200_ms_are_told_wherever_they_lie():
    """1.2 − 1 is less than .2 in binary: differences of times must not lose the boundary."""
    start = np.arange(1, 5000) * 1.2
    turns = Talkturns(np.resize(["a", "b"], len(start)), start, start + 1, ["yes"] * len(start))
    assert (1.2 - 1 < 0.2) and len(turns) == 4999
    sentences = narrate(turns, NOUNS)
    assert sentences[1::2] == ["after two hundred milliseconds the man said yes."] * 2499
    assert sentences[2::2] == ["after two hundred milliseconds the woman said yes."] * 2499


def test_words_per_minute():
    rates = talkturns.words_per_minute([3, 3, 3, 3, 0, 3], [0, 0, 0, 5, 0, 0], [1.5, 60, 0, 4, 1, np.nan])
    np.testing.assert_array_equal(rates, [120, 3, np.nan, np.nan, np.nan, np.nan])


def test_turns_of_one_length_and_count_have_no_spread():
    start = np.arange(50) * 1.1
    turns = Talkturns(["a"] * 50, start, start + 0.7, ["well then"] * 49 + ["well"])
    assert len(np.unique(turns.end - turns.start)) > 1  # in binary
    assert narrate(turns, NOUNS)[-1] == "the woman said well."


# --- actions ------------------------------------------------------------------------------------------------

FRAMES_PER_S = 30


def presence_of(n_frames, **units):
    """(F, 6) with AU=on_frames given as slices or a list of slices."""
    presence = np.zeros((n_frames, 6), int)
    for unit, frames in units.items():
        for some in frames if isinstance(frames, list) else [frames]:
            presence[some, talkturns.ACTION_UNITS.index(unit)] = 1
    return presence


def shown(start, end, presence, rate=FRAMES_PER_S):
    time = np.round(np.arange(len(presence)) / rate, 3)  # OpenFace writes three decimals
    rows = talkturns.shown_actions(np.atleast_1d(start), np.atleast_1d(end), time, presence)
    return [[action for action, on in zip(talkturns.ACTIONS, row, strict=True) if on] for row in rows]


@pytest.mark.parametrize(
    "unit, action",
    [
        ("AU12", "displayed a positive expression"),
        ("AU5", "raised upper lid"),
        ("AU17", "raised chin"),
        ("AU20", "stretched lip"),
        ("AU25", "dropped jaw"),
    ],
)
def test_an_action_lasts_all_of_its_turn(unit, action):
    presence = presence_of(90, **{unit: slice(30, 61)})  # from 1 s to 2 s
    assert shown([1, 1.2, 0.9, 1, 0], [2, 1.8, 2, 2.04, 0.9], presence) == [[action], [action], [], [], []]


def test_au6_alone_is_no_action():
    assert shown(0, 1, presence_of(31, AU6=slice(None))) == [[]]


def test_a_smile_spans_half_a_second():
    both = slice(30, 46)  # 16 frames, from 1.000 s to 1.500 s
    assert shown(0, 3, presence_of(91, AU6=both, AU12=both)) == [["smiled"]]
    assert shown(0, 3, presence_of(91, AU6=both, AU12=slice(30, 45))) == [[]]
    assert shown(0, 3, presence_of(91, AU6=both, AU12=slice(None))) == [["smiled", "displayed a positive expression"]]
    halves = [slice(30, 40), slice(41, 56)]  # .3 s and .467 s, with one frame between
    assert shown(0, 3, presence_of(91, AU6=halves, AU12=halves)) == [[]]


def test_a_smile_of_half_a_second_counts_wherever_it_lies():
    """(k + 15)/30 − k/30 is less than .5 in binary for some k."""
    k = np.arange(200)
    assert (k / 30 + 0.5 > (k + 15) / 30).any()
    time, presence = np.arange(220) / 30, presence_of(220, AU6=slice(None), AU12=slice(None))
    assert talkturns.shown_actions(k / 30, (k + 15) / 30, time, presence)[:, 0].all()
    assert not talkturns.shown_actions(k / 30, (k + 14) / 30, time, presence)[:, 0].any()


def test_a_smile_is_inside_its_turn():
    both = slice(30, 61)  # from 1 s to 2 s
    presence = presence_of(91, AU6=both, AU12=both)
    assert shown([0, 0, 0, 1.5, 1.51, 1.7], [0.9, 1.5, 1.49, 3, 3, 2.9], presence) == [
        *([], ["smiled"], [], ["smiled"], [], [])
    ]
    assert shown(1.2, 1.9, presence) == [["smiled", "displayed a positive expression"]]
    assert shown(1.2, 1.6, presence) == [["displayed a positive expression"]]


def test_frames_without_a_face():
    presence = presence_of(31, AU5=slice(None), AU6=slice(None), AU12=slice(None))
    presence[8] = presence[23] = -1  # the longest stretch between them is 14 frames
    assert shown([0, 0.26], [1, 0.27], presence) == [["displayed a positive expression", "raised upper lid"], []]


def test_turns_without_frames_show_nothing():
    presence = presence_of(31, AU5=slice(None))
    #                      after the video, between frames, reversed, unknown; a turn of no length on a frame has one
    starts, ends = [2, 0.01, 0.9, np.nan, 0.1, 0.5], [3, 0.02, 0.1, 1, np.nan, 0.5]
    assert shown(starts, ends, presence) == [[], [], [], [], [], ["raised upper lid"]]
    assert not talkturns.shown_actions([0.0], [1.0], [], np.zeros((0, 6))).any()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_shown_actions_equal_a_loop(seed):
    generator = np.random.default_rng(seed)
    time = np.cumsum(generator.uniform(0.02, 0.2, size=40))
    presence = generator.choice([-1, 0, 1], size=(40, 6), p=[0.05, 0.1, 0.85])
    start = generator.uniform(0, 4, size=20)
    end = start + generator.uniform(-0.1, 1.5, size=20)

    def of_turn(a, b):
        inside = presence[(time >= a) & (time <= b)]
        times = time[(time >= a) & (time <= b)]
        smiles = (inside[:, 1] == 1) & (inside[:, 2] == 1)
        smiled = any(
            smiles[i : j + 1].all() and times[j] - times[i] >= 0.5
            for i in range(len(times))
            for j in range(i, len(times))
        )
        known = [column[column >= 0] for column in inside.T]
        return [smiled] + [len(known[k]) > 0 and bool((known[k] == 1).all()) for k in (2, 0, 3, 4, 5)]

    expected = [of_turn(a, b) for a, b in zip(start, end, strict=True)]
    assert talkturns.shown_actions(start, end, time, presence).tolist() == expected


# --- z-scores -----------------------------------------------------------------------------------------------


def z_by_loop(values, speaker, zero_filled):
    """The definition (or the released code's multiplication by 0), turn by turn with NumPy's own mean and sd."""
    z = np.full(len(values), np.nan)
    for i, x in enumerate(values):
        own = (np.asarray(speaker) == speaker[i]) & ~np.isnan(values)
        earlier = own & (np.arange(len(values)) < i)
        sample = (np.nan_to_num(values) * earlier)[own] if zero_filled else values[earlier]
        if not np.isnan(x) and len(sample) > 1 and np.ptp(sample) > 0:
            z[i] = (x - sample.mean()) / sample.std(ddof=1)
    return z


def test_z_by_hand():
    values = [100.0, 7.0, 120.0, np.nan, 150.0, 110.0, 8.0, 8.5]
    speaker = ["a", "b", "a", "a", "a", "a", "b", "b"]
    # a: 100, 120 give m = 110, s = √200, z(150) = 40/√200; then m = 370/3, s² = 1900/3, z(110) = −(40/3)/√(1900/3)
    # b: 7, 8 give m = 7.5, s = √.5, z(8.5) = √2
    expected = [np.nan] * 4 + [40 / 200**0.5, -(40 / 3) / (1900 / 3) ** 0.5, np.nan, 2**0.5]
    np.testing.assert_allclose(monah.z_against_earlier(values, speaker), expected, rtol=1e-14)


def test_z_is_undefined_without_spread():
    values = [0.1, 0.1, 0.1, 0.7, 0.1]
    z = monah.z_against_earlier(values, ["a"] * 5)
    assert np.isnan(z[:4]).all() and z[4] == pytest.approx(-0.15 / 0.3)
    assert np.isnan(monah.z_against_earlier([np.nan] * 3, [1, 1, 2])).all()


@pytest.mark.parametrize("zero_filled", [False, True])
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_z_equals_a_loop(zero_filled, seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(generator.normal() * 100, 1, size=(30, 2))
    values[generator.random((30, 2)) < 0.2] = np.nan
    speaker = generator.integers(3, size=30)
    z = monah.z_against_earlier(values, speaker, zero_filled=zero_filled)
    for k in range(2):
        expected = z_by_loop(values[:, k], speaker, zero_filled)
        np.testing.assert_allclose(z[:, k], expected, rtol=1e-8, atol=1e-8)
        alone = monah.z_against_earlier(values[:, k], speaker, zero_filled=zero_filled)
        np.testing.assert_array_equal(alone, z[:, k])


def test_z_keeps_its_digits_far_from_zero():
    values = 1e9 + np.random.default_rng(0).normal(size=2000)
    expected = z_by_loop(values, ["a"] * 2000, zero_filled=False)
    np.testing.assert_allclose(monah.z_against_earlier(values, ["a"] * 2000), expected, rtol=1e-6, atol=1e-6)


def test_the_released_form_counts_later_turns_as_zeros():
    # Rates 100, 120, then 150 words a minute.
    # Fixed: m = 110, s = 14.14, z = 2.83. Released: of (100, 120, 0) m = 73.3, s = 64.3, z = 1.19; with one turn
    # more, whatever it is, (100, 120, 0, 0): m = 55, s = 64.0, z = 1.48; with 17 more m = 11, s = 34.0, z = 4.09.
    z = [monah.z_against_earlier([100, 120, 150] + [90] * n, ["a"] * (3 + n), zero_filled=True)[2] for n in (0, 1, 17)]
    assert z == pytest.approx([1.1925, 1.4837, 4.0867], abs=1e-4)

    def third(n_more, zero_filled):
        turns = monologue(words(10, 12, 15) + ["so"] * n_more, [6.0] * 3 + [1.0] * n_more)
        return narrate(turns, NOUNS, zero_filled=zero_filled)[2].split(" so")[0]

    assert [third(n, zero_filled=False) for n in (0, 1, 17)] == ["the woman very quickly said"] * 3
    assert [third(n, zero_filled=True) for n in (0, 1, 17)] == [
        "the woman quickly said",
        "the woman quickly said",
        "the woman very quickly said",
    ]


# --- properties ---------------------------------------------------------------------------------------------


def recording(generator, n, n_speakers=3):
    """A messy recording: overlaps, turns without length or words, unknown tones; also its frames."""
    start = np.cumsum(generator.uniform(-0.3, 1.5, size=n))
    return Talkturns(
        speaker=generator.integers(n_speakers, size=n),
        start=start,
        end=start + generator.choice([0.0, 0.5, 1.0, 1.5, -0.2], size=n, p=[0.05, 0.4, 0.3, 0.2, 0.05]),
        text=[" ".join(["well,"] * k) for k in generator.integers(5, size=n)],
        tones=np.where(generator.random((n, 1)) < 0.1, np.nan, generator.dirichlet(np.ones(4), size=n)),
        actions=generator.random((n, 6)) < 0.3,
    )


PEOPLE = {0: "woman", 1: "man", 2: "person"}

SENTENCE = re.compile(
    r"(?:the (?P<actor>\w+)(?: (?:smiled|displayed a positive expression|raised upper lid|raised chin|stretched lip"
    r"|dropped jaw))+ )?"
    r"(?:after (?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|more than twelve) hundred milliseconds "
    r"(?:a (?:short|slightly long|long|significantly long) delay )?)?"
    r"the (?P<speaker>\w+) (?:(?P<tone>happily|angrily|sadly) )?(?:(?(tone)and )(?:very )?(?:slowly|quickly) )?"
    r"said(?P<words>(?: \w+)*)\."
)


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_sentence_follows_the_grammar(seed, n, zero_filled):
    turns = recording(np.random.default_rng(seed), n)
    sentences = narrate(turns, PEOPLE, zero_filled=zero_filled)
    assert len(sentences) == n
    for sentence, speaker, text in zip(sentences, turns.speaker.tolist(), turns.text, strict=True):
        parts = SENTENCE.fullmatch(sentence)
        assert parts and parts["speaker"] == PEOPLE[speaker] and parts["actor"] in (None, PEOPLE[speaker])
        assert parts["words"].split() == text.replace(",", "").split()


@given(st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=60, deadline=None)
def test_no_sentence_depends_on_later_turns(seed, data):
    generator = np.random.default_rng(seed)
    one, other = recording(generator, 40), recording(generator, 40)
    cut = data.draw(st.integers(0, 40))

    def first_then(a, b):
        return np.concatenate([a[:cut], b[cut:]])

    mixed = Talkturns(
        speaker=first_then(one.speaker, other.speaker),
        start=first_then(one.start, other.start),
        end=first_then(one.end, other.end),
        text=one.text[:cut] + other.text[cut:],
        tones=first_then(one.tones, other.tones),
        actions=first_then(one.actions, other.actions),
    )
    assert narrate(mixed, PEOPLE)[:cut] == narrate(one, PEOPLE)[:cut]
    np.testing.assert_array_equal(
        monah.z_against_earlier(mixed.tones, mixed.speaker)[:cut], monah.z_against_earlier(one.tones, one.speaker)[:cut]
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_no_action_depends_on_frames_after_its_turn(seed):
    generator = np.random.default_rng(seed)
    time = np.arange(120) / FRAMES_PER_S
    presence = generator.choice([0, 1], size=(120, 6), p=[0.05, 0.95])
    changed = np.where(time[:, None] > 2, generator.integers(-1, 2, size=(120, 6)), presence)
    start = generator.uniform(0, 2, size=30)
    end = generator.uniform(start, 2)
    np.testing.assert_array_equal(
        talkturns.shown_actions(start, end, time, presence), talkturns.shown_actions(start, end, time, changed)
    )


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40, deadline=None)
def test_speakers_are_compared_with_themselves_alone(seed, zero_filled):
    """What others say, how and how fast leaves a speaker's sentences alone; so does how others are labelled."""
    generator = np.random.default_rng(seed)
    turns = recording(generator, 40)
    own = turns.speaker == 0
    others = recording(generator, 40)
    changed = replace(
        turns,
        text=[mine if is_own else theirs for mine, theirs, is_own in zip(turns.text, others.text, own, strict=True)],
        tones=np.where(own[:, None], turns.tones, others.tones),
        actions=np.where(own[:, None], turns.actions, others.actions),
        speaker=np.where(own, "zoe", turns.speaker.astype(str)),
    )
    before = narrate(turns, PEOPLE, zero_filled=zero_filled)
    after = narrate(changed, {"zoe": "woman", "1": "man", "2": "man"}, zero_filled=zero_filled)
    assert [s for s, is_own in zip(before, own, strict=True) if is_own] == [
        s for s, is_own in zip(after, own, strict=True) if is_own
    ]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_units_and_origin_of_the_scores_do_not_matter(seed):
    """z-scores are unchanged under x → 2x − 8 (exact in binary) of one speaker's scores."""
    generator = np.random.default_rng(seed)
    values, speaker = generator.integers(0, 2**20, size=(30, 4)) / 2**10, generator.integers(2, size=30)
    moved = np.where(speaker[:, None] == 0, 2 * values - 8, values)
    np.testing.assert_array_equal(monah.z_against_earlier(moved, speaker), monah.z_against_earlier(values, speaker))


# --- bad input ----------------------------------------------------------------------------------------------


def test_bad_turns_are_refused():
    with pytest.raises(ValueError, match=r"text\[1\] is nan, not a string; a turn without words is ''"):
        Talkturns(["a", "b"], [0, 1], [1, 2], ["yes", np.nan])
    with pytest.raises(ValueError, match=r"start must have shape \(2,\).*not \(3,\)"):
        Talkturns(["a", "b"], [0, 1, 2], [1, 2], ["yes", "no"])
    with pytest.raises(ValueError, match=r"tones must have shape \(2, 4\).*not \(2, 5\)"):
        Talkturns(["a", "b"], [0, 1], [1, 2], ["yes", "no"], tones=np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"actions must have shape \(2, 6\).*not \(6, 2\)"):
        Talkturns(["a", "b"], [0, 1], [1, 2], ["yes", "no"], actions=np.zeros((6, 2)))
    with pytest.raises(ValueError, match=r"end\[1\] is infinite; NaN marks"):
        Talkturns(["a", "b"], [0, 1], [1, np.inf], ["yes", "no"])


def test_bad_options_are_refused():
    turns = alternating(["yes", "no"])
    with pytest.raises(ValueError, match=r"unknown families \['prosody'\]; there are actions, delay, tone, rate"):
        narrate(turns, NOUNS, families=["prosody"])
    with pytest.raises(ValueError, match="no noun for speaker 'b'; add it to nouns"):
        narrate(turns, {"a": "woman"})
    with pytest.raises(ValueError, match=r"label the 3 turns, got shape \(2,\)"):
        monah.z_against_earlier([1.0, 2.0, 3.0], ["a", "b"])
    with pytest.raises(ValueError, match="a value is infinite"):
        monah.z_against_earlier([1.0, np.inf], ["a", "a"])


def test_bad_frames_are_refused():
    with pytest.raises(ValueError, match=r"presence must have shape \(2, 6\), not \(2, 5\)"):
        talkturns.shown_actions([0], [1], [0, 1], np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"1 \(present\), 0 \(absent\) or -1"):
        talkturns.shown_actions([0], [1], [0, 1], np.full((2, 6), 5))
    with pytest.raises(ValueError, match=r"0\.5 s follows 0\.5 s; sort the frames"):
        talkturns.shown_actions([0], [1], [0, 0.5, 0.5], np.zeros((3, 6)))


# --- cost and real turns ------------------------------------------------------------------------------------


def test_ten_thousand_turns_take_well_under_a_second():
    generator = np.random.default_rng(0)
    turns = recording(generator, 10_000)
    began = clock.perf_counter()
    narrate(turns, PEOPLE)
    assert clock.perf_counter() - began < 1


@pytest.mark.data
def test_meld_has_a_sentence_for_every_utterance(data_root):
    """Only counts are looked at: the delays told are those that whole milliseconds give."""
    file = data_root / "meld" / "train_sent_emo.csv"
    if not file.is_file():
        pytest.skip(f"{file} does not exist")
    meld = pd.read_csv(file, encoding_errors="replace")
    milliseconds = {
        column: meld[column].map(lambda t: int(pd.Timedelta(t.replace(",", ".")) / pd.Timedelta(milliseconds=1)))
        for column in ("StartTime", "EndTime")
    }
    n_told = n_expected = n_overlaps = n_rates = 0
    for _, rows in meld.groupby("Dialogue_ID"):
        speaker, start, end = (
            rows["Speaker"].tolist(),
            *(milliseconds[column][rows.index].tolist() for column in ("StartTime", "EndTime")),
        )
        turns = Talkturns(speaker, np.array(start) / 1000, np.array(end) / 1000, rows["Utterance"].tolist())
        sentences = narrate(turns, dict.fromkeys(speaker, "person"))
        assert len(sentences) == len(rows)
        # The words are replaced for the grammar: some are accented letters that were not decoded.
        parts = [SENTENCE.fullmatch(re.sub(r" said.*\.$", " said so.", sentence)) for sentence in sentences]
        assert all(parts)
        n_told += sum(sentence.startswith("after ") for sentence in sentences)
        n_rates += sum(sentence.split(" said")[0].endswith("ly") for sentence in sentences)
        for i in range(1, len(rows)):
            gap = start[i] - end[i - 1]
            n_overlaps += gap < 0
            n_expected += gap >= 200 and speaker[i] != speaker[i - 1] and end[i - 1] >= start[i - 1]
    assert len(meld) == 9989
    assert n_overlaps > 0 and n_told == n_expected > 1000
    assert n_rates > 1000
