import dataclasses
import hashlib
import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from building import LEARNT, effect, measured
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from uncertain_affect.compute import replacing
from uncertain_affect.evidence import printed
from uncertain_affect.evidence.claims import effect_interval
from uncertain_affect.metrics import f1_from_sums, f1_sums, ratio, ratio_sums
from uncertain_affect.models.backbones import PUBLISHED_WEIGHTS
from uncertain_affect.run import layout, provenance, record

PARAMETERS = {"PROFILE": "quick", "SEED": 0}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCERTAIN_AFFECT_RESULTS", str(tmp_path))
    return tmp_path


def make_run(notebook="11_uncnet_disagreement", corpus="ferplus", **given):
    return record.Run(notebook, profile="quick", corpus=corpus, parameters=PARAMETERS, **given)


def made(corpus="ferplus"):
    """A run of UncNet in which all has been measured that its claims require."""
    return measured(make_run(corpus=corpus))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what a run writes ------------------------------------------------------------------------------------


def test_runs_write_to_results_local_or_where_the_environment_says(checkout, monkeypatch):
    monkeypatch.delenv("UNCERTAIN_AFFECT_RESULTS", raising=False)
    assert layout.results_root() == checkout / "results" / "local"
    monkeypatch.setenv("UNCERTAIN_AFFECT_RESULTS", str(checkout / "elsewhere"))
    assert layout.results_root() == checkout / "elsewhere"
    # notebooks and the driver work in different folders, and must mean the same one
    monkeypatch.setenv("UNCERTAIN_AFFECT_RESULTS", "relative")
    assert layout.results_root() == checkout / "relative"


def test_a_finished_run_is_one_folder_with_everything(results, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # decides in which order numbers are added
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    run = make_run(seeds=range(2), corpus_checksum="abc")
    table = pd.DataFrame({"ECE": [1.0, math.nan]}, index=["Baseline", "UncNet"])
    assert run.table("table2", table) is table
    figure, data = Figure(), pd.DataFrame({"x": [1, 2], "y": [0.1, 1 / 3]})
    figure.subplots().plot(data["x"], data["y"])
    assert run.figure("figure2", figure, data) is figure
    run.learnt("UncNet", LEARNT)
    run.judge("uncnet.c1", effect(0.3))
    folder = run.finish()

    assert folder == results / "quick" / "ferplus" / "11_uncnet_disagreement"
    measured = {"tables/table2.csv", "figures/figure2.png", "figures/figure2.csv", "claims.json"}
    assert set(files(folder)) == {*measured, "run.json"}
    pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "table2.csv", index_col=0), table)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "figures" / "figure2.csv"), data, rtol=1e-5)
    assert (folder / "figures" / "figure2.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "claims.json").read_text())["uncnet.c1"]["answer"] == "holds"
    found = layout.check_complete(folder)
    expected = {"parameters": PARAMETERS, "seeds": [0, 1], "corpus_checksum": "abc", "schema": layout.SCHEMA}
    assert {key: found[key] for key in expected} == expected
    assert found["claims"] == {"commit": printed.frozen().commit, "checksum": printed.frozen().checksum}
    assert not layout.is_exploratory(found)
    assert found["versions"]["torch"] == torch.__version__
    assert found["seconds"] >= 0
    assert 10 < found["peak_memory_mib"] < found["hardware"]["memory_mib"]
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert found["hardware"]["cpu"]
    assert found["environment"]["OMP_NUM_THREADS"] == "1" and "MKL_NUM_THREADS" not in found["environment"]
    assert found["files"] == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in measured}
    revision = found["revision"]
    assert len(revision.removesuffix("+changes")) == 40 or revision == "unknown"
    assert found["dirty"] is (None if revision == "unknown" else "+changes" in revision)


@pytest.fixture
def finished(results):
    """The folder of a finished run."""
    return make_run().finish()


def test_what_is_kept_is_what_it_was_when_it_was_kept_and_a_figure_gives_the_same_bytes(results):
    run, figure = make_run(), Figure()
    table = run.table("t", pd.DataFrame({"a": [1]}))
    table["a"] = 2
    figure.subplots().plot([1, 2])
    run.figure("f", figure, pd.DataFrame({"y": [1, 2]}))
    folder = run.finish()
    first = files(folder)["figures/f.png"]
    assert pd.read_csv(folder / "tables" / "t.csv")["a"].item() == 1
    assert files(run.finish())["figures/f.png"] == first


def test_a_later_run_replaces_an_earlier_one_whole(results):
    for name in ("old", "new"):
        run = make_run()
        run.table(name, pd.DataFrame({"a": [1]}))
        folder = run.finish()
    assert {path.name for path in (folder / "tables").iterdir()} == {"new.csv"}
    assert [path.name for path in (results / "quick" / "ferplus").iterdir()] == ["11_uncnet_disagreement"]


@pytest.mark.parametrize(
    ("module", "name", "of", "problem"),
    [(layout, "write_json", "run.json", OSError("no space left")), (os, "replace", ".partial", KeyboardInterrupt())],
)
def test_a_crash_leaves_the_earlier_run_and_nothing_else(results, monkeypatch, module, name, of, problem):
    before = files(make_run().finish().parent)
    run, function = make_run(), getattr(module, name)
    run.table("t", pd.DataFrame({"a": [1]}))

    def crashes(path, other):
        if of in str(path):
            raise problem
        function(path, other)

    monkeypatch.setattr(module, name, crashes)
    with pytest.raises(type(problem)):
        run.finish()
    assert files(results / "quick" / "ferplus") == before


def test_an_earlier_run_that_a_dead_process_moved_aside_is_not_lost(tmp_path):
    (tmp_path / ".run.old").mkdir()
    (tmp_path / ".run.old" / "a").touch()
    with pytest.raises(FileNotFoundError):
        replacing.replace_folder(tmp_path / "new", tmp_path / "run")
    assert (tmp_path / "run" / "a").is_file()


@pytest.mark.parametrize("step", [1, 2])
def test_a_kill_while_a_run_is_moved_into_place_loses_neither(tmp_path, step):
    folder = tmp_path / "quick" / "none" / "11_x"
    for place, content in ((folder, "old"), (tmp_path / "new", "new")):
        place.mkdir(parents=True)
        (place / "run.json").write_text(content)
    code = f"""
import os, pathlib, signal
from uncertain_affect.compute import replacing
real, calls = os.replace, []
def replace(source, target):
    calls.append(source)
    if len(calls) == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = replace
replacing.replace_folder(pathlib.Path({str(tmp_path / "new")!r}), pathlib.Path({str(folder)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert folder.exists() is (step == 1)
    replacing.recover(tmp_path)
    assert (folder / "run.json").read_text() == "old"
    replacing.replace_folder(tmp_path / "new", folder)
    assert (folder / "run.json").read_text() == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["11_x"]


@pytest.mark.parametrize("missing", ["run.json", "claims.json", "tables", "figures"])
def test_a_folder_that_lacks_something_is_not_a_finished_run(finished, missing):
    (finished / missing).rename(finished / "elsewhere")
    with pytest.raises(ValueError, match=f"not a finished run: {missing} is missing"):
        layout.check_complete(finished)


@pytest.mark.parametrize("text", ["", '{"notebook": "11', "[]", '{"schema": "2"}', '{"schema": 1}', '{"schema": 3}'])
def test_a_truncated_or_foreign_run_json_is_named(finished, text):
    (finished / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run.json(: | is no (JSON|record of a run)).*run the notebook again"):
        layout.check_complete(finished)
    assert make_run().finish() == finished  # which is the cure
    assert layout.check_complete(finished)["schema"] == layout.SCHEMA


def test_a_run_of_an_older_schema_is_read_and_one_of_a_later_neither_read_nor_replaced(finished):
    whole = layout.check_complete(finished)
    older = {key: value for key, value in whole.items() if key != "claims"} | {"schema": 2}
    layout.write_json(finished / "run.json", older)
    assert layout.check_complete(finished) == older
    assert layout.is_exploratory(older)
    layout.write_json(finished / "run.json", whole | {"schema": layout.SCHEMA + 1})
    before = files(finished.parent)
    for attempt in (lambda: layout.check_complete(finished), make_run().finish):
        with pytest.raises(layout.SchemaError, match=r"schema 4, of a later version .*\(this one knows up to 3\)"):
            attempt()
    assert files(finished.parent) == before


def test_the_most_memory_held_at_once_is_that_of_this_process():
    before = provenance.peak_memory_mib()
    block = np.ones(2**25)  # 256 MiB, all of it written to
    during = provenance.peak_memory_mib()
    del block
    assert during >= before
    assert during >= 256
    # the kernel counts pages for each processor apart, and adds them up now and then
    assert provenance.peak_memory_mib() >= during - 4


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "figure 2"])
def test_a_name_that_is_no_file_name_is_refused_at_once_and_so_is_an_unknown_profile(name):
    for keep in (make_run().table, lambda name, data: make_run().figure(name, Figure(), data)):
        with pytest.raises(ValueError, match="cannot name a table or figure"):
            keep(name, pd.DataFrame())
    with pytest.raises(ValueError, match="PROFILE must be one of recorded, quick, full, not 'fast'"):
        record.Run("11_x", profile="fast", corpus="none", parameters={})


# --- JSON -------------------------------------------------------------------------------------------------


PLAIN = [
    (math.nan, None), (-math.inf, None), (np.float64(0.5), 0.5), (np.float32("nan"), None), (np.int64(3), 3),
    (np.bool_(True), True), (np.array([[1.0, np.inf]]), [[1.0, None]]), (torch.tensor([1, 2]), [1, 2]),
    (torch.tensor(0.5), 0.5), ((1, (2, math.nan)), [1, [2, None]]), ({1: {"a": np.float64("nan")}}, {"1": {"a": None}}),
    (True, True), ("nan", "nan"), (None, None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), PLAIN)
def test_what_json_cannot_hold_is_put_plainly(value, expected):
    assert layout.plain(value) == expected
    assert type(layout.plain(value)) is type(expected)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.floats().map(np.float64),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_anything_plain_survives_json(value):
    plain = layout.plain(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_parameters_without_a_finite_value_are_written_as_null(results):
    run = record.Run("11_x", profile="quick", corpus="none", parameters={"LR": math.nan, "N": np.int64(3)})
    assert layout.check_complete(run.finish())["parameters"] == {"LR": None, "N": 3}


# --- claims -----------------------------------------------------------------------------------------------


def test_claims_are_judged_as_the_paper_states_them():
    run = made()
    answer = run.judge("uncnet.c1", effect(0.4))
    assert (answer.answer, answer.size, answer.printed, answer.delta) == ("holds", "larger", 0.301, 0.1505)
    assert run.judge("uncnet.c2", effect(0.0)).answer == "holds"  # within a margin
    assert run.judge("uncnet.c2", effect(0.2)).answer == "fails"
    assert run.judge("uncnet.c6", effect(-0.02)).answer == "fails"  # as claimed is positive
    parts = {f"r({u}, BCE)": effect(0.5) for u in ("U_a", "U_e", "U_t")}
    assert run.judge("uncnet.c5", parts).answer == "holds"  # their mean
    against = run.judge("uncnet.c5", parts | {"r(U_e, BCE)": effect(-0.1)})
    assert (against.answer, against.effect) == ("holds in part, 2 of 3", pytest.approx(0.3))
    apart = run.judge("uncnet.c8", {n: effect(1.0 - 2 * ("Base" in n)) for n in printed.claim("uncnet.c8").parts})
    assert apart.answer == "a fails, b holds"
    assert [answer.answer for answer in apart.parts.values()] == ["fails", "holds"]
    assert list(run.answers) == ["uncnet.c1", "uncnet.c2", "uncnet.c6", "uncnet.c5", "uncnet.c8"]


def test_what_a_run_cannot_speak_of_says_what_it_needs():
    run = made()
    assert run.needs("uncnet.c10", "the weights").answer == "needs the weights"
    quoted = run.needs("pen.c7", "RECOLA")
    assert (quoted.answer, quoted.reason) == ("compares with other papers' numbers", "needs RECOLA")
    assert run.judge("uncnet.c1", None).answer == "needs other data"
    with pytest.raises(ValueError, match="makes no claim"):
        run.needs("uncnet.c99", "no such thing")


def test_a_claim_is_no_test_where_what_it_requires_does_not_hold_or_was_not_measured():
    run = make_run()
    answer = run.judge("uncnet.c1", effect(0.4))
    assert (answer.answer, answer.reason) == ("not a test", "UncNet: what it has learnt was not measured")
    run.learnt("UncNet", dataclasses.replace(LEARNT, score=0.31))
    reason = "UncNet: accuracy .310 gains 4% of what a plain baseline gains"
    assert run.judge("uncnet.c1", effect(0.4)).reason == reason
    run.learnt("UncNet", dataclasses.replace(LEARNT, score=0.54))
    answer = run.judge("uncnet.c1", effect(0.4))
    assert (answer.answer, answer.flags) == ("holds", ("UncNet is weaker than linear",))
    run.learnt("UncNet", LEARNT)
    for found, reason in [
        ({}, "reliability of U_e was not measured"),
        ({"reliability of U_e": 0.5}, "reliability of U_e is 0.5, must be at least 0.8"),
        ({"reliability of U_e": 0.9}, "interval inside ±0.1"),
    ]:
        for name, value in found.items():
            run.check(name, value)
        assert run.judge("uncnet.c2", effect(0.0)).reason == reason


def test_what_is_found_without_dead_seeds_stands_beside_the_answer_in_which_they_count():
    run = make_run()
    run.learnt("UncNet", dataclasses.replace(LEARNT, dead=0.1), dead=[1])
    values = np.random.default_rng(0).normal(0.4, 0.02, (10, 30))
    values[1] = 0.0
    answer = run.judge("uncnet.c1", effect_interval(values))
    without = effect_interval(np.delete(values, 1, 0))
    assert answer.effect == pytest.approx(values.mean()) and answer.answer == "holds"
    assert answer.flags == (f"without 1 dead seed(s) {without.estimate:.3f}, holds",)
    run.learnt("UncNet", LEARNT)
    assert run.judge("uncnet.c1", effect_interval(values)).flags == ()


@pytest.mark.parametrize(
    ("claim", "given", "message"),
    [
        ("uncnet.c5", {"r(U_a, BCE)": effect(1)}, r"has the parts r\(U_a, BCE\), r\(U_e, BCE\), .* came for r\(U_a"),
        ("uncnet.c5", effect(1), "has the parts .* effects came for none"),
        ("uncnet.c5", None, "has the parts"),
        ("uncnet.c1", {"r": effect(1)}, "has the parts none; effects came for r"),
        ("uncnet.c99", effect(1), "makes no claim uncnet.c99"),
    ],
)
def test_effects_that_are_not_those_of_the_claim_are_refused(claim, given, message):
    run = make_run()
    with pytest.raises(ValueError, match=message):
        run.judge(claim, given)
    assert not run.answers


def test_the_table_of_answers_shows_the_sentence_effects_sizes_and_parts():
    run = made()
    run.judge("uncnet.c1", effect(0.4515))
    run.judge("uncnet.c8", {name: effect(1.0) for name in printed.claim("uncnet.c8").parts})
    assert record.answers_table(make_run()).empty
    run.needs("uncnet.c3", "the truth")
    table = record.answers_table(run)
    beneath = [f"uncnet.c8b: {name}" for name in list(printed.claim("uncnet.c8").parts)[1:]]
    assert list(table.index) == ["uncnet.c1", "uncnet.c8", "uncnet.c8a", "uncnet.c8b", *beneath, "uncnet.c3"]
    assert table.loc["uncnet.c1"].to_dict() == {
        "claim": printed.claim("uncnet.c1").statement,
        "printed": "0.301",
        "effect": "0.452",
        "95% interval": "[0.442, 0.462]",
        "resolution": "0.04",
        "answer": "holds",
        "size": "larger here",
        "reason": "interval above 0",
    }
    assert table.at["uncnet.c3", "answer"] == "needs the truth"
    assert (table.loc[["uncnet.c8", "uncnet.c3"], ["printed", "effect"]] == "").all(axis=None)


def test_a_size_is_as_printed_only_on_the_papers_own_corpus_with_its_own_features():
    def size(corpus, own_features):
        run = made(corpus=corpus)
        run.judge("uncnet.c1", effect(0.34))
        return record.answers_table(run, own_features).at["uncnet.c1", "size"]

    assert size("ferplus", True) == "larger"
    assert size("ferplus", False) == size("simulated", True) == "larger here"


def test_a_run_that_names_no_features_takes_the_papers_own_where_their_weights_are(tmp_path):
    def features(corpus, named="", profile="quick"):
        own = PARAMETERS | {"FEATURES": named, "DATA_ROOT": str(tmp_path)}
        return record.Run("11_uncnet_disagreement", profile=profile, corpus=corpus, parameters=own).parameters[
            "FEATURES"
        ]

    assert features("ferplus") == ""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / PUBLISHED_WEIGHTS["casia-webface"][0]).touch()
    assert features("ferplus") == "casia-webface" and features("ferplus", "hog") == "hog"
    assert features("simulated") == ""


def test_intervals_have_a_row_for_each_effect():
    table = record.intervals({"b": effect(0.5), "a": effect(0.1)})
    assert list(table.index) == ["b", "a"]
    assert table.loc["b"].to_dict() == {"estimate": 0.5, "low": 0.49, "high": 0.51, "seeds": 5, "clusters": 3553}


def test_intervals_of_what_is_bounded_stay_inside():
    people = np.arange(12.0) < 11
    sums = {"accuracy": ratio_sums(people), "F1": f1_sums(people, np.ones(12, bool))}
    found = {"accuracy": effect_interval(sums["accuracy"][None], ratio)}
    found |= {"F1": effect_interval(sums["F1"][None], f1_from_sums), "all right": effect_interval(np.ones((1, 6)))}
    plain, inside = record.intervals(found), record.intervals(found, within=(0, 1))
    assert (plain["high"] > 1).tolist() == [True, True, False]
    assert (inside["high"] <= 1).all() and (inside["low"] < inside["estimate"]).all()
    pd.testing.assert_frame_equal(inside.drop(columns=["low", "high"]), plain.drop(columns=["low", "high"]))
    assert inside.loc["all right", ["low", "high"]].tolist() == pytest.approx([1 - 0.459, 1], abs=5e-4)


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_what_is_open_in_a_full_run_says_what_would_be_needed_and_in_a_quick_one_does_not(results, profile):
    run = measured(record.Run("11_uncnet_disagreement", profile=profile, corpus="ferplus", parameters=PARAMETERS))
    values = np.random.default_rng(0).normal(size=(20, 1))
    answer = run.judge("uncnet.c1", effect_interval(3 * (values - values.mean())))
    assert answer.answer.partition(";")[0] == {"quick": "open", "full": "too small to see here"}[profile]


# --- printed, recorded and this run -----------------------------------------------------------------------


def commit(checkout, profile, corpus, score, table="table2"):
    folder = checkout / "results" / profile / corpus / "12_uncnet_calibration"
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"ECE": [score]}, index=["UncNet"]).to_csv(folder / "tables" / f"{table}.csv")


@pytest.mark.parametrize("content", [b"", b",ECE\nUncNet,1,2\nUncNet,1,2,3\n", b"\xff"])
def test_a_recorded_table_that_is_none_is_named(checkout, content):
    commit(checkout, "quick", "ferplus", 1.5)
    (path,) = (checkout / "results").rglob("table2.csv")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is no table .*: restore it, or run the notebook again"):
        record.recorded_on("12_uncnet_calibration", "table2", "quick")


def test_tables_of_all_corpora_come_from_runs_of_one_profile_and_never_from_the_readers_own(checkout):
    commit(checkout, "local/quick", "meld", 0.0)
    for profile, corpus, score in (("quick", "ferplus", 1.5), ("quick", "simulated", 2.5), ("full", "simulated", 3.5)):
        commit(checkout, profile, corpus, score)
    found = record.recorded_on("12_uncnet_calibration", "table2", "quick")
    assert {corpus: table.loc["UncNet", "ECE"] for corpus, table in found.items()} == {"ferplus": 1.5, "simulated": 2.5}
    assert record.recorded_on("12_uncnet_calibration", "table3", "quick") == {}
    commit(checkout, "quick", "ferplus+hog", 4.5)  # other features are another run
    assert list(record.recorded_on("12_uncnet_calibration", "table2", "quick")) == [
        "ferplus",
        "ferplus+hog",
        "simulated",
    ]


def test_beside_keeps_the_printed_order_and_shows_what_is_missing():
    as_printed = pd.DataFrame({"ECE": [2.0, 1.0], "MCE": [6.0, 10.0]}, index=["UncNet", "Baseline"])
    measured = pd.DataFrame({"MCE": [5.0, 4.0], "new": [0.1, 0.2]}, index=["Baseline", "control"])
    table = record.beside(as_printed, measured)
    assert list(table.index) == ["UncNet", "Baseline", "control"]
    columns = [("ECE", "printed"), ("MCE", "printed"), ("MCE", "measured"), ("new", "measured")]
    assert list(table.columns) == columns
    assert table.loc["Baseline"].tolist() == [1.0, 10.0, 5.0, 0.1]
    assert table.loc["UncNet"].isna().tolist() == [False, False, True, True]
    alone = record.beside(as_printed, None)
    assert list(alone.columns) == [("ECE", "printed"), ("MCE", "printed")]
    assert (alone.to_numpy() == as_printed.to_numpy()).all()


# --- provenance -------------------------------------------------------------------------------------------


def test_the_revision_says_whether_the_code_is_that_of_the_commit(checkout, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    assert provenance.revision() == "unknown"
    for name in ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL"):
        monkeypatch.setenv(f"GIT_{name}", "a@example.org")
    for part in ("lib", "notebooks"):
        (checkout / part).mkdir(exist_ok=True)
        (checkout / part / "a").write_text("1")
    provenance._git("init", "--quiet")
    provenance._git("add", ".")
    provenance._git("commit", "--quiet", "--message", "first", "--no-gpg-sign")
    head = provenance._git("rev-parse", "HEAD")
    for own in ("results/new", "notebooks/my own"):
        (checkout / own).touch()
    assert provenance.revision() == head
    (checkout / "lib" / "b").touch()
    assert provenance.revision() == f"{head}+changes"
    (checkout / "lib" / "b").unlink()
    (checkout / "lib" / "a").write_text("2")
    assert provenance.revision() == f"{head}+changes"


def test_an_arm_that_was_not_measured_is_the_reason_and_takes_no_flag_from_another(results):
    run = make_run()
    run.learnt("UncNet", record.Arm("accuracy", score=0.54, constant=0.30, baseline=0.55))
    answer = run.judge("uncnet.c6", effect(0.012))  # asks for Baseline, then UncNet
    assert (answer.answer, answer.reason) == ("not a test", "Baseline: what it has learnt was not measured")
    assert answer.flags == ("UncNet is weaker than linear",)
