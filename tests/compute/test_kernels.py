"""That no kernel outlives the process that started it, whoever adopts orphans."""

import subprocess
import sys

import pytest
from nbformat import v4, write

DRIVER = """
import pathlib, sys
from uncertain_affect.compute import paths; from uncertain_affect.run import reproduce

paths.project_root = lambda: pathlib.Path(sys.argv[1])
reproduce.reproduce([pathlib.Path(sys.argv[1]) / "notebooks" / "11_sleeps.ipynb"])
"""
# adopts orphans, as a user's systemd does: then no orphan's parent has the number 1, and each is waited for here
ADOPTS = """
import ctypes, os, pathlib, subprocess, sys, time

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
root, driver = sys.argv[1:]
batch = subprocess.Popen([sys.executable, "-c", driver, root])
deadline = time.monotonic() + 120
while not (pathlib.Path(root) / "kernel").exists() and batch.poll() is None and time.monotonic() < deadline:
    time.sleep(0.05)
kernel = int((pathlib.Path(root) / "kernel").read_text())
batch.kill()
batch.wait()
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    ended, status = os.waitpid(kernel, os.WNOHANG)
    if ended:
        sys.exit("the kernel ended" if os.waitstatus_to_exitcode(status) == 1 else f"status {status}")
    time.sleep(0.1)
os.kill(kernel, 9)
sys.exit("the kernel went on")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_the_kernel_of_a_killed_driver_ends_where_another_process_adopts_orphans(checkout):
    sleeps = f"""
import os, pathlib, time
path = pathlib.Path({str(checkout / "kernel")!r})
path.with_suffix(".new").write_text(str(os.getpid()))
path.with_suffix(".new").rename(path)
time.sleep(600)
"""
    cells = [v4.new_code_cell('PROFILE = "quick"', metadata={"tags": ["parameters"]}), v4.new_code_cell(sleeps)]
    about = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "uncertain_affect": {"paper": "uncnet", "corpora": []},
    }
    write(v4.new_notebook(cells=cells, metadata=about), checkout / "notebooks" / "11_sleeps.ipynb")
    done = subprocess.run(
        [sys.executable, "-c", ADOPTS, str(checkout), DRIVER], capture_output=True, text=True, timeout=300
    )
    assert done.stderr.strip().endswith("the kernel ended"), done.stdout + done.stderr
