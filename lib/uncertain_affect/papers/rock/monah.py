"""MONAH narratives: what was said, and how it was said, as one sentence per talkturn.

The sentences are those that HAN-ROCK reads (its section 4.2 and Fig. 4). The rules are those of MONAH's
released code (Kim et al., "MONAH: Multi-Modal Narratives for Humans", EACL 2021; github.com/SpectData/MONAH):

    the woman smiled raised chin after three hundred milliseconds a long delay the woman sadly and slowly said no.
    [actions                   ] [delay                                      ] [speaker, tone and rate      ] [words]

How long a delay, how fast or how sad is said relative to the same speaker's earlier turns in the recording,
as z-scores. A recording is a `Talkturns`, `narrate` writes it, and the helpers do one rule each.

Where the rules stop or the released code fails, these readings hold:

- *z-scores use earlier turns alone*, with the standard deviation over n − 1. The released code multiplies later
  turns by zero instead of leaving them out, so that mean and deviation run over those zeros too, and a
  sentence depends on how many turns follow it; `zero_filled=True` gives that form, to show what it does.
- *An undefined z* (fewer than two earlier turns, or all of them equal) gives no adverb; a delay then keeps its
  length and loses its judgement: "after three hundred milliseconds the woman said". The released code takes
  z = 0, which makes the first delays "slightly long".
- *A delay* is the silence between the end of the turn before and the start of this one, if another person
  spoke that turn. Nothing else counts as one: not the first turn, not going on after a pause of one's own,
  not an overlap (start at or before that end), not a turn after one with no usable end. The released code
  leaves out overlaps and goings-on too, but gives each delay to the turn before it, to tell what is yet to come.
  z < −1 has no row in its table, and z ≥ 99 neither; here they read "short" and "significantly long".
- *A rate* is words per minute, and undefined for a turn without words or of no length (start at or after end);
  the released code lets a turn of no length last a second. z = −1 stops it; here it is an ordinary rate.
- *A smile* needs its half second inside the turn; the released code also asks that it neither begins before
  nor outlasts the turn, which frames of the next turn decide.
- *A turn without words* reads "the woman said."
- *A turn without scores* for its tone, or without frames, shows no tone, or no action, and a corpus without
  the family (`tones` or `actions` is None) none at all.

AU25 is worded "dropped jaw", as released, although FACS calls it "lips part" and AU26 "jaw drop".
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from uncertain_affect.corpora.talkturns import ACTIONS, TONES, Floats, Talkturns, spoken_text, words_per_minute

# What a sentence can tell beside the words, in the order of its pieces.
FAMILIES = ("actions", "delay", "tone", "rate")

SHORTEST_DELAY_MS = 200
TONE_Z = 2

DELAY_EDGES = (0, 1, 2)
DELAY_WORDS = ("a short delay", "a slightly long delay", "a long delay", "a significantly long delay")
RATE_EDGES = (-2, -1, 1, 2)
RATE_WORDS = ("very slowly", "slowly", "", "quickly", "very quickly")
HUNDREDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

# Later ones override earlier ones; fear is never worded.
TONE_WORDS = {"happy": "happily", "angry": "angrily", "sad": "sadly"}


def narrate(
    turns: Talkturns,
    nouns: Mapping[object, str],
    *,
    families: Collection[str] = FAMILIES,
    zero_filled: bool = False,
) -> list[str]:
    """One sentence for each of N talkturns, from nothing but that turn and those before it.

    Args:
        nouns: what each speaker is called, "woman" or "man" in the paper.
        families: which of `FAMILIES` to tell; what `turns` does not have is left out as well. Without any,
            a sentence is "the woman said no."
        zero_filled: take the z-scores as the released code does (`z_against_earlier`); these depend on later
            turns.

    Raises:
        ValueError: a family is unknown, or a speaker has no noun.
    """
    if unknown := sorted(set(families) - set(FAMILIES)):
        raise ValueError(f"unknown families {unknown}; there are {', '.join(FAMILIES)}")
    speakers = turns.speaker.tolist()
    if nameless := sorted(set(speakers) - set(nouns), key=str):
        raise ValueError(f"no noun for speaker {nameless[0]!r}; add it to nouns, as 'woman' or 'man' for example")

    def z(values: Floats) -> Floats:
        return z_against_earlier(values, turns.speaker, zero_filled=zero_filled)

    spoken = [spoken_text(text) for text in turns.text]
    delays = tones = rates = [""] * len(turns)
    actions = [[]] * len(turns)
    if "actions" in families and turns.actions is not None:
        actions = [[action for action, is_shown in zip(ACTIONS, row, strict=True) if is_shown] for row in turns.actions]
    if "delay" in families:
        milliseconds = delays_ms(turns.speaker, turns.start, turns.end)
        delays = delay_words(milliseconds, z(milliseconds))
    if "tone" in families and turns.tones is not None:
        tones = tone_words(z(turns.tones))
    if "rate" in families:
        n_words = [len(text.split()) for text in spoken]
        rates = rate_words(z(words_per_minute(n_words, turns.start, turns.end)))

    return [
        _sentence(f"the {nouns[speaker]}", *pieces)
        for speaker, *pieces in zip(speakers, actions, delays, tones, rates, spoken, strict=True)
    ]


def _sentence(person: str, actions: list[str], delay: str, tone: str, rate: str, spoken: str) -> str:
    shown = [person, *actions] if actions else []
    manner = [tone, "and" if tone and rate else "", rate]
    return " ".join(filter(None, [*shown, delay, person, *manner, "said", spoken])) + "."


# --- what is measured ---------------------------------------------------------------------------------------


def delays_ms(speaker: ArrayLike, start: ArrayLike, end: ArrayLike) -> Floats:
    """Silence before each of N turns in milliseconds, (N,), from speakers and times in seconds, (N,) each.

    NaN where there is no delay: at the first turn, after a turn of the same speaker, where the turns overlap
    or touch, and after a turn that has no end or ends before it starts.
    """
    speaker, start, end = np.asarray(speaker), np.asarray(start, np.float64), np.asarray(end, np.float64)
    gap = np.full(len(start), np.nan)
    # Whole microseconds: 1.2 − 1 is a little less than 0.2 in binary, and the rules ask for "at least 200 ms".
    gap[1:] = np.round((start[1:] - end[:-1]) * 1000, 3)
    answers = np.zeros(len(start), bool)
    answers[1:] = (speaker[1:] != speaker[:-1]) & (end[:-1] >= start[:-1])
    return np.where(answers & (gap > 0), gap, np.nan)


# --- how it compares ----------------------------------------------------------------------------------------


def z_against_earlier(values: ArrayLike, speaker: ArrayLike, *, zero_filled: bool = False) -> Floats:
    """z-scores of N turns against the same speaker's earlier turns, in the shape of `values`, (N,) or (N, K).

    With x_1 … x_n the earlier values of that speaker which are not NaN,

        z = (x − m) / s,   m = Σ x_i / n,   s² = Σ (x_i − m)² / (n − 1).

    NaN where x is NaN, where n < 2 and where s = 0.

    Args:
        speaker: (N,), any labels.
        zero_filled: as MONAH's released code (`get_summary_feature`): n counts all the speaker's values, and
            this turn's and all later ones enter m and s as zeros.

    Raises:
        ValueError: the lengths differ, or a value is infinite.
    """
    values, speaker = np.asarray(values, np.float64), np.asarray(speaker)
    if speaker.shape != values.shape[:1]:
        raise ValueError(f"speaker must label the {len(values)} turns, got shape {speaker.shape}")
    if np.isinf(values).any():
        raise ValueError("a value is infinite; NaN marks what is unknown")
    z = np.empty_like(values)
    # Sums never run across speakers, nor over later turns, so that not even rounding passes between them.
    _, label, n_turns = np.unique(speaker, return_inverse=True, return_counts=True)
    for turns in np.split(np.argsort(label, kind="stable"), np.cumsum(n_turns))[:-1]:
        z[turns] = _z_of_one(values[turns], zero_filled)
    return z


def _z_of_one(values: Floats, zero_filled: bool) -> Floats:
    known = ~np.isnan(values)
    # Measured from the first value, equal values have a spread of exactly zero, and no digits cancel.
    origin = 0.0 if zero_filled else np.take_along_axis(values, np.expand_dims(known.argmax(axis=0), 0), axis=0)
    x = np.where(known, values - origin, 0.0)
    n = known.sum(axis=0) if zero_filled else _sum_of_earlier(known)
    total, squares = _sum_of_earlier(x), _sum_of_earlier(x * x)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / n
        variance = (squares - total * mean) / (n - 1)
        # With n < 2 the variance is 0 or 0/0.
        return np.where(known & (variance > 0), (x - mean) / np.sqrt(variance), np.nan)


def _sum_of_earlier(values: np.ndarray) -> np.ndarray:
    sums = np.zeros_like(values, dtype=np.float64)
    np.cumsum(values[:-1], axis=0, out=sums[1:])
    return sums


def bucket_words(z: ArrayLike, edges: Sequence[float], words: Sequence[str]) -> list[str]:
    """The word for each of N z-scores: words[i] for edges[i−1] ≤ z < edges[i], "" where z is NaN.

    Raises:
        ValueError: there is not one word more than edges.
    """
    if len(words) != len(edges) + 1:
        raise ValueError(f"{len(edges)} edges need {len(edges) + 1} words, not {len(words)}")
    z = np.asarray(z, np.float64)
    bucket = np.where(np.isnan(z), len(words), np.digitize(z, edges))
    return [(*words, "")[i] for i in bucket]


def delay_words(delay_ms: ArrayLike, z: ArrayLike) -> list[str]:
    """How each of N delays in milliseconds is told, given their z-scores; "" below 200 ms and for NaN.

    The length is rounded to hundreds (halves to even) up to 1200 ms and "more than twelve" hundred above.
    z < 0 is "short", [0, 1) "slightly long", [1, 2) "long", from 2 on "significantly long"; NaN is not judged.
    """
    return [
        f"after {_hundreds(ms)} hundred milliseconds {judgement}".rstrip() if ms >= SHORTEST_DELAY_MS else ""
        for ms, judgement in zip(
            np.asarray(delay_ms, np.float64).tolist(), bucket_words(z, DELAY_EDGES, DELAY_WORDS), strict=True
        )
    ]


def _hundreds(ms: float) -> str:
    return HUNDREDS[round(ms / 100) - 2] if ms <= 1200 else "more than twelve"


def rate_words(z: ArrayLike) -> list[str]:
    """The adverb for each of N z-scores of words per minute, "" for an ordinary or undefined rate.

    z < −2 is "very slowly", [−2, −1) "slowly", [1, 2) "quickly", from 2 on "very quickly".
    """
    return bucket_words(z, RATE_EDGES, RATE_WORDS)


def tone_words(z: ArrayLike) -> list[str]:
    """The adverb for each of N voices, from z-scores (N, 4) in the order of `TONES`; "" for none.

    A tone is told if its z > 2; of several, sad goes before angry before happy. Fear is never told.
    """
    told = np.asarray(z, np.float64) > TONE_Z
    words = np.full(len(told), "", dtype=object)
    for tone, word in TONE_WORDS.items():
        words[told[:, TONES.index(tone)]] = word
    return words.tolist()
