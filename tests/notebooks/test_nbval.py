"""That nbval, as `make test` runs it, notices a changed number, and nothing that may differ between machines."""

import os
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import nbformat
from nbformat import v4

from uncertain_affect.compute import paths

NOTEBOOKS = paths.project_root() / "notebooks"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
NUMBER = re.compile(r"\d(?=\D*$)")
# a progress bar that is drawn ten times a second, half an hour long, in a few seconds
BAR = """
import time
from tqdm.auto import tqdm

now, clock = time.time(), iter(range(100_000))
bar = tqdm(total=20_000, disable=None)
bar._time = lambda: now + next(clock) / 10
for _ in range(20_000):
    bar.update()
"""


def alter(notebook):
    """Raise the last digit of the first checked output by one; returns the cell."""
    for cell in notebook.cells:
        if "nbval-check-output" in cell.metadata.get("tags", []) and cell.outputs:
            text = cell.outputs[0].text
            cell.outputs[0].text = NUMBER.sub(lambda digit: str((int(digit[0]) + 1) % 10), text)
            assert cell.outputs[0].text != text
            return cell
    raise AssertionError("no checked output to change: is the notebook committed executed?")


def shows_evidence():
    """A notebook that shows evidence, with a wrong number in a cell without a tag, and one where it may be wrong."""
    sources = {'PROFILE = "recorded"': "parameters", "print(2)": None, "print(3)": "nbval-ignore-output"}
    cells = []
    for count, (source, tag) in enumerate(sources.items(), 1):
        outputs = [v4.new_output("stream", name="stdout", text="1\n")] if "print" in source else []
        metadata = {"tags": [tag]} if tag else {}
        cells.append(v4.new_code_cell(source, outputs=outputs, execution_count=count, metadata=metadata))
    return v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def probe():
    """A notebook whose committed outputs hold only under the settings in notebooks/conftest.py."""
    where = "import os, pathlib; results = pathlib.Path(os.environ['UNCERTAIN_AFFECT_RESULTS'])"
    cells = [
        v4.new_code_cell(
            "import sys; _ = sys.stderr.write('here')",
            outputs=[v4.new_output("stream", name="stderr", text="there")],
        ),
        v4.new_code_cell(BAR),
        v4.new_code_cell(
            f"{where}; print(results.is_dir(), pathlib.Path({str(paths.project_root())!r}) in results.parents)",
            outputs=[v4.new_output("stream", name="stdout", text="True False\n")],
        ),
    ]
    for count, cell in enumerate(cells, 1):
        tags = ["nbval-check-output"] if cell.outputs else []
        cell.execution_count, cell.metadata = count, nbformat.from_dict({"tags": tags})
    return v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def test_nbval_notices_a_changed_number_and_nothing_that_may_differ_between_machines(tmp_path):
    """Over an unchanged notebook, one altered in a checked cell, one that shows evidence, and the probe."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOKS / "conftest.py", folder)
    shutil.copy(NOTEBOOKS / "92_audit.ipynb", folder / "same.ipynb")
    altered = nbformat.read(NOTEBOOKS / "92_audit.ipynb", as_version=4)
    changed = alter(altered)
    nbformat.write(altered, folder / "altered.ipynb")
    nbformat.write(probe(), folder / "probe.ipynb")
    nbformat.write(shows_evidence(), folder / "evidence.ipynb")
    report = folder / "report.xml"
    arguments = ["--nbval-lax", "-p", "no:cacheprovider", f"--rootdir={folder}", f"--junitxml={report}", folder]
    environment = {key: value for key, value in os.environ.items() if key != "UNCERTAIN_AFFECT_RESULTS"}
    # into a file: a kernel that is left over would keep a pipe open for ever
    log = folder / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "pytest", *arguments]
        subprocess.run(command, env=environment, stdout=file, stderr=file, timeout=300)
    cells = {"same": [], "altered": [], "evidence": [], "probe": []}
    ran = dict.fromkeys(cells, 0)
    for case in ElementTree.parse(report).iter("testcase"):
        name = next(name for name in cells if name in case.get("classname"))
        ran[name] += 1
        if case.find("failure") is not None or case.find("error") is not None:
            cells[name].append(case.get("name"))
    assert all(ran.values()), log.read_text()
    code = [cell.id for cell in altered.cells if cell.cell_type == "code"]
    # of the probe: stderr is not compared, results go to a folder of their own, and progress bars drown nothing
    expected = {"same": [], "altered": [f"Cell {code.index(changed.id)}"], "evidence": ["Cell 1"], "probe": []}
    assert cells == expected
