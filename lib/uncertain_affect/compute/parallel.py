"""Where work runs: in this process, or on the workers of a Dask cluster, one thread for each task.

A worker takes one notebook and one inner task at a time: while a notebook waits for its inner tasks, they have a place
to run. Workers say what they offer as Dask resources.
"""

import concurrent.futures
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from tqdm.auto import tqdm

from uncertain_affect.compute.cache import CACHE_VARIABLE, cache_dir
from uncertain_affect.compute.devices import one_thread

# what a worker offers, and a task asks for
NOTEBOOK, CORE, GPU = "notebook", "core", "gpu"
# the scheduler that a notebook may give inner tasks to
SCHEDULER_VARIABLE = "UNCERTAIN_AFFECT_SCHEDULER"
ANSWERS_WITHIN_S = 15
WORKERS_BACK_WITHIN_S = 300
LOOK_S = 2  # for workers that came or died
MOST_DEATHS = 3
# One thread: sums of several differ in their last bits. It and cuBLAS's workspace must be set before a kernel starts.
# glibc gives large arrays back at once and asks for new ones, page by page: half of the time of a small convolution.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
}
# On a machine that is very busy a worker may not answer for longer than Dask waits, 30 s, and be taken for dead; one
# that has died is known at once by its closed connection. And Dask gives up for good a worker that is not there 15 s
# after it died, though it may be starting just then, after another death.
PATIENCE = {
    "distributed.comm.timeouts.connect": "300s",
    "distributed.comm.timeouts.tcp": "300s",
    "distributed.deploy.lost-worker-timeout": "365d",
}
SILENT = logging.CRITICAL + 1  # what goes wrong comes back as an exception
THREADS = 2  # of a worker: one waits for a notebook's kernel, one runs an inner task
# What an inner task splits up it does itself: if all workers waited for others to be free, none ever would be.
_is_inner = ContextVar("is_inner", default=False)


class ClusterError(ValueError):
    """A scheduler that does not answer, or whose workers cannot run notebooks; the message says what to do."""


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Processes started meanwhile, kernels for example, see these variables."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def local(workers: int, share_gpus: bool = False) -> Iterator:
    """A client of so many worker processes on this machine; where it has GPUs each sees one of them.

    Args:
        workers: processes; where there are GPUs no more than these, or several on one would compete for its memory.
        share_gpus: as many as there are workers, who take turns at the GPUs.

    Raises:
        ClusterError: they do not start in time.
    """
    import dask.config
    from distributed import Client, Nanny, Scheduler, SpecCluster

    gpus = torch.cuda.device_count()
    resources = {NOTEBOOK: 1, CORE: 1} | ({GPU: 1} if gpus else {})
    # notebooks live in kernels of their own, whose memory the driver watches
    options = {"nthreads": THREADS, "resources": resources, "memory_limit": 0, "silence_logs": SILENT}
    spec = {}
    for i in range(min(workers, gpus) if gpus and not share_gpus else workers):
        variables = {"CUDA_VISIBLE_DEVICES": _visible(i % gpus)} if gpus else {}
        spec[i] = {"cls": Nanny, "options": options | {"dashboard": False, "env": variables}}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}}
    with environment(**ENVIRONMENT), dask.config.set(PATIENCE), ExitStack() as started:
        try:
            cluster = started.enter_context(SpecCluster(workers=spec, scheduler=scheduler, silence_logs=SILENT))
            client = started.enter_context(Client(cluster))
            client.wait_for_workers(len(spec))
        except TimeoutError as error:  # which says nothing
            raise ClusterError(
                f"{len(spec)} workers did not start in time: is this machine too busy? Run the same command again, or "
                "with --workers 1, which starts none"
            ) from error
        yield client


def _visible(i: int) -> str:
    """The name of the i-th device that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return allowed.split(",")[i].strip() if allowed else str(i)


@contextmanager
def existing(address: str) -> Iterator:
    """A client of a cluster that is there. Its workers see the same checkout, cache and results as this machine.

    Raises:
        ClusterError: nobody answers, or no worker offers to run notebooks.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWERS_WITHIN_S)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"no scheduler answers at {address} within {ANSWERS_WITHIN_S} s ({type(error).__name__}): is "
            "`dask scheduler` running there, is the port open, does the address read tcp://host:8786?"
        ) from error
    with client:
        if not any(NOTEBOOK in offered for offered in offers(client).values()):
            raise ClusterError(
                f"no worker of {address} offers to run notebooks: start each with `dask worker {address} --nthreads "
                f'{THREADS} --resources "{NOTEBOOK}=1 {CORE}=1"`, and {GPU}=1 if it has a GPU, in this environment'
            )
        yield client


def slurm_cluster():
    """A cluster, not yet scaled, whose workers are SLURM jobs.

    Queue, account, memory, wall time and extra directives (``--gres=gpu:1`` for example) are read from
    dask-jobqueue's own configuration, ``jobqueue.slurm`` in ``~/.config/dask/jobqueue.yaml``.
    """
    import dask.config
    from dask_jobqueue import SLURMCluster

    has_gpu = any("gpu" in directive for directive in dask.config.get("jobqueue.slurm.job-extra-directives", []))
    resources = ",".join(f"{name}=1" for name in (NOTEBOOK, CORE, *[GPU] * has_gpu))
    return SLURMCluster(
        cores=THREADS,
        processes=1,
        job_cpu=dask.config.get("jobqueue.slurm.job-cpu", None) or 1,
        memory=dask.config.get("jobqueue.slurm.memory", None) or "8GB",
        worker_extra_args=["--resources", resources],
        job_script_prologue=[f"export {name}={value}" for name, value in ENVIRONMENT.items()],
    )


@contextmanager
def slurm(jobs: int) -> Iterator:
    """A client of so many workers, each a SLURM job, see :func:`slurm_cluster`."""
    from distributed import Client

    with slurm_cluster() as cluster, Client(cluster) as client:
        cluster.scale(jobs=jobs)
        client.wait_for_workers(1)
        yield client


def offers(client) -> dict[str, dict[str, float]]:
    """What each worker offers, by its address."""
    # `client.scheduler_info` may answer with what a timer of the client has just put there, which knows no workers:
    # then all would be taken for dead
    workers = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return {address: worker.get("resources", {}) for address, worker in workers.items()}


def spread(client, resource: str, take: Callable[[Mapping], tuple | None]) -> Iterator[tuple[Any, Any]]:
    """Calls and their futures as they end; at any time one of them on each worker that offers a resource.

    Workers that join meanwhile get their share, and the calls of those that die are made again.

    Dask itself hands out at once, by guesses of how long each takes, all that is bound to a resource, and counts a
    worker idle by its threads. Measured by ``tests/bench/schedulers.py`` on ten uneven tasks and two workers of which
    one runs a notebook: workers had nothing to do while a task waited for 3% of the tasks' time, with Dask and
    ``worker-saturation`` 1 32%, with joblib's Dask backend 39%, and all took 14%, 59% and 61% longer than two workers
    need at least. When two of ten tasks killed their workers each time, the other eight came back; with Dask four of
    them were given up as well, and joblib waited for ever.

    Args:
        take: given what a worker offers, the next call that it may run now, (name, function, arguments), or None.
    """
    from distributed import wait

    running, again, deaths = {}, [], Counter()
    deadline = time.monotonic() + WORKERS_BACK_WITHIN_S
    # One that dies before its nanny has heard that it started is not started again: newcomers get nothing at once.
    seen = dict.fromkeys(offers(client), time.monotonic() - LOOK_S)
    while True:
        there, now = offers(client), time.monotonic()
        ready = {worker for worker in there if now - seen.setdefault(worker, now) >= LOOK_S}
        for future, (call, _) in [(f, r) for f, r in running.items() if r[1] not in there]:
            del running[future]
            future.cancel(force=True)
            deaths[call[0]] += 1
            if deaths[call[0]] < MOST_DEATHS:
                again.append(call)
            else:
                given_up = concurrent.futures.Future()
                reason = f"{MOST_DEATHS} workers died while they ran {call[0]}: is there too little memory?"
                given_up.set_exception(ClusterError(reason))
                yield call[0], given_up
        busy = {worker for _, worker in running.values()}
        able = [worker for worker in there if resource in there[worker] and worker in ready]
        for worker in able:
            if worker not in busy and (call := again.pop() if again else take(there[worker])):
                _, function, arguments = call
                future = client.submit(function, *arguments, workers=[worker], resources={resource: 1}, pure=False)
                running[future] = call, worker
        if running:
            deadline = time.monotonic() + WORKERS_BACK_WITHIN_S
            done = ()
            with suppress(TimeoutError), client.as_current():
                done = wait(list(running), timeout=LOOK_S, return_when="FIRST_COMPLETED").done
            for future in done:
                (name, *_), _ = running.pop(future)
                yield name, future
        elif able:
            return  # nothing is left to do
        elif now > deadline:
            raise ClusterError(f"no worker that offers {resource!r} came back within {WORKERS_BACK_WITHIN_S} s")
        else:
            time.sleep(LOOK_S)  # all have died: their nannies start others, or have just done so


Key = TypeVar("Key", bound=Hashable)


def run_all(
    work: Callable, calls: Mapping[Key, tuple], device: str = "cpu", label: str | None = None
) -> dict[Key, Any]:
    """What `work` returns for the arguments of each call, one thread each.

    In a notebook that a cluster runs, its workers share the calls; elsewhere, in one of the calls themselves, and on a
    GPU, they run here, one after another. Where they run changes nothing in the results.

    Args:
        work: a function that its name in a module finds again.
        calls: arguments by name; what several calls share is sent to the workers once.
        device: where `work` computes.
        label: what the progress bar says; the name of `work` if None.
    """
    address, several = os.environ.get(SCHEDULER_VARIABLE), len(calls) > 1
    shared = address and several and not _is_inner.get() and torch.device(device).type == "cpu"
    ended = _on_workers(address, work, calls) if shared else _here(work, calls)
    bar = tqdm(ended, label or work.__name__, len(calls), leave=False, disable=None if several else True)
    done = dict(bar)
    return {name: done[name] for name in calls}


def _here(work: Callable, calls: Mapping[Key, tuple]) -> Iterator[tuple[Key, Any]]:
    with one_thread():
        for name, arguments in calls.items():
            yield name, work(*arguments)


def _on_workers(address: str, work: Callable, calls: Mapping[Key, tuple]) -> Iterator[tuple[Key, Any]]:
    from distributed import Client

    with Client(address, timeout=ANSWERS_WITHIN_S, set_as_default=False) as client:
        sent = {}

        def at_the_workers(argument):
            if isinstance(argument, str | int | float | bool | None):
                return argument
            if id(argument) not in sent:  # `calls` keeps it alive, so that no other object gets its id
                # in a list, or of a collection each element would be sent by itself
                sent[id(argument)] = client.scatter([argument], hash=False)[0]
            return sent[id(argument)]

        left = iter(calls.items())

        def take(_):
            for name, arguments in left:
                return name, _one, (work, str(cache_dir()), *map(at_the_workers, arguments))
            return None

        for name, future in spread(client, CORE, take):
            yield name, future.result()
            future.release()


def _one(work: Callable, cache: str, *arguments):
    token = _is_inner.set(True)
    try:
        with environment(**{CACHE_VARIABLE: cache}), one_thread():
            return work(*arguments)
    finally:
        _is_inner.reset(token)
