"""Workers that a launcher starts: a stand-in for mpirun, and mpirun itself where it is installed."""

import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise

import psutil
import pytest

from dnuc.cluster import Mpi, Progress, Task, connect
from dnuc.cluster.deployment import task_memory
from dnuc.errors import JobError, ResourceError, SecurityError
from tests.conftest import ROOT, wait_until

# What mpirun does on one machine: start the command that follows so often, and end when all of them have.
LAUNCHER = f"{sys.executable} {ROOT / 'tests' / 'cluster' / 'launcher.py'}"


def double(x):
    return 2 * x


def here(launcher, **settings):
    return Mpi(launcher=launcher, memory="2GiB", host="127.0.0.1", **settings)


def test_the_command_that_ranks_run(authority):
    place = Mpi(
        launcher="mpirun -n 8 --hostfile hosts", memory="32GB", threads=2, python="/env/bin/python", interface="ib0"
    )
    command = place.model_copy(update={"tls": authority.tls("client")}).command("tls://10.0.0.1:4567")
    assert command[:10] == [
        *("mpirun", "-n", "8", "--hostfile", "hosts"),
        *("/env/bin/python", "-m", "dask", "worker", "tls://10.0.0.1:4567"),
    ]
    options = dict(pairwise(command))
    assert options["--nthreads"] == "2"
    assert options["--memory-limit"] == "32GB"
    assert options["--interface"] == "ib0"
    assert options["--dashboard-address"] == "127.0.0.1:0"
    assert options["--tls-key"] == str(authority.tls("client").key)


def test_ranks_on_other_machines_need_certificates(authority):
    for settings in ({}, {"interface": "ib0"}, {"host": "10.0.0.1"}):
        place = Mpi(launcher="mpirun", memory="32GB", **settings)
        with pytest.raises(SecurityError, match="workers on other machines reach their scheduler over a network"):
            place.check()
        place.model_copy(update={"tls": authority.tls("client")}).check()
        place.model_copy(update={"insecure": True}).check()
    here("mpirun").check()


def test_a_launcher_is_a_command():
    with pytest.raises(ValueError, match="a command such as"):
        Mpi(launcher=" ", memory="32GB")
    assert issubclass(JobError, ValueError)


@pytest.mark.cluster
def test_a_launcher_that_fails_is_told_with_what_it_printed():
    place = here(f"{sys.executable} -c \"import sys; sys.exit('no such host: node7')\"")
    with (
        pytest.raises(ResourceError, match=r"ended with 1 before a worker came: no such host: node7"),
        connect(place, Progress(quiet=True)),
    ):
        raise AssertionError("not reached")
    with (
        pytest.raises(ResourceError, match=r"launcher = '/nowhere/mpirun' cannot be started: .*No such file"),
        connect(here("/nowhere/mpirun"), Progress(quiet=True)),
    ):
        raise AssertionError("not reached")


@pytest.mark.cluster
def test_workers_come_work_and_go(authority):
    """With certificates, as on several machines."""
    place = here(f"{LAUNCHER} 2", tls=authority.tls("client"))
    with connect(place, Progress(quiet=True)) as found:
        found.client.wait_for_workers(2, timeout=60)
        assert sorted(r for _, r in found.run([Task(double, (x,)) for x in range(4)])) == [0, 2, 4, 6]
        assert found.capacity.memory == task_memory(2 * 2**30, threads=1)
        family = [p for p in psutil.Process().children(recursive=True) if "worker" in p.cmdline()]
        assert len(family) == 3  # the launcher and its ranks
        assert all(address.startswith("tls://") for address in found.client.scheduler_info(n_workers=-1)["workers"])
    wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family))


CLIENT = """
import sys, time
from dnuc.cluster import Mpi, Progress, connect
if __name__ == "__main__":
    with connect(Mpi(launcher=sys.argv[1], memory="2GiB", host="127.0.0.1"), Progress(quiet=True)):
        print("connected", flush=True)
        time.sleep(600)
"""


@pytest.mark.cluster
def test_workers_do_not_outlive_a_client_that_is_killed(tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)
    with subprocess.Popen(
        [sys.executable, tmp_path / "client.py", f"{LAUNCHER} 1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout.readline() == "connected\n"
        family = psutil.Process(client.pid).children(recursive=True)
        client.send_signal(signal.SIGKILL)
    assert len(family) >= 3  # launcher, nanny, worker
    wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), timeout=90)


@pytest.mark.cluster
@pytest.mark.skipif(shutil.which("mpirun") is None and "CI" not in os.environ, reason="needs mpirun (Debian's mpich)")
def test_mpirun_itself():
    with connect(here("mpirun -n 1"), Progress(quiet=True)) as found:
        assert [r for _, r in found.run([Task(double, (3,))])] == [6]
