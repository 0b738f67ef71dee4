"""Exact distances of pairs that somebody names: the same sums as those of neighbors, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnuc.neighbors.blocks import CHUNK, panels
from dnuc.neighbors.crew import Crew, crew
from dnuc.neighbors.refine import add_squared_differences
from dnuc.neighbors.rows import Rows, read_ahead
from dnuc.neighbors.tiers import FLOAT32, Tier


@dataclass(frozen=True)
class Pairs:
    """Pairs of samples whose first is in one block: positions in the whole array, and the place of each pair."""

    row: np.ndarray  # (P,)
    col: np.ndarray  # (P,)
    place: np.ndarray  # (P,) where the distance belongs

    def between(self, rows: slice, cols: slice) -> Pairs:
        """Those whose second sample is in a block too, positions counted from the start of the blocks."""
        inside = (self.col >= cols.start) & (self.col < cols.stop)
        return Pairs(self.row[inside] - rows.start, self.col[inside] - cols.start, self.place[inside])


@dataclass(frozen=True)
class PairDistances:
    """What a tile found: distances (P,) and their places."""

    place: np.ndarray
    distance: np.ndarray


def pair_tile(
    left: Rows,
    right: Rows,
    pairs_left: Pairs,
    pairs_right: Pairs,
    tier: Tier = FLOAT32,
    threads: int = 1,
    device: str = "cpu",
) -> PairDistances:
    """Distances of the pairs between two blocks, whichever of the two has a pair's first sample.

    `tier` and `device` are accepted as every reduction's are; nothing is filtered.
    """
    spans = slice(left.start, left.stop), slice(right.start, right.stop)
    there = pairs_left.between(*spans)
    same = left.start == right.start
    back = Pairs(*(np.zeros(0, np.int64),) * 3) if same else pairs_right.between(spans[1], spans[0])
    rows, cols = np.concatenate([there.row, back.col]), np.concatenate([there.col, back.row])
    with crew(threads) as workers:
        distance = direct_distances((left,) if same else (left, right), rows, cols, workers, check=True)
    if not np.isfinite(distance).all():
        raise left.too_large()
    return PairDistances(np.concatenate([there.place, back.place]), distance)


def direct_distances(
    blocks: Sequence[Rows], rows: np.ndarray, cols: np.ndarray, workers: Crew, *, check: bool = False
) -> np.ndarray:
    """Euclidean distances (P,) of the pairs (rows[p] of the first block, cols[p] of the last), float64 direct sums.

    check: refuse values that are not finite; who has filtered them before knows that there are none.
    """
    total = np.zeros(len(rows))
    for features, values in read_ahead(blocks, panels(0, blocks[0].features, CHUNK) if len(rows) else ()):
        if check:
            for block, part in zip(blocks, values, strict=True):
                block.check(part, features)

        def add(first: int, last: int, values: list[np.ndarray] = values) -> None:
            part = slice(first, last)
            add_squared_differences(values[0], values[-1], rows[part], cols[part], total[part])

        workers.share(add, len(rows))
    return np.sqrt(total)
