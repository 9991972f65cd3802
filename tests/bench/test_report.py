import json

import pandas as pd
import pytest
import torch

from bench import __main__ as command
from bench import departures, report, world
from bench.compare import Peer, Task, Work


@pytest.fixture(autouse=True)
def own_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def missing(*_):
    raise ModuleNotFoundError("No module named 'netcal'", name="netcal")


def few(theirs=1.0):
    """Ours beside one that is the same, one that is faster by doing nothing, one that is missing; and a work alone."""
    peers = [
        Peer("a slow loop", lambda: lambda: sum(range(400_000)) * 0 + theirs, target=2, reason="luck", tolerance=1e-9),
        Peer("a guess", lambda: lambda: 1.0, target=2, reason="a guess reads no number"),
        Peer("netcal", missing, target=1),
    ]
    sums, alone = Task(lambda: sum(range(20_000)) * 0 + 1.0, peers), Task(lambda: sum(range(1000)))
    return [
        Work("Sums", 1000, "numbers", lambda n: sums, growth=(1000, 1000 * 100)),
        Work("Pictures", 50, "faces", lambda n: alone, rate=1e12, reason="light is slow"),
    ]


def line(page, *parts):
    """The one row of a table that has all the parts."""
    (found,) = (line for line in page.splitlines() if line.startswith("|") and all(part in line for part in parts))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_tables_provenance_and_a_page_of_what_is_met_missed_and_missing_are_written(tmp_path):
    folder = tmp_path / "bench"
    assert report.run(folder, few(), pairs=2, n_departures=3000) == []
    table = pd.read_csv(folder / "peers.csv", keep_default_na=False)
    assert table["work"].tolist() == ["Sums"] * 3 + ["Pictures"]
    assert table["peer"].tolist() == ["a slow loop", "a guess", "netcal", "none"]
    outcomes = [outcome.partition(" (")[0] for outcome in table["outcome"]]
    assert outcomes == ["met", "missed", "not installed: netcal", "missed"]
    assert table["reason"].tolist() == ["", "a guess reads no number", "", "light is slow"]
    facts = json.loads((folder / "peers.json").read_text())
    assert (facts["pairs"], facts["threads"]) == (2, torch.get_num_threads())
    assert {"hardware", "versions", "revision"} <= set(facts) and set(facts["peers"]) == set(report.PEER_PACKAGES)

    page = (folder / "peers.md").read_text()
    assert page == report.page(folder), "the page follows from the tables"
    assert "Of 4 targets 1 are met and 2 missed; for 1 the peer is missing or fails" in page
    slow = line(page, "a slow loop", "met (2 of 2)")
    assert slow[:3] == ["Sums", "1,000", "a slow loop"]
    assert slow[6] == "2"
    assert "(" in slow[5] and "-" in slow[5], "the ratio with its lowest and highest"
    assert line(page, "Sums", "not installed: netcal")[4:6] == ["", ""], "no time and no ratio of what is missing"
    assert "- Sums, N = 1,000, beside a guess: a guess reads no number." in page
    assert "- Pictures, N = 50, beside none: light is slow." in page
    pictures = line(page, "Pictures")
    assert "a second" in pictures[5] and pictures[6] == "1e+12 a second"
    assert line(page, "a slow loop", "agrees")[3:5] == ["0.0e+00", "1.0e-09"]


def test_no_reason_is_given_where_nothing_is_missed(tmp_path):
    slow = few()[0].make(1000).peers[0]
    alone = Work("Sums", 10, "numbers", lambda n: Task(lambda: 1.0, [slow]))
    report.run(tmp_path, [alone], pairs=1, n_departures=100)
    page = (tmp_path / "peers.md").read_text()
    assert "Of 1 targets 1 are met and 0 missed" in page
    assert "luck" not in page and "Why targets are missed" not in page


def test_departures_are_computed_for_every_library():
    table = departures.departures(n=2000)
    ours = table[table["library"] == "ours"]
    assert (ours["outcome"] == "same").all()
    assert len(ours) == 8

    def of(*which):
        return table.set_index(["case", "metric", "library"]).loc[which]

    # bins [.5, .6), [.6, .7) and [.9, 1]: right at .95, wrong at .52, .62 and 1
    sure = of("one confidence of exactly 1", "ECE", "torchmetrics")
    assert sure["definition"] == pytest.approx((0.52 + 0.62 + 0.95) / 4)
    assert sure["value"] == pytest.approx((0.52 + 0.62 + 1.0 + 0.05) / 4, abs=1e-6), "1 is a bin of its own"
    assert sure["outcome"] == "departs"
    assert of("a confidence on an edge, .5", "ECE", "torchmetrics")["outcome"] == "same in float32"
    moments = of("moments of four pairs, divided by n", "CCC", "torchmetrics")
    assert (moments["outcome"], moments["definition"]) == ("departs", pytest.approx(11 / 14))


def test_a_library_that_fails_or_is_missing_has_no_value(monkeypatch):
    def fails(_):
        raise RuntimeError("no such bins")

    monkeypatch.setattr(departures, "CALIBRATION_PEERS", {"one": (fails, ("ECE",)), "other": (missing, ("MCE",))})
    table = departures.departures(n=100).set_index("library")
    assert set(table.loc["one", "outcome"]) == {"fails: RuntimeError: no such bins"}
    assert set(table.loc["other", "outcome"]) == {"not installed: netcal"}
    assert table.loc["one", "value"].isna().all()


@pytest.fixture
def elsewhere(monkeypatch):
    """The command with few works; the folders that views and panels were written to."""
    folders = []
    monkeypatch.setattr(command, "works", few)
    monkeypatch.setattr(report, "departures", lambda n: departures.departures(100))
    monkeypatch.setattr(command.world, "views", folders.append)
    monkeypatch.setattr(command.world, "panels", folders.append)
    return folders


def test_a_pattern_chooses_works_and_leaves_the_recorded_tables_alone(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "project_root", lambda: tmp_path)
    assert command.main(["--only", "nothing"]) == "no work matches 'nothing': Pictures; Sums"
    assert command.main(["--only", "^pict"], pairs=1) == 0
    assert elsewhere == []
    table = pd.read_csv(tmp_path / "results" / "local" / "bench" / "peers.csv")
    assert table["work"].tolist() == ["Pictures"]
    assert not (tmp_path / "results" / "bench").exists()


@pytest.mark.parametrize("theirs", [1.0, 1.1, float("nan")])
def test_the_command_times_everything_and_ends_with_an_error_where_results_disagree(
    elsewhere, tmp_path, monkeypatch, capsys, theirs
):
    monkeypatch.setattr(command, "works", lambda: few(theirs))
    ended = command.main([str(tmp_path)], pairs=1)
    assert ended == (0 if theirs == 1 else "ours and the peer disagree: Sums, 1,000 numbers: a slow loop")
    facts = json.loads((tmp_path / "peers.json").read_text())
    assert (facts["pairs"], facts["threads"]) == (1, command.THREADS)
    page = (tmp_path / "peers.md").read_text()
    assert line(page, "a slow loop", "1.0e-09")[-1] == ("agrees" if theirs == 1 else "DISAGREES")
    assert "Pictures" in page
    assert elsewhere == [tmp_path, tmp_path], "all else is timed"
    assert "netcal: not timed, not installed: netcal" in capsys.readouterr().out


def test_the_views_are_timed_and_written(tmp_path, capsys):
    table = world.views(tmp_path, names=["dialogues"])
    assert table["work"].tolist() == ["seconds to build view dialogues, quick"]
    assert (table["value"] > 0).all()
    assert "dialogues" in capsys.readouterr().out
    assert {"hardware", "versions", "threads"} <= set(json.loads((tmp_path / "simulated.json").read_text()))


@pytest.mark.slow
def test_the_panels_are_timed_and_written(tmp_path, capsys):
    table = world.panels(tmp_path, repeats=1)
    assert len(table) == 9
    assert (table["milliseconds"] > 0).all()
    assert "face explorer" in capsys.readouterr().out
    assert json.loads((tmp_path / "panels.json").read_text())["threads"] == 1
