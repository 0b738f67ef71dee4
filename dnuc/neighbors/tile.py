"""One tile: the exact neighbors that two row blocks find in each other, on a CPU or on an accelerator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.neighbors.crew import crew
from dnuc.neighbors.device import DeviceNeighbors
from dnuc.neighbors.filtering import Filtered
from dnuc.neighbors.nearest import Found, NeighborFilter
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.tiers import FLOAT32, Tier

NOTHING = Found(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True)
class TileResult(Filtered):
    """What a tile found for the rows of both its blocks, and how."""

    left: Found
    right: Found


def tile(
    left: Rows,
    right: Rows,
    known_left: np.ndarray,
    known_right: np.ndarray,
    k: int,
    tier: Tier = FLOAT32,
    threads: int = 1,
    device: str = "cpu",
) -> TileResult:
    """The candidates among the k nearest that blocks `left` and `right` find in each other.

    Parameters
    ----------
    left, right : Rows
        Two blocks of one array; the same block for a diagonal tile.
    known_left, known_right : (R,), (C,) or (R, m), (C, m) float64
        Each row's distance of its k-th best neighbor so far (infinity if it has fewer): farther pairs are useless. Or
        the distances at all ranks of `ladder(k)`, which is better, if none of them was found by this very tile, or all
        that it finds is known already.
    k : int
        Neighbors wanted.
    tier : Tier
        How precisely the filter multiplies; the result does not depend on it.
    threads : int
        Threads of this process that share the work.
    device : str
        Where products and distances are computed.

    Raises
    ------
    DataError
        NaN or infinite values, or values whose squared distances overflow float64.
    """
    with crew(threads) as workers:
        known = (known_left, known_right)
        if device == "cpu":
            work = NeighborFilter(left, right, known, k, workers)
        else:
            work = DeviceNeighbors(left, right, known, k, workers, device)
        work.run(tier)
        found = [work.best[block].found(work.radius(block)) for block in (0, 1)]
    return TileResult(found[0], NOTHING if work.same else found[1], **work.how)
