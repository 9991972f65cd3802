"""What the machine refuses: a full disk, results that may not be written, little memory, no network.

Each time the command of a reader runs in a checkout of its own, and what is looked at is what the reader sees: the exit
code, what is said and whether a traceback is among it, and whether results are left that are not whole.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kill import HEAD, TAIL, write_notebook
from rows import FAILED, NOT_HERE, PASSED, Row

from uncertain_affect.compute import paths
from uncertain_affect.run import record

GIB = 2**30
PATIENCE_S = 600  # with one command
# bytes of what the notebooks make: a table that no small disk holds, and an array that no small memory holds
BODIES = {
    "11_small": 'frame = pd.DataFrame({"a": [1.0, 2.0]})',
    "12_large": 'import numpy as np\nframe = pd.DataFrame({"a": np.arange(400_000) / 7})',
    "14_caches": """
import numpy as np
from uncertain_affect.compute.cache import cached_arrays, content_key
cached_arrays(content_key("stress"), lambda: {"a": np.ones(100_000)})
frame = pd.DataFrame({"a": [1.0]})
""",
    "13_hungry": 'import numpy as np\nframe = pd.DataFrame({"a": np.ones(3 * 2**27)[:3]})',
}
NO_STEPS = HEAD.replace("import steps\n", "")


@dataclass(frozen=True)
class Seen:
    """What a reader sees of a command, and the folders of finished and unfinished results that it leaves."""

    code: int
    said: str
    finished: list[str]
    unfinished: list[str]


@contextmanager
def mounted(*options: str) -> Iterator[Path]:
    """A file system in memory, at a folder of its own.

    Raises:
        PermissionError: the system does not let us mount one.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(("size=2m", *options)), "tmpfs", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise PermissionError("there is no mount") from error
        if done.returncode:
            raise PermissionError(f"no permission to mount a file system ({done.stderr.strip()})")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def checkout(root: Path) -> None:
    """A checkout with small notebooks."""
    shutil.copytree(paths.project_root() / "results" / "printed", root / "results" / "printed")
    shutil.copytree(paths.project_root() / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name, body in BODIES.items():
        write_notebook(root, name, NO_STEPS.format(name=name), body, TAIL)


def command(
    root: Path, *arguments: str, results: Path, cache: Path, before: tuple[str, ...] = (), limit: int | None = None
) -> Seen:
    """The command of a reader.

    Args:
        before: what it is started with, ``unshare -n`` for example.
        limit: bytes of private memory that each of its processes may have.
    """
    variables = {
        "PYTHONPATH": str(root / "lib"),
        "UNCERTAIN_AFFECT_CACHE": str(cache),
        "UNCERTAIN_AFFECT_RESULTS": str(results),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [*before, sys.executable, "-m", "uncertain_affect.run.cli", *arguments],
        cwd=root,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))),
    )
    places = [path for path in results.glob("*/*/*") if "failed" not in path.relative_to(results).parts]
    finished, unfinished = [], []
    for place in places:
        try:
            record.check_complete(place)
            finished.append(place.name)
        except (ValueError, OSError):
            unfinished.append(place.name)
    return Seen(done.returncode, (done.stdout + done.stderr).strip(), finished, unfinished)


def wrong(seen: Seen, code: int, says: str, finished: tuple[str, ...] = ()) -> str | None:
    """What is wrong with what a reader sees; None if nothing is."""
    if seen.unfinished:
        return f"left {', '.join(seen.unfinished)} half-written"
    if "Traceback (most recent call last)" in seen.said:
        return f"a traceback: {seen.said[-300:]}"
    if seen.code != code or says not in seen.said:
        return f"exit code {seen.code} and {seen.said[-300:]!r}, where {code} and {says!r} were expected"
    if sorted(seen.finished) != sorted(finished):
        return (
            f"finished {', '.join(seen.finished) or 'nothing'}, where {', '.join(finished) or 'nothing'} was expected"
        )
    return None


def full_disk(root: Path) -> Iterator[tuple[str, str | None, str]]:
    with mounted() as small:
        seen = command(root, "reproduce", "11", "12", "--workers", "1", results=small / "results", cache=root / "cache")
        yield (
            "reproduce, results on a disk of 2 MiB",
            wrong(seen, 1, "a disk is full: make room", ("11_small",)),
            "exit code 1, says that the disk is full and what to do; what fits is there and whole",
        )
    with mounted() as small:
        (small / "filled").write_bytes(b"")
        while True:  # to the last byte
            try:
                with (small / "filled").open("ab") as file:
                    file.write(bytes(4096))
            except OSError:
                break
        seen = command(root, "reproduce", "14", "--workers", "1", results=root / "r1", cache=small / "cache")
        yield (
            "reproduce, cache on a disk without a byte left",
            wrong(seen, 1, "a disk is full: make room"),
            "exit code 1, says that the disk is full and what to do; nothing half-written",
        )
        shutil.rmtree(root / "r1", ignore_errors=True)


def read_only(root: Path) -> Iterator[tuple[str, str | None, str]]:
    with mounted() as place:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True, capture_output=True)
        seen = command(root, "reproduce", "11", "--workers", "1", results=place / "results", cache=root / "cache")
        yield (
            "reproduce, results read-only",
            wrong(seen, 2, "results cannot be written to"),
            "exit code 2 before anything runs, names the folder and the variable to set",
        )
        seen = command(
            root, "data", "get", "meld", "--data-root", str(place / "data"), results=root / "r2", cache=root / "cache"
        )
        yield (
            "data get, data root read-only",
            wrong(seen, 2, "Try again, or fetch it by hand"),
            "exit code 2, names what could not be fetched, why, and where it goes",
        )


def little_memory(root: Path) -> Iterator[tuple[str, str | None, str]]:
    for name, problem, expected in (
        ("11", lambda seen: wrong(seen, 0, "11_small", ("11_small",)), "exit code 0, the results are whole"),
        (
            "13",
            lambda seen: wrong(seen, 1, "out of memory"),
            "a notebook that needs 3 GiB: exit code 1, says that memory ran out; nothing half-written",
        ),
    ):
        results = root / f"memory {name}"
        seen = command(root, "reproduce", name, "--workers", "1", results=results, cache=root / "cache", limit=2 * GIB)
        yield f"reproduce, 2 GiB of private memory (RLIMIT_DATA), notebook {name}", problem(seen), expected
        shutil.rmtree(results, ignore_errors=True)


def no_network(root: Path) -> Iterator[tuple[str, str | None, str]]:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        raise PermissionError("no permission for a network of its own (unshare -n)")
    bare = ("unshare", "-n")
    seen = command(root, "reproduce", "11", results=root / "r3", cache=root / "cache", before=bare)
    yield (
        "reproduce, not even a loopback interface",
        wrong(seen, 2, "loopback"),
        "exit code 2 before anything runs, says that kernels need the loopback interface and how to get it",
    )
    seen = command(
        root, "data", "get", "meld", "--data-root", str(root / "data"), results=root / "r3", cache=root / "cache",
        before=bare,
    )  # fmt: skip
    yield (
        "data get, no network",
        wrong(seen, 2, "Try again, or fetch it by hand"),
        "exit code 2, names what could not be fetched and where it goes",
    )
    if shutil.which("ip") is None:
        return
    loopback = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    seen = command(root, "reproduce", "11", results=root / "r3", cache=root / "cache", before=loopback)
    yield (
        "reproduce, the loopback interface alone",
        wrong(seen, 0, "11_small", ("11_small",)),
        "exit code 0: nothing outside the machine is needed",
    )


LIMITS: dict[str, Callable[[Path], Iterator[tuple[str, str | None, str]]]] = {
    "a full disk": full_disk, "read-only": read_only, "little memory": little_memory, "no network": no_network,
}  # fmt: skip


def run(minutes: float) -> Iterator[Row]:
    """Meet each limit once; they are few, and all are met whatever the minutes."""
    for name, meet in LIMITS.items():
        with tempfile.TemporaryDirectory() as folder:
            checkout(Path(folder))
            try:
                for what, problem, fine in meet(Path(folder)):
                    yield Row("limits", what, 1, problem or fine, FAILED if problem else PASSED)
            except PermissionError as error:
                yield Row("limits", name, 0, str(error), NOT_HERE)
            except subprocess.TimeoutExpired as error:
                yield Row("limits", name, 1, f"did not end within {error.timeout:.0f} s", FAILED)
