"""One block of samples, read a feature chunk at a time, ahead of the computation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dnuc.errors import DataError
from dnuc.store import NO_DISTANCE, StoredArray, check_finite, read_part


def working_type(dtype: np.dtype) -> type[np.float32] | type[np.float64]:
    """float32 for types that it holds exactly (float16, small integers, bool), float64 for all others."""
    return np.float32 if np.result_type(dtype, np.float32) == np.float32 else np.float64


class Piece:
    """Some rows of an array, in memory, that answer to the positions they have in the whole."""

    def __init__(self, values: np.ndarray, first: int) -> None:
        self._values, self._first = values, first
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        rows, features = key
        return self._values[rows.start - self._first : rows.stop - self._first, features]


@dataclass(frozen=True)
class Rows:
    """Rows start .. stop of anything that is indexed like a 2-D array (NumPy, Zarr, Dask, a stored array)."""

    source: Any  # (N, D)
    start: int
    stop: int
    label: str = "x"  # how error messages call the source
    stored: StoredArray | None = None  # where a resident block comes from
    center: np.ndarray | None = None  # (D,) what the filter subtracts; each tile finds its own when absent
    memo: dict[Any, Any] = field(default_factory=dict, compare=False)  # of a resident block: what was made of it

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def features(self) -> int:
        """D."""
        return int(self.source.shape[1])

    def read(self, features: slice) -> np.ndarray:
        """The rows' values of some features, in float32 where that loses nothing, else in float64."""
        values = read_part(self.source, slice(self.start, self.stop), features)
        return np.ascontiguousarray(values, dtype=working_type(values.dtype))

    @property
    def is_resident(self) -> bool:
        """Whether the values are in memory already."""
        return isinstance(self.source, Piece)

    def resident(self) -> Rows:
        """The same rows with all their values in memory."""
        if self.is_resident:
            return self
        return replace(self, source=Piece(self.read(slice(None)), self.start), stored=self._stored, memo={})

    @property
    def kept_bytes(self) -> int:
        """Memory of a resident block: its values, and what one tier made of them (at most as much again)."""
        itemsize = np.dtype(working_type(self.source.dtype)).itemsize
        return 2 * self.count * self.features * itemsize

    @property
    def _stored(self) -> StoredArray | None:
        return self.source if isinstance(self.source, StoredArray) else self.stored

    def too_large(self) -> DataError:
        """For values whose squared distances are infinite."""
        return DataError(f"{self.label}: values so large that squared distances overflow float64; rescale the layer")

    def check(self, values: np.ndarray, features: slice) -> None:
        """Refuse values that are not finite.

        Raises
        ------
        DataError
            Which samples they are; a DamagedError where they come from the store, which holds none.
        """
        span, source = slice(self.start, self.stop), self.source if self._stored is None else self._stored
        check_finite(source, values, span, features, self.label, NO_DISTANCE)


SAMPLED = 16  # places in an array from which rows are taken for its mean
SAMPLED_ROWS = 32  # at each of them


def sample_mean(source: Any) -> np.ndarray:
    """(D,) the mean of some rows from places spread over the array. Any finite vector would do where it is used."""
    n = source.shape[0]
    parts = []
    for place in range(min(SAMPLED, n)):
        first = place * n // SAMPLED if n >= SAMPLED else place
        parts.append(Rows(source, first, min(n, first + SAMPLED_ROWS)).read(slice(None)))
    values = np.concatenate(parts)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told when the tile reads it
        mean = values.mean(axis=0, dtype=np.float64)
    return np.nan_to_num(mean, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class Picked:
    """Some of the rows of a block, by their position in it."""

    rows: Rows
    positions: np.ndarray  # (R,)

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.positions)

    @property
    def features(self) -> int:
        """D."""
        return self.rows.features

    def read(self, features: slice) -> np.ndarray:
        """The rows' values of some features."""
        return self.rows.read(features)[self.positions]

    def check(self, values: np.ndarray, features: slice) -> None:
        """The whole block was checked before any of its rows were picked."""


def read_ahead(blocks: Sequence[Rows | Picked], chunks: Iterable[slice]) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """For each feature chunk the values of every block, the next chunk being read while this one is used."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        pending = None
        for chunk in chunks:
            following = (chunk, reader.submit(lambda c: [b.read(c) for b in blocks], chunk))
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following
        if pending is not None:
            yield pending[0], pending[1].result()
