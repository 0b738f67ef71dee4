"""How many samples lie within a radius of each sample: the same tiles and the same bound, another reduction.

Nearly all pairs are decided by the bound alone. Only those whose bounds enclose the radius need an exact distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, uint64

from dnuc.neighbors.blocks import list_capacity
from dnuc.neighbors.candidates import COLUMNS, UNKNOWN
from dnuc.neighbors.crew import Crew, crew
from dnuc.neighbors.filtering import Filtered, Hunt, TileFilter
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.tiers import FLOAT32, Tier

ROUND_DOWN = 1 - 2.0**-50
COUNTED = 256  # counting needs as much memory as a search for so many neighbors
FEWEST = 16  # the same for each ball, where rows have very many


def planned(balls: int) -> int:
    """A search for so many neighbors needs as much memory as counting so many balls a row.

    >>> planned(1), planned(10)
    (256, 418)
    """
    places = balls * list_capacity(max(FEWEST, COUNTED // balls), 2**31)
    return -(-(places - list_capacity(0, 2**31)) // 3)


@dataclass(frozen=True)
class Ball:
    """What a block's rows count: samples nearer than radius (R,), and those at just the radius before (R,).

    At just the radius only samples whose position is below `before` count. With the distance and the position of a
    neighbor that is its rank in the total order (distance, index), less one. Rows may have several balls each: (R, m).
    """

    radius: np.ndarray
    before: np.ndarray


@dataclass(frozen=True)
class TileCounts(Filtered):
    """Samples of the other block that each ball counts, shaped as the balls; and how they were found."""

    left: np.ndarray
    right: np.ndarray


def count_tile(
    left: Rows,
    right: Rows,
    ball_left: Ball,
    ball_right: Ball,
    tier: Tier = FLOAT32,
    threads: int = 1,
    device: str = "cpu",
) -> TileCounts:
    """What the rows of two blocks count in each other; of a diagonal tile, in itself (`right` is empty then).

    All balls of a row are counted from the same products.

    `device` is accepted as every reduction's is; counts are made on the CPU.
    """
    with crew(threads) as workers:
        work = _Counts(left, right, (ball_left, ball_right), workers)
        work.run(tier)
    nothing = np.zeros(0, np.int64)
    found = [c.reshape(b.radius.shape) for c, b in zip(work.counts, (ball_left, ball_right), strict=True)]
    return TileCounts(found[0], nothing if work.same else found[1], **work.how)


@dataclass(frozen=True)
class _BallHunt(Hunt):
    ball: int = 0  # which of the balls of each row


class _Counts(TileFilter):
    """A hunt for each ball, all of them over the same products."""

    def __init__(self, left: Rows, right: Rows, balls: tuple[Ball, Ball], workers: Crew) -> None:
        super().__init__(left, right, workers)
        self._balls = [Ball(*(a.reshape(len(a), -1) for a in (b.radius, b.before))) for b in balls]
        self._all = range(self._balls[0].radius.shape[1])
        self._counted: Sequence[int] = self._all  # the balls that are counted at present
        self._ball = 0  # the one that a hunt is being made for
        self._hunts: list[tuple[_BallHunt, _BallHunt]] = []
        first = np.zeros((left.count, len(self._all)), np.int64)
        self.counts = [first, first if self.same else np.zeros((right.count, len(self._all)), np.int64)]

    def radius(self, block: int) -> np.ndarray:
        return self._balls[block].radius[:, self._ball]

    def capacity(self, columns: int) -> int:
        return list_capacity(max(FEWEST, COUNTED // len(self._all)), columns)

    def hunts(self, *arguments: Any) -> tuple[Hunt, Hunt]:
        """Those of every ball are kept; the caller sees the first."""
        self._hunts = []
        for ball in self._counted:
            self._ball = ball
            rows, cols = (_BallHunt(**vars(hunt), ball=ball) for hunt in super().hunts(*arguments))
            self._hunts.append((rows, cols))
        return self._hunts[0]

    def filter(self, *arguments: Any) -> list[Hunt]:
        self._hunts = []  # those of a coarser tier
        seen = len(super().filter(*arguments))
        return [hunt for pair in self._hunts for hunt in pair[:seen]]

    def scan(
        self, products: np.ndarray, rows: Hunt, cols: Hunt | None, first: tuple[int, int], own: np.ndarray
    ) -> None:
        both = cols is not None
        for mine, theirs in self._hunts:
            others = theirs.within if both else mine.within
            count_pairs(products, mine.side, mine.other, mine.within, others, *first, own, both, mine.constants)

    def redo_overflow(self, hunt: Hunt, tier: Tier) -> None:
        self._counted = [_ball_of(hunt)]
        super().redo_overflow(hunt, tier)
        self._counted = self._all

    def redo(self, block: int, rows: np.ndarray, tier: Tier) -> None:
        """Ball by ball: the rows of each that are left over are others."""
        balls = self._counted
        for ball in balls:
            self._counted = [ball]
            super().redo(block, rows, tier)
        self._counted = balls

    def refine(self, hunts: list[Hunt]) -> None:
        for hunt in hunts:
            number, counts = _ball_of(hunt), self.counts[hunt.block][:, _ball_of(hunt)]
            radius, before = self._balls[hunt.block].radius[:, number], self._balls[hunt.block].before[:, number]
            places = np.arange(len(hunt.within)) if hunt.positions is None else hunt.positions
            done = ~hunt.side.overflow
            counts[places[done]] += hunt.within[done]
            rows, cols = self.take(hunt, radius[places])
            keep = ~np.isin(rows, places[~done])
            rows, cols = rows[keep], cols[keep]
            distance = self.distances(*((cols, rows) if hunt.block else (rows, cols)))
            sample = cols + self.blocks[1 - hunt.block].start
            tied = (distance == radius[rows]) & (sample < before[rows])
            inside = (distance < radius[rows]) | tied
            counts += np.bincount(rows[inside], minlength=len(counts))


def _ball_of(hunt: Hunt) -> int:
    assert isinstance(hunt, _BallHunt)
    return hunt.ball


@njit(cache=True, nogil=True)
def count_pairs(product, left, right, within_left, within_right, first_row, first_col, own, both, constants):
    """Count the pairs of a piece that are within the radius for certain; list those of which the bound cannot tell.

    The arguments are those of `candidates.select`. With r = radius_x - residual_x, the upper bound is below the
    radius if residual_y <= r and n_x + n_y - q + slack < (r - residual_y)^2, where q = 2 scale_x scale_y g.
    """
    gamma2, epsilon, eta = constants
    rows, cols = product.shape
    sure, unsure = np.zeros(COLUMNS, np.uint8), np.zeros(COLUMNS, np.uint8)
    for start in range(0, cols, COLUMNS):
        width = min(COLUMNS, cols - start)
        first = first_col + start
        span = slice(first, first + width)
        scale, root, weight, residual = right.scale[span], right.root[span], right.weight[span], right.residual[span]
        outer, outer_slope = right.limit[span], right.slope[span]
        upper_weight = right.norm_sq[span] * (1 + epsilon) - residual**2
        reach_y = (np.minimum(right.radius[span], UNKNOWN) - residual) * ROUND_DOWN
        inner_y = reach_y**2 - eta - right.norm_sq[span] * (1 + epsilon)
        columns_within = within_right[first : first + width] if both else within_right[:0]
        for a in range(rows):
            x = first_row + a
            line = product[a, start : start + width]
            twice, spread = 2 * left.scale[x], gamma2 * left.root[x]
            e, w, limit, slope = left.residual[x], left.weight[x], left.limit[x], left.slope[x]
            u = left.norm_sq[x] * (1 + epsilon) - e * e
            reach = (min(left.radius[x], UNKNOWN) - e) * ROUND_DOWN
            inner = reach * reach - eta - left.norm_sq[x] * (1 + epsilon)
            begin = min(width, max(0, own[x] + 1 - first)) if both else 0
            sure[:] = 0
            unsure[:] = 0
            for b in range(uint64(begin), uint64(width)):
                q = twice * (scale[b] * line[b])
                c = spread * root[b]
                out = weight[b] - (q + c) <= limit + slope * residual[b]
                ins = (upper_weight[b] - (q - c) < inner - 2 * reach * residual[b]) & (residual[b] <= reach)
                sure[b] = ins
                unsure[b] = out > ins
            if both:
                for b in range(uint64(begin), uint64(width)):
                    q = twice * (scale[b] * line[b])
                    c = spread * root[b]
                    out = w - (q + c) <= outer[b] + outer_slope[b] * e
                    ins = (u - (q - c) < inner_y[b] - 2 * reach_y[b] * e) & (e <= reach_y[b])
                    columns_within[b] += ins
                    unsure[b] += 2 * (out > ins)
            elif first <= own[x] < first + width:
                sure[own[x] - first] = 0
                unsure[own[x] - first] = 0
            total = 0
            for b in range(uint64(width)):
                total += sure[b]
            within_left[x] += total
            for b in range(begin, width):
                if unsure[b] & 1:
                    _list(left, x, first + b)
                if unsure[b] & 2:
                    _list(right, first + b, x)


@njit(cache=True, nogil=True)
def _list(side, row, partner):
    """Add a candidate to a row's list; a full one overflows."""
    n = side.filled[row]
    if n == side.candidate.shape[1]:
        side.overflow[row] = True
        return
    side.candidate[row, n] = partner
    side.estimate[row, n] = -np.inf  # the bound said that it may be within
    side.filled[row] = n + 1
