"""Environments of their own for peers and tools, made by `make` as build/<name> from requirements/<name>.txt.

    python tests/supply/environments.py bench|mutation|supply

The peers of the benchmark see the project's packages in .venv, are held to their versions, and are installed one by
one, each as well as it can be: what is missing is reported as missing.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
SITE_PACKAGES = "import site; print(site.getsitepackages()[0])"


def constraints() -> str:
    """The lock without its hashes, or pip would want one for each peer."""
    pins = re.findall(r"^([a-z].*) \\$", (REQUIREMENTS / "main.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return "\n".join(pins) + "\n" + (REQUIREMENTS / "torch.txt").read_text(encoding="utf-8")


def make(name: str) -> None:
    """Make or refresh the environment, with a file `ready` in it.

    Raises:
        subprocess.CalledProcessError: a tool cannot be installed.
    """
    folder, wanted = ROOT / "build" / name, REQUIREMENTS / f"{name}.txt"
    base = ROOT / ".venv" / "bin" / "python" if name == "bench" else sys.executable
    subprocess.run([base, "-m", "venv", "--clear", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if name == "bench":
        own, seen = (subprocess.check_output([p, "-c", SITE_PACKAGES], text=True).strip() for p in (python, base))
        Path(own, "first.pth").write_text(f"import site; site.addsitedir({seen!r})\n", encoding="utf-8")
        held = folder / "constraints.txt"
        held.write_text(constraints(), encoding="utf-8")
        for line in wanted.read_text(encoding="utf-8").splitlines():
            if peer := line.partition("#")[0].strip():
                subprocess.run([*install, "-c", held, peer])
    else:
        subprocess.run([*install, "-r", wanted], check=True)
    (folder / "ready").touch()


if __name__ == "__main__":
    make(sys.argv[1])
