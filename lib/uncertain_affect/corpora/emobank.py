"""EmoBank: sentences of texts of seven kinds, rated for valence, arousal and dominance by five readers each.

Buechel and Hahn, "EmoBank: Studying the Impact of Annotation Perspective and Representation Format on Dimensional
Emotion Analysis", EACL 2017; CC BY-SA 4.0. Under `<data root>/emobank/` lie two of its files, `emobank.csv` and
`meta.tsv`.

- *Ratings* are means over readers, from 1 to 5, most of them near 3: the median is hard to beat.
- *Order.* A sentence's name ends in the places of its first and last character in its document, which give the order.
  Sentences that are in no file are passed over: those on both sides become neighbours.
- *Headlines*, 1,192 of them under one name (`SemEval`), are no text: each is a document by itself.
- *Split.* The published one tears documents apart (126 of 136), so that sentences of training and of test stand side
  by side. Here whole documents are shared out, see :func:`split_by_document`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uncertain_affect.corpora.base import SPLITS, CheckRow, Dialogues, counted
from uncertain_affect.corpora.reading import File, Table
from uncertain_affect.corpora.turns import dialogues

TABLE, META = "emobank.csv", "meta.tsv"
HEADER = ("id", "split", "V", "A", "D", "text")
META_HEADER = ("id", "document", "category", "subcategory")
TARGETS = {"valence": "V", "activation": "A", "dominance": "D"}  # HAN-ROCK's names of the three scales
SCALE = (1.0, 5.0)
HEADLINES = "SemEval"
SHARES = dict(zip(SPLITS, (0.7, 0.15, 0.15), strict=True))
PUBLISHED = {"sentences": 10_062, "documents": 136}  # all headlines being one
EXPECTED = {"train": (6982, 902), "val": (1615, 210), "test": (1465, 215)}  # sentences, documents; each headline is one

GET = "Fetch the published file with `uncertain-affect data get emobank`"
TERMS = "EmoBank is licensed CC BY-SA 4.0: name its authors, and pass on what you make of it under the same terms"


def load(root: Path) -> Dialogues:
    """EmoBank as dialogues: a document is one, its sentences are the turns, and nobody is known to speak.

    - targets: `valence`, `activation` (arousal) and `dominance`, float32 (N,) from 1 to 5.
    - auxiliary: none; there is no timing, and start and end of each turn are NaN. History and future labels follow
      from the targets of a document.

    Args:
        root: the data root, which holds `emobank/`.

    Raises:
        CorpusError: a file is missing, malformed, or has not as many sentences and documents as the published one.
    """
    cells, named = File(root / "emobank" / TABLE, GET).table(HEADER), _documents(root / "emobank" / META)
    names = cells.text("id")
    cells.refuse_repeated(names, "sentence")
    cells.refuse(~np.isin(names, list(named)), lambda row: f"{META} does not know the sentence {names[row][:40]}")
    table = pd.DataFrame({"words": cells.text("text"), "speaker": "", "start": np.nan, "end": np.nan, "name": names})
    for target, column in TARGETS.items():
        table[target] = cells.numbers(column, *SCALE)
    table[["dialogue", "category"]] = [named[name] for name in names]
    for what, n in {"sentences": len(table), "documents": table["dialogue"].nunique()}.items():
        if n != PUBLISHED[what]:
            raise cells.file.error(f"{n:,} {what}, where {PUBLISHED[what]:,} were published")
    table["dialogue"] = table["dialogue"].where(table["dialogue"] != HEADLINES, table["name"])
    table[["first", "last"]] = table["name"].str.extract(r"_(\d+)_(\d+)$").astype(float)
    table = table.sort_values(["category", "dialogue", "first", "last"], kind="stable")
    table["split"] = table["dialogue"].map(split_by_document(table["category"], table["dialogue"]))
    targets = {name: torch.tensor(table[name].to_numpy(np.float32)) for name in TARGETS}
    return dialogues(table, targets, auxiliary={}, left_out={})


def is_available(root: Path) -> bool:
    """Whether both files are there."""
    return all((root / "emobank" / name).is_file() for name in (TABLE, META))


def check(root: Path) -> list[CheckRow]:
    """Sentences and documents of each split.

    Raises:
        CorpusError: as `load`, which refuses any other number of sentences and documents than the published.
    """
    corpus = load(root)
    rows = []
    for split, (sentences, documents) in EXPECTED.items():
        here = corpus.split == split
        rows.append(counted(f"sentences of {split}", sentences, int(here.sum())))
        rows.append(counted(f"documents of {split}", documents, len(np.unique(corpus.dialogue[here]))))
    return rows


def split_by_document(category: Iterable[str], document: Iterable[str]) -> dict[str, str]:
    """The split of each document: of each category 70, 15 and 15% of the sentences, as nearly as whole documents can.

    The largest documents come first, each into the split that still lacks most.

    >>> split_by_document(["a"] * 10, [*"vvvvvvvwxy"])
    {'v': 'train', 'w': 'val', 'x': 'test', 'y': 'val'}
    """
    sizes = pd.Series(document).groupby([np.asarray(category), np.asarray(document)]).size()
    chosen = {}
    for _, of_category in sizes.groupby(level=0):
        lacking = {split: share * of_category.sum() for split, share in SHARES.items()}
        for (_, name), size in of_category.sort_values(ascending=False, kind="stable").items():
            chosen[name] = max(lacking, key=lacking.get)
            lacking[chosen[name]] -= size
    return chosen


def _documents(path: Path) -> Mapping[str, tuple[str, str]]:
    """Document and category of each sentence by its name."""
    file = File(path, GET)
    rows = file.rows("\t", quotes=False)
    header = next(rows)[1]
    file.check_header(header, META_HEADER)
    cells = Table(file, header, rows)
    cells.refuse_repeated(cells.columns["id"], "sentence")
    of_sentence = zip(cells.columns["document"], cells.columns["category"], strict=True)
    return dict(zip(cells.columns["id"], of_sentence, strict=True))
