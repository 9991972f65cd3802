"""The five shapes that corpora come in, the same for simulated, open and licensed data.

All are frozen dataclasses of tensors whose first axis runs over the N examples (images, frames, seconds or
turns). Text is kept in NumPy arrays of strings. Besides its own fields, each carries

- `left_out`: how many rows of the files are not among the N examples, by reason;
- `truth`: for simulated corpora, what generated each example, as tensors (N, ...) by name.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from uncertain_affect.compute.cache import content_key

SPLITS = ("train", "val", "test")
CheckRow = tuple[str, str, str, bool]  # of `check`: what, expected, found, and whether that is fine


class CorpusError(ValueError):
    """A file of a corpus that cannot be used: which file, which line of it (from 1), why, and what to do."""

    def __init__(
        self, reason: str, *, path: str | os.PathLike | None = None, line: int | None = None, cure: str | None = None
    ):
        where = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(f"{where}{reason}{'' if cure is None else f'. {cure}'}")
        self.path, self.line, self.reason, self.cure = path, line, reason, cure


@dataclass(frozen=True, eq=False)
class Corpus:
    """What the five shapes share."""

    left_out: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    truth: Mapping[str, Tensor] | None = field(default=None, kw_only=True)

    def __post_init__(self):
        for name, values in (self.truth or {}).items():
            self._check(f"truth[{name!r}]", values, (...,))
        self._check_fields()

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[2].name))  # the first field of the shape itself

    def checksum(self) -> str:
        """SHA-256 of everything the corpus holds: equal for equal content, wherever it was read from."""
        return content_key(type(self).__name__, {f.name: getattr(self, f.name) for f in fields(self)})

    def describe(self) -> pd.DataFrame:
        """Counts by part (split, fold, video or subset), then a line for each reason for leaving rows out."""
        counts = self._counts()
        unit = counts.columns[0]
        for reason, count in self.left_out.items():
            counts.loc[f"left out: {reason}", unit] = count
        return counts.astype("Int64")

    def left_out_rows(self) -> list[CheckRow]:
        """Rows of `check` that show what is left out, whatever it is."""
        return [(f"left out: {reason}", "some", f"{count:,}", True) for reason, count in self.left_out.items()]

    def _check_fields(self) -> None:
        """Raise unless the fields of the shape are what it says they are."""
        raise NotImplementedError

    def _counts(self) -> pd.DataFrame:
        """Counts, a row for each part; the first column is that of its examples."""
        raise NotImplementedError

    def _check(self, name: str, value, axes: tuple, dtypes: tuple = ()) -> None:
        """Raise unless `value` is a tensor (N, *axes) (None: any length, ...: any axes) of one of the dtypes."""
        whole = (len(self), *axes)
        found = tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
        if ... in axes:
            fits = found[:1] == whole[:1]
        else:
            fits = len(found) == len(whole) and all(w in (None, n) for w, n in zip(whole, found, strict=True))
        if not fits:
            wanted = str(whole).replace("Ellipsis", "...").replace("None", "any")
            raise ValueError(f"{type(self).__name__}.{name} must be a Tensor of shape {wanted}, not {found}")
        if dtypes and value.dtype not in dtypes:
            raise ValueError(f"{type(self).__name__}.{name} must have dtype {dtypes[0]}, not {value.dtype}")

    def _check_text(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
            if not isinstance(value, np.ndarray) or value.shape != (len(self),) or value.dtype.kind != "U":
                raise ValueError(f"{type(self).__name__}.{name} must be an array of {len(self)} strings, not {found}")
        if "split" in names and (others := sorted(set(self.split.tolist()) - set(SPLITS))):
            raise ValueError(f"{type(self).__name__}.split must be one of {SPLITS}, not {others}")

    def _check_values(self, name: str, fine: Tensor, wanted: str) -> None:
        if not fine.all():
            first = fine.logical_not().nonzero()[0].tolist()
            raise ValueError(f"{type(self).__name__}.{name} must be {wanted}; it is not at {first}")


def counted(what: str, expected: int, found: int) -> CheckRow:
    """The row of `check` for two counts that should be equal.

    >>> counted("images", 3579, 12)
    ('images', '3,579', '12', False)
    """
    return what, f"{expected:,}", f"{found:,}", bool(expected == found)


INTEGER = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
FLOAT = (torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Expressions(Corpus):
    """Single face images, each labelled by several annotators who vote for one class.

    Attributes:
        images: uint8 (N, H, W), grey levels.
        votes: int (N, C), how many annotators chose each class.
        split: str (N,), "train", "val" or "test".
        names: str (N,), the image's name in the corpus; not always unique.
        groups: int (N,), images that must count as one observation (identical pixels, one source) share one.
        classes: the C classes in the order of `votes`.
    """

    images: Tensor
    votes: Tensor
    split: np.ndarray
    names: np.ndarray
    groups: Tensor
    classes: tuple[str, ...]

    def _check_fields(self):
        self._check("images", self.images, (None, None), (torch.uint8,))
        self._check("votes", self.votes, (len(self.classes),), INTEGER)
        self._check_values("votes", self.votes >= 0, "0 or more")
        self._check_text("split", "names")
        self._check("groups", self.groups, (), INTEGER)

    def subset(self, mask) -> "Expressions":
        """The examples where the boolean `mask` (N,) is true. What the caller leaves out is not `left_out`.

        Raises:
            ValueError: `mask` is not boolean or not (N,).
        """
        chosen = torch.as_tensor(mask)
        self._check("subset(mask)", chosen, (), (torch.bool,))
        taken = {name: getattr(self, name)[chosen.numpy()] for name in ("images", "votes", "groups", "split", "names")}
        truth = None if self.truth is None else {name: values[chosen] for name, values in self.truth.items()}
        return replace(self, **taken, truth=truth)

    def duplicates_of_training(self) -> Tensor:
        """Which examples (N,), bool, outside the training split share a group with a training example.

        A headline number is given on all test images and on those where this is false.
        """
        training = torch.from_numpy(self.split == "train")
        return torch.isin(self.groups, self.groups[training]) & ~training

    def _counts(self):
        table = pd.DataFrame({"group": self.groups.numpy(), "votes": self.votes.sum(dim=1).numpy()}).groupby(self.split)
        counts = table.agg(images=("group", "size"), groups=("group", "nunique"), votes=("votes", "sum"))
        # Each class is counted by the images in which it has the most votes.
        top = one_hot(self.votes.argmax(dim=1), len(self.classes))  # ties to the first class
        classes = pd.DataFrame(top.numpy(), columns=self.classes).groupby(self.split).sum()
        return counts.join(classes).reindex(SPLITS, fill_value=0)


@dataclass(frozen=True, eq=False)
class ActionUnits(Corpus):
    """Video frames with the facial action units (AUs) that occur in them.

    Attributes:
        images: (N, ...), one face per frame.
        labels: int (N, n_au), 1 where the unit occurs, 0 where it does not, -1 where that is unknown.
        au_names: the n_au units in the order of `labels`, for example "AU1".
        subject: str (N,), the person.
        fold: int (N,), the cross-validation part that the person belongs to.
    """

    images: Tensor
    labels: Tensor
    au_names: tuple[str, ...]
    subject: np.ndarray
    fold: Tensor

    def _check_fields(self):
        self._check("images", self.images, (...,))
        self._check("labels", self.labels, (len(self.au_names),), INTEGER)
        self._check_values("labels", (self.labels >= -1) & (self.labels <= 1), "0, 1 or -1 (unknown)")
        self._check_text("subject")
        self._check("fold", self.fold, (), INTEGER)

    def _counts(self):
        fold = self.fold.numpy()
        counts = pd.Series(self.subject).groupby(fold).agg(frames="size", subjects="nunique")
        labels = pd.DataFrame((self.labels == 1).numpy(), columns=self.au_names)
        labels["unknown labels"] = (self.labels == -1).sum(dim=1).numpy()
        return counts.join(labels.groupby(fold).sum()).rename(index="fold {}".format)


@dataclass(frozen=True, eq=False)
class AffectTraces(Corpus):
    """Valence and arousal followed over time, one example per time step of one person and video.

    Attributes:
        inputs: float (N, D), the features; or uint8 (N, H, W), grey images.
        valence_arousal: float (N, 2), on the corpus's own scale.
        person: str (N,), who is observed.
        video: str (N,), what they watch, or the recording.
        time: float (N,), seconds from the start of the video.
    """

    inputs: Tensor
    valence_arousal: Tensor
    person: np.ndarray
    video: np.ndarray
    time: Tensor

    def _check_fields(self):
        if isinstance(self.inputs, Tensor) and self.inputs.dtype == torch.uint8:
            self._check("inputs", self.inputs, (None, None))
        else:
            self._check("inputs", self.inputs, (None,), FLOAT)
        self._check("valence_arousal", self.valence_arousal, (2,), FLOAT)
        self._check_values("valence_arousal", self.valence_arousal.isfinite(), "finite")
        self._check_text("person", "video")
        self._check("time", self.time, (), FLOAT)

    def _counts(self):
        counts = pd.Series(self.person).groupby(self.video).agg(steps="size", people="nunique")
        return counts.rename(index="video {}".format)


@dataclass(frozen=True, eq=False)
class AffectVideos(Corpus):
    """Video frames with any of three kinds of label, each missing for many frames.

    Attributes:
        frames: (N, ...), one face per frame.
        audio: float (N, ...), the sound around each frame.
        au: int (N, n_au), action units, 0 or 1; -1 where missing.
        expression: int (N,), the class; -1 where missing.
        valence_arousal: float (N, 2) in [-1, 1]; -5 where missing.
        video: str (N,), the video (of one person, where it shows two).
        time: float (N,), seconds from the start of the video.
        subsets: bool (N,) by name, for example "va train"; a frame can be in several.
    """

    frames: Tensor
    audio: Tensor
    au: Tensor
    expression: Tensor
    valence_arousal: Tensor
    video: np.ndarray
    time: Tensor
    subsets: Mapping[str, Tensor]

    def _check_fields(self):
        self._check("frames", self.frames, (...,))
        self._check("audio", self.audio, (...,), FLOAT)
        self._check("au", self.au, (None,), INTEGER)
        self._check_values("au", (self.au >= -1) & (self.au <= 1), "0, 1 or -1 (missing)")
        self._check("expression", self.expression, (), INTEGER)
        self._check_values("expression", self.expression >= -1, "a class, or -1 (missing)")
        self._check("valence_arousal", self.valence_arousal, (2,), FLOAT)
        va = self.valence_arousal
        self._check_values("valence_arousal", (va.abs() <= 1) | (va == -5), "in [-1, 1], or -5 (missing)")
        self._check_text("video")
        self._check("time", self.time, (), FLOAT)
        for name, mask in self.subsets.items():
            self._check(f"subsets[{name!r}]", mask, (), (torch.bool,))

    def _counts(self):
        everything = torch.ones(len(self), dtype=torch.bool)
        counts = {
            name: {
                "frames": int(mask.sum()),
                "videos": len(np.unique(self.video[mask.numpy()])),
                "with action units": int((self.au[mask] >= 0).all(dim=1).sum()),
                "with expression": int((self.expression[mask] >= 0).sum()),
                "with valence and arousal": int((self.valence_arousal[mask] >= -1).all(dim=1).sum()),
            }
            for name, mask in {"all": everything, **self.subsets}.items()
        }
        return pd.DataFrame.from_dict(counts, orient="index")


@dataclass(frozen=True, eq=False)
class Dialogues(Corpus):
    """Talk turns of dialogues, in order, with what is to be predicted for each.

    Attributes:
        turns: str (N,), the text.
        speaker: str (N,).
        dialogue: str (N,).
        start, end: float (N,), seconds; as the corpus has them, so `end` can lie before `start`.
        targets: tensors (N, ...) by name, the tasks.
        auxiliary: tensors (N, ...) by name, what may help to learn them.
        split: str (N,), "train", "val" or "test".
    """

    turns: np.ndarray
    speaker: np.ndarray
    dialogue: np.ndarray
    start: Tensor
    end: Tensor
    targets: Mapping[str, Tensor]
    auxiliary: Mapping[str, Tensor]
    split: np.ndarray

    def _check_fields(self):
        self._check_text("turns", "speaker", "dialogue", "split")
        for name in ("start", "end"):
            self._check(name, getattr(self, name), (), FLOAT)
        for kind in ("targets", "auxiliary"):
            for name, values in getattr(self, kind).items():
                self._check(f"{kind}[{name!r}]", values, (...,))

    def _counts(self):
        table = pd.DataFrame({"dialogues": self.dialogue, "speakers": self.speaker}).groupby(self.split)
        counts = table.nunique()
        counts.insert(0, "turns", table.size())
        return counts.reindex(SPLITS, fill_value=0)


@dataclass(frozen=True)
class About:
    """What a corpus is for, under which terms, how to get it, and how it must lie under the data root."""

    title: str
    purpose: str
    licence: str
    how_to_get: str
    layout: str
