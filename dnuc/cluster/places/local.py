"""This machine: worker processes on the loopback address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client, LocalCluster, Security
from distributed.system import MEMORY_LIMIT
from pydantic import Field, field_validator

from dnuc.cluster.deployment import IGNORE_CTRL_C, LEAST, WORKER_ENVIRONMENT, Capacity, Deployment, task_memory


class Local(Deployment):
    """Worker processes on this machine, reachable from this machine only."""

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1)] | None = None  # processes; as many as cores and memory allow when absent
    threads: Annotated[int, Field(ge=1)] = 1  # tasks a worker runs at once
    memory: str = "auto"  # of one worker; "auto": its share of the machine's
    dashboard: str = "127.0.0.1:0"  # port 0: any free one
    private: bool = False  # also from other users of this machine, who share its loopback address

    @field_validator("memory")
    @classmethod
    def _readable(cls, memory: str) -> str:
        return memory if memory == "auto" else enough_memory(memory)

    def processes(self) -> int:
        """Number of worker processes."""
        each = LEAST if self.memory == "auto" else parse_bytes(self.memory)
        return self.workers or max(1, min(CPU_COUNT // (self.threads * self.cores), MEMORY_LIMIT // each))

    def worker_memory(self) -> int:
        """Bytes of one worker."""
        if self.memory != "auto":
            return parse_bytes(self.memory)
        return MEMORY_LIMIT // self.processes()

    def capacity(self) -> Capacity:
        memory = task_memory(self.worker_memory(), self.threads)
        return Capacity(memory, self.processes() * self.threads, self.cores, self.device)

    @contextmanager
    def connect(self) -> Iterator[Client]:
        with (
            dask.config.set({f"distributed.nanny.pre-spawn-environ.{k}": v for k, v in WORKER_ENVIRONMENT.items()}),
            LocalCluster(
                n_workers=self.processes(),
                threads_per_worker=self.threads,
                memory_limit=self.worker_memory(),
                host="127.0.0.1",
                security=Security.temporary() if self.private else None,
                dashboard_address=self.dashboard,
                preload=[IGNORE_CTRL_C],
                silence_logs=50,  # a task's exception reaches the client; workers need not print it too
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


def enough_memory(memory: str) -> str:
    """The memory of a worker, refused if its libraries would take all of it."""
    if parse_bytes(memory) < LEAST:
        raise ValueError(f"a worker needs at least {LEAST // 2**30} GiB: its libraries alone take about half of that")
    return memory
