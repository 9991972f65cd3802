"""What the machine refuses: a full disk, results that may not be written, little memory, no network.

Each time the command of a reader runs in a checkout of its own, and what is looked at is what the reader sees: the exit
code, what is printed and whether a traceback is among it, and whether results are left that are not whole.
"""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import checkouts
from rows import FAILED, NOT_HERE, PASSED, Row

from uncertain_affect.run import layout

GIB = 2**30
PATIENCE_S = 600  # with one command
# bytes of what the notebooks make: a table that no small disk holds, and an array that no small memory holds
BODIES = {
    "11_small": 'frame = pd.DataFrame({"a": [1.0, 2.0]})',
    "12_large": 'frame = pd.DataFrame({"a": np.arange(400_000) / 7})',
    "13_hungry": 'frame = pd.DataFrame({"a": np.ones(3 * 2**27)[:3]})',
    "14_caches": """
cached_arrays(content_key("stress"), lambda: {"a": np.ones(100_000)})
frame = pd.DataFrame({"a": [1.0]})
""",
}
# what was done, what was wrong, and what it says where nothing was
Found = Iterator[tuple[str, str | None, str]]


class Seen(NamedTuple):
    """What a reader sees of a command, and the folders of finished and unfinished results that it leaves."""

    code: int
    printed: str
    finished: list[str]
    unfinished: list[str]


@contextmanager
def mounted() -> Iterator[Path]:
    """A file system in memory, of 2 MiB, at a folder of its own.

    Raises:
        PermissionError: the system does not let us mount one.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
            done = subprocess.run(mount, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise PermissionError("there is no mount") from error
        if done.returncode:
            raise PermissionError(f"no permission to mount a file system ({done.stderr.strip()})")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def command(root: Path, *arguments: str, results: Path, cache: Path | None = None, **how) -> Seen:
    """Run the command of a reader; ``how`` are the options of :func:`checkouts.start`."""
    running = checkouts.start(root, *arguments, results=results, cache=cache or root / "cache", **how)
    try:
        printed, _ = running.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        raise
    seen = Seen(running.returncode, printed.strip(), [], [])
    for place in results.glob("*/*/*"):
        if "failed" not in place.relative_to(results).parts:
            try:
                layout.check_complete(place)
                seen.finished.append(place.name)
            except (ValueError, OSError):
                seen.unfinished.append(place.name)
    return seen


def wrong(seen: Seen, code: int, says: str, *finished: str) -> str | None:
    """What is wrong with what a reader sees; None if nothing is."""
    if seen.unfinished:
        return f"left {', '.join(seen.unfinished)} half-written"
    if "Traceback (most recent call last)" in seen.printed:
        return f"a traceback: {seen.printed[-300:]}"
    if seen.code != code or says not in seen.printed:
        return f"exit code {seen.code} and {seen.printed[-300:]!r}, where {code} and {says!r} were expected"
    if sorted(seen.finished) != sorted(finished):
        there, expected = (", ".join(names) or "nothing" for names in (seen.finished, finished))
        return f"finished {there}, where {expected} was expected"
    return None


def reproduce(root: Path, *numbers: str, **how) -> Seen:
    return command(root, "reproduce", *numbers, "--workers", "1", **how)


def fetch(root: Path, to: Path, **how) -> Seen:
    return command(root, "data", "get", "meld", "--data-root", str(to), results=root / "results of data", **how)


def full_disk(root: Path) -> Found:
    fine = "exit code 1, says that the disk is full and what to do; "
    with mounted() as small:
        seen = reproduce(root, "11", "12", results=small / "results")
        problem = wrong(seen, 1, "a disk is full: make room", "11_small")
        yield "reproduce, results on a disk of 2 MiB", problem, fine + "what fits is there and whole"
    with mounted() as small:
        with suppress(OSError), (small / "filled").open("ab", buffering=0) as file:
            while file.write(bytes(4096)):  # to the last byte
                pass
        seen = reproduce(root, "14", results=root / "r", cache=small / "cache")
        problem = wrong(seen, 1, "a disk is full: make room")
        yield "reproduce, cache on a disk without a byte left", problem, fine + "nothing half-written"


def read_only(root: Path) -> Found:
    with mounted() as place:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True, capture_output=True)
        problem = wrong(reproduce(root, "11", results=place / "results"), 2, "results cannot be written to")
        fine = "exit code 2 before anything runs, names the folder and the variable to set"
        yield "reproduce, results read-only", problem, fine
        problem = wrong(fetch(root, place / "data"), 2, "Try again, or fetch it by hand")
        fine = "exit code 2, names what could not be fetched, why, and where it goes"
        yield "data get, data root read-only", problem, fine


def little_memory(root: Path) -> Found:
    limited = partial(resource.setrlimit, resource.RLIMIT_DATA, (2 * GIB, 2 * GIB))
    what = "reproduce, 2 GiB of private memory (RLIMIT_DATA), notebook"
    seen = reproduce(root, "11", results=root / "r11", preexec_fn=limited)
    yield f"{what} 11", wrong(seen, 0, "11_small", "11_small"), "exit code 0, the results are whole"
    problem = wrong(reproduce(root, "13", results=root / "r13", preexec_fn=limited), 1, "out of memory")
    fine = "a notebook that needs 3 GiB: exit code 1, says that memory ran out; nothing half-written"
    yield f"{what} 13", problem, fine


def no_network(root: Path) -> Found:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        raise PermissionError("no permission for a network of its own (unshare -n)")
    alone = partial(reproduce, root, "11", results=root / "r")
    fine = "exit code 2 before anything runs, says that kernels need the loopback interface and how to get it"
    yield "reproduce, not even a loopback interface", wrong(alone(before=("unshare", "-n")), 2, "loopback"), fine
    problem = wrong(fetch(root, root / "data", before=("unshare", "-n")), 2, "Try again, or fetch it by hand")
    yield "data get, no network", problem, "exit code 2, names what could not be fetched and where it goes"
    if shutil.which("ip"):
        loopback = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
        problem = wrong(alone(before=loopback), 0, "11_small", "11_small")
        fine = "exit code 0: nothing outside the machine is needed"
        yield "reproduce, the loopback interface alone", problem, fine


LIMITS: dict[str, Callable[[Path], Found]] = {
    "a full disk": full_disk, "read-only": read_only, "little memory": little_memory, "no network": no_network,
}  # fmt: skip


def run(minutes: float) -> Iterator[Row]:
    """Meet each limit once; they are few, and all are met whatever the minutes."""
    for name, meet in LIMITS.items():
        with tempfile.TemporaryDirectory() as folder:
            checkouts.checkout(Path(folder), BODIES)
            try:
                for what, problem, fine in meet(Path(folder)):
                    yield Row("limits", what, 1, problem or fine, FAILED if problem else PASSED)
            except PermissionError as error:
                yield Row("limits", name, 0, str(error), NOT_HERE)
            except subprocess.TimeoutExpired as error:
                yield Row("limits", name, 1, f"did not end within {error.timeout:.0f} s", FAILED)
