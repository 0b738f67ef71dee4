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

from dnuc.errors import StoreError
from dnuc.location import Location, ObjectPath, journal, replace_file
from dnuc.units import pace

LINE_EVERY = 10.0  # seconds between plain lines
FILE_EVERY = 1.0  # seconds between writes of progress.json
OBJECT_EVERY = 5.0  # the same on an object store, where each takes a while, and of log.txt, which is written anew


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


class Stage:
    """One stage under way: how much is done, of how much, and how fast.

    Where units differ in size, `flop_total` says how much work all of them are: then the time that is left follows
    from the work that is left, not from the number of units.
    """

    def __init__(self, owner: Progress, name: str, total: int, unit: str, done: int, flop_total: float) -> None:
        self._owner, self.name, self.total, self.unit = owner, name, total, unit
        self.done, self.resumed = done, done
        self.flop, self.flop_resumed, self.flop_total, self.bytes_read = 0.0, 0.0, flop_total, 0
        self.note = ""
        self.started = self._line_at = time.monotonic()
        self.state = "running"

    def advance(self, count: int = 1, note: str = "", *, flop: float = 0.0, bytes_read: int = 0) -> None:
        """Some more is done; `note` is shown beside the bar."""
        self.done += count
        self.flop += flop
        self.bytes_read += bytes_read
        self.note = note or self.note
        self._owner.show(self)

    def resume(self, count: int, flop: float = 0.0) -> None:
        """An earlier attempt turns out to have done some: it is done, but says nothing about the speed."""
        self.resumed += count
        self.flop_resumed += flop
        self.advance(count, flop=flop)

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Units a second of this attempt."""
        return self._rate(self.seconds)

    def _rate(self, seconds: float) -> float:
        return (self.done - self.resumed) / max(seconds, 1e-9)

    def _left(self, seconds: float) -> float | None:
        """Seconds to the end at the speed of this attempt; None where there is none to tell."""
        done, resumed, total = self.done, self.resumed, self.total
        work = (self.flop, self.flop_resumed, self.flop_total) if self.flop_total else (done, resumed, total)
        now, before, end = work
        if self.state != "running" or now <= before:
            return None
        return round(max(0.0, end - now) / (now - before) * seconds, 3)

    def line(self) -> str:
        """The state as one plain line."""
        note = f", {self.note}" if self.note else ""
        return f"{self.name}: {self.done}/{self.total} {self.unit}, {pace(self.record())}{note}"

    def record(self) -> dict[str, Any]:
        """The state for progress.json."""
        seconds = self.seconds  # read once: rates and times are of the same moment
        return {
            "name": self.name,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "resumed": self.resumed,
            "seconds": round(seconds, 6),
            "per_second": round(self._rate(seconds), 4),
            "seconds_left": self._left(seconds),
            "note": self.note,
            **(self._work(seconds) if self.flop_total else {}),
        }

    def _work(self, seconds: float) -> dict[str, float]:
        return {
            "flop": self.flop,
            "flop_total": self.flop_total,
            "flop_per_second": round((self.flop - self.flop_resumed) / max(seconds, 1e-9)),
            "bytes_read": self.bytes_read,
            "bytes_per_second": round(self.bytes_read / max(seconds, 1e-9)),
        }


class Progress:
    """Where a run tells how far it is."""

    def __init__(
        self, directory: Location | None = None, *, quiet: bool = False, header: dict[str, Any] | None = None
    ) -> None:
        self._directory, self._quiet = directory, quiet
        self._journal = None if directory is None else journal(directory / "log.txt")
        self._every = OBJECT_EVERY if isinstance(directory, ObjectPath) else FILE_EVERY
        self._header = {"host": socket.gethostname(), "pid": os.getpid(), **(header or {})}
        self._records: list[dict[str, Any]] = []
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

    @contextmanager
    def stage(self, name: str, total: int, unit: str, done: int = 0, *, flop_total: float = 0.0) -> Iterator[Stage]:
        """A stage of `total` units, `done` of which an earlier attempt finished; of so much work, if that is known."""
        stage = Stage(self, name, total, unit, done, flop_total)
        terminal = self._console.is_terminal and not self._quiet
        self._bars = _bars(self._console) if terminal else None
        if self._bars is not None:
            self._bars.start()
            self._bar = self._bars.add_task(name, total=total, completed=done, unit=unit, pace="", note="")
        try:
            self.show(stage)
            self._write(stage)  # the first of its units may take long
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

    def show(self, stage: Stage) -> None:
        """Draw the bar, or a line now and then; write progress.json now and then."""
        now = time.monotonic()
        if self._bars is not None:
            self._bars.update(self._bar, completed=stage.done, pace=pace(stage.record()), note=stage.note)
        elif not self._quiet and now - stage._line_at > LINE_EVERY:
            stage._line_at = now
            self._console.print(stage.line(), highlight=False, markup=False)
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
        content = {
            **self._header,
            "state": self._state,
            "message": self._message,
            "updated": time.time(),
            "stages": self._records + ([stage.record()] if stage else []),
        }
        with self._writing, suppress(OSError, StoreError):  # a full disk is told by whoever needs it to go on
            replace_file(self._directory / "progress.json", json.dumps(content, indent=1))
            self._journal.flush()
