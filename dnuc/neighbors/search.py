"""The search of one array for the nearest neighbors of its samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client

from dnuc.cluster import on_worker
from dnuc.errors import DnucError
from dnuc.neighbors.blocks import SMALLEST_BLOCK, Blocks, bytes_of_tile, choose_rows
from dnuc.neighbors.graph import Precision, TileSearch, accelerator_memory, run_searches, spread
from dnuc.neighbors.ledger import Ledger, MemoryLedger
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.nearest import Found, ladder
from dnuc.neighbors.refine import merge_candidates
from dnuc.neighbors.rows import working_type
from dnuc.neighbors.tiers import choose_tier
from dnuc.neighbors.tile import TileResult, tile

DEFAULT_MEMORY = 2 * 2**30
HOST_MEMORY = 2**62  # where the tiles of an accelerator are limited by its own


class Search(TileSearch):
    """The k nearest: tiles are merged into the lists of a ledger."""

    def __init__(self, sources: list[Any], k: int, blocks: Blocks, ledger: Ledger, **settings: Any) -> None:
        """`settings`: precision, device, threads, spare and label of a `TileSearch`."""
        super().__init__(sources, blocks, **settings)
        self.k, self.ledger = k, ledger
        self.tier = ""  # in which the last merged tile was filtered
        self._known = np.full((blocks.n, len(ladder(k))), np.inf)
        done = ledger.tiles >= 0
        # A tile that was merged, but stopped before it was marked, runs again, and what it found counts twice then:
        # its limits may be too small. That loses nothing, for all that it found is in the lists already.
        for block in range(blocks.count) if done.any() else ():
            self._known[blocks.span(block)] = ledger.read(blocks.span(block))[1][:, ladder(k) - 1]
        self.left = [pair for pair in self.left if not done[blocks.position(*pair)]]

    @property
    def reduction(self) -> Callable[..., TileResult]:
        return partial(tile, k=self.k)

    def known(self, block: int) -> np.ndarray:
        return self._known[self.blocks.span(block)]

    def absorb(self, i: int, j: int, result: TileResult) -> None:
        """Merge what a tile found, store it, and note that the tile is done."""
        self._merge(i, result.left)
        if i != j:
            self._merge(j, result.right)
        self.ledger.mark(self.blocks.position(i, j), result.redone)
        self.settle(result)
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
        self._known[span] = distance[:, ladder(self.k) - 1]


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
    block size, number of workers and precision. (On a GPU the last bits of distances may differ.)

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array or Dask array. A Zarr array is read block by block, so N x D need not fit in memory.
    k : int
        Neighbors of each sample, 1 .. N - 1. The sample itself is excluded by its position.
    precision : {"auto", "int8", "bfloat16", "float32", "float64"}
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
    x = checked_array(x, k)
    blocks, settings = plan_tiles(x, k, memory_limit, client, precision, device)
    ledger = MemoryLedger(blocks, k)
    search = Search(spread(x, blocks, client), k, blocks, ledger, **settings)
    for _ in run_searches([search], client):
        pass
    return Neighbors(ledger.index, ledger.distance, search.redone)


def checked_array(x: Any, k: int) -> Any:
    """The array, if its neighbors can be searched."""
    if not isinstance(x, np.ndarray) and not hasattr(x, "chunks"):  # a list, a tensor, a table
        x = np.asarray(x)
    check_search(x.shape, k)
    if x.dtype.kind not in "fiub":
        raise DnucError(f"x has type {x.dtype}; it must be real numbers")
    return x


def plan_tiles(
    x: Any,
    k: int,
    memory_limit: int | str | None = None,
    client: Client | None = None,
    precision: Precision = "auto",
    device: str | None = None,
) -> tuple[Blocks, dict[str, Any]]:
    """How the rows are cut, for tiles as a search for k neighbors makes them, and the settings of their `TileSearch`.

    A tile shares all cores in this process; on a worker it has one thread, for Dask counts on it.
    """
    choose_tier(precision, 0, 0, device or "cpu")
    n, features = x.shape
    itemsize = np.dtype(working_type(x.dtype)).itemsize
    memory, own = memory_bytes(memory_limit), accelerator_memory(device, client)
    tasks = 1 if client is None else max(1, sum(client.nthreads().values()))
    threads = CPU_COUNT if client is None and not on_worker() else 1
    stored = getattr(x, "chunks", None) or (1,)
    multiple = stored[0] if isinstance(stored[0], int) and stored[0] <= SMALLEST_BLOCK else 1
    limit = HOST_MEMORY if own is not None and memory_limit is None else memory
    blocks = Blocks(n, choose_rows(n, features, limit, multiple, itemsize, k, tasks, own, precision, threads))
    spare = max(0, memory - bytes_of_tile(blocks, features, itemsize, k, precision, threads))
    return blocks, {"precision": precision, "device": device or "cpu", "threads": threads, "spare": spare}


def memory_bytes(limit: int | str | None) -> int:
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
