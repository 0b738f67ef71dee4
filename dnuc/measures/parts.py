"""TwoNN within parts of the samples: in disjoint random blocks (decimation), in classes. Exact, with shared work.

A part's neighbors are found anew among its own samples, but not always by a search: in a list of the nearest neighbors
within a set that holds the part, members of the part are in the part's own order, and at the same distances. So

1. whoever has two members of the part in the stored list of the whole set has its two nearest in the part there;
2. parts where somebody lacks some are searched: those that fit into memory together in one task, which reads their rows
   once; larger ones through tiles of their own, which read rows as they go;
3. what a search lists serves the parts within the part, as in 1.

Parts are runs of one order of the samples, so a part within another is a run within a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask.array import Array as DaskArray

from dnuc.cluster import Task, run_tasks
from dnuc.errors import DnucError
from dnuc.measures.dimension import Dimension, Estimator, two_nn_of
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.search import nearest_neighbors
from dnuc.store import Subset

LISTED = 32  # neighbors that are searched where parts of the part are wanted: a quarter of it still finds two there
MOST_ROWS = 2**16  # that one task searches
ROWS_AT_ONCE = 65536  # whose lists are looked through together

Part = tuple[int, int]  # of the order, first and after the last


@dataclass(frozen=True, repr=False)
class MeanDimension(Dimension):
    """The mean dimension of several parts of the samples.

    Its error is the standard deviation over the parts (of a single part, the part's own error), its scale their mean
    scale; dropped are the samples left out in all of them together.
    """

    values: np.ndarray = field(default_factory=lambda: np.empty(0), compare=False)  # (parts,) NaN where left out

    def __repr__(self) -> str:
        return (
            f"MeanDimension(value={self.value:.4g}, error={self.error:.2g}, scale={self.scale:.4g}, "
            f"parts={len(self.values)}, left_out={self.left_out}, dropped={self.dropped})"
        )

    @property
    def left_out(self) -> int:
        """Parts that have no dimension: fewer than 3 distinct samples."""
        return int(np.count_nonzero(np.isnan(self.values)))


def mean_dimension(found: Sequence[Dimension | None], what: str) -> MeanDimension:
    """The mean over parts; None stands for a part that has no dimension, `what` for all of them in a message."""
    used = [f for f in found if f is not None]
    if not used:
        raise DnucError(
            f"{what}: none of {len(found)} has a dimension: each has fewer than 3 samples whose nearest neighbor is at "
            "a distance above 0, or lies on a lattice; take larger parts, or remove duplicates"
        )
    values = np.array([np.nan if f is None else f.value for f in found])
    error = used[0].error if len(used) == 1 else float(np.std([f.value for f in used], ddof=1))
    scale = float(np.mean([f.scale for f in used]))
    return MeanDimension(float(np.mean([f.value for f in used])), error, scale, sum(f.dropped for f in used), 1, values)


def part_dimensions(
    x: Any,
    order: np.ndarray,
    parts: Sequence[Part],
    neighbors: Neighbors | None,
    estimate: Estimator,
    memory: int,
    client: Any = None,
) -> list[Dimension | None]:
    """TwoNN within each part, None where a part has no dimension.

    x: (N, D) array, read only where the stored lists do not suffice. order (n,): positions of samples, n <= N. memory:
    bytes that a task may use. client: a distributed.Client for arrays on disk.
    """
    found: list[Dimension | None] = [None] * len(parts)
    lacking = []
    for number, (distance, part) in enumerate(zip(_stored(order, parts, neighbors), parts, strict=True)):
        if distance is not None:
            found[number] = _dimension(distance, estimate)
        elif part[1] - part[0] >= 3:
            lacking.append(number)
    most = min(MOST_ROWS, memory // (4 * x.dtype.itemsize * int(x.shape[1])))
    in_memory = isinstance(x, np.ndarray | DaskArray)
    together = most if in_memory or client is None else -(-len(order) // (2 * sum(client.nthreads().values())))
    windows, large = _windows(parts, lacking, most, together)
    tasks = (
        Task(_search_window, (x, order[w.start : w.stop], w.within(parts), estimate, memory // 2), context=w)
        for w in windows
    )
    for task, results in run_tasks(None if in_memory else client, tasks):
        for number, result in zip(task.context.parts, results, strict=True):
            found[number] = result
    for number in large:
        rows = Subset(x, np.sort(order[slice(*parts[number])]))
        values = rows if client is None or not isinstance(x, np.ndarray) else rows[:]  # workers do not see this memory
        near = nearest_neighbors(values, 2, memory_limit=memory, client=client)
        found[number] = _dimension(near.distance, estimate)
    return found


def _dimension(distance: np.ndarray, estimate: Estimator) -> Dimension | None:
    try:
        return two_nn_of(distance, estimate)
    except DnucError:
        return None


# --- from lists -------------------------------------------------------------------------------------------------------


def _stored(order: np.ndarray, parts: Sequence[Part], neighbors: Neighbors | None) -> Iterator[np.ndarray | None]:
    """For each part the distances (n, 2) to the two nearest in it; None where the stored lists do not tell all."""
    if neighbors is None:
        yield from (None for _ in parts)
        return
    place = np.full(neighbors.n_samples, -1)
    place[order] = np.arange(len(order))
    for start, stop in parts:
        found: list[np.ndarray] = []
        for first in range(start, stop, ROWS_AT_ONCE):
            rows = order[first : min(stop, first + ROWS_AT_ONCE)]
            two = _two_within(place[neighbors.index[rows]], neighbors.distance[rows], start, stop)
            if two is None:
                break
            found.append(two)
        yield np.concatenate(found) if sum(map(len, found)) == stop - start > 0 else None


def _two_within(place: np.ndarray, distance: np.ndarray, start: int, stop: int) -> np.ndarray | None:
    """Distances of the first two in each list whose place is in start .. stop - 1; None if a list lacks them."""
    inside = (place >= start) & (place < stop)  # (rows, k)
    if not (np.count_nonzero(inside, axis=1) >= 2).all():
        return None
    row = np.arange(len(inside))
    first = inside.argmax(axis=1)
    inside[row, first] = False
    return np.stack([distance[row, first], distance[row, inside.argmax(axis=1)]], axis=1)


# --- by searches ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Window:
    """A run of the order that one task reads, and the parts in it that it searches, larger ones first."""

    start: int
    stop: int
    parts: tuple[int, ...]

    def within(self, parts: Sequence[Part]) -> list[Part]:
        """Its parts, counted from its start."""
        return [(parts[p][0] - self.start, parts[p][1] - self.start) for p in self.parts]


def _windows(parts: Sequence[Part], wanted: list[int], most: int, together: int) -> tuple[list[_Window], list[int]]:
    """Windows of at most `most` samples that hold the wanted parts, and the parts that are larger than that.

    Parts beside each other share a window of at most `together` samples, so that there are enough windows.
    """
    windows, large, start, stop, held = [], [], 0, 0, list[int]()

    def close() -> None:
        if held:
            windows.append(_Window(start, stop, tuple(sorted(held, key=lambda p: (parts[p][0] - parts[p][1], p)))))

    for p in sorted(wanted, key=lambda p: (parts[p][0], -parts[p][1])):
        if parts[p][1] - parts[p][0] > most:
            large.append(p)
            continue
        if not held or (parts[p][1] > stop and parts[p][1] - start > min(most, together)):
            close()
            start, stop, held = *parts[p], []
        stop = max(stop, parts[p][1])
        held.append(p)
    close()
    return windows, large


def _search_window(
    x: Any, order: np.ndarray, parts: list[Part], estimate: Estimator, memory: int
) -> list[Dimension | None]:
    """TwoNN of the parts of a window, larger ones first; its rows are read once."""
    place_of = np.argsort(order)  # of each row, in the order
    row_of = np.empty_like(place_of)
    row_of[place_of] = np.arange(len(order))
    values = Subset(x, order[place_of])[:]
    place, distance = np.full((len(order), LISTED), -1), np.full((len(order), LISTED), np.inf)
    valid = np.zeros((len(order), 2), np.int64)  # the run within which each list is complete
    starts, stops = np.array(parts).T
    found = []
    for number, (start, stop) in enumerate(parts):
        two = None
        if ((valid[start:stop, 0] <= start) & (valid[start:stop, 1] >= stop)).all():
            two = _two_within(place[start:stop], distance[start:stop], start, stop)
        if two is None:
            members = np.sort(row_of[start:stop])
            part = values if len(members) == len(values) else values[members]
            serves = ((starts >= start) & (stops <= stop))[number + 1 :].any()
            near = nearest_neighbors(part, min(LISTED, len(members) - 1) if serves else 2, memory_limit=memory)
            at = place_of[members]
            place[at, : near.k], place[at, near.k :] = place_of[members[near.index]], -1
            distance[at, : near.k] = near.distance
            valid[start:stop] = start, stop
            two = near.distance[:, :2]
        found.append(_dimension(two, estimate))
    return found
