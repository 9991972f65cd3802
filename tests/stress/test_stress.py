"""That the stress tests do what their rows say, at a small size, and count nothing as passed that was not done."""

import json
import subprocess
import sys
from types import SimpleNamespace

import determinism
import flips
import inputs
import limits
import numpy as np
import pytest
import rows
import stress
import versions
from rows import CUT_SHORT, FAILED, NOT_HERE, PASSED, Row

from uncertain_affect.compute.paths import project_root


def test_what_was_never_done_has_not_passed():
    with pytest.raises(ValueError, match="what was never done has not passed"):
        Row("fuzz", "a reader", 0, "fine", PASSED)
    with pytest.raises(ValueError, match="a result is one of passed, failed"):
        Row("fuzz", "a reader", 1, "fine", "fine")
    assert rows.judged("kill", "kills", 3, 3, [], "fine").result == PASSED
    assert rows.judged("kill", "kills", 2, 3, [], "fine").result == CUT_SHORT
    assert rows.judged("kill", "kills", 2, 3, ["lost"], "fine").result == FAILED


def test_rows_of_troubles_that_were_not_made_again_stay(tmp_path):
    old = [Row("fuzz", "a", 1, "x | y", PASSED), Row("kill", "b", 20, "fine", PASSED)]
    rows.write(tmp_path, old, {"fuzz": 1.0, "kill": 8.0})
    new = Row("fuzz", "a", 7, "went wrong", FAILED)
    assert rows.write(tmp_path, [new], {"fuzz": 2.0}) == rows.read(tmp_path) == [new, old[1]]
    about = json.loads((tmp_path / "stress.json").read_text())
    assert (about["fuzz"]["minutes"], about["kill"]["minutes"]) == (2.0, 8.0)
    assert {"revision", "hardware", "versions", "made"} <= set(about["kill"])
    report = (tmp_path / "report.md").read_text()
    assert "1 passed, 1 failed, 0 cut short, 0 not possible here" in report
    assert "| fuzz | a | 7 | went wrong | failed |" in report


@pytest.mark.parametrize(
    ("results", "code"), [([PASSED, NOT_HERE], 0), ([PASSED, FAILED], 1), ([CUT_SHORT], 1), ([PASSED, None], 1)]
)
def test_the_exit_code_is_0_where_nothing_failed_or_was_cut_short(tmp_path, monkeypatch, capsys, results, code):
    def trouble(minutes):
        for i, result in enumerate(results):
            if result is None:
                raise RuntimeError("broken")
            yield Row("flips", f"row {i}", 1, "done", result)

    monkeypatch.setattr(stress.importlib, "import_module", lambda name: SimpleNamespace(run=trouble))
    assert stress.main(["flips", "--to", str(tmp_path)]) == code
    assert len(rows.read(tmp_path)) == len(results)
    assert ("broke off: RuntimeError: broken" in capsys.readouterr().out) == (None in results)


def test_a_trouble_that_is_not_known_is_refused_and_those_that_are_share_the_minutes(capsys):
    with pytest.raises(SystemExit, match="2"):
        stress.main(["flood"])
    assert "no trouble flood; known: determinism, kill, flips, fuzz, limits, versions" in capsys.readouterr().err
    assert sum(stress.SHARES.values()) == pytest.approx(1)


SMALL = """
import inputs
inputs._begin()
for name, reader in inputs._READERS.items():
    given, failures = inputs.give(reader, seed=0, seconds=20, most=10)
    assert given == 10 and not failures, (name, given, failures)
print(len(inputs._READERS))
"""


@pytest.mark.slow
def test_no_reader_ends_in_a_traceback():
    command = [sys.executable, "-c", SMALL]
    done = subprocess.run(command, cwd=inputs.HERE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_a_traceback_is_noticed_with_the_input_that_led_to_it():
    def reads(content):
        if b"x" in content:
            raise KeyError("x")

    drawn = iter([b"fine", b"a x", b"fine"])
    given, failures = inputs.give(inputs.Reader(reads, [], lambda rng, seeds: next(drawn)), 0, 10, most=3)
    ((what, content),) = failures
    assert (given, content) == (3, b"a x")
    assert what.startswith("KeyError at test_stress.py:")


def test_an_input_that_takes_too_much_of_the_processor_is_noticed(monkeypatch):
    def spins(content):
        while True:
            pass

    monkeypatch.setattr(inputs, "SECONDS_FOR_ONE", 0.2)
    given, ((failure, _),) = inputs.give(inputs.Reader(spins, [], lambda rng, seeds: b""), 0, 10, most=1)
    assert given == 1 and failure.startswith("TooLong")


def test_inputs_are_near_to_a_whole_file_and_follow_from_the_seed():
    seeds = [b'{"a": 1, "b": [2, 3]}', b"time,value\n0.1,5\n"]
    drawn = [[inputs.mutated(np.random.default_rng([seed, i]), seeds) for i in range(200)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) > 150
    assert sum(content not in seeds for content in drawn[0]) > 150
    assert sum(len(content) < 60 for content in drawn[0]) > 100


def test_a_fuzzer_that_is_not_installed_is_reported_as_missing(monkeypatch):
    monkeypatch.setattr(inputs.importlib.util, "find_spec", lambda name: None)
    row = next(inputs.run(1))
    assert (row.times, row.result) == (0, NOT_HERE) and "atheris is not installed" in row.outcome


@pytest.mark.slow
def test_what_the_machine_refuses_is_said_clearly(tmp_path):
    limits.checkouts.checkout(tmp_path, limits.BODIES)
    try:
        found = list(limits.read_only(tmp_path))
    except PermissionError as error:
        pytest.skip(f"not possible here: {error}")
    assert [problem for _, problem, _ in found] == [None, None]


@pytest.mark.parametrize(
    ("error", "times", "outcome", "result"),
    [
        (PermissionError("no permission to mount a file system"), 0, "no permission to mount a file system", NOT_HERE),
        (subprocess.TimeoutExpired("reproduce", 600), 1, "did not end within 600 s", FAILED),
    ],
)
def test_a_limit_that_cannot_be_met_is_said_so_and_the_next_one_is_met(monkeypatch, error, times, outcome, result):
    def broken(root):
        raise error
        yield

    monkeypatch.setattr(limits, "LIMITS", {"a full disk": broken, "read-only": lambda root: [("b", None, "fine")]})
    first, second = limits.run(1)
    assert first == Row("limits", "a full disk", times, outcome, result)
    assert second.result == PASSED


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (limits.Seen(1, "a disk is full", [], []), None),
        (limits.Seen(0, "a disk is full", [], []), "exit code 0"),
        (limits.Seen(1, "sorry", [], []), "'a disk is full' were expected"),
        (limits.Seen(1, "a disk is full\nTraceback (most recent call last):", [], []), "a traceback"),
        (limits.Seen(1, "a disk is full", [], ["11_small"]), "left 11_small half-written"),
        (limits.Seen(1, "a disk is full", ["11_small"], []), "finished 11_small, where nothing was expected"),
    ],
)
def test_what_a_reader_sees_is_judged(seen, message):
    found = limits.wrong(seen, 1, "a disk is full")
    assert found is None if message is None else message in found


def test_the_notebooks_that_stand_in_are_the_cheapest_that_fit():
    fits, left_out = determinism.chosen(minutes=4)
    results = project_root() / "results" / "quick" / "simulated"
    seconds = [json.loads((results / name / "run.json").read_text(encoding="utf-8"))["seconds"] for name in fits]
    assert seconds == sorted(seconds) and fits
    more, less = determinism.chosen(minutes=1000)
    assert set(more) == {*fits, *left_out} and less == []
    assert [name[0] for name in more if name[0] != "0"] and all(name[1] == "1" for name in more if name[0] != "0")
    assert determinism.chosen(minutes=0) == ([], more)


@pytest.mark.parametrize(
    ("again", "other", "results"),
    [("1", "2", [PASSED, PASSED]), ("2", "2", [FAILED, PASSED]), ("1", "1", [PASSED, FAILED])],
)
def test_runs_are_compared_by_what_they_leave(monkeypatch, again, other, results):
    values = {"once": "1", "again": again, "other": other}

    def leaves(checkout, folder, *arguments):
        table = folder / "results" / "quick" / "simulated" / "04_lesson_uncertainty" / "tables" / "t.csv"
        table.parent.mkdir(parents=True)
        table.write_text(f"a\n{values[folder.name]}\n")
        (folder / "arrays.json").write_text("{}")

    monkeypatch.setattr(determinism.same, "run", leaves)
    assert [row.result for row in determinism.run(1, ["04"])] == results


def test_what_there_is_no_time_for_is_never_counted_as_passed():
    (row,) = determinism.run(0)
    assert (row.times, row.result) == (0, CUT_SHORT)


def test_an_interpreter_that_is_not_here_is_reported_as_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.interpreter("3.99") == (None, "python3.99 is not on the path")
    (tmp_path / "python3.99").write_text("#!/bin/sh\necho nothing here >&2\nexit 127\n")
    (tmp_path / "python3.99").chmod(0o755)
    assert versions.interpreter("3.99") == (None, "python3.99 is on the path and does not run: nothing here")
    assert versions.interpreter(versions.HERE)[0] == sys.executable


def test_versions_that_cannot_be_installed_are_not_counted_as_passed(monkeypatch):
    monkeypatch.setattr(versions, "interpreter", lambda version: ("python", "python"))
    monkeypatch.setattr(versions, "tested", lambda python, pinned: (None, "cannot be installed: no such version"))
    assert {(row.times, row.result) for row in versions.run(1)} == {(0, NOT_HERE)}


def test_the_oldest_versions_are_those_of_pyproject():
    assert [line.partition("==")[0] for line in versions.oldest()] == ["numpy", "pandas"]
    assert set(versions.oldest()) <= set(versions.installs(pinned=False)[-1])
    for pinned in (False, True):
        assert versions.installs(pinned)[0][-1].endswith("requirements/torch.txt")


@pytest.mark.parametrize("kind", flips.KINDS)
def test_a_flipped_bit_is_never_used(kind):
    rng = np.random.default_rng(0)
    assert [flips.flip(kind, rng) for _ in range(5)] == [None] * 5


def test_a_flipped_bit_that_is_used_is_noticed(monkeypatch):
    monkeypatch.setattr(flips.cache, "file_checksum", lambda path: "0" * 64)  # any content has it
    place = 8 * 130  # of the first array, behind its header
    assert flips.flip("arrays", np.random.default_rng(0), place) == (
        f"bit {place} of arrays/{flips.KEY}/a.npy: what was flipped was used"
    )
