"""TwoNN within parts of the samples: in disjoint random blocks (decimation), in classes. Exact, with shared work.

A part's neighbors are found anew among its own samples, but not always by a search:

1. whoever has two members of the part in a list that is known, of all samples or of a larger part, has them there;
2. parts that fit into memory are searched in windows, several of them in one task that reads their rows once;
3. of a larger part, if few samples lack a neighbor, the distances to all others in the part are computed; if many do,
   it is searched through tiles that read rows as they go. What a search lists serves the parts within the part.

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
from dnuc.measures.part_lists import Lists
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.within import pair_distances
from dnuc.store import Subset

MOST_ROWS = 2**16  # that a task of a window searches
LISTED = 32  # neighbors listed in a window where smaller parts follow: in a quarter of the part two of them are left
LISTED_MOST = 256  # the same where a part is searched through tiles: it serves parts of a sixteenth
PAIRS = 2**18  # whose distances are computed singly, at most: what they are asked with travels in tasks

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


@dataclass(frozen=True)
class Setting:
    """What a search of parts may use.

    x: (N, D) array, read only where lists do not suffice. order (n,): positions of samples, n <= N. memory: bytes of a
    task. client: a distributed.Client; of windows only for arrays that workers can read.
    """

    x: Any
    order: np.ndarray
    estimate: Estimator
    memory: int
    client: Any = None

    @property
    def row_bytes(self) -> int:
        """A sample as it is stored."""
        return self.x.dtype.itemsize * int(self.x.shape[1])

    @property
    def in_this_process(self) -> bool:
        """Whether the array is nowhere else."""
        return isinstance(self.x, np.ndarray | DaskArray)

    def dimension(self, distance: np.ndarray) -> Dimension | None:
        """TwoNN of (n, 2) distances, None where there is none."""
        try:
            return two_nn_of(distance, self.estimate)
        except DnucError:
            return None


def part_dimensions(setting: Setting, parts: Sequence[Part], neighbors: Neighbors | None) -> list[Dimension | None]:
    """TwoNN within each part, None where a part has no dimension. `neighbors`: of all samples among all, if known."""
    found: list[Dimension | None] = [None] * len(parts)
    lists, most = Lists(setting.order, neighbors), min(MOST_ROWS, setting.memory // (4 * setting.row_bytes))
    small, few = [], list[_Lacking]()
    for number in sorted(range(len(parts)), key=lambda p: (parts[p][0] - parts[p][1], p)):  # larger ones first
        start, stop = parts[number]
        if stop - start < 3:
            continue
        distance = lists.two_nearest(start, stop)
        lacking = np.flatnonzero(np.isinf(distance[:, 1]))
        if len(lacking) == 0:
            found[number] = setting.dimension(distance)
        elif stop - start <= most:
            small.append(number)
        elif len(lacking) * (stop - start) <= PAIRS - sum(one.pairs for one in few):
            few.append(_Lacking(number, start, stop, distance, lacking))
        else:
            serves = any(start <= a and b <= stop for p, (a, b) in enumerate(parts) if p != number)
            near = _search_part(setting, start, stop, serves)
            found[number] = setting.dimension(lists.add(start, stop, near))
    _fill(setting, few)
    for one in few:
        found[one.number] = setting.dimension(one.distance)
    found_small = _search_windows(setting, parts, small, most)
    return [found_small.get(number, dimension) for number, dimension in enumerate(found)]


# --- parts that do not fit into memory --------------------------------------------------------------------------------


def _search_part(setting: Setting, start: int, stop: int, serves: bool) -> Neighbors:
    """The neighbors within a part, of its samples in increasing position; many of them where they serve other parts."""
    listed = min(LISTED_MOST, max(LISTED, setting.memory // (48 * len(setting.order)))) if serves else 2
    rows = Subset(setting.x, np.sort(setting.order[start:stop]))
    values = rows[:] if setting.client is not None and isinstance(setting.x, np.ndarray) else rows
    return nearest_neighbors(values, min(listed, stop - start - 1), memory_limit=setting.memory, client=setting.client)


@dataclass(frozen=True)
class _Lacking:
    """A part of which few samples lack a neighbor: what is known of it, and who they are."""

    number: int
    start: int
    stop: int
    distance: np.ndarray  # (stop - start, 2)
    rows: np.ndarray  # of `distance`

    @property
    def pairs(self) -> int:
        """Distances that are to be computed, at most."""
        return len(self.rows) * (self.stop - self.start)


def _fill(setting: Setting, parts: list[_Lacking]) -> None:
    """Compute what the parts lack: the distances of some of their samples to all others in the part, all at once."""
    rows, cols = [], []
    for part in parts:
        places = np.arange(part.start, part.stop)
        for row in part.rows:
            others = np.delete(places, row)
            cols.append(setting.order[others])
            rows.append(np.full(len(others), setting.order[part.start + row]))
    if not rows:
        return
    distance = pair_distances(
        setting.x, np.concatenate(rows), np.concatenate(cols), memory_limit=setting.memory, client=setting.client
    )
    each = iter(np.split(distance, np.cumsum([len(c) for c in cols])[:-1]))
    for part in parts:
        for row in part.rows:
            part.distance[row] = np.sort(np.partition(next(each), 1)[:2])


# --- parts that do ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Window:
    """A run of the order that one task reads, and the parts in it that it searches, larger ones first."""

    start: int
    stop: int
    parts: tuple[int, ...]

    def within(self, parts: Sequence[Part]) -> list[Part]:
        """Its parts, counted from its start."""
        return [(parts[p][0] - self.start, parts[p][1] - self.start) for p in self.parts]


def _search_windows(
    setting: Setting, parts: Sequence[Part], wanted: list[int], most: int
) -> dict[int, Dimension | None]:
    """TwoNN of the wanted parts by their number."""
    workers = None if setting.in_this_process else setting.client
    together = most if workers is None else -(-len(setting.order) // (2 * sum(workers.nthreads().values())))
    tasks = (
        Task(_search_window, (setting.x, setting.order[w.start : w.stop], w.within(parts), setting.estimate,
                              setting.memory // 2), context=w)
        for w in _windows(parts, wanted, min(most, together))
    )  # fmt: skip
    found: dict[int, Dimension | None] = {}
    for task, results in run_tasks(workers, tasks):
        found |= dict(zip(task.context.parts, results, strict=True))
    return found


def _windows(parts: Sequence[Part], wanted: list[int], together: int) -> Iterator[_Window]:
    """Windows that hold the wanted parts; parts beside each other share one of at most `together` samples."""
    start, stop, held = 0, 0, list[int]()
    for p in sorted(wanted, key=lambda p: (parts[p][0], -parts[p][1])):
        if held and parts[p][1] > stop and parts[p][1] - start > together:
            yield _Window(start, stop, _larger_first(parts, held))
            held = []
        if not held:
            start, stop = parts[p]
        stop = max(stop, parts[p][1])
        held.append(p)
    if held:
        yield _Window(start, stop, _larger_first(parts, held))


def _larger_first(parts: Sequence[Part], numbers: list[int]) -> tuple[int, ...]:
    return tuple(sorted(numbers, key=lambda p: (parts[p][0] - parts[p][1], p)))


def _search_window(
    x: Any, order: np.ndarray, parts: list[Part], estimate: Estimator, memory: int
) -> list[Dimension | None]:
    """TwoNN of the parts of a window, larger ones first; its rows are read once."""
    rows = np.sort(order)
    values, lists = Subset(x, rows)[:], Lists(order)
    setting = Setting(values, order, estimate, memory)
    starts, stops = np.array(parts).T
    found = []
    for number, (start, stop) in enumerate(parts):
        distance = lists.two_nearest(start, stop)
        if np.isinf(distance).any():
            members = np.searchsorted(rows, np.sort(order[start:stop]))
            part = values if len(members) == len(values) else values[members]
            serves = ((starts >= start) & (stops <= stop))[number + 1 :].any()
            k = min(LISTED, stop - start - 1) if serves else 2
            distance = lists.add(start, stop, nearest_neighbors(part, k, memory_limit=memory))
        found.append(setting.dimension(distance))
    return found
