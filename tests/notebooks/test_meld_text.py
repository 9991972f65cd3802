"""The sentences of MELD are a television series' own: none stands in what this project commits."""

import re

import pytest

from uncertain_affect import corpora
from uncertain_affect.compute.paths import project_root
from uncertain_affect.papers.rock.monah import spoken_text

SHORTEST = 6  # words; shorter ones are anybody's


@pytest.mark.data
def test_no_sentence_is_committed(data_root):
    sentences = {spoken_text(turn) for turn in corpora.load("meld", data_root).turns.tolist()}
    openings = {" ".join(sentence.split()[:SHORTEST]) for sentence in sentences if len(sentence.split()) >= SHORTEST}
    openings = {opening for opening in openings if opening.replace(" ", "").isalpha()}  # counting is anybody's too
    assert len(openings) > 5000
    folders = [project_root() / "notebooks", *(project_root() / "results").glob("*/meld")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".ipynb", ".csv", ".json")]
    assert files
    for path in files:
        words = spoken_text(re.sub(r"image/png.*", "", path.read_text(encoding="utf-8"))).split()
        runs = {" ".join(words[i : i + SHORTEST]) for i in range(len(words) - SHORTEST + 1)}
        assert not runs & openings, f"{path.name}: {sorted(runs & openings)[0]}"
