"""Settings for `pytest --nbval-lax notebooks`."""

import contextlib
import tempfile

import pytest

from uncertain_affect.run import layout


def pytest_configure(config):
    # the notebooks record what they measure: here into a folder of its own, not among the reader's results
    results = tempfile.TemporaryDirectory()
    config.add_cleanup(results.cleanup)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setenv("UNCERTAIN_AFFECT_RESULTS", results.name)
    # nbval reads no message before a cell has ended: those of a progress bar, ten a second and more, fill the socket,
    # and the news that the cell has ended is dropped
    patch.setenv("TQDM_MININTERVAL", "60")


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):  # a notebook: warnings differ between machines
        collector.skip_compare += ("stderr",)
        with contextlib.suppress(layout.SelectionError):  # it has no parameters
            # what shows recorded evidence shows the same everywhere: all of it is compared, pictures apart
            recorded = layout.default_parameters(collector.path).get("PROFILE") == layout.RECORDED
            collector.compare_outputs |= recorded
