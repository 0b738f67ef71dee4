"""The filter of a tile: rounded rows are multiplied, and a rigorous error bound tells which pairs may matter.

The filter decides only how much work is left to do, never what comes out.

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

Rows whose list of candidates overflows, because the bound is too coarse for them, are redone in the next finer tier,
and counted. Where many do, the whole tile is filtered in that tier at once, and an "auto" search goes on in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnuc.neighbors.blocks import CHUNK, PAIRS_AT_ONCE, panels
from dnuc.neighbors.candidates import Bound, Side, count_near, make_side, take_near
from dnuc.neighbors.crew import Crew
from dnuc.neighbors.locks import RowLocks
from dnuc.neighbors.pairs import direct_distances
from dnuc.neighbors.products import Products, Stand, TierOverflowError
from dnuc.neighbors.rows import Picked, Rows
from dnuc.neighbors.tiers import FLOAT64, Tier, finer

REDONE_PARTS = 4  # of a block, that are redone in float64 one after the other
TOO_MANY = 0.5  # share of a tile's rows: to redo so many, each with all columns, takes as long as the whole tile


@dataclass(frozen=True)
class Hunt:
    """Rows of one block (0: left, 1: right) with the candidates that they found in the other."""

    block: int
    positions: np.ndarray | None  # of the rows in their block; None: all of them
    side: Side
    other: Side
    within: np.ndarray  # (R,) pairs that the bound alone places within the radius, for those who count them
    constants: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """How a tile was filtered, part of what it returns.

    Attributes
    ----------
    tier : name of the tier in which it was
    too_coarse : whether it began in another one, which left too many rows undecided
    redone : rows that were filtered again, because a tier could not decide them, or too many others of the tile
    """

    tier: str = ""
    too_coarse: bool = False
    redone: int = 0


class TileFilter(ABC):
    """The pairs of one tile whose exact distances a reduction needs; the reduction says what happens with them."""

    def __init__(self, left: Rows, right: Rows, workers: Crew) -> None:
        same = left.start == right.start
        if left.features <= CHUNK:  # read once, filtered and refined from memory
            left = left.resident()
            right = left if same else right.resident()
        self.blocks = (left, left if same else right)
        self.same, self.workers, self.redone = same, workers, 0
        self._began = self._ended = FLOAT64

    @abstractmethod
    def radius(self, block: int) -> np.ndarray:
        """(R,) beyond which the rows of a block need no distances."""

    @abstractmethod
    def capacity(self, columns: int) -> int:
        """Places in each row's list of candidates."""

    @abstractmethod
    def scan(
        self, products: np.ndarray, rows: Hunt, cols: Hunt | None, first: tuple[int, int], own: np.ndarray
    ) -> None:
        """Add a piece's candidates to the lists: of its rows, and of its columns unless these seek nothing."""

    @abstractmethod
    def refine(self, hunts: list[Hunt]) -> None:
        """Compute the distances of the candidates, as far as they can matter, and reduce them."""

    def run(self, tier: Tier) -> None:
        """Filter and refine all rows, then those that overflowed in ever finer tiers; all rows if many overflowed."""
        self._began = tier
        self._filter_all(tier)

    def _filter_all(self, tier: Tier) -> None:
        self._ended = tier
        try:
            hunts = self.filter(tier)
        except TierOverflowError:  # values too large for the tier
            for block in range(1 if self.same else 2):
                self.redo(block, np.arange(self.blocks[block].count), tier)
            return
        if self._is_too_coarse(tier, hunts):
            del hunts
            self._filter_all(finer(tier)[0])
            return
        self.refine(hunts)
        for hunt in hunts:
            self.redo_overflow(hunt, tier)

    def _is_too_coarse(self, tier: Tier, hunts: Sequence[Hunt]) -> bool:
        """Whether so many rows overflow that all are better filtered in the next tier."""
        if all(hunt.side.overflow.mean() <= TOO_MANY for hunt in hunts):
            return False
        return tier is not FLOAT64 and finer(tier)[0] is not FLOAT64  # which takes twice the memory that is planned

    @property
    def how(self) -> dict[str, Any]:
        """The fields of `Filtered`."""
        too_coarse = self._ended is not self._began
        every_row = sum(block.count for block in self.blocks[: 1 if self.same else 2])
        return {
            "tier": self._ended.name,
            "too_coarse": too_coarse,
            "redone": every_row if too_coarse else self.redone,
        }

    def redo_overflow(self, hunt: Hunt, tier: Tier) -> None:
        """Those rows of a hunt whose lists overflowed."""
        if hunt.side.overflow.any():
            self.redo(hunt.block, np.flatnonzero(hunt.side.overflow), tier)

    def redo(self, block: int, rows: np.ndarray, tier: Tier) -> None:
        """Rows (R,) of one block that `tier` could not decide: in finer tiers, for as long as some are left."""
        self.redone += len(rows)
        for better in finer(tier):
            rows = self._again(block, rows, better)
        # so many tied distances that no list could hold them: lists as long as the block, for a few rows at a time
        columns = self.blocks[1 - block].count
        at_once = max(PAIRS_AT_ONCE, self.blocks[block].count * self.capacity(columns) // 2)
        self._again(block, rows, FLOAT64, max(1, at_once // columns), columns)

    def _again(
        self, block: int, rows: np.ndarray, tier: Tier, at_once: int | None = None, capacity: int | None = None
    ) -> np.ndarray:
        """Filter and refine some rows of a block; returns those that this tier cannot decide either.

        Values in float64 take twice the memory that was planned, so only a part of the rows is redone at once.
        """
        most = at_once or max(1, self.blocks[block].count // (REDONE_PARTS if tier is FLOAT64 else 1))
        undecided = [rows[:0]]
        for part in panels(0, len(rows), most):
            picked = rows[part]
            try:
                [hunt] = self.filter(tier, block, picked, capacity)
            except TierOverflowError:
                if tier is FLOAT64:
                    raise self.blocks[0].too_large() from None
                undecided.append(picked)
                continue
            self.refine([hunt])
            undecided.append(picked[hunt.side.overflow])
        return np.concatenate(undecided)

    def filter(
        self, tier: Tier, block: int = 0, picked: np.ndarray | None = None, capacity: int | None = None
    ) -> list[Hunt]:
        """The candidates of all rows of both blocks (not all, if too many overflow); or of picked rows of one block."""
        sought = self.blocks[1 - block]
        seeking = self.blocks[block] if picked is None else Picked(self.blocks[block], picked)
        products = Products(seeking, sought, tier, self.workers)
        places = capacity or self.capacity(max(products.shape))
        rows, cols = self.hunts(products.stands, products.bound, block, picked, places)
        own = self.own(picked)
        locks = RowLocks(products.pieces, products.same)

        def work(piece: tuple[slice, slice]) -> None:
            if picked is None and self._is_too_coarse(tier, (rows, cols)):
                return  # the whole tile will be filtered again
            part = products.piece(*piece)
            with locks.hold(piece):
                self.scan(part, rows, None if picked is not None else cols, (piece[0].start, piece[1].start), own)

        self.workers.each(work, products.pieces)
        return [rows] if products.same or picked is not None else [rows, cols]

    def hunts(
        self, stands: Sequence[Stand], bound: Bound, block: int, picked: np.ndarray | None, places: int
    ) -> tuple[Hunt, Hunt]:
        """Empty lists for the rows and for the columns of the tile (the same ones if both sides are one block).

        Columns that only are sought, because rows were picked, have no lists.
        """

        def side(stand: Stand, radius: np.ndarray, places: int) -> Side:
            return make_side(stand.scale, stand.norm_sq, stand.residual, radius, places, bound)

        radius = self.radius(block)
        left = side(stands[0], radius if picked is None else radius[picked], places)
        if len(stands) == 1:
            right = left
        elif picked is None:
            right = side(stands[1], self.radius(1), places)
        else:
            right = side(stands[1], np.zeros(len(stands[1].norm_sq)), 1)

        def hunt(number: int, positions: np.ndarray | None, side: Side, other: Side) -> Hunt:
            return Hunt(number, positions, side, other, np.zeros(len(side.filled), np.int64), bound.constants)

        rows = hunt(block, picked, left, right)
        return rows, rows if right is left else hunt(1 - block, None, right, left)

    def own(self, picked: np.ndarray | None) -> np.ndarray:
        """(R,) the column that is the row itself; -1 where the tile's blocks are two."""
        n = self.blocks[0].count if picked is None else len(picked)
        if not self.same:
            return np.full(n, -1)
        return np.arange(n) if picked is None else picked

    def take(self, hunt: Hunt, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move the candidates that may be within limit (R,) out of their lists: rows and columns of the tile, (P,)."""
        side, other, constants, n = hunt.side, hunt.other, hunt.constants, len(limit)
        counts = np.zeros(n, np.int64)
        self.workers.share(lambda first, last: count_near(side, other, limit, constants, counts, first, last), n)
        places = np.cumsum(counts) - counts
        rows, cols = np.empty(counts.sum(), np.int64), np.empty(counts.sum(), np.int64)
        self.workers.share(
            lambda first, last: take_near(side, other, limit, constants, places, rows, cols, first, last), n
        )
        return rows if hunt.positions is None else hunt.positions[rows], cols

    def distances(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Euclidean distances (P,) of the pairs (rows[p] of left, cols[p] of right), float64 direct sums."""
        return direct_distances(self.blocks[:1] if self.same else self.blocks, rows, cols, self.workers)
