"""Where a job runs: every form that --on takes, and every refusal."""

import json
import sys

import pytest
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT

from dnuc.cluster import Deployment, Local, Scheduler, connect, read_deployment
from dnuc.cluster.deployment import task_memory
from dnuc.cluster.progress import Progress
from dnuc.errors import JobError, ResourceError


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_means_this_machine():
    here = read_deployment(None)
    assert isinstance(here, Local)
    assert 1 <= here.processes() <= CPU_COUNT
    assert here.worker_memory() == MEMORY_LIMIT // here.processes()
    assert here.capacity().memory == task_memory(here.worker_memory(), threads=1)


@pytest.mark.parametrize(
    ("cores", "gib", "workers"),
    [(2, 24, 2), (16, 8, 4), (8, 3, 1), (64, 256, 64)],  # with one worker a core the second would hang
)
def test_no_more_workers_than_memory_allows(monkeypatch, cores, gib, workers):
    module = sys.modules["dnuc.cluster.places.local"]
    monkeypatch.setattr(module, "CPU_COUNT", cores)
    monkeypatch.setattr(module, "MEMORY_LIMIT", gib * 2**30)
    assert Local().processes() == workers
    assert Local(memory="4GiB").processes() == max(1, min(cores, gib // 4))
    assert Local(workers=3).processes() == 3


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:8786", "tls://head:8786", "ws://h:1", "wss://h:1", "inproc://1/2/3"]
)
def test_an_address_is_a_scheduler(address):
    assert read_deployment(address) == Scheduler(address=address)


def test_a_scheduler_file(tmp_path):
    path = written(tmp_path / "scheduler.json", json.dumps({"address": "tcp://10.0.0.1:8786"}))
    assert read_deployment(path) == Scheduler(file=path)
    assert read_deployment(str(path)).capacity() is None  # known only once connected


def test_a_file_for_this_machine(tmp_path):
    text = 'kind = "local"\nworkers = 3\nthreads = 2\nmemory = "6GiB"\ndashboard = ":0"\n'
    found = read_deployment(written(tmp_path / "big.toml", text))
    assert found == Local(workers=3, threads=2, memory="6GiB", dashboard=":0")
    assert (found.processes(), found.worker_memory(), found.capacity().memory) == (3, 6 * 2**30, 5 * 2**28)


def test_a_file_for_a_scheduler(tmp_path):
    text = 'kind = "scheduler"\naddress = "tcp://10.0.0.1:8786"\ntimeout = "5s"\n'
    found = read_deployment(written(tmp_path / "lab.toml", text))
    assert found == Scheduler(address="tcp://10.0.0.1:8786", timeout="5s")


def test_a_device_is_told_to_tasks():
    assert Local().capacity().device == "cpu"
    assert Local(device="cuda:1").capacity().device == "cuda:1"


def test_threads_share_the_cores():
    assert Local(threads=10**6).processes() == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('workers = 2\n', r"kind = None; allowed: 'local', 'gpu-node', 'scheduler', 'slurm'"),
        ('kind = "locall"\n', r"kind = 'locall'; closest: 'local'"),
        ('kind = "local"\nworker = 2\n', r"unknown key 'worker'; closest: 'workers'"),
        ('kind = "local"\nworkers = 0\n', r"workers: .* greater than or equal to 1 \(given: 0\)"),
        ('kind = "local"\nmemory = "lots"\n', r"memory: .*lots"),
        ('kind = "local"\nmemory = "1GiB"\n', r"memory: a worker needs at least 2 GiB: .* \(given: '1GiB'\)"),
        ('kind = "local"\ndevice = "gpu"\n', r"device: .*pattern.* \(given: 'gpu'\)"),
        ('kind = "scheduler"\naddress = 5\n', r"address: .* string \(given: 5\)"),
        ('kind = "scheduler"\n', r"address.*file"),
        ('kind = "scheduler"\naddress = "tcp://h:1"\nfile = "s.json"\n', r"address.*file"),
        ("kind = local\n", r"not valid TOML"),
    ],
)  # fmt: skip
def test_refused_files(tmp_path, text, message):
    path = written(tmp_path / "x.toml", text)
    with pytest.raises(JobError, match=f"x.toml.*{message}"):
        read_deployment(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(JobError, match=r"--on '.*nowhere.toml': no such file"):
        read_deployment(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("on", ["10.0.0.1:8786", "slurm", "deploy/local.yaml", "http://10.0.0.1:8786"])
def test_what_is_neither_address_nor_file_is_refused(on):
    with pytest.raises(JobError, match=rf"--on '{on}': give a scheduler address \(tcp://, tls://host:port\)"):
        read_deployment(on)


def test_a_scheduler_that_does_not_answer_is_told_quickly():
    nobody = Scheduler(address="tcp://127.0.0.1:1", timeout="1s")
    with (
        pytest.raises(ResourceError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1"),
        connect(nobody, Progress(quiet=True)),
    ):
        raise AssertionError("not reached")


def test_a_scheduler_file_of_a_stopped_cluster(tmp_path):
    path = written(tmp_path / "scheduler.json", json.dumps({"address": "tcp://127.0.0.1:1"}))
    with (
        pytest.raises(ResourceError, match=r"no Dask scheduler answers at .*scheduler.json"),
        connect(Scheduler(file=path, timeout="1s"), Progress(quiet=True)),
    ):
        raise AssertionError("not reached")


def test_a_place_says_how_to_connect():
    with pytest.raises(TypeError, match="Deployment does not say how to connect"):
        Deployment().connect()
