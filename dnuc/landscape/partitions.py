"""Comparing two partitions by sums over the parts of one of them, so that merging parts only adds and subtracts.

For parts of sizes a_i, groups of sizes b_j and n_ij samples in both, of N in all, everything that the adjusted Rand
index, the adjusted mutual information and the purity need is a sum over i::

    sum_j n_ij^2,   a_i^2,   max_j n_ij,   sum_j n_ij log n_ij,   a_i log a_i,   sum_j E[n log n | a_i, b_j, N]

The last one is the expectation if samples were dealt at random (n is hypergeometric): the chance that is adjusted for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

NEGLIGIBLE = 1e-20  # of the largest term of an expectation


def contingency(part: np.ndarray, group: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(parts, groups) int64: how many samples are in both, from each sample's part and group, (N,) each."""
    flat = part.astype(np.int64) * shape[1] + group
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


@dataclass(frozen=True)
class Parts:
    """The sums of each part, (parts,), or of several partitions, one entry each: they add up over parts."""

    squares: np.ndarray  # int64
    size_squares: np.ndarray  # int64
    largest: np.ndarray  # int64
    information: np.ndarray  # sum_j n log n
    size_information: np.ndarray  # a log a
    expected: np.ndarray  # sum_j E[n log n]

    @property
    def all(self) -> tuple[np.ndarray, ...]:
        """Every sum."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def total(self) -> Parts:
        """Of all parts together, (1,)."""
        return Parts(*(values.sum(keepdims=True) for values in self.all))

    def after_merges(self, children: np.ndarray) -> Parts:
        """Of the partitions into n, n - 1, ..., 1 parts, (n,), when parts merge.

        The first n of the 2 n - 1 parts are those at the start, n + i is what merge i makes of `children[i]`.
        """
        n = len(children) + 1
        a, b = children[:, 0], children[:, 1]
        return Parts(*(np.cumsum([v[:n].sum(), *(v[n:] - v[a] - v[b])]).astype(v.dtype) for v in self.all))


def measure_parts(
    count: np.ndarray,
    part: np.ndarray,
    size: np.ndarray,
    group_size: np.ndarray,
    expected: Expectations | None = None,
) -> Parts:
    """The sums of each part.

    Parameters
    ----------
    count, part : (entries,) int64
        How many samples a part and a group have in common, for those that have any, and which part it is.
    size : (parts,) int64
        Samples of each part; empty parts are allowed.
    group_size : (groups,) int64
        Samples of each group; their sum is N.
    expected : Expectations, optional
        For these sizes among others, where several partitions are compared; computed when absent.
    """
    n = len(size)
    largest = np.zeros(n, dtype=np.int64)
    np.maximum.at(largest, part, count)
    squares = np.zeros(n, dtype=np.int64)
    np.add.at(squares, part, count * count)
    return Parts(
        squares,
        size * size,
        largest,
        np.bincount(part, x_log_x(count), minlength=n),
        x_log_x(size),
        expected_information(size, group_size, expected),
    )


def x_log_x(count: np.ndarray) -> np.ndarray:
    """n log n, 0 for n = 0."""
    return count * np.log(np.maximum(count, 1))


def expected_information(size: np.ndarray, group_size: np.ndarray, expected: Expectations | None = None) -> np.ndarray:
    """For each part, the sum over groups of E[n log n] if its samples were drawn at random from all (Vinh et al. 2010).

    Parameters
    ----------
    size : (parts,) int64
    group_size : (groups,) int64; their sum is the number of samples.
    expected : Expectations, optional
        See `measure_parts`.
    """
    if expected is None:
        expected = Expectations.of(size, group_size, int(group_size.sum()))
    groups, times = np.unique(group_size, return_counts=True)
    columns = expected.values[:, np.searchsorted(expected.groups, groups)]
    found = np.zeros(len(columns))
    for column, count in zip(columns.T, times.tolist(), strict=True):
        found += count * column
    return found[np.searchsorted(expected.sizes, size)]


@dataclass(frozen=True)
class Expectations:
    """E[n log n] for every size of a part and of a group: what takes longest to compute, once for many partitions.

    Attributes
    ----------
    sizes, groups : (S,), (G,) int64
        Distinct, ascending.
    values : (S, G) float64
    """

    sizes: np.ndarray
    groups: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, size: np.ndarray, group_size: np.ndarray, total: int) -> Expectations:
        """For these sizes, among `total` samples."""
        sizes, groups = np.unique(size).astype(np.int64), np.unique(group_size).astype(np.int64)
        values = np.empty((len(sizes), len(groups)))
        most = int(min(sizes.max(initial=0), groups.max(initial=0)))
        _expectations(sizes, groups, total, x_log_x(np.arange(most + 1)), values)
        return cls(sizes, groups, values)


@njit(cache=True)
def _expectations(sizes, groups, total, n_log_n, values):
    for i in range(len(sizes)):
        for j in range(len(groups)):
            values[i, j] = _expectation(sizes[i], groups[j], total, n_log_n)


@njit(cache=True)
def _expectation(a, b, total, n_log_n):
    """E[n log n] of a hypergeometric n: from the most likely value outwards, relative to its probability."""
    lowest, highest = max(0, a + b - total), min(a, b)
    mode = min(max((a + 1) * (b + 1) // (total + 2), lowest), highest)
    weights, value = 1.0, n_log_n[mode]
    weight = 1.0
    for n in range(mode, highest):
        weight *= (a - n) / (n + 1) * ((b - n) / (total - a - b + n + 1))
        if weight < NEGLIGIBLE:
            break
        weights += weight
        value += weight * n_log_n[n + 1]
    weight = 1.0
    for n in range(mode, lowest, -1):
        weight *= n / (a - n + 1) * ((total - a - b + n) / (b - n + 1))
        if weight < NEGLIGIBLE:
            break
        weights += weight
        value += weight * n_log_n[n - 1]
    return value / weights


def adjusted_rand(parts: Parts, group_size: np.ndarray) -> np.ndarray:
    """The adjusted Rand index of each partition with the groups (Rand 1971; Hubert and Arabie 1985).

    In whole numbers of any size: the products of pairs of a million samples have 24 digits.
    """
    n = int(group_size.sum())
    groups = sum(int(size) ** 2 for size in group_size)
    found = np.empty(len(parts.squares))
    for i, (common, own) in enumerate(zip(parts.squares.tolist(), parts.size_squares.tolist(), strict=True)):
        together, only_groups, only_parts = common - n, groups - common, own - common
        apart = n * n - groups - own + common
        if only_groups == only_parts == 0:
            found[i] = 1
            continue
        pairs = (together + only_parts) * (only_parts + apart) + (together + only_groups) * (only_groups + apart)
        found[i] = 2.0 * (together * apart - only_parts * only_groups) / pairs
    return found


def adjusted_information(parts: Parts, group_size: np.ndarray) -> np.ndarray:
    """The adjusted mutual information of each partition with the groups (Vinh et al. 2010), arithmetic mean."""
    n = int(group_size.sum())
    all_information, groups_information = float(x_log_x(np.array([n]))[0]), float(x_log_x(group_size).sum())
    entropies = (2 * all_information - groups_information - parts.size_information) / 2  # N times their mean
    expected = parts.expected - parts.size_information - groups_information + all_information
    equal = (parts.squares == parts.size_squares) & (parts.squares == sum(int(size) ** 2 for size in group_size))
    one = (np.count_nonzero(group_size) == 1) | (parts.size_squares == n * n)  # a single part or group tells nothing
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (parts.information - parts.expected) / (entropies - expected)
    return np.where(equal, 1.0, np.where(one, 0.0, found))


def purity(parts: Parts, group_size: np.ndarray) -> np.ndarray:
    """The share of samples that are in the most frequent group of their part."""
    return parts.largest / int(group_size.sum())
