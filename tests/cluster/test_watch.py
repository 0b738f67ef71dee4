"""A scheduler that is killed, hangs or comes back: what is told, at once or nearly so."""

import logging
import os
import re
import signal
import threading
import time
from contextlib import ExitStack

import pytest
from distributed.comm import CommClosedError

from dnuc.cluster import Progress, Task, connect, silence, watch
from dnuc.errors import ResourceError
from tests.cluster.processes import cluster, end, scheduler, worker
from tests.conftest import wait_until

pytestmark = pytest.mark.cluster
LOST = r"the connection to the Dask scheduler was lost \(.*\): it was stopped or killed, .* again to go on"


def nap(seconds):
    time.sleep(seconds)
    return seconds


def test_a_scheduler_that_hangs_is_told_and_so_is_its_return(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "ASK_EVERY", 0.2)
    monkeypatch.setattr(watch, "SILENT", 5.0)
    log = tmp_path / "log.txt"
    with (
        cluster(tmp_path) as (process, address),
        connect(address, Progress(tmp_path, quiet=True)) as found,
    ):
        assert len(list(found.run([Task(nap, (0.01,)) for _ in range(50)]))) == 50
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: f"the scheduler {address} has not answered for" in log.read_text())
        os.kill(process.pid, signal.SIGCONT)
        wait_until(lambda: f"the scheduler {address} answers again" in log.read_text())
        assert [r for _, r in found.run([Task(nap, (0,))])] == [0]


def test_a_scheduler_that_is_killed_is_told_at_once(tmp_path):
    """With Dask's own time limits: the run need not wait for the half minute in which Dask tries to connect again."""
    killed = []

    def kill():
        killed.append(time.monotonic())
        os.kill(process.pid, signal.SIGKILL)

    def work(found):
        for _ in found.run([Task(nap, (0.05,)), *(Task(nap, (100,)) for _ in range(5))]):
            threading.Timer(0.5, kill).start()

    with (
        cluster(tmp_path) as (process, address),
        pytest.raises(ResourceError, match=LOST),
        connect(address, Progress(tmp_path, quiet=True)) as found,
    ):
        work(found)
    assert time.monotonic() - killed[0] < 25  # the running task takes longer, and so would connecting again


def test_a_worker_that_hangs_is_told_and_given_up(tmp_path, monkeypatch):
    """Its process lives and its connections are open: nothing but its silence tells."""
    monkeypatch.setattr(silence, "LOOK_EVERY", 0.2)
    monkeypatch.setattr(silence, "UNHEARD", 3.0)
    log = tmp_path / "log.txt"
    with (
        scheduler(tmp_path, settings={"distributed.scheduler.worker-ttl": "8s"}) as (_, address),
        worker(tmp_path, address) as hung,
        connect(address, Progress(tmp_path, quiet=True)) as found,
    ):
        [name] = found.client.nthreads()
        os.kill(hung.pid, signal.SIGSTOP)
        told = rf"the worker {name} has not been heard of for \d+ s: .* Its tasks wait until Dask gives it up"
        wait_until(lambda: re.search(told, log.read_text()), timeout=60)
        wait_until(lambda: f"the worker {name} was given up" in log.read_text(), timeout=60)


def test_of_what_fails_in_the_loop_only_lost_connections_are_not_told():
    logger, told = logging.Logger("a loop"), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logger.addHandler(handler)
    logger.addFilter(watch._tells_more)
    for error in (CommClosedError("in a callback"), KeyError("in a callback")):
        logger.error("%s", type(error).__name__, exc_info=error)
    logger.error("without any")
    assert told == ["KeyError", "without any"]


def test_workers_are_heard_of_by_whether_their_times_change():
    """Whatever the scheduler's clock says; each silence is told once, with how it ends."""
    heard = silence._Heard(limit=10)
    assert heard.news({"a": 500.0, "b": -3.0, "c": 0.0}, now=0) == []
    assert heard.news({"a": 500.5, "b": -3.0, "c": 0.0}, now=9) == []
    lines = heard.news({"a": 501.0, "b": -3.0, "c": 0.0, "new": 7.0}, now=12)
    assert [line.partition(":")[0] for line in lines] == [
        "the worker b has not been heard of for 12 s",
        "the worker c has not been heard of for 12 s",
    ]
    assert heard.news({"a": 501.5, "b": -3.0, "c": 0.0, "new": 7.1}, now=14) == []
    assert heard.news({"a": 502.0, "b": 4.0, "new": 7.2}, now=16) == [
        "the worker b is heard of again",
        "the worker c was given up: its tasks are given to others",
    ]


def test_also_while_no_task_runs(tmp_path):
    with cluster(tmp_path) as (process, address), connect(address, Progress(tmp_path, quiet=True)) as found:
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: found.client.status != "running")
        lost = time.monotonic()
        with pytest.raises(ResourceError, match=LOST):
            list(found.run([Task(nap, (0,))]))
        assert time.monotonic() - lost < 25


def test_a_run_whose_workers_are_gone_says_so_and_goes_on_with_new_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "ASK_EVERY", 0.1)
    monkeypatch.setattr(watch, "SILENT", 1.0)
    log = tmp_path / "log.txt"
    with ExitStack() as stack:
        _, address = stack.enter_context(scheduler(tmp_path))
        first = stack.enter_context(worker(tmp_path, address))
        progress = Progress(tmp_path, quiet=True)
        found = stack.enter_context(connect(address, progress))
        wait_until(lambda: progress.cluster["workers"] == 1)
        end(first)
        wait_until(lambda: re.search(r"the scheduler has had no worker for \d+ s: they were stopped", log.read_text()))
        assert progress.cluster["workers"] == 0
        stack.enter_context(worker(tmp_path, address))
        assert [r for _, r in found.run([Task(nap, (0,))])] == [0]
        wait_until(lambda: "the scheduler has workers again: 1" in log.read_text())
        assert "the scheduler has 0 workers, before 1" in log.read_text()
