"""Six views of one world, each shaped and split like the corpus it stands for.

All views share people, feeling, faces and raters; a view decides who is recorded, doing what, and what is labelled.
`truth` holds what generated each example. Common to the views with faces: `intensities` (N, 17) of
`faces.ACTION_UNITS`, `quality` of the picture (N,) in [0, 1], `skin_tone` (N,), `group` (N,), 1 in the group that a
scenario thins (by default the darkest third of skin tones), and `rarity` (N,), see `rarity`.

Pictures are drawn in chunks into memory-mapped files of the cache: memory does not grow with the size of a view.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from uncertain_affect.compute.cache import cache_dir, cached_arrays, code_key, content_key
from uncertain_affect.corpora.base import (
    ActionUnits,
    AffectTraces,
    AffectVideos,
    Corpus,
    CorpusError,
    Dialogues,
    Expressions,
)
from uncertain_affect.corpora.simulated import constants as c
from uncertain_affect.corpora.simulated import feeling, raters
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS, Nuisance, landmarks, render
from uncertain_affect.corpora.simulated.filming import Recordings, film, stage
from uncertain_affect.corpora.simulated.people import People

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)
CHUNK = 2000  # single pictures drawn at a time
SIZES = ("quick", "full")
GROUPS = ("skin_tone", "pose")
DARK, TURNED = 2 / 3, 0.35  # where the groups begin: the darkest third, and heads turned by more than 20 degrees


# --- ferplus -------------------------------------------------------------------------------------------------

FERPLUS_SIZES = {
    "quick": {"train": 3000, "val": 600, "test": 1000},
    "full": {"train": 28_559, "val": 3573, "test": 3579},  # published: the counts of the UncNet paper
}


def ferplus(
    size: str = "quick",
    seed: int = 0,
    *,
    thin: str | None = None,
    thin_share: float = 0.1,
    noisy_class: str | None = None,
    noise_share: float = 0.3,
) -> Expressions:
    """Single pictures of as many people, found by emotion words, with ten votes each: uint8 (N, 48, 48) like FER+.

    Truth, besides the common: `label_distribution` (N, 10), p*(y|x) over the classes; `aleatoric` (N,), its entropy in
    nats over the nine without NF; `label` (N,), the likeliest of these; `yaw` (N,), radians. None of it knows of noise
    that `noisy_class` adds.

    Args:
        size: "quick" (3,000/600/1,000 pictures) or "full" (as many as FER+ has).
        seed: redraws people, pictures and votes.
        thin: None, or the group of which only `thin_share` is kept in training, "skin_tone" or "pose". Pictures of
            others take their places: the training set keeps its size, and the other splits are untouched.
        thin_share: in [0, 1].
        noisy_class: None, or an emotion: votes for training pictures with this `label` are each replaced, with
            chance `noise_share`, by a vote for any of the eight emotions.
        noise_share: in [0, 1].

    Raises:
        CorpusError: an option that is impossible.
    """
    _check_choice("size", size, SIZES)
    _check_seed(seed)
    _check_share("thin_share", thin_share)
    _check_share("noise_share", noise_share)
    if thin is not None:
        _check_choice("thin", thin, GROUPS)
    if noisy_class is not None:
        _check_choice("noisy_class", noisy_class, c.EMOTIONS)

    # Each split comes from its own generator, so that what is done to the training set leaves the others as they are.
    parts = []
    for name, n in FERPLUS_SIZES[size].items():
        how = (thin, float(thin_share)) if thin and name == "train" else (None, 1.0)
        options = {"size": size, "seed": seed, "split": name, "thin": how}
        parts.append(_cached("ferplus", options, n, lambda o=options, n=n, how=how: _ferplus_split(o, n, *how)))
    drawn = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    split = np.repeat(list(FERPLUS_SIZES[size]), list(FERPLUS_SIZES[size].values()))
    number = np.concatenate([np.arange(n) for n in FERPLUS_SIZES[size].values()])
    names = np.char.add(np.char.add(split, "_"), np.char.zfill(number.astype(str), 5))

    votes = drawn.pop("votes")
    training = torch.from_numpy(split == "train")
    nine = drawn["label_distribution"][:, :9].double()
    nine = nine / nine.sum(1, keepdim=True)
    truth = drawn | {"label": nine.argmax(1), "aleatoric": torch.special.entr(nine).sum(1).float()}
    if noisy_class is not None:
        rows = (training & (truth["label"] == c.EMOTIONS.index(noisy_class))).nonzero()[:, 0]
        votes[rows] = _with_noise(votes[rows], noise_share, _generator("ferplus noise", seed))
    truth["group"] = _in_group(thin or "skin_tone", truth["skin_tone"], truth["yaw"]).long()
    truth["rarity"] = rarity(_traits(truth), training)

    kept = votes[:, :9].sum(1) > 0  # as the UncNet paper has it
    corpus = Expressions(
        images=truth.pop("images"),
        votes=votes,
        split=split,
        names=names,
        groups=torch.arange(len(split)),
        classes=raters.CLASSES,
        left_out={"no vote in the nine classes": int((~kept).sum())},
        truth=truth,
    )
    return corpus if bool(kept.all()) else corpus.subset(kept)


def ferplus_pictures(n: int, generator: torch.Generator) -> tuple[People, Tensor, Nuisance]:
    """Who n pictures show, their intensities (n, 17), and the conditions: the ferplus view before it is rendered."""
    people = People.draw(n, generator)
    counts = torch.tensor([c.FERPLUS_COUNTS[emotion] for emotion in c.EMOTIONS], dtype=torch.float64)
    word = torch.multinomial(counts, n, replacement=True, generator=generator)
    felt = (c.VALENCE_AROUSAL[word] + c.FEELING_SD * torch.randn(n, 2, generator=generator)).clamp(-1, 1)
    weights = feeling.emotion_weights(felt, people.mapping)
    intensities = feeling.intensities(feeling.activity(weights, people, generator))
    return people, intensities, Nuisance.draw(n, generator)


def _ferplus_split(options: dict, n: int, thin: str | None, share: float) -> Iterator[dict[str, Tensor]]:
    generator = _generator(f"ferplus {options['split']}", options["seed"])
    spare = _generator("ferplus spare", options["seed"])
    for start in range(0, n, CHUNK):
        drawn = ferplus_pictures(min(CHUNK, n - start), generator)
        if thin:
            drawn = _thinned(*drawn, thin, share, spare)
        people, intensities, nuisance = drawn
        p = raters.label_distribution(intensities, nuisance)
        yield {
            "votes": raters.vote(p, 10, generator),
            "images": render(intensities, people.identity, nuisance, size=48, generator=generator),
            "label_distribution": p,
            "intensities": intensities,
            "quality": nuisance.quality,
            "skin_tone": people.identity.skin_tone,
            "yaw": nuisance.yaw,
        }


def _thinned(
    people: People, intensities: Tensor, nuisance: Nuisance, group: str, share: float, generator: torch.Generator
) -> tuple[People, Tensor, Nuisance]:
    """The pictures, all but this share of the group replaced by ones that are not of it."""
    inside = _in_group(group, people.identity.skin_tone, nuisance.yaw)
    gone = inside & (torch.rand(len(people), generator=generator) >= share)
    spare = ferplus_pictures(2 * len(people), generator)  # more than enough: neither group is half of all
    outside = (~_in_group(group, spare[0].identity.skin_tone, spare[2].yaw)).nonzero()[:, 0]
    row = torch.arange(len(people))
    row[gone] = len(people) + outside[: int(gone.sum())]
    return tuple(_joined(a, b)[row] for a, b in zip((people, intensities, nuisance), spare, strict=True))


def _joined(a, b):
    """Rows of a, then of b: tensors, or dataclasses of tensors."""
    if isinstance(a, Tensor):
        return torch.cat([a, b])
    return type(a)(**{name: _joined(values, getattr(b, name)) for name, values in vars(a).items()})


def _in_group(group: str, skin_tone: Tensor, yaw: Tensor) -> Tensor:
    return skin_tone > DARK if group == "skin_tone" else yaw.abs() > TURNED


def _with_noise(votes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Votes (n, 10), each replaced with this chance by one for any emotion."""
    replaced = torch.binomial(votes.float(), torch.full(votes.shape, float(share)), generator=generator).long()
    n_new, n_emotions = replaced.sum(1), len(c.EMOTIONS)
    picks = torch.randint(n_emotions, (len(votes), int(votes.sum(1).max()) if len(votes) else 0), generator=generator)
    used = torch.arange(picks.shape[1]) < n_new[:, None]
    return (votes - replaced).scatter_add(1, picks, used.to(votes.dtype))


def out_of_distribution(n: int, seed: int = 0) -> Tensor:
    """Pictures uint8 (n, 48, 48) of a kind that no training set of faces contains: in equal parts faces upside down,
    negatives of faces, and faces whose quarters are shuffled.

    Raises:
        CorpusError: n is not at least 3.
    """
    if n < 3:
        raise CorpusError(f"out_of_distribution: n must be at least 3, not {n}")
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


def bp4d(size: str = "quick", seed: int = 0) -> ActionUnits:
    """41 people in eight tasks each, frames uint8 (N, 64, 64), twelve action units and three folds, like BP4D.

    Full has as many frames in each task as BP4D (146,847 in all), quick 96 of each person, spread over the same time.

    Truth, besides the common: `label` (N, 12), whether the intensity reaches the threshold; `label_distribution`
    (N, 12), the chance that a coder says so; `aleatoric` (N, 12), its entropy in nats; `valence_arousal` (N, 2);
    `task` (N,), 0 to 7. `rarity` is relative to the frames of the other two folds.

    Raises:
        CorpusError: an option that is impossible.
    """
    return _action_units("bp4d", size, seed, c.BP4D_RATES, c.BP4D_FOLDS, c.BP4D_OFFSET, c.BP4D_THRESHOLD)


def disfa(size: str = "quick", seed: int = 0) -> ActionUnits:
    """27 people watching nine clips, frames uint8 (N, 64, 64), eight action units and three folds, like DISFA.

    Full has 130,814 frames, quick 120 of each person, spread over the same time. Truth as for `bp4d`, `task` being
    the clip (0 to 8).

    Raises:
        CorpusError: an option that is impossible.
    """
    return _action_units("disfa", size, seed, c.DISFA_RATES, c.DISFA_FOLDS, c.DISFA_OFFSET, c.DISFA_THRESHOLD)


def bp4d_recordings(people: People, size: str = "quick") -> tuple[Recordings, Tensor]:
    """The eight tasks of each person, and which task each recording (R,) is."""
    n, total = len(people), sum(c.BP4D_TASK_FRAMES)
    if size == "full":
        # each task's frames shared out as evenly as can be
        frames = torch.stack([(of_task + torch.arange(n)) // n for of_task in c.BP4D_TASK_FRAMES], 1)
    else:
        frames = (torch.tensor(c.BP4D_TASK_FRAMES) * BP4D_QUICK / total).round().long().expand(n, -1)
    person, task = torch.arange(n).repeat_interleave(8), torch.arange(8).repeat(n)
    fps = c.BP4D_FPS * float(frames.double().mean()) * 8 * c.BP4D_PEOPLE / total
    return Recordings(person, c.BP4D_TASKS[task] + people.mood[person], frames.flatten(), fps), task


def disfa_recordings(people: People, size: str = "quick") -> tuple[Recordings, Tensor]:
    """One recording of each person, and which clip is on in each frame (T,) of it."""
    n, longest = len(people), c.DISFA_FRAMES if size == "full" else DISFA_QUICK
    clip = torch.arange(longest) * len(c.DISFA_CLIPS) // longest
    frames = torch.full((n,), longest)
    if size == "full":
        frames[1] -= 1  # published: SN010, the second of the first fold, has one frame less
    mean = c.DISFA_CLIPS[clip] + people.mood[:, None]
    return Recordings(torch.arange(n), mean, frames, c.DISFA_FPS * longest / c.DISFA_FRAMES), clip


def derive_offsets(activity: Tensor, visible: Tensor, rates: dict[int, float], threshold: float) -> Tensor:
    """What must be added to the activity of each action unit for a population to have the base rates: (17,).

    Args:
        activity: (N, 17), of a population of frames.
        visible: (N, 17), `raters.visibility` of the pictures of it.
        rates: wanted share of frames that are coded, in %, by action unit; others get 0.
        threshold: the intensity from which a unit counts as present.
    """
    low, high = torch.full((17,), -10.0), torch.full((17,), 10.0)
    wanted = torch.tensor([rates.get(au, 0.0) / 100 for au in ACTION_UNITS])
    for _ in range(30):  # bisection
        middle = (low + high) / 2
        coded = raters.coded(feeling.intensities(activity, middle), visible, threshold).double().mean(0)
        low, high = torch.where(coded < wanted, middle, low), torch.where(coded < wanted, high, middle)
    return torch.where(wanted > 0, middle, 0.0)


def population(view: str, n_people: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Activity (N, 17), visibility (N, 17) and person (N,) of the frames of a view with n people: `derive_offsets`
    takes them.
    """
    people = People.draw(n_people, generator)
    recordings, severity = {
        "bp4d": lambda: (bp4d_recordings(people)[0], c.LABORATORY),
        "disfa": lambda: (disfa_recordings(people)[0], c.LABORATORY),
        "affwild2": lambda: (affwild2_recordings(people, "quick", generator), c.WILD),
    }[view]()
    scenes = list(stage(recordings, people, severity, generator))
    visible = [raters.visibility(scene.nuisance) for scene in scenes]
    activity, person = [scene.activity for scene in scenes], [scene.person for scene in scenes]
    return torch.cat(activity), torch.cat(visible), torch.cat(person)


def _action_units(view, size, seed, rates, folds, offset, threshold) -> ActionUnits:
    _check_choice("size", size, SIZES)
    _check_seed(seed)
    units = torch.tensor([ACTION_UNITS.index(au) for au in rates])
    names = np.array([name for fold in folds for name in fold])
    generator = _generator(view, seed)
    people = People.draw(len(names), generator)
    recordings, task = (bp4d_recordings if view == "bp4d" else disfa_recordings)(people, size)

    def chunks() -> Iterator[dict[str, Tensor]]:
        scenes = stage(recordings, people, c.LABORATORY, generator)
        for scene, part in film(scenes, people, generator, size=FACE, offset=offset):
            p = raters.coded(part["intensities"], raters.visibility(scene.nuisance), threshold)[:, units]
            yield part | {
                "labels": torch.bernoulli(p, generator=generator).to(torch.int8),
                "label_distribution": p,
                "valence_arousal": scene.valence_arousal,
                "yaw": scene.nuisance.yaw,
            }

    recording, frame = recordings.index()
    person = recordings.person[recording]
    options = {"size": size, "seed": seed}
    drawn = _cached(view, options, len(person), chunks)
    fold = torch.tensor([i for i, part in enumerate(folds, 1) for _ in part])[person]
    truth = drawn | {
        "label": (drawn["intensities"][:, units] >= threshold).to(torch.int8),
        "aleatoric": torch.special.entr(drawn["label_distribution"])
        + torch.special.entr(1 - drawn["label_distribution"]),
        "task": task[recording] if view == "bp4d" else task[frame],
        "group": (drawn["skin_tone"] > DARK).long(),
    }
    traits = _traits(drawn)
    truth["rarity"] = torch.empty(len(person))
    for k in (1, 2, 3):
        truth["rarity"][fold == k] = rarity(traits, fold != k)[fold == k]
    return ActionUnits(
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


def recola(size: str = "quick", seed: int = 0) -> AffectTraces:
    """Five minutes each of nine source and nine target people, frames uint8 (N, 64, 64) in order, like RECOLA.

    People and their recordings are called train_1 to train_9 (source) and dev_1 to dev_9 (target). `valence_arousal`
    is the mean of six raters' traces. Full has 25 frames a second, quick one.

    Truth, besides the common: `valence_arousal` (N, 2), what is felt; `label_sd` (N, 2), sd of the raters' mean about
    it. `rarity` is relative to the frames of the source people.

    Raises:
        CorpusError: an option that is impossible.
    """
    _check_choice("size", size, SIZES)
    _check_seed(seed)
    generator = _generator("recola", seed)
    n, fps = 2 * RECOLA_PEOPLE, RECOLA_FPS[size]
    people = People.draw(n, generator)
    n_frames = torch.full((n,), round(RECOLA_S * fps))
    recordings = Recordings(torch.arange(n), people.mood + torch.tensor(c.RECOLA_MOOD), n_frames, fps)

    def chunks() -> Iterator[dict[str, Tensor]]:
        scenes = stage(recordings, people, c.CALL, generator)
        for scene, part in film(scenes, people, generator, size=FACE):
            traces, sd = traced(scene.valence_arousal, scene.person, fps, c.RECOLA_RATERS, generator)
            felt = {"valence_arousal": scene.valence_arousal, "label_sd": sd}
            yield part | felt | {"traces": traces, "yaw": scene.nuisance.yaw}

    recording, frame = recordings.index()
    drawn = _cached("recola", {"size": size, "seed": seed}, len(recording), chunks)
    names = np.array([f"{part}_{i}" for part in ("train", "dev") for i in range(1, RECOLA_PEOPLE + 1)])
    truth = drawn | {
        "group": (drawn["skin_tone"] > DARK).long(),
        "rarity": rarity(_traits(drawn), recording < RECOLA_PEOPLE),
    }
    return AffectTraces(
        inputs=truth.pop("images"),
        valence_arousal=truth.pop("traces"),
        person=names[recording],
        video=names[recording],
        time=frame / fps,
        truth=truth,
    )


def traced(
    valence_arousal: Tensor, block: Tensor, fps: float, n_raters: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mean of n raters' traces of a feeling (N, 2) in [-1, 1], and its sd given the feeling.

    A rater stretches the scale, is biased for a recording, and errs slowly: r = g x + b + e(t).

    Args:
        valence_arousal: (N, 2), what is felt, recordings one after another.
        block: int (N,), the recording of each frame.
        fps: frames a second.
        n_raters: of one recording.
        generator: of the raters' errors.
    """
    _, lengths = block.unique_consecutive(return_counts=True)
    parts = []
    for felt in valence_arousal.split(lengths.tolist()):
        gain = (c.TRACE_GAIN_SD * torch.randn(n_raters, 1, 2, generator=generator)).exp()
        bias = c.TRACE_BIAS_SD * torch.randn(n_raters, 1, 2, generator=generator)
        error = feeling.mean_reverting(n_raters, len(felt), 2, fps, c.RELAXATION_S, generator)
        parts.append((gain * felt + bias + c.TRACE_ERROR_SD * error).mean(0).clamp(-1, 1))
    variance = (c.TRACE_GAIN_SD * valence_arousal) ** 2 + c.TRACE_BIAS_SD**2 + c.TRACE_ERROR_SD**2
    return torch.cat(parts), (variance / n_raters).sqrt()


# --- affwild2 ------------------------------------------------------------------------------------------------

# (videos, frames of each, frames a second, pixels a side); the paper's clips have 30 frames a second of 112 pixels
AFFWILD2_SIZES = {"quick": (48, 96, 7.5, 64), "full": (120, 600, 30.0, 112)}
AFFWILD2_EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
AFFWILD2_TASKS = ("au", "expression", "va")
ANNOTATED, VALIDATION = 0.7, 0.25  # share of the videos that a task's set has, and of these for validation
SEEN = 0.25  # quality below which nobody labels a frame


def affwild2(size: str = "quick", seed: int = 0) -> AffectVideos:
    """Videos from the wild, one person each, with sound and up to three kinds of labels, like Aff-Wild2.

    `frames` are uint8 (N, S, S), `audio` log-mel patches (N, 64, 64), `au` the twelve units of ABAW, `expression` an
    index into `AFFWILD2_EXPRESSIONS`. Subsets are "au train", "au val", "expression train", and so on: each task has
    its own set of videos, which overlap in part, and a video can train one task and validate another. Labels are
    missing (-1, -5) in videos that a task's set has not, and where the face can hardly be seen.

    Truth, besides the common, for every frame: `au` (N, 12), `au_distribution` (N, 12) the chance that a coder scores
    it, `expression` (N,), `expression_distribution` (N, 7) of one rater, `valence_arousal` (N, 2), `label_sd` (N, 2),
    `landmarks` (N, 68, 2) in sides of the picture, `speaking` bool (N,). `rarity` is relative to the frames that train
    any task.

    Raises:
        CorpusError: an option that is impossible.
    """
    from uncertain_affect.corpora.simulated import voice

    _check_choice("size", size, SIZES)
    _check_seed(seed)
    generator = _generator("affwild2", seed)
    n_videos, n_frames, fps, side = AFFWILD2_SIZES[size]
    people = People.draw(n_videos, generator)
    recordings = affwild2_recordings(people, size, generator)
    subsets = _affwild2_subsets(n_videos, generator)
    units = torch.tensor([ACTION_UNITS.index(au) for au in c.AFFWILD2_RATES])
    order = torch.tensor([c.EMOTIONS.index(name.lower()) for name in AFFWILD2_EXPRESSIONS])

    def chunks() -> Iterator[dict[str, Tensor]]:
        scenes = stage(recordings, people, c.WILD, generator)
        for scene, part in film(scenes, people, generator, size=side, offset=c.AFFWILD2_OFFSET):
            intensities, felt = part["intensities"], scene.valence_arousal
            coded = raters.coded(intensities, raters.visibility(scene.nuisance), c.BP4D_THRESHOLD)[:, units]
            seven = raters.label_distribution(intensities, scene.nuisance)[:, order]
            seven = seven / seven.sum(1, keepdim=True)
            traces, sd = traced(felt, scene.person, fps, c.AFFWILD2_RATERS, generator)
            # people speak for some seconds, then fall silent
            wish = feeling.mean_reverting(len(felt) // n_frames, n_frames, 1, fps, c.SPEAKING_S, generator).flatten()
            speaking = wish < torch.special.ndtri(torch.tensor(c.SPEAKING_SHARE))
            yield part | {
                "audio": voice.log_mel(felt, people.voice[scene.person], speaking, generator),
                "au labels": torch.bernoulli(coded, generator=generator).to(torch.int8),
                "au_distribution": coded,
                "expression labels": raters.vote(seven, c.AFFWILD2_EXPERTS, generator).argmax(1),
                "expression_distribution": seven,
                "traces": traces,
                "valence_arousal": felt,
                "label_sd": sd,
                "landmarks": landmarks(intensities, people.identity[scene.person], scene.nuisance).float(),
                "speaking": speaking,
                "yaw": scene.nuisance.yaw,
            }

    video, frame = recordings.index()
    drawn = _cached("affwild2", {"size": size, "seed": seed}, len(video), chunks)
    seen = drawn["quality"] >= SEEN
    labelled = {task: (subsets[f"{task} train"] | subsets[f"{task} val"])[video] & seen for task in AFFWILD2_TASKS}
    training = (subsets["au train"] | subsets["expression train"] | subsets["va train"])[video]
    truth = drawn | {
        "au": (drawn["intensities"][:, units] >= c.BP4D_THRESHOLD).to(torch.int8),
        "expression": drawn["expression_distribution"].argmax(1),
        "group": (drawn["skin_tone"] > DARK).long(),
        "rarity": rarity(_traits(drawn), training),
    }
    return AffectVideos(
        frames=truth.pop("images"),
        audio=truth.pop("audio"),
        au=truth.pop("au labels").masked_fill(~labelled["au"][:, None], -1),
        expression=truth.pop("expression labels").masked_fill(~labelled["expression"], -1),
        valence_arousal=truth.pop("traces").masked_fill(~labelled["va"][:, None], -5),
        video=np.array([f"video{i:03d}" for i in range(1, n_videos + 1)])[video],
        time=frame / fps,
        subsets={name: mask[video] for name, mask in subsets.items()},
        truth=truth,
    )


def affwild2_recordings(people: People, size: str, generator: torch.Generator) -> Recordings:
    """One video of each person."""
    n, (_, n_frames, fps, _) = len(people), AFFWILD2_SIZES[size]
    mean = people.mood + c.WILD_MOOD_SD * torch.randn(n, 2, generator=generator)
    return Recordings(torch.arange(n), mean, torch.full((n,), n_frames), fps)


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


def dialogues(size: str = "quick", seed: int = 0, *, form: str = "iemocap") -> Dialogues:
    """Conversations of two, in the form "iemocap" or "semaine": see `conversation.dialogues`.

    Raises:
        CorpusError: an option that is impossible.
    """
    from uncertain_affect.corpora.simulated import conversation

    _check_choice("size", size, SIZES)
    _check_seed(seed)
    _check_choice("form", form, ("iemocap", "semaine"))
    return conversation.dialogues(form, size, _generator(f"dialogues {form}", seed))


# --- what the views share ------------------------------------------------------------------------------------

VIEWS: dict[str, Callable[..., Corpus]] = {
    "ferplus": ferplus,
    "bp4d": bp4d,
    "disfa": disfa,
    "recola": recola,
    "affwild2": affwild2,
    "dialogues": dialogues,
}


def load(view: str = "ferplus", size: str = "quick", seed: int = 0, **options) -> Corpus:
    """One view of the world; `options` are those of its function here.

    Raises:
        CorpusError: an unknown view or option, or an option that is impossible.
    """
    _check_choice("view", view, VIEWS)
    parameters = inspect.signature(VIEWS[view]).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            cure = f"Its options: {', '.join(('size', 'seed', *known))}"
            raise CorpusError(f"the simulated view {view!r} has no option {name!r}", cure=cure)
    return VIEWS[view](size, seed, **options)


N_NEIGHBOURS = 10
MOST_KNOWN = 30_000


def rarity(traits: Tensor, known: Tensor) -> Tensor:
    """How rare each picture is among the known ones, (N,): the distance to the tenth nearest of them but itself.

    Args:
        traits: (N, D), each counted in units of its sd.
        known: bool (N,), the pictures a model is trained on. Of more than 30,000, every k-th is used.
    """
    key = content_key("rarity", RECIPE, traits, known, torch.__version__)
    stored = cached_arrays(key, lambda: {"rarity": _rarity(traits, known).numpy()}, kind="simulated")
    return torch.from_numpy(stored["rarity"])


def _rarity(traits: Tensor, known: Tensor) -> Tensor:
    traits = (traits - traits.mean(0)) / traits.std(0).clamp(min=1e-6)
    rows = known.nonzero()[:, 0]
    rows = rows[:: -(-len(rows) // MOST_KNOWN)]
    is_reference = torch.zeros(len(traits), dtype=torch.long).index_fill(0, rows, 1)
    distances = []
    for start in range(0, len(traits), CHUNK):
        piece = slice(start, start + CHUNK)
        nearest = torch.cdist(traits[piece], traits[rows]).topk(N_NEIGHBOURS + 1, largest=False).values
        # its own distance, zero, comes first
        distances.append(nearest.gather(1, (N_NEIGHBOURS - 1 + is_reference[piece])[:, None])[:, 0])
    return torch.cat(distances)


def _traits(truth: dict[str, Tensor]) -> Tensor:
    return torch.cat([truth["intensities"], truth["skin_tone"][:, None], truth["yaw"][:, None]], 1)


def _generator(stream: str, seed: int) -> torch.Generator:
    """A generator of its own for each use of a seed."""
    return torch.Generator().manual_seed(int(content_key(stream, seed)[:12], 16))


def _cached(view: str, options: dict, n: int, chunks: Callable[[], Iterable[dict[str, Tensor]]]) -> dict[str, Tensor]:
    """The chunks of n examples end to end, kept under everything they depend on, memory-mapped."""
    key = content_key(RECIPE, view, options, n, c.checksum(), torch.__version__)
    cache_dir().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache_dir()) as folder:
        stored = cached_arrays(key, lambda: _end_to_end(Path(folder), n, chunks()), kind="simulated")
    return {name: torch.from_numpy(values) for name, values in stored.items()}


def _end_to_end(folder: Path, n: int, chunks: Iterable[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """Chunks of n examples in files of the folder, mapped: none but the last chunk is in memory."""
    arrays: dict[str, np.memmap] = {}
    start = 0
    for part in chunks:
        stop = start + len(next(iter(part.values())))
        for name, values in part.items():
            values = values.numpy()
            if name not in arrays:
                shape = (n, *values.shape[1:])
                arrays[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", values.dtype, shape)
            arrays[name][start:stop] = values
        start = stop
    if start != n:
        raise RuntimeError(f"{start} examples were drawn instead of {n}")
    return arrays


def _check_choice(name: str, given, known: Iterable[str]) -> None:
    if given not in tuple(known):
        raise CorpusError(f"{name} must be one of {', '.join(known)}, not {given!r}")


def _check_share(name: str, share) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise CorpusError(f"{name} must be a number in [0, 1], not {share!r}")


def _check_seed(seed) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise CorpusError(f"seed must be an integer of at least 0, not {seed!r}")
