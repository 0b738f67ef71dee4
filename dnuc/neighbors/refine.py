"""Exact distances of candidate pairs, and the merging of candidates into sorted lists.

The squared difference of feature f is added to lane f mod 8, each lane in increasing f; the eight lanes are summed
in one fixed order. The result does not depend on how the features were cut into chunks (chunks start at multiples of
8), nor on the machine: without fast-math there is no reordering and no fused multiply-add.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 8
_STRIP = 1024  # features that stay in cache while all pairs pass over them


@njit(cache=True, nogil=True)
def add_squared_differences(left, right, rows, cols, lanes):
    """Add the squared differences of some features of the pairs (rows[p], cols[p]) to their lanes.

    left (R, F), right (C, F): the same F features of two blocks, F a multiple of 8 except at the end of the vector;
    rows, cols (P,): the pairs; lanes (P, 8) float64: what was summed over earlier features, changed in place.
    """
    features = left.shape[1]
    for first in range(0, features, _STRIP):
        last = min(first + _STRIP, features)
        whole = first + (last - first) // LANES * LANES
        for p in range(len(rows)):
            x = left[rows[p]]
            y = right[cols[p]]
            a0, a1, a2, a3, a4, a5, a6, a7 = lanes[p]
            for f in range(first, whole, LANES):
                d0 = np.float64(x[f]) - np.float64(y[f])
                d1 = np.float64(x[f + 1]) - np.float64(y[f + 1])
                d2 = np.float64(x[f + 2]) - np.float64(y[f + 2])
                d3 = np.float64(x[f + 3]) - np.float64(y[f + 3])
                d4 = np.float64(x[f + 4]) - np.float64(y[f + 4])
                d5 = np.float64(x[f + 5]) - np.float64(y[f + 5])
                d6 = np.float64(x[f + 6]) - np.float64(y[f + 6])
                d7 = np.float64(x[f + 7]) - np.float64(y[f + 7])
                a0 += d0 * d0
                a1 += d1 * d1
                a2 += d2 * d2
                a3 += d3 * d3
                a4 += d4 * d4
                a5 += d5 * d5
                a6 += d6 * d6
                a7 += d7 * d7
            lanes[p, 0] = a0
            lanes[p, 1] = a1
            lanes[p, 2] = a2
            lanes[p, 3] = a3
            lanes[p, 4] = a4
            lanes[p, 5] = a5
            lanes[p, 6] = a6
            lanes[p, 7] = a7
            for f in range(whole, last):
                d = np.float64(x[f]) - np.float64(y[f])
                lanes[p, f - whole] += d * d


def lane_distances(lanes: np.ndarray) -> np.ndarray:
    """Euclidean distances (P,) from the lanes (P, 8), summed in one fixed order."""
    total = lanes[:, 0].copy()
    for lane in range(1, LANES):
        total += lanes[:, lane]
    return np.sqrt(total)


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
