"""What `dnuc status` shows: what a run holds, and how its last attempt goes or went."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psutil
from rich.console import Console
from rich.table import Table

from dnuc.units import duration, pace, size, troubles

if TYPE_CHECKING:
    from dnuc.cluster.records import AttemptRecord, StageRecord
    from dnuc.store import Survey

SILENT = 60.0  # seconds without a word in a stage, in which progress.json is written every few seconds


def attempt_lines(attempt: AttemptRecord | None) -> Iterator[str]:
    """How the last attempt ended, or goes and where it can be watched."""
    if attempt is None:
        yield "last attempt: none is recorded (there is no progress.json that can be read)"
        return
    state: str = attempt["state"]
    alive = state == "running"
    silent = time.time() - attempt["updated"]
    if alive and attempt["host"] == socket.gethostname() and not psutil.pid_exists(attempt["pid"]):
        state, alive = "died (its process is gone); the same command goes on from where it was", False
    message = f": {attempt['message']}" if attempt.get("message") else ""
    yield f"last attempt: {state}, told {duration(silent)} ago{message}"
    if not alive:
        return
    if silent > SILENT and any(stage["state"] == "running" for stage in attempt["stages"]):
        yield f"  it is silent: process {attempt['pid']} on {attempt['host']} hangs, or its machine is cut off"
    if place := attempt.get("cluster"):
        from dnuc.cluster.dashboard import told  # Dask takes a second to import

        yield f"  {place['workers']} workers, {place['threads']} threads, scheduler {place['scheduler']}"
        yield f"  dashboard: {told(place['dashboard'])}"


def print_stages(found: Survey, attempt: AttemptRecord | None) -> None:
    """A row a stage: what is stored, what the last attempt did, and the most memory that a worker's process had."""
    table = Table()
    table.add_column("stage")
    for column in ("stored", "", "last attempt", "peak memory"):
        table.add_column(column, justify="right")
    for stage in found.stages:
        records = [r for r in (attempt["stages"] if attempt else []) if r["name"] == stage.name]
        table.add_row(stage.name, str(stage.whole), str(stage.pieces or ""), _done(records), _peak(records))
    Console(width=None if sys.stdout.isatty() else 170).print(table)


def _done(records: list[StageRecord]) -> str:
    """What an attempt did in a stage; a stage of several networks has a record for each."""
    if not records:
        return ""
    done, total, seconds = (sum(r[key] for r in records) for key in ("done", "total", "seconds"))
    again: dict[str, Any] = {key: sum(r.get(key, 0) for r in records) for key in ("retries", "repeated")}
    told = [f"{done:,}/{total:,} {records[-1]['unit']} in {seconds:.1f} s", pace(records[-1]), *troubles(again)]
    return ", ".join(told)


def _peak(records: list[StageRecord]) -> str:
    """Of the worker that had the most."""
    peaks = [bytes_ for r in records for bytes_ in r.get("peak_memory", {}).values()]
    return size(max(peaks)) if peaks else ""
