"""Dask's own report of a run, on request: what every worker did at every moment, as a page to keep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed.client import ClosedClientError

from dnuc.cluster.connect import Cluster
from dnuc.location import Location

PATIENCE = 120  # seconds for the scheduler to draw it


@contextmanager
def performance_report(cluster: Cluster, page: Location) -> Iterator[None]:
    """Save the report of what the cluster did while the block ran, also if the run is stopped.

    The page has the task stream, the profile of workers and scheduler, and transfers between workers; it needs nothing
    from elsewhere to be looked at.
    """
    client: Any = cluster.client
    if client is None:
        yield
        return

    def moment(dask_scheduler: Any) -> tuple[float, int]:  # a function in a function travels by value
        import time

        return time.time(), dask_scheduler.monitor.count

    start, count = client.run_on_scheduler(moment)
    client.get_task_stream(start=0, stop=0)  # from now on it is recorded
    try:
        yield
    finally:
        try:
            drawn = client.sync(
                client.scheduler.performance_report,
                start=start, last_count=count, code="", mode="inline", callback_timeout=PATIENCE,
            )  # fmt: skip
        except (OSError, TimeoutError, AttributeError, ClosedClientError) as error:  # as of a lost scheduler
            cluster.progress.say(f"no performance report: the scheduler did not draw it ({type(error).__name__})")
        else:
            page.write_text(re.sub(r'<link rel="shortcut icon"[^>]*>', "", drawn), encoding="utf-8")
            cluster.progress.say(f"performance report: {page}")
