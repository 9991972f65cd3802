"""Networks that train side by side, and what a generation of them predicts."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from uncertain_affect.compute.cache import cached_arrays, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.metrics import EntropyDecomposition, bernoulli_entropy_decomposition, entropy_decomposition
from uncertain_affect.models.distill import AUXILIARY, N_BINS, TASKS, EMENet, TaskHeads
from uncertain_affect.papers.distill.trunks import TEACHER_LOSSES, Encoders, augmented, auxiliary_labels, in_batches
from uncertain_affect.papers.distill.videos import DistillSettings, Videos
from uncertain_affect.training.fit import generators

# By task: AU (S, M, n, A) of presence, EXPR (S, M, n, C), VA (S, M, n, 2, 20), of M networks of each of S seeds.
Probabilities = dict[str, Tensor]
Copies = Sequence[tuple[bool, int, int]]
# Where the release cuts a video into chunks in validation.
CHUNK = 64
VIDEOS_A_SHARD, IMAGES_A_SHARD = 16, 8192


# --- networks -------------------------------------------------------------------------------------------------


class Group(nn.Module):
    """K networks that train side by side, on frozen features or end to end.

    Args:
        copies: of each network whether Algorithm 1 balances it, the place of its seed among the seeds of the run, and
            its number among the members.
        number: of the generation, 0 for teachers.
        videos, trunks: what they learn from.
        settings: of the run.
        device: where they train.

    Attributes:
        heads: of the K networks.
        seeds: of each network.
        place: int (K,), where its seed is among those of the run.
        balanced: bool (K,).
    """

    def __init__(
        self, copies: Copies, number: int, videos: Videos, trunks: Encoders, settings: DistillSettings, device: str
    ):
        super().__init__()
        self.number, self.videos, self.trunks = number, videos, trunks
        self.settings, self.device = settings, device
        self.seeds = [1000 * settings.seeds[place] + member for _, place, member in copies]
        balanced, self.place, _ = torch.tensor(copies).T
        self.balanced = balanced.bool()
        self.draws = generators(self.seeds, 10 * number)
        self.options = dict(hidden=settings.hidden, dropout=settings.dropout, across_clips=settings.faithful_to_release)

    def states(self, rows: Tensor, soft: bool = False) -> Tensor:
        """Outputs of the GRUs for n rows, (K, A, n, H), dropout off.

        Args:
            soft: for soft labels, for which the release carries states over other sequences than in validation.
        """
        place = torch.full((len(self.videos.video),), -1)
        place[rows] = torch.arange(len(rows))
        out = None
        for batch in _sequences(self.videos, self.settings, rows, soft):
            x = self.features(batch.clamp(min=0).flatten()[None])
            h = self.heads.states(x.unflatten(1, batch.shape))
            if out is None:
                out = h.new_empty(*h.shape[:2], len(rows), h.shape[-1])
            there = (batch >= 0) & (place[batch.clamp(min=0)] >= 0)
            out[:, :, place[batch[there]].to(h.device)] = h[:, :, there.to(h.device)]
        return out

    def read_out(self, states: Tensor) -> dict[str, Tensor]:
        """Logits (K, n, C) by task, but for auxiliary ones, of states (K, A, n, H)."""
        return {task: z for task, z in self.heads.read_out(states).items() if task in TASKS}

    @torch.no_grad()
    def logits(self, rows: Tensor, soft: bool = False) -> dict[str, Tensor]:
        """Logits (K, n, C) by task for n rows; arguments as :meth:`states`."""
        return self.read_out(self.states(rows, soft))

    @torch.no_grad()
    def logits_of_pictures(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (K, n, C) by task of pictures uint8 (n, H, W), each a clip of one frame."""
        return self.read_out(self.heads.states(self.encode(images).unsqueeze(2)).squeeze(3))


class FrozenGroup(Group):
    """Heads on frozen features."""

    def __init__(self, *args):
        super().__init__(*args)
        x, options = self.trunks.features, self.options | {"shared": self.settings.shared}
        self.heads = TaskHeads(x.shape[-1], self.draws, self.videos.outputs, **options)
        place = self.place if len(x) > 1 else torch.tensor([0])
        self.frozen, self.trunk = x.to(self.device), place.to(self.device)

    def features(self, rows: Tensor) -> Tensor:
        """Features (K, ..., D) of each network's rows (K, ...), or of the same rows (1, ...) for all networks.

        A leading 1 where all networks have the same features.
        """
        return self.frozen[self.trunk.view(-1, *[1] * (rows.ndim - 1)), rows.to(self.device)]

    def encode(self, images: Tensor) -> Tensor:
        """Features (K or 1, n, D) of other pictures, uint8 (n, H, W)."""
        return self.trunks.encode(images).to(self.device)[self.trunk]

    def forward(self, rows: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Logits (K, B, T, C) by task of clips (K, B, T), or (K, A, B, T) with their own for each task.

        The list is of the losses (K,) of auxiliary tasks: none, since nothing that they could train is trained.
        """
        return self.heads(self.features(rows)), []


class EndToEndGroup(Group):
    """One network with a trunk of its own; methods as those of `FrozenGroup`, K being 1."""

    def __init__(self, *args):
        super().__init__(*args)
        corpus, tuning, audio = self.trunks.corpus, self.settings.tuning, self.settings.audio
        self.inputs = (corpus.frames, corpus.audio) if audio else (corpus.frames,)
        labels = {"FA": "landmarks", "VAD": "speaking"} if audio else {"FA": "landmarks"}
        self.known = {task: corpus.truth[name] for task, name in labels.items() if name in (corpus.truth or {})}
        outputs = self.videos.outputs | {task: AUXILIARY[task] for task in self.known}
        sizes = tuning.width, corpus.frames.shape[-1], tuning.repeats
        self.network = EMENet(self.draws[0], audio, *sizes, outputs=outputs, **self.options)
        if self.trunks.start is not None:
            self.network.trunk.load_state_dict(self.trunks.start.state_dict())
        self.turns = itertools.cycle(range(len(self.videos.tasks)))

    @property
    def heads(self) -> TaskHeads:
        return self.network.heads

    def features(self, rows: Tensor) -> Tensor:
        inputs = (x[rows.flatten()] for x in self.inputs)
        return in_batches(self.network.encode, self.device, *inputs).view(*rows.shape, -1).to(self.device)

    def encode(self, images: Tensor) -> Tensor:
        return in_batches(self.network.encode, self.device, images)[None].to(self.device)

    def forward(self, rows: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """As of a frozen group, the clips mirrored and coloured at random; and losses (1,) of auxiliary tasks.

        Where each task has its own clips, auxiliary tasks see those of one task after the other.
        """
        clips = rows.flatten(0, -2)
        mirrored = torch.rand(len(clips), generator=self.draws[0]) < 0.5
        images, *patches = (x[clips.flatten()].to(self.device) for x in self.inputs)
        images = augmented(images, mirrored.repeat_interleave(rows.shape[-1]), self.draws[0])
        x = self.network.encode(images, *patches).view(*rows.shape, -1)
        if rows.ndim == 4:
            turn = next(self.turns)
            x = torch.cat([x, x[:, turn : turn + 1].expand(-1, len(self.known), -1, -1, -1)], 1)
            rows, mirrored = rows[:, turn], mirrored.view(rows.shape[1], -1)[turn]
        logits, losses = self.heads(x), []
        for task, known in self.known.items():
            y = auxiliary_labels(known, rows.flatten(), mirrored.repeat_interleave(rows.shape[-1]))
            losses.append(TEACHER_LOSSES[task](logits[task], y.view(*rows.shape, *y.shape[1:]).to(self.device)))
        return logits, losses


def _sequences(videos: Videos, settings: DistillSettings, rows: Tensor, soft: bool) -> Iterator[Tensor]:
    """Rows (B, T) of batches of sequences over which the state is carried, covering all ``rows``; -1 pads.

    A video is one sequence. The release cuts a video into chunks of 64 frames, and carries the state from each frame to
    the one at its place in the next chunk; in validation it does so in the first video, and sees single frames else.
    """
    if settings.clip == 1:
        yield from (batch[:, None] for batch in rows.split(8192))
        return
    wanted = torch.zeros(len(videos.video), dtype=torch.bool)
    wanted[rows] = True
    chosen = [s for s in videos.sequences if wanted[s].any()]
    if settings.faithful_to_release:
        alone = [] if soft else [s for rest in chosen[1:] for s in rest.split(1)]
        carried = chosen if soft else chosen[:1]
        chosen = [s[start::CHUNK] for s in carried for start in range(min(CHUNK, len(s)))] + alone
    chosen.sort(key=len)
    size = 4096 if settings.faithful_to_release else 16
    for start in range(0, len(chosen), size):
        yield nn.utils.rnn.pad_sequence(chosen[start : start + size], batch_first=True, padding_value=-1)


@dataclass(frozen=True, eq=False)
class Generation:
    """The networks of all seeds and members of one generation, trained with or without balancing.

    Attributes:
        groups: in which they trained, perhaps beside the networks of the other arm.
        balanced: the arm.
        videos, settings: what they learnt from, and how.
        performance: (S M, E, A), validation performance of each task after each epoch, on the frames that tune.
        weights: (S M, E + 1, A), weights of the tasks' losses before the first and after each epoch, normalised over
            tasks and auxiliary tasks.
        best_epoch: (S M,), the epoch whose weights are kept, from 1.
        number: 0 for teachers, else of the students.
        key: what the networks follow from, for the cache.
    """

    groups: Sequence[Group]
    balanced: bool
    videos: Videos
    settings: DistillSettings
    performance: Tensor
    weights: Tensor
    best_epoch: Tensor
    number: int
    key: str

    def gathered(self, parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Of results (K, ...) of each group, by task, those of this arm's networks, as one (S, M, ...)."""
        found: dict[str, list[Tensor]] = {}
        for group, part in zip(self.groups, parts, strict=True):
            for task, values in part.items():
                found.setdefault(task, []).append(values.cpu()[group.balanced == self.balanced])
        return {task: torch.cat(of).unflatten(0, (len(self.settings.seeds), -1)) for task, of in found.items()}


# --- predictions ----------------------------------------------------------------------------------------------


def probabilities(logits: Mapping[str, Tensor]) -> Probabilities:
    """Probabilities by task of logits: AU (..., A), EXPR (..., C), VA (..., 40)."""
    shaped = {task: z.unflatten(-1, (2, N_BINS)) if task == "VA" else z for task, z in logits.items()}
    return {task: z.cpu().sigmoid() if task == "AU" else z.cpu().softmax(-1) for task, z in shaped.items()}


def logits(generation: Generation, rows: Tensor) -> dict[str, Tensor]:
    """Logits (S, M, n, C) by task for n rows, states carried over whole videos, dropout off."""
    return generation.gathered(group.logits(rows) for group in generation.groups)


def predict(generation: Generation, rows: Tensor) -> Probabilities:
    """What each network predicts for n rows."""
    return probabilities(logits(generation, rows))


def on_pictures(generation: Generation, images: Tensor) -> Probabilities:
    """What each network predicts for pictures uint8 (n, H, W), each a clip of one frame.

    Raises:
        ValueError: the networks hear, and pictures have no sound.
    """
    if generation.settings.audio:
        raise ValueError("pictures have no sound: ask EMENet-V about them")
    return probabilities(generation.gathered(group.logits_of_pictures(images) for group in generation.groups))


def ensemble(p: Probabilities) -> Probabilities:
    """The mean over members, as a single one (S, 1, n, ...)."""
    return {task: probs.mean(1, keepdim=True) for task, probs in p.items()}


@torch.no_grad()
def mc_dropout(
    generation: Generation, rows: Tensor
) -> tuple[Probabilities, dict[str, EntropyDecomposition], dict[str, float]]:
    """Mean probabilities over passes with dropout on before each linear layer, and each network's uncertainties.

    The state is not touched by dropout, so that it is computed once for all passes. As released dropout stays off.

    Returns:
        Probabilities (S, M, n, ...); by task uncertainties (S, M, n, ...) as :func:`uncertainty` has them; and by task
        the standard deviation of a probability from pass to pass, the mean over all of them.
    """
    settings, means, splits, spreads = generation.settings, [], [], []
    for group in generation.groups:
        heads, h, passes = group.heads, group.states(rows), []
        drawn, heads.generators = heads.generators, generators(group.seeds, 107)
        for _ in range(settings.n_samples):
            dropped = h if settings.faithful_to_release else h * heads.masks(h.shape[1:], h)
            passes.append(probabilities(group.read_out(dropped)))
        heads.generators = drawn
        stacked = {task: torch.stack([p[task] for p in passes]) for task in passes[0]}
        means.append({task: p.mean(0) for task, p in stacked.items()})
        splits.append({task: torch.stack(_decomposed(task, p), 1) for task, p in stacked.items()})
        spreads.append({task: p.std(0).flatten(1).mean(1) for task, p in stacked.items()})
    split = {task: EntropyDecomposition(*u.unbind(2)) for task, u in generation.gathered(splits).items()}
    spread = {task: float(sd.mean()) for task, sd in generation.gathered(spreads).items()}
    return generation.gathered(means), split, spread


def uncertainty(p: Probabilities) -> dict[str, EntropyDecomposition]:
    """Total, aleatoric and epistemic uncertainty (S, n, ...) of the ensemble of M members, each divided by log C.

    AU has a last axis of units, EXPR none, VA one of valence and arousal. Of a single member all is aleatoric, and
    the epistemic uncertainty is 0.

    >>> split = uncertainty({"EXPR": torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])})  # two members, sure of two classes
    >>> [float(part) for part in split["EXPR"]]
    [1.0, 0.0, 1.0]
    """
    # U_t = H(mean_m p_m),  U_a = mean_m H(p_m),  U_e = U_t - U_a
    return {task: _decomposed(task, probs.movedim(1, 0)) for task, probs in p.items()}


def _decomposed(task: str, p: Tensor) -> EntropyDecomposition:
    # entropies over log C: 2 answers of a unit, C expressions, 20 bins of valence and of arousal
    split = bernoulli_entropy_decomposition if task == "AU" else entropy_decomposition
    return split(p.double(), normalise=True)


@one_thread()
def soft_labels(generation: Generation) -> Probabilities:
    """What a generation predicts for all frames, the mean over its members: (S, N, ...) by task.

    In shards of videos that are written once with their checksums. A pass that is killed goes on with the first shard
    that is missing, and gives what it would have given: a shard depends on the networks and its own frames alone.
    """
    videos = generation.videos
    if generation.settings.clip == 1:
        shards = torch.arange(len(videos.video)).split(IMAGES_A_SHARD)
    else:
        starts = range(0, len(videos.sequences), VIDEOS_A_SHARD)
        shards = [torch.cat(videos.sequences[i : i + VIDEOS_A_SHARD]) for i in starts]
    stored = []
    for rows in tqdm(shards, desc="soft labels", unit="shard", disable=None, leave=False):

        def build(rows=rows) -> dict[str, np.ndarray]:
            p = probabilities(generation.gathered(group.logits(rows, soft=True) for group in generation.groups))
            # the arithmetic mean over the N models
            return {task: probs.mean(1).numpy() for task, probs in p.items()}

        stored.append(cached_arrays(content_key("soft labels", generation.key, rows), build, kind="soft_labels"))
    order = torch.cat(list(shards)).argsort()
    return {task: torch.from_numpy(np.concatenate([s[task] for s in stored], 1))[:, order] for task in stored[0]}
