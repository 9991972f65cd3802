import math

import pytest
import torch
from drawing import seeded
from torch.testing import assert_close

from uncertain_affect.corpora.simulated import voice
from uncertain_affect.corpora.simulated.people import People

AVERAGE = torch.tensor([[150.0, 1.0, -9.0]])


def feel(valence, arousal, n):
    return torch.tensor([[float(valence), float(arousal)]]).expand(n, 2)


def patches(valence=0.0, arousal=0.0, speaking=True, who=AVERAGE, n=200):
    return voice.log_mel(feel(valence, arousal, n), who.expand(n, 3), torch.full((n,), speaking), seeded())


def test_feelings_move_the_voice_as_stated():
    felt = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
    rest, calm, aroused, sad, happy = (voice.prosody(feel(*va, 1), AVERAGE) for va in felt)
    own = {"pitch": 150, "pitch_range": 2, "level": 0, "tilt": -9, "formant_scale": 1, "syllable_rate": 4.5}
    assert {name: values.item() for name, values in rest.items()} == pytest.approx(own)
    assert_close(aroused["pitch"] / calm["pitch"], torch.tensor([2 ** (2 * voice.AROUSAL_PITCH)]))
    for name in ("pitch", "pitch_range", "level", "tilt", "syllable_rate"):
        assert aroused[name] > calm[name], name
    assert_close(aroused["formant_scale"], calm["formant_scale"])
    assert_close(happy["formant_scale"] / sad["formant_scale"], torch.tensor([math.exp(2 * voice.VALENCE_SCALE)]))
    assert happy["pitch"] > sad["pitch"] and happy["tilt"] < sad["tilt"]


@pytest.mark.parametrize("n", [0, 20])
def test_patches_are_finite_float32_mel_by_time_and_repeatable(n):
    felt, voices = torch.rand(n, 2, generator=seeded(2)) * 2 - 1, People.draw(20, seeded()).voice[:n]
    first, again, other = (voice.log_mel(felt, voices, torch.arange(n) % 2 == 0, seeded(seed)) for seed in (0, 0, 1))
    assert first.shape == (n, 64, 64) and first.dtype == torch.float32 and first.isfinite().all()
    assert torch.equal(first, again) and (n == 0 or not torch.equal(first, other))


def test_a_silent_frame_is_the_room_alone():
    spoken, silent = patches(), patches(speaking=False)
    assert spoken.exp().sum((1, 2)).median() > 50 * silent.exp().sum((1, 2)).median()
    # Nothing of the speaker passes.
    assert_close(silent, patches(valence=1, arousal=1, speaking=False, who=torch.tensor([[220.0, 1.1, -6.0]])))
    # The noise of the room has no bands of its own but falls with frequency.
    assert silent.mean((0, 2))[5] > silent.mean((0, 2))[60]


def test_the_average_voice_stands_above_the_room_as_the_constants_say():
    people = People.draw(400, seeded())
    on, off = (torch.full((400,), speaking) for speaking in (True, False))
    power = [voice.log_mel(feel(0, 0, 400), people.voice, x, seeded(1)).exp().sum(1).mean(1) for x in (on, off)]
    assert 10 * power[0].mean().log10() == pytest.approx(voice.REFERENCE_DB, abs=1.0)
    # A level that varies by a sd of s dB has its median at the mean of the dB.
    assert 10 * power[1].median().log10() == pytest.approx(voice.REFERENCE_DB + voice.ROOM_DB, abs=1.0)


@pytest.mark.parametrize("valence", [-0.8, 0.8])
def test_arousal_is_heard_as_energy_and_as_treble(valence):
    calm, aroused = (patches(valence, arousal).exp().sum(2) for arousal in (-0.8, 0.8))  # power in each band
    assert aroused.mean() > 2 * calm.mean()
    centre = [((power * torch.arange(voice.N_BANDS)).sum(1) / power.sum(1)).mean() for power in (calm, aroused)]
    assert centre[1] > centre[0] + 1


def test_harmonics_stand_a_pitch_apart(monkeypatch):
    monkeypatch.setattr(voice, "RANGE", 0.0)
    monkeypatch.setattr(voice, "UNVOICED", 0.0)
    for spacing in (6, 8):  # in bins
        who = torch.tensor([[spacing * voice.SAMPLE_RATE / voice.FFT, 1.0, -6.0]])
        spoken = voice.prosody(feel(0, 0, 32), who.expand(32, 3))
        log_power = voice._power(spoken, torch.ones(32, dtype=torch.bool), seeded()).log().mean((0, 1))
        voiced = log_power[spacing : 8 * spacing]
        assert (voiced[::spacing] > voiced[spacing // 2 :: spacing] + 1).all()


def test_formants_are_the_peaks_of_the_filter(monkeypatch):
    monkeypatch.setattr(voice, "VOWELS", ((500,), (1500,), (2500,)))
    for scale in (0.9, 1.1):
        gain = voice._formants(torch.tensor([scale]), torch.full((1, 1), 0.5), seeded())[0, 0]
        peaks = (gain[1:-1] > gain[:-2]) & (gain[1:-1] > gain[2:])
        found = voice.BINS[1:-1][peaks][:3]
        wanted = torch.tensor([500.0, 1500, 2500]) * scale / voice.MEN_SCALE
        assert_close(found, wanted, atol=voice.SAMPLE_RATE / voice.FFT, rtol=0)


def test_mel_filters_have_area_one_and_follow_slaneys_scale():
    filters = voice.MEL_FILTERS
    assert filters.shape == (257, 64) and (filters.sum(0) > 0).all()
    centres = (filters * voice.BINS[:, None]).sum(0) / filters.sum(0)
    assert (centres.diff() > 0).all()
    assert_close(filters.sum(0)[30:] * voice.SAMPLE_RATE / voice.FFT, torch.ones(34), atol=0.02, rtol=0)
    # 8 kHz is 15 + 27 ln(8)/ln(6.4) = 45.2456 mel, so band k is centred on 45.2456 (k + 1)/65; up to 15 mel (1 kHz)
    # a mel is 66.67 Hz.
    assert centres[14].item() == pytest.approx(45.2456 * 15 / 65 * 200 / 3, abs=8)
    assert centres[59].item() == pytest.approx(1000 * math.exp(math.log(6.4) / 27 * (45.2456 * 60 / 65 - 15)), rel=0.01)


def tones(valence, arousal, n=2000, who=AVERAGE, seconds=voice.INVALID_S):
    return voice.tone_scores(feel(valence, arousal, n), who.expand(n, 3), torch.full((n,), seconds), seeded())


def test_scores_leave_the_rest_to_neutral_and_invalid_turns_are_whole_rows():
    scores = tones(0.2, 0.1)
    unknown = scores.isnan()
    assert (unknown.any(1) == unknown.all(1)).all()
    valid = scores[~unknown.any(1)]
    assert ((valid >= 0) & (valid <= 1)).all()
    assert (valid.sum(1) <= 1).all() and (valid.sum(1) < 1).any()


@pytest.mark.parametrize(("feeling", "tone"), [((0.7, 0.5), 0), ((-0.7, -0.6), 1), ((-0.7, 0.5), 2), ((-0.4, 1.0), 3)])
def test_each_tone_scores_highest_where_it_is_felt(feeling, tone):
    assert tones(*feeling).nanmean(0).argmax() == tone


def test_a_high_voice_passes_for_an_aroused_one():
    low, high = (tones(0, 0, who=torch.tensor([[pitch, 1.0, -9.0]])) for pitch in (100.0, 230.0))
    assert high[:, [0, 2, 3]].nansum(1).mean() > low[:, [0, 2, 3]].nansum(1).mean() + 0.05
    assert high[:, 1].nanmean() < low[:, 1].nanmean()


def test_one_turn_in_twenty_has_no_scores_and_short_and_soft_ones_more():
    def share(arousal, seconds=voice.INVALID_S):
        return tones(0, arousal, n=20_000, seconds=seconds).isnan().any(1).float().mean()

    assert share(0) == pytest.approx(0.05, abs=0.006) and share(0, seconds=0.5) > 0.5
    assert share(-1) > share(0) > share(1)
