"""Face explorer: move a simulated face, and see what raters say of it, what a model says, and what is true."""

import math
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
from uncertain_affect.notebook.widgets import axes, explore, title
from uncertain_affect.notebook.widgets.classroom import N_VOTES, READERS, SIZES, Classroom, nine

# what the sliders start with: a smile
SMILE = {"au6": 3.0, "au12": 4.0, "au25": 2.0}


def panel(
    room: Classroom,
    *,
    reader: str = "face",
    learnt_from: int = 1000,
    person: int = 0,
    skin_tone: float = 0.3,
    yaw: float = 0.0,
    pitch: float = 0.0,
    light: float = -0.35,
    exposure: float = 0.0,
    blur: float = 0.0,
    occlusion: str = "none",
    **units: float,
) -> Figure:
    """The face; votes of ten raters, the ensemble's p and the truth p*; the three uncertainties and the true entropy.

    Args:
        reader, learnt_from: which ensemble of the classroom is asked.
        person: seed of the face at rest.
        skin_tone: 0 light to 1 dark.
        yaw, pitch, light: radians; light is the direction from the left (< 0) to the right of the picture.
        exposure: stops.
        blur: sd in pixels of a 64-pixel picture.
        occlusion: one of ``faces.OCCLUSIONS``.
        units: intensities from 0 to 5 by name, ``au12=4``; the others are at rest.

    Raises:
        ValueError: a value that is NaN or out of range, or an action unit that the face has not.
    """
    names = [f"au{au}" for au in ACTION_UNITS]
    if unknown := sorted(set(units) - set(names)):
        raise ValueError(f"the face has no {', '.join(unknown)}; it has {', '.join(names)}")
    for name, value in units.items():
        if not 0 <= value <= 5:  # NaN too
            raise ValueError(f"{name} is {value}: intensities run from 0 to 5")
    if not 0 <= skin_tone <= 1:  # or eyes and hair, which follow it, would be named
        raise ValueError(f"skin_tone is {skin_tone}: it runs from 0 to 1")
    if occlusion not in OCCLUSIONS:
        raise ValueError(f"occlusion is {occlusion!r}: expected one of {', '.join(OCCLUSIONS)}")
    u = torch.tensor([[units.get(name, 0.0) for name in names]])
    who = Identity.draw(1, torch.Generator().manual_seed(person), skin_tone=skin_tone)
    set_to = {"yaw": yaw, "pitch": pitch, "light_azimuth": light, "exposure": exposure, "blur": blur}
    conditions = replace(
        Nuisance.none(1),
        **{name: torch.tensor([float(value)]) for name, value in set_to.items()},
        occlusion=torch.tensor([OCCLUSIONS.index(occlusion)]),
        occlusion_extent=torch.tensor([0.6]),
    )
    with torch.inference_mode():  # a fifth faster
        image = render(u, who, conditions, size=48)
    p = raters.label_distribution(u, conditions)
    votes = raters.vote(p, N_VOTES, torch.Generator().manual_seed(0))[0, :9].numpy()
    truth = nine(p)[0].numpy()
    said = room.predict(reader, learnt_from, room.read(reader, u, conditions, image)).numpy()  # (M, 1, 9)
    return _draw(image[0].numpy(), votes, truth, said)


def _draw(image: np.ndarray, votes: np.ndarray, truth: np.ndarray, said: np.ndarray) -> Figure:
    total, aleatoric, epistemic = (float(part[0]) for part in metrics.entropy_decomposition(said))
    of_truth = float(metrics.entropy(truth[None])[0])
    figure, (face, classes, parts) = axes([2.1, 3.0, 3.0], height=3.0, left=0.15, gap=0.95)
    face.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    title(face, "what all of them see")
    face.axis("off")

    rows = np.arange(len(CLASSES))
    classes.barh(rows, votes / N_VOTES, color="0.82", linewidth=0, label=f"{N_VOTES} votes")
    classes.hlines(rows, said[:, 0].min(0), said[:, 0].max(0), color=plots.COLOURS["UncNet"], linewidth=2)
    classes.plot(said[:, 0].mean(0), rows, "o", color=plots.COLOURS["UncNet"], markersize=5, label="model, members")
    classes.plot(truth, rows, "d", color="0.1", markersize=5, markerfacecolor="none", label="truth")
    classes.set_yticks(rows, CLASSES, fontsize=8)
    classes.invert_yaxis()
    classes.set(xlim=(0, 1.02), xticks=[0, 0.5, 1], xlabel="share or probability")
    classes.legend(fontsize=7, loc="lower right")

    parts.barh([0], [of_truth], color="0.35", height=0.3)
    parts.barh([1], [aleatoric], color=plots.COLOURS["U_a"], height=0.3, label="$U_a$")
    parts.barh([1], [epistemic], left=[aleatoric], color=plots.COLOURS["U_e"], height=0.3, label="$U_e$")
    parts.set_yticks([0, 1], ["truth", "model"], fontsize=8)
    parts.text(0.02, 0.2, f"entropy {of_truth:.2f}", fontsize=8)
    parts.text(0.02, 1.2, f"{total:.2f} = {aleatoric:.2f} + {epistemic:.3f}", fontsize=8)
    parts.set(xlim=(0, math.log(len(CLASSES))), ylim=(-0.4, 1.9), xticks=[0, 1, 2], xlabel="nat (most: log 9 = 2.20)")
    title(parts, "$U_t = U_a + U_e$")
    parts.legend(fontsize=8, loc="upper right", ncols=2)
    return figure


def controls(room: Classroom) -> VBox:
    """The panel below its sliders."""

    def slider(value: float, low: float, high: float, step: float = 0.1) -> FloatSlider:
        return FloatSlider(value, min=low, max=high, step=step)

    return explore(
        lambda **values: panel(room, **values),
        reader=Dropdown(options=READERS, description="model reads"),
        learnt_from=SelectionSlider(options=SIZES, value=1000, description="learnt from"),
        person=IntSlider(0, 0, 20),
        skin_tone=slider(0.3, 0, 1, 0.05),
        yaw=slider(0, -0.7, 0.7, 0.05),
        pitch=slider(0, -0.4, 0.4, 0.05),
        light=slider(-0.35, -1.4, 1.4, 0.05),
        exposure=slider(0, -2, 2),
        blur=slider(0, 0, 6, 0.25),
        occlusion=Dropdown(options=OCCLUSIONS),
        **{f"au{au}": slider(SMILE.get(f"au{au}", 0.0), 0, 5, 0.25) for au in ACTION_UNITS},
    )
