"""The unit tests on every Python that is here, and on the oldest NumPy and pandas that pyproject.toml allows.

`make test-versions`: it needs the package index, a gigabyte of disk and ten minutes or more for each, and is no part of
`make stress`. Each interpreter gets an environment of its own in a temporary folder.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from rows import FAILED, NOT_HERE, PASSED, Row

from uncertain_affect.compute import paths

HERE = ".".join(platform.python_version_tuple()[:2])
PYTHONS = ("3.11", "3.12", "3.13")
OLDEST = ("numpy", "pandas")
# the rest runs notebooks, a browser or these very tests
LEFT_OUT = ("notebooks", "browser", "stress")


def interpreter(version: str) -> tuple[str | None, str]:
    """The interpreter of a version, or None and why there is none: a name on the path alone need not run."""
    path = sys.executable if version == HERE else shutil.which(f"python{version}")
    if path is None:
        return None, f"python{version} is not on the path"
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    if done.returncode or not done.stdout.startswith(f"Python {version}."):
        reason = (done.stderr or done.stdout).strip().partition("\n")[0] or "it prints nothing"
        return None, f"{Path(path).name} is on the path and does not run: {reason}"
    return path, path


def project() -> dict:
    return tomllib.loads((paths.project_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def oldest() -> list[str]:
    """The oldest allowed versions of ``OLDEST``, as pip takes them."""
    found = (re.fullmatch(r"([a-z]+)>=([\d.]+)", line) for line in project()["dependencies"])
    return [f"{match[1]}=={match[2]}" for match in found if match and match[1] in OLDEST]


def installs(pinned: bool) -> list[list[str]]:
    """What pip is given, in order: PyTorch, then the lock, or the ranges with the oldest NumPy and pandas."""
    requirements = paths.project_root() / "requirements"
    torch = ["-r", str(requirements / "torch.txt")]
    if pinned:
        return [torch, ["--require-hashes", "-r", str(requirements / "main.txt")]]
    return [torch, [*project()["dependencies"], *project()["optional-dependencies"]["test"], *oldest()]]


def tested(python: str, pinned: bool) -> tuple[bool | None, str]:
    """Whether the unit tests pass, and pytest's last line; None and why where they could not be started."""
    root = paths.project_root()
    folders = [str(path) for path in sorted((root / "tests").iterdir()) if path.name not in LEFT_OUT]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "venv", folder], check=True)
        for wanted in installs(pinned):
            done = subprocess.run([own, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True)
            if done.returncode:
                return None, f"cannot be installed: {done.stderr.strip().splitlines()[-1][:300]}"
        variables = {"PYTHONPATH": str(root / "lib"), "OMP_NUM_THREADS": "1", "HYPOTHESIS_STORAGE_DIRECTORY": folder}
        command = [own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *folders]
        done = subprocess.run(command, cwd=root, env=os.environ | variables, capture_output=True, text=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return done.returncode == 0, "; ".join([*failed[:5], (done.stdout.strip() or done.stderr).splitlines()[-1]])


def run(minutes: float) -> Iterator[Row]:
    """Test every interpreter that is here with the lock, and this one with the oldest versions; no minutes bound it."""
    todo = [(version, True, f"the unit tests on Python {version}, the lock") for version in PYTHONS]
    todo.append((HERE, False, f"the unit tests on Python {HERE}, {' and '.join(oldest())}"))
    for version, pinned, what in todo:
        python, outcome = interpreter(version)
        passed, outcome = (None, outcome) if python is None else tested(python, pinned)
        result = {None: NOT_HERE, True: PASSED, False: FAILED}[passed]
        yield Row("versions", what, int(passed is not None), outcome, result)
