"""Workers that are not heard of: they hang, or their machine does, and whoever waits for the run should know."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from distributed import Client

from dnuc.cluster.progress import Progress

LOOK_EVERY = 5.0  # seconds between looks
UNHEARD = 30.0  # seconds without a heartbeat until that is told; each of thousands of workers sends one in 5 to 20
LIMIT = "distributed.scheduler.worker-ttl, 5 minutes unless it is set otherwise"


async def tell_silence(client: Client, progress: Progress) -> None:
    """Until it is cancelled: tell each worker that falls silent, and what becomes of it.

    A process that dies closes its connections, and the scheduler gives its tasks to others at once. One that is stopped
    or swapped out does not; its tasks wait until Dask gives it up, after minutes.
    """
    heard = _Heard(UNHEARD)
    scheduler: Any = client.scheduler
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            workers = (await scheduler.identity(n_workers=-1))["workers"]
        except (OSError, AttributeError):  # the scheduler does not answer: told by others
            continue
        for line in heard.news({name: worker["last_seen"] for name, worker in workers.items()}, time.monotonic()):
            progress.say(line)


class _Heard:
    """When each worker was last heard of.

    The scheduler's clock may differ from the one here: what counts is whether the time that it tells has changed.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._last: dict[str, tuple[float, float]] = {}  # worker: time by the scheduler, time here when it was new
        self._silent: set[str] = set()

    def news(self, seen: dict[str, float], now: float) -> list[str]:
        """Lines to tell, given the time that the scheduler tells for each of its workers, and the time here."""
        before = self._last
        self._last = {
            name: before[name] if name in before and before[name][0] == told else (told, now)
            for name, told in seen.items()
        }
        silence = {name: now - since for name, (_, since) in self._last.items()}
        silent = {name for name, seconds in silence.items() if seconds > self._limit}
        lines = [_silent(name, silence[name]) for name in sorted(silent - self._silent)]
        for name in sorted(self._silent - silent):
            what = "is heard of again" if name in seen else "was given up: its tasks are given to others"
            lines.append(f"the worker {name} {what}")
        self._silent = silent
        return lines


def _silent(name: str, seconds: float) -> str:
    return (
        f"the worker {name} has not been heard of for {seconds:.0f} s: it hangs, is overloaded, or its machine cannot "
        f"be reached. Its tasks wait until Dask gives it up ({LIMIT}), or until its process is killed"
    )
