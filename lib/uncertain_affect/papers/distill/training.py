"""Training of teachers and of the students that they teach, with Algorithm 1."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from uncertain_affect import losses
from uncertain_affect.compute.cache import code_key, content_key
from uncertain_affect.compute.devices import one_thread
from uncertain_affect.papers.distill import networks
from uncertain_affect.papers.distill.metrics import Metrics
from uncertain_affect.papers.distill.trunks import TEACHER_LOSSES, Encoders, Trunks
from uncertain_affect.papers.distill.videos import DistillSettings, Videos
from uncertain_affect.training.fit import History, cached_fit, fit, generators

# Part of every cache key: what other code has made is not taken.
RECIPE = code_key(__name__)
# Losses of students by task: of logits and soft labels.
STUDENT_LOSSES = {"AU": losses.au_distillation, "EXPR": losses.expr_distillation, "VA": losses.va_distillation}
# What is noted of a training beside its losses, by copy.
TRACES = ("performance", "weights_trace")


@one_thread()
def train(
    videos: Videos,
    trunks: Encoders,
    settings: DistillSettings,
    *,
    teachers: networks.Generation | None = None,
    balanced: Sequence[bool] = (True,),
    device: str = "cpu",
) -> list[networks.Generation]:
    """Teachers, or the students of a generation of teachers, of all seeds and members, or from the cache.

    On frozen trunks they train side by side; with trunks of their own one by one. Networks of one seed and member
    start from the same weights, see the same minibatches and drop the same units, whether balanced or not.

    Args:
        videos, trunks: what they learn from.
        settings: of the run.
        teachers: whose soft labels they learn from; without, from the corpus's labels.
        balanced: arms to train, with Algorithm 1 (True) and without; there is a generation of each.
        device: where to train.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    seeds, members = range(len(settings.seeds)), range(settings.members)
    copies = list(itertools.product(balanced, seeds, members))
    number = teachers.number + 1 if teachers else 0
    soft = networks.soft_labels(teachers) if teachers else None
    fitting = {k: v for k, v in asdict(settings).items() if k not in ("n_samples", "side_by_side", "tuning")}
    data = videos.clips, videos.union, videos.weights, videos.labels, videos.tune
    decides = RECIPE, fitting, trunks.key, teachers.key if teachers else None, data
    frozen, groups, histories = isinstance(trunks, Trunks), [], []
    form, at_once = (networks.FrozenGroup, settings.side_by_side) if frozen else (networks.EndToEndGroup, 1)
    for start in range(0, len(copies), at_once):
        some = copies[start : start + at_once]
        group = form(some, number, videos, trunks, settings, device)

        def learn(_: Path, group=group) -> History:
            return _fit(group, soft)

        histories.append(cached_fit(group, learn, *decides, [list(copy) for copy in some], device=device))
        groups.append(group)
    best_epoch = torch.tensor([epoch for h in histories for epoch in h.best_epoch])
    performance, weights = (torch.from_numpy(np.concatenate([h.traces[name] for h in histories])) for name in TRACES)
    generations, trained = [], torch.cat([group.balanced for group in groups])
    for arm in balanced:
        mine, key = trained == arm, content_key(*decides, arm, torch.device(device).type, torch.__version__)
        holding = [group for group in groups if (group.balanced == arm).any()]
        traces = performance[mine], weights[mine], best_epoch[mine]
        generations.append(networks.Generation(holding, arm, videos, settings, *traces, number, key))
    return generations


def _fit(group: networks.Group, soft: dict[str, Tensor] | None) -> History:
    """Train networks in place and leave each at its best epoch, and trace performance and weights."""
    videos, settings, device = group.videos, group.settings, group.device
    tasks, metrics, order = videos.tasks, Metrics(videos.outputs), generators(group.seeds, 10 * group.number + 1)
    # landmarks, and voice activity where sound is heard, count in the normalisation
    n_auxiliary = 0 if tasks == ("EXPR",) else 1 + settings.audio
    released = settings.faithful_to_release
    balancer = losses.TaskBalancer(len(group.seeds), len(tasks), n_auxiliary, group.balanced, released)
    # teachers have a minibatch for each task, students one with soft labels for all tasks
    loaders = [videos.union] if soft else [videos.clips[task] for task in tasks]
    shortest = min(map(len, loaders))
    clips = min(settings.clips, shortest)
    steps = shortest // clips
    labels = {task: videos.labels[task].to(device) for task in tasks}
    class_weights = {task: [w.to(device)] for task, w in videos.weights.items()}
    performance, weights = [], [balancer.weights]

    def batches() -> Iterator[tuple[Tensor, ...]]:
        """Rows (K, B, T) of each loader."""
        shuffled = [torch.stack([torch.randperm(len(loader), generator=g) for g in order]) for loader in loaders]
        for step in range(steps):
            chosen = slice(step * clips, (step + 1) * clips)
            yield tuple(loader[o[:, chosen]] for loader, o in zip(loaders, shuffled, strict=True))

    def loss(*rows: Tensor) -> Tensor:
        if soft:
            z, auxiliary = group(rows[0])
            seed = group.place[:, None, None]
            terms = [STUDENT_LOSSES[task](z[task], soft[task][seed, rows[0]].to(device)) for task in tasks]
        else:
            z, auxiliary = group(torch.stack(rows, 1))
            given = {task: labels[task][r.to(device)] for task, r in zip(tasks, rows, strict=True)}
            terms = [TEACHER_LOSSES[task](z[task], y, *class_weights.get(task, [])) for task, y in given.items()]
        return losses.multitask_loss([*terms, *auxiliary], balancer.weights.to(device))

    def validate() -> Tensor:
        p = networks.probabilities(group.logits(videos.rows("tune")))
        performance.append(metrics.performance(metrics.sums(p, videos, "tune").sum(1)))
        balancer.update(performance[-1])
        weights.append(balancer.weights)
        return -performance[-1].nan_to_num(-1).sum(1)

    adam = partial(Adam, lr=settings.lr, fused=True)
    decay = partial(LambdaLR, lr_lambda=lambda step: 0.1 ** (step // steps // settings.decay))
    options = {"validate": validate, "label": f"students {group.number}" if soft else "teachers"}
    history = fit(group, loss, batches, epochs=settings.epochs, optimiser=adam, schedule=decay, **options)
    traces = (torch.stack(trace, 1).numpy() for trace in (performance, weights))
    return replace(history, traces=dict(zip(TRACES, traces, strict=True)))
