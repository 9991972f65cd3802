"""Results that are as a notebook recorded them pass; whatever is done to them is named, with file and cure."""

import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from building import effect, measured, write_notebook
from matplotlib.figure import Figure

from uncertain_affect.compute import paths
from uncertain_affect.evidence import printed
from uncertain_affect.run import layout, publish, record, verify

NAME = "11_one"
CLAIMS = ["uncnet.c1", "uncnet.c5"]


@pytest.fixture
def checkout(checkout):
    (checkout / "README.md").write_text("<!-- scoreboard -->\n<!-- /scoreboard -->\n")
    about = {"corpora": ["ferplus"], "tables": ["table2"], "claims": CLAIMS}
    write_notebook(checkout / "notebooks", NAME, "SEED = 0", **about)
    return checkout


@pytest.fixture
def folder(checkout):
    """A finished run among the reader's own."""
    return finish()


def finish(profile="full"):
    run = record.Run(NAME, profile=profile, corpus="ferplus", parameters={"SEED": 0})
    run.table("table2", pd.DataFrame({"ECE": [1.0, None], "MCE": [2.5, 3.0]}, index=["Baseline", "UncNet"]))
    figure = Figure(figsize=(1, 1))
    run.figure("figure2", figure, pd.DataFrame({"x": [1, 2]}))
    measured(run, "uncnet")
    run.judge("uncnet.c1", effect(0.3))
    run.judge("uncnet.c5", {name: effect(0.5 + i / 10) for i, name in enumerate(printed.claim("uncnet.c5").parts)})
    run.needs("uncnet.c3", "the truth")
    return run.finish()


def commit():
    """A run of the same among the committed results, with what is generated from them."""
    target = publish._target(layout.check_complete(finish()))
    shutil.copytree(layout.results_root() / "full" / "ferplus" / NAME, target)
    publish.write_scoreboard()
    return target


def problems(folder):
    return verify.verify([folder]).problems


def edit(path, change):
    """Change what a file says, with a checksum to match where it is a run.json."""
    content = json.loads(path.read_text())
    change(content)
    if "checksum" in content:
        content["checksum"] = layout.checksum_of_run(content)
    layout.write_json(path, content)


def test_a_finished_run_passes_with_its_executed_notebook_beside_it(folder):
    (folder / f"{NAME}.ipynb").write_text("{}")
    (folder / f"{NAME}.html").touch()
    report = verify.verify([folder])
    assert (report.runs, report.problems) == ([folder], [])
    assert str(report) == "1 runs looked at, 0 problems"


def test_the_committed_results_pass():
    report = verify.verify([paths.project_root() / "results"])
    assert {run.name for run in report.runs} == layout.notebooks().keys()
    assert report.problems == []


# --- where runs are looked for ----------------------------------------------------------------------------


def test_runs_are_found_from_every_folder_above_them(checkout, folder):
    quick = finish("quick")
    (folder.with_name(f".{NAME}.1.partial")).mkdir()  # of a run that is going on
    own = checkout / "results" / "local"
    assert verify.verify([own]).runs == [quick, folder]
    for above in (own / "full", own / "full" / "ferplus", folder):
        assert verify.verify([above]).runs == [folder]
    assert verify.verify([own, folder]).runs == [quick, folder]


def test_without_a_folder_the_committed_results_and_the_readers_own_are_looked_at(checkout):
    target = commit()
    assert verify.verify().runs == [target, checkout / "results" / "local" / "full" / "ferplus" / NAME]
    shutil.rmtree(checkout / "results" / "local")
    assert verify.verify().runs == [target]
    for place in ("nowhere", "results/printed", "README.md"):
        with pytest.raises(ValueError, match=f"no (folder|recorded run in) .*{place}"):
            verify.verify([checkout / place])


# --- files ------------------------------------------------------------------------------------------------


def written(content):
    """Puts content, text or bytes, in the place of a file, which may be a new one."""

    def write(path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def says(**other):
    """Changes entries of a run.json, with a checksum to match."""
    return lambda path: edit(path, lambda run: run.update(other))


def unsigned(**other):
    """Changes entries, without."""
    return lambda path: layout.write_json(path, json.loads(path.read_text()) | other)


AGAIN, RESTORE = "run the notebook again", "restore it, or run the notebook again"
NO_JSON = ("", "{", '{"schema": 3, "notebook": "11', "[" * 10_000)
OTHER_FORMS = {
    "claims": 1,
    "seeds": 5,
    "seconds": True,
    "started": 1.5,
    "peak_memory_mib": None,
    "files": 1,
    "dirty": "no",
}
OTHER_VALUES = {"seeds": [1], "revision": "0" * 40, "seconds": 0.5, "parameters": {"SEED": 1}}
FOREIGN = ("notes.txt", "tables/more.csv", "tables/table2.xlsx", "figures/deep/er.png")
CHANGED = f"has changed since it was recorded: {RESTORE}"
DAMAGE = [
    ("run.json", Path.unlink, "is missing: .* is no finished run"),
    *(("run.json", written(text), f"is no JSON .*{AGAIN}") for text in NO_JSON),
    *(("run.json", says(**{k: v}), f"{k}: Input should be .*, not {v!r}; {AGAIN}") for k, v in OTHER_FORMS.items()),
    *(("run.json", unsigned(**{key: value}), CHANGED) for key, value in OTHER_VALUES.items()),
    ("run.json", says(schema=4, seeds="new"), r"has schema 4, of a later version .*\(this one knows up to 3\).*: upd"),
    *((name, written(""), "was not recorded by this run: remove it") for name in FOREIGN),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_whatever_is_done_to_a_run_is_named_with_the_file_and_a_cure(folder, name, damage, message):
    damage(folder / name)
    (problem,) = problems(folder)
    assert re.match(rf"{folder / name}\W.*{message}", problem)


@pytest.mark.parametrize("name", ["tables/table2.csv", "figures/figure2.png", "figures/figure2.csv", "claims.json"])
def test_any_byte_of_any_file_counts_and_so_does_the_file(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert problems(folder)[0] == f"{folder / name} {CHANGED}"
    (folder / name).unlink()
    assert f"{folder / name} is missing: {RESTORE}" in problems(folder)


def test_a_run_json_that_lacks_something_and_a_folder_that_is_no_run_at_all(checkout, folder):
    edit(folder / "run.json", lambda run: run.pop("files"))
    assert problems(folder) == [f"{folder / 'run.json'}: files: Field required; {AGAIN}"]
    shutil.rmtree(folder)
    folder.mkdir()
    assert problems(checkout / "results" / "local") == [
        f"{folder / 'run.json'} is missing: {folder} is no finished run"
    ]


def test_a_file_that_may_not_be_read_does_not_stop_the_rest(checkout, folder, monkeypatch):
    quick, checksum = finish("quick"), verify.file_checksum

    def refused(path):
        if path.is_relative_to(quick):
            raise PermissionError(13, "Permission denied", "a file")
        return checksum(path)

    monkeypatch.setattr(verify, "file_checksum", refused)
    report = verify.verify([checkout / "results" / "local"])
    assert report.runs == [quick, folder]
    assert report.problems == [f"{quick} cannot be read: [Errno 13] Permission denied: 'a file'"]


def test_links_are_not_followed(checkout, folder):
    table = folder / "tables" / "table2.csv"
    table.rename(checkout / "table2.csv")
    table.symlink_to(checkout / "table2.csv")
    assert f"{table} is a symbolic link: results are files of their own; {AGAIN}" in problems(folder)
    linked = folder.with_name("12_two")
    linked.symlink_to(folder)
    message = f"{linked} is a symbolic link: results are files and folders of their own; copy them here"
    assert verify.check_run(linked) == [message]


def test_a_run_in_the_folder_of_another_or_of_a_notebook_that_is_gone(checkout, folder):
    moved = folder.rename(folder.with_name("12_two"))
    assert problems(moved) == [f"{moved} holds the run full/ferplus/{NAME}: move it to a folder of that name"]
    (checkout / "notebooks" / f"{NAME}.ipynb").unlink()
    assert problems(moved)[-1].endswith("which is not in notebooks/ any more: remove the folder")


# --- answers ----------------------------------------------------------------------------------------------

HOLDS = {"answer": "holds"}
NO_ANSWERS = ["", "[1]", '{"uncnet.c1": {}}', '{"uncnet.c99": {"answer": "near"}}', '{"a.c1": 1}', '{"a":' * 5000]
for entry in ({"effect": "0.3"}, {"effect": float("inf")}, {"effect": 10**400}, {"parts": [1]}, {"reason": None}):
    NO_ANSWERS.append(json.dumps({"uncnet.c1": HOLDS | entry}))
NO_ANSWERS += [json.dumps({"uncnet.c1": HOLDS | {"seeds": True}}), '{"uncnet.c1": {"more": 1}}', b"\xff"]
ANSWERS = [
    (lambda path: edit(path, lambda found: found.pop("uncnet.c5")), "lacks uncnet.c5, which 11_one j"),
    (
        lambda path: edit(path, lambda found: found.update({"uncnet.c99": HOLDS})),
        r"does not hold answers \(uncnet makes no claim",
    ),
    *((written(content), r"does not hold answers \(") for content in NO_ANSWERS),
]


@pytest.mark.parametrize(("damage", "message"), ANSWERS)
def test_what_is_recorded_must_be_answers_to_all_claims_of_the_notebook(folder, damage, message):
    path = folder / "claims.json"
    damage(path)
    edit(folder / "run.json", lambda run: run["files"].update({"claims.json": verify.file_checksum(path)}))
    (problem,) = problems(folder)
    assert re.match(rf"{path}\W.*{message}", problem)


def test_answers_that_no_evidence_gives_are_named(folder):
    (problem,) = verify.verify([folder], recompute=True).problems
    assert problem == f"{folder}/claims.json: no evidence.npz gives the answers to uncnet.c1, uncnet.c5; {AGAIN}"


# --- frozen claims ----------------------------------------------------------------------------------------


@pytest.fixture
def edited(checkout):
    """Edits the claims of UncNet, which are read again; and as they were again afterwards."""

    def edit_yaml(change):
        path = checkout / "results" / "printed" / "uncnet.yaml"
        content = yaml.safe_load(path.read_text())
        change(content["claims"])
        path.write_text(yaml.safe_dump(content))
        printed.load.cache_clear()

    yield edit_yaml
    printed.load.cache_clear()


def test_an_edit_of_a_delta_is_reported_and_a_run_judged_by_it_is_exploratory(checkout, edited):
    folder = finish()
    assert verify.verify([folder]).problems == []
    edited(lambda claims: claims["uncnet.c3"].update(delta=0.2))
    (problem,) = problems(folder)
    assert re.match(
        r".*results/printed: what is judged is not what commit 1eab3ee froze \(`git diff 1eab3ee -- r", problem
    )
    assert not layout.is_exploratory(layout.read_run(folder))
    report = verify.verify([finish()])
    assert report.exploratory == [folder]
    edited(lambda claims: claims["uncnet.c3"].update(delta=0.1, says="In other words.", why="Nobody knows."))
    assert verify.check_frozen() == []  # what is only said may change


def test_a_change_that_is_entered_is_no_problem_and_one_that_is_entered_wrongly_is(checkout, edited):
    path = checkout / "results" / "printed" / "frozen.json"
    change = {"claim": "uncnet.c3", "old": {"delta": 0.1}, "new": {"delta": 0.2}, "reason": "A slip."}
    frozen = json.loads(path.read_text())
    layout.write_json(path, frozen | {"changes": [change]})
    edited(lambda claims: claims["uncnet.c3"].update(delta=0.2))
    assert verify.check_frozen() == []
    assert not layout.is_exploratory(layout.read_run(finish()))
    layout.write_json(path, frozen | {"changes": [change | {"new": {"delta": 0.3}}]})
    assert len(verify.check_frozen()) == 1
    for content in ("", "{}", json.dumps({"commit": "main", "checksum": "0" * 64})):
        path.write_text(content)
        (problem,) = verify.check_frozen()
        assert problem.startswith(f"{path}: ") and problem.endswith("restore it")


def test_a_run_without_the_field_is_exploratory_and_no_problem(folder):
    edit(folder / "run.json", lambda run: (run.update(schema=2), run.pop("claims")))
    report = verify.verify([folder])
    assert (report.problems, report.exploratory) == ([], [folder])
    assert str(report).endswith("1 of them are exploratory: not judged by the claims as they were frozen")


def test_what_is_frozen_is_what_its_commit_says():
    frozen = printed.frozen()
    assert frozen.checksum == printed.claims_checksum()
    assert sum(len(printed.load(key).claims) for key in printed.keys()) == 51


# --- what is generated ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["results/scoreboard.csv", "results/scoreboard.md", "README.md", "results/verdicts.svg"]
)
def test_what_is_generated_must_follow_from_the_results(checkout, name):
    commit()
    results = checkout / "results"
    assert problems(results) == []
    path = checkout / name
    path.write_text(path.read_text().replace("answer", "anwser", 1))
    expected = [f"{path} is not what the results give: rebuild it with `uncertain-affect record --refresh`"]
    assert problems(results) == expected
    if name != "README.md":  # what is to be written into must be text
        path.write_bytes(b"\xff")
        assert problems(results) == expected
    path.unlink()
    assert len(problems(results)) == 1


def test_a_broken_run_among_the_committed_ones_is_named_and_the_rest_is_looked_at(checkout):
    path = commit() / "claims.json"
    os.truncate(path, 30)
    found = problems(checkout / "results")
    for start in (f"{path} does not hold answers", "the scoreboard cannot be rebuilt"):
        assert any(problem.startswith(start) for problem in found)
