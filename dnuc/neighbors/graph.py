"""The graph of tiles: tasks in a bounded window of futures, their results absorbed as they come.

Tiles of several arrays share one window, so that workers are busy also while an array's search ends. A tile is made
when a worker will soon be free and carries what is known at that moment; what it returns is a few numbers a row.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from dask.array import Array as DaskArray
from distributed import Client

from dnuc.cluster import Task, run_tasks
from dnuc.neighbors.blocks import CHUNK, Blocks
from dnuc.neighbors.device import device_memory
from dnuc.neighbors.filtering import Filtered
from dnuc.neighbors.keeping import forget, resident
from dnuc.neighbors.rows import Piece, Rows, sample_mean
from dnuc.neighbors.tiers import choose_tier

Precision = Literal["auto", "int8", "bfloat16", "float32", "float64"]


class TileSearch(ABC):
    """All pairs of the rows of one array, a tile at a time, for some reduction: the tiles that are still to run.

    Attributes
    ----------
    blocks : Blocks
    left : list of (i, j)
        Block pairs whose tiles are still to run.
    label : str
        How messages call the array.
    """

    def __init__(
        self,
        sources: list[Any],
        blocks: Blocks,
        *,
        precision: Precision = "auto",
        device: str = "cpu",
        threads: int = 1,
        spare: int = 0,
        label: str = "x",
    ) -> None:
        """`sources` has one entry a block (a piece of the array, or its future), or one entry for the whole array.

        spare: bytes that a task may use beside its tile, for blocks that later tiles want again.
        """
        self.blocks, self.label = blocks, label
        self.left = list(blocks.pairs())
        self._sources, self._settings = sources, (device, threads, spare)
        self._precision: str = precision
        self._name = uuid.uuid4().hex

    @property
    @abstractmethod
    def reduction(self) -> Callable[..., Any]:
        """The function of one tile: (left rows, right rows, what is known of each, tier, threads, device) -> result."""

    @abstractmethod
    def known(self, block: int) -> Any:
        """What a tile is told of a block's rows."""

    @abstractmethod
    def absorb(self, i: int, j: int, result: Any) -> None:
        """Take in what a tile returned."""

    def settle(self, tile: Filtered) -> None:
        """Where "auto" began in a tier that was too coarse for a tile, go on in the tier in which that tile ended.

        How coarse a tier may be depends on the data: on how much the distances of a sample differ from each other.
        """
        if self._precision == "auto" and tile.too_coarse:
            self._precision = tile.tier

    def tasks(self) -> Iterator[Task]:
        """The tiles that are still to run, each with what is known at the moment it is asked for."""
        for i, j in self.left:
            told = (self.known(i), self.known(j))
            settings = (self._precision, *self._settings, self._center, self._name, self.label)
            yield Task(
                _tile_task,
                (self.reduction, *self._rows(i), *self._rows(j), *told, *settings),
                context=(self, i, j),
                name=f"tile-{self.label}-{i}-{j}",
            )

    @cached_property
    def _center(self) -> np.ndarray | None:
        """One center for all tiles, so that a worker can keep rounded blocks; None where tiles find their own."""
        if self.blocks.count == 1 or len(self._sources) > 1 or self._sources[0].shape[1] > CHUNK:
            return None
        return sample_mean(self._sources[0])

    def _rows(self, block: int) -> tuple[Any, slice, bool]:
        span = self.blocks.span(block)
        if len(self._sources) == 1:
            return self._sources[0], span, True
        return self._sources[block], span, False


def _tile_task(
    reduction: Callable[..., Any],
    left: Any, span_left: slice, whole_left: bool, right: Any, span_right: slice, whole_right: bool,
    known_left: Any, known_right: Any,
    precision: str, device: str, threads: int, spare: int,
    center: np.ndarray | None, search: str, label: str,
) -> Any:  # fmt: skip
    """One tile on a worker. A source is the whole array, or the block's own piece of it."""
    rows = [
        Rows(source if whole else Piece(source, span.start), span.start, span.stop, label, center=center)
        for source, span, whole in ((left, span_left, whole_left), (right, span_right, whole_right))
    ]
    tier = choose_tier(precision, rows[0].count * rows[1].count, rows[0].features, device)
    rows = resident(search, rows, spare)
    return reduction(rows[0], rows[1], known_left, known_right, tier=tier, threads=threads, device=device)


AnySearch = TypeVar("AnySearch", bound=TileSearch)


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
            with suppress(OSError, TimeoutError):  # a lost scheduler is told by what lost it
                client.run(forget, on_error="ignore")


def accelerator_memory(device: str | None, client: Client | None) -> int | None:
    """Bytes that a tile may use on the accelerators where tiles will run; None for the CPU.

    Raises
    ------
    ResourceError
        If some worker has no such device.
    """
    if client is None or device in (None, "cpu"):
        return device_memory(device)
    free, threads = client.run(device_memory, device), client.nthreads()
    return min(memory // threads[worker] for worker, memory in free.items())


def spread(x: Any, blocks: Blocks, client: Client | None) -> list[Any]:
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
