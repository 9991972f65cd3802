"""What a notebook leaves behind, and what earlier runs left: tables, figures, answers and provenance.

A finished run is one folder, ``<profile>/<corpus>/<notebook>/``, with ``tables/*.csv``, ``figures/*.png`` and the
plotted data beside each as csv, ``claims.json`` and ``run.json``. Runs go to ``results/local``; the committed
``results/quick`` and ``results/full`` change only when a finished run is promoted.
"""

import datetime
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ConfigDict, TypeAdapter

from uncertain_affect.compute import paths
from uncertain_affect.compute.cache import file_checksum
from uncertain_affect.compute.devices import choose_device
from uncertain_affect.compute.replacing import replacing
from uncertain_affect.evidence import printed, store
from uncertain_affect.evidence.claims import Answer, Arm, Effect, Part, effect_interval, judge, judge_apart, near
from uncertain_affect.run import layout, reading
from uncertain_affect.run.layout import AGAIN, NO_CORPUS, PROFILES, RECORDED
from uncertain_affect.run.provenance import peak_memory_mib, provenance

ANSWERS = TypeAdapter(dict[str, Answer], config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
# what a run that shows evidence has from it
OF_THE_EVIDENCE = ("profile", "corpus", "seeds", "corpus_checksum")


@dataclass
class Run:
    """Collects what one notebook measures or shows; :meth:`finish` writes all of it at once, or nothing.

    With the profile ``recorded`` nothing is measured: profile, corpus, seeds and the checksum of the corpus are then
    those of the evidence shown, which is the best there is where no corpus is named, and they stay so.

    Args:
        notebook: its file name without suffix, ``"11_uncnet_disagreement"``.
        profile: ``"recorded"``, ``"quick"`` or ``"full"``; default: the parameter PROFILE.
        corpus: name of the corpus, or ``"none"``; default: the parameter CORPUS, and where that is ``""`` the
            simulated world.
        parameters: the values of the notebook's parameters cell.
        seeds: the seeds measured, for the record.
        corpus_checksum: content hash of the corpus.
        device: where the networks ran.

    Attributes:
        recorded: whether evidence is shown.
        about: what the evidence shown says about itself.
        keys: those of the examples that the evidence is of, to be set where it has examples.
        settings: how the networks were trained, to be set; of the evidence where it is shown.
        shareable: whether the evidence may be passed on; by default where the labels of the corpus may be. Of other
            open corpora only predictions and sums may: set it where no more is in it.

    Raises:
        ValueError: the profile, the corpus or the parameter DEVICE is none that this notebook knows, so that nothing
            would be recorded under a name that is not its own; or there is no such evidence to show.
    """

    notebook: str
    _: KW_ONLY
    parameters: dict
    profile: str | None = None
    corpus: str | None = None
    seeds: Iterable[int] = ()
    corpus_checksum: str | None = None
    device: str = "cpu"
    answers: dict[str, Answer] = field(default_factory=dict, init=False)
    arms: dict[str, Arm] = field(default_factory=dict, init=False)
    dead: dict[str, tuple[int, ...]] = field(default_factory=dict, init=False)
    checks: dict[str, float] = field(default_factory=dict, init=False)
    recorded: bool = field(default=False, init=False)
    about: dict = field(default_factory=dict, init=False)
    keys: Iterable[str] | None = field(default=None, init=False)
    settings: dict = field(default_factory=dict, init=False)
    shareable: bool | None = field(default=None, init=False)

    def __post_init__(self):
        profile = self.parameters.get("PROFILE") if self.profile is None else self.profile
        corpus = self.parameters.get("CORPUS", NO_CORPUS) if self.corpus is None else self.corpus
        if profile not in (RECORDED, *PROFILES):
            raise ValueError(f"PROFILE must be one of {', '.join((RECORDED, *PROFILES))}, not {profile!r}")
        choose_device(self.parameters.get("DEVICE", "cpu"))  # refuses what is none
        its = layout.about(self.notebook).get("corpora")
        if corpus and its is not None and corpus not in (*its, NO_CORPUS):
            raise ValueError(f"CORPUS is {corpus!r}: {self.notebook} runs on {', '.join(its) or 'no corpus'}")
        self.profile, self.corpus = profile, corpus or reading.default_corpus(self.notebook)
        self._shown = None
        if profile == RECORDED:
            self._shown = shown = reading.read(self.notebook, corpus, self.parameters.get("FEATURES", ""))
            reading.check_unchanged(self.notebook, self.parameters, shown.about)
            self.about, self.settings = shown.about, shown.about.get("settings", {})
            for name in OF_THE_EVIDENCE:
                setattr(self, name, shown.about[name])
            self.recorded = True
        else:
            root = self.parameters.get("DATA_ROOT") or None
            self.parameters = self.parameters | reading.own_features(self.notebook, self.corpus, self.parameters, root)
        self._evidence: dict[str, Mapping] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        self._figures: dict[str, tuple] = {}
        self._started = datetime.datetime.now(datetime.UTC)
        self._clock = time.perf_counter()

    def __setattr__(self, name: str, value) -> None:
        if not (self.recorded and name in OF_THE_EVIDENCE):
            super().__setattr__(name, value)

    def banner(self) -> str:
        """What a reader must know of where the numbers come from, in a line."""
        if self._shown is not None:
            return reading.banner(self._shown)
        return f"Profile {self.profile} on {self.corpus}: everything below is trained now, or taken from the cache."

    def evidence(self, name: str, measure: Callable[[], Mapping]) -> dict:
        """What an experiment found: measured now, or with the profile ``recorded`` read.

        Args:
            name: of the experiment, ``"arms"``.
            measure: trains and gives a tree of arrays, see :func:`store.write`; not called where evidence is shown.

        Returns:
            The tree as reading gives it back, so that what follows from it follows from the file.

        Raises:
            EvidenceError: something in the tree cannot be kept; or the evidence shown has nothing of this name.
        """
        if self._shown is None:
            self._evidence[name] = tree = measure()
            return store.rounded(tree)
        if name not in self._shown.tree:
            reason = f"is missing; there is {', '.join(self._shown.tree)}"
            raise store.EvidenceError(reason, path=self._shown.folder / store.NAME, field=name, cure=store.AGAIN)
        return self._shown.tree[name]

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Keep a table, and give it back for display.

        Raises:
            ValueError: the name cannot be that of a file.
        """
        self._tables[_file_name(name)] = frame.copy()
        return frame

    def figure(self, name: str, fig, data: pd.DataFrame):
        """Keep a figure with the numbers it draws, and give the figure back.

        Raises:
            ValueError: the name cannot be that of a file.
        """
        self._figures[_file_name(name)] = (fig, data.copy())
        return fig

    def learnt(self, arm: str, found: Arm, dead: Iterable[int] = ()) -> None:
        """Keep what an arm has learnt, for the claims that require it, and the places of its dead seeds."""
        self.arms[arm], self.dead[arm] = found, tuple(dead)

    def check(self, name: str, value: float) -> None:
        """Keep a number that says whether a claim is tested at all, by the name that its ``requires`` has."""
        self.checks[name] = float(value)

    def judge(self, id_: str, effect: Effect | Mapping[str, Effect | None] | None) -> Answer:
        """Answer a claim as its paper's yaml says, and keep the answer.

        Args:
            id_: ``"uncnet.c1"``.
            effect: the measured effect, as claimed positive; by the names of the parts for a claim of several, None for
                those that the data at hand do not have.

        Raises:
            ValueError: no paper makes this claim, or the effects are not those of its parts.
        """
        claim = printed.claim(id_)
        given = dict(effect) if isinstance(effect, Mapping) else {"": effect}
        if claim.parts_of == "this paper" and set(given) != set(claim.parts or [""]):
            parts, there = (", ".join(filter(None, names)) or "none" for names in (claim.parts, given))
            raise ValueError(f"{id_} has the parts {parts}; effects came for {there}")
        apart = {}
        for letter, (rule, parts) in claim.assertions(given).items():
            judged = {
                name: Part(stated["kind"], given.get(name), stated["margin"], stated["printed"], stated["delta"])
                for name, stated in parts.items()
            }
            bounds = {"delta": claim.delta_of(letter), "printed": claim.printed_effect(letter)}
            bounds["planned"] = self.profile == "full"
            rule = "weakest" if rule == "quoted" else rule
            answer = judge(judged, rule, **bounds) if judged else Answer("needs other data")
            apart[letter] = self._as_a_test(answer, claim, self._without_dead(claim, judged, rule, bounds))
        answer = apart[""] if "" in apart else judge_apart(apart)
        self.answers[id_] = answer
        return answer

    def _without_dead(self, claim: printed.Claim, judged: Mapping[str, Part], rule: str, bounds: Mapping) -> list[str]:
        """What is found without the seeds in which an arm is dead, if there are any; in the answer they count."""
        dead = sorted({place for name in claim.requires.get("learnt", []) for place in self.dead.get(name, ())})
        values = {name: part.effect.values for name, part in judged.items() if part.effect is not None}
        if not dead or any(v is None or len(v) < len(dead) + 2 for v in values.values()):
            return []
        alive = {n: judged[n]._replace(effect=effect_interval(np.delete(v, dead, 0))) for n, v in values.items()}
        answer = judge(alive, rule, **bounds)
        return [f"without {len(dead)} dead seed(s) {answer.effect:.3f}, {answer.answer}"]

    def _as_a_test(self, answer: Answer, claim: printed.Claim, flags: Iterable[str] = ()) -> Answer:
        """The answer, or that it is none: what `requires` asks for does not hold, or was not measured."""
        if answer.effect is None:
            return answer
        arms = {name: self.arms[name] for name in claim.requires.get("learnt", []) if name in self.arms}
        flags = (*flags, *(f"{name} is weaker than linear" for name, arm in arms.items() if arm.weaker_than_linear))
        if reason := next(self._unmet(claim), None):
            return replace(answer, answer="not a test", reason=reason, flags=flags)
        return replace(answer, flags=flags)

    def _unmet(self, claim: printed.Claim) -> Iterator[str]:
        """What `requires` asks for and this run lacks, a reason each."""
        for name in claim.requires.get("learnt", []):
            problem = self.arms[name].problem() if name in self.arms else "what it has learnt was not measured"
            if problem:
                yield f"{name}: {problem}"
        for name, bounds in claim.requires.items():
            if name == "learnt":
                continue
            value, least, most = self.checks.get(name), bounds.get("least"), bounds.get("most")
            if value is None:
                yield f"{name} was not measured"
            elif least is not None and not value >= least:
                yield f"{name} is {value:.3g}, must be at least {least:g}"
            elif most is not None and not value <= most:
                yield f"{name} is {value:.3g}, must be at most {most:g}"

    def needs(self, id_: str, what: str, reason: str = "") -> Answer:
        """Keep a claim that this run cannot speak of, with what it needs: ``"BP4D"``.

        Raises:
            ValueError: no paper makes this claim.
        """
        quoted = printed.claim(id_).primary == "quoted"
        answer = "compares with other papers' numbers" if quoted else f"needs {what}"
        self.answers[id_] = answer = Answer(answer, reason=reason or (f"needs {what}" if quoted else ""))
        return answer

    def finish(self) -> Path:
        """Write everything under a temporary name, move it into place, and return the folder.

        Raises:
            SchemaError: a later version of the project has recorded there.
        """
        profile, features = RECORDED if self.recorded else self.profile, self.parameters.get("FEATURES", "")
        folder = layout.results_root() / layout.place(profile, self.corpus, features) / self.notebook
        layout.check_replaceable(folder)
        with replacing(folder) as partial:
            self._write(partial)
        return folder

    def _write(self, partial: Path) -> None:
        for sub in ("tables", "figures"):
            (partial / sub).mkdir(parents=True)
        for name, frame in self._tables.items():
            frame.to_csv(partial / "tables" / f"{name}.csv", float_format="%.9g")
        for name, (fig, data) in self._figures.items():
            fig.savefig(partial / "figures" / f"{name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None})
            data.to_csv(partial / "figures" / f"{name}.csv", index=False, float_format="%.9g")
        layout.write_json(partial / "claims.json", {id_: asdict(answer) for id_, answer in self.answers.items()})
        if self._evidence:
            store.write(partial / store.NAME, self._evidence, self._about())
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        given = ("notebook", "profile", "corpus", "corpus_checksum", "parameters")
        run = {"schema": layout.SCHEMA} | {name: getattr(self, name) for name in given}
        if self._shown is not None:
            run |= {"profile": RECORDED, "shows": {name: self.about[name] for name in ("profile", "corpus")}}
        run |= {
            "claims": layout.judged_by(),
            "seeds": list(self.seeds),
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._clock, 1),
            "peak_memory_mib": peak_memory_mib(),
            **provenance(self.device),
            "files": {path.relative_to(partial).as_posix(): file_checksum(path) for path in files},
        }
        layout.write_run(partial, run)

    def _about(self) -> dict:
        """What the evidence says about itself; where the reader keeps data is nobody else's business."""
        about = {name: getattr(self, name) for name in ("notebook", "profile", "corpus", "corpus_checksum", "settings")}
        about["parameters"] = {name: value for name, value in self.parameters.items() if name != "DATA_ROOT"}
        about["seeds"] = list(self.seeds)
        about["shareable"] = self.corpus in store.WITH_LABELS if self.shareable is None else self.shareable
        if self.keys is not None:
            about["keys"] = store.key_checksum(list(self.keys))
        return layout.plain(about)


def recorded_on(notebook: str, table: str, profile: str) -> dict[str, pd.DataFrame]:
    """The committed measurements of a table, of the runs of one profile, by corpus, or by corpus and features
    (``"ferplus+hog"``); the papers' corpora first.

    Raises:
        ValueError: a table cannot be read.
    """
    own = [corpus for key in printed.keys() for corpus in printed.load(key).info.get("corpora", [])]
    folders = [f for f in layout.runs(paths.project_root() / "results", notebook) if f.parts[-3] == profile]
    tables = {}
    for folder in sorted(folders, key=lambda f: own.index(c) if (c := layout.measured_in(f)[0]) in own else len(own)):
        path = folder / "tables" / f"{table}.csv"
        try:
            tables[folder.parts[-2]] = pd.read_csv(path, index_col=0, keep_default_na=False, na_values=[""])
        except FileNotFoundError:
            continue
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path} is no table ({str(error).strip()}): restore it, or {AGAIN}") from error
    return tables


def beside(printed: pd.DataFrame, measured: pd.DataFrame | None) -> pd.DataFrame:
    """Printed and measured numbers in neighbouring columns, in the printed order of rows.

    A column or row that only one of them has stays, with the other empty.
    """
    sources = {"printed": printed, "measured": measured}
    sources = {name: frame for name, frame in sources.items() if frame is not None}
    columns = dict.fromkeys(column for frame in sources.values() for column in frame)
    rows = list(dict.fromkeys(row for frame in sources.values() for row in frame.index))
    cells = [(column, name) for column in columns for name, frame in sources.items() if column in frame]
    return pd.DataFrame({(column, name): sources[name][column].reindex(rows) for column, name in cells}, index=rows)


def intervals(effects: dict[str, Effect], within: tuple[float, float] | None = None) -> pd.DataFrame:
    """A row per effect: estimate, 95% interval, and how many seeds and clusters it rests on.

    Args:
        within: bounds of what was measured, (0, 1) of an accuracy or calibration error: intervals stay inside.
    """
    bounded = {name: effect.within(*within) if within else effect for name, effect in effects.items()}
    rows = {name: (e.estimate, e.low, e.high, e.n_seeds, e.n_clusters) for name, e in bounded.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "low", "high", "seeds", "clusters"])


def answers_table(run: Run, own_features: bool = False) -> pd.DataFrame:
    """The claims judged so far: sentence, effect as claimed positive with its 95% interval, answer, size and reason.

    The assertions and parts of a claim have a row each below its own. Without ``own_features`` (the paper's own
    features or weights), or on another corpus than its own, a size is one ``here``.
    """
    rows = {}
    for id_, answer in run.answers.items():
        claim, paper = printed.claim(id_), printed.load(id_.partition(".")[0])
        own = own_features and run.corpus in paper.info.get("corpora", [])
        for name, a in with_parts(id_, answer):
            shown = a.effect is not None
            rows[name] = {
                "claim": claim.statement if name == id_ else "",
                "printed": "" if a.printed is None else f"{a.printed:.3f}",
                "effect": f"{a.effect:.3f}" if shown else "",
                "95% interval": f"[{a.low:.3f}, {a.high:.3f}]" if shown else "",
                "resolution": "" if a.resolution is None else f"{a.resolution:.2f}",
                "answer": a.answer,
                "size": f"{a.size} here" if a.size and not own else a.size,
                "reason": "; ".join(filter(None, (a.reason, *a.flags))),
            }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def values_table(values: Mapping[str, tuple]) -> pd.DataFrame:
    """Printed values beside those of the seeds: mean, how far the printed one may lie from it, ``near`` or ``off``.

    Args:
        values: by name the arguments of :func:`claims.near`: the printed value, that of each seed, digits after the
            point in print, and the tolerance where a claim has fixed one.
    """
    rows = {}
    for name, given in values.items():
        mean, reach, is_near = near(*given)
        rows[name] = {"printed": given[0], "measured": mean, "within": reach, "value": "near" if is_near else "off"}
    return pd.DataFrame.from_dict(rows, orient="index")


def with_parts(name: str, answer: Answer) -> Iterator[tuple[str, Answer]]:
    """An answer, and those beneath it, by name."""
    yield name, answer
    for part, beneath in answer.parts.items():
        yield from with_parts(f"{name}{part}" if len(part) == 1 else f"{name}: {part}", beneath)


def read_answers(path: Path) -> dict[str, Answer]:
    """The answers of a claims.json by claim; those of parts are answers too.

    Raises:
        ValueError: it is no JSON, holds something else, or answers what no paper claims.
    """
    try:
        answers = ANSWERS.validate_json(path.read_bytes())
        for id_ in answers:
            printed.claim(id_)
    except ValueError as error:
        raise ValueError(f"{path} does not hold answers ({printed.explain(error)}): restore it, or {AGAIN}") from None
    return answers


def _file_name(name: str) -> str:
    # refused here, not in the last cell after hours of work
    if not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError(f"{name!r} cannot name a table or figure: use letters, digits, _ and -")
    return name
