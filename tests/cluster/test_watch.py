"""A scheduler that is killed, hangs or comes back: what is told, at once or nearly so."""

import os
import signal
import threading
import time

import pytest

from dnuc.cluster import Progress, Task, connect, watch
from dnuc.errors import ResourceError
from tests.cluster.processes import cluster
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


def test_also_while_no_task_runs(tmp_path):
    with cluster(tmp_path) as (process, address), connect(address, Progress(tmp_path, quiet=True)) as found:
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: found.client.status != "running")
        lost = time.monotonic()
        with pytest.raises(ResourceError, match=LOST):
            list(found.run([Task(nap, (0,))]))
        assert time.monotonic() - lost < 25
