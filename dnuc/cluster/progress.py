"""Progress: one bar a stage on a terminal, plain lines elsewhere, progress.json always."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from dnuc.cluster.metering import Meter, metered
from dnuc.cluster.records import FORMAT, AttemptRecord, ClusterRecord, StageRecord
from dnuc.cluster.stage import Stage
from dnuc.errors import StoreError
from dnuc.location import Location, ObjectPath, journal, replace_file
from dnuc.units import pace, troubles

LINE_EVERY = 10.0  # seconds between plain lines
LOG_EVERY = 60.0  # seconds between lines of log.txt
FILE_EVERY = 1.0  # seconds between writes of progress.json
OBJECT_EVERY = 5.0  # the same on an object store, where each takes a while, and of log.txt, which is written anew
BEAT_EVERY = 5.0  # seconds between looks at a stage that does not advance


def _bars(console: Console) -> Bars:
    return Bars(
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
    )


class Progress:
    """Where a run tells how far it is."""

    def __init__(
        self, directory: Location | None = None, *, quiet: bool = False, header: dict[str, Any] | None = None
    ) -> None:
        self._directory, self._quiet = directory, quiet
        self._journal = None if directory is None else journal(directory / "log.txt")
        self._every = OBJECT_EVERY if isinstance(directory, ObjectPath) else FILE_EVERY
        earlier = read_progress(directory) if directory is not None else None
        self._header = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time(), **(header or {})}
        self._attempt = 1 + (earlier.get("attempt", 0) if earlier else 0)
        self._cut_off = _unfinished(earlier)
        self.cluster: ClusterRecord | None = None
        self._records: list[StageRecord] = []
        self._console = Console(file=sys.stderr)
        self._bars: Bars | None = None
        self._bar: Any = None
        self._written = 0.0
        self._state, self._message = "running", ""
        self._writing = threading.Lock()  # events of tasks arrive in Dask's thread

    def say(self, text: str) -> None:
        """A line for the user and for log.txt."""
        if not self._quiet:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.log(text)

    def log(self, text: str) -> None:
        """A line for log.txt alone."""
        if self._journal is not None:
            with suppress(OSError, StoreError):
                self._journal.add(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def start_afresh(self) -> None:
        """The job is another than that of the earlier attempt: nothing that this one does is repeated."""
        self._cut_off = {}

    @contextmanager
    def stage(self, name: str, total: int, unit: str, done: int = 0, *, flop_total: float = 0.0) -> Iterator[Stage]:
        """A stage of `total` units, `done` of which an earlier attempt finished; of so much work, if that is known."""
        meter = Meter(self.log)
        meter.repeated = min(self._cut_off.pop(name, 0), total - done)
        stage = Stage(self.show, name, total, unit, done=done, flop_total=flop_total, meter=meter)
        terminal = self._console.is_terminal and not self._quiet
        self._bars = _bars(self._console) if terminal else None
        if self._bars is not None:
            self._bars.start()
            self._bar = self._bars.add_task(name, total=total, completed=done, unit=unit, pace="", note="")
        try:
            self.show(stage)
            self._write(stage)  # the first of its units may take long
            with metered(meter), self._beating(stage):
                yield stage
            stage.state = "done"
        except BaseException:
            stage.state = "stopped"
            raise
        finally:
            if self._bars is not None:
                self._bars.stop()
                self._bars = None
            elif not self._quiet:
                self._console.print(f"{stage.line()}, {stage.seconds:.1f} s", highlight=False, markup=False)
            self.log(f"{stage.line()}, {stage.seconds:.1f} s, {stage.state}")
            self._write(stage)
            self._records.append(stage.record())

    @contextmanager
    def _beating(self, stage: Stage) -> Iterator[None]:
        """Show a stage now and then also while it does not advance: who reads the file sees that the run is alive."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_EVERY):
                self.show(stage)

        thread = threading.Thread(target=beat, name="dnuc-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def show(self, stage: Stage) -> None:
        """Draw the bar, or a line now and then; write progress.json now and then."""
        now, bars = time.monotonic(), self._bars
        if bars is not None:
            record = stage.record()
            told = ", ".join([pace(record), *troubles(record)])
            bars.update(self._bar, completed=stage.done, pace=told, note=record["note"])
        elif not self._quiet and now - stage.line_at > LINE_EVERY:
            stage.line_at = now
            self._console.print(stage.line(), highlight=False, markup=False)
        if now - stage.log_at > LOG_EVERY:
            stage.log_at = now
            self.log(stage.line())
        if now - self._written > self._every:
            self._write(stage)

    def end(self, state: str, message: str = "") -> None:
        """The run's last state: finished, failed or stopped; and why, if it failed."""
        self._state, self._message = state, message
        self._write(None)

    def _write(self, stage: Stage | None) -> None:
        if self._directory is None or self._journal is None:
            return
        self._written = time.monotonic()
        with self._writing, suppress(OSError, StoreError):  # a full disk is told by whoever needs it to go on
            content = {
                "format": FORMAT,
                **self._header,
                "attempt": self._attempt,
                "state": self._state,
                "message": self._message,
                "updated": time.time(),
                "cluster": self.cluster,
                "stages": self._records + ([stage.record()] if stage else []),
            }
            replace_file(self._directory / "progress.json", json.dumps(content, indent=1))
            self._journal.flush()


def read_progress(directory: Location) -> AttemptRecord | None:
    """What progress.json tells; None if no attempt came, or the file was left behind or emptied by a power cut."""
    try:
        content: AttemptRecord = json.loads((directory / "progress.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content


def _unfinished(earlier: AttemptRecord | None) -> dict[str, int]:
    """Tasks of an earlier attempt that had begun when it ended, by stage: what they did is done again."""
    last = earlier["stages"][-1] if earlier and earlier["stages"] else None
    return {last["name"]: last.get("tasks_running", 0)} if last and last["state"] != "done" else {}
