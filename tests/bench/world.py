"""What has no peer: the simulated world's views, built from nothing, and the panels."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch

from bench.report import provenance
from uncertain_affect import corpora
from uncertain_affect.metrics import entropy_decomposition
from uncertain_affect.notebook.widgets import (
    algorithm1,
    attention,
    calibration_bench,
    ensemble_students,
    experts_gate,
    face_explorer,
    monte_carlo_dropout,
    picture,
    reject_option,
)
from uncertain_affect.notebook.widgets.classroom import SIZES, classroom
from uncertain_affect.run import layout

VIEWS = ("ferplus", "bp4d", "disfa", "recola", "affwild2", "dialogues")


def views(folder: Path, names: Sequence[str] = VIEWS) -> pd.DataFrame:
    """Time the quick views of the simulated world, each built once from an empty cache, for ``simulated.csv``."""
    rows = []
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, UNCERTAIN_AFFECT_CACHE=cache):
        for name in names:
            seconds = _seconds(lambda name=name: corpora.load("simulated", view=name, size="quick"))
            rows.append({"work": f"seconds to build view {name}, quick", "value": seconds})
    return _written(folder / "simulated.csv", rows, 4, provenance())


def panels(folder: Path, repeats: int = 20) -> pd.DataFrame:
    """Time an update of each panel, for ``panels.csv``: its figure and the picture that goes to the browser.

    The median of ``repeats``; panels draw with one thread.
    """
    torch.set_num_threads(1)
    room = classroom()
    probs, votes = room.predict("pixels", 3000), room.test.votes
    u = entropy_decomposition(probs)
    mean, uncertainties = probs.mean(0), {"U_t": u.total, "U_a": u.aleatoric, "U_e": u.epistemic}
    passes = {0.2: probs.repeat(monte_carlo_dropout.N_PASSES // len(probs), 1, 1)[:, :100]}
    groups = {"class": room.test.truth.argmax(1).numpy()}
    generations = {name: room.predict("face", n) for name, n in zip(("Tea", "Stu1", "Stu2"), SIZES, strict=False)}
    gate, score = dict.fromkeys((0, 5, 50), np.full((9, 9), 1 / 9)), dict.fromkeys((0, 5, 50), np.zeros((9, 2)))
    people = [f"person {i}" for i in range(1, 10)]
    words = [["word"] * 12] * 4
    made = {
        "face explorer, reads face": lambda: face_explorer.panel(room, **face_explorer.SMILE),
        "face explorer, reads pixels": lambda: face_explorer.panel(room, reader="pixels", **face_explorer.SMILE),
        "calibration bench": lambda: calibration_bench.panel(mean, votes),
        "Monte Carlo dropout": lambda: monte_carlo_dropout.panel(passes, rate=0.2, n_passes=100),
        "reject option": lambda: reject_option.panel(mean, votes, uncertainties, groups, by="U_e"),
        "ensemble and students": lambda: ensemble_students.panel(
            generations, room.test.truth, members=3, generation="Tea"
        ),
        "experts and gate": lambda: experts_gate.panel(gate, score, people, people, person=people[0], share=5),
        "attention": lambda: attention.panel([0.25] * 4, words, [[1 / 12] * 12] * 4, turn=3),
        "Algorithm 1": lambda: algorithm1.panel(algorithm1.SCORES),
    }
    rows = []
    for name, panel in made.items():
        seconds = [_seconds(lambda panel=panel: picture(panel(), compress_level=1)) for _ in range(repeats + 1)]
        milliseconds = 1000 * statistics.median(seconds[1:])  # the first warms caches of fonts and formulas
        rows.append({"panel": name, "milliseconds": milliseconds})
    return _written(folder / "panels.csv", rows, 3, {"repeats": repeats, **provenance()})


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _written(path: Path, rows: list[dict], digits: int, about: dict) -> pd.DataFrame:
    """The table, printed and written with what it was measured on beside it."""
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=f"{{:.{digits - 3}f}}".format), flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format=f"%.{digits}g")
    layout.write_json(path.with_suffix(".json"), about)
    return table
