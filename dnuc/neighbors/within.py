"""How near samples are to each other: how many lie within a radius of each, and the distances of given pairs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from distributed import Client

from dnuc.errors import DnucError
from dnuc.neighbors.blocks import Blocks
from dnuc.neighbors.counting import Ball, TileCounts, count_tile, planned
from dnuc.neighbors.graph import Precision, TileSearch, run_searches, spread
from dnuc.neighbors.pairs import PairDistances, Pairs, pair_tile
from dnuc.neighbors.search import checked_array, plan_tiles


class CountSearch(TileSearch):
    """Samples within a radius: counts of tiles are added."""

    def __init__(self, sources: list[Any], blocks: Blocks, ball: Ball, **settings: Any) -> None:
        super().__init__(sources, blocks, **settings)
        self._ball = ball
        self.counts = np.zeros(ball.radius.shape, np.int64)

    @property
    def reduction(self) -> Callable[..., TileCounts]:
        return count_tile

    def known(self, block: int) -> Ball:
        span = self.blocks.span(block)
        return Ball(self._ball.radius[span], self._ball.before[span])

    def absorb(self, i: int, j: int, result: TileCounts) -> None:
        self.settle(result)
        self.counts[self.blocks.span(i)] += result.left
        if i != j:
            self.counts[self.blocks.span(j)] += result.right


class PairSearch(TileSearch):
    """Distances of given pairs: those of a tile are put in their places."""

    def __init__(self, sources: list[Any], blocks: Blocks, rows: np.ndarray, cols: np.ndarray, **settings: Any) -> None:
        super().__init__(sources, blocks, **settings)
        self.distance = np.zeros(len(rows))
        order = np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], [blocks.span(b).start for b in range(blocks.count)] + [blocks.n])
        places = [order[first:last] for first, last in pairwise(cuts)]
        self._pairs = [Pairs(rows[p], cols[p], p) for p in places]
        wanted = set(zip((rows // blocks.rows).tolist(), (cols // blocks.rows).tolist(), strict=True))
        self.left = [(i, j) for i, j in self.left if (i, j) in wanted or (j, i) in wanted]

    @property
    def reduction(self) -> Callable[..., PairDistances]:
        return pair_tile

    def known(self, block: int) -> Pairs:
        return self._pairs[block]

    def absorb(self, i: int, j: int, result: PairDistances) -> None:
        self.distance[result.place] = result.distance


def count_within(
    x: Any,
    radius: Any,
    *,
    before: Any = None,
    precision: Precision = "auto",
    memory_limit: int | str | None = None,
    client: Client | None = None,
) -> np.ndarray:
    """How many other samples lie within a radius of each sample: exact, whatever the settings.

    With the distance and the position of a sample's neighbor as `radius` and `before`, the count plus one is that
    neighbor's rank in the total order (distance, index): what the information imbalance (Glielmo, Zeni, Cheng, Csanyi,
    Laio 2022) asks of a second representation, however large the rank is.

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array or Dask array.
    radius : float, (N,) or (N, m) array
        Euclidean distances, not negative; infinity counts all. Several radii a sample are counted from the same
        products, in much less time than one after the other.
    before : array of int, shaped as radius, optional
        Of samples at just the radius, count only those whose position is smaller than this; all when absent.
    precision, memory_limit, client
        As in `nearest_neighbors`. With several radii "auto" is float32: coarser products leave too many pairs open.

    Returns
    -------
    (N,) or (N, m) int64
        The sample itself is not counted.

    Raises
    ------
    DnucError
        If x is not a 2-D array of numbers, a radius is negative or NaN, or radius or before has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> count_within(np.array([[0.0], [1.0], [3.0]]), radius=2.0)
    array([1, 2, 1])
    """
    x = checked_array(x, 1)
    ball = _ball(radius, before, x.shape[0])
    balls = 1 if ball.radius.ndim == 1 else ball.radius.shape[1]
    tier: Precision = "float32" if precision == "auto" and balls > 1 else precision
    blocks, settings = plan_tiles(x, planned(balls), memory_limit, client, tier)
    search = CountSearch(spread(x, blocks, client), blocks, ball, **settings)
    for _ in run_searches([search], client):
        pass
    return search.counts


def _ball(radius: Any, before: Any, n: int) -> Ball:
    radii = np.asarray(radius, dtype=np.float64)
    if radii.ndim == 0:
        radii = np.full(n, radii)
    if radii.ndim not in (1, 2) or len(radii) != n or radii.size == 0:
        raise DnucError(f"radius has shape {radii.shape}; x has {n} samples, so it must be ({n},) or ({n}, m)")
    limit = np.full(radii.shape, n) if before is None else np.asarray(before)
    if limit.shape != radii.shape:
        raise DnucError(f"before has shape {limit.shape} and radius {radii.shape}: both must be of one shape")
    if not (radii >= 0).all():
        first = np.argwhere(~(radii >= 0))[0]
        value = radii[tuple(first)]
        raise DnucError(f"radius of sample {first[0]} is {value}; it must be a distance: 0 or more, not NaN")
    if limit.dtype.kind not in "iu":
        raise DnucError(f"before has type {limit.dtype}; it must be positions of samples, integers")
    return Ball(radii, limit.astype(np.int64))


def pair_distances(
    x: Any, rows: Any, cols: Any, *, memory_limit: int | str | None = None, client: Client | None = None
) -> np.ndarray:
    """Euclidean distances of given pairs of samples: the very numbers that `nearest_neighbors` gives, bit for bit.

    As a radius of `count_within` they split ties as neighbors do: it asks how many samples are nearer to a sample than
    some other one, for which any rounding of its own would be too much.

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array or Dask array.
    rows, cols : (P,) arrays of int
        The two samples of each pair, 0 .. N - 1.
    memory_limit, client
        As in `nearest_neighbors`.

    Returns
    -------
    (P,) float64

    Raises
    ------
    DnucError
        If x is not a 2-D array of numbers, or rows and cols are not positions of its samples.

    Examples
    --------
    >>> import numpy as np
    >>> pair_distances(np.array([[0.0, 0.0], [3.0, 4.0]]), rows=[0, 1], cols=[1, 1])
    array([5., 0.])
    """
    x = checked_array(x, 1)
    first, second = _positions(rows, cols, x.shape[0])
    blocks, settings = plan_tiles(x, 1, memory_limit, client, "float32")
    search = PairSearch(spread(x, blocks, client), blocks, first, second, **settings)
    for _ in run_searches([search], client):
        pass
    return search.distance


def _positions(rows: Any, cols: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(rows), np.asarray(cols)
    if first.ndim != 1 or first.shape != second.shape:
        raise DnucError(f"rows have shape {first.shape} and cols {second.shape}; both must be (P,)")
    for name, values in (("rows", first), ("cols", second)):
        if values.size and (values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= n):
            raise DnucError(f"{name} must be positions of samples, integers from 0 to {n - 1}")
    return first.astype(np.int64), second.astype(np.int64)
