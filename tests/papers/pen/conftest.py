import itertools

import numpy as np
import pytest
import torch

from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.papers import pen
from uncertain_affect.papers.pen import training
from uncertain_affect.training.finetune import FineTuningSettings

SOURCE, TARGET = ("a", "b", "c"), ("x", "y")
TRUNK = FineTuningSettings(width=2, lr=1e-2, epochs=1)
SMALL = pen.PenSettings(
    seeds=(0, 1), pretraining=None, trunk=TRUNK, rates=(), grid=(), epochs=3, joint_epochs=2, adapt_epochs=4,
    adapt_steps=12, shares=(10, 50), gap=2.0, batch_size=8,
)  # fmt: skip
WAYS = training.variants(SMALL)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def corpus(n_videos=1, seconds=40, people=(*SOURCE, *TARGET), fps=1.0):
    """Everyone in every video (of a name of their own where there is one), rows in no order."""
    g = np.random.default_rng(0)
    rows = list(itertools.product(people, range(n_videos), range(round(seconds * fps))))
    g.shuffle(rows)
    person, video, time = zip(*rows, strict=True)
    names = [p if n_videos == 1 else f"v{v}" for p, v in zip(person, video, strict=True)]
    x = torch.from_numpy(g.normal(size=(len(rows), 6)))
    y = (x[:, :2] * 0.3 + 0.1 * torch.from_numpy(g.normal(size=(len(rows), 2)))).clamp(-1, 1)
    return AffectTraces(x, y, np.array(person), np.array(names), torch.tensor(time).double() / fps)


def frames(**options):
    made = corpus(**options)
    return pen.frames(made, made.inputs, SOURCE, TARGET)


@pytest.fixture(scope="session")
def data():
    return frames()


@pytest.fixture(scope="session")
def drawn(data):
    return [pen.data.replicate(data, SMALL, seed) for seed in SMALL.seeds]


@pytest.fixture(scope="session")
def source(drawn):
    return pen.train_source(drawn, SMALL, WAYS)


@pytest.fixture(scope="session")
def adapted(drawn, source):
    return pen.adapt(drawn, source, SMALL)


@pytest.fixture(scope="session")
def predictions(drawn, source, adapted):
    return pen.predict(drawn, source, adapted)
