"""The cluster as stages see it: run tasks, know how much memory one may use, tell how far they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client, get_worker
from distributed.system import MEMORY_LIMIT

from dnuc._version import __version__
from dnuc.cluster.dashboard import dashboard, told
from dnuc.cluster.deployment import LEAST, Capacity, Deployment, task_memory
from dnuc.cluster.places import read_deployment
from dnuc.cluster.progress import Progress
from dnuc.cluster.records import ClusterRecord
from dnuc.cluster.security import check_addresses
from dnuc.cluster.versions import common_versions, installed
from dnuc.cluster.watch import watched
from dnuc.cluster.window import Task, run_tasks
from dnuc.errors import ResourceError

WAIT_FOR_WORKERS = 60  # seconds
EVENTS = "dnuc"


@dataclass(frozen=True)
class Cluster:
    """Workers, what one task may use on them, and where progress is told."""

    client: Client | None  # None: everything runs in this process
    capacity: Capacity
    progress: Progress
    versions: Mapping[str, str] = field(default_factory=installed)  # of dnuc and torch, where tasks run

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


def on_worker() -> bool:
    """Whether this is inside a task on a worker."""
    try:
        get_worker()
    except ValueError:
        return False
    return True


@contextmanager
def connect(on: str | Path | Deployment | None, progress: Progress) -> Iterator[Cluster]:
    """A cluster that is checked to work: it has workers, and they have this version of dnuc.

    Raises
    ------
    ResourceError
        If the scheduler cannot be reached, no worker comes, or a worker has another version.
    SecurityError
        If others could read or join the connections, and the deployment does not say that this is meant.
    """
    deployment = on if isinstance(on, Deployment) else read_deployment(on)
    deployment.check()
    with deployment.connect() as client, watched(client, progress):
        yield checked(
            client,
            progress,
            deployment.cores,
            deployment.device,
            timeout=deployment.patience,
            insecure=deployment.allows_insecure,
        )


def checked(
    client: Client,
    progress: Progress,
    cores: int = 1,
    device: str = "cpu",
    *,
    timeout: float = WAIT_FOR_WORKERS,
    insecure: bool = False,
) -> Cluster:
    """The cluster of a client, after seeing that its workers can do the work, and that nobody else can join in.

    cores: threads that each task uses; device: where it multiplies; timeout: seconds to wait for the first worker;
    insecure: whether connections without TLS are meant.
    """
    address = client.scheduler_info(n_workers=0)["address"]  # as it calls itself: not the end of a tunnel to it
    check_addresses([address], insecure, "the Dask scheduler")
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError:
        raise ResourceError(
            f"the scheduler {address} has no workers after {timeout:.0f} s: start some with `dask worker {address}`, "
            f"an environment that has dnuc {__version__}"
        ) from None
    workers = client.scheduler_info(n_workers=-1)["workers"]
    check_addresses(workers, insecure, "a worker")
    versions = common_versions(client)
    limits = _memory_limits(client, workers)
    _check_memory(limits)
    memory = min(task_memory(limits[address], w["nthreads"]) for address, w in workers.items())
    threads = sum(w["nthreads"] for w in workers.values())
    each = f"{memory / 2**30:.1f} GiB" + (f" and {cores} cores" if cores > 1 else "")
    progress.say(f"{len(workers)} workers, {threads} threads, {each} a task")
    if insecure:
        progress.say("connections are not encrypted: insecure = true in the deployment allows it")
    page = dashboard(client)
    progress.say(f"dashboard: {told(page)}")
    progress.cluster = ClusterRecord(
        scheduler=address, workers=len(workers), threads=threads, task_memory=memory, dashboard=page
    )
    return Cluster(client, Capacity(memory, threads, cores, device), progress, versions)


def _memory_limits(client: Client, workers: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each worker; workers that were started without a limit share their machine's memory."""
    limits = {address: worker["memory_limit"] for address, worker in workers.items()}
    unlimited = [address for address, limit in limits.items() if not limit]
    if unlimited:
        machines = Counter(workers[address]["host"] for address in limits)
        for address, total in client.run(_machine_memory, workers=unlimited).items():
            limits[address] = total // machines[workers[address]["host"]]
    return limits


def _machine_memory() -> int:
    return MEMORY_LIMIT


def _check_memory(limits: Mapping[str, int]) -> None:
    small = {address: limit for address, limit in limits.items() if limit < LEAST}
    if small:
        address, limit = next(iter(small.items()))
        raise ResourceError(
            f"{len(small)} of {len(limits)} workers have less than {LEAST / 2**30:.0f} GiB of memory (e.g. {address}: "
            f"{limit / 2**30:.2f} GiB), of which dnuc's libraries take half: start fewer and larger workers ('workers' "
            "and 'memory' in a deployment file, --memory-limit of `dask worker`)"
        )
