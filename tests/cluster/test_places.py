"""The files in deploy/: each is read, and turned into exactly the call that its library takes."""

import os

import pytest
from distributed import Client

from dnuc.cluster import Local, Scheduler, read_deployment
from dnuc.cluster.deployment import WORKER_ENVIRONMENT
from dnuc.cluster.security import Tls
from tests.cluster.processes import cluster
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"


def client_tls():
    """The [tls] that the files name."""
    certs = DEPLOY / "certs"
    return Tls(ca=certs / "ca.pem", cert=certs / "client.pem", key=certs / "client-key.pem")


def test_local():
    assert read_deployment(DEPLOY / "local.toml") == Local()


def test_scheduler():
    assert read_deployment(DEPLOY / "scheduler.toml") == Scheduler(
        address="tls://head.example:8786", tls=client_tls(), wait="60s", timeout="30s"
    )


def environment():
    return dict(os.environ)


@pytest.mark.cluster
def test_a_worker_of_the_command_line_gets_the_environment_that_tasks_want(tmp_path):
    options = ("--nanny", "--preload-nanny", "dnuc.cluster.preload")
    with (
        cluster(tmp_path, worker_options=options) as (_, address),
        Client(address, set_as_default=False) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        [found] = client.run(environment).values()
    assert {k: found.get(k) for k in WORKER_ENVIRONMENT} == {k: str(v) for k, v in WORKER_ENVIRONMENT.items()}
