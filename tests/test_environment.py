"""That requirements.txt (the pinned lock), environment.yml and pyproject.toml agree, with each other and the code.

requirements-site.txt, what the book needs beside the lock, is held to the same form.
"""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from uncertain_affect import cluster
from uncertain_affect.paths import project_root

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
RANGE = re.compile(r"(?P<name>[a-z0-9-]+)>=(?P<oldest>\d+(\.\d+)*)(,<(?P<below>\d+))?")
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\d+(\.\d+)*)  # (?P<reason>\S.*)")


def version(text):
    return tuple(map(int, text.split(".")))


def ranges(*lists):
    found = [RANGE.fullmatch(line) for dependencies in lists for line in dependencies]
    assert all(found), "dependencies are written name>=oldest, or name>=oldest,<major"
    return {match["name"]: (version(match["oldest"]), version(match["below"] or "9999")) for match in found}


def requirements(file="requirements.txt"):
    """The lines of a lock by section: those asked for, those brought in."""
    sections = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            lines = sections.setdefault(line, [])
        elif line:
            lines.append(line)
    _, asked, brought_in = sections.values()
    return asked, brought_in


def pins(file="requirements.txt"):
    asked, brought_in = requirements(file)
    return {match["name"]: version(match["version"]) for match in map(PIN.match, asked + brought_in) if match}


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-site.txt"])
def test_every_requirement_is_pinned_once_and_says_why(file):
    asked, brought_in = requirements(file)
    assert all(PIN.fullmatch(line) for line in asked + brought_in)
    assert len(pins(file)) == len(asked + brought_in)
    for lines in (asked, brought_in):
        assert lines == sorted(lines, key=lambda line: line.partition("==")[0])


def test_every_dependency_is_pinned_within_its_range():
    for name, (oldest, below) in ranges(PROJECT["dependencies"], *EXTRAS.values()).items():
        assert name in pins(), f"{name} is not in requirements.txt"
        assert oldest <= pins()[name] < below, f"{name} is pinned outside the range in pyproject.toml"


def test_what_is_asked_for_is_what_the_project_depends_on():
    asked, _ = requirements()
    assert {PIN.match(line)["name"] for line in asked} == set(ranges(PROJECT["dependencies"], *EXTRAS.values()))


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-site.txt"])
def test_what_is_brought_in_names_what_brings_it(file):
    _, brought_in = requirements(file)
    for line in brought_in:
        reason = PIN.match(line)["reason"]
        assert reason.startswith("via ")
        assert set(reason.removeprefix("via ").split(", ")) - {"..."} <= set(pins() | pins(file)), line


def test_no_package_is_pinned_in_both_locks():
    assert not set(pins()) & set(pins("requirements-site.txt"))


def test_what_a_pinned_package_needs_is_pinned_too():
    missing, site = {}, pins("requirements-site.txt")
    for name in pins() | site:
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # not installed on this system
            continue
        # needs under a condition (an extra, another system, an older Python) are not always there
        needed = {re.match(r"[\w.-]+", line)[0] for line in needed if ";" not in line}
        known = set(pins()) | set(site if name in site else ())
        if unpinned := {re.sub(r"[-_.]+", "-", other).lower() for other in needed} - known:
            missing[name] = unpinned
    # torch's own needs differ between builds for CPU and GPU
    assert set(missing) <= {"torch"}, missing


def test_conda_installs_the_same_lock_and_a_python_that_will_do():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (python,) = [d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python=")]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert version(python.removeprefix("python=")) >= version(PROJECT["requires-python"].removeprefix(">="))
    assert pip == ["-r requirements.txt", "-e ."]
    assert "pip" in environment["dependencies"]
    assert environment["name"] == PROJECT["name"]


def test_the_makefile_asks_for_the_same_python_and_installs_the_lock():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-r requirements.txt" in makefile
    oldest = version(PROJECT["requires-python"].removeprefix(">="))
    assert f"sys.version_info < {oldest}" in makefile
    assert sys.version_info[:2] >= oldest


def test_the_version_is_the_packages_own():
    from uncertain_affect import __version__

    assert PROJECT["version"] == __version__


def imports(source):
    """Top-level names of what a source imports from outside this project."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def undeclared(sources, declared):
    """Imported modules that no declared dependency installs, where the standard library does not have them."""
    installed = importlib.metadata.packages_distributions()
    modules = {name for source in sources for name in imports(source)} - set(sys.stdlib_module_names)
    own = {"uncertain_affect", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    for module in sorted(modules - own):
        if not {name.lower().replace("_", "-") for name in installed.get(module, [])} & set(declared):
            yield module


BENCH = ROOT / "lib" / "uncertain_affect" / "bench"  # its peers come with the test extra or are optional
PEERS = {
    line.partition("==")[0]
    for name in ("requirements-bench.txt", "requirements-fuzz.txt")
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
} | {"calibration"}  # of uncertainty-calibration


def test_peers_of_the_benchmark_are_pinned_and_never_in_the_lock():
    lines = (ROOT / "requirements-bench.txt").read_text(encoding="utf-8").splitlines()
    peers = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+  # \w.*", peer) for peer in peers)
    assert not {peer.partition("==")[0].replace("_", "-") for peer in peers} & {pin.replace("_", "-") for pin in pins()}


def test_only_a_work_of_the_benchmark_imports_its_peers():
    code = "import sys, uncertain_affect.cli, uncertain_affect.bench.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torchmetrics", *PEERS} & set(done.stdout.split())


def test_all_that_the_library_and_the_notebooks_import_is_declared():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "lib").rglob("*.py") if BENCH not in path.parents]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert list(undeclared(sources, ranges(PROJECT["dependencies"]))) == []


def test_all_that_the_tests_import_is_declared():
    files = [path for folder in (BENCH, ROOT / "tests", ROOT / "notebooks") for path in folder.rglob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    of_the_book = {name.replace("-", "_") for name in pins("requirements-site.txt")}
    assert set(undeclared(sources, ranges(PROJECT["dependencies"], EXTRAS["test"]))) <= PEERS | of_the_book


def test_the_makefile_starts_everything_with_the_environment_of_tasks():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    exported = dict(re.findall(r"^export (\w+) := (\S+)$", makefile, re.MULTILINE))
    assert exported.pop("OMP_WAIT_POLICY") == "passive"  # of those with several threads
    assert exported.items() <= cluster.ENVIRONMENT.items()
    assert {"CUBLAS_WORKSPACE_CONFIG", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} == exported.keys()
