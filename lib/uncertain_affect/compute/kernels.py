"""Kernels of notebooks: of this Python, and ended with the process that started them, however that ended.

ipykernel itself takes a kernel for an orphan once its parent has the number 1. Where another process adopts orphans, a
user's systemd for one, that never comes: the kernel would go on for ever, with all its memory.
"""

import os
import threading
import time

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager

LOOK_S = 1


class OwnKernel(AsyncKernelManager):
    """Starts the Python that runs this, whatever other kernels called python3 the reader has installed."""

    def _kernel_spec_manager_default(self) -> KernelSpecManager:  # traitlets calls it by this name
        return KernelSpecManager(parent=self, kernel_dirs=[])


def load_ipython_extension(shell) -> None:
    """Called by IPython in a kernel that is started with this extension."""
    # set by jupyter_client: the parent may be gone before its kernel has started
    parent = int(os.environ["JPY_PARENT_PID"])
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)
