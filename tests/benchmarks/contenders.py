"""Who searches: dnuc, other libraries, and bare matrix products as the floor below which no search can come.

A contender gets a task, warms up on a few of its samples, and yields a job: a call without arguments, which is what
is timed. Libraries are imported inside, so that each runs in an environment that has only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 2048  # samples
PIECE = 2048  # rows and columns of one product: its result stays in memory however many samples there are

Answer = tuple[np.ndarray, np.ndarray]  # neighbors (N, k), distances (N, k)
Job = Callable[[], Answer | None]


@dataclass(frozen=True)
class Task:
    """The k nearest neighbors of the samples in `directory`: x.npy, and x.zarr for those that read from a store."""

    directory: Path
    k: int
    threads: int

    def samples(self, rows: int | None = None) -> np.ndarray:
        """The first `rows` samples, in memory."""
        return np.array(np.load(self.directory / "x.npy", mmap_mode="r")[:rows])


@dataclass(frozen=True)
class Contender:
    """A name for the command line, a title for the tables, and the installed package whose version is told."""

    name: str
    title: str
    open: Callable[[Task], AbstractContextManager[Job]]
    package: str = "dnuc"
    module: str = "dnuc"
    exact: bool = False  # it promises the neighbors of float64 brute force
    searches: bool = True  # a floor does not
    half: bool = False  # of a floor: each pair once


def in_memory(make: Callable[[np.ndarray, int, int], Job]) -> Callable[[Task], AbstractContextManager[Job]]:
    """A contender that needs no more than the samples: `make(x, k, threads)` returns its job."""

    @contextmanager
    def opened(task: Task) -> Iterator[Job]:
        few = task.samples(WARM_UP)
        make(few, min(task.k, len(few) - 1), task.threads)()
        yield make(task.samples(), task.k, task.threads)

    return opened


def dnuc(precision: str) -> Callable[[np.ndarray, int, int], Job]:
    """dnuc in this process."""

    def make(x: np.ndarray, k: int, threads: int) -> Job:
        import torch

        from dnuc import nearest_neighbors

        torch.set_num_threads(threads)

        def job() -> Answer:
            found = nearest_neighbors(x, k, precision=precision)  # type: ignore[arg-type]
            return found.index, found.distance

        return job

    return make


def faiss(x: np.ndarray, k: int, threads: int) -> Job:
    """FAISS's exact index: float32 products, the sample itself among k + 1 results."""
    import faiss

    faiss.omp_set_num_threads(threads)

    def job() -> Answer:
        index = faiss.IndexFlatL2(x.shape[1])
        index.add(x)
        squares, found = index.search(x, k + 1)
        return without_itself(found, np.sqrt(squares))

    return job


def sklearn(x: np.ndarray, k: int, threads: int) -> Job:
    """scikit-learn's brute force in float32; it leaves the sample itself out."""
    from sklearn.neighbors import NearestNeighbors

    def job() -> Answer:
        search = NearestNeighbors(n_neighbors=k, algorithm="brute", n_jobs=threads).fit(x)
        distance, found = search.kneighbors()
        return found, distance

    return job


def dadapy(x: np.ndarray, k: int, threads: int) -> Job:
    """DADApy's compute_distances, the first step of all it does; the sample itself among k + 1 results."""
    from dadapy import Data

    def job() -> Answer:
        data = Data(coordinates=x, maxk=k, n_jobs=threads)
        data.compute_distances()
        return without_itself(np.asarray(data.dist_indices), np.asarray(data.distances))

    return job


def without_itself(index: np.ndarray, distance: np.ndarray) -> Answer:
    """k of k + 1 results: without the sample's own position, or without the last where that is not among them.

    >>> without_itself(np.array([[0, 1], [0, 2]]), np.array([[0.0, 1.0], [0.5, 0.5]]))[0].ravel().tolist()
    [1, 0]
    """
    n, count = index.shape
    own = index == np.arange(n)[:, None]
    drop = np.where(own.any(axis=1), own.argmax(axis=1), count - 1)
    keep = np.arange(count) != drop[:, None]  # (N, k + 1), one False a row
    return index[keep].reshape(n, count - 1), distance[keep].reshape(n, count - 1)


def product(kind: str, half: bool) -> Callable[[np.ndarray, int, int], Job]:
    """All products of samples, piece by piece; `half` the pieces i <= j only, as the distances are symmetric."""

    def make(x: np.ndarray, k: int, threads: int) -> Job:
        import torch

        torch.set_num_threads(threads)
        values = torch.from_numpy(x)
        if kind == "int8":
            values = (values * (127 / values.abs().max())).round()
        values = values.to(getattr(torch, kind))
        multiply = torch._int_mm if kind == "int8" else torch.mm

        def job() -> None:
            pieces = values.split(PIECE)
            for i, rows in enumerate(pieces):
                for columns in pieces[i:] if half else pieces:
                    multiply(rows, columns.t())

        return job

    return make


def through_cluster(workers: int | None, threads: int | None) -> Callable[[Task], AbstractContextManager[Job]]:
    """dnuc from a Zarr store on worker processes; None: as many as the task has threads."""

    def opened(task: Task) -> AbstractContextManager[Job]:
        from tests.benchmarks import cluster

        return cluster.opened(task, workers or task.threads, threads or task.threads)

    return opened


def _product(kind: str, half: bool) -> Contender:
    name = f"product-{kind}{'-half' if half else ''}"
    title = f"floor: {'half the' if half else 'all'} products in {kind}"
    return Contender(name, title, in_memory(product(kind, half)), "torch", "torch", searches=False, half=half)


def pairs(n: int, half: bool) -> int:
    """Pairs that a floor multiplies: with `half`, pieces on the diagonal are still whole.

    >>> pairs(2 * PIECE, half=True) / pairs(2 * PIECE, half=False)
    0.75
    """
    sizes = [min(PIECE, n - start) for start in range(0, n, PIECE)]
    return (n * n + sum(size * size for size in sizes)) // 2 if half else n * n


CONTENDERS = {
    c.name: c
    for c in (
        Contender("dnuc", "dnuc", in_memory(dnuc("auto")), exact=True),
        Contender("faiss", "FAISS IndexFlatL2", in_memory(faiss), "faiss-cpu", "faiss"),
        Contender("sklearn", "scikit-learn brute force, float32", in_memory(sklearn), "scikit-learn", "sklearn"),
        Contender("dadapy", "DADApy compute_distances", in_memory(dadapy), "dadapy", "dadapy"),
        _product("float32", half=False),
        _product("float32", half=True),
        _product("bfloat16", half=True),
        _product("int8", half=True),
        Contender("cluster-one", "1 worker of 1 thread", through_cluster(1, 1), exact=True),
        Contender("cluster-workers", "{threads} workers of 1 thread", through_cluster(None, 1), exact=True),
        Contender("cluster-threads", "1 worker of {threads} threads", through_cluster(1, None), exact=True),
    )
}


def find(name: str) -> Contender:
    """A contender by its name; "dnuc-float64" is dnuc with that precision."""
    if name in CONTENDERS:
        return CONTENDERS[name]
    precision = name.removeprefix("dnuc-")
    return Contender(name, f"dnuc, precision={precision!r}", in_memory(dnuc(precision)), exact=True)


def names() -> list[str]:
    """All of them; dnuc's precisions are asked for, so only in an environment that has dnuc."""
    from typing import get_args

    from dnuc.neighbors.graph import Precision

    tiers: list[Any] = [f"dnuc-{p}" for p in get_args(Precision) if p != "auto"]
    return ["dnuc", *tiers, *(name for name in CONTENDERS if name != "dnuc")]
