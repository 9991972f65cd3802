"""Every network, loss and metric, and every paper's own training, on a pretended GPU: nothing is left on the CPU."""

import dataclasses

import numpy as np
import pytest
import torch
from papers import test_ugn as ugn_data
from papers.across import test_across as across_data
from papers.distill import small as distill_data
from papers.pen import conftest as pen_data
from papers.rock import conftest as rock_data
from torch import nn

from gpu.pretended import pretended_gpu
from gpu.steps import CASES, Case, Work, _fitting, compute
from uncertain_affect.corpora.simulated import identity
from uncertain_affect.papers import across, distill, pen, rock, ugn, uncnet
from uncertain_affect.papers.rock import search
from uncertain_affect.papers.rock.evidence import attention_weights


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))


def assert_same(here, there):
    """The same numbers in tensors that both lie on the CPU, however they are nested."""
    if isinstance(here, torch.Tensor):
        assert type(there) is torch.Tensor
        torch.testing.assert_close(there, here, rtol=0, atol=0, equal_nan=True)
    elif isinstance(here, np.ndarray):
        np.testing.assert_array_equal(there, here)
    elif dataclasses.is_dataclass(here):
        assert_same(vars(here), vars(there))
    elif isinstance(here, dict):
        assert here.keys() == there.keys()
        assert_same(list(here.values()), list(there.values()))
    elif isinstance(here, list | tuple):
        for x, y in zip(here, there, strict=True):
            assert_same(x, y)
    else:
        assert here == there


def on_both(work):
    """What a function of the device gives on the CPU and on the pretended GPU is the same, and all on the CPU."""
    here = work("cpu")
    with pretended_gpu():
        there = work("cuda")
    assert_same(here, there)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_and_a_prediction(case):
    on_both(lambda device: compute(case, device))


# --- what the pretended GPU refuses, as a GPU does --------------------------------------------------------------


class Planted(nn.Linear):
    """A layer with a tensor that does not go where the layer goes."""

    def __init__(self, **left):
        super().__init__(3, 2)
        self.left = left

    def forward(self, x):
        return super().forward(x) + self.left["shift"]


def planted(device, small):
    model, x = Planted(shift=torch.ones(2)).to(device), torch.ones(4, 3, device=device)
    learn = _fitting(model, lambda rows: model(x[rows]).sum(), lambda: [torch.arange(4)], optimiser=torch.optim.SGD)
    return Work(model, lambda: {"weight": model.weight}, learn)


def test_a_tensor_left_on_the_cpu_is_found():
    with pytest.raises(RuntimeError, match=r"shape \(2,\) is on cpu and others on cuda:0"):
        on_both(lambda device: compute(Case("planted", planted), device))


REFUSED = {
    "an operand": lambda x: x + torch.ones(3),
    "what is indexed": lambda x: torch.ones(3)[x.long()],
    "an index of index_select": lambda x: x.index_select(0, torch.tensor([0])),
    "a condition": lambda x: torch.where(torch.ones(3) > 0, x, x),
    "a generator": lambda x: torch.rand(3, device=x.device, generator=torch.Generator()),
    "a generator, in place": lambda x: x.normal_(generator=torch.Generator()),
    "an output": lambda x: torch.add(x, x, out=torch.ones(3)),
    "NumPy": lambda x: x.numpy(),
    "NumPy, asked by itself": lambda x: np.asarray(x),
}  # fmt: skip


@pytest.mark.parametrize("work", REFUSED.values(), ids=REFUSED)
def test_what_it_refuses(work):
    with pretended_gpu(), pytest.raises((RuntimeError, TypeError), match=r"one device|generator|numpy|device"):
        work(torch.zeros(3, device="cuda"))


def test_what_it_does_as_a_gpu_does():
    with pretended_gpu():
        x = torch.arange(6.0).view(2, 3).to("cuda")
        assert x.device == torch.device("cuda", 0) and x.is_cuda and not x.is_meta
        y = x[[1, 0]] * torch.tensor(2.0)  # indices and single numbers may lie on the CPU
        y[torch.tensor([True, False])] = 7
        assert y.tolist() == [[7, 7, 7], [0, 2, 4]] and float(y.sum()) == 27
        assert np.array_equal(y.cpu().numpy(), [[7, 7, 7], [0, 2, 4]])
        moved = nn.Linear(3, 2)
        weight = moved.weight
        assert moved.to("cuda").weight is weight and weight.is_cuda and isinstance(weight, nn.Parameter)
        assert torch.zeros(2, device="meta").is_meta  # there is one, and it stays what it is
    assert not torch.zeros(2).is_cuda


# --- the papers' own training, from the data to what is predicted ----------------------------------------------


def test_uncnet():
    draw = torch.Generator().manual_seed(0)
    x, shares = torch.randn(60, 5, generator=draw), torch.rand(60, 9, generator=draw).softmax(-1)
    data = uncnet.faces(x.numpy(), shares, np.repeat(["train", "val", "test"], 20), standardise=True)
    small = dataclasses.replace(uncnet.settings("quick"), seeds=(0, 1), max_epochs=2, batch_size=20, n_samples=4)

    def work(device):
        networks = {name: uncnet.train(data, small, name, device) for name in ("Baseline", "UncNet")}
        return uncnet.predict(data, networks, small)

    on_both(work)


def test_ugn_with_its_fine_tuned_residual_network():
    data, small = ugn_data.made_up(), dataclasses.replace(ugn_data.ONE_EPOCH, trunk=ugn_data.TRUNK)
    small = dataclasses.replace(small, trunk=dataclasses.replace(small.trunk, epochs=1))
    methods = (*ugn.METHODS, ugn.CONSTANT)
    on_both(lambda device: ugn.test(data, small, methods, folds=[0], device=device).predictions)


@pytest.mark.parametrize("tuning", ["joint", "individual"])
def test_pen(tuning):
    small = dataclasses.replace(pen_data.SMALL, epochs=1, adapt_epochs=1)
    of = [pen.data.replicate(pen_data.frames(), small, seed) for seed in small.seeds]

    def work(device):
        source = pen.train_source(of, small, pen_data.WAYS, tuning=tuning, device=device)
        return pen.predict(of, source, pen.adapt(of, source, small, device))

    on_both(work)


@pytest.mark.parametrize("form, cell", [("iemocap", rock_data.ROCK), ("semaine", rock_data.FLAT)])
def test_rock(form, cell):
    sizes = {"pri_gru": {256: 4}, "total": 5, "embedding_size": 6, "word_gru": 3, "attention": 4, "max_words": 10}
    small = dataclasses.replace(rock.settings("quick"), seeds=(0, 1), max_epochs=2, freeze=False, **sizes)
    problem = rock.problem(rock_data.small(form), form, "emotion" if form == "iemocap" else "valence", small)
    trial = search.Trial(1e-2, 16, 1e-3, 3, 0.2, 0.2, "random", (1 / len(problem.tasks),) * len(problem.tasks))

    def work(device):
        net, found = search.train(problem, cell, small, trial, [1, 2], device=device)
        attended = attention_weights(net, problem, trial, problem.rows["test"])
        return {name: found[name] for name in found if name != "seconds"}, attended

    on_both(work)


@pytest.mark.parametrize("trunk", ["made up", "released", "tuned", "own"])
def test_distillation(trunk):
    own, heard = trunk == "own", trunk in ("tuned", "own")
    options = {"epochs": 1, "audio": heard, "end_to_end": own, "faithful_to_release": trunk == "released"}
    if own:
        options |= {"members": 1, "seeds": (0,), "shared": None}
    corpus, small = distill_data.corpus(), dataclasses.replace(distill_data.SMALL, **options)
    data = distill.split_videos(corpus, small)

    def work(device):
        stands_on = distill.encoders(corpus, data, small, own, device) if heard else distill_data.trunks(data, small)
        (teachers,) = distill.train(data, stands_on, small, device=device)
        (students,) = distill.train(data, stands_on, small, teachers=teachers, device=device)
        rows = data.rows("tune")
        pictures = None if heard else distill.on_pictures(students, corpus.frames[:3])
        return distill.predict(students, rows), distill.mc_dropout(students, rows), pictures

    on_both(work)


@pytest.mark.parametrize("own", [False, True])
def test_across_the_papers(own):
    options = {} if own else {"units": True, "person": across_data.PEOPLE}
    task = across_data.small_task((1, 4) if own else (3, 2), own, **options)
    small = across_data.small_settings(max_epochs=1, generations=1, rates=(1e-2,))
    on_both(lambda device: {n: p.probs for n, p in across.predict_all(task, small, device=device).items()})


def test_features_of_a_network_of_the_simulated_world(monkeypatch):
    few = dataclasses.replace(identity.SIZES["quick"], n_people=6, n_pictures=2, epochs=1)
    monkeypatch.setitem(identity.SIZES, "quick", few)
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)

    def work(device):
        options = {"size": "quick", "seed": 0, "device": device, "batch_size": 2}
        return identity.tapped_features(images, "balanced", ["stage4"], **options)

    on_both(work)
