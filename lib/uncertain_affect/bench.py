"""Times the library beside its peers: ``make bench``, or ``python -m uncertain_affect.bench [FOLDER]``.

Ours and the peer run alternately in one process on two threads, so that a busy machine slows both; what is reported
is the median over pairs of the ratio of their times. Tests check that both do the same work.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from uncertain_affect import corpora, record
from uncertain_affect.corpora import images
from uncertain_affect.corpora.simulated.faces import ACTION_UNITS, Identity, Nuisance, render
from uncertain_affect.losses import soft_label_cross_entropy
from uncertain_affect.metrics import entropy_decomposition, expected_calibration_error
from uncertain_affect.metrics.calibration import calibration_sums, ece_from_sums
from uncertain_affect.models.emenet import TaskHeads
from uncertain_affect.models.han_rock import TaskGRU
from uncertain_affect.models.ugn import UncertainGraphLayer, UncertainGraphNetwork
from uncertain_affect.models.uncnet import UncNet, mc_uncertainty
from uncertain_affect.paths import project_root
from uncertain_affect.resampling import cluster_sums, resample
from uncertain_affect.training import fit, generators
from uncertain_affect.widgets import (
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
from uncertain_affect.widgets.classroom import SIZES, classroom

THREADS = 2
PAIRS = 5
VIEWS = ("ferplus", "bp4d", "disfa", "recola", "affwild2", "dialogues")


@dataclass(frozen=True)
class Work:
    """One piece of work, done twice.

    Attributes:
        name: what is done.
        peer_name: how the peer does it.
        ours, peer: do it once, and return what came out.
        target: how many times faster ours must at least be; None where nothing is promised.
        share: the part of the work that one call of ``peer`` does; its time is divided by it.
    """

    name: str
    peer_name: str
    ours: Callable[[], object]
    peer: Callable[[], object]
    target: float | None = None
    share: float = 1.0


def mc_dropout_work(masks: str, target: float, n: int = 3579, n_features: int = 1792, n_samples: int = 100) -> Work:
    """Mean prediction and three uncertainties of a test set, beside T passes through ``nn.Dropout``."""
    model = UncNet(n_features, generators([0])).eval()
    layers = _as_layers(model).train()
    x = torch.randn(n, n_features, generator=generators([0], 1)[0])
    draws = generators([0], 2)[0]

    def ours() -> tuple[Tensor, ...]:
        mean, split = mc_uncertainty(model, x, n_samples, draws, masks)
        return mean, *split

    @torch.no_grad()
    def peer() -> tuple[Tensor, ...]:
        probs = torch.stack([torch.softmax(layers(x), -1) for _ in range(n_samples)])
        mean = probs.mean(0)
        total = torch.special.entr(mean).sum(-1)
        aleatoric = torch.special.entr(probs).sum(-1).mean(0)
        return mean, total, aleatoric, total - aleatoric

    name = f'MC dropout, masks="{masks}": N = {n:,}, D = {n_features:,}, T = {n_samples}'
    return Work(name, "T passes through nn.Dropout", ours, peer, target)


def training_work(n_seeds: int = 20, n_features: int = 900, steps: int = 200, batch_size: int = 90) -> Work:
    """One epoch of training for many seeds, beside the usual loop one seed after another; validation losses."""
    n = steps * batch_size
    g = generators([0])[0]
    x = torch.randn(n + 1000, n_features, generator=g)
    y = torch.softmax(x @ torch.randn(n_features, 9, generator=g) / n_features**0.5, -1)
    (x, x_val), (y, y_val) = x.split((n, 1000)), y.split((n, 1000))
    seeds = list(range(n_seeds))
    settings = {"lr": 1e-3, "batch_size": batch_size, "max_epochs": 1, "patience": 1, "clip_norm": 5.0}

    def ours() -> list[float]:
        model, order = UncNet(n_features, generators(seeds)), generators(seeds, 1)
        return fit(model, soft_label_cross_entropy, (x, y), (x_val, y_val), order=order, **settings).val[-1]

    def peer() -> list[float]:
        return [train_alone(seed) for seed in seeds]

    def train_alone(seed: int) -> float:
        layers = _as_layers(UncNet(n_features, generators([seed]))).train()
        optimiser = torch.optim.Adam(layers.parameters(), lr=settings["lr"], fused=True)
        for batch in torch.randperm(n, generator=generators([seed], 1)[0]).split(batch_size):
            optimiser.zero_grad()
            nn.functional.cross_entropy(layers(x[batch]), y[batch]).backward()
            nn.utils.clip_grad_norm_(layers.parameters(), settings["clip_norm"])
            optimiser.step()
        with torch.no_grad():
            return nn.functional.cross_entropy(layers.eval()(x_val), y_val).item()

    name = f"Training {n_seeds} seeds of the perceptron: D = {n_features}, {steps} steps of {batch_size}"
    return Work(name, "one seed after another with torch.nn", ours, peer)


def bootstrap_work(
    n: int = 100_000, n_clusters: int = 300, n_resamples: int = 10_000, peer_resamples: int = 50
) -> Work:
    """Cluster bootstrap of the calibration error, beside gathering the examples of every resample; 95% limits."""
    probs, labels = _predictions(n)
    groups = np.arange(n) % n_clusters
    members = [np.flatnonzero(groups == c) for c in range(n_clusters)]

    def ours() -> np.ndarray:
        sums = cluster_sums(calibration_sums(probs, labels)[None], groups)
        return np.quantile(resample(sums, ece_from_sums, n_resamples, np.random.default_rng(0)), [0.025, 0.975])

    def peer() -> np.ndarray:
        rng, values = np.random.default_rng(1), []
        for _ in range(peer_resamples):
            rows = np.concatenate([members[c] for c in rng.integers(n_clusters, size=n_clusters)])
            values.append(expected_calibration_error(probs[rows], labels[rows]))
        return np.quantile(values, [0.025, 0.975])

    name = f"Cluster bootstrap of ECE: N = {n:,}, {n_clusters} clusters, {n_resamples:,} resamples"
    return Work(name, f"loop over resamples, {peer_resamples} timed", ours, peer, share=peer_resamples / n_resamples)


def calibration_work(n: int = 1_000_000) -> Work:
    """Expected calibration error in float64, beside torchmetrics in float32."""
    from torchmetrics.functional.classification import multiclass_calibration_error  # a dependency of tests alone

    probs, labels = _predictions(n)
    as_tensors = torch.from_numpy(probs), torch.from_numpy(labels)

    def peer() -> float:
        return multiclass_calibration_error(*as_tensors, num_classes=probs.shape[1], n_bins=10).item()

    return Work(f"ECE: N = {n:,}, 9 classes", "torchmetrics", lambda: expected_calibration_error(probs, labels), peer)


def graph_work(n: int = 512, n_au: int = 12, n_features: int = 512, n_samples: int = 20) -> Work:
    """UGN's logits under S draws of its masks, beside a loop over samples and pairs of nodes as Eqs. 3-8 read."""
    model = UncertainGraphNetwork(n_au, n_features, generators([0]), ["UGN"])
    x = torch.randn(n, n_au, n_features, generator=generators([0], 1)[0])

    @torch.no_grad()
    def ours() -> Tensor:
        model.generators[0].manual_seed(1)
        return model.sample_logits(x, n_samples)[:, 0]

    @torch.no_grad()
    def peer() -> Tensor:
        model.generators[0].manual_seed(1)
        noise = model.draw_noise(n, n_samples, [0])[:, 0]
        return torch.stack([one_sample(noise[:, :, s]) for s in range(n_samples)])

    def one_sample(noise: Tensor) -> Tensor:
        first, second = model.layers
        h = convolve(second, torch.relu(convolve(first, x, noise[0])), noise[1])
        return (h * model.readout[0]).sum(-1) + model.readout_bias[0, 0]

    def convolve(layer: UncertainGraphLayer, x: Tensor, noise: Tensor) -> Tensor:
        projected, a_mu, a_sigma = x @ layer.P[0].T, layer.a_mu[0], layer.a_sigma[0]
        masks = torch.empty(n, n_au, n_au)
        for i in range(n_au):
            for j in range(n_au):
                pair = torch.cat([projected[:, i], projected[:, j]], -1)
                masks[:, i, j] = torch.sigmoid(pair @ a_mu + nn.functional.softplus(pair @ a_sigma) * noise[:, i, j])
        return masks * layer.adjacency()[0] @ (x @ layer.W[0])

    name = f"Uncertain graph network: N = {n_au}, d = {n_features}, S = {n_samples}, batch {n}"
    return Work(name, "loop over samples and pairs of nodes", ours, peer, target=10)


def attention_work(n: int = 512, n_au: int = 12, n_features: int = 512, width: int = 64) -> Work:
    """One uncertain graph layer at S = 1 beside a graph attention layer of the same width; outputs (n, n_au, width).

    The two are different functions on the same complete graphs; needs PyTorch Geometric, which is no dependency.
    """
    from torch_geometric.nn import GATConv

    layer = UncertainGraphLayer(n_au, n_features, generators([0]), width)
    attention = GATConv(n_features, width, add_self_loops=False)
    x = torch.randn(n, n_au, n_features, generator=generators([0], 1)[0])
    draws = generators([0], 2)[0]
    nodes = torch.arange(n * n_au).view(n, n_au)
    pairs = torch.stack(torch.broadcast_tensors(nodes[:, :, None], nodes[:, None])).flatten(1)

    @torch.no_grad()
    def ours() -> Tensor:
        noise = torch.randn(1, n, 1, n_au, n_au, generator=draws)
        return layer(x, layer.masks(x, noise))[0, :, 0]

    @torch.no_grad()
    def peer() -> Tensor:
        return attention(x.flatten(0, 1), pairs).view(n, n_au, width)

    name = f"Uncertain graph layer: N = {n_au}, d = {n_features}, S = 1, width {width}, batch {n}"
    return Work(name, "torch_geometric's GATConv", ours, peer)


def auxiliary_encoders_work(
    n: int = 64, n_steps: int = 18, n_features: int = 256, n_units: int = 1, n_tasks: int = 16, target: float = 15
) -> Work:
    """Forward and backward pass of HAN-ROCK's auxiliary talkturn encoders, beside a module for each task.

    Both give the states (T, B, L, 2H) and the gradient of a weighted sum of them with respect to the input.
    """
    together = TaskGRU(n_tasks, n_features, n_units, generators([0])[0])
    apart = nn.ModuleList(_as_grus(together))
    g = generators([0], 1)[0]
    x = torch.randn(n, n_steps, n_features, generator=g, requires_grad=True)
    weights = torch.randn(n_tasks, n, n_steps, 2 * n_units, generator=g)

    def passes(model: nn.Module, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        model.zero_grad()
        x.grad = None
        states = encode(x)
        (states * weights).sum().backward()
        return states.detach(), x.grad

    name = f"{n_tasks} bi-GRUs, forward and backward: B = {n}, L = {n_steps}, D = {n_features}, H = {n_units}"
    return Work(
        name,
        f"{n_tasks} modules nn.GRU",
        lambda: passes(together, together),
        lambda: passes(apart, lambda x: torch.stack([gru(x)[0] for gru in apart])),
        target,
    )


def task_heads_work(
    n_heads: int = 20, n_clips: int = 5, n_steps: int = 16, n_features: int = 128, size: int = 32, target: float = 2
) -> Work:
    """A training step of EMENet's heads for many members, beside the usual loop over members with ``nn.GRU``.

    Each member has a minibatch of its own for each of its three tasks; both give every member's mean square of its
    outputs, (n_heads,), having taken the gradients of their sum and a step of Adam.
    """
    together = TaskHeads(n_features, generators(range(n_heads)), hidden=size, dropout=0.0, shared=2 * size)
    apart = [_as_modules(together, copy) for copy in range(n_heads)]
    x = torch.randn(n_heads, 3, n_clips, n_steps, n_features, generator=generators([0], 1)[0])
    optimiser = torch.optim.Adam(together.parameters(), lr=0.0, fused=True)
    alone = [torch.optim.Adam(member.parameters(), lr=0.0, fused=True) for member in apart]

    def ours() -> Tensor:
        out, _ = together(x)
        losses = sum(z.square().mean((1, 2, 3)) for z in out.values())
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        optimiser.step()
        return losses.detach()

    def peer() -> Tensor:
        losses = []
        for member, its_optimiser, of_member in zip(apart, alone, x, strict=True):
            loss = sum(
                member[f"linear{i}"](member[f"gru{i}"](member["shared"](of_task))[0]).square().mean()
                for i, of_task in enumerate(of_member)
            )
            its_optimiser.zero_grad(set_to_none=True)
            loss.backward()
            its_optimiser.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    name = f"Training step of {n_heads} x 3 GRU heads: B = {n_clips}, T = {n_steps}, D = {n_features}, H = {size}"
    return Work(name, "one member after another with torch.nn", ours, peer, target)


def faces_work(again: bool, loader: bool, n: int = 500, side: int = 256) -> Work:
    """Face crops from disk to a tensor uint8 (n, 3, side, side), beside a plain loop or a ``DataLoader``.

    Args:
        again: from the array that an earlier call prepared; else from an empty cache, preparing it.
        loader: the peer is torch's ``DataLoader`` with as many workers as there are threads, not a loop.
        n: JPEGs, written here; frames a second are n over the seconds.
        side: of the JPEGs, in pixels.
    """
    folder = tempfile.TemporaryDirectory()  # for as long as the work is there
    rng, files = np.random.default_rng(0), []
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        files.append(Path(folder.name) / f"{i}.jpg")
        small.resize((side, side), Image.Resampling.BICUBIC).save(files[-1], quality=90)
    ready = Path(folder.name) / "cache"

    def ours() -> Tensor:
        with tempfile.TemporaryDirectory(dir=folder.name) as empty:
            with mock.patch.dict(os.environ, UNCERTAIN_AFFECT_CACHE=str(ready if again else empty)):
                return images.faces(files, side, colour=True).clone()

    def peer() -> Tensor:
        pictures = _Pictures(files)
        if not loader:
            return torch.stack([pictures[i] for i in range(n)])
        return torch.cat(list(DataLoader(pictures, batch_size=50, num_workers=torch.get_num_threads())))

    how = "torch's DataLoader" if loader else "a loop with Pillow"
    when = "again, prepared" if again else "first time, preparing them"
    return Work(f"Faces from disk to tensor, {when}: {n} JPEGs of {side} x {side}", how, ours, peer)


class _Pictures(Dataset):
    """Pictures as tensors uint8 (3, H, W)."""

    def __init__(self, files: Sequence[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self.files[i]) as picture:
            # NumPy's copy: torch's own of so small an array costs more in waking its threads than it saves
            return torch.from_numpy(np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0).copy())


def works() -> list[Work]:
    """Everything that is timed; what needs PyTorch Geometric only where it is installed."""
    geometric = [attention_work] if importlib.util.find_spec("torch_geometric") else []
    return [
        mc_dropout_work("per_network", target=10),
        mc_dropout_work("per_input", target=1.5),
        training_work(),
        bootstrap_work(),
        calibration_work(),
        auxiliary_encoders_work(),
        task_heads_work(),
        graph_work(),
        *(faces_work(again, loader) for again in (False, True) for loader in (False, True)),
        *(work() for work in geometric),
    ]


def compare(work: Work, pairs: int = PAIRS) -> dict:
    """A row of the table: median seconds of both, and the median, lowest and highest ratio over pairs."""
    ours, peer = [], []
    for i in range(pairs + 1):
        both = _seconds(work.ours), _seconds(work.peer) / work.share
        if i:  # the first pair warms caches and thread pools
            ours.append(both[0])
            peer.append(both[1])
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    return {
        "work": work.name,
        "peer": work.peer_name,
        "seconds": statistics.median(ours),
        "peer seconds": statistics.median(peer),
        "times faster": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "target": work.target,
    }


def main(folder: Path, todo: list[Work], pairs: int = PAIRS) -> pd.DataFrame:
    """Time everything, print a table, and write ``peers.csv`` and ``peers.json`` with its provenance."""
    torch.set_num_threads(THREADS)
    rows = []
    for work in todo:
        rows.append(row := compare(work, pairs))
        promised = "" if work.target is None else f", target {work.target:g}"
        print(
            f"{row['work']}\n  {row['seconds']:.3f} s; {row['peer']} {row['peer seconds']:.3f} s; "
            f"{row['times faster']:.1f} times faster ({row['lowest']:.1f}-{row['highest']:.1f}{promised})",
            flush=True,
        )
    table = pd.DataFrame(rows)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "peers.csv", index=False, float_format="%.4g")
    record.write_json(folder / "peers.json", {"pairs": pairs, **provenance()})
    return table


def world(folder: Path, n_faces: int = 2000, views: Sequence[str] = VIEWS, repeats: int = 5) -> pd.DataFrame:
    """Time the renderer and the quick views of the simulated world from an empty cache.

    Prints a table and writes ``simulated.csv`` and ``simulated.json``. The world has no peer: what is reported is
    faces per second at 64x64 with drawn conditions (median of ``repeats``), and seconds to build each view once.
    """
    torch.set_num_threads(THREADS)
    generator = torch.Generator().manual_seed(0)
    identity, nuisance = Identity.draw(n_faces, generator), Nuisance.draw(n_faces, generator)
    intensities = 5 * torch.rand(n_faces, len(ACTION_UNITS), generator=generator)
    drawn = [_seconds(lambda: render(intensities, identity, nuisance, generator=generator)) for _ in range(repeats)]
    rows = [{"work": "faces per second, 64x64", "value": n_faces / statistics.median(drawn)}]
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, UNCERTAIN_AFFECT_CACHE=cache):
        for view in views:
            seconds = _seconds(lambda view=view: corpora.load("simulated", view=view, size="quick"))
            rows.append({"work": f"seconds to build view {view}, quick", "value": seconds})
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.1f}"), flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "simulated.csv", index=False, float_format="%.4g")
    record.write_json(folder / "simulated.json", provenance())
    return table


def panels(folder: Path, repeats: int = 20) -> pd.DataFrame:
    """Time an update of each panel: its figure and the picture that goes to the browser, median of ``repeats``.

    Prints a table and writes ``panels.csv`` and ``panels.json``. Panels draw with one thread.
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
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.0f}"), flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "panels.csv", index=False, float_format="%.3g")
    record.write_json(folder / "panels.json", {"repeats": repeats, **provenance()})
    return table


def provenance() -> dict:
    """Threads, hardware, versions and revision: what times depend on."""
    packages = ("torch", "numpy", "scipy", "torchmetrics")
    return {
        "threads": torch.get_num_threads(),
        "hardware": {
            "cpu": record.cpu_name(),
            "cores": os.cpu_count(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
        },
        "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages},
        "revision": record.revision(),
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _as_layers(model: UncNet) -> nn.Sequential:
    """The first copy of the network from torch's own layers."""
    layers = []
    for weight, bias in zip(model.weights, model.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:])
        with torch.no_grad():
            linear.weight.copy_(weight[0].T)
            linear.bias.copy_(bias[0, 0])
        layers += [linear, nn.ReLU(), nn.Dropout(model.dropout)]
    return nn.Sequential(*layers[:-2])


def _as_grus(model: TaskGRU) -> list[nn.GRU]:
    """The same recurrences from torch's own layers, one module a task."""
    n_tasks, _, n_gates, n_features = model.weight_ih.shape
    grus = [nn.GRU(n_features, n_gates // 3, bidirectional=True, batch_first=True) for _ in range(n_tasks)]
    with torch.no_grad():
        for task, gru in enumerate(grus):
            for name, parameter in model.named_parameters():
                for direction, suffix in enumerate(("_l0", "_l0_reverse")):
                    getattr(gru, name + suffix).copy_(parameter[task, direction])
    return grus


def _as_modules(heads: TaskHeads, copy: int) -> nn.ModuleDict:
    """One copy of the heads from torch's own layers."""
    width = heads.shared_weight.shape[2]
    shared = nn.Sequential(nn.Linear(heads.in_features, width), nn.PReLU())
    modules = nn.ModuleDict({"shared": shared})
    with torch.no_grad():
        shared[0].weight.copy_(heads.shared_weight[copy].T)
        shared[0].bias.copy_(heads.shared_bias[copy, 0])
        for i, (task, n_outputs) in enumerate(heads.outputs.items()):
            gru, linear = nn.GRU(width, heads.hidden, batch_first=True), nn.Linear(heads.hidden, n_outputs)
            for name in ("ih", "hh"):
                getattr(gru, f"weight_{name}_l0").copy_(getattr(heads, f"weight_{name}")[copy, i].T)
                getattr(gru, f"bias_{name}_l0").copy_(getattr(heads, f"bias_{name}")[copy, i, 0])
            linear.weight.copy_(heads.weights[task][copy].T)
            linear.bias.copy_(heads.biases[task][copy, 0])
            modules[f"gru{i}"], modules[f"linear{i}"] = gru, linear
    return modules


def _predictions(n: int, n_classes: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Made-up probabilities (n, n_classes), too sure of themselves, and labels (n,)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, n_classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return torch.softmax(1.5 * torch.from_numpy(logits), -1).numpy(), labels


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=project_root() / "results" / "bench", help="where the table goes"
    )
    to = parser.parse_args().folder
    main(to, works())
    world(to)
    panels(to)
