from pathlib import Path

import pytest

from uncertain_affect.compute import paths


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The library as installed outside any checkout, run from a folder outside any."""
    paths.project_root.cache_clear()
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "site-packages" / "uncertain_affect" / "paths.py"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    paths.project_root.cache_clear()


def test_the_library_finds_the_checkout_it_lies_in():
    assert paths.project_root() == Path(__file__).resolve().parents[2]


def test_an_installed_library_finds_the_checkout_around_the_working_folder_or_says_where_to_run(elsewhere, monkeypatch):
    checkout = elsewhere / "cloned"
    for part in ("notebooks", "results/printed"):
        with pytest.raises(FileNotFoundError, match="run from inside the cloned project"):
            paths.project_root()
        (checkout / part).mkdir(parents=True)
        monkeypatch.chdir(checkout)  # half of a checkout is none
    for below in (".", "notebooks", "results/printed"):
        paths.project_root.cache_clear()
        monkeypatch.chdir(checkout / below)
        assert paths.project_root() == checkout


def test_the_data_root_is_the_one_given_else_that_of_the_environment_else_data(monkeypatch, tmp_path):
    monkeypatch.setenv("UNCERTAIN_AFFECT_DATA", str(tmp_path / "environment"))
    assert paths.data_root(tmp_path / "given") == tmp_path / "given"
    assert paths.data_root() == paths.data_root("") == tmp_path / "environment"
    monkeypatch.delenv("UNCERTAIN_AFFECT_DATA")
    monkeypatch.chdir(tmp_path)  # a relative one counts from the checkout wherever it is used
    assert paths.data_root() == paths.project_root() / "data"
    assert paths.data_root("corpora") == paths.project_root() / "corpora"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.data_root("~/corpora") == tmp_path / "corpora"
