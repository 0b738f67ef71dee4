"""The cluster as stages see it: run tasks, know how much memory one may use, tell how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, get_worker

from dnuc._version import __version__
from dnuc.cluster.deployment import Deployment, read_deployment
from dnuc.cluster.progress import Progress
from dnuc.cluster.window import Task, run_tasks
from dnuc.errors import ResourceError

USABLE = 0.5  # of a worker's memory: the rest is for the interpreter, libraries, and Dask's own thresholds
WAIT_FOR_WORKERS = 60  # seconds
EVENTS = "dnuc"


@dataclass(frozen=True)
class Cluster:
    """Workers, the memory one task may use on them, and where progress is told."""

    client: Client | None  # None: everything runs in this process
    memory: int  # bytes of one task
    progress: Progress

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Each task with its result, in order of completion."""
        return run_tasks(self.client, tasks)

    @contextmanager
    def listen(self, handler: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """Call `handler` with every event that a task tells while the block runs."""
        if self.client is None:
            _handlers.append(handler)
            try:
                yield
            finally:
                _handlers.remove(handler)
            return
        self.client.subscribe_topic(EVENTS, lambda event: handler(event[1]))
        try:
            yield
        finally:
            self.client.unsubscribe_topic(EVENTS)


_handlers: list[Callable[[dict[str, Any]], None]] = []


def tell(event: dict[str, Any]) -> None:
    """From inside a task: send a small event to whoever listens."""
    try:
        worker = get_worker()
    except ValueError:  # not on a worker
        for handler in _handlers:
            handler(event)
        return
    worker.log_event(EVENTS, event)


@contextmanager
def connect(on: str | Path | Deployment | None, progress: Progress) -> Iterator[Cluster]:
    """A cluster that is checked to work: it has workers, and they have this version of dnuc.

    Raises
    ------
    ResourceError
        If the scheduler cannot be reached, no worker comes, or a worker has another version.
    """
    deployment = on if isinstance(on, Deployment) else read_deployment(on)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(deployment.connect())
        except (ConnectionError, TimeoutError) as error:
            raise ResourceError(
                f"no Dask scheduler answers at {on}: {error}. Is it running, and can this machine reach it?"
            ) from None
        yield checked(client, progress)


def checked(client: Client, progress: Progress, timeout: float = WAIT_FOR_WORKERS) -> Cluster:
    """The cluster of a client, after seeing that its workers can do the work."""
    address = client.scheduler_info(n_workers=0)["address"]
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError:
        raise ResourceError(
            f"the scheduler {address} has no workers after {timeout:.0f} s: start some with `dask worker {address}`, "
            f"an environment that has dnuc {__version__}"
        ) from None
    _check_versions(client)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    memory = min(w["memory_limit"] / w["nthreads"] for w in workers)
    threads = sum(w["nthreads"] for w in workers)
    progress.say(f"{len(workers)} workers, {threads} threads, {memory / 2**30:.1f} GiB a task; {client.dashboard_link}")
    return Cluster(client, int(USABLE * memory), progress)


def _worker_version() -> str:
    from dnuc._version import __version__ as version

    return version


def _check_versions(client: Client) -> None:
    try:
        versions = client.run(_worker_version)
    except ModuleNotFoundError as error:
        raise ResourceError(
            f"workers cannot import dnuc ({error}): install dnuc {__version__} in the environment of the workers"
        ) from None
    wrong = {worker: v for worker, v in versions.items() if v != __version__}
    if wrong:
        worker, version = next(iter(wrong.items()))
        raise ResourceError(
            f"{len(wrong)} of {len(versions)} workers have another dnuc version (e.g. {worker}: {version}; here: "
            f"{__version__}): install the same version everywhere"
        )
