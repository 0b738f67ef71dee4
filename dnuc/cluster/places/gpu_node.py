"""A machine with GPUs: one worker each, reachable from this machine only."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import dask
from dask.utils import parse_bytes
from distributed import Client, Nanny
from distributed import Scheduler as DaskScheduler
from distributed.deploy.spec import SpecCluster
from distributed.system import MEMORY_LIMIT
from pydantic import Field, field_validator

from dnuc.cluster.deployment import IGNORE_CTRL_C, WORKER_ENVIRONMENT, Capacity, Deployment, task_memory
from dnuc.cluster.places.local import enough_memory
from dnuc.errors import ResourceError


class GpuNode(Deployment):
    """A worker process for each GPU, which sees that GPU alone.

    dask-cuda (LocalCUDACluster) also binds each worker to the cores near its GPU; it is used where it is installed.
    """

    kind: Literal["gpu-node"] = "gpu-node"
    device: Annotated[str, Field(pattern=r"^(cpu|cuda)$")] = "cuda"
    gpus: Annotated[tuple[int | str, ...], Field(min_length=1)] | None = None  # numbers or UUIDs; all when absent
    memory: str = "auto"  # of one worker; "auto": its share of the machine's
    dashboard: str = "127.0.0.1:0"  # port 0: any free one
    dask_cuda: bool | None = None  # whether to use it; where it is installed when absent

    @field_validator("memory")
    @classmethod
    def _readable(cls, memory: str) -> str:
        return memory if memory == "auto" else enough_memory(memory)

    def check(self) -> None:
        self.visible()

    def visible(self) -> tuple[str, ...]:
        """The GPUs as CUDA_VISIBLE_DEVICES names them.

        Raises
        ------
        ResourceError
            If this machine shows none.
        """
        found = tuple(str(gpu) for gpu in self.gpus) if self.gpus is not None else visible_gpus()
        if not found:
            raise ResourceError(
                'kind = "gpu-node": this machine shows no NVIDIA GPU (CUDA_VISIBLE_DEVICES is empty or `nvidia-smi -L` '
                "lists none): run on a machine with GPUs, name them in gpus = [...], or use deploy/local.toml"
            )
        return found

    def worker_memory(self) -> int:
        """Bytes of one worker."""
        return parse_bytes(self.memory) if self.memory != "auto" else MEMORY_LIMIT // len(self.visible())

    def capacity(self) -> Capacity:
        return Capacity(task_memory(self.worker_memory(), 1), len(self.visible()), self.cores, self.device)

    def with_dask_cuda(self) -> bool:
        """Whether LocalCUDACluster starts the workers.

        Raises
        ------
        ResourceError
            If the deployment asks for it and it is not installed.
        """
        installed = importlib.util.find_spec("dask_cuda") is not None
        if self.dask_cuda and not installed:
            raise ResourceError("dask_cuda = true needs dask-cuda: pip install 'dnuc[gpu]'")
        return installed if self.dask_cuda is None else self.dask_cuda

    def arguments(self) -> dict[str, Any]:
        """What dask_cuda.LocalCUDACluster is called with."""
        return {
            "CUDA_VISIBLE_DEVICES": ",".join(self.visible()),
            "threads_per_worker": 1,
            "memory_limit": self.worker_memory(),
            "host": "127.0.0.1",
            "dashboard_address": self.dashboard,
            "preload": [IGNORE_CTRL_C],
            "silence_logs": 50,
        }

    def workers(self) -> dict[str, dict[str, Any]]:
        """The workers as distributed.SpecCluster takes them, where dask-cuda is not used."""
        options = {
            "nthreads": 1,
            "memory_limit": self.worker_memory(),
            "host": "127.0.0.1",
            "preload": [IGNORE_CTRL_C],
            "silence_logs": 50,
        }
        return {
            f"gpu-{gpu}": {"cls": Nanny, "options": {**options, "env": {"CUDA_VISIBLE_DEVICES": gpu}}}
            for gpu in self.visible()
        }

    def _cluster(self) -> Any:
        if self.with_dask_cuda():
            from dask_cuda import LocalCUDACluster

            return LocalCUDACluster(**self.arguments())
        options = {"host": "127.0.0.1", "dashboard_address": self.dashboard}
        scheduler = {"cls": DaskScheduler, "options": options}
        return SpecCluster(scheduler=scheduler, workers=self.workers(), silence_logs=50)

    @contextmanager
    def connect(self) -> Iterator[Client]:
        with (
            dask.config.set({f"distributed.nanny.pre-spawn-environ.{k}": v for k, v in WORKER_ENVIRONMENT.items()}),
            self._cluster() as cluster,
            Client(cluster) as client,
        ):
            yield client


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return tuple(gpu.strip() for gpu in told.split(",") if gpu.strip() not in ("", "-1"))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU")))
