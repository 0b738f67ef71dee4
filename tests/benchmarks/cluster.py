"""dnuc from a Zarr store through worker processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import zarr
from distributed import Client, wait

from dnuc import nearest_neighbors
from dnuc.cluster import Local
from tests.benchmarks.contenders import WARM_UP, Answer, Job, Task

ROWS_A_CHUNK = 1024
WORKER_MEMORY = "8GiB"


def store(task: Task) -> zarr.Array:
    """The task's samples as a Zarr array, written on first use: chunks of whole rows, not compressed."""
    path = task.directory / "x.zarr"
    if not path.exists():
        x = np.load(task.directory / "x.npy", mmap_mode="r")
        chunks = (min(ROWS_A_CHUNK, len(x)), x.shape[1])
        array = zarr.create_array(path, shape=x.shape, chunks=chunks, dtype=x.dtype, compressors=None)
        for start in range(0, len(x), ROWS_A_CHUNK):
            array[start : start + ROWS_A_CHUNK] = x[start : start + ROWS_A_CHUNK]
    return zarr.open_array(path, mode="r")


@contextmanager
def opened(task: Task, workers: int, threads: int) -> Iterator[Job]:
    """Workers that have imported and compiled everything, as those of a running cluster have."""
    x = store(task)
    with Local(workers=workers, threads=threads, memory=WORKER_MEMORY).connect() as client:
        client.wait_for_workers(workers)
        few = task.samples(WARM_UP)
        k = min(task.k, len(few) - 1)
        _warm(client, few, k)
        nearest_neighbors(few, k, client=client)

        def job() -> Answer:
            found = nearest_neighbors(x, task.k, client=client)
            return found.index, found.distance

        yield job


def _warm(client: Client, few: np.ndarray, k: int) -> None:
    """A small search in every worker: through the scheduler one of them might get no part of it."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    futures = [
        client.submit(_search, few, k, workers=[address], allow_other_workers=False, pure=False) for address in workers
    ]
    wait(futures)
    client.gather(futures)  # raises what went wrong


def _search(few: np.ndarray, k: int) -> None:
    nearest_neighbors(few, k)
