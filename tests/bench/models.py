"""Works: Monte Carlo dropout, seeds trained side by side, uncertain graphs, recurrences of many tasks."""

import copy
import itertools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from bench.compare import Peer, Task, Work
from bench.limits import matrix_products
from uncertain_affect.losses import soft_label_cross_entropy
from uncertain_affect.models.distill import TaskHeads
from uncertain_affect.models.rock import TaskGRU
from uncertain_affect.models.ugn import UncertainGraphLayer, UncertainGraphNetwork
from uncertain_affect.models.uncnet import UncNet, draw_kept, mc_uncertainty
from uncertain_affect.training.fit import fit_tensors, generators

FLOAT32 = 1e-5  # what is computed in float32 in another order
ENCODERS = "HAN-ROCK's 16 auxiliary encoders, forward and backward: L = 18, D = 256, H = 1"


def works() -> list[Work]:
    return [
        *(
            Work(
                f"MC dropout, T = 100, D = 1,792, {each}", 3579, "examples", lambda n, masks=masks: mc_dropout(n, masks)
            )
            for masks, each in (("per_network", "one mask a network"), ("per_input", "a mask an input"))
        ),
        Work("Training 20 seeds of a perceptron, D = 900, batches of 90", 18_000, "examples", training),
        Work("UGN, two layers: 12 nodes, d = 512, S = 20", 512, "examples", graph_network),
        Work("UGN, one layer: 12 nodes, d = 512, S = 1, width 64", 512, "examples", graph_layer),
        Work(ENCODERS, 64, "sequences", auxiliary_encoders, growth=(64, 6400)),
        Work("Training step of 20 x 3 GRU heads: T = 16, D = 128, H = 32", 5, "clips", task_heads, growth=(5, 500)),
    ]


# --- Monte Carlo dropout --------------------------------------------------------------------------------------


class _Passes:
    """Mean (N, C) and three uncertainties (N,) of T passes through a model whose dropout is on."""

    def __init__(self, model: nn.Module, x: Tensor, n_samples: int):
        self.model, self.x, self.n_samples = model, x, n_samples

    def __call__(self) -> tuple[Tensor, ...]:
        return self.summary(self.model(self.x) for _ in range(self.n_samples))

    @staticmethod
    @torch.no_grad()
    def summary(passes: Iterable[Tensor]) -> tuple[Tensor, ...]:
        probs = torch.stack([torch.softmax(logits, -1) for logits in passes])
        mean = probs.mean(0)
        total = torch.special.entr(mean).sum(-1)
        aleatoric = torch.special.entr(probs).sum(-1).mean(0)
        return mean, total, aleatoric, total - aleatoric

    def with_masks(self, masks: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The same, with these masks (T, N or 1, width) of both layers in the place of dropout's own."""
        model, given = copy.deepcopy(self.model), iter(masks)
        for name, module in list(model.named_modules()):
            if isinstance(module, _DropoutNd):
                holder, _, attribute = name.rpartition(".")
                setattr(model.get_submodule(holder), attribute, _GivenMasks(next(given), module.p))
        return _Passes(model, self.x, self.n_samples)()


class _GivenMasks(nn.Module):
    """Dropout whose masks are given, one for each pass."""

    def __init__(self, masks: Tensor, p: float):
        super().__init__()
        self.masks, self.p = iter(masks), p

    def forward(self, x: Tensor) -> Tensor:
        return x * next(self.masks) / (1 - self.p)


def mc_dropout(n: int, masks: str, n_features: int = 1792, n_samples: int = 100) -> Task:
    """Mean prediction and three uncertainties of a test set, beside T passes.

    With one mask a network all inputs meet the same T networks; peers draw a mask for every input, which ours does
    too with a mask an input. For their agreement both are given our masks.
    """
    model = UncNet(n_features, generators([0])).eval()
    x = torch.randn(n, n_features, generator=generators([0], 1)[0])
    draws = generators([0], 2)[0]

    def ours() -> tuple[Tensor, ...]:
        mean, split = mc_uncertainty(model, x, n_samples, draws, masks)
        return mean, *split

    def on_our_masks(run: _Passes) -> tuple[object, object]:
        draws.manual_seed(0)
        by_us = ours()
        draws.manual_seed(0)
        widths = [len(weight[0]) for weight in list(model.weights)[1:]]
        if masks == "per_network":
            kept = tuple(draw_kept((n_samples, width), model.dropout, draws)[:, None] for width in widths)
        else:
            kept = draw_kept((n, n_samples, sum(widths)), model.dropout, draws).transpose(0, 1).split(widths, -1)
        return by_us, run.with_masks(kept)

    def plain(layers: nn.Module) -> nn.Module:
        return layers.train()

    def baal(layers: nn.Module) -> nn.Module:
        from baal.bayesian.dropout import MCDropoutModule

        return MCDropoutModule(layers).eval()

    def baal_caching(layers: nn.Module) -> nn.Module:
        from baal.bayesian.caching_utils import MCCachingModule
        from baal.bayesian.dropout import MCDropoutModule

        return MCCachingModule(MCDropoutModule(layers)).eval()

    def torch_uncertainty(layers: nn.Module) -> nn.Module:
        from torch_uncertainty.methods import mc_dropout

        # its loop over passes is the same as of the others; on the batch it would copy the inputs T times
        return mc_dropout(layers, num_estimators=1, on_batch=False).eval()

    def passes(dropping: Callable[[nn.Module], nn.Module]) -> Callable[[], _Passes]:
        return lambda: _Passes(dropping(as_layers(model)), x, n_samples)

    if masks == "per_network":
        reason, targets = "each of T networks still multiplies every input by its own matrix", (10, 10, 3, 10)
    else:
        reason = "a mask for every input, unit and pass has to be drawn and multiplied, and no product can be shared"
        targets = (1.5, None, None, None)
    others = {
        "T passes of nn.Dropout": plain,
        "Baal's MCDropoutModule": baal,
        "Baal's MCCachingModule": baal_caching,
        "torch-uncertainty's mc_dropout": torch_uncertainty,
    }
    peers = [
        Peer(name, passes(dropping), target=target, reason=reason, tolerance=FLOAT32, outputs=on_our_masks)
        for (name, dropping), target in zip(others.items(), targets, strict=True)
    ]
    first, second, n_classes = (weight.shape[-1] for weight in model.weights)
    rows = min(n, 512)  # as many at a time as stay in the cache
    times = n_samples * n / rows
    products = (1, n, n_features, first, 1), (1, rows, first, second, times), (1, n_classes, second, rows, times)
    return Task(ours, peers, matrix_products(*products))


# --- many seeds side by side ----------------------------------------------------------------------------------


def training(n: int, n_seeds: int = 20, n_features: int = 900, batch_size: int = 90, n_val: int = 1000) -> Task:
    """One epoch of n examples for many seeds, beside the usual loop one seed after another; validation losses.

    For their agreement both train without dropout, whose masks differ.
    """
    g = generators([0])[0]
    x = torch.randn(n + n_val, n_features, generator=g)
    y = torch.softmax(x @ torch.randn(n_features, 9, generator=g) / n_features**0.5, -1)
    (x, x_val), (y, y_val) = x.split((n, n_val)), y.split((n, n_val))
    seeds = list(range(n_seeds))
    settings = {"lr": 1e-3, "batch_size": batch_size, "max_epochs": 1, "patience": 1, "clip_norm": 5.0}

    def ours(dropout: float = 0.2) -> list[float]:
        model, order = UncNet(n_features, generators(seeds), dropout=dropout), generators(seeds, 1)
        return fit_tensors(model, soft_label_cross_entropy, (x, y), (x_val, y_val), order=order, **settings).val[-1]

    def one_by_one(dropout: float = 0.2) -> list[float]:
        return [alone(seed, dropout) for seed in seeds]

    def alone(seed: int, dropout: float) -> float:
        layers = as_layers(UncNet(n_features, generators([seed]), dropout=dropout)).train()
        optimiser = torch.optim.Adam(layers.parameters(), lr=settings["lr"], fused=True)
        for batch in torch.randperm(n, generator=generators([seed], 1)[0]).split(batch_size):
            optimiser.zero_grad()
            nn.functional.cross_entropy(layers(x[batch]), y[batch]).backward()
            nn.utils.clip_grad_norm_(layers.parameters(), settings["clip_norm"])
            optimiser.step()
        with torch.no_grad():
            return nn.functional.cross_entropy(layers.eval()(x_val), y_val).item()

    reason = "the optimiser reads and writes as many weights and moments side by side as one after another"
    # rounding that grows over the steps of Adam
    agree = {"tolerance": 1e-4, "outputs": lambda run: (ours(dropout=0.0), run(dropout=0.0))}
    peer = Peer("one seed after another, fused Adam", lambda: one_by_one, target=2, reason=reason, **agree)
    widths = (n_features, 128, 128, 9)
    steps = n / batch_size
    products = []
    for i, (d, k) in enumerate(itertools.pairwise(widths)):
        products += [(n_seeds, batch_size, d, k, steps), (n_seeds, d, batch_size, k, steps)]
        if i:  # the gradient does not go on to the inputs
            products.append((n_seeds, batch_size, k, d, steps))
    return Task(ours, [peer], matrix_products(*products))


# --- uncertain graphs -----------------------------------------------------------------------------------------


def graph_network(n: int, n_au: int = 12, n_features: int = 512, n_samples: int = 20) -> Task:
    """UGN's logits under S draws of its masks, beside a loop over samples and pairs of nodes as Eqs. 3-8 read."""
    model = UncertainGraphNetwork(n_au, n_features, generators([0]), ["UGN"])
    x = torch.randn(n, n_au, n_features, generator=generators([0], 1)[0])

    @torch.no_grad()
    def ours() -> Tensor:
        model.generators[0].manual_seed(1)
        return model.sample_logits(x, n_samples)[:, 0]

    @torch.no_grad()
    def loop() -> Tensor:
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

    reason = "the noise of all masks, which both draw alike, the sigmoids and the second layer's products remain"
    name = "loop over samples and pairs of nodes"
    peer = Peer(name, lambda: loop, target=10, reason=reason, tolerance=FLOAT32)
    width, nodes = model.width, n * n_au
    first, second = (1, nodes, n_features, width + 4, 1), (1, n_samples * nodes, width, n_au + 4, 1)
    return Task(ours, [peer], matrix_products(first, (n, n_samples * n_au, n_au, width, 1), second))


def graph_layer(n: int, n_au: int = 12, n_features: int = 512, width: int = 64) -> Task:
    """One uncertain graph layer at S = 1 beside a graph attention layer of the same width; outputs (n, n_au, width).

    The two are different functions on the same complete graphs.
    """
    layer = UncertainGraphLayer(n_au, n_features, generators([0]), width)
    x = torch.randn(n, n_au, n_features, generator=generators([0], 1)[0])
    draws = generators([0], 2)[0]

    @torch.no_grad()
    def ours() -> Tensor:
        noise = torch.randn(1, n, 1, n_au, n_au, generator=draws)
        return layer(x, layer.masks(x, noise))[0, :, 0]

    def geometric() -> Callable[[], Tensor]:
        from torch_geometric.nn import GATConv

        attention = GATConv(n_features, width, add_self_loops=False)
        nodes = torch.arange(n * n_au).view(n, n_au)
        pairs = torch.stack(torch.broadcast_tensors(nodes[:, :, None], nodes[:, None])).flatten(1)
        return torch.no_grad()(lambda: attention(x.flatten(0, 1), pairs).view(n, n_au, width))

    reason = "the product of inputs and weights, which both need, is most of the work"
    peer = Peer("torch_geometric's GATConv, another function", geometric, target=1, reason=reason)
    return Task(ours, [peer], matrix_products((1, n * n_au, n_features, width + 4, 1), (n, n_au, n_au, width, 1)))


# --- recurrences ----------------------------------------------------------------------------------------------


def auxiliary_encoders(n: int, n_steps: int = 18, n_features: int = 256, n_units: int = 1, n_tasks: int = 16) -> Task:
    """Forward and backward pass of HAN-ROCK's auxiliary talkturn encoders, beside a module for each task.

    Both give the states (T, B, L, 2H) and the gradient of a weighted sum of them with respect to the input.
    """
    together = TaskGRU(n_tasks, n_features, n_units, generators([0])[0])
    g = generators([0], 1)[0]
    x = torch.randn(n, n_steps, n_features, generator=g, requires_grad=True)
    weights = torch.randn(n_tasks, n, n_steps, 2 * n_units, generator=g)

    def passes(model: nn.Module, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        model.zero_grad()
        x.grad = None
        states = encode(x)
        (states * weights).sum().backward()
        return states.detach(), x.grad

    def modules() -> Callable[[], tuple[Tensor, Tensor]]:
        apart = nn.ModuleList(as_grus(together))
        return lambda: passes(apart, lambda x: torch.stack([gru(x)[0] for gru in apart]))

    reason = "with one unit a step has hardly any arithmetic: starting its operations in turn is what is left"
    peer = Peer(f"{n_tasks} modules nn.GRU", modules, target=15, reason=reason, tolerance=FLOAT32)
    gates, rows = 2 * n_tasks * 3 * n_units, n * n_steps
    products = (1, gates, n_features, rows, 1), (1, gates, rows, n_features, 1), (1, rows, gates, n_features, 1)
    steps = 2 * n_tasks, 3 * n_units, n_units, n, 2 * n_steps
    return Task(lambda: passes(together, together), [peer], matrix_products(*products, steps))


def task_heads(n: int, n_heads: int = 20, n_steps: int = 16, n_features: int = 128, size: int = 32) -> Task:
    """A training step of EMENet's heads for many members, beside the usual loop over members with ``nn.GRU``.

    Each member has a minibatch of n clips of its own for each of its three tasks; both give every member's mean
    square of its outputs, (n_heads,), having taken the gradients of their sum and a step of Adam.
    """
    together = TaskHeads(n_features, generators(range(n_heads)), hidden=size, dropout=0.0, shared=2 * size)
    x = torch.randn(n_heads, 3, n, n_steps, n_features, generator=generators([0], 1)[0])
    optimiser = torch.optim.Adam(together.parameters(), lr=0.0, fused=True)

    def ours() -> Tensor:
        out = together(x)
        losses = sum(z.square().mean((1, 2, 3)) for z in out.values())
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        optimiser.step()
        return losses.detach()

    def one_by_one() -> Callable[[], Tensor]:
        apart = [as_modules(together, member) for member in range(n_heads)]
        alone = [torch.optim.Adam(member.parameters(), lr=0.0, fused=True) for member in apart]
        return lambda: torch.stack([step(*of_member) for of_member in zip(apart, alone, x, strict=True)])

    def step(member: nn.ModuleDict, its_optimiser: torch.optim.Optimizer, of_member: Tensor) -> Tensor:
        loss = sum(
            member[f"linear{i}"](member[f"gru{i}"](member["shared"](of_task))[0]).square().mean()
            for i, of_task in enumerate(of_member)
        )
        its_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        its_optimiser.step()
        return loss.detach()

    reason = "states of 32 units fill the processor already for one member"
    peer = Peer("one member after another with nn.GRU", one_by_one, target=2, reason=reason, tolerance=FLOAT32)
    copies, rows, shared, gates = 3 * n_heads, n * n_steps, 2 * size, 3 * size
    products = (
        *((rows, n_features, shared, 1), (n_features, rows, shared, 1), (rows, shared, gates, 2)),
        *((shared, rows, gates, 1), (n, size, gates, 2 * n_steps), (size, rows, gates, 1)),
    )
    return Task(ours, [peer], matrix_products(*((copies, *product) for product in products)))


# --- the same networks of torch's own layers ------------------------------------------------------------------


def as_layers(model: UncNet) -> nn.Sequential:
    """The first copy of the network from torch's own layers."""
    layers = []
    for weight, bias in zip(model.weights, model.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:])
        with torch.no_grad():
            linear.weight.copy_(weight[0].T)
            linear.bias.copy_(bias[0, 0])
        layers += [linear, nn.ReLU(), nn.Dropout(model.dropout)]
    return nn.Sequential(*layers[:-2])


def as_grus(model: TaskGRU) -> list[nn.GRU]:
    """The same recurrences from torch's own layers, one module a task."""
    n_tasks, _, n_gates, n_features = model.weight_ih.shape
    grus = [nn.GRU(n_features, n_gates // 3, bidirectional=True, batch_first=True) for _ in range(n_tasks)]
    with torch.no_grad():
        for task, gru in enumerate(grus):
            for name, parameter in model.named_parameters():
                for direction, suffix in enumerate(("_l0", "_l0_reverse")):
                    getattr(gru, name + suffix).copy_(parameter[task, direction])
    return grus


def as_modules(heads: TaskHeads, member: int) -> nn.ModuleDict:
    """One copy of the heads from torch's own layers."""
    width = heads.shared_weight.shape[2]
    shared = nn.Sequential(nn.Linear(heads.in_features, width), nn.PReLU())
    modules = nn.ModuleDict({"shared": shared})
    with torch.no_grad():
        shared[0].weight.copy_(heads.shared_weight[member].T)
        shared[0].bias.copy_(heads.shared_bias[member, 0])
        for i, (task, n_outputs) in enumerate(heads.outputs.items()):
            gru, linear = nn.GRU(width, heads.hidden, batch_first=True), nn.Linear(heads.hidden, n_outputs)
            for name in ("ih", "hh"):
                getattr(gru, f"weight_{name}_l0").copy_(getattr(heads, f"weight_{name}")[member, i].T)
                getattr(gru, f"bias_{name}_l0").copy_(getattr(heads, f"bias_{name}")[member, i, 0])
            linear.weight.copy_(heads.weights[task][member].T)
            linear.bias.copy_(heads.biases[task][member, 0])
            modules[f"gru{i}"], modules[f"linear{i}"] = gru, linear
    return modules
