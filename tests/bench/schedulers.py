"""Who gives tasks to workers best, `compute.parallel.spread`, joblib or Dask itself? `python -m bench.schedulers`.

Two worker processes, each with one slot for a notebook and one for an inner task, get ten tasks of uneven lengths that
only sleep. Both alternatives bind their tasks to the slot as Dask resources, with ``worker-saturation`` 1, by which
Dask keeps tasks back that no worker is free for; but it does so only with tasks that are bound to nothing.
"""

import importlib
import os
import sys
import threading
import time
from collections.abc import Iterable

import dask.config
import distributed
import numpy as np
import pandas as pd

from uncertain_affect.compute import parallel
from uncertain_affect.compute.parallel import CORE, NOTEBOOK

joblib = importlib.import_module("joblib")  # no dependency of this project: scikit-learn brings it
WORKERS, DRAWS, PATIENCE_S = 2, 4, 90
DEADLY = 99.0  # the length of a task that ends its worker instead


def work(seconds: float) -> tuple[float, float]:
    """Sleep, or die; when it began and ended."""
    if seconds == DEADLY:
        time.sleep(0.2)
        os._exit(1)
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def by_spread(client, resource: str, lengths: list[float]) -> dict:
    left = enumerate(lengths)
    calls = parallel.spread(client, resource, lambda _: next(((i, work, (seconds,)) for i, seconds in left), None))
    return _results(calls)


def by_dask(client, resource: str, lengths: list[float]) -> dict:
    calls = [client.submit(work, seconds, resources={resource: 1}, pure=False) for seconds in lengths]
    return _results(enumerate(calls))


def by_joblib(client, resource: str, lengths: list[float]) -> dict:
    with client.as_current(), joblib.parallel_config(backend="dask", resources={resource: 1}):
        return dict(enumerate(joblib.Parallel(batch_size=1)(joblib.delayed(work)(seconds) for seconds in lengths)))


WAYS = {"spread": by_spread, "Dask": by_dask, "joblib": by_joblib}


def _results(calls: Iterable) -> dict:
    """What came back, without the calls that were given up."""
    found = {}
    for name, call in calls:
        try:
            found[name] = call.result()
        except Exception:
            continue
    return found


def starved(spans: Iterable[tuple[float, float]], workers: int = WORKERS) -> float:
    """Seconds, of all workers together, that a worker had no task while one waited: until the last had begun."""
    spans = sorted(spans)
    last = spans[-1][0]
    return workers * (last - spans[0][0]) - sum(max(0, min(end, last) - began) for began, end in spans)


def uneven(client, way, resource: str, notebooks: int, seed: int) -> dict[str, float]:
    """Shares of what the tasks take: idle while a task waited, and longer than two workers need at least.

    Args:
        notebooks: workers on which a notebook waits for the inner tasks.
    """
    lengths = np.minimum(8, np.random.default_rng(seed).lognormal(-0.7, 1.2, 10)).tolist()
    waiting = [
        client.submit(time.sleep, 0.8 * sum(lengths), workers=[worker], resources={NOTEBOOK: 1}, pure=False)
        for worker in list(parallel.offers(client))[:notebooks]
    ]
    time.sleep(0.5)
    spans = list(way(client, resource, lengths).values())
    distributed.wait(waiting)
    took = max(end for _, end in spans) - min(began for began, _ in spans)
    return {"idle": starved(spans) / sum(lengths), "longer": took / max(*lengths, sum(lengths) / WORKERS) - 1}


def deaths(client, way) -> dict[str, object]:
    """Of ten tasks of which two end their worker each time: how many others came back, and after how long."""
    found, began = {}, time.monotonic()
    lengths = [DEADLY if i in (3, 6) else 0.5 for i in range(10)]
    thread = threading.Thread(target=lambda: found.update(way(client, CORE, lengths)), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    took = f"over {PATIENCE_S}" if thread.is_alive() else f"{time.monotonic() - began:.0f}"
    return {"of 8 came back": len(found), "seconds": took}


def main() -> None:
    """Print both tables; takes ten minutes."""
    cases = {"notebooks": (NOTEBOOK, 0), "inner tasks of two": (CORE, 2), "inner tasks of one": (CORE, 1)}
    shares, killed = {}, {}
    with parallel.environment(PYTHONPATH=os.pathsep.join(sys.path)):
        with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}), parallel.local(WORKERS) as client:
            for case, (resource, notebooks) in cases.items():
                for name, way in WAYS.items():
                    rows = [uneven(client, way, resource, notebooks, seed) for seed in range(DRAWS)]
                    shares[case, name] = pd.DataFrame(rows).mean()
        for name, way in WAYS.items():
            with parallel.local(WORKERS) as client:
                killed[name] = deaths(client, way)
    print(pd.DataFrame(shares).T.to_string(float_format="{:.0%}".format))
    print(pd.DataFrame(killed).T.to_string())
    sys.stdout.flush()
    os._exit(0)  # joblib may still be waiting for a task that killed its workers


if __name__ == "__main__":
    main()
