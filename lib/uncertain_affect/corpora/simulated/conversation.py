"""Conversations of two: feelings that pass between speakers, in words, timing, face and voice, and how they are rated.

Two forms stand for the corpora of HAN-ROCK, with its counts and partitions (its Table 5): "iemocap", ten actors in
five sessions who play scenes, and "semaine", people who talk with four characters of set temper.

What a turn is made of hangs on the speaker's feeling in that turn, three numbers in (-1, 1): valence, arousal
(activation) and dominance (power). Their latent form z = artanh(feeling) is a Gaussian process over turns, and raters
err in z, so that every label has a known distribution given the feeling. Words are drawn one by one, so that sentences
have no grammar; a reader of bags of words loses nothing by it, a reader of syntax has nothing to find.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from uncertain_affect.corpora.base import Dialogues
from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import feeling, raters, voice
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS
from uncertain_affect.corpora.simulated.people import People
from uncertain_affect.corpora.talkturns import ACTION_UNITS as SHOWN_UNITS
from uncertain_affect.corpora.talkturns import TONES, of_dialogue, shown_actions

# --- feelings over turns, all in z --------------------------------------------------------------------------------
# Feelings carry over from turn to turn [published, direction only: Kuppens, Allen and Sheeber 2010, Psychol. Sci.
# 21:984] and pass from one speaker to the other [published, direction only: Hatfield, Cacioppo and Rapson 1993, Curr.
# Dir. Psychol. Sci. 2:96]. [chosen] sizes: a label four turns away still tells something, the other's mood a little.
INERTIA, CONTAGION = 0.75, 0.12
TURN_SD = 0.40  # [chosen] stationary sd over the turns of a dialogue
SCENE_SD = 0.45  # [chosen] between scenes, shared by both speakers: scenes are written to elicit feelings
ROLE_SD = 0.30  # [chosen] between the two roles of a scene
# Aroused people seem dominant, happy ones a little [published, direction only: Russell and Mehrabian 1977, J. Res.
# Pers. 11:273]; valence and arousal are not correlated.
CORRELATION = ((1.0, 0.0, 0.2), (0.0, 1.0, 0.5), (0.2, 0.5, 1.0))
# The four characters of SEMAINE: happy, angry, even-tempered, gloomy [published, direction only: McKeown et al. 2012,
# IEEE Trans. Affect. Comput. 3:5]; the share of it that the user takes on is [chosen].
CHARACTERS = {
    "poppy": (0.6, 0.5, 0.2),
    "spike": (-0.6, 0.5, 0.5),
    "prudence": (0.1, 0.0, 0.3),
    "obadiah": (-0.6, -0.5, -0.3),
}
ADOPTED = 0.4

# --- words ---------------------------------------------------------------------------------------------------------
FUNCTION_WORDS = (
    "i you the and to a it that of in is we me my what so no not this do have on was for but be just know your are "
    "with there he they can all at if she when about one or how would them then from here her him our could some out "
    "up by who will as an now their where which because into than only over more any these"
).split()
TOPICS = {
    "home": "house kitchen door garden window roof lamp sofa neighbour key floor stairs curtain attic paint",
    "work": "office meeting boss project deadline desk report client contract salary shift printer email team task",
    "travel": "train ticket airport hotel road map suitcase bridge harbour station passport island beach bus coast",
    "family": "mother father sister brother cousin uncle baby wedding birthday grandmother dinner photo letter dog",
    "health": "doctor hospital medicine knee sleep headache nurse diet appointment blood bandage breath bed clinic",
    "leisure": "film song guitar football novel concert painting picnic game team ticket dance fishing camera chess",
}  # fmt: skip
# Words by feeling, and where each group lies in valence, arousal and dominance [chosen: near the norms for such words,
# Warriner, Kuperman and Brysbaert 2013, Behav. Res. Methods 45:1191, in direction].
AFFECT_WORDS = {
    "joyful": "wonderful amazing great fantastic hooray brilliant excited delighted thrilled love laughing perfect",
    "content": "nice lovely pleasant peaceful glad cosy grateful comfortable warm gentle easy sweet fine",
    "proud": "proud certain strong won ready absolutely capable confident sure deserve leader best succeed",
    "surprised": "wow really sudden unbelievable what seriously strange unexpected shocked imagine goodness",
    "angry": "stop hate stupid ridiculous furious enough shout liar rude damn outrageous insult blame",
    "frustrated": "again annoying useless waste unfair stuck nonsense impossible always wrong complain mess sick",
    "afraid": "scared afraid danger panic terrible help worried hide trembling nightmare alarm threat run",
    "sad": "sorry miss lost alone cry gone tears hurt grief goodbye empty died broken",
    "bored": "tired boring whatever slow dull sleepy same nothing routine yawn wait grey flat",
    "doubtful": "maybe perhaps guess unsure suppose confused wonder possibly hope might unclear seems somehow",
    "even": "okay right yes well think tell time thing place today people year morning",
}
AFFECT_CENTRES = {
    "joyful": (0.8, 0.6, 0.4), "content": (0.6, -0.4, 0.2), "proud": (0.5, 0.3, 0.8), "surprised": (0.1, 0.7, -0.2),
    "angry": (-0.7, 0.7, 0.6), "frustrated": (-0.5, 0.3, 0.1), "afraid": (-0.6, 0.6, -0.7), "sad": (-0.7, -0.4, -0.5),
    "bored": (-0.3, -0.8, -0.1), "doubtful": (-0.1, 0.0, -0.6), "even": (0.1, -0.1, 0.1),
}  # fmt: skip
# [chosen] Function, topic and affect words: about half of running English is function words.
WORD_SHARES = (0.55, 0.25, 0.20)
AFFECT_WIDTH = 0.45  # [chosen] how near a feeling must be to draw words from a group: one turn alone leaves doubt

# --- timing --------------------------------------------------------------------------------------------------------
# Mean turn of IEMOCAP [published: Busso et al. 2008, Lang. Resour. Eval. 42:335].
TURN_WORDS, TURN_S = 11.4, 4.5
WORDS_PER_MINUTE = 60 * TURN_WORDS / TURN_S  # [derived] 152
# Words are Poisson about a log-normal mean; its sd in log units is [derived]: it gives the coefficient of variation of
# MELD's training turns, 0.78 (mean 7.9, sd 6.2), of which speakers' habits have a [chosen] part.
WORDS_SD, TALKATIVE_SD = 0.60, 0.25
AROUSAL_WORDS = 0.20  # [chosen] log units per unit of arousal; MELD's angry turns are 15% longer than its neutral ones
LONGEST = 60  # words; [derived] MELD's longest training turn has 69
# Aroused speech is fast [published, direction only: Juslin and Laukka 2003, Psychol. Bull. 129:770].
AROUSAL_PACE = 0.15  # [chosen] log units
PACE_SD, TURN_PACE_SD = 0.12, 0.20  # [chosen] log units, between speakers and between turns
# Answers come about 200 ms after the end of the turn before, often before it [published: Levinson and Torreira 2015,
# Front. Psychol. 6:731]; delays are the sum of a normal and an exponential part, as reaction times are.
DELAY_MEAN, DELAY_SD, DELAY_TAIL_S = -0.10, 0.25, 0.30  # seconds; [derived] mean 0.2; [chosen] sd and tail
PROMPT_SD = 0.08  # [chosen] seconds, between speakers
AROUSAL_DELAY = -0.15  # [chosen] seconds per unit of arousal: the aroused do not wait
# Refusals come late [published, direction only: Kendrick and Torreira 2015, Discourse Process. 52:255].
VALENCE_DELAY = -0.05  # [chosen] seconds per unit of valence
OVERLAP = 0.8  # [chosen] an answer begins before this share of the turn before is left at the latest
PAUSE_S = 0.7  # [chosen] mean pause before going on oneself
# Turns that follow one by the same speaker [derived: 22% of MELD's training turns]; SEMAINE's alternate, its counts
# being even.
GOES_ON = {"iemocap": 0.22, "semaine": 0.0}

# --- face ----------------------------------------------------------------------------------------------------------
FPS = 10  # [chosen] frames a second at which action units are looked at: enough for a smile of half a second
UNITS = tuple(int(name.removeprefix("AU")) for name in SHOWN_UNITS)
UNIT_NAMES = tuple(f"AU{unit:02d}" for unit in UNITS)  # as in OpenFace
FRAME_SD, FRAME_AUTOCORRELATION = 0.4, 0.9  # [chosen] intensity steps within a turn; a movement lasts about a second
# [chosen] steps of intensity against posed faces: faces in talk are calmer, so that few actions last a whole turn, but
# talking parts the lips.
CALMER, PARTED = -0.7, 1.0

# --- raters of the IEMOCAP form ------------------------------------------------------------------------------------
EMOTIONS = ("angry", "happy", "neutral", "sad")
CATEGORIES = (*EMOTIONS, "other")  # what evaluators choose from; other: frustrated, surprised, afraid, ...
# Where they lie in valence, arousal and dominance [chosen: as the words of AFFECT_WORDS, nearer the middle].
CENTRES = ((-0.6, 0.5, 0.4), (0.55, 0.35, 0.2), (0.0, -0.1, 0.0), (-0.5, -0.45, -0.4), (-0.35, 0.2, -0.1))
# Votes p(category | feeling) ∝ exp(readiness - ||feeling - centre||² / 2 width²), and a lapse to any category.
# Readiness and lapse are [derived]: solved for the published counts of majority labels, MAJORITY, over 24 draws of the
# full form; the width is [chosen] among those that solve them, and gives evaluators a Fleiss kappa of 0.20.
CATEGORY_WIDTH = 0.45
READINESS = (0.26, -0.11, 0.0, -0.51, 0.53)
LAPSE = 0.135
N_VOTES = 3  # [published: Busso et al. 2008] a label needs two of three evaluators
# [published: HAN-ROCK Table 4; SpeechBrain's count of all utterances] labels among 10,039 turns; 2,001 carry another
# emotion and 2,507 none, as no two evaluators agreed.
MAJORITY = {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084, "other": 2001, "none": 2507}
N_RATINGS = 2  # [published: Busso et al. 2008] evaluators who rate valence, activation and dominance, 1 to 5
# In z, of an evaluator in a session and of one rating, for valence, arousal and dominance: evaluators agree best on
# valence [published, direction only: Busso et al. 2008]; sizes [chosen].
RATING_BIAS_SD, RATING_SD = (0.15, 0.20, 0.20), (0.30, 0.45, 0.45)
# --- raters of the SEMAINE form
N_TRACES = 6  # [published: McKeown et al. 2012] at least six raters trace each of most recordings, -1 to 1
TRACE_BIAS_SD, TRACE_SD = 0.30, 0.50  # [chosen] in z: of a rater in a recording, and of the mean over one turn

# --- sizes ---------------------------------------------------------------------------------------------------------
# Turns [published: HAN-ROCK Table 5], per session and wearer of the markers (F, M), and per recording.
IEMOCAP_TURNS = ((861, 958), (889, 922), (958, 1178), (1105, 998), (1128, 1042))
IEMOCAP_SPLIT = ("train", "train", "train", "val", "test")
SEMAINE_TURNS = {
    "train": (424, 404, 686, 436, 760, 668, 928, 790, 732, 958, 586, 440),
    "val": (188, 472, 448, 752, 404),
    "test": (372, 264, 364, 440, 448),
}
IEMOCAP_SCENES = 15  # [derived] per session and wearer: 151 dialogues in all [published: Busso et al. 2008]
SIZES = {"quick": 0.2, "full": 1.0}  # share of the turns; quick is [chosen] so that models train in seconds
QUICK_SCENES = 5  # [chosen] so that scenes keep about 35 turns
FORMS = tuple(GOES_ON)


# --- feelings ------------------------------------------------------------------------------------------------------


def feelings(mean: Tensor, n_turns: int, generator: torch.Generator) -> Tensor:
    """Feelings z (D, T, 2, 3) of both speakers in T turns of D dialogues, about their means (D, 2, 3).

    Each follows itself and the other; only the stationary spread of it is set (`TURN_SD`, `CORRELATION`):

        z_t - mean = [[INERTIA, CONTAGION], [CONTAGION, INERTIA]] (z_{t-1} - mean) + e_t
    """
    # Sum and difference of the speakers are two processes that do not touch: x_t = carry x_{t-1} + sd e_t.
    carry = torch.tensor([INERTIA + CONTAGION, INERTIA - CONTAGION])
    spread = 1 / (1 - carry**2)  # stationary variance of each for noise of sd one
    noise_sd = TURN_SD / spread.mean().sqrt()
    mix = torch.linalg.cholesky(torch.tensor(CORRELATION))
    x = torch.randn(len(mean), n_turns, 2, 3, generator=generator) @ mix.T * noise_sd
    x[:, 0] *= spread.sqrt()[:, None]
    for turn in range(1, n_turns):
        x[:, turn] += carry[:, None] * x[:, turn - 1]
    together, apart = x.unbind(2)
    return mean[:, None] + torch.stack([together + apart, together - apart], dim=2) / math.sqrt(2)


# --- words ---------------------------------------------------------------------------------------------------------


WORD_GROUPS = [FUNCTION_WORDS, *(words.split() for words in (*TOPICS.values(), *AFFECT_WORDS.values()))]
VOCABULARY = tuple(dict.fromkeys(word for group in WORD_GROUPS for word in group))


@cache
def _group_probabilities() -> Tensor:
    """How likely each of the V words of the vocabulary is in each group, (1 + topics + affects, V)."""
    probability = torch.zeros(len(WORD_GROUPS), len(VOCABULARY))
    for row, group in zip(probability, WORD_GROUPS, strict=True):
        # By rank, as Zipf's law has it; flatter among the few words of a topic or a feeling.
        weights = [1 / (rank + (6 if group is FUNCTION_WORDS else 10)) for rank in range(len(group))]
        row[[VOCABULARY.index(word) for word in group]] = torch.tensor(weights) / sum(weights)
    return probability


def word_probabilities(felt: Tensor, topic: Tensor) -> Tensor:
    """How likely each word of the vocabulary is, (N, V), in turns of these feelings (N, 3) and topics (N,).

    Function, topic and affect words have fixed shares; of the affect words, groups near the feeling are likelier:
    p(group | feeling) ∝ exp(-||feeling - group||² / 2 AFFECT_WIDTH²).
    """
    centres = torch.tensor([AFFECT_CENTRES[group] for group in AFFECT_WORDS])
    affect = (-torch.cdist(felt, centres).square() / (2 * AFFECT_WIDTH**2)).softmax(dim=1)
    topics = torch.nn.functional.one_hot(topic, len(TOPICS)).float()
    shares = zip(WORD_SHARES, (torch.ones(len(felt), 1), topics, affect), strict=True)
    return torch.cat([share * part for share, part in shares], dim=1) @ _group_probabilities()


def draw_texts(felt: Tensor, topic: Tensor, n_words: Tensor, generator: torch.Generator) -> list[str]:
    """N texts of `n_words` (N,) words each, drawn one by one from `word_probabilities`."""
    u = torch.rand(len(felt), int(n_words.max()), generator=generator)
    up_to = word_probabilities(felt, topic).double().cumsum(dim=1)
    up_to[:, -1] = 1 + 1e-9  # whatever the rounding, the last word ends the range
    words = np.array(VOCABULARY)[torch.searchsorted(up_to, u.double(), right=True).numpy()]
    return [f"{' '.join(row[:n]).capitalize()}." for row, n in zip(words, n_words.tolist(), strict=True)]


# --- face ----------------------------------------------------------------------------------------------------------


def facial_actions(activity: Tensor, seconds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What the face does in N turns: mean intensities (N, 6) of `UNITS`, and bool (N, 6), `talkturns.ACTIONS` shown.

    Intensities wander about the activity of the turn, from frame to frame; an action is shown by the rules of
    `talkturns.shown_actions`.

    Args:
        activity: (N, 6), intensities of `UNITS` before they are clipped to [0, 5].
        seconds: (N,), how long the turns last.
    """
    n_frames = (seconds * FPS).long() + 1
    during = torch.arange(int(n_frames.max())) < n_frames[:, None]
    total = wandering = torch.zeros_like(activity)
    present = torch.empty(*during.shape, activity.shape[1], dtype=torch.bool)
    for frame in range(during.shape[1]):
        noise = torch.randn(activity.shape, generator=generator)
        kept = FRAME_AUTOCORRELATION if frame else 0.0
        wandering = kept * wandering + math.sqrt(1 - kept**2) * noise
        now = feeling.intensities(activity + FRAME_SD * wandering)
        present[:, frame] = now >= c.BP4D_THRESHOLD
        total = total + now * during[:, frame, None]
    # One turn after another, each from its first frame to its last.
    after = n_frames.cumsum(0)
    time = torch.arange(int(after[-1]), dtype=torch.float64) / FPS
    actions = shown_actions(time[after - n_frames], time[after - 1], time, present[during])
    return total / n_frames[:, None], torch.from_numpy(actions)


# --- turns ---------------------------------------------------------------------------------------------------------


def converse(
    people: People, names: list[str], pair: Tensor, mean: Tensor, n_turns: Tensor, form: str, generator, **columns
) -> Dialogues:
    """D dialogues between pairs of people, without targets; truth is `felt` and `voice`, see `dialogues`.

    Args:
        people: of each pair one after the other; talkativeness, pace and promptness are drawn here, once for each.
        names: of the people.
        pair: int (D,), who speaks.
        mean: (D, 2, 3), the mean feelings z of both in each dialogue.
        n_turns: int (D,), turns of each dialogue.
        form: decides how often the speaker of a turn takes the next one too, `GOES_ON`.
        generator: of all that is drawn.
        columns: `dialogue` and `split` (D,), what each dialogue is called and its split.
    """
    pairs = torch.stack([2 * pair, 2 * pair + 1], dim=1)
    # Dialogues side by side, as long as the longest; then the turns that there are, in order.
    n_dialogues, length = len(pair), int(n_turns.max())
    taken = torch.arange(length) < n_turns[:, None]
    dialogue, _ = taken.nonzero(as_tuple=True)
    changes = torch.rand(n_dialogues, length, generator=generator) >= GOES_ON[form]
    changes[:, 0] = torch.rand(n_dialogues, generator=generator) < 0.5
    side = changes.cumsum(dim=1) % 2
    z = feelings(mean, length, generator)
    z = z.gather(2, side[..., None, None].expand(-1, -1, 1, 3)).squeeze(2)
    felt = z.tanh()[taken]
    speaker = pairs.gather(1, side)[taken]
    answers = changes[taken]

    habits = torch.randn(len(people), 3, generator=generator)[speaker]
    n_words = _n_words(felt, habits[:, 0], generator)
    seconds = _seconds(n_words, felt, habits[:, 1], generator)
    start, end = _times(dialogue, seconds, _delays(answers, felt, habits[:, 2], generator))

    topic = torch.randint(len(TOPICS), (n_dialogues,), generator=generator)[dialogue]
    turns = draw_texts(felt, topic, n_words, generator)
    who = people[speaker]
    moved = torch.randn(len(felt), 2 + len(ACTION_UNITS), generator=generator)
    activity = feeling.display(felt[:, :2], who, moved)
    activity = activity[:, [ACTION_UNITS.index(unit) for unit in UNITS]]
    activity = activity + torch.tensor([CALMER + PARTED * (unit == 25) for unit in UNITS])
    units, actions = facial_actions(activity, seconds, generator)
    tones = voice.tone_scores(felt[:, :2], who.voice, seconds, generator)
    return Dialogues(
        turns=np.array(turns),
        speaker=np.array(names)[speaker],
        start=start,
        end=end,
        targets={},
        auxiliary=_columns(UNIT_NAMES, units) | _columns(TONES, tones) | {"actions": actions},
        truth={"felt": felt, "voice": who.voice},
        **{name: np.array(values)[dialogue] for name, values in columns.items()},
    )


def _n_words(felt: Tensor, talkative: Tensor, generator: torch.Generator) -> Tensor:
    log_mean = TALKATIVE_SD * talkative + AROUSAL_WORDS * felt[:, 1]
    log_mean = log_mean + WORDS_SD * torch.randn(len(felt), generator=generator)
    spread = TALKATIVE_SD**2 + WORDS_SD**2  # the mean of a log-normal is exp(mean + variance / 2)
    expected = (TURN_WORDS - 1) * (log_mean - spread / 2).exp()
    return 1 + torch.poisson(expected, generator=generator).long().clamp(max=LONGEST - 1)


def _seconds(n_words: Tensor, felt: Tensor, pace: Tensor, generator: torch.Generator) -> Tensor:
    log_pace = PACE_SD * pace + AROUSAL_PACE * felt[:, 1] + TURN_PACE_SD * torch.randn(len(felt), generator=generator)
    return 60 * n_words / (WORDS_PER_MINUTE * log_pace.exp())


def _delays(answers: Tensor, felt: Tensor, prompt: Tensor, generator: torch.Generator) -> Tensor:
    """Seconds from the end of the turn before to the start of this one; negative where they overlap."""
    tail = torch.empty(2, len(felt)).exponential_(generator=generator)
    delay = DELAY_MEAN + DELAY_SD * torch.randn(len(felt), generator=generator) + DELAY_TAIL_S * tail[0]
    delay = delay + PROMPT_SD * prompt + AROUSAL_DELAY * felt[:, 1] + VALENCE_DELAY * felt[:, 0]
    return torch.where(answers, delay, PAUSE_S * tail[1])


def _times(dialogue: Tensor, seconds: Tensor, delay: Tensor) -> tuple[Tensor, Tensor]:
    """Starts and ends (N,) in seconds, to the millisecond, each dialogue from 0."""
    seconds, delay = (seconds.double() * 1000).round().clamp(min=1), (delay.double() * 1000).round()
    before = torch.cat([seconds[:1], seconds[:-1]])
    step = before + torch.maximum(delay, -(OVERLAP * before).floor())
    first = torch.ones_like(dialogue, dtype=torch.bool)
    first[1:] = dialogue[1:] != dialogue[:-1]
    since = step.masked_fill(first, 0).cumsum(0)
    start = since - since[first][dialogue]
    return start / 1000, (start + seconds) / 1000


# --- raters --------------------------------------------------------------------------------------------------------


def category_distribution(felt: Tensor) -> Tensor:
    """What evaluators call a feeling (N, 3): the chance (N, 5) of a vote for each of `CATEGORIES`."""
    distance = torch.cdist(felt, torch.tensor(CENTRES)).square()
    votes = (torch.tensor(READINESS) - distance / (2 * CATEGORY_WIDTH**2)).softmax(dim=1)
    return (1 - LAPSE) * votes + LAPSE / len(CATEGORIES)


def majority(votes: Tensor) -> Tensor:
    """The category (N,) that at least two evaluators chose, from counts of votes (N, 5); −1 where there is none."""
    most, category = votes.max(dim=1)
    return torch.where(most >= 2, category, -1)


def rating_distribution(felt: Tensor) -> Tensor:
    """How one evaluator rates a feeling (N, 3): the chance (N, 3, 5) of each of 1 to 5, over evaluators and ratings.

    3 + 2 feeling is rounded to a whole rating, the feeling being misread by a normal error in z.
    """
    edges = torch.tensor([-0.75, -0.25, 0.25, 0.75]).atanh()
    sd = torch.tensor(RATING_BIAS_SD).hypot(torch.tensor(RATING_SD))
    below = torch.special.ndtr((edges - felt.atanh()[..., None]) / sd[:, None])
    return torch.cat([below, torch.ones(*felt.shape, 1)], dim=-1).diff(dim=-1, prepend=torch.zeros(*felt.shape, 1))


def trace_moments(felt: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sd, (...) each, of the mean of `N_TRACES` raters' traces of a feeling (...), over raters and turns."""
    # Gauss-Hermite: E g(e) = sum_i w_i g(sqrt(2) sd x_i) / sqrt(pi)
    nodes, weights = (torch.from_numpy(a).float() for a in np.polynomial.hermite.hermgauss(32))
    errors = math.sqrt(2) * math.hypot(TRACE_BIAS_SD, TRACE_SD) * nodes
    traced = (felt.atanh()[..., None] + errors).tanh()
    weights = weights / math.sqrt(math.pi)
    mean = (traced * weights).sum(-1)
    return mean, ((traced - mean[..., None]).square() * weights).sum(-1).div(N_TRACES).sqrt()


def intensity(felt: Tensor) -> Tensor:
    """How strong a feeling (N, 3) is, whatever it is, in (-1, 1): its distance from neutral in valence and arousal."""
    return math.sqrt(2) * felt[:, :2].norm(dim=1) - 1


def _errors(block: Tensor, n_raters: int, bias_sd, sd, n_scales: int, generator: torch.Generator) -> Tensor:
    """Errors in z (N, raters, scales): each rater's own in a block (session or recording), and of each turn."""
    own = torch.randn(int(block.max()) + 1, n_raters, n_scales, generator=generator)[block]
    return torch.tensor(bias_sd) * own + torch.tensor(sd) * torch.randn(own.shape, generator=generator)


# --- corpora -------------------------------------------------------------------------------------------------------


def dialogues(form: str, size: str, generator: torch.Generator) -> Dialogues:
    """Conversations shaped and split like those of HAN-ROCK.

    - "iemocap": targets `emotion` (index in `EMOTIONS`, −1 for other or no majority), and `valence`, `activation`,
      `dominance`, means of two ratings from 1 to 5. The letter that ends a speaker's name is F or M: of the two actors
      of a session, F is the one with the higher voice.
    - "semaine": targets `activation`, `intensity`, `power`, `valence`, means of six raters in [-1, 1]. Speakers are
      the user and the operator of a recording, F or M by their pitch.

    Auxiliary, for both: `AU05` ... `AU25`, mean intensities of the action units; `happy`, `sad`, `angry`, `fear`,
    scores of the voice, NaN where it could not be judged; `actions`, bool (N, 6), `talkturns.ACTIONS`.

    Truth: `felt` (N, 3), valence, arousal and dominance; `voice` (N, 3), that of the speaker; each target by its name
    as it would be without error (`emotion`: the likeliest of `CATEGORIES`). Over the population of raters, for
    "iemocap": `emotion_distribution` (N, 5), chances of one evaluator's vote; `valence_distribution` and so on (N, 5),
    chances of one evaluator's rating; for "semaine": `valence_mean`, `valence_sd` and so on (N,), of the label.
    """
    return {"iemocap": _iemocap, "semaine": _semaine}[form](size, generator)


def _iemocap(size: str, generator: torch.Generator) -> Dialogues:
    people = People.draw(2 * len(IEMOCAP_TURNS), generator)
    # The world has no sexes: of the two rows of a session, the first is the one with the higher voice.
    rows = torch.arange(len(people)).view(-1, 2)
    rows = rows.gather(1, people.voice[rows, 0].argsort(dim=1, descending=True))
    people = people[rows.flatten()]
    names = [f"Ses{session:02d}{sex}" for session in range(1, len(rows) + 1) for sex in "FM"]

    n_scenes = IEMOCAP_SCENES if size == "full" else QUICK_SCENES
    counts = [round(SIZES[size] * n) for session in IEMOCAP_TURNS for n in session]
    n_turns = torch.cat([_parts(n, n_scenes, generator) for n in counts])
    session = torch.arange(len(rows)).repeat_interleave(2 * n_scenes)
    scenes = [f"{name}_scene{i:02d}" for name in names for i in range(1, n_scenes + 1)]

    mix = torch.linalg.cholesky(torch.tensor(CORRELATION))
    scene, role = (torch.randn(len(session), n, 3, generator=generator) @ mix.T for n in (1, 2))
    mean, split = _mood(people)[session] + SCENE_SD * scene + ROLE_SD * role, np.array(IEMOCAP_SPLIT)[session]
    spoken = converse(people, names, session, mean, n_turns, "iemocap", generator, dialogue=scenes, split=split)

    felt = spoken.truth["felt"]
    chances = category_distribution(felt)
    label = majority(raters.vote(chances, N_VOTES, generator))
    scales = ("valence", "activation", "dominance")
    errors = _errors(session.repeat_interleave(n_turns), N_RATINGS, RATING_BIAS_SD, RATING_SD, len(scales), generator)
    ratings = (3 + 2 * (felt.atanh()[:, None] + errors).tanh()).round().mean(dim=1)
    targets = {"emotion": torch.where(label < len(EMOTIONS), label, -1)} | _columns(scales, ratings)
    truth = {"emotion": chances.argmax(dim=1), "emotion_distribution": chances} | _columns(scales, 3 + 2 * felt)
    truth |= _columns([f"{scale}_distribution" for scale in scales], rating_distribution(felt))
    return replace(spoken, targets=targets, truth=spoken.truth | truth)


def _semaine(size: str, generator: torch.Generator) -> Dialogues:
    counts = [n for part in SEMAINE_TURNS.values() for n in part]
    people = People.draw(2 * len(counts), generator)
    sexes = ["F" if pitch > math.sqrt(math.prod(c.PITCH_HZ)) else "M" for pitch in people.voice[:, 0].tolist()]
    roles = [f"R{recording:02d}_{role}" for recording in range(1, len(counts) + 1) for role in ("user", "operator")]
    names = [f"{role}_{sex}" for role, sex in zip(roles, sexes, strict=True)]
    scenes = [f"R{recording:02d}_{name}" for recording in range(1, len(counts) + 1) for name in CHARACTERS]

    n_turns = torch.cat([2 * _parts(round(SIZES[size] * n / 2), len(CHARACTERS), generator) for n in counts])
    recording = torch.arange(len(counts)).repeat_interleave(len(CHARACTERS))
    character = torch.tensor(list(CHARACTERS.values())).atanh().repeat(len(counts), 1)
    role = torch.randn(len(recording), 2, 3, generator=generator)
    split = np.repeat(list(SEMAINE_TURNS), [len(CHARACTERS) * len(part) for part in SEMAINE_TURNS.values()])
    mean = _mood(people)[recording] + torch.stack([ADOPTED * character, character], dim=1) + ROLE_SD * role
    spoken = converse(people, names, recording, mean, n_turns, "semaine", generator, dialogue=scenes, split=split)

    felt = spoken.truth["felt"]
    scales = ("activation", "intensity", "power", "valence")
    true = torch.stack([felt[:, 1], intensity(felt), felt[:, 2], felt[:, 0]], dim=1)
    errors = _errors(recording.repeat_interleave(n_turns), N_TRACES, TRACE_BIAS_SD, TRACE_SD, len(scales), generator)
    traces = (true.atanh()[:, None] + errors).tanh().mean(dim=1)
    truth = _columns(scales, true)
    for name, moment in zip(("mean", "sd"), trace_moments(true), strict=True):
        truth |= _columns([f"{scale}_{name}" for scale in scales], moment)
    return replace(spoken, targets=_columns(scales, traces), truth=spoken.truth | truth)


def _mood(people: People) -> Tensor:
    """Mean feelings z of the people of each pair, (P / 2, 2, 3); nobody is dominant by habit."""
    return torch.nn.functional.pad(people.mood.clamp(-0.9, 0.9).atanh(), (0, 1)).view(-1, 2, 3)


def _parts(total: int, parts: int, generator: torch.Generator) -> Tensor:
    """Whole numbers (parts,) of at least 1, of this sum, the largest some three times the smallest."""
    ends = (0.5 + torch.rand(parts, generator=generator)).cumsum(0)
    ends = ((total - parts) * ends / ends[-1]).round().long()
    return 1 + ends.diff(prepend=ends.new_zeros(1))


def _columns(names: Iterable[str], values: Tensor) -> dict[str, Tensor]:
    return dict(zip(names, values.unbind(1), strict=True))


# --- narratives ----------------------------------------------------------------------------------------------------


talkturns = of_dialogue  # as MONAH reads one, of this corpus, IEMOCAP or SEMAINE


def nouns(corpus: Dialogues) -> dict[str, str]:
    """What MONAH calls each speaker, by the letter that ends the name: F "woman", M "man"; else "person"."""
    return {name: {"F": "woman", "M": "man"}.get(name[-1], "person") for name in np.unique(corpus.speaker).tolist()}
