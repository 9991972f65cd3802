"""Six views of one world, each shaped and split like the corpus it stands for.

All views share people, feeling, faces and raters; a view decides who is recorded, doing what, and what is labelled.
`truth` holds what generated each example. Common to the views with faces: `intensities` (N, 17) of
`faces.ACTION_UNITS`, `quality` of the picture (N,) in [0, 1], `skin_tone` (N,), `group` (N,), 1 in the darkest third
of skin tones, which `ferplus` can thin, and `rarity` (N,), see `rarity`.

Pictures are drawn in chunks into memory-mapped files of the cache: memory does not grow with the size of a view.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from uncertain_affect.compute.cache import cache_dir, cached_arrays, code_key, content_key
from uncertain_affect.corpora import base
from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import conversation, feeling, raters, voice
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS, Nuisance, landmarks, render
from uncertain_affect.corpora.simulated.filming import Recordings, Scene, stage
from uncertain_affect.corpora.simulated.people import People

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)
CHUNK = 2000  # single pictures drawn at a time
DARK = 2 / 3  # where the group begins: the darkest third


# --- ferplus -------------------------------------------------------------------------------------------------

FERPLUS_SIZES = {
    "quick": {"train": 3000, "val": 600, "test": 1000},
    "full": {"train": 28_559, "val": 3573, "test": 3579},  # published: the counts of the UncNet paper
}
NOISE_SHARE = 0.3  # of the votes of a noisy class


def ferplus(
    size: str, seed: int, *, thin: str | None = None, thin_share: float = 0.1, noisy_class: str | None = None
) -> base.Expressions:
    """Single pictures of as many people, found by emotion words, with ten votes each: uint8 (N, 48, 48) like FER+.

    Truth, besides the common: `label_distribution` (N, 10), p*(y|x) over the classes; `aleatoric` (N,), its entropy in
    nats over the nine without NF; `label` (N,), the likeliest of these; `yaw` (N,), radians. None of it knows of noise
    that `noisy_class` adds.

    Args:
        size: "quick" (3,000/600/1,000 pictures) or "full" (as many as FER+ has).
        seed: redraws people, pictures and votes.
        thin: None, or "skin_tone": of the darkest third of skin tones only `thin_share` is kept in training. Pictures
            of others take their places: the training set keeps its size, and the other splits are untouched.
        thin_share: in [0, 1].
        noisy_class: None, or an emotion: votes for training pictures with this `label` are each replaced, with
            chance `NOISE_SHARE`, by a vote for any of the eight emotions.
    """
    sizes = FERPLUS_SIZES[size]
    # Each split comes from its own generator, so that what is done to the training set leaves the others as they are.
    shares = {name: thin_share if thin and name == "train" else 1.0 for name in sizes}
    parts = [_ferplus_split(seed, name, n, shares[name]) for name, n in sizes.items()]
    drawn = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    split = np.repeat(list(sizes), list(sizes.values()))
    training = torch.from_numpy(split == "train")

    votes = drawn.pop("votes")
    nine = drawn["label_distribution"][:, :9].double()
    nine = nine / nine.sum(1, keepdim=True)
    truth = drawn | {"label": nine.argmax(1), "aleatoric": torch.special.entr(nine).sum(1).float()}
    if noisy_class is not None:
        rows = (training & (truth["label"] == c.EMOTIONS.index(noisy_class))).nonzero()[:, 0]
        votes[rows] = _with_noise(votes[rows], _generator("ferplus noise", seed))
    truth["group"] = (truth["skin_tone"] > DARK).long()
    truth["rarity"] = rarity(truth, training)

    kept = votes[:, :9].sum(1) > 0  # as the UncNet paper has it
    return base.Expressions(
        images=truth.pop("images"),
        votes=votes,
        split=split,
        names=np.array([f"{name}_{i:05d}" for name, n in sizes.items() for i in range(n)]),
        groups=torch.arange(len(split)),
        classes=raters.CLASSES,
        left_out={"no vote in the nine classes": int((~kept).sum())},
        truth=truth,
    ).subset(kept)


def ferplus_pictures(n: int, generator: torch.Generator) -> tuple[People, Tensor, Nuisance]:
    """Who n pictures show, their intensities (n, 17), and the conditions: the ferplus view before it is rendered."""
    people = People.draw(n, generator)
    counts = torch.tensor([c.FERPLUS_COUNTS[emotion] for emotion in c.EMOTIONS], dtype=torch.float64)
    word = torch.multinomial(counts, n, replacement=True, generator=generator)
    felt = (c.VALENCE_AROUSAL[word] + c.FEELING_SD * torch.randn(n, 2, generator=generator)).clamp(-1, 1)
    return people, feeling.intensities(feeling.display(felt, people, generator)), Nuisance.draw(n, generator)


def _ferplus_split(seed: int, split: str, n: int, share: float) -> dict[str, Tensor]:
    """Votes, pictures and truth of the n examples of a split that keeps this share of its dark faces."""

    def chunks() -> Iterator[dict[str, Tensor]]:
        generator, spare = _generator(f"ferplus {split}", seed), _generator("ferplus spare", seed)
        for start in range(0, n, CHUNK):
            drawn = ferplus_pictures(min(CHUNK, n - start), generator)
            people, intensities, nuisance = _thinned(drawn, share, spare) if share < 1 else drawn
            p = raters.label_distribution(intensities, nuisance)
            labels = {"votes": raters.vote(p, 10, generator), "label_distribution": p}
            yield labels | _pictures(people, intensities, nuisance, 48, generator)

    return _cached(("ferplus", seed, split, share), n, chunks)


def _thinned(drawn: tuple, share: float, generator: torch.Generator) -> tuple[People, Tensor, Nuisance]:
    """`ferplus_pictures`, all but this share of the dark faces replaced by lighter ones."""
    tone = drawn[0].identity.skin_tone
    gone = (tone > DARK) & (torch.rand(len(tone), generator=generator) >= share)
    spare = ferplus_pictures(2 * len(tone), generator)  # more than enough: most faces are lighter
    lighter = (spare[0].identity.skin_tone <= DARK).nonzero()[:, 0]
    row = torch.arange(len(tone))
    row[gone] = len(tone) + lighter[: int(gone.sum())]
    return tuple(_joined(a, b)[row] for a, b in zip(drawn, spare, strict=True))


def _joined(a, b):
    """Rows of a, then of b: tensors, or dataclasses of tensors."""
    if isinstance(a, Tensor):
        return torch.cat([a, b])
    return type(a)(**{name: _joined(values, getattr(b, name)) for name, values in vars(a).items()})


def _with_noise(votes: Tensor, generator: torch.Generator) -> Tensor:
    """Ten votes each for n pictures, (n, 10), every one replaced with the chance `NOISE_SHARE` by any emotion."""
    replaced = torch.binomial(votes.float(), torch.full(votes.shape, NOISE_SHARE), generator=generator).long()
    picks = torch.randint(len(c.EMOTIONS), (len(votes), 10), generator=generator)
    used = torch.arange(10) < replaced.sum(1)[:, None]
    return (votes - replaced).scatter_add(1, picks, used.to(votes.dtype))


def out_of_distribution(n: int, seed: int = 0) -> Tensor:
    """Pictures uint8 (n, 48, 48) of a kind that no training set of faces contains: in equal parts faces upside down,
    negatives of faces, and faces whose quarters are shuffled.
    """
    generator = _generator("out of distribution", seed)
    people, intensities, nuisance = ferplus_pictures(n, generator)
    images = render(intensities, people.identity, nuisance, size=48, generator=generator)
    upside, negative, shuffled = images.tensor_split(3)
    quarters = [shuffled[:, i : i + 24, j : j + 24] for i, j in ((24, 0), (24, 24), (0, 24), (0, 0))]
    shuffled = torch.cat([torch.cat(quarters[:2], 2), torch.cat(quarters[2:], 2)], 1)
    return torch.cat([upside.flip(1), 255 - negative, shuffled])


# --- bp4d, disfa ---------------------------------------------------------------------------------------------

FACE = 64  # pixels a side of the views with films
BP4D_QUICK, DISFA_QUICK = 96, 120  # frames of one person in quick


def bp4d(size: str, seed: int) -> base.ActionUnits:
    """41 people in eight tasks each, frames uint8 (N, 64, 64), twelve action units and three folds, like BP4D.

    Full has as many frames in each task as BP4D (146,847 in all), quick 96 of each person, spread over the same time.

    Truth, besides the common: `label` (N, 12), whether the intensity reaches the threshold; `label_distribution`
    (N, 12), the chance that a coder says so; `aleatoric` (N, 12), its entropy in nats; `valence_arousal` (N, 2);
    `task` (N,), 0 to 7. `rarity` is relative to the frames of the other two folds.
    """
    return _action_units(
        "bp4d", size, seed, bp4d_recordings, c.BP4D_RATES, c.BP4D_FOLDS, c.BP4D_OFFSET, c.BP4D_THRESHOLD
    )


def disfa(size: str, seed: int) -> base.ActionUnits:
    """27 people watching nine clips, frames uint8 (N, 64, 64), eight action units and three folds, like DISFA.

    Full has 130,814 frames, quick 120 of each person, spread over the same time. Truth as for `bp4d`, `task` being
    the clip (0 to 8).
    """
    return _action_units(
        "disfa", size, seed, disfa_recordings, c.DISFA_RATES, c.DISFA_FOLDS, c.DISFA_OFFSET, c.DISFA_THRESHOLD
    )


def bp4d_recordings(people: People, size: str = "quick") -> Recordings:
    """The eight tasks of each person."""
    n, counts, total = len(people), torch.tensor(c.BP4D_TASK_FRAMES), sum(c.BP4D_TASK_FRAMES)
    if size == "full":  # each task's frames shared out as evenly as can be
        frames = (counts + torch.arange(n)[:, None]) // n
    else:
        frames = (counts * BP4D_QUICK / total).round().long().expand(n, -1)
    person, task, frames = torch.arange(n).repeat_interleave(8), torch.arange(8).repeat(n), frames.flatten()
    mean = c.BP4D_TASKS[task] + people.mood[person]
    fps = c.BP4D_FPS * float(frames.double().mean()) * 8 * c.BP4D_PEOPLE / total
    return Recordings(people, person, mean, frames, fps, c.LABORATORY, task.repeat_interleave(frames))


def disfa_recordings(people: People, size: str = "quick") -> Recordings:
    """One recording of each person, who watches one clip after another."""
    n, longest = len(people), c.DISFA_FRAMES if size == "full" else DISFA_QUICK
    clip = (torch.arange(longest) * len(c.DISFA_CLIPS) // longest).expand(n, -1)
    frames = torch.full((n,), longest)
    if size == "full":
        frames[1] -= 1  # published: SN010, the second of the first fold, has one frame less
    mean, fps = c.DISFA_CLIPS[clip] + people.mood[:, None], c.DISFA_FPS * longest / c.DISFA_FRAMES
    task = clip[torch.arange(longest) < frames[:, None]]
    return Recordings(people, torch.arange(n), mean, frames, fps, c.LABORATORY, task)


def population(view: str, n_people: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Activity (N, 17) before the offset, visibility (N, 17) and person (N,) of the frames of a view with n people."""
    wild = partial(affwild2_recordings, generator=generator)
    recorded = {"bp4d": bp4d_recordings, "disfa": disfa_recordings, "affwild2": wild}[view]
    scenes = stage(recorded(People.draw(n_people, generator), "quick"), generator)
    parts = [(scene.activity, raters.visibility(scene.nuisance), scene.person) for scene in scenes]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _action_units(view, size, seed, recorded, rates, folds, offset, threshold) -> base.ActionUnits:
    units = torch.tensor([ACTION_UNITS.index(au) for au in rates])
    names = np.array([name for fold in folds for name in fold])
    generator = _generator(view, seed)
    recordings = recorded(People.draw(len(names), generator), size)

    def coded(scene: Scene, intensities: Tensor) -> dict[str, Tensor]:
        p = raters.coded(intensities, raters.visibility(scene.nuisance), threshold)[:, units]
        return {"labels": torch.bernoulli(p, generator=generator).to(torch.int8), "label_distribution": p}

    truth = _filmed((view, size, seed), recordings, generator, coded, offset=offset)
    person = recordings.person[recordings.frames()[0]]
    fold = torch.tensor([i for i, part in enumerate(folds, 1) for _ in part])[person]
    p = truth["label_distribution"]
    truth |= {
        "label": (truth["intensities"][:, units] >= threshold).to(torch.int8),
        "aleatoric": torch.special.entr(p) + torch.special.entr(1 - p),
        "task": recordings.task,
        "rarity": torch.stack([rarity(truth, fold != k) for k in (1, 2, 3)])[fold - 1, torch.arange(len(fold))],
    }
    return base.ActionUnits(
        images=truth.pop("images"),
        labels=truth.pop("labels"),
        au_names=tuple(f"AU{au}" for au in rates),
        subject=names[person],
        fold=fold,
        truth=truth,
    )


# --- recola --------------------------------------------------------------------------------------------------

RECOLA_FPS = {"quick": 1.0, "full": 25.0}
RECOLA_S, RECOLA_PEOPLE = 300, 9


def recola(size: str, seed: int) -> base.AffectTraces:
    """Five minutes each of nine source and nine target people, frames uint8 (N, 64, 64) in order, like RECOLA.

    People and their recordings are called train_1 to train_9 (source) and dev_1 to dev_9 (target). `valence_arousal`
    is the mean of six raters' traces. Full has 25 frames a second, quick one.

    Truth, besides the common: `valence_arousal` (N, 2), what is felt; `label_sd` (N, 2), sd of the raters' mean about
    it. `rarity` is relative to the frames of the source people.
    """
    generator = _generator("recola", seed)
    n, fps = 2 * RECOLA_PEOPLE, RECOLA_FPS[size]
    people, n_frames = People.draw(n, generator), torch.full((n,), round(RECOLA_S * fps))
    mean = people.mood + torch.tensor(c.RECOLA_MOOD)
    recordings = Recordings(people, torch.arange(n), mean, n_frames, fps, c.CALL)

    def rated(scene: Scene, _: Tensor) -> dict[str, Tensor]:
        traces, sd = traced(scene.valence_arousal, scene.person, fps, c.RECOLA_RATERS, generator)
        return {"traces": traces, "label_sd": sd}

    truth = _filmed(("recola", size, seed), recordings, generator, rated)
    recording, frame = recordings.frames()
    truth["rarity"] = rarity(truth, recording < RECOLA_PEOPLE)
    names = np.array([f"{part}_{i}" for part in ("train", "dev") for i in range(1, RECOLA_PEOPLE + 1)])[recording]
    return base.AffectTraces(
        inputs=truth.pop("images"),
        valence_arousal=truth.pop("traces"),
        person=names,
        video=names,
        time=frame / fps,
        truth=truth,
    )


def traced(felt: Tensor, block: Tensor, fps: float, n_raters: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean of n raters' traces of a feeling (N, 2) in [-1, 1], and its sd given the feeling.

    A rater stretches the scale, is biased for a recording, and errs slowly: r = g x + b + e(t).

    Args:
        felt: (N, 2), valence and arousal, recordings one after another.
        block: int (N,), the recording of each frame.
        fps: frames a second.
        n_raters: of one recording.
        generator: of the raters' errors.
    """
    _, lengths = block.unique_consecutive(return_counts=True)
    parts = []
    for part in felt.split(lengths.tolist()):
        gain = (c.TRACE_GAIN_SD * torch.randn(n_raters, 1, 2, generator=generator)).exp()
        bias = c.TRACE_BIAS_SD * torch.randn(n_raters, 1, 2, generator=generator)
        error = feeling.mean_reverting(n_raters, len(part), 2, fps, c.RELAXATION_S, generator)
        parts.append((gain * part + bias + c.TRACE_ERROR_SD * error).mean(0).clamp(-1, 1))
    variance = (c.TRACE_GAIN_SD * felt) ** 2 + c.TRACE_BIAS_SD**2 + c.TRACE_ERROR_SD**2
    return torch.cat(parts), (variance / n_raters).sqrt()


# --- affwild2 ------------------------------------------------------------------------------------------------

# (videos, frames of each, frames a second, pixels a side); the paper's clips have 30 frames a second of 112 pixels
AFFWILD2_SIZES = {"quick": (48, 96, 7.5, 64), "full": (120, 600, 30.0, 112)}
AFFWILD2_EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
AFFWILD2_TASKS = ("au", "expression", "va")
ANNOTATED, VALIDATION = 0.7, 0.25  # share of the videos that a task's set has, and of these for validation
SEEN = 0.25  # quality below which nobody labels a frame


def affwild2(size: str, seed: int) -> base.AffectVideos:
    """Videos from the wild, one person each, with sound and up to three kinds of labels, like Aff-Wild2.

    `frames` are uint8 (N, S, S), `audio` log-mel patches (N, 64, 64), `au` the twelve units of ABAW, `expression` an
    index into `AFFWILD2_EXPRESSIONS`. Subsets are "au train", "au val", "expression train", and so on: each task has
    its own set of videos, which overlap in part, and a video can train one task and validate another. Labels are
    missing (-1, -5) in videos that a task's set has not, and where the face can hardly be seen.

    Truth, besides the common, for every frame: `au` (N, 12), `au_distribution` (N, 12) the chance that a coder scores
    it, `expression` (N,), `expression_distribution` (N, 7) of one rater, `valence_arousal` (N, 2), `label_sd` (N, 2),
    `landmarks` (N, 68, 2) in sides of the picture, `speaking` bool (N,). `rarity` is relative to the frames that train
    any task.
    """
    generator = _generator("affwild2", seed)
    n_videos, n_frames, fps, side = AFFWILD2_SIZES[size]
    recordings = affwild2_recordings(People.draw(n_videos, generator), size, generator)
    subsets = _affwild2_subsets(n_videos, generator)
    units = torch.tensor([ACTION_UNITS.index(au) for au in c.AFFWILD2_RATES])
    order = torch.tensor([c.EMOTIONS.index(name.lower()) for name in AFFWILD2_EXPRESSIONS])

    def labelled(scene: Scene, intensities: Tensor) -> dict[str, Tensor]:
        felt, nuisance = scene.valence_arousal, scene.nuisance
        coded = raters.coded(intensities, raters.visibility(nuisance), c.BP4D_THRESHOLD)[:, units]
        seven = raters.label_distribution(intensities, nuisance)[:, order]
        seven = seven / seven.sum(1, keepdim=True)
        traces, sd = traced(felt, scene.person, fps, c.AFFWILD2_RATERS, generator)
        # people speak for some seconds, then fall silent
        wish = feeling.mean_reverting(len(felt) // n_frames, n_frames, 1, fps, c.SPEAKING_S, generator).flatten()
        speaking = wish < torch.special.ndtri(torch.tensor(c.SPEAKING_SHARE))
        return {
            "audio": voice.log_mel(felt, scene.people.voice, speaking, generator),
            "au labels": torch.bernoulli(coded, generator=generator).to(torch.int8),
            "au_distribution": coded,
            "expression labels": raters.vote(seven, c.AFFWILD2_EXPERTS, generator).argmax(1),
            "expression_distribution": seven,
            "traces": traces,
            "label_sd": sd,
            "landmarks": landmarks(intensities, scene.people.identity, nuisance).float(),
            "speaking": speaking,
        }

    truth = _filmed(("affwild2", size, seed), recordings, generator, labelled, side, c.AFFWILD2_OFFSET)
    video, frame = recordings.frames()
    subsets = {name: mask[video] for name, mask in subsets.items()}
    seen = truth["quality"] >= SEEN
    missing = {task: ~(seen & (subsets[f"{task} train"] | subsets[f"{task} val"])) for task in AFFWILD2_TASKS}
    truth |= {
        "au": (truth["intensities"][:, units] >= c.BP4D_THRESHOLD).to(torch.int8),
        "expression": truth["expression_distribution"].argmax(1),
        "rarity": rarity(truth, subsets["au train"] | subsets["expression train"] | subsets["va train"]),
    }
    return base.AffectVideos(
        frames=truth.pop("images"),
        audio=truth.pop("audio"),
        au=truth.pop("au labels").masked_fill(missing["au"][:, None], -1),
        expression=truth.pop("expression labels").masked_fill(missing["expression"], -1),
        valence_arousal=truth.pop("traces").masked_fill(missing["va"][:, None], -5),
        video=np.array([f"video{i:03d}" for i in range(1, n_videos + 1)])[video],
        time=frame / fps,
        subsets=subsets,
        truth=truth,
    )


def affwild2_recordings(people: People, size: str, generator: torch.Generator) -> Recordings:
    """One video of each person."""
    n, (_, n_frames, fps, _) = len(people), AFFWILD2_SIZES[size]
    mean = people.mood + c.WILD_MOOD_SD * torch.randn(n, 2, generator=generator)
    return Recordings(people, torch.arange(n), mean, torch.full((n,), n_frames), fps, c.WILD)


def _affwild2_subsets(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Which of the n videos each subset has."""
    subsets = {}
    for task in AFFWILD2_TASKS:
        chosen = torch.randperm(n, generator=generator)[: round(ANNOTATED * n)]
        n_val = round(VALIDATION * len(chosen))
        for part, rows in (("train", chosen[n_val:]), ("val", chosen[:n_val])):
            subsets[f"{task} {part}"] = torch.zeros(n, dtype=torch.bool).index_fill(0, rows, True)
    return subsets


# --- dialogues -----------------------------------------------------------------------------------------------


def dialogues(size: str, seed: int, *, form: str = "iemocap") -> base.Dialogues:
    """Conversations of two, in the form "iemocap" or "semaine": see `conversation.dialogues`."""
    return conversation.dialogues(form, size, _generator(f"dialogues {form}", seed))


# --- what the views share ------------------------------------------------------------------------------------

VIEWS = {view.__name__: view for view in (ferplus, bp4d, disfa, recola, affwild2, dialogues)}


def _filmed(
    key: tuple,
    recordings: Recordings,
    generator: torch.Generator,
    label: Callable,
    side=FACE,
    offset: Tensor | float = 0,
) -> dict[str, Tensor]:
    """The frames of recordings, what is true of them, and what `label` makes of a scene and its intensities."""

    def chunks() -> Iterator[dict[str, Tensor]]:
        for scene in stage(recordings, generator):
            intensities = feeling.intensities(scene.activity, offset)
            part = _pictures(scene.people, intensities, scene.nuisance, side, generator)
            yield part | {"valence_arousal": scene.valence_arousal} | label(scene, intensities)

    drawn = _cached(key, int(recordings.n_frames.sum()), chunks)
    return drawn | {"group": (drawn["skin_tone"] > DARK).long()}


def _pictures(people: People, intensities: Tensor, nuisance: Nuisance, size: int, generator) -> dict[str, Tensor]:
    """Pictures, and the truth that all views with faces have."""
    return {
        "images": render(intensities, people.identity, nuisance, size=size, generator=generator),
        "intensities": intensities,
        "quality": nuisance.quality,
        "skin_tone": people.identity.skin_tone,
        "yaw": nuisance.yaw,
    }


N_NEIGHBOURS, MOST_KNOWN = 10, 30_000


def rarity(truth: dict[str, Tensor], known: Tensor) -> Tensor:
    """How rare each picture is among the known ones, (N,): the distance to the tenth nearest of them but itself.

    Args:
        truth: what sets pictures apart, `intensities` (N, 17), `skin_tone` and `yaw` (N,), in units of their sd.
        known: bool (N,), the pictures a model is trained on. Of more than 30,000, every k-th is used.
    """
    traits = torch.cat([truth["intensities"], truth["skin_tone"][:, None], truth["yaw"][:, None]], 1)
    key = content_key("rarity", RECIPE, traits, known, torch.__version__)
    stored = cached_arrays(key, lambda: {"rarity": _rarity(traits, known).numpy()}, kind="simulated")
    return torch.from_numpy(stored["rarity"])


def _rarity(traits: Tensor, known: Tensor) -> Tensor:
    """`rarity` of pictures with any traits (N, D)."""
    traits = (traits - traits.mean(0)) / traits.std(0).clamp(min=1e-6)
    rows = known.nonzero()[:, 0]
    rows = rows[:: -(-len(rows) // MOST_KNOWN)]
    is_reference = torch.zeros(len(traits), dtype=torch.long).index_fill(0, rows, 1)
    distances = []
    for piece, itself in zip(traits.split(CHUNK), is_reference.split(CHUNK), strict=True):
        nearest = torch.cdist(piece, traits[rows]).topk(N_NEIGHBOURS + 1, largest=False).values
        # its own distance, zero, comes first
        distances.append(nearest.gather(1, (N_NEIGHBOURS - 1 + itself)[:, None])[:, 0])
    return torch.cat(distances)


def _generator(stream: str, seed: int) -> torch.Generator:
    """A generator of its own for each use of a seed."""
    return torch.Generator().manual_seed(int(content_key(stream, seed)[:12], 16))


def _cached(key: tuple, n: int, chunks: Callable[[], Iterable[dict[str, Tensor]]]) -> dict[str, Tensor]:
    """The chunks of n examples end to end, kept under everything they depend on, memory-mapped.

    They are written into mapped files as they come: none but the last chunk is in memory.
    """

    def build(folder: Path) -> dict[str, np.ndarray]:
        arrays, start = {}, 0
        for part in chunks():
            rows = slice(start, start := start + len(part["images"]))
            for name, values in part.items():
                if name not in arrays:
                    shape, dtype = (n, *values.shape[1:]), values.numpy().dtype
                    arrays[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
                arrays[name][rows] = values
        return arrays

    cache_dir().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache_dir()) as folder:
        whole_key = content_key(RECIPE, key, n, c.checksum(), torch.__version__)
        stored = cached_arrays(whole_key, lambda: build(Path(folder)), kind="simulated")
    return {name: torch.from_numpy(values) for name, values in stored.items()}
