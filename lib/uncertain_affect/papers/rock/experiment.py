"""What all notebooks on HAN-ROCK begin with where they train: corpora, primary tasks and settings."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uncertain_affect.corpora.base import Dialogues
from uncertain_affect.papers.rock.protocol import RockSettings, embeddings, settings
from uncertain_affect.papers.rock.tasks import QUICK, Problem, load, problem, problems


@dataclass(frozen=True, eq=False)
class Experiment:
    """Corpora by form, primary tasks by name, and how they are learnt.

    Attributes:
        targets: form and target of each task, by its name.
    """

    settings: RockSettings
    glove: Path | None
    forms: Mapping[str, Dialogues]
    targets: Mapping[str, tuple[str, str]]
    problems: Mapping[str, Problem]

    @property
    def checksum(self) -> str:
        return "-".join(corpus.checksum() for corpus in self.forms.values())

    def described(self) -> dict:
        """The settings, with the number of seeds planned, as JSON holds them."""
        values = dataclasses.asdict(self.settings) | {"glove": self.glove is not None}
        values["n_seeds"] = len(values.pop("seeds"))
        values["pri_gru"] = {str(printed): size for printed, size in self.settings.pri_gru.items()}
        return values


def prepare(
    profile: str, corpus: str, seed: int, device: str, n_trials: int = 0, root: str | os.PathLike = ""
) -> Experiment:
    """Load a corpus and make its primary tasks ready; quick takes one of each form.

    Args:
        n_trials: of each list; 0 for those of the profile.
        root: of the data; "" for the default.
    """
    chosen, glove = embeddings(settings(profile, seed, device, n_trials or None), root or None)
    forms = load(corpus, profile, seed, root or None)
    targets = {name: (form, target) for form, target, name in problems(forms, QUICK if profile == "quick" else None)}
    ready = {name: problem(forms[form], form, what, chosen, glove=glove) for name, (form, what) in targets.items()}
    return Experiment(chosen, glove, forms, targets, ready)
