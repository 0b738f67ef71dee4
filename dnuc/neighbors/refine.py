"""Exact distances of candidate pairs, and the merging of candidates into sorted lists.

Squared differences are summed in one fixed order: in strips of 1024 features, aligned to the vector's start; within a
strip feature f goes to lane f mod 64, each lane in increasing f; then the lanes in order, then the strips in order. So
the result does not depend on how the features were cut into chunks (chunks are whole strips), nor on the machine:
without fast-math there is no reordering and no fused multiply-add.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

STRIP = 1024  # features; short enough that two blocks' strips stay in cache while all pairs pass over them
LANES = 64


@njit(cache=True, nogil=True)
def add_squared_differences(left, right, rows, cols, total):
    """Add the squared differences of some features of the pairs (rows[p], cols[p]) to their totals.

    left (R, F), right (C, F): the same F features of two blocks, from a multiple of STRIP on, F a multiple of STRIP
    except at the end of the vector; rows, cols (P,): the pairs; total (P,) float64: changed in place.
    """
    lanes = np.empty(LANES)
    features = left.shape[1]
    for first in range(0, features, STRIP):
        last = min(first + STRIP, features)
        for p in range(len(rows)):
            total[p] += _strip_sum(left[rows[p]], right[cols[p]], lanes, first, last)


@njit(cache=True, nogil=True)
def _strip_sum(x, y, lanes, first, last):
    """Sum of (x - y)^2 over features first .. last - 1."""
    lanes[:] = 0.0
    whole = first + (last - first) // LANES * LANES
    # unsigned counters spare a test for negative indices, which would keep the loop from being vectorized
    for f in range(uint64(first), uint64(whole), uint64(LANES)):
        for lane in range(uint64(LANES)):
            d = np.float64(x[f + lane]) - np.float64(y[f + lane])
            lanes[lane] += d * d
    for lane in range(last - whole):
        d = np.float64(x[whole + lane]) - np.float64(y[whole + lane])
        lanes[lane] += d * d
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    return total


@njit(cache=True, nogil=True)
def merge_candidates(index, distance, rows, candidates, distances):
    """Merge candidates into each row's sorted list of k, in place, under the total order (distance, index).

    index (R, k) int64 and distance (R, k) float64 hold the best so far (-1 and infinity where there is none yet);
    rows, candidates, distances (P,) are added. A candidate that is already listed is not listed twice, so merging is
    idempotent, and the result does not depend on the order of merging.
    """
    k = index.shape[1]
    for p in range(len(rows)):
        r = rows[p]
        d = distances[p]
        c = candidates[p]
        if d > distance[r, k - 1] or (d == distance[r, k - 1] and c >= index[r, k - 1] >= 0):
            continue
        place = k - 1
        while place > 0 and (distance[r, place - 1] > d or (distance[r, place - 1] == d and index[r, place - 1] > c)):
            place -= 1
        if place > 0 and index[r, place - 1] == c:
            continue
        for m in range(k - 1, place, -1):
            distance[r, m] = distance[r, m - 1]
            index[r, m] = index[r, m - 1]
        distance[r, place] = d
        index[r, place] = c
