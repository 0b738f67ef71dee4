"""The k nearest as a reduction of a tile's pairs: radii shrink while candidates are found.

**The certificate.** Of each row's candidates (see `filtering`) those are refined first whose lower bound is within the
k-th smallest estimate; then those within the k-th smallest *exact* distance found. What remains is farther for certain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.neighbors.blocks import list_capacity
from dnuc.neighbors.candidates import first_radii, guess_radii, select
from dnuc.neighbors.crew import Crew
from dnuc.neighbors.filtering import Hunt, TileFilter
from dnuc.neighbors.refine import group_by_row, merge_grouped
from dnuc.neighbors.rows import Rows

ORDER = 2048  # rows and columns of the squares in which pairs are refined: their strips stay in the cache


@dataclass(frozen=True)
class Found:
    """Candidates for the rows of one block: row (within the block), neighbor (global position), exact distance."""

    row: np.ndarray  # (P,) int64
    index: np.ndarray  # (P,) int64
    distance: np.ndarray  # (P,) float64


class Best:
    """The k best of the candidates of each row of a block: no more than these travel to the merge."""

    def __init__(self, rows: int, k: int, partner_start: int) -> None:
        self._index = np.full((rows, k), -1, dtype=np.int64)
        self._distance = np.full((rows, k), np.inf)
        self._start = partner_start

    def add(self, rows: np.ndarray, cols: np.ndarray, distance: np.ndarray, workers: Crew) -> None:
        index = cols + self._start
        order, starts = group_by_row(rows, len(self._index))
        workers.share(
            lambda first, last: merge_grouped(self._index, self._distance, order, starts, index, distance, first, last),
            len(self._index),
        )

    @property
    def radius(self) -> np.ndarray:
        """(R,) distance of the k-th; infinity where there are fewer."""
        return self._distance[:, -1]

    def found(self) -> Found:
        row, rank = np.nonzero(self._index >= 0)
        return Found(row, self._index[row, rank], self._distance[row, rank])


class NeighborFilter(TileFilter):
    """The k nearest: radii shrink while candidates are found."""

    def __init__(self, left: Rows, right: Rows, radii: tuple[np.ndarray, np.ndarray], k: int, workers: Crew) -> None:
        super().__init__(left, right, workers)
        self.k, self._known = k, radii
        first = Best(left.count, k, right.start)
        self.best = [first, first if self.same else Best(right.count, k, left.start)]

    def radius(self, block: int) -> np.ndarray:
        """What was known before the tile, or what the tile found since."""
        return np.minimum(self._known[block], self.best[block].radius)

    def capacity(self, columns: int) -> int:
        return list_capacity(self.k, columns)

    def scan(
        self, products: np.ndarray, rows: Hunt, cols: Hunt | None, first: tuple[int, int], own: np.ndarray
    ) -> None:
        scratch = np.empty(rows.side.candidate.shape[1])
        first_radii(products, rows.side, rows.other, *first, own, self.k, rows.constants)
        select(products, rows.side, rows.other, *first, own, cols is not None, self.k, rows.constants, scratch)

    def refine(self, hunts: list[Hunt]) -> None:
        for certain in (False, True):
            left, right = [], []
            for hunt in hunts:
                rows, cols = self.take(hunt, self._limit(hunt, certain))
                left.append(cols if hunt.block else rows)
                right.append(rows if hunt.block else cols)
            rows, cols = _each_once(np.concatenate(left), np.concatenate(right), self.blocks[1].count, self.same)
            distance = self.distances(rows, cols)
            self._add(0, rows, cols, distance)
            self._add(1, cols, rows, distance)

    def _limit(self, hunt: Hunt, certain: bool) -> np.ndarray:
        """(R,) a good guess of the k-th distance; or what it is."""
        limit = self.radius(hunt.block)
        if hunt.positions is not None:
            limit = limit[hunt.positions]
        if certain:
            return limit
        guess = np.empty(len(limit))
        self.workers.share(lambda first, last: guess_radii(hunt.side, self.k, guess, first, last), len(limit))
        return np.minimum(limit, guess)

    def _add(self, block: int, rows: np.ndarray, cols: np.ndarray, distance: np.ndarray) -> None:
        near = distance <= self._known[block][rows]
        self.best[block].add(rows[near], cols[near], distance[near], self.workers)


def _each_once(rows: np.ndarray, cols: np.ndarray, width: int, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """Each pair once, in squares of ORDER rows and columns, so that what is refined together lies together.

    Both rows of a pair may have asked for it. In a tile of one block with itself (a, b) and (b, a) are one pair.
    """
    if same:
        rows, cols = np.minimum(rows, cols), np.maximum(rows, cols)
    squares = -(-width // ORDER)
    key = ((rows // ORDER) * squares + cols // ORDER) * ORDER**2 + (rows % ORDER) * ORDER + cols % ORDER
    key.sort()
    if len(key):
        key = key[np.concatenate([[True], key[1:] != key[:-1]])]
    square, within = np.divmod(key, ORDER**2)
    return square // squares * ORDER + within // ORDER, square % squares * ORDER + within % ORDER
