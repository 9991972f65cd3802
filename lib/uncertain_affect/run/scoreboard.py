"""The scoreboard: of each claim the one answer that counts, in words for whoever knows no id, and what else was found.

A claim's answer is that of the first place that its ``decides`` names and that has a full run; a run that says that it
needs something else says nothing. A quick run is a demonstration and gives none. A run that was judged before the
claims were frozen, or by other claims, is exploratory: it decides only where no other does, and is counted apart.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from uncertain_affect import corpora
from uncertain_affect.compute import paths
from uncertain_affect.evidence import claims, printed
from uncertain_affect.evidence.claims import Answer
from uncertain_affect.evidence.printed import Claim
from uncertain_affect.run import layout, reading, record
from uncertain_affect.run.pages import page

# answers by what they begin with, as a headline counts them; those that a test gives first
JUDGED = {
    "holds in part": "hold in part", "holds": "hold", "fails": "fail", "no effect": "show no effect",
    "too small": "are too small to see here", "open": "are open", "mixed": "differ between their assertions",
}  # fmt: skip
ORDER = ("holds", "holds in part", "fails", "no effect", "mixed", "open", "too small", "not a test")
DEMONSTRATION, NOT_YET = "not yet: demonstration only", "not yet"
QUOTED = "compares with other papers' numbers"
WORDS = {
    "holds": "the 95% interval lies wholly on the claimed side, and no part is against",
    "holds in part, k of n": "the mean of the parts does, yet a part is against",
    "fails": "the interval lies wholly on the other side",
    "no effect": "the interval lies within half of the printed effect on either side of zero",
    "open": "none of these",
    "not a test": "what must happen first did not: a network learnt nothing, say, or a treatment never arrived",
    "not yet": "no full run; a quick one is a demonstration, no answer",
}
# on the README
FINDINGS = ("uncnet.c1", "uncnet.c2", "uncnet.c4")
# an answer in the picture: its words, its colour, and that of the number on it
BARS = {
    "holds": ("holds", "#1b7837", "#ffffff"), "holds in part": ("holds in part", "#a6dba0", "#222222"),
    "mixed": ("differs in its parts", "#80b1d3", "#222222"), "no effect": ("no effect", "#e7d4a8", "#222222"),
    "fails": ("fails", "#762a83", "#ffffff"), "open": ("open", "#bdbdbd", "#222222"),
    "too small": ("too small to see", "#969696", "#222222"),
    "not a test": ("not a test", "#e0e0e0", "#222222"), NOT_YET: ("no answer yet", "#f5f5f5", "#222222"),
}  # fmt: skip
SIZES = {"as printed": "as large as printed", "size open": "size open", "negligible": "though negligible"}
EXPLORATORY = "In exploratory runs, not judged by the claims as they were fixed beforehand,"
WIDTH = 21  # characters of a strip, zero in the middle
MOST_WORDS = 10  # of a reason
COLUMNS = [
    "claim", "statement", "paper", "where", "answer", "reason", "evidence", "printed", "effect", "low", "high", "seeds",
    "profile", "corpus", "features", "exploratory", "notebook", "command",
]  # fmt: skip
NUMBERS = dict.fromkeys(("printed", "effect", "low", "high"), float) | {"seeds": "Int64"}


@dataclass(frozen=True)
class Found:
    """What one run says of a claim."""

    answer: Answer
    notebook: str
    profile: str
    corpus: str
    parameters: dict
    n_seeds: int
    exploratory: bool

    @property
    def features(self) -> str:
        return self.parameters.get("FEATURES", "")

    @property
    def place(self) -> str:
        """Where it was found, in words: ``FER+ with casia-webface, full``."""
        place = place_name(self.corpus, self.features)
        return f"{place}, {self.profile}{', exploratory' if self.exploratory else ''}"

    def is_of(self, entry: str) -> bool:
        """Whether it is of an entry of ``decides``: a corpus, or a corpus with these features."""
        corpus, _, features = entry.partition("/")
        return corpus == self.corpus and features in ("", self.features)


@dataclass(frozen=True)
class Line:
    """What is drawn and said of one assertion; `margin` is that of the part shown, where it is an equivalence."""

    letter: str
    answer: Answer
    margin: float | None
    parts: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The letter, and of what: ``a (ECE Baseline, ECE UncNet)``; empty for the only assertion."""
        some = ", ".join(self.parts[:2]) + (", …" if len(self.parts) > 2 else "")
        return f"{self.letter} ({some})" if self.letter and some else self.letter

    @property
    def ends(self) -> tuple[float, float, float, float | None]:
        """Low end, effect, high end and printed effect, what is claimed being positive: of an equivalence, how far
        within its margin."""
        a = self.answer
        if self.margin is None:
            return a.low, a.effect, a.high, a.printed
        furthest, nearest = max(abs(a.low), abs(a.high)), 0.0 if a.low < 0 < a.high else min(abs(a.low), abs(a.high))
        inside = (self.margin - abs(x) for x in (furthest, a.effect, nearest))
        return *inside, None if a.printed is None else self.margin - abs(a.printed)


@dataclass(frozen=True)
class Row:
    """A claim on the scoreboard.

    Attributes:
        found: the run whose answer is the claim's; None where there is none.
        others: what all other runs say.
        notebook: the one that judges it, ``""`` where there is none.
        defaults: of its parameters.
    """

    id: str
    claim: Claim
    found: Found | None
    others: tuple[Found, ...]
    notebook: str
    defaults: dict

    @property
    def paper(self) -> dict:
        return printed.load(self.id.partition(".")[0]).info

    @property
    def answer(self) -> str:
        """In a word, or a few."""
        if self.found is not None:
            return self.found.answer.answer
        if self.claim.primary == "quoted":
            return QUOTED
        shown = any(other.profile == "quick" for other in self.others)
        return DEMONSTRATION if shown else NOT_YET

    @property
    def kind(self) -> str:
        """Of the answer: one of ``ORDER``, ``needs``, ``compares`` or ``not yet``."""
        return kind(self.answer if self.found is None else self.found.answer)

    @property
    def lines(self) -> list[Line]:
        """Of each assertion that was judged."""
        return [] if self.found is None else list(_lines(self.claim, self.found.answer))

    @property
    def strips(self) -> list[str]:
        """The drawing of each assertion that was judged, as code in Markdown."""
        return [f"`{text}`" for text in map(strip, self.lines) if text]

    @property
    def said(self) -> list[str]:
        """The answer, or that of each assertion by its letter."""
        answers = [f"{line.letter} {line.answer.answer}".strip() for line in self.lines]
        answers = answers if len(answers) > 1 else [self.answer]
        return [*answers[:-1], f"{answers[-1]}{' (exploratory)' if self.found and self.found.exploratory else ''}"]

    @property
    def reasons(self) -> list[str]:
        """Of each assertion, in at most ten words."""
        if self.found is None:
            if self.kind != NOT_YET:
                return []
            reason = f"no full run on {self.wanted}"
            many = f"no full run on any of {len(self.claim.decides)} places that decide"
            return [reason if len(reason.split()) <= MOST_WORDS else many]
        here = "" if self.evidence.startswith("paper's own") else " here"
        return [f"{line.letter} {_reason(line, here)}".strip() for line in self.lines]

    @property
    def wanted(self) -> str:
        """The places that may decide, in words."""
        *most, last = (place_name(*entry.split("/")) for entry in self.claim.decides)
        return f"{', '.join(most)} or {last}" if most else last

    @property
    def evidence(self) -> str:
        """What the answer rests on."""
        if self.found is None:
            return ""
        if self.found.corpus == "simulated":
            return "simulated only"
        own = [entry for entry in self.claim.decides if entry.partition("/")[0] in self.paper.get("corpora", [])]
        same = [entry for entry in own if entry.partition("/")[0] == self.found.corpus]
        if self.found.corpus not in self.paper.get("corpora", []):
            return "other recordings"
        fits = not same or self.found.is_of(same[0])
        return "paper's own corpus and features" if fits else "paper's corpus, other features"

    @property
    def n_seeds(self) -> int | None:
        if self.found is None:
            return None
        seeds = [line.answer.seeds for line in self.lines if line.answer.seeds]
        return max(seeds, default=self.found.n_seeds)

    @property
    def command(self) -> str:
        """What reruns it; where there is no run yet, what would give the answer that anybody can have."""
        if not self.notebook:
            return ""
        if self.found is not None:
            given, corpus = self.found.parameters, self.found.corpus
            places = layout.PLACE_PARAMETERS
            changed = {k: v for k, v in given.items() if k not in places and self.defaults.get(k, v) != v}
        else:
            corpus, _, features = self.claim.decides[-1].partition("/")
            changed = {"FEATURES": features} if features else {}
        return reading.command(self.notebook, corpus, changed, profile="full")


def kind(answer: Answer | str) -> str:
    """What an answer begins with: one of ``ORDER``, ``needs``, ``compares`` or ``not yet``."""
    if isinstance(answer, str):
        return next((name for name in (*JUDGED, "not a test", "needs", "compares") if answer.startswith(name)), NOT_YET)
    apart = _assertions(answer)
    kinds = {kind(a.answer) for a in apart.values()}
    if len(kinds) > 1 and kinds & JUDGED.keys():
        return "mixed"
    return next(iter(kinds - {"needs"}), "needs")


def _assertions(answer: Answer) -> dict[str, Answer]:
    """Unlike assertions by letter, or the only one by ``""``."""
    apart = answer.effect is None and answer.parts and all(len(name) == 1 for name in answer.parts)
    return answer.parts if apart else {"": answer}


def _lines(claim: Claim, answer: Answer) -> Iterator[Line]:
    for letter, a in _assertions(answer).items():
        margin, (_, parts) = None, claim.assertions()[letter]
        if kind(a.answer) in JUDGED:
            ends = (a.effect, a.low, a.high)
            shown = [name for name, part in a.parts.items() if (part.effect, part.low, part.high) == ends]
            # of one part alone the name is not kept
            name = shown[0] if shown else next(iter(parts)) if len(parts) == 1 else ""
            margin = parts.get(name, {}).get("margin")
        yield Line(letter, a, margin, tuple(parts))


def board(results: Path) -> list[Row]:
    """Every claim of every paper, in order, with what the runs in a folder of results say of it.

    Raises:
        ValueError: the claims of a run cannot be read, or are none that a paper makes.
    """
    found = defaultdict(list)
    for folder in layout.runs(results):
        for id_, one in _found(folder):
            found[id_].append(one)
    owners = _owners()
    rows = []
    order = [id_.partition(".")[0] for id_ in owners]
    for key in sorted(printed.keys(), key=lambda key: order.index(key) if key in order else len(order)):
        for id_, claim in printed.load(key).claims.items():
            first = _deciding(claim, found[id_])
            others = tuple(one for one in found[id_] if one is not first)
            notebook = next((one.notebook for one in found[id_]), "")
            rows.append(Row(id_, claim, first, others, *owners.get(id_, (notebook, {}))))
    return rows


def _found(folder: Path) -> Iterator[tuple[str, Found]]:
    """What a run says of each claim that it answers."""
    path = folder / "claims.json"
    answers = record.read_answers(path) if path.exists() else {}
    run = layout.read_run(folder) if answers else {}
    (corpus, _), profile = layout.measured_in(folder), folder.parts[-3]
    for id_, answer in answers.items():
        about = {"parameters": run["parameters"], "n_seeds": len(run["seeds"])}
        yield id_, Found(answer, folder.name, profile, corpus, **about, exploratory=layout.is_exploratory(run))


def _owners() -> dict[str, tuple[str, dict]]:
    """The notebook that judges a claim, and its parameters, by claim."""
    owners = {}
    for name, path in layout.notebooks().items():
        if owned := layout.metadata(path).get("claims", []):
            defaults = {}
            with contextlib.suppress(layout.SelectionError):
                defaults = layout.default_parameters(path)
            owners |= dict.fromkeys(owned, (name, defaults))
    return owners


def _deciding(claim: Claim, found: Sequence[Found]) -> Found | None:
    places = {}
    for i, one in enumerate(found):
        place = next((k for k, entry in enumerate(claim.decides) if one.is_of(entry)), None)
        if one.profile == "full" and place is not None:
            silent = kind(one.answer) in ("needs", "compares")
            places[i] = (silent, one.exploratory, place)
    return found[min(places, key=places.get)] if places else None


# --- in words and signs --------------------------------------------------------------------------------------


def short(text: str) -> str:
    """The first ten words."""
    words = text.split()
    return text if len(words) <= MOST_WORDS else f"{' '.join(words[:MOST_WORDS])} …"


def _reason(line: Line, here: str) -> str:
    reason = line.answer.reason.replace("; shown is the weakest", ", weakest shown")
    if kind(line.answer.answer) not in JUDGED:
        return short(reason)
    size = line.answer.size
    if not line.answer.answer.startswith("holds") and size != "negligible":
        size = ""  # of what is not as claimed
    size = SIZES.get(size, f"{size} than printed") if size else ""
    return short("; ".join(filter(None, (reason.partition(" (")[0], f"{size}{here}" if size else ""))))


def strip(line: Line) -> str:
    """Printed and measured effect on an axis of its own, zero in the middle and what is claimed on the right.

    ``┃`` zero, ``○`` printed, ``●`` measured, ``◉`` both, ``─`` the 95% interval, ``·`` the rest; ``""`` where nothing
    was judged.

    >>> strip(Line("", Answer("holds", effect=0.6, low=0.4, high=0.8, printed=1.0), None))
    '··········┃···──●──·○'
    """
    if kind(line.answer.answer) not in JUDGED:
        return ""
    low, effect, high, stated = line.ends
    most = max(abs(x) for x in (low, effect, high, stated or 0.0)) or 1.0
    middle = WIDTH // 2

    def column(x: float) -> int:
        return middle + round(x / most * middle)

    signs = ["·"] * WIDTH
    signs[column(low) : column(high) + 1] = "─" * (column(high) + 1 - column(low))
    signs[middle] = "┿" if low < 0 < high else "┃"
    if stated is not None:
        signs[column(stated)] = "○"
    signs[column(effect)] = "◉" if stated is not None and column(stated) == column(effect) else "●"
    return "".join(signs)


def headline(rows: Sequence[Row]) -> str:
    """How many claims have which answer, on recordings and in the simulated world apart, and what chance would give."""
    text = [f"**{len(rows)} claims.**"]
    groups = {"On recordings": [], "In the simulated world alone": [], EXPLORATORY: []}
    for row in rows:
        if row.kind in ORDER:
            place = "In the simulated world alone" if row.found.corpus == "simulated" else "On recordings"
            groups[EXPLORATORY if row.found.exploratory else place].append(row)
    for place, own in groups.items():
        if own or place != EXPLORATORY:
            text.append(f"{place} {len(own)}{f': {_counted(own)}' if own else ''}.")
    missing = Counter(row.kind for row in rows if row.kind not in ORDER)
    said = {
        "compares": "compare with other papers' numbers", "needs": "wait for data that are not at hand",
        NOT_YET: "have no full run yet",
    }  # fmt: skip
    if missing:
        counts = ", ".join(f"{missing[name]} {words}" for name, words in said.items() if missing[name])
        text.append(f"Without an answer {missing.total()}: {counts}.")
    if judged := judged_assertions(rows):
        text.append(
            f"Had none of the {len(judged)} assertions judged any effect, chance alone would let at most "
            f"{claims.chance(judged):.1f} hold and as many fail."
        )
    return " ".join(text)


def judged_assertions(rows: Iterable[Row]) -> list[Answer]:
    """Each assertion on the scoreboard that was judged."""
    return [line.answer for row in rows for line in row.lines if kind(line.answer.answer) in JUDGED]


def _counted(rows: Sequence[Row]) -> str:
    counts = Counter(row.kind for row in rows)
    return ", ".join(f"{counts[k]} {JUDGED.get(k, 'were not a test')}" for k in ORDER if counts[k])


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """A row for each claim. Of unlike assertions the numbers stand in the claims.json of their run."""
    table = []
    for row in rows:
        found, answer = row.found, row.found.answer if row.found else Answer("")
        table.append(
            {"claim": row.id, "statement": row.claim.statement}
            | {"paper": paper_name(row.paper), "where": row.claim.where}
            | {"answer": row.answer, "reason": "; ".join(row.reasons), "evidence": row.evidence}
            | {name: getattr(answer, name) for name in ("printed", "effect", "low", "high")}
            | {"seeds": row.n_seeds, "exploratory": bool(found and found.exploratory)}
            | {name: getattr(found, name, "") for name in ("profile", "corpus", "features")}
            | {"notebook": row.notebook, "command": row.command}
        )
    return pd.DataFrame(table, columns=COLUMNS).astype(NUMBERS)


def found_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """What every run says of every claim, with a row for each assertion and part, the deciding run first."""
    table = []
    for row in rows:
        for found in filter(None, (row.found, *row.others)):
            for name, a in record.with_parts(row.id, found.answer):
                part = name.removeprefix(row.id).removeprefix(": ")
                table.append(
                    {"claim": row.id, "part": part, "run": found.place, "decides": found is row.found}
                    | {key: getattr(a, key) for key in ("printed", "effect", "low", "high", "seeds", "answer", "size")}
                    | {"reason": "; ".join(filter(None, (a.reason, *a.flags)))}
                )
    columns = [
        "claim", "part", "run", "decides", "printed", "effect", "low", "high", "seeds", "answer", "size", "reason",
    ]  # fmt: skip
    return pd.DataFrame(table, columns=columns).astype(NUMBERS)


def drawn(rows: Sequence[Row]) -> pd.DataFrame:
    """What a figure of strips draws: a row for each assertion judged, as claimed positive."""
    table = []
    for row in rows:
        for i, line in enumerate(x for x in row.lines if kind(x.answer.answer) in JUDGED):
            low, effect, high, stated = line.ends
            label = line.label if i else f"{row.claim.statement} {line.label}".strip()
            table.append((row.id, label, stated, effect, low, high, line.answer.answer, row.found.corpus))
    columns = ["claim", "label", "printed", "effect", "low", "high", "answer", "corpus"]
    return pd.DataFrame(table, columns=columns).astype(dict.fromkeys(columns[2:6], float))


def of_notebook(notebook: str) -> list[Row]:
    """The claims that a notebook judges, with the answers that are committed."""
    return [row for row in board(paths.project_root() / "results") if row.notebook == notebook]


def so_far(rows: Sequence[Row]) -> str:
    """What came out, a line for each claim: the sentence, the answer in bold, measured beside printed, on what."""
    lines = []
    for row in rows:
        exploratory = " (exploratory)" if row.found and row.found.exploratory else ""
        said = [f"{row.claim.statement} **{row.answer}{exploratory}**"]
        for line in row.lines:
            a = line.answer
            if a.effect is not None:
                stated = "" if a.printed is None else f" (printed {a.printed:.3f})"
                said.append(f"{line.label} {a.effect:.3f} [{a.low:.3f}, {a.high:.3f}]{stated}".strip())
        said += [row.evidence] if row.evidence else []
        said += [f"but {', '.join(others)}"] if (others := differing(row)) else []
        lines.append(f"- {'; '.join(said)}")
    return "\n".join(lines)


def differing(row: Row) -> list[str]:
    """What full runs on other data or features say of an assertion, where it is not what is said on the scoreboard."""
    if row.found is None:
        return []
    said, others = _assertions(row.found.answer), [one for one in row.others if one.profile == "full"]
    return [
        f"{letter} {a.answer} ({one.place})".strip()
        for one in others
        for letter, a in _assertions(one.answer).items()
        if letter in said and {kind(a.answer), kind(said[letter].answer)} <= JUDGED.keys()
        if kind(a.answer) != kind(said[letter].answer)
    ]


def disagreements(rows: Sequence[Row]) -> list[str]:
    """Claims on which full runs give different answers, a line each."""
    return [
        f"{row.claim.statement} {', '.join(row.said)} ({row.found.place}); {'; '.join(others)}"
        for row in rows
        if (others := differing(row))
    ]


def untested(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Claims without an answer by what is missing."""
    groups = defaultdict(list)
    for row in rows:
        missing = {
            "not a test": "Not a test: what must happen first did not",
            "compares": "The paper compares with other papers' numbers, which nothing run here can change",
            "needs": f"{row.answer[:1].upper()}{row.answer[1:]}",
            NOT_YET: f"Needs a full run on {row.wanted}",
        }
        if row.kind in missing:
            groups[missing[row.kind]].append(row)
    return dict(groups)


@cache
def place_name(corpus: str, features: str = "") -> str:
    """``FER+ with casia-webface``."""
    name = {"simulated": "the simulated world", "none": "no corpus"}.get(corpus)
    name = name or (corpora.about(corpus).title.partition(" (")[0] if corpus in corpora.KNOWN else corpus)
    return f"{name} with {features}" if features else name


def paper_name(info: dict) -> str:
    """``Song et al. 2021``."""
    authors = info["authors"].split(", ")
    others = " et al." if len(authors) > 1 and not authors[0].startswith("Anonymous") else ""
    return f"{authors[0].split()[-1]}{others} {info['year']}"


LEGEND = (
    "`┃` zero, to the right of it what the paper claims; `○` the printed effect, `●` the measured one (`◉` both), `─` "
    "its 95% interval. Each strip has a scale of its own."
)


def compact(rows: Sequence[Row]) -> str:
    """The headline and what came out of `FINDINGS`, for the README."""
    of = {row.id: row for row in rows}
    return page("readme.md.j2", headline=headline(rows), findings=so_far([of[id_] for id_ in FINDINGS if id_ in of]))


def verdicts(rows: Sequence[Row]) -> str:
    """How many claims of each paper have which answer, as a picture in SVG."""
    counts = defaultdict(Counter)
    for row in rows:
        counts[paper_name(row.paper)][row.kind if row.kind in BARS else NOT_YET] += 1
    said = (f"{name}: {', '.join(f'{of[k]} {BARS[k][0]}' for k in BARS if of[k])}" for name, of in counts.items())
    return page("verdicts.svg.j2", counts=counts, bars=BARS, label="; ".join(said))


def markdown(rows: Sequence[Row]) -> str:
    """The whole scoreboard: a row for each claim by paper, parts and other runs folded, and what was not tested."""
    found = list(found_frame(rows).itertuples())
    changes = [(printed.claim(change.claim).statement, change) for change in printed.frozen().changes]
    shown = {"found": found, "disagreements": disagreements(rows), "untested": untested(rows), "changes": changes}
    return _page("scoreboard.md.j2", rows, words=WORDS, paper_name=paper_name, **shown)


def _page(template: str, rows: Sequence[Row], **shown) -> str:
    papers = defaultdict(list)
    for row in rows:
        papers[paper_name(row.paper)].append(row)
    return page(template, headline=headline(rows), legend=LEGEND, papers=papers, **shown)
