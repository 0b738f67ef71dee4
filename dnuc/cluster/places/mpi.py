"""Workers that a launcher starts: mpirun, or srun inside of a batch job."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Literal

from distributed import Client
from distributed import Scheduler as DaskScheduler
from distributed.deploy.spec import SpecCluster
from pydantic import field_validator

from dnuc.cluster.deployment import IGNORE_CTRL_C, require_tls
from dnuc.cluster.places.workers import LOOPBACK_DASHBOARD, WORKER_OPTIONS, Workers
from dnuc.cluster.security import is_loopback
from dnuc.errors import ResourceError

DEATH = 60  # seconds without a scheduler after which a worker ends
LEAVE = 15.0  # seconds that the launcher has to end after its workers were told to


class Mpi(Workers):
    """A launcher starts a worker on each of its ranks; the scheduler is here, in the process of the client.

    The launcher need not be mpirun: whatever starts a command several times, on one machine or on many, will do.
    """

    kind: Literal["mpi"] = "mpi"
    launcher: str = "mpirun"  # with its options; what follows is the command that each rank runs
    python: str = sys.executable  # of the workers' environment, which has the same dnuc
    host: str | None = None  # where the scheduler listens; on all addresses of this machine when absent
    interface: str | None = None  # network of the scheduler and the workers, instead of `host`, e.g. "ib0"

    @field_validator("launcher")
    @classmethod
    def _not_empty(cls, launcher: str) -> str:
        if not shlex.split(launcher):
            raise ValueError('a command such as "mpirun -n 4" is needed')
        return launcher

    def check(self) -> None:
        super().check()
        if self.host is None or not is_loopback(self.host):
            require_tls(self, "workers on other machines")

    def command(self, address: str) -> list[str]:
        """What starts the workers of the scheduler at an address."""
        network = ["--interface", self.interface] if self.interface else ["--host", self.host] if self.host else []
        return [
            *shlex.split(self.launcher),
            *(self.python, "-m", "dask", "worker", address),
            *("--nthreads", str(self.threads), "--memory-limit", self.memory),
            *network,
            *("--death-timeout", str(DEATH), "--preload", IGNORE_CTRL_C),
            *WORKER_OPTIONS,
            *(self.tls.arguments() if self.tls is not None else ()),
        ]

    @contextmanager
    def connect(self) -> Iterator[Client]:
        security = None if self.tls is None else self.tls.security()
        options = {
            "protocol": "tcp://" if self.tls is None else "tls://",
            "security": security,
            "host": self.host,
            "interface": self.interface,
            "dashboard_address": LOOPBACK_DASHBOARD,
        }
        scheduler = {"cls": DaskScheduler, "options": options}
        with ExitStack() as stack:
            output = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
            launched: list[subprocess.Popen[bytes]] = []
            stack.callback(_end, launched)  # after the cluster is closed, which tells the workers to end
            cluster = stack.enter_context(SpecCluster(scheduler=scheduler, security=security, silence_logs=50))
            launched.append(self._launch(cluster.scheduler_address, output))
            self._first_worker(cluster, launched[0], output)
            yield stack.enter_context(Client(cluster))

    def _launch(self, address: str, output: IO[str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(self.command(address), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        except OSError as error:
            raise ResourceError(f"launcher = {self.launcher!r} cannot be started: {error}") from None

    def _first_worker(self, cluster: SpecCluster, launcher: subprocess.Popen[bytes], output: IO[str]) -> None:
        """Wait for it here, where the launcher can be seen to fail."""
        end = time.monotonic() + self.patience
        while not cluster.scheduler_info["workers"] and time.monotonic() < end:
            if launcher.poll() is not None:
                output.seek(0)
                told = output.read().strip().splitlines()[-5:]
                raise ResourceError(
                    f"launcher = {self.launcher!r} ended with {launcher.returncode} before a worker came: "
                    + (" | ".join(told) or "it printed nothing")
                )
            time.sleep(0.1)


def _end(launched: list[subprocess.Popen[bytes]]) -> None:
    """Wait until the launcher has ended as its workers did, and end it if it does not."""
    for launcher in launched:
        try:
            launcher.wait(LEAVE)
        except subprocess.TimeoutExpired:
            launcher.terminate()
            launcher.wait()
