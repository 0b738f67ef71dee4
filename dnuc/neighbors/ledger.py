"""The best neighbors so far and the tiles that are done: in memory, or in the store so that a killed run goes on.

Only the client writes a ledger, a block at a time: the lists first, the mark of the tile last. A tile that was merged
but not marked is merged again, which changes nothing.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dnuc.neighbors.blocks import Blocks
from dnuc.store import RunStore


class Ledger(Protocol):
    """Where a search keeps its state."""

    def read(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        """The (index, distance) lists of some rows."""

    def write(self, span: slice, index: np.ndarray, distance: np.ndarray) -> None:
        """Replace the lists of some rows."""

    def mark(self, position: int, redone: int) -> None:
        """Note that a tile is merged, and how many of its rows a higher tier had to redo."""

    @property
    def tiles(self) -> np.ndarray:
        """(tiles,) int64: the redone rows of each merged tile, -1 for the others."""


class MemoryLedger:
    """State of a search that fits in memory: (N, k)."""

    def __init__(self, blocks: Blocks, k: int) -> None:
        self.index = np.full((blocks.n, k), -1, dtype=np.int64)
        self.distance = np.full((blocks.n, k), np.inf)
        self.tiles = np.full(blocks.tiles, -1, dtype=np.int64)

    def read(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        return self.index[span], self.distance[span]

    def write(self, span: slice, index: np.ndarray, distance: np.ndarray) -> None:
        self.index[span] = index
        self.distance[span] = distance

    def mark(self, position: int, redone: int) -> None:
        self.tiles[position] = redone


class StoredLedger:
    """State of a search in the run directory: chunks are the search's blocks, so only whole chunks are written."""

    def __init__(self, store: RunStore, group: str, blocks: Blocks, k: int) -> None:
        self.store, self.group = store, group
        shape, chunks = (blocks.n, k), (min(blocks.rows, blocks.n), k)
        store.declare(group, "neighbor_index", shape, chunks)
        store.declare(group, "neighbor_distance", shape, chunks)
        store.declare(group, "tile_redone", (blocks.tiles,), (blocks.tiles,))
        journal = (1, 2 + 2 * k * chunks[0])
        store.declare(group, "last_merge", journal, journal)
        self._index = store.array(group, "neighbor_index")
        self._distance = store.array(group, "neighbor_distance")
        self.tiles = store.read(group, "tile_redone")
        self._k, self._entry = k, np.full(journal, -1, dtype=np.int64)
        self._replay()

    def read(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        return self._index[span], self._distance[span]

    def write(self, span: slice, index: np.ndarray, distance: np.ndarray) -> None:
        # Lists and distances are two writes. Whoever stops between them would leave lists beside distances that are
        # not theirs, so both are noted first, in one write: an interrupted one is done again when the search goes on.
        entry = self._entry[0]
        entry[:2] = span.start, span.stop
        entry[2 : 2 + index.size] = index.ravel()
        entry[2 + index.size : 2 + 2 * index.size] = distance.ravel().view(np.int64)
        entry[2 + 2 * index.size :] = -1
        self.store.write(self.group, "last_merge", (slice(None), slice(None)), self._entry)
        self._write_lists(span, index, distance)

    def _replay(self) -> None:
        """Write the lists of the last merge again: completes one that was interrupted, else changes nothing."""
        entry = self.store.read(self.group, "last_merge")[0]
        first, last = int(entry[0]), int(entry[1])
        if first < 0:
            return
        lists = entry[2 : 2 + 2 * (last - first) * self._k].reshape(2, last - first, self._k)
        self._write_lists(slice(first, last), lists[0], lists[1].view(np.float64))

    def _write_lists(self, span: slice, index: np.ndarray, distance: np.ndarray) -> None:
        self.store.write(self.group, "neighbor_index", span, index)
        self.store.write(self.group, "neighbor_distance", span, distance)

    def mark(self, position: int, redone: int) -> None:
        self.tiles[position] = redone
        self.store.write(self.group, "tile_redone", slice(None), self.tiles)
