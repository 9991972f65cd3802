"""Work on the workers of a cluster: the same results as here, and clear words where that cannot be."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from unittest.mock import Mock

import dask.config
import distributed
import numpy as np
import pytest
import torch
from distributed import LocalCluster

from uncertain_affect.compute import parallel


def about(array, power):
    """Something to compute, and where it was computed."""
    return float((array**power).sum()), os.getpid(), torch.get_num_threads(), os.environ["UNCERTAIN_AFFECT_CACHE"]


def same(*arguments):
    return arguments


def slow(number):
    time.sleep(0.5)
    return os.getpid()


def splits(address, number):
    """A task with tasks of its own, on a worker that a notebook has told of the cluster."""
    with parallel.environment(**{parallel.SCHEDULER_VARIABLE: address}):
        return os.getpid(), set(parallel.run_all(slow, {i: (i,) for i in range(number)}).values())


def dies():
    os._exit(1)


def dies_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os._exit(1)
    return "done"


def fails(number):
    raise ValueError(f"{number} is not what it should be")


@pytest.fixture(scope="module")
def two_workers():
    # the workers find this module by the path of the tests
    with parallel.environment(PYTHONPATH=os.pathsep.join(sys.path)), parallel.local(2) as client:
        yield client


@pytest.fixture
def at_work(two_workers, monkeypatch):
    monkeypatch.setenv(parallel.SCHEDULER_VARIABLE, two_workers.scheduler.address)


CALLS = {power: (np.arange(4.0), power) for power in range(6)}
SUMS = [4, 6, 14, 36, 98, 276]


def test_without_a_cluster_calls_run_here_with_one_thread(monkeypatch):
    monkeypatch.delenv(parallel.SCHEDULER_VARIABLE, raising=False)
    threads = torch.get_num_threads()
    found = parallel.run_all(about, CALLS)
    assert list(found) == list(CALLS)
    assert [values[:3] for values in found.values()] == [(total, os.getpid(), 1) for total in SUMS]
    assert torch.get_num_threads() == threads


def test_a_notebook_needs_no_client_of_its_own(two_workers):
    """In a process of its own, as a kernel is: here the fixture's client is everybody's."""
    code = "import math; from uncertain_affect.compute import parallel\n"
    code += "print(parallel.run_all(math.sqrt, {i: (i * i,) for i in range(3)}))"
    variables = os.environ | {parallel.SCHEDULER_VARIABLE: two_workers.scheduler.address}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=60)
    assert done.stdout == "{0: 0.0, 1: 1.0, 2: 2.0}\n", done.stderr


def test_workers_give_the_same_with_one_thread_and_this_cache(at_work, monkeypatch, tmp_path):
    monkeypatch.setenv("UNCERTAIN_AFFECT_CACHE", str(tmp_path))
    found = parallel.run_all(about, CALLS)
    assert list(found) == list(CALLS)
    assert [values[0] for values in found.values()] == SUMS
    assert os.getpid() not in {values[1] for values in found.values()}
    assert {values[2:] for values in found.values()} == {(1, str(tmp_path))}


def test_arguments_of_every_kind_arrive_as_they_are(at_work):
    calls = {i: (a, i) for i, a in enumerate([None, {}, {"a": 1}, [], [1, 2], (), ("a", "b"), "text", 2.5])}
    assert parallel.run_all(same, calls) == calls


def test_a_single_call_and_a_gpu_stay_here(at_work):
    assert parallel.run_all(about, {"one": (np.ones(2), 1)})["one"][1] == os.getpid()
    assert {values[1] for values in parallel.run_all(about, CALLS, device="cuda").values()} == {os.getpid()}


def test_every_worker_takes_its_share(at_work):
    counts = Counter(parallel.run_all(slow, {i: (i,) for i in range(6)}).values())
    assert len(counts) == 2
    assert min(counts.values()) >= 2


def test_what_a_call_splits_up_waits_for_no_worker(two_workers, at_work):
    found = parallel.run_all(splits, {i: (two_workers.scheduler.address, 2) for i in range(4)})
    assert len({worker for worker, _ in found.values()}) == 2
    assert all(inner == {worker} for worker, inner in found.values())


def test_calls_of_workers_that_die_are_made_again(at_work, tmp_path):
    found = parallel.run_all(dies_once, {i: (str(tmp_path / str(i)),) for i in range(3)})
    assert found == {0: "done", 1: "done", 2: "done"}


def test_a_call_that_kills_every_worker_is_given_up_and_the_next_waits_for_others(at_work):
    with pytest.raises(parallel.ClusterError, match=r"3 workers died while they ran [01]: "):
        parallel.run_all(dies, {0: (), 1: ()})
    assert parallel.run_all(same, {i: (i,) for i in range(2)}) == {0: (0,), 1: (1,)}


def _killed(client):
    """Kill the one worker; when it died, once the scheduler knows."""
    os.kill(client.submit(os.getpid, pure=False).result(60), signal.SIGKILL)
    died = time.monotonic()
    while parallel.offers(client) and time.monotonic() < died + 30:
        time.sleep(0.05)
    return died


@pytest.mark.slow
def test_a_worker_that_is_down_when_its_last_death_is_long_ago_comes_back():
    """Dask looks 15 s after a death, and would give up one that is being started after another."""
    with parallel.local(1) as client:
        first = _killed(client)
        client.wait_for_workers(1, timeout=300)
        time.sleep(max(0, first + 14.5 - time.monotonic()))
        _killed(client)
        client.wait_for_workers(1, timeout=60)
        assert client.submit(str, 1, pure=False).result(60) == "1"


def test_workers_that_do_not_come_back_are_not_waited_for_for_ever(two_workers, monkeypatch):
    monkeypatch.setattr(parallel, "WORKERS_BACK_WITHIN_S", 0)
    with pytest.raises(parallel.ClusterError, match="no worker that offers 'sleep' came back within 0 s"):
        list(parallel.spread(two_workers, "sleep", lambda offered: None))


def test_what_a_call_raises_is_raised_here(at_work):
    with pytest.raises(ValueError, match="2 is not what it should be"):
        parallel.run_all(fails, {2: (2,), 3: (2,)})


def test_each_worker_offers_one_notebook_and_one_inner_task(two_workers):
    two_workers.wait_for_workers(2, timeout=300)  # others died in the tests above
    assert list(parallel.offers(two_workers).values()) == [{"notebook": 1, "core": 1}] * 2
    with parallel.existing(two_workers.scheduler.address) as client:
        assert len(parallel.offers(client)) == 2


def test_no_worker_is_missed_while_the_client_looks_for_itself(two_workers):
    """Every two seconds it asks about the scheduler without its workers; here without a pause."""

    async def looks():
        while not ended.is_set():
            await two_workers._update_scheduler_info()

    ended = threading.Event()
    looking = threading.Thread(target=two_workers.sync, args=(looks,))
    looking.start()
    try:
        assert {len(parallel.offers(two_workers)) for _ in range(300)} == {2}
    finally:
        ended.set()
        looking.join()


def test_workers_that_take_no_notebooks_are_refused_with_the_command_that_starts_others():
    with (
        LocalCluster(1, processes=False, dashboard_address=":0") as other,
        pytest.raises(parallel.ClusterError, match=r'no worker of .* --nthreads 2 --resources "notebook=1 core=1"'),
        parallel.existing(other.scheduler_address),
    ):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "http://127.0.0.1:9"])
def test_a_scheduler_that_does_not_answer(address, monkeypatch):
    monkeypatch.setattr(parallel, "ANSWERS_WITHIN_S", 0.5)
    with pytest.raises(parallel.ClusterError, match=f"no scheduler answers at {address}"), parallel.existing(address):
        pass


def patience(*_):
    return {name: dask.config.get(name) for name in parallel.PATIENCE}


def test_workers_and_their_driver_wait_for_each_other_for_minutes(two_workers):
    assert two_workers.submit(patience, pure=False).result() == patience() == parallel.PATIENCE


def test_workers_that_do_not_start_in_time_are_reported(monkeypatch):
    monkeypatch.setattr(distributed, "SpecCluster", Mock(side_effect=TimeoutError))
    with pytest.raises(parallel.ClusterError, match=r"2 workers did not start in time: .* with --workers 1"):
        with parallel.local(2):
            pass


def test_devices_keep_the_names_that_this_process_was_given(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [parallel._visible(i) for i in range(2)] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5a")
    assert [parallel._visible(i) for i in range(2)] == ["3", "GPU-5a"]


@pytest.mark.parametrize(
    "cards, workers, share, seen",
    [(2, 8, False, ["0", "1"]), (4, 2, False, ["0", "1"]), (2, 3, True, ["0", "1", "0"]), (0, 2, False, [None, None])],
)
def test_there_is_one_process_for_each_gpu_unless_they_are_to_be_shared(monkeypatch, cards, workers, share, seen):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    cluster = Mock(side_effect=TimeoutError)
    monkeypatch.setattr(distributed, "SpecCluster", cluster)
    with pytest.raises(parallel.ClusterError), parallel.local(workers, share):
        pass
    started = [worker["options"] for worker in cluster.call_args.kwargs["workers"].values()]
    assert [options["env"].get("CUDA_VISIBLE_DEVICES") for options in started] == seen
    assert all(options["resources"].get("gpu", 0) == (cards > 0) for options in started)


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("THERE", "before")
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(KeyboardInterrupt), parallel.environment(THERE="now", NOT_THERE="now"):
        assert os.environ["THERE"] == os.environ["NOT_THERE"] == "now"
        raise KeyboardInterrupt
    assert os.environ["THERE"] == "before"
    assert "NOT_THERE" not in os.environ
