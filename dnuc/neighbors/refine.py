"""Exact distances of candidate pairs, and the merging of candidates into sorted lists.

Squared differences are summed in one fixed order: in strips of 512 features, aligned to the vector's start; within a
strip feature f goes to lane f mod 16, each lane in increasing f; then the lanes in pairs, the upper half to the lower,
then the strips in order. Features beyond the last whole step of 16 have lanes of their own, whose sum is added to that
of the strip. So the result does not depend on how the features were cut into chunks (chunks are whole strips), nor on
the machine: nothing is reordered, and no multiplication is fused with an addition.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dnuc.neighbors.simd import LANES, squared_differences

SAME = 1 - 1e-11  # two sums of the same squared differences, in whatever order, differ by less
STRIP = 512  # features; short enough that the strips of some thousand rows stay in cache while all pairs pass over them


@njit(cache=True, nogil=True)
def add_squared_differences(left, right, rows, cols, total):
    """Add the squared differences of some features of the pairs (rows[p], cols[p]) to their totals.

    left (R, F), right (C, F): the same F features of two blocks, from a multiple of STRIP on, F a multiple of STRIP
    except at the end of the vector; both C-contiguous. rows, cols (P,): the pairs; total (P,) float64: changed in
    place.
    """
    features = left.shape[1]
    x, y = np.zeros(LANES, left.dtype), np.zeros(LANES, right.dtype)
    for first in range(0, features, STRIP):
        width = min(STRIP, features - first)
        steps = width // LANES
        rest = width - steps * LANES
        for p in range(len(rows)):
            a = rows[p] * features + first
            b = cols[p] * features + first
            if rest == 0:
                total[p] += squared_differences(left, right, a, b, steps)
                continue
            # the last strip: what is left over fills up with zeros to one more step
            for f in range(rest):
                x[f] = left[rows[p], first + steps * LANES + f]
                y[f] = right[cols[p], first + steps * LANES + f]
            total[p] += squared_differences(left, right, a, b, steps) + squared_differences(x, y, 0, 0, 1)


@njit(cache=True, nogil=True)
def group_by_row(rows, n):
    """Where the entries of each of n rows are: those of row r at order[starts[r] : starts[r + 1]]."""
    starts = np.zeros(n + 1, np.int64)
    for r in rows:
        starts[r + 1] += 1
    for r in range(n):
        starts[r + 1] += starts[r]
    places = starts[:-1].copy()
    order = np.empty(len(rows), np.int64)
    for p in range(len(rows)):
        order[places[rows[p]]] = p
        places[rows[p]] += 1
    return order, starts


@njit(cache=True, nogil=True)
def merge_grouped(index, distance, order, starts, candidates, distances, first, last):
    """Merge candidates into the sorted lists of rows first .. last - 1, in place; see `merge_candidates`."""
    k = index.shape[1]
    most = 0
    for r in range(first, last):
        most = max(most, starts[r + 1] - starts[r])
    near, who = np.empty(most), np.empty(most, np.int64)
    near_before, who_before = np.empty(k), np.empty(k, np.int64)
    for r in range(first, last):
        n = 0
        farthest = distance[r, k - 1]
        for p in order[starts[r] : starts[r + 1]]:
            if distances[p] <= farthest:
                near[n], who[n] = distances[p], candidates[p]
                n += 1
        if n == 0:
            continue
        _sort(near, who, n)
        near_before[:], who_before[:] = distance[r], index[r]
        a, b, place = 0, 0, 0
        while place < k:
            if b < n and (near[b] < near_before[a] or (near[b] == near_before[a] and _before(who[b], who_before[a]))):
                d, c = near[b], who[b]
                b += 1
            else:
                d, c = near_before[a], who_before[a]
                a += 1
            if c >= 0 and _listed(index[r], distance[r], place, c, d):
                continue
            distance[r, place], index[r, place] = d, c
            place += 1


@njit(cache=True, nogil=True)
def _listed(index, distance, place, c, d):
    """Whether candidate c is among the first `place` entries: at its distance d, but for the last bits of a GPU."""
    while place > 0 and distance[place - 1] >= d * SAME:
        place -= 1
        if index[place] == c:
            return True
    return False


@njit(cache=True, nogil=True)
def _before(one, other):
    """Whether a sample comes before another at the same distance; an empty place (-1) comes last."""
    return other < 0 or one < other


@njit(cache=True, nogil=True)
def _sort(near, who, n):
    """Sort the first n pairs (distance, index), in place: quicksort, short pieces by insertion."""
    stack = np.empty((64, 2), np.int64)
    stack[0, 0], stack[0, 1] = 0, n - 1
    top = 1
    while top > 0:
        top -= 1
        low, high = stack[top, 0], stack[top, 1]
        while high - low > 16:
            middle = (low + high) >> 1
            pivot, pivot_who = near[middle], who[middle]
            i, j = low, high
            while i <= j:
                while near[i] < pivot or (near[i] == pivot and who[i] < pivot_who):
                    i += 1
                while near[j] > pivot or (near[j] == pivot and who[j] > pivot_who):
                    j -= 1
                if i <= j:
                    near[i], near[j] = near[j], near[i]
                    who[i], who[j] = who[j], who[i]
                    i += 1
                    j -= 1
            # the longer part waits on the stack, so that it never holds more than log2(n) parts
            if j - low < high - i:
                stack[top, 0], stack[top, 1] = i, high
                high = j
            else:
                stack[top, 0], stack[top, 1] = low, j
                low = i
            top += 1
        for m in range(low + 1, high + 1):
            d, c = near[m], who[m]
            place = m
            while place > low and (near[place - 1] > d or (near[place - 1] == d and who[place - 1] > c)):
                near[place], who[place] = near[place - 1], who[place - 1]
                place -= 1
            near[place], who[place] = d, c


def merge_candidates(
    index: np.ndarray, distance: np.ndarray, rows: np.ndarray, candidates: np.ndarray, distances: np.ndarray
) -> None:
    """Merge candidates into each row's sorted list of k, in place, under the total order (distance, index).

    index (R, k) int64 and distance (R, k) float64 hold the best so far (-1 and infinity where there is none yet);
    rows, candidates, distances (P,) are added. A candidate that is already listed is not listed twice, so merging is
    idempotent, and the result does not depend on the order of merging.
    """
    order, starts = group_by_row(rows, len(index))
    merge_grouped(index, distance, order, starts, candidates, distances, 0, len(index))
