"""Settings of places that start workers with `dask worker`, on this or on other machines."""

from __future__ import annotations

from typing import Annotated

from dask.utils import parse_bytes
from pydantic import Field, field_validator

from dnuc.cluster.deployment import Capacity, Networked, task_memory
from dnuc.cluster.places.local import enough_memory

LOOPBACK_DASHBOARD = "127.0.0.1:0"


class Workers(Networked):
    """Workers of equal size."""

    threads: Annotated[int, Field(ge=1)] = 1  # tasks a worker runs at once
    memory: str  # of one worker, e.g. "32GB"

    @field_validator("memory")
    @classmethod
    def _readable(cls, memory: str) -> str:
        return enough_memory(memory)

    def size(self, workers: int) -> Capacity:
        """What so many workers offer."""
        memory = task_memory(parse_bytes(self.memory), self.threads)
        return Capacity(memory, workers * self.threads, self.cores, self.device)


# For `dask worker`: no page that others can see (without a dashboard a worker still has some), and an environment in
# which tasks run as fast as in a local cluster.
WORKER_OPTIONS = (
    *("--no-dashboard", "--dashboard-address", LOOPBACK_DASHBOARD),
    *("--preload-nanny", "dnuc.cluster.preload"),
)
