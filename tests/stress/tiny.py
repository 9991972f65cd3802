"""One seed or two of every training on little data, for `same.py`: what each gives, as arrays in a folder.

    python tests/stress/tiny.py FOLDER

What is trained also lies in the cache, which `same.py` compares array by array.
"""

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import torch

from uncertain_affect import corpora
from uncertain_affect.corpora.base import ActionUnits, AffectTraces, AffectVideos, Dialogues
from uncertain_affect.corpora.simulated import identity
from uncertain_affect.models.backbones import SmallResNet
from uncertain_affect.papers import across, distill, pen, rock, ugn, uncnet
from uncertain_affect.papers.across.methods import probabilities
from uncertain_affect.papers.distill.evidence import clustered, scaled, temperature_scaling, temperatures
from uncertain_affect.papers.pen.evidence import person_sums, plain
from uncertain_affect.papers.rock import search
from uncertain_affect.papers.rock.evidence import attention_weights
from uncertain_affect.training.finetune import FineTuningSettings, finetune, starting_network
from uncertain_affect.training.fit import generators


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_views():
    """Pictures, sounds and labels of the simulated world."""
    for view in ("ferplus", "bp4d"):
        yield view, corpora.load("simulated", view=view).images[:500]
    traces = corpora.load("simulated", view="recola")
    yield "recola", traces.inputs[:500]
    yield "traces", traces.valence_arousal
    videos = corpora.load("simulated", view="affwild2")
    yield "videos", videos.frames[:500]
    yield "sounds", videos.audio[:500]
    for form in ("iemocap", "semaine"):
        talk = corpora.load("simulated", view="dialogues", form=form)
        for name, values in (talk.targets | talk.auxiliary).items():
            yield f"{form} {name}", values
        yield f"{form} turns", torch.tensor([hash_of(turn) for turn in talk.turns.tolist()])


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode(), "big") % (2**61 - 1)


def of_uncnet():
    g = generator()
    settings = dataclasses.replace(uncnet.settings("quick"), seeds=(0, 1), max_epochs=3, n_samples=5)
    split = np.array((["train"] * 3 + ["val", "test"]) * 60)
    worlds = [
        uncnet.faces(torch.randn(300, 20, generator=g).numpy(), torch.rand(300, 9, generator=g), split, True)
        for _ in range(2)
    ]
    for name, data in (("shared", worlds[0]), ("own", uncnet.side_by_side(worlds))):
        networks = {network: uncnet.train(data, settings, network) for network in ("Baseline", "UncNet")}
        for arm, predictions in uncnet.predict(data, networks, settings).items():
            yield f"{name} {arm}", predictions.probs
            yield f"{name} {arm} epistemic", predictions.epistemic


def action_units() -> ActionUnits:
    """Subjects in three folds. A unit is a bright band at its own height."""
    g = generator()
    subject = torch.arange(6).repeat_interleave(30)
    occurs = torch.rand(len(subject), 3, generator=g) < torch.tensor([0.5, 0.4, 0.3])
    images = torch.randint(0, 60, (len(subject), 16, 16), generator=g, dtype=torch.uint8)
    for unit, top in enumerate((1, 6, 11)):
        images[:, top : top + 4] += (150 * occurs[:, unit, None, None]).to(torch.uint8)
    return ActionUnits(
        images, occurs.to(torch.int8), ("AU1", "AU2", "AU4"), np.array([f"S{i}" for i in subject]), subject % 3 + 1
    )


def of_ugn():
    trunk = FineTuningSettings(width=4, lr=1e-2, epochs=2, batch_size=16, min_steps=5)
    settings = dataclasses.replace(
        ugn.settings("quick"), seeds=(0, 1), pretraining=trunk, trunk=trunk, branch_width=8, n_samples=4,
        n_training_samples=3, least_frames=100,
    )  # fmt: skip
    data = action_units()
    tested = ugn.test(data, settings, (*ugn.METHODS, ugn.CONSTANT), labels=ugn.noisy(data.labels, 0.1, 3))
    for method, predictions in tested.predictions.items():
        yield method, predictions.probs
        yield f"{method} epistemic", predictions.epistemic


def of_finetuning():
    settings = FineTuningSettings(width=4, lr=1e-2, epochs=1, batch_size=64)
    start = starting_network(True, settings)
    yield "start", torch.cat([p.flatten() for p in start.state_dict().values()])
    faces = corpora.load("simulated", view="ferplus")
    shares = faces.votes / faces.votes.sum(1, keepdim=True)
    loss = torch.nn.functional.cross_entropy
    tuned = finetune(
        faces.images[:200], shares[:200], torch.arange(100), loss, 10, settings, 0, loss_key="votes", start=start
    )
    yield "features", tuned.features


def of_identity():
    settings = identity.PretrainingSettings(5, 8, epochs=2, batch_size=8)
    people = identity.people("skewed")[:5]
    images, person = identity.pictures(people, 8, generator())
    network = SmallResNet(5, generators([0], identity.WEIGHTS)[0])
    history = identity.train(network, images, person, settings, 0)
    yield "losses", torch.tensor(history.train)[:, 0]
    yield "weights", torch.cat([p.flatten() for p in network.state_dict().values()])


def traces() -> AffectTraces:
    g = np.random.default_rng(0)
    rows = list(itertools.product("abcxy", range(3), range(40)))
    g.shuffle(rows)
    person, video, time = zip(*rows, strict=True)
    x = torch.from_numpy(g.normal(size=(len(rows), 6)))
    y = (x[:, :2] * 0.3 + 0.1 * torch.from_numpy(g.normal(size=(len(rows), 2)))).clamp(-1, 1)
    return AffectTraces(x, y, np.array(person), np.array([f"v{v}" for v in video]), torch.tensor(time).double())


def of_pen():
    trunk = FineTuningSettings(width=4, lr=1e-2, epochs=1)
    settings = pen.PenSettings(
        (0, 1), None, trunk, rates=(("Adam", 1e-2), ("Adam", 1e-1)), grid=(1e-3, 1e-2), epochs=3, joint_epochs=2,
        adapt_epochs=4, adapt_steps=20, shares=(10, 50), gap=2.0, batch_size=8,
    )  # fmt: skip
    corpus = traces()
    frames = pen.data.whitened(pen.frames(corpus, corpus.inputs, "abc", "xy"))
    of = [pen.data.replicate(frames, settings, seed) for seed in settings.seeds]
    settings, chosen = pen.choose(of, settings)
    yield from ((name, table.to_numpy()) for name, table in chosen.items())
    ways = pen.training.variants(settings)
    for tuning in ("individual", "joint"):
        source = pen.train_source(of, settings, ways, tuning=tuning, keep_best=tuning == "joint")
        yield tuning, source.pen.expert_weight
    for kind, of_kind in pen.predict(of, source, pen.adapt(of, source, settings)).items():
        for model, said in of_kind.items():
            yield f"{kind} {model}", torch.stack(said)
            yield f"{kind} {model} sums", person_sums(said, of, kind)
        for name, said in plain(of[0], kind).items():
            yield f"{kind} {name}", said
    videos = [pen.data.with_videos_held_out(one, settings) for one in of]
    yield "videos", np.concatenate([part for one in videos for part in (one.source.train, one.target["video"].test)])


def videos() -> AffectVideos:
    """Ten videos of nine frames; tasks train on seven of them each, and validate on two."""
    g, n = generator(), 90
    video, time = torch.arange(n) // 9, (torch.arange(n) % 9).float()
    subsets = {}
    for first, task in enumerate(("au", "expression", "va")):
        subsets[f"{task} train"] = (video >= first) & (video < first + 7)
        subsets[f"{task} val"] = (video == (first + 7) % 10) | (video == (first + 8) % 10)
    return AffectVideos(
        frames=torch.randint(256, (n, 32, 32), dtype=torch.uint8, generator=g),
        audio=torch.randn(n, 64, 16, generator=g),
        au=torch.randint(2, (n, 12), generator=g),
        expression=torch.randint(7, (n,), generator=g),
        valence_arousal=2 * torch.rand(n, 2, generator=g) - 1,
        video=np.array([f"v{i}" for i in video.tolist()]),
        time=time,
        subsets=subsets,
        truth={"landmarks": torch.rand(n, 68, 2, generator=g), "speaking": torch.rand(n, generator=g) < 0.5},
    )


def of_distill():
    tuning = distill.videos.Tuning(width=0.05, repeats=0.1, pictures=40, start_epochs=1, epochs=2, batch_size=16)
    settings = distill.videos.DistillSettings(
        (0, 1), tuning, members=2, generations=2, hidden=4, shared=4, clip=4, clips=2, epochs=3, lr=1e-2, n_samples=3
    )
    corpus = videos()
    start = distill.trunks.starting_trunk(tuning, 32)
    yield "start", torch.cat([p.flatten().float() for p in start.state_dict().values()])
    variants = {
        "seen": (settings, distill.trunks.tune_trunks(corpus, distill.split_videos(corpus, settings), settings, start)),
    }
    heard = dataclasses.replace(settings, audio=True, faithful_to_release=True)
    variants["heard"] = heard, distill.trunks.tune_trunks(corpus, distill.split_videos(corpus, heard), heard, None)
    whole = dataclasses.replace(settings, seeds=(0,), members=1, audio=True, end_to_end=True, side_by_side=1)
    variants["end to end"] = whole, distill.trunks.OwnTrunks(corpus, start)
    for name, (settings, trunks) in variants.items():
        data = distill.split_videos(corpus, settings)
        taught, plain = distill.train(data, trunks, settings, balanced=(True, False))
        yield f"{name} weights", torch.cat([taught.weights, plain.weights])
        rows = data.rows("test")
        for number in range(settings.generations):
            for task, p in distill.predict(taught, rows).items():
                yield f"{name} {number} {task}", p
            yield f"{name} {number} soft", distill.networks.soft_labels(taught)["VA"]
            if number == 0:
                for task, p in distill.mc_dropout(taught, rows)[0].items():
                    yield f"{name} dropout {task}", p
                at_best, fitted = temperature_scaling(taught, rows)
                yield f"{name} temperatures", fitted["AU"]
                yield f"{name} sums", clustered(at_best, data)
                half = torch.randperm(len(rows), generator=generator())[: len(rows) // 2].sort().values
                logits = distill.logits(taught, rows)
                of_half = {task: z[:, :, half] for task, z in logits.items()}
                fitted = temperatures(of_half, data, rows[half], data.test)
                yield f"{name} halves", scaled(logits, fitted)["EXPR"]
            (taught,) = distill.train(data, trunks, settings, teachers=taught)


def of_rock():
    settings = dataclasses.replace(
        rock.settings("quick"), seeds=(0,), n_trials=3, max_epochs=6, pri_gru={256: 4, 1: 1}, total=5,
        embedding_size=6, word_gru=3, attention=4, max_words=10, content_size=(1, 3),
    )  # fmt: skip
    for form, target in (("iemocap", "emotion"), ("semaine", "valence")):
        talk = corpora.load("simulated", view="dialogues", form=form)
        names = [list(dict.fromkeys(talk.dialogue[talk.split == s].tolist()))[:2] for s in ("train", "val", "test")]
        here = np.isin(talk.dialogue, np.concatenate(names))

        def kept(values, here=here):
            if isinstance(values, dict):
                return {name: kept(part) for name, part in values.items()}
            return values[here] if isinstance(values, np.ndarray) else values[torch.from_numpy(here)]

        fields = ("turns", "speaker", "dialogue", "start", "end", "targets", "auxiliary", "split")
        small = Dialogues(**{name: kept(getattr(talk, name)) for name in fields})
        problem = rock.problem(small, form, target, settings)
        yield f"{form} information", problem.information
        for cell in (rock.Cell("rock", 256, "aphf"), rock.Cell("flat", 256, "ap")):
            found = rock.search_all([(problem, cell, 0)], settings)[problem.name, cell, 0]
            name = f"{form} {cell.architecture}"
            yield f"{name} test", found.test
            yield f"{name} curves", np.concatenate(found.curves)
            yield f"{name} again", search.retrain(problem, found, settings)
        net = rock.best_network(problem, dataclasses.replace(found, cell=rock.Cell("rock", 256, "aphf")), settings)
        best = found.trials[found.best]
        yield f"{form} attention", attention_weights(net, problem, best, problem.rows["test"]).turns


def of_across():
    sizes = {"train": 200, "val": 80, "test": 60}
    settings = across.AcrossSettings((0, 1), members=2, generations=2, n_samples=5, rates=(1e-3, 1e-2), max_epochs=3)
    for name, shape, own in (("plain", (1, 4), False), ("units", (3, 2), False), ("people", (2, 3), True)):
        g = generator(1)
        x = {split: torch.randn(*([2] if own else []), n, 6, generator=g) for split, n in sizes.items()}
        weight = 2 * torch.randn(6, shape[0] * shape[1], generator=g)
        p = {split: probabilities(of @ weight, shape).float() for split, of in x.items()}
        options = {}
        if name == "units":
            p = {split: torch.nn.functional.one_hot(y.argmax(-1), 2).float() for split, y in p.items()}
            options["units"] = True
        if name == "people":
            options["person"] = {split: torch.arange(n).expand(2, -1) % 4 for split, n in sizes.items()}
        clusters = torch.zeros(60, dtype=torch.int64) if own else torch.arange(60) // 4
        task = across.PredictionTask(x, p, p["test"].double(), clusters, p["test"].double(), **options)
        for method, predictions in across.predict_all(task, settings).items():
            yield f"{name} {method}", predictions.probs["test"]


def main(folder: Path) -> None:
    parts = (of_views, of_finetuning, of_identity, of_uncnet, of_ugn, of_pen, of_distill, of_rock, of_across)
    for part in parts:
        for name, values in part():
            values = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
            np.save(folder / f"{part.__name__.removeprefix('of_')} {name}.npy", values)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
