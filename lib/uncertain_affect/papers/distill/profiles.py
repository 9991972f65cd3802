"""The settings of a run, and those of the profiles quick and full."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Tuning:
    """How trunks and encoders of sound are pretrained, and tuned before they are frozen: Adam, its rate over one cycle.

    Attributes:
        width, repeats: of `MobileFaceNet` and `MarbleNet`.
        pictures, start_epochs, start_lr: of pretraining, on simulated pictures of other people.
        lr: the highest learning rate of tuning.
        epochs: passes of tuning over the training frames.
        batch_size: frames a step.
    """

    width: float = 1.0
    repeats: float = 1.0
    pictures: int = 30_000
    start_epochs: int = 10
    start_lr: float = 6e-3
    lr: float = 2e-3
    epochs: int = 3
    batch_size: int = 32


@dataclass(frozen=True)
class DistillSettings:
    """Everything that decides a run.

    From the release: Adam at 1e-3, tenfold slower every ``decay`` epochs; EMENet-V 10 epochs of clips of 16 frames,
    five to a minibatch and task, EMENet-VA 15 of 8 frames, eight; dropout .5 before the linear layer; ensembles of
    five; three generations. The trunk's tuning and the shared layer are ours.

    Attributes:
        tuning: of the trunk and the encoder of sound.
        audio: EMENet-VA.
        members: N, the size of an ensemble.
        hidden: width of the GRUs' states.
        shared: width of the layer that a member's tasks share on frozen features; None without one.
        clip, clips: frames of a clip, clips of a minibatch.
        tuning_share: of the training videos, held out of all training: Algorithm 1, the best epoch and temperatures
            look at them, so that the validation set is only scored.
        n_samples: passes of Monte Carlo dropout.
        side_by_side: copies trained at once on frozen features; more of them do not fit the processor's cache.
        faithful_to_release: GRUs run across the clips of a minibatch in training and see single frames in validation;
            Algorithm 1's counters start at 0 and weights never come back; Monte Carlo dropout stays off.
        end_to_end: every member trains its own trunk.
    """

    seeds: tuple[int, ...]
    tuning: Tuning
    audio: bool = False
    members: int = 5
    generations: int = 3
    hidden: int = 128
    shared: int | None = None
    clip: int = 16
    clips: int = 5
    lr: float = 1e-3
    decay: int = 3
    epochs: int = 10
    dropout: float = 0.5
    tuning_share: float = 0.2
    n_samples: int = 10
    side_by_side: int = 50
    faithful_to_release: bool = False
    end_to_end: bool = False


def settings(
    profile: str, seed: int = 0, audio: bool = False, corpus: str = "simulated", device: str = "cpu"
) -> DistillSettings:
    """The settings of a profile; seeds count up from ``seed``.

    In quick, trunk and heads are a quarter as wide as published, and the trunk is frozen before the members train; in
    full every member trains a network of the published size, for which a GPU is needed. On FER+ either profile
    trains heads on frozen features; on a GPU full trains small convolutional networks from scratch instead, a quarter
    as wide as published, on the 48 x 48 pixels. Of single images there is no clip, and a minibatch has 256 of them.

    Raises:
        ValueError: no such profile.
    """
    if profile not in ("quick", "full"):
        raise ValueError(f'PROFILE must be "quick" or "full", not {profile!r}')
    seeds = tuple(range(seed, seed + (5 if profile == "quick" else 20)))
    narrow = Tuning(width=0.25, repeats=0.25)
    if corpus == "ferplus":
        images = {"clip": 1, "clips": 256, "hidden": 64}
        if profile == "full" and device.startswith("cuda"):
            return DistillSettings(seeds, narrow, end_to_end=True, **images)
        return DistillSettings(seeds, Tuning(), shared=64, side_by_side=25, **images)
    clips = {"clip": 8, "clips": 8, "decay": 4, "epochs": 15} if audio else {}
    if profile == "full":
        return DistillSettings(seeds, Tuning(), audio, end_to_end=True, **clips)
    tuning = replace(narrow, pictures=3000, start_epochs=3, epochs=2)
    return DistillSettings(seeds, tuning, audio, hidden=32, shared=64, lr=3e-3, **clips)
