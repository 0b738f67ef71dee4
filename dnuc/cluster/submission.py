"""Runs that nobody waits for: what is started, how it is recorded, how it is ended before it began."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from dnuc.errors import ResourceError, StoreError
from dnuc.location import Location, ObjectPath

RECORD = "submitted.json"
IDENTITY = {"process": r"\d+", "slurm": r"\d+", "kubernetes": r"[a-z0-9][a-z0-9-]* in [a-z0-9][a-z0-9-]*"}


@dataclass(frozen=True)
class Order:
    """A run to start: `dnuc run JOB --on ON --out RUN`."""

    name: str  # of the job
    job: Path  # the job file
    on: str | None  # as `--on` takes it, with an absolute path
    run: Location  # the run directory

    def command(self, python: str = sys.executable, on: str | None = None) -> list[str]:
        """The command line; `on` replaces the deployment."""
        place = on or self.on
        return [
            *(python, "-m", "dnuc", "run", str(self.job), "--out", str(self.run), "--quiet"),
            *(("--on", place) if place else ()),
        ]


@dataclass(frozen=True)
class Receipt:
    """What was started."""

    by: str  # "process", "slurm" or "kubernetes"
    id: str  # process number, number of the SLURM job, name of the DaskJob
    host: str  # where it was submitted
    time: float
    follow: tuple[str, ...] = ()  # commands that tell more
    began: float = 0.0  # process: when it started; its number alone may later be another's

    def write(self, run: Location) -> None:
        """Record it in the run directory."""
        (run / RECORD).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def __str__(self) -> str:
        kind = {"process": "process", "slurm": "SLURM job", "kubernetes": "DaskJob"}[self.by]
        return f"{kind} {self.id}" + (f" on {self.host}" if self.by == "process" else "")


def receipt(by: str, identity: str, *follow: str, began: float = 0.0) -> Receipt:
    """The receipt of what was started just now."""
    return Receipt(by, identity, socket.gethostname(), time.time(), follow, began)


def read_receipt(run: Location) -> Receipt | None:
    """The last submission of a run directory."""
    try:
        content = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    found = Receipt(**content | {"follow": tuple(content["follow"])})
    if not re.fullmatch(IDENTITY.get(found.by, ""), found.id):  # it becomes an argument of scancel or kubectl
        raise StoreError(f"{run / RECORD} names {found.by!r} {found.id!r}: dnuc did not write that; remove it")
    return found


def start_process(order: Order) -> Receipt:
    """A client process of its own session, which outlives the terminal; what it prints goes to the run's log.

    Of a run on an object store it goes to a file of this machine, for nothing can be appended to an object.
    """
    log_file = _local_log(order) if isinstance(order.run, ObjectPath) else order.run / "log.txt"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            order.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay as a zombie while this process lives
    follow = (f"cat {shlex.quote(str(log_file))}",) if isinstance(order.run, ObjectPath) else ()
    return receipt("process", str(process.pid), *follow, began=psutil.Process(process.pid).create_time())


def _local_log(order: Order) -> Path:
    number, path = tempfile.mkstemp(prefix=f"dnuc-{order.name}-", suffix=".log")
    os.close(number)
    return Path(path)


def call(program: str, *arguments: str, given: str | None = None) -> str:
    """What a program of the batch system prints.

    Raises
    ------
    ResourceError
        If it is not on this machine, or refuses; with what it says.
    """
    if shutil.which(program) is None:
        raise ResourceError(f"`{program}` is not on this machine: submit from one that has it")
    ran = subprocess.run([program, *arguments], input=given, capture_output=True, text=True)
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip()
        raise ResourceError(f"`{program} {' '.join(arguments[:2])}` failed ({ran.returncode}): {said}")
    return ran.stdout


def withdraw(submitted: Receipt) -> str | None:
    """End what was submitted and has not begun to run, or would start again; says what was done, None if nothing was.

    Raises
    ------
    ResourceError
        If the batch system's own command is not on this machine, or refuses.
    """
    if submitted.by == "slurm":
        state = _slurm_state(submitted.id)
        if state is None:
            return None
        call("scancel", submitted.id)
        return f"{submitted} ({state.lower()}) was cancelled"
    if submitted.by == "kubernetes":
        name, _, namespace = submitted.id.partition(" in ")
        call("kubectl", "--namespace", namespace, "delete", "daskjob,configmap", name, "--ignore-not-found")
        return f"{submitted} was deleted"
    return _end_process(submitted)


def _slurm_state(number: str) -> str | None:
    """PENDING, RUNNING, ...; None for a job that has ended, which SLURM forgets after some minutes."""
    try:
        told = call("squeue", "--noheader", "--format=%T", "--jobs", number).split()
    except ResourceError as error:
        if "Invalid job id" in str(error):
            return None
        raise
    return told[0] if told else None


def _end_process(submitted: Receipt) -> str | None:
    if submitted.host != socket.gethostname():
        return None
    try:
        same = abs(psutil.Process(int(submitted.id)).create_time() - submitted.began) < 0.1
    except psutil.Error:
        return None
    if not same:
        return None
    os.kill(int(submitted.id), signal.SIGTERM)
    return f"{submitted} ended by SIGTERM before the run began"
