"""Settings for `pytest --nbval-lax notebooks`."""

import queue
import tempfile

import pytest

PATIENCE = 120  # times five seconds


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


def pytest_runtest_setup(item):
    kernel = getattr(item.parent, "kernel", None)  # a notebook's, started once for all its cells
    if kernel is not None and not hasattr(kernel, "patient"):
        kernel.patient = True
        _wait_longer(kernel.kc)


def _wait_longer(client):
    """Wait for output as long as it takes: nbval gives up five seconds after the last message.

    On a busy machine that is too soon, and now and then the kernel's thread for output misses its call. It sends all
    that waits when there is something more to send, which any request gives it.
    """
    get = client.get_iopub_msg

    def get_iopub_msg(timeout=None):
        for _ in range(PATIENCE):
            try:
                return get(timeout=5)
            except queue.Empty:
                client.kernel_info()
        raise queue.Empty

    client.get_iopub_msg = get_iopub_msg
