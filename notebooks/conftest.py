"""Settings for `pytest --nbval-lax notebooks`."""

import tempfile

import pytest

OUTPUT_TIMEOUT_S = 600


def pytest_configure(config):
    # the notebooks record what they measure: here into a folder of its own, not among the reader's results
    results = tempfile.TemporaryDirectory()
    config.add_cleanup(results.cleanup)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setenv("UNCERTAIN_AFFECT_RESULTS", results.name)


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):  # a notebook: warnings differ between machines
        collector.skip_compare += ("stderr",)
        # nbval's own five seconds between two messages of a kernel are too few where the machine is busy
        collector.output_timeout = OUTPUT_TIMEOUT_S
