"""A deployment: *where* a job runs. What all places have in common; each kind of place is a module of `places/`."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from typing import Annotated

from dask.utils import parse_timedelta
from distributed import Client
from pydantic import BaseModel, ConfigDict, Field, field_validator

from dnuc.cluster.security import Tls
from dnuc.cluster.submission import Order, Receipt, start_process
from dnuc.errors import SecurityError

BASE = 2**30  # bytes that Python, PyTorch and the other libraries take in a worker before its first task
USABLE = 0.5  # of the rest: Dask stops feeding a worker at 80 % of its memory, and restarts it at 95 %
LEAST = 2 * 2**30  # bytes of a worker; with less, Dask would stop it for its libraries alone

# Ctrl-C in a terminal reaches every process; the client stops its workers itself, without a traceback of each.
IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


# Tasks multiply in threads of their own making, if any. By default Dask has glibc return memory of 128 KiB and more at
# once, and every array then costs page faults anew: a fifth of the time of a search.
WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1),
    "MALLOC_MMAP_THRESHOLD_": 32 * 2**20,  # the most that every glibc takes
    "MALLOC_TRIM_THRESHOLD_": 256 * 2**20,
}


def task_memory(worker: int, threads: int) -> int:
    """Bytes one task may use on a worker of so many bytes and threads.

    >>> task_memory(5 * 2**30, threads=2) == 2**30
    True
    """
    return max(0, int(USABLE * (worker - BASE) / threads))


@dataclasses.dataclass(frozen=True)
class Capacity:
    """What a place offers to the tasks of a run."""

    memory: int  # bytes one task may use
    tasks: int = 1  # tasks that run at a time, over all workers
    cores: int = 1  # threads one task shares its own work among
    device: str = "cpu"  # where a task multiplies


class Deployment(BaseModel):
    """What every place has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Dask counts one thread a task. A worker that has many cores for one task does larger tiles in the same memory.
    cores: Annotated[int, Field(ge=1)] = 1
    # Networks, and products of the neighbor search, run here: "cpu", or "cuda" where every worker has a GPU.
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"

    def check(self) -> None:
        """Refuse what cannot work, before anything starts: files that are missing, connections that are not safe."""

    def connect(self) -> AbstractContextManager[Client]:
        """A client of the place's Dask cluster, closed (with the cluster, if it was started here) afterwards."""
        raise TypeError(f"{type(self).__name__} does not say how to connect")

    def capacity(self) -> Capacity | None:
        """What tasks may use, if known before connecting."""
        return None

    def submit(self, order: Order) -> Receipt:
        """Start a run that nobody waits for: here by a process of its own, which connects as `dnuc run` does."""
        return start_process(order)

    @property
    def sees_run_directory(self) -> bool:
        """Whether run directories are where this machine can make them."""
        return True

    @property
    def allows_insecure(self) -> bool:
        """Whether connections that others could read or join are meant."""
        return False

    @property
    def patience(self) -> float:
        """Seconds to wait for the first worker."""
        return 60.0


class Networked(Deployment):
    """A place whose parts talk over a network: with TLS, unless it is told that the network may be trusted."""

    tls: Tls | None = None
    insecure: bool = False  # connections without TLS: whoever reaches a port can run programs as you
    wait: str = "60s"  # for the first worker

    @field_validator("wait")
    @classmethod
    def _is_time(cls, wait: str) -> str:
        try:
            parse_timedelta(wait)
        except KeyError as error:
            raise ValueError(error.args[0]) from None
        return wait

    def check(self) -> None:
        if self.tls is not None:
            self.tls.check()

    @property
    def allows_insecure(self) -> bool:
        return self.insecure

    @property
    def patience(self) -> float:
        return float(parse_timedelta(self.wait))


def require_tls(place: Networked, what: str) -> None:
    """For places that start a scheduler which other machines reach.

    Raises
    ------
    SecurityError
        If the deployment has no [tls] and does not say that it means it.
    """
    if place.tls is None and not place.insecure:
        raise SecurityError(
            f"{what} reach their scheduler over a network, where connections need TLS: make certificates with `dnuc "
            "certs certs` and name them in [tls] (ca, cert, key); on a network that you trust entirely, insecure = "
            "true allows it without (docs/security.md)"
        )
