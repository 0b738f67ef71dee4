"""One tile: the exact neighbors that two row blocks find in each other.

The filter multiplies rounded rows, and a rigorous error bound tells which pairs cannot be neighbors. What is left is
computed by direct differences in float64. So the filter decides only how much work is left to do, never what comes out.

**The bound.** Both blocks are shifted by one vector and, for 8 bits, rotated by one orthogonal matrix, neither of which
changes a distance. Let x be such a row, x^ what stands for it after rounding, m = |x^|, and e_x >= |x - x^| its
residual, which is *measured* while rounding (see `rounding`). Let G be the computed product of x^ and y^.

1. The triangle inequality: | |x - y| - |x^ - y^| | <= e_x + e_y.
2. The product: |G - x^.y^| <= gamma m_x m_y (Cauchy-Schwarz; gamma as `Tier.gamma` says: sums of n values in a
   precision u have gamma_n = n u / (1 - n u), Higham 2002, Sec. 3.1; a product returned in a narrower type is rounded
   once more; a sum over chunks adds one u a chunk; products of 8-bit integers are exact).
3. What is evaluated in float64 is off by at most epsilon (m_x^2 + m_y^2), epsilon = (D + 16) 2^-51, which also pays for
   the rounding of the exact distance; a product that underflows by at most the smallest normal number, D times (eta).

Hence, with s = 2 gamma m_x m_y + epsilon (m_x^2 + m_y^2) + eta and t = m_x^2 + m_y^2 - 2 G,

    sqrt(max(0, t - s)) - e_x - e_y  <=  |x - y|  <=  sqrt(max(0, t + s)) + e_x + e_y.

**The certificate.** Of each row's candidates those are refined first whose lower bound is within the k-th smallest
estimate; then those within the k-th smallest *exact* distance found. What remains is farther for certain. Rows whose
list overflows, because the bound is too coarse for them, are redone in the next finer tier, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.errors import DataError
from dnuc.neighbors.blocks import CHUNK, PAIRS_AT_ONCE, list_capacity, panels
from dnuc.neighbors.candidates import (
    Side,
    count_near,
    first_radii,
    guess_radii,
    make_side,
    select,
    take_near,
)
from dnuc.neighbors.crew import Crew, crew
from dnuc.neighbors.locks import RowLocks
from dnuc.neighbors.products import Products, TierOverflowError
from dnuc.neighbors.refine import add_squared_differences, merge_candidates
from dnuc.neighbors.rows import Picked, Rows, read_ahead
from dnuc.neighbors.tiers import FLOAT32, FLOAT64, Tier, finer

ORDER = 2048  # rows and columns of the squares in which pairs are refined: their strips stay in the cache


@dataclass(frozen=True)
class Found:
    """Candidates for the rows of one block: row (within the block), neighbor (global position), exact distance."""

    row: np.ndarray  # (P,) int64
    index: np.ndarray  # (P,) int64
    distance: np.ndarray  # (P,) float64


@dataclass(frozen=True)
class TileResult:
    """What a tile found for the rows of both its blocks, and how many rows a finer tier had to redo."""

    left: Found
    right: Found
    redone: int = 0


def tile(
    left: Rows,
    right: Rows,
    radius_left: np.ndarray,
    radius_right: np.ndarray,
    k: int,
    tier: Tier = FLOAT32,
    threads: int = 1,
) -> TileResult:
    """The candidates among the k nearest that blocks `left` and `right` find in each other.

    Parameters
    ----------
    left, right : Rows
        Two blocks of one array; the same block for a diagonal tile.
    radius_left, radius_right : (R,), (C,) float64
        Each row's distance of its k-th best neighbor so far (infinity if it has fewer): farther pairs are useless.
    k : int
        Neighbors wanted.
    tier : Tier
        How precisely the filter multiplies; the result does not depend on it.
    threads : int
        Threads of this process that share the work.

    Raises
    ------
    DataError
        NaN or infinite values, or values whose squared distances overflow float64.
    """
    same = left.start == right.start
    if left.features <= CHUNK:  # read once, filtered and refined from memory
        left = left.resident()
        right = left if same else right.resident()
    elif same:
        right = left
    with crew(threads) as workers:
        work = _Tile((left, right), (radius_left, radius_left if same else radius_right), k, workers)
        work.run(tier)
    nothing = _Best(0, k, left.start)
    return TileResult(work.best[0].found(), (nothing if same else work.best[1]).found(), work.redone)


class _Best:
    """The k best of the candidates of each row of a block: no more than these travel to the merge."""

    def __init__(self, rows: int, k: int, partner_start: int) -> None:
        self._index = np.full((rows, k), -1, dtype=np.int64)
        self._distance = np.full((rows, k), np.inf)
        self._start = partner_start

    def add(self, rows: np.ndarray, cols: np.ndarray, distance: np.ndarray, workers: Crew) -> None:
        index = cols + self._start
        workers.share(
            lambda first, last: merge_candidates(self._index, self._distance, rows, index, distance, first, last),
            len(self._index),
        )

    @property
    def radius(self) -> np.ndarray:
        """(R,) distance of the k-th; infinity where there are fewer."""
        return self._distance[:, -1]

    def found(self) -> Found:
        row, rank = np.nonzero(self._index >= 0)
        return Found(row, self._index[row, rank], self._distance[row, rank])


@dataclass(frozen=True)
class _Hunt:
    """Rows of one block (0: left, 1: right) with the candidates that they found in the other."""

    block: int
    positions: np.ndarray | None  # of the rows in their block; None: all of them
    side: Side
    other: Side
    constants: tuple[float, float, float]


class _Tile:
    """The state of one tile: radii and best neighbors of the rows of both blocks."""

    def __init__(self, blocks: tuple[Rows, Rows], radii: tuple[np.ndarray, np.ndarray], k: int, workers: Crew) -> None:
        self.blocks, self.k, self.workers = blocks, k, workers
        self.same = blocks[0] is blocks[1]
        self.radii = [np.minimum(r, np.inf) for r in radii]
        first = _Best(blocks[0].count, k, blocks[1].start)
        self.best = [first, first if self.same else _Best(blocks[1].count, k, blocks[0].start)]
        self.redone = 0

    def run(self, tier: Tier) -> None:
        """Filter and refine all rows, then those that overflowed in ever finer tiers."""
        try:
            hunts = self._both(tier)
        except TierOverflowError:
            if tier is FLOAT64:
                self._too_large()
            self.redone += self.blocks[0].count + (0 if self.same else self.blocks[1].count)
            tier = FLOAT64
            hunts = self._both_or_refuse()
        self._refine(hunts)
        for hunt in hunts:
            rows = np.flatnonzero(hunt.side.overflow)
            self.redone += len(rows)
            self._redo(hunt.block, rows, tier)

    def _redo(self, block: int, rows: np.ndarray, tier: Tier) -> None:
        """Rows of one block whose lists overflowed in `tier`."""
        for better in finer(tier):
            if len(rows) == 0:
                return
            try:
                hunt = self._one(block, rows, better)
            except TierOverflowError:
                continue
            self._refine([hunt])
            rows = rows[hunt.side.overflow]
        # so many tied distances that no list could hold them: lists as long as the block, for a few rows at a time
        columns = self.blocks[1 - block].count
        for part in panels(0, len(rows), max(1, PAIRS_AT_ONCE // columns)):
            self._refine([self._one(block, rows[part], FLOAT64, capacity=columns)])

    def _both(self, tier: Tier) -> list[_Hunt]:
        """Filter the whole tile for the rows of both blocks."""
        products = Products(*self.blocks, tier, self.workers)
        constants = products.bound.constants
        capacity = list_capacity(self.k, max(products.shape))
        left = self._side(products.left, self._radius(0), capacity, products)
        right = left if self.same else self._side(products.right, self._radius(1), capacity, products)
        own = np.arange(products.shape[0]) if self.same else np.full(products.shape[0], -1)
        locks = RowLocks(products.pieces, self.same)

        def work(piece: tuple[slice, slice]) -> None:
            rows, cols = piece
            part = products.piece(rows, cols)
            with locks.hold(piece):
                first_radii(part, left, right, rows.start, cols.start, own, self.k, constants)
                scratch = np.empty(capacity)
                select(part, left, right, rows.start, cols.start, own, True, self.k, constants, scratch)

        self.workers.each(work, products.pieces)
        hunts = [_Hunt(0, None, left, right, constants)]
        return hunts if self.same else [*hunts, _Hunt(1, None, right, left, constants)]

    def _both_or_refuse(self) -> list[_Hunt]:
        try:
            return self._both(FLOAT64)
        except TierOverflowError:
            self._too_large()
            raise

    def _too_large(self) -> None:
        raise DataError(
            f"{self.blocks[0].label}: values so large that squared distances overflow float64; rescale the layer"
        )

    def _one(self, block: int, rows: np.ndarray, tier: Tier, capacity: int | None = None) -> _Hunt:
        """Filter some rows of one block against all of the other."""
        seeking, sought = self.blocks[block], self.blocks[1 - block]
        products = Products(Picked(seeking, rows), sought, tier, self.workers)
        constants = products.bound.constants
        capacity = capacity or list_capacity(self.k, sought.count)
        side = self._side(products.left, self._radius(block)[rows], capacity, products)
        other = self._side(products.right, np.zeros(sought.count), 1, products)
        own = rows if self.same else np.full(len(rows), -1)
        locks = RowLocks(products.pieces, False)

        def work(piece: tuple[slice, slice]) -> None:
            r, c = piece
            part = products.piece(r, c)
            with locks.hold(piece):
                first_radii(part, side, other, r.start, c.start, own, self.k, constants)
                select(part, side, other, r.start, c.start, own, False, self.k, constants, np.empty(capacity))

        self.workers.each(work, products.pieces)
        return _Hunt(block, rows, side, other, constants)

    def _radius(self, block: int) -> np.ndarray:
        """(R,) beyond which a neighbor is useless: what was known before the tile, or what the tile found since."""
        return np.minimum(self.radii[block], self.best[block].radius)

    def _side(self, stand, radius: np.ndarray, capacity: int, products: Products) -> Side:
        return make_side(stand.scale, stand.norm_sq, stand.residual, radius, capacity, products.bound)

    def _refine(self, hunts: list[_Hunt]) -> None:
        """Exact distances of all candidates that can matter, in two rounds: see the module's text."""
        for certain in (False, True):
            left, right = [], []
            for hunt in hunts:
                rows, cols = self._take(hunt, certain)
                left.append(cols if hunt.block else rows)
                right.append(rows if hunt.block else cols)
            rows, cols = _each_once(np.concatenate(left), np.concatenate(right), self.blocks[1].count, self.same)
            distance = self._distances(rows, cols)
            self._add(0, rows, cols, distance)
            self._add(1, cols, rows, distance)

    def _take(self, hunt: _Hunt, certain: bool) -> tuple[np.ndarray, np.ndarray]:
        """The candidates to refine: those within a good guess of the k-th distance, or within what it is."""
        limit = self._radius(hunt.block)
        if hunt.positions is not None:
            limit = limit[hunt.positions]
        n = len(limit)
        side, other, constants = hunt.side, hunt.other, hunt.constants
        if not certain:
            guess = np.empty(n)
            self.workers.share(lambda first, last: guess_radii(side, self.k, guess, first, last), n)
            limit = np.minimum(limit, guess)
        counts = np.zeros(n, np.int64)
        self.workers.share(lambda first, last: count_near(side, other, limit, constants, counts, first, last), n)
        places = np.cumsum(counts) - counts
        rows, cols = np.empty(counts.sum(), np.int64), np.empty(counts.sum(), np.int64)
        self.workers.share(
            lambda first, last: take_near(side, other, limit, constants, places, rows, cols, first, last), n
        )
        return rows if hunt.positions is None else hunt.positions[rows], cols

    def _distances(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Euclidean distances (P,) of the pairs (rows[p] of left, cols[p] of right), float64 direct sums."""
        total = np.zeros(len(rows))
        blocks = self.blocks[:1] if self.same else self.blocks
        if len(rows) == 0:
            return total
        for _, values in read_ahead(blocks, panels(0, self.blocks[0].features, CHUNK)):

            def add(first: int, last: int, values: list[np.ndarray] = values) -> None:
                part = slice(first, last)
                add_squared_differences(values[0], values[-1], rows[part], cols[part], total[part])

            self.workers.share(add, len(rows))
        return np.sqrt(total)

    def _add(self, block: int, rows: np.ndarray, cols: np.ndarray, distance: np.ndarray) -> None:
        near = distance <= self.radii[block][rows]
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
