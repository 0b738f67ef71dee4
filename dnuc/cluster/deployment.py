"""A deployment: *where* a job runs, read from a file in deploy/, a scheduler address or a scheduler file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Literal

from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dnuc.errors import JobError, closest

ADDRESS = ("tcp://", "tls://", "ws://", "wss://", "inproc://")


class Deployment(BaseModel):
    """What every place has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def connect(self) -> AbstractContextManager[Client]:
        """A client of the place's Dask cluster, closed (with the cluster, if it was started here) afterwards."""
        raise TypeError(f"{type(self).__name__} does not say how to connect")

    def task_memory(self) -> int | None:
        """Bytes of one worker thread, if known before connecting."""
        return None


class Local(Deployment):
    """Worker processes on this machine, reachable from this machine only."""

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1)] | None = None  # processes; one a core when absent
    threads: Annotated[int, Field(ge=1)] = 1  # tasks a worker runs at once
    memory: str = "auto"  # of one worker; "auto": its share of the machine's
    dashboard: str = "127.0.0.1:0"  # port 0: any free one

    @field_validator("memory")
    @classmethod
    def _readable(cls, memory: str) -> str:
        if memory != "auto":
            parse_bytes(memory)
        return memory

    def processes(self) -> int:
        """Number of worker processes."""
        return self.workers or max(1, CPU_COUNT // self.threads)

    def worker_memory(self) -> int:
        """Bytes of one worker."""
        if self.memory != "auto":
            return parse_bytes(self.memory)
        return MEMORY_LIMIT // self.processes()

    def task_memory(self) -> int:
        return self.worker_memory() // self.threads

    @contextmanager
    def connect(self) -> Iterator[Client]:
        with (
            LocalCluster(
                n_workers=self.processes(),
                threads_per_worker=self.threads,
                memory_limit=self.worker_memory(),
                host="127.0.0.1",
                dashboard_address=self.dashboard,
                silence_logs=50,  # a task's exception reaches the client; workers need not print it too
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


class Scheduler(Deployment):
    """A scheduler that already runs: its address, or the file it wrote."""

    kind: Literal["scheduler"] = "scheduler"
    address: str | None = None
    file: Path | None = None
    timeout: str = "30s"  # to reach it

    @contextmanager
    def connect(self) -> Iterator[Client]:
        where = {"address": self.address} if self.address else {"scheduler_file": str(self.file)}
        with Client(**where, timeout=self.timeout) as client:
            yield client


KINDS: dict[str, type[Local] | type[Scheduler]] = {"local": Local, "scheduler": Scheduler}


def read_deployment(on: str | Path | None) -> Local | Scheduler:
    """The deployment that `--on` names.

    Parameters
    ----------
    on : None, address, .json or .toml
        None: this machine. An address such as tcp://10.0.0.1:8786, the scheduler file (.json) that
        `dask scheduler --scheduler-file` wrote, or a deployment file (.toml).

    Raises
    ------
    JobError
        If it is none of these, the file is missing, or it has unknown keys.
    """
    if on is None:
        return Local()
    text = str(on)
    if text.startswith(ADDRESS):
        return Scheduler(address=text)
    path = Path(text)
    if path.suffix not in (".toml", ".json"):
        raise JobError(
            f"--on {text!r}: give a scheduler address ({', '.join(ADDRESS[:2])}host:port), a scheduler file (.json) or "
            "a deployment file (.toml), e.g. deploy/local.toml"
        )
    if not path.is_file():
        raise JobError(f"--on {text!r}: no such file")
    if path.suffix == ".json":
        return Scheduler(file=path.resolve())
    return _parse(tomllib.loads(path.read_text(encoding="utf-8")), text)


def _parse(content: dict[str, object], where: str) -> Local | Scheduler:
    kind = content.get("kind")
    if kind not in KINDS:
        raise JobError(f"{where}: kind = {kind!r}; {closest(str(kind), KINDS)}")
    try:
        return KINDS[str(kind)].model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        if first["type"] == "extra_forbidden":
            raise JobError(f"{where}: unknown key {key!r}; {closest(key, KINDS[str(kind)].model_fields)}") from None
        raise JobError(f"{where}: {key}: {first['msg']} (given: {first.get('input')!r})") from None
