"""Fixtures shared by all tests."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from uncertain_affect.compute import paths

PROJECT = Path(__file__).resolve().parents[1]

# an example that takes long on a busy machine is no failure
settings.register_profile("no deadline", settings.default, deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session", autouse=True)
def cache_for_tests(tmp_path_factory):
    """One cache for the whole run, away from the reader's own; returns its folder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("UNCERTAIN_AFFECT_CACHE", str(folder))
        yield folder


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout with what the papers print, a citation, an empty notebooks/, and no results."""
    shutil.copytree(PROJECT / "results" / "printed", tmp_path / "results" / "printed")
    shutil.copy(PROJECT / "CITATION.cff", tmp_path)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)
    for variable in ("UNCERTAIN_AFFECT_DATA", "UNCERTAIN_AFFECT_RESULTS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real corpora. Tests that use it are marked `data`, and skipped without it."""
    named = os.environ.get("UNCERTAIN_AFFECT_DATA")
    candidates = [Path(named)] if named else [PROJECT / "data", PROJECT.parent / "shared" / "data"]
    for folder in candidates:
        if folder.is_dir():
            return folder
    pytest.skip(f"no real corpora: none of {', '.join(map(str, candidates))} exists; set UNCERTAIN_AFFECT_DATA")
