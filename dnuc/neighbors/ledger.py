"""The best neighbors so far and the tiles that are done: in memory, or in the store so that a killed run goes on.

Only the client writes a ledger, a block at a time: the lists first, the mark of the tile last. A tile that was merged
but not marked is merged again, which changes nothing.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dnuc.neighbors.blocks import Blocks
from dnuc.neighbors.lists import Neighbors
from dnuc.store import RunStore


class Ledger(Protocol):
    """Where a search keeps its state."""

    def read(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        """The (index, distance) lists of some rows."""

    def write(self, span: slice, index: np.ndarray, distance: np.ndarray) -> None:
        """Replace the lists of some rows."""

    def mark(self, position: int) -> None:
        """Note that a tile is merged."""

    def done(self) -> np.ndarray:
        """Which tiles are merged, (tiles,) bool."""


class MemoryLedger:
    """State of a search that fits in memory: (N, k)."""

    def __init__(self, blocks: Blocks, k: int) -> None:
        self.index = np.full((blocks.n, k), -1, dtype=np.int64)
        self.distance = np.full((blocks.n, k), np.inf)
        self._done = np.zeros(blocks.tiles, dtype=bool)

    def read(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        return self.index[span], self.distance[span]

    def write(self, span: slice, index: np.ndarray, distance: np.ndarray) -> None:
        self.index[span] = index
        self.distance[span] = distance

    def mark(self, position: int) -> None:
        self._done[position] = True

    def done(self) -> np.ndarray:
        return self._done

    def neighbors(self, redone: int) -> Neighbors:
        """The finished lists."""
        return Neighbors(self.index, self.distance, redone)


class StoredLedger:
    """State of a search in the run directory: chunks are the search's blocks, so only whole chunks are written."""

    def __init__(self, store: RunStore, group: str, blocks: Blocks, k: int) -> None:
        self.store, self.group = store, group
        shape, chunks = (blocks.n, k), (min(blocks.rows, blocks.n), k)
        store.declare(group, "neighbor_index", shape, chunks)
        store.declare(group, "neighbor_distance", shape, chunks)
        store.declare(group, "tile_done", (blocks.tiles,), (blocks.tiles,))
        self._index = store.array(group, "neighbor_index")
        self._distance = store.array(group, "neighbor_distance")
        self._done = store.flags(group, "tile_done")

    def read(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        return self._index[span], self._distance[span]

    def write(self, span: slice, index: np.ndarray, distance: np.ndarray) -> None:
        self.store.write(self.group, "neighbor_index", span, index)
        self.store.write(self.group, "neighbor_distance", span, distance)

    def mark(self, position: int) -> None:
        self._done[position] = True
        self.store.write(self.group, "tile_done", slice(None), self._done.astype(np.uint8))

    def done(self) -> np.ndarray:
        return self._done
