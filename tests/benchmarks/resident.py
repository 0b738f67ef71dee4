"""How much memory a run takes while it runs: that of all its processes together, by the stage it is in."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

EVERY = 0.2  # seconds between two looks
OUTSIDE = "between stages"


@dataclass
class Watched:
    """A command that ran.

    Attributes
    ----------
    seconds : float
        From its start to its end.
    cpu : float
        Seconds of processor time, of all processes that were seen.
    resident : dict
        By stage, the largest sum of resident memory over all processes in bytes. What processes share is counted for
        each of them, so that it is an upper bound.
    largest : dict
        By stage, the largest resident memory of one process.
    stages : list
        The records of progress.json at the end.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    resident: dict[str, int] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def peak(self) -> int:
        """The largest sum in any stage."""
        return max(self.resident.values(), default=0)


def watch(command: Sequence[str], run: Path) -> Watched:
    """Run a command that computes the run directory `run`, and look at its processes until it ends.

    Raises
    ------
    CalledProcessError
        If it fails; what it printed is in the message.
    """
    found, cpu, start = Watched(), dict[int, float](), time.monotonic()
    log = run.parent / "output.txt"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            _look(found, cpu, psutil.Process(process.pid), current_stage(run))
            time.sleep(EVERY)
    found.seconds, found.cpu = time.monotonic() - start, sum(cpu.values())
    found.stages = _progress(run).get("stages", [])
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, log.read_text(encoding="utf-8"))
    return found


def _look(found: Watched, cpu: dict[int, float], parent: psutil.Process, stage: str) -> None:
    """One look at a process and all it has started."""
    sizes = []
    try:
        processes = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            sizes.append(process.memory_info().rss)
            times = process.cpu_times()
        except psutil.Error:  # it has just ended
            continue
        cpu[process.pid] = times.user + times.system
    found.resident[stage] = max(found.resident.get(stage, 0), sum(sizes))
    found.largest[stage] = max(found.largest.get(stage, 0), *sizes, 0)


def current_stage(run: Path) -> str:
    """The stage that a run says it is in."""
    stages = _progress(run).get("stages", [])
    return str(stages[-1]["name"]) if stages and stages[-1]["state"] == "running" else OUTSIDE


def _progress(run: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((run / "progress.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
