"""Known vulnerabilities of everything that the locks pin, on any system: `make audit-packages`. Needs a network.

Exit code 1 where there are some, 2 where not every package could be looked up. pip-audit itself says 0 to the latter.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from locks import pinned


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "pinned.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in once(pinned())), encoding="utf-8")
        command = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "-r", str(listed)]
        done = subprocess.run([sys.executable, "-m", "pip_audit", *command], capture_output=True, text=True)
    try:
        return report(json.loads(done.stdout)["dependencies"])
    except (json.JSONDecodeError, KeyError):
        print(f"Nothing was looked up. pip-audit says: {done.stderr.strip()[-2000:]}")
        return 2


def once(names: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The newest version of each package: pip-audit takes one of each."""
    return sorted({name: version for name, version in sorted(names, key=lambda p: (p[0], number(p[1])))}.items())


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def report(dependencies: list[dict]) -> int:
    """Print what was found, and say with the exit code how it stands."""
    skipped = [d for d in dependencies if "skip_reason" in d]
    bad = [(d, v) for d in dependencies for v in d.get("vulns", [])]
    for d, v in bad:
        fixed = ", ".join(v["fix_versions"]) or "no release"
        print(f"{d['name']} {d['version']}: {v['id']}, mended in {fixed}")
    looked_up = len(dependencies) - len(skipped)
    print(f"{looked_up} of {len(dependencies)} packages were looked up, {len(bad)} vulnerabilities found")
    if skipped:
        print(f"NOT looked up, for want of a network or of an entry: {', '.join(d['name'] for d in skipped)}")
    return 1 if bad else 2 if skipped or not dependencies else 0


if __name__ == "__main__":
    sys.exit(main())
