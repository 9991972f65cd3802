"""MONAH narratives: sentences by hand, thresholds, z-scores against a loop, and what a sentence may depend on."""

import re
import time as clock
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncertain_affect.corpora.talkturns import Talkturns
from uncertain_affect.papers.rock import monah
from uncertain_affect.papers.rock.monah import narrate, z_against_earlier

NOUNS = {"a": "woman", "b": "man"}
NOTHING = [False] * 6
SEEDS = st.integers(0, 2**32 - 1)


def alternating(text, gaps=0.0, length=1.0, **families):
    """Turns of speakers a, b, a, ... with these texts, silences before each turn and lengths, in seconds."""
    n = len(text)
    lengths, gaps = np.broadcast_to(length, n), np.broadcast_to(gaps, n)
    end = np.cumsum(gaps + lengths)
    return Talkturns(np.resize(["a", "b"], n), end - lengths, end, text, **families)


def monologue(text, length=1.0, **families):
    return replace(alternating(text, length=length, **families), speaker=np.full(len(text), "a"))


def words(*counts):
    return [" ".join(["so"] * count) for count in counts]


def nine(gaps, length, tone, actions):
    """Nine turns: the last one has this length and shows these actions, the others last a second and show none.

    Before a's turns from the second on come these silences. a's rates are 60, 120, 60, 120 words a minute before it,
    and in this column of the tones a scores .1, .3, .1, .3, then .5: m = .2, s = sqrt(4·.01/3) = .115, z = 2.6.
    """
    tones = np.full((9, 4), 0.2)
    tones[0::2, tone] = [0.1, 0.3, 0.1, 0.3, 0.5]
    gaps = np.insert(gaps, [0, 0, 1, 2, 3], 0)
    text = [*words(1, 1, 2, 1, 1, 1, 2, 1), "No."]
    return alternating(text, gaps, [1.0] * 8 + [length], tones=tones, actions=np.array([NOTHING] * 8 + [actions]))


def test_every_piece_in_its_order():
    # a's last rate is 30: m = 90, s = sqrt(4·30²/3) = 34.64, z = −1.73
    # a's delays are 400, 600, 500 ms, then 720: m = 500, s = 100, z = 2.2
    turns = nine([0.4, 0.6, 0.5, 0.72], 2.0, 1, [True] * 6)
    assert narrate(turns, NOUNS)[8] == (
        "the woman smiled displayed a positive expression raised upper lid raised chin stretched lip dropped jaw "
        "after seven hundred milliseconds a significantly long delay the woman sadly and slowly said no."
    )
    # Fig. 4: "The woman raised chin. The woman sadly and slowly said no.", which the rules say in one sentence
    turns = nine([0, 0, 0, 0], 2.0, 1, [False, False, False, True, False, False])
    assert narrate(turns, NOUNS)[8] == "the woman raised chin the woman sadly and slowly said no."


@pytest.mark.parametrize(
    "families, sentence",
    [
        ([], "the woman said no."),
        (["actions"], "the woman smiled the woman said no."),
        (["delay"], "after five hundred milliseconds a slightly long delay the woman said no."),
        (["tone"], "the woman happily said no."),
        (["rate"], "the woman very quickly said no."),
        (
            monah.FAMILIES,
            "the woman smiled after five hundred milliseconds a slightly long delay the woman happily and very "
            "quickly said no.",
        ),
    ],
)
def test_families_can_be_left_out(families, sentence):
    turns = nine([0.4, 0.6, 0.4, 0.5], 0.25, 0, [True] + [False] * 5)
    assert narrate(turns, NOUNS, families=families)[8] == sentence
    if not {"tone", "actions"} & set(families):  # nor need a corpus have them
        assert narrate(replace(turns, tones=None, actions=None), NOUNS, families=families)[8] == sentence


def test_first_turns_have_nothing_to_be_compared_with():
    tones = np.array([[0.2, 0.2, 0.2, 0.2]] * 2 + [[0.9, 0, 0, 0]] * 2)
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
        text=["...", "Oh, don't...  GO   there.", "", "well", " \t"],
    )
    assert narrate(turns, NOUNS) == [
        "the woman said.",
        "the man said oh dont go there.",  # of no length
        "after ten hundred milliseconds the woman said.",  # reversed: no rate, and no delay for the next
        "the man said well.",
        "the woman said.",  # overlaps
    ]
    assert narrate(Talkturns([], [], [], []), {}) == []


def below(x):
    return np.nextafter(x, -np.inf)


def test_edges_belong_to_the_words_above_them():
    z = [-np.inf, below(-2), -2, below(-1), -1, 0, below(1), 1, below(2), 2, 1e9, np.nan]
    rates = monah.bucket_words(z, monah.RATE_EDGES, monah.RATE_WORDS)
    assert rates == [
        *("very slowly", "very slowly", "slowly", "slowly", "", "", ""),
        *("quickly", "quickly", "very quickly", "very quickly", ""),
    ]
    z = [-3, -1, below(0), 0, below(1), 1, below(2), 2, 99, np.nan]
    judgements = [" a short delay"] * 3 + [" a slightly long delay"] * 2 + [" a long delay"] * 2
    judgements += [" a significantly long delay"] * 2 + [""]
    assert monah.delay_words([300] * 10, z) == [f"after three hundred milliseconds{j}" for j in judgements]


def test_delay_lengths():
    lengths = [np.nan, -50, 0, below(200), 200, 249, 250, 251, 350, 649, 1150, 1200, np.nextafter(1200, 2000), 60_000]
    found = monah.delay_words(lengths, np.full(len(lengths), np.nan))
    assert found[:4] == [""] * 4
    assert [re.fullmatch("after (.*) hundred milliseconds", words)[1] for words in found[4:]] == [
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


def test_delays_answer_another_speaker_after_silence():
    speaker = ["a", "b", "b", "a", "b", "a", "b", "a"]
    start = [0, 1.2, 3.0, 3.9, 4.9, 5.0, 9.0, 9.5]
    end = [1, 2.0, 4.0, 4.9, 4.8, 6.0, np.nan, 10.0]
    # first; 200 ms; same speaker; overlap; touches; after a reversed turn; 3 s; after a turn without end
    expected = [np.nan, 200, np.nan, np.nan, np.nan, np.nan, 3000, np.nan]
    np.testing.assert_array_equal(monah.delays_ms(speaker, start, end), expected)


def test_delays_of_200_ms_are_told_wherever_they_lie_and_equal_rates_have_no_spread():
    """1.2 − 1 is less than .2 in binary: differences of times lose neither the boundary nor that they are equal."""
    start = np.arange(1, 5000) * 1.2
    turns = Talkturns(np.resize(["a", "b"], len(start)), start, start + 1, ["yes"] * len(start))
    assert (1.2 - 1 < 0.2) and len(turns) == 4999
    sentences = narrate(turns, NOUNS)
    assert sentences[1::2] == ["after two hundred milliseconds the man said yes."] * 2499
    assert sentences[2::2] == ["after two hundred milliseconds the woman said yes."] * 2499
    start = np.arange(50) * 1.1
    turns = Talkturns(["a"] * 50, start, start + 0.7, ["well then"] * 49 + ["well"])
    assert len(np.unique(turns.end - turns.start)) > 1  # in binary
    assert narrate(turns, NOUNS)[-1] == "the woman said well."


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


def test_z_by_hand_and_far_from_zero():
    values = [100.0, 7.0, 120.0, np.nan, 150.0, 110.0, 8.0, 8.5]
    speaker = ["a", "b", "a", "a", "a", "a", "b", "b"]
    # a: 100, 120 give m = 110, s = √200, z(150) = 40/√200; then m = 370/3, s² = 1900/3, z(110) = −(40/3)/√(1900/3)
    # b: 7, 8 give m = 7.5, s = √.5, z(8.5) = √2
    expected = [np.nan] * 4 + [40 / 200**0.5, -(40 / 3) / (1900 / 3) ** 0.5, np.nan, 2**0.5]
    np.testing.assert_allclose(z_against_earlier(values, speaker), expected, rtol=1e-14)
    # undefined without spread
    z = z_against_earlier([0.1, 0.1, 0.1, 0.7, 0.1], ["a"] * 5)
    assert np.isnan(z[:4]).all() and z[4] == pytest.approx(-0.15 / 0.3)
    assert np.isnan(z_against_earlier([np.nan] * 3, [1, 1, 2])).all()
    # far from zero it keeps its digits
    values = 1e9 + np.random.default_rng(0).normal(size=2000)
    expected = z_by_loop(values, ["a"] * 2000, zero_filled=False)
    np.testing.assert_allclose(z_against_earlier(values, ["a"] * 2000), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("zero_filled", [False, True])
@given(SEEDS)
def test_z_equals_a_loop(zero_filled, seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(generator.normal() * 100, 1, size=(30, 2))
    values[generator.random((30, 2)) < 0.2] = np.nan
    speaker = generator.integers(3, size=30)
    z = z_against_earlier(values, speaker, zero_filled=zero_filled)
    for k in range(2):
        expected = z_by_loop(values[:, k], speaker, zero_filled)
        np.testing.assert_allclose(z[:, k], expected, rtol=1e-8, atol=1e-8)
        alone = z_against_earlier(values[:, k], speaker, zero_filled=zero_filled)
        np.testing.assert_array_equal(alone, z[:, k])


def test_the_released_form_counts_later_turns_as_zeros():
    # Rates 100, 120, then 150 words a minute.
    # Fixed: m = 110, s = 14.14, z = 2.83. Released: of (100, 120, 0) m = 73.3, s = 64.3, z = 1.19; with one turn
    # more, whatever it is, (100, 120, 0, 0): m = 55, s = 64.0, z = 1.48; with 17 more m = 11, s = 34.0, z = 4.09.
    z = [z_against_earlier([100, 120, 150] + [90] * n, ["a"] * (3 + n), zero_filled=True)[2] for n in (0, 1, 17)]
    assert z == pytest.approx([1.1925, 1.4837, 4.0867], abs=1e-4)

    def third(zero_filled):
        all_turns = [monologue(words(10, 12, 15) + ["so"] * n, [6.0] * 3 + [1.0] * n) for n in (0, 1, 17)]
        return [narrate(turns, NOUNS, zero_filled=zero_filled)[2].split(" said")[0] for turns in all_turns]

    assert third(zero_filled=False) == ["the woman very quickly"] * 3
    assert third(zero_filled=True) == ["the woman quickly", "the woman quickly", "the woman very quickly"]


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


@given(SEEDS, st.integers(0, 40), st.booleans())
def test_every_sentence_follows_the_grammar(seed, n, zero_filled):
    turns = recording(np.random.default_rng(seed), n)
    sentences = narrate(turns, PEOPLE, zero_filled=zero_filled)
    for sentence, speaker, text in zip(sentences, turns.speaker.tolist(), turns.text, strict=True):
        parts = SENTENCE.fullmatch(sentence)
        assert parts and parts["speaker"] == PEOPLE[speaker] and parts["actor"] in (None, PEOPLE[speaker])
        assert parts["words"].split() == text.replace(",", "").split()


@given(SEEDS, st.integers(0, 40))
def test_no_sentence_depends_on_later_turns(seed, cut):
    generator = np.random.default_rng(seed)
    one, other = recording(generator, 40), recording(generator, 40)
    mixed = {name: np.concatenate([values[:cut], vars(other)[name][cut:]]) for name, values in vars(one).items()}
    mixed = Talkturns(**mixed | {"text": one.text[:cut] + other.text[cut:]})
    assert narrate(mixed, PEOPLE)[:cut] == narrate(one, PEOPLE)[:cut]


@given(SEEDS, st.booleans())
def test_speakers_are_compared_with_themselves_alone(seed, zero_filled):
    """What others say, how and how fast leaves a speaker's sentences alone; so does how others are labelled."""
    generator = np.random.default_rng(seed)
    turns, others = recording(generator, 40), recording(generator, 40)
    own = turns.speaker == 0
    changed = replace(
        turns,
        text=[mine if is_own else theirs for mine, theirs, is_own in zip(turns.text, others.text, own, strict=True)],
        tones=np.where(own[:, None], turns.tones, others.tones),
        actions=np.where(own[:, None], turns.actions, others.actions),
        speaker=np.where(own, "zoe", turns.speaker.astype(str)),
    )
    before = narrate(turns, PEOPLE, zero_filled=zero_filled)
    after = narrate(changed, {"zoe": "woman", "1": "man", "2": "man"}, zero_filled=zero_filled)
    assert np.compress(own, before).tolist() == np.compress(own, after).tolist()


def test_bad_options_are_refused():
    turns = alternating(["yes", "no"])
    with pytest.raises(ValueError, match=r"unknown families \['prosody'\]; there are actions, delay, tone, rate"):
        narrate(turns, NOUNS, families=["prosody"])
    with pytest.raises(ValueError, match="no noun for speaker 'b'; add it to nouns"):
        narrate(turns, {"a": "woman"})


def test_ten_thousand_turns_take_well_under_a_second():
    turns = recording(np.random.default_rng(0), 10_000)
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
    for column in ("StartTime", "EndTime"):
        times = pd.to_timedelta(meld[column].str.replace(",", "."))
        meld[column] = times // pd.Timedelta(milliseconds=1)
    n_told = n_expected = n_overlaps = n_rates = 0
    for _, rows in meld.groupby("Dialogue_ID"):
        speaker, start, end = (rows[name].to_numpy() for name in ("Speaker", "StartTime", "EndTime"))
        turns = Talkturns(speaker, start / 1000, end / 1000, rows["Utterance"].tolist())
        sentences = narrate(turns, dict.fromkeys(speaker, "person"))
        assert len(sentences) == len(rows)
        # The words are replaced for the grammar: some are accented letters that were not decoded.
        assert all(SENTENCE.fullmatch(re.sub(r" said.*\.$", " said so.", sentence)) for sentence in sentences)
        n_told += sum(sentence.startswith("after ") for sentence in sentences)
        n_rates += sum(sentence.split(" said")[0].endswith("ly") for sentence in sentences)
        gap, answers = start[1:] - end[:-1], (speaker[1:] != speaker[:-1]) & (end[:-1] >= start[:-1])
        n_overlaps += (gap < 0).sum()
        n_expected += (answers & (gap >= 200)).sum()
    assert len(meld) == 9989
    assert n_overlaps > 0 and n_told == n_expected > 1000
    assert n_rates > 1000
