"""Settings, primary and auxiliary targets, narratives and word vectors of the tasks, on small conversations."""

import dataclasses

import numpy as np
import pytest
import torch

from uncertain_affect.corpora.base import Dialogues
from uncertain_affect.models.rock import FAMILIES
from uncertain_affect.papers import rock
from uncertain_affect.papers.rock import protocol, tasks


def tiny(n=12, **more):
    """Dialogues of four turns, one for each split."""
    given = {
        "turns": np.array(["word"] * n),
        "speaker": np.array(["S_F", "T_M"] * (n // 2)),
        "dialogue": np.repeat([f"d{i}" for i in range(n // 4)], 4),
        "start": torch.arange(n).double(),
        "end": torch.arange(n).double() + 0.5,
        "targets": {"emotion": torch.arange(n) % 3 - 1, "valence": 1.0 + torch.arange(n) % 5},
        "auxiliary": {},
        "split": np.repeat(["train", "val", "test"], n // 3),
    }
    return Dialogues(**given | more)


def test_settings_of_the_profiles():
    quick, small, paper = (rock.settings(*which) for which in (("quick", 7), ("full", 0, "cpu"), ("full",)))
    assert quick.seeds == (7, 8, 9, 10, 11)
    assert len(paper.seeds) == len(small.seeds) == 20
    assert (paper.n_trials, paper.max_epochs, paper.total, paper.embedding_size) == (30, 350, 257, 300)
    assert small.n_trials == 30
    for s in (quick, small, paper):
        assert s.pri_gru[256] == s.total - 1  # A = 1
        assert s.pri_gru[1] == 1
    assert rock.settings("full", n_trials=9) == dataclasses.replace(paper, n_trials=9)
    with pytest.raises(ValueError, match="a search needs at least one trial, not 0"):
        rock.settings("quick", n_trials=0)
    with pytest.raises(ValueError, match=r"PROFILE must be .* not 'fast'"):
        rock.settings("fast")


def test_ranks_have_the_range_of_the_primary_task(forms):
    corpus = tiny(auxiliary={name: torch.arange(12.0) for name in (*FAMILIES["a"], *FAMILIES["p"])})
    for target, low, high, n_classes in (("valence", 1, 5, None), ("emotion", 0, 1, 4)):
        found = rock.targets(corpus, "iemocap", target)
        assert [task.family for task in found.tasks] == ["primary", *"aaaapppphhhhffff"]
        assert [task.n_classes for task in found.tasks] == [n_classes, *[None] * 8, *[n_classes] * 8]
        # training values 0 to 3: ranks 1/8, 3/8, 5/8, 7/8, and 1 beyond
        ranks = np.array([0.125, 0.375, 0.625, 0.875] + [1.0] * 8)
        for column in range(1, 9):
            assert found.values[:, column] == pytest.approx(low + (high - low) * ranks)
    found = rock.targets(forms["semaine"], "semaine", "power")
    ranks = found.values[:, 1:9]
    assert -1 <= np.nanmin(ranks) < -0.9 and 0.9 < np.nanmax(ranks) <= 1
    assert np.nanmean(ranks[found.rows["train"]]) == pytest.approx(0, abs=0.01)


def test_turns_without_a_class_are_no_examples_but_stay_context(forms):
    found = rock.targets(forms["iemocap"], "iemocap", "emotion")
    label = forms["iemocap"].targets["emotion"].numpy()
    assert (label < 0).any()
    assert np.isnan(found.values[label < 0, 0]).all()
    assert sorted(np.concatenate(list(found.rows.values()))) == np.flatnonzero(label >= 0).tolist()
    # history of a turn without a label is there all the same
    assert np.isfinite(found.values[label < 0, 9:][5:]).any()


def test_history_and_future_are_labels_of_the_primary_task():
    corpus = tiny()
    found = rock.targets(corpus, "iemocap", "valence")
    assert [task.name for task in found.tasks[1:]] == [*FAMILIES["h"], *FAMILIES["f"]]
    second = found.values[1]
    assert second[1:5].tolist() == [1, 1, 1, 1]  # one turn ago, and nothing before it
    assert second[5:9].tolist() == [3, 4, 4, 4]
    assert found.values[0, 1:5].tolist() == [1, 1, 1, 1]  # nothing before: its own
    # timing is a family where a corpus has it
    timing = {name: torch.arange(12.0) for name in ("rate", "duration", "delay")}
    found = rock.targets(tiny(auxiliary=timing), "meld", "emotion")
    assert [task.family for task in found.tasks] == ["primary", *"ttthhhhffff"]


def test_bad_targets():
    with pytest.raises(ValueError, match="the corpus has no target 'joy'; it has emotion, valence"):
        rock.targets(tiny(), "iemocap", "joy")
    none_in_val = torch.where(torch.from_numpy(tiny().split == "val"), -1, tiny().targets["emotion"])
    with pytest.raises(ValueError, match="no turn of the val split has a target 'emotion'"):
        rock.targets(tiny(targets={"emotion": none_in_val}), "iemocap", "emotion")
    missing = {name: torch.full((12,), torch.nan) for name in FAMILIES["p"]}
    with pytest.raises(ValueError, match="happy: all training values are missing"):
        rock.targets(tiny(auxiliary=missing), "iemocap", "valence")


def test_which_tasks_there_are_and_that_narratives_stand_in_the_rows_of_their_turns(forms, monkeypatch):
    corpus = forms["iemocap"]
    for story, words in zip(rock.narratives(corpus, "iemocap"), corpus.turns.tolist(), strict=True):
        assert story.endswith(f"said {words.lower()}")
    names = [f"IEMOCAP {target}" for target in ("emotion", "valence", "activation", "dominance")]
    names += [f"SEMAINE {target}" for target in ("activation", "intensity", "power", "valence")]
    monkeypatch.setattr(tasks, "load", lambda *_: forms)
    monkeypatch.setattr(tasks, "problem", lambda *of, **_: of[1:3])
    assert list(rock.prepare("full", "simulated", 0, "cpu").problems) == names
    quick = {"IEMOCAP emotion": ("iemocap", "emotion"), "SEMAINE valence": ("semaine", "valence")}
    assert rock.prepare("quick", "simulated", 0, "cpu").problems == quick


def test_published_vectors_are_taken_where_they_lie(tmp_path, forms, settings):
    assert protocol.embeddings(settings, tmp_path) == (settings, None)
    (tmp_path / "glove").mkdir()
    lines = [f"{word} {' '.join(map(str, range(i, i + 6)))}" for i, word in enumerate(("said", "woman", "the"))]
    (tmp_path / "glove" / "glove.6B.6d.txt").write_text("\n".join(lines) + "\n")
    frozen, path = protocol.embeddings(dataclasses.replace(settings, freeze=False), tmp_path)
    assert frozen.freeze
    p = rock.problem(forms["semaine"], "semaine", "power", frozen, glove=path)
    the = int(p.tokens[0, 0])
    assert p.embedding[the].tolist() == [2, 3, 4, 5, 6, 7]
    assert len(p.without_vector) == len(p.embedding) - 2 - 2  # nobody here is a woman
    assert not {"the", "said"} & set(p.without_vector)


@pytest.mark.data
def test_meld_has_timing_history_and_future(data_root):
    meld = rock.load("meld", "full", 0, data_root)["meld"]
    p = rock.problem(meld, "meld", "emotion", rock.settings("full", 0, "cpu"))
    assert p.families == "thf"
    assert {split: len(rows) for split, rows in p.rows.items()} == {"train": 8245, "val": 897, "test": 2211}
    assert len(p.tasks) == 12
    assert p.classes == ("angry", "happy", "neutral", "sad")
