"""A SLURM partition: each worker is a batch job, submitted by dask-jobqueue."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import tomli_w
from dask.utils import parse_bytes
from distributed import Client
from pydantic import Field

from dnuc.cluster.deployment import Capacity, require_tls
from dnuc.cluster.places.mpi import Mpi
from dnuc.cluster.places.optional import need
from dnuc.cluster.places.workers import LOOPBACK_DASHBOARD, WORKER_OPTIONS, Workers
from dnuc.cluster.security import Beside
from dnuc.cluster.submission import Order, Receipt, call, receipt
from dnuc.errors import JobError
from dnuc.location import ObjectPath

SCRIPT, PLACE = "submitted.sbatch", "submitted.toml"  # in the run directory
LEFT = 300  # seconds before its time is up at which a job stops its run and goes into the queue again

# Bash answers a signal only when what it waits for has ended, or while it waits for what runs in the background.
BATCH = """#!/usr/bin/env bash
{directives}

{setup}
again=
trap 'again=yes; kill -TERM "$client"' TERM
{command} &
client=$!
wait "$client"
status=$?
if [ -n "$again" ]; then
    wait "$client"
    status=$?
fi
if [ -n "$again" ] && [ "$status" -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


class Slurm(Workers):
    """One worker a batch job; the scheduler and the client are here, on a node that the jobs can reach.

    Jobs start when the queue lets them, and the run begins with the first. A job that reaches its time limit is not
    submitted again (dask-jobqueue cannot): give it the time that the run needs, or use `dnuc submit`, whose one batch
    job puts itself into the queue again until the run is finished.
    """

    kind: Literal["slurm"] = "slurm"
    workers: Annotated[int, Field(ge=1)]
    python: str = sys.executable  # of the workers' environment, which has the same dnuc
    partition: str | None = None
    account: str | None = None
    time: str = "1-00:00:00"  # of a job, as SLURM writes it: days-hours:minutes:seconds
    gpus: Annotated[int, Field(ge=0)] = 0  # of a worker
    directives: tuple[str, ...] = ()  # more #SBATCH lines, e.g. "--qos=long"
    setup: tuple[str, ...] = ()  # shell commands before a worker starts, e.g. "module load cuda"
    interface: str | None = None  # network of the scheduler and the workers, e.g. "ib0"
    logs: Beside | None = None  # directory for what the jobs print; where the command was started when absent
    wait: str = "1d"  # for the first worker

    def check(self) -> None:
        super().check()
        require_tls(self, "workers in SLURM jobs")

    def capacity(self) -> Capacity:
        return self.size(self.workers)

    def arguments(self) -> dict[str, Any]:
        """What dask_jobqueue.SLURMCluster is called with."""
        found: dict[str, Any] = {
            "cores": self.threads,
            "processes": 1,
            "job_cpu": self.threads * self.cores,
            "memory": self.memory,
            "queue": self.partition,
            "account": self.account,
            "walltime": self.time,
            "python": self.python,
            "interface": self.interface,
            "job_name": "dnuc-worker",
            "job_extra_directives": self._directives(),
            "job_script_prologue": list(self.setup),
            "worker_extra_args": list(WORKER_OPTIONS),
            "scheduler_options": {"dashboard_address": LOOPBACK_DASHBOARD},
            "log_directory": None if self.logs is None else str(self.logs),
        }
        return found | ({} if self.tls is None else {"security": self.tls.security()})

    def submit(self, order: Order) -> Receipt:
        """One batch job for everything: scheduler and client on its first node, a worker on each of its tasks."""
        launcher = f"srun --ntasks={self.workers} --cpus-per-task={self.threads * self.cores}"
        same = {name: getattr(self, name) for name in ("cores", "device", "tls", "insecure", "threads", "memory")}
        place = Mpi(launcher=launcher, python=self.python, interface=self.interface, wait="600s", **same)
        if isinstance(order.run, ObjectPath):
            raise JobError(
                f"{order.run}: a batch job needs its script and its log on a disk that the nodes share. Give a run "
                "directory there, or write the script by hand, as deploy/slurm.sbatch shows: its `dnuc run` takes both"
            )
        (order.run / PLACE).write_text(tomli_w.dumps(place.model_dump(mode="json", exclude_none=True)))
        script = order.run / SCRIPT
        script.write_text(self.script(order), encoding="utf-8")
        number = call("sbatch", "--parsable", str(script)).strip().partition(";")[0]
        return receipt("slurm", number, f"squeue --jobs {number}")

    def script(self, order: Order) -> str:
        """The text of the batch job; deploy/slurm.sbatch is a longer one to write by hand."""
        cpus = self.threads * self.cores
        directives = [
            f"--job-name=dnuc-{order.name}",
            f"--ntasks={self.workers}",
            f"--cpus-per-task={cpus}",
            f"--mem-per-cpu={-(-parse_bytes(self.memory) // (cpus * 2**20))}M",
            f"--time={self.time}",
            f"--signal=B:TERM@{LEFT}",
            *("--requeue", "--open-mode=append", f"--output={order.run / 'log.txt'}"),
            *((f"--partition={self.partition}",) if self.partition else ()),
            *((f"--account={self.account}",) if self.account else ()),
            *self._directives(),
        ]
        command = shlex.join(order.command(self.python, on=str(order.run / PLACE)))
        return BATCH.format(
            directives="\n".join(f"#SBATCH {directive}" for directive in directives),
            setup="\n".join(self.setup),
            command=command,
        )

    def _directives(self) -> list[str]:
        return [*((f"--gpus-per-task={self.gpus}",) if self.gpus else ()), *self.directives]

    @contextmanager
    def connect(self) -> Iterator[Client]:
        jobqueue = need("dask_jobqueue", "slurm", 'kind = "slurm"')
        with jobqueue.SLURMCluster(**self.arguments()) as cluster:
            cluster.scale(jobs=self.workers)
            with Client(cluster) as client:
                yield client
