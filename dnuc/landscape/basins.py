"""Which peak every sample belongs to before any peak is judged: the total order, the centers, the basins."""

from __future__ import annotations

import numpy as np
from numba import njit

from dnuc.landscape.density import Density


def density_order(density: Density) -> np.ndarray:
    """Samples from the densest to the least dense, under the total order (g, then smaller sample number).

    g = log rho - error is the density that a sample has with some confidence: a high value that rests on few
    neighbors counts for less (d'Errico et al. 2021, Sec. 2.2). The sample number breaks ties, so that a region
    of equal densities has one summit.

    Returns
    -------
    (N,) int64
        Sample numbers.
    """
    return np.argsort(-(density.log_density - density.error), kind="stable")


def find_basins(index: np.ndarray, k: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide the samples into basins, one for each local maximum of the density.

    A sample is a center if none of its k neighbors is denser and it lies in no neighborhood of a denser sample
    (Doimo et al. 2020, Sec. 2.2, I and II). From dense to sparse, every other sample joins the basin of its
    nearest stored neighbor that is already in one; if there is none, that of the densest sample that has it as
    one of its k neighbors. A center is in its own basin from the start.

    Parameters
    ----------
    index : (N, K) int64
        Neighbors, nearest first.
    k : (N,) int64
        How many of the K make up the neighborhood of each sample.
    order : (N,) int64
        Samples from dense to sparse, see `density_order`.

    Returns
    -------
    centers : (P,) int64
        Sample numbers of the centers, densest first.
    basin : (N,) int64
        Position in `centers` of each sample's center.
    """
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    densest_host = _densest_host(index, k, rank)
    is_center = _no_denser_neighbor(index, k, rank) & (densest_host > rank)
    centers = order[is_center[order]]
    basin = np.full(len(order), -1, dtype=np.int64)
    basin[centers] = np.arange(len(centers))
    _join(index, order, densest_host, basin)
    return centers, basin


@njit(cache=True, nogil=True)
def _densest_host(index, k, rank):
    """(N,): the best rank among the samples that have each sample in their neighborhood; N if there are none."""
    n = len(rank)
    host = np.full(n, n, dtype=np.int64)
    for i in range(n):
        for column in range(k[i]):
            j = index[i, column]
            host[j] = min(host[j], rank[i])
    return host


@njit(cache=True, nogil=True)
def _no_denser_neighbor(index, k, rank):
    """(N,) bool: no sample of the neighborhood is denser."""
    n = len(rank)
    highest = np.ones(n, dtype=np.bool_)
    for i in range(n):
        for column in range(k[i]):
            if rank[index[i, column]] < rank[i]:
                highest[i] = False
                break
    return highest


@njit(cache=True, nogil=True)
def _join(index, order, densest_host, basin):
    """Fill `basin` (N,), which holds the centers' own numbers and -1 elsewhere, from dense to sparse."""
    for i in order:
        if basin[i] >= 0:
            continue
        for j in index[i]:
            if basin[j] >= 0:
                basin[i] = basin[j]
                break
        # Without a labeled neighbor it is no center only because a denser sample has it as a neighbor.
        if basin[i] < 0:
            basin[i] = basin[order[densest_host[i]]]
