"""The link to Dask's dashboard opens: on this machine as it is, from another one through the tunnel that is told."""

import socket
import urllib.request

import dask
import psutil
import pytest
from distributed import Client

from dnuc.cluster import Local, Progress, connect
from dnuc.cluster.dashboard import ELSEWHERE, dashboard, told
from dnuc.cluster.security import is_loopback
from tests.cluster.processes import scheduler, worker


@pytest.fixture(autouse=True)
def _at_this_machine(monkeypatch):
    for name in ELSEWHERE:
        monkeypatch.delenv(name, raising=False)


def at(host, port=8787):
    return {"link": f"http://127.0.0.1:{port}/status", "host": host, "port": port}


def test_a_remote_scheduler_comes_with_the_tunnel():
    assert told(at(socket.getfqdn(), 33001)) == "http://127.0.0.1:33001/status"
    assert told(at("head-01")).endswith(", through `ssh -N -L 8787:127.0.0.1:8787 head-01`")


@pytest.mark.parametrize("name", ELSEWHERE)
def test_so_does_this_machine_for_who_is_not_at_it(monkeypatch, name):
    monkeypatch.setenv(name, "somewhere")
    monkeypatch.setattr("socket.getfqdn", lambda: "node7.example")
    assert told(at("node7.example")).endswith(", through `ssh -N -L 8787:127.0.0.1:8787 node7.example`")


def test_a_scheduler_without_a_dashboard_says_so():
    assert told({"link": "", "host": "head-01", "port": 0}) == "none: the scheduler was started without"


@pytest.mark.cluster
def test_the_link_opens(client):
    found = dashboard(client)
    assert found == at(socket.getfqdn(), found["port"])
    with urllib.request.urlopen(told(found), timeout=20) as page:
        assert page.status == 200


@pytest.mark.cluster
def test_a_link_that_was_set_for_a_proxy_stays_as_it_is(client):
    with dask.config.set({"distributed.dashboard.link": "https://hub/user/me/proxy/{port}/status"}):
        found = dashboard(client)
    assert told(found) == found["link"]
    assert found["link"].startswith("https://hub/user/me/proxy/")


def listening(process):
    """(host, port) of every port that a process and its children listen on."""
    family = [process, *process.children(recursive=True)]
    return {(c.laddr.ip, c.laddr.port) for p in family for c in p.net_connections(kind="inet") if c.status == "LISTEN"}


@pytest.mark.cluster
def test_nothing_of_a_local_cluster_is_reachable_from_elsewhere():
    before = listening(psutil.Process())
    with connect(Local(workers=1, memory="2GiB"), Progress(quiet=True)):
        found = listening(psutil.Process()) - before
    assert len(found) >= 4  # scheduler, dashboard, nanny, worker
    assert {host for host, _ in found if not is_loopback(host)} == set()


@pytest.mark.cluster
def test_the_commands_that_are_documented_listen_on_the_loopback_address_alone(tmp_path):
    """A worker has pages too, with or without a dashboard, and by default shows them to everybody."""
    with (
        scheduler(tmp_path) as (process, address),
        worker(tmp_path, address) as other,
        Client(address, set_as_default=False) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        found = [listening(psutil.Process(p.pid)) for p in (process, other)]
    assert all(found)
    assert {host for host, _ in set.union(*found) if not is_loopback(host)} == set()
