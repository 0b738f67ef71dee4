"""Panels of large arrays: some rows and features at a time, without their mean, and products of them.

Products are made in tiles of one constant size, and sums over tiles in one order. So a result does not depend on how
much memory there is, on how many workers, or on where a run was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dnuc.errors import DataError, DnucError
from dnuc.store import Subset, check_finite, read_part

TILE = 1024  # rows of a tile of an N x N matrix; features of a tile of a D x D matrix
CHUNK = 8192  # features (or rows) read and multiplied at once: what is stored together


def tiles(n: int, width: int | None = None, first: int = 0) -> list[slice]:
    """Consecutive slices of at most `width` (a tile when absent) that make up first .. n.

    >>> tiles(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = width or TILE
    return [slice(start, min(start + step, n)) for start in range(first, n, step)]


def pairs_of_tiles(n: int) -> list[tuple[slice, slice]]:
    """Pairs i <= j of the row tiles of a symmetric N x N matrix, in the order in which their sums are added up."""
    return [(i, j) for i in tiles(n) for j in tiles(n, first=i.start)]


def draw_rows(n: int, count: int, seed: int) -> np.ndarray:
    """(count,) increasing positions of rows, drawn at random without repetition; all n if there are no more."""
    if count >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))


@dataclass(frozen=True)
class Centered:
    """An (N, D) array whose features have mean 0, read in float64 a panel at a time.

    Attributes
    ----------
    mean : (D,)
    scale : a power of two by which values are multiplied, so that their fourth powers are ordinary numbers. No measure
        here sees the scale.
    constant : whether all rows are equal, so that there is nothing to compare.
    """

    source: Any
    mean: np.ndarray
    scale: float = 1.0
    constant: bool = False
    label: str = "x"

    @classmethod
    def of(cls, source: Any, label: str = "x") -> Centered:
        """An array and its mean, for which it is read once.

        Raises
        ------
        DataError
            NaN or infinite values: which samples have them; a DamagedError where they come from the store.
        """
        n, d = source.shape
        mean, largest, constant = np.empty(d), 0.0, True
        for features in tiles(d, CHUNK):
            total = np.zeros(features.stop - features.start)
            first = read_part(source, slice(0, 1), features)
            for rows in tiles(n):
                values = read_part(source, rows, features)
                check_finite(source, values, rows, features, label)
                constant = constant and bool((values == first).all())
                largest = max(largest, float(np.abs(values.astype(np.float64)).max()))
                with np.errstate(over="ignore", invalid="ignore"):
                    total += values.sum(axis=0, dtype=np.float64)
            mean[features] = total / n
        if not np.isfinite(mean).all():
            raise DataError(f"{label}: values so large that their sum overflows float64; rescale the layer")
        return cls(source, mean, float(np.ldexp(1.0, -np.frexp(largest)[1])), constant, label)

    @property
    def n(self) -> int:
        """Samples."""
        return int(self.source.shape[0])

    @property
    def features(self) -> int:
        """D."""
        return int(self.source.shape[1])

    def read(self, rows: slice, features: slice) -> np.ndarray:
        """(rows, features) float64, without the mean, scaled."""
        values = read_part(self.source, rows, features).astype(np.float64)
        values -= self.mean[features]
        values *= self.scale
        return values

    def picked(self, rows: np.ndarray) -> Centered:
        """Some of the rows, without the mean of all of them."""
        return replace(self, source=Subset(self.source, rows))


def checked_pair(x: Any, y: Any, least: int = 2) -> tuple[Any, Any]:
    """Two representations of the same samples as arrays.

    Raises
    ------
    DnucError
        If one is no (N, D) array of numbers, or they have other numbers of samples, or fewer than `least`.
    """
    x, y = (a if hasattr(a, "shape") else np.asarray(a) for a in (x, y))
    for name, a in (("x", x), ("y", y)):
        if len(a.shape) != 2 or a.shape[1] == 0:
            raise DnucError(f"{name} has shape {tuple(a.shape)}; it must be (samples, features), at least one feature")
        if np.dtype(a.dtype).kind not in "fiub":
            raise DnucError(f"{name} has type {a.dtype}; it must be real numbers")
    if x.shape[0] != y.shape[0]:
        raise DnucError(
            f"x has {x.shape[0]} samples and y {y.shape[0]}: both must hold the same samples in the same order"
        )
    if x.shape[0] < least:
        raise DnucError(f"x and y have {x.shape[0]} samples; at least {least} are needed")
    return x, y


def centered_pair(x: Any, y: Any, least: int = 2) -> tuple[Centered, Centered]:
    """Two representations of the same samples that are checked and differ between samples."""
    found = tuple(Centered.of(a, name) for name, a in zip("xy", checked_pair(x, y, least), strict=True))
    for a in found:
        refuse_constant(a)
    return found[0], found[1]


def refuse_constant(x: Centered) -> None:
    """Refuse an array in which nothing varies."""
    if x.constant:
        raise DnucError(
            f"{x.label}: all {x.n} samples are equal, so there is nothing to compare: leave this layer out, or find "
            "out why it is dead"
        )
