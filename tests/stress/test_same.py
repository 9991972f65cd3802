"""The gate notices a changed number, wherever it stands, and nothing else."""

import json

import numpy as np
import pytest
import same


@pytest.fixture
def pair(tmp_path):
    """Two folders of one run."""
    folders = tmp_path / "before", tmp_path / "after"
    for folder in folders:
        run = folder / "results" / "quick" / "simulated" / "31_pen"
        (run / "tables").mkdir(parents=True)
        (run / "tables" / "table1.csv").write_text(",CCC,training (s)\nSN,0.123456,1.5\nseconds,2,3\n")
        claims = {"pen.c1": {"effect": 0.25, "parts": {"a": {"low": 0.125}, "log ratio of seconds": {"low": 1.0}}}}
        (run / "claims.json").write_text(json.dumps(claims))
        entry = folder / "cache" / "networks" / ("ab" * 32)
        entry.mkdir(parents=True)
        np.save(entry / "weight.npy", np.arange(6.0))
        np.save(entry / "seconds.npy", np.array(1.5))
        (folder / "arrays.json").write_text(json.dumps(same.arrays(folder / "cache")))
    return folders


def replace(folder, old, new):
    for path in (*folder.rglob("*.csv"), *folder.rglob("claims.json")):
        path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("old, new", [("0.123456", "0.123457"), ("0.25", "0.250001"), ("0.125", "0.125001")])
def test_one_number_changed_by_a_millionth_is_noticed(pair, old, new):
    assert list(same.differences(*pair)) == []
    replace(pair[1], old, new)
    (line,) = same.differences(*pair)
    assert f"{old} before, {new} after" in line
    assert list(same.differences(*pair, tolerance=2e-6)) == []


@pytest.mark.parametrize("old, new", [("1.5", "1.7"), ("seconds,2,3", "seconds,4,5"), ('{"low": 1.0}', '{"low": 2.0}')])
def test_times_may_differ(pair, old, new):
    replace(pair[1], old, new)
    assert list(same.differences(*pair)) == []


def test_a_missing_file_and_a_missing_row_are_noticed(pair):
    table = next(pair[1].rglob("table1.csv"))
    table.write_text(",CCC,training (s)\n")
    assert [line for line in same.differences(*pair) if "0.123456 before, None after" in line]
    table.unlink()
    assert [line.rpartition(": ")[2] for line in same.differences(*pair)] == ["only before"]


def test_arrays_are_compared_by_what_they_hold_wherever_they_lie(pair):
    entry = pair[1] / "cache" / "networks" / ("ab" * 32)
    np.save(entry / "seconds.npy", np.array(2.5))
    entry.rename(entry.with_name("cd" * 32))
    (pair[1] / "arrays.json").write_text(json.dumps(same.arrays(pair[1] / "cache")))
    assert list(same.differences(*pair)) == []
    np.save(entry.with_name("cd" * 32) / "weight.npy", np.array([0, 1, 2, 3 + 1e-6, 4, 5]))
    (pair[1] / "arrays.json").write_text(json.dumps(same.arrays(pair[1] / "cache")))
    assert list(same.differences(*pair)) == [f"1 arrays networks/weight: only {when}" for when in ("before", "after")]


def test_what_tiny_leaves_is_compared_within_a_tolerance(pair):
    for folder, value in zip(pair, (1.0, 1.0 + 1e-6), strict=True):
        np.save(folder / "results" / "pen mean.npy", np.array([value, np.nan]))
    (line,) = same.differences(*pair)
    assert "pen mean.npy: differs by up to 1e-06" in line
    assert list(same.differences(*pair, tolerance=2e-6)) == []


def test_a_revision_that_is_none_is_said_so(capsys):
    assert same.main(["nosuchrevision"]) == 2
    assert "nosuchrevision" in capsys.readouterr().err
