"""A cluster is checked before it is used: it has workers, they have this dnuc, and their memory is known."""

import json

import pytest
from distributed import Client
from distributed.system import MEMORY_LIMIT

from dnuc.cluster import Cluster, Local, Progress, Task, connect, on_worker, tell, versions
from dnuc.cluster.connect import checked
from dnuc.cluster.deployment import task_memory
from dnuc.errors import ResourceError
from tests.cluster import processes
from tests.conftest import local_cluster, quiet_cluster, wait_until


def greet(name):
    tell({"hello": name})
    return name


def test_events_without_a_client(tmp_path):
    seen = []
    cluster = quiet_cluster(tmp_path)
    with cluster.listen(seen.append):
        assert [r for _, r in cluster.run([Task(greet, ("a",)), Task(greet, ("b",))])] == ["a", "b"]
    list(cluster.run([Task(greet, ("nobody listens",))]))
    assert seen == [{"hello": "a"}, {"hello": "b"}]


@pytest.mark.cluster
def test_events_from_workers(tmp_path, client):
    seen = []
    cluster = quiet_cluster(tmp_path, client)
    with cluster.listen(seen.append):
        list(cluster.run([Task(greet, (x,)) for x in "abc"]))
        wait_until(lambda: len(seen) == 3, f"events that arrived: {seen}", timeout=10)
    list(cluster.run([Task(greet, ("nobody listens",))]))
    assert sorted(e["hello"] for e in seen) == ["a", "b", "c"]


@pytest.mark.cluster
def test_a_task_knows_that_it_is_on_a_worker(tmp_path, client):
    """A search in a task leaves the other cores to the other tasks."""
    assert not on_worker()
    for cluster, expected in ((quiet_cluster(tmp_path), False), (quiet_cluster(tmp_path, client), True)):
        assert [result for _, result in cluster.run([Task(on_worker, ())])] == [expected]


@pytest.mark.cluster
def test_a_checked_cluster_knows_what_a_task_may_use(client, tmp_path, capfd):
    cluster = checked(client, Progress(tmp_path))
    assert isinstance(cluster, Cluster)
    assert cluster.capacity.memory == 2**29  # half of what the libraries leave of 2 GiB
    assert "2 workers, 2 threads, 0.5 GiB a task" in capfd.readouterr().err


@pytest.mark.cluster
def test_another_dnuc_on_the_workers_is_refused(client, monkeypatch):
    monkeypatch.setattr(versions, "__version__", "9.9.9")
    with pytest.raises(ResourceError, match=r"2 of 2 workers have another dnuc version \(e.g. tcp://.*; here: 9.9.9\)"):
        checked(client, Progress(quiet=True))


def test_workers_with_different_torch_are_refused():
    found = {"tcp://a": {"torch": "2.9.1"}, "tcp://b": {"torch": "2.10.0"}}
    told = r"1 of 2 workers have another torch version \(e.g. tcp://b: 2.10.0; tcp://a: 2.9.1\): install the same"
    with pytest.raises(ResourceError, match=told):
        versions._same("torch", "2.9.1", "tcp://a", found)


@pytest.mark.cluster
def test_no_workers_is_told_with_the_command_to_start_some(tmp_path):
    with (
        local_cluster(workers=0) as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(
            ResourceError, match=r"has no workers after 0 s: start some with `dask worker tcp://127.0.0.1:\d+`"
        ),
    ):
        checked(client, Progress(quiet=True), timeout=0.2)


@pytest.mark.cluster
def test_workers_too_small_for_the_libraries_are_refused():
    """Dask would pause or restart such workers for ever, and the run would hang."""
    with (
        local_cluster(workers=1, memory="1500MiB") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(ResourceError, match=r"1 of 1 workers have less than 2 GiB of memory \(e.g. tcp:.*: 1.46 GiB\)"),
    ):
        checked(client, Progress(quiet=True))


@pytest.mark.cluster
def test_workers_without_a_limit_share_their_machine(monkeypatch):
    with local_cluster(memory=0) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        assert checked(client, Progress(quiet=True)).capacity.memory == task_memory(MEMORY_LIMIT // 2, threads=1)


@pytest.mark.cluster
def test_this_machine_gives_the_workers_that_were_asked_for(tmp_path):
    with connect(Local(workers=1, threads=2, memory="5GiB"), Progress(tmp_path, quiet=True)) as cluster:
        assert cluster.capacity.memory == 2**30
        [address] = cluster.client.scheduler_info(n_workers=-1)["workers"]
        assert address.startswith("tcp://127.0.0.1:")  # not reachable from elsewhere
        assert cluster.client.dashboard_link.startswith("http://127.0.0.1:")
        assert next(iter(cluster.run([Task(greet, ("hello",))])))[1] == "hello"


WITHOUT_DNUC = """
import importlib.abc, sys
class Nowhere(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "dnuc":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nowhere())
for name in [n for n in sys.modules if n.partition(".")[0] == "dnuc"]:
    del sys.modules[name]
"""


@pytest.mark.cluster
def test_workers_that_cannot_import_dnuc_are_refused(tmp_path):
    """As on a cluster where it was installed on the head node only."""
    preload = tmp_path / "without_dnuc.py"
    preload.write_text(WITHOUT_DNUC)
    with (
        local_cluster(workers=1, preload=[str(preload)]) as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(ResourceError, match=r"workers cannot import dnuc \(.*\): install dnuc \S+ in the environment"),
    ):
        checked(client, Progress(quiet=True))


@pytest.mark.cluster
def test_a_scheduler_that_cannot_import_dnuc_is_refused(tmp_path):
    """It unpacks every task on its way to a worker: the run would fail with a traceback of Dask."""
    preload = tmp_path / "without_dnuc.py"
    preload.write_text(WITHOUT_DNUC)
    with (
        processes.cluster(tmp_path, scheduler_options=("--preload", preload)) as (_, address),
        pytest.raises(ResourceError, match=r"the scheduler cannot import dnuc \(.*\): install dnuc \S+ in the env"),
        connect(address, Progress(quiet=True)),
    ):
        raise AssertionError("not reached")


@pytest.mark.cluster
def test_a_running_cluster_is_found_by_its_address_and_by_its_file(shared_cluster, tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": shared_cluster.scheduler_address}))
    for on in (shared_cluster.scheduler_address, file, str(file)):
        with connect(on, Progress(quiet=True)) as cluster:
            assert [r for _, r in cluster.run([Task(greet, ("hello",))])] == ["hello"]
    assert len(shared_cluster.workers) == 2  # a cluster that was not started here is left running
