"""The k nearest as a reduction of a tile's pairs: radii shrink while candidates are found.

**The certificate.** Of each row's candidates (see `filtering`) those are refined first whose lower bound is within the
k-th smallest estimate; then those within the k-th smallest *exact* distance found. What remains is farther for certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from dnuc.neighbors.blocks import CHUNK, PAIRS_AT_ONCE, list_capacity, panels
from dnuc.neighbors.candidates import first_radii, guess_radii, select, shorten
from dnuc.neighbors.crew import Crew
from dnuc.neighbors.filtering import Hunt, TileFilter
from dnuc.neighbors.refine import group_by_row, merge_grouped
from dnuc.neighbors.rows import Picked, Rows, read_ahead
from dnuc.neighbors.tiers import Tier

ORDER = 4096  # rows and columns of the squares in which pairs are refined: their strips stay in the cache


RUNGS = 8  # ranks at which a tile is told the distances of the neighbors that are known already


def ladder(k: int) -> np.ndarray:
    """The ranks at which a tile is told what is known: at most RUNGS, evenly spaced, the last one k.

    >>> ladder(100).tolist()
    [13, 25, 38, 50, 63, 75, 88, 100]
    """
    return np.unique(-(-k * np.arange(1, RUNGS + 1) // RUNGS))


@dataclass(frozen=True)
class Found:
    """Candidates for the rows of one block: row (within the block), neighbor (global position), exact distance."""

    row: np.ndarray  # (P,) int32
    index: np.ndarray  # (P,) int64
    distance: np.ndarray  # (P,) float64


class Best:
    """The k best of the candidates of each row of a block: no more than these travel to the merge."""

    def __init__(self, rows: int, k: int, partner_start: int) -> None:
        self.index = np.full((rows, k), -1, dtype=np.int64)
        self.distance = np.full((rows, k), np.inf)
        self._start = partner_start

    def add(self, rows: np.ndarray, cols: np.ndarray, distance: np.ndarray, workers: Crew) -> None:
        index = cols + self._start
        order, starts = group_by_row(rows, len(self.index))
        workers.share(
            lambda first, last: merge_grouped(self.index, self.distance, order, starts, index, distance, first, last),
            len(self.index),
        )

    def copy(self, rows: np.ndarray, of: np.ndarray, first: int | None, workers: Crew) -> None:
        """Give rows (P,) the lists of the rows `of` (P,), which have the same features.

        first: in a tile of a block with itself the position of its first row in the array. There each of the two is a
        neighbor of the other, and none of its own.
        """
        index, distance = self.index[of], self.distance[of]
        if first is not None:
            index = np.column_stack([index, of + first])
            distance = np.column_stack([distance, np.zeros(len(of))])
            index[index == (rows + first)[:, None]] = -1
        place, rank = np.nonzero(index >= 0)
        self.add(rows[place], index[place, rank] - self._start, distance[place, rank], workers)

    @property
    def radius(self) -> np.ndarray:
        """(R,) distance of the k-th; infinity where there are fewer."""
        return self.distance[:, -1]

    def found(self, limit: np.ndarray) -> Found:
        """Those within limit (R,)."""
        row, rank = np.nonzero((self.index >= 0) & (self.distance <= limit[:, None]))
        return Found(row.astype(np.int32), self.index[row, rank], self.distance[row, rank])


class NeighborFilter(TileFilter):
    """The k nearest: radii shrink while candidates are found.

    `known`: for the rows of each block the distances of the neighbors that are known from other tiles, (R, m) at the
    ranks of `ladder(k)`, or (R,) of the k-th alone; infinity where there are fewer.
    """

    def __init__(self, left: Rows, right: Rows, known: tuple[np.ndarray, np.ndarray], k: int, workers: Crew) -> None:
        super().__init__(left, right, workers)
        self.k = k
        self._known = [d[:, None] if d.ndim == 1 else d for d in known]
        self._ranks = [ladder(k) if d.shape[1] > 1 else np.array([k]) for d in self._known]
        first = Best(left.count, k, right.start)
        self.best = [first, first if self.same else Best(right.count, k, left.start)]

    def radius(self, block: int) -> np.ndarray:
        """What was known before the tile, what the tile found since, or what follows from both."""
        best = self.best[block]
        radius = np.minimum(self._known[block][:, -1], best.radius)
        self._shorten(radius, block, None, best.distance, np.full(len(radius), self.k), False)
        return radius

    def _shorten(
        self,
        limit: np.ndarray,
        block: int,
        positions: np.ndarray | None,
        values: np.ndarray,
        filled: np.ndarray,
        squared: bool,
    ) -> None:
        ranks, known = self._ranks[block], self._known[block]
        known = known if positions is None else known[positions]
        self.workers.share(
            lambda first, last: shorten(limit, known, ranks, self.k, values, filled, squared, first, last), len(limit)
        )

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

    def redo(self, block: int, rows: np.ndarray, tier: Tier) -> None:
        """Of rows that are equal one is redone: the others have the same neighbors.

        Whole layers may be equal (dead units, the first token of a sentence). All their distances are tied, and no
        list of candidates could hold them.
        """
        first, copy_of = self._distinct(block, rows)
        super().redo(block, rows[first], tier)
        copies = np.setdiff1d(np.arange(len(rows)), first)
        self.redone += len(copies)
        start = self.blocks[block].start if self.same else None
        for part in panels(0, len(copies), max(1, PAIRS_AT_ONCE // self.k)):
            of = rows[first[copy_of[copies[part]]]]
            self.best[block].copy(rows[copies[part]], of, start, self.workers)

    def _distinct(self, block: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first of each set of equal rows, (D,) places in `rows`, and to which of these each is equal, (R,)."""
        digests = [blake2b(digest_size=16) for _ in rows]
        chunks = panels(0, self.blocks[block].features, CHUNK)
        for _, [values] in read_ahead([Picked(self.blocks[block], rows)], chunks if len(rows) else []):
            for digest, row in zip(digests, values, strict=True):
                digest.update(row)
        return np.unique([d.digest() for d in digests], return_index=True, return_inverse=True)[1:]

    def _limit(self, hunt: Hunt, certain: bool) -> np.ndarray:
        """(R,) a good guess of the k-th distance; or what it is at most."""
        limit = self.radius(hunt.block)
        if hunt.positions is not None:
            limit = limit[hunt.positions]
        if certain:
            return limit
        guess, side = np.empty(len(limit)), hunt.side
        self.workers.share(lambda first, last: guess_radii(side, self.k, guess, first, last), len(limit))
        limit = np.minimum(limit, guess)
        self._shorten(limit, hunt.block, hunt.positions, side.estimate, side.filled, True)
        return limit

    def _add(self, block: int, rows: np.ndarray, cols: np.ndarray, distance: np.ndarray) -> None:
        near = distance <= self._known[block][rows, -1]
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
