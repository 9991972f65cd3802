"""What results depend on beside code and data, and what it took to make them."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from uncertain_affect.compute import paths

VERSIONED = (
    "torch", "numpy", "scipy", "pandas", "scikit-learn", "scikit-image", "optuna", "matplotlib", "seaborn", "papermill",
)  # fmt: skip
# what decides, before a kernel starts, in which order numbers are added up
ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES")


def provenance(device: str = "cpu") -> dict:
    """What results depend on beside code and data: hardware, versions, revision, and what decides about sums."""
    versions = {"python": platform.python_version()}
    versions |= {package: importlib.metadata.version(package) for package in VERSIONED}
    hardware = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_mib": psutil.virtual_memory().total // 2**20,
    }
    if device.startswith("cuda"):
        hardware["gpu"] = torch.cuda.get_device_name(device)
        hardware["gpu_memory_mib"] = torch.cuda.get_device_properties(device).total_memory // 2**20
        hardware["gpu_peak_memory_mib"] = torch.cuda.max_memory_allocated(device) // 2**20
        hardware["gpu_tf32"] = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        versions["cuda"] = torch.version.cuda
    code = revision()
    return {
        "device": device,
        "hardware": hardware,
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "versions": versions,
        "revision": code,
        "dirty": None if code == "unknown" else code.endswith("+changes"),
    }


def cpu_name() -> str:
    """The processor's name as its maker gives it, where the system tells, else its architecture."""
    return _in_proc("cpuinfo", "model name") or platform.processor() or platform.machine()


def peak_memory_mib() -> int:
    """The most memory that this process held at once; processes that it started are not in it."""
    # what the kernel counts for this program alone; getrusage's has that of the program that started it, if larger
    if peak := _in_proc("self/status", "VmHWM"):
        return int(peak.split()[0]) // 2**10
    memory = psutil.Process().memory_info()
    try:
        import resource
    except ImportError:  # Windows, which counts it by itself
        return getattr(memory, "peak_wset", memory.rss) // 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else KiB
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def _in_proc(file: str, name: str) -> str | None:
    """The value of the first line of that name in a file of /proc, where the system has one."""
    with contextlib.suppress(OSError):
        lines = Path("/proc", file).read_text(encoding="utf-8").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def revision() -> str:
    """The commit of the checkout, with ``+changes`` where code differs from it; ``unknown`` outside git.

    A new file in lib/ counts, which other code may import, but a reader's own notebook does not.
    """
    try:
        head = _git("rev-parse", "HEAD")
        tracked = _git("status", "--porcelain", "--untracked-files=no", "lib", "notebooks")
        return head + ("+changes" if tracked or _git("status", "--porcelain", "lib") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=paths.project_root(), capture_output=True, text=True, check=True)
    return done.stdout.strip()
