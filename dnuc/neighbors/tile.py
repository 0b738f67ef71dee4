"""One tile: the exact neighbors that two row blocks find in each other, on a CPU or on an accelerator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.neighbors.crew import crew
from dnuc.neighbors.device import DeviceNeighbors
from dnuc.neighbors.nearest import Best, Found, NeighborFilter
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.tiers import FLOAT32, Tier


@dataclass(frozen=True)
class TileResult:
    """What a tile found for the rows of both its blocks, and how many rows a finer tier had to redo."""

    left: Found
    right: Found
    redone: int = 0


def tile(
    left: Rows,
    right: Rows,
    radius_left: np.ndarray,
    radius_right: np.ndarray,
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
    radius_left, radius_right : (R,), (C,) float64
        Each row's distance of its k-th best neighbor so far (infinity if it has fewer): farther pairs are useless.
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
        radii = (radius_left, radius_right)
        if device == "cpu":
            work = NeighborFilter(left, right, radii, k, workers)
        else:
            work = DeviceNeighbors(left, right, radii, k, workers, device)
        work.run(tier)
    nothing = Best(0, k, left.start)
    return TileResult(work.best[0].found(), (nothing if work.same else work.best[1]).found(), work.redone)
