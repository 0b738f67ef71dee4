"""A deployment: *where* a job runs, read from a file in deploy/, a scheduler address or a scheduler file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dnuc.errors import JobError, ResourceError, closest

ADDRESS = ("tcp://", "tls://", "ws://", "wss://", "inproc://")
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


@dataclass(frozen=True)
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

    def connect(self) -> AbstractContextManager[Client]:
        """A client of the place's Dask cluster, closed (with the cluster, if it was started here) afterwards."""
        raise TypeError(f"{type(self).__name__} does not say how to connect")

    def capacity(self) -> Capacity | None:
        """What tasks may use, if known before connecting."""
        return None


class Local(Deployment):
    """Worker processes on this machine, reachable from this machine only."""

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1)] | None = None  # processes; as many as cores and memory allow when absent
    threads: Annotated[int, Field(ge=1)] = 1  # tasks a worker runs at once
    memory: str = "auto"  # of one worker; "auto": its share of the machine's
    dashboard: str = "127.0.0.1:0"  # port 0: any free one

    @field_validator("memory")
    @classmethod
    def _readable(cls, memory: str) -> str:
        if memory != "auto" and parse_bytes(memory) < LEAST:
            raise ValueError(
                f"a worker needs at least {LEAST // 2**30} GiB: its libraries alone take about half of that"
            )
        return memory

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
                dashboard_address=self.dashboard,
                preload=[IGNORE_CTRL_C],
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

    @model_validator(mode="after")
    def _one_place(self) -> Scheduler:
        if (self.address is None) == (self.file is None):
            raise ValueError("a scheduler needs either 'address' or 'file'")
        return self

    @contextmanager
    def connect(self) -> Iterator[Client]:
        where = {"address": self.address} if self.address else {"scheduler_file": str(self.file)}
        try:
            client = Client(**where, timeout=self.timeout)
        except OSError as error:
            raise ResourceError(
                f"no Dask scheduler answers at {self.address or self.file}: {error}. Is it running, and can this "
                "machine reach it?"
            ) from None
        with client:
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
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"--on {text!r} is not valid TOML: {error}") from None
    return _parse(content, text)


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
        message = first["msg"].removeprefix("Value error, ")
        given = f"{key}: {message} (given: {first.get('input')!r})" if key else message
        raise JobError(f"{where}: {given}") from None
