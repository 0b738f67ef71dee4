"""The graph of the search: tiles as tasks, their results merged as they come.

Tiles of several layers share one window of futures, so that workers are busy also while a layer ends. A tile is made
when a worker will soon be free and carries the radii known at that moment; what it returns is a few candidates a row.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from dask.array import Array as DaskArray
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client

from dnuc.cluster import Task, run_tasks
from dnuc.errors import DnucError
from dnuc.neighbors.blocks import CHUNK, Blocks, choose_rows
from dnuc.neighbors.device import device_memory
from dnuc.neighbors.keeping import forget, resident
from dnuc.neighbors.ledger import Ledger, MemoryLedger
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.nearest import Found, ladder
from dnuc.neighbors.refine import merge_candidates
from dnuc.neighbors.rows import Piece, Rows, sample_mean, working_type
from dnuc.neighbors.tiers import choose_tier
from dnuc.neighbors.tile import TileResult, tile

Precision = Literal["auto", "int8", "bfloat16", "float32", "float64"]
DEFAULT_MEMORY = 2 * 2**30
HOST_MEMORY = 2**62  # where the tiles of an accelerator are limited by its own


class Search:
    """One array's search: the tiles still to run, and the lists they are merged into."""

    def __init__(
        self,
        sources: list[Any],
        k: int,
        blocks: Blocks,
        ledger: Ledger,
        *,
        precision: Precision = "auto",
        device: str = "cpu",
        threads: int = 1,
        label: str = "x",
    ) -> None:
        """`sources` has one entry a block (a piece of the array, or its future), or one entry for the whole array."""
        self.k, self.blocks, self.ledger, self.label = k, blocks, ledger, label
        self._sources, self._settings = sources, (k, precision, device, threads)
        self.tier = ""  # in which the last merged tile was filtered
        self._name = uuid.uuid4().hex
        self._known = np.full((blocks.n, len(ladder(k))), np.inf)
        done = ledger.tiles >= 0
        if done.any():
            # A tile that was merged, but stopped before it was marked, runs again: what it found before must not be
            # counted beside what it finds now. So a search that goes on tells its tiles the k-th distances alone.
            self._known = np.concatenate([ledger.read(blocks.span(b))[1][:, -1:] for b in range(blocks.count)])
        self.left = [pair for pair in blocks.pairs() if not done[blocks.position(*pair)]]

    def tasks(self) -> Iterator[Task]:
        """The tiles that are not merged yet, each with the radii of the moment it is asked for."""
        for i, j in self.left:
            yield Task(
                _tile_task,
                (
                    *self._rows(i),
                    *self._rows(j),
                    self._known[self.blocks.span(i)],
                    self._known[self.blocks.span(j)],
                    *self._settings,
                    self._center,
                    self._name,
                    self.label,
                ),
                context=(self, i, j),
                name=f"tile-{self.label}-{i}-{j}",
            )

    @cached_property
    def _center(self) -> np.ndarray | None:
        """One center for all tiles, so that a worker can keep rounded blocks; None where tiles find their own."""
        if len(self._sources) > 1 or self._sources[0].shape[1] > CHUNK or self.blocks.count == 1:
            return None
        return sample_mean(self._sources[0])

    def _rows(self, block: int) -> tuple[Any, slice, bool]:
        span = self.blocks.span(block)
        if len(self._sources) == 1:
            return self._sources[0], span, True
        return self._sources[block], span, False

    def absorb(self, i: int, j: int, result: TileResult) -> None:
        """Merge what a tile found, store it, and note that the tile is done."""
        self._merge(i, result.left)
        if i != j:
            self._merge(j, result.right)
        self.ledger.mark(self.blocks.position(i, j), result.redone)
        self.tier = result.tier

    @property
    def redone(self) -> int:
        """Rows that a higher tier had to redo, over all merged tiles."""
        return int(np.maximum(self.ledger.tiles, 0).sum())

    def _merge(self, block: int, found: Found) -> None:
        if len(found.row) == 0:
            return
        span = self.blocks.span(block)
        index, distance = (np.array(a) for a in self.ledger.read(span))
        merge_candidates(index, distance, found.row, found.index, found.distance)
        self.ledger.write(span, index, distance)
        self._known[span] = distance[:, ladder(self.k)[-self._known.shape[1] :] - 1]


def _tile_task(
    left: Any, span_left: slice, whole_left: bool, right: Any, span_right: slice, whole_right: bool,
    known_left: np.ndarray, known_right: np.ndarray,
    k: int, precision: Precision, device: str, threads: int, center: np.ndarray | None, search: str, label: str,
) -> TileResult:  # fmt: skip
    """One tile on a worker. A source is the whole array, or the block's own piece of it."""
    rows = [
        Rows(source if whole else Piece(source, span.start), span.start, span.stop, label, center=center)
        for source, span, whole in ((left, span_left, whole_left), (right, span_right, whole_right))
    ]
    tier = choose_tier(precision, rows[0].count * rows[1].count, rows[0].features, device)
    rows = resident(search, rows)
    return tile(rows[0], rows[1], known_left, known_right, k, tier, threads, device)


AnySearch = TypeVar("AnySearch", bound=Search)


def run_searches(searches: Iterable[AnySearch], client: Client | None = None) -> Iterator[tuple[AnySearch, int, int]]:
    """Run every tile of every search, yielding (search, i, j) after each is merged."""
    tasks = (task for search in searches for task in search.tasks())
    try:
        for task, result in run_tasks(client, tasks):
            search, i, j = task.context
            search.absorb(i, j, result)
            yield search, i, j
    finally:
        forget()
        if client is not None and client.status == "running":
            client.run(forget, on_error="ignore")


def nearest_neighbors(
    x: Any,
    k: int,
    *,
    precision: Precision = "auto",
    memory_limit: int | str | None = None,
    device: str | None = None,
    client: Client | None = None,
) -> Neighbors:
    """Every sample's k nearest other samples in Euclidean distance: exact, whatever the settings.

    The result equals float64 brute force under the total order (distance, index), bit for bit the same for any
    block size, number of workers and precision.

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array or Dask array. A Zarr array is read block by block, so N x D need not fit in memory.
    k : int
        Neighbors of each sample, 1 .. N - 1. The sample itself is excluded by its position.
    precision : {"auto", "float32", "float64"}
        Arithmetic of the filter that discards far pairs; it changes the time, never the result.
    memory_limit : int or str, optional
        Bytes that one tile may use, e.g. "4GB" (default 2 GiB).
    device : str, optional
        Where products are computed: "cpu" (default), "cuda" or another torch device.
    client : distributed.Client, optional
        Run the tiles on this Dask cluster; in this process when absent.

    Returns
    -------
    Neighbors
        index (N, k) int64, distance (N, k) float64.

    Raises
    ------
    DnucError
        If x is not a 2-D array of numbers, k is not in 1 .. N - 1, x has NaN or infinite values (the samples are
        named) or values above 1e153, or memory_limit is too small for a tile.

    Examples
    --------
    >>> import numpy as np
    >>> nearest_neighbors(np.array([[0.0], [1.0], [3.0]]), k=1).index.ravel()
    array([1, 0, 1])
    """
    if not hasattr(x, "shape"):
        x = np.asarray(x)
    check_search(x.shape, k)
    if x.dtype.kind not in "fiub":
        raise DnucError(f"x has type {x.dtype}; it must be real numbers")
    choose_tier(precision, 0, 0, device or "cpu")
    n, features = x.shape
    itemsize = np.dtype(working_type(x.dtype)).itemsize
    tasks = 1 if client is None else sum(client.nthreads().values())
    own = device_memory(device)
    memory = HOST_MEMORY if own is not None and memory_limit is None else _memory(memory_limit)
    blocks = Blocks(n, choose_rows(n, features, memory, itemsize=itemsize, k=k, tasks=tasks, device_memory=own))
    ledger = MemoryLedger(blocks, k)
    threads = 1 if client is not None else CPU_COUNT
    search = Search(
        _sources(x, blocks, client), k, blocks, ledger, precision=precision, device=device or "cpu", threads=threads
    )
    for _ in run_searches([search], client):
        pass
    return Neighbors(ledger.index, ledger.distance, search.redone)


def _memory(limit: int | str | None) -> int:
    """Bytes of a tile."""
    try:
        return DEFAULT_MEMORY if limit is None else parse_bytes(limit)
    except ValueError:
        raise DnucError(f"memory_limit = {limit!r}: give a number of bytes, or text such as '4GB'") from None


def check_search(shape: tuple[int, ...], k: int, label: str = "x") -> None:
    """Refuse what has no answer: an array that is not (N, D), or k outside 1 .. N - 1."""
    if len(shape) != 2 or shape[1] == 0:
        raise DnucError(f"{label} has shape {shape}; it must be (samples, features) with at least one feature")
    if not 1 <= k < shape[0]:
        raise DnucError(
            f"k = {k} neighbors asked for among N = {shape[0]} samples of {label}: "
            f"k must be 1 .. {max(shape[0] - 1, 0)}, for a sample is not its own neighbor"
        )


def _sources(x: Any, blocks: Blocks, client: Client | None) -> list[Any]:
    """What tasks read from: the array itself, or its row blocks spread over the workers."""
    if client is None:
        return [x]
    if isinstance(x, DaskArray):
        parts = x.rechunk({0: blocks.rows, 1: -1}).to_delayed().ravel()
        return client.compute(list(parts))
    if isinstance(x, np.ndarray):
        # keys made of the content would collide with those of an earlier search that are just being released
        return client.scatter([x[blocks.span(b)] for b in range(blocks.count)], hash=False)
    return [x]
