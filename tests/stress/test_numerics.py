import math
import warnings

import numerics
import pandas as pd
import pytest

from uncertain_affect import losses, metrics

SMALL = [given for given in numerics.INPUTS if given != "N = 1e7"]


def test_every_public_metric_and_loss_is_looked_at():
    assert set(numerics.CASES) == set(numerics.public())
    named = {name.rpartition(".")[2] for name in numerics.CASES}
    assert {name for name, value in vars(losses).items() if callable(value)} <= named
    exported = {name for name, value in vars(metrics).items() if callable(value) and not hasattr(value, "_fields")}
    assert exported == {name.rpartition(".")[2] for name in numerics.CASES if name.startswith("metrics.")}


@pytest.fixture(scope="module")
def table():
    return numerics.table(SMALL)


def test_what_comes_of_awkward_numbers_is_documented_or_refused(table):
    cells, defects = table
    assert not {key: (defect, cells.loc[key]) for key, defect in defects.items()}


def warn(p):
    warnings.warn("divided by zero", RuntimeWarning, stacklevel=1)
    return 1.0


@pytest.mark.parametrize(
    "case, given, defect",
    [
        (lambda p: [][p.n], "ordinary", "another error than ValueError"),
        (warn, "ordinary", "another error than ValueError"),
        (lambda p: math.nan, "ordinary", "NaN or infinity that no docstring has"),
        (lambda p: math.inf * p.probs.sum(), "ordinary", "NaN or infinity that no docstring has"),
        (lambda p: p.probs[:0], "ordinary", "an empty result"),
        (lambda p: p.probs[0, 0], "NaN", "a number although NaN went in"),
        (lambda p: p.probs.sum(), "NaN", "NaN or infinity that no docstring has"),
        (lambda p: float(p.probs[0, 0]), "ordinary", ""),
    ],
)
def test_a_defect_is_seen(monkeypatch, case, given, defect):
    monkeypatch.setitem(numerics.CASES, "metrics.brier.brier_score", case)
    assert numerics.cell("metrics.brier.brier_score", given)[1] == defect


def test_of_the_committed_table_the_cells_are_those_of_today(table):
    committed = pd.read_csv(numerics.FOLDER / "numerics.csv", index_col="function", keep_default_na=False)
    assert list(committed.columns) == list(numerics.INPUTS) and set(committed.index) == set(numerics.CASES)
    cells, _ = table
    # digits differ between processors: what is refused, and where there is NaN, does not
    for name, row in cells.iterrows():
        for given, shown in row.items():
            then = committed.loc[name, given]
            assert ("Error" in shown, "NaN" in shown) == ("Error" in then, "NaN" in then), (name, given)
            if shown.startswith("ValueError: "):
                assert shown == then
