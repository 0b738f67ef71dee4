"""SLURM: the text of the jobs that dask-jobqueue would submit, and a real SLURM on this machine."""

import builtins
import re
import shlex
import sys

import pytest

from dnuc.cluster import Capacity, Progress, Slurm, Task, connect, read_deployment
from dnuc.cluster.deployment import WORKER_ENVIRONMENT, task_memory
from dnuc.cluster.places.optional import need
from dnuc.errors import JobError, ResourceError, SecurityError
from tests.cluster.slurm import needs_slurm, run, slurm
from tests.conftest import ROOT, wait_until

DEPLOY = ROOT / "deploy"


def script_of(place, monkeypatch):
    """The batch script of one worker, written by dask-jobqueue itself; no scheduler is started for that."""
    from dask_jobqueue import SLURMCluster
    from dask_jobqueue.core import SpecCluster
    from distributed.core import Status

    monkeypatch.setattr(SpecCluster, "__init__", lambda self, *args, **settings: None)
    cluster = SLURMCluster(**place.arguments())
    cluster.status = Status.closed
    return cluster.job_script()


def header(script):
    return re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE)


def worker_command(script):
    return shlex.split(script.strip().splitlines()[-1])


def test_the_script_of_a_cpu_worker(monkeypatch):
    place = read_deployment(DEPLOY / "slurm_cpu.toml")
    script = script_of(place, monkeypatch)
    assert header(script) == [
        *("-J dnuc-worker", "-p normal", "-n 1", "--cpus-per-task=16", "--mem=60G", "-t 1-00:00:00"),
    ]
    certs = DEPLOY / "certs"
    assert worker_command(script) == [
        *(sys.executable, "-m", "distributed.cli.dask_worker", "tcp://<insert-scheduler-address-here>:8786"),
        *("--name", "dummy-name", "--nthreads", "1", "--memory-limit", "59.60GiB", "--nanny", "--death-timeout", "60"),
        *("--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--preload-nanny", "dnuc.cluster.preload"),
        *("--protocol", "tls://", "--tls-ca-file", f"{certs}/ca.pem"),
        *("--tls-cert", f"{certs}/client.pem", "--tls-key", f"{certs}/client-key.pem"),
    ]
    assert place.capacity() == Capacity(task_memory(64 * 10**9, 1), 8, 16, "cpu")
    assert place.patience == 24 * 3600


def test_the_script_of_a_gpu_worker(monkeypatch):
    place = read_deployment(DEPLOY / "slurm_gpu.toml")
    script = script_of(place, monkeypatch)
    assert header(script)[1:] == [
        *("-p gpu", "-n 1", "--cpus-per-task=8", "--mem=60G", "-t 12:00:00", "--gpus-per-task=1"),
    ]
    assert script.splitlines()[-2] == "module load cuda"
    assert place.capacity().device == "cuda"


def test_every_setting_reaches_the_script(monkeypatch, tmp_path):
    settings = {"account": "physics", "threads": 2, "cores": 3, "interface": "ib0", "python": "/env/bin/python"}
    setup = ("module load python", "export X=1")
    place = Slurm(workers=3, memory="8GiB", insecure=True, setup=setup, logs=tmp_path / "logs", **settings)
    script = script_of(place, monkeypatch)
    assert {"-A physics", "--cpus-per-task=6", "--mem=8G"} <= set(header(script))
    assert f"-o {tmp_path}/logs/dnuc-worker-%J.out" in header(script)
    assert script.splitlines()[-3:-1] == list(setup)
    command = worker_command(script)
    assert command[0] == "/env/bin/python"
    assert command[command.index("--nthreads") + 1] == "2"
    assert command[command.index("--interface") + 1] == "ib0"
    assert not any(part.startswith("--tls") for part in command)
    assert place.capacity().tasks == 6


def test_jobs_need_certificates():
    with pytest.raises(SecurityError, match="workers in SLURM jobs reach their scheduler over a network"):
        Slurm(workers=1, memory="8GiB").check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('memory = "8GiB"', "workers: Field required"),
        ("workers = 1", "memory: Field required"),
        ('workers = 1\nmemory = "1GiB"', "memory: a worker needs at least 2 GiB"),
        ('workers = 1\nmemory = "8GiB"\nwait = "soon"', "wait: "),
        ('workers = 1\nmemory = "8GiB"\nqueue = "normal"', "unknown key 'queue'"),
    ],
)
def test_refused_files(tmp_path, text, message):
    (tmp_path / "x.toml").write_text(f'kind = "slurm"\n{text}\n')
    with pytest.raises(JobError, match=f"x.toml: {message}"):
        read_deployment(tmp_path / "x.toml")


def test_a_library_that_is_absent_is_told_with_its_extra(monkeypatch, authority):
    imported = builtins.__import__

    def without(name, *args, **settings):
        if name.partition(".")[0] == "dask_jobqueue":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return imported(name, *args, **settings)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(ResourceError, match=r'kind = "slurm" needs dask-jobqueue .*: pip install \'dnuc\[slurm\]\''):
        need("dask_jobqueue", "slurm", 'kind = "slurm"')
    place = Slurm(workers=1, memory="2GiB", tls=authority.tls("client"))
    with (
        pytest.raises(ResourceError, match=r"pip install 'dnuc\[slurm\]'"),
        connect(place, Progress(quiet=True)),
    ):
        raise AssertionError("not reached")


# --- SLURM itself -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A SLURM of one node: the path of its configuration."""
    with slurm(tmp_path_factory.mktemp("slurm")) as file:
        yield file


def where():
    import os

    return os.environ.get("SLURM_JOB_ID"), {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}


@needs_slurm
@pytest.mark.cluster
def test_workers_in_jobs(running, authority, tmp_path, monkeypatch):
    """Submitted, at work with certificates, and out of the queue when the run ends."""
    monkeypatch.setenv("SLURM_CONF", str(running))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    place = Slurm(
        workers=1, memory="2GiB", time="10:00", interface="lo", logs=tmp_path, tls=authority.tls("client"), wait="120s"
    )
    with connect(place, Progress(quiet=True)) as found:
        queue = run("squeue", "--noheader", "--format=%i %j %T").split()
        [(_, (job, environment))] = found.run([Task(where, ())])
        assert queue == [job, "dnuc-worker", "RUNNING"]
        assert environment == {name: str(value) for name, value in WORKER_ENVIRONMENT.items()}
        assert next(iter(found.client.scheduler_info(n_workers=-1)["workers"])).startswith("tls://127.0.0.1:")
    wait_until(lambda: not run("squeue", "--noheader", "--states=RUNNING,PENDING"))
