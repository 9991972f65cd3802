"""The things to move, moved with a mouse in JupyterLab: the picture and the numbers beside it follow."""

import json
import math
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import BytesIO

import nbformat
import numpy as np
import pytest
from nbformat import v4
from PIL import Image

from uncertain_affect.notebook.widgets import calibration_bench, classroom, face_explorer

pytestmark = pytest.mark.xdist_group("lab")  # one JupyterLab, however many processes

# what a reader writes to open a panel
PREDICTIONS = """\
import numpy as np
rng = np.random.default_rng(0)
p = rng.dirichlet(np.ones(4), 500)
votes = np.stack([rng.multinomial(10, row) for row in p])
"""
CELLS = {
    "face_explorer": """\
from uncertain_affect.notebook.widgets import face_explorer
from uncertain_affect.notebook.widgets.classroom import classroom
face_explorer.controls(classroom())""",
    "calibration_bench": f"""\
{PREDICTIONS}
from uncertain_affect.notebook.widgets import calibration_bench
calibration_bench.controls(p, votes)""",
}


def smile(value):
    """The face explorer as it opens, but for the corners of the lips."""
    return face_explorer.panel(classroom.classroom(), **face_explorer.SMILE | {"au12": value})


def bench(value):
    """The calibration bench as it opens, but for the temperature, which moves by steps of its logarithm."""
    exec(PREDICTIONS, made := {})
    temperature = 10 ** (round(math.log10(value) / 0.02) * 0.02)
    return calibration_bench.panel(made["p"], made["votes"], temperature=temperature, n=500)


SLIDERS = {"face_explorer": ("au12", smile), "calibration_bench": ("temperature", bench)}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address, with token and a place for a panel's name, of a JupyterLab on a folder with a notebook for each."""
    classroom.classroom()  # trained here, so that the kernel finds it in the cache
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("notebooks")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name, code in CELLS.items():
        notebook = v4.new_notebook(cells=[v4.new_code_cell(code)], metadata={"kernelspec": kernel})
        nbformat.write(notebook, folder / f"{name}.ipynb")
    token, names = secrets.token_hex(), ("CONFIG", "DATA", "RUNTIME")
    places = [*(f"JUPYTER_{n}_DIR" for n in names), *(f"JUPYTERLAB_{n}_DIR" for n in ("SETTINGS", "WORKSPACES"))]
    environment = os.environ | {place: str(home / place.lower()) for place in (*places, "IPYTHONDIR")}
    environment["JUPYTER_TOKEN"] = token
    log = (home / "log").open("w")
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={folder}"]
    options.append("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=log)
    try:
        address = _address(home / "jupyter_runtime_dir", server, home / "log")
        yield f"{address}lab/workspaces/{{0}}/tree/{{0}}.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def _address(runtime, server, log):
    """Where the server that writes into this folder answers."""
    until = time.monotonic() + 90
    while time.monotonic() < until and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            about = json.loads(file.read_text() or "{}")
            try:
                urllib.request.urlopen(f"{about['url']}api/status?token={about['token']}", timeout=5).close()
                return about["url"]
            except (KeyError, urllib.error.URLError):
                pass
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


def pixels(png):
    return np.asarray(Image.open(png).convert("RGB"), dtype=float)


def drawn(picture):
    """Pixels of a picture on the page."""
    fetch = "async img => Array.from(new Uint8Array(await (await fetch(img.src)).arrayBuffer()))"
    return pixels(BytesIO(bytes(picture.evaluate(fetch))))


def expected(figure):
    """Pixels of a figure."""
    figure.savefig(buffer := BytesIO(), format="png")
    return pixels(buffer)


def differ(one, other):
    """Whether pictures differ by more than the last digit of a slider's number does."""
    return one.shape != other.shape or np.abs(one - other).mean() > 0.1


@pytest.mark.parametrize("name", CELLS)
def test_a_slider_moves_the_picture(browser, lab, screenshots, name):
    label, panel = SLIDERS[name]
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(lab.format(name))
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    cell, until = page.locator(".jp-Notebook .jp-CodeCell").first, time.monotonic() + 90
    picture = page.locator(".jp-OutputArea-output img[src^=blob]")
    # what is run before the kernel is connected is dropped at once or after a while
    while not picture.is_visible() and time.monotonic() < until:
        if cell.locator(".jp-InputPrompt").inner_text() == "[ ]:":
            cell.locator(".cm-content").press("Control+Enter")
        page.wait_for_timeout(1000)
    page.screenshot(path=screenshots / f"lab-{name}-opened.png")
    assert picture.is_visible()
    slider = page.locator(".widget-hslider").filter(has=page.get_by_text(label, exact=True))

    def number():
        return float(slider.locator(".widget-readout").inner_text())

    page.screenshot(path=screenshots / f"lab-{name}-before.png")
    before, value_before = drawn(picture), number()
    assert not differ(before, expected(panel(value_before)))

    slider.scroll_into_view_if_needed()
    handle, track = slider.locator(".noUi-handle").bounding_box(), slider.locator(".noUi-base").bounding_box()
    y = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + 0.15 * track["width"], y, steps=8)
    page.mouse.up()

    assert number() < value_before
    wanted = expected(panel(number()))
    assert differ(wanted, before)
    until = time.monotonic() + 20  # other machines are slower; how fast a panel is has a test of its own
    while differ(drawn(picture), wanted) and time.monotonic() < until:
        page.wait_for_timeout(100)
    page.screenshot(path=screenshots / f"lab-{name}-after.png")
    assert not differ(drawn(picture), wanted)
    context.close()
