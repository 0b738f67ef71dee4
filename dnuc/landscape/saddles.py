"""Where two basins touch: border points, and the densest of them, the saddle."""

from __future__ import annotations

import numpy as np
from numba import njit


def find_saddles(
    index: np.ndarray, k: np.ndarray, order: np.ndarray, basin: np.ndarray, not_border: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The border points of every basin, and of each pair of basins that touch the densest of them: its saddle.

    A sample p of basin c is a border point towards basin c' if the nearest of its k neighbors that is not in c,
    q, lies in c', and p is the first sample of c in q's own list of stored neighbors (p counts when that list
    holds no sample of c). The saddle of a pair is the densest border point of both sides (d'Errico et al. 2021,
    Sec. 2.3).

    Parameters
    ----------
    index : (N, K) int64
        Neighbors, nearest first.
    k : (N,) int64
        How many of the K make up the neighborhood of each sample.
    order : (N,) int64
        Samples from dense to sparse.
    basin : (N,) int64
        The basin of each sample.
    not_border : (n,) int64
        Samples that may not be border points.

    Returns
    -------
    pairs : (S, 2) int64
        Basins that touch, the smaller number first, in ascending order.
    samples : (S,) int64
        The saddle points.
    facing : (N,) int64
        The basin that a border point faces; -1 for samples that are none.
    """
    facing = _facing(index, k, basin)
    facing[not_border] = -1
    border = order[facing[order] >= 0]  # densest first
    low, high = np.minimum(basin[border], facing[border]), np.maximum(basin[border], facing[border])
    n_basins = int(basin.max()) + 1
    # np.unique gives the first, hence densest, border point of each pair.
    pair, densest = np.unique(low * n_basins + high, return_index=True)
    return np.column_stack(np.divmod(pair, n_basins)), border[densest], facing


@njit(cache=True, nogil=True)
def _facing(index, k, basin):
    """(N,): the basin that each border point faces; -1 for samples that are no border points."""
    n = len(basin)
    facing = np.full(n, -1, dtype=np.int64)
    for p in range(n):
        for column in range(k[p]):
            q = index[p, column]
            if basin[q] != basin[p]:
                if _is_first_of_its_basin(index[q], basin, p):
                    facing[p] = basin[q]
                break
    return facing


@njit(cache=True, nogil=True)
def _is_first_of_its_basin(row, basin, p):
    """Whether `row`, a list of neighbors, holds no sample of p's basin before p."""
    for i in row:
        if i == p:
            return True
        if basin[i] == basin[p]:
            return False
    return True
