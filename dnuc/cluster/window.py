"""Tasks through a bounded window of futures: the scheduler never holds more than the workers can soon take."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError

from dnuc.cluster.attempt import Outcome, attempt, peak_memory, plain, this_process
from dnuc.cluster.metering import Meter, current_meter
from dnuc.cluster.watch import lost
from dnuc.errors import DnucError, ResourceError
from dnuc.traffic import Traffic

AHEAD = 0.5  # tasks a thread has waiting on the average, so that few ever wait for the client; more would know less
RETRIES = 2  # of a task that raised; a task whose worker died is rescheduled by Dask itself


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
    meter = current_meter()
    if client is None:
        for task in tasks:
            yield task, _here(task, meter)
        return
    waiting = iter(tasks)
    running: dict[Future, Task] = {}
    completed = as_completed(loop=client.loop)  # without it, of the default client, which may be another one

    def refill() -> None:
        for _ in range(window(_threads(client)) - len(running)):
            task = next(waiting, None)
            if task is None:
                return
            key = _key(task)
            if meter is not None:
                meter.submitted(key)
            future = client.submit(*call, task.function, *task.args, pure=False, retries=RETRIES, key=key)
            running[future] = task
            completed.add(future)

    try:
        call = _watched(client, meter)
        refill()
        for future in completed:
            task = running.pop(future)
            result = _result(future, task, meter)
            future.release()
            yield task, result
            refill()
    except ClosedClientError as error:
        raise lost(error) from None
    finally:
        with suppress(ClosedClientError):
            if running:
                client.cancel(list(running), force=True, reason="the run was stopped")
            if meter is not None:  # or the scheduler would complain that a client that goes does not listen any more
                client.unsubscribe_topic(client.id)


def _here(task: Task, meter: Meter | None) -> Any:
    """A task in this process."""
    if meter is None:
        return task.function(*task.args)
    key = _key(task)
    meter.submitted(key)
    result = task.function(*task.args)
    meter.finished(key, Outcome(result, "client", this_process(), peak_memory(), Traffic()))
    return result


def _watched(client: Client, meter: Meter | None) -> tuple[Any, ...]:
    """What a worker calls with a task's function; with a meter, it is told what happens there."""
    if meter is None:
        return (plain,)
    # The scheduler keeps the events of a topic, but forgets those of one named after a client that is gone.
    client.subscribe_topic(client.id, lambda event: meter.event(event[1]))
    return attempt, client.id, uuid.uuid4().hex


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


def _result(future: Future, task: Task, meter: Meter | None) -> Any:
    try:
        result = future.result()
    except KilledWorker as error:
        raise ResourceError(
            f"{task.name}: workers died {error.allowed_failures + 1} times while running it, most often because they "
            "were out of memory: give workers more memory, or make blocks smaller (activations.block, neighbors.block)"
        ) from None
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise lost(error) from None
    if isinstance(result, Outcome) and meter is not None:
        meter.finished(str(future.key), result)
        result = result.result
    if isinstance(result, (DnucError, OSError)):
        raise result
    return result
