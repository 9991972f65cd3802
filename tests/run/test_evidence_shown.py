"""The profile ``recorded``: a notebook that keeps evidence, and then shows it without measuring anything."""

import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from building import effect, write_notebook

from uncertain_affect.evidence import store
from uncertain_affect.evidence.store import EvidenceError, Field
from uncertain_affect.run import cli, layout, publish, reading, record, reproduce, verify

NAME = "11_one"
OWN = {"PROFILE": "recorded", "CORPUS": "", "SEED": 0, "DEVICE": "auto", "DATA_ROOT": "", "FEATURES": ""}
PARAMETERS = "\n".join(f"{name} = {value!r}" for name, value in OWN.items())
SOURCE = f"""
import numpy as np, pandas as pd
from matplotlib.figure import Figure
from uncertain_affect.evidence.store import Field
from uncertain_affect.run import record

run = record.Run("{NAME}", parameters={{name: globals()[name] for name in {list(OWN)!r}}})
print(run.banner())


def measure():
    run.seeds, run.corpus_checksum, run.settings = range(SEED, SEED + 2), "abc", {{"epochs": 3}}
    scores = np.random.default_rng(SEED).random((2, 40))
    return {{"U_e": Field(scores, ("seed", "image"), "nat", "scaled")}}


arms = run.evidence("arms", measure)
table = run.table("table2", pd.DataFrame({{"mean": arms["U_e"].mean(1)}}, index=[f"seed {{s}}" for s in run.seeds]))
_ = run.figure("figure2", Figure(figsize=(1, 1)), pd.DataFrame({{"y": arms["U_e"][0]}}))
table.round(6)
"""
END = "_ = run.finish()"


@pytest.fixture
def checkout(checkout):
    (checkout / "README.md").write_text("<!-- scoreboard -->\n<!-- /scoreboard -->\n")
    about = {"corpora": ["simulated", "ferplus", "meld"], "tables": ["table2"], "figures": ["figure2"]}
    write_notebook(checkout / "notebooks", NAME, PARAMETERS, SOURCE, END, **about)
    return checkout


def make(profile="quick", corpus="simulated", seeds=2, **parameters):
    """A finished run of the reader's own, with evidence."""
    run = record.Run(NAME, parameters=OWN | {"PROFILE": profile, "CORPUS": corpus, "DATA_ROOT": "x"} | parameters)
    run.seeds, run.corpus_checksum, run.keys = range(seeds), "abc", ["a", "b", "c"]
    run.settings = {"epochs": 3}
    tree = run.evidence("arms", lambda: {"U_e": Field(np.eye(seeds, 3) / 3, ("seed", "image"), encoding="scaled")})
    run.table("table2", pd.DataFrame({"mean": tree["U_e"].mean(1)}))
    run.judge("uncnet.c1", effect(0.3))
    return run.finish()


def commit(*args, **parameters):
    """The same among the committed results."""
    folder = make(*args, **parameters)
    target = layout.paths.project_root() / "results" / folder.relative_to(layout.results_root())
    return shutil.copytree(folder, target, dirs_exist_ok=True)


def show(**parameters):
    return record.Run(NAME, parameters=OWN | parameters)


# --- kept and shown ---------------------------------------------------------------------------------------


def test_evidence_lies_beside_the_tables_with_its_checksum_and_without_the_place_of_the_data(checkout):
    folder = make()
    run = layout.check_complete(folder)
    assert run["files"][store.NAME] == reading.file_checksum(folder / store.NAME)
    about, tree = store.read(folder / store.NAME)
    assert about["parameters"] == {k: v for k, v in run["parameters"].items() if k != "DATA_ROOT"}
    assert about["seeds"] == [0, 1] and about["corpus_checksum"] == "abc" and about["settings"] == {"epochs": 3}
    assert about["shareable"]
    assert about["keys"] == store.key_checksum(["a", "b", "c"])
    assert list(tree) == ["arms"]
    assert not (record.Run(NAME, parameters=OWN | {"PROFILE": "quick"}).finish() / store.NAME).exists()


def test_tables_follow_from_the_rounded_evidence_and_recorded_shows_it_without_measuring(checkout):
    folder = commit("full", "ferplus")
    run = show()
    assert (run.recorded, run.profile, run.corpus, run.seeds) == (True, "full", "ferplus", [0, 1])
    arms = run.evidence("arms", pytest.fail)
    run.seeds = range(99)  # what is shown keeps its own
    run.table("table2", pd.DataFrame({"mean": arms["U_e"].mean(1)}))
    run.judge("uncnet.c1", effect(0.3))
    shown = run.finish()
    assert shown == checkout / "results" / "local" / "recorded" / "ferplus" / NAME
    for name in ("tables/table2.csv", "claims.json"):
        assert (shown / name).read_bytes() == (folder / name).read_bytes()
    made = layout.check_complete(shown)
    assert (made["seeds"], made["parameters"], made["profile"]) == ([0, 1], OWN, "recorded")
    assert made["shows"] == {"profile": "full", "corpus": "ferplus"}
    assert not (shown / store.NAME).exists()
    with pytest.raises(EvidenceError, match=r"evidence.npz, bars: is missing; there is arms; run the notebook again"):
        run.evidence("bars", pytest.fail)


def test_the_banner_says_what_is_shown(checkout):
    commit("quick", "simulated")
    date = layout.check_complete(commit("full", "ferplus"))["started"][:10]
    made = f"full on ferplus, 2 seeds, {date}"
    assert show().banner() == f"Recorded evidence of {made}: nothing but the visible loop is trained here."
    commit("quick", "meld", FEATURES="hog")
    assert show(CORPUS="meld").banner().startswith("Recorded evidence of quick on meld with hog, 2 seeds, ")
    assert show(CORPUS="simulated").banner().endswith("is trained here. A demonstration, no answer.")
    assert show(PROFILE="quick").banner().startswith("Profile quick on simulated: everything below is trained now")


def test_features_lie_side_by_side_and_those_by_which_claims_are_decided_first_are_shown(checkout):
    commit("full", "ferplus", FEATURES="vggface2")
    hog = commit("full", "ferplus", FEATURES="hog")
    assert hog == checkout / "results" / "full" / "ferplus+hog" / NAME
    commit("quick", "ferplus", FEATURES="casia-webface")
    assert show().about["parameters"]["FEATURES"] == "hog"
    commit("full", "ferplus", seeds=3, FEATURES="casia-webface")
    for given, features in [("", "casia-webface"), ("hog", "hog"), ("vggface2", "vggface2")]:
        assert show(FEATURES=given).about["parameters"]["FEATURES"] == features
        assert show(CORPUS="ferplus", FEATURES=given).corpus == "ferplus"
    with pytest.raises(
        ValueError, match=r"no evidence of 11_one on ferplus\+sift is recorded \(there is: .* full on ferplus\+hog, "
    ):
        show(CORPUS="ferplus", FEATURES="sift")
    assert verify.check_run(hog) == []
    moved = shutil.copytree(hog, hog.parents[1] / "ferplus" / NAME)
    assert "holds the run full/ferplus+hog/11_one: move it" in verify.check_run(moved)[0]


def test_the_best_evidence_is_shown_full_before_quick_then_the_papers_corpus_recordings_and_simulation(
    checkout, monkeypatch
):
    order = [("quick", "simulated"), ("quick", "meld"), ("quick", "ferplus"), ("full", "simulated"), ("full", "meld"),
             ("full", "ferplus")]  # fmt: skip
    for place in order:
        folder = commit(*place)
        assert (show().about["profile"], show().corpus) == place
    assert show(CORPUS="simulated").about["profile"] == "full"
    monkeypatch.setenv("UNCERTAIN_AFFECT_EVIDENCE", "results/quick/meld/11_one")
    assert show().corpus == "meld"
    with pytest.raises(ValueError, match=r"of 11_one on ferplus is recorded \(there is: quick on meld\)"):
        show(CORPUS="ferplus")
    monkeypatch.setenv("UNCERTAIN_AFFECT_EVIDENCE", str(folder))
    with pytest.raises(EvidenceError, match="notebook: is of 11_one, not of 12_two"):
        record.Run("12_two", parameters=OWN)


# --- what cannot be shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"SEED": 3}, r"has SEED = 0: `uncertain-affect reproduce 11 --profile quick --corpus simulated -p SEED 3` tr"),
        ({"DEVICE": "cpu"}, r"has DEVICE = 'auto': .* -p DEVICE cpu`"),
        ({"DATA_ROOT": "my data", "CORPUS": "simulated"}, r"--corpus simulated --data-root 'my data'`"),
        ({"FEATURES": "vggface2"}, r"on any corpus\+vggface2 is recorded \(.*-p FEATURES vggface2`"),
        ({"LR": 0.1}, r"has LR = None: .* -p LR 0.1`"),
        ({"CORPUS": "ferplus"}, r"no evidence of 11_one on ferplus is recorded \(there is: quick on simulated\+hog\): "
         r"`uncertain-affect reproduce 11 --profile quick --corpus ferplus` trains"),
        ({"CORPUS": "bp4d"}, "CORPUS is 'bp4d': 11_one runs on simulated, ferplus, meld"),
        ({"PROFILE": "fast"}, "PROFILE must be one of recorded, quick, full, not 'fast'"),
    ],
)  # fmt: skip
def test_what_the_evidence_was_not_made_with_is_refused_with_the_command_that_trains(checkout, changed, message):
    commit(FEATURES="hog")
    assert show(FEATURES="hog").recorded and show().recorded
    with pytest.raises(ValueError, match=message):
        show(**changed)


def test_without_any_evidence_the_command_that_trains_is_named(checkout):
    shutil.rmtree(commit() / "tables")
    with pytest.raises(ValueError, match="not a finished run: tables is missing"):
        show()
    shutil.rmtree(checkout / "results" / "quick")
    message = r"of 11_one is recorded \(there is: none\): `uncertain-affect reproduce 11 --profile quick --corpus sim"
    with pytest.raises(ValueError, match=message):
        show()


def test_evidence_that_is_not_what_run_json_says_is_refused(checkout):
    folder = commit()
    about, tree = store.read(folder / store.NAME)
    store.write(folder / store.NAME, tree, about | {"seeds": [5, 6]})
    with pytest.raises(EvidenceError, match=r"seeds: is \[5, 6\] and in run.json \[0, 1\]; restore it, or run"):
        show()
    store.write(folder / store.NAME, tree, about | {"settings": {}})
    with pytest.raises(EvidenceError, match=r"evidence.npz: has changed since it was recorded; restore it"):
        show()


def test_evidence_of_a_corpus_whose_labels_may_not_be_passed_on_is_not_shareable_unless_said(checkout):
    assert not store.read(make(corpus="meld") / store.NAME)[0]["shareable"]
    run = record.Run(NAME, parameters=OWN | {"PROFILE": "quick", "CORPUS": "meld"})
    run.evidence("sums", lambda: {"n": np.arange(3)})
    run.shareable = True
    assert store.read(run.finish() / store.NAME)[0]["shareable"]


@pytest.mark.parametrize("seeds", [(), range(3)])
def test_a_run_whose_seeds_are_not_those_of_its_arrays_is_not_written(checkout, seeds):
    run = record.Run(NAME, parameters=OWN | {"PROFILE": "quick"}, seeds=seeds)
    run.evidence("arms", lambda: {"U_e": Field(np.ones((2, 3)), ("seed", "image"))})
    with pytest.raises(EvidenceError, match=f"arms/U_e: the axis seed has 2, the experiment {len(seeds)}"):
        run.finish()
    assert not list((checkout / "results" / "local").rglob("*"))[2:]


# --- trained, promoted, shown, verified -------------------------------------------------------------------


def test_a_run_is_trained_promoted_shown_in_the_notebook_and_follows_from_its_evidence(checkout, capsys):
    with pytest.raises(reproduce.SelectionError, match="no evidence of 11_one is recorded"):
        reproduce.plan(reproduce.select())  # the notebook's own profile
    assert cli.main(["reproduce", "11", "--corpus", "simulated", "--workers", "1"]) == 0
    own = checkout / "results" / "local" / "quick" / "simulated" / NAME
    given = {"PROFILE": "quick", "CORPUS": "simulated", "DATA_ROOT": "data"}
    assert layout.check_complete(own)["parameters"] == OWN | given
    folder = checkout / "results" / "quick" / "simulated" / NAME
    assert publish.promote_all(demonstration=True) == [folder]
    assert (folder / store.NAME).read_bytes() == (own / store.NAME).read_bytes()
    notebook = nbformat.read(checkout / "notebooks" / f"{NAME}.ipynb", as_version=4)
    text = "\n".join(map(publish.text_of, notebook.cells))
    assert "Recorded evidence of quick on simulated, 2 seeds, " in text and "no answer" in text and "seed 1" in text

    assert [job.corpus for job in reproduce.plan(reproduce.select())] == ["simulated"]
    capsys.readouterr()
    assert cli.main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: follows from its evidence\n1 runs looked at, 0 problems\n"
    table = folder / "tables" / "table2.csv"
    cell = pd.read_csv(table)["mean"][1]
    table.write_text(table.read_text().replace(f"{cell:.9g}", f"{cell * (1 + 3e-6):.9g}"))
    (folder / "figures" / "figure2.csv").rename(folder / "figures" / "figure3.csv")
    (folder / "figures" / "figure2.png").rename(folder / "figures" / "figure3.png")
    run = layout.read_run(folder)
    named = ("tables/table2.csv", "figures/figure3.csv", "figures/figure3.png", "claims.json", store.NAME)
    layout.write_run(folder, run | {"files": {name: reading.file_checksum(folder / name) for name in named}})
    assert cli.main(["verify", "--quick-look", str(folder)]) == 0  # the form is that of a run
    assert verify.verify([folder], recompute=True).problems == [
        f"{folder}/figures/figure2.csv is missing: 11_one writes it from its evidence; run the notebook again",
        f"{folder}/figures/figure3.csv: 11_one does not write it from its evidence; run the notebook again",
        f"{table}, row 3 (seed 1), column mean: recorded {cell * (1 + 3e-6):.9g}, the evidence gives {cell:.9g}; "
        "run the notebook again",
    ]
    notebook.cells[2].source = "raise RuntimeError('no more')"
    nbformat.write(notebook, checkout / "notebooks" / f"{NAME}.ipynb")
    (problem,) = verify.verify([folder], recompute=True).problems
    assert problem.startswith(f"{folder}/evidence.npz cannot be shown: PapermillExecutionError: RuntimeError: no more")


def test_differences_in_answers_have_their_place():
    recorded = {"uncnet.c1, low": 0.1, "uncnet.c1, answer": "holds", "uncnet.c2, low": None}
    assert verify._difference(recorded, recorded | {"uncnet.c1, low": 0.1 * (1 + 1e-7)}) is None
    for change, message in [
        ({"uncnet.c1, low": 0.2}, "uncnet.c1, low: recorded 0.1, the evidence gives 0.2"),
        ({"uncnet.c1, answer": "fails"}, "uncnet.c1, answer: recorded holds, the evidence gives fails"),
        ({"uncnet.c2, low": 0.0}, "uncnet.c2, low: recorded None, the evidence gives 0.0"),
        ({"uncnet.c3": 1}, "uncnet.c3: is given by the evidence alone"),
    ]:
        assert verify._difference(recorded, recorded | change) == message


def test_evidence_is_planned_for_notebooks_that_show_it_with_what_it_was_made_with(checkout):
    commit("full", "meld", FEATURES="hog")
    write_notebook(checkout / "notebooks", "12_two", 'PROFILE = "quick"')
    (job,) = reproduce.plan(reproduce.select(["11"]), parameters={"PROFILE": "recorded", "FEATURES": "hog"})
    assert (job.corpus, job.parameters) == ("meld", OWN | {"FEATURES": "hog"})
    (job,) = reproduce.plan(reproduce.select(["11"]), parameters={"PROFILE": "full"})
    assert (job.corpus, job.parameters["CORPUS"]) == ("simulated", "simulated")
    for names, given, message in [
        (["12"], {}, "12_two.ipynb shows no evidence: run it with --profile quick or full"),
        (["11"], {"corpus": "ferplus"}, "no evidence of 11_one on ferplus is recorded"),
        (["11"], {"root": str(checkout)}, "DATA_ROOT = '': .* --data-root"),
        (["11"], {"parameters": {"SEED": "7"}}, "-p SEED 7` trains what you ask for"),
    ]:
        given = given | {"parameters": {"PROFILE": "recorded"} | given.get("parameters", {})}
        with pytest.raises(reproduce.SelectionError, match=message):
            reproduce.plan(reproduce.select(names), **given)


def test_evidence_that_may_not_be_committed_is_not_promoted(checkout, monkeypatch):
    executed = nbformat.read(checkout / "notebooks" / f"{NAME}.ipynb", as_version=4)

    def refused(folder, message):
        nbformat.write(executed, folder / f"{NAME}.ipynb")
        with pytest.raises(ValueError, match=message):
            publish.promote_all([folder])
        assert not (checkout / "results" / "full").exists()

    refused(make("full", "meld"), "shareable: is not shareable; it stays with its reader")
    folder = make("full", "ferplus")
    with monkeypatch.context() as small:
        small.setattr(store, "FILE_LIMIT", 10)
        refused(folder, "may be committed; keep fewer seeds")
    with monkeypatch.context() as small:
        small.setattr(store, "TOTAL_LIMIT", 10)
        refused(folder, r"with these runs 0\.0 MB of evidence would be committed, more than 1e-05")
    about, tree = store.read(folder / store.NAME)
    store.write(folder / store.NAME, tree, about | {"settings": {}})
    refused(folder, "evidence.npz has changed since it was recorded")
    (folder / store.NAME).unlink()
    refused(folder, "evidence.npz: is missing")
    run = record.Run(NAME, parameters=OWN | {"PROFILE": "full", "CORPUS": "ferplus"})
    refused(run.finish(), "holds no evidence.npz, which 11_one shows: does it call run.evidence?")
    with pytest.raises(ValueError, match="takes notebooks alone"):
        cli._record(cli._parser().parse_args(["record", "--refresh", "--outputs", "11"]))
