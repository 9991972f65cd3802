"""Would the tests notice? `make mutation [MUTANTS=300] [MINUTES=60]`: small changes to the code, and what tests say.

`draw` takes cosmic-ray's operators and a seed, and picks places of evidence/, losses/, metrics/, models/ and training/,
one mutant for each: not the many replacements of one operator, and nothing in annotations, docstrings or decorators,
where a mutant says little. `run` imports what all tests need once; each mutant is then a forked child in which the
library is imported with that one module changed. It runs the tests of the module (`tests_of`), stops at the first that
fails, and is ended after a time, which counts as noticed.
Written: results/stress/mutation.csv and .md.
"""

import argparse
import ast
import csv
import importlib.abc
import importlib.util
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "lib" / "uncertain_affect"
DRAWN = ROOT / "build" / "mutation" / "mutants.json"
FOLDER = ROOT / "results" / "stress"
REASONS = Path(__file__).with_name("reasons.yaml")
PARTS = ("evidence", "losses", "metrics", "models", "training")
SEED = 0
SECONDS = 150  # of the processor, for one mutant: the slowest tests of a module take a third of it
PATIENCE = 10  # times as many on the clock, for what waits or a busy machine
FIELDS = ("file", "line", "before", "after", "operator", "outcome", "by")


def tests_of(file: str) -> list[str]:
    """The tests of a module, its own first: pytest stops at the first that fails."""
    part, module = file.removesuffix(".py").split("/")
    own = f"tests/{part}/test_{module.removeprefix('_')}.py"
    if part == "models":
        return [own, "tests/stress/test_gradients.py", "-k", f"{own.rpartition('/')[2]} or {module}."]
    if part in ("evidence", "training"):
        return [own]
    # what the papers print of losses is tested beside the papers
    chosen = [f"tests/{part}", "tests/stress/test_numerics.py", "tests/evidence/test_printed_distill.py"]
    return [own, *chosen] if (ROOT / own).exists() else chosen  # helpers may have no tests of their own name


def sources() -> list[Path]:
    """The modules to be mutated; packages themselves hold only imports."""
    found = (path for part in PARTS for path in (LIBRARY / part).glob("*.py"))
    return sorted(path for path in found if path.name != "__init__.py")


# --- draw: with cosmic-ray ------------------------------------------------------------------------------------------


def draw(number: int) -> None:
    """Write down so many mutants as complete sources."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    operators = [
        (name, get_operator(name)())
        for name in sorted(operator_names())
        if not get_operator(name).arguments() and not name.endswith(("RemoveDecorator", "NoOp"))
    ]
    places = {}
    for path in sources():
        source = path.read_text(encoding="utf-8")
        skipped = _passed_over(source)
        nodes = list(ast_nodes(get_ast(source)))
        for name, operator in operators:
            found = (place for node in nodes for place in operator.mutation_positions(node))
            for occurrence, (start, _) in enumerate(found):
                if not any(a <= start < b for a, b in skipped):
                    places.setdefault((path, start), []).append((name, operator, occurrence))
    rng = random.Random(SEED)
    chosen = sorted(places)
    rng.shuffle(chosen)
    drawn = []
    for path, start in chosen:
        name, operator, occurrence = rng.choice(places[path, start])
        source = path.read_text(encoding="utf-8")
        mutated = mutate_code(source, operator, occurrence)
        if change := _change(source, mutated):
            mutant = dict(zip(("line", "before", "after"), change, strict=True))
            drawn.append({"file": path.relative_to(LIBRARY).as_posix(), **mutant, "operator": name, "source": mutated})
        if len(drawn) == number:
            break
    DRAWN.parent.mkdir(parents=True, exist_ok=True)
    DRAWN.write_text(json.dumps({"places": len(places), "mutants": drawn}), encoding="utf-8")
    print(f"{len(drawn)} mutants of {len(places)} places in {len(sources())} modules")


def _passed_over(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations and decorators stand, and aliases of types, as cosmic-ray counts lines and columns."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            found += [*node.decorator_list, node.returns]
        elif isinstance(node, ast.ClassDef):
            found += node.decorator_list
        elif isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp | ast.Subscript):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            found += [node.value] if names and names[0][0].isupper() and not names[0].isupper() else []
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in found if n is not None]


def _change(source: str, mutated: str | None) -> tuple[int, str, str] | None:
    """The first line that differs, before and after; None if there is no change or it is no Python."""
    if mutated is None or mutated == source:
        return None
    try:
        if ast.dump(ast.parse(mutated)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    old, new = source.splitlines(), mutated.splitlines()
    line = next(i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    return line + 1, old[line].strip(), new[line].strip()


# --- run: a forked child for each mutant ----------------------------------------------------------------------------


class Mutated(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Imports one module from another source than that on the disk."""

    def __init__(self, file: str, source: str):
        super().__init__("uncertain_affect." + file.removesuffix(".py").replace("/", "."), str(LIBRARY / file))
        self.source = source

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname):
        return compile(self.source, self.path, "exec", dont_inherit=True)


def run(minutes: float, jobs: int) -> int:
    """Test the drawn mutants, so many at once, until the time is over, and write the report."""
    _import_what_tests_need()
    drawn = json.loads(DRAWN.read_text(encoding="utf-8"))
    mutants, rows, end = drawn["mutants"], {}, time.monotonic() + 60 * minutes
    # only tests that pass as it is can notice a change
    files = sorted({mutant["file"] for mutant in mutants})
    for file, outcome, seconds, by in at_once([(file, (LIBRARY / file).read_text("utf-8")) for file in files], jobs):
        print(f"as it is  {seconds:5.1f} s  {file}", flush=True)
        if outcome != "survived":
            print(f"The tests of {file} fail or take too long as it is: {by}")
            return 2
    sources = ((i, mutant["source"]) for i, mutant in enumerate(mutants))
    in_time = itertools.takewhile(lambda _: time.monotonic() <= end, sources)
    for i, outcome, seconds, by in at_once(in_time, jobs, lambda i: mutants[i]["file"]):
        rows[i] = mutants[i] | {"outcome": outcome, "by": by}
        print(f"{outcome:9} {seconds:5.1f} s  {{file}}:{{line}}  {{after}}".format(**mutants[i]), flush=True)
        # what is done counts, if the rest is not waited for
        write([rows[i] for i in sorted(rows)], len(mutants), drawn["places"])
    return 0


def at_once(sources: Iterable[tuple], jobs: int, file_of: Callable = str) -> Iterator[tuple]:
    """The key, outcome, seconds and test that noticed of each (key, source), in the order in which they end."""
    waiting, running = iter(sources), {}
    while True:
        while len(running) < jobs and (following := next(waiting, None)):
            key, source = following
            running[key] = Test(file_of(key), source)
        if not running:
            return
        time.sleep(0.02)
        for key, test in list(running.items()):
            if found := test.outcome():
                del running[key]
                yield key, *found


def _import_what_tests_need() -> None:
    import hypothesis
    import torch

    for name in ("nbformat", "pytest", "scipy.stats", "skimage.feature", "sklearn.feature_selection", "torchmetrics"):
        importlib.import_module(name)
    torch.set_num_threads(1)
    # the same examples for every mutant, and none made small: that one fails is enough
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=phases)
    assert not any(name.startswith("uncertain_affect") for name in sys.modules)


class Test:
    """The tests of a module with another source, in a process of their own."""

    def __init__(self, file: str, source: str):
        self.file, self.start = file, time.monotonic()
        self.reading, writing = os.pipe()
        self.child = os.fork()
        if not self.child:
            os.close(self.reading)
            os._exit(_child(file, source, writing))
        os.close(writing)

    def outcome(self) -> tuple[str, float, str] | None:
        """Whether they notice, after how many seconds of the processor, and which test; None while they run."""
        ended, status, used = os.wait4(self.child, os.WNOHANG)
        late = not ended and time.monotonic() - self.start > PATIENCE * SECONDS
        if late:
            os.killpg(self.child, signal.SIGKILL)
            _, status, used = os.wait4(self.child, 0)
        elif not ended:
            return None
        with os.fdopen(self.reading, encoding="utf-8") as report:
            by = report.read()
        seconds, code = used.ru_utime + used.ru_stime, os.waitstatus_to_exitcode(status)
        if late or code == -signal.SIGXCPU:
            return "timed out", seconds, ""
        if code > 2:
            raise RuntimeError(f"pytest found no tests of {self.file}, or could not be asked: exit code {code}")
        # 1: a test failed; 2: one cannot be imported; below 0: ended by a signal
        return ("killed" if code else "survived"), seconds, by


def _child(file: str, source: str, writing: int) -> int:
    import hypothesis
    import pytest

    class First:
        """Says which test failed."""

        def pytest_runtest_logreport(self, report):
            if report.failed:
                os.write(writing, report.nodeid.encode())

        def pytest_collectreport(self, report):
            if report.failed:
                os.write(writing, f"{report.nodeid} cannot be imported".encode())

    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    sys.meta_path.insert(0, Mutated(file, source))
    hypothesis.settings.load_profile("mutation")
    os.chdir(ROOT)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:nbval"]
    try:
        return int(pytest.main([*tests_of(file), *options], plugins=[First()]))
    except BaseException:
        return 1


# --- report ---------------------------------------------------------------------------------------------------------


def read_reasons() -> list[dict]:
    """Why some survivors may live: by file, and what a line was and became, whatever number it has by now."""
    import yaml

    return yaml.safe_load(REASONS.read_text(encoding="utf-8")) or []


def write(rows: list[dict], asked: int, places: int) -> None:
    """The table of mutants, and the summary with the survivors; not the seconds, which differ from run to run."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "mutation.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, FIELDS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    (FOLDER / "mutation.md").write_text(report(rows, asked, places, read_reasons()), encoding="utf-8")


def report(rows: list[dict], asked: int, places: int, reasons: list[dict]) -> str:
    reasons = {(reason["file"], reason["before"], reason["after"]): reason["reason"] for reason in reasons}
    lines = [
        "# Mutants",
        "",
        "Small changes to the code, one at a time, and whether the tests of the module notice; written by `make",
        f"mutation`. {len(rows)} mutants of {asked} drawn, seed {SEED}, of {places} places in the code.",
        "",
        "| part | mutants | killed | timed out | survived | noticed |",
        "|---|---|---|---|---|---|",
    ]
    for part in (*PARTS, "all"):
        of = Counter(row["outcome"] for row in rows if part == "all" or row["file"].startswith(part))
        n = of.total()
        share = f"{(n - of['survived']) / n:.0%}" if n else ""
        lines.append(f"| {part} | {n} | {of['killed']} | {of['timed out']} | {of['survived']} | {share} |")
    lines += ["", "## Survivors", ""]
    for row in rows:
        if row["outcome"] == "survived":
            lines += [f"- `{row['file']}` line {row['line']}: `{row['before']}`", f"  became `{row['after']}`"]
            reason = reasons.get((row["file"], row["before"], row["after"]), "**no reason given**")
            lines.append(f"  {reason}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("draw", "run"), help="default: both, drawing in build/mutation")
    parser.add_argument("--number", type=int, default=300, help="mutants to draw")
    parser.add_argument("--minutes", type=float, default=60, help="for all mutants together")
    parser.add_argument("--jobs", type=int, default=2, help="mutants to test at once")
    args = parser.parse_args()
    if args.what == "draw":
        draw(args.number)
        return 0
    if args.what is None:
        python = DRAWN.parent / "bin" / "python"
        subprocess.run([python, __file__, "draw", "--number", str(args.number)], check=True)
    return run(args.minutes, args.jobs)


if __name__ == "__main__":
    sys.exit(main())
