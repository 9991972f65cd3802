"""Checkouts of their own with small notebooks, for what is done to the command of a reader."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import v4

from uncertain_affect.compute import paths

PARAMETERS = 'PROFILE = "quick"\nSEED = 0'
HEAD = """
import os, time, pathlib
import numpy as np, pandas as pd, torch
from matplotlib import pyplot as plt
from uncertain_affect.compute import parallel
from uncertain_affect.compute.cache import cache_dir, cached_arrays, content_key
from uncertain_affect.run import record
from uncertain_affect.training import fit

run = record.Run("{name}", profile=PROFILE, corpus="none", parameters={{"PROFILE": PROFILE, "SEED": SEED}})
"""
TAIL = """
run.table("table", frame)
figure, axes = plt.subplots()
axes.plot(frame.to_numpy())
run.figure("figure", figure, frame)
plt.close(figure)
run.needs("uncnet.c1", "a corpus")
run.finish()
"""


def checkout(root: Path, bodies: Mapping[str, str], modules: Mapping[str, str] | None = None) -> None:
    """Make a checkout whose notebooks make the frames that the bodies, by name, put into ``frame``.

    A notebook is of the paper that its number says, has a profile and a seed, and needs no corpus.

    Args:
        modules: sources of modules that lie beside the library.
    """
    project = paths.project_root()
    shutil.copytree(project / "results" / "printed", root / "results" / "printed")
    shutil.copytree(project / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in (modules or {}).items():
        (root / "lib" / f"{name}.py").write_text(source, encoding="utf-8")
    (root / "notebooks").mkdir(exist_ok=True)
    for name, body in bodies.items():
        cells = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
        cells += [v4.new_code_cell(source.strip()) for source in (HEAD.format(name=name), body, TAIL)]
        about = {"paper": {"1": "uncnet", "2": "ugn"}[name[0]], "corpora": []}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "uncertain_affect": about})
        nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


def start(root: Path, *arguments: str, results: Path, cache: Path, before=(), preexec_fn=None, **variables: str):
    """The command of a reader as a process with a group of its own; its ``stdout`` has all that it prints.

    Args:
        before: what it is started with, ``unshare -n`` for example.
        variables: of its environment.
    """
    own = {"PYTHONPATH": str(root / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    own |= {"UNCERTAIN_AFFECT_CACHE": str(cache), "UNCERTAIN_AFFECT_RESULTS": str(results)}
    return subprocess.Popen(
        [*before, sys.executable, "-m", "uncertain_affect.run.cli", *arguments],
        cwd=root,
        env=os.environ | own | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=preexec_fn,
    )
