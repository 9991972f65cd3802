"""The locks anew from pyproject.toml: `make lock [UPGRADE=--upgrade]`, for all systems and Pythons, with hashes.

Runs in build/supply, which has uv. What is pinned stays as it is, where pyproject.toml allows it, but for UPGRADE.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
OPTIONS = ["--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-package", "torch",
           "--annotation-style", "line", "--custom-compile-command", "make lock"]  # fmt: skip
# what is locked, held to what, where
LOCKS = {
    "requirements/main.txt": ["pyproject.toml", "--extra", "test", "--constraints", "requirements/torch.txt"],
    "requirements/site.txt": ["--group", "site", "--constraints", "requirements/main.txt"],
}

if __name__ == "__main__":
    for file, source in LOCKS.items():
        command = [UV, "pip", "compile", *OPTIONS, *sys.argv[1:], *source, "--output-file", file]
        subprocess.run(command, cwd=ROOT, check=True)
