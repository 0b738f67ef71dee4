"""Tasks through a bounded window of futures: the scheduler never holds more than the workers can soon take."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError

from dnuc.cluster.watch import lost
from dnuc.errors import DnucError, ResourceError

AHEAD = 0.5  # tasks a thread has waiting on the average, so that few ever wait for the client; more would know less
RETRIES = 2  # of a task that raised; a task whose worker died is rescheduled by Dask itself
FINAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of a disk that is full or read-only, also a moment later


def window(threads: int) -> int:
    """Tasks that are submitted at a time.

    >>> window(1), window(2), window(64)
    (2, 3, 96)
    """
    return threads + max(1, int(AHEAD * threads))


@dataclass(frozen=True)
class Task:
    """A function call to run on a worker. `context` stays here and comes back beside the result."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    context: Any = None
    name: str = "task"


def run_tasks(client: Client | None, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
    """Run tasks and yield each with its result, in order of completion; in this process without a client.

    The iterable is advanced only when a worker will soon be free, so a task may be made with what earlier results
    taught. Leaving the loop early cancels what is running.

    Raises
    ------
    ResourceError
        If workers die repeatedly under a task, or the scheduler is lost; exceptions of a task are raised as they are.
    """
    if client is None:
        for task in tasks:
            yield task, task.function(*task.args)
        return
    waiting = iter(tasks)
    running: dict[Future, Task] = {}
    completed = as_completed(loop=client.loop)  # without it, of the default client, which may be another one

    def refill() -> None:
        for _ in range(window(_threads(client)) - len(running)):
            task = next(waiting, None)
            if task is None:
                return
            future = client.submit(_attempt, task.function, *task.args, pure=False, retries=RETRIES, key=_key(task))
            running[future] = task
            completed.add(future)

    try:
        refill()
        for future in completed:
            task = running.pop(future)
            result = _result(future, task)
            future.release()
            yield task, result
            refill()
    except ClosedClientError as error:
        raise lost(error) from None
    finally:
        if running:
            with suppress(ClosedClientError):
                client.cancel(list(running), force=True, reason="the run was stopped")


def _attempt(function: Callable[..., Any], *args: Any) -> Any:
    """On the worker. A refusal is returned, not raised: to try again would only refuse again."""
    try:
        return function(*args)
    except DnucError as error:
        return error
    except OSError as error:
        if error.errno in FINAL:
            return error
        raise


_counter = iter(range(2**63))


def _threads(client: Client) -> int:
    """Threads of all workers; 1 while there are none, so that a task waits for the first."""
    if client.status != "running":  # it tries to connect again, but what it held is cancelled
        raise lost(ConnectionError())
    try:
        return max(1, sum(client.nthreads().values()))
    except (AttributeError, OSError) as error:  # the first: a client that lost its scheduler has none to ask
        raise lost(error) from None


def _key(task: Task) -> str:
    return f"{task.name}-{next(_counter)}"


def _result(future: Future, task: Task) -> Any:
    try:
        result = future.result()
    except KilledWorker as error:
        raise ResourceError(
            f"{task.name}: workers died {error.allowed_failures + 1} times while running it, most often because they "
            "were out of memory: give workers more memory, or make blocks smaller (activations.block, neighbors.block)"
        ) from None
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise lost(error) from None
    if isinstance(result, (DnucError, OSError)):
        raise result
    return result
