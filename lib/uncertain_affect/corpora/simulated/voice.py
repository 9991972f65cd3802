"""A source-filter voice: feelings and speakers in, log-mel patches and tone-of-voice scores out.

Speech is a source shaped by a filter (Fant, *Acoustic Theory of Speech Production*, 1960). The source is a comb of
harmonics of the pitch, sloping down, with some breath; the filter is the resonances of the vocal tract (formants),
which glide from vowel to vowel. Both are smooth in frequency but for the comb, and the comb has a closed form, so
that the power spectrum of every frame is written down at once and no sound is made:

    P(f, t) = C(f; f0(t)) V(t) S(f) H(f, t)  +  e(f, t) [B S(f) H(f, t) + F(f, t) + R(f)]

C comb, V voicing and loudness, S slope of the source, H formants, B breath, F friction of consonants, R room; e are
standard exponential draws, what the periodogram of Gaussian noise fluctuates by. Mel bands sum P over f.

Feeling acts through six properties of the speaking voice (`prosody`). Where a constant says [published, direction
only], the source says which way a property moves, and the size is [chosen] to be audible, not fitted.
"""

import math

import torch
from torch import Tensor

from uncertain_affect.corpora.simulated import constants as c

# --- analysis: 16 kHz, one window of 0.63 s per video frame, 64 bands [published: NeMo vad_marblenet, as in EMENet-VA]
SAMPLE_RATE = 16_000
HOP_S = 0.010
N_FRAMES = 64  # [derived] frames centred on 0, 10, ... 630 ms
N_BANDS = 64
FFT = 512
WINDOW_HZ = 24.5  # [derived] sd of a Gaussian of half-power width 1.44/25 ms, that of a Hann window of 25 ms

# --- what one unit of arousal does to the voice
# Aroused voices are higher, more varied in pitch, louder, faster and richer in high frequencies
# [published, direction only: Banse and Scherer 1996, J. Pers. Soc. Psychol. 70:614; Juslin and Laukka 2003, Psychol.
# Bull. 129:770].
AROUSAL_PITCH = 0.30  # octaves
AROUSAL_RANGE = 0.60  # log units
AROUSAL_LEVEL = 6.0  # dB
AROUSAL_TILT = 2.0  # dB/octave
AROUSAL_RATE = 0.15  # log units
# --- what one unit of valence does
# Smiling shortens the vocal tract, which raises the formants and a little the pitch [published, direction only: Ohala
# 1980, J. Acoust. Soc. Am. 68:S33; Tartter 1980, Percept. Psychophys. 27:24]; spectral balance tells valence too
# [published: Goudbeek and Scherer 2010, J. Acoust. Soc. Am. 128:1322], and harsh voices are flatter.
VALENCE_SCALE = 0.04  # log units
VALENCE_PITCH = 0.05  # octaves
VALENCE_TILT = -0.5  # dB/octave
# --- how an unmoved voice speaks
RANGE = 2.0  # [chosen] semitones (sd)
SYLLABLES = 4.5  # per second [published: Ding et al. 2017, Neurosci. Biobehav. Rev. 81:181: 4-5 Hz in nine languages]

# Beats that a patch can reach [derived]: a fixed number, so that what is drawn does not depend on what is felt.
N_BEATS = 3 + math.ceil((N_FRAMES - 1) * HOP_S * SYLLABLES * math.exp(AROUSAL_RATE))

# --- speech sounds
# Women's formants are 16% above men's [derived from Peterson and Barney's means]; the average tract lies between.
MEN_SCALE = 0.93
# First three formants (rows) of the vowels of men, Hz [published: Peterson and Barney 1952, Table II], in the order of
# heed, hid, head, had, hod, hawed, hood, who'd, hud, heard.
VOWELS = (
    (270, 390, 530, 660, 730, 570, 440, 300, 640, 490),
    (2290, 1990, 1840, 1720, 1090, 840, 1020, 870, 1190, 1350),
    (3010, 2550, 2480, 2410, 2440, 2410, 2240, 2240, 2390, 1690),
)
TUBE = 500.0  # Hz [derived] a quarter wave of the average tract; higher formants are a uniform tube's, (2n - 1) TUBE
BANDWIDTHS = (80.0, 100.0, 140.0, 200.0, 250.0, 300.0, 350.0, 400.0)  # [chosen] near Fant's 1960 values, rising with n
SYLLABLE_DB = 25.0  # [chosen] drop of energy between two syllables
UNVOICED = 0.35  # [chosen] share of the consonants between syllables that are hissed
FRICTION_HZ = (2500.0, 6000.0)  # [chosen] where the hiss peaks, "sh" to "s"
FRICTION_DB = -22.0  # [chosen] below the strongest harmonic
BREATH_DB = -25.0  # [chosen]
CONTOUR_HZ = 1.5  # [chosen] a rise and fall of the pitch in two thirds of a second
TAKE_DB = 3.0  # [chosen] sd of the distance to the microphone
# [chosen] Rooms of videos from the web: power below that of the average unmoved voice, with a sd over videos; falls by
# 3 dB/octave. REFERENCE_DB is that voice's power in the mel bands [derived: measured over 2,000 voices].
ROOM_DB, ROOM_SD_DB = -25.0, 6.0
REFERENCE_DB = -10.0
FLOOR = 1e-9  # keeps the logarithm of a silent band finite

# --- tone of voice, scored as by Vokaturi: what the scorer hears is feeling through the voice, with errors
# Where each of TONES lies in valence and arousal, neutral in the middle [published, direction only: Russell 1980,
# J. Pers. Soc. Psychol. 39:1161].
TONE_CENTRES = ((0.6, 0.5), (-0.6, -0.5), (-0.6, 0.6), (-0.4, 0.8))
TONE_WIDTH = 0.45  # [chosen]
# What the scorer makes of the three cues to arousal, against the average voice of the world; by pitch and tilt a
# person's own voice passes for feeling.
CUE_WEIGHTS = {"pitch": 0.2, "tilt": 0.2, "level": 0.6}  # [chosen] so that voices bias it by about 0.3 (sd)
USUAL_PITCH = math.sqrt(math.prod(c.PITCH_HZ))  # [derived] the middle of the range, on its log scale
USUAL_TILT = sum(c.TILT_DB_PER_OCTAVE) / 2  # [derived]
# Listeners' ratings follow vocal cues for activation but not for valence [published, direction only: Laukka, Juslin
# and Bresin 2005, Cogn. Emot. 19:633].
HEARD_VALENCE_SD, HEARD_AROUSAL_SD = 0.5, 0.25  # [chosen]
# [chosen] Of turns of medium length and level, one in twenty has no scores, of short and soft ones more: one in ten of
# a conversation.
INVALID = 0.05
INVALID_S = 4.5  # medium length, seconds [published: Busso et al. 2008: the mean turn of IEMOCAP]
INVALID_PER_LOG_S = -1.5  # [chosen] log-odds per log unit of length
INVALID_PER_DB = -0.1  # [chosen] log-odds per dB of level

CHUNK = 8  # patches worked out at once: a float32 spectrogram of them is 0.5 MB and stays in cache


def prosody(valence_arousal: Tensor, voice: Tensor) -> dict[str, Tensor]:
    """How people with the voices (N, 3) of `People` speak when they feel `valence_arousal` (N, 2) in [-1, 1].

    Returns:
        Float (N,) each: mean `pitch` (f0, Hz), `pitch_range` (sd of f0, semitones), `level` (dB against the same
        person unmoved), `tilt` (dB/octave), `formant_scale`, `syllable_rate` (per second).
    """
    valence, arousal = valence_arousal.unbind(1)
    pitch, scale, tilt = voice.unbind(1)
    return {
        "pitch": pitch * 2 ** (AROUSAL_PITCH * arousal + VALENCE_PITCH * valence),
        "pitch_range": RANGE * (AROUSAL_RANGE * arousal).exp(),
        "level": AROUSAL_LEVEL * arousal,
        "tilt": tilt + AROUSAL_TILT * arousal + VALENCE_TILT * valence,
        "formant_scale": scale * (VALENCE_SCALE * valence).exp(),
        "syllable_rate": SYLLABLES * (AROUSAL_RATE * arousal).exp(),
    }


# --- log-mel patches ------------------------------------------------------------------------------------------------


def log_mel(valence_arousal: Tensor, voice: Tensor, speaking: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mel patches, float32 (N, 64 bands, 64 frames), natural logarithm of power; 0.63 s of sound each.

    Args:
        valence_arousal: (N, 2) in [-1, 1], what the speaker feels.
        voice: (N, 3), as `People` have it: pitch (Hz), formant scale, tilt (dB/octave).
        speaking: bool (N,); where false, there is only the noise of the room.
    """
    spoken = prosody(valence_arousal.float(), voice.float())
    patches = torch.empty(len(speaking), N_BANDS, N_FRAMES)
    for start in range(0, len(speaking), CHUNK):
        rows = slice(start, start + CHUNK)
        power = _power({name: values[rows] for name, values in spoken.items()}, speaking[rows], generator)
        patches[rows] = (power @ MEL_FILTERS).clamp(min=FLOOR).log().transpose(1, 2)
    return patches


BINS = torch.arange(FFT // 2 + 1) * (SAMPLE_RATE / FFT)  # of the spectrum, Hz


def mel_filters() -> Tensor:
    """Weights (257 bins, 64 bands) of triangles even in mel, each of area one.

    Slaney's mel: linear up to 1 kHz, logarithmic above (Auditory Toolbox, 1998), as in librosa and NeMo.
    """
    step = math.log(6.4) / 27
    top = 15 + math.log(SAMPLE_RATE / 2 / 1000) / step  # in mel, of 200/3 Hz each up to 1 kHz
    mel = torch.linspace(0, top, N_BANDS + 2, dtype=torch.float64)
    edges = torch.where(mel < 15, mel * 200 / 3, 1000 * (step * (mel - 15)).exp())
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    f = BINS.double()[:, None]
    triangles = torch.minimum((f - low) / (centre - low), (high - f) / (high - centre)).clamp(min=0)
    return (triangles * 2 / (high - low)).float()


MEL_FILTERS = mel_filters()
# A spectrum (257,) that falls by 3 dB/octave, of power one in the mel bands.
PINK = 1 / BINS.clamp(min=50)
PINK = PINK / (PINK @ MEL_FILTERS).sum()


def _power(spoken: dict[str, Tensor], speaking: Tensor, generator: torch.Generator) -> Tensor:
    """Power spectra (n, 64 frames, 257 bins) of n patches."""
    n, f = len(speaking), BINS
    time = torch.arange(N_FRAMES) * HOP_S
    uniform = torch.rand(3, n, 1, generator=generator)

    # Syllable k runs from beat k to beat k + 1 and is loudest in the middle of it.
    beat = uniform[0] + spoken["syllable_rate"][:, None] * time
    consonant = (1 + (2 * math.pi * beat).cos()) / 2  # 1 on the beat, 0 half-way to the next
    hissed = torch.rand(n, N_BEATS, generator=generator) < UNVOICED
    hiss = consonant**3 * hissed.gather(1, beat.round().long())
    loudness = 10 ** (-SYLLABLE_DB / 10 * consonant) * (1 - hiss)

    take = 10 ** ((spoken["level"] + TAKE_DB * torch.randn(n, generator=generator)) / 10) * speaking
    source = (take[:, None] * (f / 200).clamp(min=1) ** (spoken["tilt"][:, None] / (10 * math.log10(2))))[:, None]
    resonant = source * _formants(spoken["formant_scale"], beat, generator)

    # f0(t) of the wanted mean and sd on a scale of semitones.
    contour = math.sqrt(2) * (2 * math.pi * (uniform[1] + CONTOUR_HZ * time)).sin()
    f0 = spoken["pitch"][:, None] * 2 ** (spoken["pitch_range"][:, None] * contour / 12)

    peak = FRICTION_HZ[0] + (FRICTION_HZ[1] - FRICTION_HZ[0]) * uniform[2]
    band = 1 / (1 + ((f / peak - 1) * 4) ** 2)  # (n, 257)
    friction = 10 ** (FRICTION_DB / 10) * take[:, None, None] * hiss[..., None] * band[:, None]
    room_db = REFERENCE_DB + ROOM_DB + ROOM_SD_DB * torch.randn(n, 1, 1, generator=generator)
    room = 10 ** (room_db / 10) * PINK
    noise = torch.empty(n, N_FRAMES, len(f)).exponential_(generator=generator)
    breath = 10 ** (BREATH_DB / 10) * loudness[..., None]
    return resonant * (loudness[..., None] * _comb(f, f0) + breath * noise) + noise * (friction + room)


def _comb(f: Tensor, f0: Tensor) -> Tensor:
    """The spectrum (n, 64, 257) of equal harmonics of f0 (n, 64), seen through the analysis window."""
    # Only the two harmonics around a frequency matter: r is the distance to the nearer one, in units of f0.
    ratio = f / f0[..., None]
    r = (ratio - ratio.round()).abs()
    sharpness = -((f0 / WINDOW_HZ) ** 2)[..., None] / 2
    return (sharpness * r**2).exp() + (sharpness * (1 - r) ** 2).exp()


def _formants(scale: Tensor, beat: Tensor, generator: torch.Generator) -> Tensor:
    """Power gain (n, 64, 257) of the vocal tract on its way through vowels drawn at random, one per syllable."""
    n, f2 = len(scale), BINS**2
    vowels = torch.tensor(VOWELS, dtype=torch.float32).T / MEN_SCALE
    targets = vowels[torch.randint(len(vowels), (n, N_BEATS), generator=generator)]  # (n, N_BEATS, 3)

    # From the middle of one syllable to the middle of the next, along a smoothstep.
    passed = (beat + 0.5).floor()
    x = (beat + 0.5 - passed)[..., None]
    before = passed.long()[..., None].expand(-1, -1, 3)
    glide = targets.gather(1, before).lerp(targets.gather(1, before + 1), x * x * (3 - 2 * x))

    # H(f) = prod_n F_n^4 / ((F_n^2 - f^2)^2 + B_n^2 f^2)
    higher = torch.tensor([(2 * i + 1) * TUBE for i in range(vowels.shape[1], len(BANDWIDTHS))])
    gain = torch.ones(n, 1, len(f2))
    for centre, bandwidth in zip((*glide.unbind(2), *higher), BANDWIDTHS, strict=True):
        centre2 = ((scale[:, None] * centre) ** 2)[..., None]
        gain = gain * (centre2**2 / ((centre2 - f2) ** 2 + bandwidth**2 * f2))
    return gain


# --- tone of voice --------------------------------------------------------------------------------------------------


def tone_scores(valence_arousal: Tensor, voice: Tensor, seconds: Tensor, generator: torch.Generator) -> Tensor:
    """Scores (N, 4) in [0, 1] of the tones `TONES`, which sum to one with neutral; NaN rows where there are none.

    The scorer judges arousal by pitch, tilt and level against the average voice, so that people whose voice is high
    or flat by nature seem aroused; valence it hears through the formants, badly.
    A turn that is short or soft may have too little voice to score.

    Args:
        valence_arousal: (N, 2) in [-1, 1], what the speaker feels.
        voice: (N, 3), pitch, formant scale and tilt.
        seconds: (N,), how long each turn lasts.
    """
    spoken = prosody(valence_arousal, voice)
    errors = torch.randn(len(voice), 2, generator=generator)
    arousal = (
        CUE_WEIGHTS["pitch"] * (spoken["pitch"] / USUAL_PITCH).log2() / AROUSAL_PITCH
        + CUE_WEIGHTS["tilt"] * (spoken["tilt"] - USUAL_TILT) / AROUSAL_TILT
        + CUE_WEIGHTS["level"] * spoken["level"] / AROUSAL_LEVEL
        + HEARD_AROUSAL_SD * errors[:, 1]
    )
    valence = (spoken["formant_scale"] / voice[:, 1]).log() / VALENCE_SCALE + HEARD_VALENCE_SD * errors[:, 0]

    heard = torch.stack([valence, arousal], dim=1)
    centres = torch.tensor([*TONE_CENTRES, (0.0, 0.0)], dtype=heard.dtype)
    scores = (-(heard[:, None] - centres).square().sum(2) / (2 * TONE_WIDTH**2)).softmax(dim=1)[:, :-1]

    log_odds = math.log(INVALID / (1 - INVALID)) + INVALID_PER_LOG_S * (seconds / INVALID_S).log()
    log_odds = log_odds + INVALID_PER_DB * spoken["level"]
    invalid = torch.rand(len(voice), generator=generator) < log_odds.sigmoid()
    return scores.masked_fill(invalid[:, None], torch.nan)
