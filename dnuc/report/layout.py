"""Where discs of a schematic map go: peaks with a high pass between them lie close, and no two discs overlap."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial import KDTree
from scipy.spatial.distance import squareform
from sklearn.manifold import smacof

from dnuc.report.peaks import Peaks

MOST = 2000  # peaks whose distances are held in memory at once
ROOM = 1.06  # discs are kept apart as if they were larger by this factor


def pass_distance(peaks: Peaks, kept: np.ndarray) -> np.ndarray:
    """How far one must descend from the highest peak to walk from one kept peak to another.

    log rho_max - log rho of the lowest saddle on the best way (the minimax path over saddles; single linkage).
    Pairs that no chain of saddles connects get a fifth more than the largest such distance.

    Parameters
    ----------
    kept : (n,) int64
        Peaks of interest. Ways lead over the `MOST` largest peaks.

    Returns
    -------
    (n, n) float64
        Symmetric, 0 on the diagonal.
    """
    used = np.union1d(np.argsort(-peaks.size, kind="stable")[:MOST], kept)
    if len(used) < 2:
        return np.zeros((len(kept), len(kept)))
    position = np.full(len(peaks), -1)
    position[used] = np.arange(len(used))
    a, b = position[peaks.saddles["peak_a"]], position[peaks.saddles["peak_b"]]
    inside = (a >= 0) & (b >= 0)
    drop = peaks.summit - peaks.saddles["log_density"].to_numpy()[inside]
    largest = drop.max() if drop.size else 1.0
    distance = np.full((len(used), len(used)), 1.2 * max(largest, 1e-9))
    distance[a[inside], b[inside]] = distance[b[inside], a[inside]] = drop
    np.fill_diagonal(distance, 0)
    passes = squareform(cophenet(linkage(squareform(distance, checks=False), "single")))
    rows = position[kept]
    return passes[np.ix_(rows, rows)]


def place_discs(distance: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Centers of discs in the plane whose gaps follow `distance` as well as a plane allows; none overlap.

    Stress majorization (SMACOF) from a fixed start, then discs that still overlap are pushed apart: the same
    input gives the same picture. Only closeness has a meaning, directions have none.

    Parameters
    ----------
    distance : (n, n) float64
        Symmetric, 0 on the diagonal.
    radius : (n,) float64

    Returns
    -------
    (n, 2) float64
        Centered on the origin.
    """
    n = len(radius)
    if n == 1:
        return np.zeros((1, 2))
    gap = 0.2 * n**0.25 * distance / max(distance.max(), 1e-9)
    target = (radius[:, None] + radius + gap) * (1 - np.eye(n))
    start = np.random.default_rng(0).normal(size=(n, 2)) * target.mean()
    found = smacof(target, n_components=2, init=start, n_init=1, max_iter=200, eps=1e-4, normalized_stress=False)
    position = _push_apart(found[0], radius)
    return position - _middle(position, radius)


def _push_apart(position: np.ndarray, radius: np.ndarray, rounds: int = 500) -> np.ndarray:
    """Move overlapping discs away from each other until there is a little room between any two."""
    position = position.copy()
    for _ in range(rounds):
        a, b = KDTree(position).query_pairs(2 * ROOM * radius.max(), output_type="ndarray").T
        offset = position[a] - position[b]  # (pairs, 2)
        length = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
        excess = np.maximum(ROOM * (radius[a] + radius[b]) - length, 0)
        if not excess.any():
            break
        push = 0.4 * offset * (excess / length)[:, None]
        np.add.at(position, a, push)
        np.subtract.at(position, b, push)
    return position


def _middle(position: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """(2,) the middle of the rectangle around all discs."""
    low = (position - radius[:, None]).min(axis=0)
    high = (position + radius[:, None]).max(axis=0)
    return (low + high) / 2
