"""One stage of a run under way: how much is done, how fast, what it cost, and how long it will yet take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from dnuc.cluster.metering import Meter
from dnuc.cluster.records import StageRecord
from dnuc.units import pace, troubles


class Stage:
    """One stage under way.

    Where units differ in size, `flop_total` says how much work all of them are: then the time that is left follows
    from the work that is left, not from the number of units.

    The first tasks may compile, start a worker's libraries or load a network, so no time is told before a task is done
    that began after another was done; it follows from the speed since the first was done.
    """

    def __init__(
        self,
        show: Callable[[Stage], None],
        name: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        flop_total: float = 0.0,
        meter: Meter | None = None,
    ) -> None:
        self._show, self.name, self.total, self.unit = show, name, total, unit
        self.done, self.resumed = done, done
        self.flop, self.flop_resumed, self.flop_total = 0.0, 0.0, flop_total
        self.note = ""
        self.meter = meter or Meter()
        self.started = self.line_at = self.log_at = time.monotonic()
        self._first: tuple[float, float] | None = None  # seconds and work when the first task was done
        self.state: Literal["running", "done", "stopped"] = "running"

    def advance(self, count: int = 1, note: str = "", *, flop: float = 0.0) -> None:
        """Some more is done; `note` is shown beside the bar."""
        self.done += count
        self.flop += flop
        self.note = note or self.note
        if self._first is None and self.meter.done:
            self._first = self.seconds, self._own_work
        self._show(self)

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
        return (self.done - self.resumed) / max(self.seconds, 1e-9)

    @property
    def _own_work(self) -> float:
        """What this attempt did."""
        return self.flop - self.flop_resumed if self.flop_total else self.done - self.resumed

    def _left(self, seconds: float) -> float | None:
        """Seconds to the end at the speed of this attempt; None where there is none to tell."""
        left = self.flop_total - self.flop if self.flop_total else self.total - self.done
        began, before = 0.0, 0.0
        if self.meter.done:
            if not self.meter.warm or self._first is None:
                return None
            began, before = self._first
        own = self._own_work - before
        if self.state != "running" or own <= 0:
            return None
        return round(max(0.0, left) / own * (seconds - began), 3)

    def line(self) -> str:
        """The state as one plain line."""
        record = self.record()
        parts = [f"{self.name}: {self.done}/{self.total} {self.unit}", pace(record), *troubles(record)]
        return ", ".join([*parts, *([record["note"]] if record["note"] else [])])

    def record(self) -> StageRecord:
        """The state for progress.json."""
        seconds, meter = self.seconds, self.meter  # read once: rates and times are of the same moment
        each = 1 / max(seconds, 1e-9)
        passed = meter.traffic
        record = StageRecord(
            name=self.name,
            state=self.state,
            done=self.done,
            total=self.total,
            unit=self.unit,
            resumed=self.resumed,
            note=self.note or ("" if meter.done else meter.note),
            seconds=round(seconds, 6),
            per_second=round((self.done - self.resumed) * each, 4),
            seconds_left=self._left(seconds),
            bytes_read=passed.read,
            bytes_written=passed.written,
            bytes_read_per_second=round(passed.read * each),
            bytes_written_per_second=round(passed.written * each),
            tasks_begun=meter.begun,
            tasks_done=meter.done,
            tasks_running=meter.unfinished,
            retries=meter.retries,
            repeated=meter.repeated,
            peak_memory=dict(meter.peak_memory),
        )
        if self.flop_total:
            own = self.flop - self.flop_resumed
            record |= {"flop": self.flop, "flop_total": self.flop_total, "flop_per_second": round(own * each)}
        return record
