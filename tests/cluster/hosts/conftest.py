"""Benches of hosts: where they cannot be made, that is told, and is a failure where they are expected."""

import os

import pytest

from dnuc.pipeline import run_job
from tests.cluster.hosts.bench import hosts, missing
from tests.cluster.hosts.cluster import ROLES, HostCluster
from tests.cluster.hosts.jobs import fashion_job, neighbors_job
from tests.conftest import compute_here, written_job

WITHOUT = "DNUC_NO_NAMESPACES"  # set on a build server that gives no privileges


@pytest.fixture(scope="session")
def lacking():
    """What this machine lacks for network namespaces; "" if nothing."""
    return missing()


@pytest.fixture(autouse=True)
def _privileges(request, lacking):
    """`make check-cluster` fails without; the test suite skips, but on a build server only if it is told to."""
    if not lacking:
        return
    reason = f"network namespaces: {lacking}"
    if request.node.get_closest_marker("check_cluster"):
        pytest.fail(f"{reason}. `make check-cluster` runs as root on Linux, with iproute2")
    if os.environ.get("CI") and not os.environ.get(WITHOUT):
        pytest.fail(f"{reason}. Give the build server what is lacking, or set {WITHOUT}=1 to go on without this test")
    pytest.skip(reason)


@pytest.fixture
def bench(request, _privileges):
    """Hosts of the names that the test is parametrized with."""
    with hosts(*request.param) as found:
        yield found


@pytest.fixture(scope="session")
def calm(tmp_path_factory):
    """(job file, finished run on this machine) by name."""
    found = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        compute_here(monkeypatch)
        for make in (fashion_job, neighbors_job):
            base = tmp_path_factory.mktemp("calm")
            job = make(base)
            found[job.name] = (written_job(job, base), run_job(job, out=base / "run", quiet=True))
    return found


@pytest.fixture(scope="session")
def cluster(lacking, tmp_path_factory):
    """The cluster, whole; a test that cuts a host off brings it back."""
    if lacking:
        yield None  # told by _privileges
        return
    with hosts(*ROLES) as bench:
        found = HostCluster(bench, tmp_path_factory.mktemp("hosts"))
        found.start_all()
        yield found
