"""Where things lie, whatever folder a notebook or a test is run from."""

import os
from functools import cache
from pathlib import Path


@cache
def project_root() -> Path:
    """The checkout: the nearest folder above this one, or above the working folder, with notebooks and results.

    Raises:
        FileNotFoundError: neither this file nor the working folder lies in a checkout.
    """
    for start in (Path(__file__).resolve(), Path.cwd() / "here"):
        for folder in start.parents:
            if (folder / "notebooks").is_dir() and (folder / "results" / "printed").is_dir():
                return folder
    raise FileNotFoundError(
        "no checkout of uncertain-affect around this file or the working folder: run from inside the cloned project"
    )


def from_checkout(path: Path) -> str:
    """The path as it is from the checkout, or whole where no way leads there: to another drive of Windows."""
    try:
        return os.path.relpath(path, project_root())
    except ValueError:
        return str(path)


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder with one folder per corpus: ``root``, else ``$UNCERTAIN_AFFECT_DATA``, else ``data`` in the checkout.

    A relative path is taken from the checkout, so that notebooks and the command line agree on it.
    """
    return project_root() / Path(root or os.environ.get("UNCERTAIN_AFFECT_DATA") or "data").expanduser()
