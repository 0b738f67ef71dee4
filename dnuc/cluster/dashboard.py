"""Where Dask's dashboard is seen from: its link, and the tunnel to it where it is on another machine."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import dask
from distributed import Client

from dnuc.cluster.records import DashboardRecord
from dnuc.cluster.security import host_of, is_loopback
from dnuc.cluster.watch import address_of

PLAIN_LINK = "{scheme}://{host}:{port}/status"  # Dask's own; anything else was set for a proxy
ELSEWHERE = ("SSH_CONNECTION", "SLURM_JOB_ID")  # whoever looks is probably not at this machine


def dashboard(client: Client) -> DashboardRecord:
    """Where the dashboard of a client's scheduler is.

    Dashboards are bound to the loopback address of their machine, so a link with that machine's name would not open.
    """
    if dask.config.get("distributed.dashboard.link") != PLAIN_LINK:
        url = str(client.dashboard_link)
        return DashboardRecord(link=url, host="", port=urlsplit(url).port or 0)
    host = host_of(address_of(client))
    here = is_loopback(host) or not host  # inproc addresses have none
    port = int(client.scheduler_info(n_workers=0)["services"].get("dashboard", 0))
    link = f"http://127.0.0.1:{port}/status" if port else ""
    return DashboardRecord(link=link, host=socket.getfqdn() if here else host, port=port)


def told(where: DashboardRecord) -> str:
    """How to open it from here: the link, with the ssh command that makes it work where the scheduler is remote.

    >>> told({"link": "http://127.0.0.1:8787/status", "host": "10.0.0.1", "port": 8787})
    'http://127.0.0.1:8787/status, through `ssh -N -L 8787:127.0.0.1:8787 10.0.0.1`'
    """
    if not where["link"]:
        return "none: the scheduler was started without"
    here = where["host"] in ("", socket.getfqdn()) and not any(name in os.environ for name in ELSEWHERE)
    if not where["host"] or here:
        return where["link"]
    port = where["port"]
    return f"{where['link']}, through `ssh -N -L {port}:127.0.0.1:{port} {where['host']}`"
