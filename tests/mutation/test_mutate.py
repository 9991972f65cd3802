import csv
import subprocess
import sys
from pathlib import Path

import mutate
import pytest


def test_every_module_has_tests_that_are_there():
    for path in mutate.sources():
        chosen = [part for part in mutate.tests_of(path.relative_to(mutate.LIBRARY).as_posix()) if "tests/" in part]
        assert chosen and all((mutate.ROOT / part).exists() for part in chosen), path


def test_a_module_is_imported_from_the_other_source():
    source = (mutate.LIBRARY / "metrics" / "brier.py").read_text(encoding="utf-8")
    code = (
        "import sys, mutate; sys.meta_path.insert(0, mutate.Mutated('metrics/brier.py', sys.stdin.read()));"
        "from uncertain_affect import metrics; print(metrics.brier_score([[1.0, 0.0]], [1]))"
    )
    for given, expected in ((source, "2.0"), (source.replace("disagreement + distance", "disagreement"), "0.0")):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, input=given, cwd=Path(mutate.__file__).parent, capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr


def test_annotations_decorators_and_aliases_are_passed_over():
    source = "Floats = A | B\nLIMIT = 3 * 4\n\n@cache\ndef f(x: int | None = 1 + 1) -> int | str:\n    return x | 2\n"
    lines = [source.splitlines()[a[0] - 1][a[1] : b[1]] for a, b in mutate._passed_over(source)]
    assert sorted(lines) == ["A | B", "cache", "int | None", "int | str"]


@pytest.mark.parametrize(
    "mutated, change",
    [
        (None, None),
        ("x = 1\ny = 2\n", None),
        ("x = 1\ny = (2)\n", None),  # the same to Python
        ("x = 1\ny = = 2\n", None),
        ("x = 1\ny = 3\n", (2, "y = 2", "y = 3")),
    ],
)
def test_a_change_is_one_of_meaning(mutated, change):
    assert mutate._change("x = 1\ny = 2\n", mutated) == change


def test_so_many_run_at_once_and_are_reported_as_they_end(monkeypatch):
    running, most = [], []

    class Finite:
        def __init__(self, file, source):
            self.file, self.left = file, source
            running.append(file)
            most.append(len(running))

        def outcome(self):
            self.left -= 1
            if self.left == 0:
                running.remove(self.file)
                return "killed", 1.0, self.file

    monkeypatch.setattr(mutate, "Test", Finite)
    monkeypatch.setattr(mutate.time, "sleep", lambda seconds: None)
    found = list(mutate.at_once([(0, 3), (1, 1), (2, 1), (3, 4)], 2, "module {}".format))
    assert [(key, by) for key, _, _, by in found] == [(i, f"module {i}") for i in (1, 2, 0, 3)]
    assert max(most) == 2 and not running


def row(file, outcome, before="a", after="b"):
    return {"file": file, "line": 7, "before": before, "after": after, "outcome": outcome}


def test_the_report_counts_and_lists_survivors_with_their_reasons(tmp_path, monkeypatch):
    rows = [
        row("metrics/brier.py", "killed"),
        row("metrics/brier.py", "survived"),
        row("evidence/claims.py", "timed out"),
        row("evidence/claims.py", "survived", "c", "d"),
    ]
    reason = {**row("evidence/claims.py", "", "c", "d"), "reason": "Nothing depends on it."}
    monkeypatch.setattr(mutate, "FOLDER", tmp_path)
    monkeypatch.setattr(mutate, "read_reasons", lambda: [reason])
    mutate.write(rows, 300, 2000)
    with (tmp_path / "mutation.csv").open(encoding="utf-8", newline="") as file:
        assert [(found["file"], found["outcome"]) for found in csv.DictReader(file)] == [
            (one["file"], one["outcome"]) for one in rows
        ]
    text = (tmp_path / "mutation.md").read_text()
    assert "4 mutants of 300 drawn, seed 0, of 2000 places" in text
    assert "| metrics | 2 | 1 | 0 | 1 | 50% |" in text and "| all | 4 | 1 | 1 | 2 | 50% |" in text
    assert "`metrics/brier.py` line 7: `a`\n  became `b`\n  **no reason given**" in text
    assert "became `d`\n  Nothing depends on it." in text


def test_every_reason_is_of_a_line_that_is_still_there():
    for entry in mutate.read_reasons():
        assert set(entry) == {"file", "before", "after", "reason"}
        lines = (mutate.LIBRARY / entry["file"]).read_text(encoding="utf-8").splitlines()
        assert entry["before"] in [line.strip() for line in lines], f"{entry} is of no line: drop it"
        assert entry["reason"].strip()


def test_the_committed_table_is_of_modules_there_are():
    with (mutate.FOLDER / "mutation.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    modules = {path.relative_to(mutate.LIBRARY).as_posix() for path in mutate.sources()}
    assert {row["file"] for row in rows} <= modules
    assert {row["outcome"] for row in rows} <= {"killed", "timed out", "survived"}
