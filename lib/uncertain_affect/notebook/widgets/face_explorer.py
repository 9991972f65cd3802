"""Face explorer: move a simulated face, and see what raters say of it, what a model says, and what is true."""

from dataclasses import replace

import numpy as np
import torch
from ipywidgets import Dropdown, FloatSlider, IntSlider, SelectionSlider, VBox
from matplotlib.figure import Figure

from uncertain_affect import metrics
from uncertain_affect.corpora.simulated import raters
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS, OCCLUSIONS, Identity, Nuisance, render
from uncertain_affect.models.uncnet import CLASSES
from uncertain_affect.notebook import plots
from uncertain_affect.notebook.widgets import axes, bars, explore, finish
from uncertain_affect.notebook.widgets.classroom import N_VOTES, READERS, SIZES, Classroom, nine

NAMES = [f"au{unit}" for unit in ACTION_UNITS]
# what the sliders of action units start with: a smile
SMILE = {"au6": 3.0, "au12": 4.0, "au25": 2.0}
# at rest, least, most and step of an action unit, and of what else may be moved
UNIT = (0.0, 0, 5, 0.25)
SLIDERS = {
    "skin_tone": (0.3, 0, 1, 0.05),
    "yaw": (0, -0.7, 0.7, 0.05),
    "pitch": (0, -0.4, 0.4, 0.05),
    "light": (-0.35, -1.4, 1.4, 0.05),
    "exposure": (0, -2, 2, 0.1),
    "blur": (0, 0, 6, 0.25),
}


def panel(
    room: Classroom, *, reader: str = "face", learnt_from: int = 1000, person: int = 0, occlusion: str = "none", **moved
) -> Figure:
    """The face; votes of ten raters, the ensemble's p and the truth p*; the three uncertainties and the true entropy.

    Args:
        reader, learnt_from: which ensemble of the classroom is asked.
        person: seed of the face at rest.
        occlusion: one of ``faces.OCCLUSIONS``.
        moved: action units by name, ``au12=4``, intensities from 0 to 5, the others are at rest; ``skin_tone`` 0 light
            to 1 dark; ``yaw``, ``pitch`` and ``light`` in radians, light being the direction from the left (< 0) to
            the right of the picture; ``exposure`` in stops; ``blur``, sd in pixels of a 64-pixel picture.

    Raises:
        ValueError: an action unit that the face has not.
    """
    if strange := ", ".join(sorted(moved.keys() - {*NAMES, *SLIDERS})):
        raise ValueError(f"what is moved is {strange}: expected some of {', '.join((*NAMES, *SLIDERS))}")
    u = torch.tensor([[moved.get(name, 0.0) for name in NAMES]])
    values = {name: float(moved.get(name, start)) for name, (start, *_) in SLIDERS.items()}
    who = Identity.draw(1, torch.Generator().manual_seed(person), skin_tone=values.pop("skin_tone"))
    values |= {"light_azimuth": values.pop("light"), "occlusion": OCCLUSIONS.index(occlusion), "occlusion_extent": 0.6}
    conditions = replace(Nuisance.none(1), **{name: torch.tensor([value]) for name, value in values.items()})
    with torch.inference_mode():  # a fifth faster
        image = render(u, who, conditions, size=48)
    p = raters.label_distribution(u, conditions)
    votes = raters.vote(p, N_VOTES, torch.Generator().manual_seed(0))[0, :9].numpy()
    truth = nine(p)[0].numpy()
    probs = room.predict(reader, learnt_from, room.read(reader, u, conditions, image))[:, 0].numpy()  # (M, 9)
    return _draw(image[0].numpy(), votes, truth, probs)


def _draw(image: np.ndarray, votes: np.ndarray, truth: np.ndarray, probs: np.ndarray) -> Figure:
    total, aleatoric, epistemic = map(float, metrics.entropy_decomposition(probs))
    true_entropy = float(metrics.entropy(truth))
    figure, (face, classes, parts) = axes([2.1, 3.0, 3.0], height=3.0, left=0.15, gap=0.95)
    face.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    finish(face, "what all of them see")
    face.axis("off")

    rows = bars(classes, CLASSES, votes / N_VOTES, color="0.82", label=f"{N_VOTES} votes")
    classes.hlines(rows, probs.min(0), probs.max(0), color=plots.COLOURS["UncNet"], linewidth=2)
    classes.plot(probs.mean(0), rows, "o", color=plots.COLOURS["UncNet"], markersize=5, label="model, members")
    classes.plot(truth, rows, "d", color="0.1", markersize=5, markerfacecolor="none", label="truth")
    classes.set(xlim=(0, 1.02), xticks=[0, 0.5, 1], xlabel="share or probability")
    classes.legend(fontsize=7, loc="lower right")

    parts.barh([0], [true_entropy], color="0.35", height=0.3)
    parts.barh([1], [aleatoric], color=plots.COLOURS["U_a"], height=0.3, label="$U_a$")
    parts.barh([1], [epistemic], left=[aleatoric], color=plots.COLOURS["U_e"], height=0.3, label="$U_e$")
    parts.set_yticks([0, 1], ["truth", "model"], fontsize=8)
    parts.text(0.02, 0.2, f"entropy {true_entropy:.2f}", fontsize=8)
    parts.text(0.02, 1.2, f"{total:.2f} = {aleatoric:.2f} + {epistemic:.3f}", fontsize=8)
    parts.set(xlim=(0, np.log(len(CLASSES))), ylim=(-0.4, 1.9), xticks=[0, 1, 2], xlabel="nat (most: log 9 = 2.20)")
    finish(parts, "$U_t = U_a + U_e$")
    parts.legend(fontsize=8, loc="upper right", ncols=2)
    return figure


def controls(room: Classroom) -> VBox:
    """The panel below its sliders."""

    def slider(start: float, low: float, high: float, step: float) -> FloatSlider:
        return FloatSlider(start, min=low, max=high, step=step)

    widgets = {
        "reader": Dropdown(options=READERS, description="model reads"),
        "learnt_from": SelectionSlider(options=SIZES, value=1000, description="learnt from"),
        "person": IntSlider(0, 0, 20),
        **{name: slider(*numbers) for name, numbers in SLIDERS.items()},
        "occlusion": Dropdown(options=OCCLUSIONS),
        **{name: slider(SMILE.get(name, 0.0), *UNIT[1:]) for name in NAMES},
    }
    return explore(panel, room, **widgets)
