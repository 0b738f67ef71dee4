"""Exact distances of candidate pairs, and the merging of candidates into sorted lists.

Squared differences are summed in one fixed order: in strips of 512 features, aligned to the vector's start; within a
strip feature f goes to lane f mod 16, each lane in increasing f; then the lanes in pairs, then the strips in order. So
the result does not depend on how the features were cut into chunks (chunks are whole strips), nor on the machine:
nothing is reordered, and no multiplication is fused with an addition.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dnuc.neighbors.simd import LANES, squared_differences

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
def merge_candidates(index, distance, rows, candidates, distances, first=0, last=2**62):
    """Merge candidates into each row's sorted list of k, in place, under the total order (distance, index).

    index (R, k) int64 and distance (R, k) float64 hold the best so far (-1 and infinity where there is none yet);
    rows, candidates, distances (P,) are added, those for rows first .. last - 1. A candidate that is already listed is
    not listed twice, so merging is idempotent, and the result does not depend on the order of merging.
    """
    k = index.shape[1]
    for p in range(len(rows)):
        r = rows[p]
        if r < first or r >= last:
            continue
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
