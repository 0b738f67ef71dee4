"""Candidate lists: which pairs of a tile the error bound cannot exclude, kept for each row until they are refined.

A row's list holds candidates with their estimated squared distances. When it is full, the k-th smallest *upper* bound
in it becomes the row's radius, and candidates whose *lower* bound exceeds the radius are dropped. So a list stays
short, whatever the tile's size. A row whose list stays full overflows: the bound is too coarse for it (or many
distances are tied), and a finer tier has to redo it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit, uint64

from dnuc.neighbors.tiers import FLOAT64, Tier

UNKNOWN = 1e154  # a radius that excludes nothing: larger than every distance, and its square is finite
COLUMNS = 512  # whose constants stay in the fastest cache while rows pass over them
ROUND_UP = 1 + 2.0**-50


@dataclass(frozen=True)
class Bound:
    """The error bound of a tier for rows of so many features, as the module `filtering` derives it."""

    gamma: float  # of a product, in units of the norms
    epsilon: float  # of what is evaluated in float64, in units of the squared norms
    eta: float  # of what underflows

    @classmethod
    def of(cls, tier: Tier, length: int, features: int, chunks: int = 1, sums: float | None = None) -> Bound:
        """For products of at most `length` features at a time, `chunks` of which are added up with roundoff `sums`."""
        adding = 0.0 if chunks == 1 else chunks * (sum_roundoff(tier) if sums is None else sums) * 1.01
        return cls(tier.gamma(length) + adding, (features + 16) * 2.0**-51, 4 * features * tier.smallest)

    @property
    def constants(self) -> tuple[float, float, float]:
        """(2 gamma, epsilon, eta), as the compiled functions take them."""
        return 2 * self.gamma, self.epsilon, self.eta


def sum_roundoff(tier: Tier) -> float:
    """u of the type in which the products of several chunks are added up: float64 for that tier, float32 for others."""
    return 2.0**-53 if tier is FLOAT64 else 2.0**-24


class Side(NamedTuple):
    """The R rows of one side of a tile: what the bound needs of them, and their candidates.

    A pair (x, y) with product g is kept for x if weight_y - p <= limit_x + slope_x residual_y, where
    p = 2 scale_x scale_y g + 2 gamma root_x root_y; see `threshold`.
    """

    scale: np.ndarray  # (R,)
    norm_sq: np.ndarray  # (R,)
    root: np.ndarray  # (R,) norms
    residual: np.ndarray  # (R,)
    weight: np.ndarray  # (R,)
    radius: np.ndarray  # (R,) beyond which a neighbor is useless
    limit: np.ndarray  # (R,)
    slope: np.ndarray  # (R,)
    candidate: np.ndarray  # (R, capacity) int32, columns of the tile
    estimate: np.ndarray  # (R, capacity) squared distances
    filled: np.ndarray  # (R,) candidates in the list
    overflow: np.ndarray  # (R,) bool


def make_side(
    scale: np.ndarray, norm_sq: np.ndarray, residual: np.ndarray, radius: np.ndarray, capacity: int, bound: Bound
) -> Side:
    """Empty lists for rows that look for neighbors within `radius` (R,)."""
    n = len(norm_sq)
    side = Side(
        scale,
        norm_sq,
        np.sqrt(norm_sq),
        residual,
        norm_sq * (1 - bound.epsilon) - residual**2,
        np.minimum(radius, UNKNOWN),
        np.empty(n),
        np.empty(n),
        np.empty((n, capacity), np.int32),
        np.empty((n, capacity)),
        np.zeros(n, np.int64),
        np.zeros(n, np.bool_),
    )
    _thresholds(side, bound.epsilon, bound.eta)
    return side


@njit(cache=True, nogil=True)
def threshold(side, row, epsilon, eta):
    """The test of a row, from its radius.

    The lower bound of a distance is sqrt(estimate - slack) - residual_x - residual_y with estimate = n_x + n_y - 2 g
    and slack = 2 gamma m_x m_y + epsilon (n_x + n_y) + eta. It is at most the radius if

        n_y (1 - epsilon) - residual_y^2 - p <= reach^2 + eta - n_x (1 - epsilon) + 2 reach residual_y

    with reach = radius + residual_x: weight_y, limit_x and slope_x are the parts that belong to one row alone.
    """
    reach = side.radius[row] + side.residual[row]
    side.limit[row] = reach * reach * ROUND_UP + eta - side.norm_sq[row] * (1 - epsilon)
    side.slope[row] = 2 * reach * ROUND_UP


@njit(cache=True, nogil=True)
def _thresholds(side, epsilon, eta):
    for row in range(len(side.filled)):
        threshold(side, row, epsilon, eta)


@njit(cache=True, nogil=True)
def kth_smallest(values, n, k):
    """The k-th smallest (k from 1) of values[:n], which are reordered (quickselect)."""
    low, high = 0, n - 1
    place = k - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return values[place]


@njit(cache=True, nogil=True)
def shrink(side, row, other, k, constants, work):
    """Update the radius of a row from its candidates, and drop those that it excludes."""
    gamma2, epsilon, eta = constants
    n = side.filled[row]
    norm, root, residual = side.norm_sq[row], side.root[row], side.residual[row]
    if n >= k:
        for m in range(n):
            y = side.candidate[row, m]
            slack = gamma2 * root * other.root[y] + epsilon * (norm + other.norm_sq[y]) + eta
            work[m] = np.sqrt(max(side.estimate[row, m] + slack, 0.0)) + residual + other.residual[y]
        radius = kth_smallest(work, n, k) * ROUND_UP
        if radius < side.radius[row]:
            side.radius[row] = radius
            threshold(side, row, epsilon, eta)
    kept = 0
    for m in range(n):
        y = side.candidate[row, m]
        slack = gamma2 * root * other.root[y] + epsilon * (norm + other.norm_sq[y]) + eta
        reach = side.radius[row] + residual + other.residual[y]
        if side.estimate[row, m] - slack <= reach * reach * ROUND_UP:
            side.candidate[row, kept] = y
            side.estimate[row, kept] = side.estimate[row, m]
            kept += 1
    side.filled[row] = kept


@njit(cache=True, nogil=True)
def _make_room(side, row, other, k, constants, work):
    """Free places in a full list; if there are none to free, the row overflows and takes no more."""
    capacity = side.candidate.shape[1]
    if k > 0:
        shrink(side, row, other, k, constants, work)
    if side.filled[row] > capacity - capacity // 16 - 1:
        side.overflow[row] = True
        side.limit[row] = -np.inf
        side.slope[row] = 0.0
        side.filled[row] = 0


@njit(cache=True, nogil=True)
def first_radii(product, left, right, first_row, first_col, own, k, constants):
    """Where a row knows no radius yet: the k-th smallest upper bound of its distances in this piece of the tile."""
    gamma2, epsilon, eta = constants
    rows, cols = product.shape
    if cols <= k:
        return
    span = slice(first_col, first_col + cols)
    scale, root, residual, norm_sq = right.scale[span], right.root[span], right.residual[span], right.norm_sq[span]
    upper = np.empty(cols)
    for a in range(rows):
        x = first_row + a
        if left.radius[x] < UNKNOWN:
            continue
        line = product[a]
        twice, spread, norm = 2 * left.scale[x], gamma2 * left.root[x], left.norm_sq[x]
        for b in range(uint64(cols)):
            estimate = (norm + norm_sq[b]) * (1 + epsilon) - twice * (scale[b] * line[b]) + spread * root[b] + eta
            upper[b] = np.sqrt(max(estimate, 0.0)) + residual[b]
        if first_col <= own[x] < first_col + cols:
            upper[own[x] - first_col] = np.inf
        left.radius[x] = (kth_smallest(upper, cols, k) + left.residual[x]) * ROUND_UP
        threshold(left, x, epsilon, eta)


@njit(cache=True, nogil=True)
def select(product, left, right, first_row, first_col, own, both, k, constants, work):
    """Add the pairs of one piece of the tile that the bound cannot exclude to the lists of their rows.

    product (R, C): of rows first_row .. of `left` and first_col .. of `right`. own (rows of left,): the column that is
    the row itself, -1 if there is none. `both`: for the sake of either row, and only columns after a row's own; else
    for those of `left` alone.
    """
    gamma2 = constants[0]
    rows, cols = product.shape
    capacity = left.candidate.shape[1]
    left_candidate, left_estimate, left_filled = left.candidate, left.estimate, left.filled
    left_limit, left_slope = left.limit, left.slope
    right_candidate, right_estimate, right_filled = right.candidate, right.estimate, right.filled
    flags = np.zeros(COLUMNS, np.uint8)
    eights = flags.view(np.uint64)
    for start in range(0, cols, COLUMNS):
        width = min(COLUMNS, cols - start)
        first = first_col + start
        span = slice(first, first + width)
        scale, root, weight, residual = right.scale[span], right.root[span], right.weight[span], right.residual[span]
        norm_sq, limit_y, slope_y = right.norm_sq[span], right.limit[span], right.slope[span]
        flags[:] = 0
        for a in range(rows):
            x = first_row + a
            line = product[a, start : start + width]
            twice, spread, norm = 2 * left.scale[x], gamma2 * left.root[x], left.norm_sq[x]
            weight_x, residual_x, limit_x, slope_x = left.weight[x], left.residual[x], left_limit[x], left_slope[x]
            if both:
                for b in range(uint64(width)):
                    p = twice * (scale[b] * line[b]) + spread * root[b]
                    for_x = weight[b] - p <= limit_x + slope_x * residual[b]
                    flags[b] = for_x | (weight_x - p <= limit_y[b] + slope_y[b] * residual_x)
            else:
                for b in range(uint64(width)):
                    p = twice * (scale[b] * line[b]) + spread * root[b]
                    flags[b] = weight[b] - p <= limit_x + slope_x * residual[b]
            for eight in range((width + 7) >> 3):
                if eights[eight] == 0:
                    continue
                for b in range(8 * eight, min(8 * eight + 8, width)):
                    y = first + b
                    if flags[b] == 0 or y == own[x] or (both and y < own[x]):
                        continue
                    q = twice * (scale[b] * line[b])
                    p = q + spread * root[b]
                    estimate = norm + norm_sq[b] - q
                    if weight[b] - p <= left_limit[x] + left_slope[x] * residual[b]:
                        if left_filled[x] == capacity:
                            _make_room(left, x, right, k, constants, work)
                        n = left_filled[x]
                        left_candidate[x, n], left_estimate[x, n] = y, estimate
                        left_filled[x] = n + 1
                    if both and weight_x - p <= limit_y[b] + slope_y[b] * residual_x:
                        if right_filled[y] == capacity:
                            _make_room(right, y, left, k, constants, work)
                        n = right_filled[y]
                        right_candidate[y, n], right_estimate[y, n] = x, estimate
                        right_filled[y] = n + 1


@njit(cache=True, nogil=True)
def guess_radii(side, k, guess, first, last):
    """The k-th smallest estimated distance of each row; infinity where a list has fewer. Close, but no bound."""
    work = np.empty(side.candidate.shape[1])
    for row in range(first, last):
        n = side.filled[row]
        guess[row] = np.inf
        if n >= k:
            work[:n] = side.estimate[row, :n]
            guess[row] = np.sqrt(max(kth_smallest(work, n, k), 0.0))


@njit(cache=True, nogil=True)
def count_near(side, other, limit, constants, counts, first, last):
    """How many candidates of each row may be nearer than its limit."""
    for row in range(first, last):
        for m in range(side.filled[row]):
            counts[row] += _may_be_within(side, row, m, other, limit[row], constants)


@njit(cache=True, nogil=True)
def take_near(side, other, limit, constants, places, rows, cols, first, last):
    """Move those candidates from the lists to rows and cols, from places[row] on."""
    for row in range(first, last):
        place, kept = places[row], 0
        for m in range(side.filled[row]):
            if _may_be_within(side, row, m, other, limit[row], constants):
                rows[place], cols[place] = row, side.candidate[row, m]
                place += 1
            else:
                side.candidate[row, kept] = side.candidate[row, m]
                side.estimate[row, kept] = side.estimate[row, m]
                kept += 1
        side.filled[row] = kept


@njit(cache=True, nogil=True)
def _may_be_within(side, row, m, other, limit, constants):
    """Whether the lower bound of a candidate's distance is at most `limit`."""
    gamma2, epsilon, eta = constants
    y = side.candidate[row, m]
    slack = gamma2 * side.root[row] * other.root[y] + epsilon * (side.norm_sq[row] + other.norm_sq[y]) + eta
    reach = min(limit, UNKNOWN) + side.residual[row] + other.residual[y]
    return side.estimate[row, m] - slack <= reach * reach * ROUND_UP


@njit(cache=True, nogil=True)
def shorten(limit, known, ranks, k, values, filled, squared, first, last):
    """Lower a row's limit to the nearest known distance within which there are k neighbors, known ones and found ones.

    known (R, m): distances of the row's neighbors of these ranks in other tiles; values (R, n), the first filled (R,)
    of which count: distances of those found in this one (squared ones if `squared`).
    """
    for row in range(first, last):
        for j in range(len(ranks)):
            d = known[row, j]
            if not d < limit[row]:
                break
            reach = d * d if squared else d
            found = 0
            for m in range(filled[row]):
                found += values[row, m] <= reach
            if found >= k - ranks[j]:
                limit[row] = d
                break
