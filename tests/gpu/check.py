"""Does all of it run on this GPU, how far is it from the CPU, and how much faster?

`make check-gpu`, or on a machine that has no more than torch and NumPy `python tests/gpu/check.py`. Five minutes, no
network, no corpus. Every part prints as it ends and is written to results/gpu/<card>.md and .csv at once.
"""

import argparse
import csv
import importlib.util
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT / "tests")]
if importlib.util.find_spec("tqdm") is None:  # which only shows progress, and here shows none

    class NoBar:
        """Does nothing."""

        def __init__(self, *_, **__):
            pass

        def __getattr__(self, _):
            return lambda *_, **__: None

    sys.modules["tqdm"], sys.modules["tqdm.auto"] = types.ModuleType("tqdm"), types.ModuleType("tqdm.auto")
    sys.modules["tqdm"].tqdm = sys.modules["tqdm.auto"].tqdm = NoBar

import numpy as np  # noqa: E402 - the library is found from here on
import torch  # noqa: E402

from gpu import steps  # noqa: E402
from uncertain_affect.compute.devices import choose_device, one_thread  # noqa: E402

# Largest difference beside the largest number of the same output, of the loss, and among all gradients of a network.
# The CPU's own convolutions, computed in another way, differ by 1e-6, 1e-6 and 1e-3; TF32 would by 1e-3 and more.
TOLERANCE = {"output": 1e-3, "loss": 1e-4, "gradient": 1e-2}
PARTS = {
    "agreement": "One step and one prediction of every network, CPU and GPU from the same start and the same draws",
    "repetition": "The same twice on the GPU, with deterministic algorithms",
    "speed": "A short training, on the GPU and on one core of the CPU, as the library computes",
    "notebooks": "Notebooks through papermill, quick, simulated",
}
NOTEBOOKS = ("11_uncnet_disagreement", "21_ugn_detection")
NEEDED = ("papermill", "ipykernel", "nbformat", "pydantic", "distributed", "pandas", "scipy", "sklearn", "skimage")
COLUMNS = ("part", "what", "outcome", *TOLERANCE, "seconds", "CPU seconds", "times faster", "peak MiB", "detail")
UNREPEATABLE = re.compile(r"(\S+) does not have a deterministic implementation")

Row = dict[str, object]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; 0 all is well, 1 something failed, 2 there is no GPU."""
    parser = argparse.ArgumentParser(prog="check-gpu", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    parser.add_argument("--device", default="cuda", help="cuda:1 for the second; cpu tries this program out")
    parser.add_argument("--seconds", type=float, default=280, help="for everything; what does not fit is left out")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "gpu")
    parser.add_argument("--small", action="store_true", help="time small networks: says nothing of a GPU")
    args = parser.parse_args(argv)
    try:
        device = choose_device(args.device)
    except ValueError as problem:
        print(f"check-gpu: no GPU, nothing was checked: {problem} (torch {torch.__version__}, {_built_for()})")
        return 2
    ends, rows, about = time.monotonic() + args.seconds, [], facts(device)
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    run = {
        "agreement": lambda: each(steps.CASES, lambda case: agreement(case, device), ends),
        "repetition": lambda: each(steps.CASES, lambda case: repetition(case, device), ends),
        "speed": lambda: each(steps.TIMED, lambda case: speed(case, device, args.small, args.seconds / 140), ends),
        "notebooks": lambda: notebooks(device, ends),
    }
    for part in PARTS:
        if part not in args.parts:
            continue
        started = time.monotonic()
        found = [{"part": part, **row} for row in run[part]()]
        rows += found
        failed = [row for row in found if row["outcome"] == "FAILED"]
        print(f"\n{PARTS[part]}: {time.monotonic() - started:.0f} s, {len(failed)} of {len(found)} failed", flush=True)
        print("\n".join(f"  {row['what']}: {_said(row)}" for row in found), flush=True)
        write(args.results, about, rows)
    return int(any(row["outcome"] == "FAILED" for row in rows))


def each(cases: Sequence[steps.Case], check: Callable[[steps.Case], Row], ends: float) -> list[Row]:
    """A row for each case; one that fails does not stop the others, and what does not fit in the time is left out."""
    rows = []
    for case in cases:
        row: Row = {"what": case.name}
        try:
            row |= check(case) if time.monotonic() < ends else {"outcome": "left out", "detail": "the time was up"}
        except Exception as problem:
            detail = f"{type(problem).__name__}: {str(problem).strip().partition(chr(10))[0]}"
            row |= {"outcome": "FAILED", "detail": detail}
        rows.append(row)
    return rows


# --- the parts ------------------------------------------------------------------------------------------------


def agreement(case: steps.Case, device: str) -> Row:
    """Differences between the CPU and the GPU, see :data:`TOLERANCE`."""
    here, there = steps.compute(case, "cpu"), steps.compute(case, device)
    found = {kind: _difference(kind, here, there) for kind in TOLERANCE if any(n.startswith(kind) for n in here)}
    too_far = [kind for kind, (value, _) in found.items() if not value <= TOLERANCE[kind]]
    detail = "; ".join(f"{kind} {found[kind][1]} beyond {TOLERANCE[kind]:g}" for kind in too_far)
    return {kind: value for kind, (value, _) in found.items()} | {
        "outcome": "FAILED" if too_far else "ok",
        "detail": detail,
    }


def _difference(kind: str, here: dict, there: dict) -> tuple[float, str]:
    """The largest relative difference among outputs, losses or gradients, and where it is."""
    names, worst = [name for name in here if name.startswith(kind)], (0.0, "")
    largest = {name: float(here[name].double().abs().max()) for name in names if here[name].numel()}
    for name in largest:
        scale = max(largest.values()) if kind == "gradient" else largest[name]
        difference = float((here[name].double() - there[name].double()).abs().max()) / (scale or 1.0)
        if not difference <= worst[0]:  # NaN too
            worst = difference, name.removeprefix(kind).strip()
    return worst


def repetition(case: steps.Case, device: str) -> Row:
    """Whether two runs give the same bits, and which operations have no deterministic algorithm."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        first, second = steps.compute(case, device), steps.compute(case, device)
    differ = [name for name in first if not torch.equal(first[name].nan_to_num(), second[name].nan_to_num())]
    named = sorted({match[1] for warning in said if (match := UNREPEATABLE.search(str(warning.message)))})
    detail = [f"without a deterministic algorithm: {', '.join(named)}"] if named else []
    detail += [f"differs: {', '.join(differ[:3])}{' and others' if len(differ) > 3 else ''}"] if differ else []
    return {"outcome": "FAILED" if differ else "ok", "detail": "; ".join(detail)}


def speed(case: steps.Case, device: str, small: bool, seconds: float) -> Row:
    """Seconds of a step, or of a prediction where nothing is trained, on both, and the GPU's peak memory."""
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    on_gpu, n = _seconds(case, device, small, seconds)
    peak = 0 if device == "cpu" else torch.cuda.max_memory_allocated(device) // 2**20
    on_cpu, _ = _seconds(case, "cpu", small, seconds)
    return {
        "outcome": "ok", "seconds": on_gpu, "CPU seconds": on_cpu, "times faster": on_cpu / on_gpu, "peak MiB": peak,
        "detail": f"{n} timed",
    }  # fmt: skip


def _seconds(case: steps.Case, device: str, small: bool, wanted: float) -> tuple[float, int]:
    """Seconds of one, and how many were timed."""
    steps.compute(case, device)  # imports, and starts what it needs
    work = case.make(device, small)

    @one_thread()
    @torch.no_grad()
    def predict(times: int) -> None:
        for _ in range(times):
            work.outputs()

    def timed(times: int) -> float:
        started = time.perf_counter()
        predict(times) if work.learn is None else work.learn(times)
        if device != "cpu":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - started) / times

    work.model.eval()
    once = timed(1)
    if device != "cpu":
        once = timed(1)  # the first one chooses algorithms
    n = int(min(100, wanted / once))
    return (timed(n), n) if n > 1 else (once, 1)


def notebooks(device: str, ends: float) -> list[Row]:
    """Two notebooks in this environment, as `uncertain-affect reproduce` runs them, from an empty cache."""
    rows: list[Row] = []
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        reason = f"not installed here: {', '.join(missing)}"
        return [{"what": name, "outcome": "left out", "detail": reason} for name in NOTEBOOKS]
    with tempfile.TemporaryDirectory() as scratch:
        places = {f"UNCERTAIN_AFFECT_{what}": str(Path(scratch, what)) for what in ("CACHE", "RESULTS")}
        options = ["--workers", "1", "--corpus", "simulated", "-p", "DEVICE", device]
        for name in NOTEBOOKS:
            command = [sys.executable, "-m", "uncertain_affect.run.cli", "reproduce", name, *options]
            environment, started = os.environ | places | {"PYTHONPATH": str(ROOT / "lib")}, time.monotonic()
            row: Row = {"what": name}
            try:
                left = max(1.0, ends - started)
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=left)
                lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
                fine = done.returncode == 0
                row |= {"outcome": "ok" if fine else "FAILED", "detail": "" if fine else " ".join(lines[:3])[:500]}
            except subprocess.TimeoutExpired:
                row |= {"outcome": "left out", "detail": f"stopped after {left:.0f} s: the time was up"}
            rows.append(row | {"seconds": time.monotonic() - started})
    return rows


# --- what is written ------------------------------------------------------------------------------------------


def facts(device: str) -> dict[str, str]:
    """What the numbers depend on."""
    return {
        "card": torch.cuda.get_device_name(device) if device != "cpu" else "CPU in the place of a GPU",
        "driver": _answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "unknown",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__} ({_built_for()}), "
        f"cuDNN {torch.backends.cudnn.version()}, NumPy {np.__version__}",
        "revision": (_answer("git", "rev-parse", "HEAD") or "unknown")
        + ("+changes" if _answer("git", "status", "--porcelain", "--untracked-files=no", "lib", "tests/gpu") else ""),
        "precision": f"matrix products {torch.get_float32_matmul_precision()}, TF32 in convolutions "
        f"{'ON' if torch.backends.cudnn.allow_tf32 else 'off'}, no mixed precision",
        "made": time.strftime("%Y-%m-%d"),
    }


def _built_for() -> str:
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"


def _answer(*command: str) -> str:
    """The first line that a program answers, empty where it is not there or fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""


def _said(row: Row) -> str:
    numbers = [f"{name} {_short(row[name])}" for name in COLUMNS[3:-1] if name in row]
    return ", ".join(filter(None, [str(row["outcome"]), *numbers, str(row.get("detail", ""))]))


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) and abs(value) < 10 else f"{value:.0f}"


def write(folder: Path, about: dict[str, str], rows: Sequence[Row]) -> None:
    """The page and the table of a card."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", about["card"].lower()).strip("-")
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows([{k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows])
    lines = [f"# {about['card']}", "", *(f"- {name}: {value}" for name, value in about.items() if name != "card")]
    bounds = ", ".join(f"{kind} {bound:g}" for kind, bound in TOLERANCE.items())
    lines += ["", f"Differences are relative to the largest number; tolerated are {bounds}. Made by `make check-gpu`."]
    for part, title in PARTS.items():
        found = [row for row in rows if row["part"] == part]
        if not found:
            continue
        columns = [name for name in COLUMNS[1:] if any(row.get(name, "") != "" for row in found)]
        lines += ["", f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for row in found:
            cells = [row.get(column, "") for column in columns]
            lines.append(f"| {' | '.join(c.replace('|', '/') if isinstance(c, str) else _short(c) for c in cells)} |")
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
