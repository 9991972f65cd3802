"""A kernel ends with the process that started it, however that ended.

ipykernel itself takes a kernel for an orphan once its parent has the number 1. Where another process adopts orphans, a
user's systemd for one, that never comes: the kernel would go on for ever, with all its memory.
"""

import os
import threading
import time

LOOK_S = 1


def load_ipython_extension(shell) -> None:
    """Called by IPython in a kernel that is started with this extension."""
    # set by jupyter_client: the parent may be gone before its kernel has started
    parent = int(os.environ["JPY_PARENT_PID"])
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)
