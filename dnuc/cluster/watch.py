"""Watching the scheduler: silence and loss are told within seconds, with what to do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError

from dnuc.cluster.progress import Progress
from dnuc.cluster.silence import tell_silence
from dnuc.errors import ResourceError

ASK_EVERY = 2.0  # seconds between questions to the scheduler
SILENT = 8.0  # seconds without an answer after which that is told; a scheduler under load may take one or two
REMIND = 60.0  # seconds until it is told again


@contextmanager
def watched(client: Client, progress: Progress) -> Iterator[None]:
    """Ask the scheduler now and then while the block runs, and tell when it does not answer.

    A process that ends closes its connections, and Dask notices at once. One that hangs, or whose machine was cut off,
    does neither: then the operating system gives the connection up after `distributed.comm.timeouts.tcp` (30 s), or
    never. Until then the run waits, which may be right; whoever waits for the run should know.

    Raises
    ------
    ResourceError
        If the connection is lost in the block.
    """
    address = address_of(client)
    loop: Any = client.loop
    questions = (_ask(client, progress, address), tell_silence(client, progress))
    watchers = [asyncio.run_coroutine_threadsafe(question, loop.asyncio_loop) for question in questions]
    callbacks = logging.getLogger("tornado.application")
    callbacks.addFilter(_tells_more)
    try:
        yield
    except (CommClosedError, ClosedClientError) as error:
        raise lost(error, address) from None
    finally:
        callbacks.removeFilter(_tells_more)
        for watcher in watchers:
            watcher.cancel()


def _tells_more(record: logging.LogRecord) -> bool:
    """Whether a message of Dask's loop is more than that the connection is lost, which is told once, without traceback.

    What the client still wants to send then (that it needs a result no more, for one) fails in the loop's callbacks.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], CommClosedError))


def address_of(client: Client) -> str:
    """Where a client reaches its scheduler."""
    scheduler: Any = client.scheduler
    return str(scheduler.address)


async def _ask(client: Any, progress: Progress, address: str) -> None:
    answered, told, staff = time.monotonic(), 0.0, _Staff(progress)
    while True:
        try:
            found = await asyncio.wait_for(client.scheduler.identity(n_workers=0), SILENT)
        except (TimeoutError, OSError, AttributeError):
            pass  # AttributeError: a client that lost its scheduler has none to ask
        else:
            staff.count(found)
            if told:
                progress.say(f"the scheduler {address} answers again")
            answered, told = time.monotonic(), 0.0
        now = time.monotonic()
        if now - answered >= SILENT and now - (told or -REMIND) >= REMIND:
            told = now
            progress.say(
                f"the scheduler {address} has not answered for {now - answered:.0f} s: it hangs, is overloaded, or its "
                "machine cannot be reached. The run goes on when it answers; Ctrl-C stops the run, and what is "
                "finished is stored"
            )
        await asyncio.sleep(ASK_EVERY)


class _Staff:
    """The workers of a scheduler, counted now and then: a run without any waits, and should say so."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._there, self._told = progress, time.monotonic(), 0.0

    def count(self, identity: dict[str, Any]) -> None:
        """Note how many there are, and tell when all are gone for a while, or some are there again."""
        now, workers, place = time.monotonic(), int(identity["n_workers"]), self._progress.cluster
        if place is None:  # it is not known yet whether it has any
            self._there = now
            return
        if workers != place["workers"]:
            self._progress.log(f"the scheduler has {workers} workers, before {place['workers']}")
        place["workers"], place["threads"] = workers, int(identity["total_threads"])
        if workers:
            if self._told:
                self._progress.say(f"the scheduler has workers again: {workers}")
            self._there, self._told = now, 0.0
        elif now - self._there >= SILENT and now - (self._told or -REMIND) >= REMIND:
            self._told = now
            self._progress.say(
                f"the scheduler has had no worker for {now - self._there:.0f} s: they were stopped, or cannot reach it "
                "any more. The run goes on when one comes; Ctrl-C stops the run, and what is finished is stored"
            )


def lost(error: BaseException, address: str = "") -> ResourceError:
    """The refusal for a connection that ended."""
    where = f"{address}, " if address else ""
    return ResourceError(
        f"the connection to the Dask scheduler was lost ({where}{type(error).__name__}): it was stopped or killed, or "
        "cannot be reached any more. What is finished is stored: see that a scheduler runs, and start the same command "
        "again to go on"
    )
