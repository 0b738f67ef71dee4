"""What the tasks of a stage cost: counted at the client, from what workers tell and what comes back with results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dnuc.cluster.attempt import Outcome, this_process
from dnuc.traffic import Traffic, total_traffic

SUBMITTED, BEGUN, FAILED = range(3)


class Meter:
    """Counts of one stage.

    Attributes
    ----------
    begun : attempts at tasks that began
    retries : those of them that were made again after an error
    repeated : those that were made again because what an earlier one did was lost: its worker died or was cut off
    done : tasks whose result is here
    warm : whether a task is done that began after another was done; before, some may have spent their time on what is
        done once: starting, compiling, loading a network
    peak_memory : of each worker by name, in bytes
    note : what a task said last of itself

    Dask's thread tells what begins, the run's own what is done.
    """

    def __init__(self, log: Callable[[str], None] = lambda text: None) -> None:
        self._log = log
        self.begun = self.retries = self.repeated = self.done = 0
        self.warm, self.note = False, ""
        self.peak_memory: dict[str, int] = {}
        self._traffic: dict[tuple[str, str], Traffic] = {}
        self._here, self._start = this_process(), total_traffic()
        self._state: dict[str, int] = {}  # of the tasks that are not done, by key
        self._late: set[str] = set()  # those of them that began after another was done
        self._changing = threading.Lock()

    def submitted(self, key: str) -> None:
        """A task is on its way to a worker."""
        with self._changing:
            self._state[key] = SUBMITTED

    def event(self, event: dict[str, Any]) -> None:
        """What a worker tells: events of others on the same topic are ignored."""
        key, what = event.get("key", ""), event.get("dnuc")
        with self._changing:
            before = self._state.get(key)
            if before is None:
                return
            if what == "note":
                self.note = event["text"]
            elif what == "failed":
                self._state[key] = FAILED
                self._log(f"{key} failed on worker {event['worker']}: {event['error']}")
            elif what == "begun":
                self._begin(key, before, event["worker"])

    def _begin(self, key: str, before: int, worker: str) -> None:
        self._state[key] = BEGUN
        self.begun += 1
        if self.done:
            self._late.add(key)
        if before == FAILED:
            self.retries += 1
            self._log(f"{key} is tried again on worker {worker}")
        elif before == BEGUN:
            self.repeated += 1
            self._log(f"{key} begins again on worker {worker}: the worker that it ran on died or was cut off")

    def finished(self, key: str, outcome: Outcome) -> None:
        """The result of a task is here."""
        with self._changing:
            self.done += 1
            self.warm |= key in self._late
            self._late.discard(key)
            if self._state.pop(key, BEGUN) == SUBMITTED:
                self.begun += 1  # what it told is still on its way
            worker, process = outcome.worker, outcome.process
            self.peak_memory[worker] = max(self.peak_memory.get(worker, 0), outcome.peak_memory)
            if process != self._here:
                place = (process, outcome.measure)
                before, now = self._traffic.get(place, Traffic()), outcome.traffic  # results may overtake each other
                self._traffic[place] = Traffic(max(before.read, now.read), max(before.written, now.written))

    @property
    def unfinished(self) -> int:
        """Tasks that began and are not done."""
        with self._changing:
            return sum(state != SUBMITTED for state in self._state.values())

    @property
    def traffic(self) -> Traffic:
        """Bytes that passed in all processes, this one included."""
        with self._changing:
            parts = [total_traffic().since(self._start), *self._traffic.values()]
        return Traffic(sum(part.read for part in parts), sum(part.written for part in parts))


_current: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Tasks that are run in the block, by whatever function, are counted by a meter."""
    before = _current.set(meter)
    try:
        yield
    finally:
        _current.reset(before)


def current_meter() -> Meter | None:
    """The meter of the stage under way; None where nobody watches."""
    return _current.get()
