import itertools

import numpy as np
import pytest
import torch

from uncertain_affect.corpora.base import AffectTraces
from uncertain_affect.papers import pen
from uncertain_affect.training.finetune import FineTuningSettings

SOURCE, TARGET = ("a", "b", "c"), ("x", "y")
TRUNK = FineTuningSettings(width=2, lr=1e-2, epochs=1)
SMALL = pen.data.PenSettings(
    seeds=(0, 1), pretraining=TRUNK, trunk=TRUNK, sn_epochs=3, gate_epochs=3, joint_epochs=2, adapt_epochs=4,
    min_steps=0, shares=(10, 50), gap=2.0, batch_size=8,
)  # fmt: skip


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
    return pen.draw_splits(data, SMALL)


@pytest.fixture(scope="session")
def source(data, drawn):
    return pen.train_source(data, drawn[0], SMALL)


@pytest.fixture(scope="session")
def adapted(data, drawn, source):
    return pen.adapt(data, source, drawn[1], SMALL)


@pytest.fixture(scope="session")
def predictions(data, source, adapted):
    return pen.predict(data, source, adapted)
