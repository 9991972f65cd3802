"""MONAH narratives: the words of each talkturn, and how they were spoken, as one sentence.

The sentences are those that HAN-ROCK reads (its section 4.2 and Fig. 4). The rules are those of MONAH's
released code (Kim et al., "MONAH: Multi-Modal Narratives for Humans", EACL 2021; github.com/SpectData/MONAH):

    the woman smiled raised chin after three hundred milliseconds a long delay the woman sadly and slowly said no.
    [actions                   ] [delay                                      ] [speaker, tone and rate      ] [words]

Whether a delay is long, speech fast or a voice sad is judged relative to the same speaker's earlier turns in the
recording, by z-scores. A recording is a `Talkturns`, `narrate` puts it into words, and each helper does one rule.

Where the rules are silent or the released code fails, these readings hold:

- *z-scores use earlier turns alone*, with the standard deviation over n − 1. The released code multiplies later
  turns by zero instead of leaving them out, so that mean and deviation run over those zeros too, and a
  sentence depends on how many turns follow it; `zero_filled=True` gives that form, to show its effect.
- *An undefined z* (fewer than two earlier turns, or all of them equal) gives no adverb; a delay then keeps its
  length and loses its judgement: "after three hundred milliseconds the woman said". The released code takes
  z = 0, which makes the first delays "slightly long".
- *A delay* is the silence between the end of the turn before and the start of this one, if another person
  spoke that turn. Nothing else counts as one: not the first turn, not going on after a pause of one's own,
  not an overlap (start at or before that end), not a turn after one with no usable end. The released code
  leaves out overlaps and goings-on too, but gives each delay to the turn before it, which reveals the future.
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

# The i-th words hold for edges[i - 1] <= z < edges[i].
DELAY_EDGES = (0, 1, 2)
DELAY_WORDS = ("a short delay", "a slightly long delay", "a long delay", "a significantly long delay")
RATE_EDGES = (-2, -1, 1, 2)
RATE_WORDS = ("very slowly", "slowly", "", "quickly", "very quickly")
HUNDREDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

# Later ones override earlier ones; fear is never worded.
TONE_WORDS = {"happy": "happily", "angry": "angrily", "sad": "sadly"}


def narrate(
    turns: Talkturns, nouns: Mapping[object, str], *, families: Collection[str] = FAMILIES, zero_filled: bool = False
) -> list[str]:
    """One sentence for each of N talkturns, from nothing but that turn and those before it.

    >>> turns = Talkturns(speaker=["a", "b"], start=[0.0, 1.5], end=[1.0, 2.0], text=["Tea?", "No."])
    >>> narrate(turns, {"a": "woman", "b": "man"})
    ['the woman said tea.', 'after five hundred milliseconds the man said no.']

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
    rate = words_per_minute([len(text.split()) for text in spoken], turns.start, turns.end)
    delay = delays_ms(turns.speaker, turns.start, turns.end)
    nothing = [""] * len(turns)
    pieces = {
        "actions": nothing if turns.actions is None else [" ".join(np.compress(row, ACTIONS)) for row in turns.actions],
        "delay": delay_words(delay, z(delay)),
        "tone": nothing if turns.tones is None else tone_words(z(turns.tones)),
        "rate": bucket_words(z(rate), RATE_EDGES, RATE_WORDS),
    }
    columns = [pieces[family] if family in families else nothing for family in FAMILIES]
    return [
        _sentence(f"the {nouns[speaker]}", *parts) for speaker, *parts in zip(speakers, *columns, spoken, strict=True)
    ]


def _sentence(person: str, actions: str, delay: str, tone: str, rate: str, spoken: str) -> str:
    shown = f"{person} {actions}" if actions else ""
    manner = " and ".join(filter(None, [tone, rate]))
    return " ".join(filter(None, [shown, delay, person, manner, "said", spoken])) + "."


# --- measurements -------------------------------------------------------------------------------------------


def delays_ms(speaker: ArrayLike, start: ArrayLike, end: ArrayLike) -> Floats:
    """Silence before each of N turns in milliseconds, (N,), from speakers and times in seconds, (N,) each.

    NaN where there is no delay: at the first turn, after a turn of the same speaker, where the turns overlap
    or touch, and after a turn that has no end or ends before it starts.
    """
    speaker, start, end = np.asarray(speaker), np.asarray(start, np.float64), np.asarray(end, np.float64)
    # Whole microseconds: 1.2 − 1 is a little less than 0.2 in binary, and the rules ask for "at least 200 ms".
    gap = np.round((start[1:] - end[:-1]) * 1000, 3)
    answers = (speaker[1:] != speaker[:-1]) & (end[:-1] >= start[:-1])
    delays = np.full(len(start), np.nan)
    delays[1:] = np.where(answers & (gap > 0), gap, np.nan)
    return delays


# --- comparisons --------------------------------------------------------------------------------------------


def z_against_earlier(values: ArrayLike, speaker: ArrayLike, *, zero_filled: bool = False) -> Floats:
    """z-scores of N turns against the same speaker's earlier turns, in the shape of `values`, (N,) or (N, K).

    With x_1 … x_n the earlier values of that speaker which are not NaN,

        z = (x − m) / s,   m = Σ x_i / n,   s² = Σ (x_i − m)² / (n − 1).

    NaN where x is NaN, where n < 2 and where s = 0.

    Args:
        speaker: (N,), any labels.
        zero_filled: as MONAH's released code (`get_summary_feature`): n counts all the speaker's values, and
            this turn's and all later ones enter m and s as zeros.
    """
    values, speaker = np.asarray(values, np.float64), np.asarray(speaker)
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

    >>> bucket_words([-2, 0, np.nan], RATE_EDGES, RATE_WORDS)
    ['slowly', '', '']
    """
    bucket = np.where(np.isnan(z), len(words), np.digitize(z, edges))
    return [(*words, "")[i] for i in bucket]


def delay_words(delay_ms: ArrayLike, z: ArrayLike) -> list[str]:
    """The words for each of N delays in milliseconds, given their z-scores; "" below 200 ms and for NaN.

    The length is rounded to hundreds (halves to even) up to 1200 ms and "more than twelve" hundred above.
    z < 0 is "short", [0, 1) "slightly long", [1, 2) "long", from 2 on "significantly long"; NaN is not judged.
    """
    judgements = bucket_words(z, DELAY_EDGES, DELAY_WORDS)
    return [
        f"after {_hundreds(ms)} hundred milliseconds {judgement}".rstrip() if ms >= SHORTEST_DELAY_MS else ""
        for ms, judgement in zip(np.asarray(delay_ms).tolist(), judgements, strict=True)
    ]


def _hundreds(ms: float) -> str:
    return HUNDREDS[round(ms / 100) - 2] if ms <= 1200 else "more than twelve"


def tone_words(z: ArrayLike) -> list[str]:
    """The adverb for each of N voices, from z-scores (N, 4) in the order of `TONES`; "" for none.

    A tone is told if its z > 2; of several, sad goes before angry before happy. Fear is never told.
    """
    stands_out = np.asarray(z, np.float64) > TONE_Z
    words = np.full(len(stands_out), "", dtype=object)
    for tone, word in TONE_WORDS.items():
        words[stands_out[:, TONES.index(tone)]] = word
    return words.tolist()
