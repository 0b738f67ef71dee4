"""Where Dask's dashboard is seen from: its link, and the tunnel to it where it is on another machine."""

from __future__ import annotations

import os
import socket

import dask
from distributed import Client

from dnuc.cluster.security import host_of, is_loopback
from dnuc.cluster.watch import address_of

PLAIN_LINK = "{scheme}://{host}:{port}/status"  # Dask's own; anything else was set for a proxy
ELSEWHERE = ("SSH_CONNECTION", "SLURM_JOB_ID")  # whoever looks is probably not at this machine


def dashboard(client: Client) -> str:
    """The link, with the ssh command that makes it work where the scheduler is remote.

    Dashboards are bound to the loopback address of their machine, so a link with that machine's name would not open.
    """
    if dask.config.get("distributed.dashboard.link") != PLAIN_LINK:
        return str(client.dashboard_link)
    return link(host_of(address_of(client)), client.scheduler_info(n_workers=0)["services"]["dashboard"])


def link(host: str, port: int) -> str:
    """The line for a scheduler's host and the port of its dashboard.

    >>> link("10.0.0.1", 8787)
    'http://127.0.0.1:8787/status, through `ssh -N -L 8787:127.0.0.1:8787 10.0.0.1`'
    """
    here = is_loopback(host) or not host  # inproc addresses have none
    if here and not any(name in os.environ for name in ELSEWHERE):
        return f"http://127.0.0.1:{port}/status"
    machine = socket.getfqdn() if here else host
    return f"http://127.0.0.1:{port}/status, through `ssh -N -L {port}:127.0.0.1:{port} {machine}`"
