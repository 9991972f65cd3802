import math

import numpy as np
import pytest
import torch
from drawing import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.testing import assert_close

from uncertain_affect.corpora import talkturns
from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import conversation, voice
from uncertain_affect.corpora.simulated.people import People
from uncertain_affect.papers.rock import monah

AT = {word: i for i, word in enumerate(conversation.VOCABULARY)}


def correlation(a, b):
    return float(np.corrcoef(np.asarray(a, float), np.asarray(b, float))[0, 1])


def n_words(corpus):
    return np.array([len(text.split()) for text in corpus.turns])


@pytest.fixture(scope="module")
def iemocap():
    return [conversation.dialogues("iemocap", "full", seeded(seed)) for seed in range(4)]


@pytest.fixture(scope="module")
def semaine():
    return conversation.dialogues("semaine", "full", seeded())


@pytest.fixture(scope="module")
def talk():
    """2,000 turns of 20 people whose feelings wander widely."""
    mean = torch.randn(50, 2, 3, generator=seeded(6)) * 0.6
    where = {"dialogue": [f"{i:02d}" for i in range(50)], "split": ["train"] * 50}
    n_turns, pair, names = torch.full((50,), 40), torch.arange(50) % 10, [f"person {i}" for i in range(20)]
    return conversation.converse(People.draw(20, seeded(5)), names, pair, mean, n_turns, "iemocap", seeded(7), **where)


@pytest.mark.parametrize("contagion", [conversation.CONTAGION, 0.0])
def test_feelings_have_the_stated_mean_spread_inertia_and_contagion(monkeypatch, contagion):
    monkeypatch.setattr(conversation, "CONTAGION", contagion)
    mean = torch.randn(3000, 2, 3, generator=seeded(1))
    z = (conversation.feelings(mean, 30, seeded()) - mean[:, None]).double()
    want = conversation.TURN_SD**2 * torch.tensor(conversation.CORRELATION).double()
    for turn in (0, 29):  # stationary from the first turn on
        assert_close(z[:, turn].mean(0), torch.zeros(2, 3).double(), atol=0.03, rtol=0)
        for speaker in (0, 1):
            assert_close(z[:, turn, speaker].T.cov(), want, atol=0.012, rtol=0)
    # Yule-Walker: cov(z_t, z_{t-1}) = A cov(z_t) with A of inertia and contagion.
    valence = z[:, :, :, 0]
    now, before = valence[:, 1:].reshape(-1, 2), valence[:, :-1].reshape(-1, 2)
    carry = torch.linalg.lstsq(before, now).solution.T
    a, b = conversation.INERTIA, contagion
    assert_close(carry, torch.tensor([[a, b], [b, a]]).double(), atol=0.01, rtol=0)


def test_probabilities_of_a_few_hundred_plain_words_follow_feeling_and_topic():
    words = conversation.VOCABULARY
    assert 250 < len(words) < 500 and len(set(words)) == len(words)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)
    felt = torch.tensor([[-0.7, 0.6, 0.5], [0.8, 0.5, 0.3], [-0.7, -0.5, -0.5]])
    p = conversation.word_probabilities(felt, torch.tensor([0, 0, 1]))
    assert_close(p.sum(1), torch.ones(3))
    assert p[:, AT["hate"]].argmax() == 0
    assert p[:, AT["wonderful"]].argmax() == 1
    assert p[:, AT["tears"]].argmax() == 2
    assert p[0, AT["kitchen"]] == p[1, AT["kitchen"]] > p[2, AT["kitchen"]] == 0
    # A word of no topic and no feeling is as likely whatever is felt.
    assert_close(p[:, AT["the"]], p[:1, AT["the"]].expand(3))


def test_words_come_as_often_as_their_probability_says():
    felt = torch.tensor([[-0.7, 0.6, 0.5]]).expand(4000, 3)
    topic = torch.zeros(4000, dtype=torch.long)
    texts = conversation.draw_texts(felt, topic, torch.full((4000,), 10), seeded())
    words, counts = np.unique(talkturns.spoken_text(" ".join(texts)).split(), return_counts=True)
    p = conversation.word_probabilities(felt[:1], topic[:1])[0]
    expected = 40_000 * p[[AT[word] for word in words]].numpy()
    assert counts.sum() == 40_000
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 5).all()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 1000))
def test_texts_have_the_number_of_words_asked_for(lengths, seed):
    felt = torch.rand(len(lengths), 3, generator=seeded(seed)) * 1.8 - 0.9
    topic = torch.zeros(len(lengths), dtype=torch.long)
    texts = conversation.draw_texts(felt, topic, torch.tensor(lengths), seeded(seed))
    assert [len(talkturns.spoken_text(text).split()) for text in texts] == lengths


def test_times_of_a_case_worked_by_hand():
    dialogue, delay = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([9.0, 0.2, -0.3, -5.0, 9.0, 0.0])
    seconds = torch.tensor([2.0, 1.0, 0.5, 3.0, 4.0, 1.0]).double()
    start, end = conversation._times(dialogue, seconds, delay)
    # 0-2, then 2.2-3.2, then 2.9-3.4, then at the earliest after 20% of 0.5 s: 3.0-6.0; a new dialogue starts at 0.
    assert_close(start, torch.tensor([0, 2.2, 2.9, 3.0, 0, 4.0]).double(), atol=1e-6, rtol=0)
    assert_close(end - start, seconds, atol=1e-6, rtol=0)


def test_arousal_makes_talk_fast_long_and_prompt(talk):
    arousal = talk.truth["felt"][:, 1]
    assert correlation(arousal, talkturns.words_per_minute(n_words(talk), talk.start, talk.end)) > 0.15
    assert correlation(arousal, n_words(talk)) > 0.05
    same_dialogue = talk.dialogue[1:] == talk.dialogue[:-1]
    answers = same_dialogue & (talk.speaker[1:] != talk.speaker[:-1])
    gap = (talk.start[1:] - talk.end[:-1]).numpy()
    assert correlation(arousal[1:][answers], gap[answers]) < -0.1
    # One who goes on pauses and does not overlap; one who answers may.
    assert (gap[same_dialogue & ~answers] >= 0).all()
    assert (gap[answers] < 0).any()
    assert (talk.start[1:] >= talk.start[:-1])[same_dialogue].all()


def test_conversations_go_as_published(iemocap, semaine):
    lengths = np.concatenate([n_words(corpus) for corpus in iemocap])
    seconds = torch.cat([corpus.end - corpus.start for corpus in iemocap])
    # Ten speakers a draw: their habits move the mean by some 8% of it.
    assert lengths.mean() == pytest.approx(conversation.TURN_WORDS, rel=0.1)
    assert lengths.std() / lengths.mean() == pytest.approx(0.78, abs=0.1)
    assert seconds.mean().item() == pytest.approx(conversation.TURN_S, rel=0.1)
    for corpus, goes_on in ((iemocap[0], 0.22), (semaine, 0.0)):
        within = corpus.dialogue[1:] == corpus.dialogue[:-1]
        same = (corpus.speaker[1:] == corpus.speaker[:-1])[within]
        assert same.mean() == pytest.approx(goes_on, abs=0.015)
        gap = (corpus.start[1:] - corpus.end[:-1]).numpy()[within][~same]
        assert np.median(gap) == pytest.approx(0.2, abs=0.1)
        assert 0.2 < (gap < 0).mean() < 0.5


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_actions_of_a_still_face_are_those_that_monah_finds(seed):
    draw = np.random.default_rng(seed)
    activity = torch.from_numpy(draw.uniform(-1, 4, (5, 6))).float()
    seconds = torch.from_numpy(draw.uniform(0.05, 2, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversation, "FRAME_SD", 0.0)
        means, actions = conversation.facial_actions(activity, seconds, seeded())
    assert_close(means, activity.clamp(0, 5))
    for row in range(5):
        time = np.arange(int(seconds[row] * conversation.FPS) + 1) / conversation.FPS
        presence = np.tile((activity[row] >= c.BP4D_THRESHOLD).int().numpy(), (len(time), 1))
        assert actions[row].tolist() == talkturns.shown_actions([0.0], [seconds[row]], time, presence)[0].tolist()


def test_fewer_actions_last_through_a_long_turn():
    short, long = (
        conversation.facial_actions(torch.full((500, 6), 1.3), torch.full((500,), seconds), seeded())[1].float().mean(0)
        for seconds in (0.6, 8.0)
    )
    assert (long[1:] < short[1:] - 0.2).all() and long[0] > short[0]  # a smile needs only half a second of it


def test_faces_and_voices_show_what_is_felt(talk):
    units = torch.stack([talk.auxiliary[name] for name in conversation.UNIT_NAMES], 1)
    assert units.mean(0).argmax() == conversation.UNITS.index(25)  # talking parts the lips
    assert ((units >= 0) & (units <= 5)).all()
    valence, smiled = talk.truth["felt"][:, 0], talk.auxiliary["actions"][:, 0].float()
    assert correlation(valence, talk.auxiliary["AU12"]) > 0.3
    assert smiled[valence > 0.5].mean() > smiled[valence < -0.5].mean() + 0.2
    happy, sad = talk.auxiliary["happy"], talk.auxiliary["sad"]
    voiced = ~happy.isnan()
    assert correlation(valence[voiced], happy[voiced]) > 0.3 > -0.3 > correlation(valence[voiced], sad[voiced])


def test_category_votes_are_chances_and_peak_where_the_category_lies():
    felt = torch.tensor(conversation.CENTRES)
    p = conversation.category_distribution(felt)
    assert_close(p.sum(1), torch.ones(5))
    assert (p >= conversation.LAPSE / 5).all()
    assert p.argmax(0).tolist() == [0, 1, 2, 3, 4]


def test_majority_and_intensity_of_cases_worked_by_hand():
    votes = torch.tensor([[3, 0, 0, 0, 0], [1, 2, 0, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 2]])
    assert conversation.majority(votes).tolist() == [0, 1, -1, 4]  # at least two agree
    felt = torch.tensor([[0.0, 0.0, 0.9], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0], [0.9, -0.9, 0.0]])
    assert_close(conversation.intensity(felt), torch.tensor([-1.0, 0.0, 0.0, 0.8]))


def test_distributions_of_ratings_and_traces_agree_with_draws():
    felt = torch.tensor([[-0.9, 0.0, 0.6]])
    spread = conversation.RATING_BIAS_SD, conversation.RATING_SD
    errors = conversation._errors(torch.arange(200_000), 1, *spread, 3, seeded())
    rated = (3 + 2 * (felt.atanh() + errors[:, 0]).tanh()).round().long()
    for scale, chances in enumerate(conversation.rating_distribution(felt)[0]):
        assert_close(torch.bincount(rated[:, scale], minlength=6)[1:] / len(rated), chances, atol=0.005, rtol=0)

    felt = torch.tensor([-0.95, -0.3, 0.0, 0.7])
    spread = conversation.TRACE_BIAS_SD, conversation.TRACE_SD
    errors = conversation._errors(torch.arange(100_000), conversation.N_TRACES, *spread, 4, seeded())
    labels = (felt.atanh() + errors).tanh().mean(1)
    mean, sd = conversation.trace_moments(felt)
    assert_close(mean, labels.mean(0), atol=0.002, rtol=0)
    assert_close(sd, labels.std(0), atol=0, rtol=0.02)


PARTITIONS = {"iemocap": ([5766, 2103, 2170], [6, 2, 2]), "semaine": ([7812, 2264, 1888], [24, 10, 10])}


@pytest.mark.parametrize("size", ["quick", "full"])
@pytest.mark.parametrize("form", PARTITIONS)
def test_partitions_are_the_papers(form, size):
    corpus, (turns, speakers) = conversation.dialogues(form, size, seeded(3)), PARTITIONS[form]
    table, tolerance = corpus.describe(), 0 if size == "full" else 0.02
    assert table["speakers"].tolist() == speakers
    wanted = conversation.SIZES[size] * np.array(turns)
    np.testing.assert_allclose(table["turns"].to_numpy(float), wanted, rtol=tolerance)
    # Nobody speaks in two partitions, and no dialogue is in two.
    for ids in (corpus.speaker, corpus.dialogue):
        parts = [set(ids[corpus.split == split]) for split in ("train", "val", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts))
    # Dialogues come one after another, between two at the most.
    names = np.unique(corpus.dialogue)
    assert (corpus.dialogue[1:] != corpus.dialogue[:-1]).sum() == len(names) - 1
    assert len(set(zip(corpus.dialogue, corpus.speaker, strict=True))) <= 2 * len(names)


def test_iemocap_targets_are_as_frequent_as_published_and_keep_to_their_scales(iemocap):
    want = torch.tensor([conversation.MAJORITY[name] for name in conversation.EMOTIONS]) / 10_039
    shares = torch.stack([functional.one_hot(x.targets["emotion"] + 1, 5).float().mean(0)[1:] for x in iemocap])
    # A draw has ten actors and 150 scenes, so single draws stray; their mean must not.
    assert (shares > 0).all() and (shares - want).abs().max() < 0.04
    assert_close(shares.mean(0), want, atol=0.015, rtol=0)
    assert shares.sum(1).mean().item() == pytest.approx(5531 / 10_039, abs=0.02)
    for name in ("valence", "activation", "dominance"):
        assert set((2 * iemocap[0].targets[name]).unique().tolist()) <= set(range(2, 11))  # halves from 1 to 5
    assert set(iemocap[0].speaker) == {f"Ses{session:02d}{sex}" for session in range(1, 6) for sex in "FM"}


def test_semaine_targets_keep_to_their_scale(semaine):
    assert set(semaine.targets) == {"activation", "intensity", "power", "valence"}
    assert all((values.abs() <= 1).all() for values in semaine.targets.values())
    # Spike angers and Obadiah saddens: the operator more than the user.
    character = np.char.partition(semaine.dialogue, "_")[:, 2]
    operator = np.char.find(semaine.speaker, "operator") > 0
    valence, activation = semaine.targets["valence"].numpy(), semaine.targets["activation"].numpy()
    poppy, spike, obadiah = (character == name for name in ("poppy", "spike", "obadiah"))
    for who in (operator, ~operator):
        assert valence[who & poppy].mean() > valence[who & spike].mean() + 0.2
        assert activation[who & spike].mean() > activation[who & obadiah].mean() + 0.2
    assert valence[operator & poppy].mean() > valence[~operator & poppy].mean()


def test_labels_follow_the_truth_that_is_kept(iemocap, semaine):
    for corpus in iemocap[:2]:
        p = corpus.truth["emotion_distribution"]
        assert torch.equal(corpus.truth["emotion"], p.argmax(1))
        expected = (3 * p**2 - 2 * p**3)[:, :4]  # a majority of three, each with the chance p
        error = ((corpus.targets["emotion"][:, None] == torch.arange(4)).float() - expected).mean(0)
        assert (error.abs() < 4 * (expected * (1 - expected)).mean(0).sqrt() / math.sqrt(len(p))).all()
    corpus = iemocap[0]
    assert_close(corpus.truth["valence"], 3 + 2 * corpus.truth["felt"][:, 0])
    for scale in ("valence", "activation", "dominance"):
        label, expected = corpus.targets[scale], corpus.truth[f"{scale}_distribution"] @ torch.arange(1.0, 6.0)
        assert (label - expected).mean().abs() < 0.25  # ten evaluators' biases do not average out
        assert correlation(label, expected) > 0.8
    # SEMAINE: the label strays from its mean by its sd; 22 x 6 raters' biases do not average out.
    for scale, label in semaine.targets.items():
        standardised = (label - semaine.truth[f"{scale}_mean"]) / semaine.truth[f"{scale}_sd"]
        assert standardised.mean().abs() < 0.4
        assert standardised.std().item() == pytest.approx(1, abs=0.15)


def test_auxiliary_targets_are_what_han_rock_reuses(iemocap, semaine):
    for corpus in (iemocap[0], semaine):
        assert {"AU05", "AU17", "AU20", "AU25", *talkturns.TONES, "actions"} <= set(corpus.auxiliary)
        assert corpus.auxiliary["happy"].isnan().float().mean().item() == pytest.approx(0.1, abs=0.03)
        actions = corpus.auxiliary["actions"]
        assert actions.dtype == torch.bool and actions.shape == (len(corpus), len(talkturns.ACTIONS))
        assert ((actions.float().mean(0) > 0.005) & (actions.float().mean(0) < 0.5)).all()


def test_labels_carry_over_within_a_dialogue(iemocap):
    corpus, valence = iemocap[0], iemocap[0].targets["valence"].numpy()

    def carried(lag):
        pairs = np.all([x[lag:] == x[:-lag] for x in (corpus.dialogue, corpus.speaker)], axis=0)
        return correlation(valence[lag:][pairs], valence[:-lag][pairs])

    assert carried(1) > carried(4) > 0.3


@pytest.mark.parametrize("form", conversation.FORMS)
def test_monah_tells_every_dialogue(form):
    corpus = conversation.dialogues(form, "quick", seeded())
    nouns, names = conversation.nouns(corpus), dict.fromkeys(corpus.dialogue.tolist())
    told = [monah.narrate(conversation.talkturns(corpus, name), nouns) for name in names]
    assert sum(map(len, told)) == len(corpus)
    everything = " ".join(sentence for sentences in told for sentence in sentences)
    pieces = ("the woman", "the man", "smiled", "hundred milliseconds", "slowly", "quickly", "sadly", "dropped jaw")
    assert all(piece in everything for piece in pieces)


def test_the_letter_of_the_name_follows_the_pitch_of_the_voice(iemocap, semaine):
    for corpus in (*iemocap, semaine):
        of = {name: corpus.truth["voice"][corpus.speaker == name, 0] for name in np.unique(corpus.speaker)}
        assert all((values == values[0]).all() for values in of.values())
        for name in of:
            if corpus is semaine:
                assert (of[name][0] > voice.USUAL_PITCH) == name.endswith("F")
            elif name.endswith("F"):
                assert of[name][0] > of[name[:-1] + "M"][0]
    nouns = conversation.nouns(iemocap[0])
    assert nouns["Ses01F"] == "woman" and nouns["Ses05M"] == "man"
