"""Small conversations, and settings for networks that train in a fraction of a second."""

import dataclasses

import numpy as np
import pytest
import torch

from uncertain_affect import corpora
from uncertain_affect.corpora.base import Dialogues
from uncertain_affect.papers import rock

ROCK, NONE, FLAT = rock.Cell("rock", 256, "aphf"), rock.Cell("rock", 256, ""), rock.Cell("flat", 256, "ap")


@pytest.fixture(scope="session")
def settings():
    sizes = dict(pri_gru={256: 4, 1: 1}, total=5, embedding_size=6, word_gru=3, attention=4, max_words=10)
    quick = rock.settings("quick", n_trials=2)
    return dataclasses.replace(quick, seeds=(0, 1), max_epochs=6, content_size=(1, 3), **sizes)


@pytest.fixture(scope="session")
def forms():
    """The simulated corpora, two dialogues of each split."""
    return {form: small(form) for form in ("iemocap", "semaine")}


def small(form):
    corpus = corpora.load("simulated", view="dialogues", form=form)
    names = [list(dict.fromkeys(corpus.dialogue[corpus.split == s].tolist()))[:2] for s in ("train", "val", "test")]
    here = np.isin(corpus.dialogue, np.concatenate(names))
    mask = torch.from_numpy(here)
    fields = {name: getattr(corpus, name)[here] for name in ("turns", "speaker", "dialogue", "split")}
    fields |= {name: getattr(corpus, name)[mask] for name in ("start", "end")}
    for kind in ("targets", "auxiliary"):
        fields[kind] = {name: values[mask] for name, values in getattr(corpus, kind).items()}
    return Dialogues(**fields)


@pytest.fixture(scope="session")
def emotion(forms, settings):
    return rock.problem(forms["iemocap"], "iemocap", "emotion", settings)


@pytest.fixture(scope="session")
def valence(forms, settings):
    return rock.problem(forms["semaine"], "semaine", "valence", settings)
